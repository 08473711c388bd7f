//! Claims against a scope: the only maker of [`MatchedScope`]. A refusal names the line, what it wanted and what the
//! token said.

mod matching;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::MatchedScope;
use crate::base::fault::{Fault, Kind};
use crate::claims::Claims;
use crate::policy::compile::{Compiled, first_error};
use crate::policy::diagnostic::{Diagnostic, code as found};
use crate::policy::nearest::did_you_mean;
use crate::policy::set::{NoPolicy, Policies, Repository};
use crate::policy::words::NEVER_ACCEPTED;
use crate::policy::{AUTHOR_PATH, Origin, Scope};
use matching::short;
pub(in crate::decide) use matching::{ceiling_checks, who_checks};

pub use matching::Check;

/// What a refusal prints for a claim the token does not carry.
pub const MISSING: &str = "MISSING";

/// Why a job does not get a scope. The job has proved to be of this repository, so it is told everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// One sentence: what was wanted and what the token said.
    pub detail: String,
    /// What to do about it.
    pub fix: String,
    /// The line it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Box<PolicyLine>>,
    /// What the closest `who` entry wants, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub expected: BTreeMap<String, String>,
    /// What the token says under the same keys; [`MISSING`] where it says nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub actual: BTreeMap<String, String>,
}

/// A line of a policy and the version of the file it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyLine {
    /// The line.
    #[serde(flatten)]
    pub origin: Origin,
    /// SHA-256 of the repository's file; `None` for a line of the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<Arc<str>>,
}

/// Matches `claims` with the scope of this name in the file of the repository they prove to be.
pub fn admit(claims: &Claims, scope_name: &str, policies: &Policies) -> Result<MatchedScope, Refusal> {
    let (repository, scope) = find_scope(claims, scope_name, policies)?;
    if let Some(event) = claims.event.as_deref()
        && NEVER_ACCEPTED.contains(&event)
    {
        return Err(Refusal::at(&scope.origin, &scope.policy_sha, "event-not-allowed")
            .saying(format!(
                "runs of `{event}` are never admitted: strangers can set them off"
            ))
            .fixed_by("move the step to a workflow that runs on push or workflow_dispatch")
            .comparing("event", "a trigger of trusted people", event));
    }
    let mut closest: Option<(usize, Vec<Check>)> = None;
    for entry in &scope.who {
        let checks = who_checks(entry, claims);
        if checks.iter().all(|check| check.ok) {
            let ceiling = ceiling_checks(repository.ceiling(), scope, claims);
            if ceiling.iter().any(|check| !check.ok) {
                return Err(mismatch(scope, repository, &ceiling));
            }
            return Ok(MatchedScope {
                scope: Arc::clone(scope),
                claims: claims.clone(),
                matched: entry.origin.clone(),
            });
        }
        // An entry for another issuer is never close, however much of it happens to agree.
        let issuer_agrees = checks.iter().any(|check| check.key == "issuer" && check.ok);
        let agreeing = checks.iter().filter(|check| check.ok && issuer_agrees).count();
        if closest.as_ref().is_none_or(|(most, _)| agreeing > *most) {
            closest = Some((agreeing, checks));
        }
    }
    let (_, checks) = closest.unwrap_or_default();
    Err(mismatch(scope, repository, &checks))
}

/// The scope of this name, ready to be judged by.
pub fn find_scope<'p>(
    claims: &Claims,
    scope_name: &str,
    policies: &'p Policies,
) -> Result<(&'p Repository, &'p Arc<Scope>), Refusal> {
    let Some(repository) = policies.repository(&claims.issuer, &claims.repository_id) else {
        let (issuer, id) = (&claims.issuer, &claims.repository_id);
        return Err(Refusal::new("repository-not-registered")
            .saying(format!(
                "the broker knows no repository `{issuer}:{id}` ({})",
                claims.repository
            ))
            .fixed_by("ask the operator to register the repository by this id"));
    };
    let compiled = match &repository.policy {
        Ok(compiled) => compiled,
        Err(NoPolicy::Missing { .. }) => {
            return Err(Refusal::new("policy-missing")
                .saying(format!("the broker has no copy of {AUTHOR_PATH} of this repository"))
                .fixed_by("add the file, or ask the operator how policies reach the broker"));
        }
        // Why it cannot be read is the operator's to know.
        Err(NoPolicy::Unreadable { .. }) => {
            return Err(Refusal::new("policy-invalid")
                .saying(format!("the broker cannot read its copy of {AUTHOR_PATH}"))
                .fixed_by("ask the operator to look into the broker's log"));
        }
    };
    if compiled.unreadable() {
        return Err(invalid("the policy", compiled, &compiled.diagnostics));
    }
    match compiled.scopes.get(scope_name) {
        Some(Ok(scope)) => Ok((repository, scope)),
        Some(Err(diagnostics)) => Err(invalid(&format!("scope `{scope_name}`"), compiled, diagnostics)),
        None => Err(unknown_scope(scope_name, compiled)),
    }
}

/// How long new connections are accepted: what the job asks for, at most what the scope grants.
pub fn clip_ttl(matched: &MatchedScope, requested: Option<Duration>) -> Result<Duration, Refusal> {
    let ttl = &matched.scope.limits.ttl;
    match requested {
        Some(requested) if requested.is_zero() => {
            Err(Refusal::at(&ttl.origin, &matched.scope.policy_sha, "ttl-invalid")
                .saying("a lifetime of nothing was asked for")
                .fixed_by("ask for more than zero seconds, or leave the lifetime out"))
        }
        Some(requested) => Ok(requested.min(ttl.value)),
        None => Ok(ttl.value),
    }
}

fn unknown_scope(name: &str, compiled: &Compiled) -> Refusal {
    let known = || compiled.scopes.keys().map(String::as_str);
    let all: Vec<_> = known().collect();
    let name = short(name);
    let near = did_you_mean(&name, known(), &format!("its scopes are: {}", all.join(", ")));
    let top = Origin {
        path: AUTHOR_PATH.into(),
        line: 1,
        column: 1,
        preset: None,
    };
    Refusal::at(&top, &compiled.sha, "scope-unknown")
        .saying(format!("{AUTHOR_PATH} has no scope `{name}`"))
        .fixed_by(near)
        .comparing("scope", &all.join(", "), &name)
}

/// A scope or a file that did not compile: the code says which kind of error comes first.
fn invalid(what: &str, compiled: &Compiled, diagnostics: &[Diagnostic]) -> Refusal {
    let Some(first) = first_error(diagnostics) else {
        return Refusal::new("policy-invalid").saying(format!("{what} did not compile"));
    };
    let code = match first.code {
        found::EXCEEDS_CEILING => "exceeds-ceiling",
        found::NOT_YET_ENFORCED => "not-yet-enforced",
        _ => "policy-invalid",
    };
    let more = match diagnostics.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} more findings)", several - 1),
    };
    let origin = first.origin();
    Refusal::at(&origin, &compiled.sha, code)
        .saying(format!("{what} cannot be used: {origin}: {}{more}", first.message))
        .fixed_by(
            first
                .help
                .clone()
                .unwrap_or_else(|| format!("correct {origin}; `hoop-db policy check` finds the rest")),
        )
}

fn mismatch(scope: &Scope, repository: &Repository, checks: &[Check]) -> Refusal {
    let Some(failed) = checks.iter().find(|check| !check.ok) else {
        return Refusal::new("policy-invalid").saying(format!("scope `{}` admits nobody", scope.name));
    };
    let of_ceiling = failed.origin.path == repository.ceiling().path;
    let whose = if of_ceiling {
        "the operator's ceiling"
    } else {
        "the policy"
    };
    let actual = failed.actual.as_deref();
    let said = match actual {
        Some(actual) => format!("the token says `{actual}`"),
        None => "the token does not say".to_owned(),
    };
    let mut refusal = Refusal::at(&failed.origin, &scope.policy_sha, failed.code())
        .saying(format!(
            "scope `{}`: {whose} wants {} {}, {said}",
            scope.name, failed.key, failed.expected
        ))
        .fixed_by(failed.fix(of_ceiling));
    for check in checks {
        refusal = refusal.comparing(&check.key, &check.expected, check.actual.as_deref().unwrap_or(MISSING));
    }
    refusal
}

// === impl Refusal ===

impl Refusal {
    fn new(code: &'static str) -> Self {
        Self {
            code,
            detail: String::new(),
            fix: String::new(),
            policy: None,
            expected: BTreeMap::new(),
            actual: BTreeMap::new(),
        }
    }

    fn at(origin: &Origin, sha: &Arc<str>, code: &'static str) -> Self {
        Self {
            policy: Some(Box::new(PolicyLine {
                origin: origin.clone(),
                sha: (origin.path.as_ref() == AUTHOR_PATH).then(|| Arc::clone(sha)),
            })),
            ..Self::new(code)
        }
    }

    fn saying(self, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    fn fixed_by(self, fix: impl Into<String>) -> Self {
        Self {
            fix: fix.into(),
            ..self
        }
    }

    fn comparing(mut self, key: &str, expected: &str, actual: &str) -> Self {
        self.expected.insert(key.to_owned(), expected.to_owned());
        self.actual.insert(key.to_owned(), actual.to_owned());
        self
    }
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match self.code {
            "ttl-invalid" => Kind::Client,
            _ => Kind::Denied,
        }
    }

    fn code(&self) -> &'static str {
        self.code
    }

    fn public(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.detail)
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        (!self.fix.is_empty()).then_some(Cow::Borrowed(&self.fix))
    }
}

#[cfg(test)]
pub(in crate::decide) mod tests;
