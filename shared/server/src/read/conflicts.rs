//! `/api/v1/conflicts`: what is in dispute and how it was decided, as far as anyone may know.
//!
//! A conflict is told when everyone may see every record in it; of the others only the number is. What curators and
//! districts wrote about a case is told with its decision, the evidence and the versions are not.

use std::sync::Arc;

use axum::{
    Json,
    extract::{OriginalUri, Path, State},
};
use liandong_core::{
    city::{City, Conflict, ConflictEvent, ConflictKind, ConflictState},
    id::{FeedId, Hash, RecordId},
    limit,
    record::Visibility,
};
use serde::Serialize;

use super::{
    Reader,
    api::{ApiError, at},
    catalogue::Snapshot,
    params::Params,
};
use crate::problem::Problem;

/// A record of a conflict.
#[derive(Debug, Serialize)]
struct Side {
    id: RecordId,
    title: String,
    district: Option<String>,
}

/// A conflict as anyone may see it.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    id: Hash,
    number: &'static str,
    kind: ConflictKind,
    state: ConflictState,
    opened_at: Option<i64>,
    districts: Vec<String>,
    records: Vec<Side>,
    /// The side that the city shows meanwhile; null when all are shown alike.
    winner: Option<RecordId>,
    history: Vec<ConflictEvent>,
}

/// One page of conflicts.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    /// All in these states, those that are not told too.
    total: usize,
    /// Those that are not told, because not everyone may see a record in them.
    restricted: usize,
    conflicts: Vec<Document>,
    /// The next page's `after`.
    next: Option<Hash>,
}

impl Snapshot<'_> {
    /// Whether anyone may see every record in it. What is about no record is not for everyone.
    fn is_told(&self, conflict: &Conflict) -> Result<bool, Problem> {
        let records = conflict.records();
        for id in &records {
            let state = self.store().state(*id)?;
            let public = state.is_some_and(|state| state.visibility == Visibility::Public);
            if !public || self.store().hides(*id) {
                return Ok(false);
            }
        }
        Ok(!records.is_empty() && conflict.visibility == Visibility::Public)
    }

    fn district_name(&self, feed: FeedId) -> Option<String> {
        let district = self.districts.iter().find(|district| district.feed == Some(feed));
        district.map(|district| district.name.clone())
    }

    fn conflict(&self, city: &City, conflict: &Conflict) -> Result<Document, Problem> {
        let opened = &conflict.opened;
        let mut records = Vec::new();
        for id in conflict.records() {
            let record = self.store().entry(id)?.and_then(|entry| entry.record);
            let title = record.map(|record| record.title).unwrap_or_default();
            records.push(Side { id, title, district: self.district_name(city.owner(id)) });
        }
        Ok(Document {
            id: opened.id,
            number: opened.kind.number(),
            kind: opened.kind,
            state: conflict.state(),
            opened_at: conflict.history.first().map(|event| event.at_ms),
            districts: opened.parties.iter().filter_map(|feed| self.district_name(*feed)).collect(),
            records,
            winner: city.winner(conflict),
            history: conflict.history.clone(),
        })
    }

    fn conflicts(&self, mut params: Params) -> Result<Page, Problem> {
        let states = [("open", Some(true)), ("decided", Some(false)), ("all", None)];
        let open = params.word("state", &states, Some(true));
        let limit = params.number("limit", 1..=limit::DESK_PAGE_MAX, limit::DESK_PAGE_MAX);
        let after = params.hash("after");
        params.finish()?;
        let city = self.store().city();
        let mut page = Page { total: 0, restricted: 0, conflicts: Vec::new(), next: None };
        for conflict in city.conflicts.iter() {
            if open.is_some_and(|open| open != conflict.is_open()) {
                continue;
            }
            page.total += 1;
            if !self.is_told(conflict)? {
                page.restricted += 1;
            } else if after.is_none_or(|after| conflict.opened.id > after) {
                if page.conflicts.len() < limit {
                    page.conflicts.push(self.conflict(&city, conflict)?);
                } else {
                    page.next = page.conflicts.last().map(|last| last.id);
                }
            }
        }
        Ok(page)
    }
}

/// `GET /api/v1/conflicts?state=&after=&limit=`
pub(super) async fn conflicts(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    params: Params,
) -> Result<Json<Page>, ApiError> {
    let page = reader.catalogue.ask(move |snapshot| snapshot.conflicts(params));
    Ok(Json(page.await.map_err(at(uri))?))
}

/// `GET /api/v1/conflicts/{id}`
pub(super) async fn conflict(
    State(reader): State<Arc<Reader>>,
    uri: OriginalUri,
    Path(id): Path<String>,
) -> Result<Json<Document>, ApiError> {
    let found = reader.catalogue.ask(move |snapshot| {
        let city = snapshot.store().city();
        let id = id.parse::<Hash>().ok();
        let conflict = id.and_then(|id| city.conflicts.get(&id)).ok_or_else(no_conflict)?;
        if snapshot.is_told(conflict)? {
            snapshot.conflict(&city, conflict)
        } else {
            Err(no_conflict())
        }
    });
    Ok(Json(found.await.map_err(at(uri))?))
}

fn no_conflict() -> Problem {
    Problem::new(
        liandong_core::error::Code::NotFound,
        "没有这个冲突，或它不对外公开",
        "there is no such conflict, or it is not for everyone",
    )
}
