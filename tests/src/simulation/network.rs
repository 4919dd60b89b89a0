//! Connections: two pipes of bytes that stay in order each, and nothing more is promised.

use prost::Message;

use super::invariants::{Violation, broken};
use liandong_core::id::{FeedId, Hash};

const PREFIX: usize = 4;

/// Bytes on their way in one direction. Messages are framed by their length, as gRPC does it.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    wire: Vec<u8>,
    /// Whole frames' bytes that came out at the other end, and the beginning of the next one.
    arrived: Vec<u8>,
}

impl Pipe {
    pub(super) fn send(&mut self, message: &impl Message) {
        let len = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
        self.wire.extend_from_slice(&len.to_be_bytes());
        self.wire.extend_from_slice(&message.encode_to_vec());
    }

    /// Bytes under way.
    pub(super) fn len(&self) -> usize {
        self.wire.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// So many bytes come out; the messages that are whole by now.
    pub(super) fn arrive<M: Message + Default>(
        &mut self,
        bytes: usize,
    ) -> Result<Vec<M>, Violation> {
        let bytes = bytes.min(self.wire.len());
        self.arrived.extend(self.wire.drain(..bytes));
        let mut messages = Vec::new();
        let mut at = 0;
        while let Some(prefix) = self.arrived.get(at..at + PREFIX) {
            let prefix = prefix.try_into().unwrap_or_default();
            let len = u32::from_be_bytes(prefix) as usize;
            let Some(frame) = self.arrived.get(at + PREFIX..at + PREFIX + len) else { break };
            let message = M::decode(frame)
                .map_err(|error| broken("I16", format!("our own message: {error}")))?;
            messages.push(message);
            at += PREFIX + len;
        }
        self.arrived.drain(..at);
        Ok(messages)
    }

    /// The sending end is gone: of what is under way only so many bytes still come out.
    pub(super) fn cut(&mut self, keep: usize) {
        self.wire.truncate(keep);
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A feed on its way to the hub.
    Push,
    /// The hub's feed on its way down.
    Follow,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Stream {
    /// The node at the other end; none for a stranger.
    pub(super) node: Option<usize>,
    /// What the certificate says.
    pub(super) feed: FeedId,
    pub(super) call: Call,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) node_open: bool,
    pub(super) hub_open: bool,
    /// Nothing moves before this moment, milliseconds.
    pub(super) held_until_ms: i64,
    /// The node's log when it said hello.
    pub(super) log: Vec<Hash>,
}

impl Stream {
    pub(super) fn new(node: Option<usize>, feed: FeedId, call: Call) -> Self {
        Self {
            node,
            feed,
            call,
            up: Pipe::default(),
            down: Pipe::default(),
            node_open: true,
            hub_open: true,
            held_until_ms: i64::MIN,
            log: Vec::new(),
        }
    }
}
