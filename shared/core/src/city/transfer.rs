//! How records change hands: a district offers, another accepts, the hub commits.
//!
//! Each side says its word in its own feed. The hub repeats an offer in its feed, so that the other side learns of it,
//! and commits when both words agree; the commit is one op, and before it and after it each record has one owner.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Asked, Authority, Cause, City, ConflictKind, Opened, Refusal, Transfer, Version, change, read,
};
use crate::{
    directory::Unreadable,
    fold::{RecordState, Tombstone},
    id::{FeedId, Head, RecordId},
    op::{Change, Op, OpType},
    record::Record,
};

/// Version of the rule that makes a conflict of a former owner's late edit.
const DETECTOR: u32 = 1;
/// What a change request for a late edit says to people.
pub const LATE_EDIT: &str =
    "原节点在移交之后仍有修改，请核对 / a late edit of the former owner; please look at it";

/// Payload of `transfer.offer.v1` in a district's feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Name of the transfer, a ULID.
    pub transfer: String,
    /// Feed that shall take.
    pub to_feed: FeedId,
    /// The records; none takes the offer back.
    pub records: BTreeSet<RecordId>,
    /// Day from which people shall see it so.
    pub effective: Date,
}

/// Payload of `feed.seal.v1`, the last word of a feed about records: all that it has goes to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Name of the transfer, a ULID.
    pub transfer: String,
    /// Feed that shall take.
    pub successor_feed: FeedId,
    /// Day from which people shall see it so.
    pub effective: Date,
}

/// Payload of `transfer.accept.v1` in the taking district's feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Name of the transfer.
    pub transfer: String,
    /// Feed that gives.
    pub from_feed: FeedId,
    /// Where it stood when it offered: what is taken over.
    pub from_head: Head,
    /// The records; all that the giving feed has, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<BTreeSet<RecordId>>,
}

/// Payload of `transfer.offer.v1` in the hub's feed: what a district offers, told to all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Name of the transfer.
    pub transfer: String,
    /// Feed that gives.
    pub from_feed: FeedId,
    /// The op that offered.
    pub at: Head,
    /// Feed that shall take.
    pub to_feed: FeedId,
    /// The records; all that the giving feed has, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<BTreeSet<RecordId>>,
    /// Day from which people shall see it so.
    pub effective: Date,
    /// The district's op.
    pub cause: Cause,
}

/// Payload of `transfer.accept.v1` in the hub's feed: an acceptance that waits for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The district's word.
    #[serde(flatten)]
    pub accept: Accept,
    /// Feed that takes.
    pub to_feed: FeedId,
    /// Why it was not committed, for people.
    pub problem: String,
    /// The district's op.
    pub cause: Cause,
}

impl Offered {
    /// Whether the offer is of this record.
    pub fn covers(&self, record: RecordId) -> bool {
        self.records.as_ref().is_none_or(|records| records.contains(&record))
    }

    /// Reads an offer or a seal in a district's feed.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn of(op: &Op) -> Result<Self, Unreadable> {
        let cause = Cause { feed: op.feed, seq: op.seq };
        let (from_feed, at) = (op.feed, op.head());
        if op.kind == OpType::FeedSeal {
            let Seal { transfer, successor_feed: to_feed, effective } = read(op)?;
            return Ok(Self { transfer, from_feed, at, to_feed, records: None, effective, cause });
        }
        let Offer { transfer, to_feed, records, effective } = read(op)?;
        let records = Some(records);
        Ok(Self { transfer, from_feed, at, to_feed, records, effective, cause })
    }
}

/// Transfers that are under way, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) offers: BTreeMap<String, Offered>,
    pub(super) accepts: BTreeMap<String, Accepted>,
}

impl Pending {
    pub(super) fn note(&mut self, op: &Op) -> Result<(), Unreadable> {
        if op.kind == OpType::TransferOffer {
            let offered: Offered = read(op)?;
            if offered.records.as_ref().is_some_and(BTreeSet::is_empty) {
                self.offers.remove(&offered.transfer);
            } else {
                self.offers.insert(offered.transfer.clone(), offered);
            }
        } else {
            let accepted: Accepted = read(op)?;
            self.accepts.insert(accepted.accept.transfer.clone(), accepted);
        }
        Ok(())
    }
}

impl Authority {
    /// Offers that are not committed, by name.
    pub fn offers(&self) -> impl Iterator<Item = &Offered> {
        self.pending.offers.values()
    }

    /// An offer by name.
    pub fn offer(&self, transfer: &str) -> Option<&Offered> {
        self.pending.offers.get(transfer)
    }

    /// Acceptances that wait for the operator.
    pub fn accepts(&self) -> impl Iterator<Item = &Accepted> {
        self.pending.accepts.values()
    }

    /// Whether the feed gave away all that it has.
    pub fn sealed(&self, feed: FeedId) -> bool {
        let offered = self.offers().any(|o| o.from_feed == feed && o.records.is_none());
        offered || self.transfers().iter().any(|t| t.from_feed == feed && t.records.is_none())
    }
}

fn disagrees(text: &str) -> Refusal {
    Refusal::Disagrees(text.to_owned())
}

impl City {
    /// The answer to an offer or a seal: the hub tells it to all.
    ///
    /// # Errors
    /// `Disagrees` when the name is taken by another transfer, the taker is unknown or is the giver.
    pub fn tell_offer(&self, offered: &Offered) -> Result<Vec<Change>, Refusal> {
        let known = self.authority.offer(&offered.transfer);
        let others = known.is_some_and(|known| known.from_feed != offered.from_feed)
            || self.authority.transfers().iter().any(|done| done.id == offered.transfer);
        if others {
            return Err(disagrees("移交编号已被占用 / the name of the transfer is taken"));
        }
        if self.directory.district_of(offered.to_feed).is_none()
            || offered.to_feed == offered.from_feed
        {
            return Err(disagrees("接收方无效 / there is no such taker"));
        }
        Ok(vec![change(OpType::TransferOffer, offered.from_feed.as_bytes(), offered)])
    }

    /// The answer to an acceptance: the commit when it agrees with the offer, else the hub keeps it for the operator.
    ///
    /// # Errors
    /// `Unreadable` when the payload is no acceptance.
    pub fn answer_accept(&self, op: &Op) -> Result<Vec<Change>, Unreadable> {
        let (accept, to_feed): (Accept, _) = (read(op)?, op.feed);
        let cause = Cause { feed: op.feed, seq: op.seq };
        let problem = match self.agree(&accept, to_feed) {
            Ok(transfer) => {
                let transfer = Transfer { accept_seq: op.seq, cause: Some(cause), ..transfer };
                return Ok(transfer.put());
            }
            Err(problem) => problem.to_string(),
        };
        let waiting = Accepted { accept, to_feed, problem, cause };
        Ok(vec![change(OpType::TransferAccept, op.feed.as_bytes(), &waiting)])
    }

    fn agree(&self, accept: &Accept, to_feed: FeedId) -> Result<Transfer, Refusal> {
        let offer = self.authority.offer(&accept.transfer);
        let offer = offer.ok_or_else(|| Refusal::NotFound(accept.transfer.clone()))?;
        let same = offer.to_feed == to_feed
            && offer.from_feed == accept.from_feed
            && offer.at == accept.from_head
            && offer.records == accept.records;
        if !same {
            return Err(disagrees("双方所述不同 / the two sides say different things"));
        }
        self.transfer_of(offer)
    }

    /// The transfer that an offer leads to, should it be committed now.
    fn transfer_of(&self, offer: &Offered) -> Result<Transfer, Refusal> {
        let foreign = |record: &&RecordId| self.owner(**record) != offer.from_feed;
        if let Some(record) = offer.records.iter().flatten().find(foreign) {
            return Err(Refusal::Disagrees(format!(
                "{record} 不属于移交方 / the giver does not own {record}"
            )));
        }
        let taker = self.directory.district_of(offer.to_feed);
        let taker = taker.ok_or_else(|| Refusal::NotFound(offer.to_feed.to_string()))?;
        Ok(Transfer {
            id: offer.transfer.clone(),
            from_feed: offer.from_feed,
            at: offer.at,
            to_feed: offer.to_feed,
            accept_seq: 0,
            to_district: taker.code.clone(),
            records: offer.records.clone(),
            effective: offer.effective,
            override_reason: None,
            cause: None,
        })
    }

    /// The commit that the operator answers for: without the taker's agreement, or without any word of a dead giver.
    /// `taker` is the head of the taking feed, whose later ops count.
    ///
    /// # Errors
    /// `NoReason`, `NotFound`, `Disagrees`.
    pub fn override_transfer(
        &self,
        offer: &Offered,
        taker: Head,
        reason: &str,
    ) -> Result<Vec<Change>, Refusal> {
        super::require(reason)?;
        if self.authority.transfers().iter().any(|done| done.id == offer.transfer) {
            return Err(Refusal::NoChange(offer.transfer.clone()));
        }
        let accepted = self.authority.accepts().find(|a| a.accept.transfer == offer.transfer);
        let accept_seq = accepted.map_or(taker.seq, |accepted| accepted.cause.seq);
        let transfer = self.transfer_of(offer)?;
        Ok(Transfer { accept_seq, override_reason: Some(reason.to_owned()), ..transfer }.put())
    }

    /// The answer to an edit that a former owner made after its records were given away: nothing of it is lost, the
    /// new owner is asked for it. `seen` is the content that the edit was made against, `current` what counts now.
    pub fn answer_late(
        &self,
        op: &Op,
        record: RecordId,
        seen: Option<&Record>,
        current: Option<&RecordState>,
    ) -> Vec<Change> {
        let (owner, cause) = (self.owner(record), Cause { feed: op.feed, seq: op.seq });
        let (fields, withdraw) = late_wish(op, seen);
        let side = |feed, seq, op_hash| Version { feed, seq, op_hash, record: Some(record) };
        let mut versions = vec![side(op.feed, op.seq, op.hash)];
        versions.extend(current.map(|state| side(state.feed, state.seq, state.op_hash)));
        let subjects = vec![record.to_string(), op.hash.to_string()];
        let mut opened = Opened::new(ConflictKind::Ownership, subjects, DETECTOR);
        opened.parties = vec![op.feed, owner];
        opened.versions = versions;
        opened.winner = Some(record);
        opened.evidence = json!({ "record": record, "late": op.seq });
        let empty = fields.is_empty() && withdraw.is_none();
        // The last op of the answer names the letter: if the power goes before it, the letter is answered again.
        opened.cause = empty.then_some(cause);
        let asked = Asked {
            to_feed: owner,
            fields,
            withdraw,
            reason: LATE_EDIT.to_owned(),
            due: None,
            cause: Some(cause),
        };
        let request = change(OpType::ChangeRequest, &record.to_bytes(), &asked);
        let base = current.map(|state| state.op_hash);
        let mut changes: Vec<Change> = self.open_conflict(&opened).into_iter().collect();
        if !empty {
            changes.push(Change { base, visibility: op.visibility, ..request });
        }
        changes
    }
}

impl Transfer {
    fn put(&self) -> Vec<Change> {
        vec![change(OpType::TransferCommit, self.from_feed.as_bytes(), self)]
    }
}

/// What a late edit changed, or the reason with which it withdrew the record.
fn late_wish(op: &Op, seen: Option<&Record>) -> (Map<String, Value>, Option<String>) {
    if op.kind == OpType::RecordTombstone {
        let tombstone: Tombstone = serde_json::from_slice(&op.signed.payload).unwrap_or_default();
        return (Map::new(), Some(tombstone.reason));
    }
    let object = |bytes: &[u8]| match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (mut late, seen) =
        (object(&op.signed.payload), seen.map(|seen| object(&seen.to_bytes())).unwrap_or_default());
    for name in seen.keys() {
        late.entry(name.clone()).or_insert(Value::Null);
    }
    late.retain(|name, value| seen.get(name) != Some(value));
    (late, None)
}
