//! What a client is told when a request is not answered: a problem document (RFC 9457) over HTTP,
//! a status over gRPC, both from the one vocabulary of [`Code`].

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use liandong_core::error::Code;
use liandong_store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value};

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A sentence in both languages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Text {
    /// Both languages of one sentence.
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { zh: zh.into(), en: en.into() }
    }

    /// Chinese first, for documents that carry both.
    pub fn both(&self) -> String {
        format!("{} / {}", self.zh, self.en)
    }
}

/// One parameter that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterFault {
    /// Its name.
    pub parameter: String,
    /// What is wrong with it and what is allowed.
    pub detail: Text,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The kind of failure.
    pub code: Code,
    /// What happened and what to do.
    pub detail: Text,
    /// Every parameter at fault.
    pub errors: Vec<ParameterFault>,
    /// HTTP status where it is not the code's own, e.g. 405.
    status: Option<StatusCode>,
    /// The request's path, once known.
    instance: Option<String>,
    /// Further members, e.g. why a record was withdrawn. Boxed, because most problems have none and
    /// every answer carries the room.
    more: Box<Map<String, Value>>,
}

impl Problem {
    /// A problem without parameters.
    pub fn new(code: Code, zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            code,
            detail: Text::new(zh, en),
            errors: Vec::new(),
            status: None,
            instance: None,
            more: Box::default(),
        }
    }

    /// Parameters that are not what they should be, all of them at once.
    pub fn parameters(errors: Vec<ParameterFault>) -> Self {
        let join = |pick: fn(&Text) -> &str, separator: &str| {
            let lines: Vec<_> = errors.iter().map(|fault| pick(&fault.detail)).collect();
            lines.join(separator)
        };
        let zh = join(|text| &text.zh, "；");
        let en = join(|text| &text.en, "; ");
        Self { errors, ..Self::new(Code::BadRequest, zh, en) }
    }

    /// Something that is not there, or that the reader may not know of; both look the same.
    pub fn no_record() -> Self {
        Self::new(
            Code::NotFound,
            "目录中没有这条记录，请核对编号或改用搜索",
            "the catalogue has no such record; check the id or use the search",
        )
    }

    /// Our own failure. What exactly failed goes to the log, never to the client.
    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            "服务内部出错，请稍后再试；若持续出现请联系管理员",
            "the service failed; try again later and tell its administrator if it goes on",
        )
    }

    /// Names the request's path in the document.
    #[must_use]
    pub fn instance(mut self, path: impl Into<String>) -> Self {
        self.instance = Some(path.into());
        self
    }

    /// Answers with another HTTP status than the code's own.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a member to the document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A member that was added.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        self.more.get(name)
    }

    /// The HTTP status.
    pub fn http_status(&self) -> StatusCode {
        let own = || StatusCode::from_u16(self.code.http());
        self.status.map_or_else(own, Ok).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What the kind of failure is called, for people.
    pub fn title(&self) -> Text {
        let (zh, en) = match self.code {
            Code::BadRequest => ("请求有误", "bad request"),
            Code::Invalid => ("内容不合规则", "content breaks a rule"),
            Code::Unauthenticated => ("未认证", "not authenticated"),
            Code::Forbidden => ("无权限", "not allowed"),
            Code::NotFound => ("未找到", "not found"),
            Code::Gone => ("已撤回", "withdrawn"),
            Code::Conflict => ("有冲突", "conflict"),
            Code::TooLarge => ("内容过大", "too large"),
            Code::Busy => ("繁忙，请稍后再试", "busy, try later"),
            Code::Unreachable => ("对端无法连接", "the other side cannot be reached"),
            Code::Internal => ("内部错误", "internal error"),
        };
        Text::new(zh, en)
    }

    fn document(&self) -> Document {
        Document {
            r#type: format!("urn:liandong:problem:{}", self.code.name()),
            title: self.title().both(),
            status: self.http_status().as_u16(),
            detail: self.detail.both(),
            instance: self.instance.clone(),
            code: self.code,
            errors: self
                .errors
                .iter()
                .map(|fault| DocumentError {
                    parameter: fault.parameter.clone(),
                    detail: fault.detail.both(),
                })
                .collect(),
            more: Map::clone(&self.more),
        }
    }
}

/// The problem as JSON.
#[derive(Debug, Serialize)]
struct Document {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    code: Code,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<DocumentError>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct DocumentError {
    parameter: String,
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.http_status(), Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.code == Code::Busy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::new(
                Code::Busy,
                "服务正在停止，请稍后再试",
                "the service is stopping; try later",
            ),
            StoreError::Moved { .. } => Self::new(
                Code::Conflict,
                "数据刚被他人修改，请刷新后再试",
                "somebody else changed it first; load it again",
            ),
            error @ (StoreError::Io { .. }
            | StoreError::Damaged { .. }
            | StoreError::View(_)
            | StoreError::Index(_)) => {
                tracing::error!(%error, "the store cannot answer");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_every_parameter_at_fault() {
        let fault = |name: &str| ParameterFault {
            parameter: name.to_owned(),
            detail: Text::new(format!("{name} 不对"), format!("{name} is wrong")),
        };
        let problem = Problem::parameters(vec![fault("limit"), fault("after")]).instance("/x");
        let json = serde_json::to_value(problem.document()).unwrap();
        assert_eq!(json["type"], "urn:liandong:problem:bad_request");
        assert_eq!(json["status"], 400);
        assert_eq!(json["code"], "bad_request");
        assert_eq!(json["instance"], "/x");
        assert_eq!(json["errors"][1]["parameter"], "after");
        assert!(json["detail"].as_str().unwrap().contains("limit is wrong; after is wrong"));
    }

    #[test]
    fn a_failure_of_the_store_tells_nothing_of_the_machine() {
        let path = std::path::PathBuf::from("secret-place");
        let error = StoreError::io(path)(std::io::Error::other("disk"));
        let text = format!("{:?}", Problem::from(error));
        assert!(!text.contains("secret-place"), "{text}");
    }
}
