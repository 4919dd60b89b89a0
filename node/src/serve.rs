//! The running node: listeners, commands, the push to the hub, renewal of the certificate.

use std::{path::Path, sync::Arc, time::Duration};

use liandong_server::{
    admin::{self, Progress},
    backup, command, grpc, listen,
    output::{Exit, Explain as _, Failure},
    serve,
    site::Site,
    telemetry,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{app::App, command::Command, follow, push, renew, transfer};

/// How often the guard follows the journal.
const GUARD_EVERY: Duration = Duration::from_secs(1);
/// How long open connections may take to end when the node stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until a signal comes.
///
/// # Errors
/// A port cannot be bound.
pub(crate) async fn serve(app: Arc<App>, dir: &Path) -> Result<(), Failure> {
    app.resume_rejoin(&Progress::new().0).await.map_err(|error| error.explain())?;
    app.mend_hub_feed().await.map_err(|error| error.explain())?;
    let http = serve::bind(app.config.http.listen).await?;
    let grpc = serve::bind(app.config.grpc.listen).await?;
    tracing::info!(http = %app.config.http.listen, grpc = %app.config.grpc.listen, "the node is listening");
    let (stop, stopped) = watch::channel(false);
    let site: Arc<dyn Site> = Arc::<App>::clone(&app);
    let pages = tokio::spawn(serve::http(http, Arc::clone(&site), stopped.clone()));
    let programs = tokio::spawn(serve_grpc(grpc, Arc::clone(&app), site, stopped.clone()));
    let link = tokio::spawn(push::run(Arc::clone(&app), stopped.clone()));
    let aside = runtime_aside()?;
    let city = aside.spawn(follow::run(Arc::clone(&app), stopped.clone()));
    let renewal = tokio::spawn(renew::run(Arc::clone(&app)));
    let upkeep = tokio::spawn(telemetry::upkeep());
    let sources = tokio::spawn(transfer::run(Arc::clone(&app)));
    let guard = tokio::spawn(guard(Arc::clone(&app)));
    let backups = tokio::spawn(backup::schedule(Arc::clone(&app)));
    let erasing = {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            app.store.keep_erased(|erasures| app.erase_kept(erasures)).await;
        })
    };
    let commands = {
        let app = Arc::clone(&app);
        let socket = admin::Listener::bind(dir).map_err(|error| {
            Failure::new("admin_socket", Exit::Error, error.to_string(), error.to_string())
        })?;
        let handler = move |value, progress| {
            let app = Arc::clone(&app);
            async move { app.run(command::read::<Command>(value)?, progress).await }
        };
        let stopped = serve::stopping(stopped.clone());
        tokio::spawn(async move { socket.run(handler, stopped).await })
    };
    command::stop_signal().await;
    tracing::info!("the node is stopping");
    stop.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, async {
        let _ended = tokio::join!(pages, programs, link, city, commands);
    });
    if drained.await.is_err() {
        tracing::warn!("connections were still open at the end");
    }
    renewal.abort();
    upkeep.abort();
    sources.abort();
    guard.abort();
    backups.abort();
    erasing.abort();
    aside.shutdown_background();
    Ok(())
}

/// Threads for the city's replica: what the district writes and asks for comes first, also while the whole city is
/// copied.
fn runtime_aside() -> Result<tokio::runtime::Runtime, Failure> {
    let mut aside = tokio::runtime::Builder::new_multi_thread();
    aside.worker_threads(1).thread_name("replica").on_thread_start(liandong_store::give_way);
    aside.enable_all().build().map_err(|error| {
        Failure::new("no_threads", Exit::Error, error.to_string(), error.to_string())
    })
}

/// Lets the guard follow the journal.
async fn guard(app: Arc<App>) {
    let mut ticks = tokio::time::interval(GUARD_EVERY);
    loop {
        ticks.tick().await;
        tokio::task::block_in_place(|| app.guard.note(app.store.head(app.own.feed())));
    }
}

async fn serve_grpc(
    listener: TcpListener,
    app: Arc<App>,
    site: Arc<dyn Site>,
    stopped: watch::Receiver<bool>,
) {
    let (_never, recovering) = watch::channel(false);
    let serving = serve::serving(stopped.clone(), recovering);
    let mut routes = grpc::health_and_reflection(serving);
    routes.add_service(grpc::catalog_service(site));
    let incoming = listen::incoming(listener, app.server_tls.clone());
    let served = listen::server()
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(incoming, serve::stopping(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}
