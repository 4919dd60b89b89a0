//! What a record is filed under besides its own fields: level, base database, freshness, year.

use std::collections::BTreeSet;

use jiff::{ToSpan as _, civil::Date};

use crate::{
    code::{Delivery, ShareMode},
    id::DistrictCode,
    record::Record,
};

/// Endings of the names of departments below a district.
const TOWN_ENDINGS: [&str; 8] =
    ["街道", "街道办事处", "街道办", "镇", "镇人民政府", "镇政府", "乡人民政府", "乡"];

/// Words that name one of the three base databases, with its name.
///
/// Source: plan 二(二)3, 人口、法人、空间地理.
const BASE_DATABASES: [(&str, &str); 6] = [
    ("人口基础", "population"),
    ("人口库", "population"),
    ("法人基础", "legal_person"),
    ("法人库", "legal_person"),
    ("空间地理", "geography"),
    ("地理空间", "geography"),
];

/// The level a record comes from: `city`, `district` or `town`.
pub fn level(code: &DistrictCode, record: &Record) -> &'static str {
    let provider = record.provider.name.trim();
    if code.as_str().ends_with("00") {
        "city"
    } else if TOWN_ENDINGS.iter().any(|ending| provider.ends_with(ending)) {
        "town"
    } else {
        "district"
    }
}

/// The base database that a record belongs to: `population`, `legal_person` or `geography`, or none.
///
/// The entry names it in the local field `base_db`, or its class does.
pub fn base_database(record: &Record) -> Option<&'static str> {
    let said = record.extensions.get("base_db").map(String::as_str);
    let named = |value: &str| {
        let by_code = BASE_DATABASES.iter().find(|(_, name)| value.trim() == *name);
        by_code.or_else(|| BASE_DATABASES.iter().find(|(word, _)| value.contains(word)))
    };
    let class = record.class.as_deref();
    let theme = record.theme.as_deref();
    [said, class, theme].into_iter().flatten().find_map(named).map(|(_, name)| *name)
}

/// Every way in which the record's data are given out.
pub fn deliveries(record: &Record) -> BTreeSet<&'static str> {
    let own = record.distributions.iter().map(|distribution| distribution.mode.code());
    let shared = record.share.iter().flat_map(|share| &share.modes).map(|mode| match mode {
        ShareMode::Api => Delivery::Api.code(),
        ShareMode::File | ShareMode::Table => Delivery::File.code(),
        ShareMode::Offline => Delivery::Offline.code(),
    });
    let own: BTreeSet<_> = own.collect();
    if own.is_empty() { shared.collect() } else { own }
}

/// Formats of the data, upper case as people write them.
pub fn formats(record: &Record) -> BTreeSet<String> {
    record.formats.iter().map(|format| format.to_uppercase()).collect()
}

/// How the data stand to the promised cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Renewed within the cycle.
    Fresh,
    /// Later than promised.
    Overdue,
    /// Nothing was promised, or nobody said when the data were renewed.
    Unknown,
}

impl Freshness {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Overdue, Self::Unknown];

    /// Name in answers and addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Overdue => "overdue",
            Self::Unknown => "unknown",
        }
    }

    /// The state on a day, of data that are due on another.
    pub fn on(today: Date, due: Option<Date>) -> Self {
        match due {
            None => Self::Unknown,
            Some(due) if due < today => Self::Overdue,
            Some(_) => Self::Fresh,
        }
    }
}

/// The last day on which the data are as fresh as promised; none when nothing was promised.
pub fn due(record: &Record) -> Option<Date> {
    record.next_due.or_else(|| {
        let days = record.update_cycle?.max_age_days()?;
        record.data_updated?.checked_add(i64::from(days).days()).ok()
    })
}

/// The year that the data stand for: of their last renewal, else of the entry.
pub fn year(record: &Record) -> Option<i16> {
    record.data_updated.or(record.modified).or(record.published).map(Date::year)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::code::UpdateCycle;

    #[test]
    fn the_level_is_told_by_code_and_provider() {
        let rows = [
            ("310000", "市交通委", "city"),
            ("310115", "浦东新区统计局", "district"),
            ("310115", "陆家嘴街道办事处", "town"),
            ("310115", "川沙新镇人民政府", "town"),
        ];
        for (code, provider, expected) in rows {
            let mut record = Record::default();
            record.provider.name = provider.to_owned();
            assert_eq!(level(&code.parse().unwrap(), &record), expected, "{provider}");
        }
    }

    #[test]
    fn data_are_fresh_until_the_cycle_is_over() {
        let mut record = Record {
            update_cycle: Some(UpdateCycle::Monthly),
            data_updated: Some(date(2026, 1, 1)),
            ..Record::default()
        };
        assert_eq!(due(&record), Some(date(2026, 2, 1)));
        assert_eq!(Freshness::on(date(2026, 2, 1), due(&record)), Freshness::Fresh);
        assert_eq!(Freshness::on(date(2026, 2, 2), due(&record)), Freshness::Overdue);
        record.next_due = Some(date(2026, 3, 1));
        assert_eq!(Freshness::on(date(2026, 2, 2), due(&record)), Freshness::Fresh);
        record = Record { update_cycle: Some(UpdateCycle::Static), ..record };
        record.next_due = None;
        assert_eq!(Freshness::on(date(2036, 2, 2), due(&record)), Freshness::Unknown);
    }

    #[test]
    fn a_base_database_is_named_by_the_entry_or_its_class() {
        let mut record =
            Record { class: Some("法人基础信息".to_owned()), ..Record::default() };
        assert_eq!(base_database(&record), Some("legal_person"));
        record.extensions.insert("base_db".to_owned(), "population".to_owned());
        assert_eq!(base_database(&record), Some("population"));
        assert_eq!(base_database(&Record::default()), None);
    }
}
