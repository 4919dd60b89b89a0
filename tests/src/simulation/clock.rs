//! Clocks that cannot be relied on.

use super::rng::Rng;

const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
/// When every world begins, milliseconds since 1970: November 2016.
pub(super) const BEGIN_MS: i64 = 1_478_000_000_000;

/// One machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    skew_ms: i64,
    frozen_at: Option<i64>,
}

impl Clock {
    /// What it shows when it is `now_ms` in truth.
    pub(super) fn shows(&self, now_ms: i64) -> i64 {
        self.frozen_at.unwrap_or(now_ms) + self.skew_ms
    }

    /// It stops, or goes up to ten years wrong in either direction, or is set right.
    pub(super) fn disturb(&mut self, now_ms: i64, rng: &mut Rng) {
        let span = usize::try_from(20 * YEAR_MS).unwrap_or(usize::MAX);
        let skew = i64::try_from(rng.below(span)).unwrap_or(0) - 10 * YEAR_MS;
        *self = match rng.below(4) {
            0 => Self::default(),
            1 => Self { frozen_at: Some(now_ms), ..*self },
            _ => Self { skew_ms: skew, frozen_at: None },
        };
    }
}
