//! JSON: a list of objects, an object with one in it, or one object a line.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::fault::ReadError;
use super::note::{NoteKind, Notes};
use super::read::{CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX, ROWS_MAX, RawRow};

/// Keys under which services put their rows, the likeliest first.
const ROW_KEYS: [&str; 11] = [
    "data", "result", "results", "rows", "list", "dataset", "datasets", "records", "items",
    "content", "数据",
];
/// Wrappers around the rows that are looked through.
const WRAPPERS_MAX: usize = 4;
/// Keys named in an error.
const KEYS_NAMED_MAX: usize = 20;

/// The rows of a JSON document and the key they stood under.
pub(super) fn rows(
    content: &str,
    asked: Option<&str>,
    notes: &mut Notes,
) -> Result<(Vec<RawRow>, Option<String>), ReadError> {
    let value: Value = serde_json::from_str(content).map_err(|error| syntax(&error, 0))?;
    let (list, key) = match value {
        Value::Array(list) => (list, None),
        Value::Object(object) => match find(object, asked, 0)? {
            Found::Rows(list, key) => {
                notes.file(NoteKind::RowsUnderKey, &key);
                (list, Some(key))
            }
            Found::Single(object) => {
                notes.file(NoteKind::SingleObject, "");
                (vec![Value::Object(object)], None)
            }
        },
        _ => return Err(ReadError::NoRowsInJson { keys: Vec::new() }),
    };
    let mut rows = Rows::default();
    for (index, element) in list.into_iter().enumerate() {
        let number = index as u64 + 1;
        match element {
            Value::Object(object) => rows.push(number, object)?,
            other => notes.at_with(NoteKind::NotAnObject, number, || kind(&other).to_owned()),
        }
    }
    Ok((rows.list, key))
}

/// The rows of a file with one JSON object a line, numbered by line. A bad line does not stop the
/// next one.
pub(super) fn lines(content: &str, notes: &mut Notes) -> Result<Vec<RawRow>, ReadError> {
    let mut rows = Rows::default();
    let mut first_fault = None;
    for (index, line) in content.lines().enumerate() {
        let number = index as u64 + 1;
        if line.trim().is_empty() {
            notes.at(NoteKind::BlankRows, number);
            continue;
        }
        match serde_json::from_str(line) {
            Ok(Value::Object(object)) => rows.push(number, object)?,
            Ok(other) => {
                notes.at_with(NoteKind::NotAnObject, number, || kind(&other).to_owned());
            }
            Err(error) => {
                notes.at_with(NoteKind::NotAnObject, number, || error.to_string());
                first_fault.get_or_insert_with(|| syntax(&error, index));
            }
        }
    }
    match first_fault {
        Some(fault) if rows.list.is_empty() => Err(fault),
        _ => Ok(rows.list),
    }
}

/// Whether the first line is a whole object and another line follows: then it is one object a line.
pub(super) fn looks_like_lines(content: &str) -> bool {
    let mut lines = content.lines().filter(|line| !line.trim().is_empty());
    let whole = |line: &str| serde_json::from_str::<Map<String, Value>>(line).is_ok();
    lines.next().is_some_and(whole) && lines.next().is_some()
}

/// The labels of all rows, in order of first occurrence.
pub(super) fn columns(rows: &[RawRow]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut columns = Vec::new();
    for (label, _) in rows.iter().flat_map(|row| &row.cells) {
        if columns.len() < COLUMNS_MAX && seen.insert(label.as_str()) {
            columns.push(label.clone());
        }
    }
    columns
}

enum Found {
    Rows(Vec<Value>, String),
    Single(Map<String, Value>),
}

/// Looks for the one list of objects: under the key asked for, a usual key, or the only key that
/// has one.
fn find(
    mut object: Map<String, Value>,
    asked: Option<&str>,
    depth: usize,
) -> Result<Found, ReadError> {
    if let Some(asked) = asked {
        return match object.remove(asked) {
            Some(Value::Array(list)) => Ok(Found::Rows(list, asked.to_owned())),
            Some(Value::Object(single)) => Ok(Found::Single(single)),
            _ => {
                let available = object.keys().take(KEYS_NAMED_MAX).cloned().collect();
                Err(ReadError::NoSuchSheet { asked: asked.to_owned(), available })
            }
        };
    }
    for key in ROW_KEYS {
        if object.get(key).is_some_and(is_rows)
            && let Some(Value::Array(list)) = object.remove(key)
        {
            return Ok(Found::Rows(list, key.to_owned()));
        }
        if depth < WRAPPERS_MAX
            && object.get(key).is_some_and(Value::is_object)
            && let Some(Value::Object(inner)) = object.remove(key)
        {
            return Ok(match find(inner, None, depth + 1)? {
                Found::Rows(list, inner) => Found::Rows(list, format!("{key}.{inner}")),
                single @ Found::Single(_) => single,
            });
        }
    }
    let mut keys: Vec<String> =
        object.iter().filter(|(_, value)| is_rows(value)).map(|(key, _)| key.clone()).collect();
    match keys.pop() {
        None => Ok(Found::Single(object)),
        Some(key) if keys.is_empty() => match object.remove(&key) {
            Some(Value::Array(list)) => Ok(Found::Rows(list, key)),
            _ => Err(ReadError::NoRowsInJson { keys: vec![key] }),
        },
        Some(key) => {
            keys.push(key);
            keys.truncate(KEYS_NAMED_MAX);
            Err(ReadError::NoRowsInJson { keys })
        }
    }
}

fn is_rows(value: &Value) -> bool {
    value.as_array().and_then(|list| list.first()).is_some_and(Value::is_object)
}

#[derive(Default)]
struct Rows {
    list: Vec<RawRow>,
    cells: usize,
}

impl Rows {
    fn push(&mut self, row: u64, object: Map<String, Value>) -> Result<(), ReadError> {
        if self.list.len() == ROWS_MAX {
            return Err(ReadError::TooManyRows { row });
        }
        if object.len() > COLUMNS_MAX {
            return Err(ReadError::TooManyColumns { row, columns: object.len() });
        }
        self.cells += object.len();
        if self.cells > CELLS_MAX {
            return Err(ReadError::TooManyCells { row });
        }
        for (label, value) in &object {
            let bytes = label.len() + size(value);
            if bytes > CELL_BYTES_MAX {
                let column = label.chars().take(40).collect();
                return Err(ReadError::CellTooLarge { row, column, bytes });
            }
        }
        self.list.push(RawRow { row, cells: object.into_iter().collect() });
        Ok(())
    }
}

/// About the bytes of a value as JSON; the parser bounds how deep it nests.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|element| size(element) + 1).sum(),
        Value::Object(object) => object.iter().map(|(key, v)| key.len() + size(v) + 4).sum(),
        _ => 8,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn syntax(error: &serde_json::Error, lines_before: usize) -> ReadError {
    ReadError::Json {
        line: error.line() + lines_before,
        column: error.column(),
        detail: error.to_string(),
    }
}
