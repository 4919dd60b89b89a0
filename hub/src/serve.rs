//! The running hub: listeners, commands, renewal of its own certificate.

use std::{path::Path, sync::Arc, time::Duration};

use liandong_proto::desk::desk_server::DeskServer;
use liandong_proto::sync::{enrolment_server::EnrolmentServer, feed_sync_server::FeedSyncServer};
use liandong_server::{
    admin, backup, command, grpc, listen,
    output::{Exit, Failure},
    serve,
    site::Site,
    telemetry,
};
use tokio::{net::TcpListener, sync::watch};
use tonic::codec::CompressionEncoding;

use crate::{
    app::{App, Listening},
    attend,
    command::Command,
    desk_grpc::DeskService,
    enrol::Enrol,
    gate, recovery,
    sync::Sync,
};

/// How often moments of last contact are kept.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// How long open connections may take to end when the hub stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until a signal comes.
///
/// # Errors
/// A port cannot be bound.
pub(crate) async fn serve(app: Arc<App>, dir: &Path) -> Result<(), Failure> {
    let http = serve::bind(app.config.http.listen).await?;
    let grpc = serve::bind(app.config.grpc.listen).await?;
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| {
            Failure::new("cannot_listen", Exit::Error, error.to_string(), error.to_string())
        })
    };
    let listening = Listening { http: address(&http)?, grpc: address(&grpc)? };
    tracing::info!(http = %listening.http, grpc = %listening.grpc, "the hub is listening");
    let _first = app.listening.set(listening);
    let (stop, stopped) = watch::channel(false);
    let site: Arc<dyn Site> = Arc::<App>::clone(&app);
    let pages = tokio::spawn(serve::http(http, Arc::clone(&site), stopped.clone()));
    let sync = tokio::spawn(serve_grpc(grpc, Arc::clone(&app), site, stopped.clone()));
    let keeper = tokio::spawn(keep(Arc::clone(&app)));
    let recovery = tokio::spawn(recovery::run(Arc::clone(&app)));
    let gates = tokio::spawn(once_settled(Arc::clone(&app), gate::run(Arc::clone(&app))));
    let upkeep = tokio::spawn(telemetry::upkeep());
    let attendant = tokio::spawn(once_settled(Arc::clone(&app), attend::attend(Arc::clone(&app))));
    let backups = tokio::spawn(backup::schedule(Arc::clone(&app)));
    let erasing = {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let elsewhere = |erasures: &_| {
                app.store.erase_aside(erasures).and_then(|()| app.erase_archive(None))
            };
            app.store.keep_erased(elsewhere).await;
        })
    };
    let commands = {
        let (app, stopped) = (Arc::clone(&app), stopped.clone());
        let socket = admin::Listener::bind(dir).map_err(|error| {
            Failure::new("admin_socket", Exit::Error, error.to_string(), error.to_string())
        })?;
        let handler = move |value, progress| {
            let app = Arc::clone(&app);
            async move { app.run(command::read::<Command>(value)?, progress).await }
        };
        tokio::spawn(async move {
            socket.run(handler, serve::stopping(stopped)).await;
        })
    };
    command::stop_signal().await;
    tracing::info!("the hub is stopping");
    stop.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, async {
        let _ended = tokio::join!(pages, sync, commands);
    });
    if drained.await.is_err() {
        tracing::warn!("connections were still open at the end");
    }
    keeper.abort();
    recovery.abort();
    gates.abort();
    upkeep.abort();
    attendant.abort();
    backups.abort();
    erasing.abort();
    app.links.keep();
    Ok(())
}

/// What writes decisions by itself waits until the hub knows that it has its own feed whole.
async fn once_settled(app: Arc<App>, task: impl Future<Output = ()>) {
    app.recovery.settled(&app.city()).await;
    task.await;
}

async fn serve_grpc(
    listener: TcpListener,
    app: Arc<App>,
    site: Arc<dyn Site>,
    stopped: watch::Receiver<bool>,
) {
    let bytes = liandong_core::limit::MESSAGE_BYTES_MAX;
    let sync = Sync { app: Arc::clone(&app), stop: stopped.clone() };
    let sync = FeedSyncServer::new(sync)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(bytes);
    let enrol =
        EnrolmentServer::new(Enrol { app: Arc::clone(&app) }).max_decoding_message_size(bytes);
    let serving = serve::serving(stopped.clone(), app.recovery.watch());
    let mut routes = grpc::health_and_reflection(serving);
    routes.add_service(sync).add_service(enrol).add_service(grpc::catalog_service(site));
    let desk = DeskService { app: Arc::clone(&app) };
    routes.add_service(DeskServer::new(desk).max_decoding_message_size(bytes));
    let incoming = listen::incoming(listener, app.tls.clone());
    let served = listen::server()
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(incoming, serve::stopping(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}

/// Keeps the moments of last contact and renews the hub's own certificate when two thirds of its time are over.
async fn keep(app: Arc<App>) {
    let renew = Duration::from_secs((app.config.certificates.ttl_secs * 2 / 3).max(1));
    let mut renewals = tokio::time::interval(renew);
    let mut keeps = tokio::time::interval(KEEP_EVERY);
    renewals.tick().await;
    loop {
        tokio::select! {
            _ = renewals.tick() => match app.renew_server_certificate() {
                Ok(()) => tracing::info!("the hub's certificate was renewed"),
                Err(error) => tracing::error!(%error, "the hub's certificate cannot be renewed"),
            },
            _ = keeps.tick() => app.links.keep(),
        }
    }
}
