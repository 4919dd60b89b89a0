//! Erased content: gone from every journal whatever stops the erasing, while chains verify and roots stay equal (F23).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use common::{Pen, Rng};
use liandong_core::{
    city::{City, Redaction},
    code::OpenKind,
    fold::{Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    op::{Change, Keys, Op, OpType},
    record::{Open, Provider, Record, Visibility},
};
use liandong_store::{
    EngineKind, Options, Query, Store, StoreError,
    disk::{Crash, RealDisk, SimDisk},
    journal::{Erasures, Journal, scrub},
};
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);
const HUB: FeedId = FeedId::new([1; 16]);
const DIR: &str = "/data/journal/feed";
/// Small enough for several segments.
const SEGMENT_BYTES: u64 = 2_500;
/// What must be found nowhere afterwards.
const SECRET: &str = "王小明13800138000";

fn id(n: u128) -> RecordId {
    RecordId::new(FEED, Ulid(n))
}

fn put(n: u128, title: &str) -> Change {
    let record = Record {
        title: title.to_owned(),
        provider: Provider { name: "某局".to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    };
    Change {
        kind: OpType::RecordPut,
        subject: id(n).to_bytes().to_vec(),
        base: None,
        payload: record.to_bytes(),
        visibility: record.visibility(),
    }
}

fn withdraw(n: u128) -> Change {
    let payload = serde_json::to_vec(&Tombstone::default()).unwrap();
    Change { kind: OpType::RecordTombstone, payload, ..put(n, "") }
}

fn revive(n: u128, title: &str) -> Change {
    Change { kind: OpType::RecordRevive, ..put(n, title) }
}

fn written(changes: Vec<Change>) -> Vec<Op> {
    let mut pen = Pen::new(7);
    changes.into_iter().map(|change| pen.write(change)).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn open(disk: &SimDisk) -> Result<Journal, StoreError> {
    let journal = Journal::open(Arc::new(disk.clone()), Path::new(DIR), FEED)?;
    Ok(journal.with_segment_bytes(SEGMENT_BYTES))
}

fn secret_files(disk: &SimDisk) -> usize {
    let files = disk.files();
    files.iter().filter(|(path, _)| contains(&disk.content(path).unwrap(), SECRET)).count()
}

/// Two secrets in the first segments, one in the last.
fn script() -> (Vec<Op>, BTreeSet<u64>) {
    let secret = [2, 5, 17];
    let title =
        |n: u64| if secret.contains(&n) { format!("{SECRET}第{n}") } else { format!("目录{n}") };
    (written((1..=18).map(|n| put(u128::from(n), &title(n))).collect()), secret.into())
}

fn filled() -> SimDisk {
    let disk = SimDisk::default();
    let mut journal = open(&disk).unwrap();
    for op in script().0 {
        journal.append_durably(&[op]).unwrap();
    }
    assert!(disk.files().len() >= 3, "the script spans several segments");
    assert_eq!(secret_files(&disk), 2);
    disk
}

#[track_caller]
fn assert_erased(disk: &SimDisk, context: &str) {
    let (ops, secret) = script();
    let mut journal = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = journal.read(0, usize::MAX, usize::MAX).unwrap();
    assert_eq!(found.len(), ops.len(), "{context}");
    for (found, op) in found.iter().zip(&ops) {
        assert_eq!((found.hash, &found.signed.header), (op.hash, &op.signed.header), "{context}");
        assert_eq!(found.signed.signature, op.signed.signature, "{context}");
        assert_eq!(found.signed.withheld, secret.contains(&op.seq), "{context}: op {}", op.seq);
    }
    assert_eq!(secret_files(disk), 0, "{context}");
    // It goes on as a journal does.
    let mut pen = Pen::new(7);
    pen.head = journal.head();
    let next = pen.write(put(99, "下一条"));
    journal.append_durably(std::slice::from_ref(&next)).unwrap();
    drop(journal);
    disk.power_cut(|_| 0);
    let journal = open(disk).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    assert_eq!(journal.head(), next.head(), "{context}");
}

#[test]
fn erasing_that_is_stopped_anywhere_loses_no_op_and_is_finished_by_the_next_start() {
    let (ops, secret) = script();
    let whole = filled();
    whole.plan(Crash::Never);
    assert_eq!(open(&whole).unwrap().erase(&secret).unwrap(), 3);
    let steps = whole.operations();
    assert!(steps > 10, "{steps} steps");
    assert_erased(&whole, "undisturbed");
    for at in 0..steps {
        // A kill keeps what was written, a power cut what was synced, and of a rename either outcome.
        for lost in [None, Some(0), Some(1)] {
            let context = format!("stopped at step {at}, {lost:?}");
            let disk = filled();
            disk.plan(Crash::AtOperation(at));
            let stopped = open(&disk).and_then(|mut journal| journal.erase(&secret));
            assert!(stopped.is_err(), "{context}");
            disk.plan(Crash::Never);
            if let Some(keep) = lost {
                disk.power_cut(|unsynced| if unsynced == 1 { keep } else { 0 });
            }
            let mut journal = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            let hashes: Vec<Hash> =
                journal.read(0, usize::MAX, usize::MAX).unwrap().iter().map(|op| op.hash).collect();
            assert_eq!(hashes, ops.iter().map(|op| op.hash).collect::<Vec<_>>(), "{context}");
            journal.erase(&secret).unwrap();
            drop(journal);
            assert_erased(&disk, &context);
        }
    }
}

#[test]
fn erasing_twice_or_nothing_changes_no_file() {
    let (_, secret) = script();
    let disk = filled();
    let mut journal = open(&disk).unwrap();
    assert_eq!(journal.erase(&secret).unwrap(), 3);
    let before: Vec<_> = disk.files().iter().map(|(path, _)| disk.content(path)).collect();
    assert_eq!(journal.erase(&secret).unwrap(), 0);
    assert_eq!(journal.erase(&BTreeSet::from([0, 900])).unwrap(), 0);
    let after: Vec<_> = disk.files().iter().map(|(path, _)| disk.content(path)).collect();
    assert_eq!(before, after);
}

/// Waits for something that must come; half a minute without it is a failure.
fn wait<T>(what: &str, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await })
        .unwrap_or_else(|_late| panic!("waited in vain: {what}"))
}

fn store(dir: &Path) -> Store {
    let options = Options {
        engine: EngineKind::Redb,
        cache_bytes: 1 << 20,
        hub_feed: Some(HUB),
        ..Options::new(dir)
    };
    let store = Store::open(options).unwrap();
    store.open_feed(FEED).unwrap();
    store.open_feed(HUB).unwrap();
    store
}

fn append(store: &Store, ops: &[Op]) {
    let Some(first) = ops.first() else { return };
    let after = Head { seq: first.seq - 1, hash: first.prev };
    store.append(first.feed, after, ops.to_vec()).blocking_recv().unwrap().unwrap();
}

fn orders(hub: &mut Pen, ops: &[Op], seqs: &[(u64, bool)]) -> Vec<Op> {
    let order = |(seq, effect): &(u64, bool)| {
        let op = &ops[usize::try_from(*seq).unwrap() - 1];
        let (feed, seq, op_hash, effect) = (FEED, *seq, op.hash, *effect);
        let reason = "个人信息保护法".to_owned();
        Redaction { feed, seq, op_hash, reason, effect, cause: None }
    };
    let changes = seqs.iter().map(|seq| City::default().redact(&order(seq)).unwrap());
    changes.flatten().map(|change| hub.write(change)).collect()
}

/// Folded, erased, searchable.
fn settle(store: &Store) {
    // What is ordered erased is known when the hub's feed is folded.
    for (feed, progress) in store.progress() {
        wait("the first fold", store.applied(feed, progress.head.seq));
    }
    let city = store.city();
    wait("erasing", store.erase(&city)).unwrap();
    for (feed, progress) in store.progress() {
        wait("the fold", store.applied(feed, progress.head.seq));
        wait("the index", store.indexed(feed, progress.head.seq));
    }
}

fn keys() -> BTreeMap<FeedId, Keys> {
    let mut keys = Keys::default();
    keys.grant(&Pen::new(7).author.public_key(), 1).unwrap();
    [(FEED, keys)].into()
}

fn files_with_secret(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with_secret(&path));
        } else if contains(&std::fs::read(&path).unwrap(), SECRET) {
            found.push(path);
        }
    }
    found
}

fn total(store: &Store) -> usize {
    store.search(&Query { text: SECRET.to_owned(), limit: 10, ..Query::default() }).unwrap().total
}

/// Name, script, what is erased and whether it had taken effect, what is expected of record 1.
type Case = (&'static str, Vec<Change>, (u64, bool), Option<(Status, bool)>);

#[test]
fn what_is_erased_is_shown_as_gone_until_its_district_writes_again() {
    // Each script ends with what is erased and what comes after; then what is expected of record 1.
    let secret = |n| put(n, SECRET);
    let none = None::<(Status, bool)>;
    let table: [Case; 9] = [
        ("the only version", vec![secret(1)], (1, true), Some((Status::Withdrawn, true))),
        ("the last", vec![put(1, "甲"), secret(1)], (2, true), Some((Status::Withdrawn, true))),
        ("an earlier one", vec![secret(1), put(1, "甲")], (1, true), Some((Status::Live, false))),
        (
            "one before a withdrawal",
            vec![secret(1), withdraw(1)],
            (1, true),
            Some((Status::Withdrawn, false)),
        ),
        (
            "one before a withdrawal and a revival",
            vec![secret(1), withdraw(1), revive(1, "甲")],
            (1, true),
            Some((Status::Live, false)),
        ),
        (
            "a revived one, written again",
            vec![put(1, "甲"), withdraw(1), revive(1, SECRET), put(1, "乙")],
            (3, true),
            Some((Status::Live, false)),
        ),
        (
            "a withdrawal",
            vec![put(1, "甲"), withdraw(1)],
            (2, true),
            Some((Status::Withdrawn, false)),
        ),
        (
            "what never took effect",
            vec![put(1, "甲"), revive(1, SECRET)],
            (2, false),
            Some((Status::Live, false)),
        ),
        ("what never was a record", vec![revive(1, SECRET)], (1, false), none),
    ];
    for (what, script, order, expected) in table {
        let ops = written(script);
        let (dirs, mut roots) =
            ([tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], Vec::new());
        for (late, dir) in dirs.iter().enumerate() {
            let orders = orders(&mut Pen::new(1), &ops, &[order]);
            let store = store(dir.path());
            // One replica had folded the content before; the other hears of the order first.
            let parts = if late == 0 { [&ops, &orders] } else { [&orders, &ops] };
            for part in parts {
                append(&store, part);
                if late == 0 {
                    wait("the fold", store.applied(part[0].feed, part.last().unwrap().seq));
                }
            }
            settle(&store);
            let state = store.state(id(1)).unwrap();
            assert_eq!(state.map(|state| (state.status, state.redacted)), expected, "{what}");
            assert_eq!(total(&store), 0, "{what}: searches find it no more");
            let report = store.verify(&keys(), |_, _| ()).unwrap();
            assert!(report.faults.is_empty(), "{what}: {:?}", report.faults);
            roots.push(store.feed(FEED).unwrap().root);
            drop(store);
            let left = files_with_secret(dir.path());
            assert!(left.is_empty(), "{what}, replica {late}: {left:?}");
            // A start from the journals alone comes to the same.
            std::fs::remove_dir_all(dir.path().join("view")).unwrap();
            let again = self::store(dir.path());
            settle(&again);
            roots.push(again.feed(FEED).unwrap().root);
        }
        roots.dedup();
        assert_eq!(roots.len(), 1, "{what}: {roots:?}");
    }
}

#[test]
fn a_version_that_follows_an_erased_one_is_written_and_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut pen = Pen::new(7);
    let first = pen.write(put(1, SECRET));
    let store = store(dir.path());
    append(&store, std::slice::from_ref(&first));
    append(&store, &orders(&mut Pen::new(1), std::slice::from_ref(&first), &[(1, true)]));
    settle(&store);
    let gone = store.entry(id(1)).unwrap().unwrap();
    assert!(gone.record.is_none() && gone.payload.is_empty());
    assert!(gone.withdrawn_reason.unwrap().contains("已依法删除"));
    let Change { visibility, .. } = put(1, "");
    assert_eq!(visibility, Visibility::Public);
    append(&store, &[pen.write(put(1, "新版"))]);
    settle(&store);
    assert_eq!(store.entry(id(1)).unwrap().unwrap().record.unwrap().title, "新版");
}

#[test]
fn replicas_agree_whatever_is_erased_and_whenever_they_hear_of_it() {
    for seed in 0..6 {
        let mut rng = Rng(seed);
        let script = (0..40).map(|n| match rng.below(5) {
            0 => withdraw(rng.below(4) as u128),
            1 => revive(rng.below(4) as u128, &format!("{SECRET}{n}")),
            _ => put(rng.below(4) as u128, &format!("{SECRET}{n}")),
        });
        let ops = written(script.collect());
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path());
        append(&first, &ops);
        wait("the fold", first.applied(FEED, 40));
        // As the hub would say it: whether each op had taken effect.
        let failed: BTreeSet<u64> =
            first.outcomes(FEED, 0, 100).unwrap().into_iter().map(|(seq, _)| seq).collect();
        let erased: BTreeSet<u64> = (0..6).map(|_| 1 + rng.below(40) as u64).collect();
        let erased: Vec<_> = erased.into_iter().map(|seq| (seq, !failed.contains(&seq))).collect();
        let orders = orders(&mut Pen::new(1), &ops, &erased);
        append(&first, &orders);
        settle(&first);
        let other = tempfile::tempdir().unwrap();
        let second = store(other.path());
        let (early, late) = orders.split_at(rng.below(orders.len()));
        let half = rng.below(40);
        for part in [early, &ops[..half], late, &ops[half..]] {
            append(&second, part);
        }
        settle(&second);
        let (a, b) = (first.feed(FEED).unwrap(), second.feed(FEED).unwrap());
        assert_eq!((a.root, a.rules, a.records), (b.root, b.rules, b.records), "seed {seed}");
        assert_eq!(first.documents(), second.documents(), "seed {seed}");
        for store in [&first, &second] {
            let report = store.verify(&keys(), |_, _| ()).unwrap();
            assert!(report.faults.is_empty(), "seed {seed}: {:?}", report.faults);
        }
    }
}

/// A directory of a store with one journal that was set aside, in small segments.
fn aside(changes: &[Op]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(Arc::new(RealDisk), dir.path(), FEED).unwrap();
    let mut journal = journal.with_segment_bytes(SEGMENT_BYTES);
    for op in changes {
        journal.append_durably(std::slice::from_ref(op)).unwrap();
    }
    dir
}

fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// What a city orders that erases ops of the script.
fn ordered(store: &Store, seqs: &BTreeSet<u64>) -> BTreeMap<FeedId, Erasures> {
    let mut city = City::default();
    for op in script().0.iter().filter(|op| seqs.contains(&op.seq)) {
        let redaction = Redaction {
            feed: FEED,
            seq: op.seq,
            op_hash: op.hash,
            reason: "依法".to_owned(),
            effect: true,
            cause: None,
        };
        city.redactions.insert((FEED, op.seq), redaction);
    }
    store.erasures(&city).unwrap()
}

#[tokio::test]
async fn content_leaves_journals_that_were_set_aside_and_the_same_content_under_another_hash() {
    let (ops, secret) = script();
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(data.path().to_owned())).unwrap();
    store.open_feed(FEED).unwrap();
    store.append(FEED, Head::EMPTY, ops.clone()).await.unwrap().unwrap();
    // The same changes on another branch: other hashes, the same content.
    let mut pen = Pen::new(7);
    pen.write(put(50, "先写的一条"));
    let changes = ops.iter().map(|op| put(u128::from(op.seq), &title_of(op)));
    let again: Vec<Op> = std::iter::once(Pen::new(7).write(put(50, "先写的一条")))
        .chain(changes.map(|change| pen.write(change)))
        .collect();
    assert!(again.iter().all(|op| ops.iter().all(|other| other.hash != op.hash)));
    let erasures = ordered(&store, &secret);
    for kept in [&ops, &again] {
        let dir = aside(kept);
        assert!(files(dir.path()).len() >= 3);
        assert_eq!(scrub(dir.path(), &erasures).unwrap(), secret.len());
        let after = files(dir.path());
        assert!(after.iter().all(|(_, bytes)| !contains(bytes, SECRET)));
        let journal = Journal::open(Arc::new(RealDisk), dir.path(), FEED).unwrap();
        let found = journal.read(0, usize::MAX, usize::MAX).unwrap();
        assert_eq!(found.len(), kept.len());
        let bare = found.iter().filter(|op| op.signed.withheld).count();
        assert_eq!(bare, secret.len());
        assert_eq!(scrub(dir.path(), &erasures).unwrap(), 0);
        assert_eq!(files(dir.path()), after, "nothing is left to do");
    }
    let nothing = aside(&ops);
    let before = files(nothing.path());
    assert_eq!(scrub(nothing.path(), &BTreeMap::new()).unwrap(), 0);
    assert_eq!(files(nothing.path()), before);
}

#[tokio::test]
async fn what_cannot_be_read_of_a_damaged_journal_goes_when_the_content_may_be_in_it() {
    let (ops, _) = script();
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(data.path().to_owned())).unwrap();
    // Damage in op 2, which holds a secret, or in op 3, which does not; op 2 is ordered erased.
    for damaged in [2, 3] {
        let dir = aside(&ops);
        let (path, mut bytes) = files(dir.path()).remove(0);
        let payload = &ops[damaged - 1].signed.payload;
        let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let _count = scrub(dir.path(), &ordered(&store, &BTreeSet::from([2]))).unwrap();
        let after = files(dir.path());
        assert!(!contains(&after[0].1, &format!("{SECRET}第2")), "damaged op {damaged}");
        assert!(contains(&after[0].1, &format!("{SECRET}第5")), "not ordered");
        let unread = contains(&after[0].1, &String::from_utf8_lossy(&payload[1..]));
        assert_eq!(unread, damaged == 3, "unread bytes stay when nothing is sought in them");
        let journal = Journal::open_readable(Arc::new(RealDisk), dir.path(), FEED, Head::EMPTY);
        assert_eq!(journal.unwrap().salvage(0).unwrap().len(), ops.len() - 1);
    }
}

fn title_of(op: &Op) -> String {
    Record::from_bytes(&op.signed.payload).unwrap().title
}
