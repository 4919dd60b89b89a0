//! The municipal hub: mirrors the districts' feeds, keeps the directory, shows one catalogue of the city.
//!
//! [`App`](app::App) is the only writer of a hub's data directory. Nodes come in through [`receive`] and [`enrol`],
//! people through [`cli`]. The hub authors no records; its own feed holds decisions about who belongs to the city.

pub mod app;
pub mod archive;
mod attend;
mod backup;
pub mod cli;
pub mod command;
pub mod config;
pub mod desk;
mod desk_grpc;
pub mod district;
mod enrol;
mod follow;
pub mod gate;
pub mod key;
mod link;
pub mod operator;
mod peer;
pub mod policy;
mod receive;
mod recover;
mod recover_hub;
pub mod recovery;
pub mod redact;
pub mod root;
mod serve;
mod site;
mod sync;
pub mod transfer;
pub mod vocabulary;
