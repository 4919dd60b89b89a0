//! Columns of the index in memory: what each record is filed under and ranked by, as plain arrays.
//!
//! A query looks at a dozen columns of every record that matches. The engine's columns are packed, and unpacking them
//! took most of the time of a query; a segment never changes, so its columns are unpacked once. Costs four bytes a
//! record and facet, and about forty a record for its id and what it is ranked by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use liandong_core::{id::RecordId, search::Freshness};
use parking_lot::Mutex;
use tantivy::{
    COLLECT_BLOCK_BUFFER_LEN, DocId, SegmentReader,
    columnar::{Column, StrColumn},
    index::SegmentId,
};

use super::{
    document::{NEVER_DUE, NO_DAY},
    schema::is_multiple,
};
use crate::{error::StoreError, query::Facet};

/// Records that are looked at together.
pub(super) const BLOCK: usize = COLLECT_BLOCK_BUFFER_LEN;
/// Stands for a missing day of data, see [`NO_DAY`].
pub(super) const NO_SHORT_DAY: i32 = i32::MIN;

/// Columns of all segments.
#[derive(Debug, Default)]
pub(super) struct Columns {
    facets: Mutex<HashMap<Facet, Facets>>,
    ranks: Mutex<HashMap<SegmentId, Arc<Ranks>>>,
}

/// One facet: the names of its values, once for the whole index so that counts of segments can be added.
#[derive(Debug, Default)]
struct Facets {
    all: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    segments: HashMap<SegmentId, Arc<Values>>,
}

impl Facets {
    fn id(&mut self, name: &str) -> Result<u32, StoreError> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let id = u32::try_from(self.all.len()).map_err(StoreError::index)?;
        let name: Arc<str> = Arc::from(name);
        self.all.push(Arc::clone(&name));
        self.ids.insert(name, id);
        Ok(id)
    }
}

/// The values of one facet in one segment: each record has one key, each key its values. Records with the same set of
/// values have the same key, so that counting is one addition a record whatever the facet.
#[derive(Debug)]
struct Values {
    keys: Vec<u32>,
    of_keys: OfKeys,
}

/// The values of each key.
#[derive(Debug)]
enum OfKeys {
    /// One value each.
    One(Vec<u32>),
    /// Any number.
    Many(Vec<Vec<u32>>),
    /// Freshness is told from the day the data are due.
    Due(Vec<i32>),
}

impl Values {
    /// Keys for whatever records have in common.
    fn keyed<T: Ord>(all: impl Iterator<Item = T>, of_keys: fn(Vec<T>) -> OfKeys) -> Self {
        let mut known: BTreeMap<T, u32> = BTreeMap::new();
        let mut next = 0_u32;
        let keys = all.map(|one| {
            *known.entry(one).or_insert_with(|| {
                next += 1;
                next - 1
            })
        });
        let keys = keys.collect();
        let mut in_order: Vec<(T, u32)> = known.into_iter().collect();
        in_order.sort_unstable_by_key(|(_, key)| *key);
        Self { keys, of_keys: of_keys(in_order.into_iter().map(|(one, _)| one).collect()) }
    }

    fn size(&self) -> usize {
        match &self.of_keys {
            OfKeys::One(ids) => ids.len(),
            OfKeys::Many(sets) => sets.len(),
            OfKeys::Due(days) => days.len(),
        }
    }

    /// Calls with every key and each of its values.
    fn each(&self, today: i32, mut with: impl FnMut(usize, u32)) {
        match &self.of_keys {
            OfKeys::One(ids) => ids.iter().enumerate().for_each(|(key, id)| with(key, *id)),
            OfKeys::Many(sets) => {
                for (key, set) in sets.iter().enumerate() {
                    for id in set {
                        with(key, *id);
                    }
                }
            }
            OfKeys::Due(days) => {
                for (key, due) in days.iter().enumerate() {
                    with(key, freshness(*due, today) as u32);
                }
            }
        }
    }
}

/// What the records of a segment are ranked by beside the score.
#[derive(Debug)]
pub(super) struct Ranks {
    /// Day of the data.
    days: Vec<i32>,
    /// What copies have in common; nothing when there are no copies.
    groups: Vec<u64>,
    /// The records.
    ids: Vec<RecordId>,
}

impl Ranks {
    /// Day of the data, days since 1970, or [`NO_SHORT_DAY`].
    pub(super) fn day(&self, doc: DocId) -> i32 {
        self.days.get(doc as usize).copied().unwrap_or(NO_SHORT_DAY)
    }

    /// The record.
    pub(super) fn id(&self, doc: DocId) -> Option<RecordId> {
        self.ids.get(doc as usize).copied()
    }

    /// What a record has in common with its copies; zero without copies.
    pub(super) fn group(&self, doc: DocId) -> u64 {
        self.groups.get(doc as usize).copied().unwrap_or(0)
    }
}

impl Columns {
    /// What the records of a segment are ranked by.
    pub(super) fn ranks(&self, segment: &SegmentReader) -> Result<Arc<Ranks>, StoreError> {
        if let Some(known) = self.ranks.lock().get(&segment.segment_id()) {
            return Ok(Arc::clone(known));
        }
        let fast = segment.fast_fields();
        let days = short_days(&fast.i64("day").map_err(StoreError::index)?, segment, NO_DAY);
        let column = fast.u64("copies").map_err(StoreError::index)?;
        let groups = if column.max_value() == 0 { Vec::new() } else { unpack(&column, segment, 0) };
        let ranks = Arc::new(Ranks { days, groups, ids: record_ids(segment)? });
        self.ranks.lock().insert(segment.segment_id(), Arc::clone(&ranks));
        Ok(ranks)
    }

    fn values(&self, facet: Facet, segment: &SegmentReader) -> Result<Arc<Values>, StoreError> {
        let id = segment.segment_id();
        let known = self.facets.lock().entry(facet).or_default().segments.get(&id).map(Arc::clone);
        if let Some(known) = known {
            return Ok(known);
        }
        // Nobody waits while a column is unpacked.
        let values = if facet == Facet::Freshness {
            let due = segment.fast_fields().i64("due").map_err(StoreError::index)?;
            Values::keyed(short_days(&due, segment, NEVER_DUE).into_iter(), OfKeys::Due)
        } else {
            let column = segment.fast_fields().str(facet.name()).map_err(StoreError::index)?;
            let column = column.ok_or_else(|| StoreError::index(format!("no column {facet:?}")))?;
            let ids = self.name_all(facet, &column)?;
            let ords = column.ords();
            if is_multiple(facet) {
                let id = |ord: u64| usize::try_from(ord).ok().and_then(|ord| ids.get(ord)).copied();
                let set = |doc: DocId| ords.values_for_doc(doc).filter_map(id).collect();
                Values::keyed((0..segment.max_doc()).map(set), OfKeys::Many)
            } else {
                let key = |ord: u64| u32::try_from(ord).map_err(StoreError::index);
                let keys =
                    unpack(ords, segment, 0).into_iter().map(key).collect::<Result<_, _>>()?;
                Values { keys, of_keys: OfKeys::One(ids) }
            }
        };
        let values = Arc::new(values);
        self.facets.lock().entry(facet).or_default().segments.insert(id, Arc::clone(&values));
        Ok(values)
    }

    /// For each ordinal of a segment the id of its name.
    fn name_all(&self, facet: Facet, column: &StrColumn) -> Result<Vec<u32>, StoreError> {
        let mut names = Vec::with_capacity(column.num_terms());
        let mut stream = column.dictionary().stream().map_err(StoreError::index)?;
        while stream.advance() {
            names.push(String::from_utf8_lossy(stream.key()).into_owned());
        }
        let mut all = self.facets.lock();
        let facets = all.entry(facet).or_default();
        names.iter().map(|name| facets.id(name)).collect()
    }

    /// Forgets segments that are no more, and unpacks of new ones what was asked of others before.
    pub(super) fn keep(&self, segments: &[SegmentReader]) -> Result<(), StoreError> {
        let is_there = |id: &SegmentId| segments.iter().any(|segment| segment.segment_id() == *id);
        let mut asked = Vec::new();
        for (facet, facets) in &mut *self.facets.lock() {
            asked.push(*facet);
            facets.segments.retain(|id, _| is_there(id));
        }
        self.ranks.lock().retain(|id, _| is_there(id));
        for segment in segments {
            self.ranks(segment)?;
            for facet in &asked {
                self.values(*facet, segment)?;
            }
        }
        Ok(())
    }

    /// Unpacks what people choose by.
    pub(super) fn warm(&self, segments: &[SegmentReader]) -> Result<(), StoreError> {
        for segment in segments {
            self.ranks(segment)?;
            for facet in Facet::SHOWN {
                self.values(facet, segment)?;
            }
        }
        Ok(())
    }

    /// Whether no record of the segments has a value but these.
    pub(super) fn are_within(
        &self,
        facet: Facet,
        segments: &[SegmentReader],
        values: &[String],
    ) -> Result<bool, StoreError> {
        for segment in segments {
            self.values(facet, segment)?;
        }
        let all = self.facets.lock();
        let known = all.get(&facet).map_or(&[][..], |facets| &facets.all);
        Ok(known.iter().all(|name| values.iter().any(|value| **value == **name)))
    }

    /// Values with their counts; the empty one stands for no value and is left out.
    pub(super) fn named(&self, facet: Facet, sum: &[u64]) -> Vec<(String, u64)> {
        if facet == Facet::Freshness {
            let counted = Freshness::ALL.iter().zip(sum).filter(|(_, count)| **count > 0);
            return counted.map(|(state, count)| (state.name().to_owned(), *count)).collect();
        }
        let all = self.facets.lock();
        let Some(facets) = all.get(&facet) else { return Vec::new() };
        let counted =
            facets.all.iter().zip(sum).filter(|(name, count)| **count > 0 && !name.is_empty());
        counted.map(|(name, count)| (name.to_string(), *count)).collect()
    }

    /// For each value of a facet whether it is among those chosen.
    fn chosen(&self, facet: Facet, values: &[String]) -> Vec<bool> {
        let among = |name: &str| values.iter().any(|value| value == name);
        if facet == Facet::Freshness {
            return Freshness::ALL.iter().map(|state| among(state.name())).collect();
        }
        let mut all = self.facets.lock();
        let facets = all.entry(facet).or_default();
        let mut chosen = vec![false; facets.all.len()];
        for value in values {
            let id = facets.ids.get(value.as_str());
            if let Some(slot) = id.and_then(|id| chosen.get_mut(*id as usize)) {
                *slot = true;
            }
        }
        chosen
    }
}

fn record_ids(segment: &SegmentReader) -> Result<Vec<RecordId>, StoreError> {
    let column = segment.fast_fields().str("id").map_err(StoreError::index)?;
    let column = column.ok_or_else(|| StoreError::index("no column id"))?;
    let mut named = Vec::with_capacity(column.num_terms());
    let mut stream = column.dictionary().stream().map_err(StoreError::index)?;
    while stream.advance() {
        let text = str::from_utf8(stream.key()).map_err(StoreError::index)?;
        named.push(text.parse::<RecordId>().map_err(StoreError::index)?);
    }
    let id = |ord: u64| usize::try_from(ord).ok().and_then(|ord| named.get(ord)).copied();
    let ids: Option<Vec<RecordId>> =
        unpack(column.ords(), segment, 0).into_iter().map(id).collect();
    ids.ok_or_else(|| StoreError::index("a record without an id"))
}

/// All values of a column, the missing ones as said.
fn unpack<T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static>(
    column: &Column<T>,
    segment: &SegmentReader,
    missing: T,
) -> Vec<T> {
    let docs: Vec<DocId> = (0..segment.max_doc()).collect();
    let mut values = vec![None; docs.len()];
    for (docs, values) in docs.chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
        column.first_vals(docs, values);
    }
    values.into_iter().map(|value| value.unwrap_or(missing)).collect()
}

/// Days as short numbers; what lies outside of them is clamped, so the least and the greatest keep their meaning.
fn short_days(column: &Column<i64>, segment: &SegmentReader, missing: i64) -> Vec<i32> {
    let short = |day: i64| {
        let clamped = day.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        i32::try_from(clamped).unwrap_or_default()
    };
    unpack(column, segment, missing).into_iter().map(short).collect()
}

/// A facet in one segment, while a query is answered.
pub(super) struct FacetColumn {
    facet: Facet,
    values: Arc<Values>,
    today: i32,
    /// For each key whether a value of it is chosen; none when nothing is.
    chosen: Option<Vec<bool>>,
    counts: Vec<u32>,
    /// As many again for every other record: an addition then need not wait for the one before to the same key.
    others: Vec<u32>,
}

impl FacetColumn {
    pub(super) fn open(
        facet: Facet,
        segment: &SegmentReader,
        columns: &Columns,
        chosen: Option<&Vec<String>>,
        today: i32,
    ) -> Result<Self, StoreError> {
        let values = columns.values(facet, segment)?;
        let chosen = chosen.map(|names| {
            let chosen = columns.chosen(facet, names);
            let mut keys = vec![false; values.size()];
            values.each(today, |key, id| keys[key] |= chosen.get(id as usize) == Some(&true));
            keys
        });
        let (counts, others) = (vec![0; values.size()], vec![0; values.size()]);
        Ok(Self { facet, values, today, chosen, counts, others })
    }

    pub(super) fn is_chosen_in(&self) -> bool {
        self.chosen.is_some()
    }

    /// Sets the bit of every record that what is chosen in this facet leaves out.
    pub(super) fn mark_left_out(&self, docs: &[DocId], bit: u32, left_out: &mut [u32]) {
        let Some(chosen) = &self.chosen else { return };
        for (doc, left_out) in docs.iter().zip(left_out) {
            let key = self.values.keys.get(*doc as usize);
            if key.and_then(|key| chosen.get(*key as usize)) != Some(&true) {
                *left_out |= 1 << bit;
            }
        }
    }

    /// Counts the records that nothing but this facet itself leaves out.
    pub(super) fn count(&mut self, docs: &[DocId], bit: u32, left_out: &[u32]) {
        let Self { values, counts, others, .. } = self;
        let key =
            |doc: DocId| values.keys.get(doc as usize).map_or(usize::MAX, |key| *key as usize);
        let bump = |counts: &mut [u32], key: usize| {
            if let Some(count) = counts.get_mut(key) {
                *count += 1;
            }
        };
        let elsewhere = !(1_u32 << bit);
        // The common case first: nothing is chosen.
        if left_out.iter().all(|bits| bits & elsewhere == 0) {
            let pairs = docs.chunks_exact(2);
            pairs.remainder().iter().for_each(|doc| bump(counts, key(*doc)));
            for pair in pairs {
                bump(counts, key(pair[0]));
                bump(others, key(pair[1]));
            }
            return;
        }
        for (doc, left_out) in docs.iter().zip(left_out) {
            if left_out & elsewhere == 0 {
                bump(counts, key(*doc));
            }
        }
    }

    /// Adds what this segment counted.
    pub(super) fn add_to(&self, sums: &mut HashMap<Facet, Vec<u64>>) {
        let sum = sums.entry(self.facet).or_default();
        self.values.each(self.today, |key, id| {
            let id = id as usize;
            if sum.len() <= id {
                sum.resize(id + 1, 0);
            }
            sum[id] += u64::from(self.counts[key]) + u64::from(self.others[key]);
        });
    }
}

fn freshness(due: i32, today: i32) -> Freshness {
    if due == i32::MAX {
        Freshness::Unknown
    } else if due < today {
        Freshness::Overdue
    } else {
        Freshness::Fresh
    }
}
