//! The processes of a city: started, enrolled, asked and stopped as an operator would.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use liandong_server::{
    output::{Exit, Failure},
    site::Status,
};
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use crate::generate::District;

/// Set for the processes that belong to a pilot, so that they end with it.
const CHILD_ENV: &str = "LIANDONG_PILOT_CHILD";
/// How long a process may take to be ready: opening a large journal takes its time.
const READY: Duration = Duration::from_mins(1);
/// How long a process may take to end by itself.
const STOP: Duration = Duration::from_secs(10);
/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);
/// Ports apart: HTTP and gRPC of one process are neighbours.
const PORTS_APART: u16 = 10;

/// Runs the hub or a node inside this process. One that a pilot started ends when the pilot does.
pub fn child(main: impl FnOnce() -> ExitCode) -> ExitCode {
    if std::env::var_os(CHILD_ENV).is_some() {
        // Where the system cannot do it, a pilot that is killed leaves its processes behind.
        let _unsupported =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    }
    main()
}

/// Which program a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `liandong-hub`
    Hub,
    /// `liandong-node`
    Node,
}

/// One process with its directory and ports.
#[derive(Debug)]
pub struct Member {
    program: Program,
    exe: PathBuf,
    /// Its directory.
    pub dir: PathBuf,
    /// Where it answers HTTP.
    pub http: String,
    http_port: u16,
    /// Set for its commands and its process, for example to override its configuration.
    pub env: Vec<(String, String)>,
    running: Option<Child>,
}

fn failure(code: &str, zh: impl Into<String>, en: impl Into<String>) -> Failure {
    Failure::new(code, Exit::Error, zh, en)
}

impl Member {
    fn new(program: Program, exe: &Path, dir: PathBuf, port: u16) -> Self {
        let http = format!("http://127.0.0.1:{port}");
        Self {
            program,
            exe: exe.to_owned(),
            dir,
            http,
            http_port: port,
            env: Vec::new(),
            running: None,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.exe);
        command.arg(match self.program {
            Program::Hub => "hub",
            Program::Node => "node",
        });
        command.arg("--dir").arg(&self.dir);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the process's own command line with `--json` and reads its answer.
    ///
    /// # Errors
    /// The command failed; its message is passed on.
    pub async fn call<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T, Failure> {
        let output = self.command().arg("--json").args(args).stdin(Stdio::null()).output().await;
        let output =
            output.map_err(|error| failure("cannot_run", error.to_string(), error.to_string()))?;
        // An import with rejected rows ends with 3 and still reports.
        serde_json::from_slice(&output.stdout).map_err(|_unanswered| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            serde_json::from_str::<serde_json::Value>(&said)
                .ok()
                .and_then(|value| serde_json::from_value(value.get("error")?.clone()).ok())
                .unwrap_or_else(|| failure("command_failed", said.clone(), said))
        })
    }

    /// Starts serving and waits until it is ready. Its log goes to `<dir>.log`.
    ///
    /// # Errors
    /// It ended, or was not ready in time.
    pub async fn start(&mut self) -> Result<(), Failure> {
        let log = self.dir.with_extension("log");
        let file = File::options().create(true).append(true).open(&log);
        let io =
            |error: std::io::Error| failure("cannot_run", error.to_string(), error.to_string());
        let child = self
            .command()
            .arg("serve")
            .env(CHILD_ENV, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.map_err(io)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(io)?;
        let child = self.running.insert(child);
        let url = format!("{}/readyz", self.http);
        let until = tokio::time::Instant::now() + READY;
        loop {
            if let Ok(answer) = reqwest::get(&url).await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if child.try_wait().map_err(io)?.is_some() || tokio::time::Instant::now() > until {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(8).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(failure(
                    "not_ready",
                    format!("进程未能就绪，日志 {}：\n{tail}", log.display()),
                    format!("a process is not ready; see {}", log.display()),
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The process's number while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(Child::id)
    }

    /// Its status document.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Status, Failure> {
        self.get("/api/v1/status").await
    }

    /// An answer of its JSON API.
    ///
    /// # Errors
    /// It does not answer, or not with what was expected.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let url = format!("{}{path}", self.http);
        let answer = async { reqwest::get(&url).await?.error_for_status()?.json().await };
        answer.await.map_err(|error| {
            failure("no_answer", format!("{url} 没有应答：{error}"), format!("{url}: {error}"))
        })
    }

    fn ask_to_stop(&self) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself in the same moment.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Stops it: asks, waits, then kills.
    pub async fn stop(&mut self) {
        self.ask_to_stop();
        if let Some(mut child) = self.running.take()
            && tokio::time::timeout(STOP, child.wait()).await.is_err()
        {
            let _gone = child.kill().await;
        }
    }
}

/// A district's node.
#[derive(Debug)]
pub struct Node {
    /// Who it is.
    pub district: District,
    /// Its process.
    pub member: Member,
}

/// A hub and its nodes.
#[derive(Debug)]
pub struct City {
    /// The hub.
    pub hub: Member,
    /// The nodes in the order of the districts.
    pub nodes: Vec<Node>,
    base_port: u16,
}

impl City {
    /// A city below `dir`; nothing is started. `exe` is a program that is hub or node by its first argument.
    ///
    /// # Errors
    /// More districts than ports.
    pub fn new(
        exe: &Path,
        dir: &Path,
        base_port: u16,
        districts: &[District],
    ) -> Result<Self, Failure> {
        let hub = Member::new(Program::Hub, exe, dir.join("hub"), base_port);
        let nodes = districts
            .iter()
            .zip(1_u16..)
            .map(|(district, number)| {
                let port =
                    PORTS_APART.checked_mul(number).and_then(|more| base_port.checked_add(more));
                let port = port.filter(|port| *port < u16::MAX).ok_or_else(|| {
                    failure(
                        "too_many_districts",
                        "区过多，端口不够",
                        "not enough ports for so many districts",
                    )
                })?;
                let dir = dir.join(format!("node-{}", district.code));
                let member = Member::new(Program::Node, exe, dir, port);
                Ok(Node { district: district.clone(), member })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self { hub, nodes, base_port })
    }

    /// Starts the hub, making it first where there is none.
    ///
    /// # Errors
    /// It cannot be made or started.
    pub async fn start_hub(&mut self, city: &str) -> Result<(), Failure> {
        if !self.hub.dir.join("config.toml").exists() {
            let http = format!("127.0.0.1:{}", self.base_port);
            let grpc = format!("127.0.0.1:{}", self.base_port + 1);
            let url = format!("https://127.0.0.1:{}", self.base_port + 1);
            let args =
                ["init", "--city", city, "--http", &http, "--grpc", &grpc, "--public-url", &url];
            let _made: serde_json::Value = self.hub.call(&args).await?;
        }
        self.hub.start().await
    }

    /// Enrols a node where it has not joined yet; the hub must run.
    ///
    /// # Errors
    /// The hub or the node refuses.
    pub async fn enrol(&self, number: usize) -> Result<(), Failure> {
        let node = &self.nodes[number];
        if node.member.dir.join("anchor.json").exists() {
            return Ok(());
        }
        let District { code, name } = &node.district;
        let add = ["district", "add", "--code", code, "--name", name];
        let added: liandong_hub::command::DistrictAdded = self.hub.call(&add).await?;
        let http = format!("127.0.0.1:{}", node.member.http_port);
        let grpc = format!("127.0.0.1:{}", node.member.http_port + 1);
        let init = ["init", "--join", &added.token, "--http", &http, "--grpc", &grpc];
        let _joined: serde_json::Value = node.member.call(&init).await?;
        Ok(())
    }

    /// Stops every process, nodes first.
    pub async fn stop(&mut self) {
        for node in &self.nodes {
            node.member.ask_to_stop();
        }
        for node in &mut self.nodes {
            node.member.stop().await;
        }
        self.hub.stop().await;
    }
}
