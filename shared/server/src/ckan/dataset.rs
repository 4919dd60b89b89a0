//! Datasets: lists, one by its name, and what begins as one types.

use liandong_core::{
    expr::{Expr, TextField},
    id::RecordId,
    label, limit,
};
use serde_json::{Value, json};

use super::{
    Context, Outcome,
    answer::Refusal,
    args,
    find::{BY_CHANGE, Question, is},
    input::Args,
    package,
};
use crate::read::catalogue::Found;

/// Datasets that complete a text when nothing else is said.
const COMPLETIONS: usize = 10;

impl Context<'_> {
    /// The record that a client means by a dataset's name or UUID.
    pub(super) fn dataset(&self, id: &str) -> Result<Found, Refusal> {
        let named = match id.parse::<RecordId>() {
            Ok(named) => self.live(named)?,
            Err(_other) => None,
        };
        if let Some(found) = named {
            return Ok(found);
        }
        let found = self.first(is("id", id))?;
        found.map(|(found, _)| found).ok_or_else(Refusal::not_found)
    }

    /// Records as datasets.
    pub(super) fn packages(&self, records: &[Found]) -> Vec<Value> {
        records.iter().filter_map(|found| package::package(found, self.base)).collect()
    }
}

pub(super) fn package_list(context: &Context<'_>, args: &Args) -> Outcome {
    let offset = args::natural(args, "offset")?.unwrap_or(0);
    let limit = args::natural(args, "limit")?.unwrap_or(usize::MAX);
    let ids = context.ids()?.into_iter().skip(offset).take(limit);
    Ok(ids.map(label::dataset_name).collect())
}

pub(super) fn current_list(context: &Context<'_>, args: &Args) -> Outcome {
    let limit = args::natural(args, "limit")?.unwrap_or(limit::PAGE_RECORDS_MAX);
    let page = args::natural(args, "page")?.unwrap_or(1).saturating_sub(1);
    let offset = args::natural(args, "offset")?.unwrap_or(page.saturating_mul(limit));
    let limit = limit.min(limit::PAGE_RECORDS_MAX);
    let question = Question { limit, offset, sort: BY_CHANGE, ..Question::of(Expr::All) };
    Ok(context.packages(&context.find(question)?.records).into())
}

pub(super) fn package_show(context: &Context<'_>, args: &Args) -> Outcome {
    let id = match args::text(args, "id") {
        Some(id) => id,
        None => args::needed(args, "name_or_id")?,
    };
    let found = context.dataset(&id)?;
    package::package(&found, context.base).ok_or_else(Refusal::not_found)
}

pub(super) fn package_autocomplete(context: &Context<'_>, args: &Args) -> Outcome {
    let q = args::needed(args, "q")?;
    let limit = args::natural(args, "limit")?.unwrap_or(COMPLETIONS);
    let title = Expr::Text { field: Some(TextField::Title), text: q.clone(), phrase: true };
    let name = q.to_lowercase();
    let expr = Expr::Or(vec![title, starts("name", &name)]);
    let limit = limit.min(limit::PAGE_RECORDS_MAX);
    let page = context.find(Question { limit, ..Question::of(expr) })?;
    let complete = |found: &Found| {
        let (own, title) = (label::dataset_name(found.entry.id), found.title());
        let (field, displayed) = if own.starts_with(&name) {
            ("name", own.clone())
        } else {
            ("title", format!("{title} ({own})"))
        };
        json!({ "name": own, "title": title, "match_field": field, "match_displayed": displayed })
    };
    Ok(page.records.iter().map(complete).collect())
}

/// A label that begins with this.
fn starts(key: &str, text: &str) -> Expr {
    let plain: String = text
        .chars()
        .flat_map(|c| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c]))
        .collect();
    Expr::Like { key: key.to_owned(), pattern: format!("{plain}*") }
}

pub(super) fn relationships(context: &Context<'_>, args: &Args) -> Outcome {
    let _there = context.dataset(&args::needed(args, "id")?)?;
    Ok(json!([]))
}
