//! What operators ask.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::fixture::{Answer, City};

#[tokio::test]
async fn a_site_that_has_caught_up_is_alive_and_ready() {
    let city = City::new().await;
    let health = city.get("/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (StatusCode::OK, "ok"));
    let ready = city.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (StatusCode::OK, "ready"));
}

#[tokio::test]
async fn the_figures_tell_the_status_and_count_requests() {
    let city = City::new().await;
    city.get("/api/v1/status").await;
    let answer = city.get("/metrics").await;
    assert!(answer.header(header::CONTENT_TYPE).starts_with("text/plain; version=0.0.4"));
    for line in [
        "liandong_records 25",
        "liandong_index_applied_seq 27",
        "liandong_district_lag_records{district=\"310115\"} 3",
        "liandong_district_state{district=\"310115\",state=\"in_sync\"} 1",
        "liandong_district_state{district=\"310115\",state=\"fork\"} 0",
        "liandong_district_last_contact_seconds{district=\"310115\"} 1790000000",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} in {}", answer.body);
    }
    let counted =
        "liandong_http_requests_total{method=\"GET\",route=\"/api/v1/status\",status=\"200\"}";
    assert!(answer.body.contains(counted), "{}", answer.body);
    assert!(answer.body.contains("liandong_http_request_seconds_bucket{route=\"/api/v1/status\""));
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_who_can_read_it() {
    let city = City::new().await;
    let request = Request::get("/api/v1/records").header(header::ACCEPT_ENCODING, "gzip");
    let answer = Answer::of(city.router(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header(header::CONTENT_ENCODING), "gzip");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_refused() {
    let city = City::new().await;
    let body = Body::from(vec![b'a'; 20_000]);
    let request = Request::get("/search").header(header::CONTENT_LENGTH, 20_000);
    let answer = Answer::of(city.router(), request.body(body).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}
