//! A city of two districts with a few records, and a way to ask it.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use ed25519_dalek::SigningKey;
use liandong_core::{
    code::{DataType, Delivery, OpenKind, ShareKind, UpdateCycle},
    fold::Tombstone,
    id::{FeedId, Hash, Head, RecordId},
    op::{Author, Change, Op, OpType, Stamp},
    record::{Distribution, Identifier, Item, Open, Provider, Record, Share, Visibility},
};
use liandong_store::{Options, Store};
use scraper::Html;
use serde_json::Value;
use tower::ServiceExt as _;
use ulid::Ulid;

use crate::{
    read,
    site::{
        DistrictStatus, DistrictView, FeedStatus, IndexStatus, Role, Site, State, Status,
        ViewStatus,
    },
    telemetry,
};

/// Numbers of the records within the feed of 浦东新区.
pub(crate) const OPEN: u128 = 1;
pub(crate) const SCRIPT: u128 = 2;
pub(crate) const RESTRICTED: u128 = 3;
pub(crate) const WITHDRAWN: u128 = 4;
/// Title of the record that not everyone may see.
pub(crate) const SECRET_TITLE: &str = "重点企业税收明细";
/// When the first op was made; each later one a second after.
pub(crate) const BEGIN_MS: i64 = 1_790_000_000_000;

const PUDONG: FeedId = FeedId::new([1; 16]);
const HUANGPU: FeedId = FeedId::new([2; 16]);
/// A feed of no district, for example the hub's own.
const STRANGER: FeedId = FeedId::new([9; 16]);

/// A hub's site over a store in a directory of its own.
#[derive(Debug)]
pub(crate) struct City {
    store: Store,
    _dir: tempfile::TempDir,
}

fn record(title: &str, summary: &str, open: OpenKind) -> Record {
    Record {
        title: title.to_owned(),
        summary: summary.to_owned(),
        provider: Provider { name: "浦东新区交通委".to_owned(), ..Provider::default() },
        open: Open { kind: open, reason: Some("含个人信息".to_owned()), condition: None },
        update_cycle: Some(UpdateCycle::Monthly),
        ..Record::default()
    }
}

fn parking() -> Record {
    let item = |name: &str, data_type| Item {
        name: name.to_owned(),
        data_type: Some(data_type),
        ..Item::default()
    };
    let identifier = |value: &str| Identifier { scheme: "url".to_owned(), value: value.to_owned() };
    let file = Distribution {
        mode: Delivery::File,
        url: Some("https://data.example.cn/parking.csv".to_owned()),
        media_type: Some("text/csv".to_owned()),
        encoding: None,
        checksum: None,
        bytes: Some(20_480),
        description: None,
        sla: None,
        licence: None,
        masked: false,
    };
    Record {
        keywords: vec!["停车".to_owned(), "交通".to_owned()],
        share: Some(Share {
            kind: ShareKind::Universal,
            condition: None,
            reason: None,
            modes: Vec::new(),
        }),
        items: vec![item("场库名称", DataType::Text), item("泊位数", DataType::Integer)],
        distributions: vec![file],
        identifiers: vec![
            identifier("https://data.example.cn/parking"),
            identifier("javascript:alert(1)"),
        ],
        extensions: [("备注".to_owned(), "来自旧平台".to_owned())].into(),
        ..record("公共停车场信息", "全区公共停车场的位置与泊位数，含收费标准。", OpenKind::Open)
    }
}

pub(crate) fn id(number: u128) -> RecordId {
    RecordId::new(PUDONG, Ulid::from_parts(1_700_000_000_000, number))
}

struct Pen {
    author: Author,
    head: Head,
    ops: Vec<Op>,
}

impl Pen {
    fn new(feed: FeedId) -> Self {
        let author = Author::new(feed, SigningKey::from_bytes(&[7; 32]));
        Self { author, head: Head::EMPTY, ops: Vec::new() }
    }

    fn write(&mut self, kind: OpType, id: RecordId, payload: Vec<u8>, visibility: Visibility) {
        let subject = id.to_bytes().to_vec();
        let change = Change { kind, subject, base: None, payload, visibility };
        let now_ms = BEGIN_MS + i64::try_from(self.head.seq).unwrap() * 1000;
        let mut uid = [0; 16];
        uid[8..].copy_from_slice(&self.head.seq.to_be_bytes());
        let stamp = Stamp { now_ms, uid, actor: "editor".to_owned() };
        let op = self.author.author(self.head, change, stamp).unwrap();
        self.head = op.head();
        self.ops.push(op);
    }

    fn put(&mut self, id: RecordId, record: &Record) {
        self.write(OpType::RecordPut, id, record.to_bytes(), record.visibility());
    }

    fn withdraw(&mut self, id: RecordId, reason: &str) {
        let tombstone = Tombstone { reason: reason.to_owned(), replaced_by: Some(self::id(OPEN)) };
        let payload = serde_json::to_vec(&tombstone).unwrap();
        self.write(OpType::RecordTombstone, id, payload, Visibility::Public);
    }

    async fn store(self, store: &Store) {
        let (feed, head) = (self.author.feed(), self.head);
        store.open_feed(feed).unwrap();
        store.append(feed, Head::EMPTY, self.ops).await.unwrap().unwrap();
        store.applied(feed, head.seq).await;
        store.indexed(feed, head.seq).await;
    }
}

impl City {
    /// Everything folded and indexed.
    pub(crate) async fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(Options { clock: || BEGIN_MS, ..Options::new(dir.path()) }).unwrap();
        let mut pudong = Pen::new(PUDONG);
        pudong.put(id(OPEN), &parking());
        let attack = "<script>alert('停车')</script>";
        pudong
            .put(id(SCRIPT), &record(attack, &format!("摘要 {attack} 结束"), OpenKind::OnRequest));
        pudong.put(id(RESTRICTED), &record(SECRET_TITLE, "停车费税收", OpenKind::Closed));
        pudong.put(id(WITHDRAWN), &record("旧停车目录", "已并入新目录", OpenKind::Open));
        pudong.withdraw(id(WITHDRAWN), "已并入公共停车场信息");
        // More than a page of a search.
        for number in 10..32 {
            let title = format!("公园绿地名录 {number}");
            pudong.put(id(number), &record(&title, "各街镇公园绿地", OpenKind::Open));
        }
        pudong.store(&store).await;
        let mut stranger = Pen::new(STRANGER);
        let foreign = RecordId::new(STRANGER, Ulid::from_parts(1, 1));
        stranger.put(foreign, &record("无主停车记录", "不属于任何区", OpenKind::Open));
        stranger.store(&store).await;
        Arc::new(Self { store, _dir: dir })
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let site = Arc::<Self>::clone(self);
        read::router(site, telemetry::metrics_handle())
    }

    pub(crate) async fn get(self: &Arc<Self>, uri: &str) -> Answer {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        Answer::of(self.router(), request).await
    }

    pub(crate) fn unknown() -> RecordId {
        id(999)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(router: Router, request: Request<Body>) -> Self {
        let (head, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        Self { status: head.status, headers: head.headers, body }
    }

    pub(crate) fn html(&self) -> Html {
        Html::parse_document(&self.body)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Site for City {
    fn role(&self) -> Role {
        Role::Hub
    }

    fn name(&self) -> String {
        "上海市".to_owned()
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn status(&self) -> Status {
        let progress = self.store.progress();
        let own = progress[&PUDONG];
        Status {
            role: Role::Hub,
            software: "liandong-hub test".to_owned(),
            feed: FeedStatus { id: PUDONG, seq: own.head.seq, hash: own.head.hash, damaged: None },
            view: ViewStatus {
                root: self.store.root(),
                records: own.records,
                applied_seq: own.applied.seq,
            },
            index: IndexStatus { applied_seq: own.indexed.seq, documents: self.store.documents() },
            districts: Some(vec![DistrictStatus {
                code: "310115".parse().unwrap(),
                name: "浦东新区".to_owned(),
                state: State::InSync,
                verdict: Some("IN_SYNC".to_owned()),
                explain: None,
                seq: own.head.seq,
                hash: own.head.hash,
                view_root: Hash::ZERO,
                records: own.records,
                quarantined: 0,
                held: None,
                lag_records: 3,
                lag_seconds: Some(2),
                last_contact: Some(BEGIN_MS),
                certificate_expires: None,
            }]),
            hub: None,
            city: None,
            recovery: None,
            backup: None,
        }
    }

    fn districts(&self) -> Vec<DistrictView> {
        let district = |code: &str, name: &str, feed, state, as_of_ms| DistrictView {
            code: code.parse().unwrap(),
            former: (code == "310151").then(|| "310230".parse().unwrap()).into_iter().collect(),
            name: name.to_owned(),
            feed,
            state,
            as_of_ms,
            records: 24,
            lag_records: 0,
        };
        vec![
            district("310101", "黄浦区", Some(HUANGPU), State::Offline, Some(BEGIN_MS)),
            district("310115", "浦东新区", Some(PUDONG), State::InSync, Some(BEGIN_MS + 60_000)),
            district("310151", "崇明区", None, State::Waiting, None),
        ]
    }
}
