//! One process writes a data directory, and the command line talks to it.
//!
//! A lock file keeps a second process out. A Unix socket in the directory takes commands: one JSON
//! line each, answered by lines of progress and one result. Whoever may open the socket (the
//! directory's owner) may command.
//!
//! The system allows a socket path of about 100 bytes. A longer one is reached through the
//! directory's descriptor,
//! `/proc/self/fd/<n>/admin.sock`, which needs neither a change of directory nor a file elsewhere.

mod client;
mod lock;
mod server;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::call;
pub use lock::{Lock, Locked};
pub use server::{Listener, Progress, serve};

use crate::output::Exit;
/// Why a command failed, as it travels to the command line.
pub use crate::output::Failure as AdminError;

/// Name of the socket in the data directory.
pub const SOCKET: &str = "admin.sock";
/// Largest command, bytes.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Largest line of an answer, bytes: a report of every fault of a large import fits.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest socket path that is used as it is, bytes. Linux allows 107, other systems 103.
const PATH_BYTES_MAX: usize = 100;

/// How far a command is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// So much is done.
    pub done: u64,
    /// Of so much; 0 when not known.
    pub total: u64,
    /// What is being done.
    pub what: String,
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Progress(ProgressReport),
    Ok(Value),
    Error(AdminError),
}

impl Line {
    fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and JSON values always serialize.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// A name for a file in a directory that is short enough for a socket; lives as long as the path is
/// used.
struct ShortPath {
    path: PathBuf,
    _dir: Option<File>,
}

impl ShortPath {
    fn new(dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(name);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path, _dir: None });
        }
        if !cfg!(target_os = "linux") {
            let text = format!("{} is too long a path for a socket", dir.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let dir = File::open(dir)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&dir);
        Ok(Self { path: PathBuf::from(format!("/proc/self/fd/{number}/{name}")), _dir: Some(dir) })
    }
}

fn internal(zh: &str, en: &str) -> AdminError {
    AdminError::new("internal", Exit::Error, zh, en)
}

#[cfg(test)]
mod tests;
