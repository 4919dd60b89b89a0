//! The command line of the curators' desk.

mod show;

use clap::{Args, Subcommand, ValueEnum};
use liandong_core::{
    city::{Decision, Overlay},
    id::{DistrictCode, RecordId},
};
use liandong_server::output::{Exit, Failure};
use serde_json::{Map, Value};

pub(super) use self::show::show;
use crate::desk::{ConflictFilter, Desk, OverlayChange, StateFilter};

const OVERLAY_EXAMPLES: &str = "示例 / Examples:
  liandong-hub overlay set RECORD --title 全市停车场泊位 --theme 道路交通 --keyword 停车 --keyword 泊位
  liandong-hub overlay set RECORD                 以该区现行版本重新确认 / confirm against the current version
  liandong-hub overlay set RECORD --clear notes --sticky true
  liandong-hub overlay list --stale
撤销 / Undo: liandong-hub overlay drop RECORD";
const HOLD_EXAMPLES: &str = "示例 / Examples:
  liandong-hub hold put RECORD --legal-basis 《个人信息保护法》第二十八条 --reason 含有手机号码
  liandong-hub hold list
只在市级目录中隐藏，区级门户不受影响 / Hidden in the city view only; the district's portal stays as it is
撤销 / Undo: liandong-hub hold release RECORD --reason …";
const REQUEST_EXAMPLES: &str = "示例 / Examples:
  liandong-hub request create RECORD --field 'title=\"公共停车场泊位\"' --field 'keywords=[\"停车\"]' --reason 标题不规范
  liandong-hub request create RECORD --field theme=null --reason 主题有误 --due 2026-12-10
  liandong-hub request list --district 310115
撤销 / Undo: liandong-hub request withdraw REQUEST --reason …";
const CONFLICT_EXAMPLES: &str = "示例 / Examples:
  liandong-hub conflict list --kind C1 --district 310115 --age 3
  liandong-hub conflict show 3fa9c1d2
  liandong-hub conflict decide 3fa9c1d2 --verdict code-stays --record RECORD --reason 先行登记 --preview
  liandong-hub conflict decide 3fa9c1d2 --verdict copy-of --record COPY --of SOURCE --reason 同一来源
撤销 / Undo: liandong-hub conflict reopen ID --reason …";
const SOURCE_EXAMPLES: &str = "示例 / Examples:
  liandong-hub source set 统一社会信用代码 RECORD --reason 市场监管局为法定采集部门
  liandong-hub source list
撤销 / Undo: liandong-hub source drop 统一社会信用代码 --reason …";

/// Groups of the desk.
#[derive(Debug, Subcommand)]
pub(super) enum DeskSub {
    /// 市级编目：不改动区级内容 / What the city adds to records, beside what districts wrote
    #[command(subcommand, after_help = OVERLAY_EXAMPLES)]
    Overlay(OverlaySub),
    /// 依法隐藏目录 / Hide records in the city view
    #[command(subcommand, after_help = HOLD_EXAMPLES)]
    Hold(HoldSub),
    /// 请区修改目录 / Ask districts for changes
    #[command(subcommand, after_help = REQUEST_EXAMPLES)]
    Request(RequestSub),
    /// 冲突台 / The conflict desk
    #[command(subcommand, after_help = CONFLICT_EXAMPLES)]
    Conflict(ConflictSub),
    /// 一数一源：信息项的权威来源 / Authoritative sources of information items
    #[command(subcommand, after_help = SOURCE_EXAMPLES)]
    Source(SourceSub),
}

#[derive(Debug, Subcommand)]
pub(super) enum OverlaySub {
    /// 编目，或以现行版本重新确认 / Add, or confirm against the current version
    #[command(after_help = OVERLAY_EXAMPLES)]
    Set(OverlaySet),
    /// 显示一条 / Show one
    Show {
        /// 目录编号 / Record
        record: RecordId,
    },
    /// 取消编目 / Take it back
    Drop {
        /// 目录编号 / Record
        record: RecordId,
    },
    /// 列出 / List
    List {
        /// 只列区级内容已变化的 / Only where the district changed the record since
        #[arg(long)]
        stale: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct OverlaySet {
    /// 目录编号 / Record
    record: RecordId,
    /// 市级标题 / Title the city shows
    #[arg(long)]
    title: Option<String>,
    /// 关键词，可多次给出 / Keyword; may be repeated
    #[arg(long = "keyword")]
    keywords: Vec<String>,
    /// 市级主题 / Theme in the city's list
    #[arg(long)]
    theme: Option<String>,
    /// 是否计入年度重点领域 / Whether it counts for the year's key theme
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    key_theme: Option<bool>,
    /// 说明 / Notes for readers
    #[arg(long)]
    notes: Option<String>,
    /// 区级内容变化后仍保留标题和关键词 / Title and keywords stay although the district changes the record
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    sticky: Option<bool>,
    /// 清除：title、keywords、theme、key-theme、notes / Take a field out
    #[arg(long)]
    clear: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum HoldSub {
    /// 隐藏 / Hide
    Put {
        /// 目录编号 / Record
        record: RecordId,
        /// 法律依据 / The law it rests on
        #[arg(long)]
        legal_basis: String,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
    /// 恢复显示 / Show again
    Release {
        /// 目录编号 / Record
        record: RecordId,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
    /// 列出 / List
    List,
}

#[derive(Debug, Subcommand)]
pub(super) enum RequestSub {
    /// 提出 / Ask
    Create {
        /// 目录编号 / Record
        record: RecordId,
        /// 字段=JSON 值；null 为删除 / Field and its JSON value; null takes it out
        #[arg(long = "field", value_name = "NAME=JSON", required = true)]
        fields: Vec<String>,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
        /// 答复期限，默认十个工作日 / Answer by this day; ten working days without
        #[arg(long)]
        due: Option<jiff::civil::Date>,
    },
    /// 列出 / List
    List {
        /// 包括已了结的 / Answered ones too
        #[arg(long)]
        all: bool,
        /// 只看一个区 / Only this district
        #[arg(long)]
        district: Option<DistrictCode>,
    },
    /// 显示一条 / Show one
    Show {
        /// 请求编号 / Request
        request: String,
    },
    /// 撤回请求 / Take it back
    Withdraw {
        /// 请求编号 / Request
        request: String,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConflictSub {
    /// 列出 / List
    List {
        /// C1 至 C9 / Kind
        #[arg(long)]
        kind: Option<String>,
        /// 状态 / State
        #[arg(long, value_enum, default_value_t = StateArg::Open)]
        state: StateArg,
        /// 只看一个区 / Only this district
        #[arg(long)]
        district: Option<DistrictCode>,
        /// 至少已开启的天数 / Opened at least so many days ago
        #[arg(long, value_name = "DAYS")]
        age: Option<u32>,
    },
    /// 显示全部版本与差异 / Show all versions and how they differ
    Show {
        /// 冲突编号，前几位即可 / Conflict; the first digits are enough
        conflict: String,
    },
    /// 裁决 / Decide
    #[command(after_help = CONFLICT_EXAMPLES)]
    Decide(Decide),
    /// 重新开启 / Open again
    Reopen {
        /// 冲突编号 / Conflict
        conflict: String,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Decide {
    /// 冲突编号 / Conflict
    conflict: String,
    /// 裁决 / Decision
    #[arg(long, value_enum)]
    verdict: Verdict,
    /// 所指目录 / The record it names
    #[arg(long)]
    record: Option<RecordId>,
    /// 其来源目录 / Its source
    #[arg(long)]
    of: Option<RecordId>,
    /// 原因，会告知各方 / Why, told to all parties
    #[arg(long)]
    reason: String,
    /// 只显示将写入的内容 / Only tell what would be written
    #[arg(long)]
    preview: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum StateArg {
    Open,
    Appealed,
    Decided,
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Verdict {
    /// 该目录为权威来源 / The record is the authoritative one
    Authoritative,
    /// 该目录为另一条的副本 / The record is a copy of another
    CopyOf,
    /// 该目录由另一条加工而来 / The record is derived from another
    DerivedFrom,
    /// 两者不同 / They are different data
    Distinct,
    /// 代码归该目录 / The code belongs to the record
    CodeStays,
    /// 维持现状；编目则重新确认 / Things stay as they are; an overlay is confirmed again
    Confirm,
    /// 市级让步：取消编目、解除隐藏 / The hub gives way
    Withdraw,
}

#[derive(Debug, Subcommand)]
pub(super) enum SourceSub {
    /// 登记 / Register
    Set {
        /// 信息项 / Information item
        item: String,
        /// 目录编号 / Record
        record: RecordId,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
    /// 注销 / Take back
    Drop {
        /// 信息项 / Information item
        item: String,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
    /// 列出 / List
    List,
}

impl DeskSub {
    /// The command for the serving process.
    pub(super) fn command(self) -> Result<Desk, Failure> {
        Ok(match self {
            Self::Overlay(OverlaySub::Set(set)) => set.command(),
            Self::Overlay(OverlaySub::Show { record }) => Desk::OverlayShow { record },
            Self::Overlay(OverlaySub::Drop { record }) => Desk::OverlayDrop { record },
            Self::Overlay(OverlaySub::List { stale }) => Desk::OverlayList { stale },
            Self::Hold(HoldSub::Put { record, legal_basis, reason }) => {
                Desk::HoldPut { record, legal_basis, reason }
            }
            Self::Hold(HoldSub::Release { record, reason }) => Desk::HoldRelease { record, reason },
            Self::Hold(HoldSub::List) => Desk::HoldList,
            Self::Request(sub) => sub.command()?,
            Self::Conflict(sub) => sub.command()?,
            Self::Source(SourceSub::Set { item, record, reason }) => {
                Desk::SourceSet { item, record, reason }
            }
            Self::Source(SourceSub::Drop { item, reason }) => Desk::SourceDrop { item, reason },
            Self::Source(SourceSub::List) => Desk::SourceList,
        })
    }
}

impl OverlaySet {
    fn command(self) -> Desk {
        let keywords = (!self.keywords.is_empty()).then_some(self.keywords);
        let set = Overlay {
            title: self.title,
            keywords,
            theme: self.theme,
            key_theme: self.key_theme,
            notes: self.notes,
            sticky: false,
        };
        let change = OverlayChange { set, clear: self.clear, sticky: self.sticky };
        Desk::OverlaySet { record: self.record, change }
    }
}

impl RequestSub {
    fn command(self) -> Result<Desk, Failure> {
        Ok(match self {
            Self::Create { record, fields, reason, due } => {
                let fields = fields.iter().map(|field| named(field));
                let fields = fields.collect::<Result<Map<_, _>, _>>()?;
                Desk::RequestCreate { record, fields, reason, due }
            }
            Self::List { all, district } => Desk::RequestList { all, district },
            Self::Show { request } => Desk::RequestShow { request },
            Self::Withdraw { request, reason } => Desk::RequestWithdraw { request, reason },
        })
    }
}

/// `NAME=JSON`; what is no JSON is taken as text, so that quotes are not needed twice.
fn named(field: &str) -> Result<(String, Value), Failure> {
    let Some((name, value)) = field.split_once('=') else {
        return Err(Failure::new(
            "bad_field",
            Exit::Usage,
            format!("“{field}”应写作 字段=JSON 值"),
            format!("{field:?} should be NAME=JSON"),
        ));
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_text| Value::from(value));
    Ok((name.trim().to_owned(), value))
}

impl ConflictSub {
    fn command(self) -> Result<Desk, Failure> {
        Ok(match self {
            Self::List { kind, state, district, age } => {
                let state = match state {
                    StateArg::Open => StateFilter::Open,
                    StateArg::Appealed => StateFilter::Appealed,
                    StateArg::Decided => StateFilter::Decided,
                    StateArg::All => StateFilter::All,
                };
                Desk::ConflictList(ConflictFilter { kind, state, district, age_days: age })
            }
            Self::Show { conflict } => Desk::ConflictShow { conflict },
            Self::Decide(decide) => {
                let decision = decide.decision()?;
                let Decide { conflict, reason, preview, .. } = decide;
                Desk::ConflictDecide { conflict, decision, reason, preview }
            }
            Self::Reopen { conflict, reason } => Desk::ConflictReopen { conflict, reason },
        })
    }
}

impl Decide {
    fn decision(&self) -> Result<Decision, Failure> {
        let missing = |flag: &str| {
            Failure::new(
                "missing_flag",
                Exit::Usage,
                format!("此裁决须给出 {flag}"),
                format!("this verdict needs {flag}"),
            )
        };
        let record = || self.record.ok_or_else(|| missing("--record"));
        let of = || self.of.ok_or_else(|| missing("--of"));
        Ok(match self.verdict {
            Verdict::Authoritative => Decision::Authoritative { record: record()? },
            Verdict::CopyOf => Decision::CopyOf { record: record()?, of: of()? },
            Verdict::DerivedFrom => Decision::DerivedFrom { record: record()?, of: of()? },
            Verdict::Distinct => Decision::Distinct,
            Verdict::CodeStays => Decision::CodeStays { record: record()? },
            Verdict::Confirm => Decision::Confirm,
            Verdict::Withdraw => Decision::Withdraw,
        })
    }
}
