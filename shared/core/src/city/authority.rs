//! Who may write a record: the feed that minted it, until it was transferred.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Cause, transfer::Pending};
use crate::{
    directory::Unreadable,
    fold::is_about_records,
    id::{DistrictCode, FeedId, Hash, Head, KeyId, RecordId},
    mutant::{self, Mutant},
    op::Op,
};

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

/// All transfers in the order of the hub's feed, and those under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    done: Vec<Transfer>,
    pub(super) pending: Pending,
}

fn spans(transfers: &[Transfer], record: RecordId) -> Vec<Span> {
    let mut spans = vec![Span { feed: record.origin(), after: 0, until: u64::MAX }];
    for transfer in transfers {
        let Some(last) = spans.last_mut() else { break };
        if last.feed == transfer.from_feed && transfer.covers(record) {
            if !mutant::active(Mutant::PostSeal) {
                last.until = transfer.at.seq;
            }
            let (feed, after) = (transfer.to_feed, transfer.accept_seq);
            spans.push(Span { feed, after, until: u64::MAX });
        }
    }
    spans
}

impl Authority {
    pub(super) fn commit(&mut self, transfer: Transfer) {
        self.pending.offers.remove(&transfer.id);
        self.pending.accepts.remove(&transfer.id);
        self.done.push(transfer);
    }

    pub(super) fn note(&mut self, op: &Op) -> Result<(), Unreadable> {
        self.pending.note(op)
    }

    /// All transfers, oldest first.
    pub fn transfers(&self) -> &[Transfer] {
        &self.done
    }

    /// The stretches of feeds that make up a record's history, oldest first; never empty.
    pub fn spans(&self, record: RecordId) -> Vec<Span> {
        spans(&self.done, record)
    }

    /// The feed that may write the record now.
    pub fn owner(&self, record: RecordId) -> FeedId {
        if self.done.is_empty() {
            return record.origin();
        }
        self.spans(record).last().map_or(record.origin(), |span| span.feed)
    }

    /// Feeds that hold history of what a feed owns or was offered, itself left out, and up to where it counts.
    pub fn sources(&self, feed: FeedId) -> BTreeMap<FeedId, u64> {
        let mut sources: BTreeMap<FeedId, u64> = BTreeMap::new();
        let mut add = |source: FeedId, seq: u64| {
            let known = sources.entry(source).or_default();
            *known = (*known).max(seq);
        };
        let offers = self.pending.offers.values().filter(|offer| offer.to_feed == feed);
        for offer in offers {
            add(offer.from_feed, offer.at.seq);
            self.of(offer.from_feed).iter().for_each(|done| add(done.from_feed, done.at.seq));
        }
        self.of(feed).iter().for_each(|done| add(done.from_feed, done.at.seq));
        sources.remove(&feed);
        sources
    }

    /// Whether a feed's district may read another feed's op about a record: the record is or shall be its own.
    pub fn inherits(&self, feed: FeedId, record: RecordId, source: FeedId) -> bool {
        let owner = self.owner(record);
        let mut offers = self.pending.offers.values();
        let own = owner == feed
            || offers.any(|o| o.to_feed == feed && o.from_feed == owner && o.covers(record));
        own && self.spans(record).iter().any(|span| span.feed == source)
    }

    /// The transfers that bear on what a feed's ops mean.
    pub(super) fn of(&self, feed: FeedId) -> Vec<Transfer> {
        let mut feeds = BTreeSet::from([feed]);
        let mut found: Vec<Transfer> = Vec::new();
        for transfer in self.done.iter().rev() {
            if feeds.contains(&transfer.to_feed) {
                feeds.insert(transfer.from_feed);
                found.push(transfer.clone());
            } else if feeds.contains(&transfer.from_feed) {
                // What went elsewhere before did not come here.
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
    /// Positions of ops whose content is erased, each with whether it had taken effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<(u64, bool)>,
}

/// What the rules say of an op. Where two rules say the same of each op of a feed, the feed means the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may take effect.
    Admitted,
    /// Its key was revoked before.
    Disbelieved,
    /// Its content is erased; whether it had taken effect.
    Redacted(bool),
    /// The feed may not write the record; whether it might once.
    Foreign {
        /// The feed had the record before: this is a late edit.
        late: bool,
    },
}

impl Rules {
    /// One value for all of it; zero when there is nothing.
    pub fn hash(&self) -> Hash {
        if *self == Self::default() {
            return Hash::ZERO;
        }
        Hash::of(&[b"liandong.rules.v1", &serde_json::to_vec(self).unwrap_or_default()])
    }

    /// The first position of a feed at which these rules and earlier ones may say different things; none when there is
    /// no such position.
    pub fn differs_from(&self, before: &Self, feed: FeedId) -> Option<u64> {
        fn change<'a, T: PartialEq>(a: &'a [T], b: &'a [T]) -> impl Iterator<Item = &'a T> {
            let gone = a.iter().filter(|known| !b.contains(known));
            gone.chain(b.iter().filter(|new| !a.contains(new)))
        }
        let keys = change(&before.revoked, &self.revoked).map(|(_, last_good)| last_good + 1);
        let redacted = change(&before.redacted, &self.redacted).map(|(seq, _)| *seq);
        let moved = change(&before.transfers, &self.transfers).flat_map(|transfer| {
            let gives = (transfer.from_feed == feed).then_some(transfer.at.seq + 1);
            let takes = (transfer.to_feed == feed).then_some(transfer.accept_seq + 1);
            gives.into_iter().chain(takes)
        });
        let first = keys.chain(redacted).chain(moved).min();
        first.filter(|_| !mutant::active(Mutant::StaleRules))
    }

    /// What these rules say of an op.
    pub fn verdict(&self, op: &Op) -> Verdict {
        if self.disbelieves(op.key, op.seq) {
            return Verdict::Disbelieved;
        }
        if let Some((_, effect)) = self.redacted.iter().find(|(seq, _)| *seq == op.seq) {
            return Verdict::Redacted(*effect);
        }
        match RecordId::try_from(op.subject.as_ref()) {
            Ok(id) if is_about_records(&op.kind) && !self.admits(op.feed, op.seq, id) => {
                Verdict::Foreign { late: self.gave_away(op.feed, id) }
            }
            _ => Verdict::Admitted,
        }
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
        !mutant::active(Mutant::BelieveRevoked)
            && self.revoked.iter().any(|(revoked, last_good)| *revoked == key && seq > *last_good)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use ulid::Ulid;

    use super::*;

    fn feed(number: u8) -> FeedId {
        FeedId::new([number; 16])
    }

    fn transfer(from: u8, to: u8, records: Option<&[RecordId]>) -> Transfer {
        Transfer {
            id: format!("{from} to {to}"),
            from_feed: feed(from),
            at: Head { seq: 100, hash: Hash::ZERO },
            to_feed: feed(to),
            accept_seq: 10,
            to_district: "310106".parse().unwrap(),
            records: records.map(|records| records.iter().copied().collect()),
            effective: date(2015, 11, 4),
            override_reason: None,
            cause: None,
        }
    }

    #[test]
    fn a_record_that_went_elsewhere_before_does_not_come_with_the_rest() {
        let [one, other] = [1, 2].map(|number| RecordId::new(feed(1), Ulid(number)));
        let mut authority = Authority::default();
        authority.commit(transfer(1, 2, None));
        authority.commit(transfer(2, 3, Some(&[one])));
        authority.commit(transfer(2, 4, None));
        let rules = |number| Rules { transfers: authority.of(feed(number)), ..Rules::default() };
        for (record, owner) in [(one, 3), (other, 4)] {
            assert_eq!(authority.owner(record), feed(owner));
            for number in 1..=4 {
                let admitted = rules(number).admits(feed(number), 200, record);
                assert_eq!(admitted, number == owner, "{number} writes {record}");
            }
        }
    }
}
