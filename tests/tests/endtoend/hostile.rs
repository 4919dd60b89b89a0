//! A hub that lies (F19): it shows the right certificate and may even have the hub's keys. A node notices what can be
//! noticed alone, says so, and never calls complete what is not; what only two nodes can notice, they prove offline.

use std::sync::Arc;

use liandong_core::{
    id::RecordId,
    op::Keys,
    replica::{Equivocation, equivocation, equivocation_with},
};
use liandong_server::{keys, site::CityStatus};
use liandong_store::{disk::RealDisk, journal::Journal};
use liandong_tests::{City, Member, rows, wait_until};

use crate::{
    PROGRAM,
    liar::{Liar, Lie},
    shows,
};

/// A city whose hub is quick with checkpoints, with a district that has two records.
async fn city() -> (City, Member, [RecordId; 2]) {
    let mut city = City::prepare(PROGRAM).await;
    city.hub.set_env("LIANDONG_FOLLOW__CHECKPOINT_SECS", "1");
    city.hub.set_env("LIANDONG_FOLLOW__EXPIRES_SECS", "2");
    city.hub.start().await;
    let node = city.join("310115", "浦东新区").await;
    let one = node.put(None, &rows::content(1)).await.unwrap().id;
    let other = node.put(None, &rows::content(6)).await.unwrap().id;
    city.level(&node).await;
    (city, node, [one, other])
}

async fn city_of(node: &Member) -> CityStatus {
    node.status().await.city.expect("a node")
}

/// Waits until the node says this of its replica.
async fn says(node: &Member, what: &str, it_does: impl Fn(&CityStatus) -> bool) -> CityStatus {
    wait_until(&format!("the replica: {what}"), async || {
        let city = city_of(node).await;
        it_does(&city).then_some(city.clone()).ok_or_else(|| format!("{city:?}"))
    })
    .await
}

fn explains(city: &CityStatus, text: &str) -> bool {
    city.explain.as_ref().is_some_and(|explain| explain.contains(text))
}

fn is_whole(city: &CityStatus, records: u64) -> bool {
    city.complete && !city.stale && city.records == records
}

/// What a hub may lie about, and what the node says.
const LIES: [(Lie, &str, &str); 4] = [
    (Lie::Content, "310104", "区级签名内容无效"),
    (Lie::Denied, "310101", "与市级校验点不一致"),
    (Lie::Root, "310105", "校验点签名无效"),
    (Lie::HubOp, "310106", "中心数据流无效"),
];

#[tokio::test]
async fn what_is_changed_forged_or_denied_on_the_way_is_told_and_never_called_complete() {
    let (city, _a, [about, _]) = city().await;
    for (lie, code, text) in LIES {
        let mut node = city.enrol(code, "").await;
        let liar = Liar::before(&city, &mut node, about).await;
        liar.tell(lie);
        node.start().await;
        // A decision of the hub, so that there is an op of its feed to be changed.
        let _new = city.add(&format!("3102{}", &code[4..]), "某县", 60).await.unwrap();
        let seen = says(&node, text, |city| explains(city, text)).await;
        assert!(!seen.complete, "{lie:?}: {seen:?}");
        let found = node.cli_json(&["search", "--city", "场"]).await;
        assert_eq!(found["complete"], false, "{lie:?}: {found}");
        assert!(found["explain"].as_str().is_some(), "{lie:?}: {found}");
        assert!(!found.to_string().contains("垃圾场"), "{lie:?}: {found}");
        // Work goes on whatever the hub does, and once it tells the truth the replica is whole.
        node.put(None, &rows::content(11)).await.unwrap();
        liar.tell(Lie::None);
        city.level(&node).await;
        let live = city.hub.status().await.view.records;
        let told = says(&node, "is whole", |city| is_whole(city, live)).await;
        println!("{lie:?}: refused {}, then whole with {}", told.refused, told.records);
    }
}

#[tokio::test]
async fn a_record_left_out_of_the_stream_is_found_by_the_root_and_fetched() {
    let (city, _a, [about, _]) = city().await;
    let mut node = city.enrol("310104", "徐汇区").await;
    let liar = Liar::before(&city, &mut node, about).await;
    liar.tell(Lie::LeftOut);
    node.start().await;
    node.logs(&["the replica's root is not the city's"]).await;
    node.logs(&["the replica was audited", "fetched=1", "removed=0"]).await;
    let whole = says(&node, "is whole", |city| is_whole(city, 2)).await;
    assert_eq!(node.record(about).await.0, 200, "{whole:?}");
}

#[tokio::test]
async fn an_old_checkpoint_keeps_no_replica_current() {
    let (city, a, [about, _]) = city().await;
    let mut node = city.enrol("310104", "徐汇区").await;
    let liar = Liar::before(&city, &mut node, about).await;
    node.start().await;
    says(&node, "is whole", |city| is_whole(city, 2)).await;
    a.put(None, &rows::content(16)).await.unwrap();
    let before = says(&node, "is whole, as the newest checkpoint says", |city| {
        is_whole(city, 3) && liar.last_checkpoint().is_some_and(|told| told.count == 3)
    })
    .await;
    liar.tell(Lie::OldCheckpoint);
    says(&node, "is stale and tells of a replay", |city| {
        let told = explains(city, "收到过更新的校验点");
        city.stale && told && city.refused > before.refused
    })
    .await;
    let told = node.cli(&["search", "--city", "停车场"]).await.exits(0).stdout;
    assert!(told.contains("可能过时"), "{told}");
}

#[tokio::test]
async fn two_nodes_prove_offline_that_the_hub_showed_them_different_feeds() {
    let (city, mut a, [about, _]) = city().await;
    a.stop().await;
    let honest = Liar::before(&city, &mut a, about).await;
    a.start().await;
    let mut b = city.enrol("310104", "徐汇区").await;
    let liar = Liar::before(&city, &mut b, about).await;
    b.start().await;
    says(&b, "is whole", |city| is_whole(city, 2)).await;
    liar.tell(Lie::HubFeed);
    let _new = city.add("310230", "崇明县", 60).await.unwrap();
    // The other feed is signed like the true one: alone, neither node can tell.
    let seq = city_of(&a).await.hub_seq + 1;
    for (node, told) in [(&a, &honest), (&b, &liar)] {
        says(node, "rests on the newest op of the hub", |city| {
            let last = told.last_checkpoint();
            is_whole(city, 2) && last.is_some_and(|last| last.hub.seq >= seq)
        })
        .await;
    }
    let hub_feed = city.hub.status().await.feed.id;
    let (_, hub) = keys::open(&city.hub.dir().join("keys")).unwrap();
    let mut hub_keys = Keys::default();
    hub_keys.grant(&hub.public_key(), 1).unwrap();
    let (of_a, of_b) = (honest.last_checkpoint().unwrap(), liar.last_checkpoint().unwrap());
    let proof = equivocation(&of_a, &of_b, &hub.public_key());
    let Some(Equivocation::Feed { seq, hashes }) = proof else {
        panic!("{of_a:?} and {of_b:?} cannot both be true");
    };
    assert_eq!(hashes, [of_a.hub.hash, of_b.hub.hash]);
    // So does what one of them mirrors, with what the other was told.
    b.stop().await;
    let journal = b.dir().join("data").join("journal").join(hub_feed.to_string());
    let journal = Journal::open(Arc::new(RealDisk), &journal, hub_feed).unwrap();
    let op = journal.op(seq).unwrap().unwrap();
    assert_eq!(equivocation_with(&of_a, &op, &hub.public_key(), &hub_keys), proof);
    // And both ends find out as soon as the node speaks to the true hub.
    b.set_env("LIANDONG_HUB__URL", &city.hub.grpc_url());
    b.start().await;
    says(&b, "tells of another hub", |city| explains(city, "中心可能被回退或替换")).await;
    wait_until("the hub tells of a mirror that diverges", async || {
        let told = city.hub.cli(&["recover", "status"]).await.exits(0).stdout;
        if told.contains("镜像分叉") { Ok(()) } else { Err(told) }
    })
    .await;
}

#[tokio::test]
async fn a_receipt_for_what_was_never_sent_freezes_the_feed_and_no_work_is_lost() {
    let (city, _a, [about, _]) = city().await;
    let mut node = city.enrol("310104", "徐汇区").await;
    let liar = Liar::before(&city, &mut node, about).await;
    node.start().await;
    node.put(None, &rows::content(11)).await.unwrap();
    city.level(&node).await;
    liar.tell(Lie::Receipt);
    node.put(None, &rows::content(16)).await.unwrap();
    let told = shows(&node, "fork").await;
    assert!(told.contains("回执"), "{told}");
    node.put(None, &rows::content(21)).await.unwrap();
    liar.tell(Lie::None);
    node.restart().await;
    city.level(&node).await;
    assert_eq!(city.district("310104").await.records, 3);
}
