//! Cities of real processes: everything a district and the city do with the system, and everything that goes wrong.
//!
//! The short run is part of every `cargo test`. `LIANDONG_KILL_ROUNDS=30 LIANDONG_OFFLINE_EDITS=1000` make it the full
//! one, `LIANDONG_SEED` repeats one that failed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail and tell as tests do"
)]

mod backup;
mod change;
mod city;
mod ckan;
mod command;
mod crash;
mod daily;
mod desk;
mod feed;
mod held;
mod hostile;
mod hub_key;
mod import;
mod liar;
mod network;
mod rebuilt;
mod recovery;
mod refusal;
mod renewal;
mod repair;
mod search;
mod transfer;

use liandong_tests::{City, Member, wait_until};
use serde_json::Value;

/// The hub and the node, as one program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_liandong-process");

/// A number from the environment, for the full run.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Titles of the hits of `/api/v1/search`, best first.
fn titles(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"].as_array().expect("hits");
    hits.iter().map(|hit| hit["title"].as_str().expect("a title")).collect()
}

/// Waits until the node shows its link in this state, and returns what it tells people.
async fn shows(node: &Member, state: &str) -> String {
    wait_until(&format!("the node shows {state}"), async || {
        let link = node.link().await;
        if link.state.name() == state {
            Ok(link.explain.unwrap_or_default())
        } else {
            Err(format!("{link:?}"))
        }
    })
    .await
}

/// Waits until the hub shows the district in this state, and returns what it tells people.
async fn hub_shows(city: &City, code: &str, state: &str) -> String {
    wait_until(&format!("the hub shows {state}"), async || {
        let district = city.district(code).await;
        if district.state.name() == state {
            Ok(district.explain.unwrap_or_default())
        } else {
            Err(format!("{district:?}"))
        }
    })
    .await
}

/// A second node from the directory of one that does not run, with ports of its own.
fn clone_of(city: &City, node: &Member, name: &str) -> Member {
    let mut clone = city.node(name);
    copy_dir(node.dir(), clone.dir());
    let [http, grpc] = [clone.http_url(""), clone.grpc_url()]
        .map(|url| url.rsplit_once('/').unwrap().1.to_owned());
    clone.set_env("LIANDONG_HTTP__LISTEN", &http);
    clone.set_env("LIANDONG_GRPC__LISTEN", &grpc);
    clone
}

/// Copies a directory as a backup program would.
fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_dir(&from, &to);
        } else if kind.is_file() {
            std::fs::copy(from, to).unwrap();
        }
    }
}
