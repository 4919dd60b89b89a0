//! The program: brings a city up, loads it, shows it, takes it down.

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use liandong_node::import::plan::Report;
use liandong_server::{
    command::stop_signal,
    output::{Exit, Failure, Output, table_text},
};

use crate::{
    city::City,
    report::{Document, HEADER, Imported, NodeReport, Snapshot},
    source::{Share, Source},
};

/// Between two looks at the city.
const LOOK: Duration = Duration::from_millis(200);
/// Between two tables on a terminal.
const TABLE: Duration = Duration::from_secs(1);
/// `--once` gives up when nothing has moved for so long.
const STUCK: Duration = Duration::from_mins(1);

const EXAMPLES: &str = "示例 / Examples:
  cargo run --release
  cargo run --release -- --districts 10 --records 1000
  cargo run --release -- --once --json --import catalogue.json --partition partition.csv
  cargo run --release -- --once --import first.json second.json";

/// 联动试点：一台机器上的市级中心与各区节点 / A city on one machine: hub and districts.
#[derive(Debug, Parser)]
#[command(name = "liandong-pilot", version, after_help = EXAMPLES)]
struct Args {
    /// 数据目录；再次使用则继续 / Directory; used again, the city goes on [pilot-data; with --once a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// 首个端口；各进程相隔 10 / First port; processes are 10 apart
    #[arg(long, default_value_t = 7100)]
    base_port: u16,
    /// 区的数量 / Districts
    #[arg(long, default_value_t = 4)]
    districts: usize,
    /// 每区生成的目录数 / Generated records a district
    #[arg(long, default_value_t = 500)]
    records: usize,
    /// 导入真实目录；无 --partition 时一个文件一个区 / Real catalogue; without --partition one file a district
    #[arg(long, num_args = 1..)]
    import: Vec<PathBuf>,
    /// `把导入文件分给各区：seq,node_code,node,department` / Splits the file among districts
    #[arg(long, requires = "import")]
    partition: Option<PathBuf>,
    /// 各区与中心一致后即退出（不一致则退出码 1）/ End when every root is equal, else with 1
    #[arg(long)]
    once: bool,
    /// 与 --once 一起：结果以 JSON 输出 / With --once: print the result as JSON
    #[arg(long, requires = "once")]
    json: bool,
}

/// Runs the pilot.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let output = Output::new(args.json);
    liandong_server::tls::install();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&args, output)),
        Err(error) => {
            Err(Failure::new("runtime", Exit::Error, error.to_string(), error.to_string()))
        }
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => output.error(&failure).into(),
    }
}

fn usage(zh: &str, en: &str) -> Failure {
    Failure::new("usage", Exit::Usage, zh, en)
}

fn source(args: &Args) -> Result<Source, Failure> {
    match (args.import.as_slice(), &args.partition) {
        ([], _) => Ok(Source::Generated { districts: args.districts, records: args.records }),
        ([file], Some(partition)) => {
            Ok(Source::Partitioned { file: file.clone(), partition: partition.clone() })
        }
        (_, Some(_)) => Err(usage(
            "--partition 只能与一个 --import 文件一起使用",
            "--partition goes with one --import file",
        )),
        (files, None) => Ok(Source::Files(files.to_vec())),
    }
}

async fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let source = source(args)?;
    let io = |error: std::io::Error| {
        Failure::new("cannot_write", Exit::Error, error.to_string(), error.to_string())
    };
    let temporary = match &args.dir {
        None if args.once => Some(tempfile::tempdir().map_err(io)?),
        _ => None,
    };
    let dir = match (&args.dir, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => PathBuf::from("pilot-data"),
    };
    let dir = std::path::absolute(&dir).map_err(io)?;
    let exe = std::env::current_exe().map_err(io)?;
    say("准备目录数据…… preparing the catalogue");
    let shares = source.shares(&dir.join("source"))?;
    let districts: Vec<_> = shares.iter().map(|share| share.district.clone()).collect();
    let mut city = City::new(&exe, &dir, args.base_port, &districts)?;
    let outcome = tokio::select! {
        outcome = drive(args, &mut city, &shares, output) => outcome,
        () = stop_signal() => Ok(Exit::Ok),
    };
    say("正在停止…… stopping");
    city.stop().await;
    outcome
}

async fn drive(
    args: &Args,
    city: &mut City,
    shares: &[Share],
    output: Output,
) -> Result<Exit, Failure> {
    let imports = bring_up(city, shares).await?;
    if args.once {
        return once(city, &imports, output).await;
    }
    say(&format!("市级门户 hub: {}（检索 search: {0}/search?q=公交）", city.hub.http));
    say("Ctrl-C 停止 / stops; 再次运行将继续 / run again to go on");
    show_for_ever(city).await
}

/// Starts hub and nodes, enrols who has not joined, imports.
async fn bring_up(city: &mut City, shares: &[Share]) -> Result<Vec<Imported>, Failure> {
    say("启动市级中心…… starting the hub");
    city.start_hub("试点市").await?;
    for number in 0..city.nodes.len() {
        let name = city.nodes[number].district.name.clone();
        say(&format!("接入 {name}…… enrolling"));
        city.enrol(number).await?;
        city.nodes[number].member.start().await?;
    }
    let mut imports = Vec::new();
    for (node, share) in city.nodes.iter().zip(shares) {
        let file = share.file.to_string_lossy().into_owned();
        let report: Report = node.member.call(&["import", &file]).await?;
        let imported = Imported::of(report, share);
        say(&format!(
            "{}：读取 {}，新增 {}，变更 {}，未变 {}，重复 {}，拒绝 {} / read, new, changed, unchanged, duplicates, rejected",
            share.district.name,
            imported.read,
            imported.new,
            imported.changed,
            imported.unchanged,
            imported.duplicates,
            imported.rejected.len()
        ));
        imports.push(imported);
    }
    Ok(imports)
}

/// Waits until everything is equal or nothing moves any more.
async fn settle(city: &City) -> Result<Snapshot, Failure> {
    let mut last = Vec::new();
    let mut moved = tokio::time::Instant::now();
    loop {
        let snapshot = Snapshot::of(city).await?;
        let differences = snapshot.differences(city);
        if differences.is_empty() || moved.elapsed() > STUCK {
            return Ok(snapshot);
        }
        if differences != last {
            last = differences;
            moved = tokio::time::Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn once(city: &City, imports: &[Imported], output: Output) -> Result<Exit, Failure> {
    let snapshot = settle(city).await?;
    let differences = snapshot.differences(city);
    let equal = differences.is_empty();
    if output.is_json() {
        let nodes = city
            .nodes
            .iter()
            .zip(&snapshot.nodes)
            .zip(imports)
            .map(|((node, status), import)| NodeReport {
                code: node.district.code.clone(),
                name: node.district.name.clone(),
                http: node.member.http.clone(),
                status: status.clone(),
                import: Some(import.clone()),
            })
            .collect();
        output.json(&Document { equal, differences, hub: snapshot.hub, nodes });
    } else {
        output.table(&HEADER, &snapshot.rows(city));
        for difference in &differences {
            output.line(&format!(
                "{} {}: node {} hub {}",
                difference.code, difference.what, difference.node, difference.hub
            ));
        }
        output.line(&format!(
            "全市 {} 条目录，根 {}：{}",
            snapshot.hub.view.records,
            snapshot.hub.view.root.short(),
            if equal {
                "各区与中心一致 / every root is equal"
            } else {
                "不一致 / not equal"
            }
        ));
    }
    Ok(if equal { Exit::Ok } else { Exit::Error })
}

/// The live table; on a terminal it is drawn anew in place, elsewhere printed when something changed.
async fn show_for_ever(city: &City) -> Result<Exit, Failure> {
    let terminal = std::io::stderr().is_terminal();
    let mut last = String::new();
    loop {
        let snapshot = Snapshot::of(city).await?;
        let table = table_text(&HEADER, &snapshot.rows(city), None);
        let text = format!(
            "{table}\n全市 city: {} 条目录 records，根 root {}，已索引 indexed {}/{}",
            snapshot.hub.view.records,
            snapshot.hub.view.root.short(),
            snapshot.hub.index.applied_seq,
            snapshot.hub.view.applied_seq
        );
        if terminal {
            let lines = last.lines().count();
            let up = if lines > 0 { format!("\u{1b}[{lines}A\u{1b}[J") } else { String::new() };
            say(&format!("{up}{text}"));
        } else if text != last {
            say(&text);
        }
        last = text;
        tokio::time::sleep(TABLE).await;
    }
}

/// Everything but the result goes to standard error.
fn say(text: &str) {
    // Nobody may be listening any more.
    let _closed = writeln!(std::io::stderr(), "{text}");
}
