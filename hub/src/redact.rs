//! Erasing the content of an op everywhere: by a person at the hub, or because its district asks for it.

use liandong_core::{
    city::{self, Cause, City, RedactWish, Redaction},
    fold::is_about_records,
    id::{DistrictCode, FeedId, Hash},
    limit,
    op::{Change, Op},
};
use liandong_server::{
    admin::AdminError,
    command::{Erased, answer},
};
use liandong_store::{Store, StoreError};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    command::{ACTOR, refused},
};

/// The order to erase an op. Only ops about records are erased: what others say, replicas need for ever.
fn order(
    store: &Store,
    feed: FeedId,
    seq: u64,
    wanted: Option<Hash>,
    reason: &str,
) -> Result<Redaction, AppError> {
    let not_found = || city::Refusal::NotFound(format!("{feed} {seq}"));
    let found = store.ops(feed, seq.wrapping_sub(1), 1, limit::BATCH_BYTES_MAX)?.pop();
    let op = found.filter(|op| op.seq == seq && wanted.is_none_or(|hash| hash == op.hash));
    let op = op.ok_or_else(not_found)?;
    if !is_about_records(&op.kind) {
        return Err(city::Refusal::Unfit(op.kind.name().to_owned()).into());
    }
    if store.feed(feed).is_none_or(|progress| progress.applied.seq < seq) {
        return Err(city::Refusal::Changed(format!("{feed} {seq}")).into());
    }
    let failed = store.outcomes(feed, seq - 1, 1)?;
    let effect = failed.first().is_none_or(|(failed, _)| *failed != seq);
    let reason = reason.to_owned();
    Ok(Redaction { feed, seq, op_hash: op.hash, reason, effect, cause: None })
}

/// The answer to a district that asks for an op of its feed to be erased.
///
/// # Errors
/// The wish cannot be read, names no such op, or one that cannot be erased.
pub fn answer_wish(city: &City, store: &Store, op: &Op) -> Result<Vec<Change>, AppError> {
    let wish: RedactWish = serde_json::from_slice(&op.signed.payload)
        .map_err(|error| city::Refusal::Unfit(error.to_string()))?;
    let cause = Some(Cause { feed: op.feed, seq: op.seq });
    let order = order(store, op.feed, wish.seq, Some(wish.op_hash), &wish.reason)?;
    Ok(city.redact(&Redaction { cause, ..order })?)
}

impl App {
    /// Erases what the city says is erased in the archive, of one feed or of all.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn erase_archive(&self, feed: Option<FeedId>) -> Result<(), StoreError> {
        let city = self.city();
        if city.redactions.is_empty() {
            return Ok(());
        }
        let erasures = self.store.erasures(&city)?;
        let feeds = feed.map_or_else(|| self.archive.feeds(), |feed| vec![feed]);
        feeds.into_iter().try_for_each(|feed| self.archive.erase(feed, &erasures))
    }

    /// Erases the content of an op by a decision of the hub.
    pub(crate) async fn redact(
        &self,
        feed: &str,
        seq: u64,
        legal_basis: &str,
    ) -> Result<Value, AdminError> {
        let not_found = || refused(city::Refusal::NotFound(feed.to_owned()));
        let feed = if let Ok(feed) = feed.parse::<FeedId>() {
            feed
        } else {
            let code: DistrictCode = feed.parse().map_err(|_bad| not_found())?;
            self.city().directory.feed_of(&code).ok_or_else(not_found)?
        };
        if legal_basis.trim().is_empty() {
            return Err(refused(city::Refusal::NoLegalBasis));
        }
        let order = order(&self.store, feed, seq, None, legal_basis).map_err(refused)?;
        self.decide(ACTOR, |city| Ok(city.redact(&order)?)).await.map_err(refused)?;
        answer(&Erased::of(order))
    }
}
