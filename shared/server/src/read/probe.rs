//! What operators and their machines ask: is it alive, is it ready, what are its figures.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    extract::State as Shared,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use liandong_core::id::FeedId;
use liandong_store::Store;
use metrics::gauge;

use super::{Reader, catalogue::Snapshot};
use crate::site::State;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Whether view and index have caught up with what the journal held at the start. Falling behind
/// later is lag, which `/metrics` shows, and no reason to take the process out of service.
#[derive(Debug)]
pub(super) struct Readiness {
    at_start: BTreeMap<FeedId, u64>,
    reached: AtomicBool,
}

impl Readiness {
    pub(super) fn of(store: &Store) -> Self {
        let heads = store.progress().into_iter().map(|(feed, at)| (feed, at.head.seq));
        Self { at_start: heads.collect(), reached: AtomicBool::new(false) }
    }

    /// What is missing, one line a feed; empty when ready.
    fn missing(&self, store: &Store) -> String {
        let mut missing = String::new();
        if self.reached.load(Ordering::Acquire) {
            return missing;
        }
        let (progress, city) = (store.progress(), store.city());
        for (feed, head) in &self.at_start {
            let Some(at) = progress.get(feed) else { continue };
            // What waits for a person is shown as it was; that does not keep the hub from serving.
            let head = city.gates.held(*feed).map_or(head, |gate| head.min(&gate.after));
            if at.applied.seq < *head || at.indexed.seq < *head {
                let (view, index) = (at.applied.seq, at.indexed.seq);
                let _infallible =
                    writeln!(missing, "feed {feed}: view {view}/{head}, index {index}/{head}");
            }
        }
        if missing.is_empty() {
            self.reached.store(true, Ordering::Release);
        }
        missing
    }
}

/// `GET /readyz`
pub(super) async fn readyz(Shared(reader): Shared<Arc<Reader>>) -> Response {
    let asked = Arc::clone(&reader);
    let missing =
        reader.catalogue.ask(move |snapshot| Ok(asked.readiness.missing(snapshot.store()))).await;
    match missing {
        Ok(missing) if missing.is_empty() => "ready".into_response(),
        Ok(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(Shared(reader): Shared<Arc<Reader>>) -> Response {
    let asked = reader.catalogue.ask(|snapshot| {
        set_gauges(snapshot);
        Ok(())
    });
    if let Err(problem) = asked.await {
        return problem.into_response();
    }
    let text = reader.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

const STATES: [State; 11] = [
    State::InSync,
    State::Behind,
    State::Offline,
    State::Waiting,
    State::Suspended,
    State::Rollback,
    State::Fork,
    State::Held,
    State::Diverged,
    State::Refused,
    State::Merged,
];

/// Prometheus counts in floats; every figure here is far below where they lose whole numbers.
#[expect(clippy::cast_precision_loss, reason = "positions and counts stay below 2^53")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// Brings the gauges to the status of this moment.
fn set_gauges(snapshot: &Snapshot<'_>) {
    let status = snapshot.site.status();
    gauge!("liandong_records").set(float(status.view.records));
    gauge!("liandong_feed_seq").set(float(status.feed.seq));
    gauge!("liandong_view_applied_seq").set(float(status.view.applied_seq));
    gauge!("liandong_index_applied_seq").set(float(status.index.applied_seq));
    gauge!("liandong_index_documents").set(float(status.index.documents));
    for (part, bytes) in ["journal", "view", "index"].iter().zip(snapshot.store().disk_bytes()) {
        gauge!("liandong_disk_bytes", "part" => *part).set(float(bytes));
    }
    for district in status.districts.iter().flatten() {
        let code = district.code.to_string();
        let set =
            |name: &'static str, value: f64| gauge!(name, "district" => code.clone()).set(value);
        set("liandong_district_seq", float(district.seq));
        set("liandong_district_records", float(district.records));
        set("liandong_district_quarantined", float(district.quarantined));
        set("liandong_district_lag_records", float(district.lag_records));
        if let Some(seconds) = district.lag_seconds {
            set("liandong_district_lag_seconds", float(seconds));
        }
        set_time("liandong_district_last_contact_seconds", &code, district.last_contact);
        set_time(
            "liandong_district_certificate_expires_seconds",
            &code,
            district.certificate_expires,
        );
        set_state("liandong_district_state", &code, district.state);
    }
    if let Some(hub) = &status.hub {
        gauge!("liandong_hub_acked_seq").set(float(hub.acked_seq));
        gauge!("liandong_hub_quarantined").set(float(hub.quarantined));
        set_time("liandong_hub_last_contact_seconds", "", hub.last_contact);
        set_time("liandong_hub_certificate_expires_seconds", "", hub.certificate_expires);
        set_state("liandong_hub_state", "", hub.state);
    }
    gauge!("liandong_recovering").set(f64::from(u8::from(status.recovery.is_some())));
    if let Some(backup) = &status.backup {
        let verified = backup.verified.as_ref();
        set_time("liandong_backup_verified_seconds", "", verified.map(|backup| backup.at_ms));
        gauge!("liandong_backup_bytes").set(float(verified.map_or(0, |backup| backup.bytes)));
        gauge!("liandong_backup_failed").set(f64::from(u8::from(backup.failed.is_some())));
        gauge!("liandong_backup_overdue").set(f64::from(u8::from(backup.overdue)));
    }
    if let Some(city) = &status.city {
        gauge!("liandong_city_seq").set(float(city.seq));
        gauge!("liandong_city_records").set(float(city.records));
        gauge!("liandong_city_complete").set(f64::from(u8::from(city.complete)));
        set_time("liandong_city_as_of_seconds", "", city.as_of);
    }
}

/// A moment, seconds since 1970 as Prometheus counts; absent when it is not known.
fn set_time(name: &'static str, district: &str, ms: Option<i64>) {
    let seconds = ms.and_then(|ms| u64::try_from(ms / 1000).ok());
    if let Some(seconds) = seconds {
        gauge!(name, &labels(district)).set(float(seconds));
    }
}

/// One series a state, 1 for the one that holds, so that an alert can name it.
fn set_state(name: &'static str, district: &str, state: State) {
    for possible in STATES {
        let mut labels = labels(district);
        labels.push(("state", possible.name().to_owned()));
        gauge!(name, &labels).set(f64::from(u8::from(possible == state)));
    }
}

fn labels(district: &str) -> Vec<(&'static str, String)> {
    let label = (!district.is_empty()).then(|| ("district", district.to_owned()));
    label.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_site_is_ready_once_it_has_caught_up_and_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(liandong_store::Options::new(dir.path())).unwrap();
        let feed = FeedId::new([1; 16]);
        store.open_feed(feed).unwrap();
        let mut readiness = Readiness::of(&store);
        readiness.at_start.insert(feed, 20);
        let missing = readiness.missing(&store);
        assert_eq!(missing, format!("feed {feed}: view 0/20, index 0/20\n"));
        readiness.at_start.insert(feed, 0);
        assert_eq!(readiness.missing(&store), "");
        readiness.at_start.insert(feed, 20);
        assert_eq!(readiness.missing(&store), "", "falling behind later is lag");
    }
}
