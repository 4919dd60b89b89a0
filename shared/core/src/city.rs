//! The city as the hub's own feed tells it: who belongs to it, who may write what, what curators added, what is
//! disputed.
//!
//! Everything that depends on an order between districts is an op of the hub, so this state is a pure function of one
//! prefix of one feed. Hub and nodes fold it with the same code. Commands return changes to be signed; nothing here
//! writes.

mod authority;
mod code;
mod conflict;
mod curation;
mod finding;
mod gate;
mod hub_key;
mod key;
mod letter;
mod operator;
mod rejoin;
mod row;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use authority::{Authority, Rules, Span, Transfer, Verdict};
pub use code::{CodeGrants, Codes, grant};
pub use conflict::{
    Appeal, Conflict, ConflictEvent, ConflictKind, ConflictState, Conflicts, Decided, Decision,
    Opened, Version, conflict_id,
};
pub use curation::{
    Asked, Curated, Curation, Held, Hold, Overlaid, Overlay, RequestClose, RequestReply,
    RequestState, SourceEntry,
};
pub use finding::{Claimants, Found, Rejected, Topic};
pub use gate::{Gate, GateKind, GateRelease, Gates, Inspector, Thresholds};
pub use hub_key::{HubAnchor, HubKeyGrant, HubKeys, HubRoot, HubSigners};
pub use letter::{Dispute, LetterRefusal, cause_of};
pub use operator::{OperatorBind, OperatorRevoke, Operators, operator_name};
pub use rejoin::{FeedRejoin, Forked, forked_id};
pub use row::{CityRow, CityStatus, Scope, row};
pub use transfer::{Accept, Accepted, LATE_EDIT, Offer, Offered, Seal};

use crate::{
    directory::{Directory, Standing, Unreadable},
    id::{FeedId, Hash, Head, KeyId, RecordId},
    mutant::{self, Mutant},
    op::{Change, Keys, Op, OpType},
    record::Visibility,
    search::Vocabulary,
};

/// The district's op that led to an op of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    /// Feed of the op.
    pub feed: FeedId,
    /// Its position.
    pub seq: u64,
}

/// Payload of `key.revoke.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevoke {
    /// Feed the key signed.
    pub feed: FeedId,
    /// The key.
    pub key: KeyId,
    /// Last op of the key that is believed.
    pub last_good: Head,
    /// Why, for people.
    pub reason: String,
}

/// Payload of `redact.v1`: an earlier op loses its content everywhere; its header stays in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// Feed of the op.
    pub feed: FeedId,
    /// Its position.
    pub seq: u64,
    /// Its hash.
    pub op_hash: Hash,
    /// Why, for people, with the legal basis.
    pub reason: String,
    /// Whether the op had taken effect: then its record stays, without this version's content.
    #[serde(default)]
    pub effect: bool,
    /// The district's op that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Payload of `redact.v1` in a district's feed: the hub is asked to erase an op of the same feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedactWish {
    /// Position of the op.
    pub seq: u64,
    /// Its hash.
    pub op_hash: Hash,
    /// Why, for people, with the legal basis.
    pub reason: String,
}

/// Payload of `hub.rejoin.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubRejoin {
    /// The hub's incarnation from here on.
    pub incarnation: u32,
    /// `wiped` or `restored`.
    pub reason: String,
    /// Where the hub's feed came from, for people.
    pub recovered_from: String,
}

/// Payload of `policy.v1`; what is absent keeps its value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Oldest software that may push, `major.minor.patch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_software: Option<String>,
    /// Share of a district's live records above which a change of many waits for a person, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass_percent: Option<u32>,
    /// Number of records above which a change of many waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass_records: Option<u32>,
    /// Whether the records of a suspended district are hidden instead of frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide_suspended: Option<bool>,
    /// What the search knows of words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
}

/// Why a command of the hub is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("没有找到 {0} / there is no {0}")]
    NotFound(String),
    /// It would change nothing.
    #[error("状态没有变化：{0} / nothing would change: {0}")]
    NoChange(String),
    /// A reason is missing.
    #[error("必须说明理由 / a reason is required")]
    NoReason,
    /// A hold without a legal basis.
    #[error("必须注明法律依据 / a legal basis is required")]
    NoLegalBasis,
    /// Changed since the caller saw it.
    #[error("内容已变化，请重新查看后再试 / it was changed meanwhile; look again: {0}")]
    Changed(String),
    /// The transfer does not agree with what both sides said, or with who owns the records.
    #[error("移交不一致：{0} / the transfer does not agree: {0}")]
    Disagrees(String),
    /// The decision does not fit the kind of conflict.
    #[error("此决定不适用：{0} / the decision does not fit: {0}")]
    Unfit(String),
    /// The feed is no party.
    #[error("该区不是当事方：{0} / the district is no party: {0}")]
    NoParty(String),
    /// What was given cannot be used.
    #[error("{zh} / {en}")]
    Bad {
        /// What is wrong, in Chinese.
        zh: String,
        /// What is wrong, in English.
        en: String,
    },
}

/// The hub's feed, folded.
#[derive(Debug, Clone, Default)]
pub struct City {
    /// Position of the hub's feed that is folded in.
    pub head: Head,
    /// Districts, feeds, keys, certificates.
    pub directory: Directory,
    /// Who may write which record.
    pub authority: Authority,
    /// Keys that are good no longer, by feed.
    pub revoked: BTreeMap<FeedId, Vec<KeyRevoke>>,
    /// What curators added, hid and asked for.
    pub curation: Curation,
    /// Resource codes and the records they belong to.
    pub codes: Codes,
    /// Conflicts, open and ended.
    pub conflicts: Conflicts,
    /// People who may act at the hub's desk over gRPC.
    pub operators: Operators,
    /// Mass changes that wait for a person.
    pub gates: Gates,
    /// Ops whose content is erased.
    pub redactions: BTreeMap<(FeedId, u64), Redaction>,
    /// Feeds that were joined again, oldest first.
    pub rejoins: Vec<FeedRejoin>,
    /// Keys of this feed under the hub's root.
    pub hub_signers: HubSigners,
    /// Rules of the city.
    pub policy: Policy,
    /// What the last rebuild of the hub said; see [`City::hub_incarnation`].
    pub incarnation: u32,
    /// Ops of districts that the hub has answered.
    pub attended: BTreeSet<Cause>,
    /// Ops of districts that the hub could not do what they ask for, with the reason.
    pub refused: BTreeMap<Cause, String>,
}

impl City {
    /// Folds the next op of the hub's feed in.
    ///
    /// # Errors
    /// `Unreadable` when a payload of a known type is not what the type says; the op is skipped.
    pub fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        self.head = op.head();
        // What is said of a record that this mirror may not see has no bearing here.
        if op.signed.withheld {
            return Ok(());
        }
        if !mutant::active(Mutant::AnswerTwice) {
            self.attended.extend(cause_of(&op.signed.payload));
        }
        match op.kind {
            OpType::KeyRevoke => {
                let revoke: KeyRevoke = read(op)?;
                self.directory.revoke_key(&revoke);
                self.revoked.entry(revoke.feed).or_default().push(revoke);
            }
            OpType::Policy => self.policy.take(read(op)?),
            OpType::CodeGrant => self.codes.apply(read(op)?),
            OpType::LetterRefuse => {
                let refusal: LetterRefusal = read(op)?;
                self.refused.insert(refusal.cause, refusal.reason);
            }
            OpType::TransferOffer | OpType::TransferAccept => self.authority.note(op)?,
            OpType::TransferCommit => {
                let transfer: Transfer = read(op)?;
                if transfer.records.is_none() {
                    let (feed, into) = (transfer.from_feed, &transfer.to_district);
                    self.directory.end_district(feed, into, transfer.effective);
                }
                self.authority.commit(transfer);
            }
            OpType::Redact => {
                let redaction: Redaction = read(op)?;
                self.redactions.insert((redaction.feed, redaction.seq), redaction);
            }
            OpType::FeedRejoin => {
                let rejoin: FeedRejoin = read(op)?;
                self.directory.rejoined(rejoin.feed, rejoin.instance, rejoin.incarnation);
                self.rejoins.push(rejoin);
            }
            OpType::HubRejoin => {
                let rejoin: HubRejoin = read(op)?;
                self.incarnation = rejoin.incarnation;
            }
            OpType::HubRoot | OpType::HubKey => self.hub_signers.apply(op)?,
            OpType::OperatorBind | OpType::OperatorRevoke => self.operators.apply(op)?,
            OpType::GateHold | OpType::GateRelease => self.gates.apply(op)?,
            OpType::OverlayPut
            | OpType::OverlayDrop
            | OpType::Hold
            | OpType::ChangeRequest
            | OpType::ChangeRequestClose
            | OpType::SourceRegister => self.curation.apply(op)?,
            OpType::ConflictOpen | OpType::ConflictDecide | OpType::ConflictAppeal => {
                self.conflicts.apply(op)?;
            }
            _ => self.directory.apply(op)?,
        }
        Ok(())
    }

    /// The op that changes rules of the city; what is absent stays.
    ///
    /// # Errors
    /// `NoChange`.
    pub fn set_policy(&self, policy: &Policy) -> Result<Vec<Change>, Refusal> {
        let mut next = self.policy.clone();
        next.take(policy.clone());
        if next == self.policy {
            return Err(Refusal::NoChange("policy".to_owned()));
        }
        Ok(vec![change(OpType::Policy, b"policy", policy)])
    }

    /// The op that erases the content of an op everywhere.
    ///
    /// # Errors
    /// `NoReason`; `NoChange` when it is erased already.
    pub fn redact(&self, redaction: &Redaction) -> Result<Vec<Change>, Refusal> {
        require(&redaction.reason)?;
        if self.redactions.contains_key(&(redaction.feed, redaction.seq)) {
            return Err(Refusal::NoChange(format!("{} {}", redaction.feed, redaction.seq)));
        }
        Ok(vec![change(OpType::Redact, redaction.feed.as_bytes(), redaction)])
    }

    /// The hub's incarnation: 1 until it is rebuilt from its nodes, and one more each time.
    pub fn hub_incarnation(&self) -> u32 {
        self.incarnation.max(1)
    }

    /// The op that begins the next incarnation of a hub that lost its disk or was restored. `reason` is `wiped` or
    /// `restored`.
    pub fn hub_rejoin(&self, reason: &str, recovered_from: String) -> Change {
        let incarnation = self.hub_incarnation() + 1;
        let rejoin = HubRejoin { incarnation, reason: reason.to_owned(), recovered_from };
        change(OpType::HubRejoin, &[], &rejoin)
    }

    /// What folding a feed needs to know of the city.
    pub fn rules(&self, feed: FeedId) -> Rules {
        let keys = self.directory.feeds.get(&feed).map(|entry| &entry.keys);
        let redacted = self.redactions.range((feed, 0)..=(feed, u64::MAX));
        Rules {
            revoked: keys.map(Keys::revoked).unwrap_or_default(),
            transfers: self.authority.of(feed),
            redacted: redacted.map(|(at, redaction)| (at.1, redaction.effect)).collect(),
        }
    }

    /// Whether a decision of the hub hides the record in the city view.
    pub fn hides(&self, record: RecordId) -> bool {
        self.curation.holds.contains_key(&record) || self.hides_suspended(self.owner(record))
    }

    fn hides_suspended(&self, feed: FeedId) -> bool {
        let all = self.policy.hide_suspended == Some(true);
        self.directory.district_of(feed).is_some_and(|district| {
            district.standing == Standing::Suspended && (all || district.hidden)
        })
    }

    /// The feed that may write a record now.
    pub fn owner(&self, record: RecordId) -> FeedId {
        self.authority.owner(record)
    }
}

impl Policy {
    /// What the search knows of words: the operator's, or what comes with the program.
    pub fn words(&self) -> &Vocabulary {
        self.vocabulary.as_ref().unwrap_or_else(|| Vocabulary::builtin())
    }

    fn take(&mut self, newer: Self) {
        let Self { min_software, mass_percent, mass_records, hide_suspended, vocabulary } = newer;
        self.min_software = min_software.or_else(|| self.min_software.take());
        self.mass_percent = mass_percent.or(self.mass_percent);
        self.mass_records = mass_records.or(self.mass_records);
        self.hide_suspended = hide_suspended.or(self.hide_suspended);
        self.vocabulary = vocabulary.or_else(|| self.vocabulary.take());
    }
}

/// A change to be signed by the hub.
pub(crate) fn change<T: Serialize>(kind: OpType, subject: &[u8], payload: &T) -> Change {
    Change {
        kind,
        subject: subject.to_vec(),
        base: None,
        payload: serde_json::to_vec(payload).unwrap_or_default(),
        visibility: Visibility::Shared,
    }
}

pub(crate) fn read<T: DeserializeOwned>(op: &Op) -> Result<T, Unreadable> {
    serde_json::from_slice(&op.signed.payload).map_err(|error| Unreadable::of(op, &error))
}

/// The record that a hub op is about.
fn subject(op: &Op) -> Result<RecordId, Unreadable> {
    RecordId::try_from(op.subject.as_ref()).map_err(|error| Unreadable::of(op, &error))
}

/// The op's uid as text: how requests and transfers are named.
fn uid(op: &Op) -> String {
    ulid::Ulid::from_bytes(op.uid).to_string()
}

fn require(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() { Err(Refusal::NoReason) } else { Ok(()) }
}
