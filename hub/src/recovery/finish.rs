//! The end of a recovery: what came back goes into the journal, and the hub says that it was rebuilt.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use liandong_core::{
    id::FeedId,
    limit,
    op::{Op, OpType},
};
use liandong_server::{clock, config::write_private, keys};
use liandong_store::{Store, StoreError};

use super::{NOTES, REPORT, Recovered, Recovery};
use crate::app::{App, AppError, KEYS_DIR};

/// Pause between two looks at whether everyone has spoken.
const LOOK: Duration = Duration::from_millis(500);

/// Ends a recovery by itself once every feed in the recovered directory has spoken and nothing new came for a while.
pub(crate) async fn run(app: Arc<App>) {
    let mut on = app.recovery.watch();
    while on.wait_for(|on| *on).await.is_ok() {
        tokio::time::sleep(LOOK).await;
        let ready = tokio::task::block_in_place(|| app.recovery.ready(&app.store, clock::now_ms()));
        let ended = match ready {
            Ok(false) => continue,
            Ok(true) => app.finish_recovery("auto").await.map(|_report| ()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the recovery cannot be ended");
            tokio::time::sleep(LOOK * 20).await;
        }
    }
}

impl Recovery {
    /// Whether every feed that the recovered directory knows has spoken, with one voice, and it was quiet since.
    pub(super) fn ready(&self, store: &Store, now_ms: i64) -> Result<bool, StoreError> {
        let state = self.state.lock();
        let Some(under) = &state.under else { return Ok(false) };
        let quiet = now_ms - under.notes.changed_ms >= limit::RECOVERY_QUIET_MS;
        if !quiet || !state.forks.is_empty() || under.notes.spoken.is_empty() {
            return Ok(false);
        }
        let city = self.city(under, store)?;
        let known: BTreeSet<FeedId> = city.directory.feeds.keys().copied().collect();
        Ok(!known.is_empty() && known.iter().all(|feed| under.notes.spoken.contains_key(feed)))
    }

    /// The next ops that came back, with the content that any node had.
    fn next_ops(&self, after: u64) -> Result<Vec<Op>, StoreError> {
        let state = self.state.lock();
        let Some(under) = &state.under else { return Ok(Vec::new()) };
        let ops = under.tail.read(after, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
        let whole = |op: Op| if op.signed.withheld { self.payload(&op).unwrap_or(op) } else { op };
        Ok(ops.into_iter().map(whole).collect())
    }

    /// What the recovery brings back; nothing when there is none.
    fn report(&self, by: &str) -> Option<Recovered> {
        let state = self.state.lock();
        let under = state.under.as_ref()?;
        let (base, found) = (under.notes.base, under.tail.head());
        Some(Recovered {
            reason: under.notes.reason,
            incarnation: 0,
            by: by.to_owned(),
            began_ms: under.notes.began_ms,
            ended_ms: 0,
            base,
            found,
            decisions: found.seq - base.seq,
            districts: 0,
            nodes: under.notes.spoken.len() as u64,
            withheld: under.withheld.iter().copied().collect(),
        })
    }

    /// The journal holds everything: the hub serves again.
    fn end(&self, report: &Recovered) -> Result<(), StoreError> {
        let path = self.dir.join(REPORT);
        let text = serde_json::to_vec_pretty(report).unwrap_or_default();
        write_private(&path, &text).map_err(StoreError::io(&path))?;
        let notes = self.dir.join(NOTES);
        std::fs::remove_file(&notes).map_err(StoreError::io(&notes))?;
        self.state.lock().under = None;
        self.forget_tail();
        self.heard.send_replace(true);
        self.on.send_replace(false);
        Ok(())
    }

    /// Removes what came back once it is in the journal, or what another recovery has left. Forks stay.
    pub(super) fn forget_tail(&self) {
        for name in ["tail", "payloads"] {
            // What stays is removed before the next recovery begins.
            let _stays = std::fs::remove_dir_all(self.pieces().join(name));
        }
    }

    /// What the last recovery brought back.
    pub(super) fn last(&self) -> Option<Recovered> {
        serde_json::from_slice(&std::fs::read(self.dir.join(REPORT)).ok()?).ok()
    }
}

impl App {
    /// Takes what came back, and begins the next incarnation. Goes on where a crash has stopped it.
    ///
    /// # Errors
    /// There is no recovery; `Store`, `Write`.
    pub(crate) async fn finish_recovery(&self, by: &str) -> Result<Recovered, AppError> {
        let _nobody_returns = self.recovery.turn().await;
        let own = self.own.feed();
        let mut turn = self.own.turn(&self.store).await;
        let mut report = self.recovery.report(by).ok_or(AppError::NotRecovering)?;
        loop {
            let after = self.store.head(own);
            let ops = self.recovery.next_ops(after.seq)?;
            if ops.is_empty() {
                break;
            }
            let appended = self.store.append(own, after, ops).await;
            appended.map_err(|_closed| StoreError::Closed)??;
        }
        let head = self.store.head(own);
        self.store.applied(own, head.seq).await;
        // A backup from before a rotation has the old key: the root gives another one before anything is said.
        self.require_key()?;
        // Its own word at the end is the one that a crash has kept from being noted.
        let last = self.store.ops(own, head.seq.saturating_sub(1), 1, limit::BATCH_BYTES_MAX)?;
        let said = last.iter().any(|op| op.kind == OpType::HubRejoin && op.seq > report.found.seq);
        if !said {
            let from = format!("{} 个节点 / nodes", report.nodes);
            let rejoin = self.city().hub_rejoin(report.reason.name(), from);
            let stamp = || keys::stamp(by);
            turn.write(vec![rejoin], stamp).await?;
        }
        let city = self.city();
        for feed in city.directory.feeds.keys() {
            self.store.open_feed(*feed)?;
        }
        report.incarnation = city.hub_incarnation();
        report.districts = city.directory.districts.len() as u64;
        report.ended_ms = clock::now_ms();
        let keys_dir = self.recovery.dir.join(KEYS_DIR);
        let (identity, author) = keys::open(&keys_dir)?;
        keys::keep(&keys_dir, &keys::Identity { incarnation: report.incarnation, ..identity })?;
        turn.set_author(author.with_incarnation(report.incarnation));
        self.recovery.end(&report)?;
        tracing::warn!(
            incarnation = report.incarnation,
            decisions = report.decisions,
            districts = report.districts,
            nodes = report.nodes,
            by,
            "the hub was rebuilt from its nodes"
        );
        Ok(report)
    }
}
