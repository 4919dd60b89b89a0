//! The command line's end of the socket.

use std::{io, path::Path};

use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{
    ANSWER_BYTES_MAX, AdminError, Line, ProgressReport, REQUEST_BYTES_MAX, SOCKET, ShortPath,
    internal,
};
use crate::output::Exit;

/// Code of the error when no process has the data directory open.
pub(super) const NOT_RUNNING: &str = "not_running";

impl AdminError {
    /// Whether no process has the data directory open, so that the command line may open it itself.
    pub fn is_not_running(&self) -> bool {
        self.code == NOT_RUNNING
    }
}

/// Sends a command to the process that has `dir` open, and waits for its result.
///
/// # Errors
/// The command's own error; [`AdminError::is_not_running`] when nobody answers.
pub async fn call<C: Serialize + Sync>(
    dir: &Path,
    command: &C,
    mut on_progress: impl FnMut(ProgressReport),
) -> Result<Value, AdminError> {
    let mut request = serde_json::to_vec(command)
        .map_err(|error| internal("命令无法表示为 JSON", &format!("not JSON: {error}")))?;
    if request.len() >= REQUEST_BYTES_MAX {
        let (zh, en) = ("命令超过 1 MiB", "the command is larger than 1 MiB");
        return Err(AdminError::new("bad_command", Exit::Usage, zh, en));
    }
    request.push(b'\n');
    let mut stream = open(dir).await?;
    // A server that refuses may answer and close before it has read everything: its answer counts.
    let _answer_counts = stream.write_all(&request).await;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let limit = ANSWER_BYTES_MAX as u64;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line).await;
        if read.is_err() || line.last() != Some(&b'\n') {
            return Err(lost());
        }
        match serde_json::from_slice(&line) {
            Ok(Line::Progress(report)) => on_progress(report),
            Ok(Line::Ok(value)) => return Ok(value),
            Ok(Line::Error(error)) => return Err(error),
            Err(error) => {
                return Err(internal("应答无法识别", &format!("unknown answer: {error}")));
            }
        }
    }
}

async fn open(dir: &Path) -> Result<UnixStream, AdminError> {
    let socket = ShortPath::new(dir, SOCKET);
    let opened = match &socket {
        Ok(socket) => UnixStream::connect(&socket.path).await,
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(dir),
        io::ErrorKind::PermissionDenied => AdminError::new(
            "not_allowed",
            Exit::Error,
            format!("当前用户无权管理 {}", dir.display()),
            format!("this user may not manage {}", dir.display()),
        )
        .remedy("请以服务所用的用户运行", "run as the user that the service runs as"),
        _ => internal(
            &format!("无法连接管理端口：{error}"),
            &format!("cannot connect to the admin socket: {error}"),
        ),
    })
}

fn not_running(dir: &Path) -> AdminError {
    AdminError::new(
        NOT_RUNNING,
        Exit::Unreachable,
        format!("没有进程在使用 {}", dir.display()),
        format!("no process is running on {}", dir.display()),
    )
    .remedy("请先启动服务，或检查数据目录", "start the service first, or check the data directory")
}

fn lost() -> AdminError {
    AdminError::new(
        "connection_lost",
        Exit::Unreachable,
        "服务进程在执行中断开，命令可能已经完成",
        "the process went away; the command may have been done",
    )
    .remedy("请查看服务日志和状态后再试", "look at the service's log and status, then try again")
}
