//! One repository's file and the operator's bounds in, scopes out that decide can judge by.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::ceiling::{Ceiling, DatabaseCeiling, known_database};
use super::cover;
use super::detect;
use super::diagnostic::{Diagnostic, Report, Severity, code, failed};
use super::digest;
use super::limits;
use super::masks;
use super::node::Word;
use super::operator::IssuerKind;
use super::repository::{File, RawScope, ReadScope};
use super::who;
use super::words;
use super::{Enforcement, Kept, Limits, Rule, Scope, Who};

/// What bounds one repository.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Its ceiling.
    pub ceiling: &'a Ceiling,
    /// The operator's issuers.
    pub issuers: &'a BTreeMap<String, IssuerKind>,
    /// The operator's databases.
    pub databases: &'a BTreeMap<String, Kept>,
}

/// One repository's file, compiled.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Every scope the file names: ready, or why it is not. Empty when the file as a whole could not be read.
    pub scopes: BTreeMap<String, Result<Arc<Scope>, Vec<Diagnostic>>>,
    /// Everything found, in the order of the file: errors and warnings, of the file and of its scopes.
    pub diagnostics: Vec<Diagnostic>,
    /// SHA-256 (hexadecimal) of the file's bytes.
    pub sha: Arc<str>,
}

impl Compiled {
    /// True when the file as a whole could not be read.
    pub fn unreadable(&self) -> bool {
        self.scopes.is_empty()
    }
}

/// Compiles `text`. `path` is the file as its author knows it.
pub fn compile(text: &str, path: &str, bounds: &Bounds<'_>) -> Compiled {
    let sha: Arc<str> = hex(&Sha256::digest(text.as_bytes())).into();
    let file = match File::read(text, path) {
        Ok(file) => file,
        Err(diagnostics) => {
            return Compiled {
                scopes: BTreeMap::new(),
                diagnostics,
                sha,
            };
        }
    };
    let mut compiled = Compiled {
        scopes: BTreeMap::new(),
        diagnostics: Vec::new(),
        sha,
    };
    for ReadScope { name, raw, mut report } in file.scopes {
        // A scope with an error is still held against its bounds: the author learns everything at once.
        let scope = raw.and_then(|raw| scope(&raw, bounds, &compiled.sha, &mut report));
        let found = report.finish();
        compiled.diagnostics.extend(found.iter().cloned());
        let scope = match scope {
            Some(scope) if !failed(&found) => Ok(Arc::new(scope)),
            _ => Err(found),
        };
        compiled.scopes.insert(name, scope);
    }
    compiled
        .diagnostics
        .sort_by_key(|found| (found.span.line, found.span.column));
    compiled
}

/// What can be found without the operator's file: the format, and entries that are too wide under any ceiling.
pub fn lint(text: &str, path: &str) -> Vec<Diagnostic> {
    let file = match File::read(text, path) {
        Ok(file) => file,
        Err(diagnostics) => return diagnostics,
    };
    let mut all = Vec::new();
    for ReadScope { raw, mut report, .. } in file.scopes {
        for entry in raw.iter().flat_map(|raw| &raw.who) {
            who::compile(entry, None, None, &mut report);
        }
        all.extend(report.finish());
    }
    all.sort_by_key(|found| (found.span.line, found.span.column));
    all
}

fn scope(raw: &RawScope, bounds: &Bounds<'_>, sha: &Arc<str>, report: &mut Report) -> Option<Scope> {
    let database = database(raw, bounds, report);
    let who: Vec<Who> = raw
        .who
        .iter()
        .filter_map(|entry| who::compile(entry, Some(bounds), database, report))
        .collect();
    let database = database?;
    for rule in &raw.can {
        cover::check_rule(rule, bounds.ceiling, database, report);
    }
    let kept = bounds.databases.get(&raw.database.0).copied().unwrap_or_default();
    let enforcement = kept.enforcement;
    if enforcement == Enforcement::Role {
        raw.can.iter().for_each(|rule| cover::check_owner(rule, report));
    }
    let proposals = who
        .iter()
        .any(|entry| entry.events.iter().any(|event| words::is_proposal(event)));
    if proposals
        && bounds
            .ceiling
            .pull_requests
            .as_ref()
            .is_some_and(|allowed| allowed.read_only)
    {
        for rule in &raw.can {
            cover::check_read_only(rule, bounds.ceiling, report);
        }
    }
    let origin = raw.name.1.origin(report.path());
    let mut limits: Limits = limits::compile(&raw.limits, &origin, Some((bounds.ceiling, database)), report);
    if proposals
        && let Some(allowed) = bounds
            .ceiling
            .pull_requests
            .as_ref()
            .filter(|allowed| allowed.read_only)
    {
        // The rules hold no class that writes; the database is told as well.
        limits.read_only.get_or_insert_with(|| allowed.origin.clone());
    }
    // A preset's rules bound themselves: within the ceiling is what the operator lets scopes use as a whole.
    let within: Vec<Rule> = raw
        .can
        .iter()
        .filter(|rule| {
            rule.preset
                .is_some_and(|(preset, _)| preset.is_under(&database.presets))
        })
        .flat_map(|rule| rule.compile(report.path()))
        .collect();
    let can: Vec<Rule> = raw.can.iter().flat_map(|rule| rule.compile(report.path())).collect();
    masks::check_keys(&raw.masks, kept, report);
    let masks = masks::effective(&raw.masks, &can, (bounds.ceiling, database), report);
    let mut scope = Scope {
        name: raw.name.0.clone(),
        origin,
        database: raw.database.0.clone(),
        enforcement,
        who,
        can,
        ceiling: database.can.iter().cloned().chain(within).collect(),
        never: bounds.ceiling.never.clone(),
        masks,
        detect: detect::effective(&raw.detect, &database.always_detect),
        limits,
        digest: Arc::from(""),
        policy_sha: Arc::clone(sha),
    };
    scope.digest = digest::of(&scope, &database.require).into();
    Some(scope)
}

fn database<'a>(raw: &RawScope, bounds: &Bounds<'a>, report: &mut Report) -> Option<&'a DatabaseCeiling> {
    let (name, span) = &raw.database;
    let found = bounds.ceiling.databases.get(name);
    if found.is_none() {
        if bounds.databases.contains_key(name) {
            let message = format!("database `{name}` is beyond the ceiling `{}`", bounds.ceiling.name);
            let known: Vec<_> = bounds.ceiling.databases.keys().map(String::as_str).collect();
            report.error(
                code::EXCEEDS_CEILING,
                *span,
                message,
                format!("it allows: {}", known.join(", ")),
            );
        } else {
            let word = Word {
                span: *span,
                text: name,
            };
            known_database(word, bounds.ceiling.databases.keys(), report);
        }
    }
    found
}

/// The finding a refusal cites: the first error.
pub fn first_error(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics.iter().find(|found| found.severity == Severity::Error)
}

pub(in crate::policy) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _infallible = write!(out, "{byte:02x}");
            out
        })
}
