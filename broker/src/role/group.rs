//! The role of a scope: made, and held to exactly the compiled rights, by the difference to what it holds.
//!
//! All of it is one transaction under an advisory lock of the database, so that two brokers do not work on the same
//! lists at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::fault::RoleFault;
use super::names::{self, Names};
use super::views;
use crate::catalog::{Part, query, read_user};
use crate::decide::rewrite;
use crate::decide::rights::{self, Object, Privilege, Right, Routine, Surroundings};
use crate::mask;
use crate::policy::Scope;
use crate::sql::Snapshot;
use crate::sql::quote::{identifier, literal};

/// What became of a role's rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    /// Rights that were given.
    pub granted: usize,
    /// Rights that were taken.
    pub revoked: usize,
    /// Owners of objects on which the broker's login cannot give what the scope says, with how many rights.
    pub withheld: BTreeMap<String, usize>,
    /// Views of masked tables that the role may still read and no longer needs: sessions that have not seen the schema
    /// change yet read them for a moment more.
    pub idle: BTreeSet<Right>,
}

#[derive(Deserialize)]
struct Document {
    schemas: Vec<String>,
    routines: Vec<(String, String, String)>,
    held: Vec<Held>,
    public: Vec<Held>,
    foreign: Vec<Held>,
}

/// Kind, schema, name, column or arguments; then the privilege, or the owner.
type Held = (String, String, Option<String>, Option<String>, String);

fn object((kind, schema, name, part, _): &Held) -> Option<Object> {
    let (schema, name) = (schema.clone(), name.clone());
    Some(match kind.as_str() {
        "n" => Object::Schema(schema),
        "t" => Object::Table { schema, name: name? },
        "s" => Object::Sequence { schema, name: name? },
        "c" => Object::Column {
            schema,
            table: name?,
            name: part.clone()?,
        },
        "f" => Object::Routine(Routine {
            schema,
            name: name?,
            arguments: part.clone()?,
        }),
        _ => return None,
    })
}

fn rights_of(held: &[Held]) -> BTreeSet<Right> {
    held.iter()
        .filter_map(|held| {
            Some(Right {
                object: object(held)?,
                privilege: Privilege::of(&held.4)?,
            })
        })
        .collect()
}

/// The owner of an object on which the broker's login has no say.
fn foreign_owner<'d>(right: &Right, document: &'d Document) -> Option<&'d str> {
    let (kind, schema, name, part) = match &right.object {
        Object::Schema(schema) => ("n", schema, None, None),
        Object::Table { schema, name } | Object::Sequence { schema, name } => ("t", schema, Some(name), None),
        Object::Column { schema, table, .. } => ("t", schema, Some(table), None),
        Object::Routine(routine) => ("f", &routine.schema, Some(&routine.name), Some(&routine.arguments)),
    };
    document
        .foreign
        .iter()
        .find(|(of, its_schema, its_name, its_part, _)| {
            of == kind && its_schema == schema && its_name.as_ref() == name && its_part.as_ref() == part
        })
        .map(|(.., owner)| owner.as_str())
}

/// Takes the lock under which scope roles of this database change, until the transaction is over. A job that may take
/// advisory locks could hold this one and keep everybody from grants; no honest one does: its session is ended.
pub async fn lock(transaction: &Transaction<'_>, names: &Names) -> Result<(), tokio_postgres::Error> {
    let key = names::lock_key(&names.groups);
    let row = transaction
        .query_one("SELECT pg_catalog.pg_try_advisory_xact_lock($1)", &[&key])
        .await?;
    if row.get(0) {
        return Ok(());
    }
    transaction.batch_execute("SET LOCAL lock_timeout = '10s'").await?;
    let ended = transaction
        .query(
            "SELECT a.usename::pg_catalog.text, pg_catalog.pg_terminate_backend(a.pid) \
             FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid \
             WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
             AND l.objsubid OPERATOR(pg_catalog.=) 1 AND ((l.classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32) \
               OPERATOR(pg_catalog.|) l.objid::pg_catalog.int8) OPERATOR(pg_catalog.=) $1 \
             AND pg_catalog.starts_with(a.usename::pg_catalog.text, $2)",
            &[&key, &names.logins],
        )
        .await?;
    for row in ended {
        let login: &str = row.get(0);
        tracing::warn!(%login, "a job held the lock of the broker's own: its session was ended");
    }
    transaction
        .execute("SELECT pg_catalog.pg_advisory_xact_lock($1)", &[&key])
        .await
        .map(|_| ())
}

/// Makes the role unless it is there, and brings its rights in step with the scope and the schema.
pub async fn sync(
    transaction: &Transaction<'_>,
    place: views::Place<'_>,
    role: &str,
    (scope, about): (&Scope, &str),
    idle: &BTreeSet<Right>,
) -> Result<Synced, RoleFault> {
    let database = place.database;
    let failed = |doing| move |error: tokio_postgres::Error| RoleFault::of(database, doing, &error);
    // Types print with their schemas, and nothing of anybody's can stand in front of the server's own. Views wait for
    // the locks of migrations, and everybody waits for this transaction.
    transaction
        .batch_execute("SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '3s'")
        .await
        .map_err(failed("the search path"))?;
    ensure(transaction, role, about)
        .await
        .map_err(failed("the role of a scope"))?;
    // One statement, and so one moment: a table that appears between two readings would look like a right too many.
    let both = format!("SELECT ({}), ({})", query(Part::User), include_str!("rights.sql"));
    let row = transaction
        .query_one(&both, &[&role])
        .await
        .map_err(failed("the schema and the rights of a scope's role"))?;
    let (schema, text): (String, String) = (row.get(0), row.get(1));
    let malformed = |cause: String| RoleFault::Failed {
        database: database.to_owned(),
        doing: "the schema",
        cause,
        sqlstate: None,
    };
    let mut snapshot = read_user(&Snapshot::default(), &schema).map_err(malformed)?;
    let (memory, controls, target) = place.sight;
    memory.bind(controls, target, &mut snapshot).await?;
    let document: Document = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let owners: Vec<&str> = scope.can.iter().filter_map(|rule| rule.owner.as_deref()).collect();
    let wanted = rewrite::views(scope, &snapshot);
    let keyed = scope.masks.iter().any(|rule| rule.mask.needs_key());
    let built = views::build(transaction, place, (&wanted, keyed), &owners).await?;
    let mut places = built.made;
    let (mut synced, statements) = difference(scope, &snapshot, &document, (role, built.names, idle), &mut places);
    for (owner, count) in built.withheld {
        *synced.withheld.entry(owner).or_default() += count;
    }
    if !statements.is_empty() {
        transaction
            .batch_execute(&statements.join(";\n"))
            .await
            .map_err(failed("giving and taking rights"))?;
    }
    let moved = moved(transaction, &snapshot, &places);
    if moved.await.map_err(failed("the names of tables"))? {
        return Err(RoleFault::Failed {
            database: database.to_owned(),
            doing: "giving and taking rights",
            cause: "a table or a column got another name in the meantime".to_owned(),
            sqlstate: Some(SqlState::T_R_SERIALIZATION_FAILURE.code().to_owned()),
        });
    }
    Ok(synced)
}

/// True when one of `places` is another relation by now than the one that was read, or its columns are others. Rights
/// and views are made by name, often after waiting for the lock of a migration: under a name that changed hands in the
/// meantime they would show what is masked.
async fn moved(
    transaction: &Transaction<'_>,
    before: &Snapshot,
    places: &BTreeSet<(String, String)>,
) -> Result<bool, tokio_postgres::Error> {
    if places.is_empty() {
        return Ok(false);
    }
    let (schemas, tables): (Vec<&str>, Vec<&str>) = places.iter().map(|(schema, table)| (&**schema, &**table)).unzip();
    let rows = transaction
        .query(
            "SELECT w.schema, w.name, c.oid, ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum), \
             ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum) \
             FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) w(schema, name) \
             LEFT JOIN (pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace) \
             ON n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) w.schema AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) w.name",
            &[&schemas, &tables],
        )
        .await?;
    Ok(rows.iter().any(|row| {
        let Some(relation) = before.relation(row.get(0), row.get(1)) else {
            return false;
        };
        let (numbers, names): (Vec<i16>, Vec<String>) = (row.get(3), row.get(4));
        let same = row.get::<_, Option<u32>>(2) == Some(relation.oid)
            && names == relation.columns
            && (relation.facts.is_empty() || relation.facts.iter().map(|fact| fact.number).eq(numbers));
        !same
    }))
}

/// What to give and what to take; the tables that are given come to `places`.
fn difference(
    scope: &Scope,
    snapshot: &Snapshot,
    document: &Document,
    (role, views, idle): (&str, Vec<String>, &BTreeSet<Right>),
    places: &mut BTreeSet<(String, String)>,
) -> (Synced, Vec<String>) {
    let around = Surroundings {
        views,
        schemas: document.schemas.clone(),
        routines: document
            .routines
            .iter()
            .map(|(schema, name, arguments)| Routine {
                schema: schema.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
            })
            .collect(),
    };
    let wanted = rights::compile(scope, snapshot, &around);
    let held = rights_of(&document.held);
    let everybodys = rights_of(&document.public);
    let mut synced = Synced::default();
    let mut give: Vec<&Right> = Vec::new();
    for right in wanted.difference(&held) {
        match foreign_owner(right, document) {
            None => give.push(right),
            Some(_) if everybodys.contains(right) => {}
            Some(owner) => *synced.withheld.entry(owner.to_owned()).or_default() += 1,
        }
    }
    places.extend(give.iter().filter_map(|right| match &right.object {
        Object::Table { schema, name }
        | Object::Column {
            schema, table: name, ..
        } => Some((schema.clone(), name.clone())),
        Object::Schema(_) | Object::Sequence { .. } | Object::Routine(_) => None,
    }));
    let ours = |right: &&Right| foreign_owner(right, document).is_none();
    let view = |right: &&Right| matches!(&right.object, Object::Table { schema, .. } if schema == mask::SCHEMA);
    let (late, take): (Vec<&Right>, Vec<&Right>) = held
        .difference(&wanted)
        .filter(ours)
        .partition(|right| view(right) && !idle.contains(right));
    synced.idle = late.into_iter().cloned().collect();
    (synced.granted, synced.revoked) = (give.len(), take.len());
    let mut statements = rights::revokes(take, role);
    statements.extend(rights::grants(give, role));
    (synced, statements)
}

async fn ensure(transaction: &Transaction<'_>, role: &str, about: &str) -> Result<(), tokio_postgres::Error> {
    let row = transaction
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name), \
             pg_catalog.current_setting('server_version_num')::pg_catalog.int4",
            &[&role],
        )
        .await?;
    let (there, version): (bool, i32) = (row.get(0), row.get(1));
    if there {
        return Ok(());
    }
    let name = identifier(role);
    // The broker's login joins it to look at the schema as the jobs do.
    let how = if version >= 160_000 {
        " WITH INHERIT FALSE, SET TRUE"
    } else {
        ""
    };
    transaction
        .batch_execute(&format!(
            "CREATE ROLE {name} NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION; \
             GRANT {name} TO CURRENT_USER{how}; COMMENT ON ROLE {name} IS {}",
            literal(about)
        ))
        .await
}

/// Takes everything from a scope's role that nobody needs any more, and the role itself. False while it has members.
pub async fn drop_unused(transaction: &Transaction<'_>, role: &str) -> Result<bool, tokio_postgres::Error> {
    let row = transaction
        .query_one(
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_auth_members m \
             JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) m.roleid \
             JOIN pg_catalog.pg_roles l ON l.oid OPERATOR(pg_catalog.=) m.member \
             WHERE g.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name \
             AND l.rolname OPERATOR(pg_catalog.~~) 'hoop\\_l\\_%'",
            &[&role],
        )
        .await?;
    if row.get::<_, i64>(0) > 0 {
        return Ok(false);
    }
    transaction
        .batch_execute("SET LOCAL search_path = pg_catalog, pg_temp")
        .await?;
    let text: String = transaction
        .query_one(include_str!("rights.sql"), &[&role])
        .await?
        .get(0);
    let held =
        serde_json::from_str::<Document>(&text).map_or_else(|_| BTreeSet::new(), |document| rights_of(&document.held));
    let mut statements = rights::revokes(&held, role);
    statements.push(format!("DROP ROLE IF EXISTS {}", identifier(role)));
    transaction.batch_execute(&statements.join(";\n")).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pattern::Pattern;
    use crate::grant::testing;
    use crate::policy::{RelationPattern, Rule};
    use crate::sql::{Class, sample};

    #[test]
    fn only_the_difference_is_given_and_taken_and_what_cannot_be_given_is_told() {
        let mut scope = Scope::clone(&testing::scope("read"));
        let rule = Rule {
            origin: scope.origin.clone(),
            classes: [Class::Select].into(),
            tables: vec![RelationPattern {
                origin: scope.origin.clone(),
                pattern: Pattern::new("app.*", '.').unwrap(),
            }],
            columns: None,
            functions: Vec::new(),
            owner: None,
            objects: std::collections::BTreeSet::new(),
            settings: std::collections::BTreeMap::new(),
        };
        scope.can.push(rule.clone());
        scope.ceiling.push(rule);
        let mut snapshot = Snapshot::default();
        for name in ["held", "new", "foreign", "open"] {
            sample::add_table(&mut snapshot, "app", name, &["id"]);
        }
        let held =
            |name: &str, what: &str| -> Held { ("t".into(), "app".into(), Some(name.into()), None, what.into()) };
        let document = Document {
            schemas: vec!["app".into()],
            routines: Vec::new(),
            held: vec![
                held("held", "SELECT"),
                held("held", "DELETE"),
                ("n".into(), "app".into(), None, None, "USAGE".into()),
                (
                    "c".into(),
                    "app".into(),
                    Some("new".into()),
                    Some("id".into()),
                    "UPDATE".into(),
                ),
            ],
            public: vec![held("open", "SELECT")],
            foreign: vec![held("foreign", "dba"), held("open", "dba")],
        };
        let (synced, statements) = difference(
            &scope,
            &snapshot,
            &document,
            ("g", Vec::new(), &BTreeSet::new()),
            &mut BTreeSet::new(),
        );
        assert_eq!(
            statements,
            [
                "REVOKE DELETE ON TABLE \"app\".\"held\" FROM \"g\"",
                "REVOKE UPDATE (\"id\") ON TABLE \"app\".\"new\" FROM \"g\"",
                "GRANT SELECT ON TABLE \"app\".\"new\" TO \"g\"",
            ]
        );
        assert_eq!(synced.withheld, BTreeMap::from([("dba".to_owned(), 1)]));
    }
}
