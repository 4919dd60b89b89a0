//! Conflicts as objects: found by the hub, kept with all versions, ended only by a recorded decision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cause, City, Refusal, change, read, require};
use crate::{
    directory::Unreadable,
    id::{FeedId, Hash, RecordId},
    op::{Change, Op, OpType},
};

/// The catalogue of conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// C1: a resource code is claimed twice.
    CodeClaimed,
    /// C2: two records seem to be the same datum.
    Duplicate,
    /// C3: the district changed a record after a curator's overlay.
    OverlayStale,
    /// C4: the hub asked for a change.
    ChangeRequested,
    /// C5: the hub hides what the district publishes.
    Held,
    /// C6: who owns a record is disputed, or a former owner went on editing.
    Ownership,
    /// C7: a record was withdrawn that has an overlay or open requests.
    WithdrawnWithOverlay,
    /// C8: a feed was rolled back or has forked.
    FeedForked,
    /// C9: an op is invalid or newer than its reader.
    SchemaInvalid,
}

impl ConflictKind {
    /// All kinds with their number in the catalogue; C10 is settled at the node.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::CodeClaimed, "C1"),
        (Self::Duplicate, "C2"),
        (Self::OverlayStale, "C3"),
        (Self::ChangeRequested, "C4"),
        (Self::Held, "C5"),
        (Self::Ownership, "C6"),
        (Self::WithdrawnWithOverlay, "C7"),
        (Self::FeedForked, "C8"),
        (Self::SchemaInvalid, "C9"),
    ];

    /// Number in the catalogue, `C1` to `C9`.
    pub fn number(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, number)| number)
    }
}

/// One side of a conflict: an op that stays in its journal whatever is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Feed of the op.
    pub feed: FeedId,
    /// Its position.
    pub seq: u64,
    /// Its hash.
    pub op_hash: Hash,
    /// The record it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
}

/// Payload of `conflict.open.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// [`conflict_id`] of what follows.
    pub id: Hash,
    /// Kind.
    pub kind: ConflictKind,
    /// What it is about, sorted: record ids, codes, feeds.
    pub subjects: Vec<String>,
    /// Version of the rules that found it.
    pub detector_version: u32,
    /// Feeds whose districts are concerned.
    pub parties: Vec<FeedId>,
    /// All sides.
    pub versions: Vec<Version>,
    /// The side that the city shows meanwhile, where only one can be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<RecordId>,
    /// Why it was found, for people.
    pub evidence: Value,
    /// The district's op that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Decision {
    /// This record is the authoritative one.
    Authoritative {
        /// The record.
        record: RecordId,
    },
    /// One record is a copy of another.
    CopyOf {
        /// The copy.
        record: RecordId,
        /// The source.
        of: RecordId,
    },
    /// One record is derived from another.
    DerivedFrom {
        /// The derived one.
        record: RecordId,
        /// The source.
        of: RecordId,
    },
    /// They are different data.
    Distinct,
    /// The code belongs to this record.
    CodeStays {
        /// The record.
        record: RecordId,
    },
    /// Things stay as the city shows them now.
    Confirm,
    /// The hub gives way.
    Withdraw,
}

/// Payload of `conflict.decide.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The conflict.
    pub id: Hash,
    /// What was decided.
    pub decision: Decision,
    /// Why, for people.
    pub reason: String,
    /// The district's op that settled it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Payload of `conflict.appeal.v1`: the conflict is open again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appeal {
    /// The conflict.
    pub id: Hash,
    /// District that appeals; none when the hub itself opens it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<FeedId>,
    /// Why, for people.
    pub reason: String,
    /// The district's op.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Where a conflict stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictState {
    /// Nobody decided yet.
    Open,
    /// Decided.
    Decided,
    /// Open again.
    Appealed,
}

/// One step of a conflict's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictEvent {
    /// Position in the hub's feed.
    pub seq: u64,
    /// The hub's clock, milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// State after it.
    pub state: ConflictState,
    /// What was decided, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why.
    pub reason: String,
}

/// A conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// How it was found.
    pub opened: Opened,
    /// All that happened, oldest first.
    pub history: Vec<ConflictEvent>,
}

impl Conflict {
    /// Where it stands.
    pub fn state(&self) -> ConflictState {
        self.history.last().map_or(ConflictState::Open, |event| event.state)
    }

    /// The decision in force.
    pub fn decision(&self) -> Option<&Decision> {
        self.history.last().and_then(|event| event.decision.as_ref())
    }
}

/// Name of a conflict: the same on every replica and in every order of arrival.
pub fn conflict_id(kind: ConflictKind, subjects: &[String], detector_version: u32) -> Hash {
    let mut sorted = subjects.to_vec();
    sorted.sort_unstable();
    let text = serde_json::to_vec(&(kind, sorted, detector_version)).unwrap_or_default();
    Hash::of(&[b"liandong.conflict.v1", &text])
}

impl Opened {
    /// A conflict with sorted subjects and its id.
    pub fn new(kind: ConflictKind, mut subjects: Vec<String>, detector_version: u32) -> Self {
        subjects.sort_unstable();
        Self {
            id: conflict_id(kind, &subjects, detector_version),
            kind,
            subjects,
            detector_version,
            parties: Vec::new(),
            versions: Vec::new(),
            winner: None,
            evidence: Value::Null,
            cause: None,
        }
    }
}

pub(super) fn apply(conflicts: &mut BTreeMap<Hash, Conflict>, op: &Op) -> Result<(), Unreadable> {
    let event = |state, decision, reason| ConflictEvent {
        seq: op.seq,
        at_ms: op.claimed_at_ms,
        actor: op.actor.clone(),
        state,
        decision,
        reason,
    };
    match op.kind {
        OpType::ConflictOpen => {
            let opened: Opened = read(op)?;
            let conflict =
                Conflict { history: vec![event(ConflictState::Open, None, String::new())], opened };
            conflicts.entry(conflict.opened.id).or_insert(conflict);
        }
        OpType::ConflictDecide => {
            let decided: Decided = read(op)?;
            if let Some(conflict) = conflicts.get_mut(&decided.id) {
                let (decision, reason) = (Some(decided.decision), decided.reason);
                conflict.history.push(event(ConflictState::Decided, decision, reason));
            }
        }
        _ => {
            let appeal: Appeal = read(op)?;
            if let Some(conflict) = conflicts.get_mut(&appeal.id) {
                conflict.history.push(event(ConflictState::Appealed, None, appeal.reason));
            }
        }
    }
    Ok(())
}

impl City {
    /// The op that opens a conflict; nothing when it is known, whatever became of it.
    pub fn open_conflict(&self, opened: &Opened) -> Option<Change> {
        let new = !self.conflicts.contains_key(&opened.id);
        new.then(|| change(OpType::ConflictOpen, opened.id.as_bytes(), opened))
    }

    /// The op that decides a conflict.
    ///
    /// # Errors
    /// `NotFound`, `NoReason`; `Unfit` when the decision names something that is no side of the conflict.
    pub fn decide_conflict(&self, decided: &Decided) -> Result<Vec<Change>, Refusal> {
        require(&decided.reason)?;
        let conflict = self
            .conflicts
            .get(&decided.id)
            .ok_or_else(|| Refusal::NotFound(decided.id.to_string()))?;
        let named = match &decided.decision {
            Decision::Authoritative { record } | Decision::CodeStays { record } => vec![*record],
            Decision::CopyOf { record, of } | Decision::DerivedFrom { record, of } => {
                vec![*record, *of]
            }
            Decision::Distinct | Decision::Confirm | Decision::Withdraw => Vec::new(),
        };
        let side = |record: &RecordId| {
            conflict.opened.versions.iter().any(|version| version.record == Some(*record))
        };
        if let Some(stranger) = named.iter().find(|record| !side(record)) {
            return Err(Refusal::Unfit(stranger.to_string()));
        }
        let mut changes = vec![change(OpType::ConflictDecide, decided.id.as_bytes(), decided)];
        if let (ConflictKind::CodeClaimed, Decision::CodeStays { record }) =
            (conflict.opened.kind, &decided.decision)
        {
            let codes = conflict.opened.subjects.iter().filter(|subject| {
                self.codes.contains_key(*subject) && subject.parse::<RecordId>().is_err()
            });
            for code in codes {
                let grant = super::CodeGrant { code: code.clone(), record: *record };
                changes.push(change(OpType::CodeGrant, code.as_bytes(), &grant));
            }
        }
        Ok(changes)
    }

    /// The op that opens a decided conflict again.
    ///
    /// # Errors
    /// `NotFound`, `NoReason`; `NoChange` when it is open.
    pub fn appeal(&self, appeal: &Appeal) -> Result<Vec<Change>, Refusal> {
        require(&appeal.reason)?;
        let conflict = self
            .conflicts
            .get(&appeal.id)
            .ok_or_else(|| Refusal::NotFound(appeal.id.to_string()))?;
        if conflict.state() != ConflictState::Decided {
            return Err(Refusal::NoChange(appeal.id.to_string()));
        }
        Ok(vec![change(OpType::ConflictAppeal, appeal.id.as_bytes(), appeal)])
    }

    /// Conflicts that concern a feed's district, or all.
    pub fn conflicts_of(&self, feed: Option<FeedId>) -> impl Iterator<Item = &Conflict> {
        self.conflicts
            .values()
            .filter(move |conflict| feed.is_none_or(|feed| conflict.opened.parties.contains(&feed)))
    }
}
