//! Benchmarks that print JSON. The program is also the hub and the nodes that it measures.
//!
//! `cargo run --release -p liandong-tests --bin bench -- replicate|backlog|search|append --json`

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use liandong_server::output::{Exit, Failure, Output};
use liandong_tests::bench::{append, backlog, recover, replicate, search};

/// 联动基准测试 / Benchmarks of Liandong.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// 以 JSON 输出（默认也是）/ Print JSON, which is also the default
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// 首次同步与编辑可见时间 / First sync of a city, and time from edit to search
    Replicate(replicate::Size),
    /// 长期离线的区带着大量修改回来 / A district comes back with very many edits
    Backlog(backlog::Size),
    /// 中心目录被删后由各区节点重建 / The hub's directory is deleted and rebuilt from the nodes
    Recover(recover::Size),
    /// 检索延迟 / Latency of searches
    Search(search::Size),
    /// 日志追加 / Durable appends
    Append(append::Size),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match rest.first().and_then(|first| first.to_str()) {
        Some("hub") => liandong_pilot::city::child(|| liandong_hub::cli::main(rest.into_iter())),
        Some("node") => liandong_pilot::city::child(|| liandong_node::cli::main(rest.into_iter())),
        _ => run(Args::parse_from(std::iter::once(program).chain(rest))),
    }
}

fn run(args: Args) -> ExitCode {
    let output = Output::new(true);
    let result = match args.what {
        What::Replicate(size) => replicate::run(&size),
        What::Backlog(size) => backlog::run(&size),
        What::Recover(size) => recover::run(&size),
        What::Search(size) => search::run(&size),
        What::Append(size) => append::run(&size),
    };
    let figures = result
        .map_err(|error| Failure::new("bench", Exit::Error, error.to_string(), error.to_string()));
    match figures {
        Ok(figures) => {
            output.json(&figures);
            Exit::Ok.into()
        }
        Err(failure) => output.error(&failure).into(),
    }
}
