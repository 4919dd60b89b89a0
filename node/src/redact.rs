//! Asking for the content of a version to be erased. The hub's order then erases it everywhere, here too.

use std::collections::BTreeMap;

use liandong_core::{
    city::RedactWish,
    decide,
    fold::is_about_records,
    id::{FeedId, RecordId},
    limit,
    op::{Change, OpType},
    record::Visibility,
};
use liandong_server::{
    keys,
    output::{Exit, Failure},
};
use liandong_store::{StoreError, journal::Erasures};

use crate::{
    app::{App, AppError},
    rejoin::State,
};

impl App {
    /// Erases what was set aside and waits in the local queue.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn erase_kept(
        &self,
        erasures: &BTreeMap<FeedId, Erasures>,
    ) -> Result<(), StoreError> {
        // A rejoin still reads what it gives up; its end comes here again.
        if erasures.is_empty() || State::is_kept(&self.dir) {
            return Ok(());
        }
        self.store.erase_aside(erasures)?;
        self.conflicts.erase(erasures)
    }

    /// Asks the hub to erase a version of a record that this node wrote.
    pub(crate) async fn redact(
        &self,
        id: RecordId,
        seq: u64,
        reason: String,
        actor: &str,
    ) -> Result<RedactWish, AppError> {
        if reason.trim().is_empty() {
            let (zh, en) = ("必须说明理由", "a reason is required");
            return Err(Failure::new("no_reason", Exit::Usage, zh, en).into());
        }
        let feed = self.own.feed();
        let found = self.store.ops(feed, seq.wrapping_sub(1), 1, limit::BATCH_BYTES_MAX)?.pop();
        let op = found
            .filter(|op| is_about_records(&op.kind) && op.subject.as_ref() == id.to_bytes())
            .ok_or(decide::Refusal::NotFound(id))?;
        let wish = RedactWish { seq, op_hash: op.hash, reason };
        let change = Change {
            kind: OpType::Redact,
            subject: id.to_bytes().to_vec(),
            base: Some(op.hash),
            payload: serde_json::to_vec(&wish).unwrap_or_default(),
            visibility: Visibility::Shared,
        };
        let mut turn = self.turn().await?;
        turn.write(vec![change], || keys::stamp(actor)).await?;
        Ok(wish)
    }
}
