//! What rows mean for the catalogue: each is new, changed, unchanged, a duplicate or rejected.

use std::collections::{BTreeMap, HashMap};

use liandong_core::{
    decide::{self, Command},
    fold::{RecordState, Status, Tombstone},
    id::{FeedId, Hash, RecordId},
    limit,
    mapping::RawRow,
    op::Change,
    record::Record,
    validate::{self, Fault, Severity},
};
use liandong_server::{
    admin::Progress,
    clock, keys,
    output::{Exit, Failure},
};
use liandong_store::Filter;
use serde::{Deserialize, Serialize};

use super::{ErrorLine, Note, Source, Table};
use crate::app::{App, AppError};

/// Rule of a row that names the same entry as an earlier row but says something else.
const REPEATED: &str = "R05.key.repeated";
/// Rule of a row whose record belongs, or is about to belong, to another district.
const GIVEN_AWAY: &str = "transfer.given_away";
/// Ids of vanished records that a report lists.
const MISSING_LISTED_MAX: usize = 1_000;
/// Actor of the ops.
const ACTOR: &str = "import";

/// How an import is done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Only say what would happen.
    pub dry_run: bool,
    /// The file is the full list: withdraw records that are not in it.
    pub delete_missing: bool,
    /// A person has seen how many would be withdrawn and agrees to exactly so many.
    pub confirm_deletes: Option<usize>,
    /// Bring records back that were withdrawn and are in the file.
    pub restore_withdrawn: bool,
}

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Row as a person sees it in the file.
    pub row: u64,
    /// First field at fault.
    pub field: String,
    /// First rule broken.
    pub rule: String,
    /// What is wrong, in Chinese.
    pub message: String,
    /// What is wrong, in English.
    pub message_en: String,
    /// What to do, in Chinese.
    pub remedy: String,
    /// What to do, in English.
    pub remedy_en: String,
    /// Everything that is wrong.
    pub faults: Vec<OwnedFault>,
}

/// A fault as a report carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnedFault {
    /// Rule broken.
    pub rule: String,
    /// Field at fault.
    pub field: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// What is wrong, in Chinese.
    pub message: String,
    /// What is wrong, in English.
    pub message_en: String,
    /// What to do, in Chinese.
    pub remedy: String,
}

impl OwnedFault {
    pub(crate) fn of(fault: &Fault) -> Self {
        Self {
            rule: fault.rule.to_owned(),
            field: fault.field.clone(),
            severity: severity(fault.severity).to_owned(),
            message: fault.message.zh.clone(),
            message_en: fault.message.en.clone(),
            remedy: fault.remedy.zh.clone(),
        }
    }
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Nothing was written.
    pub dry_run: bool,
    /// Rows read.
    pub read: usize,
    /// Rows that became new records.
    pub new: usize,
    /// Rows that changed a record.
    pub changed: usize,
    /// Rows whose record is as they say.
    pub unchanged: usize,
    /// Rows that repeat an earlier row of the file, word for word.
    pub duplicates: usize,
    /// Rows whose record was withdrawn by a person and stays so.
    pub withdrawn: usize,
    /// Live records that are not in the file.
    pub missing: usize,
    /// The first of them.
    pub missing_ids: Vec<RecordId>,
    /// Of them, withdrawn by this import.
    pub deleted: usize,
    /// Rows not taken, each with everything that is wrong.
    pub rejected: Vec<Rejected>,
    /// Records taken, by grade.
    pub grades: BTreeMap<String, usize>,
    /// Remarks on records taken, by rule.
    pub remarks: BTreeMap<String, usize>,
    /// Oddities of the file, Chinese and English.
    pub notes: Vec<(String, String)>,
}

/// What a row does to its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    New,
    Changed,
    Unchanged,
    Restored,
    Withdrawn,
}

struct Ready {
    row: u64,
    record: Record,
    keys: Vec<String>,
}

/// Records that a row of this import is about, with that row.
type Seen = HashMap<RecordId, u64>;

/// Rows that passed the rules and name different entries.
struct Prepared {
    rows: Vec<Ready>,
    /// By which a rejected row may name a record that there is; one list a row.
    rejected_keys: Vec<Vec<String>>,
    report: Report,
    lines: Vec<ErrorLine>,
}

impl App {
    /// Imports a table. The dry run and the import use the same rules and differ only in writing. `sheet` receives
    /// every fault of every row.
    ///
    /// # Errors
    /// The journal or view fails; more records would be withdrawn than may be without a person's word.
    pub async fn import(
        &self,
        table: Table,
        options: &Options,
        progress: &Progress,
    ) -> Result<(Report, Vec<ErrorLine>, Option<Failure>), AppError> {
        let Table { rows, notes, .. } = table;
        let mut prepared = tokio::task::block_in_place(|| self.prepare(&rows, &notes, progress));
        drop(rows);
        prepared.report.dry_run = options.dry_run;
        let Prepared { rows, rejected_keys, mut report, mut lines } = prepared;
        let total = rows.len();
        let mut seen = Seen::new();
        for (part, chunk) in rows.chunks(limit::BATCH_OPS_MAX).enumerate() {
            self.take(chunk, options, &mut report, &mut lines, &mut seen).await?;
            let done = part * limit::BATCH_OPS_MAX + chunk.len();
            progress.report(done as u64, total as u64, "写入 / writing");
        }
        let mut strangers = 0;
        for keys in &rejected_keys {
            match self.known(keys)? {
                Some((id, _)) => _ = seen.entry(id).or_default(),
                None => strangers += 1,
            }
        }
        let refused = self.missing(&seen, strangers, options, &mut report).await?;
        Ok((report, lines, refused))
    }

    fn prepare(&self, rows: &[RawRow], notes: &[Note], progress: &Progress) -> Prepared {
        let today = clock::today_shanghai();
        let mut report = Report {
            read: rows.len(),
            notes: notes.iter().map(Note::text).collect(),
            ..Report::default()
        };
        let (mut ready, mut lines, mut rejected_keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_key: HashMap<String, (u64, Hash)> = HashMap::new();
        for (position, row) in rows.iter().enumerate() {
            let (draft, mut faults) = self.mapping.draft(row);
            let named = keys_of(&draft);
            let mut checked = validate::check(draft, today);
            faults.append(&mut checked.faults);
            lines.extend(faults.iter().map(|fault| error_line(row.row, fault)));
            match checked.record {
                None => {
                    rejected_keys.push(named);
                    report.rejected.push(rejected(row.row, &faults));
                }
                Some(record) => {
                    let keys = record.match_keys();
                    let content = Hash::of(&[&record.to_bytes()]);
                    let earlier = keys.iter().find_map(|key| by_key.get(key)).copied();
                    match earlier {
                        Some((_, same)) if same == content => report.duplicates += 1,
                        Some((first, _)) => {
                            let repeated = repeated(row.row, first);
                            lines.push(repeated.0);
                            report.rejected.push(repeated.1);
                        }
                        None => {
                            for key in &keys {
                                by_key.insert(key.clone(), (row.row, content));
                            }
                            remark(&mut report, &faults, checked.grade);
                            ready.push(Ready { row: row.row, record, keys });
                        }
                    }
                }
            }
            if position % 1_000 == 0 {
                progress.report(position as u64, rows.len() as u64, "校验 / checking");
            }
        }
        Prepared { rows: ready, rejected_keys, report, lines }
    }

    /// Decides and writes a chunk in one turn.
    async fn take(
        &self,
        chunk: &[Ready],
        options: &Options,
        report: &mut Report,
        lines: &mut Vec<ErrorLine>,
        seen: &mut Seen,
    ) -> Result<(), AppError> {
        let mut turn = self.turn().await?;
        let mut changes = Vec::new();
        let given = self.given()?;
        for row in chunk {
            let (id, action, change) = self.classify(row, options)?;
            if let Err(refusal) = given.check(id) {
                let (line, rejected) = given_away(row.row, &refusal);
                lines.push(line);
                report.rejected.push(rejected);
                seen.insert(id, row.row);
                continue;
            }
            // Two rows may name one record by different keys, which only the catalogue knows.
            if let Some(first) = seen.get(&id) {
                let (line, rejected) = repeated(row.row, *first);
                lines.push(line);
                report.rejected.push(rejected);
                continue;
            }
            seen.insert(id, row.row);
            match action {
                Action::New => report.new += 1,
                Action::Changed | Action::Restored => report.changed += 1,
                Action::Unchanged => report.unchanged += 1,
                Action::Withdrawn => report.withdrawn += 1,
            }
            changes.extend(change);
        }
        if !options.dry_run {
            turn.write(changes, || keys::stamp(ACTOR)).await?;
        }
        Ok(())
    }

    /// The record that one of the keys names, be it one that was taken over.
    fn known(&self, keys: &[String]) -> Result<Option<(RecordId, RecordState)>, AppError> {
        let (own, city) = (self.own.feed(), self.store.city());
        let sources: Vec<FeedId> = city.authority.sources(own).into_keys().collect();
        for key in keys {
            for feed in [&own].into_iter().chain(&sources) {
                if let Some(id) = self.store.find_by_key(*feed, key)?
                    && let Some(state) = self.store.state(id)?
                    && (*feed == own || city.owner(id) == own)
                {
                    return Ok(Some((id, state)));
                }
            }
        }
        Ok(None)
    }

    fn classify(
        &self,
        row: &Ready,
        options: &Options,
    ) -> Result<(RecordId, Action, Option<Change>), AppError> {
        let content = Box::new(row.record.clone());
        let Some((id, state)) = self.known(&row.keys)? else {
            let id = RecordId::new(self.own.feed(), keys::new_ulid());
            let change = decide::decide(id, None, &Command::Put(content), None)?;
            return Ok((id, Action::New, change));
        };
        let (action, command) = match state.status {
            Status::Live => (Action::Changed, Command::Put(content)),
            Status::Withdrawn if options.restore_withdrawn => {
                (Action::Restored, Command::Restore(content))
            }
            Status::Withdrawn => return Ok((id, Action::Withdrawn, None)),
        };
        let change = decide::decide(id, Some(&state), &command, None)?;
        let action = if change.is_some() { action } else { Action::Unchanged };
        Ok((id, action, change))
    }

    /// Absence is not deletion: records that are not in the file are counted, and withdrawn only
    /// when that was asked for and, beyond a small share, agreed to by number. So it is when
    /// rejected rows (`strangers`) might be any of the records. Returns why none was withdrawn.
    async fn missing(
        &self,
        seen: &Seen,
        strangers: usize,
        options: &Options,
        report: &mut Report,
    ) -> Result<Option<Failure>, AppError> {
        let filter = Filter { feed: Some(self.own.feed()), live_only: true, public_only: false };
        // What is being given away is no longer this list's to withdraw.
        let given = self.given()?;
        let (mut after, mut live, mut missing) = (None, 0, Vec::new());
        loop {
            let page = self.store.entries(filter, after, limit::PAGE_RECORDS_MAX)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            live += page.len();
            let ids = page.iter().map(|entry| entry.id);
            missing.extend(ids.filter(|id| !seen.contains_key(id) && given.check(*id).is_ok()));
        }
        report.missing = missing.len();
        report.missing_ids = missing.iter().take(MISSING_LISTED_MAX).copied().collect();
        if !options.delete_missing || options.dry_run || missing.is_empty() {
            return Ok(None);
        }
        let many = strangers > 0
            || missing.len() > limit::DELETE_ROWS_MAX
            || missing.len() * 100 > live * limit::DELETE_SHARE_MAX_PERCENT;
        if many && options.confirm_deletes != Some(missing.len()) {
            return Ok(Some(too_many(missing.len(), live, strangers, report)));
        }
        for chunk in missing.chunks(limit::BATCH_OPS_MAX) {
            let mut turn = self.turn().await?;
            let mut changes = Vec::new();
            for id in chunk {
                let state = self.store.state(*id)?;
                let reason = "全量清单中已不存在 / no longer in the full list".to_owned();
                let command = Command::Withdraw(Tombstone { reason, replaced_by: None });
                changes.extend(decide::decide(*id, state.as_ref(), &command, None)?);
            }
            report.deleted += turn.write(changes, || keys::stamp(ACTOR)).await?.len();
        }
        Ok(None)
    }
}

fn remark(report: &mut Report, faults: &[Fault], grade: Option<validate::Grade>) {
    for fault in faults {
        *report.remarks.entry(fault.rule.to_owned()).or_default() += 1;
    }
    if let Some(grade) = grade {
        *report.grades.entry(format!("{grade:?}")).or_default() += 1;
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

fn error_line(row: u64, fault: &Fault) -> ErrorLine {
    ErrorLine {
        row,
        field: fault.field.clone(),
        rule: fault.rule.to_owned(),
        severity: severity(fault.severity).to_owned(),
        message_zh: fault.message.zh.clone(),
        message_en: fault.message.en.clone(),
        remedy_zh: fault.remedy.zh.clone(),
        remedy_en: fault.remedy.en.clone(),
        value: fault.value.clone().unwrap_or_default(),
    }
}

fn rejected(row: u64, faults: &[Fault]) -> Rejected {
    let errors: Vec<&Fault> =
        faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
    let first = errors.first();
    let say = |part: fn(&Fault) -> &String| first.map(|fault| part(fault).clone());
    Rejected {
        row,
        field: say(|fault| &fault.field).unwrap_or_default(),
        rule: first.map_or_else(String::new, |fault| fault.rule.to_owned()),
        message: say(|fault| &fault.message.zh).unwrap_or_default(),
        message_en: say(|fault| &fault.message.en).unwrap_or_default(),
        remedy: say(|fault| &fault.remedy.zh).unwrap_or_default(),
        remedy_en: say(|fault| &fault.remedy.en).unwrap_or_default(),
        faults: errors.iter().map(|fault| OwnedFault::of(fault)).collect(),
    }
}

/// By which a row names its entry, whether or not it passes the check.
fn keys_of(draft: &validate::Draft) -> Vec<String> {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut record = Record {
        title: text(&draft.title),
        code: draft.code.clone(),
        identifiers: draft.identifiers.clone(),
        ..Record::default()
    };
    record.provider.name = text(&draft.provider_name);
    record.canonicalise();
    record.match_keys()
}

/// A row that names an entry of an earlier row and says something else about it: a person must say which is right.
fn repeated(row: u64, first: u64) -> (ErrorLine, Rejected) {
    turned_away(ErrorLine {
        row,
        field: "identifiers".to_owned(),
        rule: REPEATED.to_owned(),
        severity: "error".to_owned(),
        message_zh: format!("与第 {first} 行是同一条目录，但内容不同"),
        message_en: format!("names the same entry as row {first} but says something else"),
        remedy_zh: "保留正确的一行，或给两行不同的资源代码".to_owned(),
        remedy_en: "keep the right row, or give the two different codes".to_owned(),
        value: String::new(),
    })
}

/// The row of a record that this district may not write.
fn given_away(row: u64, refusal: &Failure) -> (ErrorLine, Rejected) {
    turned_away(ErrorLine {
        row,
        field: "identifiers".to_owned(),
        rule: GIVEN_AWAY.to_owned(),
        severity: "error".to_owned(),
        message_zh: refusal.message_zh.clone(),
        message_en: refusal.message_en.clone(),
        remedy_zh: "从清单中去掉该行，或联系现在的管理区".to_owned(),
        remedy_en: "leave the row out, or ask the district that has the record now".to_owned(),
        value: String::new(),
    })
}

fn turned_away(line: ErrorLine) -> (ErrorLine, Rejected) {
    let rejected = Rejected {
        row: line.row,
        field: line.field.clone(),
        rule: line.rule.clone(),
        message: line.message_zh.clone(),
        message_en: line.message_en.clone(),
        remedy: line.remedy_zh.clone(),
        remedy_en: line.remedy_en.clone(),
        faults: vec![OwnedFault {
            rule: line.rule.clone(),
            field: line.field.clone(),
            severity: line.severity.clone(),
            message: line.message_zh.clone(),
            message_en: line.message_en.clone(),
            remedy: line.remedy_zh.clone(),
        }],
    };
    (line, rejected)
}

fn too_many(missing: usize, live: usize, strangers: usize, report: &Report) -> Failure {
    let (strangers_zh, strangers_en) = match strangers {
        0 => (String::new(), String::new()),
        rows => (
            format!("。另有 {rows} 行被拒绝且无法对应到在用目录，可能正是其中几条"),
            format!("; {rows} rejected rows might be some of them"),
        ),
    };
    let zh = format!(
        "文件中缺少 {live} 条在用目录中的 {missing} 条，未删除任何目录；其余各行已导入{strangers_zh}"
    );
    let en = format!(
        "{missing} of {live} live records are not in the file; none was withdrawn, \
         the other rows were imported{strangers_en}"
    );
    Failure::new("many_deletes", Exit::Conflict, zh, en)
        .remedy(
            format!("确认无误后加上 --confirm-deletes {missing} 重新运行"),
            format!("if that is meant, run again with --confirm-deletes {missing}"),
        )
        .detail(serde_json::to_value(report).unwrap_or_default())
}

/// What the file was, for the log.
pub(crate) fn describe(source: &Source) -> String {
    format!(
        "{} ({}{})",
        source.path,
        source.format.name(),
        source.encoding.as_ref().map(|encoding| format!(", {encoding}")).unwrap_or_default()
    )
}
