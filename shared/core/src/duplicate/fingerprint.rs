//! What is compared of a record.

use std::collections::BTreeSet;

use super::TITLE_TELLING_CHARS;
use super::place::{Places, Territory};
use super::word::{self, Function};
use crate::id::Hash;
use crate::limit;
use crate::record::Record;

/// What is compared of a record. Two are comparable when the same [`Places`] made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash of the whole title, folded.
    pub(super) wording: u64,
    /// 2-grams of the title without places and filling words, a sorted set.
    pub(super) grams: Vec<u64>,
    /// Whether every department has a list of this title.
    pub(super) common: bool,
    /// Numbers, grades and negations in the title and in an abstract of one line.
    pub(super) marks: BTreeSet<String>,
    /// 2-grams of an abstract of one line as of a title.
    pub(super) summary: Option<Vec<u64>>,
    /// Hashes of the names of the information items, a sorted set.
    pub(super) items: Vec<u64>,
    pub(super) territory: Territory,
    pub(super) function: Function,
    pub(super) theme: Option<u64>,
}

impl Fingerprint {
    /// The fingerprint of a record that the district of this name publishes.
    ///
    /// Portals that have no list of information items put their names among the keywords, so the
    /// keywords stand in for a list that is empty, without the words that say where the entry stands;
    /// or, without keywords, the parts of an abstract that lists.
    pub fn new(record: &Record, district: &str, places: &Places) -> Self {
        let chars = record.title.chars().take(limit::DUPLICATE_TITLE_CHARS_MAX);
        let wording = word::fold(&chars.collect::<String>());
        let (keeper, provider) =
            places.take_from_provider(&word::fold(&record.provider.name), district);
        let (named, rest) = places.take_from_title(&wording, &keeper);
        let common = rest.len() < TITLE_TELLING_CHARS || word::is_common(&rest);
        let core = core_of(rest, &wording);
        let summary = one_line(&record.summary).map(|line| {
            let (_, rest) = places.take_from_title(&line, &keeper);
            core_of(rest, &line)
        });
        Self {
            common,
            grams: grams_of(&core),
            marks: [Some(&core), summary.as_ref()]
                .into_iter()
                .flatten()
                .flat_map(|text| word::marks(text))
                .collect(),
            summary: summary.map(|line| grams_of(&line)),
            items: items(record, &wording),
            territory: if named.is_empty() {
                Territory::of([keeper])
            } else {
                Territory::of(named)
            },
            function: Function::of(&provider),
            theme: record.theme.as_deref().map(|theme| hash(&word::fold(theme))),
            wording: hash(&wording),
        }
    }
}

/// A text without filling words and unit, as far as something is left then.
fn core_of(rest: Vec<char>, whole: &[char]) -> Vec<char> {
    let rest = word::without_unit(rest);
    let core = [word::without_fillers(&rest), rest].into_iter().find(|core| core.len() > 1);
    core.unwrap_or_else(|| whole.to_vec())
}

/// The parts of a text that lists several things.
fn parts(text: &str) -> impl Iterator<Item = Vec<char>> {
    text.split(['、', '，', ',', '；', ';']).map(word::fold).filter(|part| !part.is_empty())
}

/// An abstract that says in a line what the title says, folded; not one that lists or explains.
fn one_line(summary: &str) -> Option<Vec<char>> {
    let line = word::fold(summary);
    let lists = parts(summary).nth(word::ITEMS_TO_TELL - 1).is_some();
    (line.len() > 1 && line.len() <= limit::DUPLICATE_SUMMARY_CHARS_MAX && !lists).then_some(line)
}

fn items(record: &Record, title: &[char]) -> Vec<u64> {
    let names: BTreeSet<Vec<char>> = if !record.items.is_empty() {
        record.items.iter().map(|item| word::fold(&item.name)).collect()
    } else if record.keywords.is_empty() {
        parts(&record.summary).collect()
    } else {
        let place = [Some(&record.provider.name), record.theme.as_ref(), record.industry.as_ref()];
        let place: Vec<Vec<char>> =
            place.into_iter().flatten().map(|text| word::fold(text)).collect();
        let says_where = |name: &Vec<char>| {
            place.contains(name) || title.windows(name.len()).any(|part| part == name.as_slice())
        };
        let words = record.keywords.iter().map(|word| word::fold(word));
        words.filter(|name| !name.is_empty() && !says_where(name)).collect()
    };
    let names = names.iter().filter(|name| !name.is_empty()).map(|name| hash(name));
    sorted(names.take(limit::DUPLICATE_ITEMS_MAX).collect())
}

/// The pairs of neighbours in a text, or its one character.
fn grams_of(text: &[char]) -> Vec<u64> {
    let gram = |part: &[char]| part.iter().fold(0, |gram, c| gram << 32 | u64::from(u32::from(*c)));
    sorted(if text.len() > 1 { text.windows(2).map(gram).collect() } else { vec![gram(text)] })
}

fn sorted(mut set: Vec<u64>) -> Vec<u64> {
    set.sort_unstable();
    set.dedup();
    set
}

/// A text as a number, the same on every machine.
pub(super) fn hash(text: &[char]) -> u64 {
    let text: String = text.iter().collect();
    let mut head = [0; 8];
    head.copy_from_slice(&Hash::of(&[text.as_bytes()]).as_bytes()[..8]);
    u64::from_be_bytes(head)
}
