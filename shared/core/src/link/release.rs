//! Releases of the software, as nodes name themselves and policies ask for them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A release, `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release([u32; 3]);

/// A text that names no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” 不是版本号，应如 0.2.0 / “{0}” is no release such as 0.2.0")]
pub struct NoRelease(String);

impl FromStr for Release {
    type Err = NoRelease;

    fn from_str(text: &str) -> Result<Self, NoRelease> {
        let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        let release = parts.and_then(|parts| parts.try_into().ok()).map(Self);
        release.ok_or_else(|| NoRelease(text.to_owned()))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Release {
    /// The release in a name such as `liandong-node/0.1.0`.
    pub fn of_software(name: &str) -> Option<Self> {
        name.rsplit_once('/')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        let of = |text: &str| text.parse::<Release>();
        assert!(of("0.10.0").unwrap() > of("0.9.12").unwrap());
        assert_eq!(Release::of_software("liandong-node/1.2.3"), Some(of("1.2.3").unwrap()));
        for bad in ["", "1", "1.2", "1.2.x", "1.2.3.4", "v1.2.3", "-1.0.0"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
