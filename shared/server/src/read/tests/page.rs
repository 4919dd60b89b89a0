//! Pages through the router: structure, not strings.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use scraper::{Html, Selector};

use super::fixture::{Answer, City, OPEN, SCRIPT, WITHDRAWN, id};
use crate::read::pages::accessibility_faults;

fn texts(html: &Html, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).unwrap();
    html.select(&selector)
        .map(|found| {
            found.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn attributes(html: &Html, selector: &str, name: &str) -> Vec<String> {
    let selector = Selector::parse(selector).unwrap();
    html.select(&selector).filter_map(|found| found.attr(name)).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_page_keeps_the_rules_of_accessibility() {
    let city = City::new().await;
    let uris = [
        "/".to_owned(),
        "/?lang=en".to_owned(),
        "/search".to_owned(),
        "/search?q=%E5%81%9C%E8%BD%A6&district=310115&lang=en".to_owned(),
        "/search?q=zzzz".to_owned(),
        "/search?page=0&district=1".to_owned(),
        format!("/dataset/{}", id(OPEN)),
        format!("/dataset/{}", id(SCRIPT)),
        format!("/dataset/{}", id(WITHDRAWN)),
        "/dataset/unknown".to_owned(),
        "/nowhere".to_owned(),
    ];
    for uri in uris {
        let answer = city.get(&uri).await;
        let faults = accessibility_faults(&answer.html());
        assert!(faults.is_empty(), "{uri}: {faults:?}");
    }
}

#[tokio::test]
async fn the_home_page_shows_every_district_and_how_current_it_is() {
    let city = City::new().await;
    let html = city.get("/").await.html();
    assert_eq!(texts(&html, "html[lang=zh-CN] h1"), ["全市公共数据目录"]);
    let rows = texts(&html, "tbody tr");
    assert_eq!(rows.len(), 3);
    assert!(rows[0].contains("黄浦区") && rows[0].contains("离线"), "{rows:?}");
    assert!(rows[1].contains("已同步") && rows[1].contains("2026-09-21"), "{rows:?}");
    assert!(rows[2].contains("待接入") && rows[2].contains("从未"), "{rows:?}");
    assert_eq!(texts(&html, ".figures dd"), ["24", "23", "1", "3"]);
    assert!(!texts(&html, ".recent li").is_empty());
}

#[tokio::test]
async fn a_hit_tells_provider_freshness_cycle_and_kind_with_its_words_marked() {
    let city = City::new().await;
    let html = city.get("/search?q=%E5%81%9C%E8%BD%A6%E5%9C%BA").await.html();
    let hits = texts(&html, ".hits li");
    assert!(hits[0].contains("公共停车场信息") && hits[0].contains("浦东新区交通委"), "{hits:?}");
    assert!(hits[0].contains("浦东新区 · 已同步，") && hits[0].contains("确认"), "{hits:?}");
    assert!(hits[0].contains("公开") && hits[0].contains("更新：每月"), "{hits:?}");
    assert_eq!(texts(&html, ".hits h2 mark"), ["停车场"]);
    assert!(attributes(&html, ".hits h2 a", "href")[0].ends_with(&id(OPEN).to_string()));
    assert!(texts(&html, "main").concat().contains("索引已应用至第 27 / 27 条变更"));
}

#[tokio::test]
async fn a_long_answer_is_paged_and_links_keep_the_search() {
    let city = City::new().await;
    let html = city.get("/search?q=%E5%85%AC%E5%9B%AD&district=310115&lang=en").await.html();
    assert_eq!(texts(&html, ".hits > li").len(), 20);
    let next = attributes(&html, "a[rel=next]", "href");
    assert_eq!(next, ["/search?q=%E5%85%AC%E5%9B%AD&district=310115&page=2&lang=en"]);
    let html = city.get(&next[0]).await.html();
    assert_eq!(texts(&html, ".hits > li").len(), 2);
    assert_eq!(attributes(&html, "a[aria-current=page]", "aria-label"), ["Page 2"]);
    assert!(attributes(&html, "a[rel=next]", "href").is_empty());
    assert_eq!(attributes(&html, "input[name=district][checked]", "value"), ["310115"]);
}

#[tokio::test]
async fn facets_on_the_page_are_those_of_the_api_and_each_value_is_a_link() {
    let city = City::new().await;
    let html = city.get("/search?q=%E5%85%AC").await.html();
    let json = city.get("/api/v1/search?q=%E5%85%AC&facets=all").await.json();
    let told = json["facets"].as_object().unwrap();
    let mut shown = 0;
    for (name, values) in told {
        let counts: Vec<String> =
            values.as_array().unwrap().iter().map(|value| value["count"].to_string()).collect();
        let list = format!("ul[aria-labelledby='f-{name}'] .count");
        assert_eq!(texts(&html, &list), counts, "{name}");
        shown += usize::from(!counts.is_empty());
    }
    assert_eq!(texts(&html, ".facets h3").len(), shown);
    assert!(shown > 4, "{told:?}");

    let chosen = attributes(&html, "ul[aria-labelledby='f-open'] a", "href");
    assert_eq!(chosen, ["/search?q=%E5%85%AC&open=1"]);
    let html = city.get(&chosen[0]).await.html();
    assert_eq!(texts(&html, ".chips li")[0], "开放类型：公开 ×");
    let dropped = attributes(&html, ".facets [aria-current]", "href");
    assert_eq!(dropped, ["/search?q=%E5%85%AC"], "chosen again it is dropped");
    assert_eq!(attributes(&html, ".chips a", "href"), ["/search?q=%E5%85%AC"; 2]);
    let carried = attributes(&html, "form input[type=hidden]", "name");
    assert_eq!(carried, ["open"], "another text keeps what is chosen");
}

#[tokio::test]
async fn order_and_copies_are_links_that_keep_the_search() {
    let city = City::new().await;
    let html = city.get("/search?q=%E5%85%AC&sort=name&page=2&lang=en").await.html();
    assert_eq!(texts(&html, ".order [aria-current]"), ["Name"]);
    let orders = attributes(&html, ".order a", "href");
    assert_eq!(orders[0], "/search?q=%E5%85%AC&lang=en", "the usual order needs no word");
    assert_eq!(orders[5], "/search?q=%E5%85%AC&sort=name&copies=apart&lang=en");
    let html = city.get(&orders[5]).await.html();
    assert_eq!(texts(&html, ".order .copies"), ["Fold copies"]);
}

#[tokio::test]
async fn a_page_says_how_old_it_is_and_which_districts_are_late() {
    let city = City::new().await;
    let told = texts(&city.get("/search?q=%E5%81%9C%E8%BD%A6").await.html(), ".honesty").concat();
    assert!(told.contains("数据截至 2026-09-21 22:13:20"), "{told}");
    assert!(told.contains("未同步的区：黄浦区：离线"), "{told}");
    let told = texts(&city.get("/search?district=310115").await.html(), ".honesty").concat();
    assert!(!told.contains("黄浦区"), "not asked for: {told}");
}

#[tokio::test]
async fn a_misspelt_word_leads_to_what_was_meant() {
    let city = City::new().await;
    let html = city.get("/search?q=%E5%85%AC%E5%9B%AD%E5%B4%8E%E5%9C%B0&open=1").await.html();
    assert_eq!(texts(&html, ".hint"), ["公园绿地"]);
    let to = attributes(&html, ".hint", "href");
    assert_eq!(to, ["/search?q=%E5%85%AC%E5%9B%AD%E7%BB%BF%E5%9C%B0&open=1"]);
    assert_eq!(texts(&city.get(&to[0]).await.html(), ".hits > li").len(), 20);
}

#[tokio::test]
async fn what_is_chosen_cannot_become_markup_either() {
    let city = City::new().await;
    let attack = "%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E";
    for uri in [
        format!("/search?q={attack}&theme={attack}&format={attack}&more={attack}"),
        format!("/search?q=%E5%81%9C%E8%BD%A6&provider={attack}&explain=true"),
    ] {
        let html = city.get(&uri).await.html();
        assert!(attributes(&html, "img, [onerror]", "src").is_empty(), "{uri}");
        assert!(texts(&html, ".chips li")[0].contains("<img src=x onerror=alert(1)>"));
    }
}

#[tokio::test]
async fn a_search_without_hits_helps() {
    let city = City::new().await;
    let html = city.get("/search?q=zzzz").await.html();
    assert_eq!(texts(&html, "[role=status]"), ["没有找到"]);
    assert!(!texts(&html, ".help li").is_empty());
}

#[tokio::test]
async fn the_page_of_a_record_shows_its_fields_items_and_origin() {
    let city = City::new().await;
    let answer = city.get(&format!("/dataset/{}", id(OPEN))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let html = answer.html();
    assert_eq!(texts(&html, "h1"), ["公共停车场信息"]);
    let expected =
        ["基本信息", "共享与开放", "信息项", "数据获取", "其他标识", "扩展字段", "来源与同步"];
    assert_eq!(texts(&html, "h2"), expected);
    assert_eq!(texts(&html, "tbody th[scope=row]"), ["场库名称", "泊位数"]);
    let all = texts(&html, "main").concat();
    for part in ["普遍共享", "每月", "来自旧平台", "01010101", "2026-09-21 22:13:20", "整型"]
    {
        assert!(all.contains(part), "{part} in {all}");
    }
}

#[tokio::test]
async fn only_web_addresses_become_links() {
    let city = City::new().await;
    let html = city.get(&format!("/dataset/{}", id(OPEN))).await.html();
    let external = attributes(&html, "a[rel~=external]", "href");
    let expected = ["https://data.example.cn/parking.csv", "https://data.example.cn/parking"];
    assert_eq!(external, expected);
    assert!(texts(&html, "main").concat().contains("javascript:alert(1)"), "shown as text");
}

#[tokio::test]
async fn markup_in_a_record_stays_text() {
    let city = City::new().await;
    for uri in [
        "/".to_owned(),
        "/search?q=script".to_owned(),
        "/search?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        format!("/dataset/{}", id(SCRIPT)),
    ] {
        let answer = city.get(&uri).await;
        assert_eq!(answer.body.matches("<script").count(), 1, "{uri}: only our own");
        assert!(attributes(&answer.html(), "[style], [onclick], [onload]", "style").is_empty());
    }
    let html = city.get(&format!("/dataset/{}", id(SCRIPT))).await.html();
    assert_eq!(texts(&html, "h1"), ["<script>alert('停车')</script>"]);
}

#[tokio::test]
async fn a_withdrawn_record_leaves_a_page_that_says_when_and_why() {
    let city = City::new().await;
    let answer = city.get(&format!("/dataset/{}", id(WITHDRAWN))).await;
    assert_eq!(answer.status, StatusCode::GONE);
    let html = answer.html();
    let all = texts(&html, "main").concat();
    assert!(all.contains("浦东新区") && all.contains("发布方撤回"), "{all}");
    assert!(all.contains("已并入公共停车场信息") && all.contains("2026-09-21 22:13:24"), "{all}");
    let replaced = format!("a[href='/dataset/{}']", id(OPEN));
    assert_eq!(texts(&html, &replaced).len(), 1);
}

#[tokio::test]
async fn a_page_that_is_not_there_helps_on() {
    let city = City::new().await;
    for uri in ["/dataset/unknown", "/nowhere"] {
        let answer = city.get(uri).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{uri}");
        let html = answer.html();
        assert_eq!(attributes(&html, "form[role=search] input[type=search]", "name"), ["q"]);
    }
    let bad = city.get("/search?page=0&district=nowhere").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert_eq!(texts(&bad.html(), ".errors li").len(), 2);
}

#[tokio::test]
async fn a_browser_that_prefers_english_gets_english() {
    let city = City::new().await;
    let request = Request::get("/").header(header::ACCEPT_LANGUAGE, "en-GB,en;q=0.9,zh;q=0.5");
    let answer = Answer::of(city.router(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header(header::CONTENT_LANGUAGE), "en");
    let vary: Vec<_> =
        answer.headers.get_all(header::VARY).iter().map(|name| name.to_str().unwrap()).collect();
    assert!(vary.contains(&"Accept-Language") && vary.contains(&"accept-encoding"), "{vary:?}");
    assert_eq!(texts(&answer.html(), "html[lang=en] h1"), ["The city's open-data catalogue"]);
}

#[tokio::test]
async fn the_stylesheet_is_kept_for_a_year_and_pages_allow_nothing_inline() {
    let city = City::new().await;
    let page = city.get("/").await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert!(!page.header(header::REFERRER_POLICY).is_empty());
    let html = page.html();
    let links = attributes(&html, "link[rel=stylesheet], link[rel=icon]", "href");
    let scripts = attributes(&html, "script[type=module]", "src");
    assert_eq!(scripts.len(), 1);
    for href in links.into_iter().chain(scripts) {
        let asset = city.get(&href).await;
        assert_eq!(asset.status, StatusCode::OK, "{href}");
        assert_eq!(asset.header(header::CACHE_CONTROL), "public, max-age=31536000, immutable");
    }
    assert_eq!(city.get("/assets/app-00000000.css").await.status, StatusCode::NOT_FOUND);
}
