//! `can:` as both files and the presets write it: statements, tables, objects, columns, functions, a preset; each word
//! with its span.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::pattern::Pattern;
use crate::sql::{Class, Kind};

use super::diagnostic::{Report, Span, code};
use super::node::{Fields, Node, Value};
use super::presets::{self, Preset};
use super::words;
use super::{RelationPattern, Rule};

/// The keys of one entry of `can:`.
pub const KEYS: &[&str] = &[
    "statements",
    "tables",
    "objects",
    "columns",
    "functions",
    "as",
    "preset",
];

/// The keys of one entry of a preset's `can:`.
pub const PRESET_KEYS: &[&str] = &["statements", "tables", "objects", "columns", "functions", "settings"];

/// The keys of one entry of a ceiling's `can:`; its presets stand under `presets:`.
pub const CEILING_KEYS: &[&str] = &["statements", "tables", "objects", "columns", "functions", "as"];

/// Keys of an entry whose enforcement is not built.
pub const UNBUILT: &[&str] = &[];

/// One entry of `can:`, every word with its place.
#[derive(Debug, Clone)]
pub struct RawRule {
    /// Where the entry begins.
    pub span: Span,
    /// The classes, groups expanded; each with the place of the word it came from.
    pub classes: Vec<(Class, Span)>,
    /// Globs over `schema.name`.
    pub tables: Vec<(Pattern, Span)>,
    /// The kinds besides relations that `tables` covers.
    pub objects: Vec<(Kind, Span)>,
    /// Exact column names.
    pub columns: Option<Vec<(String, Span)>>,
    /// Globs over `schema.function`.
    pub functions: Vec<(Pattern, Span)>,
    /// The owner that DDL runs as.
    pub owner: Option<(Arc<str>, Span)>,
    /// Settings with their values.
    pub settings: BTreeMap<String, BTreeSet<String>>,
    /// The preset it stands for; it then has nothing else but an owner.
    pub preset: Option<(&'static Preset, Span)>,
}

impl RawRule {
    /// Reads a `can:` list. An entry with an error is left out; the report then holds the error.
    pub fn read_list(node: &Node, keys: &[&str], report: &mut Report) -> Vec<Self> {
        let Some(entries) = node.list("`can`", report) else {
            return Vec::new();
        };
        if entries.is_empty() {
            report.error(
                code::EMPTY,
                node.span,
                "`can` is empty: nothing would be allowed",
                "name what the job does",
            );
        }
        entries
            .iter()
            .filter_map(|entry| Self::read(entry, keys, report))
            .collect()
    }

    fn read(node: &Node, keys: &[&str], report: &mut Report) -> Option<Self> {
        let fields = node.fields("an entry of `can`", keys, UNBUILT, report)?;
        let mut rule = Self {
            span: fields.span(),
            classes: Vec::new(),
            tables: Vec::new(),
            objects: Vec::new(),
            columns: None,
            functions: Vec::new(),
            owner: None,
            settings: BTreeMap::new(),
            preset: None,
        };
        if let Some(node) = fields.value("preset") {
            let beside = |key: &&&str| !matches!(**key, "preset" | "as") && fields.value(key).is_some();
            if let Some(key) = keys.iter().find(beside) {
                let message = format!("`{key}` beside `preset`");
                let help = "a preset stands for its own rules: put the rest into an entry of its own";
                report.error(code::INVALID_VALUE, fields.key_span(key), message, help);
            }
            let word = node.word("`preset`", report)?;
            rule.preset = Some((presets::named(word, report)?, word.span));
            if let Some(node) = fields.value("as") {
                rule.owner = Some(owner(node, report)?);
            }
            return Some(rule);
        }
        if let Some(node) = fields.value("statements") {
            for word in node.words("`statements`", report)? {
                let classes = words::classes(word, report).unwrap_or_default();
                rule.classes.extend(classes.into_iter().map(|class| (class, word.span)));
            }
        }
        if let Some(node) = fields.value("tables") {
            rule.tables = relations(node, "`tables`", report)?;
        }
        if let Some(node) = fields.value("objects") {
            for word in node.words("`objects`", report)? {
                rule.objects
                    .extend(words::kind(word, report).map(|kind| (kind, word.span)));
            }
            needs_tables("objects", &fields, "say which: tables: [\"app.*\"]", report);
        }
        if let Some(node) = fields.value("settings") {
            rule.settings = settings(node, report)?;
        }
        if let Some(node) = fields.value("functions") {
            rule.functions = relations(node, "`functions`", report)?;
        }
        if let Some(node) = fields.value("columns") {
            rule.columns = Some(columns(node, report)?);
            needs_tables("columns", &fields, "say whose columns they are", report);
        }
        if let Some(node) = fields.value("as") {
            rule.owner = Some(owner(node, report)?);
            let owned = |class: Class| class == Class::Truncate || words::needs_owner(class);
            if !rule.classes.iter().any(|(class, _)| owned(*class)) {
                let help = "DDL runs as an owner: put `as` beside `statements: [ddl]`";
                let message = "`as` without a statement that is DDL";
                report.error(code::INVALID_VALUE, node.span, message, help);
            }
        }
        rule.check(node, &fields, keys, report);
        Some(rule)
    }

    /// Reports what an entry lacks to mean something.
    fn check(&self, node: &Node, fields: &Fields<'_>, keys: &[&str], report: &mut Report) {
        if keys.iter().chain(UNBUILT).all(|key| fields.value(key).is_none()) {
            report.error(
                code::EMPTY,
                node.span,
                "an entry of `can` that names nothing",
                "name statements or functions",
            );
        }
        if fields.value("tables").is_some() && fields.value("statements").is_none() {
            let message = "`tables` without `statements`";
            report.error(
                code::MISSING_KEY,
                fields.key_span("tables"),
                message,
                "say what may be done with them",
            );
        }
        if fields.value("tables").is_none()
            && let Some((class, span)) = self.classes.iter().find(|(class, _)| words::needs_tables(*class))
        {
            let message = format!("`{class}` without `tables`");
            report.error(
                code::MISSING_KEY,
                *span,
                message,
                "say on which tables: tables: [app.orders]",
            );
        }
    }

    /// The rules as they are judged: those of the preset, or the one that is written.
    pub fn compile(&self, path: &Arc<str>) -> Vec<Rule> {
        match self.preset {
            Some((preset, span)) => preset.rules(&span.origin(path), self.owner.as_ref().map(|(owner, _)| owner)),
            None => vec![self.compile_own(path)],
        }
    }

    fn compile_own(&self, path: &Arc<str>) -> Rule {
        Rule {
            origin: self.span.origin(path),
            classes: self.classes.iter().map(|(class, _)| *class).collect(),
            tables: compile_all(&self.tables, path),
            objects: self.objects.iter().map(|(kind, _)| *kind).collect(),
            columns: self
                .columns
                .as_ref()
                .map(|columns| columns.iter().map(|(column, _)| column.clone()).collect()),
            functions: compile_all(&self.functions, path),
            owner: self.owner.as_ref().map(|(owner, _)| Arc::clone(owner)),
            settings: self.settings.clone(),
        }
    }
}

/// The role under `as:`.
fn owner(node: &Node, report: &mut Report) -> Option<(Arc<str>, Span)> {
    let word = node.word("`as`", report)?;
    let reserved = ["pg_", "hoop_"].iter().any(|prefix| word.text.starts_with(prefix));
    if word.text.is_empty() || word.text.len() > 63 || word.text.contains('\0') || reserved {
        let message = format!("`{}` cannot be an owner", word.text);
        let help = "name the role that owns the tables; names that begin with `pg_` or `hoop_` are reserved";
        report.error(code::INVALID_VALUE, word.span, message, help);
        return None;
    }
    Some((word.text.into(), word.span))
}

/// Reports a key that says nothing without `tables` beside it.
fn needs_tables(key: &str, fields: &Fields<'_>, help: &str, report: &mut Report) {
    if fields.value("tables").is_none() {
        let message = format!("`{key}` without `tables`");
        report.error(code::MISSING_KEY, fields.key_span(key), message, help);
    }
}

/// Settings and the exact values each may take.
fn settings(node: &Node, report: &mut Report) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let mut read = BTreeMap::new();
    for (key, node) in node.map("`settings`", report)? {
        let mut values = BTreeSet::new();
        for value in node.list(&format!("`{}`", key.text), report)? {
            match &value.value {
                Value::Text(text) => values.insert(text.to_ascii_lowercase()),
                _ => values.insert(value.word("a setting's value", report)?.text.to_owned()),
            };
        }
        read.insert(key.text.to_ascii_lowercase(), values);
    }
    Some(read)
}

/// A list of globs over `schema.name`.
pub fn relations(node: &Node, what: &str, report: &mut Report) -> Option<Vec<(Pattern, Span)>> {
    let words = node.words(what, report)?;
    let read: Vec<_> = words
        .iter()
        .filter_map(|word| words::relation(*word, report).map(|pattern| (pattern, word.span)))
        .collect();
    (read.len() == words.len()).then_some(read)
}

/// The patterns with their origins.
pub fn compile_all(patterns: &[(Pattern, Span)], path: &Arc<str>) -> Vec<RelationPattern> {
    patterns
        .iter()
        .map(|(pattern, span)| RelationPattern {
            origin: span.origin(path),
            pattern: pattern.clone(),
        })
        .collect()
}

/// Columns are named one by one: a glob would cover the column that somebody adds tomorrow.
fn columns(node: &Node, report: &mut Report) -> Option<Vec<(String, Span)>> {
    let words = node.words("`columns`", report)?;
    let mut all_good = true;
    for word in &words {
        if word.text.contains(['*', '.', '"', ' ']) {
            all_good = false;
            let message = format!("`{}` is not a column's name", word.text);
            report.error(
                code::INVALID_VALUE,
                word.span,
                message,
                "name every column; leave `columns` out for all",
            );
        }
    }
    let columns = words.iter().map(|word| (word.text.to_owned(), word.span)).collect();
    all_good.then_some(columns)
}
