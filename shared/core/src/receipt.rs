//! Signed statements: the hub's receipts and the proofs of possession at enrolment.

use liandong_proto::sync as pb;

use crate::{
    id::{FeedId, Hash, Head},
    op::{Author, verify_detached},
};

/// The hub's statement that it stored a feed durably up to a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Feed the receipt is for.
    pub feed: FeedId,
    /// What is durable.
    pub head: Head,
    /// The hub's clock, milliseconds since 1970.
    pub received_at_ms: i64,
    /// 64 bytes of the hub's key.
    pub signature: Vec<u8>,
}

fn message(feed: FeedId, head: Head, at_ms: i64) -> Vec<u8> {
    let mut bytes = b"liandong.receipt.v1".to_vec();
    bytes.extend_from_slice(feed.as_bytes());
    bytes.extend_from_slice(&head.seq.to_be_bytes());
    bytes.extend_from_slice(head.hash.as_bytes());
    bytes.extend_from_slice(&at_ms.to_be_bytes());
    bytes
}

impl Receipt {
    /// Signs a receipt with the hub's key.
    pub fn sign(hub: &Author, feed: FeedId, head: Head, at_ms: i64) -> Self {
        let signature = hub.sign(&message(feed, head, at_ms)).to_vec();
        Self { feed, head, received_at_ms: at_ms, signature }
    }

    /// Whether the hub's key signed it; needs nothing but the receipt and the key.
    pub fn verifies(&self, hub_public_key: &[u8; 32]) -> bool {
        let message = message(self.feed, self.head, self.received_at_ms);
        verify_detached(hub_public_key, &message, &self.signature)
    }

    /// The wire form.
    pub fn to_wire(&self, hub: &Author) -> pb::Receipt {
        pb::Receipt {
            feed_id: self.feed.as_bytes().to_vec().into(),
            seq: self.head.seq,
            head_hash: self.head.hash.as_bytes().to_vec().into(),
            received_at_ms: self.received_at_ms,
            hub_key_id: hub.key_id().as_bytes().to_vec().into(),
            signature: self.signature.clone().into(),
        }
    }
}

/// What a feed key signs to prove possession when it joins.
pub fn join_message(token_hash: Hash, feed: FeedId, csr_der: &[u8]) -> Vec<u8> {
    let csr = Hash::of(&[csr_der]);
    [b"liandong.join.v1", token_hash.as_bytes().as_slice(), feed.as_bytes(), csr.as_bytes()]
        .concat()
}

/// What a feed key signs to renew its certificate.
pub fn renew_message(feed: FeedId, csr_der: &[u8]) -> Vec<u8> {
    let csr = Hash::of(&[csr_der]);
    [b"liandong.renew.v1", feed.as_bytes().as_slice(), csr.as_bytes()].concat()
}

/// What is kept of a join token: never the secret itself.
pub fn token_hash(secret: &[u8]) -> Hash {
    Hash::of(&[b"liandong.token.v1", secret])
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::wire::read_receipt;

    fn hub(seed: u8) -> Author {
        Author::new(FeedId::new([1; 16]), SigningKey::from_bytes(&[seed; 32]))
    }

    fn receipt() -> Receipt {
        let head = Head { seq: 9, hash: Hash::of(&[b"op 9"]) };
        Receipt::sign(&hub(1), FeedId::new([7; 16]), head, 1_700_000_000_000)
    }

    #[test]
    fn a_receipt_verifies_with_nothing_but_the_hubs_key() {
        assert!(receipt().verifies(&hub(1).public_key()));
        assert!(!receipt().verifies(&hub(2).public_key()));
        let read = read_receipt(&receipt().to_wire(&hub(1))).unwrap();
        assert_eq!(read, receipt());
    }

    #[test]
    fn a_receipt_that_says_anything_else_does_not_verify() {
        let changes: [fn(&mut Receipt); 6] = [
            |receipt| receipt.feed = FeedId::new([8; 16]),
            |receipt| receipt.head.seq += 1,
            |receipt| receipt.head.hash = Hash::ZERO,
            |receipt| receipt.received_at_ms += 1,
            |receipt| receipt.signature[63] ^= 1,
            |receipt| receipt.signature.truncate(63),
        ];
        for change in changes {
            let mut other = receipt();
            change(&mut other);
            assert!(!other.verifies(&hub(1).public_key()), "{other:?}");
        }
    }

    #[test]
    fn a_proof_of_possession_is_for_one_request_only() {
        let feeds = [FeedId::new([7; 16]), FeedId::new([8; 16])];
        let mut messages = Vec::new();
        for feed in feeds {
            for csr in [b"csr one", b"csr two"] {
                messages.push(renew_message(feed, csr));
                for token in [token_hash(b"secret"), token_hash(b"Secret")] {
                    messages.push(join_message(token, feed, csr));
                }
            }
        }
        for (place, message) in messages.iter().enumerate() {
            assert!(!messages[..place].contains(message), "message {place}");
        }
    }
}
