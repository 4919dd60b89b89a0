//! The way in: options, limits, recognition of the format, and the table that comes out.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

pub use liandong_core::mapping::RawRow;
use serde::Serialize;

use super::fault::ReadError;
use super::note::{Note, NoteKind, Notes};
use super::{grid, json, sheet, text};

/// Largest file, bytes.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most rows below the header.
pub const ROWS_MAX: usize = 1_000_000;
/// Most columns in a row.
pub const COLUMNS_MAX: usize = 2_000;
/// Most cells in a table, counting empty ones; rows times columns alone would not fit in memory.
pub const CELLS_MAX: usize = 20_000_000;
/// Largest cell, bytes.
pub const CELL_BYTES_MAX: usize = 1024 * 1024;
/// The name that stands for the standard input.
pub const STDIN: &str = "-";

const _: () = assert!(CELLS_MAX >= ROWS_MAX, "every row must be able to hold a cell");
const _: () = assert!((CELL_BYTES_MAX as u64) < FILE_BYTES_MAX, "a cell is a part of a file");

/// A format we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text with one record a line and a separator: CSV, TSV and their kin.
    Csv,
    /// Office Open XML workbook.
    Xlsx,
    /// The older binary workbook.
    Xls,
    /// `OpenDocument` spreadsheet.
    Ods,
    /// A JSON list of objects, or an object with one in it.
    Json,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// The name used in options and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Xls => "xls",
            Self::Ods => "ods",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
        }
    }
}

impl FromStr for Format {
    type Err = ReadError;

    fn from_str(label: &str) -> Result<Self, ReadError> {
        match label.to_ascii_lowercase().as_str() {
            "csv" | "tsv" | "tab" | "txt" => Ok(Self::Csv),
            "xlsx" | "xlsm" => Ok(Self::Xlsx),
            "xls" => Ok(Self::Xls),
            "ods" => Ok(Self::Ods),
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" | "jsonlines" => Ok(Self::JsonLines),
            _ => Err(ReadError::UnknownFormat(label.to_owned())),
        }
    }
}

/// What the person who imports knows better than the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format, instead of recognising it.
    pub format: Option<Format>,
    /// The encoding by its usual name, instead of recognising it.
    pub encoding: Option<String>,
    /// The sheet by name or by number from 1; for JSON the key that holds the rows.
    pub sheet: Option<String>,
    /// The row that holds the labels, as a person sees it.
    pub header_row: Option<u64>,
}

/// Where the rows came from and how they were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The file as it was named; `-` for the standard input.
    pub path: String,
    /// Size, bytes.
    pub bytes: u64,
    /// The format it was read as.
    pub format: Format,
    /// The encoding it was read as; none for workbooks.
    pub encoding: Option<String>,
    /// What separates cells; only for CSV.
    pub delimiter: Option<char>,
    /// The sheet that was read, or the key of the JSON object.
    pub sheet: Option<String>,
    /// The row that held the labels; none for JSON.
    pub header_row: Option<u64>,
}

/// A table as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Where it came from.
    pub source: Source,
    /// The labels, in the order of the file.
    pub columns: Vec<String>,
    /// The rows that are not blank.
    pub rows: Vec<RawRow>,
    /// What was odd.
    pub notes: Vec<Note>,
}

/// Reads a table from a file; `-` is the standard input.
///
/// # Errors
/// A `ReadError` that says what is wrong with the file as a whole. Oddities of single rows
/// are notes.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Table, ReadError> {
    let name = path.display().to_string();
    let fault = |source| ReadError::Io { name: name.clone(), source };
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to know that there is too much.
    if name == STDIN {
        let input = std::io::stdin().lock();
        input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    } else {
        let file = std::fs::File::open(path).map_err(fault)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    }
    read_bytes(&name, &bytes, options)
}

/// Reads a table from bytes, as from an upload. The name serves for messages and as a hint of the
/// format.
///
/// # Errors
/// As `read`.
pub fn read_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Table, ReadError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > FILE_BYTES_MAX {
        return Err(ReadError::FileTooLarge);
    }
    let mut notes = Notes::default();
    let mut source = Source {
        path: name.to_owned(),
        bytes: size,
        format: Format::Csv,
        encoding: None,
        delimiter: None,
        sheet: None,
        header_row: None,
    };
    let (columns, rows) = match options.format.or_else(|| workbook(bytes)) {
        Some(format @ (Format::Xlsx | Format::Xls | Format::Ods)) => {
            source.format = format;
            let (grid, sheet) = sheet::grid(bytes, format, options, &mut notes)?;
            source.sheet = Some(sheet);
            let body = grid::table(grid, options.header_row, &mut notes)?;
            source.header_row = Some(body.header_row);
            (body.columns, body.rows)
        }
        known => textual(bytes, known, options, &mut source, &mut notes)?,
    };
    if rows.is_empty() {
        return Err(ReadError::Empty);
    }
    if let Some(hint) = hint(name).filter(|hint| *hint != source.format && options.format.is_none())
    {
        // The two kinds of JSON share an extension in practice.
        let alike =
            [hint, source.format].iter().all(|f| matches!(f, Format::Json | Format::JsonLines));
        if !alike {
            notes.file(NoteKind::FormatDiffers, source.format.name());
        }
    }
    Ok(Table { source, columns, rows, notes: notes.into_vec() })
}

type Body = (Vec<String>, Vec<RawRow>);

fn textual(
    bytes: &[u8],
    known: Option<Format>,
    options: &ReadOptions,
    source: &mut Source,
    notes: &mut Notes,
) -> Result<Body, ReadError> {
    let (content, encoding) = text::decode(bytes, options.encoding.as_deref(), notes)?;
    source.encoding = Some(encoding.to_owned());
    source.format = match known {
        Some(format) => format,
        None => text_format(&content, hint(&source.path))?,
    };
    match source.format {
        Format::Json => {
            let (rows, key) = json::rows(&content, options.sheet.as_deref(), notes)?;
            source.sheet = key;
            Ok((json::columns(&rows), rows))
        }
        Format::JsonLines => {
            let rows = json::lines(&content, notes)?;
            Ok((json::columns(&rows), rows))
        }
        _ => {
            let (grid, delimiter) = text::grid(&content, hint_is_tabs(&source.path), notes)?;
            source.delimiter = Some(delimiter);
            let body = grid::table(grid, options.header_row, notes)?;
            source.header_row = Some(body.header_row);
            Ok((body.columns, body.rows))
        }
    }
}

/// A workbook is known by its first bytes, whatever its name says.
fn workbook(bytes: &[u8]) -> Option<Format> {
    const ZIP: &[u8] = b"PK\x03\x04";
    const COMPOUND: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0];
    // An OpenDocument file must begin with its media type, stored without compression.
    const ODS: &[u8] = b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet";
    if bytes.starts_with(ZIP) {
        let ods = bytes.get(30..).is_some_and(|rest| rest.starts_with(ODS));
        Some(if ods { Format::Ods } else { Format::Xlsx })
    } else if bytes.starts_with(COMPOUND) {
        Some(Format::Xls)
    } else {
        None
    }
}

fn text_format(content: &str, hint: Option<Format>) -> Result<Format, ReadError> {
    let start = content.trim_start();
    match (start.chars().next(), hint) {
        (None, _) => Err(ReadError::Empty),
        // Many systems send a web page under the name of a workbook; a CSV file may begin with '<'
        // in a cell.
        (Some('<'), hint) if hint != Some(Format::Csv) => Err(ReadError::Markup),
        (Some(_), Some(format @ (Format::Csv | Format::JsonLines))) => Ok(format),
        (Some('{'), _) if json::looks_like_lines(start) => Ok(Format::JsonLines),
        (Some('[' | '{'), _) | (Some(_), Some(Format::Json)) => Ok(Format::Json),
        (Some(_), _) => Ok(Format::Csv),
    }
}

fn hint(name: &str) -> Option<Format> {
    extension(name)?.parse().ok()
}

fn hint_is_tabs(name: &str) -> bool {
    extension(name).is_some_and(|e| e.eq_ignore_ascii_case("tsv") || e.eq_ignore_ascii_case("tab"))
}

fn extension(name: &str) -> Option<&str> {
    Path::new(name).extension()?.to_str()
}
