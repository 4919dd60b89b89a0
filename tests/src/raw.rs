//! A peer that speaks the protocol by hand, so that a test can break its rules.

use std::path::Path;

use liandong_core::{
    id::{Head, RecordId},
    link::{PROTOCOL, PROTOCOL_MIN},
    op::{Author, Change, Op, OpType},
    record::Record,
    wire::{Down, Hello, Up},
};
use liandong_proto::sync::{PushDown, PushUp, feed_sync_client::FeedSyncClient};
use liandong_server::{
    clock,
    identity::{Anchor, certificate_der},
    keys::{self, Identity},
    tls::{self, ClientTls, Timeouts},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, codec::CompressionEncoding};

use crate::wait::DEADLINE;

/// What a node's directory lets one do: sign its feed and show its certificate.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Feed and installation.
    pub identity: Identity,
    /// The feed's key.
    pub author: Author,
    /// The hub's authority.
    pub ca_der: Vec<u8>,
    certificate: Vec<u8>,
    key: String,
}

impl Peer {
    /// Reads the keys of a node that has joined.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn of(dir: &Path) -> Self {
        let keys = dir.join("keys");
        let (identity, author) = keys::open(&keys).expect("the feed's key");
        let anchor = Anchor::read(dir).expect("an anchor").expect("a node that has joined");
        let text = |name: &str| std::fs::read_to_string(keys.join(name)).expect(name);
        Self {
            identity,
            author,
            ca_der: anchor.ca_der().expect("an authority"),
            certificate: certificate_der(&text("tls.pem")).expect("a certificate"),
            key: text("tls.pem"),
        }
    }

    /// TLS with the node's certificate.
    ///
    /// # Panics
    /// It cannot be used.
    pub fn tls(&self) -> ClientTls {
        ClientTls::mutual(&self.ca_der, &self.certificate, &self.key).expect("a TLS identity")
    }

    /// A hello of the node at `head`.
    pub fn hello(&self, head: Head) -> Up {
        Up::Hello(Hello {
            protocol: (PROTOCOL_MIN, PROTOCOL),
            software: "liandong-tests".to_owned(),
            feed: self.identity.feed,
            head,
            hub_head: Head::EMPTY,
            instance: self.identity.instance,
            incarnation: 1,
            clock_ms: clock::now_ms(),
            probes: Vec::new(),
        })
    }

    /// A signed op that puts a new record after `head`.
    ///
    /// # Panics
    /// It does not fit.
    pub fn op(&self, head: Head, title: &str) -> Op {
        self.put(head, &Record { title: title.to_owned(), ..Record::default() })
    }

    /// A signed op that puts a new record with this content after `head`.
    ///
    /// # Panics
    /// It does not fit.
    pub fn put(&self, head: Head, record: &Record) -> Op {
        let id = RecordId::new(self.identity.feed, keys::new_ulid());
        let change = Change {
            kind: OpType::RecordPut,
            subject: id.to_bytes().to_vec(),
            base: None,
            payload: record.to_bytes(),
            visibility: record.visibility(),
        };
        self.author.author(head, change, keys::stamp("raw")).expect("an op")
    }
}

/// An open push stream.
#[derive(Debug)]
pub struct Stream {
    up: mpsc::Sender<PushUp>,
    downs: Streaming<PushDown>,
}

impl Stream {
    /// Opens a stream with a first message.
    ///
    /// # Errors
    /// The hub's refusal of the call, or why it was not reached.
    ///
    /// # Panics
    /// There is no answer in time.
    pub async fn open(url: &str, tls: &ClientTls, first: Up) -> Result<Self, Status> {
        let channel = tls::connect(url, tls, Timeouts::default()).await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let (up, messages) = mpsc::channel(4);
        up.send(first.into()).await.expect("room for a message");
        let mut client = FeedSyncClient::new(channel).send_compressed(CompressionEncoding::Zstd);
        let called = timeout(DEADLINE, client.push(ReceiverStream::new(messages)));
        let downs = called.await.expect("an answer in time")?.into_inner();
        Ok(Self { up, downs })
    }

    /// Sends a message; it is no fault when the hub has closed the stream before.
    pub async fn send(&self, up: Up) {
        let _closed = self.up.send(up.into()).await;
    }

    /// The next message of the hub; none at the end of the stream.
    ///
    /// # Errors
    /// The hub's refusal.
    ///
    /// # Panics
    /// There is none in time, or it breaks the protocol.
    pub async fn next(&mut self) -> Result<Option<Down>, Status> {
        let down = timeout(DEADLINE, self.downs.message()).await.expect("a message in time")?;
        Ok(down.map(|down| Down::try_from(down).expect("a message of the protocol")))
    }
}
