//! Resource codes and the records they belong to.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{City, change};
use crate::{
    id::{FeedId, RecordId},
    limit,
    op::{Change, OpType},
    record::Visibility,
};

/// Payload of `code.grant.v1`: from this op on each code belongs to the record beside it, or to none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CodeGrants {
    /// Codes with their records.
    pub codes: BTreeMap<String, Option<RecordId>>,
}

/// The codes that were granted. Shared between the states of the city, because most ops do not touch it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes(Arc<BTreeMap<String, RecordId>>);

impl Codes {
    pub(super) fn apply(&mut self, grants: CodeGrants) {
        let codes = Arc::make_mut(&mut self.0);
        for (code, record) in grants.codes {
            match record {
                Some(record) => codes.insert(code, record),
                None => codes.remove(&code),
            };
        }
    }

    /// The record that a code belongs to: the one of the latest grant, on every replica.
    pub fn holder(&self, code: &str) -> Option<RecordId> {
        self.0.get(code).copied()
    }

    /// All codes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &RecordId)> {
        self.0.iter()
    }
}

impl City {
    /// Whether a record names a code that belongs to another one (C1): it is shown, its code is not confirmed.
    pub fn code_pending(&self, record: RecordId, code: &str) -> bool {
        self.codes.holder(code).is_some_and(|holder| holder != record)
    }
}

/// The ops that grant codes, each within the size of an op. What is said of a record is seen by whoever sees the
/// record; so what is restricted names the codes of one district alone.
pub fn grant(codes: BTreeMap<String, Option<RecordId>>, visibility: Visibility) -> Vec<Change> {
    let mut of_one: BTreeMap<Option<FeedId>, Vec<(String, Option<RecordId>)>> = BTreeMap::new();
    for (code, record) in codes {
        let district = record.filter(|_| visibility == Visibility::Restricted);
        of_one.entry(district.map(|record| record.origin())).or_default().push((code, record));
    }
    let parts = of_one.values().flat_map(|codes| codes.chunks(limit::CODES_PER_GRANT_MAX));
    let grants = parts.map(|codes| {
        let codes = codes.iter().cloned().collect();
        let grants = change(OpType::CodeGrant, b"codes", &CodeGrants { codes });
        Change { visibility, ..grants }
    });
    grants.collect()
}
