//! The CKAN Action API as its clients use it: every kind of call that a real CKAN was recorded with, good and bad, at
//! the hub and at a node; ckanapi as its users run it; a harvest page by page.

use std::{collections::BTreeSet, path::Path, process::Stdio};

use liandong_core::label;
use liandong_tests::{City, Member, rows, wait_until};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::PROGRAM;

/// Calls and what must come back. `$NAME` and the like stand for the names of the record of [`bus`]; `kind:…` for any
/// value of a kind.
const CALLS: &str = include_str!("../../golden/ckan-calls.jsonl");

/// One kind of call.
#[derive(Debug, Deserialize)]
struct Call {
    #[serde(rename = "call")]
    request: String,
    #[serde(rename = "type")]
    content_type: Option<String>,
    body: Option<String>,
    status: u16,
    /// JSON pointers and what is there.
    has: Map<String, Value>,
}

/// The record that the calls are about.
fn bus() -> Value {
    json!({
        "信息资源名称": "公交站点名录",
        "信息资源代码": "307001/900001",
        "信息资源提供方": "市交通委员会",
        "摘要": "全市公交站点的名称与位置",
        "开放类型": "主动公开",
        "更新周期": "每年",
        "关键字": "公共交通、公交；站点",
        "主题": "道路交通",
        "distributions": [{
            "方式": "文件",
            "地址": "https://data.example.cn/bus.csv",
            "媒体类型": "text/csv",
            "大小": 20_480,
        }],
    })
}

/// A city of one district with some records, and the names of the one of [`bus`].
async fn city_with_records() -> (City, Member, Vec<(&'static str, String)>) {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    for number in 1..=7 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    let id = node.put(None, &bus()).await.unwrap().id;
    city.level(&node).await;
    let (name, uuid) = (label::dataset_name(id), label::dataset_uuid(id));
    let mut names = vec![("$NAME", name.clone()), ("$UUID", uuid), ("$COUNT", "8".to_owned())];
    for member in [&city.hub, &node] {
        let package = wait_until(&format!("{} shows {name}", member.name()), async || {
            let path = format!("/api/3/action/package_search?q=name:{name}");
            let (_, answer) = member.get(&path).await;
            let count = answer["result"]["count"].clone();
            if count == 1 {
                Ok(answer["result"]["results"][0].clone())
            } else {
                Err(answer.to_string())
            }
        })
        .await;
        let text =
            |pointer: &str| package.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        names.truncate(3);
        names.push(("$ORGID", text("/owner_org")));
        names.push(("$ORG", text("/organization/name")));
        names.push(("$GROUP", text("/groups/0/name")));
        names.push(("$RESOURCE", text("/resources/0/id")));
    }
    (city, node, names)
}

fn is_moment(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.dddddd";
    let fits = |(c, form): (char, char)| if form == 'd' { c.is_ascii_digit() } else { c == form };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
}

/// Whether a value is what the table says.
fn fits(wanted: &Value, found: Option<&Value>) -> bool {
    let Some(found) = found else { return false };
    match wanted.as_str().and_then(|text| text.strip_prefix("kind:")) {
        None => wanted == found,
        Some("string") => found.is_string(),
        Some("number") => found.is_u64(),
        Some("array") => found.is_array(),
        Some("moment") => found.as_str().is_some_and(is_moment),
        Some(other) => panic!("the table has no kind {other}"),
    }
}

async fn check(member: &Member, line: &str) -> Result<(), String> {
    let call: Call = serde_json::from_str(line).unwrap();
    let (method, path) = call.request.split_once(' ').unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method.parse::<Method>().unwrap(), member.http_url(path));
    if let Some(kind) = &call.content_type {
        request = request.header("content-type", kind);
    }
    // A key that nobody knows changes nothing.
    request = request.header("authorization", "a-key-of-nobody");
    let answer = request.body(call.body.unwrap_or_default()).send().await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let cors = answer.headers().get("access-control-allow-origin").is_some();
    let body: Value = answer.json().await.unwrap_or_default();
    let told = |what: &str| format!("{}: {}: {what}: {status} {body}", member.name(), call.request);
    if status != call.status {
        return Err(told(&format!("not {}", call.status)));
    }
    if path.starts_with("/api/3")
        && (kind.as_deref() != Some("application/json;charset=utf-8") || !cors)
    {
        return Err(told(&format!("headers {kind:?} {cors}")));
    }
    for (pointer, wanted) in &call.has {
        if !fits(wanted, body.pointer(pointer)) {
            return Err(told(&format!("{pointer} is not {wanted}")));
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_recorded_call_is_answered_as_a_ckan_answers_it() {
    let (city, node, names) = city_with_records().await;
    let mut faults = Vec::new();
    for member in [&city.hub, &node] {
        for line in CALLS.lines() {
            let mut line = line.replace("\"$COUNT\"", "8");
            for (sign, name) in &names {
                line = line.replace(sign, name);
            }
            faults.extend(check(member, &line).await.err());
        }
        let head = reqwest::Client::new().head(member.http_url("/api/3/action/package_list"));
        assert_eq!(head.send().await.unwrap().status(), 200);
    }
    assert!(CALLS.lines().count() >= 82);
    assert!(faults.is_empty(), "{} differ:\n{}", faults.len(), faults.join("\n"));
}

/// Every dataset's name, by pages as ckanext-harvest reads them: until one is empty, whatever `count` says.
async fn harvest(member: &Member, rows: usize) -> Vec<String> {
    let mut names = Vec::new();
    for start in (0..).step_by(rows) {
        let page = format!("/api/3/action/package_search?rows={rows}&start={start}&sort=id+asc");
        let (status, answer) = member.get(&page).await;
        assert_eq!(status, 200, "{answer}");
        let results = answer["result"]["results"].as_array().unwrap();
        if results.is_empty() {
            break;
        }
        names.extend(results.iter().map(|dataset| dataset["name"].as_str().unwrap().to_owned()));
    }
    names
}

#[tokio::test]
async fn a_harvest_gets_every_dataset_once_and_later_only_what_changed() {
    let (city, node, _) = city_with_records().await;
    for member in [&city.hub, &node] {
        for rows in [3, 100] {
            let names = harvest(member, rows).await;
            let distinct: BTreeSet<&String> = names.iter().collect();
            assert_eq!((names.len(), distinct.len()), (8, 8), "{names:?}");
        }
    }
    // What the last page showed as changed last is where the next harvest begins.
    let latest = "/api/3/action/package_search?rows=1&sort=metadata_modified+desc";
    let (_, answer) = city.hub.get(latest).await;
    let seen = answer["result"]["results"][0]["metadata_modified"].as_str().unwrap().to_owned();
    let id = node.put(None, &rows::content(77)).await.unwrap().id;
    city.level(&node).await;
    let since = format!("/api/3/action/package_search?fq=metadata_modified:%7B{seen}Z+TO+*%5D");
    let changed = wait_until("the change is found", async || {
        let (_, answer) = city.hub.get(&since).await;
        if answer["result"]["count"] == 1 { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    let dataset = &changed["result"]["results"][0];
    assert_eq!(dataset["name"], label::dataset_name(id));
    assert!(dataset["metadata_modified"].as_str().unwrap() > seen.as_str());
    // A withdrawn one is gone, as one that never was.
    node.withdraw(id, "测试").await.unwrap();
    city.level(&node).await;
    wait_until("the withdrawal is seen", async || {
        let (status, answer) = city.hub.get(&format!("/api/3/action/package_show?id={id}")).await;
        if status == 404 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[expect(clippy::print_stdout, reason = "what was left out is told")]
fn tell(what: &str) {
    println!("skipped: {what}");
}

/// Where ckanapi is, or why the test is left out.
async fn program() -> Option<String> {
    let program = std::env::var("LIANDONG_CKANAPI").unwrap_or_else(|_| "ckanapi".to_owned());
    let mut command = tokio::process::Command::new(&program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().await.is_ok_and(|status| status.success());
    if !there {
        let required = std::env::var("LIANDONG_REQUIRE_OPTIONAL").is_ok_and(|value| value == "1");
        assert!(!required, "{program} does not run: pip install ckanapi");
        tell(&format!("{program} does not run: pip install ckanapi, or set LIANDONG_CKANAPI"));
    }
    there.then_some(program)
}

/// Runs ckanapi against a member and returns its lines of JSON.
async fn ckanapi(program: &str, member: &Member, args: &[&str]) -> Vec<Value> {
    // It starts itself again for its work, by its name.
    let own = Path::new(program).parent().unwrap_or(Path::new(""));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = tokio::process::Command::new(program);
    command.args(args).args(["-r", &member.http_url("")]);
    command.env("PATH", format!("{}:{path}", own.display()));
    command.env("no_proxy", "*").env("NO_PROXY", "*");
    let ran = command.stdin(Stdio::null()).output().await.unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args:?}: {told}");
    let lines = String::from_utf8(ran.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn ckanapi_gets_every_record_from_hub_and_node() {
    let Some(program) = program().await else { return };
    let (city, node, names) = city_with_records().await;
    let name_of = |sign: &str| &names.iter().find(|(known, _)| *known == sign).unwrap().1;
    for member in [&city.hub, &node] {
        let all: BTreeSet<String> = harvest(member, 100).await.into_iter().collect();
        for args in [&["search", "datasets"][..], &["dump", "datasets", "--all"]] {
            let found = ckanapi(&program, member, args).await;
            let found: Vec<&str> = found.iter().map(|one| one["name"].as_str().unwrap()).collect();
            let distinct: BTreeSet<String> = found.iter().map(|&name| name.to_owned()).collect();
            assert_eq!((found.len(), &distinct), (8, &all), "{args:?}");
        }
        let organizations = ckanapi(&program, member, &["dump", "organizations", "--all"]).await;
        let counts = organizations.iter().map(|one| one["package_count"].as_u64().unwrap());
        assert_eq!((organizations.len(), counts.sum::<u64>()), (2, 8), "{organizations:?}");
        let groups = ckanapi(&program, member, &["dump", "groups", "--all"]).await;
        assert_eq!((groups.len(), &groups[0]["name"]), (1, &json!(name_of("$GROUP"))));
    }
}
