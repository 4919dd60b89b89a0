//! A search as an address: everything that is asked stands in the query string, so every state of the page is a link.

use liandong_core::id::DistrictCode;
use liandong_store::{Facet, Sort};

use super::{
    params::encode,
    search::{SORTS, SearchQuery},
};
use crate::clock;

/// The parameters of a search in an order of their own: the same search is the same address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pairs: Vec<(&'static str, String)>,
}

/// Where a parameter stands.
fn rank(name: &str) -> usize {
    let before = ["q", "scope", "area"];
    let after = ["since", "until", "sort", "copies", "explain", "more", "limit", "after", "page"];
    let facets = Facet::SHOWN.iter().map(|facet| facet.name());
    let mut names = before.into_iter().chain(facets).chain(after);
    names.position(|known| known == name).unwrap_or(usize::MAX)
}

impl Address {
    /// The address of a search, without its page.
    pub(crate) fn of(query: &SearchQuery, city: bool) -> Self {
        let mut address = Self::default();
        let mut put = |name, value: String| {
            if !value.is_empty() {
                address.pairs.push((name, value));
            }
        };
        let day = |us: i64| clock::day_shanghai(us / 1_000).to_string();
        put("q", query.text.clone());
        put("scope", if city { "city" } else { "" }.to_owned());
        put("area", query.area.clone().unwrap_or_default());
        for code in &query.districts {
            put(Facet::District.name(), DistrictCode::to_string(code));
        }
        for (facet, values) in &query.chosen {
            for value in values {
                put(facet.name(), value.clone());
            }
        }
        put("since", query.since.map(day).unwrap_or_default());
        put("until", query.until.map(day).unwrap_or_default());
        if query.sort != Sort::default() {
            let known = SORTS.iter().find(|(_, sort)| *sort == query.sort);
            put("sort", known.map_or("", |(name, _)| name).to_owned());
        }
        put("copies", if query.apart { "apart" } else { "" }.to_owned());
        put("explain", if query.explain { "true" } else { "" }.to_owned());
        address.sorted()
    }

    fn sorted(mut self) -> Self {
        self.pairs.sort_by(|a, b| (rank(a.0), &a.1).cmp(&(rank(b.0), &b.1)));
        self.pairs.dedup();
        self
    }

    /// With one more value of a parameter.
    pub(crate) fn plus(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut more = self.clone();
        more.pairs.push((name, value.into()));
        more.sorted()
    }

    /// Without one value of a parameter.
    pub(crate) fn minus(&self, name: &str, value: &str) -> Self {
        let mut less = self.clone();
        less.pairs.retain(|(known, given)| (*known, given.as_str()) != (name, value));
        less
    }

    /// Without some parameters.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let mut less = self.clone();
        less.pairs.retain(|(known, _)| !names.contains(known));
        less
    }

    /// With this as the only value of a parameter.
    pub(crate) fn set(&self, name: &'static str, value: impl Into<String>) -> Self {
        self.without(&[name]).plus(name, value)
    }

    /// The parameters.
    pub(crate) fn pairs(&self) -> &[(&'static str, String)] {
        &self.pairs
    }

    /// The search at a path of this site.
    pub(crate) fn at(&self, path: &str) -> String {
        let mut address = path.to_owned();
        for (place, (name, value)) in self.pairs.iter().enumerate() {
            address.push(if place == 0 { '?' } else { '&' });
            address.push_str(name);
            address.push('=');
            address.push_str(&encode(value));
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_search_is_the_same_address_however_it_was_reached() {
        let one = Address::default().plus("q", "停车").plus("theme", "交通").plus("sort", "name");
        let other = Address::default().plus("sort", "id").plus("theme", "交通").plus("q", "停车");
        assert_eq!(other.set("sort", "name"), one);
        assert_eq!(
            one.at("/search"),
            "/search?q=%E5%81%9C%E8%BD%A6&theme=%E4%BA%A4%E9%80%9A&sort=name"
        );
        assert_eq!(one.plus("theme", "交通"), one);
        assert_eq!(one.plus("theme", "&q=x").minus("theme", "&q=x"), one);
        assert_eq!(one.without(&["q", "theme", "sort"]).at("/search"), "/search");
    }
}
