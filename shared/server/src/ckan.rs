//! The read part of CKAN's Action API, for the tools that already speak it.
//!
//! Envelope, statuses and messages are those of CKAN 2.11, recorded from a real one; what it leaves open is said where
//! it is decided. Records appear as datasets, departments as organisations and themes as groups. A record that not
//! everyone may see does not exist here, and neither does one that was withdrawn: deletions are told by
//! `/api/v1/changes`. JSONP (`callback`) is left out; scripts of other sites may read everything as it is.

mod answer;
mod args;
mod dataset;
mod directory;
mod find;
mod group;
mod help;
mod input;
mod package;
mod resource;
mod search;
mod site;
mod tag;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use self::{
    answer::{Refusal, bad_request, failure, success},
    directory::Names,
    help::{ACTIONS, Kind},
};
use crate::{
    clock,
    read::catalogue::{Catalogue, Snapshot},
};

/// What an action answers.
type Outcome = Result<Value, Refusal>;

/// What the handlers share.
#[derive(Debug)]
struct Ckan {
    catalogue: Catalogue,
    names: Arc<Names>,
}

/// What an action sees of the site and of its request.
pub(crate) struct Context<'a> {
    snapshot: &'a Snapshot<'a>,
    names: &'a Names,
    /// Where the site is, as the client knows it: scheme and host.
    base: &'a str,
    now_us: i64,
}

/// `/api/3` and the actions, under both of their addresses.
pub(crate) fn router(catalogue: Catalogue) -> Router {
    let ckan = Arc::new(Ckan { catalogue, names: Arc::default() });
    let actions = || get(action).post(action).options(preflight);
    Router::new()
        .route("/api", get(version))
        .route("/api/3", get(version))
        .route("/api/3/action/{name}", actions())
        .route("/api/action/{name}", actions())
        .with_state(ckan)
}

async fn version() -> Response {
    answer::json(StatusCode::OK, &json!({ "version": 3 }))
}

/// What a browser asks before a script of another site may post JSON.
async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, X-CKAN-API-Key"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `/api/3/action/{name}`. A key, known or not, changes nothing: everything here is open.
async fn action(
    State(ckan): State<Arc<Ckan>>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(known) = ACTIONS.iter().find(|action| action.name == name) else {
        return bad_request(&format!("Action name not known: {name}"));
    };
    let Ok(body) = body else {
        return bad_request("Bad request data: Request data is too large or cannot be read");
    };
    let posted = method == Method::POST;
    let Kind::Read(run) = known.kind else {
        let told = "Bad request data: Invalid request. Please use POST method for your request";
        let denied = format!("Action {name} requires an authenticated user");
        let base = base(&headers);
        return if posted {
            failure(&base, &name, Refusal::Denied(denied))
        } else {
            bad_request(told)
        };
    };
    let read = input::read(uri.query(), posted.then_some((&headers, &body)));
    let args = match read {
        Ok(args) => args,
        Err(told) => return bad_request(&told),
    };
    let (base, names) = (base(&headers), Arc::clone(&ckan.names));
    let asked = base.clone();
    let answer = ckan.catalogue.ask(move |snapshot| {
        let now_us = clock::now_ms().saturating_mul(1_000);
        let context = Context { snapshot, names: &names, base: &asked, now_us };
        Ok(run(&context, &args))
    });
    match answer.await {
        Ok(Ok(result)) => success(&base, &name, &result),
        Ok(Err(refusal)) => failure(&base, &name, refusal),
        Err(problem) => failure(&base, &name, Refusal::Problem(problem)),
    }
}

/// Scheme and host as the client used them. Links are made of them, so anything but a plain host is left out.
pub(crate) fn base(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).and_then(|host| host.parse::<Authority>().ok());
    let host = host.filter(|host| !host.as_str().contains('@'));
    let host = host.map_or_else(|| "localhost".to_owned(), |host| host.to_string());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests;
