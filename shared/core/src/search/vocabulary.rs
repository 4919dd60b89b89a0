//! Words that the city's operator teaches the search: synonyms, and words that a dictionary does not know.

use std::{collections::BTreeSet, sync::OnceLock};

use serde::{Deserialize, Serialize};

use super::bare;
use crate::limit;

/// Other ways to say a clause that are tried.
const VARIANTS_MAX: usize = 8;

/// What the search knows of words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vocabulary {
    /// Groups of words that mean the same.
    #[serde(default)]
    pub synonyms: Vec<Vec<String>>,
    /// Words that are one word.
    #[serde(default)]
    pub words: Vec<String>,
}

/// What is wrong with a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyFault {
    /// A group says nothing.
    #[error("第 {0} 组同义词不足两个词 / group {0} of synonyms has fewer than two words")]
    Lonely(usize),
    /// A word is empty, or longer than it may be.
    #[error(
        "“{0}”不是可用的词：需有 1 到 {max} 个字 / {0:?} is no word: it needs 1 to {max} characters",
        max = limit::WORD_CHARS_MAX
    )]
    Word(String),
    /// A word means two things.
    #[error("“{0}”出现在多个同义词组中 / {0:?} is in more than one group")]
    Twice(String),
    /// More than can be kept.
    #[error(
        "词表最多 {max} 个词，现有 {0} 个 / a vocabulary has at most {max} words, not {0}",
        max = limit::VOCABULARY_WORDS_MAX
    )]
    Large(usize),
}

impl Vocabulary {
    /// The one that comes with the program, until the operator has another.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Vocabulary> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let groups = include_str!("../../data/synonyms.csv").lines();
            let groups = groups.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
            let words = |line: &str| line.split(',').map(|word| word.trim().to_owned()).collect();
            Self { synonyms: groups.map(words).collect(), words: Vec::new() }
        })
    }

    /// Everything that is wrong with it.
    pub fn faults(&self) -> Vec<VocabularyFault> {
        let mut faults = Vec::new();
        let all = || self.synonyms.iter().flatten();
        let count = all().count() + self.words.len();
        if count > limit::VOCABULARY_WORDS_MAX {
            faults.push(VocabularyFault::Large(count));
        }
        for word in all().chain(&self.words) {
            let chars = bare(word).chars().count();
            if chars == 0 || word.chars().count() > limit::WORD_CHARS_MAX {
                faults.push(VocabularyFault::Word(
                    word.chars().take(limit::WORD_CHARS_MAX).collect(),
                ));
            }
        }
        let lonely = self.synonyms.iter().enumerate().filter(|(_, group)| group.len() < 2);
        faults.extend(lonely.map(|(at, _)| VocabularyFault::Lonely(at + 1)));
        let mut seen = BTreeSet::new();
        for word in all() {
            if !seen.insert(bare(word)) {
                faults.push(VocabularyFault::Twice(word.clone()));
            }
        }
        faults
    }

    /// Other ways to say a folded clause: the longest words in it that have synonyms, exchanged.
    pub fn variants(&self, clause: &str) -> Vec<String> {
        // The longest word first; a shorter one inside it means something else.
        let mut known: Vec<(usize, &Vec<String>, String)> = Vec::new();
        for group in &self.synonyms {
            for word in group {
                let word = bare(word);
                if let Some(at) = clause.find(&word).filter(|_| !word.is_empty()) {
                    known.push((at, group, word));
                }
            }
        }
        known.sort_by_key(|(at, _, word)| (std::cmp::Reverse(word.len()), *at));
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let mut variants = BTreeSet::new();
        for (at, group, word) in known {
            let end = at + word.len();
            if taken.iter().any(|(from, to)| at < *to && *from < end) {
                continue;
            }
            taken.push((at, end));
            for other in group.iter().map(|other| bare(other)).filter(|other| *other != word) {
                if variants.len() < VARIANTS_MAX {
                    variants.insert(format!("{}{other}{}", &clause[..at], &clause[end..]));
                }
            }
        }
        variants.remove(clause);
        variants.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(groups: &[&[&str]]) -> Vocabulary {
        let group = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Vocabulary { synonyms: groups.iter().map(group).collect(), words: Vec::new() }
    }

    #[test]
    fn the_longest_word_that_has_synonyms_is_exchanged() {
        let words = of(&[&["公交", "公共交通"], &["公交车", "公共汽车", "巴士"], &["站", "站点"]]);
        assert_eq!(words.variants("公交车线路"), ["公共汽车线路", "巴士线路"]);
        assert_eq!(words.variants("公交线路"), ["公共交通线路"]);
        assert_eq!(words.variants("地铁站"), ["地铁站点"]);
        assert!(words.variants("图书馆").is_empty());
    }

    #[test]
    fn every_fault_of_a_vocabulary_is_told_at_once() {
        let faults = of(&[&["公交"], &["水", ""], &["水", "自来水"]]).faults();
        let expected = [
            VocabularyFault::Word(String::new()),
            VocabularyFault::Lonely(1),
            VocabularyFault::Twice("水".to_owned()),
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn the_vocabulary_that_comes_with_the_program_has_no_fault() {
        assert_eq!(Vocabulary::builtin().faults(), []);
        assert!(!Vocabulary::builtin().synonyms.is_empty());
    }
}
