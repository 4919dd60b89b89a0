//! The commands about backups, the same at hub and node.

use std::path::PathBuf;

use liandong_store::backup::{Scope, Unpacked};

use super::{folder_of, restore, show_checked, show_restored, verify};
use crate::{
    command,
    output::{Exit, Failure, Output},
    site::Role,
};

/// `backup`
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// 备份文件，或存放它的目录 / File to write, or a folder for it
    pub to: PathBuf,
    /// 不含密钥 / Without the keys
    #[arg(long, conflicts_with = "keys_only")]
    no_keys: bool,
    /// 只含密钥与配置；中心全部丢失时可由此重建 / Keys and configuration only; a lost hub can be rebuilt with them
    #[arg(long)]
    keys_only: bool,
}

impl BackupArgs {
    /// What is asked for.
    pub const fn scope(&self) -> Scope {
        match (self.no_keys, self.keys_only) {
            (true, _) => Scope::NoKeys,
            (_, true) => Scope::KeysOnly,
            _ => Scope::Whole,
        }
    }
}

/// `restore`
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// 备份文件 / The backup
    from: PathBuf,
    /// 恢复到这个新目录 / Into this new directory
    #[arg(long)]
    into: PathBuf,
}

impl RestoreArgs {
    /// Restores a backup as a new process of this role; `prepare` may add to its directory.
    ///
    /// # Errors
    /// As [`restore`].
    pub async fn run(
        self,
        role: Role,
        output: Output,
        prepare: impl FnOnce(&Unpacked) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Exit, Failure> {
        let Self { from, into } = self;
        let dir = into.clone();
        let checked = command::blocking(output, move |progress| {
            restore(&from, &dir, role, progress, prepare)
        });
        Ok(show_restored(&into, role, &checked.await?, output))
    }
}

/// `verify-backup`
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// 备份文件 / The backup
    file: PathBuf,
    /// 临时恢复到此目录下，缺省为备份所在目录 / Restore below this folder for the check
    #[arg(long)]
    scratch: Option<PathBuf>,
}

impl VerifyArgs {
    /// Restores a backup for a moment and checks it.
    ///
    /// # Errors
    /// As [`verify`].
    pub async fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { file, scratch } = self;
        let (path, folder) = (file.clone(), scratch.unwrap_or_else(|| folder_of(&file).to_owned()));
        let checked = command::blocking(output, move |progress| verify(&path, &folder, progress));
        Ok(show_checked(&file, &checked.await?, output))
    }
}
