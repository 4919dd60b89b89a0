//! A node: its disk, and while it runs its journals, its folds and its ends of two connections.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::City,
    id::{FeedId, Hash, Head, InstanceId, KeyId},
    limit,
    link::{PROTOCOL, PROTOCOL_MIN, Sender, SenderEffect, credit_for, probe_positions},
    op::{Author, KeyRotation, Op, OpType, SignedOp},
    rejoin::{self, Tail},
    wire::{Credit, Down, Hello, Up, Verdict, city::CityEvent},
};
use liandong_store::{
    StoreError,
    disk::{Crash, SimDisk},
    journal::Journal,
};

use super::{
    clock::Clock,
    disk::{everything, open},
    editor::{self, Desktop},
    fold::Fold,
    invariants::{self, Violation, broken},
    world::Scene,
};

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) journal: Journal,
    pub(super) mirror: Journal,
    pub(super) city: City,
    pub(super) fold: Fold,
    pub(super) push: Option<(usize, Sender)>,
    pub(super) follow: Option<usize>,
    /// The position that the hub confirmed last.
    pub(super) confirmed: Option<u64>,
    credit: Credit,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) feed: FeedId,
    pub(super) hub: Author,
    pub(super) disk: SimDisk,
    pub(super) clock: Clock,
    /// None while the process is down.
    pub(super) process: Option<Process>,
    /// The verdict that made a person necessary.
    pub(super) frozen: Option<Verdict>,
    /// Only a node that was restored or cloned may ever be frozen.
    pub(super) may_freeze: bool,
    /// Nothing gets from here to the hub or back.
    pub(super) apart: bool,
    /// The keys of the feed, the first one first; kept apart from the disk.
    pub(super) ring: Vec<Author>,
    /// Keys that the hub gave instead of revoked ones: from which position on, and which of the ring.
    pub(super) given: Vec<(u64, usize)>,
    /// The key that signs at present.
    signs: usize,
    /// The op whose key the hub refused last.
    pub(super) refused: Option<u64>,
    /// Ops that a person was told are saved.
    pub(super) saved: Vec<Hash>,
    /// An older copy of the disk.
    pub(super) backup: Option<SimDisk>,
    /// How often the feed was joined again here.
    incarnation: u32,
    /// Ops that a person has to settle, by their uids.
    pub(super) queue: BTreeSet<[u8; 16]>,
}

pub(super) fn key(feed: FeedId, number: usize) -> Author {
    let mut seed = [0x5a; 32];
    seed[..16].copy_from_slice(feed.as_bytes());
    seed[31] = u8::try_from(number).unwrap_or(u8::MAX);
    Author::new(feed, SigningKey::from_bytes(&seed))
}

impl Node {
    /// An installation with the hub's feed as it got it when it joined; not started.
    pub(super) fn new(feed: FeedId, hub: Author, disk: SimDisk) -> Self {
        Self {
            feed,
            hub,
            disk,
            clock: Clock::default(),
            process: None,
            frozen: None,
            may_freeze: false,
            apart: false,
            ring: vec![key(feed, 0)],
            given: Vec::new(),
            signs: 0,
            refused: None,
            saved: Vec::new(),
            backup: None,
            incarnation: 1,
            queue: BTreeSet::new(),
        }
    }

    /// The same installation a second time, from a copy of its disk.
    pub(super) fn cloned(&mut self) -> Self {
        self.may_freeze = true;
        Self {
            disk: self.disk.copied(),
            may_freeze: true,
            ring: self.ring.clone(),
            given: self.given.clone(),
            frozen: self.frozen,
            ..Self::new(self.feed, self.hub.clone(), SimDisk::default())
        }
    }

    pub(super) fn author(&self) -> &Author {
        &self.ring[self.signs]
    }

    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts the process; `false` when a journal is damaged and it says so.
    pub(super) fn start(&mut self) -> Result<bool, Violation> {
        self.disk.plan(Crash::Never);
        let opened = open(&self.disk, self.feed)
            .and_then(|journal| Ok((journal, open(&self.disk, self.hub.feed())?)));
        let (journal, mirror) = match opened {
            Ok(both) => both,
            Err(StoreError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(broken("F1", format!("a node does not open: {error}"))),
        };
        let ops = everything(&journal)?;
        invariants::i04_saved(self.feed, &self.saved, &ops)?;
        self.saved = ops.iter().map(|op| op.hash).collect();
        self.signs = self.signer(&ops);
        let mut city = City::default();
        for op in everything(&mirror)? {
            let _unreadable = city.apply(&op);
        }
        let mut fold = Fold::new(self.feed);
        fold.advance(&journal, &city)?;
        self.process = Some(Process {
            journal,
            mirror,
            city,
            fold,
            push: None,
            follow: None,
            confirmed: None,
            credit: credit_for(0),
        });
        Ok(true)
    }

    /// Which key of the ring signs after these ops.
    fn signer(&self, ops: &[Op]) -> usize {
        let rotated = ops.iter().filter(|op| op.kind == OpType::KeyRotate).filter_map(|op| {
            let new = KeyRotation::of(op).ok()?.public_key;
            let at = self.ring.iter().position(|key| key.public_key() == *new.as_bytes())?;
            Some((op.seq + 1, at))
        });
        let next = ops.len() as u64 + 1;
        let given = self.given.iter().copied().filter(|(from, _)| *from <= next);
        rotated.chain(given).max().map_or(0, |(_, at)| at)
    }

    /// Writes one more op, not yet durable; a disk that fails ends the process. I9: this needs nobody.
    pub(super) fn edit(&mut self, scene: &mut Scene) {
        let Some(process) = &self.process else { return };
        let desktop = Desktop {
            feed: self.feed,
            some: pick(process, scene),
            request: process
                .city
                .curation
                .open_requests(self.feed)
                .next()
                .map(|(id, _)| id.as_str()),
            later: scene.faults.has(super::Fault::Unknown),
        };
        let stamp = editor::stamp(self.clock.shows(scene.now_ms), scene.ledger.uid(), "editor");
        let after = process.journal.written();
        let op = editor::next(&desktop, self.author(), after, stamp, &mut scene.rng);
        if let Some(op) = op {
            self.append(&op, scene);
        }
    }

    /// Writes a change that is not the editor's.
    pub(super) fn write(
        &mut self,
        change: liandong_core::op::Change,
        scene: &mut Scene,
    ) -> Option<u64> {
        let after = self.process.as_ref()?.journal.written();
        let stamp = editor::stamp(self.clock.shows(scene.now_ms), scene.ledger.uid(), "admin");
        let op = editor::write(self.author(), after, change, stamp)?;
        self.append(&op, scene);
        self.process.is_some().then_some(op.seq)
    }

    fn append(&mut self, op: &Op, scene: &mut Scene) {
        let Some(process) = &mut self.process else { return };
        scene.ledger.authored(op);
        scene.ops += 1;
        if process.journal.append(std::slice::from_ref(op)).is_err() {
            self.stop();
        } else if let Some((_, at)) = self.given.iter().find(|(from, _)| *from == op.seq + 1) {
            self.signs = *at;
        }
    }

    /// Signs with a new key from the next op on.
    pub(super) fn rotate(&mut self, scene: &mut Scene) {
        let new = key(self.feed, self.ring.len());
        let rotation = KeyRotation::new(&new, self.author().key_id());
        let said = serde_json::to_value(&rotation).unwrap_or_default();
        let change = editor::letter(OpType::KeyRotate, self.feed.as_bytes(), &said);
        if self.write(change, scene).is_some() {
            self.ring.push(new);
            self.signs = self.ring.len() - 1;
        }
    }

    /// Takes the key that the hub gave instead of a revoked one.
    pub(super) fn take_key(&mut self, from_seq: u64, new: Author) {
        self.ring.push(new);
        self.given.push((from_seq, self.ring.len() - 1));
        self.signs = self.ring.len() - 1;
    }

    /// Signs with a key it had before from a position on, as the hub says.
    pub(super) fn take_back(&mut self, from_seq: u64, key: KeyId) -> Result<(), Violation> {
        let Some(at) = self.ring.iter().position(|known| known.key_id() == key) else {
            return Ok(());
        };
        self.given.retain(|(from, _)| *from < from_seq);
        self.given.push((from_seq, at));
        if let Some(process) = &self.process {
            self.signs = self.signer(&everything(&process.journal)?);
        }
        Ok(())
    }

    /// Makes everything written durable, tells the people and the sender.
    pub(super) fn sync(&mut self) -> Result<Vec<Up>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        let before = self.saved.len() as u64;
        if process.journal.append_durably(&[]).is_err() {
            self.stop();
            return Ok(Vec::new());
        }
        let ops = process.journal.read(before, usize::MAX, usize::MAX);
        let ops = ops.map_err(|error| broken("I3", error.to_string()))?;
        self.saved.extend(ops.iter().map(|op| op.hash));
        self.tell_sender()
    }

    /// Brings the fold up to the journal and the sender up to the fold.
    fn tell_sender(&mut self) -> Result<Vec<Up>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        process.fold.advance(&process.journal, &process.city)?;
        let claim = process.fold.claim();
        if let Some((_, sender)) = &mut process.push {
            sender.on_local(process.journal.head(), Some(claim));
        }
        self.carry_out()
    }

    /// Opens a push stream: what it says first.
    pub(super) fn connect(&mut self, stream: usize, scene: &Scene) -> Option<Up> {
        let (hub_key, feed) = (self.hub.public_key(), self.feed);
        let clock_ms = self.clock.shows(scene.now_ms);
        let process = self.process.as_mut()?;
        let head = process.journal.head();
        let at = |seq| Some(Head { seq, hash: process.journal.hash_at(seq).ok()?? });
        let hello = Hello {
            protocol: (PROTOCOL_MIN, PROTOCOL),
            software: "simulation".to_owned(),
            feed,
            head,
            hub_head: process.mirror.head(),
            instance: InstanceId::new([0; 16]),
            incarnation: 1,
            clock_ms,
            probes: probe_positions(head.seq).into_iter().filter_map(at).collect(),
        };
        let mut sender = Sender::new(feed, hub_key, head);
        sender.on_local(head, Some(process.fold.claim()));
        process.push = Some((stream, sender));
        process.credit = credit_for(0);
        Some(Up::Hello(hello))
    }

    /// Withdrawals that wait behind other ops.
    pub(super) fn urgent(&self, acked: u64) -> Vec<SignedOp> {
        let Some(process) = &self.process else { return Vec::new() };
        let ops = process.journal.read(acked, usize::MAX, usize::MAX).unwrap_or_default();
        let urgent = withdrawals(ops).into_iter().map(|op| op.signed);
        urgent.take(limit::URGENT_OPS_MAX).collect()
    }

    pub(super) fn deliver(&mut self, down: Down) -> Result<Vec<Up>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        match &down {
            Down::Welcome(welcome) => process.credit = welcome.credit,
            Down::Ack { credit, .. } => process.credit = *credit,
            _ => {}
        }
        if let Some((_, sender)) = &mut process.push {
            sender.on_down(down);
        }
        self.carry_out()
    }

    /// The hub's feed goes on. What does not follow is not taken: the hub was rolled back or replaced.
    pub(super) fn follow(&mut self, event: CityEvent) -> Result<Vec<Up>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        let CityEvent::HubOps { after, ops } = event else { return Ok(Vec::new()) };
        if process.mirror.written() != after {
            process.follow = None;
            return Ok(Vec::new());
        }
        let mut keys = liandong_core::op::Keys::default();
        let _good = keys.grant(&self.hub.public_key(), 1);
        let mut taken = Vec::new();
        for signed in ops {
            let op = Op::parse(signed).map_err(|fault| broken("I16", fault.to_string()))?;
            op.verify(&keys).map_err(|fault| broken("I20", fault.to_string()))?;
            taken.push(op);
        }
        if process.mirror.append_durably(&taken).is_err() {
            self.stop();
            return Ok(Vec::new());
        }
        for op in &taken {
            let _unreadable = process.city.apply(op);
        }
        self.tell_sender()
    }

    /// A person has decided: the node adopts what the hub holds and writes what it wrote apart again on top. I6: each
    /// op of its tail is kept somewhere.
    pub(super) fn rejoin(&mut self, theirs: &[Op], scene: &mut Scene) -> Result<(), Violation> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let (mine, hub_ops) = (everything(&process.journal)?, everything(&process.mirror)?);
        let common = mine.iter().zip(theirs).take_while(|(a, b)| a.hash == b.hash).count();
        let (mut tail, mut other) = (Tail::default(), Tail::default());
        mine[common..].iter().for_each(|op| tail.note(op));
        theirs[common..].iter().for_each(|op| other.note(op));
        let plan = rejoin::plan(&tail, &other);
        let clashes = plan.clashes.iter().flat_map(|clash| clash.mine.iter());
        let at = |seq: &u64| &mine[usize::try_from(*seq).unwrap_or(0) - 1];
        let queued: Vec<[u8; 16]> = clashes.map(|seq| at(seq).uid).collect();
        let again: Vec<Op> = plan.again.iter().map(|seq| at(seq).clone()).collect();
        invariants::i06_nothing_dropped(&mine[common..], &other, &again, &queued)?;
        self.queue.extend(queued);
        self.disk = SimDisk::default();
        for (feed, ops) in [(self.feed, theirs), (self.hub.feed(), &hub_ops)] {
            let adopted = open(&self.disk, feed).and_then(|mut log| log.append_durably(ops));
            adopted.map_err(|error| broken("F1", error.to_string()))?;
        }
        self.saved.clear();
        self.frozen = None;
        self.incarnation += 1;
        self.start()?;
        for op in &again {
            self.write_again(op, scene)?;
        }
        Ok(())
    }

    fn write_again(&mut self, op: &Op, scene: &mut Scene) -> Result<(), Violation> {
        let Some(process) = &self.process else { return Ok(()) };
        let author = self.author().clone().with_incarnation(self.incarnation);
        let head = process.journal.written();
        let op = author.author_again(head, op, None);
        let op = op.map_err(|fault| broken("I6", fault.to_string()))?;
        self.append(&op, scene);
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<Vec<Up>, Violation> {
        if let Some((_, sender)) = self.process.as_mut().and_then(|process| process.push.as_mut()) {
            sender.on_tick();
        }
        self.carry_out()
    }

    /// Carries the sender's effects out; returns what goes onto the stream.
    fn carry_out(&mut self) -> Result<Vec<Up>, Violation> {
        let mut messages = Vec::new();
        while let Some((_, sender)) =
            self.process.as_mut().and_then(|process| process.push.as_mut())
        {
            let effects = sender.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.effect(effect, &mut messages)?;
            }
        }
        Ok(messages)
    }

    fn effect(&mut self, effect: SenderEffect, out: &mut Vec<Up>) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some((_, sender)) = &mut process.push else { return Ok(()) };
        let read = |error: StoreError| broken("I3", error.to_string());
        match effect {
            SenderEffect::Send(up) => {
                if let Up::Batch { after, ops } = &up {
                    let ends = after.seq + ops.len() as u64;
                    invariants::i19_window(ends - sender.acked().seq, process.credit)?;
                }
                out.push(up);
            }
            SenderEffect::Read { after, ops, bytes } => {
                sender.on_ops(process.journal.read(after, ops, bytes).map_err(read)?);
            }
            SenderEffect::LookThrough { after, to } => {
                let room = usize::try_from(to - after).unwrap_or(usize::MAX);
                let ops = process.journal.read(after, room, usize::MAX).map_err(read)?;
                sender.on_urgent(withdrawals(ops));
            }
            SenderEffect::Hash(seq) => {
                sender.on_hash(seq, process.journal.hash_at(seq).map_err(read)?);
            }
            SenderEffect::Acknowledged(receipt) => {
                let held = process.journal.hash_at(receipt.head.seq).map_err(read)?;
                invariants::i25_receipt_is_ours(&receipt, held)?;
            }
            SenderEffect::Verdict(verdict, explain) if verdict.freezes() => {
                invariants::i06_freezes_for_a_reason(
                    self.feed,
                    self.may_freeze,
                    verdict,
                    &explain,
                )?;
                self.frozen = Some(verdict);
            }
            SenderEffect::Confirmed(seq) => process.confirmed = Some(seq),
            SenderEffect::Diverged(seq) => {
                return Err(broken("I8", format!("the folds of {:?} differ at {seq}", self.feed)));
            }
            SenderEffect::Close { .. } => process.push = None,
            _ => {}
        }
        Ok(())
    }
}

fn pick(process: &Process, scene: &mut Scene) -> Option<liandong_core::id::RecordId> {
    let states = process.fold.states();
    states.keys().nth(scene.rng.below(states.len())).copied()
}

/// The last op of each record that takes it out of the public's sight.
fn withdrawals(ops: Vec<Op>) -> Vec<Op> {
    let mut last: BTreeMap<_, Op> = ops.into_iter().map(|op| (op.subject.clone(), op)).collect();
    last.retain(|_, op| op.withdraws_from_public());
    last.into_values().collect()
}
