use ed25519_dalek::SigningKey;
use liandong_core::{
    city::HubAnchor,
    id::Hash,
    op::{Author, Change, OpType, Stamp},
    record::Visibility,
};
use liandong_store::Options;

use super::*;

const HUB: FeedId = FeedId::new([1; 16]);
const NODES: [FeedId; 3] = [FeedId::new([2; 16]), FeedId::new([3; 16]), FeedId::new([4; 16])];

fn author() -> Author {
    Author::new(HUB, SigningKey::from_bytes(&[1; 32]))
}

fn keys() -> HubKeys {
    let first_key = Hash::new(author().public_key());
    HubKeys::new(HUB, HubAnchor { first_key, root: None }).unwrap()
}

/// Ops of the hub after a head; `mark` tells two histories apart.
fn ops(after: Head, count: u8, mark: u8) -> Vec<Op> {
    let mut head = after;
    let op = |number: u8| {
        let change = Change {
            kind: OpType::Unknown("noted.v1".to_owned()),
            subject: vec![number],
            base: None,
            payload: vec![mark; 20],
            visibility: Visibility::Restricted,
        };
        let stamp = Stamp { now_ms: 0, uid: [number; 16], actor: "a".to_owned() };
        let op = author().author(head, change, stamp).unwrap();
        head = op.head();
        op
    };
    (0..count).map(op).collect()
}

fn signed(ops: &[Op]) -> Vec<SignedOp> {
    ops.iter().map(|op| op.signed.clone()).collect()
}

/// The ops as a node has them that may not see some.
fn withheld(ops: &[Op], hidden: &[usize]) -> Vec<SignedOp> {
    let show = |(at, op): (usize, SignedOp)| if hidden.contains(&at) { op.withhold() } else { op };
    signed(ops).into_iter().enumerate().map(show).collect()
}

fn head(ops: &[Op]) -> Head {
    ops.last().map_or(Head::EMPTY, Op::head)
}

struct Hub {
    dir: tempfile::TempDir,
    store: Store,
    recovery: Recovery,
}

impl Hub {
    /// A hub whose journal holds these ops; it recovers when a reason is given.
    fn new(held: &[Op], reason: Option<Reason>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options {
            hub_feed: Some(HUB),
            cache_bytes: 1 << 20,
            ..Options::new(dir.path().join(DATA_DIR))
        });
        let store = store.unwrap();
        store.open_feed(HUB).unwrap();
        if !held.is_empty() {
            store.append(HUB, Head::EMPTY, held.to_vec()).blocking_recv().unwrap().unwrap();
        }
        if let Some(reason) = reason {
            prescribe(dir.path(), reason, head(held), 5).unwrap();
        }
        let recovery = Recovery::open(dir.path(), HUB).unwrap();
        Self { dir, store, recovery }
    }

    fn wanted(&self, from: FeedId, mirror: Head) -> Option<Head> {
        self.recovery.wanted(&self.store, from, mirror).unwrap()
    }

    /// A node returns ops after a head, in batches of two.
    fn take(&self, from: FeedId, after: Head, ops: &[SignedOp]) -> Result<Head, TakingError> {
        let mut taking = self.recovery.begin(&self.store, from, after, keys(), 9)?;
        for batch in ops.chunks(2) {
            taking.take(batch.to_vec())?;
        }
        Ok(taking.finish())
    }

    /// What came back, whole.
    fn back(&self) -> Vec<Op> {
        let state = self.recovery.state.lock();
        let Some(under) = &state.under else { return Vec::new() };
        let ops = under.tail.read(under.notes.base.seq, usize::MAX, usize::MAX).unwrap();
        ops.into_iter().map(|op| self.recovery.payload(&op).unwrap_or(op)).collect()
    }
}

#[test]
fn the_longest_mirror_comes_back_whatever_the_order_and_survives_a_restart() {
    let all = ops(Head::EMPTY, 7, 1);
    for held in [0, 3] {
        let reason = if held == 0 { Reason::Wiped } else { Reason::Restored };
        for order in [[2, 5, 7], [7, 5, 2], [5, 7, 2]] {
            let mut hub = Hub::new(&all[..held], Some(reason));
            for (from, length) in NODES.into_iter().zip(order) {
                let mirror = head(&all[..length]);
                if let Some(after) = hub.wanted(from, mirror) {
                    let at = usize::try_from(after.seq).unwrap();
                    let taken = hub.take(from, after, &signed(&all[at..length])).unwrap();
                    assert_eq!(taken, mirror);
                }
                assert_eq!(hub.wanted(from, mirror), None, "it is not asked twice");
                // The process may die at any moment.
                hub.recovery = Recovery::open(hub.dir.path(), HUB).unwrap();
                assert!(hub.recovery.is_on());
            }
            assert_eq!(hub.back(), all[held..], "{held} held, {order:?}");
        }
    }
}

#[test]
fn content_that_one_node_may_not_see_comes_from_another_and_what_nobody_has_is_told() {
    let all = ops(Head::EMPTY, 6, 1);
    let hub = Hub::new(&[], Some(Reason::Wiped));
    let mirror = head(&all);
    assert_eq!(hub.wanted(NODES[0], mirror), Some(Head::EMPTY));
    hub.take(NODES[0], Head::EMPTY, &withheld(&all, &[1, 3, 5])).unwrap();
    // The second has the same ops and may hold what the first may not see: from the first gap on it is asked.
    assert_eq!(hub.wanted(NODES[1], mirror), Some(all[0].head()));
    hub.take(NODES[1], all[0].head(), &withheld(&all[1..], &[2, 4])).unwrap();
    assert_eq!(hub.wanted(NODES[1], mirror), None, "it has nothing more");
    assert_eq!(hub.wanted(NODES[2], mirror), Some(all[2].head()));
    hub.take(NODES[2], all[2].head(), &withheld(&all[3..], &[0])).unwrap();
    let back = hub.back();
    assert_eq!(
        back.iter().map(|op| op.hash).collect::<Vec<_>>(),
        all.iter().map(|op| op.hash).collect::<Vec<_>>()
    );
    let missing: Vec<u64> = back.iter().filter(|op| op.signed.withheld).map(|op| op.seq).collect();
    let state = hub.recovery.state.lock();
    let told: Vec<u64> = state.under.iter().flat_map(|under| under.withheld.clone()).collect();
    assert_eq!((missing, told), (vec![4], vec![4]));
}

#[test]
fn mirrors_that_diverge_are_kept_apart_until_a_person_chooses() {
    let common = ops(Head::EMPTY, 2, 1);
    let (left, right) = (ops(head(&common), 2, 2), ops(head(&common), 3, 3));
    let [left, right] = [left, right].map(|own| [common.clone(), own].concat());
    let hub = Hub::new(&[], Some(Reason::Wiped));
    hub.take(NODES[0], Head::EMPTY, &signed(&left)).unwrap();
    // The longer one is not taken for the better one.
    let after = hub.wanted(NODES[1], head(&right)).unwrap();
    let refused = hub.take(NODES[1], after, &signed(&right[4..]));
    assert!(matches!(refused, Err(TakingError::Op(5, _))), "{refused:?}");
    hub.take(NODES[1], Head::EMPTY, &signed(&right)).unwrap();
    assert_eq!(hub.back(), left);
    assert_eq!(hub.wanted(NODES[1], head(&right)), None);
    for recovery in [&hub.recovery, &Recovery::open(hub.dir.path(), HUB).unwrap()] {
        let state = recovery.state.lock();
        assert_eq!(state.forks, [(NODES[1], (head(&common), head(&right)))].into());
    }
    assert!(!hub.recovery.ready(&hub.store, i64::MAX).unwrap(), "nobody ends it but a person");
    hub.recovery.take_fork(NODES[1]).unwrap();
    assert_eq!(hub.back(), right);
    assert!(hub.recovery.state.lock().forks.is_empty());
}

#[test]
fn ops_that_the_hub_did_not_sign_are_refused_and_begin_no_recovery() {
    let held = ops(Head::EMPTY, 3, 1);
    let stranger = Author::new(HUB, SigningKey::from_bytes(&[9; 32]));
    let change = Change {
        kind: OpType::Policy,
        subject: Vec::new(),
        base: None,
        payload: b"{}".to_vec(),
        visibility: Visibility::Shared,
    };
    let stamp = Stamp { now_ms: 0, uid: [9; 16], actor: "x".to_owned() };
    let forged = stranger.author(head(&held), change, stamp).unwrap();
    let hub = Hub::new(&held, None);
    assert_eq!(hub.wanted(NODES[0], forged.head()), Some(head(&held)), "a claim alone is none");
    let refused = hub.take(NODES[0], head(&held), &[forged.signed]);
    assert!(matches!(refused, Err(TakingError::Op(4, _))), "{refused:?}");
    assert!(!hub.recovery.is_on());
    let nowhere = hub.take(NODES[0], Head { seq: 2, ..head(&held) }, &[]);
    assert!(matches!(nowhere, Err(TakingError::Elsewhere)), "{nowhere:?}");
    // What it did sign proves that it lost something.
    let more = ops(head(&held), 2, 1);
    hub.take(NODES[0], head(&held), &signed(&more)).unwrap();
    assert!(hub.recovery.is_on());
    assert_eq!(hub.back(), more);
}

#[test]
fn a_hub_that_was_started_decides_nothing_by_itself_before_it_has_heard_a_node() {
    let held = ops(Head::EMPTY, 3, 1);
    let hub = Hub::new(&held, None);
    let mut city = City::default();
    let bind = liandong_core::directory::FeedGrant {
        feed: NODES[0],
        code: "310115".parse().unwrap(),
        token: Hash::ZERO,
        instance: liandong_core::id::InstanceId::new([1; 16]),
        key: None,
    };
    let change = Change {
        kind: OpType::DirFeed,
        subject: Vec::new(),
        base: None,
        payload: serde_json::to_vec(&bind).unwrap(),
        visibility: Visibility::Shared,
    };
    let stamp = Stamp { now_ms: 0, uid: [7; 16], actor: "a".to_owned() };
    city.apply(&author().author(head(&held), change, stamp).unwrap()).unwrap();
    let mut time = tokio::runtime::Builder::new_current_thread();
    time.enable_time().start_paused(true);
    time.build().unwrap().block_on(async {
        hub.recovery.settled(&City::default()).await;
        let mut settled = std::pin::pin!(hub.recovery.settled(&city));
        assert!(futures::poll!(&mut settled).is_pending());
        // One that mirrors nothing proves nothing.
        hub.recovery.spoke(NODES[0], Head::EMPTY, Head::EMPTY, 5).unwrap();
        assert!(futures::poll!(&mut settled).is_pending());
        hub.recovery.spoke(NODES[0], Head::EMPTY, head(&held), 5).unwrap();
        settled.await;
    });
}
