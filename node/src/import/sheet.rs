//! Workbooks: XLSX, XLS and ODS become rows of text cells.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{
    Data, Dimensions, ExcelDateTime, Ods, OdsError, Range, Reader, Sheet, SheetType, SheetVisible,
    Xls, XlsError, Xlsx, XlsxError, open_workbook_from_rs,
};

use super::fault::ReadError;
use super::grid::{Grid, GridRow, Merge};
use super::note::{NoteKind, Notes};
use super::read::{CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX, Format, ROWS_MAX, ReadOptions};

/// Digits a spreadsheet keeps of a number.
const NUMBER_DIGITS: usize = 15;
/// Other sheets named in a note.
const SHEETS_NAMED_MAX: usize = 10;

type Book<'a> = Cursor<&'a [u8]>;

/// Reads one sheet; also returns its name.
pub(super) fn grid(
    bytes: &[u8],
    format: Format,
    options: &ReadOptions,
    notes: &mut Notes,
) -> Result<(Grid, String), ReadError> {
    // The reader of workbooks is not ours and indexes into what it reads: a damaged file must not
    // end the process.
    let work = AssertUnwindSafe(|| {
        let asked = options.sheet.as_deref();
        match format {
            Format::Xls => xls(bytes, asked, notes),
            Format::Ods => ods(bytes, asked, notes),
            _ => xlsx(bytes, asked, notes),
        }
    });
    catch_unwind(work).unwrap_or_else(|_| {
        Err(ReadError::Workbook { detail: "文件已损坏 / damaged".to_owned() })
    })
}

fn xlsx(bytes: &[u8], asked: Option<&str>, notes: &mut Notes) -> Result<(Grid, String), ReadError> {
    let fault = |error: XlsxError| match error {
        XlsxError::Password => ReadError::Encrypted,
        other => ReadError::Workbook { detail: other.to_string() },
    };
    let mut book: Xlsx<Book<'_>> = open_workbook_from_rs(Cursor::new(bytes)).map_err(fault)?;
    let names = candidates(book.sheets_metadata(), asked)?;
    for (index, name) in names.iter().enumerate() {
        let mut cells = Cells::default();
        // Cell by cell: a range would allocate every cell up to the last one, and one stray cell is
        // enough for billions.
        let mut reader = book.worksheet_cells_reader(name).map_err(fault)?;
        while let Some(cell) = reader.next_cell().map_err(fault)? {
            cells.put(cell.get_position(), &Data::from(cell.get_value().clone()), notes)?;
        }
        drop(reader);
        if cells.rows.is_empty() && index + 1 < names.len() {
            continue;
        }
        let merges = book.merge_cells_by_sheet_name(name).unwrap_or_default();
        return finish(cells, &merges, &names, index, notes);
    }
    Err(ReadError::Empty)
}

fn xls(bytes: &[u8], asked: Option<&str>, notes: &mut Notes) -> Result<(Grid, String), ReadError> {
    // A workbook with a password is a compound file around an encrypted package.
    let package: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
    if bytes.windows(package.len()).any(|window| window == package) {
        return Err(ReadError::Encrypted);
    }
    let fault = |error: XlsError| match error {
        XlsError::Password => ReadError::Encrypted,
        other => ReadError::Workbook { detail: other.to_string() },
    };
    let mut book: Xls<Book<'_>> = open_workbook_from_rs(Cursor::new(bytes)).map_err(fault)?;
    let names = candidates(book.sheets_metadata(), asked)?;
    for (index, name) in names.iter().enumerate() {
        let cells = dense(&book.worksheet_range(name).map_err(fault)?, notes)?;
        if cells.rows.is_empty() && index + 1 < names.len() {
            continue;
        }
        let merges = book.merge_cells_by_sheet_name(name).unwrap_or_default();
        return finish(cells, &merges, &names, index, notes);
    }
    Err(ReadError::Empty)
}

fn ods(bytes: &[u8], asked: Option<&str>, notes: &mut Notes) -> Result<(Grid, String), ReadError> {
    let fault = |error: OdsError| match error {
        OdsError::Password => ReadError::Encrypted,
        other => ReadError::Workbook { detail: other.to_string() },
    };
    let mut book: Ods<Book<'_>> = open_workbook_from_rs(Cursor::new(bytes)).map_err(fault)?;
    let names = candidates(book.sheets_metadata(), asked)?;
    for (index, name) in names.iter().enumerate() {
        let cells = dense(&book.worksheet_range(name).map_err(fault)?, notes)?;
        if cells.rows.is_empty() && index + 1 < names.len() {
            continue;
        }
        return finish(cells, &[], &names, index, notes);
    }
    Err(ReadError::Empty)
}

/// The sheets to try: the one asked for, or the visible ones in order; the first with a cell is
/// taken.
fn candidates(sheets: &[Sheet], asked: Option<&str>) -> Result<Vec<String>, ReadError> {
    let names: Vec<String> = sheets
        .iter()
        .filter(|sheet| sheet.typ == SheetType::WorkSheet)
        .filter(|sheet| asked.is_some() || sheet.visible == SheetVisible::Visible)
        .map(|sheet| sheet.name.clone())
        .collect();
    let Some(asked) = asked else { return Ok(names) };
    let number = asked.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let found = names
        .iter()
        .find(|name| name.trim() == asked.trim())
        .or_else(|| number.and_then(|index| names.get(index)))
        .cloned();
    match found {
        Some(name) => Ok(vec![name]),
        None => Err(ReadError::NoSuchSheet { asked: asked.to_owned(), available: names }),
    }
}

fn finish(
    cells: Cells,
    merges: &[Dimensions],
    names: &[String],
    index: usize,
    notes: &mut Notes,
) -> Result<(Grid, String), ReadError> {
    let others: Vec<&str> = names
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .map(|(_, name)| name.as_str())
        .take(SHEETS_NAMED_MAX)
        .collect();
    if !others.is_empty() {
        notes.file(NoteKind::OtherSheets, others.join("、"));
    }
    let mut grid = Grid::default();
    for (number, cells) in cells.rows {
        grid.push(GridRow { number, cells })?;
    }
    grid.merges = merges
        .iter()
        .filter(|area| area.start.0 <= area.end.0 && area.start.1 <= area.end.1)
        .map(|area| Merge {
            first: (u64::from(area.start.0) + 1, area.start.1 as usize),
            last: (u64::from(area.end.0) + 1, area.end.1 as usize),
        })
        .collect();
    grid.fill_merges(notes);
    Ok((grid, names[index].clone()))
}

fn dense(range: &Range<Data>, notes: &mut Notes) -> Result<Cells, ReadError> {
    let mut cells = Cells::default();
    let (top, left) = range.start().unwrap_or_default();
    for (row, column, value) in range.used_cells() {
        let place = (
            top.saturating_add(u32::try_from(row).unwrap_or(u32::MAX)),
            left.saturating_add(u32::try_from(column).unwrap_or(u32::MAX)),
        );
        cells.put(place, value, notes)?;
    }
    Ok(cells)
}

/// Cells by row number; a damaged file may name them in any order.
#[derive(Debug, Default)]
struct Cells {
    rows: BTreeMap<u64, Vec<String>>,
    held: usize,
}

impl Cells {
    fn put(&mut self, place: (u32, u32), value: &Data, notes: &mut Notes) -> Result<(), ReadError> {
        let (row, column) = (u64::from(place.0) + 1, place.1 as usize);
        let text = shown(value, row, notes);
        if text.is_empty() {
            return Ok(());
        }
        if column >= COLUMNS_MAX {
            return Err(ReadError::TooManyColumns { row, columns: column + 1 });
        }
        if text.len() > CELL_BYTES_MAX {
            let column = (column + 1).to_string();
            return Err(ReadError::CellTooLarge { row, column, bytes: text.len() });
        }
        let cells = self.rows.entry(row).or_default();
        if cells.len() <= column {
            self.held += column + 1 - cells.len();
            cells.resize(column + 1, String::new());
        }
        cells[column] = text;
        if self.held > CELLS_MAX {
            return Err(ReadError::TooManyCells { row });
        }
        if self.rows.len() > ROWS_MAX + 1 {
            return Err(ReadError::TooManyRows { row });
        }
        Ok(())
    }
}

/// The text a person would type to get this cell: ISO dates, whole numbers without a decimal point.
fn shown(value: &Data, row: u64, notes: &mut Notes) -> String {
    match value {
        Data::Empty => String::new(),
        Data::String(text) | Data::DurationIso(text) => text.clone(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => decimal(*number, row, notes),
        Data::Bool(true) => "TRUE".to_owned(),
        Data::Bool(false) => "FALSE".to_owned(),
        Data::DateTime(time) => iso(*time, row, notes),
        Data::DateTimeIso(text) => text.strip_suffix("T00:00:00").unwrap_or(text).to_owned(),
        Data::Error(error) => {
            notes.at(NoteKind::FormulaError, row);
            error.to_string()
        }
    }
}

fn decimal(number: f64, row: u64, notes: &mut Notes) -> String {
    // Fifteen digits are what a spreadsheet shows; more only repeat how binary fractions work (0.1
    // + 0.2).
    let rounded: f64 = format!("{number:.*e}", NUMBER_DIGITS - 1).parse().unwrap_or(number);
    if rounded.abs() >= 1e15 {
        notes.at(NoteKind::LongNumber, row);
    }
    if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() }
}

fn iso(time: ExcelDateTime, row: u64, notes: &mut Notes) -> String {
    /// The last day a spreadsheet knows is 9999-12-31; a number beyond it is no date.
    const DAYS_END: f64 = 2_958_466.0;
    let serial = time.as_f64();
    if !(0.0..DAYS_END).contains(&serial) {
        return decimal(serial, row, notes);
    }
    if time.is_duration() {
        let minutes = (serial * 24.0 * 60.0).round();
        return format!("{:02}:{:02}", (minutes / 60.0).floor(), minutes % 60.0);
    }
    let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    match (serial < 1.0, (hour, minute, second, milli) == (0, 0, 0, 0)) {
        // Below one there is only a time of day.
        (true, _) => clock,
        (false, true) => date,
        (false, false) => format!("{date}T{clock}"),
    }
}
