//! What is held against the design and measured against labelled or recorded data, with the figures printed.
//!
//! Real catalogues are no part of the project: they are looked for beside the checkout or where `LIANDONG_REAL` says. A
//! test that needs them says so and passes when nobody asked for them.

mod duplicate;
mod proof;
mod relevance;
mod replay;
