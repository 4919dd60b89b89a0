//! Conflicts as objects: found by the hub, kept with all versions, ended only by a recorded decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cause, City, Refusal, SourceEntry, change, grant, read, require};
use crate::{
    directory::Unreadable,
    id::{FeedId, Hash, RecordId},
    op::{Change, Op, OpType},
    record::Visibility,
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
    /// C2: two records say that they are the authoritative source of one information item.
    SourceClaimed,
}

impl ConflictKind {
    /// All kinds with their number in the catalogue; C10 is settled at the node.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::CodeClaimed, "C1"),
        (Self::Duplicate, "C2"),
        (Self::OverlayStale, "C3"),
        (Self::ChangeRequested, "C4"),
        (Self::Held, "C5"),
        (Self::Ownership, "C6"),
        (Self::WithdrawnWithOverlay, "C7"),
        (Self::FeedForked, "C8"),
        (Self::SchemaInvalid, "C9"),
        (Self::SourceClaimed, "C2"),
    ];

    /// Whether a decision of this sort can end it.
    fn admits(self, decision: &Decision) -> bool {
        match decision {
            Decision::Authoritative { .. } => {
                matches!(self, Self::Duplicate | Self::SourceClaimed)
            }
            Decision::CopyOf { .. } | Decision::DerivedFrom { .. } => self == Self::Duplicate,
            Decision::Distinct => matches!(self, Self::Duplicate | Self::SourceClaimed),
            Decision::CodeStays { .. } => self == Self::CodeClaimed,
            Decision::Confirm => true,
            Decision::Withdraw => !matches!(self, Self::CodeClaimed | Self::Duplicate),
        }
    }

    /// Names of the decisions that fit.
    pub fn verdicts(self) -> Vec<&'static str> {
        let record = RecordId::new(FeedId::new([0; 16]), ulid::Ulid(0));
        let all = [
            Decision::Authoritative { record },
            Decision::CopyOf { record, of: record },
            Decision::DerivedFrom { record, of: record },
            Decision::Distinct,
            Decision::CodeStays { record },
            Decision::Confirm,
            Decision::Withdraw,
        ];
        all.iter().filter(|decision| self.admits(decision)).map(Decision::name).collect()
    }

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
    /// The op that settled it without a person's decision. It is no answer to that op.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<Cause>,
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
    /// The district that objected, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<FeedId>,
    /// The op that settled it without a person's decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<Cause>,
}

/// A conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// How it was found.
    pub opened: Opened,
    /// Who may see it: whoever sees all records in it.
    pub visibility: Visibility,
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

    /// Whether it waits for a decision.
    pub fn is_open(&self) -> bool {
        self.state() != ConflictState::Decided
    }

    /// Whether it ended without a person's decision; it is opened again when what caused it is there again.
    pub fn settled_by_itself(&self) -> bool {
        self.history.last().is_some_and(|event| event.settled_by.is_some())
    }

    /// Whether its records are one datum: found so and not denied.
    pub fn joins(&self) -> bool {
        let apart = |decision: &Decision| {
            matches!(decision, Decision::Distinct | Decision::DerivedFrom { .. })
        };
        self.opened.kind == ConflictKind::Duplicate && !self.decision().is_some_and(apart)
    }

    /// The records in it.
    pub fn records(&self) -> BTreeSet<RecordId> {
        self.opened.versions.iter().filter_map(|version| version.record).collect()
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

/// All conflicts, open and ended. Shared between the states of the city, because most ops do not touch them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts {
    all: Arc<BTreeMap<Hash, Arc<Conflict>>>,
    about: Arc<BTreeMap<String, BTreeSet<Hash>>>,
}

impl Conflicts {
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        let event = |state, reason| ConflictEvent {
            seq: op.seq,
            at_ms: op.claimed_at_ms,
            actor: op.actor.clone(),
            state,
            decision: None,
            reason,
            by: None,
            settled_by: None,
        };
        match op.kind {
            OpType::ConflictOpen => {
                let opened: Opened = read(op)?;
                self.open(opened, event(ConflictState::Open, String::new()), op.visibility);
            }
            OpType::ConflictDecide => {
                let Decided { id, decision, reason, settled_by } = read(op)?;
                let decided = event(ConflictState::Decided, reason);
                let decision = Some(decision);
                self.append(id, ConflictEvent { decision, settled_by, ..decided });
            }
            _ => {
                let Appeal { id, by, reason, .. } = read(op)?;
                self.append(id, ConflictEvent { by, ..event(ConflictState::Appealed, reason) });
            }
        }
        Ok(())
    }

    fn open(&mut self, opened: Opened, event: ConflictEvent, visibility: Visibility) {
        let id = opened.id;
        if self.all.contains_key(&id) {
            return;
        }
        let records = opened.versions.iter().filter_map(|version| version.record);
        let about = Arc::make_mut(&mut self.about);
        for subject in opened.subjects.iter().cloned().chain(records.map(|id| id.to_string())) {
            about.entry(subject).or_default().insert(id);
        }
        let conflict = Conflict { opened, visibility, history: vec![event] };
        Arc::make_mut(&mut self.all).insert(id, Arc::new(conflict));
    }

    fn append(&mut self, id: Hash, event: ConflictEvent) {
        if let Some(conflict) = Arc::make_mut(&mut self.all).get_mut(&id) {
            Arc::make_mut(conflict).history.push(event);
        }
    }

    /// One of them.
    pub fn get(&self, id: &Hash) -> Option<&Conflict> {
        self.all.get(id).map(Arc::as_ref)
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Conflict> {
        self.all.values().map(Arc::as_ref)
    }

    /// Records that are one datum with this one, itself among them: decided so, or found so and not denied.
    ///
    /// Source: plan 二(一)3, one datum one source.
    pub fn copies(&self, id: RecordId) -> BTreeSet<RecordId> {
        let mut copies = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            for conflict in self.about(&next.to_string()).filter(|conflict| conflict.joins()) {
                for other in conflict.records() {
                    if copies.insert(other) {
                        open.push(other);
                    }
                }
            }
        }
        copies
    }

    /// Records of which something else is said to be a copy, or no more, since a position of the hub's feed.
    pub fn rejoined_since(&self, seq: u64) -> BTreeSet<RecordId> {
        let moved = |conflict: &&Conflict| {
            let last = conflict.history.last().map_or(0, |event| event.seq);
            conflict.opened.kind == ConflictKind::Duplicate && last > seq
        };
        let sides = self.iter().filter(moved).flat_map(Conflict::records);
        sides.flat_map(|side| self.copies(side)).collect()
    }

    /// Which of some copies is the authoritative one, if a decision says so.
    pub fn authoritative(&self, copies: &BTreeSet<RecordId>) -> Option<RecordId> {
        let decided = |conflict: &Conflict| match conflict.decision()? {
            Decision::Authoritative { record } => Some(*record),
            Decision::CopyOf { of, .. } => Some(*of),
            _ => None,
        };
        let names = copies.iter().filter_map(|id| self.about.get(&id.to_string())).flatten();
        let last = names
            .filter_map(|id| self.get(id))
            .filter(|conflict| conflict.joins() && !conflict.is_open())
            .filter_map(|conflict| Some((conflict.history.last()?.seq, decided(conflict)?)));
        last.max().map(|(_, record)| record).filter(|record| copies.contains(record))
    }

    /// Those about a subject: a record id, a code, a feed.
    pub fn about(&self, subject: &str) -> impl Iterator<Item = &Conflict> {
        self.about.get(subject).into_iter().flatten().filter_map(|id| self.get(id))
    }
}

impl City {
    /// The op that opens a conflict; nothing when it is known, whatever became of it.
    pub fn open_conflict(&self, opened: &Opened) -> Option<Change> {
        self.open_seen_by(opened, Visibility::Shared)
    }

    /// [`Self::open_conflict`] for those who may see the records in it.
    pub(super) fn open_seen_by(&self, opened: &Opened, visibility: Visibility) -> Option<Change> {
        let known = self.conflicts.get(&opened.id).is_some();
        let change = change(OpType::ConflictOpen, opened.id.as_bytes(), opened);
        (!known).then_some(Change { visibility, ..change })
    }

    /// The ops that decide a conflict and make the city what was decided.
    ///
    /// # Errors
    /// `NotFound`, `NoReason`; `Unfit` when the decision does not fit the kind or names something that is no side of
    /// the conflict; `NoChange` when it is the decision in force.
    pub fn decide_conflict(&self, decided: &Decided) -> Result<Vec<Change>, Refusal> {
        require(&decided.reason)?;
        let conflict = self.conflict(decided.id)?;
        let (kind, decision) = (conflict.opened.kind, &decided.decision);
        if !kind.admits(decision) {
            return Err(Refusal::Unfit(format!("{} ({})", decision.name(), kind.number())));
        }
        if conflict.decision() == Some(decision) {
            return Err(Refusal::NoChange(decided.id.to_string()));
        }
        let sides = conflict.records();
        if let Some(stranger) = decision.records().iter().find(|record| !sides.contains(record)) {
            return Err(Refusal::Unfit(stranger.to_string()));
        }
        let change = change(OpType::ConflictDecide, decided.id.as_bytes(), decided);
        let mut changes = vec![Change { visibility: conflict.visibility, ..change }];
        changes.extend(self.effects(conflict, decided)?);
        Ok(changes)
    }

    fn conflict(&self, id: Hash) -> Result<&Conflict, Refusal> {
        self.conflicts.get(&id).ok_or_else(|| Refusal::NotFound(id.to_string()))
    }

    /// What else a decision changes.
    fn effects(&self, conflict: &Conflict, decided: &Decided) -> Result<Vec<Change>, Refusal> {
        let Opened { kind, subjects, .. } = &conflict.opened;
        let mut names = subjects.iter().filter(|name| name.parse::<RecordId>().is_err());
        match (kind, &decided.decision) {
            (ConflictKind::CodeClaimed, Decision::CodeStays { record }) => {
                let codes = names.map(|code| (code.clone(), Some(*record))).collect();
                Ok(grant(codes, conflict.visibility))
            }
            (ConflictKind::SourceClaimed, Decision::Authoritative { record }) => {
                let Some(item) = names.next() else { return Ok(Vec::new()) };
                let known = self.curation.sources.get(item).and_then(|entry| entry.record);
                if known == Some(*record) {
                    return Ok(Vec::new());
                }
                let (item, reason) = (item.clone(), decided.reason.clone());
                self.curation.register(&SourceEntry { item, record: Some(*record), reason })
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The op that opens a decided conflict again, or puts a district's objection on record.
    ///
    /// # Errors
    /// `NotFound`, `NoReason`; `NoParty` when a district appeals that it does not concern; `NoChange` when it is open
    /// and the objection known.
    pub fn appeal(&self, appeal: &Appeal) -> Result<Vec<Change>, Refusal> {
        require(&appeal.reason)?;
        let conflict = self.conflict(appeal.id)?;
        if let Some(by) = appeal.by.filter(|by| !self.concerns(conflict, *by)) {
            return Err(Refusal::NoParty(by.to_string()));
        }
        let last = conflict.history.last();
        let new_voice = appeal.by.is_some() && last.is_some_and(|event| event.by != appeal.by);
        if conflict.is_open() && !new_voice {
            return Err(Refusal::NoChange(appeal.id.to_string()));
        }
        let change = change(OpType::ConflictAppeal, appeal.id.as_bytes(), appeal);
        Ok(vec![Change { visibility: conflict.visibility, ..change }])
    }

    /// Whether a conflict concerns a feed's district: it was a party from the beginning, or owns a record in it now.
    pub fn concerns(&self, conflict: &Conflict, feed: FeedId) -> bool {
        conflict.opened.parties.contains(&feed)
            || conflict.records().into_iter().any(|record| self.owner(record) == feed)
    }

    /// Conflicts that concern a feed's district, or all.
    pub fn conflicts_of(&self, feed: Option<FeedId>) -> impl Iterator<Item = &Conflict> {
        let concerned =
            move |conflict: &&Conflict| feed.is_none_or(|feed| self.concerns(conflict, feed));
        self.conflicts.iter().filter(concerned)
    }

    /// The side that the city shows or believes for the time being; none when all are shown alike. A function of the
    /// hub's feed, so it is the same on every replica.
    pub fn winner(&self, conflict: &Conflict) -> Option<RecordId> {
        let Opened { kind, subjects, winner, .. } = &conflict.opened;
        match kind {
            ConflictKind::CodeClaimed => {
                subjects.iter().find_map(|subject| self.codes.holder(subject))
            }
            ConflictKind::SourceClaimed => subjects
                .iter()
                .find_map(|item| self.curation.sources.get(item))
                .and_then(|entry| entry.record),
            _ => match conflict.decision() {
                Some(Decision::Authoritative { record }) => Some(*record),
                Some(Decision::CopyOf { of, .. } | Decision::DerivedFrom { of, .. }) => Some(*of),
                _ => *winner,
            },
        }
    }
}

impl Decision {
    /// The word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Authoritative { .. } => "authoritative",
            Self::CopyOf { .. } => "copy_of",
            Self::DerivedFrom { .. } => "derived_from",
            Self::Distinct => "distinct",
            Self::CodeStays { .. } => "code_stays",
            Self::Confirm => "confirm",
            Self::Withdraw => "withdraw",
        }
    }

    /// The records it names.
    pub fn records(&self) -> Vec<RecordId> {
        match self {
            Self::Authoritative { record } | Self::CodeStays { record } => vec![*record],
            Self::CopyOf { record, of } | Self::DerivedFrom { record, of } => vec![*record, *of],
            Self::Distinct | Self::Confirm | Self::Withdraw => Vec::new(),
        }
    }
}
