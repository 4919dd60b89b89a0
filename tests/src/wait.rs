//! Waiting for what has to become true.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything that is waited for may take.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks until the condition gives a value and returns that. An `Err` says what is seen instead.
///
/// # Panics
/// It did not come true within [`DEADLINE`]: `what`, and what was seen last.
pub async fn wait_until<T>(what: &str, condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    wait_until_within(DEADLINE, what, condition).await
}

/// [`wait_until`] with a deadline of its own, for what is known to take longer.
///
/// # Panics
/// As [`wait_until`].
pub async fn wait_until_within<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(seen) if begun.elapsed() > deadline => {
                panic!("waited {deadline:?} until {what}; last seen: {seen}")
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}
