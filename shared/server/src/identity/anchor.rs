//! What a node knows of its hub, kept in one file.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{IdentityError, certificate_der, fingerprint_hex};
use crate::config::write_private;

/// The hub that a node has joined: address, authority and keys. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Where the hub listens, `https`.
    pub hub_url: String,
    /// SHA-256 of the authority's certificate, hex.
    pub ca_fingerprint: String,
    /// The authority's certificate.
    pub ca_pem: String,
    /// The hub's own feed, hex.
    pub hub_feed: String,
    /// The key that signs the hub's feed, hex.
    pub hub_public_key: String,
}

impl Anchor {
    /// Name of the file in a node's data directory.
    pub const FILE: &str = "anchor.json";

    /// Reads the anchor in `dir`; none before the node has joined.
    ///
    /// # Errors
    /// The file cannot be read, or its certificate is not the one whose fingerprint it names.
    pub fn read(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(Self::FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| IdentityError::File { path: path.clone(), source })?,
        };
        let damaged = |what: String| IdentityError::Damaged { path: path.clone(), what };
        let anchor: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let ca = anchor.ca_der().map_err(|error| damaged(error.to_string()))?;
        if fingerprint_hex(&ca) != anchor.ca_fingerprint {
            return Err(damaged("the certificate does not have the fingerprint".to_owned()));
        }
        Ok(Some(anchor))
    }

    /// Writes the anchor to `dir`, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), IdentityError> {
        let path = dir.join(Self::FILE);
        serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|text| write_private(&path, &text))
            .map_err(|source| IdentityError::File { path, source })
    }

    /// The authority's certificate.
    ///
    /// # Errors
    /// The anchor holds none.
    pub fn ca_der(&self) -> Result<Vec<u8>, IdentityError> {
        certificate_der(&self.ca_pem)
    }
}
