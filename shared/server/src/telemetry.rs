//! Logs to stderr and figures for Prometheus.

use std::{convert::Infallible, io::IsTerminal, sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::{Log, LogFormat};

/// How often [`upkeep`] empties the histograms' buffers.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Bounds of every histogram, seconds: from a query in memory to a long import.
const BUCKETS_SECS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Sends logs to stderr as the section says. A second call changes nothing, so that tests may call
/// it freely.
///
/// # Errors
/// The filter is not understood; [`Log::validate`] finds the same before.
pub fn init(log: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error here means that a subscriber is set already, which is what idempotent asks for.
    let _already = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(colour()).try_init(),
    };
    Ok(())
}

/// The process' figures: `render()` gives the text that `/metrics` answers.
///
/// The first call installs the recorder, so call it before the first figure is counted.
pub fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new();
            // Buckets are refused only when there are none.
            let builder = builder.set_buckets(&BUCKETS_SECS).unwrap_or_default();
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed; /metrics stays empty");
            }
            handle
        })
        .clone()
}

/// Keeps the recorder's memory bounded when nobody reads `/metrics`. Spawn it once a process.
pub async fn upkeep() -> Infallible {
    let handle = metrics_handle();
    let mut tick = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

/// Whether stderr may be coloured. See <https://no-color.org>.
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_can_be_set_up_twice() {
        let log = Log::default();
        init(&log).unwrap();
        init(&Log { format: LogFormat::Json, ..log }).unwrap();
    }

    #[test]
    fn a_filter_that_is_not_understood_is_refused() {
        assert!(init(&Log { filter: "hub=loudly".into(), ..Log::default() }).is_err());
    }

    #[test]
    fn a_counted_event_is_in_the_figures() {
        let handle = metrics_handle();
        metrics::counter!("liandong_telemetry_test_total", "kind" => "unit").increment(3);
        metrics::histogram!("liandong_telemetry_test_seconds").record(0.02);
        let text = handle.render();
        assert!(text.contains("liandong_telemetry_test_total{kind=\"unit\"} 3"), "{text}");
        assert!(text.contains("liandong_telemetry_test_seconds_bucket{le=\"0.025\"} 1"), "{text}");
    }
}
