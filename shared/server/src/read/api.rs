//! `/api/v1`: the catalogue as JSON. Moments are milliseconds since 1970.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use liandong_core::{
    error::Code,
    fold,
    id::{DistrictCode, FeedId, Hash, Head, RecordId},
    limit,
    search::Piece,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Reader,
    catalogue::{Found, ListQuery, Snapshot},
    mark::Marks,
    params::Params,
    search::{FacetValue, SearchHit, SearchQuery, Source, Suggestion, Why, read_scope},
};
use crate::{
    problem::{Problem, Text},
    site::{self, DistrictView, Status},
};

/// Changes on a page when nothing else is said.
const CHANGES_DEFAULT: usize = 100;

/// A problem with the path it belongs to, as `?` leaves a handler.
pub(super) struct ApiError(Problem);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

pub(super) fn at(OriginalUri(uri): OriginalUri) -> impl FnOnce(Problem) -> ApiError {
    move |problem| ApiError(problem.instance(uri.path()))
}

/// The district of a record and how current it is.
#[derive(Debug, Serialize)]
struct District {
    code: DistrictCode,
    name: String,
    state: site::State,
    as_of: Option<i64>,
}

impl From<&DistrictView> for District {
    fn from(view: &DistrictView) -> Self {
        let (code, name) = (view.code.clone(), view.name.clone());
        Self { code, name, state: view.state, as_of: view.as_of_ms }
    }
}

/// One record with everything known of it.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    id: RecordId,
    status: fold::Status,
    district: District,
    seq: u64,
    op_hash: Hash,
    changed_at: i64,
    /// What the district signed; null when withdrawn.
    record: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn_reason: Option<String>,
    /// What the city says of it.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    city: Marks,
}

impl From<&Found> for Document {
    fn from(found: &Found) -> Self {
        let entry = &found.entry;
        // The signed bytes and not our reading of them: fields of later versions stay in.
        let record = found.live().and_then(|_| serde_json::from_slice(&entry.payload).ok());
        Self {
            id: entry.id,
            status: entry.status,
            district: District::from(&found.district),
            seq: entry.seq,
            op_hash: entry.op_hash,
            changed_at: entry.changed_at_ms,
            record,
            withdrawn_reason: entry.withdrawn_reason.clone(),
            city: found.marks.clone(),
        }
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub(super) struct ListPage {
    records: Vec<Document>,
    /// The next page's `after`; null on the last page. A page may be short without being the last.
    next: Option<RecordId>,
    as_of: Option<i64>,
}

/// `GET /api/v1/records?after=&limit=&district=&status=`
pub(super) async fn records(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    params: Params,
) -> Result<Json<ListPage>, ApiError> {
    let listing = reader
        .catalogue
        .ask(move |snapshot| snapshot.list(&ListQuery::read(params, "district", snapshot)?));
    let listing = listing.await.map_err(at(uri))?;
    let records = listing.records.iter().map(Document::from).collect();
    Ok(Json(ListPage { records, next: listing.next, as_of: listing.as_of }))
}

/// `GET /api/v1/records/{id}`
pub(super) async fn record(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = match read_id(id) {
        Ok(id) => reader.catalogue.ask(move |snapshot| snapshot.record(id)).await,
        Err(problem) => Err(problem),
    };
    let found = found.and_then(not_withdrawn).map_err(at(uri))?;
    // Weak, because the district's freshness in the document moves while the record stays.
    let version = found.version().to_string();
    let tag = format!("W/\"{version}\"");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    if known.into_iter().any(|tags| names(tags, &version)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Json(Document::from(&found))).into_response())
}

fn read_id(id: String) -> Result<RecordId, Problem> {
    let mut params = Params::new(vec![("id".to_owned(), id)]);
    let id = params.record_id("id");
    params.finish()?;
    id.ok_or_else(Problem::no_record)
}

/// Whether `If-None-Match` holds the tag, weak or not.
fn names(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|given| {
        given == "*" || given.strip_prefix("W/").unwrap_or(given).trim_matches('"') == tag
    })
}

fn not_withdrawn(found: Found) -> Result<Found, Problem> {
    if found.live().is_some() {
        return Ok(found);
    }
    let reason = found.withdrawn_reason();
    let text = Text::new(format!("记录已由发布方撤回：{reason}"), format!("withdrawn: {reason}"));
    Err(Problem::new(Code::Gone, text.zh, text.en)
        .with("id", found.entry.id.to_string())
        .with("reason_class", "withdrawn")
        .with("reason", reason)
        .with("withdrawn_at", found.entry.changed_at_ms)
        .with("district", found.district.code.as_str())
        .with("district_name", found.district.name.as_str()))
}

#[derive(Debug, Serialize)]
struct HitDistrict {
    code: DistrictCode,
    name: String,
    state: site::State,
    as_of_ms: Option<i64>,
    lag_records: u64,
}

/// A record that is one datum with the hit.
#[derive(Debug, Serialize)]
struct HitSource {
    id: RecordId,
    title: String,
    provider: String,
    district: DistrictCode,
    /// Whether a decision of the city says that this is the authoritative one.
    authoritative: bool,
}

#[derive(Debug, Serialize)]
struct Hit {
    id: RecordId,
    score: f32,
    title: String,
    /// The title in pieces, those that the query met marked.
    marked: Vec<Piece>,
    provider: String,
    #[serde(rename = "abstract")]
    summary: String,
    open: &'static str,
    update_cycle: Option<&'static str>,
    changed_at: i64,
    op_hash: Hash,
    /// All copies of the datum, this record among them; the authoritative one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<HitSource>,
    /// Why it matches, when that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<Why>,
    district: HitDistrict,
    /// What the city says of it.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    city: Marks,
}

impl Hit {
    fn of(hit: &SearchHit) -> Option<Self> {
        let found = &hit.found;
        let record = found.live()?;
        let view = &found.district;
        let source = |source: &Source| HitSource {
            id: source.found.entry.id,
            title: source.found.title().to_owned(),
            provider: source.found.live().map_or("", |record| &record.provider.name).to_owned(),
            district: source.found.district.code.clone(),
            authoritative: source.authoritative,
        };
        Some(Self {
            id: found.entry.id,
            score: hit.score,
            title: found.title().to_owned(),
            marked: hit.title.clone(),
            provider: record.provider.name.clone(),
            summary: record.summary.clone(),
            open: record.open.kind.code(),
            update_cycle: record.update_cycle.map(liandong_core::code::UpdateCycle::code),
            changed_at: found.entry.changed_at_ms,
            op_hash: found.entry.op_hash,
            sources: hit.sources.iter().map(source).collect(),
            why: hit.why.clone(),
            district: HitDistrict {
                code: view.code.clone(),
                name: view.name.clone(),
                state: view.state,
                as_of_ms: view.as_of_ms,
                lag_records: view.lag_records,
            },
            city: found.marks.clone(),
        })
    }
}

/// One page of a search.
#[derive(Debug, Serialize)]
pub(crate) struct SearchPage {
    /// Hits: data, each with its copies.
    total: usize,
    /// Records: what facets count.
    records: usize,
    hits: Vec<Hit>,
    /// Counts by name of the facet; of those that were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    facets: BTreeMap<&'static str, Vec<FacetValue>>,
    /// The next page's `after`; null on the last page.
    next: Option<String>,
    /// What was perhaps meant, when nothing matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// No record has all words; these have most of them.
    relaxed: bool,
    /// Position of each district's feed that the answer stands for.
    applied: BTreeMap<FeedId, Head>,
    /// How current the least current district in it is, milliseconds since 1970.
    as_of: Option<i64>,
    took_ms: u64,
    /// At a node that was asked for the whole city.
    #[serde(flatten)]
    replica: Option<Replica>,
}

/// How current the whole city is at a node.
#[derive(Debug, Serialize)]
struct Replica {
    stale: bool,
    complete: bool,
    /// Why it is not current, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<String>,
}

/// `GET /api/v1/search?q=&district=&area=&<facet>=&facets=&sort=&copies=&explain=&since=&until=&limit=&offset=&after=`
/// `&scope=`
pub(super) async fn search(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    params: Params,
) -> Result<Json<SearchPage>, ApiError> {
    let page = reader.catalogue.ask(move |snapshot| found(snapshot, params));
    Ok(Json(page.await.map_err(at(uri))?))
}

/// What a search finds, as a document.
pub(crate) fn found(snapshot: &Snapshot<'_>, mut params: Params) -> Result<SearchPage, Problem> {
    let begun = Instant::now();
    let snapshot = snapshot.scoped(read_scope(&mut params));
    let query = SearchQuery::read(params, ["q", "district"], &snapshot)?;
    let answer = snapshot.search(&query)?;
    let replica = snapshot.site.replica().filter(|_| snapshot.city);
    Ok(SearchPage {
        total: answer.total,
        records: answer.records,
        hits: answer.hits.iter().filter_map(Hit::of).collect(),
        facets: answer.facets.into_iter().map(|(facet, values)| (facet.name(), values)).collect(),
        next: answer.next.map(|next| next.to_string()),
        hint: answer.hint,
        relaxed: answer.understood.relaxed,
        applied: answer.applied,
        as_of: replica.as_ref().map_or(answer.as_of, |city| city.as_of),
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        replica: replica.map(|city| Replica {
            stale: city.stale,
            complete: city.complete,
            explain: city.explain.filter(|_| city.stale),
        }),
    })
}

/// `GET /api/v1/suggest?q=&scope=&format=`
pub(super) async fn suggest(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    mut params: Params,
) -> Result<Json<Suggestions>, ApiError> {
    let suggestions = reader.catalogue.ask(move |snapshot| {
        let city = read_scope(&mut params);
        let text = params.query("q");
        let forms = [("list", false), ("opensearch", true)];
        let for_browsers = params.word("format", &forms, false);
        params.finish()?;
        let found = snapshot.scoped(city).suggest(&text)?;
        Ok(if for_browsers {
            Suggestions::Browser(text, found.into_iter().map(|one| one.text).collect())
        } else {
            Suggestions::List(found)
        })
    });
    Ok(Json(suggestions.await.map_err(at(uri))?))
}

/// What completes a text that is being typed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Suggestions {
    List(Vec<Suggestion>),
    /// As browsers want it: the text, and what may follow.
    Browser(String, Vec<String>),
}

/// One record that changed.
#[derive(Debug, Serialize)]
struct Change {
    id: RecordId,
    /// `put`, or `delete` when it is shown no more.
    #[serde(rename = "change")]
    kind: &'static str,
    /// When it changed here, microseconds since 1970.
    at_us: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Document>,
}

/// One page of the change feed.
#[derive(Debug, Serialize)]
pub(super) struct ChangePage {
    changes: Vec<Change>,
    /// The next page's `since`. Ask again with it: now while `more`, later for what comes.
    next: String,
    /// Whether there is more already.
    more: bool,
    /// Changes before this moment are not known here. Whoever asks for earlier ones takes everything anew and drops
    /// what does not come.
    since_us: i64,
    /// Whether the question reached further back than that.
    reset: bool,
}

/// `GET /api/v1/changes?since=&limit=`: the last change of each record, oldest first, what is shown no more included.
pub(super) async fn changes(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    mut params: Params,
) -> Result<Json<ChangePage>, ApiError> {
    let page = reader.catalogue.ask(move |snapshot| {
        let since = params.moment("since");
        let limit = params.number("limit", 1..=limit::CHANGES_PAGE_MAX, CHANGES_DEFAULT);
        params.finish()?;
        let page = snapshot.store().changes(since.unwrap_or(0), limit)?;
        let changes = page.changes.into_iter().map(|change| {
            let found = if change.shown { snapshot.record(change.id).ok() } else { None };
            let record = found.as_ref().filter(|found| found.live().is_some()).map(Document::from);
            // One that is hidden by now has a later change of its own.
            let kind = if record.is_some() { "put" } else { "delete" };
            Change { id: change.id, kind, at_us: change.at_us, record }
        });
        let reset = since.is_some_and(|since| since < page.began_us);
        Ok(ChangePage {
            changes: changes.collect(),
            next: page.next_us.to_string(),
            more: page.more,
            since_us: page.began_us,
            reset,
        })
    });
    Ok(Json(page.await.map_err(at(uri))?))
}

/// `GET /api/v1/status`
pub(super) async fn status(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
) -> Result<Json<Status>, ApiError> {
    let status = reader.catalogue.ask(|snapshot| Ok(snapshot.site.status()));
    Ok(Json(status.await.map_err(at(uri))?))
}
