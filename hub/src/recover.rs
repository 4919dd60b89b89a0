//! Recovery of a district's feed: what the hub gives back, archives and agrees to.

use std::{sync::Arc, time::Duration};

use liandong_core::{
    city::{City, FeedRejoin, Forked},
    directory::FeedEntry,
    fold::is_about_records,
    id::{FeedId, Head, RecordId},
    limit,
    link::compare,
    op::{Op, OpType, SignedOp, verify_detached},
    rejoin::Reason,
    wire::{
        Hello, Verdict,
        recover::{Ancestor, Evidence, Rejoin, read_probes, write_head},
        write_batch,
    },
};
use liandong_proto::sync as pb;
use liandong_server::clock;
use liandong_store::StoreError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    app::{App, AppError, DATA_DIR},
    archive::{About, ArchiveError},
    peer::Peer,
    sync::Answers,
};

/// Who acts when nobody was asked.
const ACTOR: &str = "hub";
/// Batches of a fetch that may wait for the node.
const BATCHES_MAX: usize = 2;
/// Pause of the other side that ends a call.
const SILENCE: Duration = Duration::from_millis(limit::SILENCE_MS);

fn failed(error: &StoreError) -> Status {
    tracing::error!(%error, "the store cannot answer");
    Status::internal("中心暂时无法读取 / the hub cannot read now")
}

fn malformed(fault: impl std::fmt::Display) -> Status {
    Status::invalid_argument(fault.to_string())
}

/// The feed's entry, when the peer may speak for it. A frozen node may: this is its way out.
fn admit(city: &City, peer: &Peer, feed: FeedId) -> Result<FeedEntry, Status> {
    let admitted = city.directory.admit(feed, peer.feed, peer.fingerprint);
    admitted.cloned().map_err(|refusal| {
        tracing::warn!(%feed, %refusal, "a call is refused");
        Status::permission_denied(refusal.to_string())
    })
}

/// Ops of the caller's own feed, of the hub's, or of one whose records it takes over.
pub(crate) fn fetch(
    app: &Arc<App>,
    request: Request<pb::FetchRequest>,
) -> Result<Response<Answers<pb::OpBatch>>, Status> {
    let peer = Peer::of(&request)?;
    let wanted = request.into_inner();
    let feed = FeedId::try_from(wanted.feed_id.as_ref()).map_err(malformed)?;
    let hub = app.own.feed();
    let city = app.city();
    let heir = feed != peer.feed && city.authority.sources(peer.feed).contains_key(&feed);
    admit(&city, &peer, if feed == hub || heir { peer.feed } else { feed })?;
    let head = app.store.head(feed).seq;
    let to = if wanted.to_seq == 0 { head } else { wanted.to_seq.min(head) };
    let (batches, answers) = mpsc::channel(BATCHES_MAX);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let mut after = wanted.after_seq;
        while after < to {
            let next = tokio::task::block_in_place(|| app.batch(feed, after, to, &peer));
            let ended = next.is_err();
            if let Ok((last, _)) = &next {
                after = *last;
            }
            if batches.send(next.map(|(_, batch)| batch)).await.is_err() || ended {
                break;
            }
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

/// The op of another district's feed as one sees it that takes records over: with the content of those, and with what
/// the chain's keys need.
fn inherited(op: Op, city: &City, heir: FeedId) -> SignedOp {
    let seen = match RecordId::try_from(op.subject.as_ref()) {
        Ok(record) if is_about_records(&op.kind) => city.authority.inherits(heir, record, op.feed),
        _ => op.kind == OpType::KeyRotate,
    };
    if seen { op.signed } else { op.signed.withhold() }
}

impl App {
    /// The next batch of a fetch, and its last position.
    fn batch(
        &self,
        feed: FeedId,
        after: u64,
        to: u64,
        peer: &Peer,
    ) -> Result<(u64, pb::OpBatch), Status> {
        let most = usize::try_from(to - after).unwrap_or(usize::MAX).min(limit::BATCH_OPS_MAX);
        let (store, city) = (&self.store, self.city());
        let read = || {
            let hash = store.hash_at(feed, after)?;
            Ok((hash, store.ops(feed, after, most, limit::BATCH_BYTES_MAX)?))
        };
        let (hash, ops) = read().map_err(|error| failed(&error))?;
        let (Some(hash), Some(last)) = (hash, ops.last().map(|op| op.seq)) else {
            return Err(Status::out_of_range("没有这些操作 / there are no such ops"));
        };
        let shown = |op: Op| {
            if feed == self.own.feed() {
                store.hub_op_for(peer.feed, op)
            } else if feed == peer.feed {
                op.signed
            } else {
                inherited(op, &city, peer.feed)
            }
        };
        let ops = ops.into_iter().map(shown).collect();
        Ok((last, write_batch(Head { seq: after, hash }, ops)))
    }

    /// The highest of the node's positions that the mirror has too.
    fn highest_common(&self, feed: FeedId, mut probes: Vec<Head>) -> Result<Head, StoreError> {
        probes.sort_unstable_by_key(|probe| probe.seq);
        let (mut low, mut high) = (0, probes.len());
        // Logs that agree at a position agree at every earlier one.
        while low < high {
            let middle = usize::midpoint(low, high);
            let probe = probes[middle];
            if self.store.hash_at(feed, probe.seq)? == Some(probe.hash) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1).map_or(Head::EMPTY, |highest| probes[highest]))
    }

    /// Makes a damaged mirror whole up to its last readable op, when the node that says hello has what is missing. The
    /// damaged files are kept. `Err` says why not, for people.
    pub(crate) fn mend(&self, hello: &Hello, now_ms: i64) -> Result<(), String> {
        let feed = hello.feed;
        let head = self.store.head(feed);
        let probe = |seq| hello.probes.iter().find(|probe| probe.seq == seq).map(|p| p.hash);
        let at = |seq| self.store.hash_at(feed, seq).unwrap_or_default();
        if compare(hello.head, head, at, probe) != Verdict::Extend {
            return Err(format!(
                "中心的日志从第 {} 条起损坏，而节点没有这些操作，等待人工处理 / the hub's journal is \
                 damaged from op {0} on, and this node does not have it: a person must look",
                head.seq + 1
            ));
        }
        let aside = format!("journal.damaged-{feed}-{now_ms}");
        let mended = || -> Result<Head, StoreError> {
            let cut = self.store.cut_damaged(feed, &self.dir.join(DATA_DIR).join(aside))?;
            let head = cut.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
            // What could not be read could not be erased either.
            self.store.erase_aside(&self.store.erasures(&self.city())?)?;
            Ok(head)
        };
        let head = mended().map_err(|error| failed(&error).message().to_owned())?;
        tracing::warn!(%feed, %head, "a damaged mirror goes on from its last readable op");
        Ok(())
    }

    /// Notes in the hub's feed that a node's log does not fit the mirror (C8), once for each time it is joined.
    pub(crate) async fn note_fork(&self, hello: &Hello, verdict: Verdict) {
        let feed = hello.feed;
        let common = self.highest_common(feed, hello.probes.clone());
        let forked = Forked {
            feed,
            verdict: verdict.name(),
            common: common.unwrap_or(Head::EMPTY),
            node: hello.head,
            mirror: self.store.head(feed),
            instance: hello.instance,
        };
        if self.city().feed_forked(&forked).is_none() {
            return;
        }
        let noted = self.decide(ACTOR, |city| Ok(city.feed_forked(&forked).into_iter().collect()));
        if let Err(error) = noted.await {
            tracing::error!(%feed, %error, "the fork cannot be noted");
        }
    }

    /// Checks a rejoin against mirror and archive. `Err` says what is in the way, for people.
    fn check_rejoin(&self, wanted: &Rejoin, entry: &FeedEntry) -> Result<FeedRejoin, String> {
        let feed = wanted.feed;
        let store = |error: StoreError| failed(&error).message().to_owned();
        let signed = entry
            .public_key
            .is_some_and(|key| verify_detached(&key, &wanted.message(), &wanted.signature));
        if !signed {
            return Err("签名不是该数据流的密钥所签 / not signed by the feed's key".to_owned());
        }
        let reason = Reason::parse(&wanted.reason)
            .ok_or_else(|| format!("未知原因 {0} / unknown reason {0}", wanted.reason))?;
        let at = |head: Head| self.store.hash_at(feed, head.seq).map_err(store);
        if at(wanted.adopt)? != Some(wanted.adopt.hash) {
            return Err("所采用的位置不在中心的镜像上 / the mirror has no such head".to_owned());
        }
        let on_mirror = at(wanted.abandoned)? == Some(wanted.abandoned.hash);
        let (ancestor, archived) = if on_mirror {
            (wanted.abandoned, 0)
        } else {
            let kept = self.archive.holds(feed, wanted.abandoned).map_err(store)?;
            let kept = kept.filter(|kept| at(kept.ancestor) == Ok(Some(kept.ancestor.hash)));
            let kept = kept.ok_or("被放弃的操作尚未归档 / the abandoned ops are not archived")?;
            (kept.ancestor, kept.abandoned.seq - kept.ancestor.seq)
        };
        Ok(FeedRejoin {
            feed,
            ancestor,
            abandoned: wanted.abandoned,
            adopt: wanted.adopt,
            reason,
            operator: wanted.operator.clone(),
            instance: wanted.instance,
            incarnation: wanted.incarnation,
            archived,
        })
    }

    /// Carries a rejoin out. `Err` says what is in the way, for people.
    async fn rejoin(&self, rejoin: &FeedRejoin) -> Result<(), String> {
        let feed = rejoin.feed;
        let decided = self.decide(ACTOR, |city| {
            if city.has_rejoined(rejoin) {
                return Ok(Vec::new());
            }
            let changed = |what: &str| liandong_core::city::Refusal::Changed(what.to_owned());
            if self.store.head(feed) != rejoin.adopt {
                return Err(changed("镜像已前进 / the mirror has moved on").into());
            }
            // A copy that is live is no node that was restored.
            if rejoin.reason == Reason::FastForward && self.links.get(feed).connected > 0 {
                return Err(changed("另一个副本在线 / another copy is connected").into());
            }
            Ok(city.rejoin(rejoin)?)
        });
        decided.await.map_err(|error: AppError| error.to_string())?;
        tracing::warn!(
            %feed,
            reason = rejoin.reason.name(),
            operator = %rejoin.operator,
            abandoned = %rejoin.abandoned,
            adopt = %rejoin.adopt,
            archived = rejoin.archived,
            "a feed was joined again"
        );
        self.links.update(feed, |link| {
            link.alarm = None;
            link.verdict = None;
            link.explain.clear();
        });
        Ok(())
    }
}

/// Answers where the caller's feed and the mirror part.
pub(crate) fn ancestor(
    app: &Arc<App>,
    request: &Request<pb::AncestorRequest>,
) -> Result<Response<pb::AncestorReply>, Status> {
    let peer = Peer::of(request)?;
    let (feed, probes) = read_probes(request.get_ref()).map_err(malformed)?;
    let entry = admit(&app.city(), &peer, feed)?;
    let common = tokio::task::block_in_place(|| app.highest_common(feed, probes));
    let common = common.map_err(|error| failed(&error))?;
    let (mirror, incarnation) = (app.store.head(feed), entry.incarnation);
    Ok(Response::new(Ancestor { common, mirror, incarnation }.write(feed)))
}

/// Keeps the ops that a node is about to give up.
pub(crate) async fn archive(
    app: &Arc<App>,
    request: Request<Streaming<pb::ForkEvidence>>,
) -> Result<Response<pb::ArchiveReply>, Status> {
    let peer = Peer::of(&request)?;
    let mut messages = request.into_inner();
    let mut next = async || {
        let message = tokio::time::timeout(SILENCE, messages.message()).await;
        let message = message.map_err(|_late| Status::deadline_exceeded("silent"))??;
        let message = message.ok_or_else(|| malformed("the tail has no end"))?;
        Evidence::try_from(message).map_err(malformed)
    };
    let mut part = next().await?;
    let feed = part.feed;
    let entry = admit(&app.city(), &peer, feed)?;
    let on_mirror = app.store.hash_at(feed, part.ancestor.seq).map_err(|error| failed(&error))?;
    if on_mirror != Some(part.ancestor.hash) {
        return Err(Status::failed_precondition(
            "起点不在镜像上 / the mirror has no such ancestor",
        ));
    }
    let about = About {
        ancestor: part.ancestor,
        abandoned: part.abandoned,
        at_ms: clock::now_ms(),
        certificate: peer.fingerprint,
    };
    let refuse = |error: ArchiveError| match error {
        ArchiveError::Store(error) => failed(&error),
        ArchiveError::Busy => Status::unavailable(error.to_string()),
        ArchiveError::Limit => Status::resource_exhausted(error.to_string()),
        ArchiveError::Op(..) | ArchiveError::Other => malformed(error),
    };
    let mut tail = app.archive.begin(feed, about, entry.keys).map_err(refuse)?;
    loop {
        tokio::task::block_in_place(|| tail.take(part.ops)).map_err(refuse)?;
        if part.end {
            break;
        }
        part = next().await?;
        if (part.feed, part.ancestor, part.abandoned) != (feed, about.ancestor, about.abandoned) {
            return Err(malformed(ArchiveError::Other));
        }
    }
    let archived = tail.finish().map_err(refuse)?;
    // It may bring back what was ordered erased.
    app.erase_archive(Some(feed)).map_err(|error| failed(&error))?;
    tracing::warn!(%feed, ancestor = %about.ancestor, %archived, "a tail was archived");
    Ok(Response::new(pb::ArchiveReply { archived: Some(write_head(feed, archived)) }))
}

/// A person at the node decided: the feed goes on from the mirror.
pub(crate) async fn rejoin(
    app: &Arc<App>,
    request: Request<pb::RejoinRequest>,
) -> Result<Response<pb::RejoinReply>, Status> {
    let peer = Peer::of(&request)?;
    let wanted = Rejoin::try_from(request.get_ref()).map_err(malformed)?;
    let feed = wanted.feed;
    let entry = admit(&app.city(), &peer, feed)?;
    let checked = tokio::task::block_in_place(|| app.check_rejoin(&wanted, &entry));
    let done = match checked {
        Ok(rejoin) => app.rejoin(&rejoin).await,
        Err(why) => Err(why),
    };
    if let Err(why) = &done {
        tracing::warn!(%feed, %why, "a rejoin is refused");
    }
    Ok(Response::new(pb::RejoinReply {
        accepted: done.is_ok(),
        mirror_head: Some(write_head(feed, app.store.head(feed))),
        explain: done.err().unwrap_or_default(),
    }))
}
