//! A digest of many records that two sides can compare: 256 buckets under one root.
//!
//! A record's bucket is the last byte of its id (the random end of its ULID): unlike the first byte, which all records
//! of a feed share, it spreads them evenly. Within a bucket leaves stand in the order of their ids, which puts the
//! records of one feed beside each other; so the root over many feeds is computed from their digests without a second
//! copy.

use std::collections::BTreeMap;

use crate::id::{Hash, RecordId};

/// Buckets under a root.
pub const BUCKETS: usize = 256;

/// Leaves of one feed's records.
#[derive(Debug, Clone)]
pub struct Digest {
    buckets: Vec<BTreeMap<RecordId, Hash>>,
    hashes: Vec<Option<Hash>>,
}

impl Default for Digest {
    fn default() -> Self {
        Self { buckets: vec![BTreeMap::new(); BUCKETS], hashes: vec![None; BUCKETS] }
    }
}

fn bucket_of(id: RecordId) -> usize {
    usize::from(id.to_bytes()[31])
}

fn hash_of<'a>(leaves: impl Iterator<Item = &'a Hash>) -> Hash {
    let leaves: Vec<&[u8]> = leaves.map(|leaf| leaf.as_bytes().as_slice()).collect();
    Hash::of(&leaves)
}

fn root_of(buckets: impl Iterator<Item = Hash>) -> Hash {
    let mut bytes = b"liandong.root.v1".to_vec();
    for bucket in buckets {
        bytes.extend_from_slice(bucket.as_bytes());
    }
    Hash::of(&[&bytes])
}

impl Digest {
    /// Sets the leaf of a record.
    pub fn set(&mut self, id: RecordId, leaf: Hash) {
        let bucket = bucket_of(id);
        self.buckets[bucket].insert(id, leaf);
        self.hashes[bucket] = None;
    }

    /// Records in the digest, withdrawn ones included.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(BTreeMap::len).sum()
    }

    /// Whether there is no record at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The root; only buckets that changed since the last call are hashed again.
    pub fn root(&mut self) -> Hash {
        let Self { buckets, hashes } = self;
        root_of(
            buckets
                .iter()
                .zip(hashes.iter_mut())
                .map(|(leaves, cached)| *cached.get_or_insert_with(|| hash_of(leaves.values()))),
        )
    }

    /// The root over the records of several feeds, given in the order of their feed ids.
    pub fn union_root<'a>(digests: &(impl Iterator<Item = &'a Self> + Clone)) -> Hash {
        root_of((0..BUCKETS).map(|bucket| {
            hash_of(digests.clone().flat_map(move |digest| digest.buckets[bucket].values()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;
    use crate::id::FeedId;

    fn record(feed: u8, ulid: u128) -> RecordId {
        RecordId::new(FeedId::new([feed; 16]), Ulid(ulid))
    }

    proptest! {
        #[test]
        fn the_root_does_not_depend_on_the_order_of_arrival(
            leaves in prop::collection::btree_map((0_u8..3, 0_u128..600), any::<[u8; 32]>(), 0..60),
            seed in any::<u64>(),
        ) {
            let mut shuffled: Vec<_> = leaves.iter().collect();
            shuffled.sort_by_key(|(key, _)| Hash::of(&[&seed.to_be_bytes(), &[key.0], &key.1.to_be_bytes()]));
            let (mut forward, mut backward) = (Digest::default(), Digest::default());
            for ((feed, ulid), leaf) in &leaves {
                forward.set(record(*feed, *ulid), Hash::new(*leaf));
            }
            for ((feed, ulid), leaf) in shuffled {
                backward.set(record(*feed, *ulid), Hash::ZERO);
                let _cached = backward.root();
                backward.set(record(*feed, *ulid), Hash::new(*leaf));
            }
            prop_assert_eq!(forward.root(), backward.root());
        }

        #[test]
        fn the_union_of_the_feeds_has_the_root_of_all_records_together(
            leaves in prop::collection::btree_map((0_u8..3, 0_u128..600), any::<[u8; 32]>(), 0..60),
        ) {
            let mut all = Digest::default();
            let mut feeds = vec![Digest::default(); 3];
            for ((feed, ulid), leaf) in leaves {
                all.set(record(feed, ulid), Hash::new(leaf));
                feeds[usize::from(feed)].set(record(feed, ulid), Hash::new(leaf));
            }
            prop_assert_eq!(all.root(), Digest::union_root(&feeds.iter()));
        }
    }

    #[test]
    fn one_changed_leaf_changes_the_root() {
        let mut digest = Digest::default();
        digest.set(record(1, 1), Hash::ZERO);
        let before = digest.root();
        digest.set(record(1, 1), Hash::new([1; 32]));
        assert_ne!(before, digest.root());
    }
}
