//! Reading: entries, lists, searches. Nothing here writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use liandong_core::{
    city::{Cause, City, Transfer},
    fold::{self, Outcome, RecordState, Status, Tombstone},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::Op,
    record::Record,
    search,
};

use super::{Shared, Store};
use crate::{
    error::StoreError,
    index::{self, Index},
    journal::Damage,
    projector::Journals as _,
    query::{Answer, Entry, Filter, Look, Query, Sort},
    shown::ShownPage,
};

/// Records that are looked through for a hint.
const NEAR_RECORDS: usize = 40;

impl Store {
    /// Durable head of a feed.
    pub fn head(&self, feed: FeedId) -> Head {
        self.shared.with(feed, crate::journal::Journal::head).unwrap_or(Head::EMPTY)
    }

    /// What cannot be read of a feed. A damaged feed is served up to there and takes nothing new.
    pub fn damage(&self, feed: FeedId) -> Option<Damage> {
        self.shared.with(feed, |journal| journal.damage().cloned()).flatten()
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

    /// The op of a feed with this hash, looked for backwards from a position.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn op_before(&self, feed: FeedId, seq: u64, hash: Hash) -> Result<Option<Op>, StoreError> {
        let (window, oldest) =
            (limit::BATCH_OPS_MAX as u64, seq.saturating_sub(limit::HISTORY_OPS_MAX));
        let mut end = seq;
        while end > oldest {
            let after = end.saturating_sub(window);
            let mut read = after;
            while read < end {
                let count = usize::try_from(end - read).unwrap_or(1);
                let ops = self.ops(feed, read, count, limit::BATCH_BYTES_MAX)?;
                let Some(last) = ops.last() else { return Ok(None) };
                read = last.seq;
                if let Some(op) = ops.into_iter().find(|op| op.hash == hash) {
                    return Ok(Some(op));
                }
            }
            end = after;
        }
        Ok(None)
    }

    /// State of a record in the view.
    ///
    /// # Errors
    /// `View`.
    pub fn state(&self, id: RecordId) -> Result<Option<RecordState>, StoreError> {
        self.shared.state(id)
    }

    /// Whether a record is hidden in the city view: by a decision of the hub, or because its withdrawal is known
    /// before its turn.
    pub fn hides(&self, id: RecordId) -> bool {
        self.shared.hides(&self.city(), id)
    }

    /// Ops of districts that wait for an answer of the hub, in the order of feeds and positions.
    ///
    /// # Errors
    /// `View`.
    pub fn letters(&self) -> Result<Vec<Cause>, StoreError> {
        let (mut letters, city) = (self.shared.view.load().letters()?, self.city());
        letters.retain(|letter| !city.attended.contains(letter));
        Ok(letters)
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
        let op = self.shared.op_of(id, &state)?;
        let city = self.city();
        let (record, withdrawn_reason) = match state.status {
            Status::Live => (Record::from_bytes(&op.signed.payload).ok(), None),
            Status::Withdrawn if state.redacted || op.signed.withheld => {
                (None, Some(fold::REDACTED.to_owned()))
            }
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
            authority: city.owner(id),
            hidden: self.shared.hides(&city, id),
            overlaid: city.curation.overlays.get(&id).cloned(),
            seq: state.seq,
            op_hash: state.op_hash,
            changed_at_ms: state.changed_at_ms,
            stamps: self.shared.shown.stamps(id)?.unwrap_or_default(),
            actor: op.actor,
            payload: if state.redacted { Bytes::new() } else { op.signed.payload },
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
        let mut found = Vec::new();
        let city = self.city();
        for origin in origins(&city, filter.feed) {
            // Records stand in the order of their origins, so what lies before the cursor's is over.
            if origin.is_some_and(|origin| after.is_some_and(|after| after.origin() > origin)) {
                continue;
            }
            let from = after.filter(|after| origin.is_none_or(|origin| after.origin() == origin));
            let mut at = from.map(|id| (id, FeedId::new([0xFF; 16])));
            loop {
                let page = self.shared.view.load().records(origin, at, limit)?;
                let Some((last, state)) = page.last() else { break };
                at = Some((*last, state.feed));
                let short = page.len() < limit;
                for (id, state) in page {
                    let current = self.shared.current(&city, id, state)?;
                    let owned = filter.feed.is_none_or(|feed| city.owner(id) == feed);
                    let admitted = filter.admits(state.status, state.visibility)
                        && !(filter.public_only && self.shared.hides(&city, id));
                    if current && owned && admitted {
                        found.push(self.fill(id, state)?);
                        if found.len() == limit {
                            return Ok(found);
                        }
                    }
                }
                if short {
                    break;
                }
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
        index::search(&[&self.shared.index.load()], query, self.city().policy.words())
    }

    /// What was perhaps meant by a text that nothing matches: the nearest part of a title, keyword or provider.
    ///
    /// # Errors
    /// `Index`, `View`, `Io`, `Damaged`.
    pub fn hint(&self, query: &Query) -> Result<Option<String>, StoreError> {
        let near = self.look(None, &near(query), Look::Near)?;
        let index = self.shared.index.load();
        nearest(&query.text, near, |part| index.is_word(part), |id| self.entry(id))
    }

    /// Whether the dictionary knows a word.
    pub(crate) fn is_word(&self, part: &str) -> bool {
        self.shared.index.load().is_word(part)
    }

    /// What begins as a text does that is still being typed.
    ///
    /// # Errors
    /// `Index`.
    pub fn typed(&self, query: &Query) -> Result<Answer, StoreError> {
        self.look(None, query, Look::Typed)
    }

    /// The same question to the engine alone: how many records match.
    ///
    /// # Errors
    /// `Index`.
    #[cfg(feature = "bench")]
    pub fn search_bare(&self, query: &Query) -> Result<usize, StoreError> {
        self.shared.index.load().search_bare(query, self.city().policy.words())
    }

    pub(crate) fn search_beside(&self, other: &Index, query: &Query) -> Result<Answer, StoreError> {
        index::search(&[&self.shared.index.load(), other], query, self.city().policy.words())
    }

    pub(crate) fn look(
        &self,
        other: Option<&Index>,
        query: &Query,
        kind: Look,
    ) -> Result<Answer, StoreError> {
        let own = self.shared.index.load();
        let all: Vec<&Index> = std::iter::once(&**own).chain(other).collect();
        index::look(&all, query, self.city().policy.words(), kind)
    }

    /// The last visible change of each record that changed after a moment (microseconds since 1970), in order.
    ///
    /// # Errors
    /// `View`.
    pub fn changes(&self, after_us: i64, limit: usize) -> Result<ShownPage, StoreError> {
        self.shared.shown.changes(after_us, limit.clamp(1, limit::CHANGES_PAGE_MAX))
    }

    /// Number of the index that serves; each that is built anew has the next.
    pub fn index_generation(&self) -> u64 {
        self.shared.index.load().generation()
    }

    /// Documents in the index.
    pub fn documents(&self) -> u64 {
        self.shared.index.load().documents()
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

/// The question for records near to a text.
pub(crate) fn near(query: &Query) -> Query {
    Query {
        limit: NEAR_RECORDS,
        offset: 0,
        after: None,
        facets: Vec::new(),
        sort: Sort::default(),
        ..query.clone()
    }
}

/// The part of a title, keyword or provider of some records that is nearest to a text; of equally near ones a word,
/// then the most frequent.
pub(crate) fn nearest(
    text: &str,
    near: Answer,
    is_word: impl Fn(&str) -> bool,
    entry: impl Fn(RecordId) -> Result<Option<Entry>, StoreError>,
) -> Result<Option<String>, StoreError> {
    let mut parts: BTreeMap<String, (search::Distance, usize)> = BTreeMap::new();
    for hit in near.hits {
        let Some(record) = entry(hit.id)?.and_then(|entry| entry.record) else { continue };
        for name in record.keywords.iter().chain([&record.title, &record.provider.name]) {
            if let Some((distance, part)) = search::nearest(name, text) {
                parts.entry(part).or_insert((distance, 0)).1 += 1;
            }
        }
    }
    let best = parts
        .into_iter()
        .min_by_key(|(part, (near, count))| (*near, !is_word(part), std::cmp::Reverse(*count)));
    Ok(best.map(|(part, _)| part))
}

impl Shared {
    /// The state that counts: of the latest feed with authority that made anything of the record.
    pub(super) fn state(&self, id: RecordId) -> Result<Option<RecordState>, StoreError> {
        let view = self.view.load();
        let city = Arc::clone(&self.city.borrow());
        if city.authority.transfers().is_empty() {
            return view.record(id, id.origin());
        }
        for span in city.authority.spans(id).iter().rev() {
            if let Some(state) = view.record(id, span.feed)? {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    /// Whether this is the state that counts of the record.
    fn current(&self, city: &City, id: RecordId, state: RecordState) -> Result<bool, StoreError> {
        Ok(city.authority.transfers().is_empty() || self.state(id)? == Some(state))
    }

    /// The op that made a state.
    pub(super) fn op_of(&self, id: RecordId, state: &RecordState) -> Result<Op, StoreError> {
        let op = self.with(state.feed, |journal| journal.op(state.seq)).transpose()?;
        op.flatten().ok_or_else(|| {
            StoreError::View(format!("record {id} points at op {} that is not there", state.seq))
        })
    }

    pub(super) fn hides(&self, city: &City, id: RecordId) -> bool {
        if !self.options.city_view {
            return false;
        }
        if city.hides(id) {
            return true;
        }
        let hidden = self.hidden.read().get(&id).copied();
        hidden.is_some_and(|cause| {
            let progress = self.progress.read();
            progress.get(&cause.feed).is_none_or(|progress| progress.applied.seq < cause.seq)
        })
    }

    /// The records that a feed owns now.
    pub(super) fn records_owned(
        &self,
        city: &City,
        feed: FeedId,
    ) -> Result<BTreeSet<RecordId>, StoreError> {
        let mut found = BTreeSet::new();
        for origin in origins(city, Some(feed)) {
            let mut at = None;
            loop {
                let page = self.view.load().records(origin, at, limit::PAGE_RECORDS_MAX)?;
                let Some((last, state)) = page.last() else { break };
                at = Some((*last, state.feed));
                found.extend(page.iter().map(|(id, _)| *id).filter(|id| city.owner(*id) == feed));
            }
        }
        Ok(found)
    }

    /// The records that a transfer moved.
    pub(super) fn records_of_transfer(
        &self,
        transfer: &Transfer,
    ) -> Result<Vec<RecordId>, StoreError> {
        if let Some(records) = &transfer.records {
            return Ok(records.iter().copied().collect());
        }
        let city = Arc::clone(&self.city.borrow());
        let mut found = Vec::new();
        for origin in origins(&city, Some(transfer.from_feed)) {
            let mut at = None;
            loop {
                let page = self.view.load().records(origin, at, limit::PAGE_RECORDS_MAX)?;
                let Some((last, state)) = page.last() else { break };
                at = Some((*last, state.feed));
                found.extend(page.iter().map(|(id, _)| *id));
            }
        }
        found.dedup();
        Ok(found)
    }
}

/// The feeds that minted what a feed owns now, in order; one entry for all of them when no feed is asked for.
fn origins(city: &City, feed: Option<FeedId>) -> Vec<Option<FeedId>> {
    let Some(feed) = feed else { return vec![None] };
    let mut origins = vec![feed];
    origins.extend(city.rules(feed).transfers.iter().map(|transfer| transfer.from_feed));
    origins.sort_unstable();
    origins.dedup();
    origins.into_iter().map(Some).collect()
}
