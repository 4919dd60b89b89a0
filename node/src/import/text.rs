//! Text files: which encoding, which separator, which line.

use std::borrow::Cow;
use std::collections::HashMap;

use encoding_rs::{DecoderResult, Encoding, GB18030, GBK, UTF_8};

use super::fault::ReadError;
use super::grid::{Grid, GridRow};
use super::note::{NoteKind, Notes};
use super::read::{CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX};

/// Bytes looked at to guess a separator or to doubt an encoding.
const SAMPLE_BYTES: usize = 64 * 1024;
/// Records looked at to guess a separator.
const SAMPLE_RECORDS: usize = 50;
/// Lines in one cell above which a quote was probably left open.
const CELL_LINES_ODD: usize = 100;
/// Separators in order of preference when two fit equally well.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// Turns bytes into text and names the encoding.
///
/// Order: what was asked for, a byte order mark, UTF-8, GB18030. A guess must fit to the last byte;
/// nothing is replaced.
pub(super) fn decode<'a>(
    bytes: &'a [u8],
    asked: Option<&str>,
    notes: &mut Notes,
) -> Result<(Cow<'a, str>, &'static str), ReadError> {
    let mark = Encoding::for_bom(bytes);
    let (text, name) = if let Some(label) = asked {
        let encoding = Encoding::for_label(label.trim().as_bytes())
            .ok_or_else(|| ReadError::UnknownEncoding(label.to_owned()))?;
        let skip = mark.filter(|(found, _)| *found == encoding).map_or(0, |(_, length)| length);
        announced(bytes, skip, encoding)?
    } else if let Some((encoding, length)) = mark {
        notes.file(NoteKind::ByteOrderMark, encoding.name());
        announced(bytes, length, encoding)?
    } else {
        guess(bytes, notes)?
    };
    match text.find('\0') {
        Some(offset) => Err(ReadError::Binary { offset: offset as u64 }),
        None => Ok((text, name)),
    }
}

fn announced<'a>(
    bytes: &'a [u8],
    skip: usize,
    encoding: &'static Encoding,
) -> Result<(Cow<'a, str>, &'static str), ReadError> {
    let name = encoding.name();
    strict(&bytes[skip..], encoding).map(|text| (text, name)).map_err(|offset| ReadError::NotText {
        encoding: name.to_owned(),
        offset: (offset + skip) as u64,
    })
}

fn guess<'a>(
    bytes: &'a [u8],
    notes: &mut Notes,
) -> Result<(Cow<'a, str>, &'static str), ReadError> {
    let utf8 = match strict(bytes, UTF_8) {
        Ok(text) => return Ok((text, UTF_8.name())),
        Err(offset) => offset as u64,
    };
    let text = strict(bytes, GB18030)
        .map_err(|offset| ReadError::NoEncodingFits { utf8, gb18030: offset as u64 })?;
    notes.file(NoteKind::EncodingGuessed, GB18030.name());
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(SAMPLE_BYTES)], bytes.len() <= SAMPLE_BYTES);
    let likely = detector.guess(None, chardetng::Utf8Detection::Deny);
    if likely != GBK && likely != GB18030 {
        notes.file(NoteKind::EncodingDoubtful, likely.name());
    }
    Ok((text, GB18030.name()))
}

/// The text, or the offset of the first byte that does not belong to the encoding.
fn strict<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Result<Cow<'a, str>, usize> {
    if encoding == UTF_8 {
        return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|e| e.valid_up_to());
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(0);
    let mut text = String::with_capacity(room);
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    match result {
        DecoderResult::InputEmpty => Ok(Cow::Owned(text)),
        DecoderResult::Malformed(bad, after) => {
            Err(read.saturating_sub(usize::from(bad) + usize::from(after)))
        }
        DecoderResult::OutputFull => Err(read),
    }
}

/// Splits text into rows of cells; also returns the separator found.
pub(super) fn grid(
    text: &str,
    prefer_tabs: bool,
    notes: &mut Notes,
) -> Result<(Grid, char), ReadError> {
    let (delimiter, start) =
        announced_delimiter(text).unwrap_or_else(|| (sniff(text, prefer_tabs), 0));
    let mut reader = reader(&text.as_bytes()[start..], delimiter);
    let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
    let mut grid = Grid { ragged: true, ..Grid::default() };
    let mut record = csv::StringRecord::new();
    let mut cells = 0;
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                return Err(ReadError::Delimited { line: lines.line, detail: error.to_string() });
            }
        }
        let offset = record.position().map_or(0, csv::Position::byte);
        let number = lines.of(start.saturating_add(usize::try_from(offset).unwrap_or(0)), notes);
        cells += record.len();
        if cells > CELLS_MAX {
            return Err(ReadError::TooManyCells { row: number });
        }
        grid.push(GridRow { number, cells: checked(&record, number, notes)? })?;
    }
    Ok((grid, char::from(delimiter)))
}

fn checked(
    record: &csv::StringRecord,
    row: u64,
    notes: &mut Notes,
) -> Result<Vec<String>, ReadError> {
    if record.len() > COLUMNS_MAX {
        return Err(ReadError::TooManyColumns { row, columns: record.len() });
    }
    for (index, cell) in record.iter().enumerate() {
        if cell.len() > CELL_BYTES_MAX {
            let column = (index + 1).to_string();
            return Err(ReadError::CellTooLarge { row, column, bytes: cell.len() });
        }
        if cell.len() > CELL_LINES_ODD && cell.matches('\n').count() > CELL_LINES_ODD {
            notes.at(NoteKind::LongCell, row);
        }
    }
    Ok(record.iter().map(str::to_owned).collect())
}

fn reader(bytes: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(bytes)
}

/// Excel's own first line `sep=;` names the separator and is not data.
fn announced_delimiter(text: &str) -> Option<(u8, usize)> {
    let line = text.lines().next()?;
    let delimiter = *line.trim_end_matches('\r').strip_prefix("sep=")?.as_bytes().first()?;
    DELIMITERS.contains(&delimiter).then_some((delimiter, line.len()))
}

/// The separator that splits the most records into the same number of cells, the more cells the
/// better.
fn sniff(text: &str, prefer_tabs: bool) -> u8 {
    let mut end = text.len().min(SAMPLE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let whole = end == text.len();
    let (mut best, mut best_score) = (if prefer_tabs { b'\t' } else { b',' }, 0);
    for delimiter in DELIMITERS {
        let score = score(&text[..end], whole, delimiter);
        if score > best_score || (prefer_tabs && delimiter == b'\t' && score > 0) {
            (best, best_score) = (delimiter, score);
            if prefer_tabs && delimiter == b'\t' {
                break;
            }
        }
    }
    best
}

fn score(sample: &str, whole: bool, delimiter: u8) -> usize {
    let mut widths: Vec<usize> = reader(sample.as_bytes(), delimiter)
        .records()
        .take(SAMPLE_RECORDS)
        .filter_map(|record| record.ok().map(|record| record.len()))
        .collect();
    // The last record of a cut sample is cut as well.
    if !whole && widths.len() > 1 && widths.len() < SAMPLE_RECORDS {
        widths.pop();
    }
    let mut times: HashMap<usize, usize> = HashMap::new();
    for width in &widths {
        *times.entry(*width).or_default() += 1;
    }
    let usual = times.iter().max_by_key(|(width, times)| (**times, **width));
    let Some((width, times)) = usual else { return 0 };
    // Records of another width speak against the separator: a list inside one column splits
    // unevenly.
    let agreed = (2 * times).saturating_sub(widths.len()).max(usize::from(widths.len() < 3));
    agreed * (width - 1)
}

/// Counts lines up to a place in the text, once over the whole text.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the record that begins at `offset` has its first cell.
    fn of(&mut self, offset: usize, notes: &mut Notes) -> u64 {
        while self.at < offset {
            self.step();
        }
        // The parser counts blank lines, and at times the end of the line before, to the record
        // that follows.
        let mut blank = false;
        while matches!(self.text.get(self.at), Some(b'\n' | b'\r')) {
            blank |= self.at_line_start();
            if self.step() && std::mem::take(&mut blank) {
                notes.at(NoteKind::BlankRows, self.line - 1);
            }
        }
        self.line
    }

    fn at_line_start(&self) -> bool {
        match self.at.checked_sub(1).and_then(|before| self.text.get(before)) {
            None | Some(b'\n') => true,
            Some(b'\r') => self.text.get(self.at) != Some(&b'\n'),
            Some(_) => false,
        }
    }

    /// Moves one byte on; true at the end of a line, which is `\n`, `\r\n` or `\r` alone.
    fn step(&mut self) -> bool {
        let ends = match self.text.get(self.at) {
            Some(b'\n') => true,
            Some(b'\r') => self.text.get(self.at + 1) != Some(&b'\n'),
            _ => false,
        };
        self.at += 1;
        self.line += u64::from(ends);
        ends
    }
}
