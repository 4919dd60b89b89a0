//! Asking the index.

use std::collections::BTreeMap;

use liandong_core::{
    id::{FeedId, Head, RecordId},
    limit,
};
use tantivy::{
    TantivyDocument, Term,
    collector::{Count, TopDocs},
    query::{AllQuery, BooleanQuery, BoostQuery, EmptyQuery, Occur, PhraseQuery, Query, TermQuery},
    schema::{Field, IndexRecordOption, Value as _},
};

use super::{Index, analysis, visibility_term};
use crate::{error::StoreError, query};
use liandong_core::record::Visibility;

/// One record that matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The record.
    pub id: RecordId,
    /// How well it matches; only comparable within an answer.
    pub score: f32,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All records that match.
    pub total: usize,
    /// The page asked for.
    pub hits: Vec<Hit>,
    /// What of each feed the index had applied.
    pub applied: BTreeMap<FeedId, Head>,
}

type Clauses = Vec<(Occur, Box<dyn Query>)>;

impl Index {
    /// Searches what is committed.
    pub(crate) fn search(&self, query: &query::Query) -> Result<Answer, StoreError> {
        let hits = query.limit.clamp(1, limit::PAGE_HITS_MAX);
        self.find(query, hits, query.offset.min(limit::OFFSET_MAX))
    }

    /// The best hits up to the end of the page that is asked for, to be merged with those of another index.
    pub(crate) fn best(&self, query: &query::Query) -> Result<Answer, StoreError> {
        let hits = query.limit.clamp(1, limit::PAGE_HITS_MAX);
        self.find(query, query.offset.min(limit::OFFSET_MAX) + hits, 0)
    }

    fn find(&self, query: &query::Query, hits: usize, offset: usize) -> Result<Answer, StoreError> {
        let applied = self.applied.lock().feeds.clone();
        let searcher = self.reader.searcher();
        let parsed = self.parse(query);
        let page = TopDocs::with_limit(hits).and_offset(offset);
        let (total, found) =
            searcher.search(&parsed, &(Count, page.order_by_score())).map_err(StoreError::index)?;
        let hits = found
            .into_iter()
            .map(|(score, address)| {
                let document: TantivyDocument = searcher.doc(address).map_err(StoreError::index)?;
                let id = document.get_first(self.fields.id).and_then(|id| id.as_str());
                let id = id.unwrap_or_default().parse().map_err(StoreError::index)?;
                Ok(Hit { id, score })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Answer { total, hits, applied })
    }

    fn parse(&self, query: &query::Query) -> BooleanQuery {
        let mut clauses: Clauses = Vec::new();
        if query.public_only {
            let term = visibility_term(Visibility::Public);
            clauses.push((Occur::Must, filter(self.fields.visibility, &[term.to_owned()])));
        }
        if let Some(feeds) = &query.feeds {
            let feeds: Vec<String> = feeds.iter().map(ToString::to_string).collect();
            clauses.push((Occur::Must, filter(self.fields.feed, &feeds)));
        }
        let text: String = query.text.chars().take(limit::QUERY_CHARS_MAX).collect();
        let text = analysis::normalise(&text);
        let before = clauses.len();
        for clause in text.split(|c: char| !(c.is_alphanumeric() || "-_.·".contains(c))) {
            if clause.chars().any(char::is_alphanumeric) {
                clauses.push((Occur::Must, self.clause(clause)));
            }
        }
        if clauses.len() == before {
            // Nothing to look for: everything, unless the query was only punctuation.
            let nothing: Box<dyn Query> =
                if text.trim().is_empty() { Box::new(AllQuery) } else { Box::new(EmptyQuery) };
            clauses.push((Occur::Must, nothing));
        }
        BooleanQuery::new(clauses)
    }

    /// A clause matches as a substring of a name, or with all of its words in one record.
    fn clause(&self, text: &str) -> Box<dyn Query> {
        let fields = self.fields;
        let mut any: Clauses = Vec::new();
        let grams = analysis::grams(text);
        let terms: Vec<(usize, Term)> = grams
            .into_iter()
            .map(|(position, gram)| (position, Term::from_field_text(fields.grams, &gram)))
            .collect();
        match terms.as_slice() {
            [] => {}
            [(_, term)] => any.push((Occur::Should, boosted(term_query(term.clone()), 2.0))),
            _ => any
                .push((Occur::Should, boosted(Box::new(PhraseQuery::new_with_offset(terms)), 2.0))),
        }
        let words = analysis::words(text);
        let weighted = [
            (fields.title, 4.0),
            (fields.keywords, 2.0),
            (fields.items, 1.5),
            (fields.provider, 1.5),
            (fields.summary, 1.0),
        ];
        let all: Clauses = words
            .iter()
            .map(|word| {
                let in_fields = weighted
                    .iter()
                    .map(|(field, weight)| {
                        let term = Term::from_field_text(*field, word);
                        (Occur::Should, boosted(term_query(term), *weight))
                    })
                    .collect();
                (Occur::Must, Box::new(BooleanQuery::new(in_fields)) as Box<dyn Query>)
            })
            .collect();
        if !all.is_empty() {
            any.push((Occur::Should, Box::new(BooleanQuery::new(all))));
        }
        Box::new(BooleanQuery::new(any))
    }
}

fn term_query(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

fn boosted(query: Box<dyn Query>, weight: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(query, weight))
}

/// One of the values, without influence on the score.
fn filter(field: Field, values: &[String]) -> Box<dyn Query> {
    let any = values
        .iter()
        .map(|value| (Occur::Should, term_query(Term::from_field_text(field, value))))
        .collect();
    Box::new(tantivy::query::ConstScoreQuery::new(Box::new(BooleanQuery::new(any)), 0.0))
}
