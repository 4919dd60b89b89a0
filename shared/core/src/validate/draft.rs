//! A record before the check: every field optional and as it was written.

use std::collections::BTreeMap;

use crate::record::{Contact, Distribution, Identifier, Item, Record, Share};

/// Name of the extension that holds the mark of secrecy.
pub const SECRECY_FIELD: &str = "涉密属性";

/// A record before the check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// `title`
    pub title: Option<String>,
    /// `abstract`
    pub summary: Option<String>,
    /// `keywords`
    pub keywords: Vec<String>,
    /// `code`
    pub code: Option<String>,
    /// `provider.name`
    pub provider_name: Option<String>,
    /// `provider.uscc`
    pub provider_uscc: Option<String>,
    /// `provider.unit`
    pub provider_unit: Option<String>,
    /// `provider.contact.name`
    pub contact_name: Option<String>,
    /// `provider.contact.phone`
    pub contact_phone: Option<String>,
    /// `provider.contact.email`
    pub contact_email: Option<String>,
    /// `class`
    pub class: Option<String>,
    /// `theme`
    pub theme: Option<String>,
    /// `local_theme`
    pub local_theme: Option<String>,
    /// `industry`
    pub industry: Option<String>,
    /// `key_theme.area`
    pub key_area: Option<String>,
    /// `key_theme.sub_area`
    pub key_sub_area: Option<String>,
    /// `share.kind`
    pub share_kind: Option<String>,
    /// `share.condition`
    pub share_condition: Option<String>,
    /// `share.reason`
    pub share_reason: Option<String>,
    /// `share.modes`
    pub share_modes: Vec<String>,
    /// `open.kind`
    pub open_kind: Option<String>,
    /// `open.condition`
    pub open_condition: Option<String>,
    /// `open.reason`
    pub open_reason: Option<String>,
    /// `items`
    pub items: Vec<DraftItem>,
    /// `formats`
    pub formats: Vec<String>,
    /// `charset`
    pub charset: Option<String>,
    /// `update_cycle`
    pub update_cycle: Option<String>,
    /// `rows`
    pub rows: Option<String>,
    /// `bytes`
    pub bytes: Option<String>,
    /// `data_updated`
    pub data_updated: Option<String>,
    /// `next_due`
    pub next_due: Option<String>,
    /// `published`
    pub published: Option<String>,
    /// `modified`
    pub modified: Option<String>,
    /// `distributions`
    pub distributions: Vec<DraftDistribution>,
    /// `identifiers`
    pub identifiers: Vec<Identifier>,
    /// `related`
    pub related: Vec<String>,
    /// `projects`
    pub projects: Vec<String>,
    /// `systems`
    pub systems: Vec<String>,
    /// `validity.from`
    pub valid_from: Option<String>,
    /// `validity.until`
    pub valid_until: Option<String>,
    /// `extensions`, byte for byte
    pub extensions: BTreeMap<String, String>,
}

/// An information item before the check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields of `Item`, as they were written")]
pub struct DraftItem {
    pub name: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub length: Option<String>,
    pub share: Option<String>,
    pub share_reason: Option<String>,
    pub open: Option<String>,
    pub open_reason: Option<String>,
    pub mask_rule: Option<String>,
    pub authoritative: Option<String>,
    pub note: Option<String>,
}

/// A distribution before the check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields of `Distribution`, as they were written")]
pub struct DraftDistribution {
    pub mode: Option<String>,
    pub url: Option<String>,
    pub media_type: Option<String>,
    pub encoding: Option<String>,
    pub checksum: Option<String>,
    pub bytes: Option<String>,
    pub description: Option<String>,
    pub sla: Option<String>,
    pub licence: Option<String>,
    pub masked: Option<String>,
}

/// Where a field of a draft is kept.
#[derive(Debug)]
pub enum Slot<'a> {
    /// One value.
    One(&'a mut Option<String>),
    /// Several values.
    Many(&'a mut Vec<String>),
}

impl Draft {
    /// The place of a field by its name in the record's JSON, e.g. `provider.contact.phone`.
    ///
    /// Fields with parts of their own (`items`, `distributions`, `identifiers`, `extensions`)
    /// have none.
    pub fn slot(&mut self, field: &str) -> Option<Slot<'_>> {
        let one = match field {
            "keywords" => return Some(Slot::Many(&mut self.keywords)),
            "share.modes" => return Some(Slot::Many(&mut self.share_modes)),
            "formats" => return Some(Slot::Many(&mut self.formats)),
            "related" => return Some(Slot::Many(&mut self.related)),
            "projects" => return Some(Slot::Many(&mut self.projects)),
            "systems" => return Some(Slot::Many(&mut self.systems)),
            "title" => &mut self.title,
            "abstract" => &mut self.summary,
            "code" => &mut self.code,
            "provider.name" => &mut self.provider_name,
            "provider.uscc" => &mut self.provider_uscc,
            "provider.unit" => &mut self.provider_unit,
            "provider.contact.name" => &mut self.contact_name,
            "provider.contact.phone" => &mut self.contact_phone,
            "provider.contact.email" => &mut self.contact_email,
            "class" => &mut self.class,
            "theme" => &mut self.theme,
            "local_theme" => &mut self.local_theme,
            "industry" => &mut self.industry,
            "key_theme.area" => &mut self.key_area,
            "key_theme.sub_area" => &mut self.key_sub_area,
            "share.kind" => &mut self.share_kind,
            "share.condition" => &mut self.share_condition,
            "share.reason" => &mut self.share_reason,
            "open.kind" => &mut self.open_kind,
            "open.condition" => &mut self.open_condition,
            "open.reason" => &mut self.open_reason,
            "charset" => &mut self.charset,
            "update_cycle" => &mut self.update_cycle,
            "rows" => &mut self.rows,
            "bytes" => &mut self.bytes,
            "data_updated" => &mut self.data_updated,
            "next_due" => &mut self.next_due,
            "published" => &mut self.published,
            "modified" => &mut self.modified,
            "validity.from" => &mut self.valid_from,
            "validity.until" => &mut self.valid_until,
            _ => return None,
        };
        Some(Slot::One(one))
    }
}

impl DraftItem {
    /// The place of a field by its name.
    pub fn slot(&mut self, field: &str) -> Option<&mut Option<String>> {
        Some(match field {
            "name" => &mut self.name,
            "column" => &mut self.column,
            "data_type" => &mut self.data_type,
            "length" => &mut self.length,
            "share" => &mut self.share,
            "share_reason" => &mut self.share_reason,
            "open" => &mut self.open,
            "open_reason" => &mut self.open_reason,
            "mask_rule" => &mut self.mask_rule,
            "authoritative" => &mut self.authoritative,
            "note" => &mut self.note,
            _ => return None,
        })
    }
}

impl DraftDistribution {
    /// The place of a field by its name.
    pub fn slot(&mut self, field: &str) -> Option<&mut Option<String>> {
        Some(match field {
            "mode" => &mut self.mode,
            "url" => &mut self.url,
            "media_type" => &mut self.media_type,
            "encoding" => &mut self.encoding,
            "checksum" => &mut self.checksum,
            "bytes" => &mut self.bytes,
            "description" => &mut self.description,
            "sla" => &mut self.sla,
            "licence" => &mut self.licence,
            "masked" => &mut self.masked,
            _ => return None,
        })
    }
}

fn shown<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn flag(value: bool) -> Option<String> {
    value.then(|| "true".to_owned())
}

impl From<&Record> for Draft {
    fn from(record: &Record) -> Self {
        let Record { provider, share, open, key_theme, validity, .. } = record.clone();
        let Contact { name, phone, email } = provider.contact.unwrap_or_default();
        let validity = validity.unwrap_or_default();
        let mut draft = Self {
            title: Some(record.title.clone()),
            summary: Some(record.summary.clone()),
            keywords: record.keywords.clone(),
            code: record.code.clone(),
            provider_name: Some(provider.name),
            provider_uscc: provider.uscc,
            provider_unit: provider.unit,
            contact_name: name,
            contact_phone: phone,
            contact_email: email,
            class: record.class.clone(),
            theme: record.theme.clone(),
            local_theme: record.local_theme.clone(),
            industry: record.industry.clone(),
            key_area: key_theme.as_ref().map(|theme| theme.area.clone()),
            key_sub_area: key_theme.and_then(|theme| theme.sub_area),
            open_kind: Some(open.kind.code().to_owned()),
            open_condition: open.condition,
            open_reason: open.reason,
            items: record.items.iter().map(DraftItem::from).collect(),
            formats: record.formats.clone(),
            charset: record.charset.clone(),
            update_cycle: record.update_cycle.map(|cycle| cycle.code().to_owned()),
            rows: shown(record.rows),
            bytes: shown(record.bytes),
            data_updated: shown(record.data_updated),
            next_due: shown(record.next_due),
            published: shown(record.published),
            modified: shown(record.modified),
            distributions: record.distributions.iter().map(DraftDistribution::from).collect(),
            identifiers: record.identifiers.clone(),
            related: record.related.clone(),
            projects: record.projects.clone(),
            systems: record.systems.clone(),
            valid_from: shown(validity.from),
            valid_until: shown(validity.until),
            extensions: record.extensions.clone(),
            ..Self::default()
        };
        if let Some(Share { kind, condition, reason, modes }) = share {
            draft.share_kind = Some(kind.code().to_owned());
            draft.share_condition = condition;
            draft.share_reason = reason;
            draft.share_modes = modes.into_iter().map(|mode| mode.code().to_owned()).collect();
        }
        draft
    }
}

impl From<Record> for Draft {
    fn from(record: Record) -> Self {
        Self::from(&record)
    }
}

impl From<&Item> for DraftItem {
    fn from(item: &Item) -> Self {
        Self {
            name: Some(item.name.clone()),
            column: item.column.clone(),
            data_type: item.data_type.map(|kind| kind.code().to_owned()),
            length: shown(item.length),
            share: item.share.map(|kind| kind.code().to_owned()),
            share_reason: item.share_reason.clone(),
            open: item.open.map(|kind| kind.code().to_owned()),
            open_reason: item.open_reason.clone(),
            mask_rule: item.mask_rule.clone(),
            authoritative: flag(item.authoritative),
            note: item.note.clone(),
        }
    }
}

impl From<&Distribution> for DraftDistribution {
    fn from(distribution: &Distribution) -> Self {
        let it = distribution.clone();
        Self {
            mode: Some(it.mode.code().to_owned()),
            url: it.url,
            media_type: it.media_type,
            encoding: it.encoding,
            checksum: it.checksum,
            bytes: shown(it.bytes),
            description: it.description,
            sla: it.sla,
            licence: it.licence,
            masked: flag(it.masked),
        }
    }
}
