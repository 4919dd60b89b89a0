//! The pure domain of the federation: identities, catalogue records, the op envelope, the fold and the
//! replication machines.
//!
//! Nothing here does IO, reads a clock or draws a random number; time and entropy are parameters.
//! Start with [`op`] for what is written, [`fold`] for what it means and [`link`] for how it travels.

pub mod calendar;
pub mod checkpoint;
pub mod city;
pub mod code;
pub mod decide;
pub mod difference;
pub mod digest;
pub mod directory;
pub mod duplicate;
pub mod error;
pub mod expr;
pub mod fold;
pub mod id;
pub mod label;
pub mod limit;
pub mod link;
pub mod mapping;
pub mod mutant;
pub mod op;
pub mod receipt;
pub mod record;
pub mod rejoin;
pub mod replica;
pub mod search;
pub mod validate;
pub mod wire;
