//! How a node enters the city: the one-time token, the proof that it holds its keys, the certificate.

use std::sync::Arc;

use liandong_core::{
    directory::{CertBind, District, FeedGrant, KeyGrant, Refusal},
    id::{DistrictCode, FeedId, Hash, Head, InstanceId, KeyId},
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
        AppError::Recovering => Status::unavailable(error.to_string()),
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
        if !verify_detached(&key, &proof, &request.proof) {
            return Err(refused(&Refusal::BadProof));
        }
        let asked = Asked { feed, key, instance, token, csr: &request.csr_der };
        let seated = self.seat(&asked).await.map_err(|error| status(&error))?;
        let Seated { feed, incarnation, district, certificate, mirror } = seated;
        tracing::info!(district = %district.code, %feed, "a node joined");
        let root = self.app.hub_keys().root();
        Ok(JoinReply {
            certificate_der: certificate.into(),
            ca_der: self.app.authority.ca_der().to_vec().into(),
            district_code: district.code.to_string(),
            district_name: district.name,
            hub_feed_id: self.app.own.feed().as_bytes().to_vec().into(),
            hub_public_key: self.app.hub_anchor.first_key.as_bytes().to_vec().into(),
            hub_root: root.map(|root| root.as_bytes().to_vec().into()).unwrap_or_default(),
            feed_id: feed.as_bytes().to_vec().into(),
            mirror_head: Some(write_head(feed, mirror)),
            incarnation,
        })
    }

    /// Gives the district's feed to the installation that asks: a new feed, or that of the node it replaces. The first
    /// answer may have been lost on the way: the same installation may ask again.
    async fn seat(&self, asked: &Asked<'_>) -> Result<Seated, AppError> {
        let Asked { feed, key, instance, token, csr } = *asked;
        let public_key = Hash::new(key);
        let grant = |feed, code: &DistrictCode| FeedGrant {
            feed,
            code: code.clone(),
            token,
            instance,
            key: Some(KeyId::of(&key)),
        };
        let (mut target, mut done) = (feed, None);
        let decided = self.app.decide("enrolment", |city| {
            let (directory, now_ms) = (&city.directory, clock::now_ms());
            if let Some(joined) = directory.joined_with(token, &key) {
                target = joined;
                return Ok(Vec::new());
            }
            let (district, replaced) = directory.redeem(token, now_ms)?;
            if let Some(replaced) = replaced {
                target = replaced;
                return Ok(directory.replace(&grant(replaced, &district.code), now_ms)?);
            }
            let (der, bind) = self.certify(feed, csr)?;
            let key = KeyGrant { feed, public_key, from_seq: 1, cause: None };
            done = Some(der);
            Ok(directory.join(&grant(feed, &district.code), &key, &bind, now_ms)?)
        });
        decided.await?;
        // Nothing of the old node may come after the position that the new key begins at.
        let mirror = if done.is_some() { Head::EMPTY } else { self.app.settle(target).await? };
        if done.is_none() {
            let seated = self.app.decide("enrolment", |city| {
                let (der, bind) = self.certify(target, csr)?;
                done = Some(der);
                let from_seq = mirror.seq + 1;
                let key = KeyGrant { feed: target, public_key, from_seq, cause: None };
                Ok(city.directory.seat(&key, &bind)?)
            });
            seated.await?;
        }
        let city = self.app.city();
        let district = city.directory.district_of(target).cloned();
        let district = district.ok_or(Refusal::UnknownFeed(target))?;
        let certificate = done.unwrap_or_default();
        let incarnation = city.directory.feeds.get(&target).map_or(1, |entry| entry.incarnation);
        Ok(Seated { feed: target, incarnation, district, certificate, mirror })
    }
}

/// What a node asks for when it joins, read and proven.
struct Asked<'a> {
    feed: FeedId,
    key: [u8; 32],
    instance: InstanceId,
    token: Hash,
    csr: &'a [u8],
}

/// What it is given.
struct Seated {
    feed: FeedId,
    incarnation: u32,
    district: District,
    certificate: Vec<u8>,
    mirror: Head,
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
