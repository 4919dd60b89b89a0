//! Commands of the hub, run by the process that has the data directory open.

use std::{path::PathBuf, sync::Arc};

use liandong_core::{
    directory::{Refusal, Token},
    id::DistrictCode,
    limit, receipt,
};
use liandong_server::{
    admin::{AdminError, Progress},
    backup, clock,
    command::answer,
    identity::JoinToken,
    output::{Exit, Explain as _},
    search::{self, Asked},
    site::Site as _,
};
use liandong_store::{VerifyReport, backup::Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::{App, AppError},
    archive::ArchiveCommand,
    desk::Desk,
    district,
    gate::HeldCommand,
    key,
    operator::OperatorCommand,
    policy::PolicyCommand,
    recovery::RecoverCommand,
    root, transfer,
    vocabulary::VocabularyCommand,
};

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A new district with its first token, or another token for one that has not joined.
    DistrictAdd {
        /// Area code.
        code: DistrictCode,
        /// Name; without it only a new token is made out.
        name: Option<String>,
        /// How long the token is good, seconds.
        token_ttl_secs: u64,
    },
    /// What happens to a district in time.
    District(district::Command),
    /// Records that change hands.
    Transfer(transfer::Command),
    /// Signing keys of the districts.
    Key(key::Command),
    /// The hub's own key and its root.
    HubKey(root::Command),
    /// Certificates of the districts.
    Cert(key::CertCommand),
    /// Erase the content of an op everywhere.
    Redact {
        /// Feed or area code.
        feed: String,
        /// Position of the op.
        seq: u64,
        /// The law it rests on, and why.
        legal_basis: String,
    },
    /// The status document.
    Status,
    /// A full-text search.
    Search(Asked),
    /// Mass changes that wait for a person.
    Held(HeldCommand),
    /// Rules of the city.
    Policy(PolicyCommand),
    /// What the search knows of words.
    Vocabulary(VocabularyCommand),
    /// The recovery of the hub from its nodes.
    Recover(RecoverCommand),
    /// Make a backup and check it by restoring it.
    Backup {
        /// Absolute path of the file, or of a folder for it.
        to: PathBuf,
        /// What goes in.
        scope: Scope,
    },
    /// Check chain, signatures, view and index against the journal.
    Verify,
    /// Build view and index again from the journal.
    Rebuild,
    /// Tails that nodes gave up.
    Archive(ArchiveCommand),
    /// Curation and conflicts.
    Desk(Desk),
    /// Operators of the desk.
    Operator(OperatorCommand),
}

/// Answer of [`Command::DistrictAdd`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DistrictAdded {
    /// Area code.
    pub code: DistrictCode,
    /// Name.
    pub name: String,
    /// The token, one line.
    pub token: String,
    /// Last moment of use, milliseconds since 1970.
    pub expires_ms: i64,
    /// Address in the token.
    pub hub_url: String,
    /// Fingerprint of the authority, for reading over the phone.
    pub ca_fingerprint: String,
}

/// The actor of commands from the command line.
pub(crate) const ACTOR: &str = "cli";

pub(crate) fn refused(refusal: impl Into<AppError>) -> AdminError {
    refusal.into().explain()
}

/// A token's secret and what is kept of it.
pub(crate) fn new_token(
    code: &DistrictCode,
    ttl_secs: u64,
) -> Result<([u8; 32], Token), AdminError> {
    if ttl_secs == 0 || ttl_secs > limit::TOKEN_TTL_SECS_MAX {
        let max = limit::TOKEN_TTL_SECS_MAX;
        return Err(AdminError::new(
            "bad_ttl",
            Exit::Usage,
            format!("口令有效期须为 1 到 {max} 秒"),
            format!("a token is good for 1 to {max} seconds"),
        ));
    }
    let secret = JoinToken::random_secret();
    let expires_ms = clock::now_ms() + i64::try_from(ttl_secs).unwrap_or(i64::MAX / 2_000) * 1000;
    let hash = receipt::token_hash(&secret);
    Ok((secret, Token { hash, code: code.clone(), expires_ms, feed: None, reason: None }))
}

impl App {
    /// Runs a command.
    ///
    /// # Errors
    /// The command's own, for people and programs.
    pub async fn run(
        self: Arc<Self>,
        command: Command,
        progress: Progress,
    ) -> Result<Value, AdminError> {
        match command {
            Command::DistrictAdd { code, name, token_ttl_secs } => {
                answer(&self.add_district(code, name, token_ttl_secs).await?)
            }
            Command::District(command) => self.change_district(command).await,
            Command::Transfer(command) => self.transfer(command).await,
            Command::Key(command) => self.change_key(command).await,
            Command::HubKey(command) => self.change_hub_key(command).await,
            Command::Cert(command) => self.change_certificate(command).await,
            Command::Redact { feed, seq, legal_basis } => {
                self.redact(&feed, seq, &legal_basis).await
            }
            Command::Status => answer(&self.status()),
            Command::Search(asked) => search::answer(&*self, &asked),
            Command::Vocabulary(command) => self.vocabulary(command).await,
            Command::Held(held) => self.held(held).await,
            Command::Policy(policy) => self.policy(policy).await,
            Command::Desk(command) => self.desk(command, ACTOR).await,
            Command::Recover(recover) => self.recover(recover).await,
            Command::Operator(command) => self.operators(command, ACTOR).await,
            Command::Backup { to, scope } => {
                answer(&backup::take(&self, &to, scope, &progress).await?)
            }
            Command::Verify => answer(&self.verify(progress).await?),
            Command::Rebuild => {
                self.store.rebuild_view();
                self.store.rebuild_index();
                answer(&serde_json::json!({ "rebuilding": true }))
            }
            Command::Archive(command) => {
                tokio::task::block_in_place(|| self.archive_command(&command))
            }
        }
    }

    async fn add_district(
        &self,
        code: DistrictCode,
        name: Option<String>,
        ttl_secs: u64,
    ) -> Result<DistrictAdded, AdminError> {
        let (secret, token) = new_token(&code, ttl_secs)?;
        let decided = self.decide(ACTOR, |city| {
            Ok(match &name {
                Some(name) if !city.directory.districts.contains_key(&code) => {
                    city.directory.add_district(name, &token)?
                }
                Some(_) if city.directory.feed_of(&code).is_some() => {
                    return Err(Refusal::HasFeed(code.clone()).into());
                }
                _ => city.directory.add_token(&token)?,
            })
        });
        decided.await.map_err(|error| error.explain())?;
        Ok(self.token_for(secret, &token))
    }

    /// A token as it is handed over.
    pub(crate) fn token_for(&self, secret: [u8; 32], token: &Token) -> DistrictAdded {
        let (code, expires_ms) = (token.code.clone(), token.expires_ms);
        let name = self.city().directory.districts.get(&code).map(|district| district.name.clone());
        let name = name.unwrap_or_default();
        let text = JoinToken {
            hub_url: self.public_url(),
            ca_fingerprint: liandong_server::identity::fingerprint(self.authority.ca_der()),
            secret,
            district_code: code.to_string(),
            district_name: name.clone(),
            expires_ms,
        };
        DistrictAdded {
            code,
            name,
            token: text.to_string(),
            expires_ms,
            hub_url: text.hub_url,
            ca_fingerprint: self.authority.fingerprint(),
        }
    }

    async fn verify(self: Arc<Self>, progress: Progress) -> Result<VerifyReport, AdminError> {
        let keys = self.keys();
        let verified = tokio::task::spawn_blocking(move || {
            self.store.verify(&keys, |done, total| progress.report(done, total, "verify"))
        });
        let verified = verified.await.map_err(|error| {
            AdminError::new("internal", Exit::Error, error.to_string(), error.to_string())
        })?;
        verified.map_err(|error| AppError::Store(error).explain())
    }
}
