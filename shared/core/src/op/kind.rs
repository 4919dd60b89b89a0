//! Types of ops by name.

use crate::mutant::{self, Mutant};

/// What an op does, as the header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpType {
    /// The whole core facet of a record, new or changed.
    RecordPut,
    /// The record is withdrawn; a stub stays for ever.
    RecordTombstone,
    /// A withdrawn record is live again, with a whole core facet.
    RecordRevive,
    /// A district answers a change that the hub asked for.
    ChangeRequestReply,
    /// A district objects to a decision of the hub.
    Dispute,
    /// A district signs with a new key from the next op on.
    KeyRotate,
    /// A district gives records to another one.
    TransferOffer,
    /// A district takes records over.
    TransferAccept,
    /// The last op of a feed whose district is merged into another.
    FeedSeal,
    /// The payload of an earlier op is erased everywhere.
    Redact,
    /// A district of the directory: code, name, state.
    DirDistrict,
    /// A feed belongs to a district from now on.
    DirFeed,
    /// A one-time join token was made out (its hash only).
    DirToken,
    /// A signing key is good for a feed.
    KeyGrant,
    /// A signing key is good no longer.
    KeyRevoke,
    /// A certificate is bound to a feed.
    CertBind,
    /// A certificate is good no longer.
    CertRevoke,
    /// Rules of the city: oldest software, shares above which the hub asks.
    Policy,
    /// A resource code belongs to a record.
    CodeGrant,
    /// What a curator adds to a record.
    OverlayPut,
    /// A curator takes the addition back.
    OverlayDrop,
    /// The hub asks a district to change a record.
    ChangeRequest,
    /// What became of a change that was asked for.
    ChangeRequestClose,
    /// A record is hidden in the city view, or shown again.
    Hold,
    /// A conflict was found.
    ConflictOpen,
    /// A person decided a conflict.
    ConflictDecide,
    /// A decided conflict is open again.
    ConflictAppeal,
    /// Which record is the authoritative source of an information item.
    SourceRegister,
    /// Records belong to another feed from here on.
    TransferCommit,
    /// A feed was joined again after a restore, a clone or a replacement.
    FeedRejoin,
    /// The hub was rebuilt from its nodes.
    HubRejoin,
    /// The hub's feed has a root from here on, whose key is kept offline.
    HubRoot,
    /// The root lets a key sign the hub's feed.
    HubKey,
    /// A mass change of a district waits for a person.
    GateHold,
    /// A person let a mass change through.
    GateRelease,
    /// The hub cannot do what a district's op asks for, and says why.
    LetterRefuse,
    /// A certificate may act as an operator of the hub.
    OperatorBind,
    /// An operator's certificates are good no longer.
    OperatorRevoke,
    /// A type of a later version: kept and passed on, not understood.
    Unknown(String),
}

/// Every type with its name on the wire.
const NAMES: [(OpType, &str); 38] = [
    (OpType::RecordPut, "record.put.v1"),
    (OpType::RecordTombstone, "record.tombstone.v1"),
    (OpType::RecordRevive, "record.revive.v1"),
    (OpType::ChangeRequestReply, "change_request.reply.v1"),
    (OpType::Dispute, "dispute.v1"),
    (OpType::KeyRotate, "key.rotate.v1"),
    (OpType::TransferOffer, "transfer.offer.v1"),
    (OpType::TransferAccept, "transfer.accept.v1"),
    (OpType::FeedSeal, "feed.seal.v1"),
    (OpType::Redact, "redact.v1"),
    (OpType::DirDistrict, "dir.district.v1"),
    (OpType::DirFeed, "dir.feed.v1"),
    (OpType::DirToken, "dir.token.v1"),
    (OpType::KeyGrant, "key.grant.v1"),
    (OpType::KeyRevoke, "key.revoke.v1"),
    (OpType::CertBind, "cert.bind.v1"),
    (OpType::CertRevoke, "cert.revoke.v1"),
    (OpType::Policy, "policy.v1"),
    (OpType::CodeGrant, "code.grant.v1"),
    (OpType::OverlayPut, "overlay.put.v1"),
    (OpType::OverlayDrop, "overlay.drop.v1"),
    (OpType::ChangeRequest, "change_request.v1"),
    (OpType::ChangeRequestClose, "change_request.close.v1"),
    (OpType::Hold, "hold.v1"),
    (OpType::ConflictOpen, "conflict.open.v1"),
    (OpType::ConflictDecide, "conflict.decide.v1"),
    (OpType::ConflictAppeal, "conflict.appeal.v1"),
    (OpType::SourceRegister, "source.register.v1"),
    (OpType::TransferCommit, "transfer.commit.v1"),
    (OpType::FeedRejoin, "feed.rejoin.v1"),
    (OpType::HubRejoin, "hub.rejoin.v1"),
    (OpType::HubRoot, "hub.root.v1"),
    (OpType::HubKey, "hub.key.v1"),
    (OpType::GateHold, "gate.hold.v1"),
    (OpType::GateRelease, "gate.release.v1"),
    (OpType::LetterRefuse, "letter.refuse.v1"),
    (OpType::OperatorBind, "operator.bind.v1"),
    (OpType::OperatorRevoke, "operator.revoke.v1"),
];

impl OpType {
    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown(name) => name,
            known => NAMES.iter().find(|(kind, _)| kind == known).map_or("", |(_, name)| name),
        }
    }

    /// Reads a name; one that is not known here stays readable.
    pub fn parse(name: &str) -> Self {
        if mutant::active(Mutant::OlderVersion) && name == "record.revive.v1" {
            return Self::Unknown(name.to_owned());
        }
        let known = NAMES.iter().find(|(_, known)| *known == name);
        known.map_or_else(|| Self::Unknown(name.to_owned()), |(kind, _)| kind.clone())
    }
}
