//! Curation and conflicts: what curators and districts do at once never loses anything, and what is found does not
//! depend on who came first.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::{
        Appeal, Asked, Cause, City, CityStatus, Claimants, Conflict, ConflictKind, ConflictState,
        Decided, Decision, Hold, Overlay, Refusal, Rejected, Topic, Version, conflict_id, row,
    },
    code::OpenKind,
    fold::{self, RecordState, Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    op::{Author, Change, Op, OpType, Stamp},
    record::{Open, Provider, Record, Visibility},
};
use proptest::prelude::*;
use serde_json::{Map, json};
use ulid::Ulid;

const HUB: u8 = 1;

const fn feed(n: u8) -> FeedId {
    FeedId::new([n; 16])
}

const fn record_id(n: u8) -> RecordId {
    RecordId::new(feed(n), Ulid(7))
}

fn record(title: &str, code: Option<&str>) -> Record {
    Record {
        title: title.to_owned(),
        code: code.map(str::to_owned),
        provider: Provider { name: "某局".to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    }
}

/// A feed being written.
struct Pen {
    author: Author,
    ops: Vec<Op>,
}

impl Pen {
    fn new(n: u8) -> Self {
        Self { author: Author::new(feed(n), SigningKey::from_bytes(&[n; 32])), ops: Vec::new() }
    }

    fn write(&mut self, change: Change) -> Op {
        let head = self.ops.last().map_or(Head::EMPTY, Op::head);
        let uid = u128::try_from(self.ops.len()).unwrap().to_be_bytes();
        let stamp = Stamp { now_ms: 1_700_000_000_000, uid, actor: "a".to_owned() };
        let op = self.author.author(head, change, stamp).unwrap();
        self.ops.push(op.clone());
        op
    }

    fn put(&mut self, id: RecordId, record: &Record) -> Op {
        self.write(of_record(OpType::RecordPut, id, record.to_bytes()))
    }

    fn withdraw(&mut self, id: RecordId) -> Op {
        let tombstone = serde_json::to_vec(&Tombstone::default()).unwrap();
        self.write(of_record(OpType::RecordTombstone, id, tombstone))
    }

    fn revive(&mut self, id: RecordId, record: &Record) -> Op {
        self.write(of_record(OpType::RecordRevive, id, record.to_bytes()))
    }
}

fn of_record(kind: OpType, id: RecordId, payload: Vec<u8>) -> Change {
    let (subject, visibility) = (id.to_bytes().to_vec(), Visibility::Public);
    Change { kind, subject, base: None, payload, visibility }
}

/// What a process makes of the ops that it has got.
#[derive(Default)]
struct Replica {
    city: City,
    states: BTreeMap<RecordId, RecordState>,
    records: BTreeMap<RecordId, Record>,
}

impl Replica {
    fn take(&mut self, op: &Op) {
        if op.feed == feed(HUB) {
            self.city.apply(op).unwrap();
            return;
        }
        let rules = self.city.rules(op.feed);
        let folded = fold::fold(op, &rules, |id| self.states.get(&id).copied());
        if let Some((id, state)) = folded.change {
            self.states.insert(id, state);
            match Record::from_bytes(&op.signed.payload) {
                Ok(record) => self.records.insert(id, record),
                Err(_tombstone) => self.records.remove(&id),
            };
        }
    }

    fn state(&self, id: RecordId) -> RecordState {
        self.states[&id]
    }

    fn claimants(&self, code: &str) -> Claimants {
        let claims = |id: &RecordId| {
            self.records.get(id).is_some_and(|record| record.code.as_deref() == Some(code))
        };
        self.states.iter().filter(|(id, _)| claims(id)).map(|(id, state)| (*id, *state)).collect()
    }

    /// What the hub would write about a topic now.
    fn look(&self, topic: &Topic) -> Vec<Change> {
        let cause = Cause { feed: feed(9), seq: 1 };
        let found = match topic {
            Topic::Code(code) => self.city.look_at_code(code, &self.claimants(code), cause),
            Topic::Item(item) => self.city.look_at_item(item, &Claimants::new(), cause),
            Topic::Ops(feed, kind) => self.city.look_at_ops(*feed, kind, None, cause),
            Topic::Record(id) => {
                let state = self.states.get(id);
                self.city.look_at_record(feed(HUB), *id, state, None, cause)
            }
        };
        let mut changes = self.city.reconcile(topic, &found);
        if let Some((code, holder, visibility)) = found.grant {
            changes.extend(liandong_core::city::grant([(code, holder)].into(), visibility));
        }
        changes
    }

    /// The hub looks at a topic and writes until there is nothing more to write.
    fn attend(&mut self, hub: &mut Pen, topic: &Topic) {
        for _ in 0..9 {
            let changes = self.look(topic);
            if changes.is_empty() {
                return;
            }
            for change in changes {
                let op = hub.write(change);
                self.take(&op);
            }
        }
        panic!("{topic:?} never comes to rest");
    }

    fn only(&self, kind: ConflictKind) -> &Conflict {
        let mut of_kind = self.city.conflicts.iter().filter(|found| found.opened.kind == kind);
        let found = of_kind.next().unwrap();
        assert!(of_kind.next().is_none(), "one conflict of {kind:?}");
        found
    }
}

/// Deals the ops of several feeds in an order that a seed gives; each feed's own order stays.
fn deal(feeds: &[Vec<Op>], seed: &[u8]) -> Vec<Op> {
    let mut at = vec![0; feeds.len()];
    let mut dealt = Vec::new();
    for pick in seed.iter().copied().chain(std::iter::repeat(0)) {
        let left: Vec<_> = (0..feeds.len()).filter(|n| at[*n] < feeds[*n].len()).collect();
        let Some(next) = left.get(usize::from(pick) % left.len().max(1)) else { break };
        dealt.push(feeds[*next][at[*next]].clone());
        at[*next] += 1;
    }
    dealt
}

const CODE: &str = "307001/000010";

proptest! {
    /// F13, I12, I15: whoever comes first and however often the hub looks in between, there is one conflict with one
    /// id, and the code has one holder.
    #[test]
    fn a_code_claimed_twice_is_one_conflict_with_one_holder_in_every_order(
        order in prop::collection::vec(any::<u8>(), 8),
        looks in prop::collection::vec(any::<bool>(), 8),
        decided in any::<bool>(),
    ) {
        let mut districts = [Pen::new(3), Pen::new(5)];
        for (n, pen) in [3, 5].into_iter().zip(&mut districts) {
            pen.put(record_id(n), &record("公交站点", None));
            pen.put(record_id(n), &record("公交站点", Some(CODE)));
            pen.put(record_id(n), &record("公交站点信息", Some(CODE)));
        }
        let feeds = districts.map(|pen| pen.ops);
        let (mut hub, mut replica) = (Pen::new(HUB), Replica::default());
        let topic = Topic::Code(CODE.to_owned());
        for (op, look) in deal(&feeds, &order).iter().zip(looks.iter().chain([&true; 9])) {
            replica.take(op);
            if *look {
                replica.attend(&mut hub, &topic);
            }
        }
        replica.attend(&mut hub, &topic);
        let subjects = [CODE.to_owned(), record_id(3).to_string(), record_id(5).to_string()];
        let expected = conflict_id(ConflictKind::CodeClaimed, &subjects, 1);
        let conflict = replica.only(ConflictKind::CodeClaimed);
        prop_assert_eq!(conflict.opened.id, expected);
        prop_assert_eq!(conflict.state(), ConflictState::Open);
        prop_assert_eq!(&conflict.opened.parties, &[feed(3), feed(5)]);
        let holder = replica.city.codes.holder(CODE).unwrap();
        prop_assert_eq!(replica.city.winner(conflict), Some(holder));
        let pending = [3, 5].map(|n| replica.city.code_pending(record_id(n), CODE));
        prop_assert_eq!(pending.iter().filter(|pending| **pending).count(), 1);
        if decided {
            // The other one gets it, and nothing more is found.
            let other = if holder == record_id(3) { record_id(5) } else { record_id(3) };
            let decision = Decision::CodeStays { record: other };
            let decided =
                Decided { id: expected, decision, reason: "先行登记".to_owned(), settled_by: None };
            for change in replica.city.decide_conflict(&decided).unwrap() {
                let op = hub.write(change);
                replica.take(&op);
            }
            prop_assert_eq!(replica.city.codes.holder(CODE), Some(other));
            prop_assert_eq!(replica.look(&topic), vec![]);
        }
        // Another process that gets the same ops in another order knows the same.
        let mut elsewhere = Replica::default();
        let [one, other] = feeds;
        let mut reversed = order;
        reversed.reverse();
        for op in deal(&[hub.ops, other, one], &reversed) {
            elsewhere.take(&op);
        }
        prop_assert_eq!(&elsewhere.city.codes, &replica.city.codes);
        prop_assert_eq!(&elsewhere.city.conflicts, &replica.city.conflicts);
        prop_assert_eq!(elsewhere.look(&topic), replica.look(&topic));
    }

    /// I11, I24, F14: core edits, overlays and holds in any interleaving give the same rows, and the core is always
    /// what the district signed.
    #[test]
    fn core_and_overlay_give_the_same_rows_in_every_interleaving(
        steps in prop::collection::vec((0_u8..6, any::<bool>()), 1..12),
        orders in prop::array::uniform2(prop::collection::vec(any::<u8>(), 24)),
    ) {
        let id = record_id(3);
        let (mut hub, mut district) = (Pen::new(HUB), Pen::new(3));
        let mut here = Replica::default();
        here.take(&district.put(id, &record("第0版", None)));
        for (n, (step, sticky)) in steps.iter().enumerate() {
            let (state, title) = (here.state(id), format!("第{}版", n + 1));
            let live = state.status == Status::Live;
            let overlay = Overlay { title: Some(format!("市级{n}")), sticky: *sticky, ..Overlay::default() };
            let hold = |active| Hold {
                active, legal_basis: "法".to_owned(), reason: "因".to_owned(),
            };
            let curation = &here.city.curation;
            let changes = match step {
                0 if live => { let op = district.put(id, &record(&title, None)); here.take(&op); vec![] }
                1 if live => { let op = district.withdraw(id); here.take(&op); vec![] }
                1 => { let op = district.revive(id, &record(&title, None)); here.take(&op); vec![] }
                2 | 3 => curation
                    .put_overlay(id, state.op_hash, &overlay, Visibility::Public)
                    .unwrap(),
                4 => curation.drop_overlay(id).unwrap_or_default(),
                5 => curation.set_hold(id, &hold(!curation.holds.contains_key(&id))).unwrap(),
                _ => vec![],
            };
            for change in changes {
                let op = hub.write(change);
                here.take(&op);
            }
            // No lost update: the city shows the curator's title while it stands on this version or is sticky, else
            // the district's.
            if let (Some(over), Some(core)) = (here.city.curation.overlays.get(&id), here.records.get(&id)) {
                let shown = over.over(core, here.state(id).op_hash);
                let curated = over.overlay.title.clone().unwrap();
                let stands = over.base == Some(here.state(id).op_hash) || over.overlay.sticky;
                prop_assert_eq!(shown.title, if stands { curated } else { core.title.clone() });
            }
        }
        let feeds = [hub.ops, district.ops.clone()];
        let rows = orders.map(|order| {
            let mut replica = Replica::default();
            for op in deal(&feeds, &order) {
                replica.take(&op);
            }
            row(&replica.city, id, &replica.state(id), None)
        });
        prop_assert_eq!(rows[0], rows[1]);
        prop_assert_eq!(rows[0], row(&here.city, id, &here.state(id), None));
        let shown = rows[0].unwrap();
        if shown.status != CityStatus::Held {
            prop_assert!(district.ops.iter().any(|op| op.hash == shown.core));
        }
    }
}

/// A city with one record of district 3.
fn one_record() -> (Pen, Pen, Replica, RecordId) {
    let (hub, mut district, mut replica) = (Pen::new(HUB), Pen::new(3), Replica::default());
    let id = record_id(3);
    replica.take(&district.put(id, &record("公交站点", None)));
    (hub, district, replica, id)
}

fn commit(hub: &mut Pen, replica: &mut Replica, changes: Vec<Change>) {
    for change in changes {
        let op = hub.write(change);
        replica.take(&op);
    }
}

fn put_overlay(hub: &mut Pen, replica: &mut Replica, id: RecordId, title: &str) {
    let overlay = Overlay { title: Some(title.to_owned()), ..Overlay::default() };
    let base = replica.state(id).op_hash;
    let change = replica.city.curation.put_overlay(id, base, &overlay, Visibility::Public);
    commit(hub, replica, change.unwrap());
}

#[test]
fn an_overlay_is_stale_until_it_is_confirmed_again() {
    let (mut hub, mut district, mut replica, id) = one_record();
    let topic = Topic::Record(id);
    put_overlay(&mut hub, &mut replica, id, "全市公交站点");
    assert_eq!(replica.look(&topic), []);
    replica.take(&district.put(id, &record("公交站点信息", None)));
    replica.attend(&mut hub, &topic);
    let first = replica.only(ConflictKind::OverlayStale).clone();
    assert_eq!((first.opened.parties.as_slice(), first.is_open()), (&[feed(3)][..], true));
    // Another edit is no other conflict.
    replica.take(&district.put(id, &record("公交站点信息表", None)));
    replica.attend(&mut hub, &topic);
    replica.only(ConflictKind::OverlayStale);
    put_overlay(&mut hub, &mut replica, id, "全市公交站点");
    replica.attend(&mut hub, &topic);
    let settled = replica.only(ConflictKind::OverlayStale);
    assert!(settled.settled_by_itself() && !settled.is_open());
    assert!(settled.history.last().unwrap().reason.contains("confirmed again"));
    // The next edit makes the next overlay stale, which is a conflict of its own.
    replica.take(&district.put(id, &record("公交站点目录", None)));
    replica.attend(&mut hub, &topic);
    assert_eq!(replica.city.conflicts.iter().filter(|found| found.is_open()).count(), 1);
    assert_eq!(replica.city.conflicts.iter().count(), 2);
}

#[test]
fn a_withdrawal_under_an_overlay_is_told_and_settles_itself_when_the_record_comes_back() {
    let (mut hub, mut district, mut replica, id) = one_record();
    let topic = Topic::Record(id);
    put_overlay(&mut hub, &mut replica, id, "全市公交站点");
    replica.take(&district.withdraw(id));
    replica.attend(&mut hub, &topic);
    assert!(replica.only(ConflictKind::WithdrawnWithOverlay).is_open());
    let shown = row(&replica.city, id, &replica.state(id), None).unwrap();
    assert_eq!((shown.status, shown.overlay), (CityStatus::Withdrawn, Hash::ZERO));
    replica.take(&district.revive(id, &record("公交站点", None)));
    replica.attend(&mut hub, &topic);
    let [withdrawn, stale] = [ConflictKind::WithdrawnWithOverlay, ConflictKind::OverlayStale]
        .map(|kind| replica.only(kind));
    assert!(withdrawn.settled_by_itself() && stale.is_open());
}

#[test]
fn a_hold_is_told_to_the_district_and_never_touches_the_core() {
    let (mut hub, mut district, mut replica, id) = one_record();
    let hold = |active| Hold { active, legal_basis: "法".to_owned(), reason: "因".to_owned() };
    let refusals = [
        (Hold { legal_basis: " ".to_owned(), ..hold(true) }, Refusal::NoLegalBasis),
        (Hold { reason: String::new(), ..hold(true) }, Refusal::NoReason),
        (hold(false), Refusal::NoChange(id.to_string())),
    ];
    for (hold, refusal) in refusals {
        assert_eq!(replica.city.curation.set_hold(id, &hold), Err(refusal));
    }
    let before = replica.state(id);
    let changes = replica.city.curation.set_hold(id, &hold(true)).unwrap();
    commit(&mut hub, &mut replica, changes);
    replica.attend(&mut hub, &Topic::Record(id));
    let found = replica.only(ConflictKind::Held);
    assert!(replica.city.concerns(found, feed(3)) && !replica.city.concerns(found, feed(5)));
    assert_eq!(found.opened.evidence, json!({ "legal_basis": "法", "reason": "因" }));
    let shown = row(&replica.city, id, &replica.state(id), None).unwrap();
    assert_eq!((shown.status, replica.state(id)), (CityStatus::Held, before));
    replica.take(&district.withdraw(id));
    replica.attend(&mut hub, &Topic::Record(id));
    assert!(replica.only(ConflictKind::Held).settled_by_itself());
}

#[test]
fn an_official_code_goes_to_the_next_claimant_when_its_holder_gives_it_up() {
    let (mut hub, mut replica) = (Pen::new(HUB), Replica::default());
    let mut districts = [Pen::new(3), Pen::new(5)];
    let topic = Topic::Code(CODE.to_owned());
    for (n, pen) in [3, 5].into_iter().zip(&mut districts) {
        replica.take(&pen.put(record_id(n), &record("站点", Some(CODE))));
        replica.attend(&mut hub, &topic);
    }
    assert_eq!(replica.city.codes.holder(CODE), Some(record_id(3)));
    replica.take(&districts[0].withdraw(record_id(3)));
    replica.attend(&mut hub, &topic);
    assert_eq!(replica.city.codes.holder(CODE), Some(record_id(5)));
    let conflict = replica.only(ConflictKind::CodeClaimed);
    assert!(conflict.settled_by_itself() && conflict.decision() == Some(&Decision::Confirm));
    // Back again: the same conflict, open again; the code stays where it is now.
    replica.take(&districts[0].revive(record_id(3), &record("站点", Some(CODE))));
    replica.attend(&mut hub, &topic);
    assert_eq!(replica.only(ConflictKind::CodeClaimed).state(), ConflictState::Appealed);
    assert_eq!(replica.city.codes.holder(CODE), Some(record_id(5)));
    for (n, pen) in [3, 5].into_iter().zip(&mut districts) {
        replica.take(&pen.withdraw(record_id(n)));
    }
    replica.attend(&mut hub, &topic);
    assert_eq!(replica.city.codes.holder(CODE), None);
}

#[test]
fn an_invalid_op_is_one_conflict_of_its_record_until_a_valid_one_comes() {
    let (mut hub, _, mut replica, id) = one_record();
    let cause = Cause { feed: feed(3), seq: 2 };
    let rejected = |seq| Rejected {
        version: Version { feed: feed(3), seq, op_hash: Hash::of(&[&[9]]), record: Some(id) },
        reason: "E-TITLE".to_owned(),
        visibility: Visibility::Public,
    };
    let (topic, state) = (Topic::Record(id), replica.state(id));
    for seq in [2, 3] {
        let rejected = rejected(seq);
        let found =
            replica.city.look_at_record(feed(HUB), id, Some(&state), Some(&rejected), cause);
        let changes = replica.city.reconcile(&topic, &found);
        assert_eq!(changes.len(), usize::from(seq == 2), "a retry is no other conflict");
        commit(&mut hub, &mut replica, changes);
    }
    replica.attend(&mut hub, &topic);
    assert!(replica.only(ConflictKind::SchemaInvalid).settled_by_itself());
}

#[test]
fn a_decision_travels_and_is_appealed_only_by_those_it_concerns() {
    let (mut hub, mut replica) = (Pen::new(HUB), Replica::default());
    let mut districts = [Pen::new(3), Pen::new(5), Pen::new(6)];
    for (n, pen) in [3, 5].into_iter().zip(&mut districts) {
        replica.take(&pen.put(record_id(n), &record("站点", Some(CODE))));
    }
    replica.attend(&mut hub, &Topic::Code(CODE.to_owned()));
    let id = replica.only(ConflictKind::CodeClaimed).opened.id;
    let decide = |decision, reason: &str| Decided {
        id,
        decision,
        reason: reason.to_owned(),
        settled_by: None,
    };
    let stays = Decision::CodeStays { record: record_id(3) };
    let table = [
        (decide(stays.clone(), " "), Refusal::NoReason),
        (decide(Decision::Withdraw, "因"), Refusal::Unfit("withdraw (C1)".to_owned())),
        (
            decide(Decision::CodeStays { record: record_id(6) }, "因"),
            Refusal::Unfit(record_id(6).to_string()),
        ),
    ];
    for (decided, refusal) in table {
        assert_eq!(replica.city.decide_conflict(&decided), Err(refusal));
    }
    let changes = replica.city.decide_conflict(&decide(stays, "先行登记")).unwrap();
    commit(&mut hub, &mut replica, changes);
    // A node that mirrors the hub's feed sees the same decision with its reason.
    let mut mirror = Replica::default();
    hub.ops.iter().for_each(|op| mirror.take(op));
    assert_eq!(mirror.city.conflicts, replica.city.conflicts);
    assert_eq!(mirror.only(ConflictKind::CodeClaimed).history.last().unwrap().reason, "先行登记");

    let dispute = |conflict: Option<Hash>, reason: &str| {
        let payload = json!({ "conflict": conflict, "reason": reason });
        let (subject, visibility) = (Vec::new(), Visibility::Shared);
        let payload = serde_json::to_vec(&payload).unwrap();
        Change { kind: OpType::Dispute, subject, base: None, payload, visibility }
    };
    let stranger = districts[2].write(dispute(Some(id), "与我无关"));
    let refusal = replica.city.answer_dispute(&stranger);
    assert_eq!(refusal, Err(Refusal::NoParty(feed(6).to_string())));
    let silent = districts[1].write(dispute(Some(id), ""));
    assert_eq!(replica.city.answer_dispute(&silent), Err(Refusal::NoReason));
    let nothing = districts[1].write(dispute(None, "因"));
    assert!(matches!(replica.city.answer_dispute(&nothing), Err(Refusal::Bad { .. })));
    let objection = districts[1].write(dispute(Some(id), "本区编码在先"));
    let changes = replica.city.answer_dispute(&objection).unwrap();
    commit(&mut hub, &mut replica, changes);
    let letter = Cause { feed: feed(5), seq: objection.seq };
    assert!(replica.city.attended.contains(&letter), "answered once");
    let conflict = replica.only(ConflictKind::CodeClaimed);
    assert_eq!(conflict.state(), ConflictState::Appealed);
    assert_eq!(conflict.history.last().unwrap().by, Some(feed(5)));
    let again = Appeal { id, by: Some(feed(5)), reason: "再说".to_owned(), cause: None };
    assert_eq!(replica.city.appeal(&again), Err(Refusal::NoChange(id.to_string())));
}

#[test]
fn a_reply_closes_its_request_once_and_only_for_the_district_that_was_asked() {
    let (mut hub, mut district, mut replica, id) = one_record();
    let asked = Asked {
        to_feed: feed(3),
        fields: Map::from_iter([("title".to_owned(), json!("公交站点信息"))]),
        withdraw: None,
        reason: "标题不规范".to_owned(),
        due: None,
        cause: None,
    };
    let empty = Asked { fields: Map::new(), ..asked.clone() };
    let nothing = replica.city.curation.ask(id, None, &empty, Visibility::Public);
    assert_eq!(nothing, Err(Refusal::NoChange(id.to_string())));
    let changes = replica.city.curation.ask(id, None, &asked, Visibility::Public).unwrap();
    commit(&mut hub, &mut replica, changes);
    let name = replica.city.curation.requests.keys().next().unwrap().clone();
    let reply = |accepted: bool, reason: Option<&str>| {
        let payload = json!({ "request": name, "accepted": accepted, "reason": reason });
        let payload = serde_json::to_vec(&payload).unwrap();
        let (subject, visibility) = (Vec::new(), Visibility::Shared);
        Change { kind: OpType::ChangeRequestReply, subject, base: None, payload, visibility }
    };
    let stranger = Pen::new(5).write(reply(true, None));
    assert_eq!(replica.city.answer_reply(&stranger), Err(Refusal::NoParty(name.clone())));
    let silent = district.write(reply(false, None));
    assert_eq!(replica.city.answer_reply(&silent), Err(Refusal::NoReason));
    let declined = district.write(reply(false, Some("名称以牌照为准")));
    let changes = replica.city.answer_reply(&declined).unwrap();
    commit(&mut hub, &mut replica, changes);
    let closed = replica.city.curation.requests[&name].closed.clone().unwrap();
    assert_eq!(closed.reply.reason.as_deref(), Some("名称以牌照为准"));
    assert_eq!(closed.cause, Some(Cause { feed: feed(3), seq: declined.seq }));
    let again = district.write(reply(true, None));
    assert_eq!(replica.city.answer_reply(&again), Err(Refusal::NoChange(name)));
}
