//! Who is refused at the door, and that both ends are told why.

use liandong_core::id::{DistrictCode, Head};
use liandong_hub::{command::Command, district::Command as District};
use liandong_server::{
    clock,
    identity::{Authority, JoinToken, certificate_pem, make_csr},
    tls::ClientTls,
};
use liandong_tests::{
    City, Member, Ran,
    raw::{Peer, Stream},
    rows, wait_until,
};
use serde_json::Value;
use tonic::Code;

use crate::{PROGRAM, hub_shows, shows};

async fn join(node: &Member, token: &str) -> Ran {
    node.cli(&["init", "--join", token]).await
}

#[tokio::test]
async fn without_a_client_certificate_nothing_can_be_pushed() {
    let city = City::start(PROGRAM).await;
    let node = city.enrol("310115", "浦东新区").await;
    let peer = Peer::of(node.dir());
    let anonymous = ClientTls::anonymous(&peer.ca_der).unwrap();
    let refused = Stream::open(&city.hub.grpc_url(), &anonymous, peer.hello(Head::EMPTY)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("没有客户端证书"), "{refused}");
    city.hub.logs(&["WARN", "without a client certificate"]).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_both_ends_say_so() {
    let city = City::start(PROGRAM).await;
    let mut node = city.enrol("310115", "浦东新区").await;
    let peer = Peer::of(node.dir());
    let elsewhere =
        Authority::create(tempfile::tempdir().unwrap().path(), clock::now_ms()).unwrap();
    let feed = peer.identity.feed.to_string();
    let (csr, key) = make_csr(&feed).unwrap();
    let foreign = elsewhere.issue_client(&csr, &feed, &[], 3600, clock::now_ms()).unwrap();
    let keys = node.dir().join("keys");
    std::fs::write(keys.join("tls.pem"), key + &certificate_pem(&foreign)).unwrap();
    node.start().await;
    let told = shows(&node, "refused").await;
    assert!(told.contains("市平台不接受本节点的证书：签发机构不同"), "{told}");
    city.hub.logs(&["WARN", "handshake failed"]).await;
    // The node still works for its own people.
    node.put(None, &rows::content(1)).await.unwrap();
    assert_eq!(city.district("310115").await.seq, 0);
    let doctor = node.cli(&["doctor"]).await.exits(1);
    assert!(doctor.stderr.contains("签发机构不同"), "{doctor:?}");
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_feed_only() {
    let city = City::start(PROGRAM).await;
    let first = Peer::of(city.enrol("310115", "浦东新区").await.dir());
    let second = Peer::of(city.enrol("310104", "徐汇区").await.dir());
    let url = city.hub.grpc_url();
    let mut stream = Stream::open(&url, &first.tls(), second.hello(Head::EMPTY)).await.unwrap();
    let down = stream.next().await.unwrap().unwrap();
    let liandong_core::wire::Down::Reject(reject) = down else { panic!("{down:?}") };
    assert_eq!(reject.code, liandong_core::wire::RejectCode::WrongFeed);
    let (own, other) = (first.identity.feed.to_string(), second.identity.feed.to_string());
    assert!(reject.explain.contains(&own) && reject.explain.contains(&other), "{reject:?}");
    assert_eq!(stream.next().await.unwrap(), None, "the stream is over");
    city.hub.logs(&["WARN", "stream refused", "WrongFeed", &own]).await;
    // What is refused is shown with the district whose certificate came, and nothing reaches the other.
    let explain = city.district("310115").await.explain.unwrap_or_default();
    assert!(explain.contains("不符"), "{explain}");
    assert_eq!(city.district("310104").await.explain, None);
}

#[tokio::test]
async fn a_join_token_works_once_and_every_bad_one_is_told_apart() {
    let city = City::start(PROGRAM).await;
    let used = city.add("310115", "浦东新区", 3600).await.unwrap().token;
    let _joined = join(&city.node("first"), &used).await.exits(0);

    let second = city.node("second");
    let ran = join(&second, &used).await.exits(1);
    assert!(
        ran.stderr.contains("接入口令已被使用过") && ran.stderr.contains("used already"),
        "{ran:?}"
    );
    city.hub.logs(&["WARN", "a node may not join", "已被使用过"]).await;
    assert!(!second.dir().join("config.toml").exists(), "a refusal leaves no node behind");

    // A letter is wrong.
    let good = city.add("310104", "徐汇区", 3600).await.unwrap().token;
    let place = good.len() / 2;
    let other = if good.as_bytes()[place] == b'A' { "B" } else { "A" };
    let mistyped = format!("{}{other}{}", &good[..place], &good[place + 1..]);
    for (token, told) in [
        (mistyped.as_str(), "可能抄错或复制不完整"),
        (&good[..good.len() - 5], "可能抄错或复制不完整"),
        ("hello", "这不是加入令牌"),
    ] {
        let ran = join(&second, token).await;
        assert!(ran.code != 0 && ran.stderr.contains(told), "{ran:?}");
    }
    // Well made, but never by this hub.
    let mut unknown: JoinToken = good.parse().unwrap();
    unknown.secret = JoinToken::random_secret();
    let ran = join(&second, &unknown.to_string()).await.exits(1);
    assert!(ran.stderr.contains("本中心未签发过它"), "{ran:?}");
    city.hub.logs(&["WARN", "a node may not join", "未签发过"]).await;
    // Another authority than the one that answers.
    let mut posing: JoinToken = good.parse().unwrap();
    posing.ca_fingerprint = [7; 32];
    let ran = join(&second, &posing.to_string()).await;
    assert!(ran.code != 0 && ran.stderr.contains("可能有人冒充"), "{ran:?}");

    // The same directory and the good token still make a node.
    let _joined = join(&second, &good).await.exits(0);
    let again = join(&second, &good).await.exits(4);
    assert!(again.stderr.contains("已经加入"), "{again:?}");
}

#[tokio::test]
async fn an_expired_token_is_refused_by_the_node_and_by_the_hub() {
    let city = City::start(PROGRAM).await;
    let added = city.add("310115", "浦东新区", 1).await.unwrap();
    wait_until("the token has expired", async || {
        (clock::now_ms() > added.expires_ms).then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    let node = city.node("late");
    let ran = join(&node, &added.token).await;
    assert!(ran.code != 0 && ran.stderr.contains("过期"), "{ran:?}");
    // A node whose clock is behind does not see it; the hub does.
    let mut token: JoinToken = added.token.parse().unwrap();
    token.expires_ms += 3_600_000;
    let ran = join(&node, &token.to_string()).await.exits(1);
    assert!(ran.stderr.contains("接入口令已过期"), "{ran:?}");
    city.hub.logs(&["WARN", "a node may not join", "已过期"]).await;
    // Another token for the same district is made out without ceremony.
    let again = city.add("310115", "浦东新区", 3600).await.unwrap();
    let _joined = join(&node, &again.token).await.exits(0);
    // And no third one once it has joined.
    let refused = city.add("310115", "浦东新区", 3600).await.unwrap_err();
    assert!(refused.message_zh.contains("已有节点接入"), "{refused:?}");
}

#[tokio::test]
async fn a_suspended_district_is_told_so_at_once_and_goes_on_when_resumed() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let args = ["district", "suspend", "310115", "--reason", "目录质量核查"];
    let _suspended = city.hub.cli(&args).await.exits(0);
    let told = shows(&node, "refused").await;
    assert!(told.contains("已被中心暂停：目录质量核查"), "{told}");
    let told = node.cli(&["status"]).await.exits(0).stdout;
    assert!(told.contains("被拒绝") && told.contains("已被中心暂停：目录质量核查"), "{told}");
    let told = hub_shows(&city, "310115", "suspended").await;
    assert!(told.contains("目录质量核查"), "{told}");
    let again = city.hub.cli(&args).await.exits(4);
    assert!(again.stderr.contains("状态没有变化"), "{again:?}");

    // The district goes on working, the city goes on showing what it has.
    node.put(None, &rows::content(2)).await.unwrap();
    assert_eq!(city.district("310115").await.seq, 1);
    assert_eq!(city.hub.search("停车场泊位信息1").await["total"], 1);

    let code: DistrictCode = "310115".parse().unwrap();
    let resume = Command::District(District::Resume { code });
    let _resumed: Value = city.hub.command_call(&resume).await.unwrap();
    city.level(&node).await;
    let there = city.district("310115").await;
    assert_eq!((there.seq, there.state.name()), (2, "in_sync"));
}

#[tokio::test]
async fn a_node_that_lost_the_answer_to_its_join_asks_again_with_the_same_token() {
    let city = City::start(PROGRAM).await;
    let token = city.add("310115", "浦东新区", 3600).await.unwrap().token;
    let node = city.node("first");
    let _joined = join(&node, &token).await.exits(0);
    // As if the line had been cut before the answer came: the hub has made its decision, the node has its keys only.
    for file in ["config.toml", "anchor.json", "keys/tls.pem"] {
        std::fs::remove_file(node.dir().join(file)).unwrap();
    }
    let _joined = join(&node, &token).await.exits(0);
    let mut node = node;
    let listen =
        [node.http_url(""), node.grpc_url()].map(|url| url.rsplit_once('/').unwrap().1.to_owned());
    node.set_env("LIANDONG_HTTP__LISTEN", &listen[0]);
    node.set_env("LIANDONG_GRPC__LISTEN", &listen[1]);
    node.start().await;
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    // The token is of no use to anybody else.
    let ran = join(&city.node("thief"), &token).await.exits(1);
    assert!(ran.stderr.contains("接入口令已被使用过"), "{ran:?}");
}
