//! The forms in which a record is given out, as resources.

use std::collections::BTreeSet;

use crate::{
    code::Delivery,
    id::RecordId,
    record::{Distribution, Record},
};

/// Formats by media type.
const MEDIA_TYPES: &[(&str, &str)] = &[
    ("text/csv", "CSV"),
    ("application/json", "JSON"),
    ("application/geo+json", "GeoJSON"),
    ("application/xml", "XML"),
    ("text/xml", "XML"),
    ("application/rdf+xml", "RDF"),
    ("application/pdf", "PDF"),
    ("application/zip", "ZIP"),
    ("text/html", "HTML"),
    ("text/plain", "TXT"),
    ("application/msword", "DOC"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "DOCX"),
    ("application/vnd.ms-excel", "XLS"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "XLSX"),
];

/// Longest first line of a description that names a resource, characters.
const NAME_CHARS_MAX: usize = 100;
/// Longest end of a file name that is a format, characters.
const FORMAT_CHARS_MAX: usize = 8;

/// One form in which a record is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// UUID: the same as long as way, address and format are.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What a caller has to know; empty when nothing is said.
    pub description: String,
    /// Format as other catalogues write it, e.g. `CSV`.
    pub format: String,
    /// Media type.
    pub media_type: Option<String>,
    /// Address; none when the page of the record is the way.
    pub url: Option<String>,
    /// Size, bytes.
    pub bytes: Option<u64>,
    /// Checksum with its method.
    pub checksum: Option<String>,
    /// Service, file or medium; none when only the format is known.
    pub mode: Option<Delivery>,
}

/// The resources of a record: its distributions, or, when it has none, its formats at the page it comes from.
pub fn resources(id: RecordId, record: &Record) -> Vec<Resource> {
    let mut made: Vec<Resource> = if record.distributions.is_empty() {
        record.formats.iter().map(|format| of_format(record, format)).collect()
    } else {
        record.distributions.iter().map(|one| of_distribution(record, one)).collect()
    };
    let mut seen = BTreeSet::new();
    for resource in &mut made {
        let way = resource.mode.map_or("", Delivery::code);
        let url = resource.url.clone().unwrap_or_default();
        // Two that agree in all this are told apart by their order.
        let key = |nth: u64| {
            let nth = nth.to_be_bytes();
            super::uuid(&[
                b"resource",
                &id.to_bytes(),
                way.as_bytes(),
                url.as_bytes(),
                resource.format.as_bytes(),
                &nth,
            ])
        };
        resource.id =
            (0..=u64::MAX).map(key).find(|uuid| seen.insert(uuid.clone())).unwrap_or_default();
    }
    made
}

/// The formats of a record's resources.
pub fn formats(record: &Record) -> BTreeSet<String> {
    if record.distributions.is_empty() {
        return record.formats.iter().map(|format| written(format)).collect();
    }
    record.distributions.iter().map(|one| format(record, one)).collect()
}

fn of_format(record: &Record, format: &str) -> Resource {
    let landing = record.identifiers.iter().find(|one| one.scheme == "url");
    let format = written(format);
    Resource {
        id: String::new(),
        name: format!("{} ({format})", record.title),
        description: String::new(),
        format,
        media_type: None,
        url: landing.map(|landing| landing.value.clone()),
        bytes: None,
        checksum: None,
        mode: None,
    }
}

fn of_distribution(record: &Record, one: &Distribution) -> Resource {
    let format = format(record, one);
    let description = one.description.clone().unwrap_or_default();
    let first = description.lines().next().unwrap_or_default();
    let short = (1..=NAME_CHARS_MAX).contains(&first.chars().count());
    Resource {
        id: String::new(),
        name: if short { first.to_owned() } else { format!("{} ({format})", record.title) },
        media_type: one.media_type.clone(),
        url: one.url.clone(),
        bytes: one.bytes.filter(|bytes| i64::try_from(*bytes).is_ok()),
        checksum: one.checksum.clone(),
        mode: Some(one.mode),
        description,
        format,
    }
}

/// The format of a distribution: by its media type, the end of its address, the record's only format, or its way.
fn format(record: &Record, one: &Distribution) -> String {
    let media_type = one.media_type.as_deref().and_then(|media_type| {
        let plain = media_type.split(';').next().unwrap_or_default().trim().to_lowercase();
        MEDIA_TYPES.iter().find(|(known, _)| *known == plain).map(|(_, format)| *format)
    });
    if let Some(format) = media_type {
        return format.to_owned();
    }
    if one.mode == Delivery::Api {
        return "API".to_owned();
    }
    let named = one.url.as_deref().and_then(ending);
    let only = || record.formats.first().filter(|_| record.formats.len() == 1).cloned();
    named.or_else(only).map_or_else(|| one.mode.code().to_uppercase(), |format| written(&format))
}

/// The end of the file name in an address.
fn ending(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, file) = path.split_once("://")?.1.rsplit_once('/')?;
    let (_, end) = file.rsplit_once('.')?;
    let fits = (1..=FORMAT_CHARS_MAX).contains(&end.len());
    (fits && end.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| end.to_owned())
}

/// As other catalogues write a format.
fn written(format: &str) -> String {
    match format.to_lowercase().as_str() {
        "geojson" => "GeoJSON".to_owned(),
        other => other.to_uppercase(),
    }
}
