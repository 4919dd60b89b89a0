//! Feeds that do not follow the rules: broken ones are refused whole, and histories that diverge are frozen.

use std::time::Duration;

use liandong_core::{
    id::{Hash, Head},
    limit,
    op::SignedOp,
    wire::{Down, Reject, RejectCode, Up},
};
use liandong_tests::{
    City, Member,
    raw::{Peer, Stream},
    rows, wait_until, wait_until_within,
};

use crate::{PROGRAM, clone_of, copy_dir, hub_shows, shows};

/// Sends one batch on a stream of its own and returns what the hub says.
async fn push(city: &City, peer: &Peer, head: Head, after: Head, ops: Vec<SignedOp>) -> Reject {
    let url = city.hub.grpc_url();
    let mut stream = Stream::open(&url, &peer.tls(), peer.hello(head)).await.unwrap();
    let welcome = stream.next().await.unwrap();
    assert!(matches!(welcome, Some(Down::Welcome(_))), "{welcome:?}");
    stream.send(Up::Batch { after, ops }).await;
    loop {
        match stream.next().await.unwrap() {
            Some(Down::Reject(reject)) => return reject,
            Some(_) => {}
            None => panic!("the stream ended without a reason"),
        }
    }
}

#[tokio::test]
async fn ops_that_break_a_rule_are_refused_whole_and_told_by_rule() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let feed = node.status().await.feed;
    let head = Head { seq: feed.seq, hash: feed.hash };
    // The node's own stream would take over from the ones made by hand.
    node.stop().await;
    let peer = Peer::of(node.dir());
    let stranger = Peer::of(city.enrol("310104", "徐汇区").await.dir());
    let far = Head { seq: head.seq + 3, hash: Hash::of(&[b"never written"]) };

    let good = peer.op(head, "好的一条");
    let mut large = good.signed.clone();
    large.payload = vec![b' '; 80 * 1024].into();
    let mut forged = good.signed.clone();
    forged.signature = forged.signature.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
    let mut changed = good.signed.clone();
    changed.payload = changed.payload.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
    let gap = peer.op(far, "跳过三条").signed;
    let others = stranger.op(head, "别区的一条").signed;

    let cases = [
        ("oversized", head, vec![large], RejectCode::TooLarge, "超过大小上限"),
        ("forged", head, vec![forged], RejectCode::BadSignature, "签名验证失败"),
        ("changed payload", head, vec![changed], RejectCode::Malformed, "已损坏"),
        (
            "gap within the batch",
            head,
            vec![good.signed.clone(), gap.clone()],
            RejectCode::BadChain,
            "不连续",
        ),
        ("gap before the batch", far, vec![gap], RejectCode::BadChain, "与中心不同"),
        ("another district's", head, vec![others], RejectCode::WrongFeed, "不属于本数据流"),
    ];
    for (what, after, ops, code, told) in cases {
        let reject = push(&city, &peer, good.head(), after, ops).await;
        assert_eq!(reject.code, code, "{what}: {reject:?}");
        assert!(
            reject.explain.contains(told) && reject.explain.contains("/ "),
            "{what}: {reject:?}"
        );
        city.hub.logs(&["WARN", "stream refused", &format!("{code:?}"), told]).await;
        let there = city.district("310115").await;
        assert_eq!((there.seq, there.hash), (head.seq, head.hash), "{what} left nothing");
        assert!(there.explain.unwrap_or_default().contains(told), "{what} is shown");
    }
    // The true node goes on as if nothing had been.
    node.start().await;
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
}

#[tokio::test]
async fn a_node_restored_from_an_old_copy_is_frozen_and_shown_at_both_ends() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    let backup = city.root().join("backup");
    copy_dir(node.dir(), &backup);
    node.start().await;
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    std::fs::remove_dir_all(node.dir()).unwrap();
    copy_dir(&backup, node.dir());
    let before = city.district("310115").await;

    // Without leave to go on by itself it waits for a person.
    node.set_env("LIANDONG_RECOVER__FAST_FORWARD", "false");
    node.start().await;
    let told = shows(&node, "rollback").await;
    assert!(told.contains("从旧备份恢复") && told.contains("Frozen"), "{told}");
    let told = node.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("已冻结：节点回退"), "{told}");
    let told = hub_shows(&city, "310115", "rollback").await;
    assert!(told.contains("落后于中心已确认的"), "{told}");
    city.hub.logs(&["ERROR", "a person must look at this node", "ROLLBACK"]).await;
    let told = city.hub.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("已冻结：节点回退") && told.contains("落后于中心已确认的"), "{told}");

    // Its people can work on; what they write does not reach the city before somebody decides.
    node.put(None, &rows::content(3)).await.unwrap();
    let _forked = shows(&node, "fork").await;
    let after = city.district("310115").await;
    assert_eq!((after.seq, after.hash), (before.seq, before.hash));
    assert_eq!(city.hub.search("停车场泊位信息1").await["total"], 1, "the city shows what it had");
}

#[tokio::test]
async fn of_a_node_and_its_clone_the_one_that_wrote_apart_is_frozen_and_the_other_goes_on() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    let mut clone = clone_of(&city, &node, "clone");
    // The original writes and is in sync; the clone has written something else meanwhile.
    node.start().await;
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    let put = put_offline(&clone, 3).await;
    assert_eq!(put, 2, "the same position as the original's op");

    clone.start().await;
    let told = shows(&clone, "fork").await;
    assert!(told.contains("已分叉") && told.contains("Frozen"), "{told}");
    city.hub.logs(&["ERROR", "a person must look at this node", "FORK"]).await;
    let told = city.hub.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("已分叉"), "the hub's people see it: {told}");

    // The original goes on, and the clone stays out however often it tries.
    for number in 4..8 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    city.level(&node).await;
    assert_eq!(clone.link().await.state.name(), "fork");
    let _frozen = clone.put(None, &rows::content(9)).await.unwrap();
    let tries = refusals(&city);
    wait_until("the clone has tried again", async || {
        let more = refusals(&city);
        (more > tries + 1).then_some(()).ok_or(format!("{tries} tries, then {more}"))
    })
    .await;
    // Its attempts do not make the original look late.
    let (local, there) = (node.status().await.feed, city.district("310115").await);
    assert_eq!((local.seq, local.hash), (there.seq, there.hash));
    assert_eq!((there.state.name(), there.lag_records), ("in_sync", 0), "{there:?}");
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_closed_however_busy_other_districts_are() {
    let city = City::start(PROGRAM).await;
    let busy = city.join("310115", "浦东新区").await;
    let peer = Peer::of(city.enrol("310104", "徐汇区").await.dir());
    let url = city.hub.grpc_url();
    let _silent = Stream::open(&url, &peer.tls(), peer.hello(Head::EMPTY)).await.unwrap();
    let _connected = hub_shows(&city, "310104", "in_sync").await;
    let mut number = 0;
    let within = Duration::from_millis(limit::SILENCE_MS + limit::HEARTBEAT_MS);
    wait_until_within(within, "the silent district is offline", async || {
        number += 1;
        busy.put(None, &rows::content(number)).await.unwrap();
        let district = city.district("310104").await;
        (district.state.name() == "offline").then_some(()).ok_or_else(|| format!("{district:?}"))
    })
    .await;
    city.hub.logs(&["a silent stream is closed", &peer.identity.feed.to_string()]).await;
}

fn refusals(city: &City) -> usize {
    city.hub.log().matches("a person must look at this node").count()
}

/// Writes a record at a node that does not run; returns its position.
async fn put_offline(node: &Member, number: usize) -> u64 {
    let file = node.dir().join("new.json");
    std::fs::write(&file, rows::content(number).to_string()).unwrap();
    let edited = node.cli_json(&["record", "put", file.to_str().unwrap()]).await;
    edited["seq"].as_u64().unwrap()
}
