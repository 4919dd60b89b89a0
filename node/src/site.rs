//! The node as readers see it.

use liandong_core::id::{DistrictCode, Hash, RecordId};
use liandong_server::site::{
    CityStatus, DistrictView, FeedStatus, HubStatus, IndexStatus, Role, Site, State, Status,
    ViewStatus,
};
use liandong_store::{Answer, Entry, Query, Store, StoreError};

use crate::app::App;

impl App {
    /// Code and name of the district as the hub's feed tells them; as they were when the node joined before that.
    fn district(&self) -> (DistrictCode, String) {
        let city = self.store.city();
        let told = city.directory.district_of(self.own.feed());
        let joined = &self.config.node;
        told.map_or_else(
            || (joined.code.clone(), joined.name.clone()),
            |district| (district.code.clone(), district.name.clone()),
        )
    }
}

impl Site for App {
    fn role(&self) -> Role {
        Role::Node
    }

    fn name(&self) -> String {
        self.district().1
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn status(&self) -> Status {
        let feed = self.own.feed();
        let head = self.store.head(feed);
        let progress = self.store.feed(feed);
        let link = self.link.get();
        let applied = progress.map_or(0, |progress| progress.applied.seq);
        let state = match link.state(head) {
            State::Behind if self.store.city().gates.held(feed).is_some() => State::Held,
            state => state,
        };
        Status {
            role: Role::Node,
            software: crate::cli::SOFTWARE.to_owned(),
            feed: FeedStatus { id: feed, seq: head.seq, hash: head.hash, damaged: self.damaged() },
            view: ViewStatus {
                root: progress.map_or(Hash::ZERO, |progress| progress.root),
                records: progress.map_or(0, |progress| progress.records),
                applied_seq: applied,
            },
            index: IndexStatus {
                applied_seq: progress.map_or(0, |progress| progress.indexed.seq),
                documents: self.store.documents(),
            },
            districts: None,
            hub: Some(HubStatus {
                url: self.config.hub.url.clone(),
                state,
                verdict: link.verdict.map(|verdict| verdict.name().to_owned()),
                incarnation: self.store.city().hub_incarnation().max(link.hub_incarnation),
                explain: (!link.explain.is_empty()).then(|| link.explain.clone()),
                acked_seq: link.acked.seq,
                acked_hash: link.acked.hash,
                last_contact: link.contact_ms,
                certificate_expires: link.certificate_expires_ms,
                quarantined: link.quarantined.len() as u64,
                conflicts: self.conflicts.open(),
                lost_receipts: link.lost,
            }),
            city: self.replica(),
            recovery: None,
            backup: self.backups.status(),
        }
    }

    fn replica(&self) -> Option<CityStatus> {
        Some(self.city_status())
    }

    fn city_districts(&self) -> Vec<DistrictView> {
        self.districts_of_city()
    }

    fn city_search(&self, query: &Query) -> Result<Answer, StoreError> {
        self.best_of_city(query)
    }

    fn city_hint(&self, query: &Query) -> Result<Option<String>, StoreError> {
        self.replica.hint_with(&self.store, query)
    }

    fn city_typed(&self, query: &Query) -> Result<Answer, StoreError> {
        self.replica.typed_with(&self.store, query)
    }

    fn city_entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        self.entry_of_city(id)
    }

    fn districts(&self) -> Vec<DistrictView> {
        let progress = self.store.feed(self.own.feed());
        let head = self.store.head(self.own.feed());
        let link = self.link.get();
        let city = self.store.city();
        let directory = &city.directory;
        let (code, name) = self.district();
        vec![DistrictView {
            former: directory.former(&code),
            code,
            name,
            feed: Some(self.own.feed()),
            state: link.state(head),
            // A node's own catalogue is always current.
            as_of_ms: Some(liandong_server::clock::now_ms()),
            records: progress.map_or(0, |progress| progress.records),
            lag_records: head.seq - progress.map_or(head.seq, |progress| progress.applied.seq),
        }]
    }
}
