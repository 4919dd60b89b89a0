//! Pages for people: handlers that ask once and render once.

mod dataset;
mod facet;
mod locale;
mod search;
mod snippet;
mod view;

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};

pub(super) use locale::Locale;

use self::{
    dataset::{DatasetPage, WithdrawnPage},
    search::SearchPage,
    view::{Frame, HomePage, MessagePage},
};
use super::{Reader, params::Params};
use crate::{clock, problem::Problem};

/// A page as an answer.
fn render(status: StatusCode, locale: &Locale, page: &impl Template) -> Response {
    let mut response = match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            Problem::internal().into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(locale.tag()));
    response
}

impl Reader {
    /// A page that says why there is none.
    pub(super) async fn refuse(&self, locale: &Locale, problem: &Problem) -> Response {
        let name = self.catalogue.ask(|snapshot| Ok(snapshot.site.name())).await;
        let frame = Frame::new(&name.unwrap_or_default(), locale.clone());
        render(problem.http_status(), locale, &MessagePage::of(frame, problem))
    }

    async fn answer<P: Template>(&self, locale: &Locale, page: Result<P, Problem>) -> Response {
        match page {
            Ok(page) => render(StatusCode::OK, locale, &page),
            Err(problem) => self.refuse(locale, &problem).await,
        }
    }
}

/// `GET /`
pub(super) async fn home(
    State(reader): State<Arc<Reader>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let locale = Locale::of(&uri, &headers);
    let (asked, chosen) = (Arc::clone(&reader), locale.clone());
    let page = reader.catalogue.ask(move |snapshot| {
        let now_ms = clock::now_ms();
        let count = asked.tally.count(snapshot, now_ms)?;
        HomePage::of(snapshot, chosen, count, now_ms)
    });
    reader.answer(&locale, page.await).await
}

/// `GET /search?q=&<facet>=&scope=&sort=&copies=&page=`
pub(super) async fn search(
    State(reader): State<Arc<Reader>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let locale = Locale::of(&uri, &headers);
    let chosen = locale.clone();
    let page = reader
        .catalogue
        .ask(move |snapshot| SearchPage::of(snapshot, chosen, params, clock::now_ms()));
    reader.answer(&locale, page.await).await
}

/// `GET /dataset/{id}`
pub(super) async fn dataset(
    State(reader): State<Arc<Reader>>,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let locale = Locale::of(&uri, &headers);
    let found = reader.catalogue.ask(move |snapshot| {
        // For a person a malformed id is just an address that leads nowhere.
        let id = id.parse().map_err(|_bad_id| Problem::no_record())?;
        Ok((snapshot.record(id)?, snapshot.site.name()))
    });
    let (found, site) = match found.await {
        Ok(found) => found,
        Err(problem) => return reader.refuse(&locale, &problem).await,
    };
    let frame = Frame::new(&site, locale.clone());
    let now_ms = clock::now_ms();
    match found.live() {
        Some(record) => {
            let page = DatasetPage::of(frame, &found, record, now_ms);
            render(StatusCode::OK, &locale, &page)
        }
        None => render(StatusCode::GONE, &locale, &WithdrawnPage::of(frame, &found, now_ms)),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::accessibility_faults;
