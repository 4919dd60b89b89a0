//! Backups of running processes, and what becomes of a city whose hub or node was restored from one.

use std::path::{Path, PathBuf};

use liandong_server::site::BackupVerified;
use liandong_tests::{City, Member, rows, wait_until};
use serde_json::Value;

use crate::{PROGRAM, change::given_up};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes a backup of a member into the city's folder and returns the file.
async fn back_up(city: &City, member: &Member, name: &str, more: &[&str]) -> PathBuf {
    let to = city.root().join(name);
    let args = [&["backup", text(&to)][..], more].concat();
    let taken = member.cli_json(&args).await;
    assert_eq!(taken["checked"]["report"]["faults"], serde_json::json!([]), "{taken}");
    to
}

/// Replaces a member's directory by a backup of it.
async fn restore(member: &mut Member, from: &Path) {
    member.kill();
    std::fs::remove_dir_all(member.dir()).unwrap();
    let into = member.dir().to_owned();
    let restored = member.cli_json(&["restore", text(from), "--into", text(&into)]).await;
    assert_eq!(restored["checked"]["report"]["faults"], serde_json::json!([]), "{restored}");
}

async fn verified(member: &Member) -> BackupVerified {
    wait_until("a backup was verified", async || {
        let backup = member.status().await.backup;
        let found = backup.as_ref().and_then(|backup| backup.verified.clone());
        found.ok_or_else(|| format!("{backup:?}"))
    })
    .await
}

#[tokio::test]
async fn a_backup_is_made_while_serving_and_whatever_is_wrong_with_one_is_told() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    for member in [&city.hub, &node] {
        let role = if member.dir() == node.dir() { "node" } else { "hub" };
        let to = back_up(&city, member, &format!("{role}.tar.zst"), &[]).await;
        let checked = member.cli_json(&["verify-backup", text(&to)]).await;
        let root = member.status().await.view.root.to_string();
        assert_eq!(checked["good"], true, "{checked}");
        assert_eq!(checked["checked"]["report"]["root"], root, "{checked}");
        assert_eq!(checked["checked"]["report"]["live"], 1, "{checked}");
        let told = member.cli(&["verify-backup", text(&to)]).await.exits(0).stdout;
        assert!(told.contains("可以恢复 / it can be restored"), "{told}");

        // Nothing is written over: neither the backup nor a directory.
        let ran = member.cli(&["backup", text(&to)]).await.exits(4);
        assert!(ran.stderr.contains("已存在") && ran.stderr.contains("办法"), "{ran:?}");
        let into = member.dir();
        let ran = member.cli(&["restore", text(&to), "--into", text(into)]).await.exits(4);
        assert!(ran.stderr.contains("已存在"), "{ran:?}");
        // A part of one is none.
        let bytes = std::fs::read(&to).unwrap();
        let part = city.root().join("part.tar.zst");
        std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
        let ran = member.cli(&["verify-backup", text(&part)]).await.exits(3);
        assert!(ran.stderr.contains("不是完整的备份"), "{ran:?}");
    }
    // Each program restores its own.
    let from = city.root().join("node.tar.zst");
    let into = city.root().join("other");
    let ran = city.hub.cli(&["restore", text(&from), "--into", text(&into)]).await.exits(2);
    assert!(ran.stderr.contains("liandong-node restore"), "{ran:?}");
    assert!(!into.exists(), "nothing is left of what was refused");
    // Without keys it is still a backup of the data; only with keys it is no data.
    let bare = back_up(&city, &city.hub, "bare.tar.zst", &["--no-keys"]).await;
    let _good = city.hub.cli(&["verify-backup", text(&bare)]).await.exits(0);
    let keys = back_up(&city, &city.hub, "keys.tar.zst", &["--keys-only"]).await;
    let ran = city.hub.cli(&["restore", text(&keys), "--into", text(&into)]).await.exits(2);
    assert!(ran.stderr.contains("init --recover"), "{ran:?}");
}

#[tokio::test]
async fn a_process_backs_itself_up_and_shows_when_it_last_could_be_restored() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let folder = city.root().join("backups");
    for member in [&mut city.hub, &mut node] {
        assert!(member.status().await.backup.is_none(), "none was asked for");
        member.set_env("LIANDONG_BACKUP__DIR", text(&folder));
        member.restart().await;
        let last = verified(member).await;
        assert_eq!((last.records, last.keys), (1, true), "{last:?}");
        let _good = member.cli(&["verify-backup", &last.file]).await.exits(0);
        let status: Value = member.cli_json(&["status"]).await;
        assert_eq!(status["backup"]["overdue"], false, "{status}");
        assert_eq!(status["backup"]["every_hours"], 24, "{status}");
        let told = member.cli(&["status"]).await.exits(0).stdout;
        assert!(told.contains("最近核对的备份"), "{told}");
        member.logs(&["a backup was made, restored and verified", &last.file]).await;
        wait_until("the figures tell of it", async || {
            let figures = member.text("/metrics").await;
            let there = figures.contains("liandong_backup_verified_seconds 1")
                && figures.contains("liandong_backup_overdue 0");
            there.then_some(()).ok_or(figures)
        })
        .await;
    }
    // It is known after a restart, and none is made before its time.
    let before = verified(&node).await;
    node.restart().await;
    assert_eq!(verified(&node).await, before);

    // One that cannot be written is told, and the last good one goes on counting.
    let file = city.root().join("not-a-folder");
    std::fs::write(&file, "").unwrap();
    let nowhere = file.join("backup.tar.zst");
    let _failed = node.cli(&["backup", text(&nowhere)]).await.exits(1);
    let backup = node.status().await.backup.unwrap();
    assert_eq!(backup.verified, Some(before));
    assert!(backup.failed.unwrap().explain.contains('/'));
}

#[tokio::test]
async fn a_node_restored_from_a_backup_is_known_for_one_and_gets_back_what_it_had_sent() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let backup = back_up(&city, &node, "node.tar.zst", &[]).await;
    let later = node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    let root = node.status().await.view.root;

    restore(&mut node, &backup).await;
    node.start().await;
    city.hub.logs(&["ROLLBACK"]).await;
    city.level(&node).await;
    let status = node.status().await;
    assert_eq!((status.view.root, status.feed.seq), (root, 2));
    assert!(node.list().await.iter().any(|shown| shown.id == later.id));
}

/// What a backup leaves out: the journals are compared by its check, the rest is derived or the running process's.
const LEFT_OUT: [&str; 10] = [
    "lock",
    "admin.sock",
    "backups.json",
    "root.pem",
    "data/journal",
    "data/view",
    "data/shown",
    "data/index",
    "data/replica",
    "data/staged",
];

/// Every file below a directory that a backup must hold, by its place.
fn kept_files(dir: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir.join(below)).unwrap() {
        let entry = entry.unwrap();
        let place = below.join(entry.file_name());
        if LEFT_OUT.iter().any(|left| place.starts_with(left)) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            kept_files(dir, &place, found);
        } else {
            found.push(place);
        }
    }
}

#[tokio::test]
async fn a_backup_holds_everything_that_cannot_be_made_again() {
    let mut city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let id = node.put(None, &rows::content(1)).await.unwrap().id;
    city.level(&node).await;
    let conflict = given_up(&city, &mut node, id, ["这里的", "中心的"]).await;
    let _rotated = node.cli(&["key", "rotate"]).await.exits(0);
    city.level(&node).await;
    let mut all = Vec::new();
    for (member, name) in [(&mut city.hub, "hub"), (&mut node, "node")] {
        member.stop().await;
        let (to, into) =
            (format!("{}.tar.zst", member.dir().display()), member.dir().with_extension("again"));
        let taken = member.cli_json(&["backup", &to]).await;
        assert_eq!(taken["checked"]["report"]["faults"], serde_json::json!([]), "{taken}");
        let _back = member.cli(&["restore", &to, "--into", text(&into)]).await.exits(0);
        let mut files = Vec::new();
        kept_files(member.dir(), Path::new(""), &mut files);
        for file in files {
            let [was, is] = [member.dir(), &into].map(|dir| std::fs::read(dir.join(&file)));
            assert_eq!(was.unwrap(), is.unwrap_or_default(), "{name}: {}", file.display());
            all.push(format!("{name}/{}", file.display()));
        }
    }
    let parts = [
        "hub/keys/anchor.json",
        "hub/ca/",
        "hub/data/archive/",
        "node/anchor.json",
        "node/keys/feed.first",
        "node/data/journal.forked-",
        &format!("node/conflicts/{conflict}.json"),
    ];
    for part in parts {
        assert!(all.iter().any(|file| file.starts_with(part)), "no {part} in {all:#?}");
    }
}

#[tokio::test]
async fn no_backup_is_made_of_a_node_that_joins_again() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let to = city.root().join("node.tar.zst");
    let (notes, identity) = (node.dir().join("rejoin.json"), node.dir().join("keys/identity.json"));
    let identity: Value = serde_json::from_slice(&std::fs::read(identity).unwrap()).unwrap();
    let nowhere = serde_json::json!({ "seq": 0, "hash": "00".repeat(32) });
    let state = serde_json::json!({
        "phase": "writing", "identity": identity, "ancestor": nowhere, "abandoned": nowhere,
        "aside": "journal.forked-1",
    });
    std::fs::write(&notes, state.to_string()).unwrap();
    let refused = node.cli(&["backup", text(&to)]).await.exits(4);
    assert!(refused.stderr.contains("此时不能备份") && !to.exists(), "{refused:?}");
    std::fs::remove_file(&notes).unwrap();
    let _taken = node.cli(&["backup", text(&to)]).await.exits(0);
}
