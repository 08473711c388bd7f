//! Code that comes with the values of user-defined types. PostgreSQL calls the functions of casts, operator classes and
//! domains wherever it compares, hashes, sorts, converts or stores such a value, and no statement names them. So a statement
//! that reads or writes a column of such a type, names the type, or calls a function that takes or gives it, counts as
//! calling them all.

use super::Walk;
use crate::sql::snapshot::{Carrier, Overloads, Reads};
use crate::sql::{Class, Columns, FunctionName, Implied, Kind, Reached, Relation, Touch};

impl<'a> Walk<'a> {
    /// What a type, a function or an operator of this name brings along.
    pub(super) fn carried(&mut self, carriers: &'a [Carrier], schema: &str, name: &str) {
        if !self.pays(carriers.len()) {
            return;
        }
        let fitting = carriers
            .iter()
            .filter(|carrier| carrier.name == name && carrier.schema == schema);
        for call in fitting.flat_map(|carrier| &carrier.calls) {
            self.brings(call);
        }
    }

    /// A function or operator that may be meant beside PostgreSQL's own of that name.
    pub(super) fn meant(&mut self, beside: bool, schema: &str, name: &str) {
        if beside && self.is_listed(&self.snapshot.overloads.shy, schema, name) {
            self.shy.insert(FunctionName {
                schema: schema.to_owned(),
                name: name.to_owned(),
            });
        } else {
            // What it returns may be of any type.
            self.odd |= schema != "pg_catalog";
            self.calls(schema, name);
        }
    }

    /// True when the list holds that name; false as well when looking costs too much.
    pub(super) fn is_listed(&mut self, list: &'a [FunctionName], schema: &str, name: &str) -> bool {
        self.pays(list.len()) && list.iter().any(|known| known.name == name && known.schema == schema)
    }

    /// A type that the statement names.
    pub(super) fn named_type(&mut self, schema: &str, name: &str) {
        let types = &self.snapshot.overloads.types;
        self.odd |= schema != "pg_catalog" || !types.iter().any(|(_, known)| known == name);
    }

    /// Shy overloads are called after all when a value may be of a type that they are made for.
    pub(super) fn overloads(&mut self, touches: &[Touch]) {
        if self.shy.is_empty() {
            return;
        }
        let Overloads { givers, .. } = &self.snapshot.overloads;
        let odd = self.odd
            || self
                .functions
                .iter()
                .any(|function| function.schema == "pg_catalog" && givers.contains(&function.name))
            || touches.iter().any(|touch| self.is_odd(touch));
        if odd {
            for FunctionName { schema, name } in std::mem::take(&mut self.shy) {
                self.calls(&schema, &name);
            }
        }
    }

    fn is_odd(&self, touch: &Touch) -> bool {
        let Some(relation) = self.snapshot.relation(&touch.schema, &touch.name) else {
            return true;
        };
        let system = matches!(relation.schema.as_str(), "pg_catalog" | "information_schema");
        let odd = &relation.attached.odd;
        match &touch.columns {
            // A whole row is a value of the relation's own type.
            Columns::Whole => true,
            Columns::Named(columns) => system || columns.iter().any(|column| odd.contains(column)),
        }
    }

    /// What the values of the touched columns bring along.
    pub(super) fn stored_values(&mut self, touches: &[Touch]) {
        self.overloads(touches);
        if self.snapshot.carriers.is_empty() {
            return;
        }
        for touch in touches {
            let Some(relation) = self.snapshot.relation(&touch.schema, &touch.name) else {
                continue;
            };
            let columns = match (touch.class, &touch.columns) {
                // Nothing is computed of the rows themselves.
                (Class::Comment | Class::Drop | Class::Grant | Class::Lock | Class::Truncate, _) => continue,
                (Class::Select | Class::CopyOut | Class::Delete, Columns::Named(columns)) => Some(columns.as_slice()),
                // Rows are stored whole: columns that are not given get their defaults, indexes look at them all.
                _ => None,
            };
            // What an object of another kind is made on is named like the relation.
            if touch.kind != Kind::Relation && !matches!(touch.class, Class::Create | Class::Alter | Class::Maintain) {
                continue;
            }
            for held in self.family(relation) {
                if !self.pays(1 + held.attached.values.len()) {
                    return;
                }
                for call in of_columns(held, columns) {
                    self.brings(&call);
                }
            }
        }
        if !matches!(self.class, Class::Transaction | Class::Set | Class::Show) {
            for call in &self.snapshot.carriers.everywhere {
                self.brings(call);
            }
        }
    }

    /// What the values that a view reads bring along.
    pub(super) fn values_behind(&mut self, class: Class, read: &Reads, views: &[(String, String)]) -> Vec<Implied> {
        if self.snapshot.carriers.is_empty() {
            return Vec::new();
        }
        let Some(relation) = self.snapshot.relation(&read.schema, &read.name) else {
            return Vec::new();
        };
        let columns = match class {
            Class::Select | Class::CopyOut => read.columns.as_deref(),
            _ => None,
        };
        self.family(relation)
            .into_iter()
            .flat_map(|held| of_columns(held, columns))
            .map(|call| Implied {
                class,
                reached: Reached::Call(call),
                views: views.to_vec(),
                leaks: false,
            })
            .collect()
    }

    fn brings(&mut self, call: &FunctionName) {
        self.changes();
        self.functions.insert(call.clone());
    }
}

/// What comes with these columns, or with any.
fn of_columns<'r>(relation: &'r Relation, columns: Option<&'r [String]>) -> impl Iterator<Item = FunctionName> + 'r {
    let reached = move |of: &Option<String>| match (of, columns) {
        (Some(of), Some(columns)) => columns.contains(of),
        _ => true,
    };
    relation
        .attached
        .values
        .iter()
        .filter(move |call| reached(&call.column))
        .map(|call| FunctionName {
            schema: call.schema.clone(),
            name: call.name.clone(),
        })
}
