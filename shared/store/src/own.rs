//! The one feed a process authors itself.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use liandong_core::{
    id::{FeedId, Hash, Head},
    op::{Author, Change, Op, OpFault, Stamp},
};
use tokio::sync::{Mutex, MutexGuard};

use crate::{error::StoreError, store::Store};

/// Why changes were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A change does not fit into an op.
    #[error(transparent)]
    Op(#[from] OpFault),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Signs what this process decides, one decision after the other.
#[derive(Debug)]
pub struct OwnFeed {
    feed: FeedId,
    author: ArcSwap<Author>,
    gate: Mutex<()>,
}

/// The turn to decide and write: while it is held the view does not change under the one who decides.
#[derive(Debug)]
pub struct Turn<'a> {
    own: &'a OwnFeed,
    store: &'a Store,
    _gate: MutexGuard<'a, ()>,
}

impl OwnFeed {
    /// The feed of an author.
    pub fn new(author: Author) -> Self {
        Self { feed: author.feed(), author: ArcSwap::from_pointee(author), gate: Mutex::new(()) }
    }

    /// The author as it signs now.
    pub fn author(&self) -> Arc<Author> {
        self.author.load_full()
    }

    /// The feed.
    pub const fn feed(&self) -> FeedId {
        self.feed
    }

    /// Waits for the turn to write.
    pub async fn turn<'a>(&'a self, store: &'a Store) -> Turn<'a> {
        Turn { own: self, store, _gate: self.gate.lock().await }
    }
}

impl Turn<'_> {
    /// Signs with another author of the same feed from the next op on.
    pub fn set_author(&mut self, author: Author) {
        self.own.author.store(Arc::new(author));
    }

    /// Writes ops of an abandoned tail of this feed again, with their uids, in order, all or none. What an op was made
    /// against is looked up in `places`, where every op leaves its new hash.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_again(
        &mut self,
        ops: &[Op],
        places: &mut BTreeMap<Hash, Hash>,
    ) -> Result<(), WriteError> {
        let author = self.own.author();
        let after = self.store.head(self.own.feed());
        let mut head = after;
        let mut written = Vec::with_capacity(ops.len());
        for op in ops {
            let base = op.base.map(|base| places.get(&base).copied().unwrap_or(base));
            let again = author.author_again(head, op, base)?;
            places.insert(op.hash, again.hash);
            head = again.head();
            written.push(again);
        }
        self.append(after, written).await
    }

    async fn append(&mut self, after: Head, ops: Vec<Op>) -> Result<(), WriteError> {
        let Some(last) = ops.last().map(Op::head) else { return Ok(()) };
        let appended = self.store.append(self.own.feed(), after, ops);
        appended.await.map_err(|_closed| StoreError::Closed)??;
        self.store.applied(self.own.feed(), last.seq).await;
        Ok(())
    }

    /// Signs and appends changes in order, all or none. Returns when they are durable and folded into the view.
    ///
    /// # Errors
    /// `Op` when a change is too large, before anything is written; `Store`.
    pub async fn write(
        &mut self,
        changes: Vec<Change>,
        stamp: impl FnMut() -> Stamp,
    ) -> Result<Vec<Op>, WriteError> {
        self.sign(&self.own.author(), changes, stamp).await
    }

    /// Writes changes that another author of the same feed signs, who signs from then on.
    ///
    /// # Errors
    /// As [`Self::write`]; the author stays.
    pub async fn hand_over(
        &mut self,
        to: Author,
        changes: Vec<Change>,
        stamp: impl FnMut() -> Stamp,
    ) -> Result<Vec<Op>, WriteError> {
        let ops = self.sign(&to, changes, stamp).await?;
        self.set_author(to);
        Ok(ops)
    }

    async fn sign(
        &mut self,
        author: &Author,
        changes: Vec<Change>,
        mut stamp: impl FnMut() -> Stamp,
    ) -> Result<Vec<Op>, WriteError> {
        let after = self.store.head(self.own.feed());
        let mut head = after;
        let mut ops = Vec::with_capacity(changes.len());
        for change in changes {
            let op = author.author(head, change, stamp())?;
            head = op.head();
            ops.push(op);
        }
        self.append(after, ops.clone()).await?;
        Ok(ops)
    }
}
