//! What node and hub of the simulation have in common: randomness, a fold, disks that can be copied.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use liandong_core::{
    city::Rules,
    digest::Digest,
    fold::{self, FOLD_VERSION, Outcome, RecordState, Status},
    id::{FeedId, Hash, Head, RecordId},
    op::Op,
    wire::{Claim, OpOutcome},
};
use liandong_store::{
    disk::{Disk, SimDisk},
    journal::Journal,
};

/// Directory of every journal of the simulation, on its own disk.
pub(crate) const DIR: &str = "/feeds";
/// Small, so that the script crosses many segments.
const SEGMENT_BYTES: u64 = 4_000;

/// An invariant that does not hold, or progress that is not made.
pub(crate) type Violation = String;

/// One thing broken on purpose, to see that the suite notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Nothing is broken.
    None,
    /// The hub sends its receipt before the sync.
    AckBeforeFsync,
    /// A position is only a number: hashes are neither compared nor chained.
    SeqOnlyCursor,
    /// The node goes on from where it remembers to have sent, not from the hub's head.
    SenderCursor,
    /// The hub refuses a batch with an op that makes no sense.
    PoisonStop,
}

/// splitmix64: the same numbers on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

pub(crate) fn dir_of(feed: FeedId) -> std::path::PathBuf {
    Path::new(DIR).join(feed.to_string())
}

/// Opens a feed's journal as a process does when it starts: this must always work.
pub(crate) fn open(disk: &SimDisk, feed: FeedId) -> Result<Journal, Violation> {
    let journal = Journal::open(Arc::new(disk.clone()), &dir_of(feed), feed)
        .map_err(|error| format!("F1: a journal does not open again: {error}"))?;
    Ok(journal.with_segment_bytes(SEGMENT_BYTES))
}

/// The content of a disk on another one, as a backup or a cloned machine has it.
pub(crate) fn copy(disk: &SimDisk, feed: FeedId) -> SimDisk {
    let (dir, copy) = (dir_of(feed), SimDisk::default());
    for name in disk.list(&dir).unwrap() {
        let from = disk.open(&dir.join(&name), false).unwrap();
        let mut bytes = vec![0; usize::try_from(from.size().unwrap()).unwrap()];
        from.read_at(&mut bytes, 0).unwrap();
        let to = copy.open(&dir.join(&name), true).unwrap();
        to.write_at(&bytes, 0).unwrap();
        to.sync().unwrap();
    }
    copy.sync_dir(&dir).unwrap();
    copy
}

pub(crate) fn everything(journal: &Journal) -> Vec<Op> {
    journal.read(0, usize::MAX, usize::MAX).unwrap()
}

/// The view of one feed, held in memory and folded with the production rules.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) head: Option<Head>,
    states: BTreeMap<RecordId, RecordState>,
    digest: Digest,
    live: u64,
    uids: BTreeSet<[u8; 16]>,
}

impl Fold {
    pub(crate) fn head(&self) -> Head {
        self.head.unwrap_or(Head::EMPTY)
    }

    /// Folds one op. I7: an op takes effect once, whatever was sent how often.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<OpOutcome, Violation> {
        if !self.uids.insert(op.uid) {
            return Err(format!("I7: op {} of {:?} is there twice", op.seq, op.feed));
        }
        let before = RecordId::try_from(op.subject.as_ref())
            .is_ok_and(|id| self.states.get(&id).is_some_and(|s| s.status == Status::Live));
        let folded = fold::fold(op, &Rules::default(), |id| self.states.get(&id).copied());
        if let Some((id, state)) = folded.change {
            match (before, state.status) {
                (false, Status::Live) => self.live += 1,
                (true, Status::Withdrawn) => self.live -= 1,
                _ => {}
            }
            self.digest.set(id, state.leaf(id));
            self.states.insert(id, state);
        }
        self.head = Some(op.head());
        Ok(OpOutcome { seq: op.seq, outcome: folded.outcome })
    }

    /// Folds what a journal holds beyond this fold; the outcomes of ops without effect.
    pub(crate) fn advance(&mut self, ops: &[Op]) -> Result<Vec<OpOutcome>, Violation> {
        let mut without_effect = Vec::new();
        for op in ops {
            let outcome = self.apply(op)?;
            if outcome.outcome != Outcome::Materialised {
                without_effect.push(outcome);
            }
        }
        Ok(without_effect)
    }

    pub(crate) fn root(&mut self) -> Hash {
        self.digest.root()
    }

    pub(crate) fn claim(&mut self) -> Claim {
        let (seq, records) = (self.head().seq, self.live);
        let rules = Hash::ZERO;
        Claim { seq, fold_version: FOLD_VERSION, root: self.root(), records, rules }
    }

    /// A record of the feed, to be changed or withdrawn.
    pub(crate) fn any_record(&self, rng: &mut Rng) -> Option<RecordId> {
        self.states.keys().nth(rng.below(self.states.len())).copied()
    }
}
