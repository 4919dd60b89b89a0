//! The version before and the version after (F16).

use liandong_core::{
    city::City,
    fold::{Outcome, Tombstone},
    id::{Head, InstanceId},
    link::{Admission, PROTOCOL, Receiver, ReceiverEffect},
    mutant::{Mutant, with},
    op::{Change, Keys, Op, OpType, SignedOp},
    record::{Open, Provider, Record},
    wire::{Claim, Down, Hello, Up, Verdict},
};
use liandong_proto::sync as pb;
use liandong_store::{disk::SimDisk, journal::Journal};
use liandong_tests::simulation::Fold;
use prost::Message as _;

use crate::{FEED, author, record, stamp};

fn admission() -> Admission {
    let mut keys = Keys::default();
    keys.grant(&author(FEED).public_key(), 1).unwrap();
    Admission {
        keys,
        mirror: Head::EMPTY,
        directory_seq: 1,
        hub_incarnation: 1,
        now_ms: 0,
        min_software: None,
    }
}

/// A hello as the wire had it before later fields came.
fn first_hello(proto_min: u32, proto_max: u32) -> Hello {
    let wire = pb::Hello {
        proto_min,
        proto_max,
        software: "liandong 0.0.9".to_owned(),
        head: Some(pb::Cursor {
            feed_id: FEED.as_bytes().to_vec().into(),
            seq: 0,
            head_hash: vec![0; 32].into(),
        }),
        instance_id: InstanceId::new([1; 16]).as_bytes().to_vec().into(),
        ..pb::Hello::default()
    };
    let bytes = pb::PushUp { m: Some(pb::push_up::M::Hello(wire)) }.encode_to_vec();
    match Up::try_from(pb::PushUp::decode(bytes.as_slice()).unwrap()).unwrap() {
        Up::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn greet(hello: &Hello) -> (Verdict, String, Receiver) {
    let mut receiver = Receiver::new(FEED);
    receiver.on_hello(hello, admission(), |_| None);
    let welcome = receiver.effects().into_iter().find_map(|effect| match effect {
        ReceiverEffect::Send(Down::Welcome(welcome)) => Some(welcome),
        _ => None,
    });
    let welcome = welcome.unwrap();
    (welcome.verdict, welcome.explain, receiver)
}

#[test]
fn a_node_of_the_version_before_is_let_in_and_one_of_no_common_version_is_told_to_upgrade() {
    let rows = [
        (PROTOCOL - 1, PROTOCOL, Verdict::InSync),
        (PROTOCOL, PROTOCOL, Verdict::InSync),
        (PROTOCOL, PROTOCOL + 1, Verdict::InSync),
        (PROTOCOL + 1, PROTOCOL + 2, Verdict::UpgradeRequired),
        (0, PROTOCOL - 1, Verdict::UpgradeRequired),
    ];
    for (min, max, wanted) in rows {
        let (verdict, explain, _) = greet(&first_hello(min, max));
        assert_eq!(verdict, wanted, "protocol {min} to {max}");
        if verdict == Verdict::UpgradeRequired {
            assert!(explain.contains("请升级") && explain.contains("upgrade"), "{explain}");
        }
    }
}

#[test]
fn a_claim_without_rules_is_one_under_no_rules() {
    let wire = pb::ViewClaim {
        at_seq: 3,
        fold_version: 2,
        root: vec![1; 32].into(),
        count: 2,
        ..pb::ViewClaim::default()
    };
    let up = Up::try_from(pb::PushUp { m: Some(pb::push_up::M::Claim(wire)) }).unwrap();
    let Up::Claim(Claim { rules, .. }) = up else { panic!("{up:?}") };
    assert_eq!(rules, City::default().rules(FEED).hash());
}

fn ops() -> Vec<Op> {
    let content = Record {
        title: "公共图书馆信息".to_owned(),
        provider: Provider { name: "市文化和旅游局".to_owned(), ..Provider::default() },
        open: Open { kind: liandong_core::code::OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    };
    let put = |kind, number| Change {
        kind,
        subject: record(number).to_bytes().to_vec(),
        base: None,
        payload: content.to_bytes(),
        visibility: content.visibility(),
    };
    let tombstone = serde_json::to_vec(&Tombstone::default()).unwrap();
    let changes = [
        put(OpType::RecordPut, 1),
        Change { payload: tombstone, ..put(OpType::RecordTombstone, 1) },
        put(OpType::RecordRevive, 1),
        put(OpType::RecordPut, 2),
    ];
    let mut ops: Vec<Op> = Vec::new();
    for (change, number) in changes.into_iter().zip(1..) {
        let head = ops.last().map_or(Head::EMPTY, Op::head);
        ops.push(author(FEED).author(head, change, stamp(number)).unwrap());
    }
    ops
}

/// Receives the ops over the wire and keeps them, as a hub does.
fn mirrored(disk: &SimDisk) -> Journal {
    let (_, _, mut receiver) = greet(&first_hello(PROTOCOL, PROTOCOL));
    let sent: Vec<SignedOp> = ops().into_iter().map(|op| op.signed).collect();
    let wire = pb::PushUp::from(Up::Batch { after: Head::EMPTY, ops: sent }).encode_to_vec();
    receiver.on_up(Up::try_from(pb::PushUp::decode(wire.as_slice()).unwrap()).unwrap());
    let open = Journal::open(std::sync::Arc::new(disk.clone()), "/feed".as_ref(), FEED);
    let mut journal = open.unwrap();
    for effect in receiver.effects() {
        if let ReceiverEffect::Append { ops, .. } = effect {
            journal.append_durably(&ops).unwrap();
        }
    }
    journal
}

#[test]
fn a_type_of_a_later_version_is_kept_as_signed_and_takes_effect_after_the_upgrade() {
    let (disk, city) = (SimDisk::default(), City::default());
    let mut before = Fold::new(FEED);
    with(Mutant::OlderVersion, || {
        let journal = mirrored(&disk);
        let outcomes = before.advance(&journal, &city).unwrap();
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(|op| op.outcome).collect();
        let (done, waits) = (Outcome::Materialised, Outcome::PendingUpgrade);
        assert_eq!(outcomes, [done.clone(), done.clone(), waits, done], "the op behind it goes on");
        let kept: Vec<SignedOp> =
            journal.read(0, 9, usize::MAX).unwrap().into_iter().map(|op| op.signed).collect();
        let signed: Vec<SignedOp> = ops().into_iter().map(|op| op.signed).collect();
        assert_eq!(kept, signed, "byte for byte");
    });
    let (mut after, mut native) = (Fold::new(FEED), Fold::new(FEED));
    let open = Journal::open(std::sync::Arc::new(disk), "/feed".as_ref(), FEED);
    after.advance(&open.unwrap(), &city).unwrap();
    for op in ops() {
        native.apply(&op).unwrap();
    }
    assert_ne!(before.root(), after.root());
    assert_eq!(after.root(), native.root(), "as if it had been understood from the first");
}
