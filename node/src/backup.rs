//! Backups of the node on the command line.

use std::path::PathBuf;

use liandong_core::id::Hash;
use liandong_server::{
    backup::{self, BackedUp, Backups},
    clock, command,
    output::{Exit, Failure, Output},
    site::{Role, Site as _},
};
use liandong_store::backup::{About, FORMAT, Scope};

use crate::{app::App, key};

/// `liandong-node backup`
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// 备份文件，或存放它的目录 / File to write, or a folder for it
    pub(crate) to: PathBuf,
    /// 不含密钥 / Without the keys
    #[arg(long, conflicts_with = "keys_only")]
    no_keys: bool,
    /// 只含密钥与配置 / Keys and configuration only
    #[arg(long)]
    keys_only: bool,
}

/// `liandong-node restore`
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// 备份文件 / The backup
    from: PathBuf,
    /// 恢复到这个新目录 / Into this new directory
    #[arg(long)]
    into: PathBuf,
}

/// `liandong-node verify-backup`
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
}

/// Restores a backup as a new node.
pub(crate) async fn restore(args: RestoreArgs, output: Output) -> Result<Exit, Failure> {
    let RestoreArgs { from, into } = args;
    let dir = into.clone();
    let checked = command::blocking(output, move |progress| {
        backup::restore(&from, &dir, Role::Node, progress, |_| Ok(()))
    });
    Ok(backup::show_restored(&into, Role::Node, &checked.await?, output))
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
