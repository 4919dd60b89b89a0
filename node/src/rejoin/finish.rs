//! The last steps of a rejoin: own ops are written again on top of the mirror's, and what a person must settle is put
//! into the queue. All of it is planned anew from the two journals, so a repetition does only what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use liandong_core::{
    id::{FeedId, Hash, Head},
    limit,
    op::Op,
    rejoin::{Clash, Plan, Tail, plan},
};
use liandong_server::{admin::Progress, clock};
use liandong_store::{StoreError, Turn, disk::RealDisk, journal::Journal};

use super::State;
use crate::{
    app::{App, AppError},
    conflict::{Kept, KeptOp},
};

/// The journal that was given up.
struct Abandoned {
    journal: Journal,
    /// Readable ops beyond a damage.
    salvaged: BTreeMap<u64, Op>,
    tail: Tail,
    /// New hashes of ops that the mirror holds at other places.
    places: BTreeMap<Hash, Hash>,
}

impl Abandoned {
    fn open(dir: &Path, feed: FeedId, ancestor: Head, theirs: &Tail) -> Result<Self, StoreError> {
        let journal = Journal::open_readable(Arc::new(RealDisk), dir, feed, Head::EMPTY)?;
        let beyond = journal.head().seq.max(ancestor.seq);
        let salvaged = journal.damage().map(|_| journal.salvage(beyond)).transpose()?;
        let (mut tail, mut places) = (Tail::default(), BTreeMap::new());
        let mut at = ancestor.seq;
        loop {
            let ops = journal.read(at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
            let Some(last) = ops.last().map(|op| op.seq) else { break };
            for op in ops {
                tail.note(&op);
                places.extend(theirs.hash_of(&op.uid).map(|hash| (op.hash, hash)));
            }
            at = last;
        }
        let salvaged: BTreeMap<u64, Op> =
            salvaged.into_iter().flatten().map(|op| (op.seq, op)).collect();
        for op in salvaged.values() {
            tail.note(op);
            places.extend(theirs.hash_of(&op.uid).map(|hash| (op.hash, hash)));
        }
        Ok(Self { journal, salvaged, tail, places })
    }

    fn ops(&self, seqs: &[u64]) -> Result<Vec<Op>, StoreError> {
        let mut ops = Vec::with_capacity(seqs.len());
        for seq in seqs {
            ops.extend(match self.salvaged.get(seq) {
                Some(op) => Some(op.clone()),
                None => self.journal.op(*seq)?,
            });
        }
        Ok(ops)
    }

    /// Ops by their hashes, from the part that both sides have.
    fn find(&self, wanted: &BTreeSet<Hash>, until: u64) -> Result<BTreeMap<Hash, Op>, StoreError> {
        let mut found = BTreeMap::new();
        let mut at = 0;
        while at < until && found.len() < wanted.len() {
            let ops = self.journal.read(at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
            let Some(last) = ops.last().map(|op| op.seq) else { break };
            let hits = ops.into_iter().filter(|op| wanted.contains(&op.hash));
            found.extend(hits.map(|op| (op.hash, op)));
            at = last;
        }
        Ok(found)
    }
}

impl App {
    /// Goes on with a rejoin that was interrupted after the journals were swapped.
    ///
    /// # Errors
    /// The journals cannot be read, the disk cannot be written.
    pub(crate) async fn resume_rejoin(&self, progress: &Progress) -> Result<(), AppError> {
        let Some(state) = State::read(&self.dir)? else { return Ok(()) };
        let mut turn = self.own.turn(&self.store).await;
        self.finish_rejoin(&mut turn, &state, progress).await
    }

    /// Writes again what is to be written again, queues what clashes, and ends the rejoin.
    pub(crate) async fn finish_rejoin(
        &self,
        turn: &mut Turn<'_>,
        state: &State,
        progress: &Progress,
    ) -> Result<(), AppError> {
        let feed = self.own.feed();
        let (mut old, plan) = tokio::task::block_in_place(|| {
            let theirs = self.tail(state.ancestor.seq)?;
            let old = Abandoned::open(&state.aside(&self.dir), feed, state.ancestor, &theirs)?;
            let plan = plan(&old.tail, &theirs);
            self.queue(&old, &plan, state)?;
            Ok::<_, AppError>((old, plan))
        })?;
        let total = plan.again.len() as u64;
        let mut done = 0;
        for seqs in plan.again.chunks(limit::BATCH_OPS_MAX) {
            let ops = tokio::task::block_in_place(|| old.ops(seqs))?;
            turn.write_again(&ops, &mut old.places).await?;
            done += seqs.len() as u64;
            progress.report(done, total, "重写 / write again");
        }
        State::remove(&self.dir)?;
        // What is kept from now on may hold what was ordered erased.
        let kept = || self.erase_kept(&self.store.erasures(&self.store.city())?);
        Ok(tokio::task::block_in_place(kept)?)
    }

    /// Keeps the clashes for a person, whole: the queue does not need the old journal.
    fn queue(&self, old: &Abandoned, plan: &Plan, state: &State) -> Result<(), AppError> {
        let mut clashes: Vec<(&Clash, Vec<Op>)> = Vec::new();
        for clash in &plan.clashes {
            clashes.push((clash, old.ops(&clash.mine)?));
        }
        let wanted: BTreeSet<Hash> =
            clashes.iter().filter_map(|(_, mine)| mine.first()?.base).collect();
        let bases = old.find(&wanted, state.ancestor.seq)?;
        for (clash, mine) in clashes {
            let base = mine.first().and_then(|op| bases.get(&op.base?));
            let theirs = self.store.ops(self.own.feed(), clash.theirs - 1, 1, 1)?;
            self.conflicts.put(&Kept {
                record: clash.record,
                opened_ms: clock::now_ms(),
                base: base.map(KeptOp::from),
                mine: mine.iter().map(KeptOp::from).collect(),
                theirs: theirs.first().map(KeptOp::from),
                aside: state.aside.clone(),
                settled: None,
            })?;
        }
        Ok(())
    }
}
