//! The listening socket of gRPC: TLS handshakes at the same time, bounded, and each failure told in
//! plain words.
//!
//! tonic's own acceptor says nothing useful about a client that is turned away, and that is the
//! first thing an operator asks about. Source: FEDERATION 2.6, server limits.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use rustls::{AlertDescription, CertificateError, Error as RustlsError};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::{
    Server,
    server::{Connected, TcpConnectInfo, TcpIncoming},
};
use tracing::{debug, warn};

use crate::tls::ServerTls;

/// Handshakes at the same time.
pub const HANDSHAKES_MAX: usize = 64;
/// Handshakes at the same time from one address, so that one peer that never finishes leaves room
/// for others.
pub const HANDSHAKES_PER_IP_MAX: u32 = 32;
/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections at the same time from one address. Districts may share one, behind address
/// translation.
pub const CONNECTIONS_PER_IP_MAX: u32 = 256;
/// A handshake that takes longer is given up.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the system refuses to accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Idle time before TCP asks whether the other side is still there.
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);
const _: () = assert!((HANDSHAKES_PER_IP_MAX as usize) < HANDSHAKES_MAX);
const _: () = assert!((CONNECTIONS_PER_IP_MAX as usize) < CONNECTIONS_MAX);

/// A gRPC server with the limits of FEDERATION 2.6; add services and give it [`incoming`].
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(16)
        .concurrency_limit_per_connection(8)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_header_list_size(16 * 1024)
}

/// Accepts connections and does their handshakes until the result is dropped.
///
/// Give it to `serve_with_incoming_shutdown`; `request.peer_certs()` and `remote_addr()` then work
/// as usual. Must be called within a tokio runtime.
pub fn incoming(listener: TcpListener, tls: ServerTls) -> Incoming {
    let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
    let gate = Gate {
        tls,
        handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        handshakes_by_ip: PerIp::default(),
        connections_by_ip: PerIp::default(),
        ready: sender,
    };
    Incoming { ready, task: tokio::spawn(gate.run(listener)) }
}

/// Connections whose handshake is done.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<TlsStream<Counted>>,
    task: JoinHandle<()>,
}

impl Stream for Incoming {
    type Item = io::Result<TlsStream<Counted>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A TCP connection that counts towards the limits for as long as it lives.
#[derive(Debug)]
pub struct Counted {
    tcp: TcpStream,
    _of_ip: Entry,
    _of_all: OwnedSemaphorePermit,
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.tcp.connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

/// How many there are of each address.
#[derive(Debug, Clone, Default)]
struct PerIp(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One of them; leaves when dropped.
#[derive(Debug)]
struct Entry {
    ip: IpAddr,
    of: PerIp,
}

impl PerIp {
    fn enter(&self, ip: IpAddr, max: u32) -> Option<Entry> {
        let mut counts = self.0.lock();
        let count = counts.entry(ip).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Entry { ip, of: self.clone() })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock();
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

struct Gate {
    tls: ServerTls,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    handshakes_by_ip: PerIp,
    connections_by_ip: PerIp,
    ready: mpsc::Sender<TlsStream<Counted>>,
}

impl Gate {
    async fn run(self, listener: TcpListener) {
        let mut sockets = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(TCP_KEEPALIVE));
        // Dropping the set with this task ends the handshakes under way.
        let mut under_way = JoinSet::new();
        loop {
            // The place is taken before the connection, so that the system's queue holds what there
            // is no room for.
            let Ok(place) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
            match sockets.next().await {
                None => return,
                Some(Ok(tcp)) => self.admit(tcp, place, &mut under_way),
                Some(Err(error)) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while under_way.try_join_next().is_some() {}
        }
    }

    fn admit(&self, tcp: TcpStream, place: OwnedSemaphorePermit, under_way: &mut JoinSet<()>) {
        let Ok(peer) = tcp.peer_addr() else { return };
        let ip = peer.ip().to_canonical();
        let of_ip = self.connections_by_ip.enter(ip, CONNECTIONS_PER_IP_MAX);
        let handshake = self.handshakes_by_ip.enter(ip, HANDSHAKES_PER_IP_MAX);
        let of_all = Arc::clone(&self.connections).try_acquire_owned().ok();
        let (Some(of_ip), Some(handshake), Some(of_all)) = (of_ip, handshake, of_all) else {
            failed("too_many");
            warn!(%peer, "connection refused: too many connections, or too many from this address");
            return;
        };
        let counted = Counted { tcp, _of_ip: of_ip, _of_all: of_all };
        let (acceptor, ready) = (self.tls.acceptor(), self.ready.clone());
        under_way.spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(counted)).await {
                Ok(Ok(stream)) => {
                    drop((place, handshake));
                    // When nobody takes it any more the server is going down.
                    let _closing = ready.send(stream).await;
                }
                Ok(Err(error)) => tell(peer, &error),
                Err(_late) => {
                    failed("timeout");
                    warn!(%peer, reason = "no TLS handshake in time", "handshake failed");
                }
            }
        });
    }
}

fn tell(peer: std::net::SocketAddr, error: &io::Error) {
    let (code, reason) = reason(error);
    failed(code);
    if code == "closed" {
        // Load balancers look whether the port is open in this way, every few seconds.
        debug!(%peer, reason, "handshake failed");
    } else {
        warn!(%peer, reason, %error, "handshake failed");
    }
}

fn failed(reason: &'static str) {
    metrics::counter!("liandong_tls_handshakes_failed_total", "reason" => reason).increment(1);
}

/// Why a handshake failed: a label for figures and words for a person.
fn reason(error: &io::Error) -> (&'static str, &'static str) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
    match inner {
        Some(RustlsError::InvalidCertificate(fault)) => certificate_reason(fault),
        Some(RustlsError::InvalidMessage(_) | RustlsError::InappropriateMessage { .. }) => {
            ("not_tls", "what the client sent is not TLS")
        }
        Some(RustlsError::PeerIncompatible(_)) => {
            ("incompatible", "no TLS version or cipher in common")
        }
        Some(RustlsError::NoApplicationProtocol) => {
            ("no_http2", "the client does not speak HTTP/2")
        }
        Some(RustlsError::AlertReceived(alert)) => alert_reason(*alert),
        Some(_) => ("tls", "the client broke the rules of TLS"),
        None => ("closed", "the client closed the connection during the handshake"),
    }
}

fn certificate_reason(fault: &CertificateError) -> (&'static str, &'static str) {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ("unknown_authority", "client certificate was issued by an unknown CA")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("certificate_expired", "client certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("certificate_not_yet", "client certificate is not valid yet; check the clocks")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ("certificate_purpose", "client certificate is not for clients")
        }
        _ => ("certificate_bad", "client certificate is malformed"),
    }
}

fn alert_reason(alert: AlertDescription) -> (&'static str, &'static str) {
    match alert {
        AlertDescription::CertificateExpired => {
            ("own_expired", "the client says that our certificate is not valid at this time")
        }
        AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::CertificateUnknown => {
            ("own_untrusted", "the client does not trust our certificate")
        }
        AlertDescription::BadCertificate => {
            ("own_name", "the client dialled a name that our certificate does not have")
        }
        _ => ("alert", "the client gave up the handshake"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_turned_away_over_its_limit_and_let_in_again() {
        let counts = PerIp::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = counts.enter(one, 2);
        let second = counts.enter(one, 2);
        assert!(first.is_some() && second.is_some() && counts.enter(one, 2).is_none());
        assert!(counts.enter(two, 2).is_some(), "another address has its own count");
        drop(second);
        assert!(counts.enter(one, 2).is_some());
        drop(first);
        assert!(counts.0.lock().is_empty(), "nothing is kept of those who left");
    }

    #[test]
    fn a_failed_handshake_has_a_plain_reason() {
        let rows = [
            (RustlsError::from(CertificateError::UnknownIssuer), "unknown_authority"),
            (CertificateError::Expired.into(), "certificate_expired"),
            (RustlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "not_tls"),
            (RustlsError::AlertReceived(AlertDescription::UnknownCA), "own_untrusted"),
        ];
        for (error, code) in rows {
            assert_eq!(reason(&io::Error::new(io::ErrorKind::InvalidData, error)).0, code);
        }
        assert_eq!(reason(&io::ErrorKind::UnexpectedEof.into()).0, "closed");
    }
}
