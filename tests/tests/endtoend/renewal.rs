//! Certificates that renew themselves.

use liandong_tests::{City, rows, wait_until};

use crate::PROGRAM;

#[tokio::test]
async fn certificates_renew_themselves_and_nothing_has_to_be_restarted() {
    let mut city = City::prepare(PROGRAM).await;
    let config = city.hub.dir().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    table["certificates"]["ttl_secs"] = 12.into();
    std::fs::write(&config, table.to_string()).unwrap();
    city.hub.start().await;
    let mut node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let process = node.pid();

    let first = node.link().await.certificate_expires.unwrap();
    let mut expires = first;
    for renewal in 1..=2 {
        expires = wait_until(&format!("renewal {renewal}"), async || {
            let now = node.link().await.certificate_expires.unwrap();
            (now > expires).then_some(now).ok_or(format!("until {now}"))
        })
        .await;
    }
    wait_until("the first certificate is over", async || {
        let now = liandong_server::clock::now_ms();
        (now > first).then_some(()).ok_or(format!("{now} of {first}"))
    })
    .await;
    node.put(None, &rows::content(2)).await.unwrap();
    city.level(&node).await;
    // A new connection shows the new certificate, and so does the hub's own.
    city.hub.restart().await;
    node.put(None, &rows::content(3)).await.unwrap();
    city.level(&node).await;
    assert_eq!(node.pid(), process);
    // Renewing is rare: once in two thirds of a certificate's life, not as fast as it goes.
    let renewals = node.log().matches("certificate renewed").count();
    assert!((2..=8).contains(&renewals), "{renewals} renewals");
    node.restart().await;
    node.put(None, &rows::content(4)).await.unwrap();
    city.level(&node).await;
    city.hub.logs(&["the hub's certificate was renewed"]).await;
}
