//! What a node knows of its link to the hub.

use std::collections::BTreeMap;

use liandong_core::{
    fold::Outcome,
    id::Head,
    wire::{OpOutcome, Verdict},
};
use liandong_server::site::State;
use parking_lot::Mutex;

use crate::guard::KeptReceipt;

/// Ops without effect that are remembered; the hub tells them again at every handshake.
const QUARANTINED_MAX: usize = liandong_core::limit::OUTCOMES_MAX;

/// The link's state.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) connected: bool,
    pub(crate) verdict: Option<Verdict>,
    /// What the hub said or why it was not reached, for people.
    pub(crate) explain: String,
    pub(crate) refused: bool,
    /// The hub's incarnation as it said last; 0 before.
    pub(crate) hub_incarnation: u32,
    pub(crate) diverged: bool,
    pub(crate) acked: Head,
    pub(crate) acked_ms: Option<i64>,
    pub(crate) confirmed_seq: Option<u64>,
    pub(crate) contact_ms: Option<i64>,
    pub(crate) certificate_expires_ms: Option<i64>,
    /// Ops that the hub keeps without effect, with its reason.
    pub(crate) quarantined: BTreeMap<u64, Outcome>,
    /// Receipts for ops that neither side holds.
    pub(crate) lost: u64,
}

impl Link {
    /// The state in one word, given where the local feed stands.
    pub(crate) fn state(&self, head: Head) -> State {
        match self.verdict {
            Some(Verdict::Rollback) => State::Rollback,
            Some(Verdict::Fork) => State::Fork,
            _ if self.refused => State::Refused,
            _ if !self.connected && self.contact_ms.is_none() => State::Waiting,
            _ if !self.connected => State::Offline,
            _ if self.diverged => State::Diverged,
            _ if self.confirmed_seq == Some(head.seq) && self.acked == head => State::InSync,
            _ => State::Behind,
        }
    }
}

/// The link, shared by the driver that changes it and those who show it.
#[derive(Debug)]
pub(crate) struct SharedLink(Mutex<Link>);

impl SharedLink {
    /// Begins with the last receipt that was kept.
    pub(crate) fn new(kept: Option<KeptReceipt>) -> Self {
        Self(Mutex::new(Link {
            connected: false,
            verdict: None,
            explain: String::new(),
            refused: false,
            hub_incarnation: 0,
            diverged: false,
            acked: kept.as_ref().map_or(Head::EMPTY, |kept| kept.head),
            acked_ms: kept.as_ref().map(|kept| kept.received_at_ms),
            confirmed_seq: None,
            contact_ms: kept.map(|kept| kept.received_at_ms),
            certificate_expires_ms: None,
            quarantined: BTreeMap::new(),
            lost: 0,
        }))
    }

    pub(crate) fn get(&self) -> Link {
        self.0.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Link)) {
        change(&mut self.0.lock());
    }

    pub(crate) fn outcomes(&self, outcomes: Vec<OpOutcome>) {
        let mut link = self.0.lock();
        for OpOutcome { seq, outcome } in outcomes {
            if outcome != Outcome::Materialised {
                tracing::warn!(
                    seq,
                    reason = outcome.reason(),
                    "the hub keeps an op without effect"
                );
                link.quarantined.insert(seq, outcome);
            }
        }
        while link.quarantined.len() > QUARANTINED_MAX {
            link.quarantined.pop_first();
        }
    }
}
