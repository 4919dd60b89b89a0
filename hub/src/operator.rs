//! Operators of the desk: their certificates and who may call.

use liandong_core::{
    city::{OperatorBind, OperatorRevoke, operator_name},
    id::Hash,
};
use liandong_server::{
    admin::AdminError,
    clock,
    command::{self, answer},
    identity::{CertInfo, certificate_pem, fingerprint},
    output::{Explain as _, Output},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonic::{Request, Status};

use crate::app::{App, AppError};

/// What the command line can ask for.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum OperatorCommand {
    /// 签发操作员证书 / Make out a certificate; printed once, with its key
    Add {
        /// 名称：小写字母、数字、连字符 / Small letters, digits, hyphens
        name: String,
    },
    /// 列出操作员证书 / List the certificates
    List,
    /// 吊销操作员的全部证书 / End all certificates of an operator
    Revoke {
        /// 名称 / Name
        name: String,
        /// 原因 / Why
        #[arg(long)]
        reason: String,
    },
}

/// Answer of [`OperatorCommand::Add`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorAdded {
    /// Name.
    pub name: String,
    /// SHA-256 of the certificate.
    pub fingerprint: Hash,
    /// End of its validity, milliseconds since 1970.
    pub not_after_ms: i64,
    /// Key, certificate and the authority's certificate, PEM.
    pub pem: String,
}

impl App {
    /// Runs a command about operators.
    ///
    /// # Errors
    /// The command's own, for people and programs.
    pub async fn operators(
        &self,
        command: OperatorCommand,
        actor: &str,
    ) -> Result<Value, AdminError> {
        match command {
            OperatorCommand::Add { name } => {
                let added =
                    self.add_operator(name, actor).await.map_err(|error| error.explain())?;
                answer(&added)
            }
            OperatorCommand::List => answer(&self.city().operators.iter().collect::<Vec<_>>()),
            OperatorCommand::Revoke { name, reason } => {
                let revoke = OperatorRevoke { name, reason };
                self.decide(actor, |city| Ok(city.revoke_operator(&revoke)?))
                    .await
                    .map_err(|error| error.explain())?;
                answer(&revoke)
            }
        }
    }

    async fn add_operator(&self, name: String, actor: &str) -> Result<OperatorAdded, AppError> {
        operator_name(&name)?;
        let ttl = self.config.certificates.ttl_secs;
        let mut made = None;
        self.decide(actor, |city| {
            let (der, key) = self.authority.issue_operator(&name, ttl, clock::now_ms())?;
            let not_after_ms = CertInfo::parse(&der)?.not_after_ms;
            let fingerprint = Hash::new(fingerprint(&der));
            let bind = OperatorBind { name: name.clone(), fingerprint, not_after_ms };
            let changes = city.bind_operator(&bind)?;
            let authority = certificate_pem(self.authority.ca_der());
            let pem = format!("{key}{}{authority}", certificate_pem(&der));
            made = Some(OperatorAdded { name: name.clone(), fingerprint, not_after_ms, pem });
            Ok(changes)
        })
        .await?;
        // A decision that was written has run.
        made.ok_or_else(|| liandong_core::city::Refusal::NotFound(name).into())
    }

    /// The operator at the other end of a call. TLS has checked that the certificate is of our authority and in its
    /// time.
    pub(crate) fn operator_of<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let certificates = request.peer_certs().unwrap_or_default();
        let info = certificates.first().map(|der| (der, CertInfo::parse(der)));
        let Some((der, Ok(CertInfo { operator: Some(name), .. }))) = info else {
            return Err(Status::unauthenticated(
                "需要操作员证书：请运行 liandong-hub operator add / \
                 a certificate of an operator is needed: liandong-hub operator add",
            ));
        };
        if self.city().operators.admits(&name, Hash::new(fingerprint(der))) {
            return Ok(name);
        }
        tracing::warn!(operator = name, "a certificate of an operator is not good any more");
        Err(Status::permission_denied(
            "操作员证书未登记或已被吊销 / the operator's certificate is unknown or revoked",
        ))
    }
}

/// Prints an answer for people.
pub(crate) fn show(
    command: &OperatorCommand,
    answer: Value,
    output: Output,
) -> Result<(), AdminError> {
    match command {
        OperatorCommand::Add { .. } => {
            let added: OperatorAdded = command::read(answer)?;
            let until = clock::format_shanghai(added.not_after_ms);
            output.note(
                &format!("{} 的证书与私钥，有效期至 {until}；请妥善保管，仅显示一次", added.name),
                &format!("certificate and key of {}, good until {until}; shown once", added.name),
            );
            output.line(added.pem.trim_end());
        }
        OperatorCommand::List => {
            let bound: Vec<OperatorBind> = command::read(answer)?;
            let row = |bind: &OperatorBind| {
                let until = clock::format_shanghai(bind.not_after_ms);
                vec![bind.name.clone(), bind.fingerprint.to_string(), until]
            };
            let rows: Vec<_> = bound.iter().map(row).collect();
            output.table(&["操作员 Operator", "指纹 Fingerprint", "有效期至 Until"], &rows);
        }
        OperatorCommand::Revoke { name, .. } => output.line(&format!("已吊销 / revoked: {name}")),
    }
    Ok(())
}
