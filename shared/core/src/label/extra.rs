//! What a record says beyond the fields that other catalogues have.

use std::collections::BTreeMap;

use crate::{code::UpdateCycle, id::RecordId, record::Record};

/// Extra fields of a record, each key once and none of them a field of CKAN's own. Values are never empty.
pub fn extras(id: RecordId, record: &Record) -> Vec<(String, String)> {
    let mut extras = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.trim().is_empty()) {
            extras.insert(key.to_owned(), value);
        }
    };
    let key_theme = record.key_theme.as_ref();
    let share = record.share.as_ref();
    let items: Vec<&str> = record.items.iter().map(|item| item.name.as_str()).collect();
    put("identifier", Some(id.to_string()));
    put("resource_code", record.code.clone());
    put("keywords", Some(record.keywords.join("、")));
    put("theme", record.theme.clone());
    put("local_theme", record.local_theme.clone());
    put("key_theme", key_theme.map(|theme| theme.area.clone()));
    put("key_sub_theme", key_theme.and_then(|theme| theme.sub_area.clone()));
    put("class", record.class.clone());
    put("industry", record.industry.clone());
    put("provider_uscc", record.provider.uscc.clone());
    put("open_type", Some(record.open.kind.label_zh().to_owned()));
    put("open_condition", record.open.condition.clone());
    put("share_type", share.map(|share| share.kind.label_zh().to_owned()));
    put("share_condition", share.and_then(|share| share.condition.clone()));
    put("update_cycle", record.update_cycle.map(|cycle| cycle.label_zh().to_owned()));
    put("frequency", record.update_cycle.and_then(UpdateCycle::iso8601).map(str::to_owned));
    put("charset", record.charset.clone());
    put("formats", Some(record.formats.join("、")));
    put("rows", record.rows.map(|rows| rows.to_string()));
    put("bytes", record.bytes.map(|bytes| bytes.to_string()));
    put("data_updated", record.data_updated.map(|day| day.to_string()));
    put("next_due", record.next_due.map(|day| day.to_string()));
    put("issued", record.published.map(|day| day.to_string()));
    put("modified", record.modified.map(|day| day.to_string()));
    put("items", Some(items.join("、")));
    put("related", Some(record.related.join("、")));
    for (key, value) in &record.extensions {
        put(&format!("ext_{key}"), Some(value.clone()));
    }
    for identifier in &record.identifiers {
        let key = format!("identifier_{}", identifier.scheme);
        put(&key, Some(identifier.value.clone()));
    }
    extras.into_iter().collect()
}
