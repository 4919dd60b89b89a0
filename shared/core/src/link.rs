//! Replication of one feed from its node to the hub, without IO.
//!
//! [`Sender`] runs at the node and [`Receiver`] at the hub. Each takes messages and facts and leaves effects for its
//! driver to carry out. They hold at most the credit that was granted, wait for nothing and read no clock. The cursor
//! is the receiver's, is the pair (seq, hash), and is whatever its journal holds: a number alone would take a restored
//! or cloned node for the one it used to be.

mod receiver;
mod release;
mod sender;

pub use receiver::{Admission, Receiver, ReceiverEffect};
pub use release::Release;
pub use sender::{Sender, SenderEffect};

use crate::{
    id::{Hash, Head},
    limit,
    mutant::{self, Mutant},
    wire::{Credit, Verdict},
};

/// Protocol version that is spoken.
pub const PROTOCOL: u32 = 1;
/// Oldest version that is still understood.
pub const PROTOCOL_MIN: u32 = 1;

/// Compares a node's head with the mirror (`FEDERATION.md` 2.5).
///
/// `at_mirror` gives the mirror's hash at a position, `at_node` the node's where a probe told it. Where the node is
/// ahead and no probe says what it holds at the mirror's head, the first batch's `prev_hash` decides.
pub fn compare(
    node: Head,
    mirror: Head,
    at_mirror: impl Fn(u64) -> Option<Hash>,
    at_node: impl Fn(u64) -> Option<Hash>,
) -> Verdict {
    let blind = mutant::active(Mutant::SeqOnlyCursor);
    if node == mirror || (blind && node.seq == mirror.seq) {
        return Verdict::InSync;
    }
    if node.seq > mirror.seq {
        let same = mirror.seq == 0 || at_node(mirror.seq).is_none_or(|hash| hash == mirror.hash);
        return if same || blind { Verdict::Extend } else { Verdict::Fork };
    }
    let prefix = node.seq == 0 || blind || at_mirror(node.seq) == Some(node.hash);
    if prefix && node.seq < mirror.seq { Verdict::Rollback } else { Verdict::Fork }
}

/// Positions a hello tells about: the head and exponentially further back, so that a fork is found in few round trips.
pub fn probe_positions(head: u64) -> Vec<u64> {
    let mut positions = Vec::new();
    let (mut at, mut step) = (head, 1);
    while at > 0 && positions.len() + 1 < limit::PROBES_MAX {
        positions.push(at);
        at = at.saturating_sub(step);
        step *= 2;
    }
    if positions.last().is_some_and(|last| *last > 1) {
        positions.push(1);
    }
    positions
}

#[expect(clippy::cast_possible_truncation, reason = "checked below")]
const BATCH_OPS: u32 = limit::BATCH_OPS_MAX as u32;
const _: () = assert!(BATCH_OPS as usize == limit::BATCH_OPS_MAX);

/// The credit for a number of batches.
pub const fn credit_for(batches: u32) -> Credit {
    Credit { ops: batches * BATCH_OPS, bytes: batches as u64 * limit::BATCH_BYTES_MAX as u64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log is a list of small numbers; its hash at a position covers all before it.
    fn hash_at(log: &[u8], seq: u64) -> Option<Hash> {
        let seq = usize::try_from(seq).ok()?;
        (seq >= 1 && seq <= log.len()).then(|| Hash::of(&[&log[..seq]]))
    }

    fn head(log: &[u8]) -> Head {
        let seq = log.len() as u64;
        Head { seq, hash: hash_at(log, seq).unwrap_or(Hash::ZERO) }
    }

    proptest! {
        #[test]
        fn the_verdict_is_the_relation_of_the_two_logs(
            common in prop::collection::vec(0_u8..4, 0..12),
            node_tail in prop::collection::vec(0_u8..4, 0..6),
            mirror_tail in prop::collection::vec(0_u8..4, 0..6),
        ) {
            let node = [common.clone(), node_tail].concat();
            let mirror = [common, mirror_tail].concat();
            let expected = if node == mirror {
                Verdict::InSync
            } else if node.starts_with(&mirror) {
                Verdict::Extend
            } else if mirror.starts_with(&node) {
                Verdict::Rollback
            } else {
                Verdict::Fork
            };
            let found = compare(
                head(&node),
                head(&mirror),
                |seq| hash_at(&mirror, seq),
                |seq| hash_at(&node, seq),
            );
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn probes_reach_the_first_op_and_stay_few(head in 0_u64..100_000_000) {
            let positions = probe_positions(head);
            prop_assert!(positions.len() <= limit::PROBES_MAX);
            prop_assert_eq!(positions.first().copied().unwrap_or(0), head);
            prop_assert_eq!(positions.last().copied().unwrap_or(0), head.min(1));
        }
    }
}
