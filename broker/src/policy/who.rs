//! `who:` against the operator's issuers and ceiling: which jobs an entry means, and whether it may mean them.

use super::Who;
use super::ceiling::{Allowed, Ceiling, DatabaseCeiling, accepted_trigger};
use super::compile::Bounds;
use super::diagnostic::{Report, code};
use super::node::Word;
use super::operator::{IssuerKind, unknown_issuer};
use super::repository::{Placed, RawWho};
use super::words;

/// Checks one entry and compiles it. Without bounds (a lint on the author's own machine) the issuer's kind is guessed
/// from the word for its triggers.
pub fn compile(
    raw: &RawWho,
    bounds: Option<&Bounds<'_>>,
    database: Option<&DatabaseCeiling>,
    report: &mut Report,
) -> Option<Who> {
    let kind = kind(raw, bounds, report)?;
    foreign_keys(raw, kind, report);
    let (key, known, triggers) = match kind {
        IssuerKind::GithubActions => ("events", words::GITHUB_EVENTS, &raw.events),
        IssuerKind::Gitlab => ("sources", words::GITLAB_SOURCES, &raw.sources),
        IssuerKind::Generic => ("events", &[] as &[&str], &raw.events),
    };
    if triggers.is_none() && (kind != IssuerKind::Generic || bounds.is_none()) {
        let message = format!("an entry of `who` needs `{key}`");
        let help = "name the triggers: there is no default";
        // An unreadable list was reported where it stands.
        if !raw.has(key) {
            report.error(code::EVENTS_REQUIRED, raw.span, message, help);
        }
        return None;
    }
    let triggers: &[Placed<String>] = triggers.as_deref().unwrap_or_default();
    for (text, span) in triggers {
        let word = Word { span: *span, text };
        // A generic issuer's words are its own, but the forbidden ones are forbidden everywhere.
        let own = [text.as_str()];
        let known = if kind == IssuerKind::Generic { &own } else { known };
        if accepted_trigger(word, known, report)
            && let (Some(bounds), Some(database)) = (bounds, database)
        {
            check_trigger((text, *span), key, bounds.ceiling, database, raw, report);
        }
    }
    check_width(raw, kind, triggers, report);
    if let Some(required) = database.and_then(|database| database.require.environment.as_ref())
        && let Some((environment, span)) = &raw.environment
        && !allows_environment(required, environment, kind == IssuerKind::GithubActions)
    {
        let message = format!("environment `{environment}` is beyond the ceiling");
        report.error(code::EXCEEDS_CEILING, *span, message, shown(required));
    }
    let pattern = |placed: &Option<Placed<_>>| placed.as_ref().map(|(pattern, _)| Clone::clone(pattern));
    let path = report.path();
    let plain = raw
        .keys
        .iter()
        .map(|(key, span)| ((*key).to_owned(), span.origin(path)));
    let claims = raw
        .claims
        .iter()
        .map(|(name, (_, span))| (format!("claims.{name}"), span.origin(path)));
    Some(Who {
        origin: raw.span.origin(path),
        keys: plain.chain(claims).collect(),
        issuer: raw.issuer.0.clone(),
        branch: pattern(&raw.branch),
        tag: pattern(&raw.tag),
        environment: raw.environment.as_ref().map(|(text, _)| text.clone()),
        workflow: pattern(&raw.workflow),
        reusable_workflow: pattern(&raw.reusable_workflow),
        config: pattern(&raw.config),
        events: triggers.iter().map(|(text, _)| text.clone()).collect(),
        claims: raw
            .claims
            .iter()
            .map(|(name, (pattern, _))| (name.clone(), pattern.clone()))
            .collect(),
    })
}

fn kind(raw: &RawWho, bounds: Option<&Bounds<'_>>, report: &mut Report) -> Option<IssuerKind> {
    let Some(bounds) = bounds else {
        return Some(if raw.sources.is_some() || raw.config.is_some() {
            IssuerKind::Gitlab
        } else if raw.events.is_some() {
            IssuerKind::GithubActions
        } else {
            IssuerKind::Generic
        });
    };
    let found = bounds.issuers.get(&raw.issuer.0).copied();
    if found.is_none() {
        unknown_issuer(&raw.issuer.0, raw.issuer.1, bounds.issuers, report);
    }
    found
}

/// Environments compare case-insensitively on GitHub, exactly elsewhere. Only ASCII letters fold: a workflow that names
/// a new environment creates it unprotected, and the Kelvin sign must not pass for a `k`.
pub fn same_environment(left: &str, right: &str, ignore_case: bool) -> bool {
    left == right || (ignore_case && left.eq_ignore_ascii_case(right))
}

/// Whether the ceiling's list names the environment.
pub fn allows_environment(allowed: &Allowed, environment: &str, ignore_case: bool) -> bool {
    let mut values = allowed.values.iter();
    values.any(|value| same_environment(value, environment, ignore_case))
}

/// Every key an entry can have for each kind of issuer; the others' keys would never match anything.
fn foreign_keys(raw: &RawWho, kind: IssuerKind, report: &mut Report) {
    let (foreign, of): (&[&str], _) = match kind {
        IssuerKind::GithubActions => (&["config", "sources"], "a GitHub"),
        IssuerKind::Gitlab => (&["events", "reusable-workflow", "workflow"], "a GitLab"),
        IssuerKind::Generic => (&["config", "reusable-workflow", "sources", "workflow"], "a generic"),
    };
    for (key, span) in &raw.keys {
        if foreign.contains(key) {
            let help = match (kind, *key) {
                (IssuerKind::Gitlab, "events") => "GitLab's word is `sources`",
                (IssuerKind::Gitlab, "workflow") => "GitLab's word is `config`",
                (IssuerKind::GithubActions, "config") => "GitHub's word is `workflow`",
                (_, "sources") => "here the word is `events`",
                _ => "use `claims`",
            };
            let message = format!("`{key}` is not a key of an entry for {of} issuer");
            report.error(code::UNKNOWN_KEY, *span, message, help);
        }
    }
}

fn check_trigger(
    (event, span): (&str, super::diagnostic::Span),
    key: &str,
    ceiling: &Ceiling,
    database: &DatabaseCeiling,
    raw: &RawWho,
    report: &mut Report,
) {
    let require = &database.require;
    let (own, other) = if key == "sources" {
        (&require.sources, &require.events)
    } else {
        (&require.events, &require.sources)
    };
    match own {
        Some(allowed) if !allowed.values.contains(event) => {
            let message = format!("trigger `{event}` is beyond the ceiling `{}`", ceiling.name);
            report.error(code::EXCEEDS_CEILING, span, message, shown(allowed));
        }
        // The operator bounded triggers, but not in this issuer's words: unknown means no.
        None if other.is_some() => {
            let message = format!(
                "the ceiling `{}` lists no `{key}`, so no job of `{}` is admitted",
                ceiling.name, raw.issuer.0
            );
            report.error(
                code::EXCEEDS_CEILING,
                span,
                message,
                format!("ask the operator to require `{key}` too"),
            );
        }
        _ => {}
    }
    if words::is_proposal(event) && !reaches_proposals(ceiling, database) {
        let message = format!("`{event}` is beyond the ceiling `{}`", ceiling.name);
        let help = "the operator lists the databases that pull requests may reach under `pull-requests`";
        report.error(code::EXCEEDS_CEILING, span, message, help);
    }
}

fn reaches_proposals(ceiling: &Ceiling, database: &DatabaseCeiling) -> bool {
    ceiling.pull_requests.as_ref().is_some_and(|allowed| {
        let mut databases = allowed.databases.iter();
        databases.any(|name| {
            ceiling
                .databases
                .get(name)
                .is_some_and(|found| found.origin == database.origin)
        })
    })
}

/// An entry must bind a branch, a tag or an environment, unless it only means proposed changes. A workflow's path binds
/// nothing: every branch carries its own copy of the file.
fn check_width(raw: &RawWho, kind: IssuerKind, triggers: &[Placed<String>], report: &mut Report) {
    let binds = |pattern: &Option<Placed<_>>| pattern.as_ref().is_some_and(|(p, _)| !words::matches_anything(p));
    let bound = binds(&raw.branch) || binds(&raw.tag) || raw.environment.is_some();
    let by_claims = kind == IssuerKind::Generic && raw.claims.iter().any(|(_, (p, _))| !words::matches_anything(p));
    let proposals_only = !triggers.is_empty() && triggers.iter().all(|(event, _)| words::is_proposal(event));
    // A branch that could not be read was reported where it stands; how wide the entry is nobody knows yet.
    let unread = (raw.has("branch") && raw.branch.is_none())
        || (raw.has("tag") && raw.tag.is_none())
        || (raw.has("environment") && raw.environment.is_none());
    if !bound && !by_claims && !proposals_only && !unread {
        let help = match kind {
            IssuerKind::Generic => "add branch, tag, environment or claims",
            IssuerKind::GithubActions | IssuerKind::Gitlab => "add branch, tag or environment",
        };
        report.error(
            code::WHO_TOO_WIDE,
            raw.span,
            "any branch of the repository would match this entry",
            help,
        );
    }
    let never = if raw.branch.is_some() && raw.tag.is_some() {
        Some("no run is on a branch and on a tag at once")
    } else if kind == IssuerKind::GithubActions && (raw.branch.is_some() || raw.tag.is_some()) && proposals_only {
        Some("a pull request's run is on neither a branch nor a tag")
    } else {
        None
    };
    if let Some(why) = never {
        report.warn(code::NEVER_MATCHES, raw.span, "this entry matches nothing", why);
    }
}

fn shown(allowed: &Allowed) -> String {
    let values: Vec<&str> = allowed.values.iter().map(String::as_str).collect();
    format!("{} accepts: {}", allowed.origin, values.join(", "))
}
