//! The city's catalogue on its way down: every node finds what every district has, with and without the hub.

use liandong_core::{checkpoint::Checkpoint, id::RecordId, wire::city::FollowCursor};
use liandong_proto::sync::{FollowRequest, city_event::M, feed_sync_client::FeedSyncClient};
use liandong_server::{
    site::CityStatus,
    tls::{self, Timeouts},
};
use liandong_tests::{City, Member, raw::Peer, rows, wait_until};
use serde_json::{Value, json};
use tonic::Code;

use crate::PROGRAM;

/// What a node says of its replica.
async fn city_of(node: &Member) -> CityStatus {
    node.status().await.city.expect("a node")
}

/// Waits until a node's replica is complete with so many live records.
async fn replicated(node: &Member, records: u64) -> CityStatus {
    wait_until(&format!("{} holds {records} records", node.dir().display()), async || {
        let city = city_of(node).await;
        let whole = city.complete && !city.stale && city.records == records;
        whole.then_some(city.clone()).ok_or_else(|| format!("{city:?}"))
    })
    .await
}

/// Waits until a search of the whole city at a node finds so many.
async fn finds(node: &Member, text: &str, total: u64) -> Value {
    wait_until(&format!("{text} is found {total} times"), async || {
        let answer = node.cli_json(&["search", "--city", text]).await;
        (answer["total"] == total).then_some(answer.clone()).ok_or_else(|| answer.to_string())
    })
    .await
}

/// A city whose hub is quick with checkpoints, which hold two seconds.
async fn impatient() -> City {
    let mut city = City::prepare(PROGRAM).await;
    city.hub.set_env("LIANDONG_FOLLOW__CHECKPOINT_SECS", "1");
    city.hub.set_env("LIANDONG_FOLLOW__EXPIRES_SECS", "2");
    city.hub.start().await;
    city
}

fn closed(number: usize) -> Value {
    let mut content = rows::content(number);
    content["开放类型"] = json!("不予开放");
    content["共享类型"] = json!("不予共享");
    for reason in ["不予开放理由", "不予共享理由"] {
        content[reason] = json!("含个人信息");
    }
    content
}

#[tokio::test]
async fn what_one_district_has_another_finds_also_when_the_hub_is_gone() {
    let mut city = impatient().await;
    let (a, mut b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    let id = a.put(None, &rows::content(1)).await.unwrap().id;
    b.put(None, &rows::content(6)).await.unwrap();
    let found = finds(&b, "停车场泊位", 2).await;
    replicated(&b, 2).await;
    let of_a = found["hits"].as_array().unwrap().iter().find(|hit| hit["id"] == json!(id));
    let of_a = of_a.unwrap();
    assert_eq!((&of_a["district"], &of_a["own"]), (&json!("浦东新区"), &json!(false)));
    let only = b.cli_json(&["search", "--city", "停车场", "--district", "310115"]).await;
    assert_eq!((&only["total"], &only["hits"][0]["id"]), (&json!(1), &json!(id)));
    let nobody = b.cli(&["search", "--city", "停车场", "--district", "310199"]).await.exits(1);
    assert!(nobody.stderr.contains("没有代码为 310199 的区"), "{nobody:?}");

    city.hub.stop().await;
    // A record that no hub has ever seen is found beside those of the replica.
    b.put(None, &rows::content(11)).await.unwrap();
    let aged = wait_until("the replica says that it is stale", async || {
        let answer = b.cli_json(&["search", "--city", "停车场泊位"]).await;
        let aged = answer["stale"] == true && answer["total"] == 3;
        aged.then_some(answer.clone()).ok_or_else(|| answer.to_string())
    })
    .await;
    assert_eq!(aged["complete"], true, "all of it as of then: {aged}");
    assert!(aged["as_of"].as_i64() > Some(0), "{aged}");
    for hit in aged["hits"].as_array().unwrap() {
        assert_eq!(hit["stale"] == true, hit["own"] == false, "{hit}");
    }
    let told = b.cli(&["search", "--city", "停车场泊位"]).await.exits(0).stdout;
    assert!(told.contains("数据截至") && told.contains("可能过时"), "{told}");
    // It is on disk, not only in memory.
    b.restart().await;
    assert_eq!(b.cli_json(&["search", "--city", "停车场泊位"]).await["total"], 3);
    let answer = b.search_with(&[("q", "停车场泊位"), ("scope", "city")]).await;
    assert_eq!((&answer["total"], &answer["stale"]), (&json!(3), &json!(true)), "{answer}");
    assert_eq!(b.search("停车场泊位").await["total"], 2, "its own catalogue is its own");
    assert_eq!(b.record(id).await.1["district"]["name"], "浦东新区");
    let told = b.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("全市 city：2 条，完整"), "{told}");

    city.hub.start().await;
    assert_eq!(replicated(&b, 3).await.refused, 0);
    finds(&a, "停车场泊位", 3).await;
}

#[tokio::test]
async fn a_withdrawal_and_a_narrowing_reach_every_replica() {
    let city = City::start(PROGRAM).await;
    let (a, b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    let mut ids: Vec<RecordId> = Vec::new();
    for number in [1, 6, 11] {
        ids.push(a.put(None, &rows::content(number)).await.unwrap().id);
    }
    finds(&b, "停车场泊位", 3).await;
    a.withdraw(ids[0], "系统下线").await.unwrap();
    finds(&b, "停车场泊位", 2).await;
    assert_eq!(b.record(ids[0]).await.0, 410, "its stub says why");
    a.put(Some(ids[1]), &closed(6)).await.unwrap();
    finds(&b, "停车场泊位", 1).await;
    assert_eq!(b.record(ids[1]).await.0, 404, "as if it had never been");
    assert_eq!(a.cli_json(&["search", "--city", "停车场泊位"]).await["total"], 2);
    // The roots differ by what only one of them may see.
    let (of_a, of_b) = (replicated(&a, 2).await, replicated(&b, 1).await);
    assert_ne!(of_a.root, of_b.root);
    assert_eq!((of_a.refused, of_b.refused), (0, 0));
}

#[tokio::test]
async fn a_restarted_hub_makes_nodes_compare_roots_and_fetch_nothing_again() {
    let mut city = City::start(PROGRAM).await;
    let (a, b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    for number in 0..5 {
        a.put(None, &rows::content(number)).await.unwrap();
    }
    b.put(None, &rows::content(7)).await.unwrap();
    let before = replicated(&a, 6).await;
    assert_eq!(before.root, replicated(&b, 6).await.root, "both see everything there is");
    assert_eq!(before.received, 6);

    city.hub.restart().await;
    let audited = ["the replica was audited", "buckets=0", "fetched=0", "removed=0"];
    a.logs(&audited).await;
    a.put(None, &rows::content(8)).await.unwrap();
    let after = replicated(&a, 7).await;
    assert_eq!(after.received, 7, "one more record, and none again");
    assert_eq!(after.root, replicated(&b, 7).await.root);
}

#[tokio::test]
async fn a_replica_that_is_deleted_comes_back_by_itself() {
    let city = City::start(PROGRAM).await;
    let (a, mut b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    for number in 0..5 {
        a.put(None, &rows::content(number)).await.unwrap();
    }
    let before = replicated(&b, 5).await;
    b.stop().await;
    std::fs::remove_dir_all(b.dir().join("data").join("replica")).unwrap();
    b.start().await;
    let after = replicated(&b, 5).await;
    assert_eq!((after.root, after.received), (before.root, 5));
}

#[tokio::test]
async fn a_replica_that_holds_something_else_is_found_out_and_put_right() {
    let city = City::start(PROGRAM).await;
    let (mut a, mut b) =
        (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    a.put(None, &rows::content(1)).await.unwrap();
    a.put(None, &closed(6)).await.unwrap();
    b.put(None, &closed(11)).await.unwrap();
    let (before, of_a) = (replicated(&b, 2).await, replicated(&a, 2).await);
    assert_ne!(before.root, of_a.root, "each has one that the other may not see");
    a.stop().await;
    b.stop().await;
    let replica = |node: &Member| node.dir().join("data").join("replica");
    std::fs::remove_dir_all(replica(&b)).unwrap();
    crate::copy_dir(&replica(&a), &replica(&b));
    b.start().await;
    b.logs(&["the replica was audited", "removed=1"]).await;
    assert_eq!(replicated(&b, 2).await.root, before.root);
    let found = b.cli_json(&["search", "--city", "停车场泊位信息6"]).await;
    assert_eq!(found["total"], 0, "what only the other may see is gone: {found}");
}

#[tokio::test]
async fn only_districts_that_take_part_may_follow_and_only_from_the_hubs_own_history() {
    let city = City::start(PROGRAM).await;
    let a = city.join("310115", "浦东新区").await;
    a.put(None, &rows::content(1)).await.unwrap();
    replicated(&a, 1).await;
    let peer = Peer::of(a.dir());
    let channel = tls::connect(&city.hub.grpc_url(), &peer.tls(), Timeouts::default()).await;
    let mut client = FeedSyncClient::new(channel.unwrap());

    let mut events =
        client.follow(FollowRequest::from(FollowCursor::default())).await.unwrap().into_inner();
    let checkpoint = loop {
        let event = events.message().await.unwrap().unwrap();
        if let Some(M::Checkpoint(checkpoint)) = event.m {
            break Checkpoint::read(&checkpoint).unwrap();
        }
    };
    assert_eq!((checkpoint.audience, checkpoint.count), (peer.identity.feed, 1));
    assert_eq!(checkpoint.root, city_of(&a).await.root);

    let mut other = FollowCursor::default();
    (other.hub.seq, other.hub.hash) = (2, checkpoint.root);
    let refused = client.follow(FollowRequest::from(other)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("中心可能被回退或替换"), "{refused}");

    let suspend = ["district", "suspend", "310115", "--reason", "检查"];
    let _done = city.hub.cli(&suspend).await.exits(0);
    let ended = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended}");
    let again = client.follow(FollowRequest::from(FollowCursor::default())).await.unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied);
    let asked = liandong_proto::sync::AuditRequest { buckets: Vec::new() };
    assert_eq!(client.audit(asked).await.unwrap_err().code(), Code::PermissionDenied);
}
