//! A record as a document of the index.

use jiff::civil::Date;
use liandong_core::{
    city::City,
    id::{DistrictCode, FeedId, Hash, RecordId},
    label,
    record::{Record, Visibility},
    search,
};
use tantivy::{TantivyDocument, schema::Field};

use super::schema::Fields;
use crate::query::Facet;

/// Longest name that is sorted by, characters.
const NAME_CHARS: usize = 64;
/// Between the name of a label and its value.
pub(super) const LABEL: char = '\u{1F}';
/// Longest value that is a term as it is, bytes.
const LABEL_BYTES_MAX: usize = 96;
/// What patterns can find of a longer one, characters.
const LABEL_BEGIN_CHARS: usize = 24;
/// Stands for a missing day of data: older than any.
pub(super) const NO_DAY: i64 = i64::MIN;
/// Stands for data that are never due.
pub(super) const NEVER_DUE: i64 = i64::MAX;

/// Everything that the index knows of a record.
#[derive(Debug, Clone)]
pub(crate) struct Document<'a> {
    /// The record.
    pub(crate) id: RecordId,
    /// Feed that answers for it.
    pub(crate) feed: FeedId,
    /// Who may see it.
    pub(crate) visibility: Visibility,
    /// Its content, as it is shown.
    pub(crate) record: &'a Record,
    /// Code of its district and all its names.
    pub(crate) place: &'a Place,
    /// What its copies have in common; none when it has no copies.
    pub(crate) group: Option<RecordId>,
    /// When it was first seen here and when it last changed here, microseconds since 1970.
    pub(crate) stamps: Stamps,
}

/// A district, for searches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Code, if it has one.
    pub(crate) code: Option<DistrictCode>,
    /// Names it has and had.
    pub(crate) names: Vec<String>,
}

/// Endings that people leave out of a district's name.
const DISTRICT_ENDINGS: [&str; 4] = ["新区", "区", "县", "市"];

impl Place {
    /// The district of a feed: all names it has and had, with the short ones.
    pub(crate) fn of(city: &City, feed: FeedId) -> Self {
        let Some(district) = city.directory.district_of(feed) else { return Self::default() };
        let former = city.directory.former(&district.code);
        let former = former.iter().filter_map(|code| city.directory.districts.get(code));
        let mut names = Vec::new();
        for name in std::iter::once(&district.name).chain(former.map(|district| &district.name)) {
            let short = DISTRICT_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
            let short = short.filter(|short| short.chars().count() >= 2);
            names.extend([Some(name.as_str()), short].into_iter().flatten().map(str::to_owned));
        }
        names.sort_unstable();
        names.dedup();
        Self { code: Some(district.code.clone()), names }
    }
}

/// What the copies of a record have in common; none when it has no copies.
pub(crate) fn group_of(city: &City, id: RecordId) -> Option<RecordId> {
    let copies = city.conflicts.copies(id);
    copies.first().copied().filter(|_| copies.len() > 1)
}

/// When a record became visible here, and when what is shown of it last changed, microseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamps {
    /// First.
    pub created_us: i64,
    /// Last: grows with every visible change.
    pub modified_us: i64,
}

/// Days since 1970.
pub(super) fn day_number(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    i64::from(date.since(epoch).map_or(0, |span| span.get_days()))
}

/// The place of a record among those that are equal in the order asked for.
pub(super) fn tie(id: RecordId) -> u64 {
    label::dataset_order(id)
}

/// A label as a term. Of a long value the beginning stands there, and a hash that tells it from others.
pub(super) fn label_term(key: &str, value: Option<&str>) -> String {
    let Some(value) = value else { return key.to_owned() };
    if value.len() <= LABEL_BYTES_MAX {
        return format!("{key}{LABEL}{value}");
    }
    let hash = Hash::of(&[value.as_bytes()]);
    let begin: String = value.chars().take(LABEL_BEGIN_CHARS).collect();
    format!("{key}{LABEL}{begin}{LABEL}{}", hex::encode(&hash.as_bytes()[..8]))
}

/// A value of a facet as a term.
pub(super) fn filed_term(facet: Facet, value: &str) -> String {
    label_term(facet.name(), Some(value))
}

/// Who may see a record, as a term.
pub(super) fn visibility_term(visibility: Visibility) -> String {
    let who = match visibility {
        Visibility::Restricted => "restricted",
        Visibility::Shared => "shared",
        Visibility::Public => "public",
    };
    label_term("visibility", Some(who))
}

impl Document<'_> {
    pub(super) fn build(&self, fields: &Fields) -> TantivyDocument {
        let mut document = TantivyDocument::default();
        document.add_text(fields.id, self.id.to_string());
        document.add_text(fields.filed, visibility_term(self.visibility));
        document.add_u64(fields.tie, tie(self.id));
        document.add_u64(fields.group, self.group.map_or(0, |group| tie(group).max(1)));
        document.add_i64(fields.created, self.stamps.created_us);
        document.add_i64(fields.modified, self.stamps.modified_us);
        let record = self.record;
        let day = record.data_updated.or(record.modified).or(record.published);
        document.add_i64(fields.day, day.map_or(NO_DAY, day_number));
        document.add_i64(fields.due, search::due(record).map_or(NEVER_DUE, day_number));
        self.texts(fields, &mut document);
        self.labels(fields, &mut document);
        self.filed(fields, &mut document);
        document
    }

    fn texts(&self, fields: &Fields, document: &mut TantivyDocument) {
        let record = self.record;
        let title = search::fold(&record.title);
        document.add_text(fields.title, &title);
        document.add_text(fields.title_grams, &title);
        document.add_text(fields.title_sounds, &title);
        let spelled = search::spell(&title);
        document.add_text(fields.exact, search::bare(&title));
        document.add_text(fields.exact, &spelled);
        document.add_text(fields.exact, search::initials_of(&title));
        let name: String = spelled.chars().take(NAME_CHARS).collect();
        document.add_text(fields.name, name);
        document.add_text(fields.summary, search::fold(&record.summary));
        let mut named = |words: Field, text: &str, sounded: bool| {
            let folded = search::fold(text);
            document.add_text(words, &folded);
            document.add_text(fields.name_grams, &folded);
            if sounded {
                document.add_text(fields.name_sounds, &folded);
            }
        };
        named(fields.provider, &record.provider.name, true);
        for keyword in &record.keywords {
            named(fields.keywords, keyword, true);
        }
        for item in &record.items {
            named(fields.items, &item.name, false);
        }
        for place in &self.place.names {
            named(fields.place, place, false);
        }
    }

    fn labels(&self, fields: &Fields, document: &mut TantivyDocument) {
        for (key, value) in label::labels(self.id, self.feed, self.record) {
            document.add_text(fields.labels, label_term(&key, Some(&value)));
            document.add_text(fields.labels, label_term(&key, None));
        }
    }

    fn filed(&self, fields: &Fields, document: &mut TantivyDocument) {
        let record = self.record;
        let theme = record.theme.clone().unwrap_or_default();
        let key_theme = record.key_theme.as_ref();
        let sub_area = key_theme
            .and_then(|theme| theme.sub_area.as_ref().map(|part| format!("{}/{part}", theme.area)));
        let level = self.place.code.as_ref().map_or("", |code| search::level(code, record));
        let cycle = record.update_cycle.map_or("", liandong_core::code::UpdateCycle::code);
        let mut add = |facet: Facet, value: &str| {
            if let Some(field) = fields.facets.get(&facet) {
                document.add_text(*field, value);
                document.add_text(fields.filed, filed_term(facet, value));
            }
        };
        add(Facet::District, &self.feed.to_string());
        add(Facet::Level, level);
        add(Facet::Provider, &record.provider.name);
        add(Facet::Theme, &theme);
        add(Facet::KeyTheme, key_theme.map_or("", |theme| &theme.area));
        add(Facet::SubArea, &sub_area.unwrap_or_default());
        add(Facet::BaseDatabase, search::base_database(record).unwrap_or_default());
        add(Facet::Share, record.share.as_ref().map_or("", |share| share.kind.code()));
        add(Facet::Open, record.open.kind.code());
        add(Facet::Cycle, cycle);
        add(Facet::Year, &search::year(record).map_or(String::new(), |year| year.to_string()));
        add(Facet::Organization, &label::organization_name(self.feed, &record.provider));
        add(Facet::Licence, label::licence_id(record));
        for delivery in search::deliveries(record) {
            add(Facet::Delivery, delivery);
        }
        for format in label::formats(record) {
            add(Facet::ResourceFormat, &format);
        }
        for format in search::formats(record) {
            add(Facet::Format, &format);
        }
        if !theme.is_empty() {
            add(Facet::Group, &label::group_name(&theme));
        }
        for tag in label::tags(&record.keywords) {
            add(Facet::Tag, &tag);
        }
    }
}
