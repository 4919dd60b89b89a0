//! The hub's directory is gone: how long until the city is whole again from the hub's keys and the nodes.

use std::{path::Path, time::Duration};

use liandong_hub::recovery::{Recovered, RecoveryState};
use liandong_node::import::plan::Report;
use liandong_pilot::{city::City, generate, report::Snapshot};
use serde_json::{Value, json};

use super::{Failed, Watch, per_second, replicate::peak_mib};

/// Nothing that is waited for may take longer.
const LONGEST: Duration = Duration::from_mins(20);
/// Between two looks at the hub.
const LOOK: Duration = Duration::from_millis(100);

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub struct Size {
    /// Districts.
    #[arg(long, default_value_t = 10)]
    districts: usize,
    /// Records over all districts.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Decisions of curators.
    #[arg(long, default_value_t = 20)]
    decisions: usize,
    /// First port.
    #[arg(long, default_value_t = 19_100)]
    base_port: u16,
}

/// Measures.
///
/// # Errors
/// A process fails, or the city is not what it was.
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

async fn measure(size: &Size, city: &mut City, dir: &Path) -> Result<Value, Failed> {
    let total = fill(size, city, dir).await?;
    let (before, decided) = (city.hub.status().await?, decide(size, city).await?);
    wait("the nodes mirror every decision", async || mirrored(city).await).await?;
    let keys = dir.join("keys.tar.zst");
    let _kept: Value = city.hub.call(&["backup", &keys.to_string_lossy(), "--keys-only"]).await?;
    let feed = city.hub.status().await?.feed;
    city.hub.stop().await;
    std::fs::remove_dir_all(&city.hub.dir)?;

    let watch = Watch::start();
    let _made: Value = city.hub.call(&["init", "--recover", &keys.to_string_lossy()]).await?;
    city.hub.start().await?;
    let mut report = None;
    wait("the hub has its decisions back", async || {
        let state: RecoveryState = city.hub.call(&["recover", "status"]).await?;
        report = state.last.filter(|_| state.recovering.is_none());
        Ok(report.is_some())
    })
    .await?;
    let report: Recovered = report.ok_or("no report")?;
    let decisions = watch.elapsed();
    wait("every record is folded", async || Ok(city.hub.status().await?.view.records == total))
        .await?;
    let folded = watch.elapsed();
    wait("the roots are equal", async || {
        let snapshot = Snapshot::of(city).await?;
        let whole =
            snapshot.hub.index.documents == total && snapshot.hub.view.root == before.view.root;
        Ok(whole && snapshot.differences(city).is_empty())
    })
    .await?;
    let whole = watch.elapsed();
    let overlays: Value = city.hub.call(&["overlay", "list"]).await?;
    let kept = overlays.as_array().map_or(0, Vec::len);
    if kept != decided || (report.found.seq, report.found.hash) != (feed.seq, feed.hash) {
        return Err(format!("{kept} of {decided} decisions came back: {report:?}").into());
    }
    let ops: u64 = city.hub.status().await?.districts.iter().flatten().map(|d| d.seq).sum();
    Ok(json!({
        "bench": "recover",
        "what": "the hub's directory was deleted; its keys were kept; everything else came from the nodes",
        "districts": report.districts,
        "records": total,
        "seconds_until_decisions": decisions.as_secs_f64(),
        "seconds_until_folded": folded.as_secs_f64(),
        "seconds_until_whole": whole.as_secs_f64(),
        "records_per_second": per_second(usize::try_from(total)?, whole),
        "recovered_ops": ops,
        "recovered_hub_ops": report.decisions,
        "recovered_overlays": kept,
        "withheld": report.withheld,
        "incarnation": report.incarnation,
        "hub_peak_mib": peak_mib(city.hub.pid()),
        "roots_equal": true,
    }))
}

/// Fills the city and waits until the hub has it all. Returns the number of records.
async fn fill(size: &Size, city: &mut City, dir: &Path) -> Result<u64, Failed> {
    city.start_hub("基准市").await?;
    let each = size.records / size.districts;
    for number in 0..city.nodes.len() {
        city.enrol(number).await?;
        let node = &mut city.nodes[number];
        let file = dir.join(format!("{}.jsonl", node.district.code));
        generate::write_jsonl(&file, &node.district, each, 1)?;
        let report: Report = node.member.call(&["import", &file.to_string_lossy()]).await?;
        if report.new != each {
            return Err(format!("{} of {each} rows were imported", report.new).into());
        }
        node.member.start().await?;
    }
    let total = (each * size.districts) as u64;
    wait("the hub has every record", async || {
        let snapshot = Snapshot::of(city).await?;
        let searchable = snapshot.hub.index.documents == total;
        Ok(searchable && snapshot.differences(city).is_empty())
    })
    .await?;
    Ok(total)
}

/// Gives records of the districts, one after the other, a title of the city's. Returns how many.
async fn decide(size: &Size, city: &City) -> Result<usize, Failed> {
    let mut decided = 0;
    for node in &city.nodes {
        let limit = size.decisions.div_ceil(city.nodes.len()).to_string();
        let records: Value = node.member.call(&["record", "list", "--limit", &limit]).await?;
        for record in records.as_array().into_iter().flatten() {
            let id = record["id"].as_str().unwrap_or_default();
            let title = format!("全市名录{decided}");
            let _set: Value = city.hub.call(&["overlay", "set", id, "--title", &title]).await?;
            decided += 1;
        }
    }
    Ok(decided)
}

/// Whether every node mirrors all that the hub has decided.
async fn mirrored(city: &City) -> Result<bool, Failed> {
    let snapshot = Snapshot::of(city).await?;
    let seq = snapshot.hub.feed.seq;
    let here =
        |status: &liandong_server::site::Status| status.city.as_ref().map(|city| city.hub_seq);
    Ok(snapshot.nodes.iter().all(|status| here(status) == Some(seq)))
}

async fn wait(
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<bool, Failed>,
) -> Result<(), Failed> {
    let watch = Watch::start();
    while !condition().await? {
        if watch.elapsed() > LONGEST {
            return Err(format!("waited in vain until {what}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
