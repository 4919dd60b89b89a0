//! Searching the replica, alone or with the district's own catalogue as if they were one.

use std::collections::{BTreeMap, BTreeSet};

use liandong_core::{city::City, id::FeedId, wire::city::CityRecord};

use super::{Parts, Replica, ReplicaState, Shown, from_value, mark, shown};
use crate::{
    error::StoreError,
    index::{self, Document, Index, Place, Stamps, group_of},
    query::{Answer, Look, Query},
    store::{Store, near, nearest},
    view::Table,
};

/// Puts a row where searches find it, with what the city says of its district and copies.
pub(super) fn index_row(
    index: &Index,
    row: &CityRecord,
    searched: bool,
    city: &City,
) -> Result<(), StoreError> {
    index.remove(row.id);
    if !searched {
        return Ok(());
    }
    let Some(Shown { op, record: Some(mut record), overlaid }) = shown(row)? else { return Ok(()) };
    if let Some(overlaid) = overlaid {
        let curated = overlaid.over(&record, op.hash);
        (record.title, record.keywords) = (curated.title, curated.keywords);
    }
    let changed_us = op.claimed_at_ms.saturating_mul(1_000);
    index.put(&Document {
        id: row.id,
        feed: row.authority,
        visibility: op.visibility,
        record: &record,
        place: &Place::of(city, row.authority),
        group: group_of(city, row.id),
        stamps: Stamps { created_us: changed_us, modified_us: changed_us },
    })
}

impl Replica {
    /// Asks the replica alone.
    ///
    /// # Errors
    /// `Index`.
    pub fn search(&self, query: &Query) -> Result<Answer, StoreError> {
        let city = self.options.city();
        index::search(&[&self.parts.load().index], query, city.policy.words())
    }

    /// Asks the replica, together with the district's own catalogue: its records are found there, not here.
    ///
    /// # Errors
    /// `Index`.
    pub fn search_with(&self, own: &Store, query: &Query) -> Result<Answer, StoreError> {
        own.search_beside(&self.parts.load().index, query)
    }

    /// What was perhaps meant by a text that nothing matches, here and in the own catalogue.
    ///
    /// # Errors
    /// `Index`, `View`, `Io`, `Damaged`.
    pub fn hint_with(&self, own: &Store, query: &Query) -> Result<Option<String>, StoreError> {
        let found = own.look(Some(&self.parts.load().index), &near(query), Look::Near)?;
        nearest(
            &query.text,
            found,
            |part| own.is_word(part),
            |id| match self.entry(id)? {
                Some(entry) => Ok(Some(entry)),
                None => own.entry(id),
            },
        )
    }

    /// What begins as a text does that is still being typed, here and in the own catalogue.
    ///
    /// # Errors
    /// `Index`.
    pub fn typed_with(&self, own: &Store, query: &Query) -> Result<Answer, StoreError> {
        own.look(Some(&self.parts.load().index), query, Look::Typed)
    }

    /// Brings the index to what the hub's feed says by now of districts' names and of copies.
    pub(super) fn follow_city(
        &self,
        parts: &Parts,
        city: &City,
        state: &mut ReplicaState,
    ) -> Result<(), StoreError> {
        if state.city_indexed == city.head.seq {
            return Ok(());
        }
        let mut again = city.conflicts.rejoined_since(state.city_indexed);
        let places: BTreeMap<FeedId, Place> =
            city.directory.feeds.keys().map(|feed| (*feed, Place::of(city, *feed))).collect();
        let renamed: BTreeSet<FeedId> = {
            let mut known = self.places.lock();
            let other = |(feed, place): (&FeedId, &Place)| {
                known.get(feed).is_some_and(|before| before != place).then_some(*feed)
            };
            let renamed = places.iter().filter_map(other).collect();
            *known = places;
            renamed
        };
        if !renamed.is_empty() {
            parts.each(|record, _| {
                again.extend(renamed.contains(&record.authority).then_some(record.id));
                Ok(())
            })?;
        }
        for id in again {
            if let Some(value) = parts.view.get(Table::City, &id.to_bytes())? {
                let (record, searched) = from_value(&value)?;
                index_row(&parts.index, &record, searched, city)?;
            }
        }
        parts.index.commit(&mark(state.commit))?;
        state.city_indexed = city.head.seq;
        Ok(())
    }
}
