//! What happens to a district in time: suspension, another code or name, its end in another district, a new node.

use jiff::civil::Date;
use liandong_core::{
    directory::Refusal,
    id::{DistrictCode, FeedId, Head},
    limit,
};
use liandong_server::{admin::AdminError, command::answer, output::Output};
use liandong_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    command::{ACTOR, new_token, refused},
};

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// 暂停一个区的接入 / Refuse a district's node
    Suspend {
        /// 行政区划代码 / Area code
        code: DistrictCode,
        /// 原因，会告知该区 / Why, shown to the district
        #[arg(long)]
        reason: String,
        /// 同时在全市目录中隐藏其记录；不加则保留现状并注明 / Hide its records too, instead of freezing them
        #[arg(long)]
        hide: bool,
    },
    /// 恢复接入 / Take it again
    Resume {
        /// 行政区划代码 / Area code
        code: DistrictCode,
    },
    /// 更改代码或名称，如撤县设区 / Another code or name from a day on; feed and records stay
    Rename {
        /// 原代码 / Area code so far
        code: DistrictCode,
        /// 新代码 / New area code
        #[arg(long = "code")]
        new: DistrictCode,
        /// 新名称 / New name
        #[arg(long)]
        name: String,
        /// 生效日期 / First day
        #[arg(long)]
        effective: Date,
    },
    /// 并入另一个区 / A district ends in another one
    Merge {
        /// 被撤并的区 / Area code of the one that ends
        code: DistrictCode,
        /// 并入的区 / Area code of the other
        #[arg(long)]
        into: DistrictCode,
        /// 生效日期 / First day
        #[arg(long)]
        effective: Date,
    },
    /// 更换节点：为同一数据流签发一次性接入口令 / A token for a new node that goes on with the same feed
    Replace {
        /// 行政区划代码 / Area code
        code: DistrictCode,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
        /// 口令有效期（秒）/ How long the token is good, seconds
        #[arg(long, default_value_t = limit::TOKEN_TTL_SECS)]
        token_ttl_secs: u64,
    },
}

impl App {
    /// Carries out a command.
    pub(crate) async fn change_district(&self, command: Command) -> Result<Value, AdminError> {
        if let Command::Replace { code, reason, token_ttl_secs } = command {
            return self.replace_node(&code, reason, token_ttl_secs).await;
        }
        let code = match &command {
            Command::Rename { new, .. } => new.clone(),
            Command::Suspend { code, .. }
            | Command::Resume { code }
            | Command::Merge { code, .. }
            | Command::Replace { code, .. } => code.clone(),
        };
        let decided = self.decide(ACTOR, |city| {
            let directory = &city.directory;
            Ok(match command {
                Command::Suspend { code, reason, hide } => {
                    directory.suspend(&code, reason, hide)?
                }
                Command::Resume { code } => directory.resume(&code)?,
                Command::Rename { code, new, name, effective } => {
                    directory.rename(&code, &new, &name, effective)?
                }
                Command::Merge { code, into, effective } => {
                    directory.merge(&code, &into, effective)?
                }
                Command::Replace { .. } => Vec::new(),
            })
        });
        decided.await.map_err(refused)?;
        answer(&self.city().directory.districts.get(&code))
    }

    async fn replace_node(
        &self,
        code: &DistrictCode,
        reason: String,
        ttl_secs: u64,
    ) -> Result<Value, AdminError> {
        let (secret, mut token) = new_token(code, ttl_secs)?;
        let feed = self.city().directory.feed_of(code);
        token.feed = Some(feed.ok_or_else(|| refused(Refusal::NoFeed(code.clone())))?);
        token.reason = Some(reason);
        self.decide(ACTOR, |city| Ok(city.directory.add_token(&token)?)).await.map_err(refused)?;
        answer(&self.token_for(secret, &token))
    }

    /// Lets no stream that is open write a feed any more, and returns where the mirror stands when all that was under
    /// way is durable.
    pub(crate) async fn settle(&self, feed: FeedId) -> Result<Head, AppError> {
        let _stale = self.links.take_over(feed);
        let nowhere = Head { seq: u64::MAX, ..Head::EMPTY };
        let mut after = nowhere;
        loop {
            let nothing = self.store.append(feed, after, Vec::new()).await;
            match nothing.map_err(|_closed| StoreError::Closed)? {
                Err(StoreError::Moved { head, .. }) => after = head,
                settled => return Ok(settled?),
            }
        }
    }
}

/// Shows the answer to a command.
pub(crate) fn show(command: &Command, output: Output) {
    match command {
        Command::Suspend { code, hide, .. } => {
            let how =
                if *hide { "记录已隐藏 / hidden" } else { "记录保留现状 / frozen" };
            output.line(&format!("已暂停 / suspended: {code}；{how}"));
        }
        Command::Resume { code } => output.line(&format!("已恢复 / resumed: {code}")),
        Command::Rename { code, new, name, effective } => output.line(&format!(
            "{code} 自 {effective} 起为 {new} {name} / {code} is {new} from {effective} on"
        )),
        Command::Merge { code, into, effective } => output.line(&format!(
            "{code} 自 {effective} 起并入 {into} / {code} is part of {into} from {effective} on"
        )),
        Command::Replace { .. } => {}
    }
}
