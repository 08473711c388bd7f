//! Time: a client that says nothing for `idle-timeout`, a statement that overruns `statement-timeout` although the
//! server was told of it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::pump::Moved;
use super::{End, Session, refusal};
use crate::decide::limit;
use crate::grant::Ending;
use crate::wire::answer::Complaint;

/// How much longer than its timeout a statement may take before the broker cancels it, and then before it ends the
/// session. The server's own timer comes first.
const SLACK: Duration = Duration::from_secs(2);

/// Since when nothing has moved.
#[derive(Debug, Default)]
pub struct Watchdog {
    /// The client owes the next word.
    idle: Option<Instant>,
    /// The server owes its answer number so and so.
    busy: Option<(u64, Instant)>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Session<C> {
    /// Waits until a peer moved; `None` when it took too long and something was done about it.
    pub(super) async fn wait_in_time<F>(&mut self, over: Pin<&mut F>) -> Result<Option<(Moved, Moved)>, End>
    where
        F: Future<Output = Ending>,
    {
        let Some(deadline) = self.deadline() else {
            return self.wait(over).await.map(Some);
        };
        match tokio::time::timeout_at(deadline, self.wait(over)).await {
            Ok(moved) => {
                let moved = moved?;
                if moved.0.read {
                    self.watchdog.idle = None;
                }
                Ok(Some(moved))
            }
            Err(_) => self.overdue().map(|()| None),
        }
    }

    /// When to look again, if nothing moves.
    fn deadline(&mut self) -> Option<Instant> {
        let limits = &self.grant.scope.limits;
        if self.pending.is_empty() && !self.guard.holds() {
            self.watchdog.busy = None;
            let limit = limits.idle_timeout.as_ref()?;
            let since = *self.watchdog.idle.get_or_insert_with(Instant::now);
            return Some(since + limit.value);
        }
        self.watchdog.idle = None;
        let limit = limits.statement_timeout.as_ref()?;
        let since = match self.watchdog.busy {
            Some((answers, since)) if answers == self.answers => since,
            _ => Instant::now(),
        };
        self.watchdog.busy = Some((self.answers, since));
        let grace = if self.stop.is_some() { SLACK * 2 } else { SLACK };
        Some(since + limit.value + grace)
    }

    fn overdue(&mut self) -> Result<(), End> {
        let scope = self.grant.scope.clone();
        if let (Some(since), Some(limit)) = (self.watchdog.idle, &scope.limits.idle_timeout)
            && since.elapsed() >= limit.value
        {
            let origin = &limit.origin;
            let text = format!("this session was idle for too long: idle-timeout ({origin}) has passed");
            let complaint = Complaint::fatal("57P05", text).hint("connect again; the grant goes on");
            return Err(End::Fatal(Box::new(complaint)));
        }
        let Some(limit) = &scope.limits.statement_timeout else {
            return Ok(());
        };
        let complaint = Complaint {
            sqlstate: "57014",
            ..refusal::denied(&limit::overrun(limit, &scope))
        };
        if self.stop.is_some() {
            // Cancelling did not help.
            return Err(End::Fatal(Box::new(Complaint {
                severity: "FATAL",
                ..complaint
            })));
        }
        self.stop_running(complaint);
        Ok(())
    }
}
