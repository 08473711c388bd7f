//! A scope's rules against the live schema, as the exact rights PostgreSQL can enforce: what the role of the scope holds.
//!
//! Pure: the same scope and schema always give the same rights. A right is never wider than what the judge allows, with
//! the exceptions that PostgreSQL's own grain forces: `copy-in` needs INSERT, `copy-out` needs SELECT, DELETE has no
//! columns, and what hangs on a relation (views, triggers, partitions) makes a right all or nothing ([`probe`]).

mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use probe::Probe;

use super::rewrite::Masked;
use crate::base::pattern::Pattern;
use crate::mask;
use crate::policy::{Rule, Scope, cover};
use crate::sql::quote::{identifier, qualified};
use crate::sql::{Class, Relation, RelationKind, Snapshot};

/// What a right is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A schema.
    Schema(String),
    /// A table, view, materialized view or foreign table as a whole.
    Table {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// One column of one.
    Column {
        /// The table's schema.
        schema: String,
        /// The table.
        table: String,
        /// The column.
        name: String,
    },
    /// A sequence.
    Sequence {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A function or procedure.
    Routine(Routine),
}

/// A function or procedure by its full signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Routine {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its argument types as PostgreSQL prints them, quoted, every one of its own schema.
    pub arguments: String,
}

/// What may be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// CREATE: never compiled, only taken from a role that was given it.
    Create,
    /// DELETE.
    Delete,
    /// EXECUTE.
    Execute,
    /// INSERT.
    Insert,
    /// MAINTAIN, which PostgreSQL has from 17 on: only taken.
    Maintain,
    /// REFERENCES: only taken.
    References,
    /// SELECT.
    Select,
    /// TRIGGER: only taken.
    Trigger,
    /// TRUNCATE.
    Truncate,
    /// UPDATE.
    Update,
    /// USAGE.
    Usage,
}

impl Privilege {
    /// Every one, with PostgreSQL's word.
    const ALL: &'static [(&'static str, Self)] = &[
        ("CREATE", Self::Create),
        ("DELETE", Self::Delete),
        ("EXECUTE", Self::Execute),
        ("INSERT", Self::Insert),
        ("MAINTAIN", Self::Maintain),
        ("REFERENCES", Self::References),
        ("SELECT", Self::Select),
        ("TRIGGER", Self::Trigger),
        ("TRUNCATE", Self::Truncate),
        ("UPDATE", Self::Update),
        ("USAGE", Self::Usage),
    ];

    /// PostgreSQL's word.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find_map(|(word, privilege)| (*privilege == self).then_some(*word))
            .unwrap_or_default()
    }

    /// The privilege of this word, when it is one that a scope can hold.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find_map(|(known, privilege)| (*known == word).then_some(*privilege))
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// On what.
    pub object: Object,
    /// What.
    pub privilege: Privilege,
}

/// What the schema holds beside its relations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Every schema, empty ones included.
    pub schemas: Vec<String>,
    /// Every function and procedure.
    pub routines: Vec<Routine>,
    /// Views in the broker's own schema that stand for tables of which the scope masks columns.
    pub views: Vec<String>,
}

/// The rights of `scope`. System schemas are left out: what they hold is PUBLIC's or nobody's.
pub fn compile(scope: &Scope, snapshot: &Snapshot, around: &Surroundings) -> BTreeSet<Right> {
    let mut rights = Rights(BTreeSet::new());
    let masked = (!scope.masks.is_empty()).then(|| Masked::new(scope, snapshot));
    let probe = Probe::new(scope, snapshot, masked.as_ref());
    let relations = snapshot
        .relations
        .iter()
        .filter(|(schema, _)| !is_system(schema))
        .flat_map(|(_, relations)| relations.values());
    for relation in relations {
        match relation.kind {
            RelationKind::Table | RelationKind::View | RelationKind::MaterializedView | RelationKind::Foreign => {
                rights.table(scope, relation, &probe, masked.as_ref());
            }
            RelationKind::Sequence => rights.sequence(scope, relation, snapshot),
            RelationKind::Composite | RelationKind::Index | RelationKind::Toast => {}
        }
    }
    for view in &around.views {
        let view = Object::Table {
            schema: mask::SCHEMA.to_owned(),
            name: view.clone(),
        };
        rights.add(view, Privilege::Select);
    }
    if scope.limits.read_only.is_some() {
        // The server's read-only transactions are a setting of the session; a right that is not there is not.
        rights.0.retain(|right| right.privilege == Privilege::Select);
    }
    for routine in around.routines.iter().filter(|routine| !is_system(&routine.schema)) {
        let named = |rules: &[Rule]| {
            rules
                .iter()
                .flat_map(|rule| &rule.functions)
                .any(|pattern| pattern.covers(&routine.schema, &routine.name))
        };
        if named(&scope.can) && named(&scope.ceiling) {
            rights.add(Object::Routine(routine.clone()), Privilege::Execute);
        }
    }
    if !around.views.is_empty() {
        rights.add(Object::Schema(mask::SCHEMA.to_owned()), Privilege::Usage);
    }
    for schema in around.schemas.iter().filter(|schema| !is_system(schema)) {
        // Also while it is empty: the first table of a schema is found through it as soon as it is there.
        if may_hold(scope, schema) {
            rights.add(Object::Schema(schema.clone()), Privilege::Usage);
        }
    }
    rights.0
}

/// Whether a schema is the server's own, the broker's, or a session's.
pub fn is_system(schema: &str) -> bool {
    matches!(schema, "information_schema" | mask::SCHEMA) || schema.starts_with("pg_")
}

/// Whether the rules of both sides could cover something in `schema`.
fn may_hold(scope: &Scope, schema: &str) -> bool {
    if schema.contains(['.', '*']) {
        return false;
    }
    let Ok(all) = Pattern::new(&format!("{schema}.*"), '.') else {
        return false;
    };
    let reaches = |rules: &[Rule]| {
        rules
            .iter()
            .flat_map(|rule| rule.tables.iter().chain(&rule.functions))
            .any(|pattern| cover::overlap(&pattern.pattern, &all))
    };
    reaches(&scope.can) && reaches(&scope.ceiling)
}

/// How far rules reach into a relation under a class.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Nothing,
    Columns(BTreeSet<String>),
    All,
}

fn reach(rules: &[Rule], class: Class, relation: &Relation) -> Reach {
    let mut columns = None;
    for rule in rules {
        let fits = rule.classes.contains(&class)
            && rule
                .tables
                .iter()
                .any(|table| table.covers(&relation.schema, &relation.name));
        match (fits, &rule.columns) {
            (false, _) => {}
            (true, None) => return Reach::All,
            (true, Some(listed)) => columns.get_or_insert_with(BTreeSet::new).extend(listed.iter().cloned()),
        }
    }
    columns.map_or(Reach::Nothing, Reach::Columns)
}

/// What both the scope and its ceiling reach.
fn both(scope: &Scope, class: Class, relation: &Relation) -> Reach {
    match (
        reach(&scope.can, class, relation),
        reach(&scope.ceiling, class, relation),
    ) {
        (Reach::Nothing, _) | (_, Reach::Nothing) => Reach::Nothing,
        (Reach::All, other) | (other, Reach::All) => other,
        (Reach::Columns(left), Reach::Columns(right)) => Reach::Columns(left.intersection(&right).cloned().collect()),
    }
}

fn never(scope: &Scope, relation: &Relation) -> bool {
    scope
        .never
        .iter()
        .any(|never| never.covers(&relation.schema, &relation.name))
}

/// Whether rows can be put into it.
fn takes_rows(scope: &Scope, relation: &Relation) -> bool {
    !never(scope, relation)
        && [Class::Insert, Class::CopyIn]
            .iter()
            .any(|class| both(scope, *class, relation) != Reach::Nothing)
}

struct Rights(BTreeSet<Right>);

impl Rights {
    fn add(&mut self, object: Object, privilege: Privilege) {
        self.0.insert(Right { object, privilege });
    }

    fn table(&mut self, scope: &Scope, relation: &Relation, probe: &Probe<'_>, masked: Option<&Masked<'_>>) {
        if never(scope, relation) {
            return;
        }
        let table = || Object::Table {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
        };
        for (privilege, classes) in [
            (Privilege::Select, [Class::Select, Class::CopyOut]),
            (Privilege::Insert, [Class::Insert, Class::CopyIn]),
            (Privilege::Update, [Class::Update, Class::Update]),
        ] {
            for class in classes {
                let reach = both(scope, class, relation);
                let columns = relation.columns.iter().map(String::as_str);
                let within: Vec<&str> = match &reach {
                    Reach::Nothing => continue,
                    Reach::All => columns.collect(),
                    Reach::Columns(listed) => columns.filter(|name| listed.contains(*name)).collect(),
                };
                // Masked columns are read through the view that stands for the table, and nowhere else.
                let all = within.len();
                let within = match masked.filter(|_| privilege == Privilege::Select) {
                    Some(masked) => masked.plain(relation, within),
                    None => within,
                };
                let Some(harmless) = probe.harmless(class, relation, &within) else {
                    continue;
                };
                if reach == Reach::All && harmless.len() == all {
                    self.add(table(), privilege);
                    continue;
                }
                for name in harmless {
                    let column = Object::Column {
                        schema: relation.schema.clone(),
                        table: relation.name.clone(),
                        name: name.to_owned(),
                    };
                    self.add(column, privilege);
                }
            }
        }
        // DELETE reads no column by itself: a rule with columns covers it, and the columns it asks for are SELECT's.
        for (class, privilege) in [
            (Class::Delete, Privilege::Delete),
            (Class::Truncate, Privilege::Truncate),
        ] {
            let reach = both(scope, class, relation);
            let covered = reach == Reach::All || (class == Class::Delete && reach != Reach::Nothing);
            if covered && probe.harmless(class, relation, &[]).is_some() {
                self.add(table(), privilege);
            }
        }
    }

    fn sequence(&mut self, scope: &Scope, relation: &Relation, snapshot: &Snapshot) {
        if never(scope, relation) {
            return;
        }
        let sequence = || Object::Sequence {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
        };
        let feeds = match &relation.owner_table {
            Some((schema, name)) => snapshot
                .relation(schema, name)
                .is_some_and(|table| takes_rows(scope, table)),
            // Nobody's: it counts by its own name.
            None => takes_rows(scope, relation),
        };
        if feeds {
            self.add(sequence(), Privilege::Usage);
        }
        for (class, privilege) in [(Class::Select, Privilege::Select), (Class::Update, Privilege::Update)] {
            if both(scope, class, relation) == Reach::All {
                self.add(sequence(), privilege);
            }
        }
    }
}

/// GRANT statements that give `rights` to `role`.
pub fn grants<'r>(rights: impl IntoIterator<Item = &'r Right>, role: &str) -> Vec<String> {
    statements(rights, "GRANT", "TO", role)
}

/// REVOKE statements that take `rights` from `role`.
pub fn revokes<'r>(rights: impl IntoIterator<Item = &'r Right>, role: &str) -> Vec<String> {
    statements(rights, "REVOKE", "FROM", role)
}

/// One statement per object and, where columns are named, per privilege.
fn statements<'r>(
    rights: impl IntoIterator<Item = &'r Right>,
    verb: &str,
    preposition: &str,
    role: &str,
) -> Vec<String> {
    let mut by_object: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut columns: BTreeMap<(String, Privilege), Vec<String>> = BTreeMap::new();
    for Right { object, privilege } in rights {
        let target = match object {
            Object::Schema(name) => format!("SCHEMA {}", identifier(name)),
            Object::Table { schema, name } => format!("TABLE {}", qualified(schema, name)),
            Object::Sequence { schema, name } => format!("SEQUENCE {}", qualified(schema, name)),
            Object::Routine(routine) => format!(
                "ROUTINE {}({})",
                qualified(&routine.schema, &routine.name),
                routine.arguments
            ),
            Object::Column { schema, table, name } => {
                let target = format!("TABLE {}", qualified(schema, table));
                columns.entry((target, *privilege)).or_default().push(identifier(name));
                continue;
            }
        };
        by_object.entry(target).or_default().push(privilege.to_string());
    }
    for ((target, privilege), names) in columns {
        let part = format!("{privilege} ({})", names.join(", "));
        by_object.entry(target).or_default().push(part);
    }
    let role = identifier(role);
    by_object
        .into_iter()
        .map(|(target, what)| format!("{verb} {} ON {target} {preposition} {role}", what.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests;
