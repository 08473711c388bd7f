//! What a repository declares and what the operator bounds, read with spans and compiled.

pub mod ceiling;
pub mod compile;
pub mod cover;
pub mod detect;
pub mod diagnostic;
mod digest;
pub mod limits;
pub mod masks;
pub mod narrow;
pub mod nearest;
pub mod node;
pub mod operator;
pub mod presets;
pub mod repository;
pub mod rules;
pub mod schema;
pub mod set;
pub mod source;
pub mod who;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use self::detect::Detected;
use crate::base::pattern::Pattern;
use crate::mask::Mask;
use crate::sql::{Class, Kind};

/// The repository's file as its author knows it, wherever the broker reads its copy from.
pub const AUTHOR_PATH: &str = ".hoop/db-access.yaml";

/// Where a rule, a key or a value stands. Every decision cites one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Origin {
    /// The file as the author knows it, such as `.hoop/db-access.yaml`.
    pub path: Arc<str>,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// The preset that the line names, with its version, when the rule is one of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Arc<str>>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)?;
        match &self.preset {
            Some(preset) => write!(f, " (preset {preset})"),
            None => Ok(()),
        }
    }
}

/// One scope of a repository's file, compiled and inside the operator's ceiling.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The key under `scopes:`.
    pub name: String,
    /// Where the scope begins.
    pub origin: Origin,
    /// The operator's name of the database.
    pub database: String,
    /// Who enforces the scope there.
    pub enforcement: Enforcement,
    /// Alternatives: a job must match one entry in every key.
    pub who: Vec<Who>,
    /// The repository's own rules.
    pub can: Vec<Rule>,
    /// What the operator allows at most: a touch must be covered by a rule of `can` *and* by one of these.
    pub ceiling: Vec<Rule>,
    /// Relations nobody reaches, whatever a rule says (`never:` of the ceiling).
    pub never: Vec<RelationPattern>,
    /// The masked columns, one rule each, by name: the scope's own and those that the ceiling demands on the database.
    pub masks: Vec<MaskRule>,
    /// What is looked for in the texts that a job receives: the scope's own and what the ceiling demands on the database.
    pub detect: Detected,
    /// Lifetimes and counts, already clipped to the ceiling.
    pub limits: Limits,
    /// SHA-256 (hexadecimal) over everything above that decides: equal digests judge equally.
    pub digest: Arc<str>,
    /// SHA-256 (hexadecimal) of the policy file's bytes.
    pub policy_sha: Arc<str>,
}

/// Who enforces policies on a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// The broker, and PostgreSQL itself: a role per scope that holds its rights, a login per grant.
    Role,
    /// The broker alone: the database sees one login for all jobs.
    #[default]
    Shared,
}

/// What the operator's file says of a database, as far as policies are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Who enforces policies there.
    pub enforcement: Enforcement,
    /// There is a key for masks.
    pub mask_key: bool,
}

impl Enforcement {
    /// The word in the operator's file, in answers and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Shared => "shared",
        }
    }

    /// What is said to people where it is not both.
    pub fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Role => None,
            Self::Shared => {
                Some("one enforcer only: the broker judges every statement, the database does not know the job")
            }
        }
    }
}

impl Scope {
    /// Whether it reaches tables of which it does not reach every column.
    pub fn hides_columns(&self) -> bool {
        self.can.iter().chain(&self.ceiling).any(|rule| rule.columns.is_some())
    }
}

/// One `who` entry: every present key must match the claims.
#[derive(Debug, Clone)]
pub struct Who {
    /// Where the entry begins.
    pub origin: Origin,
    /// Where each of its keys stands: `branch`, `events`, `claims.<name>` …
    pub keys: BTreeMap<String, Origin>,
    /// The operator's name of the issuer.
    pub issuer: String,
    /// `branch: main` is exactly `refs/heads/main`.
    pub branch: Option<Pattern>,
    /// `tag: v*` is `refs/tags/v…`.
    pub tag: Option<Pattern>,
    /// The deployment environment.
    pub environment: Option<String>,
    /// The top workflow's path (GitHub).
    pub workflow: Option<Pattern>,
    /// The called reusable workflow's path (GitHub).
    pub reusable_workflow: Option<Pattern>,
    /// The CI configuration's path (GitLab).
    pub config: Option<Pattern>,
    /// The triggers: `events` (GitHub) or `sources` (GitLab), never empty for these two. For a generic issuer empty means
    /// that triggers are not compared.
    pub events: BTreeSet<String>,
    /// Extra claims compared as text, for generic issuers.
    pub claims: BTreeMap<String, Pattern>,
}

/// One entry of `can:`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where the entry begins.
    pub origin: Origin,
    /// The statement classes, groups expanded. Empty when the rule only names functions.
    pub classes: BTreeSet<Class>,
    /// The relations it covers, and the objects of the kinds under `objects`.
    pub tables: Vec<RelationPattern>,
    /// The kinds besides relations that `tables` covers.
    pub objects: BTreeSet<Kind>,
    /// When present, only these columns of them.
    pub columns: Option<BTreeSet<String>>,
    /// Functions the scope may call beyond the safe set, as `schema.name` globs.
    pub functions: Vec<RelationPattern>,
    /// The owner that DDL under this rule runs as (`as:`).
    pub owner: Option<Arc<str>>,
    /// Settings that may be changed to exactly these values, beyond those that every scope may change. Presets only.
    pub settings: BTreeMap<String, BTreeSet<String>>,
}

/// A glob over `schema.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationPattern {
    /// Where it is written.
    pub origin: Origin,
    /// The glob, its separator `.`.
    pub pattern: Pattern,
}

impl RelationPattern {
    /// True when the pattern covers `schema.name`. A name that itself holds a dot could pose as another relation, so
    /// nothing but an exact two-part comparison is done.
    pub fn covers(&self, schema: &str, name: &str) -> bool {
        if schema.contains('.') || name.contains('.') {
            return false;
        }
        self.pattern.matches(&format!("{schema}.{name}"))
    }

    /// True when it covers something in `schema`.
    pub fn covers_schema(&self, schema: &str) -> bool {
        let glob = match self.pattern.as_str().split_once('.') {
            Some((glob, _)) => Pattern::new(glob, '.'),
            None => Ok(self.pattern.clone()),
        };
        glob.is_ok_and(|glob| glob.matches(schema))
    }
}

/// One masked column: wherever the scope may read it, it reads what the mask makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskRule {
    /// The line that sets it: the scope's own, or the ceiling's where the scope does not name the column.
    pub origin: Origin,
    /// The schema, as the catalog holds it; no glob.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// How its value is replaced.
    pub mask: Mask,
    /// The ceiling demands a mask on this column (`always-mask`): the repository cannot lift it, only hide more.
    pub by_operator: bool,
}

impl MaskRule {
    /// `schema.table.column`.
    pub fn name(&self) -> String {
        format!("{}.{}.{}", self.schema, self.table, self.column)
    }

    /// Whether both are for the same column.
    pub fn names_same(&self, other: &Self) -> bool {
        (&self.schema, &self.table, &self.column) == (&other.schema, &other.table, &other.column)
    }
}

/// Lifetimes and counts of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// New connections are accepted for this long.
    pub ttl: Limit<std::time::Duration>,
    /// The hard end of every session, counted from the mint.
    pub max_session: Limit<std::time::Duration>,
    /// Connections at the same time.
    pub max_connections: Limit<u32>,
    /// `statement_timeout` of every session; the job may lower it.
    pub statement_timeout: Option<Limit<std::time::Duration>>,
    /// `lock_timeout` of every session; the job may lower it.
    pub lock_timeout: Option<Limit<std::time::Duration>>,
    /// A session whose client says nothing for this long ends.
    pub idle_timeout: Option<Limit<std::time::Duration>>,
    /// Rows of one result.
    pub max_rows: Option<Limit<u64>>,
    /// Bytes of one result, as its rows go over the wire.
    pub max_bytes: Option<Limit<u64>>,
    /// Rows that one statement may insert, update and delete.
    pub max_affected_rows: Option<Limit<u64>>,
    /// Nothing may be written: the line that says so.
    pub read_only: Option<Origin>,
    /// UPDATE and DELETE without WHERE are denied: the line that says so.
    pub no_where: Option<Origin>,
}

impl Limits {
    /// The timeout that bounds a run-time setting of PostgreSQL.
    pub fn of_setting(&self, name: &str) -> Option<&Limit<std::time::Duration>> {
        match name {
            "statement_timeout" => self.statement_timeout.as_ref(),
            "lock_timeout" => self.lock_timeout.as_ref(),
            "idle_in_transaction_session_timeout" | "idle_session_timeout" => self.idle_timeout.as_ref(),
            _ => None,
        }
    }
}

/// A limit and the line that set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit<T> {
    /// The value in force.
    pub value: T,
    /// The line of the policy (or of the ceiling that clipped it).
    pub origin: Origin,
}

#[cfg(test)]
mod masks_tests;
#[cfg(test)]
mod tests;
