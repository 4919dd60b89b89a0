//! What the city says of a record beside its district's words.

use liandong_core::{
    city::{Conflict, ConflictKind, Decision},
    fold::Status,
    id::{Hash, RecordId},
    record::Visibility,
};
use liandong_store::{Entry, Store};
use serde::Serialize;

use crate::problem::Problem;

/// Where curated fields come from, as documents say it.
const ORIGIN: &str = "市级编目 / curated by the city";

/// Curated fields, whether the code is confirmed, and records that are or may be the same datum.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Marks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) curated: Option<Curated>,
    /// The resource code belongs to another record; this one's is not confirmed (C1).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) code_pending: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) duplicates: Vec<DuplicateMark>,
}

/// What curators added.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Curated {
    origin: &'static str,
    pub(crate) title: String,
    pub(crate) keywords: Vec<String>,
    pub(crate) theme: Option<String>,
    pub(crate) key_theme: bool,
    pub(crate) notes: Option<String>,
    /// The district changed the record since; title and keywords are the district's again, unless they are pinned.
    pub(crate) stale: bool,
}

/// Another record that is or may be the same datum (C2).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DuplicateMark {
    pub(crate) id: RecordId,
    pub(crate) title: String,
    /// What the other record is to this one.
    pub(crate) relation: Relation,
    conflict: Hash,
}

/// What another record is to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Relation {
    /// Nobody decided yet.
    PossibleDuplicate,
    /// This one is a copy of it.
    CopyOf,
    /// It is a copy of this one.
    HasCopy,
    /// This one is derived from it.
    DerivedFrom,
    /// It is derived from this one.
    SourceOf,
    /// It is the authoritative one.
    Authoritative,
    /// This one is the authoritative one.
    AuthoritativeOver,
}

impl Relation {
    fn of(conflict: &Conflict, id: RecordId) -> Option<Self> {
        if conflict.is_open() {
            return Some(Self::PossibleDuplicate);
        }
        let first = |record: RecordId, yes, no| Some(if record == id { yes } else { no });
        match *conflict.decision()? {
            Decision::CopyOf { record, .. } => first(record, Self::CopyOf, Self::HasCopy),
            Decision::DerivedFrom { record, .. } => {
                first(record, Self::DerivedFrom, Self::SourceOf)
            }
            Decision::Authoritative { record } => {
                first(record, Self::AuthoritativeOver, Self::Authoritative)
            }
            _ => None,
        }
    }

    /// The words for people.
    pub(crate) const fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::PossibleDuplicate => ("可能重复", "Possible duplicate of"),
            Self::CopyOf => ("为其副本", "Copy of"),
            Self::HasCopy => ("另有副本", "Also published as"),
            Self::DerivedFrom => ("加工自", "Derived from"),
            Self::SourceOf => ("加工为", "Source of"),
            Self::Authoritative => ("权威来源", "Authoritative source"),
            Self::AuthoritativeOver => ("以本条为权威来源", "This is the authoritative source of"),
        }
    }
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the city says of a record. Of other records only those that anyone may see are named.
    pub(crate) fn of(store: &Store, entry: &Entry) -> Result<Self, Problem> {
        let Some(record) = &entry.record else { return Ok(Self::default()) };
        let city = store.city();
        let curated = entry.overlaid.as_ref().map(|overlaid| {
            let shown = overlaid.over(record, entry.op_hash);
            Curated {
                origin: ORIGIN,
                title: shown.title,
                keywords: shown.keywords,
                theme: shown.theme,
                key_theme: shown.key_theme,
                notes: shown.notes,
                stale: shown.stale,
            }
        });
        let code = record.code.as_deref();
        let mut duplicates = Vec::new();
        let about = entry.id.to_string();
        let found = city.conflicts.about(&about);
        for conflict in found.filter(|found| found.opened.kind == ConflictKind::Duplicate) {
            let Some(relation) = Relation::of(conflict, entry.id) else { continue };
            for id in conflict.records().into_iter().filter(|id| *id != entry.id) {
                let public = |other: &Entry| {
                    other.visibility == Visibility::Public
                        && other.status == Status::Live
                        && !other.hidden
                };
                let Some(other) = store.entry(id)?.filter(public) else { continue };
                let title = other.record.map(|record| record.title).unwrap_or_default();
                let conflict = conflict.opened.id;
                duplicates.push(DuplicateMark { id, title, relation, conflict });
            }
        }
        Ok(Self {
            curated,
            code_pending: code.is_some_and(|code| city.code_pending(entry.id, code)),
            duplicates,
        })
    }
}
