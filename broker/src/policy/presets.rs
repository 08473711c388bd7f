//! Presets: named, versioned, published rule sets for what a tool needs besides the application's own tables — catalogs,
//! its version table, advisory locks. They are written in the syntax of `can:` and embedded in the binary.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::compile::hex;
use super::diagnostic::{Diagnostic, Report, code};
use super::nearest::did_you_mean;
use super::node::{Node, Word};
use super::rules::{self, RawRule};
use super::source;
use super::words;
use super::{Origin, RelationPattern, Rule};
use crate::base::pattern::Pattern;
use crate::sql::Class;

macro_rules! files {
    ($($name:literal,)*) => {
        /// Every published preset: its name with its version, and its text. A published text never changes; what has to
        /// change gets the next version.
        pub const FILES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../policies/presets/", $name, ".yaml"))),)*
        ];
    };
}

files! {
    "etl/dbt@1",
    "introspection/clients@1",
    "introspection/pg-dump@1",
    "introspection/psql@1",
    "migrations/alembic@1",
    "migrations/django@1",
    "migrations/flyway@1",
    "migrations/golang-migrate@1",
    "migrations/knex@1",
    "migrations/liquibase@1",
    "migrations/node-pg-migrate@1",
    "migrations/prisma@1",
    "migrations/rails@1",
    "migrations/sqlx@1",
}

const KEYS: &[&str] = &["description", "includes", "can"];

/// One published rule set.
#[derive(Debug)]
pub struct Preset {
    /// `migrations/alembic`.
    pub name: &'static str,
    /// Counted from 1.
    pub version: u32,
    /// `migrations/alembic@1`.
    title: Arc<str>,
    /// What it is for.
    pub description: String,
    /// The presets whose rules it also has.
    pub includes: Vec<String>,
    /// The file.
    pub text: &'static str,
    /// SHA-256 (hexadecimal) over its file and those of what it includes.
    digest: String,
    /// Its own rules and those of what it includes.
    rules: Vec<Rule>,
}

/// Every preset by name and version; one that cannot be read is not there.
static ALL: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let mut all: Vec<Preset> = Vec::new();
    // What is included is read first.
    let mut waiting: Vec<_> = FILES.to_vec();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|(title, text)| match Preset::read(title, text, &all) {
            Ok(preset) => {
                all.push(preset);
                false
            }
            Err(_) => true,
        });
        if waiting.len() == before {
            break;
        }
    }
    all.sort_by(|left, right| (left.name, left.version).cmp(&(right.name, right.version)));
    all
});

/// Every preset, sorted by name and version.
pub fn all() -> &'static [Preset] {
    &ALL
}

/// Every name, without versions.
pub fn names() -> BTreeSet<&'static str> {
    ALL.iter().map(|preset| preset.name).collect()
}

/// The preset of this title: the newest version when it names none.
pub fn find(title: &str) -> Option<&'static Preset> {
    match title.split_once('@') {
        None => ALL.iter().rev().find(|preset| preset.name == title),
        Some(_) => ALL.iter().find(|preset| &*preset.title == title),
    }
}

/// The preset that a policy names; one that does not exist is reported.
pub fn named(word: Word<'_>, report: &mut Report) -> Option<&'static Preset> {
    let found = find(word.text);
    if found.is_none() {
        let all: Vec<&str> = ALL.iter().map(|preset| &*preset.title).collect();
        let help = did_you_mean(
            word.text,
            names().into_iter().chain(all.iter().copied()),
            &format!("published are: {}", all.join(", ")),
        );
        report.error(
            code::UNKNOWN_PRESET,
            word.span,
            format!("there is no preset `{}`", word.text),
            help,
        );
    }
    found
}

/// A ceiling's `presets:`: globs over names, with or without a version. One that fits no preset is reported.
pub fn globs(node: &Node, report: &mut Report) -> Option<Vec<Pattern>> {
    let mut read = Vec::new();
    for word in node.words("`presets`", report)? {
        let pattern = words::pattern(word, '/', report)?;
        if !ALL.iter().any(|preset| preset.matches(&pattern)) {
            named(word, report);
        }
        read.push(pattern);
    }
    Some(read)
}

impl Preset {
    fn read(title: &'static str, text: &'static str, known: &[Self]) -> Result<Self, Vec<Diagnostic>> {
        let root: Node = source::read(text, title)?;
        let mut report = Report::new(&Arc::from(title));
        let preset = Self::lower(title, text, &root, known, &mut report);
        match preset {
            Some(preset) if !report.failed() => Ok(preset),
            _ => Err(report.finish()),
        }
    }

    fn lower(
        title: &'static str,
        text: &'static str,
        root: &Node,
        known: &[Self],
        report: &mut Report,
    ) -> Option<Self> {
        let fields = root.fields("a preset", KEYS, &[], report)?;
        let description = fields
            .required("description", "a preset", report)?
            .word("`description`", report)?;
        let mut rules: Vec<Rule> = Vec::new();
        let mut digest = Sha256::new_with_prefix(text.as_bytes());
        let mut includes = Vec::new();
        if let Some(node) = fields.value("includes") {
            for word in node.words("`includes`", report)? {
                let Some(included) = known.iter().find(|preset| &*preset.title == word.text) else {
                    let message = format!("there is no preset `{}` yet", word.text);
                    report.error(code::UNKNOWN_PRESET, word.span, message, "");
                    continue;
                };
                includes.push(word.text.to_owned());
                digest.update(included.digest.as_bytes());
                rules.extend(included.rules.iter().cloned());
            }
        }
        if let Some(node) = fields.value("can") {
            let own = RawRule::read_list(node, rules::PRESET_KEYS, report);
            rules.extend(own.iter().flat_map(|rule| rule.compile(report.path())));
        }
        let (name, version) = title.split_once('@')?;
        Some(Self {
            name,
            version: version.parse().ok()?,
            title: title.into(),
            description: description.text.to_owned(),
            includes,
            text,
            digest: hex(&digest.finalize()),
            rules,
        })
    }

    /// Its rules, each citing the line that names it; DDL runs as `owner`.
    pub fn rules(&self, line: &Origin, owner: Option<&Arc<str>>) -> Vec<Rule> {
        let origin = Origin {
            preset: Some(Arc::clone(&self.title)),
            ..line.clone()
        };
        let patterns = |patterns: &[RelationPattern]| {
            let at_line = patterns.iter().map(|pattern| RelationPattern {
                origin: origin.clone(),
                pattern: pattern.pattern.clone(),
            });
            at_line.collect()
        };
        let rules = self.rules.iter().map(|rule| Rule {
            origin: origin.clone(),
            classes: rule.classes.clone(),
            tables: patterns(&rule.tables),
            objects: rule.objects.clone(),
            columns: rule.columns.clone(),
            functions: patterns(&rule.functions),
            owner: owner
                .filter(|_| rule.classes.iter().any(|class| words::needs_owner(*class)))
                .cloned(),
            settings: rule.settings.clone(),
        });
        rules.collect()
    }

    /// True when nothing of it writes: it has no other statements than reads, and only functions that read.
    pub fn only_reads(&self) -> bool {
        self.rules.iter().all(|rule| {
            rule.classes
                .iter()
                .all(|class| matches!(class, Class::Select | Class::CopyOut))
        }) && self.name.starts_with("introspection/")
    }

    /// SHA-256 (hexadecimal) over all that it holds.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn matches(&self, pattern: &Pattern) -> bool {
        pattern.matches(self.name) || pattern.matches(&self.title)
    }

    /// True when one of a ceiling's globs covers it.
    pub fn is_under(&self, globs: &[Pattern]) -> bool {
        globs.iter().any(|pattern| self.matches(pattern))
    }

    /// It as data, for programs.
    pub fn view(&self) -> View<'_> {
        View {
            name: self.name,
            version: self.version,
            description: &self.description,
            includes: &self.includes,
            only_reads: self.only_reads(),
            rules: self.rules.iter().map(RuleView::of).collect(),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

/// A preset as `hoop-db policy presets --json` shows it, its includes resolved.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    name: &'a str,
    version: u32,
    description: &'a str,
    includes: &'a [String],
    only_reads: bool,
    rules: Vec<RuleView<'a>>,
}

#[derive(Debug, Serialize)]
struct RuleView<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statements: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tables: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    objects: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<&'a BTreeSet<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    functions: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    settings: &'a std::collections::BTreeMap<String, BTreeSet<String>>,
}

impl<'a> RuleView<'a> {
    fn of(rule: &'a Rule) -> Self {
        let texts = |patterns: &'a [RelationPattern]| patterns.iter().map(|glob| glob.pattern.as_str()).collect();
        Self {
            statements: rule.classes.iter().map(|class| class.as_str()).collect(),
            tables: texts(&rule.tables),
            objects: rule.objects.iter().map(|kind| kind.as_str()).collect(),
            columns: rule.columns.as_ref(),
            functions: texts(&rule.functions),
            settings: &rule.settings,
        }
    }
}

#[cfg(test)]
mod tests;
