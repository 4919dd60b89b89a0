//! Patterns with wildcards, compared without recursion and in bounded time.

/// A pattern: `*` stands for any characters, `?` for one, `\` takes the next one literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Plain(char),
    One,
    Any,
}

impl Pattern {
    /// Reads a pattern. Every text is one.
    pub fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Plain(chars.next().unwrap_or(c)),
                c => Piece::Plain(c),
            });
        }
        pieces.dedup_by(|a, b| *a == Piece::Any && *b == Piece::Any);
        Self(pieces)
    }

    /// Whether the whole text has this form. Costs at most the square of the text's length, whatever the pattern:
    /// only the last `*` is ever tried again.
    pub fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut piece, mut retry) = (0, 0, None);
        loop {
            let fits = match (self.0.get(piece), text.get(at)) {
                (None, None) => return true,
                (Some(Piece::Any), _) => {
                    retry = Some((at, piece + 1));
                    piece += 1;
                    continue;
                }
                (Some(Piece::One), Some(_)) => true,
                (Some(Piece::Plain(wanted)), Some(c)) => wanted == c,
                (_, None) => return false,
                (None, Some(_)) => false,
            };
            if fits {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            let Some((from, after)) = retry else { return false };
            (at, piece) = (from + 1, after);
            retry = Some((at, piece));
        }
    }
}
