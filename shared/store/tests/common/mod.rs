//! What the tests of this crate share: a feed to write, and randomness that a seed repeats.

use ed25519_dalek::SigningKey;
use liandong_core::{
    id::{FeedId, Head},
    op::{Author, Change, Op, Stamp},
};

/// splitmix64: the same numbers on every machine and with every version of every crate.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// Writes a feed: each op follows the one before.
#[derive(Debug)]
pub(crate) struct Pen {
    pub(crate) author: Author,
    pub(crate) head: Head,
}

impl Pen {
    pub(crate) fn new(feed: u8) -> Self {
        let feed_id = FeedId::new([feed; 16]);
        Self {
            author: Author::new(feed_id, SigningKey::from_bytes(&[feed; 32])),
            head: Head::EMPTY,
        }
    }

    pub(crate) fn write(&mut self, change: Change) -> Op {
        let mut uid = [0; 16];
        uid[8..].copy_from_slice(&self.head.seq.to_be_bytes());
        let now_ms = 1_700_000_000_000 + i64::try_from(self.head.seq).unwrap();
        let stamp = Stamp { now_ms, uid, actor: "pen".to_owned() };
        let op = self.author.author(self.head, change, stamp).unwrap();
        self.head = op.head();
        op
    }
}
