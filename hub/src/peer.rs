//! Who is at the other end of a gRPC call.

use liandong_core::id::{FeedId, Hash};
use liandong_server::identity::{CertInfo, fingerprint};
use tonic::{Request, Status};

/// What the client's certificate says. TLS has checked that it is of our authority and in its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Feed the certificate speaks for.
    pub(crate) feed: FeedId,
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: Hash,
}

impl Peer {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let certificates = request.peer_certs().unwrap_or_default();
        let Some(certificate) = certificates.first() else {
            let from = request.remote_addr();
            tracing::warn!(?from, "a call without a client certificate was refused");
            return Err(Status::unauthenticated(
                "没有客户端证书：请先用接入口令加入（liandong-node init --join）/ \
                 no client certificate: join first with a token (liandong-node init --join)",
            ));
        };
        let unusable = |why: String| {
            tracing::warn!(%why, "a client certificate without a feed was refused");
            Status::unauthenticated(format!(
                "客户端证书不属于任何节点：{why} / the certificate names no feed"
            ))
        };
        let info = CertInfo::parse(certificate).map_err(|error| unusable(error.to_string()))?;
        let feed = info.feed.ok_or_else(|| unusable(info.subject))?;
        let feed = feed.parse().map_err(|_bad| unusable(feed))?;
        Ok(Self { feed, fingerprint: Hash::new(fingerprint(certificate)) })
    }
}
