//! The certificate authority of one federation, kept by the hub.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::RngCore;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{
    CertInfo, FEED_URI, IdentityError, OPERATOR_URI, certificate_der, check_feed, fingerprint_hex,
};
use crate::config::write_private;

const KEY_FILE: &str = "ca.key.pem";
const CERT_FILE: &str = "ca.cert.pem";
/// A certificate is valid from a little before it was issued, for peers whose clock is behind.
pub(super) const BACKDATE_MS: i64 = 5 * 60 * 1000;
/// Life of the authority's own certificate.
const AUTHORITY_TTL_SECS: u64 = 10 * 365 * 24 * 3600;
/// Largest signing request that is looked at, bytes. Ours have about 300.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// An uncompressed P-256 point, bytes.
const P256_POINT_BYTES: usize = 65;

/// The authority's key and certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    not_after_ms: i64,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority in `dir`.
    ///
    /// # Errors
    /// `Exists` when there is one already; `File` when its files cannot be written.
    pub fn create(dir: &Path, now_ms: i64) -> Result<Self, IdentityError> {
        let cert_path = dir.join(CERT_FILE);
        if cert_path.exists() {
            return Err(IdentityError::Exists(dir.to_owned()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Liandong CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_ms, AUTHORITY_TTL_SECS, i64::MAX);
        let cert = params.self_signed(&key)?;
        let write = |path: PathBuf, text: String| {
            write_private(&path, text.as_bytes())
                .map_err(|source| IdentityError::File { path, source })
        };
        // The certificate last: a key alone has issued nothing, so a crash in between can be
        // repeated.
        write(dir.join(KEY_FILE), key.serialize_pem())?;
        write(cert_path, cert.pem())?;
        Self::open(dir)
    }

    /// Opens the authority in `dir`.
    ///
    /// # Errors
    /// `File` when there is none, `Damaged` when key and certificate are not readable or do not
    /// belong together.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let (key_path, cert_path) = (dir.join(KEY_FILE), dir.join(CERT_FILE));
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|source| IdentityError::File { path: path.to_owned(), source })
        };
        let damaged = |path: &Path, what: &dyn ToString| IdentityError::Damaged {
            path: path.to_owned(),
            what: what.to_string(),
        };
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|what| damaged(&key_path, &what))?;
        let der = certificate_der(&read(&cert_path)?).map_err(|what| damaged(&cert_path, &what))?;
        let info = CertInfo::parse(&der).map_err(|what| damaged(&cert_path, &what))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|what| damaged(&cert_path, &what))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(damaged(&key_path, &"the key does not belong to the certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(der.as_slice()), key)
            .map_err(|what| damaged(&cert_path, &what))?;
        Ok(Self { issuer, der, not_after_ms: info.not_after_ms })
    }

    /// The authority's certificate.
    pub fn ca_der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the authority's certificate, hex: what an operator reads out over the phone.
    pub fn fingerprint(&self) -> String {
        fingerprint_hex(&self.der)
    }

    /// A certificate for the hub itself, with a new key: `(certificate DER, key PEM)`. `names` are
    /// host names and IP addresses.
    ///
    /// # Errors
    /// `Name` when one of the names is neither.
    pub fn issue_server(
        &self,
        names: &[String],
        ttl_secs: u64,
        now_ms: i64,
    ) -> Result<(Vec<u8>, String), IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.leaf("Liandong hub", names, ttl_secs, now_ms)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok((cert.der().to_vec(), key.serialize_pem()))
    }

    /// A certificate for an operator of the hub, with a new key: `(certificate DER, key PEM)`.
    ///
    /// # Errors
    /// `Make` when the name cannot stand in a certificate.
    pub fn issue_operator(
        &self,
        name: &str,
        ttl_secs: u64,
        now_ms: i64,
    ) -> Result<(Vec<u8>, String), IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.leaf(&format!("Liandong operator {name}"), &[], ttl_secs, now_ms)?;
        let uri = format!("{OPERATOR_URI}{name}");
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok((cert.der().to_vec(), key.serialize_pem()))
    }

    /// A node's certificate. From the request only the public key is taken, and only when the
    /// request proves that the asker holds its private half; every name in it is ours.
    ///
    /// # Errors
    /// `Request`, `Feed` or `Name`, each for the argument that is wrong.
    pub fn issue_client(
        &self,
        csr_der: &[u8],
        feed_id_hex: &str,
        names: &[String],
        ttl_secs: u64,
        now_ms: i64,
    ) -> Result<Vec<u8>, IdentityError> {
        let refuse = |why: &dyn ToString| IdentityError::Request(why.to_string());
        let feed = check_feed(feed_id_hex)?;
        if csr_der.len() > REQUEST_BYTES_MAX {
            return Err(refuse(&"it is too large"));
        }
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))
                .map_err(|why| refuse(&why))?;
        let key = request.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != P256_POINT_BYTES {
            return Err(refuse(&"its key is not ECDSA P-256"));
        }
        // A node also serves programs on its own machine with this certificate.
        let local = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let all: Vec<String> = local.iter().chain(names).cloned().collect();
        let mut params = self.leaf(&format!("Liandong feed {feed}"), &all, ttl_secs, now_ms)?;
        let uri = format!("{FEED_URI}{feed}");
        params.subject_alt_names.insert(0, SanType::URI(uri.try_into()?));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(&key, &self.issuer)?.der().to_vec())
    }

    fn leaf(
        &self,
        subject: &str,
        names: &[String],
        ttl_secs: u64,
        now_ms: i64,
    ) -> Result<CertificateParams, IdentityError> {
        let mut params = CertificateParams::default();
        for name in names {
            let alt = alternative_name(name)?;
            if !params.subject_alt_names.contains(&alt) {
                params.subject_alt_names.push(alt);
            }
        }
        params.distinguished_name = common_name(subject);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_ms, ttl_secs, self.not_after_ms);
        Ok(params)
    }
}

/// A request for a certificate with a new key: `(request DER, key PEM)`. The hub takes only the key
/// from it; the feed is in it for whoever reads it.
///
/// # Errors
/// `Feed` when the id is none.
pub fn make_csr(feed_id_hex: &str) -> Result<(Vec<u8>, String), IdentityError> {
    let feed = check_feed(feed_id_hex)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("Liandong feed {feed}"));
    let request = params.serialize_request(&key)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Sets a random number and the time it is valid, never longer than its issuer.
fn set_validity(params: &mut CertificateParams, now_ms: i64, ttl_secs: u64, end_ms: i64) {
    let mut serial = [0_u8; 16];
    rand::rng().fill_bytes(&mut serial);
    // A number is a positive integer: the first bit stays clear, and a bit after it is set so that
    // none is shorter.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let ttl_ms = i64::try_from(ttl_secs.saturating_mul(1000)).unwrap_or(i64::MAX);
    let until_ms = now_ms.saturating_add(ttl_ms).min(end_ms);
    // Certificates know years up to 9999.
    let at = |ms: i64| {
        let secs = u64::try_from(ms / 1000).unwrap_or(0).min(253_402_300_799);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(secs)
    };
    params.not_before = at(now_ms.saturating_sub(BACKDATE_MS));
    params.not_after = at(until_ms);
}

fn alternative_name(name: &str) -> Result<SanType, IdentityError> {
    let bad = || IdentityError::Name(name.to_owned());
    match rustls_pki_types::ServerName::try_from(name) {
        Ok(rustls_pki_types::ServerName::IpAddress(ip)) => Ok(SanType::IpAddress(ip.into())),
        Ok(rustls_pki_types::ServerName::DnsName(dns)) => {
            let dns = dns.as_ref().to_owned().try_into();
            dns.map(SanType::DnsName).map_err(|_not_ascii| bad())
        }
        _ => Err(bad()),
    }
}
