//! The one place that reads the wall clock.
//!
//! Everything else takes the time as a parameter, so that a simulation decides what time it is.
//! Times are unix milliseconds; people see Shanghai time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, Zoned, civil::Date, tz};

/// Now, unix milliseconds. A clock before 1970 reads as 1970.
#[expect(clippy::disallowed_methods, reason = "the clock module is where time comes from")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Today's date in Shanghai, the day that deadlines count in.
pub fn today_shanghai() -> Date {
    shanghai(now_ms()).date()
}

/// The day of a moment in Shanghai.
pub fn day_shanghai(ms: i64) -> Date {
    shanghai(ms).date()
}

/// The moment a day begins in Shanghai, unix milliseconds.
pub fn begin_of_shanghai_day(day: Date) -> Option<i64> {
    let zone = tz::TimeZone::fixed(tz::offset(8));
    day.to_zoned(zone).ok().map(|begin| begin.timestamp().as_millisecond())
}

/// A time for people, e.g. `2026-11-23 14:52:10`, in Shanghai time.
pub fn format_shanghai(ms: i64) -> String {
    shanghai(ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long before `now_ms` something happened, in Chinese and in English: `12 秒前`, `12 s ago`.
///
/// A time in the future means that clocks differ and is said as such rather than hidden.
pub fn ago(now_ms: i64, then_ms: i64) -> (String, String) {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    let (count, zh, en) = match seconds.unsigned_abs() {
        0 => return ("刚刚".to_owned(), "just now".to_owned()),
        s @ 1..60 => (s, "秒", "s"),
        s @ 60..3600 => (s / 60, "分钟", "min"),
        s @ 3600..86_400 => (s / 3600, "小时", "h"),
        s => (s / 86_400, "天", "d"),
    };
    if seconds > 0 {
        (format!("{count} {zh}前"), format!("{count} {en} ago"))
    } else {
        (format!("{count} {zh}后"), format!("in {count} {en}"))
    }
}

/// Shanghai has been UTC+8 without summer time since 1992, before any date this system holds, so a
/// fixed offset is right and needs no time zone database on the machine.
fn shanghai(ms: i64) -> Zoned {
    let limit = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(limit).to_zoned(tz::TimeZone::fixed(tz::offset(8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_shanghai_time() {
        assert_eq!(format_shanghai(0), "1970-01-01 08:00:00");
        assert_eq!(format_shanghai(1_795_416_730_000), "2026-11-23 14:52:10");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_shown_as_its_end() {
        assert!(format_shanghai(i64::MAX).starts_with("9999-12-31"));
        assert!(format_shanghai(i64::MIN).starts_with("-9999"));
    }

    #[test]
    fn an_age_is_short_and_in_two_languages() {
        let rows = [
            (0, "刚刚", "just now"),
            (999, "刚刚", "just now"),
            (12_000, "12 秒前", "12 s ago"),
            (60_000, "1 分钟前", "1 min ago"),
            (7_200_000, "2 小时前", "2 h ago"),
            (259_200_000, "3 天前", "3 d ago"),
            (-180_000, "3 分钟后", "in 3 min"),
        ];
        for (age_ms, zh, en) in rows {
            assert_eq!(ago(1_000_000_000, 1_000_000_000 - age_ms), (zh.to_owned(), en.to_owned()));
        }
    }

    #[test]
    fn the_clock_is_past_the_day_this_was_written() {
        assert!(now_ms() > 1_700_000_000_000);
        assert!(today_shanghai().year() >= 2023);
    }
}
