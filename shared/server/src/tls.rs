//! TLS for both ends: who is trusted, and certificates that can be replaced while connections are
//! open.
//!
//! One provider (ring), the federation's own authority as the only root. Sessions are never
//! resumed, so every connection shows its certificate anew: a renewed one is used by the next
//! connection, and an expired one by none.

mod connect;
mod fault;

use std::{
    fmt,
    sync::{Arc, Once},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

pub use connect::{Timeouts, connect};
pub use fault::{ConnectError, Refusal, Unreached, explain_source, explain_transport_error};

use crate::{
    identity,
    output::{Exit, Explain, Failure},
};

/// What both ends speak inside TLS.
const ALPN_H2: &[u8] = b"h2";

/// Why certificates or keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key's text is no PEM private key.
    #[error("the private key is not readable: {0}")]
    Key(String),
    /// The key does not belong to the certificate, or one of them is malformed.
    #[error("certificate and key cannot be used: {0}")]
    Pair(Error),
    /// The authority's certificate cannot be a root.
    #[error("the authority's certificate cannot be used: {0}")]
    Root(String),
}

impl Explain for TlsError {
    fn explain(&self) -> Failure {
        let zh = match self {
            Self::Key(why) => format!("私钥无法读取：{why}"),
            Self::Pair(why) => format!("证书与私钥无法使用：{why}"),
            Self::Root(why) => format!("证书机构的证书无法使用：{why}"),
        };
        Failure::new("bad_tls_identity", Exit::Error, zh, self.to_string()).remedy(
            "请从备份恢复证书和私钥文件，或重新加入",
            "restore the certificate and key files from a backup, or join again",
        )
    }
}

/// Makes ring the process' TLS provider. Call it first in every `main`; more calls change nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider is set already, and every configuration here names ring
        // itself.
        let _already = ring::default_provider().install_default();
    });
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(ca_der: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(ca_der.to_vec()))
        .map_err(|error| TlsError::Root(error.to_string()))?;
    Ok(Arc::new(roots))
}

/// Certificate and key that are shown to the other side, replaceable at any time.
struct Shown {
    ca_der: Vec<u8>,
    current: ArcSwap<CertifiedKey>,
}

impl Shown {
    fn new(ca_der: &[u8], cert_der: &[u8], key_pem: &str) -> Result<Arc<Self>, TlsError> {
        let pair = certified(ca_der, cert_der, key_pem)?;
        Ok(Arc::new(Self { ca_der: ca_der.to_vec(), current: ArcSwap::new(pair) }))
    }

    fn replace(&self, cert_der: &[u8], key_pem: &str) -> Result<(), TlsError> {
        self.current.store(certified(&self.ca_der, cert_der, key_pem)?);
        Ok(())
    }
}

/// The chain is leaf and authority: a joining node knows only the authority's fingerprint and needs
/// to see it.
fn certified(ca_der: &[u8], cert_der: &[u8], key_pem: &str) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|error| TlsError::Key(error.to_string()))?;
    let chain = [cert_der, ca_der].map(|der| CertificateDer::from(der.to_vec())).to_vec();
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(TlsError::Pair)
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = self.current.load();
        let leaf = pair.cert.first().map(|der| identity::fingerprint_hex(der));
        f.debug_struct("Shown").field("certificate", &leaf).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The listening end. Clients may show a certificate of the authority or none; any other is
/// refused.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

impl ServerTls {
    /// Certificates are DER, the key is PEM.
    ///
    /// # Errors
    /// One of the three is not usable, or the key is not the certificate's.
    pub fn new(ca_der: &[u8], cert_der: &[u8], key_pem: &str) -> Result<Self, TlsError> {
        // The Join call has no certificate yet; the services that need one ask for it.
        let clients = WebPkiClientVerifier::builder_with_provider(roots(ca_der)?, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::Root(error.to_string()))?;
        let shown = Shown::new(ca_der, cert_der, key_pem)?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), shown })
    }

    /// Shows another certificate from the next connection on. Open connections stay.
    ///
    /// # Errors
    /// As [`Self::new`]; then the old certificate stays.
    pub fn replace(&self, cert_der: &[u8], key_pem: &str) -> Result<(), TlsError> {
        self.shown.replace(cert_der, key_pem)
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        Arc::clone(&self.config).into()
    }
}

/// The dialling end.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    shown: Option<Arc<Shown>>,
}

impl ClientTls {
    /// For the Join call: trusts the one authority whose certificate has this SHA-256, and shows no
    /// certificate.
    ///
    /// # Errors
    /// The provider has no TLS version, which does not happen with ring.
    pub fn pinned(ca_fingerprint: [u8; 32]) -> Result<Self, TlsError> {
        let verifier = PinnedAuthority { ca_fingerprint, provider: provider() };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self::with(config, None))
    }

    /// For every other call: trusts the authority and shows the node's certificate. Certificates
    /// are DER, the key is PEM.
    ///
    /// # Errors
    /// One of the three is not usable, or the key is not the certificate's.
    pub fn mutual(ca_der: &[u8], cert_der: &[u8], key_pem: &str) -> Result<Self, TlsError> {
        let shown = Shown::new(ca_der, cert_der, key_pem)?;
        let resolver: Arc<dyn ResolvesClientCert> = Arc::<Shown>::clone(&shown);
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_root_certificates(roots(ca_der)?)
            .with_client_cert_resolver(resolver);
        Ok(Self::with(config, Some(shown)))
    }

    /// For programs that read and need no certificate of their own: trusts the authority and shows
    /// none.
    ///
    /// # Errors
    /// The authority's certificate cannot be a root.
    pub fn anonymous(ca_der: &[u8]) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_root_certificates(roots(ca_der)?)
            .with_no_client_auth();
        Ok(Self::with(config, None))
    }

    fn with(mut config: ClientConfig, shown: Option<Arc<Shown>>) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config), shown }
    }

    /// Shows another certificate from the next connection on, reconnections of open channels
    /// included.
    ///
    /// # Errors
    /// As [`Self::mutual`]; then the old certificate stays. An end without a certificate has none
    /// to replace.
    pub fn replace(&self, cert_der: &[u8], key_pem: &str) -> Result<(), TlsError> {
        match &self.shown {
            Some(shown) => shown.replace(cert_der, key_pem),
            None => Err(TlsError::Pair(Error::General("this end shows no certificate".into()))),
        }
    }

    fn shows_certificate(&self) -> bool {
        self.shown.is_some()
    }

    fn connector(&self) -> tokio_rustls::TlsConnector {
        Arc::clone(&self.config).into()
    }
}

/// Trusts the certificate in the presented chain that has the known fingerprint, and checks the
/// rest of the chain, the dates and the host name against it as usual.
#[derive(Debug)]
struct PinnedAuthority {
    ca_fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

/// The chain has no certificate with the fingerprint of the token.
#[derive(Debug, thiserror::Error)]
#[error("the chain does not contain the authority that the token names")]
pub(crate) struct WrongAuthority;

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned =
            intermediates.iter().find(|der| identity::fingerprint(der) == self.ca_fingerprint);
        let wrong = || rustls::CertificateError::Other(OtherError(Arc::new(WrongAuthority)));
        let mut roots = RootCertStore::empty();
        roots.add(pinned.ok_or_else(wrong)?.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
