//! The hub: its disk, and while it runs its feed, its mirrors and its ends of the connections.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use liandong_core::{
    city::City,
    id::{FeedId, Head, RecordId},
    link::{Admission, Receiver, ReceiverEffect},
    op::{Author, Change, Op},
    receipt::Receipt,
    record::Visibility,
    wire::{Claim, Down, Hello, Up, Verdict, city::CityEvent},
};
use liandong_store::{
    StoreError,
    disk::{Crash, SimDisk},
    journal::Journal,
};

use super::{
    clock::Clock,
    disk::{everything, open},
    editor,
    fold::{Fold, without_effect},
    invariants::{self, Violation, broken},
    world::Scene,
};

/// Ops of the hub's feed in one message.
const FOLLOW_OPS: usize = 16;

#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) journal: Journal,
    pub(super) fold: Fold,
}

#[derive(Debug)]
struct Inbound {
    feed: FeedId,
    receiver: Receiver,
    /// The last op of this stream that was appended and waits for its receipt.
    waits: Option<u64>,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) own: Journal,
    pub(super) city: City,
    pub(super) mirrors: BTreeMap<FeedId, Mirror>,
    inbound: BTreeMap<usize, Inbound>,
    /// Followers, and how much of the hub's feed each was sent.
    follows: BTreeMap<usize, (FeedId, Head)>,
    /// Records that are hidden before the turn of the op that withdraws them.
    pub(super) hidden: BTreeMap<RecordId, (FeedId, u64)>,
}

/// A message for a stream, or its end.
pub(super) type Out = (usize, Option<Down>);

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) author: Author,
    pub(super) disk: SimDisk,
    pub(super) clock: Clock,
    /// None while the process is down.
    pub(super) process: Option<Process>,
    pub(super) alarms: Vec<(FeedId, Verdict)>,
    /// An older copy of the disk.
    pub(super) backup: Option<SimDisk>,
}

impl Hub {
    pub(super) fn new() -> Self {
        let key = SigningKey::from_bytes(&[0xff; 32]);
        Self {
            author: Author::new(FeedId::new([0xff; 16]), key),
            disk: SimDisk::default(),
            clock: Clock::default(),
            process: None,
            alarms: Vec::new(),
            backup: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    /// Opens everything again; `false` when a journal is damaged and it says so.
    pub(super) fn start(&mut self, scene: &mut Scene) -> Result<bool, Violation> {
        self.disk.plan(Crash::Never);
        let own = match open(&self.disk, self.author.feed()) {
            Ok(own) => own,
            Err(StoreError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(broken("F1", format!("the hub does not open: {error}"))),
        };
        let mut city = City::default();
        scene.ledger.answered.clear();
        for op in everything(&own)? {
            let _unreadable = city.apply(&op);
            invariants::i07_answered_once(&op, &mut scene.ledger)?;
        }
        let mut process = Process {
            own,
            city,
            mirrors: BTreeMap::new(),
            inbound: BTreeMap::new(),
            follows: BTreeMap::new(),
            hidden: BTreeMap::new(),
        };
        if !process.open_mirrors(&self.disk)? {
            return Ok(false);
        }
        process.note_stored(scene)?;
        self.process = Some(process);
        Ok(true)
    }

    pub(super) fn streams(&self) -> Vec<usize> {
        self.process.as_ref().map_or_else(Vec::new, |run| run.inbound.keys().copied().collect())
    }

    pub(super) fn drop_stream(&mut self, stream: usize) {
        if let Some(process) = &mut self.process {
            process.inbound.remove(&stream);
            process.follows.remove(&stream);
        }
    }

    /// Lets a stream have more or less in flight.
    pub(super) fn set_window(
        &mut self,
        stream: usize,
        batches: u32,
        scene: &mut Scene,
    ) -> Result<Vec<Out>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        if let Some(inbound) = process.inbound.get_mut(&stream) {
            inbound.receiver.set_window(batches);
        }
        self.carry_out(stream, scene)
    }

    /// A message that arrived; `feed` is what the client's certificate says.
    pub(super) fn deliver(
        &mut self,
        stream: usize,
        feed: FeedId,
        up: Up,
        scene: &mut Scene,
    ) -> Result<Vec<Out>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        if let Up::Hello(hello) = up {
            return self.greet(stream, feed, &hello, scene);
        }
        let Some(inbound) = process.inbound.get_mut(&stream) else { return Ok(Vec::new()) };
        let is_claim = matches!(up, Up::Claim(_));
        inbound.receiver.on_up(up);
        if is_claim && let Some(mirror) = process.mirrors.get_mut(&feed) {
            inbound.receiver.on_applied(mirror.fold.claim(), Vec::new(), 0);
        }
        self.carry_out(stream, scene)
    }

    fn greet(
        &mut self,
        stream: usize,
        feed: FeedId,
        hello: &Hello,
        scene: &mut Scene,
    ) -> Result<Vec<Out>, Violation> {
        let mut out = Vec::new();
        let Some(process) = &mut self.process else { return Ok(out) };
        let mut receiver = Receiver::new(feed);
        let now_ms = self.clock.shows(scene.now_ms);
        let head = process.mirrors.get(&feed).map_or(Head::EMPTY, |mirror| mirror.journal.head());
        match process.city.directory.entry(feed) {
            Err(refusal) => receiver.fence(head, refusal.to_string(), now_ms),
            Ok(entry) => {
                let admission = Admission {
                    keys: entry.keys.clone(),
                    mirror: head,
                    directory_seq: process.city.head.seq,
                    hub_incarnation: process.city.incarnation,
                    now_ms,
                    min_software: None,
                };
                let journal = process.mirrors.get(&feed).map(|mirror| &mirror.journal);
                receiver.set_window(u32::try_from(scene.rng.below(3)).unwrap_or(0));
                receiver.on_hello(hello, admission, |seq| journal?.hash_at(seq).ok().flatten());
            }
        }
        let older: Vec<usize> = process
            .inbound
            .iter()
            .filter(|(_, inbound)| inbound.feed == feed && !receiver.closed())
            .map(|(stream, _)| *stream)
            .collect();
        process.inbound.insert(stream, Inbound { feed, receiver, waits: None });
        for older in older {
            if let Some(inbound) = self.inbound(older) {
                inbound.receiver.on_overtaken();
            }
            out.extend(self.carry_out(older, scene)?);
        }
        out.extend(self.carry_out(stream, scene)?);
        Ok(out)
    }

    fn inbound(&mut self, stream: usize) -> Option<&mut Inbound> {
        self.process.as_mut()?.inbound.get_mut(&stream)
    }

    /// Carries a receiver's effects out; returns what goes onto the stream.
    fn carry_out(&mut self, stream: usize, scene: &mut Scene) -> Result<Vec<Out>, Violation> {
        let mut out = Vec::new();
        loop {
            let Some(inbound) = self.inbound(stream) else { return Ok(out) };
            let feed = inbound.feed;
            let effects = inbound.receiver.effects();
            if effects.is_empty() {
                return Ok(out);
            }
            for effect in effects {
                match effect {
                    ReceiverEffect::Send(down) => {
                        if let Down::Ack { receipt: Some(receipt), .. } = &down {
                            scene.ledger.promise(receipt.clone());
                        }
                        out.push((stream, Some(down)));
                    }
                    ReceiverEffect::Append { after, ops } => {
                        self.append(stream, after, &ops, scene)?;
                    }
                    ReceiverEffect::Alarm(verdict, _) => self.alarms.push((feed, verdict)),
                    ReceiverEffect::Hide(ops) => self.hide(&ops),
                    ReceiverEffect::Close => {
                        self.drop_stream(stream);
                        out.push((stream, None));
                    }
                    ReceiverEffect::Diverged(explain) => return Err(broken("I8", explain)),
                    #[expect(unreachable_patterns, reason = "more effects may come")]
                    _ => {}
                }
            }
        }
    }

    fn hide(&mut self, ops: &[Op]) {
        let Some(process) = &mut self.process else { return };
        for op in ops {
            if let Ok(id) = RecordId::try_from(op.subject.as_ref()) {
                process.hidden.insert(id, (op.feed, op.seq));
            }
        }
    }

    /// Compare-and-append. A disk that fails ends the process.
    fn append(
        &mut self,
        stream: usize,
        after: Head,
        ops: &[Op],
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(inbound) = process.inbound.get_mut(&stream) else { return Ok(()) };
        let Some(mirror) = process.mirrors.get_mut(&inbound.feed) else { return Ok(()) };
        if mirror.journal.written() != after {
            inbound.receiver.on_overtaken();
            return Ok(());
        }
        invariants::i03_dense(after, ops)?;
        invariants::i16_as_signed(ops, &scene.ledger)?;
        if mirror.journal.append(ops).is_err() {
            self.stop();
            return Ok(());
        }
        inbound.waits = Some(mirror.journal.written().seq);
        let feed = inbound.feed;
        self.acknowledge(feed);
        Ok(())
    }

    /// Receipts for what the journal says is durable.
    fn acknowledge(&mut self, feed: FeedId) {
        let Some(process) = &mut self.process else { return };
        let Some(mirror) = process.mirrors.get(&feed) else { return };
        let head = mirror.journal.head();
        for inbound in process.inbound.values_mut().filter(|inbound| inbound.feed == feed) {
            if inbound.waits.is_some_and(|seq| seq <= head.seq) {
                inbound.waits = None;
                inbound.receiver.on_durable(Receipt::sign(&self.author, feed, head, 0));
            }
        }
    }

    /// Group commit of one feed, and the receipts for it.
    pub(super) fn sync(&mut self, feed: FeedId, scene: &mut Scene) -> Result<Vec<Out>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        let Some(mirror) = process.mirrors.get_mut(&feed) else { return Ok(Vec::new()) };
        if mirror.journal.append_durably(&[]).is_err() {
            self.stop();
            return Ok(Vec::new());
        }
        note(&mirror.journal, feed, scene)?;
        self.acknowledge(feed);
        let mut out = Vec::new();
        for stream in self.streams() {
            out.extend(self.carry_out(stream, scene)?);
        }
        Ok(out)
    }

    /// Brings the fold of a feed up to its mirror and tells its stream.
    pub(super) fn fold(&mut self, feed: FeedId, scene: &mut Scene) -> Result<Vec<Out>, Violation> {
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        let Some(mirror) = process.mirrors.get_mut(&feed) else { return Ok(Vec::new()) };
        let outcomes = mirror.fold.advance(&mirror.journal, &process.city)?;
        let outcomes = without_effect(outcomes);
        let head = mirror.fold.head().seq;
        process.hidden.retain(|_, (of, seq)| *of != feed || *seq > head);
        let claim: Claim = mirror.fold.claim();
        let streams: Vec<usize> = process
            .inbound
            .iter()
            .filter(|(_, inbound)| inbound.feed == feed)
            .map(|(stream, _)| *stream)
            .collect();
        let mut out = Vec::new();
        for stream in streams {
            if let Some(inbound) = self.inbound(stream) {
                inbound.receiver.on_applied(claim, outcomes.clone(), 0);
            }
            out.extend(self.carry_out(stream, scene)?);
        }
        Ok(out)
    }

    /// Signs, stores and folds decisions. A disk that fails ends the process, and nothing was decided.
    pub(super) fn decide(
        &mut self,
        changes: Vec<Change>,
        scene: &mut Scene,
    ) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let now_ms = self.clock.shows(scene.now_ms);
        let mut head = process.own.head();
        let mut ops = Vec::new();
        for change in changes {
            let stamp = editor::stamp(now_ms, scene.ledger.uid(), "curator");
            let op = editor::write(&self.author, head, change, stamp)
                .ok_or_else(|| broken("F14", "a decision does not fit".to_owned()))?;
            head = op.head();
            scene.ledger.authored(&op);
            ops.push(op);
        }
        if process.own.append_durably(&ops).is_err() {
            self.stop();
            return Ok(());
        }
        note(&process.own, self.author.feed(), scene)?;
        for op in &ops {
            process.city.apply(op).map_err(|error| broken("I12", error.to_string()))?;
            invariants::i07_answered_once(op, &mut scene.ledger)?;
        }
        process.open_mirrors(&self.disk)?;
        Ok(())
    }

    /// A node asks for the hub's feed from where it stands; `false` when that is not on the hub's feed.
    pub(super) fn on_follow(&mut self, stream: usize, feed: FeedId, at: Head) -> bool {
        let Some(process) = &mut self.process else { return false };
        let here = process.own.hash_at(at.seq).ok().flatten() == Some(at.hash);
        if here {
            process.follows.insert(stream, (feed, at));
        }
        here
    }

    /// The next messages for followers.
    pub(super) fn feed_followers(&mut self) -> Vec<(usize, CityEvent)> {
        let Some(process) = &mut self.process else { return Vec::new() };
        let mut events = Vec::new();
        for (stream, (feed, sent)) in &mut process.follows {
            let ops = process.own.read(sent.seq, FOLLOW_OPS, usize::MAX).unwrap_or_default();
            let Some(last) = ops.last() else { continue };
            let after = std::mem::replace(sent, last.head());
            let ops = ops.iter().map(|op| for_audience(op, *feed, &process.city)).collect();
            events.push((*stream, CityEvent::HubOps { after, ops }));
        }
        events
    }
}

/// What a node may see of an op of the hub.
fn for_audience(op: &Op, feed: FeedId, city: &City) -> liandong_core::op::SignedOp {
    let owner = RecordId::try_from(op.subject.as_ref()).ok().map(|id| city.owner(id));
    let mut signed = op.signed.clone();
    if op.visibility == Visibility::Restricted && owner != Some(feed) {
        signed.payload = bytes::Bytes::new();
        signed.withheld = true;
    }
    signed
}

/// Tells the witness what is durable now.
fn note(journal: &Journal, feed: FeedId, scene: &mut Scene) -> Result<(), Violation> {
    let known = scene.ledger.stored(feed).len() as u64;
    let ops = journal.read(known, usize::MAX, usize::MAX);
    scene.ledger.synced(feed, &ops.map_err(|error| broken("I3", error.to_string()))?);
    Ok(())
}

impl Process {
    /// A mirror for each feed of the directory.
    fn open_mirrors(&mut self, disk: &SimDisk) -> Result<bool, Violation> {
        let feeds: Vec<FeedId> = self.city.directory.feeds.keys().copied().collect();
        for feed in feeds {
            if self.mirrors.contains_key(&feed) {
                continue;
            }
            let journal = match open(disk, feed) {
                Ok(journal) => journal,
                Err(StoreError::Damaged { .. }) => return Ok(false),
                Err(StoreError::Io { .. }) => return Ok(true),
                Err(error) => return Err(broken("F1", format!("a mirror does not open: {error}"))),
            };
            let mut fold = Fold::new(feed);
            fold.advance(&journal, &self.city)?;
            self.mirrors.insert(feed, Mirror { journal, fold });
        }
        Ok(true)
    }

    /// I2 and I4 at a start: what was ever durable is there and is the same. More may be there.
    fn note_stored(&self, scene: &mut Scene) -> Result<(), Violation> {
        let own = (self.city.head, &self.own);
        let mirrors = self.mirrors.values().map(|m| (m.journal.head(), &m.journal));
        let feeds = std::iter::once(FeedId::new([0xff; 16])).chain(self.mirrors.keys().copied());
        for (feed, (_, journal)) in feeds.zip(std::iter::once(own).chain(mirrors)) {
            invariants::i02_append_only(feed, journal, scene.ledger.stored(feed))?;
            note(journal, feed, scene)?;
        }
        Ok(())
    }
}
