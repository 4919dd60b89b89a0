//! The indexer: brings the search index and the book of what is shown to what the view says.
//!
//! A new index is built beside the serving one: from the view, record by record, while the indexer goes on. What it
//! touches meanwhile is looked at again before the new one serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use liandong_core::{
    city::{City, Conflict, Transfer},
    directory::{District, Standing},
    fold::{RecordState, Status},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::{Op, OpType},
    record::{Record, Visibility},
};

use super::{FeedProgress, Shared, ground};
use crate::{
    error::StoreError,
    index::{Document, Index, Place, Stamps, group_of},
    projector::Journals as _,
};

/// How long the indexer gathers when more than a few ops wait and no feed that keeps up does, milliseconds.
const GATHER_MS: u64 = 500;
/// Threads of a new index that is built beside the serving one.
const BUILDER_THREADS: usize = 2;
/// Up to so many waiting ops are indexed at once.
const GATHER_ABOVE_OPS: u64 = 64;

pub(super) fn run(shared: &Arc<Shared>) {
    let mut failed = false;
    if let Err(error) = shared.index.load().warm() {
        tracing::warn!(%error, "the search index could not be read beforehand");
    }
    loop {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        renew(shared);
        if waiting(shared) > GATHER_ABOVE_OPS {
            // A commit costs about the same for one op as for thousands.
            gather(shared);
        }
        match index_once(shared) {
            Ok(true) => failed = false,
            Ok(false) => shared.to_index.wait(),
            // Built again once; what fails at once after that waits for the next op instead of spinning.
            Err(error) if failed => {
                tracing::error!(%error, "the search index cannot go on");
                shared.to_index.wait();
            }
            Err(error) => {
                failed = true;
                tracing::error!(%error, "the search index cannot go on and is built again");
                if let Err(error) = shared.clear_index() {
                    tracing::error!(%error, "the search index cannot be emptied");
                    shared.to_index.wait();
                }
            }
        }
    }
}

fn waiting(shared: &Shared) -> u64 {
    shared.progress.read().values().map(|p| p.applied.seq.saturating_sub(p.indexed.seq)).sum()
}

/// Whether a feed that keeps up has something to be indexed: it does not wait for one that catches up.
fn live_waits(shared: &Shared) -> bool {
    let lag = |p: &FeedProgress| p.applied.seq.saturating_sub(p.indexed.seq);
    shared.progress.read().values().any(|p| (1..=GATHER_ABOVE_OPS).contains(&lag(p)))
}

fn gather(shared: &Shared) {
    let mut set = shared.to_index.set.lock();
    let full = limit::INDEX_OPS_MAX as u64;
    let until = Duration::from_millis(GATHER_MS);
    shared.to_index.changed.wait_while_for(
        &mut set,
        |_| waiting(shared) < full && !live_waits(shared) && !shared.stop.load(Ordering::Acquire),
        until,
    );
}

/// Begins a new index beside the serving one when one is asked for or the ground has changed, and lets one serve that
/// is ready.
fn renew(shared: &Arc<Shared>) {
    let fresh = shared.fresh.lock().take();
    if let Some((emptied, fresh)) = fresh {
        match exchange(shared, emptied, fresh) {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(
                    "a journal was exchanged meanwhile; the new search index is begun again"
                );
                shared.rebuild_index.store(true, Ordering::Release);
            }
            Err(error) => {
                tracing::error!(%error, "the new search index cannot serve; the old one goes on");
            }
        }
        *shared.beside.lock() = None;
    }
    let asked = shared.rebuild_index.swap(false, Ordering::AcqRel);
    let other = ground(&shared.city.borrow(), &shared.shown) != *shared.index.load().ground();
    if (!asked && !other) || shared.beside.lock().is_some() {
        return;
    }
    *shared.beside.lock() = Some(BTreeSet::new());
    let builder = Arc::clone(shared);
    let emptied = shared.emptied.load(Ordering::Acquire);
    let thread = std::thread::Builder::new().name("index-builder".to_owned());
    let spawned = thread.spawn(move || {
        match build(&builder) {
            Ok(fresh) => *builder.fresh.lock() = fresh.map(|fresh| (emptied, fresh)),
            Err(error) => {
                tracing::error!(%error, "no new search index can be built; the old one goes on");
                *builder.beside.lock() = None;
            }
        }
        builder.to_index.set();
    });
    match spawned {
        Ok(thread) => *shared.builder.lock() = Some(thread),
        Err(error) => {
            tracing::error!(%error, "no thread for a new search index");
            *shared.beside.lock() = None;
        }
    }
}

/// A new index of everything the view has; nothing when the store closes meanwhile.
fn build(shared: &Shared) -> Result<Option<Index>, StoreError> {
    let ground = ground(&shared.city.borrow(), &shared.shown);
    let fresh = Index::create(&shared.options.dir.join("index"), &ground, BUILDER_THREADS)?;
    // Where the view is now: what comes later is indexed op by op.
    let progress = shared.progress.read().clone();
    let heads: BTreeMap<FeedId, Head> =
        progress.iter().map(|(feed, progress)| (*feed, progress.applied)).collect();
    let rules = rules_of(progress.iter().map(|(feed, progress)| (*feed, progress)));
    let mut round = Round::of(shared);
    let (mut at, mut records) = (None, 0_u64);
    loop {
        let page = shared.view.load().records(None, at, limit::PAGE_RECORDS_MAX)?;
        let Some((last, state)) = page.last() else { break };
        at = Some((*last, state.feed));
        for (id, _) in page {
            if shared.stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            // A record that several feeds wrote is met once for each, and put once.
            round.index_record(&fresh, id, Book::Read)?;
            records += 1;
        }
    }
    fresh.commit_under(&heads, rules)?;
    tracing::info!(records, "a new search index is built");
    Ok(Some(fresh))
}

/// Lets a new index serve, unless the serving one was emptied since it was begun: its positions may then name ops of a
/// journal that was exchanged. Returns whether it serves.
fn exchange(shared: &Shared, emptied: u64, fresh: Index) -> Result<bool, StoreError> {
    let _turn = shared.index_turn.lock();
    if shared.emptied.load(Ordering::Acquire) != emptied {
        return Ok(false);
    }
    let again = shared.beside.lock().take().unwrap_or_default();
    let mut round = Round::of(shared);
    for id in again {
        round.index_record(&fresh, id, Book::Read)?;
    }
    fresh.commit(&BTreeMap::new())?;
    fresh.warm()?;
    let feeds = fresh.feeds();
    let fresh = Arc::new(fresh);
    shared.index.store(Arc::clone(&fresh));
    fresh.remove_others(&shared.options.dir.join("index"));
    for feed in shared.feeds() {
        let head = feeds.get(&feed).copied().unwrap_or(Head::EMPTY);
        shared.publish(feed, |progress| progress.indexed = head);
    }
    Ok(true)
}

fn rules_of<'a>(
    progress: impl Iterator<Item = (FeedId, &'a FeedProgress)>,
) -> BTreeMap<FeedId, Hash> {
    let known = progress.filter(|(_, at)| at.rules != Hash::ZERO);
    known.map(|(feed, at)| (feed, at.rules)).collect()
}

/// Indexes what the view has beyond the index, up to the limit, and commits. Returns whether there was anything.
fn index_once(shared: &Shared) -> Result<bool, StoreError> {
    let _turn = shared.index_turn.lock();
    let index = shared.index.load_full();
    let mut feeds = BTreeMap::new();
    let live = live_waits(shared);
    let mut room = if live { limit::INDEX_OPS_LIVE } else { limit::INDEX_OPS_MAX };
    let mut progress: Vec<_> =
        shared.progress.read().iter().map(|(feed, at)| (*feed, *at)).collect();
    let rules = rules_of(progress.iter().map(|(feed, at)| (*feed, at)));
    // Whoever is least behind comes first.
    progress.sort_by_key(|(_, at)| at.applied.seq.saturating_sub(at.indexed.seq));
    let mut round = Round::of(shared);
    for (feed, progress) in progress {
        let mut at = index.applied(feed);
        while at.seq < progress.applied.seq && room > 0 {
            let to = usize::try_from(progress.applied.seq - at.seq).unwrap_or(usize::MAX);
            let ops = shared.with(feed, |journal| {
                journal.read(at.seq, to.min(room).min(limit::FOLD_OPS_MAX), limit::BATCH_BYTES_MAX)
            });
            let ops = ops.transpose()?.unwrap_or_default();
            let Some(last) = ops.last().map(Op::head) else { break };
            for op in &ops {
                round.index_op(&index, op)?;
            }
            room -= ops.len();
            at = last;
            feeds.insert(feed, at);
            // Somebody who keeps up came meanwhile: the round ends, and the next one begins with that.
            if !live && live_waits(shared) {
                room = 0;
            }
        }
    }
    let mut touched = std::mem::take(&mut *shared.touched.lock());
    touched.append(&mut round.touched);
    for id in &touched {
        round.index_record(&index, *id, Book::Write)?;
    }
    if let Some(beside) = shared.beside.lock().as_mut() {
        beside.append(&mut round.indexed);
    }
    if feeds.is_empty() && touched.is_empty() && index.rules() == rules {
        return Ok(false);
    }
    // The book first: what the index says has changed can then always be asked for.
    shared.shown.commit()?;
    index.commit_under(&feeds, rules)?;
    for (feed, head) in feeds {
        shared.publish(feed, |progress| progress.indexed = head);
    }
    Ok(true)
}

/// Whether what is shown of a record is noted in the book, or only looked up there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Book {
    Write,
    Read,
}

/// One round of indexing, under one state of the city.
struct Round<'a> {
    shared: &'a Shared,
    city: Arc<City>,
    places: BTreeMap<FeedId, Place>,
    now_us: i64,
    /// Records that ops of the hub ask to look at again.
    touched: BTreeSet<RecordId>,
    /// Records that were looked at.
    indexed: BTreeSet<RecordId>,
}

impl<'a> Round<'a> {
    fn of(shared: &'a Shared) -> Self {
        Self {
            shared,
            city: Arc::clone(&shared.city.borrow()),
            places: BTreeMap::new(),
            now_us: (shared.options.clock)().saturating_mul(1_000),
            touched: BTreeSet::new(),
            indexed: BTreeSet::new(),
        }
    }

    /// Brings the index to what the view says of the op's record; a record that was changed again later is left to
    /// that op.
    fn index_op(&mut self, index: &Index, op: &Op) -> Result<(), StoreError> {
        let record = || RecordId::try_from(op.subject.as_ref()).ok();
        match op.kind {
            OpType::RecordPut | OpType::RecordTombstone | OpType::RecordRevive => {
                let Some(id) = record() else { return Ok(()) };
                let state = self.shared.state(id)?;
                if state.is_some_and(|state| state.op_hash == op.hash) {
                    self.index_state(index, (id, state), Some(op), Book::Write)?;
                }
            }
            OpType::Hold | OpType::OverlayPut | OpType::OverlayDrop => {
                self.touched.extend(record());
            }
            OpType::ConflictOpen | OpType::ConflictDecide | OpType::ConflictAppeal => {
                let id = Hash::try_from(op.subject.as_ref()).ok();
                let conflicts = &self.city.conflicts;
                let sides = id.and_then(|id| conflicts.get(&id)).map(Conflict::records);
                let copies = sides.into_iter().flatten().flat_map(|side| conflicts.copies(side));
                self.touched.extend(copies);
            }
            // A district may be hidden or shown again, or have another name.
            OpType::DirDistrict => {
                let Ok(district) = serde_json::from_slice::<District>(&op.signed.payload) else {
                    return Ok(());
                };
                let code = self.city.directory.current(&district.code);
                let feed = code.and_then(|now| self.city.directory.feed_of(&now.code));
                if let Some(feed) = feed {
                    self.touched.extend(self.shared.records_owned(&self.city, feed)?);
                }
            }
            OpType::Policy => {
                for feed in self.city.directory.feeds.keys() {
                    let district = self.city.directory.district_of(*feed);
                    if district.is_some_and(|one| one.standing == Standing::Suspended) {
                        self.touched.extend(self.shared.records_owned(&self.city, *feed)?);
                    }
                }
            }
            OpType::TransferCommit => {
                if let Ok(transfer) = serde_json::from_slice::<Transfer>(&op.signed.payload) {
                    self.touched.extend(self.shared.records_of_transfer(&transfer)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Brings the index to what the view says of a record.
    fn index_record(&mut self, index: &Index, id: RecordId, book: Book) -> Result<(), StoreError> {
        let state = self.shared.state(id)?;
        self.index_state(index, (id, state), None, book)
    }

    fn index_state(
        &mut self,
        index: &Index,
        (id, state): (RecordId, Option<RecordState>),
        op: Option<&Op>,
        book: Book,
    ) -> Result<(), StoreError> {
        if self.shared.beside.lock().is_some() {
            self.indexed.insert(id);
        }
        let Some(state) = state.filter(|state| state.status == Status::Live) else {
            return self.leave_out(index, id, book);
        };
        let read;
        let op = if let Some(op) = op {
            op
        } else {
            read = self.shared.op_of(id, &state)?;
            &read
        };
        if op.signed.withheld {
            // Its content was erased a moment ago; the fold that says so follows.
            return self.leave_out(index, id, book);
        }
        let city = Arc::clone(&self.city);
        let mut record = Record::from_bytes(&op.signed.payload).map_err(StoreError::index)?;
        let overlaid = city.curation.overlays.get(&id);
        let overlaid = overlaid.filter(|_| self.shared.options.city_view);
        if let Some(overlaid) = overlaid {
            let curated = overlaid.over(&record, state.op_hash);
            (record.title, record.keywords) = (curated.title, curated.keywords);
        }
        // Only those who may see everything find what is hidden.
        let hidden = self.shared.hides(&city, id);
        let visibility = if hidden { Visibility::Restricted } else { state.visibility };
        let feed = city.owner(id);
        let leaf = (visibility == Visibility::Public).then(|| {
            let overlay = overlaid.map_or(Hash::ZERO, |overlaid| overlaid.op_hash);
            Hash::of(&[state.op_hash.as_bytes(), overlay.as_bytes(), feed.as_bytes()])
        });
        let stamps = self.note(id, leaf, book)?;
        let place = self.places.entry(feed).or_insert_with(|| Place::of(&city, feed));
        let (record, group) = (&record, group_of(&city, id));
        index.put(&Document { id, feed, visibility, record, place, group, stamps })
    }

    fn leave_out(&self, index: &Index, id: RecordId, book: Book) -> Result<(), StoreError> {
        index.remove(id);
        self.note(id, None, book).map(drop)
    }

    fn note(&self, id: RecordId, leaf: Option<Hash>, book: Book) -> Result<Stamps, StoreError> {
        match book {
            Book::Write => self.shared.shown.note(id, leaf, self.now_us),
            Book::Read => Ok(self.shared.shown.stamps(id)?.unwrap_or_default()),
        }
    }
}
