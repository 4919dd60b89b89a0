//! The command line of the node.

mod doctor;
mod inbox;
mod recover;
mod show;

use std::{
    ffi::OsString,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use liandong_core::id::{Hash, RecordId};
use liandong_server::{
    admin::AdminError,
    backup::{BackupArgs, RestoreArgs, VerifyArgs},
    command,
    identity::{Anchor, JoinToken},
    keys,
    output::{Exit, Explain as _, Failure, Output},
    search::SearchArgs,
    site::Role,
    telemetry,
};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    command::Command,
    config::Config,
    export,
    import::plan::{Options, Report},
    inbox::Inbox,
    join::{self, Addresses},
    key, serve, transfer,
};

/// Name and version, as the status shows them.
pub const SOFTWARE: &str = concat!("liandong-node/", env!("CARGO_PKG_VERSION"));

const EXAMPLES: &str = "示例 / Examples:
  liandong-node --dir pudong init --join LD1-…
  liandong-node --dir pudong serve
  liandong-node --dir pudong import 目录.xlsx --dry-run
  liandong-node --dir pudong import 目录.csv --error-sheet faults.csv
  liandong-node --dir pudong record list --limit 10
  liandong-node --dir pudong search 图书馆
  liandong-node --dir pudong search --city 图书馆 --district 310104
  liandong-node --dir pudong status --json
退出码 / Exit codes: 0 ok, 1 error, 2 usage, 3 validation, 4 conflict, 5 unreachable";

/// 联动区级节点：本区目录的编制、发布与同步 / A district's node of Liandong.
#[derive(Debug, Parser)]
#[command(name = "liandong-node", version, after_help = EXAMPLES)]
struct Cli {
    /// 数据目录 / Data directory
    #[arg(long, env = "LIANDONG_DIR", default_value = "liandong-node", global = true)]
    dir: PathBuf,
    /// 以 JSON 输出 / Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// 数据目录落后于守护文件时仍然写入 / Write although the directory is behind its guard
    #[arg(long, global = true)]
    offline_override: bool,
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// 用接入口令加入城市 / Join the city with a one-time token
    Init(Init),
    /// 运行节点 / Run the node
    Serve,
    /// 导入目录表格 / Import CSV, XLSX, JSON or JSON lines
    Import(Import),
    /// 单条目录 / Single records
    #[command(subcommand)]
    Record(RecordSub),
    /// 检索本区目录 / Search the district's catalogue
    Search {
        #[command(flatten)]
        args: SearchArgs,
        /// 检索全市目录（本地副本，离线可用） / Search the whole city in the local replica
        #[arg(long)]
        city: bool,
    },
    /// 导出目录 / Write the catalogue to a file
    Export {
        /// 输出文件 / File to write
        file: PathBuf,
        /// 格式 / Format
        #[arg(long, value_enum, default_value_t)]
        format: export::Format,
    },
    /// 申请依法删除一个版本的内容 / Ask the hub to erase the content of a version everywhere
    Redact {
        /// 编号 / Id
        id: RecordId,
        /// 版本：本区数据流中的序号 / The version: its position in this node's feed
        #[arg(long)]
        version: u64,
        /// 理由与法律依据 / Why, with the legal basis
        #[arg(long)]
        reason: String,
    },
    /// 目录移交 / Records that change hands between districts
    #[command(subcommand)]
    Transfer(transfer::Command),
    /// 签名密钥与证书 / Signing key and certificate
    #[command(subcommand)]
    Key(key::Command),
    /// 市级对本区的请求、冲突与隐藏 / What the city wants of this district
    Inbox,
    /// 答复市级的修改请求 / Answer the city's requests for changes
    #[command(subcommand, after_help = inbox::REQUEST_EXAMPLES)]
    Request(inbox::RequestSub),
    /// 运行状态 / State of the node and its link to the hub
    Status,
    /// 核对日志链、签名、视图与索引 / Check chain, signatures, view and index against the journal
    Verify,
    /// 由日志重建视图与索引 / Build view and index again from the journal
    Rebuild,
    /// 恢复、克隆或更换之后重新加入 / Join the feed again after a restore, a clone or a replacement
    Rejoin(recover::Rejoin),
    /// 修复损坏的日志：缺的从中心取回 / Make a damaged journal whole from what the hub has
    Repair,
    /// 本地冲突队列 / Records that this node and the hub both changed
    #[command(subcommand)]
    Conflict(recover::ConflictSub),
    /// 中心的回执 / The hub's receipts
    Receipts {
        /// 只列两边都已没有其操作的回执 / Only those for ops that neither side holds
        #[arg(long)]
        lost: bool,
    },
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
    /// 市级中心签发的一次性接入口令；“-”从标准输入读取 / One-time token of the hub; - reads standard input
    #[arg(long, env = "LIANDONG_JOIN_TOKEN", hide_env_values = true)]
    join: String,
    /// 市级中心的信任锚文件，接入时核对 / Anchor file of the hub; another hub is refused
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// 网页与接口的监听地址 / HTTP listens here
    #[arg(long, default_value = "127.0.0.1:7110")]
    http: SocketAddr,
    /// 程序接口的监听地址 / gRPC listens here
    #[arg(long, default_value = "127.0.0.1:7111")]
    grpc: SocketAddr,
}

#[derive(Debug, clap::Args)]
struct Import {
    /// 文件；“-”为标准输入 / Files; - is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// 只校验并报告，不写入 / Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// 文件是全量清单：撤回其中没有的目录 / The file is the full list: withdraw what is not in it
    #[arg(long)]
    delete_missing: bool,
    /// 确认撤回这么多条 / Agree to withdraw exactly so many
    #[arg(long, value_name = "N", requires = "delete_missing")]
    confirm_deletes: Option<usize>,
    /// 恢复文件中已撤回的目录 / Bring withdrawn records back that are in the file
    #[arg(long)]
    restore_withdrawn: bool,
    /// 把每行的每个问题写入此 CSV / Write every fault of every row to this CSV
    #[arg(long, value_name = "FILE")]
    error_sheet: Option<PathBuf>,
    /// csv, xlsx, xls, ods, json, jsonl
    #[arg(long)]
    format: Option<String>,
    /// 编码，如 gb18030 / Encoding
    #[arg(long)]
    encoding: Option<String>,
    /// 工作表名或序号 / Sheet by name or number
    #[arg(long)]
    sheet: Option<String>,
}

#[derive(Debug, Subcommand)]
enum RecordSub {
    /// 列出目录 / List records
    List {
        /// 从此编号之后 / After this id
        #[arg(long)]
        after: Option<RecordId>,
        /// 最多条数 / At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// 包括已撤回的 / Withdrawn ones too
        #[arg(long)]
        all: bool,
    },
    /// 显示一条 / Show one
    Show {
        /// 编号 / Id
        id: RecordId,
    },
    /// 新建或修改：JSON 文件，“-”为标准输入 / New or changed content from a JSON file
    Put {
        /// 文件 / File
        file: PathBuf,
        /// 修改这一条；不填则新建 / Change this one; a new one without
        #[arg(long)]
        id: Option<RecordId>,
        /// `读到的版本（op_hash），已被他人修改则拒绝` / Refuse if it is no longer this version
        #[arg(long)]
        expect: Option<Hash>,
    },
    /// 撤回 / Take it out of the catalogue
    Withdraw {
        /// 编号 / Id
        id: RecordId,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
    /// 恢复已撤回的一条 / Bring a withdrawn one back
    Restore {
        /// 编号 / Id
        id: RecordId,
    },
}

/// Runs the node's command line.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    command::start(cli.json, |output| async move {
        dispatch(cli, output).await.map_err(|error| error.explain())
    })
}

async fn dispatch(cli: Cli, output: Output) -> Result<Exit, AppError> {
    let dir = cli.dir.as_path();
    if cli.offline_override && matches!(cli.command, Sub::Import(_) | Sub::Record(_)) {
        run(dir, &Command::LiftGuard, output).await?;
    }
    let command = match cli.command {
        Sub::Init(init) => return initialise(dir, &init, output).await,
        Sub::Serve => return run_server(dir, cli.offline_override).await,
        Sub::Doctor => return doctor::doctor(dir, output).await,
        Sub::Import(import) => return import_files(dir, &import, output).await,
        Sub::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "liandong-node", &mut text);
            output.line(&String::from_utf8_lossy(&text));
            return Ok(Exit::Ok);
        }
        Sub::Record(sub) => record_command(sub)?,
        Sub::Search { args, city } => Command::Search(args.asked(city)),
        Sub::Export { file, format } => Command::Export { file: absolute(&file), format },
        Sub::Redact { id, version, reason } => Command::Redact { id, seq: version, reason },
        Sub::Transfer(command) => Command::Transfer(command),
        Sub::Key(command) => Command::Key(command),
        Sub::Inbox => Command::Inbox(Inbox::List),
        Sub::Request(sub) => sub.command()?,
        Sub::Status => Command::Status,
        Sub::Backup(args) => {
            let scope = args.scope();
            Command::Backup { to: absolute(&args.to), scope }
        }
        Sub::Restore(args) => return Ok(args.run(Role::Node, output, |_unpacked| Ok(())).await?),
        Sub::VerifyBackup(args) => return Ok(args.run(output).await?),
        Sub::Verify => Command::Verify,
        Sub::Rebuild => Command::Rebuild,
        Sub::Rejoin(rejoin) => {
            let (command, dry_run) = rejoin.command();
            let answer = run(dir, &command, output).await?;
            return recover::rejoin(answer, dry_run, output);
        }
        Sub::Conflict(sub) => sub.command()?,
        Sub::Receipts { lost } => Command::Receipts { lost },
        Sub::Repair => Command::Repair,
    };
    let answer = run(dir, &command, output).await?;
    show::answer(&command, answer, output)
}

fn record_command(sub: RecordSub) -> Result<Command, AppError> {
    Ok(match sub {
        RecordSub::List { after, limit, all } => Command::List { after, limit, all },
        RecordSub::Show { id } => Command::Show { id },
        RecordSub::Put { file, id, expect } => {
            Command::Put { id, content: read_json(&file)?, expected: expect }
        }
        RecordSub::Withdraw { id, reason } => Command::Withdraw { id, reason },
        RecordSub::Restore { id } => Command::Restore { id },
    })
}

fn read_json(file: &Path) -> Result<Value, AppError> {
    let text = command::read_text(file)?;
    Ok(serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            "not_json",
            Exit::Validation,
            format!("{} 不是有效的 JSON：{error}", file.display()),
            format!("{} is not valid JSON: {error}", file.display()),
        )
    })?)
}

/// The process that serves has another working directory.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_unknown| file.to_owned())
}

async fn run(dir: &Path, command: &Command, output: Output) -> Result<Value, AdminError> {
    command::run(dir, output, command, |progress| async move {
        let app = Arc::new(open(dir).map_err(|error| error.explain())?);
        app.resume_rejoin(&progress).await.map_err(|error| error.explain())?;
        app.run(command.clone(), progress).await
    })
    .await
}

fn open(dir: &Path) -> Result<App, AppError> {
    if !dir.join(crate::config::FILE).exists() {
        return Err(Failure::new(
            "no_node",
            Exit::Error,
            format!("{} 中没有节点", dir.display()),
            format!("there is no node in {}", dir.display()),
        )
        .remedy(
            "先运行 liandong-node init --join <口令>，或用 --dir 指定目录",
            "run liandong-node init --join <token> first, or name the directory with --dir",
        )
        .into());
    }
    App::open(dir, Config::load(dir, &[])?)
}

async fn initialise(dir: &Path, init: &Init, output: Output) -> Result<Exit, AppError> {
    let text =
        if init.join == "-" { command::read_text(Path::new("-"))? } else { init.join.clone() };
    let token: JoinToken = text
        .trim()
        .parse()
        .map_err(|error: liandong_server::identity::TokenError| error.explain())?;
    let addresses = Addresses { http: init.http, grpc: init.grpc };
    let anchor = init.anchor.as_deref().map(Anchor::read_file).transpose()?;
    let config = join::join(dir, &token, anchor.as_ref(), addresses).await?;
    if output.is_json() {
        output.json(&serde_json::json!({
            "dir": dir, "code": config.node.code, "name": config.node.name, "hub": config.hub.url,
        }));
    }
    output.line(&format!(
        "{}（{}）已加入 {} / joined",
        config.node.name, config.node.code, config.hub.url
    ));
    output.line("下一步 / next: liandong-node serve；liandong-node import 目录.xlsx");
    Ok(Exit::Ok)
}

async fn run_server(dir: &Path, offline_override: bool) -> Result<Exit, AppError> {
    let config = Config::load(dir, &[])?;
    // The filter was checked with the rest of the configuration.
    let _checked = telemetry::init(&config.log);
    let _installed = telemetry::metrics_handle();
    let app = Arc::new(tokio::task::block_in_place(|| App::open(dir, config))?);
    if offline_override {
        app.guard.lift();
    }
    serve::serve(app, dir).await?;
    Ok(Exit::Ok)
}

async fn import_files(dir: &Path, import: &Import, output: Output) -> Result<Exit, AppError> {
    let mut exit = Exit::Ok;
    for file in &import.files {
        let (path, _spooled) = spool(file)?;
        let command = Command::Import {
            file: path,
            format: import.format.clone(),
            encoding: import.encoding.clone(),
            sheet: import.sheet.clone(),
            options: Options {
                dry_run: import.dry_run,
                delete_missing: import.delete_missing,
                confirm_deletes: import.confirm_deletes,
                restore_withdrawn: import.restore_withdrawn,
            },
            error_sheet: import.error_sheet.as_deref().map(absolute),
        };
        let answer = run(dir, &command, output).await?;
        let report: Report = command::read(answer)?;
        if !report.rejected.is_empty() {
            exit = Exit::Validation;
        }
        if output.is_json() {
            output.json(&report);
        } else {
            show::report(file, &report, output);
        }
    }
    Ok(exit)
}

/// Standard input becomes a file that the serving process can read; it is removed when the guard is dropped.
fn spool(file: &Path) -> Result<(PathBuf, Option<Spooled>), AppError> {
    if file != Path::new("-") {
        return Ok((absolute(file), None));
    }
    let path = std::env::temp_dir().join(format!("liandong-import-{}", keys::new_ulid()));
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .and_then(|_size| liandong_server::config::write_private(&path, &bytes))
        .map_err(|error| {
            Failure::new(
                "cannot_read",
                Exit::Error,
                format!("无法读取标准输入：{error}"),
                error.to_string(),
            )
        })?;
    Ok((path.clone(), Some(Spooled(path))))
}

struct Spooled(PathBuf);

impl Drop for Spooled {
    fn drop(&mut self) {
        let _stays = std::fs::remove_file(&self.0);
    }
}
