//! The store of one process: journals, view and index with their threads.

mod city;
mod cut;
mod erase;
mod indexer;
mod read;
mod replace;
mod threads;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use liandong_core::{
    city::{Cause, City, Gate, Thresholds},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::Op,
};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::{
    city_log::{CityLog, Epoch},
    disk::{Disk, RealDisk},
    error::StoreError,
    index::{Ground, Index},
    journal::Journal,
    projector::{Journals, Projection, Terms, ViewOptions},
    shown::Shown,
    view::{EngineKind, View},
};

pub use city::CityPage;
pub(crate) use read::{near, nearest};
pub use replace::swap_journals;
pub use verify::VerifyReport;
pub(crate) use verify::refold;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Data directory; journals, view and index stand below it.
    pub dir: PathBuf,
    /// Engine of the view.
    pub engine: EngineKind,
    /// Cache of the view's engine, bytes.
    pub cache_bytes: u64,
    /// Whether imports look records up by their match keys (a node does, a hub does not).
    pub match_keys: bool,
    /// The hub's own feed: its journal tells who may write what.
    pub hub_feed: Option<FeedId>,
    /// Whether what the hub hides and adds applies to what is shown: at the hub it does, while a district shows its own
    /// catalogue as it wrote it.
    pub city_view: bool,
    /// Whether mass changes are held back until a person agreed; the clock gives milliseconds since 1970.
    pub watch: Option<fn() -> i64>,
    /// The clock by which records become visible here, milliseconds since 1970.
    pub clock: fn() -> i64,
    /// Given at the hub: the log of the city's changes is kept, under this name of the run.
    pub city_log: Option<Epoch>,
    /// Disk under the journals.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// Defaults on the machine's disk.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            engine: EngineKind::Sled,
            cache_bytes: 32 * 1024 * 1024,
            match_keys: true,
            hub_feed: None,
            city_view: false,
            watch: None,
            clock: || 0,
            city_log: None,
            disk: Arc::new(RealDisk),
        }
    }
}

/// How far one feed has come on its way from the journal to the searcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedProgress {
    /// Durable in the journal.
    pub head: Head,
    /// Folded into the view.
    pub applied: Head,
    /// Root of the feed's records at `applied`.
    pub root: Hash,
    /// Hash of what the hub's feed said of the feed when it was folded.
    pub rules: Hash,
    /// Live records at `applied`.
    pub records: u64,
    /// Visible to searches.
    pub indexed: Head,
}

/// All feeds.
pub type Progress = BTreeMap<FeedId, FeedProgress>;

/// Will hold the head once the ops are durable.
pub type Appended = oneshot::Receiver<Result<Head, StoreError>>;

pub(crate) struct Job {
    feed: FeedId,
    after: Head,
    ops: Vec<Op>,
    /// Ops that are there and lose their content.
    erase: BTreeSet<u64>,
    done: oneshot::Sender<Result<Head, StoreError>>,
}

/// A flag that threads wait for.
#[derive(Debug, Default)]
struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut set = self.set.lock();
        while !*set {
            self.changed.wait(&mut set);
        }
        *set = false;
    }
}

#[derive(Debug)]
struct Shared {
    options: Options,
    journals: RwLock<BTreeMap<FeedId, Arc<RwLock<Journal>>>>,
    projection: Mutex<Projection>,
    view: ArcSwap<View>,
    index: ArcSwap<Index>,
    /// What everyone may see, and since when.
    shown: Shown,
    /// A new index that is built beside the serving one, with what has to be looked at again in it.
    beside: Mutex<Option<BTreeSet<RecordId>>>,
    /// The one that is ready to serve, and how often the serving one had been emptied when it was begun.
    fresh: Mutex<Option<(u64, Index)>>,
    /// Counts how often the index was emptied: one that was begun before stands on journals that may be gone.
    emptied: AtomicU64,
    builder: Mutex<Option<JoinHandle<()>>>,
    progress: RwLock<Progress>,
    changed: watch::Sender<u64>,
    city: watch::Sender<Arc<City>>,
    /// What changed in the city, once it is filled.
    city_log: Mutex<Option<CityLog>>,
    /// Newest position of that log.
    city_newest: watch::Sender<Option<u64>>,
    /// Records that are hidden before the turn of the op that withdraws them, with that op's place.
    hidden: RwLock<BTreeMap<RecordId, Cause>>,
    /// Mass changes that were found and are in no op of the hub yet.
    found: RwLock<BTreeMap<FeedId, Gate>>,
    /// Up to where the ops behind a gate were looked through for withdrawals.
    looked: Mutex<BTreeMap<FeedId, u64>>,
    /// Records to be indexed again although no op of theirs is new.
    touched: Mutex<BTreeSet<RecordId>>,
    to_project: Signal,
    to_index: Signal,
    /// Held while the index is brought forward or emptied: a commit in between would claim what was emptied.
    index_turn: Mutex<()>,
    rebuild: AtomicBool,
    rebuild_index: AtomicBool,
    replacement: Mutex<Option<replace::Replacement>>,
    stop: AtomicBool,
}

/// The journals, the view and the index of one process.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    jobs: Option<std::sync::mpsc::SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job({} ops of {:?})", self.ops.len(), self.feed)
    }
}

impl Journals for Shared {
    fn feeds(&self) -> Vec<FeedId> {
        self.journals.read().keys().copied().collect()
    }

    fn with<T>(&self, feed: FeedId, read: impl FnOnce(&Journal) -> T) -> Option<T> {
        let journal = Arc::clone(self.journals.read().get(&feed)?);
        let journal = journal.read();
        Some(read(&journal))
    }

    fn terms(&self, feed: FeedId) -> Terms {
        let mut terms = terms(&self.city.borrow(), feed);
        // What the hub holds back, it holds back in the city: a district goes on with its own catalogue.
        if !self.options.city_view {
            terms.gate = u64::MAX;
        }
        if let Some(found) = self.found.read().get(&feed) {
            terms.gate = terms.gate.min(found.after);
        }
        // The hub's own feed is folded into the city, not into the view.
        if self.options.hub_feed == Some(feed) {
            terms.gate = 0;
        }
        terms.watch = self.options.watch.map(|now_ms| {
            let city = self.city.borrow();
            (Thresholds::of(&city.policy), now_ms())
        });
        terms
    }
}

fn terms(city: &City, feed: FeedId) -> Terms {
    let gate = city.gates.held(feed).map_or(u64::MAX, |gate| gate.after);
    Terms { rules: city.rules(feed), gate, passed: city.gates.passed(feed), watch: None }
}

/// Folds what the hub's journal holds beyond `city`. Returns whether there was anything.
pub(crate) fn fold_city(journal: &Journal, city: &mut City) -> Result<bool, StoreError> {
    let began = city.head;
    loop {
        let ops = journal.read(city.head.seq, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
        for op in &ops {
            if let Err(error) = city.apply(op) {
                tracing::error!(%error, "an op of the hub is skipped");
            }
        }
        if ops.is_empty() {
            return Ok(city.head != began);
        }
    }
}

impl Shared {
    fn journal_dir(&self, feed: FeedId) -> PathBuf {
        self.options.dir.join("journal").join(feed.to_string())
    }

    /// Hides a record until its op's turn has come.
    fn hide(&self, op: &Op) {
        let Ok(id) = RecordId::try_from(op.subject.as_ref()) else { return };
        self.hidden.write().insert(id, Cause { feed: op.feed, seq: op.seq });
        self.touched.lock().insert(id);
        self.to_index.set();
        if let Err(error) = self.note([id]) {
            tracing::error!(%error, %id, "a record that is hidden early stays in the city's log");
        }
    }

    /// Empties the index; the indexer fills it again from the journals.
    fn clear_index(&self) -> Result<(), StoreError> {
        let _turn = self.index_turn.lock();
        self.emptied.fetch_add(1, Ordering::AcqRel);
        self.index.load().clear()?;
        for feed in self.feeds() {
            self.publish(feed, |progress| progress.indexed = Head::EMPTY);
        }
        Ok(())
    }

    /// Tells everyone who waits that something moved.
    fn publish(&self, feed: FeedId, update: impl FnOnce(&mut FeedProgress)) {
        {
            let mut progress = self.progress.write();
            let entry = progress.entry(feed).or_insert(FeedProgress {
                head: Head::EMPTY,
                applied: Head::EMPTY,
                root: Hash::ZERO,
                rules: Hash::ZERO,
                records: 0,
                indexed: Head::EMPTY,
            });
            update(entry);
        }
        self.changed.send_modify(|version| *version += 1);
    }
}

/// Jobs that may wait for the writer; beyond it senders are held back.
const JOBS_MAX: usize = 64;

impl Store {
    /// Opens a data directory: reads the journals, checks view and index against them, starts the threads.
    ///
    /// # Errors
    /// `Io`; `View` and `Index` when not even an empty
    /// projection can
    /// be made.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let root = options.dir.join("journal");
        options.disk.create_dir(&root).map_err(StoreError::io(&root))?;
        // A simulated disk makes no directory of the machine, where feeds are looked for.
        std::fs::create_dir_all(&root).map_err(StoreError::io(&root))?;
        let mut journals = BTreeMap::new();
        for entry in std::fs::read_dir(&root).map_err(StoreError::io(&root))? {
            let entry = entry.map_err(StoreError::io(&root))?;
            let Ok(feed) = entry.file_name().to_string_lossy().parse::<FeedId>() else { continue };
            let disk = Arc::clone(&options.disk);
            let journal = Journal::open_readable(disk, &entry.path(), feed, Head::EMPTY)?;
            if let Some(damage) = journal.damage() {
                let error = StoreError::from(damage.clone());
                tracing::error!(%feed, %error, "a journal is damaged; its feed is read up to there");
            }
            journals.insert(feed, Arc::new(RwLock::new(journal)));
        }
        Self::start(options, journals)
    }

    fn start(
        options: Options,
        journals: BTreeMap<FeedId, Arc<RwLock<Journal>>>,
    ) -> Result<Self, StoreError> {
        let view_options = ViewOptions {
            dir: options.dir.join("view"),
            engine: options.engine,
            cache_bytes: options.cache_bytes,
            match_keys: options.match_keys,
        };
        let mut city = City::default();
        if let Some(journal) = options.hub_feed.and_then(|hub| journals.get(&hub)) {
            fold_city(&journal.read(), &mut city)?;
        }
        let reader = OpenJournals(&journals, &city);
        let projection = Projection::open(view_options, &reader)?;
        let now_us = (options.clock)().saturating_mul(1_000);
        let shown = Shown::open(&options.dir.join("shown"), now_us)?;
        let ground = ground(&city, &shown);
        let index = fitting_index(&options.dir, &ground, &reader)?;
        let heads: Vec<_> = journals.iter().map(|(feed, j)| (*feed, j.read().head())).collect();
        let shared = Arc::new(Shared {
            view: ArcSwap::from_pointee(projection.view()),
            options,
            journals: RwLock::new(journals),
            projection: Mutex::new(projection),
            index: ArcSwap::from_pointee(index),
            shown,
            beside: Mutex::default(),
            fresh: Mutex::default(),
            emptied: AtomicU64::new(0),
            builder: Mutex::default(),
            progress: RwLock::default(),
            changed: watch::Sender::new(0),
            city: watch::Sender::new(Arc::new(city)),
            city_log: Mutex::default(),
            city_newest: watch::Sender::new(None),
            hidden: RwLock::default(),
            found: RwLock::default(),
            looked: Mutex::default(),
            touched: Mutex::default(),
            to_project: Signal::default(),
            to_index: Signal::default(),
            index_turn: Mutex::default(),
            rebuild: AtomicBool::new(false),
            rebuild_index: AtomicBool::new(false),
            replacement: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        for (feed, head) in heads {
            let (mark, root) = {
                let mut projection = shared.projection.lock();
                (projection.mark(feed), projection.root(feed))
            };
            let indexed = shared.index.load().applied(feed);
            let is_hub = shared.options.hub_feed == Some(feed);
            let applied = if is_hub { head } else { mark.head };
            let (records, rules) = (mark.live, mark.rules);
            shared.publish(feed, |progress| {
                *progress = FeedProgress { head, applied, root, rules, records, indexed };
            });
        }
        shared.to_project.set();
        shared.to_index.set();
        let (jobs, queue) = std::sync::mpsc::sync_channel(JOBS_MAX);
        let threads = threads::start(&shared, queue)?;
        Ok(Self { shared, jobs: Some(jobs), threads })
    }

    /// Makes a feed known; an empty journal is created for it.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn open_feed(&self, feed: FeedId) -> Result<(), StoreError> {
        let mut journals = self.shared.journals.write();
        if journals.contains_key(&feed) {
            return Ok(());
        }
        let disk = Arc::clone(&self.shared.options.disk);
        let journal = Journal::open(disk, &self.shared.journal_dir(feed), feed)?;
        let head = journal.head();
        journals.insert(feed, Arc::new(RwLock::new(journal)));
        drop(journals);
        let root = self.shared.projection.lock().root(feed);
        self.shared.publish(feed, |progress| {
            progress.head = head;
            progress.root = root;
        });
        self.shared.to_project.set();
        Ok(())
    }

    /// Appends ops after `after`, or not at all. The answer comes when they are durable. Blocks while the
    /// writer's queue
    /// is full, which is what holds a fast sender back.
    pub fn append(&self, feed: FeedId, after: Head, ops: Vec<Op>) -> Appended {
        self.send(feed, after, ops, BTreeSet::new())
    }

    fn send(&self, feed: FeedId, after: Head, ops: Vec<Op>, erase: BTreeSet<u64>) -> Appended {
        let (done, appended) = oneshot::channel();
        let job = Job { feed, after, ops, erase, done };
        if let Some(jobs) = &self.jobs
            && let Err(refused) = jobs.send(job)
        {
            let _nobody = refused.0.done.send(Err(StoreError::Closed));
        }
        appended
    }

    /// Changes whenever any feed's progress does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The city as the hub's feed tells it now.
    pub fn city(&self) -> Arc<City> {
        Arc::clone(&self.shared.city.borrow())
    }

    /// Changes whenever the hub's feed does.
    pub fn watch_city(&self) -> watch::Receiver<Arc<City>> {
        self.shared.city.subscribe()
    }

    /// Mass changes that were found and wait for the hub to say so in its feed.
    pub fn found_gates(&self) -> Vec<Gate> {
        self.shared.found.read().values().cloned().collect()
    }

    /// Hides records whose verified withdrawal is known before its turn. A restart forgets it; whoever sent it sends
    /// it again.
    pub fn hide(&self, ops: &[Op]) {
        for op in ops {
            self.shared.hide(op);
        }
    }

    /// How far all feeds are.
    pub fn progress(&self) -> Progress {
        self.shared.progress.read().clone()
    }

    /// How far one feed is.
    pub fn feed(&self, feed: FeedId) -> Option<FeedProgress> {
        self.shared.progress.read().get(&feed).copied()
    }

    /// Waits until a feed is folded up to `seq`.
    pub async fn applied(&self, feed: FeedId, seq: u64) {
        self.reached(feed, |progress| progress.applied.seq >= seq).await;
    }

    /// Waits until a feed is searchable up to `seq`.
    pub async fn indexed(&self, feed: FeedId, seq: u64) {
        self.reached(feed, |progress| progress.indexed.seq >= seq).await;
    }

    async fn reached(&self, feed: FeedId, enough: impl Fn(&FeedProgress) -> bool) {
        let mut changes = self.watch();
        loop {
            changes.borrow_and_update();
            if self.feed(feed).is_some_and(|progress| enough(&progress)) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks for a new generation of the view, folded from the journals beside the serving one.
    pub fn rebuild_view(&self) {
        self.shared.rebuild.store(true, Ordering::Release);
        self.shared.to_project.set();
    }

    /// Asks for a new index, built from journals and view beside the one that serves.
    pub fn rebuild_index(&self) {
        self.shared.rebuild_index.store(true, Ordering::Release);
        self.shared.to_index.set();
    }
}

/// The index of a data directory, emptied when it is no index of these journals.
fn fitting_index(dir: &Path, ground: &Ground, reader: &impl Journals) -> Result<Index, StoreError> {
    let index = Index::open(&dir.join("index"), ground)?;
    for (feed, head) in index.feeds() {
        let hash = reader.with(feed, |journal| journal.hash_at(head.seq));
        let indexed = index.rules().get(&feed).copied().unwrap_or(Hash::ZERO);
        let same_rules = indexed == reader.terms(feed).rules.hash();
        if hash.transpose()?.flatten() != Some(head.hash) || !same_rules {
            tracing::warn!(%feed, "the search index does not fit the journal and is built again");
            index.clear()?;
            break;
        }
    }
    Ok(index)
}

/// What an index is made under at the moment.
fn ground(city: &City, shown: &Shown) -> Ground {
    Ground { words: city.policy.words().words.clone(), book: shown.began_us() }
}

/// Journals before the store stands.
pub(crate) struct OpenJournals<'a>(
    pub(crate) &'a BTreeMap<FeedId, Arc<RwLock<Journal>>>,
    pub(crate) &'a City,
);

impl Journals for OpenJournals<'_> {
    fn feeds(&self) -> Vec<FeedId> {
        self.0.keys().copied().collect()
    }

    fn with<T>(&self, feed: FeedId, read: impl FnOnce(&Journal) -> T) -> Option<T> {
        Some(read(&self.0.get(&feed)?.read()))
    }

    fn terms(&self, feed: FeedId) -> Terms {
        terms(self.1, feed)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.jobs = None;
        self.shared.to_project.set();
        self.shared.to_index.set();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
        let builder = self.shared.builder.lock().take();
        if let Some(builder) = builder {
            let _panicked = builder.join();
        }
    }
}
