//! Bytes that may never change: every message on the wire, what is signed, and what stands on disk.
//!
//! Districts upgrade when they can, so a hub reads what the version before wrote, and a journal is read for decades.
//! `LIANDONG_GOLDEN_NEW=1 cargo test --test golden` writes files that are missing; nothing writes one again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod golden {
    pub(crate) mod message;
    mod store;
    mod version;
    mod wire;
}

use std::{fmt::Write as _, fs, path::PathBuf};

use ed25519_dalek::SigningKey;
use liandong_core::{
    id::{FeedId, RecordId},
    op::{Author, Stamp},
};
use ulid::Ulid;

/// What a person has to do whose change moved the bytes.
const REMEDY: &str = "districts with the version before, or journals written by it, hold the old bytes; give the \
    message or format a new field, type or version, write down why in shared/decision, and add a golden file beside \
    this one, which stays";

fn dir(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(below)
}

/// Compares bytes with the file of that name, as hexadecimal text.
fn unchanged(below: &str, name: &str, bytes: &[u8]) {
    let path = dir(below).join(format!("{name}.hex"));
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    if std::env::var_os("LIANDONG_GOLDEN_NEW").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let known = fs::read_to_string(&path);
    let known = known.unwrap_or_else(|error| panic!("{}: {error}; see golden.rs", path.display()));
    assert!(known == text, "{name} has other bytes than {}: {REMEDY}\n{text}", path.display());
}

/// Bytes as kept in a file.
fn kept(below: &str, name: &str) -> Vec<u8> {
    let text = fs::read_to_string(dir(below).join(format!("{name}.hex"))).unwrap();
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

const FEED: FeedId = FeedId::new([7; 16]);
const HUB: FeedId = FeedId::new([8; 16]);

fn author(feed: FeedId) -> Author {
    Author::new(feed, SigningKey::from_bytes(&[feed.as_bytes()[0]; 32]))
}

fn record(number: u128) -> RecordId {
    RecordId::new(FEED, Ulid(number))
}

fn stamp(number: u128) -> Stamp {
    let now_ms = 1_478_000_000_000 + i64::try_from(number).unwrap();
    Stamp { now_ms, uid: number.to_be_bytes(), actor: "编目员".to_owned() }
}
