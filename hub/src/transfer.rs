//! Records that change hands: answers to what districts say of it, and what the operator does without their word.

use jiff::civil::Date;
use liandong_core::{
    city::{self, Accepted, Cause, City, Offered, Transfer},
    directory,
    id::{DistrictCode, FeedId, Hash, RecordId},
    limit,
    op::{Change, Op},
    record::Record,
};
use liandong_server::{
    admin::AdminError,
    clock,
    command::{self, answer},
    keys,
    output::Output,
};
use liandong_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    command::{ACTOR, refused},
};

/// Ops back from a late edit that are looked through for what it was made against.
const LOOK_BACK_OPS: u64 = 4 * 1024;

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// 列出移交：待接收、待处理、已完成 / Offers, acceptances that wait, transfers that are done
    List,
    /// 显示一项移交 / Show one
    Show {
        /// 移交编号 / Name of the transfer
        id: String,
    },
    /// 由运维确认：双方不一致，或移交方节点已失效 / Commit without the agreement of both sides
    Commit(Commit),
}

/// A commit that the operator answers for.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct Commit {
    /// 移交编号；移交方节点已失效时不填 / Name of the transfer; none when the giving node is dead
    #[arg(required_unless_present = "from")]
    id: Option<String>,
    /// 移交方（节点已失效）/ Area code of the district whose node is dead
    #[arg(long, requires = "to", conflicts_with = "id")]
    from: Option<DistrictCode>,
    /// 接收方 / Area code of the district that takes
    #[arg(long, requires = "from")]
    to: Option<DistrictCode>,
    /// 只移交这些目录；不填则全部 / Only these records; all without
    #[arg(long = "record", requires = "from")]
    records: Vec<RecordId>,
    /// 生效日期；默认今天 / First day; today without
    #[arg(long, requires = "from")]
    effective: Option<Date>,
    /// 理由 / Why
    #[arg(long)]
    override_reason: String,
}

/// Answer of [`Command::List`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Listed {
    /// Offers that nobody accepted yet.
    pub offers: Vec<Offered>,
    /// Acceptances that wait for the operator.
    pub waiting: Vec<Accepted>,
    /// Transfers that are done, oldest first.
    pub done: Vec<Transfer>,
}

fn bad(unreadable: &directory::Unreadable) -> city::Refusal {
    city::Refusal::Bad {
        zh: format!("内容无法识别：{unreadable}"),
        en: format!("it cannot be read: {unreadable}"),
    }
}

/// The answer to an offer or a seal: the hub tells it to all.
///
/// # Errors
/// It cannot be read, or does not agree with what is there.
pub fn answer_offer(city: &City, _store: &Store, op: &Op) -> Result<Vec<Change>, AppError> {
    let offered = Offered::of(op).map_err(|unreadable| bad(&unreadable))?;
    Ok(city.tell_offer(&offered)?)
}

/// The answer to an acceptance: the commit, or a note for the operator.
///
/// # Errors
/// It cannot be read.
pub fn answer_accept(city: &City, _store: &Store, op: &Op) -> Result<Vec<Change>, AppError> {
    Ok(city.answer_accept(op).map_err(|unreadable| bad(&unreadable))?)
}

/// The answer to a late edit: its new owner is asked for it.
///
/// # Errors
/// The store fails.
pub fn answer_late(city: &City, store: &Store, op: &Op) -> Result<Vec<Change>, AppError> {
    let record = RecordId::try_from(op.subject.as_ref())
        .map_err(|_id| city::Refusal::NotFound(op.feed.to_string()))?;
    let current = store.state(record)?;
    let seen = match op.base {
        Some(base) => content_of(store, op.feed, op.seq, base)?,
        None => None,
    };
    let seen = match seen {
        // A late edit that begins a record was made against nothing.
        None if op.base.is_some() => store.entry(record)?.and_then(|entry| entry.record),
        seen => seen,
    };
    Ok(city.answer_late(op, record, seen.as_ref(), current.as_ref()))
}

/// The content of an earlier op of the feed.
fn content_of(
    store: &Store,
    feed: FeedId,
    before: u64,
    wanted: Hash,
) -> Result<Option<Record>, StoreError> {
    let mut end = before.saturating_sub(1);
    let lowest = end.saturating_sub(LOOK_BACK_OPS);
    while end > lowest {
        let after = end.saturating_sub(limit::BATCH_OPS_MAX as u64);
        let count = usize::try_from(end - after).unwrap_or(usize::MAX);
        let ops = store.ops(feed, after, count, usize::MAX)?;
        if let Some(op) = ops.iter().find(|op| op.hash == wanted) {
            return Ok(Record::from_bytes(&op.signed.payload).ok());
        }
        end = after;
    }
    Ok(None)
}

impl App {
    /// Carries out a command about transfers.
    pub(crate) async fn transfer(&self, command: Command) -> Result<Value, AdminError> {
        let all = self.transfers();
        match command {
            Command::List => answer(&all),
            Command::Show { id } => {
                let known = |name: &String| name.eq_ignore_ascii_case(&id);
                let one = Listed {
                    offers: all.offers.into_iter().filter(|one| known(&one.transfer)).collect(),
                    waiting: all
                        .waiting
                        .into_iter()
                        .filter(|one| known(&one.accept.transfer))
                        .collect(),
                    done: all.done.into_iter().filter(|one| known(&one.id)).collect(),
                };
                if one.offers.is_empty() && one.waiting.is_empty() && one.done.is_empty() {
                    return Err(refused(city::Refusal::NotFound(id)));
                }
                answer(&one)
            }
            Command::Commit(commit) => {
                let offer = self.offer_of(&commit)?;
                let taker = self.store.head(offer.to_feed);
                let reason = commit.override_reason;
                let decided = self
                    .decide(ACTOR, |city| Ok(city.override_transfer(&offer, taker, &reason)?))
                    .await;
                decided.map_err(refused)?;
                let city = self.city();
                let mut done = city.authority.transfers().iter();
                answer(&done.find(|transfer| transfer.id == offer.transfer))
            }
        }
    }

    fn transfers(&self) -> Listed {
        let city = self.city();
        Listed {
            offers: city.authority.offers().cloned().collect(),
            waiting: city.authority.accepts().cloned().collect(),
            done: city.authority.transfers().to_vec(),
        }
    }

    /// The offer to be committed; for a dead node the one that it would have made.
    fn offer_of(&self, commit: &Commit) -> Result<Offered, AdminError> {
        let city = self.city();
        if let Some(id) = &commit.id {
            let offer = city.authority.offer(&id.to_uppercase()).cloned();
            return offer.ok_or_else(|| refused(city::Refusal::NotFound(id.clone())));
        }
        let feed = |code: &Option<DistrictCode>| {
            let code = code.as_ref()?;
            city.directory.feed_of(code)
        };
        let missing = |code: &Option<DistrictCode>| {
            let code = code.as_ref().map(ToString::to_string).unwrap_or_default();
            refused(city::Refusal::NotFound(code))
        };
        let from_feed = feed(&commit.from).ok_or_else(|| missing(&commit.from))?;
        let to_feed = feed(&commit.to).ok_or_else(|| missing(&commit.to))?;
        let at = self.store.head(from_feed);
        let records = commit.records.iter().copied().collect();
        Ok(Offered {
            transfer: keys::new_ulid().to_string(),
            from_feed,
            at,
            to_feed,
            records: Some(records).filter(|_| !commit.records.is_empty()),
            effective: commit.effective.unwrap_or_else(clock::today_shanghai),
            cause: Cause { feed: from_feed, seq: at.seq },
        })
    }
}

fn count(records: Option<usize>) -> String {
    records.map_or_else(|| "全部 all".to_owned(), |count| count.to_string())
}

/// Shows the answer to a command.
pub(crate) fn show(command: &Command, value: Value, output: Output) -> Result<(), AdminError> {
    if let Command::Commit(_) = command {
        let done: Transfer = command::read(value)?;
        output.line(&format!("已移交 / committed: {} → {}", done.id, done.to_district));
        return Ok(());
    }
    let listed: Listed = command::read(value)?;
    let mut rows = Vec::new();
    let short = |feed: FeedId| feed.to_string().chars().take(8).collect::<String>();
    for one in &listed.offers {
        let records = count(one.records.as_ref().map(std::collections::BTreeSet::len));
        let (from, to) = (short(one.from_feed), short(one.to_feed));
        rows.push(vec![one.transfer.clone(), "待接收 offered".to_owned(), from, to, records]);
    }
    for one in &listed.waiting {
        let records = count(one.accept.records.as_ref().map(std::collections::BTreeSet::len));
        let (from, to) = (short(one.accept.from_feed), short(one.to_feed));
        rows.push(vec![one.accept.transfer.clone(), one.problem.clone(), from, to, records]);
    }
    for one in &listed.done {
        let records = count(one.records.as_ref().map(std::collections::BTreeSet::len));
        let (from, to) = (short(one.from_feed), one.to_district.to_string());
        rows.push(vec![one.id.clone(), format!("已完成 {}", one.effective), from, to, records]);
    }
    output.table(&["编号 Id", "状态 State", "移交方 From", "接收方 To", "目录 Records"], &rows);
    Ok(())
}
