//! Runs seeds of the simulated city: `cargo simulate --seeds 100000`, `cargo simulate --seed 42 --faults all --trace`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers")]

use std::process::ExitCode;

use clap::Parser;
use liandong_tests::simulation::{self, Faults, Plan, report};

/// 联动全市模拟 / The simulated city.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// 运行多少个种子 / How many seeds, from 0 on
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// 只运行这一个种子 / This seed only
    #[arg(long)]
    seed: Option<u64>,
    /// 从此种子开始 / The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// 故障：all、none 或逗号分隔 / What may go wrong: all, none, or names with commas between
    #[arg(long, default_value = "all")]
    faults: Faults,
    /// 每段步数，默认由种子决定 / Steps between two healings; drawn from the seed by default
    #[arg(long)]
    steps: Option<usize>,
    /// 打印每一步 / Print every step
    #[arg(long)]
    trace: bool,
    /// 以 JSON 输出 / Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = Plan { faults: args.faults, steps: args.steps, trace: args.trace };
    if let (Some(seed), true) = (args.seed, args.trace)
        && let Ok(done) = simulation::run(seed, &plan)
    {
        println!("{}", done.trace.join("\n"));
    }
    let seeds = args.seed.map_or(args.from..args.from + args.seeds, |seed| seed..seed + 1);
    let report = report::run_all(seeds, &plan, |done| {
        if !args.json {
            eprintln!("{done} …");
        }
    });
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text());
    }
    let Some(failure) = &report.failure else { return ExitCode::SUCCESS };
    let steps = args.steps.map(|steps| format!(" --steps {steps}")).unwrap_or_default();
    eprintln!("{failure}");
    eprintln!(
        "again: cargo simulate --seed {} --faults {}{steps} --trace",
        failure.seed, args.faults
    );
    ExitCode::FAILURE
}
