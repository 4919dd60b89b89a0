//! Pushing the node's feed to the hub: carries out what the core's sender decides, and connects again for ever.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use liandong_core::{
    fold::{self, FOLD_VERSION},
    id::{FeedId, Head, RecordId},
    limit,
    link::{PROTOCOL, PROTOCOL_MIN, Sender, SenderEffect, probe_positions},
    op::Op,
    rejoin::Reason,
    wire::{Claim, Down, Hello, Up, Verdict, Welcome},
};
use liandong_proto::sync::{PushDown, PushUp, feed_sync_client::FeedSyncClient};
use liandong_server::{
    admin::Progress,
    clock,
    output::Explain as _,
    retry::{Retry, RetryLimits},
    tls::{self, ConnectError, Timeouts},
};
use liandong_store::{Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, codec::CompressionEncoding};

use crate::{
    app::{App, AppError},
    rejoin::Go,
    return_feed,
};

/// Messages to the hub that may wait.
const UP_MAX: usize = 4;

/// Why a stream ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) explain: String,
    pub(crate) retry_after: Option<Duration>,
    /// A person must act; trying often makes no sense.
    pub(crate) frozen: bool,
    pub(crate) refused: bool,
}

impl Ended {
    pub(crate) fn dropped(explain: impl Into<String>) -> Self {
        Self { explain: explain.into(), retry_after: None, frozen: false, refused: false }
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self { frozen: true, ..Self::dropped(error.to_string()) }
    }
}

impl From<ConnectError> for Ended {
    fn from(error: ConnectError) -> Self {
        let refused = !error.retryable();
        let failure = error.explain();
        let explain = format!("{} / {}", failure.message_zh, failure.message_en);
        Self { refused, ..Self::dropped(explain) }
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        if let Some(error) = tls::explain_transport_error(&status) {
            return error.into();
        }
        let refused =
            matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied);
        Self { refused, ..Self::dropped(status.message()) }
    }
}

/// Keeps the feed flowing until `stop`.
pub(crate) async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let limits = RetryLimits::from(&app.config.retry);
    let mut retry = Retry::new(limits);
    loop {
        let began = tokio::time::Instant::now();
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            ended = once(&app) => ended,
        };
        let frozen = ended.frozen;
        if app.link.get().verdict == Some(Verdict::HubRecovering) {
            // The hub waits for every node: none may be away for long.
            retry = Retry::new(limits);
        }
        app.link.update(|link| {
            link.connected = false;
            link.refused = ended.refused;
            link.explain.clone_from(&ended.explain);
        });
        let pause = if ended.frozen {
            limits.longest
        } else {
            retry.next_pause(ended.retry_after, began.elapsed())
        };
        tracing::warn!(reason = %ended.explain, pause_ms = pause.as_millis(), "no link to the hub");
        if frozen {
            let forwarded = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                forwarded = forward(&app) => forwarded,
            };
            if forwarded {
                continue;
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = app.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes what the hub has beyond a frozen node, when nothing of the node's own is at stake and its configuration
/// allows it. Returns whether the feeds fit now.
async fn forward(app: &App) -> bool {
    let rolled_back = app.link.get().verdict == Some(Verdict::Rollback);
    if !rolled_back || !app.config.recover.fast_forward {
        app.guard.lift();
        return false;
    }
    let (progress, _nobody) = Progress::new();
    match app.rejoin(Reason::FastForward, "fast_forward", Go::Ahead, &progress).await {
        Ok(report) => report.done || !report.needed,
        Err(error) => {
            tracing::warn!(%error, "the node does not go on by itself");
            // Somebody has to decide; until then people work on, and nothing of it is lost.
            if matches!(error, AppError::Refused(_) | AppError::Told(_)) {
                app.guard.lift();
            }
            false
        }
    }
}

/// One connection, from handshake to end.
async fn once(app: &App) -> Ended {
    let _pushing = app.recovery.lock().await;
    if app.store.damage(app.own.feed()).is_some() {
        let (progress, _nobody) = Progress::new();
        if let Err(error) = app.repair(&progress).await {
            return Ended::dropped(error.to_string());
        }
    }
    match connect(app).await {
        Ok((up, downs)) => {
            let head = app.store.head(app.own.feed());
            let hub_key = *app.hub_keys().current().as_bytes();
            let sender = Sender::new(app.own.feed(), hub_key, head);
            let progress = app.store.watch();
            let mut stream = Push { app, sender, up, progress, wanted: None };
            let ended = match stream.run(downs).await {
                Ok(ended) | Err(ended) => ended,
            };
            if let Some(after) = stream.wanted {
                return_feed::give_back(app, after).await;
            }
            ended
        }
        Err(ended) => ended,
    }
}

async fn connect(app: &App) -> Result<(mpsc::Sender<PushUp>, Streaming<PushDown>), Ended> {
    let channel = tls::connect(&app.config.hub.url, &app.client_tls, Timeouts::default()).await?;
    let mut client = FeedSyncClient::new(channel)
        .send_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
    let (up, messages) = mpsc::channel(UP_MAX);
    let hello = hello(app)?;
    up.send(Up::Hello(hello).into()).await.map_err(|_closed| Ended::dropped("closed"))?;
    let request = Request::new(ReceiverStream::new(messages));
    let downs = client.push(request).await?.into_inner();
    Ok((up, downs))
}

fn hello(app: &App) -> Result<Hello, StoreError> {
    let feed = app.own.feed();
    let head = app.store.head(feed);
    let mut positions = probe_positions(head.seq);
    // Where the hub most likely is: what it acknowledged last.
    let acked = app.link.get().acked.seq;
    if (1..head.seq).contains(&acked) && positions.len() < limit::PROBES_MAX {
        positions.push(acked);
    }
    let mut probes = Vec::new();
    for seq in positions {
        if let Some(hash) = app.store.hash_at(feed, seq)? {
            probes.push(Head { seq, hash });
        }
    }
    Ok(Hello {
        protocol: (PROTOCOL_MIN, PROTOCOL),
        software: crate::cli::SOFTWARE.to_owned(),
        feed,
        head,
        hub_head: app.hub_head(),
        instance: app.identity.lock().instance,
        incarnation: app.own.author().incarnation(),
        clock_ms: clock::now_ms(),
        probes,
    })
}

/// One stream.
struct Push<'a> {
    app: &'a App,
    sender: Sender,
    up: mpsc::Sender<PushUp>,
    progress: watch::Receiver<u64>,
    /// The hub has lost ops of its own feed and wants back what is mirrored here beyond this.
    wanted: Option<Head>,
}

impl Push<'_> {
    async fn run(&mut self, mut downs: Streaming<PushDown>) -> Result<Ended, Ended> {
        let mut beat = tokio::time::interval(Duration::from_millis(limit::HEARTBEAT_MS));
        let silence = Duration::from_millis(limit::SILENCE_MS);
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                down = downs.message() => {
                    let Some(down) = down? else {
                        return Ok(Ended::dropped("中心关闭了连接 / the hub closed the stream"));
                    };
                    heard = tokio::time::Instant::now();
                    self.on_down(down)?;
                }
                _ = self.progress.changed() => self.on_progress(),
                _ = beat.tick() => {
                    if heard.elapsed() > silence {
                        return Ok(Ended::dropped("中心没有回应 / the hub is silent"));
                    }
                    self.sender.on_tick();
                }
            }
            if let Some(ended) = self.carry_out().await? {
                return Ok(ended);
            }
        }
    }

    fn on_down(&mut self, down: PushDown) -> Result<(), Ended> {
        let down = Down::try_from(down).map_err(|fault| Ended::dropped(fault.to_string()))?;
        let now_ms = clock::now_ms();
        self.app.link.update(|link| link.contact_ms = Some(now_ms));
        let welcomed = matches!(down, Down::Welcome(_));
        if let Down::Welcome(welcome) = &down {
            self.on_welcome(welcome);
        }
        self.sender.trust(*self.app.hub_keys().current().as_bytes());
        self.sender.on_down(down);
        if welcomed {
            self.on_progress();
        }
        Ok(())
    }

    fn on_welcome(&mut self, welcome: &Welcome) {
        if welcome.verdict == Verdict::HubRecovering {
            self.wanted = Some(welcome.hub_head).filter(|head| *head != self.app.hub_head());
            return;
        }
        let (incarnation, known) =
            (welcome.hub_incarnation, self.app.store.city().hub_incarnation());
        if incarnation > known.max(self.app.link.get().hub_incarnation) {
            tracing::warn!(incarnation, "the hub was rebuilt from its nodes");
        }
        self.app.link.update(|link| link.hub_incarnation = incarnation);
    }

    fn on_progress(&mut self) {
        let Some(progress) = self.app.store.feed(self.app.own.feed()) else { return };
        let claim = (progress.applied == progress.head).then_some(Claim {
            seq: progress.applied.seq,
            fold_version: FOLD_VERSION,
            root: progress.root,
            records: progress.records,
            rules: progress.rules,
        });
        self.sender.on_local(progress.head, claim);
    }

    /// Carries out what the sender left, and what follows from that.
    async fn carry_out(&mut self) -> Result<Option<Ended>, Ended> {
        loop {
            let effects = self.sender.effects();
            if effects.is_empty() {
                return Ok(None);
            }
            for effect in effects {
                if let Some(ended) = self.effect(effect).await? {
                    return Ok(Some(ended));
                }
            }
        }
    }

    async fn effect(&mut self, effect: SenderEffect) -> Result<Option<Ended>, Ended> {
        let (store, feed) = (&self.app.store, self.app.own.feed());
        match effect {
            SenderEffect::Send(up) => {
                if self.up.send(up.into()).await.is_err() {
                    // The reason comes down the other half of the stream.
                    return Ok(None);
                }
            }
            SenderEffect::Read { after, ops, bytes } => {
                let ops = tokio::task::block_in_place(|| store.ops(feed, after, ops, bytes))?;
                self.sender.on_ops(ops);
            }
            SenderEffect::LookThrough { after, to } => {
                let found = tokio::task::block_in_place(|| withdrawals(store, feed, after, to))?;
                self.sender.on_urgent(found);
            }
            SenderEffect::Hash(seq) => {
                let hash = store.hash_at(feed, seq)?;
                self.sender.on_hash(seq, hash);
            }
            SenderEffect::Acknowledged(receipt) => {
                self.app.receipts.keep(&receipt);
                self.app.link.update(|link| {
                    link.acked = receipt.head;
                    link.acked_ms = Some(receipt.received_at_ms);
                });
            }
            SenderEffect::Outcomes(outcomes) => self.app.link.outcomes(outcomes),
            SenderEffect::Verdict(verdict, explain) => self.on_verdict(verdict, explain),
            SenderEffect::Confirmed(seq) => self.app.link.update(|link| {
                link.confirmed_seq = Some(seq);
                link.diverged = false;
            }),
            SenderEffect::Diverged(seq) => {
                tracing::error!(seq, "the hub makes another catalogue of the same ops");
                self.app.link.update(|link| link.diverged = true);
            }
            SenderEffect::Close { explain, retry_after_ms, frozen, refused } => {
                if frozen {
                    tracing::error!(%explain, "replication is frozen until a person decides");
                }
                let retry_after = Duration::from_millis(retry_after_ms.into());
                let retry_after = (retry_after_ms > 0).then_some(retry_after);
                return Ok(Some(Ended { explain, retry_after, frozen, refused }));
            }
        }
        Ok(None)
    }

    fn on_verdict(&mut self, verdict: Verdict, explain: String) {
        tracing::info!(verdict = verdict.name(), %explain, "handshake");
        let live = matches!(verdict, Verdict::InSync | Verdict::Extend);
        if live {
            self.app.spoken();
        }
        let acked = self.sender.acked();
        self.app.link.update(|link| {
            link.connected = live;
            link.refused = !live && verdict != Verdict::HubRecovering;
            link.verdict = Some(verdict);
            link.explain = explain;
            if live {
                link.quarantined.clear();
                // Before the sender has checked the mirror's head it says nothing.
                if acked.seq > 0 {
                    link.acked = acked;
                }
            }
        });
    }
}

/// The records that ops of a stretch of the feed withdraw from the public, by the last op of each.
fn withdrawals(store: &Store, feed: FeedId, after: u64, to: u64) -> Result<Vec<Op>, StoreError> {
    let mut last: BTreeMap<RecordId, Op> = BTreeMap::new();
    let mut at = after;
    while at < to {
        let ops = store.ops(feed, at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
        let Some(end) = ops.last() else { break };
        at = end.seq;
        for op in ops.into_iter().filter(|op| fold::is_about_records(&op.kind)) {
            if let Ok(id) = RecordId::try_from(op.subject.as_ref()) {
                last.insert(id, op);
            }
        }
    }
    Ok(last.into_values().filter(Op::withdraws_from_public).collect())
}
