//! The hub's side of a push stream.

use std::collections::VecDeque;

use super::{PROTOCOL, PROTOCOL_MIN, Release, compare, credit_for};
use crate::{
    fold::FOLD_VERSION,
    id::{FeedId, Hash, Head},
    limit,
    mutant::{self, Mutant},
    op::{Keys, Op, OpFault, OpType, SignedOp},
    receipt::Receipt,
    wire::{Claim, Credit, Down, Hello, OpOutcome, Reject, RejectCode, Up, Verdict, Welcome},
};

/// What the driver of a [`Receiver`] has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverEffect {
    /// Put a message on the stream.
    Send(Down),
    /// Append these verified ops after `after` and tell [`Receiver::on_durable`].
    Append {
        /// Compare-and-append: only if this is still the mirror's head.
        after: Head,
        /// Ops in order.
        ops: Vec<Op>,
    },
    /// Hide the records of these verified withdrawals now; their ops follow in their turn.
    Hide(Vec<Op>),
    /// Tell a person: the logs do not fit together.
    Alarm(Verdict, String),
    /// Tell a person: node and hub make different catalogues of the same ops.
    Diverged(String),
    /// End the stream after what was sent.
    Close,
}

/// What the hub knows of a feed when its node says hello.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Keys that may sign.
    pub keys: Keys,
    /// Durable head of the mirror.
    pub mirror: Head,
    /// Position of the hub's own feed.
    pub directory_seq: u64,
    /// How often the hub was rebuilt from its nodes.
    pub hub_incarnation: u32,
    /// Oldest software that may push, when the city has set one.
    pub min_software: Option<Release>,
    /// The hub's clock, milliseconds since 1970.
    pub now_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Live,
    Closed,
}

/// Receives one feed over one stream.
#[derive(Debug)]
pub struct Receiver {
    feed: FeedId,
    keys: Keys,
    phase: Phase,
    received: Head,
    durable: Head,
    batches: u32,
    /// Last position and bytes of each batch that is not durable yet.
    in_flight: VecDeque<(u64, usize)>,
    claim: Option<Claim>,
    effects: Vec<ReceiverEffect>,
}

impl Receiver {
    /// A receiver for the feed that the client's certificate speaks for.
    pub fn new(feed: FeedId) -> Self {
        Self {
            feed,
            keys: Keys::default(),
            phase: Phase::Waiting,
            received: Head::EMPTY,
            durable: Head::EMPTY,
            batches: 1,
            in_flight: VecDeque::new(),
            claim: None,
            effects: Vec::new(),
        }
    }

    /// Takes the effects left since the last call.
    pub fn effects(&mut self) -> Vec<ReceiverEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether the stream is over.
    pub fn closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Sets how many batches the node may have in flight. More is said at once, because a node that waits for
    /// credit sends
    /// nothing that an answer could follow; less is said with the next message.
    pub fn set_window(&mut self, batches: u32) {
        let before =
            std::mem::replace(&mut self.batches, batches.min(limit::BATCHES_IN_FLIGHT_MAX));
        if self.phase == Phase::Live && self.batches > before {
            let credit = self.credit();
            let outcomes = Vec::new();
            self.effects.push(ReceiverEffect::Send(Down::Ack { receipt: None, credit, outcomes }));
        }
    }

    fn credit(&self) -> Credit {
        credit_for(self.batches)
    }

    /// The node's first message. `hash_at` reads the mirror.
    pub fn on_hello(
        &mut self,
        hello: &Hello,
        admission: Admission,
        hash_at: impl Fn(u64) -> Option<Hash>,
    ) {
        if self.phase != Phase::Waiting {
            return self.reject(
                RejectCode::Malformed,
                0,
                "重复的 Hello / a second Hello".to_owned(),
            );
        }
        if hello.feed != self.feed {
            let explain = format!(
                "证书属于数据流 {}，与 Hello 中的 {} 不符 / the certificate is for feed {0}, Hello says {1}",
                self.feed, hello.feed
            );
            return self.reject(RejectCode::WrongFeed, 0, explain);
        }
        let spoken = hello.protocol.0 <= PROTOCOL && hello.protocol.1 >= PROTOCOL_MIN;
        let too_old = admission.min_software.filter(|oldest| {
            Release::of_software(&hello.software).is_none_or(|ours| ours < *oldest)
        });
        let verdict = if spoken && too_old.is_none() {
            let probe =
                |seq| hello.probes.iter().find(|probe| probe.seq == seq).map(|probe| probe.hash);
            compare(hello.head, admission.mirror, hash_at, probe)
        } else {
            Verdict::UpgradeRequired
        };
        let explain = match too_old {
            Some(oldest) => format!(
                "节点软件 {} 过旧，本市要求不低于 {oldest}，请升级 / the node's software is too old; the city asks for \
                 {oldest} or later",
                hello.software
            ),
            None => explain(verdict, hello, admission.mirror),
        };
        self.keys = admission.keys;
        self.received = admission.mirror;
        self.durable = admission.mirror;
        self.effects.push(ReceiverEffect::Send(Down::Welcome(Welcome {
            verdict,
            mirror: admission.mirror,
            credit: self.credit(),
            hub_time_ms: admission.now_ms,
            directory_seq: admission.directory_seq,
            hub_incarnation: admission.hub_incarnation,
            explain: explain.clone(),
            retry_after_ms: 0,
            hub_head: Head::EMPTY,
        })));
        if matches!(verdict, Verdict::InSync | Verdict::Extend) {
            self.phase = Phase::Live;
        } else {
            if verdict.freezes() {
                self.effects.push(ReceiverEffect::Alarm(verdict, explain));
            }
            self.close();
        }
    }

    /// Any later message of the node.
    pub fn on_up(&mut self, up: Up) {
        match (self.phase, up) {
            (Phase::Closed, _) => {}
            (Phase::Live, Up::Batch { after, ops }) => self.on_batch(after, ops),
            // Roots of other rules cannot be compared with ours; after the upgrade they can.
            (Phase::Live, Up::Claim(claim)) => {
                self.claim = Some(claim).filter(|claim| claim.fold_version == FOLD_VERSION);
            }
            (Phase::Live, Up::Urgent(ops)) => self.on_urgent(ops),
            (_, _) => self.reject(
                RejectCode::Malformed,
                0,
                "消息不合协议顺序 / the message breaks the protocol's order".to_owned(),
            ),
        }
    }

    /// Withdrawals whose turn has not come. Each is the district's own signed word, so no chain is needed to obey it;
    /// one that does not verify is not obeyed, and its turn will tell why.
    fn on_urgent(&mut self, ops: Vec<SignedOp>) {
        let good = |op: &Op| {
            op.feed == self.feed
                && op.seq > self.durable.seq
                && op.withdraws_from_public()
                && op.verify(&self.keys).is_ok()
        };
        let ops: Vec<Op> = ops.into_iter().flat_map(Op::parse).filter(good).collect();
        if !ops.is_empty() {
            self.effects.push(ReceiverEffect::Hide(ops));
        }
    }

    fn on_batch(&mut self, after: Head, ops: Vec<SignedOp>) {
        let bytes: usize = ops.iter().map(SignedOp::len).sum();
        let pending = self.received.seq.saturating_sub(self.durable.seq);
        let allowed = u64::from(limit::BATCHES_IN_FLIGHT_MAX) * limit::BATCH_OPS_MAX as u64;
        if pending + ops.len() as u64 > allowed {
            let explain = "超出发送额度 / more ops in flight than granted".to_owned();
            return self.reject(RejectCode::OutOfCredit, after.seq + 1, explain);
        }
        // One op may exceed the batch size by itself, up to the op limit that parsing checks.
        if ops.len() > 1 && bytes > limit::BATCH_BYTES_MAX {
            let explain = format!(
                "批次 {bytes} 字节，上限 {max} / a batch of {bytes} bytes, at most {max}",
                max = limit::BATCH_BYTES_MAX
            );
            return self.reject(RejectCode::TooLarge, after.seq + 1, explain);
        }
        let in_flight: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        let granted = limit::BATCHES_IN_FLIGHT_MAX as usize * limit::BATCH_BYTES_MAX;
        if in_flight + bytes > granted {
            let explain = "超出发送额度 / more bytes in flight than granted".to_owned();
            return self.reject(RejectCode::OutOfCredit, after.seq + 1, explain);
        }
        if after != self.received {
            return self.reject_chain(after);
        }
        match self.check(ops) {
            Ok(ops) => {
                let after = self.received;
                self.received = ops.last().map_or(after, Op::head);
                self.in_flight.push_back((self.received.seq, bytes));
                self.effects.push(ReceiverEffect::Append { after, ops });
            }
            Err((seq, fault)) => self.reject_fault(seq, &fault),
        }
    }

    /// Parses and verifies a whole batch before any of it counts.
    fn check(&mut self, ops: Vec<SignedOp>) -> Result<Vec<Op>, (u64, OpFault)> {
        let (mut head, mut keys) = (self.received, self.keys.clone());
        let mut checked = Vec::with_capacity(ops.len());
        for signed in ops {
            let at = |fault| (head.seq + 1, fault);
            let op = Op::parse(signed).map_err(at)?;
            op.follows(self.feed, head).map_err(at)?;
            op.verify(&keys).map_err(at)?;
            if mutant::active(Mutant::PoisonStop) && matches!(op.kind, OpType::Unknown(_)) {
                return Err(at(OpFault::Malformed(op.kind.name().to_owned())));
            }
            // The next op is signed with the new key; the hub's countersignature in the directory comes later.
            if op.kind == OpType::KeyRotate {
                keys.rotate(&op).map_err(at)?;
            }
            head = op.head();
            checked.push(op);
        }
        self.keys = keys;
        Ok(checked)
    }

    fn reject_chain(&mut self, after: Head) {
        let explain = format!(
            "第 {} 条之前的内容与中心不同（中心在 {}，节点给出 {after}）/ op {0} does not follow the hub's {1}; the node says {after}",
            after.seq + 1,
            self.received
        );
        if after.seq == self.received.seq {
            self.effects.push(ReceiverEffect::Alarm(Verdict::Fork, explain.clone()));
        }
        self.reject(RejectCode::BadChain, after.seq + 1, explain);
    }

    fn reject_fault(&mut self, seq: u64, fault: &OpFault) {
        let (code, zh) = match fault {
            OpFault::Malformed(_) | OpFault::Suite(_) | OpFault::Payload => {
                (RejectCode::Malformed, "内容无法解析或已损坏")
            }
            OpFault::TooLarge(_) => (RejectCode::TooLarge, "单条超过大小上限"),
            OpFault::WrongFeed { .. } => (RejectCode::WrongFeed, "不属于本数据流"),
            OpFault::Chain { .. } => (RejectCode::BadChain, "序号或前序哈希不连续"),
            OpFault::Key(_) => (RejectCode::BadKey, "签名密钥无效"),
            OpFault::Signature => (RejectCode::BadSignature, "签名验证失败"),
        };
        let (way_out_zh, way_out_en) = self.way_out(seq, fault);
        let explain = format!("第 {seq} 条：{zh}{way_out_zh} / op {seq}: {fault}{way_out_en}");
        self.reject(code, seq, explain);
    }

    /// What people can do when a key of the district signs where it may not: node and hub both went back, and the op
    /// that named the key that followed is lost with that key.
    fn way_out(&self, seq: u64, fault: &OpFault) -> (String, String) {
        let OpFault::Key(id) = fault else { return Default::default() };
        let revoked = self.keys.revoked().iter().any(|(revoked, _)| revoked == id);
        if revoked || self.keys.public_key(*id).is_none() {
            return Default::default();
        }
        let command = format!("liandong-hub key restore <CODE> --key {id} --from {seq}");
        (
            format!("；该区若已没有其后的密钥，请市级中心核实后运行 {command}"),
            format!(
                "; if the district has lost the key that followed, the hub's operator checks that and runs {command}"
            ),
        )
    }

    /// The mirror is durable up to `head`; the receipt says so to the node.
    pub fn on_durable(&mut self, receipt: Receipt) {
        if self.phase == Phase::Closed || receipt.head.seq < self.durable.seq {
            return;
        }
        self.durable = receipt.head;
        self.in_flight.retain(|(last, _)| *last > receipt.head.seq);
        let credit = self.credit();
        self.effects.push(ReceiverEffect::Send(Down::Ack {
            receipt: Some(receipt),
            credit,
            outcomes: Vec::new(),
        }));
    }

    /// Somebody else extended the mirror: this stream is stale.
    pub fn on_overtaken(&mut self) {
        self.reject(
            RejectCode::StaleStream,
            0,
            "同一数据流已有新的连接 / a newer stream of this feed took over".to_owned(),
        );
    }

    /// The hub's fold came so far, with these outcomes since the last call.
    pub fn on_applied(&mut self, applied: Claim, outcomes: Vec<OpOutcome>, now_ms: i64) {
        if self.phase != Phase::Live {
            return;
        }
        // What this stream did not bring came by an earlier one, after the welcome: the heads are to be compared again.
        if applied.seq > self.received.seq {
            return self.on_overtaken();
        }
        if !outcomes.is_empty() {
            let credit = self.credit();
            self.effects.push(ReceiverEffect::Send(Down::Ack { receipt: None, credit, outcomes }));
        }
        let seq = applied.seq;
        let Some(claim) = self.claim.filter(|claim| claim.seq <= seq) else { return };
        self.claim = None;
        // Under other rules of the hub other ops take effect; the node claims again once it has the same.
        if claim.seq != seq || claim.rules != applied.rules {
            return;
        }
        if claim.root == applied.root {
            let seen = Down::ClaimSeen { seq, hub_time_ms: now_ms };
            self.effects.push(ReceiverEffect::Send(seen));
        } else {
            let explain = format!(
                "第 {seq} 条处两侧目录摘要不同：节点 {}（{} 条），中心 {}（{} 条）/ the folds differ at {seq}: node {0}, hub {2}",
                claim.root.short(),
                claim.records,
                applied.root.short(),
                applied.records,
            );
            self.effects.push(ReceiverEffect::Diverged(explain));
            let (hub_root, hub_records) = (applied.root, applied.records);
            let mismatch = Down::Mismatch { seq, hub_root, hub_records };
            self.effects.push(ReceiverEffect::Send(mismatch));
        }
    }

    /// Refuses the feed at the handshake: its district may not push now.
    pub fn fence(&mut self, mirror: Head, explain: String, now_ms: i64) {
        self.turn_away(Verdict::Fenced, mirror, Head::EMPTY, explain, now_ms);
    }

    /// Puts the node off: the hub has lost ops of its own feed and wants back what the node mirrors of it beyond
    /// `hub_head`.
    pub fn recovering(&mut self, mirror: Head, hub_head: Head, explain: String, now_ms: i64) {
        self.turn_away(Verdict::HubRecovering, mirror, hub_head, explain, now_ms);
    }

    fn turn_away(
        &mut self,
        verdict: Verdict,
        mirror: Head,
        hub_head: Head,
        explain: String,
        now_ms: i64,
    ) {
        self.effects.push(ReceiverEffect::Send(Down::Welcome(Welcome {
            verdict,
            mirror,
            credit: Credit { ops: 0, bytes: 0 },
            hub_time_ms: now_ms,
            directory_seq: 0,
            hub_incarnation: 0,
            explain,
            retry_after_ms: limit::BUSY_RETRY_MS,
            hub_head,
        })));
        self.close();
    }

    /// Ends the stream with a reason.
    pub fn reject(&mut self, code: RejectCode, seq: u64, explain: String) {
        let retry_after_ms = match code {
            RejectCode::Unavailable | RejectCode::StaleStream => limit::BUSY_RETRY_MS,
            _ => 0,
        };
        self.effects.push(ReceiverEffect::Send(Down::Reject(Reject {
            code,
            seq,
            explain,
            retry_after_ms,
        })));
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.effects.push(ReceiverEffect::Close);
    }
}

/// How a person ends a freeze.
const WAY_OUT_ZH: &str = "在该节点运行 liandong-node rejoin --reason restored|cloned|replaced，\
    先看方案，再加 --yes 执行；内容不会丢失";
const WAY_OUT_EN: &str = "run `liandong-node rejoin --reason restored|cloned|replaced` at the node, \
    read the plan, then add --yes; nothing is lost";

fn explain(verdict: Verdict, hello: &Hello, mirror: Head) -> String {
    let node = hello.head;
    match verdict {
        Verdict::InSync => format!("一致，均在 {mirror} / both at {mirror}"),
        Verdict::Extend => {
            format!("中心在 {mirror}，请续传 / the hub is at {mirror}; go on from there")
        }
        Verdict::Rollback => format!(
            "节点在 {node}，落后于中心已确认的 {mirror}：节点可能从旧备份恢复。已冻结，等待人工确认：{WAY_OUT_ZH} / \
             the node is at {node}, behind what the hub has acknowledged ({mirror}): \
             restored from an old backup? Frozen until a person decides: {WAY_OUT_EN}"
        ),
        Verdict::Fork => format!(
            "节点 {node} 与中心 {mirror} 已分叉：节点可能被克隆或恢复后又写入。已冻结，等待人工确认：{WAY_OUT_ZH} / \
             node {node} and hub {mirror} have diverged: cloned, or restored and written to? \
             Frozen until a person decides: {WAY_OUT_EN}"
        ),
        Verdict::UpgradeRequired => format!(
            "协议版本不兼容：中心支持 {PROTOCOL_MIN}–{PROTOCOL}，节点 {}–{}，请升级 / no protocol version in common; upgrade",
            hello.protocol.0, hello.protocol.1
        ),
        Verdict::Fenced | Verdict::HubRecovering => String::new(),
    }
}
