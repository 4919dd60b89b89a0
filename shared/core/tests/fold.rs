//! What ops mean for records: every path through a record's life, and what never changes it.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::Rules,
    code::OpenKind,
    fold::{self, Folded, Outcome, RecordState, Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    op::{Author, Change, Op, OpType, SCHEMA, SignedOp, Stamp},
    record::{Open, Provider, Record, Visibility},
};
use liandong_proto::sync as pb;
use proptest::prelude::*;
use prost::Message as _;
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);

/// A feed and its fold.
struct Feed {
    author: Author,
    head: Head,
    states: BTreeMap<RecordId, RecordState>,
}

impl Feed {
    fn new() -> Self {
        let author = Author::new(FEED, SigningKey::from_bytes(&[7; 32]));
        Self { author, head: Head::EMPTY, states: BTreeMap::new() }
    }

    fn fold(&mut self, op: &Op) -> Folded {
        let folded = fold::fold(op, &Rules::default(), |id| self.states.get(&id).copied());
        self.states.extend(folded.change);
        self.head = op.head();
        folded
    }

    fn apply(&mut self, change: Change) -> Folded {
        let stamp = Stamp { now_ms: 1_700_000_000_000, uid: [0; 16], actor: "a".to_owned() };
        let op = self.author.author(self.head, change, stamp).unwrap();
        self.fold(&op)
    }

    fn step(&mut self, id: RecordId, step: &str) -> String {
        let outcome = self.apply(change(id, step)).outcome;
        match outcome {
            Outcome::Materialised => "ok".to_owned(),
            Outcome::PendingUpgrade => "pending".to_owned(),
            Outcome::NotAuthoritative => "foreign".to_owned(),
            Outcome::Invalid(reason) => format!("invalid: {reason}"),
        }
    }

    fn status(&self, id: RecordId) -> Option<Status> {
        self.states.get(&id).map(|state| state.status)
    }
}

fn record_id(n: u128) -> RecordId {
    RecordId::new(FEED, Ulid(n))
}

fn record(title: &str) -> Record {
    Record {
        title: title.to_owned(),
        provider: Provider { name: "某局".to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    }
}

fn change(id: RecordId, step: &str) -> Change {
    let whole = record("公交站点").to_bytes();
    let tombstone = serde_json::to_vec(&Tombstone::default()).unwrap();
    let (kind, payload) = match step {
        "put" => (OpType::RecordPut, whole),
        "put other" => (OpType::RecordPut, record("停车场").to_bytes()),
        "revive" => (OpType::RecordRevive, whole),
        "withdraw" => (OpType::RecordTombstone, tombstone),
        "put noise" => (OpType::RecordPut, b"\xff\x00{".to_vec()),
        "put untitled" => (OpType::RecordPut, record("").to_bytes()),
        "revive noise" => (OpType::RecordRevive, b"{}".to_vec()),
        "withdraw noise" => (OpType::RecordTombstone, b"[]".to_vec()),
        "later type" => (OpType::Unknown("record.merge.v3".to_owned()), b"?".to_vec()),
        "token" => (OpType::DirToken, b"{}".to_vec()),
        other => unreachable!("{other}"),
    };
    let subject = id.to_bytes().to_vec();
    Change { kind, subject, base: None, payload, visibility: Visibility::Public }
}

#[test]
fn a_record_lives_is_withdrawn_and_revived_and_in_no_other_order() {
    // What happened before, what happens now, what becomes of it.
    let table: &[(&[&str], &str, &str)] = &[
        (&[], "put", "ok"),
        (&[], "revive", "invalid: only a withdrawn"),
        (&[], "withdraw", "invalid: there is no live record"),
        (&["put"], "put other", "ok"),
        (&["put"], "put", "ok"),
        (&["put"], "revive", "invalid: only a withdrawn"),
        (&["put"], "withdraw", "ok"),
        (&["put", "withdraw"], "put", "invalid: the record is withdrawn"),
        (&["put", "withdraw"], "withdraw", "invalid: there is no live record"),
        (&["put", "withdraw"], "revive", "ok"),
        (&["put", "withdraw", "revive"], "revive", "invalid: only a withdrawn"),
        (&["put", "withdraw", "revive"], "withdraw", "ok"),
        (&[], "put noise", "invalid: not a record"),
        (&[], "put untitled", "invalid: "),
        (&["put"], "put untitled", "invalid: "),
        (&["put"], "withdraw noise", "invalid: tombstone payload"),
        (&["put", "withdraw"], "revive noise", "invalid: not a record"),
        (&["put"], "token", "invalid: this op is not about a record"),
        (&["put"], "later type", "pending"),
    ];
    for (before, step, expected) in table {
        let mut feed = Feed::new();
        let id = record_id(1);
        for earlier in *before {
            assert_eq!(feed.step(id, earlier), "ok", "{before:?}");
        }
        let state = feed.states.get(&id).copied();
        let found = feed.step(id, step);
        assert!(found.starts_with(expected), "{step} after {before:?}: {found}");
        if found != "ok" {
            assert_eq!(feed.states.get(&id).copied(), state, "{step}: it has no effect");
        }
    }
}

const STEPS: [&str; 8] = [
    "put",
    "put other",
    "revive",
    "withdraw",
    "put noise",
    "revive noise",
    "withdraw noise",
    "later type",
];

proptest! {
    #[test]
    fn only_a_revive_makes_a_withdrawn_record_live_again(
        script in prop::collection::vec((0_u128..3, 0..STEPS.len()), 0..40),
    ) {
        let mut feed = Feed::new();
        for (n, step) in script {
            let (id, step) = (record_id(n), STEPS[step]);
            let before = feed.status(id);
            let outcome = feed.step(id, step);
            let after = feed.status(id);
            if before == Some(Status::Withdrawn) && after == Some(Status::Live) {
                prop_assert_eq!(step, "revive");
            }
            prop_assert!(!(before.is_some() && after.is_none()), "a record never vanishes");
            prop_assert_eq!(outcome == "ok", feed.states.get(&id).is_some_and(|s| s.seq == feed.head.seq));
        }
    }

    #[test]
    fn an_invalid_op_never_holds_a_later_one_back(
        script in prop::collection::vec(0..STEPS.len(), 0..30),
    ) {
        let mut feed = Feed::new();
        for step in script {
            feed.step(record_id(1), STEPS[step]);
        }
        prop_assert_eq!(feed.step(record_id(2), "put"), "ok");
    }

    #[test]
    fn a_state_survives_its_bytes(
        status in 0_u8..3,
        visibility in 0_u32..3,
        feed in any::<[u8; 16]>(),
        seq in any::<u64>(),
        hashes in any::<([u8; 32], [u8; 32])>(),
        changed_at_ms in any::<i64>(),
    ) {
        let state = RecordState {
            status: if status == 1 { Status::Live } else { Status::Withdrawn },
            visibility: Visibility::from_u32(visibility),
            feed: FeedId::new(feed),
            seq,
            op_hash: Hash::new(hashes.0),
            payload_hash: Hash::new(hashes.1),
            changed_at_ms,
            redacted: status == 2,
        };
        let bytes = state.to_bytes();
        prop_assert_eq!(RecordState::from_bytes(&bytes), Some(state));
        prop_assert_eq!(RecordState::from_bytes(&bytes[1..]), None);
        prop_assert_eq!(RecordState::from_bytes(&[&bytes[..], &[0]].concat()), None);
        let mut later = bytes;
        later[0] = 2;
        prop_assert_eq!(RecordState::from_bytes(&later), None, "another version is not guessed");
    }
}

#[test]
fn a_feed_writes_only_the_records_it_minted() {
    let mut feed = Feed::new();
    let foreign = RecordId::new(FeedId::new([8; 16]), Ulid(1));
    for step in ["put", "revive", "withdraw"] {
        assert_eq!(feed.step(foreign, step), "foreign", "{step}");
    }
    assert!(feed.states.is_empty());
    let mut nameless = change(record_id(1), "put");
    nameless.subject = b"short".to_vec();
    assert!(matches!(feed.apply(nameless).outcome, Outcome::Invalid(_)));
}

#[test]
fn what_a_later_version_wrote_waits_without_effect() {
    let mut feed = Feed::new();
    let id = record_id(1);
    let stamp = Stamp { now_ms: 0, uid: [0; 16], actor: String::new() };
    let made = feed.author.author(Head::EMPTY, change(id, "put"), stamp).unwrap();
    let mut header = pb::OpHeader::decode(made.signed.header.clone()).unwrap();
    header.min_reader = SCHEMA + 1;
    let header = header.encode_to_vec();
    let signature = feed.author.sign(&header).to_vec().into();
    let later = Op::parse(SignedOp { header: header.into(), signature, ..made.signed }).unwrap();
    assert_eq!(feed.fold(&later).outcome, Outcome::PendingUpgrade);
    assert_eq!(feed.status(id), None);
    assert_eq!(feed.step(id, "put"), "ok", "what comes after it goes on");
}

#[test]
fn the_headers_visibility_must_be_the_records() {
    let kinds = [
        (OpenKind::Open, Visibility::Public),
        (OpenKind::OnRequest, Visibility::Public),
        (OpenKind::Closed, Visibility::Restricted),
    ];
    for (kind, own) in kinds {
        for said in [Visibility::Restricted, Visibility::Shared, Visibility::Public] {
            let mut record = record("公交站点");
            record.open = Open { kind, reason: Some("法律规定".to_owned()), ..Open::default() };
            let mut put = change(record_id(1), "put");
            put.payload = record.to_bytes();
            put.visibility = said;
            let outcome = Feed::new().apply(put).outcome;
            if said != own {
                assert!(
                    outcome.reason().contains("visibility"),
                    "{kind:?} as {said:?}: {outcome:?}"
                );
            } else if let Outcome::Invalid(reason) = outcome {
                // An open record needs more than these few fields; its visibility is not what is wrong.
                assert!(!reason.contains("visibility"), "{kind:?}: {reason}");
            }
        }
    }
}

#[test]
fn match_keys_come_with_the_record_and_go_with_it() {
    let mut feed = Feed::new();
    let put = feed.apply(change(record_id(1), "put"));
    assert_eq!(put.match_keys, ["title:公交站点|某局"]);
    assert!(feed.apply(change(record_id(1), "withdraw")).match_keys.is_empty());
}

#[test]
fn a_leaf_tells_who_what_and_whether_it_is_there() {
    let mut feed = Feed::new();
    feed.step(record_id(1), "put");
    let state = feed.states[&record_id(1)];
    let withdrawn = RecordState { status: Status::Withdrawn, ..state };
    let changed = RecordState { payload_hash: Hash::ZERO, ..state };
    let leaves = [
        state.leaf(record_id(1)),
        state.leaf(record_id(2)),
        withdrawn.leaf(record_id(1)),
        changed.leaf(record_id(1)),
    ];
    for (place, leaf) in leaves.iter().enumerate() {
        assert!(!leaves[..place].contains(leaf), "leaf {place}");
    }
    let moved = RecordState { seq: 99, changed_at_ms: 1, ..state };
    assert_eq!(moved.leaf(record_id(1)), leaves[0], "neither position nor clock is in the digest");
}
