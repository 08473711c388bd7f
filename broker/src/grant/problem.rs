//! Why a request about a grant is refused, in words the job can act on. No HTTP here: the door maps [`Nature`] to a
//! status.

use std::time::Duration;

use crate::base::fault::{Fault, Kind};
use crate::claims::Claims;
use crate::policy::Origin;

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// The caller did not say who it is, or not believably.
    Unauthenticated,
    /// The caller is known and may not.
    Refused,
    /// There is nothing of that name, or the caller may not know.
    NotFound,
    /// It clashes with what is already there.
    Conflict,
    /// The request cannot be understood.
    Malformed,
    /// The caller must wait.
    TooMany,
    /// Something the broker needs does not work.
    Unavailable,
}

/// A refusal with everything a job needs to cure it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind of refusal it is.
    pub nature: Nature,
    /// The stable, documented code.
    pub code: &'static str,
    /// One sentence: what is wrong.
    pub detail: Box<str>,
    /// What to do about it.
    pub fix: Option<Box<str>>,
    /// The policy line it comes from and the policy's SHA-256.
    pub policy: Option<Box<(Origin, Option<String>)>>,
    /// What the policy or the broker expects.
    pub expected: Option<Box<str>>,
    /// What came.
    pub actual: Option<Box<str>>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// The verified claims. Only with them are policy, expected and actual told: they prove that the caller is a job of
    /// the repository whose policy this is.
    pub claims: Option<Box<Claims>>,
}

impl Problem {
    /// A refusal in one sentence.
    pub fn new(nature: Nature, code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self {
            nature,
            code,
            detail: detail.into(),
            fix: None,
            policy: None,
            expected: None,
            actual: None,
            retry_after: None,
            claims: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<Box<str>>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// With the claims that prove who asks.
    #[must_use]
    pub fn of_job(mut self, claims: &Claims) -> Self {
        self.claims = Some(Box::new(claims.clone()));
        self
    }

    /// A fault's public face. Faults of the broker's own surroundings say "unavailable", all others `nature`.
    pub fn of_fault(nature: Nature, fault: &dyn Fault) -> Self {
        let own = matches!(
            fault.kind(),
            Kind::Issuer | Kind::Ledger | Kind::Store | Kind::Upstream | Kind::Config
        );
        let nature = if own { Nature::Unavailable } else { nature };
        let mut problem = Self::new(nature, fault.code(), fault.public());
        // The operator's advice names directories and brokers; a job only learns that it may come again.
        problem.fix = match fault.kind() {
            Kind::Store | Kind::Config | Kind::Upstream => {
                Some("try again; if it stays so, tell the operator of the broker".into())
            }
            Kind::Client | Kind::Denied | Kind::Issuer | Kind::Ledger => fault.fix().map(|fix| fix.into_owned().into()),
        };
        if own {
            problem.retry_after = Some(Duration::from_secs(2));
        }
        problem
    }

    /// Nothing of that name, or a wrong revoke token: one answer for both.
    pub fn unknown_grant() -> Self {
        Self::new(
            Nature::NotFound,
            "grant-unknown",
            "there is no grant of this id for this revoke token",
        )
        .fix("use the id and the revoke token of the answer that made the grant")
    }
}

impl<F: Fault> From<F> for Problem {
    /// A fault while serving a caller who did nothing wrong.
    fn from(fault: F) -> Self {
        tracing::error!(code = fault.code(), error = %fault, "a request failed");
        Self::of_fault(Nature::Unavailable, &fault)
    }
}
