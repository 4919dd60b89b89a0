//! What the servers of node and hub have in common.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch};

use crate::{
    output::{Exit, Failure},
    read,
    site::Site,
    telemetry,
};

/// Takes a port.
///
/// # Errors
/// It is in use or not allowed.
pub async fn bind(at: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(at).await.map_err(|error| {
        Failure::new(
            "cannot_listen",
            Exit::Error,
            format!("无法监听 {at}：{error}"),
            format!("cannot listen on {at}: {error}"),
        )
        .remedy("检查端口是否被占用，或在配置中换一个端口", "is the port in use? set another one")
    })
}

/// Ready when the process is asked to stop.
pub async fn stopping(mut stopped: watch::Receiver<bool>) {
    let _stop = stopped.wait_for(|stop| *stop).await;
}

/// Whether a process serves: neither asked to stop nor recovering.
pub fn serving(
    mut stopped: watch::Receiver<bool>,
    mut recovering: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let serves = |stopped: bool, recovering: bool| !stopped && !recovering;
    let (told, serving) = watch::channel(serves(*stopped.borrow(), *recovering.borrow()));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok(()) = recovering.changed() => {}
                changed = stopped.changed() => if changed.is_err() {
                    return;
                },
            }
            told.send_replace(serves(*stopped.borrow(), *recovering.borrow()));
        }
    });
    serving
}

/// Serves pages and APIs until the process is asked to stop.
pub async fn http(listener: TcpListener, site: Arc<dyn Site>, stopped: watch::Receiver<bool>) {
    let router = read::router(site, telemetry::metrics_handle());
    let served = axum::serve(listener, router).with_graceful_shutdown(stopping(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}
