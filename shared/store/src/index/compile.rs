//! From a question to a query of the engine.

use std::{ops::Bound, sync::Arc};

use jieba_rs::Jieba;
use liandong_core::{
    expr::{Expr, TextField, TimeField},
    id::FeedId,
    limit,
    record::Visibility,
    search::{self, Vocabulary},
};
use tantivy::{
    Term,
    query::{
        AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, Occur, PhraseQuery, Query,
        RangeQuery, RegexQuery, TermQuery,
    },
    schema::{Field, IndexRecordOption},
};

use super::{
    analysis,
    document::{filed_term, label_term, visibility_term},
    schema::Fields,
};
use crate::{
    error::StoreError,
    query::{self, Clause, Facet, Understood},
};

/// What a title that is the whole query is worth: more than any sum of words.
const EXACT: f32 = 1_000.0;
/// Worth of another way to say a clause.
const VARIANT: f32 = 0.25;
/// Worth of a clause as pinyin.
const SOUND: f32 = 0.7;
/// Characters of a text that is looked for nearby.
const NEAR_CHARS_MAX: usize = 16;
/// Share of the words that must match when no record has all.
const RELAXED_SHARE: f64 = 0.7;

type Clauses = Vec<(Occur, Box<dyn Query>)>;

/// What a text is compared with.
pub(super) struct Compiler<'a> {
    pub(super) fields: &'a Fields,
    pub(super) jieba: &'a Arc<Jieba>,
    pub(super) vocabulary: &'a Vocabulary,
}

impl Compiler<'_> {
    /// Reads a text as clauses that must all match.
    pub(super) fn understand(&self, text: &str) -> Understood {
        let text: String = text.chars().take(limit::QUERY_CHARS_MAX).collect();
        let folded = search::fold(&text);
        let parts = search::clauses(&folded);
        let clause = |text: &&str| Clause {
            text: (*text).to_owned(),
            variants: self.vocabulary.variants(text),
            words: analysis::words(self.jieba, text),
            sound: search::is_sound(text),
        };
        Understood {
            clauses: parts.iter().take(limit::QUERY_CLAUSES_MAX).map(clause).collect(),
            relaxed: false,
            left_out: parts.len().saturating_sub(limit::QUERY_CLAUSES_MAX),
        }
    }

    /// The whole query. What is chosen in facets that are counted is left to the collector.
    pub(super) fn compile(
        &self,
        query: &query::Query,
        understood: &Understood,
    ) -> Result<Box<dyn Query>, StoreError> {
        let mut clauses = self.scope(query)?;
        let everything =
            understood.clauses.is_empty() && search::fold(&query.text).trim().is_empty();
        if everything && !clauses.is_empty() {
            // All are worth the same; what is filtered is not looked up again among everything.
            return Ok(Box::new(ConstScoreQuery::new(Box::new(BooleanQuery::new(clauses)), 1.0)));
        }
        clauses.extend(self.text(everything, &query.text, understood));
        Ok(Box::new(BooleanQuery::new(clauses)))
    }

    /// What is near to a text that nothing matches: it sounds the same, or has characters in common.
    pub(super) fn near(&self, query: &query::Query) -> Result<Box<dyn Query>, StoreError> {
        let text = search::bare(&query.text);
        let fields = self.fields;
        let mut any: Clauses = Vec::new();
        for (grams, spoken, weight) in [
            (fields.title_grams, fields.title_sounds, 2.0),
            (fields.name_grams, fields.name_sounds, 1.0),
        ] {
            let pairs = analysis::grams(&text)
                .into_iter()
                .map(|(_, gram)| (Occur::Should, term(grams, &gram, IndexRecordOption::WithFreqs)));
            any.push((Occur::Should, Box::new(BooleanQuery::new(pairs.collect()))));
            // Characters that changed places have no pair in common, but all but one of themselves.
            let mut chars: Vec<char> = text.chars().take(NEAR_CHARS_MAX).collect();
            chars.sort_unstable();
            chars.dedup();
            any.push((Occur::Should, boosted(all_but_one(grams, &chars), 2.0)));
            let heard = search::sounds(&text).into_iter().filter_map(|sounded| {
                let reading = sounded.readings.first()?;
                Some((sounded.at, Term::from_field_text(spoken, reading)))
            });
            if let Some(heard) = phrase(heard.collect()) {
                any.push((Occur::Should, boosted(heard, 10.0 * weight)));
            }
        }
        self.within(query, any)
    }

    /// What begins as a text does that is still being typed.
    pub(super) fn typed(&self, query: &query::Query) -> Result<Box<dyn Query>, StoreError> {
        let folded = search::fold(&query.text);
        let text = folded.trim();
        let fields = self.fields;
        let mut any: Clauses = Vec::new();
        for (grams, spoken, weight) in [
            (fields.title_grams, fields.title_sounds, 3.0),
            (fields.name_grams, fields.name_sounds, 1.0),
        ] {
            if let Some(substring) = substring(grams, text) {
                any.push((Occur::Should, boosted(substring, weight)));
            }
            if search::is_sound(text) {
                // The last syllable may not be there whole yet.
                let whole = (1..=text.len()).rev().find_map(|end| {
                    let known =
                        text.get(..end).is_some_and(|part| !search::syllables(part).is_empty());
                    known.then(|| &text[..end])
                });
                let spelled = whole.filter(|part| part.len() + 5 >= text.len()).unwrap_or(text);
                for sound in sounds(spoken, spelled).into_iter().chain(sounds(spoken, text)) {
                    any.push((Occur::Should, boosted(sound, weight * SOUND)));
                }
            }
        }
        self.within(query, any)
    }

    fn within(&self, query: &query::Query, any: Clauses) -> Result<Box<dyn Query>, StoreError> {
        let mut clauses = self.scope(query)?;
        clauses.push((Occur::Must, Box::new(BooleanQuery::new(any))));
        Ok(Box::new(BooleanQuery::new(clauses)))
    }

    /// Everything but the text.
    fn scope(&self, query: &query::Query) -> Result<Clauses, StoreError> {
        let mut clauses: Clauses = Vec::new();
        if query.public_only {
            let term = visibility_term(Visibility::Public);
            clauses.push((Occur::Must, self.filter(&[term])));
        }
        if let Some(feeds) = &query.feeds {
            let term = |feed: &FeedId| filed_term(Facet::District, &feed.to_string());
            let terms: Vec<String> = feeds.iter().map(term).collect();
            clauses.push((Occur::Must, self.filter(&terms)));
        }
        let uncounted = query.chosen.iter().filter(|(facet, _)| !query.facets.contains(facet));
        for (facet, values) in uncounted {
            // Freshness is no field; the collector looks at it in any case.
            if self.fields.facets.contains_key(facet) {
                let term = |value: &String| filed_term(*facet, value);
                let terms: Vec<String> = values.iter().map(term).collect();
                clauses.push((Occur::Must, self.filter(&terms)));
            }
        }
        if let Some(expr) = &query.expr {
            clauses.push((Occur::Must, self.expr(expr)?));
        }
        Ok(clauses)
    }

    /// Filed under one of the terms, without influence on the score.
    fn filter(&self, terms: &[String]) -> Box<dyn Query> {
        let one = |text: &String| term(self.fields.filed, text, IndexRecordOption::Basic);
        let any = match terms {
            [only] => one(only),
            _ => Box::new(BooleanQuery::union(terms.iter().map(one).collect())),
        };
        Box::new(ConstScoreQuery::new(any, 0.0))
    }

    fn text(&self, everything: bool, typed: &str, understood: &Understood) -> Clauses {
        if understood.clauses.is_empty() {
            // Nothing to look for: everything, unless what was typed is only punctuation.
            return vec![(Occur::Must, if everything { all() } else { none() })];
        }
        if understood.relaxed {
            return vec![(Occur::Must, self.relaxed(understood))];
        }
        let mut clauses: Clauses =
            understood.clauses.iter().map(|clause| (Occur::Must, self.clause(clause))).collect();
        let whole = search::bare(typed);
        let exact = term(self.fields.exact, &whole, IndexRecordOption::Basic);
        clauses.push((Occur::Should, Box::new(ConstScoreQuery::new(exact, EXACT))));
        clauses
    }

    /// A clause matches as a substring of a name, or with all of its words in one record, or by another way to say it,
    /// or by its sound.
    pub(super) fn clause(&self, clause: &Clause) -> Box<dyn Query> {
        let mut any: Clauses = self.said(&clause.text, &clause.words);
        for variant in &clause.variants {
            let words = analysis::words(self.jieba, variant);
            let said = Box::new(BooleanQuery::new(self.said(variant, &words)));
            any.push((Occur::Should, boosted(said, VARIANT)));
        }
        if clause.sound {
            for (field, weight) in [(self.fields.title_sounds, 3.0), (self.fields.name_sounds, 1.0)]
            {
                for sound in sounds(field, &clause.text) {
                    any.push((Occur::Should, boosted(sound, SOUND * weight)));
                }
            }
        }
        Box::new(BooleanQuery::new(any))
    }

    fn said(&self, text: &str, words: &[String]) -> Clauses {
        let fields = self.fields;
        let mut any: Clauses = Vec::new();
        for (field, weight) in [(fields.title_grams, 3.0), (fields.name_grams, 1.0)] {
            if let Some(substring) = substring(field, text) {
                any.push((Occur::Should, boosted(substring, weight)));
            }
        }
        let weighted = [
            (fields.title, 4.0),
            (fields.keywords, 2.0),
            (fields.items, 1.5),
            (fields.provider, 1.5),
            (fields.place, 1.0),
            (fields.summary, 0.7),
        ];
        let all: Clauses =
            words.iter().map(|word| (Occur::Must, word_in(&weighted, word))).collect();
        if !all.is_empty() {
            any.push((Occur::Should, Box::new(BooleanQuery::new(all))));
        }
        any
    }

    /// Most of the words of all clauses.
    fn relaxed(&self, understood: &Understood) -> Box<dyn Query> {
        let fields = self.fields;
        let weighted = [
            (fields.title, 4.0),
            (fields.keywords, 2.0),
            (fields.items, 1.5),
            (fields.provider, 1.5),
            (fields.place, 1.0),
            (fields.summary, 0.7),
        ];
        let mut words: Vec<&String> =
            understood.clauses.iter().flat_map(|clause| &clause.words).collect();
        words.sort();
        words.dedup();
        let wanted: Vec<Box<dyn Query>> =
            words.iter().map(|word| word_in(&weighted, word)).collect();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a few words"
        )]
        let least = (wanted.len() as f64 * RELAXED_SHARE).ceil() as usize;
        Box::new(BooleanQuery::union_with_minimum_required_clauses(wanted, least.max(1)))
    }

    /// A program's expression.
    fn expr(&self, expr: &Expr) -> Result<Box<dyn Query>, StoreError> {
        let fields = self.fields;
        Ok(match expr {
            Expr::All => all(),
            Expr::And(parts) => {
                let mut clauses: Clauses = vec![(Occur::Must, all())];
                for part in parts {
                    clauses.push((Occur::Must, self.expr(part)?));
                }
                Box::new(BooleanQuery::new(clauses))
            }
            Expr::Or(parts) => {
                let parts: Result<Clauses, StoreError> =
                    parts.iter().map(|part| Ok((Occur::Should, self.expr(part)?))).collect();
                Box::new(BooleanQuery::new(parts?))
            }
            Expr::Not(inner) => Box::new(BooleanQuery::new(vec![
                (Occur::Must, all()),
                (Occur::MustNot, self.expr(inner)?),
            ])),
            Expr::Text { field, text, phrase } => self.text_in(*field, text, *phrase),
            Expr::Is { key, value } => {
                term(fields.labels, &label_term(key, Some(value)), IndexRecordOption::Basic)
            }
            Expr::Has { key } => {
                term(fields.labels, &label_term(key, None), IndexRecordOption::Basic)
            }
            Expr::Like { key, pattern } => {
                let regex = like(key, pattern);
                Box::new(
                    RegexQuery::from_pattern(&regex, fields.labels).map_err(StoreError::index)?,
                )
            }
            Expr::Between { field, from, to } => {
                let field = match field {
                    TimeField::Created => fields.created,
                    TimeField::Modified => fields.modified,
                };
                between(field, *from, *to)
            }
        })
    }

    fn text_in(&self, field: Option<TextField>, text: &str, phrase: bool) -> Box<dyn Query> {
        let understood = self.understand(text);
        if understood.clauses.is_empty() {
            return none();
        }
        let fields = self.fields;
        let Some(field) = field else {
            let all = understood.clauses.iter().map(|clause| {
                let any = if phrase { self.said(&clause.text, &clause.words) } else { Vec::new() };
                let said: Box<dyn Query> =
                    if phrase { Box::new(BooleanQuery::new(any)) } else { self.clause(clause) };
                (Occur::Must, said)
            });
            return Box::new(BooleanQuery::new(all.collect()));
        };
        let (words, grams) = match field {
            TextField::Title => (fields.title, Some(fields.title_grams)),
            TextField::Summary => (fields.summary, None),
            TextField::Keywords => (fields.keywords, None),
            TextField::Items => (fields.items, None),
            TextField::Provider => (fields.provider, None),
        };
        let all = understood.clauses.iter().map(|clause| {
            let mut any: Clauses = Vec::new();
            if let Some(substring) = grams.and_then(|grams| substring(grams, &clause.text)) {
                any.push((Occur::Should, substring));
            }
            let every: Clauses = clause
                .words
                .iter()
                .map(|word| (Occur::Must, term(words, word, IndexRecordOption::WithFreqs)))
                .collect();
            if !every.is_empty() {
                any.push((Occur::Should, Box::new(BooleanQuery::new(every))));
            }
            (Occur::Must, Box::new(BooleanQuery::new(any)) as Box<dyn Query>)
        });
        Box::new(BooleanQuery::new(all.collect()))
    }
}

/// All characters, or all but any one of them. Said as conjunctions, because the rarest character leads those: a union
/// that counts would visit every record that has any of them.
fn all_but_one(field: Field, chars: &[char]) -> Box<dyn Query> {
    let one = |c: &char| term(field, &c.to_string(), IndexRecordOption::WithFreqs);
    if chars.len() < 3 {
        return Box::new(BooleanQuery::union(chars.iter().map(one).collect()));
    }
    let without = |left_out: usize| -> Box<dyn Query> {
        let others = chars.iter().enumerate().filter(|(at, _)| *at != left_out);
        Box::new(BooleanQuery::intersection(others.map(|(_, c)| one(c)).collect()))
    };
    Box::new(BooleanQuery::union((0..chars.len()).map(without).collect()))
}

/// The clause as a substring: a phrase of pairs.
pub(super) fn substring(field: Field, text: &str) -> Option<Box<dyn Query>> {
    let terms: Vec<(usize, Term)> = analysis::grams(text)
        .into_iter()
        .map(|(position, gram)| (position, Term::from_field_text(field, &gram)))
        .collect();
    phrase(terms)
}

/// The ways in which letters may be meant as pinyin.
pub(super) fn sounds(field: Field, letters: &str) -> Vec<Box<dyn Query>> {
    let term = |text: &str| Term::from_field_text(field, text);
    let run = letters.len().min(3);
    let firsts = (0..=letters.len() - run)
        .map(|at| (at, term(&analysis::initials_token(&letters[at..at + run]))))
        .collect();
    let spelled = search::syllables(letters).into_iter().map(|syllables| {
        syllables.into_iter().enumerate().map(|(at, syllable)| (at, term(syllable))).collect()
    });
    std::iter::once(firsts).chain(spelled).filter_map(phrase).collect()
}

fn phrase(terms: Vec<(usize, Term)>) -> Option<Box<dyn Query>> {
    match terms.as_slice() {
        [] => None,
        [(_, term)] => Some(Box::new(TermQuery::new(term.clone(), IndexRecordOption::WithFreqs))),
        _ => Some(Box::new(PhraseQuery::new_with_offset(terms))),
    }
}

fn word_in(weighted: &[(Field, f32)], word: &str) -> Box<dyn Query> {
    let any = weighted.iter().map(|(field, weight)| {
        (Occur::Should, boosted(term(*field, word, IndexRecordOption::WithFreqs), *weight))
    });
    Box::new(BooleanQuery::new(any.collect()))
}

fn between(field: Field, from: Bound<i64>, to: Bound<i64>) -> Box<dyn Query> {
    let low = match from {
        Bound::Included(at) => at,
        Bound::Excluded(at) => at.saturating_add(1),
        Bound::Unbounded => i64::MIN,
    };
    let high = match to {
        Bound::Included(at) => at,
        Bound::Excluded(at) => at.saturating_sub(1),
        Bound::Unbounded => i64::MAX,
    };
    if low > high {
        return none();
    }
    let term = |at| Bound::Included(Term::from_field_i64(field, at));
    Box::new(RangeQuery::new(term(low), term(high)))
}

/// A pattern with `*` and `?` as a regular expression over labels.
fn like(key: &str, pattern: &str) -> String {
    let mut regex = quoted(&label_term(key, Some("")));
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => regex.push_str(&quoted(&chars.next().unwrap_or('\\').to_string())),
            c => regex.push_str(&quoted(&c.to_string())),
        }
    }
    regex
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !c.is_ascii_control() && c != ' ' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn all() -> Box<dyn Query> {
    Box::new(AllQuery)
}

fn none() -> Box<dyn Query> {
    Box::new(EmptyQuery)
}

fn term(field: Field, text: &str, option: IndexRecordOption) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, text), option))
}

fn boosted(query: Box<dyn Query>, weight: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(query, weight))
}
