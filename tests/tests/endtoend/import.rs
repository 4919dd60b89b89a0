//! Importing a bureau's tables, in whatever shape they come.

use std::path::PathBuf;

use liandong_core::id::RecordId;
use liandong_tests::{
    City, Member,
    rows::{self, Row},
};
use serde_json::{Value, json};

use crate::{PROGRAM, titles};

struct Desk {
    city: City,
    node: Member,
}

impl Desk {
    async fn new() -> Self {
        let city = City::start(PROGRAM).await;
        let node = city.join("310115", "浦东新区").await;
        Self { city, node }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.city.root().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Imports with further arguments; gives the exit status and the report.
    async fn import(&self, file: &str, args: &[&str]) -> (i32, Value) {
        let ran = self.node.cli(&[&["--json", "import", file], args].concat()).await;
        let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| json!(ran.stderr));
        (ran.code, report)
    }
}

fn counts(report: &Value) -> [u64; 4] {
    ["new", "changed", "unchanged", "deleted"].map(|what| report[what].as_u64().unwrap_or(u64::MAX))
}

/// The records of a node by their codes, whatever their ids.
async fn payloads(node: &Member) -> Vec<String> {
    let list = node.list().await;
    let mut records: Vec<String> =
        list.iter().map(|shown| shown.record.as_ref().unwrap().to_string()).collect();
    records.sort_unstable();
    records
}

#[tokio::test]
async fn the_same_rows_in_four_formats_give_the_same_records() {
    let rows = rows::rows(0..12);
    let text = rows::csv(&rows);
    let files: [(&str, Vec<u8>); 4] = [
        ("utf8.csv", text.clone().into()),
        ("bom.csv", format!("\u{feff}{text}").into()),
        ("gb18030.csv", encoding_rs::GB18030.encode(&text).0.into_owned()),
        ("book.xlsx", rows::xlsx(&rows)),
    ];
    let city = City::start(PROGRAM).await;
    let mut first: Option<Vec<String>> = None;
    let mut nodes = Vec::new();
    for (number, (name, bytes)) in files.iter().enumerate() {
        let path = city.root().join(name);
        std::fs::write(&path, bytes).unwrap();
        let node = city.join(&format!("31010{}", number + 1), name).await;
        let report = node.cli_json(&["import", path.to_str().unwrap()]).await;
        assert_eq!(counts(&report), [12, 0, 0, 0], "{name}: {report}");
        let records = payloads(&node).await;
        assert_eq!(*first.get_or_insert(records.clone()), records, "{name}");
        nodes.push(node);
    }
    // The other files say nothing new to the first node.
    for (name, _) in &files {
        let path = city.root().join(name);
        let report = nodes[0].cli_json(&["import", path.to_str().unwrap()]).await;
        assert_eq!(counts(&report), [0, 0, 12, 0], "{name}");
    }
    assert_eq!(nodes[0].status().await.feed.seq, 12, "nothing was written again");
}

#[tokio::test]
async fn a_rejected_row_blocks_no_other_and_is_told_with_row_rule_and_remedy() {
    let desk = Desk::new().await;
    let mut rows = rows::rows(0..6);
    rows[2].title.clear();
    rows[4].provider.clear();
    let file = desk.file("目录.csv", rows::csv(&rows));
    let sheet = desk.city.root().join("错误.csv");

    let (exit, report) = desk.import(&file, &["--dry-run"]).await;
    assert_eq!((exit, counts(&report)), (3, [4, 0, 0, 0]), "{report}");
    assert_eq!(report["dry_run"], true);
    assert_eq!(desk.node.status().await.feed.seq, 0, "a dry run writes nothing");
    assert!(desk.node.list().await.is_empty());

    let (exit, report) = desk.import(&file, &["--error-sheet", sheet.to_str().unwrap()]).await;
    assert_eq!((exit, counts(&report)), (3, [4, 0, 0, 0]), "{report}");
    let rejected: Vec<(u64, &str)> = report["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["row"].as_u64().unwrap(), row["rule"].as_str().unwrap()))
        .collect();
    assert_eq!(rejected, [(4, "R04.title.missing"), (6, "R04.provider.missing")]);
    let text = std::fs::read(&sheet).unwrap();
    assert!(text.starts_with(b"\xEF\xBB\xBF"), "Excel reads it");
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("R04.title.missing") && text.contains("填写名称"), "{text}");
    desk.city.level(&desk.node).await;
    assert_eq!(desk.city.hub.status().await.view.records, 4);

    // For people: every rejected row with what to do, and the corrected file takes the rest.
    let told = desk.node.cli(&["import", &file]).await.exits(3).stdout;
    assert!(told.contains("第 4 行 [R04.title.missing]"), "{told}");
    let file = desk.file("改.csv", rows::csv(&rows::rows(0..6)));
    let (exit, report) = desk.import(&file, &[]).await;
    assert_eq!((exit, counts(&report)), (0, [2, 0, 4, 0]), "{report}");
}

#[tokio::test]
async fn a_full_list_withdraws_what_it_lacks_only_with_a_persons_word_beyond_a_share() {
    let desk = Desk::new().await;
    desk.city.let_all_pass().await;
    let all = rows::rows(0..30);
    let file = desk.file("a.csv", rows::csv(&all));
    assert_eq!(desk.import(&file, &[]).await.0, 0);

    // Absence is not deletion.
    let file = desk.file("b.csv", rows::csv(&all[10..]));
    let (exit, report) = desk.import(&file, &[]).await;
    assert_eq!((exit, &report["missing"], counts(&report)), (0, &json!(10), [0, 0, 20, 0]));

    // Ten of thirty are too many without a word, and a wrong number is no word.
    for args in [&["--delete-missing"][..], &["--delete-missing", "--confirm-deletes", "9"]] {
        let ran = desk.node.cli(&[&["import", &file], args].concat()).await.exits(4);
        assert!(ran.stderr.contains("--confirm-deletes 10"), "{}", ran.stderr);
        assert_eq!(desk.node.status().await.view.records, 30);
    }
    let (exit, report) = desk.import(&file, &["--delete-missing", "--confirm-deletes", "10"]).await;
    assert_eq!((exit, counts(&report)), (0, [0, 0, 20, 10]), "{report}");
    desk.city.level(&desk.node).await;
    assert_eq!(desk.city.hub.status().await.view.records, 20);

    // Two of twenty are within the share.
    let file = desk.file("c.csv", rows::csv(&all[12..]));
    let (exit, report) = desk.import(&file, &["--delete-missing"]).await;
    assert_eq!((exit, counts(&report)), (0, [0, 0, 18, 2]), "{report}");

    // What was withdrawn comes back only when that is asked for.
    let file = desk.file("a.csv", rows::csv(&all));
    let (exit, report) = desk.import(&file, &[]).await;
    assert_eq!((exit, &report["withdrawn"], counts(&report)), (0, &json!(12), [0, 0, 18, 0]));
    let (exit, report) = desk.import(&file, &["--restore-withdrawn"]).await;
    assert_eq!((exit, counts(&report)), (0, [0, 12, 18, 0]), "{report}");
    desk.city.level(&desk.node).await;
    assert_eq!(desk.city.hub.status().await.view.records, 30);
}

#[tokio::test]
async fn a_record_whose_row_was_rejected_is_not_taken_for_missing() {
    let desk = Desk::new().await;
    let mut rows = rows::rows(0..30);
    let file = desk.file("a.csv", rows::csv(&rows));
    assert_eq!(desk.import(&file, &[]).await.0, 0);
    // The row is in the list; a slip in it must not withdraw the entry that its code names.
    rows[3].title.clear();
    let file = desk.file("a.csv", rows::csv(&rows));
    let (exit, report) = desk.import(&file, &["--delete-missing"]).await;
    assert_eq!((exit, &report["missing"]), (3, &json!(0)), "{report}");
    assert_eq!(desk.node.status().await.view.records, 30);
    // A row that names nothing might be any entry: then a person has to say so.
    rows[3].code.clear();
    let file = desk.file("a.csv", rows::csv(&rows));
    let sheet = desk.city.root().join("错误.csv");
    let args = ["--delete-missing", "--error-sheet", sheet.to_str().unwrap()];
    let ran = desk.node.cli(&[&["import", &file], &args[..]].concat()).await.exits(4);
    assert!(
        ran.stderr.contains("1 行被拒绝") && ran.stderr.contains("--confirm-deletes 1"),
        "{ran:?}"
    );
    assert!(
        std::fs::read_to_string(&sheet).unwrap().contains("R04.title.missing"),
        "faults are told"
    );
    assert_eq!(desk.node.status().await.view.records, 30);
    let (exit, report) = desk.import(&file, &["--delete-missing", "--confirm-deletes", "1"]).await;
    assert_eq!((exit, &report["deleted"]), (3, &json!(1)), "{report}");
}

#[tokio::test]
async fn a_changed_row_changes_its_record_and_a_file_that_is_no_table_changes_nothing() {
    let desk = Desk::new().await;
    let mut rows: Vec<Row> = rows::rows(0..5);
    let file = desk.file("a.csv", rows::csv(&rows));
    assert_eq!(desk.import(&file, &[]).await.0, 0);
    let ids = |list: Vec<liandong_node::command::Shown>| -> Vec<RecordId> {
        list.into_iter().map(|shown| shown.id).collect()
    };
    let before = ids(desk.node.list().await);
    rows[1].summary = "滨江岸线全部泊位".to_owned();
    let file = desk.file("a.csv", rows::csv(&rows));
    let (exit, report) = desk.import(&file, &[]).await;
    assert_eq!((exit, counts(&report)), (0, [0, 1, 4, 0]), "{report}");
    assert_eq!(ids(desk.node.list().await), before, "the records are the same ones");
    desk.city.level(&desk.node).await;
    assert_eq!(titles(&desk.city.hub.search("滨江岸线").await), [rows[1].title.as_str()]);

    let seq = desk.node.status().await.feed.seq;
    let missing = desk.city.root().join("没有.csv");
    for file in
        [desk.file("图.png", b"\x89PNG\r\n\x1a\n\0\0\0"), missing.to_str().unwrap().to_owned()]
    {
        let ran = desk.node.cli(&["import", &file]).await;
        assert!(ran.code != 0 && ran.stderr.contains("错误："), "{ran:?}");
    }
    assert_eq!(desk.node.status().await.feed.seq, seq);
}

#[tokio::test]
async fn two_rows_that_name_one_record_by_different_keys_do_not_overwrite_each_other() {
    const LABELS: &str = "信息资源名称,信息资源提供方,信息资源代码,详情页网址,开放类型\n";
    let desk = Desk::new().await;
    let row = |title: &str, code: &str, page: &str| {
        format!("{title},浦东新区交通委,{code},https://data.example.cn/{page},公开\n")
    };
    let one = desk.file("one.csv", format!("{LABELS}{}", row("公交线路", "307001/000010", "a")));
    assert_eq!(counts(&desk.import(&one, &[]).await.1), [1, 0, 0, 0]);
    // The first row means the record by its code, the second by its page; no key stands in both.
    let by_code = row("公交线路（按代码）", "307001/000010", "b");
    let by_page = row("公交线路（按网址）", "", "a");
    let two = desk.file("two.csv", format!("{LABELS}{by_code}{by_page}"));
    for args in [&["--dry-run"][..], &[]] {
        let (code, report) = desk.import(&two, args).await;
        assert_eq!((code, counts(&report)), (3, [0, 1, 0, 0]), "{report}");
        let rejected = &report["rejected"][0];
        assert_eq!((&rejected["row"], &rejected["rule"]), (&json!(3), &json!("R05.key.repeated")));
        assert!(rejected["message"].as_str().unwrap().contains("第 2 行"), "{rejected}");
    }
    let kept = payloads(&desk.node).await;
    assert!(kept.len() == 1 && kept[0].contains("公交线路（按代码）"), "{kept:?}");
}
