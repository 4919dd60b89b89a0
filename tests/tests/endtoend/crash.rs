//! Processes that die, and hubs that are away.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use liandong_core::{
    fold::Status,
    id::{Hash, RecordId},
};
use liandong_node::{command::Shown, edit::Edited};
use liandong_server::admin::AdminError;
use liandong_tests::{City, Member, rows, wait_until, wait_until_within};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::{RwLock, watch};

use crate::{PROGRAM, setting, shows, titles};

/// What an editor knows of one record.
#[derive(Debug, Default)]
struct Known {
    /// Hash of the last op that was acknowledged.
    acked: Option<Hash>,
    status: Option<Status>,
    /// Edits since whose answer was lost: nobody knows whether they were made.
    unknown: usize,
}

/// What an editor did.
#[derive(Debug, Default)]
struct Log {
    records: BTreeMap<RecordId, Known>,
    /// Position and hash of every acknowledged op.
    acked: Vec<(u64, Hash)>,
    lost: usize,
}

impl Log {
    fn note(
        &mut self,
        id: Option<RecordId>,
        status: Status,
        answer: Result<Edited, AdminError>,
    ) -> bool {
        match answer {
            Ok(Edited { id, seq: Some(seq), op_hash: Some(hash), .. }) => {
                let known = Known { acked: Some(hash), status: Some(status), unknown: 0 };
                self.records.insert(id, known);
                self.acked.push((seq, hash));
                true
            }
            Ok(unchanged) => panic!("an edit without effect: {unchanged:?}"),
            Err(error) => {
                let gone = ["not_running", "connection_lost", "internal", "store"];
                assert!(gone.contains(&error.code.as_str()), "{error:?}");
                self.lost += usize::from(!error.is_not_running());
                if let Some(known) = id.and_then(|id| self.records.get_mut(&id)) {
                    known.unknown += usize::from(!error.is_not_running());
                }
                false
            }
        }
    }
}

/// Edits at a node until told to stop: new records, changes, withdrawals, restorations.
async fn edit(
    node: Arc<RwLock<Member>>,
    seed: u64,
    made: Arc<watch::Sender<usize>>,
    stop: watch::Receiver<bool>,
) -> Log {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut log = Log::default();
    let mut number = 0;
    while !*stop.borrow() {
        let settled: Vec<(RecordId, Status)> = log
            .records
            .iter()
            .filter(|(_, known)| known.unknown == 0)
            .filter_map(|(id, known)| Some((*id, known.status?)))
            .collect();
        let chosen = (!settled.is_empty() && rng.random_bool(0.5))
            .then(|| settled[rng.random_range(0..settled.len())]);
        number += 1;
        // The node is only locked away from us while it is being killed and started.
        let node = node.read().await;
        let acknowledged = match chosen {
            Some((id, Status::Withdrawn)) => {
                log.note(Some(id), Status::Live, node.restore(id).await)
            }
            Some((id, Status::Live)) if rng.random_bool(0.3) => {
                log.note(Some(id), Status::Withdrawn, node.withdraw(id, "下线").await)
            }
            Some((id, Status::Live)) => {
                let answer = node.put(Some(id), &rows::content(number)).await;
                log.note(Some(id), Status::Live, answer)
            }
            None => log.note(None, Status::Live, node.put(None, &rows::content(number)).await),
        };
        drop(node);
        if acknowledged {
            made.send_modify(|made| *made += 1);
        } else {
            tokio::task::yield_now().await;
        }
    }
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_edit_is_lost_when_processes_are_killed() {
    let rounds = setting("LIANDONG_KILL_ROUNDS", 6);
    let seed = setting("LIANDONG_SEED", rand::rng().random_range(0..1_000_000));
    println!("LIANDONG_SEED={seed} LIANDONG_KILL_ROUNDS={rounds}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut city = City::start(PROGRAM).await;
    city.let_all_pass().await;
    let mut nodes = Vec::new();
    for (code, name) in [("310115", "浦东新区"), ("310104", "徐汇区")] {
        nodes.push(Arc::new(RwLock::new(city.join(code, name).await)));
    }
    let made = Arc::new(watch::Sender::new(0));
    let (stop, stopped) = watch::channel(false);
    let editors: Vec<_> = nodes
        .iter()
        .zip(seed..)
        .map(|(node, seed)| {
            tokio::spawn(edit(Arc::clone(node), seed, Arc::clone(&made), stopped.clone()))
        })
        .collect();
    let mut kills = BTreeMap::<&str, usize>::new();
    for _ in 0..rounds {
        // So many more edits, and then the middle of whatever goes on at a moment that is drawn.
        let enough = *made.borrow() + rng.random_range(1..40);
        wait_until("edits are made", async || {
            let made = *made.borrow();
            (made >= enough).then_some(()).ok_or(format!("{made} of {enough} edits"))
        })
        .await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..40))).await;
        let victims: &[usize] = match rng.random_range(0..5) {
            0 | 1 => &[0],
            2 => &[1],
            3 => &[2],
            _ => &[0, 1, 2],
        };
        for victim in victims {
            // Pages and commands of a node must not wait for its lock: it is killed while edits are under way.
            match victim {
                0 => city.hub.kill(),
                which => kill_under_way(&nodes[which - 1]).await,
            }
            *kills.entry(["hub", "first node", "second node"][*victim]).or_default() += 1;
        }
        for victim in victims {
            match victim {
                0 => city.hub.start().await,
                which => {
                    let mut node = nodes[which - 1].write().await;
                    node.kill();
                    node.start().await;
                }
            }
        }
    }
    stop.send_replace(true);
    let (mut acknowledged, mut present, mut lost) = (0, 0, 0);
    for (editor, node) in editors.into_iter().zip(&nodes) {
        let log = editor.await.unwrap();
        let node = node.read().await;
        city.level(&node).await;
        acknowledged += log.acked.len();
        lost += log.lost;
        present += check(&city, &node, &log).await;
    }
    println!(
        "rounds {rounds}, kills {kills:?}, acknowledged {acknowledged}, present {present}, answers lost {lost}"
    );
    assert_eq!(acknowledged, present);
}

/// Kills the node's process while its editor goes on using it.
async fn kill_under_way(node: &RwLock<Member>) {
    let pid = node.read().await.pid().and_then(|pid| i32::try_from(pid).ok());
    let pid = rustix::process::Pid::from_raw(pid.unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Counts the acknowledged ops that the node's feed still holds, and checks every record at node and hub.
async fn check(city: &City, node: &Member, log: &Log) -> usize {
    let shown: BTreeMap<RecordId, Shown> =
        node.list().await.into_iter().map(|shown| (shown.id, shown)).collect();
    for (id, known) in &log.records {
        let shown = shown.get(id).unwrap_or_else(|| panic!("{id} is gone: {known:?}"));
        let (status, document) = city.hub.record(*id).await;
        match shown.status {
            Status::Live => {
                assert_eq!(status, 200, "{id}");
                assert_eq!(document["op_hash"], shown.op_hash.to_string(), "{id}");
            }
            Status::Withdrawn => assert_eq!(status, 410, "{id}"),
        }
        if known.unknown == 0 {
            assert_eq!(Some(shown.op_hash), known.acked, "{id}");
            assert_eq!(Some(shown.status), known.status, "{id}");
        }
    }
    let ops = feed(node).await;
    log.acked.iter().filter(|(seq, hash)| ops.get(seq) == Some(hash)).count()
}

/// Position and hash of every op in the node's journal, read beside the running process from a copy of its files.
async fn feed(node: &Member) -> BTreeMap<u64, Hash> {
    let copy = tempfile::tempdir().unwrap();
    crate::copy_dir(&node.dir().join("data/journal"), &copy.path().join("journal"));
    let feed = node.status().await.feed;
    let options = liandong_store::Options::new(copy.path().to_owned());
    let store = liandong_store::Store::open(options).unwrap();
    let mut ops = BTreeMap::new();
    while (ops.len() as u64) < feed.seq {
        let page = store.ops(feed.id, ops.len() as u64, 1_000, 1 << 20).unwrap();
        assert!(!page.is_empty(), "the journal ends before its head");
        ops.extend(page.iter().map(|op| (op.seq, op.hash)));
    }
    ops
}

#[tokio::test]
async fn a_district_works_on_without_the_hub_and_the_hub_catches_up_by_itself() {
    let edits = setting("LIANDONG_OFFLINE_EDITS", 200);
    let mut city = City::start(PROGRAM).await;
    city.let_all_pass().await;
    let node = city.join("310115", "浦东新区").await;
    let first = node.put(None, &rows::content(0)).await.unwrap().id;
    city.level(&node).await;
    city.hub.stop().await;
    let told = shows(&node, "offline").await;
    assert!(told.contains('/'), "told in both languages: {told}");

    let mut ids = vec![first];
    for number in 1..=usize::try_from(edits).unwrap() {
        match number % 4 {
            0 => node.withdraw(ids.remove(0), "下线").await.map(|_| ()).unwrap(),
            1 => node.put(Some(ids[0]), &rows::content(number)).await.map(|_| ()).unwrap(),
            _ => ids.push(node.put(None, &rows::content(number)).await.unwrap().id),
        }
    }
    // The node serves its readers meanwhile.
    wait_until("the node finds its last record", async || {
        let last = rows::Row::new(usize::try_from(edits).unwrap() - 1).title;
        let answer = node.search(&last).await;
        titles(&answer).contains(&last.as_str()).then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
    assert_eq!(node.get("/").await.0, 200);
    let shown = node.list().await;
    assert!(
        shown.iter().any(|record| record.at_hub == "pending"),
        "what the hub has not got is told"
    );

    city.hub.start().await;
    wait_until_within(Duration::from_mins(2), "the hub has caught up", async || {
        let (local, there) = (node.status().await.feed.seq, city.district("310115").await.seq);
        (local == there).then_some(()).ok_or(format!("node {local}, hub {there}"))
    })
    .await;
    city.level(&node).await;
    assert_eq!(node.status().await.feed.seq, edits + 1);
    assert!(node.list().await.iter().all(|record| record.at_hub == "accepted"));
}
