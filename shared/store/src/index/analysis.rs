//! How text becomes tokens, for documents and for queries alike.

use std::sync::{Arc, OnceLock};

use jieba_rs::{Jieba, TokenizeMode};
use liandong_core::search::{bare, sounds};
use tantivy_tokenizer_api::{Token, TokenStream, Tokenizer};

/// The dictionary, once a process: each copy costs some 50 MB. With words of the operator's there is one more.
pub(super) fn jieba(words: &[String]) -> Arc<Jieba> {
    static PLAIN: OnceLock<Arc<Jieba>> = OnceLock::new();
    if words.is_empty() {
        return Arc::clone(PLAIN.get_or_init(|| Arc::new(Jieba::new())));
    }
    let mut jieba = Jieba::new();
    for word in words {
        jieba.add_word(&bare(word), None, None);
    }
    Arc::new(jieba)
}

/// A token as a part of the text: first byte, byte behind it, position.
type Part = (usize, usize, usize);

/// Tokens that are parts of the text, handed out one after the other in the same buffer: a string for each would halve
/// the speed of indexing.
pub(super) struct Parts<'a> {
    text: &'a str,
    all: &'a [Part],
    next: usize,
    token: &'a mut Token,
}

impl TokenStream for Parts<'_> {
    fn advance(&mut self) -> bool {
        let Some(&(from, to, position)) = self.all.get(self.next) else { return false };
        self.token.position = position;
        self.token.offset_from = from;
        self.token.offset_to = to;
        self.token.position_length = 1;
        self.token.text.clear();
        self.token.text.push_str(&self.text[from..to]);
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Words by the dictionary, with the words inside long words.
#[derive(Clone)]
pub(super) struct Words {
    jieba: Arc<Jieba>,
    parts: Vec<Part>,
    token: Token,
}

impl Words {
    pub(super) fn new(jieba: Arc<Jieba>) -> Self {
        Self { jieba, parts: Vec::new(), token: Token::default() }
    }
}

impl Tokenizer for Words {
    type TokenStream<'a> = Parts<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Parts<'a> {
        self.parts.clear();
        for found in self.jieba.tokenize(text, TokenizeMode::Search, false) {
            if found.word.chars().any(char::is_alphanumeric) {
                let to = found.byte_start + found.word.len();
                self.parts.push((found.byte_start, to, self.parts.len()));
            }
        }
        Parts { text, all: &self.parts, next: 0, token: &mut self.token }
    }
}

/// Single characters and pairs of neighbouring characters: any substring is a phrase of pairs.
///
/// A pair stands at the position of its first character, the single character at the same one.
#[derive(Clone, Default)]
pub(super) struct Grams {
    parts: Vec<Part>,
    token: Token,
}

impl Tokenizer for Grams {
    type TokenStream<'a> = Parts<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Parts<'a> {
        self.parts.clear();
        let mut before: Option<usize> = None;
        for (position, (from, c)) in text.char_indices().enumerate() {
            if !c.is_alphanumeric() {
                before = None;
                continue;
            }
            let to = from + c.len_utf8();
            if let Some(start) = before {
                self.parts.push((start, to, position - 1));
            }
            self.parts.push((from, to, position));
            before = Some(from);
        }
        Parts { text, all: &self.parts, next: 0, token: &mut self.token }
    }
}

/// How the text sounds.
#[derive(Clone, Default)]
pub(super) struct Sounds {
    tokens: Vec<Token>,
}

/// Tokens that are no parts of the text.
pub(super) struct Heard<'a> {
    tokens: &'a mut [Token],
    next: usize,
}

impl Tokenizer for Sounds {
    type TokenStream<'a> = Heard<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Heard<'a> {
        self.tokens = sound_tokens(text);
        Heard { tokens: &mut self.tokens, next: 0 }
    }
}

impl TokenStream for Heard<'_> {
    fn advance(&mut self) -> bool {
        self.next += 1;
        self.next <= self.tokens.len()
    }

    fn token(&self) -> &Token {
        &self.tokens[self.next - 1]
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.next - 1]
    }
}

/// The words of a query clause.
pub(super) fn words(jieba: &Arc<Jieba>, text: &str) -> Vec<String> {
    let mut tokenizer = Words::new(Arc::clone(jieba));
    let mut stream = tokenizer.token_stream(text);
    let mut words = Vec::new();
    while stream.advance() {
        words.push(stream.token().text.clone());
    }
    words
}

/// What marks a token of first letters apart from a syllable.
const INITIALS: char = '~';

/// A run of two or three first letters as a token.
pub(super) fn initials_token(letters: &str) -> String {
    format!("{INITIALS}{letters}")
}

/// Syllables and runs of two and three first letters, each at the place of its first character, in every reading.
fn sound_tokens(text: &str) -> Vec<Token> {
    let sounded = sounds(text);
    let mut tokens = Vec::new();
    let mut push = |position: usize, text: String| {
        tokens.push(Token { offset_from: 0, offset_to: 0, position, text, position_length: 1 });
    };
    for (index, first) in sounded.iter().enumerate() {
        for reading in first.readings {
            push(first.at, (*reading).to_owned());
        }
        let mut runs: Vec<String> = letters(first.readings).iter().map(char::to_string).collect();
        for (step, next) in sounded[index + 1..].iter().take(2).enumerate() {
            if next.at != first.at + step + 1 {
                break;
            }
            let letters = letters(next.readings);
            let longer = |run: &String| {
                let run = run.clone();
                letters.iter().map(move |letter| run.clone() + letter.encode_utf8(&mut [0; 4]))
            };
            runs = runs.iter().flat_map(longer).collect();
            for run in &runs {
                push(first.at, initials_token(run));
            }
        }
    }
    tokens
}

/// The first letters of some readings, each once.
fn letters(readings: &[&str]) -> Vec<char> {
    let mut firsts: Vec<char> = readings.iter().filter_map(|r| r.chars().next()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    firsts
}

/// The grams that together mean that the clause is a substring: pairs, or the character itself where it stands alone.
pub(super) fn grams(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut grams = Vec::new();
    let mut run = 0;
    for (position, c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            run = 0;
            continue;
        }
        run += 1;
        let alone = run == 1 && chars.get(position + 1).is_none_or(|next| !next.is_alphanumeric());
        if alone {
            grams.push((position, c.to_string()));
        } else if run > 1 {
            grams.push((position - 1, [chars[position - 1], *c].iter().collect()));
        }
    }
    grams
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut tokenizer: impl Tokenizer, text: &str) -> Vec<String> {
        let mut stream = tokenizer.token_stream(text);
        let mut tokens = Vec::new();
        while stream.advance() {
            tokens.push(stream.token().text.clone());
        }
        tokens
    }

    #[test]
    fn words_hold_the_words_inside_long_words() {
        let words = all(Words::new(jieba(&[])), "上海图书馆公交线路 b1");
        for wanted in ["图书", "图书馆", "公交", "线路", "b1"] {
            assert!(words.iter().any(|word| word == wanted), "{wanted} in {words:?}");
        }
    }

    #[test]
    fn grams_of_a_query_are_among_the_grams_of_every_text_that_contains_it() {
        let text = "浦东新区2016年公交站点（a1路）信息";
        let grams_of_text = all(Grams::default(), text);
        let chars: Vec<char> = text.chars().collect();
        for from in 0..chars.len() {
            for to in from + 1..=chars.len() {
                let query: String = chars[from..to].iter().collect();
                for (_, gram) in grams(&query) {
                    assert!(grams_of_text.contains(&gram), "{gram} of {query}");
                }
            }
        }
    }

    #[test]
    fn a_word_of_the_operators_is_one_word() {
        let jieba = jieba(&["随申办".to_owned()]);
        assert!(words(&jieba, "随申办服务").contains(&"随申办".to_owned()));
    }

    #[test]
    fn characters_sound_in_every_reading_and_by_runs_of_first_letters() {
        let tokens = sound_tokens("银行A网点");
        let at = |position: usize| -> Vec<&str> {
            let here = tokens.iter().filter(|token| token.position == position);
            here.map(|token| token.text.as_str()).collect()
        };
        for token in ["yin", "~yh", "~yx"] {
            assert!(at(0).contains(&token), "{token} in {:?}", at(0));
        }
        assert!(at(1).contains(&"hang") && at(1).contains(&"xing"), "{:?}", at(1));
        assert!(!tokens.iter().any(|token| token.text == "~hw"), "no run over a letter");
        assert!(at(3).contains(&"~wd"), "{:?}", at(3));
    }
}
