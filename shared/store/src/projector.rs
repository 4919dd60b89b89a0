//! Folds what the journals hold into a view, from the view's own watermark on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use liandong_core::{
    city::{Gate, Inspector, Rules, Thresholds},
    digest::{BUCKETS, Digest},
    fold::{self, FOLD_VERSION, Outcome, RecordState, Status},
    id::{FeedId, Hash, RecordId},
    limit,
    op::Op,
};

use crate::{
    error::StoreError,
    journal::Journal,
    view::{EngineKind, Table, View, Watermark, Writes, match_key, record_key},
};

/// Bytes of a view below which it is never called bloated.
const BLOAT_FLOOR_BYTES: u64 = 32 * 1024 * 1024;
/// A view larger than so many times its live entries is built again.
const BLOAT_FACTOR: u64 = 4;
/// Bytes of one record's entries, keys and page overhead included (measured on a fresh view).
const RECORD_BYTES: u64 = 400;
/// Records read at a time when a view is opened.
const SCAN_RECORDS: usize = 1_000;

/// How a view is kept.
#[derive(Debug, Clone)]
pub(crate) struct ViewOptions {
    /// Directory of all generations.
    pub(crate) dir: PathBuf,
    pub(crate) engine: EngineKind,
    pub(crate) cache_bytes: u64,
    /// Whether an import will look records up by their match keys.
    pub(crate) match_keys: bool,
}

/// A view and the digests over it.
#[derive(Debug)]
pub(crate) struct Projection {
    options: ViewOptions,
    view: View,
    digests: BTreeMap<FeedId, Digest>,
    marks: BTreeMap<FeedId, Watermark>,
    /// The rules that each feed is folded by.
    rules: BTreeMap<FeedId, Rules>,
    /// What watches each feed for mass changes, where that is asked for.
    inspectors: BTreeMap<FeedId, Inspector>,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Stepped {
    /// Records that were changed.
    pub(crate) changed: Vec<RecordId>,
    /// A mass change that waits for a person; nothing from it on was folded.
    pub(crate) gate: Option<Gate>,
}

/// What the hub's feed says of a feed at the moment: how to fold it, and how far.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) rules: Rules,
    /// Last position that may be folded.
    pub(crate) gate: u64,
    /// Up to here a person has agreed to mass changes.
    pub(crate) passed: u64,
    /// How to look for mass changes, and the hub's clock (milliseconds since 1970), where that is asked for.
    pub(crate) watch: Option<(Thresholds, i64)>,
}

/// Journals by feed, as the projector reads them.
pub(crate) trait Journals {
    fn feeds(&self) -> Vec<FeedId>;
    fn with<T>(&self, feed: FeedId, read: impl FnOnce(&Journal) -> T) -> Option<T>;
    /// What the hub's feed says of the feed.
    fn terms(&self, feed: FeedId) -> Terms;
}

pub(crate) fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:08}"))
}

/// Generations on disk, oldest first.
pub(crate) fn generations(dir: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<u64> =
        entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    found.sort_unstable();
    found
}

impl Projection {
    /// Opens the newest generation if it can be read and fits the journals, else begins an empty one. Any generation is
    /// the fold of exact prefixes, so one that was left half built simply goes on.
    pub(crate) fn open(options: ViewOptions, journals: &impl Journals) -> Result<Self, StoreError> {
        let newest = generations(&options.dir).last().copied();
        if let Some(generation) = newest {
            // An engine may also panic over files that it cannot make sense of.
            let load = || Self::load(options.clone(), generation, journals);
            match catch_unwind(AssertUnwindSafe(load)) {
                Ok(Ok(Some(projection))) => {
                    projection.remove_others(generation);
                    return Ok(projection);
                }
                Ok(Ok(None)) => {
                    tracing::warn!("the view does not fit the journal and is built again");
                }
                Ok(Err(error)) => tracing::warn!(%error, "the view is built again"),
                Err(_panic) => tracing::warn!("the view's engine panicked; it is built again"),
            }
        }
        let generation = newest.unwrap_or(0) + 1;
        let projection = Self::empty(options, generation)?;
        projection.remove_others(generation);
        Ok(projection)
    }

    fn empty(options: ViewOptions, generation: u64) -> Result<Self, StoreError> {
        let dir = generation_dir(&options.dir, generation);
        let view = View::open(&dir, options.engine, options.cache_bytes)?;
        let (digests, marks, rules) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { options, view, digests, marks, rules, inspectors: BTreeMap::new() })
    }

    fn load(
        options: ViewOptions,
        generation: u64,
        journals: &impl Journals,
    ) -> Result<Option<Self>, StoreError> {
        let mut projection = Self::empty(options, generation)?;
        for feed in journals.feeds() {
            let mark = projection.view.watermark(feed)?;
            let hash = journals.with(feed, |journal| journal.hash_at(mark.head.seq));
            let rules = journals.terms(feed).rules;
            let same_rules = mark.head.seq == 0 || mark.rules == rules.hash();
            if hash.transpose()?.flatten() != Some(mark.head.hash)
                || mark.fold_version != FOLD_VERSION
                || !same_rules
            {
                return Ok(None);
            }
            projection.marks.insert(feed, mark);
            projection.rules.insert(feed, rules);
        }
        let mut after = None;
        loop {
            let page = projection.view.records(None, after, SCAN_RECORDS)?;
            let Some((last, state)) = page.last() else { break };
            after = Some((*last, state.feed));
            for (id, state) in page {
                if !projection.marks.contains_key(&state.feed) {
                    return Ok(None);
                }
                projection.digests.entry(state.feed).or_default().set(id, state.leaf(id));
            }
        }
        let marks = projection.marks.clone();
        let whole = marks
            .iter()
            .all(|(feed, mark)| mark.head.seq == 0 || projection.root(*feed) == mark.root);
        Ok(whole.then_some(projection))
    }

    fn remove_others(&self, keep: u64) {
        for generation in generations(&self.options.dir) {
            if generation != keep {
                let dir = generation_dir(&self.options.dir, generation);
                if let Err(error) = std::fs::remove_dir_all(&dir) {
                    tracing::warn!(%error, dir = %dir.display(), "cannot remove an old view");
                }
            }
        }
    }

    pub(crate) fn options(&self) -> ViewOptions {
        self.options.clone()
    }

    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    pub(crate) fn mark(&self, feed: FeedId) -> Watermark {
        self.marks.get(&feed).copied().unwrap_or(Watermark::EMPTY)
    }

    /// Root over one feed's records.
    pub(crate) fn root(&mut self, feed: FeedId) -> Hash {
        self.digests.entry(feed).or_default().root()
    }

    /// Root over all records.
    pub(crate) fn union_root(&self) -> Hash {
        Digest::union_root(&self.digests.values())
    }

    /// Whether a feed has been folded by rules that are no longer true of what was folded.
    pub(crate) fn outdated(
        &self,
        feed: FeedId,
        journals: &impl Journals,
    ) -> Result<bool, StoreError> {
        let rules = journals.terms(feed).rules;
        let (end, empty) = (self.mark(feed).head.seq, Rules::default());
        let before = self.rules.get(&feed).unwrap_or(&empty);
        let Some(from) = rules.differs_from(before, feed) else { return Ok(false) };
        let mut after = from.saturating_sub(1);
        // Most often what changed lies behind all that was folded, or says the same of each op.
        while after < end {
            let read = |journal: &Journal| {
                journal.read(after, limit::FOLD_OPS_MAX, limit::BATCH_BYTES_MAX)
            };
            let ops = journals.with(feed, read).transpose()?.unwrap_or_default();
            let Some(last) = ops.last() else { break };
            after = last.seq;
            let folded = ops.iter().filter(|op| op.seq <= end);
            if folded.clone().any(|op| rules.verdict(op) != before.verdict(op)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Folds the next few ops of a feed. Returns what it changed; nothing when there was nothing to fold.
    pub(crate) fn step(
        &mut self,
        feed: FeedId,
        journals: &impl Journals,
    ) -> Result<Option<Stepped>, StoreError> {
        let Terms { rules, gate, passed, watch } = journals.terms(feed);
        let mark = self.mark(feed);
        let room = usize::try_from(gate.saturating_sub(mark.head.seq)).unwrap_or(usize::MAX);
        let ops = journals.with(feed, |journal| {
            journal.read(mark.head.seq, limit::FOLD_OPS_MAX.min(room), limit::BATCH_BYTES_MAX)
        });
        let mut ops = ops.transpose()?.unwrap_or_default();
        let new_rules = self.rules.get(&feed) != Some(&rules);
        if ops.is_empty() && (!new_rules || mark.rules == rules.hash()) {
            return Ok(None);
        }
        let gate = match watch {
            Some((thresholds, now_ms)) => {
                self.inspect(feed, ops_after(&ops, passed), (thresholds, now_ms), journals)
            }
            None => None,
        };
        if let Some(gate) = &gate {
            ops.retain(|op| op.seq <= gate.after);
        }
        let mut writes = Writes::new();
        let mut states: HashMap<RecordId, RecordState> = HashMap::new();
        let head = ops.last().map_or(mark.head, Op::head);
        let mut next = Watermark { head, rules: rules.hash(), ..mark };
        self.rules.insert(feed, rules);
        for op in &ops {
            self.fold_one(op, &mut writes, &mut states, &mut next)?;
        }
        let changed = states.keys().copied().collect();
        for (id, state) in states {
            self.digests.entry(feed).or_default().set(id, state.leaf(id));
        }
        next.root = self.root(feed);
        View::set_watermark(&mut writes, feed, &next);
        // When this fails the digest is ahead of the view, until the same ops are folded again.
        self.view.commit(&writes)?;
        self.marks.insert(feed, next);
        Ok(Some(Stepped { changed, gate }))
    }

    /// Looks for a mass change in ops that nobody has agreed to yet.
    fn inspect(
        &mut self,
        feed: FeedId,
        ops: &[Op],
        (thresholds, now_ms): (Thresholds, i64),
        journals: &impl Journals,
    ) -> Option<Gate> {
        let mut inspector = self.inspectors.remove(&feed).unwrap_or_default();
        let live = self.mark(feed).live;
        let gate = inspector.inspect(ops, live, thresholds, now_ms, |id| {
            // Reading what was there before is for the watch only; what cannot be read will stop the fold itself.
            let state = self.view.record(id, feed).ok()??;
            (state.status == Status::Live).then_some(())?;
            journals.with(feed, |journal| journal.op(state.seq))?.ok()?
        });
        self.inspectors.insert(feed, inspector);
        gate
    }

    fn fold_one(
        &self,
        op: &Op,
        writes: &mut Writes,
        states: &mut HashMap<RecordId, RecordState>,
        mark: &mut Watermark,
    ) -> Result<(), StoreError> {
        let mut before = None;
        let mut failed = None;
        let no_rules = Rules::default();
        let rules = self.rules.get(&op.feed).unwrap_or(&no_rules);
        let folded = fold::fold(op, rules, |id| {
            before = states.get(&id).copied().or_else(|| {
                self.view.record(id, op.feed).unwrap_or_else(|error| {
                    failed = Some(error);
                    None
                })
            });
            before
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if folded.outcome != Outcome::Materialised {
            View::set_outcome(writes, op.feed, op.seq, &folded.outcome);
        }
        if folded.letter {
            View::set_letter(writes, op.feed, op.seq);
        }
        let Some((id, state)) = folded.change else { return Ok(()) };
        let was_live = before.is_some_and(|state| state.status == Status::Live);
        match (was_live, state.status) {
            (false, Status::Live) => mark.live += 1,
            (true, Status::Withdrawn) => mark.live -= 1,
            _ => {}
        }
        writes.push((Table::Records, record_key(id, op.feed), state.to_bytes().to_vec()));
        if self.options.match_keys {
            for key in folded.match_keys {
                let key = match_key(op.feed, &key);
                writes.push((Table::Keys, key, id.to_bytes().to_vec()));
            }
        }
        states.insert(id, state);
        Ok(())
    }

    /// Whether the engine's files have outgrown what they hold.
    pub(crate) fn bloated(&self) -> bool {
        let records: usize = self.digests.values().map(Digest::len).sum();
        let live = (records as u64 * RECORD_BYTES).max(BLOAT_FLOOR_BYTES);
        self.view.disk_bytes() > live * BLOAT_FACTOR
    }

    /// A new generation folded from the journals, beside this one, which goes on serving.
    pub(crate) fn rebuilt(
        options: ViewOptions,
        journals: &impl Journals,
    ) -> Result<Self, StoreError> {
        let generation = generations(&options.dir).last().copied().unwrap_or(0) + 1;
        let mut fresh = Self::empty(options, generation)?;
        for feed in journals.feeds() {
            while fresh.step(feed, journals)?.is_some() {}
        }
        Ok(fresh)
    }

    /// Records of which another projection says something else.
    pub(crate) fn changed_since(&self, other: &Self) -> BTreeSet<RecordId> {
        let nothing = Digest::default();
        let feeds: BTreeSet<&FeedId> = self.digests.keys().chain(other.digests.keys()).collect();
        let mut changed = BTreeSet::new();
        for feed in feeds {
            let now = self.digests.get(feed).unwrap_or(&nothing);
            let before = other.digests.get(feed).unwrap_or(&nothing);
            for bucket in 0..BUCKETS {
                let (now, before): (BTreeSet<_>, BTreeSet<_>) =
                    (now.leaves(bucket).collect(), before.leaves(bucket).collect());
                changed.extend(now.symmetric_difference(&before).map(|(id, _)| *id));
            }
        }
        changed
    }

    /// Removes the directory of a generation that was swapped out.
    pub(crate) fn discard(self) {
        let dir = self.view.dir().to_owned();
        drop(self);
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            tracing::warn!(%error, dir = %dir.display(), "cannot remove an old view");
        }
    }
}

fn ops_after(ops: &[Op], seq: u64) -> &[Op] {
    &ops[ops.partition_point(|op| op.seq <= seq)..]
}
