//! All journals at one moment, for a backup.

use super::Store;
use crate::{
    backup::{Cut, Mark, Piece},
    journal::Journal,
};

impl Store {
    /// Where every journal stands now, and the files to read it from. Nothing is appended while this looks; what is
    /// appended afterwards stands behind what is told here.
    pub(crate) fn cut(&self) -> Cut {
        let journals = self.shared.journals.read();
        let held: Vec<_> = journals.iter().map(|(feed, journal)| (*feed, journal.read())).collect();
        let progress = self.progress();
        let mut cut = Cut { marks: [].into(), pieces: Vec::new() };
        for (feed, journal) in &held {
            let Some(at) = progress.get(feed) else { continue };
            let mark = Mark {
                head: Journal::head(journal),
                applied: at.applied,
                root: at.root,
                rules: at.rules,
                records: at.records,
            };
            cut.marks.insert(*feed, mark);
            let pieces = journal.pieces().into_iter();
            cut.pieces.extend(pieces.map(|(name, file, bytes)| {
                let feed = *feed;
                Piece { feed, name, file, bytes }
            }));
        }
        // The hub's feed is what the others are read by.
        let hub = self.shared.options.hub_feed;
        cut.pieces.sort_by_key(|piece| Some(piece.feed) != hub);
        cut
    }
}
