//! Mass changes: what is one, what is none, and how a person lets it through.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::{Gate, GateKind, Inspector, Thresholds},
    id::{FeedId, Head, RecordId},
    limit,
    op::{Author, Change, Op, OpType, Stamp},
    record::{Record, Visibility},
};
use proptest::prelude::*;
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);
const NOW_MS: i64 = 1_700_000_000_000;
const USUAL: Thresholds = Thresholds { records: limit::MASS_RECORDS, percent: limit::MASS_PERCENT };

/// A district that writes, and what is current of its records.
struct District {
    author: Author,
    head: Head,
    now_ms: i64,
    current: BTreeMap<RecordId, Op>,
}

fn id(n: usize) -> RecordId {
    RecordId::new(FEED, Ulid(n as u128))
}

fn record(n: usize) -> Record {
    let code = Some(format!("307001/{n:06}"));
    Record { title: format!("第{n}条"), code, ..Record::default() }
}

impl District {
    fn with(records: usize) -> Self {
        let author = Author::new(FEED, SigningKey::from_bytes(&[7; 32]));
        let current = BTreeMap::new();
        let mut district = Self { author, head: Head::EMPTY, now_ms: NOW_MS, current };
        for n in 0..records {
            let op = district.put(n, &record(n), Visibility::Public);
            district.current.insert(id(n), op);
        }
        district
    }

    fn write(&mut self, kind: OpType, n: usize, payload: Vec<u8>, visibility: Visibility) -> Op {
        let base = self.current.get(&id(n)).map(|op| op.hash);
        let subject = id(n).to_bytes().to_vec();
        let change = Change { kind, subject, base, payload, visibility };
        let stamp = Stamp { now_ms: self.now_ms, uid: [0; 16], actor: String::new() };
        let op = self.author.author(self.head, change, stamp).unwrap();
        self.head = op.head();
        op
    }

    fn put(&mut self, n: usize, record: &Record, visibility: Visibility) -> Op {
        self.write(OpType::RecordPut, n, record.to_bytes(), visibility)
    }

    fn withdraw(&mut self, n: usize) -> Op {
        self.write(OpType::RecordTombstone, n, b"{}".to_vec(), Visibility::Public)
    }

    /// Lets a watch see ops a few at a time, as they reach the fold; the first gate it closes.
    fn seen(&self, ops: &[Op], at_a_time: usize) -> Option<Gate> {
        let mut inspector = Inspector::default();
        let live = self.current.len() as u64;
        ops.chunks(at_a_time).find_map(|some| {
            inspector.inspect(some, live, USUAL, NOW_MS, |id| self.current.get(&id).cloned())
        })
    }
}

#[test]
fn a_change_of_many_records_is_held_and_one_of_few_is_not() {
    type Act = fn(&mut District, usize) -> Op;
    let withdraw: Act = District::withdraw;
    let restrict: Act = |district, n| district.put(n, &record(n), Visibility::Restricted);
    let rename: Act = |district, n| {
        let code = Some(format!("999/{n}"));
        district.put(n, &Record { code, ..record(n) }, Visibility::Public)
    };
    let retitle: Act = |district, n| {
        let title = "新名称".to_owned();
        district.put(n, &Record { title, ..record(n) }, Visibility::Public)
    };
    let ahead: Act = |district, n| {
        district.now_ms = NOW_MS + limit::CLOCK_JUMP_MS + 1;
        district.put(n, &record(n), Visibility::Public)
    };
    let cases: [(&str, usize, usize, Act, Option<GateKind>); 11] = [
        ("51 of 1,000 withdrawn", 1_000, 51, withdraw, Some(GateKind::MassWithdrawal)),
        ("50 of 1,000 withdrawn", 1_000, 50, withdraw, None),
        ("11 of 100 withdrawn", 100, 11, withdraw, Some(GateKind::MassWithdrawal)),
        ("10 of 100 withdrawn", 100, 10, withdraw, None),
        ("9 of 12 withdrawn", 12, 9, withdraw, None),
        ("10 of 12 withdrawn", 12, 10, withdraw, Some(GateKind::MassWithdrawal)),
        ("60 of 1,000 restricted", 1_000, 60, restrict, Some(GateKind::MassVisibility)),
        ("60 of 1,000 with new codes", 1_000, 60, rename, Some(GateKind::MassIdentity)),
        ("all with new titles", 100, 100, retitle, None),
        ("60 of 1,000 dated ahead", 1_000, 60, ahead, Some(GateKind::ClockJump)),
        ("5 of 1,000 dated ahead", 1_000, 5, ahead, None),
    ];
    for (what, records, changed, act, expected) in cases {
        let mut district = District::with(records);
        let begin = district.head.seq;
        let ops: Vec<Op> = (0..changed).map(|n| act(&mut district, n)).collect();
        for at_a_time in [1, 7, 100] {
            let gate = district.seen(&ops, at_a_time);
            assert_eq!(gate.as_ref().map(|gate| gate.kind), expected, "{what}");
            if let Some(gate) = gate {
                assert!(gate.after >= begin, "{what}");
                assert!(gate.sample.len() <= limit::GATE_SAMPLE_MAX, "{what}");
                assert!(gate.count <= changed as u64, "{what}");
            }
        }
    }
}

#[test]
fn what_is_withdrawn_over_weeks_is_no_mass() {
    let mut district = District::with(1_000);
    let day = 24 * 3600 * 1000;
    let ops: Vec<Op> = (0..90)
        .map(|n| {
            district.now_ms = NOW_MS - (90 - i64::try_from(n).unwrap()) * day;
            district.withdraw(n)
        })
        .collect();
    assert_eq!(district.seen(&ops, 100), None);
}

#[test]
fn new_records_are_never_a_mass() {
    let mut district = District::with(0);
    let ops: Vec<Op> =
        (0..500).map(|n| district.put(n, &record(n), Visibility::Restricted)).collect();
    assert_eq!(district.seen(&ops, 100), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_from_the_first_op_of_a_mass_on_passes_in_the_step_that_sees_it(
        calm in 0_usize..40, withdrawn in 51_usize..120, at_a_time in 60_usize..200,
    ) {
        let mut district = District::with(400);
        let mut ops: Vec<Op> =
            (0..calm).map(|n| district.put(n, &record(n), Visibility::Public)).collect();
        ops.extend((200..200 + withdrawn).map(|n| district.withdraw(n)));
        let gate = district.seen(&ops, at_a_time);
        let first = ops[calm].seq;
        let gate = gate.expect("a mass withdrawal");
        // Those that went before the watch could know are fewer than a mass.
        prop_assert!(gate.after + 1 - first <= u64::from(limit::MASS_RECORDS));
        prop_assert!(gate.count > u64::from(limit::MASS_PERCENT));
    }
}
