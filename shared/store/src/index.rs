//! The search index (tantivy), a projection of the journal like the view.
//!
//! Every commit carries the positions it has applied, so an answer can say how old it is and a crash at any point
//! leaves an index that goes on from where it was. Another analysis makes a new index from the journal, beside the
//! one that serves.

mod analysis;
#[cfg(feature = "bench")]
mod bare;
mod column;
mod compile;
mod document;
mod pass;
mod schema;
mod search;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jieba_rs::Jieba;
use liandong_core::{
    id::{FeedId, Hash, Head, RecordId},
    search::ANALYSIS_VERSION,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::{
    Index as Tantivy, IndexReader, IndexWriter, ReloadPolicy, Searcher, Term,
    indexer::LogMergePolicy,
};

pub use document::Stamps;
pub(crate) use document::{Document, Place, group_of};
pub(crate) use search::{look, search};

use crate::{
    error::StoreError,
    priority::give_way,
    projector::{generation_dir, generations},
};
use analysis::{Grams, Sounds, Words};
use column::Columns;
use schema::{Fields, schema};

/// Version of schema and documents; another one in the index means: build it again.
const VERSION: u32 = 100 + ANALYSIS_VERSION;
/// Memory for documents between two commits, bytes.
const WRITER_BYTES: usize = 32 * 1024 * 1024;
/// Largest segment that is merged again, documents: the cost of a commit stays bounded.
const MERGED_DOCS_MAX: usize = 500_000;

/// Segments below this size are merged whatever their sizes, documents: with the engine's 10,000 every eighth edit of a
/// small catalogue would write all of it again.
const SMALL_SEGMENT_DOCS: u32 = 1_000;
/// A segment with more of its documents replaced is written again.
const DELETED_SHARE_MAX: f32 = 0.4;

/// What the last commit says it contains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Applied {
    version: u32,
    feeds: BTreeMap<FeedId, Head>,
    /// What the hub's feed said of the feeds, where it said anything.
    #[serde(default)]
    rules: BTreeMap<FeedId, Hash>,
    /// Hash of the operator's words that the text was cut by.
    #[serde(default)]
    words: Option<Hash>,
    /// When the book of what is shown was begun that the moments come from, microseconds since 1970.
    #[serde(default)]
    book: i64,
}

/// What an index is made under; another one cannot go on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ground {
    /// Words of the operator's that are one word.
    pub(crate) words: Vec<String>,
    /// When the book of what is shown was begun, microseconds since 1970.
    pub(crate) book: i64,
}

impl Ground {
    fn words_hash(&self) -> Option<Hash> {
        let text = self.words.join("\n");
        (!self.words.is_empty()).then(|| Hash::of(&[text.as_bytes()]))
    }

    fn applied(&self) -> Applied {
        let (words, book) = (self.words_hash(), self.book);
        Applied { version: VERSION, words, book, ..Applied::default() }
    }

    fn fits(&self, applied: &Applied) -> bool {
        let fresh = self.applied();
        (applied.version, applied.words, applied.book) == (fresh.version, fresh.words, fresh.book)
    }
}

/// The index, open for one writer and many readers.
pub(crate) struct Index {
    dir: PathBuf,
    fields: Fields,
    ground: Ground,
    jieba: Arc<Jieba>,
    columns: Columns,
    reader: IndexReader,
    writer: Mutex<IndexWriter>,
    applied: Mutex<Applied>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens the newest generation, or makes an empty one where there is none, or on another ground, or one that
    /// cannot be read.
    pub(crate) fn open(root: &Path, ground: &Ground) -> Result<Self, StoreError> {
        if let Some(newest) = generations(root).last() {
            match Self::open_existing(&generation_dir(root, *newest), ground) {
                Ok(Some(index)) => {
                    index.remove_others(root);
                    return Ok(index);
                }
                Ok(None) => tracing::info!("the search index is built again"),
                Err(error) => tracing::warn!(%error, "the search index is built again"),
            }
        }
        let index = Self::create(root, ground, 1)?;
        index.remove_others(root);
        Ok(index)
    }

    /// [`Self::open`] with threads that give way to all others, for what is only a copy: its writing must not slow down
    /// what people wait for.
    pub(crate) fn open_giving_way(root: &Path, ground: &Ground) -> Result<Self, StoreError> {
        let open = || {
            // The engine's threads inherit the priority of the one that starts them.
            give_way();
            Self::open(root, ground)
        };
        std::thread::scope(|scope| {
            let opened = scope.spawn(open).join();
            opened.unwrap_or_else(|_panic| Err(StoreError::index("opening the index failed")))
        })
    }

    fn open_existing(dir: &Path, ground: &Ground) -> Result<Option<Self>, StoreError> {
        if !dir.join("meta.json").exists() {
            return Ok(None);
        }
        let tantivy = Tantivy::open_in_dir(dir).map_err(StoreError::index)?;
        let (schema, fields) = schema();
        let payload = tantivy.load_metas().map_err(StoreError::index)?.payload.unwrap_or_default();
        let applied: Applied = serde_json::from_str(&payload).unwrap_or_default();
        if tantivy.schema() != schema || !ground.fits(&applied) {
            return Ok(None);
        }
        Self::with(dir, &tantivy, fields, (ground, applied), 1).map(Some)
    }

    /// An empty generation, newer than all there are.
    pub(crate) fn create(root: &Path, ground: &Ground, threads: usize) -> Result<Self, StoreError> {
        let next = generations(root).last().map_or(1, |newest| newest + 1);
        let dir = generation_dir(root, next);
        fs::create_dir_all(&dir).map_err(StoreError::io(&dir))?;
        let (schema, fields) = schema();
        let tantivy = Tantivy::create_in_dir(&dir, schema).map_err(StoreError::index)?;
        Self::with(&dir, &tantivy, fields, (ground, ground.applied()), threads)
    }

    fn with(
        dir: &Path,
        tantivy: &Tantivy,
        fields: Fields,
        (ground, applied): (&Ground, Applied),
        threads: usize,
    ) -> Result<Self, StoreError> {
        let jieba = analysis::jieba(&ground.words);
        tantivy.tokenizers().register("words", Words::new(Arc::clone(&jieba)));
        tantivy.tokenizers().register("grams", Grams::default());
        tantivy.tokenizers().register("sounds", Sounds::default());
        let writer = tantivy
            .writer_with_num_threads(threads, WRITER_BYTES * threads)
            .map_err(StoreError::index)?;
        let mut merges = LogMergePolicy::default();
        merges.set_max_docs_before_merge(MERGED_DOCS_MAX);
        merges.set_min_layer_size(SMALL_SEGMENT_DOCS);
        merges.set_del_docs_ratio_before_merge(DELETED_SHARE_MAX);
        writer.set_merge_policy(Box::new(merges));
        let reader = tantivy
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(StoreError::index)?;
        Ok(Self {
            dir: dir.to_owned(),
            fields,
            ground: ground.clone(),
            jieba,
            columns: Columns::default(),
            reader,
            writer: Mutex::new(writer),
            applied: Mutex::new(applied),
        })
    }

    /// Removes the other generations, and an index of a time that had none.
    pub(crate) fn remove_others(&self, root: &Path) {
        let Ok(entries) = fs::read_dir(root) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| *path != self.dir) {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "cannot remove an old index");
            }
        }
    }

    /// Its number.
    pub(crate) fn generation(&self) -> u64 {
        let name = self.dir.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.parse().ok()).unwrap_or(0)
    }

    /// What it was made under.
    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
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

    /// Whether the dictionary knows a word.
    pub(crate) fn is_word(&self, part: &str) -> bool {
        self.jieba.has_word(part)
    }

    /// Reads beforehand what the first searches will ask for.
    pub(crate) fn warm(&self) -> Result<(), StoreError> {
        self.columns.warm(self.searcher().segment_readers())
    }

    fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Puts the current version of a record in the place of any earlier one.
    pub(crate) fn put(&self, document: &Document<'_>) -> Result<(), StoreError> {
        self.remove(document.id);
        let document = document.build(&self.fields);
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
        self.columns.keep(self.searcher().segment_readers())?;
        *self.applied.lock() = applied;
        Ok(())
    }

    /// Empties the index; the indexer then builds it again from the journal.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        self.writer.lock().delete_all_documents().map_err(StoreError::index)?;
        *self.applied.lock() = self.ground.applied();
        self.commit(&BTreeMap::new())
    }
}
