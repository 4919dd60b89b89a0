//! Why the directory says no.

use crate::id::{DistrictCode, FeedId, Hash};

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
    /// The district has no node that could be replaced.
    #[error("{0} 尚无节点接入 / district {0} has no node yet")]
    NoFeed(DistrictCode),
    /// The feed id was granted before.
    #[error("该数据流已登记 / feed {0} is registered already")]
    FeedTaken(FeedId),
    /// There is no such district.
    #[error("没有代码为 {0} 的区 / there is no district {0}")]
    NoDistrict(DistrictCode),
    /// The district exists.
    #[error("{0} 已登记 / district {0} exists already")]
    DistrictExists(DistrictCode),
    /// The district goes on under another code or in another district.
    #[error("{0} 已由 {1} 承继 / district {0} is succeeded by {1}")]
    Succeeded(DistrictCode, DistrictCode),
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
    /// The certificate was bound and is good no longer.
    #[error("证书已被中心吊销：{0} / the certificate was revoked: {0}")]
    CertificateRevoked(String),
    /// No certificate of the feed has this fingerprint.
    #[error("该数据流没有指纹为 {0} 的证书 / the feed has no certificate {0}")]
    NoCertificate(Hash),
    /// The standing is what it was asked to become.
    #[error("{0} 的状态没有变化 / district {0} is in that state already")]
    NoChange(DistrictCode),
    /// The signature over the request does not verify.
    #[error("密钥持有证明不成立 / the proof of possession does not verify")]
    BadProof,
}
