//! Citizen identity numbers (公民身份号码), so that they can be found and masked.

use jiff::civil::Date;

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: &[u8; 11] = b"10X98765432";

/// Which form of number a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 18 characters with a right check character.
    Eighteen,
    /// 15 digits, given out until 1999, without a check character.
    Fifteen,
}

/// Why a text is no citizen identity number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CitizenIdError {
    /// Neither 15 nor 18 characters, or something else than digits.
    #[error("not 15 or 18 digits")]
    Shape,
    /// The date of birth does not exist.
    #[error("the date of birth does not exist")]
    Birth,
    /// The last character does not fit the others.
    #[error("the check character is wrong")]
    Check,
}

/// Checks shape, date of birth and check character.
///
/// The area is not checked: people keep the code of an area that no longer exists, such as 310108.
///
/// Source: GB 11643-1999.
///
/// # Errors
/// Which of the three is wrong.
pub fn check(number: &str) -> Result<Form, CitizenIdError> {
    let bytes = number.as_bytes();
    let form = match bytes.len() {
        18 => Form::Eighteen,
        15 => Form::Fifteen,
        _ => return Err(CitizenIdError::Shape),
    };
    let body = bytes.get(..17).unwrap_or(bytes);
    if !body.iter().all(u8::is_ascii_digit) {
        return Err(CitizenIdError::Shape);
    }
    let birth = match form {
        Form::Eighteen => number.get(6..14).unwrap_or_default().to_owned(),
        Form::Fifteen => format!("19{}", number.get(6..12).unwrap_or_default()),
    };
    if !exists(&birth) {
        return Err(CitizenIdError::Birth);
    }
    if form == Form::Eighteen {
        let sum: u32 = body.iter().zip(WEIGHTS).map(|(d, w)| u32::from(d - b'0') * w).sum();
        let wanted = CHECKS.get((sum % 11) as usize);
        if bytes.get(17).map(u8::to_ascii_uppercase) != wanted.copied() {
            return Err(CitizenIdError::Check);
        }
    }
    Ok(form)
}

fn exists(yyyymmdd: &str) -> bool {
    let part = |range: std::ops::Range<usize>| yyyymmdd.get(range)?.parse::<i16>().ok();
    let date = || {
        let (month, day) = (i8::try_from(part(4..6)?).ok()?, i8::try_from(part(6..8)?).ok()?);
        Date::new(part(0..4)?, month, day).ok()
    };
    date().is_some_and(|date| date.year() >= 1850)
}
