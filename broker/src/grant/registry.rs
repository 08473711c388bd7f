//! The grants the data plane looks at: found by user name, entered by sessions, ended by flipping what they watch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Ending, GrantState, Live, totals};
use crate::base::id::GrantId;
use crate::policy::Origin;
use crate::store::{Filter, TotalsRow};

/// An ended grant stays findable this long, so that its job reads why instead of "unknown user".
const REMEMBER_ENDED: Duration = Duration::from_secs(600);

/// The broker's own bounds, beside each scope's.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Live grants of one repository and scope.
    pub grants_per_scope: u32,
    /// Live grants in all.
    pub grants: usize,
    /// Sessions in all.
    pub sessions: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            grants_per_scope: 64,
            grants: 20_000,
            sessions: 10_000,
        }
    }
}

/// The live grants, by id. Every runtime shares one.
#[derive(Debug)]
pub struct Registry {
    entries: RwLock<HashMap<GrantId, Entry>>,
    /// How many of them are live, so that a mint need not count.
    live: AtomicUsize,
    sessions: Arc<AtomicU32>,
    /// Statements of every grant of this process, as far as the store has them.
    completed: AtomicU64,
    denied: AtomicU64,
    caps: Caps,
}

#[derive(Debug)]
struct Entry {
    live: Arc<Live>,
    /// The counters as the store last got them.
    flushed: Mutex<TotalsRow>,
    /// When this process saw it end.
    ended: Mutex<Option<Instant>>,
}

impl Entry {
    fn unflushed(&self) -> (TotalsRow, TotalsRow) {
        let now = self.live.totals.snapshot();
        let delta = totals::since(&now, &self.flushed.lock().unwrap_or_else(PoisonError::into_inner));
        (delta, now)
    }
}

impl Registry {
    /// An empty registry.
    pub fn new(caps: Caps) -> Self {
        Self {
            entries: RwLock::default(),
            live: AtomicUsize::new(0),
            sessions: Arc::default(),
            completed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            caps,
        }
    }

    /// The bounds it keeps.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// The grant whose endpoint has this user name, ended ones included for a while: whether it may be entered is
    /// [`Registry::admit_session`]'s to say, after the password.
    pub fn find(&self, user: &str) -> Option<Arc<Live>> {
        self.get(user.parse().ok()?)
    }

    /// The grant of this id.
    pub fn get(&self, id: GrantId) -> Option<Arc<Live>> {
        self.with(|entries| entries.get(&id).map(|entry| Arc::clone(&entry.live)))
    }

    /// Makes a grant findable.
    pub fn insert(&self, live: Arc<Live>) {
        let entry = Entry {
            flushed: Mutex::default(),
            ended: Mutex::default(),
            live,
        };
        self.live.fetch_add(1, Ordering::AcqRel);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(entry.live.id, entry);
    }

    /// Drops a grant that did not come to be.
    pub(super) fn remove(&self, id: GrantId) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.remove(&id)
            && *entry.live.state.borrow() == GrantState::Active
        {
            self.live.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Ends a grant: its sessions are told before this returns. False when it had ended or is not here.
    pub fn end(&self, id: GrantId, ending: Ending) -> bool {
        self.with(|entries| {
            let Some(entry) = entries.get(&id) else {
                return false;
            };
            let first = entry.live.end(ending);
            if first {
                self.live.fetch_sub(1, Ordering::AcqRel);
                *entry.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            first
        })
    }

    /// How many grants are live.
    pub fn live_count(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// How many sessions are open.
    pub fn session_count(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Live grants that must end by now: `max-session` passed, or `ttl` passed with no session left.
    pub fn due(&self, wall: Timestamp, mono: Instant) -> Vec<Arc<Live>> {
        let due = |live: &Live| live.is_over(wall, mono) || (live.ttl_passed(wall, mono) && live.sessions() == 0);
        self.collect(|live| *live.state.borrow() == GrantState::Active && due(live))
    }

    /// Every live grant.
    pub fn live(&self) -> Vec<Arc<Live>> {
        self.collect(|live| *live.state.borrow() == GrantState::Active)
    }

    /// Live grants a filter means.
    pub fn matching(&self, filter: &Filter) -> Vec<Arc<Live>> {
        self.collect(|live| {
            *live.state.borrow() == GrantState::Active
                && filter.covers(live.id, &live.scope.name, &live.scope.database, &live.claims)
        })
    }

    /// Drops grants that ended long ago and have no session left.
    pub fn forget_ended(&self, now: Instant) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| {
            let ended = *entry.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let old = ended.is_some_and(|at| now.saturating_duration_since(at) > REMEMBER_ENDED);
            !old || entry.live.sessions() > 0 || entry.unflushed().0 != TotalsRow::default()
        });
    }

    /// Lets a session in, or says why not. `now` is the wall clock; the monotonic one is read here.
    pub fn admit_session(&self, live: &Arc<Live>, now: Timestamp) -> Result<SessionSlot, SessionRefusal> {
        // Watching starts before anything is checked: an ending between check and watch would be missed.
        let mut watch = live.state.subscribe();
        let limits = &live.scope.limits;
        let mono = Instant::now();
        if let Some(ending) = live.ending() {
            return Err(SessionRefusal::Ended(ending));
        }
        if live.is_over(now, mono) {
            return Err(SessionRefusal::Over(limits.max_session.origin.clone()));
        }
        if live.ttl_passed(now, mono) {
            return Err(SessionRefusal::TtlPassed(limits.ttl.origin.clone()));
        }
        let total = Seat::take(&self.sessions, self.caps.sessions).ok_or(SessionRefusal::BrokerFull)?;
        let most = limits.max_connections.value;
        if !take(&live.open_sessions, most) {
            let origin = limits.max_connections.origin.clone();
            return Err(SessionRefusal::TooMany { most, origin });
        }
        // From here the drop of the slot gives both seats back.
        let state = watch.borrow_and_update().clone();
        let slot = SessionSlot {
            live: Arc::clone(live),
            watch,
            _total: total,
        };
        if let GrantState::Ended(ending) = state {
            return Err(SessionRefusal::Ended(ending));
        }
        live.totals.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(slot)
    }

    /// Counters that moved since the store last got them: id, difference, and the snapshot it leads to.
    pub(super) fn unflushed(&self) -> Vec<(GrantId, TotalsRow, TotalsRow)> {
        self.with(|entries| {
            let moved = entries.iter().map(|(id, entry)| {
                let (delta, now) = entry.unflushed();
                (*id, delta, now)
            });
            moved.filter(|(_, delta, _)| *delta != TotalsRow::default()).collect()
        })
    }

    pub(super) fn unflushed_of(&self, id: GrantId) -> Option<TotalsRow> {
        self.with(|entries| entries.get(&id).map(|entry| entry.unflushed().0))
    }

    /// Statements that were allowed and that the database completed, and statements that were denied.
    pub fn decided(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.completed), count(&self.denied))
    }

    /// The store now has the counters up to this snapshot, which is `delta` more than before.
    pub(super) fn flushed(&self, id: GrantId, delta: &TotalsRow, upto: TotalsRow) {
        self.completed
            .fetch_add(delta.statements.values().sum(), Ordering::Relaxed);
        self.denied.fetch_add(delta.denied, Ordering::Relaxed);
        self.with(|entries| {
            if let Some(entry) = entries.get(&id) {
                *entry.flushed.lock().unwrap_or_else(PoisonError::into_inner) = upto;
            }
        });
    }

    fn collect(&self, wanted: impl Fn(&Live) -> bool) -> Vec<Arc<Live>> {
        self.with(|entries| {
            let wanted = entries.values().filter(|entry| wanted(&entry.live));
            wanted.map(|entry| Arc::clone(&entry.live)).collect()
        })
    }

    fn with<T>(&self, look: impl FnOnce(&HashMap<GrantId, Entry>) -> T) -> T {
        look(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn take(seats: &AtomicU32, most: u32) -> bool {
    seats
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            (taken < most).then(|| taken + 1)
        })
        .is_ok()
}

/// One of the broker's session seats, given back on drop.
#[derive(Debug)]
struct Seat(Arc<AtomicU32>);

impl Seat {
    fn take(seats: &Arc<AtomicU32>, most: u32) -> Option<Self> {
        take(seats, most).then(|| Self(Arc::clone(seats)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A session's place in its grant, given back on drop.
#[derive(Debug)]
pub struct SessionSlot {
    live: Arc<Live>,
    watch: watch::Receiver<GrantState>,
    _total: Seat,
}

impl SessionSlot {
    /// The grant.
    pub fn grant(&self) -> &Arc<Live> {
        &self.live
    }

    /// Ready when the grant ends. The place for it is the same `select!` that reads both sockets.
    pub async fn ended(&mut self) -> Ending {
        let ended = self.watch.wait_for(|state| *state != GrantState::Active).await;
        match ended.as_deref() {
            Ok(GrantState::Ended(ending)) => ending.clone(),
            // The sender lives in the grant this slot holds, so it cannot be gone.
            Ok(GrantState::Active) | Err(_) => Ending {
                kind: super::EndingKind::Killed,
                reason: "the broker lost sight of this grant".into(),
            },
        }
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        self.live.open_sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a connection with the right password is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRefusal {
    /// The grant has ended.
    Ended(Ending),
    /// `max-session` has passed.
    Over(Origin),
    /// `ttl` has passed.
    TtlPassed(Origin),
    /// `max-connections` are open.
    TooMany {
        /// The limit.
        most: u32,
        /// Where it is written.
        origin: Origin,
    },
    /// The broker has as many sessions as it takes.
    BrokerFull,
}

impl SessionRefusal {
    /// The SQLSTATE of the ErrorResponse.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Ended(_) | Self::Over(_) => "57P01",
            Self::TtlPassed(_) => "28000",
            Self::TooMany { .. } | Self::BrokerFull => "53300",
        }
    }

    /// What the client sees, with the YAML line.
    pub fn message(&self) -> String {
        match self {
            Self::Ended(ending) => format!("this grant has ended: {}", ending.reason),
            Self::Over(origin) => format!("this grant has ended: max-session ({origin}) has passed"),
            Self::TtlPassed(origin) => {
                format!("this grant takes no new connections: ttl ({origin}) has passed")
            }
            Self::TooMany { most, origin } => {
                format!("this grant already has {most} connections, its max-connections ({origin})")
            }
            Self::BrokerFull => "the broker has as many sessions as it takes".to_owned(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ended(_) | Self::Over(_) => "Ask for a new grant; a longer max-session is the policy's to give.",
            Self::TtlPassed(_) => "Connect sooner, ask for a new grant, or raise ttl in the policy.",
            Self::TooMany { .. } => {
                "Close a connection, lower the pool's size, or raise max-connections in the policy."
            }
            Self::BrokerFull => "Try again in a moment.",
        }
    }
}
