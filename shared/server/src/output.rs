//! What people see in a terminal: the only module that prints.
//!
//! Results go to stdout, everything about them (errors, progress) to stderr, so that a script can
//! read the one and a person the other. A failure says what happened and what to do, in Chinese and
//! then in English.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, TableComponent, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed.
    Error = 1,
    /// The command line was not understood.
    Usage = 2,
    /// The data was refused.
    Validation = 3,
    /// Something else changed in the meantime, or a decision by a person is needed.
    Conflict = 4,
    /// The other side could not be reached.
    Unreachable = 5,
}

impl Exit {
    /// The number a shell sees.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// From the number a shell sees. An unknown number is an error.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Ok,
            2 => Self::Usage,
            3 => Self::Validation,
            4 => Self::Conflict,
            5 => Self::Unreachable,
            _ => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// What went wrong and what to do about it, for a person and for a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message_en}")]
pub struct Failure {
    /// Stable name of the case, in English, e.g. `unreachable`.
    pub code: String,
    /// The exit status, see [`Exit`].
    pub exit: u8,
    /// What happened, in Chinese.
    pub message_zh: String,
    /// What happened, in English.
    pub message_en: String,
    /// What to do, in Chinese. May be empty.
    #[serde(default)]
    pub remedy_zh: String,
    /// What to do, in English. May be empty.
    #[serde(default)]
    pub remedy_en: String,
    /// Anything a program may want to know, e.g. all faults of a file.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl Failure {
    /// A failure without remedy and detail.
    pub fn new(code: &str, exit: Exit, zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            exit: exit.number(),
            message_zh: zh.into(),
            message_en: en.into(),
            remedy_zh: String::new(),
            remedy_en: String::new(),
            detail: Value::Null,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, zh: impl Into<String>, en: impl Into<String>) -> Self {
        self.remedy_zh = zh.into();
        self.remedy_en = en.into();
        self
    }

    /// Adds what a program may want to know.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The exit status.
    pub fn exit(&self) -> Exit {
        Exit::from_number(self.exit)
    }
}

/// An error that can be told to a person.
pub trait Explain {
    /// The error in both languages, with code and remedy.
    fn explain(&self) -> Failure;
}

impl Explain for Failure {
    fn explain(&self) -> Failure {
        self.clone()
    }
}

/// Where a command's answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    colour: bool,
}

impl Output {
    /// `json` is the command's `--json` flag.
    pub fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: !no_colour && std::io::stderr().is_terminal() }
    }

    /// Whether answers are for programs.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// One line for people. Says nothing in JSON mode.
    pub fn line(self, text: &str) {
        if !self.json {
            put(std::io::stdout(), &format!("{text}\n"));
        }
    }

    /// A remark for people, on stderr so that it never mixes with a result. Says nothing in JSON
    /// mode.
    pub fn note(self, zh: &str, en: &str) {
        if !self.json {
            put(std::io::stderr(), &format!("{zh}\n{en}\n"));
        }
    }

    /// A table for people. Says nothing in JSON mode: give the same facts to [`Self::json`].
    pub fn table(self, header: &[&str], rows: &[Vec<String>]) {
        if !self.json {
            let width = terminal_width();
            put(std::io::stdout(), &format!("{}\n", table_text(header, rows, width)));
        }
    }

    /// A document for programs. Printed in both modes: a command calls either this or the ones for
    /// people.
    pub fn json<T: Serialize>(self, document: &T) {
        match serde_json::to_string_pretty(document) {
            Ok(text) => put(std::io::stdout(), &format!("{text}\n")),
            Err(error) => self.failure(&Failure::new(
                "not_serializable",
                Exit::Error,
                format!("结果无法表示为 JSON：{error}"),
                format!("the result cannot be written as JSON: {error}"),
            )),
        }
    }

    /// Tells an error on stderr and gives the status to exit with.
    pub fn error(self, error: &impl Explain) -> Exit {
        let failure = error.explain();
        self.failure(&failure);
        failure.exit()
    }

    fn failure(self, failure: &Failure) {
        let text = if self.json {
            format!("{}\n", serde_json::json!({ "error": failure }))
        } else {
            failure_text(failure, self.colour)
        };
        put(std::io::stderr(), &text);
    }

    /// A progress bar on stderr. Invisible in JSON mode and where stderr is no terminal.
    pub fn progress(self, what: &str, total: u64) -> Bar {
        let hidden = self.json || !std::io::stderr().is_terminal();
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let colour = if self.colour { "{bar:30.cyan}" } else { "{bar:30}" };
        if let Ok(style) = ProgressStyle::with_template(&format!(
            "{{msg}} {colour} {{human_pos}}/{{human_len}} {{per_sec}} {{eta}}"
        )) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Bar { bar }
    }
}

/// A progress bar. It goes away when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// So much is done of so much.
    pub fn set(&self, done: u64, total: u64, what: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.bar.message() != what {
            self.bar.set_message(what.to_owned());
        }
    }

    /// So much more is done.
    pub fn add(&self, more: u64) {
        self.bar.inc(more);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes and forgets: when the reader of a pipe has gone there is nobody left to tell.
fn put(mut to: impl Write, text: &str) {
    let _gone = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

fn terminal_width() -> Option<u16> {
    // Without a terminal lines are not folded, so that `grep` and `cut` see whole rows.
    if std::io::stdout().is_terminal() { Table::new().width() } else { None }
}

/// A table whose columns line up with Chinese text in them, as wide as its content or as the
/// terminal.
pub fn table_text(header: &[&str], rows: &[Vec<String>], width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    // Lines between rows make long tables unreadable.
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(line);
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

fn failure_text(failure: &Failure, colour: bool) -> String {
    let (red, plain) = if colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut lines = vec![
        format!("{red}错误{plain}：{}", failure.message_zh),
        format!("{red}error{plain}: {} [{}]", failure.message_en, failure.code),
    ];
    if !failure.remedy_zh.is_empty() {
        lines.push(format!("办法：{}", failure.remedy_zh));
    }
    if !failure.remedy_en.is_empty() {
        lines.push(format!("remedy: {}", failure.remedy_en));
    }
    if !failure.detail.is_null() {
        lines.push(serde_json::to_string_pretty(&failure.detail).unwrap_or_default());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Failure {
        Failure::new("unreachable", Exit::Unreachable, "连不上市平台", "the hub cannot be reached")
            .remedy("检查网络", "check the network")
    }

    #[test]
    fn a_failure_is_told_in_chinese_first_with_code_and_remedy() {
        let text = failure_text(&sample(), false);
        let expected = "错误：连不上市平台\nerror: the hub cannot be reached [unreachable]\n\
                        办法：检查网络\nremedy: check the network\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_failure_survives_the_way_through_json() {
        let failure = sample().detail(serde_json::json!({ "row": 7 }));
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure);
        assert_eq!(failure.exit(), Exit::Unreachable);
    }

    #[test]
    fn every_exit_status_keeps_its_number() {
        for number in 0..=5 {
            assert_eq!(Exit::from_number(number).number(), number);
        }
        assert_eq!(Exit::from_number(77), Exit::Error);
    }

    #[test]
    fn columns_line_up_with_chinese_text() {
        let rows =
            [vec!["浦东新区".to_owned(), "12".to_owned()], vec!["city".to_owned(), "3".to_owned()]];
        let text = table_text(&["区", "n"], &rows, None);
        let column = |line: &str, digit: char| {
            let before: String = line.chars().take_while(|found| *found != digit).collect();
            before.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>()
        };
        let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap().to_owned();
        assert_eq!(column(&line("浦东新区"), '1'), column(&line("city"), '3'));
        assert!(!text.contains('\x1b'), "no colour without a terminal");
    }
}
