//! One search over the whole city: the same answers on pages, over HTTP, over gRPC, on command lines, at hub and node.

use std::path::Path;

use liandong_node::import::plan::Options;
use liandong_proto::catalog::{Choice, SearchReply, SearchRequest, catalog_client::CatalogClient};
use liandong_server::{
    identity::Anchor,
    tls::{self, ClientTls, Timeouts},
};
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::{PROGRAM, titles};

/// Records of the two districts.
const PUDONG: usize = 25;
const XUHUI: usize = 15;

/// A city of two districts, searchable at the hub, with a node that holds all of it.
async fn city() -> (City, Member, Member) {
    let city = City::start(PROGRAM).await;
    city.let_all_pass().await;
    let (a, b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    for (node, numbers) in [(&a, 0..PUDONG), (&b, PUDONG..PUDONG + XUHUI)] {
        let file = city.root().join("目录.csv");
        std::fs::write(&file, rows::csv(&rows::rows(numbers))).unwrap();
        node.import(&file, Options::default()).await.unwrap();
        city.level(node).await;
    }
    let all = (PUDONG + XUHUI) as u64;
    wait_until("the node holds the city", async || {
        let held = b.status().await.city.expect("a node");
        let whole = held.complete && !held.stale && held.records == all;
        whole.then_some(()).ok_or_else(|| format!("{held:?}"))
    })
    .await;
    (city, a, b)
}

async fn grpc(of: &Member, dir: &Path) -> CatalogClient<Channel> {
    let ca = Anchor::read(dir).unwrap().unwrap().ca_der().unwrap();
    let tls = ClientTls::anonymous(&ca).unwrap();
    let channel = tls::connect(&of.grpc_url(), &tls, Timeouts::default()).await.unwrap();
    CatalogClient::new(channel)
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

fn ids_of(reply: &SearchReply) -> Vec<&str> {
    reply.hits.iter().map(|hit| hit.record.as_ref().unwrap().id.as_str()).collect()
}

#[tokio::test]
async fn facets_add_up_and_are_the_same_on_pages_over_http_and_at_a_node() {
    let (city, _a, b) = city().await;
    for (query, sort) in [("", "name"), ("停车场", "relevance"), ("gongjiao", "relevance")] {
        let params = [("q", query), ("sort", sort), ("facets", "all"), ("limit", "100")];
        let hub = city.hub.search_with(&params).await;
        let counts = hub["facets"]["district"].as_array().unwrap();
        let sum: u64 = counts.iter().map(|value| value["count"].as_u64().unwrap()).sum();
        assert!(sum > 0, "{query} is found");
        assert_eq!(json!(sum), hub["records"], "{query}: counts over districts add up to the city");
        for code in ["310115", "310104"] {
            let own = city.hub.search_with(&[&params[..], &[("district", code)]].concat()).await;
            let count = counts.iter().find(|value| value["value"] == code).map(|v| &v["count"]);
            assert_eq!(Some(&own["records"]), count, "{query} in {code}");
            assert_eq!(own["facets"]["district"].as_array().unwrap().len(), counts.len());
        }
        let page = city.hub.text(&format!("/search?q={query}&sort={sort}")).await;
        for (name, values) in hub["facets"].as_object().unwrap() {
            for value in values.as_array().unwrap() {
                let says =
                    format!("{}，{} 条", value["label"]["zh"].as_str().unwrap(), value["count"]);
                assert!(page.contains(&says), "{name} of {query} shows {says}: {page}");
            }
        }
        let node = b.search_with(&[&params[..], &[("scope", "city")]].concat()).await;
        assert_eq!(node["facets"], hub["facets"], "{query}");
        assert_eq!((&node["total"], &node["records"]), (&hub["total"], &hub["records"]), "{query}");
        let sorted = |answer: &Value| {
            let mut ids: Vec<String> = ids(answer).into_iter().map(str::to_owned).collect();
            if sort == "relevance" {
                ids.sort();
            }
            ids
        };
        assert_eq!(sorted(&node), sorted(&hub), "{query}");
    }
}

#[tokio::test]
async fn grpc_and_the_command_lines_give_the_answers_of_http() {
    let (city, a, _b) = city().await;
    let mut client = grpc(&city.hub, a.dir()).await;
    let params = [("q", "停车场"), ("district", "310115"), ("open", "1"), ("facets", "all")];
    let http = city.hub.search_with(&[&params[..], &[("limit", "3")]].concat()).await;
    let chosen = vec![Choice { facet: "open".to_owned(), value: "1".to_owned() }];
    let asked = SearchRequest {
        query: "停车场".to_owned(),
        district_codes: vec!["310115".to_owned()],
        chosen,
        facets: vec!["all".to_owned()],
        limit: 3,
        ..SearchRequest::default()
    };
    let reply = client.search(asked.clone()).await.unwrap().into_inner();
    assert_eq!(ids_of(&reply), ids(&http));
    assert_eq!(
        (json!(reply.total), json!(reply.records)),
        (http["total"].clone(), http["records"].clone())
    );
    assert_eq!(json!(reply.next), http["next"]);
    for facet in &reply.facets {
        let counts: Vec<_> =
            facet.values.iter().map(|v| json!([v.value, v.count, v.chosen])).collect();
        let values = http["facets"][&facet.name].as_array().unwrap();
        let told: Vec<_> =
            values.iter().map(|v| json!([v["value"], v["count"], v["chosen"]])).collect();
        assert_eq!(counts, told, "{}", facet.name);
    }
    assert!(reply.understood.unwrap().clauses.iter().any(|clause| clause.text == "停车场"));
    assert_eq!(reply.applied.len(), http["applied"].as_object().unwrap().len());
    // On the command line, narrowed by the same words.
    let args = ["search", "停车场", "--district", "310115", "--facet", "open=1", "--facets", "all"];
    let told = city.hub.cli_json(&[&args[..], &["--limit", "3"]].concat()).await;
    assert_eq!((&told["hits"], &told["facets"]), (&http["hits"], &http["facets"]));
    let next = told["next"].as_str().unwrap();
    let rest = city.hub.cli_json(&[&args[..], &["--after", next]].concat()).await;
    assert_eq!(ids(&rest).len() + 3, usize::try_from(reply.total).unwrap());
    let told = city.hub.cli(&["search", "tcc", "--explain", "--facets", "open"]).await.exits(0);
    assert!(told.stdout.contains("title: ") && told.stdout.contains("open："), "{told:?}");
    let wrong = city.hub.cli(&["search", "--sort", "size", "--facet", "colour=red"]).await.exits(2);
    assert!(wrong.stderr.contains("size") && wrong.stderr.contains("colour"), "{wrong:?}");
    let wrong = SearchRequest { sort: "size".to_owned(), ..SearchRequest::default() };
    assert!(client.search_stream(wrong).await.is_err(), "refused before the first page");

    // All of it, page after page.
    let all = SearchRequest { limit: 7, sort: "name".to_owned(), ..SearchRequest::default() };
    let mut pages = client.search_stream(all).await.unwrap().into_inner();
    let (mut streamed, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.message().await.unwrap() {
        streamed.extend(ids_of(&page).into_iter().map(str::to_owned));
        count += 1;
    }
    let http = city.hub.search_with(&[("sort", "name"), ("limit", "100")]).await;
    assert_eq!((streamed, count), (ids(&http).into_iter().map(str::to_owned).collect(), 6));
}

#[tokio::test]
async fn words_that_the_operator_teaches_work_at_the_hub_and_at_every_node() {
    let (city, _a, b) = city().await;
    let word = "搁车坪";
    assert_eq!(city.hub.search(word).await["total"], 0);
    let wanted = city.hub.search("停车场").await["total"].clone();
    let taught = city.hub.cli_json(&["vocabulary", "add-synonyms", "停车场,搁车坪"]).await;
    assert!(taught["synonyms"].to_string().contains(word), "{taught}");
    wait_until("the hub searches with the new words", async || {
        let answer = city.hub.search(word).await;
        (answer["total"] == wanted && wanted != 0).then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
    wait_until("the node searches with the new words", async || {
        let answer = b.search_with(&[("q", word), ("scope", "city")]).await;
        (answer["total"] == wanted).then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
    let own = b.search(word).await["total"].clone();
    assert_eq!(own, b.search("停车场").await["total"], "in its own catalogue too");

    let shown = city.hub.cli(&["vocabulary", "show"]).await.exits(0).stdout;
    let file = city.root().join("词表.csv");
    std::fs::write(&file, &shown).unwrap();
    let file = file.to_str().unwrap();
    let _removed = city.hub.cli(&["vocabulary", "remove", word]).await.exits(0);
    wait_until("the hub has forgotten it", async || {
        let answer = city.hub.search(word).await;
        (answer["total"] == 0).then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
    let _set = city.hub.cli(&["vocabulary", "set", file]).await.exits(0);
    assert_eq!(city.hub.cli(&["vocabulary", "show"]).await.exits(0).stdout, shown);
    std::fs::write(file, "水,水\n！,路").unwrap();
    let wrong = city.hub.cli(&["vocabulary", "set", file]).await.exits(3);
    assert!(wrong.stderr.contains("“水”") && wrong.stderr.contains("“！”"), "{wrong:?}");
}

#[tokio::test]
async fn suggestions_feeds_and_what_is_left_of_a_withdrawn_record() {
    let (city, a, b) = city().await;
    for (member, path) in [(&city.hub, "/api/v1/suggest?q="), (&b, "/api/v1/suggest?scope=city&q=")]
    {
        for (typed, wanted) in
            [("停车场", "停车场泊位信息1"), ("bowuguan", "博物馆藏品信息4"), ("浦东", "浦东新区")]
        {
            let (status, told) = member.get(&format!("{path}{typed}")).await;
            let texts: Vec<&str> =
                told.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
            let begun = wanted.trim_end_matches(|c: char| c.is_ascii_digit());
            assert!(
                status == 200 && texts.iter().any(|text| text.starts_with(begun)),
                "{typed}: {told}"
            );
        }
    }
    let (status, feed) = city.hub.get("/search.json?q=停车场&district=310115").await;
    let newest = feed["items"].as_array().unwrap();
    assert_eq!((status, newest.len()), (200, 5));
    let moments: Vec<&str> =
        newest.iter().map(|item| item["date_modified"].as_str().unwrap()).collect();
    assert!(moments.is_sorted_by(|a, b| a >= b), "{moments:?}");

    // A change comes first, under the id it had; a withdrawal leaves.
    let last = newest.last().unwrap();
    let id = last["url"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    let (_, kept) = a.record(id).await;
    let mut content = rows::content(1);
    content["信息资源名称"] = kept["record"]["title"].clone();
    content["信息资源代码"] = kept["record"]["code"].clone();
    content["摘要"] = json!("停车场的入口");
    a.put(Some(id), &content).await.unwrap();
    city.level(&a).await;
    let (_, feed) = city.hub.get("/search.json?q=停车场&district=310115").await;
    assert_eq!(feed["items"][0]["id"], last["id"]);
    assert!(feed["items"][0]["date_modified"].as_str() > last["date_modified"].as_str());
    let atom = city.hub.text("/search.atom?q=停车场&district=310115").await;
    assert!(atom.contains(last["id"].as_str().unwrap()) && atom.ends_with("</feed>"), "{atom}");

    a.withdraw(id, "系统下线").await.unwrap();
    city.level(&a).await;
    assert!(!titles(&city.hub.search("停车场").await).is_empty());
    let (_, feed) = city.hub.get("/search.json?q=停车场&district=310115").await;
    assert_eq!(feed["items"].as_array().unwrap().len(), 4);
    let (status, told) = city.hub.record(id).await;
    assert_eq!((status, &told["reason_class"]), (410, &json!("withdrawn")));
    assert_eq!((&told["district_name"], &told["reason"]), (&json!("浦东新区"), &json!("系统下线")));
    assert!(told["withdrawn_at"].as_i64() > Some(0), "{told}");
    assert_eq!(city.hub.get(&format!("/dataset/{id}")).await.0, 410);
    let page = city.hub.text(&format!("/dataset/{id}")).await;
    for part in ["浦东新区", "系统下线", "发布方撤回"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}
