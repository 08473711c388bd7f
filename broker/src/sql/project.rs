//! What a statement would make of the schema, for judging files whose later statements work on what earlier ones make.
//!
//! Only planning uses it. A live session never guesses: it reads the schema again from the server. What is not
//! foreseen here leaves the snapshot as it is, and what depends on it is then reported as unresolved.

use super::grammar::nodes::{self, AlterTableType, Node, ObjectType};
use super::grammar::{self, NodeEnum, Unreadable};
use super::lower::create::is_serial;
use super::lower::names::{string, strings};
use super::snapshot::{Attached, Relation, RelationKind, Snapshot};

/// Applies the statements of `text` to `snapshot`, in order.
pub fn apply(text: &str, snapshot: &mut Snapshot) -> Result<(), Unreadable> {
    grammar::read(text, |tree| {
        for raw in &tree.statements {
            if let Some(node) = raw.stmt.as_deref().and_then(|node| node.node.as_ref()) {
                statement(node, snapshot);
            }
        }
        snapshot.version += 1;
    })
}

fn statement(node: &NodeEnum, snapshot: &mut Snapshot) {
    match node {
        NodeEnum::CreateStmt(create) => create_table(create, snapshot),
        NodeEnum::CreateTableAsStmt(create) => {
            let kind = match ObjectType::try_from(create.objtype) {
                Ok(ObjectType::ObjectMatview) => RelationKind::MaterializedView,
                _ => RelationKind::Table,
            };
            let into = create.into.as_deref();
            let columns = named(
                into.map_or(&[], |into| into.col_names.as_slice()),
                create.query.as_deref(),
                snapshot,
            );
            put(into.and_then(|into| into.rel.as_ref()), kind, columns, snapshot);
        }
        NodeEnum::SelectStmt(select) => {
            if let Some(into) = select.into_clause.as_deref() {
                let columns = targets(&select.target_list, select, snapshot);
                put(into.rel.as_ref(), RelationKind::Table, columns, snapshot);
            }
        }
        NodeEnum::ViewStmt(view) => {
            let columns = named(&view.aliases, view.query.as_deref(), snapshot);
            put(view.view.as_ref(), RelationKind::View, columns, snapshot);
        }
        NodeEnum::IndexStmt(index) => {
            let Some((schema, _)) = place(index.relation.as_ref(), snapshot) else {
                return;
            };
            let range = nodes::RangeVar {
                schemaname: schema,
                relname: index.idxname.clone(),
                ..nodes::RangeVar::default()
            };
            put(Some(&range), RelationKind::Index, Vec::new(), snapshot);
        }
        NodeEnum::CreateSeqStmt(create) => put(create.sequence.as_ref(), RelationKind::Sequence, Vec::new(), snapshot),
        NodeEnum::AlterTableStmt(alter) => alter_table(alter, snapshot),
        NodeEnum::RenameStmt(rename) => renamed(rename, snapshot),
        NodeEnum::DropStmt(drop) => dropped(drop, snapshot),
        NodeEnum::AlterObjectSchemaStmt(alter) => {
            if let Some(mut relation) = taken(alter.relation.as_ref(), snapshot) {
                relation.schema.clone_from(&alter.newschema);
                insert(relation, snapshot);
            }
        }
        NodeEnum::CreateSchemaStmt(create) => {
            snapshot.relations.entry(create.schemaname.clone()).or_default();
        }
        NodeEnum::CreateEnumStmt(create) => add_type(&create.type_name, snapshot),
        NodeEnum::CreateDomainStmt(create) => add_type(&create.domainname, snapshot),
        NodeEnum::CompositeTypeStmt(create) => {
            put(create.typevar.as_ref(), RelationKind::Composite, Vec::new(), snapshot);
            if let Some(range) = &create.typevar {
                let name = [string_node(&range.schemaname), string_node(&range.relname)];
                let from = usize::from(range.schemaname.is_empty());
                add_type(name.get(from..).unwrap_or_default(), snapshot);
            }
        }
        NodeEnum::CreateFunctionStmt(create) => {
            if let Some((schema, name)) = qualified(&create.funcname, snapshot) {
                let holders = snapshot.functions.entry(name).or_default();
                if !holders.contains(&schema) {
                    holders.push(schema);
                }
            }
        }
        _ => {}
    }
}

fn create_table(create: &nodes::CreateStmt, snapshot: &mut Snapshot) {
    let mut columns = Vec::new();
    let mut sequences = Vec::new();
    for parent in &create.inh_relations {
        if let Some(NodeEnum::RangeVar(range)) = &parent.node
            && let Some(parent) = find(Some(range), snapshot)
        {
            columns.extend(parent.columns.iter().cloned());
        }
    }
    for element in &create.table_elts {
        match &element.node {
            Some(NodeEnum::ColumnDef(column)) => {
                if !columns.contains(&column.colname) {
                    columns.push(column.colname.clone());
                }
                if column.type_name.as_ref().is_some_and(is_serial) {
                    sequences.push(column.colname.clone());
                }
            }
            Some(NodeEnum::TableLikeClause(like)) => {
                if let Some(model) = find(like.relation.as_ref(), snapshot) {
                    columns.extend(model.columns.iter().cloned());
                }
            }
            _ => {}
        }
    }
    let Some((schema, name)) = place(create.relation.as_ref(), snapshot) else {
        return;
    };
    for column in sequences {
        let mut sequence = relation(
            &schema,
            &format!("{name}_{column}_seq"),
            RelationKind::Sequence,
            Vec::new(),
        );
        sequence.owner_table = Some((schema.clone(), name.clone()));
        insert(sequence, snapshot);
    }
    put(create.relation.as_ref(), RelationKind::Table, columns, snapshot);
}

fn alter_table(alter: &nodes::AlterTableStmt, snapshot: &mut Snapshot) {
    let Some(mut relation) = taken(alter.relation.as_ref(), snapshot) else {
        return;
    };
    for command in &alter.cmds {
        let Some(NodeEnum::AlterTableCmd(command)) = &command.node else {
            continue;
        };
        match AlterTableType::try_from(command.subtype) {
            Ok(AlterTableType::AtAddColumn) => {
                if let Some(NodeEnum::ColumnDef(column)) = command.def.as_deref().and_then(|def| def.node.as_ref())
                    && !relation.columns.contains(&column.colname)
                {
                    relation.columns.push(column.colname.clone());
                }
            }
            Ok(AlterTableType::AtDropColumn) => relation.columns.retain(|column| *column != command.name),
            _ => {}
        }
    }
    insert(relation, snapshot);
}

fn renamed(rename: &nodes::RenameStmt, snapshot: &mut Snapshot) {
    let Some(mut relation) = taken(rename.relation.as_ref(), snapshot) else {
        return;
    };
    match ObjectType::try_from(rename.rename_type) {
        Ok(ObjectType::ObjectColumn) => {
            for column in &mut relation.columns {
                if *column == rename.subname {
                    column.clone_from(&rename.newname);
                }
            }
        }
        Ok(
            ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectSequence
            | ObjectType::ObjectIndex,
        ) => relation.name.clone_from(&rename.newname),
        _ => {}
    }
    insert(relation, snapshot);
}

fn dropped(drop: &nodes::DropStmt, snapshot: &mut Snapshot) {
    for object in &drop.objects {
        match &object.node {
            Some(NodeEnum::List(list)) => {
                let Some(path) = strings(&list.items) else { continue };
                let range = match path.as_slice() {
                    [name] => nodes::RangeVar {
                        relname: (*name).to_owned(),
                        ..nodes::RangeVar::default()
                    },
                    [schema, name] => nodes::RangeVar {
                        schemaname: (*schema).to_owned(),
                        relname: (*name).to_owned(),
                        ..nodes::RangeVar::default()
                    },
                    _ => continue,
                };
                if let Some(gone) = taken(Some(&range), snapshot) {
                    let owner = Some((gone.schema, gone.name));
                    for relations in snapshot.relations.values_mut() {
                        relations.retain(|_, relation| relation.owner_table != owner);
                    }
                }
            }
            Some(NodeEnum::String(schema)) => {
                snapshot.relations.remove(&schema.sval);
            }
            _ => {}
        }
    }
}

// === names ===

/// Where a relation of this name is, or would be made.
fn place(range: Option<&nodes::RangeVar>, snapshot: &Snapshot) -> Option<(String, String)> {
    let range = range?;
    let schema = if !range.schemaname.is_empty() {
        range.schemaname.clone()
    } else if let Some(known) = snapshot.resolve_relation(&range.relname) {
        known.schema.clone()
    } else {
        snapshot.creation_schema()?.to_owned()
    };
    Some((schema, range.relname.clone()))
}

fn find<'s>(range: Option<&nodes::RangeVar>, snapshot: &'s Snapshot) -> Option<&'s Relation> {
    let (schema, name) = place(range, snapshot)?;
    snapshot.relation(&schema, &name)
}

/// Takes a relation out of the snapshot, to be changed and put back, or to be gone.
fn taken(range: Option<&nodes::RangeVar>, snapshot: &mut Snapshot) -> Option<Relation> {
    let (schema, name) = place(range, snapshot)?;
    snapshot.relations.get_mut(&schema)?.remove(&name)
}

fn insert(relation: Relation, snapshot: &mut Snapshot) {
    let relations = snapshot.relations.entry(relation.schema.clone()).or_default();
    relations.insert(relation.name.clone(), relation);
}

/// Adds a new relation; one that is there (IF NOT EXISTS, OR REPLACE) keeps what it has.
fn put(range: Option<&nodes::RangeVar>, kind: RelationKind, columns: Vec<String>, snapshot: &mut Snapshot) {
    // A new relation lands in the first schema of the path, whatever lies behind it.
    let Some(range) = range.filter(|range| !range.relname.is_empty()) else {
        return;
    };
    let schema = if range.schemaname.is_empty() {
        let Some(schema) = snapshot.creation_schema() else {
            return;
        };
        schema.to_owned()
    } else {
        range.schemaname.clone()
    };
    let relations = snapshot.relations.entry(schema.clone()).or_default();
    relations
        .entry(range.relname.clone())
        .or_insert_with(|| relation(&schema, &range.relname, kind, columns));
}

fn relation(schema: &str, name: &str, kind: RelationKind, columns: Vec<String>) -> Relation {
    Relation {
        oid: 0,
        schema: schema.to_owned(),
        name: name.to_owned(),
        kind,
        columns,
        owner_table: None,
        parents: Vec::new(),
        key: Vec::new(),
        facts: Vec::new(),
        attached: Attached::default(),
    }
}

fn qualified(names: &[Node], snapshot: &Snapshot) -> Option<(String, String)> {
    match strings(names)?.as_slice() {
        [name] => Some((snapshot.creation_schema()?.to_owned(), (*name).to_owned())),
        [schema, name] => Some(((*schema).to_owned(), (*name).to_owned())),
        _ => None,
    }
}

fn add_type(names: &[Node], snapshot: &mut Snapshot) {
    if let Some((schema, name)) = qualified(names, snapshot) {
        let holders = snapshot.types.entry(name).or_default();
        if !holders.contains(&schema) {
            holders.push(schema);
        }
    }
}

fn string_node(text: &str) -> Node {
    Node {
        node: Some(NodeEnum::String(nodes::String { sval: text.to_owned() })),
    }
}

// === columns of a query ===

/// The columns a query gives: the names given to them, else its own.
fn named(aliases: &[Node], query: Option<&Node>, snapshot: &Snapshot) -> Vec<String> {
    let mut columns = match query.and_then(|query| query.node.as_ref()) {
        Some(NodeEnum::SelectStmt(select)) => targets(&select.target_list, select, snapshot),
        _ => Vec::new(),
    };
    for (index, alias) in aliases.iter().enumerate() {
        let Some(alias) = string(alias) else { continue };
        match columns.get_mut(index) {
            Some(column) => alias.clone_into(column),
            None => columns.push(alias.to_owned()),
        }
    }
    columns
}

fn targets(list: &[Node], select: &nodes::SelectStmt, snapshot: &Snapshot) -> Vec<String> {
    let mut columns = Vec::new();
    for target in list {
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            continue;
        };
        if !target.name.is_empty() {
            columns.push(target.name.clone());
            continue;
        }
        let Some(NodeEnum::ColumnRef(column)) = target.val.as_deref().and_then(|value| value.node.as_ref()) else {
            continue;
        };
        match column.fields.last().and_then(|field| field.node.as_ref()) {
            Some(NodeEnum::String(name)) => columns.push(name.sval.clone()),
            Some(NodeEnum::AStar(_)) => {
                for from in &select.from_clause {
                    if let Some(NodeEnum::RangeVar(range)) = &from.node
                        && let Some(source) = find(Some(range), snapshot)
                    {
                        columns.extend(source.columns.iter().cloned());
                    }
                }
            }
            _ => {}
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::sample;

    fn after(text: &str) -> Snapshot {
        let mut snapshot = sample::fixture();
        apply(text, &mut snapshot).unwrap();
        snapshot
    }

    fn columns(snapshot: &Snapshot, schema: &str, name: &str) -> Option<Vec<String>> {
        snapshot.relation(schema, name).map(|relation| relation.columns.clone())
    }

    #[test]
    fn a_migration_is_followed() {
        let snapshot = after(
            "CREATE SCHEMA app; CREATE TABLE app.t (id serial, a text); ALTER TABLE app.t ADD COLUMN b int, DROP COLUMN a;
             ALTER TABLE app.t RENAME COLUMN b TO c; CREATE INDEX t_c ON app.t (c); CREATE TABLE app.u (LIKE app.t, d int);
             ALTER TABLE app.u RENAME TO v; CREATE VIEW app.w AS SELECT id, c AS e FROM app.t; CREATE TABLE app.x AS SELECT * FROM app.t;
             CREATE TYPE app.mood AS ENUM ('a'); CREATE TABLE app.gone (id serial); DROP TABLE app.gone",
        );
        assert_eq!(columns(&snapshot, "app", "t").unwrap(), ["id", "c"]);
        assert_eq!(columns(&snapshot, "app", "v").unwrap(), ["id", "c", "d"]);
        assert_eq!(columns(&snapshot, "app", "u"), None);
        assert_eq!(columns(&snapshot, "app", "w").unwrap(), ["id", "e"]);
        assert_eq!(columns(&snapshot, "app", "x").unwrap(), ["id", "c"]);
        assert_eq!(snapshot.relation("app", "t_c").unwrap().kind, RelationKind::Index);
        assert_eq!(
            snapshot.relation("app", "t_id_seq").unwrap().kind,
            RelationKind::Sequence
        );
        assert_eq!(
            (
                columns(&snapshot, "app", "gone"),
                columns(&snapshot, "app", "gone_id_seq")
            ),
            (None, None)
        );
        assert_eq!(snapshot.types["mood"], ["app"]);
    }

    #[test]
    fn what_is_there_stays_what_it_is() {
        let before = sample::fixture();
        let name = before.relations["public"].keys().next().unwrap().clone();
        let snapshot = after(&format!("CREATE TABLE IF NOT EXISTS public.\"{name}\" (other int)"));
        assert_eq!(snapshot.relation("public", &name), before.relation("public", &name));
    }
}
