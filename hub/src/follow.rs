//! The city's catalogue on its way down to the districts.

use std::sync::Arc;

use liandong_proto::sync as pb;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{app::App, sync::Answers};

pub(crate) fn follow(
    _app: &Arc<App>,
    _stop: &watch::Receiver<bool>,
    _request: Request<pb::FollowRequest>,
) -> Result<Response<Answers<pb::CityEvent>>, Status> {
    Err(Status::unimplemented("follow"))
}

pub(crate) fn audit(
    _app: &Arc<App>,
    _request: &Request<pb::AuditRequest>,
) -> Result<Response<pb::AuditReply>, Status> {
    Err(Status::unimplemented("audit"))
}

pub(crate) fn records(
    _app: &Arc<App>,
    _request: &Request<pb::RecordsRequest>,
) -> Result<Response<Answers<pb::CityRecord>>, Status> {
    Err(Status::unimplemented("records"))
}
