//! The schedule: a running process makes, restores and verifies a backup by itself, then removes what is too old.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use liandong_store::backup::Scope;

use super::{BackedUp, prefix, take};
use crate::{admin::Progress, clock};

/// A verified backup's name ends so.
const ENDING: &str = ".tar.zst";

/// Makes backups as the configuration says until it is aborted.
pub async fn schedule<A: BackedUp>(app: Arc<A>) {
    let Some(dir) = app.backups().config().dir.clone() else { return };
    let prefix = prefix(&app.about(Scope::Whole));
    if let Err(error) = std::fs::create_dir_all(&dir) {
        tracing::error!(%error, dir = %dir.display(), "the folder for backups cannot be made");
    }
    sweep(&dir, &prefix);
    loop {
        let wait_ms = u64::try_from(app.backups().due_ms() - clock::now_ms()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let taken = take(&app, &dir, Scope::Whole, &Progress::ignored()).await;
        // What went wrong is in the log and in the status, and it is tried again.
        if let Ok(taken) = taken {
            app.backups().scheduled(taken.checked.about.created_ms);
            remove_old(&dir, &prefix, app.backups().config().keep);
        }
    }
}

/// Removes what a process that died has left: half-written backups and directories they were restored into.
fn sweep(dir: &Path, prefix: &str) {
    let draft = format!(".{prefix}");
    for path in entries(dir, &draft) {
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %path.display(), "a leftover cannot be removed");
        }
    }
}

/// Files of a folder whose names begin so, the oldest first: the time is in the name.
fn entries(dir: &Path, begin: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin))
    };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(named).collect();
    found.sort();
    found
}

fn backups(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found = entries(dir, prefix);
    found.retain(|path| path.to_string_lossy().ends_with(ENDING));
    found
}

fn remove_old(dir: &Path, prefix: &str, keep: u32) {
    let found = backups(dir, prefix);
    let old = found.len().saturating_sub(keep as usize);
    for path in &found[..old] {
        match std::fs::remove_file(path) {
            Ok(()) => tracing::info!(path = %path.display(), "an old backup was removed"),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "an old backup cannot be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_backups_of_this_process_go_and_the_newest_stay() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "liandong-hub-aa-1.tar.zst",
            "liandong-hub-aa-2.tar.zst",
            "liandong-hub-aa-3.tar.zst",
            "liandong-hub-bb-1.tar.zst",
            "notes.txt",
            ".liandong-hub-aa-4.tar.zst.77.part",
        ];
        for name in names {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        sweep(dir.path(), "liandong-hub-aa-");
        remove_old(dir.path(), "liandong-hub-aa-", 2);
        let left = |at: usize| dir.path().join(names[at]).exists();
        assert_eq!([0, 1, 2, 3, 4, 5].map(left), [false, true, true, true, true, false]);
    }
}
