//! The journal of one feed: segment files of checksummed ops. It is the database; all else is derived from it.
//!
//! A segment begins with a header record and holds ops in order. What was half written when the power went is at
//! the very
//! end and is cut off, because it was never acknowledged. Damage before something that was durable is something
//! else: it
//! is reported with its place and nothing is cut.

mod scrub;
mod segment;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{
    id::{FeedId, Hash, Head},
    limit,
    mutant::{self, Mutant},
    op::Op,
};

use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
};
pub use scrub::{Erasures, scrub};
use segment::{Found, RecordAt, SegmentHeader};

/// End of the name of a file that is to take a segment's place.
const DRAFT: &str = ".draft";

#[derive(Debug)]
struct Segment {
    first_seq: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
}

/// The ops of one feed on disk.
#[derive(Debug)]
pub struct Journal {
    feed: FeedId,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    segments: Vec<Segment>,
    /// What the first op follows; nothing, but in a piece of a feed.
    base: Head,
    /// Where an op begins in its segment, by its distance from the first.
    offsets: Vec<u64>,
    written: Head,
    durable: Head,
    segment_bytes_max: u64,
    /// What cannot be read; the ops before it can, and nothing is written.
    damage: Option<Damage>,
}

/// Where a journal is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Segment file.
    pub path: PathBuf,
    /// Where in it, bytes.
    pub offset: u64,
    /// First op that cannot be read.
    pub seq: u64,
    /// What is wrong.
    pub reason: String,
}

impl From<Damage> for StoreError {
    fn from(damage: Damage) -> Self {
        let Damage { path, offset, seq, reason } = damage;
        Self::Damaged { path, offset, seq, reason }
    }
}

impl Journal {
    /// Opens the journal of a feed, reading every record. A missing directory is an empty journal.
    ///
    /// # Errors
    /// `Io`; `Damaged` when ops cannot be read that have readable ones after them.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, feed: FeedId) -> Result<Self, StoreError> {
        Self::open_after(disk, dir, feed, Head::EMPTY)
    }

    /// Opens a piece of a feed: the ops after `base`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_after(
        disk: Arc<dyn Disk>,
        dir: &Path,
        feed: FeedId,
        base: Head,
    ) -> Result<Self, StoreError> {
        let journal = Self::open_readable(disk, dir, feed, base)?;
        match journal.damage {
            Some(damage) => Err(damage.into()),
            None => Ok(journal),
        }
    }

    /// Opens what can be read: of a damaged journal the ops before the damage, and nothing is written to it.
    ///
    /// # Errors
    /// `Io`.
    pub fn open_readable(
        disk: Arc<dyn Disk>,
        dir: &Path,
        feed: FeedId,
        base: Head,
    ) -> Result<Self, StoreError> {
        disk.create_dir(dir).map_err(StoreError::io(dir))?;
        let mut journal = Self {
            feed,
            dir: dir.to_owned(),
            disk,
            segments: Vec::new(),
            base,
            offsets: Vec::new(),
            written: base,
            durable: base,
            segment_bytes_max: limit::SEGMENT_BYTES_MAX,
            damage: None,
        };
        let names = journal.disk.list(dir).map_err(StoreError::io(dir))?;
        // What was written to take a segment's place and did not.
        for draft in names.iter().filter(|name| name.ends_with(DRAFT)) {
            journal.disk.remove(&dir.join(draft)).map_err(StoreError::io(dir))?;
        }
        let names: Vec<_> = names
            .into_iter()
            .filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "seg"))
            .collect();
        for (position, name) in names.iter().enumerate() {
            journal.load(&dir.join(name), position + 1 == names.len())?;
            if journal.damage.is_some() {
                break;
            }
        }
        // A process that was killed may have written what it read back here without a sync. Whatever this journal
        // calls durable is told to the other side, so it is made so first.
        if let Some(last) = journal.segments.last() {
            last.file.sync().map_err(StoreError::io(&last.path))?;
            journal.disk.sync_dir(dir).map_err(StoreError::io(dir))?;
        }
        journal.durable = journal.written;
        Ok(journal)
    }

    /// Makes segments small, for tests of many segments.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes_max = bytes;
        self
    }

    fn load(&mut self, path: &Path, last: bool) -> Result<(), StoreError> {
        let io = |error| StoreError::Io { path: path.to_owned(), source: error };
        let file = self.disk.open(path, false).map_err(io)?;
        let size = usize::try_from(file.size().map_err(io)?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        file.read_at(&mut bytes, 0).map_err(io)?;
        let expected = SegmentHeader { feed: self.feed, after: self.written };
        let damaged = |offset: usize, seq, reason| {
            Some(Damage { path: path.to_owned(), offset: offset as u64, seq, reason })
        };
        let first_seq = self.written.seq + 1;
        let body = match segment::read_header(&bytes, &expected) {
            Ok(body) => body,
            // A header is durable before the first op is written, so without header and op nothing was acknowledged.
            Err(_)
                if last && !segment::has_header(&bytes) && !segment::was_durable(&bytes, 0, 0) =>
            {
                return self.disk.remove(path).map_err(io);
            }
            Err(reason) => {
                self.damage = damaged(0, first_seq, reason);
                return Ok(());
            }
        };
        let mut at = body;
        let mut offsets = Vec::new();
        let mut head = self.written;
        while at < bytes.len() {
            match self.take(&bytes, at, head) {
                Ok((op, next)) => {
                    head = op.head();
                    offsets.push(at as u64);
                    at = next;
                }
                Err(_)
                    if mutant::active(Mutant::CutDamage)
                        || (last && !segment::was_durable(&bytes, at + 1, head.seq + 1)) =>
                {
                    file.truncate(at as u64).map_err(io)?;
                    file.sync().map_err(io)?;
                    break;
                }
                Err(reason) => {
                    self.damage = damaged(at, head.seq + 1, reason);
                    break;
                }
            }
        }
        self.written = head;
        self.offsets.append(&mut offsets);
        let segment = Segment { first_seq, path: path.to_owned(), file, size: at as u64 };
        self.segments.push(segment);
        Ok(())
    }

    fn take(&self, bytes: &[u8], at: usize, head: Head) -> Result<(Op, usize), String> {
        match segment::read_record(bytes, at) {
            Found::Op(RecordAt { op, next, .. }) => {
                let op = Op::parse(op).map_err(|fault| fault.to_string())?;
                op.follows(self.feed, head).map_err(|fault| fault.to_string())?;
                Ok((op, next))
            }
            Found::Bad(reason) => Err(reason.to_owned()),
        }
    }

    /// Ops that survive a crash.
    pub fn head(&self) -> Head {
        if mutant::active(Mutant::AckBeforeFsync) { self.written } else { self.durable }
    }

    /// Last op that was written, durable or not; the next append follows it.
    pub const fn written(&self) -> Head {
        self.written
    }

    /// What cannot be read, if anything.
    pub const fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Whole ops of the feed after a position, found anywhere in the segments of a damaged journal; ascending, without
    /// regard to gaps.
    ///
    /// # Errors
    /// `Io`.
    pub fn salvage(&self, after: u64) -> Result<Vec<Op>, StoreError> {
        let mut found = BTreeMap::new();
        for name in self.disk.list(&self.dir).map_err(StoreError::io(&self.dir))? {
            let path = self.dir.join(name);
            if path.extension().is_none_or(|kind| kind != "seg") {
                continue;
            }
            let file = self.disk.open(&path, false).map_err(StoreError::io(&path))?;
            let size = usize::try_from(file.size().map_err(StoreError::io(&path))?);
            let mut bytes = vec![0; size.unwrap_or(usize::MAX)];
            file.read_at(&mut bytes, 0).map_err(StoreError::io(&path))?;
            let whole = segment::records(&bytes).filter_map(|(_, at)| Op::parse(at.op).ok());
            let ours = whole.filter(|op| op.feed == self.feed && op.seq > after);
            found.extend(ours.map(|op| (op.seq, op)));
        }
        Ok(found.into_values().collect())
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Writes ops after the head; they count only after [`Self::durable_up_to`].
    ///
    /// # Errors
    /// `Moved` when an op does not follow, `Damaged`, and then nothing is written; `Io`, after which the journal must
    /// not be used.
    pub fn append(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone().into());
        }
        let mut head = self.written;
        for op in ops {
            if op.follows(self.feed, head).is_err() {
                return Err(StoreError::Moved { feed: self.feed, head: self.written });
            }
            head = op.head();
        }
        let mut bytes = Vec::new();
        for op in ops {
            if self.segments.last().is_none_or(|segment| segment.size >= self.segment_bytes_max) {
                self.begin_segment()?;
            }
            let Some(segment) = self.segments.last_mut() else { return Err(StoreError::Closed) };
            bytes.clear();
            segment::write_op(&mut bytes, &op.signed, self.durable.seq);
            let io = |error| StoreError::Io { path: segment.path.clone(), source: error };
            segment.file.write_at(&bytes, segment.size).map_err(io)?;
            self.offsets.push(segment.size);
            segment.size += bytes.len() as u64;
            self.written = op.head();
        }
        Ok(())
    }

    /// A new segment: its file and its name are durable before any op goes into it.
    fn begin_segment(&mut self) -> Result<(), StoreError> {
        if let Some(segment) = self.segments.last() {
            segment.file.sync().map_err(StoreError::io(&segment.path))?;
        }
        let first_seq = self.written.seq + 1;
        let path = self.dir.join(format!("{first_seq:020}.seg"));
        let mut bytes = Vec::new();
        segment::write_header(&mut bytes, &SegmentHeader { feed: self.feed, after: self.written });
        let begin = || {
            let file = self.disk.open(&path, true)?;
            file.truncate(0)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        };
        let file = begin().map_err(StoreError::io(&path))?;
        self.segments.push(Segment { first_seq, path, file, size: bytes.len() as u64 });
        Ok(())
    }

    /// The file to sync for what was written so far, and the head that is durable afterwards. Syncing needs no
    /// lock on the
    /// journal, so readers go on.
    pub fn to_sync(&self) -> Option<(Arc<dyn DiskFile>, Head)> {
        let segment = self.segments.last()?;
        (self.written != self.durable).then(|| (Arc::clone(&segment.file), self.written))
    }

    /// What [`Self::to_sync`] gave was synced.
    pub fn durable_up_to(&mut self, head: Head) {
        if head.seq > self.durable.seq {
            self.durable = head;
        }
    }

    /// Writes and syncs in one go.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_durably(&mut self, ops: &[Op]) -> Result<Head, StoreError> {
        self.append(ops)?;
        if let Some((file, head)) = self.to_sync() {
            file.sync().map_err(StoreError::io(&self.dir))?;
            self.durable_up_to(head);
        }
        Ok(self.durable)
    }

    /// The segments with what is durable of them: name, file and bytes. They can be read without this journal, however
    /// far it goes on meanwhile.
    pub(crate) fn pieces(&self) -> Vec<(String, Arc<dyn DiskFile>, u64)> {
        let next = self.durable.seq + 1;
        let index = usize::try_from(self.durable.seq - self.base.seq).unwrap_or(usize::MAX);
        let begun = self.segments.iter().filter(|segment| segment.first_seq < next);
        begun
            .map(|segment| {
                // What was written and is not durable stands behind what is, in the last segment or in a newer one.
                let written = self.segment_of(next).filter(|last| last.path == segment.path);
                let end = written.and_then(|_| self.offsets.get(index)).copied();
                let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
                (name.into_owned(), Arc::clone(&segment.file), end.unwrap_or(segment.size))
            })
            .collect()
    }

    /// Erases the content of durable ops: their segments are written anew without it, headers and signatures stay,
    /// so that the chain still verifies. Whatever a crash leaves is the old segment or the new one, whole. Nothing may
    /// wait for a sync. Returns how many had content.
    ///
    /// # Errors
    /// `Io`, after which the journal must not be used; `Damaged`.
    pub fn erase(&mut self, seqs: &BTreeSet<u64>) -> Result<usize, StoreError> {
        let mut erased = 0;
        for place in 0..self.segments.len() {
            let first = self.segments[place].first_seq;
            let end =
                self.segments.get(place + 1).map_or(self.durable.seq + 1, |next| next.first_seq);
            let mut wanted = BTreeSet::new();
            for seq in seqs.range(first..end) {
                if self.op(*seq)?.is_some_and(|op| !op.signed.withheld) {
                    wanted.insert(*seq);
                }
            }
            if !wanted.is_empty() {
                erased += wanted.len();
                self.rewrite(place, first..end, &wanted)?;
            }
        }
        Ok(erased)
    }

    fn rewrite(
        &mut self,
        place: usize,
        seqs: Range<u64>,
        without: &BTreeSet<u64>,
    ) -> Result<(), StoreError> {
        let segment = &self.segments[place];
        let path = segment.path.clone();
        let io = |error| StoreError::Io { path: path.clone(), source: error };
        let mut bytes = vec![0; usize::try_from(segment.size).unwrap_or(usize::MAX)];
        segment.file.read_at(&mut bytes, 0).map_err(io)?;
        let base = self.base.seq;
        let index = |seq: u64| usize::try_from(seq - 1 - base).unwrap_or(usize::MAX);
        let begin = self.offsets.get(index(seqs.start)).copied().unwrap_or(segment.size);
        let (mut out, mut offsets) = (Vec::with_capacity(bytes.len()), Vec::new());
        out.extend_from_slice(&bytes[..usize::try_from(begin).unwrap_or(bytes.len())]);
        let mut at = out.len();
        for seq in seqs.clone() {
            let RecordAt { op, durable, next } = match segment::read_record(&bytes, at) {
                Found::Op(found) => found,
                Found::Bad(reason) => {
                    let (offset, reason) = (at as u64, reason.to_owned());
                    return Err(StoreError::Damaged { path, offset, seq, reason });
                }
            };
            offsets.push(out.len() as u64);
            let op = if without.contains(&seq) { op.withhold() } else { op };
            segment::write_op(&mut out, &op, durable);
            at = next;
        }
        let draft = path.with_extension(format!("seg{DRAFT}"));
        let replace = || {
            let file = self.disk.open(&draft, true)?;
            file.truncate(0)?;
            file.write_at(&out, 0)?;
            file.sync()?;
            self.disk.rename(&draft, &path)?;
            self.disk.sync_dir(&self.dir)?;
            self.disk.open(&path, false)
        };
        let file = replace().map_err(io)?;
        let segment = &mut self.segments[place];
        (segment.file, segment.size) = (file, out.len() as u64);
        self.offsets.splice(index(seqs.start)..index(seqs.end), offsets);
        Ok(())
    }

    fn segment_of(&self, seq: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.first_seq <= seq);
        self.segments.get(after.checked_sub(1)?)
    }

    /// One durable op.
    ///
    /// # Errors
    /// `Io`, `Damaged` when the bytes changed since they were written.
    pub fn op(&self, seq: u64) -> Result<Option<Op>, StoreError> {
        if seq <= self.base.seq || seq > self.durable.seq {
            return Ok(None);
        }
        let index = usize::try_from(seq - self.base.seq - 1).unwrap_or(usize::MAX);
        let (Some(offset), Some(segment)) = (self.offsets.get(index), self.segment_of(seq)) else {
            return Ok(None);
        };
        let end = match self.offsets.get(index + 1) {
            Some(next) if next > offset => *next,
            _ => segment.size,
        };
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or(usize::MAX)];
        segment.file.read_at(&mut bytes, *offset).map_err(StoreError::io(&segment.path))?;
        let damaged = |reason: String| StoreError::Damaged {
            path: segment.path.clone(),
            offset: *offset,
            seq,
            reason,
        };
        match segment::read_record(&bytes, 0) {
            Found::Op(found) => {
                let op = Op::parse(found.op).map_err(|fault| damaged(fault.to_string()))?;
                if op.seq == seq { Ok(Some(op)) } else { Err(damaged("another op".to_owned())) }
            }
            Found::Bad(reason) => Err(damaged(reason.to_owned())),
        }
    }

    /// Durable ops after a position: at most `ops` and, beyond the first, `bytes`.
    ///
    /// # Errors
    /// As [`Self::op`].
    pub fn read(&self, after: u64, ops: usize, bytes: usize) -> Result<Vec<Op>, StoreError> {
        let mut found = Vec::new();
        let mut size = 0;
        while found.len() < ops {
            let Some(op) = self.op(after + 1 + found.len() as u64)? else { break };
            size += op.signed.len();
            if !found.is_empty() && size > bytes {
                break;
            }
            found.push(op);
        }
        Ok(found)
    }

    /// The hash of the op at a position; the zero hash at 0.
    ///
    /// # Errors
    /// As [`Self::op`].
    pub fn hash_at(&self, seq: u64) -> Result<Option<Hash>, StoreError> {
        if seq == self.base.seq {
            return Ok(Some(self.base.hash));
        }
        if seq == self.durable.seq {
            return Ok(Some(self.durable.hash));
        }
        Ok(self.op(seq)?.map(|op| op.hash))
    }
}
