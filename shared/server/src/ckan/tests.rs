//! The interface over a real store: what it hides, and how it reads what clients send. The table of calls is run
//! against real processes, in `tests/tests/endtoend/ckan.rs`.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
};
use liandong_core::{label, limit};
use serde_json::{Value, json};

use super::{
    base,
    input::{self, Args},
    package::moment,
};
use crate::read::tests::{Answer, City, OPEN, RESTRICTED, WITHDRAWN, id};

const ACTION: &str = "/api/3/action";

fn read(query: Option<&str>, kind: Option<&'static str>, body: &str) -> Result<Args, String> {
    let mut headers = HeaderMap::new();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    input::read(query, kind.map(|_| (&headers, body.as_bytes())))
}

#[test]
fn arguments_are_read_in_every_form_that_clients_send() {
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    let table: &[(Option<&str>, Option<&'static str>, &str, Value)] = &[
        (None, None, "", json!({})),
        (Some("id=a&x=%E4%BA%A4+b"), None, "", json!({"id": "a", "x": "交 b"})),
        (Some("fq=a&fq=b"), None, "", json!({"fq": ["a", "b"]})),
        (Some("q=%FF"), None, "", json!({"q": "\u{FFFD}"})),
        (Some("id=a&callback=f"), None, "", json!({"id": "a"})),
        (None, Some(json), "{\"id\": [1]}", json!({"id": [1]})),
        (None, Some(json), "", json!({})),
        (Some("id=a"), Some(json), "{\"id\": \"b\"}", json!({"id": "a"})),
        (None, Some(form), "id=a&q=b+c", json!({"id": "a", "q": "b c"})),
        (Some("id=x"), Some(form), "id=a", json!({"id": "a"})),
        (None, Some(form), "{\"id\": \"交\"}", json!({"id": "交"})),
        (None, Some(form), "{\"id\": \"a\"}=1", json!({"id": "a"})),
        (
            None,
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            "id=a",
            json!({"id": "a"}),
        ),
    ];
    for (query, kind, body, wanted) in table {
        let args = read(*query, *kind, body).map(Value::from);
        assert_eq!(args.as_ref(), Ok(wanted), "{query:?} {kind:?} {body}");
    }
    for (kind, body) in [(json, "{"), (json, "[]"), (json, "1"), (form, "[1]"), (form, "{x")] {
        assert!(read(None, Some(kind), body).is_err(), "{kind} {body}");
    }
}

#[test]
fn a_host_that_is_none_does_not_become_a_link() {
    let of = |host: &'static str, proto: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(proto) = proto {
            headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
        }
        base(&headers)
    };
    assert_eq!(of("data.example.cn:8080", None), "http://data.example.cn:8080");
    assert_eq!(of("data.example.cn", Some("https")), "https://data.example.cn");
    assert_eq!(of("data.example.cn", Some("javascript")), "http://data.example.cn");
    assert_eq!(of("a b/<x>", None), "http://localhost");
    assert_eq!(of("user@evil.example", None), "http://localhost");
}

#[test]
fn moments_have_microseconds_and_no_zone() {
    assert_eq!(moment(1_795_410_847_669_112), "2026-11-23T05:14:07.669112");
    assert_eq!(moment(0), "1970-01-01T00:00:00.000000");
}

#[tokio::test]
async fn what_not_everyone_may_see_and_what_was_withdrawn_does_not_exist() {
    let city = City::new().await;
    let unknown = City::unknown();
    for hidden in [id(RESTRICTED), id(WITHDRAWN), unknown] {
        for name in [hidden.to_string(), label::dataset_uuid(hidden)] {
            let answer = city.get(&format!("{ACTION}/package_show?id={name}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            let wanted = json!({"__type": "Not Found Error", "message": "Not found"});
            assert_eq!(answer.json()["error"], wanted);
        }
    }
    let list = city.get(&format!("{ACTION}/package_list")).await.json();
    let names: Vec<&str> =
        list["result"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names.len(), 24);
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.contains(&id(OPEN).to_string().as_str()));
}

#[tokio::test]
async fn a_dataset_holds_nothing_that_a_ckan_refuses() {
    let city = City::new().await;
    let answer = city.get(&format!("{ACTION}/package_search?rows=100")).await.json();
    let results = answer["result"]["results"].as_array().unwrap();
    assert_eq!((results.len(), &answer["result"]["count"]), (24, &json!(24)));
    for dataset in results {
        let name = dataset["name"].as_str().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        let core: Vec<&String> = dataset.as_object().unwrap().keys().collect();
        let mut keys = Vec::new();
        for extra in dataset["extras"].as_array().unwrap() {
            assert!(extra["value"].is_string(), "{extra}");
            keys.push(extra["key"].as_str().unwrap().to_owned());
        }
        assert!(keys.iter().all(|key| !core.contains(&key)), "{keys:?}");
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        for resource in dataset["resources"].as_array().unwrap() {
            assert!(resource["size"].is_u64() || resource["size"].is_null());
        }
    }
}

#[tokio::test]
async fn hostile_requests_get_a_short_answer() {
    let city = City::new().await;
    let deep = "(".repeat(limit::EXPR_CHARS_MAX);
    for (query, status) in [
        (format!("q={deep}"), StatusCode::CONFLICT),
        (format!("q=title:{}", "a*".repeat(1_000)), StatusCode::CONFLICT),
        (format!("q={}", "a+".repeat(10_000)), StatusCode::CONFLICT),
        ("q=%7B!lucene%7Dx".to_owned(), StatusCode::CONFLICT),
        ("rows=99999999999999999999".to_owned(), StatusCode::CONFLICT),
        ("start=9999999999&sort=id+asc".to_owned(), StatusCode::OK),
    ] {
        let answer = city.get(&format!("{ACTION}/package_search?{query}")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.len() < 4_000, "{}", answer.body);
    }
    let large = Request::post(format!("{ACTION}/package_search"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("x".repeat(1 << 20)))
        .unwrap();
    let answer = Answer::of(city.router(), large).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
}
