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
    let key = SigningKey::from_bytes(&rng.random());
    let key_path = dir.join(KEY_FILE);
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| damaged(&key_path, &error))?;
    write_private(&key_path, pem.as_bytes()).map_err(file(&key_path))?;
    keep(dir, &identity)?;
    Ok((identity, Author::new(identity.feed, key)))
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

/// Reads what [`create`] wrote.
///
/// # Errors
/// `File`, `Damaged`.
pub fn open(dir: &Path) -> Result<(Identity, Author), IdentityError> {
    let path = dir.join(IDENTITY_FILE);
    let text = fs::read(&path).map_err(file(&path))?;
    let identity: Identity =
        serde_json::from_slice(&text).map_err(|error| damaged(&path, &error))?;
    let key_path = dir.join(KEY_FILE);
    let pem = fs::read_to_string(&key_path).map_err(file(&key_path))?;
    let key = SigningKey::from_pkcs8_pem(&pem).map_err(|error| damaged(&key_path, &error))?;
    let author = Author::new(identity.feed, key).with_incarnation(identity.incarnation);
    Ok((identity, author))
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
