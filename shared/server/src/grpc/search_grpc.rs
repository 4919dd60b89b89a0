//! Searching over gRPC: the answers of `/api/v1/search` as messages, one page or all of them.

use std::{collections::BTreeMap, pin::Pin};

use futures::{Stream, stream};
use liandong_core::{
    id::{FeedId, Head},
    search::Piece,
};
use liandong_proto::catalog as pb;
use liandong_store::{Clause, Cursor, Facet, Understood};
use tonic::Status;

use super::{number, record};
use crate::read::{
    catalogue::{Catalogue, PAGE_BYTES_MAX},
    params::Params,
    search::{FacetValue, SearchAnswer, SearchHit, SearchQuery, Source, Why, read_scope},
};

/// Pages of a search, made as they are taken.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<pb::SearchReply, Status>> + Send>>;

/// One page.
pub(super) async fn page(
    catalogue: &Catalogue,
    asked: pb::SearchRequest,
) -> Result<pb::SearchReply, Status> {
    let mut params = params(asked);
    let page = catalogue.ask(move |snapshot| {
        let snapshot = snapshot.scoped(read_scope(&mut params));
        let query = SearchQuery::read(params, ["query", "district_code"], &snapshot)?;
        let answer = snapshot.search(&query)?;
        let replica = snapshot.site.replica().filter(|_| snapshot.city);
        let as_of = replica.as_ref().map_or(answer.as_of, |city| city.as_of);
        let replica =
            replica.map(|city| pb::Replica { stale: city.stale, complete: city.complete });
        Ok(pb::SearchReply { as_of_ms: as_of.unwrap_or_default(), replica, ..reply(answer) })
    });
    Ok(page.await?)
}

/// Page after page to the end. The first is made before anything is answered, so that a wrong question is refused.
pub(super) async fn pages(catalogue: Catalogue, asked: pb::SearchRequest) -> Result<Pages, Status> {
    let first = page(&catalogue, asked.clone()).await?;
    let rest = pb::SearchRequest { facets: Vec::new(), offset: 0, ..asked };
    let after = |page: &pb::SearchReply| Some(page.next.clone()).filter(|next| !next.is_empty());
    let begin = (after(&first), catalogue, rest);
    let following = stream::try_unfold(begin, move |(next, catalogue, rest)| async move {
        let Some(after_this) = next else { return Ok(None) };
        let asked = pb::SearchRequest { after: after_this, ..rest.clone() };
        let reply = page(&catalogue, asked).await?;
        let next = after(&reply);
        Ok(Some((reply, (next, catalogue, rest))))
    });
    Ok(Box::pin(futures::StreamExt::chain(stream::iter([Ok(first)]), following)))
}

/// The request as the parameters that HTTP has, so that both are read by the same rules.
fn params(asked: pb::SearchRequest) -> Params {
    let yes = |holds: bool, word: &str| if holds { word } else { "" }.to_owned();
    let mut pairs: Vec<(String, String)> = [
        ("query", asked.query),
        ("district_code", asked.district_code),
        ("limit", number(asked.limit)),
        ("offset", number(asked.offset)),
        ("area", asked.area),
        ("facets", asked.facets.join(",")),
        ("sort", asked.sort),
        ("after", asked.after),
        ("copies", yes(asked.copies_apart, "apart")),
        ("explain", yes(asked.explain, "true")),
        ("since", asked.since),
        ("until", asked.until),
        ("scope", yes(asked.city, "city")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let codes = asked.district_codes.into_iter();
    pairs.extend(codes.map(|code| ("district_code".to_owned(), code)));
    let mut unknown = Vec::new();
    for pb::Choice { facet, value } in asked.chosen {
        match Facet::SHOWN.iter().find(|known| known.name() == facet) {
            Some(Facet::District) => pairs.push(("district_code".to_owned(), value)),
            Some(_) => pairs.push((facet, value)),
            None => unknown.push(facet),
        }
    }
    let mut params = Params::new(pairs);
    for facet in unknown {
        params.unknown_facet("chosen", &facet);
    }
    params
}

fn reply(answer: SearchAnswer) -> pb::SearchReply {
    let mut bytes = 0;
    let fits = |hit: &&SearchHit| {
        let fits = bytes <= PAGE_BYTES_MAX;
        bytes += hit.found.entry.payload.len();
        fits
    };
    let fitting: Vec<&SearchHit> = answer.hits.iter().take_while(fits).collect();
    // What does not fit into a message is on the next page.
    let cut = fitting.last().filter(|_| fitting.len() < answer.hits.len());
    let cut = cut.map(|hit| Cursor { key: hit.key.clone(), id: hit.found.entry.id });
    let next = cut.or(answer.next).map(|next| next.to_string());
    pb::SearchReply {
        total: answer.total as u64,
        records: answer.records as u64,
        hits: fitting.into_iter().map(hit).collect(),
        applied_seq: answer.applied.values().map(|head| head.seq).sum(),
        facets: answer.facets.into_iter().map(facet).collect(),
        next: next.unwrap_or_default(),
        hint: answer.hint.unwrap_or_default(),
        understood: Some(understood(answer.understood)),
        applied: applied(&answer.applied),
        as_of_ms: answer.as_of.unwrap_or_default(),
        replica: None,
    }
}

fn applied(heads: &BTreeMap<FeedId, Head>) -> Vec<pb::Applied> {
    let applied = |(feed, head): (&FeedId, &Head)| pb::Applied {
        feed_id: feed.as_bytes().to_vec().into(),
        seq: head.seq,
        head_hash: head.hash.as_bytes().to_vec().into(),
    };
    heads.iter().map(applied).collect()
}

fn facet((facet, values): (Facet, Vec<FacetValue>)) -> pb::Facet {
    let value = |value: FacetValue| pb::FacetValue {
        value: value.value,
        label_zh: value.label.zh,
        label_en: value.label.en,
        count: value.count,
        chosen: value.chosen,
    };
    pb::Facet { name: facet.name().to_owned(), values: values.into_iter().map(value).collect() }
}

fn understood(understood: Understood) -> pb::Understood {
    let clause = |clause: Clause| pb::Clause {
        text: clause.text,
        variants: clause.variants,
        words: clause.words,
        sound: clause.sound,
    };
    pb::Understood {
        clauses: understood.clauses.into_iter().map(clause).collect(),
        relaxed: understood.relaxed,
        left_out: u32::try_from(understood.left_out).unwrap_or(u32::MAX),
    }
}

fn hit(hit: &SearchHit) -> pb::Hit {
    let district = &hit.found.district;
    let piece = |piece: &Piece| pb::Piece { text: piece.text.clone(), hit: piece.hit };
    let why = |why: &Why| pb::Why { field: why.field.to_owned(), terms: why.terms.clone() };
    let source = |source: &Source| {
        let record = source.found.live();
        pb::Source {
            id: source.found.entry.id.to_string(),
            title: source.found.title().to_owned(),
            provider: record.map_or_else(String::new, |record| record.provider.name.clone()),
            district_code: source.found.district.code.to_string(),
            authoritative: source.authoritative,
        }
    };
    pb::Hit {
        record: Some(record(&hit.found)),
        score: hit.score,
        state: district.state.name().to_owned(),
        as_of_ms: district.as_of_ms.unwrap_or_default(),
        title: hit.title.iter().map(piece).collect(),
        sources: hit.sources.iter().map(source).collect(),
        why: hit.why.iter().map(why).collect(),
        lag_records: district.lag_records,
    }
}
