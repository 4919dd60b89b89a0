//! One node's mirror of the hub's feed on its way back.

use liandong_core::{
    city::HubKeys,
    id::{FeedId, Head},
    op::{Op, OpFault, SignedOp},
};
use liandong_server::config::write_private;
use liandong_store::{Store, StoreError, journal::Journal};

use super::{Notes, Reason, Recovery, State, write_notes};

/// Why what came back is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakingError {
    /// Not an op that this hub signed, or not the next one.
    #[error("第 {0} 条不是中心的数据流：{1} / op {0} is not of the hub's feed: {1}")]
    Op(u64, OpFault),
    /// It begins where the hub knows of nothing.
    #[error("返回的起点不在中心的数据流中 / it begins where the hub's feed has no op")]
    Elsewhere,
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a node returns, as far as it came.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    recovery: &'a Recovery,
    store: &'a Store,
    from: FeedId,
    keys: HubKeys,
    at: Head,
    aside: Option<(Head, Journal)>,
    now_ms: i64,
}

impl Recovery {
    /// Begins to take a mirror back. `keys` are those that sign the hub's feed.
    ///
    /// # Errors
    /// `Elsewhere`, `Store`.
    pub(crate) fn begin<'a>(
        &'a self,
        store: &'a Store,
        from: FeedId,
        after: Head,
        keys: HubKeys,
        now_ms: i64,
    ) -> Result<Taking<'a>, TakingError> {
        let here = self.hash_at(self.state.lock().under.as_ref(), store, after.seq)?;
        if here != Some(after.hash) {
            return Err(TakingError::Elsewhere);
        }
        Ok(Taking { recovery: self, store, from, keys, at: after, aside: None, now_ms })
    }

    /// Waits for the turn to return a mirror.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// A node has proved that ops of this hub are missing here: nothing is decided until they are back.
    fn alarm(&self, store: &Store, now_ms: i64) -> Result<(), StoreError> {
        let base = store.head(self.feed);
        tracing::error!(%base, "nodes hold decisions that this hub has lost; it recovers");
        let spoken = [].into();
        let notes =
            Notes { reason: Reason::Restored, base, began_ms: now_ms, changed_ms: now_ms, spoken };
        self.forget_tail();
        write_notes(&self.dir, &notes)?;
        self.resume(notes)
    }
}

impl Taking<'_> {
    /// Where the mirror has come to.
    pub(crate) const fn at(&self) -> Head {
        self.at
    }

    /// Checks the next ops and keeps what is new, durably. While the hub does not recover yet, its turn to decide must
    /// be held.
    ///
    /// # Errors
    /// `Op`, `Store`; nothing of these ops is kept then.
    pub(crate) fn take(&mut self, ops: Vec<SignedOp>) -> Result<(), TakingError> {
        let mut checked = Vec::with_capacity(ops.len());
        let mut head = self.at;
        let mut keys = self.keys.clone();
        for signed in ops {
            let bad = |fault| TakingError::Op(head.seq + 1, fault);
            let op = Op::parse(signed).map_err(bad)?;
            op.follows(self.recovery.feed, head).map_err(bad)?;
            keys.take(&op).map_err(bad)?;
            head = op.head();
            checked.push(op);
        }
        let beyond = |recovery: &Recovery| {
            let state = recovery.state.lock();
            state.under.is_none() && head.seq > self.store.head(recovery.feed).seq
        };
        if self.aside.is_none() && beyond(self.recovery) {
            // A mirror that diverges inside what the hub has proves nothing of what it lost.
            let last = self.store.head(self.recovery.feed);
            let known = checked.iter().find(|op| op.seq == last.seq).map(Op::head);
            if known.unwrap_or(self.at) == last {
                self.recovery.alarm(self.store, self.now_ms)?;
            }
        }
        self.keep(&checked)?;
        (self.at, self.keys) = (head, keys);
        Ok(())
    }

    fn keep(&mut self, ops: &[Op]) -> Result<(), TakingError> {
        let recovery = self.recovery;
        let mut state = recovery.state.lock();
        let mut at = self.at;
        let (mut tail, mut aside) = (Vec::new(), Vec::new());
        for op in ops {
            let here = recovery.hash_at(state.under.as_ref(), self.store, op.seq)?;
            if self.aside.is_none() && here.is_some_and(|hash| hash != op.hash) {
                self.aside = Some((at, self.open_aside(at)?));
            }
            at = op.head();
            match here {
                _ if self.aside.is_some() => aside.push(op.clone()),
                Some(_) => self.fill(&mut state, op)?,
                None => tail.push(op.clone()),
            }
        }
        if let Some((base, journal)) = &mut self.aside {
            let new = aside.iter().position(|op| op.seq > journal.head().seq);
            let head = journal.append_durably(&aside[new.unwrap_or(aside.len())..])?;
            state.forks.insert(self.from, (*base, head));
        }
        let Some(under) = state.under.as_mut().filter(|_| !tail.is_empty()) else { return Ok(()) };
        under.tail.append_durably(&tail)?;
        under.withheld.extend(tail.iter().filter(|op| op.signed.withheld).map(|op| op.seq));
        under.notes.changed_ms = self.now_ms;
        Ok(())
    }

    /// Keeps the content of an op that came without it from another node.
    fn fill(&self, state: &mut State, op: &Op) -> Result<(), StoreError> {
        let Some(under) = &mut state.under else { return Ok(()) };
        if op.signed.withheld || !under.withheld.contains(&op.seq) {
            return Ok(());
        }
        let path = self.recovery.payload_path(op.seq);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        }
        write_private(&path, &op.signed.payload).map_err(StoreError::io(&path))?;
        under.withheld.remove(&op.seq);
        Ok(())
    }

    fn open_aside(&self, base: Head) -> Result<Journal, StoreError> {
        tracing::error!(
            from = %self.from, %base,
            "a node mirrors another feed of this hub; it is kept aside and a person must look"
        );
        self.recovery.open_piece(&Recovery::fork_name(self.from, base), base)
    }

    /// The node has returned all it has.
    pub(crate) fn finish(self) -> Head {
        if let Some(under) = &mut self.recovery.state.lock().under {
            under.returned.insert(self.from);
        }
        self.at
    }
}
