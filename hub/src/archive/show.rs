//! The archive as people at the hub see it.

use liandong_core::{
    city::City,
    id::{DistrictCode, FeedId, Hash, Head, RecordId},
    limit,
    op::Op,
    record::Record,
};
use liandong_server::{
    admin::AdminError,
    clock,
    command::{self, answer},
    output::{Exit, Explain as _, Output},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::About;
use crate::app::{App, AppError};

/// What people ask the archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveCommand {
    /// All tails.
    List,
    /// The tails of one feed with their ops.
    Show {
        /// Feed or area code.
        feed: String,
    },
}

/// A tail that a node gave up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShownTail {
    /// Its feed.
    pub feed: FeedId,
    /// The district's name.
    pub district: String,
    /// Last op that is on the mirror too.
    pub ancestor: Head,
    /// Last op of the tail.
    pub abandoned: Head,
    /// Whether all of it is here.
    pub whole: bool,
    /// When it came, milliseconds since 1970.
    pub at_ms: i64,
    /// Certificate of the node that sent it.
    pub certificate: Hash,
    /// Why it was given up; absent while nobody has decided.
    pub reason: Option<String>,
    /// Who decided at the node.
    pub operator: Option<String>,
    /// The ops, when they were asked for.
    pub ops: Vec<ShownOp>,
}

/// One op of a tail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShownOp {
    /// Position in the tail's feed.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Type.
    pub kind: String,
    /// Who acted.
    pub actor: String,
    /// By the author's clock, milliseconds since 1970.
    pub at_ms: i64,
    /// The record it is about.
    pub record: Option<RecordId>,
    /// The record's title.
    pub title: Option<String>,
}

impl From<Op> for ShownOp {
    fn from(op: Op) -> Self {
        Self {
            seq: op.seq,
            hash: op.hash,
            kind: op.kind.name().to_owned(),
            at_ms: op.claimed_at_ms,
            record: RecordId::try_from(op.subject.as_ref()).ok(),
            title: Record::from_bytes(&op.signed.payload).ok().map(|record| record.title),
            actor: op.actor,
        }
    }
}

impl App {
    /// Answers a question about the archive.
    ///
    /// # Errors
    /// The district is unknown; the archive cannot be read.
    pub(crate) fn archive_command(&self, command: &ArchiveCommand) -> Result<Value, AdminError> {
        let city = self.city();
        let (feeds, with_ops) = match command {
            ArchiveCommand::List => (self.archive.feeds(), false),
            ArchiveCommand::Show { feed } => (vec![feed_of(&city, feed)?], true),
        };
        let mut shown = Vec::new();
        for feed in feeds {
            for about in self.archive.tails(feed) {
                let tail = self.shown_tail(&city, feed, &about, with_ops);
                shown.push(tail.map_err(|error| error.explain())?);
            }
        }
        answer(&shown)
    }

    fn shown_tail(
        &self,
        city: &City,
        feed: FeedId,
        about: &About,
        with_ops: bool,
    ) -> Result<ShownTail, AppError> {
        let journal = self.archive.read(feed, about)?;
        let most = if with_ops { limit::PAGE_RECORDS_MAX } else { 0 };
        let ops = journal.read(about.ancestor.seq, most, usize::MAX)?;
        let decided = city
            .rejoins
            .iter()
            .find(|rejoin| rejoin.feed == feed && rejoin.abandoned == about.abandoned);
        let district = city.directory.district_of(feed);
        Ok(ShownTail {
            feed,
            district: district.map(|district| district.name.clone()).unwrap_or_default(),
            ancestor: about.ancestor,
            abandoned: about.abandoned,
            whole: journal.head() == about.abandoned,
            at_ms: about.at_ms,
            certificate: about.certificate,
            reason: decided.map(|rejoin| rejoin.reason.name().to_owned()),
            operator: decided.map(|rejoin| rejoin.operator.clone()),
            ops: ops.into_iter().map(ShownOp::from).collect(),
        })
    }
}

fn feed_of(city: &City, text: &str) -> Result<FeedId, AdminError> {
    let by_code = || city.directory.feed_of(&text.parse::<DistrictCode>().ok()?);
    text.parse().ok().or_else(by_code).ok_or_else(|| {
        AdminError::new(
            "no_feed",
            Exit::Error,
            format!("没有数据流或区 {text}"),
            format!("there is no feed or district {text}"),
        )
    })
}

/// Prints an answer about the archive.
///
/// # Errors
/// The answer is of another version.
pub(crate) fn print(answer: Value, output: Output) -> Result<(), AdminError> {
    let tails: Vec<ShownTail> = command::read(answer)?;
    let rows: Vec<Vec<String>> = tails
        .iter()
        .map(|tail| {
            vec![
                tail.district.clone(),
                tail.ancestor.to_string(),
                tail.abandoned.to_string(),
                if tail.whole { "完整 whole" } else { "未完 partial" }.to_owned(),
                clock::format_shanghai(tail.at_ms),
                tail.reason.clone().unwrap_or_else(|| "待定 open".to_owned()),
                tail.operator.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let header = [
        "区 District",
        "共同 Common",
        "放弃 Given up",
        "",
        "归档 Archived",
        "原因 Reason",
        "经办 By",
    ];
    output.table(&header, &rows);
    for tail in tails.iter().filter(|tail| !tail.ops.is_empty()) {
        output.line(&format!("{} {}", tail.district, tail.abandoned));
        let rows: Vec<Vec<String>> = tail
            .ops
            .iter()
            .map(|op| {
                let record = op.record.map(|record| record.to_string());
                let what = op.title.clone().or(record).unwrap_or_default();
                let at = clock::format_shanghai(op.at_ms);
                vec![op.seq.to_string(), op.kind.clone(), what, op.actor.clone(), at]
            })
            .collect();
        output.table(&["序号", "类型 Type", "目录 Record", "账号 Actor", "时间 At"], &rows);
    }
    Ok(())
}
