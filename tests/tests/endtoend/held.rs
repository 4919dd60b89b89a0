//! What a district does to many records at once waits for a person; what it withdraws from the public does not wait.

use liandong_core::id::RecordId;
use liandong_node::import::plan::Options;
use liandong_server::site::State;
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::{Value, json};

use crate::{PROGRAM, hub_shows};

const RECORDS: usize = 120;

/// A district with records, all of them in the city view.
async fn district(city: &City) -> (Member, Vec<RecordId>) {
    let node = city.join("310115", "浦东新区").await;
    let file = city.root().join("rows.csv");
    std::fs::write(&file, rows::csv(&rows::rows(0..RECORDS))).unwrap();
    let report = node.import(&file, Options::default()).await.unwrap();
    assert_eq!(report.new, RECORDS, "{report:?}");
    city.level(&node).await;
    let mut listed = node.list().await;
    listed.sort_by_key(|shown| shown.seq);
    (node, listed.into_iter().map(|shown| shown.id).collect())
}

fn closed(number: usize) -> Value {
    let mut content = rows::content(number);
    content["开放类型"] = json!("不予开放");
    content["共享类型"] = json!("不予共享");
    for reason in ["不予开放理由", "不予共享理由"] {
        content[reason] = json!("《中华人民共和国政府信息公开条例》第十五条");
    }
    content
}

#[tokio::test]
async fn a_mass_withdrawal_waits_with_a_clear_list_until_a_person_agrees() {
    let city = City::start(PROGRAM).await;
    let (mut node, ids) = district(&city).await;
    // Cut off, so that the hub sees all of it at once.
    let _done = city.hub.cli(&["district", "suspend", "310115", "--reason", "演练"]).await.exits(0);
    for id in &ids[..30] {
        node.withdraw(*id, "误删演练").await.unwrap();
    }
    node.put(None, &rows::content(RECORDS)).await.unwrap();
    let _done = city.hub.cli(&["district", "resume", "310115"]).await.exits(0);
    hub_shows(&city, "310115", "held").await;

    let held = city.hub.cli_json(&["held", "list"]).await;
    assert_eq!(held[0]["gate"]["kind"], "mass_withdrawal", "{held}");
    assert_eq!(held[0]["gate"]["count"], 30, "{held}");
    let shown = city.hub.cli_json(&["held", "show", "310115"]).await;
    let listed = shown["rows"].as_array().unwrap();
    assert_eq!(listed.len(), 31, "all that waits is listed: {shown}");
    assert!(listed.iter().any(|row| row["change"].as_str().unwrap().contains("误删演练")));
    let record = city.hub.record(ids[0]).await;
    assert_eq!(record.0, 200, "what waits is shown as it was: {record:?}");

    // A restart of the hub forgets nothing of it.
    let mut city = city;
    city.hub.restart().await;
    hub_shows(&city, "310115", "held").await;
    let _done =
        city.hub.cli(&["held", "release", "310115", "--reason", "已电话核实"]).await.exits(0);
    city.level(&node).await;
    assert_eq!(city.hub.record(ids[0]).await.0, 410);
    assert_eq!(city.district("310115").await.records, RECORDS as u64 - 30 + 1);
    assert_eq!(city.hub.cli_json(&["held", "list"]).await, json!([]));
    node.stop().await;
}

#[tokio::test]
async fn records_that_many_restrict_are_hidden_at_once_although_the_change_waits() {
    let city = City::start(PROGRAM).await;
    let (mut node, ids) = district(&city).await;
    let _done = city.hub.cli(&["district", "suspend", "310115", "--reason", "演练"]).await.exits(0);
    for (number, id) in ids.iter().enumerate().take(30) {
        node.put(Some(*id), &closed(number)).await.unwrap();
    }
    let _done = city.hub.cli(&["district", "resume", "310115"]).await.exits(0);
    hub_shows(&city, "310115", "held").await;
    for id in &ids[..30] {
        wait_until("the record is hidden", async || {
            let (status, body) = city.hub.record(*id).await;
            if status == 200 { Err(format!("{body}")) } else { Ok(()) }
        })
        .await;
    }
    assert_eq!(city.hub.record(ids[40]).await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_withdrawal_behind_a_long_backlog_is_obeyed_before_its_turn() {
    let city = City::start(PROGRAM).await;
    let (mut node, ids) = district(&city).await;
    let _done =
        city.hub.cli(&["district", "suspend", "310115", "--reason", "断网演练"]).await.exits(0);
    wait_until("the node is refused", async || {
        let link = node.link().await;
        if link.state == State::Refused { Ok(()) } else { Err(format!("{link:?}")) }
    })
    .await;
    let file = city.root().join("more.csv");
    std::fs::write(&file, rows::csv(&rows::rows(1_000..4_000))).unwrap();
    node.import(&file, Options::default()).await.unwrap();
    node.withdraw(ids[7], "涉及个人信息").await.unwrap();
    let _done = city.hub.cli(&["district", "resume", "310115"]).await.exits(0);
    wait_until("the record is gone", async || {
        let (status, _body) = city.hub.record(ids[7]).await;
        if status == 200 { Err("still shown".to_owned()) } else { Ok(()) }
    })
    .await;
    city.level(&node).await;
    assert_eq!(city.hub.record(ids[7]).await.0, 410);
    city.hub.logs(&["hidden before its turn"]).await;
    node.stop().await;
}
