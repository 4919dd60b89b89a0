//! Proof that journal, view and index belong together.

use std::collections::BTreeMap;

use liandong_core::{
    digest::Digest,
    fold::{self, RecordState, Status},
    id::{FeedId, Hash, Head, RecordId},
    limit,
    op::{Keys, OpType},
};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::error::StoreError;

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
        mut progress: impl FnMut(u64, u64),
    ) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let heads: BTreeMap<FeedId, Head> =
            self.progress().iter().map(|(feed, progress)| (*feed, progress.applied)).collect();
        let began = heads.clone();
        let total = heads.values().map(|head| head.seq).sum();
        let mut states: BTreeMap<(RecordId, FeedId), RecordState> = BTreeMap::new();
        let city = self.city();
        for (feed, end) in heads {
            let mut head = Head::EMPTY;
            let rules = city.rules(feed);
            let mut keys = keys.get(&feed).cloned();
            while head.seq < end.seq {
                let ops = self.ops(feed, head.seq, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
                if ops.is_empty() {
                    report.faults.push(format!("feed {feed}: op {} is missing", head.seq + 1));
                    break;
                }
                for op in ops.into_iter().take_while(|op| op.seq <= end.seq) {
                    report.ops += 1;
                    if let Err(fault) = op.follows(feed, head) {
                        report.faults.push(format!("feed {feed} op {}: {fault}", op.seq));
                    }
                    if let Some(keys) = &mut keys {
                        report.signatures += 1;
                        let mut checked = op.verify_kept(keys);
                        if op.kind == OpType::KeyRotate && checked.is_ok() {
                            checked = keys.rotate(&op);
                        }
                        if let Err(fault) = checked {
                            report.faults.push(format!("feed {feed} op {}: {fault}", op.seq));
                        }
                    }
                    head = op.head();
                    let folded = fold::fold(&op, &rules, |id| states.get(&(id, feed)).copied());
                    states.extend(folded.change.map(|(id, state)| ((id, feed), state)));
                }
                progress(report.ops, total);
            }
        }
        self.compare(&states, &began, &mut report)?;
        Ok(report)
    }

    fn compare(
        &self,
        states: &BTreeMap<(RecordId, FeedId), RecordState>,
        began: &BTreeMap<FeedId, Head>,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let mut digests: BTreeMap<FeedId, Digest> = BTreeMap::new();
        for ((id, feed), state) in states {
            report.records += 1;
            report.live += u64::from(state.status == Status::Live);
            digests.entry(*feed).or_default().set(*id, state.leaf(*id));
            match self.shared.view.load().record(*id, *feed)? {
                // The record may have moved on since the verification began.
                Some(current) if current == *state || current.seq > state.seq => {}
                Some(_) => {
                    report.faults.push(format!("record {id}: the view holds another version"));
                }
                None => report.faults.push(format!("record {id} is missing in the view")),
            }
        }
        report.root = Some(Digest::union_root(&digests.values()));
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
