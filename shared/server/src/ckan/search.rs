//! `package_search`: the expression, the order, the facets and the page.

use liandong_core::{
    expr::{Expr, ExprError},
    label::{self, LICENCES},
    limit,
};
use liandong_store::{Facet, Sort, SortBy};
use serde_json::{Map, Value, json};

use super::{
    Context, Outcome,
    answer::Refusal,
    args,
    directory::Kind,
    find::{BY_CHANGE, Page, Question},
    input::Args,
};

/// The order when nothing else is said.
const SORT: &str = "score desc, metadata_modified desc";
/// Datasets on a page when nothing else is said.
const ROWS: usize = 10;
/// Values of a facet when nothing else is said.
const FACET_VALUES: i64 = 50;
/// Arguments that a search may have; those without a meaning here are read and left.
const ARGUMENTS: [&str; 24] = [
    "q",
    "fq",
    "fq_list",
    "sort",
    "rows",
    "start",
    "fl",
    "qf",
    "bf",
    "boost",
    "tie",
    "defType",
    "mm",
    "wt",
    "extras",
    "facet",
    "facet.field",
    "facet.limit",
    "facet.mincount",
    "include_private",
    "include_drafts",
    "include_deleted",
    "use_default_schema",
    "df",
];

pub(super) fn package_search(context: &Context<'_>, args: &Args) -> Outcome {
    let (rows, start) = (args::natural(args, "rows")?, args::natural(args, "start")?);
    let unknown = |name: &&String| !ARGUMENTS.contains(&name.as_str()) && !name.starts_with("ext_");
    if let Some(name) = args.keys().find(unknown) {
        return Err(Refusal::SearchQuery(format!("Invalid search parameters: ['{name}']")));
    }
    let (text, mut expr) = words_or_expression(context, args)?;
    let filters = ["fq", "fq_list"].into_iter().flat_map(|name| args::list(args, name));
    let filters: Vec<Expr> =
        filters.map(|filter| Expr::parse(&filter, context.now_us)).collect::<Result<_, _>>()?;
    expr = Expr::all([vec![expr], filters].concat());
    let told = args::text(args, "sort").filter(|sort| sort != "rank");
    let told = told.unwrap_or_else(|| SORT.to_owned());
    let plain = text.is_empty() && args::text(args, "q").is_none_or(|q| q == "*:*");
    let facets = Facets::read(args)?;
    let question = Question {
        text,
        expr,
        facets: facets.asked(),
        sort: order(&told, plain)?,
        limit: rows.unwrap_or(ROWS).min(limit::PAGE_RECORDS_MAX),
        offset: start.unwrap_or(0),
    };
    let page = context.find(question)?;
    let mut results = context.packages(&page.records);
    let fields = fields(args);
    if !fields.is_empty() {
        for package in &mut results {
            cut(package, &fields);
        }
    }
    let (counts, shown) = facets.show(context, &page)?;
    Ok(json!({
        "count": page.total,
        "facets": counts,
        "results": results,
        "sort": told,
        "search_facets": shown,
    }))
}

/// What a person typed is looked for as on the pages; what names fields or has operators is an expression. Without a
/// colon CKAN forgives what is no expression, and so do we.
fn words_or_expression(context: &Context<'_>, args: &Args) -> Result<(String, Expr), Refusal> {
    let q = args::text(args, "q").filter(|q| q != "\"\"" && q != "''").unwrap_or_default();
    let words = |expr: &Expr| matches!(expr, Expr::Text { field: None, phrase: false, .. });
    match Expr::parse(&q, context.now_us) {
        Ok(Expr::And(parts)) if parts.iter().all(words) => Ok((q, Expr::All)),
        Ok(expr) if words(&expr) => Ok((q, Expr::All)),
        Ok(expr) => Ok((String::new(), expr)),
        Err(
            ExprError::Unpaired { .. }
            | ExprError::Unexpected { .. }
            | ExprError::Missing(_)
            | ExprError::RangeForm(_)
            | ExprError::NoRange { .. },
        ) if !q.contains(':') => Ok((q, Expr::All)),
        Err(error) => Err(error.into()),
    }
}

/// The first field of a `sort` decides; what is equal in it follows in the order of the names. Nobody counts views, so
/// the most viewed are those that changed last.
fn order(sort: &str, plain: bool) -> Result<Sort, Refusal> {
    let invalid = || Refusal::SearchQuery("Invalid \"sort\" parameter".to_owned());
    let mut first = None;
    for part in sort.split(',') {
        let (field, direction) = part.trim().split_once(' ').ok_or_else(invalid)?;
        let by = match field {
            "score" if plain => SortBy::Modified,
            "score" => SortBy::Relevance,
            "id" | "name" => SortBy::Id,
            "title_string" => SortBy::Name,
            "metadata_created" => SortBy::Created,
            "metadata_modified" | "views_recent" => SortBy::Modified,
            _ => return Err(invalid()),
        };
        let descending = match direction.trim() {
            "asc" => false,
            "desc" => true,
            _ => return Err(invalid()),
        };
        first = first.or(Some(Sort { by, descending }));
    }
    Ok(first.unwrap_or(BY_CHANGE))
}

/// Fields that are asked for; none means all.
fn fields(args: &Args) -> Vec<String> {
    let fields = args::list(args, "fl").join(" ");
    let fields = fields.split([' ', ',']).filter(|field| !field.is_empty() && *field != "*");
    fields.map(str::to_owned).collect()
}

/// Leaves the fields of a dataset that are asked for, in the flat form of a search index.
fn cut(package: &mut Value, fields: &[String]) {
    let names = |list: &Value, key: &str| -> Value {
        list.as_array().into_iter().flatten().map(|one| one[key].clone()).collect()
    };
    let mut flat = Map::new();
    for field in fields {
        let value = match field.as_str() {
            "organization" => package["organization"]["name"].clone(),
            "tags" => names(&package["tags"], "name"),
            "groups" => names(&package["groups"], "name"),
            "res_format" => names(&package["resources"], "format"),
            "res_name" => names(&package["resources"], "name"),
            "res_url" => names(&package["resources"], "url"),
            "dataset_type" => package["type"].clone(),
            "capacity" => "public".into(),
            "title_string" => package["title"].clone(),
            _ => match field.strip_prefix("extras_") {
                Some(key) => {
                    let extras = package["extras"].as_array().into_iter().flatten();
                    let mut extras = extras.filter(|extra| extra["key"] == key);
                    extras.next().map_or(Value::Null, |extra| extra["value"].clone())
                }
                None => package[field].clone(),
            },
        };
        if !value.is_null() {
            flat.insert(field.clone(), value);
        }
    }
    *package = flat.into();
}

/// The facets that a client asks for.
struct Facets {
    fields: Vec<String>,
    limit: usize,
    mincount: u64,
}

impl Facets {
    fn read(args: &Args) -> Result<Self, Refusal> {
        let wanted = args::flag(args, "facet", true);
        let limit = args::whole(args, "facet.limit")?.unwrap_or(FACET_VALUES);
        let mincount = args::natural(args, "facet.mincount")?.unwrap_or(1);
        let fields = if wanted { args::list(args, "facet.field") } else { Vec::new() };
        // Less than none means all.
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Self { fields, limit, mincount: mincount as u64 })
    }

    fn facet(field: &str) -> Option<Facet> {
        Some(match field {
            "organization" | "owner_org" => Facet::Organization,
            "groups" => Facet::Group,
            "tags" => Facet::Tag,
            "res_format" => Facet::ResourceFormat,
            "license_id" => Facet::Licence,
            _ => return None,
        })
    }

    fn asked(&self) -> Vec<Facet> {
        let mut facets: Vec<Facet> =
            self.fields.iter().filter_map(|name| Self::facet(name)).collect();
        facets.sort();
        facets.dedup();
        facets
    }

    /// `facets` and `search_facets` of the answer. A field that is no facet has no values.
    fn show(&self, context: &Context<'_>, page: &Page) -> Result<(Value, Value), Refusal> {
        let (mut counts, mut shown) = (Map::new(), Map::new());
        for field in &self.fields {
            let values = self.values(field, page);
            let titles = titles(context, field, &values)?;
            let mut items: Vec<(String, &String, u64)> = Vec::new();
            for (name, count) in &values {
                let title = titles.iter().find(|(known, _)| known == name);
                let title = title.map_or(name, |(_, title)| title);
                items.push((title.clone(), name, *count));
            }
            items.sort_by(|a, b| b.cmp(a));
            let item = |(title, name, count)| json!({ "name": name, "display_name": title, "count": count });
            let items: Vec<Value> = items.into_iter().map(item).collect();
            let own: Map<String, Value> =
                values.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
            counts.insert(field.clone(), own.into());
            shown.insert(field.clone(), json!({ "title": field, "items": items }));
        }
        Ok((counts.into(), shown.into()))
    }

    fn values(&self, field: &str, page: &Page) -> Vec<(String, u64)> {
        let mut values = match field {
            "state" => vec![("active".to_owned(), page.total as u64)],
            "type" | "dataset_type" => vec![("dataset".to_owned(), page.total as u64)],
            "capacity" => vec![("public".to_owned(), page.total as u64)],
            _ => {
                let facet = Self::facet(field);
                facet.and_then(|facet| page.facets.get(&facet)).cloned().unwrap_or_default()
            }
        };
        if field == "owner_org" {
            for (name, _) in &mut values {
                *name = label::group_uuid(name);
            }
        }
        values.retain(|(_, count)| *count >= self.mincount);
        values.truncate(self.limit);
        values
    }
}

/// The titles of the values of a facet that have one.
fn titles(
    context: &Context<'_>,
    field: &str,
    values: &[(String, u64)],
) -> Result<Vec<(String, String)>, Refusal> {
    let kind = match field {
        "organization" => Kind::Organization,
        "groups" => Kind::Group,
        "license_id" => {
            return Ok(LICENCES
                .iter()
                .map(|one| (one.id.to_owned(), one.title.to_owned()))
                .collect());
        }
        _ => return Ok(Vec::new()),
    };
    let groups = context.titled(kind, values.to_vec())?.into_iter();
    Ok(groups.map(|group| (group.name, group.title)).collect())
}
