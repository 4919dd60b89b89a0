//! What an all-knowing witness has written down: what was signed, stored, promised and answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use liandong_core::{
    city::Cause,
    id::{FeedId, Hash, Head},
    op::{Op, SignedOp},
    receipt::Receipt,
};

/// The witness's book.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Every op that anybody entitled to it has ever signed.
    pub(super) authored: HashMap<Hash, SignedOp>,
    /// What the hub holds durably, position by position.
    pub(super) durable: BTreeMap<FeedId, Vec<Hash>>,
    /// What the hub promised to hold: the positions of all receipts, and the last receipt.
    pub(super) promised: BTreeMap<FeedId, (BTreeMap<u64, Hash>, Receipt)>,
    /// Letters that the hub answered, and by which of its ops.
    pub(super) answered: BTreeMap<Cause, (u64, String)>,
    /// Feeds that both ends have lost something of: what is gone then is told, not prevented (F11).
    pub(super) lost_twice: BTreeSet<FeedId>,
    /// Feeds of which a node went on from an older disk.
    pub(super) rolled_back: BTreeSet<FeedId>,
    /// Whether the hub went on from an older disk, or from none.
    pub(super) hub_lost: bool,
    next_uid: u128,
}

impl Ledger {
    /// A fresh op uid.
    pub(super) fn uid(&mut self) -> u128 {
        self.next_uid += 1;
        self.next_uid
    }

    pub(super) fn authored(&mut self, op: &Op) {
        self.authored.insert(op.hash, op.signed.clone());
    }

    /// The hub has synced a feed up to there.
    pub(super) fn synced(&mut self, feed: FeedId, ops: &[Op]) {
        let durable = self.durable.entry(feed).or_default();
        durable.extend(ops.iter().map(|op| op.hash));
    }

    /// Positions that are durable at the hub.
    pub(super) fn stored(&self, feed: FeedId) -> &[Hash] {
        self.durable.get(&feed).map_or(&[], Vec::as_slice)
    }

    pub(super) fn promise(&mut self, receipt: Receipt) {
        let (positions, last) =
            self.promised.entry(receipt.feed).or_insert_with(|| (BTreeMap::new(), receipt.clone()));
        positions.insert(receipt.head.seq, receipt.head.hash);
        if receipt.head.seq >= last.head.seq {
            *last = receipt;
        }
    }

    /// A node goes on from an older disk.
    pub(super) fn node_lost(&mut self, feed: FeedId) {
        self.rolled_back.insert(feed);
        if self.hub_lost {
            self.lost_twice.insert(feed);
        }
    }

    /// The hub goes on from an older disk, which holds this much of each feed.
    pub(super) fn hub_went_back(&mut self, left: &BTreeMap<FeedId, Head>, hub: FeedId) {
        self.hub_lost = true;
        self.lost_twice.extend(&self.rolled_back);
        for (feed, durable) in &mut self.durable {
            let left = left.get(feed).map_or(0, |head| head.seq);
            durable.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let left = left.get(&hub).map_or(0, |head| head.seq);
        self.answered.retain(|_, (seq, _)| *seq <= left);
    }
}

/// How two logs relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Extends,
    Behind,
    Apart,
}

/// How a node's log relates to the hub's.
pub(super) fn relation(node: &[Hash], mirror: &[Hash]) -> Relation {
    if node == mirror {
        Relation::Equal
    } else if node.starts_with(mirror) {
        Relation::Extends
    } else if mirror.starts_with(node) {
        Relation::Behind
    } else {
        Relation::Apart
    }
}
