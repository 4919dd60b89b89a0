//! Versions of records: ops read back from the journals.

use liandong_core::{
    city::{Overlay, Version},
    fold::is_about_records,
    id::{Hash, RecordId},
    limit,
    op::{Op, OpType},
    record::Record,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::{App, AppError};

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionShown {
    /// Feed, position, hash, record.
    #[serde(flatten)]
    pub version: Version,
    /// District that wrote it, or the city.
    pub district: String,
    /// What kind of op it is.
    pub kind: String,
    /// When by its author's clock, milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What it says; null when it was erased.
    pub content: Value,
    /// Whether it is the record's version now.
    pub current: bool,
}

impl App {
    /// The op at a version's place; none when the journal has another there.
    pub(super) fn op_at(&self, version: &Version) -> Result<Option<Op>, AppError> {
        let after = version.seq.saturating_sub(1);
        let op = self.store.ops(version.feed, after, 1, limit::BATCH_BYTES_MAX)?.pop();
        Ok(op.filter(|op| op.hash == version.op_hash))
    }

    /// The content that the version with this hash gave a record.
    pub(super) fn content_before(
        &self,
        record: RecordId,
        hash: Option<Hash>,
    ) -> Result<Option<Value>, AppError> {
        let (Some(hash), Some(state)) = (hash, self.store.state(record)?) else { return Ok(None) };
        let op = self.store.op_before(state.feed, state.seq, hash)?;
        Ok(op.and_then(|op| content(&op)))
    }

    /// The record's content now; none when it is withdrawn.
    pub(super) fn content_now(&self, record: RecordId) -> Result<Option<Value>, AppError> {
        let entry = self.store.entry(record)?.filter(|entry| entry.record.is_some());
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.payload).ok()))
    }

    pub(super) fn versions(&self, versions: &[Version]) -> Result<Vec<VersionShown>, AppError> {
        let city = self.city();
        let mut shown = Vec::new();
        for version in versions {
            let Some(op) = self.op_at(version)? else { continue };
            let state = version.record.map(|id| self.store.state(id)).transpose()?.flatten();
            shown.push(VersionShown {
                version: version.clone(),
                district: self.district_name(&city, version.feed),
                kind: op.kind.name().to_owned(),
                at_ms: op.claimed_at_ms,
                actor: op.actor.clone(),
                content: serde_json::from_slice(&op.signed.payload).unwrap_or_default(),
                current: state.is_some_and(|state| state.op_hash == op.hash),
            });
        }
        Ok(shown)
    }
}

/// The content that an op gives a record; none for a withdrawal and for what is no record.
pub(super) fn content(op: &Op) -> Option<Value> {
    let gives = is_about_records(&op.kind) && op.kind != OpType::RecordTombstone;
    gives.then(|| serde_json::from_slice(&op.signed.payload).ok()).flatten()
}

/// A record as it would read with other values in some fields; as it is when they do not fit.
pub(super) fn with_fields(content: &Value, fields: &Map<String, Value>) -> Value {
    let record: Option<Record> = serde_json::from_value(content.clone()).ok();
    let changed = record.and_then(|record| record.with_fields(fields).ok());
    changed.and_then(|record| serde_json::to_value(record).ok()).unwrap_or_else(|| content.clone())
}

/// The fields of a record that an overlay stands over.
pub(super) fn fields_of(overlay: &Overlay) -> Map<String, Value> {
    let text = |name: &str, value: Option<Value>| Some((name.to_owned(), value?));
    let keywords = overlay.keywords.clone().map(Value::from);
    [
        text("title", overlay.title.clone().map(Value::from)),
        text("keywords", keywords),
        text("theme", overlay.theme.clone().map(Value::from)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
