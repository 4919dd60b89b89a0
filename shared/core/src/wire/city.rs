//! Messages of the city feed: events to a follower, audits, single records.

use liandong_proto::sync as pb;
use prost::Message as _;

use super::{WireFault, bytes, fault, hash, read_batch, write_batch};
use crate::{
    checkpoint::Checkpoint,
    city::{CityRow, CityStatus},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::{Author, SignedOp},
};

/// One record as it goes down to a district.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CityRecord {
    /// Position in the hub's run.
    pub city_seq: u64,
    /// Which.
    pub id: RecordId,
    /// How it is shown; `None`: no longer for this audience.
    pub status: Option<CityStatus>,
    /// As its district signed it; absent when held or gone.
    pub core: Option<SignedOp>,
    /// As the hub signed it.
    pub overlay: Option<SignedOp>,
    /// The feed that may write it.
    pub authority: FeedId,
}

impl CityRecord {
    /// A record that the audience does not see any more.
    pub const fn gone(city_seq: u64, id: RecordId, authority: FeedId) -> Self {
        Self { city_seq, id, status: None, core: None, overlay: None, authority }
    }

    /// What its leaf in the digest is made of; none when it is gone.
    pub fn row(&self) -> Option<CityRow> {
        let hash = |op: &Option<SignedOp>| op.as_ref().map_or(Hash::ZERO, SignedOp::hash);
        Some(CityRow {
            status: self.status?,
            core: hash(&self.core),
            overlay: hash(&self.overlay),
            authority: self.authority,
        })
    }

    /// The bytes under which a replica keeps it.
    pub fn into_bytes(self) -> Vec<u8> {
        pb::CityRecord::from(self).encode_to_vec()
    }

    /// Reads [`Self::into_bytes`].
    ///
    /// # Errors
    /// `WireFault` when the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireFault> {
        pb::CityRecord::decode(bytes).map_err(|error| fault(error.to_string()))?.try_into()
    }
}

/// Where a follower stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FollowCursor {
    /// The hub's run that the position is of; none yet.
    pub epoch: Option<[u8; 16]>,
    /// Events up to here were taken.
    pub city_seq: u64,
    /// The hub's feed as it is mirrored.
    pub hub: Head,
}

/// What the hub tells a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CityEvent {
    /// A record at its newest position.
    Record(Box<CityRecord>),
    /// The next ops of the hub's feed.
    HubOps {
        /// The head that the first one follows.
        after: Head,
        /// Ops in order; payloads of other audiences are withheld.
        ops: Vec<SignedOp>,
    },
    /// What the replica holds now.
    Checkpoint(Checkpoint),
    /// The cursor is of another run: audit, then go on from here.
    Reset {
        /// The hub's run.
        epoch: [u8; 16],
        /// Events up to here are covered by an audit begun now.
        city_seq: u64,
        /// How often the hub was rebuilt.
        hub_incarnation: u32,
    },
}

const STATUSES: [(CityStatus, pb::CityStatus); 3] = [
    (CityStatus::Live, pb::CityStatus::Live),
    (CityStatus::Withdrawn, pb::CityStatus::Withdrawn),
    (CityStatus::Held, pb::CityStatus::Held),
];

fn epoch(bytes: &[u8]) -> Result<[u8; 16], WireFault> {
    bytes.try_into().map_err(|_size| fault("epoch has the wrong size"))
}

fn record_id(bytes: &[u8]) -> Result<RecordId, WireFault> {
    RecordId::try_from(bytes).map_err(|bad| fault(bad.to_string()))
}

impl From<CityRecord> for pb::CityRecord {
    fn from(record: CityRecord) -> Self {
        let status = record.status.map_or(pb::CityStatus::Gone, |status| {
            super::push::to_wire(&STATUSES, status, pb::CityStatus::Unspecified)
        });
        Self {
            city_seq: record.city_seq,
            record_id: bytes(&record.id.to_bytes()),
            status: status.into(),
            core: record.core.map(Into::into),
            overlay: record.overlay.map(Into::into),
            authority_feed: bytes(record.authority.as_bytes()),
        }
    }
}

impl TryFrom<pb::CityRecord> for CityRecord {
    type Error = WireFault;

    fn try_from(wire: pb::CityRecord) -> Result<Self, WireFault> {
        let status = match wire.status() {
            pb::CityStatus::Gone => None,
            other => Some(
                STATUSES
                    .iter()
                    .find(|(_, wire)| *wire == other)
                    .ok_or_else(|| fault("an unknown status"))?
                    .0,
            ),
        };
        Ok(Self {
            city_seq: wire.city_seq,
            id: record_id(&wire.record_id)?,
            status,
            core: wire.core.map(Into::into),
            overlay: wire.overlay.map(Into::into),
            authority: FeedId::try_from(wire.authority_feed.as_ref())
                .map_err(|bad| fault(bad.to_string()))?,
        })
    }
}

impl From<FollowCursor> for pb::FollowRequest {
    fn from(at: FollowCursor) -> Self {
        Self {
            epoch: at.epoch.map_or_else(bytes::Bytes::new, |epoch| bytes(&epoch)),
            city_seq: at.city_seq,
            hub_seq: at.hub.seq,
            hub_hash: bytes(at.hub.hash.as_bytes()),
        }
    }
}

impl TryFrom<&pb::FollowRequest> for FollowCursor {
    type Error = WireFault;

    fn try_from(wire: &pb::FollowRequest) -> Result<Self, WireFault> {
        Ok(Self {
            epoch: (!wire.epoch.is_empty()).then(|| epoch(&wire.epoch)).transpose()?,
            city_seq: wire.city_seq,
            hub: Head { seq: wire.hub_seq, hash: hash(&wire.hub_hash)? },
        })
    }
}

impl CityEvent {
    /// The wire form.
    pub fn into_wire(self, hub: &Author) -> pb::CityEvent {
        use pb::city_event::M;
        let m = match self {
            Self::Record(record) => M::Record((*record).into()),
            Self::HubOps { after, ops } => M::HubOps(write_batch(after, ops)),
            Self::Checkpoint(checkpoint) => M::Checkpoint(checkpoint.to_wire(hub)),
            Self::Reset { epoch, city_seq, hub_incarnation } => {
                M::Reset(pb::FollowReset { epoch: bytes(&epoch), city_seq, hub_incarnation })
            }
        };
        pb::CityEvent { m: Some(m) }
    }
}

impl TryFrom<pb::CityEvent> for CityEvent {
    type Error = WireFault;

    fn try_from(wire: pb::CityEvent) -> Result<Self, WireFault> {
        use pb::city_event::M;
        Ok(match wire.m.ok_or_else(|| fault("an empty message"))? {
            M::Record(record) => Self::Record(Box::new(record.try_into()?)),
            M::HubOps(batch) => {
                let (after, ops) = read_batch(batch)?;
                Self::HubOps { after, ops }
            }
            M::Checkpoint(checkpoint) => Self::Checkpoint(Checkpoint::read(&checkpoint)?),
            M::Reset(reset) => Self::Reset {
                epoch: epoch(&reset.epoch)?,
                city_seq: reset.city_seq,
                hub_incarnation: reset.hub_incarnation,
            },
        })
    }
}

/// What the hub holds for an audience, for comparison with its replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The hub's run.
    pub epoch: [u8; 16],
    /// Events up to here are in the root.
    pub city_seq: u64,
    /// Root over all rows.
    pub root: Hash,
    /// Hashes of the 256 buckets.
    pub buckets: Vec<Hash>,
    /// Leaves of the buckets that were asked for.
    pub leaves: Vec<(RecordId, Hash)>,
}

impl From<Audited> for pb::AuditReply {
    fn from(audited: Audited) -> Self {
        let leaf = |(id, leaf): &(RecordId, Hash)| pb::Leaf {
            record_id: bytes(&id.to_bytes()),
            leaf_hash: bytes(leaf.as_bytes()),
        };
        Self {
            epoch: bytes(&audited.epoch),
            city_seq: audited.city_seq,
            root: bytes(audited.root.as_bytes()),
            bucket_hashes: audited.buckets.iter().map(|hash| bytes(hash.as_bytes())).collect(),
            leaves: audited.leaves.iter().map(leaf).collect(),
        }
    }
}

impl TryFrom<&pb::AuditReply> for Audited {
    type Error = WireFault;

    fn try_from(wire: &pb::AuditReply) -> Result<Self, WireFault> {
        let leaf = |leaf: &pb::Leaf| Ok((record_id(&leaf.record_id)?, hash(&leaf.leaf_hash)?));
        Ok(Self {
            epoch: epoch(&wire.epoch)?,
            city_seq: wire.city_seq,
            root: hash(&wire.root)?,
            buckets: wire.bucket_hashes.iter().map(|b| hash(b)).collect::<Result<_, _>>()?,
            leaves: wire.leaves.iter().map(leaf).collect::<Result<_, WireFault>>()?,
        })
    }
}

/// The records that a request names.
///
/// # Errors
/// `WireFault` when an id has the wrong size or there are too many.
pub fn read_wanted(wire: &pb::RecordsRequest) -> Result<Vec<RecordId>, WireFault> {
    if wire.record_ids.len() > limit::PAGE_RECORDS_MAX {
        return Err(fault("too many records"));
    }
    wire.record_ids.iter().map(|id| record_id(id)).collect()
}

/// A request for single records.
pub fn write_wanted(ids: &[RecordId]) -> pb::RecordsRequest {
    pb::RecordsRequest { record_ids: ids.iter().map(|id| bytes(&id.to_bytes())).collect() }
}
