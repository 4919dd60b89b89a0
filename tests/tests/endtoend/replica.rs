//! The city's catalogue on its way down: every node finds what every district has, with and without the hub.

use liandong_server::site::CityStatus;
use liandong_tests::{City, Member, rows, wait_until};

use crate::PROGRAM;

/// What a node says of its replica.
async fn city_of(node: &Member) -> CityStatus {
    node.status().await.city.expect("a node")
}

/// Waits until a node's replica is complete with so many live records.
async fn replicated(node: &Member, records: u64) -> CityStatus {
    wait_until(&format!("{} holds {records} records", node.dir().display()), async || {
        let city = city_of(node).await;
        let whole = city.complete && !city.stale && city.records == records;
        whole.then_some(city.clone()).ok_or_else(|| format!("{city:?}"))
    })
    .await
}

#[tokio::test]
async fn a_restarted_hub_makes_nodes_compare_roots_and_fetch_nothing_again() {
    let mut city = City::start(PROGRAM).await;
    let (a, b) = (city.join("310115", "浦东新区").await, city.join("310104", "徐汇区").await);
    for number in 0..5 {
        a.put(None, &rows::content(number)).await.unwrap();
    }
    b.put(None, &rows::content(7)).await.unwrap();
    let before = replicated(&a, 6).await;
    assert_eq!(before.root, replicated(&b, 6).await.root, "both see everything there is");
    assert_eq!(before.received, 6);

    city.hub.restart().await;
    let audited = ["the replica was audited", "buckets=0", "fetched=0", "removed=0"];
    a.logs(&audited).await;
    a.put(None, &rows::content(8)).await.unwrap();
    let after = replicated(&a, 7).await;
    assert_eq!(after.received, 7, "one more record, and none again");
    assert_eq!(after.root, replicated(&b, 7).await.root);
}
