//! Messages of a push stream.

use bytes::Bytes;
use liandong_proto::sync as pb;

use super::{WireFault, bytes, cursor, explain, fault, hash, read_batch, read_cursor, write_batch};
use crate::{
    fold::Outcome,
    id::{FeedId, Hash, Head, InstanceId},
    limit,
    op::SignedOp,
    receipt::Receipt,
};

/// What a node says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions the node speaks, smallest and largest.
    pub protocol: (u32, u32),
    /// Software and version, for people.
    pub software: String,
    /// Feed the node pushes.
    pub feed: FeedId,
    /// Durable head of that feed at the node.
    pub head: Head,
    /// The hub's own feed as the node mirrors it; `EMPTY` when it does not yet.
    pub hub_head: Head,
    /// Installation, for people.
    pub instance: InstanceId,
    /// How often the feed was joined again, for people.
    pub incarnation: u32,
    /// The node's clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// Hashes at exponentially spaced positions, so that the common ancestor needs few round trips.
    pub probes: Vec<Head>,
}

/// What the hub finds when it compares the node's log with its mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both logs are equal.
    InSync,
    /// The mirror is a prefix of the log.
    Extend,
    /// The log is a prefix of the mirror.
    Rollback,
    /// The logs diverge.
    Fork,
    /// The feed may not push.
    Fenced,
    /// No protocol version in common.
    UpgradeRequired,
    /// The hub is not ready.
    HubRecovering,
}

impl Verdict {
    /// Name in JSON, logs and the manual.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSync => "IN_SYNC",
            Self::Extend => "EXTEND",
            Self::Rollback => "ROLLBACK",
            Self::Fork => "FORK",
            Self::Fenced => "FENCED",
            Self::UpgradeRequired => "UPGRADE_REQUIRED",
            Self::HubRecovering => "HUB_RECOVERING",
        }
    }

    /// Whether a person must act before replication goes on.
    pub const fn freezes(self) -> bool {
        matches!(self, Self::Rollback | Self::Fork)
    }
}

/// How much more a sender may have in flight beyond what is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Ops.
    pub ops: u32,
    /// Bytes.
    pub bytes: u64,
}

/// The hub's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// What the hub found.
    pub verdict: Verdict,
    /// Durable head of the mirror.
    pub mirror: Head,
    /// How much may be sent.
    pub credit: Credit,
    /// The hub's clock.
    pub hub_time_ms: i64,
    /// Position of the hub's feed.
    pub directory_seq: u64,
    /// How often the hub was rebuilt from its nodes, for people.
    pub hub_incarnation: u32,
    /// For people.
    pub explain: String,
    /// Come back no sooner than this, milliseconds; 0 when it does not matter.
    pub retry_after_ms: u32,
    /// With [`Verdict::HubRecovering`]: what the node mirrors of the hub's feed beyond this is wanted back.
    pub hub_head: Head,
}

/// What became of an op at the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpOutcome {
    /// Position of the op.
    pub seq: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// The node's fold of its own feed at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Position folded.
    pub seq: u64,
    /// Rules it was folded with.
    pub fold_version: u32,
    /// Root of the digest.
    pub root: Hash,
    /// Live records.
    pub records: u64,
    /// Hash of what the hub's feed says of the feed; folds under other rules are not compared.
    pub rules: Hash,
}

/// Why the hub ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectCode {
    /// A signature does not verify.
    BadSignature,
    /// An op does not follow the head.
    BadChain,
    /// Signed by a key that is not good here.
    BadKey,
    /// Larger than the limit.
    TooLarge,
    /// Not the feed of the stream.
    WrongFeed,
    /// A newer stream of the same feed took over.
    StaleStream,
    /// Not a message of the protocol.
    Malformed,
    /// The district was suspended.
    Suspended,
    /// More in flight than granted.
    OutOfCredit,
    /// The hub stops or cannot write.
    Unavailable,
}

/// The hub ends the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub code: RejectCode,
    /// Op it is about, 0 for none.
    pub seq: u64,
    /// For people.
    pub explain: String,
    /// Come back no sooner than this, milliseconds.
    pub retry_after_ms: u32,
}

/// Node to hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// First message.
    Hello(Hello),
    /// Ops after `after`.
    Batch {
        /// The head that the first op follows, as the sender knows it.
        after: Head,
        /// Ops in order.
        ops: Vec<SignedOp>,
    },
    /// The node's fold, also the heartbeat.
    Claim(Claim),
    /// Withdrawals from the public that wait behind other ops: to be hidden before their turn comes.
    Urgent(Vec<SignedOp>),
}

/// Hub to node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// First message.
    Welcome(Welcome),
    /// Stored durably, and what became of ops.
    Ack {
        /// Everything up to here is durable; absent when only outcomes are sent.
        receipt: Option<Receipt>,
        /// How much may be in flight beyond the receipt.
        credit: Credit,
        /// What became of ops since the last message.
        outcomes: Vec<OpOutcome>,
    },
    /// The stream ends.
    Reject(Reject),
    /// The folds differ at `seq`.
    Mismatch {
        /// Position compared.
        seq: u64,
        /// The hub's root.
        hub_root: Hash,
        /// The hub's live records.
        hub_records: u64,
    },
    /// The folds agree at `seq`.
    ClaimSeen {
        /// Position compared.
        seq: u64,
        /// The hub's clock.
        hub_time_ms: i64,
    },
}

impl From<Up> for pb::PushUp {
    fn from(up: Up) -> Self {
        use pb::push_up::M;
        let m = match up {
            Up::Hello(hello) => M::Hello(pb::Hello {
                proto_min: hello.protocol.0,
                proto_max: hello.protocol.1,
                software: hello.software,
                head: Some(cursor(hello.feed, hello.head)),
                hub_feed_head: Some(cursor(FeedId::new([0; 16]), hello.hub_head)),
                incarnation: hello.incarnation,
                instance_id: bytes(hello.instance.as_bytes()),
                clock_ms: hello.clock_ms,
                probes: hello
                    .probes
                    .iter()
                    .map(|probe| pb::AncestorProbe {
                        seq: probe.seq,
                        op_hash: bytes(probe.hash.as_bytes()),
                    })
                    .collect(),
                ..pb::Hello::default()
            }),
            Up::Batch { after, ops } => M::Batch(write_batch(after, ops)),
            Up::Urgent(ops) => {
                M::Urgent(pb::Urgent { ops: ops.into_iter().map(Into::into).collect() })
            }
            Up::Claim(claim) => M::Claim(pb::ViewClaim {
                at_seq: claim.seq,
                fold_version: claim.fold_version,
                root: bytes(claim.root.as_bytes()),
                count: claim.records,
                rules: bytes(claim.rules.as_bytes()),
            }),
        };
        Self { m: Some(m) }
    }
}

impl TryFrom<pb::PushUp> for Up {
    type Error = WireFault;

    fn try_from(up: pb::PushUp) -> Result<Self, WireFault> {
        use pb::push_up::M;
        match up.m.ok_or_else(|| fault("an empty message"))? {
            M::Hello(hello) => Ok(Self::Hello(read_hello(&hello)?)),
            M::Batch(batch) => {
                let (after, ops) = read_batch(batch)?;
                Ok(Self::Batch { after, ops })
            }
            M::Urgent(urgent) if urgent.ops.len() > limit::URGENT_OPS_MAX => {
                Err(fault(format!("{} urgent ops are too many", urgent.ops.len())))
            }
            M::Urgent(urgent) => Ok(Self::Urgent(urgent.ops.into_iter().map(Into::into).collect())),
            M::Claim(claim) => Ok(Self::Claim(Claim {
                seq: claim.at_seq,
                fold_version: claim.fold_version,
                root: hash(&claim.root)?,
                records: claim.count,
                // A node of before the rules has none to name.
                rules: Hash::try_from(claim.rules.as_ref()).unwrap_or(Hash::ZERO),
            })),
        }
    }
}

fn read_hello(hello: &pb::Hello) -> Result<Hello, WireFault> {
    if hello.probes.len() > limit::PROBES_MAX {
        return Err(fault("too many probes"));
    }
    let (feed, head) = read_cursor(hello.head.as_ref())?;
    let probes = hello
        .probes
        .iter()
        .map(|probe| Ok(Head { seq: probe.seq, hash: hash(&probe.op_hash)? }))
        .collect::<Result<_, WireFault>>()?;
    let hub_head = match hello.hub_feed_head.as_ref() {
        Some(cursor) => read_cursor(Some(cursor))?.1,
        None => Head::EMPTY,
    };
    Ok(Hello {
        protocol: (hello.proto_min, hello.proto_max),
        software: explain(&hello.software),
        feed,
        head,
        hub_head,
        incarnation: hello.incarnation,
        instance: InstanceId::try_from(hello.instance_id.as_ref())
            .map_err(|bad| fault(bad.to_string()))?,
        clock_ms: hello.clock_ms,
        probes,
    })
}

impl From<Credit> for pb::Credit {
    fn from(credit: Credit) -> Self {
        Self { ops: credit.ops, bytes: credit.bytes }
    }
}

fn read_credit(credit: Option<pb::Credit>) -> Credit {
    let credit = credit.unwrap_or_default();
    Credit { ops: credit.ops, bytes: credit.bytes }
}

const VERDICTS: [(Verdict, pb::Verdict); 7] = [
    (Verdict::InSync, pb::Verdict::InSync),
    (Verdict::Extend, pb::Verdict::Extend),
    (Verdict::Rollback, pb::Verdict::Rollback),
    (Verdict::Fork, pb::Verdict::Fork),
    (Verdict::Fenced, pb::Verdict::Fenced),
    (Verdict::UpgradeRequired, pb::Verdict::UpgradeRequired),
    (Verdict::HubRecovering, pb::Verdict::HubRecovering),
];

const REJECTS: [(RejectCode, pb::RejectCode); 10] = [
    (RejectCode::BadSignature, pb::RejectCode::BadSignature),
    (RejectCode::BadChain, pb::RejectCode::BadChain),
    (RejectCode::BadKey, pb::RejectCode::BadKey),
    (RejectCode::TooLarge, pb::RejectCode::TooLarge),
    (RejectCode::WrongFeed, pb::RejectCode::WrongFeed),
    (RejectCode::StaleStream, pb::RejectCode::StaleStream),
    (RejectCode::Malformed, pb::RejectCode::Malformed),
    (RejectCode::Suspended, pb::RejectCode::Suspended),
    (RejectCode::OutOfCredit, pb::RejectCode::OutOfCredit),
    (RejectCode::Unavailable, pb::RejectCode::Unavailable),
];

pub(super) fn to_wire<A: Copy + PartialEq, B: Copy>(table: &[(A, B)], ours: A, other: B) -> B {
    table.iter().find(|(a, _)| *a == ours).map_or(other, |(_, b)| *b)
}

impl Down {
    /// The wire form; `feed` and the hub's key id belong to every receipt.
    pub fn into_wire(self, hub: &crate::op::Author) -> pb::PushDown {
        use pb::push_down::M;
        let m = match self {
            Self::Welcome(welcome) => M::Welcome(pb::Welcome {
                proto: crate::link::PROTOCOL,
                verdict: to_wire(&VERDICTS, welcome.verdict, pb::Verdict::Unspecified).into(),
                mirror_head: Some(cursor(FeedId::new([0; 16]), welcome.mirror)),
                credit: Some(welcome.credit.into()),
                hub_time_ms: welcome.hub_time_ms,
                directory_seq: welcome.directory_seq,
                hub_incarnation: welcome.hub_incarnation,
                explain: explain(&welcome.explain),
                retry_after_ms: welcome.retry_after_ms,
                hub_feed_head: (welcome.verdict == Verdict::HubRecovering)
                    .then(|| cursor(FeedId::new([0; 16]), welcome.hub_head)),
                ..pb::Welcome::default()
            }),
            Self::Ack { receipt, credit, outcomes } => M::Ack(pb::Ack {
                durable: receipt.map(|receipt| receipt.to_wire(hub)),
                credit: Some(credit.into()),
                outcomes: outcomes.iter().map(write_outcome).collect(),
                retry_after_ms: 0,
            }),
            Self::Reject(reject) => M::Reject(pb::Reject {
                code: to_wire(&REJECTS, reject.code, pb::RejectCode::Unspecified).into(),
                seq: reject.seq,
                explain: explain(&reject.explain),
                retry_after_ms: reject.retry_after_ms,
            }),
            Self::Mismatch { seq, hub_root, hub_records } => M::Mismatch(pb::RootMismatch {
                at_seq: seq,
                hub_root: bytes(hub_root.as_bytes()),
                hub_count: hub_records,
            }),
            Self::ClaimSeen { seq, hub_time_ms } => {
                M::ClaimSeen(pb::ClaimSeen { at_seq: seq, hub_time_ms })
            }
        };
        pb::PushDown { m: Some(m) }
    }
}

impl TryFrom<pb::PushDown> for Down {
    type Error = WireFault;

    fn try_from(down: pb::PushDown) -> Result<Self, WireFault> {
        use pb::push_down::M;
        match down.m.ok_or_else(|| fault("an empty message"))? {
            M::Welcome(welcome) => {
                let verdict = VERDICTS.iter().find(|(_, wire)| *wire == welcome.verdict());
                let (_, mirror) = read_cursor(welcome.mirror_head.as_ref())?;
                let hub_head = match &welcome.hub_feed_head {
                    Some(head) => read_cursor(Some(head))?.1,
                    None => Head::EMPTY,
                };
                Ok(Self::Welcome(Welcome {
                    verdict: verdict.ok_or_else(|| fault("an unknown verdict"))?.0,
                    mirror,
                    credit: read_credit(welcome.credit),
                    hub_time_ms: welcome.hub_time_ms,
                    directory_seq: welcome.directory_seq,
                    hub_incarnation: welcome.hub_incarnation,
                    explain: explain(&welcome.explain),
                    retry_after_ms: welcome.retry_after_ms,
                    hub_head,
                }))
            }
            M::Ack(ack) => Ok(Self::Ack {
                receipt: ack.durable.as_ref().map(read_receipt).transpose()?,
                credit: read_credit(ack.credit),
                outcomes: ack.outcomes.into_iter().map(read_outcome).collect(),
            }),
            M::Reject(reject) => {
                let code = REJECTS.iter().find(|(_, wire)| *wire == reject.code());
                Ok(Self::Reject(Reject {
                    code: code.ok_or_else(|| fault("an unknown reject code"))?.0,
                    seq: reject.seq,
                    explain: explain(&reject.explain),
                    retry_after_ms: reject.retry_after_ms,
                }))
            }
            M::Mismatch(mismatch) => Ok(Self::Mismatch {
                seq: mismatch.at_seq,
                hub_root: hash(&mismatch.hub_root)?,
                hub_records: mismatch.hub_count,
            }),
            M::ClaimSeen(seen) => {
                Ok(Self::ClaimSeen { seq: seen.at_seq, hub_time_ms: seen.hub_time_ms })
            }
        }
    }
}

/// Reads a receipt; the signature is checked by [`Receipt::verifies`].
///
/// # Errors
/// `WireFault` when an id has the wrong size.
pub fn read_receipt(receipt: &pb::Receipt) -> Result<Receipt, WireFault> {
    Ok(Receipt {
        feed: FeedId::try_from(receipt.feed_id.as_ref()).map_err(|bad| fault(bad.to_string()))?,
        head: Head { seq: receipt.seq, hash: hash(&receipt.head_hash)? },
        received_at_ms: receipt.received_at_ms,
        signature: receipt.signature.to_vec(),
    })
}

fn write_outcome(outcome: &OpOutcome) -> pb::OpOutcome {
    let kind = match &outcome.outcome {
        Outcome::Materialised => pb::Outcome::Materialised,
        Outcome::PendingUpgrade => pb::Outcome::PendingUpgrade,
        Outcome::Invalid(_) => pb::Outcome::Invalid,
        Outcome::NotAuthoritative => pb::Outcome::NotAuthoritative,
    };
    pb::OpOutcome {
        seq: outcome.seq,
        outcome: kind.into(),
        reason: explain(outcome.outcome.reason()),
        conflict_id: Bytes::new(),
    }
}

fn read_outcome(wire: pb::OpOutcome) -> OpOutcome {
    let outcome = match wire.outcome() {
        pb::Outcome::Materialised => Outcome::Materialised,
        pb::Outcome::PendingUpgrade => Outcome::PendingUpgrade,
        pb::Outcome::NotAuthoritative => Outcome::NotAuthoritative,
        // An outcome of a later hub is at least not success; its reason says what it is.
        _ => Outcome::Invalid(wire.reason),
    };
    OpOutcome { seq: wire.seq, outcome }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_a_fault_and_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(up) = pb::PushUp::decode(noise.as_slice()) {
                let _parsed = Up::try_from(up);
            }
            if let Ok(down) = pb::PushDown::decode(noise.as_slice()) {
                let _parsed = Down::try_from(down);
            }
        }
    }

    #[test]
    fn a_long_explanation_is_cut_at_a_character() {
        let long = "长".repeat(limit::EXPLAIN_BYTES_MAX);
        assert!(explain(&long).len() <= limit::EXPLAIN_BYTES_MAX);
        assert!(explain(&long).chars().all(|c| c == '长'));
    }
}
