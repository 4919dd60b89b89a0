//! The fields of the index.

use std::collections::BTreeMap;

use tantivy::schema::{
    FAST, Field, IndexRecordOption, NumericOptions, STRING, Schema, TextFieldIndexing, TextOptions,
};

use crate::query::Facet;

/// Fields of the index. Words rank; grams (single characters and pairs) find any substring; sounds find pinyin; labels
/// are what programs ask for; `filed` has the values of all facets and who may see it; the rest is read by columns.
///
/// Each field with terms costs a dictionary in every segment, however small: a commit takes as long as there are many.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub(super) id: Field,
    pub(super) filed: Field,
    pub(super) labels: Field,
    pub(super) exact: Field,
    pub(super) title: Field,
    pub(super) keywords: Field,
    pub(super) items: Field,
    pub(super) provider: Field,
    pub(super) summary: Field,
    pub(super) place: Field,
    pub(super) title_grams: Field,
    pub(super) name_grams: Field,
    pub(super) title_sounds: Field,
    pub(super) name_sounds: Field,
    pub(super) name: Field,
    pub(super) tie: Field,
    pub(super) group: Field,
    pub(super) created: Field,
    pub(super) modified: Field,
    pub(super) day: Field,
    pub(super) due: Field,
    pub(super) facets: BTreeMap<Facet, Field>,
}

/// Facets that are columns of their own; freshness is told from the day the data are due.
pub(super) const COLUMNS: [Facet; 18] = [
    Facet::District,
    Facet::Level,
    Facet::Provider,
    Facet::Theme,
    Facet::KeyTheme,
    Facet::SubArea,
    Facet::BaseDatabase,
    Facet::Share,
    Facet::Open,
    Facet::Delivery,
    Facet::Format,
    Facet::Cycle,
    Facet::Year,
    Facet::Organization,
    Facet::Group,
    Facet::Tag,
    Facet::Licence,
    Facet::ResourceFormat,
];

/// Facets of which a record may have several values.
pub(super) fn is_multiple(facet: Facet) -> bool {
    matches!(
        facet,
        Facet::Delivery | Facet::Format | Facet::Group | Facet::Tag | Facet::ResourceFormat
    )
}

pub(super) fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let text = |tokenizer: &str, record| {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(record),
        )
    };
    let words = || text("words", IndexRecordOption::WithFreqs);
    let grams = || text("grams", IndexRecordOption::WithFreqsAndPositions);
    let sounds = || text("sounds", IndexRecordOption::WithFreqsAndPositions);
    let column = || NumericOptions::default().set_fast();
    let names = || TextOptions::default().set_fast("raw");
    let facets = COLUMNS
        .iter()
        .map(|facet| (*facet, builder.add_text_field(facet.name(), names())))
        .collect();
    let fields = Fields {
        facets,
        id: builder.add_text_field("id", STRING | FAST),
        filed: builder.add_text_field("filed", STRING),
        labels: builder.add_text_field("labels", STRING),
        exact: builder.add_text_field("exact", STRING),
        title: builder.add_text_field("title", words()),
        keywords: builder.add_text_field("keywords", words()),
        items: builder.add_text_field("items", words()),
        provider: builder.add_text_field("provider_words", words()),
        summary: builder.add_text_field("summary", words()),
        place: builder.add_text_field("place", words()),
        title_grams: builder.add_text_field("title_grams", grams()),
        name_grams: builder.add_text_field("name_grams", grams()),
        title_sounds: builder.add_text_field("title_sounds", sounds()),
        name_sounds: builder.add_text_field("name_sounds", sounds()),
        name: builder.add_text_field("name", names()),
        tie: builder.add_u64_field("tie", column()),
        group: builder.add_u64_field("copies", column()),
        created: builder.add_i64_field("created", column()),
        modified: builder.add_i64_field("modified", column()),
        day: builder.add_i64_field("day", column()),
        due: builder.add_i64_field("due", column()),
    };
    (builder.build(), fields)
}
