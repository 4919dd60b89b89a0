//! The book of what everyone may see: when each record came, and when what is shown of it last changed, by the clock
//! of this site.
//!
//! Harvesters ask "what changed since". The author's clock cannot answer: a district that was offline brings old ops
//! that are new here. So every visible change gets a moment of its own, later than all before it. The book is written
//! before the search index is committed; a record whose view did not change keeps its moment when an index or view is
//! built again. Without the book everything is new, so nothing is missed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use liandong_core::id::{Hash, RecordId};
use parking_lot::Mutex;

use crate::{
    error::StoreError,
    index::Stamps,
    view::{EngineKind, Table, View, Writes},
};

/// Cache of the book's engine, bytes.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Key of the moment the book was begun.
const BEGAN: &[u8] = b"began";

/// What the book says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    /// What is shown; zero when it is shown no more.
    leaf: Hash,
    stamps: Stamps,
}

/// A visible change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownChange {
    /// The record.
    pub id: RecordId,
    /// When it changed last, microseconds since 1970: the place in the order of changes.
    pub at_us: i64,
    /// Whether it is shown; if not, it was.
    pub shown: bool,
}

/// Visible changes in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownPage {
    /// The last change of each record.
    pub changes: Vec<ShownChange>,
    /// Go on after this moment.
    pub next_us: i64,
    /// Whether there is more already.
    pub more: bool,
    /// Since when changes are known: whoever asks for earlier ones has to begin again.
    pub began_us: i64,
}

/// The book of one site.
#[derive(Debug)]
pub(crate) struct Shown {
    view: View,
    began_us: i64,
    last_us: AtomicI64,
    pending: Mutex<BTreeMap<RecordId, (Option<Line>, Line)>>,
}

fn number(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

impl Line {
    fn to_bytes(self) -> Vec<u8> {
        let Stamps { created_us, modified_us } = self.stamps;
        let times = [created_us.to_be_bytes(), modified_us.to_be_bytes()].concat();
        [self.leaf.as_bytes().as_slice(), &times].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let leaf = Hash::try_from(bytes.get(..32)?).ok()?;
        let created_us = number(bytes.get(32..40)?)?;
        let modified_us = number(bytes.get(40..)?)?;
        Some(Self { leaf, stamps: Stamps { created_us, modified_us } })
    }
}

fn unreadable() -> StoreError {
    StoreError::View("the book of what is shown cannot be read".to_owned())
}

impl Shown {
    /// Opens the book, or begins one when there is none or it cannot be read.
    pub(crate) fn open(dir: &Path, now_us: i64) -> Result<Self, StoreError> {
        match Self::load(dir, now_us) {
            Ok(book) => Ok(book),
            Err(error) => {
                tracing::warn!(%error, "the book of what is shown is begun again: everything counts as changed");
                if dir.exists() {
                    std::fs::remove_dir_all(dir).map_err(StoreError::io(dir))?;
                }
                Self::load(dir, now_us)
            }
        }
    }

    fn load(dir: &Path, now_us: i64) -> Result<Self, StoreError> {
        let view = View::open(dir, EngineKind::Redb, CACHE_BYTES)?;
        let began_us = if let Some(bytes) = view.get(Table::Feeds, BEGAN)? {
            number(&bytes).ok_or_else(unreadable)?
        } else {
            let bytes = now_us.to_be_bytes().to_vec();
            view.commit(&vec![(Table::Feeds, BEGAN.to_vec(), bytes)])?;
            now_us
        };
        let last = view.last(Table::Changes)?.map(|(key, _)| number(&key).ok_or_else(unreadable));
        let last_us = AtomicI64::new(last.transpose()?.unwrap_or(began_us));
        Ok(Self { view, began_us, last_us, pending: Mutex::default() })
    }

    /// When the book was begun, microseconds since 1970: it knows nothing of what was shown before.
    pub(crate) fn began_us(&self) -> i64 {
        self.began_us
    }

    fn line(&self, id: RecordId) -> Result<Option<Line>, StoreError> {
        if let Some((_, line)) = self.pending.lock().get(&id) {
            return Ok(Some(*line));
        }
        let bytes = self.view.get(Table::Shown, &id.to_bytes())?;
        bytes.map(|bytes| Line::from_bytes(&bytes).ok_or_else(unreadable)).transpose()
    }

    /// The moments of a record that is shown or was.
    pub(crate) fn stamps(&self, id: RecordId) -> Result<Option<Stamps>, StoreError> {
        Ok(self.line(id)?.map(|line| line.stamps))
    }

    /// Notes what is shown of a record, or that nothing is. It counts when [`Self::commit`] has returned.
    pub(crate) fn note(
        &self,
        id: RecordId,
        leaf: Option<Hash>,
        now_us: i64,
    ) -> Result<Stamps, StoreError> {
        let known = self.line(id)?;
        let leaf = leaf.unwrap_or(Hash::ZERO);
        match known {
            None if leaf == Hash::ZERO => return Ok(Stamps::default()),
            Some(line) if line.leaf == leaf => return Ok(line.stamps),
            _ => {}
        }
        let last = self.last_us.load(Ordering::Acquire);
        let modified_us = now_us.max(last + 1);
        self.last_us.store(modified_us, Ordering::Release);
        let created_us = known.map_or(modified_us, |line| line.stamps.created_us);
        let line = Line { leaf, stamps: Stamps { created_us, modified_us } };
        let mut pending = self.pending.lock();
        let written = pending.get(&id).map_or(known, |(written, _)| *written);
        pending.insert(id, (written, line));
        Ok(line.stamps)
    }

    /// Makes what was noted durable.
    pub(crate) fn commit(&self) -> Result<(), StoreError> {
        let mut pending = self.pending.lock();
        if pending.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::new();
        let mut replaced = Vec::new();
        for (id, (before, line)) in pending.iter() {
            let key = id.to_bytes().to_vec();
            let at = line.stamps.modified_us.to_be_bytes().to_vec();
            replaced.extend(before.map(|line| line.stamps.modified_us.to_be_bytes().to_vec()));
            writes.push((Table::Changes, at, key.clone()));
            writes.push((Table::Shown, key, line.to_bytes()));
        }
        self.view.exchange(&writes, &[(Table::Changes, replaced)])?;
        pending.clear();
        Ok(())
    }

    /// The last change of each record that was changed after a moment, in order.
    pub(crate) fn changes(&self, after_us: i64, limit: usize) -> Result<ShownPage, StoreError> {
        let after = after_us.max(0).to_be_bytes();
        let page = self.view.page(Table::Changes, Some(&after), limit)?;
        let change = |(at, id): &(Vec<u8>, Vec<u8>)| {
            let id = RecordId::try_from(id.as_slice()).map_err(StoreError::view)?;
            let bytes = self.view.get(Table::Shown, &id.to_bytes())?;
            let line = bytes.as_deref().and_then(Line::from_bytes).ok_or_else(unreadable)?;
            let at_us = number(at).ok_or_else(unreadable)?;
            // One that changed again since the page was read has a later place.
            let newest = line.stamps.modified_us == at_us;
            let shown = line.leaf != Hash::ZERO;
            Ok::<_, StoreError>(newest.then_some(ShownChange { id, at_us, shown }))
        };
        let last = page.last().and_then(|(at, _)| number(at));
        let changes = page.iter().filter_map(|pair| change(pair).transpose());
        Ok(ShownPage {
            changes: changes.collect::<Result<_, _>>()?,
            next_us: last.unwrap_or(after_us),
            more: page.len() == limit,
            began_us: self.began_us,
        })
    }
}

#[cfg(test)]
mod tests {
    use liandong_core::id::FeedId;

    use super::*;

    fn id(number: u128) -> RecordId {
        RecordId::new(FeedId::new([1; 16]), ulid::Ulid(number))
    }

    fn number_of(id: RecordId) -> u128 {
        u128::from_be_bytes(*id.to_bytes().last_chunk().unwrap())
    }

    fn leaf(number: u8) -> Hash {
        Hash::of(&[&[number]])
    }

    fn changes(book: &Shown, after: i64) -> Vec<(u128, i64, bool)> {
        let changes = book.changes(after, 100).unwrap().changes;
        changes.iter().map(|change| (number_of(change.id), change.at_us, change.shown)).collect()
    }

    #[test]
    fn every_visible_change_gets_a_later_moment_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let book = Shown::open(dir.path(), 100).unwrap();
        book.note(id(1), Some(leaf(1)), 200).unwrap();
        book.note(id(2), Some(leaf(1)), 150).unwrap();
        assert_eq!(
            book.note(id(2), Some(leaf(1)), 900).unwrap().modified_us,
            201,
            "nothing changed"
        );
        book.commit().unwrap();
        assert_eq!(changes(&book, 0), [(1, 200, true), (2, 201, true)]);
        let again = book.note(id(1), Some(leaf(2)), 10).unwrap();
        assert_eq!(again, Stamps { created_us: 200, modified_us: 202 });
        book.commit().unwrap();
        assert_eq!(changes(&book, 0), [(2, 201, true), (1, 202, true)], "once each, the last");
        assert_eq!(changes(&book, 201), [(1, 202, true)]);
    }

    #[test]
    fn what_is_shown_no_more_stays_as_a_tombstone_and_what_never_was_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let book = Shown::open(dir.path(), 100).unwrap();
        book.note(id(1), Some(leaf(1)), 200).unwrap();
        book.note(id(3), None, 200).unwrap();
        book.note(id(1), None, 300).unwrap();
        book.commit().unwrap();
        assert_eq!(changes(&book, 0), [(1, 300, false)]);
        drop(book);
        let book = Shown::open(dir.path(), 5_000).unwrap();
        assert_eq!(book.began_us(), 100);
        assert_eq!(changes(&book, 0), [(1, 300, false)]);
        let back = book.note(id(1), Some(leaf(1)), 0).unwrap();
        assert_eq!(back, Stamps { created_us: 200, modified_us: 301 }, "the clock went back");
    }

    #[test]
    fn a_book_that_cannot_be_read_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let book = Shown::open(dir.path(), 100).unwrap();
        book.note(id(1), Some(leaf(1)), 200).unwrap();
        book.commit().unwrap();
        drop(book);
        std::fs::write(dir.path().join("redb"), b"no database").unwrap();
        let book = Shown::open(dir.path(), 700).unwrap();
        assert_eq!(book.began_us(), 700);
        assert_eq!(changes(&book, 0), []);
    }
}
