//! Making a grant: admitted, stored together with its token, recorded durably, and only then told.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Admitted, Ask, Deadlines, Ending, EndingKind, Event, GrantState, Grants, Live, Nature, Problem, Totals};
use crate::base::id::GrantId;
use crate::base::secret::{NoRandomness, Prefix, Secret};
use crate::role::Bearer;
use crate::scram::Verifier;
use crate::store::{Digest, GrantRow, MintRefusal, Outcome, PolicyLine, Replay, TokenUse};

/// A new grant with the two secrets that are told once.
#[derive(Debug)]
pub struct Minted {
    /// The grant.
    pub grant: Arc<Live>,
    /// The endpoint's password.
    pub password: Secret,
    /// What ends the grant.
    pub revoke_token: Secret,
    /// The line of the `who` entry that matched.
    pub policy: PolicyLine,
}

impl Grants {
    /// Exchanges a token for a grant. A refusal of a job with a verified token is recorded; one without is only logged,
    /// because a ledger that strangers can fill is no ledger.
    pub async fn open(&self, token: &str, ask: &Ask) -> Result<Minted, Problem> {
        let now = self.clock.now();
        let opened = match self.admission.admit(token, ask, now).await {
            Ok(admitted) => {
                let claims = admitted.matched.claims().clone();
                self.mint(admitted, ask, now)
                    .await
                    .map_err(|problem| problem.of_job(&claims))
            }
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &opened {
            tracing::info!(code = problem.code, scope = %ask.scope, peer = %ask.peer, "grant refused");
            if let Some(claims) = &problem.claims
                && let Err(fault) = self
                    .audit
                    .record(Event::Refused {
                        problem,
                        claims,
                        ask,
                        at: now,
                    })
                    .await
            {
                tracing::error!(error = %fault, "a refusal was not recorded");
            }
        }
        opened
    }

    async fn mint(&self, admitted: Admitted, ask: &Ask, now: Timestamp) -> Result<Minted, Problem> {
        if self.registry.live_count() >= self.registry.caps().grants {
            return Err(busy("the broker has as many live grants as it takes"));
        }
        let secrets = tokio::task::spawn_blocking(Secrets::make).await;
        let secrets = secrets.ok().and_then(Result::ok).ok_or_else(no_secrets)?;
        let limits = &admitted.matched.scope().limits;
        let max_session = limits.max_session.value;
        let ttl = admitted.ttl.min(limits.ttl.value).min(max_session);
        let deadlines = Deadlines::after(Instant::now(), ttl, max_session);
        let row = row(
            &admitted,
            ask,
            &secrets,
            now,
            (after(now, ttl), after(now, max_session)),
        );
        let grant = Arc::new(live(&row, &admitted, secrets.verifier, deadlines));
        // In the registry before the store: whoever finds it in the store to end it must find it here too. Nobody can
        // enter, because nobody knows the password yet.
        self.registry.insert(Arc::clone(&grant));
        let replaced = match self.keep(&row, &admitted, ask).await {
            Ok(replaced) => replaced,
            Err(problem) => {
                self.registry.remove(grant.id);
                return Err(problem);
            }
        };
        self.cut_replaced(&replaced, now).await;
        let event = Event::Minted {
            grant: &grant,
            matched: &admitted.matched,
            ask,
            replaced: &replaced,
        };
        if let Err(fault) = self.audit.record(event).await {
            self.withdraw(&grant, "the ledger could not record the grant", now)
                .await;
            return Err(fault.into());
        }
        let bearer = Bearer {
            grant: grant.id,
            scope: &grant.scope,
            claims: &grant.claims,
            ends_at: grant.ends_at,
        };
        if let Err(fault) = self.roles.take(bearer).await {
            tracing::error!(error = %fault, grant = %grant.id, "no login for a grant");
            self.withdraw(&grant, "the database could not be given a login for it", now)
                .await;
            return Err(Problem::of_fault(Nature::Unavailable, &fault));
        }
        if let Some(ending) = grant.ending() {
            self.withdraw(&grant, &ending.reason, now).await;
            return Err(Problem::new(
                Nature::Conflict,
                "grant-ended",
                "the grant was ended while it was made",
            ));
        }
        tracing::info!(grant = %grant.id, scope = %ask.scope, repository = %grant.claims.repository,
            enforcement = grant.scope.enforcement.as_str(), "grant minted");
        Ok(Minted {
            grant,
            password: secrets.password,
            revoke_token: secrets.revoke,
            policy: row.policy,
        })
    }

    /// Stores the grant with its token. Answers which earlier grants it replaced.
    async fn keep(&self, row: &GrantRow, admitted: &Admitted, ask: &Ask) -> Result<Vec<GrantId>, Problem> {
        let cap = self.registry.caps().grants_per_scope;
        match self.store.mint(row.clone(), token_use(admitted, ask), cap).await? {
            Outcome::Minted { replaced } => Ok(replaced),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Takes back a grant whose secrets nobody was told.
    async fn withdraw(&self, grant: &Live, reason: &str, now: Timestamp) {
        let ending = Ending {
            kind: EndingKind::Killed,
            reason: reason.to_owned(),
        };
        self.registry.end(grant.id, ending.clone());
        if let Err(fault) = self.store_end(grant.id, ending.at(now)).await {
            tracing::error!(error = %fault, grant = %grant.id, "a withdrawn grant is still in the store");
        }
    }

    /// The store has ended them with the mint; here their sessions are cut and the ending is recorded.
    async fn cut_replaced(&self, replaced: &[GrantId], now: Timestamp) {
        for &id in replaced {
            let ending = Ending {
                kind: EndingKind::Revoked,
                reason: "replaced by a repeated request of the same job".into(),
            };
            self.registry.end(id, ending.clone());
            let event = Event::Ended {
                grant: id,
                ending: &ending,
                at: now,
            };
            if let Err(fault) = self.audit.record(event).await {
                tracing::error!(error = %fault, grant = %id, "an ending was not recorded");
            }
        }
    }
}

struct Secrets {
    password: Secret,
    revoke: Secret,
    verifier: Verifier,
}

impl Secrets {
    /// Costs a PBKDF2, so it runs on a blocking thread.
    fn make() -> Result<Self, NoRandomness> {
        let password = Secret::mint(Prefix::Password)?;
        Ok(Self {
            verifier: Verifier::of(&password)?,
            revoke: Secret::mint(Prefix::Revoke)?,
            password,
        })
    }
}

fn row(admitted: &Admitted, ask: &Ask, secrets: &Secrets, now: Timestamp, ends: (Timestamp, Timestamp)) -> GrantRow {
    let scope = admitted.matched.scope();
    let line = admitted.matched.matched();
    GrantRow {
        id: GrantId::fresh(),
        claims: admitted.matched.claims().clone(),
        scope: scope.name.clone(),
        database: scope.database.clone(),
        scope_digest: scope.digest.to_string(),
        policy: PolicyLine {
            path: line.path.to_string(),
            line: line.line,
            sha: scope.policy_sha.to_string(),
        },
        reason: ask.reason.clone(),
        verifier: secrets.verifier.to_text(),
        revoke: Digest::from_bytes(secrets.revoke.digest()),
        key: ask.key,
        created_at: now,
        expires_at: ends.0,
        ends_at: ends.1,
        ended: None,
    }
}

fn live(row: &GrantRow, admitted: &Admitted, verifier: Verifier, deadlines: Deadlines) -> Live {
    Live {
        id: row.id,
        scope: Arc::clone(admitted.matched.scope()),
        claims: Arc::new(row.claims.clone()),
        verifier,
        created_at: row.created_at,
        expires_at: row.expires_at,
        ends_at: row.ends_at,
        deadlines,
        state: watch::Sender::new(GrantState::Active),
        open_sessions: AtomicU32::new(0),
        totals: Totals::default(),
    }
}

fn token_use(admitted: &Admitted, ask: &Ask) -> TokenUse {
    let claims = admitted.matched.claims();
    TokenUse {
        issuer: claims.issuer.clone(),
        jti: Digest::of(claims.jti.as_bytes()),
        keep_until: admitted.keep_token_until,
        replay: if admitted.binds {
            Replay::Bind {
                proof: ask.proof,
                key: ask.proof_key,
            }
        } else {
            Replay::Once
        },
    }
}

fn after(now: Timestamp, by: std::time::Duration) -> Timestamp {
    // A lifetime that leaves the calendar is no lifetime.
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| now.checked_add(by).ok())
        .unwrap_or(now)
}

fn busy(detail: &str) -> Problem {
    let mut problem = Problem::new(Nature::TooMany, "busy", detail);
    problem.retry_after = Some(std::time::Duration::from_secs(30));
    problem.fix("wait for other jobs to end, or revoke grants that are no longer used")
}

fn no_secrets() -> Problem {
    Problem::new(
        Nature::Unavailable,
        "no-randomness",
        "the broker's system gives no random bytes",
    )
    .fix("try again")
}

impl From<MintRefusal> for Problem {
    fn from(refusal: MintRefusal) -> Self {
        let conflict = |fix: &str| Self::new(Nature::Conflict, refusal.code(), refusal.to_string()).fix(fix);
        match refusal {
            MintRefusal::Busy { .. } => busy(&refusal.to_string()),
            MintRefusal::TokenReused => conflict(
                "request a fresh ID token for every attempt; where the CI gives one token per job, \
                 send `proof` with the first request and `proof_key` with the next",
            ),
            MintRefusal::ProofMismatch => {
                conflict("send the proof key of the first request and the same scope; declare one ID token per scope")
            }
            MintRefusal::KeyInUse | MintRefusal::KeyClosed => {
                conflict("use a fresh random Idempotency-Key for every grant")
            }
        }
    }
}
