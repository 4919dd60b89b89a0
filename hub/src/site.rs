//! The hub as readers see it.

use liandong_core::{
    directory::{District, Standing},
    id::{DistrictCode, Hash, Head},
    wire::Verdict,
};
use liandong_server::{
    clock,
    site::{
        DistrictStatus, DistrictView, FeedStatus, IndexStatus, Role, Site, State, Status,
        ViewStatus,
    },
};
use liandong_store::{FeedProgress, Store, StoreError};

use crate::{app::App, link::Link};

fn state(district: &District, link: &Link, progress: Option<&FeedProgress>, held: bool) -> State {
    if district.standing == Standing::Suspended {
        return State::Suspended;
    }
    if district.successor.is_some() {
        return State::Merged;
    }
    let Some(progress) = progress else { return State::Waiting };
    let level = link.node_seq == progress.applied.seq && link.confirmed_seq == progress.applied.seq;
    match link {
        Link { diverged: true, .. } => State::Diverged,
        Link { connected: 0, alarm: Some((_, Verdict::Rollback)), .. } => State::Rollback,
        Link { connected: 0, alarm: Some(_), .. } => State::Fork,
        Link { connected: 0, .. } if progress.head.seq == 0 && link.seen.contact_ms.is_none() => {
            State::Waiting
        }
        _ if held => State::Held,
        Link { connected: 0, .. } => State::Offline,
        _ if level => State::InSync,
        _ => State::Behind,
    }
}

impl App {
    fn district_status(&self, code: &DistrictCode, district: &District) -> DistrictStatus {
        let city = self.city();
        let directory = &city.directory;
        let feed = directory.feed_of(code);
        let link = feed.map(|feed| self.links.get(feed)).unwrap_or_default();
        let progress = feed.and_then(|feed| self.store.feed(feed));
        let entry = feed.and_then(|feed| directory.feeds.get(&feed));
        let mirrored = progress.as_ref().map_or(Head::EMPTY, |progress| progress.head);
        let applied = progress.as_ref().map_or(0, |progress| progress.applied.seq);
        let held = feed.and_then(|feed| city.gates.held(feed).cloned());
        let quarantined = feed
            .and_then(|feed| self.store.outcomes(feed, 0, liandong_core::limit::OUTCOMES_MAX).ok())
            .map_or(0, |outcomes| outcomes.len() as u64);
        let damage = feed.and_then(|feed| self.store.damage(feed)).map(StoreError::from);
        let state = state(district, &link, progress.as_ref(), held.is_some());
        DistrictStatus {
            code: code.clone(),
            name: district.name.clone(),
            state: if damage.is_some() { State::Damaged } else { state },
            held,
            verdict: link.verdict.map(|verdict| verdict.name().to_owned()),
            explain: damage
                .map(|damage| damage.to_string())
                .or_else(|| (!link.explain.is_empty()).then(|| link.explain.clone())),
            seq: mirrored.seq,
            hash: mirrored.hash,
            view_root: progress.as_ref().map_or(Hash::ZERO, |progress| progress.root),
            records: progress.as_ref().map_or(0, |progress| progress.records),
            quarantined,
            lag_records: link.node_seq.saturating_sub(applied),
            lag_seconds: link
                .seen
                .current_ms
                .map(|at| u64::try_from((clock::now_ms() - at) / 1000).unwrap_or(0)),
            last_contact: link.seen.contact_ms,
            certificate_expires: entry
                .and_then(|entry| entry.certificates.last())
                .map(|certificate| certificate.not_after_ms),
        }
    }

    /// Every district as the status document shows it.
    pub(crate) fn district_statuses(&self) -> Vec<DistrictStatus> {
        let city = self.city();
        let directory = &city.directory;
        directory
            .districts
            .iter()
            // What goes on under another code is shown there.
            .filter(|(code, district)| {
                district.successor.is_none() || directory.feed_of(code).is_some()
            })
            .map(|(code, district)| self.district_status(code, district))
            .collect()
    }
}

impl Site for App {
    fn role(&self) -> Role {
        Role::Hub
    }

    fn name(&self) -> String {
        self.config.hub.city.clone()
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn status(&self) -> Status {
        let own = self.own.feed();
        let head = self.store.head(own);
        let progress = self.store.progress();
        let catalogue = || progress.iter().filter(|(feed, _)| **feed != own).map(|(_, p)| p);
        Status {
            role: Role::Hub,
            software: crate::cli::SOFTWARE.to_owned(),
            feed: FeedStatus { id: own, seq: head.seq, hash: head.hash, damaged: None },
            view: ViewStatus {
                root: self.store.root(),
                records: catalogue().map(|progress| progress.records).sum(),
                applied_seq: catalogue().map(|progress| progress.applied.seq).sum(),
            },
            index: IndexStatus {
                applied_seq: catalogue().map(|progress| progress.indexed.seq).sum(),
                documents: self.store.documents(),
            },
            districts: Some(self.district_statuses()),
            hub: None,
            city: None,
            recovery: self.recovery.line(),
            backup: self.backups.status(),
        }
    }

    fn districts(&self) -> Vec<DistrictView> {
        let city = self.city();
        let directory = &city.directory;
        // One that ended is found by its code, in the one that it ended in.
        let living = |status: &DistrictStatus| status.state != State::Merged;
        self.district_statuses()
            .into_iter()
            .filter(living)
            .map(|status| {
                let feed = directory.feed_of(&status.code);
                let current = feed.and_then(|feed| self.links.get(feed).seen.current_ms);
                DistrictView {
                    as_of_ms: current.or(status.last_contact),
                    feed,
                    former: directory.former(&status.code),
                    code: status.code,
                    name: status.name,
                    state: status.state,
                    records: status.records,
                    lag_records: status.lag_records,
                }
            })
            .collect()
    }
}
