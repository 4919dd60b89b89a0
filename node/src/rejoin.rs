//! Joining the feed again after a restore, a clone or a replacement: the calls to the hub, and the order of steps.
//!
//! Until the hub agrees nothing local has changed, so an attempt that stops on the way is simply made again. From the
//! agreement on the steps are kept in [`State`]; each may be repeated, and the next start goes on with them.

mod finish;
mod stage;
mod state;

use std::time::Duration;

use liandong_core::{
    id::{FeedId, Hash, Head},
    limit,
    op::{Keys, Op, SignedOp},
    rejoin::{AncestorSearch, Plan, Reason, Tail, plan},
    wire::{
        read_batch,
        recover::{Ancestor, Evidence, Rejoin, write_probes},
    },
};
use liandong_proto::sync::{FetchRequest, feed_sync_client::FeedSyncClient};
use liandong_server::{
    admin::Progress,
    clock,
    keys::{self, Identity},
    output::{Exit, Failure},
    tls::{self, Timeouts},
};
use liandong_store::{StoreError, Turn};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, codec::CompressionEncoding, transport::Channel};

use crate::app::{App, AppError, KEYS_DIR};

pub(crate) use stage::Stage;
pub(crate) use state::{State, resume};

/// How long a running attempt of the push may take to end before the link counts as live.
pub(crate) const LINK_WAIT: Duration = Duration::from_secs(15);
/// Messages of evidence that may wait.
const EVIDENCE_MAX: usize = 2;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Go {
    /// Say what would be done.
    Plan,
    /// Do it.
    Ahead,
}

/// What a rejoin does or did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Whether there is anything to do; a node that fits the mirror needs no rejoin.
    pub needed: bool,
    /// Whether it was done.
    pub done: bool,
    /// Why, as it was given.
    pub reason: Reason,
    /// Last op that both have.
    pub ancestor: Head,
    /// The node's head before.
    pub local: Head,
    /// The hub's head.
    pub mirror: Head,
    /// The node's own ops after the ancestor.
    pub mine: u64,
    /// The hub's ops after the ancestor.
    pub theirs: u64,
    /// Of the own ops, those that are written again on top.
    pub again: u64,
    /// Of the own ops, those that the hub has already.
    pub known: u64,
    /// Of the own ops, those whose content was erased.
    pub erased: u64,
    /// Of the own ops, rotations of the key, which are given up with their chain.
    pub rotations: u64,
    /// Records that both changed, for a person to settle.
    pub clashes: u64,
    /// The feed's incarnation afterwards.
    pub incarnation: u32,
    /// Where the journal is kept that was given up.
    pub aside: Option<String>,
}

/// The hub, as one who recovers calls it.
pub(crate) struct Hub {
    client: FeedSyncClient<Channel>,
}

fn refused(status: &Status) -> AppError {
    if let Some(error) = tls::explain_transport_error(status) {
        return error.into();
    }
    AppError::Refused(status.message().to_owned())
}

fn broken(what: impl std::fmt::Display) -> AppError {
    AppError::Refused(format!("中心的应答不合协议：{what} / the hub's answer breaks the protocol"))
}

impl Hub {
    pub(crate) async fn connect(app: &App) -> Result<Self, AppError> {
        let channel =
            tls::connect(&app.config.hub.url, &app.client_tls, Timeouts::default()).await?;
        let client = FeedSyncClient::new(channel)
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
        Ok(Self { client })
    }

    /// Where the local feed and the mirror part.
    pub(crate) async fn ancestor(&mut self, app: &App) -> Result<Ancestor, AppError> {
        let feed = app.own.feed();
        let mut search = AncestorSearch::new(app.store.head(feed).seq);
        loop {
            let mut probes = Vec::new();
            for seq in search.probes() {
                let hash = app.store.hash_at(feed, seq)?;
                probes.push(Head { seq, hash: hash.unwrap_or(Hash::ZERO) });
            }
            let reply = self.client.ancestor(write_probes(feed, &probes)).await;
            let reply = reply.map_err(|status| refused(&status))?.into_inner();
            let found = Ancestor::try_from(&reply).map_err(broken)?;
            if found.common != Head::EMPTY && !probes.contains(&found.common) {
                return Err(broken("the ancestor is none of the probes"));
            }
            search.on_answer(found.common.seq);
            if let Some(seq) = search.ancestor() {
                let hash = app.store.hash_at(feed, seq)?.unwrap_or(Hash::ZERO);
                return Ok(Ancestor { common: Head { seq, hash }, ..found });
            }
        }
    }

    /// Hands the mirror's ops after a position to `take`, batch by batch.
    pub(crate) async fn fetch(
        &mut self,
        feed: FeedId,
        after: u64,
        to: u64,
        mut take: impl FnMut(Vec<SignedOp>) -> Result<(), AppError>,
    ) -> Result<(), AppError> {
        let feed_id = feed.as_bytes().to_vec().into();
        let request = FetchRequest { feed_id, after_seq: after, to_seq: to };
        let batches = self.client.fetch(request).await;
        let mut batches = batches.map_err(|status| refused(&status))?.into_inner();
        while let Some(batch) = batches.message().await.map_err(|status| refused(&status))? {
            let (_, ops) = read_batch(batch).map_err(broken)?;
            take(ops)?;
        }
        Ok(())
    }

    /// Gives the tail that is about to be given up to the hub's archive.
    async fn archive(&mut self, app: &App, ancestor: Head) -> Result<(), AppError> {
        let (store, feed) = (&app.store, app.own.feed());
        let abandoned = store.head(feed);
        let (parts, sent) = mpsc::channel(EVIDENCE_MAX);
        let read = async move {
            let mut at = ancestor.seq;
            loop {
                let (ops, bytes) = (limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX);
                let ops = tokio::task::block_in_place(|| store.ops(feed, at, ops, bytes))?;
                at = ops.last().map_or(abandoned.seq, |op| op.seq);
                let ops = ops.into_iter().map(|op| op.signed).collect();
                let end = at >= abandoned.seq;
                let part = Evidence { feed, ancestor, abandoned, ops, end };
                if parts.send(part.into()).await.is_err() || end {
                    return Ok::<(), StoreError>(());
                }
            }
        };
        let (read, archived) = tokio::join!(read, self.client.archive(ReceiverStream::new(sent)));
        archived.map_err(|status| refused(&status))?;
        Ok(read?)
    }

    /// Tells the hub what was decided; it agrees or says what is in the way.
    async fn agree(&mut self, rejoin: &Rejoin) -> Result<(), AppError> {
        let reply = self.client.rejoin(liandong_proto::sync::RejoinRequest::from(rejoin)).await;
        let reply = reply.map_err(|status| refused(&status))?.into_inner();
        if reply.accepted { Ok(()) } else { Err(AppError::Refused(reply.explain)) }
    }
}

/// What was found out about both sides before anything is changed.
struct Found {
    ancestor: Ancestor,
    plan: Plan,
    report: Report,
}

impl App {
    /// Compares node and mirror, and joins the feed again when `go` says so.
    ///
    /// # Errors
    /// The hub is not reached or refuses; the mirror does not verify; the disk.
    pub(crate) async fn rejoin(
        &self,
        reason: Reason,
        operator: &str,
        go: Go,
        progress: &Progress,
    ) -> Result<Report, AppError> {
        let waited = tokio::time::timeout(LINK_WAIT, self.recovery.lock()).await;
        let _recovery = waited.map_err(|_live| not_needed())?;
        let mut turn = self.own.turn(&self.store).await;
        let mut hub = Hub::connect(self).await?;
        self.know_keys(&mut hub).await?;
        let found = self.compare(&mut hub, reason, progress).await?;
        let mut report = found.report;
        if !report.needed || go == Go::Plan {
            return Ok(report);
        }
        let (incarnation, alone) = (self.own.author().incarnation(), report.mine == 0);
        if reason == Reason::FastForward && !(alone && found.ancestor.incarnation == incarnation) {
            return Err(needs_a_person().into());
        }
        if !alone {
            progress.report(0, report.mine, "归档 / archive");
            hub.archive(self, report.ancestor).await?;
        }
        let state = self.agree(&mut hub, &report, operator).await?;
        // Nothing is asked from here on; what fails now goes on at the next start.
        self.swap(&mut turn, &state).await?;
        self.finish_rejoin(&mut turn, &state, progress).await?;
        tracing::warn!(
            reason = reason.name(),
            again = found.plan.again.len(),
            clashes = found.plan.clashes.len(),
            aside = %state.aside,
            "the feed was joined again"
        );
        (report.done, report.aside) = (true, Some(state.aside));
        self.spoken();
        Ok(report)
    }

    /// A node in the place of another one learns from the hub's feed which keys signed before its own.
    async fn know_keys(&self, hub: &mut Hub) -> Result<(), AppError> {
        if self.feed_keys().current() == Some(self.own.author().key_id()) {
            return Ok(());
        }
        self.fetch_feed(hub, self.hub_feed, 0).await
    }

    /// Finds the ancestor, fetches the mirror to the staging place and plans.
    async fn compare(
        &self,
        hub: &mut Hub,
        reason: Reason,
        progress: &Progress,
    ) -> Result<Found, AppError> {
        let feed = self.own.feed();
        let local = self.store.head(feed);
        let ancestor = hub.ancestor(self).await?;
        let (common, mirror) = (ancestor.common, ancestor.mirror);
        let needed = mirror != common;
        let mut plan = Plan::default();
        if needed {
            let mut stage = tokio::task::block_in_place(|| Stage::begin(self, common))?;
            let fetch = hub.fetch(feed, common.seq, mirror.seq, |ops| {
                stage.take(ops)?;
                progress.report(stage.seq(), mirror.seq, "取回 / fetch");
                Ok(())
            });
            fetch.await?;
            let theirs = stage.finish(mirror)?;
            let mine = tokio::task::block_in_place(|| self.tail(common.seq))?;
            plan = self::plan(&mine, &theirs);
        }
        let report = Report {
            needed,
            done: false,
            reason,
            ancestor: common,
            local,
            mirror,
            mine: local.seq - common.seq,
            theirs: mirror.seq - common.seq,
            again: plan.again.len() as u64,
            known: plan.known,
            erased: plan.erased.len() as u64,
            rotations: plan.rotations.len() as u64,
            clashes: plan.clashes.len() as u64,
            incarnation: ancestor.incarnation + u32::from(needed),
            aside: None,
        };
        Ok(Found { ancestor, plan, report })
    }

    /// The own ops after a position.
    fn tail(&self, after: u64) -> Result<Tail, AppError> {
        let mut tail = Tail::default();
        let mut at = after;
        loop {
            let ops = self.store.ops(
                self.own.feed(),
                at,
                limit::BATCH_OPS_MAX,
                limit::BATCH_BYTES_MAX,
            )?;
            let Some(last) = ops.last().map(|op| op.seq) else { return Ok(tail) };
            for op in &ops {
                tail.note(op);
            }
            at = last;
        }
    }

    /// Asks the hub to agree, and keeps what was agreed.
    async fn agree(
        &self,
        hub: &mut Hub,
        report: &Report,
        operator: &str,
    ) -> Result<State, AppError> {
        let before = *self.identity.lock();
        let instance = match report.reason {
            Reason::Cloned => keys::new_instance(),
            _ => before.instance,
        };
        let mut rejoin = Rejoin {
            feed: self.own.feed(),
            abandoned: report.local,
            adopt: report.mirror,
            reason: report.reason.name().to_owned(),
            operator: operator.to_owned(),
            instance,
            incarnation: report.incarnation,
            signature: Vec::new(),
        };
        rejoin.signature = self.own.author().sign(&rejoin.message()).to_vec();
        hub.agree(&rejoin).await?;
        let identity = Identity { instance, incarnation: report.incarnation, ..before };
        let state = State::agreed(identity, report.ancestor, report.local, clock::now_ms());
        state.write(&self.dir)?;
        Ok(state)
    }

    /// Becomes who was agreed on and takes the mirror's journal in the place of the own one.
    pub(crate) async fn swap(&self, turn: &mut Turn<'_>, state: &State) -> Result<(), AppError> {
        keys::keep(&self.dir.join(KEYS_DIR), &state.identity)?;
        *self.identity.lock() = state.identity;
        let author = self.own.author().as_ref().clone();
        turn.set_author(author.with_incarnation(state.identity.incarnation));
        let (staged, aside) = (state.staged(&self.dir), state.aside(&self.dir));
        let swapped = self.store.replace_feed(self.own.feed(), &staged, &aside).await;
        swapped.map_err(|_closed| StoreError::Closed)??;
        Ok(state.writing().write(&self.dir)?)
    }

    /// Keys that may have signed the own feed.
    fn feed_keys(&self) -> Keys {
        self.keys().remove(&self.own.feed()).unwrap_or_default()
    }
}

/// Checks an op of the mirror as it comes back: in its place, and signed by the feed's key there.
pub(crate) fn check(op: &Op, feed: FeedId, head: Head, keys: &mut Keys) -> Result<(), AppError> {
    op.follows(feed, head)?;
    op.verify_kept(keys)?;
    stage::rotate(op, keys)?;
    Ok(())
}

pub(crate) fn not_needed() -> Failure {
    Failure::new(
        "link_is_live",
        Exit::Conflict,
        "与中心的连接正常，无需重新加入",
        "the link to the hub is live; there is nothing to join again",
    )
}

fn needs_a_person() -> Failure {
    Failure::new(
        "needs_a_person",
        Exit::Conflict,
        "本节点有中心没有的操作，或另一副本已重新加入",
        "this node has ops that the hub lacks, or another copy has joined again",
    )
    .remedy(
        "运行 liandong-node rejoin --reason restored|cloned|replaced 查看方案",
        "run liandong-node rejoin --reason restored|cloned|replaced to see the plan",
    )
}
