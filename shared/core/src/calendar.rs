//! Working days and the deadlines counted in them.
//!
//! The holiday list of a year comes out late in the year before. A deadline that reaches a year
//! without a list is counted with plain weekends and marked provisional, and is counted again
//! once the list is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::civil::{Date, Weekday};

use crate::code::table::{self, TableError};

/// Why a holiday list was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    /// The list is no table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A line has no readable date.
    #[error("line {line} of the holiday list: {text:?} is no date")]
    Date {
        /// Line of the file.
        line: u64,
        /// What stands there.
        text: String,
    },
    /// A line is neither `work` nor `off`.
    #[error("line {line} of the holiday list: {text:?} is neither \"work\" nor \"off\"")]
    Kind {
        /// Line of the file.
        line: u64,
        /// What stands there.
        text: String,
    },
    /// The list has no line.
    #[error("the holiday list is empty")]
    Empty,
}

/// The last day of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Deadline {
    /// The day, until 24:00 Shanghai time.
    pub date: Date,
    /// Whether a day was counted whose year has no holiday list yet.
    pub provisional: bool,
}

/// Which days are worked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calendar {
    worked: BTreeMap<Date, bool>,
    years: BTreeSet<i16>,
}

impl Calendar {
    /// The embedded lists, 2015 to 2026.
    ///
    /// Source: the yearly notices of the State Council's general office (节假日安排的通知).
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<Calendar> = LazyLock::new(|| {
            Calendar::from_csv(include_str!("../data/workdays.csv")).unwrap_or_default()
        });
        BUILTIN.clone()
    }

    /// Reads a list `date,weekday,kind,holiday,notice_year`; only the days that differ from a
    /// plain week are listed.
    ///
    /// # Errors
    /// When a line has no date or is neither `work` nor `off`, or when there is no line.
    pub fn from_csv(csv: &str) -> Result<Self, CalendarError> {
        let mut calendar = Self::default();
        for (line, row) in table::rows(csv)? {
            let text = table::needed(&row, 0, line, "date")?;
            let bad_date = || CalendarError::Date { line, text: text.to_owned() };
            let date: Date = text.parse().ok().ok_or_else(bad_date)?;
            let worked = match table::needed(&row, 2, line, "kind")? {
                "work" => true,
                "off" => false,
                other => return Err(CalendarError::Kind { line, text: other.to_owned() }),
            };
            // A notice also lists days of the next January, which does not make the next year
            // known.
            let year = row.get(4).and_then(|year| year.trim().parse().ok());
            calendar.years.insert(year.unwrap_or(date.year()));
            calendar.worked.insert(date, worked);
        }
        if calendar.worked.is_empty() { Err(CalendarError::Empty) } else { Ok(calendar) }
    }

    /// Adds the lists of another calendar; where both name a day, the other wins.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.worked.extend(other.worked);
        self.years.extend(other.years);
        self
    }

    /// The years that have a list.
    pub fn years(&self) -> impl Iterator<Item = i16> + '_ {
        self.years.iter().copied()
    }

    /// Whether the day is worked, and whether that is provisional.
    pub fn is_working_day(&self, date: Date) -> (bool, bool) {
        match self.worked.get(&date) {
            Some(worked) => (*worked, false),
            None => (
                !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday),
                !self.years.contains(&date.year()),
            ),
        }
    }

    /// The last day of a term of so many working days. The day of the event is day 0.
    ///
    /// Source: plan 二(一)2 (2 working days) and 二(一)4 (10 working days).
    pub fn due(&self, start: Date, working_days: u32) -> Deadline {
        let mut deadline = Deadline { date: start, provisional: false };
        let mut left = working_days;
        while left > 0 {
            // The calendar of the library ends with the year 9999; a term that long ends there too.
            let Ok(next) = deadline.date.tomorrow() else { break };
            let (worked, provisional) = self.is_working_day(next);
            deadline.date = next;
            deadline.provisional |= provisional;
            left -= u32::from(worked);
        }
        deadline
    }

    /// Working days after `from` up to and including `to`; 0 when `to` is not later.
    pub fn working_days_between(&self, from: Date, to: Date) -> u32 {
        let mut count = 0;
        let mut day = from;
        while day < to {
            let Ok(next) = day.tomorrow() else { break };
            count += u32::from(self.is_working_day(next).0);
            day = next;
        }
        count
    }
}
