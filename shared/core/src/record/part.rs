//! The parts of a record.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::code::{DataType, Delivery, OpenKind, ShareKind, ShareMode};

/// Who provides the resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Provider {
    /// Name of the department.
    pub name: String,
    /// Its unified social credit code, 18 characters. This is the key; names have many spellings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uscc: Option<String>,
    /// Inner department (提供科室).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
}

/// Whom to ask about a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// Name of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Telephone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// E-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Place in the year's key theme, e.g. 城市安全 / 交通出行.
///
/// Source: plan 二(二)1.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyTheme {
    /// The theme.
    pub area: String,
    /// Its part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_area: Option<String>,
}

/// How the resource is shared between departments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// How far.
    pub kind: ShareKind,
    /// On which condition, when on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Why not, when not shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By which ways; a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<ShareMode>,
}

/// How the resource is open to the public.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Open {
    /// How far.
    pub kind: OpenKind,
    /// On which condition, when on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Why not, when closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One information item (信息项), usually a column.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Item {
    /// Name for people.
    pub name: String,
    /// Name of the column in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<DataType>,
    /// Length, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// How far it is shared; none means as the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareKind>,
    /// Why it is not shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_reason: Option<String>,
    /// How far it is open; none means as the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenKind>,
    /// Why it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_reason: Option<String>,
    /// Rule by which it is masked before anyone outside sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_rule: Option<String>,
    /// Whether this resource is where the city takes the item from (一数一源).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authoritative: bool,
    /// Remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One form in which the resource is given out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Distribution {
    /// Service, file or medium.
    pub mode: Delivery,
    /// Address, at the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Media type, e.g. `text/csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Character set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Checksum with its method, e.g. `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Size, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What a caller has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Promised level of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<String>,
    /// Licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Whether it is a masked or cut form, without the items that are not open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// A name the resource has elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identifier {
    /// Kind of name: `url` for a landing page, `id` for an identifier of another system.
    pub scheme: String,
    /// The name.
    pub value: String,
}

/// From when until when the resource holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Validity {
    /// First day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// Last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}
