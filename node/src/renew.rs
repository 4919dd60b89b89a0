//! The node's certificate renews itself before it expires, without a restart.

use std::{sync::Arc, time::Duration};

use liandong_core::receipt;
use liandong_proto::sync::{RenewRequest, enrolment_client::EnrolmentClient};
use liandong_server::{
    clock,
    config::write_private,
    identity::{self, CertInfo, IdentityError, certificate_pem},
    retry::{Retry, RetryLimits},
    tls::{self, Timeouts},
};

use crate::app::{App, AppError, CERTIFICATE_FILE, KEYS_DIR, TLS_KEY_FILE, read_certificate};

/// Waits until two thirds of the certificate's time are over, renews it, and so on.
pub(crate) async fn run(app: Arc<App>) {
    let mut retry = Retry::new(RetryLimits::from(&app.config.retry));
    loop {
        match due_in(&app) {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(error) => tracing::error!(%error, "the certificate cannot be read"),
        }
        match renew(&app).await {
            Ok(until) => tracing::info!(until = %clock::format_shanghai(until), "certificate renewed"),
            Err(error) => {
                tracing::warn!(%error, "the certificate could not be renewed yet");
                retry.pause(None, Duration::ZERO).await;
            }
        }
    }
}

fn due_in(app: &App) -> Result<Duration, AppError> {
    let (certificate, _key) = read_certificate(&app.dir)?;
    let info = CertInfo::parse(&certificate)?;
    let due = info.not_before_ms + (info.not_after_ms - info.not_before_ms) / 3 * 2;
    let wait = u64::try_from(due - clock::now_ms()).unwrap_or(0);
    Ok(Duration::from_millis(wait))
}

/// Renews now. Returns until when the new certificate is good, milliseconds since 1970.
async fn renew(app: &App) -> Result<i64, AppError> {
    let feed = app.own.feed();
    let (csr, key) = identity::make_csr(&feed.to_string())?;
    let proof = app.own.author().sign(&receipt::renew_message(feed, &csr)).to_vec();
    let channel = tls::connect(&app.config.hub.url, &app.client_tls, Timeouts::default()).await?;
    let request = RenewRequest { csr_der: csr.into(), proof: proof.into() };
    let reply = EnrolmentClient::new(channel).renew(request).await;
    let reply = reply.map_err(|status| AppError::Refused(status.message().to_owned()))?.into_inner();
    let info = CertInfo::parse(&reply.certificate_der)?;
    // Both ends take it before it is kept, so that what is kept is known to work.
    app.client_tls.replace(&reply.certificate_der, &key)?;
    app.server_tls.replace(&reply.certificate_der, &key)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = app.dir.join(KEYS_DIR).join(name);
        write_private(&path, bytes).map_err(|source| IdentityError::File { path, source })
    };
    write(TLS_KEY_FILE, key.as_bytes())?;
    write(CERTIFICATE_FILE, certificate_pem(&reply.certificate_der).as_bytes())?;
    app.link.update(|link| link.certificate_expires_ms = Some(info.not_after_ms));
    Ok(info.not_after_ms)
}
