//! A node of the simulation: its author, its journal on a simulated disk and its end of a stream.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use liandong_core::{
    code::OpenKind,
    fold::Tombstone,
    id::{FeedId, Hash, Head, InstanceId, RecordId},
    link::{PROTOCOL, PROTOCOL_MIN, Sender, SenderEffect, credit_for, probe_positions},
    op::{Author, Change, OpType, Stamp},
    record::{Open, Provider, Record, Visibility},
    wire::{Credit, Down, Hello, Up, Verdict},
};
use liandong_store::{
    disk::{Crash, SimDisk},
    journal::Journal,
};
use ulid::Ulid;

use crate::model::{Fold, Mutant, Rng, Violation, copy, everything, open};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) feed: FeedId,
    author: Author,
    pub(crate) disk: SimDisk,
    /// None while the process is down.
    pub(crate) journal: Option<Journal>,
    pub(crate) fold: Fold,
    pub(crate) link: Option<(usize, Sender)>,
    /// The verdict that made a person necessary.
    pub(crate) frozen: Option<Verdict>,
    /// Only a node that was restored or cloned may ever be frozen.
    pub(crate) may_freeze: bool,
    /// Positions whose root the hub confirmed last.
    pub(crate) confirmed: Option<u64>,
    /// Ops that a person was told are saved.
    saved: BTreeMap<u64, Hash>,
    credit: Credit,
    /// Where this process believes to have sent up to; used by a mutant only.
    memory: Head,
    mutant: Mutant,
}

impl Node {
    pub(crate) fn new(n: u8, mutant: Mutant) -> Result<Self, Violation> {
        let feed = FeedId::new([n; 16]);
        let author = Author::new(feed, SigningKey::from_bytes(&[n; 32]));
        let mut node = Self {
            feed,
            author,
            disk: SimDisk::default(),
            journal: None,
            fold: Fold::default(),
            link: None,
            frozen: None,
            may_freeze: false,
            confirmed: None,
            saved: BTreeMap::new(),
            credit: credit_for(0),
            memory: Head::EMPTY,
            mutant,
        };
        node.start()?;
        Ok(node)
    }

    /// The same installation a second time, from a copy of its disk.
    pub(crate) fn cloned(&mut self) -> Result<Self, Violation> {
        self.may_freeze = true;
        let mut clone = Self::new(self.feed.as_bytes()[0], self.mutant)?;
        clone.may_freeze = true;
        clone.restore(self.backup())?;
        Ok(clone)
    }

    pub(crate) fn public_key(&self) -> [u8; 32] {
        self.author.public_key()
    }

    pub(crate) fn backup(&self) -> SimDisk {
        copy(&self.disk, self.feed)
    }

    /// Puts an older disk in the place of the present one.
    pub(crate) fn restore(&mut self, disk: SimDisk) -> Result<(), Violation> {
        self.stop();
        self.disk = disk;
        self.saved.clear();
        self.may_freeze = true;
        self.start()
    }

    pub(crate) fn stop(&mut self) {
        (self.journal, self.link) = (None, None);
        self.memory = Head::EMPTY;
    }

    pub(crate) fn start(&mut self) -> Result<(), Violation> {
        self.disk.plan(Crash::Never);
        let journal = open(&self.disk, self.feed)?;
        for (seq, hash) in &self.saved {
            if journal.hash_at(*seq).ok().flatten() != Some(*hash) {
                return Err(format!("I4: op {seq} of {:?} was saved and is gone", self.feed));
            }
        }
        self.fold = Fold::default();
        self.fold.advance(&everything(&journal))?;
        self.journal = Some(journal);
        Ok(())
    }

    pub(crate) fn head(&self) -> Head {
        self.journal.as_ref().map_or(Head::EMPTY, Journal::head)
    }

    /// Writes one more op, not yet durable. A disk that fails ends the process.
    pub(crate) fn edit(&mut self, uid: u128, rng: &mut Rng) {
        let change = self.change(uid, rng);
        let Some(journal) = &mut self.journal else { return };
        // Clocks are anything at all: nothing may depend on them.
        let now_ms = i64::try_from(rng.next() % 4_000_000_000_000).unwrap();
        let stamp = Stamp { now_ms, uid: uid.to_be_bytes(), actor: "editor".to_owned() };
        let op = self.author.author(journal.written(), change, stamp).unwrap();
        if journal.append(&[op]).is_err() {
            self.stop();
        }
    }

    /// Mostly what an editor does, sometimes what faulty or later software would write.
    fn change(&self, uid: u128, rng: &mut Rng) -> Change {
        let fresh = RecordId::new(self.feed, Ulid(uid));
        let some = self.fold.any_record(rng).unwrap_or(fresh);
        let record = Record {
            title: format!("第{}号", rng.below(1_000)),
            provider: Provider { name: "某局".to_owned(), ..Provider::default() },
            open: Open { kind: OpenKind::OnRequest, ..Open::default() },
            ..Record::default()
        };
        let whole = record.to_bytes();
        let tombstone = serde_json::to_vec(&Tombstone::default()).unwrap();
        let foreign = RecordId::new(FeedId::new([0xee; 16]), Ulid(uid));
        let (kind, id, payload) = match rng.below(20) {
            0..7 => (OpType::RecordPut, fresh, whole),
            7..11 => (OpType::RecordPut, some, whole),
            11..14 => (OpType::RecordTombstone, some, tombstone),
            14..17 => (OpType::RecordRevive, some, whole),
            17 => (OpType::RecordPut, some, b"noise".to_vec()),
            18 => (OpType::Unknown("record.merge.v9".to_owned()), some, b"later".to_vec()),
            _ => (OpType::RecordPut, foreign, whole),
        };
        let subject = id.to_bytes().to_vec();
        Change { kind, subject, base: None, payload, visibility: Visibility::Public }
    }

    /// Makes everything written durable, tells the people and the sender.
    pub(crate) fn sync(&mut self) -> Result<Vec<Up>, Violation> {
        let Some(journal) = &mut self.journal else { return Ok(Vec::new()) };
        let before = journal.head().seq;
        let Ok(head) = journal.append_durably(&[]) else {
            self.stop();
            return Ok(Vec::new());
        };
        let ops = journal.read(before, usize::MAX, usize::MAX).unwrap();
        self.saved.extend(ops.iter().map(|op| (op.seq, op.hash)));
        self.fold.advance(&ops)?;
        let claim = self.fold.claim();
        if let Some((_, sender)) = &mut self.link {
            sender.on_local(head, Some(claim));
        }
        self.carry_out()
    }

    /// Opens a stream: what it says first.
    pub(crate) fn connect(&mut self, stream: usize, hub_key: [u8; 32]) -> Option<Up> {
        let journal = self.journal.as_ref()?;
        let head = journal.head();
        let at = |seq| Some(Head { seq, hash: journal.hash_at(seq).ok()?? });
        let hello = Hello {
            protocol: (PROTOCOL_MIN, PROTOCOL),
            software: "simulation".to_owned(),
            feed: self.feed,
            head,
            hub_head: Head::EMPTY,
            instance: InstanceId::new([0; 16]),
            incarnation: 1,
            clock_ms: 0,
            probes: probe_positions(head.seq).into_iter().filter_map(at).collect(),
        };
        let mut sender = Sender::new(self.feed, hub_key, head);
        sender.on_local(head, Some(self.fold.claim()));
        self.link = Some((stream, sender));
        self.credit = credit_for(0);
        Some(Up::Hello(hello))
    }

    pub(crate) fn deliver(&mut self, mut down: Down) -> Result<Vec<Up>, Violation> {
        self.mutate(&mut down);
        match &down {
            Down::Welcome(welcome) => self.credit = welcome.credit,
            Down::Ack { credit, .. } => self.credit = *credit,
            _ => {}
        }
        if let Some((_, sender)) = &mut self.link {
            sender.on_down(down);
        }
        self.carry_out()
    }

    fn mutate(&self, down: &mut Down) {
        let (Down::Welcome(welcome), Some(journal)) = (down, &self.journal) else { return };
        if self.mutant == Mutant::SeqOnlyCursor {
            let own = journal.hash_at(welcome.mirror.seq).ok().flatten();
            welcome.mirror.hash = own.unwrap_or(welcome.mirror.hash);
        }
        if self.mutant == Mutant::SenderCursor && self.memory.seq > 0 {
            welcome.mirror = self.memory;
        }
    }

    pub(crate) fn tick(&mut self) -> Result<Vec<Up>, Violation> {
        if let Some((_, sender)) = &mut self.link {
            sender.on_tick();
        }
        self.carry_out()
    }

    /// Carries the sender's effects out; returns what goes onto the stream.
    fn carry_out(&mut self) -> Result<Vec<Up>, Violation> {
        let mut messages = Vec::new();
        while let Some((_, sender)) = &mut self.link {
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
        let (Some((_, sender)), Some(journal)) = (&mut self.link, &self.journal) else {
            return Ok(());
        };
        match effect {
            SenderEffect::Send(up) => {
                if let Up::Batch { after, ops } = &up {
                    let ends = after.seq + ops.len() as u64;
                    let in_flight = ends - sender.acked().seq;
                    if in_flight > u64::from(self.credit.ops) {
                        return Err(format!("I19: {in_flight} ops in flight, {:?}", self.credit));
                    }
                    let hash = journal.hash_at(ends).unwrap().unwrap();
                    self.memory = Head { seq: ends, hash };
                }
                out.push(up);
            }
            SenderEffect::Read { after, ops, bytes } => {
                sender.on_ops(journal.read(after, ops, bytes).unwrap());
            }
            SenderEffect::LookThrough { after, to } => {
                let mut last = BTreeMap::new();
                for seq in after + 1..=to {
                    let Some(op) = journal.op(seq).unwrap() else { break };
                    last.insert(op.subject.to_vec(), op);
                }
                last.retain(|_, op| op.withdraws_from_public());
                sender.on_urgent(last.into_values().collect());
            }
            SenderEffect::Hash(seq) => sender.on_hash(seq, journal.hash_at(seq).unwrap()),
            SenderEffect::Acknowledged(receipt) => {
                let held = journal.hash_at(receipt.head.seq).unwrap();
                if held != Some(receipt.head.hash) {
                    return Err(format!("I25: a receipt for {} that is not ours", receipt.head));
                }
            }
            SenderEffect::Verdict(verdict, _) if verdict.freezes() => self.freeze(verdict)?,
            SenderEffect::Confirmed(seq) => self.confirmed = Some(seq),
            SenderEffect::Diverged(seq) => {
                return Err(format!("I8: the folds differ at {seq} of {:?}", self.feed));
            }
            SenderEffect::Close { .. } => self.link = None,
            SenderEffect::Outcomes(_) | SenderEffect::Verdict(..) => {}
        }
        Ok(())
    }

    fn freeze(&mut self, verdict: Verdict) -> Result<(), Violation> {
        if !self.may_freeze {
            return Err(format!("{} of {:?} without a reason", verdict.name(), self.feed));
        }
        self.frozen = Some(verdict);
        Ok(())
    }
}
