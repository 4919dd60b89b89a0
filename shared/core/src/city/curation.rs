//! The overlay facet: what the city's curators add to a record, hide of it, and ask its district to change.
//!
//! Nothing here touches what a district signed.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Cause, Refusal, change, read, require, subject, uid};
use crate::{
    directory::Unreadable,
    id::{FeedId, Hash, RecordId},
    limit,
    op::{Change, Op, OpType},
    record::{Record, Visibility},
};

/// Payload of `overlay.put.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    /// Title the city shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Keywords the city shows instead of the district's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// Theme in the city's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// Whether it counts for the year's key theme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_theme: Option<bool>,
    /// Notes for readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Whether title and keywords stay although the district changed the record since.
    pub sticky: bool,
}

/// An overlay with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlaid {
    /// What was added.
    pub overlay: Overlay,
    /// The core version the curator saw.
    pub base: Option<Hash>,
    /// Position in the hub's feed.
    pub seq: u64,
    /// The op.
    pub op_hash: Hash,
    /// Who.
    pub actor: String,
    /// When by the hub's clock, milliseconds since 1970.
    pub at_ms: i64,
}

/// What the city shows of a record that has an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curated {
    /// Title.
    pub title: String,
    /// Keywords.
    pub keywords: Vec<String>,
    /// Theme.
    pub theme: Option<String>,
    /// Counts for the year's key theme.
    pub key_theme: bool,
    /// Notes.
    pub notes: Option<String>,
    /// The district changed the record after the curator saw it (C3).
    pub stale: bool,
}

impl Overlay {
    fn check(&self) -> Result<(), Refusal> {
        if *self == (Self { sticky: self.sticky, ..Self::default() }) {
            let (zh, en) = ("没有给出任何编目内容", "nothing to add was given");
            return Err(Refusal::Bad { zh: zh.to_owned(), en: en.to_owned() });
        }
        let keywords = self.keywords.iter().flatten();
        let texts = [&self.title, &self.theme, &self.notes].into_iter().flatten();
        let long = |text: &&String| text.chars().count() > limit::CURATION_CHARS_MAX;
        let many = self.keywords.as_ref().map_or(0, Vec::len) > limit::CURATION_KEYWORDS_MAX;
        if many || keywords.chain(texts).any(|text| long(&text)) {
            let (chars, keywords) = (limit::CURATION_CHARS_MAX, limit::CURATION_KEYWORDS_MAX);
            return Err(Refusal::Bad {
                zh: format!("文字最多 {chars} 字，关键词最多 {keywords} 个"),
                en: format!(
                    "a text has at most {chars} characters, keywords are at most {keywords}"
                ),
            });
        }
        let blank = [&self.title, &self.theme].into_iter().flatten().any(|t| t.trim().is_empty());
        if blank {
            let (zh, en) = ("标题和主题不能为空", "title and theme cannot be blank");
            return Err(Refusal::Bad { zh: zh.to_owned(), en: en.to_owned() });
        }
        Ok(())
    }
}

impl Overlaid {
    /// Reads an `overlay.put.v1`.
    ///
    /// # Errors
    /// `Unreadable` when the payload is no overlay.
    pub fn of(op: &Op) -> Result<Self, Unreadable> {
        Ok(Self {
            overlay: read(op)?,
            base: op.base,
            seq: op.seq,
            op_hash: op.hash,
            actor: op.actor.clone(),
            at_ms: op.claimed_at_ms,
        })
    }

    /// Whether the district changed the record after the curator saw it.
    pub fn stale(&self, core: Hash) -> bool {
        self.base.is_some_and(|base| base != core)
    }

    /// What the city shows: what only the city has stays; title and keywords of a stale overlay fall back to the
    /// district's unless they are sticky.
    pub fn over(&self, record: &Record, core: Hash) -> Curated {
        let stale = self.stale(core);
        let pins = !stale || self.overlay.sticky;
        let title = self.overlay.title.clone().filter(|_| pins);
        let keywords = self.overlay.keywords.clone().filter(|_| pins);
        Curated {
            title: title.unwrap_or_else(|| record.title.clone()),
            keywords: keywords.unwrap_or_else(|| record.keywords.clone()),
            theme: self.overlay.theme.clone().or_else(|| record.theme.clone()),
            key_theme: self.overlay.key_theme.unwrap_or(record.key_theme.is_some()),
            notes: self.overlay.notes.clone(),
            stale,
        }
    }
}

/// Payload of `hold.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Hidden, or shown again.
    pub active: bool,
    /// The law it rests on.
    pub legal_basis: String,
    /// Why, for people.
    pub reason: String,
}

/// A hold in force, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What was said.
    pub hold: Hold,
    /// Position in the hub's feed.
    pub seq: u64,
    /// The op.
    pub op_hash: Hash,
    /// Who.
    pub actor: String,
    /// When by the hub's clock, milliseconds since 1970.
    pub at_ms: i64,
}

/// Payload of `change_request.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Feed whose district is asked.
    pub to_feed: FeedId,
    /// Fields of the record and the values they should have.
    pub fields: Map<String, Value>,
    /// The record should be withdrawn, with this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdraw: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// Day by which an answer is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Date>,
    /// The district's op that led to it: a late edit of a former owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Payload of `change_request.reply.v1`, in the district's feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestReply {
    /// Name of the request.
    pub request: String,
    /// Accepted or declined.
    pub accepted: bool,
    /// Why not, when declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The district's op that carries the change out, when accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<Hash>,
}

/// Payload of `change_request.close.v1`: the hub's record of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestClose {
    /// The answer.
    #[serde(flatten)]
    pub reply: RequestReply,
    /// The district's op that answered; absent when the hub took the request back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestState {
    /// The record.
    pub record: RecordId,
    /// What is asked.
    pub asked: Asked,
    /// The core version the curator saw.
    pub base: Option<Hash>,
    /// Who asked.
    pub actor: String,
    /// When by the hub's clock, milliseconds since 1970.
    pub at_ms: i64,
    /// The answer.
    pub closed: Option<RequestClose>,
}

/// Payload of `source.register.v1`: the authoritative source of an information item ("one datum, one source").
///
/// Source: 沪经信推〔2016〕238号 二(一)3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// Information item.
    pub item: String,
    /// The record that is its source; none takes the entry back.
    pub record: Option<RecordId>,
    /// Why, for people.
    pub reason: String,
}

/// All of it, by record or name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Curation {
    /// Overlays.
    pub overlays: BTreeMap<RecordId, Overlaid>,
    /// Records hidden in the city view.
    pub holds: BTreeMap<RecordId, Held>,
    /// Requests by name (ULID), oldest first.
    pub requests: BTreeMap<String, RequestState>,
    /// Authoritative sources by information item.
    pub sources: BTreeMap<String, SourceEntry>,
}

impl Curation {
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        match op.kind {
            OpType::OverlayPut => {
                self.overlays.insert(subject(op)?, Overlaid::of(op)?);
            }
            OpType::OverlayDrop => {
                self.overlays.remove(&subject(op)?);
            }
            OpType::Hold => {
                let said: Hold = read(op)?;
                if said.active {
                    let held = Held {
                        hold: said,
                        seq: op.seq,
                        op_hash: op.hash,
                        actor: op.actor.clone(),
                        at_ms: op.claimed_at_ms,
                    };
                    self.holds.insert(subject(op)?, held);
                } else {
                    self.holds.remove(&subject(op)?);
                }
            }
            OpType::ChangeRequest => {
                let request = RequestState {
                    record: subject(op)?,
                    asked: read(op)?,
                    base: op.base,
                    actor: op.actor.clone(),
                    at_ms: op.claimed_at_ms,
                    closed: None,
                };
                self.requests.insert(uid(op), request);
            }
            OpType::ChangeRequestClose => {
                let close: RequestClose = read(op)?;
                if let Some(request) = self.requests.get_mut(&close.reply.request) {
                    request.closed = Some(close);
                }
            }
            OpType::SourceRegister => {
                let entry: SourceEntry = read(op)?;
                if entry.record.is_some() {
                    self.sources.insert(entry.item.clone(), entry);
                } else {
                    self.sources.remove(&entry.item);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The op that puts an overlay on the version that the curator saw. `visibility` is the record's: what is said of
    /// a record is seen by whoever sees the record.
    ///
    /// # Errors
    /// `Bad` when a text is too long or nothing is given; `NoChange`.
    pub fn put_overlay(
        &self,
        record: RecordId,
        base: Hash,
        overlay: &Overlay,
        visibility: Visibility,
    ) -> Result<Vec<Change>, Refusal> {
        overlay.check()?;
        let known = self.overlays.get(&record);
        if known.is_some_and(|known| known.overlay == *overlay && known.base == Some(base)) {
            return Err(Refusal::NoChange(record.to_string()));
        }
        let change = change(OpType::OverlayPut, &record.to_bytes(), overlay);
        Ok(vec![Change { base: Some(base), visibility, ..change }])
    }

    /// The op that takes an overlay back.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_overlay(&self, record: RecordId) -> Result<Vec<Change>, Refusal> {
        if !self.overlays.contains_key(&record) {
            return Err(Refusal::NotFound(record.to_string()));
        }
        Ok(vec![change(OpType::OverlayDrop, &record.to_bytes(), &Overlay::default())])
    }

    /// The op that hides a record in the city view or shows it again.
    ///
    /// # Errors
    /// `NoLegalBasis`, `NoReason`, `NoChange`.
    pub fn set_hold(&self, record: RecordId, hold: &Hold) -> Result<Vec<Change>, Refusal> {
        if hold.active && hold.legal_basis.trim().is_empty() {
            return Err(Refusal::NoLegalBasis);
        }
        require(&hold.reason)?;
        if self.holds.contains_key(&record) == hold.active {
            return Err(Refusal::NoChange(record.to_string()));
        }
        Ok(vec![change(OpType::Hold, &record.to_bytes(), hold)])
    }

    /// The op that asks a district for a change of the version that the curator saw.
    ///
    /// # Errors
    /// `NoReason`; `NoChange` when nothing is asked for.
    pub fn ask(
        &self,
        record: RecordId,
        base: Option<Hash>,
        asked: &Asked,
        visibility: Visibility,
    ) -> Result<Vec<Change>, Refusal> {
        require(&asked.reason)?;
        if asked.fields.is_empty() {
            return Err(Refusal::NoChange(record.to_string()));
        }
        let change = change(OpType::ChangeRequest, &record.to_bytes(), asked);
        Ok(vec![Change { base, visibility, ..change }])
    }

    /// The op that records the answer to a request.
    ///
    /// # Errors
    /// `NotFound`; `NoChange` when it was answered before.
    pub fn close(&self, close: &RequestClose) -> Result<Vec<Change>, Refusal> {
        let name = &close.reply.request;
        let request = self.requests.get(name).ok_or_else(|| Refusal::NotFound(name.clone()))?;
        if request.closed.is_some() {
            return Err(Refusal::NoChange(name.clone()));
        }
        Ok(vec![change(OpType::ChangeRequestClose, &request.record.to_bytes(), close)])
    }

    /// The op that names the authoritative source of an information item, or takes the entry back.
    ///
    /// # Errors
    /// `NoReason`, `NoChange`.
    pub fn register(&self, entry: &SourceEntry) -> Result<Vec<Change>, Refusal> {
        require(&entry.reason)?;
        let known = self.sources.get(&entry.item).and_then(|known| known.record);
        if known == entry.record {
            return Err(Refusal::NoChange(entry.item.clone()));
        }
        Ok(vec![change(OpType::SourceRegister, entry.item.as_bytes(), entry)])
    }

    /// Requests about a record that wait for an answer.
    pub fn requests_about(
        &self,
        record: RecordId,
    ) -> impl Iterator<Item = (&String, &RequestState)> {
        let about =
            move |request: &RequestState| request.record == record && request.closed.is_none();
        self.requests.iter().filter(move |(_, request)| about(request))
    }

    /// Requests of a feed's district that wait for an answer.
    pub fn open_requests(&self, feed: FeedId) -> impl Iterator<Item = (&String, &RequestState)> {
        self.requests
            .iter()
            .filter(move |(_, request)| request.closed.is_none() && request.asked.to_feed == feed)
    }
}
