//! From rows of cells to rows of labelled cells: finding the header, naming the columns.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::fault::ReadError;
use super::note::{NoteKind, Notes};
use super::read::{CELLS_MAX, ROWS_MAX, RawRow};

/// Rows among which the header is looked for.
const HEADER_WITHIN_ROWS: usize = 20;
/// A label longer than this is a sentence, characters.
const LABEL_CHARS_MAX: usize = 40;
/// Labels named in a note.
const LABELS_NAMED_MAX: usize = 8;

/// One row with the number a person sees.
#[derive(Debug, Default)]
pub(super) struct GridRow {
    pub(super) number: u64,
    pub(super) cells: Vec<String>,
}

/// A merged area in places counted from 0: first row and column, last row and column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    pub(super) first: (u64, usize),
    pub(super) last: (u64, usize),
}

/// Rows of text cells, in ascending order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Grid {
    pub(super) rows: Vec<GridRow>,
    pub(super) merges: Vec<Merge>,
    /// Whether a row shorter than the header is worth a note. A spreadsheet never stores trailing
    /// blanks.
    pub(super) ragged: bool,
}

/// The labelled rows of a grid.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) header_row: u64,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<RawRow>,
}

impl Grid {
    /// Adds a row below the others.
    pub(super) fn push(&mut self, row: GridRow) -> Result<(), ReadError> {
        // The header and what stands above it do not count, so a few rows more may pass here.
        if self.rows.len() >= ROWS_MAX + HEADER_WITHIN_ROWS {
            return Err(ReadError::TooManyRows { row: row.number });
        }
        self.rows.push(row);
        Ok(())
    }

    /// Gives the cells below the first one of a merged area its value: that is what a person sees
    /// there.
    pub(super) fn fill_merges(&mut self, notes: &mut Notes) {
        // Areas may overlap in a damaged file, so the work is bounded by the size of a table, not
        // by their sum.
        let mut budget = CELLS_MAX;
        for merge in self.merges.clone() {
            let ((top, column), (bottom, _)) = (merge.first, merge.last);
            let start = self.rows.partition_point(|row| row.number <= top);
            let Some(value) = self.shown(top, column).map(str::to_owned) else { continue };
            for row in self.rows[start..].iter_mut().take_while(|row| row.number <= bottom) {
                budget = budget.saturating_sub(1);
                if budget == 0 {
                    return;
                }
                if row.cells.len() <= column {
                    row.cells.resize(column + 1, String::new());
                }
                if row.cells[column].is_empty() {
                    row.cells[column].clone_from(&value);
                    notes.at(NoteKind::MergedCells, row.number);
                }
            }
        }
    }

    fn shown(&self, number: u64, column: usize) -> Option<&str> {
        let at = self.rows.binary_search_by_key(&number, |row| row.number).ok()?;
        self.rows[at].cells.get(column).map(String::as_str).filter(|cell| !cell.is_empty())
    }

    /// The value a merged area shows across a cell that is itself empty.
    fn spanned(&self, number: u64, column: usize) -> Option<&str> {
        let inside = |m: &&Merge| {
            (m.first.0..=m.last.0).contains(&number) && (m.first.1..=m.last.1).contains(&column)
        };
        let merge = self.merges.iter().find(inside)?;
        self.shown(merge.first.0, merge.first.1)
    }
}

/// Labels the rows below the header.
pub(super) fn table(grid: Grid, asked: Option<u64>, notes: &mut Notes) -> Result<Body, ReadError> {
    let at = match asked {
        Some(row) => grid
            .rows
            .iter()
            .position(|r| r.number == row && !blank(&r.cells))
            .ok_or(ReadError::NoHeader { row })?,
        None => find_header(&grid).ok_or(ReadError::Empty)?,
    };
    let columns = labels(&grid, at, notes);
    let header_row = grid.rows[at].number;
    let above = grid.rows[..at].iter().filter(|row| !blank(&row.cells)).count();
    notes.times(NoteKind::AboveHeader, above as u64);
    let mut rows = Vec::with_capacity(grid.rows.len() - at - 1);
    let mut cells = 0;
    for row in grid.rows.into_iter().skip(at + 1) {
        if blank(&row.cells) {
            notes.at(NoteKind::BlankRows, row.number);
            continue;
        }
        if rows.len() == ROWS_MAX {
            return Err(ReadError::TooManyRows { row: row.number });
        }
        cells += columns.len().max(row.cells.len());
        if cells > CELLS_MAX {
            return Err(ReadError::TooManyCells { row: row.number });
        }
        rows.push(labelled(row, &columns, grid.ragged, notes));
    }
    Ok(Body { header_row, columns, rows })
}

fn labelled(row: GridRow, columns: &[String], ragged: bool, notes: &mut Notes) -> RawRow {
    let (number, width) = (row.number, row.cells.len());
    if ragged && width < columns.len() {
        notes.at(NoteKind::MissingCells, number);
    }
    let mut cells = Vec::with_capacity(columns.len());
    let mut extra = false;
    for (index, cell) in row.cells.into_iter().enumerate() {
        if let Some(label) = columns.get(index) {
            cells.push((label.clone(), Value::String(cell)));
        } else if !cell.trim().is_empty() {
            extra = true;
            cells.push((nth(index), Value::String(cell)));
        }
    }
    for label in columns.iter().skip(width) {
        cells.push((label.clone(), Value::String(String::new())));
    }
    if extra {
        notes.at(NoteKind::ExtraCells, number);
    }
    RawRow { row: number, cells }
}

/// The first row that labels the most columns: titles label fewer, data repeats itself or is no
/// label.
fn find_header(grid: &Grid) -> Option<usize> {
    let near = || {
        let rows = grid.rows.iter().enumerate().filter(|(_, row)| !blank(&row.cells));
        rows.take(HEADER_WITHIN_ROWS)
    };
    let width = near().map(|(_, row)| row.cells.len()).max()?;
    let mut best = None;
    for (index, row) in near() {
        let labels: HashSet<&str> =
            row.cells.iter().map(|cell| cell.trim()).filter(|cell| could_be_label(cell)).collect();
        // A label merged over several columns labels them all; over most of the sheet it is a
        // title.
        let spans = grid.merges.iter().filter(|m| (m.first.0..=m.last.0).contains(&row.number));
        let extra: usize =
            spans.map(|m| m.last.1 - m.first.1).filter(|extra| extra * 2 < width).sum();
        // Of two header rows the lower one labels as many columns and does so more finely.
        let score = (labels.len() + extra, labels.len());
        if best.is_none_or(|(_, most)| score > most) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

fn could_be_label(cell: &str) -> bool {
    // A number, a date, a time or a percentage; a code such as 021-62533238 is one too.
    let figure = |c: char| c.is_ascii_digit() || " .,-+/:%年月日".contains(c);
    !cell.is_empty()
        && !cell.chars().all(figure)
        && !cell.contains(['。', '；'])
        && !cell.contains("://")
        && cell.chars().take(LABEL_CHARS_MAX + 1).count() <= LABEL_CHARS_MAX
}

/// The label of every column up to the last one that has any.
fn labels(grid: &Grid, at: usize, notes: &mut Notes) -> Vec<String> {
    let header = &grid.rows[at];
    let span_end = |m: &Merge| {
        let across = (m.first.0..=m.last.0).contains(&header.number);
        if across && grid.shown(m.first.0, m.first.1).is_some() { m.last.1 + 1 } else { 0 }
    };
    let spanned = grid.merges.iter().map(span_end).max().unwrap_or(0);
    let own = header.cells.iter().rposition(|cell| !tidy(cell).is_empty()).map_or(0, |i| i + 1);
    // A title merged over the whole sheet must not invent columns beyond the ones that hold
    // something.
    let filled = grid.rows[at..].iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let width = own.max(spanned.min(filled));
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut twice, mut unnamed) = (Vec::new(), Vec::new());
    let mut columns = Vec::with_capacity(width);
    for index in 0..width {
        let cell = header.cells.get(index).map(String::as_str).unwrap_or_default();
        let mut label = tidy(cell);
        if label.is_empty() {
            label = grid.spanned(header.number, index).map(tidy).unwrap_or_default();
        }
        if label.is_empty() {
            label = nth(index);
            unnamed.push(label.clone());
        }
        let times = seen.entry(label.clone()).or_default();
        *times += 1;
        if *times > 1 {
            twice.push(label.clone());
            label = format!("{label} ({times})");
        }
        columns.push(label);
    }
    for (kind, names) in [(NoteKind::DuplicateLabel, twice), (NoteKind::EmptyLabel, unnamed)] {
        if !names.is_empty() {
            let named: Vec<&str> =
                names.iter().map(String::as_str).take(LABELS_NAMED_MAX).collect();
            notes.file(kind, named.join("、"));
        }
    }
    columns
}

/// A label without the line breaks and blanks that are there only to make it fit its cell.
fn tidy(cell: &str) -> String {
    let mut label = String::with_capacity(cell.len());
    let (mut gap, mut broken) = (false, false);
    for c in cell.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').chars() {
        if c.is_whitespace() || c.is_control() {
            gap = true;
            broken |= c.is_control();
            continue;
        }
        // Chinese has no blanks between words, so a blank counts only beside a Latin letter.
        let before = label.chars().next_back().is_some_and(|before| before.is_ascii());
        let apart = if broken { before && c.is_ascii() } else { before || c.is_ascii() };
        if gap && apart {
            label.push(' ');
        }
        (gap, broken) = (false, false);
        label.push(c);
    }
    label
}

fn nth(index: usize) -> String {
    format!("列{}", index + 1)
}

fn blank(cells: &[String]) -> bool {
    cells.iter().all(|cell| cell.trim().is_empty())
}
