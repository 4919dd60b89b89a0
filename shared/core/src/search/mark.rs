//! Which parts of a text a query met, for people: pieces of text, never markup.

use unicode_normalization::UnicodeNormalization as _;

use super::fold;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Piece {
    /// The text as it was written.
    pub text: String,
    /// Whether the query met it.
    pub hit: bool,
}

/// Cuts a text into pieces that the terms (folded) meet and pieces between them. Together they are the text.
pub fn mark(text: &str, terms: &[String]) -> Vec<Piece> {
    // For each folded character the written one that it comes from.
    let written: Vec<char> = text.chars().collect();
    // Folded as a whole, because a few characters are folded by their neighbours.
    let mut folded: Vec<char> = fold(text).chars().collect();
    let mut origin: Vec<usize> = (0..written.len()).collect();
    let each_for_one = folded.len() == written.len() && written.iter().all(|c| is_plain(*c));
    if !each_for_one {
        (folded, origin) = one_by_one(&written);
    }
    let mut hit = vec![false; written.len()];
    for term in terms {
        let term: Vec<char> = term.chars().collect();
        if term.is_empty() {
            continue;
        }
        for from in 0..(folded.len() + 1).saturating_sub(term.len()) {
            if folded[from..from + term.len()] == term[..] {
                for at in &origin[from..from + term.len()] {
                    hit[*at] = true;
                }
            }
        }
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for (c, hit) in written.into_iter().zip(hit) {
        match pieces.last_mut() {
            Some(last) if last.hit == hit => last.text.push(c),
            _ => pieces.push(Piece { text: c.to_string(), hit }),
        }
    }
    pieces
}

/// Whether a character folds to one, whatever stands beside it.
fn is_plain(c: char) -> bool {
    c.is_ascii()
        || ('\u{3400}'..='\u{9FFF}').contains(&c)
        || "，。、：；（）《》“”‘’？！—…·".contains(c)
}

/// Folds character by character: each folded one with the written one that it comes from.
fn one_by_one(written: &[char]) -> (Vec<char>, Vec<usize>) {
    let (mut folded, mut origin) = (Vec::new(), Vec::new());
    for (at, c) in written.iter().enumerate() {
        let one: String = std::iter::once(*c).nfkc().collect();
        for c in fold(&one).chars() {
            folded.push(c);
            origin.push(at);
        }
    }
    (folded, origin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits(text: &str, terms: &[&str]) -> Vec<String> {
        let terms: Vec<String> = terms.iter().map(|term| (*term).to_owned()).collect();
        mark(text, &terms).into_iter().filter(|piece| piece.hit).map(|piece| piece.text).collect()
    }

    #[test]
    fn marks_stand_where_the_written_text_was_met() {
        assert_eq!(hits("公交站點（ＡＰＩ）", &["站点", "api"]), ["站點", "ＡＰＩ"]);
        assert_eq!(hits("公公交", &["公交"]), ["公交"]);
        assert_eq!(hits("<b>公交</b>", &["公交"]), ["公交"]);
        assert!(hits("公交", &["", "地铁站"]).is_empty());
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text(text in "\\PC{0,30}", term in "\\PC{0,3}") {
            let pieces = mark(&text, &[fold(&term)]);
            let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            prop_assert_eq!(whole, text);
        }
    }
}
