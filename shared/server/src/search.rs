//! `search` on the command lines of hub and node: the question and the answer of `/api/v1/search`, for staff, who see
//! what is shared within government too.

use clap::Args;
use liandong_core::id::DistrictCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock,
    output::{Exit, Failure, Output},
    problem::Problem,
    read::{api, catalogue::Snapshot, params::Params},
    site::Site,
};

/// What to search for.
#[derive(Debug, Clone, Default, Args)]
pub struct SearchArgs {
    /// 检索词，多个词以空格分开 / Words; all must match
    query: Vec<String>,
    /// 只查这些区 / Only these districts
    #[arg(long)]
    district: Vec<DistrictCode>,
    /// 限定一个分面的取值，如 theme=交通；同一分面多个取值满足其一 / Choose a value of a facet; any of several
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    facet: Vec<(String, String)>,
    /// 统计这些分面：all 或以逗号分开的名称 / Facets to count: all, or names with commas between
    #[arg(long)]
    facets: Option<String>,
    /// relevance, name, newest, updated, data, id
    #[arg(long)]
    sort: Option<String>,
    /// 最多条数 / Hits at most
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// 从上一页给出的位置继续 / Go on after the page before: its cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// 同一数据的多个来源分开显示 / Show copies of one datum apart
    #[arg(long)]
    apart: bool,
    /// 说明每条为何匹配 / Say why each hit matches
    #[arg(long)]
    explain: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("应为 NAME=VALUE / it is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A search as it goes to the process that serves: the parameters of `/api/v1/search`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    params: Vec<(String, String)>,
}

impl SearchArgs {
    /// The search, at a node in the whole city or in its own catalogue.
    pub fn asked(self, city: bool) -> Asked {
        let mut params = vec![
            ("q".to_owned(), self.query.join(" ")),
            ("limit".to_owned(), self.limit.to_string()),
            ("facets".to_owned(), self.facets.unwrap_or_default()),
            ("sort".to_owned(), self.sort.unwrap_or_default()),
            ("after".to_owned(), self.after.unwrap_or_default()),
            ("copies".to_owned(), if self.apart { "apart" } else { "" }.to_owned()),
            ("explain".to_owned(), if self.explain { "true" } else { "" }.to_owned()),
            ("scope".to_owned(), if city { "city" } else { "" }.to_owned()),
        ];
        params.extend(self.district.iter().map(|code| ("district".to_owned(), code.to_string())));
        params.extend(self.facet);
        Asked { params }
    }
}

/// Answers a search with the document of `/api/v1/search`.
///
/// # Errors
/// The parameters are at fault; the store cannot answer.
pub fn answer(site: &dyn Site, asked: &Asked) -> Result<Value, Failure> {
    let known = ["q", "limit", "facets", "sort", "after", "copies", "explain", "scope", "district"];
    let mut params = Params::new(asked.params.clone());
    let names = asked.params.iter().map(|(name, _)| name.as_str());
    let facets = liandong_store::Facet::SHOWN.map(liandong_store::Facet::name);
    for name in names.filter(|name| !known.contains(name) && !facets.contains(name)) {
        params.unknown_facet("facet", name);
    }
    let staff = Snapshot { staff: true, ..Snapshot::of(site) };
    let found = tokio::task::block_in_place(|| api::found(&staff, params));
    // Through its text, so that a score is the number that HTTP tells and not a longer one.
    let text =
        serde_json::to_vec(&found.map_err(failure)?).and_then(|text| serde_json::from_slice(&text));
    text.map_err(|error| {
        Failure::new("internal", Exit::Error, error.to_string(), error.to_string())
    })
}

fn failure(problem: Problem) -> Failure {
    let exit = if problem.errors.is_empty() { Exit::Error } else { Exit::Usage };
    Failure::new(problem.code.name(), exit, problem.detail.zh, problem.detail.en)
}

/// What is printed of an answer.
#[derive(Debug, Deserialize)]
struct Page {
    total: usize,
    records: usize,
    hits: Vec<Hit>,
    #[serde(default)]
    facets: std::collections::BTreeMap<String, Vec<Counted>>,
    next: Option<String>,
    hint: Option<String>,
    relaxed: bool,
    as_of: Option<i64>,
    /// At a node that was asked for the whole city.
    stale: Option<bool>,
    #[serde(default)]
    complete: bool,
    explain: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Hit {
    id: String,
    title: String,
    provider: String,
    district: District,
    #[serde(default)]
    sources: Vec<Value>,
    #[serde(default)]
    why: Vec<Met>,
}

#[derive(Debug, Deserialize)]
struct District {
    code: String,
    name: String,
    state: String,
    as_of_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Met {
    field: String,
    terms: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Counted {
    value: String,
    label: Label,
    count: u64,
    chosen: bool,
}

#[derive(Debug, Deserialize)]
struct Label {
    zh: String,
}

/// Prints what was found, for people.
///
/// # Errors
/// The answer is not one of [`answer`].
pub fn show(value: Value, output: Output) -> Result<(), Failure> {
    let page: Page = crate::command::read(value)?;
    let row = |hit: &Hit| {
        let age = hit.district.as_of_ms.map(|at| clock::ago(clock::now_ms(), at).0);
        let copies = if hit.sources.is_empty() { 1 } else { hit.sources.len() };
        vec![
            hit.title.clone(),
            hit.provider.clone(),
            format!("{}（{}）", hit.district.name, hit.district.code),
            format!("{} {}", hit.district.state, age.unwrap_or_default()),
            copies.to_string(),
            hit.id.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = page.hits.iter().map(row).collect();
    let head =
        ["标题 Title", "提供方 Provider", "区 District", "时效 Freshness", "来源", "编号 Id"];
    output.table(&head, &rows);
    for (place, hit) in page.hits.iter().enumerate().filter(|(_, hit)| !hit.why.is_empty()) {
        let met: Vec<String> =
            hit.why.iter().map(|met| format!("{}: {}", met.field, met.terms.join(" "))).collect();
        output.line(&format!("{} {}：{}", place + 1, hit.title, met.join("；")));
    }
    for (name, values) in &page.facets {
        let value = |counted: &Counted| {
            let mark = if counted.chosen { "*" } else { "" };
            format!("{mark}{} {} {}", counted.value, counted.label.zh, counted.count)
        };
        let values: Vec<String> = values.iter().map(value).collect();
        output.line(&format!("{name}：{}", values.join("，")));
    }
    let (total, records) = (page.total, page.records);
    output
        .line(&format!("共 {total} 个数据集，{records} 条 / {total} datasets, {records} records"));
    if page.relaxed {
        output
            .line("没有包含全部检索词的，以上包含大部分 / none has all the words; these have most");
    }
    if let Some(hint) = &page.hint {
        output.line(&format!("您是不是要找 / did you mean: {hint}"));
    }
    if let Some(next) = &page.next {
        output.line(&format!("下一页 / next: --after {next}"));
    }
    let as_of = page.as_of.map_or_else(|| "—".to_owned(), clock::format_shanghai);
    match page.stale {
        None => output.line(&format!("数据截至 / as of {as_of}")),
        Some(stale) => {
            let whole = if page.complete { "完整 complete" } else { "不完整 incomplete" };
            let age = if stale { "，可能过时 stale" } else { "" };
            output.line(&format!("全市副本 replica：{whole}，数据截至 as of {as_of}{age}"));
        }
    }
    if let Some(explain) = &page.explain {
        output.line(explain);
    }
    Ok(())
}
