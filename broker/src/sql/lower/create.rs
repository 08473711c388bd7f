//! CREATE: tables, indexes, views, sequences, enums. What an expression, a view or a foreign key reads is judged too.

use super::Walk;
use super::names::{Range, option, strings};
use super::scope::{Column, Item};
use crate::sql::grammar::nodes::{self, ConstrType, Node, ObjectType, OnCommitAction};
use crate::sql::grammar::{self, NodeEnum};
use crate::sql::{Class, Kind, Relation, TEMPORARY};

/// Storage parameters that only tune.
const TUNING: &[&str] = &[
    "autosummarize",
    "buffering",
    "check_option",
    "deduplicate_items",
    "fastupdate",
    "fillfactor",
    "gin_pending_list_limit",
    // No server knows another value than false any more.
    "oids",
    "pages_per_range",
    "parallel_workers",
    "security_barrier",
    "security_invoker",
    "toast_tuple_target",
    "vacuum_index_cleanup",
    "vacuum_truncate",
];

/// Column types that stand for a sequence and a default.
const SERIAL: &[&str] = &["bigserial", "serial", "serial2", "serial4", "serial8", "smallserial"];

impl<'a> Walk<'a> {
    /// The place where something new lands, touched as a whole under CREATE.
    pub(super) fn creates(&mut self, range: Option<&nodes::RangeVar>) -> Option<(String, String)> {
        self.class = Class::Create;
        self.changes_schema();
        let Range { schema, name, alias: _ } = self.range(range)?;
        let schema = self.landing(schema)?;
        self.touch_whole(Class::Create, &schema, name);
        Some((schema, name.to_owned()))
    }

    pub(super) fn create_table(&mut self, create: &nodes::CreateStmt) {
        let nodes::CreateStmt {
            relation,
            table_elts,
            inh_relations,
            partbound,
            partspec,
            of_typename,
            constraints,
            nnconstraints,
            options,
            oncommit,
            tablespacename,
            access_method,
            if_not_exists: _,
        } = create;
        if of_typename.is_some() || !tablespacename.is_empty() || !access_method.is_empty() {
            self.opaque("CREATE TABLE with OF, TABLESPACE or USING");
        }
        self.on_commit(*oncommit);
        self.storage(options);
        let Some((schema, name)) = self.creates(relation.as_ref()) else {
            return;
        };
        let mut item = new_table(&name, table_elts);
        for parent in inh_relations {
            // Rows put into the new table show up in the parent.
            if let Some(parent) = self.listed_range(parent) {
                self.touch_relation(Class::Alter, parent);
                if partbound.is_some() {
                    self.looks_at_bounds(parent);
                }
                // A check that comes with the new table is tried on every row of the parent's that gets there.
                item.columns.extend(Item::relation(parent, None).columns);
            }
        }
        self.in_level(|walk| {
            walk.add_item(item);
            let host = Host {
                schema: &schema,
                name: &name,
            };
            for element in table_elts.iter().chain(constraints).chain(nnconstraints) {
                walk.table_element(element, &host);
            }
            if let Some(spec) = partspec {
                walk.partition_key(spec);
            }
            if let Some(bound) = partbound {
                walk.partition_bound(bound);
            }
        });
    }

    /// ON COMMIT: the server has it for temporary tables only, and what becomes of those is the session's own affair.
    fn on_commit(&mut self, action: i32) {
        if matches!(OnCommitAction::try_from(action), Ok(OnCommitAction::Undefined) | Err(_)) {
            self.opaque("ON COMMIT of an unknown kind");
        }
    }

    fn listed_range(&mut self, node: &Node) -> Option<&'a Relation> {
        let Some(NodeEnum::RangeVar(range)) = &node.node else {
            self.opaque("a parent table of an unknown kind");
            return None;
        };
        self.table(Some(range))
    }

    fn table_element(&mut self, node: &Node, host: &Host<'_>) {
        match &node.node {
            Some(NodeEnum::ColumnDef(column)) => self.column_definition(column, host),
            Some(NodeEnum::Constraint(constraint)) => self.constraint(constraint, host),
            Some(NodeEnum::TableLikeClause(nodes::TableLikeClause {
                relation,
                options: _,
                relation_oid: _,
            })) => {
                // Its columns, defaults, checks and comments come along, and no value.
                if let Some(relation) = self.table(relation.as_ref()) {
                    self.touch_object(Class::Select, Kind::Relation, &relation.schema, &relation.name);
                }
            }
            Some(other) => self.opaque(format!("{} in a table definition", grammar::name(other))),
            None => self.opaque("an empty table element"),
        }
    }

    /// A column's type, default and constraints, in CREATE TABLE and ALTER TABLE.
    pub(super) fn column_definition(&mut self, column: &nodes::ColumnDef, host: &Host<'_>) {
        let nodes::ColumnDef {
            colname,
            type_name,
            compression: _,
            inhcount: _,
            is_local: _,
            is_not_null: _,
            is_from_type: _,
            storage: _,
            storage_name: _,
            raw_default,
            cooked_default,
            identity: _,
            identity_sequence,
            generated: _,
            coll_clause,
            coll_oid: _,
            constraints,
            fdwoptions,
            location: _,
        } = column;
        if cooked_default.is_some() || identity_sequence.is_some() || !fdwoptions.is_empty() {
            self.opaque("a column definition with parts that no statement can hold");
        }
        // In PARTITION OF a column has no type of its own.
        if type_name.is_some() && !type_name.as_ref().is_some_and(is_serial) {
            self.type_name(type_name.as_ref());
        }
        self.maybe(raw_default.as_deref());
        if let Some(collate) = coll_clause {
            self.collate(collate);
        }
        for node in constraints {
            match &node.node {
                Some(NodeEnum::Constraint(constraint)) => {
                    if constraint.pktable.is_some() || is_unique(constraint) {
                        self.looks_at_host([colname.as_str()]);
                    }
                    self.constraint(constraint, host);
                }
                _ => self.opaque("a column constraint of an unknown kind"),
            }
        }
    }

    /// A constraint of a column or a table.
    pub(super) fn constraint(&mut self, constraint: &nodes::Constraint, host: &Host<'_>) {
        let nodes::Constraint {
            contype,
            conname: _,
            deferrable: _,
            initdeferred: _,
            is_enforced: _,
            skip_validation: _,
            initially_valid: _,
            is_no_inherit: _,
            raw_expr,
            cooked_expr,
            generated_when: _,
            generated_kind: _,
            nulls_not_distinct: _,
            keys,
            without_overlaps: _,
            including: _,
            exclusions,
            options,
            indexname,
            indexspace,
            reset_default_tblspc: _,
            access_method: _,
            where_clause,
            pktable,
            fk_attrs,
            pk_attrs,
            fk_with_period: _,
            pk_with_period: _,
            fk_matchtype: _,
            fk_upd_action: _,
            fk_del_action: _,
            fk_del_set_cols: _,
            old_conpfeqop: _,
            old_pktable_oid: _,
            location: _,
        } = constraint;
        if !cooked_expr.is_empty() || !indexspace.is_empty() {
            self.opaque("a constraint with USING INDEX TABLESPACE");
        }
        match ConstrType::try_from(*contype) {
            Ok(ConstrType::ConstrIdentity) => self.sequence_options(options),
            Ok(ConstrType::Undefined) | Err(_) => self.opaque("a constraint of an unknown kind"),
            Ok(_) => self.storage(options),
        }
        self.maybe(raw_expr.as_deref());
        self.maybe(where_clause.as_deref());
        for exclusion in exclusions {
            self.exclusion(exclusion);
        }
        if is_unique(constraint) {
            self.looks_at_host(strings(keys).unwrap_or_default());
            if let Some(index) = self
                .snapshot
                .relation(host.schema, indexname)
                .filter(|_| !indexname.is_empty())
            {
                self.looks_at_host(index.key.iter().map(String::as_str));
            }
        }
        if let Some(referenced) = pktable {
            self.looks_at_host(strings(fk_attrs).unwrap_or_default());
            self.references(referenced, &strings(pk_attrs).unwrap_or_default(), host);
        }
    }

    /// `EXCLUDE (column WITH operator)`.
    fn exclusion(&mut self, node: &Node) {
        let pair = match &node.node {
            Some(NodeEnum::List(nodes::List { items })) => items.as_slice(),
            _ => &[],
        };
        if let [element, operator] = pair
            && let Some(NodeEnum::List(nodes::List { items: operator })) = &operator.node
        {
            self.looks_at_elements(std::slice::from_ref(element));
            self.index_elements(std::slice::from_ref(element), false);
            self.operator(operator);
        } else {
            self.opaque("an exclusion of an unknown kind");
        }
    }

    /// Something tells of values in columns of the table that is being made or altered; those that are new hold none.
    pub(super) fn looks_at_host<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let names: Vec<&str> = names.into_iter().collect();
        let items = self.levels.last().map(|level| level.items.clone()).unwrap_or_default();
        let columns = items.iter().flat_map(|item| &item.columns);
        for column in columns.filter(|column| names.contains(&column.name.as_ref())) {
            if let Some(base) = column.base {
                self.looks_at(base.relation, [&base.name.to_owned()]);
            }
        }
    }

    /// [`Walk::looks_at_host`] of the plain columns of an index that lets no two rows be alike.
    fn looks_at_elements(&mut self, elements: &[Node]) {
        for element in elements {
            if let Some(NodeEnum::IndexElem(element)) = &element.node {
                self.looks_at_host([element.name.as_str()]);
            }
        }
    }

    /// A new partition: rows are tried that are in it, or in the default one, and the columns that choose tell which.
    pub(super) fn looks_at_bounds(&mut self, whole: &Relation) {
        self.looks_at(whole, &whole.attached.keys);
    }

    /// A foreign key puts triggers on the table it points to and tells which values stand there.
    fn references(&mut self, referenced: &nodes::RangeVar, columns: &[&str], host: &Host<'_>) {
        let Some(Range { schema, name, alias: _ }) = self.range(Some(referenced)) else {
            return;
        };
        if name == host.name && schema.is_none_or(|schema| schema == host.schema) {
            return;
        }
        let Some(relation) = self.relation(schema, name) else {
            return;
        };
        self.touch_relation(Class::Alter, relation);
        if columns.is_empty() {
            // Its primary key, whichever columns that is.
            self.touch_relation(Class::Select, relation);
        } else {
            self.touch(Class::Select, &relation.schema, &relation.name, columns.iter().copied());
        }
    }

    fn partition_key(&mut self, spec: &nodes::PartitionSpec) {
        let nodes::PartitionSpec {
            strategy: _,
            part_params,
            location: _,
        } = spec;
        for node in part_params {
            match &node.node {
                Some(NodeEnum::PartitionElem(element)) => {
                    let nodes::PartitionElem {
                        name: _,
                        expr,
                        collation: _,
                        opclass: _,
                        location: _,
                    } = &**element;
                    self.maybe(expr.as_deref());
                }
                _ => self.opaque("a partition key of an unknown kind"),
            }
        }
    }

    /// FOR VALUES.
    pub(super) fn partition_bound(&mut self, bound: &nodes::PartitionBoundSpec) {
        let nodes::PartitionBoundSpec {
            strategy: _,
            is_default: _,
            modulus: _,
            remainder: _,
            listdatums,
            lowerdatums,
            upperdatums,
            location: _,
        } = bound;
        for node in listdatums.iter().chain(lowerdatums).chain(upperdatums) {
            let is_limit = match &node.node {
                Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location: _ })) => {
                    matches!(strings(fields).as_deref(), Some(["minvalue" | "maxvalue"]))
                }
                _ => false,
            };
            if !is_limit {
                self.expression(node);
            }
        }
    }

    /// Storage parameters: only those that tune.
    pub(super) fn storage(&mut self, options: &[Node]) {
        for node in options {
            match option(node) {
                Some((name, _)) if TUNING.contains(&name) || name.starts_with("autovacuum_") => {}
                Some((name, _)) => self.opaque(format!("storage parameter {name:?}")),
                None => self.opaque("a storage parameter of an unknown kind"),
            }
        }
    }

    pub(super) fn create_index(&mut self, index: &nodes::IndexStmt) {
        let nodes::IndexStmt {
            idxname: _,
            relation,
            access_method: _,
            table_space,
            index_params,
            index_including_params,
            options,
            where_clause,
            exclude_op_names,
            idxcomment: _,
            index_oid: _,
            old_number: _,
            old_create_subid: _,
            old_first_relfilelocator_subid: _,
            unique,
            nulls_not_distinct: _,
            primary: _,
            isconstraint: _,
            iswithoutoverlaps: _,
            deferrable: _,
            initdeferred: _,
            transformed: _,
            concurrent: _,
            if_not_exists: _,
            reset_default_tblspc: _,
        } = index;
        self.class = Class::Create;
        self.changes_schema();
        if !table_space.is_empty() || !exclude_op_names.is_empty() {
            self.opaque("CREATE INDEX with TABLESPACE");
        }
        self.storage(options);
        let Some(relation) = self.table(relation.as_ref()) else {
            return;
        };
        self.touch_relation(Class::Create, relation);
        self.in_level(|walk| {
            walk.add_item(Item::relation(relation, None));
            walk.index_elements(index_params, false);
            if *unique {
                walk.looks_at_elements(index_params);
            }
            walk.index_elements(index_including_params, false);
            walk.maybe(where_clause.as_deref());
        });
    }

    /// The columns and expressions of an index, an exclusion or ON CONFLICT. An index only names its plain columns;
    /// ON CONFLICT `reads` them.
    pub(super) fn index_elements(&mut self, list: &[Node], reads: bool) {
        for node in list {
            let Some(NodeEnum::IndexElem(element)) = &node.node else {
                self.opaque("an index column of an unknown kind");
                continue;
            };
            let nodes::IndexElem {
                name,
                expr,
                indexcolname: _,
                collation: _,
                opclass: _,
                opclassopts,
                ordering: _,
                nulls_ordering: _,
            } = &**element;
            if reads && !name.is_empty() {
                self.plain_name(name);
            }
            self.maybe(expr.as_deref());
            for option in opclassopts {
                if !matches!(&option.node, Some(NodeEnum::DefElem(_))) {
                    self.opaque("an operator class option of an unknown kind");
                }
            }
        }
    }

    pub(super) fn create_view(&mut self, view: &nodes::ViewStmt) {
        let nodes::ViewStmt {
            view,
            aliases: _,
            query,
            replace,
            options,
            with_check_option: _,
        } = view;
        self.storage(options);
        let created = self.creates(view.as_ref());
        if let Some((schema, name)) = &created
            && *replace
            && self.snapshot.relation(schema, name).is_some()
        {
            self.touch_whole(Class::Alter, schema, name);
        }
        match query {
            Some(query) => {
                self.query(query);
            }
            None => self.opaque("CREATE VIEW without its query"),
        }
        // Over something temporary the server makes it temporary itself.
        if let Some((_, name)) = created
            && self.touches.keys().any(|(.., schema, _)| schema == TEMPORARY)
        {
            self.touch_whole(Class::Create, TEMPORARY, &name);
        }
    }

    pub(super) fn create_table_as(&mut self, create: &nodes::CreateTableAsStmt) {
        let nodes::CreateTableAsStmt {
            query,
            into,
            objtype,
            is_select_into: _,
            if_not_exists: _,
        } = create;
        match (ObjectType::try_from(*objtype), into) {
            (Ok(ObjectType::ObjectTable), Some(into)) => self.create_into(into, false),
            (Ok(ObjectType::ObjectMatview), Some(into)) => {
                self.replaceable = false;
                self.create_into(into, true);
            }
            _ => self.opaque("CREATE … AS of an unknown kind"),
        }
        match query {
            Some(query) => {
                self.query(query);
            }
            None => self.opaque("CREATE TABLE AS without its query"),
        }
        self.class = Class::Create;
    }

    /// The table that SELECT INTO and CREATE TABLE AS create.
    pub(super) fn create_into(&mut self, into: &nodes::IntoClause, materialized: bool) {
        let nodes::IntoClause {
            rel,
            col_names: _,
            access_method,
            options,
            on_commit,
            table_space_name,
            view_query,
            skip_data: _,
        } = into;
        if !access_method.is_empty() || !table_space_name.is_empty() || (view_query.is_some() && !materialized) {
            self.opaque("CREATE TABLE AS with USING or TABLESPACE");
        }
        self.on_commit(*on_commit);
        self.storage(options);
        self.creates(rel.as_ref());
    }
}

/// The table that a definition belongs to.
pub(super) struct Host<'h> {
    pub(super) schema: &'h str,
    pub(super) name: &'h str,
}

/// A table that does not exist yet: its columns can be named, and reading them reads nothing.
fn new_table<'a>(name: &str, elements: &[Node]) -> Item<'a> {
    let mut item = Item::computed(name, &super::scope::Output::default());
    for node in elements {
        match &node.node {
            Some(NodeEnum::ColumnDef(column)) => {
                item.columns.push(Column {
                    name: column.colname.clone().into(),
                    base: None,
                });
            }
            // Its columns come from elsewhere.
            Some(NodeEnum::TableLikeClause(_)) => item.open = true,
            _ => {}
        }
    }
    item
}

/// UNIQUE and PRIMARY KEY: whether two rows are alike is tried, and for the latter whether a column is NULL.
fn is_unique(constraint: &nodes::Constraint) -> bool {
    matches!(
        ConstrType::try_from(constraint.contype),
        Ok(ConstrType::ConstrUnique | ConstrType::ConstrPrimary | ConstrType::ConstrNotnull)
    )
}

/// Whether a column of this type comes with a sequence of its own.
pub(in crate::sql) fn is_serial(name: &nodes::TypeName) -> bool {
    matches!(strings(&name.names).as_deref(), Some([name]) if SERIAL.contains(name))
}
