//! Records that change hands between real nodes, and what former owners, lost nodes and thieves still say.

use liandong_core::{
    id::{Head, RecordId},
    wire::{Down, Up},
};
use liandong_node::import::plan::Options;
use liandong_tests::{
    City, Member,
    raw::{Peer, Stream},
    rows, wait_until,
};
use serde_json::Value;

use crate::{PROGRAM, shows};

/// Words that every record of these tests has.
const ANY: &str = "开放时间";

async fn has(city: &City, code: &str, seq: u64) {
    wait_until(&format!("the hub has op {seq} of {code}"), async || {
        let district = city.district(code).await;
        (district.seq >= seq).then_some(()).ok_or(format!("{district:?}"))
    })
    .await;
}

/// Waits until a node knows a transfer in a state.
async fn knows(node: &Member, id: &str, state: &str) {
    wait_until(&format!("the transfer is {state}"), async || {
        let known = node.cli_json(&["transfer", "list"]).await;
        let all = known.as_array().unwrap();
        let found = all.iter().any(|one| one["id"] == id && one["state"] == state);
        found.then_some(()).ok_or(known.to_string())
    })
    .await;
}

/// Waits until the node lists so many records of its own.
async fn owns(node: &Member, count: usize) -> Vec<RecordId> {
    wait_until(&format!("the node owns {count} records"), async || {
        let list = node.list().await;
        let ids: Vec<_> = list.iter().map(|shown| shown.id).collect();
        (list.len() == count).then_some(ids).ok_or(format!("{list:?}"))
    })
    .await
}

/// Waits until the hub shows a record with a title, as its district's.
async fn shown(city: &City, id: RecordId, title: &str, code: &str) {
    wait_until(&format!("{code} shows {title}"), async || {
        let (_, body) = city.hub.record(id).await;
        let same = body["record"]["title"] == title && body["district"]["code"] == code;
        same.then_some(()).ok_or(body.to_string())
    })
    .await;
}

fn title(number: usize) -> String {
    rows::Row::new(number).title
}

async fn offer_all(node: &Member, to: &str) -> String {
    let args = ["transfer", "offer", "--to", to, "--all", "--effective", "2015-11-04"];
    let offered = node.cli_json(&args).await;
    offered["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_district_is_merged_into_another_and_the_hub_may_die_between_any_two_steps() {
    let mut city = City::start(PROGRAM).await;
    let mut old = city.join("310108", "闸北区").await;
    let mut new = city.join("310106", "静安区").await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(old.put(None, &rows::content(number)).await.unwrap().id);
    }
    let _gone = old.withdraw(ids[2], "停用").await.unwrap();
    city.level(&old).await;
    wait_until("both nodes know both districts", async || {
        let known = old.cli(&["transfer", "offer", "--to", "310199", "--all"]).await;
        assert_eq!(known.code, 4, "{known:?}");
        let seq = city.hub.status().await.feed.seq;
        let behind = [&old, &new].map(Member::status);
        let [a, b] = behind;
        let level = a.await.city.unwrap().hub_seq == seq && b.await.city.unwrap().hub_seq == seq;
        level.then_some(()).ok_or("behind".to_owned())
    })
    .await;

    let id = offer_all(&old, "310106").await;
    let refused = old.put(Some(ids[0]), &rows::content(9)).await.unwrap_err();
    assert!(refused.to_string().contains("sealed") || format!("{refused:?}").contains("封存"));
    assert!(old.put(None, &rows::content(9)).await.is_err(), "nor anything new");
    has(&city, "310108", 5).await;
    city.hub.restart().await;
    knows(&new, &id, "offered").await;
    let _accepted = new.cli_json(&["transfer", "accept", &id]).await;
    has(&city, "310106", 1).await;
    city.hub.restart().await;
    knows(&new, &id, "done").await;
    city.hub.restart().await;
    knows(&old, &id, "done").await;

    assert_eq!(
        owns(&new, 3).await,
        {
            ids.sort_unstable();
            ids.clone()
        },
        "the ids stay"
    );
    assert!(owns(&old, 0).await.is_empty());
    // The new owner edits, restores, and finds the records again in its own lists.
    let first = new.list().await.iter().find(|one| one.withdrawn_reason.is_none()).unwrap().id;
    let gone = new.list().await.iter().find(|one| one.withdrawn_reason.is_some()).unwrap().id;
    let _edited = new.put(Some(first), &rows::content(7)).await.unwrap();
    let _back = new.restore(gone).await.unwrap();
    let sheet = city.root().join("静安.csv");
    std::fs::write(&sheet, rows::csv(&rows::rows([2, 3]))).unwrap();
    let report = new.import(&sheet, Options::default()).await.unwrap();
    assert_eq!((report.new, report.rejected.len()), (0, 0), "{report:?}");
    city.level(&new).await;
    shown(&city, first, &title(7), "310106").await;
    shown(&city, gone, &title(3), "310106").await;
    for code in ["310106", "310108"] {
        let found = city.hub.search_with(&[("q", ANY), ("district", code)]).await;
        assert_eq!(found["total"], 3, "{code}: {found}");
    }
    let ended = city.district("310108").await;
    assert_eq!(ended.state.name(), "merged");
    for member in [&mut city.hub, &mut old, &mut new] {
        let _sound = member.cli(&["verify"]).await.exits(0);
        member.restart().await;
    }
    assert_eq!(owns(&new, 3).await, ids);
    city.level(&new).await;
}

#[tokio::test]
async fn what_an_offline_node_still_held_when_it_was_merged_is_offered_to_the_new_owner() {
    let city = City::start(PROGRAM).await;
    let mut old = city.join("310108", "闸北区").await;
    let new = city.join("310106", "静安区").await;
    let one = old.put(None, &rows::content(1)).await.unwrap().id;
    let two = old.put(None, &rows::content(2)).await.unwrap().id;
    city.level(&old).await;
    old.kill();
    // It does not know yet, and works on.
    let file = city.root().join("edit.json");
    std::fs::write(&file, rows::content(5).to_string()).unwrap();
    let file = file.to_str().unwrap();
    let args = ["record", "put", file, "--id", &one.to_string()];
    let _edited = old.cli_json(&args).await;
    let args = ["record", "withdraw", &two.to_string(), "--reason", "停用"];
    let _gone = old.cli_json(&args).await;
    std::fs::write(file, rows::content(6).to_string()).unwrap();
    let begun: RecordId =
        old.cli_json(&["record", "put", file]).await["id"].as_str().unwrap().parse().unwrap();
    let args = ["transfer", "commit", "--from", "310108", "--to", "310106"];
    let reason = ["--override-reason", "闸北区撤销，节点停用", "--effective", "2015-11-04"];
    let _committed = city.hub.cli(&[&args[..], &reason].concat()).await.exits(0);
    let _taken = owns(&new, 2).await;
    let _mended = new.put(Some(two), &rows::content(8)).await.unwrap();

    old.start().await;
    has(&city, "310108", 5).await;
    let requests = wait_until("three requests for the new owner", async || {
        let inbox = new.cli_json(&["request", "list"]).await;
        let open = inbox.as_array().unwrap().clone();
        (open.len() == 3).then_some(open).ok_or(inbox.to_string())
    })
    .await;
    shown(&city, one, &title(1), "310106").await;
    shown(&city, two, &title(8), "310106").await;
    assert_eq!(city.hub.record(begun).await.0, 404, "what was begun too late is nobody's yet");
    let conflicts = city.hub.cli_json(&["conflict", "list", "--kind", "C6"]).await;
    assert_eq!(conflicts.as_array().map(Vec::len), Some(3), "{conflicts}");
    // The new owner takes what it wants.
    let name = |record: RecordId| {
        let found = requests.iter().find(|one| one["record"] == record.to_string());
        found.unwrap()["request"].as_str().unwrap().to_owned()
    };
    for record in [one, begun] {
        let _taken = new.cli(&["request", "accept", &name(record)]).await.exits(0);
    }
    let _declined =
        new.cli(&["request", "decline", &name(two), "--reason", "仍在用"]).await.exits(0);
    city.level(&new).await;
    shown(&city, one, &title(5), "310106").await;
    shown(&city, begun, &title(6), "310106").await;
    // By now the old node knows.
    wait_until("the old node writes no more", async || {
        let refused = old.put(None, &rows::content(9)).await;
        refused.err().map(|_refused| ()).ok_or("it writes".to_owned())
    })
    .await;
    assert!(owns(&old, 0).await.is_empty());
    for member in [&city.hub, &old, &new] {
        let _sound = member.cli(&["verify"]).await.exits(0);
    }
}

#[tokio::test]
async fn single_records_are_offered_taken_back_and_taken_over() {
    let city = City::start(PROGRAM).await;
    let giver = city.join("310115", "浦东新区").await;
    let taker = city.join("310104", "徐汇区").await;
    let one = giver.put(None, &rows::content(1)).await.unwrap().id;
    let two = giver.put(None, &rows::content(2)).await.unwrap().id;
    city.level(&giver).await;
    city.level(&taker).await;
    let record = one.to_string();
    let offer = ["transfer", "offer", "--to", "310104", "--record", &record];
    let id = wait_until("the giver knows the taker", async || {
        let ran = giver.cli(&[&["--json"], &offer[..]].concat()).await;
        if ran.code == 0 {
            Ok(ran.json()["id"].as_str().unwrap().to_owned())
        } else {
            Err(ran.stderr)
        }
    })
    .await;
    let refused = giver.put(Some(one), &rows::content(5)).await.unwrap_err();
    assert!(format!("{refused:?}").contains("offered"), "{refused:?}");
    let _other = giver.put(Some(two), &rows::content(6)).await.unwrap();
    knows(&taker, &id, "offered").await;
    let _back = giver.cli(&["transfer", "cancel", &id]).await.exits(0);
    wait_until("the giver may write again", async || {
        let put = giver.put(Some(one), &rows::content(5)).await;
        put.map(|_edited| ()).map_err(|error| format!("{error:?}"))
    })
    .await;
    let id = giver.cli_json(&offer).await["id"].as_str().unwrap().to_owned();
    knows(&taker, &id, "offered").await;
    let _accepted = taker.cli(&["transfer", "accept", &id]).await.exits(0);
    knows(&giver, &id, "done").await;
    assert_eq!(owns(&taker, 1).await, [one]);
    assert_eq!(owns(&giver, 1).await, [two]);
    let _edited = taker.put(Some(one), &rows::content(7)).await.unwrap();
    city.level(&taker).await;
    shown(&city, one, &title(7), "310104").await;
    // The giver's own list does not make it again.
    let sheet = city.root().join("浦东.csv");
    std::fs::write(&sheet, rows::csv(&rows::rows([5, 6]))).unwrap();
    let report = giver.import(&sheet, Options::default()).await.unwrap();
    assert_eq!((report.new, report.unchanged, report.rejected.len()), (0, 1, 1), "{report:?}");
    assert_eq!(report.rejected[0].rule, "transfer.given_away");
    // What was not offered did not come along.
    let secret = rows::content(6)["摘要"].as_str().unwrap().to_owned();
    let journals = std::fs::read_dir(taker.dir().join("data/journal")).unwrap();
    for segment in journals.flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap()) {
        let bytes = std::fs::read(segment.unwrap().path()).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the taker holds what it was not given");
    }
}

#[tokio::test]
async fn a_lost_node_is_replaced_and_its_feed_goes_on() {
    let city = City::start(PROGRAM).await;
    let mut lost = city.join("310115", "浦东新区").await;
    let one = lost.put(None, &rows::content(1)).await.unwrap().id;
    let _rotated = lost.cli(&["key", "rotate"]).await.exits(0);
    let _two = lost.put(None, &rows::content(2)).await.unwrap();
    city.level(&lost).await;
    let feed = lost.status().await.feed;
    let replace = ["district", "replace", "310115", "--reason", "机房水浸"];
    let token = city.hub.cli_json(&replace).await["token"].as_str().unwrap().to_owned();
    let mut node = city.node("replacement");
    let [http, grpc] =
        [node.http_url(""), node.grpc_url()].map(|url| url.rsplit_once('/').unwrap().1.to_owned());
    let init = ["init", "--join", &token, "--http", &http, "--grpc", &grpc];
    let _joined = node.cli(&init).await.exits(0);
    let told = shows(&lost, "refused").await;
    assert!(told.contains("吊销"), "the old node is out at once: {told}");
    // Before its feed is here nothing can be written, whatever is tried first.
    let file = city.root().join("early.json");
    std::fs::write(&file, rows::content(9).to_string()).unwrap();
    let early = node.cli(&["record", "put", file.to_str().unwrap()]).await;
    assert_ne!(early.code, 0, "{early:?}");
    node.start().await;
    let ids = owns(&node, 2).await;
    assert!(ids.contains(&one));
    let _edited = node.put(Some(one), &rows::content(5)).await.unwrap();
    city.level(&node).await;
    let now = node.status().await.feed;
    assert_eq!(now.id, feed.id);
    assert!(now.seq > feed.seq);
    shown(&city, one, &title(5), "310115").await;
    let listed = city.hub.cli_json(&["key", "list", "310115"]).await;
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(3), "{listed}");
    assert!(listed["incarnation"].as_u64().unwrap() >= 2, "{listed}");
    // The old machine is found again: it stays out.
    lost.restart().await;
    let _out = shows(&lost, "refused").await;
    for member in [&city.hub, &node] {
        let _sound = member.cli(&["verify"]).await.exits(0);
    }
    let again = city.node("again");
    let init = ["init", "--join", &token, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];
    assert_ne!(again.cli(&init).await.code, 0, "the token was for one node");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story from the theft to its end")]
async fn what_a_thief_signed_with_a_stolen_key_is_undone_everywhere_and_nothing_else() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let other = city.join("310104", "徐汇区").await;
    let good = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    let feed = node.status().await.feed;
    node.kill();
    // The thief writes while the district is away.
    let thief = Peer::of(node.dir());
    let head = Head { seq: feed.seq, hash: feed.hash };
    let url = city.hub.grpc_url();
    let mut stream = Stream::open(&url, &thief.tls(), thief.hello(head)).await.unwrap();
    let mut record =
        liandong_core::record::Record { title: "假目录".to_owned(), ..Default::default() };
    record.provider.name = "某局".to_owned();
    record.open.kind = liandong_core::code::OpenKind::OnRequest;
    let forged = thief.put(head, &record);
    let forged_id = RecordId::try_from(forged.subject.as_ref()).unwrap();
    stream.send(Up::Batch { after: head, ops: vec![forged.signed.clone()] }).await;
    wait_until("the hub has the forged op", async || {
        let down = stream.next().await.unwrap();
        matches!(down, Some(Down::Ack { receipt: Some(_), .. }))
            .then_some(())
            .ok_or(format!("{down:?}"))
    })
    .await;
    let records = |count: u64| {
        let other = &other;
        async move {
            wait_until(&format!("the other district sees {count} records"), async || {
                let state = other.status().await.city.unwrap();
                let level = state.records == count && state.complete;
                level.then_some(()).ok_or(format!("{state:?}"))
            })
            .await;
        }
    };
    records(2).await;
    assert_eq!(city.hub.record(forged_id).await.0, 200, "nobody knows yet");
    let key = thief.author.key_id().to_string();
    let args = ["key", "revoke", "310115", "--key", &key, "--reason", "私钥外泄"];
    let beyond = city.hub.cli(&[&args[..], &["--last-good", "99"]].concat()).await;
    assert_ne!(beyond.code, 0, "{beyond:?}");
    let _revoked = city.hub.cli(&[&args[..], &["--last-good", "1"]].concat()).await.exits(0);
    wait_until("the forged record is gone", async || {
        let (status, body) = city.hub.record(forged_id).await;
        (status == 404).then_some(()).ok_or(body.to_string())
    })
    .await;
    assert_eq!(city.hub.record(good).await.0, 200, "what the key signed before stays");
    records(1).await;
    drop(stream);
    // The district goes on with a new key after all that the mirror holds.
    let replace = ["district", "replace", "310115", "--reason", "私钥外泄"];
    let token = city.hub.cli_json(&replace).await["token"].as_str().unwrap().to_owned();
    let mut new = city.node("replacement");
    let [http, grpc] =
        [new.http_url(""), new.grpc_url()].map(|url| url.rsplit_once('/').unwrap().1.to_owned());
    let init = ["init", "--join", &token, "--http", &http, "--grpc", &grpc];
    let _joined = new.cli(&init).await.exits(0);
    new.start().await;
    assert_eq!(owns(&new, 1).await, [good]);
    let _next = new.put(None, &rows::content(2)).await.unwrap();
    city.level(&new).await;
    records(2).await;
    for member in [&city.hub, &new] {
        let _sound = member.cli(&["verify"]).await.exits(0);
    }
    // The thief is out, with whatever it signs.
    let refused = Stream::open(&url, &thief.tls(), thief.hello(forged.head())).await;
    let told: Value = match refused {
        Ok(mut stream) => format!("{:?}", stream.next().await).into(),
        Err(status) => status.message().into(),
    };
    assert!(told.to_string().contains("吊销") || told.to_string().contains("Fenced"), "{told}");
}
