//! The node's state.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{
    city::{HubAnchor, HubKeys},
    id::{FeedId, Head},
    limit,
    mapping::Mapping,
    op::{Keys, OpFault},
};
use liandong_server::{
    admin::{Lock, Locked},
    backup::Backups,
    config::{ConfigError, Engine, write_private},
    identity::{Anchor, CertInfo, IdentityError, certificate_der, certificate_pem},
    keys::{self, Identity},
    output::{Exit, Explain, Failure},
    tls::{ClientTls, ConnectError, ServerTls, TlsError},
};
use liandong_store::{
    EngineKind, Options, OwnFeed, Replica, ReplicaOptions, Store, StoreError, Turn, WriteError,
    disk::{RealDisk, ReservedDisk},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    config::Config,
    conflict::Queue,
    guard::{self, Guard, KeptReceipt, Receipts},
    import::ReadError,
    link::SharedLink,
    rejoin,
};

/// Below the node's directory: keys and certificate.
pub const KEYS_DIR: &str = "keys";
/// Below the node's directory: journal, view and index.
pub const DATA_DIR: &str = "data";
/// Below the data directory: the replica of the city.
pub const REPLICA_DIR: &str = "replica";
/// Below the data directory: room that is kept for the journals.
const RESERVE_FILE: &str = "reserve";
/// In the keys directory: the TLS key and its certificate, one file so that a crash never leaves one without the other.
pub const TLS_FILE: &str = "tls.pem";

/// Why the node cannot start or carry out a command.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The directory is in use or not usable.
    #[error(transparent)]
    Locked(#[from] Locked),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Keys, certificate or anchor.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The hub was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The hub refused.
    #[error("{0}")]
    Refused(String),
    /// Journal, view or index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A change does not fit.
    #[error(transparent)]
    Op(#[from] OpFault),
    /// The record's state does not allow the command.
    #[error(transparent)]
    Decide(#[from] liandong_core::decide::Refusal),
    /// A file cannot be read as a table.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Anything else that has its own words.
    #[error(transparent)]
    Told(#[from] Failure),
}

impl From<WriteError> for AppError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Op(fault) => Self::Op(fault),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

/// A message that holds Chinese and English apart by a slash.
fn both(code: &str, exit: Exit, text: &str) -> Failure {
    let (zh, en) = text.split_once(" / ").unwrap_or((text, text));
    Failure::new(code, exit, zh, en)
}

impl Explain for AppError {
    fn explain(&self) -> Failure {
        use liandong_core::decide::Refusal;
        let text = self.to_string();
        match self {
            Self::Locked(error) => error.explain(),
            Self::Config(error) => error.explain(),
            Self::Identity(error) => error.explain(),
            Self::Tls(error) => error.explain(),
            Self::Connect(error) => error.explain(),
            Self::Told(failure) => failure.clone(),
            Self::Refused(_) => both("refused_by_hub", Exit::Error, &text),
            Self::Store(_) => both("store", Exit::Error, &text),
            Self::Op(_) => {
                Failure::new("too_large", Exit::Validation, format!("内容过大：{text}"), text)
            }
            Self::Decide(Refusal::NotFound(_)) => both("not_found", Exit::Error, &text),
            Self::Decide(_) => both("conflict", Exit::Conflict, &text),
            Self::Read(error) => {
                let (zh, en) = error.text();
                Failure::new("unreadable_file", Exit::Validation, zh, en)
            }
        }
    }
}

/// The node of a district: one per data directory.
#[derive(Debug)]
pub struct App {
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) replica: Replica,
    /// The disk under the journals, with the room that is kept for them.
    pub(crate) disk: ReservedDisk,
    /// Why the city is not followed now; empty while it is.
    pub(crate) unfollowed: Mutex<String>,
    pub(crate) own: OwnFeed,
    pub(crate) mapping: Mapping,
    pub(crate) link: SharedLink,
    pub(crate) backups: Backups,
    hub_keys: Mutex<HubKeys>,
    pub(crate) hub_anchor: HubAnchor,
    pub(crate) hub_feed: FeedId,
    pub(crate) client_tls: ClientTls,
    pub(crate) server_tls: ServerTls,
    /// Who this installation is; a rejoin changes it.
    pub(crate) identity: Mutex<Identity>,
    /// Held while the feed is pushed or joined again: never both.
    pub(crate) recovery: tokio::sync::Mutex<()>,
    /// Ends the pause before the next connection.
    pub(crate) wake: Notify,
    pub(crate) guard: Guard,
    pub(crate) receipts: Receipts,
    pub(crate) conflicts: Queue,
    _lock: Lock,
}

fn engine(config: &Config) -> EngineKind {
    match config.view.engine {
        Engine::Sled => EngineKind::Sled,
        Engine::Redb => EngineKind::Redb,
    }
}

impl App {
    /// Opens the node in `dir`.
    ///
    /// # Errors
    /// It has not joined, another process has it, or something in it cannot be read.
    pub fn open(dir: &Path, config: Config) -> Result<Self, AppError> {
        let lock = Lock::acquire(dir)?;
        let anchor = Anchor::read(dir)?.ok_or_else(|| not_joined(dir))?;
        rejoin::resume(dir)?;
        let (identity, author) = keys::open(&dir.join(KEYS_DIR))?;
        let ca_der = anchor.ca_der()?;
        let (certificate, key) = read_certificate(dir)?;
        let damaged = |what: &str| IdentityError::Damaged {
            path: dir.join(Anchor::FILE),
            what: what.to_owned(),
        };
        let hub_anchor = anchor.hub().map_err(damaged)?;
        let hub_feed = anchor.hub_feed.parse().map_err(|_hex| damaged("hub_feed"))?;
        let hub_keys =
            HubKeys::new(hub_feed, hub_anchor).map_err(|_point| damaged("hub_public_key"))?;
        let engine = engine(&config);
        let cache_bytes = u64::from(config.view.cache_mib) * 1024 * 1024;
        let reserve = dir.join(DATA_DIR).join(RESERVE_FILE);
        let disk = ReservedDisk::new(Arc::new(RealDisk), reserve, limit::RESERVE_BYTES);
        let options = Options {
            engine,
            cache_bytes,
            hub_feed: Some(hub_feed),
            disk: Arc::new(disk.clone()),
            clock: liandong_server::clock::now_ms,
            ..Options::new(dir.join(DATA_DIR))
        };
        let store = Store::open(options)?;
        let replica = Replica::open(ReplicaOptions {
            dir: dir.join(DATA_DIR).join(REPLICA_DIR),
            engine,
            cache_bytes,
            city: store.watch_city(),
        })?;
        store.open_feed(identity.feed)?;
        store.open_feed(hub_feed)?;
        let author = crate::key::settle(dir, &store, author)?;
        let own = OwnFeed::new(author);
        let path = config.guard.path.clone().unwrap_or_else(|| guard::beside(dir));
        let receipts = Receipts::open(&path);
        let link = SharedLink::new(receipts.last());
        let at = |seq| store.hash_at(own.feed(), seq).unwrap_or_default();
        let guard = Guard::open(path, own.feed(), at);
        let expires = CertInfo::parse(&certificate)?.not_after_ms;
        link.update(|link| link.certificate_expires_ms = Some(expires));
        Ok(Self {
            mapping: mapping(&config)?,
            client_tls: ClientTls::mutual(&ca_der, &certificate, &key)?,
            server_tls: ServerTls::new(&ca_der, &certificate, &key)?,
            hub_keys: Mutex::new(hub_keys),
            hub_anchor,
            hub_feed,
            dir: dir.to_owned(),
            backups: Backups::read(dir, &config.backup),
            config,
            store,
            replica,
            disk,
            unfollowed: Mutex::default(),
            own,
            link,
            identity: Mutex::new(identity),
            recovery: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            guard,
            receipts,
            conflicts: Queue::new(dir),
            _lock: lock,
        })
    }

    /// Waits for the turn to write the own feed.
    ///
    /// # Errors
    /// The journal is behind its guard: nothing is written before the hub has been asked.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, AppError> {
        let turn = self.own.turn(&self.store).await;
        self.guard.check()?;
        Ok(turn)
    }

    /// The hub and this node agree on the feed: the guard follows it again, and receipts for what is on neither side
    /// are told.
    pub(crate) fn spoken(&self) {
        self.guard.lift();
        self.guard.note(self.store.head(self.own.feed()));
        let lost = self.lost_receipts();
        if let Some(first) = lost.first() {
            tracing::error!(
                count = lost.len(),
                first = %first.head,
                "the hub has receipts out for ops that neither side holds"
            );
        }
        self.link.update(|link| link.lost = lost.len() as u64);
    }

    /// Receipts of the hub for ops that this feed does not have.
    pub(crate) fn lost_receipts(&self) -> Vec<KeptReceipt> {
        let feed = self.own.feed();
        let gone =
            |head: Head| self.store.hash_at(feed, head.seq).ok().flatten() != Some(head.hash);
        let keys = self.hub_keys();
        let signed = |receipt: &KeptReceipt| {
            keys.all().iter().any(|key| receipt.verifies(feed, key.as_bytes()))
        };
        let receipts = self.receipts.all().into_iter();
        receipts.filter(|receipt| gone(receipt.head) && signed(receipt)).collect()
    }

    /// The keys of the hub's feed, as far as it is mirrored and folded here.
    pub(crate) fn hub_keys(&self) -> HubKeys {
        let mut keys = self.hub_keys.lock();
        keys.follow(&self.store.city());
        keys.clone()
    }

    /// The hub's own feed as it is mirrored here.
    pub(crate) fn hub_head(&self) -> Head {
        self.store.head(self.hub_feed)
    }

    /// Keys of the feeds here, for verification: as the hub's feed tells them, and of the own feed what the node itself
    /// knows before that.
    pub(crate) fn keys(&self) -> BTreeMap<FeedId, Keys> {
        let city = self.store.city();
        let feeds = city.directory.feeds.iter();
        let mut keys: BTreeMap<_, _> =
            feeds.map(|(feed, entry)| (*feed, entry.keys.clone())).collect();
        keys.insert(self.hub_feed, self.hub_keys().keys().clone());
        let own = self.own.feed();
        if !keys.contains_key(&own)
            && let Ok(known) = crate::key::first(&self.dir, &self.own.author())
        {
            keys.insert(own, known);
        }
        keys
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.guard.note(self.store.head(self.own.feed()));
    }
}

fn not_joined(dir: &Path) -> Failure {
    Failure::new(
        "not_joined",
        Exit::Error,
        format!("{} 中的节点尚未加入", dir.display()),
        format!("the node in {} has not joined", dir.display()),
    )
    .remedy(
        "向市级中心索取接入口令，然后运行 liandong-node init --join <口令>",
        "ask the hub for a join token, then run liandong-node init --join <token>",
    )
}

/// Certificate (DER) and TLS key (PEM) on disk.
pub(crate) fn read_certificate(dir: &Path) -> Result<(Vec<u8>, String), AppError> {
    let path = dir.join(KEYS_DIR).join(TLS_FILE);
    let both =
        std::fs::read_to_string(&path).map_err(|source| IdentityError::File { path, source })?;
    Ok((certificate_der(&both)?, both))
}

/// Keeps a TLS key with its certificate, whole or not at all.
pub(crate) fn write_certificate(dir: &Path, der: &[u8], key_pem: &str) -> Result<(), AppError> {
    let path = dir.join(KEYS_DIR).join(TLS_FILE);
    let both = format!("{key_pem}{}", certificate_pem(der));
    write_private(&path, both.as_bytes())
        .map_err(|source| IdentityError::File { path, source }.into())
}

fn mapping(config: &Config) -> Result<Mapping, AppError> {
    let mut mapping = Mapping::builtin();
    let bad = |path: &Path, why: String| {
        Failure::new(
            "bad_table",
            Exit::Usage,
            format!("对照表 {} 不可用：{why}", path.display()),
            format!("the table {} cannot be used: {why}", path.display()),
        )
    };
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|why| bad(path, why.to_string()));
    if let Some(path) = &config.import.labels {
        let text = read(path)?;
        mapping = mapping.with_labels_csv(&text).map_err(|why| bad(path, why.to_string()))?;
    }
    if let Some(path) = &config.import.values {
        let text = read(path)?;
        mapping = mapping.with_values_csv(&text).map_err(|why| bad(path, why.to_string()))?;
    }
    Ok(mapping)
}
