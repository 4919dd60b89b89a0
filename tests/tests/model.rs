//! An exhaustive model of one feed: a node and its clone, the hub, backups of both, lost messages and lost answers,
//! batches under way, joining again, a transfer and a revocation, in every order.
//!
//! The verdict is production's `link::compare`; what counts is production's `Rules`. A cursor that is only a number and
//! a cursor kept by the sender must both be refuted, which shows that the model bites.

#![expect(clippy::print_stdout, reason = "how much was looked at is told")]

use std::collections::BTreeSet;

use jiff::civil::date;
use liandong_core::{
    city::{Rules, Transfer},
    id::{FeedId, Hash, Head, KeyId, RecordId},
    link::compare,
    mutant::{Mutant, with},
    wire::Verdict,
};
use stateright::{Checker as _, HasDiscoveries, Model, Property};
use ulid::Ulid;

/// An op: its uid, and how often its feed was joined again when it was signed.
type Op = (u8, u8);
type Log = Vec<Op>;

fn head(log: &[Op]) -> Head {
    let bytes: Vec<u8> = log.iter().flat_map(|(uid, incarnation)| [*uid, *incarnation]).collect();
    let hash = if log.is_empty() { Hash::ZERO } else { Hash::of(&[&bytes]) };
    Head { seq: log.len() as u64, hash }
}

fn hash_at(log: &[Op], seq: u64) -> Option<Hash> {
    log.get(..usize::try_from(seq).ok()?).map(|prefix| head(prefix).hash)
}

/// Who keeps the cursor, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    /// The hub's head with its hash, as in production.
    Content,
    /// The hub's head, a number only.
    Number,
    /// What the node believes to have sent.
    Sender,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Node {
    log: Log,
    /// Ops of which it believes that the hub has them.
    believed: usize,
    frozen: bool,
    incarnation: u8,
    /// A batch under way: the position that it follows, and its ops.
    flying: Option<(u64, [u8; 32], Log)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct State {
    nodes: Vec<Node>,
    hub: Log,
    /// The longest log that the hub has promised to hold.
    promised: Log,
    backup: Option<Log>,
    hub_backup: Option<Log>,
    hub_lost: bool,
    restored: bool,
    /// Uids in archives, and those that nobody but a lost disk ever had.
    archive: BTreeSet<u8>,
    gone: BTreeSet<u8>,
    written: u8,
    drops: u8,
    /// The hub's head when the record went to another feed, or a key was revoked.
    given_at: Option<u64>,
    revoked_at: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Edit(usize),
    Greet(usize),
    Deliver(usize),
    DeliverAndLoseAnswer(usize),
    Drop(usize),
    Backup,
    Restore,
    Clone,
    Rejoin(usize),
    HubBackup,
    HubRestore,
    Transfer,
    Revoke,
}

/// How much of it is looked at.
struct Federation {
    cursor: Cursor,
    /// Ops that are written in all.
    ops: u8,
    /// Whether records are given away and keys revoked in between.
    rules: bool,
}

impl From<Cursor> for Federation {
    fn from(cursor: Cursor) -> Self {
        Self { cursor, ops: 3, rules: false }
    }
}

impl Federation {
    /// What the hub finds, as production finds it.
    fn verdict(&self, node: &Node, hub: &[Op]) -> Verdict {
        let verdict = || {
            compare(
                head(&node.log),
                head(hub),
                |seq| hash_at(hub, seq),
                |seq| hash_at(&node.log, seq),
            )
        };
        match self.cursor {
            Cursor::Content => verdict(),
            Cursor::Number => with(Mutant::SeqOnlyCursor, verdict),
            Cursor::Sender => Verdict::Extend,
        }
    }

    fn greet(&self, state: &mut State, at: usize) {
        let verdict = self.verdict(&state.nodes[at], &state.hub);
        let node = &mut state.nodes[at];
        match verdict {
            Verdict::InSync => node.believed = node.log.len(),
            Verdict::Extend => {
                let from = match self.cursor {
                    Cursor::Sender => node.believed,
                    _ => state.hub.len(),
                };
                let after = match self.cursor {
                    Cursor::Content => head(&node.log[..from]),
                    _ => Head { seq: from as u64, hash: Hash::ZERO },
                };
                let ops = node.log[from.min(node.log.len())..].to_vec();
                node.flying = (!ops.is_empty()).then(|| (after.seq, *after.hash.as_bytes(), ops));
            }
            _ => node.frozen = true,
        }
    }

    /// Compare-and-append, then the receipt, unless it is lost.
    fn deliver(&self, state: &mut State, at: usize, answered: bool) {
        let Some((seq, hash, ops)) = state.nodes[at].flying.take() else { return };
        let now = head(&state.hub);
        let follows = match self.cursor {
            Cursor::Content => seq == now.seq && hash == *now.hash.as_bytes(),
            Cursor::Number => seq == now.seq,
            Cursor::Sender => true,
        };
        if !follows {
            return;
        }
        state.hub.extend(&ops);
        state.promised.clone_from(&state.hub);
        if answered {
            let sent = usize::try_from(seq).unwrap_or(0) + ops.len();
            state.nodes[at].believed = sent;
        }
    }

    /// A person decided: the tail is archived, the mirror adopted, and what it lacks is written again.
    fn rejoin(state: &mut State, at: usize) {
        let there: BTreeSet<u8> = state.hub.iter().map(|op| op.0).collect();
        let node = &mut state.nodes[at];
        let mine = std::mem::replace(&mut node.log, state.hub.clone());
        state.archive.extend(mine.iter().map(|op| op.0));
        node.incarnation += 1;
        let again = mine.iter().filter(|op| !there.contains(&op.0));
        node.log.extend(again.map(|op| (op.0, node.incarnation)));
        (node.frozen, node.believed, node.flying) = (false, state.hub.len(), None);
    }

    fn restore(state: &mut State) {
        let Some(backup) = state.backup.take() else { return };
        let node = &mut state.nodes[0];
        let old = std::mem::replace(&mut node.log, backup);
        // Ops that were on this disk alone are gone with it; nobody was promised more.
        let lost = old.iter().filter(|op| !state.promised.contains(op));
        state.gone.extend(lost.map(|op| op.0));
        (node.flying, node.frozen) = (None, false);
        node.believed = node.believed.min(node.log.len());
        state.restored = true;
    }
}

impl Model for Federation {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { nodes: vec![Node::default()], ..State::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, node) in state.nodes.iter().enumerate() {
            if state.written < self.ops {
                actions.push(Action::Edit(at));
            }
            match (&node.flying, node.frozen) {
                (Some(_), _) => {
                    actions.extend([Action::Deliver(at), Action::DeliverAndLoseAnswer(at)]);
                    if state.drops < 1 {
                        actions.push(Action::Drop(at));
                    }
                }
                (None, false) => actions.push(Action::Greet(at)),
                (None, true) => actions.push(Action::Rejoin(at)),
            }
        }
        if state.backup.is_none() && !state.restored {
            actions.push(Action::Backup);
        }
        if state.backup.is_some() {
            actions.push(Action::Restore);
        }
        if state.nodes.len() == 1 {
            actions.push(Action::Clone);
        }
        if state.hub_backup.is_none() && !state.hub_lost {
            actions.push(Action::HubBackup);
        }
        if state.hub_backup.is_some() {
            actions.push(Action::HubRestore);
        }
        if self.rules && state.given_at.is_none() {
            actions.push(Action::Transfer);
        }
        if self.rules && state.revoked_at.is_none() {
            actions.push(Action::Revoke);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Edit(at) => {
                let node = &mut state.nodes[at];
                node.log.push((state.written, node.incarnation));
                state.written += 1;
            }
            Action::Greet(at) => self.greet(&mut state, at),
            Action::Deliver(at) => self.deliver(&mut state, at, true),
            Action::DeliverAndLoseAnswer(at) => self.deliver(&mut state, at, false),
            Action::Drop(at) => {
                state.nodes[at].flying = None;
                state.drops += 1;
            }
            Action::Backup => state.backup = Some(state.nodes[0].log.clone()),
            Action::Restore => Self::restore(&mut state),
            Action::Clone => {
                let copy = Node { flying: None, ..state.nodes[0].clone() };
                state.nodes.push(copy);
            }
            Action::Rejoin(at) => Self::rejoin(&mut state, at),
            Action::HubBackup => state.hub_backup = Some(state.hub.clone()),
            Action::HubRestore => {
                state.hub = state.hub_backup.take()?;
                state.hub_lost = true;
            }
            Action::Transfer => state.given_at = Some(state.hub.len() as u64),
            Action::Revoke => state.revoked_at = Some(state.hub.len() as u64),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I2 I4: what was promised stays", |_, state: &State| {
                state.hub_lost || state.hub.starts_with(&state.promised)
            }),
            Property::always("I7: no op is there twice", |_, state: &State| {
                let logs = state.nodes.iter().map(|node| &node.log).chain([&state.hub]);
                logs.clone().all(|log| {
                    let uids: BTreeSet<u8> = log.iter().map(|op| op.0).collect();
                    uids.len() == log.len()
                })
            }),
            Property::always("I6: no silent divergence", |_, state: &State| {
                state.hub_lost
                    || state.nodes.iter().all(|node| {
                        let known = node.believed.min(node.log.len());
                        state.hub.get(..known) == node.log.get(..known)
                    })
            }),
            Property::always("I5: nothing is lost", |_, state: &State| {
                let logs = state.nodes.iter().map(|node| &node.log);
                let held: BTreeSet<u8> =
                    logs.chain([&state.hub]).flatten().map(|op| op.0).collect();
                let kept = |uid| {
                    held.contains(&uid) || state.archive.contains(&uid) || state.gone.contains(&uid)
                };
                // When both ends went back there is nowhere to have it from (F11).
                (state.restored && state.hub_lost) || (0..state.written).all(kept)
            }),
            Property::always("I14 I18: one feed counts, and a revoked key does not", counts),
            Property::sometimes(WAY_OUT, |_, state: &State| {
                let joined = |node: &Node| node.incarnation > 0 && node.log == state.hub;
                state.nodes.iter().any(joined) && state.hub.len() > 1
            }),
        ]
    }
}

/// At every position exactly one of the two feeds may write the record, and what a revoked key signed has no effect.
fn counts(_: &Federation, state: &State) -> bool {
    let (feed, other) = (FeedId::new([1; 16]), FeedId::new([2; 16]));
    let (record, key) = (RecordId::new(feed, Ulid(1)), KeyId::new([3; 16]));
    let transfer = |seq| Transfer {
        id: String::new(),
        from_feed: feed,
        at: Head { seq, hash: Hash::ZERO },
        to_feed: other,
        accept_seq: 0,
        to_district: "310106".parse().unwrap_or_else(|_| unreachable!()),
        records: None,
        effective: date(2015, 11, 4),
        override_reason: None,
        cause: None,
    };
    let rules = Rules {
        revoked: state.revoked_at.iter().map(|seq| (key, *seq)).collect(),
        transfers: state.given_at.iter().map(|seq| transfer(*seq)).collect(),
        ..Rules::default()
    };
    let given = state.given_at.unwrap_or(u64::MAX);
    (1..=state.hub.len() as u64 + 1).all(|seq| {
        rules.admits(feed, seq, record) == (seq <= given)
            && rules.admits(other, seq, record) == state.given_at.is_some()
            && rules.disbelieves(key, seq) == state.revoked_at.is_some_and(|last| seq > last)
    })
}

/// What must be seen now and then.
const WAY_OUT: &str = "a frozen node joins again and is level";

/// States that are looked at, the nearest first; `LIANDONG_MODEL_STATES` asks for more, or for all with 0.
fn states() -> usize {
    let asked = std::env::var("LIANDONG_MODEL_STATES").ok().and_then(|text| text.parse().ok());
    match asked.unwrap_or(60_000) {
        0 => usize::MAX,
        some => some,
    }
}

/// Looks at states in the order of their distance: what must never be seen is not, and the way out of a freeze is.
fn look(model: Federation) {
    let checker = model.checker().threads(2).target_state_count(states()).spawn_bfs().join();
    println!(
        "{} states, {} different, {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    let mut found = checker.discoveries();
    assert!(found.remove(WAY_OUT).is_some(), "no way out of a freeze");
    for (property, path) in &found {
        println!("{property}: {:?}", path.clone().into_actions());
    }
    assert!(found.is_empty(), "{:?}", found.keys());
    assert!(checker.unique_state_count() > 10_000, "too small to say anything");
}

#[test]
fn every_order_of_events_keeps_every_op_and_tells_every_divergence() {
    look(Federation::from(Cursor::Content));
}

#[test]
fn every_order_with_a_transfer_and_a_revocation_leaves_one_authority() {
    look(Federation { ops: 2, rules: true, ..Cursor::Content.into() });
}

#[test]
fn a_cursor_that_is_only_a_number_is_refuted() {
    let checker = Federation::from(Cursor::Number)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = checker.discovery("I6: no silent divergence").expect("a divergence nobody sees");
    println!("silent divergence after {} steps", path.into_actions().len());
}

#[test]
fn a_cursor_that_the_sender_keeps_is_refuted() {
    let checker = Federation::from(Cursor::Sender)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = checker.discovery("I7: no op is there twice").expect("an op that is there twice");
    println!("an op twice after {} steps", path.into_actions().len());
}
