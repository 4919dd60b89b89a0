//! Organisations and groups: departments and themes.

use liandong_core::limit;
use serde_json::{Value, json};

use super::{
    Context, Outcome,
    answer::Refusal,
    args,
    directory::{Group, Kind},
    find::{Question, is},
    input::Args,
    package,
};

/// Groups that complete a text when nothing else is said.
const COMPLETIONS: usize = 20;

pub(super) fn organization_list(context: &Context<'_>, args: &Args) -> Outcome {
    list(context, args, Kind::Organization, "organizations")
}

pub(super) fn organization_show(context: &Context<'_>, args: &Args) -> Outcome {
    show(context, args, Kind::Organization)
}

pub(super) fn organization_autocomplete(context: &Context<'_>, args: &Args) -> Outcome {
    autocomplete(context, args, Kind::Organization)
}

pub(super) fn group_list(context: &Context<'_>, args: &Args) -> Outcome {
    list(context, args, Kind::Group, "groups")
}

pub(super) fn group_show(context: &Context<'_>, args: &Args) -> Outcome {
    show(context, args, Kind::Group)
}

pub(super) fn group_autocomplete(context: &Context<'_>, args: &Args) -> Outcome {
    autocomplete(context, args, Kind::Group)
}

pub(super) fn group_package_show(context: &Context<'_>, args: &Args) -> Outcome {
    let group = context.group(Kind::Group, &args::needed(args, "id")?)?;
    let limit = args::natural(args, "limit")?.unwrap_or(limit::PAGE_RECORDS_MAX);
    packages(context, &group, limit)
}

fn packages(context: &Context<'_>, group: &Group, limit: usize) -> Outcome {
    let expr = is(group.kind.label(), group.name.as_str());
    let limit = limit.min(limit::PAGE_RECORDS_MAX);
    let page = context.find(Question { limit, ..Question::of(expr) })?;
    Ok(context.packages(&page.records).into())
}

fn list(context: &Context<'_>, args: &Args, kind: Kind, chosen: &str) -> Outcome {
    let limit = args::natural(args, "limit")?.unwrap_or(usize::MAX);
    let offset = args::natural(args, "offset")?.unwrap_or(0);
    let sort = args::text(args, "sort").unwrap_or_else(|| "title asc".to_owned());
    let only = args::list(args, chosen);
    let mut groups = context.groups(kind)?;
    groups.retain(|group| only.is_empty() || only.iter().any(|id| group.answers_to(id)));
    order(&mut groups, &sort)?;
    let page = groups.iter().skip(offset).take(limit);
    if args::flag(args, "all_fields", false) {
        let page = page.take(limit::PAGE_RECORDS_MAX);
        return Ok(page.map(package::group).collect());
    }
    Ok(page.map(|group| Value::from(group.name.as_str())).collect())
}

fn order(groups: &mut [Group], sort: &str) -> Result<(), Refusal> {
    let (field, direction) = sort.trim().split_once(' ').unwrap_or((sort.trim(), "asc"));
    match field {
        "title" => groups.sort_by(|a, b| (&a.title, &a.name).cmp(&(&b.title, &b.name))),
        "name" => groups.sort_by(|a, b| a.name.cmp(&b.name)),
        "package_count" | "packages" => {
            groups.sort_by(|a, b| (a.count, &a.name).cmp(&(b.count, &b.name)));
        }
        other => {
            let told = format!("Cannot sort by field `{other}`");
            return Err(Refusal::invalid("sort", told));
        }
    }
    if direction.trim() == "desc" {
        groups.reverse();
    }
    Ok(())
}

fn show(context: &Context<'_>, args: &Args, kind: Kind) -> Outcome {
    let group = context.group(kind, &args::needed(args, "id")?)?;
    let mut shown = package::group(&group);
    if let Some(fields) = shown.as_object_mut() {
        for empty in ["extras", "groups", "tags", "users"] {
            fields.insert(empty.to_owned(), json!([]));
        }
        if args::flag(args, "include_datasets", false) {
            let packages = packages(context, &group, limit::PAGE_RECORDS_MAX)?;
            fields.insert("packages".to_owned(), packages);
        }
    }
    Ok(shown)
}

fn autocomplete(context: &Context<'_>, args: &Args, kind: Kind) -> Outcome {
    let q = args::needed(args, "q")?.to_lowercase();
    let limit = args::natural(args, "limit")?.unwrap_or(COMPLETIONS);
    let mut groups = context.groups(kind)?;
    groups.retain(|group| group.name.contains(&q) || group.title.to_lowercase().contains(&q));
    order(&mut groups, "title asc")?;
    let brief =
        |group: &Group| json!({ "id": group.id(), "name": group.name, "title": group.title });
    Ok(groups.iter().take(limit).map(brief).collect())
}
