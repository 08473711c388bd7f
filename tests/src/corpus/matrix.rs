//! The golden matrix: every statement class against every shape of scope rule, as the broker's own judge sees it.

use std::fmt::Write as _;

use anyhow::Result;
use hoop::sql::{Class, Snapshot};

use super::judge::Judge;

/// One statement of every class, on `app.orders` where it works on a table.
const STATEMENTS: &[(Class, &str)] = &[
    (Class::Select, "SELECT id, note FROM app.orders"),
    (Class::Select, "SELECT count(*) FROM app.orders"),
    (Class::Select, "SELECT * FROM app.orders"),
    (Class::Select, "SELECT o FROM app.orders o"),
    (Class::Select, "SELECT 1"),
    (Class::Select, "SELECT app.own(1)"),
    (Class::Insert, "INSERT INTO app.orders (id, note) VALUES (1, 'x')"),
    (Class::Insert, "INSERT INTO app.orders VALUES (1, 'x', 's')"),
    (Class::Update, "UPDATE app.orders SET note = 'x'"),
    (
        Class::Update,
        "UPDATE app.orders SET note = 'x' WHERE id = 1 RETURNING secret",
    ),
    (Class::Delete, "DELETE FROM app.orders"),
    (
        Class::Merge,
        "MERGE INTO app.orders USING (SELECT 1 AS n) q ON false WHEN NOT MATCHED THEN INSERT (id) VALUES (q.n)",
    ),
    (Class::Truncate, "TRUNCATE app.orders"),
    (Class::CopyIn, "COPY app.orders (id, note) FROM STDIN"),
    (Class::CopyOut, "COPY app.orders (id, note) TO STDOUT"),
    (Class::Create, "CREATE TABLE app.orders_new (id int)"),
    (Class::Create, "CREATE INDEX ON app.orders (note)"),
    (
        Class::Create,
        "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    (Class::Alter, "ALTER TABLE app.orders ADD COLUMN more int"),
    (Class::Drop, "DROP TABLE app.orders"),
    (Class::Comment, "COMMENT ON TABLE app.orders IS 'x'"),
    (Class::Grant, "GRANT SELECT ON app.orders TO PUBLIC"),
    (Class::Refresh, "REFRESH MATERIALIZED VIEW app.stored"),
    (Class::Maintain, "VACUUM app.orders"),
    (Class::Lock, "LOCK TABLE app.orders"),
    (Class::Call, "CALL app.proc()"),
    (Class::Do, "DO 'BEGIN END'"),
    (Class::Listen, "LISTEN news"),
    (Class::Notify, "NOTIFY news"),
    (Class::Set, "SET statement_timeout = '1s'"),
    (Class::Set, "SET search_path = app"),
    (Class::Explain, "EXPLAIN SELECT id FROM app.orders"),
    (Class::Cursor, "DECLARE c CURSOR FOR SELECT id FROM app.orders"),
    (Class::Prepare, "PREPARE p AS DELETE FROM app.orders"),
    (Class::Transaction, "BEGIN"),
    (Class::TwoPhase, "PREPARE TRANSACTION 'x'"),
    (Class::Show, "SHOW statement_timeout"),
];

/// The schema that the statements are about, as the broker reads it from a server.
const SCHEMA: &str = r#"{"server_version":150018,"user":"job","search_path":["pg_catalog","public"],
  "relations":[
    {"oid":20001,"schema":"app","name":"orders","kind":"r","columns":["id","note","secret"],"owner":null,"parents":[]},
    {"oid":20002,"schema":"app","name":"stored","kind":"m","columns":["id"],"owner":null,"parents":[]}],
  "functions":[["own","app"],["proc","app"],["count","pg_catalog"]],
  "types":[["int4","pg_catalog"],["int8","pg_catalog"],["text","pg_catalog"]],"operators":[]}"#;

/// A shape of scope rule: its name, the scope's `can` for a class, the ceiling's `can`, and `never`.
struct Shape {
    name: &'static str,
    scope: fn(&str, bool) -> String,
    ceiling: &'static str,
    never: &'static str,
}

const ALL: &str = "[read, write, ddl, truncate, grant, lock, call, do, listen, notify, set, two-phase]";

const SHAPES: &[Shape] = &[
    Shape {
        name: "other",
        scope: |_, _| "{ statements: [select], tables: [app.other] }".to_owned(),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "class",
        scope: |class, on_tables| rule(class, on_tables, "app.other", ""),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "glob",
        scope: |class, on_tables| rule(class, on_tables, "app.*", ""),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "exact",
        scope: |class, on_tables| rule(class, on_tables, "app.orders", ""),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "columns",
        scope: |class, on_tables| rule(class, on_tables, "app.orders", ", columns: [id, note]"),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "functions",
        scope: |_, _| "{ functions: [app.own] }".to_owned(),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "everything",
        scope: |_, _| format!("{{ statements: {ALL}, tables: [\"**\"], functions: [\"**\"] }}"),
        ceiling: "",
        never: "",
    },
    Shape {
        name: "never",
        scope: |_, _| format!("{{ statements: {ALL}, tables: [\"**\"], functions: [\"**\"] }}"),
        ceiling: "",
        never: "never: { tables: [app.orders] }",
    },
    Shape {
        name: "ceiling",
        scope: |_, _| format!("{{ statements: {ALL}, tables: [\"app.*\"] }}"),
        ceiling: "{ statements: [select], tables: [\"app.o*\"], columns: [id, note] }",
        never: "",
    },
];

fn rule(class: &str, on_tables: bool, tables: &str, columns: &str) -> String {
    if on_tables {
        format!("{{ statements: [{class}], tables: [\"{tables}\"]{columns} }}")
    } else {
        format!("{{ statements: [{class}] }}")
    }
}

/// Whether a rule of this class needs `tables:`.
fn works_on_tables(class: Class) -> bool {
    !matches!(
        class,
        Class::Call
            | Class::Do
            | Class::Listen
            | Class::Notify
            | Class::Set
            | Class::Explain
            | Class::Cursor
            | Class::Prepare
            | Class::Transaction
            | Class::TwoPhase
            | Class::Show
    )
}

/// The table in Markdown: `ok`, the code of the refusal, or the code why no such scope can be written.
pub fn matrix() -> Result<String> {
    let base = Snapshot::default();
    let mut snapshot = hoop::catalog::read_system(SCHEMA).map_err(anyhow::Error::msg)?;
    snapshot.version = base.version;
    let snapshot = std::sync::Arc::new(snapshot);
    let mut text = String::from(
        "# Every statement class against every shape of scope rule\n\n\
         Generated by the broker's own judge (`UPDATE_EXPECTED=1 cargo test -p tests --test corpus`). `other`: a rule for another\n\
         table. `class`, `glob`, `exact`, `columns`: a rule of the statement's class for another table, for `app.*`, for\n\
         `app.orders`, for two of its three columns. `functions`: one function. `everything`: all classes, tables and\n\
         functions; `never`: the same under an operator who forbids `app.orders`. `ceiling`: all classes on `app.*` under an\n\
         operator who grants only two columns of it to be read. A code in brackets: such a scope cannot be written.\n\n| class | statement |",
    );
    for shape in SHAPES {
        let _ = write!(text, " {} |", shape.name);
    }
    text += "\n|---|---|";
    text += &"---|".repeat(SHAPES.len());
    text.push('\n');
    for (class, sql) in STATEMENTS {
        let _ = write!(text, "| {class} | `{sql}` |");
        for shape in SHAPES {
            let _ = write!(text, " {} |", cell(*class, sql, shape, &snapshot));
        }
        text.push('\n');
    }
    Ok(text)
}

fn cell(class: Class, sql: &str, shape: &Shape, snapshot: &std::sync::Arc<Snapshot>) -> String {
    let can = (shape.scope)(class.as_str(), works_on_tables(class));
    let ceiling = if shape.ceiling.is_empty() {
        format!("{{ statements: {ALL}, tables: [\"**\"], functions: [\"**\"] }}")
    } else {
        format!(
            "{{ statements: {ALL}, tables: [\"app.z*\"] }}\n          - {}",
            shape.ceiling
        )
    };
    let policy = format!(
        "version: 1\nscopes:\n  job:\n    database: shop\n    who:\n      - {{ issuer: github, branch: main, events: [push] }}\n    can:\n      - {can}\n"
    );
    let operator = format!(
        "issuers: {{ github: {{ kind: github-actions }} }}\ndatabases: {{ shop: {{}} }}\nrepositories: []\nceilings:\n  team:\n    \
         databases:\n      shop:\n        can:\n          - {ceiling}\n    {}\n",
        shape.never
    );
    match Judge::scope(&policy, &operator, "job") {
        Ok(scope) => {
            let judge = Judge {
                scope,
                snapshot: snapshot.clone(),
            };
            judge.refuses(sql).unwrap_or("ok").to_owned()
        }
        Err(error) => {
            let text = error.to_string();
            let code = text.split("code: \"").nth(1).and_then(|rest| rest.split('"').next());
            format!("({})", code.unwrap_or(&text))
        }
    }
}

/// The classes that no statement of the matrix has.
pub fn missing() -> Vec<Class> {
    Class::ALL
        .iter()
        .copied()
        .filter(|class| !STATEMENTS.iter().any(|(known, _)| known == class))
        .collect()
}
