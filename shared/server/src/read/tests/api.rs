//! `/api/v1` as programs see it.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};

use super::fixture::{
    Answer, BEGIN_MS, City, OPEN, RESTRICTED, SCRIPT, SECRET_TITLE, WITHDRAWN, id,
};

#[tokio::test]
async fn a_record_is_told_with_its_district_and_its_signed_content() {
    let city = City::new().await;
    let answer = city.get(&format!("/api/v1/records/{}", id(OPEN))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    let json = answer.json();
    assert_eq!(json["status"], "live");
    assert_eq!(json["district"]["code"], "310115");
    assert_eq!(json["district"]["state"], "in_sync");
    assert_eq!(json["district"]["as_of"], BEGIN_MS + 60_000);
    assert_eq!((&json["seq"], &json["changed_at"]), (&1.into(), &BEGIN_MS.into()));
    assert_eq!(json["record"]["title"], "公共停车场信息");
    assert_eq!(json["record"]["items"][1]["name"], "泊位数");
    let tag = format!("W/\"{}\"", json["op_hash"].as_str().unwrap());
    assert_eq!(answer.header(header::ETAG), tag);
}

#[tokio::test]
async fn a_record_that_a_client_already_has_is_not_sent_again() {
    let city = City::new().await;
    let uri = format!("/api/v1/records/{}", id(OPEN));
    let tag = city.get(&uri).await.header(header::ETAG).to_owned();
    let strong = tag.trim_start_matches("W/").to_owned();
    for (given, status) in [
        (tag.clone(), StatusCode::NOT_MODIFIED),
        (strong, StatusCode::NOT_MODIFIED),
        (format!("\"x\", {tag}"), StatusCode::NOT_MODIFIED),
        ("\"x\"".to_owned(), StatusCode::OK),
    ] {
        let request = Request::get(&uri).header(header::IF_NONE_MATCH, given);
        let answer = Answer::of(city.router(), request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header(header::ETAG)), (status, tag.as_str()));
    }
}

#[tokio::test]
async fn a_withdrawn_record_is_a_problem_with_its_reason() {
    let city = City::new().await;
    let uri = format!("/api/v1/records/{}", id(WITHDRAWN));
    let answer = city.get(&uri).await;
    assert_eq!(answer.status, StatusCode::GONE);
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json");
    let json = answer.json();
    assert_eq!(json["type"], "urn:liandong:problem:gone");
    assert_eq!(json["code"], "gone");
    assert_eq!(json["status"], 410);
    assert_eq!(json["instance"], uri);
    assert_eq!(json["reason"], "已并入公共停车场信息");
    assert_eq!(json["withdrawn_at"], BEGIN_MS + 4000);
    assert_eq!(
        (&json["reason_class"], &json["district_name"]),
        (&"withdrawn".into(), &"浦东新区".into())
    );
}

#[tokio::test]
async fn a_restricted_record_looks_like_one_that_does_not_exist() {
    let city = City::new().await;
    for prefix in ["/api/v1/records", "/dataset"] {
        let hidden = city.get(&format!("{prefix}/{}", id(RESTRICTED))).await;
        let unknown = city.get(&format!("{prefix}/{}", City::unknown())).await;
        assert_eq!((hidden.status, unknown.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
        let same = |answer: &Answer, number: String| answer.body.replace(&number, "ID");
        let hidden = same(&hidden, id(RESTRICTED).to_string());
        assert_eq!(hidden, same(&unknown, City::unknown().to_string()));
    }
}

#[tokio::test]
async fn nothing_restricted_leaks_in_any_route() {
    let city = City::new().await;
    let query = "%E7%A8%8E%E6%94%B6"; // 税收
    let uris = [
        "/".to_owned(),
        "/search".to_owned(),
        format!("/search?q={query}"),
        "/search?q=%E5%81%9C%E8%BD%A6".to_owned(),
        format!("/dataset/{}", id(RESTRICTED)),
        "/api/v1/records?limit=1000".to_owned(),
        format!("/api/v1/records/{}", id(RESTRICTED)),
        format!("/api/v1/search?q={query}"),
        "/api/v1/search?q=%E5%81%9C%E8%BD%A6&limit=100".to_owned(),
        "/api/v1/status".to_owned(),
    ];
    for uri in uris {
        let body = city.get(&uri).await.body;
        assert!(!body.contains(SECRET_TITLE) && !body.contains("税收明细"), "{uri}: {body}");
        assert!(!body.contains("无主停车记录"), "{uri} shows a record of no district");
        let own = uri.contains(&id(RESTRICTED).to_string());
        assert!(own || !body.contains(&id(RESTRICTED).to_string()), "{uri} names the record");
    }
    assert_eq!(city.get(&format!("/api/v1/search?q={query}")).await.json()["total"], 0);
}

#[tokio::test]
async fn pages_of_the_list_join_into_the_whole_list() {
    let city = City::new().await;
    let whole = city.get("/api/v1/records").await.json();
    assert!(whole["next"].is_null());
    assert_eq!(whole["as_of"], BEGIN_MS, "the least current district");
    let ids = |json: &serde_json::Value| -> Vec<String> {
        let records = json["records"].as_array().unwrap().iter();
        records.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    };
    let (mut joined, mut after) = (Vec::new(), String::new());
    loop {
        let page = city.get(&format!("/api/v1/records?limit=7&after={after}")).await.json();
        joined.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(joined, ids(&whole));
    assert_eq!(joined.len(), 25);
}

#[tokio::test]
async fn the_list_can_be_narrowed_by_status_and_district() {
    let city = City::new().await;
    let rows = [
        ("status=live", 24),
        ("status=withdrawn", 1),
        ("status=all", 25),
        ("district=310115", 25),
        ("district=310101", 0),
        ("district=310151", 0),
        ("district=310230", 0),
    ];
    for (query, expected) in rows {
        let json = city.get(&format!("/api/v1/records?{query}")).await.json();
        assert_eq!(json["records"].as_array().unwrap().len(), expected, "{query}");
    }
    let withdrawn = city.get("/api/v1/records?status=withdrawn").await.json();
    assert!(withdrawn["records"][0]["record"].is_null());
    assert_eq!(withdrawn["records"][0]["withdrawn_reason"], "已并入公共停车场信息");
}

#[tokio::test]
async fn a_search_tells_hits_with_the_freshness_of_their_district() {
    let city = City::new().await;
    let json = city.get("/api/v1/search?q=%E5%81%9C%E8%BD%A6&limit=100").await.json();
    let hits = json["hits"].as_array().unwrap();
    let found: Vec<&str> = hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(json["total"], 2);
    assert!(found.contains(&id(OPEN).to_string().as_str()), "{found:?}");
    assert!(found.contains(&id(SCRIPT).to_string().as_str()), "{found:?}");
    let district = &hits[0]["district"];
    assert_eq!(district["state"], "in_sync");
    assert_eq!(district["as_of_ms"], BEGIN_MS + 60_000);
    assert_eq!(district["lag_records"], 0);
    assert!(json["took_ms"].is_u64());
    assert_eq!(json["applied"]["01010101010101010101010101010101"]["seq"], 27);
    let none = city.get("/api/v1/search?q=%E5%81%9C%E8%BD%A6&district=310101").await.json();
    assert_eq!(none["total"], 0);
}

#[tokio::test]
async fn a_bad_parameter_is_named_with_what_is_allowed() {
    let city = City::new().await;
    let long = format!("/api/v1/search?q={}", "a".repeat(257));
    let rows = [
        ("/api/v1/records?limit=0", "limit", "1 to 1000"),
        ("/api/v1/records?limit=1001", "limit", "1 to 1000"),
        ("/api/v1/records?limit=many", "limit", "many"),
        ("/api/v1/records?after=xyz", "after", "a record id"),
        ("/api/v1/records?status=dead", "status", "all, live, withdrawn"),
        ("/api/v1/records?district=999999", "district", "310101, 310115"),
        ("/api/v1/records?district=310101&district=310115", "district", "only once"),
        ("/api/v1/search?limit=101", "limit", "1 to 100"),
        ("/api/v1/search?offset=10001", "offset", "0 to 10000"),
        ("/api/v1/search?offset=-1", "offset", "0 to 10000"),
        (long.as_str(), "q", "at most 256 characters, not 257"),
        ("/api/v1/records/not-an-id", "id", "a record id"),
    ];
    for (uri, parameter, allowed) in rows {
        let answer = city.get(uri).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json");
        let json = answer.json();
        assert_eq!(json["code"], "bad_request");
        assert_eq!(json["errors"][0]["parameter"], parameter, "{uri}");
        assert!(json["errors"][0]["detail"].as_str().unwrap().contains(allowed), "{uri}: {json}");
    }
    let both = city.get("/api/v1/records?limit=0&status=dead").await.json();
    assert_eq!(both["errors"].as_array().unwrap().len(), 2, "all faults at once");
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_a_problem_under_api() {
    let city = City::new().await;
    let answer = city.get("/api/v1/nothing").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.json()["code"], "not_found");
    let post = Request::post("/api/v1/records").body(Body::empty()).unwrap();
    let answer = Answer::of(city.router(), post).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.json()["status"], 405);
}

#[tokio::test]
async fn head_tells_the_headers_without_the_body() {
    let city = City::new().await;
    let uri = format!("/api/v1/records/{}", id(OPEN));
    let request = Request::head(uri).body(Body::empty()).unwrap();
    let answer = Answer::of(city.router(), request).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    assert!(!answer.header(header::ETAG).is_empty());
}

#[tokio::test]
async fn a_script_of_another_site_may_ask() {
    let city = City::new().await;
    let request = Request::builder().method(Method::OPTIONS).uri("/api/v1/records");
    let request = request
        .header(header::ORIGIN, "https://app.example.cn")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
    let answer = Answer::of(city.router(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    assert!(answer.header(header::ACCESS_CONTROL_ALLOW_HEADERS).contains("If-None-Match"));
    assert_eq!(city.get("/").await.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
}

#[tokio::test]
async fn a_trailing_slash_leads_to_the_address_without_it_and_never_to_another_host() {
    let city = City::new().await;
    let rows = [
        ("/search/?q=a", Some("/search?q=a")),
        ("/api/v1/status/", Some("/api/v1/status")),
        ("//evil.example/", None),
        ("/\\evil.example/", None),
    ];
    for (uri, location) in rows {
        let Ok(request) = Request::get(uri).body(Body::empty()) else { continue };
        let answer = Answer::of(city.router(), request).await;
        assert_eq!(answer.header(header::LOCATION), location.unwrap_or_default(), "{uri}");
        let expected = location.map_or(StatusCode::NOT_FOUND, |_| StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.status, expected, "{uri}");
    }
}
