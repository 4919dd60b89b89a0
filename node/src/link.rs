//! What a node knows of its link to the hub.

use std::{collections::BTreeMap, path::PathBuf};

use liandong_core::{
    fold::Outcome,
    id::Head,
    receipt::Receipt,
    wire::{OpOutcome, Verdict},
};
use liandong_server::site::State;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Where the last receipt is kept: evidence of what the hub stored and when.
const FILE: &str = "receipt.json";
/// Ops without effect that are remembered; the hub tells them again at every handshake.
const QUARANTINED_MAX: usize = liandong_core::limit::OUTCOMES_MAX;

/// The last receipt as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    head: Head,
    received_at_ms: i64,
    signature: String,
}

/// The link's state.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) connected: bool,
    pub(crate) verdict: Option<Verdict>,
    /// What the hub said or why it was not reached, for people.
    pub(crate) explain: String,
    pub(crate) refused: bool,
    pub(crate) diverged: bool,
    pub(crate) acked: Head,
    pub(crate) acked_ms: Option<i64>,
    pub(crate) confirmed_seq: Option<u64>,
    pub(crate) contact_ms: Option<i64>,
    pub(crate) certificate_expires_ms: Option<i64>,
    /// Ops that the hub keeps without effect, with its reason.
    pub(crate) quarantined: BTreeMap<u64, Outcome>,
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
pub(crate) struct SharedLink {
    path: PathBuf,
    link: Mutex<Link>,
}

impl SharedLink {
    /// Begins with the last receipt that was kept.
    pub(crate) fn read(dir: &std::path::Path) -> Self {
        let path = dir.join(FILE);
        let kept: Option<Kept> =
            std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let link = Link {
            connected: false,
            verdict: None,
            explain: String::new(),
            refused: false,
            diverged: false,
            acked: kept.as_ref().map_or(Head::EMPTY, |kept| kept.head),
            acked_ms: kept.as_ref().map(|kept| kept.received_at_ms),
            confirmed_seq: None,
            contact_ms: kept.map(|kept| kept.received_at_ms),
            certificate_expires_ms: None,
            quarantined: BTreeMap::new(),
        };
        Self { path, link: Mutex::new(link) }
    }

    pub(crate) fn get(&self) -> Link {
        self.link.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Link)) {
        change(&mut self.link.lock());
    }

    /// Keeps a receipt. Losing the newest ones costs nothing: the hub says at every handshake where it is.
    pub(crate) fn keep(&self, receipt: &Receipt) {
        let kept = Kept {
            head: receipt.head,
            received_at_ms: receipt.received_at_ms,
            signature: hex::encode(&receipt.signature),
        };
        let text = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        if let Err(error) = std::fs::write(&self.path, text) {
            tracing::warn!(%error, "the receipt cannot be kept");
        }
    }

    pub(crate) fn outcomes(&self, outcomes: Vec<OpOutcome>) {
        let mut link = self.link.lock();
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
