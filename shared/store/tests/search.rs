//! The search: counts that add up, pages that neither repeat nor lose, limits on everything.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{Pen, Rng};
use jiff::civil::{Date, date};
use liandong_core::{
    code::{OpenKind, UpdateCycle},
    expr::Expr,
    id::{FeedId, Head, RecordId},
    op::{Change, Op, OpType},
    record::{Open, Provider, Record, Visibility},
    search,
};
use liandong_store::{Answer, Cursor, Facet, Options, Query, Sort, SortBy, Store};
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);
/// Within the time of the pen, whose ops are dated: nothing is renewed later than it was written.
const TODAY: Date = date(2023, 11, 10);
const PLACES: [&str; 5] = ["公交站点", "图书馆", "停车场", "博物馆藏品", "医疗机构"];
const PROVIDERS: [&str; 4] = ["交通委", "文旅局", "卫健委", "川沙新镇人民政府"];
const THEMES: [Option<&str>; 3] = [Some("道路交通"), Some("文化休闲"), None];
const FORMATS: [&[&str]; 4] = [&["csv"], &["csv", "xlsx"], &["json"], &[]];
const CYCLES: [Option<UpdateCycle>; 3] =
    [Some(UpdateCycle::Daily), Some(UpdateCycle::Yearly), None];

fn wait(what: &str, future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await })
        .unwrap_or_else(|_late| panic!("waited in vain: {what}"));
}

fn id(n: usize) -> RecordId {
    RecordId::new(FEED, Ulid(n as u128))
}

fn record(rng: &mut Rng, n: usize) -> Record {
    let mut pick = |count: usize| rng.below(count);
    Record {
        title: format!("{}第{n}号", PLACES[pick(PLACES.len())]),
        summary: format!("{}的数据", PLACES[pick(PLACES.len())]),
        provider: Provider {
            name: PROVIDERS[pick(PROVIDERS.len())].to_owned(),
            ..Provider::default()
        },
        theme: THEMES[pick(THEMES.len())].map(str::to_owned),
        formats: FORMATS[pick(FORMATS.len())].iter().map(|f| (*f).to_owned()).collect(),
        update_cycle: CYCLES[pick(CYCLES.len())],
        data_updated: [
            None,
            Some(date(2023, 11, 10)),
            Some(date(2022, 6, 1)),
            Some(date(2019, 1, 1)),
        ][pick(4)],
        open: Open { kind: [OpenKind::Open, OpenKind::OnRequest][pick(2)], ..Open::default() },
        ..Record::default()
    }
}

/// Records and the store that searches them.
struct Library {
    store: Store,
    records: BTreeMap<RecordId, Record>,
    pen: Pen,
    dir: tempfile::TempDir,
}

fn put(id: RecordId, record: &Record) -> Change {
    Change {
        kind: OpType::RecordPut,
        subject: id.to_bytes().to_vec(),
        base: None,
        payload: record.to_bytes(),
        visibility: Visibility::Public,
    }
}

impl Library {
    fn of(count: usize, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        store.open_feed(FEED).unwrap();
        let mut rng = Rng(seed);
        let records: BTreeMap<RecordId, Record> =
            (0..count).map(|n| (id(n), record(&mut rng, n))).collect();
        let mut library = Self { store, records: BTreeMap::new(), pen: Pen::new(7), dir };
        // In several commits, so that the index has several segments.
        let all: Vec<(RecordId, Record)> = records.into_iter().collect();
        for part in all.chunks(count.div_ceil(4)) {
            library.put(part.iter().cloned());
        }
        library
    }

    fn put(&mut self, records: impl IntoIterator<Item = (RecordId, Record)>) {
        let mut ops: Vec<Op> = Vec::new();
        for (id, record) in records {
            ops.push(self.pen.write(put(id, &record)));
            self.records.insert(id, record);
        }
        let Some(first) = ops.first() else { return };
        let after = Head { seq: first.seq - 1, hash: first.prev };
        let last = ops.last().map_or(0, |op| op.seq);
        self.store.append(FEED, after, ops).blocking_recv().unwrap().unwrap();
        wait("the index", self.store.indexed(FEED, last));
    }

    fn search(&self, query: &Query) -> Answer {
        self.store.search(query).unwrap()
    }
}

fn query(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        public_only: true,
        limit: 20,
        today: Some(TODAY),
        ..Query::default()
    }
}

/// The values of a record in a facet, by the record alone.
fn values(record: &Record, facet: Facet) -> Vec<String> {
    match facet {
        Facet::Provider => vec![record.provider.name.clone()],
        Facet::Theme => record.theme.iter().cloned().collect(),
        Facet::Format => search::formats(record).into_iter().collect(),
        Facet::Open => vec![record.open.kind.code().to_owned()],
        Facet::Cycle => record.update_cycle.iter().map(|cycle| cycle.code().to_owned()).collect(),
        Facet::Freshness => {
            vec![search::Freshness::on(TODAY, search::due(record)).name().to_owned()]
        }
        Facet::Year => search::year(record).iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

const COUNTED: [Facet; 7] = [
    Facet::Provider,
    Facet::Theme,
    Facet::Format,
    Facet::Open,
    Facet::Cycle,
    Facet::Freshness,
    Facet::Year,
];

#[test]
fn counts_of_facets_equal_a_count_by_brute_force_for_any_choice() {
    let library = Library::of(600, 11);
    let mut rng = Rng(23);
    for round in 0..200 {
        let text = ["", "图书馆", "停车场", "公交"][rng.below(4)];
        let mut chosen: BTreeMap<Facet, Vec<String>> = BTreeMap::new();
        for _ in 0..rng.below(4) {
            let facet = COUNTED[rng.below(COUNTED.len())];
            let known: BTreeSet<String> =
                library.records.values().flat_map(|record| values(record, facet)).collect();
            let known: Vec<String> = known.into_iter().collect();
            let value = known[rng.below(known.len())].clone();
            let picked = chosen.entry(facet).or_default();
            if !picked.contains(&value) {
                picked.push(value);
            }
        }
        // Some facets are chosen in and not counted.
        let counted = &COUNTED[rng.below(3)..];
        let asked = Query { chosen: chosen.clone(), facets: counted.to_vec(), ..query(text) };
        let answer = library.search(&asked);
        let matches = |record: &Record| {
            text.is_empty() || record.title.contains(text) || record.summary.contains(text)
        };
        let admits = |record: &Record, but: Option<Facet>| {
            chosen.iter().filter(|(facet, _)| Some(**facet) != but).all(|(facet, picked)| {
                values(record, *facet).iter().any(|value| picked.contains(value))
            })
        };
        let all = || library.records.values().filter(|record| matches(record));
        let expected = all().filter(|record| admits(record, None)).count();
        assert_eq!(answer.records, expected, "round {round}: {text} {chosen:?}");
        for facet in counted {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for record in all().filter(|record| admits(record, Some(*facet))) {
                for value in values(record, *facet) {
                    *counts.entry(value).or_default() += 1;
                }
            }
            let told: BTreeMap<String, u64> = answer.facets[facet].iter().cloned().collect();
            assert_eq!(told, counts, "round {round}: {facet:?} of {text} under {chosen:?}");
        }
    }
}

#[test]
fn pages_by_cursor_hold_every_record_once_in_every_order_whatever_comes_between() {
    let mut library = Library::of(300, 5);
    let orders = [
        SortBy::Relevance,
        SortBy::Name,
        SortBy::Id,
        SortBy::Modified,
        SortBy::DataDay,
        SortBy::Created,
    ];
    let mut fresh = 10_000;
    for by in orders {
        for descending in [false, true] {
            let known: BTreeSet<RecordId> = library.records.keys().copied().collect();
            let sort = Sort { by, descending };
            let (mut found, mut after): (Vec<RecordId>, Option<Cursor>) = (Vec::new(), None);
            loop {
                let asked = Query { sort, limit: 7, after: after.clone(), ..query("") };
                let answer = library.search(&asked);
                found.extend(answer.hits.iter().map(|hit| hit.id));
                let text = answer.next.as_ref().map(ToString::to_string);
                after = text.map(|text| text.parse().unwrap());
                if after.is_none() {
                    break;
                }
                if found.len() % 35 == 0 {
                    fresh += 1;
                    let mut rng = Rng(fresh as u64);
                    let new = record(&mut rng, fresh);
                    library.put([(id(fresh), new)]);
                }
            }
            let once: BTreeSet<RecordId> = found.iter().copied().collect();
            assert_eq!(once.len(), found.len(), "{sort:?} repeats");
            assert!(
                once.is_superset(&known),
                "{sort:?} loses {:?}",
                known.difference(&once).next()
            );
        }
    }
}

#[test]
fn offset_and_cursor_tell_the_same_order() {
    let library = Library::of(200, 9);
    for by in [SortBy::Relevance, SortBy::Name, SortBy::Modified] {
        let sort = Sort { by, descending: true };
        let whole = library.search(&Query { sort, limit: 150, ..query("公交") });
        let whole: Vec<RecordId> = whole.hits.iter().map(|hit| hit.id).collect();
        for offset in [0, 1, 9, 40] {
            let page = library.search(&Query { sort, offset, limit: 5, ..query("公交") });
            let ids: Vec<RecordId> = page.hits.iter().map(|hit| hit.id).collect();
            assert_eq!(
                ids,
                whole[offset.min(whole.len())..(offset + 5).min(whole.len())],
                "{by:?}"
            );
        }
    }
}

#[test]
fn a_record_is_found_by_what_people_type() {
    let mut library = Library::of(20, 3);
    let mut target = record(&mut Rng(1), 99);
    target.title = "城市公共交通站點分布（ＧＩＳ版）".to_owned();
    target.keywords = vec!["轨道".to_owned()];
    library.put([(id(99), target)]);
    let typed = [
        "公共交通",
        "共交",
        "通",
        "ggjt",
        "gonggongjiaotong",
        "站点分布",
        "站點",
        "gis版",
        "ＧＩＳ",
        "公\u{200B}共交通",
        "轨道",
        "guidao",
        "公共交通 分布",
        "分布，公共交通",
        "巴士 站点",
    ];
    // A synonym that comes with the program, or none: then it is no fault of the search.
    let groups = &search::Vocabulary::builtin().synonyms;
    let known = groups.iter().any(|g| g.contains(&"巴士".into()) && g.contains(&"公共交通".into()));
    for text in typed {
        if text.starts_with("巴士") && !known {
            continue;
        }
        let hits = library.search(&query(text)).hits;
        assert!(hits.iter().any(|hit| hit.id == id(99)), "{text} finds {hits:?}");
    }
    let exact = library.search(&query("城市公共交通站点分布(gis版)"));
    assert_eq!(exact.hits[0].id, id(99));
    let answer = library.search(&query("公共交同站点"));
    assert_eq!(answer.records, 0, "{answer:?}");
    let hint = library.store.hint(&query("公共交同站点")).unwrap();
    assert_eq!(hint.as_deref(), Some("公共交通站点"));
}

#[test]
fn hostile_text_costs_little_and_never_fails() {
    let library = Library::of(50, 4);
    let long = "停车 ".repeat(10_000);
    let deep = format!("{}停车{}", "(".repeat(5_000), ")".repeat(5_000));
    let megabyte = "数".repeat(350_000);
    let hostile = [
        long.as_str(),
        deep.as_str(),
        megabyte.as_str(),
        "{!lucene}*:*",
        "\"",
        "\\",
        "*",
        "***",
        "NOT",
        "AND OR",
        "+ - !",
        "a:b:c",
        "[1 TO 0]",
        "\u{202E}停车",
        "🚌🚏",
        "'; DROP TABLE records; --",
        "<script>alert(1)</script>",
        "\0\u{1}\u{1F}",
        "tags:*****",
        "title:[* TO *",
        "((((",
        "-",
        "停车^99999999999999999999",
    ];
    for text in hostile {
        let answer = library.store.search(&query(text));
        let shown: String = text.chars().take(30).collect();
        assert!(answer.is_ok(), "{shown}: {answer:?}");
        assert!(library.store.hint(&query(text)).is_ok(), "{shown}");
        assert!(library.store.typed(&query(text)).is_ok(), "{shown}");
    }
}

#[test]
fn a_new_index_answers_as_the_one_before_it() {
    let library = Library::of(200, 8);
    let questions = ["", "公交", "图书馆", "gjzd", "数据 停车场"];
    let ask = |text: &&str| {
        let answer = library.search(&Query { facets: COUNTED.to_vec(), limit: 100, ..query(text) });
        let ids: Vec<RecordId> = answer.hits.iter().map(|hit| hit.id).collect();
        (answer.total, ids, answer.facets)
    };
    let before: Vec<_> = questions.iter().map(ask).collect();
    let index = || -> BTreeSet<_> {
        let generations = std::fs::read_dir(library.dir.path().join("index")).unwrap();
        generations.map(|entry| entry.unwrap().file_name()).collect()
    };
    let old = index();
    library.store.rebuild_index();
    let mut changes = library.store.watch();
    wait("a new index", async {
        while index().intersection(&old).next().is_some() {
            let _moved = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    });
    let after: Vec<_> = questions.iter().map(ask).collect();
    assert_eq!(before, after);
}

#[test]
fn long_values_that_begin_alike_are_told_apart_and_found_by_their_beginning() {
    let mut library = Library::of(8, 5);
    let beginning = "承担单位与联系方式说明".repeat(8);
    let long = |end: &str| format!("{beginning}{end}");
    for (number, end) in [(20, "甲"), (21, "乙")] {
        let mut record = record(&mut Rng(9), number);
        record.extensions.insert("说明".to_owned(), long(end));
        library.put([(id(number), record)]);
    }
    let key = || "extras_ext_说明".to_owned();
    let ids = |expr: Expr| -> Vec<RecordId> {
        let asked = Query {
            expr: Some(expr),
            sort: Sort { by: SortBy::Id, descending: false },
            ..query("")
        };
        library.search(&asked).hits.iter().map(|hit| hit.id).collect()
    };
    assert_eq!(ids(Expr::Is { key: key(), value: long("甲") }), [id(20)]);
    assert_eq!(ids(Expr::Is { key: key(), value: long("乙") }), [id(21)]);
    assert!(ids(Expr::Is { key: key(), value: beginning.clone() }).is_empty());
    let like = Expr::Like { key: key(), pattern: "承担单位*".to_owned() };
    assert_eq!(ids(like), [id(20), id(21)]);
}

#[test]
fn a_question_to_one_district_is_never_answered_by_another_also_when_it_was_asked_of_all_before() {
    let library = Library::of(12, 6);
    let other = FeedId::new([8; 16]);
    let all = |library: &Library, feeds: &[FeedId]| {
        let asked = Query { feeds: Some(feeds.to_vec()), ..query("") };
        library.search(&asked).records
    };
    assert_eq!((all(&library, &[FEED]), all(&library, &[other])), (12, 0));
    library.store.open_feed(other).unwrap();
    let mut pen = Pen::new(8);
    let theirs = RecordId::new(other, Ulid(1));
    let op = pen.write(put(theirs, &record(&mut Rng(1), 1)));
    let seq = op.seq;
    library.store.append(other, Head::EMPTY, vec![op]).blocking_recv().unwrap().unwrap();
    wait("the index", library.store.indexed(other, seq));
    assert_eq!(all(&library, &[FEED]), 12, "the other district came later");
    assert_eq!(all(&library, &[other]), 1);
    assert_eq!(all(&library, &[FEED, other]), 13);
}
