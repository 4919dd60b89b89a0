//! Duplicates: what the evidence says, and that the pairs found depend on the records alone.

use std::collections::BTreeSet;

use liandong_core::code::OpenKind;
use liandong_core::duplicate::{
    Agreement, Candidate, Detector, Evidence, Fingerprint, Places, compare,
};
use liandong_core::id::{FeedId, RecordId};
use liandong_core::limit;
use liandong_core::record::{Item, Open, Provider, Record};
use proptest::prelude::*;
use ulid::Ulid;

const NAMES: [&str; 5] = ["上海市", "黄浦区", "静安区", "浦东新区", "宁夏回族自治区"];

fn record(title: &str, provider: &str, items: &[&str]) -> Record {
    let item = |name: &&str| Item { name: (*name).to_owned(), ..Item::default() };
    Record {
        title: title.to_owned(),
        provider: Provider { name: provider.to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::Open, ..Open::default() },
        items: items.iter().map(item).collect(),
        ..Record::default()
    }
}

fn print(district: &str, title: &str, provider: &str, items: &[&str]) -> Fingerprint {
    Fingerprint::new(&record(title, provider, items), district, &Places::new(NAMES))
}

/// A title, its provider and the district that publishes it.
type Entry = (&'static str, &'static str, &'static str);

fn evidence((title, provider, district): Entry, other: Entry) -> Evidence {
    let other = print(other.2, other.0, other.1, &[]);
    compare(&print(district, title, provider, &[]), &other)
}

#[test]
fn the_same_list_of_the_same_keeper_is_a_candidate_however_it_is_written() {
    let first = ("黄浦区中小学名录", "黄浦区教育局", "黄浦区");
    for other in [
        ("黄浦区中小学名录", "上海市黄浦区教育局", "上海市"),
        ("中小学信息一览表", "区教育局", "黄浦区"),
        ("黄浦中小学（名单）", "黄浦区教育体育局", "上海市"),
        ("上海市黄浦区中小学情况统计表", "市教委", "上海市"),
        ("黄浦区 中小学　（名单）", "教育局", "黄浦区"),
    ] {
        let evidence = evidence(first, other);
        assert!(evidence.is_candidate(), "{other:?}: {evidence}");
    }
}

#[test]
fn what_contradicts_rules_a_pair_out() {
    for (first, other) in [
        (("中小学名录", "教育局", "黄浦区"), ("中小学名录", "教育局", "静安区")),
        (("黄浦区中小学名录", "教育局", "黄浦区"), ("上海市中小学名录", "市教委", "上海市")),
        (("中小学名录", "市教委", "上海市"), ("中小学名录", "区教育局", "黄浦区")),
        (("2019年财政决算", "财政局", "黄浦区"), ("2020年财政决算", "财政局", "黄浦区")),
        (("二类机动车维修企业", "交通局", "黄浦区"), ("三类机动车维修企业", "交通局", "黄浦区")),
        (("行政处罚信息", "黄浦区财政局", "黄浦区"), ("黄浦区行政处罚信息", "卫健委", "黄浦区")),
        (("小学班额情况", "教育局", "黄浦区"), ("初中班额情况", "教育局", "黄浦区")),
        (
            ("和林街道养老机构床位余量", "民政局", "黄浦区"),
            ("养老机构床位余量", "民政局", "黄浦区"),
        ),
        (
            ("省重点培育企业名单", "工信局", "银川市"),
            ("银川市重点培育企业名单", "工信局", "银川市"),
        ),
        (("企业（分公司）登记信息", "市监局", "黄浦区"), ("企业登记信息", "市监局", "黄浦区")),
        (
            ("安全审查受理通知书", "应急局", "黄浦区"),
            ("安全审查不予受理通知书", "应急局", "黄浦区"),
        ),
        (("城关镇学校名录", "教育局", "黄浦区"), ("城关镇学校名录", "教育局", "静安区")),
        (("黄浦区城关镇学校", "市教委", "上海市"), ("静安区城关镇学校", "市教委", "上海市")),
        (("永宁县学校名录", "市教委", "上海市"), ("贺兰县学校名录", "市教委", "上海市")),
    ] {
        let evidence = evidence(first, other);
        assert!(!evidence.is_candidate(), "{first:?} {other:?}: {evidence}");
    }
}

#[test]
fn the_evidence_names_what_agrees() {
    let items = ["学校名称", "地址", "办学类型", "联系电话"];
    let first = print("黄浦区", "黄浦区民办幼儿园园所名录", "黄浦区教育局", &items);
    let other = print("上海市", "黄浦区民办幼儿园园所", "黄浦区卫生健康委", &items[1..]);
    let evidence = compare(&first, &other);
    assert_eq!(
        (evidence.title, evidence.contained, evidence.items),
        (1000, 1000, Some(750)),
        "{evidence}"
    );
    assert_eq!((evidence.territory, evidence.function), (Agreement::Same, Agreement::Different));
    assert!(!evidence.same_wording && evidence.same_marks);
    assert_eq!(evidence, compare(&other, &first));
}

#[test]
fn keywords_stand_in_for_items_but_for_those_that_repeat_the_title() {
    let with_keywords = |words: &[&str]| {
        let mut record = record("民办幼儿园名录", "区教育局", &[]);
        record.keywords = words.iter().map(|word| (*word).to_owned()).collect();
        Fingerprint::new(&record, "黄浦区", &Places::new(NAMES))
    };
    let first = with_keywords(&["幼儿园", "区教育局", "园长", "地址", "班级数"]);
    let other = with_keywords(&["园长", "地址", "班级数", "民办"]);
    assert_eq!(compare(&first, &other).items, Some(1000));
    let few = with_keywords(&["幼儿园", "园长", "地址"]);
    assert_eq!(compare(&first, &few).items, None, "two names tell nothing");
}

fn id(number: usize) -> RecordId {
    RecordId::new(FeedId::new([7; 16]), Ulid(number as u128))
}

/// Entries that are often near each other, some in several places.
fn entries() -> impl Strategy<Value = Vec<Fingerprint>> {
    let places = ["", "黄浦区", "静安", "上海市", "自治区", "全市"];
    let kinds = ["中小学", "民办中小学", "幼儿园", "公办幼儿园", "行政处罚", "停车场泊位"];
    let ends = ["", "信息", "名录", "情况统计表", "2020年"];
    let keepers = ["教育局", "市教委", "财政局", "区教育体育局", "大数据中心"];
    let pick = |words: &[&'static str]| proptest::sample::select(words.to_vec());
    let items = proptest::sample::subsequence(vec!["名称", "地址", "电话", "类型"], 0..=4);
    let districts = pick(&["黄浦区", "静安区", "上海市"]);
    let entry = (pick(&places), pick(&kinds), pick(&ends), pick(&keepers), districts, items);
    let entry = entry.prop_map(|(place, kind, end, keeper, district, items)| {
        print(district, &format!("{place}{kind}{end}"), keeper, &items)
    });
    proptest::collection::vec(entry, 0..24)
}

proptest! {
    #[test]
    fn the_pairs_are_those_of_comparing_all_with_all_in_any_order(
        prints in entries(),
        order in any::<[u8; 32]>(),
        gone in proptest::collection::vec(any::<bool>(), 24),
    ) {
        let mut expected = BTreeSet::new();
        for (a, first) in prints.iter().enumerate() {
            for (b, second) in prints.iter().enumerate().skip(a + 1) {
                if compare(first, second).is_candidate() && !gone[a] && !gone[b] {
                    expected.insert((id(a), id(b)));
                }
            }
        }
        let mut arrival: Vec<usize> = (0..prints.len()).collect();
        arrival.sort_by_key(|number| order[*number]);
        let mut detector = Detector::default();
        let mut reported = BTreeSet::new();
        for number in &arrival {
            // What was there under the same id before leaves nothing behind.
            detector.upsert(id(*number), prints[prints.len() - 1 - number].clone());
        }
        for number in &arrival {
            let found = detector.upsert(id(*number), prints[*number].clone());
            prop_assert!(found.iter().all(|c| [c.first, c.second].contains(&id(*number))));
            prop_assert!(found.is_sorted_by_key(|c| (c.first, c.second)));
        }
        for number in arrival.iter().filter(|number| gone[**number]) {
            detector.remove(id(*number));
        }
        for number in arrival.iter().filter(|number| !gone[**number]) {
            reported.extend(detector.candidates(id(*number)).iter().map(pair));
        }
        let pairs: Vec<_> = detector.pairs().iter().map(pair).collect();
        prop_assert!(pairs.is_sorted());
        prop_assert_eq!(&reported, &expected);
        prop_assert_eq!(pairs.into_iter().collect::<BTreeSet<_>>(), expected);
        prop_assert_eq!(detector.len(), gone[..prints.len()].iter().filter(|gone| !**gone).count());
    }
}

fn pair(candidate: &Candidate) -> (RecordId, RecordId) {
    (candidate.first, candidate.second)
}

#[test]
fn a_record_with_very_many_duplicates_reports_a_bounded_number() {
    let mut detector = Detector::default();
    let same = print("黄浦区", "中小学名录", "教育局", &[]);
    let last = limit::DUPLICATE_CANDIDATES_MAX + 40;
    for number in 0..=last {
        let found = detector.upsert(id(number), same.clone());
        assert_eq!(found.len(), number.min(limit::DUPLICATE_CANDIDATES_MAX));
    }
    let first = detector.candidates(id(0)).first().map(pair).unwrap();
    assert_eq!(first, (id(0), id(1)));
}

#[test]
fn a_gram_that_a_whole_territory_has_leads_nowhere_and_the_next_territory_is_not_touched() {
    let mut detector = Detector::default();
    let school = |district, number: u32| {
        let name = char::from_u32(0x4E00 + number).unwrap();
        print(district, &format!("学校{name}"), "教育局", &[])
    };
    let crowd = u32::try_from(limit::DUPLICATE_POSTING_MAX).unwrap();
    for number in 0..crowd - 1 {
        detector.upsert(id(number as usize), school("黄浦区", number));
    }
    let [here, there] = ["黄浦区", "静安区"].map(|name| print(name, "学校", "教育局", &[]));
    detector.upsert(id(10_000), here.clone());
    assert_eq!(detector.upsert(id(10_001), here), [], "one record too many has this gram");
    detector.upsert(id(10_002), there.clone());
    assert_eq!(detector.upsert(id(10_003), there).len(), 1);
    detector.remove(id(0));
    assert_eq!(detector.candidates(id(10_000)).len(), 1);
}
