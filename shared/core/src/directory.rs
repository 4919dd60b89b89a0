//! The directory: districts, their feeds, keys and certificates, folded from the hub's own feed.
//!
//! Every decision about who belongs to the city is an op of the hub, so the directory can be rebuilt from the journal
//! and mirrored by the nodes. Commands return changes to be signed; nothing here writes.

mod district;
mod refusal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    district::{District, Standing},
    refusal::Refusal,
};
use crate::{
    city::{Cause, KeyRevoke, change, read},
    id::{DistrictCode, FeedId, Hash, InstanceId, KeyId},
    op::{Change, Keys, Op, OpType},
};

/// Payload of `dir.token.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the secret; the secret itself is kept nowhere.
    pub hash: Hash,
    /// District that may join with it.
    pub code: DistrictCode,
    /// Last moment of use, milliseconds since 1970 by the hub's clock.
    pub expires_ms: i64,
    /// The feed that a new node goes on writing in the place of a lost one; none: a new feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedId>,
    /// Why the node is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Payload of `dir.feed.v1`: a feed is the district's from here on, and the token is used up. For a feed that is known
/// it means that another installation goes on writing it: the certificates of the one before are good no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedGrant {
    /// The feed.
    pub feed: FeedId,
    /// Its district.
    pub code: DistrictCode,
    /// The token that was used.
    pub token: Hash,
    /// Installation that joined.
    pub instance: InstanceId,
    /// Key that it proved to hold; who asks again after a lost answer must hold it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
}

/// Payload of `key.grant.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    /// Feed the key signs.
    pub feed: FeedId,
    /// ed25519 public key.
    pub public_key: Hash,
    /// First position it may sign.
    pub from_seq: u64,
    /// The rotation in the feed that named the key; none when the hub gave the feed another key by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl KeyGrant {
    /// The op that says so.
    pub fn put(&self) -> Vec<Change> {
        vec![change(OpType::KeyGrant, self.feed.as_bytes(), self)]
    }
}

/// Payload of `cert.bind.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertBind {
    /// Feed the certificate speaks for.
    pub feed: FeedId,
    /// SHA-256 of the certificate's DER.
    pub fingerprint: Hash,
    /// End of validity, milliseconds since 1970.
    pub not_after_ms: i64,
}

/// Payload of `cert.revoke.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertRevoke {
    /// Feed the certificate spoke for.
    pub feed: FeedId,
    /// SHA-256 of the certificate's DER.
    pub fingerprint: Hash,
    /// Why, for people.
    pub reason: String,
}

/// What the directory knows of a feed.
#[derive(Debug, Clone)]
pub struct FeedEntry {
    /// District it belongs to.
    pub code: DistrictCode,
    /// Keys that may sign it.
    pub keys: Keys,
    /// Public key of the last grant, for proofs of possession.
    pub public_key: Option<[u8; 32]>,
    /// Certificates that are good for it, oldest first.
    pub certificates: Vec<CertBind>,
    /// Certificates that are good no longer, with the reason.
    pub revoked: BTreeMap<Hash, String>,
    /// Installation that joined, or joined again last.
    pub instance: InstanceId,
    /// Key that it proved to hold when it joined.
    joined_key: Option<KeyId>,
    /// How often the feed was joined again, a label for people.
    pub incarnation: u32,
}

/// The directory at some position of the hub's feed.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Districts by code.
    pub districts: BTreeMap<DistrictCode, District>,
    /// Feeds by id.
    pub feeds: BTreeMap<FeedId, FeedEntry>,
    tokens: BTreeMap<Hash, (Token, Option<FeedId>)>,
    /// Position of the hub's feed that is folded in.
    pub seq: u64,
}

/// A directory op whose payload cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("hub op {seq} ({kind}) cannot be read: {reason}")]
pub struct Unreadable {
    seq: u64,
    kind: String,
    reason: String,
}

impl Directory {
    /// Folds the next op of the hub's feed in.
    ///
    /// # Errors
    /// `Unreadable` when a payload of a known type is not what the type says; the op is skipped.
    pub fn apply(&mut self, op: &Op) -> Result<(), Unreadable> {
        self.seq = op.seq;
        match op.kind {
            OpType::DirDistrict => self.put_district(read(op)?),
            OpType::DirToken => {
                let token: Token = read(op)?;
                self.tokens.insert(token.hash, (token, None));
            }
            OpType::DirFeed => self.grant_feed(read(op)?),
            OpType::KeyGrant => {
                let grant: KeyGrant = read(op)?;
                if let Some(entry) = self.feeds.get_mut(&grant.feed) {
                    let key = *grant.public_key.as_bytes();
                    let keys = &mut entry.keys;
                    let granted = match grant.cause {
                        Some(_) => keys.countersign(&key, grant.from_seq),
                        None => keys.grant(&key, grant.from_seq),
                    };
                    granted.map_err(|bad| Unreadable::of(op, &bad))?;
                    if entry.keys.current() == Some(KeyId::of(&key)) {
                        entry.public_key = Some(key);
                    }
                }
            }
            OpType::CertBind => {
                let bind: CertBind = read(op)?;
                if let Some(entry) = self.feeds.get_mut(&bind.feed) {
                    entry.certificates.push(bind);
                }
            }
            OpType::CertRevoke => {
                let revoke: CertRevoke = read(op)?;
                if let Some(entry) = self.feeds.get_mut(&revoke.feed) {
                    entry.revoke(|fingerprint| fingerprint == revoke.fingerprint, &revoke.reason);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn grant_feed(&mut self, grant: FeedGrant) {
        if let Some((_, used)) = self.tokens.get_mut(&grant.token) {
            *used = Some(grant.feed);
        }
        if let Some(entry) = self.feeds.get_mut(&grant.feed) {
            entry.revoke(|_any| true, "节点已更换 / the node was replaced");
            (entry.instance, entry.joined_key) = (grant.instance, grant.key);
            entry.incarnation += 1;
            return;
        }
        let entry = FeedEntry {
            code: grant.code,
            keys: Keys::default(),
            public_key: None,
            certificates: Vec::new(),
            revoked: BTreeMap::new(),
            instance: grant.instance,
            joined_key: grant.key,
            incarnation: 1,
        };
        self.feeds.insert(grant.feed, entry);
    }

    pub(crate) fn revoke_key(&mut self, revoke: &KeyRevoke) {
        if let Some(entry) = self.feeds.get_mut(&revoke.feed) {
            entry.keys.revoke(revoke.key, revoke.last_good.seq);
        }
    }

    pub(crate) fn rejoined(&mut self, feed: FeedId, instance: InstanceId, incarnation: u32) {
        if let Some(entry) = self.feeds.get_mut(&feed) {
            (entry.instance, entry.incarnation) = (instance, incarnation);
        }
    }

    /// The feed of a district, if its node has joined.
    pub fn feed_of(&self, code: &DistrictCode) -> Option<FeedId> {
        self.feeds.iter().find(|(_, entry)| entry.code == *code).map(|(feed, _)| *feed)
    }

    /// The district a feed belongs to.
    pub fn district_of(&self, feed: FeedId) -> Option<&District> {
        self.districts.get(&self.feeds.get(&feed)?.code)
    }

    /// What a token opens the door for, if it is good now: the district, and the feed of the node that is replaced.
    ///
    /// # Errors
    /// `TokenUnknown`, `TokenUsed`, `TokenExpired`, `HasFeed`, `Suspended`.
    pub fn redeem(&self, token: Hash, now_ms: i64) -> Result<(&District, Option<FeedId>), Refusal> {
        let (token, used) = self.tokens.get(&token).ok_or(Refusal::TokenUnknown)?;
        if used.is_some() {
            return Err(Refusal::TokenUsed);
        }
        if now_ms > token.expires_ms {
            return Err(Refusal::TokenExpired);
        }
        let district =
            self.current(&token.code).ok_or_else(|| Refusal::NoDistrict(token.code.clone()))?;
        if self.feed_of(&district.code) != token.feed {
            return Err(Refusal::HasFeed(district.code.clone()));
        }
        standing(district)?;
        Ok((district, token.feed))
    }

    /// The feed that a token was used for, when it was by the holder of this key.
    pub fn joined_with(&self, token: Hash, public_key: &[u8; 32]) -> Option<FeedId> {
        let feed = self.tokens.get(&token)?.1?;
        let entry = self.feeds.get(&feed)?;
        let same = entry.joined_key == Some(KeyId::of(public_key))
            || entry.public_key == Some(*public_key);
        same.then_some(feed)
    }

    /// The ops that make a node with a new feed part of the city.
    ///
    /// # Errors
    /// Those of [`Self::redeem`], and `FeedTaken`.
    pub fn join(
        &self,
        grant: &FeedGrant,
        key: &KeyGrant,
        certificate: &CertBind,
        now_ms: i64,
    ) -> Result<Vec<Change>, Refusal> {
        let (_, replaced) = self.redeem(grant.token, now_ms)?;
        if replaced.is_some() || self.feeds.contains_key(&grant.feed) {
            return Err(Refusal::FeedTaken(grant.feed));
        }
        let subject = grant.feed.as_bytes();
        Ok(vec![
            change(OpType::DirFeed, subject, grant),
            change(OpType::KeyGrant, subject, key),
            change(OpType::CertBind, subject, certificate),
        ])
    }

    /// The op that takes a feed from a lost node: from here on its certificates are refused. Key and certificate of the
    /// new one follow by [`Self::seat`] when nothing of the old one is under way any more.
    ///
    /// # Errors
    /// Those of [`Self::redeem`]; `FeedTaken` when the token is not for this feed.
    pub fn replace(&self, grant: &FeedGrant, now_ms: i64) -> Result<Vec<Change>, Refusal> {
        let (_, replaced) = self.redeem(grant.token, now_ms)?;
        if replaced != Some(grant.feed) {
            return Err(Refusal::FeedTaken(grant.feed));
        }
        Ok(vec![change(OpType::DirFeed, grant.feed.as_bytes(), grant)])
    }

    /// The ops that give a feed's installation its key, if it has another one, and its certificate.
    ///
    /// # Errors
    /// `UnknownFeed`, `Suspended`.
    pub fn seat(&self, key: &KeyGrant, certificate: &CertBind) -> Result<Vec<Change>, Refusal> {
        let known = self.entry(key.feed)?.keys.current();
        let mut changes = Vec::new();
        if known != Some(KeyId::of(key.public_key.as_bytes())) {
            changes.extend(key.put());
        }
        changes.extend(self.bind(certificate)?);
        Ok(changes)
    }

    /// The op that binds a renewed certificate.
    ///
    /// # Errors
    /// `UnknownFeed`, `Suspended`.
    pub fn bind(&self, certificate: &CertBind) -> Result<Vec<Change>, Refusal> {
        self.entry(certificate.feed)?;
        Ok(vec![change(OpType::CertBind, certificate.feed.as_bytes(), certificate)])
    }

    /// The op after which a certificate is good no longer.
    ///
    /// # Errors
    /// `UnknownFeed`, `NoCertificate`.
    pub fn revoke_certificate(&self, revoke: &CertRevoke) -> Result<Vec<Change>, Refusal> {
        let entry = self.feeds.get(&revoke.feed).ok_or(Refusal::UnknownFeed(revoke.feed))?;
        if !entry.certificates.iter().any(|bound| bound.fingerprint == revoke.fingerprint) {
            return Err(Refusal::NoCertificate(revoke.fingerprint));
        }
        Ok(vec![change(OpType::CertRevoke, revoke.feed.as_bytes(), revoke)])
    }

    /// The feed's entry, when its district takes part.
    ///
    /// # Errors
    /// `UnknownFeed`, `NoDistrict`, `Suspended`.
    pub fn entry(&self, feed: FeedId) -> Result<&FeedEntry, Refusal> {
        let entry = self.feeds.get(&feed).ok_or(Refusal::UnknownFeed(feed))?;
        let district = self
            .districts
            .get(&entry.code)
            .ok_or_else(|| Refusal::NoDistrict(entry.code.clone()))?;
        standing(district)?;
        Ok(entry)
    }

    /// Whether a certificate may speak for a feed now.
    ///
    /// # Errors
    /// `WrongFeed`, `CertificateUnbound` and those of [`Self::entry`].
    pub fn admit(
        &self,
        feed: FeedId,
        certificate_feed: FeedId,
        fingerprint: Hash,
    ) -> Result<&FeedEntry, Refusal> {
        if feed != certificate_feed {
            return Err(Refusal::WrongFeed { certificate: certificate_feed, feed });
        }
        let entry = self.entry(feed)?;
        if entry.certificates.iter().any(|bound| bound.fingerprint == fingerprint) {
            return Ok(entry);
        }
        Err(match entry.revoked.get(&fingerprint) {
            Some(reason) => Refusal::CertificateRevoked(reason.clone()),
            None => Refusal::CertificateUnbound,
        })
    }
}

impl FeedEntry {
    fn revoke(&mut self, which: impl Fn(Hash) -> bool, reason: &str) {
        let gone = self.certificates.extract_if(.., |bound| which(bound.fingerprint));
        self.revoked.extend(gone.map(|bound| (bound.fingerprint, reason.to_owned())));
    }
}

fn standing(district: &District) -> Result<(), Refusal> {
    match district.standing {
        Standing::Active => Ok(()),
        Standing::Suspended => Err(Refusal::Suspended {
            code: district.code.clone(),
            name: district.name.clone(),
            reason: district
                .reason
                .clone()
                .unwrap_or_else(|| "未说明原因 / no reason given".to_owned()),
        }),
    }
}

impl Unreadable {
    pub(crate) fn of(op: &Op, reason: &dyn std::fmt::Display) -> Self {
        Self { seq: op.seq, kind: op.kind.name().to_owned(), reason: reason.to_string() }
    }
}
