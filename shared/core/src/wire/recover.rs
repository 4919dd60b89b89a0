//! Messages of recovery: common ancestor, evidence, rejoin, and the hub's feed on its way back.

use liandong_proto::sync as pb;

use super::{WireFault, bytes, cursor, explain, fault, hash, read_cursor};
use crate::{
    id::{FeedId, Head, InstanceId},
    limit,
    op::SignedOp,
};

/// What a person at the node decided about a feed that was rolled back or forked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejoin {
    /// The feed.
    pub feed: FeedId,
    /// The node's head, which it gives up.
    pub abandoned: Head,
    /// The mirror's head, which it adopted.
    pub adopt: Head,
    /// Name of a [`crate::rejoin::Reason`].
    pub reason: String,
    /// Who decided.
    pub operator: String,
    /// New installation id.
    pub instance: InstanceId,
    /// The feed's incarnation from here on.
    pub incarnation: u32,
    /// Of the feed key over [`Rejoin::message`].
    pub signature: Vec<u8>,
}

impl Rejoin {
    /// What the feed key signs.
    pub fn message(&self) -> Vec<u8> {
        let mut message = b"liandong.rejoin.v1".to_vec();
        message.extend_from_slice(self.feed.as_bytes());
        for head in [self.abandoned, self.adopt] {
            message.extend_from_slice(&head.seq.to_be_bytes());
            message.extend_from_slice(head.hash.as_bytes());
        }
        for text in [&self.reason, &self.operator] {
            message.extend_from_slice(&(text.len() as u64).to_be_bytes());
            message.extend_from_slice(text.as_bytes());
        }
        message.extend_from_slice(self.instance.as_bytes());
        message.extend_from_slice(&self.incarnation.to_be_bytes());
        message
    }
}

impl From<&Rejoin> for pb::RejoinRequest {
    fn from(rejoin: &Rejoin) -> Self {
        Self {
            abandoned: Some(cursor(rejoin.feed, rejoin.abandoned)),
            adopt: Some(cursor(rejoin.feed, rejoin.adopt)),
            reason: rejoin.reason.clone(),
            operator: rejoin.operator.clone(),
            new_instance_id: bytes(rejoin.instance.as_bytes()),
            new_incarnation: rejoin.incarnation,
            signature: rejoin.signature.clone().into(),
        }
    }
}

impl TryFrom<&pb::RejoinRequest> for Rejoin {
    type Error = WireFault;

    fn try_from(wire: &pb::RejoinRequest) -> Result<Self, WireFault> {
        let (feed, abandoned) = read_cursor(wire.abandoned.as_ref())?;
        let (same, adopt) = read_cursor(wire.adopt.as_ref())?;
        if same != feed {
            return Err(fault("the two positions are of different feeds"));
        }
        Ok(Self {
            feed,
            abandoned,
            adopt,
            reason: explain(&wire.reason),
            operator: explain(&wire.operator),
            instance: InstanceId::try_from(wire.new_instance_id.as_ref())
                .map_err(|bad| fault(bad.to_string()))?,
            incarnation: wire.new_incarnation,
            signature: wire.signature.to_vec(),
        })
    }
}

/// Probes for the common ancestor, as a request.
pub fn write_probes(feed: FeedId, probes: &[Head]) -> pb::AncestorRequest {
    pb::AncestorRequest {
        feed_id: bytes(feed.as_bytes()),
        probes: probes
            .iter()
            .map(|probe| pb::AncestorProbe {
                seq: probe.seq,
                op_hash: bytes(probe.hash.as_bytes()),
            })
            .collect(),
    }
}

/// Reads a request for the common ancestor.
///
/// # Errors
/// `WireFault` when an id has the wrong size or there are too many probes.
pub fn read_probes(wire: &pb::AncestorRequest) -> Result<(FeedId, Vec<Head>), WireFault> {
    if wire.probes.len() > limit::ANCESTOR_PROBES_MAX {
        return Err(fault("too many probes"));
    }
    let feed = FeedId::try_from(wire.feed_id.as_ref()).map_err(|bad| fault(bad.to_string()))?;
    let probes = wire
        .probes
        .iter()
        .map(|probe| Ok(Head { seq: probe.seq, hash: hash(&probe.op_hash)? }))
        .collect::<Result<_, WireFault>>()?;
    Ok((feed, probes))
}

/// The hub's answer to probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    /// The highest probe that is on the mirror.
    pub common: Head,
    /// Durable head of the mirror.
    pub mirror: Head,
    /// The feed's incarnation as the hub knows it.
    pub incarnation: u32,
}

impl Ancestor {
    /// The wire form for a feed.
    pub fn write(&self, feed: FeedId) -> pb::AncestorReply {
        pb::AncestorReply {
            ancestor: Some(cursor(feed, self.common)),
            mirror_head: Some(cursor(feed, self.mirror)),
            incarnation: self.incarnation,
        }
    }
}

impl TryFrom<&pb::AncestorReply> for Ancestor {
    type Error = WireFault;

    fn try_from(wire: &pb::AncestorReply) -> Result<Self, WireFault> {
        let (_, common) = read_cursor(wire.ancestor.as_ref())?;
        let (_, mirror) = read_cursor(wire.mirror_head.as_ref())?;
        Ok(Self { common, mirror, incarnation: wire.incarnation })
    }
}

/// Part of a tail that a node is about to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The feed.
    pub feed: FeedId,
    /// The last op that is on the mirror too.
    pub ancestor: Head,
    /// The last op of the tail.
    pub abandoned: Head,
    /// The next ops of the tail, in order.
    pub ops: Vec<SignedOp>,
    /// Nothing comes after these.
    pub end: bool,
}

impl From<Evidence> for pb::ForkEvidence {
    fn from(evidence: Evidence) -> Self {
        Self {
            ancestor: Some(cursor(evidence.feed, evidence.ancestor)),
            ops: evidence.ops.into_iter().map(Into::into).collect(),
            end: evidence.end,
            abandoned: Some(cursor(evidence.feed, evidence.abandoned)),
        }
    }
}

impl TryFrom<pb::ForkEvidence> for Evidence {
    type Error = WireFault;

    fn try_from(wire: pb::ForkEvidence) -> Result<Self, WireFault> {
        let (feed, ancestor) = read_cursor(wire.ancestor.as_ref())?;
        let (same, abandoned) = read_cursor(wire.abandoned.as_ref())?;
        if same != feed {
            return Err(fault("the two positions are of different feeds"));
        }
        if wire.ops.len() > limit::BATCH_OPS_MAX {
            return Err(fault("too many ops in one message"));
        }
        let ops = wire.ops.into_iter().map(Into::into).collect();
        Ok(Self { feed, ancestor, abandoned, ops, end: wire.end })
    }
}

/// A position as it stands in replies.
///
/// # Errors
/// `WireFault` when it is missing or an id has the wrong size.
pub fn read_head(wire: Option<&pb::Cursor>) -> Result<(FeedId, Head), WireFault> {
    read_cursor(wire)
}

/// A position for a reply.
pub fn write_head(feed: FeedId, head: Head) -> pb::Cursor {
    cursor(feed, head)
}
