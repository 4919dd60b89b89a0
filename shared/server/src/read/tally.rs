//! Figures of the home page that need a look at every record, counted now and then.

use liandong_core::{code::OpenKind, limit};
use liandong_store::{Filter, Progress};
use parking_lot::Mutex;

use super::catalogue::Snapshot;
use crate::problem::Problem;

/// How long a count is good enough although the catalogue moved on, milliseconds.
const KEEP_MS: i64 = 60_000;

/// How many live records everyone may see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Open to all.
    pub(crate) open: u64,
    /// Open on request.
    pub(crate) on_request: u64,
}

impl Count {
    /// Both kinds.
    pub(crate) const fn total(self) -> u64 {
        self.open + self.on_request
    }
}

#[derive(Debug, Default)]
struct Counted {
    at_ms: i64,
    /// Position of every feed at the count.
    applied: Vec<u64>,
    count: Count,
}

/// The last count.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    last: Mutex<Counted>,
}

impl Tally {
    /// The count, made anew when the catalogue changed and the last one is old. One request counts
    /// while others wait for it.
    pub(crate) fn count(&self, snapshot: &Snapshot<'_>, now_ms: i64) -> Result<Count, Problem> {
        let mut last = self.last.lock();
        let applied = positions(&snapshot.store().progress());
        let fresh = (0..KEEP_MS).contains(&(now_ms - last.at_ms));
        if last.applied != applied && !fresh {
            let count = look(snapshot)?;
            *last = Counted { at_ms: now_ms, applied, count };
        }
        Ok(last.count)
    }
}

fn positions(progress: &Progress) -> Vec<u64> {
    progress.values().map(|feed| feed.applied.seq).collect()
}

fn look(snapshot: &Snapshot<'_>) -> Result<Count, Problem> {
    let mut count = Count::default();
    for feed in snapshot.districts.iter().filter_map(|district| district.feed) {
        let filter = Filter { feed: Some(feed), live_only: true, public_only: true };
        let mut after = None;
        loop {
            let page = snapshot.store().entries(filter, after, limit::PAGE_RECORDS_MAX)?;
            for record in page.iter().filter_map(|entry| entry.record.as_ref()) {
                match record.open.kind {
                    OpenKind::Open => count.open += 1,
                    OpenKind::OnRequest => count.on_request += 1,
                    OpenKind::Closed => {}
                }
            }
            after = page.last().map(|entry| entry.id);
            if page.len() < limit::PAGE_RECORDS_MAX {
                break;
            }
        }
    }
    Ok(count)
}
