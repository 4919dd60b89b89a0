//! The feed a process authors: its id and its signing key, on disk and readable by the owner only.

use std::{fs, path::Path};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, spki::der::pem::LineEnding},
};
use liandong_core::{
    id::{FeedId, InstanceId},
    op::{Author, Stamp},
};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{clock, config::write_private, identity::IdentityError};

const IDENTITY_FILE: &str = "identity.json";
const KEY_FILE: &str = "feed.pem";
/// The key that a rotation is about to name: it becomes [`KEY_FILE`] once the feed has named it.
const NEXT_FILE: &str = "feed.next.pem";

/// Who a process is; holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The feed it authors.
    pub feed: FeedId,
    /// This installation.
    pub instance: InstanceId,
    /// How often the feed was joined again, counted from 1; a label for people.
    #[serde(default = "first")]
    pub incarnation: u32,
}

const fn first() -> u32 {
    1
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { path, source }
}

fn damaged(path: &Path, what: &dyn ToString) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), what: what.to_string() }
}

/// Makes a new feed with its key in `dir`.
///
/// # Errors
/// `Exists` when there is one already; `File`.
pub fn create(dir: &Path) -> Result<(Identity, Author), IdentityError> {
    let path = dir.join(IDENTITY_FILE);
    if path.exists() {
        return Err(IdentityError::Exists(dir.to_owned()));
    }
    let mut rng = rand::rng();
    let (feed, instance) = (FeedId::new(rng.random()), new_instance());
    let identity = Identity { feed, instance, incarnation: first() };
    let key = new_key(&dir.join(KEY_FILE))?;
    keep(dir, &identity)?;
    Ok((identity, Author::new(identity.feed, key)))
}

fn new_key(path: &Path) -> Result<SigningKey, IdentityError> {
    let key = SigningKey::from_bytes(&rand::rng().random());
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| damaged(path, &error))?;
    write_private(path, pem.as_bytes()).map_err(file(path))?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<SigningKey, IdentityError> {
    let pem = fs::read_to_string(path).map_err(file(path))?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|error| damaged(path, &error))
}

/// Keeps who a process is, whole or not at all.
///
/// # Errors
/// `File`.
pub fn keep(dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let path = dir.join(IDENTITY_FILE);
    let text = serde_json::to_vec_pretty(identity).map_err(|error| damaged(&path, &error))?;
    write_private(&path, &text).map_err(file(&path))
}

/// The name of a new installation.
pub fn new_instance() -> InstanceId {
    InstanceId::new(rand::rng().random())
}

/// Makes the key that the feed shall be rotated to and keeps it beside the present one.
///
/// # Errors
/// `File`, `Damaged`.
pub fn prepare_next(dir: &Path, feed: FeedId) -> Result<Author, IdentityError> {
    Ok(Author::new(feed, new_key(&dir.join(NEXT_FILE))?))
}

/// Makes a root key in a file of its own; it signs for `feed`.
///
/// # Errors
/// `Exists`, `File`.
pub fn create_root(path: &Path, feed: FeedId) -> Result<Author, IdentityError> {
    if path.exists() {
        return Err(IdentityError::Exists(path.to_owned()));
    }
    Ok(Author::new(feed, new_key(path)?))
}

/// Reads what [`create_root`] wrote.
///
/// # Errors
/// `File`, `Damaged`.
pub fn read_root(path: &Path, feed: FeedId) -> Result<Author, IdentityError> {
    Ok(Author::new(feed, read_key(path)?))
}

/// The key that a rotation was prepared for and that is not the present one yet.
///
/// # Errors
/// `File`, `Damaged`.
pub fn next(dir: &Path, feed: FeedId) -> Result<Option<Author>, IdentityError> {
    let path = dir.join(NEXT_FILE);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Author::new(feed, read_key(&path)?)))
}

/// Ends a rotation: the prepared key becomes the present one when the feed has named it, else it is forgotten.
///
/// # Errors
/// `File`.
pub fn settle_next(dir: &Path, named: bool) -> Result<(), IdentityError> {
    let (next, key) = (dir.join(NEXT_FILE), dir.join(KEY_FILE));
    let done = if named { fs::rename(&next, &key) } else { fs::remove_file(&next) };
    done.and_then(|()| fs::File::open(dir)?.sync_all()).map_err(file(&next))
}

/// Reads what [`create`] wrote.
///
/// # Errors
/// `File`, `Damaged`.
pub fn open(dir: &Path) -> Result<(Identity, Author), IdentityError> {
    let path = dir.join(IDENTITY_FILE);
    let text = fs::read(&path).map_err(file(&path))?;
    let identity: Identity =
        serde_json::from_slice(&text).map_err(|error| damaged(&path, &error))?;
    let author = Author::new(identity.feed, read_key(&dir.join(KEY_FILE))?);
    Ok((identity, author.with_incarnation(identity.incarnation)))
}

/// A fresh ULID.
pub fn new_ulid() -> Ulid {
    let now = u64::try_from(clock::now_ms()).unwrap_or(0);
    Ulid::from_parts(now, rand::rng().random())
}

/// The facts of this moment for an op.
pub fn stamp(actor: &str) -> Stamp {
    Stamp { now_ms: clock::now_ms(), uid: new_ulid().to_bytes(), actor: actor.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_back_and_never_made_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (identity, author) = create(dir.path()).unwrap();
        let (again, opened) = open(dir.path()).unwrap();
        assert_eq!(identity, again);
        assert_eq!(author.public_key(), opened.public_key());
        assert!(matches!(create(dir.path()), Err(IdentityError::Exists(_))));
    }
}
