//! The curators' desk and what districts see of it.

use liandong_core::id::RecordId;
use liandong_node::import::plan::Options;
use liandong_proto::desk::{
    ListConflictsRequest, ListHoldsRequest, PutHoldRequest, desk_client::DeskClient,
};
use liandong_server::{
    identity::{Anchor, certificate_der},
    tls::{self, ClientTls, Timeouts},
};
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::{Value, json};

use crate::PROGRAM;

/// Waits until the hub lists conflicts of a kind in a state, so many, and returns them.
async fn conflicts(hub: &Member, kind: &str, state: &str, count: usize) -> Vec<Value> {
    let what = format!("the hub lists {count} {state} conflicts {kind}");
    wait_until(&what, async || {
        let listed = hub.cli_json(&["conflict", "list", "--kind", kind, "--state", state]).await;
        let listed = listed.as_array().cloned().unwrap_or_default();
        if listed.len() == count { Ok(listed) } else { Err(format!("{listed:#?}")) }
    })
    .await
}

async fn put(city: &City, node: &Member, row: &rows::Row, id: Option<RecordId>) -> RecordId {
    let id = node.put(id, &row.content()).await.unwrap().id;
    city.level(node).await;
    id
}

#[tokio::test]
async fn an_overlay_falls_back_when_the_district_edits_and_stands_again_when_confirmed() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let mut row = rows::Row::new(1);
    let record = put(&city, &node, &row, None).await;
    let id = record.to_string();
    let hub = &city.hub;
    let nothing = hub.cli(&["overlay", "set", &id]).await.exits(3);
    assert!(nothing.stderr.contains("没有给出任何编目内容"), "{nothing:?}");
    let set = ["overlay", "set", &id, "--title", "全市停车场泊位", "--theme", "道路交通"];
    let shown = hub.cli_json(&[&set[..], &["--notes", "合并各区"]].concat()).await;
    assert_eq!((&shown["stale"], &shown["overlay"]["theme"]), (&json!(false), &json!("道路交通")));
    let (_, document) = hub.record(record).await;
    let curated = &document["city"]["curated"];
    assert_eq!(document["record"]["title"], "停车场泊位信息1");
    assert_eq!(
        [&curated["title"], &curated["notes"], &curated["origin"]],
        ["全市停车场泊位", "合并各区", "市级编目 / curated by the city"]
    );
    let titled = wait_until("the curated title is found", async || {
        let answer = hub.search("全市停车场").await;
        if answer["total"] == 1 { Ok(answer) } else { Err(answer.to_string()) }
    });
    assert_eq!(titled.await["hits"][0]["title"], "全市停车场泊位");
    assert_eq!(
        node.record(record).await.1["city"],
        Value::Null,
        "the district's portal is its own"
    );
    let again = hub.cli(&set).await.exits(4);
    assert!(again.stderr.contains("状态没有变化"), "{again:?}");

    row.title = "停车场泊位（新）".to_owned();
    put(&city, &node, &row, Some(record)).await;
    let found = conflicts(hub, "C3", "open", 1).await;
    assert_eq!(found[0]["districts"], json!(["浦东新区"]));
    let conflict = found[0]["id"].as_str().unwrap();
    let shown = hub.cli_json(&["conflict", "show", &conflict[..8]]).await;
    let title = |row: &&Value| row["field"] == "title";
    let difference = shown["differences"].as_array().unwrap().iter().find(title).unwrap();
    assert_eq!(difference["base"], "停车场泊位信息1");
    assert_eq!(difference["mine"], "停车场泊位（新）");
    assert_eq!(difference["theirs"], "全市停车场泊位");
    assert_eq!(difference["clash"], true);
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
    let stale = hub.cli_json(&["overlay", "list", "--stale"]).await;
    assert_eq!(stale[0]["id"], id);

    let decide = ["conflict", "decide", conflict, "--verdict", "confirm", "--reason", "仍然适用"];
    let preview = hub.cli_json(&[&decide[..], &["--preview"]].concat()).await;
    assert_eq!(preview[0]["kind"], "conflict.decide.v1");
    assert_eq!(preview[1]["kind"], "overlay.put.v1");
    let decided = hub.cli_json(&decide).await;
    assert_eq!(decided["state"], "decided");
    assert_eq!(hub.cli_json(&["overlay", "list", "--stale"]).await, json!([]));
    assert_eq!(hub.cli_json(&["overlay", "show", &id]).await["stale"], false);
    // The core is what the district signed, all the way.
    assert_eq!(hub.record(record).await.1["record"]["title"], "停车场泊位（新）");
    let dropped = hub.cli(&["overlay", "drop", &id]).await.exits(0).stdout;
    assert!(dropped.contains("已取消编目"), "{dropped}");
}

#[tokio::test]
async fn a_hold_hides_a_record_in_the_city_and_leaves_the_districts_portal_alone() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310104", "徐汇区").await;
    let record = put(&city, &node, &rows::Row::new(2), None).await;
    let (hub, id) = (&city.hub, record.to_string());
    let bare = ["hold", "put", &id, "--legal-basis", " ", "--reason", "含手机号码"];
    let refused = hub.cli(&bare).await.exits(2);
    assert!(refused.stderr.contains("必须注明法律依据"), "{refused:?}");
    let hold = ["hold", "put", &id, "--legal-basis", "个人信息保护法", "--reason", "含手机号码"];
    let _held = hub.cli(&hold).await.exits(0);
    let searched = async |total: u64| {
        wait_until(&format!("the hub finds {total}"), async || {
            let answer = hub.search("养老机构信息2").await;
            (answer["total"] == total).then_some(()).ok_or_else(|| answer.to_string())
        })
        .await;
    };
    searched(0).await;
    let (status, problem) = hub.record(record).await;
    assert_eq!((status, &problem["reason_class"]), (410, &json!("legal_hold")));
    assert!(!problem.to_string().contains("养老"), "{problem}");
    assert_eq!(node.record(record).await.0, 200);
    assert_eq!(node.search("养老机构信息2").await["total"], 1);
    conflicts(hub, "C5", "open", 1).await;
    let _released = hub.cli(&["hold", "release", &id, "--reason", "已脱敏"]).await.exits(0);
    searched(1).await;
    let settled = conflicts(hub, "C5", "decided", 1).await;
    assert!(settled[0]["reason"].as_str().unwrap().contains("隐藏已解除"), "{settled:?}");
}

/// Two entries that have nothing in common but their code.
fn one_code() -> [rows::Row; 2] {
    let (one, mut other) = (rows::Row::new(3), rows::Row::new(2));
    other.code.clone_from(&one.code);
    [one, other]
}

#[tokio::test]
async fn two_districts_claim_one_code_and_the_city_decides() {
    let mut city = City::start(PROGRAM).await;
    let nodes = [city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await];
    let mut records = Vec::new();
    for (node, row) in nodes.iter().zip(one_code()) {
        records.push(put(&city, node, &row, None).await);
    }
    let found = conflicts(&city.hub, "C1", "open", 1).await.remove(0);
    assert_eq!(found["names"], json!(["307001/000003"]));
    let winner = found["winner"].as_str().unwrap().to_owned();
    // The winner has the code meanwhile; the city gives it to the other one.
    let mut sides: Vec<String> = records.iter().map(ToString::to_string).collect();
    sides.retain(|side| *side != winner);
    let [second] = sides.try_into().unwrap();
    let id = found["id"].as_str().unwrap().to_owned();
    for record in &records {
        let pending = city.hub.record(*record).await.1["city"]["code_pending"] == true;
        assert_eq!(pending, record.to_string() != winner, "{record}");
    }
    let (_, page) = city.hub.get("/api/v1/conflicts?state=open").await;
    assert_eq!((&page["total"], &page["restricted"]), (&json!(1), &json!(0)));
    assert_eq!(page["conflicts"][0]["winner"], winner);
    let (status, document) = city.hub.get(&format!("/api/v1/conflicts/{id}")).await;
    assert_eq!((status, &document["number"]), (200, &json!("C1")));
    assert_eq!(city.hub.get("/api/v1/conflicts/00ff").await.0, 404);
    let decide = |verdict: &str, record: &str| {
        let words = ["conflict", "decide", &id, "--verdict", verdict, "--reason", "历史编码"];
        let mut words = words.map(str::to_owned).to_vec();
        if !record.is_empty() {
            words.extend(["--record".to_owned(), record.to_owned()]);
        }
        words
    };
    for (verdict, record, exit, told) in [
        ("code-stays", "", 2, "--record"),
        ("withdraw", "", 4, "此决定不适用"),
        ("distinct", "", 4, "此决定不适用"),
    ] {
        let words = decide(verdict, record);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let refused = city.hub.cli(&words).await.exits(exit);
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    let words = decide("code-stays", &second);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let decided = city.hub.cli_json(&words).await;
    assert_eq!((&decided["winner"], &decided["state"]), (&json!(second), &json!("decided")));
    // A restart looks at everything again and opens nothing twice.
    let before = city.hub.status().await.feed.seq;
    city.hub.restart().await;
    let again = put(&city, &nodes[0], &rows::Row::new(9), None).await;
    assert_ne!(again, records[0]);
    let listed = city.hub.cli_json(&["conflict", "list", "--state", "all"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    wait_until("the new record's code is granted", async || {
        let seq = city.hub.status().await.feed.seq;
        (seq == before + 1).then_some(()).ok_or_else(|| format!("{before} {seq}"))
    })
    .await;
    let reopen = ["conflict", "reopen", &id, "--reason", "徐汇区补充材料"];
    assert_eq!(city.hub.cli_json(&reopen).await["state"], "appealed");
    let told = city.hub.cli(&["conflict", "list"]).await.exits(0).stdout;
    assert!(told.contains("C1") && told.contains("appealed"), "{told}");
}

/// Waits until the node's inbox is as it should be, and returns it.
async fn inbox(node: &Member, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_until(&format!("the inbox shows {what}"), async || {
        let inbox = node.cli_json(&["inbox"]).await;
        if is_so(&inbox) { Ok(inbox) } else { Err(format!("{inbox:#}")) }
    })
    .await
}

/// Waits until the hub shows a request in a state, and returns it.
async fn request(hub: &Member, name: &str, state: &str) -> Value {
    wait_until(&format!("the request is {state}"), async || {
        let shown = hub.cli_json(&["request", "show", name]).await;
        if shown["state"] == state { Ok(shown) } else { Err(format!("{shown:#}")) }
    })
    .await
}

#[tokio::test]
async fn a_district_accepts_one_request_and_declines_another() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let record = put(&city, &node, &rows::Row::new(1), None).await;
    let (hub, id) = (&city.hub, record.to_string());
    for (field, exit, told) in [
        ("tittle=x", 3, "tittle"),
        ("update_cycle=\"hourly-ish\"", 3, "update_cycle"),
        ("title=null", 3, "title"),
        ("title", 2, "NAME=JSON"),
        ("title=停车场泊位信息1", 4, "状态没有变化"),
    ] {
        let ask = ["request", "create", &id, "--reason", "标题不规范", "--field", field];
        let refused = hub.cli(&ask).await.exits(exit);
        assert!(refused.stderr.contains(told), "{field}: {refused:?}");
    }
    let ask = async |field: &str| {
        let ask = ["request", "create", &id, "--reason", "标题不规范", "--field", field];
        let asked = hub.cli_json(&ask).await;
        assert!(asked["due"].is_string(), "ten working days: {asked}");
        asked["request"].as_str().unwrap().to_owned()
    };
    let first = ask("title=公共停车场泊位").await;
    inbox(&node, "the request", |inbox| inbox["requests"][0]["request"] == *first).await;
    let shown = node.cli_json(&["request", "show", &first]).await;
    let row = shown["differences"].as_array().unwrap().iter().find(|row| row["field"] == "title");
    assert_eq!(row.unwrap()["theirs"], "公共停车场泊位");
    let _accepted = node.cli(&["request", "accept", &first]).await.exits(0);
    request(hub, &first, "accepted").await;
    city.level(&node).await;
    assert_eq!(hub.record(record).await.1["record"]["title"], "公共停车场泊位");
    let again = node.cli(&["request", "accept", &first]).await.exits(4);
    assert!(again.stderr.contains("已了结或已答复"), "{again:?}");

    let second = ask("title=停车").await;
    inbox(&node, "the second request", |inbox| inbox["requests"][0]["request"] == *second).await;
    let decline = ["request", "decline", &second, "--reason", "以批文名称为准"];
    let _declined = node.cli(&decline).await.exits(0);
    assert_eq!(request(hub, &second, "declined").await["answer"], "以批文名称为准");
    inbox(&node, "nothing", |inbox| inbox["requests"] == json!([])).await;

    let third = ask("theme=道路交通").await;
    let withdraw = ["request", "withdraw", &third, "--reason", "已线下沟通"];
    assert_eq!(hub.cli_json(&withdraw).await["state"], "withdrawn");
    let listed = hub.cli_json(&["request", "list", "--all", "--district", "310115"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_decision_reaches_the_districts_inbox_and_its_objection_comes_back() {
    let city = City::start(PROGRAM).await;
    let nodes = [city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await];
    for (node, row) in nodes.iter().zip(one_code()) {
        put(&city, node, &row, None).await;
    }
    let found = conflicts(&city.hub, "C1", "open", 1).await.remove(0);
    let id = found["id"].as_str().unwrap().to_owned();
    for node in &nodes {
        let shown = inbox(node, "the conflict", |inbox| inbox["conflicts"][0]["id"] == *id).await;
        // The interim winner is the same on every replica.
        assert_eq!(shown["conflicts"][0]["winner"], found["winner"]);
    }
    let winner = found["winner"].as_str().unwrap();
    let decide = ["conflict", "decide", &id, "--verdict", "code-stays", "--record", winner];
    let _decided = city.hub.cli(&[&decide[..], &["--reason", "先行登记"]].concat()).await.exits(0);
    inbox(&nodes[1], "no conflict", |inbox| inbox["conflicts"] == json!([])).await;
    let object = ["conflict", "object", &id[..8], "--reason", "本区编码在先"];
    let bare = nodes[1].cli(&["conflict", "object", &id[..8], "--reason", " "]).await.exits(2);
    assert!(bare.stderr.contains("必须说明理由"), "{bare:?}");
    let _objected = nodes[1].cli(&object).await.exits(0);
    let appealed = conflicts(&city.hub, "C1", "appealed", 1).await.remove(0);
    assert_eq!(appealed["reason"], "本区编码在先");
    // The same objection again is answered with a refusal, and nothing hangs.
    inbox(&nodes[1], "the conflict", |inbox| inbox["conflicts"][0]["state"] == "appealed").await;
    let _objected = nodes[1].cli(&object).await.exits(0);
    inbox(&nodes[1], "the refusal", |inbox| !inbox["refused"][0].is_null()).await;
}

#[tokio::test]
async fn who_edits_a_record_second_is_told_what_each_changed() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let mut row = rows::Row::new(1);
    let seen = node.put(None, &row.content()).await.unwrap();
    row.title = "停车场（一）".to_owned();
    node.put(Some(seen.id), &row.content()).await.unwrap();
    row.title = "停车场（二）".to_owned();
    let file = city.root().join("two.json");
    std::fs::write(&file, row.content().to_string()).unwrap();
    let (file, id) = (file.to_str().unwrap(), seen.id.to_string());
    let expect = seen.op_hash.unwrap().to_string();
    let put = ["--json", "record", "put", file, "--id", &id, "--expect", &expect];
    let refused = node.cli(&put).await.exits(4);
    let told: Value = serde_json::from_str(&refused.stderr).unwrap();
    let rows = told["error"]["detail"]["differences"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["field"], &rows[0]["clash"]),
        (1, &json!("title"), &json!(true))
    );
    assert_eq!(
        [&rows[0]["base"], &rows[0]["mine"], &rows[0]["theirs"]],
        ["停车场泊位信息1", "停车场（二）", "停车场（一）"]
    );
}

/// The folder of the real catalogues, if there is one.
fn real() -> Option<std::path::PathBuf> {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    let given = std::env::var_os("LIANDONG_REAL").map(std::path::PathBuf::from);
    Some(given.unwrap_or(beside).join("zh-catalogs")).filter(|folder| folder.is_dir())
}

#[tokio::test]
async fn duplicates_of_real_catalogues_come_to_the_desk_and_are_decided() {
    let Some(real) = real() else { return };
    let city = City::start(PROGRAM).await;
    let table = [("640000", "宁夏回族自治区", "ningxia"), ("640100", "银川市", "yinchuan")];
    for (code, name, file) in table {
        let node = city.join(code, name).await;
        let file = real.join(format!("ningxia_{file}.json"));
        let report = node.import(&file, Options::default()).await.unwrap();
        assert!(report.new > 500, "{report:?}");
        city.level(&node).await;
    }
    let hub = &city.hub;
    let listed = wait_until("duplicates come to the desk", async || {
        let listed = hub.cli_json(&["conflict", "list", "--kind", "duplicate"]).await;
        let listed = listed.as_array().cloned().unwrap_or_default();
        if listed.len() >= 20 { Ok(listed) } else { Err(format!("{}", listed.len())) }
    })
    .await;
    let across = |row: &&Value| row["districts"].as_array().unwrap().len() == 2;
    let found = listed.iter().find(across).expect("a pair across the two");
    let [one, other] = [0, 1].map(|side| found["records"][side]["id"].as_str().unwrap());
    let mark = async |of: &str| hub.record(of.parse().unwrap()).await.1["city"].clone();
    let related = async |of: &str, to: &str| {
        let marks = mark(of).await["duplicates"].as_array().cloned().unwrap_or_default();
        marks.iter().find(|mark| mark["id"] == *to).map(|mark| mark["relation"].clone())
    };
    assert_eq!(related(one, other).await, Some(json!("possible_duplicate")));
    let shown = hub.cli_json(&["conflict", "show", found["id"].as_str().unwrap()]).await;
    assert!(shown["evidence"]["score"].as_u64().unwrap() > 500, "{shown:#}");
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
    let decide = ["conflict", "decide", found["id"].as_str().unwrap(), "--verdict", "copy-of"];
    let sides = ["--record", one, "--of", other, "--reason", "同一批数据"];
    let decided = hub.cli_json(&[&decide[..], &sides].concat()).await;
    assert_eq!((&decided["state"], &decided["winner"]), (&json!("decided"), &json!(other)));
    assert_eq!(related(one, other).await, Some(json!("copy_of")));
    assert_eq!(related(other, one).await, Some(json!("has_copy")));
    // Nobody's record is gone.
    for id in [one, other] {
        assert_eq!(hub.record(id.parse().unwrap()).await.0, 200);
    }
}

#[tokio::test]
async fn programs_use_the_desk_with_an_operators_certificate_only() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let record = put(&city, &node, &rows::Row::new(4), None).await.to_string();
    let bad = city.hub.cli(&["operator", "add", "张三"]).await.exits(3);
    assert!(bad.stderr.contains("小写字母"), "{bad:?}");
    let added = city.hub.cli_json(&["operator", "add", "zhang-san"]).await;
    let pem = added["pem"].as_str().unwrap();
    let ca = Anchor::read(node.dir()).unwrap().unwrap().ca_der().unwrap();
    let certificate = certificate_der(pem).unwrap();
    let operator = ClientTls::mutual(&ca, &certificate, pem).unwrap();
    let url = city.hub.grpc_url();
    let desk = async |tls: &ClientTls| {
        DeskClient::new(tls::connect(&url, tls, Timeouts::default()).await.unwrap())
    };
    let put_hold = PutHoldRequest {
        record_id: record.clone(),
        legal_basis: "个人信息保护法".into(),
        reason: "含手机号码".into(),
    };
    let mut client = desk(&operator).await;
    let held = client.put_hold(put_hold.clone()).await.unwrap().into_inner();
    let held: Value = serde_json::from_slice(&held.documents[0].json).unwrap();
    assert_eq!((&held["id"], &held["actor"]), (&json!(record), &json!("operator:zhang-san")));
    let twice = client.put_hold(put_hold.clone()).await.unwrap_err();
    assert_eq!(twice.code(), tonic::Code::FailedPrecondition, "{twice:?}");
    let malformed = PutHoldRequest { record_id: "x".into(), ..put_hold.clone() };
    let malformed = client.put_hold(malformed).await.unwrap_err();
    assert_eq!(malformed.code(), tonic::Code::InvalidArgument, "{malformed:?}");
    conflicts(&city.hub, "C5", "open", 1).await;
    let listed = client.list_conflicts(ListConflictsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().documents.len(), 1);

    // A node's certificate is none of an operator, and one that was revoked is good no more.
    let path = node.dir().join("keys").join("tls.pem");
    let of_node = std::fs::read_to_string(path).unwrap();
    let of_node = ClientTls::mutual(&ca, &certificate_der(&of_node).unwrap(), &of_node).unwrap();
    for tls in [of_node, ClientTls::anonymous(&ca).unwrap()] {
        let refused = desk(&tls).await.list_holds(ListHoldsRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    }
    let revoke = ["operator", "revoke", "zhang-san", "--reason", "离任"];
    let _revoked = city.hub.cli(&revoke).await.exits(0);
    let refused = client.list_holds(ListHoldsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
}
