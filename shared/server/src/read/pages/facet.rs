//! The column beside the hits: what can be chosen, how much there is of it, and what is chosen.

use std::collections::BTreeMap;

use liandong_store::Facet;

use super::locale::Locale;
use crate::read::{
    address::Address,
    search::{FacetValue, SearchAnswer, facet_title},
};

/// Values of a facet that are shown at first.
const VALUES_SHOWN: usize = 10;

/// One value: a link that chooses it, or drops it again.
#[derive(Debug, Clone)]
pub(crate) struct ValueLink {
    pub(crate) label: String,
    pub(crate) count: u64,
    pub(crate) href: String,
    pub(crate) chosen: bool,
    /// What a screen reader says: label and count alone do not tell what the link does.
    pub(crate) says: String,
}

/// One facet.
#[derive(Debug, Clone)]
pub(crate) struct FacetView {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) values: Vec<ValueLink>,
    /// How many more values there are, and the page that shows them.
    pub(crate) more: Option<(usize, String)>,
}

/// Something that is chosen, with a link to the same search without it.
#[derive(Debug, Clone)]
pub(crate) struct Chip {
    pub(crate) title: &'static str,
    pub(crate) label: String,
    pub(crate) href: String,
}

/// Makes links of one search in one language.
pub(crate) struct Links<'a> {
    pub(crate) address: &'a Address,
    pub(crate) locale: &'a Locale,
    /// Facets that are to be shown whole.
    pub(crate) whole: &'a [String],
}

impl Links<'_> {
    /// Another state of the search as a link.
    pub(crate) fn to(&self, address: &Address) -> String {
        let whole = |address: Address, name: &String| match known(name) {
            Some(facet) => address.plus("more", facet.name()),
            None => address,
        };
        self.locale.link(&self.whole.iter().fold(address.clone(), whole).at("/search"))
    }

    fn value(&self, facet: Facet, value: &FacetValue) -> ValueLink {
        let name = facet.name();
        let label = self.locale.t(value.label.zh.clone(), value.label.en.clone());
        let count = value.count;
        let (address, says) = if value.chosen {
            let says = self.locale.t(format!("取消：{label}"), format!("Drop {label}"));
            (self.address.minus(name, &value.value), says)
        } else {
            let zh = format!("选择：{label}，{count} 条");
            let says = self.locale.t(zh, format!("Choose {label}, {count} records"));
            (self.address.plus(name, value.value.clone()), says)
        };
        ValueLink { label, count, href: self.to(&address), chosen: value.chosen, says }
    }

    /// Every facet that has a value, what is chosen first.
    pub(crate) fn facets(&self, answer: &SearchAnswer) -> Vec<FacetView> {
        let view = |(facet, values): (&Facet, &Vec<FacetValue>)| {
            let (zh, en) = facet_title(*facet);
            let (name, title) = (facet.name(), self.locale.t(zh, en));
            let (chosen, others): (Vec<_>, Vec<_>) = values.iter().partition(|value| value.chosen);
            let all = self.whole.iter().any(|whole| whole == name);
            let shown = if all { usize::MAX } else { VALUES_SHOWN.max(chosen.len()) };
            let hidden = values.len().saturating_sub(shown);
            let more = || self.to(&self.address.plus("more", name));
            FacetView {
                name,
                title,
                values: chosen
                    .into_iter()
                    .chain(others)
                    .take(shown)
                    .map(|value| self.value(*facet, value))
                    .collect(),
                more: (hidden > 0).then(|| (hidden, more())),
            }
        };
        answer.facets.iter().filter(|(_, values)| !values.is_empty()).map(view).collect()
    }

    /// Everything that narrows the search besides its text.
    pub(crate) fn chips(&self, facets: &BTreeMap<Facet, Vec<FacetValue>>) -> Vec<Chip> {
        let label = |name: &str, value: &String| {
            let values = facets.iter().find(|(facet, _)| facet.name() == name);
            let found = values.and_then(|(_, values)| values.iter().find(|v| v.value == *value));
            let own =
                |found: &FacetValue| self.locale.t(found.label.zh.clone(), found.label.en.clone());
            found.map_or_else(|| value.clone(), own)
        };
        let chip = |(name, value): &(&'static str, String)| {
            let (zh, en) = match *name {
                "area" => ("区划代码", "Division code"),
                "since" => ("自", "From"),
                "until" => ("至", "Until"),
                name => facet_title(known(name)?),
            };
            Some(Chip {
                title: self.locale.t(zh, en),
                label: label(name, value),
                href: self.to(&self.address.minus(name, value)),
            })
        };
        self.address.pairs().iter().filter_map(chip).collect()
    }
}

fn known(name: &str) -> Option<Facet> {
    Facet::SHOWN.into_iter().find(|facet| facet.name() == name)
}
