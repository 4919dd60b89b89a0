//! Code tables kept as data: spellings of coded values, words that mean "nothing", themes, names
//! of personal items.
//!
//! The tables are embedded, and a node can load its own on top; a line of a later table replaces
//! the earlier line.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use crate::record::text;

/// Why a table was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The text is no CSV.
    #[error("the table is not readable as CSV")]
    Csv(#[from] csv::Error),
    /// A line lacks a cell it needs.
    #[error("line {line} of the table has no {column}")]
    Missing {
        /// Line of the file, the header being line 1.
        line: u64,
        /// Name of the column.
        column: &'static str,
    },
}

/// What a spelling stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The code or the canonical text.
    pub canonical: String,
    /// A second field that keeps the spelling itself, because the code alone would lose something.
    pub also: Option<String>,
}

/// Spellings of coded values, by field and folded spelling.
#[derive(Debug, Clone, Default)]
pub struct Values(HashMap<String, HashMap<String, Value>>);

impl Values {
    /// The embedded table.
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Values> = LazyLock::new(|| {
            Values::default().with_csv(include_str!("../../data/values.csv")).unwrap_or_default()
        });
        &BUILTIN
    }

    /// Adds the lines `field,raw,canonical,also`.
    ///
    /// # Errors
    /// When the text is no CSV or a line has no field or spelling.
    pub fn with_csv(mut self, csv: &str) -> Result<Self, TableError> {
        for (line, row) in rows(csv)? {
            let field = needed(&row, 0, line, "field")?;
            let raw = text::fold_value(needed(&row, 1, line, "raw")?);
            let canonical = row.get(2).unwrap_or_default().trim().to_owned();
            let also = row.get(3).map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned);
            self.0.entry(field.to_owned()).or_default().insert(raw, Value { canonical, also });
        }
        Ok(self)
    }

    /// What the spelling stands for in this field.
    pub fn lookup(&self, field: &str, raw: &str) -> Option<&Value> {
        self.0.get(field)?.get(&text::fold_value(raw))
    }
}

/// The data lines of a CSV text with their line numbers.
///
/// # Errors
/// When the text is no CSV.
pub(crate) fn rows(csv: &str) -> Result<Vec<(u64, csv::StringRecord)>, TableError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(csv.as_bytes());
    let mut out = Vec::new();
    for row in reader.records() {
        let row = row?;
        out.push((row.position().map_or(0, csv::Position::line), row));
    }
    Ok(out)
}

/// A cell that must not be empty.
///
/// # Errors
/// When it is.
pub(crate) fn needed<'a>(
    row: &'a csv::StringRecord,
    cell: usize,
    line: u64,
    column: &'static str,
) -> Result<&'a str, TableError> {
    let text = row.get(cell).map(str::trim).filter(|text| !text.is_empty());
    text.ok_or(TableError::Missing { line, column })
}

fn builtin_rows(csv: &'static str) -> Vec<csv::StringRecord> {
    rows(csv).unwrap_or_default().into_iter().map(|(_, row)| row).collect()
}

/// Whether a cell says "nothing" in words, e.g. 暂无 or `None`. Blank text says it too.
pub fn is_absent(raw: &str) -> bool {
    static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let rows = builtin_rows(include_str!("../../data/absent.csv"));
        rows.iter().filter_map(|row| row.get(0)).map(text::fold_value).collect()
    });
    // Almost every cell is longer than any such word, and folding it would be the most work of a
    // check.
    let trimmed = raw.trim();
    if trimmed.len() > 48 && trimmed.contains(char::is_alphanumeric) {
        return false;
    }
    let folded = text::fold_value(trimmed);
    folded.is_empty() || WORDS.contains(&folded)
}

/// The portal themes, code and label, in order of code.
///
/// Source: the eleven fields of the 2015 portal and 信用服务, added later.
pub fn themes() -> &'static BTreeMap<String, String> {
    static THEMES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        let rows = builtin_rows(include_str!("../../data/themes.csv"));
        let pair = |row: &csv::StringRecord| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned()));
        rows.iter().filter_map(pair).collect()
    });
    &THEMES
}

/// Whether the text is the label of a portal theme.
pub fn is_theme(label: &str) -> bool {
    themes().values().any(|known| known == label)
}

/// The kind of personal data an information item of this name holds, e.g. `idcard`.
///
/// Source: plan 二(二)2, 脱敏加工; kinds as in the masking rules.
pub fn personal_kind(item_name: &str) -> Option<&'static str> {
    struct Word {
        folded: String,
        kind: String,
        part: bool,
    }
    static WORDS: LazyLock<Vec<Word>> = LazyLock::new(|| {
        let rows = builtin_rows(include_str!("../../data/personal.csv"));
        let word = |row: &csv::StringRecord| {
            let (folded, kind) = (text::fold(row.get(0)?), row.get(1)?.to_owned());
            Some(Word { folded, kind, part: row.get(2) == Some("part") })
        };
        rows.iter().filter_map(word).filter(|w| !w.folded.is_empty()).collect()
    });
    let name = text::fold(item_name);
    let hit = |w: &&Word| if w.part { name.contains(&w.folded) } else { name == w.folded };
    WORDS.iter().find(hit).map(|w| w.kind.as_str())
}
