//! Reading: entries, lists, searches. Nothing here writes.

use liandong_core::{
    fold::{Outcome, RecordState, Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::Op,
    record::Record,
};

use super::Store;
use crate::{
    error::StoreError,
    index::Answer,
    projector::Journals as _,
    query::{Entry, Filter, Query},
};

impl Store {
    /// Durable head of a feed.
    pub fn head(&self, feed: FeedId) -> Head {
        self.shared.with(feed, crate::journal::Journal::head).unwrap_or(Head::EMPTY)
    }

    /// Hash of a feed's op at a position; the zero hash at 0.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn hash_at(&self, feed: FeedId, seq: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.shared.with(feed, |journal| journal.hash_at(seq)).transpose()?.flatten())
    }

    /// Durable ops of a feed after a position.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn ops(
        &self,
        feed: FeedId,
        after: u64,
        ops: usize,
        bytes: usize,
    ) -> Result<Vec<Op>, StoreError> {
        let read = self.shared.with(feed, |journal| journal.read(after, ops, bytes));
        Ok(read.transpose()?.unwrap_or_default())
    }

    /// State of a record in the view.
    ///
    /// # Errors
    /// `View`.
    pub fn state(&self, id: RecordId) -> Result<Option<RecordState>, StoreError> {
        self.shared.view.load().record(id)
    }

    /// A record with its content.
    ///
    /// # Errors
    /// `View`, `Io`, `Damaged`.
    pub fn entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        match self.state(id)? {
            Some(state) => self.fill(id, state).map(Some),
            None => Ok(None),
        }
    }

    fn fill(&self, id: RecordId, state: RecordState) -> Result<Entry, StoreError> {
        let op = self.shared.with(state.feed, |journal| journal.op(state.seq)).transpose()?;
        let op = op.flatten().ok_or_else(|| {
            StoreError::View(format!("record {id} points at op {} that is not there", state.seq))
        })?;
        let (record, withdrawn_reason) = match state.status {
            Status::Live => (Record::from_bytes(&op.signed.payload).ok(), None),
            Status::Withdrawn => {
                let tombstone: Tombstone =
                    serde_json::from_slice(&op.signed.payload).unwrap_or_default();
                (None, Some(tombstone.reason))
            }
        };
        Ok(Entry {
            id,
            status: state.status,
            visibility: state.visibility,
            feed: state.feed,
            seq: state.seq,
            op_hash: state.op_hash,
            changed_at_ms: state.changed_at_ms,
            actor: op.actor,
            payload: op.signed.payload,
            record,
            withdrawn_reason,
        })
    }

    /// Records in the order of their ids, after the one given. The id of the last one is the cursor for the next page;
    /// a short page is the last.
    ///
    /// # Errors
    /// `View`, `Io`, `Damaged`.
    pub fn entries(
        &self,
        filter: Filter,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let limit = limit.clamp(1, limit::PAGE_RECORDS_MAX);
        let view = self.shared.view.load();
        let (mut found, mut after) = (Vec::new(), after);
        while found.len() < limit {
            let page = view.records(filter.feed, after, limit)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let short = page.len() < limit;
            for (id, state) in page {
                if found.len() < limit && filter.admits(state.status, state.visibility) {
                    found.push(self.fill(id, state)?);
                }
            }
            if short {
                break;
            }
        }
        Ok(found)
    }

    /// The live or withdrawn record that an import's match key means. Keys of earlier versions stay behind, so the
    /// record's current ones decide.
    ///
    /// # Errors
    /// `View`, `Io`, `Damaged`.
    pub fn find_by_key(&self, feed: FeedId, key: &str) -> Result<Option<RecordId>, StoreError> {
        let Some(id) = self.shared.view.load().by_match_key(feed, key)? else { return Ok(None) };
        let current = self.entry(id)?.and_then(|entry| entry.record);
        let still = current.is_none_or(|record| record.match_keys().iter().any(|own| own == key));
        Ok(still.then_some(id))
    }

    /// Ops of a feed after a position that did not take effect.
    ///
    /// # Errors
    /// `View`.
    pub fn outcomes(
        &self,
        feed: FeedId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Outcome)>, StoreError> {
        self.shared.view.load().outcomes(feed, after, limit)
    }

    /// Searches the index.
    ///
    /// # Errors
    /// `Index`.
    pub fn search(&self, query: &Query) -> Result<Answer, StoreError> {
        self.shared.index.search(query)
    }

    /// Documents in the index.
    pub fn documents(&self) -> u64 {
        self.shared.index.documents()
    }

    /// Root over the records of all feeds.
    pub fn root(&self) -> Hash {
        self.shared.projection.lock().union_root()
    }

    /// Bytes on disk: journals, view, index.
    pub fn disk_bytes(&self) -> [u64; 3] {
        let dir = &self.shared.options.dir;
        ["journal", "view", "index"].map(|part| crate::view::directory_bytes(&dir.join(part)))
    }
}
