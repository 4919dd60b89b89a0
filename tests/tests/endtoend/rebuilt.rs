//! Hubs that lost their disk or came from an older copy: what the nodes hold comes back, decisions too.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use liandong_core::id::RecordId;
use liandong_hub::recovery::{Recovered, RecoveryState};
use liandong_tests::{City, Member, rows, wait_until, wait_until_within};
use serde_json::json;

use crate::{PROGRAM, copy_dir};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits until a node mirrors all that the hub has decided.
async fn mirrors(city: &City, node: &Member) {
    wait_until("the node mirrors the hub's feed", async || {
        let (hub, here) = (city.hub.status().await.feed.seq, node.status().await.city);
        let here = here.map(|city| city.hub_seq);
        (here == Some(hub)).then_some(()).ok_or(format!("hub {hub}, here {here:?}"))
    })
    .await;
}

async fn recovery(city: &City) -> RecoveryState {
    serde_json::from_value(city.hub.cli_json(&["recover", "status"]).await).unwrap()
}

/// Waits until the hub serves again.
async fn recovered(city: &City) -> Recovered {
    wait_until_within(Duration::from_mins(1), "the hub has recovered", async || {
        let state = recovery(city).await;
        let last = state.last.clone().filter(|_| state.recovering.is_none());
        last.ok_or_else(|| format!("{state:?}"))
    })
    .await
}

/// What the city shows, to be compared with what it shows later.
async fn shown(city: &City) -> (String, u64, u64) {
    let status = city.hub.status().await;
    (status.view.root.to_string(), status.view.records, status.index.documents)
}

/// Waits until the city shows what it showed.
async fn shows_again(city: &City, before: &(String, u64, u64)) {
    wait_until("the city shows what it showed", async || {
        let now = shown(city).await;
        (now == *before).then_some(()).ok_or_else(|| format!("{now:?}, before {before:?}"))
    })
    .await;
}

/// A city of three districts with a few records each.
async fn filled() -> (City, Vec<Member>, Vec<RecordId>) {
    let city = City::start(PROGRAM).await;
    let (mut nodes, mut ids) = (Vec::new(), Vec::new());
    let districts = [("310115", "浦东新区"), ("310104", "徐汇区"), ("310106", "静安区")];
    for (number, (code, name)) in districts.into_iter().enumerate() {
        let node = city.join(code, name).await;
        for record in 0..3 {
            let content = rows::content(number * 10 + record);
            ids.push(node.put(None, &content).await.unwrap().id);
        }
        city.level(&node).await;
        nodes.push(node);
    }
    (city, nodes, ids)
}

fn old_copy(city: &City, name: &str) -> PathBuf {
    let to = city.root().join(name);
    copy_dir(city.hub.dir(), &to);
    to
}

#[tokio::test]
async fn a_wiped_hub_is_rebuilt_from_its_keys_and_the_nodes_with_every_decision() {
    let (mut city, mut nodes, ids) = filled().await;
    let keys = city.root().join("keys.tar.zst");
    let _kept = city.hub.cli(&["backup", text(&keys), "--keys-only"]).await.exits(0);
    let id = ids[0].to_string();
    let overlay = ["overlay", "set", &id, "--title", "全市图书馆名录", "--theme", "文化"];
    let _set = city.hub.cli(&overlay).await.exits(0);
    let _added = city.add("310113", "宝山区", 3600).await.unwrap();
    let suspend = ["district", "suspend", "310113", "--reason", "尚未备案"];
    let _suspended = city.hub.cli(&suspend).await.exits(0);
    for node in &nodes {
        city.level(node).await;
        mirrors(&city, node).await;
    }
    let before = shown(&city).await;
    let feed = city.hub.status().await.feed;

    for node in &mut nodes {
        node.stop().await;
    }
    city.hub.kill();
    std::fs::remove_dir_all(city.hub.dir()).unwrap();
    // Nothing but the keys is left; what was restored once is not restored over.
    let _made = city.hub.cli(&["init", "--recover", text(&keys)]).await.exits(0);
    let _refused = city.hub.cli(&["init", "--recover", text(&keys)]).await.exits(4);
    city.hub.start().await;
    let told = city.hub.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("中心正在恢复"), "{told}");
    // Before its nodes have spoken it decides nothing.
    let add = ["district", "add", "--code", "310117", "--name", "松江区"];
    let refused = city.hub.cli(&add).await.exits(4);
    assert!(refused.stderr.contains("暂不接受新的决定"), "{refused:?}");
    let refused = city.hub.cli(&["recover", "finish"]).await.exits(4);
    assert!(refused.stderr.contains("--yes"), "{refused:?}");

    for node in &mut nodes {
        node.start().await;
    }
    let report = recovered(&city).await;
    assert_eq!((report.incarnation, report.by.as_str()), (2, "auto"), "{report:?}");
    assert_eq!((report.decisions, report.found.seq), (feed.seq, feed.seq), "{report:?}");
    assert_eq!((report.found.hash, report.districts, report.nodes), (feed.hash, 4, 3));
    assert_eq!(report.withheld, [0; 0]);
    for node in &nodes {
        city.level(node).await;
        mirrors(&city, node).await;
        assert_eq!(node.link().await.incarnation, 2);
        let told = node.cli(&["status"]).await.exits(0).stdout;
        assert!(told.contains("中心已重建（第 2 代）/ hub was rebuilt, incarnation 2"), "{told}");
    }
    shows_again(&city, &before).await;
    // The decisions are there, and new ones are made.
    let shown = city.hub.cli_json(&["overlay", "show", &id]).await;
    assert_eq!(shown["overlay"]["title"], "全市图书馆名录", "{shown}");
    assert_eq!(city.district("310113").await.state.name(), "suspended");
    let _added = city.hub.cli(&add).await.exits(0);
    let verified = city.hub.cli_json(&["verify"]).await;
    assert_eq!(verified["faults"], json!([]), "{verified}");
    let told = city.hub.cli(&["recover", "status"]).await.exits(0).stdout;
    assert!(told.contains("中心已重建"), "{told}");
}

#[tokio::test]
async fn a_hub_restored_from_an_older_backup_learns_from_the_nodes_what_it_had_decided_since() {
    let (mut city, mut nodes, ids) = filled().await;
    let backup = city.root().join("hub.tar.zst");
    let _made = city.hub.cli(&["backup", text(&backup)]).await.exits(0);
    // Since then: a new district with its node, records, a decision.
    let late = city.join("310113", "宝山区").await;
    late.put(None, &rows::content(77)).await.unwrap();
    nodes[0].put(None, &rows::content(78)).await.unwrap();
    let id = ids[1].to_string();
    let hold = ["hold", "put", &id, "--legal-basis", "个人信息保护法", "--reason", "含手机号码"];
    let _hidden = city.hub.cli(&hold).await.exits(0);
    nodes.push(late);
    for node in &nodes {
        city.level(node).await;
        mirrors(&city, node).await;
    }
    let before = shown(&city).await;

    city.hub.kill();
    std::fs::remove_dir_all(city.hub.dir()).unwrap();
    let into = city.hub.dir().to_owned();
    let told = city.hub.cli(&["restore", text(&backup), "--into", text(&into)]).await.exits(0);
    assert!(told.stdout.contains("liandong-hub recover status"), "{told:?}");
    city.hub.start().await;
    let report = recovered(&city).await;
    assert_eq!((report.incarnation, report.districts, report.nodes), (2, 4, 4), "{report:?}");
    assert!(report.decisions > 0 && report.base.seq > 0, "{report:?}");
    for node in &nodes {
        city.level(node).await;
        mirrors(&city, node).await;
    }
    shows_again(&city, &before).await;
    assert_eq!(city.hub.record(ids[1]).await.0, 410, "what was held is held");
}

#[tokio::test]
async fn a_hub_that_was_replaced_by_an_old_copy_finds_out_from_its_nodes() {
    let (mut city, nodes, _ids) = filled().await;
    city.hub.stop().await;
    let copy = old_copy(&city, "copy");
    city.hub.start().await;
    let _added = city.add("310113", "宝山区", 3600).await.unwrap();
    for node in &nodes {
        city.level(node).await;
        mirrors(&city, node).await;
    }
    let before = city.hub.status().await.feed;

    city.hub.kill();
    std::fs::remove_dir_all(city.hub.dir()).unwrap();
    copy_dir(&copy, city.hub.dir());
    city.hub.start().await;
    city.hub.logs(&["ERROR", "nodes hold decisions that this hub has lost"]).await;
    let report = recovered(&city).await;
    assert_eq!((report.found.seq, report.found.hash), (before.seq, before.hash), "{report:?}");
    assert_eq!(city.district("310113").await.name, "宝山区");
    for node in &nodes {
        city.level(node).await;
        mirrors(&city, node).await;
    }
}

#[tokio::test]
async fn a_hub_that_decided_otherwise_since_keeps_the_other_history_aside_and_tells() {
    let (mut city, mut nodes, _ids) = filled().await;
    city.hub.stop().await;
    let copy = old_copy(&city, "copy");
    city.hub.start().await;
    let _added = city.add("310113", "宝山区", 3600).await.unwrap();
    for node in &mut nodes {
        mirrors(&city, node).await;
        node.stop().await;
    }
    let lost = city.hub.status().await.feed.seq;

    city.hub.kill();
    std::fs::remove_dir_all(city.hub.dir()).unwrap();
    copy_dir(&copy, city.hub.dir());
    city.hub.start().await;
    // Nobody was there to tell it, so it decides something else at the same place.
    let _added = city.add("310117", "松江区", 3600).await.unwrap();
    let feed = city.hub.status().await.feed;
    for node in &mut nodes {
        node.start().await;
    }
    city.hub.logs(&["ERROR", "a node mirrors another feed of this hub"]).await;
    let state = wait_until("every mirror is kept aside", async || {
        let state = recovery(&city).await;
        (state.forks.len() == 3).then_some(state.clone()).ok_or(format!("{state:?}"))
    })
    .await;
    assert!(state.recovering.is_none(), "nothing is adopted silently: {state:?}");
    assert!(state.forks.iter().all(|fork| fork.head.seq == lost), "{state:?}");
    let now = city.hub.status().await.feed;
    assert_eq!((now.seq, now.hash), (feed.seq, feed.hash));
    // The districts' own data goes on.
    let put = nodes[0].put(None, &rows::content(99)).await.unwrap();
    wait_until("the hub has it", async || {
        let (status, body) = city.hub.record(put.id).await;
        (status == 200).then_some(()).ok_or_else(|| body.to_string())
    })
    .await;
    let told = city.hub.cli(&["recover", "status"]).await.exits(0).stdout;
    assert_eq!(told.matches("镜像分叉").count(), 3, "{told}");
}

#[tokio::test]
async fn a_person_ends_the_wait_for_a_node_that_will_not_come() {
    let (mut city, mut nodes, _ids) = filled().await;
    for node in &nodes {
        mirrors(&city, node).await;
    }
    let keys = city.root().join("kept");
    for part in ["keys", "ca", "config.toml"] {
        let from = city.hub.dir().join(part);
        if from.is_dir() {
            copy_dir(&from, &keys.join(part));
        } else {
            std::fs::copy(&from, keys.join(part)).unwrap();
        }
    }
    let mut gone = nodes.pop().unwrap();
    gone.stop().await;
    city.hub.kill();
    std::fs::remove_dir_all(city.hub.dir()).unwrap();
    let _made = city.hub.cli(&["init", "--recover", text(&keys)]).await.exits(0);
    city.hub.start().await;
    wait_until("two of three have spoken", async || {
        let state = recovery(&city).await;
        let voices = state.recovering.iter().flat_map(|recovering| &recovering.voices);
        let spoke: Vec<bool> = voices.map(|voice| voice.spoke_ms.is_some()).collect();
        let two = spoke.len() == 3 && spoke.iter().filter(|spoke| **spoke).count() == 2;
        two.then_some(()).ok_or(format!("{state:?}"))
    })
    .await;
    let refused = city.hub.cli(&["recover", "finish"]).await.exits(4);
    assert!(refused.stderr.contains("还有节点没有应答"), "{refused:?}");
    // What is half recovered survives a crash.
    city.hub.restart().await;
    let report = city.hub.cli_json(&["recover", "finish", "--yes"]).await;
    assert_eq!((&report["incarnation"], &report["by"]), (&json!(2), &json!("cli")), "{report}");
    for node in &nodes {
        city.level(node).await;
    }
    // The third is known all the same and brings its records when it comes.
    gone.start().await;
    city.level(&gone).await;
    assert_eq!(city.hub.status().await.view.records, 9);
}
