//! The journal against a disk that stops, forgets, lies and rots (faults F1 to F4 of the federation's design).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

mod common;

use std::{
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use common::{Pen, Rng};
use liandong_core::{
    id::{FeedId, Head},
    op::{Change, Op, OpType},
    record::Visibility,
};
use liandong_store::{
    Options, Store, StoreError,
    disk::{Crash, Disk, ReservedDisk, SimDisk},
    journal::Journal,
};

const FEED: FeedId = FeedId::new([7; 16]);
const DIR: &str = "/data/journal/feed";
/// Small enough for a new segment every three or four ops.
const SEGMENT_BYTES: u64 = 1_200;
/// Ops a batch, as the writer would group them.
const BATCHES: [usize; 10] = [1, 3, 1, 2, 5, 1, 1, 4, 2, 3];
/// Bytes a disk stores or loses as one; smaller than real ones so that short ops span several.
const SECTOR_BYTES: usize = 64;

fn ops_of(feed: u8, count: usize) -> Vec<Op> {
    let mut pen = Pen::new(feed);
    (0..count)
        .map(|n| {
            pen.write(Change {
                kind: OpType::RecordPut,
                subject: vec![1; 32],
                base: None,
                // Sizes differ so that records do not line up with sectors.
                payload: vec![1; n * 37 % 150],
                visibility: Visibility::Public,
            })
        })
        .collect()
}

fn ops() -> Vec<Op> {
    ops_of(7, BATCHES.iter().sum())
}

fn open(disk: &SimDisk) -> Result<Journal, StoreError> {
    let journal = Journal::open(Arc::new(disk.clone()), Path::new(DIR), FEED)?;
    Ok(journal.with_segment_bytes(SEGMENT_BYTES))
}

/// Appends batch after batch, also after a failure, and returns the position of the last one that was acknowledged and
/// whether anything was acknowledged after a failure.
fn run(disk: &SimDisk, ops: &[Op]) -> (u64, bool) {
    let Ok(mut journal) = open(disk) else { return (0, false) };
    let mut left = ops;
    let (mut acked, mut failed, mut after_failure) = (0, false, false);
    for size in BATCHES {
        let (batch, rest) = left.split_at(size);
        left = rest;
        match journal.append_durably(batch) {
            Ok(head) => {
                acked = head.seq;
                after_failure |= failed;
            }
            Err(_) => failed = true,
        }
    }
    (acked, after_failure)
}

/// The journal opens, holds a prefix that covers what was acknowledged, does not lose any of what it says it holds, and
/// goes on to the end.
#[track_caller]
fn assert_recovers(disk: &SimDisk, acked: u64, ops: &[Op], context: &str) {
    let journal = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let head = journal.head();
    assert!(
        head.seq >= acked,
        "{context}: op {acked} was acknowledged, the journal ends at {head}"
    );
    let found = journal.read(0, usize::MAX, usize::MAX).unwrap();
    assert_eq!(found, ops[..found.len()], "{context}: not a prefix");
    assert_eq!(found.len() as u64, head.seq, "{context}");
    drop(journal);
    disk.power_cut(|_unsynced| 0);
    let mut journal =
        open(disk).unwrap_or_else(|error| panic!("{context}, then a power cut: {error}"));
    assert_eq!(journal.head(), head, "{context}: what a journal opens with must be durable");
    journal.append_durably(&ops[found.len()..]).unwrap();
    drop(journal);
    disk.power_cut(|_unsynced| 0);
    let journal = open(disk).unwrap();
    assert_eq!(journal.read(0, usize::MAX, usize::MAX).unwrap(), ops, "{context}: it goes on");
}

/// How many operations the whole script takes.
fn boundaries(ops: &[Op]) -> u64 {
    let disk = SimDisk::default();
    assert_eq!(run(&disk, ops), (ops.len() as u64, false));
    assert!(disk.files().len() >= 5, "the script spans several segments");
    disk.operations()
}

#[test]
fn a_kill_at_any_operation_loses_nothing_that_was_acknowledged() {
    let ops = ops();
    for at in 0..boundaries(&ops) {
        let disk = SimDisk::default();
        disk.plan(Crash::AtOperation(at));
        let (acked, _) = run(&disk, &ops);
        disk.plan(Crash::Never);
        assert_recovers(&disk, acked, &ops, &format!("killed at operation {at}"));
    }
}

#[test]
fn a_kill_while_it_recovers_from_a_kill_loses_nothing_either() {
    let ops = ops();
    for at in 0..boundaries(&ops) {
        for again in 0..6 {
            let disk = SimDisk::default();
            disk.plan(Crash::AtOperation(at));
            let (acked, _) = run(&disk, &ops);
            disk.plan(Crash::AtOperation(again));
            drop(open(&disk));
            disk.plan(Crash::Never);
            assert_recovers(&disk, acked, &ops, &format!("killed at {at}, then at {again}"));
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    let ops = ops();
    for at in 0..boundaries(&ops) {
        for seed in 0..6 {
            let disk = SimDisk::default();
            disk.plan(Crash::AtOperation(at));
            let (acked, _) = run(&disk, &ops);
            let mut rng = Rng(seed);
            disk.power_cut(|unsynced| match seed {
                0 => 0,
                1 => unsynced,
                _ => rng.below(unsynced + 1),
            });
            let context = format!("power cut at operation {at}, seed {seed}");
            assert_recovers(&disk, acked, &ops, &context);
        }
    }
}

/// A disk with `durable` ops acknowledged and `more` written without a sync; the file that holds the latter and the
/// number of its bytes that are durable.
fn half_written(ops: &[Op], durable: usize, more: usize) -> (SimDisk, PathBuf, usize) {
    let disk = SimDisk::default();
    let mut journal = Journal::open(Arc::new(disk.clone()), Path::new(DIR), FEED).unwrap();
    for op in &ops[..durable] {
        journal.append_durably(std::slice::from_ref(op)).unwrap();
    }
    let (file, size) = disk.files().pop().unwrap();
    journal.append(&ops[durable..durable + more]).unwrap();
    (disk, file, size)
}

#[test]
fn a_write_that_was_cut_at_any_byte_is_cut_off_whole() {
    let ops = ops();
    let (disk, file, durable) = half_written(&ops, 4, 3);
    let written = disk.files().iter().find(|(path, _)| *path == file).unwrap().1;
    for kept in 0..=written - durable {
        let (disk, ..) = half_written(&ops, 4, 3);
        disk.power_cut(|_unsynced| kept);
        assert_recovers(&disk, 4, &ops, &format!("{kept} unsynced bytes kept"));
    }
}

#[test]
fn sectors_stored_in_any_order_are_never_taken_for_damage() {
    let ops = ops();
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let (durable, more) = (1 + rng.below(6), 1 + rng.below(6));
        let (disk, file, synced) = half_written(&ops, durable, more);
        disk.tamper(&file, |bytes| {
            for sector in (0..bytes.len()).step_by(SECTOR_BYTES) {
                let end = (sector + SECTOR_BYTES).min(bytes.len());
                let unsynced = &mut bytes[sector.max(synced).min(end)..end];
                match rng.below(4) {
                    0 => unsynced.fill(0),
                    1 => unsynced.iter_mut().for_each(|byte| *byte = rng.next().to_be_bytes()[0]),
                    _ => {}
                }
            }
            if rng.below(3) == 0 {
                bytes.truncate(synced + rng.below(bytes.len() - synced + 1));
            }
        });
        assert_recovers(&disk, durable as u64, &ops, &format!("seed {seed}"));
    }
}

#[test]
fn nothing_is_acknowledged_once_a_sync_has_failed() {
    let ops = ops();
    for from in 0..boundaries(&ops) {
        let disk = SimDisk::default();
        disk.plan(Crash::SyncFailsFrom(from));
        let (acked, after_failure) = run(&disk, &ops);
        assert!(!after_failure, "acknowledged after the sync at operation {from} failed");
        assert!(acked < ops.len() as u64, "the sync at operation {from} failed unnoticed");
        disk.power_cut(|_unsynced| 0);
        assert_recovers(&disk, acked, &ops, &format!("syncs fail from operation {from}"));
    }
}

#[test]
fn a_full_disk_takes_what_people_write_into_the_room_that_was_kept_for_it() {
    let ops = ops();
    let sim = SimDisk::default();
    let used = || sim.files().iter().map(|(_, size)| size).sum::<usize>();
    let disk = ReservedDisk::new(Arc::new(sim.clone()), "/data/reserve".into(), 3_000);
    let journal = Journal::open(Arc::new(disk.clone()), Path::new(DIR), FEED).unwrap();
    let mut journal = journal.with_segment_bytes(SEGMENT_BYTES);
    journal.append_durably(&ops[..3]).unwrap();
    // Somebody else has taken all the rest; of the next op a few bytes find room.
    sim.plan(Crash::Holds(used() + 10));
    let mut saved = 3;
    let full = loop {
        match journal.append_durably(&ops[saved..=saved]) {
            Ok(head) => saved = usize::try_from(head.seq).unwrap(),
            Err(StoreError::Io { source, .. }) => break source,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    assert!((7..ops.len()).contains(&saved), "some fit into 3,000 bytes: {saved}");
    assert!(!disk.is_whole() && !disk.restock(), "the room is used up");
    // Nothing of what was saved is lost, and once there is space everything is as before.
    assert_recovers(&sim.copied(), saved as u64, &ops, "a full disk");
    sim.plan(Crash::Never);
    assert!(disk.restock() && used() > 3_000);
    let mut journal = Journal::open(Arc::new(disk), Path::new(DIR), FEED).unwrap();
    assert_eq!(journal.append_durably(&ops[saved..]).unwrap(), ops[ops.len() - 1].head());
}

/// Where an op lies on the disk.
#[derive(Debug, Clone)]
struct Place {
    file: PathBuf,
    from: usize,
    to: usize,
}

/// Bytes of a segment's own header: length, checksum, kind, magic, feed, position, hash.
const HEADER_BYTES: usize = 4 + 4 + 1 + 8 + 16 + 8 + 32;

/// A journal of the whole script, the place of each of its ops, and the position up to which the last batch found
/// everything durable.
fn laid_out(ops: &[Op]) -> (SimDisk, Vec<Place>, u64) {
    let twin = SimDisk::default();
    let mut journal = open(&twin).unwrap();
    let mut places: Vec<Place> = Vec::new();
    for op in ops {
        journal.append(std::slice::from_ref(op)).unwrap();
        let (file, to) = twin.files().pop().unwrap();
        let from =
            places.last().filter(|last| last.file == file).map_or(HEADER_BYTES, |last| last.to);
        places.push(Place { file, from, to });
    }
    let disk = SimDisk::default();
    assert_eq!(run(&disk, ops).0, ops.len() as u64);
    assert_eq!(disk.files(), twin.files(), "segments do not depend on the batches");
    let last_batch = BATCHES.last().copied().unwrap_or_default();
    (disk, places, (ops.len() - last_batch) as u64)
}

/// What is before a damaged op can be read, nothing can be added, and every other op can be saved.
fn assert_readable(disk: &SimDisk, ops: &[Op], seq: u64, header_only: bool, context: &str) {
    let (disk, dir) = (Arc::new(disk.clone()), Path::new(DIR));
    let mut journal = Journal::open_readable(disk, dir, FEED, Head::EMPTY).unwrap();
    let damage = journal.damage().cloned().unwrap();
    assert_eq!((journal.head().seq, damage.seq), (seq - 1, seq), "{context}");
    let at = usize::try_from(seq).unwrap() - 1;
    assert_eq!(journal.read(0, ops.len(), usize::MAX).unwrap(), ops[..at], "{context}");
    let refused = journal.append(&ops[at..=at]);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{context}: {refused:?}");
    let saved = journal.salvage(seq - 1).unwrap();
    assert_eq!(saved, ops[at + usize::from(!header_only)..], "{context}");
}

/// What F4 promises, exactly. Every record tells up to where the feed was durable when it was written, so:
///
/// * in any segment but the last, and up to the position that the last batch found durable, a flipped bit is reported
///   with file, offset and op, and the file is left as it is;
/// * in the last batch (the ops that one sync made durable together) no record says that the batch ever was. There a
///   flipped bit cannot be told from a write that was interrupted, and the journal ends before the op. The other side
///   holds it: the hub's mirror is then ahead (`ROLLBACK`) or the node sends it again (`EXTEND`).
#[test]
fn a_flipped_bit_is_reported_with_its_place_or_lies_in_the_last_batch() {
    let ops = ops();
    let (_, places, certain) = laid_out(&ops);
    let (mut reported, mut cut_off) = (0, 0);
    for seed in 0..1_000 {
        let (disk, ..) = laid_out(&ops);
        let mut rng = Rng(seed);
        let files = disk.files();
        let (file, size) = files[rng.below(files.len())].clone();
        let (offset, bit) = (rng.below(size), rng.below(8));
        disk.tamper(&file, |bytes| bytes[offset] ^= 1 << bit);
        let hit = places
            .iter()
            .position(|place| place.file == file && (offset < place.to || offset < HEADER_BYTES));
        let hit = hit.unwrap();
        let (seq, from) = match &places[hit] {
            _ if offset < HEADER_BYTES => (hit as u64 + 1, 0),
            place => (hit as u64 + 1, place.from),
        };
        let last = files.last().is_some_and(|(last, _)| *last == file);
        let context = format!("seed {seed}: {} byte {offset} bit {bit}, op {seq}", file.display());
        match open(&disk) {
            Err(StoreError::Damaged { path, offset: at, seq: found, .. }) => {
                assert_eq!((path, at, found), (file.clone(), from as u64, seq), "{context}");
                assert_eq!(disk.files(), files, "{context}: nothing is cut");
                assert_readable(&disk, &ops, seq, offset < HEADER_BYTES, &context);
                reported += 1;
            }
            Err(other) => panic!("{context}: {other}"),
            Ok(journal) => {
                let certain = !last || seq <= certain || offset < HEADER_BYTES;
                assert!(!certain, "{context}: not noticed, the journal ends at {}", journal.head());
                assert_eq!(journal.head().seq, seq - 1, "{context}");
                cut_off += 1;
            }
        }
    }
    assert!(reported > 500 && cut_off > 50, "{reported} reported, {cut_off} cut off");
}

#[test]
fn a_bit_that_flips_while_the_journal_is_open_is_found_when_the_op_is_read() {
    let ops = ops();
    let (disk, places, _) = laid_out(&ops);
    let journal = open(&disk).unwrap();
    for (place, seq) in places.iter().zip(1..) {
        for offset in [place.from, place.from.midpoint(place.to), place.to - 1] {
            disk.tamper(&place.file, |bytes| bytes[offset] ^= 4);
            let found = journal.op(seq);
            assert!(
                matches!(&found, Err(StoreError::Damaged { seq: at, .. }) if *at == seq),
                "op {seq} byte {offset}: {found:?}"
            );
            disk.tamper(&place.file, |bytes| bytes[offset] ^= 4);
        }
        assert_eq!(journal.op(seq).unwrap().as_ref(), ops.get(usize::try_from(seq).unwrap() - 1));
    }
}

fn bytes_of(disk: &SimDisk, file: &Path) -> Vec<u8> {
    let mut copy = Vec::new();
    disk.tamper(file, |bytes| copy.clone_from(bytes));
    copy
}

fn create(disk: &SimDisk, name: &str, content: &[u8]) {
    let path = Path::new(DIR).join(name);
    disk.open(&path, true).unwrap();
    disk.tamper(&path, |bytes| *bytes = content.to_vec());
}

#[test]
fn segments_that_do_not_belong_together_are_reported_and_kept() {
    type Change = fn(&SimDisk, &[PathBuf]);
    let damage: [(&str, Change); 8] = [
        ("two segments swapped", |disk, files| {
            let (one, two) = (bytes_of(disk, &files[1]), bytes_of(disk, &files[2]));
            disk.tamper(&files[1], |bytes| *bytes = two);
            disk.tamper(&files[2], |bytes| *bytes = one);
        }),
        ("the first one missing", |disk, files| disk.remove(&files[0]).unwrap()),
        ("one in the middle missing", |disk, files| disk.remove(&files[2]).unwrap()),
        ("the last but one missing", |disk, files| {
            disk.remove(&files[files.len() - 2]).unwrap();
        }),
        ("one in the middle empty", |disk, files| disk.tamper(&files[2], Vec::clear)),
        ("the last one of another feed", |disk, files| {
            let other = SimDisk::default();
            let feed = FeedId::new([8; 16]);
            let mut journal = Journal::open(Arc::new(other.clone()), Path::new(DIR), feed).unwrap();
            journal.append_durably(&ops_of(8, 1)).unwrap();
            let foreign = bytes_of(&other, &other.files()[0].0);
            disk.tamper(files.last().unwrap(), |bytes| *bytes = foreign);
        }),
        ("a second copy of the first one at the end", |disk, files| {
            let first = bytes_of(disk, &files[0]);
            create(disk, "99999999999999999999.seg", &first);
        }),
        ("the last one with a garbled header and ops", |disk, files| {
            disk.tamper(files.last().unwrap(), |bytes| bytes[..HEADER_BYTES].fill(0xa5));
        }),
    ];
    let ops = ops();
    for one_batch in [false, true] {
        for (name, change) in damage {
            let disk = SimDisk::default();
            if one_batch {
                open(&disk).unwrap().append_durably(&ops).unwrap();
            } else {
                run(&disk, &ops);
            }
            let files: Vec<PathBuf> = disk.files().into_iter().map(|(path, _)| path).collect();
            change(&disk, &files);
            let before = disk.files();
            let found = open(&disk).map(|journal| journal.head());
            let context = format!("{name}, in one batch: {one_batch}");
            assert!(matches!(found, Err(StoreError::Damaged { .. })), "{context}: {found:?}");
            assert_eq!(disk.files(), before, "{context}: nothing is cut or removed");
        }
    }
}

#[test]
fn a_segment_that_never_held_an_op_is_removed() {
    let ops = ops();
    for (name, content) in
        [("empty", Vec::new()), ("zeros", vec![0; 80]), ("garbage", vec![0xa5; 700])]
    {
        let (disk, ..) = laid_out(&ops);
        let before = disk.files();
        create(&disk, "00000000000000000024.seg", &content);
        let journal = open(&disk).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(journal.head(), ops.last().unwrap().head(), "{name}");
        assert_eq!(disk.files(), before, "{name}");
    }
}

/// Nothing in a directory tells that its last segment is gone; the hub's mirror does, with the verdict `ROLLBACK`.
#[test]
fn a_missing_last_segment_leaves_the_prefix_before_it() {
    let ops = ops();
    let (disk, places, _) = laid_out(&ops);
    let last = disk.files().pop().unwrap().0;
    disk.remove(&last).unwrap();
    let left = places.iter().filter(|place| place.file != last).count();
    assert_eq!(open(&disk).unwrap().read(0, usize::MAX, usize::MAX).unwrap(), ops[..left]);
}

#[test]
fn an_append_that_does_not_follow_writes_nothing_at_all() {
    let ops = ops();
    let gap = [ops[2].clone(), ops[3].clone(), ops[5].clone()];
    let foreign = ops_of(8, 1);
    let disk = SimDisk::default();
    let mut journal = open(&disk).unwrap();
    journal.append_durably(&ops[..2]).unwrap();
    for batch in [&ops[..1], &ops[3..4], &gap[..], &foreign[..]] {
        let refused = journal.append(batch);
        let moved =
            matches!(&refused, Err(StoreError::Moved { head, .. }) if *head == ops[1].head());
        assert!(moved, "{refused:?}");
        assert_eq!(journal.written(), ops[1].head(), "all or nothing");
    }
    assert_recovers(&disk, 2, &ops, "after refusals");
}

#[test]
fn only_durable_ops_are_read() {
    let ops = ops();
    let mut journal = open(&SimDisk::default()).unwrap();
    journal.append_durably(&ops[..4]).unwrap();
    journal.append(&ops[4..9]).unwrap();
    assert_eq!((journal.head(), journal.written()), (ops[3].head(), ops[8].head()));
    assert_eq!(journal.read(0, usize::MAX, usize::MAX).unwrap(), ops[..4]);
    assert_eq!((journal.op(5).unwrap(), journal.hash_at(5).unwrap()), (None, None));
    let (file, head) = journal.to_sync().unwrap();
    file.sync().unwrap();
    journal.durable_up_to(head);
    assert_eq!(journal.read(2, 3, usize::MAX).unwrap(), ops[2..5]);
    assert_eq!(journal.read(2, 99, 1).unwrap(), ops[2..3], "one op always fits");
    assert!(journal.to_sync().is_none());
}

const CHILD: &str = "LIANDONG_STORE_CHILD";

/// Appends an op, lets every later sync fail and appends another, telling each acknowledgement on standard output.
fn child_with_a_failing_disk(dir: &Path) {
    let disk = SimDisk::default();
    let store = Store::open(Options { disk: Arc::new(disk.clone()), ..Options::new(dir) }).unwrap();
    store.open_feed(FEED).unwrap();
    let ops = ops();
    for (op, before) in ops.iter().zip([Head::EMPTY, ops[0].head()]) {
        let answer = store.append(FEED, before, vec![op.clone()]).blocking_recv();
        let durable = answer.is_ok_and(|answer| answer.is_ok());
        let mut out = std::io::stdout();
        writeln!(out, "op {} was answered {durable}", op.seq).and_then(|()| out.flush()).unwrap();
        disk.plan(Crash::SyncFailsFrom(0));
    }
}

#[test]
fn a_failed_sync_ends_the_process_before_it_answers() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child_with_a_failing_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_failed_sync_ends_the_process_before_it_answers", "--nocapture"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert_eq!(child.status.signal(), Some(6), "SIGABRT is wanted: {:?}, {said}", child.status);
    assert!(said.contains("op 1 was answered true"), "{said}");
    assert!(!said.contains("op 2 was answered"), "{said}");
}
