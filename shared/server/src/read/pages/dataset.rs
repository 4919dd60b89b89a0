//! What the page of a record shows: every field that says something, in sections.

use askama::Template;
use liandong_core::{
    fold::Tombstone,
    record::{Distribution, Identifier, Item, Record},
};

use super::{
    locale::Locale,
    view::{Frame, Moment, freshness, reason_class},
};
use crate::read::catalogue::Found;

/// Text, as a link where that is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) href: Option<String>,
}

impl Value {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), href: None }
    }

    /// A link when the text is a web address; `javascript:` and its kin stay text.
    fn address(text: &str) -> Self {
        Self { text: text.to_owned(), href: is_http(text).then(|| text.to_owned()) }
    }
}

fn is_http(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A field with its values.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) values: Vec<Value>,
}

/// Fields that belong together.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) id: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// Gathers the fields that have a value.
struct Rows<'a> {
    locale: &'a Locale,
    rows: Vec<Row>,
}

impl<'a> Rows<'a> {
    fn new(locale: &'a Locale) -> Self {
        Self { locale, rows: Vec::new() }
    }

    fn values(&mut self, zh: &str, en: &str, values: Vec<Value>) -> &mut Self {
        if !values.is_empty() {
            self.rows.push(Row { label: self.locale.t(zh, en).to_owned(), values });
        }
        self
    }

    fn text(&mut self, zh: &str, en: &str, text: Option<impl ToString>) -> &mut Self {
        let text = text.map(|text| text.to_string()).filter(|text| !text.is_empty());
        self.values(zh, en, text.map(Value::text).into_iter().collect())
    }

    fn list(&mut self, zh: &str, en: &str, texts: &[String]) -> &mut Self {
        self.values(zh, en, texts.iter().map(Value::text).collect())
    }

    fn section(self, id: &'static str, zh: &'static str, en: &'static str) -> Section {
        Section { id, heading: self.locale.t(zh, en), rows: self.rows }
    }
}

/// An information item.
#[derive(Debug, Clone)]
pub(crate) struct ItemRow {
    pub(crate) name: String,
    pub(crate) column: String,
    pub(crate) data_type: String,
    pub(crate) length: String,
    pub(crate) share: String,
    pub(crate) open: String,
    pub(crate) note: String,
}

impl ItemRow {
    fn new(item: &Item, locale: &Locale) -> Self {
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        let data_type = item.data_type.map(|kind| locale.t(kind.label_zh(), kind.label_en()));
        let share = item.share.map(|kind| locale.t(kind.label_zh(), kind.label_en()));
        let open = item.open.map(|kind| locale.t(kind.label_zh(), kind.label_en()));
        let mask = item.mask_rule.as_ref();
        let notes = [
            item.authoritative.then(|| locale.t("一数一源", "authoritative source").to_owned()),
            mask.map(|rule| locale.t(format!("脱敏：{rule}"), format!("masked: {rule}"))),
            item.share_reason.clone(),
            item.open_reason.clone(),
            item.note.clone(),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        Self {
            name: item.name.clone(),
            column: own(&item.column),
            data_type: data_type.unwrap_or_default().to_owned(),
            length: item.length.map(|length| length.to_string()).unwrap_or_default(),
            share: share.unwrap_or_default().to_owned(),
            open: open.unwrap_or_default().to_owned(),
            note: notes.join(locale.t("；", "; ")),
        }
    }
}

/// `/dataset/{id}` of a live record.
#[derive(Debug, Clone, Template)]
#[template(path = "dataset.html")]
pub(crate) struct DatasetPage {
    pub(crate) frame: Frame,
    pub(crate) title: String,
    pub(crate) provider: String,
    pub(crate) district: String,
    pub(crate) state: &'static str,
    pub(crate) freshness: String,
    pub(crate) open: &'static str,
    pub(crate) summary: Vec<String>,
    pub(crate) before_items: Vec<Section>,
    pub(crate) items: Vec<ItemRow>,
    /// One section a distribution.
    pub(crate) distributions: Vec<Section>,
    pub(crate) after_items: Vec<Section>,
    pub(crate) json: String,
}

impl DatasetPage {
    pub(crate) fn of(frame: Frame, found: &Found, record: &Record, now_ms: i64) -> Self {
        let locale = &frame.locale;
        let open = record.open.kind;
        let title = if found.title().is_empty() { "—" } else { found.title() };
        Self {
            title: title.to_owned(),
            provider: record.provider.name.clone(),
            district: found.district.name.clone(),
            state: found.district.state.name(),
            freshness: freshness(&found.district, now_ms, locale),
            open: locale.t(open.label_zh(), open.label_en()),
            summary: record.summary.lines().map(str::to_owned).collect(),
            before_items: kept(vec![
                city(found, record, locale),
                basic(record, locale),
                sharing(record, locale),
            ]),
            items: record.items.iter().map(|item| ItemRow::new(item, locale)).collect(),
            distributions: record.distributions.iter().map(|one| delivery(one, locale)).collect(),
            after_items: kept(vec![
                identifiers(record, locale),
                extensions(record, locale),
                provenance(found, now_ms, locale),
            ]),
            json: format!("/api/v1/records/{}", found.entry.id),
            frame,
        }
    }
}

fn kept(sections: Vec<Section>) -> Vec<Section> {
    sections.into_iter().filter(|section| !section.rows.is_empty()).collect()
}

/// What the city says beside the district's words, with where it comes from.
fn city(found: &Found, record: &Record, locale: &Locale) -> Section {
    let marks = &found.marks;
    let mut rows = Rows::new(locale);
    if let Some(curated) = &marks.curated {
        let stale = curated.stale.then(|| {
            locale.t("区级内容已更新，待重新确认", "the district changed it since; to be confirmed")
        });
        rows.text("区级标题", "Title of the district", Some(&record.title))
            .text("市级主题", "Theme in the city's list", curated.theme.as_ref())
            .list("市级关键词", "Keywords of the city", &curated.keywords)
            .text("年度重点", "Key theme", curated.key_theme.then(|| locale.t("是", "yes")))
            .text("说明", "Notes", curated.notes.as_ref())
            .text("状态", "State", stale);
    }
    let pending = locale
        .t("待确认：同一代码已属另一条目录", "not confirmed: the code belongs to another record");
    rows.text("资源代码", "Resource code", marks.code_pending.then_some(pending));
    for other in &marks.duplicates {
        let (zh, en) = other.relation.label();
        let text = if other.title.is_empty() { "—".to_owned() } else { other.title.clone() };
        let href = Some(locale.link(&format!("/dataset/{}", other.id)));
        rows.values(zh, en, vec![Value { text, href }]);
    }
    rows.section("city", "市级编目", "Curated by the city")
}

fn basic(record: &Record, locale: &Locale) -> Section {
    let provider = &record.provider;
    let contact = provider.contact.clone().unwrap_or_default();
    let key_theme = record.key_theme.as_ref().map(|theme| match &theme.sub_area {
        Some(part) => format!("{} / {part}", theme.area),
        None => theme.area.clone(),
    });
    let validity = record.validity.as_ref().map(|validity| {
        let day = |day: Option<jiff::civil::Date>| day.map(|d| d.to_string()).unwrap_or_default();
        format!("{} – {}", day(validity.from), day(validity.until))
    });
    let cycle = record.update_cycle.map(|cycle| locale.t(cycle.label_zh(), cycle.label_en()));
    let mut rows = Rows::new(locale);
    rows.text("提供单位", "Provider", Some(&provider.name))
        .text("统一社会信用代码", "Unified social credit code", provider.uscc.as_ref())
        .text("提供科室", "Unit", provider.unit.as_ref())
        .text("联系人", "Contact", contact.name)
        .text("联系电话", "Telephone", contact.phone)
        .text("电子邮箱", "E-mail", contact.email)
        .text("资源代码", "Resource code", record.code.as_ref())
        .text("类目", "Class", record.class.as_ref())
        .text("主题", "Theme", record.theme.as_ref())
        .text("本区主题", "Local theme", record.local_theme.as_ref())
        .text("重点领域", "Key theme", key_theme)
        .text("行业", "Industry", record.industry.as_ref())
        .list("关键词", "Keywords", &record.keywords)
        .text("更新周期", "Update cycle", cycle)
        .text("数据更新日期", "Data renewed", record.data_updated)
        .text("下次应更新日期", "Next renewal due", record.next_due)
        .text("发布日期", "Published", record.published)
        .text("修改日期", "Modified", record.modified)
        .text("有效期", "Valid", validity)
        .list("格式", "Formats", &record.formats)
        .text("字符集", "Character set", record.charset.as_ref())
        .text("数据量（行）", "Rows", record.rows)
        .text("数据量（字节）", "Bytes", record.bytes)
        .list("关联资源", "Related", &record.related)
        .list("所属项目", "Projects", &record.projects)
        .list("来源系统", "Systems", &record.systems);
    rows.section("basic", "基本信息", "Basics")
}

fn sharing(record: &Record, locale: &Locale) -> Section {
    let open = &record.open;
    let mut rows = Rows::new(locale);
    rows.text("开放属性", "Opening", Some(locale.t(open.kind.label_zh(), open.kind.label_en())))
        .text("开放条件", "Condition of opening", open.condition.as_ref())
        .text("不开放理由", "Reason", open.reason.as_ref());
    if let Some(share) = &record.share {
        let kind = locale.t(share.kind.label_zh(), share.kind.label_en());
        let modes = share.modes.iter().map(|mode| locale.t(mode.label_zh(), mode.label_en()));
        rows.text("共享属性", "Sharing", Some(kind))
            .text("共享条件", "Condition of sharing", share.condition.as_ref())
            .text("不共享理由", "Reason for not sharing", share.reason.as_ref())
            .values("共享方式", "Ways of sharing", modes.map(Value::text).collect());
    }
    rows.section("sharing", "共享与开放", "Sharing and opening")
}

fn delivery(one: &Distribution, locale: &Locale) -> Section {
    let mut rows = Rows::new(locale);
    let masked = one.masked.then(|| locale.t("已脱敏或裁剪", "masked or cut"));
    rows.values("地址", "Address", one.url.iter().map(|url| Value::address(url)).collect())
        .text("媒体类型", "Media type", one.media_type.as_ref())
        .text("字符集", "Character set", one.encoding.as_ref())
        .text("大小（字节）", "Bytes", one.bytes)
        .text("校验值", "Checksum", one.checksum.as_ref())
        .text("说明", "Description", one.description.as_ref())
        .text("服务承诺", "Service level", one.sla.as_ref())
        .text("许可", "Licence", one.licence.as_ref())
        .text("数据处理", "Processing", masked);
    rows.section("", one.mode.label_zh(), one.mode.label_en())
}

fn identifiers(record: &Record, locale: &Locale) -> Section {
    let mut rows = Rows::new(locale);
    for Identifier { scheme, value } in &record.identifiers {
        rows.values(scheme, scheme, vec![Value::address(value)]);
    }
    rows.section("identifiers", "其他标识", "Identifiers")
}

fn extensions(record: &Record, locale: &Locale) -> Section {
    let mut rows = Rows::new(locale);
    for (name, value) in &record.extensions {
        rows.text(name, name, Some(value));
    }
    rows.section("extensions", "扩展字段", "Extension fields")
}

fn provenance(found: &Found, now_ms: i64, locale: &Locale) -> Section {
    let (entry, district) = (&found.entry, &found.district);
    let changed = Moment::new(entry.changed_at_ms, now_ms, locale);
    let feed: String = entry.feed.to_string().chars().take(8).collect();
    let mut rows = Rows::new(locale);
    rows.text("所属区", "District", Some(format!("{} ({})", district.name, district.code)))
        .text("编制时属", "District when it was written", found.written_by.as_ref())
        .text("节点日志", "Node feed", Some(feed))
        .text("变更序号", "Position in the feed", Some(entry.seq))
        .text("变更哈希", "Hash of the change", Some(entry.op_hash))
        .text(
            "变更时间（北京时间）",
            "Changed (Shanghai time)",
            Some(locale.t(
                format!("{}（{}）", changed.text, changed.ago),
                format!("{} ({})", changed.text, changed.ago),
            )),
        )
        .text("同步状态", "Freshness", Some(freshness(district, now_ms, locale)))
        .text("记录编号", "Record id", Some(entry.id));
    rows.section("provenance", "来源与同步", "Source and replication")
}

/// `/dataset/{id}` of a record that was withdrawn.
#[derive(Debug, Clone, Template)]
#[template(path = "withdrawn.html")]
pub(crate) struct WithdrawnPage {
    pub(crate) frame: Frame,
    pub(crate) district: String,
    pub(crate) freshness: String,
    pub(crate) when: Moment,
    pub(crate) class: &'static str,
    pub(crate) reason: String,
    /// The record that takes its place.
    pub(crate) replaced_by: Option<String>,
    pub(crate) id: String,
}

impl WithdrawnPage {
    pub(crate) fn of(frame: Frame, found: &Found, now_ms: i64) -> Self {
        let locale = &frame.locale;
        let tombstone: Tombstone = serde_json::from_slice(&found.entry.payload).unwrap_or_default();
        let replaced_by = tombstone.replaced_by;
        let (class_zh, class_en) = reason_class("withdrawn");
        Self {
            district: found.district.name.clone(),
            freshness: freshness(&found.district, now_ms, locale),
            when: Moment::new(found.entry.changed_at_ms, now_ms, locale),
            class: locale.t(class_zh, class_en),
            reason: found.withdrawn_reason().to_owned(),
            replaced_by: replaced_by.map(|id| locale.link(&format!("/dataset/{id}"))),
            id: found.entry.id.to_string(),
            frame,
        }
    }
}
