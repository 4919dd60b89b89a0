//! Columns of one segment: what a record is filed under, read for many records at a time.

use std::{collections::HashMap, sync::Arc};

use liandong_core::search::Freshness;
use parking_lot::Mutex;
use tantivy::{
    COLLECT_BLOCK_BUFFER_LEN, DocId, SegmentReader,
    columnar::{Column, StrColumn},
    index::SegmentId,
};

use super::{document::NEVER_DUE, schema::is_multiple};
use crate::{error::StoreError, query::Facet};

/// Records that are looked at together.
pub(super) const BLOCK: usize = COLLECT_BLOCK_BUFFER_LEN;

/// Names of the values of one facet, once for the whole index, so that counts of segments can be added.
#[derive(Debug, Default)]
struct Names {
    all: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    /// For each segment the name of each of its ordinals.
    segments: HashMap<SegmentId, Arc<Vec<u32>>>,
}

/// Names of the values of all facets.
#[derive(Debug, Default)]
pub(super) struct AllNames(Mutex<HashMap<Facet, Names>>);

impl AllNames {
    /// The name of each ordinal of a segment.
    fn of(
        &self,
        facet: Facet,
        segment: SegmentId,
        column: &StrColumn,
    ) -> Result<Arc<Vec<u32>>, StoreError> {
        let mut all = self.0.lock();
        let names = all.entry(facet).or_default();
        if let Some(known) = names.segments.get(&segment) {
            return Ok(Arc::clone(known));
        }
        let mut ids = Vec::with_capacity(column.num_terms());
        let mut stream = column.dictionary().stream().map_err(StoreError::index)?;
        while stream.advance() {
            let value = String::from_utf8_lossy(stream.key());
            let id = if let Some(id) = names.ids.get(value.as_ref()) {
                *id
            } else {
                let name: Arc<str> = Arc::from(value.as_ref());
                let id = u32::try_from(names.all.len()).map_err(StoreError::index)?;
                names.all.push(Arc::clone(&name));
                names.ids.insert(name, id);
                id
            };
            ids.push(id);
        }
        let ids = Arc::new(ids);
        names.segments.insert(segment, Arc::clone(&ids));
        Ok(ids)
    }

    /// Forgets segments that are no more.
    pub(super) fn keep(&self, segments: &[SegmentId]) {
        for names in self.0.lock().values_mut() {
            names.segments.retain(|segment, _| segments.contains(segment));
        }
    }

    /// Adds the counts of a segment to those of the index.
    fn add(ids: &[u32], counts: &[u32], sum: &mut Vec<u64>) {
        for (id, count) in ids.iter().zip(counts) {
            if *count > 0 {
                let id = *id as usize;
                if sum.len() <= id {
                    sum.resize(id + 1, 0);
                }
                sum[id] += u64::from(*count);
            }
        }
    }

    /// Values with their counts; the empty one stands for no value and is left out.
    pub(super) fn named(&self, facet: Facet, sum: &[u64]) -> Vec<(String, u64)> {
        if facet == Facet::Freshness {
            let counted = Freshness::ALL.iter().zip(sum).filter(|(_, count)| **count > 0);
            return counted.map(|(state, count)| (state.name().to_owned(), *count)).collect();
        }
        let all = self.0.lock();
        let Some(names) = all.get(&facet) else { return Vec::new() };
        let counted =
            names.all.iter().zip(sum).filter(|(name, count)| **count > 0 && !name.is_empty());
        counted.map(|(name, count)| (name.to_string(), *count)).collect()
    }
}

enum Values {
    /// One value each.
    One(Column<u64>, Arc<Vec<u32>>),
    /// Any number of values.
    Many(Column<u64>, Arc<Vec<u32>>),
    /// Told from the day the data are due.
    Freshness { due: Column<i64>, today: i64 },
}

/// A facet in one segment, while a query is answered.
pub(super) struct FacetColumn {
    facet: Facet,
    values: Values,
    /// For each ordinal whether it is chosen; none when nothing is.
    chosen: Option<Vec<bool>>,
    counts: Vec<u32>,
    ords: Vec<Option<u64>>,
}

impl FacetColumn {
    pub(super) fn open(
        facet: Facet,
        segment: &SegmentReader,
        names: &AllNames,
        chosen: Option<&Vec<String>>,
        today: i64,
    ) -> Result<Self, StoreError> {
        let fast = segment.fast_fields();
        let (values, selected, size) = if facet == Facet::Freshness {
            let due = fast.i64("due").map_err(StoreError::index)?;
            let is = |state: &Freshness, values: &Vec<String>| {
                values.iter().any(|value| value == state.name())
            };
            let selected =
                chosen.map(|values| Freshness::ALL.iter().map(|state| is(state, values)).collect());
            (Values::Freshness { due, today }, selected, Freshness::ALL.len())
        } else {
            let column = fast.str(facet.name()).map_err(StoreError::index)?;
            let column = column.ok_or_else(|| StoreError::index(format!("no column {facet:?}")))?;
            let ids = names.of(facet, segment.segment_id(), &column)?;
            let selected = match chosen {
                Some(values) => Some(selected(&column, values)?),
                None => None,
            };
            let size = column.num_terms();
            let ords = column.ords().clone();
            let values =
                if is_multiple(facet) { Values::Many(ords, ids) } else { Values::One(ords, ids) };
            (values, selected, size)
        };
        let counts = vec![0; size];
        Ok(Self { facet, values, chosen: selected, counts, ords: vec![None; BLOCK] })
    }

    pub(super) fn is_chosen_in(&self) -> bool {
        self.chosen.is_some()
    }

    fn load(&mut self, docs: &[DocId]) {
        let ords = &mut self.ords[..docs.len()];
        ords.fill(None);
        match &self.values {
            Values::One(column, _) => column.first_vals(docs, ords),
            Values::Freshness { due, today } => {
                for (ord, doc) in ords.iter_mut().zip(docs) {
                    let due = due.first(*doc).unwrap_or(NEVER_DUE);
                    *ord = Some(freshness_ord(due, *today));
                }
            }
            Values::Many(..) => {}
        }
    }

    /// Sets the bit of every record that what is chosen in this facet leaves out.
    pub(super) fn mark_left_out(&mut self, docs: &[DocId], bit: u32, left_out: &mut [u32]) {
        self.load(docs);
        let Some(chosen) = &self.chosen else { return };
        let admits =
            |ord: u64| usize::try_from(ord).is_ok_and(|ord| chosen.get(ord) == Some(&true));
        for (at, doc) in docs.iter().enumerate() {
            let admitted = match &self.values {
                Values::Many(column, _) => column.values_for_doc(*doc).any(admits),
                _ => self.ords[at].is_some_and(admits),
            };
            if !admitted {
                left_out[at] |= 1 << bit;
            }
        }
    }

    /// Counts the records that nothing but this facet itself leaves out.
    pub(super) fn count(&mut self, docs: &[DocId], bit: u32, left_out: &[u32]) {
        if !self.is_chosen_in() {
            self.load(docs);
        }
        let others = !(1_u32 << bit);
        let Self { values, counts, ords, .. } = self;
        // Nothing is chosen anywhere: the common case, without a look at each record.
        if left_out.iter().all(|bits| bits & others == 0) {
            match values {
                Values::Many(column, _) => {
                    for ord in docs.iter().flat_map(|doc| column.values_for_doc(*doc)) {
                        bump(counts, ord);
                    }
                }
                _ => ords[..docs.len()].iter().flatten().for_each(|ord| bump(counts, *ord)),
            }
            return;
        }
        for (at, doc) in docs.iter().enumerate() {
            if left_out[at] & others != 0 {
                continue;
            }
            match &self.values {
                Values::Many(column, _) => {
                    for ord in column.values_for_doc(*doc) {
                        bump(&mut self.counts, ord);
                    }
                }
                _ => {
                    if let Some(ord) = self.ords[at] {
                        bump(&mut self.counts, ord);
                    }
                }
            }
        }
    }

    /// Adds what this segment counted.
    pub(super) fn add_to(&self, sums: &mut HashMap<Facet, Vec<u64>>) {
        let sum = sums.entry(self.facet).or_default();
        match &self.values {
            Values::One(_, ids) | Values::Many(_, ids) => AllNames::add(ids, &self.counts, sum),
            Values::Freshness { .. } => AllNames::add(&[0, 1, 2], &self.counts, sum),
        }
    }
}

fn bump(counts: &mut [u32], ord: u64) {
    if let Some(count) = usize::try_from(ord).ok().and_then(|ord| counts.get_mut(ord)) {
        *count += 1;
    }
}

fn freshness_ord(due: i64, today: i64) -> u64 {
    if due == NEVER_DUE {
        Freshness::Unknown as u64
    } else if due < today {
        Freshness::Overdue as u64
    } else {
        Freshness::Fresh as u64
    }
}

fn selected(column: &StrColumn, values: &[String]) -> Result<Vec<bool>, StoreError> {
    let mut selected = vec![false; column.num_terms()];
    for value in values {
        let ord = column.dictionary().term_ord(value).map_err(StoreError::index)?;
        let place = ord.and_then(|ord| usize::try_from(ord).ok());
        if let Some(slot) = place.and_then(|ord| selected.get_mut(ord)) {
            *slot = true;
        }
    }
    Ok(selected)
}
