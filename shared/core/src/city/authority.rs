//! Who may write a record: the feed that minted it, until it was transferred.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::id::{DistrictCode, FeedId, Hash, Head, KeyId, RecordId};

use super::Cause;

/// Payload of `transfer.commit.v1`: from this op of the hub on, records belong to another feed. Ids never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Name of the transfer, a ULID.
    pub id: String,
    /// Feed that gives.
    pub from_feed: FeedId,
    /// Its last op that counts for these records.
    pub at: Head,
    /// Feed that takes.
    pub to_feed: FeedId,
    /// Its op that accepted; later ones count for these records.
    pub accept_seq: u64,
    /// District that takes.
    pub to_district: DistrictCode,
    /// The records; all that the giving feed has, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<BTreeSet<RecordId>>,
    /// Day from which people see it so.
    pub effective: Date,
    /// Why the hub did it without the giving node's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
    /// The district's op that completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Transfer {
    fn covers(&self, record: RecordId) -> bool {
        self.records.as_ref().is_none_or(|records| records.contains(&record))
    }
}

/// A stretch of a feed in which it has authority over a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The feed.
    pub feed: FeedId,
    /// Ops after this one count.
    pub after: u64,
    /// The last op that counts.
    pub until: u64,
}

/// All transfers in the order of the hub's feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority(Vec<Transfer>);

fn spans(transfers: &[Transfer], record: RecordId) -> Vec<Span> {
    let mut spans = vec![Span { feed: record.origin(), after: 0, until: u64::MAX }];
    for transfer in transfers {
        let Some(last) = spans.last_mut() else { break };
        if last.feed == transfer.from_feed && transfer.covers(record) {
            last.until = transfer.at.seq;
            let (feed, after) = (transfer.to_feed, transfer.accept_seq);
            spans.push(Span { feed, after, until: u64::MAX });
        }
    }
    spans
}

impl Authority {
    pub(super) fn commit(&mut self, transfer: Transfer) {
        self.0.push(transfer);
    }

    /// All transfers, oldest first.
    pub fn transfers(&self) -> &[Transfer] {
        &self.0
    }

    /// The stretches of feeds that make up a record's history, oldest first; never empty.
    pub fn spans(&self, record: RecordId) -> Vec<Span> {
        spans(&self.0, record)
    }

    /// The feed that may write the record now.
    pub fn owner(&self, record: RecordId) -> FeedId {
        if self.0.is_empty() {
            return record.origin();
        }
        self.spans(record).last().map_or(record.origin(), |span| span.feed)
    }

    /// The transfers that bear on what a feed's ops mean.
    pub(super) fn of(&self, feed: FeedId) -> Vec<Transfer> {
        let mut feeds = BTreeSet::from([feed]);
        let mut found: Vec<Transfer> = Vec::new();
        for transfer in self.0.iter().rev() {
            if transfer.from_feed == feed || feeds.contains(&transfer.to_feed) {
                feeds.insert(transfer.from_feed);
                found.push(transfer.clone());
            }
        }
        found.reverse();
        found
    }
}

/// What the hub's feed says of one feed, as far as folding it needs. Two folds under equal rules are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Keys that are not believed after a position.
    pub revoked: Vec<(KeyId, u64)>,
    /// Transfers to and from the feed, and to those it took from.
    pub transfers: Vec<Transfer>,
}

impl Rules {
    /// One value for all of it; zero when there is nothing.
    pub fn hash(&self) -> Hash {
        if *self == Self::default() {
            return Hash::ZERO;
        }
        Hash::of(&[b"liandong.rules.v1", &serde_json::to_vec(self).unwrap_or_default()])
    }

    /// Whether these rules and earlier ones mean the same for a feed's ops up to a position.
    pub fn agrees_up_to(&self, before: &Self, feed: FeedId, seq: u64) -> bool {
        let revoked = |later: &Self, other: &Self| {
            let new = later.revoked.iter().filter(|key| !other.revoked.contains(key));
            new.clone().all(|(_, last_good)| *last_good >= seq)
        };
        let moved = |later: &Self, other: &Self| {
            let new = later.transfers.iter().filter(|transfer| !other.transfers.contains(transfer));
            new.clone().all(|transfer| {
                (transfer.from_feed != feed || transfer.at.seq >= seq)
                    && (transfer.to_feed != feed || transfer.accept_seq >= seq)
            })
        };
        revoked(self, before) && revoked(before, self) && moved(self, before) && moved(before, self)
    }

    /// Whether an op of a feed at a position has authority over a record.
    pub fn admits(&self, feed: FeedId, seq: u64, record: RecordId) -> bool {
        if self.transfers.is_empty() {
            return record.origin() == feed;
        }
        spans(&self.transfers, record)
            .iter()
            .any(|span| span.feed == feed && seq > span.after && seq <= span.until)
    }

    /// Whether the feed had the record before and gave it away: what comes later is a late edit.
    pub fn gave_away(&self, feed: FeedId, record: RecordId) -> bool {
        let spans = spans(&self.transfers, record);
        let before = spans.split_last().map_or(&[][..], |(_, before)| before);
        before.iter().any(|span| span.feed == feed)
    }

    /// Whether the key's op at a position is not believed.
    pub fn disbelieves(&self, key: KeyId, seq: u64) -> bool {
        self.revoked.iter().any(|(revoked, last_good)| *revoked == key && seq > *last_good)
    }
}
