//! What the desk prints for people.

use liandong_core::difference::FieldDifference;
use liandong_server::{admin::AdminError, clock, command, output::Output};
use serde_json::Value;

use crate::desk::{
    ConflictRow, ConflictShown, Desk, HoldShown, OverlayShown, Preview, RecordRef, RequestShown,
    SourceShown, VersionShown,
};

/// Prints an answer of the desk for people.
pub(in crate::cli) fn show(
    command: &Desk,
    answer: Value,
    output: Output,
) -> Result<(), AdminError> {
    match command {
        Desk::OverlaySet { .. } | Desk::OverlayShow { .. } => {
            overlays(&[command::read(answer)?], output);
        }
        Desk::OverlayDrop { .. } => {
            let dropped: OverlayShown = command::read(answer)?;
            output.line(&format!("已取消编目 / dropped: {}", dropped.record.id));
        }
        Desk::OverlayList { .. } => overlays(&command::read::<Vec<_>>(answer)?, output),
        Desk::HoldPut { .. } | Desk::HoldList => holds(&command::read::<Vec<_>>(answer)?, output),
        Desk::HoldRelease { .. } => {
            let shown: RecordRef = command::read(answer)?;
            output.line(&format!("已恢复显示 / released: {} {}", shown.id, shown.title));
        }
        Desk::RequestList { .. } => requests(&command::read::<Vec<_>>(answer)?, output),
        Desk::RequestCreate { .. } | Desk::RequestShow { .. } | Desk::RequestWithdraw { .. } => {
            let shown: RequestShown = command::read(answer)?;
            requests(std::slice::from_ref(&shown), output);
            differences(["所见 seen", "现行 now", "请改为 asked"], &shown.differences, output);
        }
        Desk::ConflictList(_) => conflicts(&command::read::<Vec<_>>(answer)?, output),
        Desk::ConflictDecide { preview: true, .. } => {
            let previews: Vec<Preview> = command::read(answer)?;
            output.line("将写入 / would be written:");
            for preview in previews {
                output.line(&format!("  {} {}", preview.kind, preview.payload));
            }
        }
        Desk::ConflictShow { .. } | Desk::ConflictDecide { .. } | Desk::ConflictReopen { .. } => {
            conflict(&command::read(answer)?, output);
        }
        Desk::SourceSet { .. } | Desk::SourceDrop { .. } | Desk::SourceList => {
            sources(&command::read::<Vec<_>>(answer)?, output);
        }
    }
    Ok(())
}

fn overlays(shown: &[OverlayShown], output: Output) {
    let row = |shown: &OverlayShown| {
        vec![
            shown.record.id.to_string(),
            shown.record.district.clone(),
            shown.record.title.clone(),
            serde_json::to_string(&shown.overlay).unwrap_or_default(),
            if shown.stale { "已过时 stale" } else { "有效 current" }.to_owned(),
            clock::format_shanghai(shown.at_ms),
        ]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let header =
        ["编号 Id", "区 District", "区级标题 Title", "编目 Overlay", "状态 State", "时间 At"];
    output.table(&header, &rows);
}

fn holds(shown: &[HoldShown], output: Output) {
    let row = |shown: &HoldShown| {
        vec![
            shown.record.id.to_string(),
            shown.record.district.clone(),
            shown.record.title.clone(),
            shown.legal_basis.clone(),
            shown.reason.clone(),
            clock::format_shanghai(shown.at_ms),
        ]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let header =
        ["编号 Id", "区 District", "标题 Title", "依据 Legal basis", "原因 Reason", "时间 At"];
    output.table(&header, &rows);
}

fn requests(shown: &[RequestShown], output: Output) {
    let row = |shown: &RequestShown| {
        let fields: Vec<_> = shown.fields.keys().cloned().collect();
        vec![
            shown.request.clone(),
            shown.state.clone(),
            shown.due.map(|due| due.to_string()).unwrap_or_default(),
            shown.record.district.clone(),
            shown.record.title.clone(),
            fields.join(", "),
            shown.answer.clone().unwrap_or_else(|| shown.reason.clone()),
        ]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let header = [
        "请求 Request",
        "状态 State",
        "期限 Due",
        "区 District",
        "标题 Title",
        "字段 Fields",
        "说明 Said",
    ];
    output.table(&header, &rows);
}

fn sources(shown: &[SourceShown], output: Output) {
    let row = |shown: &SourceShown| {
        vec![
            shown.item.clone(),
            shown.source.district.clone(),
            shown.source.title.clone(),
            shown.source.id.to_string(),
            shown.reason.clone(),
        ]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let header = ["信息项 Item", "区 District", "标题 Title", "编号 Id", "原因 Reason"];
    output.table(&header, &rows);
}

fn conflicts(shown: &[ConflictRow], output: Output) {
    let row = |shown: &ConflictRow| {
        let titles: Vec<_> = shown.records.iter().map(|record| record.title.clone()).collect();
        vec![
            shown.id.short(),
            shown.number.clone(),
            word(shown.state),
            clock::ago(clock::now_ms(), shown.opened_ms).0,
            shown.districts.join("、"),
            [shown.names.clone(), titles].concat().join(" | "),
        ]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let header =
        ["冲突 Conflict", "类 Kind", "状态 State", "开启 Opened", "区 Districts", "关于 About"];
    output.table(&header, &rows);
}

/// A state or a kind by its word in JSON.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn conflict(shown: &ConflictShown, output: Output) {
    let row = &shown.row;
    output.line(&format!("{} {} {} {}", row.id, row.number, word(row.kind), word(row.state)));
    output.line(&format!("各方 parties: {}", row.districts.join("、")));
    for record in &row.records {
        let winner = if row.winner == Some(record.id) { "（暂行 interim winner）" } else { "" };
        output.line(&format!("  {} {} {}{winner}", record.id, record.district, record.title));
    }
    output.line(&format!("依据 evidence: {}", shown.evidence));
    let version = |version: &VersionShown| {
        vec![
            format!("{}@{}", version.district, version.version.seq),
            version.kind.clone(),
            clock::format_shanghai(version.at_ms),
            version.actor.clone(),
            if version.current { "现行 current" } else { "" }.to_owned(),
        ]
    };
    let versions: Vec<_> = shown.versions.iter().map(version).collect();
    output.table(&["版本 Version", "类型 Type", "时间 At", "操作人 By", ""], &versions);
    let columns = shown.columns.each_ref().map(String::as_str);
    differences(columns, &shown.differences, output);
    for event in &shown.history {
        let decision = event.decision.as_ref().map(liandong_core::city::Decision::name);
        output.line(&format!(
            "{} {} {} {} {}",
            clock::format_shanghai(event.at_ms),
            word(event.state),
            event.actor,
            decision.unwrap_or_default(),
            event.reason
        ));
    }
    output.line(&format!("可用裁决 verdicts: {}", shown.verdicts.join(", ").replace('_', "-")));
}

fn differences(columns: [&str; 3], rows: &[FieldDifference], output: Output) {
    let plain = |value: &Value| match value {
        Value::Null => "—".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |row: &FieldDifference| {
        let (zh, clash) = (&row.label_zh, if row.clash { " ⚠" } else { "" });
        vec![
            format!("{zh} {}{clash}", row.field),
            plain(&row.base),
            plain(&row.mine),
            plain(&row.theirs),
        ]
    };
    if !rows.is_empty() {
        let rows: Vec<_> = rows.iter().map(row).collect();
        output.table(&["字段 Field", columns[0], columns[1], columns[2]], &rows);
    }
}
