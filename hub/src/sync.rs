//! The federation's service: each call is carried out by the module that its group is named after.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use liandong_proto::sync as pb;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::{app::App, follow, receive, recover, recover_hub};

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Sync {
    pub(crate) app: Arc<App>,
    pub(crate) stop: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl pb::feed_sync_server::FeedSync for Sync {
    type PushStream = receive::PushDowns;
    type FetchStream = Answers<pb::OpBatch>;
    type FollowStream = Answers<pb::CityEvent>;
    type RecordsStream = Answers<pb::CityRecord>;

    async fn push(
        &self,
        request: Request<Streaming<pb::PushUp>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        receive::push(&self.app, &self.stop, request)
    }

    async fn fetch(
        &self,
        request: Request<pb::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        recover_hub::serving(&self.app)?;
        recover::fetch(&self.app, request)
    }

    async fn ancestor(
        &self,
        request: Request<pb::AncestorRequest>,
    ) -> Result<Response<pb::AncestorReply>, Status> {
        recover_hub::serving(&self.app)?;
        recover::ancestor(&self.app, &request)
    }

    async fn archive(
        &self,
        request: Request<Streaming<pb::ForkEvidence>>,
    ) -> Result<Response<pb::ArchiveReply>, Status> {
        recover_hub::serving(&self.app)?;
        recover::archive(&self.app, request).await
    }

    async fn rejoin(
        &self,
        request: Request<pb::RejoinRequest>,
    ) -> Result<Response<pb::RejoinReply>, Status> {
        recover_hub::serving(&self.app)?;
        recover::rejoin(&self.app, request).await
    }

    async fn follow(
        &self,
        request: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        recover_hub::serving(&self.app)?;
        follow::follow(&self.app, &self.stop, &request)
    }

    async fn audit(
        &self,
        request: Request<pb::AuditRequest>,
    ) -> Result<Response<pb::AuditReply>, Status> {
        recover_hub::serving(&self.app)?;
        follow::audit(&self.app, &request)
    }

    async fn records(
        &self,
        request: Request<pb::RecordsRequest>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        recover_hub::serving(&self.app)?;
        follow::records(&self.app, &request)
    }

    async fn return_hub_feed(
        &self,
        request: Request<Streaming<pb::OpBatch>>,
    ) -> Result<Response<pb::ReturnHubFeedReply>, Status> {
        recover_hub::take_back(&self.app, request).await
    }
}
