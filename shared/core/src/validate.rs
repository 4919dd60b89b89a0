//! From a draft to a record: all faults at once, each with what to do about it.
//!
//! `check` first reads every field (`build`), then applies the rules between fields (`law`). A
//! record that exists is checked by turning it back into a draft, so the form, the import and the
//! hub can never disagree.

use jiff::civil::Date;
use serde::Serialize;

use crate::record::{Record, limit};

mod build;
mod draft;
mod law;
mod rule;

pub use draft::{Draft, DraftDistribution, DraftItem, SECRECY_FIELD, Slot};
pub(crate) use rule::{COLUMN_SECOND, VALUE_SHAPE};
pub use rule::{RULES, Rule};

/// How grave a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The record is refused.
    Error,
    /// It is taken, and someone should mend it.
    Warning,
    /// It is taken; good to know.
    Info,
}

/// A sentence in both languages, Chinese first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Id of the rule.
    pub rule: &'static str,
    /// Which field, as a path like `items[2].open_reason`.
    pub field: String,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: Text,
    /// What to do.
    pub remedy: Text,
    /// The value, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Quality of a record that was taken.
///
/// Source: plan 二(一)2, 避免残缺数据、错误数据和重复数据.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Grade {
    /// Nothing to mend.
    A,
    /// One or two warnings.
    B,
    /// More.
    C,
}

impl Grade {
    /// The grade that these faults give; none when one of them is an error.
    pub fn of(faults: &[Fault]) -> Option<Self> {
        let count = |severity| faults.iter().filter(|fault| fault.severity == severity).count();
        match (count(Severity::Error), count(Severity::Warning)) {
            (0, 0) => Some(Self::A),
            (0, 1..=2) => Some(Self::B),
            (0, _) => Some(Self::C),
            _ => None,
        }
    }
}

/// What the check says of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The canonical record; none when there is an error.
    pub record: Option<Record>,
    /// Every fault.
    pub faults: Vec<Fault>,
    /// The grade; none when there is an error.
    pub grade: Option<Grade>,
}

/// Checks a draft and makes the record of it.
///
/// Source: plan 二(一)2.
pub fn check(draft: Draft, today: Date) -> Checked {
    let (mut record, open_known, mut faults) = build::build(draft);
    record.canonicalise();
    law::apply(&record, open_known, today, &mut faults);
    let bytes = record.write().len();
    if bytes > limit::RECORD_BYTES_MAX {
        faults.push(rule::RECORD_LARGE.fault("", Some(&format!("{bytes} bytes"))));
    }
    let grade = Grade::of(&faults);
    Checked { record: grade.map(|_| record), faults, grade }
}

/// Applies the same rules to a record that exists.
pub fn recheck(record: &Record, today: Date) -> Vec<Fault> {
    check(Draft::from(record), today).faults
}
