//! What a command of the district means for a record: the change to be signed, or why not.

use crate::{
    fold::{RecordState, Status, Tombstone},
    id::{Hash, RecordId},
    op::{Change, OpType},
    record::{Record, Visibility},
};

/// What a person or an import wants done to one record.
#[derive(Debug, Clone)]
pub enum Command {
    /// New or changed content.
    Put(Box<Record>),
    /// Take it out of the catalogue.
    Withdraw(Tombstone),
    /// Bring a withdrawn record back with this content.
    Restore(Box<Record>),
}

impl Command {
    /// The status that the command is made for; a record whose content was erased takes any.
    const fn wanted(&self) -> Status {
        match self {
            Self::Put(_) | Self::Withdraw(_) => Status::Live,
            Self::Restore(_) => Status::Withdrawn,
        }
    }
}

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The record was changed since the caller read it (C10 of the conflict catalogue).
    #[error(
        "该目录已被他人修改，请刷新后重试 / the record was changed meanwhile: expected {expected}, it is {found}"
    )]
    Changed {
        /// Op the caller had seen.
        expected: Hash,
        /// Op that is current.
        found: Hash,
    },
    /// There is no such record.
    #[error("没有这条目录：{0} / there is no record {0}")]
    NotFound(RecordId),
    /// The record is withdrawn and must be restored first.
    #[error("该目录已撤回，请先恢复 / the record is withdrawn; restore it first")]
    Withdrawn,
    /// The record is not withdrawn.
    #[error("该目录未被撤回 / the record is not withdrawn")]
    Live,
}

/// Decides a command. `None` when it would change nothing.
///
/// # Errors
/// `Changed` when `expected` is given and is not the current op; the others when the state does not allow it.
pub fn decide(
    id: RecordId,
    current: Option<&RecordState>,
    command: &Command,
    expected: Option<Hash>,
) -> Result<Option<Change>, Refusal> {
    if let (Some(expected), Some(state)) = (expected, current)
        && state.op_hash != expected
    {
        return Err(Refusal::Changed { expected, found: state.op_hash });
    }
    let erased = current.is_some_and(|state| state.redacted);
    let status = current.map(|state| state.status);
    match (command, status.map(|status| if erased { command.wanted() } else { status })) {
        (Command::Put(record), None) => Ok(Some(put(id, OpType::RecordPut, record, None))),
        (Command::Put(record), Some(Status::Live)) => {
            let next = put(id, OpType::RecordPut, record, current);
            let same =
                current.is_some_and(|state| state.payload_hash == Hash::of(&[&next.payload]));
            Ok((!same).then_some(next))
        }
        (Command::Withdraw(_) | Command::Restore(_), None) => Err(Refusal::NotFound(id)),
        (Command::Withdraw(tombstone), Some(Status::Live)) => Ok(Some(Change {
            kind: OpType::RecordTombstone,
            subject: id.to_bytes().to_vec(),
            base: current.map(|state| state.op_hash),
            payload: serde_json::to_vec(tombstone).unwrap_or_default(),
            visibility: current.map_or(Visibility::Restricted, |state| state.visibility),
        })),
        (Command::Put(_) | Command::Withdraw(_), Some(Status::Withdrawn)) => {
            Err(Refusal::Withdrawn)
        }
        (Command::Restore(record), Some(Status::Withdrawn)) => {
            Ok(Some(put(id, OpType::RecordRevive, record, current)))
        }
        (Command::Restore(_), Some(Status::Live)) => Err(Refusal::Live),
    }
}

fn put(id: RecordId, kind: OpType, record: &Record, current: Option<&RecordState>) -> Change {
    Change {
        kind,
        subject: id.to_bytes().to_vec(),
        base: current.map(|state| state.op_hash),
        payload: record.to_bytes(),
        visibility: record.visibility(),
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::id::FeedId;

    const ID: RecordId = RecordId::new(FeedId::new([7; 16]), Ulid(1));

    fn record(title: &str) -> Box<Record> {
        Box::new(Record { title: title.to_owned(), ..Record::default() })
    }

    fn state(status: Status) -> RecordState {
        RecordState {
            status,
            visibility: Visibility::Shared,
            feed: ID.origin(),
            seq: 4,
            op_hash: Hash::of(&[b"op 4"]),
            payload_hash: Hash::of(&[&record("now").to_bytes()]),
            changed_at_ms: 0,
            redacted: false,
        }
    }

    #[test]
    fn every_command_has_one_answer_in_every_state() {
        use OpType::{RecordPut, RecordRevive, RecordTombstone};
        let put = |title| Command::Put(record(title));
        let restore = || Command::Restore(record("now"));
        let withdraw = || Command::Withdraw(Tombstone::default());
        let (live, gone) = (Some(Status::Live), Some(Status::Withdrawn));
        let table = [
            (put("new"), None, Ok(Some(RecordPut))),
            (put("new"), live, Ok(Some(RecordPut))),
            (put("now"), live, Ok(None)),
            (put(" now\t"), live, Ok(None)),
            (put("new"), gone, Err(Refusal::Withdrawn)),
            (withdraw(), None, Err(Refusal::NotFound(ID))),
            (withdraw(), live, Ok(Some(RecordTombstone))),
            (withdraw(), gone, Err(Refusal::Withdrawn)),
            (restore(), None, Err(Refusal::NotFound(ID))),
            (restore(), live, Err(Refusal::Live)),
            (restore(), gone, Ok(Some(RecordRevive))),
        ];
        for (command, status, expected) in table {
            let current = status.map(state);
            let decided = decide(ID, current.as_ref(), &command, None);
            let kind = decided.clone().map(|change| change.map(|change| change.kind));
            assert_eq!(kind, expected, "{command:?} when {status:?}");
            if let Ok(Some(change)) = decided {
                assert_eq!(change.base, current.map(|state| state.op_hash), "{command:?}");
                assert_eq!(change.subject, ID.to_bytes());
            }
        }
    }

    #[test]
    fn a_command_made_against_another_version_is_refused_in_every_state() {
        let seen = Hash::of(&[b"op 3"]);
        for status in [Status::Live, Status::Withdrawn] {
            let current = state(status);
            let refused = Refusal::Changed { expected: seen, found: current.op_hash };
            let commands = [
                Command::Put(record("new")),
                Command::Withdraw(Tombstone::default()),
                Command::Restore(record("new")),
            ];
            for command in commands {
                let decided = decide(ID, Some(&current), &command, Some(seen));
                assert_eq!(decided, Err(refused.clone()), "{command:?} when {status:?}");
            }
        }
        let current = state(Status::Live);
        let decided =
            decide(ID, Some(&current), &Command::Put(record("new")), Some(current.op_hash));
        assert!(decided.unwrap().is_some(), "the version that is current is the right one");
    }

    #[test]
    fn a_withdrawal_is_seen_by_those_who_saw_the_record() {
        let current = state(Status::Live);
        let withdraw = Command::Withdraw(Tombstone::default());
        let change = decide(ID, Some(&current), &withdraw, None).unwrap().unwrap();
        assert_eq!(change.visibility, current.visibility);
    }
}
