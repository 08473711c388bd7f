//! Sequences, enums, and the things that ALTER, DROP, COMMENT and LOCK name.

use super::Walk;
use super::names::{Range, Target, option, string};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, Node};
use crate::sql::{Class, Kind, Relation};

impl<'a> Walk<'a> {
    pub(super) fn create_sequence(&mut self, create: &nodes::CreateSeqStmt) {
        let nodes::CreateSeqStmt {
            sequence,
            options,
            owner_id: _,
            for_identity: _,
            if_not_exists: _,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        if let Some(Range { schema, name, alias: _ }) = self.range(sequence.as_ref())
            && let Some(schema) = self.landing(schema)
        {
            self.touch_object(Class::Create, Kind::Sequence, &schema, name);
        }
        self.sequence_options(options);
    }

    /// Options of CREATE SEQUENCE, ALTER SEQUENCE and identity columns.
    pub(super) fn sequence_options(&mut self, options: &[Node]) {
        for node in options {
            match option(node) {
                Some((
                    "as" | "cache" | "cycle" | "generated" | "increment" | "maxvalue" | "minvalue" | "restart"
                    | "start",
                    _,
                )) => {}
                Some(("owned_by", owner)) => self.owned_by(owner),
                Some((name, _)) => self.opaque(format!("sequence option {name:?}")),
                None => self.opaque("a sequence option of an unknown kind"),
            }
        }
    }

    fn owned_by(&mut self, owner: Option<&Node>) {
        let names = match owner.map(|node| &node.node) {
            Some(Some(NodeEnum::List(nodes::List { items }))) => items.as_slice(),
            _ => &[],
        };
        match names {
            [none] if string(none) == Some("none") => {}
            [table @ .., _column] => {
                if let Some(relation) = self.listed(table) {
                    self.touch_relation(Class::Alter, relation);
                }
            }
            [] => self.opaque("OWNED BY nothing"),
        }
    }

    pub(super) fn create_enum(&mut self, create: &nodes::CreateEnumStmt) {
        let nodes::CreateEnumStmt { type_name, vals: _ } = create;
        self.touch_type(Class::Create, Kind::Type, type_name);
    }

    /// Touches a type or a domain. Returns its schema.
    pub(super) fn touch_type(&mut self, class: Class, kind: Kind, names: &[Node]) -> Option<String> {
        self.class = class;
        self.changes_unless_comment(class);
        let (schema, name) = self.pair(names)?;
        let existing = match (class, schema) {
            (Class::Create, _) | (_, Some(_)) => None,
            (_, None) => {
                let holders = self.snapshot.types.get(name);
                self.snapshot
                    .search_path
                    .iter()
                    .find(|on_path| holders.is_some_and(|holders| holders.contains(on_path)))
            }
        };
        let schema = match existing {
            Some(schema) => Some(schema.clone()),
            None => self.landing(schema),
        }?;
        self.touch_object(class, kind, &schema, name);
        Some(schema)
    }

    /// What a statement that alters or drops touches: the relation, or where it would be when it need not exist.
    pub(super) fn touch_target(
        &mut self,
        class: Class,
        range: Option<&nodes::RangeVar>,
        optional: bool,
    ) -> Option<&'a Relation> {
        let Range { schema, name, alias: _ } = self.range(range)?;
        self.touch_named(class, schema, name, optional)
    }

    /// [`Walk::touch_target`] by name. An index counts as its table.
    pub(super) fn touch_named(
        &mut self,
        class: Class,
        schema: Option<&str>,
        name: &str,
        optional: bool,
    ) -> Option<&'a Relation> {
        match self.target(schema, name)? {
            Target::Known(relation) => {
                let owner = self.owner(relation)?;
                self.touch_object(class, Self::kind_of(class, owner), &owner.schema, &owner.name);
                Some(owner)
            }
            Target::New { schema, name } => {
                if optional {
                    self.touch_whole(class, &schema, &name);
                } else {
                    self.opaque(format!("relation {name:?} does not exist in the live schema"));
                }
                None
            }
        }
    }
}
