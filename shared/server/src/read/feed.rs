//! What is new in any search, as Atom and as JSON Feed, and how browsers learn to search here (`OpenSearch`).

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{OriginalUri, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use liandong_core::label;
use serde_json::{Value, json};

use super::{
    Reader,
    address::Address,
    api::{ApiError, at},
    asset,
    catalogue::Snapshot,
    params::Params,
    search::{SearchHit, SearchQuery, UPDATED_FIRST, read_scope},
};
use crate::{ckan, problem::Problem};

/// Longest short name of a search engine, characters, as `OpenSearch` 1.1 says.
const SHORT_NAME_CHARS_MAX: usize = 16;

/// One record in a feed.
#[derive(Debug, Clone)]
struct Entry {
    /// The same wherever the record is shown, and for ever.
    id: String,
    href: String,
    title: String,
    summary: String,
    author: String,
    tags: Vec<String>,
    published: String,
    updated: String,
}

/// What is new in a search.
#[derive(Debug, Clone, Template)]
#[template(path = "feed.xml")]
struct Feed {
    title: String,
    own: String,
    page: String,
    next: Option<String>,
    updated: String,
    entries: Vec<Entry>,
}

impl Entry {
    fn new(hit: &SearchHit, origin: &str) -> Option<Self> {
        let (found, record) = (&hit.found, hit.found.live()?);
        let stamps = found.entry.stamps;
        // A replica does not know when it became visible elsewhere; its author's clock does for people.
        let or_changed = |us: i64| if us > 0 { us } else { found.entry.changed_at_ms * 1_000 };
        let tags = record.theme.iter().chain(&record.keywords);
        Some(Self {
            id: format!("urn:uuid:{}", label::dataset_uuid(found.entry.id)),
            href: format!("{origin}/dataset/{}", found.entry.id),
            title: plain(found.title()),
            summary: plain(&record.summary),
            author: plain(&format!("{}（{}）", record.provider.name, found.district.name)),
            tags: tags.map(|tag| plain(tag)).collect(),
            published: moment(or_changed(stamps.created_us)),
            updated: moment(or_changed(stamps.modified_us)),
        })
    }
}

impl Feed {
    fn of(
        snapshot: &Snapshot<'_>,
        mut params: Params,
        (origin, path): (&str, &str),
    ) -> Result<Self, Problem> {
        let snapshot = &snapshot.scoped(read_scope(&mut params));
        let query = SearchQuery::read(params, ["q", "district"], snapshot)?;
        let query = SearchQuery { sort: UPDATED_FIRST, facets: Vec::new(), offset: 0, ..query };
        let answer = snapshot.search(&query)?;
        let address = Address::of(&query, snapshot.city).without(&["sort"]);
        let own = |address: &Address| format!("{origin}{}", address.at(path));
        let next = answer.next.map(|next| {
            let limit = address.plus("limit", query.limit.to_string());
            own(&limit.plus("after", next.to_string()))
        });
        let hits = answer.hits.iter();
        let entries: Vec<Entry> = hits.filter_map(|hit| Entry::new(hit, origin)).collect();
        let newest = entries.iter().map(|entry| entry.updated.clone()).max();
        let name = snapshot.site.name();
        Ok(Self {
            title: if query.text.is_empty() {
                name
            } else {
                plain(&format!("{name} · {}", query.text))
            },
            own: own(&address),
            page: format!("{origin}{}", address.at("/search")),
            next,
            updated: newest.unwrap_or_else(|| moment(answer.as_of.unwrap_or(0) * 1_000)),
            entries,
        })
    }

    /// The feed as JSON Feed 1.1.
    fn json(&self) -> Value {
        let item = |entry: &Entry| {
            json!({
                "id": entry.id, "url": entry.href, "title": entry.title,
                "content_text": entry.summary, "authors": [{ "name": entry.author }],
                "tags": entry.tags,
                "date_published": entry.published, "date_modified": entry.updated,
            })
        };
        let mut feed = json!({
            "version": "https://jsonfeed.org/version/1.1", "title": self.title,
            "language": "zh-CN", "home_page_url": self.page, "feed_url": self.own,
            "items": self.entries.iter().map(item).collect::<Vec<_>>(),
        });
        if let Some(next) = &self.next {
            feed["next_url"] = json!(next);
        }
        feed
    }
}

/// A moment as RFC 3339, microseconds since 1970 given.
fn moment(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or_default().to_string()
}

/// A text without what XML 1.0 cannot hold, not even as a reference.
fn plain(text: &str) -> String {
    let fits = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    text.chars().filter(fits).collect()
}

fn xml(media_type: &'static str, page: &impl Template) -> Result<Response, Problem> {
    let body = page.render().map_err(|error| {
        tracing::error!(%error, "a feed cannot be rendered");
        Problem::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, media_type), (header::VARY, "Host")], body).into_response())
}

impl Reader {
    async fn feed(
        &self,
        params: Params,
        headers: &HeaderMap,
        path: &'static str,
    ) -> Result<Feed, Problem> {
        let origin = ckan::base(headers);
        self.catalogue.ask(move |snapshot| Feed::of(snapshot, params, (&origin, path))).await
    }
}

/// `GET /search.atom?…`, with the parameters of `/search`
pub(super) async fn atom(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let feed = reader.feed(params, &headers, "/search.atom").await;
    feed.and_then(|feed| xml("application/atom+xml; charset=utf-8", &feed)).map_err(at(uri))
}

/// `GET /search.json?…`, with the parameters of `/search`
pub(super) async fn json(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let feed = reader.feed(params, &headers, "/search.json").await.map_err(at(uri))?;
    let kind = [(header::CONTENT_TYPE, "application/feed+json"), (header::VARY, "Host")];
    Ok((kind, feed.json().to_string()).into_response())
}

/// How a browser searches here.
#[derive(Debug, Template)]
#[template(path = "opensearch.xml")]
struct OpenSearch {
    name: String,
    short_name: String,
    origin: String,
    icon: &'static str,
}

/// `GET /opensearch.xml`
pub(super) async fn opensearch(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = reader.catalogue.ask(|snapshot| Ok(plain(&snapshot.site.name()))).await;
    let description = name.map(|name| OpenSearch {
        short_name: name.chars().take(SHORT_NAME_CHARS_MAX).collect(),
        name,
        origin: ckan::base(&headers),
        icon: asset::icon_url(),
    });
    let media_type = "application/opensearchdescription+xml; charset=utf-8";
    description.and_then(|description| xml(media_type, &description)).map_err(at(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        assert_eq!(plain("停\u{0}车\u{1b}[1m\u{FFFE}\t<b>\u{1F600}"), "停车[1m\t<b>\u{1F600}");
    }
}
