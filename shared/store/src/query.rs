//! What can be asked of the store, and what an answer is made of.

use std::{collections::BTreeMap, fmt, str::FromStr};

use bytes::Bytes;
use jiff::civil::Date;
use liandong_core::{
    city::Overlaid,
    expr::Expr,
    fold::Status,
    id::{FeedId, Hash, Head, RecordId},
    record::{Record, Visibility},
};

use crate::index::Stamps;

/// Something that records are filed under, counted in answers and chosen in queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// District: the feed that answers for the record.
    District,
    /// `city`, `district` or `town`.
    Level,
    /// Name of the provider.
    Provider,
    /// Theme.
    Theme,
    /// Area of the year's key theme.
    KeyTheme,
    /// Area and its part, `area/part`.
    SubArea,
    /// `population`, `legal_person` or `geography`.
    BaseDatabase,
    /// Code of the sharing type.
    Share,
    /// Code of the opening type.
    Open,
    /// `api`, `file`, `offline`.
    Delivery,
    /// Format, upper case.
    Format,
    /// Code of the update cycle.
    Cycle,
    /// `fresh`, `overdue`, `unknown`: counted for the day of the query.
    Freshness,
    /// Year of the data.
    Year,
    /// Organisation, by the name that other catalogues know it under.
    Organization,
    /// Group, by the name that other catalogues know it under.
    Group,
    /// Tag, as other catalogues take it.
    Tag,
    /// Licence, by the id that other catalogues know.
    Licence,
    /// Format of a resource, as other catalogues write it.
    ResourceFormat,
}

impl Facet {
    /// What people choose by; the rest is for other catalogues.
    pub const SHOWN: [Self; 14] = [
        Self::District,
        Self::Level,
        Self::Provider,
        Self::Theme,
        Self::KeyTheme,
        Self::SubArea,
        Self::BaseDatabase,
        Self::Share,
        Self::Open,
        Self::Delivery,
        Self::Format,
        Self::Cycle,
        Self::Freshness,
        Self::Year,
    ];

    /// Name in answers, addresses and the index.
    pub fn name(self) -> &'static str {
        match self {
            Self::District => "district",
            Self::Level => "level",
            Self::Provider => "provider",
            Self::Theme => "theme",
            Self::KeyTheme => "key_theme",
            Self::SubArea => "sub_area",
            Self::BaseDatabase => "base_database",
            Self::Share => "share",
            Self::Open => "open",
            Self::Delivery => "delivery",
            Self::Format => "format",
            Self::Cycle => "cycle",
            Self::Freshness => "freshness",
            Self::Year => "year",
            Self::Organization => "organization",
            Self::Group => "group",
            Self::Tag => "tag",
            Self::Licence => "licence",
            Self::ResourceFormat => "res_format",
        }
    }
}

/// What an answer is sorted by; records that are equal in it follow in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SortBy {
    /// How well they match.
    #[default]
    Relevance,
    /// The title as it is spelled.
    Name,
    /// When they were first seen here.
    Created,
    /// When what is shown of them last changed here.
    Modified,
    /// The day of their data.
    DataDay,
    /// Nothing but their ids.
    Id,
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// Greatest first.
    pub descending: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self { by: SortBy::Relevance, descending: true }
    }
}

/// What a record is placed by in an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// A number that grows with the value.
    Number(u64),
    /// A text.
    Text(String),
}

/// The last hit of a page: the next page begins after it, whatever was added or withdrawn meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Where the hit stands in the order.
    pub key: SortKey,
    /// The hit.
    pub id: RecordId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            SortKey::Number(number) => write!(f, "n{number:x}.{}", self.id),
            SortKey::Text(text) => write!(f, "t{}.{}", hex::encode(text), self.id),
        }
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (key, id) = text.split_once('.').ok_or(NoCursor)?;
        let id = id.parse().map_err(|_bad| NoCursor)?;
        let number = |hex: &str| u64::from_str_radix(hex, 16).map_err(|_bad| NoCursor);
        let key = match (key.strip_prefix('n'), key.strip_prefix('t')) {
            (Some(digits), _) => SortKey::Number(number(digits)?),
            (_, Some(digits)) => {
                let bytes = hex::decode(digits).map_err(|_bad| NoCursor)?;
                SortKey::Text(String::from_utf8(bytes).map_err(|_bad| NoCursor)?)
            }
            _ => return Err(NoCursor),
        };
        Ok(Self { key, id })
    }
}

/// A search.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// What a person typed; clauses apart by spaces must all match. Empty means everything.
    pub text: String,
    /// What a program asked for besides.
    pub expr: Option<Expr>,
    /// Only these feeds.
    pub feeds: Option<Vec<FeedId>>,
    /// Only what anyone may see.
    pub public_only: bool,
    /// Chosen values: within a facet one of them, and so in every facet.
    pub chosen: BTreeMap<Facet, Vec<String>>,
    /// Facets to count. What is chosen in a facet does not narrow its own counts.
    pub facets: Vec<Facet>,
    /// Order of the hits.
    pub sort: Sort,
    /// Hits on the page, 0 to [`liandong_core::limit::PAGE_RECORDS_MAX`].
    pub limit: usize,
    /// Hits before the page.
    pub offset: usize,
    /// Begin after this hit; `offset` then counts from there.
    pub after: Option<Cursor>,
    /// Whether copies of one datum are one hit.
    pub fold_copies: bool,
    /// Whether, when nothing has all words of a long text, what has most of them is an answer.
    pub relax: bool,
    /// The day of the question: what is fresh depends on it.
    pub today: Option<Date>,
}

/// One record that matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The record.
    pub id: RecordId,
    /// How well it matches; only comparable within an answer.
    pub score: f32,
    /// Where it stands in the order.
    pub key: SortKey,
}

/// What is looked for besides matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// What is near to a text that nothing matches.
    Near,
    /// What begins as a text does that is still being typed.
    Typed,
}

/// How the text of a query was understood: for marks on a page and for explanations. Everything is folded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Understood {
    /// Parts that must all match.
    pub clauses: Vec<Clause>,
    /// No record has them all; these have most of their words.
    pub relaxed: bool,
    /// Parts beyond what is looked for, left out.
    pub left_out: usize,
}

/// One part of a query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clause {
    /// As it was typed.
    pub text: String,
    /// Other ways to say it.
    pub variants: Vec<String>,
    /// Its words.
    pub words: Vec<String>,
    /// Whether it may be meant as pinyin.
    pub sound: bool,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// All hits: records, or groups of copies.
    pub total: usize,
    /// All records that match.
    pub records: usize,
    /// The page asked for.
    pub hits: Vec<Hit>,
    /// Counts of the facets asked for, the most frequent first. A record without a value is in none.
    pub facets: BTreeMap<Facet, Vec<(String, u64)>>,
    /// Where the next page begins; none on the last.
    pub next: Option<Cursor>,
    /// How the text was understood.
    pub understood: Understood,
    /// What of each feed the index had applied.
    pub applied: BTreeMap<FeedId, Head>,
}

/// Which records to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Only this feed.
    pub feed: Option<FeedId>,
    /// Only live records.
    pub live_only: bool,
    /// Only what anyone may see.
    pub public_only: bool,
}

impl Filter {
    pub(crate) fn admits(&self, status: Status, visibility: Visibility) -> bool {
        (!self.live_only || status == Status::Live)
            && (!self.public_only || visibility == Visibility::Public)
    }
}

/// A record with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The record.
    pub id: RecordId,
    /// Live or withdrawn.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// Feed that wrote the current version.
    pub feed: FeedId,
    /// Feed that may write the next one: its district answers for the record.
    pub authority: FeedId,
    /// Hidden in the city view.
    pub hidden: bool,
    /// What the city's curators added.
    pub overlaid: Option<Overlaid>,
    /// Position of the current op.
    pub seq: u64,
    /// Hash of the current op.
    pub op_hash: Hash,
    /// When it was made by the author's clock, milliseconds since 1970.
    pub changed_at_ms: i64,
    /// When it became visible here and when that last changed, by the clock of this site; zero in a replica.
    pub stamps: Stamps,
    /// Account that made it.
    pub actor: String,
    /// The signed bytes: the record, or the tombstone.
    pub payload: Bytes,
    /// The record, when it is live.
    pub record: Option<Record>,
    /// Why it was withdrawn, when it was.
    pub withdrawn_reason: Option<String>,
}
