//! The services through a real connection.

use std::sync::Arc;

use liandong_proto::catalog::{
    GetRecordRequest, ListRecordsRequest, SearchRequest, catalog_client::CatalogClient,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Health, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;
use crate::read::tests::{City, OPEN, RESTRICTED, WITHDRAWN, id};

async fn connect() -> (Arc<City>, Channel) {
    connect_to(watch::channel(true).1).await
}

async fn connect_to(serving: watch::Receiver<bool>) -> (Arc<City>, Channel) {
    let city = City::new().await;
    let site = Arc::<City>::clone(&city);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut routes = health_and_reflection(serving);
    routes.add_service(catalog_service(site));
    let server = Server::builder().add_routes(routes.routes());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await;
    (city, channel.unwrap())
}

#[tokio::test]
async fn a_record_is_the_same_as_over_http() {
    let (city, channel) = connect().await;
    let mut client = CatalogClient::new(channel);
    let asked = GetRecordRequest { id: id(OPEN).to_string() };
    let record = client.get_record(asked).await.unwrap().into_inner();
    let json = city.get(&format!("/api/v1/records/{}", id(OPEN))).await.json();
    assert_eq!(record.op_hash, json["op_hash"]);
    assert_eq!(record.district_name, json["district"]["name"]);
    let metadata: serde_json::Value = serde_json::from_slice(&record.metadata_json).unwrap();
    assert_eq!(metadata, json["record"]);
}

#[tokio::test]
async fn a_withdrawn_record_is_a_stub_with_its_reason() {
    let (_city, channel) = connect().await;
    let asked = GetRecordRequest { id: id(WITHDRAWN).to_string() };
    let record = CatalogClient::new(channel).get_record(asked).await.unwrap().into_inner();
    assert_eq!((record.status.as_str(), record.metadata_json.len()), ("withdrawn", 0));
    assert_eq!(record.withdrawn_reason, "已并入公共停车场信息");
}

#[tokio::test]
async fn what_is_not_public_or_not_understood_is_refused_with_a_code() {
    let (_city, channel) = connect().await;
    let mut client = CatalogClient::new(channel);
    let rows = [
        (id(RESTRICTED).to_string(), tonic::Code::NotFound),
        (City::unknown().to_string(), tonic::Code::NotFound),
        ("x".to_owned(), tonic::Code::InvalidArgument),
        (String::new(), tonic::Code::InvalidArgument),
    ];
    for (id, code) in rows {
        let status = client.get_record(GetRecordRequest { id: id.clone() }).await.unwrap_err();
        assert_eq!(status.code(), code, "{id}");
    }
    let asked = ListRecordsRequest { limit: 1001, ..ListRecordsRequest::default() };
    let status = client.list_records(asked).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("1 to 1000"), "{status}");
    let asked = SearchRequest { district_code: "999999".to_owned(), ..SearchRequest::default() };
    let status = client.search(asked).await.unwrap_err();
    assert!(status.message().contains("999999"), "{status}");
}

#[tokio::test]
async fn lists_and_searches_hold_public_records_only() {
    let (city, channel) = connect().await;
    let mut client = CatalogClient::new(channel);
    let list = client.list_records(ListRecordsRequest::default()).await.unwrap().into_inner();
    let http = city.get("/api/v1/records").await.json();
    let http: Vec<&str> =
        http["records"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(list.records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), http);
    assert_eq!(list.next, "");
    let paged = ListRecordsRequest { limit: 3, ..ListRecordsRequest::default() };
    let paged = client.list_records(paged).await.unwrap().into_inner();
    assert_eq!((paged.records.len(), paged.next.as_str()), (3, http[2]));

    let asked = SearchRequest { query: "停车".to_owned(), ..SearchRequest::default() };
    let found = client.search(asked).await.unwrap().into_inner();
    assert_eq!((found.total, found.hits.len(), found.applied_seq), (2, 2, 27));
    assert_eq!(found.hits[0].state, "in_sync");
    let ids: Vec<String> =
        found.hits.into_iter().map(|hit| hit.record.unwrap_or_default().id).collect();
    assert!(!ids.contains(&id(RESTRICTED).to_string()), "{ids:?}");
}

#[tokio::test]
async fn health_and_both_reflections_answer() {
    let (serving, served) = watch::channel(true);
    let (_city, channel) = connect_to(served).await;
    for (serves, status) in
        [(true, Health::Serving), (false, Health::NotServing), (true, Health::Serving)]
    {
        serving.send_replace(serves);
        for service in ["", "liandong.catalog.v1.Catalog"] {
            let asked = HealthCheckRequest { service: service.to_owned() };
            let mut told =
                HealthClient::new(channel.clone()).watch(asked).await.unwrap().into_inner();
            while told.message().await.unwrap().unwrap().status() != status {}
        }
    }

    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let asked = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(asked)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap();
    let text = format!("{answer:?}");
    for service in ["liandong.catalog.v1.Catalog", "liandong.sync.v1", "grpc.health.v1.Health"] {
        assert!(text.contains(service), "{service} in {text}");
    }

    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "liandong.catalog.v1.Catalog".to_owned(),
    );
    let asked =
        v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(tokio_stream::once(asked)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap();
    assert!(format!("{answer:?}").contains("FileDescriptorResponse"), "{answer:?}");
}
