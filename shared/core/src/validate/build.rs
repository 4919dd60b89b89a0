//! Reads every field of a draft into a record.
//!
//! What cannot be read is not lost: the text goes to an extension named `raw:` and the field, and
//! the warning stays until the field is filled.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::rule::{self, Rule};
use super::{Draft, DraftDistribution, DraftItem, Fault};
use crate::code::{
    DataType, Delivery, OpenKind, ShareKind, ShareMode, UpdateCycle, Uscc, Values, read, table,
};
use crate::record::{
    Contact, Distribution, Identifier, Item, KeyTheme, Open, Provider, Record, Share, Validity,
    limit, text,
};

/// Begins the name of an extension that keeps a value nobody could read.
const RAW: &str = "raw:";

struct Build {
    faults: Vec<Fault>,
    extensions: BTreeMap<String, String>,
}

/// The record, whether its type of opening was readable, and what was wrong with single fields.
pub(super) fn build(draft: Draft) -> (Record, bool, Vec<Fault>) {
    let mut b = Build { faults: Vec::new(), extensions: draft.extensions };
    let title = b.title(draft.title);
    let summary = b.summary(draft.summary);
    let keywords = b.list("keywords", draft.keywords);
    let code = b.line("code", draft.code);
    let provider = Provider {
        name: b.line("provider.name", draft.provider_name).unwrap_or_default(),
        uscc: b.uscc(draft.provider_uscc),
        unit: b.line("provider.unit", draft.provider_unit),
        contact: Some(Contact {
            name: b.line("provider.contact.name", draft.contact_name),
            phone: b.line("provider.contact.phone", draft.contact_phone),
            email: b.line("provider.contact.email", draft.contact_email),
        }),
    };
    let share =
        b.share(draft.share_kind, draft.share_condition, draft.share_reason, draft.share_modes);
    let (open, open_known) = b.open(draft.open_kind, draft.open_condition, draft.open_reason);
    let record = Record {
        title,
        summary,
        keywords,
        code,
        provider,
        class: b.line("class", draft.class),
        theme: b.line("theme", draft.theme),
        local_theme: b.line("local_theme", draft.local_theme),
        industry: b.line("industry", draft.industry),
        key_theme: b.key_theme(draft.key_area, draft.key_sub_area),
        share,
        open,
        items: b.items(draft.items),
        formats: b.list("formats", draft.formats),
        charset: b.line("charset", draft.charset),
        update_cycle: b.read("update_cycle", draft.update_cycle, UpdateCycle::parse),
        rows: b.read("rows", draft.rows, read::count),
        bytes: b.read("bytes", draft.bytes, read::size),
        data_updated: b.read("data_updated", draft.data_updated, read::date),
        next_due: b.read("next_due", draft.next_due, read::date),
        published: b.read("published", draft.published, read::date),
        modified: b.read("modified", draft.modified, read::date),
        distributions: b.distributions(draft.distributions),
        identifiers: b.identifiers(draft.identifiers),
        related: b.list("related", draft.related),
        projects: b.list("projects", draft.projects),
        systems: b.list("systems", draft.systems),
        validity: b.validity(draft.valid_from, draft.valid_until),
        extensions: BTreeMap::new(),
    };
    b.report_kept();
    let record = Record { extensions: b.extensions, ..record };
    (record, open_known, b.faults)
}

impl Build {
    fn fault(&mut self, rule: &Rule, field: &str, value: Option<&str>) {
        self.faults.push(rule.fault(field, value));
    }

    /// Keeps a text nobody could read.
    fn keep(&mut self, field: &str, raw: String) {
        self.extensions.insert(format!("{RAW}{field}"), raw);
    }

    /// Warns of every text that was kept, now or by an earlier check.
    fn report_kept(&mut self) {
        for (name, raw) in &self.extensions {
            let Some(field) = name.strip_prefix(RAW) else { continue };
            if let Some(rule) = rule_of_kept(field) {
                self.faults.push(rule.fault(field, Some(raw)));
            }
        }
    }

    fn examine(&mut self, field: &str, text: &str, chars_max: usize, too_long: &Rule) {
        if text.contains('\u{FFFD}') {
            self.fault(&rule::TEXT_GARBLED, field, Some(text));
        }
        if text.chars().nth(chars_max).is_some() {
            self.fault(too_long, field, Some(text));
        }
    }

    /// One line of text; words that mean "nothing" are nothing.
    fn line(&mut self, field: &str, raw: Option<String>) -> Option<String> {
        let text = text::line(&raw?);
        if table::is_absent(&text) {
            return None;
        }
        self.examine(field, &text, limit::LINE_CHARS_MAX, &rule::TEXT_LONG);
        Some(text)
    }

    /// Several lines of text.
    fn block(&mut self, field: &str, raw: Option<String>) -> Option<String> {
        let text = text::block(&raw?);
        if table::is_absent(&text) {
            return None;
        }
        self.examine(field, &text, limit::BLOCK_CHARS_MAX, &rule::TEXT_LONG);
        Some(text)
    }

    fn list(&mut self, field: &str, raw: Vec<String>) -> Vec<String> {
        let mut lines = Vec::with_capacity(raw.len());
        for (place, raw) in raw.into_iter().enumerate() {
            lines.extend(self.line(&format!("{field}[{place}]"), Some(raw)));
        }
        lines
    }

    /// A value that has to be readable; otherwise its text is kept.
    fn read<T>(
        &mut self,
        field: &str,
        raw: Option<String>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let raw = raw.filter(|raw| !table::is_absent(raw))?;
        let value = read(&raw);
        if value.is_none() {
            self.keep(field, raw);
        } else if !field.contains('[') {
            // Parts of a set move when it is sorted, so only a field of the entry itself clears
            // its old text.
            self.extensions.remove(&format!("{RAW}{field}"));
        }
        value
    }

    fn title(&mut self, raw: Option<String>) -> String {
        let raw = raw.unwrap_or_default();
        if raw.contains(text::is_stray_control) {
            self.fault(&rule::TITLE_CONTROL, "title", Some(&raw));
        }
        let title = text::line(&raw);
        if table::is_absent(&title) {
            self.fault(&rule::TITLE_MISSING, "title", Some(&title));
            return String::new();
        }
        if raw.trim().contains(text::is_break) {
            self.fault(&rule::TITLE_BREAK, "title", Some(&title));
        }
        self.examine("title", &title, limit::TITLE_CHARS_MAX, &rule::TITLE_LONG);
        title
    }

    fn summary(&mut self, raw: Option<String>) -> String {
        let summary = text::block(&raw.unwrap_or_default());
        if table::is_absent(&summary) {
            return String::new();
        }
        self.examine("abstract", &summary, limit::ABSTRACT_CHARS_MAX, &rule::ABSTRACT_LONG);
        summary
    }

    fn uscc(&mut self, raw: Option<String>) -> Option<String> {
        let raw = self.line("provider.uscc", raw)?;
        match Uscc::parse(&raw) {
            Ok(code) => {
                if !code.inner_is_right() {
                    self.fault(&rule::USCC_INNER, "provider.uscc", Some(code.as_str()));
                }
                Some(code.as_str().to_owned())
            }
            Err(error) => {
                let mut fault = rule::USCC_INVALID.fault("provider.uscc", Some(&raw));
                fault.message.en = format!("{}: {error}", fault.message.en);
                self.faults.push(fault);
                Some(raw)
            }
        }
    }

    fn key_theme(&mut self, area: Option<String>, sub_area: Option<String>) -> Option<KeyTheme> {
        let area = self.line("key_theme.area", area);
        let sub_area = self.line("key_theme.sub_area", sub_area);
        if area.is_none() && sub_area.is_none() {
            return None;
        }
        Some(KeyTheme { area: area.unwrap_or_default(), sub_area })
    }

    fn share(
        &mut self,
        kind: Option<String>,
        condition: Option<String>,
        reason: Option<String>,
        modes: Vec<String>,
    ) -> Option<Share> {
        let kind = self.read("share.kind", kind, ShareKind::parse);
        let condition = self.block("share.condition", condition);
        let reason = self.block("share.reason", reason);
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for raw in modes {
            match ShareMode::parse(&raw) {
                Some(mode) => known.push(mode),
                None if table::is_absent(&raw) => {}
                None => unknown.push(raw),
            }
        }
        if !unknown.is_empty() {
            self.keep("share.modes", unknown.join("；"));
        }
        if kind.is_none() {
            // A condition without a type would be a type by implication; the words are kept, the
            // type is asked for.
            let labels: Vec<_> = known.iter().map(|mode| mode.label_zh()).collect();
            let modes = Some(labels.join("；")).filter(|labels| !labels.is_empty());
            for (field, text) in [
                ("share.condition", condition.clone()),
                ("share.reason", reason.clone()),
                ("share.modes.known", modes),
            ] {
                if let Some(text) = text {
                    self.keep(field, text);
                }
            }
        }
        kind.map(|kind| Share { kind, condition, reason, modes: known })
    }

    fn open(
        &mut self,
        kind: Option<String>,
        condition: Option<String>,
        reason: Option<String>,
    ) -> (Open, bool) {
        let raw = self.line("open.kind", kind);
        let kind = raw.as_deref().and_then(OpenKind::parse);
        match (&raw, kind) {
            (None, _) => self.fault(&rule::OPEN_MISSING, "open.kind", None),
            (Some(raw), None) => self.fault(&rule::OPEN_UNKNOWN, "open.kind", Some(raw)),
            (Some(_), Some(_)) => {}
        }
        let condition = self.block("open.condition", condition);
        let reason = self.block("open.reason", reason);
        (Open { kind: kind.unwrap_or_default(), condition, reason }, kind.is_some())
    }

    fn items(&mut self, items: Vec<DraftItem>) -> Vec<Item> {
        if items.len() > limit::ITEMS_MAX {
            self.fault(&rule::ITEMS_MANY, "items", Some(&items.len().to_string()));
        }
        let counted = items.into_iter().take(limit::ITEMS_MAX).enumerate();
        counted.map(|(place, item)| self.item(&format!("items[{place}]"), item)).collect()
    }

    fn item(&mut self, at: &str, item: DraftItem) -> Item {
        let path = |field: &str| format!("{at}.{field}");
        let name = self.line(&path("name"), item.name);
        if name.is_none() {
            self.fault(&rule::ITEM_NAME, &path("name"), None);
        }
        let share = self.line(&path("share"), item.share);
        let open = self.line(&path("open"), item.open);
        let read = Item {
            name: name.unwrap_or_default(),
            column: self.line(&path("column"), item.column),
            data_type: self.read(&path("data_type"), item.data_type, DataType::parse),
            length: None,
            share: share.as_deref().and_then(ShareKind::parse),
            share_reason: self.block(&path("share_reason"), item.share_reason),
            open: open.as_deref().and_then(OpenKind::parse),
            open_reason: self.block(&path("open_reason"), item.open_reason),
            mask_rule: self.line(&path("mask_rule"), item.mask_rule),
            authoritative: flag(item.authoritative),
            note: self.block(&path("note"), item.note),
        };
        // An unknown type must not fall back to that of the entry, which could be wider.
        if read.share.is_none() && share.is_some() {
            self.fault(&rule::ITEM_SHARE_UNKNOWN, &path("share"), share.as_deref());
        }
        if read.open.is_none() && open.is_some() {
            self.fault(&rule::ITEM_OPEN_UNKNOWN, &path("open"), open.as_deref());
        }
        self.item_length(&path("length"), item.length, read)
    }

    /// Reads `18`, and `10,6` as length 10 with the digits behind the point in the note.
    fn item_length(&mut self, field: &str, raw: Option<String>, mut item: Item) -> Item {
        let whole = raw.as_deref().and_then(|raw| raw.split_once([',', '，']).map(|pair| pair.0));
        let has_scale = whole.is_some();
        let first = whole.map(str::to_owned).or_else(|| raw.clone());
        let narrow = |raw: &str| read::count(raw).and_then(|count| u32::try_from(count).ok());
        item.length = self.read(field, first, narrow);
        if has_scale && item.length.is_some() {
            let scale = format!("长度 {}", text::line(&raw.unwrap_or_default()));
            item.note = Some(item.note.map_or(scale.clone(), |note| format!("{note}\n{scale}")));
        }
        item
    }

    fn distributions(&mut self, list: Vec<DraftDistribution>) -> Vec<Distribution> {
        if list.len() > limit::DISTRIBUTIONS_MAX {
            self.fault(&rule::DELIVERIES_MANY, "distributions", Some(&list.len().to_string()));
        }
        let counted = list.into_iter().take(limit::DISTRIBUTIONS_MAX).enumerate();
        counted.map(|(place, d)| self.distribution(&format!("distributions[{place}]"), d)).collect()
    }

    fn distribution(&mut self, at: &str, raw: DraftDistribution) -> Distribution {
        let path = |field: &str| format!("{at}.{field}");
        let address = |raw: &str| Some(text::line(raw)).filter(|url| read::is_web_address(url));
        let url = self.read(&path("url"), raw.url, address);
        let mode = self.read(&path("mode"), raw.mode, Delivery::parse);
        let likely = if url.is_some() { Delivery::File } else { Delivery::Offline };
        Distribution {
            mode: mode.unwrap_or(likely),
            url,
            media_type: self.line(&path("media_type"), raw.media_type),
            encoding: self.line(&path("encoding"), raw.encoding),
            checksum: self.line(&path("checksum"), raw.checksum),
            bytes: self.read(&path("bytes"), raw.bytes, read::size),
            description: self.block(&path("description"), raw.description),
            sla: self.line(&path("sla"), raw.sla),
            licence: self.line(&path("licence"), raw.licence),
            masked: flag(raw.masked),
        }
    }

    fn identifiers(&mut self, list: Vec<Identifier>) -> Vec<Identifier> {
        let mut out = Vec::with_capacity(list.len());
        for (place, identifier) in list.into_iter().enumerate() {
            let at = format!("identifiers[{place}].value");
            let Some(value) = self.line(&at, Some(identifier.value)) else { continue };
            // Only an address may be called one, because pages link it.
            let mut scheme = text::line(&identifier.scheme);
            if scheme.is_empty() || (scheme == "url" && !read::is_web_address(&value)) {
                "id".clone_into(&mut scheme);
            }
            out.push(Identifier { scheme, value });
        }
        out
    }

    fn validity(&mut self, from: Option<String>, until: Option<String>) -> Option<Validity> {
        let from: Option<Date> = self.read("validity.from", from, read::date);
        let until: Option<Date> = self.read("validity.until", until, read::date);
        if from.is_none() && until.is_none() { None } else { Some(Validity { from, until }) }
    }
}

fn flag(raw: Option<String>) -> bool {
    let known = raw.and_then(|raw| Values::builtin().lookup("flag", &raw));
    known.is_some_and(|value| value.canonical == "true")
}

/// The rule that a kept text breaks, by the field it was meant for.
fn rule_of_kept(field: &str) -> Option<&'static Rule> {
    let last = field.rsplit('.').next().unwrap_or(field);
    Some(match (field, last) {
        ("share.kind", _) => &rule::SHARE_UNKNOWN,
        ("share.modes", _) => &rule::SHARE_MODE,
        ("update_cycle", _) => &rule::CYCLE_UNKNOWN,
        (_, "rows" | "bytes" | "length") => &rule::NUMBER_UNREADABLE,
        (_, "data_updated" | "next_due" | "published" | "modified" | "from" | "until") => {
            &rule::DATE_UNREADABLE
        }
        (_, "data_type") => &rule::ITEM_TYPE,
        (_, "mode") => &rule::DELIVERY_MODE,
        (_, "url") => &rule::URL_UNREADABLE,
        _ => return None,
    })
}
