//! Bytes of a segment: `len u32 | crc32c u32 | kind u8 | body`, numbers big-endian, the checksum over kind and body.

use bytes::Bytes;
use liandong_core::{
    id::{FeedId, Head},
    limit,
    op::SignedOp,
};

const PREFIX: usize = 4 + 4;
const KIND_HEADER: u8 = 0;
const KIND_OP: u8 = 1;
const MAGIC: &[u8; 8] = b"LDJRNL\x00\x01";
/// Largest body: an op and its own small framing.
const BODY_BYTES_MAX: usize = limit::OP_BYTES_MAX + 64;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) feed: FeedId,
    /// Head before the segment's first op.
    pub(super) after: Head,
}

/// An op that was read, and where the next record begins.
#[derive(Debug)]
pub(super) struct RecordAt {
    pub(super) op: SignedOp,
    /// Position that was durable when the record was written.
    pub(super) durable: u64,
    pub(super) next: usize,
}

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Found {
    Op(RecordAt),
    Bad(&'static str),
}

fn frame(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let len = 1 + body.iter().map(|part| part.len()).sum::<usize>();
    let crc =
        body.iter().fold(crc32c::crc32c(&[kind]), |crc, part| crc32c::crc32c_append(crc, part));
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    out.push(kind);
    for part in body {
        out.extend_from_slice(part);
    }
}

pub(super) fn write_header(out: &mut Vec<u8>, header: &SegmentHeader) {
    let seq = header.after.seq.to_be_bytes();
    frame(out, KIND_HEADER, &[MAGIC, header.feed.as_bytes(), &seq, header.after.hash.as_bytes()]);
}

pub(super) fn write_op(out: &mut Vec<u8>, op: &SignedOp, durable: u64) {
    let header = u32::try_from(op.header.len()).unwrap_or(u32::MAX).to_be_bytes();
    let signature = u32::try_from(op.signature.len()).unwrap_or(u32::MAX).to_be_bytes();
    let withheld = [u8::from(op.withheld)];
    frame(
        out,
        KIND_OP,
        &[
            &durable.to_be_bytes(),
            &header,
            &signature,
            &withheld,
            &op.header,
            &op.signature,
            &op.payload,
        ],
    );
}

/// Kind, body and end of the record at an offset, if its checksum holds.
fn unframe(bytes: &[u8], at: usize) -> Result<(u8, &[u8], usize), &'static str> {
    let prefix = bytes.get(at..at + PREFIX).ok_or("the record is cut short")?;
    let (len, crc) = prefix.split_at(4);
    let len = u32::from_be_bytes(len.try_into().map_err(|_length| "length")?) as usize;
    let crc = u32::from_be_bytes(crc.try_into().map_err(|_length| "checksum")?);
    if !(1..=BODY_BYTES_MAX).contains(&len) {
        return Err("the record's length is impossible");
    }
    let end = at + PREFIX + len;
    let record = bytes.get(at + PREFIX..end).ok_or("the record is cut short")?;
    if crc32c::crc32c(record) != crc {
        return Err("the checksum does not match");
    }
    Ok((record[0], &record[1..], end))
}

/// Checks a segment's header; returns where the ops begin.
pub(super) fn read_header(bytes: &[u8], expected: &SegmentHeader) -> Result<usize, String> {
    let (kind, body, end) = unframe(bytes, 0)?;
    let mut wanted = Vec::new();
    write_header(&mut wanted, expected);
    if kind != KIND_HEADER || !body.starts_with(MAGIC) {
        return Err("not a segment of this format".to_owned());
    }
    if bytes.get(..end) == Some(&wanted) {
        Ok(end)
    } else {
        Err("the segment belongs to another place or feed".to_owned())
    }
}

/// Whether the bytes begin with a whole header, be it of another place or feed.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    unframe(bytes, 0).is_ok_and(|(kind, body, _)| kind == KIND_HEADER && body.starts_with(MAGIC))
}

/// Reads the op at an offset.
pub(super) fn read_record(bytes: &[u8], at: usize) -> Found {
    let (kind, body, next) = match unframe(bytes, at) {
        Ok(record) => record,
        Err(reason) => return Found::Bad(reason),
    };
    if kind != KIND_OP {
        return Found::Bad("not an op");
    }
    match split_op(body) {
        Some((op, durable)) => Found::Op(RecordAt { op, durable, next }),
        None => Found::Bad("the op's parts do not fit"),
    }
}

fn split_op(body: &[u8]) -> Option<(SignedOp, u64)> {
    let durable = u64::from_be_bytes(body.get(..8)?.try_into().ok()?);
    let header_len = u32::from_be_bytes(body.get(8..12)?.try_into().ok()?) as usize;
    let signature_len = u32::from_be_bytes(body.get(12..16)?.try_into().ok()?) as usize;
    let withheld = *body.get(16)? == 1;
    // One copy for all three parts; they share its memory.
    let parts = Bytes::copy_from_slice(body.get(17..)?);
    let op = (header_len.checked_add(signature_len)? <= parts.len()).then(|| SignedOp {
        header: parts.slice(..header_len),
        signature: parts.slice(header_len..header_len + signature_len),
        payload: parts.slice(header_len + signature_len..),
        withheld,
    })?;
    Some((op, durable))
}

/// Where the ops begin in a segment of any place or feed; 0 when its header cannot be read.
pub(super) fn header_end(bytes: &[u8]) -> usize {
    let header = unframe(bytes, 0).ok().filter(|(kind, ..)| *kind == KIND_HEADER);
    header.map_or(0, |(_, _, end)| end)
}

/// Every whole op in the bytes and where it begins, wherever that is.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, RecordAt)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while from < bytes.len() {
            let at = from;
            from += 1;
            // The kind byte filters most offsets before a checksum is computed.
            if bytes.get(at + PREFIX) == Some(&KIND_OP)
                && let Found::Op(found) = read_record(bytes, at)
            {
                from = found.next;
                return Some((at, found));
            }
        }
        None
    })
}

/// Whether a whole op at or after `from` was written when `seq` was already durable. If so, what cannot be read before
/// it is damage; if not, it is the end of a write that was interrupted and never acknowledged, in whatever order the
/// disk had begun to store it.
pub(super) fn was_durable(bytes: &[u8], from: usize, seq: u64) -> bool {
    (from..bytes.len()).any(|at| {
        // The kind byte filters most offsets before a checksum is computed.
        bytes.get(at + PREFIX) == Some(&KIND_OP)
            && matches!(read_record(bytes, at), Found::Op(found) if found.durable >= seq)
    })
}
