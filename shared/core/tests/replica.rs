//! What a hub can send that a node must not believe (F19), and how two nodes prove that it lied.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use liandong_core::{
    checkpoint::Checkpoint,
    city::{City, CityStatus, Hold, KeyRevoke, Overlay, Redaction},
    code::OpenKind,
    directory::{District, FeedGrant, KeyGrant},
    fold::Tombstone,
    id::{FeedId, Hash, Head, InstanceId, RecordId},
    op::{Author, Change, Keys, Op, OpType, Stamp},
    record::{Open, Provider, Record, Visibility},
    replica::{
        BadCheckpoint, Disbelief, Equivocation, Expected, Ground, equivocation, equivocation_with,
    },
    wire::city::CityRecord,
};
use serde::Serialize;
use ulid::Ulid;

const HUB: u8 = 9;
const A: u8 = 1;
const B: u8 = 2;

struct Pen {
    author: Author,
    head: Head,
}

impl Pen {
    fn new(feed: u8, key: u8) -> Self {
        let author = Author::new(FeedId::new([feed; 16]), SigningKey::from_bytes(&[key; 32]));
        Self { author, head: Head::EMPTY }
    }

    fn write(&mut self, kind: OpType, subject: &[u8], payload: Vec<u8>, sees: Visibility) -> Op {
        let change =
            Change { kind, subject: subject.to_vec(), base: None, payload, visibility: sees };
        let stamp = Stamp { now_ms: 1_790_000_000_000, uid: [3; 16], actor: "pen".to_owned() };
        let op = self.author.author(self.head, change, stamp).unwrap();
        self.head = op.head();
        op
    }
}

fn feed(number: u8) -> FeedId {
    FeedId::new([number; 16])
}

fn id(origin: u8, number: u128) -> RecordId {
    RecordId::new(feed(origin), Ulid(number))
}

fn content(kind: OpenKind) -> Record {
    Record {
        title: "停车场".to_owned(),
        provider: Provider { name: "交通委".to_owned(), ..Provider::default() },
        open: Open { kind, reason: Some("含个人信息".to_owned()), ..Open::default() },
        ..Record::default()
    }
}

/// A hub with two districts, and what it has told a node of A so far.
struct World {
    hub: Pen,
    a: Pen,
    b: Pen,
    city: City,
    hub_keys: Keys,
}

impl World {
    fn new() -> Self {
        let (hub, a, b) = (Pen::new(HUB, HUB), Pen::new(A, A), Pen::new(B, B));
        let mut hub_keys = Keys::default();
        hub_keys.grant(&hub.author.public_key(), 1).unwrap();
        let mut world = Self { hub, a, b, city: City::default(), hub_keys };
        for (number, code) in [(A, "310115"), (B, "310104")] {
            let code: liandong_core::id::DistrictCode = code.parse().unwrap();
            let subject = code.as_str().as_bytes().to_vec();
            let district = District::new(code.clone(), "某区");
            world.hub_op(OpType::DirDistrict, &subject, &district);
            let (token, instance) = (Hash::ZERO, InstanceId::new([0; 16]));
            let grant = FeedGrant { feed: feed(number), code, token, instance, key: None };
            world.hub_op(OpType::DirFeed, feed(number).as_bytes(), &grant);
            let key = if number == A { &world.a } else { &world.b };
            let public_key = Hash::new(key.author.public_key());
            let grant = KeyGrant { feed: feed(number), public_key, from_seq: 1, cause: None };
            world.hub_op(OpType::KeyGrant, feed(number).as_bytes(), &grant);
        }
        world
    }

    fn hub_op<T: Serialize>(&mut self, kind: OpType, subject: &[u8], payload: &T) -> Op {
        let payload = serde_json::to_vec(payload).unwrap();
        let op = self.hub.write(kind, subject, payload, Visibility::Shared);
        self.city.apply(&op).unwrap();
        op
    }

    /// A record of B, as B signs it.
    fn put(&mut self, number: u128, kind: OpenKind) -> Op {
        let record = content(kind);
        let (subject, payload) = (id(B, number).to_bytes(), record.to_bytes());
        self.b.write(OpType::RecordPut, &subject, payload, record.visibility())
    }

    fn row(&mut self, number: u128, kind: OpenKind) -> CityRecord {
        row(id(B, number), self.put(number, kind))
    }

    fn judge(&self, row: &CityRecord) -> Result<(), Disbelief> {
        let (hub_feed, hub_keys) = (feed(HUB), &self.hub_keys);
        let ground = Ground { city: &self.city, hub_feed, hub_keys, audience: feed(A) };
        ground.believe(row).map(|_| ())
    }
}

fn row(id: RecordId, op: Op) -> CityRecord {
    CityRecord {
        city_seq: 1,
        id,
        status: Some(CityStatus::Live),
        core: Some(op.signed),
        overlay: None,
        authority: id.origin(),
    }
}

type Tamper = (&'static str, fn(&mut World) -> CityRecord, Result<(), Disbelief>);

/// What the district's signature and its feed exclude.
fn tampered_core() -> Vec<Tamper> {
    vec![
        ("as it should be", |world| world.row(1, OpenKind::Open), Ok(())),
        ("gone", |_| CityRecord::gone(1, id(B, 1), feed(B)), Ok(())),
        ("held early", |_| held(CityRecord::gone(1, id(B, 1), feed(B))), Ok(())),
        (
            "the core was altered",
            |world| altered(world.row(1, OpenKind::Open)),
            Err(Disbelief::Core(liandong_core::op::OpFault::Payload)),
        ),
        (
            "the header was altered",
            |world| signed_again(world.row(1, OpenKind::Open)),
            Err(Disbelief::Core(liandong_core::op::OpFault::Signature)),
        ),
        (
            "signed with a key of the hub's own making",
            |world| {
                world.b.author = Pen::new(B, 7).author;
                world.row(1, OpenKind::Open)
            },
            Err(Disbelief::Core(liandong_core::op::OpFault::Key(key_of(7)))),
        ),
        (
            "the op of another record",
            |world| CityRecord { id: id(B, 2), ..world.row(1, OpenKind::Open) },
            Err(Disbelief::Misplaced),
        ),
        (
            "a record of B that A wrote",
            |world| {
                std::mem::swap(&mut world.a, &mut world.b);
                world.row(1, OpenKind::Open)
            },
            Err(Disbelief::Misplaced),
        ),
        (
            "a withdrawal shown as live",
            |world| CityRecord { status: Some(CityStatus::Live), ..withdrawn(world) },
            Err(Disbelief::Misplaced),
        ),
        ("withdrawn", withdrawn, Ok(())),
        (
            "live shown as withdrawn",
            |world| CityRecord {
                status: Some(CityStatus::Withdrawn),
                ..world.row(1, OpenKind::Open)
            },
            Err(Disbelief::Misplaced),
        ),
    ]
}

/// What the hub's own feed excludes.
fn tampered_row() -> Vec<Tamper> {
    vec![
        (
            "another owner",
            |world| CityRecord { authority: feed(A), ..world.row(1, OpenKind::Open) },
            Err(Disbelief::Authority),
        ),
        (
            "content of a held record",
            |world| {
                hold(world);
                world.row(1, OpenKind::Open)
            },
            Err(Disbelief::Held),
        ),
        ("held with content", |world| held(world.row(1, OpenKind::Open)), Err(Disbelief::Shape)),
        (
            "live without content",
            |world| CityRecord { core: None, ..world.row(1, OpenKind::Open) },
            Err(Disbelief::Shape),
        ),
        ("what only B may see", |world| world.row(1, OpenKind::Closed), Err(Disbelief::NotForUs)),
        (
            "withheld without an order",
            |world| emptied(world.row(1, OpenKind::Open)),
            Err(Disbelief::Withheld),
        ),
        (
            "withheld by an order",
            |world| {
                let op = world.put(1, OpenKind::Open);
                let (seq, op_hash, reason) = (op.seq, op.hash, "依法删除".to_owned());
                let (feed, effect) = (feed(B), true);
                let order = Redaction { feed, seq, op_hash, reason, effect, cause: None };
                world.hub_op(OpType::Redact, &op_hash.as_bytes()[..], &order);
                emptied(row(id(B, 1), op))
            },
            Ok(()),
        ),
        (
            "signed with a key after its last good op",
            |world| {
                let last_good = world.put(2, OpenKind::Open).head();
                let (key, reason) = (key_of(B), "被盗".to_owned());
                let revoke = KeyRevoke { feed: feed(B), key, last_good, reason };
                world.hub_op(OpType::KeyRevoke, feed(B).as_bytes(), &revoke);
                world.row(1, OpenKind::Open)
            },
            Err(Disbelief::Misplaced),
        ),
    ]
}

fn key_of(key: u8) -> liandong_core::id::KeyId {
    Pen::new(B, key).author.key_id()
}

fn withdrawn(world: &mut World) -> CityRecord {
    let payload = serde_json::to_vec(&Tombstone::default()).unwrap();
    let subject = id(B, 1).to_bytes();
    let op = world.b.write(OpType::RecordTombstone, &subject, payload, Visibility::Public);
    CityRecord { status: Some(CityStatus::Withdrawn), ..row(id(B, 1), op) }
}

fn held(row: CityRecord) -> CityRecord {
    CityRecord { status: Some(CityStatus::Held), ..row }
}

fn hold(world: &mut World) {
    let (legal_basis, reason) = ("条例第九条".to_owned(), "核查".to_owned());
    let hold = Hold { active: true, legal_basis, reason };
    world.hub_op(OpType::Hold, &id(B, 1).to_bytes(), &hold);
}

/// One byte of the content is another.
fn altered(mut row: CityRecord) -> CityRecord {
    let core = row.core.as_mut().unwrap();
    let mut payload = core.payload.to_vec();
    payload[9] ^= 1;
    core.payload = Bytes::from(payload);
    row
}

/// One byte of the actor's name is another; hash and content still fit.
fn signed_again(mut row: CityRecord) -> CityRecord {
    let core = row.core.as_mut().unwrap();
    let mut header = core.header.to_vec();
    let at = header.windows(3).position(|window| window == b"pen").unwrap();
    header[at] = b'P';
    core.header = Bytes::from(header);
    row
}

fn emptied(mut row: CityRecord) -> CityRecord {
    let core = row.core.as_mut().unwrap();
    (core.payload, core.withheld) = (Bytes::new(), true);
    row
}

#[test]
fn a_row_is_believed_when_everything_in_it_was_signed_by_whom_it_concerns() {
    for (what, make, expected) in tampered_core().into_iter().chain(tampered_row()) {
        let mut world = World::new();
        let row = make(&mut world);
        assert_eq!(world.judge(&row), expected, "{what}");
    }
}

#[test]
fn an_overlay_is_the_newest_in_the_hubs_own_feed_or_not_believed() {
    let mut world = World::new();
    let plain = world.row(1, OpenKind::Open);
    let overlay = |title: &str| Overlay { title: Some(title.to_owned()), ..Overlay::default() };
    let subject = id(B, 1).to_bytes();
    let first = world.hub_op(OpType::OverlayPut, &subject, &overlay("一"));
    let second = world.hub_op(OpType::OverlayPut, &subject, &overlay("二"));
    let other = world.hub_op(OpType::OverlayPut, &id(B, 2).to_bytes(), &overlay("三"));
    let payload = serde_json::to_vec(&overlay("假")).unwrap();
    let forged = Pen::new(HUB, 7).write(OpType::OverlayPut, &subject, payload, Visibility::Public);
    let by_a = world.a.write(OpType::OverlayPut, &subject, b"{}".to_vec(), Visibility::Public);
    let with = |op: &Op| CityRecord { overlay: Some(op.signed.clone()), ..plain.clone() };
    assert_eq!(world.judge(&with(&second)), Ok(()));
    assert_eq!(world.judge(&with(&first)), Err(Disbelief::OldOverlay));
    assert_eq!(world.judge(&plain), Err(Disbelief::OldOverlay), "left out");
    for op in [&other, &forged, &by_a] {
        assert_eq!(world.judge(&with(op)), Err(Disbelief::Overlay), "{:?}", op.feed);
    }
    world.hub_op(OpType::OverlayDrop, &subject, &Overlay::default());
    assert_eq!(world.judge(&plain), Ok(()));
}

fn checkpoint(hub: &Author) -> Checkpoint {
    Checkpoint {
        epoch: [1; 16],
        city_seq: 10,
        audience: feed(A),
        root: Hash::new([5; 32]),
        count: 3,
        hub: Head { seq: 6, hash: Hash::new([6; 32]) },
        at_ms: 1_000,
        expires_ms: 2_000,
        signature: Vec::new(),
    }
    .signed(hub)
}

#[test]
fn a_checkpoint_is_believed_when_it_is_the_hubs_for_this_node_now() {
    type Row = (&'static str, fn(&mut Checkpoint), Result<(), BadCheckpoint>);
    let rows: [Row; 8] = [
        ("as it should be", |_| {}, Ok(())),
        ("for another node", |c| c.audience = feed(B), Err(BadCheckpoint::Audience)),
        ("of another run", |c| c.epoch = [2; 16], Err(BadCheckpoint::Epoch)),
        ("older than the last", |c| c.city_seq = 8, Err(BadCheckpoint::Replayed)),
        ("of an older feed", |c| c.hub.seq = 4, Err(BadCheckpoint::Replayed)),
        ("expired", |c| c.expires_ms = 1_500, Err(BadCheckpoint::Expired)),
        ("of a forked feed", |c| c.hub.hash = Hash::ZERO, Err(BadCheckpoint::HubFeed)),
        ("the same again", |c| c.city_seq = 9, Ok(())),
    ];
    let hub = Pen::new(HUB, HUB).author;
    let last = Checkpoint { city_seq: 9, ..checkpoint(&hub) };
    let expected = Expected {
        hub_key: &hub.public_key(),
        audience: feed(A),
        epoch: Some([1; 16]),
        last: Some(&last),
        hub_hash: Some(Hash::new([6; 32])),
        now_ms: 1_500,
    };
    for (what, change, result) in rows {
        let mut given = checkpoint(&hub);
        change(&mut given);
        assert_eq!(expected.believe(&given.clone().signed(&hub)), result, "{what}");
        let forged = given.signed(&Pen::new(HUB, 7).author);
        assert_eq!(expected.believe(&forged), Err(BadCheckpoint::Signature), "{what}, forged");
    }
    let mut altered = checkpoint(&hub);
    altered.root = Hash::ZERO;
    assert_eq!(expected.believe(&altered), Err(BadCheckpoint::Signature));
}

#[test]
fn two_nodes_prove_offline_that_the_hub_told_them_different_things() {
    let hub = Pen::new(HUB, HUB).author;
    let key = hub.public_key();
    let ours = checkpoint(&hub);
    let of_b = Checkpoint { audience: feed(B), root: Hash::ZERO, ..ours.clone() }.signed(&hub);
    assert_eq!(equivocation(&ours, &of_b, &key), None, "other audiences have other roots");
    let forked = Head { seq: 6, hash: Hash::ZERO };
    let of_b = Checkpoint { hub: forked, ..of_b }.signed(&hub);
    let hashes = [ours.hub.hash, Hash::ZERO];
    let proof = Some(Equivocation::Feed { seq: 6, hashes });
    assert_eq!(equivocation(&ours, &of_b, &key), proof, "one position, two histories");
    let again = Checkpoint { root: Hash::ZERO, ..ours.clone() }.signed(&hub);
    let roots = [ours.root, Hash::ZERO];
    let proof = Some(Equivocation::Root { city_seq: 10, roots });
    assert_eq!(equivocation(&ours, &again, &key), proof, "one city, two roots");
    let unsigned = Checkpoint { signature: Vec::new(), ..again };
    assert_eq!(equivocation(&ours, &unsigned, &key), None, "only signed words count");

    // One node's checkpoint against the feed that another one mirrors.
    let mut world = World::new();
    let op = world.hub_op(OpType::Policy, b"", &serde_json::json!({}));
    let at = |hash| Checkpoint { hub: Head { seq: op.seq, hash }, ..ours.clone() }.signed(&hub);
    let told = |checkpoint| equivocation_with(&checkpoint, &op, &key, &world.hub_keys);
    assert_eq!(told(at(op.hash)), None);
    let hashes = [Hash::ZERO, op.hash];
    assert_eq!(told(at(Hash::ZERO)), Some(Equivocation::Feed { seq: op.seq, hashes }));
}
