//! Unpacking: a backup becomes a directory, every file of it compared with the list.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use super::{
    ABOUT, About, BackupError, FILES, FORMAT, Listed,
    seal::{self, Hashing},
};
use crate::disk::{Disk as _, RealDisk};

/// Largest entry that is read into memory: what the backup says about itself and the list of its files.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A backup in a directory of its own, which goes away with this unless it is kept.
#[derive(Debug)]
pub struct Unpacked {
    /// What the backup says about itself.
    pub about: About,
    /// Size of the backup.
    pub bytes: u64,
    /// Files in it, whether they were wanted or not.
    pub files: u64,
    dir: PathBuf,
    kept: bool,
}

/// Unpacks the files that are wanted into a new directory below `scratch`, which only its owner can read.
///
/// # Errors
/// `NotWhole`, `Damaged`, `Newer`, `Io`.
pub fn unpack(
    from: &Path,
    scratch: &Path,
    wanted: impl Fn(&Path) -> bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Unpacked, BackupError> {
    let (content, bytes) = seal::open(from, &mut progress)?;
    let dir = scratch_dir(from, scratch)?;
    let mut reader = Reader { from, dir: &dir, found: Vec::new(), about: None, listed: None };
    let read = reader.read(content, &wanted).and_then(|()| reader.compare());
    match read {
        Ok((about, files)) => Ok(Unpacked { about, bytes, files, dir, kept: false }),
        Err(error) => {
            // The first error is the one to tell.
            let _stays = fs::remove_dir_all(&dir);
            Err(error)
        }
    }
}

fn scratch_dir(from: &Path, scratch: &Path) -> Result<PathBuf, BackupError> {
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 0;
    loop {
        let dir = scratch.join(format!(".{name}.{}-{number}.unpacked", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(BackupError::io(dir)(error)),
        }
    }
}

struct Reader<'a> {
    from: &'a Path,
    dir: &'a Path,
    found: Vec<Listed>,
    about: Option<About>,
    listed: Option<Vec<Listed>>,
}

impl Reader<'_> {
    fn damaged(&self, what: impl Into<String>) -> BackupError {
        BackupError::Damaged { path: self.from.to_owned(), what: what.into() }
    }

    fn read(
        &mut self,
        content: io::Take<fs::File>,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<(), BackupError> {
        let io = |source| BackupError::Io { path: self.from.to_owned(), source };
        let decoder = zstd::Decoder::new(content).map_err(io)?;
        let mut archive = tar::Archive::new(decoder);
        for entry in archive.entries().map_err(io)? {
            let mut entry = entry.map_err(io)?;
            let path = entry.path().map_err(io)?.into_owned();
            let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || !entry.header().entry_type().is_file() || self.listed.is_some() {
                return Err(self.damaged(format!("{} has no place in it", path.display())));
            }
            if self.about.is_none() && path != Path::new(ABOUT) {
                return Err(self.damaged("it does not say what it is"));
            }
            match path.to_str() {
                Some(ABOUT) => {
                    let (text, listed) = self.text(&mut entry)?;
                    self.about = Some(self.about(&text)?);
                    self.found.push(Listed { path: ABOUT.to_owned(), ..listed });
                }
                Some(FILES) => {
                    let (text, _) = self.text(&mut entry)?;
                    let listed = serde_json::from_slice(&text);
                    self.listed = Some(listed.map_err(|bad| self.damaged(bad.to_string()))?);
                }
                _ => self.file(&path, &mut entry, wanted(&path))?,
            }
        }
        Ok(())
    }

    fn about(&self, text: &[u8]) -> Result<About, BackupError> {
        #[derive(serde::Deserialize)]
        struct Format {
            format: u32,
        }
        let bad = |error: serde_json::Error| self.damaged(error.to_string());
        let Format { format } = serde_json::from_slice(text).map_err(bad)?;
        if format > FORMAT {
            return Err(BackupError::Newer(format));
        }
        serde_json::from_slice(text).map_err(bad)
    }

    fn text(&self, entry: &mut dyn io::Read) -> Result<(Vec<u8>, Listed), BackupError> {
        let mut text = Vec::new();
        let mut reader = Hashing::new(entry.take(TEXT_BYTES_MAX));
        reader.read_to_end(&mut text).map_err(BackupError::io(self.from))?;
        let (bytes, sha256) = reader.finish();
        Ok((text, Listed { path: String::new(), bytes, sha256 }))
    }

    fn file(
        &mut self,
        path: &Path,
        entry: &mut dyn io::Read,
        wanted: bool,
    ) -> Result<(), BackupError> {
        let mut reader = Hashing::new(entry);
        if wanted {
            let to = self.dir.join(path);
            let io = |source| BackupError::Io { path: to.clone(), source };
            if let Some(folder) = to.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
            }
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&to).map_err(io)?;
            io::copy(&mut reader, &mut file).map_err(io)?;
        } else {
            io::copy(&mut reader, &mut io::sink()).map_err(BackupError::io(self.from))?;
        }
        let (bytes, sha256) = reader.finish();
        self.found.push(Listed { path: path.to_string_lossy().into_owned(), bytes, sha256 });
        Ok(())
    }

    /// Compares what was found with the list at the end.
    fn compare(&mut self) -> Result<(About, u64), BackupError> {
        let not_whole = || BackupError::NotWhole(self.from.to_owned());
        let about = self.about.take().ok_or_else(not_whole)?;
        let listed = self.listed.take().ok_or_else(not_whole)?;
        let expected: BTreeMap<_, _> = listed.iter().map(|file| (&file.path, file)).collect();
        let found: BTreeMap<_, _> = self.found.iter().map(|file| (&file.path, file)).collect();
        let missing = expected.iter().find(|(path, file)| found.get(*path) != Some(*file));
        if let Some((path, _)) = missing {
            return Err(self.damaged(format!("{path} is missing or not what it was")));
        }
        if found.len() != expected.len() {
            return Err(self.damaged("there are files that the list does not name"));
        }
        Ok((about, listed.len() as u64))
    }
}

impl Unpacked {
    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the files durable and gives them their name. `into` must be missing or empty.
    ///
    /// # Errors
    /// `Exists`, `Io`.
    pub fn keep(mut self, into: &Path) -> Result<(), BackupError> {
        refuse_occupied(into)?;
        sync_tree(&self.dir)?;
        fs::rename(&self.dir, into).map_err(BackupError::io(into))?;
        self.kept = true;
        let folder = into.parent().unwrap_or_else(|| Path::new("."));
        RealDisk.sync_dir(folder).map_err(BackupError::io(folder))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if !self.kept {
            let _stays = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Nothing is restored over a directory that holds anything.
///
/// # Errors
/// `Exists`.
pub fn refuse_occupied(into: &Path) -> Result<(), BackupError> {
    let empty = match fs::read_dir(into) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if empty { Ok(()) } else { Err(BackupError::Exists(into.to_owned())) }
}

fn sync_tree(dir: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(dir).map_err(BackupError::io(dir))? {
        let path = entry.map_err(BackupError::io(dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            let file = fs::File::open(&path).map_err(BackupError::io(&path))?;
            file.sync_all().map_err(BackupError::io(&path))?;
        }
    }
    RealDisk.sync_dir(dir).map_err(BackupError::io(dir))
}
