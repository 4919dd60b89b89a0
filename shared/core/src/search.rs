//! How text is compared when people search: one folding for documents, queries and marks on a page.
//!
//! Two texts that a person takes for the same fold to the same characters. Sounds (pinyin) and synonyms stand beside
//! the folded text, never in its place.

mod aspect;
mod mark;
mod near;
mod sound;
mod vocabulary;

use std::sync::OnceLock;

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};

pub use aspect::{Freshness, base_database, deliveries, due, formats, level, year};
pub use mark::{Piece, mark};
pub use near::{Distance, nearest};
pub use sound::{Sounded, initials_of, is_sound, sounds, spell, syllables};
pub use vocabulary::{Vocabulary, VocabularyFault};

/// Version of everything here that an index depends on; another one means: build it again.
pub const ANALYSIS_VERSION: u32 = 2;

/// Full width and compatibility forms, case, traditional characters, spaces and invisible signs, folded.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    // Most texts are folded already but for case: looking that up is far cheaper than normalising them.
    if is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        text.chars().for_each(|c| push(&mut folded, c));
    } else {
        text.nfkc().for_each(|c| push(&mut folded, c));
    }
    // A few characters are simplified by their neighbours, so one that is not simple takes the whole text with it.
    if folded.chars().any(is_traditional) { fast2s::convert(&folded) } else { folded }
}

fn push(folded: &mut String, c: char) {
    if c.is_ascii_lowercase() || ('\u{4E00}'..='\u{9FFF}').contains(&c) {
        folded.push(c);
    } else if c.is_whitespace() || c.is_control() {
        folded.push(' ');
    } else if !is_invisible(c) {
        folded.extend(c.to_lowercase());
    }
}

/// Whether a character has a simpler form.
fn is_traditional(c: char) -> bool {
    static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    let Ok(code) = u16::try_from(u32::from(c)) else { return false };
    let table = TABLE.get_or_init(|| {
        let mut table = vec![0_u64; 1 << 10];
        for code in 0x3000..=u16::MAX {
            let Some(c) = char::from_u32(u32::from(code)) else { continue };
            let mut buffer = [0; 4];
            let one: &str = c.encode_utf8(&mut buffer);
            if fast2s::convert(one) != *one {
                table[usize::from(code >> 6)] |= 1 << (code & 63);
            }
        }
        table
    });
    table[usize::from(code >> 6)] & (1 << (code & 63)) != 0
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
