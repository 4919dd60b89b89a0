//! What the people of a district write, and what faulty or later software would write in their place.

use bytes::Bytes;
use liandong_core::{
    code::{OpenKind, ShareKind},
    fold::Tombstone,
    id::{FeedId, Head, RecordId},
    op::{Author, Change, Op, OpType, SCHEMA, SignedOp, Stamp},
    record::{Open, Provider, Record, Share, Visibility},
};
use liandong_proto::sync as pb;
use prost::Message as _;
use serde_json::json;
use ulid::Ulid;

use super::rng::Rng;

/// A field of a header that this software does not know: number 200, value 1.
const LATER_FIELD: [u8; 3] = [0xc0, 0x0c, 0x01];

/// What an editor sees while they write.
#[derive(Debug)]
pub(super) struct Desktop<'a> {
    pub(super) feed: FeedId,
    /// A record of the feed, if there is one.
    pub(super) some: Option<RecordId>,
    /// A request of the hub that waits for an answer.
    pub(super) request: Option<&'a str>,
    /// Whether later software writes here at times.
    pub(super) later: bool,
}

pub(super) fn stamp(now_ms: i64, uid: u128, actor: &str) -> Stamp {
    Stamp { now_ms, uid: uid.to_be_bytes(), actor: actor.to_owned() }
}

/// A record that anybody, departments, or nobody else may see.
pub(super) fn record(rng: &mut Rng) -> Record {
    let (open, share) = match rng.below(6) {
        0 => (OpenKind::Closed, Some(ShareKind::OnDemand)),
        1 => (OpenKind::Closed, Some(ShareKind::None)),
        _ => (OpenKind::OnRequest, None),
    };
    Record {
        title: format!("第{}号停车场", rng.below(1_000)),
        provider: Provider { name: "某局".to_owned(), ..Provider::default() },
        open: Open { kind: open, condition: said(open), reason: said(open) },
        share: share.map(|kind| Share {
            kind,
            condition: said(open),
            reason: said(open),
            modes: Vec::new(),
        }),
        ..Record::default()
    }
}

/// The condition or reason that something closed needs.
fn said(open: OpenKind) -> Option<String> {
    (open == OpenKind::Closed).then(|| "涉及商业秘密".to_owned())
}

/// Signs the next op of a feed.
pub(super) fn write(author: &Author, after: Head, change: Change, stamp: Stamp) -> Option<Op> {
    author.author(after, change, stamp).ok()
}

/// The next op of a district.
pub(super) fn next(
    desktop: &Desktop<'_>,
    author: &Author,
    after: Head,
    stamp: Stamp,
    rng: &mut Rng,
) -> Option<Op> {
    let uid = u128::from_be_bytes(stamp.uid);
    let fresh = RecordId::new(desktop.feed, Ulid(uid));
    let some = desktop.some.unwrap_or(fresh);
    let record = record(rng);
    let tombstone = serde_json::to_vec(&Tombstone::default()).unwrap_or_default();
    let put = |kind, id: RecordId| Change {
        kind,
        subject: id.to_bytes().to_vec(),
        base: None,
        payload: record.to_bytes(),
        visibility: record.visibility(),
    };
    let change = match rng.below(40) {
        0..14 => put(OpType::RecordPut, fresh),
        14..23 => put(OpType::RecordPut, some),
        23..29 => Change { payload: tombstone, ..put(OpType::RecordTombstone, some) },
        29..33 => put(OpType::RecordRevive, some),
        33 => Change { payload: b"noise".to_vec(), ..put(OpType::RecordPut, some) },
        34 => put(OpType::RecordPut, RecordId::new(FeedId::new([0xee; 16]), Ulid(uid))),
        35 => dispute(some),
        36 => match desktop.request {
            Some(request) => reply(some, request, rng),
            None => put(OpType::RecordPut, some),
        },
        _ if !desktop.later => put(OpType::RecordPut, fresh),
        37 => {
            let op = write(author, after, put(OpType::RecordPut, some), stamp)?;
            return forge(author, &op, |header| header.min_reader = SCHEMA + 1);
        }
        38 => Change {
            payload: b"later".to_vec(),
            ..put(OpType::Unknown("record.merge.v9".to_owned()), some)
        },
        _ => {
            let op = write(author, after, put(OpType::RecordPut, fresh), stamp)?;
            return forge(author, &op, |_| {});
        }
    };
    write(author, after, change, stamp)
}

fn dispute(record: RecordId) -> Change {
    letter(OpType::Dispute, &record.to_bytes(), &json!({ "record": record, "reason": "有异议" }))
}

fn reply(record: RecordId, request: &str, rng: &mut Rng) -> Change {
    let accepted = rng.one_in(2);
    let reason = (!accepted).then_some("数据归属他部门");
    let said = json!({ "request": request, "accepted": accepted, "reason": reason });
    letter(OpType::ChangeRequestReply, &record.to_bytes(), &said)
}

/// A change that the hub has to answer.
pub(super) fn letter(kind: OpType, subject: &[u8], said: &serde_json::Value) -> Change {
    Change {
        kind,
        subject: subject.to_vec(),
        base: None,
        payload: said.to_string().into_bytes(),
        visibility: Visibility::Shared,
    }
}

/// The same op with another header and a field that this software does not know, signed again.
fn forge(author: &Author, op: &Op, change: impl FnOnce(&mut pb::OpHeader)) -> Option<Op> {
    let mut header = pb::OpHeader::decode(op.signed.header.clone()).ok()?;
    change(&mut header);
    let mut bytes = header.encode_to_vec();
    bytes.extend_from_slice(&LATER_FIELD);
    let signature = Bytes::copy_from_slice(&author.sign(&bytes));
    Op::parse(SignedOp { header: bytes.into(), signature, ..op.signed.clone() }).ok()
}
