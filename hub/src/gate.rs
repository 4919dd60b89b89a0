//! Mass changes: found by the store on their way to the fold, recorded in the hub's feed, let through by a person.

use std::sync::Arc;

use clap::Subcommand;
use liandong_core::{
    city::{Gate, GateKind, GateRelease},
    fold::Tombstone,
    id::{DistrictCode, RecordId},
    limit,
    op::{Op, OpType},
    record::Record,
};
use liandong_server::{
    admin::AdminError,
    command::answer,
    output::{Exit, Explain as _, Failure, Output},
};
use liandong_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::{App, AppError};

/// Rows of a held change that are shown.
const ROWS_MAX: usize = limit::PAGE_RECORDS_MAX;

/// `liandong-hub held …`
#[derive(Debug, Clone, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldCommand {
    /// 列出等待人工确认的大批量变更 / Mass changes that wait for a person
    List,
    /// 查看涉及的每一条目录 / Every record concerned
    Show {
        /// 行政区划代码 / Area code
        code: DistrictCode,
    },
    /// 确认并放行 / Agree and let it through
    Release {
        /// 行政区划代码 / Area code
        code: DistrictCode,
        /// 理由，会记入日志 / Why, kept in the log
        #[arg(long)]
        reason: String,
    },
}

/// A held change as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// Area code.
    pub code: Option<DistrictCode>,
    /// District.
    pub name: String,
    /// The change.
    pub gate: Gate,
    /// Ops of the district that wait, this change and what came after.
    pub waiting: u64,
    /// Records concerned, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<HeldRow>,
}

/// One op of a held change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldRow {
    /// Position in the feed.
    pub seq: u64,
    /// The record.
    pub id: Option<RecordId>,
    /// Its title as the city shows it now.
    pub title: String,
    /// What the op would do, for people.
    pub change: String,
}

/// The name of a kind for people.
pub(crate) fn kind_text(kind: GateKind) -> &'static str {
    match kind {
        GateKind::MassWithdrawal => "大批撤回 / mass withdrawal",
        GateKind::MassVisibility => "大批变更可见范围 / mass change of visibility",
        GateKind::MassIdentity => "大批变更编码或标识 / mass change of codes or identifiers",
        GateKind::ClockJump => "节点时钟跳变 / the node's clock jumped",
        GateKind::SchemaDowngrade => "改用旧版元数据格式 / an older schema than before",
    }
}

/// Records in the hub's feed what the store found, until the process ends.
pub(crate) async fn run(app: Arc<App>) {
    let mut changes = app.store.watch();
    loop {
        changes.borrow_and_update();
        for gate in app.store.found_gates() {
            // Another gate of the feed may have been recorded meanwhile.
            let hold =
                |city: &liandong_core::city::City| Ok(city.gates.hold(&gate).unwrap_or_default());
            if let Err(error) = app.decide("gate", hold).await {
                tracing::error!(%error, "a held change cannot be recorded");
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl App {
    /// Runs a command about held changes.
    ///
    /// # Errors
    /// There is no such district or nothing of it is held; `Write`.
    pub(crate) async fn held(&self, command: HeldCommand) -> Result<Value, AdminError> {
        let explained = |error: AppError| error.explain();
        match command {
            HeldCommand::List => {
                let city = self.city();
                let all: Vec<Held> = city.gates.all().map(|gate| self.held_change(gate)).collect();
                answer(&all)
            }
            HeldCommand::Show { code } => {
                let gate = self.gate_of(&code).map_err(|error| *error)?;
                let mut held = self.held_change(&gate);
                held.rows = self.held_rows(&gate).map_err(|error| explained(error.into()))?;
                answer(&held)
            }
            HeldCommand::Release { code, reason } => {
                let gate = self.gate_of(&code).map_err(|error| *error)?;
                let to = self.store.head(gate.feed).seq;
                let release = GateRelease { feed: gate.feed, to, reason };
                self.decide("cli", |city| Ok(city.gates.release(&release)?))
                    .await
                    .map_err(explained)?;
                self.store.applied(gate.feed, to).await;
                answer(&serde_json::json!({ "code": code, "released_to": to }))
            }
        }
    }

    fn gate_of(&self, code: &DistrictCode) -> Result<Gate, Box<AdminError>> {
        let city = self.city();
        let gate = city.directory.feed_of(code).and_then(|feed| city.gates.held(feed).cloned());
        gate.ok_or_else(|| {
            Box::new(Failure::new(
                "nothing_held",
                Exit::Error,
                format!("{code} 没有等待确认的变更"),
                format!("nothing of district {code} is held"),
            ))
        })
    }

    fn held_change(&self, gate: &Gate) -> Held {
        let city = self.city();
        let district = city.directory.district_of(gate.feed);
        Held {
            code: district.map(|district| district.code.clone()),
            name: district.map(|district| district.name.clone()).unwrap_or_default(),
            waiting: self.store.head(gate.feed).seq.saturating_sub(gate.after),
            gate: gate.clone(),
            rows: Vec::new(),
        }
    }

    fn held_rows(&self, gate: &Gate) -> Result<Vec<HeldRow>, StoreError> {
        let (mut rows, mut at) = (Vec::new(), gate.after);
        while rows.len() < ROWS_MAX {
            let (ops, bytes) = (limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX);
            let ops = self.store.ops(gate.feed, at, ops, bytes)?;
            let Some(last) = ops.last() else { break };
            at = last.seq;
            for op in &ops {
                let id = RecordId::try_from(op.subject.as_ref()).ok();
                rows.push(HeldRow {
                    seq: op.seq,
                    id,
                    title: self.title(id)?,
                    change: change_text(op),
                });
            }
        }
        rows.truncate(ROWS_MAX);
        Ok(rows)
    }

    fn title(&self, id: Option<RecordId>) -> Result<String, StoreError> {
        let entry = id.map(|id| self.store.entry(id)).transpose()?.flatten();
        Ok(entry.and_then(|entry| entry.record).map(|record| record.title).unwrap_or_default())
    }
}

fn change_text(op: &Op) -> String {
    match op.kind {
        OpType::RecordTombstone => {
            let tombstone: Tombstone =
                serde_json::from_slice(&op.signed.payload).unwrap_or_default();
            format!("撤回 withdraw: {}", tombstone.reason)
        }
        OpType::RecordPut | OpType::RecordRevive => {
            let title = Record::from_bytes(&op.signed.payload).map(|record| record.title);
            format!("{:?} 修改为 put: {}", op.visibility, title.unwrap_or_default())
        }
        _ => op.kind.name().to_owned(),
    }
}

/// Prints the answer for people.
pub(crate) fn show(command: &HeldCommand, value: Value, output: Output) -> Result<(), Failure> {
    use liandong_server::command::read;
    match command {
        HeldCommand::List => {
            let all: Vec<Held> = read(value)?;
            if all.is_empty() {
                output.line("没有等待确认的变更 / nothing waits");
            }
            for held in &all {
                output.line(&summary(held));
            }
        }
        HeldCommand::Show { .. } => {
            let held: Held = read(value)?;
            output.line(&summary(&held));
            for row in &held.rows {
                let id = row.id.map(|id| id.to_string()).unwrap_or_default();
                output.line(&format!("  {}  {id}  {}  {}", row.seq, row.title, row.change));
            }
            output.line("确认无误后 / if it is right: liandong-hub held release CODE --reason …");
        }
        HeldCommand::Release { code, .. } => {
            output.line(&format!("已放行 / let through: {code}"));
        }
    }
    Ok(())
}

fn summary(held: &Held) -> String {
    format!(
        "{} {}：{}，涉及 {count} 条（该区共 {live} 条），{waiting} 个操作等待 / \
         {count} of {live} records; {waiting} ops wait",
        held.code.as_ref().map(ToString::to_string).unwrap_or_default(),
        held.name,
        kind_text(held.gate.kind),
        count = held.gate.count,
        live = held.gate.live,
        waiting = held.waiting,
    )
}
