//! `/search`: the URL is its state, and everything works without a script.

use askama::Template;
use liandong_core::{limit, record::Record, search::Piece};
use liandong_store::{Facet, Sort};

use super::{
    facet::{Chip, FacetView, Links},
    locale::Locale,
    snippet::snippet,
    view::{Frame, Moment, freshness},
};
use crate::{
    problem::Problem,
    read::{
        address::Address,
        catalogue::{SEARCH_DEFAULT, Snapshot},
        params::Params,
        search::{SORTS, SearchAnswer, SearchHit, SearchQuery, Source, Why, read_scope},
    },
    site::{DistrictView, State},
};

/// Furthest page of a search.
const PAGES_MAX: usize = limit::OFFSET_MAX / SEARCH_DEFAULT;
/// Page numbers beside the current one.
const PAGES_BESIDE: usize = 2;
/// Districts that are named for not being current.
const LATE_NAMED: usize = 5;

/// A district that a search may be narrowed to.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) chosen: bool,
}

/// Another state of the same search.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) label: String,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// One of the records that are one datum.
#[derive(Debug, Clone)]
pub(crate) struct SourceView {
    pub(crate) href: String,
    pub(crate) title: String,
    pub(crate) provider: String,
    pub(crate) district: String,
    pub(crate) state: &'static str,
    pub(crate) freshness: String,
    pub(crate) authoritative: bool,
}

/// A record that was found.
#[derive(Debug, Clone)]
pub(crate) struct HitView {
    pub(crate) href: String,
    pub(crate) title: Vec<Piece>,
    pub(crate) snippet: Vec<Piece>,
    pub(crate) provider: String,
    pub(crate) district: String,
    pub(crate) state: &'static str,
    pub(crate) freshness: String,
    pub(crate) open: &'static str,
    pub(crate) cycle: Option<&'static str>,
    pub(crate) sources: Vec<SourceView>,
    /// Where it was met, when that was asked.
    pub(crate) why: Vec<String>,
}

impl HitView {
    fn new(hit: &SearchHit, record: &Record, now_ms: i64, locale: &Locale) -> Self {
        let (found, open) = (&hit.found, record.open.kind);
        let untitled = || vec![Piece { text: "—".to_owned(), hit: false }];
        let why = |why: &Why| {
            let (zh, en) = why.label();
            format!("{}{}{}", locale.t(zh, en), locale.t("：", ": "), why.terms.join(" "))
        };
        let source = |source: &Source| SourceView::new(source, now_ms, locale);
        Self {
            href: locale.link(&format!("/dataset/{}", found.entry.id)),
            title: if hit.title.is_empty() { untitled() } else { hit.title.clone() },
            snippet: snippet(&hit.summary),
            provider: record.provider.name.clone(),
            district: found.district.name.clone(),
            state: found.district.state.name(),
            freshness: freshness(&found.district, now_ms, locale),
            open: locale.t(open.label_zh(), open.label_en()),
            cycle: record.update_cycle.map(|cycle| locale.t(cycle.label_zh(), cycle.label_en())),
            sources: hit.sources.iter().map(source).collect(),
            why: hit.why.iter().map(why).collect(),
        }
    }
}

impl SourceView {
    fn new(source: &Source, now_ms: i64, locale: &Locale) -> Self {
        let found = &source.found;
        let title = if found.title().is_empty() { "—" } else { found.title() };
        Self {
            href: locale.link(&format!("/dataset/{}", found.entry.id)),
            title: title.to_owned(),
            provider: found.live().map_or_else(String::new, |record| record.provider.name.clone()),
            district: found.district.name.clone(),
            state: found.district.state.name(),
            freshness: freshness(&found.district, now_ms, locale),
            authoritative: source.authoritative,
        }
    }
}

/// One page of the answer among others.
#[derive(Debug, Clone)]
pub(crate) struct PageLink {
    pub(crate) number: usize,
    /// What a screen reader says: a number alone means little in a list of links.
    pub(crate) label: String,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// The whole city at a node, which may be chosen instead of the district's own catalogue.
#[derive(Debug, Clone)]
pub(crate) struct CityChoice {
    pub(crate) chosen: bool,
    /// How current the city is here.
    pub(crate) freshness: String,
}

impl CityChoice {
    fn of(snapshot: &Snapshot<'_>, now_ms: i64, locale: &Locale) -> Option<Self> {
        let city = snapshot.site.replica()?;
        let freshness = match city.as_of {
            None => locale
                .t("全市目录尚未同步完成", "the city's catalogue is not complete yet")
                .to_owned(),
            Some(as_of) => {
                let moment = Moment::new(as_of, now_ms, locale);
                let (time, ago) = (moment.text, moment.ago);
                let stale = if city.stale {
                    locale.t("，可能已过时", ", may be out of date")
                } else {
                    ""
                };
                locale.t(
                    format!("全市数据截至 {time}（{ago}）{stale}"),
                    format!("the city as of {time} ({ago}){stale}"),
                )
            }
        };
        Some(Self { chosen: snapshot.city, freshness })
    }
}

/// What the answer stands for.
#[derive(Debug, Clone)]
pub(crate) struct Honesty {
    /// How current the least current district in it is.
    pub(crate) as_of: Option<Moment>,
    /// Changes that the index has applied, and changes that the catalogue holds.
    pub(crate) applied: Option<(u64, u64)>,
    /// Districts that are not current, and how they stand.
    pub(crate) late: Vec<String>,
    /// How many more of them there are.
    pub(crate) later: usize,
}

impl Honesty {
    fn of(
        snapshot: &Snapshot<'_>,
        query: &SearchQuery,
        answer: &SearchAnswer,
        (now_ms, locale): (i64, &Locale),
    ) -> Self {
        let progress = snapshot.store().progress();
        let held = |(feed, _): (&_, &_)| progress.get(feed).map_or(0, |at| at.head.seq);
        let applied = answer.applied.values().map(|head| head.seq).sum();
        let asked = |district: &&DistrictView| {
            query.districts.is_empty() || query.districts.contains(&district.code)
        };
        let is_late = |district: &&DistrictView| {
            !matches!(district.state, State::InSync | State::Waiting | State::Merged)
        };
        let late = snapshot.districts.iter().filter(asked).filter(is_late);
        let told: Vec<String> = late
            .map(|late| {
                format!("{}{}{}", late.name, locale.t("：", ": "), freshness(late, now_ms, locale))
            })
            .collect();
        Self {
            as_of: answer.as_of.map(|ms| Moment::new(ms, now_ms, locale)),
            applied: (!answer.applied.is_empty())
                .then(|| (applied, answer.applied.iter().map(held).sum())),
            later: told.len().saturating_sub(LATE_NAMED),
            late: told.into_iter().take(LATE_NAMED).collect(),
        }
    }
}

/// `/search`
#[derive(Debug, Clone, Template)]
#[template(path = "search.html")]
pub(crate) struct SearchPage {
    pub(crate) frame: Frame,
    pub(crate) query: String,
    /// What the form carries on besides its own fields.
    pub(crate) carried: Vec<(&'static str, String)>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) city: Option<CityChoice>,
    pub(crate) total: usize,
    pub(crate) page: usize,
    /// What was perhaps meant, and the search for it.
    pub(crate) hint: Option<(String, String)>,
    /// No record has all words.
    pub(crate) relaxed: bool,
    /// Parts of the text were too many.
    pub(crate) shortened: bool,
    pub(crate) chips: Vec<Chip>,
    /// The search without anything chosen.
    pub(crate) cleared: String,
    pub(crate) sorts: Vec<Turn>,
    pub(crate) copies: Turn,
    pub(crate) facets: Vec<FacetView>,
    pub(crate) hits: Vec<HitView>,
    pub(crate) previous: Option<String>,
    pub(crate) next: Option<String>,
    pub(crate) pages: Vec<PageLink>,
    pub(crate) honesty: Honesty,
    pub(crate) atom: String,
    pub(crate) json: String,
}

impl SearchPage {
    pub(crate) fn of(
        snapshot: &Snapshot<'_>,
        locale: Locale,
        mut params: Params,
        now_ms: i64,
    ) -> Result<Self, Problem> {
        let page = params.number("page", 1..=PAGES_MAX, 1);
        let whole = params.all("more");
        let snapshot = &snapshot.scoped(read_scope(&mut params));
        let query = SearchQuery::read(params, ["q", "district"], snapshot)?;
        let query = SearchQuery {
            limit: SEARCH_DEFAULT,
            offset: (page - 1) * SEARCH_DEFAULT,
            after: None,
            facets: Facet::SHOWN.to_vec(),
            ..query
        };
        let answer = snapshot.search(&query)?;
        let address = Address::of(&query, snapshot.city);
        let links = Links { address: &address, locale: &locale, whole: &whole };
        let hit = |hit: &SearchHit| Some(HitView::new(hit, hit.found.live()?, now_ms, &locale));
        let choice = |district: &DistrictView| Choice {
            code: district.code.to_string(),
            name: district.name.clone(),
            chosen: query.districts.contains(&district.code),
        };
        let meant = |hint: &String| (hint.clone(), links.to(&address.set("q", hint.clone())));
        let (previous, next, pages) = paging(answer.total, page, &links);
        let choices: Vec<Choice> = snapshot.districts.iter().map(choice).collect();
        let city = CityChoice::of(snapshot, now_ms, &locale);
        let kept = ["q", "scope"].into_iter().chain((choices.len() > 1).then_some("district"));
        Ok(Self {
            carried: address.without(&kept.collect::<Vec<_>>()).pairs().to_vec(),
            choices,
            city,
            total: answer.total,
            page,
            hint: answer.hint.as_ref().map(meant),
            relaxed: answer.understood.relaxed,
            shortened: answer.understood.left_out > 0,
            chips: links.chips(&answer.facets),
            cleared: locale.link(&cleared(&address).at("/search")),
            sorts: sorts(&query, &links),
            copies: copies(&query, &links),
            facets: links.facets(&answer),
            hits: answer.hits.iter().filter_map(hit).collect(),
            previous,
            next,
            pages,
            honesty: Honesty::of(snapshot, &query, &answer, (now_ms, &locale)),
            atom: address.at("/search.atom"),
            json: address.at("/search.json"),
            frame: Frame::new(&snapshot.site.name(), locale),
            query: query.text,
        })
    }
}

/// Only text and scope.
fn cleared(address: &Address) -> Address {
    let all = address.pairs().iter().map(|(name, _)| *name);
    let narrowing: Vec<&str> =
        all.filter(|name| !["q", "scope", "sort", "copies"].contains(name)).collect();
    address.without(&narrowing)
}

fn sorts(query: &SearchQuery, links: &Links<'_>) -> Vec<Turn> {
    let labels = [
        ("relevance", "相关度", "Relevance"),
        ("newest", "最新收录", "Newest"),
        ("updated", "最近更新", "Updated"),
        ("data", "数据日期", "Day of the data"),
        ("name", "名称", "Name"),
    ];
    let turn = |(name, zh, en): (&'static str, &'static str, &'static str)| {
        let sort = SORTS.iter().find(|(known, _)| *known == name).map(|(_, sort)| *sort);
        let usual = sort == Some(Sort::default());
        let address = links.address.without(&["sort"]);
        let address = if usual { address } else { address.plus("sort", name) };
        let (label, href) = (links.locale.t(zh, en).to_owned(), links.to(&address));
        Turn { label, href, current: sort == Some(query.sort) }
    };
    labels.into_iter().map(turn).collect()
}

/// The other way to show copies.
fn copies(query: &SearchQuery, links: &Links<'_>) -> Turn {
    let (zh, en) = if query.apart {
        ("合并显示同一数据", "Fold copies")
    } else {
        ("分开显示", "Show copies apart")
    };
    let address = links.address.without(&["copies"]);
    let address = if query.apart { address } else { address.plus("copies", "apart") };
    let label = links.locale.t(zh, en).to_owned();
    Turn { label, href: links.to(&address), current: query.apart }
}

type Paging = (Option<String>, Option<String>, Vec<PageLink>);

fn paging(total: usize, page: usize, links: &Links<'_>) -> Paging {
    let last = total.div_ceil(SEARCH_DEFAULT).clamp(1, PAGES_MAX);
    let href = |number: usize| match number {
        1 => links.to(links.address),
        number => links.to(&links.address.plus("page", number.to_string())),
    };
    let from = page.saturating_sub(PAGES_BESIDE).max(1);
    let numbers = from..=(page + PAGES_BESIDE).min(last);
    let link = |number| PageLink {
        number,
        label: links.locale.t(format!("第 {number} 页"), format!("Page {number}")),
        href: href(number),
        current: number == page,
    };
    let pages = if last > 1 { numbers.map(link).collect() } else { Vec::new() };
    let previous = (page > 1).then(|| href((page - 1).min(last)));
    (previous, (page < last).then(|| href(page + 1)), pages)
}
