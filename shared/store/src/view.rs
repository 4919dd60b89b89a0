//! The view: what the fold made of the journals, in an embedded engine behind a narrow trait.
//!
//! It can be deleted at any time. Each feed's watermark is committed with what it caused, so that the view is
//! always the
//! fold of exact prefixes; whatever is in doubt is folded again from the journals.

mod redb;
mod sled;

use std::{
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{
    city::Cause,
    fold::{FOLD_VERSION, Outcome, RecordState},
    id::{FeedId, Hash, Head, RecordId},
};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Tables of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// Record id and the feed that wrote it → [`RecordState`].
    Records,
    /// Feed and hash of a match key → record id.
    Keys,
    /// Feed and position → what became of an op that did not take effect.
    Outcomes,
    /// Feed and position of an op that the hub has to answer → nothing.
    Letters,
    /// Feed → [`Watermark`].
    Feeds,
    /// Record id → a row of the city, in a replica.
    City,
    /// One entry: where a replica stands.
    Replica,
    /// Record id → what everyone may see of it and since when.
    Shown,
    /// Moment → the record that was last changed then.
    Changes,
}

pub(crate) const TABLES: [Table; 9] = [
    Table::Records,
    Table::Keys,
    Table::Outcomes,
    Table::Letters,
    Table::Feeds,
    Table::City,
    Table::Replica,
    Table::Shown,
    Table::Changes,
];

impl Table {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Keys => "keys",
            Self::Outcomes => "outcomes",
            Self::Letters => "letters",
            Self::Feeds => "feeds",
            Self::City => "city",
            Self::Replica => "replica",
            Self::Shown => "shown",
            Self::Changes => "changes",
        }
    }
}

/// Letters read at a time.
const LETTERS_PAGE: usize = 256;

/// Entries to put, all or nothing.
pub(crate) type Writes = Vec<(Table, Vec<u8>, Vec<u8>)>;
/// Keys to take out.
pub(crate) type Removals = [(Table, Vec<Vec<u8>>)];
/// Key and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// What the view asks of an embedded store.
pub(crate) trait Engine: Debug + Send + Sync {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Entries with keys greater than `after` (or from `prefix` on), within the prefix, in order.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;
    /// The entry with the greatest key.
    fn last(&self, table: Table) -> Result<Option<Pair>, StoreError>;
    fn commit(&self, writes: &Writes) -> Result<(), StoreError> {
        self.exchange(writes, &[])
    }
    /// Takes entries out and puts others in, all or nothing.
    fn exchange(&self, writes: &Writes, removed: &Removals) -> Result<(), StoreError>;
    /// Takes an entry out; it is no fault when there is none.
    fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError>;
    fn disk_bytes(&self) -> u64;
}

/// Which engine holds the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// sled 0.34.
    #[default]
    Sled,
    /// redb 4.
    Redb,
}

/// How far a feed is folded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watermark {
    pub(crate) head: Head,
    pub(crate) fold_version: u32,
    /// What the hub's feed said of the feed when it was folded.
    pub(crate) rules: Hash,
    pub(crate) live: u64,
    /// Root of the feed's records, so that entries an engine lost or changed are noticed when it is opened.
    pub(crate) root: Hash,
}

impl Watermark {
    pub(crate) const EMPTY: Self = Self {
        head: Head::EMPTY,
        fold_version: FOLD_VERSION,
        rules: Hash::ZERO,
        live: 0,
        root: Hash::ZERO,
    };
}

/// One generation of the view, open.
#[derive(Debug, Clone)]
pub(crate) struct View {
    engine: Arc<dyn Engine>,
    dir: PathBuf,
}

pub(crate) fn match_key(feed: FeedId, key: &str) -> Vec<u8> {
    let hash = Hash::of(&[key.as_bytes()]);
    [feed.as_bytes().as_slice(), &hash.as_bytes()[..16]].concat()
}

fn outcome_key(feed: FeedId, seq: u64) -> Vec<u8> {
    [feed.as_bytes().as_slice(), &seq.to_be_bytes()].concat()
}

/// Key of what a feed made of a record.
pub(crate) fn record_key(id: RecordId, feed: FeedId) -> Vec<u8> {
    [id.to_bytes().as_slice(), feed.as_bytes()].concat()
}

fn corrupt(what: &str) -> StoreError {
    StoreError::View(format!("{what} cannot be read"))
}

impl View {
    /// Opens or creates a generation.
    pub(crate) fn open(dir: &Path, kind: EngineKind, cache_bytes: u64) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        let engine: Arc<dyn Engine> = match kind {
            EngineKind::Sled => Arc::new(sled::Sled::open(&dir.join("sled"), cache_bytes)?),
            EngineKind::Redb => Arc::new(redb::Redb::open(&dir.join("redb"), cache_bytes)?),
        };
        Ok(Self { engine, dir: dir.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.engine.disk_bytes()
    }

    pub(crate) fn commit(&self, writes: &Writes) -> Result<(), StoreError> {
        self.engine.commit(writes)
    }

    pub(crate) fn exchange(&self, writes: &Writes, out: &Removals) -> Result<(), StoreError> {
        self.engine.exchange(writes, out)
    }

    pub(crate) fn last(&self, table: Table) -> Result<Option<Pair>, StoreError> {
        self.engine.last(table)
    }

    /// An entry of a replica.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.get(table, key)
    }

    /// Entries of a replica in the order of their keys.
    pub(crate) fn page(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.engine.scan(table, &[], after, limit)
    }

    /// Takes an entry of a replica out.
    pub(crate) fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.engine.remove(table, key)
    }

    /// What a feed made of a record.
    pub(crate) fn record(
        &self,
        id: RecordId,
        feed: FeedId,
    ) -> Result<Option<RecordState>, StoreError> {
        let Some(bytes) = self.engine.get(Table::Records, &record_key(id, feed))? else {
            return Ok(None);
        };
        RecordState::from_bytes(&bytes).map(Some).ok_or_else(|| corrupt("a record's state"))
    }

    /// What feeds made of records, in the order of the records' ids, after all of one record.
    pub(crate) fn records(
        &self,
        origin: Option<FeedId>,
        after: Option<(RecordId, FeedId)>,
        limit: usize,
    ) -> Result<Vec<(RecordId, RecordState)>, StoreError> {
        let prefix = origin.map(|feed| feed.as_bytes().to_vec()).unwrap_or_default();
        let after = after.map(|(id, feed)| record_key(id, feed));
        let pairs = self.engine.scan(Table::Records, &prefix, after.as_deref(), limit)?;
        pairs
            .iter()
            .map(|(key, state)| {
                let id = key.get(..32).unwrap_or_default();
                let id = RecordId::try_from(id).map_err(StoreError::view)?;
                let state = RecordState::from_bytes(state);
                Ok((id, state.ok_or_else(|| corrupt("a record's state"))?))
            })
            .collect()
    }

    pub(crate) fn by_match_key(
        &self,
        feed: FeedId,
        key: &str,
    ) -> Result<Option<RecordId>, StoreError> {
        let found = self.engine.get(Table::Keys, &match_key(feed, key))?;
        found.map(|id| RecordId::try_from(id.as_slice()).map_err(StoreError::view)).transpose()
    }

    pub(crate) fn watermark(&self, feed: FeedId) -> Result<Watermark, StoreError> {
        match self.engine.get(Table::Feeds, feed.as_bytes())? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(StoreError::view),
            None => Ok(Watermark::EMPTY),
        }
    }

    pub(crate) fn set_watermark(writes: &mut Writes, feed: FeedId, watermark: &Watermark) {
        let bytes = serde_json::to_vec(watermark).unwrap_or_default();
        writes.push((Table::Feeds, feed.as_bytes().to_vec(), bytes));
    }

    pub(crate) fn set_outcome(writes: &mut Writes, feed: FeedId, seq: u64, outcome: &Outcome) {
        let bytes = serde_json::to_vec(outcome).unwrap_or_default();
        writes.push((Table::Outcomes, outcome_key(feed, seq), bytes));
    }

    pub(crate) fn set_letter(writes: &mut Writes, feed: FeedId, seq: u64) {
        writes.push((Table::Letters, outcome_key(feed, seq), Vec::new()));
    }

    /// Ops that the hub has to answer, or has answered.
    pub(crate) fn letters(&self) -> Result<Vec<Cause>, StoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.engine.scan(Table::Letters, &[], after.as_deref(), LETTERS_PAGE)?;
            for (key, _) in &page {
                let feed = key.get(..16).and_then(|feed| FeedId::try_from(feed).ok());
                let seq = key.get(16..).and_then(|seq| seq.try_into().ok());
                let (Some(feed), Some(seq)) = (feed, seq) else { return Err(corrupt("a letter")) };
                found.push(Cause { feed, seq: u64::from_be_bytes(seq) });
            }
            match page.last() {
                Some((last, _)) if page.len() == LETTERS_PAGE => after = Some(last.clone()),
                _ => return Ok(found),
            }
        }
    }

    /// Ops of a feed after a position that did not take effect.
    pub(crate) fn outcomes(
        &self,
        feed: FeedId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Outcome)>, StoreError> {
        let from = outcome_key(feed, after);
        let pairs = self.engine.scan(Table::Outcomes, feed.as_bytes(), Some(&from), limit)?;
        pairs
            .iter()
            .map(|(key, bytes)| {
                let seq: [u8; 8] = key
                    .get(16..)
                    .and_then(|seq| seq.try_into().ok())
                    .ok_or_else(|| corrupt("an outcome"))?;
                let outcome = serde_json::from_slice(bytes).map_err(StoreError::view)?;
                Ok((u64::from_be_bytes(seq), outcome))
            })
            .collect()
    }
}

/// Bytes of all files below a directory.
pub(crate) fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both engines run the same table: the trait is all they have in common.
    fn engines() -> Vec<(tempfile::TempDir, View)> {
        [EngineKind::Sled, EngineKind::Redb]
            .into_iter()
            .map(|kind| {
                let dir = tempfile::tempdir().unwrap();
                let view = View::open(dir.path(), kind, 1 << 20).unwrap();
                (dir, view)
            })
            .collect()
    }

    #[test]
    fn a_view_whose_files_are_still_locked_for_a_moment_is_opened_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let open = |dir: &Path| View::open(dir, EngineKind::Sled, 1 << 20);
        drop(open(dir.path()).unwrap());
        let lock = fs::File::open(dir.path().join("sled").join("db")).unwrap();
        lock.lock().unwrap();
        let path = dir.path().to_owned();
        let opener = std::thread::spawn(move || open(&path).map(|_view| ()));
        for _ in 0..200_000 {
            std::thread::yield_now();
            assert!(!opener.is_finished(), "it does not wait");
        }
        lock.unlock().unwrap();
        opener.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_committed_is_read_back_by_key_and_in_order() {
        for (_dir, view) in engines() {
            let key = |n: u8| vec![n / 8, n];
            let writes: Writes = (0..32).rev().map(|n| (Table::Keys, key(n), vec![n])).collect();
            view.commit(&writes).unwrap();
            assert_eq!(view.engine.get(Table::Keys, &key(9)).unwrap(), Some(vec![9]));
            assert_eq!(view.engine.get(Table::Outcomes, &key(9)).unwrap(), None);
            let all = view.engine.scan(Table::Keys, &[], None, 100).unwrap();
            assert_eq!(
                all.iter().map(|(_, v)| v[0]).collect::<Vec<_>>(),
                (0..32).collect::<Vec<_>>()
            );
            let some = view.engine.scan(Table::Keys, &[1], Some(&key(10)), 3).unwrap();
            assert_eq!(some.iter().map(|(_, v)| v[0]).collect::<Vec<_>>(), [11, 12, 13]);
            let rest = view.engine.scan(Table::Keys, &[1], Some(&key(14)), 100).unwrap();
            assert_eq!(rest.len(), 1, "a scan ends with its prefix");
            view.remove(Table::Keys, &key(9)).unwrap();
            view.remove(Table::Keys, &key(9)).unwrap();
            assert_eq!(view.get(Table::Keys, &key(9)).unwrap(), None);
            assert_eq!(view.page(Table::Keys, None, 100).unwrap().len(), 31);
        }
    }

    #[test]
    fn a_generation_that_is_opened_again_holds_what_was_committed() {
        for kind in [EngineKind::Sled, EngineKind::Redb] {
            let dir = tempfile::tempdir().unwrap();
            let view = View::open(dir.path(), kind, 1 << 20).unwrap();
            let feed = FeedId::new([3; 16]);
            let mut writes = Writes::new();
            let mark = Watermark { head: Head { seq: 7, hash: Hash::ZERO }, ..Watermark::EMPTY };
            View::set_watermark(&mut writes, feed, &mark);
            View::set_outcome(&mut writes, feed, 5, &Outcome::PendingUpgrade);
            view.commit(&writes).unwrap();
            drop(view);
            let view = View::open(dir.path(), kind, 1 << 20).unwrap();
            assert_eq!(view.watermark(feed).unwrap(), mark);
            assert_eq!(view.outcomes(feed, 0, 9).unwrap(), [(5, Outcome::PendingUpgrade)]);
            assert_eq!(view.outcomes(feed, 5, 9).unwrap(), []);
        }
    }
}
