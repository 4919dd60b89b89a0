//! Unified social credit codes (统一社会信用代码).

use std::fmt;

use unicode_normalization::UnicodeNormalization;

const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
const INNER_WEIGHTS: [usize; 8] = [3, 7, 9, 10, 5, 8, 4, 2];

/// A unified social credit code with a right check character.
///
/// Source: GB 32100-2015.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uscc(String);

/// Why a text is no unified social credit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsccError {
    /// Not 18 characters.
    #[error("a code has 18 characters, not {0}")]
    Length(usize),
    /// A character that codes never hold.
    #[error("the character {0:?} cannot stand in a code")]
    Character(char),
    /// The last character does not fit the others.
    #[error("the check character should be {0:?}")]
    Check(char),
}

impl Uscc {
    /// Reads a code as people type it: any width and case, with blanks and hyphens.
    ///
    /// # Errors
    /// When what is left is no code.
    pub fn parse(raw: &str) -> Result<Self, UsccError> {
        let is_gap = |c: &char| c.is_whitespace() || *c == '-';
        let code: String = raw.nfkc().filter(|c| !is_gap(c)).flat_map(char::to_uppercase).collect();
        Self::parse_canonical(&code)
    }

    /// Reads a code that is already in its canonical form.
    ///
    /// # Errors
    /// When it is not, or when it is no code.
    pub fn parse_canonical(code: &str) -> Result<Self, UsccError> {
        let length = code.chars().count();
        if length != 18 {
            return Err(UsccError::Length(length));
        }
        let mut sum = 0;
        let mut weight = 1;
        for (place, c) in code.chars().enumerate() {
            let value = value_of(c).ok_or(UsccError::Character(c))?;
            if (2..8).contains(&place) && !c.is_ascii_digit() {
                return Err(UsccError::Character(c));
            }
            if place < 17 {
                sum += value * weight;
                weight = weight * 3 % 31;
            } else {
                let wanted = ALPHABET.get((31 - sum % 31) % 31).map_or('0', |b| char::from(*b));
                if c != wanted {
                    return Err(UsccError::Check(wanted));
                }
            }
        }
        Ok(Self(code.to_owned()))
    }

    /// Whether the organisation code inside carries the right check character.
    ///
    /// Codes given out before 2015 sometimes do not, so this is worth a remark and no more.
    ///
    /// Source: GB 11714.
    pub fn inner_is_right(&self) -> bool {
        let inner = self.0.chars().skip(8);
        let value = |c: char| c.to_digit(36).map_or(0, |v| v as usize);
        let sum: usize = inner.zip(INNER_WEIGHTS).map(|(c, weight)| value(c) * weight).sum();
        let wanted = match 11 - sum % 11 {
            10 => 'X',
            11 => '0',
            digit => u32::try_from(digit).ok().and_then(|d| char::from_digit(d, 10)).unwrap_or('0'),
        };
        self.0.chars().nth(16) == Some(wanted)
    }

    /// The code, 18 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uscc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn value_of(c: char) -> Option<usize> {
    ALPHABET.iter().position(|known| char::from(*known) == c)
}
