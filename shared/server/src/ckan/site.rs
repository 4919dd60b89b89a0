//! The site, and what it does not have.

#![expect(clippy::unnecessary_wraps, reason = "the table of actions holds functions of one type")]

use liandong_core::label::{LICENCES, Licence};
use serde_json::{Value, json};

use super::{Context, Outcome, answer::Refusal, args, help::ACTIONS, input::Args};

/// Release of CKAN whose interface this is: clients choose by it what they ask.
const CKAN_VERSION: &str = "2.11.6";

pub(super) fn status_show(context: &Context<'_>, _args: &Args) -> Outcome {
    let site = context.snapshot.site;
    Ok(json!({
        "ckan_version": CKAN_VERSION,
        "site_url": context.base,
        "site_description": "",
        "site_title": site.name(),
        "error_emails_to": null,
        "locale_default": "zh_Hans_CN",
        "extensions": [],
        "software": site.status().software,
    }))
}

pub(super) fn help_show(_context: &Context<'_>, args: &Args) -> Outcome {
    let name = args::needed(args, "name")?;
    let action = ACTIONS.iter().find(|action| action.name == name);
    let unknown = || Refusal::NotFound("Action function not found.".to_owned());
    Ok(action.ok_or_else(unknown)?.help.into())
}

pub(super) fn license_list(_context: &Context<'_>, _args: &Args) -> Outcome {
    Ok(LICENCES.iter().map(licence).collect())
}

fn licence(licence: &Licence) -> Value {
    let conformance = if licence.open { "approved" } else { "not reviewed" };
    json!({
        "id": licence.id,
        "title": licence.title,
        "url": licence.url,
        "status": "active",
        "family": "",
        "maintainer": "",
        "is_generic": licence.url.is_empty(),
        "domain_content": false,
        "domain_data": licence.open,
        "domain_software": false,
        "od_conformance": conformance,
        "osd_conformance": "not reviewed",
        "legacy_ids": [],
    })
}

/// Things that there are none of.
pub(super) fn empty_list(_context: &Context<'_>, _args: &Args) -> Outcome {
    Ok(json!([]))
}

/// One of the things that there are none of.
pub(super) fn nobody(_context: &Context<'_>, args: &Args) -> Outcome {
    let _id = args::needed(args, "id")?;
    Err(Refusal::not_found())
}
