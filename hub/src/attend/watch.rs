//! Follows the feeds and knows what has to be looked at.
//!
//! Positions and claims are kept in memory only: at the start every feed is read once from its beginning, and nothing
//! is decided before that is done, because what was not read yet may hold what is being asked about. Later rounds read
//! what is new. What is found depends on what the journals hold, not on when it was read.

use std::collections::{BTreeMap, BTreeSet};

use liandong_core::{
    city::{
        Cause, City, Claimants, CodeGrants, Conflict, ConflictKind, Found, Rejected, Topic,
        Version, grant,
    },
    duplicate::{Candidate, Detector, Fingerprint, Places},
    fold::{Outcome, RecordState, Status, is_about_records},
    id::{FeedId, Hash, RecordId},
    limit,
    op::{Change, Op, OpType},
    record::{Record, Visibility},
};
use liandong_store::{Store, StoreError};

/// Who claims which name: a code, or an information item.
#[derive(Debug, Default)]
struct Claims {
    by_name: BTreeMap<String, BTreeSet<RecordId>>,
    by_record: BTreeMap<RecordId, Vec<String>>,
}

impl Claims {
    /// Takes down what a record claims now. Returns the names that it concerns, those it gave up too.
    fn set(&mut self, record: RecordId, names: Vec<String>) -> Vec<String> {
        let mut touched = self.by_record.remove(&record).unwrap_or_default();
        for name in &touched {
            if let Some(claimants) = self.by_name.get_mut(name) {
                claimants.remove(&record);
                if claimants.is_empty() {
                    self.by_name.remove(name);
                }
            }
        }
        for name in &names {
            self.by_name.entry(name.clone()).or_default().insert(record);
        }
        touched.extend(
            names.iter().filter(|name| !touched.contains(name)).cloned().collect::<Vec<_>>(),
        );
        if !names.is_empty() {
            self.by_record.insert(record, names);
        }
        touched
    }

    fn claims(&self, record: RecordId, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|claimants| claimants.contains(&record))
    }
}

/// How far a feed was read, and by which rules it was folded then.
#[derive(Debug, Default)]
struct Place {
    seq: u64,
    rules: Option<Hash>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    hub: FeedId,
    /// Names of the territories that records may speak of: the districts', the city's.
    names: BTreeSet<String>,
    territories: Places,
    places: BTreeMap<FeedId, Place>,
    duplicates: Detector,
    codes: Claims,
    items: Claims,
    /// By record, the first op after its current one that did not take effect.
    rejected: BTreeMap<RecordId, Rejected>,
    /// By feed and type, the first op that did not take effect and is told together with others.
    unread: BTreeMap<(FeedId, String), Rejected>,
    /// What is to be looked at, with the op that touched it last.
    topics: BTreeMap<Topic, Cause>,
}

impl Watch {
    /// Begins to watch a city of this name.
    pub(super) fn new(hub: FeedId, city: &str) -> Self {
        Self::among(hub, BTreeSet::from([city.to_owned()]))
    }

    fn among(hub: FeedId, names: BTreeSet<String>) -> Self {
        Self {
            hub,
            territories: Places::new(names.iter().map(String::as_str)),
            names,
            places: BTreeMap::new(),
            duplicates: Detector::default(),
            codes: Claims::default(),
            items: Claims::default(),
            rejected: BTreeMap::new(),
            unread: BTreeMap::new(),
            topics: BTreeMap::new(),
        }
    }

    /// Whether there is something to be looked at.
    pub(super) fn waits(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Reads what is new in all feeds.
    pub(super) fn follow(&mut self, store: &Store, city: &City) -> Result<(), StoreError> {
        let districts = city.directory.districts.values().map(|district| &district.name);
        let new: Vec<_> = districts.filter(|name| !self.names.contains(*name)).cloned().collect();
        if !new.is_empty() {
            // What a title is about depends on the names that are known.
            let names = self.names.iter().cloned().chain(new).collect();
            *self = Self::among(self.hub, names);
        }
        let first = self.places.is_empty();
        for (feed, progress) in store.progress() {
            if feed == self.hub {
                continue;
            }
            let place = self.places.entry(feed).or_default();
            if place.rules != Some(progress.rules) {
                *place = Place { seq: 0, rules: Some(progress.rules) };
                self.rejected.retain(|_, rejected| rejected.version.feed != feed);
                self.unread.retain(|(of, _), _| *of != feed);
            }
            self.follow_feed(store, city, feed, progress.applied.seq)?;
        }
        if first {
            self.begin(city);
        }
        self.follow_hub(store, city.head.seq)
    }

    /// After the first reading: what was granted or opened before and may stand no longer.
    fn begin(&mut self, city: &City) {
        let cause = Cause { feed: self.hub, seq: city.head.seq };
        let given_up = city.codes.iter().filter(|(code, id)| !self.codes.claims(**id, code));
        self.topics.extend(given_up.map(|(code, _)| (Topic::Code(code.clone()), cause)));
        let open = city.conflicts.iter().filter(|conflict| conflict.is_open());
        for topic in open.flat_map(Topic::of) {
            self.topics.entry(topic).or_insert(cause);
        }
        self.places.insert(self.hub, Place { seq: city.head.seq, rules: None });
    }

    fn follow_feed(
        &mut self,
        store: &Store,
        city: &City,
        feed: FeedId,
        until: u64,
    ) -> Result<(), StoreError> {
        loop {
            let after = self.places.get(&feed).map_or(0, |place| place.seq);
            let room = usize::try_from(until.saturating_sub(after)).unwrap_or(usize::MAX);
            let count = room.min(limit::BATCH_OPS_MAX);
            if count == 0 {
                return Ok(());
            }
            let ops = store.ops(feed, after, count, limit::BATCH_BYTES_MAX)?;
            let Some(last) = ops.last() else { return Ok(()) };
            let outcomes: BTreeMap<_, _> =
                store.outcomes(feed, after, ops.len())?.into_iter().collect();
            for op in &ops {
                match outcomes.get(&op.seq) {
                    Some(outcome) => self.reject(store, city, op, outcome)?,
                    None if is_about_records(&op.kind) => self.take(store, city, op)?,
                    None => {}
                }
            }
            self.places.entry(feed).or_default().seq = last.seq;
        }
    }

    /// An op that took effect; only the current one of a record tells what the record claims.
    fn take(&mut self, store: &Store, city: &City, op: &Op) -> Result<(), StoreError> {
        let Ok(id) = RecordId::try_from(op.subject.as_ref()) else { return Ok(()) };
        let state = store.state(id)?.filter(|state| (state.feed, state.seq) == (op.feed, op.seq));
        let Some(state) = state else { return Ok(()) };
        let live = state.status == Status::Live;
        let record = live.then(|| Record::from_bytes(&op.signed.payload).ok()).flatten();
        match &record {
            Some(record) => {
                let district = city.directory.district_of(city.owner(id));
                let district = district.map_or("", |district| district.name.as_str());
                let fingerprint = Fingerprint::new(record, district, &self.territories);
                self.duplicates.upsert(id, fingerprint);
            }
            None => self.duplicates.remove(id),
        }
        let code = record.as_ref().and_then(|record| record.code.clone());
        let code = code.filter(|code| code.chars().count() <= limit::CODE_CHARS_MAX);
        let items = record.iter().flat_map(|record| &record.items);
        let mut items: Vec<_> =
            items.filter(|item| item.authoritative).map(|item| item.name.clone()).collect();
        items.sort_unstable();
        items.dedup();
        let cause = Cause { feed: op.feed, seq: op.seq };
        let codes = self.codes.set(id, code.into_iter().collect());
        self.topics.extend(codes.into_iter().map(|code| (Topic::Code(code), cause)));
        let items = self.items.set(id, items);
        self.topics.extend(items.into_iter().map(|item| (Topic::Item(item), cause)));
        self.topics.insert(Topic::Record(id), cause);
        if self.rejected.get(&id).is_some_and(|rejected| supersedes(&state, rejected)) {
            self.rejected.remove(&id);
        }
        Ok(())
    }

    fn reject(
        &mut self,
        store: &Store,
        city: &City,
        op: &Op,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let record = RecordId::try_from(op.subject.as_ref()).ok();
        let (feed, seq, op_hash) = (op.feed, op.seq, op.hash);
        let rejected = Rejected {
            version: Version { feed, seq, op_hash, record },
            reason: outcome.reason().to_owned(),
            visibility: op.visibility,
        };
        let cause = Cause { feed, seq };
        let of_record = record.filter(|_| matches!(outcome, Outcome::Invalid(_)));
        if let Some(id) = of_record.filter(|_| is_about_records(&op.kind)) {
            let state = store.state(id)?;
            if state.is_some_and(|state| supersedes(&state, &rejected)) {
                return Ok(());
            }
            let known = self.rejected.contains_key(&id);
            let of_feed = || self.rejected.values().filter(|other| other.version.feed == feed);
            if known || of_feed().count() < limit::REJECTED_RECORDS_MAX {
                self.rejected.entry(id).or_insert(rejected);
                self.topics.insert(Topic::Record(id), cause);
                return Ok(());
            }
        }
        // What a former owner goes on editing is a letter and not a fault.
        let late = record.is_some_and(|id| city.rules(feed).gave_away(feed, id));
        if !(late && *outcome == Outcome::NotAuthoritative) {
            let key = (feed, op.kind.name().to_owned());
            self.topics.insert(Topic::Ops(feed, key.1.clone()), cause);
            self.unread.entry(key).or_insert(rejected);
        }
        Ok(())
    }

    /// The hub's own ops touch records, codes and items too.
    fn follow_hub(&mut self, store: &Store, until: u64) -> Result<(), StoreError> {
        let mut after = self.places.get(&self.hub).map_or(until, |place| place.seq);
        while after < until {
            let ops = store.ops(self.hub, after, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
            let Some(last) = ops.last() else { break };
            after = last.seq;
            for op in &ops {
                let cause = Cause { feed: self.hub, seq: op.seq };
                self.topics.extend(touched(op).into_iter().map(|topic| (topic, cause)));
            }
        }
        self.places.entry(self.hub).or_default().seq = after;
        Ok(())
    }

    /// The next topics on which something has to be decided; the others are done with.
    pub(super) fn unsettled(
        &mut self,
        store: &Store,
        city: &City,
    ) -> Result<Vec<Topic>, StoreError> {
        let next: Vec<_> = self.topics.keys().take(limit::TOPICS_PER_ROUND_MAX).cloned().collect();
        let mut unsettled = Vec::new();
        for topic in next {
            let found = self.look(&topic, store, city)?;
            if found.grant.is_some() || !city.reconcile(&topic, &found).is_empty() {
                unsettled.push(topic);
            } else {
                self.topics.remove(&topic);
            }
        }
        Ok(unsettled)
    }

    /// The ops that settle topics under the city that is current, and the topics that they settle.
    pub(super) fn settle(
        &self,
        topics: &[Topic],
        store: &Store,
        city: &City,
    ) -> Result<(Vec<Change>, Vec<Topic>), StoreError> {
        let (mut changes, mut settled) = (Vec::new(), Vec::new());
        let mut grants: BTreeMap<Visibility, BTreeMap<String, Option<RecordId>>> = BTreeMap::new();
        for topic in topics {
            if changes.len() >= limit::CONFLICTS_PER_ROUND_MAX {
                break;
            }
            let found = self.look(topic, store, city)?;
            changes.extend(city.reconcile(topic, &found));
            if let Some((code, holder, visibility)) = found.grant {
                grants.entry(visibility).or_default().insert(code, holder);
            }
            settled.push(topic.clone());
        }
        let grants = grants.into_iter().flat_map(|(visibility, codes)| grant(codes, visibility));
        Ok((grants.chain(changes).collect(), settled))
    }

    /// Forgets topics that are settled.
    pub(super) fn forget(&mut self, topics: &[Topic]) {
        for topic in topics {
            self.topics.remove(topic);
        }
    }

    fn look(&self, topic: &Topic, store: &Store, city: &City) -> Result<Found, StoreError> {
        let of_hub = Cause { feed: self.hub, seq: city.head.seq };
        let cause = self.topics.get(topic).copied().unwrap_or(of_hub);
        Ok(match topic {
            Topic::Record(id) => {
                let (state, rejected) = (store.state(*id)?, self.rejected.get(id));
                let mut found = city.look_at_record(self.hub, *id, state.as_ref(), rejected, cause);
                city.add_duplicates(&mut found, self.pairs(*id, store, city)?);
                found
            }
            Topic::Code(code) => {
                city.look_at_code(code, &self.codes.claimants(code, store)?, cause)
            }
            Topic::Item(item) => {
                city.look_at_item(item, &self.items.claimants(item, store)?, cause)
            }
            Topic::Ops(feed, kind) => {
                let rejected = self.unread.get(&(*feed, kind.clone()));
                city.look_at_ops(*feed, kind, rejected, cause)
            }
        })
    }
}

impl Watch {
    /// The duplicates of a record with the states of both sides. Of very many the strongest are told; one that the
    /// other side tells still stands.
    fn pairs(
        &self,
        id: RecordId,
        store: &Store,
        city: &City,
    ) -> Result<Vec<(Candidate, [RecordState; 2])>, StoreError> {
        let mut candidates = self.duplicates.candidates(id);
        let subject = id.to_string();
        let known = city.conflicts.about(&subject);
        let known = known.filter(|conflict| conflict.opened.kind == ConflictKind::Duplicate);
        for other in known.flat_map(Conflict::records).filter(|other| *other != id) {
            let of_other = self.duplicates.candidates(other).into_iter();
            candidates.extend(of_other.filter(|pair| pair.first == id || pair.second == id));
        }
        candidates.sort_by_key(|pair| (pair.first, pair.second));
        candidates.dedup();
        let mut pairs = Vec::new();
        for pair in candidates {
            let [one, other] = [pair.first, pair.second].map(|side| store.state(side));
            let live = |state: &RecordState| state.status == Status::Live;
            if let (Some(one), Some(other)) = (one?.filter(live), other?.filter(live)) {
                pairs.push((pair, [one, other]));
            }
        }
        Ok(pairs)
    }
}

impl Claims {
    fn claimants(&self, name: &str, store: &Store) -> Result<Claimants, StoreError> {
        let mut claimants = Claimants::new();
        for id in self.by_name.get(name).into_iter().flatten() {
            // A record that was withdrawn since is read of in the next round.
            let state = store.state(*id)?.filter(|state| state.status == Status::Live);
            claimants.extend(state.map(|state| (*id, state)));
        }
        Ok(claimants)
    }
}

/// Whether a record got a valid version after an op that did not take effect.
fn supersedes(state: &RecordState, rejected: &Rejected) -> bool {
    state.feed != rejected.version.feed || state.seq > rejected.version.seq
}

/// What an op of the hub touches.
fn touched(op: &Op) -> Vec<Topic> {
    match op.kind {
        OpType::OverlayPut
        | OpType::OverlayDrop
        | OpType::Hold
        | OpType::ChangeRequest
        | OpType::ChangeRequestClose => {
            RecordId::try_from(op.subject.as_ref()).into_iter().map(Topic::Record).collect()
        }
        OpType::CodeGrant => {
            let grants: CodeGrants = serde_json::from_slice(&op.signed.payload).unwrap_or_default();
            grants.codes.into_keys().map(Topic::Code).collect()
        }
        OpType::SourceRegister => {
            let item = String::from_utf8_lossy(&op.subject).into_owned();
            vec![Topic::Item(item)]
        }
        _ => Vec::new(),
    }
}
