//! Searching, as pages, `/api/v1`, gRPC and feeds all do it.

use std::collections::{BTreeMap, BTreeSet};

use liandong_core::{
    code::{Delivery, OpenKind, ShareKind, UpdateCycle},
    expr::{Expr, TimeField},
    id::{DistrictCode, FeedId, Head, RecordId},
    limit,
    record::Record,
    search::{self, Piece},
};
use liandong_store::{Cursor, Facet, Query, Sort, SortBy, SortKey, Understood};
use serde::Serialize;

use super::{
    catalogue::{Found, SEARCH_DEFAULT, Snapshot},
    params::Params,
};
use crate::{
    clock,
    problem::{Problem, Text},
    site::DistrictView,
};

/// Records that are looked through for suggestions.
const TYPED_RECORDS: usize = 30;
/// Values of each kind in suggestions.
const SUGGESTED_NAMES: usize = 3;
/// Microseconds of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// What to search for.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchQuery {
    pub(crate) text: String,
    /// Only these districts; all when empty.
    pub(crate) districts: Vec<DistrictCode>,
    /// Only districts whose codes begin so.
    pub(crate) area: Option<String>,
    /// Chosen values of facets, but for districts.
    pub(crate) chosen: BTreeMap<Facet, Vec<String>>,
    /// Facets to count.
    pub(crate) facets: Vec<Facet>,
    pub(crate) sort: Sort,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) after: Option<Cursor>,
    /// Whether copies stay apart.
    pub(crate) apart: bool,
    /// Whether to say why a hit matches.
    pub(crate) explain: bool,
    /// Whether what has most words of a long text is an answer when nothing has all.
    pub(crate) relax: bool,
    /// Only what changed here from this day on, and before the end of that one: microseconds since 1970.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
}

/// Orders by the names that addresses use.
pub(crate) const SORTS: [(&str, Sort); 6] = [
    ("relevance", Sort { by: SortBy::Relevance, descending: true }),
    ("name", Sort { by: SortBy::Name, descending: false }),
    ("newest", Sort { by: SortBy::Created, descending: true }),
    ("updated", UPDATED_FIRST),
    ("data", Sort { by: SortBy::DataDay, descending: true }),
    ("id", Sort { by: SortBy::Id, descending: false }),
];

/// What changed last comes first.
pub(crate) const UPDATED_FIRST: Sort = Sort { by: SortBy::Modified, descending: true };

/// Where a text was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Why {
    /// Field of the record.
    pub(crate) field: &'static str,
    /// What was met there.
    pub(crate) terms: Vec<String>,
}

impl Why {
    /// The field for people.
    pub(crate) fn label(&self) -> (&'static str, &'static str) {
        match self.field {
            "title" => ("标题", "title"),
            "keywords" => ("关键词", "keywords"),
            "items" => ("信息项", "items"),
            "provider" => ("提供单位", "provider"),
            "district" => ("区", "district"),
            _ => ("摘要", "abstract"),
        }
    }
}

/// A record that is one datum with a hit.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) found: Found,
    /// Whether a decision says that this is the authoritative one.
    pub(crate) authoritative: bool,
}

/// One hit.
#[derive(Debug, Clone)]
pub(crate) struct SearchHit {
    pub(crate) found: Found,
    pub(crate) score: f32,
    /// Where it stands in the order.
    pub(crate) key: SortKey,
    /// The title in pieces.
    pub(crate) title: Vec<Piece>,
    /// The abstract in pieces.
    pub(crate) summary: Vec<Piece>,
    /// All copies, the hit among them, when there are several; the authoritative one first.
    pub(crate) sources: Vec<Source>,
    /// Why it matches, when that was asked.
    pub(crate) why: Vec<Why>,
}

/// One value of a facet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FacetValue {
    /// As it is written in addresses.
    pub(crate) value: String,
    /// For people.
    pub(crate) label: Text,
    /// Records with it that match everything but what is chosen in this facet.
    pub(crate) count: u64,
    /// Whether it is chosen.
    pub(crate) chosen: bool,
}

/// One page of a search.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchAnswer {
    /// Hits: data, each with its copies.
    pub(crate) total: usize,
    /// Records: what the facets count.
    pub(crate) records: usize,
    pub(crate) hits: Vec<SearchHit>,
    pub(crate) facets: BTreeMap<Facet, Vec<FacetValue>>,
    pub(crate) next: Option<Cursor>,
    /// What was perhaps meant, when nothing matches.
    pub(crate) hint: Option<String>,
    pub(crate) understood: Understood,
    /// What of each district's feed the index had applied.
    pub(crate) applied: BTreeMap<FeedId, Head>,
    /// How current the least current district in it is.
    pub(crate) as_of: Option<i64>,
}

/// Something to complete what is being typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Suggestion {
    /// `title`, `provider`, `theme` or `district`.
    pub(crate) kind: &'static str,
    /// What to search for.
    pub(crate) text: String,
    /// Records that it stands for, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
}

/// Reads whether the whole city is meant, `scope=city`, or the site's own catalogue.
pub(crate) fn read_scope(params: &mut Params) -> bool {
    params.word("scope", &[("own", false), ("city", true)], false)
}

/// Facets that are chosen by parameters of their own names; districts have theirs.
fn choosable() -> impl Iterator<Item = Facet> {
    Facet::SHOWN.into_iter().filter(|facet| *facet != Facet::District)
}

impl SearchQuery {
    /// Reads everything but text and districts, whose parameters have several names.
    pub(crate) fn read(
        mut params: Params,
        [text_name, district_name]: [&str; 2],
        snapshot: &Snapshot<'_>,
    ) -> Result<Self, Problem> {
        let folded = [("fold", false), ("apart", true)];
        let yes = [("true", true), ("1", true), ("false", false), ("0", false)];
        let (since, until) = (params.day("since"), params.day("until"));
        let end = |day: i64| day.saturating_add(DAY_US - 1);
        let mut query = Self {
            text: params.query(text_name),
            districts: snapshot.of_today(params.districts(district_name, &snapshot.codes())),
            area: params.digits("area"),
            chosen: BTreeMap::new(),
            facets: params.facets("facets"),
            sort: params.word("sort", &SORTS, Sort::default()),
            limit: params.number("limit", 1..=limit::PAGE_HITS_MAX, SEARCH_DEFAULT),
            offset: params.number("offset", 0..=limit::OFFSET_MAX, 0),
            after: params.cursor("after"),
            apart: params.word("copies", &folded, false),
            explain: params.word("explain", &yes, false),
            relax: params.word("relax", &yes, false),
            since,
            until: until.map(end),
        };
        for facet in choosable() {
            let values = params.all(facet.name());
            if !values.is_empty() {
                query.chosen.insert(facet, values);
            }
        }
        if query.since.is_some_and(|since| query.until.is_some_and(|until| until < since)) {
            params.fault("until", "until 早于 since", "until is before since");
        }
        params.finish().map(|()| query)
    }

    fn expr(&self) -> Option<Expr> {
        use std::ops::Bound;
        if self.since.is_none() && self.until.is_none() {
            return None;
        }
        let bound = |at: Option<i64>| at.map_or(Bound::Unbounded, Bound::Included);
        let (from, to) = (bound(self.since), bound(self.until));
        Some(Expr::Between { field: TimeField::Modified, from, to })
    }
}

impl Snapshot<'_> {
    /// The question to the index, and the feeds that it goes to.
    fn asked(&self, query: &SearchQuery) -> (Query, Vec<FeedId>) {
        let within = |district: &&DistrictView| {
            let area = query.area.as_deref().unwrap_or_default();
            district.code.as_str().starts_with(area)
        };
        let in_area: Vec<&DistrictView> = self.districts.iter().filter(within).collect();
        let chosen = |district: &&&DistrictView| {
            query.districts.iter().any(|code| district.answers_to(code))
        };
        let feeds: Vec<FeedId> = in_area.iter().filter_map(|district| district.feed).collect();
        let mut picked = query.chosen.clone();
        if !query.districts.is_empty() {
            let feeds = in_area.iter().filter(chosen).filter_map(|district| district.feed);
            picked.insert(Facet::District, feeds.map(|feed| feed.to_string()).collect());
        }
        let asked = Query {
            text: query.text.clone(),
            expr: query.expr(),
            feeds: Some(feeds.clone()),
            public_only: !self.staff,
            chosen: picked,
            facets: query.facets.clone(),
            sort: query.sort,
            limit: query.limit,
            offset: query.offset,
            after: query.after.clone(),
            fold_copies: !query.apart,
            relax: query.relax,
            today: Some(clock::today_shanghai()),
        };
        (asked, feeds)
    }

    /// Searches. A record that was withdrawn or closed since the index saw it is left out of the page but counted.
    pub(crate) fn search(&self, query: &SearchQuery) -> Result<SearchAnswer, Problem> {
        let (asked, feeds) = self.asked(query);
        if feeds.is_empty() {
            return Ok(SearchAnswer::default());
        }
        let answer =
            if self.city { self.site.city_search(&asked)? } else { self.store().search(&asked)? };
        let terms = terms(&answer.understood);
        let mut hits: Vec<SearchHit> = Vec::with_capacity(answer.hits.len());
        for hit in answer.hits {
            let Some(found) = self.shown(hit.id)? else { continue };
            // A record that was just handed over may be in two indexes for a moment.
            if hits.iter().any(|known| known.found.entry.id == hit.id) {
                continue;
            }
            let sources = if query.apart { Vec::new() } else { self.sources(hit.id)? };
            hits.push(SearchHit::new(found, (hit.score, hit.key), sources, &terms, query.explain));
        }
        let shown = self.districts.iter().filter(|d| d.feed.is_some_and(|f| feeds.contains(&f)));
        let as_of = shown.filter_map(|district| district.as_of_ms).min();
        let mut applied = answer.applied;
        applied.retain(|feed, _| feeds.contains(feed));
        let missed = (answer.records == 0 || answer.understood.relaxed) && !query.text.is_empty();
        let hint = match (missed, self.city) {
            (false, _) => None,
            (true, true) => self.site.city_hint(&asked)?,
            (true, false) => self.store().hint(&asked)?,
        };
        let facets = answer.facets.into_iter().map(|(facet, values)| {
            let chosen = asked.chosen.get(&facet).map_or(&[][..], Vec::as_slice);
            (facet, self.values(facet, values, chosen))
        });
        Ok(SearchAnswer {
            total: answer.total,
            records: answer.records,
            hits,
            facets: facets.collect(),
            next: answer.next,
            hint,
            understood: answer.understood,
            applied,
            as_of,
        })
    }

    /// A live record that anyone may see, in the scope of the question.
    fn shown(&self, id: RecordId) -> Result<Option<Found>, Problem> {
        let entry = if self.city { self.site.city_entry(id)? } else { self.store().entry(id)? };
        let found = entry.and_then(|entry| self.admit(entry));
        Ok(found.filter(|found| found.live().is_some()))
    }

    /// All copies of a record that anyone may see, when there are several.
    pub(crate) fn sources(&self, id: RecordId) -> Result<Vec<Source>, Problem> {
        let city = self.store().city();
        let copies = city.conflicts.copies(id);
        if copies.len() < 2 {
            return Ok(Vec::new());
        }
        let authoritative = city.conflicts.authoritative(&copies);
        let mut sources = Vec::new();
        for copy in copies.iter().take(limit::COPIES_MAX) {
            if let Some(found) = self.shown(*copy)? {
                let authoritative = authoritative == Some(*copy);
                sources.push(Source { found, authoritative });
            }
        }
        sources.sort_by_key(|source| (!source.authoritative, source.found.entry.id));
        Ok(if sources.len() < 2 { Vec::new() } else { sources })
    }

    /// What begins as a text does that is still being typed: districts, providers, themes, titles.
    pub(crate) fn suggest(&self, text: &str) -> Result<Vec<Suggestion>, Problem> {
        let bare = search::bare(text);
        if bare.is_empty() {
            return Ok(Vec::new());
        }
        let (asked, feeds) = self.asked(&SearchQuery {
            text: text.to_owned(),
            limit: TYPED_RECORDS,
            facets: vec![Facet::Provider, Facet::Theme],
            apart: true,
            ..SearchQuery::default()
        });
        if feeds.is_empty() {
            return Ok(Vec::new());
        }
        let answer =
            if self.city { self.site.city_typed(&asked)? } else { self.store().typed(&asked)? };
        let mut suggestions: Vec<Suggestion> = Vec::new();
        for district in self.districts.iter().filter(|district| begins(&district.name, &bare)) {
            let (text, count) = (district.name.clone(), Some(district.records));
            suggestions.push(Suggestion { kind: "district", text, count });
        }
        for (kind, facet) in [("provider", Facet::Provider), ("theme", Facet::Theme)] {
            let values = answer.facets.get(&facet).into_iter().flatten();
            let begun = values.filter(|(name, _)| begins(name, &bare)).take(SUGGESTED_NAMES);
            suggestions.extend(begun.map(|(text, count)| Suggestion {
                kind,
                text: text.clone(),
                count: Some(*count),
            }));
        }
        let mut seen = BTreeSet::new();
        for hit in answer.hits {
            if suggestions.len() >= limit::SUGGESTIONS_MAX {
                break;
            }
            let Some(found) = self.shown(hit.id)? else { continue };
            let title = found.title().to_owned();
            if begins(&title, &bare) && seen.insert(search::bare(&title)) {
                suggestions.push(Suggestion { kind: "title", text: title, count: None });
            }
        }
        suggestions.truncate(limit::SUGGESTIONS_MAX);
        Ok(suggestions)
    }

    /// Values of a facet for people; what is chosen is there even when nothing matches it.
    fn values(
        &self,
        facet: Facet,
        mut counted: Vec<(String, u64)>,
        chosen: &[String],
    ) -> Vec<FacetValue> {
        for value in chosen {
            if !counted.iter().any(|(name, _)| name == value) {
                counted.push((value.clone(), 0));
            }
        }
        let value = |(value, count): (String, u64)| {
            let is_chosen = chosen.contains(&value);
            let (value, label) = self.label(facet, value);
            FacetValue { value, label, count, chosen: is_chosen }
        };
        counted.into_iter().map(value).collect()
    }

    /// How a value is written in addresses, and what people read.
    fn label(&self, facet: Facet, value: String) -> (String, Text) {
        let coded = |zh: Option<&str>, en: Option<&str>| {
            Text::new(zh.unwrap_or(&value).to_owned(), en.unwrap_or(&value).to_owned())
        };
        let label = match facet {
            Facet::District => {
                let feed: Option<FeedId> = value.parse().ok();
                let district = self.districts.iter().find(|d| d.feed.is_some() && d.feed == feed);
                return match district {
                    Some(district) => {
                        let name = district.name.clone();
                        (district.code.as_str().to_owned(), Text::new(name.clone(), name))
                    }
                    None => (value.clone(), Text::new(value.clone(), value)),
                };
            }
            Facet::Share => coded(
                ShareKind::from_code(&value).map(ShareKind::label_zh),
                ShareKind::from_code(&value).map(ShareKind::label_en),
            ),
            Facet::Open => coded(
                OpenKind::from_code(&value).map(OpenKind::label_zh),
                OpenKind::from_code(&value).map(OpenKind::label_en),
            ),
            Facet::Delivery => coded(
                Delivery::from_code(&value).map(Delivery::label_zh),
                Delivery::from_code(&value).map(Delivery::label_en),
            ),
            Facet::Cycle => coded(
                UpdateCycle::from_code(&value).map(UpdateCycle::label_zh),
                UpdateCycle::from_code(&value).map(UpdateCycle::label_en),
            ),
            Facet::Level | Facet::BaseDatabase | Facet::Freshness => {
                let known = NAMED.iter().find(|(name, _, _)| *name == value);
                coded(known.map(|(_, zh, _)| *zh), known.map(|(_, _, en)| *en))
            }
            _ => coded(None, None),
        };
        (value, label)
    }
}

/// Values that have no code table.
const NAMED: [(&str, &str, &str); 9] = [
    ("city", "市级", "city"),
    ("district", "区级", "district"),
    ("town", "街镇", "town"),
    ("population", "人口", "population"),
    ("legal_person", "法人", "legal persons"),
    ("geography", "空间地理", "geography"),
    ("fresh", "按期更新", "up to date"),
    ("overdue", "逾期未更新", "overdue"),
    ("unknown", "未约定", "not promised"),
];

/// Titles of facets for people.
pub(crate) fn facet_title(facet: Facet) -> (&'static str, &'static str) {
    match facet {
        Facet::District => ("区", "District"),
        Facet::Level => ("层级", "Level"),
        Facet::Provider => ("提供单位", "Provider"),
        Facet::Theme => ("主题", "Theme"),
        Facet::KeyTheme => ("年度重点领域", "Key theme"),
        Facet::SubArea => ("重点领域细目", "Part of the key theme"),
        Facet::BaseDatabase => ("基础库", "Base database"),
        Facet::Share => ("共享类型", "Sharing"),
        Facet::Open => ("开放类型", "Opening"),
        Facet::Delivery => ("获取方式", "Delivery"),
        Facet::Format => ("格式", "Format"),
        Facet::Cycle => ("更新周期", "Update cycle"),
        Facet::Freshness => ("更新状态", "Freshness"),
        Facet::Year => ("年份", "Year"),
        Facet::Organization => ("机构", "Organization"),
        Facet::Group => ("群组", "Group"),
        Facet::Tag => ("标签", "Tag"),
        Facet::Licence => ("许可", "Licence"),
        Facet::ResourceFormat => ("资源格式", "Format of a resource"),
    }
}

/// Whether a name holds a text, or sounds as it does.
fn begins(name: &str, bare: &str) -> bool {
    let folded = search::bare(name);
    folded.contains(bare)
        || (search::is_sound(bare)
            && (search::spell(&folded).contains(bare)
                || search::initials_of(&folded).contains(bare)))
}

/// Everything that may be marked on a page, longest first.
fn terms(understood: &Understood) -> Vec<String> {
    let mut terms = BTreeSet::new();
    for clause in &understood.clauses {
        terms.insert(clause.text.clone());
        terms.extend(clause.variants.iter().cloned());
        // Single characters out of a long word would mark half the page.
        let worth = |word: &&String| word.chars().count() > 1 || clause.text.chars().count() == 1;
        terms.extend(clause.words.iter().filter(worth).cloned());
    }
    terms.into_iter().collect()
}

impl SearchHit {
    fn new(
        found: Found,
        (score, key): (f32, SortKey),
        sources: Vec<Source>,
        terms: &[String],
        explain: bool,
    ) -> Self {
        let why = match found.live() {
            Some(record) if explain => why(&found, record, terms),
            _ => Vec::new(),
        };
        let title = search::mark(found.title(), terms);
        let summary = found.live().map_or("", |record| &record.summary);
        let summary = search::mark(summary, terms);
        Self { found, score, key, title, summary, sources, why }
    }
}

/// The fields that hold what was asked for.
fn why(found: &Found, record: &Record, terms: &[String]) -> Vec<Why> {
    let items: Vec<&str> = record.items.iter().map(|item| item.name.as_str()).collect();
    let fields = [
        ("title", found.title().to_owned()),
        ("keywords", record.keywords.join("\n")),
        ("items", items.join("\n")),
        ("provider", record.provider.name.clone()),
        ("district", found.district.name.clone()),
        ("abstract", record.summary.clone()),
    ];
    let met = fields.into_iter().map(|(field, text)| {
        let folded = search::fold(&text);
        let (spelled, initials) = (search::spell(&folded), search::initials_of(&folded));
        let holds = |term: &&String| {
            folded.contains(term.as_str())
                || (search::is_sound(term)
                    && field != "abstract"
                    && (spelled.contains(term.as_str()) || initials.contains(term.as_str())))
        };
        Why { field, terms: terms.iter().filter(holds).cloned().collect() }
    });
    met.filter(|why| !why.terms.is_empty()).collect()
}
