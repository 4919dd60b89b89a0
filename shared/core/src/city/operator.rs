//! Operators: people whose certificates may act at the hub's desk over gRPC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{City, Refusal, change, read, require};
use crate::{
    directory::Unreadable,
    id::Hash,
    op::{Change, Op, OpType},
    record::Visibility,
};

/// Longest name of an operator, characters.
const NAME_CHARS_MAX: usize = 32;

/// Payload of `operator.bind.v1`: a certificate may act for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorBind {
    /// Name of the operator.
    pub name: String,
    /// SHA-256 of the certificate's DER.
    pub fingerprint: Hash,
    /// End of its validity, milliseconds since 1970.
    pub not_after_ms: i64,
}

/// Payload of `operator.revoke.v1`: none of the operator's certificates so far may act any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRevoke {
    /// Name of the operator.
    pub name: String,
    /// Why, for people.
    pub reason: String,
}

/// Operators by name with the certificates that may act for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operators(BTreeMap<String, Vec<OperatorBind>>);

impl Operators {
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        if op.kind == OpType::OperatorBind {
            let bind: OperatorBind = read(op)?;
            self.0.entry(bind.name.clone()).or_default().push(bind);
        } else {
            let revoke: OperatorRevoke = read(op)?;
            self.0.remove(&revoke.name);
        }
        Ok(())
    }

    /// Whether a certificate may act for an operator.
    pub fn admits(&self, name: &str, fingerprint: Hash) -> bool {
        let bound = self.0.get(name).into_iter().flatten();
        bound.into_iter().any(|bind| bind.fingerprint == fingerprint)
    }

    /// All certificates, by the names of their operators.
    pub fn iter(&self) -> impl Iterator<Item = &OperatorBind> {
        self.0.values().flatten()
    }
}

/// Checks that a name can stand in a certificate and in the records of what was done.
///
/// # Errors
/// `Bad` when it has other signs than small letters, digits and hyphens.
pub fn operator_name(name: &str) -> Result<(), Refusal> {
    let sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(sign) {
        return Ok(());
    }
    Err(Refusal::Bad {
        zh: "操作员名称须为 1 至 32 位小写字母、数字或连字符".to_owned(),
        en: "a name has 1 to 32 small letters, digits or hyphens".to_owned(),
    })
}

// Who operates the hub is nothing to the districts.
fn of_hub(change: Change) -> Vec<Change> {
    vec![Change { visibility: Visibility::Restricted, ..change }]
}

impl City {
    /// The op that lets a certificate act for an operator.
    ///
    /// # Errors
    /// Those of [`operator_name`].
    pub fn bind_operator(&self, bind: &OperatorBind) -> Result<Vec<Change>, Refusal> {
        operator_name(&bind.name)?;
        Ok(of_hub(change(OpType::OperatorBind, bind.name.as_bytes(), bind)))
    }

    /// The op that ends all certificates of an operator.
    ///
    /// # Errors
    /// `NoReason`; `NotFound` when none is good.
    pub fn revoke_operator(&self, revoke: &OperatorRevoke) -> Result<Vec<Change>, Refusal> {
        require(&revoke.reason)?;
        if !self.operators.0.contains_key(&revoke.name) {
            return Err(Refusal::NotFound(revoke.name.clone()));
        }
        Ok(of_hub(change(OpType::OperatorRevoke, revoke.name.as_bytes(), revoke)))
    }
}
