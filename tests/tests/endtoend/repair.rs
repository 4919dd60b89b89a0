//! Disks that change what they were given: one feed is set aside, the rest goes on, and the other side has the bytes.

use std::path::PathBuf;

use liandong_core::id::FeedId;
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::{Value, json};

use crate::{
    PROGRAM, hub_shows,
    recovery::{assert_once, feed_ops, put_offline, verified},
};

/// Flips one bit in the content of an op of a process that does not run.
fn flip(member: &Member, feed: FeedId, seq: usize) {
    let op = &feed_ops(member, feed)[seq - 1];
    let dir = member.dir().join("data/journal").join(feed.to_string());
    let path: PathBuf = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let payload = &op.signed.payload;
    let at = bytes.windows(payload.len()).position(|window| window == payload.as_ref()).unwrap();
    bytes[at + payload.len() / 2] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Directories below `data` that keep damaged files.
fn aside(member: &Member) -> Vec<String> {
    let entries = std::fs::read_dir(member.dir().join("data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("journal.damaged-")).collect()
}

#[tokio::test]
async fn a_flipped_bit_at_the_hub_sets_one_feed_aside_and_its_node_repairs_it() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let other = city.join("310104", "徐汇区").await;
    for number in 1..6 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    other.put(None, &rows::content(8)).await.unwrap();
    city.level(&node).await;
    city.level(&other).await;
    let (feed, before) = (node.status().await.feed.id, city.district("310115").await);
    node.stop().await;
    city.hub.stop().await;
    flip(&city.hub, feed, 3);

    // The hub starts, shows where the damage is, and serves what is before it; the other district notices nothing.
    city.hub.start().await;
    let told = hub_shows(&city, "310115", "damaged").await;
    assert!(told.contains(".seg") && told.contains("第 3 条") && told.contains("op 3"), "{told}");
    assert_eq!(city.district("310115").await.seq, 2);
    let verify = city.hub.cli(&["verify"]).await.exits(1).stdout;
    assert!(verify.contains("第 3 条"), "{verify}");
    let status = city.hub.cli(&["status"]).await.exits(0).stdout;
    assert!(status.contains("日志损坏"), "{status}");
    other.put(None, &rows::content(9)).await.unwrap();
    city.level(&other).await;
    assert_eq!(aside(&city.hub), Vec::<String>::new(), "nothing is moved before the node is there");

    node.start().await;
    city.level(&node).await;
    let after = city.district("310115").await;
    assert_eq!((after.seq, after.hash, after.view_root), (5, before.hash, before.view_root));
    assert_eq!(after.state.name(), "in_sync");
    assert_eq!(aside(&city.hub).len(), 1, "the damaged files are kept");
    verified(&city.hub).await;
    node.put(None, &rows::content(7)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    city.hub.stop().await;
    assert_eq!(assert_once(&node, &city.hub, feed).len(), 6);
}

#[tokio::test]
async fn a_flipped_bit_at_a_node_is_repaired_from_the_hub_and_later_edits_are_kept() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    for number in 1..6 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    city.level(&node).await;
    let feed = node.status().await.feed.id;
    node.stop().await;
    // Two more that the hub has not seen.
    for number in 6..8 {
        let _put = put_offline(&node, &rows::content(number), &[]).await.exits(0);
    }
    let uids: Vec<_> = feed_ops(&node, feed).iter().map(|op| op.uid).collect();
    flip(&node, feed, 2);

    // It still answers its people, says what is wrong, and takes no edits.
    let status = node.cli(&["status"]).await.exits(0).stdout;
    assert!(status.contains("日志段损坏") && status.contains("liandong-node repair"), "{status}");
    let refused = put_offline(&node, &rows::content(9), &["--offline-override"]).await.exits(1);
    assert!(refused.stderr.contains("日志段损坏"), "{refused:?}");
    let repaired = node.cli_json(&["repair"]).await;
    let counts = ["fetched", "salvaged", "again"].map(|name| repaired[name].as_u64().unwrap());
    assert_eq!(counts, [4, 2, 0], "four from the hub, two from the damaged file");
    assert_eq!(node.cli_json(&["repair"]).await, Value::Null, "once is enough");
    assert_eq!(aside(&node), [repaired["aside"].as_str().unwrap()]);
    assert_eq!(feed_ops(&node, feed).iter().map(|op| op.uid).collect::<Vec<_>>(), uids);
    verified(&node).await;

    // Damaged beyond what the hub has, what can be read after it is written again; at the start by itself.
    let _put = put_offline(&node, &rows::content(10), &["--offline-override"]).await.exits(0);
    let uids: Vec<_> = feed_ops(&node, feed).iter().map(|op| op.uid).collect();
    flip(&node, feed, 6);
    node.start().await;
    city.level(&node).await;
    node.logs(&["the journal was repaired", "again=2"]).await;
    assert_eq!(
        node.list().await.len(),
        7,
        "only the record whose op is gone on both sides is missing"
    );
    verified(&node).await;
    verified(&city.hub).await;
    node.stop().await;
    city.hub.stop().await;
    let there = assert_once(&node, &city.hub, feed);
    let lost: Vec<usize> =
        (1..).zip(&uids).filter(|(_, uid)| !there.contains(*uid)).map(|(seq, _)| seq).collect();
    assert_eq!(lost, [6]);
    assert_eq!(aside(&node).len(), 2);
}

#[tokio::test]
async fn a_flipped_bit_in_a_nodes_mirror_of_the_hubs_feed_heals_by_itself() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let hub_feed = city.hub.status().await.feed.id;
    let mirrored = async |node: &Member| {
        let hub_ops = city.hub.status().await.feed.seq;
        wait_until("the hub's feed is mirrored", async || {
            let report = node.cli(&["--json", "verify"]).await.json();
            let ops = report["ops"].as_u64().unwrap();
            let whole = report["faults"] == json!([]);
            (whole && ops > hub_ops).then_some(()).ok_or(report.to_string())
        })
        .await;
    };
    mirrored(&node).await;
    // More of it, written later: without them nobody could tell the damage from a write that was cut off.
    let _joined = city.enrol("310104", "徐汇区").await;
    mirrored(&node).await;
    node.stop().await;
    flip(&node, hub_feed, 2);
    node.start().await;
    mirrored(&node).await;
    city.level(&node).await;
    assert_eq!(aside(&node).len(), 1);
}
