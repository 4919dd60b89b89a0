//! The command line of the inbox.

use std::path::PathBuf;

use clap::Subcommand;
use liandong_core::difference::FieldDifference;
use liandong_server::{command, output::Output};
use serde_json::Value;

use super::read_json;
use crate::{
    app::AppError,
    command::Command,
    inbox::{Inbox, InboxConflict, InboxList, Request},
};

pub(super) const REQUEST_EXAMPLES: &str = "示例 / Examples:
  liandong-node request list
  liandong-node request show REQUEST
  liandong-node request accept REQUEST                     按请求修改并答复 / change as asked and answer
  liandong-node request accept REQUEST --with 目录.json    以自己的内容修改 / change in another way and answer
  liandong-node request decline REQUEST --reason 名称以批文为准";

#[derive(Debug, Subcommand)]
pub(super) enum RequestSub {
    /// 列出 / List
    List {
        /// 包括已了结的 / Answered ones too
        #[arg(long)]
        all: bool,
    },
    /// 显示一条及其差异 / Show one and what it would change
    Show {
        /// 请求编号 / Request
        request: String,
    },
    /// 接受并修改目录 / Carry it out
    #[command(after_help = REQUEST_EXAMPLES)]
    Accept {
        /// 请求编号 / Request
        request: String,
        /// 以此 JSON 文件的内容修改 / Change to the content of this JSON file instead
        #[arg(long, value_name = "FILE")]
        with: Option<PathBuf>,
    },
    /// 拒绝 / Say no
    Decline {
        /// 请求编号 / Request
        request: String,
        /// 原因，会告知市级 / Why, told to the city
        #[arg(long)]
        reason: String,
    },
}

impl RequestSub {
    pub(super) fn command(self) -> Result<Command, AppError> {
        Ok(Command::Inbox(match self {
            Self::List { all } => Inbox::RequestList { all },
            Self::Show { request } => Inbox::RequestShow { request },
            Self::Accept { request, with } => {
                let content = with.as_deref().map(read_json).transpose()?;
                Inbox::RequestAccept { request, content }
            }
            Self::Decline { request, reason } => Inbox::RequestDecline { request, reason },
        }))
    }
}

pub(super) fn show(inbox: &Inbox, answer: Value, output: Output) -> Result<(), AppError> {
    match inbox {
        Inbox::List => list(&command::read(answer)?, output),
        Inbox::RequestList { .. } => requests(&command::read::<Vec<_>>(answer)?, output),
        Inbox::RequestShow { .. } => {
            let request: Request = command::read(answer)?;
            requests(std::slice::from_ref(&request), output);
            differences(&request.differences, output);
        }
        Inbox::RequestAccept { .. } | Inbox::RequestDecline { .. } => {
            let request: Request = command::read(answer)?;
            output.line(&format!("已答复 / answered: {} {}", request.request, request.title));
        }
        Inbox::Object { .. } => {
            let conflict: InboxConflict = command::read(answer)?;
            output.line(&format!(
                "异议已写入，待中心收到 / the objection is written: {}",
                conflict.id
            ));
        }
    }
    Ok(())
}

fn list(inbox: &InboxList, output: Output) {
    output.line(&format!("以中心第 {0} 号操作为准 / as of op {0} of the hub", inbox.hub_seq));
    requests(&inbox.requests, output);
    let row = |conflict: &InboxConflict| {
        let reason = conflict.evidence.get("reason").and_then(Value::as_str);
        vec![
            conflict.id.short(),
            conflict.number.clone(),
            conflict.subjects.join(" | "),
            reason.unwrap_or(&conflict.reason).to_owned(),
        ]
    };
    let rows: Vec<_> = inbox.conflicts.iter().map(row).collect();
    output.table(&["冲突 Conflict", "类 Kind", "关于 About", "说明 Said"], &rows);
    let held = inbox.holds.iter().map(|held| {
        let record = held.record.to_string();
        vec![record, held.title.clone(), held.legal_basis.clone(), held.reason.clone()]
    });
    let header = ["市级隐藏 Hidden", "标题 Title", "依据 Legal basis", "原因 Reason"];
    output.table(&header, &held.collect::<Vec<_>>());
    if let Some(gate) = &inbox.held_change {
        output.line(&format!(
            "第 {} 号之后的批量变更待市级确认（{} 条）/ a change of {1} records after op {0} waits for the city",
            gate.after, gate.count
        ));
    }
    for refused in &inbox.refused {
        output.line(&format!("第 {} 号操作 / op {0}: {}", refused.seq, refused.reason));
    }
}

fn requests(requests: &[Request], output: Output) {
    let row = |request: &Request| {
        let fields: Vec<_> = request.fields.keys().cloned().collect();
        vec![
            request.request.clone(),
            request.state.clone(),
            request.due.map(|due| due.to_string()).unwrap_or_default(),
            request.title.clone(),
            fields.join(", "),
            request.reason.clone(),
        ]
    };
    let rows: Vec<_> = requests.iter().map(row).collect();
    let header =
        ["请求 Request", "状态 State", "期限 Due", "标题 Title", "字段 Fields", "原因 Reason"];
    output.table(&header, &rows);
}

fn differences(rows: &[FieldDifference], output: Output) {
    let plain = |value: &Value| match value {
        Value::Null => "—".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |row: &FieldDifference| {
        let name = format!("{} {}", row.label_zh, row.field);
        vec![name, plain(&row.base), plain(&row.mine), plain(&row.theirs)]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    output.table(&["字段 Field", "市级所见 seen", "现行 now", "请改为 asked"], &rows);
}
