//! Requests for changes (C4): the core facet stays the district's; the hub asks.

use jiff::civil::Date;
use liandong_core::{
    calendar::Calendar,
    city::{Asked, Refusal, RequestClose, RequestReply, RequestState},
    difference::{FieldDifference, difference},
    id::{DistrictCode, RecordId},
    limit,
    validate::{self, Severity},
};
use liandong_server::clock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{RecordRef, version};
use crate::app::{App, AppError};

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestShown {
    /// Its name.
    pub request: String,
    /// The record.
    pub record: RecordRef,
    /// What is asked.
    pub fields: Map<String, Value>,
    /// Why.
    pub reason: String,
    /// Day by which an answer is expected.
    pub due: Option<Date>,
    /// `open`, `overdue`, `accepted`, `declined` or `withdrawn`.
    pub state: String,
    /// What the district said.
    pub answer: Option<String>,
    /// Who asked.
    pub actor: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Field by field: what the curator saw, what the record says now, what is asked. In a list empty.
    #[serde(default)]
    pub differences: Vec<FieldDifference>,
}

fn state(request: &RequestState, today: Date) -> &'static str {
    match &request.closed {
        None if request.asked.due.is_some_and(|due| due < today) => "overdue",
        None => "open",
        Some(close) if close.reply.accepted => "accepted",
        Some(close) if close.cause.is_none() => "withdrawn",
        Some(_) => "declined",
    }
}

impl App {
    pub(super) async fn create_request(
        &self,
        record: RecordId,
        fields: Map<String, Value>,
        (reason, due): (String, Option<Date>),
        actor: &str,
    ) -> Result<RequestShown, AppError> {
        let state = self.live(record)?;
        self.check_fields(record, &fields)?;
        let today = clock::today_shanghai();
        let term = || Calendar::builtin().due(today, limit::REQUEST_WORKING_DAYS).date;
        let due = Some(due.unwrap_or_else(term));
        self.decide(actor, |city| {
            let to_feed = city.owner(record);
            let asked = Asked { to_feed, fields, withdraw: None, reason, due, cause: None };
            Ok(city.curation.ask(record, Some(state.op_hash), &asked, state.visibility)?)
        })
        .await?;
        // Names are ULIDs, so the newest is the last.
        let city = self.city();
        let newest = city.curation.requests_about(record).last().map(|(name, _)| name.clone());
        self.request(&newest.unwrap_or_default())
    }

    /// What a district could not accept is not asked for.
    fn check_fields(&self, id: RecordId, fields: &Map<String, Value>) -> Result<(), AppError> {
        let entry = self.store.entry(id)?.and_then(|entry| entry.record);
        let record = entry.ok_or_else(|| Refusal::NotFound(id.to_string()))?;
        let changed = record.with_fields(fields).map_err(|fault| {
            let text = fault.to_string();
            let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
            Refusal::Bad { zh: zh.to_owned(), en: en.to_owned() }
        })?;
        if changed == record {
            return Err(Refusal::NoChange(id.to_string()).into());
        }
        let faults = validate::recheck(&changed, clock::today_shanghai());
        if let Some(fault) = faults.iter().find(|fault| fault.severity == Severity::Error) {
            return Err(Refusal::Bad {
                zh: format!("[{}] {}：{}", fault.rule, fault.field, fault.message.zh),
                en: format!("[{}] {}: {}", fault.rule, fault.field, fault.message.en),
            }
            .into());
        }
        Ok(())
    }

    fn request_shown(&self, name: &str, request: &RequestState) -> Result<RequestShown, AppError> {
        let reply = request.closed.as_ref().map(|close| &close.reply);
        Ok(RequestShown {
            request: name.to_owned(),
            record: self.record_ref(request.record)?,
            fields: request.asked.fields.clone(),
            reason: request.asked.reason.clone(),
            due: request.asked.due,
            state: state(request, clock::today_shanghai()).to_owned(),
            answer: reply.and_then(|reply| reply.reason.clone()),
            actor: request.actor.clone(),
            at_ms: request.at_ms,
            differences: Vec::new(),
        })
    }

    pub(super) fn request(&self, name: &str) -> Result<RequestShown, AppError> {
        let (city, name) = (self.city(), name.to_uppercase());
        let request = city.curation.requests.get(&name);
        let request = request.ok_or_else(|| Refusal::NotFound(name.clone()))?;
        let base = self.content_before(request.record, request.base)?;
        let now = self.content_now(request.record)?;
        let began = base.as_ref().or(now.as_ref());
        let asked = began.map(|began| version::with_fields(began, &request.asked.fields));
        let differences = difference(began, now.as_ref(), asked.as_ref());
        Ok(RequestShown { differences, ..self.request_shown(&name, request)? })
    }

    pub(super) fn requests(
        &self,
        all: bool,
        district: Option<&DistrictCode>,
    ) -> Result<Vec<RequestShown>, AppError> {
        let city = self.city();
        let feed = district.and_then(|code| city.directory.feed_of(code));
        let wanted = |request: &RequestState| {
            (all || request.closed.is_none())
                && (district.is_none() || feed == Some(city.owner(request.record)))
        };
        let newest_first = city.curation.requests.iter().rev();
        let mut shown = newest_first
            .filter(|(_, request)| wanted(request))
            .take(limit::DESK_PAGE_MAX)
            .map(|(name, request)| self.request_shown(name, request))
            .collect::<Result<Vec<_>, _>>()?;
        shown.sort_by_key(|request| (request.answer.is_some(), request.due));
        Ok(shown)
    }

    pub(super) async fn withdraw_request(
        &self,
        name: &str,
        reason: String,
        actor: &str,
    ) -> Result<RequestShown, AppError> {
        let request = name.to_uppercase();
        if reason.trim().is_empty() {
            return Err(Refusal::NoReason.into());
        }
        let reply = RequestReply {
            request: request.clone(),
            accepted: false,
            reason: Some(reason),
            resolved_by: None,
        };
        let close = RequestClose { reply, cause: None };
        self.decide(actor, |city| Ok(city.curation.close(&close)?)).await?;
        self.request(&request)
    }
}
