//! What can be asked of the store, and what an answer is made of.

use bytes::Bytes;
use liandong_core::{
    city::Overlaid,
    fold::Status,
    id::{FeedId, Hash, RecordId},
    record::{Record, Visibility},
};

/// A full-text search.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// What a person typed; words apart by spaces must all match. Empty means everything.
    pub text: String,
    /// Only these feeds.
    pub feeds: Option<Vec<FeedId>>,
    /// Only what anyone may see.
    pub public_only: bool,
    /// Hits on the page, 1 to [`liandong_core::limit::PAGE_HITS_MAX`].
    pub limit: usize,
    /// Hits before the page.
    pub offset: usize,
}

/// Which records to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Only this feed.
    pub feed: Option<FeedId>,
    /// Only live records.
    pub live_only: bool,
    /// Only what anyone may see.
    pub public_only: bool,
}

impl Filter {
    pub(crate) fn admits(&self, status: Status, visibility: Visibility) -> bool {
        (!self.live_only || status == Status::Live)
            && (!self.public_only || visibility == Visibility::Public)
    }
}

/// A record with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The record.
    pub id: RecordId,
    /// Live or withdrawn.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// Feed that wrote the current version.
    pub feed: FeedId,
    /// Feed that may write the next one: its district answers for the record.
    pub authority: FeedId,
    /// Hidden in the city view.
    pub hidden: bool,
    /// What the city's curators added.
    pub overlaid: Option<Overlaid>,
    /// Position of the current op.
    pub seq: u64,
    /// Hash of the current op.
    pub op_hash: Hash,
    /// When it was made by the author's clock, milliseconds since 1970.
    pub changed_at_ms: i64,
    /// Account that made it.
    pub actor: String,
    /// The signed bytes: the record, or the tombstone.
    pub payload: Bytes,
    /// The record, when it is live.
    pub record: Option<Record>,
    /// Why it was withdrawn, when it was.
    pub withdrawn_reason: Option<String>,
}
