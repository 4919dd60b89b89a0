//! What was agreed with the hub and is still to be done here.

use std::path::{Path, PathBuf};

use liandong_core::id::Head;
use liandong_server::{
    config::write_private,
    identity::IdentityError,
    keys::{self, Identity},
};
use liandong_store::{StoreError, swap_journals};
use serde::{Deserialize, Serialize};

use crate::app::{AppError, DATA_DIR, KEYS_DIR};

/// Where the state is kept; there is none when nothing is under way.
const FILE: &str = "rejoin.json";

/// How far a rejoin has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The hub has agreed; the mirror's journal is staged.
    Agreed,
    /// The mirror's journal is in its place; own ops are being written again.
    Writing,
}

/// A rejoin that the hub has agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// Who this node is from here on.
    pub(crate) identity: Identity,
    /// Last op that both had.
    pub(crate) ancestor: Head,
    /// The head that was given up.
    pub(crate) abandoned: Head,
    /// Name of the directory that keeps the old journal.
    pub(crate) aside: String,
}

impl State {
    pub(super) fn agreed(identity: Identity, ancestor: Head, abandoned: Head, now_ms: i64) -> Self {
        let aside = format!("journal.forked-{now_ms}");
        Self { phase: Phase::Agreed, identity, ancestor, abandoned, aside }
    }

    /// The same steps for a damaged journal: the hub need not agree, for nothing of it is given up.
    pub(crate) fn mending(
        identity: Identity,
        ancestor: Head,
        abandoned: Head,
        now_ms: i64,
    ) -> Self {
        let aside = format!("journal.damaged-{now_ms}");
        Self { phase: Phase::Agreed, identity, ancestor, abandoned, aside }
    }

    pub(super) fn writing(&self) -> Self {
        Self { phase: Phase::Writing, ..self.clone() }
    }

    /// Where the mirror's journal is put together.
    pub(super) fn staged(&self, dir: &Path) -> PathBuf {
        staged(dir, &self.identity)
    }

    /// Where the old journal is kept.
    pub(super) fn aside(&self, dir: &Path) -> PathBuf {
        dir.join(DATA_DIR).join(&self.aside)
    }

    pub(super) fn read(dir: &Path) -> Result<Option<Self>, AppError> {
        let path = dir.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::File { path, source }.into()),
        };
        let state = serde_json::from_slice(&text)
            .map_err(|error| IdentityError::Damaged { path, what: error.to_string() })?;
        Ok(Some(state))
    }

    /// Whether a rejoin is under way.
    pub(crate) fn is_kept(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_private(&path, &text).map_err(StoreError::io(path))
    }

    pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE);
        std::fs::remove_file(&path).map_err(StoreError::io(path))
    }
}

pub(super) fn staged(dir: &Path, identity: &Identity) -> PathBuf {
    dir.join(DATA_DIR).join("staged").join(identity.feed.to_string())
}

/// Goes on with the steps that must be done before the store is opened, if a rejoin was interrupted.
///
/// # Errors
/// The files cannot be read, renamed or written.
pub(crate) fn resume(dir: &Path) -> Result<(), AppError> {
    let Some(state) = State::read(dir)?.filter(|state| state.phase == Phase::Agreed) else {
        return Ok(());
    };
    tracing::warn!("a rejoin was interrupted and goes on");
    keys::keep(&dir.join(KEYS_DIR), &state.identity)?;
    let current = dir.join(DATA_DIR).join("journal").join(state.identity.feed.to_string());
    swap_journals(&current, &state.staged(dir), &state.aside(dir))?;
    Ok(state.writing().write(dir)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use liandong_core::id::{FeedId, InstanceId};

    use super::*;

    /// A node's directory as a crash leaves it after so many steps of the swap.
    fn crashed(dir: &Path, steps: usize) -> State {
        let (feed, instance) = (FeedId::new([7; 16]), InstanceId::new([8; 16]));
        let identity = Identity { feed, instance, incarnation: 2 };
        let state = State::agreed(identity, Head::EMPTY, Head::EMPTY, 5);
        fs::create_dir_all(dir.join(KEYS_DIR)).unwrap();
        state.write(dir).unwrap();
        let current = dir.join(DATA_DIR).join("journal").join(feed.to_string());
        for (at, what) in [(&current, "old"), (&state.staged(dir), "mirror")] {
            fs::create_dir_all(at).unwrap();
            fs::write(at.join("1.seg"), what).unwrap();
        }
        if steps > 0 {
            fs::rename(&current, state.aside(dir)).unwrap();
        }
        if steps > 1 {
            fs::rename(state.staged(dir), &current).unwrap();
        }
        if steps > 2 {
            state.writing().write(dir).unwrap();
        }
        state
    }

    #[test]
    fn a_swap_that_was_interrupted_anywhere_ends_the_same() {
        for steps in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let state = crashed(dir.path(), steps);
            for _start in 0..2 {
                resume(dir.path()).unwrap();
                let read = |at: PathBuf| fs::read_to_string(at.join("1.seg")).unwrap();
                let journals = dir.path().join(DATA_DIR).join("journal");
                assert_eq!(read(journals.join(state.identity.feed.to_string())), "mirror");
                assert_eq!(read(state.aside(dir.path())), "old", "after {steps} steps");
                let now = State::read(dir.path()).unwrap().unwrap();
                assert_eq!(now, state.writing(), "after {steps} steps");
            }
            if steps < 3 {
                assert!(dir.path().join(KEYS_DIR).join("identity.json").exists());
            }
        }
    }

    #[test]
    fn without_a_rejoin_under_way_nothing_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        resume(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
