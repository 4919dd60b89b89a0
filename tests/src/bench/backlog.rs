//! One district comes back after a long time with very many edits: how fast it catches up, what the others feel of it,
//! and when its withdrawal is obeyed.

use std::time::Duration;

use liandong_node::{command::Command, import::plan::Report};
use liandong_pilot::{
    city::{City, Node},
    generate,
    report::Snapshot,
};
use liandong_server::admin;
use serde_json::{Value, json};

use super::{
    Failed, Watch, per_second, percentiles,
    replicate::{edit, found, peak_mib},
};

/// No catch-up may take longer.
const LONGEST: Duration = Duration::from_mins(10);
/// Between two looks at the hub.
const LOOK: Duration = Duration::from_millis(50);

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub struct Size {
    /// Districts.
    #[arg(long, default_value_t = 10)]
    districts: usize,
    /// Records of each district.
    #[arg(long, default_value_t = 1_000)]
    records: usize,
    /// Edits of the district that was away.
    #[arg(long, default_value_t = 10_000)]
    backlog: usize,
    /// How often it goes away and comes back.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Edits of the others that are measured while all is quiet.
    #[arg(long, default_value_t = 200)]
    edits: usize,
    /// First port.
    #[arg(long, default_value_t = 18_100)]
    base_port: u16,
}

/// Measures.
///
/// # Errors
/// A process fails.
pub fn run(size: &Size) -> Result<Value, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let dir = tempfile::tempdir()?;
        let districts = generate::districts(size.districts);
        let exe = std::env::current_exe()?;
        let mut city = City::new(&exe, dir.path(), size.base_port, &districts)?;
        for node in &mut city.nodes {
            node.member.env.push(("LIANDONG_RETRY__LONGEST_MS".to_owned(), "1000".to_owned()));
        }
        let measured = measure(size, &mut city, dir.path()).await;
        city.stop().await;
        measured
    })
}

async fn measure(size: &Size, city: &mut City, dir: &std::path::Path) -> Result<Value, Failed> {
    begin(size, city, dir).await?;
    let client = reqwest::Client::new();
    let mut quiet = Vec::new();
    for number in 0..size.edits {
        let node = &city.nodes[1 + number % (city.nodes.len() - 1)];
        quiet.push(edit(&client, city, node, &format!("qa{number:06}")).await?.0);
    }
    let mut live = Vec::new();
    for number in 0..size.edits.min(50) {
        let node = &city.nodes[1 + number % (city.nodes.len() - 1)];
        live.push(withdrawal(&client, city, node, &format!("qw{number:06}")).await?);
    }
    let (mut during, mut catch_up, mut obeyed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..size.rounds {
        let word = format!("qz{round:06}");
        let (_time, id) = edit(&client, city, &city.nodes[0], &word).await?;
        city.nodes[0].member.stop().await;
        import(&mut city.nodes[0], dir, size.backlog, &format!("，第{round}次修订")).await?;
        // The last thing it did while it was away: something leaves the public's sight.
        let withdraw = ["record", "withdraw", &id.to_string(), "--reason", "含个人信息"];
        let _done: Value = city.nodes[0].member.call(&withdraw).await?;
        let seq = city.nodes[0].member.call::<Value>(&["status"]).await?["feed"]["seq"].as_u64();
        let watch = Watch::start();
        city.nodes[0].member.start().await?;
        let city = &*city;
        let (times, caught_up, hidden) = tokio::try_join!(
            others(&client, city, round, seq, &watch),
            async {
                caught_up(city, seq).await?;
                Ok::<_, Failed>(watch.elapsed())
            },
            async {
                found(&client, city, &word, 0).await?;
                Ok(watch.elapsed())
            }
        )?;
        during.extend(times);
        catch_up.push(caught_up);
        obeyed.push(hidden);
    }
    level(city).await?;
    let catch_up_seconds: Vec<f64> = catch_up.iter().map(Duration::as_secs_f64).collect();
    let mut sorted = catch_up.clone();
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2];
    let (quiet, during) = (percentiles(quiet), percentiles(during));
    let ratio = during["p99"].as_f64().zip(quiet["p99"].as_f64()).map(|(d, q)| d / q);
    Ok(json!({
        "bench": "backlog",
        "what": "a district comes back with many edits: its catch-up, the others' edits, its withdrawal",
        "districts": size.districts,
        "backlog_ops": size.backlog,
        "rounds": size.rounds,
        "catch_up_seconds": catch_up_seconds,
        "ops_per_second": per_second(size.backlog, median),
        "edit_to_search_quiet_ms": quiet,
        "edit_to_search_during_ms": during,
        "p99_during_over_quiet": ratio,
        "aim_p99_during_over_quiet": 2.0,
        "withdrawal_live_ms": percentiles(live),
        "withdrawal_on_reconnect_ms": percentiles(obeyed),
        "hub_peak_mib": peak_mib(city.hub.pid()),
        "roots_equal": true,
    }))
}

/// A city whose districts hold their records, all of them at the hub.
async fn begin(size: &Size, city: &mut City, dir: &std::path::Path) -> Result<(), Failed> {
    city.start_hub("基准市").await?;
    for number in 0..city.nodes.len() {
        city.enrol(number).await?;
        let node = &mut city.nodes[number];
        let records = if number == 0 { size.backlog } else { size.records };
        import(node, dir, records, "").await?;
        node.member.start().await?;
    }
    level(city).await
}

/// Imports a district's catalogue, or edits all of it.
async fn import(
    node: &mut Node,
    dir: &std::path::Path,
    records: usize,
    revision: &str,
) -> Result<(), Failed> {
    let mut text = String::new();
    for mut row in generate::rows(&node.district, records, 1) {
        if let Some(summary) = row.get("信息资源摘要").and_then(Value::as_str) {
            let revised = format!("{summary}{revision}");
            row.insert("信息资源摘要".to_owned(), json!(revised));
        }
        text.push_str(&Value::Object(row).to_string());
        text.push('\n');
    }
    let file = dir.join(format!("{}.jsonl", node.district.code));
    std::fs::write(&file, text)?;
    let report: Report = node.member.call(&["import", &file.to_string_lossy()]).await?;
    if report.new + report.changed != records {
        return Err(format!("{} new and {} changed", report.new, report.changed).into());
    }
    Ok(())
}

/// Edits at the other districts until the one that was away has caught up.
async fn others(
    client: &reqwest::Client,
    city: &City,
    round: usize,
    seq: Option<u64>,
    watch: &Watch,
) -> Result<Vec<Duration>, Failed> {
    let mut times = Vec::new();
    for number in 0.. {
        let node = &city.nodes[1 + number % (city.nodes.len() - 1)];
        times.push(edit(client, city, node, &format!("qd{round:02}{number:05}")).await?.0);
        if mirrored(city).await? >= seq || watch.elapsed() > LONGEST {
            break;
        }
    }
    Ok(times)
}

/// What the hub shows of the first district.
async fn mirrored(city: &City) -> Result<Option<u64>, Failed> {
    let status = city.hub.status().await?;
    let code = &city.nodes[0].district.code;
    let district = status.districts.iter().flatten().find(|d| d.code.as_str() == code.as_str());
    Ok(district.filter(|district| district.lag_records == 0).map(|district| district.seq))
}

async fn caught_up(city: &City, seq: Option<u64>) -> Result<(), Failed> {
    let watch = Watch::start();
    while mirrored(city).await? < seq {
        if watch.elapsed() > LONGEST {
            return Err("the district did not catch up".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// A new record, found, then withdrawn: the time until the hub's search finds it no more.
async fn withdrawal(
    client: &reqwest::Client,
    city: &City,
    node: &Node,
    word: &str,
) -> Result<Duration, Failed> {
    let (_time, id) = edit(client, city, node, word).await?;
    let withdraw = Command::Withdraw { id, reason: "含个人信息".to_owned() };
    let watch = Watch::start();
    admin::call(&node.member.dir, &withdraw, |_| {}).await?;
    found(client, city, word, 0).await?;
    Ok(watch.elapsed())
}

async fn level(city: &City) -> Result<(), Failed> {
    let watch = Watch::start();
    while !Snapshot::of(city).await?.differences(city).is_empty() {
        if watch.elapsed() > LONGEST {
            return Err("node and hub did not become equal".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
