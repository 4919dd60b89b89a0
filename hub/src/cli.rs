//! The command line of the hub.

mod desk;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{CommandFactory as _, Parser, Subcommand};
use liandong_core::{id::DistrictCode, limit, wire::Verdict};
use liandong_server::{
    admin::AdminError,
    backup::{BackupArgs, RestoreArgs, VerifyArgs},
    clock, command,
    output::{Exit, Explain as _, Failure, Output},
    search::{self, SearchArgs},
    site::{State, Status},
    telemetry,
};
use serde_json::Value;

use crate::{
    app::App,
    archive::{self, ArchiveCommand},
    backup,
    command::{Command, DistrictAdded},
    config::Config,
    district,
    gate::HeldCommand,
    key,
    policy::PolicyCommand,
    recovery::{self, RecoverCommand},
    root, serve, transfer, vocabulary,
};

/// Name and version, as the status shows them.
pub const SOFTWARE: &str = concat!("liandong-hub/", env!("CARGO_PKG_VERSION"));

const EXAMPLES: &str = "示例 / Examples:
  liandong-hub --dir city init --city 上海市 --grpc 0.0.0.0:7101 --public-url https://hub.example.gov.cn:7101
  liandong-hub --dir city serve
  liandong-hub --dir city district add --code 310115 --name 浦东新区
  liandong-hub --dir city search 公交
  liandong-hub --dir city conflict list
  liandong-hub --dir city status --json
退出码 / Exit codes: 0 ok, 1 error, 2 usage, 3 validation, 4 conflict, 5 unreachable";

/// 联动市级中心：汇聚各区目录，提供全市检索 / The municipal hub of Liandong.
#[derive(Debug, Parser)]
#[command(name = "liandong-hub", version, after_help = EXAMPLES)]
struct Cli {
    /// 数据目录 / Data directory
    #[arg(long, env = "LIANDONG_DIR", default_value = "liandong-hub", global = true)]
    dir: PathBuf,
    /// 以 JSON 输出 / Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// 新建中心 / Make a new hub: keys, certificate authority, configuration
    Init(Init),
    /// 运行中心 / Run the hub
    Serve,
    /// 管理各区 / Districts
    #[command(subcommand)]
    District(DistrictSub),
    /// 目录移交 / Records that change hands between districts
    #[command(subcommand)]
    Transfer(transfer::Command),
    /// 各区与中心的签名密钥 / Signing keys of the districts and of the hub
    #[command(subcommand)]
    Key(KeySub),
    /// 写出信任锚文件，供节点接入时核对 / Write what nodes check the hub against when they join
    Anchor {
        /// 写入此文件 / Write it to this file
        #[arg(long)]
        out: PathBuf,
    },
    /// 各区的证书 / Certificates of the districts
    #[command(subcommand)]
    Cert(key::CertCommand),
    /// 检索全市目录 / Search the city's catalogue
    Search(SearchArgs),
    /// 等待人工确认的大批量变更 / Mass changes that wait for a person
    #[command(subcommand)]
    Held(HeldCommand),
    /// 全市规则 / Rules of the city
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// 检索词表：同义词与专用词 / What the search knows of words
    #[command(subcommand)]
    Vocabulary(vocabulary::Sub),
    #[command(flatten)]
    Desk(desk::DeskSub),
    /// 依法删除一条变更的内容：各处日志均删除，签名链保留 / Erase the content of an op everywhere; the chain stays
    Redact {
        /// 数据流或行政区划代码 / Feed or area code
        feed: String,
        /// 变更序号 / Position of the op
        seq: u64,
        /// 法律依据与理由 / The law it rests on, and why
        #[arg(long)]
        legal_basis: String,
    },
    /// 冲突台的操作员证书 / Certificates of operators, for programs
    #[command(subcommand)]
    Operator(crate::operator::OperatorCommand),
    /// 运行状态 / State of the hub and of every district
    Status,
    /// 核对日志链、签名、视图与索引 / Check chain, signatures, view and index against the journal
    Verify,
    /// 由日志重建视图与索引 / Build view and index again from the journal
    Rebuild,
    /// 节点放弃的操作 / What nodes gave up when they joined again
    #[command(subcommand)]
    Archive(ArchiveSub),
    /// 中心丢失数据后从各区节点恢复 / Recovery of a hub that lost its data from its nodes
    #[command(subcommand)]
    Recover(RecoverCommand),
    /// 联机备份，并恢复核对 / Make a backup while serving, and check it by restoring it
    Backup(BackupArgs),
    /// 从备份恢复为新目录 / Restore a backup as a new directory
    Restore(RestoreArgs),
    /// 恢复到临时目录并核对一份备份 / Restore a backup for a moment and check it
    VerifyBackup(VerifyArgs),
    /// 检查配置与环境 / Look for faults in configuration and surroundings
    Doctor,
    /// 输出命令补全脚本 / Shell completions
    Completions {
        /// bash, zsh, fish, powershell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
struct Init {
    /// 城市名称 / Name of the city
    #[arg(long, default_value = "本市")]
    city: String,
    /// 网页与接口的监听地址 / HTTP listens here
    #[arg(long, default_value = "127.0.0.1:7100")]
    http: SocketAddr,
    /// 节点接入的监听地址 / gRPC listens here
    #[arg(long, default_value = "0.0.0.0:7101")]
    grpc: SocketAddr,
    /// 节点拨入的地址，写入接入口令 / What nodes dial; goes into join tokens
    #[arg(long)]
    public_url: Option<String>,
    /// 用原有密钥重建丢失的中心：含 keys 与 ca 的目录，或一份备份 / Rebuild a lost hub with its keys: their folder, or a backup
    #[arg(long, value_name = "KEYS_OR_BACKUP")]
    recover: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum DistrictSub {
    /// 登记一个区并签发一次性接入口令；已登记未接入的区则重新签发 / Add a district and print its one-time join token
    Add {
        /// 行政区划代码 / Area code, for example 310115
        #[arg(long)]
        code: DistrictCode,
        /// 区名 / Name
        #[arg(long)]
        name: Option<String>,
        /// 口令有效期（秒）/ How long the token is good, seconds
        #[arg(long, default_value_t = limit::TOKEN_TTL_SECS)]
        token_ttl_secs: u64,
    },
    /// 列出各区 / List the districts
    List,
    #[command(flatten)]
    Change(district::Command),
}

#[derive(Debug, Subcommand)]
enum KeySub {
    #[command(flatten)]
    District(key::Command),
    #[command(flatten)]
    Hub(root::Sub),
}

#[derive(Debug, Subcommand)]
enum ArchiveSub {
    /// 列出归档：何时、何人、为何 / List them: when, by whom, why
    List,
    /// 显示一个数据流的归档操作 / Show the ops of one feed's tails
    Show {
        /// 数据流或行政区划代码 / Feed or area code
        feed: String,
    },
}

/// Runs the hub's command line.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    command::start(cli.json, |output| dispatch(cli, output))
}

async fn dispatch(cli: Cli, output: Output) -> Result<Exit, Failure> {
    let dir = cli.dir.clone();
    let command = match cli.command {
        Sub::Init(init) => return initialise(&dir, &init, output),
        Sub::Serve => return run_server(&dir).await,
        Sub::Doctor => return doctor(&dir, output).await,
        Sub::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "liandong-hub", &mut text);
            output.line(&String::from_utf8_lossy(&text));
            return Ok(Exit::Ok);
        }
        Sub::District(DistrictSub::Add { code, name, token_ttl_secs }) => {
            Command::DistrictAdd { code, name, token_ttl_secs }
        }
        Sub::District(DistrictSub::Change(command)) => Command::District(command),
        Sub::Redact { feed, seq, legal_basis } => Command::Redact { feed, seq, legal_basis },
        Sub::Transfer(command) => Command::Transfer(command),
        Sub::Key(KeySub::District(command)) => Command::Key(command),
        Sub::Key(KeySub::Hub(sub)) => {
            let call = |command: Command| {
                let dir = dir.clone();
                async move { run(&dir, &command, output).await }
            };
            return root::run(sub, output, call).await;
        }
        Sub::Anchor { out } => {
            let anchor = run(&dir, &Command::HubKey(root::Command::Anchor), output).await?;
            return root::write_anchor(anchor, &out, output);
        }
        Sub::Cert(command) => Command::Cert(command),
        Sub::District(DistrictSub::List) | Sub::Status => Command::Status,
        Sub::Search(args) => Command::Search(args.asked(false)),
        Sub::Held(held) => Command::Held(held),
        Sub::Policy(policy) => Command::Policy(policy),
        Sub::Vocabulary(sub) => Command::Vocabulary(sub.command()?),
        Sub::Desk(sub) => Command::Desk(sub.command()?),
        Sub::Recover(recover) => Command::Recover(recover),
        Sub::Operator(command) => Command::Operator(command),
        Sub::Backup(args) => {
            let scope = args.scope();
            Command::Backup { to: absolute(&args.to), scope }
        }
        Sub::Restore(args) => return backup::restore(args, output).await,
        Sub::VerifyBackup(args) => return args.run(output).await,
        Sub::Verify => Command::Verify,
        Sub::Rebuild => Command::Rebuild,
        Sub::Archive(ArchiveSub::List) => Command::Archive(ArchiveCommand::List),
        Sub::Archive(ArchiveSub::Show { feed }) => Command::Archive(ArchiveCommand::Show { feed }),
    };
    let answer = run(&dir, &command, output).await?;
    show(&command, answer, output)
}

/// The process that serves has another working directory.
fn absolute(file: &std::path::Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_unknown| file.to_owned())
}

async fn run(
    dir: &std::path::Path,
    command: &Command,
    output: Output,
) -> Result<Value, AdminError> {
    command::run(dir, output, command, |progress| async move {
        let app = Arc::new(open(dir)?);
        app.run(command.clone(), progress).await
    })
    .await
}

fn open(dir: &std::path::Path) -> Result<App, Failure> {
    let config = Config::load(dir, &[]).map_err(|error| error.explain())?;
    App::open(dir, config).map_err(|error| error.explain())
}

fn initialise(dir: &std::path::Path, init: &Init, output: Output) -> Result<Exit, Failure> {
    let mut config = Config::default();
    config.hub.city.clone_from(&init.city);
    config.http.listen = init.http;
    config.grpc.listen = init.grpc;
    config.grpc.public_url.clone_from(&init.public_url);
    config.grpc.validate().map_err(|error| error.explain())?;
    match &init.recover {
        Some(from) => backup::recover(from, dir, &config)?,
        None => App::init(dir, &config).map_err(|error| error.explain())?,
    }
    let authority = liandong_server::identity::Authority::open(&dir.join(crate::app::CA_DIR))
        .map_err(|error| error.explain())?;
    if output.is_json() {
        output.json(&serde_json::json!({ "dir": dir, "ca_fingerprint": authority.fingerprint() }));
    } else {
        output.line(&format!("已在 {} 建立市级中心 / the hub was made", dir.display()));
        output.line(&format!("CA 指纹 / CA fingerprint: {}", authority.fingerprint()));
        let next = if init.recover.is_some() {
            "下一步 / next: liandong-hub serve；liandong-hub recover status"
        } else {
            "下一步 / next: liandong-hub serve；liandong-hub district add --code … --name …"
        };
        output.line(next);
    }
    let root = dir.join(root::ROOT_FILE);
    if root.exists() {
        root::warn_of_root(&root, output);
    }
    Ok(Exit::Ok)
}

async fn run_server(dir: &std::path::Path) -> Result<Exit, Failure> {
    let config = Config::load(dir, &[]).map_err(|error| error.explain())?;
    // The filter was checked with the rest of the configuration.
    let _checked = telemetry::init(&config.log);
    let _installed = telemetry::metrics_handle();
    let app = tokio::task::block_in_place(|| App::open(dir, config));
    let app = Arc::new(app.map_err(|error| error.explain())?);
    serve::serve(app, dir).await?;
    Ok(Exit::Ok)
}

fn show(command: &Command, answer: Value, output: Output) -> Result<Exit, Failure> {
    if output.is_json() {
        output.json(&answer);
    }
    match command {
        Command::DistrictAdd { .. } | Command::District(district::Command::Replace { .. }) => {
            let added: DistrictAdded = command::read(answer)?;
            output.line(&format!("{}（{}）接入口令 / join token:", added.name, added.code));
            output.line(&added.token);
            output.line(&format!(
                "有效期至 / good until {}，只能使用一次 / once",
                clock::format_shanghai(added.expires_ms)
            ));
            output.line(&format!("CA 指纹 / CA fingerprint: {}", added.ca_fingerprint));
            output.line("在区节点运行 / at the district: liandong-node init --join <口令>");
        }
        Command::District(command) => district::show(command, output),
        Command::Redact { seq, .. } => {
            output.line(&format!("第 {seq} 条的内容将在各处删除 / op {seq} is erased everywhere"));
            command::show_unreached(output);
        }
        Command::Transfer(command) => transfer::show(command, answer, output)?,
        Command::Key(command) => key::show(command, answer, output)?,
        // Shown by the command line that asked in several steps.
        Command::HubKey(_) => {}
        Command::Cert(key::CertCommand::Revoke { fingerprint, .. }) => {
            output.line(&format!("已吊销 / revoked: {fingerprint}"));
        }
        Command::Status => show_status(&command::read(answer)?, output),
        Command::Search(_) => search::show(answer, output)?,
        Command::Vocabulary(_) => vocabulary::show(answer, output)?,
        Command::Held(held) => crate::gate::show(held, answer, output)?,
        Command::Policy(_) => crate::policy::show(answer, output)?,
        Command::Rebuild => output.line("正在重建 / rebuilding"),
        Command::Archive(_) => archive::print(answer, output)?,
        Command::Desk(command) => desk::show(command, answer, output)?,
        Command::Recover(recover) => recovery::show(recover, answer, output)?,
        Command::Operator(command) => crate::operator::show(command, answer, output)?,
        Command::Backup { .. } => {
            return Ok(liandong_server::backup::show_taken(&command::read(answer)?, output));
        }
        Command::Verify => return Ok(command::show_verified(&command::read(answer)?, output)),
    }
    Ok(Exit::Ok)
}

fn show_status(status: &Status, output: Output) {
    output.line(&format!(
        "{}  记录 {}  根 {}  已索引 {}/{}",
        status.software,
        status.view.records,
        status.view.root.short(),
        status.index.applied_seq,
        status.view.applied_seq
    ));
    if let Some(recovery) = &status.recovery {
        output.line(recovery);
    }
    if let Some(backup) = &status.backup {
        liandong_server::backup::show_status(backup, output);
    }
    let rows: Vec<Vec<String>> = status
        .districts
        .iter()
        .flatten()
        .map(|district| {
            let seen = district.last_contact.map(|at| clock::ago(clock::now_ms(), at).0);
            vec![
                district.code.to_string(),
                district.name.clone(),
                format!("{} {}", district.state.label().0, district.state.label().1),
                district.records.to_string(),
                district.seq.to_string(),
                district.lag_records.to_string(),
                district.quarantined.to_string(),
                seen.unwrap_or_else(|| "—".to_owned()),
                district.view_root.short(),
            ]
        })
        .collect();
    let header = [
        "代码",
        "区 District",
        "状态 State",
        "目录",
        "序号",
        "待传",
        "隔离",
        "最近联系",
        "根 Root",
    ];
    output.table(&header, &rows);
    for district in status.districts.iter().flatten() {
        // A copy of the node may be frozen while the node itself is in sync.
        let frozen = [Verdict::Rollback, Verdict::Fork].map(|verdict| Some(verdict.name()));
        let told = frozen.contains(&district.verdict.as_deref())
            || matches!(
                district.state,
                State::Rollback
                    | State::Fork
                    | State::Diverged
                    | State::Damaged
                    | State::Suspended
                    | State::Refused
            );
        if let Some(explain) = district.explain.as_ref().filter(|_| told) {
            output.line(&format!("{}：{explain}", district.name));
        }
    }
}

/// Looks at what can be seen without starting: configuration, keys, ports, disk, journal.
async fn doctor(dir: &std::path::Path, output: Output) -> Result<Exit, Failure> {
    let mut checks: Vec<command::Check> = Vec::new();
    checks.push((
        "配置 configuration",
        Config::load(dir, &[])
            .map(|config| format!("http {} grpc {}", config.http.listen, config.grpc.listen))
            .map_err(|error| error.explain()),
    ));
    let authority = liandong_server::identity::Authority::open(&dir.join(crate::app::CA_DIR));
    checks.push((
        "证书机构 authority",
        authority.map(|authority| authority.fingerprint()).map_err(|error| error.explain()),
    ));
    let root = dir.join(root::ROOT_FILE);
    let moved = if root.exists() {
        Err(Failure::new(
            "root_key_here",
            Exit::Error,
            format!("根密钥仍在本机：{}", root.display()),
            format!("the root key is still here: {}", root.display()),
        )
        .remedy("移到离线介质并从本机删除", "move it to offline media"))
    } else {
        Ok("不在本机 / not here".to_owned())
    };
    checks.push(("根密钥 root key", moved));
    checks.push((
        "数据 data",
        run(dir, &Command::Status, output)
            .await
            .and_then(command::read::<Status>)
            .map(|status| format!("{} 条目录 / records", status.view.records)),
    ));
    Ok(command::show_checks(&checks, output))
}
