//! How a runtime wakes a background thread: cheaply when there is no hurry, at once when there is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A bell between runtimes and one background thread.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// True while a nudge waits to be seen: all later nudges cost one atomic swap.
    armed: AtomicBool,
    calls: Mutex<Calls>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Calls {
    nudged: bool,
    urgent: bool,
    stop: bool,
}

impl Pulse {
    /// There is something to do, within the thread's own time.
    pub(super) fn nudge(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) {
            self.calls().nudged = true;
            self.bell.notify_one();
        }
    }

    /// Somebody waits.
    pub(super) fn urge(&self) {
        self.calls().urgent = true;
        self.bell.notify_one();
    }

    /// Do what there is and end.
    pub(super) fn stop(&self) {
        self.calls().stop = true;
        self.bell.notify_one();
    }

    /// Waits for a call: returns at once when it is urgent, `lag` after a nudge, and after `at_most` in any case. True
    /// when the thread should end.
    pub(super) fn wait(&self, lag: Duration, at_most: Option<Duration>) -> bool {
        let mut deadline = at_most.map(|wait| Instant::now() + wait);
        let mut calls = self.calls();
        loop {
            if calls.stop || calls.urgent {
                break;
            }
            if calls.nudged {
                calls.nudged = false;
                let soon = Instant::now() + lag;
                deadline = Some(deadline.map_or(soon, |deadline| deadline.min(soon)));
            }
            calls = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.bell.wait_timeout(calls, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait(calls).unwrap_or_else(PoisonError::into_inner),
            };
        }
        calls.nudged = false;
        calls.urgent = false;
        // Whatever was written before a nudge that found the bell armed is visible from here on.
        self.armed.swap(false, Ordering::AcqRel);
        calls.stop
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
