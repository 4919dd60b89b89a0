//! The view of one feed, held in memory and folded with the production rules.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use liandong_core::{
    city::{City, Rules},
    digest::Digest,
    fold::{self, FOLD_VERSION, Outcome, RecordState, Status},
    id::{FeedId, Hash, Head, RecordId},
    op::Op,
    wire::{Claim, OpOutcome},
};
use liandong_store::journal::Journal;

use super::invariants::{self, Violation, broken};

/// What a process makes of one feed.
#[derive(Debug)]
pub struct Fold {
    feed: FeedId,
    head: Head,
    rules: Rules,
    states: BTreeMap<RecordId, RecordState>,
    digest: Digest,
    live: u64,
    uids: HashSet<[u8; 16]>,
    letters: BTreeSet<u64>,
}

impl Fold {
    /// Nothing folded yet.
    pub fn new(feed: FeedId) -> Self {
        Self {
            feed,
            head: Head::EMPTY,
            rules: Rules::default(),
            states: BTreeMap::new(),
            digest: Digest::default(),
            live: 0,
            uids: HashSet::new(),
            letters: BTreeSet::new(),
        }
    }

    /// How far it is.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The records.
    pub const fn states(&self) -> &BTreeMap<RecordId, RecordState> {
        &self.states
    }

    /// Positions of ops that ask something of the hub.
    pub const fn letters(&self) -> &BTreeSet<u64> {
        &self.letters
    }

    /// Folds what a journal holds beyond this, as far as the city lets it; from the beginning when the city changed
    /// what holds for what was folded. Returns the outcomes.
    ///
    /// # Errors
    /// I7, I10, I13.
    pub fn advance(&mut self, journal: &Journal, city: &City) -> Result<Vec<OpOutcome>, Violation> {
        let rules = city.rules(self.feed);
        let differs = rules.differs_from(&self.rules, self.feed);
        if differs.is_some_and(|seq| seq <= self.head.seq) {
            *self = Self::new(self.feed);
        }
        self.rules = rules;
        let gate = city.gates.held(self.feed).map_or(u64::MAX, |gate| gate.after);
        let room = usize::try_from(gate.saturating_sub(self.head.seq)).unwrap_or(usize::MAX);
        let ops = journal
            .read(self.head.seq, room, usize::MAX)
            .map_err(|error| broken("I3", format!("a journal cannot be read: {error}")))?;
        let outcomes = ops.iter().map(|op| self.apply(op)).collect::<Result<_, _>>()?;
        let due = journal.head().seq.min(gate.max(self.head.seq));
        invariants::i10_no_poison(self.feed, self.head.seq, due)?;
        Ok(outcomes)
    }

    /// Folds the next op.
    ///
    /// # Errors
    /// I7, I8, I13.
    pub fn apply(&mut self, op: &Op) -> Result<OpOutcome, Violation> {
        invariants::i07_once(op, self.uids.insert(op.uid))?;
        let mut before = None;
        let folded = fold::fold(op, &self.rules, |id| {
            before = self.states.get(&id).copied();
            before
        });
        if folded.letter {
            self.letters.insert(op.seq);
        }
        if let Some((id, state)) = folded.change {
            invariants::i13_no_resurrection(op, before, state)?;
            invariants::i08_leaves_differ(id, before, state)?;
            let was_live = before.is_some_and(|state| state.status == Status::Live);
            match (was_live, state.status) {
                (false, Status::Live) => self.live += 1,
                (true, Status::Withdrawn) => self.live -= 1,
                _ => {}
            }
            self.digest.set(id, state.leaf(id));
            self.states.insert(id, state);
        }
        self.head = op.head();
        Ok(OpOutcome { seq: op.seq, outcome: folded.outcome })
    }

    /// The root of its records.
    pub fn root(&mut self) -> Hash {
        self.digest.root()
    }

    /// What a node claims.
    pub fn claim(&mut self) -> Claim {
        let (seq, records, rules) = (self.head.seq, self.live, self.rules.hash());
        Claim { seq, fold_version: FOLD_VERSION, root: self.root(), records, rules }
    }
}

/// Outcomes that a person has to be told.
pub(super) fn without_effect(outcomes: Vec<OpOutcome>) -> Vec<OpOutcome> {
    outcomes.into_iter().filter(|op| op.outcome != Outcome::Materialised).collect()
}
