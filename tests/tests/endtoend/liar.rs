//! A hub that lies: it has the true hub's certificate and keys, stands between a node and the true hub, and changes
//! what it was told to change.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use liandong_core::{
    checkpoint::Checkpoint,
    digest::Digest,
    id::{Hash, Head, RecordId},
    limit,
    op::{Author, Change, Op, SignedOp, Stamp},
    receipt::Receipt,
    wire::city::CityEvent,
};
use liandong_proto::sync::{
    self as pb, city_event, feed_sync_client::FeedSyncClient, feed_sync_server::FeedSync,
    feed_sync_server::FeedSyncServer, push_down, push_up,
};
use liandong_server::{
    clock,
    identity::Authority,
    keys, listen,
    tls::{self, ServerTls, Timeouts},
};
use liandong_tests::{City, Member, raw::Peer};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding, transport::Channel};

/// What is not true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Everything is.
    None,
    /// The record's content, wherever it is sent.
    Content,
    /// That the record was not in the stream.
    LeftOut,
    /// That there is no such record, in any call.
    Denied,
    /// The root, which nobody has signed so.
    Root,
    /// The first checkpoint is sent again instead of every later one.
    OldCheckpoint,
    /// The content of an op of the hub.
    HubOp,
    /// The whole feed of the hub from now on, signed with the hub's key.
    HubFeed,
    /// What the receipts are for, signed with the hub's key.
    Receipt,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug)]
struct Story {
    lie: Mutex<Lie>,
    /// The record that is lied about.
    about: RecordId,
    hub: Author,
    /// Checkpoints as the node got them.
    told: Mutex<Vec<pb::CityCheckpoint>>,
    /// The other feed of the hub: where it stands, and the true hashes.
    other: Mutex<(Option<Head>, BTreeMap<u64, Hash>)>,
}

#[derive(Debug, Clone)]
struct Service {
    story: Arc<Story>,
    upstream: FeedSyncClient<Channel>,
}

/// The hub that lies to one node; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Liar {
    story: Arc<Story>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    /// Stands between a node that does not run yet and the hub of its city.
    pub(crate) async fn before(city: &City, node: &mut Member, about: RecordId) -> Self {
        let (identity, hub) = keys::open(&city.hub.dir().join("keys")).unwrap();
        assert_eq!(identity.feed, hub.feed());
        let authority = Authority::open(&city.hub.dir().join("ca")).unwrap();
        let names = ["127.0.0.1".to_owned()];
        let (certificate, key) = authority.issue_server(&names, 3600, clock::now_ms()).unwrap();
        let shown = ServerTls::new(authority.ca_der(), &certificate, &key).unwrap();
        let peer = Peer::of(node.dir());
        let channel = tls::connect(&city.hub.grpc_url(), &peer.tls(), Timeouts::default()).await;
        let bytes = limit::MESSAGE_BYTES_MAX;
        let upstream = FeedSyncClient::new(channel.unwrap()).max_decoding_message_size(bytes);
        let story = Arc::new(Story {
            lie: Mutex::new(Lie::None),
            about,
            hub,
            told: Mutex::default(),
            other: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        node.set_env("LIANDONG_HUB__URL", &url);
        let service = Service { story: Arc::clone(&story), upstream };
        let service = FeedSyncServer::new(service)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(bytes);
        let task = tokio::spawn(async move {
            let served = listen::server().add_service(service);
            served.serve_with_incoming(listen::incoming(listener, shown)).await.unwrap();
        });
        Self { story, task }
    }

    /// Lies from now on.
    pub(crate) fn tell(&self, lie: Lie) {
        *self.story.lie.lock().unwrap() = lie;
    }

    /// The last checkpoint that the node got.
    pub(crate) fn last_checkpoint(&self) -> Option<Checkpoint> {
        let told = self.story.told.lock().unwrap();
        told.last().map(|checkpoint| Checkpoint::read(checkpoint).unwrap())
    }
}

impl Story {
    fn is(&self, lie: Lie) -> bool {
        *self.lie.lock().unwrap() == lie
    }

    fn is_about(&self, id: &[u8]) -> bool {
        id == self.about.to_bytes()
    }

    /// A row as it is sent on, if it is.
    fn row(&self, mut row: pb::CityRecord) -> Option<pb::CityRecord> {
        if !self.is_about(&row.record_id) {
            return Some(row);
        }
        if self.is(Lie::Denied) {
            return None;
        }
        if let (true, Some(core)) = (self.is(Lie::Content), &mut row.core) {
            let text = String::from_utf8(core.payload.to_vec()).unwrap();
            core.payload = text.replace("停车场", "垃圾场").into();
        }
        Some(row)
    }

    fn event(&self, event: pb::CityEvent) -> Option<pb::CityEvent> {
        use city_event::M;
        let m = match event.m? {
            M::Record(row) if self.is(Lie::LeftOut) && self.is_about(&row.record_id) => {
                return None;
            }
            M::Record(row) => M::Record(self.row(row)?),
            M::HubOps(mut batch) if self.is(Lie::HubOp) => {
                let mut bytes = batch.ops[0].payload.to_vec();
                bytes.push(b' ');
                batch.ops[0].payload = bytes.into();
                M::HubOps(batch)
            }
            M::HubOps(batch) if self.is(Lie::HubFeed) => {
                return Some(self.other_ops(pb::CityEvent { m: Some(M::HubOps(batch)) }));
            }
            M::Checkpoint(checkpoint) => M::Checkpoint(self.checkpoint(checkpoint)),
            other => other,
        };
        Some(pb::CityEvent { m: Some(m) })
    }

    /// The same decisions, as somebody else made them.
    fn other_ops(&self, event: pb::CityEvent) -> pb::CityEvent {
        let CityEvent::HubOps { after, ops } = CityEvent::try_from(event).unwrap() else {
            panic!("these are ops of the hub");
        };
        let mut other = self.other.lock().unwrap();
        let begin = other.0.unwrap_or(after);
        let mut head = begin;
        let again = |signed: SignedOp| {
            let op = Op::parse(signed).unwrap();
            let change = Change {
                kind: op.kind.clone(),
                subject: op.subject.to_vec(),
                base: op.base,
                payload: op.signed.payload.to_vec(),
                visibility: op.visibility,
            };
            let stamp =
                Stamp { now_ms: op.claimed_at_ms, uid: op.uid, actor: "somebody else".to_owned() };
            let made = self.hub.author(head, change, stamp).unwrap();
            other.1.insert(op.seq, op.hash);
            head = made.head();
            made.signed
        };
        let ops = ops.into_iter().map(again).collect();
        other.0 = Some(head);
        CityEvent::HubOps { after: begin, ops }.into_wire(&self.hub)
    }

    fn checkpoint(&self, mut checkpoint: pb::CityCheckpoint) -> pb::CityCheckpoint {
        let lie = *self.lie.lock().unwrap();
        let mut told = self.told.lock().unwrap();
        match lie {
            Lie::Root => checkpoint.root = vec![7; 32].into(),
            Lie::OldCheckpoint => checkpoint = told.first().cloned().unwrap(),
            Lie::HubFeed => {
                let mut said = Checkpoint::read(&checkpoint).unwrap();
                let other = self.other.lock().unwrap().0;
                said.hub = other.filter(|other| other.seq == said.hub.seq).unwrap_or(said.hub);
                checkpoint = said.signed(&self.hub).to_wire(&self.hub);
            }
            _ => {}
        }
        told.push(checkpoint.clone());
        checkpoint
    }

    fn up(&self, mut up: pb::PushUp) -> pb::PushUp {
        if let (true, Some(push_up::M::Hello(hello))) = (self.is(Lie::HubFeed), &mut up.m)
            && let Some(head) = &mut hello.hub_feed_head
        {
            (head.seq, head.head_hash) = (0, vec![0; 32].into());
        }
        up
    }

    fn down(&self, mut down: pb::PushDown) -> pb::PushDown {
        if let (true, Some(push_down::M::Ack(ack))) = (self.is(Lie::Receipt), &mut down.m)
            && let Some(durable) = &mut ack.durable
        {
            let feed = durable.feed_id.as_ref().try_into().unwrap();
            let head = Head { seq: durable.seq, hash: Hash::of(&[b"something else"]) };
            *durable = Receipt::sign(&self.hub, feed, head, clock::now_ms()).to_wire(&self.hub);
        }
        down
    }
}

fn no<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl FeedSync for Service {
    type PushStream = Answers<pb::PushDown>;
    type FetchStream = Answers<pb::OpBatch>;
    type FollowStream = Answers<pb::CityEvent>;
    type RecordsStream = Answers<pb::CityRecord>;

    async fn push(
        &self,
        request: Request<Streaming<pb::PushUp>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let story = Arc::clone(&self.story);
        let ups = request.into_inner().filter_map(move |up| Some(story.up(up.ok()?)));
        let downs = self.upstream.clone().push(ups).await?.into_inner();
        let story = Arc::clone(&self.story);
        Ok(Response::new(Box::pin(downs.map(move |down| Ok(story.down(down?))))))
    }

    async fn follow(
        &self,
        request: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut asked = request.into_inner();
        let truth = self.story.other.lock().unwrap().1.get(&asked.hub_seq).copied();
        if let (true, Some(truth)) = (self.story.is(Lie::HubFeed), truth) {
            asked.hub_hash = truth.as_bytes().to_vec().into();
        }
        let events = self.upstream.clone().follow(asked).await?.into_inner();
        let story = Arc::clone(&self.story);
        let events = events.filter_map(move |event| match event {
            Ok(event) => story.event(event).map(Ok),
            Err(status) => Some(Err(status)),
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn audit(
        &self,
        request: Request<pb::AuditRequest>,
    ) -> Result<Response<pb::AuditReply>, Status> {
        let mut upstream = self.upstream.clone();
        let mut reply = upstream.audit(request.into_inner()).await?.into_inner();
        if self.story.is(Lie::Denied) {
            let bucket = Digest::bucket_of(self.story.about);
            let asked = pb::AuditRequest { buckets: vec![u32::try_from(bucket).unwrap()] };
            let of_bucket = upstream.audit(asked).await?.into_inner().leaves;
            let others = of_bucket.iter().filter(|leaf| !self.story.is_about(&leaf.record_id));
            let leaves: Vec<(RecordId, Hash)> = others
                .map(|leaf| {
                    let id = RecordId::try_from(leaf.record_id.as_ref()).unwrap();
                    (id, Hash::try_from(leaf.leaf_hash.as_ref()).unwrap())
                })
                .collect();
            let hash = Digest::bucket_over(&leaves);
            reply.bucket_hashes[bucket] = hash.as_bytes().to_vec().into();
            reply.leaves.retain(|leaf| !self.story.is_about(&leaf.record_id));
        }
        Ok(Response::new(reply))
    }

    async fn records(
        &self,
        request: Request<pb::RecordsRequest>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        let rows = self.upstream.clone().records(request.into_inner()).await?.into_inner();
        let story = Arc::clone(&self.story);
        let rows = rows.filter_map(move |row| match row {
            Ok(row) => story.row(row).map(Ok),
            Err(status) => Some(Err(status)),
        });
        Ok(Response::new(Box::pin(rows)))
    }

    async fn fetch(
        &self,
        _: Request<pb::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        no()
    }

    async fn ancestor(
        &self,
        _: Request<pb::AncestorRequest>,
    ) -> Result<Response<pb::AncestorReply>, Status> {
        no()
    }

    async fn archive(
        &self,
        _: Request<Streaming<pb::ForkEvidence>>,
    ) -> Result<Response<pb::ArchiveReply>, Status> {
        no()
    }

    async fn rejoin(
        &self,
        _: Request<pb::RejoinRequest>,
    ) -> Result<Response<pb::RejoinReply>, Status> {
        no()
    }

    async fn return_hub_feed(
        &self,
        _: Request<Streaming<pb::OpBatch>>,
    ) -> Result<Response<pb::ReturnHubFeedReply>, Status> {
        no()
    }
}
