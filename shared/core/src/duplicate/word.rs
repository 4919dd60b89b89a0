//! The words of `data/duplicate.csv`: what fills titles, what every
//! department has, and which words name which function.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

use super::Agreement;
use crate::code::table;

/// Fewer information items than this do not tell two lists apart.
pub(super) const ITEMS_TO_TELL: usize = 3;

/// The embedded words, the longest first.
struct Words {
    /// Words that say nothing about which list it is.
    fillers: Vec<Vec<char>>,
    /// Words for lists that every department has of its own.
    common: Vec<Vec<char>>,
    /// Words that tell one of a kind from the next: grades, levels of a budget, branches.
    marks: Vec<Vec<char>>,
    /// Words in names of providers and the number of the function they mean; 文旅 means two.
    functions: Vec<(Vec<char>, u8)>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let (mut fillers, mut common, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    let mut functions = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (_, row) in table::rows(include_str!("../../data/duplicate.csv")).unwrap_or_default() {
        let [Some(kind), Some(word), Some(meaning)] = [0, 1, 2].map(|cell| row.get(cell)) else {
            continue;
        };
        let word: Vec<char> = word.chars().collect();
        match kind {
            "filler" => fillers.push(word),
            "common" => common.push(word),
            "mark" => marks.push(word),
            _ => functions.push((word, number_of(&mut names, meaning))),
        }
    }
    // A stable sort: of words as long as each other the earlier line comes first.
    fillers.sort_by_key(|word| std::cmp::Reverse(word.len()));
    functions.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    Words { fillers, common, marks, functions }
});

/// The number of a function, a new one when its name is new.
fn number_of(names: &mut Vec<String>, name: &str) -> u8 {
    let number = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Width and case folded, letters and digits only.
pub(super) fn fold(text: &str) -> Vec<char> {
    text.nfkc().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The text without the words that fill titles.
pub(super) fn without_fillers(text: &[char]) -> Vec<char> {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        if let Some(word) = WORDS.fillers.iter().find(|word| text[at..].starts_with(word)) {
            at += word.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// What tells one year, batch, class or grade from the next: the numbers and letters of a text, each run
/// being one, negations, and the words for it.
pub(super) fn marks(text: &[char]) -> Vec<String> {
    let is_mark = |c: &char| c.is_ascii() || "〇零一二三四五六七八九十非不".contains(*c);
    let runs = text.chunk_by(|a, b| is_mark(a) == is_mark(b));
    let runs = runs.filter(|run| run.iter().all(is_mark)).map(|run| run.iter().collect());
    let words = WORDS.marks.iter().filter(|word| holds(text, word));
    runs.chain(words.map(|word| word.iter().collect())).collect()
}

/// Whether the text holds a word for what every department has of its own.
pub(super) fn is_common(text: &[char]) -> bool {
    WORDS.common.iter().any(|word| holds(text, word))
}

fn holds(text: &[char], word: &[char]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

/// The text without a unit of measure that ends it, e.g. 单位万元.
pub(super) fn without_unit(mut text: Vec<char>) -> Vec<char> {
    let begins = |part: &[char]| part[..2] == ['单', '位'] && "万亿元百吨".contains(part[2]);
    if let Some(at) = text.windows(3).position(begins) {
        text.truncate(at);
    }
    text
}

/// What a provider does, as far as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// Sorted numbers of the functions that the name holds.
    known: Vec<u8>,
    /// The name without its place.
    name: String,
}

impl Function {
    /// The function of a provider by its folded name without the place.
    pub(super) fn of(name: &[char]) -> Self {
        let (mut known, mut at) = (Vec::new(), 0);
        while at < name.len() {
            let begins = |(word, _): &&(Vec<char>, u8)| name[at..].starts_with(word);
            let Some((longest, _)) = WORDS.functions.iter().find(begins) else {
                at += 1;
                continue;
            };
            let meant = WORDS.functions.iter().filter(|(word, _)| word == longest);
            known.extend(meant.map(|(_, function)| *function));
            at += longest.len();
        }
        known.sort_unstable();
        known.dedup();
        Self { known, name: name.iter().collect() }
    }

    pub(super) fn agrees(&self, other: &Self) -> Agreement {
        if self.name == other.name || self.known.iter().any(|one| other.known.contains(one)) {
            Agreement::Same
        } else if self.known.is_empty() || other.known.is_empty() {
            Agreement::Unknown
        } else {
            Agreement::Different
        }
    }
}
