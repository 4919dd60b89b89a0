//! Who is who: the hub's certificate authority, the nodes' certificates, join tokens and the anchor
//! a node keeps.
//!
//! The authority is private to one federation. A certificate binds a TLS key to a feed by the URI
//! `urn:liandong:feed:<feed id>`; what a feed says is signed by its own key, so a stolen
//! certificate forges nothing. Source: FEDERATION 2.13.

mod anchor;
mod authority;
mod token;

use std::{io, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;

pub use anchor::Anchor;
pub use authority::{Authority, make_csr};
pub use token::{JoinToken, TokenError, token_hash};

use crate::output::{Exit, Explain, Failure};

/// What stands before the feed id in a certificate.
const FEED_URI: &str = "urn:liandong:feed:";

/// What stands before an operator's name in a certificate.
const OPERATOR_URI: &str = "urn:liandong:operator:";

/// Why an identity could not be made, read or issued.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is an authority already; a second one would cut off every node.
    #[error("there is a certificate authority in {0} already")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A signing request that does not parse, prove its key or use ECDSA P-256.
    #[error("the certificate request is not usable: {0}")]
    Request(String),
    /// Neither a host name nor an IP address.
    #[error("{0:?} is neither a host name nor an IP address")]
    Name(String),
    /// Not 32 lower-case hex digits.
    #[error("{0:?} is not a feed id")]
    Feed(String),
    /// Bytes that are no certificate.
    #[error("not a certificate: {0}")]
    Certificate(String),
    /// The key or certificate could not be made.
    #[error("cannot make the certificate")]
    Make(#[from] rcgen::Error),
}

impl Explain for IdentityError {
    fn explain(&self) -> Failure {
        let en = self.to_string();
        let (code, exit, zh) = match self {
            Self::Exists(dir) => {
                ("authority_exists", Exit::Conflict, format!("{} 中已有证书机构", dir.display()))
            }
            Self::File { path, source } => {
                ("identity_file", Exit::Error, format!("{}：{source}", path.display()))
            }
            Self::Damaged { path, what } => {
                ("identity_damaged", Exit::Error, format!("{} 已损坏：{what}", path.display()))
            }
            Self::Request(why) => {
                ("bad_request", Exit::Validation, format!("证书申请不可用：{why}"))
            }
            Self::Name(name) => {
                ("bad_name", Exit::Validation, format!("“{name}”不是主机名，也不是 IP 地址"))
            }
            Self::Feed(feed) => ("bad_feed", Exit::Validation, format!("“{feed}”不是有效的源编号")),
            Self::Certificate(why) => {
                ("bad_certificate", Exit::Validation, format!("不是有效的证书：{why}"))
            }
            Self::Make(why) => ("certificate_failed", Exit::Error, format!("无法生成证书：{why}")),
        };
        let failure = Failure::new(code, exit, zh, en);
        match self {
            Self::Exists(_) => failure.remedy(
                "如确需新建，请先备份并移走原目录；所有节点须重新加入",
                "to make a new one, move the old folder away first; every node must join again",
            ),
            Self::Damaged { .. } => {
                failure.remedy("请从备份恢复该文件", "restore the file from a backup")
            }
            _ => failure,
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertInfo {
    /// The feed it is bound to, hex. None for the hub's own and the authority's.
    pub feed: Option<String>,
    /// The operator of the hub it is bound to.
    pub operator: Option<String>,
    /// First moment it is valid, unix milliseconds.
    pub not_before_ms: i64,
    /// Last moment it is valid, unix milliseconds.
    pub not_after_ms: i64,
    /// Its number, hex.
    pub serial: String,
    /// SHA-256 of its DER bytes, hex.
    pub fingerprint: String,
    /// Who issued it, for people.
    pub issuer: String,
    /// Whom it names, for people.
    pub subject: String,
}

impl CertInfo {
    /// When two thirds of its life since it was issued are over, unix milliseconds: time to renew.
    pub const fn renew_at_ms(&self) -> i64 {
        let issued_ms = self.not_before_ms + authority::BACKDATE_MS;
        issued_ms + (self.not_after_ms - issued_ms) / 3 * 2
    }

    /// Reads a certificate. Says nothing about whether it is trusted: TLS has checked that before.
    ///
    /// # Errors
    /// The bytes are no certificate, or name more than one feed.
    pub fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let fault = |why: &dyn ToString| IdentityError::Certificate(why.to_string());
        let (_, cert) = x509_parser::parse_x509_certificate(der).map_err(|why| fault(&why))?;
        let names = cert.subject_alternative_name().map_err(|why| fault(&why))?;
        let operator =
            names.iter().flat_map(|names| &names.value.general_names).find_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(OPERATOR_URI).map(str::to_owned),
                _ => None,
            });
        let mut feeds = names.iter().flat_map(|names| &names.value.general_names).filter_map(
            |name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(FEED_URI),
                _ => None,
            },
        );
        let feed = feeds.next().map(|feed| check_feed(feed).map(str::to_owned)).transpose()?;
        if feeds.next().is_some() {
            return Err(fault(&"it names more than one feed"));
        }
        let validity = cert.validity();
        Ok(Self {
            feed,
            operator,
            not_before_ms: validity.not_before.timestamp().saturating_mul(1000),
            not_after_ms: validity.not_after.timestamp().saturating_mul(1000),
            serial: hex::encode(cert.raw_serial()),
            fingerprint: fingerprint_hex(der),
            issuer: cert.issuer().to_string(),
            subject: cert.subject().to_string(),
        })
    }
}

/// SHA-256 of a certificate's DER bytes.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// SHA-256 of a certificate's DER bytes, hex.
pub fn fingerprint_hex(der: &[u8]) -> String {
    hex::encode(fingerprint(der))
}

/// A certificate as PEM text, for files that people move about.
pub fn certificate_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// The first certificate of a PEM text, as DER bytes.
///
/// # Errors
/// There is none in it.
pub fn certificate_der(pem: &str) -> Result<Vec<u8>, IdentityError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map(|der| der.to_vec())
        .map_err(|why| IdentityError::Certificate(why.to_string()))
}

fn check_feed(feed: &str) -> Result<&str, IdentityError> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if feed.len() == 32 && feed.bytes().all(digit) {
        Ok(feed)
    } else {
        Err(IdentityError::Feed(feed.to_owned()))
    }
}

#[cfg(test)]
mod tests;
