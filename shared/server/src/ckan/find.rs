//! Asking the index: the one place where the CKAN interface meets the store.

use std::collections::BTreeMap;

use liandong_core::{expr::Expr, id::RecordId, limit};
use liandong_store::{Facet, Query, Sort, SortBy};

use super::{Context, answer::Refusal};
use crate::read::catalogue::Found;

/// Records in one answer take no more than this, bytes: 100 of the largest fit, which is the page of harvesters.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(100 * limit::RECORD_BYTES_MAX <= ANSWER_BYTES_MAX);

/// A question to the index.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// What a person typed.
    pub(super) text: String,
    /// What must hold besides.
    pub(super) expr: Expr,
    pub(super) facets: Vec<Facet>,
    pub(super) sort: Sort,
    pub(super) limit: usize,
    pub(super) offset: usize,
}

/// In the order of their ids, which are the names of datasets.
pub(super) const BY_ID: Sort = Sort { by: SortBy::Id, descending: false };
/// Last changed first.
pub(super) const BY_CHANGE: Sort = Sort { by: SortBy::Modified, descending: true };

impl Question {
    /// Records for which this holds.
    pub(super) fn of(expr: Expr) -> Self {
        Self { text: String::new(), expr, facets: Vec::new(), sort: BY_ID, limit: 0, offset: 0 }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// All records for which it holds.
    pub(super) total: usize,
    /// Those of the page.
    pub(super) records: Vec<Found>,
    /// Counts of the facets.
    pub(super) facets: BTreeMap<Facet, Vec<(String, u64)>>,
}

/// A label with exactly this value.
pub(super) fn is(key: &str, value: impl Into<String>) -> Expr {
    Expr::Is { key: key.to_owned(), value: value.into() }
}

impl Context<'_> {
    fn query(&self, question: Question) -> Query {
        let feeds = self.snapshot.districts.iter().filter_map(|district| district.feed);
        Query {
            text: question.text,
            expr: Some(question.expr),
            feeds: Some(feeds.collect()),
            public_only: true,
            facets: question.facets,
            sort: question.sort,
            limit: question.limit,
            offset: question.offset,
            ..Query::default()
        }
    }

    /// Asks for a page of records. One that was withdrawn since the index saw it is left out of the page.
    pub(super) fn find(&self, question: Question) -> Result<Page, Refusal> {
        let mut query = self.query(question);
        // Beyond the furthest record there is nothing, and a harvester must see that.
        if query.offset > limit::HARVEST_OFFSET_MAX {
            (query.offset, query.limit) = (0, 0);
        }
        let answer = self.snapshot.store().search(&query)?;
        let mut page = Page { total: answer.records, facets: answer.facets, ..Page::default() };
        let mut bytes = 0;
        for hit in answer.hits {
            let Some(found) = self.live(hit.id)? else { continue };
            bytes += found.entry.payload.len();
            if bytes > ANSWER_BYTES_MAX {
                break;
            }
            page.records.push(found);
        }
        Ok(page)
    }

    /// The ids of all records, in order.
    pub(super) fn ids(&self) -> Result<Vec<RecordId>, Refusal> {
        let (mut ids, mut query) = (Vec::new(), self.query(Question::of(Expr::All)));
        query.limit = limit::PAGE_RECORDS_MAX;
        loop {
            let answer = self.snapshot.store().search(&query)?;
            ids.extend(answer.hits.iter().map(|hit| hit.id));
            query.after = answer.next;
            if query.after.is_none() {
                break;
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// The record that a label means, with the number of records that have it.
    pub(super) fn first(&self, expr: Expr) -> Result<Option<(Found, usize)>, Refusal> {
        let page = self.find(Question { limit: 1, ..Question::of(expr) })?;
        Ok(page.records.into_iter().next().map(|found| (found, page.total)))
    }

    /// A record that everyone may see and that was not withdrawn.
    pub(super) fn live(&self, id: RecordId) -> Result<Option<Found>, Refusal> {
        let entry = self.snapshot.store().entry(id)?;
        let found = entry.and_then(|entry| self.snapshot.admit(entry));
        Ok(found.filter(|found| found.live().is_some()))
    }
}
