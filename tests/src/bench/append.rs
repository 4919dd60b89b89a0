//! Durable appends to a node's own feed: one by one, and in batches.

use liandong_core::{
    id::{FeedId, RecordId},
    limit,
    mapping::{Mapping, RawRow},
    op::{Author, Change, OpType},
    validate,
};
use liandong_pilot::generate;
use liandong_server::{clock, keys};
use liandong_store::{Options, OwnFeed, Store};
use serde_json::{Value, json};

use super::{Failed, Watch, median, per_second, percentiles};

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub struct Size {
    /// Records appended in batches, each run.
    #[arg(long, default_value_t = 10_000)]
    records: usize,
    /// Records appended one by one.
    #[arg(long, default_value_t = 300)]
    single: usize,
    /// Runs.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Changes that put generated records into a feed.
///
/// # Errors
/// A generated row breaks a rule, which the generator's own tests exclude.
pub fn changes(feed: FeedId, district: usize, records: usize) -> Result<Vec<Change>, Failed> {
    let mapping = Mapping::builtin();
    let today = clock::today_shanghai();
    let district = generate::districts(district + 1).pop().ok_or("no district")?;
    generate::rows(&district, records, 1)
        .zip(1..)
        .map(|(row, number)| {
            let (draft, _) =
                mapping.draft(&RawRow { row: number, cells: row.into_iter().collect() });
            let record =
                validate::check(draft, today).record.ok_or("a generated row is refused")?;
            Ok(Change {
                kind: OpType::RecordPut,
                subject: RecordId::new(feed, keys::new_ulid()).to_bytes().to_vec(),
                base: None,
                visibility: record.visibility(),
                payload: record.to_bytes(),
            })
        })
        .collect()
}

/// A store with one own feed in a directory.
///
/// # Errors
/// The store cannot be opened.
pub fn open(dir: &std::path::Path) -> Result<(Store, OwnFeed), Failed> {
    let keys_dir = dir.join("keys");
    std::fs::create_dir_all(&keys_dir)?;
    let (_, author): (_, Author) = keys::create(&keys_dir)?;
    let store = Store::open(Options::new(dir.join("data")))?;
    let own = OwnFeed::new(author);
    store.open_feed(own.feed())?;
    Ok((store, own))
}

/// Measures.
///
/// # Errors
/// The store fails.
pub fn run(size: &Size) -> Result<Value, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut rates, mut singles) = (Vec::new(), Vec::new());
        for _ in 0..size.runs {
            let dir = tempfile::tempdir()?;
            let (store, own) = open(dir.path())?;
            let mut all = changes(own.feed(), 0, size.records + size.single)?;
            let single = all.split_off(size.records);
            let watch = Watch::start();
            for batch in all.chunks(limit::BATCH_OPS_MAX) {
                let mut turn = own.turn(&store).await;
                turn.write(batch.to_vec(), || keys::stamp("bench")).await?;
            }
            rates.push(per_second(size.records, watch.elapsed()));
            for change in single {
                let watch = Watch::start();
                let mut turn = own.turn(&store).await;
                turn.write(vec![change], || keys::stamp("bench")).await?;
                singles.push(watch.elapsed());
            }
        }
        Ok(json!({
            "bench": "append",
            "what": "sign, append, fsync, fold into the view",
            "records_per_second_in_batches": median(rates),
            "batch_ops": limit::BATCH_OPS_MAX,
            "single_ms": percentiles(singles),
            "runs": size.runs,
        }))
    })
}
