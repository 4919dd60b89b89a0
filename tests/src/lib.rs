//! Harness shared by the test binaries and the benchmarks: whole cities of real processes.
//!
//! A [`City`] has a hub and makes nodes; every process is a [`Member`] with its own directory, ports and log. The
//! caller gives the path of the program `liandong-process`, built in whatever profile it wants to look at. Nothing here
//! sleeps for a time and hopes: [`wait_until`] asks until what was waited for holds, and says what it saw last when it
//! does not.
//!
//! ```no_run
//! # async fn example() {
//! use liandong_tests::{City, rows};
//!
//! let city = City::start("target/debug/liandong-process").await;
//! let node = city.join("310115", "浦东新区").await;
//! node.put(None, &rows::content(1)).await.expect("a valid record");
//! city.level(&node).await;
//! # }
//! ```

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness fails by panicking, with what it saw"
)]

pub mod bench;
mod city;
mod member;
pub mod proxy;
pub mod raw;
pub mod rows;
pub mod simulation;
mod wait;

pub use city::City;
pub use member::{Member, Ran, Role};
pub use wait::{DEADLINE, wait_until, wait_until_within};
