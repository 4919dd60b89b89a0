//! Conflicts at the desk: lists, all versions with their differences, decisions.

use liandong_core::{
    city::{
        Appeal, City, Conflict, ConflictEvent, ConflictKind, ConflictState, Decided, Decision,
        Hold, Refusal, RequestClose, RequestReply,
    },
    difference::{FieldDifference, difference},
    id::{DistrictCode, Hash, RecordId},
    limit,
    op::Change,
};
use liandong_server::clock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RecordRef, VersionShown, version};
use crate::app::{App, AppError};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Digits of an id that are enough to look it up.
const PREFIX_MIN: usize = 6;

/// Which conflicts to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConflictFilter {
    /// Only this kind: `C1` to `C9`, or its name.
    pub kind: Option<String>,
    /// Which states.
    pub state: StateFilter,
    /// Only those that concern this district.
    pub district: Option<DistrictCode>,
    /// Only those opened so many days ago or earlier.
    pub age_days: Option<u32>,
}

/// Which states to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// What waits for a decision.
    #[default]
    Open,
    /// What was decided and objected to.
    Appealed,
    /// What was decided.
    Decided,
    /// All.
    All,
}

impl StateFilter {
    fn admits(self, state: ConflictState) -> bool {
        match self {
            Self::Open => state != ConflictState::Decided,
            Self::Appealed => state == ConflictState::Appealed,
            Self::Decided => state == ConflictState::Decided,
            Self::All => true,
        }
    }
}

/// A conflict in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictRow {
    /// Its id.
    pub id: Hash,
    /// Number in the catalogue of conflicts.
    pub number: String,
    /// Kind.
    pub kind: ConflictKind,
    /// Where it stands.
    pub state: ConflictState,
    /// When it was opened, milliseconds since 1970.
    pub opened_ms: i64,
    /// Districts that it concerns.
    pub districts: Vec<String>,
    /// What it is about, beside records.
    pub names: Vec<String>,
    /// The records in it.
    pub records: Vec<RecordRef>,
    /// The side that the city shows meanwhile.
    pub winner: Option<RecordId>,
    /// Why it is in that state, for people.
    pub reason: String,
}

/// A conflict with everything known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictShown {
    /// As in lists.
    #[serde(flatten)]
    pub row: ConflictRow,
    /// Why it was found.
    pub evidence: Value,
    /// All sides.
    pub versions: Vec<VersionShown>,
    /// Field by field; what the columns are depends on the kind, see `columns`.
    pub differences: Vec<FieldDifference>,
    /// What `base`, `mine` and `theirs` are here, for people.
    pub columns: [String; 3],
    /// All that happened, oldest first.
    pub history: Vec<ConflictEvent>,
    /// Decisions that fit.
    pub verdicts: Vec<String>,
}

/// An op that a decision would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Its type.
    pub kind: String,
    /// What it says.
    pub payload: Value,
}

/// Two sides with what both began with.
type Sides = ([&'static str; 3], [Option<Value>; 3]);

impl App {
    /// Finds a conflict by its id or the beginning of it.
    fn find_conflict(city: &City, text: &str) -> Result<Hash, Refusal> {
        let text = text.to_lowercase();
        let mut named = city.conflicts.iter().map(|conflict| conflict.opened.id);
        let found = named.by_ref().find(|id| id.to_string().starts_with(&text));
        let found = found.filter(|_| text.len() >= PREFIX_MIN);
        let found = found.ok_or_else(|| Refusal::NotFound(text.clone()))?;
        if named.any(|id| id.to_string().starts_with(&text)) {
            return Err(Refusal::Bad {
                zh: format!("“{text}”不止对应一个冲突，请多给几位"),
                en: format!("{text:?} begins more than one id; give more digits"),
            });
        }
        Ok(found)
    }

    pub(super) fn conflicts(&self, filter: &ConflictFilter) -> Result<Vec<ConflictRow>, AppError> {
        let city = self.city();
        let kinds = filter.kind.as_deref().map(kinds).transpose()?;
        let feed = match &filter.district {
            None => None,
            Some(code) => Some(
                city.directory
                    .feed_of(code)
                    .ok_or_else(|| Refusal::NotFound(code.as_str().to_owned()))?,
            ),
        };
        let latest = filter.age_days.map(|days| clock::now_ms() - i64::from(days) * DAY_MS);
        let mut wanted: Vec<_> = city
            .conflicts_of(feed)
            .filter(|conflict| filter.state.admits(conflict.state()))
            .filter(|conflict| {
                kinds.as_ref().is_none_or(|kinds| kinds.contains(&conflict.opened.kind))
            })
            .filter(|conflict| latest.is_none_or(|latest| opened_ms(conflict) <= latest))
            .collect();
        wanted.sort_by_key(|conflict| (opened_ms(conflict), conflict.opened.id));
        let page = wanted.into_iter().take(limit::DESK_PAGE_MAX);
        page.map(|conflict| self.row(&city, conflict)).collect()
    }

    fn row(&self, city: &City, conflict: &Conflict) -> Result<ConflictRow, AppError> {
        let opened = &conflict.opened;
        let records = conflict.records();
        let mut parties = opened.parties.clone();
        parties.extend(city.parties(records.iter().copied()));
        parties.sort_unstable();
        parties.dedup();
        let names = opened.subjects.iter();
        let names = names.filter(|name| name.parse::<RecordId>().is_err()).cloned().collect();
        Ok(ConflictRow {
            id: opened.id,
            number: opened.kind.number().to_owned(),
            kind: opened.kind,
            state: conflict.state(),
            opened_ms: opened_ms(conflict),
            districts: parties.iter().map(|feed| self.district_name(city, *feed)).collect(),
            names,
            records: records.iter().map(|id| self.record_ref(*id)).collect::<Result<_, _>>()?,
            winner: city.winner(conflict),
            reason: conflict.history.last().map(|event| event.reason.clone()).unwrap_or_default(),
        })
    }

    pub(super) fn conflict(&self, id: &str) -> Result<ConflictShown, AppError> {
        let city = self.city();
        let id = Self::find_conflict(&city, id)?;
        let conflict = city.conflicts.get(&id).ok_or_else(|| Refusal::NotFound(id.to_string()))?;
        let (columns, [base, mine, theirs]) = self.sides(&city, conflict)?;
        let comparable = mine.is_some() && theirs.is_some();
        let differences = if comparable {
            difference(base.as_ref(), mine.as_ref(), theirs.as_ref())
        } else {
            Vec::new()
        };
        Ok(ConflictShown {
            row: self.row(&city, conflict)?,
            evidence: conflict.opened.evidence.clone(),
            versions: self.versions(&conflict.opened.versions)?,
            differences,
            columns: columns.map(str::to_owned),
            history: conflict.history.clone(),
            verdicts: conflict.opened.kind.verdicts().iter().map(ToString::to_string).collect(),
        })
    }

    /// What is compared: base, mine, theirs.
    fn sides(&self, city: &City, conflict: &Conflict) -> Result<Sides, AppError> {
        let records: Vec<_> = conflict.records().into_iter().collect();
        Ok(match (conflict.opened.kind, records.as_slice()) {
            (ConflictKind::OverlayStale, [record, ..]) => {
                let overlaid = city.curation.overlays.get(record);
                let now = self.content_now(*record)?;
                let base = self.content_before(*record, overlaid.and_then(|known| known.base))?;
                let fields = overlaid.map(|known| version::fields_of(&known.overlay));
                let curated = base.as_ref().or(now.as_ref()).zip(fields);
                let curated = curated.map(|(began, fields)| version::with_fields(began, &fields));
                (["编目所见 seen", "本区现行 district", "市级编目 curated"], [base, now, curated])
            }
            (ConflictKind::SchemaInvalid, _) => {
                let rejected = conflict.opened.versions.first();
                let op = rejected.map(|version| self.op_at(version)).transpose()?.flatten();
                let theirs = op.as_ref().and_then(version::content);
                let now = records.first().map(|id| self.content_now(*id)).transpose()?.flatten();
                let columns = ["有效版本 valid", "有效版本 valid", "未生效 rejected"];
                (columns, [now.clone(), now, theirs])
            }
            (_, [one, other]) => {
                let (one, other) = (self.content_now(*one)?, self.content_now(*other)?);
                (["目录一 first", "目录一 first", "目录二 second"], [one.clone(), one, other])
            }
            _ => (["", "", ""], [None, None, None]),
        })
    }

    /// The ops that a decision comes to.
    fn decision(
        &self,
        city: &City,
        id: Hash,
        decision: Decision,
        reason: String,
    ) -> Result<Vec<Change>, AppError> {
        let decided = Decided { id, decision, reason, settled_by: None };
        let mut changes = city.decide_conflict(&decided)?;
        let Some(conflict) = city.conflicts.get(&id) else { return Ok(changes) };
        let Some(record) = conflict.records().first().copied() else { return Ok(changes) };
        let curation = &city.curation;
        let overlaid = curation.overlays.get(&record);
        match (conflict.opened.kind, &decided.decision) {
            (ConflictKind::OverlayStale, Decision::Confirm) => {
                let state = self.live(record)?;
                if let Some(known) = overlaid.filter(|known| known.stale(state.op_hash)) {
                    let (base, seen_by) = (state.op_hash, state.visibility);
                    changes.extend(curation.put_overlay(record, base, &known.overlay, seen_by)?);
                }
            }
            (ConflictKind::OverlayStale, Decision::Withdraw) if overlaid.is_some() => {
                changes.extend(curation.drop_overlay(record)?);
            }
            (ConflictKind::Held, Decision::Withdraw) if curation.holds.contains_key(&record) => {
                let (legal_basis, reason) = (String::new(), decided.reason);
                let hold = Hold { active: false, legal_basis, reason };
                changes.extend(curation.set_hold(record, &hold)?);
            }
            (ConflictKind::WithdrawnWithOverlay, Decision::Confirm) => {
                if overlaid.is_some() {
                    changes.extend(curation.drop_overlay(record)?);
                }
                for (request, _) in curation.requests_about(record) {
                    let reply = RequestReply {
                        request: request.clone(),
                        accepted: false,
                        reason: Some(decided.reason.clone()),
                        resolved_by: None,
                    };
                    changes.extend(curation.close(&RequestClose { reply, cause: None })?);
                }
            }
            _ => {}
        }
        Ok(changes)
    }

    pub(super) fn preview(
        &self,
        id: &str,
        decision: Decision,
        reason: String,
    ) -> Result<Vec<Preview>, AppError> {
        let city = self.city();
        let id = Self::find_conflict(&city, id)?;
        let changes = self.decision(&city, id, decision, reason)?;
        let preview = |change: Change| Preview {
            kind: change.kind.name().to_owned(),
            payload: serde_json::from_slice(&change.payload).unwrap_or_default(),
        };
        Ok(changes.into_iter().map(preview).collect())
    }

    pub(super) async fn decide_conflict(
        &self,
        id: &str,
        decision: Decision,
        reason: String,
        actor: &str,
    ) -> Result<ConflictShown, AppError> {
        let id = Self::find_conflict(&self.city(), id)?;
        self.decide(actor, |city| self.decision(city, id, decision, reason)).await?;
        self.conflict(&id.to_string())
    }

    pub(super) async fn reopen(
        &self,
        id: &str,
        reason: String,
        actor: &str,
    ) -> Result<ConflictShown, AppError> {
        let id = Self::find_conflict(&self.city(), id)?;
        let appeal = Appeal { id, by: None, reason, cause: None };
        self.decide(actor, |city| Ok(city.appeal(&appeal)?)).await?;
        self.conflict(&id.to_string())
    }
}

fn opened_ms(conflict: &Conflict) -> i64 {
    conflict.history.first().map_or(0, |event| event.at_ms)
}

/// The kinds that a word means: a number of the catalogue or a name.
fn kinds(word: &str) -> Result<Vec<ConflictKind>, Refusal> {
    let named = |kind: ConflictKind| serde_json::to_value(kind).is_ok_and(|name| name == word);
    let found: Vec<_> = ConflictKind::ALL
        .into_iter()
        .filter(|(kind, number)| number.eq_ignore_ascii_case(word) || named(*kind))
        .map(|(kind, _)| kind)
        .collect();
    if found.is_empty() {
        return Err(Refusal::Bad {
            zh: format!("没有“{word}”这类冲突，可用 C1 至 C9"),
            en: format!("there is no kind {word:?} of conflicts; C1 to C9 are"),
        });
    }
    Ok(found)
}
