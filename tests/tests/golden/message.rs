//! One of each message of `sync.proto`, with every field set.

use bytes::Bytes;
use liandong_proto::sync::{self as pb, city_event, push_down, push_up};
use prost::Message;

fn b(byte: u8, length: usize) -> Bytes {
    vec![byte; length].into()
}

fn cursor() -> pb::Cursor {
    pb::Cursor { feed_id: b(7, 16), seq: 300, head_hash: b(1, 32) }
}

fn signed_op() -> pb::SignedOp {
    pb::SignedOp { header: b(2, 5), signature: b(3, 64), payload: b(4, 3), payload_withheld: true }
}

fn probe() -> pb::AncestorProbe {
    pb::AncestorProbe { seq: 128, op_hash: b(5, 32) }
}

fn credit() -> pb::Credit {
    pb::Credit { ops: 512, bytes: 2_097_152 }
}

fn batch() -> pb::OpBatch {
    pb::OpBatch { first_seq: 301, prev_hash: b(1, 32), ops: vec![signed_op()] }
}

fn claim() -> pb::ViewClaim {
    pb::ViewClaim { at_seq: 300, fold_version: 2, root: b(6, 32), count: 150, rules: b(7, 32) }
}

fn receipt() -> pb::Receipt {
    pb::Receipt {
        feed_id: b(7, 16),
        seq: 300,
        head_hash: b(1, 32),
        received_at_ms: 1_478_000_000_000,
        hub_key_id: b(8, 16),
        signature: b(9, 64),
    }
}

fn outcome() -> pb::OpOutcome {
    pb::OpOutcome {
        seq: 299,
        outcome: pb::Outcome::Invalid.into(),
        reason: "不合规 / invalid".to_owned(),
        conflict_id: b(10, 32),
    }
}

fn hello() -> pb::Hello {
    pb::Hello {
        proto_min: 1,
        proto_max: 2,
        software: "liandong 0.1.0".to_owned(),
        head: Some(cursor()),
        hub_feed_head: Some(cursor()),
        instance_id: b(11, 16),
        incarnation: 3,
        clock_ms: 1_478_000_000_001,
        features: vec!["zstd".to_owned()],
        own_view_root: b(12, 32),
        probes: vec![probe()],
    }
}

fn welcome() -> pb::Welcome {
    pb::Welcome {
        proto: 1,
        verdict: pb::Verdict::Extend.into(),
        mirror_head: Some(cursor()),
        common_ancestor: Some(cursor()),
        credit: Some(credit()),
        hub_time_ms: 1_478_000_000_002,
        directory_seq: 40,
        hub_incarnation: 2,
        explain: "请续传 / go on".to_owned(),
        retry_after_ms: 1_000,
        hub_feed_head: None,
    }
}

/// Said with one verdict only, and later than the rest.
fn recovering() -> pb::Welcome {
    let verdict = pb::Verdict::HubRecovering.into();
    pb::Welcome { verdict, hub_feed_head: Some(cursor()), ..welcome() }
}

fn ack() -> pb::Ack {
    pb::Ack {
        durable: Some(receipt()),
        credit: Some(credit()),
        outcomes: vec![outcome()],
        retry_after_ms: 500,
    }
}

fn reject() -> pb::Reject {
    pb::Reject {
        code: pb::RejectCode::BadChain.into(),
        seq: 301,
        explain: "不连续 / a gap".to_owned(),
        retry_after_ms: 250,
    }
}

fn mismatch() -> pb::RootMismatch {
    pb::RootMismatch { at_seq: 300, hub_root: b(13, 32), hub_count: 149 }
}

fn seen() -> pb::ClaimSeen {
    pb::ClaimSeen { at_seq: 300, hub_time_ms: 1_478_000_000_003 }
}

fn city_record() -> pb::CityRecord {
    pb::CityRecord {
        city_seq: 9_000,
        record_id: b(14, 32),
        status: pb::CityStatus::Held.into(),
        core: Some(signed_op()),
        overlay: Some(signed_op()),
        authority_feed: b(7, 16),
    }
}

fn checkpoint() -> pb::CityCheckpoint {
    pb::CityCheckpoint {
        epoch: b(15, 16),
        city_seq: 9_000,
        audience: b(7, 16),
        root: b(16, 32),
        count: 80_000,
        hub_seq: 40,
        hub_hash: b(17, 32),
        at_ms: 1_478_000_000_004,
        expires_ms: 1_478_000_600_004,
        hub_key_id: b(8, 16),
        signature: b(9, 64),
    }
}

fn reset() -> pb::FollowReset {
    pb::FollowReset { epoch: b(15, 16), city_seq: 9_000, hub_incarnation: 2 }
}

fn leaf() -> pb::Leaf {
    pb::Leaf { record_id: b(14, 32), leaf_hash: b(18, 32) }
}

fn header() -> pb::OpHeader {
    pb::OpHeader {
        suite: 1,
        feed_id: b(7, 16),
        seq: 301,
        prev_hash: b(1, 32),
        incarnation: 3,
        op_uid: b(19, 16),
        key_id: b(8, 16),
        r#type: "record.put.v1".to_owned(),
        schema: 1,
        min_reader: 1,
        payload_hash: b(20, 32),
        payload_len: 3,
        subject: b(14, 32),
        base: b(21, 32),
        claimed_at_ms: 1_478_000_000_005,
        actor: "编目员".to_owned(),
        visibility: 2,
    }
}

/// A name, the bytes, and whether bytes decode to the same message.
type Row = (&'static str, Vec<u8>, Box<dyn Fn(&[u8]) -> bool>);

fn row<M: Message + Default + PartialEq + 'static>(name: &'static str, message: M) -> Row {
    let bytes = message.encode_to_vec();
    (name, bytes, Box::new(move |kept| M::decode(kept).is_ok_and(|read| read == message)))
}

fn push_rows() -> Vec<Row> {
    let up = |m| pb::PushUp { m: Some(m) };
    let down = |m| pb::PushDown { m: Some(m) };
    vec![
        row("Cursor", cursor()),
        row("SignedOp", signed_op()),
        row("OpHeader", header()),
        row("Hello", hello()),
        row("AncestorProbe", probe()),
        row("Welcome", welcome()),
        row("Welcome.recovering", recovering()),
        row("Credit", credit()),
        row("OpBatch", batch()),
        row("PushUp.hello", up(push_up::M::Hello(hello()))),
        row("PushUp.batch", up(push_up::M::Batch(batch()))),
        row("PushUp.claim", up(push_up::M::Claim(claim()))),
        row("PushUp.urgent", up(push_up::M::Urgent(pb::Urgent { ops: vec![signed_op()] }))),
        row("Urgent", pb::Urgent { ops: vec![signed_op()] }),
        row("ViewClaim", claim()),
        row("Receipt", receipt()),
        row("OpOutcome", outcome()),
        row("Ack", ack()),
        row("Reject", reject()),
        row("RootMismatch", mismatch()),
        row("PushDown.welcome", down(push_down::M::Welcome(welcome()))),
        row("PushDown.ack", down(push_down::M::Ack(ack()))),
        row("PushDown.reject", down(push_down::M::Reject(reject()))),
        row("PushDown.mismatch", down(push_down::M::Mismatch(mismatch()))),
        row("PushDown.claim_seen", down(push_down::M::ClaimSeen(seen()))),
        row("ClaimSeen", seen()),
    ]
}

fn join_rows() -> Vec<Row> {
    let join = pb::JoinRequest {
        token_secret: b(22, 20),
        feed_id: b(7, 16),
        feed_public_key: b(23, 32),
        csr_der: b(24, 9),
        proof: b(9, 64),
        instance_id: b(11, 16),
        software: "liandong 0.1.0".to_owned(),
    };
    let joined = pb::JoinReply {
        certificate_der: b(25, 9),
        ca_der: b(26, 9),
        district_code: "310115".to_owned(),
        district_name: "浦东新区".to_owned(),
        hub_feed_id: b(8, 16),
        hub_public_key: b(27, 32),
        feed_id: b(7, 16),
        mirror_head: Some(cursor()),
        incarnation: 0,
        hub_root: b(28, 0),
    };
    let rejoin = pb::RejoinRequest {
        abandoned: Some(cursor()),
        adopt: Some(cursor()),
        reason: "restored".to_owned(),
        operator: "管理员".to_owned(),
        new_instance_id: b(11, 16),
        new_incarnation: 4,
        signature: b(9, 64),
    };
    let rejoined = pb::RejoinReply {
        accepted: true,
        mirror_head: Some(cursor()),
        explain: "已登记 / noted".to_owned(),
    };
    let evidence = pb::ForkEvidence {
        ancestor: Some(cursor()),
        ops: vec![signed_op()],
        end: true,
        abandoned: Some(cursor()),
    };
    let ancestor =
        pb::AncestorReply { ancestor: Some(cursor()), mirror_head: Some(cursor()), incarnation: 3 };
    let hub_head = pb::ReturnHubFeedReply { hub_head: Some(cursor()), explain: "好".to_owned() };
    vec![
        row("JoinRequest", join),
        row("JoinReply", joined),
        row("RenewRequest", pb::RenewRequest { csr_der: b(24, 9), proof: b(9, 64) }),
        row("RenewReply", pb::RenewReply { certificate_der: b(25, 9) }),
        row("FetchRequest", pb::FetchRequest { feed_id: b(7, 16), after_seq: 2, to_seq: 9 }),
        row("AncestorRequest", pb::AncestorRequest { feed_id: b(7, 16), probes: vec![probe()] }),
        row("AncestorReply", ancestor),
        row("ForkEvidence", evidence),
        row("ArchiveReply", pb::ArchiveReply { archived: Some(cursor()) }),
        row("RejoinRequest", rejoin),
        row("RejoinReply", rejoined),
        row("ReturnHubFeedReply", hub_head),
    ]
}

fn city_rows() -> Vec<Row> {
    let event = |m| pb::CityEvent { m: Some(m) };
    let follow =
        pb::FollowRequest { epoch: b(15, 16), city_seq: 9_000, hub_seq: 40, hub_hash: b(17, 32) };
    let audit = pb::AuditReply {
        epoch: b(15, 16),
        city_seq: 9_000,
        root: b(16, 32),
        bucket_hashes: vec![b(28, 32), b(29, 32)],
        leaves: vec![leaf()],
    };
    vec![
        row("FollowRequest", follow),
        row("CityEvent.record", event(city_event::M::Record(city_record()))),
        row("CityEvent.hub_ops", event(city_event::M::HubOps(batch()))),
        row("CityEvent.checkpoint", event(city_event::M::Checkpoint(checkpoint()))),
        row("CityEvent.reset", event(city_event::M::Reset(reset()))),
        row("FollowReset", reset()),
        row("CityRecord", city_record()),
        row("CityCheckpoint", checkpoint()),
        row("AuditRequest", pb::AuditRequest { buckets: vec![0, 1, 255] }),
        row("AuditReply", audit),
        row("Leaf", leaf()),
        row("RecordsRequest", pb::RecordsRequest { record_ids: vec![b(14, 32)] }),
    ]
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [push_rows(), join_rows(), city_rows()].into_iter().flatten().collect()
}
