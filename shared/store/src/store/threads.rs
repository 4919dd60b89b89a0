//! Writer, projector and indexer.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    thread::JoinHandle,
};

use liandong_core::{
    city::City,
    id::{FeedId, Head},
    limit,
    op::OpType,
};

use super::{Job, Shared, fold_city, replace};
use crate::{
    error::StoreError,
    projector::{Journals as _, Projection},
};

/// Ops that wait for the same sync, beyond which the writer syncs first.
const GROUP_OPS_MAX: usize = 2_048;
/// Folded ops between two looks at the size of the view.
const BLOAT_CHECK_OPS: u64 = 20_000;

pub(super) fn start(
    shared: &Arc<Shared>,
    queue: Receiver<Job>,
) -> Result<Vec<JoinHandle<()>>, StoreError> {
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(run).map_err(StoreError::io("thread"))
    };
    let (writer, projector, indexer) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    Ok(vec![
        spawn("journal-writer", Box::new(move || write(&writer, &queue)))?,
        spawn("projector", Box::new(move || project(&projector)))?,
        spawn("indexer", Box::new(move || super::indexer::run(&indexer)))?,
    ])
}

/// A journal that cannot be written or synced cannot be trusted: what the kernel dropped after a failed sync is
/// unknown,
/// so the process ends before it can acknowledge anything more.
pub(super) fn die(error: &StoreError) -> ! {
    tracing::error!(%error, "the journal cannot be made durable; the process ends");
    std::process::abort()
}

fn write(shared: &Shared, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        let mut ops = group[0].ops.len();
        while ops < GROUP_OPS_MAX
            && let Ok(job) = queue.try_recv()
        {
            ops += job.ops.len();
            group.push(job);
        }
        let (erase, group) = group.into_iter().partition(|job| !job.erase.is_empty());
        write_group(shared, group);
        for job in erase {
            super::erase::erase(shared, job);
        }
    }
}

/// Writes all jobs of a group, syncs each journal once, then answers.
fn write_group(shared: &Shared, group: Vec<Job>) {
    let mut written = Vec::new();
    for job in group {
        match write_job(shared, &job) {
            Ok(head) => written.push((job, head)),
            Err(error @ StoreError::Io { .. }) => die(&error),
            Err(error) => {
                let _gone = job.done.send(Err(error));
            }
        }
    }
    let feeds: BTreeSet<FeedId> = written.iter().map(|(job, _)| job.feed).collect();
    for feed in &feeds {
        let Some(journal) = shared.journals.read().get(feed).map(Arc::clone) else { continue };
        let to_sync = journal.read().to_sync();
        let Some((file, head)) = to_sync else { continue };
        if let Err(error) = file.sync() {
            die(&StoreError::Io { path: shared.journal_dir(*feed), source: error });
        }
        journal.write().durable_up_to(head);
        shared.publish(*feed, |progress| progress.head = head);
    }
    for (job, head) in written {
        let _gone = job.done.send(Ok(head));
    }
    shared.to_project.set();
}

fn write_job(shared: &Shared, job: &Job) -> Result<Head, StoreError> {
    let journal = shared.journals.read().get(&job.feed).map(Arc::clone);
    let moved = |head| StoreError::Moved { feed: job.feed, head };
    let journal = journal.ok_or_else(|| moved(Head::EMPTY))?;
    let mut journal = journal.write();
    if journal.written() != job.after {
        return Err(moved(journal.written()));
    }
    journal.append(&super::erase::without_erased(shared, &job.ops))?;
    Ok(journal.written())
}

fn project(shared: &Shared) {
    let mut since_check = 0;
    if let Err(error) = shared.fill_city_log() {
        tracing::error!(%error, "the city's log cannot be filled from the view, which is built again");
        shared.rebuild.store(true, Ordering::Release);
    }
    loop {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let replacement = shared.replacement.lock().take();
        if let Some(replacement) = replacement {
            replace::replace(shared, replacement);
        }
        let moved = match project_once(shared) {
            Ok(moved) => moved,
            Err(error) => {
                tracing::error!(%error, "the view cannot go on and is built again");
                shared.rebuild.store(true, Ordering::Release);
                0
            }
        };
        since_check += moved;
        if since_check >= BLOAT_CHECK_OPS {
            since_check = 0;
            if shared.projection.lock().bloated() {
                tracing::info!("the view has outgrown its content and is built again");
                shared.rebuild.store(true, Ordering::Release);
            }
        }
        let rebuilt = shared.rebuild.swap(false, Ordering::AcqRel).then(|| rebuild(shared));
        // After a rebuild that failed, the next op or the next wish is the time to try again.
        if rebuilt == Some(false) || (rebuilt.is_none() && moved == 0) {
            shared.to_project.wait();
        }
    }
}

/// One round over all feeds, a few ops each, so that a feed that catches up does not hold the others back. Returns the
/// number of ops folded.
fn project_once(shared: &Shared) -> Result<u64, StoreError> {
    let mut moved = project_city(shared)?;
    for feed in shared.feeds() {
        if shared.options.hub_feed == Some(feed) {
            continue;
        }
        let (folded, changed) = {
            let mut projection = shared.projection.lock();
            if projection.outdated(feed, shared)? {
                tracing::info!(%feed, "the hub changed what holds for a feed; it is folded again");
                shared.rebuild.store(true, Ordering::Release);
                continue;
            }
            let before = projection.mark(feed).head.seq;
            let Some(stepped) = projection.step(feed, shared)? else {
                drop(projection);
                hide_behind_gate(shared, feed)?;
                continue;
            };
            if let Some(gate) = stepped.gate {
                tracing::warn!(%feed, kind = ?gate.kind, count = gate.count, "a mass change waits for a person");
                shared.found.write().insert(feed, gate);
            }
            (projection.mark(feed).head.seq - before, stepped.changed)
        };
        moved += folded;
        publish_applied(shared, feed);
        shared.note(changed)?;
        shared.note_shown_again(feed)?;
    }
    if moved > 0 {
        shared.to_index.set();
    }
    Ok(moved)
}

/// Folds what is new in the hub's own feed, before any feed that it says something of.
fn project_city(shared: &Shared) -> Result<u64, StoreError> {
    let Some(hub) = shared.options.hub_feed else { return Ok(0) };
    let before = Arc::clone(&shared.city.borrow());
    let mut city = City::clone(&before);
    let folded = shared.with(hub, |journal| {
        if journal.head().seq == before.head.seq {
            Ok(false)
        } else {
            fold_city(journal, &mut city)
        }
    });
    if !folded.transpose()?.unwrap_or(false) {
        return Ok(0);
    }
    let head = city.head;
    shared.found.write().retain(|feed, gate| {
        city.gates.held(*feed).is_none() && city.gates.passed(*feed) < gate.to
    });
    shared.city.send_replace(Arc::new(city));
    shared.publish(hub, |progress| progress.applied = head);
    shared.note_city(hub, &before)?;
    Ok(head.seq - before.head.seq)
}

/// What is held back is shown as it was, but a withdrawal from the public is obeyed at once: every narrowing of who may
/// see a record, and withdrawals that are not part of the held change itself.
fn hide_behind_gate(shared: &Shared, feed: FeedId) -> Result<(), StoreError> {
    let held = shared.city.borrow().gates.held(feed).cloned();
    let Some(gate) = held.or_else(|| shared.found.read().get(&feed).cloned()) else {
        return Ok(());
    };
    let mut at = shared.looked.lock().get(&feed).copied().unwrap_or(0).max(gate.after);
    loop {
        let ops = shared
            .with(feed, |journal| journal.read(at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX));
        let ops = ops.transpose()?.unwrap_or_default();
        let Some(last) = ops.last() else { break };
        at = last.seq;
        for op in &ops {
            let part_of_it = op.kind == OpType::RecordTombstone && op.seq <= gate.to;
            if op.withdraws_from_public() && !part_of_it {
                shared.hide(op);
            }
        }
    }
    shared.looked.lock().insert(feed, at);
    Ok(())
}

/// Returns whether it went well.
fn rebuild(shared: &Shared) -> bool {
    // The new generation is folded without the lock on the serving one, which readers go on using.
    let options = shared.projection.lock().options();
    match Projection::rebuilt(options, shared) {
        Ok(fresh) => {
            shared.view.store(Arc::new(fresh.view()));
            let (old, changed) = {
                let mut projection = shared.projection.lock();
                let changed = fresh.changed_since(&projection);
                (std::mem::replace(&mut *projection, fresh), changed)
            };
            old.discard();
            // Under other rules other ops count: the index hears of it before it is told how far the view is.
            shared.touched.lock().extend(changed);
            // Folding from the journals, the new generation may have come further than the old one was.
            publish_all(shared);
            shared.to_index.set();
            if let Err(error) = shared.note_everything() {
                tracing::error!(%error, "the city's log does not follow the view");
            }
            tracing::info!("the view was built again");
            true
        }
        Err(error) => {
            tracing::error!(%error, "the view cannot be built again; the old one goes on serving");
            false
        }
    }
}

/// Tells how far the districts' feeds are folded; the hub's own feed is no part of the view.
pub(super) fn publish_all(shared: &Shared) {
    let districts =
        shared.feeds().into_iter().filter(|feed| shared.options.hub_feed != Some(*feed));
    districts.for_each(|feed| publish_applied(shared, feed));
}

fn publish_applied(shared: &Shared, feed: FeedId) {
    let (mark, root) = {
        let mut projection = shared.projection.lock();
        (projection.mark(feed), projection.root(feed))
    };
    shared.publish(feed, |progress| {
        progress.applied = mark.head;
        progress.root = root;
        progress.rules = mark.rules;
        progress.records = mark.live;
    });
}
