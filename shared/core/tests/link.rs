//! Sender and receiver, message by message; the simulation in `tests` runs them through every fault.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use ed25519_dalek::SigningKey;
use liandong_core::{
    fold::FOLD_VERSION,
    id::{FeedId, Hash, Head, InstanceId},
    limit,
    link::{Admission, Receiver, ReceiverEffect, Sender, SenderEffect, credit_for},
    op::{Author, Change, Keys, Op, OpType, SignedOp, Stamp},
    receipt::Receipt,
    record::Visibility,
    wire::{Claim, Credit, Down, Hello, Reject, RejectCode, Up, Verdict, Welcome},
};

const FEED: FeedId = FeedId::new([7; 16]);

fn author(seed: u8) -> Author {
    Author::new(FEED, SigningKey::from_bytes(&[seed; 32]))
}

fn ops(seed: u8, count: usize) -> Vec<Op> {
    let mut head = Head::EMPTY;
    (0..count)
        .map(|_| {
            let change = Change {
                kind: OpType::RecordPut,
                subject: Vec::new(),
                base: None,
                payload: b"x".to_vec(),
                visibility: Visibility::Public,
            };
            let stamp = Stamp { now_ms: 0, uid: [seed; 16], actor: String::new() };
            let op = author(7).author(head, change, stamp).unwrap();
            head = op.head();
            op
        })
        .collect()
}

fn receipt(head: Head) -> Receipt {
    Receipt::sign(&author(1), FEED, head, 0)
}

fn hello(head: Head) -> Hello {
    Hello {
        protocol: (1, 1),
        software: String::new(),
        feed: FEED,
        head,
        hub_head: Head::EMPTY,
        instance: InstanceId::new([0; 16]),
        incarnation: 1,
        clock_ms: 0,
        probes: Vec::new(),
    }
}

fn receiver(batches: u32, node: Head) -> Receiver {
    receiver_after(Head::EMPTY, batches, node)
}

/// A receiver whose mirror holds what the node has up to there.
fn receiver_after(mirror: Head, batches: u32, node: Head) -> Receiver {
    let mut keys = Keys::default();
    keys.grant(&author(7).public_key(), 1).unwrap();
    let admission = Admission {
        keys,
        mirror,
        directory_seq: 0,
        hub_incarnation: 0,
        min_software: None,
        now_ms: 0,
    };
    let mut receiver = Receiver::new(FEED);
    receiver.set_window(batches);
    receiver.on_hello(&hello(node), admission, |_| None);
    receiver.effects();
    receiver
}

/// A sender that was welcomed by an empty hub.
fn sender(local: Head, credit: Credit) -> Sender {
    let mut sender = Sender::new(FEED, author(1).public_key(), local);
    sender.on_down(Down::Welcome(Welcome {
        verdict: Verdict::Extend,
        mirror: Head::EMPTY,
        credit,
        hub_time_ms: 0,
        directory_seq: 0,
        hub_incarnation: 1,
        explain: String::new(),
        retry_after_ms: 0,
        hub_head: Head::EMPTY,
    }));
    sender
}

fn batch(after: Head, ops: &[Op]) -> Up {
    Up::Batch { after, ops: ops.iter().map(|op| op.signed.clone()).collect() }
}

fn rejected(receiver: &mut Receiver) -> Option<RejectCode> {
    receiver.effects().into_iter().find_map(|effect| match effect {
        ReceiverEffect::Send(Down::Reject(reject)) => Some(reject.code),
        _ => None,
    })
}

#[test]
fn a_batch_is_appended_whole_or_refused_whole() {
    let good = ops(1, 4);
    let other = ops(2, 4);
    let mut flipped = good[1].signed.clone();
    flipped.payload = b"y".to_vec().into();
    let spoilt: [(&str, Head, Vec<SignedOp>, RejectCode); 4] = [
        (
            "a gap",
            Head::EMPTY,
            vec![good[0].signed.clone(), good[2].signed.clone()],
            RejectCode::BadChain,
        ),
        (
            "another history",
            Head::EMPTY,
            vec![good[0].signed.clone(), other[1].signed.clone()],
            RejectCode::BadChain,
        ),
        (
            "a changed payload",
            Head::EMPTY,
            vec![good[0].signed.clone(), flipped],
            RejectCode::Malformed,
        ),
        ("after another head", good[1].head(), vec![good[2].signed.clone()], RejectCode::BadChain),
    ];
    for (name, after, ops, code) in spoilt {
        let mut receiver = receiver(2, good[3].head());
        receiver.on_up(Up::Batch { after, ops });
        assert_eq!(rejected(&mut receiver), Some(code), "{name}");
        assert!(receiver.closed(), "{name}");
    }
    let mut receiver = receiver(2, good[3].head());
    receiver.on_up(batch(Head::EMPTY, &good));
    let append = ReceiverEffect::Append { after: Head::EMPTY, ops: good };
    assert_eq!(receiver.effects(), [append]);
}

#[test]
fn a_node_that_waits_for_credit_is_told_when_there_is_some() {
    let ops = ops(1, 3);
    let mut receiver = receiver(0, ops[2].head());
    let mut sender = sender(ops[2].head(), credit_for(0));
    let reads = |sender: &mut Sender| {
        sender.effects().iter().any(|effect| matches!(effect, SenderEffect::Read { .. }))
    };
    assert!(!reads(&mut sender), "nothing may be sent");
    receiver.set_window(1);
    let effects = receiver.effects();
    let [ReceiverEffect::Send(ack)] = effects.as_slice() else { panic!("{effects:?}") };
    sender.on_down(ack.clone());
    assert!(reads(&mut sender));
    receiver.set_window(0);
    assert_eq!(receiver.effects(), [], "less is said with the next message");
}

#[test]
fn a_receipt_for_another_op_than_the_one_sent_is_a_fork() {
    let (own, other) = (ops(1, 3), ops(2, 3));
    let cases = [
        ("ours", receipt(own[2].head()), None),
        ("another op", receipt(other[2].head()), Some(true)),
        ("more than was sent", receipt(Head { seq: 4, hash: Hash::ZERO }), Some(false)),
        ("of another hub", Receipt::sign(&author(2), FEED, own[2].head(), 0), Some(false)),
        (
            "for another feed",
            Receipt::sign(&author(1), FeedId::new([8; 16]), own[2].head(), 0),
            Some(false),
        ),
    ];
    for (name, receipt, closes) in cases {
        let mut sender = sender(own[2].head(), credit_for(1));
        sender.on_ops(own.clone());
        sender.effects();
        sender.on_down(Down::Ack {
            receipt: Some(receipt),
            credit: credit_for(1),
            outcomes: Vec::new(),
        });
        let closed = sender.effects().into_iter().find_map(|effect| match effect {
            SenderEffect::Close { frozen, .. } => Some(frozen),
            _ => None,
        });
        assert_eq!(closed, closes, "{name}");
        assert_eq!(sender.acked().seq, if closes.is_none() { 3 } else { 0 }, "{name}");
    }
}

#[test]
fn what_the_hub_will_refuse_again_is_shown_as_refused() {
    for (code, expected) in [
        (RejectCode::BadKey, (false, true)),
        (RejectCode::BadChain, (true, true)),
        (RejectCode::Suspended, (false, true)),
        (RejectCode::StaleStream, (false, false)),
        (RejectCode::Unavailable, (false, false)),
    ] {
        let mut sender = sender(Head::EMPTY, credit_for(1));
        let explain = String::new();
        sender.on_down(Down::Reject(Reject { code, seq: 1, explain, retry_after_ms: 0 }));
        let closed = sender.effects().into_iter().find_map(|effect| match effect {
            SenderEffect::Close { frozen, refused, .. } => Some((frozen, refused)),
            _ => None,
        });
        assert_eq!(closed, Some(expected), "{code:?}");
    }
}

#[test]
fn roots_are_compared_at_the_same_position_and_by_the_same_rules_only() {
    let root = Hash::of(&[b"root"]);
    let cases = [
        ("equal", 3, FOLD_VERSION, root, "seen"),
        ("unequal", 3, FOLD_VERSION, Hash::ZERO, "mismatch"),
        ("unequal by other rules", 3, FOLD_VERSION + 1, Hash::ZERO, "nothing"),
        ("of an earlier position", 2, FOLD_VERSION, Hash::ZERO, "nothing"),
        ("of a later position", 4, FOLD_VERSION, Hash::ZERO, "nothing"),
    ];
    let at = ops(1, 3)[2].head();
    for (name, seq, fold_version, claimed, expected) in cases {
        let mut receiver = receiver_after(at, 1, at);
        let rules = Hash::ZERO;
        let ours = Claim { seq: 3, fold_version: FOLD_VERSION, root, records: 1, rules };
        receiver.on_up(Up::Claim(Claim { seq, fold_version, root: claimed, ..ours }));
        receiver.on_applied(ours, Vec::new(), 0);
        let said = receiver.effects().iter().find_map(|effect| match effect {
            ReceiverEffect::Send(Down::ClaimSeen { .. }) => Some("seen"),
            ReceiverEffect::Send(Down::Mismatch { .. }) => Some("mismatch"),
            _ => None,
        });
        assert_eq!(said.unwrap_or("nothing"), expected, "{name}");
    }
}

#[test]
fn a_stream_ends_when_the_mirror_grows_by_ops_it_did_not_bring() {
    // The node was restored to op 3 while ops of its life before were on their way to the disk: at its hello the mirror
    // ended at op 3 too. Only another hello tells that it went back.
    let ops = ops(1, 5);
    let (welcomed, root) = (ops[2].head(), Hash::of(&[b"root"]));
    for (seq, expected) in [(3, None), (5, Some(RejectCode::StaleStream))] {
        let mut receiver = receiver_after(welcomed, 1, welcomed);
        let rules = Hash::ZERO;
        let claim = Claim { seq, fold_version: FOLD_VERSION, root, records: 1, rules };
        receiver.on_up(Up::Claim(Claim { seq: 3, ..claim }));
        receiver.on_applied(claim, Vec::new(), 0);
        assert_eq!(rejected(&mut receiver), expected, "the mirror is folded up to {seq}");
    }
    // What it brought itself is no surprise.
    let mut receiver = receiver_after(welcomed, 1, ops[4].head());
    receiver.on_up(batch(welcomed, &ops[3..]));
    let rules = Hash::ZERO;
    let applied = Claim { seq: 5, fold_version: FOLD_VERSION, root, records: 1, rules };
    receiver.on_applied(applied, Vec::new(), 0);
    assert_eq!(rejected(&mut receiver), None);
}

#[test]
fn a_refused_key_of_the_district_comes_with_the_way_out_and_another_one_does_not() {
    let explain = |keys: Keys, op: &Op| {
        let mut receiver = Receiver::new(FEED);
        let admission = Admission {
            keys,
            mirror: Head::EMPTY,
            directory_seq: 0,
            hub_incarnation: 0,
            min_software: None,
            now_ms: 0,
        };
        receiver.set_window(1);
        receiver.on_hello(&hello(op.head()), admission, |_| None);
        receiver.on_up(batch(Head::EMPTY, std::slice::from_ref(op)));
        let rejected = receiver.effects().into_iter().find_map(|effect| match effect {
            ReceiverEffect::Send(Down::Reject(reject)) => Some(reject),
            _ => None,
        });
        let rejected = rejected.unwrap();
        assert_eq!((rejected.code, rejected.seq), (RejectCode::BadKey, 1));
        rejected.explain
    };
    let op = &ops(1, 1)[0];
    let id = author(7).key_id();
    let mut followed = Keys::default();
    followed.grant(&author(7).public_key(), 1).unwrap();
    followed.grant(&author(8).public_key(), 1).unwrap();
    let told = explain(followed.clone(), op);
    assert!(told.contains(&format!("key restore <CODE> --key {id} --from 1")), "{told}");
    let mut strange = Keys::default();
    strange.grant(&author(8).public_key(), 1).unwrap();
    followed.revoke(id, 0);
    for keys in [strange, followed] {
        let told = explain(keys, op);
        assert!(!told.contains("key restore"), "{told}");
    }
}

#[test]
fn more_in_flight_than_was_ever_granted_ends_the_stream() {
    let ops = ops(1, 600);
    let mut receiver = receiver(2, ops[599].head());
    receiver.on_up(batch(Head::EMPTY, &ops[..256]));
    receiver.on_up(batch(ops[255].head(), &ops[256..512]));
    assert_eq!(rejected(&mut receiver), None);
    receiver.on_up(batch(ops[511].head(), &ops[512..513]));
    assert_eq!(rejected(&mut receiver), Some(RejectCode::OutOfCredit));
}

#[test]
fn a_node_without_a_protocol_version_in_common_is_asked_to_upgrade() {
    for (protocol, expected) in [
        ((1, 1), Verdict::InSync),
        ((0, 1), Verdict::InSync),
        ((1, 9), Verdict::InSync),
        ((2, 9), Verdict::UpgradeRequired),
        ((0, 0), Verdict::UpgradeRequired),
    ] {
        let mut receiver = Receiver::new(FEED);
        let admission = Admission {
            keys: Keys::default(),
            mirror: Head::EMPTY,
            directory_seq: 0,
            hub_incarnation: 0,
            min_software: None,
            now_ms: 0,
        };
        receiver.on_hello(&Hello { protocol, ..hello(Head::EMPTY) }, admission, |_| None);
        let effects = receiver.effects();
        let Some(ReceiverEffect::Send(Down::Welcome(welcome))) = effects.first() else {
            panic!("{protocol:?} is answered with {effects:?}")
        };
        assert_eq!(welcome.verdict, expected, "{protocol:?}");
        assert!(!welcome.explain.is_empty(), "a person is told why");
        assert_eq!(receiver.closed(), expected == Verdict::UpgradeRequired);
    }
}

#[test]
fn more_bytes_in_flight_than_granted_end_the_stream() {
    let mut head = Head::EMPTY;
    let large: Vec<Op> = (0..40)
        .map(|_| {
            let change = Change {
                kind: OpType::RecordPut,
                subject: Vec::new(),
                base: None,
                payload: vec![b'x'; limit::RECORD_BYTES_MAX],
                visibility: Visibility::Public,
            };
            let stamp = Stamp { now_ms: 0, uid: [7; 16], actor: String::new() };
            let op = author(7).author(head, change, stamp).unwrap();
            head = op.head();
            op
        })
        .collect();
    let mut receiver = receiver(2, head);
    let mut after = Head::EMPTY;
    for (number, ops) in large.chunks(15).enumerate() {
        receiver.on_up(batch(after, ops));
        after = ops.last().unwrap().head();
        let expected = (number == 2).then_some(RejectCode::OutOfCredit);
        assert_eq!(rejected(&mut receiver), expected, "batch {number}");
    }
}

/// An op about record `n` after `head`.
fn about(head: Head, kind: OpType, base: Option<Hash>, visibility: Visibility) -> Op {
    let subject = vec![1; 32];
    let change = Change { kind, subject, base, payload: b"{}".to_vec(), visibility };
    let stamp = Stamp { now_ms: 0, uid: [3; 16], actor: String::new() };
    author(7).author(head, change, stamp).unwrap()
}

#[test]
fn withdrawals_from_the_public_are_obeyed_before_their_turn_and_nothing_else_is() {
    let far = Head { seq: 900, hash: Hash::of(&[b"op 900"]) };
    let seen = Some(Hash::of(&[b"before"]));
    let forged = {
        let mut op = about(far, OpType::RecordTombstone, seen, Visibility::Public).signed;
        op.signature = op.signature.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
        op
    };
    let cases = [
        ("withdrawn", about(far, OpType::RecordTombstone, seen, Visibility::Public).signed, true),
        ("narrowed", about(far, OpType::RecordPut, seen, Visibility::Shared).signed, true),
        ("still public", about(far, OpType::RecordPut, seen, Visibility::Public).signed, false),
        (
            "new and restricted",
            about(far, OpType::RecordPut, None, Visibility::Shared).signed,
            false,
        ),
        ("forged", forged, false),
    ];
    for (name, op, obeyed) in cases {
        let mut receiver = receiver(1, Head { seq: 1_000, hash: Hash::ZERO });
        receiver.on_up(Up::Urgent(vec![op]));
        let hidden = receiver
            .effects()
            .iter()
            .any(|effect| matches!(effect, ReceiverEffect::Hide(ops) if ops.len() == 1));
        assert_eq!(hidden, obeyed, "{name}");
        assert!(!receiver.closed(), "{name}");
    }
}

#[test]
fn a_backlog_is_looked_through_once_and_a_short_queue_never() {
    let looks = |sender: &mut Sender| -> Vec<(u64, u64)> {
        sender
            .effects()
            .into_iter()
            .filter_map(|effect| match effect {
                SenderEffect::LookThrough { after, to } => Some((after, to)),
                _ => None,
            })
            .collect()
    };
    let at = |seq| Head { seq, hash: Hash::of(&[b"head"]) };
    let mut sender = sender(at(10_000), credit_for(1));
    sender.on_hash(0, Some(Hash::ZERO));
    assert_eq!(looks(&mut sender), [(0, 10_000)]);
    sender.on_local(at(10_000), None);
    assert_eq!(looks(&mut sender), []);
    sender.on_local(at(10_001), None);
    assert_eq!(looks(&mut sender), [(10_000, 10_001)]);
    let mut short = self::sender(at(20), credit_for(1));
    short.on_hash(0, Some(Hash::ZERO));
    assert_eq!(looks(&mut short), []);
}

#[test]
fn a_few_withdrawals_go_first_and_very_many_keep_their_turn() {
    for (count, expected) in [(3, 3), (u64::from(limit::MASS_RECORDS) + 1, 0)] {
        let mut sender = sender(Head { seq: 9_000, hash: Hash::ZERO }, credit_for(1));
        sender.on_hash(0, Some(Hash::ZERO));
        sender.effects();
        let ops = (0..count).map(|n| {
            let head = Head { seq: n, hash: Hash::ZERO };
            about(head, OpType::RecordTombstone, None, Visibility::Public)
        });
        sender.on_urgent(ops.collect());
        let sent: usize = sender
            .effects()
            .iter()
            .map(|effect| match effect {
                SenderEffect::Send(Up::Urgent(ops)) => ops.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(sent, expected);
    }
}

#[test]
fn a_node_that_is_older_than_the_city_allows_is_asked_to_upgrade_in_words() {
    let cases = [
        ("liandong-node/0.1.9", Verdict::UpgradeRequired),
        ("liandong-node/0.2.0", Verdict::InSync),
        ("liandong-node/1.0.0", Verdict::InSync),
        ("something else", Verdict::UpgradeRequired),
    ];
    for (software, expected) in cases {
        let mut receiver = Receiver::new(FEED);
        let admission = Admission {
            keys: Keys::default(),
            mirror: Head::EMPTY,
            directory_seq: 0,
            hub_incarnation: 0,
            min_software: Some("0.2.0".parse().unwrap()),
            now_ms: 0,
        };
        let hello = Hello { software: software.to_owned(), ..hello(Head::EMPTY) };
        receiver.on_hello(&hello, admission, |_| None);
        let welcome = receiver.effects().into_iter().find_map(|effect| match effect {
            ReceiverEffect::Send(Down::Welcome(welcome)) => Some(welcome),
            _ => None,
        });
        let welcome = welcome.unwrap();
        assert_eq!(welcome.verdict, expected, "{software}");
        let told = welcome.explain.contains("0.2.0") && welcome.explain.contains(software);
        assert_eq!(told, expected == Verdict::UpgradeRequired, "{}", welcome.explain);
    }
}
