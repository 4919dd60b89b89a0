//! Rows become drafts by tables; and real catalogues become records.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::civil::{Date, date};
use liandong_core::mapping::{Mapping, RawRow};
use liandong_core::record::{Identifier, Record};
use liandong_core::validate::{Checked, Draft, Severity, check};
use proptest::prelude::*;
use serde_json::{Value, json};

const TODAY: Date = date(2026, 11, 23);

fn row(json: &Value) -> RawRow {
    let cells = json.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    RawRow { row: 1, cells }
}

fn draft(json: &Value) -> Draft {
    Mapping::builtin().draft(&row(json)).0
}

fn record(json: &Value) -> Record {
    let checked = check(draft(json), TODAY);
    checked.record.unwrap_or_else(|| panic!("{:?}", checked.faults))
}

#[test]
fn a_portal_row_becomes_a_record() {
    let record = record(&json!({
        "标题": "审核结果公布", "来源部门": "某局", "重点领域": "资源环境", "所属行业": "暂无",
        "发布时间": "2022-1-4", "最后更新": "2022/6/23", "开放条件": "无条件开放",
        "更新频率": "‘每年’", "部门电话": "", "标签": "国土资源、能源\r\n\t软件业", "描述": "结果公示",
        "详情页网址": "https://example.cn/1", "数据格式": "['xls', 'csv']", "街镇": " 原样 ",
    }));
    let value: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
    assert_eq!(
        value,
        json!({
            "title": "审核结果公布", "abstract": "结果公示", "keywords": ["国土资源、能源", "软件业"],
            "provider": {"name": "某局"}, "theme": "资源环境", "open": {"kind": "1"},
            "formats": ["csv", "xls"], "update_cycle": "8", "data_updated": "2022-06-23",
            "published": "2022-01-04",
            "identifiers": [{"scheme": "url", "value": "https://example.cn/1"}],
            "extensions": {"街镇": " 原样 "},
        })
    );
}

#[test]
fn a_label_is_known_whatever_stands_around_it() {
    for label in
        ["标题", " 标题：", "*标题", "标题（必填）", "标　题:", "【必填】标题", "Title", "TITLE "]
    {
        assert_eq!(draft(&json!({label: "甲"})).title.as_deref(), Some("甲"), "{label}");
    }
}

#[test]
fn a_value_lands_where_its_column_and_its_content_say() {
    for (cells, field, expected) in [
        (json!({"开放条件": "有条件开放"}), "open.kind", "2"),
        (json!({"开放条件": "需签协议"}), "open.condition", "需签协议"),
        (json!({"开放类型": "实名注册用户可下载"}), "open.kind", "2"),
        (json!({"开放类型": "实名注册用户可下载"}), "open.condition", "实名注册用户可下载"),
        (json!({"开放类型": "普通公开，简单注册用户可下载"}), "open.kind", "2"),
        (json!({"开放类型": "无条件共享"}), "open.kind", "1"),
        (json!({"开放类型": "无条件共享"}), "share.kind", "无条件共享"),
        (json!({"是否向社会开放": "是"}), "open.kind", "1"),
        (json!({"是否向社会开放": "是", "开放条件": "签协议"}), "open.kind", "2"),
        (json!({"是否向社会开放": "否"}), "open.kind", "3"),
        (json!({"共享方式": "有条件共享"}), "share.kind", "2"),
        (json!({"联系方式": "a@b.cn"}), "provider.contact.email", "a@b.cn"),
        (json!({"联系方式": "021-1"}), "provider.contact.phone", "021-1"),
        (json!({"数据量": "1200"}), "rows", "1200"),
        (json!({"数据量": "12MB"}), "bytes", "12MB"),
        (json!({"数据容量(MB)": "12"}), "bytes", "12mb"),
        (json!({"数据主题": "综合政务", "数据领域": "生活服务"}), "theme", "综合政务"),
        (json!({"数据主题": "综合政务", "数据领域": "生活服务"}), "local_theme", "生活服务"),
        (json!({"数据领域": "道路交通，"}), "theme", "道路交通"),
        (json!({"资源提供方内部部门": "信息科"}), "provider.unit", "信息科"),
    ] {
        let mut draft = draft(&cells);
        let liandong_core::validate::Slot::One(value) = draft.slot(field).unwrap() else {
            panic!("{field} is no list");
        };
        assert_eq!(value.as_deref(), Some(expected), "{cells}");
    }
}

#[test]
fn lists_are_split_by_what_separates_them() {
    for (text, words) in [
        ("['xls', 'csv']", vec!["xls", "csv"]),
        ("a,b；c", vec!["a", "b", "c"]),
        ("a\r\n\t\tb", vec!["a", "b"]),
        ("姓名、机构、学历", vec!["姓名", "机构", "学历"]),
        ("农、林、牧、渔业，教育", vec!["农、林、牧、渔业", "教育"]),
        ("暂无", vec![]),
    ] {
        assert_eq!(draft(&json!({"标签": text})).keywords, words, "{text}");
    }
    assert_eq!(draft(&json!({"tags": [{"name": "a"}, "b"]})).keywords, ["a", "b"]);
}

#[test]
fn the_first_filled_column_wins_and_the_second_is_kept() {
    let two = json!({"标题": "", "名称": "甲", "数据集名称": "乙"});
    let (draft, faults) = Mapping::builtin().draft(&row(&two));
    assert_eq!(draft.title.as_deref(), Some("甲"));
    assert_eq!(draft.extensions, BTreeMap::from([("数据集名称".into(), "乙".into())]));
    assert_eq!(faults[0].rule, "R04.column.second");
}

#[test]
fn items_come_as_names_or_as_objects_with_labels_of_their_own() {
    let names = draft(&json!({"数据项": "姓名、身份证号"}));
    assert_eq!(names.items[1].name.as_deref(), Some("身份证号"));
    let objects = draft(&json!({"信息项": [
        {"信息项名称": "姓名", "数据类型": "字符型", "数据长度": 50, "公开属性": "不公开",
         "不予公开理由": "个人信息", "街镇列": "x"},
    ]}));
    let item = &objects.items[0];
    assert_eq!((item.data_type.as_deref(), item.open.as_deref()), (Some("C"), Some("3")));
    assert_eq!(item.length.as_deref(), Some("50"));
    assert_eq!(objects.extensions["items[0].街镇列"], "x");
}

fn rich() -> Record {
    record(&json!({
        "title": "停车场泊位信息", "abstract": "说明\n两行", "keywords": ["停车"], "code": "307001/000010",
        "provider": {"name": "某委", "uscc": "11310107YLTRBLM68R", "unit": "信息科",
            "contact": {"name": "张三", "phone": "021-55550123", "email": "a@b.cn"}},
        "class": "交通", "theme": "道路交通", "local_theme": "交通运输", "industry": "交通运输业",
        "key_theme": {"area": "城市安全", "sub_area": "交通出行"},
        "share": {"kind": "2", "condition": "履职需要", "modes": ["1", "2"]},
        "open": {"kind": "2", "condition": "签协议"},
        "items": [{"name": "泊位数", "column": "BW", "data_type": "I", "length": 6, "share": "3",
            "share_reason": "内部", "open": "3", "open_reason": "内部", "mask_rule": "band",
            "authoritative": true, "note": "备注"}],
        "formats": ["csv"], "charset": "UTF-8", "update_cycle": "5", "rows": 12, "bytes": 2048,
        "data_updated": "2026-11-01", "next_due": "2026-12-01", "published": "2020-01-01",
        "modified": "2026-11-01",
        "distributions": [{"mode": "api", "url": "https://a.cn/api",
            "media_type": "application/json",
            "encoding": "UTF-8", "checksum": "sha256:00", "bytes": 10, "description": "说明",
            "sla": "99%", "licence": "CC-BY-4.0", "masked": true}],
        "identifiers": [{"scheme": "id", "value": "x-1"},
            {"scheme": "url", "value": "https://a.cn/1"}],
        "related": ["307001/000011"], "projects": ["P1"], "systems": ["S1"],
        "validity": {"from": "2020-01-01", "until": "2030-01-01"},
        "extensions": {"街镇 ": " 原样\r\n", "title": "另一个"},
    }))
}

#[test]
fn our_own_json_comes_back_as_the_same_record() {
    let record = rich();
    let value: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 29, "every field of the type is tried");
    let (draft, faults) = Mapping::builtin().draft(&row(&value));
    assert_eq!(faults, []);
    assert_eq!(check(draft, TODAY).record.unwrap(), record);
}

#[test]
fn a_flat_export_comes_back_as_the_same_record() {
    let record = rich();
    let value: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
    let mut cells = Vec::new();
    flatten("", &value, &mut cells);
    let (draft, faults) = Mapping::builtin().draft(&RawRow { row: 1, cells });
    assert_eq!(faults, []);
    assert_eq!(check(draft, TODAY).record.unwrap(), record);
}

/// Writes a record as a spreadsheet would hold it: one text a cell, parts as JSON.
fn flatten(path: &str, value: &Value, cells: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(parts) if path != "extensions" => {
            for (name, value) in parts {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, cells);
            }
        }
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            cells.push((path.to_owned(), texts.join("；").into()));
        }
        Value::String(text) => cells.push((path.to_owned(), text.clone().into())),
        other => cells.push((path.to_owned(), other.to_string().into())),
    }
}

#[test]
fn a_node_can_add_labels_and_spellings_of_its_own() {
    let mapping = Mapping::builtin()
        .with_labels_csv("label,field\n泊位表名,title\n")
        .unwrap()
        .with_values_csv("field,raw,canonical,also\ntheme,交通运输,道路交通,local_theme\n")
        .unwrap();
    let (draft, _) = mapping.draft(&row(&json!({"泊位表名": "甲", "数据领域": "交通运输"})));
    assert_eq!(draft.title.as_deref(), Some("甲"));
    assert_eq!(draft.theme.as_deref(), Some("道路交通"));
    assert_eq!(draft.local_theme.as_deref(), Some("交通运输"));
    let refused = Mapping::builtin().with_labels_csv("label,field\n甲,\n").unwrap_err();
    assert_eq!(refused.to_string(), "line 2 of the table has no field");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(Value::from("[{\"name\":1}]")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec((label(), inner), 0..3)
                .prop_map(|parts| Value::Object(parts.into_iter().collect())),
        ]
    })
}

fn label() -> impl Strategy<Value = String> {
    let known =
        ["标题", "items", "distributions", "identifiers", "extensions", "provider", "share"];
    let more = ["open", "开放条件", "数据量", "是否向社会开放", "name", "url", "密级", "keywords"];
    let known: Vec<&str> = known.into_iter().chain(more).collect();
    prop_oneof![3 => proptest::sample::select(known).prop_map(str::to_owned), 1 => ".{0,5}"]
}

proptest! {
    #[test]
    fn no_row_makes_the_mapping_stumble(
        cells in proptest::collection::vec((label(), any_json()), 0..6)
    ) {
        let (draft, _) = Mapping::builtin().draft(&RawRow { row: 1, cells });
        let _ = check(draft, TODAY);
    }

    #[test]
    fn an_unknown_column_is_kept_byte_for_byte(text in any::<String>()) {
        let draft = draft(&json!({"没有人认识的列": text.clone()}));
        let kept = draft.extensions.get("没有人认识的列").cloned().unwrap_or_default();
        prop_assert_eq!(kept, text);
    }
}

/// Where real catalogues lie, if somebody put them there.
fn real() -> Option<PathBuf> {
    let given = std::env::var_os("LIANDONG_REAL").map(PathBuf::from);
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real");
    let folder = given.unwrap_or_else(beside).join("zh-catalogs");
    folder.is_dir().then_some(folder)
}

/// Prints what a check of a catalogue found, and returns what it refused by rule.
fn summary(name: &str, mapping: &Mapping, rows: &[Value]) -> BTreeMap<String, usize> {
    let (mut rules, mut refused, mut grades) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (number, json) in rows.iter().enumerate() {
        let (draft, mut faults) = mapping.draft(&row(json));
        let unknown = draft.extensions.keys().find(|key| !key.starts_with("raw:"));
        assert_eq!(unknown, None, "every column of {name} is known");
        let Checked { record, faults: more, grade } = check(draft, TODAY);
        faults.extend(more);
        for fault in &faults {
            *rules.entry((fault.severity, fault.rule)).or_insert(0) += 1;
        }
        *grades.entry(grade).or_insert(0) += 1;
        if let Some(record) = record {
            let again = check(Draft::from(&record), TODAY).record.unwrap();
            assert_eq!(again, record);
            let [Identifier { scheme, .. }] = record.identifiers.as_slice() else {
                panic!("{name} row {}: no address", number + 1);
            };
            assert_eq!(scheme, "url");
            continue;
        }
        let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
        let ids: Vec<_> = errors.map(|fault| fault.rule).collect();
        println!("{name} row {}: refused by {}", number + 1, ids.join(", "));
        *refused.entry(ids.join(" ")).or_insert(0) += 1;
    }
    println!("{name}: {} rows, grades {grades:?}", rows.len());
    for ((severity, rule), count) in rules {
        println!("    {severity:?} {rule}: {count}");
    }
    refused
}

#[test]
fn real_catalogues_are_taken_but_for_rows_without_title_and_provider() {
    let Some(folder) = real() else {
        println!("skipped: no real catalogues here; LIANDONG_REAL can name their folder");
        return;
    };
    let mapping = Mapping::builtin();
    for (name, refused) in [
        ("ningxia_ningxia", 0),
        ("ningxia_yinchuan", 0),
        ("sichuan_luzhou", 5),
        ("xinjiang_wlmq", 0),
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let found = summary(name, &mapping, &rows);
        assert_eq!(found.values().sum::<usize>(), refused, "{found:?}");
        if refused > 0 {
            assert_eq!(found["R04.title.missing R04.provider.missing"], refused);
        }
    }
}

#[test]
fn every_label_seen_on_the_portals_of_26_provinces_is_known() {
    let path = real().map(|folder| folder.join("../standards/cnpds_field_mapping.json"));
    let Some(text) = path.and_then(|path| std::fs::read_to_string(path).ok()) else {
        println!("skipped: no list of labels here");
        return;
    };
    let table: Value = serde_json::from_str(&text).unwrap();
    let labels = table["common"].as_object().unwrap();
    let mapping = Mapping::builtin();
    let unknown: Vec<_> = labels.keys().filter(|label| !mapping.knows(label)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
