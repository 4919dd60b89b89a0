//! Mass changes that wait for a person: the hub stores the ops and folds no further until somebody agreed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Refusal, change, read, require};
use crate::{
    directory::Unreadable,
    id::{FeedId, RecordId},
    op::{Change, Op, OpType},
};

/// What makes a change of many suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Many records are withdrawn.
    MassWithdrawal,
    /// Many records change who may see them.
    MassVisibility,
    /// Many records change their codes or identifiers.
    MassIdentity,
    /// The node's clock has jumped.
    ClockJump,
    /// Ops are written in an older schema than before.
    SchemaDowngrade,
}

/// Payload of `gate.hold.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The feed.
    pub feed: FeedId,
    /// Folded up to here.
    pub after: u64,
    /// Last op of the change as it was known.
    pub to: u64,
    /// What it is.
    pub kind: GateKind,
    /// Records concerned.
    pub count: u64,
    /// Live records of the district before.
    pub live: u64,
    /// Some of the records.
    pub sample: Vec<RecordId>,
}

/// Payload of `gate.release.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRelease {
    /// The feed.
    pub feed: FeedId,
    /// Ops up to here pass.
    pub to: u64,
    /// Why it is right.
    pub reason: String,
}

/// Gates by feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    held: BTreeMap<FeedId, Gate>,
    passed: BTreeMap<FeedId, u64>,
}

impl Gates {
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        if op.kind == OpType::GateHold {
            let gate: Gate = read(op)?;
            self.held.insert(gate.feed, gate);
        } else {
            let release: GateRelease = read(op)?;
            self.held.remove(&release.feed);
            let passed = self.passed.entry(release.feed).or_default();
            *passed = (*passed).max(release.to);
        }
        Ok(())
    }

    /// What of the feed waits.
    pub fn held(&self, feed: FeedId) -> Option<&Gate> {
        self.held.get(&feed)
    }

    /// All that waits.
    pub fn all(&self) -> impl Iterator<Item = &Gate> {
        self.held.values()
    }

    /// Ops up to here were agreed to and are not held again.
    pub fn passed(&self, feed: FeedId) -> u64 {
        self.passed.get(&feed).copied().unwrap_or(0)
    }

    /// The op that holds a change back.
    ///
    /// # Errors
    /// `NoChange` when the feed is held already.
    pub fn hold(&self, gate: &Gate) -> Result<Vec<Change>, Refusal> {
        if self.held.contains_key(&gate.feed) {
            return Err(Refusal::NoChange(gate.feed.to_string()));
        }
        Ok(vec![change(OpType::GateHold, gate.feed.as_bytes(), gate)])
    }

    /// The op that lets it through.
    ///
    /// # Errors
    /// `NotFound` when nothing waits; `NoReason`.
    pub fn release(&self, release: &GateRelease) -> Result<Vec<Change>, Refusal> {
        require(&release.reason)?;
        if !self.held.contains_key(&release.feed) {
            return Err(Refusal::NotFound(release.feed.to_string()));
        }
        Ok(vec![change(OpType::GateRelease, release.feed.as_bytes(), release)])
    }
}
