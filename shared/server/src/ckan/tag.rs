//! Tags. There are no vocabularies of them.

use liandong_core::{label, limit};
use liandong_store::Facet;
use serde_json::{Value, json};

use super::{
    Context, Outcome,
    answer::Refusal,
    args,
    find::{Question, is},
    input::Args,
    package,
};

fn no_vocabulary(args: &Args) -> Result<(), Refusal> {
    match args::text(args, "vocabulary_id") {
        Some(id) => Err(Refusal::NotFound(format!("could not find vocabulary \"{id}\""))),
        None => Ok(()),
    }
}

/// Tags that hold every one of the texts, in order.
fn holding(context: &Context<'_>, texts: &[String]) -> Result<Vec<String>, Refusal> {
    let texts: Vec<String> = texts.iter().map(|text| text.trim().to_lowercase()).collect();
    let holds = |tag: &str| texts.iter().all(|text| tag.to_lowercase().contains(text));
    let counts = context.counts(Facet::Tag)?;
    let mut tags: Vec<String> = counts.into_iter().map(|(tag, _)| tag).collect();
    tags.retain(|tag| holds(tag));
    tags.sort();
    Ok(tags)
}

/// What is looked for; CKAN takes either name.
fn texts(args: &Args) -> Vec<String> {
    let mut texts = args::list(args, "query");
    if texts.is_empty() {
        texts = args::list(args, "q");
    }
    texts.retain(|text| !text.trim().is_empty());
    texts
}

pub(super) fn tag_list(context: &Context<'_>, args: &Args) -> Outcome {
    no_vocabulary(args)?;
    let tags = holding(context, &texts(args))?;
    if args::flag(args, "all_fields", false) {
        return Ok(tags.iter().map(|name| full(name)).collect());
    }
    Ok(tags.into())
}

pub(super) fn tag_search(context: &Context<'_>, args: &Args) -> Outcome {
    let (tags, count) = search(context, args)?;
    let brief =
        |name: &String| json!({ "id": label::tag_uuid(name), "name": name, "vocabulary_id": null });
    Ok(json!({ "count": count, "results": tags.iter().map(brief).collect::<Vec<Value>>() }))
}

pub(super) fn tag_autocomplete(context: &Context<'_>, args: &Args) -> Outcome {
    Ok(search(context, args)?.0.into())
}

/// A page of tags and how many there are. Without a text there are none.
fn search(context: &Context<'_>, args: &Args) -> Result<(Vec<String>, usize), Refusal> {
    no_vocabulary(args)?;
    let limit = args::natural(args, "limit")?.unwrap_or(usize::MAX);
    let offset = args::natural(args, "offset")?.unwrap_or(0);
    let texts = texts(args);
    if texts.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let tags = holding(context, &texts)?;
    let count = tags.len();
    Ok((tags.into_iter().skip(offset).take(limit).collect(), count))
}

pub(super) fn tag_show(context: &Context<'_>, args: &Args) -> Outcome {
    let id = args::needed(args, "id")?;
    no_vocabulary(args)?;
    let mut name = id.clone();
    let limit =
        if args::flag(args, "include_datasets", false) { limit::PAGE_RECORDS_MAX } else { 0 };
    let ask = |name: &str| context.find(Question { limit, ..Question::of(is("tags", name)) });
    let mut page = ask(&name)?;
    if page.total == 0 {
        let tags = holding(context, &[])?;
        let known = tags.into_iter().find(|tag| label::tag_uuid(tag) == id);
        name = known.ok_or_else(Refusal::not_found)?;
        page = ask(&name)?;
    }
    let mut shown = full(&name);
    if let Some(fields) = shown.as_object_mut().filter(|_| limit > 0) {
        fields.insert("packages".to_owned(), context.packages(&page.records).into());
    }
    Ok(shown)
}

fn full(name: &str) -> Value {
    let mut tag = package::tag(name);
    if let Some(fields) = tag.as_object_mut() {
        fields.remove("state");
    }
    tag
}
