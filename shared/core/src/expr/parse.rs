//! The parser: one pass over the characters, recursive only in parentheses.
//!
//! ```text
//! all    = or { or }                       joined by spaces: every one of them
//! or     = and { ("OR" | "||") and }
//! and    = not { ("AND" | "&&") not }
//! not    = { "NOT" | "!" | "-" | "+" } one
//! one    = "(" all ")" | [ field ":" ] ( "(" all ")" | range | phrase | word ) { "^" n | "~" n }
//! ```

use std::ops::Bound;

use super::{
    Expr, ExprError,
    field::{Char, Field, Value},
    time::{self, Moment},
};
use crate::limit;

pub(super) fn parse(text: &str, now_us: i64) -> Result<Expr, ExprError> {
    let chars = text.chars().collect();
    let mut parser = Parser { chars, at: 0, depth: 0, clauses: 0, patterns: 0, now_us };
    let expr = parser.all(&Field::Text(None))?;
    match parser.peek() {
        None => Ok(expr),
        Some(sign) => Err(ExprError::Unpaired { at: parser.place(), sign }),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    clauses: usize,
    patterns: usize,
    now_us: i64,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// The place of the next character, for people.
    fn place(&self) -> usize {
        self.at + 1
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Takes a sign if it comes next.
    fn take(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(sign);
        self.at += usize::from(found);
        found
    }

    /// Takes an operator after blanks: a word that stands alone, or a doubled sign.
    fn take_operator(&mut self, word: &str, sign: &str) -> bool {
        self.skip_blanks();
        for (operator, alone) in [(word, true), (sign, false)] {
            let end = self.at + operator.len();
            let fits = self
                .chars
                .get(self.at..end)
                .is_some_and(|c| operator.chars().eq(c.iter().copied()));
            let ends =
                self.chars.get(end).is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '"'));
            if fits && (!alone || ends) {
                self.at = end;
                return true;
            }
        }
        false
    }

    fn all(&mut self, field: &Field) -> Result<Expr, ExprError> {
        let mut parts = Vec::new();
        loop {
            self.skip_blanks();
            if self.peek().is_none_or(|c| c == ')') {
                return Ok(Expr::all(parts));
            }
            if self.take_idle_sign() {
                continue;
            }
            parts.push(self.or(field)?);
        }
    }

    /// A sign of an operator that stands alone, as people write it between words, says nothing.
    fn take_idle_sign(&mut self) -> bool {
        let idle = matches!(self.peek(), Some('-' | '+' | '!'))
            && self.chars.get(self.at + 1).is_none_or(|c| c.is_whitespace() || *c == ')');
        self.at += usize::from(idle);
        idle
    }

    fn or(&mut self, field: &Field) -> Result<Expr, ExprError> {
        let mut parts = vec![self.and(field)?];
        while self.take_operator("OR", "||") {
            parts.push(self.and(field)?);
        }
        Ok(Expr::any(parts))
    }

    fn and(&mut self, field: &Field) -> Result<Expr, ExprError> {
        let mut parts = vec![self.not(field)?];
        while self.take_operator("AND", "&&") {
            parts.push(self.not(field)?);
        }
        Ok(Expr::all(parts))
    }

    fn not(&mut self, field: &Field) -> Result<Expr, ExprError> {
        let mut negated = false;
        loop {
            if self.take_operator("NOT", "!") || self.take('-') {
                negated = !negated;
            } else if !self.take('+') {
                break;
            }
        }
        let expr = self.one(field)?;
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn one(&mut self, field: &Field) -> Result<Expr, ExprError> {
        self.skip_blanks();
        let begin = self.at;
        let missing = ExprError::Missing(self.place());
        if self.take_operator("AND", "&&") || self.take_operator("OR", "||") {
            return Err(missing);
        }
        let expr = if let Some('(' | '"' | '[' | '{') = self.peek() {
            self.value(field, "text")?
        } else {
            let word = self.word(false)?;
            let name = word.text();
            if word.chars.is_empty() || !self.take(':') {
                self.clause(field, &word, begin)?
            } else {
                self.skip_blanks();
                self.value(&Field::named(&name), &name)?
            }
        };
        self.skip_weights();
        Ok(expr)
    }

    /// What stands after a field, or without one.
    fn value(&mut self, field: &Field, name: &str) -> Result<Expr, ExprError> {
        let begin = self.at;
        match self.peek() {
            Some('(') => self.group(field),
            Some('[' | '{') => self.range(field, name),
            Some('"') => {
                let phrase = self.phrase()?;
                self.clause(field, &phrase, begin)
            }
            _ => {
                let word = self.word(matches!(field, Field::Time(_)))?;
                self.clause(field, &word, begin)
            }
        }
    }

    fn group(&mut self, field: &Field) -> Result<Expr, ExprError> {
        let open = self.place();
        self.at += 1;
        self.depth += 1;
        if self.depth > limit::EXPR_DEPTH_MAX {
            return Err(ExprError::Deep(open));
        }
        let before = self.clauses;
        let expr = self.all(field)?;
        let inner = self.place();
        if !self.take(')') {
            return Err(ExprError::Unpaired { at: open, sign: '(' });
        }
        if self.clauses == before {
            return Err(ExprError::Missing(inner));
        }
        self.depth -= 1;
        Ok(expr)
    }

    /// Reads up to a sign that ends a word.
    fn word(&mut self, colons: bool) -> Result<Value, ExprError> {
        let mut word = Value::default();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.at += 1;
                    let escaped = self.peek().ok_or(ExprError::Missing(self.place()))?;
                    word.chars.push(Char::Plain(escaped));
                }
                '*' => word.chars.push(Char::Any),
                '?' => word.chars.push(Char::One),
                ':' if !colons => break,
                '(' | ')' | '[' | ']' | '{' | '}' | '"' | '^' | '~' => break,
                c if c.is_whitespace() => break,
                c => word.chars.push(Char::Plain(c)),
            }
            self.at += 1;
        }
        Ok(word)
    }

    fn phrase(&mut self) -> Result<Value, ExprError> {
        let open = self.place();
        self.at += 1;
        let mut phrase = Value { quoted: true, ..Value::default() };
        loop {
            match self.peek() {
                Some('"') => break,
                Some('\\') => self.at += 1,
                _ => {}
            }
            let c = self.peek().ok_or(ExprError::Unpaired { at: open, sign: '"' })?;
            phrase.chars.push(Char::Plain(c));
            self.at += 1;
        }
        self.at += 1;
        Ok(phrase)
    }

    /// `^2` and `~0.8` after a condition weigh it elsewhere; here they are read and left.
    fn skip_weights(&mut self) {
        while self.take('^') || self.take('~') {
            while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
                self.at += 1;
            }
        }
    }

    fn clause(&mut self, field: &Field, value: &Value, begin: usize) -> Result<Expr, ExprError> {
        if value.chars.is_empty() && !value.quoted {
            return Err(match self.peek() {
                None | Some(')') => ExprError::Missing(self.place()),
                Some(c) if c.is_whitespace() => ExprError::Missing(self.place()),
                Some(sign) => ExprError::Unexpected { at: self.place(), sign },
            });
        }
        if self.peek() == Some(':') {
            return Err(ExprError::Unexpected { at: self.place(), sign: ':' });
        }
        self.count()?;
        if value.is_star() {
            return Ok(field.present());
        }
        let expr = match field {
            Field::Text(field) => value.in_text(*field),
            Field::Label(key) => value.as_label(key),
            Field::Part(key) => value.in_label(key),
            Field::Time(field) => {
                let moment = self.moment(&value.text(), begin)?;
                let (from, to) = (Bound::Included(moment.begin), moment.until());
                Expr::Between { field: *field, from, to }
            }
        };
        if let Expr::And(parts) = &expr {
            parts.iter().skip(1).try_for_each(|_part| self.count())?;
        }
        self.patterns += usize::from(matches!(expr, Expr::Like { .. }));
        if self.patterns > limit::EXPR_PATTERNS_MAX {
            return Err(ExprError::Patterns);
        }
        Ok(expr)
    }

    fn count(&mut self) -> Result<(), ExprError> {
        self.clauses += 1;
        if self.clauses > limit::EXPR_CLAUSES_MAX { Err(ExprError::Clauses) } else { Ok(()) }
    }

    fn moment(&self, text: &str, begin: usize) -> Result<Moment, ExprError> {
        let bad = || ExprError::Time { at: begin + 1, given: text.to_owned() };
        time::read(text, self.now_us).ok_or_else(bad)
    }

    fn range(&mut self, field: &Field, name: &str) -> Result<Expr, ExprError> {
        let (begin, open) = (self.at, self.peek().unwrap_or('['));
        let place = self.place();
        if open == '{' && self.chars.get(begin + 1) == Some(&'!') {
            return Err(ExprError::LocalParams(place));
        }
        self.at += 1;
        let inner = self.at;
        while self.peek().is_some_and(|c| c != ']' && c != '}') {
            self.at += 1;
        }
        let close = self.peek().ok_or(ExprError::Unpaired { at: place, sign: open })?;
        let text: String = self.chars.get(inner..self.at).unwrap_or_default().iter().collect();
        self.at += 1;
        self.count()?;
        // Encoded twice, as some clients do, a blank is still a blank.
        let text = text.replace("%20", " ").replace(['"', '\\'], "");
        let words: Vec<&str> = text.split_whitespace().collect();
        let [from, "TO", to] = words[..] else { return Err(ExprError::RangeForm(place)) };
        let Field::Time(field) = field else {
            let no_range = ExprError::NoRange { at: place, field: name.to_owned() };
            return if from == "*" && to == "*" { Ok(field.present()) } else { Err(no_range) };
        };
        let (first, last) = (self.end(from, begin)?, self.end(to, begin)?);
        let from = first.map_or(Bound::Unbounded, |first| {
            if open == '[' { Bound::Included(first.begin) } else { first.after() }
        });
        let to = last.map_or(Bound::Unbounded, |last| {
            if close == ']' { last.until() } else { Bound::Excluded(last.begin) }
        });
        if first.zip(last).is_some_and(|(first, last)| first.begin > last.begin)
            || is_backwards(from, to)
        {
            return Err(ExprError::Backwards(place));
        }
        Ok(Expr::Between { field: *field, from, to })
    }

    /// One end of a range; none when it is open.
    fn end(&self, text: &str, begin: usize) -> Result<Option<Moment>, ExprError> {
        if text == "*" { Ok(None) } else { self.moment(text, begin).map(Some) }
    }
}

fn is_backwards(from: Bound<i64>, to: Bound<i64>) -> bool {
    let value = |bound| match bound {
        Bound::Included(at) | Bound::Excluded(at) => Some(at),
        Bound::Unbounded => None,
    };
    matches!((value(from), value(to)), (Some(from), Some(to)) if from > to)
}
