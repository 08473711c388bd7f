//! Functions, triggers, policies and extensions: what a rule has to name under `objects:`. A function's body in quotes is
//! not read; what a standard body (`BEGIN ATOMIC`, `RETURN`) reads and writes counts as the statement's own.

use std::borrow::Cow;

use super::Walk;
use super::names::{option, string, strings};
use super::scope::{Column, Item, Output};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, Node};
use crate::sql::{Class, EVERYTHING, Kind, Relation};

/// Languages whose functions can do no more than their caller or owner.
const LANGUAGES: &[&str] = &["plpgsql", "sql"];

impl<'a> Walk<'a> {
    /// A comment changes nothing that names resolve to.
    pub(super) fn changes_unless_comment(&mut self, class: Class) {
        if class == Class::Comment {
            self.changes();
        } else {
            self.changes_schema();
        }
    }

    /// A statement that defines, changes or removes an object: touches it and returns where it is.
    pub(super) fn touch_new(&mut self, class: Class, kind: Kind, names: &[Node]) -> Option<(String, String)> {
        self.class = class;
        self.changes_schema();
        let (schema, name) = self.pair(names)?;
        let schema = self.landing(schema)?;
        self.touch_object(class, kind, &schema, name);
        Some((schema, name.to_owned()))
    }

    /// The same for one that should exist: without a schema it can be any that the search path reaches, and all count.
    pub(super) fn touch_existing(&mut self, class: Class, kind: Kind, names: &[Node]) {
        self.class = class;
        self.changes_unless_comment(class);
        let Some((schema, name)) = self.pair(names) else {
            return;
        };
        let found: Vec<String> = match (schema, kind) {
            (Some(schema), _) => vec![schema.to_owned()],
            (None, Kind::Function | Kind::DefinerFunction) => self
                .snapshot
                .resolve_function(name)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            // The snapshot does not tell where the other kinds live. The server ships no statistics of its own.
            (None, _) => {
                let mut path = self.snapshot.search_path.clone();
                path.retain(|schema| kind != Kind::Statistics || schema != "pg_catalog");
                path
            }
        };
        let found = if found.is_empty() {
            self.landing(None).into_iter().collect()
        } else {
            found
        };
        for schema in found {
            self.touch_object(class, kind, &schema, name);
            if class == Class::Alter && matches!(kind, Kind::Function | Kind::DefinerFunction) {
                self.replaces_function(&schema, name);
                self.function_appears(&schema, name);
            }
        }
    }

    pub(super) fn create_function(&mut self, create: &nodes::CreateFunctionStmt) {
        let nodes::CreateFunctionStmt {
            is_procedure: _,
            replace,
            funcname,
            parameters,
            return_type,
            options,
            sql_body,
        } = create;
        let kind = self.function_options(options);
        let Some((schema, name)) = self.touch_new(Class::Create, kind, funcname) else {
            return;
        };
        let exists = self
            .snapshot
            .functions
            .get(&name)
            .is_some_and(|holders| holders.contains(&schema));
        if *replace && exists {
            self.touch_object(Class::Alter, kind, &schema, &name);
            self.replaces_function(&schema, &name);
        }
        self.function_appears(&schema, &name);
        if let Some(result) = return_type {
            self.routine_type(result);
        }
        let mut arguments = Item::computed(&name, &Output::default());
        let mut rows = Vec::new();
        for node in parameters {
            let Some(NodeEnum::FunctionParameter(parameter)) = &node.node else {
                self.opaque("a parameter of an unknown kind");
                continue;
            };
            let nodes::FunctionParameter {
                name,
                arg_type,
                mode: _,
                defexpr,
                location: _,
            } = &**parameter;
            if let Some(of_type) = arg_type {
                self.routine_type(of_type);
                rows.extend(self.row_argument(name, of_type));
            }
            self.maybe(defexpr.as_deref());
            arguments.columns.push(Column {
                name: Cow::Owned(name.clone()),
                base: None,
            });
        }
        if let Some(body) = sql_body {
            self.in_level(|walk| {
                walk.add_item(arguments);
                for row in rows {
                    walk.add_item(row);
                }
                walk.standard_body(body);
            });
            self.asks_anything();
        }
        self.class = Class::Create;
    }

    /// A parameter that is a row of a relation: `parameter.column` in the body is a part of what the caller gives.
    fn row_argument(&self, name: &str, of_type: &nodes::TypeName) -> Option<Item<'a>> {
        let relation = match strings(&of_type.names)?.as_slice() {
            [relation] => self.snapshot.resolve_relation(relation),
            [schema, relation] => self.snapshot.relation(schema, relation),
            _ => None,
        }?;
        let mut row = Item::computed(name, &Output::default());
        row.columns = relation
            .columns
            .iter()
            .map(|column| Column {
                name: Cow::Borrowed(column.as_str()),
                base: None,
            })
            .collect();
        (of_type.array_bounds.is_empty() && !name.is_empty()).then_some(row)
    }

    /// The kind that the options make of a function.
    fn function_options(&mut self, options: &[Node]) -> Kind {
        let mut kind = Kind::Function;
        for node in options {
            match option(node) {
                Some(("security", Some(definer))) if is_false(definer) => {}
                Some(("security", _)) => kind = Kind::DefinerFunction,
                Some(("language", Some(language))) => {
                    if !string(language).is_some_and(|language| LANGUAGES.contains(&language)) {
                        self.opaque("a function in a language other than SQL and PL/pgSQL");
                    }
                }
                Some(("set", Some(setting))) => self.function_setting(setting),
                Some(("as" | "cost" | "parallel" | "rows" | "strict" | "volatility" | "window", _)) => {}
                Some((name, _)) => self.opaque(format!("function option {name:?}")),
                None => self.opaque("a function option of an unknown kind"),
            }
        }
        kind
    }

    /// SET of a function: a search path of its own is the cure for a function that others call; the rest is judged like SET.
    fn function_setting(&mut self, node: &Node) {
        let Some(NodeEnum::VariableSetStmt(set)) = &node.node else {
            self.opaque("a function option of an unknown kind");
            return;
        };
        if !set.name.eq_ignore_ascii_case("search_path") {
            self.set(set);
        }
    }

    /// `BEGIN ATOMIC … END` and `RETURN …`.
    fn standard_body(&mut self, node: &Node) {
        match &node.node {
            None => {}
            Some(NodeEnum::List(nodes::List { items })) => {
                for item in items {
                    self.standard_body(item);
                }
            }
            Some(NodeEnum::ReturnStmt(result)) => {
                let nodes::ReturnStmt { returnval } = &**result;
                self.maybe(returnval.as_deref());
            }
            Some(
                NodeEnum::SelectStmt(_)
                | NodeEnum::InsertStmt(_)
                | NodeEnum::UpdateStmt(_)
                | NodeEnum::DeleteStmt(_)
                | NodeEnum::MergeStmt(_),
            ) => {
                self.query(node);
            }
            Some(_) => self.opaque("a statement of an unknown kind in a function's body"),
        }
    }

    /// A parameter's or a result's type: SETOF and `table.column%TYPE` may stand here.
    fn routine_type(&mut self, name: &nodes::TypeName) {
        if name.pct_type {
            if let [table @ .., _column] = name.names.as_slice()
                && let Some(relation) = self.listed(table)
            {
                // It tells a type, no value.
                self.touch(Class::Select, &relation.schema, &relation.name, []);
            }
            return;
        }
        let plain = nodes::TypeName {
            setof: false,
            ..name.clone()
        };
        self.type_name(Some(&plain));
    }

    pub(super) fn alter_function(&mut self, alter: &nodes::AlterFunctionStmt) {
        let nodes::AlterFunctionStmt {
            objtype: _,
            func,
            actions,
        } = alter;
        let kind = self.function_options(actions);
        match func {
            Some(function) => self.touch_existing(Class::Alter, kind, &function.objname),
            None => self.opaque("ALTER FUNCTION without its name"),
        }
    }

    pub(super) fn create_trigger(&mut self, create: &nodes::CreateTrigStmt) {
        let nodes::CreateTrigStmt {
            replace: _,
            isconstraint: _,
            trigname: _,
            relation,
            funcname,
            args: _,
            row: _,
            timing: _,
            events: _,
            columns: _,
            when_clause,
            transition_rels: _,
            deferrable: _,
            initdeferred: _,
            constrrel,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        if let Some(relation) = self.table(relation.as_ref()) {
            self.touch_object(Class::Create, Kind::Trigger, &relation.schema, &relation.name);
            self.in_level(|walk| {
                for row in ["new", "old"] {
                    walk.add_item(Item::relation(relation, Some(row)));
                }
                walk.maybe(when_clause.as_deref());
            });
        }
        if let Some(referenced) = constrrel {
            self.touch_target(Class::Alter, Some(referenced), false);
        }
        // Whoever writes to the table runs it.
        self.function(funcname);
    }

    pub(super) fn create_policy(&mut self, create: &nodes::CreatePolicyStmt) {
        let nodes::CreatePolicyStmt {
            policy_name: _,
            table,
            cmd_name: _,
            permissive: _,
            roles: _,
            qual,
            with_check,
        } = create;
        self.policy(Class::Create, table.as_ref(), [qual.as_deref(), with_check.as_deref()]);
    }

    pub(super) fn alter_policy(&mut self, alter: &nodes::AlterPolicyStmt) {
        let nodes::AlterPolicyStmt {
            policy_name: _,
            table,
            roles: _,
            qual,
            with_check,
        } = alter;
        self.policy(Class::Alter, table.as_ref(), [qual.as_deref(), with_check.as_deref()]);
    }

    fn policy(&mut self, class: Class, table: Option<&nodes::RangeVar>, conditions: [Option<&Node>; 2]) {
        self.class = class;
        self.changes_schema();
        let Some(relation) = self.table(table) else { return };
        self.touch_object(class, Kind::Policy, &relation.schema, &relation.name);
        self.in_level(|walk| {
            walk.add_item(Item::relation(relation, None));
            for condition in conditions {
                walk.maybe(condition);
            }
        });
    }

    pub(super) fn create_extension(&mut self, create: &nodes::CreateExtensionStmt) {
        let nodes::CreateExtensionStmt {
            extname,
            if_not_exists: _,
            options,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        if brings_language(extname) {
            self.opaque("a language or a transform, which no rule can allow");
        }
        let mut schema = None;
        for node in options {
            match option(node) {
                Some(("schema", Some(name))) => schema = string(name),
                Some(("new_version", _)) => {}
                _ => self.opaque("CREATE EXTENSION … CASCADE"),
            }
        }
        if let Some(schema) = self.landing(schema) {
            self.touch_object(Class::Create, Kind::Extension, &schema, extname);
        }
    }

    pub(super) fn alter_extension(&mut self, alter: &nodes::AlterExtensionStmt) {
        let nodes::AlterExtensionStmt { extname, options } = alter;
        self.class = Class::Alter;
        self.changes_schema();
        for node in options {
            if !matches!(option(node), Some(("new_version", _))) {
                self.opaque("ALTER EXTENSION of an unknown kind");
            }
        }
        self.touch_object(Class::Alter, Kind::Extension, ANYWHERE, extname);
    }

    pub(super) fn create_publication(&mut self, create: &nodes::CreatePublicationStmt) {
        let nodes::CreatePublicationStmt {
            pubname: _,
            options: _,
            pubobjects,
            for_all_tables,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        if *for_all_tables || pubobjects.is_empty() {
            // One without tables can be given any later.
            self.touch_object(Class::Create, Kind::Publication, ANYWHERE, EVERYTHING);
        }
        for node in pubobjects {
            let Some(NodeEnum::PublicationObjSpec(object)) = &node.node else {
                self.opaque("a publication of an unknown kind");
                continue;
            };
            let nodes::PublicationObjSpec {
                pubobjtype: _,
                name,
                pubtable,
                location: _,
            } = &**object;
            match pubtable.as_deref() {
                Some(nodes::PublicationTable {
                    relation,
                    where_clause,
                    columns: _,
                }) => self.publishes(relation.as_ref(), where_clause.as_deref()),
                None if name.is_empty() => self.opaque("a publication of the current schema"),
                None => self.touch_object(Class::Create, Kind::Publication, name, EVERYTHING),
            }
        }
    }

    /// Its rows leave the database.
    fn publishes(&mut self, relation: Option<&nodes::RangeVar>, condition: Option<&Node>) {
        let Some(relation) = self.table(relation) else { return };
        self.touch_object(Class::Create, Kind::Publication, &relation.schema, &relation.name);
        self.touch_relation(Class::Select, relation);
        self.in_level(|walk| {
            walk.add_item(Item::relation(relation, None));
            walk.maybe(condition);
        });
    }

    /// A sequence that no column owns is a kind of its own; every other relation is covered by `tables` alone.
    pub(super) fn kind_of(class: Class, relation: &Relation) -> Kind {
        let defines = matches!(class, Class::Alter | Class::Drop | Class::Comment);
        if defines && relation.kind == crate::sql::RelationKind::Sequence && relation.owner_table.is_none() {
            Kind::Sequence
        } else {
            Kind::Relation
        }
    }
}

/// In place of a schema that the snapshot does not tell: only a pattern for all schemas covers it.
pub(super) const ANYWHERE: &str = "*";

fn is_false(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::Boolean(nodes::Boolean { boolval: false })))
}

/// The names of a list or of a type, as DROP, COMMENT and ALTER write what they work on.
pub(super) fn object_names(node: &Node) -> Option<&[Node]> {
    match &node.node {
        Some(NodeEnum::List(nodes::List { items })) => Some(items),
        Some(NodeEnum::TypeName(name)) => Some(&name.names),
        Some(NodeEnum::ObjectWithArgs(object)) => Some(&object.objname),
        _ => None,
    }
}

/// The parts of `[schema.]table.name`, as triggers, policies and constraints are written.
pub(super) fn on_table(names: &[Node]) -> Option<&[Node]> {
    match names {
        [table @ .., _name] if !table.is_empty() && strings(names).is_some() => Some(table),
        _ => None,
    }
}

/// Extensions that are a procedural language or a transform for one. `CREATE LANGUAGE plperl` is in the grammar what
/// `CREATE EXTENSION plperl` is. PL/pgSQL is everywhere already, and tools say so again.
fn brings_language(extension: &str) -> bool {
    const LANGUAGES: &[&str] = &[
        "plperl", "plpython", "pltcl", "plv8", "plcoffee", "pljava", "plrust", "pllua", "plsh",
    ];
    matches!(extension, "plls" | "plr")
        || LANGUAGES.iter().any(|language| extension.starts_with(language))
        || extension.contains("_pl")
}
