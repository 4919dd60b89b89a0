//! What readers may see of a site: records anyone may see, of districts that the site knows.
//!
//! Pages, `/api/v1` and gRPC all ask here, so that they cannot disagree. Everything is blocking and
//! runs on threads for that, see [`Catalogue::ask`].

use std::{collections::BTreeSet, fmt, sync::Arc};

use liandong_core::{
    error::Code,
    fold::Status,
    id::{DistrictCode, FeedId, Hash, RecordId},
    limit,
    record::{Record, Visibility},
};
use liandong_store::{Entry, Filter, Store};
use tokio::sync::Semaphore;

use super::{mark::Marks, params::Params};
use crate::{
    clock,
    problem::Problem,
    site::{DistrictView, Role, Site},
};

/// Questions that are worked on at the same time; more wait, and give up with their request.
const QUESTIONS_MAX: usize = 64;
/// Records of a list that are read at once.
const CHUNK_RECORDS: usize = 100;
/// Payload on one page of a list or search, bytes: it fits into a gRPC message with its envelope.
pub(crate) const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Records that are looked at for one page of a list. A filter that admits few of them gets a short
/// page and a cursor instead of a long wait.
const SCAN_RECORDS_MAX: usize = 10_000;
/// Records on a page of a list when nothing else is said.
const LIST_DEFAULT: usize = 100;
/// Hits on a page of a search when nothing else is said.
pub(crate) const SEARCH_DEFAULT: usize = 20;
/// Last ops of each district that are looked at for the newest changes.
const RECENT_OPS: u64 = 6;

const _: () =
    assert!(PAGE_BYTES_MAX + limit::RECORD_BYTES_MAX + 1024 * 1024 <= limit::MESSAGE_BYTES_MAX);

/// The door to a site's catalogue.
#[derive(Clone)]
pub(crate) struct Catalogue {
    site: Arc<dyn Site>,
    gate: Arc<Semaphore>,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Catalogue {
    pub(crate) fn new(site: Arc<dyn Site>) -> Self {
        Self { site, gate: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// Asks the site on a thread that may block: the one way from async code into the store.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Snapshot<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let stopping =
            |_closed| Problem::new(Code::Busy, "服务正在停止", "the service is stopping");
        let turn = Arc::clone(&self.gate).acquire_owned().await.map_err(stopping)?;
        let site = Arc::clone(&self.site);
        let asked = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the request: one that was given up still counts.
            let _turn = turn;
            question(&Snapshot::of(&*site))
        });
        asked.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a question to the catalogue failed");
            Err(Problem::internal())
        })
    }
}

/// A record that anyone may see, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The record.
    pub(crate) entry: Entry,
    /// The district it belongs to.
    pub(crate) district: DistrictView,
    /// Name that the district had which wrote it, when it was written; none when it is the name of today.
    pub(crate) written_by: Option<String>,
    /// What the city says of it; at a node nothing, which shows what its district wrote.
    pub(crate) marks: Marks,
}

impl Found {
    /// The title that is shown: a curator's, where there is one.
    pub(crate) fn title(&self) -> &str {
        let own = self.entry.record.as_ref().map_or("", |record| &record.title);
        self.marks.curated.as_ref().map_or(own, |curated| &curated.title)
    }

    /// Changes whenever what is shown of the record does.
    pub(crate) fn version(&self) -> Hash {
        if self.marks.is_empty() {
            return self.entry.op_hash;
        }
        let marks = serde_json::to_vec(&self.marks).unwrap_or_default();
        Hash::of(&[self.entry.op_hash.as_bytes(), &marks])
    }

    /// The record, unless it was withdrawn.
    pub(crate) fn live(&self) -> Option<&Record> {
        self.entry.record.as_ref().filter(|_| self.entry.status == Status::Live)
    }

    /// Why it was withdrawn, in the district's words; empty when it gave none.
    pub(crate) fn withdrawn_reason(&self) -> &str {
        self.entry.withdrawn_reason.as_deref().unwrap_or_default()
    }
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    after: Option<RecordId>,
    limit: usize,
    feed: Option<FeedId>,
    /// The district was named but has no feed yet, so there is nothing.
    nothing: bool,
    status: Option<Status>,
    as_of: Option<i64>,
}

/// One page of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) records: Vec<Found>,
    /// Where the next page begins; none on the last.
    pub(crate) next: Option<RecordId>,
    /// How current the least current district in it is.
    pub(crate) as_of: Option<i64>,
}

impl ListQuery {
    /// Reads `after`, `limit`, `status` and the district's parameter, whatever its name.
    pub(crate) fn read(
        mut params: Params,
        district_name: &str,
        snapshot: &Snapshot<'_>,
    ) -> Result<Self, Problem> {
        let statuses =
            [("all", None), ("live", Some(Status::Live)), ("withdrawn", Some(Status::Withdrawn))];
        let after = params.record_id("after");
        let limit = params.number("limit", 1..=limit::PAGE_RECORDS_MAX, LIST_DEFAULT);
        let status = params.word("status", &statuses, None);
        let _one_only = params.one(district_name);
        let chosen = params.districts(district_name, &snapshot.codes());
        params.finish()?;
        let district = chosen.first().and_then(|code| snapshot.by_code(code));
        let shown = snapshot.districts.iter().filter(|d| district.is_none_or(|one| one == *d));
        Ok(Self {
            after,
            limit,
            feed: district.and_then(|district| district.feed),
            nothing: district.is_some_and(|district| district.feed.is_none()),
            status,
            as_of: shown.filter_map(|district| district.as_of_ms).min(),
        })
    }
}

/// A site while a question is answered.
pub(crate) struct Snapshot<'a> {
    pub(crate) site: &'a dyn Site,
    pub(crate) districts: Vec<DistrictView>,
    /// Whether it is the whole city, at a node that has a replica of it.
    pub(crate) city: bool,
    /// Whether staff asks, who see what is not public too.
    pub(crate) staff: bool,
}

impl<'a> Snapshot<'a> {
    /// A site as anyone sees it.
    pub(crate) fn of(site: &'a dyn Site) -> Self {
        Self { site, districts: site.districts(), city: false, staff: false }
    }
}

impl Snapshot<'_> {
    /// The same site with the whole city, or with its own catalogue.
    pub(crate) fn scoped(&self, city: bool) -> Self {
        let districts = if city { self.site.city_districts() } else { self.site.districts() };
        Self { site: self.site, districts, city, staff: self.staff }
    }

    pub(crate) fn store(&self) -> &Store {
        self.site.store()
    }

    /// Codes of all districts, those of former times too.
    pub(crate) fn codes(&self) -> Vec<DistrictCode> {
        let now = self.districts.iter().map(|district| &district.code);
        now.chain(self.districts.iter().flat_map(|district| &district.former)).cloned().collect()
    }

    /// Codes of any time as those of today, each once.
    pub(crate) fn of_today(&self, codes: Vec<DistrictCode>) -> Vec<DistrictCode> {
        let today = |code| self.by_code(&code).map_or(code, |district| district.code.clone());
        codes.into_iter().map(today).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn by_code(&self, code: &DistrictCode) -> Option<&DistrictView> {
        self.districts.iter().find(|district| district.answers_to(code))
    }

    /// The record with its district, if anyone may see it.
    pub(crate) fn admit(&self, entry: Entry) -> Option<Found> {
        let district = self.districts.iter().find(|d| d.feed == Some(entry.authority))?;
        let visible = self.staff || entry.visibility == Visibility::Public;
        if !visible || entry.hidden {
            return None;
        }
        let marks = match self.site.role() {
            Role::Hub => Marks::of(self.store(), &entry),
            Role::Node => Ok(Marks::default()),
        };
        let marks = marks.unwrap_or_else(|problem| {
            tracing::warn!(?problem, record = %entry.id, "shown without what the city says of it");
            Marks::default()
        });
        Some(Found {
            marks,
            written_by: self.written_by(&entry).filter(|name| *name != district.name),
            district: district.clone(),
            entry,
        })
    }

    fn written_by(&self, entry: &Entry) -> Option<String> {
        let city = self.store().city();
        let code = &city.directory.feeds.get(&entry.feed)?.code;
        let name = city.directory.name_at(code, clock::day_shanghai(entry.changed_at_ms))?;
        Some(name.to_owned())
    }

    /// A record, live or withdrawn.
    ///
    /// # Errors
    /// `NotFound` when there is none or not everyone may see it; `Gone` when the city hides what was public.
    pub(crate) fn record(&self, id: RecordId) -> Result<Found, Problem> {
        let entry = self.store().entry(id)?;
        if let Some(entry) = entry.as_ref().filter(|entry| entry.hidden) {
            return Err(self.hidden(entry));
        }
        if let Some(found) = entry.and_then(|entry| self.admit(entry)) {
            return Ok(found);
        }
        let entry = self.site.city_entry(id)?;
        let whole = self.scoped(true);
        entry.and_then(|entry| whole.admit(entry)).ok_or_else(Problem::no_record)
    }

    /// Why a record is hidden: the class of reason, never what the record said.
    fn hidden(&self, entry: &Entry) -> Problem {
        let city = self.store().city();
        if entry.visibility != Visibility::Public {
            return Problem::no_record();
        }
        let district = self.districts.iter().find(|known| known.feed == Some(entry.authority));
        let told = |code, class: &str, zh: &str, en: &str| {
            let id = entry.id.to_string();
            let problem = Problem::new(code, zh, en).with("id", id).with("reason_class", class);
            match district {
                Some(district) => problem
                    .with("district", district.code.as_str())
                    .with("district_name", district.name.as_str()),
                None => problem,
            }
        };
        match city.curation.holds.get(&entry.id) {
            Some(held) => told(
                Code::Gone,
                "legal_hold",
                "此目录已由市级依法暂停展示",
                "the city does not show this record, on a legal basis",
            )
            .with("legal_basis", held.hold.legal_basis.as_str())
            .with("held_at", held.at_ms),
            None if city.hides(entry.id) => told(
                Code::NotFound,
                "district_suspended",
                "发布该目录的区已被暂停，其目录暂不展示",
                "the district of this record is suspended and its records are not shown",
            ),
            None => told(
                Code::Gone,
                "withdrawn",
                "发布方正在撤回此目录",
                "its publisher is withdrawing this record",
            ),
        }
    }

    /// Records in the order of their ids.
    pub(crate) fn list(&self, query: &ListQuery) -> Result<Listing, Problem> {
        let mut listing = Listing { as_of: query.as_of, ..Listing::default() };
        if query.nothing {
            return Ok(listing);
        }
        let live_only = query.status == Some(Status::Live);
        let filter = Filter { feed: query.feed, live_only, public_only: true };
        let chunk = CHUNK_RECORDS.min(query.limit + 1);
        let (mut after, mut bytes, mut scanned) = (query.after, 0, 0);
        while scanned < SCAN_RECORDS_MAX {
            let entries = self.store().entries(filter, after, chunk)?;
            let last = entries.len() < chunk;
            scanned += entries.len();
            for entry in entries {
                // One record beyond the page is read to know whether there is a next one.
                if listing.records.len() == query.limit || bytes > PAGE_BYTES_MAX {
                    listing.next = after;
                    return Ok(listing);
                }
                after = Some(entry.id);
                let wanted = query.status.is_none_or(|status| status == entry.status);
                if let Some(found) = self.admit(entry).filter(|_| wanted) {
                    bytes += found.entry.payload.len();
                    listing.records.push(found);
                }
            }
            if last {
                return Ok(listing);
            }
        }
        listing.next = after;
        Ok(listing)
    }

    /// The newest live records by their districts' clocks: for people to look at, nothing is
    /// decided by it.
    pub(crate) fn recent(&self, count: usize) -> Result<Vec<Found>, Problem> {
        let store = self.store();
        let mut ids = BTreeSet::new();
        for feed in self.districts.iter().filter_map(|district| district.feed) {
            let head = store.feed(feed).map_or(0, |progress| progress.applied.seq);
            let after = head.saturating_sub(RECENT_OPS);
            let ops = usize::try_from(head - after).unwrap_or(0);
            let ops = store.ops(feed, after, ops.max(1), limit::BATCH_BYTES_MAX)?;
            ids.extend(ops.iter().filter_map(|op| RecordId::try_from(op.subject.as_ref()).ok()));
        }
        let mut recent = Vec::new();
        for id in ids {
            let found = store.entry(id)?.and_then(|entry| self.admit(entry));
            recent.extend(found.filter(|found| found.live().is_some()));
        }
        recent.sort_by_key(|found| std::cmp::Reverse(found.entry.changed_at_ms));
        recent.truncate(count);
        Ok(recent)
    }
}
