//! The view in redb 4.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Engine, Pair, Removals, StoreError, TABLES, Table, Writes};

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

#[derive(Debug)]
pub(super) struct Redb {
    file: PathBuf,
    db: Database,
}

const fn definition(table: Table) -> Bytes {
    TableDefinition::new(table.name())
}

impl Redb {
    pub(super) fn open(file: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let mut db = Database::builder()
            .set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX))
            .create(file)
            .map_err(StoreError::view)?;
        // redb trusts its pages once it was closed in order; what rots later is only found by asking.
        if !db.check_integrity().map_err(StoreError::view)? {
            return Err(StoreError::view("the file is damaged"));
        }
        let write = db.begin_write().map_err(StoreError::view)?;
        for table in TABLES {
            write.open_table(definition(table)).map_err(StoreError::view)?;
        }
        write.commit().map_err(StoreError::view)?;
        Ok(Self { file: file.to_owned(), db })
    }
}

impl Engine for Redb {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.db.begin_read().map_err(StoreError::view)?;
        let table = read.open_table(definition(table)).map_err(StoreError::view)?;
        let found = table.get(key).map_err(StoreError::view)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        use std::ops::Bound;
        let read = self.db.begin_read().map_err(StoreError::view)?;
        let table = read.open_table(definition(table)).map_err(StoreError::view)?;
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut pairs = Vec::new();
        for entry in table.range::<&[u8]>((from, Bound::Unbounded)).map_err(StoreError::view)? {
            let (key, value) = entry.map_err(StoreError::view)?;
            if pairs.len() >= limit || !key.value().starts_with(prefix) {
                break;
            }
            pairs.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(pairs)
    }

    fn last(&self, table: Table) -> Result<Option<Pair>, StoreError> {
        let read = self.db.begin_read().map_err(StoreError::view)?;
        let table = read.open_table(definition(table)).map_err(StoreError::view)?;
        let last = table.last().map_err(StoreError::view)?;
        Ok(last.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    fn exchange(&self, writes: &Writes, removed: &Removals) -> Result<(), StoreError> {
        let write = self.db.begin_write().map_err(StoreError::view)?;
        for kind in TABLES {
            let mut entries = writes.iter().filter(|(table, _, _)| *table == kind).peekable();
            let mut out = removed.iter().filter(|(table, _)| *table == kind).peekable();
            if entries.peek().is_none() && out.peek().is_none() {
                continue;
            }
            let mut table = write.open_table(definition(kind)).map_err(StoreError::view)?;
            for key in out.flat_map(|(_, keys)| keys) {
                table.remove(key.as_slice()).map_err(StoreError::view)?;
            }
            for (_, key, value) in entries {
                table.insert(key.as_slice(), value.as_slice()).map_err(StoreError::view)?;
            }
        }
        write.commit().map_err(StoreError::view)
    }

    fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let write = self.db.begin_write().map_err(StoreError::view)?;
        write
            .open_table(definition(table))
            .map_err(StoreError::view)?
            .remove(key)
            .map_err(StoreError::view)?;
        write.commit().map_err(StoreError::view)
    }

    fn disk_bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |meta| meta.len())
    }
}
