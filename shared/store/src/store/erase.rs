//! Carrying out redactions: what the hub's feed says is erased leaves journals, view and index.

use std::{borrow::Cow, collections::BTreeMap, collections::BTreeSet, sync::Arc};

use liandong_core::{
    city::City,
    id::{FeedId, Head},
    op::Op,
};

use super::{Job, Shared, Store, threads::die};
use crate::{
    error::StoreError,
    journal::{Erasures, scrub},
    projector::Journals as _,
};

impl Store {
    /// Carries out redactions as they become known, and those that a crash or a restored backup left undone, until
    /// the store closes. `elsewhere` erases what the caller keeps outside of the journals.
    pub async fn keep_erased(
        &self,
        elsewhere: impl Fn(&BTreeMap<FeedId, Erasures>) -> Result<(), StoreError>,
    ) {
        let mut city = self.watch_city();
        let mut done = 0;
        loop {
            let known = Arc::clone(&city.borrow_and_update());
            let mut erased = self.erase(&known).await.map(|_count| ());
            if known.redactions.len() != done {
                let kept = || elsewhere(&self.erasures(&known)?);
                erased = erased.and(tokio::task::block_in_place(kept));
                done = known.redactions.len();
            }
            if let Err(error) = erased {
                tracing::error!(%error, "content that is to be erased cannot be");
            }
            if city.changed().await.is_err() {
                return;
            }
        }
    }

    /// What a city says is erased, for copies outside of the journals.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn erasures(&self, city: &City) -> Result<BTreeMap<FeedId, Erasures>, StoreError> {
        let mut erasures: BTreeMap<FeedId, Erasures> = BTreeMap::new();
        for ((feed, seq), redaction) in &city.redactions {
            let op = self.shared.with(*feed, |journal| journal.op(*seq)).transpose()?.flatten();
            let op = op.filter(|op| op.hash == redaction.op_hash);
            let named = erasures.entry(*feed).or_default();
            named.ops.insert(redaction.op_hash);
            named.payloads.extend(op.map(|op| op.payload_hash));
        }
        Ok(erasures)
    }

    /// Erases in the journals beside those in use: damaged ones and those of tails that were given up.
    ///
    /// # Errors
    /// `Io`.
    pub fn erase_aside(&self, erasures: &BTreeMap<FeedId, Erasures>) -> Result<(), StoreError> {
        let dir = &self.shared.options.dir;
        for entry in std::fs::read_dir(dir).map_err(StoreError::io(dir))? {
            let entry = entry.map_err(StoreError::io(dir))?;
            if entry.file_name().to_string_lossy().starts_with("journal.") {
                scrub(&entry.path(), erasures)?;
            }
        }
        Ok(())
    }

    /// Carries out the redactions that a city knows. Returns how many ops lost their content.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub async fn erase(&self, city: &City) -> Result<usize, StoreError> {
        let mut wanted: BTreeMap<FeedId, BTreeSet<u64>> = BTreeMap::new();
        for ((feed, seq), redaction) in &city.redactions {
            let op = self.shared.with(*feed, |journal| journal.op(*seq)).transpose()?.flatten();
            if op.is_some_and(|op| op.hash == redaction.op_hash && !op.signed.withheld) {
                wanted.entry(*feed).or_default().insert(*seq);
            }
        }
        let mut erased = 0;
        for (feed, seqs) in wanted {
            // First the fold that no longer reads the content, then the content goes.
            let folded = |rules| rules == self.city().rules(feed).hash();
            self.reached(feed, |progress| progress.head.seq == 0 || folded(progress.rules)).await;
            let count = seqs.len();
            let done = self.send(feed, Head::EMPTY, Vec::new(), seqs);
            done.await.map_err(|_closed| StoreError::Closed)??;
            erased += count;
        }
        Ok(erased)
    }
}

/// Ops that are about to be written, without the content of those that are erased already.
pub(super) fn without_erased<'a>(shared: &Shared, ops: &'a [Op]) -> Cow<'a, [Op]> {
    let city = Arc::clone(&shared.city.borrow());
    let erased = |op: &Op| {
        let redaction = city.redactions.get(&(op.feed, op.seq));
        redaction.is_some_and(|redaction| redaction.op_hash == op.hash)
    };
    if city.redactions.is_empty() || !ops.iter().any(erased) {
        return Cow::Borrowed(ops);
    }
    let mut ops = ops.to_vec();
    for op in ops.iter_mut().filter(|op| erased(op)) {
        op.signed = op.signed.clone().withhold();
    }
    Cow::Owned(ops)
}

/// Erases on the writer's thread, which is the only one that changes a journal; then the index is built again, because
/// its files keep what was taken out of it for a while.
pub(super) fn erase(shared: &Shared, job: Job) {
    let journal = shared.journals.read().get(&job.feed).map(Arc::clone);
    let erased = match journal {
        Some(journal) => {
            let mut journal = journal.write();
            journal.erase(&job.erase).map(|count| (count, journal.head()))
        }
        None => Ok((0, Head::EMPTY)),
    };
    let done = match erased {
        Ok((count, head)) => {
            tracing::info!(feed = %job.feed, count, "content was erased");
            shared.clear_index().map(|()| head)
        }
        Err(error @ StoreError::Io { .. }) => die(&error),
        Err(error) => Err(error),
    };
    shared.to_index.set();
    let _gone = job.done.send(done);
}
