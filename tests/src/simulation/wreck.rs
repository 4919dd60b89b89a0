//! How things go wrong.

use std::collections::BTreeMap;

use liandong_core::{
    id::{FeedId, Head, RecordId},
    link::{PROTOCOL, PROTOCOL_MIN},
    op::{OpType, SignedOp},
    wire::{Hello, Up},
};
use liandong_proto::sync as pb;
use liandong_store::disk::{Crash, SimDisk};

use super::{
    Fault, desk,
    disk::{everything, flip, open, power_cut},
    editor,
    invariants::{Violation, broken},
    network::{Call, Stream},
    node::key,
    world::World,
};

impl World {
    /// One of the faults that may strike does.
    pub(super) fn go_wrong(&mut self, node: usize, stream: Option<usize>) -> Result<(), Violation> {
        let faults: Vec<Fault> = self.scene.faults.iter().collect();
        let Some(fault) = self.scene.rng.pick(&faults) else { return Ok(()) };
        let strikes = match fault {
            Fault::Delay => self.delay(stream),
            Fault::Cut => self.cut(stream),
            Fault::Duplicate => self.connect_again(node),
            Fault::HalfOpen => self.half_open(stream),
            Fault::Kill => self.kill(node, false),
            Fault::Power => self.kill(node, true),
            Fault::Disk => self.break_disk(node),
            Fault::Flip => self.flip(node)?,
            Fault::Clock => self.disturb_clock(node),
            Fault::Restore => self.restore(node)?,
            Fault::Clone => self.clone_node(node)?,
            Fault::HubRestore => self.restore_hub(false)?,
            Fault::HubWipe => self.restore_hub(true)?,
            Fault::Rotate => self.rotate(node),
            Fault::Revoke => self.revoke(node)?,
            Fault::Transfer => self.transfer(node),
            Fault::Curate => {
                let changes = self.hub.curate(&mut self.scene.rng);
                let any = !changes.is_empty();
                self.decide(changes)?;
                any
            }
            Fault::Gate => {
                let changes = self.hub.gate(self.nodes[node].feed);
                let any = !changes.is_empty();
                self.decide(changes)?;
                any
            }
            Fault::Urgent => self.urge(node),
            // Strikes where editors write.
            Fault::Unknown => true,
            Fault::Hostile => self.attack(node),
        };
        if strikes {
            self.strike(fault, node);
        }
        Ok(())
    }

    fn delay(&mut self, stream: Option<usize>) -> bool {
        let until = self.scene.now_ms + i64::try_from(self.scene.rng.below(900_000)).unwrap_or(0);
        let Some(stream) = stream.and_then(|id| self.streams.get_mut(&id)) else { return false };
        stream.held_until_ms = until;
        true
    }

    /// Both ends learn of it in their own time; what is under way arrives in part.
    fn cut(&mut self, stream: Option<usize>) -> bool {
        let Some(id) = stream else { return false };
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let keep = self.scene.rng.below(stream.up.len() + 1);
        stream.up.cut(keep);
        let keep = self.scene.rng.below(stream.down.len() + 1);
        stream.down.cut(keep);
        stream.node_open = false;
        let (node, call) = (stream.node, stream.call);
        self.forget_link(node, call, id);
        true
    }

    /// One end knows that the connection is gone and the other does not.
    fn half_open(&mut self, stream: Option<usize>) -> bool {
        let Some(id) = stream else { return false };
        if self.scene.rng.one_in(2) {
            self.hub.drop_stream(id);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.hub_open = false;
                stream.down.cut(0);
            }
        } else if let Some(stream) = self.streams.get_mut(&id) {
            stream.node_open = false;
            stream.up.cut(0);
            let (node, call) = (stream.node, stream.call);
            self.forget_link(node, call, id);
        }
        true
    }

    /// The node gives its connection up for a new one while the hub still holds the old one.
    fn connect_again(&mut self, node: usize) -> bool {
        let Some(process) = &mut self.nodes[node].process else { return false };
        if process.push.take().is_none() {
            return false;
        }
        self.connect(node);
        true
    }

    /// A process is killed, or its machine loses power.
    fn kill(&mut self, node: usize, power: bool) -> bool {
        let hub = self.scene.rng.one_in(3);
        let disk = if hub {
            self.hub.stop();
            self.lose_hub_ends();
            self.hub.disk.clone()
        } else {
            self.nodes[node].stop();
            self.lose_node_ends(node);
            self.nodes[node].disk.clone()
        };
        if power {
            power_cut(&disk, &mut self.scene.rng);
        }
        true
    }

    /// One of the next operations of a disk fails, and all after it until the process starts again.
    fn break_disk(&mut self, node: usize) -> bool {
        let at = u64::try_from(self.scene.rng.below(8)).unwrap_or(0);
        let crash = match self.scene.rng.below(3) {
            0 => Crash::AtOperation(at),
            1 => Crash::SyncFailsFrom(at),
            _ => Crash::FullFrom(at),
        };
        let hub = self.scene.rng.one_in(2);
        let disk = if hub { &self.hub.disk } else { &self.nodes[node].disk };
        disk.plan(crash);
        true
    }

    /// I3: a process that starts on a damaged journal says so and changes nothing; the other side repairs it.
    fn flip(&mut self, node: usize) -> Result<bool, Violation> {
        let feed = self.nodes[node].feed;
        let hub = self.scene.rng.one_in(2);
        let disk: SimDisk = if hub { self.hub.disk.clone() } else { self.nodes[node].disk.clone() };
        let Some((path, at, bit)) = flip(&disk, feed, &mut self.scene.rng) else {
            return Ok(false);
        };
        disk.plan(Crash::Never);
        let before = disk.files();
        let opened = open(&disk, feed).is_ok();
        if opened || disk.files() != before {
            let what = format!("a bit flipped at {at} of {}, and nobody noticed", path.display());
            return Err(broken("I3", what));
        }
        disk.tamper(&path, |bytes| bytes[at] ^= bit);
        Ok(true)
    }

    fn disturb_clock(&mut self, node: usize) -> bool {
        let now_ms = self.scene.now_ms;
        let hub = self.scene.rng.one_in(4);
        let clock = if hub { &mut self.hub.clock } else { &mut self.nodes[node].clock };
        clock.disturb(now_ms, &mut self.scene.rng);
        true
    }

    /// A backup is made, or an earlier one takes the place of the disk.
    fn restore(&mut self, node: usize) -> Result<bool, Violation> {
        let one = &mut self.nodes[node];
        let Some(backup) = one.backup.take() else {
            // A backup program sees what is on the disk, not what the process still holds.
            one.backup = one.process.is_some().then(|| one.disk.copied());
            return Ok(false);
        };
        one.stop();
        one.disk = backup;
        one.saved.clear();
        one.may_freeze = true;
        let feed = one.feed;
        self.scene.ledger.node_lost(feed);
        self.lose_node_ends(node);
        self.start_node(node)?;
        Ok(true)
    }

    /// The node's disk runs a second time.
    fn clone_node(&mut self, node: usize) -> Result<bool, Violation> {
        let feed = self.nodes[node].feed;
        let copies = self.nodes.iter().filter(|other| other.feed == feed).count();
        if copies > 1 {
            return Ok(false);
        }
        let mut clone = self.nodes[node].cloned();
        clone.start()?;
        self.scene.ledger.node_lost(feed);
        self.nodes.push(clone);
        Ok(true)
    }

    /// The hub loses its disk, or goes on from an older copy, and gets its own feed back from the nodes.
    fn restore_hub(&mut self, wipe: bool) -> Result<bool, Violation> {
        if !wipe && self.hub.backup.is_none() {
            self.hub.backup = self.hub.is_up().then(|| self.hub.disk.copied());
            return Ok(false);
        }
        self.hub.stop();
        self.lose_hub_ends();
        // What was copied before is of another life of the hub and is thrown away.
        let backup = self.hub.backup.take().filter(|_| !wipe);
        self.hub.disk = backup.unwrap_or_default();
        let mut left = BTreeMap::new();
        let feeds: Vec<FeedId> = self.scene.ledger.durable.keys().copied().collect();
        for feed in feeds {
            let head = open(&self.hub.disk, feed).map_or(Head::EMPTY, |journal| journal.head());
            left.insert(feed, head);
        }
        self.recover_hub(&mut left)?;
        let hub = self.hub.author.feed();
        self.scene.ledger.hub_went_back(&left, hub);
        self.hub.start(&mut self.scene)?;
        self.decide(desk::rejoined(wipe, &self.hub))?;
        Ok(true)
    }

    /// I23: the longest valid chain of the hub's feed that any node mirrors is the hub's again, each payload from a
    /// node that may see it.
    fn recover_hub(&mut self, left: &mut BTreeMap<FeedId, Head>) -> Result<(), Violation> {
        let feed = self.hub.author.feed();
        let mut mirrors = Vec::new();
        for node in &self.nodes {
            node.disk.plan(Crash::Never);
            let mirror = open(&node.disk, feed).map_err(|e| broken("F1", e.to_string()))?;
            mirrors.push(everything(&mirror)?);
        }
        let mut longest = mirrors.iter().max_by_key(|ops| ops.len()).cloned().unwrap_or_default();
        for (at, op) in longest.iter_mut().enumerate().filter(|(_, op)| op.signed.withheld) {
            let mut seen = mirrors.iter().filter_map(|ops| ops.get(at));
            if let Some(whole) = seen.find(|other| !other.signed.withheld) {
                *op = whole.clone();
            }
        }
        let mut own = open(&self.hub.disk, feed).map_err(|e| broken("F1", e.to_string()))?;
        let known = usize::try_from(own.head().seq).unwrap_or(usize::MAX);
        if let Some(more) = longest.get(known..) {
            let head = own.append_durably(more);
            left.insert(feed, head.map_err(|error| broken("I23", error.to_string()))?);
        }
        // The processes find their journals as they left them.
        for node in 0..self.nodes.len() {
            if self.nodes[node].process.is_some() {
                self.nodes[node].stop();
                self.lose_node_ends(node);
                self.start_node(node)?;
            }
        }
        Ok(())
    }

    fn rotate(&mut self, node: usize) -> bool {
        // Two copies of a feed would take different keys; a person does not do that.
        if self.nodes[node].may_freeze || self.nodes[node].process.is_none() {
            return false;
        }
        self.nodes[node].rotate(&mut self.scene);
        true
    }

    /// The hub revokes the key of a node, believing some of its last ops no longer, and gives it another.
    fn revoke(&mut self, node: usize) -> Result<bool, Violation> {
        let one = &self.nodes[node];
        let feed = one.feed;
        let level = one.process.as_ref().is_some_and(|process| {
            process.journal.written() == process.journal.head()
                && one.saved == self.scene.ledger.stored(feed)
        });
        let Some(process) = self.hub.process.as_ref().filter(|_| level && !one.may_freeze) else {
            return Ok(false);
        };
        let mirror = &process.mirrors[&feed].journal;
        let head = mirror.head();
        if head.seq < 3 || process.city.directory.feeds[&feed].keys.current().is_none() {
            return Ok(false);
        }
        let last_good = head.seq - self.scene.rng.below(3) as u64;
        let Ok(Some(op)) = mirror.op(last_good) else { return Ok(false) };
        // Only a key that signed up to here can be the stolen one.
        if op.key != one.author().key_id() {
            return Ok(false);
        }
        let new = key(feed, one.ring.len());
        let granted = desk::grant(feed, new.public_key(), head.seq + 1);
        let revoked = desk::revoke(&process.city, &op);
        if revoked.is_empty() {
            return Ok(false);
        }
        self.decide([revoked, granted.clone()].concat())?;
        // A disk that failed may have kept all, some or nothing of it: the person starts the hub again and looks.
        self.start_hub()?;
        let Some(process) = &self.hub.process else { return Ok(false) };
        let keys = &process.city.directory.feeds[&feed].keys;
        if !keys.revoked().iter().any(|(revoked, _)| *revoked == op.key) {
            return Ok(false);
        }
        if keys.current() != Some(new.key_id()) {
            self.decide(granted)?;
        }
        self.nodes[node].take_key(head.seq + 1, new);
        Ok(true)
    }

    /// A district takes what it was offered, or offers what it has to another: some records, or all.
    fn transfer(&mut self, node: usize) -> bool {
        let other = self.scene.rng.below(self.nodes.len());
        let to_feed = self.nodes[other].feed;
        let one = &self.nodes[node];
        if one.may_freeze || self.nodes[other].may_freeze || one.feed == to_feed {
            return false;
        }
        let Some(process) = &one.process else { return false };
        let offered = process.city.authority.offers().find(|offer| offer.to_feed == one.feed);
        let change = if let Some(offered) = offered {
            desk::accept(offered)
        } else {
            let owned = |id: &RecordId| process.city.owner(*id) == one.feed;
            let records = process.fold.states().keys().copied().filter(owned).take(2);
            let records = Some(records.collect()).filter(|_| !self.scene.rng.one_in(4));
            desk::offer(self.scene.ledger.uid(), to_feed, records)
        };
        self.nodes[node].write(change, &mut self.scene).is_some()
    }

    /// Withdrawals go to the hub before their turn.
    fn urge(&mut self, node: usize) -> bool {
        let one = &self.nodes[node];
        let Some((link, sender)) = one.process.as_ref().and_then(|process| process.push.as_ref())
        else {
            return false;
        };
        let (link, urgent) = (*link, one.urgent(sender.acked().seq));
        let live = sender.acked().seq > 0 && !urgent.is_empty();
        let Some(stream) = self.streams.get_mut(&link).filter(|_| live) else { return false };
        stream.up.send(&pb::PushUp::from(Up::Urgent(urgent)));
        true
    }

    /// Somebody with a stolen certificate, and at times with the stolen key: wrong feed, numbers left out, a bad
    /// signature, another's key.
    fn attack(&mut self, node: usize) -> bool {
        let feed = self.nodes[node].feed;
        let Some(process) = &self.hub.process else { return false };
        let Some(mirror) = process.mirrors.get(&feed) else { return false };
        let head = mirror.journal.head();
        let hello = Hello {
            protocol: (PROTOCOL_MIN, PROTOCOL),
            software: "stranger".to_owned(),
            feed,
            head,
            hub_head: Head::EMPTY,
            instance: liandong_core::id::InstanceId::new([9; 16]),
            incarnation: 1,
            clock_ms: 0,
            probes: Vec::new(),
        };
        let Some(op) = self.forged(node, head) else { return false };
        let mut stream = Stream::new(None, feed, Call::Push);
        stream.up.send(&pb::PushUp::from(Up::Hello(hello)));
        stream.up.send(&pb::PushUp::from(Up::Batch { after: head, ops: vec![op] }));
        stream.node_open = false;
        self.open(stream);
        true
    }

    fn forged(&mut self, node: usize, head: Head) -> Option<SignedOp> {
        let feed = self.nodes[node].feed;
        let said = serde_json::json!({});
        let change = editor::letter(OpType::Dispute, feed.as_bytes(), &said);
        let stamp = editor::stamp(0, self.scene.ledger.uid(), "stranger");
        let (author, at) = match self.scene.rng.below(4) {
            0 => (key(FeedId::new([0x77; 16]), 0), head),
            1 => {
                let jump = Head { seq: head.seq + 3, ..head };
                (self.nodes[node].author().clone(), jump)
            }
            2 => (key(feed, 99), head),
            _ => {
                let op = editor::write(self.nodes[node].author(), head, change, stamp)?;
                let mut signature = op.signed.signature.to_vec();
                signature[7] ^= 1;
                return Some(SignedOp { signature: signature.into(), ..op.signed });
            }
        };
        Some(editor::write(&author, at, change, stamp)?.signed)
    }

    pub(super) fn start_node(&mut self, node: usize) -> Result<(), Violation> {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        self.note(|| format!("start node {node}"));
        let started = self.nodes[node].start()?;
        if started { Ok(()) } else { Err(broken("F1", format!("node {node} finds damage"))) }
    }

    pub(super) fn start_hub(&mut self) -> Result<(), Violation> {
        if self.hub.is_up() {
            return Ok(());
        }
        self.note(|| "start the hub".to_owned());
        let started = self.hub.start(&mut self.scene)?;
        if started { Ok(()) } else { Err(broken("F1", "the hub finds damage".to_owned())) }
    }
}
