//! What the hub does by itself: it answers the districts' letters and finds what is in dispute.
//!
//! One task wakes when a feed moves. Letters come first; each is answered by an op of the hub that names it as cause,
//! with a refusal when nothing can be done about it, so none is looked at for ever and none holds up the next. Then
//! what changed since the last round is looked at, see [`watch`]. Everything is decided through [`App::decide`].

mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use liandong_core::{
    city::{Cause, City, cause_of},
    id::FeedId,
    limit,
    op::{Change, Op, OpType},
};
use liandong_store::Store;

use self::watch::Watch;
use crate::{
    app::{App, AppError},
    key, redact, transfer,
};

/// The actor of what nobody in particular decided.
pub(crate) const ACTOR: &str = "attend";
/// Pause between two rounds: what moves meanwhile is looked at together.
const GATHER: Duration = Duration::from_millis(200);
/// Letters of one district that are answered in a round.
const LETTERS_OF_FEED_MAX: usize = 16;

/// Answers one letter. What it returns names the letter as its cause.
type Answer = fn(&City, &Store, &Op) -> Result<Vec<Change>, AppError>;

/// Who answers what; a letter of another type waits.
const ANSWERS: [(OpType, Answer); 10] = [
    (OpType::ChangeRequestReply, |city, _, op| Ok(city.answer_reply(op)?)),
    (OpType::Dispute, |city, _, op| Ok(city.answer_dispute(op)?)),
    (OpType::KeyRotate, key::answer_rotation),
    (OpType::Redact, redact::answer_wish),
    (OpType::TransferOffer, transfer::answer_offer),
    (OpType::FeedSeal, transfer::answer_offer),
    (OpType::TransferAccept, transfer::answer_accept),
    // Ops about records are letters when a former owner wrote them.
    (OpType::RecordPut, transfer::answer_late),
    (OpType::RecordTombstone, transfer::answer_late),
    (OpType::RecordRevive, transfer::answer_late),
];

/// Attends to the city until it is aborted.
pub(crate) async fn attend(app: Arc<App>) {
    let mut moved = app.store.watch();
    let mut watch = Watch::new(app.own.feed(), &app.config.hub.city);
    loop {
        moved.borrow_and_update();
        if let Err(error) = answer_letters(&app).await {
            tracing::error!(%error, "letters of districts cannot be answered");
        }
        match round(&app, watch).await {
            Ok((going_on, more)) => {
                watch = going_on;
                if !more && moved.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "conflicts cannot be looked for; the search begins again");
                watch = Watch::new(app.own.feed(), &app.config.hub.city);
                if moved.changed().await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(GATHER).await;
    }
}

async fn answer_letters(app: &App) -> Result<(), AppError> {
    let mut answered: BTreeMap<FeedId, usize> = BTreeMap::new();
    for letter in app.store.letters()? {
        let of_feed = answered.entry(letter.feed).or_default();
        let op = app.store.ops(letter.feed, letter.seq - 1, 1, limit::BATCH_BYTES_MAX)?.pop();
        let Some(op) = op.filter(|_| *of_feed < LETTERS_OF_FEED_MAX) else { continue };
        let Some((_, answer)) = ANSWERS.iter().find(|(kind, _)| *kind == op.kind) else { continue };
        *of_feed += 1;
        let decided = app.decide(ACTOR, |city| {
            if city.attended.contains(&letter) {
                return Ok(Vec::new());
            }
            answer_of(answer(city, &app.store, &op), city, letter)
        });
        if let Err(error) = decided.await {
            tracing::error!(%error, feed = %letter.feed, seq = letter.seq, "a letter waits");
        }
    }
    Ok(())
}

/// The ops that answer a letter: what its kind's answer says, or a recorded refusal. Only a failure of our own is none.
fn answer_of(
    answer: Result<Vec<Change>, AppError>,
    city: &City,
    letter: Cause,
) -> Result<Vec<Change>, AppError> {
    let refusal = match answer {
        Ok(changes) if changes.iter().any(|c| cause_of(&c.payload) == Some(letter)) => {
            return Ok(changes);
        }
        Ok(mut changes) => {
            changes
                .push(city.refuse_letter(letter, "无需处理 / there is nothing to do".to_owned()));
            return Ok(changes);
        }
        Err(AppError::Refused(refusal)) => refusal.to_string(),
        Err(AppError::Declined(refusal)) => refusal.to_string(),
        Err(error) => return Err(error),
    };
    tracing::warn!(feed = %letter.feed, seq = letter.seq, reason = refusal, "a letter is refused");
    Ok(vec![city.refuse_letter(letter, refusal)])
}

/// Looks at what moved. Returns whether there is more to look at.
async fn round(app: &Arc<App>, mut watch: Watch) -> Result<(Watch, bool), AppError> {
    let reader = Arc::clone(app);
    let looked = tokio::task::spawn_blocking(move || {
        watch.follow(&reader.store, &reader.city())?;
        let unsettled = watch.unsettled(&reader.store, &reader.city())?;
        Ok::<_, AppError>((watch, unsettled))
    });
    let (mut watch, unsettled) = match looked.await {
        Ok(looked) => looked?,
        // The runtime is ending.
        Err(_gone) => return Ok((Watch::new(app.own.feed(), &app.config.hub.city), false)),
    };
    if !unsettled.is_empty() {
        let mut settled = Vec::new();
        let decided = app.decide(ACTOR, |city| {
            let changes;
            (changes, settled) = watch.settle(&unsettled, &app.store, city)?;
            Ok(changes)
        });
        decided.await?;
        watch.forget(&settled);
    }
    let more = watch.waits();
    Ok((watch, more))
}
