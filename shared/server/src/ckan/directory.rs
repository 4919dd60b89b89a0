//! Organisations, groups and tags: what the records are filed under, with counts.

use std::collections::{BTreeMap, HashMap};

use liandong_core::{
    expr::Expr,
    id::{Hash, RecordId},
    label,
};
use liandong_store::Facet;
use parking_lot::Mutex;

use super::{
    Context,
    answer::Refusal,
    find::{Question, is},
};
use crate::read::catalogue::Found;

/// Departments whose names are kept.
const NAMES_MAX: usize = 20_000;

/// The names of departments by a record of each: the index knows only the hash of a department. A name holds as long
/// as its record does not change.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<String, Named>>);

#[derive(Debug, Clone)]
struct Named {
    record: RecordId,
    version: Hash,
    title: String,
    description: String,
}

/// An organisation or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) count: u64,
}

/// What a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A department.
    Organization,
    /// A theme.
    Group,
}

impl Kind {
    /// The label by which its datasets are found.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Group => "groups",
        }
    }
}

impl Group {
    /// The department of a record.
    pub(super) fn organization(found: &Found) -> Option<Self> {
        let provider = &found.live()?.provider;
        let district = &found.district;
        Some(Self {
            kind: Kind::Organization,
            name: label::organization_name(found.entry.authority, provider),
            title: if provider.name.is_empty() {
                district.name.clone()
            } else {
                provider.name.clone()
            },
            description: format!("{} ({})", district.name, district.code),
            count: 0,
        })
    }

    /// The group of a theme.
    pub(super) fn theme(theme: &str) -> Self {
        Self {
            kind: Kind::Group,
            name: label::group_name(theme),
            title: theme.to_owned(),
            description: String::new(),
            count: 0,
        }
    }

    /// Its UUID.
    pub(super) fn id(&self) -> String {
        label::group_uuid(&self.name)
    }

    /// Whether a client means it.
    pub(super) fn answers_to(&self, id: &str) -> bool {
        self.name == id || self.id() == id
    }
}

impl Context<'_> {
    /// All departments or all themes that have datasets.
    pub(super) fn groups(&self, kind: Kind) -> Result<Vec<Group>, Refusal> {
        let facet = match kind {
            Kind::Organization => Facet::Organization,
            Kind::Group => Facet::Group,
        };
        let counts = self.counts(facet)?;
        self.titled(kind, counts)
    }

    /// The values of a facet over all datasets.
    pub(super) fn counts(&self, facet: Facet) -> Result<Vec<(String, u64)>, Refusal> {
        let question = Question { facets: vec![facet], ..Question::of(Expr::All) };
        Ok(self.find(question)?.facets.remove(&facet).unwrap_or_default())
    }

    /// Gives names their titles.
    pub(super) fn titled(
        &self,
        kind: Kind,
        counts: Vec<(String, u64)>,
    ) -> Result<Vec<Group>, Refusal> {
        if kind == Kind::Organization {
            let named = |(name, count): (String, u64)| {
                Ok(self.organization(&name)?.map(|group| Group { count, ..group }))
            };
            return counts.into_iter().filter_map(|pair| named(pair).transpose()).collect();
        }
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let counts: BTreeMap<String, u64> = counts.into_iter().collect();
        let themes = self.counts(Facet::Theme)?;
        let groups = themes.iter().map(|(theme, _)| Group::theme(theme));
        Ok(groups
            .filter_map(|group| Some(Group { count: *counts.get(&group.name)?, ..group }))
            .collect())
    }

    /// A department by its name.
    fn organization(&self, name: &str) -> Result<Option<Group>, Refusal> {
        let known = self.names.0.lock().get(name).cloned();
        if let Some(known) = known {
            let state = self.snapshot.store().state(known.record)?;
            if state.is_some_and(|state| state.op_hash == known.version) {
                let Named { title, description, .. } = known;
                let (kind, name) = (Kind::Organization, name.to_owned());
                return Ok(Some(Group { kind, name, title, description, count: 0 }));
            }
        }
        let Some((found, count)) = self.first(is("organization", name))? else { return Ok(None) };
        let group = Group::organization(&found).map(|group| Group { count: count as u64, ..group });
        if let Some(Group { title, description, .. }) = group.clone() {
            let mut names = self.names.0.lock();
            if names.len() >= NAMES_MAX {
                names.clear();
            }
            let (record, version) = (found.entry.id, found.entry.op_hash);
            names.insert(name.to_owned(), Named { record, version, title, description });
        }
        Ok(group)
    }

    /// The organisation or group that a client means by a name or UUID.
    pub(super) fn group(&self, kind: Kind, id: &str) -> Result<Group, Refusal> {
        if kind == Kind::Group {
            let all = self.groups(kind)?.into_iter();
            return all
                .into_iter()
                .find(|group| group.answers_to(id))
                .ok_or_else(Refusal::not_found);
        }
        for key in ["organization", "owner_org"] {
            if let Some((found, count)) = self.first(is(key, id))? {
                let group = Group::organization(&found);
                return group
                    .map(|group| Group { count: count as u64, ..group })
                    .ok_or_else(Refusal::not_found);
            }
        }
        Err(Refusal::not_found())
    }
}
