//! One pass over one segment: counts what is filed, and keeps the best on the way.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use tantivy::{
    DocId, SegmentReader,
    columnar::{Column, StrColumn},
    query::Weight,
};

use super::{
    Index,
    column::{BLOCK, FacetColumn, NO_SHORT_DAY, Ranks},
    document::{day_number, tie},
};
use crate::{
    error::StoreError,
    query::{Cursor, Facet, Query, SortBy, SortKey},
};

/// Facets that can be looked at in one query: one bit each.
const FACETS_MAX: usize = 32;
/// What the newest data are worth more than old ones.
const FRESHNESS_WORTH: f32 = 0.15;
/// Age at which data are worth nothing more, days.
const OLD_DAYS: f32 = 3_650.0;

/// What a record is sorted by in one segment.
pub(super) enum Order {
    Score,
    Number(Column<i64>),
    /// By the ordinal of a text; ordinals of different segments say nothing of each other.
    Text(StrColumn),
}

/// One pass over one segment.
pub(super) struct Pass {
    pub(super) descending: bool,
    keep: usize,
    pub(super) facets: Vec<FacetColumn>,
    counted: usize,
    pub(super) order: Order,
    ranks: Arc<Ranks>,
    fold_copies: bool,
    today: i32,
    tie: Column<u64>,
    /// What comes before it is on an earlier page.
    after: Option<After>,
    pub(super) records: usize,
    pub(super) alone: usize,
    pub(super) best: Vec<Ranked>,
    worst: Option<(u64, u64)>,
    pub(super) groups: HashMap<u64, Ranked>,
}

/// Where a page begins, in the terms of one segment.
#[derive(Debug, Clone, Copy)]
struct After {
    rank: u64,
    /// Whether a record of the same rank may be on the page, beyond this tie.
    tie: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ranked {
    /// Smallest first.
    pub(super) rank: u64,
    pub(super) tie: u64,
    pub(super) score: f32,
    pub(super) doc: DocId,
}

impl Pass {
    pub(super) fn open(
        query: &Query,
        index: &Index,
        segment: &SegmentReader,
        keep: usize,
    ) -> Result<Self, StoreError> {
        let fast = segment.fast_fields();
        let text = |name: &str| {
            let column = fast.str(name).map_err(StoreError::index)?;
            column.ok_or_else(|| StoreError::index(format!("no column {name}")))
        };
        let number = |name: &str| fast.i64(name).map_err(StoreError::index);
        let order = match query.sort.by {
            SortBy::Relevance => Order::Score,
            SortBy::Name => Order::Text(text("name")?),
            SortBy::Id => Order::Text(text("id")?),
            SortBy::Created => Order::Number(number("created")?),
            SortBy::Modified => Order::Number(number("modified")?),
            SortBy::DataDay => Order::Number(number("day")?),
        };
        let today = query.today.map_or(0, day_number);
        let today = i32::try_from(today).map_err(StoreError::index)?;
        // What is chosen where nothing is counted is in the query already, but for freshness, which is no field.
        let silent = query.chosen.contains_key(&Facet::Freshness)
            && !query.facets.contains(&Facet::Freshness);
        let looked_at: Vec<Facet> = query.facets.iter().copied().take(FACETS_MAX - 1).collect();
        let counted = looked_at.len();
        let silent = silent.then_some(Facet::Freshness);
        let facets = looked_at.into_iter().chain(silent).map(|facet| {
            FacetColumn::open(facet, segment, &index.columns, query.chosen.get(&facet), today)
        });
        let descending = query.sort.descending;
        let after = query.after.as_ref().map(|cursor| After::of(cursor, &order, descending));
        Ok(Self {
            descending,
            keep,
            counted,
            facets: facets.collect::<Result<_, _>>()?,
            ranks: index.columns.ranks(segment)?,
            fold_copies: query.fold_copies,
            today,
            tie: fast.u64("tie").map_err(StoreError::index)?,
            after: after.transpose()?,
            order,
            records: 0,
            alone: 0,
            best: Vec::new(),
            worst: None,
            groups: HashMap::new(),
        })
    }

    pub(super) fn run(
        &mut self,
        weight: &dyn Weight,
        segment: &SegmentReader,
    ) -> Result<(), StoreError> {
        let alive = segment.alive_bitset();
        let by_score = matches!(self.order, Order::Score);
        let (mut docs, mut scores) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
        let mut each = |doc: DocId, score: f32| {
            if alive.is_some_and(|alive| !alive.is_alive(doc)) {
                return;
            }
            docs.push(doc);
            scores.push(score);
            if docs.len() == BLOCK {
                self.block(&docs, &scores);
                docs.clear();
                scores.clear();
            }
        };
        let visited = if by_score {
            weight.for_each(segment, &mut each)
        } else {
            weight.for_each_no_score(segment, &mut |docs| {
                for doc in docs {
                    each(*doc, 0.0);
                }
            })
        };
        visited.map_err(StoreError::index)?;
        self.block(&docs, &scores);
        self.prune();
        Ok(())
    }

    fn block(&mut self, docs: &[DocId], scores: &[f32]) {
        let mut left_out = [0_u32; BLOCK];
        for (bit, column) in (0_u32..).zip(&self.facets) {
            if column.is_chosen_in() {
                column.mark_left_out(docs, bit, &mut left_out);
            }
        }
        for (bit, column) in (0_u32..).zip(&mut self.facets).take(self.counted) {
            column.count(docs, bit, &left_out);
        }
        for (at, doc) in docs.iter().enumerate() {
            if left_out[at] == 0 {
                self.take(*doc, scores[at]);
            }
        }
    }

    fn take(&mut self, doc: DocId, score: f32) {
        self.records += 1;
        let group = if self.fold_copies { self.ranks.group(doc) } else { 0 };
        if group == 0 {
            self.alone += 1;
        }
        let (rank, score) = self.rank(doc, score);
        let mut ranked = Ranked { rank, tie: 0, score, doc };
        if group != 0 {
            ranked.tie = self.tie.first(doc).unwrap_or(0);
            let best = self.groups.entry(group).or_insert(ranked);
            if (ranked.rank, ranked.tie) < (best.rank, best.tie) {
                *best = ranked;
            }
            return;
        }
        if self.worst.is_some_and(|(worst, _)| rank > worst) {
            return;
        }
        ranked.tie = self.tie.first(doc).unwrap_or(0);
        if self.worst.is_some_and(|worst| (rank, ranked.tie) > worst) || !self.is_after(&ranked) {
            return;
        }
        self.best.push(ranked);
        if self.best.len() >= self.keep * 2 {
            self.prune();
        }
    }

    fn is_after(&self, ranked: &Ranked) -> bool {
        self.after.is_none_or(|after| match ranked.rank.cmp(&after.rank) {
            Ordering::Less => false,
            Ordering::Equal => after.tie.is_none_or(|tie| ranked.tie > tie),
            Ordering::Greater => true,
        })
    }

    fn prune(&mut self) {
        if self.best.len() > self.keep {
            let last = self.keep - 1;
            self.best.select_nth_unstable_by_key(last, |ranked| (ranked.rank, ranked.tie));
            self.best.truncate(self.keep);
            self.worst = self.best.last().map(|ranked| (ranked.rank, ranked.tie));
        }
    }

    fn rank(&self, doc: DocId, score: f32) -> (u64, f32) {
        let (key, score) = match &self.order {
            Order::Score => {
                let score = score * self.worth(doc);
                (score_key(score), score)
            }
            Order::Number(column) => (number_key(column.first(doc).unwrap_or(i64::MIN)), score),
            Order::Text(column) => (column.ords().first(doc).unwrap_or(0), score),
        };
        (if self.descending { u64::MAX - key } else { key }, score)
    }

    /// New data are worth a little more than old ones that match as well.
    fn worth(&self, doc: DocId) -> f32 {
        let day = self.ranks.day(doc);
        if day == NO_SHORT_DAY || self.today == 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "days of a few centuries")]
        let age = self.today.saturating_sub(day).max(0) as f32;
        1.0 + FRESHNESS_WORTH * (1.0 - (age / OLD_DAYS).min(1.0))
    }
}

fn score_key(score: f32) -> u64 {
    // The bits of numbers that are not negative grow with them.
    u64::from(score.max(0.0).to_bits())
}

fn number_key(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

impl After {
    fn of(cursor: &Cursor, order: &Order, descending: bool) -> Result<Self, StoreError> {
        use tantivy_sstable::TermOrdHit;
        let ranked = |key: u64| if descending { u64::MAX - key } else { key };
        let tie = tie(cursor.id);
        let text = match (&cursor.key, order) {
            (SortKey::Number(number), _) => {
                return Ok(Self { rank: ranked(*number), tie: Some(tie) });
            }
            (SortKey::Text(text), Order::Text(column)) => (text, column),
            (SortKey::Text(_), _) => return Ok(Self { rank: 0, tie: None }),
        };
        let (text, column) = text;
        Ok(match column.dictionary().term_ord_or_next(text).map_err(StoreError::index)? {
            TermOrdHit::Exact(ord) => Self { rank: ranked(ord), tie: Some(tie) },
            // Between two ordinals: what comes is what is greater, or what is smaller when that goes first.
            TermOrdHit::Next(0) if descending => Self { rank: u64::MAX, tie: Some(u64::MAX) },
            TermOrdHit::Next(ord) if descending => Self { rank: ranked(ord - 1), tie: None },
            TermOrdHit::Next(ord) => Self { rank: ord, tie: None },
        })
    }
}
