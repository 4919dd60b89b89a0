//! Changing single records.

use liandong_core::{
    decide::{self, Command},
    difference::difference,
    fold::Tombstone,
    id::{Hash, RecordId},
    mapping::RawRow,
    record::Record,
    validate::{self, Checked, Fault},
};
use liandong_server::{
    clock, keys,
    output::{Exit, Failure},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    import::plan::OwnedFault,
};

/// What became of an edit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Edited {
    /// The record.
    pub id: RecordId,
    /// Position in the feed; absent when nothing changed.
    pub seq: Option<u64>,
    /// Hash of the op, to be given as `--expect` at the next edit.
    pub op_hash: Option<Hash>,
    /// Quality.
    pub grade: Option<String>,
    /// What the rules say about it.
    pub faults: Vec<OwnedFault>,
}

impl App {
    /// Checks content that a person or program gave as a JSON object.
    ///
    /// # Errors
    /// All faults at once when the content breaks a rule.
    pub fn check(&self, content: &Value) -> Result<(Record, Checked), AppError> {
        let Value::Object(cells) = content else {
            return Err(Failure::new(
                "not_an_object",
                Exit::Validation,
                "内容必须是一个 JSON 对象",
                "the content must be a JSON object",
            )
            .into());
        };
        let cells = cells.iter().map(|(label, value)| (label.clone(), value.clone())).collect();
        let (draft, mut faults) = self.mapping.draft(&RawRow { row: 1, cells });
        let mut checked = validate::check(draft, clock::today_shanghai());
        faults.append(&mut checked.faults);
        checked.faults = faults;
        match checked.record.clone() {
            Some(record) => Ok((record, checked)),
            None => Err(refused(&checked.faults).into()),
        }
    }

    /// Puts a record: a new one without `id`, else the new content of that one.
    ///
    /// # Errors
    /// The content breaks a rule; the record was changed meanwhile, is withdrawn, or is not there.
    pub async fn put(
        &self,
        id: Option<RecordId>,
        content: &Value,
        expected: Option<Hash>,
        actor: &str,
    ) -> Result<Edited, AppError> {
        let (record, checked) = self.check(content)?;
        let id = match id {
            Some(id) if self.store.state(id)?.is_none() => {
                return Err(decide::Refusal::NotFound(id).into());
            }
            Some(id) => id,
            None => RecordId::new(self.own.feed(), keys::new_ulid()),
        };
        let command = Command::Put(Box::new(record));
        let edited = self.edit(id, &command, expected, actor).await?;
        Ok(Edited {
            grade: checked.grade.map(|grade| format!("{grade:?}")),
            faults: checked.faults.iter().map(OwnedFault::of).collect(),
            ..edited
        })
    }

    /// Withdraws a record from the catalogue; a stub with the reason stays.
    ///
    /// # Errors
    /// The record is not there or withdrawn already.
    pub async fn withdraw(
        &self,
        id: RecordId,
        reason: String,
        actor: &str,
    ) -> Result<Edited, AppError> {
        let command = Command::Withdraw(Tombstone { reason, replaced_by: None });
        self.edit(id, &command, None, actor).await
    }

    /// Brings a withdrawn record back as it was last.
    ///
    /// # Errors
    /// The record is not there or not withdrawn.
    pub async fn restore(&self, id: RecordId, actor: &str) -> Result<Edited, AppError> {
        let record = self.last_content(id)?.ok_or(decide::Refusal::NotFound(id))?;
        self.edit(id, &Command::Restore(Box::new(record)), None, actor).await
    }

    pub(crate) async fn edit(
        &self,
        id: RecordId,
        command: &Command,
        expected: Option<Hash>,
        actor: &str,
    ) -> Result<Edited, AppError> {
        let mut turn = self.turn().await?;
        self.given()?.check(id)?;
        let current = self.store.state(id)?;
        let change = match decide::decide(id, current.as_ref(), command, expected) {
            Err(refusal @ decide::Refusal::Changed { expected, .. }) => {
                return Err(self.changed(id, command, expected, &refusal)?.into());
            }
            decided => decided?,
        };
        let ops = turn.write(change.into_iter().collect(), || keys::stamp(actor)).await?;
        let op = ops.first();
        Ok(Edited {
            id,
            seq: op.map(|op| op.seq),
            op_hash: op.map(|op| op.hash).or(current.map(|state| state.op_hash)),
            grade: None,
            faults: Vec::new(),
        })
    }

    /// Two people changed one record (C10): who came second is told what each changed.
    fn changed(
        &self,
        id: RecordId,
        command: &Command,
        expected: Hash,
        refusal: &decide::Refusal,
    ) -> Result<Failure, AppError> {
        let content = |payload: &[u8]| serde_json::from_slice::<Value>(payload).ok();
        let entry = self.store.entry(id)?;
        let base = match &entry {
            Some(entry) => self.store.op_before(entry.feed, entry.seq, expected)?,
            None => None,
        };
        let base = base.and_then(|op| content(&op.signed.payload));
        let mine = match command {
            Command::Put(record) | Command::Restore(record) => content(&record.to_bytes()),
            Command::Withdraw(_) => None,
        };
        let theirs = entry.filter(|entry| entry.record.is_some());
        let theirs = theirs.and_then(|entry| content(&entry.payload));
        let differences = difference(base.as_ref(), mine.as_ref(), theirs.as_ref());
        let text = refusal.to_string();
        let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
        let detail = serde_json::json!({ "expected": expected, "differences": differences });
        Ok(Failure::new("conflict", Exit::Conflict, zh, en).detail(detail))
    }

    /// The last content of a record before it was withdrawn, read back through its history.
    pub(crate) fn last_content(&self, id: RecordId) -> Result<Option<Record>, AppError> {
        let Some(state) = self.store.state(id)? else { return Ok(None) };
        let mut wanted = state.op_hash;
        // Where the record was taken over, its history goes on in the feed of the owner before.
        for span in self.store.city().authority.spans(id).iter().rev() {
            let end = self.store.head(span.feed).seq.min(span.until);
            for seq in (span.after + 1..=end).rev() {
                let ops = self.store.ops(span.feed, seq - 1, 1, 1)?;
                let Some(op) = ops.into_iter().next() else { break };
                if op.subject.as_ref() == id.to_bytes() && op.hash == wanted {
                    if let Ok(record) = Record::from_bytes(&op.signed.payload) {
                        return Ok(Some(record));
                    }
                    let Some(base) = op.base else { return Ok(None) };
                    wanted = base;
                }
            }
        }
        Ok(None)
    }
}

pub(crate) fn refused(faults: &[Fault]) -> Failure {
    let lines: Vec<String> = faults
        .iter()
        .filter(|fault| fault.severity == validate::Severity::Error)
        .map(|fault| {
            format!("[{}] {}：{}。{}", fault.rule, fault.field, fault.message.zh, fault.remedy.zh)
        })
        .collect();
    let english: Vec<String> = faults
        .iter()
        .filter(|fault| fault.severity == validate::Severity::Error)
        .map(|fault| {
            format!("[{}] {}: {}. {}", fault.rule, fault.field, fault.message.en, fault.remedy.en)
        })
        .collect();
    Failure::new("invalid", Exit::Validation, lines.join("\n"), english.join("\n"))
        .detail(serde_json::to_value(faults).unwrap_or_default())
}
