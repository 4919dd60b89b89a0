//! Repair of a damaged journal. Hub and node hold the same bytes, so what one cannot read comes from the other.
//!
//! The own feed becomes what is readable before the damage, then what the hub has, then what is readable here beyond
//! it. An own op that does not follow any more, because the one before it is gone on both sides, is written again. The
//! damaged files stay aside as they are.

use liandong_core::op::Op;
use liandong_server::{
    admin::Progress,
    clock,
    output::{Exit, Failure},
};
use liandong_store::{StoreError, disk::RealDisk, journal::Journal};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, AppError, DATA_DIR},
    rejoin::{Hub, LINK_WAIT, Stage, State, not_needed},
};

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Ops that came from the hub.
    pub fetched: u64,
    /// Ops beyond the damage that were readable and still follow.
    pub salvaged: u64,
    /// Ops beyond the damage that were written again.
    pub again: u64,
    /// Where the damaged files are kept.
    pub aside: String,
}

impl App {
    /// What cannot be read of the own feed, for people.
    pub(crate) fn damaged(&self) -> Option<String> {
        self.store.damage(self.own.feed()).map(|damage| StoreError::from(damage).to_string())
    }

    /// Repairs the own feed now; nothing when it is whole.
    ///
    /// # Errors
    /// As [`Self::repair`].
    pub(crate) async fn repair_now(
        &self,
        progress: &Progress,
    ) -> Result<Option<Repaired>, AppError> {
        if self.damaged().is_none() {
            return Ok(None);
        }
        let waited = tokio::time::timeout(LINK_WAIT, self.recovery.lock()).await;
        let _recovery = waited.map_err(|_live| not_needed())?;
        self.repair(progress).await
    }

    /// Repairs the own feed. The caller holds the right to recover.
    ///
    /// # Errors
    /// The hub is not reached; its copy and the readable part differ, which a rejoin settles; the disk.
    pub(crate) async fn repair(&self, progress: &Progress) -> Result<Option<Repaired>, AppError> {
        let feed = self.own.feed();
        let mut turn = self.own.turn(&self.store).await;
        if self.store.damage(feed).is_none() {
            return Ok(None);
        }
        let readable = self.store.head(feed);
        let mut hub = Hub::connect(self).await?;
        let found = hub.ancestor(self).await?;
        if found.common != readable && found.common != found.mirror {
            return Err(forked().into());
        }
        let mut stage = tokio::task::block_in_place(|| Stage::begin(self, readable))?;
        if found.mirror.seq > readable.seq {
            let fetch = hub.fetch(feed, readable.seq, found.mirror.seq, |ops| {
                stage.take(ops)?;
                progress.report(stage.seq(), found.mirror.seq, "取回 / fetch");
                Ok(())
            });
            fetch.await?;
        }
        let fetched = stage.seq() - readable.seq;
        let saved = tokio::task::block_in_place(|| self.saved(stage.seq()))?;
        let (last, total) = (saved.last().map(Op::head), saved.len() as u64);
        let salvaged = stage.follow(saved)?;
        let head = stage.head();
        stage.finish(head)?;
        let identity = *self.identity.lock();
        let mending = State::mending(identity, head, last.unwrap_or(head), clock::now_ms());
        mending.write(&self.dir)?;
        self.swap(&mut turn, &mending).await?;
        self.finish_rejoin(&mut turn, &mending, progress).await?;
        let again = total - salvaged;
        tracing::warn!(fetched, salvaged, again, aside = %mending.aside, "the journal was repaired");
        Ok(Some(Repaired { fetched, salvaged, again, aside: mending.aside }))
    }

    /// Whole ops of the own feed beyond a position, from the damaged files.
    fn saved(&self, after: u64) -> Result<Vec<Op>, StoreError> {
        let feed = self.own.feed();
        let dir = self.dir.join(DATA_DIR).join("journal").join(feed.to_string());
        let disk = std::sync::Arc::new(RealDisk);
        Journal::open_readable(disk, &dir, feed, liandong_core::id::Head::EMPTY)?.salvage(after)
    }

    /// Makes the mirror of the hub's feed whole up to its last readable op; the rest comes with the next connection.
    ///
    /// # Errors
    /// The disk.
    pub(crate) async fn mend_hub_feed(&self) -> Result<(), AppError> {
        if self.store.damage(self.hub_feed).is_none() {
            return Ok(());
        }
        let aside = format!("journal.damaged-{}-{}", self.hub_feed, clock::now_ms());
        let aside = self.dir.join(DATA_DIR).join(aside);
        let cut = tokio::task::block_in_place(|| self.store.cut_damaged(self.hub_feed, &aside))?;
        cut.await.map_err(|_closed| StoreError::Closed)??;
        Ok(())
    }
}

fn forked() -> Failure {
    Failure::new(
        "damaged_and_forked",
        Exit::Conflict,
        "日志损坏，且可读部分与中心不同",
        "the journal is damaged, and its readable part is not the hub's",
    )
    .remedy(
        "运行 liandong-node rejoin --reason restored",
        "run liandong-node rejoin --reason restored",
    )
}
