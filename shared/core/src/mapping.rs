//! From rows of a spreadsheet or a JSON list to drafts, by tables that are data.
//!
//! `data/labels.csv` says which column is which field, `data/values.csv` which spelling is which
//! code. A node can add lines of its own. What no table knows is kept, byte for byte, as an
//! extension.
//!
//! In the label table a field may have alternatives (`theme|local_theme`): the first that is free
//! is filled. An alternative with `?` is taken only by a value the value table knows for it,
//! because real columns called 开放条件 hold now a condition and now a type.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

use crate::code::table::{self, TableError, Values};
use crate::record::text;
use crate::validate::{Draft, Fault};

mod fill;
mod list;

/// One row as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRow {
    /// Row of the file, the first being 1.
    pub row: u64,
    /// Column labels and values, in order of the columns; text for CSV and spreadsheets.
    pub cells: Vec<(String, serde_json::Value)>,
}

/// Which column is which field, and which spelling is which code.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    labels: HashMap<(Scope, String), Vec<Target>>,
    values: Values,
}

/// Where a label stands: among the fields of the entry or inside one of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    Entry,
    Item,
    Distribution,
}

impl Scope {
    /// Splits `items.name` into where it stands and the field there.
    fn split(field: &str) -> (Self, &str) {
        match field.split_once('.') {
            Some(("items", rest)) => (Self::Item, rest),
            Some(("distributions", rest)) => (Self::Distribution, rest),
            _ => (Self::Entry, field),
        }
    }
}

/// A field a column may fill.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    field: String,
    known_values_only: bool,
}

impl Mapping {
    /// The embedded tables.
    pub fn builtin() -> Self {
        let values = Values::builtin().clone();
        Self { labels: HashMap::new(), values }
            .with_labels_csv(include_str!("../data/labels.csv"))
            .unwrap_or_default()
    }

    /// Adds lines `label,field`; a line replaces the earlier one for its label.
    ///
    /// # Errors
    /// When the text is no CSV or a cell is empty.
    pub fn with_labels_csv(mut self, csv: &str) -> Result<Self, TableError> {
        for (line, row) in table::rows(csv)? {
            let label = fold_label(table::needed(&row, 0, line, "label")?);
            let (scope, fields) = Scope::split(table::needed(&row, 1, line, "field")?);
            let target = |field: &str| Target {
                field: field.trim_end_matches('?').to_owned(),
                known_values_only: field.ends_with('?'),
            };
            self.labels.insert((scope, label), fields.split('|').map(target).collect());
        }
        Ok(self)
    }

    /// Adds lines `field,raw,canonical,also`; a line replaces the earlier one for its spelling.
    ///
    /// # Errors
    /// When the text is no CSV or a cell is empty.
    pub fn with_values_csv(mut self, csv: &str) -> Result<Self, TableError> {
        self.values = self.values.with_csv(csv)?;
        Ok(self)
    }

    /// Whether the label is one of a field, as a table says or as our own JSON names it.
    pub fn knows(&self, label: &str) -> bool {
        !self.targets(Scope::Entry, label).0.is_empty()
            || matches!(
                label,
                "share" | "open" | "provider" | "extensions" | "key_theme" | "validity"
            )
    }

    /// Makes a draft of a row. The faults tell what the row itself had wrong; the check tells the
    /// rest.
    pub fn draft(&self, row: &RawRow) -> (Draft, Vec<Fault>) {
        let mut fill = fill::Fill::new(self);
        for (label, value) in &row.cells {
            fill.place(label, value);
        }
        fill.finish()
    }

    /// The fields a label may fill, and the unit that stood in brackets behind it.
    fn targets(&self, scope: Scope, label: &str) -> (Cow<'_, [Target]>, Option<String>) {
        let whole = fold_label(label);
        if let Some(targets) = self.labels.get(&(scope, whole.clone())) {
            return (Cow::Borrowed(targets), None);
        }
        let (bare, hint) = without_hints(&whole);
        if let Some(targets) = self.labels.get(&(scope, bare)) {
            return (Cow::Borrowed(targets), hint);
        }
        if scope == Scope::Entry && Draft::default().slot(label).is_some() {
            let target = Target { field: label.to_owned(), known_values_only: false };
            return (Cow::Owned(vec![target]), None);
        }
        (Cow::Borrowed(&[]), None)
    }
}

/// Whether a column of this name holds a mark of secrecy.
pub(crate) fn is_secrecy_label(label: &str) -> bool {
    static BUILTIN: LazyLock<Mapping> = LazyLock::new(Mapping::builtin);
    BUILTIN.targets(Scope::Entry, label).0.iter().any(|target| target.field == "secrecy")
}

/// Width and case folded, without blanks and without the stars and colons around it.
fn fold_label(label: &str) -> String {
    let folded: String = label
        .nfkc()
        .filter(|c| !c.is_whitespace() && !c.is_control() && !text::is_invisible(*c))
        .flat_map(char::to_lowercase)
        .collect();
    folded.trim_matches([':', '*', '★', '※', '#']).to_owned()
}

/// The label without what stands in brackets, and the last bracket's content.
fn without_hints(label: &str) -> (String, Option<String>) {
    let (mut bare, mut hint, mut depth) = (String::new(), String::new(), 0_u32);
    for c in label.chars() {
        match c {
            '(' | '[' | '【' | '<' | '{' => {
                depth += 1;
                hint.clear();
            }
            ')' | ']' | '】' | '>' | '}' => depth = depth.saturating_sub(1),
            c if depth > 0 => hint.push(c),
            c => bare.push(c),
        }
    }
    (fold_label(&bare), Some(hint).filter(|hint| !hint.is_empty()))
}
