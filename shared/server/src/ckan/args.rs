//! Reading arguments as what they should be.

use serde_json::Value;

use super::{answer::Refusal, input::Args};

/// An argument that is there.
fn given<'a>(args: &'a Args, name: &str) -> Option<&'a Value> {
    args.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// A text; numbers count as their digits, of a list the first counts.
pub(super) fn text(args: &Args, name: &str) -> Option<String> {
    match given(args, name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => Some(values.first()?.as_str()?.to_owned()),
        other => Some(other.to_string()),
    }
}

/// A text that must be there.
pub(super) fn needed(args: &Args, name: &str) -> Result<String, Refusal> {
    text(args, name).ok_or_else(|| Refusal::invalid(name, "Missing value"))
}

/// A whole number, none or more.
pub(super) fn natural(args: &Args, name: &str) -> Result<Option<usize>, Refusal> {
    let Some(number) = whole(args, name)? else { return Ok(None) };
    let natural = usize::try_from(number);
    natural.map(Some).map_err(|_negative| Refusal::invalid(name, "Must be a natural number"))
}

/// A whole number.
pub(super) fn whole(args: &Args, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = text(args, name) else { return Ok(None) };
    let number = text.trim().parse();
    number.map(Some).map_err(|_digits| Refusal::invalid(name, "Invalid integer"))
}

/// Yes or no, in the words that Python's `asbool` knows.
pub(super) fn flag(args: &Args, name: &str, default: bool) -> bool {
    let text = text(args, name).map(|text| text.trim().to_lowercase());
    text.map_or(default, |text| matches!(&*text, "true" | "yes" | "on" | "y" | "t" | "1"))
}

/// Several texts: a list, JSON of a list, or a single one.
pub(super) fn list(args: &Args, name: &str) -> Vec<String> {
    let texts = |values: &[Value]| {
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    match given(args, name) {
        None => Vec::new(),
        Some(Value::Array(values)) => texts(values),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Array(values)) => texts(&values),
            _ => vec![text.clone()],
        },
        Some(other) => vec![other.to_string()],
    }
}
