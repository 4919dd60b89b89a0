//! Backups as commands and on a schedule, the same at hub and node.
//!
//! A backup counts when it was restored into a directory of its own and checked there: every file, the chain and the
//! signatures of every op, the roots that a fresh fold gives, the keys. Only then older ones are removed.

mod book;
mod cli;
mod schedule;
mod show;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use liandong_core::id::FeedId;
use liandong_store::backup::{self, About, BackupError, Checked, Contents, Scope, Unpacked};
use serde::{Deserialize, Serialize};

use crate::{
    admin::Progress,
    clock,
    identity::{Anchor, Authority, IdentityError},
    keys,
    output::{Exit, Explain, Failure},
    site::{Role, Site},
};

pub use book::Backups;
pub use cli::{BackupArgs, RestoreArgs, VerifyArgs};
pub use schedule::schedule;
pub use show::{show_checked, show_restored, show_status, show_taken};

/// Where the store is, below a process's directory.
const DATA: &str = "data";
/// What is secret.
const SECRET: [&str; 2] = ["keys", "ca"];
/// What goes with it.
const SETTINGS: [&str; 2] = ["config.toml", "anchor.json"];
/// What is derived or belongs to the running process.
const SKIPPED: [&str; 10] = [
    "root.pem",
    "lock",
    "admin.sock",
    "admin.sock.new",
    book::FILE,
    "data/journal",
    "data/view",
    "data/index",
    "data/replica",
    "data/shown",
];

/// A process that can be backed up.
pub trait BackedUp: Site {
    /// What is known of its backups.
    fn backups(&self) -> &Backups;
    /// What a backup says of the process; feeds are filled in when the journals are cut.
    fn about(&self, scope: Scope) -> About;
    /// Changes when journals are put in the place of others: a backup of both halves would be of neither.
    ///
    /// # Errors
    /// That is under way now.
    fn settled(&self) -> Result<u64, Failure> {
        Ok(0)
    }
}

/// A backup that was made and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The file.
    pub file: PathBuf,
    /// How long it took with the check, milliseconds.
    pub took_ms: u64,
    /// What the check found.
    pub checked: Checked,
}

impl Role {
    /// The word in backups.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Node => "node",
        }
    }
}

impl Explain for BackupError {
    fn explain(&self) -> Failure {
        let en = self.to_string();
        match self {
            Self::Io { path, source } => {
                let zh = format!("{}：{source}", path.display());
                Failure::new("backup_file", Exit::Error, zh, en)
                    .remedy("检查路径、权限和剩余空间", "check path, permissions and free space")
            }
            Self::Exists(path) => {
                let zh = format!("{} 已存在，不会覆盖", path.display());
                Failure::new("exists", Exit::Conflict, zh, en)
                    .remedy("另选一个不存在的路径", "choose a path where nothing is")
            }
            Self::NotWhole(path) => {
                let zh = format!("{} 不是完整的备份", path.display());
                Failure::new("not_a_backup", Exit::Validation, zh, en).remedy(
                    "确认文件是否传输完整，或改用另一份备份",
                    "was the file copied whole? else take another backup",
                )
            }
            Self::Damaged { path, what } => {
                let zh = format!("备份 {} 已损坏：{what}", path.display());
                Failure::new("backup_damaged", Exit::Validation, zh, en).remedy(
                    "改用另一份备份，并检查存放它的磁盘",
                    "take another one; check the disk",
                )
            }
            Self::Newer(format) => {
                let zh = format!("备份格式 {format} 比本软件支持的新");
                Failure::new("newer_backup", Exit::Error, zh, en)
                    .remedy("用制作它的或更新的软件版本恢复", "use the software that made it")
            }
            Self::Store(error) => {
                let text = error.to_string();
                let (zh, en) = text.split_once(" / ").unwrap_or((&text, &text));
                Failure::new("store", Exit::Error, zh, en)
            }
        }
    }
}

/// Makes a backup, restores it beside itself and checks it. `to` may be a folder; the file then gets a name. What came
/// of it is kept for the status.
///
/// # Errors
/// It cannot be written, or it cannot be relied on.
pub async fn take<A: BackedUp>(
    app: &Arc<A>,
    to: &Path,
    scope: Scope,
    progress: &Progress,
) -> Result<Taken, Failure> {
    let _turn = app.backups().turn().await;
    let began_ms = clock::now_ms();
    let made = {
        let (app, to, progress) = (Arc::clone(app), to.to_owned(), progress.clone());
        tokio::task::spawn_blocking(move || make_and_check(&*app, &to, scope, &progress)).await
    };
    let made = made.unwrap_or_else(|gone| {
        Err(Failure::new("internal", Exit::Error, gone.to_string(), gone.to_string()))
    });
    let taken = made.map(|(file, checked)| {
        let took_ms = u64::try_from(clock::now_ms() - began_ms).unwrap_or(0);
        Taken { file, took_ms, checked }
    });
    let misplaced = taken.as_ref().is_err_and(|failure| failure.exit() == Exit::Conflict);
    if scope != Scope::KeysOnly && !misplaced {
        app.backups().note(&taken);
    }
    taken
}

fn make_and_check<A: BackedUp>(
    app: &A,
    to: &Path,
    scope: Scope,
    progress: &Progress,
) -> Result<(PathBuf, Checked), Failure> {
    let settled = app.settled()?;
    let about = app.about(scope);
    let to = if to.is_dir() { to.join(file_name(&about)) } else { to.to_owned() };
    let contents = Contents {
        dir: app.backups().dir(),
        data: DATA,
        secret: &SECRET,
        settings: &SETTINGS,
        skipped: &SKIPPED,
    };
    let report = |done, total| progress.report(done, total, "备份 / backup");
    backup::create(app.store(), &contents, about, &to, report).map_err(|error| error.explain())?;
    if app.settled().ok() != Some(settled) {
        // The first words count; the file is none that anyone was told of.
        let _left = std::fs::remove_file(&to);
        return Err(unsettled());
    }
    let checked = verify(&to, folder_of(&to), progress)
        .and_then(|checked| refuse_faulty(&to, &checked).map(|()| checked));
    if checked.is_err() {
        // It stays for looking at, under a name that nobody takes for a good one.
        let _stays = std::fs::rename(&to, to.with_extension("failed"));
    }
    Ok((to, checked?))
}

/// Why no backup is made while journals are exchanged.
pub fn unsettled() -> Failure {
    Failure::new(
        "unsettled",
        Exit::Conflict,
        "节点正在重新加入或修复日志，此时不能备份",
        "the node joins again or repairs its journal; no backup is made meanwhile",
    )
    .remedy("稍后再试", "try again in a moment")
}

/// `liandong-hub-1a2b3c4d-20261123-145210.tar.zst`
fn file_name(about: &About) -> String {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let at = clock::format_shanghai(about.created_ms);
    let (day, time) = at.split_once(' ').unwrap_or((&at, ""));
    format!("{}{}-{}.tar.zst", prefix(about), digits(day), digits(time))
}

/// Begin of the names of a process's backups.
fn prefix(about: &About) -> String {
    format!("liandong-{}-{}-", about.role, &about.own_feed.to_string()[..8])
}

/// The folder that a file stands in.
pub fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}

/// Restores a backup below `scratch`, checks it there and removes it again.
///
/// # Errors
/// It is no whole backup, or `scratch` cannot be written.
pub fn verify(file: &Path, scratch: &Path, progress: &Progress) -> Result<Checked, Failure> {
    check(&unpack(file, scratch, |_| true, progress)?, progress)
}

fn unpack(
    file: &Path,
    scratch: &Path,
    wanted: impl Fn(&Path) -> bool,
    progress: &Progress,
) -> Result<Unpacked, Failure> {
    let report = |done, total| progress.report(done, total, "解包 / unpack");
    backup::unpack(file, scratch, wanted, report).map_err(|error| error.explain())
}

fn check(unpacked: &Unpacked, progress: &Progress) -> Result<Checked, Failure> {
    let report = |done, total| progress.report(done, total, "核对 / verify");
    let mut checked = unpacked.check(DATA, report).map_err(|error| error.explain())?;
    if checked.about.scope != Scope::NoKeys {
        checked.report.faults.extend(key_fault(unpacked));
    }
    Ok(checked)
}

/// The feed whose keys are in a directory, when all of them can be used.
fn open_keys(dir: &Path, role: Role) -> Result<FeedId, IdentityError> {
    let (identity, _author) = keys::open(&dir.join("keys"))?;
    match role {
        Role::Hub => drop(Authority::open(&dir.join("ca"))?),
        Role::Node => drop(Anchor::read(dir)?),
    }
    Ok(identity.feed)
}

/// Why the keys in a backup cannot be used.
fn key_fault(unpacked: &Unpacked) -> Option<String> {
    let about = &unpacked.about;
    let role = if about.role == Role::Hub.name() { Role::Hub } else { Role::Node };
    match open_keys(unpacked.dir(), role) {
        Ok(feed) if feed == about.own_feed => None,
        Ok(feed) => Some(format!("the keys are of feed {feed}, not {}", about.own_feed)),
        Err(error) => Some(error.to_string()),
    }
}

fn refuse_faulty(file: &Path, checked: &Checked) -> Result<(), Failure> {
    if checked.good() {
        return Ok(());
    }
    let faults = &checked.report.faults;
    let failure = Failure::new(
        "backup_faulty",
        Exit::Validation,
        format!("备份 {} 经恢复核对有 {} 处不符，不能依靠", file.display(), faults.len()),
        format!("{} cannot be relied on: {} faults", file.display(), faults.len()),
    );
    Err(failure
        .remedy("运行 verify 核对本机数据，并换一份备份", "run verify here; take another backup")
        .detail(serde_json::json!(faults)))
}

/// Restores a backup of a process of this role as a new directory. Before it gets its name, `prepare` may add to it.
///
/// # Errors
/// `into` holds anything; the backup is of the other role, is not whole or cannot be relied on.
pub fn restore(
    file: &Path,
    into: &Path,
    role: Role,
    progress: &Progress,
    prepare: impl FnOnce(&Unpacked) -> Result<(), Failure>,
) -> Result<Checked, Failure> {
    let (unpacked, checked) = unpack_for(file, into, role, |_| true, progress)?;
    if checked.about.scope == Scope::KeysOnly {
        return Err(Failure::new(
            "keys_only",
            Exit::Usage,
            format!("{} 只含密钥与配置", file.display()),
            format!("{} holds keys and configuration only", file.display()),
        )
        .remedy(
            "中心全部丢失时用 liandong-hub init --recover 由节点重建",
            "to rebuild a hub from its nodes: liandong-hub init --recover",
        ));
    }
    prepare(&unpacked)?;
    unpacked.keep(into).map_err(|error| error.explain())?;
    Ok(checked)
}

/// Restores keys and configuration alone.
///
/// # Errors
/// As [`restore`].
pub fn restore_keys(
    file: &Path,
    into: &Path,
    role: Role,
    prepare: impl FnOnce(&Unpacked) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let wanted = |path: &Path| SECRET.iter().chain(&SETTINGS).any(|place| path.starts_with(place));
    occupied(into)?;
    let progress = Progress::ignored();
    let unpacked = unpack(file, &parent(into)?, wanted, &progress)?;
    refuse_role(file, &unpacked.about, role)?;
    if let Some(fault) = key_fault(&unpacked) {
        let zh = format!("{} 中没有可用的密钥：{fault}", file.display());
        return Err(Failure::new("no_keys", Exit::Validation, zh, fault));
    }
    prepare(&unpacked)?;
    unpacked.keep(into).map_err(|error| error.explain())
}

/// Copies keys and configuration from a folder that was kept apart.
///
/// # Errors
/// `into` holds anything; there are no usable keys.
pub fn copy_keys(
    from: &Path,
    into: &Path,
    role: Role,
    prepare: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    occupied(into)?;
    if let Err(error) = open_keys(from, role) {
        let zh = format!("{} 中没有可用的密钥：{error}", from.display());
        return Err(Failure::new("no_keys", Exit::Validation, zh, error.to_string()));
    }
    let copied = || {
        for place in SECRET.iter().chain(&SETTINGS).map(|place| from.join(place)) {
            let files = if place.is_dir() { files_of(&place)? } else { vec![place] };
            for file in files.into_iter().filter(|file| file.is_file()) {
                let to = into.join(file.strip_prefix(from).unwrap_or(&file));
                std::fs::create_dir_all(folder_of(&to))?;
                crate::config::write_private(&to, &std::fs::read(&file)?)?;
            }
        }
        Ok(())
    };
    copied().map_err(|source| BackupError::Io { path: into.to_owned(), source }.explain())?;
    prepare(into)
}

fn files_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn unpack_for(
    file: &Path,
    into: &Path,
    role: Role,
    wanted: impl Fn(&Path) -> bool,
    progress: &Progress,
) -> Result<(Unpacked, Checked), Failure> {
    occupied(into)?;
    let unpacked = unpack(file, &parent(into)?, wanted, progress)?;
    refuse_role(file, &unpacked.about, role)?;
    let checked = check(&unpacked, progress)?;
    refuse_faulty(file, &checked)?;
    Ok((unpacked, checked))
}

fn occupied(into: &Path) -> Result<(), Failure> {
    backup::refuse_occupied(into).map_err(|error| error.explain())
}

/// The folder that a new directory will stand in; made where it is missing.
fn parent(into: &Path) -> Result<PathBuf, Failure> {
    let folder = folder_of(into).to_owned();
    std::fs::create_dir_all(&folder)
        .map_err(|source| BackupError::Io { path: folder.clone(), source }.explain())?;
    Ok(folder)
}

fn refuse_role(file: &Path, about: &About, role: Role) -> Result<(), Failure> {
    if about.role == role.name() {
        return Ok(());
    }
    Err(Failure::new(
        "wrong_role",
        Exit::Usage,
        format!("{} 是 {}（{}）的备份", file.display(), about.role, about.name),
        format!("{} is a backup of a {} ({})", file.display(), about.role, about.name),
    )
    .remedy(
        format!("请用 liandong-{} restore", about.role),
        format!("use liandong-{} restore", about.role),
    ))
}
