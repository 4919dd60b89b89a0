//! What a node knows of its hub, kept in one file.

use std::{fs, path::Path};

use liandong_core::{city::HubAnchor, id::Hash};
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
    /// The key that signed the first op of the hub's feed, hex.
    pub hub_public_key: String,
    /// The root that grants the keys after it, hex. Hubs of before had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_root: Option<String>,
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
        Self::parse(&path, &text).map(Some)
    }

    /// Reads an anchor that was handed over as a file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_file(path: &Path) -> Result<Self, IdentityError> {
        let file = |source| IdentityError::File { path: path.to_owned(), source };
        Self::parse(path, &fs::read(path).map_err(file)?)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, IdentityError> {
        let damaged = |what: String| IdentityError::Damaged { path: path.to_owned(), what };
        let anchor: Self =
            serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        let ca = anchor.ca_der().map_err(|error| damaged(error.to_string()))?;
        if fingerprint_hex(&ca) != anchor.ca_fingerprint {
            return Err(damaged("the certificate does not have the fingerprint".to_owned()));
        }
        anchor.hub().map_err(|what| damaged(what.to_owned()))?;
        Ok(anchor)
    }

    /// What the hub's feed is verified with; the error names the field that is no key.
    ///
    /// # Errors
    /// A key is not 32 bytes in hex.
    pub fn hub(&self) -> Result<HubAnchor, &'static str> {
        let first_key: Hash = self.hub_public_key.parse().map_err(|_hex| "hub_public_key")?;
        let root = self.hub_root.as_ref().map(|root| root.parse()).transpose();
        Ok(HubAnchor { first_key, root: root.map_err(|_hex| "hub_root")? })
    }

    /// Whether another anchor is of the same hub, at whatever address.
    pub fn same_hub(&self, other: &Self) -> bool {
        Self { hub_url: other.hub_url.clone(), ..self.clone() } == *other
    }

    /// Writes the anchor to `dir`, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), IdentityError> {
        self.write_file(&dir.join(Self::FILE))
    }

    /// Writes the anchor to a file, for handing over.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<(), IdentityError> {
        let path = path.to_owned();
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
