use std::collections::{HashMap, HashSet};

use liandong_core::mapping::{Mapping, RawRow};
use liandong_core::validate::{Severity, check};

use super::*;

const SEED: u64 = 42;

fn some(count: usize) -> Vec<District> {
    districts(count)
}

fn text<'a>(row: &'a Map<String, Value>, label: &str) -> &'a str {
    row.get(label).and_then(Value::as_str).unwrap_or_else(|| panic!("no {label} in {row:?}"))
}

fn items(row: &Map<String, Value>) -> &[Value] {
    row["信息项"].as_array().expect("a list")
}

/// GB 32100-2015: the weighted sum of all 18 characters is a multiple of 31. Written anew, apart
/// from what it checks.
fn is_credit_code(code: &str) -> bool {
    let alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY";
    let values: Option<Vec<usize>> = code.chars().map(|c| alphabet.find(c)).collect();
    let weights = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28, 1];
    values.is_some_and(|values| {
        values.len() == 18
            && values.iter().zip(weights).map(|(v, w)| v * w).sum::<usize>() % 31 == 0
    })
}

#[test]
fn the_tables_are_whole() {
    let v = &*VOCABULARY;
    assert_eq!(v.districts.len(), 16);
    assert_eq!(v.titles.len(), 319 - 11 + 28);
    assert!(v.heads.len() >= 20 && v.tails.len() >= 15);
    for title in &v.titles {
        assert!(title.fields.len() >= 5, "{title:?}");
        assert!(!v.purposes(&title.theme).is_empty(), "{title:?}");
        assert!(["公开", "依申请公开", "不公开"].contains(&title.open.as_str()), "{title:?}");
        assert!(["普遍共享", "按需共享", "不共享"].contains(&title.share.as_str()), "{title:?}");
    }
}

#[test]
fn the_real_districts_come_first_and_made_up_ones_after() {
    let all = some(120);
    assert_eq!((all[0].code.as_str(), all[0].name.as_str()), ("310101", "黄浦区"));
    assert_eq!((all[15].code.as_str(), all[15].name.as_str()), ("310151", "崇明区"));
    assert_eq!((all[16].code.as_str(), all[16].name.as_str()), ("310917", "试点区17"));
    assert_eq!(all.iter().map(|d| &d.code).collect::<HashSet<_>>().len(), 120);
    assert!(all.iter().all(|d| d.code.len() == 6));
    assert!(some(0).is_empty());
}

#[test]
fn the_same_district_and_seed_give_the_same_rows_however_many_are_asked_for() {
    let district = &some(3)[2];
    let short: Vec<_> = rows(district, 50, SEED).collect();
    let long: Vec<_> = rows(district, 500, SEED).take(50).collect();
    assert_eq!(short, long);
    let other: Vec<_> = rows(district, 50, SEED + 1).collect();
    assert_ne!(short, other);
}

#[test]
fn every_row_has_its_own_code_and_its_own_title_with_provider() {
    let mut codes = HashSet::new();
    for district in [&some(1)[0], &some(17)[16]] {
        let mut names = HashSet::new();
        for row in rows(district, 60_000, SEED) {
            assert!(codes.insert(text(&row, "信息资源代码").to_owned()), "{row:?}");
            let name = format!("{}|{}", text(&row, "信息资源名称"), text(&row, "信息资源提供方"));
            assert!(names.insert(name), "{row:?}");
        }
    }
}

#[test]
fn every_row_is_complete_and_of_a_plausible_size() {
    let mut total = 0;
    for district in some(17) {
        for row in rows(&district, 700, SEED) {
            let size = serde_json::to_string(&row).expect("json").len();
            assert!((1_300..=2_900).contains(&size), "{size}: {row:?}");
            total += size;
            let summary = text(&row, "信息资源摘要");
            assert!((40..=160).contains(&summary.chars().count()), "{summary}");
            assert_ne!(summary, text(&row, "信息资源名称"));
            assert!((4..=14).contains(&items(&row).len()), "{row:?}");
            for label in ["发布日期", "更新日期"] {
                assert!(("2016-05-20"..="2026-10-31").contains(&text(&row, label)), "{row:?}");
            }
            assert!(text(&row, "发布日期") <= text(&row, "更新日期"), "{row:?}");
            assert!(is_credit_code(text(&row, "信息资源提供方代码")), "{row:?}");
            let phone = text(&row, "联系电话");
            assert!(phone.len() == 12 && phone.starts_with("021-5"), "{phone}");
            assert!(row["数据量"].as_u64().is_some_and(|rows| rows > 0));
            let reason = match (text(&row, "共享类型"), text(&row, "开放类型")) {
                ("不共享", _) => Some("不予共享理由"),
                ("按需共享", _) => Some("共享条件"),
                (_, "依申请公开") => Some("开放条件"),
                (_, "不公开") => Some("不予公开理由"),
                _ => None,
            };
            assert!(reason.is_none_or(|label| !text(&row, label).is_empty()), "{row:?}");
        }
    }
    let mean = total / (17 * 700);
    assert!((1_500..=2_500).contains(&mean), "{mean}");
}

#[test]
fn no_personal_item_is_open_without_a_mask_rule() {
    let personal: HashSet<&str> = VOCABULARY
        .fields
        .iter()
        .filter(|field| field.personal.is_some())
        .map(|field| field.name.as_str())
        .collect();
    assert!(personal.contains("公民身份号码") && personal.contains("手机号码"));
    let mut seen = 0;
    for row in rows(&some(5)[4], 10_000, SEED) {
        let open = text(&row, "开放类型");
        for item in items(&row) {
            let name = item["name"].as_str().expect("a name");
            let shown = item["open"].as_str().expect("open");
            assert!(open != "公开" || shown == "公开", "an open entry has no closed item: {row:?}");
            if shown == "不公开" {
                assert!(item["open_reason"].is_string(), "{row:?}");
            } else if personal.contains(name) {
                seen += 1;
                assert!(item["mask_rule"].is_string(), "{row:?}");
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn searches_for_buses_libraries_and_museums_have_hits() {
    let rows: Vec<_> = rows(&some(1)[0], 400, SEED).collect();
    for word in ["公交线路", "公交站点", "图书馆", "博物馆藏品"] {
        assert!(rows.iter().any(|row| text(row, "信息资源名称").contains(word)), "{word}");
    }
}

#[test]
fn a_file_holds_one_row_a_line() {
    let folder = std::env::temp_dir().join(format!("liandong-generate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    let path = folder.join("rows.jsonl");
    write_jsonl(&path, &some(1)[0], 300, SEED).expect("written");
    let content = std::fs::read_to_string(&path).expect("read");
    std::fs::remove_dir_all(&folder).expect("removed");
    let read: Vec<Map<String, Value>> =
        content.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(read, rows(&some(1)[0], 300, SEED).collect::<Vec<_>>());
}

#[test]
fn a_generated_catalogue_passes_the_check_of_the_real_thing() {
    let mapping = Mapping::builtin();
    let mut told: HashMap<&str, usize> = HashMap::new();
    for district in [&some(1)[0], &some(17)[16]] {
        for (index, row) in rows(district, 2_000, SEED).enumerate() {
            for label in row.keys() {
                assert!(mapping.knows(label), "{label}");
            }
            let raw = RawRow { row: index as u64 + 1, cells: row.into_iter().collect() };
            let (draft, mut faults) = mapping.draft(&raw);
            let checked = check(draft, "2026-11-01".parse().expect("a day"));
            faults.extend(checked.faults);
            for fault in faults {
                assert_eq!(fault.severity, Severity::Info, "{fault:?} {raw:?}");
                *told.entry(fault.rule).or_default() += 1;
            }
        }
    }
    // Some entries are overdue and some have no service or file yet, on purpose; nothing else is
    // worth a remark.
    let meant = ["R10.share.undelivered", "R20.open.undelivered", "R25.update.overdue"];
    assert!(told.iter().all(|(rule, count)| meant.contains(rule) && *count < 800), "{told:?}");
}
