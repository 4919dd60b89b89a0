//! Letters: ops of districts that ask something of the hub. Each is answered once, by an op that names it as cause.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Appeal, Cause, City, ConflictKind, Opened, Refusal, RequestClose, RequestReply, Version,
    change, read, require,
};
use crate::{
    directory::Unreadable,
    id::{Hash, RecordId},
    op::{Change, Op, OpType},
};

#[derive(Deserialize)]
struct Caused {
    #[serde(default)]
    cause: Option<Cause>,
}

/// The district's op that a payload of the hub answers.
pub fn cause_of(payload: &[u8]) -> Option<Cause> {
    serde_json::from_slice::<Caused>(payload).ok()?.cause
}

/// Payload of `letter.refuse.v1`: the answer to a letter that nothing can be done about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterRefusal {
    /// The district's op.
    pub cause: Cause,
    /// Why, for people.
    pub reason: String,
}

/// Payload of `dispute.v1`, in a district's feed: it objects to a decision, or to who owns a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The conflict it objects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<Hash>,
    /// The record whose ownership it disputes, when there is no conflict yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// Why, for people.
    pub reason: String,
}

fn unreadable(bad: &Unreadable) -> Refusal {
    Refusal::Bad {
        zh: format!("内容无法识别：{bad}"), en: format!("it cannot be read: {bad}")
    }
}

impl City {
    /// The op that answers a letter with a refusal.
    pub fn refuse_letter(&self, cause: Cause, reason: String) -> Change {
        change(OpType::LetterRefuse, cause.feed.as_bytes(), &LetterRefusal { cause, reason })
    }

    /// Answers `change_request.reply.v1`.
    ///
    /// # Errors
    /// `Bad` when it cannot be read; `NotFound`, `NoChange`; `NoParty` when another district was asked; `NoReason` when
    /// it is declined without one.
    pub fn answer_reply(&self, op: &Op) -> Result<Vec<Change>, Refusal> {
        let reply: RequestReply = read(op).map_err(|bad| unreadable(&bad))?;
        let request = self.curation.requests.get(&reply.request);
        let request = request.ok_or_else(|| Refusal::NotFound(reply.request.clone()))?;
        if self.owner(request.record) != op.feed && request.asked.to_feed != op.feed {
            return Err(Refusal::NoParty(reply.request));
        }
        if !reply.accepted {
            require(reply.reason.as_deref().unwrap_or_default())?;
        }
        let cause = Some(Cause { feed: op.feed, seq: op.seq });
        self.curation.close(&RequestClose { reply, cause })
    }

    /// Answers `dispute.v1`: the conflict is open again, or a conflict about who owns the record is opened.
    ///
    /// # Errors
    /// `Bad` when it cannot be read or names nothing; `NoReason`; `NotFound`; `NoParty` when it does not concern the
    /// district; `NoChange` when its objection is on record.
    pub fn answer_dispute(&self, op: &Op) -> Result<Vec<Change>, Refusal> {
        let dispute: Dispute = read(op).map_err(|bad| unreadable(&bad))?;
        require(&dispute.reason)?;
        let cause = Some(Cause { feed: op.feed, seq: op.seq });
        match (dispute.conflict, dispute.record) {
            (Some(id), _) => {
                let appeal = Appeal { id, by: Some(op.feed), reason: dispute.reason, cause };
                self.appeal(&appeal)
            }
            (None, Some(record)) => {
                let subjects = vec![record.to_string(), op.feed.to_string()];
                let mut opened = Opened::new(ConflictKind::Ownership, subjects, 1);
                opened.parties = vec![self.owner(record), op.feed];
                opened.winner = Some(record);
                let (feed, seq, op_hash) = (op.feed, op.seq, op.hash);
                opened.versions = vec![Version { feed, seq, op_hash, record: Some(record) }];
                opened.evidence = json!({ "reason": dispute.reason });
                opened.cause = cause;
                let opened = self.open_conflict(&opened);
                opened.map(|opened| vec![opened]).ok_or(Refusal::NoChange(record.to_string()))
            }
            (None, None) => Err(Refusal::Bad {
                zh: "异议没有指明冲突或目录".to_owned(),
                en: "the dispute names neither a conflict nor a record".to_owned(),
            }),
        }
    }
}
