//! The digest of a scope: equal digests judge equally *and* cite the same lines, so a decision may be remembered under
//! one.

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::ceiling::{Allowed, Require};
use super::compile::hex;
use super::presets;
use super::{Limit, MaskRule, Origin, RelationPattern, Rule, Scope, Who};

/// Serialised field by field in this order; a change of the shape changes every digest, which only costs warm caches.
#[derive(Serialize)]
struct Canonical<'a> {
    format: &'static str,
    name: &'a str,
    origin: &'a Origin,
    database: &'a str,
    enforcement: &'static str,
    who: Vec<CanonicalWho<'a>>,
    require: [Option<Vec<&'a str>>; 3],
    can: Vec<Entry<'a>>,
    ceiling: Vec<Entry<'a>>,
    never: Vec<(&'a str, &'a Origin)>,
    masks: Vec<CanonicalMask<'a>>,
    detect: Vec<(&'static str, &'a Origin)>,
    limits: [Option<(u128, &'a Origin)>; 11],
}

#[derive(Serialize)]
struct CanonicalMask<'a> {
    origin: &'a Origin,
    column: [&'a str; 3],
    mask: &'a crate::mask::Mask,
    by_operator: bool,
}

#[derive(Serialize)]
struct CanonicalWho<'a> {
    origin: &'a Origin,
    issuer: &'a str,
    globs: [Option<&'a str>; 5],
    environment: Option<&'a str>,
    events: Vec<&'a str>,
    claims: Vec<(&'a str, &'a str)>,
}

/// An entry of `can:`: a rule, or a preset with the line that names it and the digest of what it holds.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Rule(CanonicalRule<'a>),
    Preset(&'a Origin, &'a str),
}

#[derive(Serialize)]
struct CanonicalRule<'a> {
    origin: &'a Origin,
    classes: Vec<&'static str>,
    tables: Vec<(&'a str, &'a Origin)>,
    objects: Vec<&'static str>,
    columns: Option<Vec<&'a str>>,
    functions: Vec<(&'a str, &'a Origin)>,
    owner: Option<&'a str>,
    settings: &'a std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
}

/// SHA-256 (hexadecimal) over everything of the scope that decides; its `digest` and `policy_sha` are left out.
pub fn of(scope: &Scope, require: &Require) -> String {
    let limits = &scope.limits;
    let canonical = Canonical {
        format: "hoop scope 4",
        name: &scope.name,
        origin: &scope.origin,
        database: &scope.database,
        enforcement: scope.enforcement.as_str(),
        who: scope.who.iter().map(who).collect(),
        require: [&require.environment, &require.events, &require.sources].map(|list| allowed(list.as_ref())),
        can: entries(&scope.can),
        ceiling: entries(&scope.ceiling),
        never: relations(&scope.never),
        masks: scope.masks.iter().map(mask).collect(),
        detect: scope
            .detect
            .iter()
            .map(|(kind, origin)| (kind.as_str(), origin))
            .collect(),
        limits: [
            Some(time(&limits.ttl)),
            Some(time(&limits.max_session)),
            Some((u128::from(limits.max_connections.value), &limits.max_connections.origin)),
            limits.statement_timeout.as_ref().map(time),
            limits.lock_timeout.as_ref().map(time),
            limits.idle_timeout.as_ref().map(time),
            limits.max_rows.as_ref().map(count),
            limits.max_bytes.as_ref().map(count),
            limits.max_affected_rows.as_ref().map(count),
            limits.read_only.as_ref().map(|origin| (1, origin)),
            limits.no_where.as_ref().map(|origin| (1, origin)),
        ],
    };
    // Plain structs of texts and numbers always serialise.
    let bytes = serde_json::to_vec(&canonical).unwrap_or_default();
    hex(&Sha256::digest(bytes))
}

fn mask(rule: &MaskRule) -> CanonicalMask<'_> {
    CanonicalMask {
        origin: &rule.origin,
        column: [&rule.schema, &rule.table, &rule.column],
        mask: &rule.mask,
        by_operator: rule.by_operator,
    }
}

fn who(who: &Who) -> CanonicalWho<'_> {
    let globs = [
        &who.branch,
        &who.tag,
        &who.workflow,
        &who.reusable_workflow,
        &who.config,
    ];
    CanonicalWho {
        origin: &who.origin,
        issuer: &who.issuer,
        globs: globs.map(|glob| glob.as_ref().map(crate::base::pattern::Pattern::as_str)),
        environment: who.environment.as_deref(),
        events: who.events.iter().map(String::as_str).collect(),
        claims: who
            .claims
            .iter()
            .map(|(name, glob)| (name.as_str(), glob.as_str()))
            .collect(),
    }
}

/// A preset's rules follow one another: the first one stands for all.
fn entries(rules: &[Rule]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut before = None;
    for one in rules {
        match one.origin.preset.as_deref().and_then(presets::find) {
            None => entries.push(Entry::Rule(rule(one))),
            Some(_) if before == Some(&one.origin) => {}
            Some(preset) => entries.push(Entry::Preset(&one.origin, preset.digest())),
        }
        before = Some(&one.origin);
    }
    entries
}

fn rule(rule: &Rule) -> CanonicalRule<'_> {
    CanonicalRule {
        origin: &rule.origin,
        classes: rule.classes.iter().map(|class| class.as_str()).collect(),
        tables: relations(&rule.tables),
        objects: rule.objects.iter().map(|kind| kind.as_str()).collect(),
        columns: rule
            .columns
            .as_ref()
            .map(|columns| columns.iter().map(String::as_str).collect()),
        functions: relations(&rule.functions),
        owner: rule.owner.as_deref(),
        settings: &rule.settings,
    }
}

fn relations(patterns: &[RelationPattern]) -> Vec<(&str, &Origin)> {
    patterns
        .iter()
        .map(|relation| (relation.pattern.as_str(), &relation.origin))
        .collect()
}

fn allowed(allowed: Option<&Allowed>) -> Option<Vec<&str>> {
    allowed.map(|allowed| allowed.values.iter().map(String::as_str).collect())
}

fn count(limit: &Limit<u64>) -> (u128, &Origin) {
    (u128::from(limit.value), &limit.origin)
}

fn time(limit: &Limit<Duration>) -> (u128, &Origin) {
    (limit.value.as_millis(), &limit.origin)
}
