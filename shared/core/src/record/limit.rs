//! How large a record and its parts may be. Characters are Unicode scalar values.

pub use crate::limit::RECORD_BYTES_MAX;

/// Longest title, characters. The longest of 20,858 real titles has 50.
pub const TITLE_CHARS_MAX: usize = 200;
/// Longest abstract, characters.
pub const ABSTRACT_CHARS_MAX: usize = 2_000;
/// Longest one-line text other than the title, characters.
pub const LINE_CHARS_MAX: usize = 500;
/// Longest note, condition or reason, characters.
pub const BLOCK_CHARS_MAX: usize = 2_000;
/// Keywords of a record.
pub const KEYWORDS_MAX: usize = 200;
/// Information items of a record.
pub const ITEMS_MAX: usize = 2_000;
/// Distributions of a record.
pub const DISTRIBUTIONS_MAX: usize = 200;
/// Local extension fields of a record.
pub const EXTENSIONS_MAX: usize = 200;
/// Days an update may be late before it is reported.
pub const UPDATE_GRACE_DAYS: i64 = 7;
/// Longest piece of a bad value repeated in a fault, characters.
pub const FAULT_VALUE_CHARS_MAX: usize = 80;

const _: () = assert!(ABSTRACT_CHARS_MAX * 4 < RECORD_BYTES_MAX);
