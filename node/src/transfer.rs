//! Records that change hands: what this node offers and takes over, and what it may write no more.
//!
//! What a node gave away it refuses to change from its own word on, whether the hub was reached or not. What it takes
//! over it can read at once: the feeds that hold the history of those records are fetched from the hub and kept beside
//! the own one, verified, and never written to.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::civil::Date;
use liandong_core::{
    city::{Accept, City, Offer, Offered, Seal, Transfer},
    id::{DistrictCode, FeedId, RecordId},
    limit,
    op::{Change, Op, OpType},
    record::Visibility,
};
use liandong_server::{
    clock, command, keys,
    output::{Exit, Failure, Output},
    retry::{Retry, RetryLimits},
};
use liandong_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    rejoin::{Hub, check},
};

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// 移交目录给另一个区 / Give records to another district
    Offer {
        /// 接收方的行政区划代码 / Area code of the district that takes
        #[arg(long)]
        to: DistrictCode,
        /// 要移交的目录 / Records to give
        #[arg(long = "record", required_unless_present = "all")]
        records: Vec<RecordId>,
        /// 全部移交并封存本区数据流，不可撤回 / All there is; the feed is sealed for good
        #[arg(long, conflicts_with = "records")]
        all: bool,
        /// 生效日期；默认今天 / First day; today without
        #[arg(long)]
        effective: Option<Date>,
    },
    /// 接收移交 / Take over what is offered
    Accept {
        /// 移交编号 / Name of the transfer
        id: String,
    },
    /// 撤回尚未接收的移交 / Take an offer back that nobody accepted
    Cancel {
        /// 移交编号 / Name of the transfer
        id: String,
    },
    /// 列出与本区有关的移交 / Transfers from and to this district
    List,
    /// 显示一项移交 / Show one
    Show {
        /// 移交编号 / Name of the transfer
        id: String,
    },
}

/// A transfer as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name.
    pub id: String,
    /// `offered`, `waiting` for the hub's operator, or `done`.
    pub state: String,
    /// District that gives.
    pub from: String,
    /// District that takes.
    pub to: String,
    /// Number of records; all that the giving district has, when absent.
    pub records: Option<usize>,
    /// First day.
    pub effective: Date,
    /// Why it waits, or why the hub did it by itself.
    pub note: Option<String>,
}

/// What this node has given away or offered, by its own word or the city's.
pub(crate) struct Given {
    own: FeedId,
    city: Arc<City>,
    sealed: bool,
    offered: BTreeSet<RecordId>,
}

impl Given {
    /// Refuses a change of a record that is not, or soon not, this district's.
    pub(crate) fn check(&self, id: RecordId) -> Result<(), Failure> {
        let owner = self.city.owner(id);
        if self.sealed {
            return Err(refused(
                "sealed",
                "本区数据流已封存，全部目录已移交，不再接受修改",
                "this district's feed is sealed; everything was given to another district",
            ));
        }
        if owner != self.own {
            let name = name_of(&self.city, owner);
            return Err(refused(
                "given_away",
                &format!("该目录现由{name}管理，请联系对方修改"),
                &format!("the record belongs to {name} now; ask there for a change"),
            ));
        }
        if self.offered.contains(&id) {
            return Err(refused(
                "offered",
                "该目录正在移交，暂不接受修改；可先撤回移交",
                "the record is offered to another district; take the offer back first",
            ));
        }
        Ok(())
    }
}

fn refused(code: &str, zh: &str, en: &str) -> Failure {
    Failure::new(code, Exit::Conflict, zh, en)
}

fn name_of(city: &City, feed: FeedId) -> String {
    let district = city.directory.district_of(feed);
    district.map_or_else(|| feed.to_string(), |d| format!("{}（{}）", d.name, d.code))
}

impl App {
    /// What may not be written any more. Own words that the hub has not heard count.
    pub(crate) fn given(&self) -> Result<Given, AppError> {
        let (own, city) = (self.own.feed(), self.store.city());
        let mut offered: Vec<Offered> =
            city.authority.offers().filter(|offer| offer.from_feed == own).cloned().collect();
        for letter in self.store.letters()?.iter().filter(|letter| letter.feed == own) {
            let ops = self.store.ops(own, letter.seq - 1, 1, limit::BATCH_BYTES_MAX)?;
            let words = ops.iter().filter(|op| is_offer(op));
            for word in words.filter_map(|op| Offered::of(op).ok()) {
                offered.retain(|known| known.transfer != word.transfer);
                offered.push(word);
            }
        }
        let sealed = city.authority.sealed(own) || offered.iter().any(|o| o.records.is_none());
        let offered = offered.into_iter().filter_map(|offer| offer.records).flatten().collect();
        Ok(Given { own, city, sealed, offered })
    }

    /// Carries out a command about transfers.
    pub(crate) async fn transfer(&self, command: Command) -> Result<Value, AppError> {
        let answer = match command {
            Command::Offer { to, records, all, effective } => {
                let effective = effective.unwrap_or_else(clock::today_shanghai);
                let records = records.into_iter().collect();
                serde_json::to_value(self.offer(&to, records, all, effective).await?)
            }
            Command::Accept { id } => serde_json::to_value(self.accept_transfer(&id).await?),
            Command::Cancel { id } => serde_json::to_value(self.cancel(&id).await?),
            Command::List => serde_json::to_value(self.transfers()),
            Command::Show { id } => serde_json::to_value(self.find_transfer(&id)?),
        };
        Ok(answer.unwrap_or_default())
    }

    async fn offer(
        &self,
        to: &DistrictCode,
        records: BTreeSet<RecordId>,
        all: bool,
        effective: Date,
    ) -> Result<Value, AppError> {
        let mut turn = self.turn().await?;
        let given = self.given()?;
        let taker = given.city.directory.current(to).map(|district| &district.code);
        let taker = taker.and_then(|code| given.city.directory.feed_of(code));
        let taker = taker.filter(|taker| *taker != given.own).ok_or_else(|| {
            refused(
                "no_taker",
                &format!("没有代码为 {to} 且已接入的其他区"),
                &format!("there is no other district {to} with a node"),
            )
        })?;
        for id in &records {
            given.check(*id)?;
            let known = self.store.state(*id)?;
            known.ok_or(liandong_core::decide::Refusal::NotFound(*id))?;
        }
        if given.sealed {
            given.check(RecordId::new(given.own, keys::new_ulid()))?;
        }
        if records.len() > limit::TRANSFER_RECORDS_MAX {
            let max = limit::TRANSFER_RECORDS_MAX;
            return Err(Failure::new(
                "too_many",
                Exit::Usage,
                format!("一次最多移交 {max} 条目录"),
                format!("at most {max} records in one transfer"),
            )
            .into());
        }
        let transfer = keys::new_ulid().to_string();
        let (kind, payload) = if all {
            let seal = Seal { transfer: transfer.clone(), successor_feed: taker, effective };
            (OpType::FeedSeal, serde_json::to_vec(&seal))
        } else {
            let offer = Offer { transfer: transfer.clone(), to_feed: taker, records, effective };
            (OpType::TransferOffer, serde_json::to_vec(&offer))
        };
        turn.write(vec![word(kind, payload.unwrap_or_default())], || keys::stamp("cli")).await?;
        Ok(serde_json::json!({ "id": transfer }))
    }

    async fn cancel(&self, id: &str) -> Result<Value, AppError> {
        let (own, city) = (self.own.feed(), self.store.city());
        let offer = city.authority.offer(&id.to_uppercase());
        let offer = offer.filter(|offer| offer.from_feed == own && offer.records.is_some());
        let offer = offer.ok_or_else(|| no_transfer(id))?;
        let (transfer, to_feed) = (offer.transfer.clone(), offer.to_feed);
        let (records, effective) = (BTreeSet::new(), offer.effective);
        let nothing = Offer { transfer: transfer.clone(), to_feed, records, effective };
        let payload = serde_json::to_vec(&nothing).unwrap_or_default();
        let mut turn = self.turn().await?;
        let change = word(OpType::TransferOffer, payload);
        turn.write(vec![change], || keys::stamp("cli")).await?;
        Ok(serde_json::json!({ "id": transfer }))
    }

    async fn accept_transfer(&self, id: &str) -> Result<Value, AppError> {
        let (own, city) = (self.own.feed(), self.store.city());
        let offer = city.authority.offer(&id.to_uppercase());
        let offer = offer.filter(|offer| offer.to_feed == own).ok_or_else(|| no_transfer(id))?;
        // Nothing is taken over that cannot be read and verified.
        self.fetch_sources().await?;
        if self.store.hash_at(offer.from_feed, offer.at.seq)? != Some(offer.at.hash) {
            return Err(AppError::Refused(
                "中心给出的数据流与移交所述不符 / the feed is not the one that was offered"
                    .to_owned(),
            ));
        }
        let accept = Accept {
            transfer: offer.transfer.clone(),
            from_feed: offer.from_feed,
            from_head: offer.at,
            records: offer.records.clone(),
        };
        let payload = serde_json::to_vec(&accept).unwrap_or_default();
        let mut turn = self.turn().await?;
        self.given()?.check(RecordId::new(own, keys::new_ulid()))?;
        let change = word(OpType::TransferAccept, payload);
        turn.write(vec![change], || keys::stamp("cli")).await?;
        Ok(serde_json::json!({ "id": accept.transfer }))
    }

    fn transfers(&self) -> Vec<Shown> {
        let (own, city) = (self.own.feed(), self.store.city());
        let concerns = |from: FeedId, to: FeedId| from == own || to == own;
        let mut shown = Vec::new();
        for one in city.authority.offers().filter(|one| concerns(one.from_feed, one.to_feed)) {
            let id = &one.transfer;
            let waits = city.authority.accepts().find(|accept| accept.accept.transfer == *id);
            shown.push(Shown {
                id: id.clone(),
                state: if waits.is_some() { "waiting" } else { "offered" }.to_owned(),
                from: name_of(&city, one.from_feed),
                to: name_of(&city, one.to_feed),
                records: one.records.as_ref().map(BTreeSet::len),
                effective: one.effective,
                note: waits.map(|waits| waits.problem.clone()),
            });
        }
        let done = city.authority.transfers().iter();
        shown.extend(done.filter(|one| concerns(one.from_feed, one.to_feed)).map(
            |one: &Transfer| Shown {
                id: one.id.clone(),
                state: "done".to_owned(),
                from: name_of(&city, one.from_feed),
                to: name_of(&city, one.to_feed),
                records: one.records.as_ref().map(BTreeSet::len),
                effective: one.effective,
                note: one.override_reason.clone(),
            },
        ));
        shown
    }

    fn find_transfer(&self, id: &str) -> Result<Shown, AppError> {
        let found = self.transfers().into_iter().find(|one| one.id.eq_ignore_ascii_case(id));
        found.ok_or_else(|| no_transfer(id).into())
    }

    /// Brings the feeds here that hold the history of what this district owns or was offered.
    async fn fetch_sources(&self) -> Result<(), AppError> {
        let city = self.store.city();
        let wanted = city.authority.sources(self.own.feed());
        let missing: Vec<_> =
            wanted.into_iter().filter(|(feed, seq)| self.store.head(*feed).seq < *seq).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut hub = Hub::connect(self).await?;
        for (feed, seq) in missing {
            self.fetch_feed(&mut hub, feed, seq).await?;
            tracing::info!(%feed, seq, "the history of records that were taken over is here");
        }
        Ok(())
    }

    /// Brings another feed up to a position of the hub's mirror, verified.
    pub(crate) async fn fetch_feed(
        &self,
        hub: &mut Hub,
        feed: FeedId,
        to: u64,
    ) -> Result<(), AppError> {
        self.store.open_feed(feed)?;
        let mut keys = self.keys().remove(&feed).unwrap_or_default();
        let mut hub_keys = self.hub_keys();
        let mut head = self.store.head(feed);
        let take = |ops: Vec<liandong_core::op::SignedOp>| {
            let (after, mut verified) = (head, Vec::with_capacity(ops.len()));
            for signed in ops {
                let op = Op::parse(signed)?;
                if feed == self.hub_feed {
                    op.follows(feed, head)?;
                    hub_keys.take(&op)?;
                } else {
                    check(&op, feed, head, &mut keys)?;
                }
                head = op.head();
                verified.push(op);
            }
            let appended = self.store.append(feed, after, verified);
            let appended = tokio::task::block_in_place(|| appended.blocking_recv());
            head = appended.map_err(|_closed| StoreError::Closed)??;
            Ok(())
        };
        hub.fetch(feed, self.store.head(feed).seq, to, take).await?;
        self.store.applied(feed, self.store.head(feed).seq).await;
        Ok(())
    }
}

fn is_offer(op: &Op) -> bool {
    matches!(op.kind, OpType::TransferOffer | OpType::FeedSeal)
}

fn word(kind: OpType, payload: Vec<u8>) -> Change {
    Change { kind, subject: Vec::new(), base: None, payload, visibility: Visibility::Shared }
}

fn no_transfer(id: &str) -> Failure {
    Failure::new(
        "not_found",
        Exit::Error,
        format!("没有与本区有关的移交 {id}"),
        format!("there is no transfer {id} that concerns this district"),
    )
    .remedy("运行 liandong-node transfer list 查看", "see liandong-node transfer list")
}

/// Fetches what is missing whenever the city says that more is this district's.
pub(crate) async fn run(app: Arc<App>) {
    let mut city = app.store.watch_city();
    let limits = RetryLimits::from(&app.config.retry);
    let mut retry = Retry::new(limits);
    loop {
        city.borrow_and_update();
        let fetched = app.fetch_sources().await;
        match fetched {
            Ok(()) => {
                retry = Retry::new(limits);
                if city.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what was taken over cannot be fetched yet");
                retry.pause(None, Duration::ZERO).await;
            }
        }
    }
}

/// Shows the answer to a command.
pub(crate) fn show(command: &Command, answer: Value, output: Output) -> Result<(), AppError> {
    let id = |answer: &Value| answer["id"].as_str().unwrap_or_default().to_owned();
    match command {
        Command::Offer { all, .. } => {
            let id = id(&answer);
            output.line(&format!("移交编号 / transfer: {id}"));
            if *all {
                output.line("本区数据流已封存 / this district's feed is sealed");
            }
            output
                .line(&format!("接收方运行 / the taker runs: liandong-node transfer accept {id}"));
        }
        Command::Accept { .. } => output
            .line(&format!("已接收，等待中心确认 / accepted; the hub confirms: {}", id(&answer))),
        Command::Cancel { .. } => {
            output.line(&format!("已撤回 / taken back: {}", id(&answer)));
        }
        Command::List | Command::Show { .. } => {
            let shown: Vec<Shown> = match command {
                Command::List => command::read(answer)?,
                _ => vec![command::read(answer)?],
            };
            let rows: Vec<Vec<String>> = shown
                .into_iter()
                .map(|one| {
                    let records = one.records.map_or("全部 all".to_owned(), |n| n.to_string());
                    let note = one.note.unwrap_or_default();
                    let effective = one.effective.to_string();
                    vec![one.id, one.state, one.from, one.to, records, effective, note]
                })
                .collect();
            let header =
                ["编号 Id", "状态 State", "移交方 From", "接收方 To", "目录", "生效", "说明"];
            output.table(&header, &rows);
        }
    }
    Ok(())
}
