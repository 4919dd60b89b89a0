//! Dates, counts and sizes as people write them.

use jiff::civil::Date;
use jiff::{Timestamp, tz::Offset};
use unicode_normalization::UnicodeNormalization;

/// Reads a day: `2023-6-16`, `2023/6/16`, `2023.6.16`, `2023年6月16日`, `20230616`, each with or
/// without a time of day, and milliseconds since 1970 (taken as Shanghai time).
///
/// A month without a day is not read, because a made-up day would look like a fact.
pub fn date(raw: &str) -> Option<Date> {
    let text: String = raw.nfkc().collect();
    let text = text.trim();
    if text.len() >= 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return digits(text);
    }
    let mut numbers = Vec::with_capacity(3);
    let mut rest = text;
    for separators in [&['-', '/', '.', '年'][..], &['-', '/', '.', '月'][..], &[][..]] {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(end)?;
        numbers.push(number.parse::<i16>().ok()?);
        let tail = tail.trim_start();
        if separators.is_empty() {
            let after = tail.chars().next();
            let ends = after.is_none_or(|c| matches!(c, '日' | '号' | 'T' | 't' | '0'..='9'));
            let spaced = rest.get(end..).is_some_and(|t| t.starts_with(char::is_whitespace));
            if !(ends || spaced) {
                return None;
            }
        } else {
            rest = tail.strip_prefix(|c| separators.contains(&c))?.trim_start();
        }
    }
    let &[year, month, day] = numbers.as_slice() else { return None };
    plausible(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?)
}

fn digits(text: &str) -> Option<Date> {
    match text.len() {
        8 | 14 => plausible(
            text.get(..4)?.parse().ok()?,
            text.get(4..6)?.parse().ok()?,
            text.get(6..8)?.parse().ok()?,
        ),
        13 => {
            let at = Timestamp::from_millisecond(text.parse().ok()?).ok()?;
            Some(Offset::constant(8).to_datetime(at).date())
        }
        _ => None,
    }
}

fn plausible(year: i16, month: i8, day: i8) -> Option<Date> {
    if (1900..=2199).contains(&year) { Date::new(year, month, day).ok() } else { None }
}

/// Reads a count: `1234`, `1,234`, `1234条`.
pub fn count(raw: &str) -> Option<u64> {
    let text: String = raw.nfkc().filter(|c| !c.is_whitespace() && *c != ',').collect();
    let number = text.trim_end_matches(['条', '行', '个', '项']);
    let number = number.strip_suffix(".0").unwrap_or(number);
    if number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None }
}

/// Reads a size in bytes: `1024`, `20KB`, `1.5 MB`. A unit is 1,024 of the one below.
pub fn size(raw: &str) -> Option<u64> {
    if let Some(bytes) = count(raw) {
        return Some(bytes);
    }
    let text: String = raw.nfkc().filter(|c| !c.is_whitespace() && *c != ',').collect();
    let text = text.to_lowercase();
    let text = text.trim_end_matches("ytes").trim_end_matches("yte").trim_end_matches("字节");
    let text = text.strip_suffix('b').unwrap_or(text);
    let (number, shift) = match text.chars().last()? {
        'k' => (text.trim_end_matches('k'), 10_u32),
        'm' => (text.trim_end_matches('m'), 20),
        'g' => (text.trim_end_matches('g'), 30),
        't' => (text.trim_end_matches('t'), 40),
        _ => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.len() <= 9 && s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    // Fixed point, because a float would round differently from one machine to the next.
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let all: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from((all << shift) / scale).ok()
}

/// Whether the text names a unit of bytes, so that it is a size and no count.
pub fn names_bytes(raw: &str) -> bool {
    let text: String = raw.nfkc().collect::<String>().to_lowercase();
    let text = text.trim();
    text.ends_with('b')
        || text.ends_with("byte")
        || text.ends_with("bytes")
        || text.ends_with("字节")
}

/// Whether the text is an address that a page may link: `http`, `https`, `ftp`, `ftps` or `sftp`,
/// without blanks.
pub fn is_web_address(raw: &str) -> bool {
    let Some((scheme, rest)) = raw.split_once("://") else { return false };
    let known = ["http", "https", "ftp", "ftps", "sftp"];
    let blank = |c: char| c.is_whitespace() || c.is_control();
    known.contains(&scheme.to_ascii_lowercase().as_str())
        && !rest.is_empty()
        && !raw.contains(blank)
}
