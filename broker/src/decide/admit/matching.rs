//! One `who` entry, or the operator's requirements, key by key against a token's claims.

use serde::Serialize;

use crate::claims::{Claims, ProviderKind};
use crate::policy::ceiling::{Allowed, Ceiling};
use crate::policy::diagnostic::printable;
use crate::policy::who::{allows_environment, same_environment};
use crate::policy::words::{NEVER_ACCEPTED, is_proposal};
use crate::policy::{Origin, Scope, Who};

/// Refs under which a merge queue tries proposals: no branch glob covers them, not even `**`.
const MERGE_QUEUE: &str = "gh-readonly-queue/";

/// One key of one entry against the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The key: `branch`, `environment`, `claims.runner_id` …
    pub key: String,
    /// What it wants.
    pub expected: String,
    /// What the token says; `None` when it says nothing.
    pub actual: Option<String>,
    /// Whether they agree.
    pub ok: bool,
    /// The line that wants it.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Every key of a `who` entry, the one nearest to the repository first.
pub(in crate::decide) fn who_checks(entry: &Who, claims: &Claims) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut push = |key: &str, expected: String, actual: Option<&str>, ok: bool| {
        checks.push(Check {
            key: key.to_owned(),
            expected,
            actual: actual.map(short),
            ok,
            origin: entry.keys.get(key).unwrap_or(&entry.origin).clone(),
        });
    };
    push(
        "issuer",
        quoted(&entry.issuer),
        Some(&claims.issuer),
        entry.issuer == claims.issuer,
    );
    let git_ref = claims.git_ref.as_deref();
    if let Some(branch) = &entry.branch {
        let on = git_ref.and_then(|git_ref| git_ref.strip_prefix("refs/heads/"));
        let ok = on.is_some_and(|name| !name.starts_with(MERGE_QUEUE) && branch.matches(name));
        push("branch", format!("`refs/heads/{branch}`"), git_ref, ok);
    }
    if let Some(tag) = &entry.tag {
        let on = git_ref.and_then(|git_ref| git_ref.strip_prefix("refs/tags/"));
        push(
            "tag",
            format!("`refs/tags/{tag}`"),
            git_ref,
            on.is_some_and(|name| tag.matches(name)),
        );
    }
    if let Some(environment) = &entry.environment {
        let actual = claims.environment.as_deref();
        let ok = actual.is_some_and(|actual| same_environment(environment, actual, ignores_case(claims)));
        push("environment", quoted(environment), actual, ok);
    }
    let globs = [
        ("workflow", &entry.workflow, &claims.workflow),
        ("reusable-workflow", &entry.reusable_workflow, &claims.reusable_workflow),
        ("config", &entry.config, &claims.config),
    ];
    for (key, glob, actual) in globs {
        if let Some(glob) = glob {
            let actual = actual.as_deref();
            push(
                key,
                quoted(glob.as_str()),
                actual,
                actual.is_some_and(|actual| glob.matches(actual)),
            );
        }
    }
    let event = claims.event.as_deref();
    let key = if entry.keys.contains_key("sources") {
        "sources"
    } else {
        "events"
    };
    if entry.events.is_empty() {
        // Only a generic issuer's entry may leave the triggers out, and even then it does not mean proposed changes.
        let ok = event.is_none_or(|event| !is_proposal(event) && !NEVER_ACCEPTED.contains(&event));
        push(key, "any but proposed changes".to_owned(), event, ok);
    } else {
        let ok = event.is_some_and(|event| entry.events.contains(event) && !NEVER_ACCEPTED.contains(&event));
        push(key, one_of(entry.events.iter()), event, ok);
    }
    for (name, glob) in &entry.claims {
        let texts = scalar_texts(claims.raw.get(name));
        let shown = texts.as_ref().map(|texts| texts.join(", "));
        let ok = texts.is_some_and(|texts| texts.iter().any(|text| glob.matches(text)));
        push(&format!("claims.{name}"), quoted(glob.as_str()), shown.as_deref(), ok);
    }
    checks
}

/// What the ceiling requires of every job on the scope's database.
pub(in crate::decide) fn ceiling_checks(ceiling: &Ceiling, scope: &Scope, claims: &Claims) -> Vec<Check> {
    let mut checks = Vec::new();
    let Some(database) = ceiling.databases.get(&scope.database) else {
        return vec![Check {
            key: "database".to_owned(),
            expected: one_of(ceiling.databases.keys()),
            actual: Some(scope.database.clone()),
            ok: false,
            origin: scope.origin.clone(),
        }];
    };
    let require = &database.require;
    let mut push = |key: &str, expected: String, actual: Option<&str>, ok: bool, origin: &Origin| {
        checks.push(Check {
            key: key.to_owned(),
            expected,
            actual: actual.map(short),
            ok,
            origin: origin.clone(),
        });
    };
    if let Some(allowed) = &require.environment {
        let actual = claims.environment.as_deref();
        let ok = actual.is_some_and(|actual| allows_environment(allowed, actual, ignores_case(claims)));
        push(
            "environment",
            one_of(allowed.values.iter()),
            actual,
            ok,
            &allowed.origin,
        );
    }
    let event = claims.event.as_deref();
    let key = triggers_key(claims);
    let (own, other) = match claims.provider {
        ProviderKind::Gitlab => (&require.sources, &require.events),
        ProviderKind::GithubActions | ProviderKind::Generic => (&require.events, &require.sources),
    };
    match (own, other) {
        (Some(Allowed { origin, values }), _) => {
            push(
                key,
                one_of(values.iter()),
                event,
                event.is_some_and(|event| values.contains(event)),
                origin,
            );
        }
        // Bounded, but not in this issuer's words: unknown means no.
        (None, Some(Allowed { origin, .. })) => push(key, "none of this issuer's".to_owned(), event, false, origin),
        (None, None) => {}
    }
    if let Some(event) = event
        && is_proposal(event)
    {
        let allowed = ceiling.pull_requests.as_ref();
        let ok = allowed.is_some_and(|allowed| allowed.databases.contains(&scope.database));
        let origin = allowed.map_or(&database.origin, |allowed| &allowed.origin);
        let expected = if ok {
            "proposed changes too"
        } else {
            "no proposed changes"
        };
        push(key, expected.to_owned(), Some(event), ok, origin);
    }
    checks
}

/// A claim as texts to compare: a scalar is one, a list is each of its scalars. Nothing, `null` and objects are none.
fn scalar_texts(value: Option<&serde_json::Value>) -> Option<Vec<String>> {
    use serde_json::Value;
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value? {
        Value::Array(values) => Some(values.iter().filter_map(scalar).collect()),
        value => Some(vec![scalar(value)?]),
    }
}

fn ignores_case(claims: &Claims) -> bool {
    claims.provider == ProviderKind::GithubActions
}

fn triggers_key(claims: &Claims) -> &'static str {
    match claims.provider {
        ProviderKind::Gitlab => "sources",
        ProviderKind::GithubActions | ProviderKind::Generic => "events",
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

fn one_of<'a>(values: impl Iterator<Item = &'a String>) -> String {
    values.map(|value| quoted(value)).collect::<Vec<_>>().join(" or ")
}

/// A claim in a message: without control characters, and no longer than a line.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 200;
    let text = printable(text);
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

// === impl Check ===

impl Check {
    /// The refusal's code when this is the key that does not agree.
    pub(super) fn code(&self) -> &'static str {
        match self.key.as_str() {
            "issuer" => "issuer-mismatch",
            "branch" | "tag" => "branch-mismatch",
            "workflow" | "reusable-workflow" | "config" => "workflow-mismatch",
            "environment" => "environment-mismatch",
            "events" | "sources" => "event-not-allowed",
            "database" => "exceeds-ceiling",
            key if key.starts_with("claims.runner") => "runner-mismatch",
            _ => "claim-mismatch",
        }
    }

    /// What the job's author can do about it.
    pub(super) fn fix(&self, of_ceiling: bool) -> String {
        let line = &self.origin;
        if of_ceiling {
            return format!("meet it, or ask the operator to change {line}");
        }
        match self.code() {
            "branch-mismatch" => format!("run the job from there, or change {line} on the default branch"),
            "environment-mismatch" if self.actual.is_none() => {
                format!("give the job its `environment`, or change {line} on the default branch")
            }
            "event-not-allowed" => format!("start the job by one of these, or change {line} on the default branch"),
            _ => format!("change the job, or {line} on the default branch"),
        }
    }
}
