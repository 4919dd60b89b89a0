//! Catalogue entries for tests: the same rows as an object, CSV and a workbook.

use std::fmt::Write as _;

use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};

/// The columns of [`Row::cells`], as bureaus label them.
pub const LABELS: [&str; 6] =
    ["信息资源名称", "信息资源代码", "信息资源提供方", "摘要", "开放类型", "更新周期"];

/// One entry, the texts as a clerk would write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Title.
    pub title: String,
    /// Resource code, by which an import knows the entry again.
    pub code: String,
    /// Provider.
    pub provider: String,
    /// Abstract.
    pub summary: String,
}

impl Row {
    /// Entry number `number`: distinct in title and code, valid, open to everyone.
    pub fn new(number: usize) -> Self {
        const SUBJECTS: [&str; 5] =
            ["公共图书馆", "停车场泊位", "养老机构", "公交站点", "博物馆藏品"];
        let subject = SUBJECTS[number % SUBJECTS.len()];
        Self {
            title: format!("{subject}信息{number}"),
            code: format!("307001/{number:06}"),
            provider: "市文化和旅游局".to_owned(),
            summary: format!("本区{subject}的名称、地址与开放时间，第{number}号"),
        }
    }

    /// The cells under [`LABELS`].
    pub fn cells(&self) -> [&str; 6] {
        [&self.title, &self.code, &self.provider, &self.summary, "主动公开", "每年"]
    }

    /// The entry as the object that `record put` takes.
    pub fn content(&self) -> Value {
        LABELS
            .iter()
            .zip(self.cells())
            .map(|(label, cell)| ((*label).to_owned(), json!(cell)))
            .collect()
    }
}

/// Entries `numbers`.
pub fn rows(numbers: impl IntoIterator<Item = usize>) -> Vec<Row> {
    numbers.into_iter().map(Row::new).collect()
}

/// [`Row::content`] of entry `number`.
pub fn content(number: usize) -> Value {
    Row::new(number).content()
}

/// A CSV file.
pub fn csv(rows: &[Row]) -> String {
    let mut text = format!("{}\r\n", LABELS.join(","));
    for row in rows {
        // Writing to a string does not fail.
        let _infallible =
            write!(text, "{}\r\n", row.cells().map(|cell| format!("\"{cell}\"")).join(","));
    }
    text
}

/// A workbook with one sheet.
///
/// # Panics
/// It cannot be made.
pub fn xlsx(rows: &[Row]) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let table = std::iter::once(LABELS).chain(rows.iter().map(Row::cells));
    for (line, cells) in (0..).zip(table) {
        for (column, cell) in (0..).zip(cells) {
            sheet.write(line, column, cell).expect("a cell");
        }
    }
    book.save_to_buffer().expect("a workbook")
}
