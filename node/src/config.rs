//! The node's configuration file.

use std::path::Path;

use liandong_core::id::DistrictCode;
use liandong_server::config::{self, Backup, ConfigError, Grpc, Http, Log, Retry, View};
use serde::{Deserialize, Serialize};

/// Name of the file in the node's directory.
pub const FILE: &str = "config.toml";

/// `config.toml` of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[hub]`
    pub hub: Hub,
    /// `[http]`
    #[serde(default)]
    pub http: Http,
    /// `[grpc]`
    #[serde(default)]
    pub grpc: Grpc,
    /// `[import]`
    #[serde(default)]
    pub import: Import,
    /// `[retry]`
    #[serde(default)]
    pub retry: Retry,
    /// `[view]`
    #[serde(default)]
    pub view: View,
    /// `[backup]`
    #[serde(default)]
    pub backup: Backup,
    /// `[log]`
    #[serde(default)]
    pub log: Log,
    /// `[guard]`
    #[serde(default)]
    pub guard: Guard,
    /// `[recover]`
    #[serde(default)]
    pub recover: Recover,
    /// `[replica]`
    #[serde(default)]
    pub replica: Replica,
}

/// `[guard]`: a note of how far the journal was, which no restore of the directory takes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// The file, best on another volume; `<directory>.guard.json` beside the node's directory when nothing is said.
    pub path: Option<std::path::PathBuf>,
}

/// `[recover]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recover {
    /// Whether a node that came from a backup, and has written nothing since, takes what the hub has by itself.
    pub fast_forward: bool,
}

impl Default for Recover {
    fn default() -> Self {
        Self { fast_forward: true }
    }
}

/// `[replica]`: the city's catalogue as it is kept here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replica {
    /// The replica waits while less than this is free on its disk, mebibytes: what the district writes comes first.
    pub keep_free_mib: u32,
}

impl Default for Replica {
    fn default() -> Self {
        Self { keep_free_mib: 256 }
    }
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Area code of the district.
    pub code: DistrictCode,
    /// Name of the district, for pages.
    pub name: String,
}

/// `[hub]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Where the hub is, `https` only.
    pub url: String,
}

/// `[import]`: tables that are laid over the built-in ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Import {
    /// CSV `label,field`: more column labels.
    pub labels: Option<std::path::PathBuf>,
    /// CSV `field,raw,canonical,also`: more spellings of values.
    pub values: Option<std::path::PathBuf>,
}

impl Config {
    /// Reads the file in `dir`, overlaid by the environment and by flags.
    ///
    /// # Errors
    /// The file cannot be read, a key is unknown, a value is out of its range.
    pub fn load(dir: &Path, flags: &[(String, toml::Value)]) -> Result<Self, ConfigError> {
        let config: Self = config::load(&dir.join(FILE), std::env::vars(), flags)?;
        config.grpc.validate()?;
        config.retry.validate()?;
        config.view.validate()?;
        config.backup.validate()?;
        config.log.validate()?;
        Ok(config)
    }
}
