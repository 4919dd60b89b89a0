//! Sections that both processes have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// `[http]`: pages, APIs, figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port to listen on. Only this machine by default; put a proxy with a public
    /// certificate before it.
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080) }
    }
}

/// `[grpc]`: federation and programs, always over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// What others dial, `https` only, e.g. `https://hub.example.gov.cn:7443`. Its host is in the
    /// certificate and the whole of it in join tokens. Without it others can reach this process on
    /// this machine only.
    pub public_url: Option<String>,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443), public_url: None }
    }
}

impl Grpc {
    /// # Errors
    /// The public URL is no `https` address.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Some(url) = &self.public_url else { return Ok(()) };
        let usable = url
            .parse::<tonic::transport::Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
        let range = "https://<host>[:<port>]";
        in_range(usable, "grpc.public_url", url, range)
    }
}

/// Which engine holds the view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// sled 0.34, the default.
    #[default]
    Sled,
    /// redb 4, smaller on disk when records are overwritten often.
    Redb,
}

/// `[view]`: the projection of the journal that queries read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// `sled` or `redb`. May be changed at any time: the view is rebuilt from the journal.
    pub engine: Engine,
    /// Memory the engine's cache aims at, mebibytes. 8 to 4096.
    pub cache_mib: u32,
}

impl Default for View {
    fn default() -> Self {
        Self { engine: Engine::Sled, cache_mib: 32 }
    }
}

impl View {
    /// # Errors
    /// The cache is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fits = (8..=4096).contains(&self.cache_mib);
        in_range(fits, "view.cache_mib", &self.cache_mib, "8..=4096")
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, e.g. `info` or `info,liandong_hub=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Log {
    /// # Errors
    /// The filter is not understood.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fits = tracing_subscriber::EnvFilter::builder().parse(&self.filter).is_ok();
        in_range(fits, "log.filter", &self.filter, "error|warn|info|debug|trace, <module>=<level>")
    }
}

/// `[retry]`: pauses between attempts to reach the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Cap of the first pause, milliseconds. 50 to 60000.
    pub first_ms: u32,
    /// Cap of every pause, milliseconds. `first_ms` to 3600000.
    pub longest_ms: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first_ms: 1_000, longest_ms: 300_000 }
    }
}

impl Retry {
    /// # Errors
    /// A pause is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let first = (50..=60_000).contains(&self.first_ms);
        in_range(first, "retry.first_ms", &self.first_ms, "50..=60000")?;
        let longest = (self.first_ms..=3_600_000).contains(&self.longest_ms);
        in_range(longest, "retry.longest_ms", &self.longest_ms, "first_ms..=3600000")
    }
}

/// `[backup]`: backups that the running process makes, restores and checks by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Folder for the backups, best on another disk. Without it none are made.
    pub dir: Option<std::path::PathBuf>,
    /// Hours between two backups. 1 to 720.
    pub every_hours: u32,
    /// Verified backups that are kept. 1 to 1000.
    pub keep: u32,
}

impl Default for Backup {
    fn default() -> Self {
        Self { dir: None, every_hours: 24, keep: 7 }
    }
}

impl Backup {
    /// # Errors
    /// A number is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let often = (1..=720).contains(&self.every_hours);
        in_range(often, "backup.every_hours", &self.every_hours, "1..=720")?;
        in_range((1..=1000).contains(&self.keep), "backup.keep", &self.keep, "1..=1000")
    }
}

/// A check with the error that names key, value and range. For sections of other crates too.
///
/// # Errors
/// `fits` is false.
pub fn in_range(
    fits: bool,
    key: &str,
    value: &impl ToString,
    range: &str,
) -> Result<(), ConfigError> {
    if fits {
        return Ok(());
    }
    Err(ConfigError::Range {
        key: key.to_owned(),
        value: value.to_string(),
        range: range.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges() {
        Grpc::default().validate().unwrap();
        View::default().validate().unwrap();
        Log::default().validate().unwrap();
        Retry::default().validate().unwrap();
        Backup::default().validate().unwrap();
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        let error = View { cache_mib: 7, ..View::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "view.cache_mib is 7, but must be 8..=4096");
        assert!(Retry { first_ms: 5_000, longest_ms: 4_000 }.validate().is_err());
        assert!(Log { filter: "hub=loudly".into(), ..Log::default() }.validate().is_err());
        assert!(Backup { keep: 0, ..Backup::default() }.validate().is_err());
        assert!(Backup { every_hours: 721, ..Backup::default() }.validate().is_err());
    }

    #[test]
    fn a_public_url_without_tls_is_refused() {
        for (url, fits) in [
            ("https://hub.example:7443", true),
            ("https://127.0.0.1", true),
            ("http://hub.example:7443", false),
            ("hub.example:7443", false),
            ("", false),
        ] {
            let grpc = Grpc { public_url: Some(url.to_owned()), ..Grpc::default() };
            assert_eq!(grpc.validate().is_ok(), fits, "{url}");
        }
    }
}
