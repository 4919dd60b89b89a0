//! The lock on a data directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::output::{Exit, Explain, Failure};

/// Name of the lock file in the data directory.
const FILE: &str = "lock";

/// The right to write a data directory, until dropped. The system takes it back when the process
/// dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a data directory was not locked.
#[derive(Debug, thiserror::Error)]
pub enum Locked {
    /// Another process has it.
    #[error("{dir} is in use by another process{}", number(*pid, " (", ")"))]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The other process, if it wrote its number.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {dir}: {source}")]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn number(pid: Option<u32>, before: &str, after: &str) -> String {
    pid.map_or_else(String::new, |pid| format!("{before}{pid}{after}"))
}

impl Explain for Locked {
    fn explain(&self) -> Failure {
        let en = self.to_string();
        match self {
            Self::Held { dir, pid } => {
                let who = number(*pid, "（进程号 ", "）");
                let zh = format!("目录 {} 正被另一进程使用{who}", dir.display());
                Failure::new("directory_in_use", Exit::Conflict, zh, en).remedy(
                    "先停止该进程，或为本进程另指定数据目录",
                    "stop that process first, or give this one another data directory",
                )
            }
            Self::Io { dir, source } => {
                let zh = format!("无法锁定目录 {}：{source}", dir.display());
                Failure::new("directory_not_usable", Exit::Error, zh, en).remedy(
                    "检查目录是否存在、当前用户可否写入",
                    "check that the directory exists and this user may write it",
                )
            }
        }
    }
}

impl Lock {
    /// Takes the lock or says at once who has it.
    ///
    /// # Errors
    /// See [`Locked`].
    pub fn acquire(dir: &Path) -> Result<Self, Locked> {
        let fault = |source| Locked::Io { dir: dir.to_owned(), source };
        // The file stays when the lock is gone: removing it would let two processes lock two files
        // of one name.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(dir.join(FILE)).map_err(fault)?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _unknown_then = file.read_to_string(&mut text);
                return Err(Locked::Held { dir: dir.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(fs4::TryLockError::Error(source)) => return Err(fault(source)),
        }
        file.set_len(0).map_err(fault)?;
        file.rewind().map_err(fault)?;
        writeln!(file, "{}", std::process::id()).map_err(fault)?;
        Ok(Self { _file: file })
    }
}
