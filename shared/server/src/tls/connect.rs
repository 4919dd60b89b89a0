//! Dialling the hub.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{ClientTls, ConnectError, Unreached, explain_source};

/// Port of a hub whose address names none.
const PORT_DEFAULT: u16 = 7443;
/// How long a connection is watched for a late refusal before it is used anyway.
const VERDICT_WAIT: Duration = Duration::from_secs(3);

/// How long to wait for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For name lookup, TCP and TLS together.
    pub connect: Duration,
    /// Pause between two HTTP/2 pings.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// Opens a channel to `url` (`https://host:port`).
///
/// The first connection is made before this returns, so that a wrong address or certificate is told
/// here. Later the channel connects again by itself, with whatever certificate `tls` then shows.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    url: &str,
    tls: &ClientTls,
    timeouts: Timeouts,
) -> Result<Channel, ConnectError> {
    let target = Target::parse(url)?;
    let address = |_| ConnectError::Address(url.to_owned());
    // tonic does not see the TLS that the connector adds, so it is given a plain address and the
    // true origin.
    let endpoint = Endpoint::from_shared(format!("http://{}", target.authority))
        .map_err(address)?
        .origin(target.uri.clone())
        .http2_keep_alive_interval(timeouts.keepalive_interval)
        .keep_alive_timeout(timeouts.keepalive_timeout)
        .keep_alive_while_idle(true);
    let (dial, tls) = (target.clone(), tls.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (dial, tls) = (dial.clone(), tls.clone());
        async move { dial.open(&tls, timeouts.connect).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| {
        explain_source(&error).unwrap_or_else(|| ConnectError::Unreachable {
            host: target.authority.clone(),
            how: Unreached::Network,
            detail: error.to_string(),
        })
    })
}

/// Where to dial.
#[derive(Debug, Clone)]
struct Target {
    uri: Uri,
    /// Host and port, as in the URL.
    authority: String,
    /// Host without brackets.
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Target {
    fn parse(url: &str) -> Result<Self, ConnectError> {
        let bad = || ConnectError::Address(url.to_owned());
        let uri: Uri = url.parse().or(Err(bad()))?;
        if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") {
            return Err(bad());
        }
        let bracketed = uri.host().ok_or_else(bad)?;
        let host = bracketed.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(PORT_DEFAULT);
        let authority = format!("{bracketed}:{port}");
        let uri = format!("https://{authority}/").parse().or(Err(bad()))?;
        let name = ServerName::try_from(host.clone()).or(Err(bad()))?;
        Ok(Self { uri, authority, host, port, name })
    }

    async fn open(self, tls: &ClientTls, limit: Duration) -> Result<Opened, ConnectError> {
        let handshake = async {
            let tcp = self.dial(limit / 2).await?;
            let opened = tls.connector().connect(self.name.clone(), tcp).await;
            opened.map_err(|error| ConnectError::from_io(&self.authority, &error))
        };
        let late = |_| self.unreachable(Unreached::Timeout, format!("no answer in {limit:?}"));
        let mut stream = timeout(limit, handshake).await.map_err(late)??;
        if stream.get_ref().1.alpn_protocol() != Some(super::ALPN_H2) {
            let detail = "it does not offer HTTP/2".to_owned();
            return Err(ConnectError::NotAHub { host: self.authority, detail });
        }
        let mut first = [0; 64];
        let mut read = 0;
        if tls.shows_certificate() {
            // With TLS 1.3 the client is done before the server has looked at its certificate: a
            // refusal arrives with the first read. An HTTP/2 server always speaks first, so wait
            // for that before anything is sent; what was sent earlier would make the server's
            // system reset the connection and lose the refusal.
            if let Ok(result) = timeout(VERDICT_WAIT, stream.read(&mut first)).await {
                read = result.map_err(|error| ConnectError::from_io(&self.authority, &error))?;
                if read == 0 {
                    let detail = "closed right after the TLS handshake".to_owned();
                    return Err(self.unreachable(Unreached::Dropped, detail));
                }
            }
        }
        Ok(Opened { stream, first, read, given: 0 })
    }

    /// Tries the host's addresses in turn, each for at most `limit`.
    async fn dial(&self, limit: Duration) -> Result<TcpStream, ConnectError> {
        let addresses = lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.unreachable(Unreached::Dns, error.to_string()))?;
        let mut last = self.unreachable(Unreached::Dns, "the name has no address".to_owned());
        for address in addresses {
            match timeout(limit, open_tcp(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = ConnectError::from_io(&self.authority, &error),
                Err(_late) => {
                    let detail = format!("no answer from {address}");
                    last = self.unreachable(Unreached::Timeout, detail);
                }
            }
        }
        Err(last)
    }

    fn unreachable(&self, how: Unreached, detail: String) -> ConnectError {
        ConnectError::Unreachable { host: self.authority.clone(), how, detail }
    }
}

async fn open_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_keepalive(true)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// A connection of which the first bytes may have been read already.
#[derive(Debug)]
struct Opened {
    stream: TlsStream<TcpStream>,
    first: [u8; 64],
    read: usize,
    given: usize,
}

impl AsyncRead for Opened {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let waiting = &this.first[this.given..this.read];
        if waiting.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let fits = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..fits]);
        this.given += fits;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
