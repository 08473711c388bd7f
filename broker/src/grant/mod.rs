//! A grant's life: minted from a matched scope, watched by its sessions, ended once.

pub mod audit;
pub mod end;
pub mod mint;
pub mod problem;
pub mod registry;
pub mod restore;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod totals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::base::id::GrantId;
use crate::claims::Claims;
use crate::policy::Scope;
use crate::role::Roles;
use crate::store::{Ended, Store};

pub use audit::{Admission, Admitted, Ask, Audit, AuditFault, Event};
pub use mint::Minted;
pub use problem::{Nature, Problem};
pub use registry::{Caps, Registry, SessionRefusal, SessionSlot};

/// What a session watches: one state change ends every session of the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantState {
    /// Statements may be sent.
    Active,
    /// Over: cut, cancel upstream, roll back.
    Ended(Ending),
}

/// How a grant ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Which of the ways.
    pub kind: EndingKind,
    /// The sentence the client sees after 57P01, with the YAML line where a limit ended it.
    pub reason: String,
}

/// The ways a grant ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndingKind {
    /// The job, through its revoke token.
    Revoked,
    /// `max-session`, or `ttl` with no session left.
    Expired,
    /// An operator's kill switch, or a policy that no longer grants it.
    Killed,
}

impl EndingKind {
    /// The word in the API, the store and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Killed => "killed",
        }
    }
}

/// When a grant's two lifetimes end on the monotonic clock. Whichever clock says "over" first is believed, so that a
/// wall clock set back extends nothing.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// The monotonic side of [`Live::expires_at`].
    pub expires: Instant,
    /// The monotonic side of [`Live::ends_at`].
    pub ends: Instant,
}

impl Deadlines {
    /// Deadlines that lie this far ahead of `from`.
    pub fn after(from: Instant, ttl: Duration, max_session: Duration) -> Self {
        // An addition that overflows the clock ends at once instead of never.
        let at = |ahead| from.checked_add(ahead).unwrap_or(from);
        Self {
            expires: at(ttl),
            ends: at(max_session),
        }
    }
}

/// A live grant as the data plane sees it. Shared by every runtime.
#[derive(Debug)]
pub struct Live {
    /// Also the endpoint's user name.
    pub id: GrantId,
    /// The rules it was minted under.
    pub scope: Arc<Scope>,
    /// Who the job is.
    pub claims: Arc<Claims>,
    /// What the password is checked against.
    pub verifier: crate::scram::Verifier,
    /// When the grant was minted.
    pub created_at: Timestamp,
    /// New connections are refused from here on (`ttl`).
    pub expires_at: Timestamp,
    /// Every session is cut here (`max-session`).
    pub ends_at: Timestamp,
    /// The same two ends on the monotonic clock.
    pub deadlines: Deadlines,
    /// Sessions subscribe to this.
    pub state: watch::Sender<GrantState>,
    /// Sessions open now, for `max-connections`.
    pub open_sessions: AtomicU32,
    /// Running totals for the summary.
    pub totals: Totals,
}

impl Live {
    /// Whether new connections are refused by now.
    pub fn ttl_passed(&self, wall: Timestamp, mono: Instant) -> bool {
        wall >= self.expires_at || mono >= self.deadlines.expires
    }

    /// Whether every session must be cut by now.
    pub fn is_over(&self, wall: Timestamp, mono: Instant) -> bool {
        wall >= self.ends_at || mono >= self.deadlines.ends
    }

    /// How it ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        match &*self.state.borrow() {
            GrantState::Active => None,
            GrantState::Ended(ending) => Some(ending.clone()),
        }
    }

    /// Ends it, once. Every session that watches it is told before this returns.
    fn end(&self, ending: Ending) -> bool {
        self.state.send_if_modified(|state| {
            let first = *state == GrantState::Active;
            if first {
                *state = GrantState::Ended(ending);
            }
            first
        })
    }

    /// Sessions open now.
    pub fn sessions(&self) -> u32 {
        self.open_sessions.load(Ordering::Acquire)
    }
}

/// Every grant there is, and the only way to make, end and look one up.
#[derive(Debug)]
pub struct Grants {
    /// What outlives the process.
    store: Arc<dyn Store>,
    /// Who may have what.
    admission: Arc<dyn Admission>,
    /// Where every change is recorded first.
    audit: Arc<dyn Audit>,
    /// What the data plane looks at.
    registry: Arc<Registry>,
    clock: Clock,
    /// Held while totals travel to the store, so that a reader never finds them in neither place.
    flushing: tokio::sync::Mutex<()>,
    /// Endings the store did not take. The reaper tries again, so that a restart does not bring the grant back.
    unwritten: std::sync::Mutex<Vec<(GrantId, Ended)>>,
    /// The second enforcer, where a database has one.
    roles: Roles,
}

impl Grants {
    /// Composes them; [`Grants::restore`] comes next.
    pub fn new(
        store: Arc<dyn Store>,
        admission: Arc<dyn Admission>,
        audit: Arc<dyn Audit>,
        registry: Arc<Registry>,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            admission,
            audit,
            registry,
            clock,
            flushing: tokio::sync::Mutex::new(()),
            unwritten: std::sync::Mutex::default(),
            roles: Roles::default(),
        }
    }

    /// The same, with the databases that enforce as well.
    #[must_use]
    pub fn with_roles(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    /// Gives up the logins of grants that have ended.
    pub fn retire_logins(&self) {
        self.roles
            .retire(|id| self.registry.get(id).is_none_or(|live| live.ending().is_some()));
    }

    /// The live grants.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The store, for readiness.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// Counters of one grant, updated by its sessions as statements end.
#[derive(Debug, Default)]
pub struct Totals {
    /// Sessions ever opened.
    pub sessions: AtomicU64,
    /// Statements allowed, by `Class as usize`.
    pub statements: [AtomicU64; 27],
    /// Rows returned or affected, as the server's command tags count them.
    pub rows: AtomicU64,
    /// Masked values, by `schema.table.column`.
    pub masked: std::sync::Mutex<std::collections::BTreeMap<String, u64>>,
    /// What was found in texts and replaced, by kind.
    pub detected: std::sync::Mutex<std::collections::BTreeMap<String, u64>>,
    /// Statements denied.
    pub denied: AtomicU64,
    /// The first denials, for the job summary: never literals.
    pub denials: std::sync::Mutex<Vec<crate::decide::Denial>>,
}
