//! Backups of the hub on the command line.

use std::path::{Path, PathBuf};

use liandong_core::id::Head;
use liandong_server::{
    backup::{self, BackedUp, Backups},
    clock, command,
    identity::IdentityError,
    output::{Exit, Explain as _, Failure, Output},
    site::{Role, Site as _},
};
use liandong_store::backup::{About, FORMAT, Scope};

use crate::{
    app::{App, AppError, DATA_DIR},
    config::Config,
    recovery::{self, Reason},
};

/// `liandong-hub backup`
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// 备份文件，或存放它的目录 / File to write, or a folder for it
    pub(crate) to: PathBuf,
    /// 不含密钥 / Without the keys
    #[arg(long, conflicts_with = "keys_only")]
    no_keys: bool,
    /// 只含密钥与配置，供中心全部丢失时重建 / Keys and configuration only, for `init --recover`
    #[arg(long)]
    keys_only: bool,
}

/// `liandong-hub restore`
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// 备份文件 / The backup
    from: PathBuf,
    /// 恢复到这个新目录 / Into this new directory
    #[arg(long)]
    into: PathBuf,
}

/// `liandong-hub verify-backup`
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// 备份文件 / The backup
    file: PathBuf,
    /// 临时恢复到此目录下，缺省为备份所在目录 / Restore below this folder for the check
    #[arg(long)]
    scratch: Option<PathBuf>,
}

impl BackupArgs {
    /// What is asked for.
    pub(crate) const fn scope(&self) -> Scope {
        match (self.no_keys, self.keys_only) {
            (true, _) => Scope::NoKeys,
            (_, true) => Scope::KeysOnly,
            _ => Scope::Whole,
        }
    }
}

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
    let RestoreArgs { from, into } = args;
    let dir = into.clone();
    let checked = command::blocking(output, move |progress| {
        backup::restore(&from, &dir, Role::Hub, progress, |unpacked| {
            // What was decided since the backup is at the nodes; nothing is decided before it is back.
            let own = unpacked.about.feeds.get(&unpacked.about.hub_feed);
            let base = own.map_or(Head::EMPTY, |mark| mark.head);
            prescribe(unpacked.dir(), Reason::Restored, base)
        })
    });
    Ok(backup::show_restored(&into, Role::Hub, &checked.await?, output))
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

/// Restores a backup for a moment and checks it.
pub(crate) async fn verify(args: VerifyArgs, output: Output) -> Result<Exit, Failure> {
    let VerifyArgs { file, scratch } = args;
    let (path, folder) =
        (file.clone(), scratch.unwrap_or_else(|| backup::folder_of(&file).to_owned()));
    let checked =
        command::blocking(output, move |progress| backup::verify(&path, &folder, progress));
    Ok(backup::show_checked(&file, &checked.await?, output))
}
