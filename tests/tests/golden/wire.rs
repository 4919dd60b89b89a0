//! Messages, and what is signed.

use std::collections::BTreeSet;

use liandong_core::{
    checkpoint::Checkpoint,
    fold::{RecordState, Status},
    id::{Hash, Head, InstanceId},
    op::{Change, KeyRotation, OpType},
    receipt::{Receipt, join_message, renew_message, token_hash},
    record::Visibility,
    wire::recover::Rejoin,
};

use super::message;
use crate::{FEED, HUB, author, kept, record, stamp, unchanged};

const HEAD: Head = Head { seq: 300, hash: Hash::new([1; 32]) };

#[test]
fn every_message_keeps_its_bytes_and_old_bytes_are_read() {
    for (name, bytes, reads) in message::rows() {
        unchanged("wire", name, &bytes);
        assert!(reads(&kept("wire", name)), "{name} is read as something else");
    }
}

#[test]
fn no_message_of_the_protocol_is_without_golden_bytes() {
    let proto = include_str!("../../../proto/proto/liandong/sync/v1/sync.proto");
    let rows = message::rows();
    let known: BTreeSet<&str> =
        rows.iter().map(|(name, ..)| name.split('.').next().unwrap_or_default()).collect();
    let missing: Vec<&str> = proto
        .lines()
        .filter_map(|line| line.strip_prefix("message ")?.split(' ').next())
        .filter(|name| !known.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "add them to golden/message.rs");
}

#[test]
fn what_is_signed_keeps_its_bytes() {
    let change = Change {
        kind: OpType::RecordPut,
        subject: record(1).to_bytes().to_vec(),
        base: Some(HEAD.hash),
        payload: b"{}".to_vec(),
        visibility: Visibility::Public,
    };
    let op = author(FEED).author(HEAD, change, stamp(1)).unwrap();
    unchanged("signed", "op-header", &op.signed.header);
    unchanged("signed", "op-signature", &op.signed.signature);
    let hub = author(HUB);
    let receipt = Receipt::sign(&hub, FEED, HEAD, 1_478_000_000_000);
    unchanged("signed", "receipt", &receipt.signature);
    let checkpoint = Checkpoint {
        epoch: [15; 16],
        city_seq: 9_000,
        audience: FEED,
        root: Hash::new([16; 32]),
        count: 80_000,
        hub: HEAD,
        at_ms: 1_478_000_000_000,
        expires_ms: 1_478_000_600_000,
        signature: Vec::new(),
    };
    unchanged("signed", "checkpoint", &checkpoint.signed(&hub).signature);
    unchanged("signed", "join", &join_message(token_hash(b"secret"), FEED, b"csr"));
    unchanged("signed", "renew", &renew_message(FEED, b"csr"));
    let rejoin = Rejoin {
        feed: FEED,
        abandoned: HEAD,
        adopt: HEAD,
        reason: "restored".to_owned(),
        operator: "管理员".to_owned(),
        instance: InstanceId::new([11; 16]),
        incarnation: 4,
        signature: Vec::new(),
    };
    unchanged("signed", "rejoin", &rejoin.message());
    let rotation = KeyRotation::new(&author(HUB), author(FEED).key_id());
    unchanged("signed", "key-rotation", &serde_json::to_vec(&rotation).unwrap());
}

#[test]
fn what_the_view_keeps_of_a_record_keeps_its_bytes() {
    let state = RecordState {
        status: Status::Live,
        visibility: Visibility::Shared,
        feed: FEED,
        seq: 300,
        op_hash: Hash::new([2; 32]),
        payload_hash: Hash::new([3; 32]),
        changed_at_ms: 1_478_000_000_000,
        redacted: false,
    };
    unchanged("signed", "record-state", &state.to_bytes());
    assert_eq!(RecordState::from_bytes(&kept("signed", "record-state")), Some(state));
    unchanged("signed", "leaf", state.leaf(record(1)).as_bytes());
}
