//! Changing some fields of a record by their names.

use serde_json::{Map, Value};

use super::Record;

/// Fields of a record by their names in JSON.
const FIELDS: [&str; 29] = [
    "title",
    "abstract",
    "keywords",
    "code",
    "provider",
    "class",
    "theme",
    "local_theme",
    "industry",
    "key_theme",
    "share",
    "open",
    "items",
    "formats",
    "charset",
    "update_cycle",
    "rows",
    "bytes",
    "data_updated",
    "next_due",
    "published",
    "modified",
    "distributions",
    "identifiers",
    "related",
    "projects",
    "systems",
    "validity",
    "extensions",
];

/// Why a field cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// There is no such field.
    #[error("目录没有名为“{0}”的字段 / a record has no field {0:?}")]
    Unknown(String),
    /// The value does not fit.
    #[error("字段“{field}”的值不适用：{why} / the value does not fit field {field:?}: {why}")]
    Value {
        /// The field.
        field: String,
        /// What is wrong.
        why: String,
    },
}

impl Record {
    /// The record with other values in some fields, in its canonical form; null takes a field out. Whether it keeps the
    /// rules is another question.
    ///
    /// # Errors
    /// `Unknown`, `Value`: for the first field at fault.
    pub fn with_fields(&self, fields: &Map<String, Value>) -> Result<Self, FieldFault> {
        let mut record = self.clone();
        for (field, value) in fields {
            if !is_field(field) {
                return Err(FieldFault::Unknown(field.clone()));
            }
            let fault = |why: serde_json::Error| FieldFault::Value {
                field: field.clone(),
                why: why.to_string(),
            };
            let mut whole = serde_json::to_value(&record).map_err(fault)?;
            if let Value::Object(whole) = &mut whole {
                whole.remove(field);
                if !value.is_null() {
                    whole.insert(field.clone(), value.clone());
                }
            }
            record = serde_json::from_value(whole).map_err(fault)?;
        }
        record.canonicalise();
        Ok(record)
    }
}

fn is_field(name: &str) -> bool {
    FIELDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{Open, Provider};

    fn record() -> Record {
        Record {
            title: "停车场".to_owned(),
            keywords: vec!["停车".to_owned()],
            provider: Provider { name: "交通委".to_owned(), ..Provider::default() },
            open: Open::default(),
            ..Record::default()
        }
    }

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("an object") };
        fields
    }

    #[test]
    fn named_fields_change_and_the_others_stay() {
        let changed = record()
            .with_fields(&fields(json!({ "title": " 停车场泊位 ", "keywords": null, "rows": 7 })))
            .unwrap();
        let expected = Record {
            title: "停车场泊位".to_owned(),
            keywords: Vec::new(),
            rows: Some(7),
            ..record()
        };
        assert_eq!(changed, expected);
        assert_eq!(record().with_fields(&Map::new()), Ok(record()));
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let table = [
            (json!({ "tittle": "x" }), "tittle"),
            (json!({ "title": 7 }), "title"),
            (json!({ "title": null }), "title"),
            (json!({ "update_cycle": "hourly-ish" }), "update_cycle"),
            (json!({ "items": [{ "column": "a" }] }), "items"),
        ];
        for (value, field) in table {
            let fault = record().with_fields(&fields(value)).unwrap_err().to_string();
            assert!(fault.contains(field), "{fault}");
        }
    }

    #[test]
    fn every_field_of_a_record_can_be_named() {
        let names = include_str!("../record.rs");
        let body = &names[names.find("pub struct Record {").unwrap()..];
        let body = &body[..body.find("\n}").unwrap()];
        let mut found = 0;
        for line in body.lines().filter_map(|line| line.trim().strip_prefix("pub ")) {
            let Some((name, _)) = line.split_once(':') else { continue };
            let name = if name == "summary" { "abstract" } else { name };
            assert!(is_field(name), "{name}");
            found += 1;
        }
        assert!(found > 25, "{found}");
    }
}
