//! Joining the city: from a one-time token to a working node.

use std::{net::SocketAddr, path::Path};

use liandong_core::{
    id::Hash,
    receipt,
    wire::{WireFault, recover::read_head},
};
use liandong_proto::sync::{JoinReply, JoinRequest, enrolment_client::EnrolmentClient};
use liandong_server::{
    admin::Lock,
    clock,
    config::{Backup, Grpc, Http, Log, Retry, View},
    identity::{self, Anchor, IdentityError, JoinToken, certificate_pem},
    keys::{self, Identity},
    output::{Exit, Explain as _, Failure},
    tls::{self, ClientTls, Timeouts},
};

use crate::{
    app::{AppError, DATA_DIR, KEYS_DIR, write_certificate},
    config::{self, Config},
    guard::{self, Guard},
};

/// Where the new node listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

/// Joins with a token and writes keys, certificate, anchor and configuration. What the hub refused leaves no node
/// behind: the configuration is written last, and another try with another token uses the same keys.
pub(crate) async fn join(
    dir: &Path,
    token: &JoinToken,
    expected: Option<&Anchor>,
    addresses: Addresses,
) -> Result<Config, AppError> {
    token.check_expiry(clock::now_ms()).map_err(|error| error.explain())?;
    let io = |source| IdentityError::File { path: dir.to_owned(), source };
    for sub in [KEYS_DIR, DATA_DIR] {
        std::fs::create_dir_all(dir.join(sub)).map_err(io)?;
    }
    let _lock = Lock::acquire(dir)?;
    if Anchor::read(dir)?.is_some() {
        return Err(already_joined(dir).into());
    }
    let keys_dir = dir.join(KEYS_DIR);
    let (identity, author) = match keys::create(&keys_dir) {
        Err(IdentityError::Exists(_)) => keys::open(&keys_dir)?,
        made => made?,
    };
    let feed = identity.feed;
    let (csr, tls_key) = identity::make_csr(&feed.to_string())?;
    let proof = receipt::join_message(receipt::token_hash(&token.secret), feed, &csr);
    let request = JoinRequest {
        token_secret: token.secret.to_vec().into(),
        feed_id: feed.as_bytes().to_vec().into(),
        feed_public_key: author.public_key().to_vec().into(),
        proof: author.sign(&proof).to_vec().into(),
        csr_der: csr.into(),
        instance_id: identity.instance.as_bytes().to_vec().into(),
        software: crate::cli::SOFTWARE.to_owned(),
    };
    let reply = ask(token, request).await?;
    if identity::fingerprint(&reply.ca_der) != token.ca_fingerprint {
        return Err(AppError::Refused(
            "中心给出的 CA 与口令中的指纹不符 / the hub's authority is not the token's".to_owned(),
        ));
    }
    let anchor = anchor(token, &reply);
    if expected.is_some_and(|expected| !expected.same_hub(&anchor)) {
        return Err(AppError::Refused(
            "中心与信任锚文件不符 / the hub is not the one of the anchor file".to_owned(),
        ));
    }
    let config = configuration(token, &reply, addresses)?;
    go_on(dir, &config, identity, &reply)?;
    write_certificate(dir, &reply.certificate_der, &tls_key)?;
    let text = toml::to_string_pretty(&config).unwrap_or_default();
    let path = dir.join(config::FILE);
    std::fs::write(&path, text).map_err(|source| IdentityError::File { path, source })?;
    anchor.write(dir)?;
    Ok(config)
}

/// Goes on with the feed of the node that this one replaces. Nothing is written before what the hub holds of it is
/// here; the guard sees to that.
fn go_on(
    dir: &Path,
    config: &Config,
    identity: Identity,
    reply: &JoinReply,
) -> Result<(), AppError> {
    let bad = |error: WireFault| AppError::Refused(error.to_string());
    let (feed, mirror) = read_head(reply.mirror_head.as_ref()).map_err(bad)?;
    if feed == identity.feed && mirror.seq == 0 {
        return Ok(());
    }
    let identity = Identity { feed, incarnation: reply.incarnation, ..identity };
    keys::keep(&dir.join(KEYS_DIR), &identity)?;
    let path = config.guard.path.clone().unwrap_or_else(|| guard::beside(dir));
    Guard::open(path, feed, |_nothing| Some(Hash::ZERO)).note(mirror);
    Ok(())
}

async fn ask(token: &JoinToken, request: JoinRequest) -> Result<JoinReply, AppError> {
    let pinned = ClientTls::pinned(token.ca_fingerprint)?;
    let channel = tls::connect(&token.hub_url, &pinned, Timeouts::default()).await?;
    let reply = EnrolmentClient::new(channel).join(request).await;
    Ok(reply.map_err(|status| AppError::Refused(status.message().to_owned()))?.into_inner())
}

fn anchor(token: &JoinToken, reply: &JoinReply) -> Anchor {
    Anchor {
        hub_url: token.hub_url.clone(),
        ca_fingerprint: hex::encode(token.ca_fingerprint),
        ca_pem: certificate_pem(&reply.ca_der),
        hub_feed: hex::encode(&reply.hub_feed_id),
        hub_public_key: hex::encode(&reply.hub_public_key),
        hub_root: Some(hex::encode(&reply.hub_root)).filter(|root| !root.is_empty()),
    }
}

fn configuration(
    token: &JoinToken,
    reply: &JoinReply,
    addresses: Addresses,
) -> Result<Config, AppError> {
    let code = reply.district_code.parse().map_err(|error| {
        AppError::Refused(format!("中心给出的区代码不正确 / the hub gave a bad code: {error}"))
    })?;
    Ok(Config {
        node: config::Node { code, name: reply.district_name.clone() },
        hub: config::Hub { url: token.hub_url.clone() },
        http: Http { listen: addresses.http },
        grpc: Grpc { listen: addresses.grpc, public_url: None },
        import: config::Import::default(),
        retry: Retry::default(),
        view: View::default(),
        backup: Backup::default(),
        log: Log::default(),
        guard: config::Guard::default(),
        recover: config::Recover::default(),
        replica: config::Replica::default(),
    })
}

fn already_joined(dir: &Path) -> Failure {
    Failure::new(
        "already_joined",
        Exit::Conflict,
        format!("{} 中的节点已经加入", dir.display()),
        format!("the node in {} has joined already", dir.display()),
    )
    .remedy(
        "如需另建节点，请另选目录（--dir）",
        "for another node choose another directory (--dir)",
    )
}
