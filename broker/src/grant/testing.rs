//! Stand-ins for the seams of a grant's life, for the tests of this floor and the doors above.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::{SignedDuration, Timestamp};

use super::{Admission, Admitted, Ask, Audit, AuditFault, Caps, Event, Grants, Nature, Problem, Registry};
use crate::base::clock::Clock;
use crate::base::id::{GrantId, RequestId};
use crate::claims::{Claims, ProviderKind};
use crate::decide::MatchedScope;
use crate::policy::{Limit, Limits, Origin, Scope};
use crate::sql::bound::Sight;
use crate::store::{
    Answer, Digest, EndOutcome, Ended, Filter, GrantRow, Outcome, Purge, Restored, Sqlite, Store, StoreFault, TokenUse,
    TotalsRow,
};

/// When the tests' clock starts.
pub const START: Timestamp = Timestamp::constant(1_795_305_600, 0);

/// Claims of the repository every test uses.
pub fn claims(jti: &str) -> Claims {
    Claims {
        provider: ProviderKind::GithubActions,
        issuer: "github".into(),
        repository_id: "260064828".into(),
        repository: "acme/orders".into(),
        owner_id: "1342004".into(),
        git_ref: Some("refs/heads/main".into()),
        ref_protected: Some(true),
        environment: Some("production".into()),
        event: Some("push".into()),
        workflow: Some(".github/workflows/migrate.yml".into()),
        reusable_workflow: None,
        config: None,
        sha: None,
        actor: None,
        run_id: Some("7001".into()),
        run_attempt: Some("1".into()),
        job_id: Some("9001".into()),
        jti: jti.into(),
        issued_at: START,
        expires_at: START + SignedDuration::from_mins(5),
        raw: serde_json::Map::new(),
    }
}

/// A scope with ttl 15m, max-session 45m and two connections.
pub fn scope(name: &str) -> Arc<Scope> {
    let at = |line| Origin {
        path: ".hoop/db-access.yaml".into(),
        line,
        column: 7,
        preset: None,
    };
    Arc::new(Scope {
        name: name.into(),
        origin: at(4),
        database: "orders-prod".into(),
        enforcement: crate::policy::Enforcement::Shared,
        who: Vec::new(),
        can: Vec::new(),
        ceiling: Vec::new(),
        never: Vec::new(),
        masks: Vec::new(),
        detect: std::collections::BTreeMap::new(),
        limits: Limits {
            ttl: Limit {
                value: Duration::from_mins(15),
                origin: at(24),
            },
            max_session: Limit {
                value: Duration::from_mins(45),
                origin: at(25),
            },
            max_connections: Limit {
                value: 2,
                origin: at(26),
            },
            statement_timeout: None,
            lock_timeout: None,
            idle_timeout: None,
            max_rows: None,
            max_bytes: None,
            max_affected_rows: None,
            read_only: None,
            no_where: None,
        },
        digest: "digest-1".into(),
        policy_sha: "policy-1".into(),
    })
}

/// What the tests' jobs ask for.
pub fn ask(scope: &str) -> Ask {
    Ask {
        scope: scope.into(),
        ttl: None,
        reason: None,
        proof: None,
        proof_key: None,
        key: None,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request: RequestId::fresh(),
    }
}

/// Takes the "token" as the `jti` itself: `good…` is admitted, anything else is not authorised. A `…@job` suffix names
/// the job.
#[derive(Debug, Default)]
pub struct FakeAdmission {
    /// Whether its issuer gives one token per job.
    pub binds: bool,
}

impl Admission for FakeAdmission {
    fn admit<'a>(&'a self, token: &'a str, ask: &'a Ask, now: Timestamp) -> BoxFuture<'a, Result<Admitted, Problem>> {
        let admit = || {
            if !token.starts_with("good") {
                return Err(Problem::new(
                    Nature::Unauthenticated,
                    "bad-signature",
                    "the token's signature is wrong",
                ));
            }
            let mut claims = claims(token);
            if let Some((_, job)) = token.split_once('@') {
                claims.job_id = Some(job.into());
            }
            if !matches!(ask.scope.as_str(), "migrate" | "read") {
                let mut problem =
                    Problem::new(Nature::Refused, "scope-unknown", "there is no such scope").of_job(&claims);
                problem.expected = Some("migrate, read".into());
                return Err(problem);
            }
            let scope = scope(&ask.scope);
            Ok(Admitted {
                ttl: ask.ttl.unwrap_or(scope.limits.ttl.value),
                matched: MatchedScope::for_tests(scope, claims),
                binds: self.binds,
                keep_token_until: now + SignedDuration::from_mins(10),
            })
        };
        ready(admit()).boxed()
    }
}

/// Remembers event names; refuses while `broken`.
#[derive(Debug, Default)]
pub struct FakeAudit {
    /// The names of the events, in order.
    pub events: Mutex<Vec<String>>,
    /// Whether the ledger's disk is full.
    pub broken: AtomicBool,
}

impl FakeAudit {
    /// The names so far.
    pub fn names(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

impl Audit for FakeAudit {
    fn record<'a>(&'a self, event: Event<'a>) -> BoxFuture<'a, Result<(), AuditFault>> {
        if self.broken.load(Ordering::SeqCst) {
            return ready(Err(AuditFault("no space left".into()))).boxed();
        }
        self.events.lock().unwrap().push(event.name().to_owned());
        ready(Ok(())).boxed()
    }
}

/// A whole control plane on a store in memory.
#[derive(Debug)]
pub struct House {
    /// The grants.
    pub grants: Arc<Grants>,
    /// Their ledger.
    pub audit: Arc<FakeAudit>,
    /// Their clock.
    pub clock: Clock,
    /// Their store.
    pub store: Arc<dyn Store>,
}

impl Default for House {
    /// With an issuer whose tokens are used once.
    fn default() -> Self {
        Self::on(Arc::new(Sqlite::in_memory().unwrap()), FakeAdmission::default())
    }
}

impl House {
    /// On a given store and admission.
    pub fn on(store: Arc<dyn Store>, admission: FakeAdmission) -> Self {
        let audit = Arc::new(FakeAudit::default());
        let clock = Clock::manual(START);
        let registry = Arc::new(Registry::new(Caps {
            grants_per_scope: 3,
            ..Caps::default()
        }));
        let grants = Grants::new(
            Arc::clone(&store),
            Arc::new(admission),
            Arc::<FakeAudit>::clone(&audit),
            registry,
            clock.clone(),
        );
        Self {
            grants: Arc::new(grants),
            audit,
            clock,
            store,
        }
    }
}

/// A store whose endings fail while `broken`.
#[derive(Debug)]
pub struct Flaky {
    /// The store that works.
    pub inner: Sqlite,
    /// Whether its disk is full.
    pub broken: AtomicBool,
}

impl Store for Flaky {
    fn mint(&self, grant: GrantRow, token: TokenUse, cap: u32) -> Answer<'_, Outcome> {
        self.inner.mint(grant, token, cap)
    }

    fn end(&self, id: GrantId, ended: Ended) -> Answer<'_, EndOutcome> {
        if self.broken.load(Ordering::SeqCst) {
            return ready(Err(StoreFault::Unavailable("the disk is full".into()))).boxed();
        }
        self.inner.end(id, ended)
    }

    fn close_key(&self, key: Digest, ended: Ended, keep_until: Timestamp) -> Answer<'_, Option<GrantId>> {
        self.inner.close_key(key, ended, keep_until)
    }

    fn grant(&self, id: GrantId) -> Answer<'_, Option<(GrantRow, TotalsRow)>> {
        self.inner.grant(id)
    }

    fn live(&self) -> Answer<'_, Restored> {
        self.inner.live()
    }

    fn matching(&self, filter: Filter) -> Answer<'_, Vec<GrantId>> {
        self.inner.matching(filter)
    }

    fn add_totals(&self, totals: Vec<(GrantId, TotalsRow)>) -> Answer<'_, ()> {
        self.inner.add_totals(totals)
    }

    fn purge(&self, purge: Purge) -> Answer<'_, u64> {
        self.inner.purge(purge)
    }

    fn see(&self, place: String, new: Vec<Sight>) -> Answer<'_, BTreeSet<Sight>> {
        self.inner.see(place, new)
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.inner.ping()
    }
}
