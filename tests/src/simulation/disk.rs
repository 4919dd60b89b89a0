//! Simulated disks: where journals stand, and what happens to them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{id::FeedId, op::Op};
use liandong_store::{StoreError, disk::SimDisk, journal::Journal};

use super::{
    invariants::{Violation, broken},
    rng::Rng,
};

/// Small, so that a short life crosses many segments.
const SEGMENT_BYTES: u64 = 3_000;

fn dir_of(feed: FeedId) -> PathBuf {
    Path::new("/feeds").join(feed.to_string())
}

/// Opens a feed's journal as a process does when it starts.
pub(super) fn open(disk: &SimDisk, feed: FeedId) -> Result<Journal, StoreError> {
    let journal = Journal::open(Arc::new(disk.clone()), &dir_of(feed), feed)?;
    Ok(journal.with_segment_bytes(SEGMENT_BYTES))
}

/// All ops of a journal.
pub(super) fn everything(journal: &Journal) -> Result<Vec<Op>, Violation> {
    journal
        .read(0, usize::MAX, usize::MAX)
        .map_err(|error| broken("I3", format!("a journal cannot be read: {error}")))
}

/// The power goes: what was not synced is there, gone, or there in part.
pub(super) fn power_cut(disk: &SimDisk, rng: &mut Rng) {
    match rng.below(4) {
        0 => disk.power_cut(|_| 0),
        1 => disk.power_cut(|unsynced| rng.below(unsynced + 1)),
        _ => disk.power_cut_in_disorder(|| rng.one_in(2)),
    }
}

/// Flips a bit in a segment that is not the last of its feed. Returns how to flip it back.
pub(super) fn flip(disk: &SimDisk, feed: FeedId, rng: &mut Rng) -> Option<(PathBuf, usize, u8)> {
    let dir = dir_of(feed);
    let mut segments: Vec<_> =
        disk.files().into_iter().filter(|(path, _)| path.parent() == Some(&dir)).collect();
    segments.pop()?;
    let (path, size) = segments.get(rng.below(segments.len()))?.clone();
    let (at, bit) = (rng.below(size), 1 << rng.below(8));
    disk.tamper(&path, |bytes| bytes[at] ^= bit);
    Some((path, at, bit))
}
