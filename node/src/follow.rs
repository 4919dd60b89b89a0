//! Following the city: keeps the replica and the mirror of the hub's feed current, beside the push and without it.
//!
//! Nothing that comes down is believed unsigned. Whatever the replica cannot account for is found by comparing roots,
//! so this driver may lose its place at any moment.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use liandong_core::{
    checkpoint::Checkpoint,
    city::HubKeys,
    digest::{BUCKETS, Digest},
    id::{Hash, Head, RecordId},
    limit,
    op::{Op, SignedOp},
    replica::{Expected, Ground},
    wire::city::{Audited, CityEvent, CityRecord, FollowCursor, write_wanted},
};
use liandong_proto::sync::{AuditRequest, CityEvent as Event, feed_sync_client::FeedSyncClient};
use liandong_server::{
    clock, disk,
    retry::{Retry, RetryLimits},
    tls::{self, Timeouts},
};
use liandong_store::{Epoch, Put, StoreError};
use tokio::{sync::watch, task::block_in_place};
use tonic::{Streaming, transport::Channel};

use crate::{app::App, push::Ended};

/// Keeps the replica current until `stop`.
pub(crate) async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let limits = RetryLimits::from(&app.config.retry);
    let mut retry = Retry::new(limits);
    let mut damaged = false;
    loop {
        let began = tokio::time::Instant::now();
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            ended = once(&app) => ended,
        };
        app.unfollowed.lock().clone_from(&ended.explain);
        // A replica that cannot be written twice in a row is begun again: it holds nothing that is not at the hub.
        if ended.frozen && damaged {
            tracing::warn!("the city's replica is begun again");
            if let Err(error) = app.replica.reset() {
                tracing::error!(%error, "the city's replica cannot be begun again");
            }
        }
        damaged = ended.frozen && !damaged;
        let pause =
            if ended.refused { limits.longest } else { retry.next_pause(None, began.elapsed()) };
        tracing::warn!(reason = %ended.explain, pause_ms = pause.as_millis(), "the city is not followed");
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn once(app: &App) -> Ended {
    if let Err(ended) = room(app) {
        return ended;
    }
    match connect(app).await {
        Ok((mut follow, events)) => match follow.run(events).await {
            Ok(ended) | Err(ended) => ended,
        },
        Err(ended) => ended,
    }
}

/// When the disk fills, the replica is the first to wait: what people write here needs the room.
fn room(app: &App) -> Result<(), Ended> {
    const MIB: u64 = 1024 * 1024;
    let least = u64::from(app.config.replica.keep_free_mib);
    // Where it cannot be told there is no reason to stop.
    let free = disk::free_bytes(&app.dir).map_or(u64::MAX, |bytes| bytes / MIB);
    if free < least {
        return Err(Ended::dropped(format!(
            "磁盘剩余 {free} MiB，少于 {least} MiB：全市副本暂停更新，本区工作不受影响 / \
             {free} MiB are free, less than {least}: the city's replica waits, work here goes on"
        )));
    }
    block_in_place(|| app.disk.restock());
    Ok(())
}

async fn connect(app: &App) -> Result<(Follow<'_>, Streaming<Event>), Ended> {
    let channel = tls::connect(&app.config.hub.url, &app.client_tls, Timeouts::default()).await?;
    let mut client =
        FeedSyncClient::new(channel).max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
    let state = app.replica.state();
    let (epoch, city_seq) = (state.epoch, state.city_seq);
    let hub = app.hub_head();
    // What the mirror says of the hub's keys has to be folded before its next ops are judged.
    app.store.applied(app.hub_feed, hub.seq).await;
    let cursor = FollowCursor { epoch, city_seq, hub };
    let called = client.follow(liandong_proto::sync::FollowRequest::from(cursor)).await;
    let events = called.map_err(|status| {
        let rolled_back = status.code() == tonic::Code::FailedPrecondition;
        let ended = Ended::from(status);
        if rolled_back {
            tracing::error!(reason = %ended.explain, "the hub's feed is not the one mirrored here");
        }
        Ended { refused: ended.refused || rolled_back, ..ended }
    })?;
    let hub_keys = app.hub_keys();
    let (rows, at) = (Vec::new(), None);
    let follow = Follow { app, client, hub_keys, epoch, rows, at, flush_by: None, many: false };
    app.unfollowed.lock().clear();
    Ok((follow, events.into_inner()))
}

/// One stream.
struct Follow<'a> {
    app: &'a App,
    client: FeedSyncClient<Channel>,
    hub_keys: HubKeys,
    /// The hub's run that the stream is of.
    epoch: Option<Epoch>,
    /// Rows that were believed and are not written yet.
    rows: Vec<Put>,
    /// Position of the last of them.
    at: Option<u64>,
    /// When they are written at the latest.
    flush_by: Option<tokio::time::Instant>,
    /// Whether the last write had many.
    many: bool,
}

impl Follow<'_> {
    async fn run(&mut self, mut events: Streaming<Event>) -> Result<Ended, Ended> {
        // A crash may have come between an order and its execution.
        self.erase()?;
        loop {
            let flush_by = self.flush_by;
            let event = tokio::select! {
                event = events.message() => event?,
                () = tokio::time::sleep_until(flush_by.unwrap_or_else(tokio::time::Instant::now)),
                    if flush_by.is_some() => {
                        self.flush(None)?;
                        continue;
                    }
            };
            let Some(event) = event else {
                self.flush(None)?;
                return Ok(Ended::dropped("中心关闭了连接 / the hub closed the stream"));
            };
            let event =
                CityEvent::try_from(event).map_err(|bad| Ended::dropped(bad.to_string()))?;
            room(self.app)?;
            self.on(event).await?;
        }
    }

    async fn on(&mut self, event: CityEvent) -> Result<(), Ended> {
        match event {
            CityEvent::Record(record) => {
                self.at = Some(record.city_seq);
                self.take(*record)?;
                if self.rows.len() >= limit::REPLICA_ROWS_MAX {
                    self.flush(None)?;
                }
            }
            CityEvent::HubOps { after, ops } => self.on_hub_ops(after, ops).await?,
            CityEvent::Checkpoint(checkpoint) => self.on_checkpoint(checkpoint).await?,
            CityEvent::Reset { epoch, city_seq, hub_incarnation } => {
                self.flush(None)?;
                tracing::info!(city_seq, hub_incarnation, "the hub's run is another one");
                self.epoch = Some(epoch);
                // A replica that begins at the beginning has nothing to compare.
                if city_seq > 0 {
                    self.audit().await?;
                }
                self.app.replica.apply(Vec::new(), |state| {
                    (state.epoch, state.city_seq) = (Some(epoch), city_seq);
                })?;
            }
        }
        Ok(())
    }

    /// Judges a row and keeps it for the next write.
    fn take(&mut self, record: CityRecord) -> Result<(), Ended> {
        let app = self.app;
        let city = app.store.city();
        let (hub_feed, hub_keys) = (app.hub_feed, self.hub_keys.keys());
        let ground = Ground { city: &city, hub_feed, hub_keys, audience: app.own.feed() };
        let put = match ground.believe(&record) {
            Ok(Some(_believed)) => {
                // The district's own catalogue has the newest of its own records.
                let own =
                    record.authority == app.own.feed() && app.store.state(record.id)?.is_some();
                Put::Keep { record: Box::new(record), searched: !own }
            }
            Ok(None) => Put::Forget(record.id),
            Err(why) => {
                tracing::error!(id = %record.id, %why, "a row of the city is not believed");
                return self.refuse(&format!("{}：{why}", record.id));
            }
        };
        self.rows.push(put);
        let gather =
            if self.many { limit::REPLICA_GATHER_MANY_MS } else { limit::REPLICA_GATHER_MS };
        let gather = Duration::from_millis(gather);
        self.flush_by.get_or_insert_with(|| tokio::time::Instant::now() + gather);
        Ok(())
    }

    /// What cannot be believed is counted and told, and the replica is not complete until a root says so.
    fn refuse(&self, why: &str) -> Result<(), Ended> {
        Ok(self.app.replica.apply(Vec::new(), |state| {
            state.refused += 1;
            state.complete = false;
            why.clone_into(&mut state.why);
        })?)
    }

    /// Writes the rows that wait; `at` is the position that is reached when it is beyond the last row.
    fn flush(&mut self, at: Option<u64>) -> Result<(), Ended> {
        self.flush_by = None;
        let rows = std::mem::take(&mut self.rows);
        let Some(city_seq) = at.max(self.at.take()) else { return Ok(()) };
        self.many = rows.len() >= limit::REPLICA_ROWS_MANY;
        let received = rows.len() as u64;
        block_in_place(|| {
            self.app.replica.apply(rows, |state| {
                state.city_seq = city_seq;
                state.received += received;
            })
        })?;
        Ok(())
    }

    /// The hub's own feed is mirrored op by op, like every feed.
    async fn on_hub_ops(&mut self, after: Head, ops: Vec<SignedOp>) -> Result<(), Ended> {
        let (store, feed) = (&self.app.store, self.app.hub_feed);
        let broken = |why: String| {
            tracing::error!(%why, "the hub's feed cannot be believed");
            let explain = format!("中心数据流无效：{why} / the hub's feed is not valid: {why}");
            Ended { refused: true, ..Ended::dropped(explain) }
        };
        let mut keys = self.hub_keys.clone();
        let read = || {
            let mut head = after;
            let mut read = Vec::with_capacity(ops.len());
            for op in ops {
                let op = Op::parse(op)?;
                op.follows(feed, head)?;
                keys.take(&op)?;
                head = op.head();
                read.push(op);
            }
            Ok::<_, liandong_core::op::OpFault>(read)
        };
        let ops = block_in_place(read).map_err(|fault| broken(fault.to_string()))?;
        let seq = after.seq + ops.len() as u64;
        let appended = store.append(feed, after, ops).await;
        appended.map_err(|_closed| StoreError::Closed)?.map_err(|error| match error {
            StoreError::Moved { .. } => broken(error.to_string()),
            error => error.into(),
        })?;
        store.applied(feed, seq).await;
        self.hub_keys = keys;
        self.erase()
    }

    /// Drops what was ordered erased.
    fn erase(&mut self) -> Result<(), Ended> {
        let orders = self.app.store.city().redactions.values().map(|one| one.op_hash).collect();
        self.flush(None)?;
        Ok(block_in_place(|| self.app.replica.erase(&orders))?)
    }

    /// Compares roots; unequal ones are audited and compared again.
    async fn on_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Ended> {
        let app = self.app;
        let state = app.replica.state();
        let hub_key = self.hub_keys.current();
        let expected = Expected {
            hub_key: hub_key.as_bytes(),
            audience: app.own.feed(),
            epoch: self.epoch,
            last: state.checkpoint.as_ref(),
            hub_hash: app.store.hash_at(app.hub_feed, checkpoint.hub.seq)?,
            now_ms: clock::now_ms(),
        };
        if let Err(why) = expected.believe(&checkpoint) {
            tracing::error!(%why, "a checkpoint of the hub is not believed");
            self.flush(None)?;
            return Ok(app.replica.apply(Vec::new(), |state| {
                state.refused += 1;
                state.why = why.to_string();
            })?);
        }
        self.flush(Some(checkpoint.city_seq))?;
        let same = || {
            let (root, count, _) = app.replica.root();
            root == checkpoint.root && count == checkpoint.count
        };
        if !same() {
            tracing::warn!(city_seq = checkpoint.city_seq, "the replica's root is not the city's");
            let why =
                "与市级校验点不一致，正在核对 / differs from the hub's checkpoint; being audited";
            app.replica.apply(Vec::new(), |state| {
                state.complete = false;
                why.clone_into(&mut state.why);
            })?;
            self.audit().await?;
        }
        if same() {
            app.replica.apply(Vec::new(), |state| {
                state.complete = true;
                state.why.clear();
                state.checkpoint = Some(checkpoint);
            })?;
        }
        if block_in_place(|| app.replica.reset_if_bloated())? {
            return Err(Ended::dropped("副本整理后重新获取 / the replica is fetched anew"));
        }
        Ok(())
    }

    /// Finds by bucket hashes and leaves what the replica lacks or has too much, and puts it right.
    async fn audit(&mut self) -> Result<(), Ended> {
        let hashes = self.ask_audit(Vec::new()).await?.buckets;
        let ours = |bucket: usize| Digest::bucket_over(&self.app.replica.leaves(bucket));
        let mut bad: VecDeque<usize> =
            (0..BUCKETS).filter(|bucket| hashes.get(*bucket) != Some(&ours(*bucket))).collect();
        let buckets = bad.len();
        let (mut wanted, mut forgotten) = (Vec::new(), Vec::new());
        while !bad.is_empty() {
            let chunk: Vec<usize> = bad.drain(..bad.len().min(limit::AUDIT_BUCKETS)).collect();
            let asked = chunk.iter().filter_map(|bucket| u32::try_from(*bucket).ok()).collect();
            let reply = self.ask_audit(asked).await?;
            let mut theirs: BTreeMap<usize, Vec<(RecordId, Hash)>> = BTreeMap::new();
            for (id, leaf) in reply.leaves {
                theirs.entry(Digest::bucket_of(id)).or_default().push((id, leaf));
            }
            for (place, bucket) in chunk.into_iter().enumerate() {
                let leaves = theirs.remove(&bucket).unwrap_or_default();
                if reply.buckets.get(bucket) == Some(&Digest::bucket_over(&leaves)) {
                    self.compare(bucket, &leaves, &mut wanted, &mut forgotten);
                } else if place > 0 {
                    // The answer was full before this bucket's turn came.
                    bad.push_back(bucket);
                } else {
                    return Err(Ended::dropped(
                        "核对失败：摘要与内容不符 / the audit's leaves are not what it says",
                    ));
                }
            }
        }
        let (fetched, removed) = (wanted.len(), forgotten.len());
        let forgotten = forgotten.into_iter().map(Put::Forget).collect();
        block_in_place(|| self.app.replica.apply(forgotten, |_| {}))?;
        for ids in wanted.chunks(limit::PAGE_RECORDS_MAX) {
            self.fetch(ids).await?;
        }
        tracing::info!(buckets, fetched, removed, "the replica was audited");
        Ok(())
    }

    fn compare(
        &self,
        bucket: usize,
        theirs: &[(RecordId, Hash)],
        wanted: &mut Vec<RecordId>,
        forgotten: &mut Vec<RecordId>,
    ) {
        let ours: BTreeMap<_, _> = self.app.replica.leaves(bucket).into_iter().collect();
        let missing = theirs.iter().filter(|(id, leaf)| ours.get(id) != Some(leaf));
        wanted.extend(missing.map(|(id, _)| *id));
        let theirs: BTreeSet<_> = theirs.iter().map(|(id, _)| *id).collect();
        forgotten.extend(ours.into_keys().filter(|id| !theirs.contains(id)));
    }

    async fn ask_audit(&mut self, buckets: Vec<u32>) -> Result<Audited, Ended> {
        let reply = self.client.audit(AuditRequest { buckets }).await?.into_inner();
        let audited = Audited::try_from(&reply).map_err(|bad| Ended::dropped(bad.to_string()))?;
        if Some(audited.epoch) == self.epoch {
            Ok(audited)
        } else {
            Err(Ended::dropped("中心已重新启动 / the hub was started again"))
        }
    }

    async fn fetch(&mut self, ids: &[RecordId]) -> Result<(), Ended> {
        let mut rows = self.client.records(write_wanted(ids)).await?.into_inner();
        while let Some(row) = rows.message().await? {
            let record =
                CityRecord::try_from(row).map_err(|bad| Ended::dropped(bad.to_string()))?;
            self.take(record)?;
        }
        // The position stays: these rows are not what the stream has reached.
        self.at = None;
        self.flush_by = None;
        let rows = std::mem::take(&mut self.rows);
        let received = rows.len() as u64;
        block_in_place(|| self.app.replica.apply(rows, |state| state.received += received))?;
        Ok(())
    }
}
