//! The hub's own key: replaced under the offline root while the city runs, and worth nothing to a thief afterwards.

use std::path::PathBuf;

use liandong_tests::{City, Member, rows, wait_until};
use serde_json::{Value, json};

use crate::PROGRAM;

const OLD_KEY: &str = "keys/feed.pem";

/// A city whose hub speaks often and whose root key was moved away.
async fn begin() -> (City, PathBuf) {
    let mut city = City::prepare(PROGRAM).await;
    city.hub.set_env("LIANDONG_FOLLOW__CHECKPOINT_SECS", "1");
    let told = city.hub.cli(&["doctor"]).await.exits(1);
    assert!(told.stderr.contains("根密钥仍在本机"), "{told:?}");
    let root = city.root().join("offline.pem");
    std::fs::rename(city.hub.dir().join("root.pem"), &root).unwrap();
    city.hub.start().await;
    (city, root)
}

async fn rotate(hub: &Member, root: &std::path::Path) -> Value {
    hub.cli_json(&["key", "rotate", "--root-key", &root.display().to_string()]).await
}

/// Waits until a node has the hub's feed and a complete replica with so many records, and nothing was refused.
async fn follows(node: &Member, records: u64) {
    wait_until(&format!("{} follows the city", node.dir().display()), async || {
        let city = node.status().await.city.expect("a node");
        let whole = city.complete && !city.stale && city.records == records;
        whole.then_some(()).ok_or_else(|| format!("{city:?}"))
    })
    .await;
}

#[tokio::test]
async fn nodes_follow_the_hub_over_a_rotation_and_a_new_one_joins_by_the_anchor() {
    let (mut city, root) = begin().await;
    let anchor = city.root().join("anchor.json").display().to_string();
    let _written = city.hub.cli(&["anchor", "--out", &anchor]).await.exits(0);
    let mut a = city.join("310115", "浦东新区").await;
    let b = city.join("310104", "徐汇区").await;
    a.put(None, &rows::content(1)).await.unwrap();
    city.level(&a).await;
    follows(&b, 1).await;

    // The wrong root grants nothing.
    let other = city.root().join("other.pem");
    std::fs::copy(city.hub.dir().join(OLD_KEY), &other).unwrap();
    let other = other.display().to_string();
    let refused = city.hub.cli(&["key", "rotate", "--root-key", &other]).await.exits(4);
    assert!(refused.stderr.contains("根密钥不符"), "{refused:?}");
    let second = city.root().join("second.pem").display().to_string();
    let refused = city.hub.cli(&["key", "root", "--out", &second]).await.exits(4);
    assert!(refused.stderr.contains("已有根密钥"), "{refused:?}");
    assert!(!PathBuf::from(&second).exists(), "a root that is none leaves no file");

    let rotated = rotate(&city.hub, &root).await;
    assert_ne!(rotated["old"], rotated["key"], "{rotated}");
    b.put(None, &rows::content(6)).await.unwrap();
    city.level(&b).await;
    follows(&a, 2).await;
    city.hub.restart().await;
    a.restart().await;
    a.put(None, &rows::content(11)).await.unwrap();
    city.level(&a).await;
    follows(&b, 3).await;

    // One that joins now reads the whole feed, and refuses a hub that is not the anchor's.
    let added = city.add("310106", "静安区", 3600).await.unwrap();
    let late = city.node("late");
    let wrong = city.root().join("wrong.json").display().to_string();
    let mut named: Value = serde_json::from_slice(&std::fs::read(&anchor).unwrap()).unwrap();
    named["hub_root"] = json!("11".repeat(32));
    std::fs::write(&wrong, named.to_string()).unwrap();
    let refused = late.cli(&["init", "--join", &added.token, "--anchor", &wrong]).await.exits(1);
    assert!(refused.stderr.contains("与信任锚文件不符"), "{refused:?}");
    let mut late = city.node("later");
    let added = city.add("310107", "普陀区", 3600).await.unwrap();
    let [http, grpc] = [late.http_url(""), late.grpc_url()]
        .map(|url| url.trim_end_matches('/').rsplit_once('/').unwrap().1.to_owned());
    let join =
        ["init", "--join", &added.token, "--anchor", &anchor, "--http", &http, "--grpc", &grpc];
    let _joined = late.cli(&join).await.exits(0);
    late.start().await;
    follows(&late, 3).await;
    for node in [&a, &b, &late] {
        let city = node.status().await.city.expect("a node");
        assert_eq!(city.refused, 0, "{city:?}");
        let _sound = node.cli(&["verify"]).await.exits(0);
    }
}

#[tokio::test]
async fn a_stolen_old_key_decides_nothing_and_acknowledges_nothing() {
    let (mut city, root) = begin().await;
    let a = city.join("310115", "浦东新区").await;
    a.put(None, &rows::content(1)).await.unwrap();
    city.level(&a).await;
    let stolen = std::fs::read(city.hub.dir().join(OLD_KEY)).unwrap();
    rotate(&city.hub, &root).await;
    a.put(None, &rows::content(6)).await.unwrap();
    city.level(&a).await;
    follows(&a, 2).await;

    // The thief runs the hub with the key of before: it decides nothing, and no node believes what it says.
    city.hub.stop().await;
    let good = std::fs::read(city.hub.dir().join(OLD_KEY)).unwrap();
    assert_ne!(good, stolen);
    std::fs::write(city.hub.dir().join(OLD_KEY), &stolen).unwrap();
    city.hub.start().await;
    let policy = ["policy", "set", "--mass-records", "9"];
    let refused = city.hub.cli(&policy).await.exits(4);
    assert!(refused.stderr.contains("签名密钥已被更换"), "{refused:?}");
    let acked = a.link().await.acked_seq;
    a.put(None, &rows::content(16)).await.unwrap();
    wait_until("the receipt of the old key is refused", async || {
        let link = a.link().await;
        let told = link.explain.clone().unwrap_or_default();
        told.contains("回执验证失败").then_some(()).ok_or_else(|| format!("{link:?}"))
    })
    .await;
    assert_eq!(a.link().await.acked_seq, acked);
    // A lost or stolen key is not needed for getting rid of it.
    rotate(&city.hub, &root).await;
    let _decided = city.hub.cli(&policy).await.exits(0);
    city.level(&a).await;
    follows(&a, 3).await;
    let told = city.hub.cli(&["verify"]).await.exits(0);
    assert!(told.stdout.contains("0 处不符"), "{told:?}");
}

#[tokio::test]
async fn a_hub_of_before_gets_a_root_and_its_nodes_follow_with_the_anchor_they_have() {
    let mut city = City::prepare(PROGRAM).await;
    // As the version before left it.
    std::fs::remove_file(city.hub.dir().join("root.pem")).unwrap();
    std::fs::remove_file(city.hub.dir().join("keys/anchor.json")).unwrap();
    city.hub.start().await;
    let mut node = city.join("310115", "浦东新区").await;
    let anchor = node.dir().join("anchor.json");
    let before = std::fs::read_to_string(&anchor).unwrap();
    assert!(!before.contains("hub_root"), "{before}");
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;

    let root = city.root().join("offline.pem");
    let args = ["key", "root", "--out", &root.display().to_string()];
    let _made = city.hub.cli(&args).await.exits(0);
    rotate(&city.hub, &root).await;
    node.put(None, &rows::content(6)).await.unwrap();
    city.level(&node).await;
    follows(&node, 2).await;
    // What a backup of now holds is enough to follow the keys.
    let to = city.root().join("hub.tar.zst").display().to_string();
    let _taken = city.hub.cli(&["backup", &to]).await.exits(0);
    let to = city.root().join("node.tar.zst").display().to_string();
    let _taken = node.cli(&["backup", &to]).await.exits(0);
    city.hub.restart().await;
    node.restart().await;
    rotate(&city.hub, &root).await;
    node.put(None, &rows::content(11)).await.unwrap();
    city.level(&node).await;
    follows(&node, 3).await;
    assert_eq!(std::fs::read_to_string(&anchor).unwrap(), before);
    let _sound = node.cli(&["verify"]).await.exits(0);
}

#[tokio::test]
async fn a_hub_restored_from_before_a_rotation_recovers_once_the_root_grants_it_a_key() {
    let (mut city, root) = begin().await;
    let node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let backup = city.root().join("hub.tar.zst").display().to_string();
    let _taken = city.hub.cli(&["backup", &backup]).await.exits(0);
    rotate(&city.hub, &root).await;
    let _decided = city.hub.cli(&["policy", "set", "--mass-records", "9"]).await.exits(0);
    node.put(None, &rows::content(6)).await.unwrap();
    city.level(&node).await;
    follows(&node, 2).await;

    city.hub.stop().await;
    std::fs::remove_dir_all(city.hub.dir()).unwrap();
    let into = city.hub.dir().display().to_string();
    let _restored = city.hub.cli(&["restore", &backup, "--into", &into]).await.exits(0);
    assert!(!city.hub.dir().join("root.pem").exists());
    city.hub.start().await;
    city.hub.logs(&["ERROR", "the key here was replaced and signs no longer"]).await;
    rotate(&city.hub, &root).await;
    wait_until("the hub has recovered", async || {
        let status = city.hub.cli_json(&["status"]).await;
        (status["recovery"].is_null()).then_some(()).ok_or_else(|| status.to_string())
    })
    .await;
    let told = city.hub.cli(&["policy", "show"]).await;
    assert!(told.stdout.contains('9'), "{told:?}");
    city.level(&node).await;
    follows(&node, 2).await;
    let _sound = city.hub.cli(&["verify"]).await.exits(0);
}
