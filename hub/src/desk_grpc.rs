//! `liandong.desk.v1.Desk`: the curators' desk for programs, with the answers of the command line.

use std::sync::Arc;

use liandong_core::{
    city::{Decision, Overlay},
    id::RecordId,
};
use liandong_proto::desk as pb;
use liandong_server::{admin::AdminError, output::Exit};
use serde_json::Value;
use tonic::{Request, Response, Status};

use crate::{
    app::App,
    desk::{ConflictFilter, Desk, OverlayChange, StateFilter},
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct DeskService {
    pub(crate) app: Arc<App>,
}

type Reply<T> = Result<Response<T>, Status>;

fn status(error: &AdminError) -> Status {
    let text = format!("{} / {}", error.message_zh, error.message_en);
    match error.exit() {
        Exit::Usage | Exit::Validation => Status::invalid_argument(text),
        Exit::Conflict => Status::failed_precondition(text),
        _ if error.code == "declined" => Status::not_found(text),
        _ => {
            tracing::error!(error = %error, "a call to the desk failed");
            Status::internal(text)
        }
    }
}

fn malformed(field: &str) -> Status {
    Status::invalid_argument(format!("字段 {field} 不正确 / the field {field} is malformed"))
}

fn parsed<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|_bad| malformed(field))
}

fn optional<T: std::str::FromStr>(field: &str, text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() { Ok(None) } else { parsed(field, text).map(Some) }
}

fn document(value: &Value) -> pb::Document {
    pb::Document { json: serde_json::to_vec(value).unwrap_or_default().into() }
}

impl DeskService {
    /// Runs what a request asks for, for the operator who sent it.
    async fn run<T>(
        &self,
        request: Request<T>,
        command: impl FnOnce(T) -> Result<Desk, Status>,
    ) -> Result<Value, Status> {
        let operator = self.app.operator_of(&request)?;
        let command = command(request.into_inner())?;
        let (app, actor) = (Arc::clone(&self.app), format!("operator:{operator}"));
        // A caller that goes away must not stop half-way what it asked for.
        let ran = tokio::spawn(async move { app.desk(command, &actor).await });
        let ran = ran.await.map_err(|gone| Status::internal(gone.to_string()))?;
        ran.map_err(|error| status(&error))
    }

    async fn one<T>(
        &self,
        request: Request<T>,
        command: impl FnOnce(T) -> Result<Desk, Status>,
    ) -> Reply<pb::Document> {
        Ok(Response::new(document(&self.run(request, command).await?)))
    }

    async fn many<T>(
        &self,
        request: Request<T>,
        command: impl FnOnce(T) -> Result<Desk, Status>,
    ) -> Reply<pb::Documents> {
        let listed = self.run(request, command).await?;
        let documents = listed.as_array().into_iter().flatten().map(document).collect();
        Ok(Response::new(pb::Documents { documents }))
    }
}

fn record(text: &str) -> Result<RecordId, Status> {
    parsed("record_id", text)
}

fn overlay(asked: pb::PutOverlayRequest) -> Result<Desk, Status> {
    let keywords = (!asked.keywords.is_empty()).then_some(asked.keywords);
    let set = Overlay {
        title: asked.title,
        keywords,
        theme: asked.theme,
        key_theme: asked.key_theme,
        notes: asked.notes,
        sticky: false,
    };
    let change = OverlayChange { set, clear: asked.clear, sticky: asked.sticky };
    Ok(Desk::OverlaySet { record: record(&asked.record_id)?, change })
}

fn decision(asked: &pb::DecideConflictRequest) -> Result<Decision, Status> {
    let side = || record(&asked.record_id);
    let of = || parsed("of", &asked.of);
    Ok(match asked.verdict.as_str() {
        "authoritative" => Decision::Authoritative { record: side()? },
        "copy_of" => Decision::CopyOf { record: side()?, of: of()? },
        "derived_from" => Decision::DerivedFrom { record: side()?, of: of()? },
        "distinct" => Decision::Distinct,
        "code_stays" => Decision::CodeStays { record: side()? },
        "confirm" => Decision::Confirm,
        "withdraw" => Decision::Withdraw,
        _ => return Err(malformed("verdict")),
    })
}

fn filter(asked: pb::ListConflictsRequest) -> Result<ConflictFilter, Status> {
    let state = match asked.state.as_str() {
        "" | "open" => StateFilter::Open,
        "appealed" => StateFilter::Appealed,
        "decided" => StateFilter::Decided,
        "all" => StateFilter::All,
        _ => return Err(malformed("state")),
    };
    Ok(ConflictFilter {
        kind: (!asked.kind.is_empty()).then_some(asked.kind),
        state,
        district: optional("district_code", &asked.district_code)?,
        age_days: (asked.age_days > 0).then_some(asked.age_days),
    })
}

fn ask(asked: pb::CreateRequestRequest) -> Result<Desk, Status> {
    let mut fields = serde_json::Map::new();
    for (name, json) in asked.fields_json {
        let value = serde_json::from_slice(&json).map_err(|_bad| malformed("fields_json"))?;
        fields.insert(name, value);
    }
    Ok(Desk::RequestCreate {
        record: record(&asked.record_id)?,
        fields,
        reason: asked.reason,
        due: optional("due", &asked.due)?,
    })
}

#[tonic::async_trait]
impl pb::desk_server::Desk for DeskService {
    async fn list_overlays(
        &self,
        request: Request<pb::ListOverlaysRequest>,
    ) -> Reply<pb::Documents> {
        self.many(request, |asked| Ok(Desk::OverlayList { stale: asked.stale })).await
    }

    async fn get_overlay(&self, request: Request<pb::RecordRequest>) -> Reply<pb::Document> {
        self.one(request, |asked| Ok(Desk::OverlayShow { record: record(&asked.record_id)? })).await
    }

    async fn put_overlay(&self, request: Request<pb::PutOverlayRequest>) -> Reply<pb::Document> {
        self.one(request, overlay).await
    }

    async fn drop_overlay(&self, request: Request<pb::RecordRequest>) -> Reply<pb::Document> {
        self.one(request, |asked| Ok(Desk::OverlayDrop { record: record(&asked.record_id)? })).await
    }

    async fn list_holds(&self, request: Request<pb::ListHoldsRequest>) -> Reply<pb::Documents> {
        self.many(request, |_all| Ok(Desk::HoldList)).await
    }

    async fn put_hold(&self, request: Request<pb::PutHoldRequest>) -> Reply<pb::Documents> {
        self.many(request, |asked| {
            let pb::PutHoldRequest { record_id, legal_basis, reason } = asked;
            Ok(Desk::HoldPut { record: record(&record_id)?, legal_basis, reason })
        })
        .await
    }

    async fn release_hold(&self, request: Request<pb::ReleaseHoldRequest>) -> Reply<pb::Document> {
        self.one(request, |asked| {
            Ok(Desk::HoldRelease { record: record(&asked.record_id)?, reason: asked.reason })
        })
        .await
    }

    async fn list_requests(
        &self,
        request: Request<pb::ListRequestsRequest>,
    ) -> Reply<pb::Documents> {
        self.many(request, |asked| {
            let district = optional("district_code", &asked.district_code)?;
            Ok(Desk::RequestList { all: asked.all, district })
        })
        .await
    }

    async fn get_request(&self, request: Request<pb::GetRequestRequest>) -> Reply<pb::Document> {
        self.one(request, |asked| Ok(Desk::RequestShow { request: asked.request })).await
    }

    async fn create_request(
        &self,
        request: Request<pb::CreateRequestRequest>,
    ) -> Reply<pb::Document> {
        self.one(request, ask).await
    }

    async fn withdraw_request(
        &self,
        request: Request<pb::WithdrawRequestRequest>,
    ) -> Reply<pb::Document> {
        self.one(request, |asked| {
            Ok(Desk::RequestWithdraw { request: asked.request, reason: asked.reason })
        })
        .await
    }

    async fn list_conflicts(
        &self,
        request: Request<pb::ListConflictsRequest>,
    ) -> Reply<pb::Documents> {
        self.many(request, |asked| Ok(Desk::ConflictList(filter(asked)?))).await
    }

    async fn get_conflict(&self, request: Request<pb::GetConflictRequest>) -> Reply<pb::Document> {
        self.one(request, |asked| Ok(Desk::ConflictShow { conflict: asked.conflict })).await
    }

    async fn decide_conflict(
        &self,
        request: Request<pb::DecideConflictRequest>,
    ) -> Reply<pb::Document> {
        self.one(request, |asked| {
            let decision = decision(&asked)?;
            let (conflict, reason) = (asked.conflict, asked.reason);
            Ok(Desk::ConflictDecide { conflict, decision, reason, preview: false })
        })
        .await
    }

    async fn reopen_conflict(
        &self,
        request: Request<pb::ReopenConflictRequest>,
    ) -> Reply<pb::Document> {
        self.one(request, |asked| {
            Ok(Desk::ConflictReopen { conflict: asked.conflict, reason: asked.reason })
        })
        .await
    }

    async fn list_sources(&self, request: Request<pb::ListSourcesRequest>) -> Reply<pb::Documents> {
        self.many(request, |_all| Ok(Desk::SourceList)).await
    }

    async fn put_source(&self, request: Request<pb::PutSourceRequest>) -> Reply<pb::Documents> {
        self.many(request, |asked| {
            let pb::PutSourceRequest { item, record_id, reason } = asked;
            Ok(Desk::SourceSet { item, record: record(&record_id)?, reason })
        })
        .await
    }

    async fn drop_source(&self, request: Request<pb::DropSourceRequest>) -> Reply<pb::Documents> {
        self.many(request, |asked| Ok(Desk::SourceDrop { item: asked.item, reason: asked.reason }))
            .await
    }
}
