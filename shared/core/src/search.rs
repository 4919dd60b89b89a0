//! How text is compared when people search: one folding for documents, queries and marks on a page.
//!
//! Two texts that a person takes for the same fold to the same characters. Sounds (pinyin) and synonyms stand beside
//! the folded text, never in its place.

mod aspect;
mod mark;
mod near;
mod sound;
mod vocabulary;

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

pub use aspect::{Freshness, base_database, deliveries, due, formats, level, year};
pub use mark::{Piece, mark};
pub use near::{Distance, nearest};
pub use sound::{Sounded, initials_of, is_sound, sounds, spell, syllables};
pub use vocabulary::{Vocabulary, VocabularyFault};

/// Version of everything here that an index depends on; another one means: build it again.
pub const ANALYSIS_VERSION: u32 = 2;

/// Full width and compatibility forms, case, traditional characters, spaces and invisible signs, folded.
pub fn fold(text: &str) -> String {
    let visible = text.nfkc().filter(|c| !is_invisible(*c)).flat_map(char::to_lowercase);
    let spaced = visible.map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c });
    simplify(spaced.collect()).into_owned()
}

/// Traditional characters become simplified ones, each one character: what stands where does not change.
fn simplify(text: String) -> Cow<'static, str> {
    if text.is_ascii() { Cow::Owned(text) } else { Cow::Owned(fast2s::convert(&text)) }
}

/// Signs that are there but not seen: joiners, marks of direction, the mark of byte order.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2069}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

/// The folded text without what is neither letter nor digit: how titles are compared as a whole.
pub fn bare(text: &str) -> String {
    fold(text).chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The parts of a folded query that must all match, apart where there is neither letter nor digit.
pub fn clauses(folded: &str) -> Vec<&str> {
    folded
        .split(|c: char| !(c.is_alphanumeric() || "-_.·".contains(c)))
        .map(|clause| clause.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|clause| !clause.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_person_takes_for_the_same_folds_to_the_same() {
        let same = [
            ("ＡＰＩ接口２０１６", "api接口2016"),
            ("圖書館", "图书馆"),
            ("公\u{200B}交\u{FEFF}", "公交"),
            ("停車場　資訊", "停车场 资讯"),
            ("㈱", "(株)"),
            ("乾隆", "乾隆"),
        ];
        for (text, folded) in same {
            assert_eq!(fold(text), folded, "{text}");
        }
        assert_eq!(bare("公交-站点（一）"), "公交站点一");
    }

    #[test]
    fn clauses_are_parted_by_what_is_no_letter_and_keep_names_whole() {
        assert_eq!(clauses("公交 站点，a-1 {!x} ---"), ["公交", "站点", "a-1", "x"]);
        assert!(clauses("!?… ").is_empty());
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_more(text in "\\PC{0,40}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
