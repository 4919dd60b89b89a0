//! Feeds of searches, and what browsers ask for.

use axum::http::{StatusCode, header};
use scraper::{Html, Selector};

use super::fixture::{City, OPEN, SECRET_TITLE, id};

/// XML read as HTML is: good enough for elements that close.
fn texts(body: &str, selector: &str) -> Vec<String> {
    let html = Html::parse_fragment(body);
    let selector = Selector::parse(selector).unwrap();
    html.select(&selector).map(|found| found.text().collect()).collect()
}

#[tokio::test]
async fn a_feed_holds_what_the_search_finds_newest_first() {
    let city = City::new().await;
    let json = city.get("/search.json?q=%E5%81%9C%E8%BD%A6").await;
    assert_eq!(json.header(header::CONTENT_TYPE), "application/feed+json");
    let json = json.json();
    assert_eq!(json["version"], "https://jsonfeed.org/version/1.1");
    assert_eq!(json["home_page_url"], "http://localhost/search?q=%E5%81%9C%E8%BD%A6");
    let items = json["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let moments: Vec<&str> =
        items.iter().map(|item| item["date_modified"].as_str().unwrap()).collect();
    assert!(moments[0] >= moments[1] && moments[1] > "2026", "{moments:?}");
    let found = items.iter().find(|item| item["title"] == "公共停车场信息").unwrap();
    assert_eq!(found["url"], format!("http://localhost/dataset/{}", id(OPEN)));

    let atom = city.get("/search.atom?q=%E5%81%9C%E8%BD%A6").await;
    assert_eq!(atom.header(header::CONTENT_TYPE), "application/atom+xml; charset=utf-8");
    let ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(texts(&atom.body, "entry > id"), ids);
    assert!(ids.iter().all(|id| id.starts_with("urn:uuid:")), "{ids:?}");
    let updated = texts(&atom.body, "updated");
    assert_eq!(updated[0], updated[1], "the feed is as new as its newest entry");
    assert!(atom.body.contains("&lt;script&gt;") || atom.body.contains("&#60;script&#62;"));
    assert!(!atom.body.contains("<script") && !atom.body.contains(SECRET_TITLE));
}

#[tokio::test]
async fn a_long_feed_is_paged_by_a_link() {
    let city = City::new().await;
    let mut uri = "/search.json?q=%E5%85%AC%E5%9B%AD&limit=9&district=310115".to_owned();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let json = city.get(&uri).await.json();
        for item in json["items"].as_array().unwrap() {
            assert!(seen.insert(item["id"].as_str().unwrap().to_owned()), "twice: {item}");
        }
        let next = json["next_url"].as_str().unwrap_or("http://localhost");
        next.strip_prefix("http://localhost").unwrap().clone_into(&mut uri);
    }
    assert_eq!((seen.len(), uri.as_str()), (22, ""));
}

#[tokio::test]
async fn a_feed_that_is_asked_wrongly_says_so() {
    let city = City::new().await;
    for path in ["/search.atom", "/search.json"] {
        let answer = city.get(&format!("{path}?sort=size&district=1")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 2);
    }
    let empty = city.get("/search.atom?q=zzzz").await;
    assert_eq!(empty.status, StatusCode::OK);
    assert_eq!(texts(&empty.body, "entry").len(), 0);
    assert_eq!(texts(&empty.body, "updated").len(), 1, "a feed has a moment even when empty");
}

#[tokio::test]
async fn browsers_learn_how_to_search_and_suggest() {
    let city = City::new().await;
    let page = city.get("/").await.html();
    let link = Selector::parse("link[rel=search]").unwrap();
    let href = page.select(&link).next().unwrap().attr("href").unwrap().to_owned();
    let described = city.get(&href).await;
    assert!(described.header(header::CONTENT_TYPE).contains("opensearchdescription+xml"));
    for (at, wanted) in [("/search?q=", StatusCode::OK), ("/api/v1/suggest?q=", StatusCode::OK)] {
        let template = format!("template=\"http://localhost{at}{{searchTerms}}");
        assert!(described.body.contains(&template), "{}", described.body);
        assert_eq!(city.get(&format!("{at}gyld")).await.status, wanted);
    }
    let told = city.get("/api/v1/suggest?q=gonggongting&format=opensearch").await.json();
    assert_eq!(told, serde_json::json!(["gonggongting", ["公共停车场信息"]]));
}
