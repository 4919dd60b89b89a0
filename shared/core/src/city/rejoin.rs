//! Feeds that were rolled back or have forked, and how they were joined again.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    City, ConflictKind, ConflictState, Decided, Decision, Opened, Refusal, Version, change,
    conflict_id,
};
use crate::{
    id::{FeedId, Hash, Head, InstanceId},
    op::{Change, OpType},
    rejoin::Reason,
};

/// Version of the rules by which a fork is named.
const DETECTOR_VERSION: u32 = 1;

/// Payload of `feed.rejoin.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRejoin {
    /// The feed.
    pub feed: FeedId,
    /// Last op that node and hub had in common.
    pub ancestor: Head,
    /// Head that the node gave up.
    pub abandoned: Head,
    /// Head that it adopted.
    pub adopt: Head,
    /// Why.
    pub reason: Reason,
    /// Who decided at the node.
    pub operator: String,
    /// Installation that writes the feed from here on.
    pub instance: InstanceId,
    /// The feed's incarnation from here on.
    pub incarnation: u32,
    /// Ops in the archive.
    pub archived: u64,
}

/// A node whose log does not fit the mirror, as a handshake found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forked {
    /// The feed.
    pub feed: FeedId,
    /// Name of the verdict.
    pub verdict: &'static str,
    /// Highest position that both are known to have.
    pub common: Head,
    /// The node's head.
    pub node: Head,
    /// The mirror's head.
    pub mirror: Head,
    /// The installation that said hello.
    pub instance: InstanceId,
}

/// Name of the conflict (C8) about a feed that forked in an incarnation. However often and by how many copies it is
/// found, it is one conflict until the feed is joined again.
pub fn forked_id(feed: FeedId, incarnation: u32) -> Hash {
    conflict_id(ConflictKind::FeedForked, &subjects(feed, incarnation), DETECTOR_VERSION)
}

fn subjects(feed: FeedId, incarnation: u32) -> Vec<String> {
    vec![feed.to_string(), format!("incarnation {incarnation}")]
}

fn version(feed: FeedId, head: Head) -> Version {
    Version { feed, seq: head.seq, op_hash: head.hash, record: None }
}

impl City {
    /// The op that opens the conflict about a fork; nothing when it is known.
    ///
    /// Source: FEDERATION 2.9, C8.
    pub fn feed_forked(&self, forked: &Forked) -> Option<Change> {
        let feed = forked.feed;
        let incarnation = self.directory.feeds.get(&feed)?.incarnation;
        let subjects = subjects(feed, incarnation);
        let opened = Opened {
            parties: vec![feed],
            versions: [forked.common, forked.node, forked.mirror]
                .map(|head| version(feed, head))
                .into(),
            evidence: json!({ "verdict": forked.verdict, "instance": forked.instance }),
            ..Opened::new(ConflictKind::FeedForked, subjects, DETECTOR_VERSION)
        };
        self.open_conflict(&opened)
    }

    /// Whether exactly this rejoin is in the feed already: its answer was lost.
    pub fn has_rejoined(&self, rejoin: &FeedRejoin) -> bool {
        self.rejoins.contains(rejoin)
    }

    /// The ops of a rejoin: what was done, and the conflict about it opened and decided. Nothing when it was done.
    ///
    /// # Errors
    /// `NotFound` when the feed is unknown; `Changed` when another copy joined again meanwhile; `Unfit` when nobody
    /// was asked although something is at stake.
    pub fn rejoin(&self, rejoin: &FeedRejoin) -> Result<Vec<Change>, Refusal> {
        if self.has_rejoined(rejoin) {
            return Ok(Vec::new());
        }
        let feed = rejoin.feed;
        let entry = self.directory.feeds.get(&feed);
        let entry = entry.ok_or_else(|| Refusal::NotFound(feed.to_string()))?;
        if rejoin.incarnation != entry.incarnation + 1 {
            return Err(Refusal::Changed(format!(
                "数据流的代次为 {} / the feed's incarnation is {0}",
                entry.incarnation
            )));
        }
        let pure = rejoin.abandoned == rejoin.ancestor && rejoin.instance == entry.instance;
        if rejoin.reason == Reason::FastForward && !pure {
            let why = "需要人工确认 / a person has to decide";
            return Err(Refusal::Unfit(why.to_owned()));
        }
        let mut changes = Vec::new();
        let id = forked_id(feed, entry.incarnation);
        changes.extend(self.feed_forked(&Forked {
            feed,
            verdict: if rejoin.abandoned == rejoin.ancestor { "ROLLBACK" } else { "FORK" },
            common: rejoin.ancestor,
            node: rejoin.abandoned,
            mirror: rejoin.adopt,
            instance: rejoin.instance,
        }));
        changes.push(change(OpType::FeedRejoin, feed.as_bytes(), rejoin));
        let decided = self.conflicts.get(&id).is_some_and(|c| c.state() == ConflictState::Decided);
        if !decided {
            let reason = format!(
                "{}：放弃 {}，采用 {}，归档 {} 条 / {0}: gave up {1}, adopted {2}, archived {3} ops",
                rejoin.reason.name(),
                rejoin.abandoned,
                rejoin.adopt,
                rejoin.archived,
            );
            let decided = Decided { id, decision: Decision::Confirm, reason, settled_by: None };
            changes.push(change(OpType::ConflictDecide, id.as_bytes(), &decided));
        }
        Ok(changes)
    }
}
