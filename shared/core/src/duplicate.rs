//! Semantic duplicates: two entries that probably describe the same datum ("one datum, one source").
//!
//! A record becomes a [`Fingerprint`] once. [`compare`] weighs two fingerprints and names its
//! [`Evidence`], and the [`Detector`] finds, among all records, the pairs worth weighing. Nothing is
//! decided here: a candidate is shown to a curator, who says which copy is the source.
//!
//! A duplicate is the same list, for the same territory, of the same keeper, published twice: by the
//! region and by the city, or two times in one catalogue. Each district's own instance of a kind of
//! data is none, so territories that differ rule a pair out.
//!
//! The words that fill titles and name functions are data (`data/duplicate.csv`). The measure, the
//! thresholds and what they miss stand in `shared/decision/0008-duplicate-detection.md`.
//!
//! Source: seed 2.(1).3 一数一源; `FEDERATION.md` 2.9, C2.

use std::fmt;

use serde::{Deserialize, Serialize};

mod detector;
mod fingerprint;
mod place;
mod word;

pub use detector::{Candidate, Detector};
pub use fingerprint::Fingerprint;
pub use place::{Level, Places};

/// Version of the fingerprints and of the decision; a recorded conflict names the one that found it.
pub const DETECTOR_VERSION: u32 = 1;

/// Titles that share fewer of their 2-grams are never weighed, parts in a thousand.
pub const TITLE_NEAR: u16 = 700;
/// Titles that share so many 2-grams are the same but for a word, parts in a thousand.
pub const TITLE_CLOSE: u16 = 850;
/// The shorter of two near titles has this share of its 2-grams in the longer one, parts in a thousand:
/// all, or each names something that the other does not.
pub const TITLE_WITHIN: u16 = 1000;
/// A title of fewer characters, places aside, is one that every department may have of its own.
pub const TITLE_TELLING_CHARS: usize = 6;
/// Abstracts of which the shorter shares less with the longer tell of other things, parts in a thousand.
pub const SUMMARY_OTHER: u16 = 800;
/// Lists of information items that share so many names are the same list, parts in a thousand.
///
/// Source: `FEDERATION.md` 2.9, C2.
pub const ITEMS_SAME: u16 = 800;

/// How two records stand to each other in one respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Agreement {
    /// They contradict each other.
    Different,
    /// One of them, or both, do not say.
    Unknown,
    /// They agree.
    Same,
}

/// What speaks for and against two records being the same datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// Jaccard index of the titles' 2-grams, without places and filling words; parts in a thousand.
    pub title: u16,
    /// Share of the shorter title's 2-grams that the longer one has; parts in a thousand.
    pub contained: u16,
    /// Whether the titles are word for word the same.
    pub same_wording: bool,
    /// Whether the title is one that every department has of its own, e.g. 行政处罚信息.
    pub common: bool,
    /// Whether the same numbers, letters, grades and negations stand in both: 2019, 第二批, 市级, 非.
    pub same_marks: bool,
    /// Share of the shorter abstract's 2-grams that the longer one has, parts in a thousand; none when
    /// an abstract is missing or more than a line.
    pub summary: Option<u16>,
    /// Jaccard index of the names of the information items, parts in a thousand; none when a record
    /// names too few to tell.
    pub items: Option<u16>,
    /// Whether they are about the same territory.
    pub territory: Agreement,
    /// Whether their providers have a function in common.
    pub function: Agreement,
    /// Whether they have the same theme.
    pub theme: Agreement,
}

impl Evidence {
    /// Whether a person should look at the pair.
    pub fn is_candidate(&self) -> bool {
        let other_summary = self.summary.is_some_and(|shared| shared < SUMMARY_OTHER);
        let other_items = self.items == Some(0);
        if self.territory == Agreement::Different
            || !self.same_marks
            || other_summary
            || other_items
        {
            return false;
        }
        if self.function == Agreement::Different {
            // Copies keep the title and lose the keeper: portals name the department that uploaded.
            return self.title == 1000 && !self.common;
        }
        let items_same = self.items.is_some_and(|items| items >= ITEMS_SAME);
        self.title == 1000
            || (self.contained >= TITLE_WITHIN
                && (self.title >= TITLE_CLOSE || (self.title >= TITLE_NEAR && items_same)))
    }

    /// How strongly the evidence speaks for a duplicate, parts in a thousand. It orders candidates
    /// for people and decides nothing.
    pub fn score(&self) -> u16 {
        let agreed = |agreement| match agreement {
            Agreement::Different => 0,
            Agreement::Unknown => 500,
            Agreement::Same => 1000,
        };
        let parts = [
            (5, u32::from(self.title)),
            (2, u32::from(self.items.unwrap_or(500))),
            (2, agreed(self.function)),
            (1, agreed(self.theme)),
        ];
        let sum: u32 = parts.iter().map(|(weight, part)| weight * part).sum();
        u16::try_from(sum / 10).unwrap_or(u16::MAX)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, wording) = (self.title / 10, if self.same_wording { "=" } else { "≈" });
        let items = self.items.map_or_else(|| "?".to_owned(), |items| format!("{} %", items / 10));
        let summary =
            self.summary.map_or_else(|| "?".to_owned(), |part| format!("{} %", part / 10));
        let marks = if self.same_marks { Agreement::Same } else { Agreement::Different };
        let [marks, territory, function, theme] =
            [marks, self.territory, self.function, self.theme].map(said);
        write!(
            f,
            "标题 {wording} {title} %，摘要 {summary}，信息项 {items}，数字{}，地域{}，职能{}，主题{} / \
             title {wording} {title} %, abstract {summary}, items {items}, numbers {}, territory {}, \
             function {}, theme {}",
            marks.0, territory.0, function.0, theme.0, marks.1, territory.1, function.1, theme.1
        )
    }
}

fn said(agreement: Agreement) -> (&'static str, &'static str) {
    match agreement {
        Agreement::Different => ("不同", "different"),
        Agreement::Unknown => ("不详", "unknown"),
        Agreement::Same => ("相同", "same"),
    }
}

/// Weighs two records. The order of the two does not matter.
pub fn compare(a: &Fingerprint, b: &Fingerprint) -> Evidence {
    let (title, contained) = overlap(&a.grams, &b.grams);
    let told = a.items.len().min(b.items.len()) >= word::ITEMS_TO_TELL;
    Evidence {
        title,
        contained,
        same_wording: a.wording == b.wording,
        common: a.common || b.common,
        same_marks: a.marks == b.marks,
        summary: match (&a.summary, &b.summary) {
            (Some(a), Some(b)) => Some(overlap(a, b).1),
            _ => None,
        },
        items: told.then(|| overlap(&a.items, &b.items).0),
        territory: a.territory.agrees(&b.territory),
        function: a.function.agrees(&b.function),
        theme: match (&a.theme, &b.theme) {
            (Some(a), Some(b)) if a == b => Agreement::Same,
            (Some(_), Some(_)) => Agreement::Different,
            _ => Agreement::Unknown,
        },
    }
}

/// Jaccard index and containment of two sorted sets, parts in a thousand.
fn overlap(a: &[u64], b: &[u64]) -> (u16, u16) {
    let (mut at, mut shared) = (0, 0);
    for value in a {
        at += b[at..].partition_point(|other| other < value);
        if b.get(at) == Some(value) {
            shared += 1;
        }
    }
    let share = |whole: usize| u16::try_from(shared * 1000 / whole.max(1)).unwrap_or(1000);
    (share(a.len() + b.len() - shared), share(a.len().min(b.len())))
}
