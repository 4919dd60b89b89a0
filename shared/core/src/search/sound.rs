//! How characters sound: pinyin in full and by first letters, every reading of a character.

use std::{collections::BTreeSet, sync::OnceLock};

use pinyin::ToPinyinMulti as _;

/// Readings of one character that count; hardly any has more in names.
const READINGS_MAX: usize = 3;
/// Ways to read a run of letters as syllables that are tried.
const SPELLINGS_MAX: usize = 4;
/// Longest run of letters that is read as syllables.
const LETTERS_MAX: usize = 60;

/// A character that sounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sounded {
    /// Its place in the text, counted in characters.
    pub at: usize,
    /// Its readings, the usual one first.
    pub readings: &'static [&'static str],
}

/// The readings of every Han character of a text.
pub fn sounds(text: &str) -> Vec<Sounded> {
    let sounded = |(at, c): (usize, char)| {
        let readings = readings(c);
        (!readings.is_empty()).then_some(Sounded { at, readings })
    };
    text.chars().enumerate().filter_map(sounded).collect()
}

/// Where the characters stand that sound; only those of the rarest names stand beyond. Read once a process.
const HAN: std::ops::RangeInclusive<char> = '\u{3007}'..='\u{9FFF}';

fn readings(c: char) -> &'static [&'static str] {
    static TABLE: OnceLock<Vec<Vec<&'static str>>> = OnceLock::new();
    if !HAN.contains(&c) {
        return &[];
    }
    let table = TABLE.get_or_init(|| HAN.map(look_up).collect());
    table.get(c as usize - *HAN.start() as usize).map_or(&[], Vec::as_slice)
}

fn look_up(c: char) -> Vec<&'static str> {
    let mut readings = Vec::new();
    for reading in c.to_pinyin_multi().into_iter().flatten() {
        // A keyboard has no ü: people type v, or u.
        let typed: &[&'static str] = match reading.plain() {
            "lü" => &["lv", "lu"],
            "nü" => &["nv", "nu"],
            "lüe" => &["lve", "lue"],
            "nüe" => &["nve", "nue"],
            plain => &[plain],
        };
        for typed in typed {
            if !readings.contains(typed) && readings.len() < READINGS_MAX {
                readings.push(typed);
            }
        }
    }
    readings
}

/// The first letters of a text by the usual readings; letters and digits stand for themselves.
pub fn initials_of(text: &str) -> String {
    letters(text, |reading| &reading[..1])
}

/// A text by its usual readings in full; letters and digits stand for themselves.
pub fn spell(text: &str) -> String {
    letters(text, |reading| reading)
}

fn letters(text: &str, part: impl Fn(&'static str) -> &'static str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match readings(c).first() {
            Some(reading) => out.push_str(part(reading)),
            None if c.is_alphanumeric() => out.extend(c.to_lowercase()),
            None => {}
        }
    }
    out
}

/// All syllables that characters are read by.
fn known() -> &'static BTreeSet<&'static str> {
    static KNOWN: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    KNOWN.get_or_init(|| HAN.flat_map(readings).copied().collect())
}

/// Whether a clause may be meant as sounds.
pub fn is_sound(clause: &str) -> bool {
    clause.len() >= 2
        && clause.len() <= LETTERS_MAX
        && clause.bytes().all(|b| b.is_ascii_lowercase())
}

/// The ways to read letters as whole syllables, those with the fewest first.
pub fn syllables(letters: &str) -> Vec<Vec<&str>> {
    if !is_sound(letters) {
        return Vec::new();
    }
    // From each place the fewest syllables to the end, so that the search never goes where no way leads.
    let size = letters.len();
    let mut fewest: Vec<Option<usize>> = vec![None; size + 1];
    fewest[size] = Some(0);
    for from in (0..size).rev() {
        let steps =
            (from + 1..=size.min(from + 6)).filter(|to| known().contains(&letters[from..*to]));
        fewest[from] = steps.filter_map(|to| fewest[to]).min().map(|steps| steps + 1);
    }
    let (mut found, mut open) = (Vec::new(), vec![(0, Vec::new())]);
    while let Some((from, way)) = open.pop() {
        if from == size {
            found.push(way);
            if found.len() == SPELLINGS_MAX {
                break;
            }
            continue;
        }
        let mut steps: Vec<(usize, usize)> = (from + 1..=size.min(from + 6))
            .filter(|to| known().contains(&letters[from..*to]))
            .filter_map(|to| fewest[to].map(|rest| (rest, to)))
            .collect();
        // The best one last, because it is taken first.
        steps.sort_unstable_by(|a, b| b.cmp(a));
        for (_, to) in steps {
            let mut next: Vec<&str> = way.clone();
            next.push(&letters[from..to]);
            open.push((to, next));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_spelled_and_shortened() {
        assert_eq!(spell("公共交通"), "gonggongjiaotong");
        assert_eq!(initials_of("公共交通"), "ggjt");
        assert_eq!(initials_of("Wi-Fi 站点2"), "wifizd2");
        assert!(sounds("银行")[1].readings.contains(&"hang"), "{:?}", sounds("银行"));
        assert_eq!(spell("旅游"), "lvyou");
        assert!(sounds("abc 12").is_empty());
    }

    #[test]
    fn letters_are_read_as_syllables_in_every_likely_way() {
        assert_eq!(syllables("gonggongjiaotong")[0], ["gong", "gong", "jiao", "tong"]);
        let xian = syllables("xian");
        assert!(xian.contains(&vec!["xian"]) && xian.contains(&vec!["xi", "an"]), "{xian:?}");
        assert!(syllables("ggjt").is_empty());
        assert!(syllables("").is_empty());
        assert!(syllables(&"a".repeat(1000)).is_empty());
        assert!(syllables(&"an".repeat(30)).len() <= SPELLINGS_MAX);
    }
}
