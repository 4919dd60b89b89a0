//! The recovery as people at the hub see it, and their word on it.

use clap::Subcommand;
use liandong_core::{
    city::City,
    directory::Refusal,
    id::{DistrictCode, FeedId, Head},
    limit,
};
use liandong_server::{
    admin::AdminError,
    clock,
    command::{answer, read},
    output::{Exit, Explain as _, Failure, Output},
};
use liandong_store::{Store, StoreError, journal::Journal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reason, Recovered, Recovery, State};
use crate::app::{App, AppError};

/// `liandong-hub recover …`
#[derive(Debug, Clone, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoverCommand {
    /// 恢复进度，或上次恢复的结果 / How far the recovery is, or what the last one brought back
    Status,
    /// 结束恢复，不再等待其余节点 / End the recovery without waiting for the rest
    Finish {
        /// 确认不再等待 / Agree
        #[arg(long)]
        yes: bool,
        /// 各节点的镜像分叉时，采用此区的镜像 / Where mirrors diverge: take that of this district
        #[arg(long)]
        take: Option<DistrictCode>,
    },
}

/// A feed that the recovered directory knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Voice {
    /// Area code.
    pub code: Option<DistrictCode>,
    /// District.
    pub name: String,
    /// Its feed.
    pub feed: FeedId,
    /// When its node spoke; absent when it has not.
    pub spoke_ms: Option<i64>,
    /// Ops the node has of its own feed.
    pub ops: u64,
}

/// A mirror that diverges from the hub's feed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForkShown {
    /// Feed of the node.
    pub feed: FeedId,
    /// District.
    pub name: String,
    /// Last op in common.
    pub common: Head,
    /// Its last op.
    pub head: Head,
}

/// A recovery under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recovering {
    /// Why.
    pub reason: Reason,
    /// When it began, milliseconds since 1970.
    pub began_ms: i64,
    /// Where the hub's journal ended before.
    pub base: Head,
    /// How far the hub's feed came back.
    pub found: Head,
    /// Ops whose content no node had yet.
    pub withheld: Vec<u64>,
    /// The feeds of the recovered directory.
    pub voices: Vec<Voice>,
}

/// Answer of [`RecoverCommand::Status`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecoveryState {
    /// The one under way.
    pub recovering: Option<Recovering>,
    /// What the last one brought back.
    pub last: Option<Recovered>,
    /// Mirrors that are kept aside.
    pub forks: Vec<ForkShown>,
}

/// Appends what one piece has beyond another, up to a position.
fn copy(from: &Journal, to: &mut Journal, last: u64) -> Result<(), StoreError> {
    loop {
        let at = to.head().seq;
        let mut ops = from.read(at, limit::BATCH_OPS_MAX, limit::BATCH_BYTES_MAX)?;
        ops.retain(|op| op.seq <= last);
        if ops.is_empty() {
            return Ok(());
        }
        to.append_durably(&ops)?;
    }
}

fn name_of(city: &City, feed: FeedId) -> (Option<DistrictCode>, String) {
    let district = city.directory.district_of(feed);
    let code = district.map(|district| district.code.clone());
    (code, district.map(|district| district.name.clone()).unwrap_or_default())
}

impl Recovery {
    fn shown(&self, store: &Store) -> Result<RecoveryState, StoreError> {
        let last = self.last();
        let state = self.state.lock();
        let mut city = City::clone(&store.city());
        let mut recovering = None;
        if let Some(under) = &state.under {
            city = self.city(under, store)?;
            let voice = |feed: FeedId| {
                let (code, name) = name_of(&city, feed);
                let spoken = under.notes.spoken.get(&feed);
                let spoke_ms = spoken.map(|spoken| spoken.at_ms);
                Voice {
                    code,
                    name,
                    feed,
                    spoke_ms,
                    ops: spoken.map_or(0, |spoken| spoken.feed.seq),
                }
            };
            recovering = Some(Recovering {
                reason: under.notes.reason,
                began_ms: under.notes.began_ms,
                base: under.notes.base,
                found: under.tail.head(),
                withheld: under.withheld.iter().copied().collect(),
                voices: city.directory.feeds.keys().map(|feed| voice(*feed)).collect(),
            });
        }
        let forks = state.forks.iter().map(|(feed, (common, head))| {
            let name = name_of(&city, *feed).1;
            ForkShown { feed: *feed, name, common: *common, head: *head }
        });
        let forks = forks.collect();
        Ok(RecoveryState { recovering, last, forks })
    }

    /// One line for the status of the hub while it recovers.
    pub(crate) fn line(&self) -> Option<String> {
        let state = self.state.lock();
        let under = state.under.as_ref()?;
        Some(format!(
            "中心正在恢复：已取回自身数据流至 {found}，{count} 个节点已应答 / \
             the hub is recovering: its own feed is back up to {found}, {count} nodes have spoken",
            found = under.tail.head(),
            count = under.notes.spoken.len()
        ))
    }

    /// Makes a mirror that diverges the tail; the one before is kept aside.
    pub(super) fn take_fork(&self, from: FeedId) -> Result<(), AppError> {
        let mut state = self.state.lock();
        let State { under, forks } = &mut *state;
        let under = under.as_mut().ok_or(AppError::NotRecovering)?;
        let fork = forks.get(&from).filter(|(common, _)| common.seq >= under.notes.base.seq);
        let (common, _) = *fork.ok_or(AppError::Refused(Refusal::UnknownFeed(from)))?;
        let name = Self::fork_name(from, common);
        let fork = self.open_piece(&name, common)?;
        let mut chosen = self.open_piece("chosen", under.notes.base)?;
        copy(&under.tail, &mut chosen, common.seq)?;
        copy(&fork, &mut chosen, u64::MAX)?;
        let pieces = self.pieces();
        let moved = |from: &str, to: &str| {
            let path = pieces.join(from);
            std::fs::rename(&path, pieces.join(to)).map_err(StoreError::io(path))
        };
        moved("tail", &format!("left-{}", under.tail.head()))?;
        moved("chosen", "tail")?;
        moved(&name, &format!("taken-{name}"))?;
        forks.remove(&from);
        let notes = under.notes.clone();
        drop(state);
        Ok(self.resume(notes)?)
    }
}

impl App {
    /// Runs a command about the recovery.
    ///
    /// # Errors
    /// There is no recovery; not everyone has spoken and nobody agreed; `Store`, `Write`.
    pub(crate) async fn recover(&self, command: RecoverCommand) -> Result<Value, AdminError> {
        let explained = |error: AppError| error.explain();
        let shown = || tokio::task::block_in_place(|| self.recovery.shown(&self.store));
        let RecoverCommand::Finish { yes, take } = command else {
            return answer(&shown().map_err(|error| explained(error.into()))?);
        };
        if !self.recovery.is_on() {
            return Err(AppError::NotRecovering.explain());
        }
        if let Some(code) = take {
            let state = shown().map_err(|error| explained(error.into()))?;
            let voices = state.recovering.iter().flat_map(|recovering| &recovering.voices);
            let of_code = voices.into_iter().find(|voice| voice.code.as_ref() == Some(&code));
            let feed = of_code.map(|voice| voice.feed);
            let feed = feed.ok_or_else(|| explained(Refusal::NoDistrict(code).into()))?;
            self.recovery.take_fork(feed).map_err(explained)?;
        }
        let ready = tokio::task::block_in_place(|| {
            self.recovery.ready(&self.store, clock::now_ms() + limit::RECOVERY_QUIET_MS)
        });
        if !yes && !ready.map_err(|error| explained(error.into()))? {
            return Err(not_everyone());
        }
        answer(&self.finish_recovery("cli").await.map_err(explained)?)
    }
}

fn not_everyone() -> Failure {
    Failure::new(
        "not_everyone_spoke",
        Exit::Conflict,
        "还有节点没有应答，或各节点的镜像不一致；现在结束可能丢失只有它们保存的决定",
        "not every node has spoken, or their mirrors diverge; what only they hold may be lost",
    )
    .remedy(
        "先看 liandong-hub recover status；确认不再等待则加 --yes",
        "see liandong-hub recover status; add --yes to wait no longer",
    )
}

/// Prints the answer for people.
pub(crate) fn show(command: &RecoverCommand, value: Value, output: Output) -> Result<(), Failure> {
    if let RecoverCommand::Finish { .. } = command {
        ended(&read(value)?, output);
        return Ok(());
    }
    let state: RecoveryState = read(value)?;
    match &state.recovering {
        Some(recovering) => under_way(recovering, output),
        None => output.line("中心没有在恢复 / the hub does not recover"),
    }
    for fork in &state.forks {
        output.line(&format!(
            "镜像分叉 / a mirror diverges: {} {}，{} → {}",
            fork.name, fork.feed, fork.common, fork.head
        ));
    }
    if let Some(last) = &state.last {
        ended(last, output);
    }
    Ok(())
}

fn under_way(recovering: &Recovering, output: Output) {
    output.line(&format!(
        "恢复中（{} 开始）：中心自身数据流 {} → {} / recovering: the hub's own feed",
        clock::format_shanghai(recovering.began_ms),
        recovering.base,
        recovering.found
    ));
    let rows: Vec<Vec<String>> = recovering
        .voices
        .iter()
        .map(|voice| {
            let spoke = voice.spoke_ms.map(|at| clock::ago(clock::now_ms(), at).0);
            vec![
                voice.code.as_ref().map(ToString::to_string).unwrap_or_default(),
                voice.name.clone(),
                spoke.unwrap_or_else(|| "未应答 not yet".to_owned()),
                voice.ops.to_string(),
            ]
        })
        .collect();
    output.table(&["代码", "区 District", "应答 Spoke", "操作 Ops"], &rows);
    if !recovering.withheld.is_empty() {
        output.line(&format!(
            "内容尚缺的决定 / decisions whose content is missing: {:?}",
            recovering.withheld
        ));
    }
}

fn ended(report: &Recovered, output: Output) {
    output.line(&format!(
        "中心已重建（第 {incarnation} 代，{at}）：从 {nodes} 个节点取回 {decisions} 个决定，{districts} 个区 / \
         the hub was rebuilt, incarnation {incarnation}: {decisions} decisions of {nodes} nodes, {districts} districts",
        incarnation = report.incarnation,
        at = clock::format_shanghai(report.ended_ms),
        nodes = report.nodes,
        decisions = report.decisions,
        districts = report.districts,
    ));
    if !report.withheld.is_empty() {
        output.line(&format!(
            "内容已无处可寻的决定 / decisions whose content no node had: {:?}",
            report.withheld
        ));
    }
}
