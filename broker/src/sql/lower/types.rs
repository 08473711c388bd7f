//! Types, domains, aggregates, operators, casts, collations, statistics; and what ALTER, DROP and COMMENT do with
//! objects that are not relations.

use std::borrow::Cow;

use super::Walk;
use super::create::Host;
use super::define::{ANYWHERE, object_names, on_table};
use super::names::{option, string};
use super::scope::{Column, Item, Output};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, Node, ObjectType};
use crate::sql::{Class, EVERYTHING, Kind};

/// The kind that a rule names for one of the grammar's; `None` for relations, parts of them, and what no rule can name.
pub(super) fn kind_of(object: ObjectType) -> Option<Kind> {
    Some(match object {
        ObjectType::ObjectAggregate
        | ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine => Kind::Function,
        ObjectType::ObjectCollation => Kind::Collation,
        ObjectType::ObjectDomain => Kind::Domain,
        ObjectType::ObjectOpclass | ObjectType::ObjectOperator | ObjectType::ObjectOpfamily => Kind::Operator,
        ObjectType::ObjectStatisticExt => Kind::Statistics,
        ObjectType::ObjectTsconfiguration => Kind::TextSearch,
        ObjectType::ObjectType => Kind::Type,
        _ => return None,
    })
}

impl Walk<'_> {
    pub(super) fn create_composite(&mut self, create: &nodes::CompositeTypeStmt) {
        let nodes::CompositeTypeStmt { typevar, coldeflist } = create;
        self.class = Class::Create;
        self.changes_schema();
        let Some(range) = self.range(typevar.as_ref()) else {
            return;
        };
        if let Some(schema) = self.landing(range.schema) {
            self.touch_object(Class::Create, Kind::Type, &schema, range.name);
        }
        for node in coldeflist {
            match &node.node {
                Some(NodeEnum::ColumnDef(column)) => self.column_definition(column, &Host { schema: "", name: "" }),
                _ => self.opaque("an attribute of an unknown kind"),
            }
        }
    }

    pub(super) fn create_range(&mut self, create: &nodes::CreateRangeStmt) {
        let nodes::CreateRangeStmt { type_name, params } = create;
        self.touch_new(Class::Create, Kind::Type, type_name);
        for node in params {
            match option(node) {
                Some(("subtype", Some(of))) => self.type_of(of),
                Some(("collation" | "subtype_opclass", _)) => {}
                Some(("subtype_diff", Some(name))) => self.called(name),
                _ => self.opaque("a range type with functions of its own"),
            }
        }
    }

    pub(super) fn create_domain(&mut self, create: &nodes::CreateDomainStmt) {
        let nodes::CreateDomainStmt {
            domainname,
            type_name,
            coll_clause,
            constraints,
        } = create;
        self.touch_new(Class::Create, Kind::Domain, domainname);
        self.type_name(type_name.as_ref());
        if let Some(collate) = coll_clause {
            self.collate(collate);
        }
        self.domain_constraints(constraints.iter());
    }

    pub(super) fn alter_domain(&mut self, alter: &nodes::AlterDomainStmt) {
        let nodes::AlterDomainStmt {
            subtype,
            type_name,
            name: _,
            def,
            behavior: _,
            missing_ok: _,
        } = alter;
        let schema = self.touch_type(Class::Alter, Kind::Domain, type_name);
        let unproven = matches!(
            def.as_deref().map(|def| &def.node),
            Some(Some(NodeEnum::Constraint(constraint))) if constraint.skip_validation
        );
        // ADD, SET NOT NULL and VALIDATE; the others change what comes.
        if matches!(subtype.as_str(), "C" | "O" | "V")
            && !unproven
            && let (Some(schema), Some((_, name))) = (schema, self.pair(type_name))
        {
            self.tried.push((schema, name.to_owned()));
        }
        self.domain_constraints(def.as_deref().into_iter());
    }

    /// In a CHECK of a domain the value goes by the name `value`.
    fn domain_constraints<'n>(&mut self, constraints: impl Iterator<Item = &'n Node>) {
        let mut value = Item::computed("", &Output::default());
        value.columns.push(Column {
            name: Cow::Borrowed("value"),
            base: None,
        });
        self.in_level(|walk| {
            walk.add_item(value);
            for node in constraints {
                match &node.node {
                    Some(NodeEnum::Constraint(constraint)) => {
                        walk.constraint(constraint, &Host { schema: "", name: "" });
                    }
                    _ => walk.expression(node),
                }
            }
        });
    }

    /// CREATE AGGREGATE, OPERATOR, COLLATION, TEXT SEARCH CONFIGURATION. Their functions count as called.
    pub(super) fn define(&mut self, define: &nodes::DefineStmt) {
        let nodes::DefineStmt {
            kind,
            oldstyle: _,
            defnames,
            args: _,
            definition,
            if_not_exists: _,
            replace,
        } = define;
        let object = ObjectType::try_from(*kind).unwrap_or(ObjectType::Undefined);
        let kind = match object {
            ObjectType::ObjectAggregate
            | ObjectType::ObjectOperator
            | ObjectType::ObjectCollation
            | ObjectType::ObjectTsconfiguration => kind_of(object),
            _ => None,
        };
        self.class = Class::Create;
        self.changes_schema();
        let Some(kind) = kind else {
            self.opaque(format!("CREATE of {}", words_of(object)));
            return;
        };
        if let Some((schema, name)) = self.touch_new(Class::Create, kind, defnames) {
            if *replace {
                self.touch_object(Class::Alter, kind, &schema, &name);
            }
            if kind == Kind::Function {
                if *replace {
                    self.replaces_function(&schema, &name);
                }
                self.function_appears(&schema, &name);
            }
        }
        for node in definition {
            self.definition(object, node);
        }
    }

    fn definition(&mut self, object: ObjectType, node: &Node) {
        match (object, option(node)) {
            (
                ObjectType::ObjectAggregate,
                Some((
                    "combinefunc" | "deserialfunc" | "finalfunc" | "mfinalfunc" | "minvfunc" | "msfunc" | "serialfunc"
                    | "sfunc" | "sfunc1",
                    Some(name),
                )),
            )
            | (ObjectType::ObjectOperator, Some(("function" | "join" | "procedure" | "restrict", Some(name)))) => {
                self.called(name);
            }
            (ObjectType::ObjectAggregate, Some(("basetype" | "mstype" | "stype" | "stype1", Some(of))))
            | (ObjectType::ObjectOperator, Some(("leftarg" | "rightarg", Some(of)))) => self.type_of(of),
            (
                ObjectType::ObjectAggregate,
                Some((
                    "finalfunc_extra" | "finalfunc_modify" | "hypothetical" | "initcond" | "initcond1"
                    | "mfinalfunc_extra" | "mfinalfunc_modify" | "minitcond" | "msspace" | "parallel" | "sspace",
                    _,
                )),
            )
            | (ObjectType::ObjectOperator, Some(("commutator" | "hashes" | "merges" | "negator", _)))
            | (
                ObjectType::ObjectCollation,
                Some((
                    "deterministic" | "from" | "lc_collate" | "lc_ctype" | "locale" | "provider" | "rules" | "version",
                    _,
                ))
                | None,
            )
            | (ObjectType::ObjectTsconfiguration, Some(("copy" | "parser", _))) => {}
            (_, Some((name, _))) => self.opaque(format!("definition part {name:?}")),
            (_, None) => self.opaque("a definition of an unknown kind"),
        }
    }

    /// A function that a definition names, which the grammar gives as a type or as a list.
    fn called(&mut self, node: &Node) {
        match object_names(node) {
            Some(names) => self.function(names),
            None => self.opaque("a function of an unknown kind"),
        }
    }

    fn type_of(&mut self, node: &Node) {
        match &node.node {
            Some(NodeEnum::TypeName(name)) => {
                self.type_name(Some(name));
            }
            _ => self.opaque("a type of an unknown kind"),
        }
    }

    pub(super) fn create_cast(&mut self, create: &nodes::CreateCastStmt) {
        let nodes::CreateCastStmt {
            sourcetype,
            targettype,
            func,
            context: _,
            inout,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        let types = [self.type_name(sourcetype.as_ref()), self.type_name(targettype.as_ref())];
        if types.iter().all(Option::is_none) {
            // Between PostgreSQL's own types: every statement would be concerned.
            self.touch_object(Class::Create, Kind::Cast, "pg_catalog", EVERYTHING);
        }
        for (schema, name) in types.into_iter().flatten() {
            self.touch_object(Class::Create, Kind::Cast, &schema, &name);
        }
        match (func, inout) {
            (Some(function), _) => self.function(&function.objname),
            (None, true) => {}
            (None, false) => self.opaque("a cast WITHOUT FUNCTION"),
        }
    }

    pub(super) fn create_statistics(&mut self, create: &nodes::CreateStatsStmt) {
        let nodes::CreateStatsStmt {
            defnames,
            stat_types: _,
            exprs,
            relations,
            stxcomment: _,
            transformed: _,
            if_not_exists: _,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        if !defnames.is_empty() {
            self.touch_new(Class::Create, Kind::Statistics, defnames);
        }
        let [only] = relations.as_slice() else {
            self.opaque("statistics on more than one relation");
            return;
        };
        let Some(NodeEnum::RangeVar(range)) = &only.node else {
            self.opaque("statistics on a relation of an unknown kind");
            return;
        };
        let Some(relation) = self.table(Some(range)) else {
            return;
        };
        self.touch_object(Class::Create, Kind::Statistics, &relation.schema, &relation.name);
        self.in_level(|walk| {
            walk.add_item(Item::relation(relation, None));
            for node in exprs {
                match &node.node {
                    Some(NodeEnum::StatsElem(element)) => {
                        let nodes::StatsElem { name: _, expr } = &**element;
                        walk.maybe(expr.as_deref());
                    }
                    _ => walk.opaque("statistics of an unknown kind"),
                }
            }
        });
    }

    /// DROP, COMMENT, RENAME and SET SCHEMA of something that is no relation; false when it is one, or is not known.
    pub(super) fn object(&mut self, class: Class, object: ObjectType, node: &Node) -> bool {
        if let Some(kind) = kind_of(object) {
            match (kind, object_names(node)) {
                (Kind::Type | Kind::Domain, Some(names)) => {
                    self.touch_type(class, kind, names);
                }
                (_, Some(names)) => self.touch_existing(class, kind, names),
                (_, None) => self.opaque("an object without its name"),
            }
            return true;
        }
        match (object, object_names(node), string(node)) {
            (ObjectType::ObjectTrigger | ObjectType::ObjectPolicy, Some(names), _) => {
                let kind = if object == ObjectType::ObjectTrigger {
                    Kind::Trigger
                } else {
                    Kind::Policy
                };
                match on_table(names).map(|table| self.listed(table)) {
                    Some(Some(relation)) => self.touch_object(class, kind, &relation.schema, &relation.name),
                    Some(None) => {}
                    None => self.opaque("an object without its table"),
                }
            }
            (ObjectType::ObjectTabconstraint, Some(names), _) => {
                if let Some(Some(relation)) = on_table(names).map(|table| self.listed(table)) {
                    self.touch_relation(class, relation);
                }
            }
            (ObjectType::ObjectExtension, _, Some(name)) => {
                // A comment does no harm wherever the extension lives.
                let schema = match class {
                    Class::Comment => self.landing(None),
                    _ => Some(ANYWHERE.to_owned()),
                };
                if let Some(schema) = schema {
                    self.touch_object(class, Kind::Extension, &schema, name);
                }
            }
            (ObjectType::ObjectPublication, _, Some(_)) => {
                self.touch_object(class, Kind::Publication, ANYWHERE, EVERYTHING);
            }
            (ObjectType::ObjectSchema, _, Some(name)) => self.touch_schema(class, name),
            (ObjectType::ObjectCast, ..) => self.cast_between(class, node),
            _ => return false,
        }
        true
    }

    /// A schema and, unless it is only commented on, everything in it.
    pub(super) fn touch_schema(&mut self, class: Class, name: &str) {
        self.touch_object(class, Kind::Schema, name, EVERYTHING);
        if class == Class::Comment {
            return;
        }
        let held = self.snapshot.relations.get(name);
        for relation in held.into_iter().flat_map(std::collections::BTreeMap::values) {
            self.touch_relation(class, relation);
        }
    }

    fn cast_between(&mut self, class: Class, node: &Node) {
        let Some(NodeEnum::List(nodes::List { items })) = &node.node else {
            self.opaque("a cast without its types");
            return;
        };
        let mut named = false;
        for item in items {
            if let Some(NodeEnum::TypeName(of)) = &item.node
                && let Some((schema, name)) = self.type_name(Some(of))
            {
                named = true;
                self.touch_object(class, Kind::Cast, &schema, &name);
            }
        }
        if !named {
            self.touch_object(class, Kind::Cast, "pg_catalog", EVERYTHING);
        }
    }

    /// ALTER … SET SCHEMA.
    pub(super) fn move_object(&mut self, alter: &nodes::AlterObjectSchemaStmt) {
        let nodes::AlterObjectSchemaStmt {
            object_type,
            relation,
            object,
            newschema,
            missing_ok,
        } = alter;
        self.class = Class::Alter;
        self.changes_schema();
        let kind = ObjectType::try_from(*object_type).unwrap_or(ObjectType::Undefined);
        let arrives = match (kind, relation, object.as_deref()) {
            (
                ObjectType::ObjectTable
                | ObjectType::ObjectView
                | ObjectType::ObjectMatview
                | ObjectType::ObjectSequence,
                Some(range),
                _,
            ) => {
                let moved = self.touch_target(Class::Alter, Some(range), *missing_ok);
                self.renames(moved);
                Some((Kind::Relation, range.relname.clone()))
            }
            (_, None, Some(object)) if kind_of(kind).is_some() => {
                self.object(Class::Alter, kind, object);
                let name = object_names(object).and_then(<[Node]>::last).and_then(string);
                kind_of(kind).zip(name.map(str::to_owned))
            }
            _ => None,
        };
        match arrives {
            Some((kind, name)) => {
                self.touch_object(Class::Alter, kind, newschema, &name);
                if kind == Kind::Function {
                    self.function_appears(newschema, &name);
                }
            }
            None => self.opaque("SET SCHEMA of a kind that is not enforced yet"),
        }
    }

    /// ALTER … OWNER: whoever owns an object has every right on it, so it counts as handing out rights as well.
    pub(super) fn change_owner(&mut self, alter: &nodes::AlterOwnerStmt) {
        let nodes::AlterOwnerStmt {
            object_type,
            relation: _,
            object,
            newowner: _,
        } = alter;
        self.class = Class::Alter;
        self.changes_schema();
        let kind = ObjectType::try_from(*object_type).unwrap_or(ObjectType::Undefined);
        let known = object.as_deref().is_some_and(|object| {
            let altered = self.object(Class::Alter, kind, object);
            altered && self.object(Class::Grant, kind, object)
        });
        self.class = Class::Alter;
        if !known {
            self.opaque(format!("OWNER of {}", words_of(kind)));
        }
    }
}

/// True when a rule can name the kind and the object goes by a name of its own.
pub(super) fn is_named(object: ObjectType) -> bool {
    kind_of(object).is_some_and(|kind| !matches!(kind, Kind::Type))
}

/// `ObjectForeignServer` as `foreign server`.
pub(super) fn words_of(object: ObjectType) -> String {
    let name = object.as_str_name().to_ascii_lowercase();
    name.strip_prefix("object_").unwrap_or(&name).replace('_', " ")
}
