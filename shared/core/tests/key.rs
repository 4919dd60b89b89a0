//! The keys of a feed in time: who signs where, and what is believed of a key that was stolen (I18, F17).

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::{City, KeyRevoke, Rules},
    code::OpenKind,
    directory::{Directory, FeedGrant, KeyGrant, Token},
    fold::{self, Outcome},
    id::{FeedId, Hash, Head, InstanceId, KeyId, RecordId},
    op::{Author, Change, KeyRotation, Keys, Op, OpFault, OpType, Stamp},
    record::{Open, Provider, Record, Visibility},
};
use proptest::prelude::*;
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);

fn author(key: u8) -> Author {
    Author::new(FEED, SigningKey::from_bytes(&[key; 32]))
}

fn key(n: u8) -> KeyId {
    author(n).key_id()
}

fn stamp(seq: u64) -> Stamp {
    Stamp { now_ms: 1_700_000_000_000, uid: u128::from(seq).to_be_bytes(), actor: "a".to_owned() }
}

fn put(n: u128) -> Change {
    let record = Record {
        title: format!("目录{n}"),
        provider: Provider { name: "某局".to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    };
    Change {
        kind: OpType::RecordPut,
        subject: RecordId::new(FEED, Ulid(n)).to_bytes().to_vec(),
        base: None,
        payload: record.to_bytes(),
        visibility: record.visibility(),
    }
}

fn rotation(from: u8, to: u8) -> Change {
    Change {
        kind: OpType::KeyRotate,
        subject: Vec::new(),
        base: None,
        payload: serde_json::to_vec(&KeyRotation::new(&author(to), key(from))).unwrap(),
        visibility: Visibility::Shared,
    }
}

/// A feed whose op `n` (from 1) is signed by the key `keys[n - 1]`; where the next op has another key, the op rotates.
fn feed(keys: &[u8]) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    for (place, own) in keys.iter().enumerate() {
        let head = ops.last().map_or(Head::EMPTY, Op::head);
        let next = keys.get(place + 1).filter(|next| *next != own);
        let change = next.map_or_else(|| put(place as u128), |next| rotation(*own, *next));
        ops.push(author(*own).author(head, change, stamp(head.seq)).unwrap());
    }
    ops
}

fn granted(first: u8) -> Keys {
    let mut keys = Keys::default();
    keys.grant(&author(first).public_key(), 1).unwrap();
    keys
}

fn follow(keys: &mut Keys, op: &Op) -> Result<(), OpFault> {
    op.verify(keys)?;
    if op.kind == OpType::KeyRotate { keys.rotate(op) } else { Ok(()) }
}

#[test]
fn ops_before_and_after_a_rotation_verify_under_their_own_key_only() {
    let ops = feed(&[1, 1, 2, 2, 3]);
    let mut keys = granted(1);
    for op in &ops {
        follow(&mut keys, op).unwrap();
    }
    assert_eq!(keys.current(), Some(key(3)));
    for op in &ops {
        op.verify(&keys).unwrap();
    }
    // The hub's countersignature changes nothing of what the feed said.
    let mut signed = keys.clone();
    signed.countersign(&author(2).public_key(), 3).unwrap();
    signed.countersign(&author(3).public_key(), 5).unwrap();
    assert_eq!(signed, keys);
    // Reading the feed again with all keys known changes nothing either.
    for op in &ops {
        follow(&mut signed, op).unwrap();
    }
    assert_eq!(signed, keys);
    let late = author(1).author(ops[4].head(), put(9), stamp(5)).unwrap();
    assert_eq!(late.verify(&keys), Err(OpFault::Key(key(1))), "the old key signs no longer");
    let early = author(3).author(ops[0].head(), put(9), stamp(1)).unwrap();
    assert_eq!(early.verify(&keys), Err(OpFault::Key(key(3))), "nor the new one before its turn");
}

#[test]
fn a_key_that_did_not_agree_is_not_rotated_to() {
    let mut change = rotation(1, 2);
    let mut forged: KeyRotation = serde_json::from_slice(&change.payload).unwrap();
    forged.public_key = Hash::new(author(3).public_key());
    change.payload = serde_json::to_vec(&forged).unwrap();
    let op = author(1).author(Head::EMPTY, change, stamp(0)).unwrap();
    assert!(matches!(granted(1).rotate(&op), Err(OpFault::Malformed(_))));
}

#[test]
fn a_stolen_key_takes_the_keys_with_it_that_it_named_and_not_the_hubs_own() {
    // Key 1 is stolen after op 2: op 3 rotates to the thief's key 2, which rotates to 3.
    let ops = feed(&[1, 1, 1, 2, 2, 3]);
    let mut keys = granted(1);
    for op in &ops {
        follow(&mut keys, op).unwrap();
    }
    keys.revoke(key(1), 2);
    let all = [(key(1), 2), (key(2), 2), (key(3), 2)];
    let mut expected = all.to_vec();
    expected.sort_unstable();
    assert_eq!(keys.revoked(), expected);
    for op in &ops {
        assert_eq!(op.verify(&keys).is_ok(), op.seq <= 2, "op {}", op.seq);
        op.verify_kept(&keys).unwrap();
    }
    // The thief's key names another one; the hub gives the district a key of its own.
    let head = ops.last().unwrap().head();
    let thief = author(3).author(head, rotation(3, 4), stamp(6)).unwrap();
    assert_eq!(thief.verify(&keys), Err(OpFault::Key(key(3))));
    keys.grant(&author(5).public_key(), head.seq + 1).unwrap();
    author(5).author(head, put(9), stamp(6)).unwrap().verify(&keys).unwrap();
    assert_eq!(keys.revoked(), expected);
}

#[test]
fn a_rotation_that_was_good_outlives_the_revocation_of_the_key_before() {
    let ops = feed(&[1, 1, 2, 2]);
    let mut keys = granted(1);
    for op in &ops {
        follow(&mut keys, op).unwrap();
    }
    keys.revoke(key(1), 2);
    assert!(ops.iter().all(|op| op.verify(&keys).is_ok()));
}

/// A hub's feed in which the district's feed has its first key.
struct Hub {
    author: Author,
    head: Head,
    city: City,
}

impl Hub {
    fn new() -> Self {
        let author = Author::new(FeedId::new([1; 16]), SigningKey::from_bytes(&[100; 32]));
        let mut hub = Self { author, head: Head::EMPTY, city: City::default() };
        let code: liandong_core::id::DistrictCode = "310115".parse().unwrap();
        let token = Token {
            hash: Hash::ZERO,
            code: code.clone(),
            expires_ms: i64::MAX,
            feed: None,
            reason: None,
        };
        let changes = Directory::default().add_district("浦东新区", &token).unwrap();
        hub.commit(changes);
        let grant = FeedGrant {
            feed: FEED,
            code,
            token: Hash::ZERO,
            instance: InstanceId::new([1; 16]),
            key: None,
        };
        let change = Change {
            kind: OpType::DirFeed,
            subject: Vec::new(),
            base: None,
            payload: serde_json::to_vec(&grant).unwrap(),
            visibility: Visibility::Shared,
        };
        hub.commit(vec![change]);
        let public_key = Hash::new(author_key(1));
        hub.commit(KeyGrant { feed: FEED, public_key, from_seq: 1, cause: None }.put());
        hub
    }

    fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            let op = self.author.author(self.head, change, stamp(self.head.seq)).unwrap();
            self.head = op.head();
            self.city.apply(&op).unwrap();
        }
    }
}

fn author_key(n: u8) -> [u8; 32] {
    author(n).public_key()
}

fn outcomes(ops: &[Op], rules: &Rules) -> Vec<bool> {
    let mut states = std::collections::BTreeMap::new();
    let fold = |op: &Op| {
        let folded = fold::fold(op, rules, |id| states.get(&id).copied());
        states.extend(folded.change);
        folded.outcome == Outcome::Materialised
    };
    ops.iter().map(fold).collect()
}

#[test]
fn a_revocation_needs_a_reason_and_a_key_of_the_feed_and_is_said_once() {
    let mut hub = Hub::new();
    let ops = feed(&[1, 1]);
    let revoke = KeyRevoke {
        feed: FEED,
        key: key(1),
        last_good: ops[0].head(),
        reason: "私钥外泄".to_owned(),
    };
    let silent = KeyRevoke { reason: " ".to_owned(), ..revoke.clone() };
    let foreign = KeyRevoke { key: key(9), ..revoke.clone() };
    assert!(hub.city.revoke_key(&silent).is_err() && hub.city.revoke_key(&foreign).is_err());
    hub.commit(hub.city.revoke_key(&revoke).unwrap());
    assert!(hub.city.revoke_key(&revoke).is_err(), "nothing would change");
    let earlier = KeyRevoke { last_good: Head::EMPTY, ..revoke };
    hub.commit(hub.city.revoke_key(&earlier).unwrap());
    assert_eq!(hub.city.rules(FEED).revoked, [(key(1), 0)]);
}

proptest! {
    #[test]
    fn no_op_of_a_revoked_key_counts_after_the_last_good_one_and_all_others_do(
        keys in prop::collection::vec(1_u8..4, 1..10),
        stolen in 1_u8..4,
        last_good in 0_u64..10,
        rotate_first in any::<bool>(),
    ) {
        // Rotation goes forward only: a district does not take an old key again.
        let mut keys = keys;
        keys.sort_unstable();
        keys.insert(0, 1);
        let ops = feed(&keys);
        let mut hub = Hub::new();
        let sign = |hub: &mut Hub| {
            for op in ops.iter().filter(|op| op.kind == OpType::KeyRotate) {
                let public_key = KeyRotation::of(op).unwrap().public_key;
                let cause = Some(liandong_core::city::Cause { feed: FEED, seq: op.seq });
                hub.commit(KeyGrant { feed: FEED, public_key, from_seq: op.seq + 1, cause }.put());
            }
        };
        if rotate_first {
            sign(&mut hub);
        }
        let hash = Hash::of(&[b"last good"]);
        let revoke = KeyRevoke {
            feed: FEED,
            key: key(stolen),
            last_good: Head { seq: last_good, hash },
            reason: "失窃".to_owned(),
        };
        // A key that the feed never had cannot be revoked.
        let known = hub.city.directory.feeds[&FEED].keys.list();
        if let Ok(changes) = hub.city.revoke_key(&revoke) {
            hub.commit(changes);
        } else {
            prop_assert!(known.iter().all(|known| known.key != key(stolen)));
        }
        if !rotate_first {
            sign(&mut hub);
        }
        let revoked = hub.city.rules(FEED).revoked;
        // Only the stolen key and what came of it after the theft is not believed.
        let rotated = ops.iter().find(|op| op.kind == OpType::KeyRotate && op.key == key(stolen));
        let infected = rotated.is_some_and(|op| op.seq > last_good);
        for (op, counted) in ops.iter().zip(outcomes(&ops, &hub.city.rules(FEED))) {
            let bad = !revoked.is_empty()
                && op.seq > last_good
                && (op.key == key(stolen) || (infected && keys[usize::try_from(op.seq).unwrap() - 1] > stolen));
            prop_assert_eq!(counted, !bad, "op {} by key {}", op.seq, op.key);
        }
    }
}

#[test]
fn a_rotation_that_is_confirmed_late_does_not_take_the_key_that_followed() {
    // Key 1 named key 2 at op 3; the hub granted key 3 from op 6 on, and only then confirmed the rotation.
    let mut late = granted(1);
    late.grant(&author_key(3), 6).unwrap();
    late.countersign(&author_key(2), 4).unwrap();
    let mut in_time = granted(1);
    in_time.countersign(&author_key(2), 4).unwrap();
    in_time.grant(&author_key(3), 6).unwrap();
    for keys in [late, in_time] {
        assert_eq!(keys.current(), Some(key(3)));
    }
}

#[test]
fn a_key_that_the_hub_restores_signs_whatever_was_to_follow() {
    // Op 3 named key 2, and the hub countersigned it; the hub gave key 3 from op 9 on. Node and hub went back to op 2,
    // and with op 3 its keys are gone: the node goes on with key 1.
    let mut hub = Hub::new();
    let cause = Some(liandong_core::city::Cause { feed: FEED, seq: 3 });
    for (n, from_seq, cause) in [(2, 4, cause), (3, 9, None)] {
        let public_key = Hash::new(author_key(n));
        hub.commit(KeyGrant { feed: FEED, public_key, from_seq, cause }.put());
    }
    let ops = feed(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 4]);
    let refused = |hub: &Hub| {
        let mut keys = hub.city.directory.feeds[&FEED].keys.clone();
        ops.iter().find(|op| follow(&mut keys, op).is_err()).map(|op| op.seq)
    };
    assert_eq!(refused(&hub), Some(4));
    for (name, key, from_seq) in [
        ("a key that the feed never had", key(9), 4),
        ("what the mirror holds keeps its key", key(1), 2),
        ("the key that signs there already", key(3), 9),
    ] {
        assert!(hub.city.restore_key(FEED, key, from_seq, 2).is_err(), "{name}");
    }
    let restore = hub.city.restore_key(FEED, key(1), 4, 2).unwrap();
    hub.commit(restore);
    assert_eq!(refused(&hub), None, "key 1 signs on, and names another one as ever");
    let keys = &hub.city.directory.feeds[&FEED].keys;
    assert_eq!(keys.current(), Some(key(1)));
    assert_eq!(hub.city.directory.feeds[&FEED].public_key, Some(author_key(1)));
    assert!(hub.city.restore_key(FEED, key(1), 4, 2).is_err(), "nothing would change");
    let revoke =
        KeyRevoke {
            feed: FEED, key: key(2), last_good: ops[1].head(), reason: "失窃".to_owned()
        };
    hub.commit(hub.city.revoke_key(&revoke).unwrap());
    assert!(hub.city.restore_key(FEED, key(2), 4, 2).is_err(), "a stolen key");
    // The hub may change its mind.
    hub.commit(hub.city.restore_key(FEED, key(3), 4, 2).unwrap());
    assert_eq!(refused(&hub), Some(4));
}

proptest! {
    #[test]
    fn at_each_position_one_key_signs_and_the_hubs_last_word_is_obeyed(
        words in prop::collection::vec((1_u8..6, 1_u64..12, any::<bool>()), 0..8),
    ) {
        let mut keys = granted(1);
        for (n, from_seq, rotation) in words {
            let public_key = author_key(n);
            if rotation {
                keys.countersign(&public_key, from_seq).unwrap();
            } else {
                keys.grant(&public_key, from_seq).unwrap();
                prop_assert_eq!(keys.current(), Some(key(n)));
            }
            for seq in 1..14 {
                let signs = |known: &&liandong_core::op::KeyStretch| {
                    known.from_seq <= seq && known.until_seq.is_none_or(|until| seq <= until)
                };
                prop_assert_eq!(keys.list().iter().filter(signs).count(), 1, "{}", seq);
                let at_grant = !rotation && seq >= from_seq;
                let signer = keys.list().iter().find(signs).map(|known| known.key);
                prop_assert!(!at_grant || signer == Some(key(n)), "{}", seq);
            }
        }
    }
}
