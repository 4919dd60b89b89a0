//! What people see of backups.

use std::path::Path;

use liandong_store::backup::{Checked, Scope};
use serde_json::json;

use super::Taken;
use crate::{
    clock,
    output::{Exit, Output},
    site::{BackupStatus, Role},
};

fn content(checked: &Checked) -> String {
    let report = &checked.report;
    format!(
        "{} 个文件，{} 条操作，{} 个签名，{} 条目录，{} 个数据流摘要一致 / \
         {0} files, {1} ops, {2} signatures, {3} live records, {4} roots compared",
        checked.files, report.ops, report.signatures, report.live, checked.roots
    )
}

/// Shows a backup that was made.
pub fn show_taken(taken: &Taken, output: Output) -> Exit {
    output.line(&format!(
        "已备份并经恢复核对 / backed up, restored and verified: {}（{} bytes，{} ms）",
        taken.file.display(),
        taken.checked.bytes,
        taken.took_ms
    ));
    output.line(&content(&taken.checked));
    if taken.checked.about.scope != Scope::NoKeys {
        output.note(
            "备份含密钥：请像密钥本身一样保管",
            "the backup holds keys: guard it as you guard them",
        );
    }
    Exit::Ok
}

/// Shows what the check of a backup found.
pub fn show_checked(file: &Path, checked: &Checked, output: Output) -> Exit {
    if output.is_json() {
        output.json(&json!({ "file": file, "good": checked.good(), "checked": checked }));
    }
    let about = &checked.about;
    output.line(&format!(
        "{}：{} {}，{}，{}",
        file.display(),
        about.role,
        about.name,
        clock::format_shanghai(about.created_ms),
        about.software
    ));
    output.line(&content(checked));
    for fault in &checked.report.faults {
        output.line(fault);
    }
    if checked.good() {
        output.line("可以恢复 / it can be restored");
        Exit::Ok
    } else {
        output.line("不可依靠 / it cannot be relied on");
        Exit::Validation
    }
}

/// Shows the last backup as a part of a status.
pub fn show_status(status: &BackupStatus, output: Output) {
    let now_ms = clock::now_ms();
    match &status.verified {
        Some(last) => output.line(&format!(
            "最近核对的备份 / last verified backup: {}（{}，{} 条目录，{} bytes）",
            last.file,
            clock::ago(now_ms, last.at_ms).0,
            last.records,
            last.bytes
        )),
        None => output.line("尚无经恢复核对的备份 / no backup was restored and verified yet"),
    }
    if status.overdue {
        output.line("备份已过期 / the backup is overdue");
    }
    if let Some(failed) = &status.failed {
        let ago = clock::ago(now_ms, failed.at_ms).0;
        output.line(&format!("备份失败（{ago}）/ a backup failed: {}", failed.explain));
    }
}

/// Shows what was restored and says what follows.
pub fn show_restored(into: &Path, role: Role, checked: &Checked, output: Output) -> Exit {
    if output.is_json() {
        output.json(&json!({ "into": into, "checked": checked }));
    }
    output.line(&format!("已恢复到 / restored into {}", into.display()));
    output.line(&content(checked));
    if checked.about.scope == Scope::NoKeys {
        output.line("备份不含密钥：请先放回 keys 目录 / without keys: put the keys back first");
    }
    let next = match role {
        Role::Node => {
            "下一步：启动节点。若中心已有更新的内容，节点会显示“已冻结：节点回退”；未另行修改的会自动补齐，\
             否则运行 liandong-node rejoin --reason restored / next: start the node. Where the hub has more, \
             it shows ROLLBACK and fetches what is missing, or asks for liandong-node rejoin --reason restored"
        }
        Role::Hub => {
            "下一步：启动中心。它先从各区节点取回备份之后的决定，之后才接受新的决定；\
             进度见 liandong-hub recover status / next: start the hub. It takes back from the nodes what was \
             decided since, before it decides anything new; see liandong-hub recover status"
        }
    };
    output.line(next);
    Exit::Ok
}
