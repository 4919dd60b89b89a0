//! Joining a feed again: the common ancestor in few round trips, and a plan that loses and doubles nothing.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use liandong_core::{
    id::{FeedId, Head, RecordId},
    limit,
    op::{Author, Change, KeyRotation, Op, OpType, Stamp},
    record::Visibility,
    rejoin::{AncestorSearch, Plan, Reason, Tail, plan},
};
use proptest::prelude::*;
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);

fn author() -> Author {
    Author::new(FEED, SigningKey::from_bytes(&[7; 32]))
}

/// A tail is a list of (uid, record); record 0 stands for a letter.
fn write(uids: &[(u8, u8)]) -> Vec<Op> {
    let mut head = Head { seq: 3, ..Head::EMPTY };
    let op = |(uid, record): &(u8, u8)| {
        let id = RecordId::new(FEED, Ulid(u128::from(*record)));
        let letter = *record == 0;
        let change = Change {
            kind: if letter { OpType::Dispute } else { OpType::RecordPut },
            subject: if letter { Vec::new() } else { id.to_bytes().to_vec() },
            base: None,
            payload: vec![*uid],
            visibility: Visibility::Public,
        };
        let stamp = Stamp { now_ms: 0, uid: [*uid; 16], actor: "a".to_owned() };
        let op = author().author(head, change, stamp).unwrap();
        head = op.head();
        op
    };
    uids.iter().map(op).collect()
}

fn tail(ops: &[Op]) -> Tail {
    let mut tail = Tail::default();
    for op in ops {
        tail.note(op);
    }
    tail
}

fn at(ops: &[Op], seq: u64) -> &Op {
    ops.iter().find(|op| op.seq == seq).unwrap()
}

/// Writes on top of the mirror what the plan says, up to `most` ops.
fn carry_out(plan: &Plan, mine: &[Op], theirs: &[Op], most: usize) -> Vec<Op> {
    let mut log = theirs.to_vec();
    for seq in plan.again.iter().take(most) {
        let head = log.last().map_or(Head { seq: 3, ..Head::EMPTY }, Op::head);
        log.push(author().author_again(head, at(mine, *seq), None).unwrap());
    }
    log
}

#[test]
fn the_ancestor_of_a_million_ops_is_found_in_two_round_trips() {
    for (local, common) in [
        (0, 0),
        (1, 0),
        (1, 1),
        (1_000_000, 0),
        (1_000_000, 1),
        (1_000_000, 500_000),
        (1_000_000, 999_999),
        (1_000_000, 1_000_000),
    ] {
        let (found, rounds, most) = search(local, common);
        assert_eq!(found, common, "of {local}");
        assert!(rounds <= 2, "{rounds} rounds for {common} of {local}");
        assert!(most <= limit::ANCESTOR_PROBES_MAX, "{most} probes");
    }
}

fn search(local: u64, common: u64) -> (u64, usize, usize) {
    let mut search = AncestorSearch::new(local);
    let (mut rounds, mut most) = (0, 0);
    loop {
        if let Some(ancestor) = search.ancestor() {
            return (ancestor, rounds, most);
        }
        let probes = search.probes();
        assert!(probes.is_sorted() && !probes.is_empty());
        most = most.max(probes.len());
        rounds += 1;
        search.on_answer(probes.into_iter().rfind(|probe| *probe <= common).unwrap_or(0));
    }
}

#[test]
fn reasons_are_read_as_they_are_written() {
    for (reason, name) in Reason::ALL {
        assert_eq!((reason.name(), Reason::parse(name)), (name, Some(reason)));
    }
    assert_eq!(Reason::parse("other"), None);
}

#[test]
fn an_op_written_again_keeps_everything_but_its_place() {
    let op = &write(&[(1, 1), (2, 1)])[1];
    let head = Head { seq: 40, hash: op.prev };
    let again = author().with_incarnation(2).author_again(head, op, Some(op.prev)).unwrap();
    let kept = |op: &Op| {
        let text = (op.kind.clone(), op.actor.clone(), op.subject.clone(), op.payload_hash);
        (op.uid, text, op.claimed_at_ms, op.visibility, op.min_reader)
    };
    assert_eq!(kept(&again), kept(op));
    assert_eq!((again.seq, again.prev, again.base), (41, head.hash, Some(op.prev)));
    assert_ne!(again.hash, op.hash);
}

#[test]
fn each_op_of_the_tail_has_the_fate_that_the_mirror_gives_it() {
    // What both wrote, what both changed, what only we changed, a letter, and a change on top of what both have.
    let mine = write(&[(1, 1), (2, 2), (3, 3), (4, 0), (5, 2), (6, 4), (7, 4)]);
    let theirs = write(&[(1, 1), (20, 2), (6, 4)]);
    let plan = plan(&tail(&mine), &tail(&theirs));
    let uids = |seqs: &[u64]| seqs.iter().map(|seq| at(&mine, *seq).uid[0]).collect::<Vec<_>>();
    assert_eq!(uids(&plan.again), [3, 4, 7]);
    assert_eq!((plan.known, plan.clashes.len(), plan.erased.len()), (2, 1, 0));
    assert_eq!(uids(&plan.clashes[0].mine), [2, 5]);
    assert_eq!(at(&theirs, plan.clashes[0].theirs).uid[0], 20);
}

#[test]
fn a_rotation_is_given_up_with_its_chain() {
    // Written again it would name a key that the ops after it are not signed with, and the hub would refuse them.
    let mut mine = write(&[(1, 1), (2, 2), (3, 3)]);
    let (old, new) = (author(), Author::new(FEED, SigningKey::from_bytes(&[8; 32])));
    let change = Change {
        kind: OpType::KeyRotate,
        subject: Vec::new(),
        base: None,
        payload: serde_json::to_vec(&KeyRotation::new(&new, old.key_id())).unwrap(),
        visibility: Visibility::Shared,
    };
    let stamp = Stamp { now_ms: 0, uid: [2; 16], actor: "a".to_owned() };
    mine[1] = old.author(mine[0].head(), change, stamp).unwrap();
    let theirs = write(&[(9, 9)]);
    let fate = plan(&tail(&mine), &tail(&theirs));
    assert_eq!((fate.again, fate.rotations), (vec![mine[0].seq, mine[2].seq], vec![mine[1].seq]));
    // One that the mirror holds is the mirror's.
    let fate = plan(&tail(&mine), &tail(&mine[..2]));
    assert_eq!((fate.known, fate.again, fate.rotations), (2, vec![mine[2].seq], vec![]));
}

#[test]
fn an_op_whose_content_was_erased_is_not_written_again() {
    let mut mine = write(&[(1, 1), (2, 2)]);
    mine[0].signed.withheld = true;
    mine[0].signed.payload = bytes::Bytes::new();
    let plan = plan(&tail(&mine), &Tail::default());
    assert_eq!((plan.erased, plan.again), (vec![mine[0].seq], vec![mine[1].seq]));
    assert!(author().author_again(Head::EMPTY, &mine[0], None).is_err());
}

/// Both tails, with some ops in common as after an earlier rejoin of another copy.
fn tails() -> impl Strategy<Value = [Vec<(u8, u8)>; 2]> {
    let records = || prop::collection::vec(0_u8..6, 0..24);
    (records(), records(), prop::collection::vec(any::<bool>(), 24)).prop_map(
        |(mine, theirs, shared)| {
            let mine: Vec<_> = (1..).zip(mine).collect();
            let both = mine.iter().zip(&shared).filter(|(_, shared)| **shared).map(|(op, _)| *op);
            let theirs = both.chain((100..).zip(theirs)).collect();
            [mine, theirs]
        },
    )
}

proptest! {
    #[test]
    fn any_ancestor_is_found_within_the_logarithm(local in 0_u64..2_000_000, part in 0.0..=1.0_f64) {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a small number"
        )]
        let common = (local as f64 * part) as u64;
        let (found, rounds, most) = search(local, common);
        prop_assert_eq!(found, common);
        let most_rounds = if local <= 1_000_000 { 2 } else { 3 };
        prop_assert!(rounds <= most_rounds && most <= limit::ANCESTOR_PROBES_MAX);
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_doubled([mine, theirs] in tails(), stop in 0_usize..24) {
        let (mine, theirs) = (write(&mine), write(&theirs));
        let first = plan(&tail(&mine), &tail(&theirs));
        let whole = carry_out(&first, &mine, &theirs, usize::MAX);

        // Every op of the mirror is where it was; every op of ours is in the log once or with a person, never both.
        prop_assert_eq!(&whole[..theirs.len()], &theirs[..]);
        let mut times: BTreeMap<[u8; 16], usize> = BTreeMap::new();
        for op in &whole {
            *times.entry(op.uid).or_default() += 1;
        }
        prop_assert!(times.values().all(|times| *times == 1));
        let queued: BTreeSet<u64> =
            first.clashes.iter().flat_map(|clash| clash.mine.clone()).collect();
        for op in &mine {
            prop_assert!(times.contains_key(&op.uid) != queued.contains(&op.seq), "op {}", op.seq);
        }
        // A record is with a person only when both changed it.
        for clash in &first.clashes {
            prop_assert!(theirs.iter().any(|op| op.seq == clash.theirs
                && op.subject.as_ref() == clash.record.to_bytes()));
        }
        // Ops of one record keep their order.
        let order: Vec<u64> = first.again.clone();
        prop_assert!(order.is_sorted());

        // No change of ours comes after a later one of ours on the same record.
        for (place, op) in whole.iter().enumerate() {
            let ours = |op: &Op| mine.iter().find(|own| own.uid == op.uid).map(|own| own.seq);
            let record = op.kind == OpType::RecordPut;
            let before =
                whole[..place].iter().filter(|other| record && other.subject == op.subject);
            prop_assert!(ours(op).is_none() || before.filter_map(ours).all(|seq| Some(seq) < ours(op)));
        }

        // Stopped anywhere and planned again, the rest comes out.
        let part = carry_out(&first, &mine, &theirs, stop);
        let second = plan(&tail(&mine), &tail(&part));
        let rest: Vec<u64> = first.again.iter().skip(stop).copied().collect();
        prop_assert_eq!(&second.again, &rest);
        let records = |plan: &Plan| plan.clashes.iter().map(|c| (c.record, c.mine.clone())).collect::<Vec<_>>();
        prop_assert_eq!(records(&second), records(&first));
        let resumed: Vec<_> = carry_out(&second, &mine, &part, usize::MAX).iter().map(|op| op.uid).collect();
        prop_assert_eq!(resumed, whole.iter().map(|op| op.uid).collect::<Vec<_>>());
        // And a third time there is nothing left to write.
        prop_assert!(plan(&tail(&mine), &tail(&whole)).again.is_empty());
    }
}
