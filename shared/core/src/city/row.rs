//! One record as the city shows it to one audience: the join of the three facets.

use serde::{Deserialize, Serialize};

use super::City;
use crate::{
    fold::{RecordState, Status},
    id::{FeedId, Hash, RecordId},
    mutant::{self, Mutant},
    record::Visibility,
};

/// How the city shows a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CityStatus {
    /// With its content.
    Live,
    /// The stub of a withdrawn record.
    Withdrawn,
    /// Hidden by a decision of the hub.
    Held,
}

/// A record as one audience sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CityRow {
    /// How it is shown.
    pub status: CityStatus,
    /// The district's op; zero when held.
    pub core: Hash,
    /// The overlay's op; zero without one.
    pub overlay: Hash,
    /// The feed that may write it.
    pub authority: FeedId,
}

impl CityRow {
    /// The record's leaf in the digest of the city.
    pub fn leaf(&self, id: RecordId) -> Hash {
        let status = [self.status as u8];
        Hash::of(&[
            b"liandong.city.v1",
            &id.to_bytes(),
            &status,
            self.core.as_bytes(),
            self.overlay.as_bytes(),
            self.authority.as_bytes(),
        ])
    }
}

/// The nodes that see a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everyone,
    /// The one that may write it.
    Only(FeedId),
}

impl Scope {
    /// The nodes that see a record in this state.
    pub fn of(city: &City, id: RecordId, state: &RecordState) -> Self {
        match state.visibility {
            Visibility::Public | Visibility::Shared => Self::Everyone,
            Visibility::Restricted => Self::Only(city.owner(id)),
        }
    }

    /// Whether a node is among them.
    pub fn covers(self, audience: FeedId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(feed) => feed == audience,
        }
    }

    /// At least the nodes of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Everyone }
    }
}

impl CityRow {
    /// A record that a decision of the hub hides.
    pub const fn held(authority: FeedId) -> Self {
        let (core, overlay) = (Hash::ZERO, Hash::ZERO);
        Self { status: CityStatus::Held, core, overlay, authority }
    }
}

/// What an audience sees of a record; nothing when it may not see it. The audience is a district's feed, or none for
/// the public.
pub fn row(
    city: &City,
    id: RecordId,
    state: &RecordState,
    audience: Option<FeedId>,
) -> Option<CityRow> {
    let authority = city.owner(id);
    let seen = match state.visibility {
        Visibility::Public => true,
        Visibility::Shared => audience.is_some(),
        Visibility::Restricted => {
            audience == Some(authority) || mutant::active(Mutant::LeakRestricted)
        }
    };
    if !seen {
        return None;
    }
    if city.hides(id) {
        return Some(CityRow::held(authority));
    }
    let overlay = city.curation.overlays.get(&id).map_or(Hash::ZERO, |overlaid| overlaid.op_hash);
    let status = match state.status {
        Status::Live => CityStatus::Live,
        Status::Withdrawn => CityStatus::Withdrawn,
    };
    // A withdrawn record keeps its overlay in the hub's feed only (C7).
    let overlay = if status == CityStatus::Live { overlay } else { Hash::ZERO };
    Some(CityRow { status, core: state.op_hash, overlay, authority })
}
