//! The hub's own signing key, which a root grants whose key is kept offline.
//!
//! The root's key never comes near the serving process: that makes the next key and asks for it by number, the command
//! line signs with the root's file, and the process writes the grant.

use std::path::{Path, PathBuf};

use liandong_core::{
    city::{HubAnchor, HubKeyGrant, HubKeys, HubRoot},
    id::{FeedId, Hash, KeyId},
    op::Author,
};
use liandong_server::{
    admin::AdminError,
    command::{self, answer},
    config::write_private,
    identity::{Anchor, IdentityError, certificate_pem},
    keys,
    output::{Exit, Explain as _, Failure, Output},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::{App, AppError, KEYS_DIR},
    command::{ACTOR, Command as HubCommand, refused},
};

/// In the hub's directory: the root's key, until the operator moves it away.
pub const ROOT_FILE: &str = "root.pem";
/// In the keys directory: the hub's first key and its root.
const ANCHOR_FILE: &str = "anchor.json";

/// What the command line can ask for.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Sub {
    /// 为没有根密钥的中心新建根密钥，写入文件后离线保管 / Make the root key of a hub that has none; keep the file offline
    Root {
        /// 写入此文件 / Write it to this file
        #[arg(long)]
        out: PathBuf,
    },
    /// 更换中心的签名密钥，由根密钥授权；各节点自动跟随 / Sign with a new key that the root grants; nodes follow by themselves
    Rotate {
        /// 根密钥文件 / File of the root key
        #[arg(long)]
        root_key: PathBuf,
    },
}

/// What the serving process is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Take this root; for a hub that has none.
    Root(HubRoot),
    /// Make the key that comes next.
    Next,
    /// Sign with the key that came of [`Command::Next`].
    Install(HubKeyGrant),
    /// What nodes are given out of band.
    Anchor,
}

/// Answer of [`Command::Next`]: what the root has to sign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    feed: FeedId,
    serial: u64,
    public_key: Hash,
    root: Option<Hash>,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { path, source }
}

/// Makes keys and root of a new hub; the root's key stands in `dir` until it is moved away.
///
/// # Errors
/// There are keys already; a file cannot be written.
pub(crate) fn create(dir: &Path) -> Result<(), IdentityError> {
    let keys_dir = dir.join(KEYS_DIR);
    let (_identity, author) = keys::create(&keys_dir)?;
    let root = keys::create_root(&dir.join(ROOT_FILE), author.feed())?;
    let first_key = Hash::new(author.public_key());
    write(&keys_dir, HubAnchor { first_key, root: Some(Hash::new(root.public_key())) })
}

fn write(keys_dir: &Path, anchor: HubAnchor) -> Result<(), IdentityError> {
    let path = keys_dir.join(ANCHOR_FILE);
    let text = serde_json::to_vec_pretty(&anchor).unwrap_or_default();
    write_private(&path, &text).map_err(io(&path))
}

/// What is known of the hub's keys beside its feed. A hub of before has one key and no file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(dir: &Path, author: &Author) -> Result<HubAnchor, IdentityError> {
    let path = dir.join(KEYS_DIR).join(ANCHOR_FILE);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(HubAnchor { first_key: Hash::new(author.public_key()), root: None });
        }
        read => read.map_err(io(&path))?,
    };
    serde_json::from_slice(&text)
        .map_err(|error| IdentityError::Damaged { path, what: error.to_string() })
}

/// Ends a rotation that a crash has interrupted: the key that the feed names signs. One that it does not name waits
/// for the root's word.
///
/// # Errors
/// `File`, `Damaged`.
pub(crate) fn settle(dir: &Path, keys: &HubKeys, author: Author) -> Result<Author, IdentityError> {
    let keys_dir = dir.join(KEYS_DIR);
    match keys::next(&keys_dir, author.feed())? {
        Some(next) if keys.signs(next.key_id()) => {
            keys::settle_next(&keys_dir, true)?;
            tracing::info!("a rotation of the hub's key was interrupted and is settled");
            Ok(next.with_incarnation(author.incarnation()))
        }
        _ => Ok(author),
    }
}

impl App {
    /// The keys of the hub's own feed.
    pub(crate) fn hub_keys(&self) -> HubKeys {
        let mut keys = self.hub_keys.lock();
        keys.follow(&self.city());
        keys.clone()
    }

    /// Refuses to sign with a key that the feed does not believe any more.
    ///
    /// # Errors
    /// `KeyPassed`.
    pub(crate) fn require_key(&self) -> Result<(), AppError> {
        let signs = self.hub_keys().signs(self.own.author().key_id());
        if signs { Ok(()) } else { Err(AppError::KeyPassed) }
    }

    /// Carries out a command about the hub's own key.
    pub(crate) async fn change_hub_key(&self, command: Command) -> Result<Value, AdminError> {
        match command {
            Command::Root(root) => {
                let has_one = || {
                    AppError::Declined(liandong_core::city::Refusal::Changed(
                        "中心已有根密钥 / the hub has a root already".to_owned(),
                    ))
                };
                let none = self.hub_keys().root().is_none();
                let decided = self
                    .decide(ACTOR, |_city| if none { Ok(root.put()) } else { Err(has_one()) })
                    .await;
                decided.map_err(refused)?;
                answer(&root)
            }
            Command::Next => {
                let keys = self.hub_keys();
                let feed = self.own.feed();
                let next = keys::prepare_next(&self.dir.join(KEYS_DIR), feed).map_err(refused)?;
                let public_key = Hash::new(next.public_key());
                let (serial, root) = (keys.next_serial(), keys.root());
                answer(&Asked { feed, serial, public_key, root })
            }
            Command::Install(grant) => answer(&self.install(&grant).await.map_err(refused)?),
            Command::Anchor => answer(&self.anchor()),
        }
    }

    /// Signs with the prepared key from the grant's own op on. The key is kept before, and takes the place of the old
    /// one after: whatever a crash leaves, the next start knows which of the two signs. A hub that was restored with an
    /// old key does this before its recovery can end.
    async fn install(&self, grant: &HubKeyGrant) -> Result<Value, AppError> {
        let keys_dir = self.dir.join(KEYS_DIR);
        let own = self.own.feed();
        let mut turn = self.own.turn(&self.store).await;
        let head = self.store.head(own);
        if self.recovery.is_on() && !self.recovery.is_back(head) {
            return Err(AppError::Recovering);
        }
        self.store.applied(own, head.seq).await;
        let old = self.own.author();
        let next = keys::next(&keys_dir, own)?;
        let next = next.filter(|next| Hash::new(next.public_key()) == grant.public_key);
        let next = next.ok_or(AppError::NotGranted)?.with_incarnation(old.incarnation());
        if !self.hub_keys().would_admit(head.seq + 1, grant) {
            return Err(AppError::NotGranted);
        }
        write(&keys_dir, self.hub_anchor)?;
        let ops = turn.hand_over(next.clone(), grant.put(), || keys::stamp(ACTOR)).await?;
        keys::settle_next(&keys_dir, true)?;
        let (old, new) = (old.key_id(), next.key_id());
        tracing::warn!(%old, %new, "the hub signs with a new key");
        Ok(json!({ "old": old, "key": new, "seq": ops.last().map(|op| op.seq) }))
    }

    /// What nodes are given of this hub.
    fn anchor(&self) -> Anchor {
        Anchor {
            hub_url: self.public_url(),
            ca_fingerprint: self.authority.fingerprint(),
            ca_pem: certificate_pem(self.authority.ca_der()),
            hub_feed: self.own.feed().to_string(),
            hub_public_key: self.hub_anchor.first_key.to_string(),
            hub_root: self.hub_keys().root().map(|root| root.to_string()),
        }
    }
}

/// Runs a command of the command line; `call` asks the process that has the hub's directory open.
pub(crate) async fn run<F>(
    sub: Sub,
    output: Output,
    call: impl Fn(HubCommand) -> F,
) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Value, AdminError>>,
{
    match sub {
        Sub::Root { out } => {
            let anchor: Anchor = command::read(call(HubCommand::HubKey(Command::Anchor)).await?)?;
            let feed = anchor.hub_feed.parse().unwrap_or(FeedId::new([0; 16]));
            let root = keys::create_root(&out, feed).map_err(|error| error.explain())?;
            let root = HubRoot { public_key: Hash::new(root.public_key()) };
            let made = call(HubCommand::HubKey(Command::Root(root))).await;
            if made.is_err() {
                // It was never the root of anything.
                let _left = std::fs::remove_file(&out);
            }
            tell(&made?, "public_key", "根公钥 / public key of the root", output);
            warn_of_root(&out, output);
        }
        Sub::Rotate { root_key } => {
            let asked: Asked = command::read(call(HubCommand::HubKey(Command::Next)).await?)?;
            let root = keys::read_root(&root_key, asked.feed).map_err(|error| error.explain())?;
            if asked.root != Some(Hash::new(root.public_key())) {
                return Err(AppError::NotGranted.explain());
            }
            let grant = HubKeyGrant::sign(&root, asked.serial, asked.public_key);
            let made = call(HubCommand::HubKey(Command::Install(grant))).await?;
            tell(&made, "key", "中心新的签名密钥 / new signing key of the hub", output);
        }
    }
    Ok(Exit::Ok)
}

/// Writes the anchor to a file.
pub(crate) fn write_anchor(value: Value, out: &Path, output: Output) -> Result<Exit, Failure> {
    let anchor: Anchor = command::read(value)?;
    anchor.write_file(out).map_err(|error| error.explain())?;
    if output.is_json() {
        output.json(&anchor);
    }
    let key = anchor.hub_root.as_ref().unwrap_or(&anchor.hub_public_key);
    output.line(&format!("信任锚 / anchor: {}", out.display()));
    output.line(&format!("请电话核对 / read over the phone: {}", fingerprint(key)));
    Ok(Exit::Ok)
}

/// A key as people read it to each other.
fn fingerprint(key: &str) -> String {
    key.parse::<Hash>().map(|key| KeyId::of(key.as_bytes()).to_string()).unwrap_or_default()
}

/// Tells to move the root's key away.
pub(crate) fn warn_of_root(path: &Path, output: Output) {
    output.note(
        &format!("根密钥在 {}：请移到离线介质并从本机删除", path.display()),
        &format!("the root key is in {}: move it to offline media", path.display()),
    );
}

fn tell(value: &Value, field: &str, what: &str, output: Output) {
    if output.is_json() {
        output.json(value);
    }
    output.line(&format!("{what}: {}", value[field].as_str().unwrap_or_default()));
}
