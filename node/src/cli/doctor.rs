//! `doctor`: what can be seen to be wrong without starting.

use std::path::Path;

use liandong_server::{
    clock, command,
    identity::{Anchor, CertInfo},
    output::{Exit, Explain as _, Output},
    site::Status,
    tls,
};

use super::run;
use crate::{
    app::{AppError, read_certificate},
    command::Command,
    config::Config,
};

/// Looks at what can be seen without starting: configuration, certificate, data, the way to the hub.
pub(super) async fn doctor(dir: &Path, output: Output) -> Result<Exit, AppError> {
    let config = Config::load(dir, &[]);
    let mut checks: Vec<command::Check> = Vec::new();
    checks.push((
        "证书 certificate",
        read_certificate(dir)
            .and_then(|(der, _)| Ok(CertInfo::parse(&der)?))
            .map(|info| clock::format_shanghai(info.not_after_ms))
            .map_err(|error| error.explain()),
    ));
    let status = run(dir, &Command::Status, output).await.and_then(command::read::<Status>);
    checks.push((
        "数据 data",
        status.map(|status| format!("{} 条目录 / records", status.view.records)),
    ));
    match config {
        Ok(config) => {
            checks.push(("配置 configuration", Ok(format!("http {}", config.http.listen))));
            checks.push(("中心 hub", reach(dir, &config).await.map_err(|error| error.explain())));
        }
        Err(error) => checks.push(("配置 configuration", Err(error.explain()))),
    }
    Ok(command::show_checks(&checks, output))
}

async fn reach(dir: &Path, config: &Config) -> Result<String, AppError> {
    let anchor = Anchor::read(dir)?;
    let anchor = anchor.ok_or_else(|| AppError::Refused("尚未加入 / not joined".to_owned()))?;
    let (certificate, key) = read_certificate(dir)?;
    let client = tls::ClientTls::mutual(&anchor.ca_der()?, &certificate, &key)?;
    let _channel = tls::connect(&config.hub.url, &client, tls::Timeouts::default()).await?;
    Ok(config.hub.url.clone())
}
