//! How two versions of a record differ from the one that both began with, field by field.
//!
//! Records are compared as the JSON that was signed, so a field that a later version added is seen here too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A field that is not the same in all three versions; a value that is not there is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDifference {
    /// Path in the record, for example `provider.name`; [`STATUS`] for whether it is there at all.
    pub field: String,
    /// What people call it, Chinese; the path when it has no name here.
    pub label_zh: String,
    /// What people call it, English.
    pub label_en: String,
    /// What both began with.
    pub base: Value,
    /// What one side made of it.
    pub mine: Value,
    /// What the other side made of it.
    pub theirs: Value,
    /// Both changed it, and not to the same value.
    pub clash: bool,
}

/// The path that stands for whether the record is live, `withdrawn` or not there yet.
pub const STATUS: &str = "status";

/// Paths with their names for people; elements of lists and local fields have none.
const LABELS: [(&str, &str, &str); 40] = [
    (STATUS, "状态", "Status"),
    ("title", "标题", "Title"),
    ("abstract", "摘要", "Abstract"),
    ("keywords", "关键词", "Keywords"),
    ("code", "资源代码", "Resource code"),
    ("provider.name", "提供单位", "Provider"),
    ("provider.uscc", "统一社会信用代码", "Unified social credit code"),
    ("provider.unit", "提供科室", "Unit"),
    ("provider.contact.name", "联系人", "Contact"),
    ("provider.contact.phone", "联系电话", "Telephone"),
    ("provider.contact.email", "电子邮箱", "E-mail"),
    ("class", "类目", "Class"),
    ("theme", "主题", "Theme"),
    ("local_theme", "本区主题", "Local theme"),
    ("industry", "行业", "Industry"),
    ("key_theme.area", "重点领域", "Key theme"),
    ("key_theme.sub_area", "重点领域细分", "Part of the key theme"),
    ("share.kind", "共享属性", "Sharing"),
    ("share.condition", "共享条件", "Condition of sharing"),
    ("share.reason", "不共享理由", "Reason for not sharing"),
    ("share.modes", "共享方式", "Ways of sharing"),
    ("open.kind", "开放属性", "Opening"),
    ("open.condition", "开放条件", "Condition of opening"),
    ("open.reason", "不开放理由", "Reason for not opening"),
    ("items", "信息项", "Information items"),
    ("formats", "格式", "Formats"),
    ("charset", "字符集", "Character set"),
    ("update_cycle", "更新周期", "Update cycle"),
    ("rows", "数据量（行）", "Rows"),
    ("bytes", "数据量（字节）", "Bytes"),
    ("data_updated", "数据更新日期", "Data renewed"),
    ("next_due", "下次应更新日期", "Next renewal due"),
    ("published", "发布日期", "Published"),
    ("modified", "修改日期", "Modified"),
    ("distributions", "资源形式", "Distributions"),
    ("identifiers", "其他标识", "Identifiers"),
    ("related", "关联资源", "Related"),
    ("projects", "所属项目", "Projects"),
    ("systems", "来源系统", "Systems"),
    ("validity", "有效期", "Validity"),
];

/// Compares three versions of a record; none is a record that is withdrawn or not there. Fields stand in the order of
/// their paths, the status first.
pub fn difference(
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
) -> Vec<FieldDifference> {
    let status = |side: Option<&Value>| json!(if side.is_some() { "live" } else { "withdrawn" });
    let began = base.map_or(Value::Null, |base| status(Some(base)));
    let mut found: Vec<_> = row(STATUS, began, status(mine), status(theirs)).into_iter().collect();
    let before = base.map(leaves).unwrap_or_default();
    // Who withdrew a record changed none of its fields.
    let [mine, theirs] = [mine, theirs].map(|side| side.map_or_else(|| before.clone(), leaves));
    let paths: BTreeSet<&String> =
        [&before, &mine, &theirs].into_iter().flat_map(BTreeMap::keys).collect();
    found.extend(paths.into_iter().filter_map(|path| {
        let [base, mine, theirs] =
            [&before, &mine, &theirs].map(|side| side.get(path).cloned().unwrap_or(Value::Null));
        row(path, base, mine, theirs)
    }));
    found
}

fn row(field: &str, base: Value, mine: Value, theirs: Value) -> Option<FieldDifference> {
    if mine == theirs && (mine == base || field == STATUS) {
        return None;
    }
    let label = LABELS.iter().find(|(path, ..)| *path == field);
    let (zh, en) = label.map_or((field, field), |(_, zh, en)| (zh, en));
    let clash = mine != theirs && mine != base && theirs != base;
    let (label_zh, label_en) = (zh.to_owned(), en.to_owned());
    Some(FieldDifference { field: field.to_owned(), label_zh, label_en, base, mine, theirs, clash })
}

/// Everything in a record that has no parts with names of their own. Lists are compared as a whole.
fn leaves(record: &Value) -> BTreeMap<String, Value> {
    fn gather(path: &str, object: &Map<String, Value>, found: &mut BTreeMap<String, Value>) {
        for (name, value) in object {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Value::Object(parts) => gather(&path, parts, found),
                leaf => {
                    found.insert(path, leaf.clone());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    if let Value::Object(object) = record {
        gather("", object, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Provider, Record};

    fn value(title: &str, provider: &str) -> Value {
        let provider = Provider { name: provider.to_owned(), ..Provider::default() };
        let record = Record { title: title.to_owned(), provider, ..Record::default() };
        serde_json::to_value(record).unwrap()
    }

    #[test]
    fn each_field_says_who_changed_it_and_whether_both_did() {
        let base = value("车位", "交通委");
        let table = [
            (value("车位", "交通委"), value("车位", "交通委"), vec![]),
            (value("泊位", "交通委"), value("车位", "交通委"), vec![("title", "标题", false)]),
            (value("车位", "交通委"), value("泊位", "交通委"), vec![("title", "标题", false)]),
            (value("泊位", "交通委"), value("泊位", "交通委"), vec![("title", "标题", false)]),
            (value("泊位", "交通委"), value("停车", "交通委"), vec![("title", "标题", true)]),
            (
                value("泊位", "交通委"),
                value("车位", "公安局"),
                vec![("provider.name", "提供单位", false), ("title", "标题", false)],
            ),
        ];
        for (mine, theirs, expected) in table {
            let found = difference(Some(&base), Some(&mine), Some(&theirs));
            let told: Vec<_> =
                found.iter().map(|d| (d.field.as_str(), d.label_zh.as_str(), d.clash)).collect();
            assert_eq!(told, expected, "{mine} against {theirs}");
        }
    }

    #[test]
    fn a_withdrawal_is_one_row_beside_what_the_other_side_changed() {
        let (base, mine) = (value("车位", "交通委"), value("泊位", "交通委"));
        let found = difference(Some(&base), Some(&mine), None);
        let rows: Vec<_> = found.iter().map(|d| (d.field.as_str(), &d.mine, &d.theirs)).collect();
        let (live, withdrawn) = (json!("live"), json!("withdrawn"));
        let (new, old) = (json!("泊位"), json!("车位"));
        assert_eq!(rows, [(STATUS, &live, &withdrawn), ("title", &new, &old)]);
        assert!(!found.iter().any(|row| row.clash));
    }

    #[test]
    fn fields_of_a_later_version_are_compared_too() {
        let (base, mut mine) = (value("车位", "交通委"), value("车位", "交通委"));
        mine["later"] = json!({ "part": 1 });
        let found = difference(Some(&base), Some(&mine), Some(&base));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].field.as_str(), &found[0].mine), ("later.part", &json!(1)));
    }

    proptest! {
        #[test]
        fn swapping_the_sides_swaps_the_columns(
            texts in prop::array::uniform3("[ab]{0,2}"),
            there in prop::array::uniform3(any::<bool>()),
        ) {
            let [base, mine, theirs] = [0, 1, 2]
                .map(|side| there[side].then(|| value(&texts[side], "交通委")));
            let [base, mine, theirs] = [&base, &mine, &theirs].map(Option::as_ref);
            let one = difference(base, mine, theirs);
            let other: Vec<_> = difference(base, theirs, mine)
                .into_iter()
                .map(|row| FieldDifference { mine: row.theirs, theirs: row.mine, ..row })
                .collect();
            prop_assert_eq!(one, other);
        }

        #[test]
        fn equal_versions_do_not_differ(text in "[ab]{0,2}") {
            let same = value(&text, "交通委");
            prop_assert_eq!(difference(Some(&same), Some(&same), Some(&same)), vec![]);
        }
    }
}
