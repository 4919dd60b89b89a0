//! The node's side of a push stream.

use std::collections::VecDeque;

use crate::{
    id::{FeedId, Hash, Head},
    limit,
    mutant::{self, Mutant},
    op::{Op, OpType, SignedOp},
    receipt::Receipt,
    wire::{Claim, Credit, Down, OpOutcome, Reject, RejectCode, Up, Verdict, Welcome},
};

/// What the driver of a [`Sender`] has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderEffect {
    /// Put a message on the stream.
    Send(Up),
    /// Read ops after this position from the journal and hand them to [`Sender::on_ops`].
    Read {
        /// Position before the first op wanted.
        after: u64,
        /// At most so many.
        ops: usize,
        /// At most so many bytes; one op always fits.
        bytes: usize,
    },
    /// Look through these ops, which wait for others, for withdrawals from the public and hand the last op of each such
    /// record to [`Sender::on_urgent`].
    LookThrough {
        /// Position before the first op.
        after: u64,
        /// The last op.
        to: u64,
    },
    /// Tell [`Sender::on_hash`] the journal's hash at this position.
    Hash(u64),
    /// Keep the receipt.
    Acknowledged(Receipt),
    /// Keep what became of ops.
    Outcomes(Vec<OpOutcome>),
    /// Show what the hub found.
    Verdict(Verdict, String),
    /// The hub confirmed our root at this position.
    Confirmed(u64),
    /// The hub's fold differs: raise the alarm.
    Diverged(u64),
    /// End the stream.
    Close {
        /// For people.
        explain: String,
        /// Not sooner than this, milliseconds.
        retry_after_ms: u32,
        /// A person must act before the next try.
        frozen: bool,
        /// The hub does not take what it was sent; a person should look, and the next try may still go well.
        refused: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    /// Our hash at the mirror's head is being looked up.
    Checking(Head),
    Live,
    Closed,
}

/// Sends one feed over one stream.
#[derive(Debug)]
pub struct Sender {
    feed: FeedId,
    hub_key: [u8; 32],
    phase: Phase,
    local: Head,
    acked: Head,
    sent: Head,
    in_flight: VecDeque<(Head, usize)>,
    credit: Credit,
    reading: bool,
    claim: Option<Claim>,
    claimed: Option<u64>,
    /// Up to here the backlog was looked through for withdrawals.
    looked: u64,
    effects: Vec<SenderEffect>,
}

impl Sender {
    /// A sender for a feed whose durable head is `local`; `hub_key` signs the receipts.
    pub fn new(feed: FeedId, hub_key: [u8; 32], local: Head) -> Self {
        Self {
            feed,
            hub_key,
            phase: Phase::Greeting,
            local,
            acked: Head::EMPTY,
            sent: Head::EMPTY,
            in_flight: VecDeque::new(),
            credit: Credit { ops: 0, bytes: 0 },
            reading: false,
            claim: None,
            claimed: None,
            looked: 0,
            effects: Vec::new(),
        }
    }

    /// Receipts are signed with this key from now on.
    pub const fn trust(&mut self, hub_key: [u8; 32]) {
        self.hub_key = hub_key;
    }

    /// Takes the effects left since the last call.
    pub fn effects(&mut self) -> Vec<SenderEffect> {
        std::mem::take(&mut self.effects)
    }

    /// What the hub has acknowledged on this stream.
    pub const fn acked(&self) -> Head {
        self.acked
    }

    /// A message from the hub.
    pub fn on_down(&mut self, down: Down) {
        match (self.phase, down) {
            (Phase::Closed, _) => {}
            (Phase::Greeting, Down::Welcome(welcome)) => self.on_welcome(&welcome),
            (_, Down::Reject(reject)) => self.on_reject(reject),
            (Phase::Live, Down::Ack { receipt, credit, outcomes }) => {
                if !outcomes.is_empty() {
                    self.effects.push(SenderEffect::Outcomes(outcomes));
                }
                self.credit = credit;
                if let Some(receipt) = receipt {
                    self.on_receipt(receipt);
                }
                self.go_on();
            }
            (Phase::Live, Down::ClaimSeen { seq, .. }) => {
                self.effects.push(SenderEffect::Confirmed(seq));
            }
            (Phase::Live, Down::Mismatch { seq, .. }) => {
                self.effects.push(SenderEffect::Diverged(seq));
            }
            (_, _) => {
                self.close("中心的消息不合协议顺序 / the hub broke the protocol's order", false);
            }
        }
    }

    fn on_welcome(&mut self, welcome: &Welcome) {
        self.effects.push(SenderEffect::Verdict(welcome.verdict, welcome.explain.clone()));
        match welcome.verdict {
            Verdict::InSync | Verdict::Extend => {
                self.credit = welcome.credit;
                if mutant::active(Mutant::SenderCursor) {
                    return self.go_live(self.local);
                }
                self.phase = Phase::Checking(welcome.mirror);
                if welcome.mirror.seq == 0 || welcome.mirror == self.local {
                    self.go_live(welcome.mirror);
                } else {
                    self.effects.push(SenderEffect::Hash(welcome.mirror.seq));
                }
            }
            verdict => {
                self.phase = Phase::Closed;
                self.effects.push(SenderEffect::Close {
                    explain: welcome.explain.clone(),
                    retry_after_ms: welcome.retry_after_ms,
                    frozen: verdict.freezes(),
                    refused: verdict == Verdict::Fenced,
                });
            }
        }
    }

    fn go_live(&mut self, mirror: Head) {
        self.phase = Phase::Live;
        self.acked = mirror;
        self.sent = mirror;
        self.go_on();
    }

    /// The journal's hash at the position that [`SenderEffect::Hash`] asked for.
    pub fn on_hash(&mut self, seq: u64, hash: Option<Hash>) {
        let Phase::Checking(mirror) = self.phase else { return };
        if seq == mirror.seq && hash == Some(mirror.hash) {
            self.go_live(mirror);
        } else {
            let explain = format!(
                "本地第 {seq} 条与中心不同：数据分叉 / our op {seq} is not the hub's: the feed has forked"
            );
            self.effects.push(SenderEffect::Verdict(Verdict::Fork, explain.clone()));
            self.close(&explain, true);
        }
    }

    fn on_reject(&mut self, reject: Reject) {
        self.phase = Phase::Closed;
        // A chain that the hub does not accept although our heads agreed is a fork; a person must look.
        let frozen = reject.code == RejectCode::BadChain;
        if frozen {
            self.effects.push(SenderEffect::Verdict(Verdict::Fork, reject.explain.clone()));
        }
        let passes = matches!(
            reject.code,
            RejectCode::StaleStream | RejectCode::OutOfCredit | RejectCode::Unavailable
        );
        self.effects.push(SenderEffect::Close {
            explain: reject.explain,
            retry_after_ms: reject.retry_after_ms,
            frozen,
            refused: !passes,
        });
    }

    fn on_receipt(&mut self, receipt: Receipt) {
        let ours = receipt.feed == self.feed && receipt.verifies(&self.hub_key);
        if !ours || receipt.head.seq > self.sent.seq {
            return self.close("中心回执验证失败 / the hub's receipt does not verify", false);
        }
        if receipt.head.seq < self.acked.seq {
            return;
        }
        let there = self.in_flight.iter().find(|(last, _)| last.seq == receipt.head.seq);
        if there.is_some_and(|(last, _)| *last != receipt.head) {
            let explain = format!(
                "中心回执的内容与本地第 {} 条不同：数据分叉 / the hub's receipt is for another op {0}: the feed has forked",
                receipt.head.seq
            );
            self.effects.push(SenderEffect::Verdict(Verdict::Fork, explain.clone()));
            return self.close(&explain, true);
        }
        while self.in_flight.front().is_some_and(|(last, _)| last.seq <= receipt.head.seq) {
            self.in_flight.pop_front();
        }
        self.acked = receipt.head;
        self.effects.push(SenderEffect::Acknowledged(receipt));
    }

    /// The local journal is durable up to `head`, and the fold of it is `claim`.
    pub fn on_local(&mut self, head: Head, claim: Option<Claim>) {
        self.local = head;
        if claim.is_some() {
            self.claim = claim;
        }
        self.go_on();
    }

    /// Ops that [`SenderEffect::Read`] asked for, in order.
    pub fn on_ops(&mut self, ops: Vec<Op>) {
        self.reading = false;
        if self.phase != Phase::Live {
            return;
        }
        let Some(last) = ops.last().map(Op::head) else { return };
        let bytes = ops.iter().map(|op| op.signed.len()).sum();
        self.in_flight.push_back((last, bytes));
        let after = std::mem::replace(&mut self.sent, last);
        let ops: Vec<SignedOp> = ops.into_iter().map(|op| op.signed).collect();
        self.effects.push(SenderEffect::Send(Up::Batch { after, ops }));
        self.go_on();
    }

    /// Withdrawals found in the backlog. Of very many the hub asks a person first, so they keep their turn.
    pub fn on_urgent(&mut self, ops: Vec<Op>) {
        let (withdrawn, narrowed): (Vec<Op>, Vec<Op>) =
            ops.into_iter().partition(|op| op.kind == OpType::RecordTombstone);
        let few = withdrawn.len() <= limit::MASS_RECORDS as usize;
        let ops: Vec<SignedOp> =
            withdrawn.into_iter().filter(|_| few).chain(narrowed).map(|op| op.signed).collect();
        if self.phase == Phase::Live {
            let messages = ops.chunks(limit::URGENT_OPS_MAX);
            self.effects.extend(messages.map(|ops| SenderEffect::Send(Up::Urgent(ops.to_vec()))));
        }
    }

    /// Time for a heartbeat: an idle node repeats its claim.
    pub fn on_tick(&mut self) {
        self.claimed = None;
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.phase != Phase::Live {
            return;
        }
        self.claim_when_idle();
        self.look_through();
        let (ops, bytes) = self.room();
        if !self.reading && self.sent.seq < self.local.seq && ops > 0 && bytes > 0 {
            self.reading = true;
            self.effects.push(SenderEffect::Read { after: self.sent.seq, ops, bytes });
        }
    }

    /// What waits behind more than a batch of other ops may hold a withdrawal, which does not wait.
    fn look_through(&mut self) {
        let after = self.acked.seq.max(self.looked);
        let waiting = self.local.seq.saturating_sub(self.acked.seq);
        if waiting > limit::BATCH_OPS_MAX as u64 && self.local.seq > after {
            self.looked = self.local.seq;
            self.effects.push(SenderEffect::LookThrough { after, to: self.local.seq });
        }
    }

    /// How much of the next batch fits into the credit.
    fn room(&self) -> (usize, usize) {
        if self.in_flight.len() >= limit::BATCHES_IN_FLIGHT_MAX as usize {
            return (0, 0);
        }
        let ops_out = usize::try_from(self.sent.seq - self.acked.seq).unwrap_or(usize::MAX);
        let bytes_out: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        let credit_bytes = usize::try_from(self.credit.bytes).unwrap_or(usize::MAX);
        (
            (self.credit.ops as usize).saturating_sub(ops_out).min(limit::BATCH_OPS_MAX),
            credit_bytes.saturating_sub(bytes_out).min(limit::BATCH_BYTES_MAX),
        )
    }

    fn claim_when_idle(&mut self) {
        let Some(claim) = self.claim else { return };
        let idle = self.acked == self.local && claim.seq == self.local.seq;
        if idle && self.claimed != Some(claim.seq) {
            self.claimed = Some(claim.seq);
            self.effects.push(SenderEffect::Send(Up::Claim(claim)));
        }
    }

    fn close(&mut self, explain: &str, frozen: bool) {
        self.phase = Phase::Closed;
        self.effects.push(SenderEffect::Close {
            explain: explain.to_owned(),
            retry_after_ms: 0,
            frozen,
            refused: false,
        });
    }
}
