//! `liandong-hub vocabulary …`: what the search knows of words, as the operator teaches it.
//!
//! It is a part of the city's policy, so every node searches with the same words as soon as it has followed.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Subcommand;
use liandong_core::{
    city::Policy,
    search::{Vocabulary, bare},
};
use liandong_server::{
    admin::AdminError,
    command::{answer, read, read_text},
    output::{Exit, Explain as _, Failure, Output},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;

/// The command line's part.
#[derive(Debug, Subcommand)]
pub(crate) enum Sub {
    /// 查看词表 / The vocabulary in force
    Show,
    /// 以文件替换词表：JSON，或每行一组同义词、以逗号分开 / Replace it by a file: JSON, or a group of synonyms a line
    Set {
        /// 文件 / File
        file: PathBuf,
    },
    /// 增加一组同义词，与已有的组合并，如 公交,公共汽车 / Words that mean the same; joins the groups they are in
    AddSynonyms {
        /// 以逗号分开 / Commas between
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// 增加专用词，不再被切开 / Words that are one word
    Words {
        /// 词 / Words
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// 去掉这些词 / Take words out
    Remove {
        /// 词 / Words
        #[arg(required = true)]
        words: Vec<String>,
    },
}

/// What is asked of the process that serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VocabularyCommand {
    /// The vocabulary in force.
    Show,
    /// Another one in its place.
    Set(Vocabulary),
    /// A group of words that mean the same.
    AddSynonyms(Vec<String>),
    /// Words that are one word.
    Words(Vec<String>),
    /// Words to be taken out.
    Remove(Vec<String>),
}

impl Sub {
    /// Reads what it names.
    pub(crate) fn command(self) -> Result<VocabularyCommand, Failure> {
        let parted = |words: Vec<String>| words.iter().flat_map(|given| parts(given)).collect();
        Ok(match self {
            Self::Show => VocabularyCommand::Show,
            Self::AddSynonyms { words } => VocabularyCommand::AddSynonyms(parted(words)),
            Self::Words { words } => VocabularyCommand::Words(parted(words)),
            Self::Remove { words } => VocabularyCommand::Remove(parted(words)),
            Self::Set { file } => VocabularyCommand::Set(parse(&read_text(&file)?)?),
        })
    }
}

/// Words with commas between, of either width.
fn parts(text: &str) -> Vec<String> {
    let words = text.split([',', '，', '、']).map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// A vocabulary as JSON, or as lines: several words are synonyms, one is a word of its own, `#` begins a remark.
fn parse(text: &str) -> Result<Vocabulary, Failure> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| {
            let (zh, en) =
                (format!("词表不是有效的 JSON：{error}"), format!("not valid JSON: {error}"));
            Failure::new("not_json", Exit::Validation, zh, en)
        });
    }
    let mut vocabulary = Vocabulary::default();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match parts(line.trim_start_matches('\u{FEFF}')) {
            words if words.len() > 1 => vocabulary.synonyms.push(words),
            words => vocabulary.words.extend(words),
        }
    }
    Ok(vocabulary)
}

fn invalid(problems: &[String]) -> Failure {
    let text = problems.join("\n");
    let of = |pick: fn(&str) -> &str| {
        problems.iter().map(|line| pick(line)).collect::<Vec<_>>().join("; ")
    };
    let zh = of(|line| line.split_once(" / ").map_or(line, |(zh, _)| zh));
    let en = of(|line| line.split_once(" / ").map_or(line, |(_, en)| en));
    Failure::new("bad_vocabulary", Exit::Validation, zh, en).detail(json!(text))
}

/// The vocabulary after a command.
fn changed(mut vocabulary: Vocabulary, command: VocabularyCommand) -> Result<Vocabulary, Failure> {
    let same = |a: &str, b: &str| bare(a) == bare(b);
    match command {
        VocabularyCommand::Show => {}
        VocabularyCommand::Set(other) => vocabulary = other,
        VocabularyCommand::AddSynonyms(words) => {
            let meant = |group: &Vec<String>| {
                group.iter().any(|known| words.iter().any(|word| same(known, word)))
            };
            // Whoever says that two words mean the same says it of the groups that they are in.
            let (joined, mut others): (Vec<_>, Vec<_>) =
                vocabulary.synonyms.into_iter().partition(meant);
            let mut group: Vec<String> = Vec::new();
            for word in joined.into_iter().flatten().chain(words) {
                if !group.iter().any(|known| same(known, &word)) {
                    group.push(word);
                }
            }
            others.push(group);
            vocabulary.synonyms = others;
        }
        VocabularyCommand::Words(words) => {
            for word in words {
                if !vocabulary.words.iter().any(|known| same(known, &word)) {
                    vocabulary.words.push(word);
                }
            }
        }
        VocabularyCommand::Remove(words) => {
            let all = vocabulary.synonyms.iter().flatten().chain(&vocabulary.words);
            let known: BTreeSet<String> = all.map(|word| bare(word)).collect();
            let unknown = words.iter().filter(|word| !known.contains(&bare(word)));
            let unknown: Vec<String> = unknown
                .map(|word| format!("词表中没有“{word}” / {word:?} is not in the vocabulary"))
                .collect();
            if !unknown.is_empty() {
                return Err(invalid(&unknown));
            }
            let stays = |known: &String| !words.iter().any(|word| same(known, word));
            vocabulary.words.retain(stays);
            for group in &mut vocabulary.synonyms {
                group.retain(stays);
            }
            vocabulary.synonyms.retain(|group| group.len() > 1);
        }
    }
    let faults: Vec<String> = vocabulary.faults().iter().map(ToString::to_string).collect();
    if faults.is_empty() { Ok(vocabulary) } else { Err(invalid(&faults)) }
}

impl App {
    /// Runs a command about the city's vocabulary.
    ///
    /// # Errors
    /// Everything that is wrong with the words; nothing would change; `Write`.
    pub(crate) async fn vocabulary(&self, command: VocabularyCommand) -> Result<Value, AdminError> {
        if !matches!(command, VocabularyCommand::Show) {
            let known = self.city().policy.words().clone();
            let vocabulary = Some(changed(known, command)?);
            let policy = Policy { vocabulary, ..Policy::default() };
            let decided = self.decide("cli", |city| Ok(city.set_policy(&policy)?)).await;
            decided.map_err(|error| error.explain())?;
        }
        answer(self.city().policy.words())
    }
}

/// Prints a vocabulary for people, as a file for `set` has it.
pub(crate) fn show(value: Value, output: Output) -> Result<(), Failure> {
    let vocabulary: Vocabulary = read(value)?;
    let (groups, words) = (vocabulary.synonyms.len(), vocabulary.words.len());
    output.line(&format!("# {groups} 组同义词，{words} 个专用词 / groups of synonyms, words"));
    for group in &vocabulary.synonyms {
        output.line(&group.join(","));
    }
    for word in &vocabulary.words {
        output.line(word);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Vocabulary {
        parse(lines).unwrap()
    }

    #[test]
    fn a_file_is_lines_of_synonyms_and_words_or_json() {
        let lines = of("# 交通\n公交,公共汽车，巴士\n一网通办\n\n");
        assert_eq!(lines.synonyms, [["公交", "公共汽车", "巴士"]]);
        assert_eq!(lines.words, ["一网通办"]);
        assert_eq!(parse(&serde_json::to_string(&lines).unwrap()).unwrap(), lines);
        assert_eq!(parse("{").unwrap_err().exit(), Exit::Validation);
    }

    #[test]
    fn a_command_changes_what_it_names_and_no_more() {
        let add = |words: &str| VocabularyCommand::AddSynonyms(parts(words));
        let remove = |words: &str| VocabularyCommand::Remove(parts(words));
        let rows = [
            ("甲,乙", add("丙,丁"), "甲,乙\n丙,丁"),
            ("甲,乙\n丙,丁", add("乙,丙,戊"), "甲,乙,丙,丁,戊"),
            ("甲,乙", VocabularyCommand::Words(parts("己,己")), "甲,乙\n己"),
            ("甲,乙,丙\n丁,戊\n己", remove("乙,丁,己"), "甲,丙"),
            ("甲,乙", VocabularyCommand::Set(of("丙,丁")), "丙,丁"),
        ];
        for (before, command, after) in rows {
            assert_eq!(changed(of(before), command.clone()).unwrap(), of(after), "{command:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = VocabularyCommand::Set(Vocabulary {
            synonyms: vec![vec!["水".to_owned()], vec!["路".to_owned(), "水".to_owned()]],
            words: vec!["！".to_owned()],
        });
        let told = changed(Vocabulary::default(), wrong).unwrap_err();
        assert_eq!((told.exit(), told.message_zh.matches('；').count()), (Exit::Validation, 0));
        assert_eq!(told.message_en.matches("; ").count(), 2, "{told:?}");
        let told = changed(of("甲,乙"), VocabularyCommand::Remove(parts("丙,丁"))).unwrap_err();
        assert!(told.message_zh.contains('丙') && told.message_zh.contains('丁'), "{told:?}");
    }
}
