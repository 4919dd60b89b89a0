//! Backups: made while ops are written, told from damaged ones whatever the damage, and restored to the same roots.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use common::{Pen, Rng};
use liandong_core::{
    city::Cause,
    id::{FeedId, Hash, Head, RecordId},
    op::{Change, Op, OpType},
    record::{Provider, Record, Visibility},
};
use liandong_store::{
    Options, Store,
    backup::{self, About, BackupError, Contents, Created, FORMAT, Scope, Unpacked},
};
use tempfile::TempDir;
use ulid::Ulid;

const HUB: u8 = 1;
const DISTRICT: u8 = 7;

fn feed(n: u8) -> FeedId {
    FeedId::new([n; 16])
}

/// A process's directory with a store in `data`, keys, and what does not belong into a backup.
struct Process {
    dir: TempDir,
    store: Store,
}

fn options(dir: &Path) -> Options {
    let (cache_bytes, hub_feed) = (1 << 20, Some(feed(HUB)));
    Options { cache_bytes, hub_feed, ..Options::new(dir.join("data")) }
}

impl Process {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("keys/feed.pem", "secret"),
            ("config.toml", "[http]"),
            ("links.json", "{}"),
            (".draft.json.0123", "half"),
            ("lock", "77"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let store = Store::open(options(dir.path())).unwrap();
        for n in [HUB, DISTRICT] {
            store.open_feed(feed(n)).unwrap();
        }
        Self { dir, store }
    }

    fn append(&self, op: Op) -> Head {
        let after = Head { seq: op.seq - 1, hash: op.prev };
        self.store.append(op.feed, after, vec![op]).blocking_recv().unwrap().unwrap()
    }

    /// A record of the district, and an op of the hub that names it.
    fn write(&self, pens: &mut [Pen; 2], n: u64) {
        let [hub, district] = pens;
        let head = self.append(district.write(put(n)));
        self.append(hub.write(about(head)));
    }

    fn settle(&self) {
        settle(&self.store);
    }

    fn contents(&self) -> Contents<'_> {
        Contents {
            dir: self.dir.path(),
            data: "data",
            secret: &["keys"],
            settings: &["config.toml"],
            skipped: &["lock", "data/journal", "data/view", "data/index", "data/shown"],
        }
    }

    fn back_up(&self, to: &Path, about: About) -> Result<Created, BackupError> {
        backup::create(&self.store, &self.contents(), about, to, |_, _| {})
    }
}

fn settle(store: &Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (feed, progress) in store.progress() {
        runtime.block_on(store.applied(feed, progress.head.seq));
    }
}

fn put(n: u64) -> Change {
    let record = Record {
        title: format!("第{n}号停车场"),
        provider: Provider { name: "交通委".to_owned(), ..Provider::default() },
        ..Record::default()
    };
    let id = RecordId::new(feed(DISTRICT), Ulid(u128::from(n % 50)));
    change(OpType::RecordPut, id.to_bytes().to_vec(), record.to_bytes())
}

/// An op of the hub that only makes sense once an op of the district is there.
fn about(op: Head) -> Change {
    let cause = Cause { feed: feed(DISTRICT), seq: op.seq };
    let payload = serde_json::json!({ "cause": cause }).to_string().into_bytes();
    change(OpType::Unknown("noted.v1".to_owned()), Vec::new(), payload)
}

fn change(kind: OpType, subject: Vec<u8>, payload: Vec<u8>) -> Change {
    Change { kind, subject, base: None, payload, visibility: Visibility::Public }
}

fn pens() -> [Pen; 2] {
    [Pen::new(HUB), Pen::new(DISTRICT)]
}

fn said(scope: Scope) -> About {
    let authors = pens().map(|pen| (pen.author.feed(), Hash::new(pen.author.public_key())));
    About {
        hub_root: None,
        format: FORMAT,
        software: "test".to_owned(),
        role: "hub".to_owned(),
        name: "测试市".to_owned(),
        created_ms: 1_700_000_000_000,
        scope,
        incarnation: 1,
        own_feed: feed(HUB),
        hub_feed: feed(HUB),
        authors: authors.into(),
        feeds: BTreeMap::new(),
    }
}

fn unpack(file: &Path) -> Result<Unpacked, BackupError> {
    backup::unpack(file, file.parent().unwrap(), |_| true, |_, _| {})
}

/// Files below a directory, by their paths in it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_backup_made_while_ops_are_written_is_one_moment_of_all_feeds() {
    let process = Process::new();
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let out = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pens = pens();
            while !stop.load(Ordering::Acquire) {
                let n = written.load(Ordering::Acquire);
                process.write(&mut pens, n);
                written.store(n + 1, Ordering::Release);
            }
        });
        for round in 0..5 {
            let enough = written.load(Ordering::Acquire) + 20;
            while written.load(Ordering::Acquire) < enough {
                std::thread::yield_now();
            }
            let before = written.load(Ordering::Acquire);
            let to = out.path().join(format!("{round}.tar.zst"));
            let created = process.back_up(&to, said(Scope::Whole)).unwrap();
            let head = |n| created.about.feeds[&feed(n)].head.seq;
            assert!(head(DISTRICT) >= before, "what was acknowledged before is in it");
            let ahead = head(DISTRICT) - head(HUB);
            assert!(ahead <= 1, "the hub never names what is not there: {ahead}");
            let checked = unpack(&to).unwrap().check("data", |_, _| {}).unwrap();
            assert_eq!(checked.report.faults, Vec::<String>::new());
            assert_eq!(checked.report.ops, head(DISTRICT) + head(HUB));
            assert_eq!(checked.report.signatures, checked.report.ops);
        }
        stop.store(true, Ordering::Release);
    });
}

#[test]
fn a_restored_backup_has_the_same_heads_and_roots_and_nothing_that_is_derived() {
    let process = Process::new();
    let mut pens = pens();
    for n in 0..120 {
        process.write(&mut pens, n);
    }
    process.settle();
    let out = tempfile::tempdir().unwrap();
    let to = out.path().join("whole.tar.zst");
    let created = process.back_up(&to, said(Scope::Whole)).unwrap();
    assert_eq!(created.bytes, fs::metadata(&to).unwrap().len());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&to).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds keys");

    let unpacked = unpack(&to).unwrap();
    let checked = unpacked.check("data", |_, _| {}).unwrap();
    assert_eq!((checked.good(), checked.roots), (true, 2), "{:?}", checked.report.faults);
    assert_eq!(checked.report.root, Some(process.store.root()));
    let into = out.path().join("restored");
    unpacked.keep(&into).unwrap();
    let journals = files(&into).into_iter().filter(|path| path.starts_with("data/journal/"));
    assert_eq!(journals.count(), 2);
    let others: Vec<String> =
        files(&into).into_iter().filter(|path| !path.starts_with("data/journal/")).collect();
    assert_eq!(others, ["config.toml", "keys/feed.pem", "links.json"]);

    let store = Store::open(options(&into)).unwrap();
    settle(&store);
    assert_eq!(store.root(), process.store.root());
    for (feed, progress) in process.store.progress() {
        assert_eq!(store.head(feed), progress.head);
    }
    // Neither a file nor a directory is written over.
    let again = process.back_up(&to, said(Scope::Whole));
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    let over = unpack(&to).unwrap().keep(&into);
    assert!(matches!(over, Err(BackupError::Exists(_))), "{over:?}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 2, "nothing is left behind");
}

#[test]
fn each_scope_holds_what_it_says() {
    let process = Process::new();
    process.write(&mut pens(), 1);
    let out = tempfile::tempdir().unwrap();
    for (scope, keys, journals) in
        [(Scope::Whole, true, 2), (Scope::NoKeys, false, 2), (Scope::KeysOnly, true, 0)]
    {
        let to = out.path().join(format!("{scope:?}.tar.zst"));
        process.back_up(&to, said(scope)).unwrap();
        let unpacked = unpack(&to).unwrap();
        assert!(unpacked.check("data", |_, _| {}).unwrap().good(), "{scope:?}");
        let found = files(unpacked.dir());
        assert_eq!(found.contains(&"keys/feed.pem".to_owned()), keys, "{scope:?}: {found:?}");
        assert!(found.contains(&"config.toml".to_owned()), "{scope:?}: {found:?}");
        let segments = found.iter().filter(|path| path.starts_with("data/journal/")).count();
        assert_eq!(segments, journals, "{scope:?}: {found:?}");
    }
}

/// A small backup and its bytes.
fn small() -> (TempDir, PathBuf, Vec<u8>) {
    let process = Process::new();
    process.write(&mut pens(), 1);
    let out = tempfile::tempdir().unwrap();
    let to = out.path().join("small.tar.zst");
    process.back_up(&to, said(Scope::Whole)).unwrap();
    let bytes = fs::read(&to).unwrap();
    (out, to, bytes)
}

#[test]
fn a_backup_that_was_changed_at_any_byte_or_cut_anywhere_is_refused() {
    let (out, to, bytes) = small();
    let mut rng = Rng(77);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << rng.below(8);
        fs::write(&to, &changed).unwrap();
        let read = unpack(&to);
        assert!(
            matches!(read, Err(BackupError::Damaged { .. } | BackupError::NotWhole(_))),
            "byte {at} of {}: {read:?}",
            bytes.len()
        );
        fs::write(&to, &bytes[..at]).unwrap();
        let read = unpack(&to);
        assert!(
            matches!(read, Err(BackupError::Damaged { .. } | BackupError::NotWhole(_))),
            "cut at {at}: {read:?}"
        );
    }
    fs::write(&to, &bytes).unwrap();
    assert!(unpack(&to).is_ok());
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn the_tools_of_every_machine_can_read_a_backup() {
    let (_out, _to, bytes) = small();
    let mut archive = tar::Archive::new(zstd::Decoder::new(bytes.as_slice()).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("backup.json"));
    assert_eq!(names.last().map(String::as_str), Some("files.json"));
    // The seal stands in a frame that a decoder skips.
    assert!(zstd::decode_all(bytes.as_slice()).is_ok());
}

#[test]
fn a_backup_whose_ops_do_not_verify_is_told_from_a_good_one() {
    let process = Process::new();
    process.write(&mut pens(), 1);
    process.settle();
    let out = tempfile::tempdir().unwrap();
    let stranger = Hash::new(Pen::new(9).author.public_key());
    let wrong = |feed: u8, key: Option<Hash>| {
        let mut about = said(Scope::Whole);
        match key {
            Some(key) => about.authors.insert(self::feed(feed), key),
            None => about.authors.remove(&self::feed(feed)),
        };
        about
    };
    for (name, about, told) in [
        ("stranger", wrong(DISTRICT, Some(stranger)), "is not valid for this feed"),
        ("nobody", wrong(HUB, None), "its key is in no directory"),
    ] {
        let to = out.path().join(name);
        process.back_up(&to, about).unwrap();
        let checked = unpack(&to).unwrap().check("data", |_, _| {}).unwrap();
        let faults = &checked.report.faults;
        assert!(!checked.good() && faults.iter().any(|fault| fault.contains(told)), "{faults:?}");
    }
}

#[test]
fn a_backup_of_newer_software_says_so() {
    let process = Process::new();
    let out = tempfile::tempdir().unwrap();
    let to = out.path().join("newer.tar.zst");
    process.back_up(&to, About { format: FORMAT + 1, ..said(Scope::Whole) }).unwrap();
    let read = unpack(&to);
    assert!(matches!(read, Err(BackupError::Newer(_))), "{read:?}");
}
