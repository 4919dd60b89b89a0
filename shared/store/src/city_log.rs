//! What changed in the city, compacted: each record once, at its newest position.
//!
//! It lives as long as the process, so it needs no disk: another run of the hub is another epoch, and whoever followed
//! the one before compares roots and goes on. Memory is bounded by the records there are, however fast they change and
//! however slowly anyone reads.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use liandong_core::{
    city::Scope,
    digest::Digest,
    id::{FeedId, Hash, Head, RecordId},
};

/// Names one run of a hub, 16 random bytes.
pub type Epoch = [u8; 16];

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    seq: u64,
    /// Who sees it now.
    scope: Option<Scope>,
    /// Who may have seen it in this epoch, and has to be told when it is gone.
    told: Scope,
}

/// A record that a follower has to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) seq: u64,
    pub(crate) id: RecordId,
    /// What it shows; none when the follower must forget it.
    pub(crate) leaf: Option<Hash>,
}

/// What one audience's replica should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CityDigest {
    /// The run of the hub.
    pub epoch: Epoch,
    /// Changes up to here are in it.
    pub city_seq: u64,
    /// The hub's feed, as far as it counts.
    pub hub: Head,
    /// Rows, stubs included.
    pub count: u64,
    /// Hashes of the buckets.
    pub buckets: Vec<Hash>,
}

impl CityDigest {
    /// Root over all rows.
    pub fn root(&self) -> Hash {
        Digest::root_over(&self.buckets)
    }
}

/// The changes of one run.
#[derive(Debug)]
pub(crate) struct CityLog {
    epoch: Epoch,
    newest: u64,
    hub: Head,
    places: HashMap<RecordId, Place>,
    order: BTreeMap<u64, RecordId>,
    /// Leaves that every node sees: shared by all audiences, so that sixteen of them cost little more than one.
    common: Digest,
    /// Leaves that only one feed sees.
    own: BTreeMap<FeedId, Digest>,
    nobody: Digest,
}

impl CityLog {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            newest: 0,
            hub: Head::EMPTY,
            places: HashMap::new(),
            order: BTreeMap::new(),
            common: Digest::default(),
            own: BTreeMap::new(),
            nobody: Digest::default(),
        }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Newest position that was given out.
    pub(crate) const fn newest(&self) -> u64 {
        self.newest
    }

    /// The hub's feed counts up to here.
    pub(crate) const fn counts(&mut self, hub: Head) {
        self.hub = hub;
    }

    /// Records that were ever noted.
    pub(crate) fn known(&self) -> impl Iterator<Item = RecordId> {
        self.places.keys().copied()
    }

    fn digest(&mut self, scope: Scope) -> &mut Digest {
        match scope {
            Scope::Everyone => &mut self.common,
            Scope::Only(feed) => self.own.entry(feed).or_default(),
        }
    }

    fn leaf(&self, id: RecordId, scope: Scope) -> Option<Hash> {
        match scope {
            Scope::Everyone => self.common.get(id),
            Scope::Only(feed) => self.own.get(&feed)?.get(id),
        }
    }

    /// Notes what a record shows now and to whom; nothing when it is no record any more. What changes nothing keeps
    /// its position.
    pub(crate) fn set(&mut self, id: RecordId, row: Option<(Scope, Hash)>) {
        let known = self.places.get(&id).copied();
        let shown = known.and_then(|place| {
            let scope = place.scope?;
            Some((scope, self.leaf(id, scope)?))
        });
        if shown == row {
            return;
        }
        if let Some((scope, _)) = shown {
            self.digest(scope).remove(id);
        }
        if let Some((scope, leaf)) = row {
            self.digest(scope).set(id, leaf);
        }
        let scope = row.map(|(scope, _)| scope);
        let before = known.map(|place| place.told);
        let Some(told) = before.map_or(scope, |told| Some(told.with(scope.unwrap_or(told)))) else {
            return;
        };
        if let Some(place) = known {
            self.order.remove(&place.seq);
        }
        self.newest += 1;
        self.order.insert(self.newest, id);
        self.places.insert(id, Place { seq: self.newest, scope, told });
    }

    /// What an audience has to hear after a position, at most `limit` records, and the position that is reached.
    pub(crate) fn after(&self, seq: u64, audience: FeedId, limit: usize) -> (Vec<Listed>, u64) {
        let mut listed = Vec::new();
        for (seq, id) in self.order.range(seq + 1..) {
            let Some(place) = self.places.get(id) else { continue };
            let leaf = match place.scope {
                Some(scope) if scope.covers(audience) => self.leaf(*id, scope),
                _ if place.told.covers(audience) => None,
                _ => continue,
            };
            listed.push(Listed { seq: *seq, id: *id, leaf });
            if listed.len() == limit {
                return (listed, *seq);
            }
        }
        (listed, self.newest)
    }

    /// What an audience's replica should hold.
    pub(crate) fn audit(&mut self, audience: FeedId) -> CityDigest {
        let own = self.own.get(&audience).unwrap_or(&self.nobody);
        let count = (self.common.len() + own.len()) as u64;
        let mut common = mem::take(&mut self.common);
        let buckets = common.buckets_with(own);
        self.common = common;
        let (epoch, city_seq, hub) = (self.epoch, self.newest, self.hub);
        CityDigest { epoch, city_seq, hub, count, buckets }
    }

    /// The leaves of one bucket that an audience sees, in the order of their ids.
    pub(crate) fn leaves(&self, audience: FeedId, bucket: usize) -> Vec<(RecordId, Hash)> {
        let mut leaves: Vec<_> = self.common.leaves(bucket).collect();
        if let Some(own) = self.own.get(&audience) {
            leaves.extend(own.leaves(bucket));
            leaves.sort_unstable_by_key(|(id, _)| *id);
        }
        leaves
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;

    const FEEDS: [FeedId; 3] = [FeedId::new([1; 16]), FeedId::new([2; 16]), FeedId::new([3; 16])];

    fn id(n: u8) -> RecordId {
        RecordId::new(FEEDS[usize::from(n) % 3], Ulid(u128::from(n)))
    }

    fn row(kind: u8, leaf: u8) -> Option<(Scope, Hash)> {
        let leaf = Hash::new([leaf; 32]);
        match kind {
            0 => None,
            1 | 2 => Some((Scope::Only(FEEDS[usize::from(kind) - 1]), leaf)),
            _ => Some((Scope::Everyone, leaf)),
        }
    }

    /// What one audience makes of what it is told.
    #[derive(Default)]
    struct Replica {
        at: u64,
        rows: BTreeMap<RecordId, Hash>,
    }

    impl Replica {
        /// Hears a few records; returns whether there was anything.
        fn hear(&mut self, log: &CityLog, audience: FeedId, limit: usize) -> bool {
            let (listed, at) = log.after(self.at, audience, limit);
            let any = at != self.at;
            for Listed { seq, id, leaf } in listed {
                assert!(seq > self.at, "positions only grow");
                match leaf {
                    Some(leaf) => _ = self.rows.insert(id, leaf),
                    None => _ = self.rows.remove(&id),
                }
            }
            self.at = at;
            any
        }
    }

    proptest! {
        #[test]
        fn whoever_hears_everything_from_any_position_on_has_the_root_of_its_audience(
            script in prop::collection::vec((0_u8..12, 0_u8..5, 0_u8..3, 0_usize..3), 1..120),
            limit in 1_usize..5,
        ) {
            let mut log = CityLog::new([7; 16]);
            let mut replicas: Vec<Replica> = FEEDS.iter().map(|_| Replica::default()).collect();
            for (n, kind, leaf, reader) in script {
                log.set(id(n), row(kind, leaf));
                // One of them hears a little in between; the others fall behind.
                replicas[reader].hear(&log, FEEDS[reader], limit);
                let live = log.places.len();
                prop_assert!(log.order.len() == live && live <= 12, "bounded by the records");
            }
            for (replica, audience) in replicas.iter_mut().zip(FEEDS) {
                while replica.hear(&log, audience, limit) {}
                let mut digest = Digest::default();
                for (id, leaf) in &replica.rows {
                    digest.set(*id, *leaf);
                }
                let audited = log.audit(audience);
                prop_assert_eq!(audited.root(), digest.root());
                prop_assert_eq!(audited.count, replica.rows.len() as u64);
                let leaves: Vec<_> = (0..256).flat_map(|n| log.leaves(audience, n)).collect();
                prop_assert_eq!(leaves.into_iter().collect::<BTreeMap<_, _>>(), replica.rows.clone());
            }
        }
    }

    #[test]
    fn what_only_one_node_sees_is_not_so_much_as_named_to_another() {
        let mut log = CityLog::new([7; 16]);
        log.set(id(0), row(1, 1));
        log.set(id(0), row(1, 2));
        assert_eq!(log.after(0, FEEDS[0], 9).0.len(), 1);
        assert_eq!(log.after(0, FEEDS[1], 9), (Vec::new(), 2));
        assert_eq!((log.audit(FEEDS[1]).count, log.audit(FEEDS[0]).count), (0, 1));
    }

    #[test]
    fn a_change_that_changes_nothing_keeps_its_position() {
        let mut log = CityLog::new([7; 16]);
        log.set(id(1), row(3, 1));
        log.set(id(2), None);
        log.set(id(1), row(3, 1));
        assert_eq!(log.newest(), 1);
    }
}
