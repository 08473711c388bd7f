//! A mask goes by what it was first seen on: others rename, swap, drop and add around the broker, and nothing that was
//! masked or hidden shows, across a restart as well.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::house::Grant;
use tests::{House, Plan};

const SCHEMA: &str = "
CREATE SCHEMA hr;
CREATE TABLE hr.people (id int PRIMARY KEY, name text, email text);
INSERT INTO hr.people VALUES (1, 'Ann', 'ann@canary.example');
CREATE TABLE hr.notes (id int PRIMARY KEY, name text, email text);
INSERT INTO hr.notes VALUES (1, 'plain', 'note-mail');
CREATE TABLE hr.pay (id int PRIMARY KEY, grade text, wage text);
INSERT INTO hr.pay VALUES (1, 'g7', 'canary-wage');
CREATE TABLE hr.vault (id int PRIMARY KEY, key text);
INSERT INTO hr.vault VALUES (1, 'canary-key');
CREATE TABLE hr.parts (id int, secret text) PARTITION BY RANGE (id);
CREATE TABLE hr.part_1 PARTITION OF hr.parts FOR VALUES FROM (0) TO (10);
INSERT INTO hr.parts VALUES (1, 'canary-part');
";

const POLICY: &str = "version: 1
scopes:
  masked:
    database: shop
    who:
      - { issuer: github, branch: main, environment: production, events: [push] }
    can:
      - { statements: [read, write], tables: [\"hr.p*s\", \"hr.people*\", \"hr.part*\", \"hr.notes\", \"hr.v*\"] }
      - { statements: [read], tables: [hr.pay], columns: [id, grade] }
    mask:
      hr.people.email: email
      hr.parts.secret: nullify
    limits: { ttl: 15m, max-session: 45m, max-connections: 16 }
";

/// Who keeps the masks: the broker alone, or the database as well.
const BOTH: &[&str] = &["shared", "role"];

fn plan(enforcement: &'static str) -> Plan {
    let mut plan = Plan {
        enforcement,
        ..Plan::default()
    };
    if enforcement == "role" {
        plan.schema += "RESET ROLE; CREATE ROLE hr_owner NOLOGIN; ALTER ROLE hoop_broker CREATEROLE; \
            GRANT pg_signal_backend TO hoop_broker; GRANT hr_owner TO hoop_broker WITH ADMIN OPTION; \
            CREATE SCHEMA hr AUTHORIZATION hr_owner; SET ROLE hr_owner;\n";
        plan.schema += &SCHEMA.replace("CREATE SCHEMA hr;", "");
    } else {
        plan.schema += SCHEMA;
    }
    plan.policy = POLICY.to_owned();
    plan.extra = include_str!("../fixtures/ceilings.yaml")
        .replace("\"app.*\", \"public.*\"", "\"app.*\", \"public.*\", \"hr.*\"")
        .replace("app.card_tokens", "hr.vault");
    plan
}

/// What the statement answers once the broker has seen what changed: until `expected` is part of it. Nothing raw comes
/// at any time.
async fn comes(house: &House, grant: &Grant, sql: &str, expected: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        let (_, out, err) = house.psql(grant, &["-A", "-t"], sql)?;
        let text = format!("{out}{err}");
        anyhow::ensure!(!text.contains("canary"), "{sql}: {text}");
        if text.contains(expected) {
            return Ok(text);
        }
        anyhow::ensure!(start.elapsed() < Duration::from_secs(60), "{sql}: {text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn run(house: &House, sql: &str) -> Result<String> {
    house.cluster.psql("shop", sql)
}

async fn restarted(house: &mut House) -> Result<()> {
    house.kill_broker();
    house.start_broker().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_takes_no_mask_off() -> Result<()> {
    for enforcement in BOTH {
        another_name_takes_no_mask_off_under(enforcement).await?;
    }
    Ok(())
}

async fn another_name_takes_no_mask_off_under(enforcement: &'static str) -> Result<()> {
    let mut house = House::plan(plan(enforcement)).await?;
    let grant = house.grant("masked").await?;
    let before = "SELECT email FROM hr.people";
    comes(&house, &grant, before, "x***@example.test").await?;
    run(&house, "ALTER TABLE hr.people RENAME TO people_old")?;
    comes(&house, &grant, "SELECT email FROM hr.people_old", "hr.people.email was").await?;
    comes(&house, &grant, "SELECT id FROM hr.people_old", "denied by").await?;
    run(&house, "ALTER TABLE hr.people_old RENAME COLUMN email TO mail")?;
    run(&house, "ALTER TABLE hr.people_old RENAME TO people")?;
    comes(&house, &grant, "SELECT mail FROM hr.people", "denied by").await?;
    restarted(&mut house).await?;
    comes(&house, &grant, "SELECT mail FROM hr.people", "denied by").await?;
    // Two tables swap their names, while nobody looks.
    house.kill_broker();
    run(&house, "ALTER TABLE hr.people RENAME COLUMN mail TO email")?;
    run(
        &house,
        "BEGIN; ALTER TABLE hr.people RENAME TO tmp; ALTER TABLE hr.notes RENAME TO people; ALTER TABLE hr.tmp RENAME TO notes; COMMIT",
    )?;
    house.start_broker().await?;
    comes(&house, &grant, "SELECT * FROM hr.notes", "hr.people.email was").await?;
    comes(&house, &grant, "SELECT email FROM hr.people", "x***@example.test").await?;
    comes(&house, &grant, "COPY hr.notes TO STDOUT", "denied by").await?;
    // Dropped and made anew: masked by its name, and what it did not have before is hidden.
    // Where the database keeps masks, views of the broker's stand on the table.
    run(&house, "DROP TABLE hr.people CASCADE")?;
    let owner = if enforcement == "role" {
        "SET ROLE hr_owner; "
    } else {
        ""
    };
    run(
        &house,
        &format!("{owner}CREATE TABLE hr.people (email text, phone text, id int); GRANT ALL ON hr.people TO PUBLIC"),
    )?;
    run(
        &house,
        "INSERT INTO hr.people VALUES ('new@canary.example', 'canary-phone', 5)",
    )?;
    comes(&house, &grant, "SELECT * FROM hr.people", "x***@example.test|5").await?;
    comes(&house, &grant, "SELECT phone FROM hr.people", "came later").await?;
    // A partition that leaves keeps its mask.
    comes(&house, &grant, "SELECT id, secret FROM hr.part_1", "1|").await?;
    run(&house, "ALTER TABLE hr.parts DETACH PARTITION hr.part_1")?;
    comes(&house, &grant, "SELECT secret FROM hr.part_1", "hr.parts.secret was").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_later_is_hidden_until_the_policy_names_it() -> Result<()> {
    for enforcement in BOTH {
        what_came_later_is_hidden_until_the_policy_names_it_under(enforcement).await?;
    }
    Ok(())
}

async fn what_came_later_is_hidden_until_the_policy_names_it_under(enforcement: &'static str) -> Result<()> {
    let mut house = House::plan(plan(enforcement)).await?;
    let grant = house.grant("masked").await?;
    comes(&house, &grant, "SELECT * FROM hr.people", "1|Ann|x***@example.test").await?;
    house.cluster.psql(
        "shop",
        "ALTER TABLE hr.people ADD COLUMN phone text DEFAULT 'canary-phone'",
    )?;
    comes(&house, &grant, "SELECT phone FROM hr.people", "came later").await?;
    for (sql, expected) in [
        ("SELECT * FROM hr.people", "1|Ann|x***@example.test\n"),
        ("SELECT p FROM hr.people p", "(1,Ann,x***@example.test)"),
        ("COPY hr.people TO STDOUT", "1\tAnn\tx***@example.test\n"),
        ("COPY hr.people (phone) TO STDOUT", "came later"),
        ("SELECT count(*) FROM hr.people WHERE phone LIKE 'c%'", "came later"),
        ("UPDATE hr.people SET name = 'Anne' RETURNING phone", "came later"),
        ("UPDATE hr.people SET name = 'Anne' WHERE phone = 'x'", "came later"),
        (
            "SELECT * FROM hr.people NATURAL JOIN hr.people p",
            "1|Ann|x***@example.test\n",
        ),
        ("INSERT INTO hr.people (id, phone) VALUES (2, 'mine')", "INSERT 0 1"),
    ] {
        comes(&house, &grant, sql, expected).await?;
    }
    restarted(&mut house).await?;
    comes(&house, &grant, "SELECT phone FROM hr.people", "came later").await?;
    // Named, it is what the policy says.
    house.write_policy(&POLICY.replace(
        "      hr.people.email: email\n",
        "      hr.people.email: email\n      hr.people.phone: nullify\n",
    ))?;
    let start = Instant::now();
    loop {
        let grant = house.grant("masked").await?;
        let (_, out, _) = house.psql(
            &grant,
            &["-A", "-t"],
            "SELECT phone IS NULL FROM hr.people WHERE id = 1",
        )?;
        if out.contains('t') {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < Duration::from_secs(60), "{out}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reaches_and_what_is_hidden_stays_so_under_another_name() -> Result<()> {
    for enforcement in BOTH {
        what_nobody_reaches_and_what_is_hidden_stays_so_under_another_name_under(enforcement).await?;
    }
    Ok(())
}

async fn what_nobody_reaches_and_what_is_hidden_stays_so_under_another_name_under(
    enforcement: &'static str,
) -> Result<()> {
    let mut house = House::plan(plan(enforcement)).await?;
    let grant = house.grant("masked").await?;
    comes(&house, &grant, "SELECT grade FROM hr.pay", "g7").await?;
    comes(&house, &grant, "SELECT * FROM hr.vault", "denied by").await?;
    run(&house, "ALTER TABLE hr.vault RENAME TO v2")?;
    comes(&house, &grant, "SELECT * FROM hr.v2", "is hr.vault under another name").await?;
    run(
        &house,
        "BEGIN; ALTER TABLE hr.pay RENAME COLUMN grade TO was; ALTER TABLE hr.pay RENAME COLUMN wage TO grade; COMMIT",
    )?;
    // For up to five seconds the broker may not have seen it: only roles close that.
    comes(&house, &grant, "SELECT was FROM hr.pay", "is not among").await?;
    comes(&house, &grant, "SELECT grade FROM hr.pay", "that column it hides").await?;
    restarted(&mut house).await?;
    comes(&house, &grant, "SELECT grade FROM hr.pay", "that column it hides").await?;
    comes(&house, &grant, "SELECT * FROM hr.v2", "is hr.vault under another name").await?;
    comes(&house, &grant, "SELECT id FROM hr.pay", "1").await?;
    Ok(())
}
