//! I24: what a process makes of the feeds depends on the feeds alone.
//!
//! A script of a whole city (edits, withdrawals, revivals, nonsense, revoked keys, records that change hands) is
//! written once. Replicas then get it in any order between feeds, any number of ops at a time, some twice, with the
//! hub's feed ahead or behind. They end with the same roots, which are those of the rules written down plainly in
//! `liandong_tests::simulation::reference`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use ed25519_dalek::SigningKey;
use jiff::civil::date;
use liandong_core::{
    city::{City, KeyRevoke, Transfer},
    directory::KeyGrant,
    fold::Tombstone,
    id::{FeedId, Hash, Head, RecordId},
    op::{Author, Change, Op, OpType, Stamp},
    record::{Open, Provider, Record, Visibility},
};
use liandong_store::{disk::SimDisk, journal::Journal};
use liandong_tests::simulation::{Fold, reference};
use proptest::prelude::*;
use serde_json::json;
use ulid::Ulid;

/// Districts of the city; the hub's feed comes after them.
const FEEDS: u8 = 3;
const HUB: u8 = FEEDS + 1;

/// One thing that somebody does.
#[derive(Debug, Clone)]
enum Act {
    Put { feed: u8, record: u8, title: u8 },
    Withdraw { feed: u8, record: u8 },
    Revive { feed: u8, record: u8 },
    Noise { feed: u8, record: u8 },
    Later { feed: u8, record: u8 },
    Revoke { feed: u8, back: u8 },
    Transfer { from: u8, to: u8, record: Option<u8> },
}

/// A record by its number: the first ones of each feed are shared by all, so that feeds write what is not theirs.
fn record(number: u8) -> RecordId {
    RecordId::new(feed_id(1 + number % FEEDS), Ulid(u128::from(number)))
}

const fn feed_id(number: u8) -> FeedId {
    FeedId::new([number; 16])
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let feed = || 1..=FEEDS;
    let number = || 0_u8..9;
    prop::collection::vec(
        prop_oneof![
            8 => (feed(), number(), any::<u8>())
                .prop_map(|(feed, record, title)| Act::Put { feed, record, title }),
            4 => (feed(), number()).prop_map(|(feed, record)| Act::Withdraw { feed, record }),
            3 => (feed(), number()).prop_map(|(feed, record)| Act::Revive { feed, record }),
            1 => (feed(), number()).prop_map(|(feed, record)| Act::Noise { feed, record }),
            1 => (feed(), number()).prop_map(|(feed, record)| Act::Later { feed, record }),
            1 => (feed(), 0_u8..4).prop_map(|(feed, back)| Act::Revoke { feed, back }),
            2 => (feed(), feed(), prop::option::of(number()))
                .prop_map(|(from, to, record)| Act::Transfer { from, to, record }),
        ],
        0..60,
    )
}

/// The feeds of a script.
#[derive(Debug, Default)]
struct Script {
    ops: BTreeMap<u8, Vec<Op>>,
    keys: BTreeMap<u8, u8>,
    uid: u128,
}

impl Script {
    fn of(acts: &[Act]) -> Self {
        let mut script = Self::default();
        for feed in 1..=FEEDS {
            script.hub(
                OpType::DirFeed,
                &json!({
                    "feed": feed_id(feed),
                    "code": format!("31010{feed}"),
                    "token": Hash::ZERO,
                    "instance": feed_id(0),
                }),
            );
            script.grant(feed, 1);
        }
        for act in acts {
            script.act(act);
        }
        script
    }

    fn head(&self, feed: u8) -> Head {
        self.ops.get(&feed).and_then(|ops| ops.last()).map_or(Head::EMPTY, Op::head)
    }

    fn author(&self, feed: u8) -> Author {
        let mut seed = [feed; 32];
        seed[0] = self.keys.get(&feed).copied().unwrap_or(0);
        Author::new(feed_id(feed), SigningKey::from_bytes(&seed))
    }

    fn write(&mut self, feed: u8, change: Change) {
        self.uid += 1;
        let now_ms = 1_478_000_000_000 + i64::try_from(self.uid).unwrap();
        let stamp = Stamp { now_ms, uid: self.uid.to_be_bytes(), actor: "editor".to_owned() };
        let op = self.author(feed).author(self.head(feed), change, stamp).unwrap();
        self.ops.entry(feed).or_default().push(op);
    }

    fn hub(&mut self, kind: OpType, said: &serde_json::Value) {
        let payload = said.to_string().into_bytes();
        let subject = Vec::new();
        let visibility = Visibility::Shared;
        self.write(HUB, Change { kind, subject, base: None, payload, visibility });
    }

    fn grant(&mut self, feed: u8, from_seq: u64) {
        let public_key = Hash::new(self.author(feed).public_key());
        let grant = KeyGrant { feed: feed_id(feed), public_key, from_seq, cause: None };
        self.hub(OpType::KeyGrant, &json!(grant));
    }

    fn act(&mut self, act: &Act) {
        let about = |kind, number: u8, payload: Vec<u8>, visibility| Change {
            kind,
            subject: record(number).to_bytes().to_vec(),
            base: None,
            payload,
            visibility,
        };
        let content = |title: u8| Record {
            title: format!("第{title}号"),
            provider: Provider { name: "某局".to_owned(), ..Provider::default() },
            open: Open { kind: liandong_core::code::OpenKind::OnRequest, ..Open::default() },
            ..Record::default()
        };
        let public = Visibility::Public;
        match *act {
            Act::Put { feed, record, title } => {
                self.write(
                    feed,
                    about(OpType::RecordPut, record, content(title).to_bytes(), public),
                );
            }
            Act::Revive { feed, record } => {
                self.write(
                    feed,
                    about(OpType::RecordRevive, record, content(0).to_bytes(), public),
                );
            }
            Act::Withdraw { feed, record } => {
                let payload = serde_json::to_vec(&Tombstone::default()).unwrap();
                self.write(feed, about(OpType::RecordTombstone, record, payload, public));
            }
            Act::Noise { feed, record } => {
                self.write(feed, about(OpType::RecordPut, record, b"noise".to_vec(), public));
            }
            Act::Later { feed, record } => {
                let later = OpType::Unknown("record.merge.v9".to_owned());
                self.write(feed, about(later, record, b"later".to_vec(), public));
            }
            Act::Revoke { feed, back } => self.revoke(feed, back),
            Act::Transfer { from, to, record } => self.transfer(from, to, record),
        }
    }

    /// The key that signs now is not believed for the last few ops, and another one follows.
    fn revoke(&mut self, feed: u8, back: u8) {
        let ops = self.ops.get(&feed).map_or(&[][..], Vec::as_slice);
        let Some(at) = ops.len().checked_sub(1 + usize::from(back)) else { return };
        let key = self.author(feed).key_id();
        let last_good = ops[at].head();
        let reason = "密钥可能泄露".to_owned();
        let revoke = KeyRevoke { feed: feed_id(feed), key, last_good, reason };
        self.hub(OpType::KeyRevoke, &json!(revoke));
        *self.keys.entry(feed).or_default() += 1;
        self.grant(feed, self.head(feed).seq + 1);
    }

    fn transfer(&mut self, from: u8, to: u8, number: Option<u8>) {
        if from == to {
            return;
        }
        let transfer = Transfer {
            id: self.uid.to_string(),
            from_feed: feed_id(from),
            at: self.head(from),
            to_feed: feed_id(to),
            accept_seq: self.head(to).seq,
            to_district: format!("31010{to}").parse().unwrap(),
            records: number.map(|number| [record(number)].into()),
            effective: date(2015, 11, 4),
            override_reason: None,
            cause: None,
        };
        self.hub(OpType::TransferCommit, &json!(transfer));
    }
}

/// A process that gets the feeds bit by bit.
struct Replica {
    journals: BTreeMap<u8, Journal>,
    city: City,
    folds: BTreeMap<u8, Fold>,
}

impl Replica {
    fn new() -> Self {
        let disk = Arc::new(SimDisk::default());
        let open = |feed: u8| {
            let dir = PathBuf::from(format!("/{feed}"));
            (feed, Journal::open(Arc::<SimDisk>::clone(&disk), &dir, feed_id(feed)).unwrap())
        };
        Self {
            journals: (1..=HUB).map(open).collect(),
            city: City::default(),
            folds: (1..=FEEDS).map(|feed| (feed, Fold::new(feed_id(feed)))).collect(),
        }
    }

    /// The next ops of one feed arrive, and are sent a second time.
    fn arrive(&mut self, script: &Script, feed: u8, count: usize) {
        let Some(ops) = script.ops.get(&feed) else { return };
        let journal = self.journals.get_mut(&feed).unwrap();
        let from = usize::try_from(journal.head().seq).unwrap();
        let next = &ops[from..(from + count).min(ops.len())];
        let head = journal.append_durably(next).unwrap();
        if !next.is_empty() {
            assert!(journal.append(next).is_err(), "the same ops are not taken twice");
            assert_eq!(journal.written(), head);
        }
        if feed == HUB {
            for op in next {
                self.city.apply(op).unwrap();
            }
        }
        // Whoever folds does so at any time: here for all feeds whenever something moved.
        for (feed, fold) in &mut self.folds {
            fold.advance(&self.journals[feed], &self.city).unwrap();
        }
    }

    fn roots(&mut self) -> Vec<Hash> {
        self.folds.values_mut().map(Fold::root).collect()
    }

    fn check(&self, script: &Script) -> Result<(), TestCaseError> {
        for (feed, fold) in &self.folds {
            let none = Vec::new();
            let ops = script.ops.get(feed).unwrap_or(&none);
            let wanted = reference::fold(ops, &script.ops[&HUB]);
            let found: BTreeMap<RecordId, reference::Left> = fold
                .states()
                .iter()
                .map(|(id, state)| (*id, (state.status, state.payload_hash, state.seq)))
                .collect();
            prop_assert_eq!(found, wanted, "feed {}", feed);
        }
        Ok(())
    }
}

fn arrivals() -> impl Strategy<Value = Vec<(u8, usize)>> {
    prop::collection::vec((1..=HUB, 0_usize..12), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_of_arrival_gives_the_records_of_the_plain_rules(
        acts in acts(),
        one in arrivals(),
        other in arrivals(),
    ) {
        let script = Script::of(&acts);
        let (mut a, mut b) = (Replica::new(), Replica::new());
        for (replica, arrivals) in [(&mut a, one), (&mut b, other)] {
            for (feed, count) in arrivals {
                replica.arrive(&script, feed, count);
            }
            for feed in 1..=HUB {
                replica.arrive(&script, feed, usize::MAX / 2);
            }
            replica.check(&script)?;
            let roots = replica.roots();
            // What is there already changes nothing, however often it is offered.
            replica.arrive(&script, HUB, 5);
            prop_assert_eq!(roots, replica.roots());
        }
        prop_assert_eq!(a.roots(), b.roots());
    }

    #[test]
    fn replicas_with_the_same_part_of_the_feeds_have_the_same_roots(
        acts in acts(),
        parts in prop::collection::vec(0_usize..30, usize::from(HUB)),
        order in any::<bool>(),
    ) {
        let script = Script::of(&acts);
        let (mut a, mut b) = (Replica::new(), Replica::new());
        for (feed, part) in (1..=HUB).zip(&parts) {
            a.arrive(&script, feed, *part);
        }
        let feeds: Vec<u8> = if order { (1..=HUB).rev().collect() } else { (1..=HUB).collect() };
        for feed in feeds {
            for _ in 0..parts[usize::from(feed) - 1] {
                b.arrive(&script, feed, 1);
            }
        }
        prop_assert_eq!(a.roots(), b.roots());
    }
}
