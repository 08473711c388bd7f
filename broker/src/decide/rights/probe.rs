//! What a right would reach without naming it. PostgreSQL runs a view, a trigger, a default, a rule or a partition with
//! rights that are not the job's, so a right on such a relation could be wider than what the judge lets through. Where
//! something of that kind is in play, the judge is asked about the most harmless statement that uses the right; when
//! even that one is refused, the right is of no use to an honest job and is not given.

use std::collections::{HashMap, HashSet};

use crate::decide::judge;
use crate::decide::rewrite::Masked;
use crate::decide::sights;
use crate::policy::Scope;
use crate::sql::quote::{identifier, qualified};
use crate::sql::{self, Class, Relation, RelationKind, Snapshot};

/// By schema and name.
type Name<'s> = (&'s str, &'s str);

/// The relations of a schema on which a right may reach further than it says.
#[derive(Debug)]
pub(super) struct Probe<'s> {
    scope: &'s Scope,
    snapshot: &'s Snapshot,
    masked: Option<&'s Masked<'s>>,
    suspects: HashSet<Name<'s>>,
}

impl<'s> Probe<'s> {
    pub(super) fn new(scope: &'s Scope, snapshot: &'s Snapshot, masked: Option<&'s Masked<'s>>) -> Self {
        let mut up: HashMap<Name<'s>, Vec<Name<'s>>> = HashMap::new();
        let mut down: HashMap<Name<'s>, Vec<Name<'s>>> = HashMap::new();
        let mut sources: Vec<Name<'s>> = Vec::new();
        for relation in snapshot.relations.values().flat_map(|relations| relations.values()) {
            let name = (relation.schema.as_str(), relation.name.as_str());
            let attached = &relation.attached;
            let parents = relation
                .parents
                .iter()
                .map(|(schema, name)| (schema.as_str(), name.as_str()));
            for parent in parents.clone() {
                down.entry(parent).or_default().push(name);
            }
            let pointed = attached
                .references
                .iter()
                .map(|to| (to.schema.as_str(), to.name.as_str()));
            up.entry(name).or_default().extend(parents.chain(pointed));
            let runs = !attached.reads.is_empty()
                || !attached.rules.is_empty()
                || !attached.triggers.is_empty()
                || !attached.calls.is_empty();
            if runs || super::never(scope, relation) {
                sources.push(name);
            }
        }
        let mut suspects: HashSet<Name<'s>> = HashSet::new();
        for edges in [&up, &down] {
            let mut seen: HashSet<Name<'s>> = HashSet::new();
            let mut waiting = sources.clone();
            while let Some(name) = waiting.pop() {
                if seen.insert(name) {
                    waiting.extend(edges.get(&name).into_iter().flatten());
                }
            }
            suspects.extend(seen);
        }
        Self {
            scope,
            snapshot,
            masked,
            suspects,
        }
    }

    /// Those of `columns` on which a right for statements of `class` is no wider than the scope; `None` when the right as
    /// a whole is wider.
    pub(super) fn harmless<'c>(&self, class: Class, relation: &Relation, columns: &[&'c str]) -> Option<Vec<&'c str>> {
        let columns = &sights::still_covered(class, relation, columns, (self.scope, self.snapshot))?;
        let name = (relation.schema.as_str(), relation.name.as_str());
        if class == Class::CopyIn && relation.kind == RelationKind::View {
            // COPY takes no view, so the judge has nothing to say about what is behind it.
            return None;
        }
        if !self.suspects.contains(&name) || self.passes(class, relation, columns) {
            return Some(columns.clone());
        }
        // Triggers may watch single columns.
        let each = columns
            .iter()
            .copied()
            .filter(|column| class == Class::Update && self.passes(class, relation, &[column]));
        Some(each.collect::<Vec<_>>()).filter(|left| !left.is_empty())
    }

    fn passes(&self, class: Class, relation: &Relation, columns: &[&str]) -> bool {
        let table = qualified(&relation.schema, &relation.name);
        let quoted: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
        let list = quoted.join(", ");
        let text = match class {
            Class::Select => format!("SELECT FROM {table}"),
            Class::CopyOut => format!("COPY (SELECT FROM {table}) TO STDOUT"),
            Class::Insert if columns.is_empty() => format!("INSERT INTO {table} DEFAULT VALUES"),
            Class::Insert => format!(
                "INSERT INTO {table} ({list}) VALUES ({})",
                vec!["NULL"; columns.len()].join(", ")
            ),
            Class::CopyIn if columns.is_empty() => format!("COPY {table} FROM STDIN"),
            Class::CopyIn => format!("COPY {table} ({list}) FROM STDIN"),
            Class::Update => format!("UPDATE {table} SET {}", quoted.join(" = NULL, ") + " = NULL"),
            Class::Delete => format!("DELETE FROM {table}"),
            Class::Truncate => format!("TRUNCATE {table}"),
            _ => return false,
        };
        sql::read(&text, self.snapshot).is_ok_and(|read| {
            read.iter()
                .all(|statement| judge::reaches_no_further(statement, self.scope, self.masked))
        })
    }
}
