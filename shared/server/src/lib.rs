//! What node and hub both need around their own work: configuration, identities and TLS, retries, listeners, the admin
//! socket, logs, and the read side (pages and APIs) that both show.
//!
//! Nothing here writes a catalogue. Start with [`site`] for what a process gives to be read, [`read`] for how it is
//! shown and [`tls`] for who may connect.

pub mod admin;
pub mod backup;
mod ckan;
pub mod clock;
pub mod command;
pub mod config;
pub mod disk;
pub mod grpc;
pub mod identity;
pub mod keys;
pub mod listen;
pub mod output;
pub mod problem;
pub mod read;
pub mod retry;
pub mod search;
pub mod serve;
pub mod site;
pub mod telemetry;
pub mod tls;

/// Threads hand each other what they read, so memory is mostly freed by another one than took it: the C library's
/// allocator makes them wait for each other then.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
