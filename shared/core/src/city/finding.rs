//! What is in dispute now, and the ops that bring the recorded conflicts in line with it.
//!
//! Each topic is looked at as a whole: what the hub's feed says and what the view holds give the conflicts that stand;
//! those that are not on record are opened, those on record that stand no longer are closed with a recorded decision.
//! Looking twice changes nothing, so a restart, a repeated or a reordered change opens nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    Appeal, Cause, City, Conflict, ConflictKind, Decided, Decision, Opened, Overlaid, Version,
};
use crate::{
    duplicate::{self, Candidate},
    fold::{RecordState, Status},
    id::{FeedId, Hash, RecordId},
    limit,
    op::Change,
    record::Visibility,
};

/// Version of the rules below, but for duplicates, which have their own.
const DETECTOR_VERSION: u32 = 1;

/// What is looked at as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A record: its overlay, its hold, requests about it, invalid ops about it, its duplicates.
    Record(RecordId),
    /// A resource code.
    Code(String),
    /// An information item that somebody is the authoritative source of.
    Item(String),
    /// Ops of a feed of one type that do not take effect.
    Ops(FeedId, String),
}

/// The live records that claim a code or an item.
pub type Claimants = BTreeMap<RecordId, RecordState>;

/// An op that did not take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The op.
    pub version: Version,
    /// Why, for people.
    pub reason: String,
    /// Who may see its payload.
    pub visibility: Visibility,
}

/// What stands on one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The conflicts, with those who may see them. Of very many the first.
    pub conflicts: Vec<(Opened, Visibility)>,
    /// Ids of all.
    pub standing: BTreeSet<Hash>,
    /// The code to be granted or released, and who may see that.
    pub grant: Option<(String, Option<RecordId>, Visibility)>,
    /// The op that changed the topic last: what stands no longer was settled by it.
    pub cause: Cause,
}

impl Found {
    fn new(cause: Cause) -> Self {
        Self { conflicts: Vec::new(), standing: BTreeSet::new(), grant: None, cause }
    }

    fn add(&mut self, opened: Opened, visibility: Visibility) {
        self.standing.insert(opened.id);
        self.conflicts.push((opened, visibility));
    }
}

fn version(record: RecordId, state: &RecordState) -> Version {
    let RecordState { feed, seq, op_hash, .. } = *state;
    Version { feed, seq, op_hash, record: Some(record) }
}

impl City {
    /// What stands about a record, but for its duplicates. `hub` is the hub's feed, `rejected` the first op about the
    /// record after its current one that did not take effect.
    pub fn look_at_record(
        &self,
        hub: FeedId,
        id: RecordId,
        state: Option<&RecordState>,
        rejected: Option<&Rejected>,
        cause: Cause,
    ) -> Found {
        let mut found = Found::new(cause);
        let parties = vec![self.owner(id)];
        if let Some(rejected) = rejected {
            let mut opened = opened(ConflictKind::SchemaInvalid, vec![id.to_string()]);
            opened.versions = vec![rejected.version.clone()];
            opened.versions.extend(state.map(|state| version(id, state)));
            opened.evidence = json!({ "reason": rejected.reason });
            let visibility = state
                .map_or(rejected.visibility, |state| state.visibility.min(rejected.visibility));
            found.add(Opened { parties: parties.clone(), ..opened }, visibility);
        }
        let Some(state) = state else { return found };
        let overlaid = self.curation.overlays.get(&id);
        let of_hub = |seq, op_hash| Version { feed: hub, seq, op_hash, record: Some(id) };
        let mut add = |kind, mark: Hash, ours: Vec<Version>, evidence: Value| {
            let mut opened = opened(kind, vec![id.to_string(), mark.to_string()]);
            opened.versions = vec![version(id, state)];
            opened.versions.extend(ours);
            opened.evidence = evidence;
            opened.winner = Some(id);
            found.add(Opened { parties: parties.clone(), ..opened }, state.visibility);
        };
        let overlay = overlaid.map(|overlaid| of_hub(overlaid.seq, overlaid.op_hash));
        if state.status == Status::Withdrawn {
            let asked: Vec<_> = self.curation.requests_about(id).map(|(name, _)| name).collect();
            if overlaid.is_some() || !asked.is_empty() {
                let evidence = json!({ "overlay": overlaid.is_some(), "requests": asked });
                let ours = overlay.into_iter().collect();
                add(ConflictKind::WithdrawnWithOverlay, state.op_hash, ours, evidence);
            }
            return found;
        }
        if let Some(overlaid) = overlaid.filter(|overlaid| overlaid.stale(state.op_hash)) {
            let evidence = json!({ "base": overlaid.base, "falls_back": falls_back(overlaid) });
            let ours = overlay.into_iter().collect();
            add(ConflictKind::OverlayStale, overlaid.op_hash, ours, evidence);
        }
        if let Some(held) = self.curation.holds.get(&id) {
            let evidence =
                json!({ "legal_basis": held.hold.legal_basis, "reason": held.hold.reason });
            let ours = vec![of_hub(held.seq, held.op_hash)];
            add(ConflictKind::Held, held.op_hash, ours, evidence);
        }
        found
    }

    /// What stands about a resource code (C1). The record of its latest grant keeps it as long as it claims it; when
    /// nobody has it the claimant with the least id gets it.
    pub fn look_at_code(&self, code: &str, claimants: &Claimants, cause: Cause) -> Found {
        let granted = self.codes.holder(code);
        let holder = granted.filter(|holder| claimants.contains_key(holder));
        let holder = holder.or_else(|| claimants.keys().next().copied());
        let mut found =
            self.claimed_twice(ConflictKind::CodeClaimed, code, claimants, holder, cause);
        if granted != holder {
            let seen_by = holder.and_then(|holder| claimants.get(&holder));
            let visibility = seen_by.map_or(Visibility::Shared, |state| state.visibility);
            found.grant = Some((code.to_owned(), holder, visibility));
        }
        found
    }

    /// What stands about the authoritative source of an information item.
    ///
    /// Source: 沪经信推〔2016〕238号 二(一)3, 一数一源.
    pub fn look_at_item(&self, item: &str, claimants: &Claimants, cause: Cause) -> Found {
        let registered = self.curation.sources.get(item).and_then(|entry| entry.record);
        let source = registered.filter(|record| claimants.contains_key(record));
        let source = source.or_else(|| claimants.keys().next().copied());
        self.claimed_twice(ConflictKind::SourceClaimed, item, claimants, source, cause)
    }

    /// One conflict for each claimant beside the one that has it.
    fn claimed_twice(
        &self,
        kind: ConflictKind,
        name: &str,
        claimants: &Claimants,
        holder: Option<RecordId>,
        cause: Cause,
    ) -> Found {
        let mut found = Found::new(cause);
        let Some((holder, has)) = holder.and_then(|id| Some((id, claimants.get(&id)?))) else {
            return found;
        };
        for (id, state) in claimants.iter().filter(|(id, _)| **id != holder) {
            let subjects = vec![name.to_owned(), holder.to_string(), id.to_string()];
            let mut opened = opened(kind, subjects);
            if found.conflicts.len() >= limit::CLAIMS_PER_NAME_MAX {
                found.standing.insert(opened.id);
                continue;
            }
            opened.parties = self.parties([holder, *id]);
            opened.versions = vec![version(holder, has), version(*id, state)];
            opened.winner = (kind == ConflictKind::CodeClaimed).then_some(holder);
            opened.evidence = json!({ "claimed": name });
            found.add(opened, has.visibility.min(state.visibility));
        }
        found
    }

    /// Adds the duplicates of a record (C2): pairs with the states of both.
    ///
    /// Source: 沪经信推〔2016〕238号 二(一)3, 一数一源.
    pub fn add_duplicates(
        &self,
        found: &mut Found,
        pairs: impl IntoIterator<Item = (Candidate, [RecordState; 2])>,
    ) {
        for (Candidate { first, second, evidence }, [one, other]) in pairs {
            let subjects = vec![first.to_string(), second.to_string()];
            let mut opened =
                Opened::new(ConflictKind::Duplicate, subjects, duplicate::DETECTOR_VERSION);
            opened.parties = self.parties([first, second]);
            opened.versions = vec![version(first, &one), version(second, &other)];
            opened.evidence = json!({
                "score": evidence.score(), "weighed": evidence, "reason": evidence.to_string(),
            });
            found.add(opened, one.visibility.min(other.visibility));
        }
    }

    /// What stands about ops of a feed that nobody can read, or that are about no record.
    pub fn look_at_ops(
        &self,
        feed: FeedId,
        kind: &str,
        rejected: Option<&Rejected>,
        cause: Cause,
    ) -> Found {
        let mut found = Found::new(cause);
        if let Some(rejected) = rejected {
            let subjects = vec![feed.to_string(), kind.to_owned()];
            let mut opened = opened(ConflictKind::SchemaInvalid, subjects);
            opened.parties = vec![feed];
            opened.versions = vec![rejected.version.clone()];
            opened.evidence = json!({ "reason": rejected.reason, "type": kind });
            found.add(opened, rejected.visibility);
        }
        found
    }

    /// The feeds whose districts answer for the records.
    pub fn parties(&self, records: impl IntoIterator<Item = RecordId>) -> Vec<FeedId> {
        let feeds: BTreeSet<_> = records.into_iter().map(|id| self.owner(id)).collect();
        feeds.into_iter().collect()
    }

    /// The ops that bring the recorded conflicts of a topic in line with what stands.
    pub fn reconcile(&self, topic: &Topic, found: &Found) -> Vec<Change> {
        let mut changes = Vec::new();
        for (opened, visibility) in &found.conflicts {
            changes.extend(self.raise(opened, *visibility));
        }
        let open = self.on(topic).filter(|conflict| conflict.is_open());
        for conflict in open.filter(|conflict| !found.standing.contains(&conflict.opened.id)) {
            let decided = Decided {
                id: conflict.opened.id,
                decision: Decision::Confirm,
                reason: settled(conflict.opened.kind).to_owned(),
                settled_by: Some(found.cause),
            };
            // It is known, open, and has a reason.
            changes.extend(self.decide_conflict(&decided).unwrap_or_default());
        }
        changes
    }

    /// Opens a conflict, or opens it again when it had settled itself. A person's decision stands.
    fn raise(&self, opened: &Opened, visibility: Visibility) -> Vec<Change> {
        match self.conflicts.get(&opened.id) {
            None => self.open_seen_by(opened, visibility).into_iter().collect(),
            Some(known) if known.settled_by_itself() => {
                let told = opened.evidence.get("reason").and_then(Value::as_str);
                let told = told.map(|told| format!(": {told}")).unwrap_or_default();
                let reason = format!("同样的情况再次出现 / the same is found again{told}");
                let appeal = Appeal { id: opened.id, by: None, reason, cause: None };
                self.appeal(&appeal).unwrap_or_default()
            }
            Some(_) => Vec::new(),
        }
    }

    /// The recorded conflicts of a topic.
    fn on<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Conflict> {
        use ConflictKind as Kind;
        let (subject, kinds): (_, &[Kind]) = match topic {
            Topic::Record(id) => (
                id.to_string(),
                &[
                    Kind::OverlayStale,
                    Kind::Held,
                    Kind::WithdrawnWithOverlay,
                    Kind::SchemaInvalid,
                    Kind::Duplicate,
                ],
            ),
            Topic::Code(code) => (code.clone(), &[Kind::CodeClaimed]),
            Topic::Item(item) => (item.clone(), &[Kind::SourceClaimed]),
            Topic::Ops(_, kind) => (kind.clone(), &[Kind::SchemaInvalid]),
        };
        let feed = match topic {
            Topic::Ops(feed, _) => Some(feed.to_string()),
            _ => None,
        };
        let about: Vec<_> = self.conflicts.about(&subject).collect();
        about.into_iter().filter(move |conflict| {
            kinds.contains(&conflict.opened.kind)
                && feed.as_ref().is_none_or(|feed| conflict.opened.subjects.contains(feed))
        })
    }
}

impl Topic {
    /// The topics that a conflict belongs to.
    pub fn of(conflict: &Conflict) -> Vec<Self> {
        let subjects = &conflict.opened.subjects;
        let records = || subjects.iter().filter_map(|name| name.parse().ok()).map(Self::Record);
        let name = || subjects.iter().find(|name| name.parse::<RecordId>().is_err()).cloned();
        match conflict.opened.kind {
            ConflictKind::CodeClaimed => name().into_iter().map(Self::Code).collect(),
            ConflictKind::SourceClaimed => name().into_iter().map(Self::Item).collect(),
            ConflictKind::SchemaInvalid => {
                let feed = subjects.iter().find_map(|name| name.parse::<FeedId>().ok());
                let kind = subjects.iter().find(|name| name.parse::<FeedId>().is_err());
                match (feed, kind) {
                    (Some(feed), Some(kind)) => vec![Self::Ops(feed, kind.clone())],
                    _ => records().collect(),
                }
            }
            ConflictKind::Duplicate
            | ConflictKind::OverlayStale
            | ConflictKind::Held
            | ConflictKind::WithdrawnWithOverlay => records().collect(),
            ConflictKind::ChangeRequested | ConflictKind::Ownership | ConflictKind::FeedForked => {
                Vec::new()
            }
        }
    }
}

fn opened(kind: ConflictKind, subjects: Vec<String>) -> Opened {
    Opened::new(kind, subjects, DETECTOR_VERSION)
}

/// The fields of a stale overlay that the city shows no longer.
fn falls_back(overlaid: &Overlaid) -> Vec<&'static str> {
    let overlay = &overlaid.overlay;
    let pinned = [("title", overlay.title.is_some()), ("keywords", overlay.keywords.is_some())];
    let pinned = pinned.into_iter().filter(|(_, set)| *set && !overlay.sticky);
    pinned.map(|(name, _)| name).collect()
}

/// Why a conflict of a kind is over without a person's decision.
const fn settled(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::CodeClaimed => "代码不再被两条目录使用 / the code is no longer claimed twice",
        ConflictKind::SourceClaimed => {
            "该信息项不再有两个权威来源 / the item no longer has two sources"
        }
        ConflictKind::Duplicate => {
            "两条目录不再相似，或其一已撤回 / the two differ now, or one was withdrawn"
        }
        ConflictKind::OverlayStale => {
            "编目已重新确认、取消或目录已撤回 / the overlay was confirmed again or dropped, or the record withdrawn"
        }
        ConflictKind::Held => {
            "隐藏已解除，或目录已撤回 / the hold was released, or the record withdrawn"
        }
        ConflictKind::WithdrawnWithOverlay => {
            "目录已恢复，或编目与请求均已了结 / the record was restored, or overlay and requests are closed"
        }
        ConflictKind::SchemaInvalid => {
            "已有有效版本，或操作已可识别 / there is a valid version, or the op can be read now"
        }
        _ => "已不存在 / it is over",
    }
}
