//! Commands of the hub about the keys of districts.

use super::{City, KeyRevoke, Refusal, change, require};
use crate::{
    directory::KeyGrant,
    id::{FeedId, KeyId},
    op::{Change, KeyStretch, OpType},
};

impl City {
    /// The op after which a key is not believed beyond a position of its feed.
    ///
    /// # Errors
    /// `NoReason`; `NotFound` when the feed has no such key; `NoChange` when no more is believed of it already.
    pub fn revoke_key(&self, revoke: &KeyRevoke) -> Result<Vec<Change>, Refusal> {
        require(&revoke.reason)?;
        let key = || revoke.key.to_string();
        let entry = self.directory.feeds.get(&revoke.feed);
        let keys = &entry.ok_or_else(|| Refusal::NotFound(revoke.feed.to_string()))?.keys;
        if !keys.list().iter().any(|known| known.key == revoke.key) {
            return Err(Refusal::NotFound(key()));
        }
        let known = |(id, good): &(KeyId, u64)| *id == revoke.key && *good <= revoke.last_good.seq;
        if keys.revoked().iter().any(known) {
            return Err(Refusal::NoChange(key()));
        }
        Ok(vec![change(OpType::KeyRevoke, revoke.feed.as_bytes(), revoke)])
    }

    /// The op after which a key that the feed has or had signs every op from a position on. Node and hub may both have
    /// lost the op that named the key after it, and the district the key itself: then nobody else can go on writing.
    /// What the mirror holds, up to `held`, keeps the keys it has.
    ///
    /// # Errors
    /// `NotFound` when the feed has no such key; `NoChange` when it signs there already; `Bad` when it was revoked, or
    /// the position is in the mirror.
    ///
    /// Source: FEDERATION 2.13, F11.
    pub fn restore_key(
        &self,
        feed: FeedId,
        key: KeyId,
        from_seq: u64,
        held: u64,
    ) -> Result<Vec<Change>, Refusal> {
        let entry = self.directory.feeds.get(&feed);
        let keys = &entry.ok_or_else(|| Refusal::NotFound(feed.to_string()))?.keys;
        let public_key = keys.public_key(key).ok_or_else(|| Refusal::NotFound(key.to_string()))?;
        if keys.revoked().iter().any(|(revoked, _)| *revoked == key) {
            return Err(Refusal::Bad {
                zh: "已吊销的密钥不能再次启用".to_owned(),
                en: "a revoked key does not sign again".to_owned(),
            });
        }
        if from_seq <= held {
            return Err(Refusal::Bad {
                zh: format!("中心已持有至第 {held} 条，只能自第 {} 条起", held + 1),
                en: format!("the mirror ends at op {held}; the first possible is {}", held + 1),
            });
        }
        let signs = |known: &KeyStretch| {
            known.key == key && known.until_seq.is_none() && known.from_seq <= from_seq
        };
        if keys.list().iter().any(signs) {
            return Err(Refusal::NoChange(key.to_string()));
        }
        Ok(KeyGrant { feed, public_key, from_seq, cause: None }.put())
    }
}
