//! Proof that a backup can be used: its journals are opened, every op is checked and folded, and the roots are compared
//! with those that the process had when the backup was made.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use liandong_core::{
    city::{City, HubAnchor, HubKeys},
    id::{FeedId, Head},
    op::Keys,
};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::{About, BackupError, Unpacked};
use crate::{
    disk::RealDisk,
    error::StoreError,
    journal::Journal,
    store::{OpenJournals, VerifyReport, fold_city, refold},
};

/// What the check of a backup found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// What the backup says about itself.
    pub about: About,
    /// Size of the backup.
    pub bytes: u64,
    /// Files in it.
    pub files: u64,
    /// Feeds whose root was compared with the one that the process had.
    pub roots: u64,
    /// Counts, root and faults.
    pub report: VerifyReport,
}

impl Checked {
    /// Whether the backup can be relied on.
    pub fn good(&self) -> bool {
        self.report.faults.is_empty()
    }
}

impl Unpacked {
    /// Checks the unpacked journals below `data`. What is wrong with their content is in the report.
    ///
    /// # Errors
    /// A journal cannot be read at all.
    pub fn check(
        &self,
        data: &str,
        progress: impl FnMut(u64, u64),
    ) -> Result<Checked, BackupError> {
        let mut report = VerifyReport::default();
        let journals = self.journals(&self.dir().join(data), &mut report)?;
        let mut city = City::default();
        if let Some(journal) = journals.get(&self.about.hub_feed) {
            fold_city(&journal.read(), &mut city)?;
        }
        let keys = keys(&self.about, &city);
        let marks = &self.about.feeds;
        for (feed, _) in
            marks.iter().filter(|(feed, mark)| mark.head.seq > 0 && !keys.contains_key(*feed))
        {
            report.faults.push(format!("feed {feed}: its key is in no directory"));
        }
        let ends: BTreeMap<FeedId, Head> =
            journals.iter().map(|(feed, journal)| (*feed, journal.read().head())).collect();
        let noted: BTreeMap<FeedId, Head> =
            marks.iter().map(|(feed, mark)| (*feed, mark.applied)).collect();
        let reader = OpenJournals(&journals, &city);
        let refolded = refold(&reader, &ends, &keys, &noted, &mut report, progress)?;
        let mut roots = 0;
        for (feed, mark) in marks {
            let Some(root) = refolded.noted.get(feed) else { continue };
            // Under other rules of the hub another view is right.
            if city.rules(*feed).hash() != mark.rules {
                continue;
            }
            roots += 1;
            if *root != mark.root {
                report.faults.push(format!(
                    "feed {feed}: root {} at op {}, the process had {}",
                    root.short(),
                    mark.applied.seq,
                    mark.root.short()
                ));
            }
        }
        report.count(&refolded.states, &city);
        let (about, bytes, files) = (self.about.clone(), self.bytes, self.files);
        Ok(Checked { about, bytes, files, roots, report })
    }

    fn journals(
        &self,
        data: &Path,
        report: &mut VerifyReport,
    ) -> Result<BTreeMap<FeedId, Arc<RwLock<Journal>>>, StoreError> {
        let mut journals = BTreeMap::new();
        for (feed, mark) in &self.about.feeds {
            let dir = data.join("journal").join(feed.to_string());
            let journal = Journal::open(Arc::new(RealDisk), &dir, *feed)?;
            if journal.head() != mark.head {
                report.faults.push(format!(
                    "feed {feed} ends at {}, not at {} as the backup says",
                    journal.head(),
                    mark.head
                ));
            }
            journals.insert(*feed, Arc::new(RwLock::new(journal)));
        }
        Ok(journals)
    }
}

fn keys(about: &About, city: &City) -> BTreeMap<FeedId, Keys> {
    let mut keys = BTreeMap::new();
    for (feed, public_key) in &about.authors {
        let mut first = Keys::default();
        if first.grant(public_key.as_bytes(), 1).is_ok() {
            keys.insert(*feed, first);
        }
    }
    keys.extend(city.directory.feeds.iter().map(|(feed, entry)| (*feed, entry.keys.clone())));
    let hub = about.authors.get(&about.hub_feed).and_then(|first_key| {
        let anchor = HubAnchor { first_key: *first_key, root: about.hub_root };
        HubKeys::new(about.hub_feed, anchor).ok()
    });
    if let Some(mut hub) = hub {
        hub.follow(city);
        keys.insert(about.hub_feed, hub.keys().clone());
    }
    keys
}
