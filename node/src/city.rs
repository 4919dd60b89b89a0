//! The city as this node knows it: the replica, with the district's own catalogue laid over it.
//!
//! Everything here works without the hub, and says how old it is.

use std::collections::BTreeMap;

use liandong_core::{directory::Standing, id::RecordId};
use liandong_server::{
    clock,
    site::{CityStatus, DistrictView, Site as _, State},
};
use liandong_store::{Answer, Entry, Query, StoreError};

use crate::app::App;

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
}
