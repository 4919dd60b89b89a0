//! The hub's state and the only way to change it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use liandong_core::{
    city::{self, City, HubAnchor, HubKeys},
    directory::Refusal,
    id::FeedId,
    limit,
    op::{Change, Keys},
};
use liandong_server::{
    admin::Lock,
    backup::Backups,
    clock,
    config::Engine,
    identity::{Authority, IdentityError},
    keys,
    output::{Exit, Explain, Failure},
    tls::{ServerTls, TlsError},
};
use liandong_store::{EngineKind, Options, OwnFeed, Store, StoreError, WriteError};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{archive::Archive, config::Config, link::Links, recovery::Recovery, root};

/// Below the hub's directory: keys of its feed.
pub const KEYS_DIR: &str = "keys";
/// Below the hub's directory: the certificate authority.
pub const CA_DIR: &str = "ca";
/// Below the hub's directory: journal, view and index.
pub const DATA_DIR: &str = "data";

/// Why the hub cannot start or carry out a command.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The directory is in use or not usable.
    #[error(transparent)]
    Locked(#[from] liandong_server::admin::Locked),
    /// Keys or authority.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Journal, view or index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A decision could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The directory's rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The city's rules say no.
    #[error(transparent)]
    Declined(#[from] city::Refusal),
    /// The hub takes its own feed back first.
    #[error(
        "中心正在从各区节点恢复，暂不接受新的决定 / the hub recovers from its nodes; nothing is decided until then"
    )]
    Recovering,
    /// The key here is an old one.
    #[error("本机的签名密钥已被更换，不再有效 / the key here was replaced and signs no longer")]
    KeyPassed,
    /// The root's word is missing, is another root's or an old one.
    #[error("根密钥不符，或授权已过时 / not the hub's root key, or an old grant")]
    NotGranted,
    /// There is no recovery to be ended.
    #[error("中心没有在恢复 / the hub does not recover")]
    NotRecovering,
}

impl Explain for AppError {
    fn explain(&self) -> Failure {
        match self {
            Self::Locked(error) => error.explain(),
            Self::Identity(error) => error.explain(),
            Self::Tls(error) => error.explain(),
            Self::Refused(refusal) => {
                let text = refusal.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                let exit = match refusal {
                    Refusal::NoDistrict(_) | Refusal::UnknownFeed(_) => Exit::Error,
                    _ => Exit::Conflict,
                };
                Failure::new("refused", exit, zh, en)
            }
            Self::Declined(refusal) => {
                let text = refusal.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                let exit = match refusal {
                    city::Refusal::NotFound(_) => Exit::Error,
                    city::Refusal::NoReason | city::Refusal::NoLegalBasis => Exit::Usage,
                    city::Refusal::Bad { .. } => Exit::Validation,
                    _ => Exit::Conflict,
                };
                Failure::new("declined", exit, zh, en)
            }
            Self::Recovering => {
                let text = self.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                Failure::new("recovering", Exit::Conflict, zh, en)
                    .remedy("进度见 liandong-hub recover status", "see liandong-hub recover status")
            }
            Self::KeyPassed | Self::NotGranted => {
                let text = self.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                Failure::new("hub_key", Exit::Conflict, zh, en).remedy(
                    "运行 liandong-hub key rotate --root-key <根密钥文件>",
                    "run liandong-hub key rotate --root-key <the root's file>",
                )
            }
            Self::NotRecovering => {
                let text = self.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                Failure::new("not_recovering", Exit::Conflict, zh, en)
            }
            Self::Store(error) => {
                let text = error.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                Failure::new("store", Exit::Error, zh, en)
            }
            Self::Write(error) => {
                Failure::new("store", Exit::Error, error.to_string(), error.to_string())
            }
        }
    }
}

/// Where the running process listens.
#[derive(Debug, Clone)]
pub struct Listening {
    /// HTTP.
    pub http: std::net::SocketAddr,
    /// gRPC.
    pub grpc: std::net::SocketAddr,
}

/// The hub of a city: one per data directory.
#[derive(Debug)]
pub struct App {
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) own: OwnFeed,
    pub(crate) hub_keys: Mutex<HubKeys>,
    pub(crate) hub_anchor: HubAnchor,
    pub(crate) authority: Authority,
    pub(crate) tls: ServerTls,
    pub(crate) links: Links,
    pub(crate) archive: Archive,
    pub(crate) backups: Backups,
    pub(crate) recovery: Recovery,
    pub(crate) bulk: Arc<Semaphore>,
    pub(crate) listening: OnceLock<Listening>,
    _lock: Lock,
}

impl App {
    /// Makes a new hub in `dir`: keys, authority and configuration file.
    ///
    /// # Errors
    /// There is one already, or the files cannot be written.
    pub fn init(dir: &Path, config: &Config) -> Result<(), AppError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| AppError::Identity(IdentityError::File { path, source })
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let lock = Lock::acquire(dir)?;
        for sub in [KEYS_DIR, CA_DIR, DATA_DIR] {
            std::fs::create_dir_all(dir.join(sub)).map_err(io(dir))?;
        }
        root::create(dir)?;
        Authority::create(&dir.join(CA_DIR), clock::now_ms())?;
        let text = toml::to_string_pretty(config).unwrap_or_default();
        let path = dir.join(crate::config::FILE);
        std::fs::write(&path, text).map_err(io(&path))?;
        drop(lock);
        Ok(())
    }

    /// Opens the hub in `dir` and folds its directory.
    ///
    /// # Errors
    /// Another process has it, or something in it cannot be read.
    pub fn open(dir: &Path, config: Config) -> Result<Self, AppError> {
        let lock = Lock::acquire(dir)?;
        let (_identity, author) = keys::open(&dir.join(KEYS_DIR))?;
        let authority = Authority::open(&dir.join(CA_DIR))?;
        let options = Options {
            engine: match config.view.engine {
                Engine::Sled => EngineKind::Sled,
                Engine::Redb => EngineKind::Redb,
            },
            cache_bytes: u64::from(config.view.cache_mib) * 1024 * 1024,
            match_keys: false,
            hub_feed: Some(author.feed()),
            city_view: true,
            watch: Some(clock::now_ms),
            clock: clock::now_ms,
            city_log: Some(keys::new_ulid().to_bytes()),
            ..Options::new(dir.join(DATA_DIR))
        };
        let store = Store::open(options)?;
        let hub_anchor = root::read(dir, &author)?;
        let damaged = |what: String| IdentityError::Damaged { path: dir.join(KEYS_DIR), what };
        let mut hub_keys =
            HubKeys::new(author.feed(), hub_anchor).map_err(|fault| damaged(fault.to_string()))?;
        hub_keys.follow(&store.city());
        let own = OwnFeed::new(root::settle(dir, &hub_keys, author)?);
        // Nobody but the hub can say how far its own feed went: it is recovered from the nodes, not cut off.
        if let Some(damage) = store.damage(own.feed()) {
            return Err(StoreError::from(damage).into());
        }
        store.open_feed(own.feed())?;
        for feed in store.city().directory.feeds.keys() {
            store.open_feed(*feed)?;
        }
        let tls = server_tls(&authority, &config)?;
        Ok(Self {
            backups: Backups::read(dir, &config.backup),
            dir: dir.to_owned(),
            recovery: Recovery::open(dir, own.feed())?,
            config,
            store,
            own,
            hub_keys: Mutex::new(hub_keys),
            hub_anchor,
            authority,
            tls,
            links: Links::read(dir),
            archive: Archive::new(dir.join(DATA_DIR).join("archive")),
            bulk: Arc::new(Semaphore::new(limit::BULK_CATCH_UPS_MAX)),
            listening: OnceLock::new(),
            _lock: lock,
        })
    }

    /// The city as it is now.
    pub fn city(&self) -> Arc<City> {
        self.store.city()
    }

    /// Decides with the city that is current and writes what was decided; nobody decides in between.
    ///
    /// # Errors
    /// What `decide` refuses; `Write`.
    pub async fn decide(
        &self,
        actor: &str,
        decide: impl FnOnce(&City) -> Result<Vec<Change>, AppError>,
    ) -> Result<(), AppError> {
        let mut turn = self.own.turn(&self.store).await;
        if self.recovery.is_on() {
            return Err(AppError::Recovering);
        }
        // An earlier caller may have gone away after its ops were durable and before they were folded.
        self.store.applied(self.own.feed(), self.store.head(self.own.feed()).seq).await;
        self.require_key()?;
        let changes = decide(&self.city())?;
        turn.write(changes, || keys::stamp(actor)).await?;
        for feed in self.city().directory.feeds.keys() {
            self.store.open_feed(*feed)?;
        }
        Ok(())
    }

    /// Keys of all feeds, for verification.
    pub(crate) fn keys(&self) -> std::collections::BTreeMap<FeedId, Keys> {
        let directory = &self.city().directory;
        let mut keys: std::collections::BTreeMap<_, _> =
            directory.feeds.iter().map(|(feed, entry)| (*feed, entry.keys.clone())).collect();
        keys.insert(self.own.feed(), self.hub_keys().keys().clone());
        keys
    }

    /// The address that nodes dial, as join tokens carry it.
    pub(crate) fn public_url(&self) -> String {
        let port = self.listening.get().map_or(self.config.grpc.listen, |at| at.grpc).port();
        self.config.grpc.public_url.clone().unwrap_or_else(|| format!("https://127.0.0.1:{port}"))
    }

    /// Shows a fresh server certificate from the next connection on.
    ///
    /// # Errors
    /// `Identity`, `Tls`; the old one stays.
    pub(crate) fn renew_server_certificate(&self) -> Result<(), AppError> {
        let (certificate, key) = issue_server(&self.authority, &self.config)?;
        Ok(self.tls.replace(&certificate, &key)?)
    }
}

fn issue_server(authority: &Authority, config: &Config) -> Result<(Vec<u8>, String), AppError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let uri = config.grpc.public_url.as_ref().and_then(|url| url.parse::<axum::http::Uri>().ok());
    if let Some(host) = uri.as_ref().and_then(axum::http::Uri::host) {
        let host = host.trim_matches(['[', ']']).to_owned();
        if !names.contains(&host) {
            names.push(host);
        }
    }
    Ok(authority.issue_server(&names, config.certificates.ttl_secs, clock::now_ms())?)
}

fn server_tls(authority: &Authority, config: &Config) -> Result<ServerTls, AppError> {
    let (certificate, key) = issue_server(authority, config)?;
    Ok(ServerTls::new(authority.ca_der(), &certificate, &key)?)
}
