//! Recovery of the hub's own feed from the mirrors of the nodes: the call that brings it back.

use std::{sync::Arc, time::Duration};

use liandong_core::{
    limit,
    wire::{read_batch, recover::write_head},
};
use liandong_proto::sync as pb;
use liandong_server::clock;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    app::App,
    peer::Peer,
    recovery::{Taking, TakingError},
};

/// Pause of the other side that ends the call.
const SILENCE: Duration = Duration::from_millis(limit::SILENCE_MS);

fn malformed(fault: impl std::fmt::Display) -> Status {
    Status::invalid_argument(fault.to_string())
}

fn refused(error: &TakingError) -> Status {
    if let TakingError::Store(error) = error {
        tracing::error!(%error, "what a node returns cannot be kept");
        return Status::internal("中心暂时无法写入 / the hub cannot write now");
    }
    tracing::warn!(%error, "what a node returns is not taken");
    Status::failed_precondition(error.to_string())
}

/// Refuses what a hub that recovers cannot answer yet.
pub(crate) fn serving(app: &App) -> Result<(), Status> {
    if app.recovery.is_on() {
        return Err(Status::unavailable("中心正在恢复 / the hub is recovering"));
    }
    Ok(())
}

/// While the hub recovers its directory may be missing: a certificate of our authority is enough then, because only
/// what this hub has signed itself is taken.
fn admit<T>(app: &App, request: &Request<T>) -> Result<Peer, Status> {
    let peer = Peer::of(request)?;
    if !app.recovery.is_on() {
        let city = app.city();
        let admitted = city.directory.admit(peer.feed, peer.feed, peer.fingerprint);
        admitted.map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
    }
    Ok(peer)
}

/// Takes back what a node mirrors of this hub's feed.
pub(crate) async fn take_back(
    app: &Arc<App>,
    request: Request<Streaming<pb::OpBatch>>,
) -> Result<Response<pb::ReturnHubFeedReply>, Status> {
    let peer = admit(app, &request)?;
    let own = app.own.feed();
    let mut messages = request.into_inner();
    let _one_at_a_time = app.recovery.turn().await;
    let followed = tokio::task::block_in_place(|| app.recovery.follow(app.hub_keys(), &app.store));
    let keys = followed.map_err(|error| refused(&error.into()))?;
    let mut taking: Option<Taking<'_>> = None;
    loop {
        let message = tokio::time::timeout(SILENCE, messages.message()).await;
        let message = message.map_err(|_late| Status::deadline_exceeded("silent"))??;
        let Some(message) = message else { break };
        let (after, ops) = read_batch(message).map_err(malformed)?;
        // What goes beyond the hub's own journal stops its decisions; none may be under way then.
        let beyond = after.seq + ops.len() as u64 > app.store.head(own).seq;
        let _decides = if beyond { Some(app.own.turn(&app.store).await) } else { None };
        tokio::task::block_in_place(|| {
            let mut going = match taking.take() {
                Some(going) if going.at() == after => going,
                Some(_) => return Err(TakingError::Elsewhere),
                None => app.recovery.begin(
                    &app.store,
                    peer.feed,
                    after,
                    keys.clone(),
                    clock::now_ms(),
                )?,
            };
            going.take(ops)?;
            taking = Some(going);
            Ok(())
        })
        .map_err(|error| refused(&error))?;
    }
    let taken = taking.ok_or_else(|| malformed("nothing was returned"))?.finish();
    tracing::info!(from = %peer.feed, %taken, "a node has returned its mirror of the hub's feed");
    let hub_head = Some(write_head(own, taken));
    Ok(Response::new(pb::ReturnHubFeedReply { hub_head, explain: String::new() }))
}
