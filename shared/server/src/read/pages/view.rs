//! What the pages show, as values: home, search, messages.

use askama::Template;
use jiff::Timestamp;
use liandong_core::{id::DistrictCode, limit, record::Record};

use super::{
    locale::Locale,
    snippet::{self, Span},
};
use crate::{
    clock,
    problem::Problem,
    read::{
        asset,
        catalogue::{Found, SEARCH_DEFAULT, Snapshot},
        params::{Params, encode},
        search::{SearchAnswer, SearchHit, SearchQuery, read_scope},
        tally::Count,
    },
    site::{DistrictView, Role, State},
};

/// Newest changes on the home page.
const RECENT_RECORDS: usize = 8;
/// Furthest page of a search.
const PAGES_MAX: usize = limit::OFFSET_MAX / SEARCH_DEFAULT;
/// Page numbers beside the current one.
const PAGES_BESIDE: usize = 2;

/// What surrounds every page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) locale: Locale,
    pub(crate) css: &'static str,
    pub(crate) icon: &'static str,
}

impl Frame {
    pub(crate) fn new(site: &str, locale: Locale) -> Self {
        let name = if site.is_empty() { locale.t("联动", "Liandong") } else { site };
        let (css, icon) = (asset::css_url(), asset::icon_url());
        Self { name: name.to_owned(), locale, css, icon }
    }
}

/// A moment for people and for machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Shanghai time.
    pub(crate) text: String,
    /// The `datetime` attribute.
    pub(crate) iso: String,
    /// How long ago.
    pub(crate) ago: String,
}

impl Moment {
    pub(crate) fn new(ms: i64, now_ms: i64, locale: &Locale) -> Self {
        let (zh, en) = clock::ago(now_ms, ms);
        let iso = Timestamp::from_millisecond(ms).map(|time| time.to_string());
        let ago = locale.t(zh, en);
        Self { text: clock::format_shanghai(ms), iso: iso.unwrap_or_default(), ago }
    }
}

/// How current a district's data are, in a sentence.
pub(crate) fn freshness(district: &DistrictView, now_ms: i64, locale: &Locale) -> String {
    let (zh, en) = district.state.label();
    let label = locale.t(zh, en);
    let Some(as_of) = district.as_of_ms else { return label.to_owned() };
    let (ago_zh, ago_en) = clock::ago(now_ms, as_of);
    let time = clock::format_shanghai(as_of);
    match district.state {
        State::InSync => {
            locale.t(format!("{label}，{ago_zh}确认"), format!("{label}, confirmed {ago_en}"))
        }
        State::Behind => {
            let lag = district.lag_records;
            locale.t(
                format!("{label}，还差 {lag} 条变更，数据截至 {time}"),
                format!("{label}, {lag} changes to come, data as of {time}"),
            )
        }
        _ => locale.t(format!("{label}，数据截至 {time}"), format!("{label}, data as of {time}")),
    }
}

/// A figure on the home page.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) label: &'static str,
    pub(crate) value: u64,
}

/// A district on the home page.
#[derive(Debug, Clone)]
pub(crate) struct DistrictRow {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) state: &'static str,
    pub(crate) label: &'static str,
    pub(crate) records: u64,
    pub(crate) lag: u64,
    pub(crate) as_of: Option<Moment>,
}

impl DistrictRow {
    fn new(district: &DistrictView, now_ms: i64, locale: &Locale) -> Self {
        let (zh, en) = district.state.label();
        Self {
            code: district.code.to_string(),
            name: district.name.clone(),
            href: locale.link(&format!("/search?district={}", encode(district.code.as_str()))),
            state: district.state.name(),
            label: locale.t(zh, en),
            records: district.records,
            lag: district.lag_records,
            as_of: district.as_of_ms.map(|ms| Moment::new(ms, now_ms, locale)),
        }
    }
}

/// A record in a list of changes.
#[derive(Debug, Clone)]
pub(crate) struct RecentRow {
    pub(crate) href: String,
    pub(crate) title: String,
    pub(crate) district: String,
    pub(crate) changed: Moment,
}

/// `/`
#[derive(Debug, Clone, Template)]
#[template(path = "home.html")]
pub(crate) struct HomePage {
    pub(crate) frame: Frame,
    pub(crate) hub: bool,
    pub(crate) figures: Vec<Figure>,
    pub(crate) districts: Vec<DistrictRow>,
    pub(crate) recent: Vec<RecentRow>,
}

impl HomePage {
    pub(crate) fn of(
        snapshot: &Snapshot<'_>,
        locale: Locale,
        count: Count,
        now_ms: i64,
    ) -> Result<Self, Problem> {
        let figure = |zh, en, value| Figure { label: locale.t(zh, en), value };
        let recent = snapshot.recent(RECENT_RECORDS)?;
        let recent_row = |found: &Found| {
            Some(RecentRow {
                href: locale.link(&format!("/dataset/{}", found.entry.id)),
                title: found.live().map(|_| found.title().to_owned())?,
                district: found.district.name.clone(),
                changed: Moment::new(found.entry.changed_at_ms, now_ms, &locale),
            })
        };
        Ok(Self {
            hub: snapshot.site.role() == Role::Hub,
            figures: vec![
                figure("数据集", "datasets", count.total()),
                figure("公开", "open", count.open),
                figure("依申请公开", "open on request", count.on_request),
                figure("区", "districts", snapshot.districts.len() as u64),
            ],
            districts: snapshot
                .districts
                .iter()
                .map(|district| DistrictRow::new(district, now_ms, &locale))
                .collect(),
            recent: recent.iter().filter_map(recent_row).collect(),
            frame: Frame::new(&snapshot.site.name(), locale),
        })
    }
}

/// A district that a search may be narrowed to.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) chosen: bool,
}

/// A record that was found.
#[derive(Debug, Clone)]
pub(crate) struct HitView {
    pub(crate) href: String,
    pub(crate) title: Vec<Span>,
    pub(crate) snippet: Vec<Span>,
    pub(crate) provider: String,
    pub(crate) district: String,
    pub(crate) state: &'static str,
    pub(crate) freshness: String,
    pub(crate) open: &'static str,
    pub(crate) cycle: Option<&'static str>,
}

impl HitView {
    fn new(found: &Found, record: &Record, query: &str, now_ms: i64, locale: &Locale) -> Self {
        let open = record.open.kind;
        let title = if found.title().is_empty() { "—" } else { found.title() };
        Self {
            href: locale.link(&format!("/dataset/{}", found.entry.id)),
            title: snippet::marked(title, query),
            snippet: snippet::snippet(&record.summary, query),
            provider: record.provider.name.clone(),
            district: found.district.name.clone(),
            state: found.district.state.name(),
            freshness: freshness(&found.district, now_ms, locale),
            open: locale.t(open.label_zh(), open.label_en()),
            cycle: record.update_cycle.map(|cycle| locale.t(cycle.label_zh(), cycle.label_en())),
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

/// `/search`
#[derive(Debug, Clone, Template)]
#[template(path = "search.html")]
pub(crate) struct SearchPage {
    pub(crate) frame: Frame,
    pub(crate) query: String,
    pub(crate) choices: Vec<Choice>,
    pub(crate) city: Option<CityChoice>,
    pub(crate) total: usize,
    pub(crate) page: usize,
    pub(crate) hits: Vec<HitView>,
    pub(crate) previous: Option<String>,
    pub(crate) next: Option<String>,
    pub(crate) pages: Vec<PageLink>,
    /// Changes that the index has applied.
    pub(crate) applied: u64,
    /// Changes that the catalogue holds.
    pub(crate) held: u64,
}

impl SearchPage {
    pub(crate) fn of(
        snapshot: &Snapshot<'_>,
        locale: Locale,
        mut params: Params,
        now_ms: i64,
    ) -> Result<Self, Problem> {
        let page = params.number("page", 1..=PAGES_MAX, 1);
        let snapshot = &snapshot.scoped(read_scope(&mut params));
        let query = SearchQuery::read(params, ["q", "district"], snapshot)?;
        let offset = (page - 1) * SEARCH_DEFAULT;
        let query = SearchQuery { limit: SEARCH_DEFAULT, offset, after: None, ..query };
        let answer = snapshot.search(&query)?;
        let progress = snapshot.store().progress();
        let held = |(feed, _): (&_, &_)| progress.get(feed).map_or(0, |at| at.head.seq);
        let hit = |hit: &SearchHit| {
            let found = &hit.found;
            Some(HitView::new(found, found.live()?, &query.text, now_ms, &locale))
        };
        let choice = |district: &DistrictView| Choice {
            code: district.code.to_string(),
            name: district.name.clone(),
            chosen: query.districts.iter().any(|code| district.answers_to(code)),
        };
        let (previous, next, pages) = paging(&answer, &query, (page, snapshot.city), &locale);
        Ok(Self {
            choices: snapshot.districts.iter().map(choice).collect(),
            city: CityChoice::of(snapshot, now_ms, &locale),
            total: answer.total,
            page,
            hits: answer.hits.iter().filter_map(hit).collect(),
            previous,
            next,
            pages,
            applied: answer.applied.values().map(|head| head.seq).sum(),
            held: answer.applied.iter().map(held).sum(),
            frame: Frame::new(&snapshot.site.name(), locale),
            query: query.text,
        })
    }
}

type Paging = (Option<String>, Option<String>, Vec<PageLink>);

fn paging(
    answer: &SearchAnswer,
    query: &SearchQuery,
    (page, city): (usize, bool),
    locale: &Locale,
) -> Paging {
    let last = answer.total.div_ceil(SEARCH_DEFAULT).clamp(1, PAGES_MAX);
    let scope = if city { "&scope=city" } else { "" };
    let href = |number: usize| {
        locale.link(&format!("{}{scope}", search_link(&query.text, &query.districts, number)))
    };
    let from = page.saturating_sub(PAGES_BESIDE).max(1);
    let numbers = from..=(page + PAGES_BESIDE).min(last);
    let link = |number| PageLink {
        number,
        label: locale.t(format!("第 {number} 页"), format!("Page {number}")),
        href: href(number),
        current: number == page,
    };
    let pages = if last > 1 { numbers.map(link).collect() } else { Vec::new() };
    let previous = (page > 1).then(|| href((page - 1).min(last)));
    (previous, (page < last).then(|| href(page + 1)), pages)
}

fn search_link(text: &str, districts: &[DistrictCode], page: usize) -> String {
    let mut link = format!("/search?q={}", encode(text));
    for code in districts {
        link.push_str("&district=");
        link.push_str(&encode(code.as_str()));
    }
    if page > 1 {
        link.push_str("&page=");
        link.push_str(&page.to_string());
    }
    link
}

/// A page that says why there is none, and where to go on.
#[derive(Debug, Clone, Template)]
#[template(path = "message.html")]
pub(crate) struct MessagePage {
    pub(crate) frame: Frame,
    pub(crate) status: u16,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) errors: Vec<String>,
}

impl MessagePage {
    pub(crate) fn of(frame: Frame, problem: &Problem) -> Self {
        let locale = &frame.locale;
        let title = problem.title();
        // Faults of parameters are told one by one; the detail would repeat them.
        let detail =
            if problem.errors.is_empty() { problem.detail.clone() } else { <_>::default() };
        let errors = problem
            .errors
            .iter()
            .map(|fault| locale.t(fault.detail.zh.clone(), fault.detail.en.clone()));
        Self {
            status: problem.http_status().as_u16(),
            title: locale.t(title.zh, title.en),
            detail: locale.t(detail.zh, detail.en),
            errors: errors.collect(),
            frame,
        }
    }
}
