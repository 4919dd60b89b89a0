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

    /// Takes a record out.
    pub fn remove(&mut self, id: RecordId) {
        let bucket = bucket_of(id);
        self.buckets[bucket].remove(&id);
        self.hashes[bucket] = None;
    }

    /// The leaf of a record.
    pub fn get(&self, id: RecordId) -> Option<Hash> {
        self.buckets[bucket_of(id)].get(&id).copied()
    }

    /// The leaves of a bucket in the order of the ids; none beyond the last bucket.
    pub fn leaves(&self, bucket: usize) -> impl Iterator<Item = (RecordId, Hash)> {
        self.buckets.get(bucket).into_iter().flatten().map(|(id, leaf)| (*id, *leaf))
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
        root_of((0..BUCKETS).map(|bucket| self.bucket_hash(bucket)))
    }

    fn bucket_hash(&mut self, bucket: usize) -> Hash {
        let leaves = &self.buckets[bucket];
        *self.hashes[bucket].get_or_insert_with(|| hash_of(leaves.values()))
    }

    /// Hashes of the buckets over these records and a few others that are not among them. Costs little more than the
    /// buckets of the few.
    pub fn buckets_with(&mut self, few: &Self) -> Vec<Hash> {
        let buckets = 0..BUCKETS;
        buckets
            .map(|bucket| {
                if few.buckets[bucket].is_empty() {
                    return self.bucket_hash(bucket);
                }
                let mut joint = self.buckets[bucket].clone();
                joint.extend(&few.buckets[bucket]);
                hash_of(joint.values())
            })
            .collect()
    }

    /// The root over bucket hashes.
    pub fn root_over(buckets: &[Hash]) -> Hash {
        root_of(buckets.iter().copied())
    }

    /// The hash of a bucket with these leaves, given in the order of their ids.
    pub fn bucket_over(leaves: &[(RecordId, Hash)]) -> Hash {
        hash_of(leaves.iter().map(|(_, leaf)| leaf))
    }

    /// The bucket that a record's leaf is in.
    pub fn bucket_of(id: RecordId) -> usize {
        bucket_of(id)
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

    proptest! {
        #[test]
        fn a_few_leaves_laid_over_many_have_the_root_of_all_together(
            many in prop::collection::btree_map((0_u8..3, 0_u128..600), any::<[u8; 32]>(), 0..60),
            few in prop::collection::btree_map((3_u8..5, 0_u128..600), any::<[u8; 32]>(), 0..9),
            removed in prop::collection::vec((0_u8..3, 0_u128..600), 0..9),
        ) {
            let (mut all, mut base, mut rest) = <(Digest, Digest, Digest)>::default();
            for ((feed, ulid), leaf) in &many {
                base.set(record(*feed, *ulid), Hash::new(*leaf));
                if !removed.contains(&(*feed, *ulid)) {
                    all.set(record(*feed, *ulid), Hash::new(*leaf));
                }
            }
            let _cached = base.root();
            for (feed, ulid) in removed {
                base.remove(record(feed, ulid));
            }
            for ((feed, ulid), leaf) in few {
                all.set(record(feed, ulid), Hash::new(leaf));
                rest.set(record(feed, ulid), Hash::new(leaf));
            }
            let buckets = base.buckets_with(&rest);
            prop_assert_eq!(all.root(), Digest::root_over(&buckets));
            for (bucket, hash) in buckets.iter().enumerate() {
                let leaves: Vec<_> = all.leaves(bucket).collect();
                prop_assert_eq!(*hash, Digest::bucket_over(&leaves));
            }
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
