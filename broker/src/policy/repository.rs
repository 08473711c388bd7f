//! The repository's file, `.hoop/db-access.yaml`, as it is written: every word read and placed, nothing bounded yet.

use std::time::Duration;

use crate::base::pattern::Pattern;

use super::detect::{self, Detected};
use super::diagnostic::{Diagnostic, Report, Span, code};
use super::masks::RawMask;
use super::node::{Node, Value};
use super::rules::{self, RawRule};
use super::source;
use super::words;

/// The keys of the file.
pub const FILE_KEYS: &[&str] = &["version", "scopes"];
/// The keys of a scope.
pub const SCOPE_KEYS: &[&str] = &["description", "database", "who", "can", "mask", "detect", "limits"];
/// Keys of a scope whose enforcement is not built.
pub const SCOPE_UNBUILT: &[&str] = &["hold", "record"];
/// The keys of a `who` entry, whatever the issuer.
pub const WHO_KEYS: &[&str] = &[
    "issuer",
    "branch",
    "tag",
    "environment",
    "workflow",
    "reusable-workflow",
    "config",
    "events",
    "sources",
    "claims",
];
/// The keys of `limits:` (and of a ceiling's `max:`).
pub const LIMIT_KEYS: &[&str] = &[
    "ttl",
    "max-session",
    "max-connections",
    "statement-timeout",
    "lock-timeout",
    "idle-timeout",
    "max-rows",
    "max-bytes",
    "max-affected-rows",
    "read-only",
    "no-where",
];
/// The most connections a scope can ask for.
pub const MOST_CONNECTIONS: u32 = 1000;
/// The most rows a limit can name.
pub const MOST_ROWS: u64 = 1_000_000_000_000;

/// A value and where it stands.
pub type Placed<T> = (T, Span);

/// The file. A scope with an error carries it; the others stand.
#[derive(Debug)]
pub struct File {
    /// The scopes in the order of the file.
    pub scopes: Vec<ReadScope>,
}

/// A scope as far as it could be read.
#[derive(Debug)]
pub struct ReadScope {
    /// The key under `scopes:`.
    pub name: String,
    /// What could be read: `None` when too little. Entries with errors are left out of it.
    pub raw: Option<RawScope>,
    /// What was found on the way, and a place for what the bounds add.
    pub report: Report,
}

/// One scope as written.
#[derive(Debug)]
pub struct RawScope {
    /// The key under `scopes:`.
    pub name: Placed<String>,
    /// The operator's name of a database.
    pub database: Placed<String>,
    /// The alternatives.
    pub who: Vec<RawWho>,
    /// What it may do.
    pub can: Vec<RawRule>,
    /// The masked columns.
    pub masks: Vec<RawMask>,
    /// What is looked for.
    pub detect: Detected,
    /// Lifetimes and counts.
    pub limits: RawLimits,
}

/// One `who` entry as written.
#[derive(Debug)]
pub struct RawWho {
    /// Where the entry begins.
    pub span: Span,
    /// The keys it has, for the checks that depend on the issuer's kind.
    pub keys: Vec<Placed<&'static str>>,
    /// The operator's name of an issuer.
    pub issuer: Placed<String>,
    /// Without `refs/heads/`.
    pub branch: Option<Placed<Pattern>>,
    /// Without `refs/tags/`.
    pub tag: Option<Placed<Pattern>>,
    /// The deployment environment.
    pub environment: Option<Placed<String>>,
    /// The top workflow's path.
    pub workflow: Option<Placed<Pattern>>,
    /// The called workflow's path.
    pub reusable_workflow: Option<Placed<Pattern>>,
    /// The CI configuration's path.
    pub config: Option<Placed<Pattern>>,
    /// GitHub's triggers.
    pub events: Option<Vec<Placed<String>>>,
    /// GitLab's triggers.
    pub sources: Option<Vec<Placed<String>>>,
    /// Other claims.
    pub claims: Vec<(String, Placed<Pattern>)>,
}

/// `limits:` and `max:` as written.
#[derive(Debug, Clone, Default)]
pub struct RawLimits {
    /// New connections are accepted for this long.
    pub ttl: Option<Placed<Duration>>,
    /// The hard end.
    pub max_session: Option<Placed<Duration>>,
    /// Connections at the same time.
    pub max_connections: Option<Placed<u32>>,
    /// The longest statement.
    pub statement_timeout: Option<Placed<Duration>>,
    /// The longest wait for a lock.
    pub lock_timeout: Option<Placed<Duration>>,
    /// The longest silence of a client.
    pub idle_timeout: Option<Placed<Duration>>,
    /// Rows of one result.
    pub max_rows: Option<Placed<u64>>,
    /// Bytes of one result.
    pub max_bytes: Option<Placed<u64>>,
    /// Rows one statement may change.
    pub max_affected_rows: Option<Placed<u64>>,
    /// Whether nothing may be written.
    pub read_only: Option<Placed<bool>>,
    /// UPDATE and DELETE without WHERE are denied.
    pub no_where: Option<Span>,
}

impl File {
    /// Reads the file. An error outside every scope (the YAML itself, the version, a top-level key) fails the whole of
    /// it; an error inside a scope fails that scope.
    pub fn read(text: &str, path: &str) -> Result<Self, Vec<Diagnostic>> {
        let root: Node = source::read(text, path)?;
        let mut report = Report::new(&path.into());
        let scopes = top(&root, &mut report);
        if report.failed() {
            return Err(report.finish());
        }
        let read = |(key, node): &(super::node::Key, Node)| {
            let mut report = Report::new(report.path());
            ReadScope {
                name: key.text.clone(),
                raw: RawScope::read((key.text.clone(), key.span), node, &mut report),
                report,
            }
        };
        Ok(Self {
            scopes: scopes.unwrap_or_default().iter().map(read).collect(),
        })
    }
}

fn top<'n>(root: &'n Node, report: &mut Report) -> Option<&'n [(super::node::Key, Node)]> {
    let fields = root.fields("the file", FILE_KEYS, &[], report)?;
    let version = fields.required("version", "the file", report)?;
    if version.value != Value::Number(1) {
        report.error(code::INVALID_VALUE, version.span, "the version must be 1", "version: 1");
    }
    let scopes = fields.required("scopes", "the file", report)?.map("`scopes`", report)?;
    if scopes.is_empty() {
        report.error(code::EMPTY, fields.key_span("scopes"), "`scopes` is empty", "");
    }
    for (key, _) in scopes {
        let fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if key.text.is_empty() || key.text.len() > 64 || !key.text.chars().all(fine) {
            let message = format!("`{}` cannot name a scope", key.text);
            let help = "up to 64 letters, digits, `-`, `_`, `.`";
            report.error(code::INVALID_VALUE, key.span, message, help);
        }
    }
    Some(scopes)
}

impl RawScope {
    fn read(name: Placed<String>, node: &Node, report: &mut Report) -> Option<Self> {
        let what = format!("scope `{}`", name.0);
        let fields = node.fields(&what, SCOPE_KEYS, SCOPE_UNBUILT, report)?;
        if let Some(node) = fields.value("description") {
            node.word("`description`", report);
        }
        // Every missing key is reported at the scope's name, and reading goes on to find the rest.
        let mut required = |key: &str| {
            let found = fields.value(key);
            if found.is_none() {
                report.error(code::MISSING_KEY, name.1, format!("{what} needs the key `{key}`"), "");
            }
            found
        };
        let (database, who, can) = (required("database"), required("who"), required("can"));
        let limits = RawLimits::read(fields.value("limits"), "`limits`", report);
        let masks = fields
            .value("mask")
            .map(|node| RawMask::read_map(node, "`mask`", report));
        let detect = fields
            .value("detect")
            .map(|node| detect::read(node, "`detect`", report));
        let can = can
            .map(|node| RawRule::read_list(node, rules::KEYS, report))
            .unwrap_or_default();
        let who = who.map(|node| RawWho::read_list(node, report)).unwrap_or_default();
        let database = database.and_then(|node| node.word("`database`", report))?;
        Some(Self {
            name,
            database: (database.text.to_owned(), database.span),
            who,
            can,
            masks: masks.unwrap_or_default(),
            detect: detect.unwrap_or_default(),
            limits,
        })
    }
}

impl RawWho {
    fn read_list(node: &Node, report: &mut Report) -> Vec<Self> {
        let Some(entries) = node.list("`who`", report) else {
            return Vec::new();
        };
        if entries.is_empty() {
            report.error(
                code::EMPTY,
                node.span,
                "`who` is empty: nobody could use the scope",
                "name an issuer",
            );
        }
        entries.iter().filter_map(|entry| Self::read(entry, report)).collect()
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let fields = node.fields("an entry of `who`", WHO_KEYS, &[], report)?;
        let mut glob = |key: &str| {
            let word = fields.value(key)?.word(&format!("`{key}`"), report)?;
            Some((words::pattern(word, '/', report)?, word.span))
        };
        let (branch, tag) = (glob("branch"), glob("tag"));
        let (workflow, reusable_workflow, config) = (glob("workflow"), glob("reusable-workflow"), glob("config"));
        for (key, pattern) in [("branch", &branch), ("tag", &tag)] {
            if let Some((pattern, span)) = pattern
                && pattern.as_str().starts_with("refs/")
            {
                let message = format!("`{key}: {pattern}` would match nothing");
                let short = pattern.as_str().rsplit('/').next().unwrap_or_default();
                report.error(
                    code::INVALID_VALUE,
                    *span,
                    message,
                    format!("leave the prefix out: {key}: {short}"),
                );
            }
        }
        let environment = fields
            .value("environment")
            .and_then(|node| node.word("`environment`", report));
        let mut triggers = |key: &str| {
            let list = fields.value(key)?;
            if matches!(&list.value, Value::List(events) if events.is_empty()) {
                let message = format!("`{key}` is empty: no run could use the scope");
                report.error(
                    code::EVENTS_REQUIRED,
                    list.span,
                    message,
                    "name the triggers: there is no default",
                );
                return None;
            }
            let events = list.words(&format!("`{key}`"), report)?;
            Some(events.iter().map(|word| (word.text.to_owned(), word.span)).collect())
        };
        let (events, sources) = (triggers("events"), triggers("sources"));
        let claims = fields
            .value("claims")
            .map(|node| claims(node, report))
            .unwrap_or_default();
        let issuer = fields
            .required("issuer", "an entry of `who`", report)?
            .word("`issuer`", report)?;
        Some(Self {
            span: fields.span(),
            keys: WHO_KEYS
                .iter()
                .filter(|key| fields.value(key).is_some())
                .map(|key| (*key, fields.key_span(key)))
                .collect(),
            issuer: (issuer.text.to_owned(), issuer.span),
            branch,
            tag,
            environment: environment.map(|word| (word.text.to_owned(), word.span)),
            workflow,
            reusable_workflow,
            config,
            events,
            sources,
            claims,
        })
    }

    /// Whether the entry has `key`, readable or not.
    pub fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(candidate, _)| *candidate == key)
    }
}

/// Claim names may hold `.` and `/`; they are never paths here.
fn claims(node: &Node, report: &mut Report) -> Vec<(String, Placed<Pattern>)> {
    let Some(entries) = node.map("`claims`", report) else {
        return Vec::new();
    };
    if entries.is_empty() {
        report.error(
            code::EMPTY,
            node.span,
            "`claims` is empty",
            "name a claim, or remove the key",
        );
    }
    let mut read = Vec::new();
    for (key, value) in entries {
        if key.text == "sub" {
            let message = "`sub` is not matched: its form changes with the CI's settings";
            report.error(
                code::INVALID_VALUE,
                key.span,
                message,
                "use branch, environment or a claim of its own",
            );
        }
        if let Some(word) = value.word(&format!("claim `{}`", key.text), report)
            && let Some(pattern) = words::pattern(word, '/', report)
        {
            read.push((key.text.clone(), (pattern, word.span)));
        }
    }
    read
}

impl RawLimits {
    /// Reads `limits:` or `max:`.
    pub fn read(node: Option<&Node>, what: &str, report: &mut Report) -> Self {
        let Some(fields) = node.and_then(|node| node.fields(what, LIMIT_KEYS, &[], report)) else {
            return Self::default();
        };
        let mut duration = |key: &str| {
            let node = fields.value(key)?;
            Some((words::duration(node, &format!("`{key}`"), report)?, node.span))
        };
        let (ttl, max_session) = (duration("ttl"), duration("max-session"));
        let (statement_timeout, lock_timeout) = (duration("statement-timeout"), duration("lock-timeout"));
        let idle_timeout = duration("idle-timeout");
        let max_connections = fields.value("max-connections").and_then(|node| {
            let count = node.count("`max-connections`", MOST_CONNECTIONS.into(), report)?;
            Some((u32::try_from(count).ok()?, node.span))
        });
        let mut rows = |key: &str| {
            let node = fields.value(key)?;
            Some((node.count(&format!("`{key}`"), MOST_ROWS, report)?, node.span))
        };
        let (max_rows, max_affected_rows) = (rows("max-rows"), rows("max-affected-rows"));
        let max_bytes = fields
            .value("max-bytes")
            .and_then(|node| Some((words::size(node, "`max-bytes`", report)?, node.span)));
        let read_only = fields
            .value("read-only")
            .and_then(|node| Some((node.flag("`read-only`", report)?, node.span)));
        let no_where = fields.value("no-where").and_then(|node| no_where(node, report));
        if let (Some((ttl, _)), Some((session, span))) = (ttl, max_session)
            && session < ttl
        {
            let message = "`max-session` is shorter than `ttl`";
            report.error(
                code::INVALID_VALUE,
                span,
                message,
                "sessions end at max-session: make ttl shorter",
            );
        }
        Self {
            ttl,
            max_session,
            max_connections,
            statement_timeout,
            lock_timeout,
            idle_timeout,
            max_rows,
            max_bytes,
            max_affected_rows,
            read_only,
            no_where,
        }
    }
}

/// `no-where: deny`: the only word there is.
fn no_where(node: &Node, report: &mut Report) -> Option<Span> {
    let word = node.word("`no-where`", report)?;
    if word.text == "deny" {
        return Some(word.span);
    }
    let message = format!("`no-where: {}` does not exist", word.text);
    let help = "no-where: deny refuses UPDATE and DELETE that no WHERE bounds; leave it out to allow them";
    report.error(code::INVALID_VALUE, word.span, message, help);
    None
}
