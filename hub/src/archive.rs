//! The archive of tails that nodes gave up: nothing that a district signed is ever lost, whatever a person decides.
//!
//! A tail is kept as a piece of its feed's journal in a directory of its own, named after its last op, beside a note of
//! where it begins. It counts as archived when its last op is durable; sent again, it goes on where it stopped.

mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{
    id::{FeedId, Hash, Head},
    limit,
    op::{Keys, Op, OpFault, OpType, SignedOp},
};
use liandong_server::config::write_private;
use liandong_store::{
    StoreError,
    disk::RealDisk,
    journal::{Erasures, Journal, scrub},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use show::print;
pub use show::{ArchiveCommand, ShownOp, ShownTail};

/// The note beside a tail.
const ABOUT: &str = "tail.json";

/// Why a tail is not archived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// An op is not what it should be.
    #[error("第 {0} 条不能归档：{1} / op {0} cannot be archived: {1}")]
    Op(u64, OpFault),
    /// What came is not the tail that was announced.
    #[error("归档内容与声明不符 / the ops are not the tail that was announced")]
    Other,
    /// Beyond the limits.
    #[error(
        "归档超出上限，请联系市级中心 / the archive's limit is reached; a person at the hub must look"
    )]
    Limit,
    /// Somebody is sending a tail of this feed.
    #[error("该数据流正在归档，请稍后再试 / a tail of this feed is being archived; try again")]
    Busy,
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a tail begins and ends, and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Last op that is on the mirror too.
    pub(crate) ancestor: Head,
    /// Last op of the tail.
    pub(crate) abandoned: Head,
    /// When it began to come, by the hub's clock, milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Certificate of the node that sent it.
    pub(crate) certificate: Hash,
}

/// The archive of all feeds.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    busy: Mutex<BTreeSet<FeedId>>,
}

/// One tail on its way into the archive. Its feed is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Archiving<'a> {
    archive: &'a Archive,
    feed: FeedId,
    about: About,
    journal: Journal,
    /// Where the ops that came stand, which may be behind the journal when the tail is sent again.
    at: Head,
    keys: Keys,
}

fn name(head: Head) -> String {
    format!("{:020}-{}", head.seq, head.hash)
}

/// A tail's journal with its note.
fn open(feed: FeedId, dir: &Path, about: &About) -> Result<Journal, StoreError> {
    let journal = Journal::open_after(Arc::new(RealDisk), dir, feed, about.ancestor)?;
    let path = dir.join(ABOUT);
    if !path.exists() {
        let text = serde_json::to_vec_pretty(about).unwrap_or_default();
        write_private(&path, &text).map_err(StoreError::io(&path))?;
    }
    Ok(journal)
}

impl Archive {
    /// The archive below a directory.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, busy: Mutex::default() }
    }

    fn feed_dir(&self, feed: FeedId) -> PathBuf {
        self.dir.join(feed.to_string())
    }

    /// Begins a tail, or goes on with it.
    ///
    /// # Errors
    /// `Busy`, `Limit`, `Store`.
    pub(crate) fn begin(
        &self,
        feed: FeedId,
        about: About,
        keys: Keys,
    ) -> Result<Archiving<'_>, ArchiveError> {
        let about = self.about(feed, about.abandoned).unwrap_or(about);
        if about.abandoned.seq.saturating_sub(about.ancestor.seq) > limit::ARCHIVED_OPS_MAX {
            return Err(ArchiveError::Limit);
        }
        let dir = self.feed_dir(feed).join(name(about.abandoned));
        if !dir.exists() && self.tails(feed).len() >= limit::ARCHIVED_TAILS_MAX {
            return Err(ArchiveError::Limit);
        }
        if !self.busy.lock().insert(feed) {
            return Err(ArchiveError::Busy);
        }
        // From here on dropping gives the feed free again.
        let journal = open(feed, &dir, &about);
        let journal = journal.inspect_err(|_| {
            self.busy.lock().remove(&feed);
        })?;
        Ok(Archiving { archive: self, feed, about, journal, at: about.ancestor, keys })
    }

    fn about(&self, feed: FeedId, abandoned: Head) -> Option<About> {
        let path = self.feed_dir(feed).join(name(abandoned)).join(ABOUT);
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Feeds with tails.
    pub(crate) fn feeds(&self) -> Vec<FeedId> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let mut feeds: Vec<FeedId> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        feeds.sort_unstable();
        feeds
    }

    /// The tails of a feed in the order of their last op, whole ones and those that stopped on the way.
    pub(crate) fn tails(&self, feed: FeedId) -> Vec<About> {
        let Ok(entries) = std::fs::read_dir(self.feed_dir(feed)) else { return Vec::new() };
        let read = |entry: std::fs::DirEntry| {
            serde_json::from_slice(&std::fs::read(entry.path().join(ABOUT)).ok()?).ok()
        };
        let mut tails: Vec<About> = entries.flatten().filter_map(read).collect();
        tails.sort_unstable_by_key(|about| (about.abandoned.seq, about.abandoned.hash));
        tails
    }

    /// A whole tail by its last op.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn holds(&self, feed: FeedId, abandoned: Head) -> Result<Option<About>, StoreError> {
        let Some(about) = self.about(feed, abandoned) else { return Ok(None) };
        let journal = self.read(feed, &about)?;
        Ok((journal.head() == abandoned).then_some(about))
    }

    /// Erases what is named in the tails of a feed. One that is on its way is looked through when it is whole.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn erase(
        &self,
        feed: FeedId,
        erasures: &BTreeMap<FeedId, Erasures>,
    ) -> Result<(), StoreError> {
        if !self.busy.lock().insert(feed) {
            return Ok(());
        }
        let tails = self.tails(feed).into_iter();
        let erased = tails
            .map(|about| self.feed_dir(feed).join(name(about.abandoned)))
            .try_for_each(|dir| scrub(&dir, erasures).map(|_count| ()));
        self.busy.lock().remove(&feed);
        erased
    }

    /// What there is of a tail.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn read(&self, feed: FeedId, about: &About) -> Result<Journal, StoreError> {
        let dir = self.feed_dir(feed).join(name(about.abandoned));
        Journal::open_after(Arc::new(RealDisk), &dir, feed, about.ancestor)
    }
}

impl Archiving<'_> {
    /// Checks the next ops of the tail and keeps those that are not there yet. Durable when this returns.
    ///
    /// # Errors
    /// `Op`, `Other`, `Store`; nothing of these ops is kept then.
    pub(crate) fn take(&mut self, ops: Vec<SignedOp>) -> Result<(), ArchiveError> {
        let mut new = Vec::new();
        for signed in ops {
            let bad = |fault| ArchiveError::Op(self.at.seq + 1, fault);
            let op = Op::parse(signed).map_err(bad)?;
            op.follows(self.feed, self.at).map_err(bad)?;
            op.verify_evidence(&self.keys).map_err(bad)?;
            if op.kind == OpType::KeyRotate {
                self.keys.rotate(&op).map_err(bad)?;
            }
            self.at = op.head();
            if self.at.seq > self.about.abandoned.seq {
                return Err(ArchiveError::Other);
            }
            if op.seq > self.journal.head().seq {
                new.push(op);
            } else if self.journal.hash_at(op.seq)? != Some(op.hash) {
                return Err(ArchiveError::Other);
            }
        }
        self.journal.append_durably(&new)?;
        Ok(())
    }

    /// The last op, once the tail is whole.
    ///
    /// # Errors
    /// `Other` when it is not.
    pub(crate) fn finish(self) -> Result<Head, ArchiveError> {
        let head = self.journal.head();
        if head == self.about.abandoned { Ok(head) } else { Err(ArchiveError::Other) }
    }
}

impl Drop for Archiving<'_> {
    fn drop(&mut self) {
        self.archive.busy.lock().remove(&self.feed);
    }
}

#[cfg(test)]
mod tests;
