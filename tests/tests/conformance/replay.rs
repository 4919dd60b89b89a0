//! One district's feed of the Luzhou federation, sent in every way a network can: the hub always ends with the same
//! root.
//!
//! Receiver, journal and fold are production code; the network is a list of what arrives.

#![expect(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "a helper that cannot go on fails its test"
)]

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::City,
    fold::Tombstone,
    id::{FeedId, Hash, Head, InstanceId, RecordId},
    link::{Admission, PROTOCOL, PROTOCOL_MIN, Receiver, ReceiverEffect},
    mapping::Mapping,
    op::{Author, Change, Keys, Op, OpType, Stamp},
    record::Record,
    validate::check,
    wire::{Hello, Up},
};
use liandong_node::import::{ReadOptions, read};
use liandong_proto::sync as pb;
use liandong_store::{disk::SimDisk, journal::Journal};
use liandong_tests::simulation::{Fold, Rng};
use prost::Message as _;
use ulid::Ulid;

use super::duplicate::real;

/// Ops of the feed.
const OPS: usize = 400;
/// Ways in which the feed is sent; `LIANDONG_REPLAYS=1000` tries more.
const REPLAYS: u64 = 10;
const FEED: FeedId = FeedId::new([7; 16]);

fn author() -> Author {
    Author::new(FEED, SigningKey::from_bytes(&[7; 32]))
}

/// The entries of the district that has the most.
fn records(folder: &Path) -> Vec<Record> {
    let text = fs::read_to_string(folder.join("partition_sichuan_luzhou.csv")).unwrap();
    let place = |line: &str| line.split(',').nth(1).unwrap_or_default().to_owned();
    let places: Vec<String> = text.lines().skip(1).map(place).collect();
    let mut sizes: HashMap<&String, usize> = HashMap::new();
    places.iter().for_each(|place| *sizes.entry(place).or_default() += 1);
    let largest = (*sizes.iter().max_by_key(|(place, size)| (**size, **place)).unwrap().0).clone();
    let mapping = Mapping::builtin();
    let table = read(&folder.join("sichuan_luzhou.json"), &ReadOptions::default()).unwrap();
    let today = "2026-11-23".parse().unwrap();
    let rows = table.rows.iter().zip(&places).filter(|(_, place)| **place == largest);
    let records = rows.filter_map(|(row, _)| check(mapping.draft(row).0, today).record);
    records.take(OPS).collect()
}

/// The feed: every entry once, then some changed, withdrawn and brought back.
fn feed(records: &[Record]) -> Vec<Op> {
    let (author, mut rng) = (author(), Rng(1));
    let mut ops: Vec<Op> = Vec::new();
    let withdrawal = serde_json::to_vec(&Tombstone::default()).unwrap();
    for number in 0..OPS {
        let some = rng.below(records.len());
        let (at, kind) = match number {
            _ if number < records.len() * 2 / 3 => (number, OpType::RecordPut),
            _ if rng.one_in(3) => (some, OpType::RecordTombstone),
            _ if rng.one_in(2) => (some, OpType::RecordRevive),
            _ => (some, OpType::RecordPut),
        };
        let id = RecordId::new(FEED, Ulid(u128::try_from(at).unwrap()));
        let gone = kind == OpType::RecordTombstone;
        let change = Change {
            kind,
            subject: id.to_bytes().to_vec(),
            base: None,
            payload: if gone { withdrawal.clone() } else { records[at].to_bytes() },
            visibility: records[at].visibility(),
        };
        let head = ops.last().map_or(Head::EMPTY, Op::head);
        let uid = (ops.len() as u128 + 1).to_be_bytes();
        // A day on which all entries of the catalogue lie in the past.
        let now_ms = 1_795_400_000_000;
        let stamp = Stamp { now_ms, uid, actor: "replay".to_owned() };
        ops.push(author.author(head, change, stamp).unwrap());
    }
    ops
}

/// A hub's disk and what it makes of the feed.
struct Hub {
    disk: SimDisk,
    keys: Keys,
}

impl Hub {
    fn new() -> Self {
        let mut keys = Keys::default();
        keys.grant(&author().public_key(), 1).unwrap();
        Self { disk: SimDisk::default(), keys }
    }

    fn journal(&self) -> Journal {
        let disk = Arc::new(self.disk.clone());
        Journal::open(disk, "/feed".as_ref(), FEED).unwrap().with_segment_bytes(100_000)
    }

    /// One connection: these frames arrive, and of the last one perhaps a part.
    fn connection(&self, node: Head, bytes: &[u8]) {
        let mut journal = self.journal();
        let mut receiver = Receiver::new(FEED);
        let hello = Hello {
            protocol: (PROTOCOL_MIN, PROTOCOL),
            software: "replay".to_owned(),
            feed: FEED,
            head: node,
            hub_head: Head::EMPTY,
            instance: InstanceId::new([1; 16]),
            incarnation: 1,
            clock_ms: 0,
            probes: Vec::new(),
        };
        let admission = Admission {
            keys: self.keys.clone(),
            mirror: journal.head(),
            directory_seq: 0,
            hub_incarnation: 1,
            now_ms: 0,
            min_software: None,
        };
        receiver.on_hello(&hello, admission, |seq| journal.hash_at(seq).unwrap());
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((frame, after)) = after.split_at_checked(length) else { break };
            let up = pb::PushUp::decode(frame).unwrap();
            receiver.on_up(Up::try_from(up).unwrap());
            rest = after;
        }
        for effect in receiver.effects() {
            if let ReceiverEffect::Append { after, ops } = effect {
                assert_eq!(after, journal.written());
                journal.append(&ops).unwrap();
            }
        }
        journal.append_durably(&[]).unwrap();
    }
}

/// Batches of the feed from a position on, as frames.
fn frames(ops: &[Op], from: usize, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut at = from;
    while at < ops.len() && frames.len() < 2 {
        let to = (at + 1 + rng.below(200)).min(ops.len());
        let after = at.checked_sub(1).map_or(Head::EMPTY, |last| ops[last].head());
        let batch = ops[at..to].iter().map(|op| op.signed.clone()).collect();
        let message = pb::PushUp::from(Up::Batch { after, ops: batch }).encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        frames.push([length.as_slice(), &message].concat());
        at = to;
    }
    frames
}

/// Sends the feed until all of it is there: batches from any position, some twice, in any order, cut at any byte.
fn replayed(ops: &[Op], seed: u64) -> (Head, Hash, usize) {
    let (hub, mut rng) = (Hub::new(), Rng(seed));
    let node = ops.last().unwrap().head();
    let mut connections = 0;
    while hub.journal().head() != node {
        connections += 1;
        assert!(connections < 5_000, "seed {seed}: no end");
        let there = usize::try_from(hub.journal().head().seq).unwrap();
        let from = if rng.one_in(3) { rng.below(ops.len()) } else { there };
        let mut sent = frames(ops, from, &mut rng);
        if rng.one_in(4) {
            sent.reverse();
        }
        if rng.one_in(4) {
            sent.extend_from_within(..1);
        }
        let mut bytes = sent.concat();
        if rng.one_in(2) {
            bytes.truncate(rng.below(bytes.len() + 1));
        }
        hub.connection(node, &bytes);
    }
    let mut fold = Fold::new(FEED);
    let journal = hub.journal();
    fold.advance(&journal, &City::default()).unwrap();
    let kept = journal.read(0, usize::MAX, usize::MAX).unwrap();
    assert!(kept == ops, "seed {seed}: the hub holds something else than was signed");
    (journal.head(), fold.root(), connections)
}

#[test]
fn a_feed_of_luzhou_replayed_in_any_order_twice_and_cut_anywhere_has_one_root() {
    let Some(folder) = real() else {
        println!("skipped: no real catalogues here; LIANDONG_REAL can name their folder");
        return;
    };
    let ops = feed(&records(&folder));
    let mut native = Fold::new(FEED);
    for op in &ops {
        native.apply(op).unwrap();
    }
    assert!(native.states().len() > OPS / 3, "the entries are taken: {}", native.states().len());
    let replays = std::env::var("LIANDONG_REPLAYS").map_or(REPLAYS, |text| text.parse().unwrap());
    let mut connections = 0;
    for seed in 0..replays {
        let (head, root, took) = replayed(&ops, seed);
        assert_eq!(head, ops.last().unwrap().head(), "seed {seed}");
        assert_eq!(root, native.root(), "seed {seed}");
        connections += took;
    }
    println!(
        "{replays} replays of {} ops ({} records) over {connections} connections: one root, {}",
        ops.len(),
        native.states().len(),
        native.root().short()
    );
}
