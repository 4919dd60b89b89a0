//! How much room there is.

use std::{io, path::Path};

/// Bytes that this process may still write on the file system of a directory.
///
/// # Errors
/// What the operating system says.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    fs4::available_space(dir)
}
