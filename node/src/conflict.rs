//! The local queue: records that this node and the hub's copy both changed before the feed was joined again.
//!
//! The city shows what the hub had; what was changed here waits until a person has compared both. One file a record,
//! written whole, so that a crash leaves either nothing or all of it; a settled one stays as evidence.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use liandong_core::{
    decide::Command as Decide,
    difference::{self, FieldDifference},
    fold::{Status, Tombstone},
    id::{FeedId, Hash, RecordId},
    op::{Op, OpType, SignedOp},
    record::Record,
};
use liandong_server::{
    clock,
    config::write_private,
    output::{Exit, Failure},
};
use liandong_store::{StoreError, journal::Erasures};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    edit::Edited,
};

/// One op, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptOp {
    header: String,
    signature: String,
    payload: String,
}

impl From<&Op> for KeptOp {
    fn from(op: &Op) -> Self {
        let SignedOp { header, signature, payload, .. } = &op.signed;
        let [header, signature, payload] = [header, signature, payload].map(hex::encode);
        Self { header, signature, payload }
    }
}

impl KeptOp {
    fn op(&self) -> Option<Op> {
        let bytes = |text: &String| Some(hex::decode(text).ok()?.into());
        let signed = SignedOp {
            header: bytes(&self.header)?,
            signature: bytes(&self.signature)?,
            payload: bytes(&self.payload)?,
            withheld: self.payload.is_empty(),
        };
        Op::parse(signed).ok()
    }
}

/// The record in an op; none when the op withdrew it.
fn content(op: &Op) -> Option<Value> {
    let live = matches!(op.kind, OpType::RecordPut | OpType::RecordRevive);
    live.then(|| serde_json::from_slice(&op.signed.payload).ok()).flatten()
}

/// How a conflict ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// `mine`, `theirs` or `edit`.
    pub keep: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// The op that was written, if any.
    pub op_hash: Option<Hash>,
}

/// A conflict as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) record: RecordId,
    pub(crate) opened_ms: i64,
    /// The version that both sides began with.
    pub(crate) base: Option<KeptOp>,
    /// What was done here, oldest first.
    pub(crate) mine: Vec<KeptOp>,
    /// What the hub had when the conflict was found.
    pub(crate) theirs: Option<KeptOp>,
    /// The journal that was given up.
    pub(crate) aside: String,
    pub(crate) settled: Option<Settled>,
}

impl Kept {
    /// The same for the same clash, however often it is found.
    fn id(&self) -> String {
        let header = |op: &KeptOp| op.header.clone();
        let last = self.mine.last().map(header).unwrap_or_default();
        let hash = Hash::of(&[&self.record.to_bytes(), last.as_bytes()]);
        hash.to_string().chars().take(12).collect()
    }
}

/// The queue on disk.
#[derive(Debug)]
pub(crate) struct Queue {
    dir: PathBuf,
}

impl Queue {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.join("conflicts") }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Keeps a new conflict durably; one that is known stays as it is.
    pub(crate) fn put(&self, kept: &Kept) -> Result<(), StoreError> {
        std::fs::create_dir_all(&self.dir).map_err(StoreError::io(&self.dir))?;
        if self.path(&kept.id()).exists() { Ok(()) } else { self.write(kept) }
    }

    fn write(&self, kept: &Kept) -> Result<(), StoreError> {
        let path = self.path(&kept.id());
        let text = serde_json::to_vec_pretty(kept).unwrap_or_default();
        write_private(&path, &text).map_err(StoreError::io(path))
    }

    fn get(&self, id: &str) -> Option<Kept> {
        let safe = id.chars().all(|character| character.is_ascii_hexdigit());
        let text = std::fs::read(self.path(id)).ok().filter(|_| safe)?;
        serde_json::from_slice(&text).ok()
    }

    /// All conflicts, oldest first.
    fn all(&self) -> Vec<Kept> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
        let names = entries.flatten().filter_map(name);
        let mut all: Vec<Kept> =
            names.filter_map(|name| self.get(name.strip_suffix(".json")?)).collect();
        all.sort_by_key(|kept| (kept.opened_ms, kept.record));
        all
    }

    /// Erases what is named, in settled conflicts too.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn erase(&self, all: &BTreeMap<FeedId, Erasures>) -> Result<(), StoreError> {
        for mut kept in self.all() {
            let mut erased = false;
            let sides = kept.base.iter_mut().chain(&mut kept.mine).chain(&mut kept.theirs);
            for side in sides {
                let op = side.op();
                if op.is_some_and(|op| all.get(&op.feed).is_some_and(|named| named.name(&op))) {
                    side.payload.clear();
                    erased = true;
                }
            }
            if erased {
                self.write(&kept)?;
            }
        }
        Ok(())
    }

    /// Number of conflicts that wait for a person.
    pub(crate) fn open(&self) -> u64 {
        self.all().iter().filter(|kept| kept.settled.is_none()).count() as u64
    }
}

/// What people ask about the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictCommand {
    /// Those that wait; with `all` those that were settled too.
    List {
        /// Settled ones too.
        all: bool,
    },
    /// One with the differences.
    Show {
        /// Which.
        id: String,
    },
    /// Settle one.
    Resolve {
        /// Which.
        id: String,
        /// What counts.
        keep: Keep,
    },
}

/// What a person decided about a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// What was done here.
    Mine,
    /// What the hub has.
    Theirs,
    /// Something else: a JSON object.
    Edit(Value),
}

/// A conflict as people see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShownConflict {
    /// Its name.
    pub id: String,
    /// The record.
    pub record: RecordId,
    /// The record's title as the city shows it, else as it was here.
    pub title: String,
    /// When it was found, milliseconds since 1970.
    pub opened_ms: i64,
    /// Who changed it here last, and when by this node's clock.
    pub mine: (String, i64),
    /// Who changed what the hub has last, and when.
    pub theirs: (String, i64),
    /// Every field that is not the same on both sides and at the beginning.
    pub differences: Vec<FieldDifference>,
    /// How it ended.
    pub settled: Option<Settled>,
}

fn unknown(id: &str) -> AppError {
    Failure::new(
        "no_conflict",
        Exit::Error,
        format!("没有冲突 {id}"),
        format!("there is no conflict {id}"),
    )
    .into()
}

impl App {
    /// The queue as people see it.
    ///
    /// # Errors
    /// The view or the journal cannot be read.
    pub(crate) fn shown_conflicts(&self, all: bool) -> Result<Vec<ShownConflict>, AppError> {
        let kept = self.conflicts.all().into_iter();
        let kept = kept.filter(|kept| all || kept.settled.is_none());
        kept.map(|kept| self.shown_conflict(kept)).collect()
    }

    /// One conflict.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn conflict(&self, id: &str) -> Result<ShownConflict, AppError> {
        self.shown_conflict(self.conflicts.get(id).ok_or_else(|| unknown(id))?)
    }

    fn shown_conflict(&self, kept: Kept) -> Result<ShownConflict, AppError> {
        let id = kept.id();
        let base = kept.base.as_ref().and_then(KeptOp::op).and_then(|op| content(&op));
        let last = kept.mine.last().and_then(KeptOp::op);
        let mine = last.as_ref().and_then(content);
        // What the hub has may have moved on since; a settled conflict is shown as it was.
        let entry = self.store.entry(kept.record)?.filter(|_| kept.settled.is_none());
        let then = kept.theirs.as_ref().and_then(KeptOp::op);
        let theirs = match &entry {
            Some(entry) if entry.status == Status::Live => {
                serde_json::from_slice(&entry.payload).ok()
            }
            Some(_) => None,
            None => then.as_ref().and_then(content),
        };
        let differences = difference::difference(base.as_ref(), mine.as_ref(), theirs.as_ref());
        let title = |side: &Option<Value>| Some(side.as_ref()?.get("title")?.as_str()?.to_owned());
        let who = |op: Option<&Op>| op.map(|op| (op.actor.clone(), op.claimed_at_ms));
        let now = entry.as_ref().map(|entry| (entry.actor.clone(), entry.changed_at_ms));
        Ok(ShownConflict {
            id,
            record: kept.record,
            title: title(&theirs).or_else(|| title(&mine)).unwrap_or_default(),
            opened_ms: kept.opened_ms,
            mine: who(last.as_ref()).unwrap_or_default(),
            theirs: now.or_else(|| who(then.as_ref())).unwrap_or_default(),
            differences,
            settled: kept.settled,
        })
    }

    /// Settles a conflict: writes what counts, if it is not what the hub has, and closes it.
    ///
    /// # Errors
    /// There is none of that name, it is settled, or the content breaks a rule.
    pub(crate) async fn resolve(
        &self,
        id: &str,
        keep: &Keep,
        actor: &str,
    ) -> Result<Option<Edited>, AppError> {
        let mut kept = self.conflicts.get(id).ok_or_else(|| unknown(id))?;
        if kept.settled.is_some() {
            return Err(Failure::new(
                "settled",
                Exit::Conflict,
                format!("冲突 {id} 已经处理"),
                format!("conflict {id} is settled already"),
            )
            .into());
        }
        let (name, command) = match keep {
            Keep::Theirs => ("theirs", None),
            Keep::Mine => ("mine", self.again(&kept)?),
            Keep::Edit(content) => ("edit", Some(Decide::Put(Box::new(self.check(content)?.0)))),
        };
        let edited = match command {
            Some(command) => {
                let command = self.fitting(kept.record, command)?;
                Some(self.edit(kept.record, &command, None, actor).await?)
            }
            None => None,
        };
        // A crash before this leaves it open; settled the same way again, nothing is left to write.
        kept.settled = Some(Settled {
            keep: name.to_owned(),
            at_ms: clock::now_ms(),
            op_hash: edited.as_ref().and_then(|edited| edited.op_hash),
        });
        self.conflicts.write(&kept)?;
        Ok(edited)
    }

    /// What was done here, as a command on what the hub has; none when both withdrew the record.
    fn again(&self, kept: &Kept) -> Result<Option<Decide>, AppError> {
        let last = kept.mine.last().and_then(KeptOp::op).ok_or_else(|| unknown(&kept.id()))?;
        if last.signed.withheld {
            return Err(Failure::new(
                "erased",
                Exit::Conflict,
                "本地版本的内容已依法删除，只能保留中心版本或另行编辑",
                "the content of the version here was erased by order: keep theirs, or edit",
            )
            .into());
        }
        if last.kind != OpType::RecordTombstone {
            let record = Record::from_bytes(&last.signed.payload).map_err(|error| {
                Failure::new("not_a_record", Exit::Validation, error.to_string(), error.to_string())
            })?;
            return Ok(Some(Decide::Put(Box::new(record))));
        }
        let live = self.store.state(kept.record)?.is_some_and(|s| s.status == Status::Live);
        let tombstone: Tombstone = serde_json::from_slice(&last.signed.payload).unwrap_or_default();
        Ok(live.then_some(Decide::Withdraw(tombstone)))
    }

    /// New content of a record that is withdrawn brings it back.
    fn fitting(&self, record: RecordId, command: Decide) -> Result<Decide, AppError> {
        let state = self.store.state(record)?;
        let withdrawn = state.is_some_and(|state| state.status == Status::Withdrawn);
        Ok(match command {
            Decide::Put(content) if withdrawn => Decide::Restore(content),
            other => other,
        })
    }
}
