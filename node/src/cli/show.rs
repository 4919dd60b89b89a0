//! What commands print for people.

mod city;

use std::path::Path;

use liandong_server::{
    clock, command,
    output::{Exit, Output},
    search,
    site::{State, Status},
};
use serde_json::Value;

use super::recover;
use crate::{
    app::AppError,
    command::{Command, Shown},
    edit::Edited,
    import::plan::Report,
    key, transfer,
};

/// Prints what an import did.
pub(super) fn report(file: &Path, report: &Report, output: Output) {
    for (zh, en) in &report.notes {
        output.note(zh, en);
    }
    let what = if report.dry_run { "预演 dry run" } else { "导入 imported" };
    output.line(&format!("{what} {}", file.display()));
    let rows = [
        ("读取 read", report.read),
        ("新增 new", report.new),
        ("变更 changed", report.changed),
        ("未变 unchanged", report.unchanged),
        ("重复 duplicates", report.duplicates),
        ("已撤回，未恢复 withdrawn", report.withdrawn),
        ("拒绝 rejected", report.rejected.len()),
        ("文件中缺少 missing", report.missing),
        ("已撤回 deleted", report.deleted),
    ];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(what, count)| vec![(*what).to_owned(), count.to_string()]).collect();
    output.table(&["", "行 rows"], &rows);
    for row in &report.rejected {
        for fault in &row.faults {
            output.line(&format!(
                "第 {} 行 [{}] {}：{}。{}",
                row.row, fault.rule, fault.field, fault.message, fault.remedy
            ));
        }
    }
    if !report.remarks.is_empty() {
        let rows: Vec<Vec<String>> = report
            .remarks
            .iter()
            .map(|(rule, count)| vec![rule.clone(), count.to_string()])
            .collect();
        output.table(&["提示 remark", "条 records"], &rows);
    }
}

/// Prints a command's answer.
pub(super) fn answer(command: &Command, answer: Value, output: Output) -> Result<Exit, AppError> {
    if output.is_json() {
        output.json(&answer);
    }
    match command {
        Command::List { .. } => {
            let shown: Vec<Shown> = command::read(answer)?;
            records(&shown, output);
        }
        Command::Search(_) => search::show(answer, output)?,
        Command::Show { .. } => {
            let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
            output.line(&text);
        }
        Command::Put { .. } | Command::Withdraw { .. } | Command::Restore { .. } => {
            edited(&command::read(answer)?, output);
        }
        Command::Redact { seq, .. } => {
            output.line(&format!(
                "已申请删除第 {seq} 条的内容，中心确认后各处生效 / asked; op {seq} is erased once the hub agrees"
            ));
            command::show_unreached(output);
        }
        Command::Transfer(command) => transfer::show(command, answer, output)?,
        Command::Key(command) => key::show(*command, &answer, output),
        Command::Export { .. } => output.line(&format!("已导出 / exported: {answer}")),
        Command::Inbox(inbox) => super::inbox::show(inbox, answer, output)?,
        Command::Status => status(&command::read(answer)?, output),
        Command::Rebuild => output.line("正在重建 / rebuilding"),
        Command::Backup { .. } => {
            return Ok(liandong_server::backup::show_taken(&command::read(answer)?, output));
        }
        Command::Verify => return Ok(command::show_verified(&command::read(answer)?, output)),
        Command::Conflict(asked) => recover::conflict(asked, answer, output)?,
        Command::Receipts { .. } => recover::receipts(answer, output)?,
        Command::Repair => recover::repaired(answer, output)?,
        Command::Import { .. } | Command::Rejoin { .. } | Command::LiftGuard => {}
    }
    Ok(Exit::Ok)
}

/// Prints what became of an edit.
pub(super) fn edited(edited: &Edited, output: Output) {
    for fault in &edited.faults {
        output.note(
            &format!("[{}] {}：{}", fault.rule, fault.field, fault.message),
            &format!("[{}] {}: {}", fault.rule, fault.field, fault.message_en),
        );
    }
    match edited.seq {
        Some(seq) => output.line(&format!("{} 第 {seq} 条操作 / op {seq}", edited.id)),
        None => output.line(&format!("{} 没有变化 / nothing changed", edited.id)),
    }
}

fn records(records: &[Shown], output: Output) {
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|shown| {
            let field = |path: &str| {
                let value = shown.record.as_ref().and_then(|record| record.pointer(path));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let title = shown.withdrawn_reason.as_ref().map_or_else(
                || field("/title"),
                |reason| format!("（已撤回 withdrawn：{reason}）"),
            );
            vec![title, field("/provider/name"), shown.at_hub.clone(), shown.id.to_string()]
        })
        .collect();
    output.table(&["标题 Title", "提供方 Provider", "中心 Hub", "编号 Id"], &rows);
}

fn status(status: &Status, output: Output) {
    output.line(&format!(
        "{}  目录 {} 条  序号 {}@{}  根 {}  已索引 {}",
        status.software,
        status.view.records,
        status.feed.seq,
        status.feed.hash.short(),
        status.view.root.short(),
        status.index.applied_seq
    ));
    if let Some(backup) = &status.backup {
        liandong_server::backup::show_status(backup, output);
    }
    if let Some(damaged) = &status.feed.damaged {
        output.line(&format!("{damaged}；修复 / repair: liandong-node repair"));
    }
    if let Some(hub) = &status.hub {
        let seen = hub.last_contact.map(|at| clock::ago(clock::now_ms(), at).0);
        output.line(&format!(
            "中心 hub {}：{} {}，已确认 acked {}，最近联系 {}，隔离 quarantined {}",
            hub.url,
            hub.state.label().0,
            hub.state.label().1,
            hub.acked_seq,
            seen.unwrap_or_else(|| "—".to_owned()),
            hub.quarantined
        ));
        if hub.incarnation > 1 {
            output.line(&format!(
                "中心已重建（第 {0} 代）/ hub was rebuilt, incarnation {0}",
                hub.incarnation
            ));
        }
        // What the last handshake said is old once all is well.
        if let Some(explain) = hub.explain.as_ref().filter(|_| hub.state != State::InSync) {
            output.line(explain);
        }
        if hub.conflicts > 0 {
            output.line(&format!(
                "{} 条本地冲突待处理：liandong-node conflict list / local conflicts wait for you",
                hub.conflicts
            ));
        }
        if hub.lost_receipts > 0 {
            output.line(&format!(
                "{} 份回执的操作两边都已没有：liandong-node receipts --lost / receipts whose ops are gone",
                hub.lost_receipts
            ));
        }
        if let Some(expires) = hub.certificate_expires {
            let until = clock::format_shanghai(expires);
            output.line(&format!("证书有效期至 / certificate until {until}"));
        }
    }
    if let Some(replica) = &status.city {
        city::status(replica, output);
    }
}
