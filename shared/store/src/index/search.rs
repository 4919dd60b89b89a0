//! Asking one index, or several as if they were one.
//!
//! One pass over what the text matches does everything: what is chosen in facets is looked at record by record, so
//! that each facet is counted without its own choice, and the best hits are kept on the way.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
};

use liandong_core::{expr::Expr, id::RecordId, limit, search::Vocabulary};
use tantivy::{
    DocId, Searcher, SegmentReader, Term,
    columnar::{Column, StrColumn},
    query::{Bm25StatisticsProvider, EnableScoring, Weight},
    schema::Field,
};

use super::{
    Index,
    column::{BLOCK, FacetColumn},
    compile::Compiler,
    document::{NO_DAY, day_number, tie},
};
use crate::{
    error::StoreError,
    query::{Answer, Cursor, Facet, Hit, Look, Query, SortBy, SortKey},
};

/// Facets that can be looked at in one query: one bit each.
const FACETS_MAX: usize = 32;
/// What the newest data are worth more than old ones.
const FRESHNESS_WORTH: f32 = 0.15;
/// A query of so many words is answered with what has most of them when nothing has all.
const RELAXED_WORDS: usize = 5;
/// Microseconds of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Age at which data are worth nothing more, days.
const OLD_DAYS: f32 = 3_650.0;

/// Asks what is near to a text or begins as it does.
pub(crate) fn look(
    indexes: &[&Index],
    query: &Query,
    vocabulary: &Vocabulary,
    kind: Look,
) -> Result<Answer, StoreError> {
    let Some(first) = indexes.first() else { return Ok(Answer::default()) };
    let compiler = Compiler { fields: &first.fields, jieba: &first.jieba, vocabulary };
    let parts: Vec<Part<'_>> = indexes.iter().map(|index| Part::of(index)).collect();
    let wanted = match kind {
        Look::Near => compiler.near(query)?,
        Look::Typed => compiler.typed(query)?,
    };
    run(&parts, query, wanted.as_ref())
}

/// Asks indexes as if they were one. No record may be in two of them.
pub(crate) fn search(
    indexes: &[&Index],
    query: &Query,
    vocabulary: &Vocabulary,
) -> Result<Answer, StoreError> {
    let Some(first) = indexes.first() else { return Ok(Answer::default()) };
    let compiler = Compiler { fields: &first.fields, jieba: &first.jieba, vocabulary };
    if let Some(grammar) = operators(query) {
        let expr = query.expr.clone().into_iter().chain([grammar]).collect();
        let query = Query { text: String::new(), expr: Some(Expr::And(expr)), ..query.clone() };
        return search(indexes, &query, vocabulary);
    }
    let mut understood = compiler.understand(&query.text);
    let parts: Vec<Part<'_>> = indexes.iter().map(|index| Part::of(index)).collect();
    let mut answer = run(&parts, query, compiler.compile(query, &understood)?.as_ref())?;
    let words = || understood.clauses.iter().map(|clause| clause.words.len()).sum::<usize>();
    if query.relax && answer.records == 0 && words() >= RELAXED_WORDS {
        understood.relaxed = true;
        answer = run(&parts, query, compiler.compile(query, &understood)?.as_ref())?;
    }
    for index in indexes {
        answer.applied.extend(index.feeds());
    }
    answer.understood = understood;
    Ok(answer)
}

/// A text that is written in the grammar of programs, read so; anything else is words.
fn operators(query: &Query) -> Option<Expr> {
    let text = &query.text;
    let signs = ["\"", "*", "^", "&&", "||", "("];
    let words = ["AND", "OR", "NOT"];
    let meant = signs.iter().any(|sign| text.contains(sign))
        || text.split_whitespace().any(|word| {
            let signed = word.len() > 1 && word.starts_with(['+', '-']) && word != text.trim();
            words.contains(&word) || signed
        });
    if !meant {
        return None;
    }
    let now_us = query.today.map_or(0, day_number).saturating_mul(DAY_US);
    Expr::parse(text, now_us).ok()
}

struct Part<'a> {
    index: &'a Index,
    searcher: Searcher,
}

impl<'a> Part<'a> {
    fn of(index: &'a Index) -> Self {
        Self { index, searcher: index.searcher() }
    }
}

/// What words are worth, over all parts.
struct Statistics<'a>(&'a [Part<'a>]);

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.0.iter().map(|part| part.searcher.total_num_tokens(field)).sum()
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.0.iter().map(|part| part.searcher.total_num_docs()).sum()
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.0.iter().map(|part| part.searcher.doc_freq(term)).sum()
    }
}

/// A record that may come onto the page.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    key: SortKey,
    tie: u64,
    score: f32,
    part: usize,
    segment: usize,
    doc: DocId,
}

impl Candidate {
    fn place(&self, other: &Self, descending: bool) -> Ordering {
        let by_key = self.key.cmp(&other.key);
        let by_key = if descending { by_key.reverse() } else { by_key };
        by_key.then(self.tie.cmp(&other.tie))
    }
}

fn run(
    parts: &[Part<'_>],
    query: &Query,
    compiled: &dyn tantivy::query::Query,
) -> Result<Answer, StoreError> {
    let wanted = query.limit.min(limit::PAGE_RECORDS_MAX);
    let offset = query.offset.min(limit::HARVEST_OFFSET_MAX);
    let scored = query.sort.by == SortBy::Relevance;
    let mut found = Found { keep: offset + wanted + 1, ..Found::default() };
    let mut facets: Vec<(Facet, u64, String)> = Vec::new();
    for (part_at, part) in parts.iter().enumerate() {
        let statistics = Statistics(parts);
        let scoring = if scored {
            EnableScoring::enabled_from_statistics_provider(&statistics, &part.searcher)
        } else {
            EnableScoring::disabled_from_searcher(&part.searcher)
        };
        let weight = compiled.weight(scoring).map_err(StoreError::index)?;
        let mut sums = HashMap::new();
        for (segment_at, segment) in part.searcher.segment_readers().iter().enumerate() {
            let mut pass = Pass::open(query, part.index, segment, found.keep)?;
            pass.run(weight.as_ref(), segment)?;
            pass.facets.iter().for_each(|column| column.add_to(&mut sums));
            found.take(pass, (part_at, segment_at), query)?;
        }
        for facet in &query.facets {
            let sum = sums.get(facet).map_or(&[][..], Vec::as_slice);
            let named = part.index.names.named(*facet, sum).into_iter();
            facets.extend(named.map(|(name, count)| (*facet, count, name)));
        }
    }
    let mut answer = found.page(parts, query, (offset, wanted))?;
    answer.facets = counted(query, facets);
    Ok(answer)
}

/// Adds what several parts counted, the most frequent first.
fn counted(query: &Query, all: Vec<(Facet, u64, String)>) -> BTreeMap<Facet, Vec<(String, u64)>> {
    let mut sums: BTreeMap<Facet, HashMap<String, u64>> =
        query.facets.iter().map(|facet| (*facet, HashMap::new())).collect();
    for (facet, count, name) in all {
        *sums.entry(facet).or_default().entry(name).or_default() += count;
    }
    let sorted = |(facet, sums): (Facet, HashMap<String, u64>)| {
        let mut values: Vec<(String, u64)> = sums.into_iter().collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        // Lists for other catalogues are whole.
        if Facet::SHOWN.contains(&facet) {
            values.truncate(limit::FACET_VALUES_MAX);
        }
        (facet, values)
    };
    sums.into_iter().map(sorted).collect()
}

/// What a record is sorted by in one segment.
enum Order {
    Score,
    Number(Column<i64>),
    /// By the ordinal of a text; ordinals of different segments say nothing of each other.
    Text(StrColumn),
}

/// One pass over one segment.
struct Pass {
    descending: bool,
    keep: usize,
    facets: Vec<FacetColumn>,
    counted: usize,
    order: Order,
    day: Column<i64>,
    today: i64,
    tie: Column<u64>,
    group: Option<Column<u64>>,
    /// What comes before it is on an earlier page.
    after: Option<After>,
    records: usize,
    alone: usize,
    best: Vec<Ranked>,
    worst: Option<(u64, u64)>,
    groups: HashMap<u64, Ranked>,
}

/// Where a page begins, in the terms of one segment.
#[derive(Debug, Clone, Copy)]
struct After {
    rank: u64,
    /// Whether a record of the same rank may be on the page, beyond this tie.
    tie: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Ranked {
    /// Smallest first.
    rank: u64,
    tie: u64,
    score: f32,
    doc: DocId,
}

impl Pass {
    fn open(
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
        // What is chosen where nothing is counted is in the query already, but for freshness, which is no field.
        let silent = query.chosen.contains_key(&Facet::Freshness)
            && !query.facets.contains(&Facet::Freshness);
        let looked_at: Vec<Facet> = query.facets.iter().copied().take(FACETS_MAX - 1).collect();
        let counted = looked_at.len();
        let silent = silent.then_some(Facet::Freshness);
        let facets = looked_at.into_iter().chain(silent).map(|facet| {
            FacetColumn::open(facet, segment, &index.names, query.chosen.get(&facet), today)
        });
        let group = if query.fold_copies {
            Some(fast.u64("copies").map_err(StoreError::index)?)
        } else {
            None
        };
        let descending = query.sort.descending;
        let after = query.after.as_ref().map(|cursor| After::of(cursor, &order, descending));
        Ok(Self {
            descending,
            keep,
            counted,
            facets: facets.collect::<Result<_, _>>()?,
            day: number("day")?,
            today,
            tie: fast.u64("tie").map_err(StoreError::index)?,
            group,
            after: after.transpose()?,
            order,
            records: 0,
            alone: 0,
            best: Vec::new(),
            worst: None,
            groups: HashMap::new(),
        })
    }

    fn run(&mut self, weight: &dyn Weight, segment: &SegmentReader) -> Result<(), StoreError> {
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
        for (bit, column) in (0_u32..).zip(&mut self.facets) {
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
        let group = self.group.as_ref().and_then(|group| group.first(doc)).unwrap_or(0);
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
        let day = self.day.first(doc).unwrap_or(NO_DAY);
        if day == NO_DAY || self.today == 0 {
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

/// What all passes found.
#[derive(Default)]
struct Found {
    keep: usize,
    records: usize,
    alone: usize,
    best: Vec<Candidate>,
    groups: HashMap<u64, Candidate>,
}

impl Found {
    fn take(
        &mut self,
        pass: Pass,
        (part, segment): (usize, usize),
        query: &Query,
    ) -> Result<(), StoreError> {
        self.records += pass.records;
        self.alone += pass.alone;
        let descending = pass.descending;
        let candidate = |ranked: Ranked, texts: &HashMap<u64, String>| {
            let number = if descending { u64::MAX - ranked.rank } else { ranked.rank };
            let key = match texts.get(&number) {
                Some(text) => SortKey::Text(text.clone()),
                None => SortKey::Number(number),
            };
            let Ranked { tie, score, doc, .. } = ranked;
            Candidate { key, tie, score, part, segment, doc }
        };
        let all = pass.best.iter().chain(pass.groups.values());
        let texts = match &pass.order {
            Order::Text(column) => texts(column, all, descending)?,
            _ => HashMap::new(),
        };
        self.best.extend(pass.best.into_iter().map(|ranked| candidate(ranked, &texts)));
        self.best.sort_by(|a, b| a.place(b, query.sort.descending));
        self.best.truncate(self.keep);
        for (group, ranked) in pass.groups {
            let new = candidate(ranked, &texts);
            match self.groups.get(&group) {
                Some(known) if known.place(&new, query.sort.descending).is_le() => {}
                _ => {
                    self.groups.insert(group, new);
                }
            }
        }
        Ok(())
    }

    fn page(
        mut self,
        parts: &[Part<'_>],
        query: &Query,
        (offset, wanted): (usize, usize),
    ) -> Result<Answer, StoreError> {
        let descending = query.sort.descending;
        let total = self.alone + self.groups.len();
        let after = query.after.as_ref();
        let groups = self.groups.into_values().filter(|candidate| {
            after.is_none_or(|cursor| {
                let at =
                    Candidate { key: cursor.key.clone(), tie: tie(cursor.id), ..candidate.clone() };
                candidate.place(&at, descending).is_gt()
            })
        });
        self.best.extend(groups);
        self.best.sort_by(|a, b| a.place(b, descending));
        let more = self.best.len() > offset + wanted;
        let page = self.best.into_iter().skip(offset).take(wanted);
        let hits: Vec<Hit> =
            page.map(|candidate| hit(parts, candidate)).collect::<Result<_, _>>()?;
        let last = hits.last().filter(|_| more);
        let next = last.map(|hit| Cursor { key: hit.key.clone(), id: hit.id });
        Ok(Answer { total, records: self.records, hits, next, ..Answer::default() })
    }
}

/// The texts of the ordinals of some records.
fn texts<'a>(
    column: &StrColumn,
    ranked: impl Iterator<Item = &'a Ranked>,
    descending: bool,
) -> Result<HashMap<u64, String>, StoreError> {
    let ord = |ranked: &Ranked| if descending { u64::MAX - ranked.rank } else { ranked.rank };
    let mut ords: Vec<u64> = ranked.map(ord).collect::<HashSet<_>>().into_iter().collect();
    ords.sort_unstable();
    let mut texts = Vec::with_capacity(ords.len());
    let push = |bytes: &[u8]| texts.push(String::from_utf8_lossy(bytes).into_owned());
    column.dictionary().sorted_ords_to_term_cb(&ords, push).map_err(StoreError::index)?;
    Ok(ords.into_iter().zip(texts).collect())
}

fn hit(parts: &[Part<'_>], candidate: Candidate) -> Result<Hit, StoreError> {
    let segment = parts[candidate.part]
        .searcher
        .segment_reader(u32::try_from(candidate.segment).map_err(StoreError::index)?);
    let column = segment.fast_fields().str("id").map_err(StoreError::index)?;
    let mut text = String::new();
    if let Some(column) = column
        && let Some(ord) = column.ords().first(candidate.doc)
    {
        column.ord_to_str(ord, &mut text).map_err(StoreError::index)?;
    }
    let id: RecordId = text.parse().map_err(StoreError::index)?;
    Ok(Hit { id, score: candidate.score, key: candidate.key })
}
