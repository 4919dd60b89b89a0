//! The op envelope: what a feed consists of.
//!
//! An op is three byte strings: the header as its author encoded it, an ed25519 signature over the header, and the
//! payload whose SHA-256 stands in the header. They are kept and sent as they came; nothing here encodes a foreign
//! header again, because an older reader would lose fields that it does not know.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use liandong_proto::sync as pb;
use prost::Message as _;

use crate::{
    id::{FeedId, Hash, Head, KeyId},
    limit,
    mutant::{self, Mutant},
    record::Visibility,
};

mod key;
mod kind;

pub use key::{KeyRotation, KeyStretch, Keys};
pub use kind::OpType;

/// The one suite of this version: SHA-256 and ed25519.
pub const SUITE: u32 = 1;
/// Payload schema that this software writes.
pub const SCHEMA: u32 = crate::record::SCHEMA_VERSION;

/// One op as bytes: what is stored, hashed and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOp {
    /// The author's encoding of the header.
    pub header: Bytes,
    /// ed25519 over `header`.
    pub signature: Bytes,
    /// The payload, empty when `withheld`.
    pub payload: Bytes,
    /// The payload was redacted; the chain still verifies.
    pub withheld: bool,
}

impl SignedOp {
    /// The op's hash: SHA-256 of the header bytes.
    pub fn hash(&self) -> Hash {
        Hash::of(&[&self.header])
    }

    /// Bytes the op occupies on the wire, without framing.
    pub fn len(&self) -> usize {
        self.header.len() + self.signature.len() + self.payload.len()
    }

    /// The op without its content; header and signature still prove its place.
    #[must_use]
    pub fn withhold(self) -> Self {
        Self { payload: Bytes::new(), withheld: true, ..self }
    }

    /// Whether the op has no bytes at all, which no valid op does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A header that was parsed once; the op's bytes stay beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The bytes.
    pub signed: SignedOp,
    /// SHA-256 of the header bytes.
    pub hash: Hash,
    /// Feed the op belongs to.
    pub feed: FeedId,
    /// Position in the feed, from 1.
    pub seq: u64,
    /// Hash of the op before.
    pub prev: Hash,
    /// Idempotency key that survives re-authoring, 16 bytes of a ULID.
    pub uid: [u8; 16],
    /// Key that signed.
    pub key: KeyId,
    /// What the op does.
    pub kind: OpType,
    /// Version of the payload's schema.
    pub schema: u32,
    /// Smallest schema version that can read the payload.
    pub min_reader: u32,
    /// SHA-256 of the payload.
    pub payload_hash: Hash,
    /// What the op is about.
    pub subject: Bytes,
    /// Op it was made against: the record's version before, or what a curator saw.
    pub base: Option<Hash>,
    /// The author's clock, milliseconds since 1970. Shown, never used to decide.
    pub claimed_at_ms: i64,
    /// Account that acted.
    pub actor: String,
    /// Who may see the payload.
    pub visibility: Visibility,
}

/// Why bytes are not an acceptable op. All of these are integrity errors: the stream stops and nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpFault {
    /// The header is not an `OpHeader` with fields of the right size.
    #[error("the header cannot be read: {0}")]
    Malformed(String),
    /// Signed with another suite.
    #[error("suite {0} is not supported")]
    Suite(u32),
    /// Larger than [`limit::OP_BYTES_MAX`].
    #[error("the op has {0} bytes, at most {max} are allowed", max = limit::OP_BYTES_MAX)]
    TooLarge(usize),
    /// Payload and header do not belong together.
    #[error("the payload's SHA-256 is not the one in the header")]
    Payload,
    /// The op is of another feed.
    #[error("the op belongs to feed {found}, not {expected}")]
    WrongFeed {
        /// Feed of the stream.
        expected: FeedId,
        /// Feed in the header.
        found: FeedId,
    },
    /// The op does not follow the head.
    #[error("op {found_seq} does not follow {head}")]
    Chain {
        /// Where the feed stands.
        head: Head,
        /// Number of the op that came.
        found_seq: u64,
    },
    /// Signed by a key that is not good for this feed at this position.
    #[error("key {0} is not valid for this feed at this position")]
    Key(KeyId),
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
}

fn fixed<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], OpFault> {
    bytes.try_into().map_err(|_length| {
        OpFault::Malformed(format!("{name} has {} bytes instead of {N}", bytes.len()))
    })
}

impl Op {
    /// Reads the header and checks everything that needs no key and no neighbour: sizes, suite, payload hash.
    ///
    /// # Errors
    /// `Malformed`, `Suite`, `TooLarge`, `Payload`.
    pub fn parse(signed: SignedOp) -> Result<Self, OpFault> {
        if signed.len() > limit::OP_BYTES_MAX {
            return Err(OpFault::TooLarge(signed.len()));
        }
        let header = pb::OpHeader::decode(signed.header.clone())
            .map_err(|error| OpFault::Malformed(error.to_string()))?;
        if header.suite != SUITE {
            return Err(OpFault::Suite(header.suite));
        }
        if header.r#type.len() > limit::OP_TYPE_BYTES_MAX
            || header.actor.len() > limit::ACTOR_BYTES_MAX
            || header.subject.len() > 64
        {
            return Err(OpFault::Malformed("type, actor or subject is too long".to_owned()));
        }
        let payload_hash = Hash::new(fixed("payload_hash", &header.payload_hash)?);
        let payload_fits = if signed.withheld {
            signed.payload.is_empty()
        } else {
            signed.payload.len() == header.payload_len as usize
                && Hash::of(&[&signed.payload]) == payload_hash
        };
        if !payload_fits {
            return Err(OpFault::Payload);
        }
        Ok(Self {
            hash: signed.hash(),
            feed: FeedId::new(fixed("feed_id", &header.feed_id)?),
            seq: header.seq,
            prev: Hash::new(fixed("prev_hash", &header.prev_hash)?),
            uid: fixed("op_uid", &header.op_uid)?,
            key: KeyId::new(fixed("key_id", &header.key_id)?),
            kind: OpType::parse(&header.r#type),
            schema: header.schema,
            min_reader: header.min_reader,
            payload_hash,
            subject: header.subject,
            base: Hash::try_from(header.base.as_ref()).ok(),
            claimed_at_ms: header.claimed_at_ms,
            actor: header.actor,
            visibility: Visibility::from_u32(header.visibility),
            signed,
        })
    }

    /// The feed's head once this op is its last.
    pub const fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    /// Checks that the op is the next of `feed` after `head`.
    ///
    /// # Errors
    /// `WrongFeed`, `Chain`.
    pub fn follows(&self, feed: FeedId, head: Head) -> Result<(), OpFault> {
        if self.feed != feed {
            return Err(OpFault::WrongFeed { expected: feed, found: self.feed });
        }
        let gap = mutant::active(Mutant::AcceptGap) && self.seq > head.seq + 1;
        if (self.seq != head.seq + 1 || self.prev != head.hash) && !gap {
            return Err(OpFault::Chain { head, found_seq: self.seq });
        }
        Ok(())
    }

    /// Whether the op takes a record, or a version of it, out of the public's sight.
    pub fn withdraws_from_public(&self) -> bool {
        match self.kind {
            OpType::RecordTombstone => true,
            OpType::RecordPut => self.base.is_some() && self.visibility < Visibility::Public,
            _ => false,
        }
    }

    /// Checks the signature of an op that arrives, under the keys that are good for the feed now.
    ///
    /// # Errors
    /// `Key`, `Signature`.
    pub fn verify(&self, keys: &Keys) -> Result<(), OpFault> {
        let key = keys.at(self.key, self.seq).ok_or(OpFault::Key(self.key))?;
        self.verify_under(key)
    }

    /// Checks the signature of an op that is kept: one that arrived before its key was revoked stays in the chain,
    /// without effect.
    ///
    /// # Errors
    /// `Key`, `Signature`.
    pub fn verify_kept(&self, keys: &Keys) -> Result<(), OpFault> {
        let span = keys.signed(self.key, self.seq).ok_or(OpFault::Key(self.key))?;
        self.verify_under(&span.key)
    }

    /// Checks the signature of an op of an abandoned tail: a node that was restored signs with the key it had then.
    ///
    /// # Errors
    /// `Key`, `Signature`.
    pub fn verify_evidence(&self, keys: &Keys) -> Result<(), OpFault> {
        self.verify_under(keys.known(self.key).ok_or(OpFault::Key(self.key))?)
    }

    fn verify_under(&self, key: &VerifyingKey) -> Result<(), OpFault> {
        let signature =
            Signature::from_slice(&self.signed.signature).map_err(|_length| OpFault::Signature)?;
        if mutant::active(Mutant::SkipSignature) {
            return Ok(());
        }
        key.verify_strict(&self.signed.header, &signature).map_err(|_bad| OpFault::Signature)
    }
}

/// What an author wants to write, before it has a place in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What the op does.
    pub kind: OpType,
    /// What it is about.
    pub subject: Vec<u8>,
    /// Hash of the op it was made against, if any.
    pub base: Option<Hash>,
    /// Payload bytes.
    pub payload: Vec<u8>,
    /// Who may see the payload.
    pub visibility: Visibility,
}

/// The author's side of a feed: signs changes one after the other.
#[derive(Debug, Clone)]
pub struct Author {
    feed: FeedId,
    key: SigningKey,
    key_id: KeyId,
    incarnation: u32,
}

/// Facts of the moment that an author stamps on an op; core reads neither clock nor randomness itself.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
    /// Fresh ULID bytes.
    pub uid: [u8; 16],
    /// Account that acts.
    pub actor: String,
}

impl Author {
    /// An author of `feed` with its signing key.
    pub fn new(feed: FeedId, key: SigningKey) -> Self {
        let key_id = KeyId::of(key.verifying_key().as_bytes());
        Self { feed, key, key_id, incarnation: 1 }
    }

    /// The same author after its feed was joined again.
    #[must_use]
    pub const fn with_incarnation(mut self, incarnation: u32) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// How often the feed was joined again, a label for people.
    pub const fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The feed this author writes.
    pub const fn feed(&self) -> FeedId {
        self.feed
    }

    /// The public half of the signing key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Id of the signing key.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Signs any message with the feed's key, for proofs of possession and receipts.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Makes the op that follows `head`.
    ///
    /// # Errors
    /// `TooLarge` when the change does not fit into an op.
    pub fn author(&self, head: Head, change: Change, stamp: Stamp) -> Result<Op, OpFault> {
        let payload_len = u32::try_from(change.payload.len())
            .map_err(|_large| OpFault::TooLarge(change.payload.len()))?;
        let header = pb::OpHeader {
            suite: SUITE,
            feed_id: Bytes::copy_from_slice(self.feed.as_bytes()),
            seq: head.seq + 1,
            prev_hash: Bytes::copy_from_slice(head.hash.as_bytes()),
            incarnation: self.incarnation,
            op_uid: Bytes::copy_from_slice(&stamp.uid),
            key_id: Bytes::copy_from_slice(self.key_id.as_bytes()),
            r#type: change.kind.name().to_owned(),
            schema: SCHEMA,
            min_reader: SCHEMA,
            payload_hash: Bytes::copy_from_slice(Hash::of(&[&change.payload]).as_bytes()),
            payload_len,
            subject: change.subject.into(),
            base: change.base.map_or_else(Bytes::new, |hash| hash.as_bytes().to_vec().into()),
            claimed_at_ms: stamp.now_ms,
            actor: stamp.actor,
            visibility: change.visibility.as_u32(),
        }
        .encode_to_vec();
        let signature = self.sign(&header).to_vec();
        Op::parse(SignedOp {
            header: header.into(),
            signature: signature.into(),
            payload: change.payload.into(),
            withheld: false,
        })
    }
    /// The same op after `head`: uid, type, content, actor, visibility and the author's clock stay; place, key,
    /// incarnation and signature are new. Only for ops that this feed's own author wrote.
    ///
    /// # Errors
    /// `Malformed` when the header cannot be read; `Payload` when the content was erased.
    pub fn author_again(&self, head: Head, op: &Op, base: Option<Hash>) -> Result<Op, OpFault> {
        if op.signed.withheld {
            return Err(OpFault::Payload);
        }
        let before = pb::OpHeader::decode(op.signed.header.clone())
            .map_err(|error| OpFault::Malformed(error.to_string()))?;
        let header = pb::OpHeader {
            seq: head.seq + 1,
            prev_hash: Bytes::copy_from_slice(head.hash.as_bytes()),
            incarnation: self.incarnation,
            key_id: Bytes::copy_from_slice(self.key_id.as_bytes()),
            base: base.map_or_else(Bytes::new, |hash| hash.as_bytes().to_vec().into()),
            ..before
        }
        .encode_to_vec();
        let signature = self.sign(&header).to_vec();
        Op::parse(SignedOp {
            header: header.into(),
            signature: signature.into(),
            payload: op.signed.payload.clone(),
            withheld: false,
        })
    }
}

/// Verifies a detached signature of a public key over a message.
pub fn verify_detached(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(public_key) else { return false };
    let Ok(signature) = Signature::from_slice(signature) else { return false };
    key.verify_strict(message, &signature).is_ok()
}
