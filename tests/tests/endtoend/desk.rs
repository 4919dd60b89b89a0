//! The curators' desk and what districts see of it.

use liandong_core::id::RecordId;
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::{Value, json};

use crate::PROGRAM;

/// Waits until the hub lists conflicts of a kind in a state, so many, and returns them.
async fn conflicts(hub: &Member, kind: &str, state: &str, count: usize) -> Vec<Value> {
    let what = format!("the hub lists {count} {state} conflicts {kind}");
    wait_until(&what, async || {
        let listed = hub.cli_json(&["conflict", "list", "--kind", kind, "--state", state]).await;
        let listed = listed.as_array().cloned().unwrap_or_default();
        if listed.len() == count { Ok(listed) } else { Err(format!("{listed:#?}")) }
    })
    .await
}

async fn put(city: &City, node: &Member, row: &rows::Row, id: Option<RecordId>) -> RecordId {
    let id = node.put(id, &row.content()).await.unwrap().id;
    city.level(node).await;
    id
}

#[tokio::test]
async fn an_overlay_falls_back_when_the_district_edits_and_stands_again_when_confirmed() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let mut row = rows::Row::new(1);
    let record = put(&city, &node, &row, None).await;
    let id = record.to_string();
    let hub = &city.hub;
    let nothing = hub.cli(&["overlay", "set", &id]).await.exits(3);
    assert!(nothing.stderr.contains("没有给出任何编目内容"), "{nothing:?}");
    let set = ["overlay", "set", &id, "--title", "全市停车场泊位", "--theme", "道路交通"];
    let shown = hub.cli_json(&[&set[..], &["--notes", "合并各区"]].concat()).await;
    assert_eq!((&shown["stale"], &shown["overlay"]["theme"]), (&json!(false), &json!("道路交通")));
    let again = hub.cli(&set).await.exits(4);
    assert!(again.stderr.contains("状态没有变化"), "{again:?}");

    row.title = "停车场泊位（新）".to_owned();
    put(&city, &node, &row, Some(record)).await;
    let found = conflicts(hub, "C3", "open", 1).await;
    assert_eq!(found[0]["districts"], json!(["浦东新区"]));
    let conflict = found[0]["id"].as_str().unwrap();
    let shown = hub.cli_json(&["conflict", "show", &conflict[..8]]).await;
    let title = |row: &&Value| row["field"] == "title";
    let difference = shown["differences"].as_array().unwrap().iter().find(title).unwrap();
    assert_eq!(difference["base"], "停车场泊位信息1");
    assert_eq!(difference["mine"], "停车场泊位（新）");
    assert_eq!(difference["theirs"], "全市停车场泊位");
    assert_eq!(difference["clash"], true);
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
    let stale = hub.cli_json(&["overlay", "list", "--stale"]).await;
    assert_eq!(stale[0]["id"], id);

    let decide = ["conflict", "decide", conflict, "--verdict", "confirm", "--reason", "仍然适用"];
    let preview = hub.cli_json(&[&decide[..], &["--preview"]].concat()).await;
    assert_eq!(preview[0]["kind"], "conflict.decide.v1");
    assert_eq!(preview[1]["kind"], "overlay.put.v1");
    let decided = hub.cli_json(&decide).await;
    assert_eq!(decided["state"], "decided");
    assert_eq!(hub.cli_json(&["overlay", "list", "--stale"]).await, json!([]));
    assert_eq!(hub.cli_json(&["overlay", "show", &id]).await["stale"], false);
    // The core is what the district signed, all the way.
    assert_eq!(hub.record(record).await.1["record"]["title"], "停车场泊位（新）");
    let dropped = hub.cli(&["overlay", "drop", &id]).await.exits(0).stdout;
    assert!(dropped.contains("已取消编目"), "{dropped}");
}

#[tokio::test]
async fn a_hold_hides_a_record_in_the_city_and_leaves_the_districts_portal_alone() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310104", "徐汇区").await;
    let record = put(&city, &node, &rows::Row::new(2), None).await;
    let (hub, id) = (&city.hub, record.to_string());
    let bare = ["hold", "put", &id, "--legal-basis", " ", "--reason", "含手机号码"];
    let refused = hub.cli(&bare).await.exits(2);
    assert!(refused.stderr.contains("必须注明法律依据"), "{refused:?}");
    let hold = ["hold", "put", &id, "--legal-basis", "个人信息保护法", "--reason", "含手机号码"];
    let _held = hub.cli(&hold).await.exits(0);
    let searched = async |total: u64| {
        wait_until(&format!("the hub finds {total}"), async || {
            let answer = hub.search("养老机构信息2").await;
            (answer["total"] == total).then_some(()).ok_or_else(|| answer.to_string())
        })
        .await;
    };
    searched(0).await;
    let (status, problem) = hub.record(record).await;
    assert_eq!((status, &problem["reason_class"]), (410, &json!("legal_hold")));
    assert!(!problem.to_string().contains("养老"), "{problem}");
    assert_eq!(node.record(record).await.0, 200);
    assert_eq!(node.search("养老机构信息2").await["total"], 1);
    conflicts(hub, "C5", "open", 1).await;
    let _released = hub.cli(&["hold", "release", &id, "--reason", "已脱敏"]).await.exits(0);
    searched(1).await;
    let settled = conflicts(hub, "C5", "decided", 1).await;
    assert!(settled[0]["reason"].as_str().unwrap().contains("隐藏已解除"), "{settled:?}");
}

#[tokio::test]
async fn two_districts_claim_one_code_and_the_city_decides() {
    let mut city = City::start(PROGRAM).await;
    let nodes = [city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await];
    let mut records = Vec::new();
    for node in &nodes {
        records.push(put(&city, node, &rows::Row::new(3), None).await);
    }
    let found = conflicts(&city.hub, "C1", "open", 1).await.remove(0);
    assert_eq!(found["names"], json!(["307001/000003"]));
    let winner = found["winner"].as_str().unwrap().to_owned();
    let [first, second] = [records[0].to_string(), records[1].to_string()];
    assert_eq!(winner, first, "who had the code first keeps it meanwhile");
    let id = found["id"].as_str().unwrap().to_owned();
    let decide = |verdict: &str, record: &str| {
        let words = ["conflict", "decide", &id, "--verdict", verdict, "--reason", "历史编码"];
        let mut words = words.map(str::to_owned).to_vec();
        if !record.is_empty() {
            words.extend(["--record".to_owned(), record.to_owned()]);
        }
        words
    };
    for (verdict, record, exit, told) in [
        ("code-stays", "", 2, "--record"),
        ("withdraw", "", 4, "此决定不适用"),
        ("distinct", "", 4, "此决定不适用"),
    ] {
        let words = decide(verdict, record);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let refused = city.hub.cli(&words).await.exits(exit);
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    let words = decide("code-stays", &second);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let decided = city.hub.cli_json(&words).await;
    assert_eq!((&decided["winner"], &decided["state"]), (&json!(second), &json!("decided")));
    // A restart looks at everything again and opens nothing twice.
    let before = city.hub.status().await.feed.seq;
    city.hub.restart().await;
    let again = put(&city, &nodes[0], &rows::Row::new(9), None).await;
    assert_ne!(again, records[0]);
    let listed = city.hub.cli_json(&["conflict", "list", "--state", "all"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    wait_until("the new record's code is granted", async || {
        let seq = city.hub.status().await.feed.seq;
        (seq == before + 1).then_some(()).ok_or_else(|| format!("{before} {seq}"))
    })
    .await;
    let reopen = ["conflict", "reopen", &id, "--reason", "徐汇区补充材料"];
    assert_eq!(city.hub.cli_json(&reopen).await["state"], "appealed");
    let told = city.hub.cli(&["conflict", "list"]).await.exits(0).stdout;
    assert!(told.contains("C1") && told.contains("appealed"), "{told}");
}
