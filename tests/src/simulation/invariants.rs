//! The invariants of `FEDERATION.md` 4, one function each, named by their numbers.
//!
//! Some are asked at the moment something happens (an op is folded, a message is sent), the others by
//! [`super::world`] after every step or once the city has healed.

use std::collections::BTreeMap;

use liandong_core::{
    city::{self, City},
    fold::{self, RecordState, Status},
    id::{FeedId, Hash, Head, RecordId},
    op::{Op, OpType},
    receipt::Receipt,
    record::{Record, Visibility},
    rejoin::Tail,
    wire::{Credit, Verdict},
};
use liandong_proto::sync as pb;
use liandong_store::journal::Journal;
use serde_json::Value;

use super::{
    fold::Fold,
    ledger::{Ledger, Relation},
    node::Node,
    reference::{self, Law},
};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A violation.
pub(super) fn broken(invariant: &'static str, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

fn holds(
    invariant: &'static str,
    it_does: bool,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if it_does { Ok(()) } else { Err(broken(invariant, what())) }
}

/// I1: every record that counts comes from an op of a feed that had authority there, signed by a key good there.
pub(super) fn i01_authority(city: &City, journal: &Journal, fold: &Fold) -> Result<(), Violation> {
    for (id, state) in fold.states() {
        let op = journal.op(state.seq).ok().flatten();
        let op = op.ok_or_else(|| broken("I1", format!("{id:?} comes from no op")))?;
        holds("I1", op.hash == state.op_hash && op.subject.as_ref() == id.to_bytes(), || {
            format!("{id:?} is not what op {} of {:?} says", op.seq, op.feed)
        })?;
        let entry = city.directory.feeds.get(&state.feed);
        holds("I1", entry.is_some_and(|entry| op.verify_kept(&entry.keys).is_ok()), || {
            format!("op {} of {:?} is signed with no key of the feed", op.seq, op.feed)
        })?;
    }
    Ok(())
}

/// I2 and I4: what was once durable at the hub is there, at its position, and is the same.
pub(super) fn i02_append_only(
    feed: FeedId,
    journal: &Journal,
    stored: &[Hash],
) -> Result<(), Violation> {
    for (seq, hash) in (1..).zip(stored) {
        let held = journal.hash_at(seq).ok().flatten();
        holds("I2", held == Some(*hash), || {
            format!("op {seq} of {feed:?} was durable at the hub and is {held:?} now")
        })?;
    }
    Ok(())
}

/// I3: positions are dense and chained.
pub(super) fn i03_dense(after: Head, ops: &[Op]) -> Result<(), Violation> {
    let mut head = after;
    for op in ops {
        holds("I3", op.seq == head.seq + 1 && op.prev == head.hash, || {
            format!("op {} of {:?} was taken after {head}", op.seq, op.feed)
        })?;
        head = op.head();
    }
    Ok(())
}

/// I4 at a node: what a person was told is saved is saved.
pub(super) fn i04_saved(feed: FeedId, saved: &[Hash], ops: &[Op]) -> Result<(), Violation> {
    for (seq, hash) in saved.iter().enumerate() {
        let held = ops.get(seq).map(|op| op.hash);
        holds("I4", held == Some(*hash), || {
            format!("op {} of {feed:?} was saved and is {held:?} now", seq + 1)
        })?;
    }
    Ok(())
}

/// I4 at the hub, and I25: every receipt ever sent is for what the hub holds.
pub(super) fn i04_receipts(ledger: &Ledger) -> Result<(), Violation> {
    for (feed, (positions, _)) in &ledger.promised {
        let Some((seq, hash)) = positions.last_key_value() else { continue };
        held(*feed, *seq, *hash, ledger)?;
    }
    Ok(())
}

fn held(feed: FeedId, seq: u64, hash: Hash, ledger: &Ledger) -> Result<(), Violation> {
    let at = usize::try_from(seq).unwrap_or(0).checked_sub(1);
    let stored = at.and_then(|at| ledger.stored(feed).get(at));
    // What the hub lost is looked at once it has been rebuilt.
    let awaited = ledger.lost_twice.contains(&feed) || (ledger.hub_lost && stored.is_none());
    holds("I4", stored == Some(&hash) || awaited, || {
        format!(
            "a receipt was sent for op {seq} of {feed:?}; durable are {}",
            ledger.stored(feed).len()
        )
    })
}

/// I4, I5 and I25 once the city has healed: all receipts, whatever one side had lost in between; each verifies with
/// nothing but the hub's key.
pub(super) fn i25_receipts_for_ever(
    ledger: &Ledger,
    hub_key: &[u8; 32],
    settled: impl Fn(FeedId) -> bool,
) -> Result<(), Violation> {
    for (feed, (positions, last)) in &ledger.promised {
        holds("I25", last.verifies(hub_key), || format!("a receipt for {feed:?} does not verify"))?;
        if ledger.lost_twice.contains(feed) || !settled(*feed) {
            continue;
        }
        for (seq, hash) in positions {
            let at = usize::try_from(*seq).unwrap_or(0).checked_sub(1);
            let stored = at.and_then(|at| ledger.stored(*feed).get(at));
            let rule = if ledger.hub_lost { "I5" } else { "I25" };
            holds(rule, stored == Some(hash), || {
                format!("op {seq} of {feed:?} has a receipt and is {stored:?} at the hub")
            })?;
        }
    }
    Ok(())
}

/// I25: a receipt that a node takes is for its own op.
pub(super) fn i25_receipt_is_ours(receipt: &Receipt, held: Option<Hash>) -> Result<(), Violation> {
    holds("I25", held == Some(receipt.head.hash), || {
        format!(
            "a receipt for {} of {:?}, where the node holds {held:?}",
            receipt.head, receipt.feed
        )
    })
}

/// I6: the hub's verdict is how the two logs relate.
pub(super) fn i06_verdict(
    feed: FeedId,
    verdict: Verdict,
    relation: Relation,
) -> Result<(), Violation> {
    let fits = match verdict {
        Verdict::InSync => relation == Relation::Equal,
        Verdict::Rollback => relation == Relation::Behind,
        Verdict::Fork => relation == Relation::Apart,
        // Without a probe at the mirror's head the node finds out by itself.
        Verdict::Extend => matches!(relation, Relation::Extends | Relation::Apart),
        Verdict::Fenced | Verdict::UpgradeRequired | Verdict::HubRecovering => true,
    };
    holds("I6", fits, || format!("{} for {feed:?}, whose logs are {relation:?}", verdict.name()))
}

/// I6: a node freezes when something was rolled back, and only then.
pub(super) fn i06_freezes_for_a_reason(
    feed: FeedId,
    may_freeze: bool,
    verdict: Verdict,
    explain: &str,
) -> Result<(), Violation> {
    holds("I6", may_freeze, || {
        format!("{} for {feed:?}, which nobody restored or cloned: {explain}", verdict.name())
    })
}

/// I6: whatever a node wrote apart is at the hub, is written again, or waits for a person; but for keys it took apart.
pub(super) fn i06_nothing_dropped(
    mine: &[Op],
    theirs: &Tail,
    again: &[Op],
    queued: &[[u8; 16]],
) -> Result<(), Violation> {
    for op in mine {
        let kept = theirs.hash_of(&op.uid).is_some()
            || again.iter().any(|other| other.uid == op.uid)
            || queued.contains(&op.uid)
            || op.kind == OpType::KeyRotate;
        holds("I6", kept, || {
            format!("op {} of {:?} is lost when its node joins again", op.seq, op.feed)
        })?;
    }
    Ok(())
}

/// I7: an op takes effect once, whatever was sent how often.
pub(super) fn i07_once(op: &Op, new: bool) -> Result<(), Violation> {
    holds("I7", new, || format!("op {} of {:?} is there twice", op.seq, op.feed))
}

/// I7: a letter is answered once, be it with several ops in a row.
pub(super) fn i07_answered_once(op: &Op, ledger: &mut Ledger) -> Result<(), Violation> {
    let said: Value = serde_json::from_slice(&op.signed.payload).unwrap_or_default();
    let Ok(cause) = serde_json::from_value(said["cause"].clone()) else { return Ok(()) };
    let answer = (op.seq, op.kind.name().to_owned());
    let before = ledger.answered.insert(cause, answer.clone());
    let new = before.as_ref().is_none_or(|before| {
        *before == answer || (before.0 + 1 == answer.0 && before.1 != answer.1)
    });
    holds("I7", new, || {
        format!("{cause:?} was answered by op {before:?} of the hub and again by {answer:?}")
    })
}

/// I8: two catalogues that differ have different roots.
pub(super) fn i08_leaves_differ(
    id: RecordId,
    before: Option<RecordState>,
    after: RecordState,
) -> Result<(), Violation> {
    let said = |state: RecordState| (state.status, state.payload_hash);
    let Some(before) = before.filter(|before| said(*before) != said(after)) else { return Ok(()) };
    holds("I8", before.leaf(id) != after.leaf(id), || {
        format!("{id:?} was {:?}, is {:?}, and its leaf is the same", said(before), said(after))
    })
}

/// I9: without the hub, all that people write is saved and takes effect where they work.
pub(super) fn i09_autonomy(node: &Node) -> Result<(), Violation> {
    // A process whose disk has just failed is started again, and told nobody that anything was saved.
    let Some(process) = &node.process else { return Ok(()) };
    let (written, saved) = (process.journal.written(), node.saved.len() as u64);
    let folded = process.fold.head();
    holds("I9", saved == written.seq && folded == written, || {
        format!("{:?} wrote up to {written}; saved {saved}, in effect {folded}", node.feed)
    })
}

/// I10: whatever an op is, those after it are folded.
pub(super) fn i10_no_poison(feed: FeedId, folded: u64, due: u64) -> Result<(), Violation> {
    holds("I10", folded == due, || format!("{feed:?} is folded up to {folded} of {due}"))
}

/// I12: a replica of the hub's feed has the hub's conflicts with all their versions, each party has them in its inbox,
/// and none is over without a decision.
pub(super) fn i12_conflicts(hub: &City, replica: &City) -> Result<(), Violation> {
    holds("I12", hub.head != replica.head || hub.conflicts == replica.conflicts, || {
        format!("two folds of the hub's feed up to {} have other conflicts", hub.head)
    })?;
    for conflict in hub.conflicts.iter() {
        let opened = &conflict.opened;
        let decided = conflict.state() == city::ConflictState::Decided;
        holds("I12", !decided || conflict.decision().is_some(), || {
            format!("conflict {} is over without a decision", opened.id)
        })?;
        for party in &opened.parties {
            let there = hub.conflicts_of(Some(*party)).any(|one| one.opened.id == opened.id);
            holds("I12", there, || format!("{party:?} is not told of conflict {}", opened.id))?;
        }
    }
    Ok(())
}

/// I13: only a revival makes a withdrawn record live.
pub(super) fn i13_no_resurrection(
    op: &Op,
    before: Option<RecordState>,
    after: RecordState,
) -> Result<(), Violation> {
    let rises = before.is_some_and(|before| before.status == Status::Withdrawn)
        && after.status == Status::Live;
    holds("I13", !rises || op.kind == OpType::RecordRevive, || {
        format!("op {} of {:?} ({}) brings a record back", op.seq, op.feed, op.kind.name())
    })
}

/// I14: one feed holds a record, the one that the hub's feed names, and nothing that another wrote after it gave the
/// record away counts.
pub(super) fn i14_one_authority(law: &Law, city: &City, fold: &Fold) -> Result<(), Violation> {
    for (id, state) in fold.states() {
        holds("I14", law.counts(state.feed, state.seq, *id), || {
            format!(
                "op {} of {:?} changed {id:?}, which was not its to change",
                state.seq, state.feed
            )
        })?;
        holds("I14", city.owner(*id) == law.owner(*id), || {
            format!("{id:?} belongs to {:?} and not to {:?}", law.owner(*id), city.owner(*id))
        })?;
    }
    Ok(())
}

/// I14: what a former owner wrote after it gave a record away is asked of the present one.
pub(super) fn i14_late_edits_are_asked(
    city: &City,
    journal: &Journal,
    fold: &Fold,
) -> Result<(), Violation> {
    for seq in fold.letters() {
        let Ok(Some(op)) = journal.op(*seq) else { continue };
        let cause = Some(city::Cause { feed: op.feed, seq: op.seq });
        let asked = city.curation.requests.values().any(|request| request.asked.cause == cause);
        // What cannot be read cannot be asked for; it is kept as a conflict.
        let readable =
            op.kind == OpType::RecordTombstone || Record::from_bytes(&op.signed.payload).is_ok();
        let told = city.conflicts.iter().any(|conflict| conflict.opened.cause == cause);
        let kept = asked || (told && !readable);
        holds("I14", kept || !fold::is_about_records(&op.kind), || {
            format!("the late edit {seq} of {:?} is asked of nobody", op.feed)
        })?;
    }
    Ok(())
}

/// I15: a record belongs to the feed in its id until it was transferred; a code to one record.
pub(super) fn i15_identity(city: &City, feed: FeedId, fold: &Fold) -> Result<(), Violation> {
    for id in fold.states().keys().filter(|id| id.origin() != feed) {
        let taken = city.authority.transfers().iter().any(|transfer| transfer.to_feed == feed);
        holds("I15", taken, || format!("{feed:?} holds {id:?}, which it never took over"))?;
    }
    for (code, holder) in city.codes.iter() {
        holds("I15", city.codes.holder(code) == Some(*holder), || {
            format!("{code} has two holders")
        })?;
    }
    Ok(())
}

/// I11, I16 and F18: what the hub takes is, byte for byte, what somebody entitled to it signed.
pub(super) fn i16_as_signed(ops: &[Op], ledger: &Ledger) -> Result<(), Violation> {
    for op in ops {
        match ledger.authored.get(&op.hash) {
            None => {
                let what =
                    format!("the hub took op {} of {:?} that nobody signed", op.seq, op.feed);
                return Err(broken("I1", what));
            }
            Some(signed) => holds("I16", *signed == op.signed, || {
                format!("op {} of {:?} has other bytes at the hub", op.seq, op.feed)
            })?,
        }
    }
    Ok(())
}

/// I16: what a node sends on is, byte for byte, what was signed.
pub(super) fn i16_on_the_wire(message: &pb::PushUp, ledger: &Ledger) -> Result<(), Violation> {
    let Some(pb::push_up::M::Batch(batch)) = &message.m else { return Ok(()) };
    for (seq, op) in (batch.first_seq..).zip(&batch.ops) {
        let known = ledger.authored.get(&Hash::of(&[&op.header]));
        let same = known
            .is_some_and(|signed| signed.payload == op.payload && signed.signature == op.signature);
        holds("I16", same, || format!("op {seq} is sent with other bytes than were signed"))?;
    }
    Ok(())
}

/// I17: with any other clocks the records are the same.
pub(super) fn i17_clocks_decide_nothing(
    ops: &[Op],
    city: &City,
    shift: i64,
) -> Result<(), Violation> {
    let Some(feed) = ops.first().map(|op| op.feed) else { return Ok(()) };
    let rules = city.rules(feed);
    let mut states: [BTreeMap<RecordId, RecordState>; 2] = Default::default();
    for (index, states) in states.iter_mut().enumerate() {
        for op in ops {
            let mut op = op.clone();
            if index == 1 {
                // The later an op is, the earlier it says to be.
                op.claimed_at_ms = shift - i64::try_from(op.seq).unwrap_or(0) * 1_000;
            }
            let folded = fold::fold(&op, &rules, |id| states.get(&id).copied());
            states.extend(folded.change);
        }
    }
    let [with, without] = states
        .map(|all| all.into_iter().map(|(id, s)| (id, s.leaf(id), s.seq)).collect::<Vec<_>>());
    holds("I17", with == without, || format!("other clocks make other records of {feed:?}"))
}

/// I18: nothing that a revoked key signed after its last good op counts.
pub(super) fn i18_revoked(city: &City, journal: &Journal, fold: &Fold) -> Result<(), Violation> {
    for state in fold.states().values() {
        for revoke in city.revoked.get(&state.feed).into_iter().flatten() {
            if state.seq <= revoke.last_good.seq {
                continue;
            }
            let key = journal.op(state.seq).ok().flatten().map(|op| op.key);
            holds("I18", key != Some(revoke.key), || {
                format!("op {} of {:?} counts, its key was revoked", state.seq, state.feed)
            })?;
        }
    }
    Ok(())
}

/// I19: no more is under way than was granted.
pub(super) fn i19_window(in_flight: u64, credit: Credit) -> Result<(), Violation> {
    holds("I19", in_flight <= u64::from(credit.ops), || {
        format!("{in_flight} ops are in flight, granted are {}", credit.ops)
    })
}

/// I21: the journal alone gives the same view.
pub(super) fn i21_rebuilt(
    feed: FeedId,
    journal: &Journal,
    city: &City,
    root: Hash,
) -> Result<(), Violation> {
    let mut fresh = Fold::new(feed);
    fresh.advance(journal, city)?;
    holds("I21", fresh.root() == root, || format!("{feed:?} folded again has another root"))
}

/// I22: nobody sees a record that is not for them.
pub(super) fn i22_audience(
    city: &City,
    fold: &Fold,
    audience: Option<FeedId>,
) -> Result<(), Violation> {
    for (id, state) in fold.states() {
        let owner = city.owner(*id);
        let entitled = match state.visibility {
            Visibility::Public => true,
            Visibility::Shared => audience.is_some(),
            Visibility::Restricted => audience == Some(owner),
        };
        let seen = city::row(city, *id, state, audience).is_some();
        holds("I22", entitled || !seen, || {
            format!("{audience:?} sees {id:?}, which is {:?}", state.visibility)
        })?;
    }
    Ok(())
}

/// I24: however it was reached, the view is what the plainly written rules say.
pub(super) fn i24_reference(ops: &[Op], hub: &[Op], fold: &Fold) -> Result<(), Violation> {
    let wanted = reference::fold(ops, hub);
    let found: BTreeMap<RecordId, reference::Left> = fold
        .states()
        .iter()
        .map(|(id, state)| (*id, (state.status, state.payload_hash, state.seq)))
        .collect();
    if wanted == found {
        return Ok(());
    }
    let differs = wanted.iter().find(|(id, left)| found.get(*id) != Some(*left));
    let more = found.iter().find(|(id, _)| !wanted.contains_key(*id));
    Err(broken("I24", format!("the rules say {differs:?}; the view has also {more:?}")))
}
