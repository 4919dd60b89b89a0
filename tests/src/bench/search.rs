//! Searches over HTTP in a large catalogue, beside the engine alone on the same index in the same run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::SigningKey;
use liandong_core::{
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::{Author, Op, Stamp},
};
use liandong_pilot::generate;
use liandong_server::{
    clock, keys,
    serve::{self, bind},
    site::{DistrictView, FeedStatus, IndexStatus, Role, Site, State, Status, ViewStatus},
};
use liandong_store::{Facet, Options, Query, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Failed, Watch, append::changes, per_second, percentiles, replicate::peak_mib};

/// Districts that the records are of.
const DISTRICTS: usize = 10;
/// Updates whose way to the searcher is measured under load.
const UPDATES: usize = 50;

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

/// One kind of question: how it is asked over HTTP, and of the engine.
struct Kind {
    name: &'static str,
    path: &'static str,
    text: &'static str,
    facets: bool,
}

/// Queries of people and programs; `facets=all` counts fourteen facets.
const KINDS: [Kind; 8] = [
    Kind { name: "one_term", path: "/api/v1/search?q=公交", text: "公交", facets: false },
    Kind {
        name: "two_terms",
        path: "/api/v1/search?q=医疗 名单",
        text: "医疗 名单",
        facets: false,
    },
    Kind {
        name: "phrase",
        path: "/api/v1/search?q=行政处罚信息",
        text: "行政处罚信息",
        facets: false,
    },
    Kind {
        name: "facets_one_term",
        path: "/api/v1/search?q=信息&facets=all",
        text: "信息",
        facets: true,
    },
    Kind {
        name: "facets_two_terms",
        path: "/api/v1/search?q=企业 信用&facets=all",
        text: "企业 信用",
        facets: true,
    },
    Kind { name: "facets_everything", path: "/api/v1/search?facets=all", text: "", facets: true },
    Kind {
        name: "filter_and_facets",
        path: "/api/v1/search?q=公交&open=1&format=CSV&facets=all",
        text: "公交",
        facets: true,
    },
    Kind { name: "suggestion", path: "/api/v1/suggest?q=图书", text: "图书", facets: false },
];

/// A city of one process: what a hub serves, without the federation around it.
struct Catalogue {
    store: Store,
    districts: Vec<DistrictView>,
}

impl Site for Catalogue {
    fn role(&self) -> Role {
        Role::Node
    }

    fn name(&self) -> String {
        "bench".to_owned()
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn status(&self) -> Status {
        let id = FeedId::new([0; 16]);
        Status {
            role: Role::Node,
            software: String::new(),
            feed: FeedStatus { id, seq: 0, hash: Hash::ZERO, damaged: None },
            view: ViewStatus { applied_seq: 0, root: Hash::ZERO, records: 0 },
            index: IndexStatus { applied_seq: 0, documents: self.store.documents() },
            districts: None,
            hub: None,
            city: None,
            recovery: None,
            backup: None,
        }
    }

    fn districts(&self) -> Vec<DistrictView> {
        self.districts.clone()
    }
}

/// Writes one district's feed into the store.
fn fill(store: &Store, number: usize, records: usize) -> Result<(FeedId, Author, Head), Failed> {
    let byte = u8::try_from(number + 1)?;
    let feed = FeedId::new([byte; 16]);
    let author = Author::new(feed, SigningKey::from_bytes(&[byte; 32]));
    store.open_feed(feed)?;
    let mut head = Head::EMPTY;
    let all = changes(feed, number, records)?;
    for batch in all.chunks(limit::BATCH_OPS_MAX) {
        let after = head;
        let mut ops: Vec<Op> = Vec::with_capacity(batch.len());
        for change in batch {
            let op = author.author(head, change.clone(), stamp())?;
            head = op.head();
            ops.push(op);
        }
        store.append(feed, after, ops).blocking_recv()??;
    }
    Ok((feed, author, head))
}

fn stamp() -> Stamp {
    let uid = keys::new_ulid().to_bytes();
    Stamp { now_ms: clock::now_ms(), uid, actor: "bench".to_owned() }
}

fn view(feed: FeedId, number: usize, records: usize) -> Result<DistrictView, Failed> {
    let district = generate::districts(number + 1).pop().ok_or("no district")?;
    Ok(DistrictView {
        code: district.code.parse()?,
        former: Vec::new(),
        name: district.name,
        feed: Some(feed),
        state: State::InSync,
        as_of_ms: Some(clock::now_ms()),
        records: records as u64,
        lag_records: 0,
    })
}

/// Measures.
///
/// # Errors
/// The store or the server fails.
pub fn run(size: &Size) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let options = Options { clock: clock::now_ms, ..Options::new(dir.path()) };
    let store = Store::open(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let watch = Watch::start();
    let (mut districts, mut feeds) = (Vec::new(), Vec::new());
    for number in 0..DISTRICTS {
        let (feed, author, head) = fill(&store, number, size.records / DISTRICTS)?;
        districts.push(view(feed, number, size.records / DISTRICTS)?);
        feeds.push((author, head));
    }
    for (author, head) in &feeds {
        runtime.block_on(store.indexed(author.feed(), head.seq));
    }
    let loaded = watch.elapsed();
    let served = Arc::new(Catalogue { store, districts });
    runtime.block_on(measure(size, served, feeds, loaded))
}

async fn measure(
    asked: &Size,
    site: Arc<Catalogue>,
    mut feeds: Vec<(Author, Head)>,
    loaded: Duration,
) -> Result<Value, Failed> {
    let listener = bind("127.0.0.1:0".parse()?).await.map_err(|failure| failure.to_string())?;
    let base = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(serve::http(listener, Arc::clone(&site) as Arc<dyn Site>, stopped));
    let client = reqwest::Client::builder().build()?;
    let mut kinds = serde_json::Map::new();
    for kind in &KINDS {
        kinds.insert(kind.name.to_owned(), ask(asked.rounds, &site, &client, &base, kind).await?);
    }
    let throughput = throughput(&client, &base, asked.rounds).await?;
    let visible = updates(&site, &client, &base, &mut feeds).await?;
    let rebuilt = rebuild(&site).await?;
    let _gone = stop.send(true);
    served.abort();
    Ok(json!({
        "bench": "search",
        "what": "GET over HTTP on one connection, 20 hits with their content; ratio = p99 over that of the engine \
                 alone: same compiled query, its own collectors, same run",
        "records": asked.records,
        "load_records_per_second": per_second(asked.records, loaded),
        "kinds": kinds,
        "facets_of_one_term_queries_per_second_2_connections": throughput,
        "update_to_visible_under_load_ms": visible,
        "rebuild_beside_seconds": rebuilt.as_secs_f64(),
        "peak_mib": peak_mib(Some(std::process::id())),
        "limits": { "p99_ms_100k": 10, "p99_ms_1m": 45, "ratio": 1.5, "rebuild_seconds_100k": 30 },
    }))
}

async fn get(client: &reqwest::Client, url: &str) -> Result<Value, Failed> {
    Ok(client.get(url).send().await?.error_for_status()?.json().await?)
}

async fn ask(
    rounds: usize,
    site: &Catalogue,
    client: &reqwest::Client,
    base: &str,
    kind: &Kind,
) -> Result<Value, Failed> {
    let url = format!("{base}{}", kind.path);
    let query = Query {
        text: kind.text.to_owned(),
        feeds: Some(site.districts.iter().filter_map(|district| district.feed).collect()),
        public_only: true,
        limit: 20,
        facets: if kind.facets { Facet::SHOWN.to_vec() } else { Vec::new() },
        today: Some(clock::today_shanghai()),
        ..Query::default()
    };
    let (mut ours, mut engine) = (Vec::new(), Vec::new());
    let mut hits = Value::Null;
    // The first round warms both up and is not counted.
    for round in 0..=rounds {
        let watch = Watch::start();
        let answer = get(client, &url).await?;
        let time = watch.elapsed();
        let watch = Watch::start();
        std::hint::black_box(site.store.search_bare(&query)?);
        if round > 0 {
            ours.push(time);
            engine.push(watch.elapsed());
        }
        hits = answer.get("records").cloned().unwrap_or_default();
    }
    let (ours, engine) = (percentiles(ours), percentiles(engine));
    let p99 = |figures: &Value| figures["p99"].as_f64().unwrap_or(0.0);
    let ratio = p99(&ours) / p99(&engine).max(1e-9);
    Ok(json!({ "records": hits, "http_ms": ours, "bare_ms": engine, "ratio_p99": ratio }))
}

/// Questions a second by two connections that ask without a pause.
async fn throughput(client: &reqwest::Client, base: &str, rounds: usize) -> Result<f64, Failed> {
    let url = format!("{base}/api/v1/search?q=信息&facets=all");
    let watch = Watch::start();
    let asker = async || {
        for _ in 0..rounds {
            get(client, &url).await?;
        }
        Ok::<(), Failed>(())
    };
    let (one, other) = tokio::join!(asker(), asker());
    one.and(other)?;
    Ok(per_second(rounds * 2, watch.elapsed()))
}

/// Time from a durable edit to the search that shows it, while somebody asks without a pause.
async fn updates(
    site: &Arc<Catalogue>,
    client: &reqwest::Client,
    base: &str,
    feeds: &mut [(Author, Head)],
) -> Result<Value, Failed> {
    let done = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (done, client) = (Arc::clone(&done), client.clone());
        let url = format!("{base}/api/v1/search?q=信息&facets=all");
        async move {
            while !done.load(Ordering::Acquire) {
                let _answer = get(&client, &url).await;
            }
        }
    });
    let (author, head) = feeds.first_mut().ok_or("no feed")?;
    let mut times = Vec::new();
    for number in 0..UPDATES {
        let mut change = changes(author.feed(), 0, 1)?.pop().ok_or("no change")?;
        change.subject = RecordId::new(author.feed(), keys::new_ulid()).to_bytes().to_vec();
        let op = author.author(*head, change, stamp())?;
        let (after, next) = (*head, op.head());
        let watch = Watch::start();
        let appended = site.store.append(author.feed(), after, vec![op]).await;
        appended.map_err(|_closed| format!("update {number} was not taken"))??;
        site.store.indexed(author.feed(), next.seq).await;
        times.push(watch.elapsed());
        *head = next;
    }
    done.store(true, Ordering::Release);
    load.await?;
    Ok(percentiles(times))
}

/// Time until a new index, built beside the serving one, serves.
async fn rebuild(site: &Catalogue) -> Result<Duration, Failed> {
    let before = site.store.index_generation();
    let watch = Watch::start();
    site.store.rebuild_index();
    let mut changes = site.store.watch();
    while site.store.index_generation() == before {
        changes.changed().await?;
    }
    Ok(watch.elapsed())
}
