//! Why there is no connection, in plain words and with what to do about it.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error as RustlsError};
use tonic::Status;

use super::WrongAuthority;
use crate::output::{Exit, Explain, Failure};

/// How the other side was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreached {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// The host name is not known.
    Dns,
    /// The connection was cut before it could be used.
    Dropped,
    /// The network said no in another way.
    Network,
}

/// Why the hub does not take this side's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was issued by another authority.
    UnknownAuthority,
    /// It has expired, or is not valid yet by the hub's clock.
    Expired,
    /// It was revoked.
    Revoked,
    /// None was shown where one is needed.
    Missing,
    /// Any other fault.
    Bad,
}

/// Why there is no connection to the hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The address is not of the form `https://host:port`.
    #[error("{0:?} is not an address of the form https://host:port")]
    Address(String),
    /// Nothing there, or no way to it.
    #[error("{host} cannot be reached: {detail}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// In which way.
        how: Unreached,
        /// The system's words.
        detail: String,
    },
    /// Something answers, but not TLS with HTTP/2.
    #[error("{host} answers, but not as a hub: {detail}")]
    NotAHub {
        /// Host and port.
        host: String,
        /// What was wrong.
        detail: String,
    },
    /// Its certificate is not of the authority that we know.
    #[error("the certificate of {host} is not signed by the known authority")]
    UntrustedHub {
        /// Host and port.
        host: String,
    },
    /// Its certificate has expired or is not valid yet.
    #[error("the certificate of {host} is not valid at this time: {detail}")]
    HubCertificateDate {
        /// Host and port.
        host: String,
        /// Expired, or not valid yet.
        detail: String,
    },
    /// Its certificate is for other names.
    #[error("the certificate of {host} is not for this name: {detail}")]
    HubName {
        /// Host and port.
        host: String,
        /// The names that it is for.
        detail: String,
    },
    /// The hub does not take our certificate.
    #[error("the hub does not accept this certificate: {why:?}")]
    RefusedByHub {
        /// Why, as far as TLS says.
        why: Refusal,
    },
}

impl ConnectError {
    /// The status to exit with: 5 when trying again may help by itself, else 1.
    pub fn exit(&self) -> Exit {
        if self.retryable() { Exit::Unreachable } else { Exit::Error }
    }

    /// The same as a number, for scripts.
    pub fn code(&self) -> u8 {
        self.exit().number()
    }

    /// Whether the same attempt may work later without anybody doing anything here.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Explain for ConnectError {
    fn explain(&self) -> Failure {
        let (name, zh, remedy_zh, remedy_en) = match self {
            Self::Address(given) => (
                "bad_address",
                format!("“{given}”不是 https://主机:端口 形式的地址"),
                "请改正地址",
                "correct the address",
            ),
            Self::Unreachable { host, how, .. } => return self.explain_unreached(host, *how),
            Self::NotAHub { host, .. } => (
                "not_a_hub",
                format!("{host} 有应答，但不是市平台的同步端口"),
                "检查端口；中间的代理不得解开 TLS",
                "check the port; a proxy in between must not terminate TLS",
            ),
            Self::UntrustedHub { host } => (
                "untrusted_hub",
                format!("{host} 的证书不是由已知的市平台证书机构签发"),
                "确认地址无误；若市平台更换了证书机构，须用新令牌重新加入；否则可能有人冒充",
                "check the address; if the hub has a new authority, join again with a new token; \
                 otherwise somebody may be posing as the hub",
            ),
            Self::HubCertificateDate { host, .. } => (
                "hub_certificate_date",
                format!("{host} 的证书此刻无效（已过期或尚未生效）"),
                "先校准本机时钟；时钟无误则请市平台更新证书",
                "check this machine's clock first; if it is right, the hub must renew its \
                 certificate",
            ),
            Self::HubName { host, .. } => (
                "hub_name",
                format!("{host} 的证书不是为这个主机名签发的"),
                "请使用市平台公布的地址，或请市平台在 grpc.public_url 中加入该名称",
                "use the address that the hub publishes, or have the hub put this name into \
                 grpc.public_url",
            ),
            Self::RefusedByHub { why } => return self.explain_refusal(*why),
        };
        Failure::new(name, self.exit(), zh, self.to_string()).remedy(remedy_zh, remedy_en)
    }
}

impl ConnectError {
    fn explain_unreached(&self, host: &str, how: Unreached) -> Failure {
        let (zh, remedy_zh, remedy_en) = match how {
            Unreached::Refused => (
                "对方没有在该端口监听",
                "确认市平台已启动，地址和端口无误",
                "check that the hub runs and that address and port are right",
            ),
            Unreached::Timeout => (
                "超时无应答",
                "检查网络和防火墙是否放行该端口",
                "check the network and that firewalls let this port through",
            ),
            Unreached::Dns => (
                "主机名无法解析",
                "检查主机名拼写和 DNS 设置",
                "check the spelling of the host name and the DNS settings",
            ),
            Unreached::Dropped => (
                "连接刚建立即被断开",
                "可能连接数过多或被防火墙切断，稍后会自动重试",
                "too many connections or a firewall; it is tried again by itself",
            ),
            Unreached::Network => ("网络不通", "检查网络", "check the network"),
        };
        Failure::new("unreachable", self.exit(), format!("无法连接 {host}：{zh}"), self.to_string())
            .remedy(remedy_zh, remedy_en)
    }

    fn explain_refusal(&self, why: Refusal) -> Failure {
        let (name, zh, en, remedy_zh, remedy_en) = match why {
            Refusal::UnknownAuthority => (
                "certificate_unknown_authority",
                "市平台不接受本节点的证书：签发机构不同",
                "the hub does not accept this node's certificate: another authority issued it",
                "本节点加入的是另一个市平台，或该平台已重建；请用新令牌重新加入",
                "this node joined another hub, or the hub was rebuilt; join again with a new token",
            ),
            Refusal::Expired => (
                "certificate_expired",
                "市平台不接受本节点的证书：已过期或尚未生效",
                "the hub does not accept this node's certificate: expired or not valid yet",
                "校准双方时钟；确已过期则请市平台签发新令牌并重新加入",
                "check both clocks; if it has expired, ask the hub for a new token and join again",
            ),
            Refusal::Revoked => (
                "certificate_revoked",
                "市平台不接受本节点的证书：已被吊销",
                "the hub does not accept this node's certificate: it was revoked",
                "请与市平台联系",
                "contact the hub's operators",
            ),
            Refusal::Missing => (
                "certificate_missing",
                "市平台要求证书，但本节点没有出示",
                "the hub asks for a certificate and this node showed none",
                "请先加入市平台",
                "join the hub first",
            ),
            Refusal::Bad => (
                "certificate_bad",
                "市平台不接受本节点的证书",
                "the hub does not accept this node's certificate",
                "请用新令牌重新加入",
                "join again with a new token",
            ),
        };
        Failure::new(name, self.exit(), zh, en).remedy(remedy_zh, remedy_en)
    }
}

impl ConnectError {
    /// From what TCP or TLS said.
    pub(super) fn from_io(host: &str, error: &io::Error) -> Self {
        let host = host.to_owned();
        let detail = error.to_string();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
        match inner {
            Some(RustlsError::InvalidCertificate(fault)) => explain_certificate(host, fault),
            Some(RustlsError::AlertReceived(alert)) => {
                refusal(*alert).unwrap_or(Self::NotAHub { host, detail })
            }
            Some(_) => Self::NotAHub { host, detail },
            None => {
                let how = match error.kind() {
                    io::ErrorKind::ConnectionRefused => Unreached::Refused,
                    io::ErrorKind::TimedOut => Unreached::Timeout,
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe => Unreached::Dropped,
                    _ => Unreached::Network,
                };
                Self::Unreachable { host, how, detail }
            }
        }
    }
}

/// The reason behind a failed call when it lies in the connection, and none when the hub itself
/// answered.
pub fn explain_transport_error(status: &Status) -> Option<ConnectError> {
    explain_source(status.source()?)
}

/// The reason in the chain of an error, if one is known.
pub fn explain_source(error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(known) = error.downcast_ref::<ConnectError>() {
            return Some(known.clone());
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<RustlsError>());
        match inner.or_else(|| error.downcast_ref()) {
            Some(RustlsError::AlertReceived(alert)) => return refusal(*alert),
            Some(_) => return None,
            None => next = error.source(),
        }
        // h2 keeps what the connection said to itself but for the words.
        let words = error.to_string();
        let said = |alert: &&AlertDescription| words.contains(&format!("fatal alert: {alert:?}"));
        if let Some(alert) = REFUSALS.iter().find(said) {
            return refusal(*alert);
        }
    }
    None
}

/// The alerts by which the other side says that it does not like our certificate.
const REFUSALS: [AlertDescription; 10] = [
    AlertDescription::UnknownCA,
    AlertDescription::DecryptError,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateRequired,
    AlertDescription::NoCertificate,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::AccessDenied,
];

fn refusal(alert: AlertDescription) -> Option<ConnectError> {
    let why = match alert {
        // Two authorities of the same name: the signature is what does not fit.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => Refusal::UnknownAuthority,
        AlertDescription::CertificateExpired => Refusal::Expired,
        AlertDescription::CertificateRevoked => Refusal::Revoked,
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Refusal::Missing,
        other if REFUSALS.contains(&other) => Refusal::Bad,
        _ => return None,
    };
    Some(ConnectError::RefusedByHub { why })
}

fn explain_certificate(host: String, fault: &CertificateError) -> ConnectError {
    match fault {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            ConnectError::HubCertificateDate { host, detail: fault.to_string() }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ConnectError::HubName { host, detail: fault.to_string() }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ConnectError::UntrustedHub { host }
        }
        CertificateError::Other(other) if other.0.is::<WrongAuthority>() => {
            ConnectError::UntrustedHub { host }
        }
        other => ConnectError::NotAHub { host, detail: other.to_string() },
    }
}
