//! The search index (tantivy), a projection of the journal like the view.
//!
//! Every commit carries the positions it has applied, so an answer can say how old it is and a crash at any point
//! leaves
//! an index that goes on from where it was. Another analysis version makes a new index from the journal.

mod analysis;
mod search;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::{
    id::{FeedId, Hash, Head, RecordId},
    record::{Record, Visibility},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::{
    Index as Tantivy, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, Term,
    schema::{Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions},
};

pub use search::{Answer, Hit};

use crate::error::StoreError;
use analysis::{Grams, Words, normalise};

/// Version of schema and analysis; another one in the index means: build it again.
const VERSION: u32 = 1;
/// Memory for documents between two commits, bytes.
const WRITER_BYTES: usize = 64 * 1024 * 1024;

/// Fields of the index. Words rank; grams (single characters and pairs) find any substring of names.
#[derive(Debug, Clone, Copy)]
struct Fields {
    id: Field,
    feed: Field,
    visibility: Field,
    title: Field,
    keywords: Field,
    items: Field,
    provider: Field,
    summary: Field,
    grams: Field,
}

/// What the last commit says it contains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Applied {
    version: u32,
    feeds: BTreeMap<FeedId, Head>,
    /// What the hub's feed said of the feeds, where it said anything.
    #[serde(default)]
    rules: BTreeMap<FeedId, Hash>,
}

/// The index, open for one writer and many readers.
pub(crate) struct Index {
    dir: PathBuf,
    fields: Fields,
    reader: IndexReader,
    writer: Mutex<IndexWriter>,
    applied: Mutex<Applied>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let text = |tokenizer: &str, record| {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(record),
        )
    };
    let words = || text("words", IndexRecordOption::WithFreqs);
    let fields = Fields {
        id: builder.add_text_field("id", STRING | STORED),
        feed: builder.add_text_field("feed", STRING),
        visibility: builder.add_text_field("visibility", STRING),
        title: builder.add_text_field("title", words()),
        keywords: builder.add_text_field("keywords", words()),
        items: builder.add_text_field("items", words()),
        provider: builder.add_text_field("provider", words()),
        summary: builder.add_text_field("summary", words()),
        grams: builder
            .add_text_field("grams", text("grams", IndexRecordOption::WithFreqsAndPositions)),
    };
    (builder.build(), fields)
}

fn visibility_term(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Restricted => "restricted",
        Visibility::Shared => "shared",
        Visibility::Public => "public",
    }
}

impl Index {
    /// Opens the index, or makes an empty one where there is none, or another version, or one that cannot be read.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        match Self::open_existing(dir) {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Self::create(dir),
            Err(error) => {
                tracing::warn!(%error, "the search index is built again");
                Self::create(dir)
            }
        }
    }

    fn open_existing(dir: &Path) -> Result<Option<Self>, StoreError> {
        if !dir.join("meta.json").exists() {
            return Ok(None);
        }
        let tantivy = Tantivy::open_in_dir(dir).map_err(StoreError::index)?;
        let (schema, fields) = schema();
        let payload = tantivy.load_metas().map_err(StoreError::index)?.payload.unwrap_or_default();
        let applied: Applied = serde_json::from_str(&payload).unwrap_or_default();
        if tantivy.schema() != schema || applied.version != VERSION {
            return Ok(None);
        }
        Self::with(dir, &tantivy, fields, applied).map(Some)
    }

    fn create(dir: &Path) -> Result<Self, StoreError> {
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(StoreError::io(dir))?;
        }
        fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        let (schema, fields) = schema();
        let tantivy = Tantivy::create_in_dir(dir, schema).map_err(StoreError::index)?;
        let applied = Applied { version: VERSION, ..Applied::default() };
        Self::with(dir, &tantivy, fields, applied)
    }

    fn with(
        dir: &Path,
        tantivy: &Tantivy,
        fields: Fields,
        applied: Applied,
    ) -> Result<Self, StoreError> {
        let jieba = analysis::jieba();
        tantivy.tokenizers().register("words", Words::new(Arc::clone(&jieba)));
        tantivy.tokenizers().register("grams", Grams::default());
        let writer = tantivy.writer_with_num_threads(1, WRITER_BYTES).map_err(StoreError::index)?;
        let reader = tantivy
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(StoreError::index)?;
        Ok(Self {
            dir: dir.to_owned(),
            fields,
            reader,
            writer: Mutex::new(writer),
            applied: Mutex::new(applied),
        })
    }

    /// How far a feed is indexed and visible to searches.
    pub(crate) fn applied(&self, feed: FeedId) -> Head {
        self.applied.lock().feeds.get(&feed).copied().unwrap_or(Head::EMPTY)
    }

    /// How far all feeds are indexed.
    pub(crate) fn feeds(&self) -> BTreeMap<FeedId, Head> {
        self.applied.lock().feeds.clone()
    }

    /// Documents that searches see.
    pub(crate) fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Puts the current version of a record in the place of any earlier one.
    pub(crate) fn put(
        &self,
        id: RecordId,
        feed: FeedId,
        visibility: Visibility,
        record: &Record,
    ) -> Result<(), StoreError> {
        self.remove(id);
        let fields = self.fields;
        let mut document = TantivyDocument::default();
        document.add_text(fields.id, id.to_string());
        document.add_text(fields.feed, feed.to_string());
        document.add_text(fields.visibility, visibility_term(visibility));
        let title = normalise(&record.title);
        let provider = normalise(&record.provider.name);
        document.add_text(fields.title, &title);
        document.add_text(fields.grams, &title);
        document.add_text(fields.provider, &provider);
        document.add_text(fields.grams, &provider);
        for keyword in &record.keywords {
            let keyword = normalise(keyword);
            document.add_text(fields.keywords, &keyword);
            document.add_text(fields.grams, &keyword);
        }
        for item in &record.items {
            let name = normalise(&item.name);
            document.add_text(fields.items, &name);
            document.add_text(fields.grams, &name);
        }
        document.add_text(fields.summary, normalise(&record.summary));
        self.writer.lock().add_document(document).map_err(StoreError::index)?;
        Ok(())
    }

    /// Takes a record out.
    pub(crate) fn remove(&self, id: RecordId) {
        self.writer.lock().delete_term(Term::from_field_text(self.fields.id, &id.to_string()));
    }

    /// The rules that the feeds were folded by when they were indexed.
    pub(crate) fn rules(&self) -> BTreeMap<FeedId, Hash> {
        self.applied.lock().rules.clone()
    }

    /// Makes everything since the last commit visible, together with the positions it stands for.
    pub(crate) fn commit(&self, feeds: &BTreeMap<FeedId, Head>) -> Result<(), StoreError> {
        self.commit_under(feeds, self.rules())
    }

    /// [`Self::commit`] of what was folded by these rules.
    pub(crate) fn commit_under(
        &self,
        feeds: &BTreeMap<FeedId, Head>,
        rules: BTreeMap<FeedId, Hash>,
    ) -> Result<(), StoreError> {
        let mut applied = self.applied.lock().clone();
        applied.feeds.extend(feeds);
        applied.rules = rules;
        let payload = serde_json::to_string(&applied).map_err(StoreError::index)?;
        {
            let mut writer = self.writer.lock();
            let mut prepared = writer.prepare_commit().map_err(StoreError::index)?;
            prepared.set_payload(&payload);
            prepared.commit().map_err(StoreError::index)?;
        }
        self.reader.reload().map_err(StoreError::index)?;
        *self.applied.lock() = applied;
        Ok(())
    }

    /// Empties the index; the indexer then builds it again from the journal.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        self.writer.lock().delete_all_documents().map_err(StoreError::index)?;
        *self.applied.lock() = Applied { version: VERSION, ..Applied::default() };
        self.commit(&BTreeMap::new())
    }
}
