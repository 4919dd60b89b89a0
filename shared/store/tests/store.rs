//! The store as a whole: whatever happens to view and index, they come back as what the journal says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use common::{Pen, Rng};
use liandong_core::{
    code::OpenKind,
    fold::{Outcome, Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    op::{Change, Keys, Op, OpType},
    record::{Identifier, Open, Provider, Record, Visibility},
};
use liandong_store::{EngineKind, Filter, Options, Query, Store, StoreError};
use proptest::prelude::*;
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);
const ENGINES: [EngineKind; 2] = [EngineKind::Sled, EngineKind::Redb];

fn open_with(dir: &Path, engine: EngineKind) -> Store {
    let options = Options { engine, cache_bytes: 1 << 20, ..Options::new(dir) };
    let store = Store::open(options).unwrap();
    store.open_feed(FEED).unwrap();
    store
}

fn open(dir: &Path) -> Store {
    open_with(dir, EngineKind::Sled)
}

/// Waits for something that must come; half a minute without it is a failure.
fn wait<T>(what: &str, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await })
        .unwrap_or_else(|_late| panic!("waited in vain: {what}"))
}

fn settle(store: &Store) {
    for (feed, progress) in store.progress() {
        wait("the fold", store.applied(feed, progress.head.seq));
        wait("the index", store.indexed(feed, progress.head.seq));
    }
}

fn append(store: &Store, ops: &[Op]) -> Head {
    let Some(first) = ops.first() else { return Head::EMPTY };
    let after = Head { seq: first.seq - 1, hash: first.prev };
    store.append(first.feed, after, ops.to_vec()).blocking_recv().unwrap().unwrap()
}

fn id(n: u128) -> RecordId {
    RecordId::new(FEED, Ulid(n))
}

fn record(title: &str) -> Record {
    Record {
        title: title.to_owned(),
        provider: Provider { name: "交通委".to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    }
}

fn change(kind: OpType, id: RecordId, payload: Vec<u8>) -> Change {
    let subject = id.to_bytes().to_vec();
    Change { kind, subject, base: None, payload, visibility: Visibility::Public }
}

fn put(id: RecordId, title: &str) -> Change {
    change(OpType::RecordPut, id, record(title).to_bytes())
}

fn withdraw(id: RecordId) -> Change {
    change(OpType::RecordTombstone, id, serde_json::to_vec(&Tombstone::default()).unwrap())
}

fn revive(id: RecordId, title: &str) -> Change {
    change(OpType::RecordRevive, id, record(title).to_bytes())
}

/// One of the things that can happen to record `n`, sensible or not.
fn step((kind, n, title): (u8, u128, u8)) -> Change {
    match kind {
        0..4 => put(id(n), &format!("第{title}号停车场")),
        4 | 5 => withdraw(id(n)),
        6 | 7 => revive(id(n), &format!("第{title}号公交站")),
        8 => change(OpType::RecordPut, id(n), b"noise".to_vec()),
        9 => change(OpType::Unknown("record.merge.v9".to_owned()), id(n), Vec::new()),
        _ => put(RecordId::new(FeedId::new([9; 16]), Ulid(n)), "别区的"),
    }
}

fn write(pen: &mut Pen, changes: impl IntoIterator<Item = Change>) -> Vec<Op> {
    changes.into_iter().map(|change| pen.write(change)).collect()
}

/// What the ops mean, written a second time and as plainly as it can be said.
#[derive(Debug, Default)]
struct Reference {
    records: BTreeMap<RecordId, (bool, Hash)>,
    without_effect: Vec<u64>,
}

impl Reference {
    fn of(ops: &[Op]) -> Self {
        let mut reference = Self::default();
        for op in ops {
            if !reference.fold(op) {
                reference.without_effect.push(op.seq);
            }
        }
        reference
    }

    fn fold(&mut self, op: &Op) -> bool {
        let Ok(id) = RecordId::try_from(op.subject.as_ref()) else { return false };
        let live = self.records.get(&id).map(|(live, _)| *live);
        let titled = Record::from_bytes(&op.signed.payload).is_ok_and(|r| !r.title.is_empty());
        let becomes = match (op.kind.name(), live) {
            ("record.put.v1", None | Some(true)) | ("record.revive.v1", Some(false)) if titled => {
                true
            }
            ("record.tombstone.v1", Some(true)) => false,
            _ => return false,
        };
        if id.origin() != op.feed {
            return false;
        }
        self.records.insert(id, (becomes, op.payload_hash));
        true
    }

    fn live(&self) -> u64 {
        self.records.values().filter(|(live, _)| *live).count() as u64
    }

    fn root(&self) -> Hash {
        let mut buckets = vec![Vec::new(); 256];
        for (id, (live, payload)) in &self.records {
            let id = id.to_bytes();
            let leaf = Hash::of(&[&id, payload.as_bytes(), &[u8::from(*live)]]);
            buckets[usize::from(id[31])].extend_from_slice(leaf.as_bytes());
        }
        let mut all = b"liandong.root.v1".to_vec();
        for bucket in buckets {
            all.extend_from_slice(Hash::of(&[&bucket]).as_bytes());
        }
        Hash::of(&[&all])
    }
}

#[track_caller]
fn assert_is_fold_of(store: &Store, ops: &[Op], context: &str) {
    settle(store);
    let reference = Reference::of(ops);
    assert_eq!(store.root(), reference.root(), "{context}");
    let progress = store.feed(FEED).unwrap();
    assert_eq!(
        (progress.root, progress.records),
        (reference.root(), reference.live()),
        "{context}"
    );
    let outcomes = store.outcomes(FEED, 0, usize::MAX).unwrap();
    let seqs: Vec<u64> = outcomes.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, reference.without_effect, "{context}");
    let entries = store.entries(Filter::default(), None, 1_000).unwrap();
    let found: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (entry.id, (entry.status == Status::Live, Hash::of(&[&entry.payload]))))
        .collect();
    assert_eq!(found, reference.records, "{context}");
    assert_eq!(store.documents(), reference.live(), "{context}");
    let report = store.verify(&BTreeMap::new(), |_, _| {}).unwrap();
    assert_eq!(report.faults, Vec::<String>::new(), "{context}");
    assert_eq!((report.ops, report.root), (ops.len() as u64, Some(store.root())), "{context}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn the_same_ops_in_any_batches_give_the_root_of_the_reference(
        script in prop::collection::vec((0_u8..11, 0_u128..6, 0_u8..4), 1..60),
        sizes in prop::collection::vec(1_usize..20, 60),
    ) {
        let mut pen = Pen::new(7);
        let ops = write(&mut pen, script.into_iter().map(step));
        for (engine, one_by_one) in [(ENGINES[0], true), (ENGINES[0], false), (ENGINES[1], false)] {
            let dir = tempfile::tempdir().unwrap();
            let store = open_with(dir.path(), engine);
            let mut left = &ops[..];
            for size in &sizes {
                let size = if one_by_one { 1 } else { *size };
                let (batch, rest) = left.split_at(size.min(left.len()));
                append(&store, batch);
                left = rest;
            }
            assert_is_fold_of(&store, &ops, &format!("{engine:?}, one by one: {one_by_one}"));
        }
    }
}

/// A closed data directory whose journal holds a script with all kinds of ops.
fn filled(seed: u64, steps: usize, engine: EngineKind) -> (tempfile::TempDir, Pen, Vec<Op>) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(seed);
    let mut pen = Pen::new(7);
    let script = (0..steps).map(|_| {
        let number = |n: usize| u8::try_from(n).unwrap();
        step((number(rng.below(11)), rng.below(40) as u128, number(rng.below(200))))
    });
    let ops = write(&mut pen, script);
    let store = open_with(dir.path(), engine);
    append(&store, &ops);
    settle(&store);
    (dir, pen, ops)
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn search(store: &Store, text: &str) -> BTreeSet<RecordId> {
    let mut found = BTreeSet::new();
    loop {
        let query =
            Query { text: text.to_owned(), limit: 100, offset: found.len(), ..Query::default() };
        let answer = store.search(&query).unwrap();
        found.extend(answer.hits.iter().map(|hit| hit.id));
        if found.len() >= answer.total || answer.hits.is_empty() {
            return found;
        }
    }
}

#[test]
fn a_deleted_view_or_index_comes_back_the_same() {
    for engine in ENGINES {
        let (dir, _pen, ops) = filled(1, 250, engine);
        let questions = ["停车场", "公交站", "1", "第7", "交通委", ""];
        let before: Vec<_> = {
            let store = open_with(dir.path(), engine);
            questions.iter().map(|text| search(&store, text)).collect()
        };
        assert!(before.iter().all(|found| !found.is_empty()));
        for gone in [&["view"][..], &["index"], &["view", "index"]] {
            for part in gone {
                fs::remove_dir_all(dir.path().join(part)).unwrap();
            }
            let store = open_with(dir.path(), engine);
            assert_is_fold_of(&store, &ops, &format!("{engine:?} without {gone:?}"));
            let after: Vec<_> = questions.iter().map(|text| search(&store, text)).collect();
            assert_eq!(after, before, "{engine:?} without {gone:?}");
        }
    }
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else if entry.metadata().unwrap().len() > 0 {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

#[test]
fn a_view_that_rots_on_disk_is_built_again() {
    for engine in ENGINES {
        let (dir, _pen, ops) = filled(2, 250, engine);
        for seed in 0..10 {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(dir.path(), copy.path());
            let mut rng = Rng(seed);
            let files = files_below(&copy.path().join("view"));
            let file = &files[rng.below(files.len())];
            let mut bytes = fs::read(file).unwrap();
            // Files are mostly empty; what is written stands where something is not zero.
            let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            for _ in 0..=rng.below(20) {
                bytes[written[rng.below(written.len())]] ^= 1 << rng.below(8);
            }
            if rng.below(4) == 0 {
                bytes.truncate(rng.below(bytes.len()));
            }
            fs::write(file, bytes).unwrap();
            let store = open_with(copy.path(), engine);
            let context = format!("{engine:?}, seed {seed}, {}", file.display());
            assert_is_fold_of(&store, &ops, &context);
        }
    }
}

#[test]
fn view_and_index_of_another_journal_are_built_again() {
    let (dir, mut pen, old) = filled(3, 120, EngineKind::Sled);
    let older = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), older.path());
    let mut fork = Pen::new(7);
    fork.head = pen.head;
    let more = write(&mut pen, (500..540).map(|n| put(id(n), &format!("新{n}"))));
    let newer = [old.clone(), more].concat();
    {
        let store = open(dir.path());
        append(&store, &newer[old.len()..]);
        settle(&store);
    }
    let mixed = |journal: &Path, projections: &Path| {
        let mixed = tempfile::tempdir().unwrap();
        copy_dir(&journal.join("journal"), &mixed.path().join("journal"));
        copy_dir(&projections.join("view"), &mixed.path().join("view"));
        copy_dir(&projections.join("index"), &mixed.path().join("index"));
        mixed
    };
    let behind = mixed(dir.path(), older.path());
    assert_is_fold_of(&open(behind.path()), &newer, "projections behind the journal");

    let ahead = mixed(older.path(), dir.path());
    assert_is_fold_of(&open(ahead.path()), &old, "projections ahead of the journal");

    // Another history of the same length as the one the projections saw.
    let other = write(&mut fork, (500..540).map(|n| put(id(n), &format!("另{n}"))));
    let other = [old.clone(), other].concat();
    let forked = tempfile::tempdir().unwrap();
    copy_dir(&older.path().join("journal"), &forked.path().join("journal"));
    append(&open(forked.path()), &other[old.len()..]);
    let forked = mixed(forked.path(), dir.path());
    let store = open(forked.path());
    assert_is_fold_of(&store, &other, "projections of another history");
    assert!(search(&store, "新").is_empty());
    assert_eq!(search(&store, "另").len(), 40);
    drop(store);

    let lost = mixed(dir.path(), dir.path());
    fs::remove_dir_all(lost.path().join("journal")).unwrap();
    assert_is_fold_of(&open(lost.path()), &[], "projections of a journal that is gone");
}

/// Lets the readers end also when the writer panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_and_writers_go_on_while_the_view_is_built_again() {
    for engine in ENGINES {
        let (dir, mut pen, mut ops) = filled(4, 200, engine);
        let store = open_with(dir.path(), engine);
        let live =
            store.entries(Filter { live_only: true, ..Filter::default() }, None, 1_000).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stopped = SetOnDrop(&stop);
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for entry in &live {
                            assert!(store.entry(entry.id).unwrap().is_some(), "{}", entry.id);
                        }
                    }
                });
            }
            for round in 0..6 {
                store.rebuild_view();
                let batch =
                    write(&mut pen, (0..30).map(|n| put(id(1_000 + n), &format!("{round}"))));
                let head = append(&store, &batch);
                ops.extend(batch);
                store.rebuild_view();
                wait("the fold after a rebuild", store.applied(FEED, head.seq));
            }
        });
        assert_is_fold_of(&store, &ops, &format!("{engine:?}"));
    }
}

#[test]
fn an_index_that_is_built_again_while_ops_arrive_misses_none() {
    let (dir, mut pen, mut ops) = filled(5, 100, EngineKind::Sled);
    let store = open(dir.path());
    for round in 0..15 {
        let batch = write(&mut pen, (0..20).map(|n| put(id(2_000 + n), &format!("第{round}轮"))));
        append(&store, &batch);
        ops.extend(batch);
        store.rebuild_index();
    }
    assert_is_fold_of(&store, &ops, "after rebuilds");
}

#[test]
fn a_view_that_outgrows_its_content_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let generations = || -> Vec<String> {
        let entries = fs::read_dir(dir.path().join("view")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let before = generations();
    // A file without content is as large to the check as what an engine leaves behind.
    let ballast = dir.path().join("view").join(&before[0]).join("sled/ballast");
    fs::File::create(&ballast).unwrap().set_len(1 << 30).unwrap();
    let mut pen = Pen::new(7);
    let token = || Change { kind: OpType::DirToken, ..put(id(1), "") };
    let mut changes = store.watch();
    for _ in 0..41 {
        append(&store, &write(&mut pen, (0..500).map(|_| token())));
    }
    wait("another generation", async {
        while ballast.exists() {
            changes.changed().await.unwrap();
        }
    });
    assert_ne!(generations(), before);
}

#[test]
fn an_append_after_the_wrong_head_is_refused_with_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut pen = Pen::new(7);
    let first = write(&mut pen, [put(id(1), "一")]);
    let (mut left, mut right) = (Pen::new(7), Pen::new(7));
    (left.head, right.head) = (pen.head, pen.head);
    append(&store, &first);
    let rivals = [write(&mut left, [put(id(2), "左")]), write(&mut right, [put(id(2), "右")])];
    let answers = rivals.clone().map(|ops| store.append(FEED, pen.head, ops));
    let answers = answers.map(|answer| answer.blocking_recv().unwrap());
    let winners = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(winners, 1, "{answers:?}");
    let head = *answers.iter().flatten().next().unwrap();
    for answer in answers {
        if let Err(refused) = answer {
            let moved = matches!(&refused, StoreError::Moved { head: at, .. } if *at == head);
            assert!(moved, "{refused:?}");
        }
    }
    let unknown = store.append(FeedId::new([1; 16]), Head::EMPTY, first);
    assert!(matches!(unknown.blocking_recv().unwrap(), Err(StoreError::Moved { .. })));
    assert_eq!(store.head(FEED), head);
}

const TITLES: [&str; 6] = [
    "浦东新区2016年公交站点（A1路）信息",
    "上海市图书馆-分馆开放时间",
    "停车场·泊位实时数据v2.0",
    "ＡＰＩ接口目录",
    "GDP与人均收入_年度",
    "〇五年桥梁",
];

#[test]
fn any_part_of_a_title_finds_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut pen = Pen::new(7);
    let puts = TITLES.iter().zip(0..).map(|(title, n)| put(id(n), title));
    append(&store, &write(&mut pen, puts));
    settle(&store);
    for (title, n) in TITLES.iter().zip(0..) {
        let chars: Vec<char> = title.chars().collect();
        for from in 0..chars.len() {
            for to in from + 1..=chars.len() {
                let part: String = chars[from..to].iter().collect();
                if part.chars().any(char::is_alphanumeric) {
                    assert!(search(&store, &part).contains(&id(n)), "{part:?} of {title}");
                }
            }
        }
    }
    let folded = [("api接口", 3), ("Ａ１路", 0), ("gdp", 4), ("ＧＤＰ", 4), ("V２.０", 2)];
    for (text, n) in folded {
        assert_eq!(search(&store, text), BTreeSet::from([id(n)]), "{text}");
    }
    for nothing in ["火车", "站公", "（", "2017", "z"] {
        assert_eq!(search(&store, nothing), BTreeSet::new(), "{nothing}");
    }
    assert_eq!(search(&store, "图书馆 时间"), BTreeSet::from([id(1)]), "all words count");
    assert_eq!(search(&store, "图书馆 泊位"), BTreeSet::new());
    assert_eq!(search(&store, "  ").len(), TITLES.len(), "nothing asked is everything");
}

#[test]
fn a_search_finds_what_is_current_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut pen = Pen::new(7);
    let script = [
        (put(id(1), "旧桥梁"), "旧桥梁", true),
        (put(id(1), "新隧道"), "旧桥梁", false),
        (put(id(2), "新隧道二期"), "二期", true),
        (withdraw(id(1)), "新隧道", true),
        (withdraw(id(2)), "新隧道", false),
        (revive(id(1), "老码头"), "码头", true),
        (change(OpType::RecordPut, id(1), b"noise".to_vec()), "码头", true),
        (put(id(3), "码头"), "新隧道", false),
    ];
    for (change, text, found) in script {
        append(&store, &[pen.write(change)]);
        settle(&store);
        assert_eq!(!search(&store, text).is_empty(), found, "{text} after op {}", pen.head.seq);
    }
    let in_other_feeds =
        Query { feeds: Some(vec![FeedId::new([8; 16])]), limit: 10, ..Query::default() };
    assert_eq!(store.search(&in_other_feeds).unwrap().total, 0);
    let answer = store.search(&Query { limit: 1, ..Query::default() }).unwrap();
    assert_eq!((answer.total, answer.hits.len()), (2, 1));
    assert_eq!(answer.applied, BTreeMap::from([(FEED, pen.head)]), "an answer tells how old it is");
}

#[test]
fn a_store_closed_in_the_middle_of_its_work_goes_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut pen = Pen::new(7);
    let mut ops: Vec<Op> = Vec::new();
    for round in 0..8_u8 {
        let store = open_with(dir.path(), EngineKind::Sled);
        let changes = (0..90).map(|n| step((n % 11, u128::from(n) % 17, round)));
        let batch = write(&mut pen, changes);
        append(&store, &batch[..60]);
        let _not_waited_for = store.append(FEED, batch[59].head(), batch[60..].to_vec());
        ops.extend(batch);
    }
    assert_is_fold_of(&open(dir.path()), &ops, "after eight sudden ends");
}

#[test]
fn verification_names_every_kind_of_damage() {
    let (dir, pen, ops) = filled(6, 150, EngineKind::Sled);
    let faults = |keys: &BTreeMap<FeedId, Keys>| {
        let store = open(dir.path());
        settle(&store);
        store.verify(keys, |_, _| {}).unwrap().faults
    };
    let keys = |author: &liandong_core::op::Author| {
        let mut keys = Keys::default();
        keys.grant(&author.public_key(), 1).unwrap();
        BTreeMap::from([(FEED, keys)])
    };
    assert_eq!(faults(&keys(&pen.author)), Vec::<String>::new());
    let strange = faults(&keys(&Pen::new(8).author));
    assert_eq!(strange.len(), ops.len(), "a key that never signed: {strange:?}");

    // The op a record's state points to; the digest does not cover it, so only a verification can find it.
    let generation = files_below(&dir.path().join("view"))[0].parent().unwrap().to_owned();
    {
        let records = sled::open(&generation).unwrap().open_tree("records").unwrap();
        let (key, value) = records.iter().next().unwrap().unwrap();
        let mut state = value.to_vec();
        state[27] ^= 1;
        records.insert(key, state).unwrap();
    }
    let tampered = faults(&BTreeMap::new());
    assert_eq!(tampered.len(), 1, "{tampered:?}");
    assert!(tampered[0].contains("another version"), "{tampered:?}");
    fs::remove_dir_all(dir.path().join("view")).unwrap();

    {
        let index = tantivy::Index::open_in_dir(dir.path().join("index/00000001")).unwrap();
        let payload = index.load_metas().unwrap().payload.unwrap();
        let mut writer: tantivy::IndexWriter = index.writer(20_000_000).unwrap();
        writer.delete_all_documents().unwrap();
        let mut commit = writer.prepare_commit().unwrap();
        commit.set_payload(&payload);
        commit.commit().unwrap();
    }
    let emptied = faults(&BTreeMap::new());
    assert_eq!(emptied.len(), 1, "{emptied:?}");
    assert!(emptied[0].contains("the index holds 0 documents"), "{emptied:?}");
}

#[test]
fn a_match_key_means_the_record_that_has_it_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut pen = Pen::new(7);
    let keyed = |kind, id, key: &str| {
        let identifier = Identifier { scheme: "id".to_owned(), value: key.to_owned() };
        change(kind, id, Record { identifiers: vec![identifier], ..record("题") }.to_bytes())
    };
    let put = |n, key| keyed(OpType::RecordPut, id(n), key);
    let script = [
        (put(1, "a"), [Some(1), None, None]),
        (put(1, "b"), [None, Some(1), None]),
        (put(2, "a"), [Some(2), Some(1), None]),
        // A withdrawn record is still meant, so that an import revives it instead of making another.
        (withdraw(id(1)), [Some(2), Some(1), None]),
        (keyed(OpType::RecordRevive, id(1), "c"), [Some(2), None, Some(1)]),
        (change(OpType::RecordPut, id(2), b"noise".to_vec()), [Some(2), None, Some(1)]),
    ];
    for (change, expected) in script {
        append(&store, &[pen.write(change)]);
        settle(&store);
        let found = ["id:a", "id:b", "id:c"].map(|key| store.find_by_key(FEED, key).unwrap());
        assert_eq!(found, expected.map(|n| n.map(id)), "after op {}", pen.head.seq);
    }
    assert_eq!(store.find_by_key(FeedId::new([8; 16]), "id:a").unwrap(), None);
}

#[test]
fn lists_are_complete_whatever_the_page_and_the_filter() {
    let (dir, _pen, ops) = filled(8, 250, EngineKind::Redb);
    let store = open_with(dir.path(), EngineKind::Redb);
    let reference = Reference::of(&ops);
    for live_only in [false, true] {
        let expected: Vec<RecordId> = reference
            .records
            .iter()
            .filter(|(_, (live, _))| *live || !live_only)
            .map(|(id, _)| *id)
            .collect();
        for limit in [1, 3, 7, 1_000] {
            let filter = Filter { feed: Some(FEED), live_only, public_only: true };
            let mut found: Vec<RecordId> = Vec::new();
            loop {
                let page = store.entries(filter, found.last().copied(), limit).unwrap();
                found.extend(page.iter().map(|entry| entry.id));
                if page.len() < limit {
                    break;
                }
            }
            assert_eq!(found, expected, "pages of {limit}, live only: {live_only}");
        }
    }
    let outcomes = store.outcomes(FEED, 0, 1).unwrap();
    let (first, outcome) = &outcomes[0];
    assert_eq!(*first, reference.without_effect[0]);
    assert_ne!(*outcome, Outcome::Materialised);
}
