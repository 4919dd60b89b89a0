//! The writing process' end of the socket.

use std::{
    fs,
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::warn;

use super::{AdminError, Line, ProgressReport, REQUEST_BYTES_MAX, SOCKET, ShortPath, internal};
use crate::output::Exit;

/// Commands at the same time.
const COMMANDS_MAX: usize = 16;
/// How long a client may take to send its command.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long commands under way may take when the process goes down.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the system refuses to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Says how far a command is. Cheap: only the latest report is sent.
#[derive(Debug, Clone)]
pub struct Progress {
    latest: watch::Sender<ProgressReport>,
}

impl Progress {
    /// `done` of `total` (0 when not known).
    pub fn report(&self, done: u64, total: u64, what: &str) {
        self.latest.send_replace(ProgressReport { done, total, what: what.to_owned() });
    }

    /// Reports for whoever holds the receiver, for commands that are run without a socket.
    pub fn new() -> (Self, watch::Receiver<ProgressReport>) {
        let (latest, reports) = watch::channel(ProgressReport::default());
        (Self { latest }, reports)
    }

    /// Reports that go nowhere.
    pub fn ignored() -> Self {
        Self { latest: watch::Sender::default() }
    }
}

/// The socket, listening. Removes its file when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that stays is replaced at the next start.
        let _stays = fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Listens in `dir`. Hold the directory's [`super::Lock`] before. The socket of a dead process
    /// is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when a living process listens there; otherwise what the system says.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET);
        let old = ShortPath::new(dir, SOCKET)?;
        if std::os::unix::net::UnixStream::connect(&old.path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process answers on the admin socket",
            ));
        }
        // Under another name until it is private, so that nobody else can connect in between.
        let draft_name = format!("{SOCKET}.new");
        let draft = ShortPath::new(dir, &draft_name)?;
        match fs::remove_file(&draft.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixListener::bind(&draft.path)?;
        fs::set_permissions(&draft.path, fs::Permissions::from_mode(0o600))?;
        fs::rename(dir.join(draft_name), &path)?;
        Ok(Self { socket, path })
    }

    /// Answers commands until `shutdown` is ready, then waits a little for those under way.
    pub async fn run<H, F>(self, handler: H, shutdown: impl Future<Output = ()> + Send)
    where
        H: Fn(Value, Progress) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Value, AdminError>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(COMMANDS_MAX));
        let mut commands = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.socket.accept().await)
            };
            tokio::select! {
                () = &mut shutdown => break,
                (place, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let handler = handler.clone();
                        commands.spawn(async move {
                            answer(stream, handler).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a command");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
            while commands.try_join_next().is_some() {}
        }
        let finish = async { while commands.join_next().await.is_some() {} };
        if timeout(FINISH_TIMEOUT, finish).await.is_err() {
            warn!("commands were still running at shutdown");
        }
    }
}

/// [`Listener::bind`] and [`Listener::run`] in one.
///
/// # Errors
/// As [`Listener::bind`].
pub async fn serve<H, F>(
    dir: &Path,
    handler: H,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()>
where
    H: Fn(Value, Progress) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Value, AdminError>> + Send + 'static,
{
    Listener::bind(dir)?.run(handler, shutdown).await;
    Ok(())
}

async fn answer<H, F>(stream: UnixStream, handler: H)
where
    H: Fn(Value, Progress) -> F,
    F: Future<Output = Result<Value, AdminError>> + Send + 'static,
{
    let (reader, mut writer) = stream.into_split();
    let request = timeout(REQUEST_TIMEOUT, read_request(BufReader::new(reader))).await;
    let last = match request {
        Err(_late) => {
            Line::Error(refused("命令未在时限内发完", "the command was not sent in time"))
        }
        Ok(Err(error)) => Line::Error(error),
        Ok(Ok(command)) => {
            let (latest, reports) = watch::channel(ProgressReport::default());
            // A task of its own: a client that goes away does not cancel what it asked for.
            let work = tokio::spawn(handler(command, Progress { latest }));
            follow(work, reports, &mut writer).await
        }
    };
    // The client may have gone.
    let _gone = writer.write_all(&last.to_bytes()).await;
    let _gone = writer.shutdown().await;
}

async fn read_request(reader: impl AsyncBufReadExt + Unpin) -> Result<Value, AdminError> {
    let mut line = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    let read = reader.take(limit).read_until(b'\n', &mut line).await;
    read.map_err(|error| refused("命令读取失败", &format!("cannot read the command: {error}")))?;
    if line.last() != Some(&b'\n') {
        return Err(if line.len() > REQUEST_BYTES_MAX {
            refused("命令超过 1 MiB", "the command is larger than 1 MiB")
        } else {
            refused("命令不完整", "the command is incomplete")
        });
    }
    serde_json::from_slice(&line)
        .map_err(|error| refused("命令不是有效的 JSON", &format!("not JSON: {error}")))
}

/// Passes reports on until the command is done, and gives the last line.
async fn follow(
    mut work: JoinHandle<Result<Value, AdminError>>,
    mut reports: watch::Receiver<ProgressReport>,
    writer: &mut (impl AsyncWriteExt + Unpin),
) -> Line {
    let mut listening = true;
    loop {
        tokio::select! {
            done = &mut work => {
                return match done {
                    Ok(Ok(value)) => Line::Ok(value),
                    Ok(Err(error)) => Line::Error(error),
                    Err(error) => {
                        tracing::error!(%error, "a command panicked");
                        Line::Error(internal("命令执行时出现内部错误", "the command panicked"))
                    }
                };
            }
            changed = reports.changed(), if listening => {
                let report = reports.borrow_and_update().clone();
                listening = changed.is_ok()
                    && writer.write_all(&Line::Progress(report).to_bytes()).await.is_ok();
            }
        }
    }
}

fn refused(zh: &str, en: &str) -> AdminError {
    AdminError::new("bad_command", Exit::Usage, zh, en)
}
