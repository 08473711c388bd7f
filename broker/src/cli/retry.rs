//! Tries again what may succeed later, until the time the job is willing to wait is over. A denial stays a denial.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::api::Problem;
use super::out::Out;
use crate::base::secret::random_bytes;

/// The pause after the first try; it doubles from try to try.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause that nobody asked for.
const LONGEST: Duration = Duration::from_secs(8);

/// Runs `attempt` until it succeeds, fails for good, or `wait` is over. It is told how many tries there were before.
pub async fn retrying<T>(wait: Duration, out: &mut Out, mut attempt: impl AsyncFnMut(u32) -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut tries = 0;
    loop {
        let error = match attempt(tries).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(asked) = may_pass(&error) else {
            return Err(error);
        };
        let pause = jittered(tries).max(asked);
        if start.elapsed() + pause >= wait {
            return Err(error.context(format!(
                "given up after {} tries in {} s",
                tries + 1,
                start.elapsed().as_secs()
            )));
        }
        out.note(&format!("{error:#}; trying again in {:.1} s", pause.as_secs_f64()));
        tokio::time::sleep(pause).await;
        tries += 1;
    }
}

/// How long to wait at least before another try makes sense; `None` when none does.
fn may_pass(error: &anyhow::Error) -> Option<Duration> {
    match error.downcast_ref::<Problem>() {
        Some(problem) if matches!(problem.status, 429 | 502 | 503 | 504) => {
            Some(problem.retry_after.unwrap_or_default())
        }
        Some(_) => None,
        // No connection, a timeout, an answer that broke off; but a name that does not verify stays as it is.
        None => {
            let sent = error
                .chain()
                .any(<dyn std::error::Error + 'static>::is::<reqwest::Error>);
            let mistaken = error.chain().any(|cause| cause.to_string().contains("certificate"));
            (sent && !mistaken).then_some(Duration::ZERO)
        }
    }
}

/// Half of it is chance, so that the jobs of a matrix do not come back together.
fn jittered(tries: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << tries.min(8)).min(LONGEST);
    let [chance] = random_bytes::<1>().unwrap_or([u8::MAX]);
    full / 2 + full * u32::from(chance) / 512
}
