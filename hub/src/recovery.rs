//! A hub that lost its disk, or came from an older backup, takes its own feed back from the mirrors at the nodes before
//! it decides anything new.
//!
//! The hub's journal is not touched while the nodes speak. What they return is kept beside it: one tail, the longest so
//! far, and a piece of its own for every mirror that diverges. At the end the tail goes into the journal and an op says
//! that the hub was rebuilt; only then are feeds and decisions taken again. All of it survives a crash at any point.
//!
//! Source: FEDERATION 2.15, I23.

mod finish;
mod show;
mod take;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use liandong_core::{
    city::{City, HubKeys},
    id::{FeedId, Hash, Head},
    limit,
    op::{Op, SignedOp},
};
use liandong_server::config::write_private;
use liandong_store::{Store, StoreError, disk::RealDisk, journal::Journal};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use finish::run;
pub(crate) use show::show;
pub use show::{ForkShown, RecoverCommand, Recovering, RecoveryState, Voice};
pub(crate) use take::{Taking, TakingError};

use crate::app::DATA_DIR;

/// In the hub's directory: the hub recovers.
const NOTES: &str = "recovery.json";
/// In the hub's directory: what the last recovery brought back.
const REPORT: &str = "recovered.json";
/// Below the data directory: what the nodes returned.
const PIECES: &str = "recovery";

/// Why a hub recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Only its keys were left.
    Wiped,
    /// It came from a backup.
    Restored,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Wiped => "wiped",
            Self::Restored => "restored",
        }
    }
}

/// What a node said in this recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Spoken {
    /// Where its own feed ends.
    feed: Head,
    /// Where its mirror of the hub's feed ends.
    hub: Head,
    at_ms: i64,
}

/// What is kept of a recovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Notes {
    reason: Reason,
    /// Where the hub's journal ended when the recovery began.
    base: Head,
    began_ms: i64,
    /// Last time that anything was learnt.
    changed_ms: i64,
    spoken: BTreeMap<FeedId, Spoken>,
}

/// What a recovery brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Why it was needed.
    pub reason: Reason,
    /// The hub's incarnation since.
    pub incarnation: u32,
    /// Who ended it.
    pub by: String,
    /// When it began, milliseconds since 1970.
    pub began_ms: i64,
    /// When it ended.
    pub ended_ms: i64,
    /// Where the hub's journal ended before.
    pub base: Head,
    /// Where the hub's feed ended at the nodes.
    pub found: Head,
    /// Ops of the hub's feed that came back.
    pub decisions: u64,
    /// Districts in the directory now.
    pub districts: u64,
    /// Nodes that spoke.
    pub nodes: u64,
    /// Ops whose content no node had.
    pub withheld: Vec<u64>,
}

#[derive(Debug)]
struct Under {
    notes: Notes,
    /// The hub's feed after `notes.base`.
    tail: Journal,
    /// Ops of the tail whose content is missing yet.
    withheld: BTreeSet<u64>,
    /// Nodes that returned all they have in this run, whether or not it helped.
    returned: BTreeSet<FeedId>,
}

#[derive(Debug, Default)]
struct State {
    under: Option<Under>,
    /// Mirrors that diverge from the hub's feed: the last op in common, and their last.
    forks: BTreeMap<FeedId, (Head, Head)>,
}

/// The recovery of one hub, if there is one.
#[derive(Debug)]
pub(crate) struct Recovery {
    dir: PathBuf,
    feed: FeedId,
    state: Mutex<State>,
    on: watch::Sender<bool>,
    /// A node has shown that the hub's feed here is not an old one.
    heard: watch::Sender<bool>,
    /// One node returns its mirror at a time, and none while the recovery ends.
    turn: tokio::sync::Mutex<()>,
}

/// Notes that make a new hub begin with a recovery.
///
/// # Errors
/// They cannot be written.
pub(crate) fn prescribe(
    dir: &Path,
    reason: Reason,
    base: Head,
    now_ms: i64,
) -> Result<(), StoreError> {
    let spoken = BTreeMap::new();
    write_notes(dir, &Notes { reason, base, began_ms: now_ms, changed_ms: now_ms, spoken })
}

fn write_notes(dir: &Path, notes: &Notes) -> Result<(), StoreError> {
    let path = dir.join(NOTES);
    let text = serde_json::to_vec_pretty(notes).unwrap_or_default();
    write_private(&path, &text).map_err(StoreError::io(&path))
}

impl Recovery {
    /// Reads what is kept in the hub's directory.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn open(dir: &Path, feed: FeedId) -> Result<Self, StoreError> {
        let recovery = Self {
            dir: dir.to_owned(),
            feed,
            state: Mutex::default(),
            on: watch::Sender::new(false),
            heard: watch::Sender::new(false),
            turn: tokio::sync::Mutex::new(()),
        };
        recovery.state.lock().forks = recovery.kept_forks()?;
        let path = dir.join(NOTES);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(recovery),
            read => read.map_err(StoreError::io(&path))?,
        };
        // Whoever cannot read its notes must not decide anything; the file says that the hub recovers.
        let notes = serde_json::from_slice(&text)
            .map_err(|bad| StoreError::io(&path)(std::io::Error::other(bad)))?;
        recovery.resume(notes)?;
        Ok(recovery)
    }

    fn resume(&self, notes: Notes) -> Result<(), StoreError> {
        let tail = self.open_piece("tail", notes.base)?;
        let (mut withheld, mut at) = (BTreeSet::new(), notes.base.seq);
        loop {
            let ops = tail.read(at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
            let Some(last) = ops.last() else { break };
            at = last.seq;
            let missing = ops.iter().filter(|op| op.signed.withheld && self.payload(op).is_none());
            withheld.extend(missing.map(|op| op.seq));
        }
        let returned = BTreeSet::new();
        self.state.lock().under = Some(Under { notes, tail, withheld, returned });
        self.on.send_replace(true);
        Ok(())
    }

    /// Whether the hub recovers.
    pub(crate) fn is_on(&self) -> bool {
        *self.on.borrow()
    }

    /// Whether the journal holds all that came back.
    pub(crate) fn is_back(&self, head: Head) -> bool {
        self.state.lock().under.as_ref().is_none_or(|under| head.seq >= under.tail.head().seq)
    }

    /// The hub's keys as what came back so far tells them.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn follow(&self, mut keys: HubKeys, store: &Store) -> Result<HubKeys, StoreError> {
        if let Some(under) = &self.state.lock().under {
            keys.follow(&self.city(under, store)?);
        }
        Ok(keys)
    }

    /// Changes when a recovery begins or ends.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.on.subscribe()
    }

    fn pieces(&self) -> PathBuf {
        self.dir.join(DATA_DIR).join(PIECES)
    }

    fn open_piece(&self, name: &str, base: Head) -> Result<Journal, StoreError> {
        Journal::open_after(Arc::new(RealDisk), &self.pieces().join(name), self.feed, base)
    }

    fn fork_name(from: FeedId, base: Head) -> String {
        format!("fork-{from}-{}-{}", base.seq, base.hash)
    }

    fn kept_forks(&self) -> Result<BTreeMap<FeedId, (Head, Head)>, StoreError> {
        let mut forks = BTreeMap::new();
        let Ok(entries) = std::fs::read_dir(self.pieces()) else { return Ok(forks) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut parts = name.split('-').skip(1);
            let (from, seq, hash) = (parts.next(), parts.next(), parts.next());
            let from = from.and_then(|from| from.parse().ok());
            let seq = seq.and_then(|seq| seq.parse().ok());
            let hash = hash.and_then(|hash| hash.parse().ok());
            let (Some(from), Some(seq), Some(hash)) = (from, seq, hash) else { continue };
            let base = Head { seq, hash };
            forks.insert(from, (base, self.open_piece(&name, base)?.head()));
        }
        Ok(forks)
    }

    fn payload_path(&self, seq: u64) -> PathBuf {
        self.pieces().join("payloads").join(seq.to_string())
    }

    /// The op with the content that another node had; the header proves that it is the right one.
    fn payload(&self, op: &Op) -> Option<Op> {
        let payload = std::fs::read(self.payload_path(op.seq)).ok()?;
        let signed = SignedOp { payload: payload.into(), withheld: false, ..op.signed.clone() };
        Op::parse(signed).ok()
    }

    /// What the hub knows of its own feed at a position: its journal, and beyond that what came back.
    fn hash_at(
        &self,
        under: Option<&Under>,
        store: &Store,
        seq: u64,
    ) -> Result<Option<Hash>, StoreError> {
        match under {
            Some(under) if seq > under.notes.base.seq => under.tail.hash_at(seq),
            _ => store.hash_at(self.feed, seq),
        }
    }

    fn before(&self, under: Option<&Under>, store: &Store, seq: u64) -> Result<Head, StoreError> {
        let seq = seq.saturating_sub(1);
        let hash = self.hash_at(under, store, seq)?;
        Ok(hash.map_or(Head::EMPTY, |hash| Head { seq, hash }))
    }

    /// After which position a node's mirror of the hub's feed is wanted back; nothing when it holds no more than the
    /// hub.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn wanted(
        &self,
        store: &Store,
        from: FeedId,
        mirror: Head,
    ) -> Result<Option<Head>, StoreError> {
        let state = self.state.lock();
        let under = state.under.as_ref();
        let fork = state.forks.get(&from).map(|(_, head)| *head);
        if mirror.seq == 0 || fork == Some(mirror) {
            return Ok(None);
        }
        let head = under.map_or_else(|| store.head(self.feed), |under| under.tail.head());
        // A mirror that holds the content of what is missing here is wanted from there on.
        let missing = under.and_then(|under| under.withheld.first().copied());
        let missing = missing.filter(|seq| *seq <= mirror.seq);
        let gap = missing.map(|seq| self.before(under, store, seq)).transpose()?;
        match self.hash_at(under, store, mirror.seq)? {
            Some(hash) if hash == mirror.hash => {
                let again = under.is_some_and(|under| under.returned.contains(&from));
                Ok(gap.filter(|_| !again))
            }
            Some(_) => Ok(Some(Head::EMPTY)),
            None => Ok(Some(gap.unwrap_or(head))),
        }
    }

    /// A node has nothing more to return.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn spoke(
        &self,
        from: FeedId,
        feed: Head,
        hub: Head,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let Some(under) = &mut state.under else {
            self.heard.send_if_modified(|heard| !std::mem::replace(heard, *heard || hub.seq > 0));
            return Ok(());
        };
        let known = under.notes.spoken.get(&from);
        if known.is_some_and(|known| (known.feed, known.hub) == (feed, hub)) {
            return Ok(());
        }
        under.notes.spoken.insert(from, Spoken { feed, hub, at_ms: now_ms });
        under.notes.changed_ms = now_ms;
        tracing::info!(%from, %feed, %hub, "a node has spoken in the recovery");
        write_notes(&self.dir, &under.notes)
    }

    /// Waits until the hub may decide something by itself. One that was replaced by an old copy does not know it; so
    /// after a start it first hears a node, or waits in vain for a while.
    pub(crate) async fn settled(&self, city: &City) {
        let (mut on, mut heard) = (self.watch(), self.heard.subscribe());
        let listen = Duration::from_millis(limit::RECOVERY_LISTEN_MS);
        loop {
            drop(on.wait_for(|on| !*on).await);
            if !city.directory.feeds.is_empty() {
                drop(tokio::time::timeout(listen, heard.wait_for(|heard| *heard)).await);
            }
            if !self.is_on() {
                return;
            }
        }
    }

    /// The city as it will be when what came back is taken.
    fn city(&self, under: &Under, store: &Store) -> Result<City, StoreError> {
        let mut city = City::clone(&store.city());
        loop {
            let ops =
                under.tail.read(city.head.seq, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
            if ops.is_empty() {
                return Ok(city);
            }
            for op in ops {
                let whole = if op.signed.withheld { self.payload(&op) } else { None };
                if let Err(error) = city.apply(whole.as_ref().unwrap_or(&op)) {
                    tracing::warn!(%error, "an op that came back cannot be read");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
