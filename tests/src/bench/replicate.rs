//! A city's first sync with real processes on this machine, then the time from an edit at a node to the hub's search.

use std::time::Duration;

use liandong_core::id::RecordId;
use liandong_node::{command::Command, edit::Edited, import::plan::Report};
use liandong_pilot::{
    city::{City, Node},
    generate,
    report::Snapshot,
};
use liandong_server::{admin, command::read, site::Status};
use serde_json::{Value, json};

use super::{Failed, Watch, per_second, percentiles};

/// No sync may take longer.
const LONGEST: Duration = Duration::from_mins(15);
/// No single change may take longer to be seen.
const LONGEST_LOOK: Duration = Duration::from_mins(2);
/// Between two looks at the hub.
const LOOK: Duration = Duration::from_millis(50);

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub struct Size {
    /// Districts.
    #[arg(long, default_value_t = 10)]
    districts: usize,
    /// Records over all districts.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Edits that are measured.
    #[arg(long, default_value_t = 200)]
    edits: usize,
    /// First port.
    #[arg(long, default_value_t = 17_100)]
    base_port: u16,
}

/// Memory high-water mark of a process, mebibytes.
pub(super) fn peak_mib(pid: Option<u32>) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid?)).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
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
            // A node that found no hub for a while waits minutes; that is not what is measured.
            node.member.env.push(("LIANDONG_RETRY__LONGEST_MS".to_owned(), "1000".to_owned()));
        }
        let measured = measure(size, &mut city, dir.path()).await;
        city.stop().await;
        measured
    })
}

async fn measure(size: &Size, city: &mut City, dir: &std::path::Path) -> Result<Value, Failed> {
    city.start_hub("基准市").await?;
    for number in 0..city.nodes.len() {
        city.enrol(number).await?;
    }
    city.hub.stop().await;
    // The nodes hold everything before the hub is there: what is measured is the sync alone.
    let each = size.records / size.districts;
    for node in &mut city.nodes {
        let file = dir.join(format!("{}.jsonl", node.district.code));
        generate::write_jsonl(&file, &node.district, each, 1)?;
        let report: Report = node.member.call(&["import", &file.to_string_lossy()]).await?;
        if report.new != each {
            return Err(format!("{} of {each} rows were imported", report.new).into());
        }
        node.member.start().await?;
    }
    let total = (each * size.districts) as u64;
    city.hub.start().await?;
    let watch = Watch::start();
    let times = sync(city, total, watch).await?;
    while !Snapshot::of(city).await?.differences(city).is_empty() {
        if watch.elapsed() > LONGEST {
            return Err("node and hub did not become equal".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    let rate = |time: Option<Duration>| {
        time.map(|time| per_second(usize::try_from(total).unwrap_or(0), time))
    };
    let peak = peak_mib(city.hub.pid());
    let disk = json!({
        "journal": bytes_below(&city.hub.dir.join("data/journal")),
        "view": bytes_below(&city.hub.dir.join("data/view")),
        "index": bytes_below(&city.hub.dir.join("data/index")),
    });
    let edits = edits(size, city).await?;
    Ok(json!({
        "bench": "replicate",
        "what": "first sync: verified, durable, folded, indexed at the hub; hub and nodes on the same machine",
        "districts": size.districts,
        "records": total,
        "seconds": times.indexed.as_secs_f64(),
        "records_per_second": rate(Some(times.indexed)),
        "records_per_second_durable": rate(times.durable),
        "records_per_second_folded": rate(times.folded),
        "aim_records_per_second": 4000,
        "hub_peak_mib": peak,
        "aim_hub_peak_mib": 512,
        "hub_disk_bytes": disk,
        "edit_to_search_ms": edits,
        "aim_edit_to_search_p95_ms": 250,
        "roots_equal": true,
    }))
}

/// Moments of a sync, since its start.
struct Times {
    durable: Option<Duration>,
    folded: Option<Duration>,
    indexed: Duration,
}

/// Watches the hub until everything is searchable.
async fn sync(city: &City, total: u64, watch: Watch) -> Result<Times, Failed> {
    let (mut durable, mut folded) = (None, None);
    loop {
        let hub: Status = city.hub.status().await?;
        let stored: u64 = hub.districts.iter().flatten().map(|district| district.seq).sum();
        if stored == total && durable.is_none() {
            durable = Some(watch.elapsed());
        }
        if hub.view.records == total && folded.is_none() {
            folded = Some(watch.elapsed());
        }
        if hub.index.documents == total {
            let indexed = watch.elapsed();
            return Ok(Times { durable, folded, indexed });
        }
        if watch.elapsed() > LONGEST {
            return Err(format!("only {} of {total} records in time", hub.view.records).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// New records at one node after the other, each with a word of its own, looked for at the hub until it is found.
async fn edits(size: &Size, city: &City) -> Result<Value, Failed> {
    let client = reqwest::Client::new();
    let mut times = Vec::new();
    for number in 0..size.edits {
        let node = &city.nodes[number % city.nodes.len()];
        times.push(edit(&client, city, node, &format!("zq{number:06}")).await?.0);
    }
    Ok(percentiles(times))
}

/// A new record with a word of its own at a node: the time until the hub's search finds it, and its id.
pub(super) async fn edit(
    client: &reqwest::Client,
    city: &City,
    node: &Node,
    word: &str,
) -> Result<(Duration, RecordId), Failed> {
    let content = json!({
        "信息资源名称": format!("新增目录{word}"),
        "信息资源提供方": format!("{}政务数据中心", node.district.name),
        "信息资源摘要": "用于测量从区级编辑到全市检索可见的时间",
        "开放类型": "公开",
    });
    let put = Command::Put { id: None, content, expected: None };
    let watch = Watch::start();
    let edited: Edited = read(admin::call(&node.member.dir, &put, |_| {}).await?)?;
    found(client, city, word, 1).await?;
    Ok((watch.elapsed(), edited.id))
}

/// Waits until the hub's search finds a word so many times.
pub(super) async fn found(
    client: &reqwest::Client,
    city: &City,
    word: &str,
    times: u64,
) -> Result<(), Failed> {
    let url = format!("{}/api/v1/search?q={word}", city.hub.http);
    let watch = Watch::start();
    loop {
        let answer: Value = client.get(&url).send().await?.json().await?;
        if answer["total"] == times {
            return Ok(());
        }
        if watch.elapsed() > LONGEST_LOOK {
            return Err(format!("{word} is not found {times} times: {answer}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
