//! What the hub knows of the connections of its nodes, for people and for the freshness of answers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{
    id::{FeedId, InstanceId},
    wire::Verdict,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Where the moments of last contact survive a restart; a loss costs nothing but that knowledge.
const FILE: &str = "links.json";

/// One feed's connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// Number of streams that are live.
    pub(crate) connected: u32,
    /// Verdict of the last handshake.
    pub(crate) verdict: Option<Verdict>,
    /// What was found, for people.
    pub(crate) explain: String,
    /// A handshake that froze: which installation, and what was found.
    pub(crate) alarm: Option<(InstanceId, Verdict)>,
    /// The folds differ.
    pub(crate) diverged: bool,
    /// Position that the node says it has.
    pub(crate) node_seq: u64,
    /// Position at which both roots were last found equal.
    pub(crate) confirmed_seq: u64,
    /// When and what of it survives a restart.
    pub(crate) seen: Seen,
}

/// Moments that are kept over restarts, milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Last message of the node.
    pub(crate) contact_ms: Option<i64>,
    /// Last time the mirror was known to be current.
    pub(crate) current_ms: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    link: Link,
    /// Number of the newest stream; an older one that sees it change is stale.
    newest: watch::Sender<u64>,
    /// Held while a stream hands ops to the store, so that none of an older stream follow a change of the number.
    turn: Arc<Mutex<()>>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { link: Link::default(), newest: watch::Sender::new(0), turn: Arc::default() }
    }
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Links {
    path: PathBuf,
    entries: Mutex<BTreeMap<FeedId, Entry>>,
}

impl Links {
    /// Reads what was kept; a missing or damaged file is no fault.
    pub(crate) fn read(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let text = std::fs::read(&path).unwrap_or_default();
        let kept: BTreeMap<FeedId, Seen> = serde_json::from_slice(&text).unwrap_or_default();
        let entries = kept
            .into_iter()
            .map(|(feed, seen)| {
                let link = Link { seen, ..Link::default() };
                (feed, Entry { link, ..Entry::default() })
            })
            .collect();
        Self { path, entries: Mutex::new(entries) }
    }

    /// Keeps the moments of last contact.
    pub(crate) fn keep(&self) {
        let seen: BTreeMap<FeedId, Seen> =
            self.entries.lock().iter().map(|(feed, entry)| (*feed, entry.link.seen)).collect();
        let kept = serde_json::to_vec(&seen).unwrap_or_default();
        if let Err(error) = liandong_server::config::write_private(&self.path, &kept) {
            tracing::warn!(%error, "the moments of last contact cannot be kept");
        }
    }

    pub(crate) fn get(&self, feed: FeedId) -> Link {
        self.entries.lock().get(&feed).map(|entry| entry.link.clone()).unwrap_or_default()
    }

    pub(crate) fn update(&self, feed: FeedId, change: impl FnOnce(&mut Link)) {
        change(&mut self.entries.lock().entry(feed).or_default().link);
    }

    /// A new live stream of the feed: every older one becomes stale. Returns its number and how to learn of newer ones.
    pub(crate) fn take_over(&self, feed: FeedId) -> (u64, watch::Receiver<u64>) {
        let turn = Arc::clone(&self.entries.lock().entry(feed).or_default().turn);
        let _turn = turn.lock();
        let mut entries = self.entries.lock();
        let entry = entries.entry(feed).or_default();
        entry.newest.send_modify(|number| *number += 1);
        let changes = entry.newest.subscribe();
        let number = *changes.borrow();
        (number, changes)
    }

    /// Carries out what only the newest stream of a feed may do; nothing for an older one.
    pub(crate) fn as_newest<T>(
        &self,
        feed: FeedId,
        number: u64,
        act: impl FnOnce() -> T,
    ) -> Option<T> {
        let turn = Arc::clone(&self.entries.lock().get(&feed)?.turn);
        let _turn = turn.lock();
        let newest = self.entries.lock().get(&feed).map(|entry| *entry.newest.borrow());
        (newest == Some(number)).then(act)
    }
}
