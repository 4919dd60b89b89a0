//! A record as a dataset of CKAN. Values are such that a real one takes them, see [`liandong_core::label`].

use jiff::Timestamp;
use liandong_core::{
    label::{self, LICENCES, Licence, Resource},
    record::Record,
};
use serde_json::{Value, json};

use super::directory::{Group, Kind};
use crate::read::catalogue::Found;

/// A moment as CKAN writes it: UTC without saying so, with microseconds. Its harvesters compare the texts.
pub(super) fn moment(us: i64) -> String {
    let text = |moment: Timestamp| moment.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    Timestamp::from_microsecond(us).map(text).unwrap_or_default()
}

/// The dataset of a record; none when the record was withdrawn.
pub(super) fn package(found: &Found, base: &str) -> Option<Value> {
    let record = found.live()?;
    let id = found.entry.id;
    let page = format!("{base}/dataset/{id}");
    let licence = licence(label::licence_id(record));
    let organization = Group::organization(found)?;
    let contact = record.provider.contact.as_ref();
    let email = contact.and_then(|contact| contact.email.as_deref()).and_then(label::email);
    let landing = record.identifiers.iter().find(|one| one.scheme == "url");
    let tags = label::tags(&record.keywords);
    let resources = resources(found, base);
    let groups: Vec<Value> = record.theme.iter().map(|theme| brief(&Group::theme(theme))).collect();
    Some(json!({
        "author": record.provider.name,
        "author_email": email,
        "creator_user_id": null,
        "id": label::dataset_uuid(id),
        "isopen": licence.open,
        "license_id": licence.id,
        "license_title": licence.title,
        "license_url": licence.url,
        "maintainer": label::maintainer(record),
        "maintainer_email": email,
        "metadata_created": moment(found.entry.stamps.created_us),
        "metadata_modified": moment(found.entry.stamps.modified_us),
        "name": label::dataset_name(id),
        "notes": record.summary,
        "num_resources": resources.len(),
        "num_tags": tags.len(),
        "organization": organization_of(&organization),
        "owner_org": organization.id(),
        "private": false,
        "state": "active",
        "title": found.title(),
        "type": "dataset",
        "url": landing.map_or(page, |landing| landing.value.clone()),
        "version": null,
        "extras": extras(found, record),
        "groups": groups,
        "resources": resources,
        "tags": tags.iter().map(|name| tag(name)).collect::<Vec<Value>>(),
        "relationships_as_object": [],
        "relationships_as_subject": [],
    }))
}

/// The licence with an id.
fn licence(id: &str) -> &'static Licence {
    LICENCES.iter().find(|licence| licence.id == id).unwrap_or(&LICENCES[0])
}

fn extras(found: &Found, record: &Record) -> Vec<Value> {
    let district = &found.district;
    let mut extras = label::extras(found.entry.id, record);
    // Names and codes of districts change, so they are told but not looked up by.
    extras.push(("district_code".to_owned(), district.code.to_string()));
    extras.push(("district_name".to_owned(), district.name.clone()));
    extras.sort();
    extras.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// The resources of a record's dataset.
pub(super) fn resources(found: &Found, base: &str) -> Vec<Value> {
    let Some(record) = found.live() else { return Vec::new() };
    let made = label::resources(found.entry.id, record);
    let made = made.into_iter().enumerate();
    made.map(|(position, resource)| self::resource(found, base, position, resource)).collect()
}

fn resource(found: &Found, base: &str, position: usize, resource: Resource) -> Value {
    let page = || format!("{base}/dataset/{}", found.entry.id);
    json!({
        "cache_last_updated": null,
        "cache_url": null,
        "created": moment(found.entry.stamps.created_us),
        "datastore_active": false,
        "description": resource.description,
        "format": resource.format,
        "hash": resource.checksum.unwrap_or_default(),
        "id": resource.id,
        "last_modified": null,
        "metadata_modified": moment(found.entry.stamps.modified_us),
        "mimetype": resource.media_type,
        "mimetype_inner": null,
        "name": resource.name,
        "package_id": label::dataset_uuid(found.entry.id),
        "position": position,
        "resource_type": resource.mode.map(liandong_core::code::Delivery::code),
        "size": resource.bytes,
        "state": "active",
        "url": resource.url.unwrap_or_else(page),
        "url_type": null,
    })
}

/// A tag as it stands in a dataset.
pub(super) fn tag(name: &str) -> Value {
    json!({
        "display_name": name,
        "id": label::tag_uuid(name),
        "name": name,
        "state": "active",
        "vocabulary_id": null,
    })
}

/// A group as it stands in a dataset.
fn brief(group: &Group) -> Value {
    json!({
        "description": group.description,
        "display_name": group.title,
        "id": group.id(),
        "image_display_url": "",
        "name": group.name,
        "title": group.title,
    })
}

/// An organisation as it stands in a dataset.
fn organization_of(group: &Group) -> Value {
    json!({
        "id": group.id(),
        "name": group.name,
        "title": group.title,
        "type": "organization",
        "description": group.description,
        "image_url": "",
        "created": null,
        "is_organization": true,
        "approval_status": "approved",
        "state": "active",
    })
}

/// An organisation or group in full.
pub(super) fn group(group: &Group) -> Value {
    let (kind, is_organization) = match group.kind {
        Kind::Organization => ("organization", true),
        Kind::Group => ("group", false),
    };
    json!({
        "approval_status": "approved",
        "created": null,
        "description": group.description,
        "display_name": group.title,
        "id": group.id(),
        "image_display_url": "",
        "image_url": "",
        "is_organization": is_organization,
        "name": group.name,
        "num_followers": 0,
        "package_count": group.count,
        "state": "active",
        "title": group.title,
        "type": kind,
    })
}
