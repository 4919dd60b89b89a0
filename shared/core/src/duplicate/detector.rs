//! Finding the pairs worth weighing among many records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::place::Block;
use super::{Evidence, Fingerprint, TITLE_NEAR, compare};
use crate::id::RecordId;
use crate::limit;

/// Two records that are probably the same datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// The lesser id.
    pub first: RecordId,
    /// The greater id.
    pub second: RecordId,
    /// Why.
    pub evidence: Evidence,
}

/// All records by territory and 2-gram, in memory.
///
/// Titles that are near share at least `TITLE_NEAR` of each one's grams, so the rarest few of a record
/// are enough to find all that are near it: as many as it may lack, and one more. Nothing is lost by
/// that. Grams that too many records of a territory have are passed over, which bounds the work; the
/// pairs are a function of the records that are there and never of the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Detector {
    slots: Vec<Option<(RecordId, Fingerprint)>>,
    free: Vec<u32>,
    by_id: BTreeMap<RecordId, u32>,
    blocks: BTreeMap<Block, BTreeMap<u64, Vec<u32>>>,
}

impl Detector {
    /// Adds or replaces a record and returns its candidates, by the other record's id.
    pub fn upsert(&mut self, id: RecordId, fingerprint: Fingerprint) -> Vec<Candidate> {
        self.remove(id);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // A slot is some hundred bytes: memory ends long before the number does.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        for block in fingerprint.territory.posted() {
            let postings = self.blocks.entry(block).or_default();
            for gram in &fingerprint.grams {
                postings.entry(*gram).or_default().push(slot);
            }
        }
        self.by_id.insert(id, slot);
        self.slots[slot as usize] = Some((id, fingerprint));
        self.candidates(id)
    }

    /// Takes a record out; one that is not there changes nothing.
    pub fn remove(&mut self, id: RecordId) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        let Some((_, fingerprint)) = self.slots[slot as usize].take() else { return };
        for block in fingerprint.territory.posted() {
            let Some(postings) = self.blocks.get_mut(&block) else { continue };
            for gram in &fingerprint.grams {
                if let Some(list) = postings.get_mut(gram) {
                    list.retain(|other| *other != slot);
                    if list.is_empty() {
                        postings.remove(gram);
                    }
                }
            }
            if postings.is_empty() {
                self.blocks.remove(&block);
            }
        }
        self.free.push(slot);
    }

    /// Records that are there.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The candidates of one record among all others, by the other record's id; of very many the
    /// strongest.
    pub fn candidates(&self, id: RecordId) -> Vec<Candidate> {
        let Some((_, fingerprint)) = self.by_id.get(&id).and_then(|slot| self.slot(*slot)) else {
            return Vec::new();
        };
        let others = self.near(fingerprint).into_iter().filter_map(|slot| self.slot(slot));
        let mut found: Vec<Candidate> = others
            .filter(|(other, _)| *other != id)
            .map(|(other, print)| Candidate {
                first: id.min(*other),
                second: id.max(*other),
                evidence: compare(fingerprint, print),
            })
            .filter(|candidate| candidate.evidence.is_candidate())
            .collect();
        found.sort_by_key(|c| (std::cmp::Reverse(c.evidence.score()), c.first, c.second));
        found.truncate(limit::DUPLICATE_CANDIDATES_MAX);
        found.sort_by_key(|candidate| (candidate.first, candidate.second));
        found
    }

    /// Every pair, each once, sorted.
    pub fn pairs(&self) -> Vec<Candidate> {
        let mut pairs: Vec<_> = self.by_id.keys().flat_map(|id| self.candidates(*id)).collect();
        pairs.sort_by_key(|candidate| (candidate.first, candidate.second));
        pairs.dedup();
        pairs
    }

    fn slot(&self, slot: u32) -> Option<&(RecordId, Fingerprint)> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The slots of all records whose title may be near and whose territory may agree.
    fn near(&self, fingerprint: &Fingerprint) -> Vec<u32> {
        let grams = &fingerprint.grams;
        let needed = (grams.len() * usize::from(TITLE_NEAR)).div_ceil(1000);
        let mut near = Vec::new();
        for block in fingerprint.territory.sought() {
            let Some(postings) = self.blocks.get(&block) else { continue };
            let mut lists: Vec<(usize, u64, &[u32])> = grams
                .iter()
                .map(|gram| {
                    let list = postings.get(gram).map_or(&[][..], Vec::as_slice);
                    (list.len(), *gram, list)
                })
                .collect();
            lists.sort_unstable_by_key(|(length, gram, _)| (*length, *gram));
            lists.truncate(grams.len() + 1 - needed.max(1));
            lists.retain(|(length, ..)| *length <= limit::DUPLICATE_POSTING_MAX);
            near.extend(lists.iter().flat_map(|(.., list)| *list));
        }
        near.sort_unstable();
        near.dedup();
        near
    }
}
