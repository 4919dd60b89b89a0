//! gRPC for programs: the catalogue, with the same answers as `/api/v1`, and the standard services.
//!
//! One answer differs: a withdrawn record is a stub with its reason here, because its message has
//! the fields for it, and a 410 problem over HTTP.

mod search_grpc;

use std::sync::Arc;

use liandong_core::{error::Code, fold, limit};
use liandong_proto::{
    FILE_DESCRIPTOR_SET,
    catalog::{
        self as pb,
        catalog_server::{Catalog, CatalogServer},
    },
};
use tokio::sync::watch;
use tonic::{
    Request, Response, Status,
    server::NamedService as _,
    service::{Routes, RoutesBuilder},
};
use tonic_health::ServingStatus;

use crate::{
    problem::Problem,
    read::{
        catalogue::{Catalogue, Found, ListQuery},
        params::Params,
    },
    site::Site,
};

/// A gRPC status of one of our codes: the one place where they meet.
pub fn status(code: Code, message: impl Into<String>) -> Status {
    Status::new(tonic::Code::from_i32(code.grpc()), message)
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        status(problem.code, problem.detail.both())
    }
}

/// `liandong.catalog.v1.Catalog` over a site: records that anyone may see.
pub fn catalog_service(site: Arc<dyn Site>) -> CatalogServer<impl Catalog> {
    CatalogServer::new(CatalogService { catalogue: Catalogue::new(site) })
        .max_decoding_message_size(limit::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limit::MESSAGE_BYTES_MAX)
}

/// `grpc.health.v1`, which follows `serving`, and reflection (v1 and v1alpha, because clients of both are about). Add
/// the other services to it.
pub fn health_and_reflection(mut serving: watch::Receiver<bool>) -> RoutesBuilder {
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        loop {
            let serves = *serving.borrow_and_update();
            let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            for name in ["", CatalogServer::<CatalogService>::NAME] {
                reporter.set_service_status(name, status).await;
            }
            if serving.changed().await.is_err() {
                return;
            }
        }
    });
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes.add_service(health);
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            routes.add_service(v1).add_service(v1alpha);
        }
        // The descriptors are compiled in, so this is a fault of the build and not of the machine.
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "there is no gRPC reflection");
        }
    }
    routes
}

struct CatalogService {
    catalogue: Catalogue,
}

#[tonic::async_trait]
impl Catalog for CatalogService {
    async fn get_record(
        &self,
        request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::Record>, Status> {
        let mut params = params([("id", request.into_inner().id)]);
        let found = self.catalogue.ask(move |snapshot| {
            let id = params.record_id("id");
            if id.is_none() && params.all("id").is_empty() {
                params.fault("id", "缺少 id", "id is missing");
            }
            params.finish()?;
            snapshot.record(id.ok_or_else(Problem::no_record)?)
        });
        Ok(Response::new(record(&found.await?)))
    }

    async fn list_records(
        &self,
        request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsReply>, Status> {
        let asked = request.into_inner();
        let params = params([
            ("after", asked.after),
            ("limit", number(asked.limit)),
            ("district_code", asked.district_code),
        ]);
        let listing = self.catalogue.ask(move |snapshot| {
            snapshot.list(&ListQuery::read(params, "district_code", snapshot)?)
        });
        let listing = listing.await?;
        Ok(Response::new(pb::ListRecordsReply {
            records: listing.records.iter().map(record).collect(),
            next: listing.next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchReply>, Status> {
        Ok(Response::new(search_grpc::page(&self.catalogue, request.into_inner()).await?))
    }

    type SearchStreamStream = search_grpc::Pages;

    async fn search_stream(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<Self::SearchStreamStream>, Status> {
        let pages = search_grpc::pages(self.catalogue.clone(), request.into_inner()).await?;
        Ok(Response::new(pages))
    }
}

fn params<const N: usize>(pairs: [(&str, String); N]) -> Params {
    Params::new(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Zero is what a field that was not set looks like, and means the default.
fn number(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

fn record(found: &Found) -> pb::Record {
    let entry = &found.entry;
    let live = found.live().is_some();
    let status = match entry.status {
        fold::Status::Live => "live",
        fold::Status::Withdrawn => "withdrawn",
    };
    pb::Record {
        id: entry.id.to_string(),
        status: status.to_owned(),
        district_code: found.district.code.to_string(),
        district_name: found.district.name.clone(),
        seq: entry.seq,
        op_hash: entry.op_hash.to_string(),
        changed_at_ms: entry.changed_at_ms,
        metadata_json: if live { entry.payload.clone() } else { bytes::Bytes::new() },
        withdrawn_reason: found.withdrawn_reason().to_owned(),
    }
}

#[cfg(test)]
mod tests;
