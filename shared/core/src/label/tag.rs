//! Keywords as tags: 2 to 100 characters, letters, digits, blanks and `-_.` only.

use std::collections::BTreeSet;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

const TAG_CHARS_MIN: usize = 2;
const TAG_CHARS_MAX: usize = 100;

/// The tags of some keywords, in their order, each once. Lists within a keyword (`交通、出行`) are taken apart, brackets
/// go (`停车（库）` is `停车库`), and what is left of one character (`水`) is no tag; the keywords themselves are published
/// as an extra.
pub fn tags(keywords: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let parts = keywords.iter().flat_map(|keyword| keyword.split(is_divider)).map(tag);
    parts.filter(|tag| tag.chars().count() >= TAG_CHARS_MIN && seen.insert(tag.clone())).collect()
}

fn is_divider(c: char) -> bool {
    matches!(c, '、' | '，' | '；' | ',' | ';' | '。' | '/' | '／' | '|' | '｜' | '\n' | '\t' | '•')
}

fn is_bracket(c: char) -> bool {
    matches!(
        c,
        '(' | ')'
            | '（'
            | '）'
            | '['
            | ']'
            | '【'
            | '】'
            | '{'
            | '}'
            | '《'
            | '》'
            | '<'
            | '>'
            | '〈'
            | '〉'
            | '「'
            | '」'
            | '『'
            | '』'
            | '“'
            | '”'
            | '‘'
            | '’'
            | '"'
            | '\''
    )
}

/// One tag. Compatibility forms are unfolded first, so that `①` and `Ⓐ` are the letters they stand for.
fn tag(part: &str) -> String {
    let plain: String = part.nfkc().filter(|c| !is_bracket(*c)).collect();
    let plain: String = plain.chars().map(|c| if is_allowed(c) { c } else { ' ' }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let cut: String = words.join(" ").chars().take(TAG_CHARS_MAX).collect();
    cut.trim().to_owned()
}

/// Letters and digits as Python's `\w` knows them, which counts no marks and no letters in circles or squares.
fn is_allowed(c: char) -> bool {
    let letter = c.is_alphanumeric()
        && !is_combining_mark(c)
        && !matches!(c, '\u{24B6}'..='\u{24E9}' | '\u{1F100}'..='\u{1F1FF}');
    letter || matches!(c, '-' | '_' | '.')
}
