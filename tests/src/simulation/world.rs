//! One hub, its districts, and one step after the other.

use std::collections::{BTreeMap, VecDeque};

use liandong_core::{
    id::FeedId,
    wire::{
        Down, RejectCode, Up,
        city::{CityEvent, FollowCursor},
    },
};
use liandong_proto::sync as pb;

use super::{
    Done, Fault, Faults, Plan,
    clock::BEGIN_MS,
    desk,
    hub::{Hub, Out},
    invariants::{self, Violation, broken},
    ledger::{Ledger, Relation, relation},
    network::{Call, Stream},
    node::{Node, key},
    rng::Rng,
};

/// Steps kept for the report of a failure.
const TRACE_MAX: usize = 60;
/// Times a world goes wrong and heals.
const PHASES: usize = 2;

/// What all parts of a world draw from and write to.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) rng: Rng,
    pub(super) ledger: Ledger,
    /// True time, milliseconds since 1970.
    pub(super) now_ms: i64,
    pub(super) faults: Faults,
    /// Ops that districts wrote.
    pub(super) ops: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) scene: Scene,
    pub(super) hub: Hub,
    pub(super) nodes: Vec<Node>,
    pub(super) streams: BTreeMap<usize, Stream>,
    /// How the two logs related when a hello reached the hub.
    relations: BTreeMap<usize, Relation>,
    next_stream: usize,
    districts: usize,
    steps: u64,
    counts: [u64; Fault::ALL.len()],
    trace: VecDeque<String>,
    trace_all: bool,
}

impl World {
    pub(super) fn new(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng(seed);
        let districts = match rng.below(100) {
            0..80 => 2 + rng.below(3),
            80..98 => 5 + rng.below(4),
            _ => 16,
        };
        let scene =
            Scene { rng, ledger: Ledger::default(), now_ms: BEGIN_MS, faults: plan.faults, ops: 0 };
        Self {
            scene,
            hub: Hub::new(),
            nodes: Vec::new(),
            streams: BTreeMap::new(),
            relations: BTreeMap::new(),
            next_stream: 0,
            districts,
            steps: 0,
            counts: [0; Fault::ALL.len()],
            trace: VecDeque::new(),
            trace_all: plan.trace,
        }
    }

    /// The whole life: a city is founded, goes wrong and heals, twice.
    pub(super) fn live(&mut self, plan: &Plan) -> Result<(), Violation> {
        self.found()?;
        for _ in 0..PHASES {
            let steps = plan.steps.unwrap_or(60 + 25 * self.districts);
            for _ in 0..steps {
                self.step()?;
            }
            self.heal()?;
        }
        Ok(())
    }

    pub(super) fn found(&mut self) -> Result<(), Violation> {
        self.hub.start(&mut self.scene)?;
        for number in 1..=self.districts {
            let feed = FeedId::new([u8::try_from(number).unwrap_or(0); 16]);
            let changes = desk::enrol(feed, key(feed, 0).public_key(), number);
            self.hub.decide(changes, &mut self.scene)?;
            let hub = self.hub.author.clone();
            // It joins with a copy of the hub's feed.
            let mut node = Node::new(feed, hub, self.hub.disk.copied());
            node.start()?;
            self.nodes.push(node);
        }
        Ok(())
    }

    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace).into()
    }

    pub(super) fn done(&mut self) -> Done {
        Done {
            steps: self.steps,
            districts: self.districts,
            ops: self.scene.ops,
            faults: self.counts,
            trace: if self.trace_all { self.take_trace() } else { Vec::new() },
        }
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if !self.trace_all && self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        let step = self.steps;
        self.trace.push_back(format!("{step}: {}", what()));
    }

    /// A fault strikes.
    pub(super) fn strike(&mut self, fault: Fault, whom: usize) {
        self.counts[fault as usize] += 1;
        self.note(|| format!("{} {whom}", fault.name()));
    }

    pub(super) fn step(&mut self) -> Result<(), Violation> {
        self.steps += 1;
        self.scene.now_ms += i64::try_from(self.scene.rng.below(60_000)).unwrap_or(0);
        let node = self.scene.rng.below(self.nodes.len());
        let open: Vec<usize> = self.streams.keys().copied().collect();
        let stream = self.scene.rng.pick(&open);
        match self.scene.rng.below(1_000) {
            0..190 => self.edit(node),
            190..280 => self.sync_node(node)?,
            280..340 => self.connect(node),
            340..390 => self.connect_follower(node)?,
            390..570 => self.deliver_up(stream)?,
            570..750 => self.deliver_down(stream)?,
            750..810 => self.sync_hub(node)?,
            810..860 => self.fold_hub(node)?,
            860..880 => self.attend()?,
            880..895 => self.feed_followers(),
            895..905 => self.tick(node)?,
            905..915 => self.grant(stream)?,
            915..925 => self.start_hub()?,
            925..940 => self.start_node(node)?,
            _ => self.go_wrong(node, stream)?,
        }
        self.close_ends();
        invariants::i04_receipts(&self.scene.ledger)
    }

    fn edit(&mut self, node: usize) {
        self.note(|| format!("edit at {node}"));
        self.nodes[node].edit(&mut self.scene);
    }

    pub(super) fn sync_node(&mut self, node: usize) -> Result<(), Violation> {
        self.note(|| format!("sync node {node}"));
        let messages = self.nodes[node].sync()?;
        self.send_up(node, messages)
    }

    pub(super) fn open(&mut self, stream: Stream) -> usize {
        let id = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(id, stream);
        id
    }

    pub(super) fn connect(&mut self, node: usize) {
        let id = self.next_stream;
        let one = &mut self.nodes[node];
        let busy = one.process.as_ref().is_none_or(|process| process.push.is_some());
        if busy || one.apart || one.frozen.is_some() || !self.hub.is_up() {
            return;
        }
        let feed = one.feed;
        let Some(hello) = one.connect(id, &self.scene) else { return };
        let mut stream = Stream::new(Some(node), feed, Call::Push);
        stream.log.clone_from(&self.nodes[node].saved);
        stream.up.send(&pb::PushUp::from(hello));
        self.open(stream);
        self.note(|| format!("connect {node} as stream {id}"));
    }

    pub(super) fn connect_follower(&mut self, node: usize) -> Result<(), Violation> {
        let id = self.next_stream;
        let one = &mut self.nodes[node];
        let feed = one.feed;
        let Some(process) = &mut one.process else { return Ok(()) };
        if process.follow.is_some() || one.apart || !self.hub.is_up() {
            return Ok(());
        }
        process.follow = Some(id);
        let at = process.mirror.head();
        let cursor = FollowCursor { epoch: None, city_seq: 0, hub: at };
        let request = pb::FollowRequest::from(cursor);
        let cursor =
            FollowCursor::try_from(&request).map_err(|fault| broken("I16", fault.to_string()))?;
        let known = self.hub.on_follow(id, feed, cursor.hub);
        // A mirror that is not on the hub's feed shows a hub that went back; the hub's operator has to recover it.
        if known {
            self.open(Stream::new(Some(node), feed, Call::Follow));
        } else if let Some(process) = &mut self.nodes[node].process {
            process.follow = None;
        }
        self.note(|| format!("follow {node} as stream {id}: {known}"));
        Ok(())
    }

    pub(super) fn send_up(&mut self, node: usize, messages: Vec<Up>) -> Result<(), Violation> {
        let process = self.nodes[node].process.as_ref();
        let link = process.and_then(|process| process.push.as_ref()).map(|(stream, _)| *stream);
        // A sender that has just ended its stream has nothing more to say on it.
        let Some(stream) = link.and_then(|link| self.streams.get_mut(&link)) else {
            return Ok(());
        };
        for message in messages {
            let message = pb::PushUp::from(message);
            invariants::i16_on_the_wire(&message, &self.scene.ledger)?;
            stream.up.send(&message);
        }
        Ok(())
    }

    fn send_down(&mut self, out: Vec<Out>) -> Result<(), Violation> {
        for (id, message) in out {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            match message {
                Some(down) => {
                    if let (Down::Welcome(welcome), Some(relation)) =
                        (&down, self.relations.remove(&id))
                    {
                        invariants::i06_verdict(stream.feed, welcome.verdict, relation)?;
                    }
                    stream.down.send(&down.into_wire(&self.hub.author));
                }
                None => stream.hub_open = false,
            }
        }
        if !self.hub.is_up() {
            self.lose_hub_ends();
        }
        Ok(())
    }

    /// How much of what is under way comes out now: a byte, some bytes, or all.
    fn portion(&mut self, under_way: usize) -> usize {
        match self.scene.rng.below(6) {
            0 => 1,
            1 => self.scene.rng.below(under_way + 1),
            _ => under_way,
        }
    }

    pub(super) fn deliver_up(&mut self, id: Option<usize>) -> Result<(), Violation> {
        let Some((id, stream)) = id.and_then(|id| Some((id, self.streams.get(&id)?))) else {
            return Ok(());
        };
        let (feed, under_way) = (stream.feed, stream.up.len());
        if stream.held_until_ms > self.scene.now_ms {
            return Ok(());
        }
        let portion = self.portion(under_way);
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if !stream.hub_open {
            stream.up.cut(0);
        }
        if stream.up.is_empty() {
            if !stream.node_open {
                stream.hub_open = false;
                self.hub.drop_stream(id);
            }
            return Ok(());
        }
        let messages = stream.up.arrive::<pb::PushUp>(portion)?;
        self.note(|| format!("{portion} bytes up stream {id}: {} messages", messages.len()));
        for message in messages {
            let up = Up::try_from(message).map_err(|fault| broken("I16", fault.to_string()))?;
            if matches!(up, Up::Hello(_)) {
                self.relate(id, feed);
            }
            let out = self.hub.deliver(id, feed, up, &mut self.scene)?;
            self.send_down(out)?;
        }
        Ok(())
    }

    /// Notes how the log in the hello relates to the hub's, for I6.
    fn relate(&mut self, id: usize, feed: FeedId) {
        let Some(stream) = self.streams.get(&id).filter(|stream| stream.node.is_some()) else {
            return;
        };
        let relation = relation(&stream.log, self.scene.ledger.stored(feed));
        self.relations.insert(id, relation);
    }

    pub(super) fn deliver_down(&mut self, id: Option<usize>) -> Result<(), Violation> {
        let Some((id, stream)) = id.and_then(|id| Some((id, self.streams.get(&id)?))) else {
            return Ok(());
        };
        let under_way = stream.down.len();
        if stream.held_until_ms > self.scene.now_ms {
            return Ok(());
        }
        let portion = self.portion(under_way);
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if !stream.node_open {
            stream.down.cut(0);
        }
        let (node, call) = (stream.node, stream.call);
        if stream.down.is_empty() {
            if !stream.hub_open && stream.node_open {
                stream.node_open = false;
                self.forget_link(node, call, id);
            }
            return Ok(());
        }
        if call == Call::Follow {
            let messages = stream.down.arrive::<pb::CityEvent>(portion)?;
            for message in messages {
                self.take_event(node, message)?;
            }
            return Ok(());
        }
        let messages = stream.down.arrive::<pb::PushDown>(portion)?;
        self.note(|| format!("{portion} bytes down stream {id}: {} messages", messages.len()));
        for message in messages {
            let down = Down::try_from(message).map_err(|fault| broken("I16", fault.to_string()))?;
            let Some(node) = node else { continue };
            if let Down::Reject(reject) = &down {
                self.note(|| format!("{node} is rejected: {}", reject.explain));
                if reject.code == RejectCode::BadKey {
                    self.nodes[node].refused = Some(reject.seq);
                }
            }
            let messages = self.nodes[node].deliver(down)?;
            self.send_up(node, messages)?;
        }
        Ok(())
    }

    fn take_event(&mut self, node: Option<usize>, event: pb::CityEvent) -> Result<(), Violation> {
        let event = CityEvent::try_from(event).map_err(|fault| broken("I16", fault.to_string()))?;
        let Some(node) = node else { return Ok(()) };
        let messages = self.nodes[node].follow(event)?;
        self.send_up(node, messages)
    }

    pub(super) fn forget_link(&mut self, node: Option<usize>, call: Call, id: usize) {
        let Some(process) = node.and_then(|node| self.nodes[node].process.as_mut()) else { return };
        match call {
            Call::Push if process.push.as_ref().is_some_and(|(link, _)| *link == id) => {
                process.push = None;
            }
            Call::Follow if process.follow == Some(id) => process.follow = None,
            _ => {}
        }
    }

    pub(super) fn sync_hub(&mut self, node: usize) -> Result<(), Violation> {
        let feed = self.nodes[node].feed;
        self.note(|| format!("sync hub for {node}"));
        let out = self.hub.sync(feed, &mut self.scene)?;
        self.send_down(out)
    }

    pub(super) fn fold_hub(&mut self, node: usize) -> Result<(), Violation> {
        let out = self.hub.fold(self.nodes[node].feed, &mut self.scene)?;
        self.send_down(out)
    }

    pub(super) fn attend(&mut self) -> Result<(), Violation> {
        let changes = self.hub.attend();
        self.decide(changes)
    }

    pub(super) fn decide(
        &mut self,
        changes: Vec<liandong_core::op::Change>,
    ) -> Result<(), Violation> {
        if changes.is_empty() {
            return Ok(());
        }
        self.note(|| format!("the hub decides: {}", changes[0].kind.name()));
        self.hub.decide(changes, &mut self.scene)?;
        self.send_down(Vec::new())
    }

    pub(super) fn feed_followers(&mut self) {
        for (id, event) in self.hub.feed_followers() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.down.send(&event.into_wire(&self.hub.author));
            }
        }
    }

    pub(super) fn tick(&mut self, node: usize) -> Result<(), Violation> {
        let messages = self.nodes[node].tick()?;
        self.send_up(node, messages)
    }

    fn grant(&mut self, stream: Option<usize>) -> Result<(), Violation> {
        let Some(stream) = stream else { return Ok(()) };
        let batches = u32::try_from(self.scene.rng.below(3)).unwrap_or(0);
        self.grant_to(stream, batches)
    }

    pub(super) fn grant_to(&mut self, stream: usize, batches: u32) -> Result<(), Violation> {
        let out = self.hub.set_window(stream, batches, &mut self.scene)?;
        self.send_down(out)
    }

    pub(super) fn lose_hub_ends(&mut self) {
        for stream in self.streams.values_mut() {
            stream.hub_open = false;
            let keep = self.scene.rng.below(stream.down.len() + 1);
            stream.down.cut(keep);
        }
    }

    pub(super) fn lose_node_ends(&mut self, node: usize) {
        for stream in self.streams.values_mut().filter(|stream| stream.node == Some(node)) {
            stream.node_open = false;
            let keep = self.scene.rng.below(stream.up.len() + 1);
            stream.up.cut(keep);
        }
    }

    /// Ends that a process gave up by itself, and connections that nobody holds any more.
    pub(super) fn close_ends(&mut self) {
        for (id, stream) in &mut self.streams {
            let Some(node) = stream.node else { continue };
            let held = self.nodes[node].process.as_ref().is_some_and(|process| match stream.call {
                Call::Push => process.push.as_ref().is_some_and(|(link, _)| link == id),
                Call::Follow => process.follow == Some(*id),
            });
            stream.node_open = stream.node_open && held;
        }
        self.streams.retain(|_, stream| stream.node_open || stream.hub_open);
    }
}
