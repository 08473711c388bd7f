//! The first seam of a grant's life, filled in: the token is verified by its issuer's keys, its claims are matched
//! with the policies in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::base::fault::Fault as _;
use crate::claims::Claims;
use crate::decide::admit::{self, Refusal};
use crate::grant::{Admission, Admitted, Ask, Nature, Problem};
use crate::issuer::Verifier;
use crate::policy::set::Policies;
use crate::token::{self, Replay, TokenFault};

/// Who may have what, today.
#[derive(Debug)]
pub struct Desk {
    verifier: Verifier,
    policies: Arc<ArcSwap<Policies>>,
}

impl Desk {
    /// A desk that verifies with `verifier` and judges by whatever `policies` holds at the time.
    pub fn new(verifier: Verifier, policies: Arc<ArcSwap<Policies>>) -> Self {
        Self { verifier, policies }
    }

    async fn judge(&self, token: &str, ask: &Ask, now: Timestamp) -> Result<Admitted, Problem> {
        let (claims, issuer) = self
            .verifier
            .verify(token, now)
            .await
            .map_err(|fault| of_token(&fault))?;
        let policies = self.policies.load_full();
        let matched = admit::admit(&claims, &ask.scope, &policies).map_err(|refusal| of_policy(refusal, &claims))?;
        let ttl = admit::clip_ttl(&matched, ask.ttl).map_err(|refusal| of_policy(refusal, &claims))?;
        Ok(Admitted {
            keep_token_until: token::jti_kept_until(claims.expires_at),
            binds: issuer.replay == Replay::Bind,
            matched,
            ttl,
        })
    }
}

impl Admission for Desk {
    fn admit<'a>(&'a self, token: &'a str, ask: &'a Ask, now: Timestamp) -> BoxFuture<'a, Result<Admitted, Problem>> {
        self.judge(token, ask, now).boxed()
    }
}

fn of_token(fault: &TokenFault) -> Problem {
    let mut problem = Problem::of_fault(Nature::Unauthenticated, fault);
    problem.fix = fault.fix().map(|fix| fix.into_owned().into());
    problem.expected = fault.expected().map(|text| text.into_owned().into());
    problem.actual = fault.actual().map(|text| text.into_owned().into());
    problem
}

fn of_policy(refusal: Refusal, claims: &Claims) -> Problem {
    let mut problem = Problem::new(Nature::Refused, refusal.code, refusal.detail)
        .fix(refusal.fix)
        .of_job(claims);
    problem.policy = refusal
        .policy
        .map(|line| Box::new((line.origin.clone(), line.sha.as_ref().map(ToString::to_string))));
    problem.expected = listed(&refusal.expected);
    problem.actual = listed(&refusal.actual);
    problem
}

/// `branch: main, environment: production`.
fn listed(pairs: &BTreeMap<String, String>) -> Option<Box<str>> {
    let texts: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    (!texts.is_empty()).then(|| texts.join(", ").into())
}
