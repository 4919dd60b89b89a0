//! How a node enters the city: the one-time token, the proof that it holds its keys, the certificate.

use std::sync::Arc;

use liandong_core::{
    directory::{CertBind, FeedGrant, KeyGrant, Refusal},
    id::{FeedId, Hash, InstanceId},
    op::verify_detached,
    receipt,
    wire::recover::write_head,
};
use liandong_proto::sync::{
    JoinReply, JoinRequest, RenewReply, RenewRequest, enrolment_server::Enrolment,
};
use liandong_server::{
    clock,
    identity::{CertInfo, fingerprint},
};
use tonic::{Request, Response, Status};

use crate::{
    app::{App, AppError},
    peer::Peer,
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Enrol {
    pub(crate) app: Arc<App>,
}

fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::TokenUnknown | Refusal::TokenUsed | Refusal::TokenExpired => {
            Status::permission_denied(text)
        }
        Refusal::BadProof => Status::unauthenticated(text),
        _ => Status::failed_precondition(text),
    }
}

fn status(error: &AppError) -> Status {
    match error {
        AppError::Refused(refusal) => refused(refusal),
        AppError::Identity(error) => Status::invalid_argument(error.to_string()),
        other => {
            tracing::error!(error = %other, "enrolment failed");
            Status::internal("中心内部错误，请查看中心日志 / the hub failed; see its log")
        }
    }
}

fn malformed(what: &str) -> Status {
    Status::invalid_argument(format!("请求字段 {what} 不正确 / the request's {what} is malformed"))
}

impl Enrol {
    fn certify(&self, feed: FeedId, csr: &[u8]) -> Result<(Vec<u8>, CertBind), AppError> {
        let ttl = self.app.config.certificates.ttl_secs;
        let der =
            self.app.authority.issue_client(csr, &feed.to_string(), &[], ttl, clock::now_ms())?;
        let not_after_ms = CertInfo::parse(&der)?.not_after_ms;
        let bind = CertBind { feed, fingerprint: Hash::new(fingerprint(&der)), not_after_ms };
        Ok((der, bind))
    }

    async fn admit(&self, request: &JoinRequest) -> Result<JoinReply, Status> {
        let feed =
            FeedId::try_from(request.feed_id.as_ref()).map_err(|_bad| malformed("feed_id"))?;
        let key: [u8; 32] = request
            .feed_public_key
            .as_ref()
            .try_into()
            .map_err(|_bad| malformed("feed_public_key"))?;
        let instance = InstanceId::try_from(request.instance_id.as_ref())
            .map_err(|_bad| malformed("instance_id"))?;
        let token = receipt::token_hash(&request.token_secret);
        let proof = receipt::join_message(token, feed, &request.csr_der);
        let mut certificate = Vec::new();
        let mut joined = None;
        let decided = self.app.decide("enrolment", |city| {
            let directory = &city.directory;
            // The first answer may have been lost on the way: whoever holds the feed's key may ask again.
            let again = directory.joined_with(token) == Some(feed)
                && directory.entry(feed)?.public_key == Some(key);
            let district = match directory.district_of(feed).filter(|_| again) {
                Some(district) => district.clone(),
                None => directory.redeem(token, clock::now_ms())?.clone(),
            };
            if !verify_detached(&key, &proof, &request.proof) {
                return Err(Refusal::BadProof.into());
            }
            let (der, bind) = self.certify(feed, &request.csr_der)?;
            if again {
                certificate = der;
                joined = Some(district);
                return Ok(directory.bind(&bind)?);
            }
            let grant = FeedGrant { feed, code: district.code.clone(), token, instance };
            let key = KeyGrant { feed, public_key: Hash::new(key), from_seq: 1 };
            let changes = directory.join(&grant, &key, &bind, clock::now_ms())?;
            certificate = der;
            joined = Some(district);
            Ok(changes)
        });
        decided.await.map_err(|error| status(&error))?;
        let district = joined.ok_or_else(|| malformed("token_secret"))?;
        tracing::info!(district = %district.code, %feed, "a node joined");
        Ok(JoinReply {
            certificate_der: certificate.into(),
            ca_der: self.app.authority.ca_der().to_vec().into(),
            district_code: district.code.to_string(),
            district_name: district.name,
            hub_feed_id: self.app.own.feed().as_bytes().to_vec().into(),
            hub_public_key: self.app.own.author().public_key().to_vec().into(),
            feed_id: feed.as_bytes().to_vec().into(),
            mirror_head: Some(write_head(feed, self.app.store.head(feed))),
        })
    }
}

impl Enrol {
    async fn certify_again(&self, peer: Peer, request: &RenewRequest) -> Result<Vec<u8>, Status> {
        let mut certificate = Vec::new();
        let decided = self.app.decide("enrolment", |city| {
            let directory = &city.directory;
            let entry = directory.admit(peer.feed, peer.feed, peer.fingerprint)?;
            let proof = receipt::renew_message(peer.feed, &request.csr_der);
            let proven =
                entry.public_key.is_some_and(|key| verify_detached(&key, &proof, &request.proof));
            if !proven {
                return Err(Refusal::BadProof.into());
            }
            let (der, bind) = self.certify(peer.feed, &request.csr_der)?;
            certificate = der;
            Ok(directory.bind(&bind)?)
        });
        decided.await.map_err(|error| status(&error))?;
        Ok(certificate)
    }
}

#[tonic::async_trait]
impl Enrolment for Enrol {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let from = request.remote_addr();
        let (enrol, request) = (self.clone(), request.into_inner());
        // A caller that goes away must not stop half-way what it asked for.
        let admitted = tokio::spawn(async move { enrol.admit(&request).await });
        match admitted.await.unwrap_or_else(|gone| Err(Status::internal(gone.to_string()))) {
            Ok(reply) => Ok(Response::new(reply)),
            Err(status) => {
                tracing::warn!(?from, reason = status.message(), "a node may not join");
                Err(status)
            }
        }
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let peer = Peer::of(&request)?;
        let (enrol, request) = (self.clone(), request.into_inner());
        let renewed = tokio::spawn(async move { enrol.certify_again(peer, &request).await });
        let certificate =
            renewed.await.unwrap_or_else(|gone| Err(Status::internal(gone.to_string())))?;
        tracing::info!(feed = %peer.feed, "a certificate was renewed");
        Ok(Response::new(RenewReply { certificate_der: certificate.into() }))
    }
}
