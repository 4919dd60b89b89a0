//! Who may write a record while records change hands: one district at every moment, whatever was said (I1, I14, F15).

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use jiff::civil::date;
use liandong_core::{
    city::{Accept, Cause, City, ConflictKind, Offer, Offered, Refusal, Seal, cause_of},
    code::OpenKind,
    digest::Digest,
    directory::{CertBind, Directory, FeedGrant, KeyGrant, Token},
    fold::{self, Outcome, RecordState, Status, Tombstone},
    id::{DistrictCode, FeedId, Hash, Head, InstanceId, RecordId},
    op::{Author, Change, Op, OpType, Stamp},
    record::{Open, Provider, Record, Visibility},
};
use proptest::prelude::*;
use ulid::Ulid;

const HUB: u8 = 1;
/// 闸北, 静安 and a third district.
const FEEDS: [u8; 3] = [8, 6, 15];

fn feed(n: u8) -> FeedId {
    FeedId::new([n; 16])
}

fn author(n: u8) -> Author {
    Author::new(feed(n), SigningKey::from_bytes(&[n; 32]))
}

fn code(n: u8) -> DistrictCode {
    format!("3101{n:02}").parse().unwrap()
}

fn id(origin: u8, n: u128) -> RecordId {
    RecordId::new(feed(origin), Ulid(n))
}

fn record(title: &str) -> Record {
    Record {
        title: title.to_owned(),
        provider: Provider { name: "某局".to_owned(), ..Provider::default() },
        open: Open { kind: OpenKind::OnRequest, ..Open::default() },
        ..Record::default()
    }
}

fn put(id: RecordId, title: &str) -> Change {
    let record = record(title);
    Change {
        kind: OpType::RecordPut,
        subject: id.to_bytes().to_vec(),
        base: None,
        payload: record.to_bytes(),
        visibility: record.visibility(),
    }
}

fn word<T: serde::Serialize>(kind: OpType, payload: &T) -> Change {
    let payload = serde_json::to_vec(payload).unwrap();
    Change { kind, subject: Vec::new(), base: None, payload, visibility: Visibility::Shared }
}

/// The feeds of a city, and the city that the hub's feed makes.
struct World {
    feeds: BTreeMap<u8, Vec<Op>>,
    city: City,
}

impl World {
    fn new() -> Self {
        let mut world = Self { feeds: BTreeMap::new(), city: City::default() };
        for n in FEEDS {
            let token = Token {
                hash: Hash::of(&[&[n]]),
                code: code(n),
                expires_ms: i64::MAX,
                feed: None,
                reason: None,
            };
            let changes = Directory::default().add_district(&format!("区{n}"), &token).unwrap();
            world.decide(changes);
            let grant = FeedGrant {
                feed: feed(n),
                code: code(n),
                token: token.hash,
                instance: InstanceId::new([n; 16]),
                key: None,
            };
            let public_key = Hash::new(author(n).public_key());
            let key = KeyGrant { feed: feed(n), public_key, from_seq: 1, cause: None };
            let bind = CertBind { feed: feed(n), fingerprint: Hash::ZERO, not_after_ms: 0 };
            let changes = world.city.directory.join(&grant, &key, &bind, 0).unwrap();
            world.decide(changes);
        }
        world
    }

    fn head(&self, n: u8) -> Head {
        self.feeds.get(&n).and_then(|ops| ops.last()).map_or(Head::EMPTY, Op::head)
    }

    fn write(&mut self, n: u8, change: Change) -> Op {
        let head = self.head(n);
        let uid = (u128::from(n) << 64 | u128::from(head.seq)).to_be_bytes();
        let stamp = Stamp { now_ms: 1_700_000_000_000, uid, actor: "a".to_owned() };
        let op = author(n).author(head, change, stamp).unwrap();
        self.feeds.entry(n).or_default().push(op.clone());
        op
    }

    fn decide(&mut self, changes: Vec<Change>) {
        for change in changes {
            let op = self.write(HUB, change);
            self.city.apply(&op).unwrap();
        }
    }

    /// A district's word, and what the hub answers.
    fn say(&mut self, n: u8, change: Change) -> Result<Op, Refusal> {
        let op = self.write(n, change);
        let changes = match op.kind {
            OpType::TransferAccept => self.city.answer_accept(&op).unwrap(),
            _ => self.city.tell_offer(&Offered::of(&op).unwrap())?,
        };
        let cause = Some(Cause { feed: op.feed, seq: op.seq });
        assert!(changes.iter().all(|change| cause_of(&change.payload) == cause));
        self.decide(changes);
        Ok(op)
    }

    fn offer(&mut self, name: &str, from: u8, to: u8, records: &[RecordId]) -> Result<Op, Refusal> {
        let (transfer, effective) = (name.to_owned(), date(2015, 11, 4));
        let records = records.iter().copied().collect();
        let offer = Offer { transfer, to_feed: feed(to), records, effective };
        self.say(from, word(OpType::TransferOffer, &offer))
    }

    fn seal(&mut self, name: &str, from: u8, to: u8) -> Result<Op, Refusal> {
        let (transfer, effective) = (name.to_owned(), date(2015, 11, 4));
        let seal = Seal { transfer, successor_feed: feed(to), effective };
        self.say(from, word(OpType::FeedSeal, &seal))
    }

    fn accept(&mut self, name: &str, to: u8) -> bool {
        let Some(offer) = self.city.authority.offer(name).cloned() else { return false };
        let accept = Accept {
            transfer: name.to_owned(),
            from_feed: offer.from_feed,
            from_head: offer.at,
            records: offer.records,
        };
        let before = self.city.authority.transfers().len();
        self.say(to, word(OpType::TransferAccept, &accept)).unwrap();
        self.city.authority.transfers().len() > before
    }

    /// Folds a district's feed under a city, and returns outcomes and states.
    fn fold(
        &self,
        n: u8,
        city: &City,
    ) -> (Vec<Outcome>, BTreeMap<RecordId, RecordState>, Vec<u64>) {
        let (mut outcomes, mut states, mut letters) = (Vec::new(), BTreeMap::new(), Vec::new());
        let rules = city.rules(feed(n));
        for op in self.feeds.get(&n).into_iter().flatten() {
            let folded = fold::fold(op, &rules, |id| states.get(&id).copied());
            states.extend(folded.change);
            outcomes.push(folded.outcome);
            if folded.letter && matches!(op.kind, OpType::RecordPut | OpType::RecordTombstone) {
                letters.push(op.seq);
            }
        }
        (outcomes, states, letters)
    }

    /// The state that counts, as the store finds it.
    fn state(&self, record: RecordId) -> Option<RecordState> {
        let spans = self.city.authority.spans(record);
        spans.iter().rev().find_map(|span| {
            let n = span.feed.as_bytes()[0];
            self.fold(n, &self.city).1.get(&record).copied()
        })
    }
}

#[test]
fn a_district_is_merged_into_another_with_all_it_has() {
    let mut world = World::new();
    let (old, taken) = (id(8, 1), id(8, 2));
    let _first = world.write(8, put(old, "老数据"));
    let last = world.write(8, put(taken, "又一条"));
    world.seal("T1", 8, 6).unwrap();
    assert!(world.city.authority.sealed(feed(8)));
    assert_eq!(world.city.owner(old), feed(8), "an offer moves nothing");
    assert!(world.accept("T1", 6));
    assert_eq!((world.city.owner(old), world.city.owner(id(8, 77))), (feed(6), feed(6)));
    assert_eq!(world.city.owner(id(6, 1)), feed(6));
    let district = &world.city.directory.districts[&code(8)];
    assert_eq!(district.successor, Some(code(6)));
    assert_eq!(world.city.directory.name_at(&code(8), date(2015, 11, 3)), Some("区8"));
    assert_eq!(world.city.directory.name_at(&code(8), date(2015, 11, 4)), Some("区6"));
    // What counts is what the old owner wrote, until the new one writes.
    assert_eq!(world.state(taken).unwrap().op_hash, last.hash);
    let mended = world.write(6, Change { base: Some(last.hash), ..put(taken, "改") });
    assert_eq!(world.state(taken).unwrap().op_hash, mended.hash);
    // Nothing that the old feed writes after its seal takes effect, not even a new record.
    let late = world.write(8, put(taken, "迟到的修改"));
    let new = world.write(8, put(id(8, 9), "迟到的新建"));
    let (outcomes, _, letters) = world.fold(8, &world.city);
    assert_eq!(outcomes[3..], [Outcome::NotAuthoritative, Outcome::NotAuthoritative]);
    assert_eq!(letters, [late.seq, new.seq], "both are told to the hub");
    assert_eq!(world.state(taken).unwrap().op_hash, mended.hash);
    assert_eq!(world.state(id(8, 9)), None);
}

#[test]
fn a_late_edit_becomes_a_wish_to_the_new_owner_and_a_conflict_and_nothing_of_it_is_lost() {
    let mut world = World::new();
    let taken = id(8, 1);
    let first = world.write(8, put(taken, "停车场"));
    world.seal("T1", 8, 6).unwrap();
    assert!(world.accept("T1", 6));
    let late = world.write(8, Change { base: Some(first.hash), ..put(taken, "停车场泊位") });
    let state = world.state(taken).unwrap();
    let changes = world.city.answer_late(&late, taken, Some(&record("停车场")), Some(&state));
    let cause = Some(Cause { feed: feed(8), seq: late.seq });
    // The last op of the answer names the letter: cut off before it, the letter is answered again.
    let causes: Vec<_> = changes.iter().map(|change| cause_of(&change.payload)).collect();
    assert_eq!(causes, [None, cause]);
    world.decide(changes);
    let (_, request) = world.city.curation.requests.iter().next().unwrap();
    assert_eq!((request.asked.to_feed, request.record), (feed(6), taken));
    assert_eq!(request.asked.fields.len(), 1, "only what was changed: {:?}", request.asked.fields);
    assert_eq!(request.asked.fields["title"], "停车场泊位");
    let conflict = world.city.conflicts_of(None).next().unwrap();
    assert_eq!(conflict.opened.kind, ConflictKind::Ownership);
    assert_eq!(conflict.opened.parties, [feed(8), feed(6)]);
    let sides: Vec<Hash> = conflict.opened.versions.iter().map(|side| side.op_hash).collect();
    assert_eq!(sides, [late.hash, first.hash]);
    // A withdrawal, and a record that was begun too late, are wished for as a whole.
    let reason = Tombstone { reason: "停用".to_owned(), replaced_by: None };
    let payload = serde_json::to_vec(&reason).unwrap();
    let gone = world.write(8, Change { kind: OpType::RecordTombstone, payload, ..put(taken, "") });
    let changes = world.city.answer_late(&gone, taken, None, Some(&state));
    world.decide(changes);
    let new = world.write(8, put(id(8, 9), "新建"));
    let changes = world.city.answer_late(&new, id(8, 9), None, None);
    world.decide(changes);
    let asked: Vec<_> = world.city.curation.requests.values().map(|one| &one.asked).collect();
    assert!(asked.iter().any(|asked| asked.withdraw.as_deref() == Some("停用")));
    let whole = asked.iter().find(|asked| asked.fields.len() > 2).unwrap();
    assert_eq!(Record::default().with_fields(&whole.fields).unwrap(), record("新建"));
    // One that says what is there already asks for nothing; the conflict keeps it.
    let requests = world.city.curation.requests.len();
    let same = world.write(8, put(taken, "停车场"));
    let changes = world.city.answer_late(&same, taken, Some(&record("停车场")), Some(&state));
    world.decide(changes);
    assert_eq!(world.city.curation.requests.len(), requests);
    assert_eq!(world.city.conflicts_of(None).count(), 4);
}

#[test]
fn records_go_there_and_back_and_on_and_their_ids_stay() {
    let mut world = World::new();
    let (one, two) = (id(8, 1), id(8, 2));
    world.write(8, put(one, "甲"));
    world.write(8, put(two, "乙"));
    for (name, from, to) in [("T1", 8, 6), ("T2", 6, 15), ("T3", 15, 8)] {
        world.offer(name, from, to, &[one]).unwrap();
        assert!(world.accept(name, to), "{name}");
        assert_eq!((world.city.owner(one), world.city.owner(two)), (feed(to), feed(8)));
        world.write(to, put(one, &format!("在{to}")));
        let (outcomes, ..) = world.fold(to, &world.city);
        assert_eq!(outcomes.last(), Some(&Outcome::Materialised), "{name}");
        let (outcomes, _, letters) = {
            world.write(from, put(one, "迟到"));
            world.fold(from, &world.city)
        };
        assert_eq!(outcomes.last(), Some(&Outcome::NotAuthoritative), "{name}");
        assert_eq!(letters.len(), 1, "{name}");
    }
    // Home again: all four versions of its history still count where they were written.
    let spans: Vec<FeedId> = world.city.authority.spans(one).iter().map(|span| span.feed).collect();
    assert_eq!(spans, [feed(8), feed(6), feed(15), feed(8)]);
    assert_eq!(world.state(one).unwrap().feed, feed(8));
    let sources: Vec<FeedId> = world.city.authority.sources(feed(8)).into_keys().collect();
    assert_eq!(sources, [feed(6), feed(15)]);
    assert!(world.city.authority.inherits(feed(8), one, feed(6)));
    assert!(
        !world.city.authority.inherits(feed(6), one, feed(8)),
        "it is no longer theirs to read"
    );
    assert!(!world.city.authority.inherits(feed(8), id(6, 5), feed(6)), "nor all that they have");
}

#[test]
fn what_a_district_gave_away_before_it_was_merged_does_not_go_along() {
    let mut world = World::new();
    let (given, kept) = (id(15, 1), id(15, 2));
    world.write(15, put(given, "甲"));
    world.write(15, put(kept, "乙"));
    world.offer("T1", 15, 6, &[given]).unwrap();
    assert!(world.accept("T1", 6));
    world.seal("T2", 15, 8).unwrap();
    assert!(world.accept("T2", 8));
    assert_eq!((world.city.owner(given), world.city.owner(kept)), (feed(6), feed(8)));
    world.write(8, put(given, "不是我的"));
    world.write(8, put(kept, "是我的"));
    let (outcomes, ..) = world.fold(8, &world.city);
    assert_eq!(outcomes[1..], [Outcome::NotAuthoritative, Outcome::Materialised]);
}

#[test]
fn what_does_not_agree_waits_for_the_operator() {
    let mut world = World::new();
    let record = id(8, 1);
    world.write(8, put(record, "甲"));
    assert!(world.offer("T0", 8, 8, &[record]).is_err(), "to itself");
    assert!(world.offer("T0", 8, 99, &[record]).is_err(), "to nobody");
    world.offer("T1", 8, 6, &[record]).unwrap();
    assert!(world.offer("T1", 15, 6, &[id(15, 1)]).is_err(), "under a name that is taken");
    let offer = world.city.authority.offer("T1").unwrap().clone();
    let good = Accept {
        transfer: "T1".to_owned(),
        from_feed: feed(8),
        from_head: offer.at,
        records: offer.records.clone(),
    };
    let elsewhere = Head { seq: offer.at.seq, hash: Hash::ZERO };
    let wrong = [
        (15, good.clone()),
        (6, Accept { transfer: "T9".to_owned(), ..good.clone() }),
        (6, Accept { from_feed: feed(15), ..good.clone() }),
        (6, Accept { from_head: elsewhere, ..good.clone() }),
        (6, Accept { records: None, ..good.clone() }),
        (6, Accept { records: Some(BTreeSet::from([id(8, 2)])), ..good.clone() }),
    ];
    for (n, accept) in wrong {
        world.say(n, word(OpType::TransferAccept, &accept)).unwrap();
        assert_eq!(world.city.owner(record), feed(8), "{accept:?}");
        let problem =
            |a: &liandong_core::city::Accepted| a.accept == accept && a.to_feed == feed(n);
        assert!(world.city.authority.accepts().any(problem), "{accept:?}");
    }
    // The operator may commit it, for a reason, and only once.
    let head = world.head(6);
    assert_eq!(world.city.override_transfer(&offer, head, " "), Err(Refusal::NoReason));
    let changes = world.city.override_transfer(&offer, head, "市政府批复").unwrap();
    world.decide(changes);
    assert_eq!(world.city.owner(record), feed(6));
    assert!(world.city.override_transfer(&offer, head, "再来").is_err());
    assert_eq!(world.city.authority.offers().count(), 0);
    // An offer that was taken back, and one of what is no longer the giver's.
    world.offer("T2", 6, 15, &[record]).unwrap();
    world.offer("T2", 6, 15, &[]).unwrap();
    assert!(!world.accept("T2", 15));
    world.offer("T3", 8, 15, &[record]).unwrap();
    assert!(!world.accept("T3", 15), "the giver does not own it any more");
    assert_eq!(world.city.owner(record), feed(6));
}

fn root(states: &BTreeMap<RecordId, RecordState>) -> Hash {
    let mut digest = Digest::default();
    for (id, state) in states {
        digest.set(*id, state.leaf(*id));
    }
    digest.root()
}

proptest! {
    #[test]
    fn at_every_moment_one_district_owns_a_record_and_only_its_ops_take_effect(
        script in prop::collection::vec((0_u8..6, 0_usize..3, 0_usize..3, 0_u128..3), 1..40),
    ) {
        let mut world = World::new();
        let all: Vec<RecordId> = FEEDS.iter().flat_map(|n| (0..3).map(|k| id(*n, k))).collect();
        let mut open: Vec<(String, u8)> = Vec::new();
        for (place, (what, from, to, n)) in script.into_iter().enumerate() {
            let (from, to) = (FEEDS[from], FEEDS[to]);
            let record = all[(usize::from(from) + usize::try_from(n).unwrap()) % all.len()];
            let name = format!("T{place}");
            match what {
                0 => open.extend(world.offer(&name, from, to, &[record]).ok().map(|_| (name, to))),
                1 if place % 7 == 0 => {
                    open.extend(world.seal(&name, from, to).ok().map(|_| (name, to)));
                }
                2 | 3 => {
                    if let Some((name, to)) = open.pop() {
                        world.accept(&name, to);
                    }
                }
                _ => {
                    world.write(from, put(record, &format!("第{place}")));
                }
            }
        }
        // At every prefix of the hub's feed.
        let hub = world.feeds[&HUB].clone();
        let mut city = City::default();
        for op in &hub {
            city.apply(op).unwrap();
            for record in &all {
                let spans = city.authority.spans(*record);
                prop_assert_eq!(spans[0].feed, record.origin(), "an id never changes");
                let open = spans.iter().filter(|span| span.until == u64::MAX).count();
                prop_assert_eq!(open, 1, "one owner of {} at {}", record, city.head);
                prop_assert_eq!(city.owner(*record), spans[spans.len() - 1].feed);
            }
        }
        // Every effect traces to a span of its feed, and nothing after a span of a whole feed has any.
        for n in FEEDS {
            let (outcomes, states, _) = world.fold(n, &city);
            for (op, outcome) in world.feeds.get(&n).into_iter().flatten().zip(&outcomes) {
                let Ok(record) = RecordId::try_from(op.subject.as_ref()) else { continue };
                let spans = city.authority.spans(record);
                let mine = spans.iter().any(|span| {
                    span.feed == feed(n) && op.seq > span.after && op.seq <= span.until
                });
                prop_assert_eq!(*outcome == Outcome::Materialised, mine, "op {} of {}", op.seq, n);
            }
            prop_assert!(states.values().all(|state| state.status == Status::Live));
        }
    }

    #[test]
    fn late_edits_that_come_in_any_order_leave_the_same_roots(
        before in 0_usize..4,
        late in 0_usize..4,
        order in prop::collection::vec(0_usize..3, 60),
    ) {
        // The giver writes on after the commit that the operator made without it.
        let mut world = World::new();
        let record = id(8, 1);
        for n in 0..=before {
            world.write(8, put(record, &format!("第{n}版")));
        }
        let at = world.head(8);
        let offer = Offered {
            transfer: "T1".to_owned(),
            from_feed: feed(8),
            at,
            to_feed: feed(6),
            records: None,
            effective: date(2015, 11, 4),
            cause: Cause { feed: feed(8), seq: at.seq },
        };
        let changes = world.city.override_transfer(&offer, Head::EMPTY, "节点停用").unwrap();
        world.decide(changes);
        for n in 0..late {
            world.write(8, put(record, &format!("迟到第{n}")));
        }
        world.write(6, put(record, "静安的一版"));
        let reference = [8, 6].map(|n| root(&world.fold(n, &world.city).1));
        // A replica hears the hub's feed and the two others in any order.
        let mut replica = Replica::default();
        let feeds = [HUB, 8, 6];
        for pick in order.into_iter().chain((0..3).cycle().take(60)) {
            replica.hear(feeds[pick], &world);
        }
        prop_assert_eq!(replica.city.head, world.head(HUB), "it has heard everything");
        let found = [8, 6].map(|n| root(&replica.states.remove(&n).unwrap_or_default()));
        prop_assert_eq!(found, reference);
    }
}

/// What folds as it hears, and folds a feed again when rules change that bear on what it folded.
#[derive(Default)]
struct Replica {
    heard: BTreeMap<u8, usize>,
    city: City,
    states: BTreeMap<u8, BTreeMap<RecordId, RecordState>>,
}

impl Replica {
    fn hear(&mut self, n: u8, world: &World) {
        let heard = self.heard.entry(n).or_default();
        let Some(op) = world.feeds.get(&n).and_then(|ops| ops.get(*heard)) else { return };
        *heard += 1;
        if n != HUB {
            return fold_into(self.states.entry(n).or_default(), op, &self.city);
        }
        let before = [8, 6].map(|n| self.city.rules(feed(n)));
        self.city.apply(op).unwrap();
        for (n, before) in [8, 6].into_iter().zip(before) {
            let heard = self.heard.get(&n).copied().unwrap_or(0);
            let from = self.city.rules(feed(n)).differs_from(&before, feed(n));
            if from.is_some_and(|from| from <= heard as u64) {
                let mut again = BTreeMap::new();
                for op in &world.feeds[&n][..heard] {
                    fold_into(&mut again, op, &self.city);
                }
                self.states.insert(n, again);
            }
        }
    }
}

fn fold_into(states: &mut BTreeMap<RecordId, RecordState>, op: &Op, city: &City) {
    let folded = fold::fold(op, &city.rules(op.feed), |id| states.get(&id).copied());
    states.extend(folded.change);
}
