//! The edge to the wire: messages are parsed once, here, and from then on there are only our types.

pub mod city;
mod push;
pub mod recover;

pub use push::{
    Claim, Credit, Down, Hello, OpOutcome, Reject, RejectCode, Up, Verdict, Welcome, read_receipt,
};

use bytes::Bytes;
use liandong_proto::sync as pb;
use prost::Message as _;

use crate::{
    id::{FeedId, Hash, Head},
    limit,
    mutant::{self, Mutant},
    op::SignedOp,
};

/// A message that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message breaks the protocol: {0}")]
pub struct WireFault(pub String);

fn fault(text: impl Into<String>) -> WireFault {
    WireFault(text.into())
}

fn bytes(id: &[u8]) -> Bytes {
    Bytes::copy_from_slice(id)
}

fn hash(field: &[u8]) -> Result<Hash, WireFault> {
    Hash::try_from(field).map_err(|bad| fault(bad.to_string()))
}

/// An explanation cut to the limit at a character border.
fn explain(text: &str) -> String {
    let mut end = text.len().min(limit::EXPLAIN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn cursor(feed: FeedId, head: Head) -> pb::Cursor {
    pb::Cursor {
        feed_id: bytes(feed.as_bytes()),
        seq: head.seq,
        head_hash: bytes(head.hash.as_bytes()),
    }
}

fn read_cursor(cursor: Option<&pb::Cursor>) -> Result<(FeedId, Head), WireFault> {
    let cursor = cursor.ok_or_else(|| fault("a cursor is missing"))?;
    let feed = FeedId::try_from(cursor.feed_id.as_ref()).map_err(|bad| fault(bad.to_string()))?;
    Ok((feed, Head { seq: cursor.seq, hash: hash(&cursor.head_hash)? }))
}

/// What must never be done to a header of somebody else.
fn again(header: &Bytes) -> Bytes {
    pb::OpHeader::decode(header.clone())
        .map_or_else(|_| header.clone(), |h| h.encode_to_vec().into())
}

impl From<SignedOp> for pb::SignedOp {
    fn from(op: SignedOp) -> Self {
        let header =
            if mutant::active(Mutant::ReencodePayload) { again(&op.header) } else { op.header };
        Self { header, signature: op.signature, payload: op.payload, payload_withheld: op.withheld }
    }
}

impl From<pb::SignedOp> for SignedOp {
    fn from(op: pb::SignedOp) -> Self {
        Self {
            header: op.header,
            signature: op.signature,
            payload: op.payload,
            withheld: op.payload_withheld,
        }
    }
}

/// Ops after a head, as a batch on the wire.
pub fn write_batch(after: Head, ops: Vec<SignedOp>) -> pb::OpBatch {
    pb::OpBatch {
        first_seq: after.seq + 1,
        prev_hash: bytes(after.hash.as_bytes()),
        ops: ops.into_iter().map(Into::into).collect(),
    }
}

/// Reads a batch: the head that its first op follows, and the ops.
///
/// # Errors
/// `WireFault` when the batch is empty, too large, or has no position.
pub fn read_batch(batch: pb::OpBatch) -> Result<(Head, Vec<SignedOp>), WireFault> {
    if batch.ops.is_empty() || batch.ops.len() > limit::BATCH_OPS_MAX {
        return Err(fault(format!(
            "a batch of {} ops; 1 to {} are allowed",
            batch.ops.len(),
            limit::BATCH_OPS_MAX
        )));
    }
    let seq = batch.first_seq.checked_sub(1).ok_or_else(|| fault("first_seq is 0"))?;
    let after = Head { seq, hash: hash(&batch.prev_hash)? };
    Ok((after, batch.ops.into_iter().map(Into::into).collect()))
}
