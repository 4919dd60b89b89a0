//! The hub of the simulation: a mirror of every feed on one simulated disk and its ends of the streams.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use liandong_core::{
    fold::Outcome,
    id::{FeedId, Hash, Head},
    link::{Admission, Receiver, ReceiverEffect, credit_for},
    op::{Author, Keys, Op},
    receipt::Receipt,
    wire::{Down, RejectCode, Up, Verdict},
};
use liandong_store::{
    disk::{Crash, SimDisk},
    journal::Journal,
};

use crate::model::{Fold, Mutant, Rng, Violation, everything, open};

#[derive(Debug)]
struct Mirror {
    journal: Journal,
    /// What a hub without hashes has put behind its head; used by a mutant only.
    loose: Vec<Op>,
    fold: Fold,
}

impl Mirror {
    fn head(&self) -> Head {
        self.loose.last().map_or_else(|| self.journal.head(), Op::head)
    }

    fn ops(&self) -> Vec<Op> {
        [everything(&self.journal), self.loose.clone()].concat()
    }
}

#[derive(Debug)]
struct Inbound {
    feed: FeedId,
    receiver: Receiver,
    /// Ops of this stream wait for a sync.
    waits: bool,
}

/// A message for a stream, or its end.
pub(crate) type Out = (usize, Option<Down>);

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) author: Author,
    pub(crate) disk: SimDisk,
    keys: BTreeMap<FeedId, Keys>,
    /// None while the process is down.
    mirrors: Option<BTreeMap<FeedId, Mirror>>,
    streams: BTreeMap<usize, Inbound>,
    /// Every position that was ever durable, or said to be in a receipt or a welcome.
    told: BTreeMap<FeedId, BTreeMap<u64, Hash>>,
    pub(crate) alarms: Vec<Verdict>,
    /// The loose ops of the mirrors while the process is down.
    loose: BTreeMap<FeedId, Vec<Op>>,
    mutant: Mutant,
}

impl Hub {
    pub(crate) fn new(mutant: Mutant) -> Self {
        Self {
            author: Author::new(FeedId::new([0xff; 16]), SigningKey::from_bytes(&[0xff; 32])),
            disk: SimDisk::default(),
            keys: BTreeMap::new(),
            mirrors: None,
            streams: BTreeMap::new(),
            told: BTreeMap::new(),
            alarms: Vec::new(),
            loose: BTreeMap::new(),
            mutant,
        }
    }

    pub(crate) fn admit(&mut self, feed: FeedId, public_key: [u8; 32]) {
        self.keys.entry(feed).or_default().grant(&public_key, 1).unwrap();
    }

    pub(crate) fn is_up(&self) -> bool {
        self.mirrors.is_some()
    }

    pub(crate) fn stop(&mut self) {
        for (feed, mirror) in self.mirrors.take().unwrap_or_default() {
            self.loose.insert(feed, mirror.loose);
        }
        self.streams.clear();
    }

    /// Opens every mirror again. I2 and I4: what was ever durable or acknowledged is there and is the same.
    pub(crate) fn start(&mut self) -> Result<(), Violation> {
        self.disk.plan(Crash::Never);
        let mut mirrors = BTreeMap::new();
        for feed in self.keys.keys() {
            let journal = open(&self.disk, *feed)?;
            let loose = self.loose.remove(feed).unwrap_or_default();
            let mut mirror = Mirror { journal, loose, fold: Fold::default() };
            mirror.fold.advance(&mirror.ops())?;
            mirrors.insert(*feed, mirror);
        }
        self.mirrors = Some(mirrors);
        self.check_told()
    }

    /// I2, I4.
    pub(crate) fn check_told(&self) -> Result<(), Violation> {
        let Some(mirrors) = &self.mirrors else { return Ok(()) };
        for (feed, told) in &self.told {
            for (seq, hash) in told {
                let held = mirrors.get(feed).and_then(|m| m.journal.hash_at(*seq).ok().flatten());
                if held != Some(*hash) {
                    return Err(format!(
                        "I4: op {seq} of {feed:?} was acknowledged and is {held:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn mirror(&self, feed: FeedId) -> Vec<Op> {
        let mirror = self.mirrors.as_ref().and_then(|mirrors| mirrors.get(&feed));
        mirror.map(Mirror::ops).unwrap_or_default()
    }

    pub(crate) fn root(&mut self, feed: FeedId) -> Option<Hash> {
        Some(self.mirrors.as_mut()?.get_mut(&feed)?.fold.root())
    }

    pub(crate) fn streams(&self) -> Vec<usize> {
        self.streams.keys().copied().collect()
    }

    pub(crate) fn drop_stream(&mut self, stream: usize) {
        self.streams.remove(&stream);
    }

    /// Lets a stream have more or less in flight.
    pub(crate) fn set_window(&mut self, stream: usize, batches: u32) -> Vec<Out> {
        if let Some(inbound) = self.streams.get_mut(&stream) {
            inbound.receiver.set_window(batches);
        }
        self.carry_out(stream)
    }

    /// A message that arrived; `feed` is what the client's certificate says.
    pub(crate) fn deliver(
        &mut self,
        stream: usize,
        feed: FeedId,
        up: Up,
        rng: &mut Rng,
    ) -> Vec<Out> {
        let Some(mirrors) = &mut self.mirrors else { return Vec::new() };
        let Some(mirror) = mirrors.get_mut(&feed) else { return Vec::new() };
        match up {
            Up::Hello(hello) => self.greet(stream, hello, rng),
            Up::Batch { ops, .. } if self.mutant == Mutant::SeqOnlyCursor => {
                store_loosely(mirror, stream, &ops, &self.author)
            }
            up => {
                let Some(inbound) = self.streams.get_mut(&stream) else { return Vec::new() };
                let is_claim = matches!(up, Up::Claim(_));
                inbound.receiver.on_up(up);
                if is_claim {
                    inbound.receiver.on_applied(mirror.fold.claim(), Vec::new(), 0);
                }
                self.carry_out(stream)
            }
        }
    }

    fn greet(
        &mut self,
        stream: usize,
        mut hello: liandong_core::wire::Hello,
        rng: &mut Rng,
    ) -> Vec<Out> {
        let feed = hello.feed;
        let mut out = Vec::new();
        for older in self.streams() {
            if let Some(inbound) = self.streams.get_mut(&older).filter(|other| other.feed == feed) {
                inbound.receiver.on_overtaken();
                out.extend(self.carry_out(older));
            }
        }
        let Some(mirror) = self.mirrors.as_ref().and_then(|all| all.get(&feed)) else { return out };
        let ops = mirror.ops();
        let hash_at = |seq: u64| {
            let at = usize::try_from(seq).ok()?.checked_sub(1)?;
            ops.get(at).map(|op| op.hash)
        };
        if self.mutant == Mutant::SeqOnlyCursor {
            hello.head.hash = hash_at(hello.head.seq).unwrap_or(hello.head.hash);
            hello.probes.clear();
        }
        let admission = Admission {
            keys: self.keys[&feed].clone(),
            mirror: mirror.head(),
            directory_seq: 0,
            hub_incarnation: 1,
            min_software: None,
            now_ms: 0,
        };
        if mirror.loose.is_empty() && admission.mirror.seq > 0 {
            let told = self.told.entry(feed).or_default();
            told.insert(admission.mirror.seq, admission.mirror.hash);
        }
        let mut receiver = Receiver::new(feed);
        receiver.set_window(u32::try_from(rng.below(3)).unwrap());
        receiver.on_hello(&hello, admission, hash_at);
        self.streams.insert(stream, Inbound { feed, receiver, waits: false });
        out.extend(self.carry_out(stream));
        out
    }

    /// Carries a receiver's effects out; returns what goes onto the stream.
    fn carry_out(&mut self, stream: usize) -> Vec<Out> {
        let mut out = Vec::new();
        loop {
            let Some(inbound) = self.streams.get_mut(&stream) else { return out };
            let effects = inbound.receiver.effects();
            if effects.is_empty() {
                return out;
            }
            for effect in effects {
                match effect {
                    ReceiverEffect::Send(down) => out.push((stream, Some(self.remember(down)))),
                    ReceiverEffect::Append { after, ops } => self.append(stream, after, &ops),
                    ReceiverEffect::Alarm(verdict, _) => self.alarms.push(verdict),
                    ReceiverEffect::Diverged(_) | ReceiverEffect::Hide(_) => {}
                    ReceiverEffect::Close => {
                        self.streams.remove(&stream);
                        out.push((stream, None));
                    }
                }
            }
        }
    }

    fn remember(&mut self, down: Down) -> Down {
        if let Down::Ack { receipt: Some(receipt), .. } = &down {
            let feed = receipt.feed;
            self.told.entry(feed).or_default().insert(receipt.head.seq, receipt.head.hash);
        }
        down
    }

    /// Compare-and-append. A disk that fails ends the process.
    fn append(&mut self, stream: usize, after: Head, ops: &[Op]) {
        let Some(inbound) = self.streams.get_mut(&stream) else { return };
        let Some(mirror) = self.mirrors.as_mut().and_then(|all| all.get_mut(&inbound.feed)) else {
            return;
        };
        if mirror.journal.written() != after {
            return inbound.receiver.on_overtaken();
        }
        if self.mutant == Mutant::PoisonStop && ops.iter().any(is_poison) {
            return inbound.receiver.reject(RejectCode::Malformed, after.seq + 1, String::new());
        }
        if mirror.journal.append(ops).is_err() {
            return self.stop();
        }
        inbound.waits = true;
        if self.mutant == Mutant::AckBeforeFsync {
            let head = mirror.journal.written();
            inbound.receiver.on_durable(Receipt::sign(&self.author, inbound.feed, head, 0));
        }
    }

    /// Group commit of one feed, and the receipts for it.
    pub(crate) fn sync(&mut self, feed: FeedId) -> Vec<Out> {
        let Some(mirror) = self.mirrors.as_mut().and_then(|all| all.get_mut(&feed)) else {
            return Vec::new();
        };
        let Ok(head) = mirror.journal.append_durably(&[]) else {
            self.stop();
            return Vec::new();
        };
        let mut out = Vec::new();
        for stream in self.streams() {
            let Some(inbound) = self.streams.get_mut(&stream) else { continue };
            if inbound.feed == feed && std::mem::take(&mut inbound.waits) {
                inbound.receiver.on_durable(Receipt::sign(&self.author, feed, head, 0));
                out.extend(self.carry_out(stream));
            }
        }
        out
    }

    /// Brings the fold of a feed up to its mirror and tells its stream.
    pub(crate) fn fold(&mut self, feed: FeedId) -> Result<Vec<Out>, Violation> {
        let Some(mirror) = self.mirrors.as_mut().and_then(|all| all.get_mut(&feed)) else {
            return Ok(Vec::new());
        };
        let ops = mirror.ops();
        let from = usize::try_from(mirror.fold.head().seq).unwrap().min(ops.len());
        let outcomes = mirror.fold.advance(&ops[from..])?;
        let claim = mirror.fold.claim();
        let mut out = Vec::new();
        for stream in self.streams() {
            let Some(inbound) = self.streams.get_mut(&stream) else { continue };
            if inbound.feed == feed {
                inbound.receiver.on_applied(claim, outcomes.clone(), 0);
                out.extend(self.carry_out(stream));
            }
        }
        Ok(out)
    }
}

fn is_poison(op: &Op) -> bool {
    matches!(Fold::default().apply(op), Ok(done) if matches!(&done.outcome,
        Outcome::Invalid(reason) if reason.starts_with("not a record")))
}

/// What a hub that only counts would do: anything with the next number is the next op.
fn store_loosely(
    mirror: &mut Mirror,
    stream: usize,
    ops: &[liandong_core::op::SignedOp],
    author: &Author,
) -> Vec<Out> {
    for signed in ops {
        let op = Op::parse(signed.clone()).unwrap();
        if op.seq == mirror.head().seq + 1 {
            mirror.loose.push(op);
        }
    }
    let receipt = Receipt::sign(author, mirror.journal_feed(), mirror.head(), 0);
    let ack = Down::Ack { receipt: Some(receipt), credit: credit_for(2), outcomes: Vec::new() };
    vec![(stream, Some(ack))]
}

impl Mirror {
    fn journal_feed(&self) -> FeedId {
        self.loose.last().map_or(FeedId::new([0; 16]), |op| op.feed)
    }
}
