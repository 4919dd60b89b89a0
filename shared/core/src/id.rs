//! Identities. Each is a newtype with a private field, one parser and one spelling.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

/// A text or byte string that is not the identity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {wanted}")]
pub struct BadId {
    given: String,
    wanted: &'static str,
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $length:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Wraps raw bytes.
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = BadId;

            fn try_from(bytes: &[u8]) -> Result<Self, BadId> {
                <[u8; $length]>::try_from(bytes)
                    .map(Self)
                    .map_err(|_length| BadId { given: hex::encode(bytes), wanted: $wanted })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &hex::encode(self.0)[..8])
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bytes = hex::decode(text)
                    .map_err(|_hex| BadId { given: text.to_owned(), wanted: $wanted })?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_id!(
    /// A feed: 16 random bytes. Never derived from an area code, which changes when districts merge.
    FeedId, 16, "a feed id (32 hexadecimal digits)"
);
bytes_id!(
    /// One installation of a node; a label for people when a disk was cloned or replaced.
    InstanceId, 16, "an instance id (32 hexadecimal digits)"
);
bytes_id!(
    /// A public key by the first 16 bytes of its SHA-256.
    KeyId, 16, "a key id (32 hexadecimal digits)"
);
bytes_id!(
    /// A SHA-256 value.
    Hash, 32, "a SHA-256 hash (64 hexadecimal digits)"
);

impl Hash {
    /// The hash before the first op of every feed.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of the concatenated parts.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
        }
        Self(sha.finalize().into())
    }

    /// The first eight digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl KeyId {
    /// The id of an ed25519 public key.
    pub fn of(public_key: &[u8; 32]) -> Self {
        let hash = Hash::of(&[public_key]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }
}

/// A catalogue record: the feed that minted it and a ULID. Never reused, never changed by transfers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    origin: FeedId,
    ulid: Ulid,
}

impl RecordId {
    /// The id of a new record of `origin`.
    pub const fn new(origin: FeedId, ulid: Ulid) -> Self {
        Self { origin, ulid }
    }

    /// The feed that minted the id.
    pub const fn origin(&self) -> FeedId {
        self.origin
    }

    /// 16 bytes of the feed, then 16 of the ULID: ids of one feed are neighbours.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.origin.as_bytes());
        bytes[16..].copy_from_slice(&self.ulid.to_bytes());
        bytes
    }
}

impl TryFrom<&[u8]> for RecordId {
    type Error = BadId;

    fn try_from(bytes: &[u8]) -> Result<Self, BadId> {
        let bad = || BadId { given: hex::encode(bytes), wanted: "a record id (32 bytes)" };
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_length| bad())?;
        let (origin, ulid) = bytes.split_at(16);
        let ulid = <[u8; 16]>::try_from(ulid).map_err(|_length| bad())?;
        Ok(Self { origin: FeedId::try_from(origin)?, ulid: Ulid::from_bytes(ulid) })
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.origin, self.ulid.to_string().to_lowercase())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({self})")
    }
}

impl FromStr for RecordId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { given: text.to_owned(), wanted: "a record id (feed-ulid)" };
        let (origin, ulid) = text.split_once('-').ok_or_else(bad)?;
        let ulid = Ulid::from_string(&ulid.to_uppercase()).map_err(|_ulid| bad())?;
        Ok(Self { origin: origin.parse()?, ulid })
    }
}

impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An area code of GB/T 2260 (six digits, e.g. `310115`) or a short word for a zone or for the city itself
/// (`city`, `高新`). An attribute of a district that changes in time, never its identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DistrictCode(String);

impl DistrictCode {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DistrictCode {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        let fits = (1..=16).contains(&text.chars().count())
            && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
        if fits {
            Ok(Self(text))
        } else {
            Err(BadId { given: text, wanted: "a district code (1 to 16 letters or digits)" })
        }
    }
}

impl FromStr for DistrictCode {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::try_from(text.to_owned())
    }
}

impl From<DistrictCode> for String {
    fn from(code: DistrictCode) -> Self {
        code.0
    }
}

impl fmt::Display for DistrictCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A durable position in a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Ops in the feed; the last one's number.
    pub seq: u64,
    /// Hash of the last op's header; [`Hash::ZERO`] when the feed is empty.
    pub hash: Hash,
}

impl Default for Head {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Head {
    /// The head of a feed without ops.
    pub const EMPTY: Self = Self { seq: 0, hash: Hash::ZERO };
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.seq, self.hash.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_id_survives_text_and_bytes() {
        let id = RecordId::new(FeedId::new([7; 16]), Ulid::from_parts(1_700_000_000_000, 42));
        assert_eq!(id.to_string().parse::<RecordId>().unwrap(), id);
        assert_eq!(RecordId::try_from(id.to_bytes().as_slice()).unwrap(), id);
    }

    #[test]
    fn an_id_of_the_wrong_shape_is_refused_and_shown() {
        for text in ["", "12", "zz", "0123-", "-", "07070707070707070707070707070707-xx"] {
            let error = text.parse::<RecordId>().unwrap_err().to_string();
            assert!(error.contains("is not"), "{error}");
        }
        assert!("浦东 新区".parse::<DistrictCode>().is_err());
        assert!("310115".parse::<DistrictCode>().is_ok());
    }
}
