//! A node's replica of the city: rows that were verified, their search index, and where the replica stands.
//!
//! It holds nothing that the hub could not send again. Damage of any kind therefore means: begin an empty one. The
//! index is committed before the rows, and the position after both, so that whatever a crash cuts off is sent again.

mod search;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use liandong_core::{
    checkpoint::Checkpoint,
    city::{City, CityRow, CityStatus, Overlaid},
    digest::Digest,
    fold::{Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::Op,
    record::Record,
    wire::city::CityRecord,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use search::index_row;

use crate::{
    city_log::Epoch,
    error::StoreError,
    index::{Ground, Index, Place, Stamps},
    projector::{generation_dir, generations},
    query::Entry,
    view::{EngineKind, Table, View, Writes},
};

/// Under this name the index keeps which write it contains.
const MARK: FeedId = FeedId::new([0; 16]);
const STATE_KEY: &[u8] = b"state";
/// Replaced rows between two looks at the size of the engine's files.
const LOOK_ROWS: usize = 20_000;
/// The engine's files may be so many times what the rows need.
const BLOAT_FACTOR: u64 = 6;
/// Below this size nobody looks, bytes.
const BLOAT_FLOOR_BYTES: u64 = 256 * 1024 * 1024;

/// How a replica is kept.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// Directory of the replica and nothing else.
    pub dir: PathBuf,
    /// Engine of the rows.
    pub engine: EngineKind,
    /// Cache of the engine, bytes.
    pub cache_bytes: u64,
    /// The city as the hub's feed tells it, for names of districts and copies.
    pub city: watch::Receiver<Arc<City>>,
}

impl ReplicaOptions {
    fn city(&self) -> Arc<City> {
        Arc::clone(&self.city.borrow())
    }
}

/// Where a replica stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaState {
    /// The hub's run that `city_seq` counts in.
    pub epoch: Option<Epoch>,
    /// Changes up to here are in it.
    pub city_seq: u64,
    /// The last checkpoint that was believed and whose root was the replica's.
    pub checkpoint: Option<Checkpoint>,
    /// Whether the last checkpoint's root was the replica's.
    pub complete: bool,
    /// Why it is not complete, or what the hub did that cannot be believed, for people.
    pub why: String,
    /// Rows and checkpoints that were not believed since the replica was begun.
    pub refused: u64,
    /// Rows received since the replica was begun.
    pub received: u64,
    /// Orders to erase that were carried out here.
    pub erased: usize,
    /// Position of the hub's feed that the search index follows in names of districts and copies.
    pub city_indexed: u64,
    commit: u64,
}

/// What to do with a row.
#[derive(Debug, Clone)]
pub enum Put {
    /// Keep it. `searched`: whether searches find it; the district's own records are found in its own catalogue.
    Keep {
        /// The row, verified.
        record: Box<CityRecord>,
        /// Whether searches find it here.
        searched: bool,
    },
    /// Forget the record.
    Forget(RecordId),
}

impl Put {
    fn id(&self) -> RecordId {
        match self {
            Self::Keep { record, .. } => record.id,
            Self::Forget(id) => *id,
        }
    }
}

#[derive(Debug)]
struct Parts {
    view: View,
    index: Index,
}

#[derive(Debug, Default)]
struct Books {
    digest: Digest,
    /// Live records by the feed that may write them.
    live: BTreeMap<FeedId, u64>,
    state: ReplicaState,
    written: usize,
}

/// The replica of one node.
#[derive(Debug)]
pub struct Replica {
    options: ReplicaOptions,
    parts: ArcSwap<Parts>,
    books: Mutex<Books>,
    /// Held by whoever writes.
    turn: Mutex<()>,
    /// Names of districts that the index knows.
    places: Mutex<BTreeMap<FeedId, Place>>,
}

/// What a row shows, read from its bytes.
struct Shown {
    op: Op,
    record: Option<Record>,
    overlaid: Option<Overlaid>,
}

fn shown(row: &CityRecord) -> Result<Option<Shown>, StoreError> {
    let Some(core) = row.core.clone() else { return Ok(None) };
    let op = Op::parse(core).map_err(StoreError::view)?;
    let live = row.status == Some(CityStatus::Live);
    let record = live.then(|| Record::from_bytes(&op.signed.payload).ok()).flatten();
    let overlaid = match row.overlay.clone() {
        Some(overlay) => Overlaid::of(&Op::parse(overlay).map_err(StoreError::view)?).ok(),
        None => None,
    };
    Ok(Some(Shown { op, record, overlaid }))
}

fn to_value(record: CityRecord, searched: bool) -> Vec<u8> {
    let mut value = vec![u8::from(searched)];
    value.extend(record.into_bytes());
    value
}

fn from_value(value: &[u8]) -> Result<(CityRecord, bool), StoreError> {
    let (searched, row) =
        value.split_first().ok_or_else(|| StoreError::View("an empty row".to_owned()))?;
    Ok((CityRecord::from_bytes(row).map_err(StoreError::view)?, *searched == 1))
}

impl Parts {
    fn open(dir: &Path, options: &ReplicaOptions) -> Result<Self, StoreError> {
        let view = View::open(dir, options.engine, options.cache_bytes)?;
        let ground = Ground { words: options.city().policy.words().words.clone(), book: 0 };
        Ok(Self { view, index: Index::open_giving_way(&dir.join("index"), &ground)? })
    }

    /// Reads every row: what an engine lost or changed is noticed here or by the next checkpoint.
    fn each(
        &self,
        mut visit: impl FnMut(CityRecord, bool) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.view.page(Table::City, after.as_deref(), limit::REPLICA_ROWS_MAX)?;
            for (key, value) in &page {
                let (record, searched) = from_value(value)?;
                if record.id.to_bytes().as_slice() != key.as_slice() {
                    return Err(StoreError::View("a row under another key".to_owned()));
                }
                visit(record, searched)?;
            }
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
        }
    }

    fn load(&self, city: &City) -> Result<Books, StoreError> {
        let state = match self.view.get(Table::Replica, STATE_KEY)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(StoreError::view)?,
            None => ReplicaState::default(),
        };
        let mut books = Books { state, ..Books::default() };
        self.each(|record, _| {
            let _whole = shown(&record)?;
            if let Some(row) = record.row() {
                books.count(record.id, row);
            }
            Ok(())
        })?;
        let indexed = self.index.applied(MARK).seq;
        let commit = books.state.commit;
        if indexed != commit && indexed != commit + 1 {
            tracing::info!("the search index of the city is built again");
            self.index.clear()?;
            self.each(|record, searched| index_row(&self.index, &record, searched, city))?;
            self.index.commit(&mark(commit))?;
        }
        Ok(books)
    }
}

fn mark(commit: u64) -> BTreeMap<FeedId, Head> {
    BTreeMap::from([(MARK, Head { seq: commit, hash: Hash::ZERO })])
}

impl Books {
    fn count(&mut self, id: RecordId, row: CityRow) {
        self.digest.set(id, row.leaf(id));
        if row.status == CityStatus::Live {
            *self.live.entry(row.authority).or_default() += 1;
        }
    }

    fn discount(&mut self, id: RecordId, before: Option<CityRow>) {
        self.digest.remove(id);
        if let Some(row) = before.filter(|row| row.status == CityStatus::Live)
            && let Some(live) = self.live.get_mut(&row.authority)
        {
            *live -= 1;
        }
    }
}

impl Replica {
    /// Opens the replica, or begins an empty one when there is none or it is damaged.
    ///
    /// # Errors
    /// `View`, `Index`, `Io` when not even an empty one can be made.
    pub fn open(options: ReplicaOptions) -> Result<Self, StoreError> {
        if let Some(generation) = generations(&options.dir).last() {
            let dir = generation_dir(&options.dir, *generation);
            // An engine may also panic over files that it cannot make sense of.
            let load = || {
                let parts = Parts::open(&dir, &options)?;
                let books = parts.load(&options.city())?;
                Ok::<_, StoreError>((parts, books))
            };
            match catch_unwind(AssertUnwindSafe(load)) {
                Ok(Ok((parts, books))) => {
                    return Ok(Self {
                        options,
                        parts: ArcSwap::from_pointee(parts),
                        books: Mutex::new(books),
                        turn: Mutex::default(),
                        places: Mutex::default(),
                    });
                }
                Ok(Err(error)) => tracing::warn!(%error, "the city's replica is fetched again"),
                Err(_panic) => tracing::warn!("the engine of the city's replica panicked"),
            }
        }
        Self::begin(options)
    }

    fn begin(options: ReplicaOptions) -> Result<Self, StoreError> {
        let parts = ArcSwap::from_pointee(Self::empty(&options)?);
        Ok(Self {
            options,
            parts,
            books: Mutex::default(),
            turn: Mutex::default(),
            places: Mutex::default(),
        })
    }

    /// A new generation; the ones before are removed.
    fn empty(options: &ReplicaOptions) -> Result<Parts, StoreError> {
        let before = generations(&options.dir);
        let next = before.last().copied().unwrap_or(0) + 1;
        let parts = Parts::open(&generation_dir(&options.dir, next), options)?;
        for generation in before {
            let dir = generation_dir(&options.dir, generation);
            if let Err(error) = fs::remove_dir_all(&dir) {
                tracing::warn!(%error, dir = %dir.display(), "cannot remove an old replica");
            }
        }
        Ok(parts)
    }

    /// Begins again with an empty replica.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reset(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock();
        let parts = Self::empty(&self.options)?;
        self.parts.store(Arc::new(parts));
        *self.books.lock() = Books::default();
        Ok(())
    }

    /// Where it stands.
    pub fn state(&self) -> ReplicaState {
        self.books.lock().state.clone()
    }

    /// Root over all rows, their number, and that of live ones.
    pub fn root(&self) -> (Hash, u64, u64) {
        let mut books = self.books.lock();
        (books.digest.root(), books.digest.len() as u64, books.live.values().sum())
    }

    /// Live records by the feed that may write them.
    pub fn live(&self) -> BTreeMap<FeedId, u64> {
        self.books.lock().live.clone()
    }

    /// The leaf of a record.
    pub fn leaf(&self, id: RecordId) -> Option<Hash> {
        self.books.lock().digest.get(id)
    }

    /// Leaves of a bucket in the order of their ids.
    pub fn leaves(&self, bucket: usize) -> Vec<(RecordId, Hash)> {
        self.books.lock().digest.leaves(bucket).collect()
    }

    /// Takes rows in, and changes the state with them.
    ///
    /// # Errors
    /// `View`, `Index`; the state is then what it was, and the same rows can be taken again.
    pub fn apply(
        &self,
        rows: Vec<Put>,
        change: impl FnOnce(&mut ReplicaState),
    ) -> Result<(), StoreError> {
        let _turn = self.turn.lock();
        let parts = self.parts.load_full();
        let mut state = self.state();
        change(&mut state);
        let city = self.options.city();
        self.follow_city(&parts, &city, &mut state)?;
        let mut writes = Writes::new();
        // Of rows of one record only the last counts.
        let rows: BTreeMap<RecordId, Put> = rows.into_iter().map(|row| (row.id(), row)).collect();
        if !rows.is_empty() {
            state.commit += 1;
            for row in rows.values() {
                match row {
                    Put::Keep { record, searched } => {
                        index_row(&parts.index, record, *searched, &city)?;
                    }
                    Put::Forget(id) => parts.index.remove(*id),
                }
            }
            parts.index.commit(&mark(state.commit))?;
        }
        let mut changes: Vec<(RecordId, Option<CityRow>, Option<CityRow>)> = Vec::new();
        for (id, row) in rows {
            let key = id.to_bytes().to_vec();
            let before = parts.view.get(Table::City, &key)?;
            let before = match before {
                Some(value) => from_value(&value)?.0.row(),
                None => None,
            };
            match row {
                Put::Keep { record, searched } => {
                    changes.push((id, before, record.row()));
                    writes.push((Table::City, key, to_value(*record, searched)));
                }
                Put::Forget(_) => {
                    parts.view.remove(Table::City, &key)?;
                    changes.push((id, before, None));
                }
            }
        }
        let state_bytes = serde_json::to_vec(&state).map_err(StoreError::view)?;
        writes.push((Table::Replica, STATE_KEY.to_vec(), state_bytes));
        parts.view.commit(&writes)?;
        let mut books = self.books.lock();
        books.written += changes.len();
        books.state = state;
        for (id, before, now) in changes {
            books.discount(id, before);
            if let Some(row) = now {
                books.count(id, row);
            }
        }
        Ok(())
    }

    /// Begins again when the engine's files have outgrown what they hold. Returns whether it did.
    ///
    /// # Errors
    /// As [`Self::reset`].
    pub fn reset_if_bloated(&self) -> Result<bool, StoreError> {
        let rows = {
            let mut books = self.books.lock();
            if books.written < LOOK_ROWS {
                return Ok(false);
            }
            books.written = 0;
            books.digest.len() as u64
        };
        let needed = (rows * limit::RECORD_BYTES_MAX as u64 / 16).max(BLOAT_FLOOR_BYTES);
        let bloated = self.parts.load().view.disk_bytes() > needed * BLOAT_FACTOR;
        if bloated {
            self.reset()?;
        }
        Ok(bloated)
    }

    /// A row as it is kept.
    ///
    /// # Errors
    /// `View`.
    pub fn row(&self, id: RecordId) -> Result<Option<CityRecord>, StoreError> {
        let value = self.parts.load().view.get(Table::City, &id.to_bytes())?;
        value.map(|value| from_value(&value).map(|(record, _)| record)).transpose()
    }

    /// A record with its content; nothing when it is held back or not here.
    ///
    /// # Errors
    /// `View`.
    pub fn entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        let Some(row) = self.row(id)? else { return Ok(None) };
        let Some(Shown { op, record, overlaid }) = shown(&row)? else { return Ok(None) };
        let live = row.status == Some(CityStatus::Live);
        let reason = (!live).then(|| {
            serde_json::from_slice::<Tombstone>(&op.signed.payload).unwrap_or_default().reason
        });
        Ok(Some(Entry {
            id,
            status: if live { Status::Live } else { Status::Withdrawn },
            visibility: op.visibility,
            feed: op.feed,
            authority: row.authority,
            hidden: false,
            overlaid,
            seq: op.seq,
            op_hash: op.hash,
            changed_at_ms: op.claimed_at_ms,
            stamps: Stamps::default(),
            actor: op.actor,
            payload: op.signed.payload,
            record,
            withdrawn_reason: reason,
        }))
    }

    /// Drops the content of ops that were ordered erased. The engines keep what was replaced for a while, so all that
    /// stays is written anew. Orders that were carried out before are not looked at again.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn erase(&self, orders: &BTreeSet<Hash>) -> Result<(), StoreError> {
        if self.state().erased >= orders.len() {
            return Ok(());
        }
        let _turn = self.turn.lock();
        let old = self.parts.load_full();
        let parts = Self::empty(&self.options)?;
        let mut writes = Writes::new();
        let city = self.options.city();
        old.each(|mut record, searched| {
            if let Some(core) = record.core.take_if(|core| orders.contains(&core.hash())) {
                record.core = Some(core.withhold());
            }
            index_row(&parts.index, &record, searched, &city)?;
            writes.push((Table::City, record.id.to_bytes().to_vec(), to_value(record, searched)));
            if writes.len() >= limit::REPLICA_ROWS_MAX {
                parts.view.commit(&std::mem::take(&mut writes))?;
            }
            Ok(())
        })?;
        let state = ReplicaState { erased: orders.len(), ..self.state() };
        parts.index.commit(&mark(state.commit))?;
        let state_bytes = serde_json::to_vec(&state).map_err(StoreError::view)?;
        writes.push((Table::Replica, STATE_KEY.to_vec(), state_bytes));
        parts.view.commit(&writes)?;
        self.parts.store(Arc::new(parts));
        let mut books = self.books.lock();
        (books.state, books.written) = (state, 0);
        Ok(())
    }
}
