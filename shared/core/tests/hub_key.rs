//! The hub's own keys under a root that is kept offline: what a mirror takes, and what a thief of an old key can do.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::{City, HubAnchor, HubKeyGrant, HubKeys, HubRoot},
    id::{FeedId, Hash, Head},
    op::{Author, Change, Op, OpFault, OpType, Stamp},
    record::Visibility,
};

const HUB: FeedId = FeedId::new([1; 16]);
const ROOT: u8 = 100;

fn author(key: u8) -> Author {
    Author::new(HUB, SigningKey::from_bytes(&[key; 32]))
}

fn public(key: u8) -> Hash {
    Hash::new(author(key).public_key())
}

fn anchored(root: Option<u8>) -> HubKeys {
    HubKeys::new(HUB, HubAnchor { first_key: public(1), root: root.map(public) }).unwrap()
}

fn grant(root: u8, serial: u64, key: u8) -> Change {
    HubKeyGrant::sign(&author(root), serial, public(key)).put().remove(0)
}

fn root(key: u8) -> Change {
    HubRoot { public_key: public(key) }.put().remove(0)
}

fn decision() -> Change {
    let kind = OpType::Unknown("decided.v1".to_owned());
    let (subject, payload) = (Vec::new(), b"{}".to_vec());
    Change { kind, subject, base: None, payload, visibility: Visibility::Shared }
}

/// The hub's feed: each change with the key that signs its op.
fn feed(changes: Vec<(u8, Change)>) -> Vec<Op> {
    let mut head = Head::EMPTY;
    let sign = |(key, change)| {
        let stamp = Stamp { now_ms: 0, uid: [0; 16], actor: "a".to_owned() };
        let op = author(key).author(head, change, stamp).unwrap();
        head = op.head();
        op
    };
    changes.into_iter().map(sign).collect()
}

/// How many ops are taken before one is refused.
fn taken(mut keys: HubKeys, ops: &[Op]) -> (usize, Option<OpFault>) {
    for (count, op) in ops.iter().enumerate() {
        if let Err(fault) = keys.take(op) {
            return (count, Some(fault));
        }
    }
    (ops.len(), None)
}

#[test]
fn only_the_root_replaces_the_key_of_the_hub_and_the_old_one_signs_nothing_after() {
    let other_hub = {
        let root = Author::new(FeedId::new([2; 16]), SigningKey::from_bytes(&[ROOT; 32]));
        HubKeyGrant::sign(&root, 1, public(2)).put().remove(0)
    };
    let forged = {
        let grant = HubKeyGrant::sign(&author(ROOT), 1, public(3));
        HubKeyGrant { public_key: public(2), ..grant }.put().remove(0)
    };
    let first = || (1, decision());
    let given = |serial, key| (key, grant(ROOT, serial, key));
    let named = Some(ROOT);
    let cases = [
        ("a rotation", named, vec![first(), given(1, 2), (2, decision())], 3),
        ("two rotations", named, vec![given(1, 2), given(2, 3), (3, decision())], 3),
        ("a serial left out", named, vec![given(7, 2), given(9, 3), (3, decision())], 3),
        ("a key that comes again", named, vec![given(1, 2), given(2, 1), (1, decision())], 3),
        ("the old key after it", named, vec![given(1, 2), (1, decision())], 1),
        ("the new key before it", named, vec![(2, decision())], 0),
        ("a grant that the old key signs", named, vec![(1, grant(ROOT, 1, 2))], 0),
        ("a key that grants itself", named, vec![first(), (2, grant(2, 1, 2))], 1),
        ("a grant by the old key", named, vec![first(), (2, grant(1, 1, 2))], 1),
        ("a grant for another hub", named, vec![first(), (2, other_hub)], 1),
        ("a grant that was for another key", named, vec![first(), (2, forged)], 1),
        ("an old grant said again", named, vec![given(1, 2), given(2, 3), given(1, 2)], 2),
        ("the same serial twice", named, vec![given(1, 2), given(1, 3)], 1),
        ("a grant without a root", None, vec![first(), given(1, 2)], 1),
        ("a root that comes later", None, vec![(1, root(ROOT)), given(1, 2), (2, decision())], 3),
        ("a root that the thief names", named, vec![first(), (1, root(9))], 1),
        ("a second root", None, vec![(1, root(ROOT)), (1, root(9))], 1),
        ("a root named by another key", None, vec![(9, root(9))], 0),
    ];
    for (what, root, changes, expected) in cases {
        let ops = feed(changes);
        let (count, fault) = taken(anchored(root), &ops);
        assert_eq!(count, expected, "{what}: {fault:?}");
        assert_eq!(fault.is_some(), expected < ops.len(), "{what}");
    }
}

#[test]
fn a_mirror_that_starts_again_knows_the_keys_that_it_followed() {
    let ops = feed(vec![
        (1, decision()),
        (1, root(ROOT)),
        (2, grant(ROOT, 1, 2)),
        (2, decision()),
        (3, grant(ROOT, 2, 3)),
        (3, decision()),
    ]);
    let followed = |count: usize| {
        let mut city = City::default();
        for op in &ops[..count] {
            city.apply(op).unwrap();
        }
        let mut keys = anchored(None);
        keys.follow(&city);
        keys
    };
    for count in 0..=ops.len() {
        let (more, fault) = taken(followed(count), &ops[count..]);
        assert_eq!(count + more, ops.len(), "from op {count}: {fault:?}");
    }
    let keys = followed(ops.len());
    assert_eq!(keys.current(), public(3));
    assert_eq!(keys.all(), [public(1), public(2), public(3)]);
    assert!(ops.iter().all(|op| op.verify_kept(keys.keys()).is_ok()), "{keys:?}");
    // What it knows already may come again, as after a journal that was cut; another past may not.
    assert_eq!(taken(followed(ops.len()), &ops[2..]).0, 4);
    let other = feed(vec![(1, decision()), (1, decision()), (1, decision()), (1, decision())]);
    assert_eq!(taken(keys, &other).0, 2, "the thief of the first key writes another past");
}

#[test]
fn a_mirror_under_a_named_root_takes_no_word_of_another_from_its_city() {
    let mut city = City::default();
    for op in feed(vec![(1, root(9)), (2, grant(9, 1, 2))]) {
        city.apply(&op).unwrap();
    }
    let mut keys = anchored(Some(ROOT));
    keys.follow(&city);
    assert_eq!((keys.root(), keys.current()), (Some(public(ROOT)), public(1)));
}
