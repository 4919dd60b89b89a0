//! One hub, some nodes and everything that can go wrong between them, drawn from one seed.

use std::collections::{BTreeMap, VecDeque};

use liandong_core::{
    id::FeedId,
    wire::{Down, Up},
};
use liandong_proto::sync as pb;
use liandong_store::disk::{Crash, SimDisk};

use crate::{
    hub::{Hub, Out},
    model::{Mutant, Rng, Violation, everything},
    node::Node,
};

/// Rounds after which a healed city must agree; a few are enough, so this is the watchdog.
const ROUNDS_MAX: usize = 60;
/// Messages a round may take.
const MESSAGES_MAX: usize = 20_000;
/// Actions kept for the report of a failure.
const TRACE_MAX: usize = 60;

/// One connection. Messages of a direction stay in order; directions and connections do not.
#[derive(Debug)]
struct Stream {
    node: usize,
    feed: FeedId,
    up: VecDeque<pb::PushUp>,
    down: VecDeque<pb::PushDown>,
    node_open: bool,
    hub_open: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    pub(crate) hub: Hub,
    pub(crate) nodes: Vec<Node>,
    /// Nodes that nobody edits at the moment.
    pub(crate) idle: Vec<usize>,
    streams: BTreeMap<usize, Stream>,
    next_stream: usize,
    next_uid: u128,
    trace: VecDeque<String>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: u8, mutant: Mutant) -> Result<Self, Violation> {
        let mut hub = Hub::new(mutant);
        let nodes = (1..=nodes).map(|n| Node::new(n, mutant)).collect::<Result<Vec<_>, _>>()?;
        for node in &nodes {
            hub.admit(node.feed, node.public_key());
        }
        hub.start()?;
        Ok(Self {
            rng: Rng(seed),
            hub,
            nodes,
            idle: Vec::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            next_uid: 1,
            trace: VecDeque::new(),
        })
    }

    /// What happened last, for a person who looks at a seed.
    pub(crate) fn trace(&self) -> String {
        self.trace.iter().cloned().collect::<Vec<_>>().join("\n  ")
    }

    fn note(&mut self, what: &str, who: usize) {
        if self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{what} {who}"));
    }

    /// Lets the world go wrong for so many steps.
    pub(crate) fn run(&mut self, steps: usize) -> Result<(), Violation> {
        for _ in 0..steps {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Violation> {
        let node = self.rng.below(self.nodes.len());
        let stream = {
            let open: Vec<usize> = self.streams.keys().copied().collect();
            open.get(self.rng.below(open.len())).copied()
        };
        match self.rng.below(1_000) {
            0..170 if !self.idle.contains(&node) => self.edit(node),
            0..290 => self.sync_node(node)?,
            290..350 => self.connect(node),
            350..560 => stream.map_or(Ok(()), |stream| self.deliver_up(stream))?,
            560..770 => stream.map_or(Ok(()), |stream| self.deliver_down(stream))?,
            770..840 => self.sync_hub(node),
            840..900 => self.fold_hub(node)?,
            900..915 => self.tick(node)?,
            915..930 => self.grant(stream),
            930..945 => self.reset_at_node(node),
            945..955 => self.reset_at_hub(stream),
            955..965 => self.crash_node(node),
            965..970 => self.crash_hub(),
            970..975 => self.fail_point(node),
            975..985 => self.start_hub()?,
            _ => self.start_node(node)?,
        }
        self.close_ends();
        self.hub.check_told()
    }

    pub(crate) fn edit(&mut self, node: usize) {
        self.note("edit", node);
        self.nodes[node].edit(self.next_uid, &mut self.rng);
        self.next_uid += 1;
    }

    pub(crate) fn sync_node(&mut self, node: usize) -> Result<(), Violation> {
        self.note("sync node", node);
        let messages = self.nodes[node].sync()?;
        self.send_up(node, messages);
        Ok(())
    }

    fn connect(&mut self, node: usize) {
        if self.nodes[node].link.is_some() || self.nodes[node].frozen.is_some() || !self.hub.is_up()
        {
            return;
        }
        let id = self.next_stream;
        let hub_key = self.hub.author.public_key();
        let Some(hello) = self.nodes[node].connect(id, hub_key) else { return };
        self.note("connect", node);
        self.next_stream += 1;
        let stream = Stream {
            node,
            feed: self.nodes[node].feed,
            up: VecDeque::from([hello.into()]),
            down: VecDeque::new(),
            node_open: true,
            hub_open: true,
        };
        self.streams.insert(id, stream);
    }

    fn send_up(&mut self, node: usize, messages: Vec<Up>) {
        let link = self.nodes[node].link.as_ref().map(|(stream, _)| *stream);
        // A sender that has just ended its stream has nothing more to say on it.
        let Some(stream) = link.and_then(|link| self.streams.get_mut(&link)) else { return };
        stream.up.extend(messages.into_iter().map(pb::PushUp::from));
    }

    fn send_down(&mut self, out: Vec<Out>) {
        for (stream, message) in out {
            let Some(stream) = self.streams.get_mut(&stream) else { continue };
            match message {
                Some(down) => stream.down.push_back(down.into_wire(&self.hub.author)),
                None => stream.hub_open = false,
            }
        }
    }

    fn deliver_up(&mut self, id: usize) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if !stream.hub_open {
            stream.up.clear();
        }
        let Some(message) = stream.up.pop_front() else {
            if !stream.node_open {
                stream.hub_open = false;
                self.hub.drop_stream(id);
            }
            return Ok(());
        };
        let feed = stream.feed;
        self.note("deliver up", id);
        let up = Up::try_from(message).map_err(|fault| format!("our own message: {fault}"))?;
        let out = self.hub.deliver(id, feed, up, &mut self.rng);
        self.send_down(out);
        if !self.hub.is_up() {
            self.lose_hub_ends();
        }
        Ok(())
    }

    fn deliver_down(&mut self, id: usize) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if !stream.node_open {
            stream.down.clear();
        }
        let node = stream.node;
        let Some(message) = stream.down.pop_front() else {
            if !stream.hub_open && stream.node_open {
                stream.node_open = false;
                self.nodes[node].link = None;
            }
            return Ok(());
        };
        self.note("deliver down", id);
        let down = Down::try_from(message).map_err(|fault| format!("our own message: {fault}"))?;
        let messages = self.nodes[node].deliver(down)?;
        self.send_up(node, messages);
        Ok(())
    }

    fn sync_hub(&mut self, node: usize) {
        self.note("sync hub for", node);
        let out = self.hub.sync(self.nodes[node].feed);
        self.send_down(out);
        if !self.hub.is_up() {
            self.lose_hub_ends();
        }
    }

    fn fold_hub(&mut self, node: usize) -> Result<(), Violation> {
        let out = self.hub.fold(self.nodes[node].feed)?;
        self.send_down(out);
        Ok(())
    }

    fn tick(&mut self, node: usize) -> Result<(), Violation> {
        let messages = self.nodes[node].tick()?;
        self.send_up(node, messages);
        Ok(())
    }

    fn grant(&mut self, stream: Option<usize>) {
        let Some(stream) = stream else { return };
        let batches = u32::try_from(self.rng.below(3)).unwrap();
        let out = self.hub.set_window(stream, batches);
        self.send_down(out);
    }

    /// The node's end is gone; the hub may still get some of what is on its way.
    fn reset_at_node(&mut self, node: usize) {
        if let Some((id, _)) = self.nodes[node].link.take() {
            self.note("reset at node", node);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.node_open = false;
                stream.up.truncate(self.rng.below(stream.up.len() + 1));
            }
        }
    }

    fn reset_at_hub(&mut self, stream: Option<usize>) {
        let Some(id) = stream else { return };
        self.note("reset at hub", id);
        self.hub.drop_stream(id);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.hub_open = false;
            stream.down.truncate(self.rng.below(stream.down.len() + 1));
        }
    }

    fn lose_hub_ends(&mut self) {
        for stream in self.streams.values_mut() {
            stream.hub_open = false;
            stream.down.truncate(self.rng.below(stream.down.len() + 1));
        }
    }

    /// The process is killed, or the power goes and with it whatever was not synced.
    fn crash_node(&mut self, node: usize) {
        self.note("crash node", node);
        self.reset_at_node(node);
        self.nodes[node].stop();
        if self.rng.chance(2) {
            power_cut(&self.nodes[node].disk, &mut self.rng);
        }
    }

    fn crash_hub(&mut self) {
        self.note("crash hub", 0);
        self.hub.stop();
        self.lose_hub_ends();
        if self.rng.chance(2) {
            power_cut(&self.hub.disk, &mut self.rng);
        }
    }

    /// One of the next operations of a disk fails, and all after it until the process starts again.
    fn fail_point(&mut self, node: usize) {
        let at = u64::try_from(self.rng.below(8)).unwrap();
        let crash =
            if self.rng.chance(2) { Crash::AtOperation(at) } else { Crash::SyncFailsFrom(at) };
        let disk = if self.rng.chance(2) { &self.hub.disk } else { &self.nodes[node].disk };
        disk.plan(crash);
        self.note("fail point", node);
    }

    fn start_node(&mut self, node: usize) -> Result<(), Violation> {
        if self.nodes[node].journal.is_some() {
            return Ok(());
        }
        self.note("start node", node);
        if self.rng.chance(2) {
            power_cut(&self.nodes[node].disk, &mut self.rng);
        }
        self.nodes[node].start()
    }

    fn start_hub(&mut self) -> Result<(), Violation> {
        if self.hub.is_up() {
            return Ok(());
        }
        self.note("start hub", 0);
        if self.rng.chance(2) {
            power_cut(&self.hub.disk, &mut self.rng);
        }
        self.hub.start()
    }

    /// Ends that a process gave up by itself, and connections that nobody holds any more.
    fn close_ends(&mut self) {
        let held: Vec<usize> =
            self.nodes.iter().filter_map(|node| Some(node.link.as_ref()?.0)).collect();
        for (id, stream) in &mut self.streams {
            stream.node_open = stream.node_open && held.contains(id);
        }
        self.streams.retain(|_, stream| stream.node_open || stream.hub_open);
    }

    /// Everything works again: after a few rounds all that is not frozen must agree (I8), which is also the watchdog.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        self.start_hub()?;
        for node in 0..self.nodes.len() {
            self.start_node(node)?;
            self.nodes[node].disk.plan(Crash::Never);
        }
        self.hub.disk.plan(Crash::Never);
        let mut open = String::new();
        for _ in 0..ROUNDS_MAX {
            for node in 0..self.nodes.len() {
                self.sync_node(node)?;
                self.connect(node);
            }
            self.deliver_all()?;
            for node in 0..self.nodes.len() {
                self.sync_hub(node);
                self.fold_hub(node)?;
            }
            self.deliver_all()?;
            for node in 0..self.nodes.len() {
                self.tick(node)?;
            }
            self.deliver_all()?;
            self.hub.check_told()?;
            match self.disagreement() {
                None => return Ok(()),
                Some(what) => open = what,
            }
        }
        Err(format!("I8: no agreement after {ROUNDS_MAX} rounds: {open}"))
    }

    fn deliver_all(&mut self) -> Result<(), Violation> {
        for stream in self.hub.streams() {
            let out = self.hub.set_window(stream, 2);
            self.send_down(out);
        }
        for _ in 0..MESSAGES_MAX {
            self.close_ends();
            let waiting = |stream: &Stream| {
                !stream.up.is_empty()
                    || !stream.down.is_empty()
                    || stream.node_open != stream.hub_open
            };
            let next = self.streams.iter().find(|(_, stream)| waiting(stream));
            let Some(id) = next.map(|(id, _)| *id) else { return Ok(()) };
            self.deliver_up(id)?;
            self.deliver_down(id)?;
        }
        Err("F5: the messages never end".to_owned())
    }

    /// What node and hub do not agree on yet.
    fn disagreement(&mut self) -> Option<String> {
        for node in self.nodes.iter_mut().filter(|node| node.frozen.is_none()) {
            let (feed, head) = (node.feed, node.head());
            let own = node.journal.as_ref().map(everything).unwrap_or_default();
            let mirror = self.hub.mirror(feed);
            if own != mirror {
                let lengths = (own.len(), mirror.len());
                return Some(format!("{feed:?}: the logs differ, node and hub have {lengths:?}"));
            }
            if self.hub.root(feed) != Some(node.fold.root()) {
                return Some(format!("{feed:?}: the roots differ"));
            }
            if node.confirmed != Some(head.seq) {
                return Some(format!("{feed:?}: {:?} is confirmed of {head}", node.confirmed));
            }
        }
        None
    }
}

/// Of what was not synced, a part that nobody chose is left.
fn power_cut(disk: &SimDisk, rng: &mut Rng) {
    disk.power_cut(|unsynced| match rng.below(3) {
        0 => 0,
        1 => unsynced,
        _ => rng.below(unsynced + 1),
    });
}
