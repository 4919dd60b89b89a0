//! The hub's own feed on its way back: a hub that lost ops of it asks for what is mirrored here.

use liandong_core::{
    id::Head,
    limit,
    op::{Op, SignedOp},
    wire::write_batch,
};
use liandong_proto::sync::feed_sync_client::FeedSyncClient;
use liandong_server::tls::{self, Timeouts};
use liandong_store::StoreError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, codec::CompressionEncoding};

use crate::{app::App, push::Ended};

/// Batches that may wait for the hub.
const BATCHES_MAX: usize = 2;

/// Returns what is mirrored beyond a position, or all of it when the hub is elsewhere: only then can a person see what
/// has become of it. What fails is tried again with the next handshake.
pub(crate) async fn give_back(app: &App, after: Head) {
    match returned(app, after).await {
        Ok(head) => tracing::info!(%head, "the hub has its own feed back from here"),
        Err(ended) => tracing::warn!(reason = %ended.explain, "the hub's feed is not returned yet"),
    }
}

async fn returned(app: &App, after: Head) -> Result<Head, Ended> {
    let (store, feed) = (&app.store, app.hub_feed);
    let common = store.hash_at(feed, after.seq)? == Some(after.hash);
    let mut at = if common { after } else { Head::EMPTY };
    let channel = tls::connect(&app.config.hub.url, &app.client_tls, Timeouts::default()).await?;
    let mut client = FeedSyncClient::new(channel).send_compressed(CompressionEncoding::Zstd);
    let (batches, messages) = mpsc::channel(BATCHES_MAX);
    let reading = async move {
        loop {
            let (ops, bytes) = (limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX);
            let ops = tokio::task::block_in_place(|| store.ops(feed, at.seq, ops, bytes))?;
            let Some(last) = ops.last().map(Op::head) else { return Ok::<_, StoreError>(at) };
            let ops: Vec<SignedOp> = ops.into_iter().map(|op| op.signed).collect();
            // A hub that refuses says why in its answer.
            if batches.send(write_batch(at, ops)).await.is_err() {
                return Ok(at);
            }
            at = last;
        }
    };
    let call = client.return_hub_feed(Request::new(ReceiverStream::new(messages)));
    let (sent, answered) = tokio::join!(reading, call);
    answered?;
    Ok(sent?)
}
