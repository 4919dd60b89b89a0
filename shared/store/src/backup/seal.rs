//! The seal behind a backup: a frame that `zstd` skips, with the SHA-256 of all bytes before it.

use std::{
    fs, io,
    io::{Read, Seek as _, SeekFrom, Write},
    path::Path,
};

use liandong_core::id::Hash;
use sha2::{Digest as _, Sha256};

use super::BackupError;

/// First of the magic numbers that `zstd` skips, little-endian as it stands in the file.
const SKIPPED: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const MAGIC: &[u8; 8] = b"LDBACKUP";
const CONTENT: usize = MAGIC.len() + 32;
/// Bytes of the seal.
const SEAL: usize = SKIPPED.len() + 4 + CONTENT;
const BUFFER: usize = 256 * 1024;

fn seal(hash: &Hash) -> Vec<u8> {
    let length = u32::try_from(CONTENT).unwrap_or(u32::MAX).to_le_bytes();
    [SKIPPED.as_slice(), &length, MAGIC, hash.as_bytes()].concat()
}

/// Writes a file and its seal.
#[derive(Debug)]
pub(super) struct Sealing {
    file: fs::File,
    sha: Sha256,
    bytes: u64,
}

impl Sealing {
    pub(super) fn new(file: fs::File) -> Self {
        Self { file, sha: Sha256::new(), bytes: 0 }
    }

    /// Seals the file and makes it durable. Returns its size.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let seal = seal(&Hash::new(self.sha.finalize().into()));
        self.file.write_all(&seal)?;
        self.file.sync_all()?;
        Ok(self.bytes + seal.len() as u64)
    }
}

impl Write for Sealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    sha: Sha256,
    bytes: u64,
}

impl<R> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, sha: Sha256::new(), bytes: 0 }
    }

    /// Bytes that were read, and their hash.
    pub(super) fn finish(self) -> (u64, Hash) {
        (self.bytes, Hash::new(self.sha.finalize().into()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.inner.read(buffer)?;
        self.sha.update(&buffer[..size]);
        self.bytes += size as u64;
        Ok(size)
    }
}

/// Checks the seal of a file; gives the file, at its beginning, without the seal, and its whole size.
pub(super) fn open(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(io::Take<fs::File>, u64), BackupError> {
    let io = |source| BackupError::Io { path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let Some(content) = size.checked_sub(SEAL as u64) else {
        return Err(BackupError::NotWhole(path.to_owned()));
    };
    let mut sha = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < content {
        let room = usize::try_from(content - done).unwrap_or(BUFFER).min(BUFFER);
        file.read_exact(&mut buffer[..room]).map_err(io)?;
        sha.update(&buffer[..room]);
        done += room as u64;
        progress(done, content);
    }
    let mut found = vec![0; SEAL];
    file.read_exact(&mut found).map_err(io)?;
    let expected = seal(&Hash::new(sha.finalize().into()));
    if found[..SEAL - 32] != expected[..SEAL - 32] {
        return Err(BackupError::NotWhole(path.to_owned()));
    }
    if found != expected {
        let what = "the seal does not fit the content".to_owned();
        return Err(BackupError::Damaged { path: path.to_owned(), what });
    }
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    Ok((file.take(content), size))
}
