//! Mass changes that wait for a person: the hub stores the ops and folds no further until somebody agreed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Policy, Refusal, change, read, require};
use crate::{
    directory::Unreadable,
    id::{FeedId, RecordId},
    limit,
    op::{Change, Op, OpType},
    record::Record,
};

/// What makes a change of many suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Many records are withdrawn.
    MassWithdrawal,
    /// Many records change who may see them.
    MassVisibility,
    /// Many records change their codes or identifiers.
    MassIdentity,
    /// The node's clock has jumped.
    ClockJump,
    /// Ops are written in an older schema than before.
    SchemaDowngrade,
}

/// Payload of `gate.hold.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The feed.
    pub feed: FeedId,
    /// Folded up to here.
    pub after: u64,
    /// Last op of the change as it was known.
    pub to: u64,
    /// What it is.
    pub kind: GateKind,
    /// Records concerned.
    pub count: u64,
    /// Live records of the district before.
    pub live: u64,
    /// Some of the records.
    pub sample: Vec<RecordId>,
}

/// Payload of `gate.release.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRelease {
    /// The feed.
    pub feed: FeedId,
    /// Ops up to here pass.
    pub to: u64,
    /// Why it is right.
    pub reason: String,
}

/// Gates by feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    held: BTreeMap<FeedId, Gate>,
    passed: BTreeMap<FeedId, u64>,
}

impl Gates {
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        if op.kind == OpType::GateHold {
            let gate: Gate = read(op)?;
            self.held.insert(gate.feed, gate);
        } else {
            let release: GateRelease = read(op)?;
            self.held.remove(&release.feed);
            let passed = self.passed.entry(release.feed).or_default();
            *passed = (*passed).max(release.to);
        }
        Ok(())
    }

    /// What of the feed waits.
    pub fn held(&self, feed: FeedId) -> Option<&Gate> {
        self.held.get(&feed)
    }

    /// All that waits.
    pub fn all(&self) -> impl Iterator<Item = &Gate> {
        self.held.values()
    }

    /// Ops up to here were agreed to and are not held again.
    pub fn passed(&self, feed: FeedId) -> u64 {
        self.passed.get(&feed).copied().unwrap_or(0)
    }

    /// The op that holds a change back.
    ///
    /// # Errors
    /// `NoChange` when the feed is held already.
    pub fn hold(&self, gate: &Gate) -> Result<Vec<Change>, Refusal> {
        if self.held.contains_key(&gate.feed) {
            return Err(Refusal::NoChange(gate.feed.to_string()));
        }
        Ok(vec![change(OpType::GateHold, gate.feed.as_bytes(), gate)])
    }

    /// The op that lets it through.
    ///
    /// # Errors
    /// `NotFound` when nothing waits; `NoReason`.
    pub fn release(&self, release: &GateRelease) -> Result<Vec<Change>, Refusal> {
        require(&release.reason)?;
        if !self.held.contains_key(&release.feed) {
            return Err(Refusal::NotFound(release.feed.to_string()));
        }
        Ok(vec![change(OpType::GateRelease, release.feed.as_bytes(), release)])
    }
}

/// How much of a change is a mass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// More records than this.
    pub records: u32,
    /// Or more than this share of the live ones, percent.
    pub percent: u32,
}

impl Thresholds {
    /// The city's own, or those that apply when it has set none.
    pub fn of(policy: &Policy) -> Self {
        Self {
            records: policy.mass_records.unwrap_or(limit::MASS_RECORDS),
            percent: policy.mass_percent.unwrap_or(limit::MASS_PERCENT),
        }
    }

    fn exceeded(self, count: usize, live: u64) -> bool {
        let count = count as u64;
        count > u64::from(self.records)
            || (count >= u64::from(limit::MASS_RECORDS_MIN)
                && count * 100 > live * u64::from(self.percent))
    }
}

/// What an op does that would be suspicious if many did it.
struct Suspect {
    kind: GateKind,
    record: RecordId,
    seq: u64,
    claimed_at_ms: i64,
}

/// Watches the ops of one feed on their way to the fold.
///
/// It looks back over the last ops, and never further than a day by their author's clock, so that what a district
/// withdraws in a year is no mass.
#[derive(Debug, Default)]
pub struct Inspector {
    recent: VecDeque<Suspect>,
}

impl std::fmt::Debug for Suspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.kind, self.seq)
    }
}

impl Inspector {
    /// Looks at the next ops of the feed. Returns the gate to close when they are part of a mass change; then those
    /// after it are forgotten, to be looked at again when a person agreed. `current` gives the op that is current of a
    /// record, `live` the district's live records before the ops, `now_ms` the hub's clock.
    pub fn inspect(
        &mut self,
        ops: &[Op],
        live: u64,
        thresholds: Thresholds,
        now_ms: i64,
        current: impl Fn(RecordId) -> Option<Op>,
    ) -> Option<Gate> {
        let first = ops.first()?.seq;
        for op in ops {
            self.forget(op);
            if let Some((kind, record)) = suspicion(op, now_ms, &current) {
                let (seq, claimed_at_ms) = (op.seq, op.claimed_at_ms);
                self.recent.push_back(Suspect { kind, record, seq, claimed_at_ms });
            }
        }
        let mut kinds: BTreeMap<GateKind, BTreeSet<RecordId>> = BTreeMap::new();
        for suspect in &self.recent {
            kinds.entry(suspect.kind).or_default().insert(suspect.record);
        }
        let held = |kind: GateKind| {
            self.recent.iter().find(|suspect| suspect.kind == kind && suspect.seq >= first)
        };
        let (kind, records, begin) = kinds
            .into_iter()
            .filter(|(_, records)| thresholds.exceeded(records.len(), live))
            .find_map(|(kind, records)| Some((kind, records, held(kind)?.seq)))?;
        self.recent.retain(|suspect| suspect.seq < begin);
        Some(Gate {
            feed: ops[0].feed,
            after: begin - 1,
            to: ops.last()?.seq,
            kind,
            count: records.len() as u64,
            live,
            sample: records.into_iter().take(limit::GATE_SAMPLE_MAX).collect(),
        })
    }

    /// Forgets what is too long ago to be part of the same change as `op`.
    fn forget(&mut self, op: &Op) {
        while self.recent.front().is_some_and(|suspect| {
            op.seq.saturating_sub(suspect.seq) > limit::MASS_WINDOW_OPS
                || op.claimed_at_ms.saturating_sub(suspect.claimed_at_ms).saturating_abs()
                    > limit::MASS_WINDOW_MS
        }) {
            self.recent.pop_front();
        }
    }
}

/// What is suspicious in one op, if many do it.
fn suspicion(
    op: &Op,
    now_ms: i64,
    current: &impl Fn(RecordId) -> Option<Op>,
) -> Option<(GateKind, RecordId)> {
    let record = RecordId::try_from(op.subject.as_ref()).ok()?;
    if op.claimed_at_ms.saturating_sub(now_ms) > limit::CLOCK_JUMP_MS {
        return Some((GateKind::ClockJump, record));
    }
    let before = current(record)?;
    let kind = match op.kind {
        OpType::RecordTombstone => GateKind::MassWithdrawal,
        OpType::RecordPut if op.schema < before.schema => GateKind::SchemaDowngrade,
        OpType::RecordPut if op.visibility != before.visibility => GateKind::MassVisibility,
        OpType::RecordPut if op.payload_hash != before.payload_hash => {
            let (old, new) = (names(&before)?, names(op)?);
            if old == new {
                return None;
            }
            GateKind::MassIdentity
        }
        _ => return None,
    };
    Some((kind, record))
}

/// The names a record goes by.
fn names(op: &Op) -> Option<impl PartialEq> {
    let record = Record::from_bytes(&op.signed.payload).ok()?;
    Some((record.code, record.identifiers))
}
