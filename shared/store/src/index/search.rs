//! Asking one index, or several as if they were one.
//!
//! One pass over what the text matches does everything: what is chosen in facets is looked at record by record, so
//! that each facet is counted without its own choice, and the best hits are kept on the way.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
};

use liandong_core::{expr::Expr, limit, search::Vocabulary};
use rayon::prelude::*;
use tantivy::{
    DocId, DocSet as _, Searcher, TERMINATED, Term,
    columnar::StrColumn,
    query::{Bm25StatisticsProvider, EnableScoring},
    schema::Field,
};

use super::{
    Index,
    compile::Compiler,
    document::{day_number, tie},
    pass::{Order, Pass, Ranked},
};
use crate::{
    error::StoreError,
    query::{Answer, Cursor, Facet, Hit, Look, Query, SortBy, SortKey},
};

/// A query of so many words is answered with what has most of them when nothing has all.
const RELAXED_WORDS: usize = 5;
/// Microseconds of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;

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
    let query = &without_idle_scope(&parts, query)?;
    let wanted = match kind {
        Look::Near if are_all_known(&parts, &compiler, &query.text)? => {
            return Ok(Answer::default());
        }
        Look::Near => compiler.near(query)?,
        Look::Typed => compiler.typed(query)?,
    };
    run(&parts, query, wanted.as_ref())
}

/// Whether each of several clauses is met somewhere: then none is misspelled, they only never meet.
fn are_all_known(
    parts: &[Part<'_>],
    compiler: &Compiler<'_>,
    text: &str,
) -> Result<bool, StoreError> {
    let clauses = compiler.understand(text).clauses;
    for clause in &clauses {
        let clause = compiler.clause(clause);
        if !is_met(parts, clause.as_ref()).map_err(StoreError::index)? {
            return Ok(false);
        }
    }
    Ok(clauses.len() > 1)
}

fn is_met(parts: &[Part<'_>], query: &dyn tantivy::query::Query) -> tantivy::Result<bool> {
    for part in parts {
        let weight = query.weight(EnableScoring::disabled_from_searcher(&part.searcher))?;
        for segment in part.searcher.segment_readers() {
            if weight.scorer(segment, 1.0)?.doc() != TERMINATED {
                return Ok(true);
            }
        }
    }
    Ok(false)
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
    let parts: Vec<Part<'_>> = indexes.iter().map(|index| Part::of(index)).collect();
    let query = &without_idle_scope(&parts, query)?;
    let mut understood = compiler.understand(&query.text);
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

/// A question to districts that are all there are needs no look at the district of each record.
fn without_idle_scope(parts: &[Part<'_>], query: &Query) -> Result<Query, StoreError> {
    let mut query = query.clone();
    let Some(feeds) = &query.feeds else { return Ok(query) };
    let feeds: Vec<String> = feeds.iter().map(ToString::to_string).collect();
    for part in parts {
        let segments = part.searcher.segment_readers();
        if !part.index.columns.are_within(Facet::District, segments, &feeds)? {
            return Ok(query);
        }
    }
    query.feeds = None;
    Ok(query)
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
        let passes = part.searcher.segment_readers().par_iter().map(|segment| {
            let mut pass = Pass::open(query, part.index, segment, found.keep)?;
            pass.run(weight.as_ref(), segment)?;
            Ok(pass)
        });
        let passes = passes.collect::<Result<Vec<Pass>, StoreError>>()?;
        for (segment_at, pass) in passes.into_iter().enumerate() {
            pass.facets.iter().for_each(|column| column.add_to(&mut sums));
            found.take(pass, (part_at, segment_at), query)?;
        }
        for facet in &query.facets {
            let sum = sums.get(facet).map_or(&[][..], Vec::as_slice);
            let named = part.index.columns.named(*facet, sum).into_iter();
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
    let Candidate { part, segment, doc, .. } = candidate;
    let segment = u32::try_from(segment).map_err(StoreError::index)?;
    let ranks = parts[part].index.columns.ranks(parts[part].searcher.segment_reader(segment))?;
    let id = ranks.id(doc).ok_or_else(|| StoreError::index("a record without an id"))?;
    Ok(Hit { id, score: candidate.score, key: candidate.key })
}
