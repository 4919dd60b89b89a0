use ed25519_dalek::SigningKey;
use liandong_core::{
    op::{Author, Change, Stamp},
    record::Visibility,
};

use super::*;

const FEED: FeedId = FeedId::new([7; 16]);

fn author(seed: u8) -> Author {
    Author::new(FEED, SigningKey::from_bytes(&[seed; 32]))
}

fn ops(after: Head, count: u8, seed: u8) -> Vec<Op> {
    let mut head = after;
    let op = |number: u8| {
        let change = Change {
            kind: OpType::RecordPut,
            subject: vec![number],
            base: None,
            payload: vec![number; 100],
            visibility: Visibility::Public,
        };
        let stamp = Stamp { now_ms: 0, uid: [number; 16], actor: "a".to_owned() };
        let op = author(seed).author(head, change, stamp).unwrap();
        head = op.head();
        op
    };
    (0..count).map(op).collect()
}

fn keys() -> Keys {
    let mut keys = Keys::default();
    keys.grant(&author(1).public_key(), 1).unwrap();
    keys
}

fn signed(ops: &[Op]) -> Vec<SignedOp> {
    ops.iter().map(|op| op.signed.clone()).collect()
}

fn about(ancestor: Head, ops: &[Op]) -> About {
    About { ancestor, abandoned: ops.last().unwrap().head(), at_ms: 5, certificate: Hash::ZERO }
}

#[test]
fn a_tail_is_kept_whole_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::new(dir.path().join("archive"));
    let ancestor = Head { seq: 40, hash: Hash::of(&[b"op 40"]) };
    let ops = ops(ancestor, 6, 1);
    let about = about(ancestor, &ops);

    let mut first = archive.begin(FEED, about, keys()).unwrap();
    first.take(signed(&ops[..4])).unwrap();
    assert!(matches!(archive.begin(FEED, about, keys()), Err(ArchiveError::Busy)));
    assert!(matches!(first.finish(), Err(ArchiveError::Other)), "the tail has six ops");
    assert_eq!(archive.holds(FEED, about.abandoned).unwrap(), None);

    for _again in 0..2 {
        let mut whole = archive.begin(FEED, about, keys()).unwrap();
        whole.take(signed(&ops)).unwrap();
        assert_eq!(whole.finish().unwrap(), about.abandoned);
    }
    let again = Archive::new(dir.path().join("archive"));
    assert_eq!((again.feeds(), again.tails(FEED)), (vec![FEED], vec![about]));
    assert_eq!(again.holds(FEED, about.abandoned).unwrap(), Some(about));
    assert_eq!(again.read(FEED, &about).unwrap().read(40, 99, usize::MAX).unwrap(), ops);
}

#[test]
fn what_is_not_the_feeds_own_tail_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::new(dir.path().join("archive"));
    let ancestor = Head { seq: 40, hash: Hash::of(&[b"op 40"]) };
    let good = ops(ancestor, 3, 1);
    let table = [
        ("another key", ops(ancestor, 3, 2)),
        ("a gap", vec![good[0].clone(), good[2].clone()]),
        ("another ancestor", ops(Head::EMPTY, 3, 1)),
        ("more than was announced", ops(ancestor, 4, 1)),
    ];
    for (what, ops) in table {
        let mut tail = archive.begin(FEED, about(ancestor, &good), keys()).unwrap();
        let refused = tail.take(signed(&ops)).unwrap_err();
        assert!(matches!(refused, ArchiveError::Op(..) | ArchiveError::Other), "{what}: {refused}");
        assert_eq!(tail.journal.head(), ancestor, "{what} left nothing");
    }
    let far = Head { seq: ancestor.seq + limit::ARCHIVED_OPS_MAX + 1, hash: Hash::ZERO };
    let endless = About { abandoned: far, ..about(ancestor, &good) };
    assert!(matches!(archive.begin(FEED, endless, keys()), Err(ArchiveError::Limit)));
}
