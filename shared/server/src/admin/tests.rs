//! The lock, and commands over the socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::output::{Exit, Explain};

#[test]
fn a_second_process_is_kept_out_and_told_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::acquire(dir.path()).unwrap();
    let error = Lock::acquire(dir.path()).unwrap_err();
    assert!(matches!(&error, Locked::Held { pid, .. } if *pid == Some(std::process::id())));
    let failure = error.explain();
    assert_eq!((failure.code.as_str(), failure.exit()), ("directory_in_use", Exit::Conflict));
    drop(lock);
    Lock::acquire(dir.path()).unwrap();
}

#[test]
fn a_directory_that_is_not_there_cannot_be_locked() {
    let error = Lock::acquire(Path::new("/nonexistent/liandong")).unwrap_err();
    assert!(matches!(error, Locked::Io { .. }));
}

/// A listening process that echoes, fails or panics as it is told.
struct Running {
    task: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

fn start(dir: &Path) -> Running {
    let listener = Listener::bind(dir).unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(listener.run(handle, async { stopped.await.unwrap_or(()) }));
    Running { task: Some(task), stop: Some(stop) }
}

impl Running {
    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.take().unwrap().await.unwrap();
    }
}

async fn handle(command: Value, progress: Progress) -> Result<Value, AdminError> {
    match command["do"].as_str() {
        Some("fail") => {
            Err(AdminError::new("no_such_record", Exit::Validation, "没有这条记录", "no record")
                .detail(json!({ "id": 7 })))
        }
        Some("panic") => panic!("as asked"),
        Some("count") => {
            progress.report(1, 2, "一半");
            // Lets the connection's task send it before the command is over.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            progress.report(2, 2, "完成");
            Ok(json!(2))
        }
        _ => Ok(command),
    }
}

#[tokio::test]
async fn a_command_is_answered_with_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let command = json!({ "do": "echo", "text": "区县\n换行" });
    assert_eq!(call(dir.path(), &command, |_| {}).await.unwrap(), command);
    running.stop().await;
    assert!(!dir.path().join(SOCKET).exists(), "the socket goes with its process");
}

#[tokio::test]
async fn an_error_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let _running = start(dir.path());
    let error = call(dir.path(), &json!({ "do": "fail" }), |_| {}).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.exit()), ("no_such_record", Exit::Validation));
    assert_eq!((error.message_zh.as_str(), &error.detail["id"]), ("没有这条记录", &json!(7)));
    let error = call(dir.path(), &json!({ "do": "panic" }), |_| {}).await.unwrap_err();
    assert_eq!(error.code, "internal");
}

#[tokio::test]
async fn progress_arrives_before_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let _running = start(dir.path());
    let mut seen = Vec::new();
    let result = call(dir.path(), &json!({ "do": "count" }), |report| seen.push(report)).await;
    assert_eq!(result.unwrap(), json!(2));
    let half = ProgressReport { done: 1, total: 2, what: "一半".into() };
    assert_eq!(seen.first(), Some(&half));
}

#[tokio::test]
async fn without_a_process_the_caller_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = call(dir.path(), &json!({}), |_| {}).await.unwrap_err();
    assert!(error.is_not_running());
    assert_eq!(error.exit(), Exit::Unreachable);
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    // Dropping a standard listener leaves its file, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    assert!(call(dir.path(), &json!({}), |_| {}).await.unwrap_err().is_not_running());
    let _running = start(dir.path());
    assert_eq!(call(dir.path(), &json!(1), |_| {}).await.unwrap(), json!(1));
    let error = Listener::bind(dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(call(dir.path(), &json!(2), |_| {}).await.unwrap(), json!(2));
}

#[tokio::test]
async fn the_socket_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let _running = start(dir.path());
    let mode = fs::metadata(dir.path().join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_path_too_long_for_a_socket_works_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("很长的目录名".repeat(10)).join("data");
    fs::create_dir_all(&deep).unwrap();
    assert!(deep.as_os_str().len() > 150);
    let running = start(&deep);
    assert_eq!(call(&deep, &json!("far"), |_| {}).await.unwrap(), json!("far"));
    running.stop().await;
    assert!(!deep.join(SOCKET).exists());
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_cancel_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let (begun, go_on, done) =
        (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Mutex::new(None)));
    let handler = {
        let (begun, go_on, done) = (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&done));
        move |command: Value, progress: Progress| {
            let (begun, go_on, done) = (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&done));
            async move {
                begun.notify_one();
                go_on.notified().await;
                progress.report(1, 1, "nobody listens");
                *done.lock().unwrap() = Some(command);
                Ok(Value::Null)
            }
        }
    };
    let listener = Listener::bind(dir.path()).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(listener.run(handler, async { drop(stopped.await) }));
    let mut client = UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
    client.write_all(b"\"import\"\n").await.unwrap();
    begun.notified().await;
    drop(client);
    // Shutting down waits for it too.
    drop(stop);
    go_on.notify_one();
    task.await.unwrap();
    assert_eq!(*done.lock().unwrap(), Some(json!("import")));
}

#[tokio::test]
async fn a_command_that_is_none_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let _running = start(dir.path());
    let mut large = vec![b' '; REQUEST_BYTES_MAX + 1];
    large.push(b'\n');
    for (bytes, reason) in
        [(b"{]\n".to_vec(), "not JSON"), (b"{}".to_vec(), "incomplete"), (large, "larger")]
    {
        let mut client = UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
        // The server may stop reading early.
        let _early = client.write_all(&bytes).await;
        let _early = client.shutdown().await;
        let mut answer = String::new();
        BufReader::new(client).read_line(&mut answer).await.unwrap();
        assert!(answer.contains("bad_command") && answer.contains(reason), "{answer}");
    }
    let error = call(dir.path(), &"x".repeat(REQUEST_BYTES_MAX), |_| {}).await.unwrap_err();
    assert_eq!(error.code, "bad_command");
}
