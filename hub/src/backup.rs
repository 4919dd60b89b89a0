//! Backups of the hub on the command line.

use std::path::Path;

use liandong_core::id::Head;
use liandong_server::{
    backup::{self, BackedUp, Backups, RestoreArgs},
    clock,
    identity::IdentityError,
    output::{Exit, Explain as _, Failure, Output},
    site::{Role, Site as _},
};
use liandong_store::backup::{About, FORMAT, Scope, Unpacked};

use crate::{
    app::{App, AppError, DATA_DIR},
    config::Config,
    recovery::{self, Reason},
};

impl BackedUp for App {
    fn backups(&self) -> &Backups {
        &self.backups
    }

    fn about(&self, scope: Scope) -> About {
        let own_feed = self.own.feed();
        About {
            format: FORMAT,
            software: crate::cli::SOFTWARE.to_owned(),
            role: Role::Hub.name().to_owned(),
            name: self.name(),
            created_ms: clock::now_ms(),
            scope,
            incarnation: self.city().hub_incarnation(),
            own_feed,
            hub_feed: own_feed,
            authors: [(own_feed, self.hub_anchor.first_key)].into(),
            hub_root: self.hub_keys().root(),
            feeds: [].into(),
        }
    }
}

/// Restores a backup as a new hub.
pub(crate) async fn restore(args: RestoreArgs, output: Output) -> Result<Exit, Failure> {
    let prepare = |unpacked: &Unpacked| {
        // What was decided since the backup is at the nodes; nothing is decided before it is back.
        let own = unpacked.about.feeds.get(&unpacked.about.hub_feed);
        let base = own.map_or(Head::EMPTY, |mark| mark.head);
        prescribe(unpacked.dir(), Reason::Restored, base)
    };
    args.run(Role::Hub, output, prepare).await
}

fn prescribe(dir: &Path, reason: Reason, base: Head) -> Result<(), Failure> {
    let noted = recovery::prescribe(dir, reason, base, clock::now_ms());
    noted.map_err(|error| AppError::from(error).explain())
}

/// Makes a hub of the keys of one that is lost: of a backup, or of a folder with `keys` and `ca`. The configuration is
/// the lost one's where it is there, else `config`.
pub(crate) fn recover(from: &Path, dir: &Path, config: &Config) -> Result<(), Failure> {
    let prepare = |fresh: &Path| {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::File { path, source }.explain()
        };
        let data = fresh.join(DATA_DIR);
        std::fs::create_dir_all(&data).map_err(io(&data))?;
        let path = fresh.join(crate::config::FILE);
        if !path.exists() {
            let text = toml::to_string_pretty(config).unwrap_or_default();
            std::fs::write(&path, text).map_err(io(&path))?;
        }
        prescribe(fresh, Reason::Wiped, Head::EMPTY)
    };
    if from.is_dir() {
        backup::copy_keys(from, dir, Role::Hub, prepare)
    } else {
        backup::restore_keys(from, dir, Role::Hub, |unpacked| prepare(unpacked.dir()))
    }
}
