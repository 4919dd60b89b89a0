//! Every rule of the check: a whole entry has no fault, and for each rule there is an entry that
//! breaks only it.

#![expect(clippy::unnecessary_wraps, reason = "helpers of tests")]

use std::collections::BTreeSet;

use jiff::civil::{Date, date};
use liandong_core::mapping::{Mapping, RawRow};
use liandong_core::record::limit;
use liandong_core::validate::{
    Draft, DraftDistribution, DraftItem, Grade, RULES, Severity, check, recheck,
};

const TODAY: Date = date(2016, 5, 11);

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

/// An entry with nothing to remark.
fn whole() -> Draft {
    let item = |name| DraftItem { name: some(name), data_type: some("C"), ..DraftItem::default() };
    Draft {
        title: some("停车场泊位信息"),
        summary: some("本区公共停车场的名称、位置和空余泊位"),
        keywords: vec!["停车".into(), "泊位".into()],
        code: some("307001/000010"),
        provider_name: some("普陀区建设交通委"),
        provider_uscc: some("11310107YLTRBLM68R"),
        contact_phone: some("021-55550123"),
        contact_email: some("office@example.cn"),
        theme: some("道路交通"),
        key_area: some("城市安全"),
        key_sub_area: some("交通出行"),
        share_kind: some("普遍共享"),
        share_modes: vec!["接口".into()],
        open_kind: some("公开"),
        items: vec![item("停车场名称"), item("空余泊位数")],
        formats: vec!["csv".into()],
        charset: some("UTF-8"),
        update_cycle: some("每月"),
        rows: some("1200"),
        bytes: some("20KB"),
        data_updated: some("2016-05-01"),
        published: some("2015-01-01"),
        modified: some("2016-05-01"),
        distributions: vec![DraftDistribution {
            mode: some("file"),
            url: some("https://data.example.cn/parking.csv"),
            ..DraftDistribution::default()
        }],
        valid_from: some("2015-01-01"),
        valid_until: some("2020-01-01"),
        ..Draft::default()
    }
}

fn secret(draft: &mut Draft, mark: &str) {
    draft.extensions.insert("涉密属性".into(), mark.into());
}

/// Closes the entry with a reason, so that rules about what is open do not speak.
fn closed(draft: &mut Draft) {
    draft.open_kind = some("不公开");
    draft.open_reason = some("涉及商业秘密");
}

type Break = fn(&mut Draft);

/// One change for each rule that breaks it and nothing else.
const BREAKS: &[(&str, Break)] = &[
    ("R04.title.missing", |d| d.title = some(" 　\t")),
    ("R04.title.long", |d| d.title = some("长".repeat(201))),
    ("R04.title.control", |d| d.title = some("停车\u{7}场")),
    ("R05.title.break", |d| d.title = some("停车场\n信息")),
    ("R05.text.garbled", |d| d.title = some("停车\u{FFFD}场")),
    ("R04.text.long", |d| d.industry = some("长".repeat(501))),
    ("R05.abstract.missing", |d| d.summary = some("暂无")),
    ("R05.abstract.same", |d| d.summary = some("停车场,泊位 信息。")),
    ("R04.abstract.long", |d| d.summary = some("长".repeat(2001))),
    ("R04.keywords.many", |d| d.keywords = (0..=200).map(|n| format!("词{n}")).collect()),
    ("R04.code.shape", |d| d.code = some("12")),
    ("R04.provider.missing", |d| d.provider_name = some("无")),
    ("R04.uscc.missing", |d| d.provider_uscc = None),
    ("R04.uscc.invalid", |d| d.provider_uscc = some("11310107YLTRBLM68X")),
    ("R04.uscc.inner", |d| d.provider_uscc = some("11310000AGXLH0KJ9U")),
    ("R04.contact.phone", |d| d.contact_phone = some("见网站")),
    ("R04.contact.email", |d| d.contact_email = some("office")),
    ("R04.theme.missing", |d| d.theme = None),
    ("R04.theme.unknown", |d| d.theme = some("综合政务")),
    ("R18.key_theme.unknown", |d| d.key_sub_area = some("航天")),
    ("R04.share.missing", |d| d.share_kind = None),
    ("R04.share.unknown", |d| d.share_kind = some("看情况")),
    ("R04.share.condition", |d| d.share_kind = some("按需共享")),
    ("R04.share.reason", |d| d.share_kind = some("不共享")),
    ("R04.share.mode", |d| d.share_modes = vec!["信鸽".into()]),
    ("R04.share.items", |d| {
        d.share_kind = some("不共享");
        d.share_reason = some("法律规定");
        d.items[1].share = some("普遍共享");
    }),
    ("R04.open.missing", |d| d.open_kind = None),
    ("R04.open.unknown", |d| d.open_kind = some("差不多公开")),
    ("R04.open.condition", |d| d.open_kind = some("依申请公开")),
    ("R04.open.contradiction", |d| d.open_condition = some("需签协议")),
    ("R04.open.reason", |d| d.open_kind = some("不公开")),
    ("R04.open.items", |d| {
        d.items[1].open = some("不公开");
        d.items[1].open_reason = some("商业秘密");
    }),
    ("R04.items.many", |d| {
        let name = |n| DraftItem { name: some(format!("项{n}")), ..DraftItem::default() };
        d.items = (0..=2000).map(name).collect();
    }),
    ("R04.item.name", |d| d.items[1].name = None),
    ("R05.item.twice", |d| d.items[1].name = some("停车场名称")),
    ("R04.item.type", |d| d.items[1].data_type = some("神秘型")),
    ("R04.item.share_unknown", |d| d.items[1].share = some("看情况")),
    ("R04.item.open_unknown", |d| d.items[1].open = some("看情况")),
    ("R04.item.share_reason", |d| d.items[1].share = some("3")),
    ("R04.item.open_reason", |d| {
        closed(d);
        d.items[1].open = some("3");
    }),
    ("R21.item.personal", |d| d.items[1].name = some("车主手机号码")),
    ("R21.keyword.personal", |d| {
        d.items.clear();
        d.keywords.push("身份证号".into());
    }),
    ("R04.charset.missing", |d| d.charset = None),
    ("R04.cycle.missing", |d| d.update_cycle = some("")),
    ("R04.cycle.unknown", |d| d.update_cycle = some("牲畜饲养")),
    ("R25.update.overdue", |d| d.data_updated = some("2016-04-01")),
    ("R04.number.unreadable", |d| d.rows = some("很多")),
    ("R04.date.unreadable", |d| d.modified = some("去年春天")),
    ("R05.date.future", |d| d.modified = some("2016-05-12")),
    ("R04.validity.order", |d| d.valid_until = some("2014-12-31")),
    ("R04.delivery.mode", |d| d.distributions[0].mode = some("信鸽")),
    ("R04.delivery.address", |d| d.distributions[0].url = None),
    ("R04.delivery.many", |d| d.distributions = vec![d.distributions[0].clone(); 201]),
    ("R04.url.unreadable", |d| {
        d.distributions[0].mode = some("离线");
        d.distributions[0].url = some("javascript:alert(1)");
    }),
    ("R10.share.undelivered", |d| {
        closed(d);
        d.distributions.clear();
    }),
    ("R20.open.undelivered", |d| {
        d.share_kind = some("按需共享");
        d.share_condition = some("履职需要");
        d.distributions.clear();
    }),
    ("R34.secrecy.marked", |d| secret(d, "涉密")),
    ("R34.secrecy.unknown", |d| secret(d, "看情况")),
    ("R34.title.secret", |d| d.title = some("涉密基础测绘成果资料目录")),
    ("R04.extensions.many", |d| {
        d.extensions = (0..=200).map(|n| (format!("列{n}"), "值".into())).collect();
    }),
    ("R04.record.large", |d| {
        d.extensions.insert("正文".into(), "长".repeat(limit::RECORD_BYTES_MAX / 3));
    }),
];

/// Rules that the mapping speaks, not the check.
const OF_THE_MAPPING: [&str; 2] = ["R04.column.second", "R04.value.shape"];

#[test]
fn a_whole_entry_has_no_fault() {
    let checked = check(whole(), TODAY);
    assert_eq!(checked.faults, []);
    assert_eq!(checked.grade, Some(Grade::A));
}

#[test]
fn each_rule_is_broken_alone_by_its_entry() {
    for (id, change) in BREAKS {
        let mut draft = whole();
        change(&mut draft);
        let checked = check(draft, TODAY);
        let ids: Vec<_> = checked.faults.iter().map(|fault| fault.rule).collect();
        assert_eq!(ids, [*id]);
        let refused = checked.faults[0].severity == Severity::Error;
        assert_eq!(checked.record.is_none(), refused, "{id}");
        assert_eq!(checked.grade.is_none(), refused, "{id}");
    }
}

#[test]
fn every_rule_has_its_entry_its_own_id_and_words_in_both_languages() {
    let tried: BTreeSet<_> = BREAKS.iter().map(|(id, _)| *id).chain(OF_THE_MAPPING).collect();
    let known: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(tried, known);
    assert_eq!(RULES.len(), known.len());
    for rule in RULES {
        assert!(rule.id.starts_with('R') && rule.id.as_bytes()[3] == b'.', "{}", rule.id);
        for zh in [rule.zh, rule.remedy_zh] {
            assert!(!zh.is_ascii() && !zh.ends_with('。'), "{}", rule.id);
        }
        for en in [rule.en, rule.remedy_en] {
            assert!(en.len() > 8 && !en.ends_with('.'), "{}", rule.id);
        }
    }
}

#[test]
fn a_remark_stays_when_the_record_is_checked_again() {
    for (id, change) in BREAKS {
        let mut draft = whole();
        change(&mut draft);
        let Some(record) = check(draft, TODAY).record else { continue };
        let again: Vec<_> = recheck(&record, TODAY).into_iter().map(|fault| fault.rule).collect();
        // A line break is gone once it is a space, and an unknown form was taken for the likely
        // one.
        let expected: &[&str] = if *id == "R05.title.break" { &[] } else { &[id] };
        assert_eq!(again, expected);
    }
}

#[test]
fn all_faults_come_at_once() {
    let checked = check(Draft::default(), TODAY);
    let errors = checked.faults.iter().filter(|fault| fault.severity == Severity::Error);
    let ids: Vec<_> = errors.map(|fault| fault.rule).collect();
    assert_eq!(ids, ["R04.title.missing", "R04.open.missing", "R04.provider.missing"]);
}

#[test]
fn a_fault_names_its_field_and_shows_the_value() {
    let mut draft = whole();
    draft.items[1].open = some("看情况");
    let fault = &check(draft, TODAY).faults[0];
    assert_eq!((fault.field.as_str(), fault.value.as_deref()), ("items[1].open", Some("看情况")));
    let json = serde_json::to_value(fault).unwrap();
    assert_eq!(json["severity"], "error");
}

#[test]
fn warnings_decide_the_grade() {
    let mut draft = whole();
    draft.summary = None;
    assert_eq!(check(draft.clone(), TODAY).grade, Some(Grade::B));
    draft.update_cycle = some("偶尔");
    assert_eq!(check(draft.clone(), TODAY).grade, Some(Grade::B));
    draft.rows = some("很多");
    assert_eq!(check(draft, TODAY).grade, Some(Grade::C));
}

#[test]
fn every_positive_mark_of_secrecy_is_refused_in_every_column_for_it() {
    for label in ["涉密属性", "是否涉密", "密级", "密级：", "是否涉密（必填）"]
    {
        for (mark, refused) in [
            ("涉密", true),
            ("是", true),
            (" 秘密 ", true),
            ("机密", true),
            ("绝密", true),
            ("机密★10年", true),
            ("工作秘密", true),
            ("非涉密", false),
            ("否", false),
            ("无", false),
            ("", false),
        ] {
            let mut draft = whole();
            draft.extensions.insert(label.into(), mark.into());
            let checked = check(draft, TODAY);
            assert_eq!(checked.record.is_none(), refused, "{label} = {mark}");
        }
    }
}

#[test]
fn an_entry_open_in_a_masked_form_may_have_a_closed_item() {
    let mut draft = whole();
    draft.items[1].open = some("不公开");
    draft.items[1].open_reason = some("商业秘密");
    draft.distributions[0].masked = some("是");
    assert_eq!(check(draft, TODAY).faults, []);
}

#[test]
fn an_unreadable_value_is_kept_until_the_field_is_filled() {
    let mut draft = whole();
    draft.modified = some("去年春天");
    let record = check(draft, TODAY).record.unwrap();
    assert_eq!(record.extensions["raw:modified"], "去年春天");
    let mut mended = Draft::from(&record);
    mended.modified = some("2016年4月1日");
    let record = check(mended, TODAY).record.unwrap();
    assert!(record.extensions.is_empty());
    assert_eq!(record.modified, Some(date(2016, 4, 1)));
}

#[test]
fn an_old_faulty_record_is_rechecked_by_the_same_rules() {
    let mut record = check(whole(), TODAY).record.unwrap();
    assert_eq!(recheck(&record, TODAY), []);
    record.title.clear();
    assert_eq!(recheck(&record, TODAY)[0].rule, "R04.title.missing");
}

#[test]
fn a_length_with_a_scale_keeps_the_scale_in_the_note() {
    let mut draft = whole();
    draft.items[0].length = some("10,6");
    let record = check(draft, TODAY).record.unwrap();
    assert_eq!(record.items[0].length, Some(10));
    assert_eq!(record.items[0].note.as_deref(), Some("长度 10,6"));
}

#[test]
fn the_rules_of_the_mapping_speak() {
    let cells = |json: serde_json::Value| {
        let cells = json.as_object().unwrap().clone().into_iter().collect();
        Mapping::builtin().draft(&RawRow { row: 2, cells }).1
    };
    let second = cells(serde_json::json!({"标题": "甲", "名称": "乙"}));
    assert_eq!(second[0].rule, "R04.column.second");
    let shape = cells(serde_json::json!({"distributions": "一个"}));
    assert_eq!(shape[0].rule, "R04.value.shape");
}
