//! The part of a text that is nearest to what somebody typed.

use super::{fold, spell};

/// How far a part may be from what was typed, characters.
fn tolerance(chars: usize) -> usize {
    match chars {
        0 | 1 => 0,
        2..=4 => 1,
        _ => 2,
    }
}

/// How far a part is from what was typed: first by sound, then by characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance {
    /// Characters that differ; one that only sounds the same counts half.
    pub halves: usize,
}

/// The part of a text that is nearest to what was typed (both folded), if one is near enough.
pub fn nearest(text: &str, typed: &str) -> Option<(Distance, String)> {
    let typed: Vec<char> = fold(typed).chars().filter(|c| c.is_alphanumeric()).collect();
    let text: Vec<char> = fold(text).chars().filter(|c| c.is_alphanumeric()).collect();
    let allowed = tolerance(typed.len());
    if allowed == 0 || text.windows(typed.len()).any(|part| part == typed) {
        return None;
    }
    let mut best: Option<(Distance, usize, String)> = None;
    for size in typed.len() - 1..=typed.len() + 1 {
        for part in text.windows(size.max(1)) {
            let halves = distance(&typed, part);
            if halves == 0 || halves > allowed * 2 {
                continue;
            }
            // Of parts as near as each other the one of the same length is meant.
            let rank = (Distance { halves }, size.abs_diff(typed.len()));
            if best.as_ref().is_none_or(|(distance, off, _)| rank < (*distance, *off)) {
                best = Some((rank.0, rank.1, part.iter().collect()));
            }
        }
    }
    best.map(|(distance, _, part)| (distance, part))
}

/// Edits between two texts, in halves; neighbours that changed places are one edit.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (at, row) in rows.iter_mut().enumerate() {
        row[0] = at * 2;
    }
    for (at, cell) in rows[0].iter_mut().enumerate() {
        *cell = at * 2;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let exchange = rows[i - 1][j - 1] + cost(a[i - 1], b[j - 1]);
            let mut least = exchange.min(rows[i - 1][j] + 2).min(rows[i][j - 1] + 2);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 2);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

fn cost(a: char, b: char) -> usize {
    if a == b {
        0
    } else if !a.is_ascii() && spell(&a.to_string()) == spell(&b.to_string()) {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_part_is_found_by_sound_and_by_characters() {
        let rows = [
            ("上海图书馆分馆", "图书管", Some("图书馆")),
            ("公交站点信息", "公交占点", Some("公交站点")),
            ("公共体育设施", "公共体设施", Some("公共体育设施")),
            ("农贸市场", "农市贸场", Some("农贸市场")),
            ("公交站点信息", "公交站点", None),
            ("图书馆", "博物", None),
            ("公交", "水", None),
            ("社区矫正", "社区矫矫正", Some("社区矫正")),
        ];
        for (text, typed, expected) in rows {
            let found = nearest(text, typed).map(|(_, part)| part);
            assert_eq!(found.as_deref(), expected, "{typed} in {text}");
        }
    }

    #[test]
    fn what_sounds_the_same_is_nearer_than_what_does_not() {
        let heard = nearest("图书馆", "图书管").map(|(distance, _)| distance);
        let other = nearest("图书馆", "图书店").map(|(distance, _)| distance);
        assert!(heard < other, "{heard:?} {other:?}");
    }
}
