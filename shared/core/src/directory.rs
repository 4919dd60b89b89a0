//! The directory: districts, their feeds, keys and certificates, folded from the hub's own feed.
//!
//! Every decision about who belongs to the city is an op of the hub, so the directory can be rebuilt from the journal
//! and mirrored by the nodes. Commands return changes to be signed; nothing here writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    city::{KeyRevoke, change, read},
    id::{DistrictCode, FeedId, Hash, InstanceId},
    op::{Change, Keys, Op, OpType},
};

/// Whether a district takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its node may push.
    Active,
    /// Its node is refused; what the city has of it stays as it is.
    Suspended,
}

/// Payload of `dir.district.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct District {
    /// Area code at the time; may change, the feed does not.
    pub code: DistrictCode,
    /// Name for people.
    pub name: String,
    /// Active or suspended.
    pub standing: Standing,
    /// Why it was suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Payload of `dir.token.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the secret; the secret itself is kept nowhere.
    pub hash: Hash,
    /// District that may join with it.
    pub code: DistrictCode,
    /// Last moment of use, milliseconds since 1970 by the hub's clock.
    pub expires_ms: i64,
}

/// Payload of `dir.feed.v1`: a feed is the district's from here on, and the token is used up.
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

/// What the directory knows of a feed.
#[derive(Debug, Clone)]
pub struct FeedEntry {
    /// District it belongs to.
    pub code: DistrictCode,
    /// Keys that may sign it.
    pub keys: Keys,
    /// Public key of the last grant, for proofs of possession.
    pub public_key: Option<[u8; 32]>,
    /// Certificates that were made out for it, oldest first.
    pub certificates: Vec<CertBind>,
    /// Installation that joined, or joined again last.
    pub instance: InstanceId,
    /// How often the feed was joined again, a label for people.
    pub incarnation: u32,
}

/// Why a district's node or a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is in no op.
    #[error("接入口令无效：本中心未签发过它 / the token is unknown to this hub")]
    TokenUnknown,
    /// The token was used before.
    #[error(
        "接入口令已被使用过，每个口令只能用一次；请在中心重新签发 / the token was used already; ask the hub for a new one"
    )]
    TokenUsed,
    /// The token's time is over.
    #[error("接入口令已过期；请在中心重新签发 / the token has expired; ask the hub for a new one")]
    TokenExpired,
    /// The district has a node.
    #[error("{0} 已有节点接入 / district {0} already has a node")]
    HasFeed(DistrictCode),
    /// The feed id was granted before.
    #[error("该数据流已登记 / feed {0} is registered already")]
    FeedTaken(FeedId),
    /// There is no such district.
    #[error("没有代码为 {0} 的区 / there is no district {0}")]
    NoDistrict(DistrictCode),
    /// The district exists.
    #[error("{0} 已登记 / district {0} exists already")]
    DistrictExists(DistrictCode),
    /// The feed is in no op.
    #[error("数据流 {0} 未在中心登记 / feed {0} is not registered at the hub")]
    UnknownFeed(FeedId),
    /// The district is suspended.
    #[error(
        "{name}（{code}）已被中心暂停：{reason}。请联系市级运维 / district {code} is suspended: {reason}; contact the hub operator"
    )]
    Suspended {
        /// The district.
        code: DistrictCode,
        /// Its name.
        name: String,
        /// The reason given.
        reason: String,
    },
    /// The certificate speaks for another feed.
    #[error(
        "证书属于数据流 {certificate}，与所推送的 {feed} 不符 / the certificate is for feed {certificate}, not {feed}"
    )]
    WrongFeed {
        /// Feed in the certificate.
        certificate: FeedId,
        /// Feed that was asked for.
        feed: FeedId,
    },
    /// The certificate was issued by our CA but is not bound in the directory.
    #[error(
        "证书未在中心目录登记，请重新接入 / the certificate is not bound in the directory; enrol again"
    )]
    CertificateUnbound,
    /// The standing is what it was asked to become.
    #[error("{0} 的状态没有变化 / district {0} is in that state already")]
    NoChange(DistrictCode),
    /// The signature over the request does not verify.
    #[error("密钥持有证明不成立 / the proof of possession does not verify")]
    BadProof,
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
            OpType::DirDistrict => {
                let district: District = read(op)?;
                self.districts.insert(district.code.clone(), district);
            }
            OpType::DirToken => {
                let token: Token = read(op)?;
                self.tokens.insert(token.hash, (token, None));
            }
            OpType::DirFeed => self.grant_feed(read(op)?),
            OpType::KeyGrant => {
                let grant: KeyGrant = read(op)?;
                if let Some(entry) = self.feeds.get_mut(&grant.feed) {
                    let key = *grant.public_key.as_bytes();
                    entry
                        .keys
                        .grant(&key, grant.from_seq)
                        .map_err(|bad| Unreadable::of(op, &bad))?;
                    entry.public_key = Some(key);
                }
            }
            OpType::CertBind => {
                let bind: CertBind = read(op)?;
                if let Some(entry) = self.feeds.get_mut(&bind.feed) {
                    entry.certificates.push(bind);
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
        let entry = FeedEntry {
            code: grant.code,
            keys: Keys::default(),
            public_key: None,
            certificates: Vec::new(),
            instance: grant.instance,
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

    /// A new district with its first token.
    ///
    /// # Errors
    /// `DistrictExists`.
    pub fn add_district(&self, name: &str, token: &Token) -> Result<Vec<Change>, Refusal> {
        if self.districts.contains_key(&token.code) {
            return Err(Refusal::DistrictExists(token.code.clone()));
        }
        let district = District {
            code: token.code.clone(),
            name: name.to_owned(),
            standing: Standing::Active,
            reason: None,
        };
        let subject = token.code.as_str().as_bytes();
        Ok(vec![
            change(OpType::DirDistrict, subject, &district),
            change(OpType::DirToken, subject, token),
        ])
    }

    /// Another token for a district whose node has not joined yet.
    ///
    /// # Errors
    /// `NoDistrict`, `HasFeed`.
    pub fn add_token(&self, token: &Token) -> Result<Vec<Change>, Refusal> {
        if !self.districts.contains_key(&token.code) {
            return Err(Refusal::NoDistrict(token.code.clone()));
        }
        if self.feed_of(&token.code).is_some() {
            return Err(Refusal::HasFeed(token.code.clone()));
        }
        Ok(vec![change(OpType::DirToken, token.code.as_str().as_bytes(), token)])
    }

    /// Suspends or resumes a district.
    ///
    /// # Errors
    /// `NoDistrict`, `NoChange`.
    pub fn set_standing(
        &self,
        code: &DistrictCode,
        standing: Standing,
        reason: Option<String>,
    ) -> Result<Vec<Change>, Refusal> {
        let known = self.districts.get(code).ok_or_else(|| Refusal::NoDistrict(code.clone()))?;
        if known.standing == standing {
            return Err(Refusal::NoChange(code.clone()));
        }
        let district = District { standing, reason, ..known.clone() };
        Ok(vec![change(OpType::DirDistrict, code.as_str().as_bytes(), &district)])
    }

    /// The district that a token opens the door for, if it is good now.
    ///
    /// # Errors
    /// `TokenUnknown`, `TokenUsed`, `TokenExpired`, `HasFeed`, `Suspended`.
    pub fn redeem(&self, token: Hash, now_ms: i64) -> Result<&District, Refusal> {
        let (token, used) = self.tokens.get(&token).ok_or(Refusal::TokenUnknown)?;
        if used.is_some() {
            return Err(Refusal::TokenUsed);
        }
        if now_ms > token.expires_ms {
            return Err(Refusal::TokenExpired);
        }
        if self.feed_of(&token.code).is_some() {
            return Err(Refusal::HasFeed(token.code.clone()));
        }
        let district = self
            .districts
            .get(&token.code)
            .ok_or_else(|| Refusal::NoDistrict(token.code.clone()))?;
        standing(district)?;
        Ok(district)
    }

    /// The feed that a token was used for.
    pub fn joined_with(&self, token: Hash) -> Option<FeedId> {
        self.tokens.get(&token)?.1
    }

    /// The ops that make a node part of the city.
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
        self.redeem(grant.token, now_ms)?;
        if self.feeds.contains_key(&grant.feed) {
            return Err(Refusal::FeedTaken(grant.feed));
        }
        let subject = grant.feed.as_bytes();
        Ok(vec![
            change(OpType::DirFeed, subject, grant),
            change(OpType::KeyGrant, subject, key),
            change(OpType::CertBind, subject, certificate),
        ])
    }

    /// The op that binds a renewed certificate.
    ///
    /// # Errors
    /// `UnknownFeed`, `Suspended`.
    pub fn bind(&self, certificate: &CertBind) -> Result<Vec<Change>, Refusal> {
        self.entry(certificate.feed)?;
        Ok(vec![change(OpType::CertBind, certificate.feed.as_bytes(), certificate)])
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
            Ok(entry)
        } else {
            Err(Refusal::CertificateUnbound)
        }
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
