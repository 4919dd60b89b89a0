//! The engine alone, for benchmarks: the same compiled query with the engine's own collectors and nothing around it.

use liandong_core::search::Vocabulary;
use tantivy::{
    aggregation::{AggContextParams, AggregationCollector, agg_req::Aggregations},
    collector::{Count, TopDocs},
};

use super::{Index, compile::Compiler, schema::COLUMNS};
use crate::{error::StoreError, query::Query};

/// Values of a facet that are asked of the engine.
const VALUES: usize = 100;

impl Index {
    /// Matches, found by the engine with its best hits and its terms aggregations over the columns of the facets that
    /// the query counts.
    pub(crate) fn search_bare(
        &self,
        query: &Query,
        vocabulary: &Vocabulary,
    ) -> Result<usize, StoreError> {
        let compiler = Compiler { fields: &self.fields, jieba: &self.jieba, vocabulary };
        let asked = compiler.compile(query, &compiler.understand(&query.text))?;
        let searcher = self.searcher();
        let best = TopDocs::with_limit(query.limit.max(1)).order_by_score();
        let columns = COLUMNS.iter().filter(|facet| query.facets.contains(facet));
        let wanted: serde_json::Map<String, serde_json::Value> = columns
            .map(|facet| {
                let terms = serde_json::json!({ "field": facet.name(), "size": VALUES });
                (facet.name().to_owned(), serde_json::json!({ "terms": terms }))
            })
            .collect();
        if wanted.is_empty() {
            let found = searcher.search(asked.as_ref(), &(Count, best));
            return found.map(|(count, _)| count).map_err(StoreError::index);
        }
        let wanted: Aggregations =
            serde_json::from_value(wanted.into()).map_err(StoreError::index)?;
        let counted = AggregationCollector::from_aggs(wanted, AggContextParams::default());
        let found = searcher.search(asked.as_ref(), &(Count, best, counted));
        found.map(|(count, _, _)| count).map_err(StoreError::index)
    }
}
