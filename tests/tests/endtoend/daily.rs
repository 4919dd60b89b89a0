//! A city's ordinary days.

use liandong_node::import::plan::Options;
use liandong_proto::catalog::{SearchRequest, catalog_client::CatalogClient};
use liandong_server::{
    identity::Anchor,
    tls::{self, ClientTls, Timeouts},
};
use liandong_tests::{City, rows, wait_until};
use serde_json::{Value, json};

use crate::{PROGRAM, titles};

#[tokio::test]
async fn what_a_district_imports_is_found_at_the_hub_with_district_and_freshness() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let file = city.root().join("目录.csv");
    std::fs::write(&file, rows::csv(&rows::rows(0..25))).unwrap();
    let report = node.cli_json(&["import", file.to_str().unwrap()]).await;
    assert_eq!((&report["new"], &report["rejected"]), (&json!(25), &json!([])));
    city.level(&node).await;

    let (local, hub) = (node.status().await, city.hub.status().await);
    assert_eq!(local.view.root, city.district("310115").await.view_root);
    assert_eq!((local.view.records, hub.view.records, hub.index.documents), (25, 25, 25));

    // Over HTTP.
    let answer = city.hub.search("博物馆藏品信息14").await;
    let hit = &answer["hits"][0];
    assert_eq!(hit["title"], "博物馆藏品信息14");
    assert_eq!(hit["district"]["name"], "浦东新区");
    assert_eq!(hit["district"]["state"], "in_sync");
    assert!(hit["district"]["as_of_ms"].as_i64().is_some(), "{answer}");
    // On the command line, for programs and for people.
    let answer = city.hub.cli_json(&["search", "博物馆藏品信息14"]).await;
    assert_eq!(answer["hits"][0]["district"]["name"], "浦东新区");
    assert_eq!(answer["hits"][0]["district"]["state"], "in_sync");
    let told = city.hub.cli(&["search", "博物馆藏品信息14"]).await.exits(0).stdout;
    assert!(told.contains("浦东新区") && told.contains("in_sync"), "{told}");
    let told = city.hub.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("浦东新区") && told.contains("已同步"), "{told}");
    // Over gRPC, without a certificate.
    let ca = Anchor::read(node.dir()).unwrap().unwrap().ca_der().unwrap();
    let tls = ClientTls::anonymous(&ca).unwrap();
    for member in [&city.hub, &node] {
        let url = member.grpc_url();
        let channel = tls::connect(&url, &tls, Timeouts::default()).await.unwrap();
        let request =
            SearchRequest { query: "博物馆藏品信息14".into(), ..SearchRequest::default() };
        let reply = CatalogClient::new(channel).search(request).await.unwrap().into_inner();
        let record = reply.hits[0].record.as_ref().unwrap();
        let metadata: Value = serde_json::from_slice(&record.metadata_json).unwrap();
        assert_eq!(metadata["title"], "博物馆藏品信息14");
        assert_eq!(record.district_name, "浦东新区");
        assert_eq!(reply.hits[0].state, "in_sync");
    }
    // Nothing is lost on the way back out.
    let verified = city.hub.cli_json(&["verify"]).await;
    assert_eq!(verified["faults"], json!([]));
    assert_eq!(node.cli_json(&["verify"]).await["faults"], json!([]));
}

#[tokio::test]
async fn an_edit_a_withdrawal_and_a_restoration_reach_the_citys_readers() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310104", "徐汇区").await;
    let mut row = rows::Row::new(1);
    let id = node.put(None, &row.content()).await.unwrap().id;
    city.level(&node).await;

    row.title = "滨江步道信息".to_owned();
    row.summary = "沿江步道的起止点与长度".to_owned();
    let edited = node.put(Some(id), &row.content()).await.unwrap();
    assert_eq!(edited.seq, Some(2));
    city.level(&node).await;
    assert_eq!(titles(&city.hub.search("滨江步道").await), ["滨江步道信息"]);
    assert_eq!(city.hub.search("停车场").await["total"], 0);
    let same = node.put(Some(id), &row.content()).await.unwrap();
    assert_eq!(same.seq, None, "what changes nothing is no op");

    let withdrawn =
        ["record", "withdraw", &id.to_string(), "--reason", "系统下线"].map(str::to_owned);
    let withdrawn: Vec<&str> = withdrawn.iter().map(String::as_str).collect();
    let _done = node.cli(&withdrawn).await.exits(0);
    city.level(&node).await;
    assert_eq!(city.hub.search("滨江步道").await["total"], 0);
    let (status, problem) = city.hub.record(id).await;
    assert_eq!((status, &problem["reason"]), (410, &json!("系统下线")));
    let again = node.withdraw(id, "再次").await.unwrap_err();
    assert!(again.message_zh.contains("已撤回"), "{again:?}");

    let _done = node.cli(&["record", "restore", &id.to_string()]).await.exits(0);
    city.level(&node).await;
    assert_eq!(titles(&city.hub.search("滨江步道").await), ["滨江步道信息"]);
    let (status, document) = city.hub.record(id).await;
    assert_eq!((status, &document["record"]["title"]), (200, &json!("滨江步道信息")));
}

#[tokio::test]
async fn the_same_title_in_two_districts_stays_two_records() {
    let city = City::start(PROGRAM).await;
    let nodes = [city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await];
    for node in &nodes {
        node.put(None, &rows::content(3)).await.unwrap();
    }
    for node in &nodes {
        city.level(node).await;
    }
    let answer = city.hub.search_with(&[("q", "公交站点信息3"), ("copies", "apart")]).await;
    assert_eq!(answer["total"], 2);
    let mut districts: Vec<&str> = answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["district"]["name"].as_str().unwrap())
        .collect();
    districts.sort_unstable();
    assert_eq!(districts, ["徐汇区", "浦东新区"]);
}

#[tokio::test]
async fn view_and_index_come_back_from_the_journal_with_the_same_answers() {
    const QUERIES: [&str; 6] =
        ["图书馆", "停车场 泊位", "公交站点信息13", "开放时间", "没有这个词", "307001"];
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let file = city.root().join("a.csv");
    std::fs::write(&file, rows::csv(&rows::rows(0..60))).unwrap();
    let report = node.import(&file, Options::default()).await.unwrap();
    assert_eq!(report.new, 60);
    let ids: Vec<_> = node.list().await.into_iter().map(|shown| shown.id).collect();
    for id in &ids[..5] {
        node.withdraw(*id, "重复").await.unwrap();
    }
    city.level(&node).await;

    let mut before = Vec::new();
    for member in [&city.hub, &node] {
        before.push((member.status().await.view, answers(member, &QUERIES).await));
    }
    assert!(before[0].1.iter().any(|answer| answer["total"] == 55), "{:?}", before[0].1);
    let listed = node.list().await;
    city.hub.stop().await;
    node.stop().await;
    for dir in [city.hub.dir(), node.dir()] {
        for part in ["view", "index"] {
            std::fs::remove_dir_all(dir.join("data").join(part)).unwrap();
        }
    }
    city.hub.start().await;
    node.start().await;
    city.level(&node).await;
    for (member, (view, found)) in [&city.hub, &node].into_iter().zip(before) {
        assert_eq!(member.status().await.view, view);
        assert_eq!(answers(member, &QUERIES).await, found);
    }
    let states = |list: Vec<liandong_node::command::Shown>| -> Vec<_> {
        list.into_iter().map(|shown| (shown.id, shown.status, shown.op_hash)).collect()
    };
    assert_eq!(states(node.list().await), states(listed));
}

/// Totals and the set of records of each query; freshness and scores of ties move.
async fn answers(member: &liandong_tests::Member, queries: &[&str]) -> Vec<Value> {
    let mut answers = Vec::new();
    for query in queries {
        let answer = member.search_with(&[("q", query), ("limit", "100")]).await;
        let mut ids: Vec<&str> = answer["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["id"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        answers.push(json!({ "query": query, "total": answer["total"], "ids": ids }));
    }
    answers
}

#[tokio::test]
async fn a_district_whose_node_is_gone_is_shown_as_offline_with_its_age() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    wait_until("the hub shows the district as offline", async || {
        let answer = city.hub.search("停车场").await;
        let district = &answer["hits"][0]["district"];
        let told = district["state"] == "offline" && district["as_of_ms"].is_i64();
        told.then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
    let told = city.hub.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("离线"), "{told}");
}
