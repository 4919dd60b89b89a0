//! Query parameters: read once, all faults told at once, each with what is allowed.

use std::{fmt::Write as _, ops::RangeInclusive};

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use liandong_core::{
    id::{DistrictCode, Hash, RecordId},
    limit,
    record::text,
};

use liandong_store::{Cursor, Facet};

use crate::{
    clock,
    problem::{ParameterFault, Problem, Text},
};

/// Longest piece of a bad value that is repeated, characters.
const SHOWN_CHARS_MAX: usize = 40;

/// The parameters of a request and what is wrong with them so far. A parameter that is empty counts
/// as one that is not there, because that is what an empty form field sends.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    faults: Vec<ParameterFault>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(pairs) =
            Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|bad| {
                Problem::parameters(vec![fault("query", "查询串无法解析", bad.to_string())])
            })?;
        Ok(Self::new(pairs))
    }
}

fn fault(parameter: &str, zh: impl Into<String>, en: impl Into<String>) -> ParameterFault {
    ParameterFault { parameter: parameter.to_owned(), detail: Text::new(zh, en) }
}

impl Params {
    /// The parameters as name and value.
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, faults: Vec::new() }
    }

    /// All values of a parameter that are not empty.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let own = self.pairs.iter().filter(|(key, value)| key == name && !value.trim().is_empty());
        own.map(|(_, value)| value.clone()).collect()
    }

    /// The one value of a parameter.
    pub(crate) fn one(&mut self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.fault(
                name,
                format!("{name} 只能出现一次"),
                format!("{name} may be given only once"),
            );
        }
        values.pop()
    }

    /// Notes what is wrong with a parameter.
    pub(crate) fn fault(&mut self, name: &str, zh: impl Into<String>, en: impl Into<String>) {
        self.faults.push(fault(name, zh, en));
    }

    /// A whole number within a range.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let Some(given) = self.one(name) else { return default };
        match given.trim().parse::<usize>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high, shown) = (range.start(), range.end(), shown(&given));
                self.fault(
                    name,
                    format!("{name} 应为 {low} 到 {high} 的整数，收到的是“{shown}”"),
                    format!("{name} must be a whole number from {low} to {high}, not {shown:?}"),
                );
                default
            }
        }
    }

    /// The search text.
    pub(crate) fn query(&mut self, name: &str) -> String {
        let query = self.one(name).unwrap_or_default().trim().to_owned();
        let (chars, max) = (query.chars().count(), limit::QUERY_CHARS_MAX);
        if chars > max {
            self.fault(
                name,
                format!("{name} 最多 {max} 个字符，收到 {chars} 个"),
                format!("{name} may have at most {max} characters, not {chars}"),
            );
        }
        query
    }

    /// A day, as microseconds of its beginning in Shanghai.
    pub(crate) fn day(&mut self, name: &str) -> Option<i64> {
        let given = self.one(name)?;
        let day = given.trim().parse::<jiff::civil::Date>().ok();
        let begin = day.and_then(clock::begin_of_shanghai_day);
        if begin.is_none() {
            let shown = shown(&given);
            self.fault(
                name,
                format!("{name} 应为日期，例如 2026-01-31，收到的是“{shown}”"),
                format!("{name} must be a day such as 2026-01-31, not {shown:?}"),
            );
        }
        begin.map(|ms| ms.saturating_mul(1_000))
    }

    /// A moment as microseconds since 1970.
    pub(crate) fn moment(&mut self, name: &str) -> Option<i64> {
        let given = self.one(name)?;
        let parsed = given.trim().parse::<i64>().ok().filter(|moment| *moment >= 0);
        if parsed.is_none() {
            let shown = shown(&given);
            self.fault(
                name,
                format!("{name} 应为上一页返回的 next（1970 年以来的微秒数），收到的是“{shown}”"),
                format!("{name} must be the `next` of the page before (microseconds since 1970), not {shown:?}"),
            );
        }
        parsed
    }

    /// Up to six digits that codes of districts begin with.
    pub(crate) fn digits(&mut self, name: &str) -> Option<String> {
        let given = self.one(name)?.trim().to_owned();
        if given.len() <= 6 && given.bytes().all(|b| b.is_ascii_digit()) {
            return Some(given);
        }
        let shown = shown(&given);
        self.fault(
            name,
            format!("{name} 应为行政区划代码的前几位数字，收到的是“{shown}”"),
            format!("{name} must be the first digits of a division code, not {shown:?}"),
        );
        None
    }

    /// Where a page begins.
    pub(crate) fn cursor(&mut self, name: &str) -> Option<Cursor> {
        let given = self.one(name)?;
        let parsed = given.trim().parse().ok();
        if parsed.is_none() {
            let shown = shown(&given);
            self.fault(
                name,
                format!("{name} 应为上一页返回的 next，收到的是“{shown}”"),
                format!("{name} must be the `next` of the page before, not {shown:?}"),
            );
        }
        parsed
    }

    /// Facets to count: names with commas between, `all`, or none when nothing is said.
    pub(crate) fn facets(&mut self, name: &str) -> Vec<Facet> {
        let mut chosen = Vec::new();
        for given in self.all(name).iter().flat_map(|given| given.split(',')) {
            match Facet::SHOWN.iter().find(|facet| facet.name() == given.trim()) {
                Some(facet) => chosen.push(*facet),
                None if given.trim() == "all" => chosen.extend(Facet::SHOWN),
                None => self.unknown_facet(name, given),
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// Notes a name that no facet has.
    pub(crate) fn unknown_facet(&mut self, name: &str, given: &str) {
        let known: Vec<&str> = Facet::SHOWN.iter().map(|facet| facet.name()).collect();
        let (shown, known) = (shown(given), known.join(", "));
        self.fault(
            name,
            format!("{name} 可取 {known}，收到的是“{shown}”"),
            format!("{name} may be any of {known}, not {shown:?}"),
        );
    }

    /// A record id.
    pub(crate) fn record_id(&mut self, name: &str) -> Option<RecordId> {
        let given = self.one(name)?;
        let parsed = given.trim().parse();
        if parsed.is_err() {
            let shown = shown(&given);
            self.fault(
                name,
                format!("{name} 应为记录编号（32 位十六进制-ULID），收到的是“{shown}”"),
                format!(
                    "{name} must be a record id (32 hexadecimal digits, -, ULID), not {shown:?}"
                ),
            );
        }
        parsed.ok()
    }

    pub(crate) fn hash(&mut self, name: &str) -> Option<Hash> {
        let given = self.one(name)?;
        let parsed = given.trim().parse();
        if parsed.is_err() {
            let shown = shown(&given);
            self.fault(
                name,
                format!("{name} 应为 64 位十六进制，收到的是“{shown}”"),
                format!("{name} must be 64 hexadecimal digits, not {shown:?}"),
            );
        }
        parsed.ok()
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)], default: T) -> T {
        let Some(given) = self.one(name) else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
            return *value;
        }
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let (shown, allowed) = (shown(&given), allowed.join(", "));
        self.fault(
            name,
            format!("{name} 可取 {allowed}，收到的是“{shown}”"),
            format!("{name} must be one of {allowed}, not {shown:?}"),
        );
        default
    }

    /// District codes out of the known ones.
    pub(crate) fn districts(&mut self, name: &str, known: &[DistrictCode]) -> Vec<DistrictCode> {
        let mut chosen = Vec::new();
        for given in self.all(name) {
            if let Some(code) = known.iter().find(|code| code.as_str() == given.trim()) {
                chosen.push(code.clone());
                continue;
            }
            let known: Vec<&str> = known.iter().map(DistrictCode::as_str).collect();
            let (shown, known) = (shown(&given), known.join(", "));
            self.fault(
                name,
                format!("没有代码为“{shown}”的区，可取：{known}"),
                format!("there is no district {shown:?}; there are {known}"),
            );
        }
        chosen.sort();
        chosen.dedup();
        chosen
    }

    /// # Errors
    /// Any parameter was at fault.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::parameters(self.faults)) }
    }
}

fn shown(given: &str) -> String {
    text::preview(given, SHOWN_CHARS_MAX)
}

/// Writes a value for a query string.
pub(crate) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut params = params(&[("limit", "0"), ("after", "xyz"), ("status", "dead")]);
        assert_eq!(params.number("limit", 1..=10, 5), 5);
        assert_eq!(params.record_id("after"), None);
        params.word("status", &[("live", 1)], 1);
        let faults = params.finish().unwrap_err().errors;
        assert_eq!(faults.len(), 3);
        assert!(faults[0].detail.en.contains("1 to 10"), "{faults:?}");
    }

    #[test]
    fn an_empty_form_field_is_a_parameter_that_is_not_there() {
        let mut params = params(&[("district", ""), ("limit", " ")]);
        assert!(params.districts("district", &[]).is_empty());
        assert_eq!(params.number("limit", 1..=10, 5), 5);
        assert!(params.finish().is_ok());
    }

    #[test]
    fn a_value_is_safe_in_a_query_string() {
        assert_eq!(encode("a b&c=停"), "a%20b%26c%3D%E5%81%9C");
    }
}
