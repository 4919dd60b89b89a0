//! Real processes over bad networks (F5), and peers that break the protocol on purpose (F18).

use liandong_core::{
    id::Head,
    limit,
    op::{Author, SignedOp},
    wire::{Down, RejectCode, Up},
};
use liandong_node::import::plan::Options;
use liandong_server::{grpc, listen};
use liandong_tests::{
    City, DEADLINE, Member,
    proxy::{Proxy, Weather},
    raw::{Peer, Stream},
    rows, wait_until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::transport::server::TcpIncoming;

use crate::PROGRAM;

/// Memory that a hub may need beyond what it had, whatever its peers do, bytes. The first records that are indexed cost
/// the search engine's buffers and dictionaries, 67 MB in the test with sixteen districts.
pub(crate) const GROWTH_MAX: u64 = 96 * 1024 * 1024;

/// Memory of a process that is its own, bytes: pages of files that it has mapped are the system's to take back.
pub(crate) fn memory(member: &Member) -> u64 {
    memory_of(&member.pid().expect("a running process").to_string())
}

fn memory_of(process: &str) -> u64 {
    let path = format!("/proc/{process}/statm");
    let text = std::fs::read_to_string(path).expect("the size of a process");
    let pages: Vec<u64> = text.split(' ').filter_map(|pages| pages.trim().parse().ok()).collect();
    let [_size, resident, shared, ..] = pages[..] else { panic!("a size is missing in {text}") };
    (resident - shared) * 4096
}

fn address(url: &str) -> std::net::SocketAddr {
    url.trim_start_matches("https://").parse().expect("an address")
}

#[tokio::test]
async fn a_district_makes_progress_through_every_kind_of_bad_network() {
    let city = City::start(PROGRAM).await;
    let proxy = Proxy::start(address(&city.hub.grpc_url())).await;
    let mut node = city.enrol("310115", "浦东新区").await;
    node.set_env("LIANDONG_HUB__URL", &proxy.grpc_url());
    node.start().await;
    let near = city.join("310104", "徐汇区").await;
    let mut number = 50;
    for warm_up in 1..=number {
        node.put(None, &rows::content(warm_up)).await.unwrap();
    }
    city.level(&node).await;
    let before = memory(&city.hub);
    for weather in [
        Weather::Slow(40),
        Weather::Crumbs,
        Weather::Drip(64),
        Weather::CutAfter(6_000),
        Weather::Fair,
    ] {
        proxy.set(weather);
        for _ in 0..5 {
            number += 1;
            node.put(None, &rows::content(number)).await.unwrap();
        }
        city.level(&node).await;
    }
    // Nothing arrives and nobody is told; people work on, and nobody else notices.
    proxy.set(Weather::HalfOpen);
    let there = city.district("310115").await.seq;
    for _ in 0..20 {
        number += 1;
        node.put(None, &rows::content(number)).await.unwrap();
        near.put(None, &rows::content(number)).await.unwrap();
    }
    city.level(&near).await;
    assert_eq!(city.district("310115").await.seq, there, "what vanishes does not arrive");
    proxy.set(Weather::Fair);
    node.restart().await;
    city.level(&node).await;
    let grown = memory(&city.hub).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the hub has grown by {grown} bytes");
    let records = city.hub.status().await.view.records;
    assert_eq!(records, u64::try_from(number).unwrap() + 20, "each record once");
    println!("{} connections, {} bytes", proxy.connections(), proxy.bytes());
}

/// A batch and what the hub says of it.
struct Attack {
    name: &'static str,
    ops: Vec<SignedOp>,
    code: RejectCode,
}

fn attacks(peer: &Peer, stranger: &Peer, head: Head) -> Vec<Attack> {
    let good = peer.op(head, "停车场泊位信息").signed;
    let far = Head { seq: head.seq + 7, ..head };
    let other_key = Author::new(peer.identity.feed, ed25519_key(9));
    let mut forged = peer.clone();
    forged.author = other_key;
    let mut broken = good.signature.to_vec();
    broken[3] ^= 1;
    let bad_signature = SignedOp { signature: broken.into(), ..good.clone() };
    let large = vec![b'x'; 3 * limit::OP_BYTES_MAX];
    let huge = SignedOp { payload: large.into(), ..good.clone() };
    // Zeroes that shrink to nothing on the wire and are far above the limit of a batch.
    let zeroes = SignedOp { payload: vec![0; limit::OP_BYTES_MAX / 2].into(), ..good };
    vec![
        Attack {
            name: "another feed",
            ops: vec![stranger.op(head, "他区").signed],
            code: RejectCode::WrongFeed,
        },
        Attack {
            name: "numbers left out",
            ops: vec![peer.op(far, "跳号").signed],
            code: RejectCode::BadChain,
        },
        Attack {
            name: "another key",
            ops: vec![forged.op(head, "他人密钥").signed],
            code: RejectCode::BadKey,
        },
        Attack {
            name: "a broken signature",
            ops: vec![bad_signature],
            code: RejectCode::BadSignature,
        },
        Attack { name: "a huge op", ops: vec![huge], code: RejectCode::TooLarge },
        Attack { name: "zeroes", ops: vec![zeroes; 100], code: RejectCode::TooLarge },
    ]
}

fn ed25519_key(byte: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[byte; 32])
}

#[tokio::test]
async fn hostile_peers_are_refused_leave_nothing_and_disturb_nobody() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    let peer = Peer::of(city.enrol("310104", "徐汇区").await.dir());
    let stranger = Peer::of(city.enrol("310101", "黄浦区").await.dir());
    let url = city.hub.grpc_url();
    node.put(None, &rows::content(1)).await.unwrap();
    city.level(&node).await;
    let before = memory(&city.hub);

    for attack in attacks(&peer, &stranger, Head::EMPTY) {
        let name = attack.name;
        let mut stream = Stream::open(&url, &peer.tls(), peer.hello(Head::EMPTY)).await.unwrap();
        let welcome = stream.next().await.unwrap();
        assert!(matches!(welcome, Some(Down::Welcome(_))), "{name}: {welcome:?}");
        stream.send(Up::Batch { after: Head::EMPTY, ops: attack.ops }).await;
        let code = loop {
            match stream.next().await {
                Ok(Some(Down::Reject(reject))) => break Some(reject.code),
                Ok(Some(_)) => {}
                // A message above the transport's limit does not even get to the receiver.
                Ok(None) | Err(_) => break None,
            }
        };
        assert!(code.is_none_or(|code| code == attack.code), "{name}: {code:?}");
        assert!(code.is_some() || name == "zeroes", "{name} is told why");
        let there = city.district("310104").await;
        assert_eq!(there.seq, 0, "{name} leaves nothing");
    }
    // Peers that begin a handshake, or a stream, and then say nothing or next to nothing.
    let mut idle = Vec::new();
    for byte in 0..12 {
        let mut socket = TcpStream::connect(address(&url)).await.unwrap();
        // A byte of something that is no TLS is answered or dropped; both are fine.
        let _sent = socket.write_all(&[byte]).await;
        idle.push(socket);
    }
    let mute = Stream::open(&url, &peer.tls(), peer.hello(Head::EMPTY)).await.unwrap();
    for number in 2..12 {
        node.put(None, &rows::content(number)).await.unwrap();
    }
    city.level(&node).await;
    let grown = memory(&city.hub).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the hub has grown by {grown} bytes");
    drop((idle, mute));
    // The district that was posed as goes on as if nothing had been.
    let op = peer.op(Head::EMPTY, "停车场泊位信息");
    let stream = Stream::open(&url, &peer.tls(), peer.hello(op.head())).await.unwrap();
    stream.send(Up::Batch { after: Head::EMPTY, ops: vec![op.signed.clone()] }).await;
    wait_until("the true op arrives", async || {
        let there = city.district("310104").await;
        (there.hash == op.hash).then_some(()).ok_or_else(|| format!("{there:?}"))
    })
    .await;
}

/// Districts of a whole city.
const DISTRICTS: usize = 16;
/// Records that each has written while the hub was away.
const BACKLOG: usize = 150;

#[tokio::test]
async fn sixteen_districts_that_come_back_at_once_with_a_backlog_all_arrive_and_the_hub_stays_small()
 {
    let mut city = City::start(PROGRAM).await;
    let mut nodes = Vec::new();
    for number in 0..DISTRICTS {
        nodes.push(city.join(&format!("3101{:02}", number + 30), &format!("第{number}区")).await);
    }
    let before = memory(&city.hub);
    city.hub.stop().await;
    for (number, node) in nodes.iter().enumerate() {
        let from = number * BACKLOG;
        let file = city.root().join(format!("{number}.csv"));
        std::fs::write(&file, rows::csv(&rows::rows(from..from + BACKLOG))).unwrap();
        let report = node.import(&file, Options::default()).await.unwrap();
        assert_eq!(report.new, BACKLOG, "{report:?}");
    }
    city.hub.start().await;
    for node in &nodes {
        city.level(node).await;
    }
    let records = city.hub.status().await.view.records;
    assert_eq!(records, (DISTRICTS * BACKLOG) as u64, "each record once");
    let grown = memory(&city.hub).saturating_sub(before);
    println!("{records} records of {DISTRICTS} districts; the hub grew by {grown} bytes");
    assert!(grown < GROWTH_MAX, "the hub has grown by {grown} bytes");
}

/// A frame of HTTP/2: its length, kind, flags and stream come before what it holds.
fn frame(kind: u8, flags: u8, stream: u32, holds: &[u8]) -> Vec<u8> {
    let length = u32::try_from(holds.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), holds].concat()
}

/// A request whose body goes on for ever.
fn request(path: &str) -> Vec<u8> {
    let mut headers = vec![0x83, 0x86];
    let fields = [(":path", path), (":authority", "hub"), ("content-type", "application/grpc")];
    for (name, value) in fields {
        for text in [name, value] {
            if text == name {
                headers.push(0);
            }
            headers.push(u8::try_from(text.len()).unwrap());
            headers.extend_from_slice(text.as_bytes());
        }
    }
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [hello, frame(4, 0, 0, &[]), frame(1, 4, 1, &headers)].concat()
}

#[tokio::test]
async fn a_million_empty_frames_are_cut_off_or_cost_nothing_and_others_are_served() {
    const FRAMES: usize = 1_000_000;
    const AT_ONCE: usize = 1_000;
    let (_serving, serving) = watch::channel(true);
    let routes = grpc::health_and_reflection(serving).routes();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = listen::server().add_routes(routes);
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let before = memory_of("self");
    let (mut answers, mut socket) = TcpStream::connect(at).await.unwrap().into_split();
    let answers = tokio::spawn(async move {
        // Whatever the server says must be read, or it would wait.
        let read = tokio::io::copy(&mut answers, &mut tokio::io::sink()).await;
        read.unwrap_or_default()
    });
    socket.write_all(&request("/grpc.health.v1.Health/Check")).await.unwrap();
    let empty = frame(0, 0, 1, &[]).repeat(AT_ONCE);
    let mut sent = 0;
    while sent < FRAMES && socket.write_all(&empty).await.is_ok() {
        sent += AT_ONCE;
    }
    let grown = memory_of("self").saturating_sub(before);
    println!("{sent} empty frames were taken; {grown} bytes more");
    assert!(grown < GROWTH_MAX, "the server has grown by {grown} bytes");
    let mut other = TcpStream::connect(at).await.unwrap();
    let check = request("/grpc.health.v1.Health/Check");
    other.write_all(&[check, frame(0, 1, 1, &[0; 5])].concat()).await.unwrap();
    let mut said = [0; 64];
    let read = tokio::time::timeout(DEADLINE, other.read(&mut said)).await.unwrap().unwrap();
    assert!(read > 0, "another connection is answered");
    server.abort();
    answers.abort();
}
