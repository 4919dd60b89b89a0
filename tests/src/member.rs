//! One process of a city, hub or node, and everything that can be asked of it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use liandong_core::id::RecordId;
use liandong_node::{
    command::{Command as NodeCommand, Shown},
    edit::Edited,
    import::plan::{Options, Report},
};
use liandong_server::{
    admin::{self, AdminError},
    site::{HubStatus, Status},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::wait::wait_until;

/// Lines of a log that are shown when something failed.
const TAIL_LINES: usize = 40;

/// Which program a member runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The city's hub.
    Hub,
    /// A district's node.
    Node,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Node => "node",
        }
    }
}

/// What a command line call left.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit status; -1 when a signal ended it.
    pub code: i32,
    /// What it printed as its result.
    pub stdout: String,
    /// What it said about it.
    pub stderr: String,
}

impl Ran {
    /// The result as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Insists on an exit status.
    ///
    /// # Panics
    /// It was another.
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// A process with its directory, ports and log. Killed when dropped; a test that is failing sees the end of its log.
#[derive(Debug)]
pub struct Member {
    role: Role,
    name: String,
    program: PathBuf,
    dir: PathBuf,
    log: PathBuf,
    http: u16,
    grpc: u16,
    env: Vec<(String, String)>,
    child: Option<Child>,
    client: reqwest::Client,
}

impl Member {
    pub(crate) fn new(
        role: Role,
        name: &str,
        program: &Path,
        root: &Path,
        ports: [u16; 2],
    ) -> Self {
        let [http, grpc] = ports;
        Self {
            role,
            name: name.to_owned(),
            program: program.to_owned(),
            dir: root.join(name),
            log: root.join(format!("{name}.log")),
            http,
            grpc,
            env: Vec::new(),
            child: None,
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
        }
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets a variable for the process and for command line calls, from the next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Number of the running process, for looking at its memory.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where pages and `/api/v1` are.
    pub fn http_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// Where gRPC is.
    pub fn grpc_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.grpc)
    }

    /// Address for `--http` and `--grpc`.
    pub(crate) fn listen(&self) -> [String; 2] {
        [self.http, self.grpc].map(|port| format!("127.0.0.1:{port}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.role.name()).arg("--dir").arg(&self.dir).args(args);
        // What the developer has set for a node of their own must not reach this one.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LIANDONG_")) {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value))).env("NO_COLOR", "1");
        command
    }

    /// Starts the process and waits until it answers people, programs and commands.
    ///
    /// # Panics
    /// It runs already, ends by itself, or is not ready in time.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Starts the process without waiting.
    ///
    /// # Panics
    /// It runs already, or the program cannot be started.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        let log = log.expect("a log file");
        let child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Waits until the process answers people, programs and commands.
    ///
    /// # Panics
    /// It ended by itself, or is not ready in time.
    pub async fn ready(&mut self) {
        let name = self.name.clone();
        wait_until(&format!("{name} is ready"), async || {
            if let Some(ended) = self.ended() {
                panic!("{} ended by itself: {ended}", self.name);
            }
            let url = self.http_url("/readyz");
            let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
            if answer.status() != 200 {
                return Err(answer.text().await.unwrap_or_default());
            }
            self.command_call::<_, Status>(&json!("status"))
                .await
                .map_err(|error| error.to_string())
        })
        .await;
    }

    /// How the process ended, when it did so by itself.
    fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.as_mut()?.try_wait().expect("the state of a child")?;
        self.child = None;
        Some(ended)
    }

    /// Asks the process to stop and waits until it has.
    ///
    /// # Panics
    /// It does not run, or does not end well.
    pub async fn stop(&mut self) {
        let pid = i32::try_from(self.pid().expect("a running process")).expect("a process number");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process number");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let what = format!("{} has stopped", self.name);
        let ended = wait_until(&what, async || self.ended().ok_or("it runs".to_owned())).await;
        assert!(ended.success(), "{} stopped badly: {ended}", self.name);
    }

    /// Kills the process as a power cut would, if it runs. The directory is free when this returns.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it is gone already.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Kills the process and starts it again.
    pub async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    /// Runs a command line of the program, with this member's directory, to its end.
    ///
    /// # Panics
    /// The program cannot be run.
    pub async fn cli(&self, args: &[&str]) -> Ran {
        let mut command = tokio::process::Command::from(self.command(args));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ran = command.output().await.expect("the program runs");
        Ran {
            code: ran.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        }
    }

    /// The result of a command line with `--json`.
    ///
    /// # Panics
    /// It fails.
    pub async fn cli_json(&self, args: &[&str]) -> Value {
        self.cli(&[&["--json"], args].concat()).await.exits(0).json()
    }

    /// Sends a command to the running process without a command line in between, which is much faster.
    ///
    /// # Errors
    /// The command's own; "not running"; the connection was lost, and nobody knows what became of the command.
    ///
    /// # Panics
    /// The answer is not of the type.
    pub async fn command_call<C: Serialize + Sync, T: DeserializeOwned>(
        &self,
        command: &C,
    ) -> Result<T, AdminError> {
        let answer = admin::call(&self.dir, command, |_| {}).await?;
        Ok(serde_json::from_value(answer).expect("an answer of the right type"))
    }

    /// The status document.
    ///
    /// # Panics
    /// The process does not answer.
    pub async fn status(&self) -> Status {
        let status = self.command_call(&json!("status")).await;
        status.unwrap_or_else(|error: AdminError| panic!("{}: {error}", self.name))
    }

    /// A node's link to its hub.
    ///
    /// # Panics
    /// The process does not answer, or is a hub.
    pub async fn link(&self) -> HubStatus {
        self.status().await.hub.expect("a node")
    }

    /// Status and JSON body of a page; null when the body is none.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(self.http_url(path)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{} {path}: {error}", self.name));
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// The text of a page.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn text(&self, path: &str) -> String {
        let answer = self.client.get(self.http_url(path)).send().await.expect("an answer");
        answer.text().await.expect("a text")
    }

    /// The answer of `/api/v1/search`.
    ///
    /// # Panics
    /// It is no 200.
    pub async fn search(&self, query: &str) -> Value {
        self.search_with(&[("q", query)]).await
    }

    /// The answer of `/api/v1/search` with all its parameters.
    ///
    /// # Panics
    /// It is no 200.
    pub async fn search_with(&self, params: &[(&str, &str)]) -> Value {
        let request = self.client.get(self.http_url("/api/v1/search")).query(params);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{} searches {params:?}", self.name);
        answer.json().await.expect("a JSON document")
    }

    /// Status and document of `/api/v1/records/{id}`.
    pub async fn record(&self, id: RecordId) -> (u16, Value) {
        self.get(&format!("/api/v1/records/{id}")).await
    }

    /// Puts a record at a node: a new one without `id`.
    ///
    /// # Errors
    /// As [`Self::command_call`].
    pub async fn put(&self, id: Option<RecordId>, content: &Value) -> Result<Edited, AdminError> {
        let content = content.clone();
        self.command_call(&NodeCommand::Put { id, content, expected: None }).await
    }

    /// Withdraws a record at a node.
    ///
    /// # Errors
    /// As [`Self::command_call`].
    pub async fn withdraw(&self, id: RecordId, reason: &str) -> Result<Edited, AdminError> {
        let reason = reason.to_owned();
        self.command_call(&NodeCommand::Withdraw { id, reason }).await
    }

    /// Brings a withdrawn record back at a node.
    ///
    /// # Errors
    /// As [`Self::command_call`].
    pub async fn restore(&self, id: RecordId) -> Result<Edited, AdminError> {
        self.command_call(&NodeCommand::Restore { id }).await
    }

    /// Imports a file at a node.
    ///
    /// # Errors
    /// As [`Self::command_call`].
    pub async fn import(&self, file: &Path, options: Options) -> Result<Report, AdminError> {
        let command = NodeCommand::Import {
            file: file.to_owned(),
            format: None,
            encoding: None,
            sheet: None,
            options,
            error_sheet: None,
        };
        self.command_call(&command).await
    }

    /// Every record of a node, withdrawn ones too, in the order of their ids.
    ///
    /// # Panics
    /// The process does not answer.
    pub async fn list(&self) -> Vec<Shown> {
        let mut all: Vec<Shown> = Vec::new();
        loop {
            let after = all.last().map(|shown| shown.id);
            let command = NodeCommand::List { after, limit: 1_000, all: true };
            let page: Vec<Shown> = self.command_call(&command).await.expect("a list");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Everything the process has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log holds a line with all of these texts.
    ///
    /// # Panics
    /// It does not in time.
    pub async fn logs(&self, texts: &[&str]) {
        let what = format!("{} logs a line with {texts:?}", self.name);
        wait_until(&what, async || {
            let log = self.log();
            let found = log.lines().any(|line| texts.iter().all(|text| line.contains(text)));
            found.then_some(()).ok_or_else(|| tail(&log))
        })
        .await;
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

impl Drop for Member {
    #[expect(clippy::print_stderr, reason = "a failing test shows what its processes said")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the end of the log of {} ---\n{}", self.name, tail(&self.log()));
        }
    }
}
