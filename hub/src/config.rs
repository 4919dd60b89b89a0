//! The hub's configuration file.

use std::path::Path;

use liandong_core::limit;
use liandong_server::config::{self, Backup, ConfigError, Grpc, Http, Log, View, in_range};
use serde::{Deserialize, Serialize};

/// Name of the file in the hub's directory.
pub const FILE: &str = "config.toml";

/// `config.toml` of a hub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[hub]`
    pub hub: Hub,
    /// `[http]`
    pub http: Http,
    /// `[grpc]`
    pub grpc: Grpc,
    /// `[certificates]`
    pub certificates: Certificates,
    /// `[follow]`
    pub follow: Follow,
    /// `[view]`
    pub view: View,
    /// `[backup]`
    pub backup: Backup,
    /// `[log]`
    pub log: Log,
}

/// `[hub]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Name of the city, for pages.
    pub city: String,
}

impl Default for Hub {
    fn default() -> Self {
        Self { city: "本市".to_owned() }
    }
}

/// `[certificates]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// How long a certificate is good, seconds. 10 to 31536000. Renewed when two thirds are over.
    pub ttl_secs: u64,
}

impl Default for Certificates {
    fn default() -> Self {
        Self { ttl_secs: limit::CERTIFICATE_TTL_SECS }
    }
}

/// `[follow]`: the city's catalogue on its way down to the districts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Follow {
    /// Pause between two signed checkpoints when nothing changes, seconds. 1 to 3600.
    pub checkpoint_secs: u64,
    /// How long a checkpoint is good; after that a district's replica says that it is stale, seconds. More than
    /// `checkpoint_secs`, at most 86400.
    pub expires_secs: u64,
}

impl Default for Follow {
    fn default() -> Self {
        Self { checkpoint_secs: limit::CHECKPOINT_SECS, expires_secs: 3 * limit::CHECKPOINT_SECS }
    }
}

impl Config {
    /// Reads the file in `dir`, overlaid by the environment and by flags.
    ///
    /// # Errors
    /// The file cannot be read, a key is unknown, a value is out of its range.
    pub fn load(dir: &Path, flags: &[(String, toml::Value)]) -> Result<Self, ConfigError> {
        let config: Self = config::load(&dir.join(FILE), std::env::vars(), flags)?;
        config.grpc.validate()?;
        config.view.validate()?;
        config.backup.validate()?;
        config.log.validate()?;
        let ttl = config.certificates.ttl_secs;
        in_range((10..=31_536_000).contains(&ttl), "certificates.ttl_secs", &ttl, "10..=31536000")?;
        let Follow { checkpoint_secs: pause, expires_secs: good } = config.follow;
        in_range((1..=3600).contains(&pause), "follow.checkpoint_secs", &pause, "1..=3600")?;
        let allowed = format!("{}..=86400", pause + 1);
        in_range((pause + 1..=86_400).contains(&good), "follow.expires_secs", &good, &allowed)?;
        Ok(config)
    }
}
