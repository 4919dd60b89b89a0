//! Code tables of the catalogue: types of sharing and opening, update cycles, data types, and
//! codes with check digits.
//!
//! A value is read from any spelling that `data/values.csv` lists and written as its code. The
//! spellings are data, the codes are types.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod citizen_id;
pub mod read;
pub mod table;
pub mod uscc;

pub use table::{TableError, Values};
pub use uscc::{Uscc, UsccError};

macro_rules! coded {
    ($(#[$doc:meta])* $name:ident, $field:literal, {
        $($(#[$case_doc:meta])* $case:ident = $code:literal, $zh:literal, $en:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$case_doc])* #[serde(rename = $code)] $case,)+
        }

        impl $name {
            /// Every value, in order of code.
            pub const ALL: &'static [Self] = &[$(Self::$case),+];

            /// Reads the code itself or any spelling of the built-in table.
            pub fn parse(raw: &str) -> Option<Self> {
                let known = |raw: &str| Self::from_code(raw.trim());
                known(raw).or_else(|| known(&Values::builtin().lookup($field, raw)?.canonical))
            }

            /// Reads the code and nothing else.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$case),)+ _ => None }
            }

            /// The code, as it is stored and sent.
            pub fn code(self) -> &'static str {
                match self { $(Self::$case => $code,)+ }
            }

            /// The Chinese label.
            pub fn label_zh(self) -> &'static str {
                match self { $(Self::$case => $zh,)+ }
            }

            /// The English label.
            pub fn label_en(self) -> &'static str {
                match self { $(Self::$case => $en,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label_zh())
            }
        }
    };
}

coded! {
    /// How far a resource is shared between departments.
    ///
    /// Source: plan 二(一)4, 普遍共享 / 按需共享 / 不共享.
    ShareKind, "share.kind", {
        /// Every department gets it, without asking.
        Universal = "1", "普遍共享", "shared with all";
        /// A department applies, the provider answers.
        OnDemand = "2", "按需共享", "shared on demand";
        /// It is not shared, for a reason.
        None = "3", "不共享", "not shared";
    }
}

coded! {
    /// How far a resource is open to the public.
    ///
    /// Source: plan 二(二)1, 公开 / 依申请公开 / 不公开.
    OpenKind, "open.kind", {
        /// Anyone gets it.
        Open = "1", "公开", "open";
        /// An applicant gets it after a review.
        OnRequest = "2", "依申请公开", "open on request";
        /// It is not open, for a reason.
        Closed = "3", "不公开", "closed";
    }
}

coded! {
    /// By which way a department gets a shared resource.
    ///
    /// Source: plan 二(一)4, 接口交换 / 文件下载 / 离线交换; tables are exchanged in practice.
    ShareMode, "share.modes", {
        /// A service is called.
        Api = "1", "接口交换", "service";
        /// A file is fetched.
        File = "2", "文件下载", "file";
        /// A medium is handed over.
        Offline = "3", "离线交换", "offline";
        /// Rows are copied through a front-end database.
        Table = "4", "库表交换", "table";
    }
}

coded! {
    /// In which form one distribution of a resource is given out.
    Delivery, "distributions.mode", {
        /// A service is called.
        Api = "api", "接口", "service";
        /// A file is fetched.
        File = "file", "文件", "file";
        /// A medium is handed over.
        Offline = "offline", "离线", "offline";
    }
}

coded! {
    /// Type of an information item.
    ///
    /// Source: 发改高技术〔2017〕1272号, element 8.
    DataType, "items.data_type", {
        /// Text.
        Text = "C", "字符型", "text";
        /// Decimal number.
        Number = "N", "数值型", "number";
        /// Amount of money.
        Money = "Y", "货币型", "money";
        /// Day.
        Date = "D", "日期型", "date";
        /// Day and time of day.
        DateTime = "T", "日期时间型", "date and time";
        /// Yes or no.
        Logical = "L", "逻辑型", "logical";
        /// Long text.
        Memo = "M", "备注型", "memo";
        /// Bytes.
        General = "G", "通用型", "general";
        /// Double precision number.
        Double = "B", "双精度型", "double";
        /// Whole number.
        Integer = "I", "整型", "integer";
        /// Floating point number.
        Float = "F", "浮点型", "float";
    }
}

coded! {
    /// How often the data behind an entry are renewed.
    UpdateCycle, "update_cycle", {
        /// At once.
        RealTime = "1", "实时", "real time";
        /// Every day.
        Daily = "2", "每日", "daily";
        /// Every week.
        Weekly = "3", "每周", "weekly";
        /// Every ten days.
        TenDays = "4", "每旬", "every ten days";
        /// Every month.
        Monthly = "5", "每月", "monthly";
        /// Every quarter.
        Quarterly = "6", "每季度", "quarterly";
        /// Every half year.
        HalfYearly = "7", "每半年", "half-yearly";
        /// Every year.
        Yearly = "8", "每年", "yearly";
        /// Every two years.
        TwoYearly = "9", "每两年", "every two years";
        /// Now and then.
        Irregular = "90", "不定期", "irregular";
        /// Never again.
        Static = "91", "静态", "static";
    }
}

impl UpdateCycle {
    /// Age after which data of this cycle are overdue, days. None when no age makes them so.
    pub fn max_age_days(self) -> Option<u32> {
        match self {
            Self::RealTime | Self::Daily => Some(1),
            Self::Weekly => Some(7),
            Self::TenDays => Some(10),
            Self::Monthly => Some(31),
            Self::Quarterly => Some(92),
            Self::HalfYearly => Some(184),
            Self::Yearly => Some(366),
            Self::TwoYearly => Some(731),
            Self::Irregular | Self::Static => None,
        }
    }

    /// The cycle as an ISO 8601 repeating interval, as the catalogue formats of other systems
    /// want it.
    pub fn iso8601(self) -> Option<&'static str> {
        match self {
            Self::RealTime => Some("R/PT1S"),
            Self::Daily => Some("R/P1D"),
            Self::Weekly => Some("R/P1W"),
            Self::TenDays => Some("R/P10D"),
            Self::Monthly => Some("R/P1M"),
            Self::Quarterly => Some("R/P3M"),
            Self::HalfYearly => Some("R/P6M"),
            Self::Yearly => Some("R/P1Y"),
            Self::TwoYearly => Some("R/P2Y"),
            Self::Irregular | Self::Static => None,
        }
    }

    /// The Chinese label.
    pub fn label(self) -> &'static str {
        self.label_zh()
    }
}

impl Default for OpenKind {
    /// Closed: what is not said to be open is not.
    fn default() -> Self {
        Self::Closed
    }
}
