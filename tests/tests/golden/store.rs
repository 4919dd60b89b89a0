//! A data directory as the first version wrote it.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use liandong_core::{
    city::KeyRevoke,
    directory::KeyGrant,
    fold::Tombstone,
    id::{FeedId, Hash, Head},
    op::{Change, Op, OpType},
    record::{Open, Provider, Record, Visibility},
};
use liandong_store::{Options, Store, disk::RealDisk, journal::Journal};
use serde_json::{Value, json};

use crate::{FEED, HUB, REMEDY, author, dir, record, stamp};

/// Small, so that there is more than one segment.
const SEGMENT_BYTES: u64 = 2_000;

fn write(ops: &mut Vec<Op>, feed: FeedId, change: Change) {
    let head = ops.last().map_or(Head::EMPTY, Op::head);
    let op = author(feed).author(head, change, stamp(u128::from(head.seq) + 1)).unwrap();
    ops.push(op);
}

fn put(number: u128, title: &str) -> Change {
    let record_of = Record {
        title: title.to_owned(),
        provider: Provider { name: "市文化和旅游局".to_owned(), ..Provider::default() },
        open: Open { kind: liandong_core::code::OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    };
    Change {
        kind: OpType::RecordPut,
        subject: record(number).to_bytes().to_vec(),
        base: None,
        payload: record_of.to_bytes(),
        visibility: record_of.visibility(),
    }
}

fn told(kind: OpType, subject: &[u8], said: &Value) -> Change {
    let payload = said.to_string().into_bytes();
    Change { kind, subject: subject.to_vec(), base: None, payload, visibility: Visibility::Shared }
}

/// Everything an old directory may hold: records, a withdrawal, a revival, types and payloads that are not understood,
/// and a hub that revokes a key.
fn feeds() -> BTreeMap<FeedId, Vec<Op>> {
    let mut district = Vec::new();
    for number in 1..=6 {
        write(&mut district, FEED, put(number, &format!("公共图书馆信息{number}")));
    }
    let tombstone = serde_json::to_vec(&Tombstone::default()).unwrap();
    let withdraw = |number| Change {
        kind: OpType::RecordTombstone,
        payload: tombstone.clone(),
        ..put(number, "")
    };
    write(&mut district, FEED, withdraw(2));
    write(&mut district, FEED, withdraw(3));
    write(&mut district, FEED, Change { kind: OpType::RecordRevive, ..put(3, "博物馆藏品") });
    let later = OpType::Unknown("record.merge.v9".to_owned());
    write(&mut district, FEED, Change { kind: later, ..put(4, "以后") });
    write(&mut district, FEED, Change { payload: b"noise".to_vec(), ..put(5, "") });
    write(&mut district, FEED, put(6, "停车场泊位信息"));
    let mut hub = Vec::new();
    let said = json!({ "code": "310115", "name": "浦东新区", "standing": "active" });
    write(&mut hub, HUB, told(OpType::DirDistrict, b"310115", &said));
    let instance = FeedId::new([0; 16]);
    let said = json!({ "feed": FEED, "code": "310115", "token": Hash::ZERO, "instance": instance });
    write(&mut hub, HUB, told(OpType::DirFeed, FEED.as_bytes(), &said));
    let public_key = Hash::new(author(FEED).public_key());
    let grant = json!(KeyGrant { feed: FEED, public_key, from_seq: 1, cause: None });
    write(&mut hub, HUB, told(OpType::KeyGrant, FEED.as_bytes(), &grant));
    let revoke = json!(KeyRevoke {
        feed: FEED,
        key: author(FEED).key_id(),
        last_good: district[10].head(),
        reason: "密钥泄露".to_owned(),
    });
    write(&mut hub, HUB, told(OpType::KeyRevoke, FEED.as_bytes(), &revoke));
    BTreeMap::from([(FEED, district), (HUB, hub)])
}

fn write_journals(root: &Path) {
    for (feed, ops) in feeds() {
        let journal_dir = root.join("journal").join(feed.to_string());
        let journal = Journal::open(Arc::new(RealDisk), &journal_dir, feed).unwrap();
        let mut journal = journal.with_segment_bytes(SEGMENT_BYTES);
        for pair in ops.chunks(2) {
            journal.append_durably(pair).unwrap();
        }
    }
}

/// Names below a directory with what the files hold.
fn content(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for feed in feeds().keys() {
        let below = root.join("journal").join(feed.to_string());
        for entry in fs::read_dir(&below).unwrap().flatten() {
            let name = format!("{feed}/{}", entry.file_name().to_string_lossy());
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn a_journal_is_written_byte_for_byte_as_the_first_version_did() {
    let (old, new) = (dir("store-v1"), tempfile::tempdir().unwrap());
    if std::env::var_os("LIANDONG_GOLDEN_NEW").is_some() && !old.exists() {
        write_journals(&old);
    }
    write_journals(new.path());
    let (old, new) = (content(&old), content(new.path()));
    assert!(old.len() > 2, "more than one segment of a feed: {:?}", old.keys());
    assert!(old == new, "the journal has other bytes: {REMEDY}");
}

#[tokio::test]
async fn a_data_directory_of_the_first_version_opens_with_its_roots() {
    let data = tempfile::tempdir().unwrap();
    for (name, bytes) in content(&dir("store-v1")) {
        let path = data.path().join("journal").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let options = Options { hub_feed: Some(HUB), ..Options::new(data.path()) };
    let store = Store::open(options).unwrap();
    store.indexed(FEED, 12).await;
    let progress = store.feed(FEED).unwrap();
    let found = json!({
        "head": progress.head.hash,
        "root": progress.root,
        "records": progress.records,
        "rules": progress.rules,
        "hub": store.head(HUB).hash,
        "outcomes": store.outcomes(FEED, 0, 100).unwrap(),
    });
    let path = dir("store-v1").join("roots.json");
    if std::env::var_os("LIANDONG_GOLDEN_NEW").is_some() && !path.exists() {
        fs::write(&path, format!("{found:#}\n")).unwrap();
    }
    let known: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(found == known, "an old directory has other content now: {REMEDY}\n{found:#}");
    let report = store.verify(&BTreeMap::new(), |_, _| {}).unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
}
