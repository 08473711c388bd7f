//! Definitions that have the server try or compare the raw values of a column: a scope that masks it learns one bit by each,
//! so all of them are refused with the mask's line, and the same of other columns is not. Both enforcements answer alike.

use std::fmt::Write as _;

use anyhow::Result;
use tests::{House, Plan};

const TABLES: &str = "
CREATE TABLE crm.made (
  id int PRIMARY KEY, name varchar(20), email varchar(40), amount numeric(10,2), code int, low int4range,
  CONSTRAINT two FOREIGN KEY (code) REFERENCES crm.people (id));
INSERT INTO crm.made VALUES (1, 'Ann', 'ann-canary@x', 1.5, 1, '[1,2)'), (2, 'Bob', 'bob-canary@x', 2.5, NULL, '[2,3)');
ALTER TABLE crm.made ADD CONSTRAINT waiting CHECK (length(email) < 90) NOT VALID, ADD CONSTRAINT plain CHECK (id < 90) NOT VALID;
CREATE UNIQUE INDEX made_email ON crm.made (email);
CREATE UNIQUE INDEX made_name ON crm.made (name);
CREATE TABLE crm.made_split (id int, email text) PARTITION BY LIST (email);
CREATE TABLE crm.made_rest PARTITION OF crm.made_split DEFAULT;
INSERT INTO crm.made_split VALUES (1, 'ann-canary@x');
CREATE TABLE crm.made_one (id int, email text);
CREATE TABLE crm.made_by_id (id int, email text) PARTITION BY LIST (id);
CREATE TABLE crm.made_id_rest PARTITION OF crm.made_by_id DEFAULT;
";

fn plan(enforcement: &'static str) -> Plan {
    let mut plan = tests::roles::masked(enforcement);
    plan.schema += TABLES;
    plan.policy = plan.policy.replace(
        "    mask:\n",
        "    mask:\n      crm.made.email: email\n      crm.made.amount: { bucket: 10 }\n      crm.made.low: nullify\n      crm.made_split.email: email\n      crm.made_by_id.email: email\n",
    );
    plan
}

/// What tells of a masked column.
const TELLS: &[&str] = &[
    "ALTER TABLE crm.made ADD UNIQUE (email)",
    "ALTER TABLE crm.made ADD CONSTRAINT u UNIQUE (name, email)",
    "ALTER TABLE crm.made ADD UNIQUE USING INDEX made_email",
    "ALTER TABLE crm.made DROP CONSTRAINT made_pkey, ADD PRIMARY KEY (email)",
    "ALTER TABLE crm.made ADD EXCLUDE USING gist (low WITH &&)",
    "CREATE UNIQUE INDEX ON crm.made (id, email)",
    "CREATE UNIQUE INDEX CONCURRENTLY ON crm.made (email)",
    "CREATE UNIQUE INDEX ON crm.made (id) WHERE email = 'ann-canary@x'",
    "CREATE UNIQUE INDEX ON crm.made (lower(email))",
    "ALTER TABLE crm.made ALTER COLUMN email SET NOT NULL",
    "ALTER TABLE crm.made ALTER amount TYPE int",
    "ALTER TABLE crm.made ALTER amount TYPE numeric(3,2)",
    "ALTER TABLE crm.made ALTER amount TYPE numeric(10,3)",
    "ALTER TABLE crm.made ALTER email TYPE varchar(5)",
    "ALTER TABLE crm.made ALTER email TYPE char(50)",
    "ALTER TABLE crm.made ALTER email TYPE text USING email || 'x'",
    "ALTER TABLE crm.made ALTER email TYPE date USING email::date",
    "ALTER TABLE crm.made ADD CHECK (email <> 'ann-canary@x')",
    "ALTER TABLE crm.made ADD CHECK (email <> 'ann-canary@x') NOT VALID",
    "ALTER TABLE crm.made VALIDATE CONSTRAINT waiting",
    "ALTER TABLE crm.made ADD COLUMN more text GENERATED ALWAYS AS (email || 'x') STORED",
    "CREATE TABLE crm.made_more PARTITION OF crm.made_split FOR VALUES IN ('ann-canary@x')",
    "ALTER TABLE crm.made_split ATTACH PARTITION crm.made_one FOR VALUES IN ('ann-canary@x')",
];

/// What does not.
const HONEST: &[&str] = &[
    "ALTER TABLE crm.made ADD UNIQUE (name)",
    "ALTER TABLE crm.made ADD UNIQUE USING INDEX made_name",
    "CREATE UNIQUE INDEX ON crm.made (id, name)",
    "CREATE INDEX ON crm.made (email)",
    "ALTER TABLE crm.made ADD EXCLUDE USING btree (id WITH =)",
    "ALTER TABLE crm.made ALTER COLUMN name SET NOT NULL",
    "ALTER TABLE crm.made ALTER COLUMN email DROP NOT NULL, ALTER COLUMN email SET DEFAULT 'x@y', ALTER email SET STATISTICS 5",
    "ALTER TABLE crm.made ALTER name TYPE varchar(10)",
    "ALTER TABLE crm.made ALTER email TYPE varchar(80)",
    "ALTER TABLE crm.made ALTER email TYPE text",
    "ALTER TABLE crm.made ALTER amount TYPE numeric(12,2)",
    "ALTER TABLE crm.made ALTER amount TYPE numeric",
    "ALTER TABLE crm.made ADD CHECK (id < 50)",
    "ALTER TABLE crm.made VALIDATE CONSTRAINT plain",
    "ALTER TABLE crm.made ADD COLUMN more text NOT NULL DEFAULT 'x', ADD COLUMN once text UNIQUE",
    "CREATE TABLE crm.made_new (id int PRIMARY KEY, email text UNIQUE NOT NULL, CHECK (email <> 'x'))",
    "ALTER TABLE crm.made DROP CONSTRAINT two",
    "CREATE TABLE crm.made_id_1 PARTITION OF crm.made_by_id FOR VALUES IN (1)",
    "ALTER TABLE crm.made_by_id ATTACH PARTITION crm.made_one FOR VALUES IN (2)",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_has_raw_values_tried_is_refused_and_nothing_else() -> Result<()> {
    let mut wrong = String::new();
    for enforcement in ["shared", "role"] {
        let house = House::plan(plan(enforcement)).await?;
        let grant = house.grant("masked").await?;
        let policy = plan(enforcement).policy;
        for sql in TELLS {
            let (_, out, err) = house.psql(&grant, &["-A", "-q"], sql)?;
            let line = err
                .split_once("db-access.yaml:")
                .and_then(|(_, rest)| rest.split_once(' '));
            let line = line.and_then(|(line, _)| line.parse::<usize>().ok());
            let cited = line.and_then(|line| policy.lines().nth(line - 1)).unwrap_or_default();
            let cured = err.contains("HINT:  run it under a scope that does not mask the column");
            if !cited.contains("crm.made") || !cured {
                write!(wrong, "\n{enforcement}: {sql}\n  {out}{err} ({cited})")?;
            }
        }
        for sql in HONEST {
            let (_, out, err) = house.psql(&grant, &["-A", "-q"], sql)?;
            if err.contains("ERROR") {
                write!(wrong, "\n{enforcement}: {sql}\n  {out}{err}")?;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    Ok(())
}
