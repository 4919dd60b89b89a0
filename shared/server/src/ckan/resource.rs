//! Resources: the forms in which records are given out. Their rows are not kept here, so there is no `DataStore`.

use liandong_core::{expr::Expr, limit};
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

/// Formats that complete a text when nothing else is said.
const COMPLETIONS: usize = 5;
/// Datasets whose resources are looked through for one answer.
const DATASETS_MAX: usize = 5_000;
/// Fields of a resource that can be searched.
const FIELDS: [&str; 9] =
    ["id", "name", "format", "description", "url", "mimetype", "hash", "size", "resource_type"];

pub(super) fn resource_show(context: &Context<'_>, args: &Args) -> Outcome {
    resource(context, &args::needed(args, "id")?)
}

fn resource(context: &Context<'_>, id: &str) -> Outcome {
    let Some((found, _)) = context.first(is("res_id", id))? else {
        return Err(Refusal::not_found());
    };
    let resources = package::resources(&found, context.base);
    resources.into_iter().find(|resource| resource["id"] == id).ok_or_else(Refusal::not_found)
}

pub(super) fn view_list(context: &Context<'_>, args: &Args) -> Outcome {
    let _there = resource(context, &args::needed(args, "id")?)?;
    Ok(json!([]))
}

pub(super) fn format_autocomplete(context: &Context<'_>, args: &Args) -> Outcome {
    let q = args::needed(args, "q")?.to_lowercase();
    let limit = args::natural(args, "limit")?.unwrap_or(COMPLETIONS);
    let formats = context.counts(Facet::ResourceFormat)?.into_iter();
    let formats = formats.map(|(format, _)| format.to_lowercase());
    Ok(formats.filter(|format| format.contains(&q)).take(limit).collect())
}

/// `query` is `field:text` or a list of such; a resource is found when every one of its fields holds the text,
/// whatever the case. `count` counts resources up to the end of the page and, beyond it, datasets: counting every
/// resource of the city for one page is not worth its time.
pub(super) fn resource_search(context: &Context<'_>, args: &Args) -> Outcome {
    let conditions = conditions(args)?;
    let limit = args::natural(args, "limit")?.unwrap_or(limit::PAGE_RECORDS_MAX);
    let offset = args::natural(args, "offset")?.unwrap_or(0);
    let limit = limit.min(limit::PAGE_RECORDS_MAX);
    let expr = prefilter(context, &conditions)?;
    let (mut seen, mut results, mut datasets, mut total) = (0, Vec::new(), 0, 0);
    while datasets < DATASETS_MAX && results.len() < limit {
        let page = Question {
            limit: limit::PAGE_HITS_MAX,
            offset: datasets,
            ..Question::of(expr.clone())
        };
        let page = context.find(page)?;
        total = page.total;
        for found in &page.records {
            let resources = package::resources(found, context.base);
            let fitting = resources.into_iter().filter(|resource| fits(resource, &conditions));
            for resource in fitting {
                seen += 1;
                if seen > offset && results.len() < limit {
                    results.push(resource);
                }
            }
        }
        datasets += limit::PAGE_HITS_MAX;
        if datasets >= total {
            break;
        }
    }
    let count = if datasets >= total { seen } else { seen.max(total) };
    Ok(json!({ "count": count, "results": results }))
}

fn conditions(args: &Args) -> Result<Vec<(String, String)>, Refusal> {
    let pairs = args::list(args, "query");
    if pairs.is_empty() {
        return Err(Refusal::invalid("query", "Missing value"));
    }
    let malformed = || Refusal::invalid("query", "Must be <field>:<value> pair(s)");
    let read = |pair: &String| {
        let (field, text) = pair.split_once(':').ok_or_else(malformed)?;
        if !FIELDS.contains(&field) {
            let told = format!("Field \"{field}\" not recognised in resource_search.");
            return Err(Refusal::invalid("query", told));
        }
        Ok((field.to_owned(), text.to_lowercase()))
    };
    pairs.iter().map(read).collect()
}

fn fits(resource: &Value, conditions: &[(String, String)]) -> bool {
    conditions.iter().all(|(field, text)| match &resource[field] {
        Value::Null => false,
        Value::String(value) => value.to_lowercase().contains(text),
        other => other.to_string().contains(text),
    })
}

/// What the index can tell beforehand of the datasets that may have such resources.
fn prefilter(context: &Context<'_>, conditions: &[(String, String)]) -> Result<Expr, Refusal> {
    let mut all = vec![Expr::Has { key: "res_format".to_owned() }];
    for (field, text) in conditions {
        match field.as_str() {
            "id" => all.push(is("res_id", text.as_str())),
            "format" => {
                let formats = context.counts(Facet::ResourceFormat)?.into_iter();
                let fitting = formats.filter(|(format, _)| format.to_lowercase().contains(text));
                all.push(Expr::Or(fitting.map(|(format, _)| is("res_format", format)).collect()));
            }
            _ => {}
        }
    }
    Ok(Expr::all(all))
}

pub(super) fn datastore_search(_context: &Context<'_>, args: &Args) -> Outcome {
    no_table(&args::needed(args, "resource_id")?)
}

pub(super) fn datastore_info(_context: &Context<'_>, args: &Args) -> Outcome {
    no_table(&args::needed(args, "id")?)
}

fn no_table(id: &str) -> Outcome {
    Err(Refusal::NotFound(format!("Resource \"{id}\" was not found.")))
}
