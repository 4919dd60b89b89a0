//! Rules of the city that its operators set.

use clap::{Args, Subcommand};
use liandong_core::{
    city::{Policy, Thresholds},
    link::Release,
};
use liandong_server::{
    admin::AdminError,
    command::{answer, read},
    output::{Explain as _, Failure, Output},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;

/// `liandong-hub policy …`
#[derive(Debug, Clone, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyCommand {
    /// 查看现行规则 / The rules in force
    Show,
    /// 修改规则，未给出的保持不变 / Change rules; what is not given stays
    Set(Rules),
}

/// What can be set.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Rules {
    /// 允许接入的最低软件版本 / Oldest software that may push, for example 0.2.0
    #[arg(long)]
    pub min_software: Option<Release>,
    /// 一次变更超过该区目录的多少百分比须人工确认 / Share of a district's records above which a person is asked
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub mass_percent: Option<u32>,
    /// 一次变更超过多少条须人工确认 / Number of records above which a person is asked
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub mass_records: Option<u32>,
    /// 暂停的区：true 隐藏其目录，false 保留并标注 / Records of suspended districts: hidden, or frozen and marked
    #[arg(long)]
    pub hide_suspended: Option<bool>,
}

impl App {
    /// Runs a command about the city's rules.
    ///
    /// # Errors
    /// Nothing would change; `Write`.
    pub(crate) async fn policy(&self, command: PolicyCommand) -> Result<Value, AdminError> {
        if let PolicyCommand::Set(rules) = command {
            let Rules { min_software, mass_percent, mass_records, hide_suspended } = rules;
            let min_software = min_software.map(|release| release.to_string());
            let policy = Policy {
                min_software,
                mass_percent,
                mass_records,
                hide_suspended,
                vocabulary: None,
            };
            let decided = self.decide("cli", |city| Ok(city.set_policy(&policy)?)).await;
            decided.map_err(|error| error.explain())?;
        }
        let policy = self.city().policy.clone();
        let thresholds = Thresholds::of(&policy);
        answer(&Policy {
            mass_percent: Some(thresholds.percent),
            mass_records: Some(thresholds.records),
            hide_suspended: Some(policy.hide_suspended.unwrap_or(false)),
            ..policy
        })
    }
}

/// Prints the rules for people.
pub(crate) fn show(value: Value, output: Output) -> Result<(), Failure> {
    let policy: Policy = read(value)?;
    output.line(&format!(
        "最低版本 / oldest software: {}",
        policy.min_software.as_deref().unwrap_or("不限 / any")
    ));
    output.line(&format!(
        "大批变更须确认 / a person is asked above: {} 条 records, {}%",
        policy.mass_records.unwrap_or_default(),
        policy.mass_percent.unwrap_or_default()
    ));
    let hidden = policy.hide_suspended.unwrap_or_default();
    output.line(if hidden {
        "暂停的区：隐藏 / suspended districts are hidden"
    } else {
        "暂停的区：保留并标注 / suspended districts stay, marked"
    });
    Ok(())
}
