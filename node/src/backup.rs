//! What a backup of the node holds.

use liandong_core::id::Hash;
use liandong_server::{
    backup::{self, BackedUp, Backups},
    clock,
    output::Failure,
    site::{Role, Site as _},
};
use liandong_store::backup::{About, FORMAT, Scope};

use crate::{
    app::{App, DATA_DIR},
    key,
    rejoin::State,
};

impl BackedUp for App {
    fn backups(&self) -> &Backups {
        &self.backups
    }

    fn about(&self, scope: Scope) -> About {
        let own_feed = self.own.feed();
        let own_key = Hash::new(key::first_public(&self.dir, &self.own.author()));
        About {
            format: FORMAT,
            software: crate::cli::SOFTWARE.to_owned(),
            role: Role::Node.name().to_owned(),
            name: self.name(),
            created_ms: clock::now_ms(),
            scope,
            incarnation: self.own.author().incarnation(),
            own_feed,
            hub_feed: self.hub_feed,
            authors: [(own_feed, own_key), (self.hub_feed, self.hub_anchor.first_key)].into(),
            hub_root: self.hub_keys().root(),
            feeds: [].into(),
        }
    }

    fn settled(&self) -> Result<u64, Failure> {
        if State::is_kept(&self.dir) {
            return Err(backup::unsettled());
        }
        let entries = std::fs::read_dir(self.dir.join(DATA_DIR)).into_iter().flatten().flatten();
        let aside =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("journal."));
        Ok(aside.count() as u64)
    }
}
