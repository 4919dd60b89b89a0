//! The way down: whatever happens, a replica that has heard everything holds what the hub says it should, and never
//! more than it may.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

mod common;

use std::{collections::BTreeMap, path::Path, time::Duration};

use common::{Pen, Rng};
use liandong_core::{
    city::{City, Hold, Overlay, Scope, Transfer, grant, row},
    code::{OpenKind, ShareKind},
    digest::Digest,
    directory::{District, FeedGrant, KeyGrant},
    fold::Tombstone,
    id::{DistrictCode, FeedId, Hash, InstanceId, RecordId},
    op::{Change, Keys, Op, OpType, SignedOp},
    record::{Open, Provider, Record, Share, Visibility},
    replica::Ground,
    wire::city::CityRecord,
};
use liandong_store::{EngineKind, Options, Put, Query, Replica, ReplicaOptions, Store};
use serde::Serialize;
use ulid::Ulid;

const HUB: u8 = 9;
const DISTRICTS: [(u8, &str); 3] = [(1, "310115"), (2, "310104"), (3, "310101")];
const RECORDS: usize = 12;
/// Stands in every restricted payload and nowhere else.
const SECRET: &str = "机密";

fn feed(number: u8) -> FeedId {
    FeedId::new([number; 16])
}

fn id(number: usize) -> RecordId {
    let (origin, _) = DISTRICTS[number % 3];
    RecordId::new(feed(origin), Ulid(number as u128))
}

fn wait<T>(what: &str, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await })
        .unwrap_or_else(|_late| panic!("waited in vain: {what}"))
}

fn content(visibility: Visibility, version: usize) -> Record {
    let (kind, share) = match visibility {
        Visibility::Public => (OpenKind::Open, None),
        Visibility::Shared => (OpenKind::Closed, Some(ShareKind::Universal)),
        Visibility::Restricted => (OpenKind::Closed, Some(ShareKind::None)),
    };
    let word = if visibility == Visibility::Restricted { SECRET } else { "公共" };
    let reason = Some("含个人信息".to_owned());
    let share = share.map(|kind| Share {
        kind,
        condition: None,
        reason: reason.clone(),
        modes: Vec::new(),
    });
    Record {
        title: format!("{word}停车场{version}"),
        provider: Provider { name: "交通委".to_owned(), ..Provider::default() },
        open: Open { kind, reason, ..Open::default() },
        share,
        ..Record::default()
    }
}

/// A hub with its store, and the pens of everyone who writes.
struct Hub {
    dir: tempfile::TempDir,
    store: Option<Store>,
    pen: Pen,
    districts: Vec<Pen>,
    epochs: u8,
}

impl Hub {
    fn new() -> Self {
        let districts = DISTRICTS.iter().map(|(number, _)| Pen::new(*number)).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut hub = Self { dir, store: None, pen: Pen::new(HUB), districts, epochs: 0 };
        hub.restart();
        for (number, code) in DISTRICTS {
            let code: DistrictCode = code.parse().unwrap();
            let district = District::new(code.clone(), "某区");
            hub.says(OpType::DirDistrict, b"", &district, Visibility::Shared);
            let (token, instance) = (Hash::ZERO, InstanceId::new([0; 16]));
            let grant = FeedGrant { feed: feed(number), code, token, instance, key: None };
            hub.says(OpType::DirFeed, b"", &grant, Visibility::Shared);
            let public_key = Hash::new(Pen::new(number).author.public_key());
            let grant = KeyGrant { feed: feed(number), public_key, from_seq: 1, cause: None };
            hub.says(OpType::KeyGrant, b"", &grant, Visibility::Shared);
        }
        hub
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Another run: the log begins anew.
    fn restart(&mut self) {
        self.store = None;
        self.epochs += 1;
        let options = Options {
            engine: EngineKind::Redb,
            cache_bytes: 1 << 20,
            hub_feed: Some(feed(HUB)),
            city_view: true,
            city_log: Some([self.epochs; 16]),
            ..Options::new(self.dir.path())
        };
        let store = Store::open(options).unwrap();
        for number in [HUB].into_iter().chain(DISTRICTS.map(|(number, _)| number)) {
            store.open_feed(feed(number)).unwrap();
        }
        self.store = Some(store);
    }

    fn append(&self, op: Op) {
        let after = liandong_core::id::Head { seq: op.seq - 1, hash: op.prev };
        let (feed, seq) = (op.feed, op.seq);
        self.store().append(feed, after, vec![op]).blocking_recv().unwrap().unwrap();
        wait("the fold", self.store().applied(feed, seq));
    }

    fn says<T: Serialize>(&mut self, kind: OpType, subject: &[u8], said: &T, sees: Visibility) {
        let (subject, payload) = (subject.to_vec(), serde_json::to_vec(said).unwrap());
        let change = Change { kind, subject, base: None, payload, visibility: sees };
        let op = self.pen.write(change);
        self.append(op);
    }

    /// One of the things that happen in a city.
    fn happen(&mut self, rng: &mut Rng, version: usize) {
        let (record, city) = (id(rng.below(RECORDS)), self.store().city());
        let subject = record.to_bytes();
        let state = self.store().state(record).unwrap();
        let owner = usize::from(city.owner(record).as_bytes()[0]) - 1;
        let sees = state.map_or(Visibility::Public, |state| state.visibility);
        match rng.below(12) {
            0..6 => {
                let sees = [Visibility::Public, Visibility::Shared, Visibility::Restricted];
                let content = content(sees[rng.below(3)], version);
                let kind = match state.map(|state| state.status) {
                    Some(liandong_core::fold::Status::Withdrawn) => OpType::RecordRevive,
                    _ => OpType::RecordPut,
                };
                let (payload, visibility) = (content.to_bytes(), content.visibility());
                let subject = subject.to_vec();
                let change = Change { kind, subject, base: None, payload, visibility };
                let op = self.districts[owner].write(change);
                self.append(op);
            }
            6 => {
                let payload = serde_json::to_vec(&Tombstone::default()).unwrap();
                let (kind, subject) = (OpType::RecordTombstone, subject.to_vec());
                let change = Change { kind, subject, base: None, payload, visibility: sees };
                let op = self.districts[owner].write(change);
                self.append(op);
            }
            7 | 8 => {
                let active = !city.curation.holds.contains_key(&record);
                let (legal_basis, reason) = ("条例".to_owned(), "核查".to_owned());
                let hold = Hold { active, legal_basis, reason };
                self.says(OpType::Hold, &subject, &hold, Visibility::Shared);
            }
            9 => {
                let word = if sees == Visibility::Restricted { SECRET } else { "城市" };
                let title = Some(format!("{word}题名{version}"));
                let overlay = Overlay { title, sticky: true, ..Overlay::default() };
                self.says(OpType::OverlayPut, &subject, &overlay, sees);
            }
            10 => {
                self.says(OpType::OverlayDrop, &subject, &Overlay::default(), Visibility::Shared);
            }
            _ => {
                let to = (owner + 1 + rng.below(2)) % 3;
                let transfer = Transfer {
                    id: Ulid(version as u128).to_string(),
                    from_feed: feed(DISTRICTS[owner].0),
                    at: self.districts[owner].head,
                    to_feed: feed(DISTRICTS[to].0),
                    accept_seq: self.districts[to].head.seq,
                    to_district: DISTRICTS[to].1.parse().unwrap(),
                    records: Some([record].into()),
                    effective: "2026-01-01".parse().unwrap(),
                    override_reason: None,
                    cause: None,
                };
                self.says(OpType::TransferCommit, b"", &transfer, Visibility::Shared);
            }
        }
    }

    /// What an audience should see, said as plainly as it can be.
    fn reference(&self, audience: FeedId) -> Hash {
        let (city, mut digest) = (self.store().city(), Digest::default());
        for record in (0..RECORDS).map(id) {
            let state = self.store().state(record).unwrap();
            let shown = state.and_then(|state| row(&city, record, &state, Some(audience)));
            if let Some(shown) = shown {
                digest.set(record, shown.leaf(record));
            }
        }
        digest.root()
    }

    /// Waits until the log has noted everything, for every audience.
    fn settle(&self) {
        let mut changes = self.store().watch_city_log();
        wait("the log", async {
            changes.wait_for(Option::is_some).await.unwrap();
            loop {
                let noted = DISTRICTS.iter().all(|(number, _)| {
                    let digest = self.store().city_digest(feed(*number)).unwrap();
                    digest.root() == self.reference(feed(*number))
                });
                if noted {
                    return;
                }
                changes.changed().await.unwrap();
            }
        });
    }
}

/// A node as far as the way down goes: its replica and its mirror of the hub's feed.
struct Node {
    feed: FeedId,
    dir: tempfile::TempDir,
    replica: Option<Replica>,
    city: City,
    hub_keys: Keys,
}

fn open_replica(dir: &Path) -> Replica {
    let dir = dir.join("replica");
    Replica::open(ReplicaOptions {
        dir,
        engine: EngineKind::Redb,
        cache_bytes: 1 << 20,
        city: tokio::sync::watch::channel(std::sync::Arc::default()).1,
    })
    .unwrap()
}

impl Node {
    fn new(number: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut hub_keys = Keys::default();
        hub_keys.grant(&Pen::new(HUB).author.public_key(), 1).unwrap();
        let replica = Some(open_replica(dir.path()));
        Self { feed: feed(number), dir, replica, city: City::default(), hub_keys }
    }

    fn replica(&self) -> &Replica {
        self.replica.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.replica = None;
        self.replica = Some(open_replica(self.dir.path()));
    }

    /// No byte of a restricted payload but of what is this node's own (I22).
    fn may_see(&self, city: &City, op: &SignedOp) {
        let parsed = Op::parse(op.clone()).unwrap();
        let secret = String::from_utf8_lossy(&op.payload).contains(SECRET);
        let restricted = parsed.visibility == Visibility::Restricted && !op.payload.is_empty();
        if secret || restricted {
            let subject = RecordId::try_from(parsed.subject.as_ref()).unwrap();
            assert_eq!(city.owner(subject), self.feed, "{:?} of {subject}", parsed.kind);
        }
    }

    fn mirror(&mut self, hub: &Hub, to: u64) {
        while self.city.head.seq < to {
            let room = usize::try_from(to - self.city.head.seq).unwrap();
            let ops = hub.store().ops(feed(HUB), self.city.head.seq, room, 1 << 20).unwrap();
            for op in ops {
                let signed = hub.store().hub_op_for(self.feed, op);
                self.may_see(&hub.store().city(), &signed);
                let op = Op::parse(signed).unwrap();
                op.follows(feed(HUB), self.city.head).unwrap();
                op.verify(&self.hub_keys).unwrap();
                self.city.apply(&op).unwrap();
            }
        }
    }

    fn take(&self, hub: &Hub, record: CityRecord) -> Put {
        // As it is on the wire.
        let record = CityRecord::from_bytes(&record.into_bytes()).unwrap();
        for op in record.core.iter().chain(&record.overlay) {
            self.may_see(&hub.store().city(), op);
        }
        let ground = Ground {
            city: &self.city,
            hub_feed: feed(HUB),
            hub_keys: &self.hub_keys,
            audience: self.feed,
        };
        match ground.believe(&record).unwrap() {
            Some(_) => Put::Keep { record: Box::new(record), searched: true },
            None => Put::Forget(record.id),
        }
    }

    /// Hears a few changes; returns whether there was anything.
    fn hear(&mut self, hub: &Hub, limit: usize) -> bool {
        let state = self.replica().state();
        let digest = hub.store().city_digest(self.feed).unwrap();
        if state.epoch.is_some_and(|epoch| epoch != digest.epoch) {
            self.audit(hub);
            return true;
        }
        let page = hub.store().city_page(self.feed, state.city_seq, limit).unwrap();
        self.mirror(hub, page.hub.seq);
        let rows = page.records.into_iter().map(|record| self.take(hub, record)).collect();
        let change = |state: &mut liandong_store::ReplicaState| {
            (state.epoch, state.city_seq) = (Some(digest.epoch), page.city_seq);
        };
        self.replica().apply(rows, change).unwrap();
        page.city_seq != state.city_seq
    }

    /// Compares with another run of the hub; returns how many rows came again.
    fn audit(&mut self, hub: &Hub) -> usize {
        let store = hub.store();
        let digest = store.city_digest(self.feed).unwrap();
        self.mirror(hub, store.city().head.seq);
        let mut fetched = 0;
        for (bucket, hash) in digest.buckets.iter().enumerate() {
            let ours = self.replica().leaves(bucket);
            if Digest::bucket_over(&ours) == *hash {
                continue;
            }
            let theirs = store.city_leaves(self.feed, bucket);
            let gone = ours.iter().filter(|(id, _)| !theirs.iter().any(|(other, _)| other == id));
            let mut rows: Vec<Put> = gone.map(|(id, _)| Put::Forget(*id)).collect();
            let wanted = theirs.iter().filter(|leaf| !ours.contains(leaf)).map(|(id, _)| *id);
            let wanted: Vec<RecordId> = wanted.collect();
            fetched += wanted.len();
            let records = store.city_records(self.feed, &wanted).unwrap();
            rows.extend(records.into_iter().map(|record| self.take(hub, record)));
            self.replica().apply(rows, |_| {}).unwrap();
        }
        let change = |state: &mut liandong_store::ReplicaState| {
            (state.epoch, state.city_seq) = (Some(digest.epoch), digest.city_seq);
        };
        self.replica().apply(Vec::new(), change).unwrap();
        fetched
    }

    fn found(&self, text: &str) -> Vec<RecordId> {
        let query = Query { text: text.to_owned(), limit: 50, ..Query::default() };
        self.replica().search(&query).unwrap().hits.into_iter().map(|hit| hit.id).collect()
    }

    /// The replica is what the hub says it should be, and holds nothing else: no row, no document (F22).
    fn assert_level(&self, hub: &Hub, context: &str) {
        let digest = hub.store().city_digest(self.feed).unwrap();
        let (root, rows, _) = self.replica().root();
        assert_eq!((root, rows), (digest.root(), digest.count), "{context}");
        let city = hub.store().city();
        let mut live = Vec::new();
        for record in (0..RECORDS).map(id) {
            let state = hub.store().state(record).unwrap();
            let seen =
                state.is_some_and(|state| Scope::of(&city, record, &state).covers(self.feed));
            assert_eq!(self.replica().row(record).unwrap().is_some(), seen, "{context}: {record}");
            let entry = self.replica().entry(record).unwrap();
            live.extend(entry.filter(|entry| entry.record.is_some()).map(|entry| entry.id));
        }
        let mut found = self.found("");
        found.sort_unstable();
        live.sort_unstable();
        assert_eq!(found, live, "{context}");
        for secret in self.found(SECRET) {
            assert_eq!(city.owner(secret), self.feed, "{context}: {secret} is found");
        }
    }
}

#[test]
fn replicas_reach_the_roots_of_their_audiences_whatever_changes_and_breaks_off() {
    for seed in [1, 2] {
        let mut rng = Rng(seed);
        let mut hub = Hub::new();
        let mut nodes: Vec<Node> = DISTRICTS.map(|(number, _)| Node::new(number)).into();
        hub.settle();
        for step in 0..70 {
            hub.happen(&mut rng, step);
            let reader = rng.below(3);
            match rng.below(12) {
                0 => hub.restart(),
                1 => nodes[reader].restart(),
                2 => nodes[reader].replica().reset().unwrap(),
                3 => {
                    // Half heard, then cut off: what was taken is not kept.
                    let state = nodes[reader].replica().state();
                    let page = hub.store().city_page(nodes[reader].feed, state.city_seq, 2);
                    drop(page.unwrap());
                }
                _ => {}
            }
            if rng.below(3) > 0 {
                hub.settle();
                nodes[reader].hear(&hub, 1 + rng.below(4));
            }
        }
        hub.settle();
        for node in &mut nodes {
            while node.hear(&hub, 3) {}
            node.assert_level(&hub, &format!("seed {seed}, {:?}", node.feed));
            node.restart();
            node.assert_level(&hub, &format!("seed {seed}, {:?}, opened again", node.feed));
        }
    }
}

#[test]
fn another_run_of_the_hub_sends_only_what_differs() {
    let mut hub = Hub::new();
    let mut node = Node::new(1);
    for number in 0..RECORDS {
        let content = content(Visibility::Public, number);
        let (payload, visibility) = (content.to_bytes(), content.visibility());
        let (kind, subject) = (OpType::RecordPut, id(number).to_bytes().to_vec());
        let change = Change { kind, subject, base: None, payload, visibility };
        let op = hub.districts[number % 3].write(change);
        hub.append(op);
    }
    hub.settle();
    while node.hear(&hub, 5) {}
    hub.restart();
    hub.settle();
    assert_eq!(node.audit(&hub), 0, "nothing changed");
    hub.restart();
    let hold = Hold { active: true, legal_basis: "条例".to_owned(), reason: "核查".to_owned() };
    hub.says(OpType::Hold, &id(4).to_bytes(), &hold, Visibility::Shared);
    hub.settle();
    assert_eq!(node.audit(&hub), 1, "one record changed");
    node.assert_level(&hub, "after the second run");
}

#[test]
fn a_damaged_or_half_deleted_replica_begins_again_empty() {
    for part in ["redb", "index"] {
        let mut hub = Hub::new();
        let mut node = Node::new(1);
        let mut rng = Rng(5);
        for step in 0..30 {
            hub.happen(&mut rng, step);
        }
        hub.settle();
        while node.hear(&hub, 5) {}
        node.replica = None;
        let generation = node.dir.path().join("replica").join("00000001").join(part);
        if part == "redb" {
            std::fs::write(&generation, b"noise").unwrap();
        } else {
            std::fs::remove_dir_all(&generation).unwrap();
        }
        node.restart();
        let state = node.replica().state();
        assert_eq!(state.epoch.is_none(), part == "redb", "an index is filled from the rows");
        while node.hear(&hub, 5) {}
        node.assert_level(&hub, part);
    }
}

#[test]
fn a_restricted_grant_names_the_codes_of_one_district_and_is_told_to_that_one_alone() {
    let [a, b] = [FeedId::new([1; 16]), FeedId::new([2; 16])];
    let record = |feed| Some(RecordId::new(feed, Ulid(1)));
    let codes = [("310/1", a), ("310/2", b), ("310/3", a)];
    let codes = codes.map(|(code, feed)| (code.to_owned(), record(feed)));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut pen = Pen::new(9);
    let mut told: BTreeMap<String, Vec<FeedId>> = BTreeMap::new();
    for change in grant(codes.into_iter().collect(), Visibility::Restricted) {
        let op = pen.write(change);
        for feed in [a, b] {
            let shown = store.hub_op_for(feed, op.clone());
            let text = String::from_utf8_lossy(&shown.payload).into_owned();
            for code in ["310/1", "310/2", "310/3"].into_iter().filter(|code| text.contains(code)) {
                told.entry(code.to_owned()).or_default().push(feed);
            }
        }
    }
    let told: Vec<Vec<FeedId>> = told.into_values().collect();
    assert_eq!(told, [vec![a], vec![b], vec![a]]);
}
