//! The city as this node knows it: the replica, with the district's own catalogue laid over it.

use liandong_server::{clock, site::CityStatus};

use crate::app::App;

impl App {
    /// What the status document says of the replica.
    pub(crate) fn city_status(&self) -> CityStatus {
        let state = self.replica.state();
        let (root, _rows, records) = self.replica.root();
        let following = self.following.lock().clone();
        let expires = state.checkpoint.as_ref().map(|checkpoint| checkpoint.expires_ms);
        let expired = expires.is_none_or(|expires| expires <= clock::now_ms());
        let why = if state.why.is_empty() { following.explain } else { state.why };
        let explain = (!following.connected || !state.complete || state.refused > 0)
            .then_some(why)
            .filter(|why| !why.is_empty());
        CityStatus {
            seq: state.city_seq,
            root,
            records,
            as_of: state.checkpoint.map(|checkpoint| checkpoint.at_ms),
            complete: state.complete,
            stale: !state.complete || expired,
            expires,
            hub_seq: self.hub_head().seq,
            refused: state.refused,
            received: state.received,
            explain,
        }
    }
}
