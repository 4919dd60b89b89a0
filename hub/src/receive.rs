//! Receiving feeds: carries out what the core's receiver decides, one task a stream.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use liandong_core::{
    fold::{FOLD_VERSION, Outcome},
    id::{FeedId, Head},
    limit,
    link::{Admission, Receiver, ReceiverEffect},
    receipt::Receipt,
    wire::{Claim, Down, Hello, OpOutcome, RejectCode, Up, Verdict},
};
use liandong_proto::sync::{PushDown, PushUp};
use liandong_server::clock;
use liandong_store::{Appended, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{app::App, peer::Peer};

/// What goes down a push stream.
pub(crate) type PushDowns = ReceiverStream<Result<PushDown, Status>>;

/// Messages to the node that may wait; beyond it the stream reads no more.
const DOWN_MAX: usize = 16;

/// Opens a push stream.
pub(crate) fn push(
    app: &Arc<App>,
    stop: &watch::Receiver<bool>,
    request: Request<Streaming<PushUp>>,
) -> Result<Response<PushDowns>, Status> {
    let peer = Peer::of(&request)?;
    let (down, answers) = mpsc::channel(DOWN_MAX);
    let stream = PushStream::new(Arc::clone(app), peer, down, stop.clone());
    tokio::spawn(stream.run(request.into_inner()));
    Ok(Response::new(ReceiverStream::new(answers)))
}

/// One stream of one feed.
struct PushStream {
    app: Arc<App>,
    peer: Peer,
    feed: FeedId,
    receiver: Receiver,
    down: mpsc::Sender<Result<PushDown, Status>>,
    stop: watch::Receiver<bool>,
    /// Appends under way, oldest first.
    appends: VecDeque<Appended>,
    /// Outcomes are told up to here; nothing yet on this stream.
    told: Option<u64>,
    newest: Option<(u64, watch::Receiver<u64>)>,
    bulk: Option<OwnedSemaphorePermit>,
    hello: Option<Hello>,
    /// When the node last said anything.
    heard: Instant,
}

enum Event {
    Up(Option<PushUp>),
    Durable(Result<Head, StoreError>),
    Progress,
    Directory,
    Overtaken,
    Stop,
    Silent,
}

impl PushStream {
    fn new(
        app: Arc<App>,
        peer: Peer,
        down: mpsc::Sender<Result<PushDown, Status>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            receiver: Receiver::new(peer.feed),
            feed: peer.feed,
            app,
            peer,
            down,
            stop,
            appends: VecDeque::new(),
            told: None,
            newest: None,
            bulk: None,
            hello: None,
            heard: Instant::now(),
        }
    }

    async fn run(mut self, mut ups: Streaming<PushUp>) {
        let mut progress = self.app.store.watch();
        let mut directory = self.app.store.watch_city();
        loop {
            let event = self.next(&mut ups, &mut progress, &mut directory).await;
            let closing = matches!(event, Event::Up(None) | Event::Silent);
            self.on(event);
            if !self.carry_out().await || closing {
                break;
            }
        }
        self.leave();
    }

    async fn next(
        &mut self,
        ups: &mut Streaming<PushUp>,
        progress: &mut watch::Receiver<u64>,
        directory: &mut watch::Receiver<Arc<liandong_core::city::City>>,
    ) -> Event {
        let durable: BoxFuture<'_, _> = match self.appends.front_mut() {
            Some(append) => append.map(|done| done.unwrap_or(Err(StoreError::Closed))).boxed(),
            None => std::future::pending().boxed(),
        };
        let overtaken: BoxFuture<'_, _> = match &mut self.newest {
            Some((_, changes)) => changes.changed().boxed(),
            None => std::future::pending().boxed(),
        };
        // Counted from the node's last message: what other feeds do is no sign of life of this one.
        let silent_at = self.heard + Duration::from_millis(limit::SILENCE_MS);
        let silence = tokio::time::sleep_until(silent_at);
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Event::Stop,
            done = durable => {
                Event::Durable(done)
            }
            _ = overtaken => Event::Overtaken,
            _ = directory.changed() => Event::Directory,
            _ = progress.changed() => Event::Progress,
            up = ups.message() => Event::Up(up.unwrap_or_default()),
            () = silence => Event::Silent,
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Up(Some(up)) => self.on_up(up),
            Event::Up(None) => {}
            Event::Durable(done) => {
                self.appends.pop_front();
                self.on_durable(done);
            }
            Event::Progress => self.on_progress(),
            Event::Directory => {
                let city = self.app.city();
                let (feed, fingerprint) = (self.peer.feed, self.peer.fingerprint);
                if let Err(refusal) = city.directory.admit(self.feed, feed, fingerprint)
                    && self.hello.is_some()
                {
                    self.receiver.reject(RejectCode::Suspended, 0, refusal.to_string());
                }
            }
            Event::Overtaken => self.receiver.on_overtaken(),
            Event::Stop => {
                let explain = "中心正在停止 / the hub is shutting down".to_owned();
                self.receiver.reject(RejectCode::Unavailable, 0, explain);
            }
            Event::Silent => {
                tracing::info!(feed = %self.feed, "a silent stream is closed");
            }
        }
    }

    fn on_up(&mut self, up: PushUp) {
        self.heard = Instant::now();
        let up = match Up::try_from(up) {
            Ok(up) => up,
            Err(fault) => {
                return self.receiver.reject(RejectCode::Malformed, 0, fault.to_string());
            }
        };
        let now_ms = clock::now_ms();
        self.app.links.update(self.feed, |link| link.seen.contact_ms = Some(now_ms));
        match up {
            Up::Hello(hello) => self.on_hello(hello, now_ms),
            Up::Claim(claim) => {
                if self.newest.is_some() {
                    self.app.links.update(self.feed, |link| link.node_seq = claim.seq);
                }
                self.receiver.on_up(Up::Claim(claim));
                self.on_progress();
            }
            batch @ (Up::Batch { .. } | Up::Urgent(_)) => {
                // Some hundred signatures are checked: milliseconds of computing.
                tokio::task::block_in_place(|| self.receiver.on_up(batch));
            }
        }
    }

    fn on_hello(&mut self, hello: Hello, now_ms: i64) {
        if self.app.recovery.is_on() && self.put_off(&hello, now_ms) {
            return;
        }
        if self.app.store.damage(self.feed).is_some()
            && let Err(explain) = tokio::task::block_in_place(|| self.app.mend(&hello, now_ms))
        {
            return self.receiver.reject(RejectCode::Unavailable, 0, explain);
        }
        let mirror = self.app.store.head(self.feed);
        let city = self.app.city();
        let directory = &city.directory;
        let admitted = directory.admit(self.feed, self.peer.feed, self.peer.fingerprint);
        let entry = match admitted {
            Ok(entry) => entry,
            Err(refusal) => {
                self.app.links.update(self.feed, |link| {
                    link.verdict = Some(Verdict::Fenced);
                    link.explain = refusal.to_string();
                });
                tracing::warn!(feed = %self.feed, %refusal, "a node is refused");
                return self.receiver.fence(mirror, refusal.to_string(), now_ms);
            }
        };
        if self.put_off(&hello, now_ms) {
            return;
        }
        let admission = Admission {
            keys: self.app.keys_of(self.feed, &entry.keys),
            mirror,
            directory_seq: directory.seq,
            hub_incarnation: city.hub_incarnation(),
            min_software: city.policy.min_software.as_deref().and_then(|min| min.parse().ok()),
            now_ms,
        };
        if hello.head.seq.saturating_sub(mirror.seq) > limit::BULK_ABOVE_OPS {
            self.bulk = Arc::clone(&self.app.bulk).try_acquire_owned().ok();
            let window = if self.bulk.is_some() { limit::BATCHES_IN_FLIGHT_MAX } else { 1 };
            self.receiver.set_window(window);
        } else {
            self.receiver.set_window(limit::BATCHES_IN_FLIGHT_MAX);
        }
        let skew = hello.clock_ms - now_ms;
        if skew.abs() > limit::SKEW_WARN_MS {
            tracing::warn!(feed = %self.feed, skew_ms = skew, "the node's clock is off");
        }
        let store = &self.app.store;
        self.receiver.on_hello(&hello, admission, |seq| {
            store.hash_at(self.feed, seq).unwrap_or_else(|error| {
                tracing::error!(feed = %self.feed, %error, "the mirror cannot be read");
                None
            })
        });
        self.hello = Some(hello);
    }

    /// Puts the node off while the hub lacks ops of its own feed, which the node may have. Returns whether it did.
    fn put_off(&mut self, hello: &Hello, now_ms: i64) -> bool {
        let (store, recovery) = (&self.app.store, &self.app.recovery);
        let wanted = if hello.feed == self.feed {
            recovery.wanted(store, self.feed, hello.hub_head)
        } else {
            return false;
        };
        let noted = wanted.and_then(|wanted| {
            if wanted.is_none() {
                recovery.spoke(self.feed, hello.head, hello.hub_head, now_ms)?;
            }
            Ok(wanted)
        });
        let wanted = noted.unwrap_or_else(|error| {
            tracing::error!(feed = %self.feed, %error, "the hub's own feed cannot be compared");
            None
        });
        if wanted.is_none() && !recovery.is_on() {
            return false;
        }
        let explain = "中心正在从各区节点恢复自身数据，稍后自动继续 / \
                       the hub takes its own feed back from the nodes and goes on by itself";
        let hub_head = wanted.unwrap_or(hello.hub_head);
        self.receiver.recovering(store.head(self.feed), hub_head, explain.to_owned(), now_ms);
        self.hello = Some(hello.clone());
        true
    }

    /// The last welcome's verdict becomes the link's, and a stream that goes on takes over from older ones.
    fn on_welcome(&mut self, verdict: Verdict, explain: &str) {
        let Some(hello) = &self.hello else { return };
        let goes_on = matches!(verdict, Verdict::InSync | Verdict::Extend);
        if goes_on {
            self.newest = Some(self.app.links.take_over(self.feed));
            self.told = None;
        }
        tracing::info!(feed = %self.feed, verdict = verdict.name(), node = %hello.head, "handshake");
        self.app.links.update(self.feed, |link| {
            link.verdict = Some(verdict);
            explain.clone_into(&mut link.explain);
            if goes_on {
                // Where a refused copy stands says nothing of the node that goes on.
                link.node_seq = hello.head.seq;
                link.connected += 1;
                link.diverged = false;
                link.alarm = link.alarm.filter(|(instance, _)| *instance != hello.instance);
            }
        });
    }

    fn on_durable(&mut self, done: Result<Head, StoreError>) {
        match done {
            Ok(head) => {
                let receipt =
                    Receipt::sign(&self.app.own.author(), self.feed, head, clock::now_ms());
                self.receiver.on_durable(receipt);
                let behind = self.app.links.get(self.feed).node_seq.saturating_sub(head.seq);
                if behind <= limit::BULK_ABOVE_OPS {
                    self.bulk = None;
                    self.receiver.set_window(limit::BATCHES_IN_FLIGHT_MAX);
                }
            }
            Err(StoreError::Moved { .. }) => self.receiver.on_overtaken(),
            Err(error) => {
                tracing::error!(feed = %self.feed, %error, "cannot append");
                let explain = "中心暂时无法写入 / the hub cannot write now".to_owned();
                self.receiver.reject(RejectCode::Unavailable, 0, explain);
            }
        }
    }

    /// Tells what became of the ops that were folded since, and answers a claim that can be compared now.
    fn on_progress(&mut self) {
        if self.newest.is_none() || self.receiver.closed() {
            return;
        }
        let Some(progress) = self.app.store.feed(self.feed) else { return };
        let applied = Claim {
            seq: progress.applied.seq,
            fold_version: FOLD_VERSION,
            root: progress.root,
            records: progress.records,
            rules: progress.rules,
        };
        let seq = applied.seq;
        loop {
            let outcomes = self.outcomes_up_to(seq);
            self.receiver.on_applied(applied, outcomes, clock::now_ms());
            if self.told >= Some(seq) {
                break;
            }
        }
    }

    /// What became of the ops up to `applied` that were not told yet, at most one message full; `told` says how far it
    /// goes. On connecting only what failed is told again; later every op is answered for.
    fn outcomes_up_to(&mut self, applied: u64) -> Vec<OpOutcome> {
        let from = self.told.unwrap_or(0);
        let to = applied.min(from.saturating_add(limit::OUTCOMES_MAX as u64));
        let failed = self.app.store.outcomes(self.feed, from, limit::OUTCOMES_MAX);
        let mut failed = failed.unwrap_or_else(|error| {
            tracing::error!(feed = %self.feed, %error, "outcomes cannot be read");
            Vec::new()
        });
        if self.told.is_none() {
            self.told = Some(applied);
            failed.retain(|(seq, _)| *seq <= applied);
            return failed.into_iter().map(|(seq, outcome)| OpOutcome { seq, outcome }).collect();
        }
        self.told = Some(to);
        let failed: BTreeMap<u64, Outcome> = failed.into_iter().collect();
        (from + 1..=to)
            .map(|seq| {
                let outcome = failed.get(&seq).cloned().unwrap_or(Outcome::Materialised);
                OpOutcome { seq, outcome }
            })
            .collect()
    }

    /// Carries out what the receiver left. Returns whether the stream goes on.
    async fn carry_out(&mut self) -> bool {
        for effect in self.receiver.effects() {
            match effect {
                ReceiverEffect::Send(down) => {
                    self.note(&down);
                    let message = down.into_wire(&self.app.own.author());
                    if self.down.send(Ok(message)).await.is_err() {
                        return false;
                    }
                }
                ReceiverEffect::Append { after, ops } => {
                    let store = &self.app.store;
                    let feed = self.feed;
                    let seq = after.seq + ops.len() as u64;
                    self.app.links.update(feed, |link| link.node_seq = link.node_seq.max(seq));
                    let number = self.newest.as_ref().map_or(0, |(number, _)| *number);
                    let append = || store.append(feed, after, ops);
                    let append = tokio::task::block_in_place(|| {
                        self.app.links.as_newest(feed, number, append)
                    });
                    match append {
                        Some(append) => self.appends.push_back(append),
                        None => self.receiver.on_overtaken(),
                    }
                }
                ReceiverEffect::Hide(ops) => {
                    tracing::info!(feed = %self.feed, records = ops.len(), "hidden before its turn");
                    self.app.store.hide(&ops);
                }
                ReceiverEffect::Alarm(verdict, explain) => {
                    tracing::error!(
                        feed = %self.feed,
                        verdict = verdict.name(),
                        %explain,
                        "a person must look at this node"
                    );
                    let instance = self.hello.as_ref().map(|hello| hello.instance);
                    self.app.links.update(self.feed, |link| {
                        link.alarm = instance.map(|instance| (instance, verdict));
                        link.verdict = Some(verdict);
                        link.explain = explain;
                    });
                    if let Some(hello) = &self.hello {
                        self.app.note_fork(hello, verdict).await;
                    }
                }
                ReceiverEffect::Diverged(explain) => {
                    tracing::error!(feed = %self.feed, %explain, "node and hub disagree about the catalogue");
                    self.app.links.update(self.feed, |link| {
                        link.diverged = true;
                        link.explain = explain;
                    });
                }
                ReceiverEffect::Close => return false,
            }
        }
        true
    }

    /// Keeps what people are shown of the messages that go down.
    fn note(&mut self, down: &Down) {
        match down {
            Down::Welcome(welcome) => self.on_welcome(welcome.verdict, &welcome.explain),
            Down::ClaimSeen { seq, hub_time_ms } => {
                let (seq, now_ms) = (*seq, *hub_time_ms);
                self.app.links.update(self.feed, |link| {
                    link.confirmed_seq = seq;
                    link.diverged = false;
                    link.seen.current_ms = Some(now_ms);
                });
            }
            Down::Reject(reject) => {
                tracing::warn!(feed = %self.feed, code = ?reject.code, explain = %reject.explain, "stream refused");
                self.app.links.update(self.feed, |link| link.explain.clone_from(&reject.explain));
            }
            Down::Ack { .. } | Down::Mismatch { .. } => {}
        }
    }

    fn leave(&mut self) {
        if self.newest.is_some() {
            self.app.links.update(self.feed, |link| {
                link.connected = link.connected.saturating_sub(1);
            });
        }
        tracing::info!(feed = %self.feed, "stream closed");
    }
}
