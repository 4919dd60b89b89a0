//! Everything works again: all that no person has to look at must agree, and all invariants must hold.

use liandong_core::{
    id::{FeedId, Hash},
    op::{Op, OpType},
};
use liandong_store::disk::Crash;

use super::{
    disk::everything,
    hub::Process,
    invariants::{self, Violation, broken},
    reference::Law,
    world::World,
};

/// Rounds after which a healed city must agree or have got further; a few are enough, so this is the watchdog.
const ROUNDS_MAX: usize = 80;
/// Rounds that even weeks of work apart may take.
const ROUNDS_EVER: usize = 5_000;
/// Rounds after which a person looks at what the hub refuses.
const PATIENCE: usize = 10;
/// Deliveries a round may take.
const DELIVERIES_MAX: usize = 20_000;

impl World {
    /// Everything works again; then a person settles what is frozen, and everything works again.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.mend()?;
        while let Some(frozen) = self.nodes.iter().position(|node| node.frozen.is_some()) {
            self.rejoin(frozen)?;
            self.mend()?;
        }
        self.retire_copies();
        Ok(())
    }

    /// A frozen node joins again; of two copies the other one, which is level with the hub, is switched off first.
    fn rejoin(&mut self, node: usize) -> Result<(), Violation> {
        self.note(|| format!("rejoin {node}"));
        let feed = self.nodes[node].feed;
        let Some(process) = &self.hub.process else { return Ok(()) };
        let theirs = everything(&process.mirrors[&feed].journal)?;
        self.lose_node_ends(node);
        self.nodes[node].rejoin(&theirs, &mut self.scene)?;
        for other in 0..self.nodes.len() {
            let level = self.nodes[other].feed == feed && self.nodes[other].frozen.is_none();
            if other != node && level {
                self.retire(other);
                break;
            }
        }
        Ok(())
    }

    /// Of copies that are both level with the hub one is enough.
    fn retire_copies(&mut self) {
        for node in (0..self.nodes.len()).rev() {
            let feed = self.nodes[node].feed;
            let first = self.nodes.iter().position(|other| other.feed == feed);
            if first == Some(node) {
                self.nodes[node].may_freeze = false;
            } else {
                self.retire(node);
            }
        }
    }

    fn retire(&mut self, node: usize) {
        self.note(|| format!("retire {node}"));
        self.lose_node_ends(node);
        self.nodes.remove(node);
        for stream in self.streams.values_mut() {
            stream.node = match stream.node {
                Some(of) if of == node => None,
                Some(of) if of > node => Some(of - 1),
                other => other,
            };
        }
    }

    /// I8: after a few rounds all that is not frozen agrees.
    fn mend(&mut self) -> Result<(), Violation> {
        self.note(|| "heal".to_owned());
        self.hub.disk.plan(Crash::Never);
        self.start_hub()?;
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.plan(Crash::Never);
            self.start_node(node)?;
        }
        for stream in self.streams.values_mut() {
            stream.held_until_ms = i64::MIN;
        }
        self.release_gates()?;
        self.grant_lost_keys()?;
        let (mut open, mut since) = (String::new(), 0);
        for round in 1..=ROUNDS_EVER {
            self.round()?;
            match self.disagreement() {
                None => return self.at_rest(),
                Some(what) if what == open && round - since >= ROUNDS_MAX => break,
                Some(what) if what == open => {}
                Some(what) => (open, since) = (what, round),
            }
            if round % PATIENCE == 0 {
                self.restore_lost_keys()?;
            }
        }
        Err(broken("I8", format!("no agreement and no progress after {ROUNDS_MAX} rounds: {open}")))
    }

    fn round(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            self.sync_node(node)?;
            self.connect(node);
            self.connect_follower(node)?;
        }
        self.deliver_all()?;
        for node in 0..self.nodes.len() {
            self.sync_hub(node)?;
            self.fold_hub(node)?;
            self.attend()?;
        }
        self.feed_followers();
        self.deliver_all()?;
        for node in 0..self.nodes.len() {
            self.fold_hub(node)?;
            self.tick(node)?;
        }
        self.deliver_all()?;
        invariants::i04_receipts(&self.scene.ledger)
    }

    /// A person lets everything through that is held back.
    fn release_gates(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            let feed = self.nodes[node].feed;
            let held = self.hub.process.as_ref().is_some_and(|p| p.city.gates.held(feed).is_some());
            if held {
                let changes = self.hub.gate(feed);
                self.decide(changes)?;
            }
        }
        Ok(())
    }

    /// Keys that the hub gave and then lost with its disk are given again by a person.
    fn grant_lost_keys(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.hub.process else { return Ok(()) };
        let said = everything(&process.own)?;
        let granted = |key: &[u8; 32]| {
            let name = Hash::new(*key).to_string();
            let grants = said.iter().filter(|op| op.kind == OpType::KeyGrant);
            grants.map(|op| &op.signed.payload).any(|said| contains(said, name.as_bytes()))
        };
        let mut changes = Vec::new();
        for node in &self.nodes {
            for (from, at) in &node.given {
                let key = node.ring[*at].public_key();
                if !granted(&key) {
                    changes.extend(super::desk::grant(node.feed, key, *from));
                }
            }
        }
        self.decide(changes)
    }

    /// F11: where both ends of a feed went back, the key that a rotation named may be lost with it. The hub told which
    /// key it refuses, and where; a person lets the district sign with it again.
    fn restore_lost_keys(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            let (one, ledger) = (&mut self.nodes[node], &self.scene.ledger);
            let feed = one.feed;
            let refused = one.refused.take().filter(|_| ledger.lost_twice.contains(&feed));
            let (Some(seq), Some(there), Some(hub)) = (refused, &one.process, &self.hub.process)
            else {
                continue;
            };
            let op = there.journal.op(seq).map_err(|error| broken("I3", error.to_string()))?;
            let Some(key) = op.map(|op| op.key) else { continue };
            let held = hub.mirrors[&feed].journal.written().seq;
            let Ok(restored) = hub.city.restore_key(feed, key, seq, held) else { continue };
            self.decide(restored)?;
            for copy in self.nodes.iter_mut().filter(|copy| copy.feed == feed) {
                copy.take_back(seq, key)?;
            }
        }
        Ok(())
    }

    fn deliver_all(&mut self) -> Result<(), Violation> {
        for stream in self.hub.streams() {
            self.grant_to(stream, 2)?;
        }
        for _ in 0..DELIVERIES_MAX {
            self.close_ends();
            let waiting = self.streams.iter().find(|(_, stream)| {
                !stream.up.is_empty()
                    || !stream.down.is_empty()
                    || stream.node_open != stream.hub_open
            });
            let Some(id) = waiting.map(|(id, _)| *id) else { return Ok(()) };
            self.deliver_up(Some(id))?;
            self.deliver_down(Some(id))?;
        }
        Err(broken("F5", "the messages never end".to_owned()))
    }

    /// What node and hub do not agree on yet.
    fn disagreement(&mut self) -> Option<String> {
        let hub = self.hub.process.as_mut()?;
        let hub_head = hub.own.head();
        if let Some((feed, seq)) = unanswered(hub) {
            return Some(format!("{feed:?}: letter {seq} has no answer"));
        }
        for node in self.nodes.iter_mut().filter(|node| node.frozen.is_none()) {
            let feed = node.feed;
            let mirror = hub.mirrors.get_mut(&feed)?;
            let process = node.process.as_mut()?;
            let (own, there) = (process.journal.head(), mirror.journal.head());
            if own != there {
                return Some(format!("{feed:?}: the node is at {own}, its mirror at {there}"));
            }
            if process.mirror.head() != hub_head {
                let at = process.mirror.head();
                return Some(format!("{feed:?}: the hub's feed is at {hub_head}, here at {at}"));
            }
            if process.fold.root() != mirror.fold.root() {
                return Some(format!("{feed:?}: the roots differ"));
            }
            if process.confirmed != Some(own.seq) && own.seq > 0 {
                let confirmed = process.confirmed;
                return Some(format!("{feed:?}: {confirmed:?} is confirmed of {own}"));
            }
        }
        None
    }

    /// All invariants that look at everything.
    fn at_rest(&mut self) -> Result<(), Violation> {
        let Self { hub, nodes, scene, .. } = self;
        let hub_key = hub.author.public_key();
        let Some(process) = &mut hub.process else { return Ok(()) };
        let hub_ops = everything(&process.own)?;
        let (city, law) = (&process.city, Law::of(&hub_ops));
        for (feed, mirror) in &mut process.mirrors {
            let ops = everything(&mirror.journal)?;
            let folded = usize::try_from(mirror.fold.head().seq).unwrap_or(0);
            invariants::i02_append_only(*feed, &mirror.journal, scene.ledger.stored(*feed))?;
            invariants::i16_as_signed(&ops, &scene.ledger)?;
            let root = mirror.fold.root();
            let (journal, fold) = (&mirror.journal, &mirror.fold);
            invariants::i18_revoked(city, journal, fold)?;
            invariants::i14_one_authority(&law, city, fold)?;
            invariants::i14_late_edits_are_asked(city, journal, fold)?;
            invariants::i24_reference(&ops[..folded], &hub_ops, fold)?;
            invariants::i21_rebuilt(*feed, journal, city, root)?;
            invariants::i01_authority(city, journal, fold)?;
            invariants::i15_identity(city, *feed, fold)?;
            invariants::i17_clocks_decide_nothing(&ops, city, scene.now_ms)?;
            for audience in [None, Some(*feed), Some(FeedId::new([1; 16]))] {
                invariants::i22_audience(city, fold, audience)?;
            }
        }
        for node in nodes.iter() {
            let Some(there) = &node.process else { continue };
            invariants::i12_conflicts(city, &there.city)?;
            bytes_of_the_hub(&everything(&there.mirror)?, &hub_ops)?;
        }
        // What nobody has settled yet is not counted as lost.
        let settled = |feed| nodes.iter().filter(|n| n.feed == feed).all(|n| n.frozen.is_none());
        invariants::i25_receipts_for_ever(&scene.ledger, &hub_key, settled)
    }
}

fn contains(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len()).any(|part| part == name)
}

fn unanswered(hub: &Process) -> Option<(FeedId, u64)> {
    hub.mirrors.iter().find_map(|(feed, mirror)| {
        let cause = |seq: &u64| liandong_core::city::Cause { feed: *feed, seq: *seq };
        let seq = mirror.fold.letters().iter().find(|seq| !hub.city.attended.contains(&cause(seq)));
        seq.map(|seq| (*feed, *seq))
    })
}

/// I16 and I20: a node's mirror of the hub's feed is the hub's feed, but for payloads that are not for it.
fn bytes_of_the_hub(mirror: &[Op], hub: &[Op]) -> Result<(), Violation> {
    for (here, there) in mirror.iter().zip(hub) {
        let same = here.signed.header == there.signed.header
            && (here.signed.withheld || here.signed.payload == there.signed.payload);
        if !same {
            return Err(broken("I16", format!("op {} of the hub has other bytes", here.seq)));
        }
    }
    Ok(())
}
