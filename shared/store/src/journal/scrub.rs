//! Erasing in journals that were set aside: damaged ones, those of a tail that was given up, archived tails.
//!
//! Nobody appends to them, and they may be damaged. Whole ops stay, those that are named without their content. Bytes
//! that cannot be read stay too, unless an op that is named is not among the readable ones: it may be in there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use liandong_core::{
    id::{FeedId, Hash},
    op::Op,
};

use super::{DRAFT, segment};
use crate::{
    disk::{Disk as _, RealDisk},
    error::StoreError,
};

/// What is to be erased of a feed, wherever it is kept. A node that joined again has written some ops twice: they are
/// the same by their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erasures {
    pub(crate) ops: BTreeSet<Hash>,
    pub(crate) payloads: BTreeSet<Hash>,
}

impl Erasures {
    /// Whether an op must lose its content.
    pub fn name(&self, op: &Op) -> bool {
        let named = self.ops.contains(&op.hash) || self.payloads.contains(&op.payload_hash);
        named && !op.signed.withheld
    }
}

fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "seg") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Erases what is named in the segments of one directory. Whatever a crash leaves is the old file or the new one.
/// Returns how many ops lost their content.
///
/// # Errors
/// `Io`.
pub fn scrub(dir: &Path, erasures: &BTreeMap<FeedId, Erasures>) -> Result<usize, StoreError> {
    let paths = segments(dir).map_err(StoreError::io(dir))?;
    let (mut feeds, mut found) = (BTreeSet::new(), BTreeSet::new());
    for path in &paths {
        let bytes = fs::read(path).map_err(StoreError::io(path))?;
        for op in segment::records(&bytes).filter_map(|(_, at)| Op::parse(at.op).ok()) {
            feeds.insert(op.feed);
            found.insert(op.hash);
        }
    }
    let hidden = |(feed, named): (&FeedId, &Erasures)| {
        (feeds.is_empty() || feeds.contains(feed)) && !named.ops.is_subset(&found)
    };
    let hidden = erasures.iter().any(hidden);
    let mut erased = 0;
    for path in paths {
        let bytes = fs::read(&path).map_err(StoreError::io(&path))?;
        let (out, count) = without(&bytes, erasures, hidden);
        if out != bytes {
            replace(dir, &path, &out).map_err(StoreError::io(&path))?;
            tracing::info!(path = %path.display(), count, "content was erased that was set aside");
        }
        erased += count;
    }
    Ok(erased)
}

/// A segment's bytes without what is named; `hidden` when what cannot be read has to go too.
fn without(bytes: &[u8], all: &BTreeMap<FeedId, Erasures>, hidden: bool) -> (Vec<u8>, usize) {
    let mut at = segment::header_end(bytes);
    let mut out = bytes[..at].to_vec();
    let mut erased = 0;
    let keep = |out: &mut Vec<u8>, unread: &[u8]| {
        if !hidden {
            out.extend_from_slice(unread);
        }
    };
    for (begin, record) in segment::records(bytes) {
        keep(&mut out, bytes.get(at..begin).unwrap_or_default());
        at = record.next;
        let op = Op::parse(record.op.clone());
        let named = op.is_ok_and(|op| all.get(&op.feed).is_some_and(|named| named.name(&op)));
        erased += usize::from(named);
        let op = if named { record.op.withhold() } else { record.op };
        segment::write_op(&mut out, &op, record.durable);
    }
    keep(&mut out, &bytes[at..]);
    (out, erased)
}

fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("seg{DRAFT}"));
    let file = RealDisk.open(&draft, true)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    RealDisk.rename(&draft, path)?;
    RealDisk.sync_dir(dir)
}
