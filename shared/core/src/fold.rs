//! What the ops of a feed mean: the state of each record.
//!
//! The fold is a pure function of a feed's prefix and of the rules that the hub's feed gives for it. It reads no clock,
//! so node and hub always agree; an op that makes no sense leaves an outcome and changes nothing, and the ops after it
//! go on. A record that was transferred has a state in each feed that wrote it; which one counts is the authority's
//! word.

use jiff::{Timestamp, civil::Date, tz::Offset};
use serde::{Deserialize, Serialize};

use crate::{
    city::{Rules, Verdict},
    id::{FeedId, Hash, RecordId},
    mutant::{self, Mutant},
    op::{Op, OpType, SCHEMA},
    record::{Record, Visibility},
    validate::{self, Severity},
};

/// Version of the rules below; a view made by another version is folded again.
pub const FOLD_VERSION: u32 = 2;

/// Whether a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The record has a current version.
    Live,
    /// The record was withdrawn; the stub stays for ever.
    Withdrawn,
}

/// What the view keeps of a record; the bytes stay in the journal at (`feed`, `seq`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordState {
    /// Live or withdrawn.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// Feed that holds the current op.
    pub feed: FeedId,
    /// Position of the current op.
    pub seq: u64,
    /// Hash of the current op.
    pub op_hash: Hash,
    /// SHA-256 of the current payload.
    pub payload_hash: Hash,
    /// When the current op was made by the author's clock, milliseconds since 1970.
    pub changed_at_ms: i64,
    /// The content of the current op is erased: the record shows as withdrawn until its district writes another one.
    pub redacted: bool,
}

const STATE_BYTES: usize = 1 + 1 + 1 + 16 + 8 + 32 + 32 + 8;

impl RecordState {
    /// Fixed binary form, first byte is the version.
    pub fn to_bytes(&self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        bytes[0] = 1;
        bytes[1] = match (self.redacted, self.status) {
            (true, _) => 2,
            (false, Status::Live) => 1,
            (false, Status::Withdrawn) => 0,
        };
        bytes[2] = u8::try_from(self.visibility.as_u32()).unwrap_or(0);
        bytes[3..19].copy_from_slice(self.feed.as_bytes());
        bytes[19..27].copy_from_slice(&self.seq.to_be_bytes());
        bytes[27..59].copy_from_slice(self.op_hash.as_bytes());
        bytes[59..91].copy_from_slice(self.payload_hash.as_bytes());
        bytes[91..99].copy_from_slice(&self.changed_at_ms.to_be_bytes());
        bytes
    }

    /// Reads [`Self::to_bytes`]; `None` when the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; STATE_BYTES] = bytes.try_into().ok()?;
        (bytes[0] == 1).then_some(())?;
        Some(Self {
            status: if bytes[1] == 1 { Status::Live } else { Status::Withdrawn },
            visibility: Visibility::from_u32(u32::from(bytes[2])),
            feed: FeedId::try_from(&bytes[3..19]).ok()?,
            seq: u64::from_be_bytes(bytes[19..27].try_into().ok()?),
            op_hash: Hash::try_from(&bytes[27..59]).ok()?,
            payload_hash: Hash::try_from(&bytes[59..91]).ok()?,
            changed_at_ms: i64::from_be_bytes(bytes[91..99].try_into().ok()?),
            redacted: bytes[1] == 2,
        })
    }

    /// The record's leaf in the digest: who it is, what it says, whether it is there.
    pub fn leaf(&self, id: RecordId) -> Hash {
        let status = [u8::from(self.status == Status::Live)];
        if mutant::active(Mutant::LeafWithoutContent) {
            return Hash::of(&[&id.to_bytes(), &status]);
        }
        Hash::of(&[&id.to_bytes(), self.payload_hash.as_bytes(), &status])
    }
}

/// What became of an op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect.
    Materialised,
    /// Kept until the software here can read it.
    PendingUpgrade,
    /// Kept, without effect: it breaks a rule.
    Invalid(String),
    /// Kept, without effect: the feed may not write this record.
    NotAuthoritative,
}

impl Outcome {
    /// The reason for people; empty when it took effect.
    pub fn reason(&self) -> &str {
        match self {
            Self::Materialised => "",
            Self::PendingUpgrade => "written by a later version; upgrade to read it",
            Self::Invalid(reason) => reason,
            Self::NotAuthoritative => "this feed may not write the record",
        }
    }
}

/// Payload of `record.tombstone.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tombstone {
    /// Why the record was withdrawn, for people.
    pub reason: String,
    /// Record that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<RecordId>,
}

/// The effect of one op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// What became of the op.
    pub outcome: Outcome,
    /// The record it is about, when it took effect.
    pub change: Option<(RecordId, RecordState)>,
    /// Under which keys an import finds the record again; empty when withdrawn.
    pub match_keys: Vec<String>,
    /// The hub has to answer it.
    pub letter: bool,
}

impl Folded {
    const fn without_effect(outcome: Outcome) -> Self {
        Self { outcome, change: None, match_keys: Vec::new(), letter: false }
    }
}

/// Whether ops of this kind are about records.
pub const fn is_about_records(kind: &OpType) -> bool {
    matches!(kind, OpType::RecordPut | OpType::RecordTombstone | OpType::RecordRevive)
}

/// Whether ops of this kind ask something of the hub, which answers with ops of its own.
pub const fn is_letter(kind: &OpType) -> bool {
    matches!(
        kind,
        OpType::ChangeRequestReply
            | OpType::Dispute
            | OpType::KeyRotate
            | OpType::TransferOffer
            | OpType::TransferAccept
            | OpType::FeedSeal
            | OpType::Redact
    )
}

/// Folds one op onto the state that its feed has given its record so far.
pub fn fold(
    op: &Op,
    rules: &Rules,
    current: impl FnOnce(RecordId) -> Option<RecordState>,
) -> Folded {
    let verdict = rules.verdict(op);
    if verdict == Verdict::Disbelieved {
        return Folded::without_effect(invalid("signed with a key that was revoked before"));
    }
    if op.min_reader > SCHEMA || matches!(op.kind, OpType::Unknown(_)) {
        return Folded::without_effect(Outcome::PendingUpgrade);
    }
    if is_letter(&op.kind) {
        return Folded { letter: true, ..Folded::without_effect(Outcome::Materialised) };
    }
    if let Verdict::Foreign { late } = verdict {
        return Folded { letter: late, ..Folded::without_effect(Outcome::NotAuthoritative) };
    }
    if verdict == Verdict::Redacted(false) {
        return Folded::without_effect(invalid(REDACTED));
    }
    let redacted = verdict == Verdict::Redacted(true);
    match effect(op, redacted, current) {
        Ok((id, status, match_keys)) => {
            // Without its content it can only be shown as gone.
            let status = if redacted { Status::Withdrawn } else { status };
            let redacted = redacted && op.kind != OpType::RecordTombstone;
            let state = RecordState { redacted, ..state_after(op, status) };
            Folded {
                outcome: Outcome::Materialised,
                change: Some((id, state)),
                match_keys,
                letter: false,
            }
        }
        Err(outcome) => Folded::without_effect(outcome),
    }
}

/// What is told of an op whose content is erased.
pub const REDACTED: &str = "内容已依法删除 / the content was erased by law";

fn state_after(op: &Op, status: Status) -> RecordState {
    RecordState {
        status,
        visibility: op.visibility,
        feed: op.feed,
        seq: op.seq,
        op_hash: op.hash,
        payload_hash: op.payload_hash,
        changed_at_ms: op.claimed_at_ms,
        redacted: false,
    }
}

fn invalid(reason: impl Into<String>) -> Outcome {
    Outcome::Invalid(reason.into())
}

fn effect(
    op: &Op,
    redacted: bool,
    current: impl FnOnce(RecordId) -> Option<RecordState>,
) -> Result<(RecordId, Status, Vec<String>), Outcome> {
    let id = RecordId::try_from(op.subject.as_ref()).map_err(|bad| invalid(bad.to_string()))?;
    let current = current(id);
    if mutant::active(Mutant::LwwByClock)
        && current.is_some_and(|state| state.changed_at_ms > op.claimed_at_ms)
    {
        return Err(invalid("an older clock"));
    }
    let mut status = current.map(|state| state.status);
    if mutant::active(Mutant::Resurrect) && op.kind == OpType::RecordPut {
        status = None;
    }
    // What another feed made of the record before is not looked at, and what an erased version was is not known: the
    // op that follows may be any.
    let unknown = current.map_or(id.origin() != op.feed, |state| state.redacted);
    if unknown {
        status = match op.kind {
            OpType::RecordTombstone => Some(Status::Live),
            OpType::RecordRevive => Some(Status::Withdrawn),
            _ => None,
        };
    }
    match (&op.kind, status) {
        (OpType::RecordPut, None | Some(Status::Live))
        | (OpType::RecordRevive, Some(Status::Withdrawn)) => {
            let match_keys = if redacted { Vec::new() } else { read_record(op)?.match_keys() };
            Ok((id, Status::Live, match_keys))
        }
        (OpType::RecordTombstone, Some(Status::Live)) => {
            if !redacted {
                serde_json::from_slice::<Tombstone>(&op.signed.payload)
                    .map_err(|error| invalid(format!("tombstone payload: {error}")))?;
            }
            Ok((id, Status::Withdrawn, Vec::new()))
        }
        (OpType::RecordPut, Some(Status::Withdrawn)) => {
            Err(invalid("the record is withdrawn; only record.revive makes it live again"))
        }
        (OpType::RecordRevive, _) => Err(invalid("only a withdrawn record can be revived")),
        (OpType::RecordTombstone, _) => Err(invalid("there is no live record to withdraw")),
        _ => Err(invalid("this op is not about a record")),
    }
}

/// Reads the record in the payload and applies the rules that were in force when it was signed.
fn read_record(op: &Op) -> Result<Record, Outcome> {
    let record =
        Record::from_bytes(&op.signed.payload).map_err(|error| invalid(error.to_string()))?;
    if record.visibility() != op.visibility {
        return Err(invalid("the header's visibility is not the record's"));
    }
    let faults = validate::recheck(&record, day_of(op.claimed_at_ms));
    match faults.iter().find(|fault| fault.severity == Severity::Error) {
        Some(fault) => {
            Err(invalid(format!("{} {}: {}", fault.rule, fault.field, fault.message.en)))
        }
        None => Ok(record),
    }
}

/// The day in Shanghai (UTC+8, no daylight saving) of a moment; the op's own claim, so the fold needs no clock.
fn day_of(ms: i64) -> Date {
    Timestamp::from_millisecond(ms)
        .map_or(Date::MAX, |time| Offset::constant(8).to_datetime(time).date())
}
