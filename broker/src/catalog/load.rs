//! The one query a snapshot comes from, and the reading of its answer. Every name in it is qualified, so that no
//! search path of anybody's can bend it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::mask::ColumnType;
use crate::sql::snapshot::{Attached, Carriers, ColumnFact, Hangs, Overloads};
use crate::sql::{Relation, RelationKind, Snapshot, TEMPORARY, settings};

/// Which schemas a query reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `pg_catalog` and `information_schema`: read once per database.
    System,
    /// Everything else but TOAST and other sessions' temporary schemas. The session's own goes by `pg_temp`.
    User,
}

/// The query: one row, one text column holding a JSON document.
pub fn query(part: Part) -> &'static str {
    match part {
        Part::System => concat!(
            "WITH RECURSIVE n AS MATERIALIZED (SELECT oid, nspname FROM pg_catalog.pg_namespace ",
            "WHERE nspname OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog', 'information_schema'])), ",
            include_str!("types.sql"),
            include_str!("overloads.sql"),
            include_str!("hangs.sql"),
            include_str!("attached.sql"),
            include_str!("snapshot.sql")
        ),
        Part::User => concat!(
            "WITH RECURSIVE n AS MATERIALIZED (SELECT oid, nspname FROM pg_catalog.pg_namespace ",
            // The broker's own schema is nobody's to name (`mask::SCHEMA`).
            "WHERE nspname OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_catalog', 'information_schema', 'hoop_masks']) ",
            "AND nspname OPERATOR(pg_catalog.!~~) 'pg\\_toast%' AND (nspname OPERATOR(pg_catalog.!~~) 'pg\\_temp\\_%' ",
            "OR oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())), ",
            include_str!("types.sql"),
            include_str!("overloads.sql"),
            include_str!("hangs.sql"),
            include_str!("attached.sql"),
            include_str!("snapshot.sql")
        ),
    }
}

#[derive(Deserialize)]
struct Document {
    server_version: u32,
    user: String,
    /// Documents of older versions lack it: then no relation is named with its database.
    #[serde(default)]
    database: String,
    search_path: Vec<String>,
    /// The setting that RESET goes back to. Documents of older versions lack it: then nothing is said of that path.
    #[serde(default)]
    home: Option<String>,
    relations: Vec<Row>,
    functions: Vec<(String, String)>,
    types: Vec<(String, String)>,
    operators: Vec<(String, String)>,
    #[serde(default)]
    carriers: Carriers,
    #[serde(default)]
    overloads: Overloads,
    #[serde(default)]
    hangs: Hangs,
}

#[derive(Deserialize)]
struct Row {
    oid: u32,
    schema: String,
    name: String,
    kind: String,
    columns: Vec<String>,
    owner: Option<(String, String)>,
    parents: Vec<(String, String)>,
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    facts: Option<Vec<Fact>>,
    #[serde(default)]
    derived: Option<Vec<(String, String)>>,
    #[serde(default)]
    attached: Option<Attached>,
}

/// Of a column its number, its type, the labels of an enum, whether it is computed, whether the catalog keeps its value for
/// older rows.
type Fact = (i16, String, Option<Vec<String>>, bool, bool);

/// Reads the system part into a snapshot without user relations.
pub fn read_system(text: &str) -> Result<Snapshot, String> {
    let mut snapshot = Snapshot::default();
    merge(&mut snapshot, parse(text)?, text);
    // Operators of pg_catalog are the server's own: the judge knows them.
    snapshot.user_operators.clear();
    Ok(snapshot)
}

/// Reads the user part on top of `base`'s system part. Equal schemas give equal versions.
pub fn read_user(base: &Snapshot, text: &str) -> Result<Snapshot, String> {
    let system = |schema: &str| matches!(schema, "pg_catalog" | "information_schema");
    let only_system = |names: &HashMap<String, Vec<String>>| -> HashMap<String, Vec<String>> {
        names
            .iter()
            .filter_map(|(name, schemas)| {
                let kept: Vec<String> = schemas.iter().filter(|schema| system(schema)).cloned().collect();
                (!kept.is_empty()).then(|| (name.clone(), kept))
            })
            .collect()
    };
    let mut snapshot = Snapshot {
        relations: base
            .relations
            .iter()
            .filter(|(schema, _)| system(schema))
            .map(|(s, r)| (s.clone(), r.clone()))
            .collect(),
        functions: only_system(&base.functions),
        types: only_system(&base.types),
        ..Snapshot::default()
    };
    merge(&mut snapshot, parse(text)?, text);
    if !base.user.is_empty() {
        // Whom a session is and how sessions begin does not change, whoever reads.
        snapshot.user.clone_from(&base.user);
        snapshot.home.clone_from(&base.home);
    }
    snapshot.bind(base.bound.clone());
    Ok(snapshot)
}

fn parse(text: &str) -> Result<Document, String> {
    serde_json::from_str(text).map_err(|error| format!("malformed snapshot: {error}"))
}

/// The session's own temporary schema has a number of which no policy knows.
pub fn plain(schema: String) -> String {
    if schema.starts_with("pg_temp_") {
        TEMPORARY.to_owned()
    } else {
        schema
    }
}

/// What hangs on a relation, with the session's own temporary schema under its name.
fn known(mut attached: Attached) -> Attached {
    let schemas = (attached.reads.iter_mut().map(|read| &mut read.schema))
        .chain(attached.triggers.iter_mut().map(|trigger| &mut trigger.schema))
        .chain(attached.calls.iter_mut().map(|call| &mut call.schema))
        .chain(attached.references.iter_mut().map(|reference| &mut reference.schema));
    schemas.for_each(|schema| *schema = plain(std::mem::take(schema)));
    attached
}

fn merge(snapshot: &mut Snapshot, document: Document, text: &str) {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    snapshot.version = digest
        .iter()
        .take(8)
        .fold(0, |version, &byte| (version << 8) | u64::from(byte));
    snapshot.server_version = document.server_version;
    snapshot.user = document.user;
    snapshot.database = document.database;
    snapshot.search_path = document.search_path.into_iter().map(plain).collect();
    let home = document.home.and_then(|home| settings::names(&home, ','));
    snapshot.home = home.unwrap_or_default();
    for row in document.relations {
        let Some(kind) = kind(&row.kind) else { continue };
        let in_schema = plain(row.schema);
        let schema: &mut BTreeMap<String, Relation> = snapshot.relations.entry(in_schema.clone()).or_default();
        schema.insert(
            row.name.clone(),
            Relation {
                oid: row.oid,
                schema: in_schema,
                name: row.name,
                kind,
                columns: row.columns,
                owner_table: row.owner.map(|(schema, name)| (plain(schema), name)),
                parents: row
                    .parents
                    .into_iter()
                    .map(|(schema, name)| (plain(schema), name))
                    .collect(),
                key: row.key,
                facts: row
                    .facts
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(number, of, labels, generated, kept)| ColumnFact {
                        number,
                        of: ColumnType::new(&of, labels.unwrap_or_default()),
                        generated,
                        kept,
                    })
                    .collect(),
                attached: Attached {
                    derived: row.derived.unwrap_or_default(),
                    ..row.attached.map(known).unwrap_or_default()
                },
            },
        );
    }
    snapshot.carriers = document.carriers;
    snapshot.overloads = document.overloads;
    snapshot.hangs = document.hangs;
    for carrier in snapshot.carriers.all() {
        carrier.schema = plain(std::mem::take(&mut carrier.schema));
    }
    for (names, list) in [
        (&mut snapshot.functions, document.functions),
        (&mut snapshot.types, document.types),
        (&mut snapshot.user_operators, document.operators),
    ] {
        for (name, schema) in list {
            names.entry(name).or_default().push(plain(schema));
        }
    }
}

fn kind(relkind: &str) -> Option<RelationKind> {
    Some(match relkind {
        "r" | "p" => RelationKind::Table,
        "v" => RelationKind::View,
        "m" => RelationKind::MaterializedView,
        "i" | "I" => RelationKind::Index,
        "S" => RelationKind::Sequence,
        "f" => RelationKind::Foreign,
        "c" => RelationKind::Composite,
        "t" => RelationKind::Toast,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"{"server_version":150018,"user":"hoop","search_path":["pg_catalog","public"],
        "relations":[{"oid":1,"schema":"public","name":"t","kind":"r","columns":["id"],"owner":null,"parents":[]}],
        "functions":[["f","public"]],"types":[["t","public"]],"operators":[["===","public"]]}"#;

    #[test]
    fn equal_documents_give_equal_versions_and_the_user_part_replaces_the_old_one() {
        let base = Snapshot::default();
        let one = read_user(&base, USER).unwrap();
        assert_eq!(read_user(&one, USER).unwrap().version, one.version);
        assert_eq!(one.resolve_relation("t").map(|relation| relation.oid), Some(1));
        let renamed = read_user(&one, &USER.replace("\"name\":\"t\"", "\"name\":\"u\"")).unwrap();
        assert_ne!(renamed.version, one.version);
        assert!(renamed.resolve_relation("t").is_none());
        assert_eq!(renamed.functions.get("f").map(Vec::len), Some(1));
    }

    #[test]
    fn a_temporary_schema_goes_by_pg_temp_wherever_it_is_named() {
        let attached = r#""parents":[],"attached":{
            "reads":[{"schema":"pg_temp_3","name":"r","columns":null}],
            "triggers":[{"schema":"pg_temp_3","name":"f","events":["insert"],"columns":[],"when":null}],
            "calls":[{"schema":"pg_temp_3","name":"f","column":null}],
            "references":[{"schema":"pg_temp_3","name":"p","columns":["id"],"cascades":true}]}"#;
        let text = USER.replace("\"parents\":[]", attached);
        let snapshot = read_user(&Snapshot::default(), &text).unwrap();
        let known = format!("{:?}", snapshot.relation("public", "t").unwrap().attached);
        assert_eq!(
            (known.matches("\"pg_temp\"").count(), known.contains("pg_temp_3")),
            (4, false),
            "{known}"
        );
    }

    #[test]
    fn a_malformed_answer_is_an_error() {
        assert!(read_user(&Snapshot::default(), "{}").is_err());
    }
}
