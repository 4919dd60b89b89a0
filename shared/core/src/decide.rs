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

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The record was changed since the caller read it (C10 of the conflict catalogue).
    #[error("该目录已被他人修改，请刷新后重试 / the record was changed meanwhile: expected {expected}, it is {found}")]
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
    match (command, current.map(|state| state.status)) {
        (Command::Put(record), None) => Ok(Some(put(id, OpType::RecordPut, record, None))),
        (Command::Put(record), Some(Status::Live)) => {
            let next = put(id, OpType::RecordPut, record, current);
            let same = current.is_some_and(|state| state.payload_hash == Hash::of(&[&next.payload]));
            Ok((!same).then_some(next))
        }
        (Command::Put(_), Some(Status::Withdrawn)) => Err(Refusal::Withdrawn),
        (Command::Withdraw(_) | Command::Restore(_), None) => Err(Refusal::NotFound(id)),
        (Command::Withdraw(tombstone), Some(Status::Live)) => Ok(Some(Change {
            kind: OpType::RecordTombstone,
            subject: id.to_bytes().to_vec(),
            base: current.map(|state| state.op_hash),
            payload: serde_json::to_vec(tombstone).unwrap_or_default(),
            visibility: current.map_or(Visibility::Restricted, |state| state.visibility),
        })),
        (Command::Withdraw(_), Some(Status::Withdrawn)) => Err(Refusal::Withdrawn),
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
