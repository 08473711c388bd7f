//! What UPDATE and DELETE set off in rows that they do not name: a row that moves to another partition is deleted and
//! inserted, and foreign keys change or delete the rows that point to it.

use std::collections::BTreeSet;

use super::Walk;
use super::attached::{Written, all, everything};
use crate::sql::{Class, Relation};

impl<'a> Walk<'a> {
    /// Functions that run with their owner's rights on account of an UPDATE or a DELETE of `relation`, elsewhere.
    pub(super) fn sets_off(&mut self, relation: &'a Relation, class: Class, written: &Written<'_>) {
        let columns = match written {
            Written::Updated(columns, _) => Some(*columns),
            _ => None,
        };
        if class == Class::Update {
            self.moves(relation, columns);
        }
        self.follows(relation, columns);
    }

    /// Rows whose partition key is set move.
    fn moves(&mut self, relation: &'a Relation, columns: Option<&[&str]>) {
        let family = self.family(relation);
        let is_set = |key: &String| columns.is_none_or(|columns| columns.contains(&key.as_str()));
        if !family.iter().any(|held| held.attached.keys.iter().any(is_set)) {
            return;
        }
        for held in family {
            self.runs(held, &["insert", "delete"]);
        }
    }

    /// ON DELETE and ON UPDATE, from table to table.
    fn follows(&mut self, relation: &'a Relation, columns: Option<&[&str]>) {
        let mut waiting = vec![relation];
        let mut seen = BTreeSet::new();
        while let Some(parent) = waiting.pop() {
            if !self.pays(everything(self.snapshot)) {
                return;
            }
            let columns = columns.filter(|_| parent.oid == relation.oid);
            let mut kin = self.family(parent);
            kin.extend(self.snapshot.ancestors(parent));
            for other in all(self.snapshot) {
                let points = other.attached.references.iter().any(|to| {
                    to.cascades
                        && columns
                            .is_none_or(|columns| to.columns.iter().any(|column| columns.contains(&column.as_str())))
                        && kin.iter().any(|held| held.schema == to.schema && held.name == to.name)
                });
                if points && seen.insert(other.oid) {
                    for held in self.family(other) {
                        self.runs(held, &["update", "delete"]);
                        for call in held.attached.calls.iter().chain(&held.attached.values) {
                            self.calls(&call.schema, &call.name);
                        }
                    }
                    waiting.push(other);
                }
            }
        }
    }

    /// These tables, and all whose foreign keys point to one of them, from table to table: what TRUNCATE … CASCADE empties.
    pub(super) fn with_pointing(&mut self, mut emptied: Vec<&'a Relation>) -> Vec<&'a Relation> {
        let mut at = 0;
        while let Some(parent) = emptied.get(at).copied() {
            at += 1;
            if !self.pays(everything(self.snapshot)) {
                break;
            }
            let mut kin = self.family(parent);
            kin.extend(self.snapshot.ancestors(parent));
            for other in all(self.snapshot) {
                let points = other
                    .attached
                    .references
                    .iter()
                    .any(|to| kin.iter().any(|held| held.schema == to.schema && held.name == to.name));
                if points && !emptied.iter().any(|known| known.oid == other.oid) {
                    emptied.push(other);
                }
            }
        }
        emptied
    }

    fn runs(&mut self, held: &Relation, events: &[&str]) {
        for trigger in &held.attached.triggers {
            if trigger.events.iter().any(|event| events.contains(&event.as_str())) {
                self.calls(&trigger.schema, &trigger.name);
            }
        }
    }
}
