//! Lists that came as one text.

use serde_json::Value;

use crate::code::table;

/// Splits a text such as `['xls', 'csv']`, `a,b；c` or words on lines of their own.
///
/// The enumeration comma 、 separates only where nothing else does: it also stands inside names
/// such as 农、林、牧、渔业.
pub(super) fn split(raw: &str) -> Vec<String> {
    let inner = raw.trim();
    let inner = inner.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(inner);
    let parts = pieces(inner, &[',', '，', ';', '；', '|', '\n', '\r', '\t']);
    match parts.as_slice() {
        [only] => pieces(only, &['、']),
        _ => parts,
    }
}

fn pieces(raw: &str, separators: &[char]) -> Vec<String> {
    raw.split(separators)
        .map(|piece| piece.trim().trim_matches(['\'', '"']).trim())
        .filter(|piece| !table::is_absent(piece))
        .map(str::to_owned)
        .collect()
}

/// The text of a value: strings as they are, everything else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The texts of a list, whether it came as one or as a text; objects count by their name.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let Value::Array(elements) = value else { return split(&text(value)) };
    let name = |element: &Value| {
        let named = ["name", "title", "名称"].iter().find_map(|key| element.get(key));
        text(named.unwrap_or(element))
    };
    elements.iter().map(name).filter(|text| !table::is_absent(text)).collect()
}

/// The value itself, or what its text holds when that is a JSON list or object.
pub(super) fn structured(value: &Value) -> Value {
    let parsed = match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text).ok()
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| value.clone())
}
