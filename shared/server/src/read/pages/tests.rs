//! Every page from every sample, and the rules of accessibility that all pages keep.

use askama::Template as _;
use liandong_core::{error::Code, search::Piece};
use scraper::{ElementRef, Html, Selector};

use super::{
    dataset::{DatasetPage, ItemRow, Row, Section, Value, WithdrawnPage},
    facet::{Chip, FacetView, ValueLink},
    locale::Locale,
    search::{Choice, CityChoice, HitView, Honesty, PageLink, SearchPage, SourceView, Turn},
    view::{DistrictRow, Figure, Frame, HomePage, MessagePage, Moment, RecentRow, freshness},
};
use crate::{
    problem::{ParameterFault, Problem, Text},
    site::{DistrictView, State},
};

const NOW_MS: i64 = 1_790_000_000_000;
const HOSTILE: &str = "\"><img src=x onerror=alert(1)>";

fn frames() -> impl Iterator<Item = Frame> {
    Locale::sample().into_iter().map(|locale| Frame::new("上海市", locale))
}

impl HomePage {
    fn sample() -> Vec<Self> {
        let page = |frame: Frame| {
            let moment = Moment::new(NOW_MS - 12_000, NOW_MS, &frame.locale);
            let district = |as_of| DistrictRow {
                code: "310115".to_owned(),
                name: "浦东新区".to_owned(),
                href: frame.locale.link("/search?district=310115"),
                state: "in_sync",
                label: "已同步",
                records: 20_858,
                lag: 0,
                as_of,
            };
            let change = RecentRow {
                href: "/dataset/x".to_owned(),
                title: HOSTILE.to_owned(),
                district: "浦东新区".to_owned(),
                changed: moment.clone(),
            };
            Self {
                hub: true,
                figures: vec![Figure { label: "数据集", value: 20_858 }],
                districts: vec![district(Some(moment)), district(None)],
                recent: vec![change],
                frame,
            }
        };
        let full: Vec<Self> = frames().map(page).collect();
        let empty = |page: &Self| Self {
            hub: false,
            districts: Vec::new(),
            recent: Vec::new(),
            ..page.clone()
        };
        full.iter().map(empty).chain(full.clone()).collect()
    }
}

impl SearchPage {
    fn sample() -> Vec<Self> {
        let full: Vec<Self> = frames().map(Self::full).collect();
        let empty = |page: &Self| Self {
            query: String::new(),
            carried: Vec::new(),
            choices: Vec::new(),
            city: None,
            total: 0,
            hint: None,
            relaxed: false,
            shortened: false,
            chips: Vec::new(),
            facets: Vec::new(),
            hits: Vec::new(),
            previous: None,
            next: None,
            pages: Vec::new(),
            honesty: Honesty { as_of: None, applied: None, late: Vec::new(), later: 0 },
            ..page.clone()
        };
        full.iter().map(empty).chain(full.clone()).collect()
    }

    fn full(frame: Frame) -> Self {
        let link = |number| PageLink {
            number,
            label: format!("第 {number} 页"),
            href: format!("/search?q=a&page={number}"),
            current: number == 2,
        };
        let turn = |label: &str, current| Turn {
            label: label.to_owned(),
            href: "/search?q=a&sort=name".to_owned(),
            current,
        };
        let choice = |chosen| Choice {
            code: if chosen { "310115" } else { "高新" }.to_owned(),
            name: "浦东新区".to_owned(),
            chosen,
        };
        let value = |chosen| ValueLink {
            label: HOSTILE.to_owned(),
            count: 7,
            href: "/search?q=a&theme=x".to_owned(),
            chosen,
            says: HOSTILE.to_owned(),
        };
        let facet = |name, more| FacetView {
            name,
            title: "主题",
            values: vec![value(true), value(false)],
            more,
        };
        Self {
            query: HOSTILE.to_owned(),
            carried: vec![("theme", HOSTILE.to_owned())],
            choices: vec![choice(true), choice(false)],
            city: Some(CityChoice { chosen: true, freshness: HOSTILE.to_owned() }),
            total: 41,
            page: 2,
            hint: Some((HOSTILE.to_owned(), "/search?q=b".to_owned())),
            relaxed: true,
            shortened: true,
            chips: vec![Chip {
                title: "主题",
                label: HOSTILE.to_owned(),
                href: "/search".to_owned(),
            }],
            cleared: "/search?q=a".to_owned(),
            sorts: vec![turn("相关度", true), turn("名称", false)],
            copies: turn("分开显示", false),
            facets: vec![
                facet("theme", Some((3, "/search?more=theme".to_owned()))),
                facet("open", None),
            ],
            hits: vec![Self::hit()],
            previous: Some("/search?q=a".to_owned()),
            next: Some("/search?q=a&page=3".to_owned()),
            pages: (1..=3).map(link).collect(),
            honesty: Honesty {
                as_of: Some(Moment::new(NOW_MS, NOW_MS, &frame.locale)),
                applied: Some((7, 9)),
                late: vec![HOSTILE.to_owned(), "黄浦区：离线".to_owned()],
                later: 3,
            },
            atom: "/search.atom?q=a".to_owned(),
            json: "/search.json?q=a".to_owned(),
            frame,
        }
    }

    fn hit() -> HitView {
        let piece = |text: &str, hit| Piece { text: text.to_owned(), hit };
        let source = |authoritative| SourceView {
            href: "/dataset/y".to_owned(),
            title: HOSTILE.to_owned(),
            provider: HOSTILE.to_owned(),
            district: "浦东新区".to_owned(),
            state: "behind",
            freshness: "追赶中".to_owned(),
            authoritative,
        };
        HitView {
            href: "/dataset/x".to_owned(),
            title: vec![piece(HOSTILE, false), piece(HOSTILE, true)],
            snippet: vec![piece("全区", false), piece("停车场", true)],
            provider: "交通委".to_owned(),
            district: "浦东新区".to_owned(),
            state: "offline",
            freshness: "离线".to_owned(),
            open: "公开",
            cycle: Some("每月"),
            sources: vec![source(true), source(false)],
            why: vec![HOSTILE.to_owned()],
        }
    }
}

impl DatasetPage {
    fn sample() -> Vec<Self> {
        let page = |frame: Frame| {
            let value = |text: &str, href: Option<&str>| Value {
                text: text.to_owned(),
                href: href.map(str::to_owned),
            };
            let row = |values| Row { label: "标签".to_owned(), values };
            let rows = vec![
                row(vec![value(HOSTILE, None)]),
                row(vec![value("一", None), value("二", Some("https://data.example.cn/"))]),
            ];
            let section = |id| Section { id, heading: "小节", rows: rows.clone() };
            let item = ItemRow {
                name: HOSTILE.to_owned(),
                column: "NAME".to_owned(),
                data_type: "字符型".to_owned(),
                length: "50".to_owned(),
                share: String::new(),
                open: String::new(),
                note: "备注".to_owned(),
            };
            Self {
                title: HOSTILE.to_owned(),
                provider: "交通委".to_owned(),
                district: "浦东新区".to_owned(),
                state: "behind",
                freshness: "追赶中".to_owned(),
                open: "公开",
                summary: vec!["第一行".to_owned(), HOSTILE.to_owned()],
                before_items: vec![section("basic")],
                items: vec![item],
                distributions: vec![section("")],
                after_items: vec![section("provenance")],
                json: "/api/v1/records/x".to_owned(),
                frame,
            }
        };
        let full: Vec<Self> = frames().map(page).collect();
        let bare = |page: &Self| Self {
            summary: Vec::new(),
            before_items: Vec::new(),
            items: Vec::new(),
            distributions: Vec::new(),
            ..page.clone()
        };
        full.iter().map(bare).chain(full.clone()).collect()
    }
}

impl WithdrawnPage {
    fn sample() -> Vec<Self> {
        let page = |(frame, told): (Frame, bool)| Self {
            district: "浦东新区".to_owned(),
            freshness: "已同步".to_owned(),
            when: Moment::new(NOW_MS, NOW_MS, &frame.locale),
            class: "发布方撤回",
            reason: if told { HOSTILE.to_owned() } else { String::new() },
            replaced_by: told.then(|| "/dataset/y".to_owned()),
            id: "x".to_owned(),
            frame,
        };
        frames().zip([true, false]).map(page).collect()
    }
}

impl MessagePage {
    fn sample() -> Vec<Self> {
        let fault = ParameterFault {
            parameter: "page".to_owned(),
            detail: Text::new(format!("页码 {HOSTILE}"), format!("page {HOSTILE}")),
        };
        let held = Problem::new(Code::Gone, "暂停展示", "not shown")
            .with("reason_class", "legal_hold")
            .with("district_name", HOSTILE)
            .with("legal_basis", HOSTILE)
            .with("held_at", NOW_MS);
        let problems = [Problem::no_record(), Problem::parameters(vec![fault]), held];
        let page = |problem: &Problem| frames().map(|frame| Self::of(frame, problem)).collect();
        problems.iter().flat_map(|problem| -> Vec<Self> { page(problem) }).collect()
    }
}

/// Every sample of every page as HTML.
fn samples() -> Vec<String> {
    let mut html: Vec<String> = Vec::new();
    html.extend(HomePage::sample().iter().map(|page| page.render().unwrap()));
    html.extend(SearchPage::sample().iter().map(|page| page.render().unwrap()));
    html.extend(DatasetPage::sample().iter().map(|page| page.render().unwrap()));
    html.extend(WithdrawnPage::sample().iter().map(|page| page.render().unwrap()));
    html.extend(MessagePage::sample().iter().map(|page| page.render().unwrap()));
    html
}

fn each<'a>(html: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    html.select(&Selector::parse(selector).unwrap()).collect()
}

/// What a page does against WCAG 2.2 AA, as far as the tree tells.
pub(crate) fn accessibility_faults(html: &Html) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let lang = html.root_element().attr("lang");
    expect(matches!(lang, Some("zh-CN" | "en")), format!("3.1.1 lang is {lang:?}"));
    let ones = ["h1", "main", "title", "meta[name=viewport]", "a.skip[href='#main']", "#main"];
    for selector in ones {
        let count = each(html, selector).len();
        expect(count == 1, format!("{count} of {selector}"));
    }
    let named = |element: &ElementRef<'_>| {
        let text = element.text().collect::<String>();
        !text.trim().is_empty() || element.attr("aria-label").is_some_and(|l| !l.trim().is_empty())
    };
    for link in each(html, "a, button, h1, h2, h3, th, title, legend") {
        expect(named(&link), format!("2.4.4 nothing in {}", link.html()));
    }
    for link in each(html, "a") {
        expect(link.attr("href").is_some_and(|to| !to.is_empty()), "a link to nowhere".to_owned());
    }
    for input in each(html, "input:not([type=hidden])") {
        let label = format!("label[for='{}']", input.attr("id").unwrap_or_default());
        let labels = each(html, &label);
        let labelled = labels.len() == 1 && labels.iter().all(named);
        expect(labelled, format!("3.3.2 no label for {}", input.html()));
    }
    for head in each(html, "th") {
        let scope = head.attr("scope");
        expect(matches!(scope, Some("col" | "row")), format!("1.3.1 scope {scope:?}"));
    }
    for table in each(html, "table") {
        let heads = table.select(&Selector::parse("thead th[scope=col]").unwrap()).count();
        expect(heads > 0, "1.3.1 a table without headers".to_owned());
    }
    for reference in each(html, "[aria-labelledby]") {
        let to = reference.attr("aria-labelledby").unwrap_or_default();
        let found = each(html, &format!("[id='{to}']")).len();
        expect(found == 1, format!("{found} elements of id {to:?}"));
    }
    let ids: Vec<&str> = each(html, "[id]").iter().filter_map(|found| found.attr("id")).collect();
    let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
    expect(distinct.len() == ids.len(), format!("4.1.1 ids repeat: {ids:?}"));
    let levels = each(html, "h1, h2, h3, h4")
        .iter()
        .map(|h| h.value().name().as_bytes()[1])
        .collect::<Vec<_>>();
    expect(levels.first() == Some(&b'1'), "1.3.1 the first heading is not h1".to_owned());
    let steps = levels.windows(2).all(|pair| pair[1] <= pair[0] + 1);
    expect(steps, "1.3.1 a heading level is skipped".to_owned());
    for image in each(html, "img, svg") {
        expect(image.attr("alt").is_some(), format!("1.1.1 {}", image.html()));
    }
    faults
}

#[test]
fn every_page_renders_from_every_sample_and_is_accessible() {
    for html in samples() {
        let tree = Html::parse_document(&html);
        let faults = accessibility_faults(&tree);
        assert!(faults.is_empty(), "{faults:?}\n{html}");
    }
}

#[test]
fn no_page_holds_anything_inline_or_lets_text_become_markup() {
    for html in samples() {
        let tree = Html::parse_document(&html);
        for selector in [
            "script:not([src^='/assets/'])",
            "style",
            "img",
            "[style]",
            "[onerror]",
            "[onclick]",
            "iframe",
        ] {
            assert!(each(&tree, selector).is_empty(), "{selector} in {html}");
        }
    }
}

#[test]
fn english_pages_have_no_chinese_in_their_own_words() {
    for page in HomePage::sample().into_iter().filter(|page| page.frame.locale.tag() == "en") {
        let html = page.render().unwrap();
        let tree = Html::parse_document(&html);
        for element in each(&tree, "h1, h2, thead th, label, button") {
            let text: String = element.text().collect();
            assert!(text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn a_stale_district_says_how_old_its_data_are() {
    let [zh, en] = Locale::sample();
    let district = |state, as_of_ms| DistrictView {
        code: "310115".parse().unwrap(),
        former: Vec::new(),
        name: "浦东新区".to_owned(),
        feed: None,
        state,
        as_of_ms,
        records: 0,
        lag_records: 5,
    };
    let at = Some(NOW_MS - 12_000);
    let rows = [
        (State::InSync, at, "已同步，12 秒前确认", "in sync, confirmed 12 s ago"),
        (
            State::Behind,
            at,
            "追赶中，还差 5 条变更，数据截至 2026-09-21 22:13:08",
            "catching up, 5 changes to come, data as of 2026-09-21 22:13:08",
        ),
        (
            State::Offline,
            at,
            "离线，数据截至 2026-09-21 22:13:08",
            "offline, data as of 2026-09-21 22:13:08",
        ),
        (State::Waiting, None, "待接入", "not joined yet"),
    ];
    for (state, as_of, chinese, english) in rows {
        let view = district(state, as_of);
        assert_eq!(freshness(&view, NOW_MS, &zh), chinese);
        assert_eq!(freshness(&view, NOW_MS, &en), english);
    }
}
