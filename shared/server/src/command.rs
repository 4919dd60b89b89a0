//! How a command line command reaches the data directory: through the process that has it open, else by opening it.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::{
    admin::{self, AdminError, Progress},
    output::Output,
};

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
            let (progress, mut reports) = Progress::new();
            let work = local(progress);
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
        answered => answered,
    }
}

/// Reads a command's answer as the type it has.
///
/// # Errors
/// `internal` when the process is of another version.
pub fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, AdminError> {
    serde_json::from_value(value).map_err(|error| {
        AdminError::new(
            "internal",
            crate::output::Exit::Error,
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
        AdminError::new(
            "internal",
            crate::output::Exit::Error,
            error.to_string(),
            error.to_string(),
        )
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
