//! Reading a table of catalogue rows from a file somebody sends: CSV, workbooks, JSON.
//!
//! `read` turns bytes into rows exactly as they stand in the file and says in notes what was odd.
//! It decides nothing about their meaning: column names are matched and values checked by `core`.
//! Invariant: no input, however damaged, panics, and no more is held than the limits named in
//! `read` allow. They do not bound what the workbook reader unpacks while it opens a file.

mod fault;
mod grid;
mod json;
mod note;
pub mod plan;
mod read;
mod report;
mod sheet;
mod text;

#[cfg(test)]
mod tests;

pub use fault::ReadError;
pub use note::{Note, NoteKind};
pub use read::{
    CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX, FILE_BYTES_MAX, Format, ROWS_MAX, RawRow, ReadOptions,
    STDIN, Source, Table, read, read_bytes,
};
pub use report::{ErrorLine, write_error_sheet, write_error_sheet_to};
