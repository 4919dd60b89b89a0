//! Restored, cloned and forked nodes: what they wrote is never lost and never doubled, and a person ends the freeze.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use liandong_core::{
    city::{City as Told, ConflictState, forked_id},
    id::{FeedId, Head, RecordId},
    op::Op,
};
use liandong_store::{disk::RealDisk, journal::Journal};
use liandong_tests::{City, Member, rows, wait_until};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{PROGRAM, clone_of, copy_dir, hub_shows, setting, shows};

/// Every op of a journal of a process that does not run.
fn ops(journal: &Path, feed: FeedId) -> Vec<Op> {
    let journal = Journal::open(Arc::new(RealDisk), journal, feed).unwrap();
    journal.read(0, usize::MAX, usize::MAX).unwrap()
}

/// Every op of a member's journal of a feed.
pub(crate) fn feed_ops(member: &Member, feed: FeedId) -> Vec<Op> {
    ops(&member.dir().join("data/journal").join(feed.to_string()), feed)
}

/// The city as the feed of a stopped hub tells it.
fn told(hub: &Member, feed: FeedId) -> Told {
    let mut city = Told::default();
    for op in feed_ops(hub, feed) {
        city.apply(&op).unwrap();
    }
    city
}

/// No op is there twice, and node and hub have the same bytes.
pub(crate) fn assert_once(node: &Member, hub: &Member, feed: FeedId) -> BTreeSet<[u8; 16]> {
    let (here, there) = (feed_ops(node, feed), feed_ops(hub, feed));
    assert_eq!(here, there, "node and hub hold the same bytes");
    let uids: BTreeSet<_> = here.iter().map(|op| op.uid).collect();
    assert_eq!(uids.len(), here.len(), "no op is there twice");
    uids
}

/// Entry number `number` under another title.
fn titled(number: usize, title: &str) -> Value {
    let mut content = rows::content(number);
    content["信息资源名称"] = json!(title);
    content
}

/// Puts a record at a node that does not run, with more arguments.
pub(crate) async fn put_offline(
    node: &Member,
    content: &Value,
    more: &[&str],
) -> liandong_tests::Ran {
    let file = node.dir().join("new.json");
    std::fs::write(&file, content.to_string()).unwrap();
    node.cli(&[&["record", "put", file.to_str().unwrap()], more].concat()).await
}

/// Takes the directory back to what a backup has; everything outside it stays as it is.
fn restore(node: &Member, backup: &Path) {
    std::fs::remove_dir_all(node.dir()).unwrap();
    copy_dir(backup, node.dir());
}

async fn titles_at(node: &Member) -> BTreeMap<RecordId, String> {
    let title = |shown: &liandong_node::command::Shown| {
        let record = shown.record.as_ref();
        record.and_then(|record| record["title"].as_str()).unwrap_or("—").to_owned()
    };
    node.list().await.iter().map(|shown| (shown.id, title(shown))).collect()
}

pub(crate) async fn verified(member: &Member) {
    let _verified = member.cli(&["verify"]).await.exits(0);
}

#[tokio::test]
async fn a_node_restored_without_edits_takes_what_the_hub_has_by_itself() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    let backup = city.root().join("backup");
    copy_dir(node.dir(), &backup);
    node.start().await;
    for number in 2..40 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    city.level(&node).await;
    let before = (city.district("310115").await, titles_at(&node).await);
    node.stop().await;
    restore(&node, &backup);

    node.start().await;
    city.level(&node).await;
    let after = city.district("310115").await;
    assert_eq!((after.seq, after.hash), (before.0.seq, before.0.hash), "the mirror is as it was");
    assert_eq!(titles_at(&node).await, before.1);
    city.hub.logs(&["a feed was joined again", "fast_forward"]).await;
    // It goes on from there.
    node.put(None, &rows::content(40)).await.unwrap();
    city.level(&node).await;
    verified(&node).await;
    verified(&city.hub).await;

    let (feed, hub_feed) = (node.status().await.feed.id, city.hub.status().await.feed.id);
    node.stop().await;
    city.hub.stop().await;
    assert_eq!(assert_once(&node, &city.hub, feed).len(), 40);
    let told = told(&city.hub, hub_feed);
    assert_eq!(told.rejoins.len(), 1, "{:?}", told.rejoins);
    assert_eq!(told.directory.feeds[&feed].incarnation, 2);
    assert_eq!(told.conflicts.get(&forked_id(feed, 1)).unwrap().state(), ConflictState::Decided);
}

/// A node that was restored and then edited past its old head, while the guard was in the way. The record is the one
/// that both sides have changed.
async fn edited_past_its_head(city: &City) -> (Member, RecordId) {
    let mut node = city.join("310115", "浦东新区").await;
    let first = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    node.stop().await;
    let backup = city.root().join("backup");
    copy_dir(node.dir(), &backup);
    node.start().await;
    node.put(Some(first), &titled(1, "市里见过的标题")).await.unwrap();
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    restore(&node, &backup);

    // The guard outside the directory knows better; a person may still insist.
    let refused = put_offline(&node, &rows::content(3), &[]).await.exits(4);
    assert!(refused.stderr.contains("旧备份") && refused.stderr.contains("--offline-override"));
    let change = titled(1, "恢复之后的标题");
    let (id, over) = (first.to_string(), "--offline-override");
    let _put = put_offline(&node, &change, &["--id", &id, over]).await.exits(0);
    for number in 3..6 {
        let _put = put_offline(&node, &rows::content(number), &[]).await.exits(0);
    }
    (node, first)
}

#[tokio::test]
async fn a_node_restored_and_edited_past_its_old_head_keeps_every_edit() {
    let mut city = City::start(PROGRAM).await;
    let (mut node, first) = edited_past_its_head(&city).await;
    node.start().await;
    let told_text = shows(&node, "fork").await;
    assert!(told_text.contains("liandong-node rejoin"), "{told_text}");
    let there = hub_shows(&city, "310115", "fork").await;
    assert!(there.contains("liandong-node rejoin"), "{there}");

    // The plan changes nothing.
    let plan = node.cli(&["--json", "rejoin", "--reason", "restored"]).await.exits(4).json();
    let counts = |report: &Value| {
        ["mine", "theirs", "again", "known", "clashes"].map(|name| report[name].as_u64().unwrap())
    };
    assert_eq!(counts(&plan), [4, 2, 3, 0, 1], "{plan}");
    assert_eq!(plan["done"], false);
    assert_eq!(shows(&node, "fork").await, told_text);
    let dry = node.cli(&["rejoin", "--dry-run"]).await.exits(0).stdout;
    assert!(
        dry.contains("重新写入") && dry.contains("--yes") && dry.contains("nothing is lost"),
        "{dry}"
    );

    let args = ["--json", "rejoin", "--reason", "restored", "--operator", "张三", "--yes"];
    let done = node.cli(&args).await.exits(0).json();
    assert_eq!((counts(&done), &done["done"]), ([4, 2, 3, 0, 1], &json!(true)));
    city.level(&node).await;
    let titles = titles_at(&node).await;
    assert_eq!(titles.len(), 5);
    assert_eq!(titles[&first], "市里见过的标题", "the city's version stays until somebody decides");

    // A person compares both and decides.
    let queue = node.cli_json(&["conflict", "list"]).await;
    let clash = queue[0]["id"].as_str().unwrap();
    assert_eq!(queue.as_array().unwrap().len(), 1);
    let shown = node.cli(&["conflict", "show", clash]).await.exits(0).stdout;
    for text in ["标题", "公交站点", "停车场泊位信息1", "恢复之后的标题", "市里见过的标题"]
    {
        assert!(text == "公交站点" || shown.contains(text), "{text}: {shown}");
    }
    assert_eq!(node.link().await.conflicts, 1);
    let _kept = node.cli(&["conflict", "resolve", clash, "--keep", "mine"]).await.exits(0);
    let again = node.cli(&["conflict", "resolve", clash, "--keep", "theirs"]).await.exits(4);
    assert!(again.stderr.contains("已经处理"), "{again:?}");
    city.level(&node).await;
    assert_eq!(titles_at(&node).await[&first], "恢复之后的标题");
    assert_eq!(node.cli_json(&["conflict", "list"]).await, json!([]));

    // The hub has kept what was given up, and says by whom.
    let kept = city.hub.cli_json(&["archive", "show", "310115"]).await;
    assert_eq!((&kept[0]["operator"], &kept[0]["whole"]), (&json!("张三"), &json!(true)));
    assert_eq!(kept[0]["ops"].as_array().unwrap().len(), 4);
    let listed = city.hub.cli(&["archive", "list"]).await.exits(0).stdout;
    assert!(listed.contains("张三") && listed.contains("restored"), "{listed}");
    verified(&node).await;
    verified(&city.hub).await;

    let (feed, hub_feed) = (node.status().await.feed.id, city.hub.status().await.feed.id);
    node.stop().await;
    city.hub.stop().await;
    let uids = assert_once(&node, &city.hub, feed);
    let aside = node.dir().join("data").join(done["aside"].as_str().unwrap());
    for op in ops(&aside, feed).iter().filter(|op| op.subject.as_ref() != first.to_bytes()) {
        assert!(uids.contains(&op.uid), "op {} of the old journal is there", op.seq);
    }
    let told = told(&city.hub, hub_feed);
    assert_eq!(told.conflicts.get(&forked_id(feed, 1)).unwrap().state(), ConflictState::Decided);
    assert_eq!((told.rejoins.len(), told.rejoins[0].archived), (1, 4));
}

/// Both clones' ops are in the feed once each, and the hub's feed says how that came.
async fn assert_all_are_there(city: &mut City, first: &Member, mut second: Member) {
    let (feed, hub_feed) = (second.status().await.feed.id, city.hub.status().await.feed.id);
    second.stop().await;
    city.hub.stop().await;
    let uids = assert_once(&second, &city.hub, feed);
    for op in feed_ops(first, feed) {
        assert!(uids.contains(&op.uid), "op {} of the first one is there", op.seq);
    }
    let told = told(&city.hub, hub_feed);
    assert_eq!(told.rejoins.len(), 1);
    let [old, new] = [first, &second]
        .map(|member| liandong_server::keys::open(&member.dir().join("keys")).unwrap().0);
    assert!(old.instance != new.instance && new.incarnation == 2, "the clone has its own name");
    assert_eq!(told.directory.feeds[&feed].instance, new.instance);
}

#[tokio::test]
async fn of_two_clones_that_both_wrote_one_goes_on_and_the_other_comes_back_by_a_persons_word() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let shared = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    node.stop().await;
    let mut clone = clone_of(&city, &node, "clone");
    let id = shared.to_string();
    for (member, title, number) in [(&node, "原机的标题", 2), (&clone, "副本的标题", 3)] {
        let _put = put_offline(member, &titled(1, title), &["--id", &id]).await.exits(0);
        let _put = put_offline(member, &rows::content(number), &[]).await.exits(0);
    }
    // Both at the same time: one extends, the other is frozen and told in words.
    node.spawn();
    clone.spawn();
    node.ready().await;
    clone.ready().await;
    let fork = wait_until("one is in sync and the other frozen", async || {
        let [here, there] = [node.link().await, clone.link().await];
        let states = [here.state.name(), there.state.name()];
        match states {
            ["fork", "in_sync"] => Ok(true),
            ["in_sync", "fork"] => Ok(false),
            _ => Err(format!("{states:?}")),
        }
    })
    .await;
    let (mut first, mut second) = if fork { (clone, node) } else { (node, clone) };
    let explain = second.link().await.explain.unwrap();
    assert!(explain.contains("已分叉") && explain.contains("liandong-node rejoin"), "{explain}");

    // Alternately: the frozen one works on for its people and stays out, whoever comes first.
    first.stop().await;
    second.restart().await;
    let _told = shows(&second, "fork").await;
    second.put(None, &rows::content(4)).await.unwrap();
    let before = city.district("310115").await;
    first.start().await;
    first.put(None, &rows::content(5)).await.unwrap();
    city.level(&first).await;
    let after = city.district("310115").await;
    assert_eq!(after.seq, before.seq + 1, "only the first one's op has come");
    let refusals = |hub: &Member| hub.log().matches("a person must look at this node").count();
    let tries = refusals(&city.hub);
    wait_until("the frozen one has tried again", async || {
        let more = refusals(&city.hub);
        (more > tries + 1).then_some(()).ok_or(format!("{tries} tries, then {more}"))
    })
    .await;

    // The first one is retired, the second one comes back with all it wrote.
    first.stop().await;
    let done = second.cli(&["--json", "rejoin", "--reason", "cloned", "--yes"]).await.exits(0);
    assert_eq!(done.json()["clashes"], 1, "{done:?}");
    city.level(&second).await;
    let titles = titles_at(&second).await;
    assert_eq!(titles.len(), 5);
    let clash = second.cli_json(&["conflict", "list"]).await[0]["id"].as_str().unwrap().to_owned();
    let resolve = ["conflict", "resolve", &clash, "--keep", "theirs"];
    let _kept = second.cli(&resolve).await.exits(0);
    city.level(&second).await;

    // The retired one is now behind, and it is of an older incarnation: it does not take over by itself.
    first.start().await;
    let _told = shows(&first, "rollback").await;
    first.logs(&["does not go on by itself", "another copy has joined again"]).await;
    assert_eq!(second.link().await.state.name(), "in_sync");
    first.stop().await;
    verified(&second).await;
    verified(&city.hub).await;

    assert_all_are_there(&mut city, &first, second).await;
}

#[tokio::test]
async fn a_clone_that_wrote_nothing_takes_nothing_over_while_the_other_one_is_live() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    let mut clone = clone_of(&city, &node, "clone");
    node.start().await;
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    clone.start().await;
    let _told = shows(&clone, "rollback").await;
    clone.logs(&["does not go on by itself", "另一个副本在线"]).await;
    // The other one does not notice.
    node.put(None, &rows::content(3)).await.unwrap();
    city.level(&node).await;
    assert_eq!(clone.link().await.state.name(), "rollback");
    assert_eq!(city.hub.cli_json(&["archive", "list"]).await, json!([]));
}

#[tokio::test]
async fn receipts_for_ops_that_neither_side_has_any_more_are_told() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    city.hub.stop().await;
    let [hub_backup, node_backup] =
        ["hub-backup", "node-backup"].map(|name| city.root().join(name));
    copy_dir(city.hub.dir(), &hub_backup);
    city.hub.start().await;
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    node.stop().await;
    copy_dir(node.dir(), &node_backup);
    node.start().await;
    node.put(None, &rows::content(3)).await.unwrap();
    city.level(&node).await;
    let gone = node.status().await.feed;
    assert_eq!(node.link().await.lost_receipts, 0);

    node.stop().await;
    city.hub.stop().await;
    restore(&node, &node_backup);
    restore(&city.hub, &hub_backup);
    city.hub.start().await;
    node.start().await;
    city.level(&node).await;
    let lost = node.cli_json(&["receipts", "--lost"]).await;
    let lost: Vec<Head> = serde_json::from_value(lost).unwrap();
    assert_eq!(lost, [Head { seq: gone.seq, hash: gone.hash }], "only op 3 is on neither side");
    assert_eq!(node.link().await.lost_receipts, 1);
    node.logs(&["ERROR", "the hub has receipts out for ops that neither side holds"]).await;
    let told = node.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("1 份回执的操作两边都已没有"), "{told}");
    node.put(None, &rows::content(4)).await.unwrap();
    city.level(&node).await;
}

#[tokio::test]
async fn a_rejoin_that_is_killed_anywhere_is_finished_by_the_next_one() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let shared = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    node.stop().await;
    let backup = city.root().join("backup");
    copy_dir(node.dir(), &backup);
    node.start().await;
    node.put(Some(shared), &titled(1, "市里的标题")).await.unwrap();
    for number in 2..30 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    city.level(&node).await;
    node.stop().await;
    restore(&node, &backup);
    let file = node.dir().join("more.csv");
    std::fs::write(&file, rows::csv(&rows::rows(30..60))).unwrap();
    let import = ["--offline-override", "import", file.to_str().unwrap()];
    let _imported = node.cli(&import).await.exits(0);
    let id = shared.to_string();
    let _put = put_offline(&node, &titled(1, "这里的标题"), &["--id", &id]).await.exits(0);
    let forked = city.root().join("forked");
    copy_dir(node.dir(), &forked);
    let feed: FeedId = {
        let identity = std::fs::read(node.dir().join("keys/identity.json")).unwrap();
        let identity: Value = serde_json::from_slice(&identity).unwrap();
        serde_json::from_value(identity["feed"].clone()).unwrap()
    };
    let mine: Vec<Op> = feed_ops(&node, feed);

    let seed = setting("LIANDONG_SEED", rand::random());
    let mut rng = StdRng::seed_from_u64(seed);
    let rounds = setting("LIANDONG_KILL_ROUNDS", 8);
    let rejoin = ["rejoin", "--reason", "restored", "--yes"];
    for round in 0..rounds {
        restore(&node, &forked);
        let after = Duration::from_millis(rng.random_range(20..700));
        let killed = tokio::time::timeout(after, node.cli(&rejoin)).await.is_err();
        // The directory is free again once the process that was killed is gone.
        let ran = wait_until("the directory is free", async || {
            let ran = node.cli(&rejoin).await;
            if ran.stderr.contains("进程") { Err(ran.stderr) } else { Ok(ran) }
        })
        .await;
        assert_eq!(ran.code, 0, "round {round}, seed {seed}: {ran:?}");
        let now = feed_ops(&node, feed);
        let uids: BTreeSet<_> = now.iter().map(|op| op.uid).collect();
        let told = format!("round {round}, killed {killed} after {after:?}, seed {seed}");
        assert_eq!((uids.len(), now.len()), (60, 60), "{told}");
        for op in &mine {
            let clash = op.seq > 1 && op.subject.as_ref() == shared.to_bytes();
            assert_eq!(uids.contains(&op.uid), !clash, "op {}, {told}", op.seq);
        }
        let queue = node.cli_json(&["conflict", "list"]).await;
        assert_eq!(queue.as_array().unwrap().len(), 1, "{told}");
        assert!(!node.dir().join("rejoin.json").exists(), "{told}");
        verified(&node).await;
    }
    node.start().await;
    city.level(&node).await;
    assert_eq!(titles_at(&node).await.len(), 59);
    node.stop().await;
    city.hub.stop().await;
    assert_eq!(assert_once(&node, &city.hub, feed).len(), 60);
}
