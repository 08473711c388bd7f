//! ALTER, RENAME, DROP and COMMENT ON.

use super::Walk;
use super::create::Host;
use super::names::{Range, strings};
use super::scope::{Column, Item};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, AlterTableType, Node, ObjectType};
use crate::sql::{Class, Kind, Relation};

impl<'a> Walk<'a> {
    pub(super) fn alter_table(&mut self, alter: &nodes::AlterTableStmt) {
        let nodes::AlterTableStmt {
            relation,
            cmds,
            objtype,
            missing_ok,
        } = alter;
        self.class = Class::Alter;
        self.changes_schema();
        if ObjectType::try_from(*objtype) == Ok(ObjectType::ObjectType) {
            self.alter_composite(relation.as_ref(), cmds);
            return;
        }
        if !matches!(
            ObjectType::try_from(*objtype),
            Ok(ObjectType::ObjectTable
                | ObjectType::ObjectIndex
                | ObjectType::ObjectView
                | ObjectType::ObjectMatview
                | ObjectType::ObjectSequence)
        ) {
            self.opaque("ALTER of a kind that is not enforced yet");
            return;
        }
        let altered = self.touch_target(Class::Alter, relation.as_ref(), *missing_ok);
        self.in_level(|walk| {
            let host = match altered {
                Some(relation) => {
                    walk.add_item(altered_table(relation, cmds));
                    Host {
                        schema: &relation.schema,
                        name: &relation.name,
                    }
                }
                None => Host { schema: "", name: "" },
            };
            for node in cmds {
                match &node.node {
                    Some(NodeEnum::AlterTableCmd(command)) => {
                        walk.cascades_from(command, &host);
                        walk.command(command, &host);
                    }
                    _ => walk.opaque("an ALTER TABLE command of an unknown kind"),
                }
            }
        });
    }

    /// ALTER TYPE … ADD, DROP and ALTER ATTRIBUTE.
    fn alter_composite(&mut self, name: Option<&nodes::RangeVar>, commands: &[Node]) {
        if let Some(Range { schema, name, alias: _ }) = self.range(name)
            && let Some(relation) = self.relation(schema, name)
        {
            self.touch_object(Class::Alter, Kind::Type, &relation.schema, &relation.name);
        }
        for node in commands {
            match &node.node {
                Some(NodeEnum::AlterTableCmd(command)) => self.command(command, &Host { schema: "", name: "" }),
                _ => self.opaque("an ALTER TYPE command of an unknown kind"),
            }
        }
    }

    fn command(&mut self, command: &nodes::AlterTableCmd, host: &Host<'_>) {
        let nodes::AlterTableCmd {
            subtype,
            name,
            num: _,
            newowner,
            def,
            behavior: _,
            missing_ok: _,
            recurse: _,
        } = command;
        if newowner.is_some() {
            self.new_owner(host);
        }
        let def = def.as_deref();
        self.tries(command, host);
        match AlterTableType::try_from(*subtype) {
            Ok(AlterTableType::AtAddColumn | AlterTableType::AtAlterColumnType) => self.column_type(name, def, host),
            Ok(AlterTableType::AtColumnDefault | AlterTableType::AtSetExpression) => self.maybe(def),
            Ok(
                AlterTableType::AtAddConstraint | AlterTableType::AtAddIdentity | AlterTableType::AtAddIndexConstraint,
            ) => match def.map(|def| &def.node) {
                Some(Some(NodeEnum::Constraint(constraint))) => self.constraint(constraint, host),
                _ => self.opaque("a constraint of an unknown kind"),
            },
            Ok(AlterTableType::AtSetIdentity) => match def.map(|def| &def.node) {
                Some(Some(NodeEnum::List(nodes::List { items }))) => self.sequence_options(items),
                _ => self.opaque("identity options of an unknown kind"),
            },
            Ok(AlterTableType::AtSetRelOptions | AlterTableType::AtResetRelOptions) => match def.map(|def| &def.node) {
                Some(Some(NodeEnum::List(nodes::List { items }))) => self.storage(items),
                _ => self.opaque("storage parameters of an unknown kind"),
            },
            Ok(
                AlterTableType::AtAttachPartition
                | AlterTableType::AtDetachPartition
                | AlterTableType::AtDetachPartitionFinalize,
            ) => self.partition(def, host),
            Ok(AlterTableType::AtAddInherit) => self.inherit(def),
            Ok(AlterTableType::AtDropInherit) => {
                self.inherit(def);
                self.leaves.push((host.schema.to_owned(), host.name.to_owned()));
            }
            Ok(
                AlterTableType::AtDisableTrig
                | AlterTableType::AtDisableTrigAll
                | AlterTableType::AtDisableTrigUser
                | AlterTableType::AtEnableTrig
                | AlterTableType::AtEnableTrigAll
                | AlterTableType::AtEnableTrigUser,
            ) => self.touch_object(Class::Alter, Kind::Trigger, host.schema, host.name),
            Ok(
                AlterTableType::AtDisableRowSecurity
                | AlterTableType::AtEnableRowSecurity
                | AlterTableType::AtForceRowSecurity
                | AlterTableType::AtNoForceRowSecurity,
            ) => self.touch_object(Class::Alter, Kind::Policy, host.schema, host.name),
            Ok(
                AlterTableType::AtAlterConstraint
                | AlterTableType::AtChangeOwner
                | AlterTableType::AtClusterOn
                | AlterTableType::AtDropCluster
                | AlterTableType::AtDropColumn
                | AlterTableType::AtDropConstraint
                | AlterTableType::AtDropExpression
                | AlterTableType::AtDropIdentity
                | AlterTableType::AtDropNotNull
                | AlterTableType::AtReplicaIdentity
                | AlterTableType::AtSetCompression
                | AlterTableType::AtSetLogged
                | AlterTableType::AtSetNotNull
                | AlterTableType::AtSetStatistics
                | AlterTableType::AtSetStorage
                | AlterTableType::AtSetUnLogged
                | AlterTableType::AtValidateConstraint,
            ) => {}
            Ok(other) => self.opaque(format!("ALTER TABLE command {}", other.as_str_name())),
            Err(_) => self.opaque("an ALTER TABLE command of an unknown kind"),
        }
    }

    /// A new column, or the new type of the one of that name.
    fn column_type(&mut self, name: &str, def: Option<&Node>, host: &Host<'_>) {
        let Some(Some(NodeEnum::ColumnDef(column))) = def.map(|def| &def.node) else {
            self.opaque("a column definition of an unknown kind");
            return;
        };
        self.column_definition(column, host);
        // Every value is converted, and some may not fit; a type of the job's own may try a check of its own.
        if !name.is_empty() && !self.widens(name, column, host) {
            self.looks_at_host([name]);
        }
    }

    /// What is tried on the values that are there, and what they are: no NULL, or a constraint that was waiting for it.
    fn tries(&mut self, command: &nodes::AlterTableCmd, host: &Host<'_>) {
        match AlterTableType::try_from(command.subtype) {
            Ok(AlterTableType::AtSetNotNull) => self.looks_at_host([command.name.as_str()]),
            Ok(AlterTableType::AtValidateConstraint) => {
                let relation = self.snapshot.relation(host.schema, host.name);
                let waiting = relation.into_iter().flat_map(|relation| &relation.attached.unproven);
                for (_, columns) in waiting.filter(|(name, _)| *name == command.name) {
                    self.looks_at_host(columns.iter().map(String::as_str));
                }
            }
            _ => {}
        }
    }

    /// Whether every value of the column fits into its new type, whatever it is.
    fn widens(&mut self, name: &str, column: &nodes::ColumnDef, host: &Host<'_>) -> bool {
        let Some(new) = column.type_name.as_ref().filter(|_| column.raw_default.is_none()) else {
            return false;
        };
        if self.type_name(Some(new)).is_some() || !new.array_bounds.is_empty() || new.setof {
            return false;
        }
        let relation = self.snapshot.relation(host.schema, host.name);
        let old = relation.and_then(|relation| {
            let at = relation.columns.iter().position(|known| known == name)?;
            relation.facts.get(at).map(|fact| &fact.of)
        });
        let (Some(old), Some(names)) = (old, strings(&new.names)) else {
            return false;
        };
        let (["pg_catalog", new_name] | [new_name]) = names.as_slice() else {
            return false;
        };
        let modifiers: Option<Vec<i64>> = new.typmods.iter().map(number).collect();
        let bare = old.name.split('(').next().unwrap_or_default();
        let had = old.modifiers();
        match (bare, *new_name, modifiers.as_deref()) {
            ("character varying" | "text", "text" | "varchar", Some([]))
            | ("numeric", "numeric", Some([]))
            | ("smallint", "int2" | "int4" | "int8", Some([]))
            | ("integer", "int4" | "int8", Some([]))
            | ("bigint", "int8", Some([])) => true,
            ("character varying", "varchar", Some([length])) => had.first().is_some_and(|old| old <= length),
            ("numeric", "numeric", Some([digits, scale])) => {
                matches!(had.as_slice(), [old, old_scale] if old_scale <= scale && old - old_scale <= digits - scale)
            }
            _ => false,
        }
    }

    fn inherit(&mut self, def: Option<&Node>) {
        match def.map(|def| &def.node) {
            Some(Some(NodeEnum::RangeVar(parent))) => {
                self.touch_target(Class::Alter, Some(parent), false);
            }
            _ => self.opaque("INHERIT of an unknown kind"),
        }
    }

    /// Whoever owns a table has every right on it: it counts as handing out rights as well.
    fn new_owner(&mut self, host: &Host<'_>) {
        if host.name.is_empty() {
            self.opaque("OWNER of something that does not exist");
        } else {
            self.touch_whole(Class::Grant, host.schema, host.name);
        }
    }

    fn partition(&mut self, def: Option<&Node>, host: &Host<'_>) {
        let Some(Some(NodeEnum::PartitionCmd(nodes::PartitionCmd {
            name,
            bound,
            concurrent: _,
        }))) = def.map(|def| &def.node)
        else {
            self.opaque("a partition command of an unknown kind");
            return;
        };
        let part = self.touch_target(Class::Alter, name.as_ref(), false);
        if let Some(bound) = bound {
            if let Some(whole) = self.snapshot.relation(host.schema, host.name) {
                self.looks_at_bounds(whole);
            }
            self.partition_bound(bound);
        } else if let Some(part) = part {
            self.leaves.push((part.schema.clone(), part.name.clone()));
        }
    }

    pub(super) fn rename(&mut self, rename: &nodes::RenameStmt) {
        let nodes::RenameStmt {
            rename_type,
            relation_type: _,
            relation,
            object,
            subname,
            newname,
            behavior: _,
            missing_ok,
        } = rename;
        self.class = Class::Alter;
        self.changes_schema();
        match ObjectType::try_from(*rename_type) {
            Ok(
                ObjectType::ObjectTable
                | ObjectType::ObjectView
                | ObjectType::ObjectMatview
                | ObjectType::ObjectSequence,
            ) => {
                let Some(Range { schema, name, alias: _ }) = self.range(relation.as_ref()) else {
                    return;
                };
                let renamed = self.touch_named(Class::Alter, schema, name, *missing_ok);
                self.renames(renamed);
                // It takes the place of whatever rules cover under the new name.
                let schema = renamed
                    .map(|relation| relation.schema.clone())
                    .or_else(|| self.landing(schema));
                // An index can be renamed as if it were a table; its name covers nothing.
                if let Some(schema) = schema {
                    self.touch_whole(Class::Alter, &schema, newname);
                }
            }
            Ok(ObjectType::ObjectColumn | ObjectType::ObjectTabconstraint | ObjectType::ObjectIndex) => {
                let renamed = self.touch_target(Class::Alter, relation.as_ref(), *missing_ok);
                if *rename_type == ObjectType::ObjectColumn as i32 {
                    self.renames(renamed);
                }
            }
            Ok(ObjectType::ObjectType) if subname.is_empty() => match object.as_deref().map(|object| &object.node) {
                Some(Some(NodeEnum::List(nodes::List { items }))) => {
                    if let Some(schema) = self.touch_type(Class::Alter, Kind::Type, items) {
                        self.touch_object(Class::Alter, Kind::Type, &schema, newname);
                    }
                }
                _ => self.opaque("RENAME of an unknown kind"),
            },
            Ok(kind) => self.rename_object(kind, object.as_deref(), relation.as_ref(), newname),
            Err(_) => self.opaque("RENAME of an unknown kind"),
        }
    }

    fn rename_object(
        &mut self,
        kind: ObjectType,
        object: Option<&Node>,
        relation: Option<&nodes::RangeVar>,
        new_name: &str,
    ) {
        match (kind, object) {
            (ObjectType::ObjectTrigger | ObjectType::ObjectPolicy, _) => {
                let of = if kind == ObjectType::ObjectTrigger {
                    Kind::Trigger
                } else {
                    Kind::Policy
                };
                if let Some(table) = self.table(relation) {
                    self.touch_object(Class::Alter, of, &table.schema, &table.name);
                }
            }
            (ObjectType::ObjectSchema, _) => {
                // The grammar keeps its name beside the object.
                self.opaque("RENAME of a schema: every name in it would change");
            }
            (ObjectType::ObjectAttribute, _) => {
                if let Some(Range { schema, name, alias: _ }) = self.range(relation)
                    && let Some(relation) = self.relation(schema, name)
                {
                    self.touch_object(Class::Alter, Kind::Type, &relation.schema, &relation.name);
                }
            }
            (_, Some(object)) if super::types::is_named(kind) => {
                let schemas = self.snapshot.search_path.clone();
                self.object(Class::Alter, kind, object);
                let (schema, named) = match super::define::object_names(object).map(strings) {
                    Some(Some(names)) => match names.as_slice() {
                        [schema, _] => (vec![(*schema).to_owned()], true),
                        [_] => (schemas, true),
                        _ => (Vec::new(), false),
                    },
                    _ => (Vec::new(), false),
                };
                if !named {
                    self.opaque("RENAME of an unknown kind");
                }
                if let Some(of) = super::types::kind_of(kind) {
                    for schema in schema {
                        self.touch_object(Class::Alter, of, &schema, new_name);
                        if of == Kind::Function {
                            self.function_appears(&schema, new_name);
                        }
                    }
                }
            }
            _ => self.opaque(format!("RENAME of {}", super::types::words_of(kind))),
        }
    }

    pub(super) fn alter_sequence(&mut self, alter: &nodes::AlterSeqStmt) {
        let nodes::AlterSeqStmt {
            sequence,
            options,
            for_identity: _,
            missing_ok,
        } = alter;
        self.class = Class::Alter;
        self.changes_schema();
        self.touch_target(Class::Alter, sequence.as_ref(), *missing_ok);
        self.sequence_options(options);
    }

    pub(super) fn alter_enum(&mut self, alter: &nodes::AlterEnumStmt) {
        let nodes::AlterEnumStmt {
            type_name,
            old_val: _,
            new_val: _,
            new_val_neighbor: _,
            new_val_is_after: _,
            skip_if_new_val_exists: _,
        } = alter;
        self.touch_type(Class::Alter, Kind::Type, type_name);
    }

    pub(super) fn drop_objects(&mut self, drop: &nodes::DropStmt) {
        let nodes::DropStmt {
            objects,
            remove_type,
            behavior,
            missing_ok,
            concurrent: _,
        } = drop;
        self.class = Class::Drop;
        self.changes_schema();
        let cascade = nodes::DropBehavior::try_from(*behavior) == Ok(nodes::DropBehavior::DropCascade);
        let remove_type = ObjectType::try_from(*remove_type);
        for object in objects {
            match (remove_type, &object.node) {
                (
                    Ok(
                        ObjectType::ObjectTable
                        | ObjectType::ObjectIndex
                        | ObjectType::ObjectView
                        | ObjectType::ObjectMatview
                        | ObjectType::ObjectSequence,
                    ),
                    Some(NodeEnum::List(nodes::List { items })),
                ) => {
                    if let Some((schema, name)) = self.pair(items)
                        && let Some(dropped) = self.touch_named(Class::Drop, schema, name, *missing_ok)
                    {
                        self.drop_children(dropped);
                        if cascade {
                            self.cascades(dropped, None);
                        }
                    }
                }
                (_, None) => self.opaque("DROP of nothing"),
                (Ok(other), Some(_)) => {
                    if cascade {
                        self.opaque(format!("DROP of {} with CASCADE", super::types::words_of(other)));
                    } else if !self.object(Class::Drop, other, object) {
                        self.opaque(format!("DROP of {}", super::types::words_of(other)));
                    }
                }
                (Err(_), Some(_)) => self.opaque("DROP of an unknown kind"),
            }
        }
    }

    /// Partitions go with their table, and inheritance children go with CASCADE.
    fn drop_children(&mut self, dropped: &'a Relation) {
        for child in self.family(dropped) {
            self.touch_relation(Class::Drop, child);
        }
    }
}

fn number(node: &Node) -> Option<i64> {
    match &node.node {
        Some(NodeEnum::AConst(nodes::AConst {
            val: Some(nodes::a_const::Val::Ival(nodes::Integer { ival })),
            isnull: _,
            location: _,
        })) => Some(i64::from(*ival)),
        _ => None,
    }
}

/// The table as its own ALTER TABLE sees it: the columns that are being added can be named already.
fn altered_table<'a>(relation: &'a Relation, commands: &[Node]) -> Item<'a> {
    let mut item = Item::relation(relation, None);
    for node in commands {
        if let Some(NodeEnum::AlterTableCmd(command)) = &node.node
            && AlterTableType::try_from(command.subtype) == Ok(AlterTableType::AtAddColumn)
            && let Some(Some(NodeEnum::ColumnDef(column))) = command.def.as_deref().map(|def| &def.node)
        {
            item.columns.push(Column {
                name: column.colname.clone().into(),
                base: None,
            });
        }
    }
    item
}

impl Walk<'_> {
    /// COMMENT ON something that is a relation or a part of one.
    pub(super) fn comment(&mut self, comment: &nodes::CommentStmt) {
        let nodes::CommentStmt {
            objtype,
            object,
            comment: _,
        } = comment;
        self.class = Class::Comment;
        self.changes();
        let names = match object.as_deref().map(|object| &object.node) {
            Some(Some(NodeEnum::List(nodes::List { items }))) => items.as_slice(),
            _ => &[],
        };
        match (ObjectType::try_from(*objtype), names) {
            (
                Ok(
                    ObjectType::ObjectTable
                    | ObjectType::ObjectView
                    | ObjectType::ObjectMatview
                    | ObjectType::ObjectSequence
                    | ObjectType::ObjectIndex,
                ),
                names @ [_, ..],
            ) => {
                if let Some((schema, name)) = self.pair(names) {
                    self.touch_named(Class::Comment, schema, name, false);
                }
            }
            (Ok(ObjectType::ObjectColumn), [table @ .., column]) => {
                let column = strings(std::slice::from_ref(column));
                if let (Some(relation), Some([column])) = (self.listed(table), column.as_deref()) {
                    self.touch(Class::Comment, &relation.schema, &relation.name, [*column]);
                }
            }
            (Ok(other), _) => {
                let known = object
                    .as_deref()
                    .is_some_and(|object| self.object(Class::Comment, other, object));
                if !known {
                    self.opaque(format!("COMMENT ON {}", super::types::words_of(other)));
                }
            }
            (Err(_), _) => self.opaque("COMMENT ON an unknown kind"),
        }
    }
}
