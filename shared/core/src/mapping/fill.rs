//! Fills a draft, cell by cell.

use serde_json::{Map, Value};

use super::{Mapping, Scope, list};
use crate::code::{read, table};
use crate::record::Identifier;
use crate::validate::{
    COLUMN_SECOND, Draft, DraftDistribution, DraftItem, Fault, Slot, VALUE_SHAPE,
};

/// Fields of a record that are objects of their own.
const OBJECTS: [&str; 6] =
    ["provider", "provider.contact", "share", "open", "key_theme", "validity"];

/// What became of a cell at one field.
#[derive(Clone, Copy)]
enum Put {
    /// It is there.
    Done,
    /// Another column was first.
    Taken,
    /// The field cannot take it.
    Unfit,
}

pub(super) struct Fill<'a> {
    mapping: &'a Mapping,
    draft: Draft,
    faults: Vec<Fault>,
    /// Answer to 是否向社会开放, which is a type of opening only together with the condition.
    public: Option<String>,
}

impl<'a> Fill<'a> {
    pub(super) fn new(mapping: &'a Mapping) -> Self {
        Self { mapping, draft: Draft::default(), faults: Vec::new(), public: None }
    }

    /// Puts a cell where its label belongs; what has no place becomes an extension.
    pub(super) fn place(&mut self, label: &str, value: &Value) {
        if let Value::Object(parts) = value {
            return self.object(label, parts, value);
        }
        if label == "extensions" {
            return match list::structured(value) {
                Value::Object(parts) => self.object(label, &parts, value),
                _ => self.extend(label, value),
            };
        }
        let mapping = self.mapping;
        let (targets, unit) = mapping.targets(Scope::Entry, label);
        if targets.is_empty() {
            return self.extend(label, value);
        }
        let text = list::text(value);
        if table::is_absent(&text) {
            return;
        }
        let mut taken = None;
        for target in targets.iter() {
            let known = || mapping.values.lookup(&target.field, &text).is_some();
            if target.known_values_only && !known() {
                continue;
            }
            match self.put(&target.field, label, value, unit.as_deref()) {
                Put::Done => return,
                Put::Taken => taken = Some(&target.field),
                Put::Unfit => {}
            }
            if target.known_values_only {
                break;
            }
        }
        self.faults.push(match taken {
            Some(field) => COLUMN_SECOND.fault(field, Some(label)),
            None => VALUE_SHAPE.fault(label, Some(&text)),
        });
        self.extend(label, value);
    }

    /// The draft and what the row had wrong.
    ///
    /// Source: 发改高技术〔2017〕1272号, element 10: open with a condition is open on request.
    pub(super) fn finish(mut self) -> (Draft, Vec<Fault>) {
        if let Some(answer) = self.public
            && self.draft.open_kind.is_none()
        {
            let known = self.mapping.values.lookup("open.public", &answer);
            let code = known.map(|value| value.canonical.clone());
            let asked = self.draft.open_condition.is_some();
            self.draft.open_kind = Some(match code {
                Some(code) if code == "1" && asked => "2".to_owned(),
                Some(code) => code,
                None => answer,
            });
        }
        (self.draft, self.faults)
    }

    fn extend(&mut self, label: &str, value: &Value) {
        let text = list::text(value);
        if !text.is_empty() {
            self.draft.extensions.insert(label.to_owned(), text);
        }
    }

    fn object(&mut self, label: &str, parts: &Map<String, Value>, value: &Value) {
        if label == "extensions" {
            for (name, value) in parts {
                self.extend(name, value);
            }
        } else if OBJECTS.contains(&label) {
            for (name, value) in parts {
                self.place(&format!("{label}.{name}"), value);
            }
        } else {
            if self.mapping.knows(label) {
                self.faults.push(VALUE_SHAPE.fault(label, Some(&value.to_string())));
            }
            self.extend(label, value);
        }
    }

    fn put(&mut self, field: &str, label: &str, value: &Value, unit: Option<&str>) -> Put {
        let text = list::text(value);
        match field {
            "items" => self.items(value),
            "distributions" => self.distributions(value),
            "identifiers" => self.identifiers(value),
            "url" => self.identifier("url", text),
            "identifier" => self.identifier("id", text),
            "secrecy" => {
                self.extend(label, value);
                Put::Done
            }
            "open.public" => fill_one(&mut self.public, text),
            "provider.contact" if text.contains('@') => {
                fill_one(&mut self.draft.contact_email, text)
            }
            "provider.contact" => fill_one(&mut self.draft.contact_phone, text),
            "volume" if read::names_bytes(&text) || unit.is_some_and(read::names_bytes) => {
                self.slot("bytes", value, unit)
            }
            "volume" => self.slot("rows", value, unit),
            _ => self.slot(field, value, unit),
        }
    }

    fn slot(&mut self, field: &str, value: &Value, unit: Option<&str>) -> Put {
        let values = &self.mapping.values;
        let mut text = match value {
            Value::Array(_) => list::texts(value).join("，"),
            other => list::text(other),
        };
        let also = match self.draft.slot(field) {
            None => return Put::Unfit,
            Some(Slot::Many(texts)) if !texts.is_empty() => return Put::Taken,
            Some(Slot::Many(texts)) => {
                let canonical = |text: String| match values.lookup(field, &text) {
                    Some(value) => value.canonical.clone(),
                    None => text,
                };
                texts.extend(list::texts(value).into_iter().map(canonical));
                return Put::Done;
            }
            Some(Slot::One(Some(_))) => return Put::Taken,
            Some(Slot::One(slot)) => {
                if let ("bytes", Some(unit)) = (field, unit)
                    && text.trim().ends_with(|c: char| c.is_ascii_digit())
                {
                    text.push_str(unit);
                }
                let known = values.lookup(field, &text);
                *slot = Some(known.map_or_else(|| text.clone(), |value| value.canonical.clone()));
                known.and_then(|value| value.also.as_deref())
            }
        };
        if let Some(Slot::One(slot @ None)) = also.and_then(|also| self.draft.slot(also)) {
            *slot = Some(text);
        }
        Put::Done
    }

    fn identifier(&mut self, scheme: &str, value: String) -> Put {
        if self.draft.identifiers.iter().any(|known| known.scheme == scheme) {
            return Put::Taken;
        }
        self.draft.identifiers.push(Identifier { scheme: scheme.to_owned(), value });
        Put::Done
    }

    fn identifiers(&mut self, value: &Value) -> Put {
        let Value::Array(elements) = list::structured(value) else { return Put::Unfit };
        for element in elements {
            let part = |key: &str| element.get(key).map(list::text);
            let (scheme, value) = match part("value") {
                Some(value) => (part("scheme").unwrap_or_else(|| "id".to_owned()), value),
                None => ("id".to_owned(), list::text(&element)),
            };
            self.draft.identifiers.push(Identifier { scheme, value });
        }
        Put::Done
    }

    fn items(&mut self, value: &Value) -> Put {
        if !self.draft.items.is_empty() {
            return Put::Taken;
        }
        let elements = match list::structured(value) {
            Value::Array(elements) => elements,
            other => list::split(&list::text(&other)).into_iter().map(Value::String).collect(),
        };
        for (place, element) in elements.iter().enumerate() {
            let mut item = DraftItem::default();
            match element {
                Value::Object(parts) => {
                    for (name, value) in parts {
                        let put = self.part(Scope::Item, name, value, |field| item.slot(field));
                        self.keep_part(put, &format!("items[{place}].{name}"), value);
                    }
                }
                other => item.name = Some(list::text(other)),
            }
            self.draft.items.push(item);
        }
        Put::Done
    }

    fn distributions(&mut self, value: &Value) -> Put {
        if !self.draft.distributions.is_empty() {
            return Put::Taken;
        }
        let Value::Array(elements) = list::structured(value) else { return Put::Unfit };
        for (place, element) in elements.iter().enumerate() {
            let mut form = DraftDistribution::default();
            match element {
                Value::Object(parts) => {
                    for (name, value) in parts {
                        let scope = Scope::Distribution;
                        let put = self.part(scope, name, value, |field| form.slot(field));
                        self.keep_part(put, &format!("distributions[{place}].{name}"), value);
                    }
                }
                other => form.url = Some(list::text(other)),
            }
            self.draft.distributions.push(form);
        }
        Put::Done
    }

    /// Fills a field of an item or a distribution.
    fn part<'s>(
        &self,
        scope: Scope,
        name: &str,
        value: &Value,
        slot: impl FnOnce(&str) -> Option<&'s mut Option<String>>,
    ) -> Put {
        let (targets, _) = self.mapping.targets(scope, name);
        let field = targets.first().map_or(name, |target| target.field.as_str());
        let text = list::text(value);
        if table::is_absent(&text) {
            return Put::Done;
        }
        let coded = match (scope, field) {
            (Scope::Item, "share") => "share.kind",
            (Scope::Item, "open") => "open.kind",
            (Scope::Item, "data_type") => "items.data_type",
            (Scope::Distribution, "mode") => "distributions.mode",
            _ => "",
        };
        let known = self.mapping.values.lookup(coded, &text);
        let text = known.map_or(text, |value| value.canonical.clone());
        slot(field).map_or(Put::Unfit, |slot| fill_one(slot, text))
    }

    fn keep_part(&mut self, put: Put, path: &str, value: &Value) {
        if !matches!(put, Put::Done) {
            self.extend(path, value);
        }
    }
}

fn fill_one(slot: &mut Option<String>, text: String) -> Put {
    if slot.is_some() {
        return Put::Taken;
    }
    *slot = Some(text);
    Put::Done
}
