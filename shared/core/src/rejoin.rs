//! Joining a feed again after a restore, a clone or a replacement, without IO.
//!
//! Node and hub agree up to the common ancestor. After it the node has its own tail and the mirror another one. The
//! node adopts the mirror as it is, so what it wrote itself must be written again on top: the same ops with the same
//! uids at new places. An op whose uid the mirror holds already is not written again, which makes every repetition
//! harmless. A record that both tails changed is left to a person. A rotation is about the keys of the chain that it
//! stands in, so it is given up with its chain.
//!
//! Source: FEDERATION 2.5.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    fold::is_about_records,
    id::{Hash, RecordId},
    limit,
    mutant::{self, Mutant},
    op::{Op, OpType},
};

/// Why a feed is joined again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The node's directory came from a backup.
    Restored,
    /// Two nodes were run from one directory.
    Cloned,
    /// The node was set up again on another machine.
    Replaced,
    /// Nothing of the node's own was at stake and its configuration allows it, so nobody was asked.
    FastForward,
}

impl Reason {
    /// All reasons with their names on the wire.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Restored, "restored"),
        (Self::Cloned, "cloned"),
        (Self::Replaced, "replaced"),
        (Self::FastForward, "fast_forward"),
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, name)| name)
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(reason, _)| *reason)
    }
}

/// Looks for the last op that two logs have in common: each round asks about evenly spaced positions of what is still
/// open. `n` positions a round need no more than log n+1 rounds, so a million ops take two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AncestorSearch {
    /// Known to be common; 0 always is.
    common: u64,
    /// Highest position that may still be common.
    open: u64,
    asked: Vec<u64>,
}

impl AncestorSearch {
    /// A search below the local head.
    pub const fn new(local: u64) -> Self {
        Self { common: 0, open: local, asked: Vec::new() }
    }

    /// Positions to ask about, ascending; none when the search is over.
    pub fn probes(&mut self) -> Vec<u64> {
        let width = self.open - self.common;
        let count = width.min(limit::ANCESTOR_PROBES_MAX as u64);
        self.asked = (1..=count)
            .map(|step| {
                let offset = u128::from(step) * u128::from(width) / u128::from(count);
                self.common + u64::try_from(offset).unwrap_or(width)
            })
            .collect();
        self.asked.clone()
    }

    /// The highest probe that the other side has; 0 when it has none.
    pub fn on_answer(&mut self, highest: u64) {
        let next = self.asked.iter().find(|probe| **probe > highest);
        self.open = next.map_or(self.open, |probe| probe - 1);
        self.common = self.common.max(highest).min(self.open);
        self.open = self.open.max(self.common);
    }

    /// The last common position, once there is nothing more to ask.
    pub fn ancestor(&self) -> Option<u64> {
        (self.common == self.open).then_some(self.common)
    }
}

/// What a plan needs to know of one op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    seq: u64,
    uid: [u8; 16],
    record: Option<RecordId>,
    rotation: bool,
    erased: bool,
}

/// The ops of one side after the common ancestor, without their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    marks: Vec<Mark>,
    uids: BTreeMap<[u8; 16], Hash>,
}

impl Tail {
    /// Notes the next op.
    pub fn note(&mut self, op: &Op) {
        let about = is_about_records(&op.kind);
        let record = RecordId::try_from(op.subject.as_ref()).ok().filter(|_| about);
        let (rotation, erased) = (op.kind == OpType::KeyRotate, op.signed.withheld);
        self.marks.push(Mark { seq: op.seq, uid: op.uid, record, rotation, erased });
        self.uids.insert(op.uid, op.hash);
    }

    /// Number of ops.
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are no ops.
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The hash under which this side has an op, found by the op's uid.
    pub fn hash_of(&self, uid: &[u8; 16]) -> Option<Hash> {
        self.uids.get(uid).copied()
    }

    /// Records that cannot simply be written again on top of the other side: it changed them by ops that are not of
    /// this side, or holds a later change of this side than one that it lacks.
    fn overtaken_by(&self, other: &Self) -> BTreeSet<RecordId> {
        let foreign = other.marks.iter().filter(|mark| !self.uids.contains_key(&mark.uid));
        let mut overtaken: BTreeSet<RecordId> = foreign.filter_map(|mark| mark.record).collect();
        let mut later = BTreeSet::new();
        for mark in self.marks.iter().rev() {
            let Some(record) = mark.record else { continue };
            if other.uids.contains_key(&mark.uid) {
                later.insert(record);
            } else if later.contains(&record) {
                overtaken.insert(record);
            }
        }
        overtaken
    }
}

/// A record that both sides changed, for a person to settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The record.
    pub record: RecordId,
    /// Positions of the node's own changes, in its old tail.
    pub mine: Vec<u64>,
    /// Position of the mirror's last change.
    pub theirs: u64,
}

/// What becomes of the node's own tail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Positions of ops to write again, in order.
    pub again: Vec<u64>,
    /// Records for a person to settle, in the order of their ids.
    pub clashes: Vec<Clash>,
    /// Ops that the mirror has already.
    pub known: u64,
    /// Positions of ops whose content was erased, so that there is nothing to write.
    pub erased: Vec<u64>,
    /// Positions of rotations: they name who signs on in the chain that is given up. The feed goes on under the key
    /// of the mirror's.
    pub rotations: Vec<u64>,
}

/// Plans what to do with the node's tail on top of the mirror's. Planning again after some of it was done plans the
/// rest.
pub fn plan(mine: &Tail, theirs: &Tail) -> Plan {
    let mut plan = Plan::default();
    if mutant::active(Mutant::NoArchiveOnFork) {
        return plan;
    }
    let overtaken = mine.overtaken_by(theirs);
    let mut clashes: BTreeMap<RecordId, Vec<u64>> = BTreeMap::new();
    for mark in &mine.marks {
        if theirs.uids.contains_key(&mark.uid) {
            plan.known += 1;
        } else if mark.erased {
            plan.erased.push(mark.seq);
        } else if mark.rotation {
            plan.rotations.push(mark.seq);
        } else if let Some(record) = mark.record.filter(|record| overtaken.contains(record)) {
            clashes.entry(record).or_default().push(mark.seq);
        } else {
            plan.again.push(mark.seq);
        }
    }
    let changes = theirs.marks.iter().filter_map(|mark| Some((mark.record?, mark.seq)));
    let last: BTreeMap<RecordId, u64> = changes.collect();
    plan.clashes = clashes
        .into_iter()
        .map(|(record, mine)| Clash {
            record,
            mine,
            theirs: last.get(&record).copied().unwrap_or(0),
        })
        .collect();
    plan
}
