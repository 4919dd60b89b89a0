//! Pauses between attempts: the one place that wraps the `backoff` crate.
//!
//! Full jitter: each pause is drawn evenly between nothing and a cap that doubles up to a longest,
//! so that sixteen districts that lost the hub at one moment do not return at one moment. Source:
//! FEDERATION 2.6.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};

use crate::config;

/// A connection that lived this long was healthy: the next pause starts again from the first.
pub const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// No pause is shorter, or a quick refusal would become a busy loop.
pub const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest wait the other side can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Between which bounds pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Cap of the first pause. At least [`PAUSE_MIN`].
    pub first: Duration,
    /// Cap of every pause. At least `first`.
    pub longest: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_mins(5) }
    }
}

impl From<&config::Retry> for RetryLimits {
    fn from(section: &config::Retry) -> Self {
        Self {
            first: Duration::from_millis(section.first_ms.into()),
            longest: Duration::from_millis(section.longest_ms.into()),
        }
    }
}

/// One series of attempts.
#[derive(Debug)]
pub struct Retry {
    series: ExponentialBackoff,
    longest: Duration,
}

impl Retry {
    /// A new series. Limits below their minimum are raised to it.
    pub fn new(limits: RetryLimits) -> Self {
        let first = limits.first.max(PAUSE_MIN);
        let longest = limits.longest.max(first);
        // The crate draws from `interval ± factor × interval`. Half the cap with a factor of one is
        // 0..=cap.
        let series = ExponentialBackoff {
            current_interval: first / 2,
            initial_interval: first / 2,
            randomization_factor: 1.0,
            multiplier: 2.0,
            max_interval: longest / 2,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { series, longest }
    }

    /// How long to wait before the next attempt.
    ///
    /// `retry_after` is what the other side asked for: the pause is never shorter than that, up to
    /// [`RETRY_AFTER_MAX`]. `healthy_for` is how long the last attempt worked before it failed.
    pub fn next_pause(&mut self, retry_after: Option<Duration>, healthy_for: Duration) -> Duration {
        if healthy_for >= HEALTHY_AFTER {
            self.series.reset();
        }
        let drawn = self.series.next_backoff().unwrap_or(self.longest);
        let asked = retry_after.map_or(Duration::ZERO, |asked| asked.min(RETRY_AFTER_MAX));
        drawn.clamp(PAUSE_MIN, self.longest).max(asked)
    }

    /// Waits for [`Self::next_pause`] and says how long that was.
    pub async fn pause(
        &mut self,
        retry_after: Option<Duration>,
        healthy_for: Duration,
    ) -> Duration {
        let pause = self.next_pause(retry_after, healthy_for);
        tokio::time::sleep(pause).await;
        pause
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(first_ms: u64, longest_ms: u64) -> RetryLimits {
        let ms = Duration::from_millis;
        RetryLimits { first: ms(first_ms), longest: ms(longest_ms) }
    }

    proptest! {
        #[test]
        fn a_pause_stays_between_the_floor_and_a_cap_that_doubles(
            first in 50_u64..5_000, more in 0_u64..400_000, attempts in 1_usize..30,
        ) {
            let mut retry = Retry::new(limits(first, first + more));
            let mut cap = first;
            for _ in 0..attempts {
                let pause = retry.next_pause(None, Duration::ZERO);
                prop_assert!(pause >= PAUSE_MIN, "{pause:?}");
                // One millisecond is what halving and doubling may lose to rounding.
                prop_assert!(pause <= Duration::from_millis(cap + 1), "{pause:?} over {cap} ms");
                prop_assert!(pause <= Duration::from_millis(first + more));
                cap = (cap * 2).min(first + more);
            }
        }

        #[test]
        fn what_the_other_side_asks_for_is_honoured_up_to_an_hour(asked_ms in 0_u64..20_000_000) {
            let mut retry = Retry::new(limits(1_000, 300_000));
            let asked = Duration::from_millis(asked_ms);
            let pause = retry.next_pause(Some(asked), Duration::ZERO);
            prop_assert!(pause >= asked.min(RETRY_AFTER_MAX));
            prop_assert!(pause <= asked.min(RETRY_AFTER_MAX).max(Duration::from_secs(1)));
        }
    }

    #[test]
    fn a_minute_of_health_starts_the_series_again() {
        let mut retry = Retry::new(limits(100, 300_000));
        for _ in 0..20 {
            retry.next_pause(None, Duration::ZERO);
        }
        assert!(retry.next_pause(None, HEALTHY_AFTER) <= Duration::from_millis(101));
    }

    #[test]
    fn a_failure_after_a_short_success_does_not_start_the_series_again() {
        let grown = (0..200).map(|_| {
            let mut retry = Retry::new(limits(100, 300_000));
            (0..20).map(|_| retry.next_pause(None, Duration::from_secs(59))).max()
        });
        assert!(grown.flatten().max() > Some(Duration::from_secs(10)));
    }

    #[test]
    fn pauses_use_the_whole_range() {
        let mut retry = Retry::new(limits(1_000, 1_000));
        let pauses: Vec<_> = (0..500).map(|_| retry.next_pause(None, Duration::ZERO)).collect();
        assert!(pauses.iter().any(|pause| *pause < Duration::from_millis(200)));
        assert!(pauses.iter().any(|pause| *pause > Duration::from_millis(800)));
    }

    #[tokio::test]
    async fn a_pause_waits_as_long_as_it_says() {
        let mut retry = Retry::new(limits(50, 50));
        let start = tokio::time::Instant::now();
        let pause = retry.pause(Some(Duration::from_millis(60)), Duration::ZERO).await;
        assert!(pause >= Duration::from_millis(60) && start.elapsed() >= pause);
    }
}
