//! The second enforcer and what is the session's own: temporary objects are made by the session itself, never as the
//! owner of DDL; what only an owner may do besides DDL; DDL behind a ROLLBACK TO.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::House;
use tests::house::Plan;
use tests::roles::{admin, plan, value};
use tokio_postgres::{Client, SimpleQueryMessage};

async fn house() -> Result<(House, Client)> {
    let plan = plan();
    let policy = plan.policy.replace(
        "      - { statements: [ddl], tables: [\"app.*\"], as: app_owner }\n",
        "      - { statements: [ddl, truncate], tables: [\"app.*\"], objects: [function], as: app_owner }\n      \
         - { statements: [read, write, ddl, truncate], tables: [\"pg_temp.*\"], objects: [function, definer-function] }\n",
    );
    assert_ne!(policy, plan.policy);
    let extra = plan.extra.replace(
        "tables: [\"app.*\", \"foreign_land.*\"]",
        "tables: [\"app.*\", \"foreign_land.*\", \"pg_temp.*\"], objects: [function, definer-function]",
    );
    let house = House::plan(Plan { policy, extra, ..plan }).await?;
    let admin = admin(&house).await?;
    Ok((house, admin))
}

/// The SQLSTATE and message of a statement that must fail.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    match client.batch_execute(sql).await {
        Ok(()) => (String::new(), format!("{sql} ran")),
        Err(error) => error.as_db_error().map_or_else(
            || (String::new(), error.to_string()),
            |told| (told.code().code().to_owned(), told.message().to_owned()),
        ),
    }
}

/// Who owns each temporary relation or function of any session, without the numbers of their schemas.
const OWNERS: &str = "SELECT coalesce(string_agg(name || ' ' || split_part(regexp_replace(owner, '_[0-9a-f]{8}_', '_'), '_', 2), ', ' \
    ORDER BY name), '') FROM (SELECT relname::text AS name, relowner::regrole::text AS owner FROM pg_class \
    WHERE relnamespace::regnamespace::text LIKE 'pg_temp_%' AND relkind IN ('r', 'v', 'S') \
    UNION ALL SELECT proname::text, proowner::regrole::text FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'pg_temp_%') AS own";

/// The first value that a Query of the client's brings.
async fn first(client: &Client, sql: &str) -> Result<String> {
    for message in client.simple_query(sql).await.with_context(|| sql.to_owned())? {
        if let SimpleQueryMessage::Row(row) = message {
            return Ok(row.get(0).unwrap_or_default().to_owned());
        }
    }
    anyhow::bail!("no row: {sql}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_temporary_is_the_sessions_own() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("migrate").await?;
    let client = house.connect(&grant).await?;
    for sql in [
        "CREATE TEMP TABLE copy AS SELECT id, country FROM app.customers",
        "CREATE TEMPORARY VIEW seen AS SELECT id FROM app.orders",
        "CREATE TEMP TABLE counted (id serial PRIMARY KEY, body text DEFAULT 'x')",
        "SELECT id INTO TEMP picked FROM app.orders WHERE id < 4",
        "CREATE FUNCTION pg_temp.peek() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS \
         'BEGIN RETURN (SELECT secret FROM vault.secrets); END'",
        // DDL of its own, then DML: each needs the rights of the one who made it.
        "ALTER TABLE copy ADD COLUMN note text",
        "CREATE INDEX ON copy (id)",
        "COMMENT ON TABLE copy IS 'mine'",
        "INSERT INTO copy (id, country) VALUES (9, 'CH')",
        "INSERT INTO counted (body) SELECT 'a'",
        "UPDATE app.orders o SET note = c.country FROM copy c WHERE c.id = o.customer_id",
        "TRUNCATE counted RESTART IDENTITY",
        "ANALYZE copy",
        // The owner is lent what it reads of the session's.
        "CREATE TABLE app.from_copy AS SELECT c.id, s.id AS order_id FROM copy c JOIN seen s ON s.id = c.id",
        "BEGIN; CREATE TEMP TABLE later ON COMMIT DROP AS SELECT 1 AS id; CREATE TABLE app.from_later AS TABLE later; COMMIT",
        "DROP TABLE picked",
    ] {
        client.batch_execute(sql).await.with_context(|| sql.to_owned())?;
    }
    assert_eq!(
        value(&admin, OWNERS).await?,
        "copy g, counted g, counted_id_seq g, peek g, seen g"
    );
    assert_eq!(first(&client, "SELECT count(*) FROM app.from_copy").await?, "6");
    assert_eq!(first(&client, "SELECT count(*) FROM app.from_later").await?, "1");
    let owned =
        "SELECT string_agg(relowner::regrole::text, ' ') FROM pg_class WHERE relname LIKE 'from\\_%' AND relkind = 'r'";
    assert_eq!(value(&admin, owned).await?, "app_owner app_owner");

    // What the session may not read does not come in through a temporary name, by no way and under no name.
    for sql in [
        "CREATE TEMP TABLE stolen AS SELECT * FROM app.card_tokens",
        "CREATE TEMP TABLE stolen AS SELECT * FROM vault.secrets",
        "SELECT * INTO TEMP stolen FROM vault.secrets",
        "CREATE TEMP VIEW stolen AS SELECT * FROM vault.secrets",
        "CREATE TEMP VIEW stolen AS SELECT * FROM copy, app.card_tokens",
        "CREATE TEMP TABLE stolen (LIKE vault.secrets INCLUDING ALL)",
        "CREATE TEMP TABLE stolen (x text DEFAULT pg_temp.peek())",
        "CREATE TABLE app.stolen AS SELECT c.*, pg_temp.peek() FROM copy c",
        "SELECT pg_temp.peek()",
        "CREATE TEMP TABLE stolen () INHERITS (vault.secrets)",
        "ALTER TABLE copy INHERIT vault.secrets",
        "CREATE TRIGGER t BEFORE INSERT ON copy FOR EACH ROW EXECUTE FUNCTION app.wipe()",
        // Half of it the session's own and half the owner's: nobody could run it.
        "DROP TABLE copy, app.from_copy",
        "CREATE VIEW both_ways AS SELECT id FROM copy",
        "CREATE OR REPLACE VIEW both_ways AS SELECT (SELECT max(id) FROM copy) AS id FROM app.orders",
    ] {
        let (code, message) = refused(&client, sql).await;
        assert!(
            code == "42501" && message.starts_with("denied by "),
            "{sql}: {code} {message}"
        );
    }
    shadows(&client).await?;

    // Nothing of it stays: no relation, and no role that owns one.
    drop(client);
    let gone = "SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid \
                WHERE d.deptype = 'o' AND r.rolname LIKE 'hoop\\_%' AND r.rolname <> 'hoop_broker'";
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (left, owners) = (value(&admin, OWNERS).await?, value(&admin, gone).await?);
        if left.is_empty() && owners == "0" {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{left}; {owners} owned by roles of the broker's"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A temporary relation in front of a real one of its name: what follows means the temporary one, until it is gone.
async fn shadows(client: &Client) -> Result<()> {
    client
        .batch_execute("CREATE TEMP TABLE customers (id int); INSERT INTO customers VALUES (77)")
        .await?;
    assert_eq!(first(client, "SELECT max(id) FROM customers").await?, "77");
    client.batch_execute("ALTER TABLE customers ADD COLUMN own int").await?;
    client.batch_execute("TRUNCATE customers").await?;
    client.batch_execute("DROP TABLE customers").await?;
    assert_eq!(first(client, "SELECT max(id) FROM customers").await?, "5");
    // The name of what is forbidden: temporary it is harmless, and gone at the end of its transaction.
    client
        .batch_execute(
            "BEGIN; CREATE TEMP TABLE card_tokens (token text) ON COMMIT DROP; INSERT INTO card_tokens VALUES ('own')",
        )
        .await?;
    assert_eq!(first(client, "SELECT token FROM card_tokens").await?, "own");
    client.batch_execute("COMMIT").await?;
    for sql in [
        "SELECT token FROM card_tokens",
        "BEGIN; CREATE TEMP TABLE card_tokens (token text) ON COMMIT DROP; COMMIT; SELECT token FROM card_tokens",
        "BEGIN; CREATE TEMP TABLE card_tokens (token text); ROLLBACK; SELECT token FROM card_tokens",
        "CREATE TABLE app.stolen AS TABLE card_tokens",
    ] {
        let (code, message) = refused(client, sql).await;
        assert!(
            code == "42501" && message.starts_with("denied by "),
            "{sql}: {code} {message}"
        );
        client.batch_execute("ROLLBACK").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_start_again_as_their_owner_unless_a_trigger_would_run() -> Result<()> {
    let (house, admin) = house().await?;
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE app.lines (id serial PRIMARY KEY, body text); \
             CREATE TABLE app.watched (id serial PRIMARY KEY); \
             CREATE TABLE app.parted (id serial, part int) PARTITION BY LIST (part); \
             CREATE TABLE app.one PARTITION OF app.parted FOR VALUES IN (1); RESET ROLE; \
             CREATE TABLE public.seen (role text); GRANT INSERT ON public.seen TO PUBLIC; \
             CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NULL; END$$; \
             CREATE TRIGGER note AFTER TRUNCATE ON app.watched EXECUTE FUNCTION app.note(); \
             CREATE TRIGGER note BEFORE TRUNCATE ON app.one EXECUTE FUNCTION app.note()",
        )
        .await?;
    let grant = house.grant("migrate").await?;
    let client = house.connect(&grant).await?;
    client
        .batch_execute("INSERT INTO app.lines (body) VALUES ('a'), ('b'); TRUNCATE app.lines RESTART IDENTITY")
        .await?;
    client.execute("INSERT INTO app.lines (body) VALUES ('c')", &[]).await?;
    client.execute("TRUNCATE app.lines RESTART IDENTITY", &[]).await?;
    client.execute("INSERT INTO app.lines (body) VALUES ('d')", &[]).await?;
    assert_eq!(value(&admin, "SELECT id || body FROM app.lines").await?, "1d");
    // The session is itself again at once.
    assert_eq!(refused(&client, "SELECT secret FROM vault.secrets").await.0, "42501");
    let who = first(&client, "SELECT current_user").await?;
    assert!(who.starts_with("hoop_g_"), "{who}");
    // A trigger's code never runs as the owner: its own or that of a partition.
    for table in ["watched", "parted", "watched, app.lines", "lines, app.parted"] {
        let (code, message) = refused(&client, &format!("TRUNCATE app.{table} RESTART IDENTITY")).await;
        assert!(
            code == "42501" && message.starts_with("must be owner of sequence"),
            "{table}: {code} {message}"
        );
        client.batch_execute(&format!("TRUNCATE app.{table}")).await?;
    }
    client.batch_execute("TRUNCATE ONLY app.lines RESTART IDENTITY").await?;
    let roles = value(
        &admin,
        "SELECT count(*) || ' ' || count(*) FILTER (WHERE role LIKE 'hoop\\_g\\_%') FROM public.seen",
    )
    .await?;
    assert_eq!(roles, "4 4");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_behind_a_rollback_to_in_the_same_query_works() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("migrate").await?;
    let client = house.connect(&grant).await?;
    client.batch_execute("BEGIN; SAVEPOINT s").await?;
    assert_eq!(refused(&client, "SELECT 1 / 0").await.0, "22012");
    client
        .batch_execute("ROLLBACK TO s; CREATE TABLE app.t1 (id int); INSERT INTO app.t1 VALUES (1)")
        .await?;
    assert_eq!(refused(&client, "SELECT 1 / 0").await.0, "22012");
    // What only looks like it: the server says that the block has failed.
    assert_eq!(
        refused(&client, "CREATE TABLE app.t2 (id int); SELECT 1").await.0,
        "25P02"
    );
    client
        .batch_execute("ROLLBACK TO s; CREATE TABLE app.t1 (id int); ALTER TABLE app.t1 ADD COLUMN b int; COMMIT")
        .await?;
    client.batch_execute("BEGIN").await?;
    assert_eq!(refused(&client, "SELECT 1 / 0").await.0, "22012");
    client
        .batch_execute("ROLLBACK; CREATE TABLE app.t3 (id int); INSERT INTO app.t3 VALUES (1)")
        .await?;
    let made = "SELECT string_agg(relname || ' ' || relowner::regrole || ' ' || relnatts, ', ' ORDER BY relname) \
                FROM pg_class WHERE relname LIKE 't_' AND relkind = 'r'";
    assert_eq!(value(&admin, made).await?, "t1 app_owner 2, t3 app_owner 1");
    let who = first(&client, "SELECT current_user").await?;
    assert!(who.starts_with("hoop_g_"), "{who}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_a_job_makes_can_be_used_at_once() -> Result<()> {
    let plan = plan();
    let add = |text: &str, before: &str, line: &str| text.replacen(before, &format!("{line}{before}"), 1);
    let rule =
        "      - { statements: [read, write, ddl], tables: [\"warehouse.*\"], objects: [schema], as: app_owner }\n";
    let policy = add(&plan.policy, "      - { statements: [ddl]", rule);
    let extra = add(&plan.extra, "          - { functions:", &format!("    {rule}"));
    let schema = format!(
        "{}; RESET ROLE; GRANT CREATE ON DATABASE shop TO app_owner; ALTER ROLE hoop_broker SET search_path = warehouse, app",
        plan.schema
    );
    let house = House::plan(Plan {
        schema,
        policy,
        extra,
        ..plan
    })
    .await?;
    let admin = admin(&house).await?;
    let grant = house.grant("migrate").await?;
    let client = house.connect(&grant).await?;
    client.batch_execute("BEGIN").await?;
    client.batch_execute("CREATE SCHEMA IF NOT EXISTS warehouse").await?;
    // It stands first on the path from here on, for the judge as for the server.
    client.batch_execute("CREATE TABLE orders (id int)").await?;
    client.execute("INSERT INTO orders VALUES (1)", &[]).await?;
    assert_eq!(first(&client, "SELECT count(*) FROM warehouse.orders").await?, "1");
    client.batch_execute("ROLLBACK").await?;
    assert_eq!(first(&client, "SELECT count(*) FROM orders").await?, "10");
    client
        .batch_execute("CREATE SCHEMA warehouse; CREATE TABLE orders AS SELECT 5 AS id; SELECT id FROM orders")
        .await?;
    assert_eq!(first(&client, "SELECT id FROM orders").await?, "5");
    assert_eq!(value(&admin, "SELECT count(*) FROM app.orders").await?, "10");
    client.batch_execute("DROP TABLE orders; DROP SCHEMA warehouse").await?;
    assert_eq!(first(&client, "SELECT count(*) FROM orders").await?, "10");
    Ok(())
}
