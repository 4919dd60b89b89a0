//! Moments in expressions: dates in full or in part, `NOW`, and sums such as `NOW/DAY-7DAYS`.

use std::ops::Bound;

use jiff::{Span, Timestamp, civil, tz::TimeZone};

/// A moment as it was written: the day `2026-11-23` lasts until the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Where it begins, microseconds since 1970.
    pub(super) begin: i64,
    /// Where the next of its length begins; none when it has no length.
    end: Option<i64>,
}

impl Moment {
    /// The end of a range that holds it.
    pub(super) fn until(self) -> Bound<i64> {
        self.end.map_or(Bound::Included(self.begin), Bound::Excluded)
    }

    /// The beginning of a range that comes after it.
    pub(super) fn after(self) -> Bound<i64> {
        self.end.map_or(Bound::Excluded(self.begin), Bound::Included)
    }
}

/// Reads a moment; without a zone it is UTC.
pub(super) fn read(text: &str, now_us: i64) -> Option<Moment> {
    if let Some(sum) = text.strip_prefix("NOW") {
        let now = Timestamp::from_microsecond(now_us).ok()?;
        let begin = add(now.to_zoned(TimeZone::UTC).datetime(), sum)?;
        return Some(Moment { begin: micros(begin)?, end: None });
    }
    let Some((date, time)) = text.split_once(['T', 't']) else { return whole(text) };
    let date = day(date)?;
    // The sum comes after the zone, which it cannot be told from otherwise.
    let (time, sum) = time.split_once('Z').unwrap_or((time, ""));
    let (time, offset) = zone(time)?;
    let begin = date.to_datetime(clock(time)?).checked_sub(offset).ok()?;
    Some(Moment { begin: micros(add(begin, sum)?)?, end: None })
}

/// A year, a month or a day.
fn whole(text: &str) -> Option<Moment> {
    let span = match text.split('-').count() {
        1 => Span::new().years(1),
        2 => Span::new().months(1),
        _ => Span::new().days(1),
    };
    let begin = day(text)?;
    let end = begin.checked_add(span).ok().and_then(|end| micros(end.at(0, 0, 0, 0)));
    Some(Moment { begin: micros(begin.at(0, 0, 0, 0))?, end })
}

fn day(text: &str) -> Option<civil::Date> {
    let mut parts = text.split('-').map(|part| number(part, 4));
    let year = i16::try_from(parts.next()??).ok()?;
    let mut part = || parts.next().map_or(Some(1), |part| i8::try_from(part?).ok());
    let (month, day) = (part()?, part()?);
    parts.next().is_none().then(|| civil::Date::new(year, month, day).ok())?
}

fn number(digits: &str, most: usize) -> Option<i64> {
    let fits = !digits.is_empty() && digits.len() <= most;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    (fits && plain).then(|| digits.parse().ok())?
}

/// `05:14`, `05:14:07`, `05:14:07.669112`.
fn clock(text: &str) -> Option<civil::Time> {
    let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
    number(fraction, 9)?;
    let nanos = i32::try_from(number(&format!("{fraction:0<9}"), 9)?).ok()?;
    let mut parts = text.split(':').map(|part| number(part, 2).and_then(|n| i8::try_from(n).ok()));
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then(|| civil::Time::new(hour, minute, second, nanos).ok())?
}

/// Takes `+08:00` or `-0530` from the end of a time of day.
fn zone(text: &str) -> Option<(&str, Span)> {
    let Some(at) = text.find(['+', '-']) else { return Some((text, Span::new())) };
    let (time, zone) = text.split_at(at);
    let digits = zone.get(1..)?.replace(':', "");
    let of = number(&digits, 4).filter(|_| digits.len() == 4)?;
    let minutes = of / 100 * 60 + of % 100;
    let signed = if zone.starts_with('-') { -minutes } else { minutes };
    Some((time, Span::new().try_minutes(signed).ok()?))
}

/// Adds a sum to a moment, from left to right: `/DAY-7DAYS`.
fn add(mut moment: civil::DateTime, sum: &str) -> Option<civil::DateTime> {
    let mut rest = sum;
    while let Some(sign) = rest.chars().next() {
        rest = rest.strip_prefix(sign)?;
        let end = rest.find(['+', '-', '/']).unwrap_or(rest.len());
        let (step, after) = rest.split_at(end);
        rest = after;
        let digits = step.find(|c: char| !c.is_ascii_digit()).unwrap_or(step.len());
        let (count, unit) = step.split_at(digits);
        let unit = unit.strip_suffix('S').unwrap_or(unit);
        moment = match sign {
            '/' => cut(moment, unit).filter(|_| count.is_empty())?,
            '+' => moment.checked_add(span(number(count, 6)?, unit)?).ok()?,
            '-' => moment.checked_sub(span(number(count, 6)?, unit)?).ok()?,
            _ => return None,
        };
    }
    Some(moment)
}

fn span(count: i64, unit: &str) -> Option<Span> {
    let span = Span::new();
    let span = match unit {
        "YEAR" => span.try_years(count),
        "MONTH" => span.try_months(count),
        "DAY" | "DATE" => span.try_days(count),
        "HOUR" => span.try_hours(count),
        "MINUTE" => span.try_minutes(count),
        "SECOND" => span.try_seconds(count),
        "MILLI" | "MILLISECOND" => span.try_milliseconds(count),
        _ => return None,
    };
    span.ok()
}

/// The beginning of the year, month, day, … that the moment is in.
fn cut(moment: civil::DateTime, unit: &str) -> Option<civil::DateTime> {
    let (date, time) = (moment.date(), moment.time());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    Some(match unit {
        "YEAR" => date.first_of_year().at(0, 0, 0, 0),
        "MONTH" => date.first_of_month().at(0, 0, 0, 0),
        "DAY" | "DATE" => date.at(0, 0, 0, 0),
        "HOUR" => date.at(hour, 0, 0, 0),
        "MINUTE" => date.at(hour, minute, 0, 0),
        "SECOND" => date.at(hour, minute, second, 0),
        "MILLI" | "MILLISECOND" => {
            date.at(hour, minute, second, i32::from(time.millisecond()) * 1_000_000)
        }
        _ => return None,
    })
}

fn micros(moment: civil::DateTime) -> Option<i64> {
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}
