//! The error sheet: every fault of every row in one file that a spreadsheet opens.

use std::io::Write;
use std::path::Path;

/// One fault of one row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorLine {
    /// The row as a person sees it in the imported file.
    pub row: u64,
    /// The column label or field name.
    pub field: String,
    /// The rule that was broken.
    pub rule: String,
    /// How bad it is.
    pub severity: String,
    /// What is wrong, in Chinese.
    pub message_zh: String,
    /// What is wrong, in English.
    pub message_en: String,
    /// What to do, in Chinese.
    pub remedy_zh: String,
    /// What to do, in English.
    pub remedy_en: String,
    /// The value found.
    pub value: String,
}

/// The labels of the sheet.
const LABELS: [&str; 9] = [
    "行号 row",
    "字段 field",
    "规则 rule",
    "级别 severity",
    "问题",
    "problem",
    "建议",
    "remedy",
    "原值 value",
];

/// Writes the error sheet as CSV in UTF-8 with a byte order mark, without which Excel shows Chinese
/// text garbled.
///
/// # Errors
/// When the file cannot be written.
pub fn write_error_sheet(path: &Path, lines: &[ErrorLine]) -> std::io::Result<()> {
    write_error_sheet_to(std::io::BufWriter::new(std::fs::File::create(path)?), lines)
}

/// Writes the error sheet to any writer, as for a download.
///
/// # Errors
/// When the writer fails.
pub fn write_error_sheet_to(mut writer: impl Write, lines: &[ErrorLine]) -> std::io::Result<()> {
    writer.write_all("\u{feff}".as_bytes())?;
    let mut sheet = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(writer);
    sheet.write_record(LABELS)?;
    for line in lines {
        let cells = [
            line.row.to_string(),
            guarded(&line.field),
            guarded(&line.rule),
            guarded(&line.severity),
            guarded(&line.message_zh),
            guarded(&line.message_en),
            guarded(&line.remedy_zh),
            guarded(&line.remedy_en),
            guarded(&line.value),
        ];
        sheet.write_record(cells)?;
    }
    sheet.flush()
}

/// A spreadsheet runs a cell that begins like a formula; an apostrophe before it makes it text.
fn guarded(cell: &str) -> String {
    let risky = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if risky { format!("'{cell}") } else { cell.to_owned() }
}
