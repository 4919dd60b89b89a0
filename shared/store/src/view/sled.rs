//! The view in sled 0.34. It does not fsync on flush and grows when overwritten; neither matters for a projection that
//! is rebuilt beside itself when it is bloated.

use std::path::{Path, PathBuf};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional as _};

use super::{Engine, Pair, StoreError, TABLES, Table, Writes, directory_bytes};

#[derive(Debug)]
pub(super) struct Sled {
    dir: PathBuf,
    trees: Vec<sled::Tree>,
}

impl Sled {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
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

    fn commit(&self, writes: &Writes) -> Result<(), StoreError> {
        self.trees
            .as_slice()
            .transaction(|trees| {
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
