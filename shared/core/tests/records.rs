//! The canonical form of a record, as properties.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};
use liandong_core::code::{
    DataType, Delivery, OpenKind, ShareKind, ShareMode, UpdateCycle, Values, table,
};
use liandong_core::record::{
    Contact, Distribution, Identifier, Item, Open, Provider, Record, RecordError, Share,
    Visibility, limit,
};
use liandong_core::validate::{Draft, DraftDistribution, DraftItem, check, recheck};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

const TODAY: Date = date(2026, 11, 23);

/// Text as it comes: anything, with what breaks things made frequent.
fn text() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        Just("e\u{301}"),
        Just("\u{0}"),
        Just("\r\n"),
        Just("\t"),
        Just("\u{200B}"),
        Just("　"),
        Just("无"),
        Just("，"),
        Just("\u{FEFF}"),
        Just("\u{1100}\u{1161}"),
        Just("\u{344}"),
        Just("\u{2028}"),
        Just("\u{212B}"),
        Just("停车场"),
        Just("２０１６-5-11"),
        Just("1"),
        Just("https://a.cn/x"),
        Just("按需共享"),
        Just("公开"),
        Just("每年"),
        Just("涉密"),
    ];
    prop_oneof![
        3 => vec(prop_oneof![3 => odd.prop_map(str::to_owned), 1 => ".{0,4}"], 0..5)
            .prop_map(|parts| parts.concat()),
        1 => any::<String>(),
    ]
}

fn item() -> impl Strategy<Value = DraftItem> {
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()), of(text()));
    (texts, of(text()), of("[0-9,]{0,6}")).prop_map(|(t, note, length)| DraftItem {
        name: t.0,
        data_type: t.1,
        share: t.2,
        share_reason: t.3,
        open: t.4,
        authoritative: t.5,
        length,
        note,
        ..DraftItem::default()
    })
}

fn distribution() -> impl Strategy<Value = DraftDistribution> {
    (of(text()), of(text()), of(text()), of(text())).prop_map(|(mode, url, bytes, description)| {
        DraftDistribution { mode, url, bytes, description, ..DraftDistribution::default() }
    })
}

fn draft() -> impl Strategy<Value = Draft> {
    let heads = (of(text()), of(text()), of(text()), of(text()), of(text()), of(text()));
    let dates = (of(text()), of(text()), of(text()), of(text()), of(text()), of(text()));
    let lists = (vec(text(), 0..4), vec(text(), 0..4), vec(text(), 0..4));
    let parts = (vec(item(), 0..3), vec(distribution(), 0..4), vec((text(), text()), 0..3));
    let extensions = btree_map(text(), text(), 0..3);
    (heads, dates, lists, parts, extensions, of(text())).prop_map(
        |(h, d, lists, parts, extensions, share_reason)| Draft {
            title: h.0,
            summary: h.1,
            provider_name: h.2,
            open_kind: h.3,
            share_kind: h.4,
            share_condition: h.5,
            share_reason,
            published: d.0,
            data_updated: d.1,
            update_cycle: d.2,
            rows: d.3,
            valid_until: d.4,
            theme: d.5,
            keywords: lists.0,
            formats: lists.1,
            share_modes: lists.2,
            items: parts.0,
            distributions: parts.1,
            identifiers: parts
                .2
                .into_iter()
                .map(|(scheme, value)| Identifier { scheme, value })
                .collect(),
            extensions,
            ..Draft::default()
        },
    )
}

/// A draft that has what a record must have.
fn good_draft() -> impl Strategy<Value = Draft> {
    draft().prop_map(|mut draft| {
        draft.title = Some(format!("题 {}", draft.title.unwrap_or_default().replace('\0', "")));
        draft.provider_name = Some("某局".to_owned());
        draft.open_kind = Some("依申请公开".to_owned());
        draft.items.iter_mut().for_each(|item| {
            *item = DraftItem { share: None, open: None, name: Some("项".into()), ..item.clone() };
        });
        draft
    })
}

fn raw_record() -> impl Strategy<Value = Record> {
    let distribution =
        (0..3_usize, of(text()), of(text())).prop_map(|(mode, url, description)| Distribution {
            mode: Delivery::ALL[mode],
            url,
            description,
            media_type: None,
            encoding: None,
            checksum: None,
            bytes: None,
            sla: None,
            licence: None,
            masked: false,
        });
    let item = (text(), of(text()), of(0..11_usize)).prop_map(|(name, note, kind)| Item {
        name,
        note,
        data_type: kind.map(|kind| DataType::ALL[kind]),
        ..Item::default()
    });
    let provider = (text(), of(text()), of(text())).prop_map(|(name, unit, phone)| Provider {
        name,
        uscc: None,
        unit,
        contact: Some(Contact { phone, ..Contact::default() }),
    });
    let share = (0..3_usize, of(text()), vec(0..4_usize, 0..4)).prop_map(|(kind, condition, m)| {
        let modes = m.into_iter().map(|mode| ShareMode::ALL[mode]).collect();
        Share { kind: ShareKind::ALL[kind], condition, reason: None, modes }
    });
    let identifier = (text(), text()).prop_map(|(scheme, value)| Identifier { scheme, value });
    let texts = (text(), text(), of(text()), of(text()));
    let sets = (vec(text(), 0..5), vec(text(), 0..5), vec(distribution, 0..4));
    let parts = (vec(item, 0..4), provider, of(share), vec(identifier, 0..4));
    (texts, sets, parts, btree_map(text(), text(), 0..4)).prop_map(|(t, s, p, extensions)| Record {
        title: t.0,
        summary: t.1,
        class: t.2,
        open: Open { kind: OpenKind::Open, condition: t.3, reason: None },
        keywords: s.0,
        formats: s.1,
        distributions: s.2,
        items: p.0,
        provider: p.1,
        share: p.2,
        identifiers: p.3,
        update_cycle: Some(UpdateCycle::Yearly),
        published: Some(TODAY),
        extensions,
        ..Record::default()
    })
}

proptest! {
    #[test]
    fn canonical_form_is_reached_in_one_step(mut record in raw_record()) {
        record.canonicalise();
        let once = record.clone();
        record.canonicalise();
        prop_assert_eq!(&record, &once);
    }

    #[test]
    fn order_and_repetition_in_sets_do_not_show(record in raw_record()) {
        let mut turned = record.clone();
        turned.keywords.reverse();
        turned.keywords.extend(record.keywords.first().cloned());
        turned.formats.reverse();
        turned.identifiers.reverse();
        turned.distributions.reverse();
        if let Some(share) = &mut turned.share {
            share.modes.reverse();
        }
        prop_assert_eq!(turned.to_bytes(), record.to_bytes());
    }

    #[test]
    fn extensions_keep_every_byte(record in raw_record()) {
        let before = record.extensions.clone();
        let after = Record::from_bytes(&record.to_bytes()).unwrap();
        prop_assert_eq!(after.extensions, before);
    }

    #[test]
    fn a_canonical_record_survives_its_bytes(mut record in raw_record()) {
        record.canonicalise();
        let bytes = record.to_bytes();
        let back = Record::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &record);
        prop_assert_eq!(back.to_bytes(), bytes);
    }

    #[test]
    fn no_draft_makes_the_check_stumble(draft in draft()) {
        let checked = check(draft, TODAY);
        prop_assert_eq!(checked.record.is_some(), checked.grade.is_some());
    }

    #[test]
    fn a_record_that_was_taken_is_taken_again_unchanged(draft in good_draft()) {
        let checked = check(draft, TODAY);
        if let Some(record) = checked.record {
            let again = check(Draft::from(&record), TODAY);
            prop_assert_eq!(again.record.as_ref().map(Record::to_bytes), Some(record.to_bytes()));
            prop_assert_eq!(again.record.as_ref(), Some(&record));
            prop_assert_eq!(again.faults, recheck(&record, TODAY));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_stumble(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Record::from_bytes(&bytes);
    }
}

#[test]
fn bytes_are_json_in_the_order_of_the_type_with_nothing_empty() {
    let record = Record {
        title: " 停车场\r\n信息 ".into(),
        keywords: vec!["乙".into(), "甲".into(), "甲 ".into(), String::new()],
        provider: Provider { name: "某局".into(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        update_cycle: Some(UpdateCycle::Irregular),
        extensions: BTreeMap::from([("街镇 ".into(), " a\r\n".into())]),
        ..Record::default()
    };
    let bytes = String::from_utf8(record.to_bytes()).unwrap();
    assert_eq!(
        bytes,
        r#"{"title":"停车场 信息","abstract":"","keywords":["乙","甲"],"provider":{"name":"某局"},"#
            .to_owned()
            + r#""open":{"kind":"2"},"update_cycle":"90","extensions":{"街镇 ":" a\r\n"}}"#
    );
}

#[test]
fn unknown_fields_are_skipped_and_too_many_bytes_refused() {
    let json = r#"{"title":"甲","provider":{"name":"乙","new":1},"open":{"kind":"1"},"later":[1]}"#;
    assert_eq!(Record::from_bytes(json.as_bytes()).unwrap().title, "甲");
    let large = vec![b' '; limit::RECORD_BYTES_MAX + 1];
    assert!(matches!(Record::from_bytes(&large), Err(RecordError::Large(_))));
    assert!(matches!(Record::from_bytes(b"{\"title\":\"x\"}"), Err(RecordError::Shape(_))));
}

#[test]
fn who_may_see_follows_opening_then_sharing() {
    let share = |kind| Some(Share { kind, condition: None, reason: None, modes: vec![] });
    for (open, share, seen) in [
        (OpenKind::Open, share(ShareKind::None), Visibility::Public),
        (OpenKind::OnRequest, None, Visibility::Public),
        (OpenKind::Closed, share(ShareKind::Universal), Visibility::Shared),
        (OpenKind::Closed, share(ShareKind::OnDemand), Visibility::Shared),
        (OpenKind::Closed, share(ShareKind::None), Visibility::Restricted),
        (OpenKind::Closed, None, Visibility::Restricted),
    ] {
        let open = Open { kind: open, ..Open::default() };
        let visibility = Record { open, share, ..Record::default() }.visibility();
        assert_eq!(visibility, seen);
        assert_eq!(Visibility::from_u32(visibility.as_u32()), visibility);
    }
    assert_eq!(Visibility::from_u32(9), Visibility::Restricted);
}

#[test]
fn title_and_provider_recognise_an_entry_only_without_identifiers() {
    let mut record = Record { title: "甲".into(), ..Record::default() };
    record.provider.name = "某局".into();
    assert_eq!(record.match_keys(), ["title:甲|某局"]);
    record.identifiers = vec![Identifier { scheme: "url".into(), value: "https://a/1".into() }];
    assert_eq!(record.match_keys(), ["url:https://a/1"]);
    record.code = Some("307001/1".into());
    assert_eq!(record.match_keys(), ["code:307001/1", "url:https://a/1"]);
}

#[test]
fn every_code_reads_itself_and_its_labels() {
    macro_rules! table {
        ($($name:ident),+) => {$(
            for value in $name::ALL {
                assert_eq!($name::parse(value.code()), Some(*value));
                assert_eq!($name::parse(value.label_zh()), Some(*value), "{value}");
                assert!(!value.label_en().is_empty());
            }
        )+};
    }
    table!(ShareKind, OpenKind, ShareMode, Delivery, DataType, UpdateCycle);
    for (cycle, spellings) in [
        (UpdateCycle::Yearly, ["每年", "按年更新", "‘每年’"]),
        (UpdateCycle::Quarterly, ["季度", "每季度", " 按季 "]),
        (UpdateCycle::Irregular, ["其他", "不定期更新", "不定期"]),
    ] {
        for raw in spellings {
            assert_eq!(UpdateCycle::parse(raw), Some(cycle), "{raw}");
        }
    }
}

#[test]
fn the_embedded_tables_are_whole() {
    assert_eq!(table::themes().len(), 12);
    assert!(table::is_absent(" 暂无 ") && table::is_absent("None") && !table::is_absent("无锡"));
    assert_eq!(table::personal_kind("联系人手机号码"), Some("mobile"));
    assert_eq!(table::personal_kind("公民身份号码"), Some("idcard"));
    assert_eq!(table::personal_kind("停车场名称"), None);
    for csv in [include_str!("../data/values.csv"), include_str!("../data/labels.csv")] {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert!(reader.records().all(|row| row.is_ok()));
    }
    assert!(Values::default().with_csv(include_str!("../data/values.csv")).is_ok());
}
