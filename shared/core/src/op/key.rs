//! The keys of a feed: which one signs where, rotation and revocation.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use super::{Author, Op, OpFault, verify_detached};
use crate::id::{FeedId, Hash, KeyId};

/// From where to where a key may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySpan {
    id: KeyId,
    pub(super) key: VerifyingKey,
    from_seq: u64,
    /// Last position, when another key followed.
    until_seq: u64,
    /// Last position that is believed, when the key was revoked.
    good_seq: u64,
    /// The key that named this one in the feed; none when the hub did.
    named_by: Option<KeyId>,
}

impl KeySpan {
    fn covers(&self, seq: u64) -> bool {
        (self.from_seq..=self.until_seq).contains(&seq)
    }
}

/// The keys of one feed. At each position exactly one key signs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<KeySpan>);

impl Keys {
    /// Gives a key every position from `from_seq` on. The hub's own word is the last: no key that was to sign there
    /// does, be it one of a rotation that is lost. Bytes that are no ed25519 point are refused.
    ///
    /// # Errors
    /// `OpFault::Malformed`.
    pub fn grant(&mut self, public_key: &[u8; 32], from_seq: u64) -> Result<(), OpFault> {
        let (id, key) = read(public_key)?;
        let open = u64::MAX;
        let signs =
            |span: &KeySpan| span.id == id && span.from_seq <= from_seq && span.until_seq == open;
        if self.0.iter().any(signs) {
            return Ok(());
        }
        for span in &mut self.0 {
            span.until_seq = span.until_seq.min(from_seq.saturating_sub(1));
        }
        let span = KeySpan { id, key, from_seq, until_seq: open, good_seq: open, named_by: None };
        self.0.push(span);
        Ok(())
    }

    /// Adds the key that the one before named in the feed, as the hub confirms it.
    ///
    /// # Errors
    /// `OpFault::Malformed`.
    pub fn countersign(&mut self, public_key: &[u8; 32], from_seq: u64) -> Result<(), OpFault> {
        let before = from_seq.saturating_sub(1);
        let named_by = self.0.iter().find(|span| span.covers(before)).map(|span| span.id);
        self.add(public_key, from_seq, named_by)
    }

    fn add(
        &mut self,
        public_key: &[u8; 32],
        from_seq: u64,
        named_by: Option<KeyId>,
    ) -> Result<(), OpFault> {
        let (id, key) = read(public_key)?;
        let open = u64::MAX;
        let known = |span: &KeySpan| {
            span.id == id
                && (span.from_seq == from_seq
                    || (span.from_seq < from_seq && span.until_seq == open))
        };
        if self.0.iter().any(known) {
            return Ok(());
        }
        // The hub may confirm a rotation after it granted the key that followed: a later span stays.
        let later = self.0.iter().filter(|span| span.covers(span.from_seq));
        let next = later.map(|span| span.from_seq).filter(|from| *from > from_seq).min();
        let until_seq = next.map_or(open, |next| next - 1);
        for span in self.0.iter_mut().filter(|span| span.from_seq <= from_seq) {
            span.until_seq = span.until_seq.min(from_seq.saturating_sub(1));
        }
        // What a key that is not believed named is not believed either.
        let fallen = self.0.iter().find(|span| Some(span.id) == named_by);
        let good_seq = fallen.map_or(open, |span| span.good_seq);
        let good_seq = if from_seq > good_seq.saturating_add(1) { good_seq } else { open };
        self.0.push(KeySpan { id, key, from_seq, until_seq, good_seq, named_by });
        Ok(())
    }

    /// Believes nothing that the key signed after `last_good`, whatever was granted to it, and nothing of the keys
    /// that it named since.
    pub fn revoke(&mut self, id: KeyId, last_good: u64) {
        let mut fallen = vec![id];
        while let Some(id) = fallen.pop() {
            for span in self.0.iter_mut().filter(|span| span.id == id) {
                span.good_seq = span.good_seq.min(last_good);
            }
            let named = self.0.iter().filter(|span| {
                span.named_by == Some(id)
                    && span.from_seq > last_good.saturating_add(1)
                    && span.good_seq > last_good
            });
            fallen.extend(named.map(|span| span.id).collect::<Vec<_>>());
        }
    }

    /// Keys that are not believed, each with the last position that is.
    pub fn revoked(&self) -> Vec<(KeyId, u64)> {
        let revoked = self.0.iter().filter(|span| span.good_seq != u64::MAX);
        let mut revoked: Vec<_> = revoked.map(|span| (span.id, span.good_seq)).collect();
        revoked.sort_unstable();
        revoked.dedup();
        revoked
    }

    /// Takes a rotation in the feed itself: the op that the old key signed names the one that signs from then on.
    ///
    /// # Errors
    /// `OpFault::Malformed` when the payload names no key, or the new key did not agree.
    pub fn rotate(&mut self, op: &Op) -> Result<(), OpFault> {
        let rotation = KeyRotation::of(op)?;
        self.add(rotation.public_key.as_bytes(), op.seq + 1, Some(op.key))
    }

    /// Whether an op of the key may arrive at the position now. Where the hub itself gave another key later it held the
    /// op before, and a hub that was rebuilt takes it back: it stays in the chain, without effect.
    pub(super) fn at(&self, id: KeyId, seq: u64) -> Option<&VerifyingKey> {
        let span = self.signed(id, seq)?;
        let replaced = || self.0.iter().any(|key| key.named_by.is_none() && key.from_seq > seq);
        (seq <= span.good_seq || replaced()).then_some(&span.key)
    }

    pub(crate) fn signed(&self, id: KeyId, seq: u64) -> Option<&KeySpan> {
        let mut spans = self.0.iter();
        spans.find(|span| span.id == id && span.covers(seq))
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Vec<KeyStretch> {
        let closed = |seq| (seq != u64::MAX).then_some(seq);
        let stretch = |span: &KeySpan| KeyStretch {
            key: span.id,
            from_seq: span.from_seq,
            until_seq: closed(span.until_seq),
            last_good: closed(span.good_seq),
        };
        self.0.iter().map(stretch).collect()
    }

    /// A key of the feed, wherever it was good.
    pub(super) fn known(&self, id: KeyId) -> Option<&VerifyingKey> {
        self.0.iter().find(|span| span.id == id).map(|span| &span.key)
    }

    /// The public half of a key that the feed has or had.
    pub fn public_key(&self, id: KeyId) -> Option<Hash> {
        self.known(id).map(|key| Hash::new(key.to_bytes()))
    }

    /// The key that signs what is written next.
    pub fn current(&self) -> Option<KeyId> {
        self.0.iter().find(|span| span.until_seq == u64::MAX).map(|span| span.id)
    }
}

fn read(public_key: &[u8; 32]) -> Result<(KeyId, VerifyingKey), OpFault> {
    let key = VerifyingKey::from_bytes(public_key)
        .map_err(|error| OpFault::Malformed(error.to_string()))?;
    Ok((KeyId::of(public_key), key))
}

/// From where to where a key signs, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStretch {
    /// The key.
    pub key: KeyId,
    /// First position.
    pub from_seq: u64,
    /// Last position, when another key followed.
    pub until_seq: Option<u64>,
    /// Last position that is believed, when the key was revoked.
    pub last_good: Option<u64>,
}

/// Payload of `key.rotate.v1`: the old key names the new one, and the new one agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotation {
    /// The ed25519 public key that signs from the next op on.
    pub public_key: Hash,
    /// Signature of the new key over the feed and the old key, hex.
    pub proof: String,
}

impl KeyRotation {
    fn message(feed: FeedId, old: KeyId) -> Vec<u8> {
        [b"liandong.rotate.v1", feed.as_bytes().as_slice(), old.as_bytes()].concat()
    }

    /// The rotation from `old` to `new`, an author of the same feed.
    pub fn new(new: &Author, old: KeyId) -> Self {
        Self {
            public_key: Hash::new(new.public_key()),
            proof: hex::encode(new.sign(&Self::message(new.feed(), old))),
        }
    }

    /// Reads and checks the rotation in an op.
    ///
    /// # Errors
    /// `OpFault::Malformed`.
    pub fn of(op: &Op) -> Result<Self, OpFault> {
        let rotation: Self = serde_json::from_slice(&op.signed.payload)
            .map_err(|error| OpFault::Malformed(error.to_string()))?;
        let proof = hex::decode(&rotation.proof).unwrap_or_default();
        let message = Self::message(op.feed, op.key);
        if verify_detached(rotation.public_key.as_bytes(), &message, &proof) {
            Ok(rotation)
        } else {
            Err(OpFault::Malformed("the new key did not agree to the rotation".to_owned()))
        }
    }
}
