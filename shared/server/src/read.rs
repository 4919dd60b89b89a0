//! The read side: pages for people, `/api/v1` for programs, probes for operators. Node and hub
//! mount the same.
//!
//! Only records that anyone may see are answered; any other looks like one that does not exist.
//! Invariant: nothing here writes.

mod address;
pub(crate) mod api;
mod asset;
pub(crate) mod catalogue;
mod conflicts;
mod feed;
mod layer;
mod mark;
mod pages;
pub(crate) mod params;
mod probe;
pub(crate) mod search;
mod tally;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use liandong_core::error::Code;
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::{compression::CompressionLayer, limit::RequestBodyLimitLayer};

use self::{catalogue::Catalogue, pages::Locale, probe::Readiness, tally::Tally};
use crate::{ckan, problem::Problem, site::Site};

/// Largest body of a request to the read side, bytes. Only the arguments of a CKAN action come in one.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Reader {
    catalogue: Catalogue,
    metrics: PrometheusHandle,
    readiness: Readiness,
    tally: Tally,
}

/// Pages, `/api/v1`, `/healthz`, `/readyz` and `/metrics` of a site.
///
/// It brings its own fallback (a 404 page or problem), so merge routers without one into it.
pub fn router(site: Arc<dyn Site>, metrics: PrometheusHandle) -> Router {
    let readiness = Readiness::of(site.store());
    let catalogue = Catalogue::new(site);
    let ckan = ckan::router(catalogue.clone());
    let reader = Arc::new(Reader { readiness, catalogue, metrics, tally: Tally::default() });
    let routes = Router::new()
        .route("/", get(pages::home))
        .route("/search", get(pages::search))
        .route("/search.atom", get(feed::atom))
        .route("/search.json", get(feed::json))
        .route("/opensearch.xml", get(feed::opensearch))
        .route("/dataset/{id}", get(pages::dataset))
        .route("/assets/{name}", get(asset::asset))
        .route("/api/v1/records", get(api::records).options(layer::preflight))
        .route("/api/v1/records/{id}", get(api::record).options(layer::preflight))
        .route("/api/v1/conflicts", get(conflicts::conflicts).options(layer::preflight))
        .route("/api/v1/conflicts/{id}", get(conflicts::conflict).options(layer::preflight))
        .route("/api/v1/search", get(api::search).options(layer::preflight))
        .route("/api/v1/suggest", get(api::suggest).options(layer::preflight))
        .route("/api/v1/changes", get(api::changes).options(layer::preflight))
        .route("/api/v1/status", get(api::status).options(layer::preflight))
        .route("/healthz", get(probe::healthz))
        .route("/readyz", get(probe::readyz))
        .route("/metrics", get(probe::metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nowhere)
        .with_state(reader)
        .merge(ckan)
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX));
    with_common_layers(routes)
}

/// What every HTTP answer of this system gets: security headers, CORS under `/api`, compression, a
/// time limit, and its count in the figures. For routers that stand beside [`router`].
pub fn with_common_layers<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(axum::middleware::from_fn(layer::guard)).layer(CompressionLayer::new())
}

/// Whether the path belongs to programs, which get problems instead of pages.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

/// Everything that has no route.
async fn nowhere(
    State(reader): State<Arc<Reader>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(location) = without_trailing_slash(&uri) {
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response();
    }
    let problem = Problem::new(
        Code::NotFound,
        "没有这个地址，请检查拼写，或从首页、搜索开始",
        "there is nothing at this address; check its spelling or begin at the home page",
    );
    // A program that posts somewhere wants a problem, wherever that is.
    if is_api(uri.path()) || (method != Method::GET && method != Method::HEAD) {
        return problem.instance(uri.path()).into_response();
    }
    reader.refuse(&Locale::of(&uri, &headers), &problem).await
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let problem = Problem::new(
        Code::BadRequest,
        format!("此地址不支持 {method}，只能用 GET 或 HEAD 读取"),
        format!("this address does not take {method}; read it with GET or HEAD"),
    );
    let problem = problem.status(StatusCode::METHOD_NOT_ALLOWED).instance(uri.path());
    ([(header::ALLOW, "GET, HEAD")], problem).into_response()
}

/// `/search/?q=x` → `/search?q=x`.
fn without_trailing_slash(uri: &Uri) -> Option<String> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    // Two slashes at the start (browsers read a backslash as one) would name another host, and the
    // redirect would lead there.
    let other_host = trimmed.get(1..).is_some_and(|rest| rest.starts_with(['/', '\\']));
    if trimmed.len() == path.len() || trimmed.is_empty() || other_host {
        return None;
    }
    Some(match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
