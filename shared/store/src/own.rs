//! The one feed a process authors itself.

use liandong_core::{
    id::FeedId,
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
    author: Author,
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
        Self { author, gate: Mutex::new(()) }
    }

    /// The author.
    pub const fn author(&self) -> &Author {
        &self.author
    }

    /// The feed.
    pub const fn feed(&self) -> FeedId {
        self.author.feed()
    }

    /// Waits for the turn to write.
    pub async fn turn<'a>(&'a self, store: &'a Store) -> Turn<'a> {
        Turn { own: self, store, _gate: self.gate.lock().await }
    }
}

impl Turn<'_> {
    /// Signs and appends changes in order, all or none. Returns when they are durable and folded into the view.
    ///
    /// # Errors
    /// `Op` when a change is too large, before anything is written; `Store`.
    pub async fn write(
        &mut self,
        changes: Vec<Change>,
        mut stamp: impl FnMut() -> Stamp,
    ) -> Result<Vec<Op>, WriteError> {
        let feed = self.own.feed();
        let after = self.store.head(feed);
        let mut head = after;
        let mut ops = Vec::with_capacity(changes.len());
        for change in changes {
            let op = self.own.author.author(head, change, stamp())?;
            head = op.head();
            ops.push(op);
        }
        if ops.is_empty() {
            return Ok(ops);
        }
        let appended = self.store.append(feed, after, ops.clone());
        appended.await.map_err(|_closed| StoreError::Closed)??;
        self.store.applied(feed, head.seq).await;
        Ok(ops)
    }
}
