//! What the benchmarks measure, and how figures are summed up.

pub mod append;
pub mod backlog;
pub mod recover;
pub mod replicate;
pub mod search;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Any failure of a benchmark; it ends.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A stopwatch: the one place of the tests that reads the clock.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Instant);

impl Watch {
    /// Starts.
    #[expect(clippy::disallowed_methods, reason = "benchmarks measure time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Percentiles of durations, milliseconds.
pub fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    json!({ "n": times.len(), "p50": at(50), "p95": at(95), "p99": at(99), "max": at(100) })
}

/// The middle of several runs.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A rate a second.
pub fn per_second(count: usize, time: Duration) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / time.as_secs_f64().max(1e-9)
}
