//! The node's certificate renews itself before it expires, without a restart.

use std::{sync::Arc, time::Duration};

use liandong_core::receipt;
use liandong_proto::sync::{RenewRequest, enrolment_client::EnrolmentClient};
use liandong_server::{
    clock,
    identity::{self, CertInfo},
    retry::{Retry, RetryLimits},
    tls::{self, Timeouts},
};

use crate::app::{App, AppError, read_certificate, write_certificate};

/// Pause before every attempt: a certificate that is due at once, for example because the authority's own ends, must
/// not become a busy loop.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Waits until two thirds of the certificate's time are over, renews it, and so on.
pub(crate) async fn run(app: Arc<App>) {
    let limits = RetryLimits::from(&app.config.retry);
    let mut retry = Retry::new(limits);
    loop {
        match due_in(&app) {
            Ok(wait) => tokio::time::sleep(wait.max(PAUSE_MIN)).await,
            Err(error) => tracing::error!(%error, "the certificate cannot be read"),
        }
        match renew(&app).await {
            Ok(until) => {
                retry = Retry::new(limits);
                tracing::info!(until = %clock::format_shanghai(until), "certificate renewed");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate could not be renewed yet");
                retry.pause(None, Duration::ZERO).await;
            }
        }
    }
}

fn due_in(app: &App) -> Result<Duration, AppError> {
    let (certificate, _key) = read_certificate(&app.dir)?;
    let due_ms = CertInfo::parse(&certificate)?.renew_at_ms();
    let wait = u64::try_from(due_ms - clock::now_ms()).unwrap_or(0);
    Ok(Duration::from_millis(wait))
}

/// Renews now. Returns until when the new certificate is good, milliseconds since 1970.
pub(crate) async fn renew(app: &App) -> Result<i64, AppError> {
    let feed = app.own.feed();
    let (csr, key) = identity::make_csr(&feed.to_string())?;
    let proof = app.own.author().sign(&receipt::renew_message(feed, &csr)).to_vec();
    let channel = tls::connect(&app.config.hub.url, &app.client_tls, Timeouts::default()).await?;
    let request = RenewRequest { csr_der: csr.into(), proof: proof.into() };
    let reply = EnrolmentClient::new(channel).renew(request).await;
    let reply =
        reply.map_err(|status| AppError::Refused(status.message().to_owned()))?.into_inner();
    let info = CertInfo::parse(&reply.certificate_der)?;
    // Both ends take it before it is kept, so that what is kept is known to work.
    app.client_tls.replace(&reply.certificate_der, &key)?;
    app.server_tls.replace(&reply.certificate_der, &key)?;
    write_certificate(&app.dir, &reply.certificate_der, &key)?;
    app.link.update(|link| link.certificate_expires_ms = Some(info.not_after_ms));
    Ok(info.not_after_ms)
}
