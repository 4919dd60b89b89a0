//! Recovery of a district's feed: what the hub gives back, archives and agrees to.

use std::sync::Arc;

use liandong_proto::sync as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::{app::App, sync::Answers};

pub(crate) fn fetch(
    _app: &Arc<App>,
    _request: Request<pb::FetchRequest>,
) -> Result<Response<Answers<pb::OpBatch>>, Status> {
    Err(Status::unimplemented("fetch"))
}

pub(crate) fn ancestor(
    _app: &Arc<App>,
    _request: &Request<pb::AncestorRequest>,
) -> Result<Response<pb::AncestorReply>, Status> {
    Err(Status::unimplemented("ancestor"))
}

pub(crate) async fn archive(
    _app: &Arc<App>,
    _request: Request<Streaming<pb::ForkEvidence>>,
) -> Result<Response<pb::ArchiveReply>, Status> {
    Err(Status::unimplemented("archive"))
}

pub(crate) async fn rejoin(
    _app: &Arc<App>,
    _request: Request<pb::RejoinRequest>,
) -> Result<Response<pb::RejoinReply>, Status> {
    Err(Status::unimplemented("rejoin"))
}
