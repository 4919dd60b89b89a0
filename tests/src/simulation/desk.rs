//! What the people at the hub decide, and how letters of the districts are answered: always through the commands of
//! the city, which say what is to be signed.

use jiff::civil::date;
use liandong_core::{
    city::{
        Accept, Asked, Cause, City, ConflictKind, ConflictState, Decided, Decision, Gate, GateKind,
        GateRelease, Hold, HubRejoin, KeyRevoke, Offer, Offered, Opened, Overlay, Seal,
        SourceEntry, Version,
    },
    directory::KeyGrant,
    id::{FeedId, Hash, RecordId},
    op::{Change, KeyRotation, Op, OpType},
};
use serde_json::{Map, Value, json};
use ulid::Ulid;

use super::{
    editor::letter,
    hub::{Hub, Process},
    rng::Rng,
};

fn signed<T: serde::Serialize>(kind: OpType, subject: &[u8], said: &T) -> Change {
    letter(kind, subject, &serde_json::to_value(said).unwrap_or_default())
}

/// The ops that make a district and its feed part of the city.
pub(super) fn enrol(feed: FeedId, public_key: [u8; 32], number: usize) -> Vec<Change> {
    let code = format!("3101{number:02}");
    let district = json!({ "code": code, "name": format!("第{number}区"), "standing": "active" });
    let instance = FeedId::new([0; 16]);
    let grant = json!({
        "feed": feed, "code": code, "token": Hash::ZERO, "instance": instance,
    });
    let key = KeyGrant { feed, public_key: Hash::new(public_key), from_seq: 1, cause: None };
    vec![
        letter(OpType::DirDistrict, code.as_bytes(), &district),
        letter(OpType::DirFeed, feed.as_bytes(), &grant),
        signed(OpType::KeyGrant, feed.as_bytes(), &key),
    ]
}

/// A feed gets a key from a position on.
pub(super) fn grant(feed: FeedId, public_key: [u8; 32], from_seq: u64) -> Vec<Change> {
    let key = KeyGrant { feed, public_key: Hash::new(public_key), from_seq, cause: None };
    vec![signed(OpType::KeyGrant, feed.as_bytes(), &key)]
}

/// A key is not believed after a position. The city knows a key that the feed named once it has confirmed it.
pub(super) fn revoke(city: &City, op: &Op) -> Vec<Change> {
    let reason = "密钥可能泄露".to_owned();
    let revoke = KeyRevoke { feed: op.feed, key: op.key, last_good: op.head(), reason };
    city.revoke_key(&revoke).unwrap_or_default()
}

impl Hub {
    /// What a curator does in a minute at the desk.
    pub(super) fn curate(&self, rng: &mut Rng) -> Vec<Change> {
        let Some(process) = &self.process else { return Vec::new() };
        let feeds: Vec<FeedId> = process.mirrors.keys().copied().collect();
        let Some(feed) = rng.pick(&feeds) else { return Vec::new() };
        let states = process.mirrors[&feed].fold.states();
        let Some((id, state)) = states.iter().nth(rng.below(states.len())) else {
            return Vec::new();
        };
        let curation = &process.city.curation;
        let overlay =
            Overlay { title: Some(format!("市级标题{}", rng.below(9))), ..Overlay::default() };
        let reason = "市级核查".to_owned();
        let hold = Hold {
            active: !curation.holds.contains_key(id),
            legal_basis: "《政府信息公开条例》".to_owned(),
            reason: reason.clone(),
        };
        let asked = Asked {
            to_feed: process.city.owner(*id),
            withdraw: None,
            fields: Map::from_iter([("title".to_owned(), Value::from("新标题"))]),
            reason: reason.clone(),
            due: None,
            cause: None,
        };
        let source = SourceEntry { item: "停车场名称".to_owned(), record: Some(*id), reason };
        let refused_is_nothing = match rng.below(7) {
            0 | 1 => curation.put_overlay(*id, state.op_hash, &overlay, state.visibility),
            2 => curation.drop_overlay(*id),
            3 => curation.set_hold(*id, &hold),
            4 => curation.ask(*id, Some(state.op_hash), &asked, state.visibility),
            5 => curation.register(&source),
            _ => return process.judge(rng),
        };
        refused_is_nothing.unwrap_or_default()
    }

    /// Holds the next ops of a feed back, or lets held ones through.
    pub(super) fn gate(&self, feed: FeedId) -> Vec<Change> {
        let Some(process) = &self.process else { return Vec::new() };
        let Some(mirror) = process.mirrors.get(&feed) else { return Vec::new() };
        let gates = &process.city.gates;
        let after = mirror.fold.head().seq;
        let changes = match gates.held(feed) {
            Some(gate) => {
                let reason = "已与区核实".to_owned();
                gates.release(&GateRelease { feed, to: gate.to, reason })
            }
            None => gates.hold(&Gate {
                feed,
                after,
                to: after + 1,
                kind: GateKind::MassWithdrawal,
                count: 1,
                live: 1,
                sample: Vec::new(),
            }),
        };
        changes.unwrap_or_default()
    }

    /// Answers letters that are folded and not answered yet.
    pub(super) fn attend(&self) -> Vec<Change> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut changes = Vec::new();
        for (feed, mirror) in &process.mirrors {
            for seq in mirror.fold.letters() {
                let cause = Cause { feed: *feed, seq: *seq };
                if process.city.attended.contains(&cause) {
                    continue;
                }
                if let Ok(Some(op)) = mirror.journal.op(*seq) {
                    changes.extend(process.answer(&op, cause));
                }
                // One after the other: an answer may bear on the next letter.
                if !changes.is_empty() {
                    return changes;
                }
            }
        }
        changes
    }
}

impl Process {
    /// Opens a conflict about two records, or decides an open one.
    fn judge(&self, rng: &mut Rng) -> Vec<Change> {
        let open = self.city.conflicts.iter().find(|c| c.state() != ConflictState::Decided);
        if let Some(conflict) = open {
            let decided = Decided {
                id: conflict.opened.id,
                decision: Decision::Distinct,
                reason: "不同的数据".to_owned(),
                settled_by: None,
            };
            return self.city.decide_conflict(&decided).unwrap_or_default();
        }
        let all: Vec<_> = self.mirrors.values().flat_map(|mirror| mirror.fold.states()).collect();
        let (Some(one), Some(other)) = (rng.pick(&all), rng.pick(&all)) else { return Vec::new() };
        if one.0 == other.0 {
            return Vec::new();
        }
        let subjects = vec![one.0.to_string(), other.0.to_string()];
        let version = |(id, state): (&RecordId, &liandong_core::fold::RecordState)| Version {
            feed: state.feed,
            seq: state.seq,
            op_hash: state.op_hash,
            record: Some(*id),
        };
        let opened = Opened {
            parties: vec![one.1.feed, other.1.feed],
            versions: vec![version(one), version(other)],
            ..Opened::new(ConflictKind::Duplicate, subjects, 1)
        };
        self.city.open_conflict(&opened).into_iter().collect()
    }

    fn answer(&self, op: &Op, cause: Cause) -> Vec<Change> {
        let city = &self.city;
        let answer = match op.kind {
            OpType::KeyRotate => rotated(op, cause),
            OpType::TransferOffer | OpType::FeedSeal => answer_offer(city, op),
            OpType::TransferAccept => city.answer_accept(op).unwrap_or_default(),
            OpType::ChangeRequestReply => city.answer_reply(op).unwrap_or_default(),
            OpType::Dispute => city.answer_dispute(op).unwrap_or_default(),
            OpType::RecordPut | OpType::RecordTombstone | OpType::RecordRevive => {
                self.answer_late(op)
            }
            _ => Vec::new(),
        };
        if answer.is_empty() {
            return vec![city.refuse_letter(cause, "无法办理".to_owned())];
        }
        answer
    }

    fn answer_late(&self, op: &Op) -> Vec<Change> {
        let Ok(id) = RecordId::try_from(op.subject.as_ref()) else { return Vec::new() };
        let owner = self.mirrors.get(&self.city.owner(id));
        let current = owner.and_then(|mirror| mirror.fold.states().get(&id));
        self.city.answer_late(op, id, None, current)
    }
}

fn rotated(op: &Op, cause: Cause) -> Vec<Change> {
    let Ok(rotation) = KeyRotation::of(op) else { return Vec::new() };
    let granted = json!({
        "feed": op.feed,
        "public_key": rotation.public_key,
        "from_seq": op.seq + 1,
        "cause": cause,
    });
    vec![letter(OpType::KeyGrant, op.feed.as_bytes(), &granted)]
}

fn answer_offer(city: &City, op: &Op) -> Vec<Change> {
    let Ok(offered) = Offered::of(op) else { return Vec::new() };
    city.tell_offer(&offered).unwrap_or_default()
}

/// A district offers some records to another, or all it has.
pub(super) fn offer(uid: u128, to_feed: FeedId, records: Option<Vec<RecordId>>) -> Change {
    let (transfer, effective) = (Ulid(uid).to_string(), date(2015, 11, 4));
    if let Some(records) = records {
        let records = records.into_iter().collect();
        let offer = Offer { transfer, to_feed, records, effective };
        return signed(OpType::TransferOffer, to_feed.as_bytes(), &offer);
    }
    let seal = Seal { transfer, successor_feed: to_feed, effective };
    signed(OpType::FeedSeal, to_feed.as_bytes(), &seal)
}

/// The other takes what it was offered.
pub(super) fn accept(offered: &Offered) -> Change {
    let accept = Accept {
        transfer: offered.transfer.clone(),
        from_feed: offered.from_feed,
        from_head: offered.at,
        records: offered.records.clone(),
    };
    signed(OpType::TransferAccept, offered.from_feed.as_bytes(), &accept)
}

/// The hub was rebuilt from its nodes.
pub(super) fn rejoined(wiped: bool, hub: &Hub) -> Vec<Change> {
    let Some(process) = &hub.process else { return Vec::new() };
    let rejoin = HubRejoin {
        incarnation: process.city.incarnation + 1,
        reason: if wiped { "wiped" } else { "restored" }.to_owned(),
        recovered_from: "各区节点".to_owned(),
    };
    vec![signed(OpType::HubRejoin, hub.author.feed().as_bytes(), &rejoin)]
}
