//! Commands of the node, run by the process that has the data directory open.

use std::{path::PathBuf, sync::Arc};

use liandong_core::{
    fold::Status as RecordStatus,
    id::{Hash, RecordId},
    rejoin::Reason,
};
use liandong_server::{
    admin::{AdminError, Progress},
    backup,
    command::{Erased, answer},
    output::{Exit, Explain as _},
    search::{self, Asked},
    site::Site as _,
};
use liandong_store::{Entry, Filter, VerifyReport, backup::Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    conflict::ConflictCommand,
    export, import,
    inbox::Inbox,
    key,
    rejoin::Go,
    transfer,
};

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Import a file.
    Import {
        /// Absolute path.
        file: PathBuf,
        /// Format by name, instead of recognising it.
        format: Option<String>,
        /// Encoding by name, instead of recognising it.
        encoding: Option<String>,
        /// Sheet by name or number.
        sheet: Option<String>,
        /// How.
        options: import::plan::Options,
        /// Where to write every fault of every row.
        error_sheet: Option<PathBuf>,
    },
    /// Records in the order of their ids.
    List {
        /// After this one.
        after: Option<RecordId>,
        /// At most so many.
        limit: usize,
        /// Withdrawn ones too.
        all: bool,
    },
    /// One record.
    Show {
        /// Which.
        id: RecordId,
    },
    /// New or changed content.
    Put {
        /// Which; a new one without.
        id: Option<RecordId>,
        /// A JSON object.
        content: Value,
        /// Hash of the op that the caller has seen.
        expected: Option<Hash>,
    },
    /// Take a record out of the catalogue.
    Withdraw {
        /// Which.
        id: RecordId,
        /// Why, for people.
        reason: String,
    },
    /// Bring a withdrawn record back.
    Restore {
        /// Which.
        id: RecordId,
    },
    /// Full-text search in the district's catalogue, or in the whole city as far as the replica goes.
    Search(Asked),
    /// Write the catalogue to a file.
    Export {
        /// Absolute path.
        file: PathBuf,
        /// Format.
        format: export::Format,
    },
    /// Ask the hub to erase the content of a version everywhere.
    Redact {
        /// The record.
        id: RecordId,
        /// Position of the version in this node's feed.
        seq: u64,
        /// Why, with the legal basis.
        reason: String,
    },
    /// Records that change hands.
    Transfer(transfer::Command),
    /// Keys of the node.
    Key(key::Command),
    /// What the city wants of this district.
    Inbox(Inbox),
    /// The status document.
    Status,
    /// Make a backup and check it by restoring it.
    Backup {
        /// Absolute path of the file, or of a folder for it.
        to: PathBuf,
        /// What goes in.
        scope: Scope,
    },
    /// Check chain, signatures, view and index against the journal.
    Verify,
    /// Build view and index again from the journal.
    Rebuild,
    /// Join the feed again.
    Rejoin {
        /// Why.
        reason: Reason,
        /// Who decides, for the record at both ends.
        operator: String,
        /// Only say what would be done, or do it.
        go: Go,
    },
    /// The local queue of conflicts.
    Conflict(ConflictCommand),
    /// The hub's receipts.
    Receipts {
        /// Only those for ops that neither side holds.
        lost: bool,
    },
    /// Make a damaged journal whole again.
    Repair,
    /// Write although the journal is behind its guard.
    LiftGuard,
}

/// A record as commands show it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// Id.
    pub id: RecordId,
    /// Live or withdrawn.
    pub status: RecordStatus,
    /// Position of the current op.
    pub seq: u64,
    /// Hash of the current op.
    pub op_hash: Hash,
    /// When it was made, milliseconds since 1970.
    pub changed_at_ms: i64,
    /// Who made it.
    pub actor: String,
    /// What the hub says of it: `accepted`, `pending`, or why it is kept without effect.
    pub at_hub: String,
    /// The content of a live record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Value>,
    /// Why a withdrawn one was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn_reason: Option<String>,
}

fn broken(error: &tokio::task::JoinError) -> AdminError {
    AdminError::new("internal", Exit::Error, error.to_string(), error.to_string())
}

/// The actor of commands from the command line.
const ACTOR: &str = "cli";

impl App {
    /// Runs a command.
    ///
    /// # Errors
    /// The command's own, for people and programs.
    pub async fn run(
        self: Arc<Self>,
        command: Command,
        progress: Progress,
    ) -> Result<Value, AdminError> {
        self.dispatch(command, progress).await.map_err(|error| error.explain())?
    }

    async fn dispatch(
        self: Arc<Self>,
        command: Command,
        progress: Progress,
    ) -> Result<Result<Value, AdminError>, AppError> {
        Ok(match command {
            Command::Import { file, format, encoding, sheet, options, error_sheet } => {
                let format = format.map(|name| name.parse()).transpose()?;
                let read = import::ReadOptions { format, encoding, sheet, header_row: None };
                let table = tokio::task::block_in_place(|| import::read(&file, &read))?;
                tracing::info!(file = %import::plan::describe(&table.source), rows = table.rows.len(), "import");
                let (report, lines, refused) = self.import(table, &options, &progress).await?;
                if let Some(path) = error_sheet {
                    import::write_error_sheet(&path, &lines).map_err(|error| {
                        AdminError::new(
                            "cannot_write",
                            Exit::Error,
                            format!("无法写入 {}：{error}", path.display()),
                            format!("cannot write {}: {error}", path.display()),
                        )
                    })?;
                }
                refused.map_or_else(|| answer(&report), Err)
            }
            Command::List { after, limit, all } => {
                let feed = Some(self.own.feed());
                let filter = Filter { feed, live_only: !all, ..Filter::default() };
                let entries = self.store.entries(filter, after, limit)?;
                answer(&entries.into_iter().map(|entry| self.shown(entry)).collect::<Vec<_>>())
            }
            Command::Show { id } => {
                let entry = self.store.entry(id)?;
                let entry = entry.ok_or(liandong_core::decide::Refusal::NotFound(id))?;
                answer(&self.shown(entry))
            }
            Command::Put { id, content, expected } => {
                answer(&self.put(id, &content, expected, ACTOR).await?)
            }
            Command::Withdraw { id, reason } => answer(&self.withdraw(id, reason, ACTOR).await?),
            Command::Restore { id } => answer(&self.restore(id, ACTOR).await?),
            Command::Search(asked) => search::answer(&*self, &asked),
            Command::Export { file, format } => {
                let written = tokio::task::block_in_place(|| self.export(&file, format))?;
                answer(&serde_json::json!({ "file": file, "records": written }))
            }
            Command::Redact { id, seq, reason } => {
                answer(&Erased::of(self.redact(id, seq, reason, ACTOR).await?))
            }
            Command::Transfer(command) => Ok(self.transfer(command).await?),
            Command::Key(command) => Ok(self.change_key(command).await?),
            Command::Inbox(inbox) => self.at_inbox(inbox, ACTOR).await?,
            Command::Status => answer(&self.status()),
            Command::Backup { to, scope } => {
                answer(&backup::take(&self, &to, scope, &progress).await?)
            }
            Command::Verify => answer(&self.verify(progress).await?),
            Command::Rebuild => {
                self.store.rebuild_view();
                self.store.rebuild_index();
                answer(&serde_json::json!({ "rebuilding": true }))
            }
            Command::Rejoin { .. }
            | Command::Conflict(_)
            | Command::Receipts { .. }
            | Command::Repair
            | Command::LiftGuard => self.recover(command, progress).await?,
        })
    }

    async fn recover(
        self: &Arc<Self>,
        command: Command,
        progress: Progress,
    ) -> Result<Result<Value, AdminError>, AppError> {
        Ok(match command {
            Command::Rejoin { reason, operator, go } => {
                let app = Arc::clone(self);
                // A task of its own: it goes on when whoever asked is gone.
                let rejoined = tokio::spawn(async move {
                    let report = app.rejoin(reason, &operator, go, &progress).await;
                    app.wake.notify_one();
                    report
                });
                answer(&rejoined.await.map_err(|error| broken(&error))??)
            }
            Command::Conflict(ConflictCommand::List { all }) => answer(&self.shown_conflicts(all)?),
            Command::Conflict(ConflictCommand::Show { id }) => answer(&self.conflict(&id)?),
            Command::Conflict(ConflictCommand::Resolve { id, keep }) => {
                answer(&self.resolve(&id, &keep, ACTOR).await?)
            }
            Command::Repair => answer(&self.repair_now(&progress).await?),
            Command::Receipts { lost: true } => answer(&self.lost_receipts()),
            Command::Receipts { lost: false } => answer(&self.receipts.all()),
            _ => {
                self.guard.lift();
                self.guard.note(self.store.head(self.own.feed()));
                answer(&Value::Null)
            }
        })
    }

    fn shown(&self, entry: Entry) -> Shown {
        let link = self.link.get();
        let at_hub = match link.quarantined.get(&entry.seq) {
            Some(outcome) => outcome.reason().to_owned(),
            None if entry.seq <= link.acked.seq => "accepted".to_owned(),
            None => "pending".to_owned(),
        };
        Shown {
            id: entry.id,
            status: entry.status,
            seq: entry.seq,
            op_hash: entry.op_hash,
            changed_at_ms: entry.changed_at_ms,
            actor: entry.actor,
            at_hub,
            record: entry.record.and_then(|record| serde_json::to_value(record).ok()),
            withdrawn_reason: entry.withdrawn_reason,
        }
    }

    async fn verify(self: Arc<Self>, progress: Progress) -> Result<VerifyReport, AppError> {
        let verified = tokio::task::spawn_blocking(move || {
            let keys = self.keys();
            self.store.verify(&keys, |done, total| progress.report(done, total, "核对 / verify"))
        });
        let joined = verified.await.map_err(|error| broken(&error))?;
        Ok(joined?)
    }
}
