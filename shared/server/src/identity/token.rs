//! Join tokens: one line of text that lets one district join, once.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::output::{Exit, Explain, Failure};

/// First letters of every token of this version.
const PREFIX: &str = "LD1-";
/// Longest text that is looked at, bytes.
const TEXT_BYTES_MAX: usize = 4096;
const CHECKSUM_BYTES: usize = 4;

/// Why a token is not one, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else was given.
    #[error("this is not a join token; a token begins with {PREFIX}")]
    NotAToken,
    /// A token of another version of the format.
    #[error("this join token is of format {0}, which this software does not know")]
    OtherVersion(String),
    /// A letter is wrong or missing.
    #[error("the join token is mistyped or was cut off when copied")]
    Mistyped,
    /// It was valid once.
    #[error("the join token expired at {0}")]
    Expired(String),
}

impl Explain for TokenError {
    fn explain(&self) -> Failure {
        let (code, zh, remedy_zh, remedy_en) = match self {
            Self::NotAToken => (
                "token_not_a_token",
                format!("这不是加入令牌；令牌以 {PREFIX} 开头"),
                "请完整复制市平台给出的一行文字",
                "copy the whole line that the hub printed",
            ),
            Self::OtherVersion(version) => (
                "token_other_version",
                format!("令牌格式为 {version}，本软件不支持"),
                "请升级本软件，或请市平台重新签发",
                "upgrade this software or ask the hub for another token",
            ),
            Self::Mistyped => (
                "token_mistyped",
                "加入令牌有误，可能抄错或复制不完整".to_owned(),
                "请重新完整复制；令牌本身仍然有效",
                "copy the whole line again; the token itself is still good",
            ),
            Self::Expired(at) => (
                "token_expired",
                format!("加入令牌已于 {at} 过期"),
                "请市平台重新签发令牌；若时间不对，先校准本机时钟",
                "ask the hub for a new token; if that time is wrong, set this machine's clock",
            ),
        };
        Failure::new(code, Exit::Validation, zh, self.to_string()).remedy(remedy_zh, remedy_en)
    }
}

/// Everything a node needs to join: where the hub is, how to know it, and the right to join as one
/// district.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Where the hub listens, `https`.
    pub hub_url: String,
    /// SHA-256 of the authority's certificate: the node trusts nothing else.
    pub ca_fingerprint: [u8; 32],
    /// Proves the right to join. The hub keeps only its [`token_hash`].
    pub secret: [u8; 32],
    /// Area code of the district, for people; the hub decides by the secret.
    pub district_code: String,
    /// Name of the district, for people.
    pub district_name: String,
    /// When it expires, unix milliseconds. Also for people: the hub decides.
    pub expires_ms: i64,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secret: tokens end up in logs otherwise.
        f.debug_struct("JoinToken")
            .field("hub_url", &self.hub_url)
            .field("district_code", &self.district_code)
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

impl JoinToken {
    /// A new secret from the system's randomness.
    pub fn random_secret() -> [u8; 32] {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        secret
    }

    /// # Errors
    /// `Expired`. The hub checks again with its own clock.
    pub fn check_expiry(&self, now_ms: i64) -> Result<(), TokenError> {
        if now_ms <= self.expires_ms {
            return Ok(());
        }
        Err(TokenError::Expired(crate::clock::format_shanghai(self.expires_ms)))
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(192);
        body.extend_from_slice(&self.ca_fingerprint);
        body.extend_from_slice(&self.secret);
        body.extend_from_slice(&self.expires_ms.to_be_bytes());
        for text in [&self.hub_url, &self.district_code, &self.district_name] {
            // No text in a token comes near 64 KiB; one that did would be refused by its reader's
            // length limit.
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        body
    }
}

/// The text that is handed over, one line.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.body();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(given: &str) -> Result<Self, TokenError> {
        if given.len() > TEXT_BYTES_MAX {
            return Err(TokenError::NotAToken);
        }
        // A mail program may have folded the line.
        let text: String = given.chars().filter(|letter| !letter.is_whitespace()).collect();
        let Some(rest) = text.strip_prefix(PREFIX) else {
            return Err(match text.split_once('-') {
                Some((version, _)) if is_version(version) => {
                    TokenError::OtherVersion(version.to_owned())
                }
                _ => TokenError::NotAToken,
            });
        };
        let bytes = URL_SAFE_NO_PAD.decode(rest).or(Err(TokenError::Mistyped))?;
        let at = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(TokenError::Mistyped)?;
        let (body, sum) = bytes.split_at(at);
        if sum != checksum(body) {
            return Err(TokenError::Mistyped);
        }
        read_body(body).ok_or(TokenError::Mistyped)
    }
}

fn is_version(text: &str) -> bool {
    text.strip_prefix("LD").is_some_and(|number| number.parse::<u32>().is_ok())
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest =
        Sha256::new().chain_update(b"liandong.token.text.v1").chain_update(body).finalize();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    sum
}

fn read_body(body: &[u8]) -> Option<JoinToken> {
    let (ca_fingerprint, body) = body.split_first_chunk::<32>()?;
    let (secret, body) = body.split_first_chunk::<32>()?;
    let (expires, mut body) = body.split_first_chunk::<8>()?;
    let mut text = || {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        body = rest;
        String::from_utf8(text.to_vec()).ok()
    };
    let (hub_url, district_code, district_name) = (text()?, text()?, text()?);
    body.is_empty().then_some(JoinToken {
        hub_url,
        ca_fingerprint: *ca_fingerprint,
        secret: *secret,
        district_code,
        district_name,
        expires_ms: i64::from_be_bytes(*expires),
    })
}

/// What the hub stores of a token, so that its files do not let anybody join.
pub fn token_hash(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(b"liandong.token.v1").chain_update(secret).finalize().into()
}
