//! The city's catalogue on its way down: every node finds what every district has, with and without the hub.

use liandong_core::{
    checkpoint::Checkpoint,
    id::RecordId,
    op::Op,
    wire::city::{CityRecord, FollowCursor, write_wanted},
};
use liandong_proto::sync::{
    AuditRequest, CityEvent, FetchRequest, FollowRequest, city_event::M,
    feed_sync_client::FeedSyncClient,
};
use liandong_server::{
    site::CityStatus,
    tls::{self, Timeouts},
};
use liandong_tests::{City, Member, raw::Peer, rows, wait_until};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Streaming, transport::Channel};

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
    assert_eq!(of_a["district"]["name"], "浦东新区");
    let only = b.cli_json(&["search", "--city", "停车场", "--district", "310115"]).await;
    assert_eq!((&only["total"], &only["hits"][0]["id"]), (&json!(1), &json!(id)));
    let nobody = b.cli(&["search", "--city", "停车场", "--district", "310199"]).await.exits(2);
    assert!(nobody.stderr.contains("没有代码为“310199”的区"), "{nobody:?}");

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
        let (district, own) = (&hit["district"], hit["district"]["code"] == "310104");
        let age = district["as_of_ms"].as_i64().unwrap() - aged["as_of"].as_i64().unwrap();
        assert_eq!(age > 0, own, "only its own catalogue is newer than the replica: {hit}");
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
    let asked = AuditRequest { buckets: Vec::new() };
    assert_eq!(client.audit(asked).await.unwrap_err().code(), Code::PermissionDenied);
}

/// Speaks to the hub as this node does.
async fn speaks_as(city: &City, node: &Member) -> FeedSyncClient<Channel> {
    let tls = Peer::of(node.dir()).tls();
    let channel = tls::connect(&city.hub.grpc_url(), &tls, Timeouts::default()).await;
    FeedSyncClient::new(channel.unwrap())
}

/// All events up to the next checkpoint, and that.
async fn up_to_checkpoint(events: &mut Streaming<CityEvent>) -> (Vec<CityEvent>, Checkpoint) {
    let mut seen = Vec::new();
    loop {
        let event = events.message().await.unwrap().expect("a stream that goes on");
        seen.push(event.clone());
        if let Some(M::Checkpoint(checkpoint)) = event.m {
            return (seen, Checkpoint::read(&checkpoint).unwrap());
        }
    }
}

#[tokio::test]
async fn what_is_not_for_a_district_is_in_no_byte_that_the_hub_sends_it() {
    let city = City::start(PROGRAM).await;
    let (a, b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    a.put(None, &rows::content(1)).await.unwrap();
    let secret = a.put(None, &closed(6)).await.unwrap().id;
    let narrowed = a.put(None, &rows::content(11)).await.unwrap().id;
    replicated(&b, 2).await;
    a.put(Some(narrowed), &closed(11)).await.unwrap();
    replicated(&b, 1).await;
    city.level(&a).await;
    let overlay = ["overlay", "set", &secret.to_string(), "--title", "只给浦东看的标题"];
    let _set = city.hub.cli(&overlay).await.exits(0);
    let mut client = speaks_as(&city, &b).await;
    let whole = FollowRequest::from(FollowCursor::default());
    let mut events = client.follow(whole).await.unwrap().into_inner();
    let mut sent = Vec::new();
    let (events_seen, checkpoint) = up_to_checkpoint(&mut events).await;
    sent.extend(events_seen.iter().flat_map(CityEvent::encode_to_vec));
    let asked = AuditRequest { buckets: (0..256).collect() };
    sent.extend(client.audit(asked).await.unwrap().into_inner().encode_to_vec());
    // Not even when it asks for it by name.
    let mut named = client.records(write_wanted(&[secret, narrowed])).await.unwrap().into_inner();
    while let Some(row) = named.message().await.unwrap() {
        assert!(row.core.is_none() && row.overlay.is_none(), "{row:?}");
        sent.extend(row.encode_to_vec());
    }
    let fetch = |feed: &[u8]| {
        let feed_id = feed.to_vec().into();
        FetchRequest { feed_id, after_seq: 0, to_seq: 0 }
    };
    let hub_feed = city.hub.status().await.feed.id;
    let mut own = client.fetch(fetch(hub_feed.as_bytes())).await.unwrap().into_inner();
    while let Some(batch) = own.message().await.unwrap() {
        sent.extend(batch.encode_to_vec());
    }
    let theirs = a.status().await.feed.id;
    let refused = match client.fetch(fetch(theirs.as_bytes())).await {
        Err(refused) => refused,
        Ok(batches) => batches.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let holds = |text: &str| sent.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("停车场泊位信息1") && checkpoint.count >= 1, "what is public is sent");
    for text in ["停车场泊位信息6", "停车场泊位信息11", "只给浦东看的标题"] {
        assert!(!holds(text), "{text} was sent");
    }
}

#[tokio::test]
async fn a_follower_that_reads_slowly_is_told_the_newest_of_each_record_and_not_every_version() {
    const RECORDS: usize = 5;
    const EDITS: usize = 220;
    let city = impatient().await;
    let (a, b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    let long = |number: usize, edit: usize| {
        let mut content = rows::content(number);
        // Some 30 KB, so that what is under way to a reader that does not read is soon full.
        let items: Vec<String> =
            (0..450).map(|item| format!("第{edit}版的第{item}个数据项的中文名称")).collect();
        content["信息项"] = json!(items);
        content
    };
    let mut ids = Vec::new();
    for number in 0..RECORDS {
        ids.push(a.put(None, &long(number, 0)).await.unwrap().id);
    }
    let edit = async |edits: std::ops::RangeInclusive<usize>| {
        for edit in edits {
            let number = edit % RECORDS;
            a.put(Some(ids[number]), &long(number, edit)).await.unwrap();
        }
        city.level(&a).await;
        crate::network::memory(&city.hub)
    };
    // What as many edits cost anyhow, without anybody who is slow: allocators and engines keep what they once needed.
    let before = edit(1..=EDITS).await;
    let mut client = speaks_as(&city, &b).await;
    let whole = FollowRequest::from(FollowCursor::default());
    let mut events = client.follow(whole).await.unwrap().into_inner();
    up_to_checkpoint(&mut events).await;
    let grown = edit(EDITS + 1..=2 * EDITS).await.saturating_sub(before);
    let newest = a.status().await.feed.seq;
    let (mut told, mut reached) = (0, 0);
    wait_until("the follower has been told the newest version", async || {
        for event in up_to_checkpoint(&mut events).await.0 {
            if let Some(M::Record(row)) = event.m {
                let signed = CityRecord::try_from(row).unwrap().core.unwrap();
                reached = Op::parse(signed).unwrap().seq.max(reached);
                told += 1;
            }
        }
        (reached == newest).then_some(()).ok_or_else(|| format!("op {reached} of {newest}"))
    })
    .await;
    println!("{EDITS} edits, {told} rows to a follower that did not read; the hub grew by {grown}");
    assert!(told < EDITS * 3 / 4, "{told} rows for {EDITS} edits of {RECORDS} records");
    assert!(grown < crate::network::GROWTH_MAX, "the hub has grown by {grown} bytes");
}

#[tokio::test]
async fn a_disk_that_fills_stops_the_replica_first_and_no_work_of_the_district() {
    let city = impatient().await;
    let a = city.join("310115", "浦东新区").await;
    a.put(None, &rows::content(1)).await.unwrap();
    let mut b = city.enrol("310104", "徐汇区").await;
    // No disk has as much free as this.
    b.set_env("LIANDONG_REPLICA__KEEP_FREE_MIB", "4000000000");
    b.start().await;
    let waits = wait_until("the replica waits", async || {
        let city = city_of(&b).await;
        let told = city.explain.as_ref().is_some_and(|why| why.contains("全市副本暂停更新"));
        told.then_some(city.clone()).ok_or_else(|| format!("{city:?}"))
    })
    .await;
    assert_eq!((waits.complete, waits.received), (false, 0), "{waits:?}");
    let id = b.put(None, &rows::content(6)).await.unwrap().id;
    b.put(Some(id), &rows::content(11)).await.unwrap();
    city.level(&b).await;
    assert_eq!(b.search("停车场泊位信息11").await["total"], 1);
    let kept = std::fs::metadata(b.dir().join("data").join("reserve")).unwrap().len();
    assert_eq!(kept, liandong_core::limit::RESERVE_BYTES, "room for the journal");
    b.set_env("LIANDONG_REPLICA__KEEP_FREE_MIB", "1");
    b.restart().await;
    replicated(&b, 2).await;
}
