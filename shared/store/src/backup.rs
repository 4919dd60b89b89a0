//! Backups of a whole process: one `.tar.zst` file that is sealed at its end.
//!
//! The journals are cut at one moment while the process goes on writing; of a file that grows only what was durable
//! then is taken. View, index and replica are derived and stay out. The first entry says what the backup is, the last
//! one lists every file with its SHA-256, and behind the compressed stream stands the SHA-256 of all that goes before,
//! in a frame that `zstd` skips: a file that was cut or changed anywhere is told from a whole one without unpacking.

mod check;
mod read;
mod seal;

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::id::{FeedId, Hash, Head};
use serde::{Deserialize, Serialize};

pub use check::Checked;
pub use read::{Unpacked, refuse_occupied, unpack};

use crate::{
    disk::{Disk as _, DiskFile, RealDisk},
    error::StoreError,
    store::Store,
};
use seal::{Hashing, Sealing};

/// Format that is written; older ones can be read.
pub const FORMAT: u32 = 1;
/// First entry: an [`About`].
const ABOUT: &str = "backup.json";
/// Last entry: a list of [`Listed`].
const FILES: &str = "files.json";
/// Compression that costs little more than reading.
const LEVEL: i32 = 3;

/// Why a backup cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// Nothing is overwritten.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// No backup, or only the beginning of one.
    #[error("{0} is not a whole backup")]
    NotWhole(PathBuf),
    /// The seal or a file's hash does not fit.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Made by software that is newer than this.
    #[error("the backup has format {0}, this software reads up to {FORMAT}")]
    Newer(u32),
    /// A journal cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }
}

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything that is not derived.
    Whole,
    /// Everything but what is secret.
    NoKeys,
    /// Only what is secret, and the configuration.
    KeysOnly,
}

/// How far a feed was at the moment of the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Last op in the backup.
    pub head: Head,
    /// Last op that the process had folded then.
    pub applied: Head,
    /// Root of the feed's records at `applied`, as the process had it.
    pub root: Hash,
    /// Hash of what the hub's feed said of the feed when it was folded.
    pub rules: Hash,
    /// Live records at `applied`.
    pub records: u64,
}

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Format of the file.
    pub format: u32,
    /// Software and version that made it.
    pub software: String,
    /// `hub` or `node`.
    pub role: String,
    /// City or district, for people.
    pub name: String,
    /// When the journals were cut, milliseconds since 1970.
    pub created_ms: i64,
    /// What is in it.
    pub scope: Scope,
    /// How often the feed was joined again or the hub rebuilt.
    pub incarnation: u32,
    /// The feed that the process authors.
    pub own_feed: FeedId,
    /// The hub's feed.
    pub hub_feed: FeedId,
    /// First public key of feeds whose keys stand in no directory.
    pub authors: BTreeMap<FeedId, Hash>,
    /// The root that grants the keys of the hub's feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_root: Option<Hash>,
    /// Feeds with journals.
    pub feeds: BTreeMap<FeedId, Mark>,
}

impl About {
    /// Ops in the backup.
    pub fn ops(&self) -> u64 {
        self.feeds.values().map(|mark| mark.head.seq).sum()
    }
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    path: String,
    bytes: u64,
    sha256: Hash,
}

/// Which files of a process go into a backup beside its journals; paths are below `dir`.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Directory of the process.
    pub dir: &'a Path,
    /// The store's directory.
    pub data: &'a str,
    /// What must stay secret.
    pub secret: &'a [&'a str],
    /// What goes with the secrets.
    pub settings: &'a [&'a str],
    /// What is derived or belongs to the running process.
    pub skipped: &'a [&'a str],
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// What the backup says about itself.
    pub about: About,
    /// Size of the file.
    pub bytes: u64,
    /// Files in it.
    pub files: u64,
}

/// One journal segment as far as it counts.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) feed: FeedId,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
}

/// All journals at one moment.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) marks: BTreeMap<FeedId, Mark>,
    pub(crate) pieces: Vec<Piece>,
}

/// Makes a backup at `to`, under another name until it is whole and durable. `about.feeds` is filled in. `progress`
/// hears the bytes that are done and those there are.
///
/// # Errors
/// `Exists`, `Io`.
pub fn create(
    store: &Store,
    contents: &Contents<'_>,
    mut about: About,
    to: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Created, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let name = to.file_name().ok_or(io::ErrorKind::InvalidInput);
    let name = name.map_err(|kind| BackupError::io(to)(kind.into()))?.to_string_lossy();
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let draft = folder.join(format!(".{name}.{}.part", std::process::id()));
    // The files first: what the journals refer to is then at least as old as they are.
    let files = contents.files(about.scope)?;
    let cut = (about.scope != Scope::KeysOnly).then(|| store.cut());
    about.feeds = cut.as_ref().map(|cut| cut.marks.clone()).unwrap_or_default();
    let pieces = cut.map(|cut| cut.pieces).unwrap_or_default();
    let written = write(contents, &about, files, pieces, &draft, &mut progress);
    let finished = written.and_then(|written| {
        fs::rename(&draft, to).map_err(BackupError::io(to))?;
        RealDisk.sync_dir(folder).map_err(BackupError::io(folder))?;
        Ok(written)
    });
    if finished.is_err() {
        // It may hold keys; the first error is the one to tell.
        let _first_error_counts = fs::remove_file(&draft);
    }
    let (bytes, files) = finished?;
    Ok(Created { about, bytes, files })
}

fn write(
    contents: &Contents<'_>,
    about: &About,
    files: Vec<PathBuf>,
    pieces: Vec<Piece>,
    draft: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(u64, u64), BackupError> {
    let io = |source| BackupError::Io { path: draft.to_owned(), source };
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let sealing = Sealing::new(options.open(draft).map_err(io)?);
    let mut encoder = zstd::Encoder::new(sealing, LEVEL).map_err(io)?;
    encoder.include_checksum(true).map_err(io)?;
    let tar = tar::Builder::new(encoder);
    let mut writer = Writer { tar, mtime: about.created_ms / 1000, files: Vec::new() };
    let text = serde_json::to_vec_pretty(about).unwrap_or_default();
    writer.add(ABOUT, text.len() as u64, text.as_slice()).map_err(io)?;
    let total = pieces.iter().map(|piece| piece.bytes).sum();
    let mut done = 0;
    for piece in pieces {
        let path = format!("{}/journal/{}/{}", contents.data, piece.feed, piece.name);
        let bytes = piece.bytes;
        let reader = PieceReader { file: piece.file, at: 0, end: bytes };
        writer.add(&path, bytes, reader).map_err(io)?;
        done += bytes;
        progress(done, total);
    }
    for path in files {
        // Such files are small and replaced as a whole; one that is gone by now was not meant to stay.
        let Ok(bytes) = fs::read(contents.dir.join(&path)) else { continue };
        writer.add(&path.to_string_lossy(), bytes.len() as u64, bytes.as_slice()).map_err(io)?;
    }
    let count = writer.files.len() as u64;
    let text = serde_json::to_vec_pretty(&writer.files).unwrap_or_default();
    writer.add(FILES, text.len() as u64, text.as_slice()).map_err(io)?;
    let encoder = writer.tar.into_inner().map_err(io)?;
    let bytes = encoder.finish().and_then(Sealing::finish).map_err(io)?;
    Ok((bytes, count))
}

struct Writer<'a> {
    tar: tar::Builder<zstd::Encoder<'a, Sealing>>,
    mtime: i64,
    files: Vec<Listed>,
}

impl Writer<'_> {
    fn add(&mut self, path: &str, bytes: u64, read: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.mtime).unwrap_or(0));
        let mut read = Hashing::new(read);
        self.tar.append_data(&mut header, path, &mut read)?;
        let (_, sha256) = read.finish();
        self.files.push(Listed { path: path.to_owned(), bytes, sha256 });
        Ok(())
    }
}

/// The beginning of a file, whatever is appended to it meanwhile.
struct PieceReader {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let size = buffer.len().min(left);
        self.file.read_at(&mut buffer[..size], self.at)?;
        self.at += size as u64;
        Ok(size)
    }
}

impl Contents<'_> {
    /// Files below the directory that the scope asks for, sorted.
    fn files(&self, scope: Scope) -> Result<Vec<PathBuf>, BackupError> {
        let mut found = Vec::new();
        self.walk(Path::new(""), &mut found)?;
        found.retain(|path| {
            let secret = below(path, self.secret);
            match scope {
                Scope::Whole => true,
                Scope::NoKeys => !secret,
                Scope::KeysOnly => secret || below(path, self.settings),
            }
        });
        found.sort();
        Ok(found)
    }

    fn walk(&self, below_dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), BackupError> {
        let dir = self.dir.join(below_dir);
        for entry in fs::read_dir(&dir).map_err(BackupError::io(&dir))? {
            let entry = entry.map_err(BackupError::io(&dir))?;
            let path = below_dir.join(entry.file_name());
            // Names with a dot are drafts of files that are being replaced.
            if entry.file_name().to_string_lossy().starts_with('.') || below(&path, self.skipped) {
                continue;
            }
            match entry.file_type().map_err(BackupError::io(&dir))? {
                kind if kind.is_dir() => self.walk(&path, found)?,
                kind if kind.is_file() => found.push(path),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a path is one of these or below one of them.
fn below(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}
