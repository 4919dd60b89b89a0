//! What the city wants of this district: requests for changes, conflicts, holds, changes that wait for the city.
//!
//! All of it is read from the mirror of the hub's feed, so it is there without the hub too. Answers are ops of the
//! district's own feed; the hub records them when they arrive.

use std::collections::BTreeMap;

use jiff::civil::Date;
use liandong_core::{
    city::{
        City, Conflict, ConflictKind, ConflictState, Dispute, Gate, RequestReply, RequestState,
    },
    decide::{self, Command},
    difference::{FieldDifference, difference},
    id::{Hash, RecordId},
    limit,
    op::{Change, OpType},
    record::Visibility,
    validate::{self, Draft},
};
use liandong_server::{
    admin::AdminError,
    clock,
    command::answer,
    keys,
    output::{Exit, Failure},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    app::{App, AppError},
    edit::refused,
};

/// What can be asked of the inbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inbox {
    /// All that waits.
    List,
    /// Requests for changes.
    RequestList {
        /// Answered ones too.
        all: bool,
    },
    /// One request with what it would change.
    RequestShow {
        /// Its name.
        request: String,
    },
    /// Carry a request out.
    RequestAccept {
        /// Its name.
        request: String,
        /// Other content than asked for.
        content: Option<Value>,
    },
    /// Say no.
    RequestDecline {
        /// Its name.
        request: String,
        /// Why, for people.
        reason: String,
    },
    /// Object to a decision of the city.
    Object {
        /// The conflict, or the beginning of its id.
        conflict: String,
        /// Why, for people.
        reason: String,
    },
}

/// A request for a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub request: String,
    /// The record.
    pub record: RecordId,
    /// Its title now.
    pub title: String,
    /// What is asked.
    pub fields: Map<String, Value>,
    /// Why.
    pub reason: String,
    /// Day by which the city expects an answer.
    pub due: Option<Date>,
    /// `open`, `overdue`, `answered` (the city has not recorded it yet), `accepted`, `declined` or `withdrawn`.
    pub state: String,
    /// Field by field: what the curator saw, what the record says now, what is asked. In a list empty.
    #[serde(default)]
    pub differences: Vec<FieldDifference>,
}

/// A conflict that concerns this district.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxConflict {
    /// Its id.
    pub id: Hash,
    /// Number in the catalogue of conflicts.
    pub number: String,
    /// Kind.
    pub kind: ConflictKind,
    /// Where it stands.
    pub state: ConflictState,
    /// Records and names that it is about.
    pub subjects: Vec<String>,
    /// The side that the city shows meanwhile.
    pub winner: Option<RecordId>,
    /// Why it was found.
    pub evidence: Value,
    /// Last word on it.
    pub reason: String,
    /// What was decided, if anything.
    pub decision: Option<String>,
}

/// A record of this district that the city hides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The record.
    pub record: RecordId,
    /// Its title.
    pub title: String,
    /// The law it rests on.
    pub legal_basis: String,
    /// Why.
    pub reason: String,
}

/// An op of this district that the city could do nothing about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOp {
    /// Its position.
    pub seq: u64,
    /// Why.
    pub reason: String,
}

/// All that waits for this district.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxList {
    /// Position of the hub's feed that this is read from.
    pub hub_seq: u64,
    /// Requests without an answer.
    pub requests: Vec<Request>,
    /// Conflicts that wait for a decision.
    pub conflicts: Vec<InboxConflict>,
    /// Records that the city hides.
    pub holds: Vec<HeldRecord>,
    /// A mass change that waits for the city's word.
    pub held_change: Option<Gate>,
    /// Ops that the city could do nothing about, the newest first.
    pub refused: Vec<RefusedOp>,
}

/// Refused ops that are shown.
const REFUSED_MAX: usize = 20;

fn not_found(what: &str) -> Failure {
    Failure::new(
        "not_found",
        Exit::Error,
        format!("没有找到 {what}"),
        format!("there is no {what}"),
    )
    .remedy(
        "请运行 liandong-node inbox 查看；中心离线时以已收到的内容为准",
        "see liandong-node inbox; while the hub is away it tells what has been received",
    )
}

impl App {
    /// Runs a command of the inbox.
    pub(crate) async fn at_inbox(
        &self,
        asked: Inbox,
        actor: &str,
    ) -> Result<Result<Value, AdminError>, AppError> {
        Ok(match asked {
            Inbox::List => answer(&self.inbox()?),
            Inbox::RequestList { all } => answer(&self.requests(all)?),
            Inbox::RequestShow { request } => answer(&self.request(&request)?),
            Inbox::RequestAccept { request, content } => {
                answer(&self.accept(&request, content.as_ref(), actor).await?)
            }
            Inbox::RequestDecline { request, reason } => {
                answer(&self.decline(&request, reason, actor).await?)
            }
            Inbox::Object { conflict, reason } => {
                answer(&self.object(&conflict, reason, actor).await?)
            }
        })
    }

    fn inbox(&self) -> Result<InboxList, AppError> {
        let (city, own) = (self.store.city(), self.own.feed());
        let open = city.conflicts_of(Some(own)).filter(|conflict| conflict.is_open());
        let refused = city.refused.iter().rev().filter(|(cause, _)| cause.feed == own);
        let mut holds = Vec::new();
        for (record, held) in city.curation.holds.iter().filter(|(id, _)| city.owner(**id) == own) {
            holds.push(HeldRecord {
                record: *record,
                title: self.title(*record)?,
                legal_basis: held.hold.legal_basis.clone(),
                reason: held.hold.reason.clone(),
            });
        }
        Ok(InboxList {
            hub_seq: city.head.seq,
            requests: self.requests(false)?,
            conflicts: open.take(limit::DESK_PAGE_MAX).map(|c| shown(&city, c)).collect(),
            holds,
            held_change: city.gates.held(own).cloned(),
            refused: refused
                .take(REFUSED_MAX)
                .map(|(cause, reason)| RefusedOp { seq: cause.seq, reason: reason.clone() })
                .collect(),
        })
    }

    fn title(&self, record: RecordId) -> Result<String, AppError> {
        let entry = self.store.entry(record)?;
        Ok(entry.and_then(|entry| entry.record).map(|record| record.title).unwrap_or_default())
    }

    /// Answers that are written here and not recorded by the city yet, by request.
    fn answered(&self) -> Result<BTreeMap<String, RequestReply>, AppError> {
        let mut answered = BTreeMap::new();
        for letter in self.store.letters()? {
            let ops = self.store.ops(letter.feed, letter.seq - 1, 1, limit::BATCH_BYTES_MAX)?;
            let replies = ops.iter().filter(|op| op.kind == OpType::ChangeRequestReply);
            let replies = replies.filter_map(|op| serde_json::from_slice(&op.signed.payload).ok());
            answered.extend(replies.map(|reply: RequestReply| (reply.request.clone(), reply)));
        }
        Ok(answered)
    }

    fn is_ours(&self, city: &City, request: &RequestState) -> bool {
        let own = self.own.feed();
        city.owner(request.record) == own || request.asked.to_feed == own
    }

    fn requests(&self, all: bool) -> Result<Vec<Request>, AppError> {
        let (city, answered) = (self.store.city(), self.answered()?);
        let wanted = |request: &RequestState| {
            self.is_ours(&city, request) && (all || request.closed.is_none())
        };
        let newest_first = city.curation.requests.iter().rev();
        newest_first
            .filter(|(_, request)| wanted(request))
            .take(limit::DESK_PAGE_MAX)
            .map(|(name, request)| self.request_shown(name, request, answered.contains_key(name)))
            .collect()
    }

    fn request_shown(
        &self,
        name: &str,
        request: &RequestState,
        answered: bool,
    ) -> Result<Request, AppError> {
        let today = clock::today_shanghai();
        let state = match &request.closed {
            None if answered => "answered",
            None if request.asked.due.is_some_and(|due| due < today) => "overdue",
            None => "open",
            Some(close) if close.reply.accepted => "accepted",
            Some(close) if close.cause.is_none() => "withdrawn",
            Some(_) => "declined",
        };
        Ok(Request {
            request: name.to_owned(),
            record: request.record,
            title: self.title(request.record)?,
            fields: request.asked.fields.clone(),
            reason: request.asked.reason.clone(),
            due: request.asked.due,
            state: state.to_owned(),
            differences: Vec::new(),
        })
    }

    fn find_request(&self, name: &str) -> Result<(String, RequestState), AppError> {
        let (city, name) = (self.store.city(), name.to_uppercase());
        let request = city.curation.requests.get(&name);
        let ours = request.filter(|request| self.is_ours(&city, request)).cloned();
        ours.map(|request| (name.clone(), request)).ok_or_else(|| not_found(&name).into())
    }

    fn request(&self, name: &str) -> Result<Request, AppError> {
        let (name, request) = self.find_request(name)?;
        let entry = self.store.entry(request.record)?;
        let now: Option<Value> = entry
            .as_ref()
            .filter(|entry| entry.record.is_some())
            .and_then(|entry| serde_json::from_slice(&entry.payload).ok());
        let base = match (request.base, &entry) {
            (Some(base), Some(entry)) => self.store.op_before(entry.feed, entry.seq, base)?,
            _ => None,
        };
        let base = base.and_then(|op| serde_json::from_slice(&op.signed.payload).ok());
        let began: Option<Value> = base.or_else(|| now.clone());
        let asked = began.clone().and_then(|began| {
            let record: liandong_core::record::Record = serde_json::from_value(began).ok()?;
            serde_json::to_value(record.with_fields(&request.asked.fields).ok()?).ok()
        });
        let differences = difference(began.as_ref(), now.as_ref(), asked.as_ref());
        let answered = self.answered()?.contains_key(&name);
        Ok(Request { differences, ..self.request_shown(&name, &request, answered)? })
    }

    /// The request, when nobody has answered it.
    fn unanswered(&self, name: &str) -> Result<(String, RequestState), AppError> {
        let (name, request) = self.find_request(name)?;
        if request.closed.is_some() || self.answered()?.contains_key(&name) {
            return Err(Failure::new(
                "answered",
                Exit::Conflict,
                format!("请求 {name} 已了结或已答复"),
                format!("request {name} is closed or answered"),
            )
            .into());
        }
        Ok((name, request))
    }

    /// Carries a request out: the record with the fields that are asked for, or with other content, and the answer.
    async fn accept(
        &self,
        name: &str,
        content: Option<&Value>,
        actor: &str,
    ) -> Result<Request, AppError> {
        let (name, request) = self.unanswered(name)?;
        let entry = self.store.entry(request.record)?;
        if let Some(entry) = &entry
            && entry.record.is_none()
        {
            return Err(decide::Refusal::Withdrawn.into());
        }
        if let (None, Some(reason)) = (content, &request.asked.withdraw) {
            let withdrawn = self.withdraw(request.record, reason.clone(), actor).await?;
            return self.accepted(name, &request, withdrawn.op_hash, actor).await;
        }
        // What a former owner began after it gave everything away is not here yet.
        let known = entry.as_ref().and_then(|entry| entry.record.clone());
        let expected = entry.as_ref().map(|entry| entry.op_hash);
        let record = match (content, known.unwrap_or_default()) {
            (Some(content), _) => self.check(content)?.0,
            (None, record) => {
                let changed = record.with_fields(&request.asked.fields).map_err(|fault| {
                    let text = fault.to_string();
                    let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                    Failure::new("invalid", Exit::Validation, zh, en)
                })?;
                let checked = validate::check(Draft::from(&changed), clock::today_shanghai());
                checked.record.ok_or_else(|| refused(&checked.faults))?
            }
        };
        let command = Command::Put(Box::new(record));
        let edited = self.edit(request.record, &command, expected, actor).await?;
        self.accepted(name, &request, edited.op_hash, actor).await
    }

    /// Should the answer get lost after the change, accepting again changes nothing and answers.
    async fn accepted(
        &self,
        name: String,
        request: &RequestState,
        resolved_by: Option<Hash>,
        actor: &str,
    ) -> Result<Request, AppError> {
        let (accepted, reason) = (true, None);
        let reply = RequestReply { request: name.clone(), accepted, reason, resolved_by };
        self.reply(request, &reply, actor).await?;
        self.request(&name)
    }

    async fn decline(&self, name: &str, reason: String, actor: &str) -> Result<Request, AppError> {
        let reason = with_reason(reason)?;
        let (name, request) = self.unanswered(name)?;
        let reply = RequestReply {
            request: name.clone(),
            accepted: false,
            reason: Some(reason),
            resolved_by: None,
        };
        self.reply(&request, &reply, actor).await?;
        self.request(&name)
    }

    async fn reply(
        &self,
        request: &RequestState,
        reply: &RequestReply,
        actor: &str,
    ) -> Result<(), AppError> {
        let state = self.store.state(request.record)?;
        let visibility = state.map_or(Visibility::Restricted, |state| state.visibility);
        let subject = request.record.to_bytes().to_vec();
        self.letter(OpType::ChangeRequestReply, (subject, visibility), reply, actor).await
    }

    /// Objects to a conflict's decision; the hub opens it again when this arrives.
    async fn object(
        &self,
        conflict: &str,
        reason: String,
        actor: &str,
    ) -> Result<InboxConflict, AppError> {
        let (reason, city) = (with_reason(reason)?, self.store.city());
        let wanted = conflict.to_lowercase();
        let mut named = city
            .conflicts_of(Some(self.own.feed()))
            .filter(|known| known.opened.id.to_string().starts_with(&wanted));
        let found = named.next().filter(|_| wanted.len() >= 6 && named.next().is_none());
        let found = found.ok_or_else(|| not_found(conflict))?;
        let id = found.opened.id;
        let dispute = Dispute { conflict: Some(id), record: None, reason };
        let subject = (id.as_bytes().to_vec(), found.visibility);
        self.letter(OpType::Dispute, subject, &dispute, actor).await?;
        Ok(shown(&city, found))
    }

    async fn letter<T: Serialize>(
        &self,
        kind: OpType,
        (subject, visibility): (Vec<u8>, Visibility),
        payload: &T,
        actor: &str,
    ) -> Result<(), AppError> {
        let payload = serde_json::to_vec(payload).unwrap_or_default();
        let change = Change { kind, subject, base: None, payload, visibility };
        let mut turn = self.turn().await?;
        turn.write(vec![change], || keys::stamp(actor)).await?;
        Ok(())
    }
}

fn with_reason(reason: String) -> Result<String, Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::new("no_reason", Exit::Usage, "必须说明理由", "a reason is required"));
    }
    Ok(reason)
}

fn shown(city: &City, conflict: &Conflict) -> InboxConflict {
    let opened = &conflict.opened;
    InboxConflict {
        id: opened.id,
        number: opened.kind.number().to_owned(),
        kind: opened.kind,
        state: conflict.state(),
        subjects: opened.subjects.clone(),
        winner: city.winner(conflict),
        evidence: opened.evidence.clone(),
        reason: conflict.history.last().map(|event| event.reason.clone()).unwrap_or_default(),
        decision: conflict.decision().map(|decision| decision.name().to_owned()),
    }
}
