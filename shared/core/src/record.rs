//! The core facet of a catalogue record: what the owning district, and nobody else, writes.
//!
//! A record is a plain value with one canonical form. `canonicalise` brings any record into it,
//! `to_bytes` writes it, and equal records have equal bytes whatever the order of their sets was.
//! Extension fields are never touched.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::code::{OpenKind, ShareKind, UpdateCycle};

pub mod limit;
mod part;
mod patch;
pub mod text;

pub use part::{
    Contact, Distribution, Identifier, Item, KeyTheme, Open, Provider, Share, Validity,
};
pub use patch::FieldFault;

/// Name of the schema of the core facet.
pub const SCHEMA: &str = "sh-2016.1";
/// Number of the schema of the core facet.
pub const SCHEMA_VERSION: u32 = 1;

/// The core facet of a record.
///
/// Source: plan 二(一)2, the union of the elements of a Shanghai district system, of
/// 发改高技术〔2017〕1272号 and of GB/T 21063.3-2007.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// Title, one line.
    pub title: String,
    /// Abstract, may have several lines.
    #[serde(rename = "abstract", default)]
    pub summary: String,
    /// Keywords; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Resource code (信息资源代码), e.g. `307001/000010`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Who provides it.
    pub provider: Provider,
    /// Class (类项目细目).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Theme of the city portal, or the source's own words when it is none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// Theme in the district's own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_theme: Option<String>,
    /// Industry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry: Option<String>,
    /// Place in the year's key theme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_theme: Option<KeyTheme>,
    /// How it is shared between departments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// How it is open to the public.
    pub open: Open,
    /// Information items, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
    /// Formats, lower case; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    /// Character set of text files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// How often the data are renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_cycle: Option<UpdateCycle>,
    /// Rows of data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Size of the data, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Day the data were last renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_updated: Option<Date>,
    /// Day the data are to be renewed next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Date>,
    /// Day the entry was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Date>,
    /// Day the entry was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Date>,
    /// Forms in which it is given out; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distributions: Vec<Distribution>,
    /// Names it has elsewhere; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<Identifier>,
    /// Codes of related resources; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<String>,
    /// Projects it belongs to; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// Systems it comes from; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<String>,
    /// From when until when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity: Option<Validity>,
    /// Local fields, byte for byte as they came.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Larger than a record may be.
    #[error("a record has at most {max} bytes, not {0}", max = limit::RECORD_BYTES_MAX)]
    Large(usize),
    /// Not the JSON of a record.
    #[error("not a record: {0}")]
    Shape(#[source] serde_json::Error),
}

/// Who may see a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// The owning district and the hub.
    Restricted = 0,
    /// Every department of the city.
    Shared = 1,
    /// Everyone.
    Public = 2,
}

impl Visibility {
    /// The number on the wire.
    pub fn as_u32(self) -> u32 {
        self as u32
    }

    /// Reads the number on the wire; one that is not known shows the record to the fewest.
    pub fn from_u32(number: u32) -> Self {
        match number {
            1 => Self::Shared,
            2 => Self::Public,
            _ => Self::Restricted,
        }
    }
}

impl Record {
    /// Brings the record into its one canonical form. Doing it twice changes nothing more.
    pub fn canonicalise(&mut self) {
        self.title = text::line(&self.title);
        self.summary = text::block(&self.summary);
        for lines in [&mut self.keywords, &mut self.related, &mut self.projects, &mut self.systems]
        {
            set_of_lines(lines, text::line);
        }
        set_of_lines(&mut self.formats, |raw| text::line(&raw.to_lowercase()));
        let optional = [
            &mut self.code,
            &mut self.class,
            &mut self.theme,
            &mut self.local_theme,
            &mut self.industry,
            &mut self.charset,
        ];
        optional.into_iter().for_each(line);
        self.provider.canonicalise();
        self.key_theme = self.key_theme.take().and_then(KeyTheme::canonical);
        if let Some(share) = &mut self.share {
            block(&mut share.condition);
            block(&mut share.reason);
            sort(&mut share.modes);
        }
        block(&mut self.open.condition);
        block(&mut self.open.reason);
        self.items.iter_mut().for_each(Item::canonicalise);
        self.distributions.iter_mut().for_each(Distribution::canonicalise);
        sort(&mut self.distributions);
        for identifier in &mut self.identifiers {
            identifier.scheme = text::line(&identifier.scheme);
            identifier.value = text::line(&identifier.value);
        }
        self.identifiers.retain(|identifier| !identifier.value.is_empty());
        sort(&mut self.identifiers);
        self.validity.take_if(|v| v.from.is_none() && v.until.is_none());
    }

    /// The canonical bytes: JSON, fields in the order of this type, nothing empty.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut canonical = self.clone();
        canonical.canonicalise();
        canonical.write()
    }

    /// The bytes as the record stands, for a record that is known to be canonical.
    pub(crate) fn write(&self) -> Vec<u8> {
        // Strings, numbers and maps with text keys: there is nothing in a record that JSON cannot
        // hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record. Fields this version does not know are skipped; they stay in the signed
    /// bytes.
    ///
    /// # Errors
    /// When the bytes are too many or no record.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > limit::RECORD_BYTES_MAX {
            return Err(RecordError::Large(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(RecordError::Shape)
    }

    /// Who may see the record.
    ///
    /// What is open, even on request, is listed for everyone; what departments share is listed
    /// for them.
    ///
    /// Source: plan 二(二)1.
    pub fn visibility(&self) -> Visibility {
        match (self.open.kind, self.share.as_ref().map(|share| share.kind)) {
            (OpenKind::Open | OpenKind::OnRequest, _) => Visibility::Public,
            (OpenKind::Closed, Some(ShareKind::Universal | ShareKind::OnDemand)) => {
                Visibility::Shared
            }
            (OpenKind::Closed, Some(ShareKind::None) | None) => Visibility::Restricted,
        }
    }

    /// How an import recognises the same entry again, the best key first.
    ///
    /// Title and provider count only when there is nothing else: real catalogues repeat both
    /// under different identifiers, and merging those would lose entries.
    pub fn match_keys(&self) -> Vec<String> {
        let code = self.code.iter().map(|code| format!("code:{code}"));
        let others = self.identifiers.iter().map(|i| format!("{}:{}", i.scheme, i.value));
        let mut keys: Vec<String> = code.chain(others).collect();
        if keys.is_empty() {
            keys.push(format!("title:{}|{}", self.title, self.provider.name));
        }
        keys
    }
}

impl Provider {
    fn canonicalise(&mut self) {
        self.name = text::line(&self.name);
        line(&mut self.uscc);
        line(&mut self.unit);
        if let Some(contact) = &mut self.contact {
            [&mut contact.name, &mut contact.phone, &mut contact.email].into_iter().for_each(line);
        }
        self.contact.take_if(|contact| *contact == Contact::default());
    }
}

impl KeyTheme {
    fn canonical(mut self) -> Option<Self> {
        self.area = text::line(&self.area);
        line(&mut self.sub_area);
        if self.area.is_empty() && self.sub_area.is_none() { None } else { Some(self) }
    }
}

impl Item {
    fn canonicalise(&mut self) {
        self.name = text::line(&self.name);
        line(&mut self.column);
        line(&mut self.mask_rule);
        [&mut self.share_reason, &mut self.open_reason, &mut self.note].into_iter().for_each(block);
    }
}

impl Distribution {
    fn canonicalise(&mut self) {
        let lines = [
            &mut self.url,
            &mut self.media_type,
            &mut self.encoding,
            &mut self.checksum,
            &mut self.sla,
            &mut self.licence,
        ];
        lines.into_iter().for_each(line);
        block(&mut self.description);
    }
}

fn line(text: &mut Option<String>) {
    *text = text.take().map(|raw| text::line(&raw)).filter(|text| !text.is_empty());
}

fn block(text: &mut Option<String>) {
    *text = text.take().map(|raw| text::block(&raw)).filter(|text| !text.is_empty());
}

fn set_of_lines(lines: &mut Vec<String>, canonical: fn(&str) -> String) {
    for line in lines.iter_mut() {
        *line = canonical(line);
    }
    lines.retain(|line| !line.is_empty());
    sort(lines);
}

fn sort<T: Ord>(set: &mut Vec<T>) {
    set.sort();
    set.dedup();
}
