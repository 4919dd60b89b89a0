//! What a process knows of its backups.

use std::path::{Path, PathBuf};

use liandong_store::backup::Scope;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;

use super::Taken;
use crate::{
    clock,
    config::{Backup, write_private},
    output::Failure,
    site::{BackupFailed, BackupStatus, BackupVerified},
};

/// Where it is kept in the process's directory.
pub(super) const FILE: &str = "backups.json";
const HOUR_MS: i64 = 3_600_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Book {
    verified: Option<BackupVerified>,
    failed: Option<BackupFailed>,
    /// When the schedule last made one that was verified, milliseconds since 1970.
    scheduled_ms: Option<i64>,
}

/// The backups of one process.
#[derive(Debug)]
pub struct Backups {
    dir: PathBuf,
    config: Backup,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    book: Mutex<Book>,
}

impl Backups {
    /// Reads what was kept in the process's directory; a missing or damaged file means that nothing is known.
    pub fn read(dir: &Path, config: &Backup) -> Self {
        let text = std::fs::read(dir.join(FILE)).unwrap_or_default();
        let book = serde_json::from_slice(&text).unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            config: config.clone(),
            turn: tokio::sync::Mutex::new(()),
            book: Mutex::new(book),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn config(&self) -> &Backup {
        &self.config
    }

    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Keeps what came of a backup.
    pub(super) fn note(&self, taken: &Result<Taken, Failure>) {
        self.change(|book| match taken {
            Ok(taken) => {
                let about = &taken.checked.about;
                tracing::info!(
                    file = %taken.file.display(),
                    bytes = taken.checked.bytes,
                    ops = taken.checked.report.ops,
                    took_ms = taken.took_ms,
                    "a backup was made, restored and verified"
                );
                book.failed = None;
                book.verified = Some(BackupVerified {
                    at_ms: about.created_ms,
                    file: taken.file.display().to_string(),
                    bytes: taken.checked.bytes,
                    ops: taken.checked.report.ops,
                    records: taken.checked.report.live,
                    took_ms: taken.took_ms,
                    keys: about.scope == Scope::Whole,
                });
            }
            Err(failure) => {
                tracing::error!(error = %failure, detail = %failure.detail, "a backup failed");
                let explain = format!("{} / {}", failure.message_zh, failure.message_en);
                book.failed = Some(BackupFailed { at_ms: clock::now_ms(), explain });
            }
        });
    }

    pub(super) fn scheduled(&self, at_ms: i64) {
        self.change(|book| book.scheduled_ms = Some(at_ms));
    }

    /// When the schedule wants the next one, milliseconds since 1970. One that failed is tried again after an hour.
    pub(super) fn due_ms(&self) -> i64 {
        let book = self.book.lock();
        let every = i64::from(self.config.every_hours) * HOUR_MS;
        let next = book.scheduled_ms.map_or(0, |at| at + every);
        let again = book.failed.as_ref().map_or(0, |failed| failed.at_ms + HOUR_MS);
        next.max(again)
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        let mut book = self.book.lock();
        change(&mut book);
        let text = serde_json::to_vec_pretty(&*book).unwrap_or_default();
        if let Err(error) = write_private(&self.dir.join(FILE), &text) {
            tracing::warn!(%error, "what came of the backup cannot be kept");
        }
    }

    /// For the status document; nothing where there were no backups and none are asked for.
    pub fn status(&self) -> Option<BackupStatus> {
        let Book { verified, failed, .. } = self.book.lock().clone();
        let every_hours = self.config.dir.is_some().then_some(self.config.every_hours);
        let late = 2 * i64::from(self.config.every_hours) * HOUR_MS;
        let fresh = verified.as_ref().is_some_and(|last| clock::now_ms() - last.at_ms <= late);
        let overdue = every_hours.is_some() && !fresh;
        let any = every_hours.is_some() || verified.is_some() || failed.is_some();
        any.then_some(BackupStatus { every_hours, verified, failed, overdue })
    }
}
