//! Putting another journal in the place of a feed's, while the store serves.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use liandong_core::{
    id::{FeedId, Head},
    limit,
};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::{Appended, Shared, Store};
use crate::{
    error::StoreError,
    journal::Journal,
    projector::{Journals, Projection, Terms},
};

/// A journal that waits for its turn.
#[derive(Debug)]
pub(super) struct Replacement {
    feed: FeedId,
    staged: PathBuf,
    aside: PathBuf,
    done: oneshot::Sender<Result<Head, StoreError>>,
}

/// The journals as they will be.
struct Replaced<'a> {
    shared: &'a Shared,
    feed: FeedId,
    journal: &'a Journal,
}

impl Journals for Replaced<'_> {
    fn feeds(&self) -> Vec<FeedId> {
        self.shared.feeds()
    }

    fn with<T>(&self, feed: FeedId, read: impl FnOnce(&Journal) -> T) -> Option<T> {
        if feed == self.feed { Some(read(self.journal)) } else { self.shared.with(feed, read) }
    }

    fn terms(&self, feed: FeedId) -> Terms {
        self.shared.terms(feed)
    }
}

/// Moves a feed's journal aside and the staged one into its place. Every step may have been done before a crash;
/// repeated, it does the rest.
///
/// # Errors
/// `Io`.
pub fn swap_journals(current: &Path, staged: &Path, aside: &Path) -> Result<(), StoreError> {
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(StoreError::io(from))?;
        for dir in [from.parent(), to.parent()].into_iter().flatten() {
            let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(StoreError::io(dir))?;
        }
        Ok::<(), StoreError>(())
    };
    if staged.exists() && !aside.exists() {
        rename(current, aside)?;
    }
    if staged.exists() {
        rename(staged, current)?;
    }
    Ok(())
}

impl Store {
    /// Puts the journal in `staged` in the place of a feed's, which is kept in `aside`; both directories are on the
    /// data directory's disk. View and index follow. The caller sees to it that nobody appends to the feed meanwhile;
    /// who reads at the moment of the change may be told that an op is not there.
    pub fn replace_feed(&self, feed: FeedId, staged: &Path, aside: &Path) -> Appended {
        let (done, replaced) = oneshot::channel();
        let (staged, aside) = (staged.to_owned(), aside.to_owned());
        *self.shared.replacement.lock() = Some(Replacement { feed, staged, aside, done });
        self.shared.to_project.set();
        replaced
    }
}

impl Store {
    /// Makes a damaged feed whole up to its last readable op, so that the rest can come from the other side again. The
    /// damaged files stay in `aside`.
    ///
    /// # Errors
    /// `Io`; the answer as for [`Self::replace_feed`].
    pub fn cut_damaged(&self, feed: FeedId, aside: &Path) -> Result<Appended, StoreError> {
        let staged = self.shared.options.dir.join("staged").join(feed.to_string());
        if staged.exists() {
            std::fs::remove_dir_all(&staged).map_err(StoreError::io(&staged))?;
        }
        let mut journal = Journal::open(Arc::clone(&self.shared.options.disk), &staged, feed)?;
        loop {
            let (ops, bytes) = (limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX);
            let ops = self.ops(feed, journal.written().seq, ops, bytes)?;
            if ops.is_empty() {
                break;
            }
            journal.append(&ops)?;
        }
        journal.append_durably(&[])?;
        Ok(self.replace_feed(feed, &staged, aside))
    }
}

/// Carries a replacement out, on the projector's thread, which is the only one that changes the view.
pub(super) fn replace(shared: &Shared, replacement: Replacement) {
    let head = try_replace(shared, &replacement);
    if let Err(error) = &head {
        tracing::error!(%error, feed = %replacement.feed, "a journal cannot be replaced");
    }
    let _gone = replacement.done.send(head);
}

fn try_replace(shared: &Shared, replacement: &Replacement) -> Result<Head, StoreError> {
    let Replacement { feed, staged, aside, .. } = replacement;
    let open = |dir: &Path| Journal::open(Arc::clone(&shared.options.disk), dir, *feed);
    // The view of what will be is made first, so that readers never wait for it.
    let journal = open(staged)?;
    let options = shared.projection.lock().options();
    let fresh = Projection::rebuilt(options, &Replaced { shared, feed: *feed, journal: &journal })?;
    drop(journal);
    let head = {
        let _turn = shared.index_turn.lock();
        let mut journals = shared.journals.write();
        let current = shared.journal_dir(*feed);
        swap_journals(&current, staged, aside)?;
        let journal = open(&current)?;
        let head = journal.head();
        journals.insert(*feed, Arc::new(RwLock::new(journal)));
        shared.view.store(Arc::new(fresh.view()));
        let old = std::mem::replace(&mut *shared.projection.lock(), fresh);
        drop(journals);
        shared.publish(*feed, |progress| progress.head = head);
        shared.emptied.fetch_add(1, Ordering::AcqRel);
        shared.index.load().clear()?;
        for feed in shared.feeds() {
            shared.publish(feed, |progress| progress.indexed = Head::EMPTY);
        }
        old.discard();
        head
    };
    super::threads::publish_all(shared);
    shared.to_index.set();
    shared.note_everything()?;
    Ok(head)
}
