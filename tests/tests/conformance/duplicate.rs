//! The search for duplicates against 737 labelled pairs, over the whole catalogues.
//!
//! `tests/golden/duplicates.md` says what was labelled and how.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use liandong_core::duplicate::{DETECTOR_VERSION, Detector, Fingerprint, Places, compare};
use liandong_core::id::{FeedId, Hash, RecordId};
use liandong_core::mapping::Mapping;
use liandong_core::record::Record;
use liandong_core::validate::check;
use liandong_node::import::{ReadOptions, read};
use ulid::Ulid;

/// Catalogues and the district that publishes each; Luzhou is split by [`PARTITION`].
const CATALOGUES: [(&str, &str); 4] = [
    ("ningxia_ningxia", "宁夏回族自治区"),
    ("ningxia_yinchuan", "银川市"),
    ("sichuan_luzhou", "泸州市"),
    ("xinjiang_wlmq", "乌鲁木齐市"),
];
const PARTITION: &str = "partition_sichuan_luzhou.csv";
/// Names that records of these catalogues speak of, beyond the districts themselves.
const NEIGHBOURS: [&str; 6] =
    ["四川省", "吴忠市", "石嘴山市", "固原市", "中卫市", "新疆维吾尔自治区"];

/// The folder of the real catalogues, if there is one.
pub(crate) fn real() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    let given = std::env::var_os("LIANDONG_REAL").map(PathBuf::from);
    assert!(given.as_ref().is_none_or(|real| real.is_dir()), "LIANDONG_REAL names no folder");
    Some(given.unwrap_or(beside).join("zh-catalogs")).filter(|folder| folder.is_dir())
}

/// A row of a CSV file by its labels.
fn csv(path: &Path) -> Vec<HashMap<String, String>> {
    let table = read(path, &ReadOptions::default()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let rows = table.rows.iter();
    rows.map(|row| row.cells.iter().map(|(k, v)| (k.clone(), text(v))).collect()).collect()
}

/// An entry as the labelled pairs name it: `file#row`, rows counted from 1.
struct Entry {
    key: String,
    district: String,
    record: Record,
}

impl Entry {
    fn id(&self) -> RecordId {
        let hash = Hash::of(&[self.key.as_bytes()]);
        let feed = Hash::of(&[self.district.as_bytes()]);
        let half = |hash: Hash| <[u8; 16]>::try_from(&hash.as_bytes()[..16]).unwrap();
        RecordId::new(FeedId::new(half(feed)), Ulid(u128::from_be_bytes(half(hash))))
    }
}

/// Every record of the catalogues with the district that publishes it.
fn entries(folder: &Path) -> Vec<Entry> {
    let mapping = Mapping::builtin();
    let districts: HashMap<u64, String> = csv(&folder.join(PARTITION))
        .into_iter()
        .map(|row| (row["seq"].parse::<u64>().unwrap() + 1, row["node"].clone()))
        .collect();
    let mut entries = Vec::new();
    for (file, district) in CATALOGUES {
        let table = read(&folder.join(format!("{file}.json")), &ReadOptions::default()).unwrap();
        for row in &table.rows {
            let draft = mapping.draft(row).0;
            let Some(record) = check(draft, "2026-11-23".parse().unwrap()).record else { continue };
            let part = districts.get(&row.row).filter(|_| district == "泸州市");
            let district = match part.map(String::as_str) {
                None | Some("city") => district.to_owned(),
                Some(zone @ ("高新" | "自贸")) => format!("泸州{zone}区"),
                Some(name) => name.to_owned(),
            };
            entries.push(Entry { key: format!("{file}#{}", row.row), district, record });
        }
    }
    entries
}

/// How often the detector and the labels agree.
#[derive(Default)]
struct Score {
    found: u32,
    wrong: u32,
    missed: u32,
    rest: u32,
}

impl Score {
    fn count(&mut self, found: bool, same: bool) {
        *match (found, same) {
            (true, true) => &mut self.found,
            (true, false) => &mut self.wrong,
            (false, true) => &mut self.missed,
            (false, false) => &mut self.rest,
        } += 1;
    }

    fn precision(&self) -> f64 {
        f64::from(self.found) / f64::from((self.found + self.wrong).max(1))
    }

    fn recall(&self) -> f64 {
        f64::from(self.found) / f64::from((self.found + self.missed).max(1))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (precision, recall) = (self.precision(), self.recall());
        let f1 = 2.0 * precision * recall / (precision + recall).max(f64::MIN_POSITIVE);
        let Self { found, wrong, missed, rest } = self;
        if found + missed == 0 {
            return write!(f, "no duplicates (wrong {wrong}, rightly left {rest})");
        }
        write!(
            f,
            "precision {precision:.3}, recall {recall:.3}, F1 {f1:.3} \
             (found {found}, wrong {wrong}, missed {missed}, rightly left {rest})"
        )
    }
}

/// The title as the labelled pairs hold it.
fn title(record: &Record) -> String {
    record.title.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The part a pair belongs to. Words and thresholds were chosen by the first and the third; the last was drawn and
/// labelled when they were fixed.
fn part(pair: &str) -> &'static str {
    let low = Hash::of(&[pair.as_bytes()]).as_bytes()[0] < 128;
    match (pair.as_bytes()[0], low) {
        (b'p', true) => "tuning",
        (b'p', false) => "held out",
        (b'q', _) => "second",
        _ => "last",
    }
}

#[test]
fn duplicates_of_real_catalogues_are_found_as_they_were_labelled() {
    let Some(folder) = real() else {
        println!("skipped: no real catalogues here; LIANDONG_REAL can name their folder");
        return;
    };
    let entries = entries(&folder);
    let districts: BTreeSet<&str> = entries.iter().map(|entry| entry.district.as_str()).collect();
    let places = Places::new(districts.into_iter().chain(NEIGHBOURS));
    let mut detector = Detector::default();
    let mut known = HashMap::new();
    for entry in &entries {
        let print = Fingerprint::new(&entry.record, &entry.district, &places);
        detector.upsert(entry.id(), print.clone());
        known.insert(entry.key.as_str(), (entry, print));
    }
    let pairs = detector.pairs();
    println!("detector {DETECTOR_VERSION}: {} records, {} pairs", detector.len(), pairs.len());
    let pairs: BTreeSet<_> = pairs.iter().map(|pair| (pair.first, pair.second)).collect();

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/duplicates.csv");
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for row in csv(&golden) {
        let [(a, first), (b, second)] = ["first", "second"].map(|side| &known[row[side].as_str()]);
        assert_eq!(title(&a.record), row["first_title"], "{} has moved", a.key);
        assert_eq!(title(&b.record), row["second_title"], "{} has moved", b.key);
        let same = row["label"] == "same";
        let found = pairs.contains(&(a.id().min(b.id()), a.id().max(b.id())));
        for group in ["all", part(&row["pair"]), row["stratum"].as_str()] {
            scores.entry(group.to_owned()).or_default().count(found, same);
        }
        if found != same {
            println!(
                "{} {} {}: {} | {} ({})\n    {}",
                part(&row["pair"]),
                if found { "wrong" } else { "missed" },
                row["pair"],
                row["first_title"],
                row["second_title"],
                row["reason"],
                compare(first, second)
            );
        }
    }
    for (group, score) in &scores {
        println!("{group}: {score}");
    }
    for group in ["all", "tuning", "held out", "second", "last"] {
        assert!(scores[group].precision() >= 0.9, "{group}: {}", scores[group]);
        assert!(scores[group].recall() >= 0.8, "{group}: {}", scores[group]);
    }
}
