//! Keys of the node: another key for its feed, another certificate for its connections.

use std::{path::Path, sync::Arc};

use liandong_core::{
    op::{Author, Change, KeyRotation, Keys, OpType},
    record::Visibility,
};
use liandong_server::{
    clock, config::write_private, identity::IdentityError, keys, output::Output,
};
use liandong_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::{App, AppError, KEYS_DIR},
    renew,
};

/// In the keys directory: the first key of the feed, before the hub's feed tells it.
const FIRST_FILE: &str = "feed.first";
/// Ops that are read at a time when a rotation is looked for.
const SCAN_OPS: u64 = 256;

/// What the command line can ask for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// 更换签名密钥 / Sign with a new key from now on
    Rotate,
    /// 立即更换证书 / A new certificate now, before its time
    Renew,
}

/// Ends a rotation that a crash has interrupted: the author that signs is the one that the feed names.
pub(crate) fn settle(dir: &Path, store: &Store, author: Author) -> Result<Author, AppError> {
    let keys_dir = dir.join(KEYS_DIR);
    let Some(next) = keys::next(&keys_dir, author.feed())? else { return Ok(author) };
    let named = names(store, &next)?;
    if named {
        keep_first(&keys_dir, &author)?;
    }
    keys::settle_next(&keys_dir, named)?;
    tracing::info!(named, "a rotation of the feed's key was interrupted and is settled");
    Ok(if named { next.with_incarnation(author.incarnation()) } else { author })
}

/// Whether the feed has named the author's key, looking back from its end.
fn names(store: &Store, next: &Author) -> Result<bool, AppError> {
    let mut end = store.head(next.feed()).seq;
    while end > 0 {
        let after = end.saturating_sub(SCAN_OPS);
        let count = usize::try_from(end - after).unwrap_or(usize::MAX);
        let ops = store.ops(next.feed(), after, count, usize::MAX)?;
        let rotations = ops.iter().filter(|op| op.kind == OpType::KeyRotate);
        let mut named = rotations.filter_map(|op| KeyRotation::of(op).ok());
        if named.any(|rotation| *rotation.public_key.as_bytes() == next.public_key()) {
            return Ok(true);
        }
        end = after;
    }
    Ok(false)
}

/// The keys that the feed began with; rotations in the feed lead on from there.
pub(crate) fn first(dir: &Path, present: &Author) -> Result<Keys, AppError> {
    let mut keys = Keys::default();
    keys.grant(&first_public(dir, present), 1)?;
    Ok(keys)
}

/// The key that signed the feed's first op.
pub(crate) fn first_public(dir: &Path, present: &Author) -> [u8; 32] {
    let kept = std::fs::read_to_string(dir.join(KEYS_DIR).join(FIRST_FILE)).ok();
    let kept = kept.and_then(|text| hex::decode(text.trim()).ok()?.try_into().ok());
    kept.unwrap_or_else(|| present.public_key())
}

fn keep_first(keys_dir: &Path, author: &Author) -> Result<(), IdentityError> {
    let path = keys_dir.join(FIRST_FILE);
    if path.exists() {
        return Ok(());
    }
    let text = hex::encode(author.public_key());
    write_private(&path, text.as_bytes()).map_err(|source| IdentityError::File { path, source })
}

impl App {
    /// Carries out a command about keys.
    pub(crate) async fn change_key(self: &Arc<Self>, command: Command) -> Result<Value, AppError> {
        match command {
            Command::Rotate => {
                // A caller that goes away must not stop half-way what it asked for.
                let app = Arc::clone(self);
                let rotated = tokio::spawn(async move { app.rotate("cli").await });
                rotated.await.map_err(|gone| AppError::Refused(gone.to_string()))?
            }
            Command::Renew => {
                let until = renew::renew(self).await?;
                Ok(json!({ "until": clock::format_shanghai(until) }))
            }
        }
    }

    /// Names a new key in the feed and signs with it from then on. The key is kept before the feed names it, and takes
    /// the place of the old one after: whatever a crash leaves, the next start knows which of the two signs.
    async fn rotate(&self, actor: &str) -> Result<Value, AppError> {
        let keys_dir = self.dir.join(KEYS_DIR);
        let mut turn = self.turn().await?;
        let old = self.own.author();
        let next = keys::prepare_next(&keys_dir, old.feed())?;
        let rotation = KeyRotation::new(&next, old.key_id());
        let change = Change {
            kind: OpType::KeyRotate,
            subject: Vec::new(),
            base: None,
            payload: serde_json::to_vec(&rotation).unwrap_or_default(),
            visibility: Visibility::Shared,
        };
        keep_first(&keys_dir, &old)?;
        let ops = turn.write(vec![change], || keys::stamp(actor)).await?;
        let old_incarnation = old.incarnation();
        let (old, new) = (old.key_id(), next.key_id());
        turn.set_author(next.with_incarnation(old_incarnation));
        keys::settle_next(&keys_dir, true)?;
        tracing::info!(%old, %new, "the feed is signed with a new key");
        Ok(json!({ "old": old, "key": new, "seq": ops.last().map(|op| op.seq) }))
    }
}

/// Shows the answer to a command.
pub(crate) fn show(command: Command, answer: &Value, output: Output) {
    match command {
        Command::Rotate => output.line(&format!(
            "新的签名密钥 / new signing key: {}",
            answer["key"].as_str().unwrap_or_default()
        )),
        Command::Renew => output.line(&format!(
            "新证书有效期至 / new certificate until {}",
            answer["until"].as_str().unwrap_or_default()
        )),
    }
}
