//! The rules between the fields of a record that was read.

use std::collections::HashSet;

use jiff::civil::Date;

use super::Fault;
use super::rule::{self, Rule};
use crate::code::{Delivery, OpenKind, ShareKind, Values, table};
use crate::mapping::is_secrecy_label;
use crate::record::{Record, limit, text};

/// Kinds of personal data that alone in a keyword are worth a question.
const TELLING_KINDS: [&str; 4] = ["idcard", "bankcard", "passport", "mobile"];

/// Formats whose files are text, so that their character set must be known.
const TEXT_FORMATS: [&str; 6] = ["csv", "htm", "html", "json", "txt", "xml"];

/// Applies every rule; `open_known` is false when the type of opening was missing or unknown.
pub(super) fn apply(record: &Record, open_known: bool, today: Date, faults: &mut Vec<Fault>) {
    let mut law = Law { record, faults };
    law.texts();
    law.provider();
    law.subject();
    law.secrecy();
    law.share();
    if open_known {
        law.open();
        law.personal();
    }
    law.items();
    law.delivery();
    law.dates(today);
    law.limits();
}

struct Law<'a> {
    record: &'a Record,
    faults: &'a mut Vec<Fault>,
}

impl Law<'_> {
    fn fault(&mut self, rule: &Rule, field: &str, value: Option<&str>) {
        self.faults.push(rule.fault(field, value));
    }

    /// Source: plan 二(一)2, no incomplete entries.
    fn texts(&mut self) {
        let r = self.record;
        if r.summary.is_empty() {
            self.fault(&rule::ABSTRACT_MISSING, "abstract", None);
        } else if text::fold(&r.summary) == text::fold(&r.title) {
            self.fault(&rule::ABSTRACT_SAME, "abstract", Some(&r.summary));
        }
        if let Some(code) = &r.code
            && !is_resource_code(code)
        {
            self.fault(&rule::CODE_SHAPE, "code", Some(code));
        }
    }

    fn provider(&mut self) {
        let provider = &self.record.provider;
        if provider.name.is_empty() {
            self.fault(&rule::PROVIDER_MISSING, "provider.name", None);
        }
        if provider.uscc.is_none() {
            self.fault(&rule::USCC_MISSING, "provider.uscc", None);
        }
        let Some(contact) = &provider.contact else { return };
        if let Some(phone) = contact.phone.as_deref().filter(|phone| !is_phone(phone)) {
            self.fault(&rule::PHONE_SHAPE, "provider.contact.phone", Some(phone));
        }
        if let Some(email) = contact.email.as_deref().filter(|email| !is_email(email)) {
            self.fault(&rule::EMAIL_SHAPE, "provider.contact.email", Some(email));
        }
    }

    fn subject(&mut self) {
        match &self.record.theme {
            None => self.fault(&rule::THEME_MISSING, "theme", None),
            Some(theme) if !table::is_theme(theme) => {
                self.fault(&rule::THEME_UNKNOWN, "theme", Some(theme));
            }
            Some(_) => {}
        }
        let sub_area = self.record.key_theme.as_ref().and_then(|theme| theme.sub_area.as_deref());
        if let Some(area) = sub_area
            && Values::builtin().lookup("key_theme.sub_area", area).is_none()
        {
            self.fault(&rule::KEY_THEME_UNKNOWN, "key_theme.sub_area", Some(area));
        }
    }

    /// Source: plan 三(四), secret entries stay out.
    fn secrecy(&mut self) {
        for (label, mark) in &self.record.extensions {
            if table::is_absent(mark) || !is_secrecy_label(label) {
                continue;
            }
            let field = format!("extensions.{label}");
            let known = Values::builtin().lookup("secrecy", mark);
            match known.map(|value| value.canonical.as_str()) {
                Some("no") => {}
                Some(_) => self.faults.push(rule::SECRET.fault(field, Some(mark))),
                // Marks carry terms, as in 机密★10年; what is not known to be harmless and speaks of
                // 密 is refused.
                None if mark.contains('密') => {
                    self.faults.push(rule::SECRET.fault(field, Some(mark)));
                }
                None => self.faults.push(rule::SECRECY_UNKNOWN.fault(field, Some(mark))),
            }
        }
        let title = &self.record.title;
        if title.contains("涉密") && !title.contains("非涉密") {
            self.fault(&rule::SECRET_TITLE, "title", Some(title));
        }
    }

    /// Source: plan 二(一)4.
    fn share(&mut self) {
        let Some(share) = &self.record.share else {
            if !self.record.extensions.contains_key("raw:share.kind") {
                self.fault(&rule::SHARE_MISSING, "share.kind", None);
            }
            return;
        };
        match share.kind {
            ShareKind::OnDemand if share.condition.is_none() => {
                self.fault(&rule::SHARE_CONDITION, "share.condition", None);
            }
            ShareKind::None => {
                if share.reason.is_none() {
                    self.fault(&rule::SHARE_REASON, "share.reason", None);
                }
                for (place, item) in self.record.items.iter().enumerate() {
                    if item.share.is_some_and(|kind| kind != ShareKind::None) {
                        let field = format!("items[{place}].share");
                        self.fault(&rule::SHARE_ITEMS, &field, Some(&item.name));
                    }
                }
            }
            ShareKind::Universal if self.record.distributions.is_empty() => {
                self.fault(&rule::SHARE_UNDELIVERED, "distributions", None);
            }
            ShareKind::OnDemand | ShareKind::Universal => {}
        }
    }

    /// Source: plan 二(二)1.
    fn open(&mut self) {
        let open = &self.record.open;
        match open.kind {
            OpenKind::Open => self.open_to_all(),
            OpenKind::OnRequest if open.condition.is_none() => {
                self.fault(&rule::OPEN_CONDITION, "open.condition", None);
            }
            OpenKind::Closed if open.reason.is_none() => {
                self.fault(&rule::OPEN_REASON, "open.reason", None);
            }
            OpenKind::OnRequest | OpenKind::Closed => {}
        }
    }

    fn open_to_all(&mut self) {
        let r = self.record;
        if let Some(condition) = &r.open.condition {
            self.fault(&rule::OPEN_CONTRADICTION, "open.condition", Some(condition));
        }
        if r.distributions.is_empty() {
            self.fault(&rule::OPEN_UNDELIVERED, "distributions", None);
        }
        if r.distributions.iter().any(|distribution| distribution.masked) {
            return;
        }
        for (place, item) in r.items.iter().enumerate() {
            if item.open == Some(OpenKind::Closed) {
                let field = format!("items[{place}].open");
                self.fault(&rule::OPEN_ITEMS, &field, Some(&item.name));
            }
        }
    }

    /// Source: plan 二(二)2, what is sensitive is opened after masking.
    fn personal(&mut self) {
        let r = self.record;
        for (place, item) in r.items.iter().enumerate() {
            let open = item.open.unwrap_or(r.open.kind) == OpenKind::Open;
            if open && item.mask_rule.is_none() && table::personal_kind(&item.name).is_some() {
                let field = format!("items[{place}].mask_rule");
                self.fault(&rule::ITEM_PERSONAL, &field, Some(&item.name));
            }
        }
        if r.open.kind == OpenKind::Open && r.items.is_empty() {
            let telling = |word: &&String| {
                table::personal_kind(word).is_some_and(|kind| TELLING_KINDS.contains(&kind))
            };
            if let Some(word) = r.keywords.iter().find(telling) {
                self.fault(&rule::KEYWORD_PERSONAL, "keywords", Some(word));
            }
        }
    }

    fn items(&mut self) {
        let mut names = HashSet::new();
        for (place, item) in self.record.items.iter().enumerate() {
            if !item.name.is_empty() && !names.insert(item.name.as_str()) {
                self.fault(&rule::ITEM_TWICE, &format!("items[{place}].name"), Some(&item.name));
            }
            if item.share == Some(ShareKind::None) && item.share_reason.is_none() {
                let field = format!("items[{place}].share_reason");
                self.fault(&rule::ITEM_SHARE_REASON, &field, Some(&item.name));
            }
            if item.open == Some(OpenKind::Closed) && item.open_reason.is_none() {
                let field = format!("items[{place}].open_reason");
                self.fault(&rule::ITEM_OPEN_REASON, &field, Some(&item.name));
            }
        }
    }

    fn delivery(&mut self) {
        let r = self.record;
        let text = r.formats.iter().any(|format| TEXT_FORMATS.contains(&format.as_str()));
        let stated = r.charset.is_some() || r.distributions.iter().any(|d| d.encoding.is_some());
        if text && !stated {
            self.fault(&rule::CHARSET_MISSING, "charset", None);
        }
        for (place, distribution) in r.distributions.iter().enumerate() {
            if distribution.mode != Delivery::Offline && distribution.url.is_none() {
                let field = format!("distributions[{place}].url");
                self.fault(&rule::DELIVERY_ADDRESS, &field, None);
            }
        }
    }

    fn dates(&mut self, today: Date) {
        let r = self.record;
        let past = [
            ("published", r.published),
            ("modified", r.modified),
            ("data_updated", r.data_updated),
        ];
        for (field, date) in past {
            if let Some(date) = date.filter(|date| *date > today) {
                self.fault(&rule::DATE_FUTURE, field, Some(&date.to_string()));
            }
        }
        if let Some(validity) = &r.validity
            && let (Some(from), Some(until)) = (validity.from, validity.until)
            && until < from
        {
            self.fault(&rule::VALIDITY_ORDER, "validity.until", Some(&until.to_string()));
        }
        match r.update_cycle {
            None if !r.extensions.contains_key("raw:update_cycle") => {
                self.fault(&rule::CYCLE_MISSING, "update_cycle", None);
            }
            Some(cycle) => {
                let (Some(age), Some(updated)) = (cycle.max_age_days(), r.data_updated) else {
                    return;
                };
                let days = (today - updated).get_days();
                if i64::from(days) > i64::from(age) + limit::UPDATE_GRACE_DAYS {
                    self.fault(&rule::OVERDUE, "data_updated", Some(&updated.to_string()));
                }
            }
            None => {}
        }
    }

    fn limits(&mut self) {
        let r = self.record;
        if r.keywords.len() > limit::KEYWORDS_MAX {
            self.fault(&rule::KEYWORDS_MANY, "keywords", Some(&r.keywords.len().to_string()));
        }
        if r.extensions.len() > limit::EXTENSIONS_MAX {
            self.fault(&rule::EXTENSIONS_MANY, "extensions", Some(&r.extensions.len().to_string()));
        }
    }
}

/// Whether a text is a class code of at least three digits, a slash and a sequence.
///
/// Source: 发改高技术〔2017〕1272号, element 3.
fn is_resource_code(code: &str) -> bool {
    code.split_once('/').is_some_and(|(class, sequence)| {
        class.len() >= 3
            && class.bytes().all(|b| b.is_ascii_digit())
            && !sequence.is_empty()
            && sequence.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

fn is_phone(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let plain =
        |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-－—()（）转,，、/;；".contains(c);
    digits >= 5 && text.chars().all(plain)
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        let plain = |c: char| c.is_ascii_graphic() && c != '@';
        let dotted = domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.');
        !local.is_empty() && dotted && local.chars().all(plain) && domain.chars().all(plain)
    })
}
