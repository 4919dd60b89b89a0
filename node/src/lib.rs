//! A district's node: its own catalogue, journal and search, and the push of its feed to the hub.
//!
//! [`App`](app::App) is the only writer of a node's data directory. Everything works without the hub; [`push`] catches
//! up when it is there again.

pub mod app;
mod backup;
pub mod city;
pub mod cli;
pub mod command;
pub mod config;
pub mod conflict;
pub mod edit;
pub mod export;
mod follow;
pub mod guard;
pub mod import;
pub mod inbox;
mod join;
pub mod key;
mod link;
mod push;
mod redact;
pub mod rejoin;
mod renew;
pub mod repair;
mod return_feed;
mod serve;
mod site;
pub mod transfer;
