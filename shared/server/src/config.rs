//! Configuration: a TOML file, overlaid by the environment, overlaid by flags. The later wins;
//! unknown keys are refused.

mod section;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use section::{Backup, Engine, Grpc, Http, Log, LogFormat, Retry, View, in_range};

use crate::output::{Exit, Explain, Failure};

/// Variables with this prefix and a double underscore are configuration: `LIANDONG_HTTP__LISTEN` is
/// `http.listen`.
const ENV_PREFIX: &str = "LIANDONG_";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file, or nowhere when a key is missing.
    File(PathBuf),
    /// The environment variable of this name.
    Env(String),
    /// A flag on the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Why the configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// No such key.
    #[error("unknown key {key} ({origin}){}", hint(suggestion.as_ref(), "; did you mean ", "?"))]
    Unknown {
        /// The key as given, dotted.
        key: String,
        /// Who set it.
        origin: Origin,
        /// The nearest key there is.
        suggestion: Option<String>,
    },
    /// A value of the wrong kind, or a missing one.
    #[error("{key} ({origin}): {message}")]
    Value {
        /// The key, dotted; empty when a whole section is missing.
        key: String,
        /// Who set it.
        origin: Origin,
        /// What is wrong.
        message: String,
    },
    /// A value out of its range.
    #[error("{key} is {value}, but must be {range}")]
    Range {
        /// The key, dotted.
        key: String,
        /// What was given.
        value: String,
        /// What may be given.
        range: String,
    },
}

impl Explain for ConfigError {
    fn explain(&self) -> Failure {
        let en = self.to_string();
        let (zh, remedy_zh, remedy_en) = match self {
            Self::Read { path, source } => (
                format!("无法读取配置文件 {}：{source}", path.display()),
                "检查路径和权限，或先运行 init 生成配置文件".to_owned(),
                "check path and permissions, or write a configuration with init".to_owned(),
            ),
            Self::Syntax { path, message } => (
                format!("配置文件 {} 不是有效的 TOML：{message}", path.display()),
                "按提示的行号修改".to_owned(),
                "correct the line shown".to_owned(),
            ),
            Self::Unknown { key, origin, suggestion } => (
                format!(
                    "没有名为 {key} 的配置项（来自 {origin}）{}",
                    hint(suggestion.as_ref(), "，是否应为 ", "？")
                ),
                "改正或删除该项".to_owned(),
                "correct the key or remove it".to_owned(),
            ),
            Self::Value { key, origin, message } => (
                format!("配置项 {key}（来自 {origin}）不正确：{message}"),
                "改正该项的值".to_owned(),
                "correct the value".to_owned(),
            ),
            Self::Range { key, value, range } => (
                format!("配置项 {key} 的值 {value} 超出范围 {range}"),
                format!("取值范围：{range}"),
                format!("choose within {range}"),
            ),
        };
        Failure::new("bad_configuration", Exit::Usage, zh, en).remedy(remedy_zh, remedy_en)
    }
}

fn hint(suggestion: Option<&String>, before: &str, after: &str) -> String {
    suggestion.map_or_else(String::new, |key| format!("{before}{key}{after}"))
}

/// Reads `path`, overlays `env` (pass `std::env::vars()`) and `flags` (dotted key and value), and
/// gives the whole typed.
///
/// Give `T` and its sections `deny_unknown_fields`, or misspelt keys pass.
///
/// # Errors
/// The file cannot be read or understood, a key is unknown, a value is of the wrong kind. Ranges
/// are `validate()`'s.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    env: impl Iterator<Item = (String, String)>,
    flags: &[(String, Value)],
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    load_text(path, &text, env, flags)
}

/// [`load`] of a text already read; `path` only names it in errors.
///
/// # Errors
/// As [`load`], but for reading.
pub fn load_text<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    env: impl Iterator<Item = (String, String)>,
    flags: &[(String, Value)],
) -> Result<T, ConfigError> {
    let root = text.parse::<Table>().map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let mut layers = Layers { root, origins: BTreeMap::new(), path };
    for (name, value) in env {
        layers.overlay_env(&name, value)?;
    }
    for (key, value) in flags {
        layers.set(key, value.clone(), Origin::Flag)?;
    }
    layers.deserialize()
}

/// The file with what was laid over it, and who set what.
struct Layers<'a> {
    root: Table,
    /// Dotted key → who set it; for a variable also its text as given.
    origins: BTreeMap<String, (Origin, Option<String>)>,
    path: &'a Path,
}

impl Layers<'_> {
    fn overlay_env(&mut self, name: &str, text: String) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return Ok(()) };
        if !rest.contains("__") {
            return Ok(());
        }
        let key = rest.to_lowercase().replace("__", ".");
        let value = parse_value(&text);
        self.set(&key, value, Origin::Env(name.to_owned()))?;
        self.origins.insert(key, (Origin::Env(name.to_owned()), Some(text)));
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let mut table = &mut self.root;
        let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else {
                return Err(ConfigError::Unknown { key: key.to_owned(), origin, suggestion: None });
            };
            table = inner;
        }
        table.insert(last.to_owned(), value);
        self.origins.insert(key.to_owned(), (origin, None));
        Ok(())
    }

    /// Writes the merged whole as TOML and reads it back, because only a reader of text says which
    /// key an error is at.
    fn deserialize<T: DeserializeOwned>(mut self) -> Result<T, ConfigError> {
        loop {
            let text = toml::to_string(&self.root).map_err(|error| ConfigError::Syntax {
                path: self.path.to_owned(),
                message: error.to_string(),
            })?;
            let error = match toml::from_str::<T>(&text) {
                Ok(config) => return Ok(config),
                Err(error) => error,
            };
            let key = error.span().map_or_else(String::new, |span| key_at(&text, span.start));
            // `LIANDONG_NODE__DISTRICT=310115` reads as a number, but the key may want a string.
            let as_given = self.origins.get_mut(&key).and_then(|(_, text)| text.take());
            if let Some(given) = as_given
                && error.message().starts_with("invalid type")
                && let Some((Origin::Env(name), _)) = self.origins.get(&key).cloned()
            {
                self.set(&key, Value::String(given), Origin::Env(name))?;
                continue;
            }
            return Err(self.explain(key, error.message()));
        }
    }

    fn explain(&self, key: String, message: &str) -> ConfigError {
        let origin = self
            .origins
            .iter()
            .find(|(set, _)| **set == key || set.starts_with(&format!("{key}.")))
            .map_or_else(|| Origin::File(self.path.to_owned()), |(_, (origin, _))| origin.clone());
        if !message.starts_with("unknown field") {
            return ConfigError::Value { key, origin, message: message.trim().to_owned() };
        }
        let mut quoted = message.split('`').skip(1).step_by(2);
        let found = quoted.next().unwrap_or_default();
        let (near, nearest) =
            quoted.map(|known| (distance(found, known), known)).min().unwrap_or((usize::MAX, ""));
        let suggestion = (near <= 3 && near < nearest.len()).then(|| {
            key.strip_suffix(found)
                .map_or(nearest.to_owned(), |section| format!("{section}{nearest}"))
        });
        ConfigError::Unknown { key, origin, suggestion }
    }
}

/// The variable's text as a TOML value where it is one, else as a string: `true`, `8`, `["a"]`, but
/// also `info`.
fn parse_value(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok();
    match parsed.and_then(|mut table| if table.len() == 1 { table.remove("v") } else { None }) {
        Some(value) if !matches!(value, Value::Datetime(_)) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// The dotted key whose line in a TOML text (as `toml` writes it: one line a key) covers the byte
/// at `at`.
fn key_at(text: &str, at: usize) -> String {
    let mut section = String::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix('[') {
            header.trim_matches(['[', ']']).clone_into(&mut section);
        }
        offset += line.len();
        if at < offset {
            if trimmed.starts_with('[') || trimmed.is_empty() {
                break;
            }
            let key = trimmed.split_once('=').map_or(trimmed, |(key, _)| key.trim());
            return if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        }
    }
    section
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Writes a file that only its owner can read, whole or not at all, and durable when this returns.
///
/// # Errors
/// The file or its folder cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = folder.join(format!(".{name}.{:016x}", rand::random::<u64>()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    });
    if written.is_err() {
        // The draft may hold a key; the first error is the one to tell.
        let _first_error_counts = std::fs::remove_file(&draft);
    }
    written?;
    // Without this a power cut can forget the rename.
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
