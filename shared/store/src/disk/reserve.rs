//! Room on a disk that is kept for the journals: a file that is given up when the disk is full, so that people can go
//! on writing while whatever filled the disk is dealt with.
//!
//! Only a write that found no room is tried again. A sync that failed never is: what the kernel dropped is unknown.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Disk, DiskFile};

/// Bytes written at a time when the room is taken.
static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];

#[derive(Debug)]
struct Room {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    whole: AtomicBool,
}

/// A disk with room kept back; clones share it.
#[derive(Debug, Clone)]
pub struct ReservedDisk(Arc<Room>);

impl ReservedDisk {
    /// Keeps so many bytes in the file `path`, when they are there to be kept.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, bytes: u64) -> Self {
        let reserved = Self(Arc::new(Room { disk, path, bytes, whole: AtomicBool::new(false) }));
        reserved.restock();
        reserved
    }

    /// Whether the room is there. Without it, nothing but journals should be written.
    pub fn is_whole(&self) -> bool {
        self.0.whole.load(Ordering::Acquire)
    }

    /// Takes the room again, once there is space. Returns whether it is there.
    pub fn restock(&self) -> bool {
        if !self.is_whole() {
            let taken = self.0.take().inspect_err(|error| {
                tracing::warn!(%error, "no room can be kept for the journals");
                // Whatever was got of it is worth more free.
                let _gone = self.0.disk.remove(&self.0.path);
            });
            self.0.whole.store(taken.is_ok(), Ordering::Release);
        }
        self.is_whole()
    }
}

impl Room {
    fn take(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path, true)?;
        let mut at = file.size()?;
        while at < self.bytes {
            let piece = usize::try_from(self.bytes - at).unwrap_or(PIECE.len()).min(PIECE.len());
            file.write_at(&PIECE[..piece], at)?;
            at += piece as u64;
        }
        file.sync()?;
        self.disk.sync_dir(self.path.parent().unwrap_or(&self.path))
    }

    /// Does it, and once more with the room given up when the disk was full.
    fn with_room<T>(&self, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(full) if full.kind() == io::ErrorKind::StorageFull => {
                if !self.whole.swap(false, Ordering::AcqRel) {
                    return Err(full);
                }
                tracing::error!("the disk is full; the room kept for the journals is given up");
                self.disk.remove(&self.path)?;
                act()
            }
            done => done,
        }
    }
}

#[derive(Debug)]
struct ReservedFile {
    room: Arc<Room>,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for ReservedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.room.with_room(|| self.file.write_at(bytes, offset))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.file.truncate(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Disk for ReservedDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.with_room(|| self.0.disk.create_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.disk.list(dir)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.with_room(|| self.0.disk.open(path, create))?;
        Ok(Arc::new(ReservedFile { room: Arc::clone(&self.0), file }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.disk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.disk.remove(path)
    }
}
