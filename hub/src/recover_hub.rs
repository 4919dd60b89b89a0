//! Recovery of the hub's own feed from the mirrors of the nodes.

use std::sync::Arc;

use liandong_proto::sync as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::app::App;

pub(crate) async fn take_back(
    _app: &Arc<App>,
    _request: Request<Streaming<pb::OpBatch>>,
) -> Result<Response<pb::ReturnHubFeedReply>, Status> {
    Err(Status::unimplemented("return of the hub's feed"))
}
