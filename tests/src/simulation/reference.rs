//! The rules of the fold once more, written down as plainly as possible and without a look at how production does it.
//!
//! Every feed is read from its first op, with the whole of the hub's feed known. Whatever order things arrived in,
//! the records must come out the same (I24).

use std::collections::BTreeMap;

use liandong_core::{
    fold::Status,
    id::{FeedId, Hash, RecordId},
    op::{Op, SCHEMA},
    record::Record,
};
use serde_json::Value;

/// What is left of a record: whether it is there, and its content's hash and position.
pub type Left = (Status, Hash, u64);

/// A stretch of a feed whose ops count for a record: after the first number, up to the second.
type Stretch = (FeedId, u64, u64);

/// What the hub's feed says that bears on folding.
#[derive(Debug, Default)]
pub struct Law {
    /// Feed, key, last position that is believed.
    revoked: Vec<(String, String, u64)>,
    transfers: Vec<Value>,
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

impl Law {
    /// Reads the hub's feed.
    pub fn of(hub: &[Op]) -> Self {
        let mut law = Self::default();
        for op in hub {
            let Ok(said) = serde_json::from_slice::<Value>(&op.signed.payload) else { continue };
            match op.kind.name() {
                "key.revoke.v1" => law.revoked.push((
                    text(&said["feed"]).to_owned(),
                    text(&said["key"]).to_owned(),
                    number(&said["last_good"]["seq"]),
                )),
                "transfer.commit.v1" => law.transfers.push(said),
                _ => {}
            }
        }
        law
    }

    fn believes(&self, op: &Op) -> bool {
        let (feed, key) = (op.feed.to_string(), op.key.to_string());
        !self
            .revoked
            .iter()
            .any(|(of, revoked, last_good)| *of == feed && *revoked == key && op.seq > *last_good)
    }

    /// The feed that may write a record.
    pub fn owner(&self, record: RecordId) -> FeedId {
        self.stretches(record).last().map_or(record.origin(), |stretch| stretch.0)
    }

    /// Whether an op of a feed at a position counts for a record.
    pub fn counts(&self, feed: FeedId, seq: u64, record: RecordId) -> bool {
        self.stretches(record)
            .iter()
            .any(|(of, after, until)| *of == feed && seq > *after && seq <= *until)
    }

    fn stretches(&self, record: RecordId) -> Vec<Stretch> {
        let mut owner = (record.origin(), 0, u64::MAX);
        let mut before = Vec::new();
        for transfer in &self.transfers {
            let named = transfer["records"].as_array();
            let covered =
                named.is_none_or(|ids| ids.iter().any(|id| text(id) == record.to_string()));
            if covered && text(&transfer["from_feed"]) == owner.0.to_string() {
                before.push((owner.0, owner.1, number(&transfer["at"]["seq"])));
                let to = text(&transfer["to_feed"]).parse().unwrap_or(owner.0);
                owner = (to, number(&transfer["accept_seq"]), u64::MAX);
            }
        }
        before.push(owner);
        before
    }
}

fn reads(op: &Op) -> bool {
    Record::from_bytes(&op.signed.payload)
        .is_ok_and(|record| record.visibility() == op.visibility && !record.title.is_empty())
}

/// The records of one feed after its ops.
pub fn fold(ops: &[Op], hub: &[Op]) -> BTreeMap<RecordId, Left> {
    let law = Law::of(hub);
    let mut records: BTreeMap<RecordId, Left> = BTreeMap::new();
    for op in ops {
        if !law.believes(op) || op.min_reader > SCHEMA {
            continue;
        }
        let Ok(id) = RecordId::try_from(op.subject.as_ref()) else { continue };
        if !law.counts(op.feed, op.seq, id) {
            continue;
        }
        let known = records.get(&id).map(|left| left.0);
        let taken_over = known.is_none() && id.origin() != op.feed;
        let status = match (op.kind.name(), known) {
            ("record.put.v1", None | Some(Status::Live))
            | ("record.revive.v1", Some(Status::Withdrawn)) => Status::Live,
            ("record.revive.v1", None) if taken_over => Status::Live,
            ("record.tombstone.v1", Some(Status::Live)) => Status::Withdrawn,
            ("record.tombstone.v1", None) if taken_over => Status::Withdrawn,
            _ => continue,
        };
        if status == Status::Live && !reads(op) {
            continue;
        }
        records.insert(id, (status, op.payload_hash, op.seq));
    }
    records
}
