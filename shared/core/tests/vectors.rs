//! Codes with check digits and deadlines, against vectors made elsewhere.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::civil::{Date, date};
use liandong_core::calendar::Calendar;
use liandong_core::code::citizen_id::{self, Form};
use liandong_core::code::{Uscc, read};

fn rows(csv: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(csv.as_bytes()).records().map(Result::unwrap).collect()
}

#[test]
fn credit_codes_are_judged_as_in_the_vectors() {
    for row in rows(include_str!("vectors/uscc.csv")) {
        let (code, expect) = (&row[0], &row[1]);
        let strict = Uscc::parse_canonical(code);
        let lenient = Uscc::parse(code);
        match expect {
            "valid" => assert_eq!(strict.unwrap().as_str(), code),
            after if after.starts_with("valid-after") => {
                assert!(strict.is_err(), "{code} is not canonical");
                assert_eq!(lenient.unwrap().as_str(), "91110000600037341L");
            }
            _ => assert!(strict.is_err(), "{code} should be refused: {}", &row[2]),
        }
    }
}

#[test]
fn a_full_width_code_is_read_as_the_code_it_shows() {
    assert_eq!(Uscc::parse("１13100009GXLH0KJ9G").unwrap().as_str(), "113100009GXLH0KJ9G");
}

#[test]
fn the_inner_organisation_code_of_the_vectors_is_right_and_a_changed_one_is_not() {
    for row in rows(include_str!("vectors/uscc.csv")).iter().filter(|row| &row[1] == "valid") {
        assert!(Uscc::parse(&row[0]).unwrap().inner_is_right(), "{}", &row[0]);
    }
    let wrong_inside = with_check("11310000AGXLH0KJ9");
    assert!(!Uscc::parse(&wrong_inside).unwrap().inner_is_right());
}

/// Appends the character that makes the code right outside.
fn with_check(body: &str) -> String {
    let all = "0123456789ABCDEFGHJKLMNPQRTUWXY".chars();
    all.map(|c| format!("{body}{c}")).find(|code| Uscc::parse(code).is_ok()).unwrap()
}

#[test]
fn citizen_numbers_are_judged_as_in_the_vectors() {
    for row in rows(include_str!("vectors/citizen_id.csv")) {
        let judged = citizen_id::check(&row[0]);
        match &row[1] {
            "valid" => assert_eq!(judged, Ok(Form::Eighteen), "{}", &row[2]),
            "legacy-15-digit" => assert_eq!(judged, Ok(Form::Fifteen)),
            _ => assert!(judged.is_err(), "{} should be refused: {}", &row[0], &row[2]),
        }
    }
}

#[test]
fn deadlines_fall_on_the_days_of_the_vectors() {
    let calendar = Calendar::builtin();
    for row in rows(include_str!("vectors/workday_deadlines.csv")) {
        let start: Date = row[0].parse().unwrap();
        let days: u32 = row[3].parse().unwrap();
        let due: Date = row[4].parse().unwrap();
        let deadline = calendar.due(start, days);
        assert_eq!((deadline.date, deadline.provisional), (due, false), "{start} + {days}");
        assert_eq!(calendar.is_working_day(start).0, &row[2] == "1");
        assert_eq!(calendar.working_days_between(start, due), days);
        assert_eq!(calendar.working_days_between(start, due.tomorrow().unwrap()) > days, {
            calendar.is_working_day(due.tomorrow().unwrap()).0
        });
    }
}

#[test]
fn a_year_has_the_working_days_of_its_notice() {
    let calendar = Calendar::builtin();
    for (year, days) in [(2016, 250), (2024, 251), (2025, 248), (2026, 248)] {
        let from = date(year - 1, 12, 31);
        assert_eq!(calendar.working_days_between(from, date(year, 12, 31)), days, "{year}");
    }
    assert_eq!(calendar.years().collect::<Vec<_>>(), (2015..=2026).collect::<Vec<_>>());
}

#[test]
fn a_deadline_past_the_last_list_is_provisional_until_the_list_is_loaded() {
    let calendar = Calendar::builtin();
    let open = calendar.due(date(2026, 12, 31), 2);
    assert!(open.provisional);
    assert_eq!(open.date, date(2027, 1, 4));
    let list = "date,weekday,kind,holiday,notice_year\n2027-01-04,Mon,off,元旦,2027\n";
    let closed = calendar.with(Calendar::from_csv(list).unwrap()).due(date(2026, 12, 31), 2);
    assert!(!closed.provisional);
    assert_eq!(closed.date, date(2027, 1, 5));
}

#[test]
fn a_bad_holiday_list_is_refused_by_line() {
    for (list, words) in [
        ("date,weekday,kind\n2027-13-01,Mon,off\n", "line 2"),
        ("date,weekday,kind\n2027-01-01,Fri,maybe\n", "maybe"),
        ("date,weekday,kind\n2027-01-01,Fri\n", "no kind"),
        ("date,weekday,kind\n", "empty"),
    ] {
        let refused = Calendar::from_csv(list).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn a_term_of_no_days_ends_at_once_and_an_endless_one_ends_with_the_calendar() {
    let calendar = Calendar::builtin();
    assert_eq!(calendar.due(date(2016, 10, 1), 0).date, date(2016, 10, 1));
    assert_eq!(calendar.due(Date::MAX, u32::MAX).date, Date::MAX);
}

#[test]
fn dates_are_read_in_every_spelling_of_the_portals() {
    let day = Some(date(2023, 6, 16));
    for text in [
        "2023-6-16",
        "2023-06-16",
        "2023/6/16",
        "2023.06.16",
        "2023年6月16日",
        "２０２３年６月１６日",
        "20230616",
        "20230616083000",
        "2023-06-16T08:30:00",
        "2023-06-16T08:30:00.000+08:00",
        "2023-06-16 08:30:00.0",
        "1686873600000",
    ] {
        assert_eq!(read::date(text), day, "{text}");
    }
    for text in ["", "2023-06", "2023年6月", "2023-02-30", "16/6/2023", "昨天", "0", "2023-6-16x"]
    {
        assert_eq!(read::date(text), None, "{text}");
    }
}

#[test]
fn counts_and_sizes_are_read_with_their_units() {
    for (text, count) in [("1,234", Some(1234)), ("12条", Some(12)), ("12万", None), ("", None)] {
        assert_eq!(read::count(text), count, "{text}");
    }
    for (text, size) in [
        ("20KB", Some(20 * 1024)),
        ("1.5 MB", Some(1_572_864)),
        ("2G", Some(2 << 30)),
        ("100", Some(100)),
        ("100字节", Some(100)),
        ("1.b", Some(1)),
        ("很多", None),
        ("MB", None),
    ] {
        assert_eq!(read::size(text), size, "{text}");
    }
}
