//! The house rules that no compiler holds: who imports whom, which word may stand where, how long things are.
//!
//! Sources are read as text. Each test lists everything it finds as `file:line: what; what to do`, so that one run is
//! enough to put it right. A rule that makes a piece of code worse may be bent here, in its table, with the reason.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The crates from left to right; each imports only those of a smaller rank.
const CHAIN: [(&str, u8); 8] = [
    ("liandong-proto", 0),
    ("liandong-core", 1),
    ("liandong-store", 2),
    ("liandong-server", 3),
    ("liandong-node", 4),
    ("liandong-hub", 4),
    ("liandong-pilot", 5),
    ("liandong-tests", 6),
];
/// All that is seen at the top of the repository; hidden files come on top.
const TOP: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "proto",
    "node",
    "hub",
    "shared",
    "deploy",
    "tests",
];
/// What a build or a pilot leaves at the top and git ignores.
const LEFT_BEHIND: [&str; 2] = ["target", "pilot-data"];
/// Lines of a production file: above the first it is named, above the second refused.
const FILE_LINES: (usize, usize) = (400, 600);
/// Lines of a test file.
const TEST_FILE_LINES: usize = 900;
/// Characters of a line; rustfmt keeps code shorter, strings and comments are left to this.
const LINE_CHARS: usize = 120;
/// Lines of a decision page.
const DECISION_LINES: usize = 60;
/// Lines of the README.
const README_LINES: usize = 300;
/// Files at the edges of gRPC, where generated messages become our types.
const EDGES: [&str; 15] = [
    "grpc.rs",
    "desk_grpc.rs",
    "search_grpc.rs",
    "enrol.rs",
    "receive.rs",
    "join.rs",
    "push.rs",
    "renew.rs",
    "serve.rs",
    "sync.rs",
    "recover.rs",
    "recover_hub.rs",
    "return_feed.rs",
    "follow.rs",
    "rejoin.rs",
];
/// Where a test may sleep, and why.
const SLEEPS: [(&str, &str); 4] = [
    ("tests/src/wait.rs", "the one helper that asks again until something holds"),
    ("tests/src/proxy.rs", "a slow network is slow"),
    ("tests/src/bench/", "a benchmark paces its looks at what it measures"),
    ("tests/tests/endtoend/crash.rs", "the moment of a kill is drawn; nothing is waited for"),
];

/// Packages that only some crates may name in their manifests.
const PACKAGES: [(&str, &[&str]); 6] = [
    ("sled", &["liandong-store"]),
    ("redb", &["liandong-store"]),
    ("tantivy", &["liandong-store"]),
    ("jieba-rs", &["liandong-store"]),
    ("backoff", &["liandong-server"]),
    ("axum", &["liandong-server", "liandong-node", "liandong-hub", "liandong-tests"]),
];

/// Words that stand in some places only.
struct Rule {
    words: &'static [&'static str],
    /// Whether a word may stand in this line (counted from 0).
    admits: fn(&Source, usize) -> bool,
    remedy: &'static str,
}

const RULES: [Rule; 8] = [
    Rule {
        words: &["sled", "redb", "tantivy", "tantivy_tokenizer_api", "jieba", "jieba_rs"],
        admits: |source, _| source.within("shared/store/"),
        remedy: "engines stay in shared/store; ask the store for what you need",
    },
    Rule {
        words: &["prost", "prost_types", "liandong_proto"],
        admits: |source, line| source.speaks_wire() || source.is_test(line),
        remedy: "parse at the edge (core's wire, op, receipt or a gRPC file) and pass our own types on",
    },
    Rule {
        words: &["axum"],
        admits: |source, _| {
            !["proto/", "shared/core/", "shared/store/"].iter().any(|below| source.within(below))
        },
        remedy: "HTTP begins in shared/server",
    },
    Rule {
        words: &["tokio", "fs", "net", "SystemTime", "Instant", "rand"],
        admits: |source, _| !source.within("shared/core/src/"),
        remedy: "core does no IO and reads neither clock nor randomness; take it as a parameter",
    },
    Rule {
        words: &["backoff"],
        admits: |source, _| source.path == "shared/server/src/retry.rs",
        remedy: "use liandong_server::retry",
    },
    Rule {
        words: &["println!", "eprintln!", "print!", "eprint!"],
        admits: |source, line| {
            ["output.rs", "build.rs"].contains(&source.name()) || source.is_test(line)
        },
        remedy: "print through output.rs, or log",
    },
    Rule {
        words: &["#[ignore"],
        admits: |_, _| false,
        remedy: "a test runs always, with a setting for its long form, or is deleted",
    },
    Rule {
        words: &["sleep", "sleep_ms"],
        admits: |source, line| {
            !source.is_test(line) || SLEEPS.iter().any(|(place, _)| source.path.starts_with(place))
        },
        remedy: "wait for a condition (liandong_tests::wait_until)",
    },
];

/// A Rust file.
struct Source {
    /// From the root, with slashes.
    path: String,
    lines: Vec<String>,
    /// The lines without comments and without what stands in strings.
    code: Vec<String>,
    /// First line that belongs to tests.
    tests_from: usize,
}

impl Source {
    fn read(path: &str) -> Option<Self> {
        let text = fs::read_to_string(root().join(path)).ok()?;
        let code: Vec<String> = code_of(&text).lines().map(str::to_owned).collect();
        let all_tests =
            path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let module = |at: usize| {
            code[at].trim() == "#[cfg(test)]"
                && code.get(at + 1).is_some_and(|next| next.trim_end().ends_with('{'))
        };
        let tests_from = if all_tests { Some(0) } else { (0..code.len()).find(|at| module(*at)) };
        Some(Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            tests_from: tests_from.unwrap_or(usize::MAX),
            code,
        })
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn within(&self, dir: &str) -> bool {
        self.path.starts_with(dir)
    }

    fn is_test(&self, line: usize) -> bool {
        line >= self.tests_from
    }

    /// Whether generated messages may stand here.
    fn speaks_wire(&self) -> bool {
        let core = ["wire", "op", "receipt", "checkpoint"]
            .map(|name| format!("shared/core/src/{name}.rs"));
        let edge = ["shared/server/src/", "node/src/", "hub/src/"]
            .iter()
            .any(|crate_dir| self.within(crate_dir))
            && EDGES.contains(&self.name());
        self.within("proto/")
            || self.within("shared/core/src/wire/")
            || core.contains(&self.path)
            || edge
    }
}

/// Blanks comments and the content of strings, and keeps the lines.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_blank(&chars, at).unwrap_or(at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            code.push(' ');
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins here ends.
fn end_of_blank(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let named = at > 0 && is_word(chars[at - 1]);
    match (rest[0], rest.get(1)) {
        ('/', Some('/')) => Some(at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ('/', Some('*')) => Some(at + end_of_block(rest)),
        ('"', _) => Some(at + end_of_string(rest)),
        ('r', Some('"' | '#')) if !named || chars[at - 1] == 'b' => {
            end_of_raw(rest).map(|end| at + end)
        }
        ('\'', Some('\\')) => rest[3..].iter().position(|c| *c == '\'').map(|end| at + end + 4),
        ('\'', Some(_)) if rest.get(2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
}

fn end_of_block(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn end_of_string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn end_of_raw(rest: &[char]) -> Option<usize> {
    let marks = rest[1..].iter().take_while(|c| **c == '#').count();
    let body = marks + 2;
    (rest.get(marks + 1) == Some(&'"')).then_some(())?;
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| body + end + close.len()))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a line of code holds the word by itself, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |inner: Option<char>, outer: Option<char>| {
            inner.is_some_and(is_word) && outer.is_some_and(is_word)
        };
        !joins(word.chars().next(), before) && !joins(word.chars().next_back(), after)
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files of the repository, sorted: what git knows or would take; without git all but what a build leaves.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files = match listed {
        Ok(listed) if listed.status.success() && root().join(".git").exists() => {
            let names = String::from_utf8_lossy(&listed.stdout).into_owned();
            names
                .split('\0')
                .filter(|name| root().join(name).is_file())
                .map(str::to_owned)
                .collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(&root(), &mut found);
            found
        }
    };
    files.sort();
    files.dedup();
    files
}

fn walk(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        if path.is_file() {
            found.push(name);
        } else if name != ".git" && !LEFT_BEHIND.contains(&name.as_str()) {
            walk(&path, found);
        }
    }
}

fn sources() -> Vec<Source> {
    let files = files();
    files
        .iter()
        .filter(|path| Path::new(path).extension().is_some_and(|kind| kind == "rs"))
        .filter_map(|path| Source::read(path))
        .collect()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The line of a manifest that names a dependency, for a finding.
fn manifest_line(package: &Value, dependency: &str) -> String {
    let path = package["manifest_path"].as_str().unwrap();
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().position(|line| {
        line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    });
    let path = Path::new(path).strip_prefix(root()).map_or(path.into(), Path::to_string_lossy);
    format!("{path}:{}", line.map_or(1, |line| line + 1))
}

fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}: {} to put right\n{}\n", found.len(), found.join("\n"));
}

#[test]
fn every_crate_imports_only_crates_to_its_left() {
    let rank = |name: &str| CHAIN.iter().find(|(known, _)| *known == name).map(|(_, rank)| *rank);
    let mut found = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let Some(own) = rank(name) else {
            found.push(format!(
                "{name}: a crate that the chain does not know; take a decision and add it"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            let place = manifest_line(&package, other);
            if other.starts_with("liandong-") && rank(other).is_none_or(|rank| rank >= own) {
                found.push(format!(
                    "{place}: {name} imports {other}, which is not to its left; move the code"
                ));
            }
            let kept = PACKAGES.iter().find(|(kept, _)| *kept == other);
            if let Some((_, admitted)) = kept.filter(|(_, admitted)| !admitted.contains(&name)) {
                found.push(format!(
                    "{place}: {name} imports {other}, which is for {admitted:?} only"
                ));
            }
            let pure = name == "liandong-core" && dependency["kind"].is_null();
            if pure && ["tokio", "rand", "tonic"].contains(&other) {
                found.push(format!(
                    "{place}: core does no IO and draws nothing, so it has no {other}"
                ));
            }
        }
    }
    none("proto ← core ← store ← server ← {node, hub} ← pilot, tests", &found);
}

#[test]
fn words_stay_in_their_places() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code.iter().enumerate() {
            for rule in &RULES {
                let word = rule.words.iter().find(|word| has_word(line, word));
                if let Some(word) = word.filter(|_| !(rule.admits)(&source, number)) {
                    found.push(format!(
                        "{}:{}: `{word}`; {}",
                        source.path,
                        number + 1,
                        rule.remedy
                    ));
                }
            }
        }
    }
    none("words in places where they do not belong", &found);
}

#[test]
fn files_and_lines_stay_short() {
    let (mut found, mut long) = (Vec::new(), Vec::new());
    for source in sources() {
        let lines = source.lines.len();
        let most = if source.is_test(0) { TEST_FILE_LINES } else { FILE_LINES.1 };
        if lines > most {
            found.push(format!(
                "{}:{lines}: more than {most} lines; split the file by what it does",
                source.path
            ));
        } else if lines > FILE_LINES.0 && !source.is_test(0) {
            long.push(format!("{} ({lines})", source.path));
        }
        for (number, line) in source.lines.iter().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS {
                let place = format!("{}:{}", source.path, number + 1);
                found.push(format!("{place}: {chars} characters; break the line at {LINE_CHARS}"));
            }
        }
    }
    println!("longer than {} lines, which is allowed: {}", FILE_LINES.0, long.join(", "));
    none("too long", &found);
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    let files = files();
    let seen: BTreeSet<&str> = files
        .iter()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.starts_with('.') && !LEFT_BEHIND.contains(name))
        .collect();
    let wanted: BTreeSet<&str> = TOP.into_iter().collect();
    let more =
        seen.difference(&wanted).map(|name| format!("{name}:1: not for the top level; move it"));
    let less =
        wanted.difference(&seen).map(|name| format!("{name}:1: missing at the top level; add it"));
    none("the top level", &more.chain(less).collect::<Vec<_>>());
}

/// Whether the file of `pub mod name;` begins with a header.
fn module_has_header(source: &Source, name: &str) -> bool {
    let dir = source.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let own = source.name().trim_end_matches(".rs");
    let base = if ["lib", "mod"].contains(&own) { dir.to_owned() } else { format!("{dir}/{own}") };
    [format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]
        .iter()
        .any(|path| fs::read_to_string(root().join(path)).is_ok_and(|text| text.starts_with("//!")))
}

/// Whether a doc comment stands above a line, attributes in between left aside.
fn is_documented(source: &Source, number: usize) -> bool {
    let mut inside = false;
    for line in source.lines[..number].iter().rev().map(|line| line.trim()) {
        if line.starts_with("///") || line.starts_with("$(#[$doc") || line.starts_with("#[doc") {
            return true;
        }
        // An attribute over several lines is met from its end.
        let attribute = line.starts_with("#[");
        inside = !attribute && (inside || line.ends_with(")]"));
        if !attribute && !inside {
            return false;
        }
    }
    false
}

/// The kind and name of the public item that a line declares.
fn public_item(line: &str) -> Option<(&str, &str)> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace();
    let mut kind = words.next()?;
    let mut name = words.next()?;
    while ["const", "async", "unsafe"].contains(&kind) && ["fn", "async", "unsafe"].contains(&name)
    {
        (kind, name) = (name, words.next()?);
    }
    let kinds = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"];
    kinds.contains(&kind).then_some((kind, name))
}

#[test]
fn crates_and_public_items_say_what_they_are() {
    let mut found = Vec::new();
    for source in sources() {
        let first = source.lines.first().map(String::as_str).unwrap_or_default();
        if source.path.ends_with("src/lib.rs") && !first.starts_with("//!") {
            found.push(format!(
                "{}:1: no header; begin with `//!` and what the crate is for",
                source.path
            ));
        }
        if !source.within("shared/core/src/") && !source.within("shared/store/src/") {
            continue;
        }
        for (number, line) in
            source.code.iter().enumerate().take_while(|(n, _)| !source.is_test(*n))
        {
            let Some((kind, name)) = public_item(line) else { continue };
            let elsewhere = kind == "mod" && module_has_header(&source, name.trim_end_matches(';'));
            if !elsewhere && !is_documented(&source, number) {
                let place = format!("{}:{}", source.path, number + 1);
                found.push(format!(
                    "{place}: `pub {kind} {name}` has no doc comment; say what it is"
                ));
            }
        }
    }
    none("nothing says what it is", &found);
}

#[test]
fn decision_pages_stay_on_one_page() {
    let mut found = Vec::new();
    let mut numbers = BTreeSet::new();
    let files = files();
    for path in files.iter().filter(|path| path.starts_with("shared/decision/")) {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let lines = text.lines().count();
        if lines > DECISION_LINES {
            found.push(format!(
                "{path}:{lines}: more than {DECISION_LINES} lines; a decision fits on a page"
            ));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || number.parse::<u16>().is_err() || !numbers.insert(number) {
            found.push(format!("{path}:1: name it NNNN-title.md with a number of its own"));
        }
    }
    none("decision pages", &found);
}

#[test]
fn the_readme_is_short_and_says_how_to_run_and_to_test() {
    let Ok(text) = fs::read_to_string(root().join("README.md")) else {
        panic!("README.md:1: missing; write it, with how to run and how to test");
    };
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > README_LINES {
        found.push(format!(
            "README.md:{lines}: more than {README_LINES} lines; move the rest to the manual"
        ));
    }
    for command in ["cargo run --release", "cargo test --workspace"] {
        if !text.contains(command) {
            found.push(format!("README.md:1: `{command}` is missing; say how to run and to test"));
        }
    }
    none("the README", &found);
}

#[test]
fn no_file_names_a_machines_folders() {
    // Put together here, or this file would be the first finding.
    let folders = ["work", "root", "farm"].map(|name| format!("/{name}/"));
    let mut found = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for folder in folders.iter().filter(|folder| line.contains(folder.as_str())) {
                found.push(format!(
                    "{path}:{}: names {folder}; write what any machine has",
                    number + 1
                ));
            }
        }
    }
    none("folders of one machine", &found);
}

#[test]
fn the_code_is_formatted() {
    let checked = Command::new(env!("CARGO"))
        .args(["fmt", "--all", "--", "--check"])
        .current_dir(root())
        .output()
        .unwrap();
    let diff = String::from_utf8_lossy(&checked.stdout);
    let told = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "run `cargo fmt --all`\n{diff}\n{told}");
}

/// Lines of a part of the repository.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    production: usize,
    comments: usize,
    tests: usize,
}

fn percent(part: usize, whole: usize) -> usize {
    part * 100 / whole.max(1)
}

#[test]
fn the_shares_of_comments_and_tests_are_told() {
    let parts = [
        "proto",
        "shared/core",
        "shared/store",
        "shared/server",
        "node",
        "hub",
        "deploy",
        "tests",
        "",
    ];
    let sources = sources();
    let mut table =
        format!("{:<14}{:>8}{:>10}{:>7}{:>12}\n", "", "lines", "comments", "tests", "test/prod");
    for part in parts {
        let mut share = Share::default();
        for source in sources.iter().filter(|source| source.path.starts_with(part)) {
            let lines = source.lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty());
            for (number, line) in lines {
                if source.is_test(number) {
                    share.tests += 1;
                } else {
                    share.production += 1;
                    share.comments += usize::from(line.trim_start().starts_with("//"));
                }
            }
        }
        let Share { production, comments, tests } = share;
        let name = if part.is_empty() { "all" } else { part };
        write!(table, "{name:<14}{production:>8}{:>9}%{tests:>7}", percent(comments, production))
            .unwrap();
        let ratio = (production > 0).then(|| percent(tests, production));
        let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio}%"));
        writeln!(table, "{ratio:>12}").unwrap();
    }
    println!("{table}comments: 12–18 % wanted; tests: 60–100 % of production wanted");
}

#[test]
fn comments_and_strings_are_no_code() {
    let rows = [
        ("let a = 1; // sled", "let a = 1;  "),
        ("f(\"sled // \\\" redb\", 'x')", "f( ,  )"),
        ("let s = r#\"a \" sled\"#;", "let s =  ;"),
        ("let s = br\"sled\";", "let s = b ;"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("let q = '\\''; sled::open()", "let q =  ; sled::open()"),
        ("a /* sled /* redb */ */ b", "a   b"),
    ];
    for (text, code) in rows {
        assert_eq!(code_of(text), code, "{text}");
    }
    assert_eq!(code_of("/* a\nb */ c\n\"d\ne\""), "\n  c\n\n ", "lines stay where they are");
    let words = [
        ("use sled::Db;", "sled", true),
        ("tantivy_tokenizer_api::Token", "tantivy", false),
        ("next_backoff()", "backoff", false),
        ("eprintln!()", "println!", false),
        ("    #[ignore = \"slow\"]", "#[ignore", true),
    ];
    for (line, word, there) in words {
        assert_eq!(has_word(line, word), there, "{word} in {line}");
    }
}
