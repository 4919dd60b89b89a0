//! The guard: a note of how far the journal was, kept outside the data directory, and the hub's receipts beside it.
//!
//! A directory that came from a backup is behind its guard. Whatever is written then would fork the feed, so nothing is
//! written until the hub has been asked, or a person says that the hub cannot be. The guard follows the journal, never
//! the other way round.
//!
//! Source: FEDERATION 2.5.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use liandong_core::{
    id::{FeedId, Hash, Head},
    limit,
    receipt::Receipt,
};
use liandong_server::{
    config::write_private,
    output::{Exit, Failure},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    feed: FeedId,
    #[serde(flatten)]
    head: Head,
}

#[derive(Debug)]
struct Watch {
    /// What the file says now.
    noted: Option<Head>,
    /// The journal is not what the file says; nothing is written before this is gone.
    ahead: Option<Head>,
}

/// The guard of one feed.
#[derive(Debug)]
pub(crate) struct Guard {
    path: PathBuf,
    feed: FeedId,
    watch: Mutex<Watch>,
}

/// The guard of a node when its configuration names none: beside the node's directory.
pub(crate) fn beside(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_unknown| dir.to_owned());
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    dir.with_file_name(format!("{name}.guard.json"))
}

impl Guard {
    /// Reads the guard and compares it with the journal. A missing or foreign one is no reason to stop.
    pub(crate) fn open(path: PathBuf, feed: FeedId, at: impl Fn(u64) -> Option<Hash>) -> Self {
        let text = std::fs::read(&path).unwrap_or_default();
        let note: Option<Note> = serde_json::from_slice(&text).ok();
        let noted = note.filter(|note| note.feed == feed).map(|note| note.head);
        let ahead = noted.filter(|head| at(head.seq) != Some(head.hash));
        if let Some(head) = ahead {
            tracing::error!(guard = %head, "the journal is behind its guard: restored from a backup?");
        }
        Self { path, feed, watch: Mutex::new(Watch { noted, ahead }) }
    }

    /// Refuses to write while the journal is behind the guard.
    ///
    /// # Errors
    /// The refusal, for people.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(head) = self.watch.lock().ahead else { return Ok(()) };
        Err(Failure::new(
            "behind_guard",
            Exit::Conflict,
            format!(
                "数据目录可能来自旧备份：守护文件记到第 {} 条，日志中没有。与中心核对之前不接受修改",
                head.seq
            ),
            format!(
                "the data directory seems to come from an old backup: the guard knows op {}, the \
                 journal does not; nothing is written before the hub has been asked",
                head.seq
            ),
        )
        .remedy(
            "启动节点并等待连上中心；确实无法连接而必须修改时，加 --offline-override",
            "start the node and wait until it has reached the hub; if that is impossible and it \
             must be, add --offline-override",
        ))
    }

    /// The hub was asked, or a person takes the risk: writing goes on, and the guard follows the journal again.
    pub(crate) fn lift(&self) {
        if self.watch.lock().ahead.take().is_some() {
            tracing::warn!("the guard is lifted");
        }
    }

    /// Notes a durable head of the journal.
    pub(crate) fn note(&self, head: Head) {
        let mut watch = self.watch.lock();
        if watch.ahead.is_some() || watch.noted == Some(head) {
            return;
        }
        let text = serde_json::to_vec(&Note { feed: self.feed, head }).unwrap_or_default();
        match write_private(&self.path, &text) {
            Ok(()) => watch.noted = Some(head),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the guard cannot be kept");
            }
        }
    }
}

/// One receipt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReceipt {
    /// What the hub had stored.
    #[serde(flatten)]
    pub head: Head,
    /// When, by the hub's clock, milliseconds since 1970.
    pub received_at_ms: i64,
    /// The hub's signature, hex.
    pub signature: String,
}

impl KeptReceipt {
    fn of(receipt: &Receipt) -> Self {
        Self {
            head: receipt.head,
            received_at_ms: receipt.received_at_ms,
            signature: hex::encode(&receipt.signature),
        }
    }

    /// Whether the hub's key signed it.
    pub(crate) fn verifies(&self, feed: FeedId, hub_key: &[u8; 32]) -> bool {
        let signature = hex::decode(&self.signature).unwrap_or_default();
        let (head, received_at_ms) = (self.head, self.received_at_ms);
        Receipt { feed, head, received_at_ms, signature }.verifies(hub_key)
    }
}

/// The newest receipts, one line each, the oldest first. They are evidence of what the hub once had.
#[derive(Debug)]
pub(crate) struct Receipts {
    path: PathBuf,
    kept: Mutex<Vec<KeptReceipt>>,
}

impl Receipts {
    /// Reads the receipts beside a guard; a line that was cut off is left out.
    pub(crate) fn open(guard: &Path) -> Self {
        let path = guard.with_extension("receipts.jsonl");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let kept = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { path, kept: Mutex::new(kept) }
    }

    pub(crate) fn all(&self) -> Vec<KeptReceipt> {
        self.kept.lock().clone()
    }

    pub(crate) fn last(&self) -> Option<KeptReceipt> {
        self.kept.lock().last().cloned()
    }

    /// Keeps one more. It is not synced: a power cut may cost the newest.
    pub(crate) fn keep(&self, receipt: &Receipt) {
        let mut kept = self.kept.lock();
        kept.push(KeptReceipt::of(receipt));
        let written = if kept.len() > 2 * limit::RECEIPTS_MAX {
            let old = kept.len() - limit::RECEIPTS_MAX;
            kept.drain(..old);
            write_private(&self.path, lines(&kept).as_bytes())
        } else {
            let line = lines(&kept[kept.len() - 1..]);
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
        };
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "the receipt cannot be kept");
        }
    }
}

fn lines(receipts: &[KeptReceipt]) -> String {
    let line = |receipt| serde_json::to_string(receipt).unwrap_or_default() + "\n";
    receipts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: FeedId = FeedId::new([7; 16]);

    fn head(seq: u64) -> Head {
        Head { seq, hash: Hash::of(&[&seq.to_be_bytes()]) }
    }

    /// The journal of a feed with so many ops.
    fn journal(ops: u64) -> impl Fn(u64) -> Option<Hash> {
        move |seq| (seq <= ops).then(|| head(seq).hash)
    }

    #[test]
    fn a_journal_that_lacks_what_the_guard_knows_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.guard.json");
        Guard::open(path.clone(), FEED, journal(0)).note(head(5));
        let forked = |seq| (seq <= 9).then_some(Hash::ZERO);
        let behind = Guard::open(path.clone(), FEED, journal(4));
        assert!(Guard::open(path.clone(), FEED, forked).check().is_err(), "another history");
        assert!(Guard::open(path.clone(), FEED, journal(5)).check().is_ok());
        assert!(Guard::open(path.clone(), FEED, journal(6)).check().is_ok(), "the guard lags");
        let foreign = Guard::open(path.clone(), FeedId::new([8; 16]), journal(0));
        assert!(foreign.check().is_ok(), "the guard of another feed says nothing");

        let refused = behind.check().unwrap_err();
        assert_eq!(refused.exit, Exit::Conflict.number());
        assert!(refused.message_zh.contains("第 5 条") && refused.message_en.contains("op 5"));
        // It stays so over a restart, and nothing that is noted meanwhile takes it away.
        behind.note(head(4));
        assert!(Guard::open(path.clone(), FEED, journal(4)).check().is_err());
        behind.lift();
        behind.note(head(4));
        assert!(behind.check().is_ok());
        assert!(Guard::open(path, FEED, journal(4)).check().is_ok(), "lifted for good");
    }

    #[test]
    fn the_guard_of_a_directory_is_beside_it() {
        assert_eq!(beside(Path::new("/srv/pudong")), Path::new("/srv/pudong.guard.json"));
        assert_eq!(beside(Path::new("/srv/pudong/")), Path::new("/srv/pudong.guard.json"));
    }

    #[test]
    fn the_newest_receipts_are_kept_and_a_line_that_was_cut_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let guard = dir.path().join("a.guard.json");
        let receipts = Receipts::open(&guard);
        let many = 2 * limit::RECEIPTS_MAX as u64 + 5;
        for seq in 1..=many {
            let signature = vec![1; 64];
            receipts.keep(&Receipt { feed: FEED, head: head(seq), received_at_ms: 0, signature });
        }
        let mut file = std::fs::OpenOptions::new().append(true).open(&receipts.path).unwrap();
        file.write_all(b"{\"seq\":").unwrap();
        let again = Receipts::open(&guard);
        assert_eq!(again.all(), receipts.all());
        assert_eq!(again.last().map(|receipt| receipt.head.seq), Some(many));
        assert!((limit::RECEIPTS_MAX..=2 * limit::RECEIPTS_MAX).contains(&again.all().len()));
    }
}
