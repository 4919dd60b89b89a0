//! The mirror's journal, put together beside the own one.

use std::{path::PathBuf, sync::Arc};

use liandong_core::{
    id::{FeedId, Head},
    limit,
    op::{Keys, Op, OpFault, OpType, SignedOp},
    rejoin::Tail,
};
use liandong_server::output::{Exit, Failure};
use liandong_store::{StoreError, disk::RealDisk, journal::Journal};

use super::{check, state::staged};
use crate::app::{App, AppError};

/// A journal in the making: what both have, then what came from the mirror.
pub(crate) struct Stage {
    feed: FeedId,
    own_key: liandong_core::id::KeyId,
    keys: Keys,
    journal: Journal,
    tail: Tail,
}

/// Takes a rotation of the key that signs so far; one that the directory has told already changes nothing.
pub(super) fn rotate(op: &Op, keys: &mut Keys) -> Result<(), OpFault> {
    if op.kind == OpType::KeyRotate && keys.current() == Some(op.key) {
        keys.rotate(op)?;
    }
    Ok(())
}

impl Stage {
    /// Begins with the own ops up to the ancestor. What an earlier attempt left is removed.
    pub(crate) fn begin(app: &App, ancestor: Head) -> Result<Self, AppError> {
        let feed = app.own.feed();
        let dir: PathBuf = staged(&app.dir, &app.identity.lock());
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(StoreError::io(&dir))?;
        }
        let mut journal = Journal::open(Arc::new(RealDisk), &dir, feed)?;
        let mut keys = app.feed_keys();
        while journal.written() != ancestor {
            let after = journal.written().seq;
            let most = usize::try_from(ancestor.seq - after).unwrap_or(usize::MAX);
            let most = most.min(limit::BATCH_OPS_MAX);
            let ops = app.store.ops(feed, after, most, limit::BATCH_BYTES_MAX)?;
            for op in &ops {
                rotate(op, &mut keys)?;
            }
            if ops.is_empty() {
                return Err(StoreError::Closed.into());
            }
            journal.append(&ops)?;
        }
        let (own_key, tail) = (app.own.author().key_id(), Tail::default());
        Ok(Self { feed, own_key, keys, journal, tail })
    }

    /// The last position that is there.
    pub(crate) const fn seq(&self) -> u64 {
        self.journal.written().seq
    }

    /// Verifies and adds the next ops of the mirror, byte for byte.
    pub(crate) fn take(&mut self, ops: Vec<SignedOp>) -> Result<(), AppError> {
        let mut verified = Vec::with_capacity(ops.len());
        let mut head = self.journal.written();
        for signed in ops {
            let op = Op::parse(signed)?;
            check(&op, self.feed, head, &mut self.keys)?;
            head = op.head();
            self.tail.note(&op);
            verified.push(op);
        }
        Ok(self.journal.append(&verified)?)
    }

    /// Adds those own ops that follow. Returns how many.
    pub(crate) fn follow(&mut self, ops: Vec<Op>) -> Result<u64, AppError> {
        let mut added = 0;
        for op in ops {
            let head = self.journal.written();
            if check(&op, self.feed, head, &mut self.keys).is_ok() {
                self.journal.append(&[op])?;
                added += 1;
            }
        }
        Ok(added)
    }

    /// The last op that is there.
    pub(crate) const fn head(&self) -> Head {
        self.journal.written()
    }

    /// Makes the journal durable. Its head must be the mirror's, and this node must be able to write after it.
    pub(crate) fn finish(mut self, mirror: Head) -> Result<Tail, AppError> {
        self.journal.append_durably(&[])?;
        if self.journal.head() != mirror {
            return Err(AppError::Refused(
                "中心给出的操作与其声明的位置不符 / the hub's ops do not lead to its head"
                    .to_owned(),
            ));
        }
        if self.keys.current() != Some(self.own_key) {
            return Err(Failure::new(
                "other_key",
                Exit::Conflict,
                "中心上的数据流由另一密钥签名，与本节点持有的不同",
                "the feed at the hub is signed with another key than this node's",
            )
            .remedy(
                "恢复持有该密钥的 keys 目录，或请市级中心核实后运行 liandong-hub key restore",
                "restore the keys directory that holds it, or ask the hub to run `liandong-hub key restore`",
            )
            .into());
        }
        Ok(self.tail)
    }
}
