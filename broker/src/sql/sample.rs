//! The schema that tests read against: what a real PostgreSQL 15 with the corpus' fixture shows.

use std::collections::HashMap;

use serde_json::Value;

use super::snapshot::Attached;
use super::{Relation, RelationKind, Snapshot};

/// A file of the corpus.
pub(crate) fn corpus(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The corpus' fixture as a snapshot, `pg_catalog` and `information_schema` included.
pub(crate) fn fixture() -> Snapshot {
    let stored: Value = serde_json::from_str(&corpus("snapshot.json")).unwrap();
    let mut snapshot = Snapshot {
        version: 1,
        server_version: 150_018,
        search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
        home: vec!["$user".to_owned(), "public".to_owned()],
        user: "job".to_owned(),
        database: "corpus".to_owned(),
        functions: holders(&stored["functions"]),
        types: holders(&stored["types"]),
        user_operators: holders(&stored["operators"]),
        ..Snapshot::default()
    };
    for (oid, row) in (1..).zip(stored["relations"].as_array().unwrap()) {
        let relation = Relation {
            oid,
            schema: text(&row[0]),
            name: text(&row[1]),
            kind: kind(row[2].as_str().unwrap()),
            columns: row[3].as_array().unwrap().iter().map(text).collect(),
            owner_table: row[4].as_array().map(|pair| (text(&pair[0]), text(&pair[1]))),
            parents: row[5]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
            key: Vec::new(),
            facts: Vec::new(),
            attached: serde_json::from_value(row.get(6).cloned().unwrap_or_default()).unwrap_or_default(),
        };
        snapshot
            .relations
            .entry(relation.schema.clone())
            .or_default()
            .insert(relation.name.clone(), relation);
    }
    snapshot
}

/// The fixture with the tables that a workload of the corpus makes for itself.
pub(crate) fn workload(name: &str) -> Snapshot {
    let mut snapshot = fixture();
    let stored: Value = serde_json::from_str(&corpus("workload-schema.json")).unwrap();
    let Some(own) = stored.get(name) else {
        return snapshot;
    };
    for row in own["relations"].as_array().unwrap() {
        let relation = Relation {
            oid: 0,
            schema: "public".to_owned(),
            name: text(&row[0]),
            kind: kind(row[1].as_str().unwrap()),
            columns: row[2].as_array().unwrap().iter().map(text).collect(),
            owner_table: row[3].as_str().map(|table| ("public".to_owned(), table.to_owned())),
            parents: Vec::new(),
            key: Vec::new(),
            facts: Vec::new(),
            attached: Attached::default(),
        };
        snapshot
            .relations
            .entry("public".to_owned())
            .or_default()
            .insert(relation.name.clone(), relation);
    }
    for name in own["types"].as_array().unwrap() {
        snapshot.types.entry(text(name)).or_default().push("public".to_owned());
    }
    snapshot
}

/// Adds a table to a snapshot.
pub(crate) fn add_table(snapshot: &mut Snapshot, schema: &str, name: &str, columns: &[&str]) {
    let relation = Relation {
        oid: 100_000,
        schema: schema.to_owned(),
        name: name.to_owned(),
        kind: RelationKind::Table,
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
        owner_table: None,
        parents: Vec::new(),
        key: Vec::new(),
        facts: Vec::new(),
        attached: Attached::default(),
    };
    snapshot
        .relations
        .entry(schema.to_owned())
        .or_default()
        .insert(name.to_owned(), relation);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn holders(map: &Value) -> HashMap<String, Vec<String>> {
    let list = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
    map.as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), list(value)))
        .collect()
}

fn kind(relkind: &str) -> RelationKind {
    match relkind {
        "c" => RelationKind::Composite,
        "f" => RelationKind::Foreign,
        "i" | "I" => RelationKind::Index,
        "m" => RelationKind::MaterializedView,
        "S" => RelationKind::Sequence,
        "t" => RelationKind::Toast,
        "v" => RelationKind::View,
        _ => RelationKind::Table,
    }
}
