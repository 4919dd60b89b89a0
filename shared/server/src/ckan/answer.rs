//! The envelope of answers, and refusals as CKAN words them.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use liandong_core::{error::Code, expr::ExprError};
use liandong_store::StoreError;
use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Why an action has no result.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is no such thing; what is told besides may be empty.
    NotFound(String),
    /// Not for everyone.
    Denied(String),
    /// An argument is missing or wrong.
    Invalid {
        /// Its name.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// An argument of a search that there is not.
    SearchQuery(String),
    /// A search expression that cannot be read.
    Search(String),
    /// The site cannot answer.
    Problem(Problem),
}

impl Refusal {
    pub(super) fn not_found() -> Self {
        Self::NotFound(String::new())
    }

    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), message: message.into() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Invalid { .. } | Self::Search(_) => StatusCode::CONFLICT,
            Self::SearchQuery(_) => StatusCode::BAD_REQUEST,
            Self::Problem(problem) => problem.http_status(),
        }
    }

    fn error(self) -> Value {
        let told = |begin: &str, detail: &str| match detail {
            "" => begin.to_owned(),
            detail => format!("{begin}: {detail}"),
        };
        let (kind, message) = match self {
            Self::NotFound(detail) => ("Not Found Error", told("Not found", &detail)),
            Self::Denied(detail) => ("Authorization Error", told("Access denied", &detail)),
            Self::Invalid { field, message } => {
                let mut error = Map::new();
                error.insert("__type".to_owned(), "Validation Error".into());
                error.insert(field, json!([message]));
                return error.into();
            }
            Self::SearchQuery(detail) => {
                ("Search Query Error", format!("Search Query is invalid: {}", quoted(&detail)))
            }
            Self::Search(detail) => ("Search Error", format!("Search error: {}", quoted(&detail))),
            Self::Problem(_) => ("Internal Server Error", "Internal Server Error".to_owned()),
        };
        json!({ "__type": kind, "message": message })
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match StatusCode::from_u16(Code::NotFound.http()) {
            Ok(status) if problem.http_status() == status => Self::not_found(),
            _ => Self::Problem(problem),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::from(Problem::from(error))
    }
}

impl From<ExprError> for Refusal {
    fn from(error: ExprError) -> Self {
        Self::Search(error.to_string())
    }
}

/// Text as Python writes it in quotes.
fn quoted(text: &str) -> String {
    let plain = text.replace('\\', "\\\\").replace('\n', "\\n");
    if plain.contains('\'') && !plain.contains('"') {
        format!("\"{plain}\"")
    } else {
        format!("'{}'", plain.replace('\'', "\\'"))
    }
}

/// JSON with the content type that CKAN gives.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json;charset=utf-8")];
    (status, headers, body.to_string()).into_response()
}

/// A request that is none: a bare text without the envelope.
pub(super) fn bad_request(told: &str) -> Response {
    json(StatusCode::BAD_REQUEST, &format!("Bad request - {told}").into())
}

fn help(base: &str, action: &str) -> String {
    format!("{base}/api/3/action/help_show?name={action}")
}

pub(super) fn success(base: &str, action: &str, result: &Value) -> Response {
    let envelope = json!({ "help": help(base, action), "success": true, "result": result });
    json(StatusCode::OK, &envelope)
}

pub(super) fn failure(base: &str, action: &str, refusal: Refusal) -> Response {
    if let Refusal::Problem(problem) = &refusal {
        tracing::warn!(?problem, action, "an action of the CKAN interface has no answer");
    }
    let status = refusal.status();
    let error = refusal.error();
    json(status, &json!({ "help": help(base, action), "success": false, "error": error }))
}
