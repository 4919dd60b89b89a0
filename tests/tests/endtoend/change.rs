//! What changes over the years: districts, keys, certificates, nodes.

use std::path::PathBuf;

use liandong_core::id::RecordId;
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::Value;

use crate::{PROGRAM, copy_dir, hub_shows, shows};

/// Words that every record of these tests has.
const ANY: &str = "开放时间";

/// Runs a command of the hub that must succeed.
async fn hub(city: &City, args: &[&str]) -> Value {
    city.hub.cli_json(args).await
}

async fn visible(city: &City, title: &str, total: u64) {
    wait_until(&format!("the city shows {total} of {title}"), async || {
        let found = city.hub.search(title).await;
        (found["total"] == total).then_some(()).ok_or_else(|| found.to_string())
    })
    .await;
}

fn fingerprint(listed: &Value, place: usize) -> String {
    listed["certificates"][place][0].as_str().unwrap().to_owned()
}

async fn writes(city: &City, node: &Member, number: usize) {
    node.put(None, &rows::content(number)).await.unwrap();
    city.level(node).await;
}

#[tokio::test]
async fn a_county_becomes_a_district_and_everything_is_found_by_either_code() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310230", "崇明县").await;
    writes(&city, &node, 1).await;
    let before = node.list().await;
    let rename = ["district", "rename", "310230", "--code", "310151", "--name", "崇明区"];
    let args = [&rename[..], &["--effective", "2016-07-22"]].concat();
    let _renamed = hub(&city, &args).await;
    let there = city.district("310151").await;
    assert_eq!((there.name.as_str(), there.records), ("崇明区", 1));
    writes(&city, &node, 2).await;
    assert_eq!(node.list().await[0].id, before[0].id, "ids and feed stay");
    for code in ["310151", "310230"] {
        let found = city.hub.search_with(&[("q", ANY), ("district", code)]).await;
        assert_eq!(found["total"], 2, "{code}: {found}");
        assert_eq!(found["hits"][0]["district"]["name"], "崇明区", "{code}");
    }
    let gone = city.hub.cli(&["district", "suspend", "310230", "--reason", "停"]).await.exits(4);
    assert!(gone.stderr.contains("310151"), "{gone:?}");
}

#[tokio::test]
async fn a_feed_goes_on_under_a_new_key_and_the_old_one_signs_no_more() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    writes(&city, &node, 1).await;
    let old = node.cli_json(&["key", "rotate"]).await["old"].as_str().unwrap().to_owned();
    writes(&city, &node, 2).await;
    // Twice, and over restarts of both ends; the certificate is renewed with the new key.
    let second = node.cli_json(&["key", "rotate"]).await;
    node.restart().await;
    city.hub.logs(&["stream closed"]).await;
    writes(&city, &node, 3).await;
    let key = second["key"].as_str().unwrap().to_owned();
    let keys = wait_until("the hub has countersigned both keys", async || {
        let listed = hub(&city, &["key", "list", "310115"]).await;
        let keys = listed["keys"].as_array().unwrap().clone();
        (keys.len() == 3).then_some(keys).ok_or_else(|| listed.to_string())
    })
    .await;
    assert_eq!((keys[0]["key"].as_str(), keys[2]["key"].as_str()), (Some(&*old), Some(&*key)));
    assert_eq!(keys[1]["from_seq"], 3, "the first rotation was op 2");
    let _renewed = node.cli(&["key", "renew"]).await.exits(0);
    for member in [&city.hub, &node] {
        let _sound = member.cli(&["verify"]).await.exits(0);
    }
}

#[tokio::test]
async fn a_district_whose_key_is_refused_is_told_the_way_out_and_the_hub_lets_the_key_sign_again() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    writes(&city, &node, 1).await;
    let rotated = node.cli_json(&["key", "rotate"]).await;
    let id = |which: &str| rotated[which].as_str().unwrap().to_owned();
    let (old, new) = (id("old"), id("key"));
    writes(&city, &node, 2).await;
    wait_until("the hub has countersigned the rotation", async || {
        let listed = hub(&city, &["key", "list", "310115"]).await.to_string();
        listed.contains(&new).then_some(()).ok_or(listed)
    })
    .await;
    let restore = |key: &str, from: &str| format!("key restore 310115 --key {key} --from {from}");
    // The hub waits for the old key, as after a loss at both ends; the node has the other one.
    let waits = restore(&old, "4");
    let _restored = hub(&city, &waits.split(' ').collect::<Vec<_>>()).await;
    node.put(None, &rows::content(3)).await.unwrap();
    let told = shows(&node, "refused").await;
    assert!(told.contains(&format!("--key {new} --from 4")), "{told}");
    let held = restore(&new, "3");
    let held = city.hub.cli(&held.split(' ').collect::<Vec<_>>()).await;
    assert!(held.code != 0 && held.stderr.contains("第 3 条"), "{held:?}");
    let restored = restore(&new, "4");
    let _restored = hub(&city, &restored.split(' ').collect::<Vec<_>>()).await;
    city.level(&node).await;
    for member in [&city.hub, &node] {
        let _sound = member.cli(&["verify"]).await.exits(0);
    }
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_stream_at_once_and_a_renewed_one_goes_on() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    writes(&city, &node, 1).await;
    let _renewed = node.cli(&["key", "renew"]).await.exits(0);
    let listed = hub(&city, &["key", "list", "310115"]).await;
    let args = |fingerprint: &str| {
        let args = ["cert", "revoke", "310115", "--reason", "笔记本失窃", "--fingerprint"];
        args.into_iter().map(str::to_owned).chain([fingerprint.to_owned()]).collect::<Vec<_>>()
    };
    for place in [0, 1] {
        let args = args(&fingerprint(&listed, place));
        let _revoked = hub(&city, &args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        if place == 0 {
            // The stream of the first certificate is closed; the node comes back with the second one.
            city.hub.logs(&["stream refused", "笔记本失窃"]).await;
            writes(&city, &node, 2).await;
        }
    }
    let told = shows(&node, "refused").await;
    assert!(told.contains("证书已被中心吊销：笔记本失窃"), "{told}");
    node.restart().await;
    let told = shows(&node, "refused").await;
    assert!(told.contains("证书已被中心吊销"), "{told}");
    let refused = node.cli(&["key", "renew"]).await;
    assert_ne!(refused.code, 0, "a revoked certificate renews nothing");
}

#[tokio::test]
async fn a_suspended_district_is_frozen_or_hidden_at_once_and_comes_back_clean() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let other = city.join("310104", "徐汇区").await;
    let record = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    writes(&city, &other, 2).await;
    let suspend = ["district", "suspend", "310115", "--reason", "目录核查"];
    let _frozen = hub(&city, &suspend).await;
    let _stamped = hub_shows(&city, "310115", "suspended").await;
    visible(&city, ANY, 2).await;
    let _hidden = hub(&city, &[&suspend[..], &["--hide"]].concat()).await;
    visible(&city, ANY, 1).await;
    assert_eq!(city.hub.record(record).await.0, 404, "hidden, by its id too");
    assert_eq!(node.search(ANY).await["total"], 1, "the district's own portal goes on");
    node.put(None, &rows::content(3)).await.unwrap();
    let _resumed = hub(&city, &["district", "resume", "310115"]).await;
    city.level(&node).await;
    visible(&city, ANY, 3).await;
    assert_eq!(city.hub.record(record).await.0, 200);
}

/// Files below a directory that hold a text.
fn files_with(dir: &std::path::Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn what_is_erased_is_in_no_journal_any_more_and_both_ends_agree() {
    let secret = "王小明13800138000";
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let mut other = city.join("310104", "徐汇区").await;
    let first = node.put(None, &content_with(1, secret)).await.unwrap();
    let second = node.put(None, &content_with(2, secret)).await.unwrap();
    let _mended = node.put(Some(second.id), &rows::content(2)).await.unwrap();
    city.level(&node).await;
    wait_until("the other district has both records", async || {
        let state = other.status().await.city.unwrap();
        (state.records == 2 && state.complete).then_some(()).ok_or(format!("{state:?}"))
    })
    .await;
    // The other district is away while the order is given.
    other.kill();
    let id = second.id.to_string();
    let args = ["redact", &id, "--version", "2", "--reason", "含有个人信息"];
    let _asked = node.cli(&args).await.exits(0);
    let nothing = node.cli(&["redact", &id, "--version", "1", "--reason", "x"]).await;
    assert_ne!(nothing.code, 0, "a version of another record");
    let args = ["redact", "310115", "1"];
    let no_basis = [&args[..], &["--legal-basis", " "]].concat();
    assert_ne!(city.hub.cli(&no_basis).await.code, 0, "an order needs a law");
    let basis = [&args[..], &["--legal-basis", "《个人信息保护法》第四十七条"]].concat();
    let _ordered = city.hub.cli(&basis).await.exits(0);
    other.start().await;
    for member in [&city.hub, &node, &other] {
        wait_until("the content is gone", async || {
            let found = files_with(&member.dir().join("data"), secret);
            found.is_empty().then_some(()).ok_or(format!("{found:?}"))
        })
        .await;
    }
    city.level(&node).await;
    wait_until("the other district agrees with the city", async || {
        let state = other.status().await.city.unwrap();
        (state.records == 1 && state.complete).then_some(()).ok_or(format!("{state:?}"))
    })
    .await;
    let (status, body) = city.hub.record(first.id).await;
    assert_eq!(status, 410, "{body}");
    assert!(body.to_string().contains("已依法删除"), "{body}");
    assert_eq!(city.hub.record(second.id).await.0, 200, "only an earlier version was erased");
    for member in [&mut city.hub, &mut node, &mut other] {
        let _sound = member.cli(&["verify"]).await.exits(0);
        member.restart().await;
    }
    // The district writes the record again.
    let _again = node.put(Some(first.id), &rows::content(1)).await.unwrap();
    city.level(&node).await;
    assert_eq!(city.hub.record(first.id).await.0, 200);
    for member in [&city.hub, &node, &other] {
        let found = files_with(&member.dir().join("data"), secret);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// A node that was restored from an old copy, edited and joined again: it gave up an op whose record has `mine`, while
/// the hub has `theirs`. Returns the conflict that it left.
pub(crate) async fn given_up(
    city: &City,
    node: &mut Member,
    id: RecordId,
    [mine, theirs]: [&str; 2],
) -> String {
    node.stop().await;
    let copy = city.root().join("copy");
    copy_dir(node.dir(), &copy);
    node.start().await;
    node.put(Some(id), &content_with(1, theirs)).await.unwrap();
    city.level(node).await;
    node.stop().await;
    std::fs::remove_dir_all(node.dir()).unwrap();
    std::fs::rename(&copy, node.dir()).unwrap();
    node.set_env("LIANDONG_RECOVER__FAST_FORWARD", "false");
    let file = city.root().join("record.json");
    std::fs::write(&file, content_with(1, mine).to_string()).unwrap();
    let (file, name) = (file.display().to_string(), id.to_string());
    let put = ["--offline-override", "record", "put", &file, "--id", &name];
    let _edited = node.cli(&put).await.exits(0);
    node.start().await;
    let _frozen = shows(node, "fork").await;
    let rejoin = ["rejoin", "--reason", "restored", "--operator", "张三", "--yes"];
    let _joined = node.cli(&rejoin).await.exits(0);
    city.level(node).await;
    let waiting = node.cli_json(&["conflict", "list"]).await;
    waiting[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_erased_leaves_what_a_rejoin_has_set_aside_the_archive_and_the_local_queue() {
    let (mine, theirs) = ("王小明13800138000", "李小红13900139000");
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let id = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    let conflict = given_up(&city, &mut node, id, [mine, theirs]).await;
    let _kept = node.cli(&["conflict", "resolve", &conflict, "--keep", "mine"]).await.exits(0);
    city.level(&node).await;
    let left = |member: &Member, text: &str| files_with(&member.dir().join("data"), text);
    let aside = |found: &[PathBuf], part: &str| {
        found.iter().any(|path| path.display().to_string().contains(part))
    };
    let (here, there) = (left(&node, mine), left(&city.hub, mine));
    assert!(aside(&here, "journal.forked-") && aside(&there, "/archive/"), "{here:?} {there:?}");

    for seq in ["2", "3"] {
        let order = ["redact", "310115", seq, "--legal-basis", "《个人信息保护法》第四十七条"];
        let told = city.hub.cli(&order).await.exits(0);
        assert!(told.stderr.contains("此前所做的备份"), "{told:?}");
    }
    for (member, text) in [(&node, mine), (&node, theirs), (&city.hub, mine), (&city.hub, theirs)] {
        wait_until("the content is gone", async || {
            let found = left(member, text);
            found.is_empty().then_some(()).ok_or(format!("{found:?}"))
        })
        .await;
    }
    let queue = node.dir().join("conflicts").join(format!("{conflict}.json"));
    let payload = |side: &Value| side["payload"].as_str().unwrap().len();
    wait_until("the queue has lost both", async || {
        let queue: Value = serde_json::from_slice(&std::fs::read(&queue).unwrap()).unwrap();
        let left = [&queue["mine"][0], &queue["theirs"], &queue["base"]].map(payload);
        (left[..2] == [0, 0] && left[2] > 0).then_some(()).ok_or(format!("{left:?}"))
    })
    .await;
    let _shown = node.cli(&["conflict", "list", "--all"]).await.exits(0);
    let _shown = city.hub.cli(&["archive", "show", "310115"]).await.exits(0);
    for member in [&city.hub, &node] {
        let _sound = member.cli(&["verify"]).await.exits(0);
    }
    city.level(&node).await;
}

fn content_with(number: usize, text: &str) -> Value {
    let mut content = rows::content(number);
    content["摘要"] = text.into();
    content
}
