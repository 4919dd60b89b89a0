//! The city's catalogue on its way down to the districts: one task a follower, which reads the log at its own pace.
//!
//! Nothing is queued for a follower. A slow one is told less often, and then the newest of each record.

use std::{sync::Arc, time::Duration};

use liandong_core::{
    checkpoint::Checkpoint,
    digest::BUCKETS,
    id::{FeedId, Head},
    limit,
    wire::{
        WireFault,
        city::{Audited, CityEvent, FollowCursor, read_wanted},
    },
};
use liandong_proto::sync as pb;
use liandong_server::clock;
use liandong_store::{CityDigest, StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::block_in_place,
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{app::App, peer::Peer, sync::Answers};

/// Events on their way into the socket; beyond it the follower's task waits.
const EVENTS_MAX: usize = 32;

fn failed(error: &StoreError) -> Status {
    tracing::error!(%error, "the city cannot be read for a follower");
    Status::internal("中心内部错误，请查看中心日志 / the hub failed; see its log")
}

fn malformed(error: &WireFault) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The caller's feed, when its certificate is bound and its district takes part.
fn admitted<T>(app: &App, request: &Request<T>) -> Result<Peer, Status> {
    let peer = Peer::of(request)?;
    still_admitted(app, peer).map(|()| peer)
}

fn still_admitted(app: &App, peer: Peer) -> Result<(), Status> {
    let city = app.city();
    let admitted = city.directory.admit(peer.feed, peer.feed, peer.fingerprint);
    admitted.map(|_entry| ()).map_err(|refusal| Status::permission_denied(refusal.to_string()))
}

/// Opens a follower's stream.
pub(crate) fn follow(
    app: &Arc<App>,
    stop: &watch::Receiver<bool>,
    request: &Request<pb::FollowRequest>,
) -> Result<Response<Answers<pb::CityEvent>>, Status> {
    let peer = admitted(app, request)?;
    let cursor = FollowCursor::try_from(request.get_ref()).map_err(|error| malformed(&error))?;
    let own = app.own.feed();
    let here = app.store.hash_at(own, cursor.hub.seq).map_err(|error| failed(&error))?;
    if here != Some(cursor.hub.hash) {
        let head = app.store.head(own);
        tracing::error!(feed = %peer.feed, theirs = %cursor.hub, ours = %head,
            "a node mirrors ops of this hub's feed that the hub does not have");
        return Err(Status::failed_precondition(format!(
            "本区镜像的中心数据流（{}）不在中心当前的数据流（{head}）中：中心可能被回退或替换，请联系市级运维 / \
             the hub's feed as mirrored here ({}) is not part of the hub's feed ({head}): \
             the hub was rolled back or replaced; contact its operator",
            cursor.hub, cursor.hub
        )));
    }
    let (events, answers) = mpsc::channel(EVENTS_MAX);
    let follower = Follower {
        app: Arc::clone(app),
        peer,
        events,
        at: cursor.city_seq,
        hub: cursor.hub,
        told: None,
    };
    tokio::spawn(follower.run(cursor, stop.clone()));
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

/// One follower's stream.
struct Follower {
    app: Arc<App>,
    peer: Peer,
    events: mpsc::Sender<Result<pb::CityEvent, Status>>,
    /// Changes up to here were sent.
    at: u64,
    /// Ops of the hub up to here were sent.
    hub: Head,
    /// What the last checkpoint covered, and when it was sent.
    told: Option<((u64, Head), Instant)>,
}

impl Follower {
    async fn run(mut self, cursor: FollowCursor, mut stop: watch::Receiver<bool>) {
        let events = self.events.clone();
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {
                Err(Status::unavailable("中心正在停止 / the hub is shutting down"))
            }
            () = events.closed() => return,
            ended = self.serve(cursor) => ended,
        };
        if let Err(status) = ended {
            // Whoever does not read finds out by the end of the stream.
            let _full = events.try_send(Err(status));
        }
    }

    async fn serve(&mut self, cursor: FollowCursor) -> Result<(), Status> {
        let mut changes = self.app.store.watch_city_log();
        let mut city = self.app.store.watch_city();
        let closed = |_closed| Status::unavailable("中心正在停止 / the hub is shutting down");
        changes.wait_for(Option::is_some).await.map_err(closed)?;
        self.greet(cursor).await?;
        loop {
            changes.borrow_and_update();
            city.borrow_and_update();
            still_admitted(&self.app, self.peer)?;
            if self.send_page().await? {
                continue;
            }
            tokio::select! {
                moved = changes.changed() => moved.map_err(closed)?,
                moved = city.changed() => moved.map_err(closed)?,
                () = tokio::time::sleep_until(self.checkpoint_due()) => {
                    self.send_checkpoint().await?;
                }
            }
        }
    }

    /// At once after catching up, after a quiet moment when something changed, and now and then in any case.
    fn checkpoint_due(&self) -> Instant {
        let now = Instant::now();
        let Some((covered, sent)) = self.told else { return now };
        let late = sent + Duration::from_secs(self.app.config.follow.checkpoint_secs);
        if covered == (self.at, self.hub) {
            return late;
        }
        late.min(now + Duration::from_millis(limit::CHECKPOINT_QUIET_MS))
    }

    async fn send(&self, event: CityEvent) -> Result<(), Status> {
        let event = event.into_wire(&self.app.own.author());
        self.events.send(Ok(event)).await.map_err(|_gone| Status::cancelled("gone"))
    }

    /// A position of another run means nothing here: the follower compares roots and goes on from now. One that has
    /// nothing yet begins at the beginning.
    async fn greet(&mut self, cursor: FollowCursor) -> Result<(), Status> {
        let Some(digest) = self.digest() else { return Ok(()) };
        if cursor.epoch == Some(digest.epoch) && cursor.city_seq <= digest.city_seq {
            return Ok(());
        }
        self.at = if cursor.epoch.is_some() { digest.city_seq } else { 0 };
        let hub_incarnation = self.app.city().hub_incarnation();
        // What the audit fetches may rest on any op of the hub so far.
        let head = self.app.city().head;
        self.send_hub_ops(head).await?;
        self.send(CityEvent::Reset { epoch: digest.epoch, city_seq: self.at, hub_incarnation })
            .await
    }

    fn digest(&self) -> Option<CityDigest> {
        block_in_place(|| self.app.store.city_digest(self.peer.feed))
    }

    /// Sends the next rows, after the ops of the hub that they rest on. Returns whether there was anything.
    async fn send_page(&mut self) -> Result<bool, Status> {
        let (store, feed) = (&self.app.store, self.peer.feed);
        let page = block_in_place(|| store.city_page(feed, self.at, limit::FOLLOW_RECORDS));
        let page = page.map_err(|error| failed(&error))?;
        let moved = page.city_seq != self.at || page.hub != self.hub;
        self.send_hub_ops(page.hub).await?;
        for record in page.records {
            self.send(CityEvent::Record(Box::new(record))).await?;
        }
        self.at = page.city_seq;
        Ok(moved)
    }

    async fn send_hub_ops(&mut self, to: Head) -> Result<(), Status> {
        let (own, audience) = (self.app.own.feed(), self.peer.feed);
        while self.hub.seq < to.seq {
            let room = usize::try_from(to.seq - self.hub.seq).unwrap_or(usize::MAX);
            let store = &self.app.store;
            let read = || -> Result<_, StoreError> {
                let ops = room.min(limit::BATCH_OPS_MAX);
                let ops = store.ops(own, self.hub.seq, ops, limit::BATCH_BYTES_MAX)?;
                let head = ops.last().map(liandong_core::op::Op::head);
                let ops = ops.into_iter().map(|op| store.hub_op_for(audience, op));
                Ok((head, ops.collect()))
            };
            let (head, ops) = block_in_place(read).map_err(|error| failed(&error))?;
            let Some(head) = head else { break };
            self.send(CityEvent::HubOps { after: self.hub, ops }).await?;
            self.hub = head;
        }
        Ok(())
    }

    /// Says what the follower's replica holds now, unless there is more to send first.
    async fn send_checkpoint(&mut self) -> Result<(), Status> {
        let Some(digest) = self.digest() else { return Ok(()) };
        // A checkpoint that names ops the follower has not been sent would not be believed.
        if digest.city_seq != self.at || digest.hub.seq > self.hub.seq {
            return Ok(());
        }
        let at_ms = clock::now_ms();
        let good = i64::try_from(self.app.config.follow.expires_secs).unwrap_or(i64::MAX / 1000);
        let checkpoint = Checkpoint {
            epoch: digest.epoch,
            city_seq: digest.city_seq,
            audience: self.peer.feed,
            root: digest.root(),
            count: digest.count,
            hub: digest.hub,
            at_ms,
            expires_ms: at_ms + good * 1000,
            signature: Vec::new(),
        };
        self.told = Some(((self.at, self.hub), Instant::now()));
        let author = self.app.own.author();
        // A key that was granted a moment ago is not known at the position that is spoken of.
        if !self.app.hub_keys().signs_at(author.key_id(), checkpoint.hub.seq) {
            return Ok(());
        }
        self.send(CityEvent::Checkpoint(checkpoint.signed(&author))).await
    }
}

/// The caller's audience, once the log of this run is filled.
fn audience<T>(app: &App, request: &Request<T>) -> Result<FeedId, Status> {
    let peer = admitted(app, request)?;
    if app.store.watch_city_log().borrow().is_none() {
        return Err(Status::unavailable("中心正在启动 / the hub is starting"));
    }
    Ok(peer.feed)
}

/// What the caller's replica should hold: hashes of all buckets, leaves of those asked for as far as they fit.
pub(crate) fn audit(
    app: &Arc<App>,
    request: &Request<pb::AuditRequest>,
) -> Result<Response<pb::AuditReply>, Status> {
    let audience = audience(app, request)?;
    let wanted = &request.get_ref().buckets;
    if wanted.len() > BUCKETS || wanted.iter().any(|bucket| *bucket as usize >= BUCKETS) {
        return Err(Status::invalid_argument("there are 256 buckets, counted from 0"));
    }
    let audited = block_in_place(|| {
        let digest = app.store.city_digest(audience)?;
        let mut leaves = Vec::new();
        for bucket in wanted {
            let of_bucket = app.store.city_leaves(audience, *bucket as usize);
            if !leaves.is_empty() && leaves.len() + of_bucket.len() > limit::LEAVES_MAX {
                break;
            }
            leaves.extend(of_bucket);
        }
        let (epoch, city_seq, root) = (digest.epoch, digest.city_seq, digest.root());
        Some(Audited { epoch, city_seq, root, buckets: digest.buckets, leaves })
    });
    let audited = audited.ok_or_else(|| Status::unavailable("no city log"))?;
    Ok(Response::new(audited.into()))
}

/// Single rows of the city, as the caller may see them.
pub(crate) fn records(
    app: &Arc<App>,
    request: &Request<pb::RecordsRequest>,
) -> Result<Response<Answers<pb::CityRecord>>, Status> {
    let audience = audience(app, request)?;
    let ids = read_wanted(request.get_ref()).map_err(|error| malformed(&error))?;
    let (rows, answers) = mpsc::channel(EVENTS_MAX);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        for ids in ids.chunks(limit::FOLLOW_RECORDS) {
            let read = block_in_place(|| app.store.city_records(audience, ids));
            match read {
                Ok(records) => {
                    for record in records {
                        if rows.send(Ok(record.into())).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    let _gone = rows.send(Err(failed(&error))).await;
                    return;
                }
            }
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}
