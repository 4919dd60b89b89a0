//! Names and labels: what a real CKAN takes, and that they hold still.

use std::collections::BTreeSet;

use liandong_core::{
    code::{Delivery, OpenKind},
    id::{FeedId, RecordId},
    label::{
        LICENCES, dataset_name, dataset_order, dataset_uuid, email, extras, formats, group_name,
        group_uuid, labels, licence_id, organization_name, resources, tag_uuid, tags,
    },
    record::{Distribution, Identifier, Open, Provider, Record},
};
use proptest::prelude::*;
use ulid::Ulid;

fn id() -> RecordId {
    RecordId::new(FeedId::new([7; 16]), Ulid::from_parts(1_700_000_000_000, 42))
}

fn feed(byte: u8) -> FeedId {
    FeedId::new([byte; 16])
}

fn distribution(mode: Delivery) -> Distribution {
    Distribution {
        mode,
        url: None,
        media_type: None,
        encoding: None,
        checksum: None,
        bytes: None,
        description: None,
        sla: None,
        licence: None,
        masked: false,
    }
}

fn record() -> Record {
    Record {
        title: "停车场泊位信息".to_owned(),
        keywords: vec!["停车（库）".to_owned(), "交通、出行".to_owned()],
        provider: Provider { name: "市交通局".to_owned(), ..Provider::default() },
        theme: Some("交通出行".to_owned()),
        open: Open { kind: OpenKind::Open, ..Open::default() },
        formats: vec!["csv".to_owned(), "xlsx".to_owned()],
        ..Record::default()
    }
}

#[test]
fn names_and_uuids_never_change() {
    // Other catalogues keep these for years: a changed value is a duplicate of every dataset there.
    let provider = Provider { name: "市交通局".to_owned(), ..Provider::default() };
    assert_eq!(dataset_name(id()), "07070707070707070707070707070707-01hf7yat00000000000000001a");
    let frozen = [
        dataset_uuid(id()),
        organization_name(feed(7), &provider),
        group_uuid("org-1"),
        group_name("交通出行"),
        tag_uuid("交通"),
    ];
    assert_eq!(
        frozen,
        [
            "fe713b8e-afa7-82e8-8ac0-c3f90903bef9",
            "org-8c7495bae19d99f3ed7cb755f8c72e2b",
            "d0c86bf2-8e38-8c45-ae54-8f2c85b2140e",
            "theme-e8f90ec1101c2cec",
            "fa291077-8e40-8eea-b672-b14a0bb3701f",
        ]
    );
}

#[test]
fn a_department_is_known_by_its_credit_code_and_its_district() {
    let named = |name: &str, uscc: Option<&str>| Provider {
        name: name.to_owned(),
        uscc: uscc.map(str::to_owned),
        ..Provider::default()
    };
    let code = Some("11310000002420531B");
    let of = organization_name;
    assert_eq!(of(feed(1), &named("交通局", code)), of(feed(1), &named("交通委", code)));
    assert_ne!(of(feed(1), &named("交通局", code)), of(feed(2), &named("交通局", code)));
    assert_ne!(of(feed(1), &named("交通局", None)), of(feed(1), &named("水务局", None)));
}

#[test]
fn keywords_become_tags_that_a_catalogue_takes() {
    let table: &[(&[&str], &[&str])] = &[
        (&["水"], &[]),
        (&["交通、出行"], &["交通", "出行"]),
        (&["停车（库）"], &["停车库"]),
        (&["国土资源，能源；交通/水利"], &["国土资源", "能源", "交通", "水利"]),
        (&["A&B 公司"], &["A B 公司"]),
        (&["交通", "交通", "交　通"], &["交通", "交 通"]),
        (&["ＧＰＳ①"], &["GPS1"]),
        (&["“双随机”"], &["双随机"]),
        (&["", "、、", "（）"], &[]),
        (&["e-mail_1.0"], &["e-mail_1.0"]),
    ];
    for (keywords, wanted) in table {
        let keywords: Vec<String> = keywords.iter().map(|&keyword| keyword.to_owned()).collect();
        assert_eq!(tags(&keywords), *wanted, "{keywords:?}");
    }
}

#[test]
fn a_licence_is_one_of_the_list() {
    let table = [
        (None, OpenKind::Open, "notspecified"),
        (Some("CC BY 4.0"), OpenKind::Open, "cc-by"),
        (Some("cc-zero"), OpenKind::Open, "cc-zero"),
        (Some("上海市公共数据开放利用协议"), OpenKind::Open, "other-open"),
        (Some("须签协议"), OpenKind::OnRequest, "other-closed"),
    ];
    for (licence, kind, wanted) in table {
        let mut record = record();
        record.open.kind = kind;
        let licence = licence.map(str::to_owned);
        record.distributions = vec![Distribution { licence, ..distribution(Delivery::File) }];
        assert_eq!(licence_id(&record), wanted);
        assert!(LICENCES.iter().any(|licence| licence.id == wanted));
    }
}

#[test]
fn a_resource_has_the_format_that_its_distribution_shows() {
    let with = |mode, url: Option<&str>, media_type: Option<&str>| Distribution {
        url: url.map(str::to_owned),
        media_type: media_type.map(str::to_owned),
        ..distribution(mode)
    };
    let table = [
        (with(Delivery::File, None, Some("text/csv; charset=utf-8")), "CSV"),
        (with(Delivery::File, Some("https://a.cn/b/c.xlsx?x=1.y"), None), "XLSX"),
        (with(Delivery::File, Some("https://a.cn"), None), "FILE"),
        (with(Delivery::Api, Some("https://a.cn/x.do"), None), "API"),
        (with(Delivery::Offline, None, None), "OFFLINE"),
    ];
    for (distribution, format) in table {
        let mut record = record();
        record.distributions = vec![distribution.clone(), distribution];
        let made = resources(id(), &record);
        assert_eq!(made[0].format, format);
        assert!(formats(&record).iter().eq([format]));
        assert_ne!(made[0].id, made[1].id, "two of a kind are told apart");
    }
}

#[test]
fn formats_without_distributions_lead_to_the_page_of_the_source() {
    let mut record = record();
    let url = "https://data.example/1".to_owned();
    record.identifiers = vec![Identifier { scheme: "url".to_owned(), value: url.clone() }];
    let made = resources(id(), &record);
    let formats: Vec<&str> = made.iter().map(|resource| resource.format.as_str()).collect();
    assert_eq!(formats, ["CSV", "XLSX"]);
    assert!(made.iter().all(|resource| resource.url.as_ref() == Some(&url)));
}

#[test]
fn labels_are_what_is_published() {
    let record = record();
    let pairs = labels(id(), feed(7), &record);
    let values = |key: &str| -> Vec<&str> {
        pairs.iter().filter(|(k, _)| k == key).map(|(_, value)| value.as_str()).collect()
    };
    let organization = organization_name(feed(7), &record.provider);
    assert_eq!(values("id"), [dataset_uuid(id()), dataset_name(id())]);
    assert_eq!(values("name"), [dataset_name(id())]);
    assert_eq!(values("organization"), [organization.as_str()]);
    assert_eq!(values("owner_org"), [group_uuid(&organization)]);
    assert_eq!(values("groups"), [group_name("交通出行")]);
    assert_eq!(values("tags"), ["停车库", "交通", "出行"]);
    assert_eq!(values("res_format"), ["CSV", "XLSX"]);
    assert_eq!(values("license_id"), ["notspecified"]);
    assert_eq!(values("state"), ["active"]);
    assert_eq!(values("dataset_type"), ["dataset"]);
    assert_eq!(values("capacity"), ["public"]);
    assert_eq!(values("author"), ["市交通局"]);
    assert_eq!(values("extras_theme"), ["交通出行"]);
    assert_eq!(values("extras_keywords"), ["停车（库）、交通、出行"]);
    assert!(values("notes").is_empty(), "there is no abstract");
    let distinct: BTreeSet<_> = pairs.iter().collect();
    assert_eq!(distinct.len(), pairs.len());
}

#[test]
fn an_address_that_ckan_refuses_is_none() {
    for good in ["a@b.cn", "a.b+c@x-y.gov.cn", "a@localhost"] {
        assert_eq!(email(good), Some(good));
    }
    for bad in ["", "a", "@b", "a@", "a@-b.cn", "a b@c.cn", "张@b.cn", "a@b..cn", "a@b@c"] {
        assert_eq!(email(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn every_tag_of_any_keywords_is_taken(keywords in prop::collection::vec("\\PC{0,130}", 0..6)) {
        let made = tags(&keywords);
        for tag in &made {
            prop_assert!((2..=100).contains(&tag.chars().count()), "{tag:?}");
            prop_assert!(tag.chars().all(|c| c.is_alphanumeric() || " -_.".contains(c)), "{tag:?}");
            prop_assert_eq!(tag.trim(), tag.as_str());
        }
        let distinct: BTreeSet<&String> = made.iter().collect();
        prop_assert_eq!(distinct.len(), made.len());
    }

    #[test]
    fn every_name_is_taken(bytes in any::<[u8; 16]>(), time in 0_u64..1 << 48, name in "\\PC{0,40}") {
        let id = RecordId::new(FeedId::new(bytes), Ulid::from_parts(time, 1));
        let provider = Provider { name: name.clone(), ..Provider::default() };
        for name in [dataset_name(id), organization_name(id.origin(), &provider), group_name(&name)] {
            prop_assert!((2..=100).contains(&name.len()));
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        }
        let uuid = dataset_uuid(id);
        let digits: String = uuid.chars().filter(|c| *c != '-').take(16).collect();
        prop_assert_eq!(dataset_order(id), u64::from_str_radix(&digits, 16).unwrap());
        prop_assert_eq!(uuid.len(), 36);
        prop_assert_eq!(&uuid[14..15], "8");
        prop_assert!("89ab".contains(&uuid[19..20]));
    }

    #[test]
    fn extras_have_each_key_once_and_never_a_field_of_ckan(
        extensions in prop::collection::btree_map("\\PC{1,9}", "\\PC{0,9}", 0..5),
    ) {
        let record = Record { extensions, ..record() };
        let extras = extras(id(), &record);
        let keys: BTreeSet<&String> = extras.iter().map(|(key, _)| key).collect();
        prop_assert_eq!(keys.len(), extras.len());
        let core = ["id", "name", "title", "notes", "url", "tags", "groups", "organization", "author", "maintainer",
            "state", "type", "version", "resources", "extras", "license_id", "owner_org", "private"];
        prop_assert!(core.iter().all(|field| !keys.contains(&(*field).to_owned())));
        prop_assert!(extras.iter().all(|(_, value)| !value.trim().is_empty()));
    }
}
