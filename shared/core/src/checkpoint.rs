//! The hub's signed statement of what an audience's replica of the city holds, and until when it may be called current.

use liandong_proto::sync as pb;
use serde::{Deserialize, Serialize};

use crate::{
    id::{FeedId, Hash, Head},
    op::{Author, verify_detached},
    wire::WireFault,
};

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The hub's run that `city_seq` counts in.
    pub epoch: [u8; 16],
    /// Events up to here are covered.
    pub city_seq: u64,
    /// Feed of the node it is for.
    pub audience: FeedId,
    /// Root over the audience's rows.
    pub root: Hash,
    /// Rows, stubs included.
    pub count: u64,
    /// The hub's feed, as far as it counts in `root`.
    pub hub: Head,
    /// The hub's clock, milliseconds since 1970.
    pub at_ms: i64,
    /// From then on the replica is stale, milliseconds since 1970.
    pub expires_ms: i64,
    /// 64 bytes of the hub's key.
    pub signature: Vec<u8>,
}

impl Checkpoint {
    fn message(&self) -> Vec<u8> {
        let mut bytes = b"liandong.checkpoint.v1".to_vec();
        bytes.extend_from_slice(&self.epoch);
        bytes.extend_from_slice(&self.city_seq.to_be_bytes());
        bytes.extend_from_slice(self.audience.as_bytes());
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.hub.seq.to_be_bytes());
        bytes.extend_from_slice(self.hub.hash.as_bytes());
        bytes.extend_from_slice(&self.at_ms.to_be_bytes());
        bytes.extend_from_slice(&self.expires_ms.to_be_bytes());
        bytes
    }

    /// Signs it with the hub's key.
    #[must_use]
    pub fn signed(mut self, hub: &Author) -> Self {
        self.signature = hub.sign(&self.message()).to_vec();
        self
    }

    /// Whether the hub's key signed it; needs nothing but the checkpoint and the key.
    pub fn verifies(&self, hub_public_key: &[u8; 32]) -> bool {
        verify_detached(hub_public_key, &self.message(), &self.signature)
    }

    /// The wire form.
    pub fn to_wire(&self, hub: &Author) -> pb::CityCheckpoint {
        pb::CityCheckpoint {
            epoch: self.epoch.to_vec().into(),
            city_seq: self.city_seq,
            audience: self.audience.as_bytes().to_vec().into(),
            root: self.root.as_bytes().to_vec().into(),
            count: self.count,
            hub_seq: self.hub.seq,
            hub_hash: self.hub.hash.as_bytes().to_vec().into(),
            at_ms: self.at_ms,
            expires_ms: self.expires_ms,
            hub_key_id: hub.key_id().as_bytes().to_vec().into(),
            signature: self.signature.clone().into(),
        }
    }

    /// Reads one; the signature is checked by [`Self::verifies`].
    ///
    /// # Errors
    /// `WireFault` when an id has the wrong size.
    pub fn read(wire: &pb::CityCheckpoint) -> Result<Self, WireFault> {
        let bad = |what: &str| WireFault(format!("{what} has the wrong size"));
        let hash = |bytes: &[u8], what| Hash::try_from(bytes).map_err(|_size| bad(what));
        Ok(Self {
            epoch: wire.epoch.as_ref().try_into().map_err(|_size| bad("epoch"))?,
            city_seq: wire.city_seq,
            audience: FeedId::try_from(wire.audience.as_ref()).map_err(|_size| bad("audience"))?,
            root: hash(&wire.root, "root")?,
            count: wire.count,
            hub: Head { seq: wire.hub_seq, hash: hash(&wire.hub_hash, "hub_hash")? },
            at_ms: wire.at_ms,
            expires_ms: wire.expires_ms,
            signature: wire.signature.to_vec(),
        })
    }
}
