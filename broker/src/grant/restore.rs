//! Start-up: live grants of the last process continue when their policy still says the same, and end when it does not.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Deadlines, Ending, EndingKind, GrantState, Grants, Live, Problem, Totals};
use crate::policy::Scope;
use crate::scram::Verifier;
use crate::store::{GrantRow, StoreFault};

/// What became of the grants of the last process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Continued {
    /// Grants that go on.
    pub live: usize,
    /// Grants whose time passed while the broker was down.
    pub expired: usize,
    /// Grants whose scope is gone or says something else now.
    pub changed: usize,
}

impl Grants {
    /// Takes up the stored grants. `scope_now` compiles a grant's scope from today's policy.
    pub async fn restore(&self, scope_now: impl Fn(&GrantRow) -> Option<Arc<Scope>>) -> Result<Continued, Problem> {
        let restored = self.store.live().await?;
        let mono = Instant::now();
        // A wall clock that was set back while the broker was down must not lengthen a life.
        let now = restored
            .seen_at
            .map_or(self.clock.now(), |seen| seen.max(self.clock.now()));
        let mut continued = Continued::default();
        for row in restored.rows {
            let scope = scope_now(&row).filter(|scope| *scope.digest == row.scope_digest);
            let ending = match scope {
                _ if now >= row.ends_at => {
                    continued.expired += 1;
                    Ending {
                        kind: EndingKind::Expired,
                        reason: "its max-session passed while the broker was down".into(),
                    }
                }
                None => {
                    continued.changed += 1;
                    Ending {
                        kind: EndingKind::Killed,
                        reason: format!("the policy changed while the broker was down ({})", row.policy.path),
                    }
                }
                Some(scope) => {
                    self.registry.insert(Arc::new(take_up(&row, scope, now, mono)?));
                    continued.live += 1;
                    continue;
                }
            };
            self.write_end(row.id, &ending, now).await?;
        }
        Ok(continued)
    }
}

fn take_up(row: &GrantRow, scope: Arc<Scope>, now: Timestamp, mono: Instant) -> Result<Live, StoreFault> {
    let verifier = Verifier::from_text(&row.verifier)
        .map_err(|error| StoreFault::Corrupt(format!("the verifier of {}: {error}", row.id)))?;
    // What is left by the clock, but never more than the grant was given.
    let left = |end: Timestamp| {
        let given = end.duration_since(row.created_at);
        Duration::try_from(end.duration_since(now).min(given)).unwrap_or(Duration::ZERO)
    };
    Ok(Live {
        id: row.id,
        scope,
        claims: Arc::new(row.claims.clone()),
        verifier,
        created_at: row.created_at,
        expires_at: row.expires_at,
        ends_at: row.ends_at,
        deadlines: Deadlines::after(mono, left(row.expires_at), left(row.ends_at)),
        state: watch::Sender::new(GrantState::Active),
        open_sessions: AtomicU32::new(0),
        totals: Totals::default(),
    })
}
