//! Whether people find what they look for: 290 queries on the real catalogues, with the records that must come.
//!
//! The first line of `tests/golden/queries.jsonl` says how they were made and how they are counted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::cast_precision_loss, reason = "figures of a few hundred queries")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use ed25519_dalek::SigningKey;
use liandong_core::id::{FeedId, Head, RecordId};
use liandong_core::limit;
use liandong_core::mapping::Mapping;
use liandong_core::op::{Author, Change, Op, OpType, Stamp};
use liandong_core::record::{Record, Visibility};
use liandong_core::search::{bare, fold};
use liandong_core::validate::check;
use liandong_node::import::{ReadOptions, read};
use liandong_store::{Options, Query, Sort, SortBy, Store};
use serde::Deserialize;
use ulid::Ulid;

use crate::duplicate::real;

/// Least figures; a change that falls below them is not taken.
const NDCG_MIN: f64 = 0.90;
const RECALL_MIN: f64 = 0.95;
const MRR_MIN: f64 = 0.90;
/// The day of the questions, milliseconds since 1970.
const NOW_MS: i64 = 1_795_363_200_000;
/// Hits that a person looks at.
const SEEN: usize = 10;

#[derive(Debug, Deserialize)]
struct Corpus {
    corpus: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    source: String,
    row: u64,
    title: String,
    grade: u32,
    #[serde(default)]
    also: Vec<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    source: String,
    row: u64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Typed {
    Text(String),
    Repeated { repeat: (String, usize) },
}

#[derive(Debug, Deserialize)]
struct Asked {
    query: Typed,
    kind: String,
    wanted: Vec<Wanted>,
    first: Option<usize>,
    #[serde(default)]
    hint: Option<String>,
}

impl Typed {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Repeated { repeat: (text, times) } => vec![text.as_str(); *times].join(" "),
        }
    }
}

/// The corpus in one store, and which row each record is.
struct Library {
    store: Store,
    records: BTreeMap<RecordId, (String, u64, Record)>,
    _dir: tempfile::TempDir,
}

fn wait(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future);
}

impl Library {
    fn of(folder: &Path, files: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        let mapping = Mapping::builtin();
        let mut records = BTreeMap::new();
        for (number, file) in (1_u8..).zip(files) {
            let feed = FeedId::new([number; 16]);
            let author = Author::new(feed, SigningKey::from_bytes(&[number; 32]));
            store.open_feed(feed).unwrap();
            let table = read(&folder.join(file), &ReadOptions::default()).unwrap();
            let (mut head, mut ops): (Head, Vec<Op>) = (Head::EMPTY, Vec::new());
            for row in &table.rows {
                let checked = check(mapping.draft(row).0, "2026-11-23".parse().unwrap());
                let Some(record) = checked.record else { continue };
                let id = RecordId::new(feed, Ulid(u128::from(row.row)));
                let change = Change {
                    kind: OpType::RecordPut,
                    subject: id.to_bytes().to_vec(),
                    base: None,
                    payload: record.to_bytes(),
                    visibility: Visibility::Public,
                };
                let uid = id.to_bytes()[16..].try_into().unwrap();
                let stamp = Stamp { now_ms: NOW_MS, uid, actor: String::new() };
                let op = author.author(head, change, stamp).unwrap();
                head = op.head();
                ops.push(op);
                records.insert(id, (file.clone(), row.row, record));
            }
            let mut after = Head::EMPTY;
            for batch in ops.chunks(limit::BATCH_OPS_MAX) {
                after = store.append(feed, after, batch.to_vec()).blocking_recv().unwrap().unwrap();
            }
            wait(store.indexed(feed, head.seq));
        }
        Self { store, records, _dir: dir }
    }

    fn query(text: &str) -> Query {
        Query {
            text: text.to_owned(),
            public_only: true,
            limit: 40,
            relax: true,
            today: Some("2026-11-23".parse().unwrap()),
            ..Query::default()
        }
    }

    /// The first hits, without further copies of what came before.
    fn hits(&self, text: &str) -> Vec<RecordId> {
        let answer = self.store.search(&Self::query(text)).unwrap();
        let mut known: HashSet<(String, String)> = HashSet::new();
        let copy_of = |id: &RecordId| {
            let (file, _, record) = &self.records[id];
            // The region and its capital publish one list each of what the capital has.
            let provider = fold(&record.provider.name);
            let place = if file.starts_with("ningxia") { String::new() } else { provider };
            (bare(&record.title), place)
        };
        let new = answer.hits.into_iter().map(|hit| hit.id);
        new.filter(|id| known.insert(copy_of(id))).take(SEEN).collect()
    }
}

/// What one query gains.
struct Gain {
    ndcg: f64,
    recall: f64,
    reciprocal: f64,
}

fn gain(library: &Library, asked: &Asked, hits: &[RecordId]) -> Gain {
    let place_of = |wanted: &Wanted| {
        let is = |id: &RecordId| {
            let (file, row, record) = &library.records[id];
            let named = |source: &str, at: u64| file == source && *row == at;
            named(&wanted.source, wanted.row)
                || wanted.also.iter().any(|also| named(&also.source, also.row))
                || (bare(&record.title) == bare(&wanted.title)
                    && *file == wanted.source
                    && *row == wanted.row)
        };
        hits.iter().position(is)
    };
    let worth = |grade: u32| f64::from(2_u32.pow(grade) - 1);
    let discount = |place: usize| (place as f64 + 2.0).log2();
    let places: Vec<Option<usize>> = asked.wanted.iter().map(place_of).collect();
    let gained: f64 = asked
        .wanted
        .iter()
        .zip(&places)
        .filter_map(|(wanted, place)| Some(worth(wanted.grade) / discount((*place)?)))
        .sum();
    let mut grades: Vec<u32> = asked.wanted.iter().map(|wanted| wanted.grade).collect();
    grades.sort_unstable_by(|a, b| b.cmp(a));
    let best: f64 =
        grades.iter().enumerate().map(|(place, grade)| worth(*grade) / discount(place)).sum();
    let found = places.iter().flatten().count();
    let wanted_first = asked.first.map(|first| places[first]);
    let first = wanted_first.unwrap_or_else(|| places.iter().flatten().min().copied());
    Gain {
        ndcg: gained / best,
        recall: found as f64 / asked.wanted.len() as f64,
        reciprocal: first.map_or(0.0, |place| 1.0 / (place as f64 + 1.0)),
    }
}

fn asked() -> (Corpus, Vec<Asked>) {
    let text = include_str!("../../golden/queries.jsonl");
    let mut lines = text.lines();
    let corpus = serde_json::from_str(lines.next().unwrap()).unwrap();
    (corpus, lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn people_find_what_they_look_for() {
    let Some(folder) = real() else { return };
    let (corpus, all) = asked();
    let library = Library::of(&folder, &corpus.corpus);
    let mut kinds: BTreeMap<&str, Vec<Gain>> = BTreeMap::new();
    for asked in &all {
        let text = asked.query.text();
        let mut hits = library.hits(&text);
        if asked.wanted.is_empty() {
            continue;
        }
        if let Some(meant) = &asked.hint {
            let hint = library.store.hint(&Library::query(&text)).unwrap();
            // Found at once is as good as told what was meant.
            if gain(&library, asked, &hits).recall < 1.0 {
                hits = hint.as_deref().map_or_else(Vec::new, |hint| library.hits(hint));
                if hint.as_ref() != Some(meant) {
                    println!("{text}: hint {hint:?}, meant {meant}");
                }
            }
        }
        let gain = gain(&library, asked, &hits);
        if gain.ndcg < 0.8 || gain.recall < 1.0 {
            println!(
                "{} {text}: nDCG {:.2}, recall {:.2}, {:?}",
                asked.kind,
                gain.ndcg,
                gain.recall,
                hits.iter().take(3).map(|id| &library.records[id].2.title).collect::<Vec<_>>()
            );
        }
        kinds.entry(&asked.kind).or_default().push(gain);
    }
    let mean = |gains: &[&Gain], of: fn(&Gain) -> f64| {
        gains.iter().map(|gain| of(gain)).sum::<f64>() / gains.len() as f64
    };
    let figures = |gains: &[&Gain]| {
        [mean(gains, |g| g.ndcg), mean(gains, |g| g.recall), mean(gains, |g| g.reciprocal)]
    };
    for (kind, gains) in &kinds {
        let [ndcg, recall, mrr] = figures(&gains.iter().collect::<Vec<_>>());
        println!(
            "{kind:<18} {:>3}  nDCG@10 {ndcg:.3}  recall@10 {recall:.3}  MRR {mrr:.3}",
            gains.len()
        );
    }
    let every: Vec<&Gain> = kinds.values().flatten().collect();
    let [ndcg, recall, mrr] = figures(&every);
    println!(
        "{:<18} {:>3}  nDCG@10 {ndcg:.3}  recall@10 {recall:.3}  MRR {mrr:.3}",
        "all",
        every.len()
    );
    assert!(ndcg >= NDCG_MIN && recall >= RECALL_MIN && mrr >= MRR_MIN, "{ndcg} {recall} {mrr}");
    every_piece_of_a_title_leads_to_it(&library);
}

/// Every one and two characters that stand in a title find the record, by brute force over all titles.
#[expect(clippy::print_stdout, reason = "the figures")]
fn every_piece_of_a_title_leads_to_it(library: &Library) {
    let mut pieces: BTreeMap<String, BTreeSet<RecordId>> = BTreeMap::new();
    for (id, (_, _, record)) in &library.records {
        let title: Vec<char> = fold(&record.title).chars().collect();
        for size in [1, 2] {
            for piece in
                title.windows(size).filter(|piece| piece.iter().all(|c| c.is_alphanumeric()))
            {
                pieces.entry(piece.iter().collect()).or_default().insert(*id);
            }
        }
    }
    let mut looked = 0;
    for (piece, holders) in &pieces {
        let mut found = BTreeSet::new();
        let mut query = Query {
            limit: limit::PAGE_RECORDS_MAX,
            sort: Sort { by: SortBy::Id, descending: false },
            ..Library::query(piece)
        };
        loop {
            let answer = library.store.search(&query).unwrap();
            found.extend(answer.hits.iter().map(|hit| hit.id));
            query.after = answer.next;
            if query.after.is_none() {
                assert_eq!(found.len(), answer.records, "{piece}: each once");
                break;
            }
        }
        looked += 1;
        let missing: Vec<_> = holders.difference(&found).collect();
        assert!(missing.is_empty(), "{piece} does not find {missing:?}");
    }
    println!(
        "{looked} pieces of {} titles lead to every title they stand in",
        library.records.len()
    );
}
