//! Proof that journal, view and index belong together.

use std::collections::BTreeMap;

use liandong_core::{
    city::City,
    digest::Digest,
    fold::{self, RecordState, Status},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::{Keys, Op, OpType},
};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::{
    error::StoreError,
    projector::{Journals, Terms},
};

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Ops read from the journals.
    pub ops: u64,
    /// Of them, ops whose signature was checked.
    pub signatures: u64,
    /// Records, withdrawn ones included.
    pub records: u64,
    /// Live records.
    pub live: u64,
    /// Root that a fresh fold of the journals gives.
    pub root: Option<Hash>,
    /// Documents in the index.
    pub documents: u64,
    /// Everything that is wrong; empty when all is well.
    pub faults: Vec<String>,
}

/// What the journals give when they are folded from nothing.
#[derive(Debug, Default)]
pub(crate) struct Refolded {
    /// States of the records by the feed that made them.
    pub(crate) states: BTreeMap<(RecordId, FeedId), RecordState>,
    /// Root of a feed's records at the position that was asked for.
    pub(crate) noted: BTreeMap<FeedId, Hash>,
}

/// Reads every op up to `ends`, checks it and folds it as far as the hub lets it take effect. Roots are noted at the
/// positions in `noted`. What is wrong goes into the report.
pub(crate) fn refold(
    journals: &impl Journals,
    ends: &BTreeMap<FeedId, Head>,
    keys: &BTreeMap<FeedId, Keys>,
    noted: &BTreeMap<FeedId, Head>,
    report: &mut VerifyReport,
    mut progress: impl FnMut(u64, u64),
) -> Result<Refolded, StoreError> {
    let total = ends.values().map(|head| head.seq).sum();
    let mut refolded = Refolded::default();
    for (feed, end) in ends {
        let feed = *feed;
        let Terms { rules, gate, .. } = journals.terms(feed);
        let mut keys = keys.get(&feed).cloned();
        let mut states = BTreeMap::new();
        let mut head = Head::EMPTY;
        while head.seq < end.seq {
            let ops = journals.with(feed, |journal| {
                journal.read(head.seq, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)
            });
            let ops = ops.transpose()?.unwrap_or_default();
            if ops.is_empty() {
                report.faults.push(format!("feed {feed}: op {} is missing", head.seq + 1));
                break;
            }
            for op in ops.into_iter().take_while(|op| op.seq <= end.seq) {
                check(&op, feed, head, keys.as_mut(), report);
                head = op.head();
                if op.seq <= gate {
                    let folded = fold::fold(&op, &rules, |id| states.get(&id).copied());
                    states.extend(folded.change);
                }
                if noted.get(&feed) == Some(&head) {
                    let mut digest = Digest::default();
                    for (id, state) in &states {
                        digest.set(*id, state.leaf(*id));
                    }
                    refolded.noted.insert(feed, digest.root());
                }
            }
            progress(report.ops, total);
        }
        refolded.states.extend(states.into_iter().map(|(id, state)| ((id, feed), state)));
    }
    Ok(refolded)
}

/// Checks one op: its place in the chain and, where the keys are known, its signature.
fn check(op: &Op, feed: FeedId, head: Head, keys: Option<&mut Keys>, report: &mut VerifyReport) {
    report.ops += 1;
    if let Err(fault) = op.follows(feed, head) {
        report.faults.push(format!("feed {feed} op {}: {fault}", op.seq));
    }
    let Some(keys) = keys else { return };
    report.signatures += 1;
    let mut checked = op.verify_kept(keys);
    if op.kind == OpType::KeyRotate && checked.is_ok() {
        checked = keys.rotate(op);
    }
    if let Err(fault) = checked {
        report.faults.push(format!("feed {feed} op {}: {fault}", op.seq));
    }
}

impl VerifyReport {
    /// Counts the records and gives the root over them.
    pub(crate) fn count(
        &mut self,
        states: &BTreeMap<(RecordId, FeedId), RecordState>,
        city: &City,
    ) {
        let mut digests: BTreeMap<FeedId, Digest> = BTreeMap::new();
        for ((id, feed), state) in states {
            digests.entry(*feed).or_default().set(*id, state.leaf(*id));
            // Of a record that changed hands one state counts: that of the last owner who made anything of it.
            let owners = city.authority.spans(*id);
            let mut made =
                owners.iter().rev().filter(|span| states.contains_key(&(*id, span.feed)));
            if made.next().is_some_and(|span| span.feed == *feed) {
                self.records += 1;
                self.live += u64::from(state.status == Status::Live);
            }
        }
        self.root = Some(Digest::union_root(&digests.values()));
    }
}

impl Store {
    /// Reads every op again: chain, hashes, signatures (where `keys` knows the feed), and folds them from nothing; then
    /// compares with the view record by record and with the index. Feeds go on growing meanwhile; what is compared is
    /// the prefix that was applied when the verification began.
    ///
    /// # Errors
    /// `Io`, `Damaged`, `View`.
    pub fn verify(
        &self,
        keys: &BTreeMap<FeedId, Keys>,
        progress: impl FnMut(u64, u64),
    ) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let began: BTreeMap<FeedId, Head> =
            self.progress().iter().map(|(feed, progress)| (*feed, progress.applied)).collect();
        for damage in began.keys().filter_map(|feed| self.damage(*feed)) {
            report.faults.push(StoreError::from(damage).to_string());
        }
        let none = BTreeMap::new();
        let refolded = refold(&*self.shared, &began, keys, &none, &mut report, progress)?;
        self.compare(&refolded.states, &began, &mut report)?;
        Ok(report)
    }

    fn compare(
        &self,
        states: &BTreeMap<(RecordId, FeedId), RecordState>,
        began: &BTreeMap<FeedId, Head>,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        report.count(states, &self.city());
        for ((id, feed), state) in states {
            match self.shared.view.load().record(*id, *feed)? {
                // The record may have moved on since the verification began.
                Some(current) if current == *state || current.seq > state.seq => {}
                Some(_) => {
                    report.faults.push(format!("record {id}: the view holds another version"));
                }
                None => report.faults.push(format!("record {id} is missing in the view")),
            }
        }
        report.documents = self.documents();
        // Counts and roots say something only about the prefix that was folded above.
        let quiet = self.progress().iter().all(|(feed, p)| {
            began.get(feed) == Some(&p.head) && p.applied == p.head && p.indexed == p.head
        });
        if quiet && Some(self.root()) != report.root {
            report.faults.push("the view has another root than the journals".to_owned());
        }
        if quiet && report.documents != report.live {
            report.faults.push(format!(
                "the index holds {} documents for {} live records",
                report.documents, report.live
            ));
        }
        Ok(())
    }
}
