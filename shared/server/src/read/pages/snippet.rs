//! The part of a text that a query is about, short enough for a list.

use liandong_core::search::Piece;

/// Length of a snippet, characters.
const SNIPPET_CHARS: usize = 140;
/// Text shown before the first mark, characters.
const LEAD_CHARS: usize = 24;

/// Cuts marked pieces to the part around the first mark.
pub(crate) fn snippet(pieces: &[Piece]) -> Vec<Piece> {
    let length = |pieces: &[Piece]| pieces.iter().map(|piece| piece.text.chars().count()).sum();
    let whole: usize = length(pieces);
    let marked = pieces.iter().position(|piece| piece.hit).unwrap_or(0);
    let before: usize = length(&pieces[..marked]);
    let start = before.saturating_sub(LEAD_CHARS).min(whole.saturating_sub(SNIPPET_CHARS));
    let end = (start + SNIPPET_CHARS).min(whole);
    let dots = || Piece { text: "…".to_owned(), hit: false };
    let mut cut: Vec<Piece> = Vec::new();
    if start > 0 {
        cut.push(dots());
    }
    let mut at = 0;
    for piece in pieces {
        let chars = piece.text.chars().count();
        let (from, to) = (start.max(at) - at, end.min(at + chars).saturating_sub(at));
        if from < to {
            let text = piece.text.chars().skip(from).take(to - from).collect();
            cut.push(Piece { text, hit: piece.hit });
        }
        at += chars;
    }
    if end < whole {
        cut.push(dots());
    }
    cut
}

#[cfg(test)]
mod tests {
    use liandong_core::search;
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, word: &str) -> String {
        let pieces = search::mark(text, &[word.to_owned()]);
        let show = |piece: &Piece| {
            if piece.hit { format!("[{}]", piece.text) } else { piece.text.clone() }
        };
        snippet(&pieces).iter().map(show).collect()
    }

    #[test]
    fn a_snippet_is_short_and_holds_the_first_mark() {
        let text = format!("{}停车{}停车", "前".repeat(300), "后".repeat(300));
        let shown = shown(&text, "停车");
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.contains("[停车]"));
        assert!(shown.chars().count() <= SNIPPET_CHARS + 4, "{shown}");
    }

    #[test]
    fn a_short_text_stays_whole() {
        assert_eq!(shown("全区停车场的位置", "停车"), "全区[停车]场的位置");
        assert_eq!(shown("", "停车"), "");
    }

    proptest! {
        #[test]
        fn a_snippet_is_a_part_of_the_text(text in "[停车场ab]{0,400}") {
            let shown = snippet(&search::mark(&text, &["场".to_owned()]));
            let shown: String = shown.iter().map(|piece| piece.text.as_str()).collect();
            prop_assert!(text.contains(shown.trim_matches('…')), "{shown}");
        }
    }
}
