//! The city as this node knows it: the replica, with the district's own catalogue laid over it.
//!
//! Everything here works without the hub, and says how old it is.

use std::collections::BTreeMap;

use liandong_core::{
    directory::Standing,
    fold::Status,
    id::{DistrictCode, RecordId},
};
use liandong_server::{
    clock,
    output::{Exit, Failure},
    site::{CityStatus, DistrictView, Site as _, State},
};
use liandong_store::{Answer, Entry, Query, StoreError};
use serde::{Deserialize, Serialize};

use crate::app::{App, AppError};

/// A record of some district that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CityHit {
    /// Id.
    pub id: RecordId,
    /// Title as the city shows it.
    pub title: String,
    /// Provider.
    pub provider: String,
    /// Code of the district that answers for it.
    pub code: DistrictCode,
    /// Its name.
    pub district: String,
    /// Whether it is of this district's own catalogue.
    pub own: bool,
    /// The moment it was last known to be current, milliseconds since 1970.
    pub as_of: Option<i64>,
    /// Whether that is too long ago.
    pub stale: bool,
    /// When its district changed it last, milliseconds since 1970.
    pub changed_at_ms: i64,
}

/// What a search in the whole city found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CityFound {
    /// All matches.
    pub total: usize,
    /// The best of them.
    pub hits: Vec<CityHit>,
    /// The moment the replica was last known to be current, milliseconds since 1970.
    pub as_of: Option<i64>,
    /// Whether the hub's word for it is missing or too old.
    pub stale: bool,
    /// Whether the replica is whole.
    pub complete: bool,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<String>,
}

impl App {
    /// What the status document says of the replica.
    pub(crate) fn city_status(&self) -> CityStatus {
        let state = self.replica.state();
        let (root, _rows, records) = self.replica.root();
        let unfollowed = self.unfollowed.lock().clone();
        let until = state.checkpoint.as_ref().map(|checkpoint| checkpoint.expires_ms);
        let current = until.is_some_and(|until| until > clock::now_ms());
        let why = if state.why.is_empty() { unfollowed } else { state.why };
        CityStatus {
            seq: state.city_seq,
            root,
            records,
            as_of: state.checkpoint.map(|checkpoint| checkpoint.at_ms),
            complete: state.complete,
            stale: !state.complete || !current,
            expires: until,
            hub_seq: self.hub_head().seq,
            refused: state.refused,
            received: state.received,
            explain: Some(why).filter(|why| !why.is_empty()),
        }
    }

    /// Whether the district's own catalogue has the newest of a record.
    fn is_own(&self, id: RecordId) -> Result<bool, StoreError> {
        Ok(self.store.city().owner(id) == self.own.feed() && self.store.state(id)?.is_some())
    }

    /// Every district of the city. The own one is always current here, the others are as old as the replica.
    pub(crate) fn districts_of_city(&self) -> Vec<DistrictView> {
        let (city, replica, live) = (self.store.city(), self.city_status(), self.replica.live());
        let own = self.own.feed();
        let directory = &city.directory;
        let mut districts: Vec<DistrictView> = directory
            .districts
            .iter()
            .filter(|(code, district)| {
                district.successor.is_none() && directory.feed_of(code) != Some(own)
            })
            .map(|(code, district)| {
                let feed = directory.feed_of(code);
                let state = match (district.standing, feed) {
                    (Standing::Suspended, _) => State::Suspended,
                    (_, None) => State::Waiting,
                    _ if replica.stale => State::Offline,
                    _ => State::InSync,
                };
                DistrictView {
                    code: code.clone(),
                    former: directory.former(code),
                    name: district.name.clone(),
                    feed,
                    state,
                    as_of_ms: replica.as_of,
                    records: feed.and_then(|feed| live.get(&feed)).copied().unwrap_or(0),
                    lag_records: 0,
                }
            })
            .collect();
        districts.extend(self.districts());
        districts.sort_by(|a, b| a.code.cmp(&b.code));
        districts
    }

    /// Searches the own catalogue and the replica as if they were one.
    pub(crate) fn best_of_city(&self, query: &Query) -> Result<Answer, StoreError> {
        let answer = self.replica.search_with(&self.store, query)?;
        // How far the city is indexed here is the replica's to say, not a position of a feed.
        Ok(Answer { applied: BTreeMap::new(), ..answer })
    }

    /// A record of any district: the own catalogue's version where it has the newest.
    pub(crate) fn entry_of_city(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        if self.is_own(id)? { self.store.entry(id) } else { self.replica.entry(id) }
    }

    /// Searches the whole city for the district's staff, who see what is shared within government too.
    pub(crate) fn search_city(
        &self,
        text: String,
        district: Option<DistrictCode>,
        limit: usize,
    ) -> Result<CityFound, AppError> {
        let districts = self.districts_of_city();
        let feeds = match district {
            None => None,
            Some(code) => {
                let chosen = districts.iter().find(|district| district.code == code);
                let chosen = chosen.ok_or_else(|| no_district(&code))?;
                Some(chosen.feed.into_iter().collect())
            }
        };
        let query = Query { text, feeds, limit, fold_copies: true, ..Query::default() };
        let answer = self.best_of_city(&query)?;
        let replica = self.city_status();
        let mut hits = Vec::with_capacity(answer.hits.len());
        for hit in answer.hits {
            let Some(entry) = self.entry_of_city(hit.id)? else { continue };
            let district = districts.iter().find(|one| one.feed == Some(entry.authority));
            let (Some(record), Some(district)) = (&entry.record, district) else { continue };
            if entry.status != Status::Live {
                continue;
            }
            let own = district.feed == Some(self.own.feed());
            let curated = entry.overlaid.as_ref().map(|over| over.over(record, entry.op_hash));
            hits.push(CityHit {
                id: entry.id,
                title: curated.map_or_else(|| record.title.clone(), |curated| curated.title),
                provider: record.provider.name.clone(),
                code: district.code.clone(),
                district: district.name.clone(),
                own,
                as_of: district.as_of_ms,
                stale: !own && replica.stale,
                changed_at_ms: entry.changed_at_ms,
            });
        }
        Ok(CityFound {
            total: answer.total,
            hits,
            as_of: replica.as_of,
            stale: replica.stale,
            complete: replica.complete,
            explain: replica.explain.filter(|_| replica.stale),
        })
    }
}

fn no_district(code: &DistrictCode) -> Failure {
    Failure::new(
        "no_district",
        Exit::Error,
        format!("本市没有代码为 {code} 的区"),
        format!("there is no district {code} in the city"),
    )
}
