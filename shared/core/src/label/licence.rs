//! Licences by the ids that other catalogues know.

use crate::{code::OpenKind, record::Record};

/// A licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Licence {
    /// Its id, as CKAN has it.
    pub id: &'static str,
    /// Its name.
    pub title: &'static str,
    /// Where its text is; empty when it has none.
    pub url: &'static str,
    /// Whether it meets the Open Definition.
    pub open: bool,
    /// Spellings in our records, lower case without blanks, hyphens and underscores.
    spellings: &'static [&'static str],
}

const fn licence(
    id: &'static str,
    title: &'static str,
    url: &'static str,
    open: bool,
    spellings: &'static [&'static str],
) -> Licence {
    Licence { id, title, url, open, spellings }
}

/// Every licence that a record may have, in the order of the list.
pub const LICENCES: &[Licence] = &[
    licence("notspecified", "License not specified", "", false, &[]),
    licence(
        "odc-pddl",
        "Open Data Commons Public Domain Dedication and License (PDDL)",
        "http://www.opendefinition.org/licenses/odc-pddl",
        true,
        &["odcpddl", "pddl"],
    ),
    licence(
        "odc-odbl",
        "Open Data Commons Open Database License (ODbL)",
        "http://www.opendefinition.org/licenses/odc-odbl",
        true,
        &["odcodbl", "odbl"],
    ),
    licence(
        "odc-by",
        "Open Data Commons Attribution License",
        "http://www.opendefinition.org/licenses/odc-by",
        true,
        &["odcby"],
    ),
    licence(
        "cc-zero",
        "Creative Commons CCZero",
        "http://www.opendefinition.org/licenses/cc-zero",
        true,
        &["cczero", "cc0", "cc01.0"],
    ),
    licence(
        "cc-by",
        "Creative Commons Attribution",
        "http://www.opendefinition.org/licenses/cc-by",
        true,
        &["ccby", "ccby4.0", "ccby3.0", "知识共享署名"],
    ),
    licence(
        "cc-by-sa",
        "Creative Commons Attribution Share-Alike",
        "http://www.opendefinition.org/licenses/cc-by-sa",
        true,
        &["ccbysa", "ccbysa4.0", "ccbysa3.0", "知识共享署名相同方式共享"],
    ),
    licence(
        "cc-nc",
        "Creative Commons Non-Commercial (Any)",
        "http://creativecommons.org/licenses/by-nc/2.0/",
        false,
        &["ccnc", "ccbync", "ccbync4.0"],
    ),
    licence("other-open", "Other (Open)", "", true, &["otheropen"]),
    licence("other-closed", "Other (Not Open)", "", false, &["otherclosed"]),
];

/// The id of a record's licence: of the first distribution that names one. Words that are no known licence are
/// `other-open` or `other-closed`, as the record is open or not.
pub fn licence_id(record: &Record) -> &'static str {
    let Some(text) = record.distributions.iter().find_map(|one| one.licence.as_deref()) else {
        return "notspecified";
    };
    let plain: String =
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_')).collect();
    let plain = plain.to_lowercase();
    let known = LICENCES.iter().find(|licence| licence.spellings.contains(&plain.as_str()));
    match (known, record.open.kind) {
        (Some(licence), _) => licence.id,
        (None, OpenKind::Open) => "other-open",
        (None, OpenKind::OnRequest | OpenKind::Closed) => "other-closed",
    }
}
