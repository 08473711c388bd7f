//! The views that stand for tables with masks: made in the broker's own schema, owned by a role that nobody logs in as.
//!
//! Such a role, the keeper of one owner's tables, may read what its views read and nothing else, and row security holds
//! for it. Nobody enters it but the broker's login, and a session that runs DDL as that owner, while the broker itself
//! drops and makes views around a judged statement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::error::SqlState;
use tokio_postgres::{GenericClient, Transaction};

use super::fault::RoleFault;
use super::keys;
use super::lack::{self, Lack};
use super::names::Names;
use crate::catalog::Memory;
use crate::decide::rewrite::View;
use crate::mask::SCHEMA;
use crate::mask::keyed::{Pads, TABLE};
use crate::sql::quote::{identifier, literal, qualified};
use crate::upstream::Target;
use crate::upstream::control::Controls;

/// Whether the table of the key is there, is the broker's own, and no view reads it.
const KEY_IS_IDLE: &str = "SELECT COALESCE((SELECT pg_catalog.pg_has_role(CURRENT_USER, t.relowner, 'USAGE') FROM pg_catalog.pg_class t \
    WHERE t.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)::pg_catalog.oid AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d \
    WHERE d.refobjid OPERATOR(pg_catalog.=) t.oid AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
    AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass)), false)";

/// Where views are made.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The operator's name of the database.
    pub database: &'a str,
    /// What the broker's roles are called there.
    pub names: &'a Names,
    /// The key of masks.
    pub key: Option<&'a Pads>,
    /// What policies saw first there, and how it is asked.
    pub sight: (&'a Memory, &'a Controls, &'a Arc<Target>),
}

/// What became of the views of a scope.
#[derive(Debug, Default)]
pub struct Built {
    /// Those that are there now.
    pub names: Vec<String>,
    /// The tables for which some were made just now.
    pub made: BTreeSet<(String, String)>,
    /// Owners of tables that the broker's login has no say over, with how many views that costs.
    pub withheld: BTreeMap<String, usize>,
}

/// Makes the views that are missing, the key where masks need one (`keyed`), and the keepers for `owners`, whose tables the scope's DDL may change.
pub async fn build(
    transaction: &Transaction<'_>,
    place: Place<'_>,
    (views, keyed): (&[View], bool),
    owners: &[&str],
) -> Result<Built, RoleFault> {
    let Place {
        database, names, key, ..
    } = place;
    let failed = |error: tokio_postgres::Error| RoleFault::of(database, "the views of masked tables", &error);
    let mut built = Built::default();
    let schema = Schema::look(transaction).await.map_err(failed)?;
    if !schema.there && views.is_empty() {
        return Ok(built);
    }
    let mut statements = schema.ensured(database)?;
    let there = present(transaction).await.map_err(failed)?;
    let tables = tables(transaction, views).await.map_err(failed)?;
    let mut keepers: BTreeMap<&str, String> = owners.iter().map(|owner| (*owner, names.keeper(owner))).collect();
    let mut making = Vec::new();
    for view in views {
        let Some(table) = tables.get(&view.relation) else {
            // Gone since the schema was read.
            continue;
        };
        if !table.ours {
            *built.withheld.entry(table.owner.clone()).or_default() += 1;
            continue;
        }
        let keeper = names.keeper(&table.owner);
        keepers.insert(&table.owner, keeper.clone());
        built.names.push(view.name.clone());
        let found = there.get(&view.name);
        if found.is_some_and(|(owner, sound)| *sound && *owner == keeper) {
            continue;
        }
        if found.is_some() {
            making.push(format!("DROP VIEW {}", qualified(SCHEMA, &view.name)));
        }
        built.made.insert((view.schema.clone(), view.table.clone()));
        making.extend(table.shared(view, &keeper));
        making.push(format!("SET LOCAL ROLE {}", identifier(&keeper)));
        making.extend(made(view, &table.owner));
        making.push("SET LOCAL ROLE NONE".to_owned());
    }
    for (owner, keeper) in &keepers {
        statements.extend(
            ensured(transaction, keeper, owner, schema.version)
                .await
                .map_err(failed)?,
        );
    }
    run(transaction, &statements).await.map_err(failed)?;
    if keyed {
        let Some(key) = key else {
            let what = format!("database `{database}` has masks that need a key, and no `mask-key`");
            return Err(RoleFault::Lacks {
                database: database.to_owned(),
                lacks: what,
            });
        };
        let keepers = keepers.values().map(String::as_str);
        if keys::keep(transaction, key, keepers).await.map_err(failed)? {
            tracing::warn!(%database, "the key of masks is another one: tokens differ from those of before");
        }
    }
    run(transaction, &making).await.map_err(failed)?;
    Ok(built)
}

async fn run(client: &impl GenericClient, statements: &[String]) -> Result<(), tokio_postgres::Error> {
    if statements.is_empty() {
        return Ok(());
    }
    client.batch_execute(&statements.join(";\n")).await
}

/// The statements, for its keeper to run, that make a view.
pub fn made(view: &View, owner: &str) -> Vec<String> {
    let name = qualified(SCHEMA, &view.name);
    let about = format!("hoop-db: {}.{} with its masks", view.schema, view.table);
    vec![
        format!("CREATE VIEW {name} WITH (security_barrier = true) AS {}", view.query),
        format!("COMMENT ON VIEW {name} IS {}", literal(&about)),
        // Who owns the table reads it raw: what it makes of a masked one shall be masked all the same.
        format!("GRANT SELECT ON TABLE {name} TO {}", identifier(owner)),
    ]
}

/// The statements, for the table's owner to run, that let its keeper read what a view reads.
pub fn readable(view: &View, keeper: &str) -> Vec<String> {
    let keeper = identifier(keeper);
    vec![format!(
        "GRANT SELECT ON TABLE {} TO {keeper}",
        qualified(&view.schema, &view.table)
    )]
}

struct Schema {
    there: bool,
    ours: bool,
    may_make: bool,
    login: String,
    version: i32,
}

/// What the broker's login lacks to keep masks.
pub async fn lack(client: &impl GenericClient) -> Result<Option<Lack>, tokio_postgres::Error> {
    Ok(Schema::look(client).await?.lack())
}

impl Schema {
    async fn look(client: &impl GenericClient) -> Result<Self, tokio_postgres::Error> {
        let row = client
            .query_one(
                "SELECT n.oid IS NOT NULL, COALESCE(pg_catalog.pg_has_role(CURRENT_USER, n.nspowner, 'USAGE'), false), \
                 pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), CURRENT_USER::pg_catalog.text, \
                 pg_catalog.current_setting('server_version_num')::pg_catalog.int4 \
                 FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n \
                 ON n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name",
                &[&SCHEMA],
            )
            .await?;
        Ok(Self {
            there: row.get(0),
            ours: row.get(1),
            may_make: row.get(2),
            login: row.get(3),
            version: row.get(4),
        })
    }

    fn lack(&self) -> Option<Lack> {
        let (schema, login) = (identifier(SCHEMA), identifier(&self.login));
        if self.there && !self.ours {
            return Some(Lack {
                what: format!("the schema {schema}, where masks live, belongs to another role"),
                sql: format!("ALTER SCHEMA {schema} OWNER TO {login};"),
            });
        }
        (!self.there && !self.may_make).then(|| Lack {
            what: format!("there is no schema {schema} of the broker's login's, where masks live"),
            sql: format!("CREATE SCHEMA {schema} AUTHORIZATION {login};"),
        })
    }

    /// What makes the schema where it is missing.
    fn ensured(&self, database: &str) -> Result<Vec<String>, RoleFault> {
        if let Some(lack) = self.lack() {
            return Err(RoleFault::Lacks {
                database: database.to_owned(),
                lacks: lack::told(&[lack]),
            });
        }
        Ok(if self.there {
            Vec::new()
        } else {
            vec![format!("CREATE SCHEMA {}", identifier(SCHEMA))]
        })
    }
}

/// The views of the schema: by name the owner, and whether it is what it should be.
async fn present(client: &impl GenericClient) -> Result<BTreeMap<String, (String, bool)>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT v.relname::pg_catalog.text, r.rolname::pg_catalog.text, v.relkind OPERATOR(pg_catalog.=) 'v' \
             AND 'security_barrier=true' OPERATOR(pg_catalog.=) ANY (COALESCE(v.reloptions, ARRAY[]::pg_catalog.text[])) \
             FROM pg_catalog.pg_class v JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) v.relnamespace \
             JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) v.relowner \
             WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name",
            &[&SCHEMA],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

struct Table {
    owner: String,
    /// The broker's login has a say over it, and over its schema unless everybody may use that.
    ours: bool,
    /// Its schema can be opened to the keeper.
    opens: bool,
}

impl Table {
    fn shared(&self, view: &View, keeper: &str) -> Vec<String> {
        let mut statements = readable(view, keeper);
        if self.opens {
            let schema = identifier(&view.schema);
            statements.push(format!("GRANT USAGE ON SCHEMA {schema} TO {}", identifier(keeper)));
        }
        statements
    }
}

async fn tables(client: &impl GenericClient, views: &[View]) -> Result<BTreeMap<u32, Table>, tokio_postgres::Error> {
    let oids: BTreeSet<u32> = views.iter().map(|view| view.relation).collect();
    let oids: Vec<u32> = oids.into_iter().collect();
    let rows = client
        .query(
            "SELECT c.oid, o.rolname::pg_catalog.text, pg_catalog.pg_has_role(CURRENT_USER, c.relowner, 'USAGE'), \
             pg_catalog.pg_has_role(CURRENT_USER, n.nspowner, 'USAGE'), \
             pg_catalog.has_schema_privilege('public', n.oid, 'USAGE') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) c.relowner \
             WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1)",
            &[&oids],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (own, opens, open): (bool, bool, bool) = (row.get(2), row.get(3), row.get(4));
            let table = Table {
                owner: row.get(1),
                ours: own && (opens || open),
                opens,
            };
            (row.get(0), table)
        })
        .collect())
}

/// What makes a keeper where there is none. Grants that live already may run DDL as the owner: they must be able to take
/// the views out of its way as those can that come later.
async fn ensured(
    client: &impl GenericClient,
    keeper: &str,
    owner: &str,
    version: i32,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name), \
             ARRAY(SELECT l.rolname::pg_catalog.text FROM pg_catalog.pg_auth_members m \
               JOIN pg_catalog.pg_roles l ON l.oid OPERATOR(pg_catalog.=) m.member \
               JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) m.roleid \
               WHERE o.rolname OPERATOR(pg_catalog.=) $2::pg_catalog.text::pg_catalog.name \
               AND l.rolname OPERATOR(pg_catalog.~~) 'hoop\\_l\\_%')",
            &[&keeper, &owner],
        )
        .await?;
    if row.get(0) {
        return Ok(Vec::new());
    }
    let logins: Vec<String> = row.get(1);
    let (name, schema) = (identifier(keeper), identifier(SCHEMA));
    let (how, becomes) = if version >= 160_000 {
        (" WITH INHERIT TRUE, SET TRUE", " WITH INHERIT FALSE, SET TRUE")
    } else {
        ("", "")
    };
    let about = format!("hoop-db: keeps the views of masked tables of {owner}");
    let mut statements = vec![
        format!("CREATE ROLE {name} NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"),
        format!("GRANT {name} TO CURRENT_USER{how}"),
        format!("COMMENT ON ROLE {name} IS {}", literal(&about)),
        format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {name}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {}", identifier(owner)),
    ];
    let grant = |login: &String| format!("GRANT {name} TO {}{becomes}", identifier(login));
    statements.extend(logins.iter().map(grant));
    Ok(statements)
}

/// Drops what nobody reads any more: views on which no scope has a right, then keepers without views that no session can
/// become, and what the others need no longer. A view in use stays until the next time. Returns what was dropped.
pub async fn sweep(transaction: &mut Transaction<'_>, names: &Names) -> Result<Vec<String>, tokio_postgres::Error> {
    transaction
        .batch_execute("SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '200ms'")
        .await?;
    let idle = transaction
        .query(
            "SELECT v.relname::pg_catalog.text FROM pg_catalog.pg_class v \
             JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) v.relnamespace \
             WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name AND v.relkind OPERATOR(pg_catalog.=) 'v' AND pg_catalog.pg_has_role(CURRENT_USER, v.relowner, 'USAGE') \
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.aclexplode(v.relacl) a JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee \
               WHERE r.rolname OPERATOR(pg_catalog.~~) 'hoop\\_g\\_%')",
            &[&SCHEMA],
        )
        .await?;
    let mut dropped = Vec::new();
    for row in idle {
        let name: String = row.get(0);
        let part = transaction.transaction().await?;
        match part
            .batch_execute(&format!("DROP VIEW {}", qualified(SCHEMA, &name)))
            .await
        {
            Ok(()) => {
                part.commit().await?;
                dropped.push(name);
            }
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => part.rollback().await?,
            Err(error) => return Err(error),
        }
    }
    let keepers = transaction
        .query(include_str!("keepers.sql"), &[&names.keepers])
        .await?;
    for row in keepers {
        let (keeper, idle): (String, bool) = (row.get(0), row.get(1));
        let (tables, schemas): (Vec<String>, Vec<String>) = (row.get(2), row.get(3));
        let role = identifier(&keeper);
        let mut statements: Vec<String> = tables
            .iter()
            .map(|table| format!("REVOKE ALL ON TABLE {table} FROM {role}"))
            .collect();
        statements.extend(
            schemas
                .iter()
                .map(|schema| format!("REVOKE ALL ON SCHEMA {schema} FROM {role}")),
        );
        if idle {
            statements.push(format!("DROP OWNED BY {role}; DROP ROLE {role}"));
            dropped.push(keeper);
        }
        run(transaction, &statements).await?;
    }
    let key = qualified(SCHEMA, TABLE);
    let row = transaction.query_one(KEY_IS_IDLE, &[&key]).await?;
    if row.get(0) {
        transaction.batch_execute(&format!("DROP TABLE {key}")).await?;
        dropped.push(key);
    }
    Ok(dropped)
}
