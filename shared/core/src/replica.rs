//! What a node believes of the city's catalogue that the hub sends down: nothing that was not signed by whom it
//! concerns.
//!
//! A row is checked against the hub's own feed as it is mirrored at the node, because that feed says who may write a
//! record, under which keys, what curators laid over it and what is held back.

use crate::{
    checkpoint::Checkpoint,
    city::{City, CityRow, CityStatus, Overlaid},
    fold::is_about_records,
    id::{FeedId, Hash, RecordId},
    op::{Keys, Op, OpFault, OpType, SignedOp},
    record::Visibility,
    wire::city::CityRecord,
};

/// Why a row is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// The row names another owner than the hub's feed does.
    #[error("条目的归属与中心数据流不符 / the hub's feed names another owner")]
    Authority,
    /// The hub's feed hides the record, the row shows it.
    #[error("中心数据流已隐藏此条目 / the hub's feed hides the record")]
    Held,
    /// Parts are there that the status excludes, or the other way round.
    #[error("条目的内容与状态不符 / content and status do not fit")]
    Shape,
    /// The district's op is none.
    #[error("区级签名内容无效：{0} / the district's op is not valid: {0}")]
    Core(OpFault),
    /// The district's op is about another record, does something else, or its feed had no say at that point.
    #[error("区级操作与条目不符 / the district's op does not make this row")]
    Misplaced,
    /// The content was withheld although the hub's feed did not order it erased.
    #[error("内容被扣留 / the content is withheld")]
    Withheld,
    /// The content is not for this node.
    #[error("内容不应发给本区 / the content is not for this node")]
    NotForUs,
    /// The hub's op is none, or is about another record.
    #[error("市级叠加内容无效 / the overlay is not valid")]
    Overlay,
    /// The mirrored feed knows a newer overlay.
    #[error("市级叠加内容已过时 / the overlay is not the one in the hub's feed")]
    OldOverlay,
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// The hub's key did not sign it.
    #[error("校验点签名无效 / the checkpoint's signature does not verify")]
    Signature,
    /// It is for another node.
    #[error("校验点属于其他区 / the checkpoint is for another node")]
    Audience,
    /// It is of another run than the stream.
    #[error("校验点属于中心的另一次运行 / the checkpoint is of another run of the hub")]
    Epoch,
    /// Its time is over. Either it is an old one or a clock is wrong.
    #[error(
        "校验点已过期：可能是重放，或时钟不准 / the checkpoint has expired: a replay, or a wrong clock"
    )]
    Expired,
    /// A newer one was seen before.
    #[error("收到过更新的校验点 / a newer checkpoint was seen before")]
    Replayed,
    /// It names an op of the hub's feed that is not the one mirrored here: the hub tells different nodes different
    /// things.
    #[error(
        "校验点引用的中心数据流与本区镜像不符 / the checkpoint names another feed of the hub than was sent here"
    )]
    HubFeed,
}

/// A row that was believed.
#[derive(Debug, Clone)]
pub struct Believed {
    /// What it shows.
    pub row: CityRow,
    /// The district's op; none when held.
    pub core: Option<Op>,
    /// The overlay.
    pub overlaid: Option<Overlaid>,
}

/// What a node knows when it judges.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The hub's feed as it is mirrored.
    pub city: &'a City,
    /// Which feed that is.
    pub hub_feed: FeedId,
    /// Its keys.
    pub hub_keys: &'a Keys,
    /// The node's own feed.
    pub audience: FeedId,
}

impl Ground<'_> {
    /// Checks a row; nothing when it says that the record is gone.
    ///
    /// # Errors
    /// See [`Disbelief`].
    pub fn believe(&self, record: &CityRecord) -> Result<Option<Believed>, Disbelief> {
        let Some(row) = record.row() else {
            let bare = record.core.is_none() && record.overlay.is_none();
            return if bare { Ok(None) } else { Err(Disbelief::Shape) };
        };
        if record.authority != self.city.owner(record.id) {
            return Err(Disbelief::Authority);
        }
        if row.status == CityStatus::Held {
            let bare = record.core.is_none() && record.overlay.is_none();
            let held = Believed { row, core: None, overlaid: None };
            return if bare { Ok(Some(held)) } else { Err(Disbelief::Shape) };
        }
        if self.city.hides(record.id) {
            return Err(Disbelief::Held);
        }
        let signed = record.core.clone().ok_or(Disbelief::Shape)?;
        let core = Some(self.core(record.id, row.status, signed)?);
        let overlaid = self.overlay(record.id, row.status, record.overlay.clone())?;
        Ok(Some(Believed { row, core, overlaid }))
    }

    fn core(&self, id: RecordId, status: CityStatus, signed: SignedOp) -> Result<Op, Disbelief> {
        let op = Op::parse(signed).map_err(Disbelief::Core)?;
        let rules = self.city.rules(op.feed);
        let erased = self.city.redactions.contains_key(&(op.feed, op.seq));
        let makes = match status {
            CityStatus::Live => matches!(op.kind, OpType::RecordPut | OpType::RecordRevive),
            // A version whose content is erased shows as gone.
            CityStatus::Withdrawn if erased => is_about_records(&op.kind),
            CityStatus::Withdrawn => op.kind == OpType::RecordTombstone,
            CityStatus::Held => false,
        };
        let placed = makes
            && RecordId::try_from(op.subject.as_ref()).is_ok_and(|subject| subject == id)
            && rules.admits(op.feed, op.seq, id)
            && !rules.disbelieves(op.key, op.seq);
        if !placed {
            return Err(Disbelief::Misplaced);
        }
        let entry = self.city.directory.feeds.get(&op.feed).ok_or(Disbelief::Misplaced)?;
        op.verify_kept(&entry.keys).map_err(Disbelief::Core)?;
        if op.signed.withheld && !erased {
            return Err(Disbelief::Withheld);
        }
        let ours = self.city.owner(id) == self.audience;
        if op.visibility == Visibility::Restricted && !ours {
            return Err(Disbelief::NotForUs);
        }
        Ok(op)
    }

    fn overlay(
        &self,
        id: RecordId,
        status: CityStatus,
        signed: Option<SignedOp>,
    ) -> Result<Option<Overlaid>, Disbelief> {
        let known = self.city.curation.overlays.get(&id).filter(|_| status == CityStatus::Live);
        let Some(signed) = signed else {
            return if known.is_none() { Ok(None) } else { Err(Disbelief::OldOverlay) };
        };
        let op = Op::parse(signed).map_err(|_fault| Disbelief::Overlay)?;
        let about = RecordId::try_from(op.subject.as_ref());
        if status != CityStatus::Live
            || op.feed != self.hub_feed
            || op.seq > self.city.head.seq
            || op.kind != OpType::OverlayPut
            || about != Ok(id)
            || op.verify_kept(self.hub_keys).is_err()
        {
            return Err(Disbelief::Overlay);
        }
        // One whose payload was withheld from this mirror may be newer than what is known of it.
        match known {
            Some(known) if known.seq > op.seq => return Err(Disbelief::OldOverlay),
            Some(known) if known.seq == op.seq && known.op_hash != op.hash => {
                return Err(Disbelief::Overlay);
            }
            _ => {}
        }
        if op.signed.withheld {
            let theirs = self.city.owner(id) != self.audience;
            let restricted = op.visibility == Visibility::Restricted && theirs;
            return if restricted { Ok(None) } else { Err(Disbelief::Withheld) };
        }
        Overlaid::of(&op).map(Some).map_err(|_unreadable| Disbelief::Overlay)
    }
}

/// What a node knows when it judges a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The key that signs for the hub now.
    pub hub_key: &'a [u8; 32],
    /// The node's own feed.
    pub audience: FeedId,
    /// The run that the stream is of.
    pub epoch: Option<[u8; 16]>,
    /// The last one that was believed.
    pub last: Option<&'a Checkpoint>,
    /// Hash of the mirrored feed of the hub at the checkpoint's position, if it is there.
    pub hub_hash: Option<Hash>,
    /// The node's clock, milliseconds since 1970.
    pub now_ms: i64,
}

impl Expected<'_> {
    /// Checks all of a checkpoint but the root.
    ///
    /// # Errors
    /// See [`BadCheckpoint`].
    pub fn believe(&self, checkpoint: &Checkpoint) -> Result<(), BadCheckpoint> {
        if !checkpoint.verifies(self.hub_key) {
            return Err(BadCheckpoint::Signature);
        }
        if checkpoint.audience != self.audience {
            return Err(BadCheckpoint::Audience);
        }
        if Some(checkpoint.epoch) != self.epoch {
            return Err(BadCheckpoint::Epoch);
        }
        let newer = self.last.is_some_and(|last| {
            last.epoch == checkpoint.epoch
                && (last.city_seq > checkpoint.city_seq || last.hub.seq > checkpoint.hub.seq)
        });
        if newer {
            return Err(BadCheckpoint::Replayed);
        }
        if checkpoint.expires_ms <= self.now_ms {
            return Err(BadCheckpoint::Expired);
        }
        if self.hub_hash != Some(checkpoint.hub.hash) {
            return Err(BadCheckpoint::HubFeed);
        }
        Ok(())
    }
}

/// Two statements of a hub that cannot both be true. Both are signed, so they convince anyone who has its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equivocation {
    /// Its feed has two histories: another op at the same position.
    Feed {
        /// The position.
        seq: u64,
        /// What stands there for one and for the other.
        hashes: [Hash; 2],
    },
    /// Two roots of the same city for the same audience.
    Root {
        /// The position in the run.
        city_seq: u64,
        /// One and the other.
        roots: [Hash; 2],
    },
}

/// Compares two checkpoints, of one node or of two; needs neither hub nor network.
pub fn equivocation(a: &Checkpoint, b: &Checkpoint, hub_key: &[u8; 32]) -> Option<Equivocation> {
    if !a.verifies(hub_key) || !b.verifies(hub_key) {
        return None;
    }
    if a.hub.seq == b.hub.seq && a.hub.hash != b.hub.hash {
        return Some(Equivocation::Feed { seq: a.hub.seq, hashes: [a.hub.hash, b.hub.hash] });
    }
    let same = (a.epoch, a.audience, a.city_seq, a.hub) == (b.epoch, b.audience, b.city_seq, b.hub);
    let differ = same && (a.root, a.count) != (b.root, b.count);
    differ.then_some(Equivocation::Root { city_seq: a.city_seq, roots: [a.root, b.root] })
}

/// Compares a checkpoint of one node with an op of the hub's feed that another node mirrors.
pub fn equivocation_with(
    checkpoint: &Checkpoint,
    op: &Op,
    hub_key: &[u8; 32],
    hub_keys: &Keys,
) -> Option<Equivocation> {
    let differ = op.seq == checkpoint.hub.seq && op.hash != checkpoint.hub.hash;
    let signed = checkpoint.verifies(hub_key) && op.verify_kept(hub_keys).is_ok();
    let hashes = [checkpoint.hub.hash, op.hash];
    (differ && signed).then_some(Equivocation::Feed { seq: op.seq, hashes })
}
