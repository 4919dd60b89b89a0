//! A disk in memory for tests: it stops at a chosen operation and forgets what was not synced.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile};

/// How the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Everything works.
    Never,
    /// From this operation on (counted from 0) nothing works any more, as if the process was killed there.
    AtOperation(u64),
    /// From this operation on every sync fails; the rest works.
    SyncFailsFrom(u64),
    /// From this operation on the disk is full: half of what is written arrives, then the write fails.
    FullFrom(u64),
    /// The disk holds so many bytes in all: of what goes beyond, half arrives, then the write fails.
    Holds(usize),
}

#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// The name itself survives a power cut.
    named: bool,
    /// What bore the name before, until the directory is synced.
    replaced: Option<Box<Content>>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    crash: Crash,
    operations: u64,
}

/// What is lost or kept as a whole when the power goes, bytes.
const SECTOR_BYTES: usize = 64;

/// The disk; clones share it.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk has failed")
}

impl Default for SimDisk {
    fn default() -> Self {
        let state = State { files: BTreeMap::new(), crash: Crash::Never, operations: 0 };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and fails where the plan says so.
    fn step(&self, sync: bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let at = state.operations;
        state.operations += 1;
        match state.crash {
            Crash::AtOperation(from) if at >= from => Err(failed()),
            Crash::SyncFailsFrom(from) if sync && at >= from => Err(failed()),
            _ => Ok(state),
        }
    }

    /// The same content on another disk, as a backup or a cloned machine has it.
    #[must_use]
    pub fn copied(&self) -> Self {
        let files = self.lock().files.clone();
        let state = State { files, crash: Crash::Never, operations: 0 };
        let copy = Self(Arc::new(Mutex::new(state)));
        copy.power_cut(|unsynced| unsynced);
        copy
    }

    /// Operations so far: the boundaries a test can crash at.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Sets the plan and counts operations from 0 again.
    pub fn plan(&self, crash: Crash) {
        let mut state = self.lock();
        state.crash = crash;
        state.operations = 0;
    }

    /// Power cut: of each file only what was synced remains, plus a part of the rest that `keep` chooses (it is given
    /// the number of unsynced bytes) as a disk would that had begun to write.
    pub fn power_cut(&self, mut keep: impl FnMut(usize) -> usize) {
        let mut state = self.lock();
        for content in state.files.values_mut() {
            if let Some(before) = content.replaced.take()
                && keep(1) == 0
            {
                *content = *before;
            }
        }
        state.files.retain(|_, content| content.named);
        for content in state.files.values_mut() {
            let common = content.durable.len().min(content.current.len());
            let unsynced = content.current.len() - common;
            let kept = common + keep(unsynced).min(unsynced);
            content.current.truncate(kept);
            content.durable = content.current.clone();
        }
        state.crash = Crash::Never;
    }

    /// Power cut on a disk that stores sectors in any order: of what was not synced, `kept` says of each whether it is
    /// there; the others read as zeroes.
    pub fn power_cut_in_disorder(&self, mut kept: impl FnMut() -> bool) {
        let mut state = self.lock();
        state.files.retain(|_, content| content.named);
        for content in state.files.values_mut() {
            let common = content.durable.len().min(content.current.len());
            let mut end = common;
            for from in (common..content.current.len()).step_by(SECTOR_BYTES) {
                let to = (from + SECTOR_BYTES).min(content.current.len());
                if kept() {
                    end = to;
                } else {
                    content.current[from..to].fill(0);
                }
            }
            content.current.truncate(end);
            content.durable = content.current.clone();
        }
        state.crash = Crash::Never;
    }

    /// Changes bytes of a file behind the journal's back.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(content) = self.lock().files.get_mut(path) {
            change(&mut content.current);
            content.durable = content.current.clone();
        }
    }

    /// Bytes of a file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().files.get(path).map(|file| file.current.clone())
    }

    /// Files with their sizes in bytes.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        self.lock().files.iter().map(|(path, file)| (path.clone(), file.current.len())).collect()
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.step(false).map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let names = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.step(false)?;
        if create {
            state.files.entry(path.to_owned()).or_default();
        } else if !state.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        drop(state);
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.step(true)?;
        for (path, content) in &mut state.files {
            if path.parent() == Some(dir) {
                content.named = true;
                content.replaced = None;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step(false)?;
        let mut content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let before = state.files.remove(to);
        content.named |= before.as_ref().is_some_and(|before| before.named);
        content.replaced = before.map(Box::new);
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(false)?.files.remove(path);
        Ok(())
    }
}

impl SimFile {
    fn with<T>(
        &self,
        mut state: MutexGuard<'_, State>,
        act: impl FnOnce(&mut Content) -> io::Result<T>,
    ) -> io::Result<T> {
        act(state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let state = self.disk.step(false)?;
        let size =
            |path| state.files.get(path).map_or(0, |content: &Content| content.current.len());
        let full = match state.crash {
            Crash::FullFrom(from) => state.operations > from,
            Crash::Holds(room) => {
                let grows = (offset + bytes.len()).saturating_sub(size(&self.path));
                state.files.keys().map(size).sum::<usize>() + grows > room
            }
            _ => false,
        };
        let bytes = if full { &bytes[..bytes.len() / 2] } else { bytes };
        self.with(state, |content| {
            let end = offset + bytes.len();
            if content.current.len() < end {
                content.current.resize(end, 0);
            }
            content.current[offset..end].copy_from_slice(bytes);
            if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(self.disk.lock(), |content| {
            let bytes = content.current.get(offset..offset + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(self.disk.lock(), |content| Ok(content.current.len() as u64))
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).map_err(io::Error::other)?;
        self.with(self.disk.step(false)?, |content| {
            content.current.truncate(size);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(self.disk.step(true)?, |content| {
            content.durable = content.current.clone();
            Ok(())
        })
    }
}
