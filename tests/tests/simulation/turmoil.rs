//! The real gRPC stack over a network that turmoil simulates: connections break, stand still and half open under HTTP/2
//! itself, in virtual time.
//!
//! The production drivers have threads and block in place, which a simulated runtime of one thread cannot. Those here
//! are their shortest form: every decision is taken by the same sender, receiver and journal.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail and tell as tests do"
)]

use std::{
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use hyper_util::rt::TokioIo;
use liandong_core::{
    city::City,
    id::{FeedId, Head, InstanceId, RecordId},
    limit,
    link::{
        Admission, PROTOCOL, PROTOCOL_MIN, Receiver, ReceiverEffect, Sender, SenderEffect,
        probe_positions,
    },
    op::{Author, Change, Keys, Op, OpType, Stamp},
    receipt::Receipt,
    record::{Record, Visibility},
    wire::{Claim, Down, Hello, Up},
};
use liandong_proto::sync::{
    self as pb, feed_sync_client::FeedSyncClient, feed_sync_server::FeedSync,
    feed_sync_server::FeedSyncServer,
};
use liandong_server::{listen, tls::Timeouts};
use liandong_store::{disk::SimDisk, journal::Journal};
use liandong_tests::simulation::Fold;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    codec::CompressionEncoding,
    transport::{Endpoint, server::Connected},
};
use turmoil::{
    Builder, Sim,
    net::{TcpListener, TcpStream},
};
use ulid::Ulid;

const FEED: FeedId = FeedId::new([7; 16]);
const PORT: u16 = 7443;
/// Seeds of each scenario.
const SEEDS: u64 = 4;
/// Ops that wait at the node when it starts.
const BACKLOG: u128 = 1_500;
/// Group commits are so far apart, and edits are noticed.
const SYNC_EVERY: Duration = Duration::from_millis(20);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// Virtual time after which everything must agree.
const LONGEST: Duration = Duration::from_mins(10);

/// A machine with a disk, and what its process holds of the feed.
struct Site {
    disk: SimDisk,
    author: Author,
    state: Mutex<State>,
}

struct State {
    journal: Journal,
    fold: Fold,
    /// What must not happen here.
    alarms: Vec<String>,
    receipts: Vec<Receipt>,
    /// The position that the other end's fold agreed with.
    confirmed: u64,
    connections: usize,
}

fn open(disk: &SimDisk) -> Journal {
    let journal = Journal::open(Arc::new(disk.clone()), "/feed".as_ref(), FEED).unwrap();
    journal.with_segment_bytes(100_000)
}

impl Site {
    fn new(author: Author) -> Arc<Self> {
        let disk = SimDisk::default();
        let state = State {
            journal: open(&disk),
            fold: Fold::new(FEED),
            alarms: Vec::new(),
            receipts: Vec::new(),
            confirmed: 0,
            connections: 0,
        };
        Arc::new(Self { disk, author, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The process starts: it knows what is on its disk.
    fn start(&self) {
        let mut state = self.state();
        (state.journal, state.fold) = (open(&self.disk), Fold::new(FEED));
    }

    fn head(&self) -> Head {
        self.state().journal.head()
    }

    /// Group commit, and the fold of what is durable.
    fn sync(&self) -> (Head, Claim) {
        let State { journal, fold, .. } = &mut *self.state();
        let head = journal.append_durably(&[]).unwrap();
        fold.advance(journal, &City::default()).unwrap();
        (head, fold.claim())
    }

    /// People write so many records; nothing of it is durable yet.
    fn write(&self, records: u128) {
        let mut state = self.state();
        for _ in 0..records {
            let after = state.journal.written();
            let number = u128::from(after.seq) + 1;
            let id = RecordId::new(FEED, Ulid(number));
            let record = Record { title: format!("第{number}号停车场"), ..Record::default() };
            let change = Change {
                kind: OpType::RecordPut,
                subject: id.to_bytes().to_vec(),
                base: None,
                payload: record.to_bytes(),
                visibility: Visibility::Restricted,
            };
            let stamp = Stamp { now_ms: 0, uid: number.to_be_bytes(), actor: "editor".to_owned() };
            let op = self.author.author(after, change, stamp).unwrap();
            state.journal.append(&[op]).unwrap();
        }
    }

    fn everything(&self) -> Vec<Op> {
        self.state().journal.read(0, usize::MAX, usize::MAX).unwrap()
    }
}

/// A simulated connection, as the server wants it.
struct Socket(TcpStream);

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The hub's process.
async fn hub(site: Arc<Site>, keys: Keys) -> turmoil::Result {
    site.start();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(socket, _)| Socket(socket));
        Some((accepted, listener))
    });
    let service = FeedSyncServer::new(Service { site, keys })
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
    Ok(listen::server().add_service(service).serve_with_incoming(incoming).await?)
}

#[derive(Clone)]
struct Service {
    site: Arc<Site>,
    keys: Keys,
}

impl Service {
    async fn receive(
        self,
        mut ups: Streaming<pb::PushUp>,
        down: mpsc::Sender<Result<pb::PushDown, Status>>,
    ) {
        let mut receiver = Receiver::new(FEED);
        let mut commits = interval(SYNC_EVERY);
        let mut last_word = Instant::now();
        let mut promised = 0;
        loop {
            tokio::select! {
                up = ups.message() => {
                    let Ok(Some(up)) = up else { return };
                    last_word = Instant::now();
                    self.take(&mut receiver, Up::try_from(up).unwrap());
                }
                _ = commits.tick() => {
                    if last_word.elapsed() > Duration::from_millis(limit::SILENCE_MS) {
                        return;
                    }
                    let (head, claim) = self.site.sync();
                    if head.seq > promised {
                        promised = head.seq;
                        receiver.on_durable(Receipt::sign(&self.site.author, FEED, head, 0));
                    }
                    receiver.on_applied(claim, Vec::new(), 0);
                }
            }
            if !self.carry_out(&mut receiver, &down).await {
                return;
            }
        }
    }

    fn take(&self, receiver: &mut Receiver, up: Up) {
        let Up::Hello(hello) = up else { return receiver.on_up(up) };
        let state = self.site.state();
        let admission = Admission {
            keys: self.keys.clone(),
            mirror: state.journal.head(),
            directory_seq: 0,
            hub_incarnation: 1,
            min_software: None,
            now_ms: 0,
        };
        receiver.set_window(limit::BATCHES_IN_FLIGHT_MAX);
        receiver.on_hello(&hello, admission, |seq| state.journal.hash_at(seq).unwrap());
    }

    async fn carry_out(
        &self,
        receiver: &mut Receiver,
        down: &mpsc::Sender<Result<pb::PushDown, Status>>,
    ) -> bool {
        loop {
            let effects = receiver.effects();
            if effects.is_empty() {
                return true;
            }
            for effect in effects {
                match effect {
                    ReceiverEffect::Send(said) => {
                        if down.send(Ok(said.into_wire(&self.site.author))).await.is_err() {
                            return false;
                        }
                    }
                    ReceiverEffect::Append { after, ops } => {
                        let mut state = self.site.state();
                        if state.journal.written() == after {
                            state.journal.append(&ops).unwrap();
                        } else {
                            receiver.on_overtaken();
                        }
                    }
                    ReceiverEffect::Alarm(_, why) | ReceiverEffect::Diverged(why) => {
                        self.site.state().alarms.push(why);
                    }
                    ReceiverEffect::Hide(_) => {}
                    ReceiverEffect::Close => return false,
                }
            }
        }
    }
}

fn no<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not here"))
}

type Nothing<T> = tokio_stream::Empty<Result<T, Status>>;

#[tonic::async_trait]
impl FeedSync for Service {
    type PushStream = ReceiverStream<Result<pb::PushDown, Status>>;
    type FetchStream = Nothing<pb::OpBatch>;
    type FollowStream = Nothing<pb::CityEvent>;
    type RecordsStream = Nothing<pb::CityRecord>;

    async fn push(
        &self,
        request: Request<Streaming<pb::PushUp>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let (down, answers) = mpsc::channel(16);
        tokio::spawn(self.clone().receive(request.into_inner(), down));
        Ok(Response::new(ReceiverStream::new(answers)))
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

    async fn follow(
        &self,
        _: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        no()
    }

    async fn audit(
        &self,
        _: Request<pb::AuditRequest>,
    ) -> Result<Response<pb::AuditReply>, Status> {
        no()
    }

    async fn records(
        &self,
        _: Request<pb::RecordsRequest>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        no()
    }

    async fn return_hub_feed(
        &self,
        _: Request<Streaming<pb::OpBatch>>,
    ) -> Result<Response<pb::ReturnHubFeedReply>, Status> {
        no()
    }
}

/// The node's process: it connects again for ever.
async fn node(site: Arc<Site>, hub_key: [u8; 32]) -> turmoil::Result {
    site.start();
    let mut pause = interval(PAUSE);
    loop {
        pause.tick().await;
        if let Ok(Ok((up, downs))) = timeout(Timeouts::default().connect, connect(&site)).await {
            site.state().connections += 1;
            let sender = Sender::new(FEED, hub_key, site.head());
            let _ended = Session { site: &site, sender, up }.run(downs).await;
        }
        pause.reset();
    }
}

type Call = (mpsc::Sender<pb::PushUp>, Streaming<pb::PushDown>);

async fn connect(site: &Site) -> Result<Call, Box<dyn std::error::Error>> {
    let patience = Timeouts::default();
    let channel = Endpoint::from_static("http://hub:7443")
        .http2_keep_alive_interval(patience.keepalive_interval)
        .keep_alive_timeout(patience.keepalive_timeout)
        .keep_alive_while_idle(true)
        .connect_with_connector(tower::service_fn(|_| async {
            TcpStream::connect(("hub", PORT)).await.map(TokioIo::new)
        }))
        .await?;
    let mut client = FeedSyncClient::new(channel).send_compressed(CompressionEncoding::Zstd);
    let (up, messages) = mpsc::channel(4);
    up.send(hello(site).into()).await?;
    let downs = client.push(ReceiverStream::new(messages)).await?.into_inner();
    Ok((up, downs))
}

fn hello(site: &Site) -> Up {
    let state = site.state();
    let head = state.journal.head();
    let at = |seq| Some(Head { seq, hash: state.journal.hash_at(seq).unwrap()? });
    Up::Hello(Hello {
        protocol: (PROTOCOL_MIN, PROTOCOL),
        software: "turmoil".to_owned(),
        feed: FEED,
        head,
        hub_head: Head::EMPTY,
        instance: InstanceId::new([1; 16]),
        incarnation: 1,
        clock_ms: 0,
        probes: probe_positions(head.seq).into_iter().filter_map(at).collect(),
    })
}

struct Session<'a> {
    site: &'a Site,
    sender: Sender,
    up: mpsc::Sender<pb::PushUp>,
}

impl Session<'_> {
    async fn run(&mut self, mut downs: Streaming<pb::PushDown>) -> Result<(), Status> {
        let mut beat = interval(Duration::from_millis(limit::HEARTBEAT_MS));
        let mut commits = interval(SYNC_EVERY);
        let mut last_word = Instant::now();
        loop {
            tokio::select! {
                down = downs.message() => {
                    let Some(down) = down? else { return Ok(()) };
                    last_word = Instant::now();
                    self.sender.on_down(Down::try_from(down).unwrap());
                }
                _ = commits.tick() => {
                    let (head, claim) = self.site.sync();
                    self.sender.on_local(head, Some(claim));
                }
                _ = beat.tick() => {
                    if last_word.elapsed() > Duration::from_millis(limit::SILENCE_MS) {
                        return Ok(());
                    }
                    self.sender.on_tick();
                }
            }
            if !self.carry_out().await {
                return Ok(());
            }
        }
    }

    async fn carry_out(&mut self) -> bool {
        loop {
            let effects = self.sender.effects();
            if effects.is_empty() {
                return true;
            }
            for effect in effects {
                if let SenderEffect::Send(up) = effect {
                    // Why the hub took no more comes down the other half of the stream.
                    let _gone = self.up.send(up.into()).await;
                } else if !self.effect(effect) {
                    return false;
                }
            }
        }
    }

    fn effect(&mut self, effect: SenderEffect) -> bool {
        let mut state = self.site.state();
        match effect {
            SenderEffect::Read { after, ops, bytes } => {
                self.sender.on_ops(state.journal.read(after, ops, bytes).unwrap());
            }
            SenderEffect::LookThrough { .. } => self.sender.on_urgent(Vec::new()),
            SenderEffect::Hash(seq) => {
                self.sender.on_hash(seq, state.journal.hash_at(seq).unwrap());
            }
            SenderEffect::Acknowledged(receipt) => state.receipts.push(receipt),
            SenderEffect::Confirmed(seq) => state.confirmed = seq,
            SenderEffect::Verdict(verdict, why) if verdict.freezes() => state.alarms.push(why),
            SenderEffect::Diverged(seq) => state.alarms.push(format!("diverged at {seq}")),
            SenderEffect::Close { .. } => return false,
            _ => {}
        }
        true
    }
}

/// The hub, the node and the network between them.
struct Town {
    sim: Sim<'static>,
    hub: Arc<Site>,
    node: Arc<Site>,
}

impl Town {
    fn new(seed: u64, slowest: Duration) -> Self {
        let author = Author::new(FEED, SigningKey::from_bytes(&[7; 32]));
        let decides = Author::new(FeedId::new([0xff; 16]), SigningKey::from_bytes(&[0xff; 32]));
        let mut keys = Keys::default();
        keys.grant(&author.public_key(), 1).unwrap();
        let mut sim = Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(slowest)
            .simulation_duration(LONGEST)
            .build();
        let hub_key = decides.public_key();
        let (at_hub, at_node) = (Site::new(decides), Site::new(author));
        at_node.write(BACKLOG);
        let site = Arc::clone(&at_hub);
        sim.host("hub", move || hub(Arc::clone(&site), keys.clone()));
        let site = Arc::clone(&at_node);
        sim.host("node", move || node(Arc::clone(&site), hub_key));
        Self { sim, hub: at_hub, node: at_node }
    }

    /// Lets everything go on until something holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        while !holds(self) {
            let elapsed = self.sim.elapsed();
            let (hub, node) = (self.hub.head(), self.node.head());
            assert!(elapsed < LONGEST, "{what}: the hub has {hub}, the node {node}");
            self.sim.step().unwrap();
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        self.until("time passes", |town| town.sim.elapsed() >= until);
    }

    /// Some of the backlog is at the hub, the next batches are under way.
    fn midway(&mut self) {
        self.until("the hub has a part", |town| town.hub.head().seq > 300);
        assert!(u128::from(self.hub.head().seq) < BACKLOG, "the rest is under way");
    }

    /// A machine loses power: of what was not synced a part is there.
    fn power_cut(&mut self, name: &str) {
        self.sim.crash(name);
        let site = if name == "hub" { &self.hub } else { &self.node };
        site.disk.power_cut(|unsynced| unsynced / 2);
    }

    /// Both ends agree on everything, and nothing that anybody was told is untrue.
    fn comes_together(&mut self, name: &str, seed: u64, written: u128) {
        self.until(name, |town| {
            let (hub, node) = (town.hub.head(), town.node.head());
            let all = u128::from(node.seq) == written && hub == node;
            all && town.node.state().confirmed == node.seq
        });
        let ops = self.node.everything();
        assert_eq!(ops.len() as u128, written, "{name} {seed}: each op once");
        assert!(self.hub.everything() == ops, "{name} {seed}: byte for byte");
        assert_eq!(self.hub.sync().1, self.node.sync().1, "{name} {seed}: the same catalogue");
        let (hub, node) = (self.hub.state(), self.node.state());
        assert_eq!((&hub.alarms, &node.alarms), (&Vec::new(), &Vec::new()), "{name} {seed}");
        for receipt in &node.receipts {
            assert!(receipt.verifies(&self.hub.author.public_key()), "{name} {seed}");
            let held = hub.journal.hash_at(receipt.head.seq).unwrap();
            assert_eq!(held, Some(receipt.head.hash), "{name} {seed}: what has a receipt is there");
        }
        let (took, connections) = (self.sim.elapsed(), node.connections);
        println!("{name}, seed {seed}: {} ops, {connections} connections, {took:?}", ops.len());
    }
}

const BRISK: Duration = Duration::from_millis(50);

#[test]
fn a_feed_goes_on_after_the_network_parted_in_the_middle_of_a_batch() {
    for seed in 0..SEEDS {
        let mut town = Town::new(seed, BRISK);
        town.midway();
        town.sim.partition("node", "hub");
        town.pass(Duration::from_secs(1));
        let there = town.hub.head();
        town.node.write(200);
        town.pass(Duration::from_mins(2));
        assert_eq!(town.hub.head(), there, "nothing gets through");
        assert_eq!(u128::from(town.node.head().seq), BACKLOG + 200, "work goes on");
        town.sim.repair("node", "hub");
        town.comes_together("parted", seed, BACKLOG + 200);
        assert!(town.node.state().connections > 1, "the old connection was given up");
    }
}

#[test]
fn messages_that_were_held_and_come_late_from_an_old_connection_change_nothing() {
    for seed in 0..SEEDS {
        let mut town = Town::new(seed, BRISK);
        town.midway();
        town.sim.hold("node", "hub");
        town.node.write(100);
        // Long enough that both ends have given the connection up.
        town.pass(Duration::from_mins(1));
        town.sim.release("node", "hub");
        town.comes_together("held", seed, BACKLOG + 100);
        assert!(town.node.state().connections > 1, "the old connection was given up");
    }
}

#[test]
fn packets_that_overtake_each_other_by_seconds_leave_the_order_alone() {
    for seed in 0..SEEDS {
        let mut town = Town::new(seed, Duration::from_secs(2));
        town.comes_together("slow", seed, BACKLOG);
    }
}

#[test]
fn a_connection_that_is_dead_in_one_direction_is_given_up_by_both() {
    for seed in 0..SEEDS {
        let mut town = Town::new(seed, BRISK);
        town.midway();
        let (from, to) = if seed % 2 == 0 { ("node", "hub") } else { ("hub", "node") };
        town.sim.partition_oneway(from, to);
        town.node.write(100);
        town.pass(Duration::from_mins(2));
        town.sim.repair_oneway(from, to);
        town.comes_together("one way", seed, BACKLOG + 100);
    }
}

#[test]
fn whoever_loses_power_in_the_middle_of_a_batch_loses_nothing_that_was_acknowledged() {
    for seed in 0..SEEDS {
        let name = if seed % 2 == 0 { "hub" } else { "node" };
        let mut town = Town::new(seed, BRISK);
        town.midway();
        town.power_cut(name);
        town.pass(Duration::from_secs(40));
        town.sim.bounce(name);
        town.pass(Duration::from_secs(5));
        let kept = u128::from(town.node.head().seq);
        town.node.write(100);
        town.comes_together(name, seed, kept + 100);
    }
}
