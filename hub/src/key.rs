//! Keys and certificates of the districts: which are good, and which are good no longer.

use std::collections::BTreeMap;

use liandong_core::{
    city::{Cause, City, KeyRevoke},
    directory::{self, CertRevoke, KeyGrant},
    id::{DistrictCode, FeedId, Hash, Head, KeyId},
    op::{Change, KeyRotation, KeyStretch, Keys, Op, OpType},
};
use liandong_server::{
    admin::AdminError,
    clock,
    command::{self, answer},
    output::{Failure, Output},
};
use liandong_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    command::{ACTOR, refused},
};

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// 列出一个区的签名密钥与证书 / Signing keys and certificates of a district
    List {
        /// 行政区划代码 / Area code
        code: DistrictCode,
    },
    /// 吊销签名密钥：其后的变更不再采信 / Believe nothing that a key signed after a position
    Revoke {
        /// 行政区划代码 / Area code
        code: DistrictCode,
        /// 密钥编号 / Id of the key
        #[arg(long)]
        key: KeyId,
        /// 最后一条可信变更的序号 / Last op of the key that is believed
        #[arg(long)]
        last_good: u64,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
    /// 重新启用一个区用过的密钥：其后的密钥已随数据一同丢失 / Let a district sign with a key it had before
    Restore {
        /// 行政区划代码 / Area code
        code: DistrictCode,
        /// 密钥编号 / Id of the key
        #[arg(long)]
        key: KeyId,
        /// 自第几条起由它签名 / First op that it signs
        #[arg(long)]
        from: u64,
    },
}

/// What the command line can ask of certificates.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum CertCommand {
    /// 吊销证书：立即断开并拒绝 / Refuse a certificate at once, open connections too
    Revoke {
        /// 行政区划代码 / Area code
        code: DistrictCode,
        /// 证书 SHA-256 指纹 / SHA-256 of the certificate
        #[arg(long)]
        fingerprint: Hash,
        /// 原因，会告知该区 / Why, shown to the district
        #[arg(long)]
        reason: String,
    },
}

/// Answer of [`Command::List`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    /// Feed of the district.
    pub feed: FeedId,
    /// How often the feed was joined again or its node replaced.
    pub incarnation: u32,
    /// Keys, oldest first.
    pub keys: Vec<KeyStretch>,
    /// Certificates that are good, oldest first, each with its end, milliseconds since 1970.
    pub certificates: Vec<(Hash, i64)>,
    /// Certificates that are good no longer, with the reason.
    pub revoked: BTreeMap<Hash, String>,
}

impl App {
    fn feed_of(&self, code: &DistrictCode) -> Result<FeedId, AdminError> {
        let city = self.city();
        let directory = &city.directory;
        let no_district = || refused(directory::Refusal::NoDistrict(code.clone()));
        let feed = match directory.feed_of(code) {
            // A district that ended in another one keeps its feed; one that was renamed has passed it on.
            Some(feed) => Some(feed),
            None => directory.feed_of(&directory.current(code).ok_or_else(no_district)?.code),
        };
        feed.ok_or_else(|| refused(directory::Refusal::NoFeed(code.clone())))
    }

    /// Carries out a command about keys.
    pub(crate) async fn change_key(&self, command: Command) -> Result<Value, AdminError> {
        match command {
            Command::List { code } => {
                let feed = self.feed_of(&code)?;
                let city = self.city();
                let entry = city.directory.feeds.get(&feed);
                let entry = entry.ok_or_else(|| refused(directory::Refusal::UnknownFeed(feed)))?;
                let bound = entry.certificates.iter();
                answer(&Listed {
                    feed,
                    incarnation: entry.incarnation,
                    keys: entry.keys.list(),
                    certificates: bound.map(|one| (one.fingerprint, one.not_after_ms)).collect(),
                    revoked: entry.revoked.clone(),
                })
            }
            Command::Revoke { code, key, last_good, reason } => {
                let feed = self.feed_of(&code)?;
                let hash = self.store.hash_at(feed, last_good).map_err(refused)?;
                let hash = hash.ok_or_else(|| beyond(last_good, self.store.head(feed).seq))?;
                let last_good = Head { seq: last_good, hash };
                let revoke = KeyRevoke { feed, key, last_good, reason };
                self.decide(ACTOR, |city| Ok(city.revoke_key(&revoke)?)).await.map_err(refused)?;
                answer(&revoke)
            }
            Command::Restore { code, key, from } => {
                let feed = self.feed_of(&code)?;
                // Streams that are open end; a node comes back after the decision.
                let held = self.settle(feed).await.map_err(refused)?.seq;
                let decided =
                    self.decide(ACTOR, |city| Ok(city.restore_key(feed, key, from, held)?)).await;
                decided.map_err(refused)?;
                answer(&self.city().directory.feeds.get(&feed).map(|entry| entry.keys.list()))
            }
        }
    }

    /// Carries out a command about certificates.
    pub(crate) async fn change_certificate(
        &self,
        command: CertCommand,
    ) -> Result<Value, AdminError> {
        let CertCommand::Revoke { code, fingerprint, reason } = command;
        let revoke = CertRevoke { feed: self.feed_of(&code)?, fingerprint, reason };
        let decided =
            self.decide(ACTOR, |city| Ok(city.directory.revoke_certificate(&revoke)?)).await;
        decided.map_err(refused)?;
        answer(&revoke)
    }

    /// The keys of a feed, with those that a rotation in the mirror named and that are not countersigned yet.
    pub(crate) fn keys_of(&self, feed: FeedId, granted: &Keys) -> Keys {
        let mut keys = granted.clone();
        let letters = self.store.letters().unwrap_or_default();
        for letter in letters.iter().filter(|letter| letter.feed == feed) {
            let ops = self.store.ops(feed, letter.seq - 1, 1, 1).unwrap_or_default();
            for op in ops.iter().filter(|op| op.kind == OpType::KeyRotate) {
                if let Err(fault) = op.verify(&keys).and_then(|()| keys.rotate(op)) {
                    tracing::error!(%feed, seq = op.seq, %fault, "a rotation cannot be followed");
                }
            }
        }
        keys
    }
}

fn beyond(asked: u64, head: u64) -> AdminError {
    Failure::new(
        "beyond_mirror",
        liandong_server::output::Exit::Usage,
        format!("本中心只有到第 {head} 条，没有第 {asked} 条"),
        format!("the mirror ends at op {head}; there is no op {asked}"),
    )
}

/// The answer to a rotation in a district's feed: the hub countersigns the key that the old one named.
///
/// # Errors
/// The op names no key that agreed.
pub fn answer_rotation(_city: &City, _store: &Store, op: &Op) -> Result<Vec<Change>, AppError> {
    let rotation = KeyRotation::of(op).map_err(liandong_store::WriteError::Op)?;
    let cause = Some(Cause { feed: op.feed, seq: op.seq });
    let (feed, from_seq) = (op.feed, op.seq + 1);
    Ok(KeyGrant { feed, public_key: rotation.public_key, from_seq, cause }.put())
}

/// Shows the answer to a command about keys.
pub(crate) fn show(command: &Command, value: Value, output: Output) -> Result<(), AdminError> {
    match command {
        Command::Revoke { key, last_good, .. } => output.line(&format!(
            "已吊销 {key}，采信至第 {last_good} 条 / revoked; believed up to op {last_good}"
        )),
        Command::Restore { key, from, .. } => {
            output.line(&format!("自第 {from} 条起由 {key} 签名 / signs from op {from} on"));
        }
        Command::List { .. } => {
            let listed: Listed = command::read(value)?;
            let position =
                |seq: Option<u64>| seq.map_or_else(|| "—".to_owned(), |seq| seq.to_string());
            let rows: Vec<_> = listed
                .keys
                .iter()
                .map(|key| {
                    let from = key.from_seq.to_string();
                    let (until, good) = (position(key.until_seq), position(key.last_good));
                    vec![key.key.to_string(), from, until, good]
                })
                .collect();
            output.table(&["密钥 Key", "自 From", "至 Until", "采信至 Believed"], &rows);
            for (fingerprint, until) in &listed.certificates {
                let until = clock::format_shanghai(*until);
                output.line(&format!("证书 / certificate {fingerprint}，{until}"));
            }
            for (fingerprint, reason) in &listed.revoked {
                output.line(&format!("已吊销 / revoked {fingerprint}：{reason}"));
            }
        }
    }
    Ok(())
}
