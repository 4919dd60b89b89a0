//! The city on its way to the districts: what changed, for whom, and the rows themselves.

use std::sync::Arc;

use liandong_core::{
    city::{City, CityRow, CodeGrants, Scope, Transfer, row},
    fold::RecordState,
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::{Op, OpType, SignedOp},
    record::Visibility,
    wire::city::CityRecord,
};
use parking_lot::{MappedMutexGuard, MutexGuard};
use tokio::sync::watch;

use super::{Shared, Store};
use crate::{
    city_log::{CityDigest, CityLog, Epoch, Listed},
    error::StoreError,
    projector::Journals as _,
};

/// Rows that a follower takes next.
#[derive(Debug)]
pub struct CityPage {
    /// Rows in the order of their positions.
    pub records: Vec<CityRecord>,
    /// The position that is reached.
    pub city_seq: u64,
    /// What the rows say of overlays, holds and authority is true at this position of the hub's feed.
    pub hub: Head,
}

/// What ops of the hub change in the city.
enum Touched {
    Records(Vec<RecordId>),
    Everything,
}

impl Store {
    /// Changes whenever the city does; nothing until the log is filled, or when none is kept.
    pub fn watch_city_log(&self) -> watch::Receiver<Option<u64>> {
        self.shared.city_newest.subscribe()
    }

    /// The run that positions count in.
    pub fn city_epoch(&self) -> Option<Epoch> {
        self.shared.city_log().map(|log| log.epoch())
    }

    /// What a node has to hear after a position.
    ///
    /// # Errors
    /// `View`, `Io`, `Damaged`.
    pub fn city_page(
        &self,
        audience: FeedId,
        after: u64,
        records: usize,
    ) -> Result<CityPage, StoreError> {
        let (listed, city_seq) = match self.shared.city_log() {
            Some(log) => log.after(after, audience, records),
            None => (Vec::new(), after),
        };
        let city = self.city();
        let mut records = Vec::with_capacity(listed.len());
        for Listed { seq, id, leaf } in listed {
            let Some(leaf) = leaf else {
                records.push(CityRecord::gone(seq, id, city.owner(id)));
                continue;
            };
            let record = self.shared.city_record(&city, seq, id, audience)?;
            // A record that changed since the log was read has a newer position already, or will at once.
            records.extend(record.filter(|record| leaf_of(record) == Some(leaf)));
        }
        Ok(CityPage { records, city_seq, hub: city.head })
    }

    /// Single rows as a node may see them now.
    ///
    /// # Errors
    /// `View`, `Io`, `Damaged`.
    pub fn city_records(
        &self,
        audience: FeedId,
        ids: &[RecordId],
    ) -> Result<Vec<CityRecord>, StoreError> {
        let city = self.city();
        let seq = self.shared.city_log().map_or(0, |log| log.newest());
        let row = |id: &RecordId| {
            let record = self.shared.city_record(&city, seq, *id, audience)?;
            Ok(record.unwrap_or_else(|| CityRecord::gone(seq, *id, city.owner(*id))))
        };
        ids.iter().map(row).collect()
    }

    /// What a node's replica should hold; nothing when no log is kept.
    pub fn city_digest(&self, audience: FeedId) -> Option<CityDigest> {
        Some(self.shared.city_log()?.audit(audience))
    }

    /// The leaves of a bucket of that digest.
    pub fn city_leaves(&self, audience: FeedId, bucket: usize) -> Vec<(RecordId, Hash)> {
        self.shared.city_log().map_or_else(Vec::new, |log| log.leaves(audience, bucket))
    }

    /// An op of the hub as a node may see it: what is restricted goes with its payload only to whom it concerns.
    pub fn hub_op_for(&self, audience: FeedId, op: Op) -> SignedOp {
        let ours = is_about(&self.city(), &op, audience);
        for_audience(op, ours)
    }
}

/// Whether an op of the hub concerns a district: one that no node is told is lost with the hub.
fn is_about(city: &City, op: &Op, feed: FeedId) -> bool {
    let is_ours = |record: RecordId| city.owner(record) == feed;
    if op.kind == OpType::CodeGrant {
        let grants = serde_json::from_slice::<CodeGrants>(&op.signed.payload);
        return grants.is_ok_and(|grants| {
            grants.codes.into_values().all(|record| record.is_some_and(is_ours))
        });
    }
    let conflict = Hash::try_from(op.subject.as_ref()).ok();
    if let Some(conflict) = conflict.and_then(|id| city.conflicts.get(&id)) {
        // Whoever it concerns is told, whatever records of others are in it.
        return city.concerns(conflict, feed);
    }
    let record = RecordId::try_from(op.subject.as_ref());
    record.map_or(op.subject.as_ref() == feed.as_bytes(), is_ours)
}

fn leaf_of(record: &CityRecord) -> Option<Hash> {
    record.row().map(|row| row.leaf(record.id))
}

fn for_audience(op: Op, ours: bool) -> SignedOp {
    if op.visibility == Visibility::Restricted && !ours { op.signed.withhold() } else { op.signed }
}

impl Shared {
    fn city_log(&self) -> Option<MappedMutexGuard<'_, CityLog>> {
        MutexGuard::try_map(self.city_log.lock(), Option::as_mut).ok()
    }

    /// What the city shows of a record in a state, and to whom.
    fn row(&self, city: &City, id: RecordId, state: &RecordState) -> Option<(Scope, CityRow)> {
        let owner = city.owner(id);
        let mut shown = row(city, id, state, Some(owner))?;
        if self.hides(city, id) {
            shown = CityRow::held(owner);
        }
        Some((Scope::of(city, id, state), shown))
    }

    fn shown(&self, city: &City, id: RecordId) -> Result<Option<(Scope, CityRow)>, StoreError> {
        Ok(self.state(id)?.and_then(|state| self.row(city, id, &state)))
    }

    /// A record as a node may see it; nothing when it may not.
    fn city_record(
        &self,
        city: &City,
        city_seq: u64,
        id: RecordId,
        audience: FeedId,
    ) -> Result<Option<CityRecord>, StoreError> {
        let Some(state) = self.state(id)? else { return Ok(None) };
        let shown = self.row(city, id, &state).filter(|(scope, _)| scope.covers(audience));
        let Some((_, row)) = shown else { return Ok(None) };
        let core = if row.core == Hash::ZERO {
            None
        } else {
            let op = self.op_of(id, &state)?;
            let redacted = city.redactions.contains_key(&(op.feed, op.seq));
            Some(if redacted { op.signed.withhold() } else { op.signed })
        };
        let overlay = match city.curation.overlays.get(&id) {
            // Written while the record was restricted: its owner's alone, although the record is not any more.
            Some(overlaid) if row.overlay != Hash::ZERO => {
                self.hub_op(overlaid.seq)?.map(|op| for_audience(op, row.authority == audience))
            }
            _ => None,
        };
        let (status, authority) = (Some(row.status), row.authority);
        Ok(Some(CityRecord { city_seq, id, status, core, overlay, authority }))
    }

    fn hub_op(&self, seq: u64) -> Result<Option<Op>, StoreError> {
        let Some(hub) = self.options.hub_feed else { return Ok(None) };
        Ok(self.with(hub, |journal| journal.op(seq)).transpose()?.flatten())
    }

    /// Makes a log when one is asked for, and fills it with everything there is.
    pub(super) fn fill_city_log(&self) -> Result<(), StoreError> {
        let Some(epoch) = self.options.city_log else { return Ok(()) };
        self.city_log.lock().get_or_insert_with(|| CityLog::new(epoch));
        self.note_everything()
    }

    /// Notes what the city shows of these records now, and tells those who wait.
    pub(super) fn note(&self, ids: impl IntoIterator<Item = RecordId>) -> Result<(), StoreError> {
        let newest = self.set(ids)?;
        self.city_newest.send_if_modified(|told| {
            // Before the log is filled there is nothing to follow.
            let moved = told.is_some() && *told != newest;
            if moved {
                *told = newest;
            }
            moved
        });
        Ok(())
    }

    fn set(&self, ids: impl IntoIterator<Item = RecordId>) -> Result<Option<u64>, StoreError> {
        // Read while the log is held: whoever notes last has read last.
        let Some(mut log) = self.city_log() else { return Ok(None) };
        let city = Arc::clone(&self.city.borrow());
        for id in ids {
            let shown = self.shown(&city, id)?;
            log.set(id, shown.map(|(scope, row)| (scope, row.leaf(id))));
        }
        Ok(Some(log.newest()))
    }

    /// Notes every record again; only those that changed get a new position.
    pub(super) fn note_everything(&self) -> Result<(), StoreError> {
        let Some(log) = self.city_log() else { return Ok(()) };
        let known: Vec<RecordId> = log.known().collect();
        drop(log);
        self.set(known)?;
        let mut at = None;
        loop {
            let page = self.view.load().records(None, at, limit::PAGE_RECORDS_MAX)?;
            let Some((last, state)) = page.last() else { break };
            at = Some((*last, state.feed));
            self.set(page.into_iter().map(|(id, _)| id))?;
        }
        self.counts();
        Ok(())
    }

    /// The hub's feed counts in the log as far as it is folded.
    fn counts(&self) {
        let head = self.city.borrow().head;
        if let Some(mut log) = self.city_log() {
            log.counts(head);
            self.city_newest.send_replace(Some(log.newest()));
        }
    }

    /// Notes the records of a feed whose early withdrawal has had its turn.
    pub(super) fn note_shown_again(&self, feed: FeedId) -> Result<(), StoreError> {
        let hidden = self.hidden.read();
        let ids: Vec<_> =
            hidden.iter().filter(|(_, cause)| cause.feed == feed).map(|(id, _)| *id).collect();
        drop(hidden);
        self.note(ids)
    }

    /// Notes what ops of the hub changed since the city was as `before`.
    pub(super) fn note_city(&self, hub: FeedId, before: &City) -> Result<(), StoreError> {
        if self.options.city_log.is_none() {
            return Ok(());
        }
        let city = Arc::clone(&self.city.borrow());
        match self.touched_by_hub(hub, before.head.seq, city.head.seq)? {
            Touched::Records(ids) => self.note(ids)?,
            Touched::Everything => return self.note_everything(),
        }
        self.counts();
        Ok(())
    }

    fn touched_by_hub(&self, hub: FeedId, mut at: u64, to: u64) -> Result<Touched, StoreError> {
        let mut ids = Vec::new();
        while at < to {
            let read = |journal: &crate::journal::Journal| {
                journal.read(at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)
            };
            let ops = self.with(hub, read).transpose()?.unwrap_or_default();
            let Some(last) = ops.last() else { break };
            at = last.seq;
            for op in &ops {
                match op.kind {
                    OpType::Hold | OpType::OverlayPut | OpType::OverlayDrop => {
                        ids.extend(RecordId::try_from(op.subject.as_ref()));
                    }
                    OpType::TransferCommit => {
                        let read = serde_json::from_slice::<Transfer>(&op.signed.payload);
                        if let Ok(transfer) = read {
                            ids.extend(self.records_of_transfer(&transfer)?);
                        }
                    }
                    // Whether the records of a suspended district are hidden.
                    OpType::Policy | OpType::DirDistrict => return Ok(Touched::Everything),
                    _ => {}
                }
            }
        }
        Ok(Touched::Records(ids))
    }
}
