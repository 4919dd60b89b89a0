//! How a command line command reaches the data directory: through the process that has it open, else by opening it.

use std::{path::Path, process::ExitCode};

use liandong_store::VerifyReport;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    admin::{self, AdminError, Progress},
    output::{Exit, Failure, Output},
    tls,
};

/// Runs the work of a command line in a fresh runtime and tells how it ended.
pub fn start<F>(json: bool, work: impl FnOnce(Output) -> F) -> ExitCode
where
    F: Future<Output = Result<Exit, Failure>>,
{
    let output = Output::new(json);
    tls::install();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(work(output)),
        Err(error) => {
            Err(Failure::new("runtime", Exit::Error, error.to_string(), error.to_string()))
        }
    };
    ended.unwrap_or_else(|failure| output.error(&failure)).into()
}

/// What a `doctor` looked at, and what it found there.
pub type Check = (&'static str, Result<String, Failure>);

/// Shows what a `doctor` found.
pub fn show_checks(checks: &[Check], output: Output) -> Exit {
    if output.is_json() {
        let lines: Vec<Value> = checks
            .iter()
            .map(|(what, result)| match result {
                Ok(found) => json!({ "check": what, "ok": true, "found": found }),
                Err(error) => json!({ "check": what, "ok": false, "error": error }),
            })
            .collect();
        output.json(&lines);
    }
    let mut exit = Exit::Ok;
    for (what, result) in checks {
        match result {
            Ok(found) => output.line(&format!("✓ {what}: {found}")),
            Err(failure) => {
                exit = Exit::Error;
                output.error(failure);
            }
        }
    }
    exit
}

/// What an order to erase does not reach, for people.
const UNREACHED: [&str; 2] = [
    "此前所做的备份、导出的文件，以及数据库与磁盘已释放而未覆写的空间，须另行销毁",
    "not reached: backups and exports made before, space that engines and disks have freed; destroy them yourself",
];

/// The answer to an order to erase: what is erased, and what it does not reach.
#[derive(Debug, Clone, Serialize)]
pub struct Erased<T> {
    #[serde(flatten)]
    order: T,
    not_reached: [&'static str; 2],
}

impl<T> Erased<T> {
    /// The answer to an order.
    pub const fn of(order: T) -> Self {
        Self { order, not_reached: UNREACHED }
    }
}

/// Says what an order to erase does not reach.
pub fn show_unreached(output: Output) {
    output.note(UNREACHED[0], UNREACHED[1]);
}

/// Shows what a verification found, for people.
pub fn show_verified(report: &VerifyReport, output: Output) -> Exit {
    for fault in &report.faults {
        output.line(fault);
    }
    output.line(&format!(
        "{} 条操作、{} 个签名、{} 条目录、{} 篇索引：{} 处不符 / \
         {0} ops, {1} signatures, {2} records, {3} documents: {4} faults",
        report.ops,
        report.signatures,
        report.records,
        report.documents,
        report.faults.len(),
    ));
    if report.faults.is_empty() { Exit::Ok } else { Exit::Error }
}

/// Runs a command in the process that serves `dir`; when there is none, `local` runs it here.
///
/// # Errors
/// The command's own.
pub async fn run<C, L, F>(
    dir: &Path,
    output: Output,
    command: &C,
    local: L,
) -> Result<Value, AdminError>
where
    C: Serialize + Sync,
    L: FnOnce(Progress) -> F,
    F: Future<Output = Result<Value, AdminError>>,
{
    let bar = output.progress("", 0);
    let called = admin::call(dir, command, |report| {
        bar.set(report.done, report.total, &report.what);
    });
    match called.await {
        Err(error) if error.is_not_running() => {
            drop(bar);
            here(output, local).await
        }
        answered => answered,
    }
}

/// Runs work in this process and shows how far it is.
///
/// # Errors
/// The work's own.
pub async fn here<T, L, F>(output: Output, work: L) -> Result<T, AdminError>
where
    L: FnOnce(Progress) -> F,
    F: Future<Output = Result<T, AdminError>>,
{
    let bar = output.progress("", 0);
    let (progress, mut reports) = Progress::new();
    let work = work(progress);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Ok(()) = reports.changed() => {
                let report = reports.borrow_and_update().clone();
                bar.set(report.done, report.total, &report.what);
            }
        }
    }
}

/// Runs work that blocks in this process and shows how far it is.
///
/// # Errors
/// The work's own.
pub async fn blocking<T: Send + 'static>(
    output: Output,
    work: impl FnOnce(&Progress) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    here(output, |progress| async move {
        let done = tokio::task::spawn_blocking(move || work(&progress)).await;
        done.unwrap_or_else(|gone| {
            Err(Failure::new("internal", Exit::Error, gone.to_string(), gone.to_string()))
        })
    })
    .await
}

/// Reads a command's answer as the type it has.
///
/// # Errors
/// `internal` when the process is of another version.
pub fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, AdminError> {
    serde_json::from_value(value).map_err(|error| {
        AdminError::new(
            "internal",
            Exit::Error,
            format!("应答无法识别：{error}"),
            format!("the answer is not understood: {error}"),
        )
        .remedy(
            "请确认命令行与服务是同一版本",
            "check that command line and service are of one version",
        )
    })
}

/// Writes an answer.
///
/// # Errors
/// `internal` when it is no JSON.
pub fn answer<T: Serialize>(value: &T) -> Result<Value, AdminError> {
    serde_json::to_value(value).map_err(|error| {
        AdminError::new("internal", Exit::Error, error.to_string(), error.to_string())
    })
}

/// Waits until the process is asked to stop (Ctrl-C or SIGTERM).
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _interrupted = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The text of a file that a command was given; `-` is the standard input.
///
/// # Errors
/// `cannot_read`.
pub fn read_text(file: &Path) -> Result<String, Failure> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin().lock())
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| {
        Failure::new(
            "cannot_read",
            Exit::Error,
            format!("无法读取 {}：{error}", file.display()),
            format!("cannot read {}: {error}", file.display()),
        )
    })
}
