//! The piece of a text that a query is about, with its words marked.
//!
//! The result is plain pieces; the template escapes them, so nothing in a record becomes markup.

/// Length of a snippet, characters.
const SNIPPET_CHARS: usize = 140;
/// Text shown before the first match, characters.
const LEAD_CHARS: usize = 24;

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    /// It is what was searched for.
    pub(crate) marked: bool,
}

/// The whole text with the query's words marked.
pub(crate) fn marked(text: &str, query: &str) -> Vec<Span> {
    let chars: Vec<char> = text.chars().collect();
    let marks = marks(&chars, query);
    spans(&chars, &marks)
}

/// A piece of the text around the first match, with the query's words marked.
pub(crate) fn snippet(text: &str, query: &str) -> Vec<Span> {
    // Line ends show as spaces anyway.
    let chars: Vec<char> = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect();
    let marks = marks(&chars, query);
    let first = marks.iter().position(|mark| *mark).unwrap_or(0);
    let last_start = chars.len().saturating_sub(SNIPPET_CHARS);
    let start = first.saturating_sub(LEAD_CHARS).min(last_start);
    let end = (start + SNIPPET_CHARS).min(chars.len());
    let mut spans = spans(&chars[start..end], &marks[start..end]);
    let dots = || Span { text: "…".to_owned(), marked: false };
    if start > 0 {
        spans.insert(0, dots());
    }
    if end < chars.len() {
        spans.push(dots());
    }
    spans
}

/// Which characters belong to a word of the query.
fn marks(chars: &[char], query: &str) -> Vec<bool> {
    let mut marks = vec![false; chars.len()];
    let folded: Vec<char> = chars.iter().map(|c| fold(*c)).collect();
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let word: Vec<char> = word.chars().map(fold).collect();
        if !mark(&folded, &word, &mut marks) && word.iter().any(|c| !c.is_ascii()) {
            // Chinese has no blanks: what was typed may be several words that stand apart here.
            for pair in word.windows(2) {
                mark(&folded, pair, &mut marks);
            }
        }
    }
    marks
}

fn mark(text: &[char], word: &[char], marks: &mut [bool]) -> bool {
    let mut found = false;
    for (at, window) in text.windows(word.len().max(1)).enumerate() {
        if window == word {
            found = true;
            marks[at..at + word.len()].fill(true);
        }
    }
    found
}

/// One character for one, so that positions stay.
fn fold(c: char) -> char {
    let half = match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        c => c,
    };
    half.to_lowercase().next().unwrap_or(half)
}

fn spans(chars: &[char], marks: &[bool]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (c, marked) in chars.iter().zip(marks) {
        match spans.last_mut() {
            Some(last) if last.marked == *marked => last.text.push(*c),
            _ => spans.push(Span { text: c.to_string(), marked: *marked }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spans: &[Span]) -> String {
        let piece =
            |span: &Span| if span.marked { format!("[{}]", span.text) } else { span.text.clone() };
        spans.iter().map(piece).collect()
    }

    #[test]
    fn words_of_the_query_are_marked() {
        let rows = [
            ("公共停车场信息", "停车场", "公共[停车场]信息"),
            ("浦东停车收费与场库", "停车场库", "浦东[停车]收费与[场库]"),
            ("Open DATA ａｐｉ", "data API", "Open [DATA] [ａｐｉ]"),
            ("a<script>b", "script", "a<[script]>b"),
            ("没有", "停车", "没有"),
            ("", "停车", ""),
            ("文字", "", "文字"),
        ];
        for (text, query, expected) in rows {
            assert_eq!(show(&marked(text, query)), expected);
        }
    }

    #[test]
    fn a_snippet_is_short_and_holds_the_match() {
        let text = format!("{}停车{}", "前".repeat(300), "后".repeat(300));
        let shown = show(&snippet(&text, "停车"));
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.contains("[停车]"));
        assert!(shown.chars().count() <= SNIPPET_CHARS + 4);
    }
}
