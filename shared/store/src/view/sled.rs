//! The view in sled 0.34. It does not fsync on flush and grows when overwritten; neither matters for a projection that
//! is rebuilt beside itself when it is bloated.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional as _};

use super::{Engine, Pair, Removals, StoreError, TABLES, Table, Writes, directory_bytes};

#[derive(Debug)]
pub(super) struct Sled {
    dir: PathBuf,
    trees: Vec<sled::Tree>,
}

/// How often the lock of an instance that was closed is looked at, and the pause between two looks.
const LOCK_LOOKS: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Waits until an instance that this process has closed has let go of the files: its threads end a moment later, and
/// sled itself takes the lock at once or not at all. The process has the directory to itself.
fn wait_for_lock(dir: &Path) {
    let Ok(file) = File::open(dir.join("db")) else { return };
    let (turn, nobody) = (Mutex::new(()), Condvar::new());
    for _ in 0..LOCK_LOOKS {
        if file.try_lock().is_ok() {
            return;
        }
        nobody.wait_for(&mut turn.lock(), LOCK_PAUSE);
    }
}

impl Sled {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        wait_for_lock(dir);
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .open()
            .map_err(StoreError::view)?;
        let trees = TABLES
            .iter()
            .map(|table| db.open_tree(table.name()))
            .collect::<Result<_, _>>()
            .map_err(StoreError::view)?;
        Ok(Self { dir: dir.to_owned(), trees })
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        &self.trees[table as usize]
    }
}

impl Engine for Sled {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.tree(table).get(key).map_err(StoreError::view)?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.tree(table)
            .range::<&[u8], _>((from, Bound::Unbounded))
            .take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
            .take(limit)
            .map(|entry| {
                let (key, value) = entry.map_err(StoreError::view)?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }

    fn last(&self, table: Table) -> Result<Option<Pair>, StoreError> {
        let last = self.tree(table).last().map_err(StoreError::view)?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn exchange(&self, writes: &Writes, removed: &Removals) -> Result<(), StoreError> {
        self.trees
            .as_slice()
            .transaction(|trees| {
                for (table, keys) in removed {
                    for key in keys {
                        trees[*table as usize].remove(key.as_slice())?;
                    }
                }
                for (table, key, value) in writes {
                    trees[*table as usize].insert(key.as_slice(), value.as_slice())?;
                }
                Ok::<(), ConflictableTransactionError<()>>(())
            })
            .map_err(|error| match error {
                TransactionError::Storage(error) => StoreError::view(error),
                TransactionError::Abort(()) => StoreError::view("the transaction was aborted"),
            })
    }

    fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.tree(table).remove(key).map(|_old| ()).map_err(StoreError::view)
    }

    fn disk_bytes(&self) -> u64 {
        directory_bytes(&self.dir)
    }
}
