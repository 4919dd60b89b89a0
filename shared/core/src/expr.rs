//! The query expression: what programs write in `q` and `fq`, read into a tree.
//!
//! The grammar is the part of Lucene's that clients of CKAN write. Where Lucene's own reading surprises people, ours
//! is the one they meant: `a OR b c` is `(a OR b) AND c`, because filters are joined by spaces.
//! Reading costs time in proportion to the text, which is limited; so is the depth of what comes out.

use std::ops::Bound;

use crate::limit;

pub use pattern::Pattern;

mod field;
mod parse;
mod pattern;
mod time;

/// What a record must be to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Every record.
    All,
    /// All of them.
    And(Vec<Expr>),
    /// At least one of them.
    Or(Vec<Expr>),
    /// Not this.
    Not(Box<Expr>),
    /// Words as a person types them.
    Text {
        /// Where; everywhere when none.
        field: Option<TextField>,
        /// The words.
        text: String,
        /// Whether they stand together, in this order: as a substring.
        phrase: bool,
    },
    /// A label with exactly this value, e.g. `tags` and `交通`.
    Is {
        /// Name of the label; one that no record has finds nothing.
        key: String,
        /// Its value.
        value: String,
    },
    /// A label, whatever its value.
    Has {
        /// Name of the label.
        key: String,
    },
    /// A label whose value has this form.
    Like {
        /// Name of the label.
        key: String,
        /// Its form, see [`Pattern`].
        pattern: String,
    },
    /// A moment between two, microseconds since 1970.
    Between {
        /// Which moment.
        field: TimeField,
        /// From when on.
        from: Bound<i64>,
        /// Until when.
        to: Bound<i64>,
    },
}

/// Texts of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextField {
    /// Title.
    Title,
    /// Abstract.
    Summary,
    /// Keywords.
    Keywords,
    /// Names of the information items.
    Items,
    /// Name of the provider.
    Provider,
}

/// Moments of a record, by the clock of the site that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeField {
    /// When it was first seen here.
    Created,
    /// When what is shown of it last changed here.
    Modified,
}

/// Why a text is no query expression. Positions are characters, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// More characters than are read.
    #[error(
        "查询超过{max}个字符，请缩短 / \
         the query has more than {max} characters; shorten it",
        max = limit::EXPR_CHARS_MAX
    )]
    Long,
    /// Parentheses in parentheses.
    #[error(
        "第{0}个字符：括号超过{max}层，请减少嵌套 / \
         character {0}: parentheses more than {max} deep; nest them less",
        max = limit::EXPR_DEPTH_MAX
    )]
    Deep(usize),
    /// Too many conditions.
    #[error(
        "条件超过{max}个，请分几次查询 / \
         more than {max} conditions; ask in several queries",
        max = limit::EXPR_CLAUSES_MAX
    )]
    Clauses,
    /// Too many conditions with wildcards.
    #[error(
        "通配条件超过{max}个，请写完整的值 / \
         more than {max} conditions with wildcards; write whole values",
        max = limit::EXPR_PATTERNS_MAX
    )]
    Patterns,
    /// `{!…}`, which would choose another query parser.
    #[error(
        "第{0}个字符：不支持 {{!…}}，请直接写条件 / character {0}: {{!…}} is not supported; write the condition itself"
    )]
    LocalParams(usize),
    /// A sign without its other half.
    #[error(
        "第{at}个字符：{sign} 没有配对，请补上另一半，或写成 \\{sign} / character {at}: {sign} has no other half; add it or write \\{sign}"
    )]
    Unpaired {
        /// Where it stands.
        at: usize,
        /// Which.
        sign: char,
    },
    /// A sign that means nothing here.
    #[error(
        "第{at}个字符：{sign} 不能在此处，请删除，或写成 \\{sign} / character {at}: {sign} cannot stand here; delete it or write \\{sign}"
    )]
    Unexpected {
        /// Where it stands.
        at: usize,
        /// Which.
        sign: char,
    },
    /// An operator, a field or parentheses with nothing to work on.
    #[error(
        "第{0}个字符：此处缺少条件，请补上 / character {0}: a condition is missing here; add it"
    )]
    Missing(usize),
    /// A range that is not `[from TO to]`.
    #[error(
        "第{0}个字符：范围应写成 [起 TO 止]，不限的一端写 * / character {0}: write a range as [from TO to], with * for an open end"
    )]
    RangeForm(usize),
    /// A range of something that has no order.
    #[error(
        "第{at}个字符：字段 {field} 不能按范围查询，只有 metadata_created 和 metadata_modified 可以 / \
             character {at}: {field} takes no range; metadata_created and metadata_modified do"
    )]
    NoRange {
        /// Where the range stands.
        at: usize,
        /// Its field.
        field: String,
    },
    /// A range whose end is before its beginning.
    #[error(
        "第{0}个字符：范围的起点晚于终点，请对调 / character {0}: the range begins after its end; swap them"
    )]
    Backwards(usize),
    /// A moment that cannot be read.
    #[error(
        "第{at}个字符：{given:?} 不是时间，请写成 2026-11-23T05:14:07Z 或 NOW-7DAYS / \
             character {at}: {given:?} is no moment; write 2026-11-23T05:14:07Z or NOW-7DAYS"
    )]
    Time {
        /// Where it stands.
        at: usize,
        /// What stands there.
        given: String,
    },
}

impl Expr {
    /// Reads an expression; an empty one finds every record. `now_us` is what `NOW` stands for.
    ///
    /// # Errors
    /// When it is too large or no expression; the error says where and what to do.
    pub fn parse(text: &str, now_us: i64) -> Result<Self, ExprError> {
        if text.chars().nth(limit::EXPR_CHARS_MAX).is_some() {
            return Err(ExprError::Long);
        }
        parse::parse(text, now_us)
    }

    /// All of them: nothing is everything, one is itself.
    pub fn all(mut exprs: Vec<Self>) -> Self {
        exprs.retain(|expr| *expr != Self::All);
        match exprs.len() {
            0 => Self::All,
            1 => exprs.remove(0),
            _ => Self::And(exprs),
        }
    }

    /// One of them; a single one is itself.
    fn any(mut exprs: Vec<Self>) -> Self {
        if exprs.len() == 1 { exprs.remove(0) } else { Self::Or(exprs) }
    }
}
