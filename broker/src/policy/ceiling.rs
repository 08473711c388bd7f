//! What the operator allows at most: per database the claims it requires, the rules, the longest lifetimes; what pull
//! requests may reach; what nobody reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::detect::{self, Detected};
use super::diagnostic::{Report, Span, code};
use super::masks::{self, RawMask};
use super::nearest::did_you_mean;
use super::node::{Key, Node, Word};
use super::presets;
use super::repository::RawLimits;
use super::rules::{self, RawRule};
use super::words;
use super::{Kept, MaskRule, Origin, RelationPattern, Rule};
use crate::base::pattern::Pattern;

const KEYS: &[&str] = &["databases", "pull-requests", "never"];
const DATABASE_KEYS: &[&str] = &["require", "can", "presets", "always-mask", "always-detect", "max"];
const UNBUILT: &[&str] = &["approvers", "hold", "record"];
const REQUIRE_KEYS: &[&str] = &["environment", "events", "sources"];

/// One ceiling.
#[derive(Debug, Clone)]
pub struct Ceiling {
    /// Its name.
    pub name: String,
    /// The operator's file.
    pub path: Arc<str>,
    /// What each database allows at most. A database that is not here is out of reach.
    pub databases: BTreeMap<String, DatabaseCeiling>,
    /// Whether runs of proposed changes reach anything at all.
    pub pull_requests: Option<PullRequests>,
    /// Relations nobody reaches.
    pub never: Vec<RelationPattern>,
}

/// The bounds on one database.
#[derive(Debug, Clone)]
pub struct DatabaseCeiling {
    /// Where it begins.
    pub origin: Origin,
    /// What the claims of every job must show.
    pub require: Require,
    /// What is allowed at most.
    pub can: Vec<Rule>,
    /// Globs over the names of the presets that scopes may use.
    pub presets: Vec<Pattern>,
    /// Masks on every scope of the database.
    pub always_mask: Vec<MaskRule>,
    /// What is looked for in every scope of the database.
    pub always_detect: Detected,
    /// The longest lifetimes, the most connections.
    pub max: RawLimits,
}

/// Claims that every job must show, whatever its scope's `who` says.
#[derive(Debug, Clone, Default)]
pub struct Require {
    /// One of these environments.
    pub environment: Option<Allowed>,
    /// One of these triggers (GitHub and generic issuers).
    pub events: Option<Allowed>,
    /// One of these pipeline sources (GitLab).
    pub sources: Option<Allowed>,
}

/// A list of accepted values and the line it stands on.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// Where the list stands.
    pub origin: Origin,
    /// The accepted values.
    pub values: BTreeSet<String>,
}

/// What runs of proposed changes may reach.
#[derive(Debug, Clone)]
pub struct PullRequests {
    /// Where it stands.
    pub origin: Origin,
    /// Only these databases.
    pub databases: BTreeSet<String>,
    /// Only statements that read. True unless the operator says otherwise.
    pub read_only: bool,
}

impl Ceiling {
    /// Reads one entry of `ceilings:`.
    pub fn read(key: &Key, node: &Node, databases: &BTreeMap<String, Kept>, report: &mut Report) -> Option<Self> {
        let what = format!("ceiling `{}`", key.text);
        let fields = node.fields(&what, KEYS, UNBUILT, report)?;
        let mut ceiling = Self {
            name: key.text.clone(),
            path: Arc::clone(report.path()),
            databases: BTreeMap::new(),
            pull_requests: None,
            never: Vec::new(),
        };
        for (key, node) in fields
            .required("databases", &what, report)?
            .map("`databases`", report)?
        {
            let word = Word {
                span: key.span,
                text: &key.text,
            };
            known_database(word, databases.keys(), report);
            if let Some(database) =
                DatabaseCeiling::read(key, node, databases.get(&key.text).copied().unwrap_or_default(), report)
            {
                ceiling.databases.insert(key.text.clone(), database);
            }
        }
        if let Some(node) = fields.value("pull-requests") {
            ceiling.pull_requests = PullRequests::read(node, fields.key_span("pull-requests"), &ceiling, report);
        }
        if let Some(node) = fields.value("never") {
            let never = node.fields("`never`", &["tables"], &["columns", "functions"], report)?;
            let tables = rules::relations(never.required("tables", "`never`", report)?, "`tables`", report)?;
            ceiling.never = rules::compile_all(&tables, report.path());
        }
        Some(ceiling)
    }
}

impl DatabaseCeiling {
    fn read(key: &Key, node: &Node, kept: Kept, report: &mut Report) -> Option<Self> {
        let what = format!("the ceiling of `{}`", key.text);
        let fields = node.fields(&what, DATABASE_KEYS, UNBUILT, report)?;
        let require = fields.value("require").map(|node| Require::read(node, report));
        let max = RawLimits::read(fields.value("max"), "`max`", report);
        let presets = match fields.value("presets") {
            Some(node) => presets::globs(node, report)?,
            None => Vec::new(),
        };
        // Where presets are all there is, `can` may be left out.
        let can = match (fields.value("can"), presets.is_empty()) {
            (None, false) => Vec::new(),
            _ => RawRule::read_list(fields.required("can", &what, report)?, rules::CEILING_KEYS, report),
        };
        let masks = fields
            .value("always-mask")
            .map(|node| RawMask::read_map(node, "`always-mask`", report));
        if let Some(masks) = &masks {
            masks::check_keys(masks, kept, report);
        }
        let always_mask = masks.unwrap_or_default();
        let always_detect = fields.value("always-detect");
        let always_detect = always_detect.map(|node| detect::read(node, "`always-detect`", report));
        Some(Self {
            origin: key.span.origin(report.path()),
            require: require.unwrap_or_default(),
            can: can.iter().flat_map(|rule| rule.compile(report.path())).collect(),
            presets,
            always_mask: always_mask.iter().map(|raw| raw.compile(report.path(), true)).collect(),
            always_detect: always_detect.unwrap_or_default(),
            max,
        })
    }
}

impl Require {
    fn read(node: &Node, report: &mut Report) -> Self {
        let Some(fields) = node.fields("`require`", REQUIRE_KEYS, &[], report) else {
            return Self::default();
        };
        let mut allowed = |key: &str, known: &[&str]| {
            let node = fields.value(key)?;
            let words = node.words(&format!("`{key}`"), report)?;
            for word in &words {
                if !known.is_empty() {
                    accepted_trigger(*word, known, report);
                }
            }
            Some(Allowed {
                origin: fields.key_span(key).origin(report.path()),
                values: words.iter().map(|word| word.text.to_owned()).collect(),
            })
        };
        Self {
            environment: allowed("environment", &[]),
            events: allowed("events", words::GITHUB_EVENTS),
            sources: allowed("sources", words::GITLAB_SOURCES),
        }
    }
}

impl PullRequests {
    fn read(node: &Node, span: Span, ceiling: &Ceiling, report: &mut Report) -> Option<Self> {
        let fields = node.fields("`pull-requests`", &["databases", "read-only"], &[], report)?;
        let words = fields
            .required("databases", "`pull-requests`", report)?
            .words("`databases`", report)?;
        for word in &words {
            known_database(*word, ceiling.databases.keys(), report);
        }
        Some(Self {
            origin: span.origin(report.path()),
            databases: words.iter().map(|word| word.text.to_owned()).collect(),
            read_only: match fields.value("read-only") {
                Some(node) => node.flag("`read-only`", report)?,
                None => true,
            },
        })
    }
}

/// Reports a database that is not among the known ones.
pub fn known_database<'a>(word: Word<'_>, known: impl Iterator<Item = &'a String>, report: &mut Report) -> bool {
    let known: Vec<&str> = known.map(String::as_str).collect();
    if known.contains(&word.text) {
        return true;
    }
    let message = format!("the operator defines no database `{}`", word.text);
    let all = match known.join(", ") {
        all if all.is_empty() => String::new(),
        all => format!("it defines: {all}"),
    };
    let help = did_you_mean(word.text, known.iter().copied(), &all);
    report.error(code::UNKNOWN_DATABASE, word.span, message, help);
    false
}

/// Reports a trigger that is never accepted or that does not exist.
pub fn accepted_trigger(word: Word<'_>, known: &[&str], report: &mut Report) -> bool {
    if words::NEVER_ACCEPTED.contains(&word.text) {
        let message = format!("`{}` is never accepted", word.text);
        let help =
            "strangers can set it off, and it runs with the default branch's rights; use push or workflow_dispatch";
        report.error(code::EVENT_NEVER_ACCEPTED, word.span, message, help);
        return false;
    }
    if !known.contains(&word.text) {
        let message = format!("`{}` is not a known trigger", word.text);
        let help = did_you_mean(
            word.text,
            known.iter().copied(),
            &format!("one of: {}", known.join(", ")),
        );
        report.error(code::INVALID_VALUE, word.span, message, help);
        return false;
    }
    true
}
