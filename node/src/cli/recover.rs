//! Joining the feed again, the local queue of conflicts, receipts: command lines and what they print.

use clap::{Subcommand, ValueEnum};
use liandong_core::rejoin::Reason;
use liandong_server::{
    clock, command,
    output::{Exit, Output},
};
use serde_json::Value;

use super::{read_json, show};
use crate::{
    app::AppError,
    command::Command,
    conflict::{ConflictCommand, Keep, ShownConflict},
    edit::Edited,
    guard::KeptReceipt,
    inbox::Inbox,
    rejoin::{Go, Report},
    repair::Repaired,
};

#[derive(Debug, clap::Args)]
pub(super) struct Rejoin {
    /// 原因：restored 从备份恢复，cloned 被克隆，replaced 更换了机器 / Why
    #[arg(long, value_enum, default_value_t)]
    reason: Why,
    /// 执行；不加则只显示方案 / Do it; without, only the plan is shown
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// 只显示方案 / Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// 经办人，两端留痕 / Who decides, kept at both ends
    #[arg(long, env = "USER", default_value = "cli")]
    operator: String,
}

/// Why a feed is joined again, as people give it.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Why {
    #[default]
    Restored,
    Cloned,
    Replaced,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConflictSub {
    /// 列出待处理的冲突 / List those that wait
    List {
        /// 包括已处理的 / Settled ones too
        #[arg(long)]
        all: bool,
    },
    /// 逐字段比较 / Compare field by field
    Show {
        /// 编号 / Id
        id: String,
    },
    /// 对市级的裁决提出异议 / Object to a decision of the city
    Object {
        /// 市级冲突编号，前几位即可 / The city's conflict; the first digits are enough
        conflict: String,
        /// 原因，会告知市级 / Why, told to the city
        #[arg(long)]
        reason: String,
    },
    /// 处理 / Settle
    Resolve {
        /// 编号 / Id
        id: String,
        /// mine 保留本节点的，theirs 保留中心的，edit 改用文件内容 / What counts
        #[arg(long, value_enum)]
        keep: Side,
        /// 用于 edit 的 JSON 文件，“-”为标准输入 / JSON file for edit
        #[arg(required_if_eq("keep", "edit"))]
        file: Option<std::path::PathBuf>,
    },
}

/// What counts in a conflict.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Side {
    Mine,
    Theirs,
    Edit,
}

impl Rejoin {
    pub(super) fn command(self) -> (Command, bool) {
        let reason = match self.reason {
            Why::Restored => Reason::Restored,
            Why::Cloned => Reason::Cloned,
            Why::Replaced => Reason::Replaced,
        };
        let go = if self.yes { Go::Ahead } else { Go::Plan };
        (Command::Rejoin { reason, operator: self.operator, go }, self.dry_run)
    }
}

impl ConflictSub {
    pub(super) fn command(self) -> Result<Command, AppError> {
        Ok(Command::Conflict(match self {
            Self::List { all } => ConflictCommand::List { all },
            Self::Show { id } => ConflictCommand::Show { id },
            Self::Object { conflict, reason } => {
                return Ok(Command::Inbox(Inbox::Object { conflict, reason }));
            }
            Self::Resolve { id, keep, file } => {
                let keep = match (keep, file) {
                    (Side::Mine, _) => Keep::Mine,
                    (Side::Theirs, _) => Keep::Theirs,
                    (Side::Edit, file) => Keep::Edit(read_json(&file.unwrap_or_default())?),
                };
                ConflictCommand::Resolve { id, keep }
            }
        }))
    }
}

/// Prints what a rejoin would do or did. A plan that waits for a word is no success, unless only the plan was wanted.
pub(super) fn rejoin(answer: Value, dry_run: bool, output: Output) -> Result<Exit, AppError> {
    if output.is_json() {
        output.json(&answer);
    }
    let report: Report = command::read(answer)?;
    if !report.needed {
        output.line(&format!(
            "无需重新加入：本节点 {}，中心 {}，没有分叉 / nothing to do: the feeds fit",
            report.local, report.mirror
        ));
        return Ok(Exit::Ok);
    }
    let mirror = format!("中心 hub {}，其后 {} 条", report.mirror, report.theirs);
    let local = format!("本节点 here {}，其后 {} 条", report.local, report.mine);
    output.line(&format!("共同部分到 common up to {}；{mirror}；{local}", report.ancestor));
    let rows = [
        ("取回中心已有的操作", "fetched from the hub", report.theirs),
        ("本节点的操作归档到中心", "own ops archived at the hub", report.mine),
        ("其中重新写入", "of them written again", report.again),
        ("其中中心已有", "of them known to the hub", report.known),
        ("其中内容已依法清除", "of them erased", report.erased),
        ("其中换钥操作，随原日志作废", "of them rotations, void", report.rotations),
        ("两边都改过、待人工处理的目录", "records that both changed, for a person", report.clashes),
    ];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(zh, en, count)| vec![format!("{zh} {en}"), count.to_string()]).collect();
    output.table(&["", "数量"], &rows);
    if !report.done {
        output.line("没有任何内容会丢失：原日志另存，本节点的操作归档，冲突进入本地队列");
        output.line(
            "nothing is lost: the old journal is kept, own ops are archived, clashes wait here",
        );
        output.line("执行请加 --yes / to do it add --yes");
        return Ok(if dry_run { Exit::Ok } else { Exit::Conflict });
    }
    output.line(&format!(
        "已重新加入，第 {} 代；原日志在 data/{} / joined again, incarnation {0}; old journal kept",
        report.incarnation,
        report.aside.unwrap_or_default()
    ));
    if report.clashes > 0 {
        output.line(&format!(
            "请处理 {} 条冲突：liandong-node conflict list / conflicts wait for you",
            report.clashes
        ));
    }
    Ok(Exit::Ok)
}

/// Prints an answer about conflicts.
pub(super) fn conflict(
    command: &ConflictCommand,
    answer: Value,
    output: Output,
) -> Result<(), AppError> {
    match command {
        ConflictCommand::List { .. } => {
            let shown: Vec<ShownConflict> = command::read(answer)?;
            let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
            output.table(
                &["编号 Id", "目录 Record", "不同 Fields", "发现 Found", "处理 Settled"],
                &rows,
            );
        }
        ConflictCommand::Show { .. } => {
            let shown: ShownConflict = command::read(answer)?;
            output.line(&format!("{}  {}  {}", shown.id, shown.title, shown.record));
            let who =
                |(actor, at): &(String, i64)| format!("{actor}，{}", clock::format_shanghai(*at));
            let (mine, theirs) = (who(&shown.mine), who(&shown.theirs));
            output.line(&format!("本节点 mine：{mine}；中心 theirs：{theirs}"));
            let rows: Vec<Vec<String>> = shown
                .differences
                .iter()
                .map(|field| {
                    let mark = if field.clash { "‼" } else { "" };
                    let name = format!("{mark}{} {}", field.label_zh, field.label_en);
                    vec![name, text(&field.base), text(&field.mine), text(&field.theirs)]
                })
                .collect();
            output.table(&["字段 Field", "原来 Base", "本节点 Mine", "中心 Theirs"], &rows);
            output
                .line("处理 / settle: liandong-node conflict resolve <id> --keep mine|theirs|edit");
        }
        ConflictCommand::Resolve { id, .. } => {
            let edited: Option<Edited> = command::read(answer)?;
            output.line(&format!("冲突 {id} 已处理 / settled"));
            if let Some(edited) = edited {
                show::edited(&edited, output);
            }
        }
    }
    Ok(())
}

fn row(shown: &ShownConflict) -> Vec<String> {
    vec![
        shown.id.clone(),
        shown.title.clone(),
        shown.differences.len().to_string(),
        clock::format_shanghai(shown.opened_ms),
        shown.settled.as_ref().map(|settled| settled.keep.clone()).unwrap_or_default(),
    ]
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "—".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Prints what a repair did.
pub(super) fn repaired(answer: Value, output: Output) -> Result<(), AppError> {
    let report: Option<Repaired> = command::read(answer)?;
    output.line(&match report {
        None => "日志没有损坏 / the journal is not damaged".to_owned(),
        Some(report) => format!(
            "从中心取回 {} 条，本地救回 {} 条，重写 {} 条；损坏的文件在 data/{} / \
             {0} ops from the hub, {1} saved here, {2} written again; the damaged files are kept",
            report.fetched, report.salvaged, report.again, report.aside
        ),
    });
    Ok(())
}

/// Prints receipts.
pub(super) fn receipts(answer: Value, output: Output) -> Result<(), AppError> {
    let receipts: Vec<KeptReceipt> = command::read(answer)?;
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|receipt| {
            let at = clock::format_shanghai(receipt.received_at_ms);
            vec![receipt.head.seq.to_string(), receipt.head.hash.to_string(), at]
        })
        .collect();
    output.table(&["序号 Up to", "哈希 Hash", "中心时间 Received"], &rows);
    Ok(())
}
