//! Keys of the hub's own feed under a root that is kept offline.
//!
//! Only the root can say which key signs next. The op that carries its word is signed by the key that it names, so a
//! key that was lost or stolen is replaced without being asked; serial numbers keep an older word from being said
//! again.

use serde::{Deserialize, Serialize};

use super::{City, change, read};
use crate::{
    directory::Unreadable,
    id::{FeedId, Hash, KeyId},
    op::{Author, Change, Keys, Op, OpFault, OpType, verify_detached},
};

/// What a process was told of the hub before it read the hub's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubAnchor {
    /// ed25519 public key that signed the feed's first op.
    pub first_key: Hash,
    /// The root's public key. Without it the feed may name one, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
}

/// Payload of `hub.root.v1`: a hub that was made without a root has one from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubRoot {
    /// The root's ed25519 public key.
    pub public_key: Hash,
}

impl HubRoot {
    /// The op that says so.
    pub fn put(&self) -> Vec<Change> {
        vec![change(OpType::HubRoot, b"root", self)]
    }
}

/// Payload of `hub.key.v1`: the root lets a key sign the hub's feed, from this op on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubKeyGrant {
    /// Higher than that of every grant before.
    pub serial: u64,
    /// ed25519 public key.
    pub public_key: Hash,
    /// Signature of the root over feed, serial and key, hex.
    pub signature: String,
}

impl HubKeyGrant {
    fn message(feed: FeedId, serial: u64, public_key: Hash) -> Vec<u8> {
        let serial = serial.to_be_bytes();
        [b"liandong.hub_key.v1", feed.as_bytes().as_slice(), &serial, public_key.as_bytes()]
            .concat()
    }

    /// The root's word for a key. `root` is an author of the hub's feed that holds the root's key.
    pub fn sign(root: &Author, serial: u64, public_key: Hash) -> Self {
        let signature = hex::encode(root.sign(&Self::message(root.feed(), serial, public_key)));
        Self { serial, public_key, signature }
    }

    /// The op that says so; the key that it names must sign it.
    pub fn put(&self) -> Vec<Change> {
        vec![change(OpType::HubKey, b"key", self)]
    }

    fn verifies(&self, feed: FeedId, root: Hash) -> bool {
        let signature = hex::decode(&self.signature).unwrap_or_default();
        let message = Self::message(feed, self.serial, self.public_key);
        verify_detached(root.as_bytes(), &message, &signature)
    }
}

/// What the hub's feed itself says of its keys.
#[derive(Debug, Clone, Default)]
pub struct HubSigners {
    root: Option<Hash>,
    grants: Vec<(u64, HubKeyGrant)>,
}

impl HubSigners {
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        match op.kind {
            OpType::HubRoot => {
                let named: HubRoot = read(op)?;
                self.root.get_or_insert(named.public_key);
            }
            OpType::HubKey => self.grants.push((op.seq, read(op)?)),
            _ => {}
        }
        Ok(())
    }
}

/// Which key signs the hub's feed where, as far as one reader has followed it.
#[derive(Debug, Clone)]
pub struct HubKeys {
    feed: FeedId,
    root: Option<Hash>,
    serial: u64,
    current: Hash,
    all: Vec<Hash>,
    keys: Keys,
}

impl HubKeys {
    /// The keys at the beginning of the feed.
    ///
    /// # Errors
    /// `Malformed` when the first key is none.
    pub fn new(feed: FeedId, anchor: HubAnchor) -> Result<Self, OpFault> {
        let HubAnchor { first_key, root } = anchor;
        let mut keys = Keys::default();
        keys.grant(first_key.as_bytes(), 1)?;
        Ok(Self { feed, root, serial: 0, current: first_key, all: vec![first_key], keys })
    }

    /// Takes over what a mirror of the feed says, whose ops were checked one by one. A word of another root counts for
    /// nothing.
    pub fn follow(&mut self, city: &City) {
        self.root = self.root.or(city.hub_signers.root);
        let new = city.hub_signers.grants.iter().filter(|(_, grant)| grant.serial > self.serial);
        for (seq, grant) in new.cloned().collect::<Vec<_>>() {
            // One that the root did not sign leaves ops behind that do not verify, which is where it is told.
            let _told_there = self.admit(seq, &grant);
        }
    }

    /// Checks the signature of an op that arrives, and follows what it says about keys.
    ///
    /// # Errors
    /// `Key`, `Signature`; `Malformed` when the root did not say it.
    pub fn take(&mut self, op: &Op) -> Result<(), OpFault> {
        let unreadable = |error: Unreadable| OpFault::Malformed(error.to_string());
        match op.kind {
            OpType::HubKey => {
                let mut next = self.clone();
                next.admit(op.seq, &read(op).map_err(unreadable)?)?;
                op.verify(&next.keys)?;
                *self = next;
            }
            OpType::HubRoot => {
                op.verify(&self.keys)?;
                let named: HubRoot = read(op).map_err(unreadable)?;
                if *self.root.get_or_insert(named.public_key) != named.public_key {
                    return Err(OpFault::Malformed("the hub has another root".to_owned()));
                }
            }
            _ => op.verify(&self.keys)?,
        }
        Ok(())
    }

    fn admit(&mut self, seq: u64, grant: &HubKeyGrant) -> Result<(), OpFault> {
        let refuse = |why: &str| Err(OpFault::Malformed(why.to_owned()));
        let Some(root) = self.root else { return refuse("the hub has no root") };
        if !grant.verifies(self.feed, root) {
            return refuse("the root did not grant the key");
        }
        let id = KeyId::of(grant.public_key.as_bytes());
        let known = self.keys.list().iter().any(|span| span.key == id && span.from_seq == seq);
        if known {
            return Ok(());
        }
        if grant.serial <= self.serial {
            return refuse("the root has granted another key since");
        }
        self.keys.grant(grant.public_key.as_bytes(), seq)?;
        (self.serial, self.current) = (grant.serial, grant.public_key);
        self.all.push(grant.public_key);
        Ok(())
    }

    /// Whether the grant would be believed at a position.
    pub fn would_admit(&self, seq: u64, grant: &HubKeyGrant) -> bool {
        self.clone().admit(seq, grant).is_ok()
    }

    /// The key that signs now, for checkpoints and receipts as they come.
    pub const fn current(&self) -> Hash {
        self.current
    }

    /// Every key that signed at some time, oldest first, for statements that were kept.
    pub fn all(&self) -> &[Hash] {
        &self.all
    }

    /// Where which key signs.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The root.
    pub const fn root(&self) -> Option<Hash> {
        self.root
    }

    /// The number that the next grant may have.
    pub const fn next_serial(&self) -> u64 {
        self.serial + 1
    }

    /// Whether the key signs now.
    pub fn signs(&self, id: KeyId) -> bool {
        self.keys.current() == Some(id)
    }

    /// Whether the key signs at a position.
    pub fn signs_at(&self, id: KeyId, seq: u64) -> bool {
        self.keys.signed(id, seq).is_some()
    }
}
