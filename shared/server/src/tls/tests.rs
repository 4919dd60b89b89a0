//! Both ends over loopback, with a small health service between them.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;
use crate::{
    clock,
    identity::{Authority, CertInfo, make_csr},
    listen,
};

const FEED: &str = "00112233445566778899aabbccddeeff";
const HOUR_SECS: u64 = 3600;
const DAY_MS: i64 = 24 * 3_600_000;

type PeerCerts = Option<Vec<Vec<u8>>>;

/// An authority with a listening hub.
struct Hub {
    _dir: tempfile::TempDir,
    authority: Authority,
    tls: ServerTls,
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<PeerCerts>,
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn local_names() -> [String; 2] {
    ["localhost".to_owned(), "127.0.0.1".to_owned()]
}

impl Hub {
    async fn start() -> Self {
        Self::start_at(clock::now_ms(), &local_names()).await
    }

    /// The hub's certificate is issued for an hour from `issued_ms`.
    async fn start_at(issued_ms: i64, names: &[String]) -> Self {
        install();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), issued_ms).unwrap();
        let (cert, key) = authority.issue_server(names, HOUR_SECS, issued_ms).unwrap();
        let tls = ServerTls::new(authority.ca_der(), &cert, &key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        let (_reporter, health) = tonic_health::server::health_reporter();
        let service = InterceptedService::new(health, move |request: Request<()>| {
            let certs = request.peer_certs();
            let certs = certs.map(|certs| certs.iter().map(|der| der.to_vec()).collect());
            sender.send(certs).or(Err(Status::internal("test is over")))?;
            Ok(request)
        });
        let incoming = listen::incoming(listener, tls.clone());
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or(()) };
        let served =
            listen::server().add_service(service).serve_with_incoming_shutdown(incoming, stopped);
        let task = tokio::spawn(async { served.await.unwrap() });
        Self { _dir: dir, authority, tls, address, seen, _stop: stop, task }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A client whose certificate is valid for an hour from `issued_ms`, trusting this hub.
    fn client(&self, issuer: &Authority, issued_ms: i64) -> ClientTls {
        let (csr, key) = make_csr(FEED).unwrap();
        let cert = issuer.issue_client(&csr, FEED, &[], HOUR_SECS, issued_ms).unwrap();
        ClientTls::mutual(self.authority.ca_der(), &cert, &key).unwrap()
    }

    async fn refuses(&self, tls: &ClientTls) -> ConnectError {
        connect(&self.url(), tls, Timeouts::default()).await.unwrap_err()
    }
}

fn other_authority() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path(), clock::now_ms()).unwrap();
    (dir, authority)
}

async fn check(channel: Channel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).check(request).await.map(drop)
}

#[tokio::test]
async fn the_hub_sees_which_feed_is_calling() {
    let mut hub = Hub::start().await;
    let tls = hub.client(&hub.authority, clock::now_ms());
    check(connect(&hub.url(), &tls, Timeouts::default()).await.unwrap()).await.unwrap();
    let certs = hub.seen.recv().await.unwrap().unwrap();
    assert_eq!(CertInfo::parse(&certs[0]).unwrap().feed.as_deref(), Some(FEED));
}

#[tokio::test]
async fn a_client_without_certificate_is_let_in_and_seen_as_such() {
    let mut hub = Hub::start().await;
    let pin = identity::fingerprint(hub.authority.ca_der());
    let named = format!("https://localhost:{}", hub.address.port());
    for (tls, url) in [
        (ClientTls::pinned(pin).unwrap(), hub.url()),
        (ClientTls::pinned(pin).unwrap(), named),
        (ClientTls::anonymous(hub.authority.ca_der()).unwrap(), hub.url()),
    ] {
        check(connect(&url, &tls, Timeouts::default()).await.unwrap()).await.unwrap();
        assert_eq!(hub.seen.recv().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_the_client_says_why() {
    let hub = Hub::start().await;
    let (_dir, other) = other_authority();
    let error = hub.refuses(&hub.client(&other, clock::now_ms())).await;
    assert_eq!(error, ConnectError::RefusedByHub { why: Refusal::UnknownAuthority });
    assert_eq!(error.exit(), Exit::Error);
    assert!(error.explain().message_zh.contains("签发机构不同"));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_the_client_says_why() {
    let hub = Hub::start().await;
    let error = hub.refuses(&hub.client(&hub.authority, clock::now_ms() - DAY_MS)).await;
    assert_eq!(error, ConnectError::RefusedByHub { why: Refusal::Expired });
    assert!(error.explain().remedy_en.contains("clocks"));
    let early = hub.client(&hub.authority, clock::now_ms() + DAY_MS);
    assert_eq!(hub.refuses(&early).await, ConnectError::RefusedByHub { why: Refusal::Expired });
}

#[tokio::test]
async fn a_wrong_fingerprint_in_a_token_is_told() {
    let hub = Hub::start().await;
    let error = hub.refuses(&ClientTls::pinned([7; 32]).unwrap()).await;
    assert_eq!(error, ConnectError::UntrustedHub { host: hub.address.to_string() });
    let (_dir, other) = other_authority();
    let error = hub.refuses(&ClientTls::anonymous(other.ca_der()).unwrap()).await;
    assert_eq!(error, ConnectError::UntrustedHub { host: hub.address.to_string() });
}

#[tokio::test]
async fn a_hub_whose_certificate_expired_or_names_another_host_is_told() {
    let hub = Hub::start_at(clock::now_ms() - DAY_MS, &local_names()).await;
    let pin = ClientTls::pinned(identity::fingerprint(hub.authority.ca_der())).unwrap();
    let error = hub.refuses(&pin).await;
    assert!(matches!(error, ConnectError::HubCertificateDate { .. }), "{error}");
    let hub = Hub::start_at(clock::now_ms(), &["hub.example".to_owned()]).await;
    let pin = ClientTls::pinned(identity::fingerprint(hub.authority.ca_der())).unwrap();
    let error = hub.refuses(&pin).await;
    assert!(matches!(error, ConnectError::HubName { .. }), "{error}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_connection() {
    let mut hub = Hub::start().await;
    let tls = hub.client(&hub.authority, clock::now_ms());
    let open = connect(&hub.url(), &tls, Timeouts::default()).await.unwrap();

    // The hub's: its new certificate has another name, which only a new connection notices.
    let (cert, key) =
        hub.authority.issue_server(&["hub.example".into()], HOUR_SECS, clock::now_ms()).unwrap();
    hub.tls.replace(&cert, &key).unwrap();
    assert!(matches!(hub.refuses(&tls).await, ConnectError::HubName { .. }));
    check(open).await.unwrap();
    let old = hub.seen.recv().await.unwrap().unwrap();

    // The node's.
    let (cert, key) =
        hub.authority.issue_server(&local_names(), HOUR_SECS, clock::now_ms()).unwrap();
    hub.tls.replace(&cert, &key).unwrap();
    let (csr, key) = make_csr(FEED).unwrap();
    let renewed = hub.authority.issue_client(&csr, FEED, &[], HOUR_SECS, clock::now_ms()).unwrap();
    tls.replace(&renewed, &key).unwrap();
    check(connect(&hub.url(), &tls, Timeouts::default()).await.unwrap()).await.unwrap();
    let new = hub.seen.recv().await.unwrap().unwrap();
    assert_eq!(new[0], renewed);
    assert_ne!(new[0], old[0]);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_not_taken_and_the_old_pair_stays() {
    let hub = Hub::start().await;
    let (_csr, key) = make_csr(FEED).unwrap();
    let (cert, _key) =
        hub.authority.issue_server(&local_names(), HOUR_SECS, clock::now_ms()).unwrap();
    assert!(matches!(hub.tls.replace(&cert, &key), Err(TlsError::Pair(_))));
    assert!(matches!(hub.tls.replace(&cert, "no key"), Err(TlsError::Key(_))));
    let tls = hub.client(&hub.authority, clock::now_ms());
    check(connect(&hub.url(), &tls, Timeouts::default()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_reconnection_that_is_refused_explains_the_failed_call() {
    let hub = Hub::start().await;
    let tls = hub.client(&hub.authority, clock::now_ms());
    let channel = connect(&hub.url(), &tls, Timeouts::default()).await.unwrap();
    let Hub { address, task, _stop: stop, seen: _, .. } = hub;
    drop(stop);
    task.await.unwrap();
    // The port is closed now; the open connection may take a moment to notice.
    let status = loop {
        match check(channel.clone()).await {
            Err(status) if explain_transport_error(&status).is_some() => break status,
            _ => tokio::task::yield_now().await,
        }
    };
    let error = explain_transport_error(&status).unwrap();
    let refused = Unreached::Refused;
    assert!(
        matches!(&error, ConnectError::Unreachable { host, how, .. }
            if *how == refused && *host == address.to_string()),
        "{error}"
    );
    assert_eq!((error.exit(), error.code()), (Exit::Unreachable, 5));
}

#[tokio::test]
async fn what_cannot_be_reached_says_how() {
    install();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let tls = ClientTls::pinned([0; 32]).unwrap();
    let how = async |url: &str, limit: Duration| {
        let timeouts = Timeouts { connect: limit, ..Timeouts::default() };
        match connect(url, &tls, timeouts).await.unwrap_err() {
            ConnectError::Unreachable { how, .. } => how,
            other => panic!("{other}"),
        }
    };
    let limit = Duration::from_secs(10);
    assert_eq!(how(&format!("https://{address}"), limit).await, Unreached::Refused);
    assert_eq!(how("https://hub.invalid:7443", limit).await, Unreached::Dns);
    // Listens, but never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    assert_eq!(how(&url, Duration::from_millis(50)).await, Unreached::Timeout);
}

#[tokio::test]
async fn a_port_that_speaks_something_else_is_no_hub() {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
        socket
    });
    let tls = ClientTls::pinned([0; 32]).unwrap();
    let url = format!("https://{address}");
    let error = connect(&url, &tls, Timeouts::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAHub { .. }), "{error}");
    drop(server.await.unwrap());
}

#[tokio::test]
async fn an_address_that_is_none_is_told_before_anything_is_dialled() {
    let tls = ClientTls::pinned([0; 32]).unwrap();
    for url in ["", "hub", "http://hub:1", "https://", "https://hub/path", "https://:1"] {
        let error = connect(url, &tls, Timeouts::default()).await.unwrap_err();
        assert_eq!(error, ConnectError::Address(url.to_owned()));
    }
}

#[test]
fn every_error_has_words_and_a_remedy_in_both_languages() {
    let host = || "hub.example:7443".to_owned();
    let detail = || "detail".to_owned();
    let mut errors = vec![
        ConnectError::Address(host()),
        ConnectError::NotAHub { host: host(), detail: detail() },
        ConnectError::UntrustedHub { host: host() },
        ConnectError::HubCertificateDate { host: host(), detail: detail() },
        ConnectError::HubName { host: host(), detail: detail() },
    ];
    for how in [Unreached::Refused, Unreached::Timeout, Unreached::Dns, Unreached::Dropped] {
        errors.push(ConnectError::Unreachable { host: host(), how, detail: detail() });
    }
    for why in [
        Refusal::UnknownAuthority,
        Refusal::Expired,
        Refusal::Revoked,
        Refusal::Missing,
        Refusal::Bad,
    ] {
        errors.push(ConnectError::RefusedByHub { why });
    }
    for error in errors {
        let failure = error.explain();
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        assert!(chinese(&failure.message_zh) && chinese(&failure.remedy_zh), "{failure:?}");
        assert!(!chinese(&failure.message_en) && !failure.remedy_en.is_empty(), "{failure:?}");
        assert_eq!(failure.exit().number(), error.code());
    }
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_others_waiting() {
    let mut hub = Hub::start().await;
    let mut silent = Vec::new();
    for _ in 0..listen::HANDSHAKES_PER_IP_MAX - 1 {
        silent.push(tokio::net::TcpStream::connect(hub.address).await.unwrap());
    }
    let tls = hub.client(&hub.authority, clock::now_ms());
    check(connect(&hub.url(), &tls, Timeouts::default()).await.unwrap()).await.unwrap();
    assert!(hub.seen.recv().await.unwrap().is_some());
}

#[test]
fn a_refusal_is_found_however_deep_it_lies() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    let alert = |alert| std::io::Error::other(Error::AlertReceived(alert));
    let expired = rustls::AlertDescription::CertificateExpired;
    let refused = Some(ConnectError::RefusedByHub { why: Refusal::Expired });
    let status = Status::from_error(Box::new(Outer(alert(expired))));
    assert_eq!(explain_transport_error(&status), refused);
    // h2 keeps only the words.
    let words = Outer(std::io::Error::other("received fatal alert: CertificateExpired"));
    assert_eq!(explain_transport_error(&Status::from_error(Box::new(words))), refused);
    let inner = ConnectError::UntrustedHub { host: "hub".into() };
    let status = Status::from_error(Box::new(inner.clone()));
    assert_eq!(explain_transport_error(&status), Some(inner));
    assert_eq!(explain_transport_error(&Status::not_found("the hub itself answered")), None);
    let other = alert(rustls::AlertDescription::InternalError);
    assert_eq!(explain_transport_error(&Status::from_error(Box::new(other))), None);
}
