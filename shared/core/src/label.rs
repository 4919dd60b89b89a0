//! The names under which other catalogues know our records, and the labels by which programs look them up.
//!
//! The rules are CKAN's, so that a real one can import every record: a dataset whose name, tag or extra breaks them
//! is refused as a whole. The index stores exactly [`labels`]; the CKAN interface publishes the same values.

use crate::{
    id::{FeedId, Hash, RecordId},
    record::{Provider, Record},
};

mod extra;
mod licence;
mod resource;
mod tag;

pub use extra::extras;
pub use licence::{LICENCES, Licence, licence_id};
pub use resource::{Resource, formats, resources};
pub use tag::tags;

/// Longest value of a label, characters; longer ones are cut. Only texts are, never a name.
const VALUE_CHARS_MAX: usize = 256;

/// The name of a dataset: the text of its id, which fits `[a-z0-9_-]{2,100}`.
pub fn dataset_name(id: RecordId) -> String {
    id.to_string()
}

/// The UUID of a dataset.
pub fn dataset_uuid(id: RecordId) -> String {
    uuid(&[b"dataset", &id.to_bytes()])
}

/// The place of a dataset in the order of the UUIDs, which clients ask for as `sort=id asc`.
pub fn dataset_order(id: RecordId) -> u64 {
    let bytes = uuid_bytes(&[b"dataset", &id.to_bytes()]);
    bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// The name of a department of a district. It follows the feed and the department's credit code, so it outlives
/// changes of the district's name and code.
pub fn organization_name(feed: FeedId, provider: &Provider) -> String {
    let key = provider.uscc.as_deref().unwrap_or(&provider.name);
    let hash = Hash::of(&[b"liandong.organization.v1\0", feed.as_bytes(), key.as_bytes()]);
    format!("org-{}", hex::encode(&hash.as_bytes()[..16]))
}

/// The UUID of an organisation or group, by its name.
pub fn group_uuid(name: &str) -> String {
    uuid(&[b"group", name.as_bytes()])
}

/// The UUID of a tag.
pub fn tag_uuid(tag: &str) -> String {
    uuid(&[b"tag", tag.as_bytes()])
}

/// The name of the group of a theme; themes are mostly Chinese, which a name cannot hold.
pub fn group_name(theme: &str) -> String {
    let hash = Hash::of(&[b"liandong.group.v1\0", theme.as_bytes()]);
    format!("theme-{}", hex::encode(&hash.as_bytes()[..8]))
}

/// A UUID made of a hash, version 8: equal things have equal ones everywhere.
fn uuid(parts: &[&[u8]]) -> String {
    let digits = hex::encode(uuid_bytes(parts));
    let (a, b, c) = (&digits[..8], &digits[8..12], &digits[12..16]);
    format!("{a}-{b}-{c}-{}-{}", &digits[16..20], &digits[20..])
}

fn uuid_bytes(parts: &[&[u8]]) -> [u8; 16] {
    let lengths: Vec<[u8; 8]> =
        parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let mut hashed: Vec<&[u8]> = vec![b"liandong.uuid.v1\0"];
    for (length, part) in lengths.iter().zip(parts) {
        hashed.extend([length.as_slice(), part]);
    }
    let hash = Hash::of(&hashed);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

/// An address that a mailer takes and CKAN's check lets through.
pub fn email(raw: &str) -> Option<&str> {
    let (user, domain) = raw.split_once('@')?;
    let sign = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    (!user.is_empty() && user.chars().all(sign) && domain.split('.').all(part)).then_some(raw)
}

/// All pairs of key and value by which a record of a feed is found: `Is`, `Has` and `Like` of an expression compare
/// with these and nothing else. Every pair is there once.
pub fn labels(id: RecordId, feed: FeedId, record: &Record) -> Vec<(String, String)> {
    let mut labels = Labels::default();
    let (name, organization) = (dataset_name(id), organization_name(feed, &record.provider));
    labels.put("id", dataset_uuid(id));
    labels.put("id", name.clone());
    labels.put("name", name);
    for (key, value) in [("state", "active"), ("dataset_type", "dataset"), ("capacity", "public")] {
        labels.put(key, value);
    }
    labels.put("owner_org", group_uuid(&organization));
    labels.put("organization", organization);
    if let Some(theme) = &record.theme {
        labels.put("groups", group_name(theme));
    }
    for tag in tags(&record.keywords) {
        labels.put("tags", tag);
    }
    labels.put("license_id", licence_id(record));
    labels.put("author", record.provider.name.as_str());
    labels.put("maintainer", maintainer(record).unwrap_or_default());
    // Its words are found as text; the label only says that there is one.
    if !record.summary.is_empty() {
        labels.put("notes", "1");
    }
    for resource in resources(id, record) {
        labels.put("res_id", resource.id);
        labels.put("res_format", resource.format);
        labels.put("res_name", resource.name);
        labels.put("res_description", resource.description);
    }
    for (key, value) in extras(id, record) {
        labels.put(&format!("extras_{key}"), value);
    }
    labels.0
}

/// Who keeps the dataset: the department's unit, or its person.
pub fn maintainer(record: &Record) -> Option<&str> {
    let contact = record.provider.contact.as_ref();
    record.provider.unit.as_deref().or(contact.and_then(|contact| contact.name.as_deref()))
}

#[derive(Default)]
struct Labels(Vec<(String, String)>);

impl Labels {
    fn put(&mut self, key: &str, value: impl AsRef<str>) {
        let value: String = value.as_ref().chars().take(VALUE_CHARS_MAX).collect();
        let pair = (key.to_owned(), value);
        if !pair.1.is_empty() && !self.0.contains(&pair) {
            self.0.push(pair);
        }
    }
}
