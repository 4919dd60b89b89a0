//! What the pages show, as values: home, messages, and what surrounds every page.

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::locale::Locale;
use crate::{
    clock,
    problem::Problem,
    read::{
        asset,
        catalogue::{Found, Snapshot},
        params::encode,
        tally::Count,
    },
    site::{DistrictView, Role, State},
};

/// Newest changes on the home page.
const RECENT_RECORDS: usize = 8;

/// What surrounds every page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) locale: Locale,
    pub(crate) css: &'static str,
    pub(crate) icon: &'static str,
    pub(crate) script: &'static str,
}

impl Frame {
    pub(crate) fn new(site: &str, locale: Locale) -> Self {
        let name = if site.is_empty() { locale.t("联动", "Liandong") } else { site };
        let (css, icon, script) = (asset::css_url(), asset::icon_url(), asset::script_url());
        Self { name: name.to_owned(), locale, css, icon, script }
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

/// A page that says why there is none, and where to go on.
#[derive(Debug, Clone, Template)]
#[template(path = "message.html")]
pub(crate) struct MessagePage {
    pub(crate) frame: Frame,
    pub(crate) status: u16,
    pub(crate) title: String,
    pub(crate) detail: String,
    /// Who took a record from the page, when, and on what ground.
    pub(crate) facts: Vec<(&'static str, String)>,
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
            facts: facts(problem, locale),
            frame,
        }
    }
}

/// Classes of reasons why a record is not shown, for people.
pub(crate) fn reason_class(name: &str) -> (&'static str, &'static str) {
    match name {
        "legal_hold" => ("依法暂停展示", "legal hold"),
        "district_suspended" => ("所属区已被暂停", "district suspended"),
        _ => ("发布方撤回", "withdrawn by its publisher"),
    }
}

fn facts(problem: &Problem, locale: &Locale) -> Vec<(&'static str, String)> {
    let Some(class) = problem.member("reason_class").and_then(Value::as_str) else {
        return Vec::new();
    };
    let text = |name| problem.member(name).and_then(Value::as_str).map(str::to_owned);
    let (zh, en) = reason_class(class);
    let at = problem.member("held_at").and_then(Value::as_i64).map(clock::format_shanghai);
    let facts = [
        (locale.t("所属区", "District"), text("district_name")),
        (locale.t("类别", "Class of reason"), Some(locale.t(zh, en).to_owned())),
        (locale.t("依据", "Legal basis"), text("legal_basis")),
        (locale.t("时间", "When"), at),
    ];
    facts.into_iter().filter_map(|(label, fact)| Some((label, fact?))).collect()
}
