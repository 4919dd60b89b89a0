//! The envelope: what its author makes is accepted, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use liandong_core::{
    id::{FeedId, Hash, Head, KeyId},
    limit,
    op::{Author, Change, Keys, Op, OpFault, OpType, SignedOp, Stamp},
    record::Visibility,
};
use liandong_proto::sync as pb;
use proptest::prelude::*;
use prost::Message as _;

const FEED: FeedId = FeedId::new([7; 16]);

fn author(seed: u8) -> Author {
    Author::new(FEED, SigningKey::from_bytes(&[seed; 32]))
}

fn keys(from_seq: u64) -> Keys {
    let mut keys = Keys::default();
    keys.grant(&author(1).public_key(), from_seq).unwrap();
    keys
}

fn change(payload: &[u8]) -> Change {
    Change {
        kind: OpType::RecordPut,
        subject: vec![9; 32],
        base: None,
        payload: payload.to_vec(),
        visibility: Visibility::Public,
    }
}

fn stamp() -> Stamp {
    Stamp { now_ms: 1_700_000_000_000, uid: [3; 16], actor: "某局".to_owned() }
}

fn op_after(head: Head) -> Op {
    author(1).author(head, change(b"{\"title\":\"one\"}"), stamp()).unwrap()
}

fn accept(signed: SignedOp, head: Head, keys: &Keys) -> Result<Op, OpFault> {
    let op = Op::parse(signed)?;
    op.follows(FEED, head)?;
    op.verify(keys)?;
    Ok(op)
}

/// An op whose header was changed before it was signed, as a faulty or hostile author would.
fn forged(change_header: impl FnOnce(&mut pb::OpHeader), extra: &[u8]) -> SignedOp {
    let good = op_after(Head::EMPTY).signed;
    let mut header = pb::OpHeader::decode(good.header.clone()).unwrap();
    change_header(&mut header);
    let mut header = header.encode_to_vec();
    header.extend_from_slice(extra);
    let signature = Bytes::copy_from_slice(&author(1).sign(&header));
    SignedOp { header: header.into(), signature, ..good }
}

proptest! {
    #[test]
    fn what_an_author_makes_is_read_back_and_verifies(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        subject in prop::collection::vec(any::<u8>(), 0..65),
        name in "[a-z.0-9]{0,40}",
        actor in ".{0,30}",
        head in (0_u64..u64::MAX - 1, any::<[u8; 32]>()),
        now_ms in any::<i64>(),
        uid in any::<[u8; 16]>(),
        visibility in 0_u32..3,
    ) {
        let head = Head { seq: head.0, hash: Hash::new(head.1) };
        let visibility = Visibility::from_u32(visibility);
        let kind = OpType::parse(&name);
        let change = Change { kind: kind.clone(), subject: subject.clone(), base: None, payload, visibility };
        let stamp = Stamp { now_ms, uid, actor: actor.clone() };
        let made = author(1).author(head, change, stamp).unwrap();
        let read = accept(made.signed.clone(), head, &keys(1)).unwrap();
        prop_assert_eq!(&read, &made);
        prop_assert_eq!((read.seq, read.prev, read.kind.name()), (head.seq + 1, head.hash, name.as_str()));
        prop_assert_eq!((read.subject.as_ref(), read.actor.as_str()), (subject.as_slice(), actor.as_str()));
        prop_assert_eq!((read.claimed_at_ms, read.uid, read.visibility), (now_ms, uid, visibility));
    }

    #[test]
    fn any_bytes_are_an_op_or_a_fault_and_never_a_panic(
        header in prop::collection::vec(any::<u8>(), 0..200),
        signature in prop::collection::vec(any::<u8>(), 0..80),
        withheld in any::<bool>(),
    ) {
        let noise = SignedOp {
            header: header.into(),
            signature: signature.into(),
            payload: Bytes::new(),
            withheld,
        };
        prop_assert!(accept(noise, Head::EMPTY, &keys(1)).is_err());
    }
}

#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let good = op_after(Head::EMPTY).signed;
    let (header, signature) = (good.header.len(), good.signature.len());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        let (part, at) = match bit / 8 {
            at if at < header => (&mut bad.header, at),
            at if at < header + signature => (&mut bad.signature, at - header),
            at => (&mut bad.payload, at - header - signature),
        };
        let mut bytes = part.to_vec();
        bytes[at] ^= 1 << (bit % 8);
        *part = bytes.into();
        assert!(accept(bad, Head::EMPTY, &keys(1)).is_err(), "bit {bit} was flipped unnoticed");
    }
    assert!(accept(good, Head::EMPTY, &keys(1)).is_ok());
}

#[test]
fn every_part_cut_short_or_lengthened_is_refused() {
    let good = op_after(Head::EMPTY).signed;
    let parts: [fn(&mut SignedOp) -> &mut Bytes; 3] =
        [|op| &mut op.header, |op| &mut op.signature, |op| &mut op.payload];
    for part in parts {
        let mut op = good.clone();
        let whole = part(&mut op).to_vec();
        for cut in 0..whole.len() {
            *part(&mut op) = Bytes::copy_from_slice(&whole[..cut]);
            assert!(accept(op.clone(), Head::EMPTY, &keys(1)).is_err(), "cut at {cut}");
        }
        *part(&mut op) = [whole.as_slice(), &[0]].concat().into();
        assert!(accept(op, Head::EMPTY, &keys(1)).is_err(), "one byte more");
    }
}

#[test]
fn a_header_that_breaks_the_format_is_refused_though_it_is_signed() {
    type Case = (&'static str, fn(&mut pb::OpHeader));
    let cases: [Case; 11] = [
        ("suite", |h| h.suite = 2),
        ("suite", |h| h.suite = 0),
        ("feed_id", |h| h.feed_id = vec![7; 15].into()),
        ("prev_hash", |h| h.prev_hash = Bytes::new()),
        ("op_uid", |h| h.op_uid = vec![0; 17].into()),
        ("key_id", |h| h.key_id = Bytes::new()),
        ("payload_hash", |h| h.payload_hash = vec![0; 31].into()),
        ("too long", |h| h.r#type = "x".repeat(limit::OP_TYPE_BYTES_MAX + 1)),
        ("too long", |h| h.actor = "x".repeat(limit::ACTOR_BYTES_MAX + 1)),
        ("too long", |h| h.subject = vec![0; 65].into()),
        ("SHA-256", |h| h.payload_len += 1),
    ];
    for (reason, break_it) in cases {
        let fault = Op::parse(forged(break_it, &[])).unwrap_err();
        assert!(fault.to_string().contains(reason), "{reason}: {fault}");
    }
}

#[test]
fn a_field_of_a_later_version_stays_in_the_bytes_and_under_the_signature() {
    let later = forged(|_| {}, &[0xa0, 0x06, 0x2a]);
    let op = accept(later.clone(), Head::EMPTY, &keys(1)).unwrap();
    assert_eq!(op.signed, later, "the bytes are kept as they came");
    assert_ne!(op.hash, op_after(Head::EMPTY).hash, "the hash covers the field");
    let wire = SignedOp::from(pb::SignedOp::from(later.clone()));
    assert_eq!(wire, later, "and so does the wire");
}

#[test]
fn a_withheld_payload_verifies_only_when_it_is_really_absent() {
    let good = op_after(Head::EMPTY);
    let redacted = SignedOp { payload: Bytes::new(), withheld: true, ..good.signed.clone() };
    let read = accept(redacted, Head::EMPTY, &keys(1)).unwrap();
    assert_eq!((read.hash, read.payload_hash), (good.hash, good.payload_hash));
    let other = SignedOp {
        payload: Bytes::from_static(b"{\"title\":\"two\"}"),
        withheld: true,
        ..good.signed
    };
    assert_eq!(Op::parse(other).unwrap_err(), OpFault::Payload);
}

#[test]
fn only_the_next_op_of_the_same_feed_follows_a_head() {
    let first = op_after(Head::EMPTY);
    let second = op_after(first.head());
    let elsewhere = Head { seq: 1, hash: Hash::of(&[b"another first op"]) };
    let stranger = FeedId::new([8; 16]);
    let cases = [
        ("the first op", &first, FEED, Head::EMPTY, true),
        ("the second op", &second, FEED, first.head(), true),
        ("an op that is there", &first, FEED, first.head(), false),
        ("a gap", &second, FEED, Head::EMPTY, false),
        ("the right number after another history", &second, FEED, elsewhere, false),
        ("another feed", &first, stranger, Head::EMPTY, false),
    ];
    for (name, op, feed, head, fits) in cases {
        assert_eq!(op.follows(feed, head).is_ok(), fits, "{name}");
    }
}

#[test]
fn a_key_is_good_for_its_feed_from_its_position_on() {
    let at = |seq: u64| op_after(Head { seq: seq - 1, hash: Hash::ZERO });
    let cases = [
        ("before the grant", at(4), keys(5), Err(OpFault::Key(author(1).key_id()))),
        ("at the grant", at(5), keys(5), Ok(())),
        ("after the grant", at(500), keys(5), Ok(())),
        ("without any key", at(1), Keys::default(), Err(OpFault::Key(author(1).key_id()))),
    ];
    for (name, op, keys, expected) in cases {
        assert_eq!(op.verify(&keys), expected, "{name}");
    }
    let foreign = author(2).author(Head::EMPTY, change(b"x"), stamp()).unwrap();
    assert_eq!(foreign.verify(&keys(1)), Err(OpFault::Key(author(2).key_id())));
    // The key id says one key and the signature is of another.
    let claimed =
        forged(|header| header.key_id = Bytes::copy_from_slice(author(2).key_id().as_bytes()), &[]);
    let mut both = keys(1);
    both.grant(&author(2).public_key(), 1).unwrap();
    assert_eq!(Op::parse(claimed).unwrap().verify(&both), Err(OpFault::Signature));
}

#[test]
fn ops_of_a_revoked_key_come_back_to_a_rebuilt_hub_and_no_new_ones_do() {
    let at = |seq: u64| op_after(Head { seq: seq - 1, hash: Hash::ZERO });
    let revoked = Err(OpFault::Key(author(1).key_id()));
    let mut keys = keys(1);
    keys.revoke(author(1).key_id(), 5);
    assert_eq!(at(5).verify(&keys), Ok(()));
    assert_eq!(at(6).verify(&keys), revoked, "nobody knows whose it is");
    // The hub held eight ops when it gave the feed another key.
    keys.grant(&author(2).public_key(), 9).unwrap();
    assert_eq!(at(8).verify(&keys), Ok(()), "it was there and is asked for again");
    assert_eq!(at(9).verify(&keys), revoked);
}

#[test]
fn bytes_that_are_no_point_of_the_curve_are_no_key() {
    let not_a_point = (0..=u8::MAX)
        .map(|n| [n; 32])
        .find(|bytes| Keys::default().grant(bytes, 1).is_err())
        .expect("about half of all byte strings are no point");
    assert!(!liandong_core::op::verify_detached(&not_a_point, b"m", &[0; 64]));
    assert_eq!(KeyId::of(&[1; 32]).to_string().len(), 32);
}

#[test]
fn an_op_above_the_limit_is_refused_by_its_author_and_by_its_reader() {
    let largest = limit::OP_BYTES_MAX;
    let refused = author(1).author(Head::EMPTY, change(&vec![b'x'; largest]), stamp());
    assert!(matches!(refused, Err(OpFault::TooLarge(size)) if size > largest));
    let full = author(1).author(Head::EMPTY, change(&vec![b'x'; limit::RECORD_BYTES_MAX]), stamp());
    let full = full.expect("the largest record fits into an op");
    let padded = SignedOp {
        payload: [full.signed.payload.as_ref(), &[0; 8 * 1024]].concat().into(),
        ..full.signed
    };
    assert!(matches!(Op::parse(padded), Err(OpFault::TooLarge(_))));
}
