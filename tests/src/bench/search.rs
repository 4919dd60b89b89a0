//! Latency of searches over a large catalogue, with the store alone.

use liandong_core::limit;
use liandong_server::keys;
use liandong_store::Query;
use serde_json::{Value, json};

use super::{
    Failed, Watch,
    append::{changes, open},
    per_second, percentiles,
};

/// What people type.
const QUERIES: [&str; 12] = [
    "公交",
    "图书馆",
    "博物馆 藏品",
    "水",
    "停车场",
    "企业信用",
    "学校 名单",
    "2020年",
    "医疗机构",
    "行政处罚信息",
    "环境监测数据",
    "办事指南",
];

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub struct Size {
    /// Records in the catalogue.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Times that every query is asked.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

/// Measures.
///
/// # Errors
/// The store fails.
pub fn run(size: &Size) -> Result<Value, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let dir = tempfile::tempdir()?;
        let (store, own) = open(dir.path())?;
        let all = changes(own.feed(), 0, size.records)?;
        let watch = Watch::start();
        for batch in all.chunks(limit::BATCH_OPS_MAX) {
            let mut turn = own.turn(&store).await;
            turn.write(batch.to_vec(), || keys::stamp("bench")).await?;
        }
        let head = store.head(own.feed()).seq;
        store.indexed(own.feed(), head).await;
        let loaded = watch.elapsed();
        let mut queries = serde_json::Map::new();
        let mut every = Vec::new();
        for text in QUERIES {
            let query = Query { text: text.to_owned(), limit: 20, ..Query::default() };
            let mut times = Vec::new();
            let mut total = 0;
            for _ in 0..size.rounds {
                let watch = Watch::start();
                let answer = store.search(&query)?;
                for hit in &answer.hits {
                    std::hint::black_box(store.entry(hit.id)?);
                }
                times.push(watch.elapsed());
                total = answer.total;
            }
            every.extend_from_slice(&times);
            let figures = json!({ "hits": total, "ms": percentiles(times) });
            queries.insert(text.to_owned(), figures);
        }
        Ok(json!({
            "bench": "search",
            "what": "one query with its 20 best records read from the journal, one thread",
            "records": size.records,
            "load_records_per_second": per_second(size.records, loaded),
            "all_ms": percentiles(every),
            "queries": queries,
            "limit_p95_ms": 50,
        }))
    })
}
