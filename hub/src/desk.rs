//! The desk of the city's curators: overlays, holds, requests for changes, conflicts, authoritative sources.
//!
//! What is decided is core's word ([`liandong_core::city`]); here commands find the versions they are about and tell
//! what came of them. Every command has one that takes it back: drop, release, withdraw, reopen.

mod conflict;
mod request;
mod version;

use liandong_core::{
    city::{City, Decision, Hold, Overlay, Refusal, SourceEntry},
    fold::{RecordState, Status},
    id::{DistrictCode, FeedId, Hash, RecordId},
    limit,
};
use liandong_server::{admin::AdminError, command::answer, output::Explain as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use conflict::{ConflictFilter, ConflictRow, ConflictShown, Preview, StateFilter};
pub use request::RequestShown;
pub use version::VersionShown;

use crate::app::{App, AppError};

/// What a curator can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desk {
    /// Add to a record, or confirm what was added against its current version.
    OverlaySet {
        /// Which record.
        record: RecordId,
        /// What is given replaces what was there.
        change: OverlayChange,
    },
    /// What was added to a record.
    OverlayShow {
        /// Which record.
        record: RecordId,
    },
    /// Take it back.
    OverlayDrop {
        /// Which record.
        record: RecordId,
    },
    /// All records with additions.
    OverlayList {
        /// Only where the district changed the record since.
        stale: bool,
    },
    /// Hide a record in the city view.
    HoldPut {
        /// Which record.
        record: RecordId,
        /// The law it rests on.
        legal_basis: String,
        /// Why, for people.
        reason: String,
    },
    /// Show it again.
    HoldRelease {
        /// Which record.
        record: RecordId,
        /// Why, for people.
        reason: String,
    },
    /// All hidden records.
    HoldList,
    /// Ask the district for a change.
    RequestCreate {
        /// Which record.
        record: RecordId,
        /// Fields and the values they should have.
        fields: Map<String, Value>,
        /// Why, for people.
        reason: String,
        /// Day by which an answer is expected; ten working days from now without.
        due: Option<jiff::civil::Date>,
    },
    /// Requests, those without an answer first.
    RequestList {
        /// Answered ones too.
        all: bool,
        /// Only of this district.
        district: Option<DistrictCode>,
    },
    /// One request with what it would change.
    RequestShow {
        /// Its name.
        request: String,
    },
    /// Take a request back.
    RequestWithdraw {
        /// Its name.
        request: String,
        /// Why, for people.
        reason: String,
    },
    /// Conflicts.
    ConflictList(ConflictFilter),
    /// One conflict with all versions.
    ConflictShow {
        /// Its id, or the beginning of it.
        conflict: String,
    },
    /// Decide one.
    ConflictDecide {
        /// Its id, or the beginning of it.
        conflict: String,
        /// What is decided.
        decision: Decision,
        /// Why, for people.
        reason: String,
        /// Only tell what would be written.
        preview: bool,
    },
    /// Open a decided one again.
    ConflictReopen {
        /// Its id, or the beginning of it.
        conflict: String,
        /// Why, for people.
        reason: String,
    },
    /// Name the authoritative source of an information item.
    SourceSet {
        /// The item.
        item: String,
        /// Its source.
        record: RecordId,
        /// Why, for people.
        reason: String,
    },
    /// Take the entry back.
    SourceDrop {
        /// The item.
        item: String,
        /// Why, for people.
        reason: String,
    },
    /// The register.
    SourceList,
}

/// What of an overlay is to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OverlayChange {
    /// What is given replaces what was there.
    pub set: Overlay,
    /// Fields to be taken out, by name.
    pub clear: Vec<String>,
    /// Whether title and keywords stay although the district changes the record.
    pub sticky: Option<bool>,
}

/// A record as lists name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRef {
    /// Which.
    pub id: RecordId,
    /// Title; empty when it is withdrawn.
    pub title: String,
    /// District that answers for it.
    pub district: String,
}

/// An overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayShown {
    /// The record.
    #[serde(flatten)]
    pub record: RecordRef,
    /// What was added.
    pub overlay: Overlay,
    /// The district's version that the curator saw.
    pub base: Option<Hash>,
    /// The district's version now.
    pub core: Option<Hash>,
    /// The district changed the record since.
    pub stale: bool,
    /// Who.
    pub actor: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldShown {
    /// The record.
    #[serde(flatten)]
    pub record: RecordRef,
    /// The law it rests on.
    pub legal_basis: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// An entry of the register of sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceShown {
    /// Information item.
    pub item: String,
    /// Its source.
    pub source: RecordRef,
    /// Why.
    pub reason: String,
}

impl App {
    /// Runs a command of the desk.
    ///
    /// # Errors
    /// The command's own, for people and programs.
    pub async fn desk(&self, command: Desk, actor: &str) -> Result<Value, AdminError> {
        self.at_desk(command, actor).await.map_err(|error| error.explain())?
    }

    async fn at_desk(
        &self,
        command: Desk,
        actor: &str,
    ) -> Result<Result<Value, AdminError>, AppError> {
        Ok(match command {
            Desk::OverlaySet { record, change } => {
                self.set_overlay(record, &change, actor).await?;
                answer(&self.overlay(record)?)
            }
            Desk::OverlayShow { record } => answer(&self.overlay(record)?),
            Desk::OverlayDrop { record } => {
                let dropped = self.overlay(record)?;
                self.decide(actor, |city| Ok(city.curation.drop_overlay(record)?)).await?;
                answer(&dropped)
            }
            Desk::OverlayList { stale } => answer(&self.overlays(stale)?),
            Desk::HoldPut { record, legal_basis, reason } => {
                self.live(record)?;
                let hold = Hold { active: true, legal_basis, reason };
                self.decide(actor, |city| Ok(city.curation.set_hold(record, &hold)?)).await?;
                answer(&self.holds(Some(record))?)
            }
            Desk::HoldRelease { record, reason } => {
                let hold = Hold { active: false, legal_basis: String::new(), reason };
                self.decide(actor, |city| Ok(city.curation.set_hold(record, &hold)?)).await?;
                answer(&self.record_ref(record)?)
            }
            Desk::HoldList => answer(&self.holds(None)?),
            Desk::RequestCreate { record, fields, reason, due } => {
                answer(&self.create_request(record, fields, (reason, due), actor).await?)
            }
            Desk::RequestList { all, district } => answer(&self.requests(all, district.as_ref())?),
            Desk::RequestShow { request } => answer(&self.request(&request)?),
            Desk::RequestWithdraw { request, reason } => {
                answer(&self.withdraw_request(&request, reason, actor).await?)
            }
            Desk::ConflictList(filter) => answer(&self.conflicts(&filter)?),
            Desk::ConflictShow { conflict } => answer(&self.conflict(&conflict)?),
            Desk::ConflictDecide { conflict, decision, reason, preview: true } => {
                answer(&self.preview(&conflict, decision, reason)?)
            }
            Desk::ConflictDecide { conflict, decision, reason, preview: false } => {
                answer(&self.decide_conflict(&conflict, decision, reason, actor).await?)
            }
            Desk::ConflictReopen { conflict, reason } => {
                answer(&self.reopen(&conflict, reason, actor).await?)
            }
            Desk::SourceSet { item, record, reason } => {
                self.live(record)?;
                answer(&self.register(&item, Some(record), reason, actor).await?)
            }
            Desk::SourceDrop { item, reason } => {
                answer(&self.register(&item, None, reason, actor).await?)
            }
            Desk::SourceList => answer(&self.sources()?),
        })
    }

    /// The state of a record that is there and not withdrawn.
    fn live(&self, record: RecordId) -> Result<RecordState, AppError> {
        let state = self.store.state(record)?;
        let state = state.ok_or_else(|| Refusal::NotFound(record.to_string()))?;
        if state.status == Status::Withdrawn {
            return Err(Refusal::Bad {
                zh: format!("目录 {record} 已被该区撤回"),
                en: format!("record {record} was withdrawn by its district"),
            }
            .into());
        }
        Ok(state)
    }

    async fn set_overlay(
        &self,
        record: RecordId,
        change: &OverlayChange,
        actor: &str,
    ) -> Result<(), AppError> {
        let decided = self.decide(actor, |city| {
            let state = self.live(record)?;
            let before = city.curation.overlays.get(&record);
            let before = before.map(|known| known.overlay.clone()).unwrap_or_default();
            let overlay = change.onto(before)?;
            Ok(city.curation.put_overlay(record, state.op_hash, &overlay, state.visibility)?)
        });
        decided.await
    }

    fn overlay(&self, record: RecordId) -> Result<OverlayShown, AppError> {
        let city = self.city();
        let known = city.curation.overlays.get(&record);
        let known = known.ok_or_else(|| Refusal::NotFound(record.to_string()))?;
        let core = self.store.state(record)?.map(|state| state.op_hash);
        Ok(OverlayShown {
            record: self.record_ref(record)?,
            overlay: known.overlay.clone(),
            base: known.base,
            core,
            stale: core.is_some_and(|core| known.stale(core)),
            actor: known.actor.clone(),
            at_ms: known.at_ms,
        })
    }

    fn overlays(&self, only_stale: bool) -> Result<Vec<OverlayShown>, AppError> {
        let city = self.city();
        let mut shown = Vec::new();
        for (record, known) in &city.curation.overlays {
            let core = self.store.state(*record)?.map(|state| state.op_hash);
            if !only_stale || core.is_some_and(|core| known.stale(core)) {
                shown.push(self.overlay(*record)?);
            }
            if shown.len() == limit::DESK_PAGE_MAX {
                break;
            }
        }
        Ok(shown)
    }

    fn holds(&self, only: Option<RecordId>) -> Result<Vec<HoldShown>, AppError> {
        let city = self.city();
        let holds = city.curation.holds.iter();
        let wanted = holds.filter(|(record, _)| only.is_none_or(|only| only == **record));
        wanted
            .take(limit::DESK_PAGE_MAX)
            .map(|(record, held)| {
                Ok(HoldShown {
                    record: self.record_ref(*record)?,
                    legal_basis: held.hold.legal_basis.clone(),
                    reason: held.hold.reason.clone(),
                    actor: held.actor.clone(),
                    at_ms: held.at_ms,
                })
            })
            .collect()
    }

    async fn register(
        &self,
        item: &str,
        record: Option<RecordId>,
        reason: String,
        actor: &str,
    ) -> Result<Vec<SourceShown>, AppError> {
        let entry = SourceEntry { item: item.trim().to_owned(), record, reason };
        self.decide(actor, |city| Ok(city.curation.register(&entry)?)).await?;
        self.sources()
    }

    fn sources(&self) -> Result<Vec<SourceShown>, AppError> {
        let city = self.city();
        let entries = city.curation.sources.values();
        let named = entries.filter_map(|entry| Some((entry, entry.record?)));
        named
            .map(|(entry, record)| {
                let (item, reason) = (entry.item.clone(), entry.reason.clone());
                Ok(SourceShown { item, source: self.record_ref(record)?, reason })
            })
            .collect()
    }

    fn record_ref(&self, id: RecordId) -> Result<RecordRef, AppError> {
        let entry = self.store.entry(id)?;
        let title = entry.and_then(|entry| entry.record).map(|record| record.title);
        let city = self.city();
        let district = self.district_name(&city, city.owner(id));
        Ok(RecordRef { id, title: title.unwrap_or_default(), district })
    }

    /// Name of the district that a feed belongs to, or the city's for the hub's own.
    fn district_name(&self, city: &City, feed: FeedId) -> String {
        if feed == self.own.feed() {
            return self.config.hub.city.clone();
        }
        let district = city.directory.district_of(feed);
        district.map_or_else(|| feed.to_string(), |district| district.name.clone())
    }
}

impl OverlayChange {
    fn onto(&self, before: Overlay) -> Result<Overlay, Refusal> {
        let set = self.set.clone();
        let mut after = Overlay {
            title: set.title.or(before.title),
            keywords: set.keywords.or(before.keywords),
            theme: set.theme.or(before.theme),
            key_theme: set.key_theme.or(before.key_theme),
            notes: set.notes.or(before.notes),
            sticky: self.sticky.unwrap_or(before.sticky),
        };
        for field in &self.clear {
            match field.as_str() {
                "title" => after.title = None,
                "keywords" => after.keywords = None,
                "theme" => after.theme = None,
                "key-theme" | "key_theme" => after.key_theme = None,
                "notes" => after.notes = None,
                other => {
                    return Err(Refusal::Bad {
                        zh: format!("编目没有名为“{other}”的字段"),
                        en: format!("an overlay has no field {other:?}"),
                    });
                }
            }
        }
        Ok(after)
    }
}
