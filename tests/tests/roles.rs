//! The second enforcer against a live PostgreSQL: what a grant's login may do when the proxy is not there, whose the
//! tables of a migration are, and that nothing is left behind.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tests::House;
use tests::house::Grant;
use tests::raw::{bind, endpoint, execute, field, parse, query, sync};
use tests::roles::{Second, as_login, direct, house, left_over, login_of, settle, value};
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(60);

/// The SQLSTATE of a statement that must fail.
async fn refused(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => format!("{sql} ran"),
        Err(error) => error
            .code()
            .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

async fn owner(admin: &Client, table: &str) -> Result<String> {
    value(
        admin,
        &format!("SELECT relowner::regrole FROM pg_class WHERE oid = '{table}'::regclass"),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readers_login_can_do_exactly_what_the_scope_says_when_nobody_judges() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("read").await?;
    assert_eq!(grant.answer.pointer("/enforcement/kind"), Some(&json!("role")));
    let login = as_login(&house, &admin, &grant).await?;

    for sql in [
        "SELECT id, note FROM app.orders",
        "SELECT id, country FROM app.customers",
        "SELECT count(*) FROM app.customers",
        "SELECT app.total(1)",
    ] {
        login.batch_execute(sql).await.with_context(|| sql.to_owned())?;
    }
    for sql in [
        "SELECT name FROM app.customers",
        "SELECT * FROM app.customers",
        "SELECT customers FROM app.customers",
        "SELECT * FROM app.card_tokens",
        "SELECT * FROM vault.secrets",
        "SELECT * FROM app.\"we\"\"ird $$\"",
        "SELECT app.wipe()",
        "INSERT INTO app.orders (customer_id, amount) VALUES (1, 1)",
        "UPDATE app.orders SET note = 'x'",
        "DELETE FROM app.orders",
        "TRUNCATE app.orders",
        "SELECT nextval('app.orders_id_seq')",
        "CREATE TABLE app.mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "ALTER TABLE app.orders ADD COLUMN mine int",
        "SET ROLE app_owner",
        "SET ROLE hoop_broker",
        "SET SESSION AUTHORIZATION postgres",
    ] {
        assert_eq!(refused(&login, sql).await, "42501", "{sql}");
    }
    // The login itself inherits nothing.
    login.batch_execute("SET ROLE NONE").await?;
    for sql in [
        "SELECT id FROM app.orders",
        "SELECT id FROM app.customers",
        "SELECT app.total(1)",
    ] {
        assert_eq!(refused(&login, sql).await, "42501", "{sql} as the login itself");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_as_narrow_as_its_grant() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("read").await?;
    let login = login_of(&admin, &grant).await?;
    let row = admin
        .query_one(
            "SELECT rolinherit OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolcanlogin, \
             rolconnlimit, rolvaliduntil BETWEEN now() + '19 min' AND now() + '21 min', array_to_string(rolconfig, ';'), \
             (SELECT string_agg(m.roleid::regrole::text, ',') FROM pg_auth_members m WHERE m.member = r.oid) \
             FROM pg_roles r WHERE rolname = $1",
            &[&login],
        )
        .await?;
    assert!(!row.get::<_, bool>(0) && row.get::<_, bool>(1) && row.get::<_, bool>(3));
    let limit: i32 = row.get(2);
    assert!((4..=40).contains(&limit), "{limit}");
    let (settings, member_of): (String, String) = (row.get(4), row.get(5));
    assert!(
        member_of.starts_with("hoop_g_") && !member_of.contains(','),
        "{member_of}"
    );
    for setting in [
        format!("role={member_of}"),
        "statement_timeout=30000".to_owned(),
        "lock_timeout=2000".to_owned(),
        "search_path=app, public".to_owned(),
    ] {
        assert!(settings.contains(&setting), "{setting} in {settings}");
    }
    // A second grant of the scope shares its role, and only that.
    let other = house.grant("read").await?;
    assert_ne!(login_of(&admin, &other).await?, login);
    let groups = value(
        &admin,
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hoop\\_g\\_%'",
    )
    .await?;
    assert_eq!(groups, "1");
    // Through the endpoint the session is the role of the scope, and the login's password stands in no log.
    let client = house.connect(&grant).await?;
    assert_eq!(value(&client, "SELECT id FROM orders ORDER BY id LIMIT 1").await?, "1");
    let log = std::fs::read_to_string(house.cluster.home().join("server.log"))?;
    assert!(
        log.contains("PASSWORD 'SCRAM-SHA-256$4096:") && !log.contains("hdbp_"),
        "{log}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrations_tables_are_the_owners_and_can_be_used_at_once() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("migrate").await?;
    let mut client = house.connect(&grant).await?;

    // As Alembic does it: one transaction, simple and extended statements mixed.
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(
            "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, CONSTRAINT pk PRIMARY KEY (version_num))",
        )
        .await?;
    transaction
        .execute("INSERT INTO alembic_version (version_num) VALUES ('8a1f')", &[])
        .await?;
    transaction
        .execute(
            "CREATE TABLE app.invoices (id serial PRIMARY KEY, order_id int REFERENCES app.orders (id), total int)",
            &[],
        )
        .await?;
    transaction
        .execute("INSERT INTO app.invoices (order_id, total) VALUES (1, 5)", &[])
        .await?;
    transaction
        .execute("UPDATE alembic_version SET version_num = '9b2c'", &[])
        .await?;
    transaction.commit().await?;
    assert_eq!(owner(&admin, "app.alembic_version").await?, "app_owner");
    assert_eq!(owner(&admin, "app.invoices").await?, "app_owner");
    assert_eq!(value(&client, "SELECT version_num FROM alembic_version").await?, "9b2c");

    // In one Query, in autocommit, and in the extended protocol.
    client
        .batch_execute("CREATE TABLE app.a (id serial); INSERT INTO app.a DEFAULT VALUES; ALTER TABLE app.a ADD COLUMN b int; UPDATE app.a SET b = 1; CREATE TABLE app.b AS SELECT * FROM app.a; DELETE FROM app.b")
        .await?;
    client.batch_execute("CREATE TABLE app.c (id int)").await?;
    client.batch_execute("INSERT INTO app.c VALUES (1)").await?;
    client.execute("CREATE TABLE app.d (id int)", &[]).await?;
    client.execute("INSERT INTO app.d VALUES ($1)", &[&7]).await?;
    client.execute("CREATE VIEW app.v AS SELECT id FROM app.d", &[]).await?;
    assert_eq!(value(&client, "SELECT id FROM app.v").await?, "7");
    for table in ["app.a", "app.b", "app.c", "app.d", "app.v", "app.a_id_seq"] {
        assert_eq!(owner(&admin, table).await?, "app_owner", "{table}");
    }

    // What cannot run in a transaction, in both protocols.
    for sql in [
        "CREATE INDEX CONCURRENTLY c_id ON app.c (id)",
        "REINDEX TABLE CONCURRENTLY app.c",
        "VACUUM app.c",
        "DROP INDEX CONCURRENTLY app.c_id",
    ] {
        client
            .batch_execute(sql)
            .await
            .with_context(|| format!("simple: {sql}"))?;
    }
    for sql in [
        "CREATE INDEX CONCURRENTLY d_id ON app.d (id)",
        "VACUUM (ANALYZE) app.d",
        "DROP INDEX CONCURRENTLY app.d_id",
    ] {
        client
            .execute(sql, &[])
            .await
            .with_context(|| format!("extended: {sql}"))?;
        assert_eq!(value(&client, "SELECT id FROM app.d").await?, "7");
    }

    // Rolled back, it is gone, and the session is itself again.
    client.batch_execute("BEGIN; CREATE TABLE app.gone (id int)").await?;
    client
        .batch_execute("INSERT INTO app.gone VALUES (1); SAVEPOINT s")
        .await?;
    assert_eq!(
        refused(&client, "ALTER TABLE app.gone ADD COLUMN id int").await,
        "42701"
    );
    client.batch_execute("ROLLBACK TO s").await?;
    client
        .batch_execute("INSERT INTO app.gone VALUES (2); DROP TABLE app.gone; ROLLBACK")
        .await?;
    assert_eq!(refused(&client, "SELECT * FROM app.gone").await, "42501");
    assert_eq!(left_over(&admin, &[&grant]).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_is_the_owner_for_that_one_statement_and_never_else() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("migrate").await?;
    let client = house.connect(&grant).await?;
    // What PostgreSQL itself saw: the role under which each statement ran.
    admin
        .batch_execute(
            "CREATE TABLE public.seen (tag text, role text); GRANT INSERT ON public.seen TO PUBLIC; \
             CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS \
             $$BEGIN INSERT INTO public.seen VALUES (tg_tag, current_user); END$$; \
             CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION public.note(); \
             CREATE FUNCTION app.who() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN INSERT INTO public.seen VALUES ('row', current_user); RETURN NEW; END$$; \
             CREATE TRIGGER who BEFORE INSERT OR UPDATE ON app.customers FOR EACH ROW EXECUTE FUNCTION app.who()",
        )
        .await?;
    let insert = |id: u32| format!("INSERT INTO app.customers VALUES ({id}, 'n', 'e', 'AT')");

    client
        .batch_execute(&format!(
            "{}; CREATE TABLE app.t1 (id int); {}",
            insert(101),
            insert(102)
        ))
        .await?;
    client.execute("COMMENT ON TABLE app.t1 IS 'x'", &[]).await?;
    client.execute(&*insert(103), &[]).await?;
    assert_eq!(refused(&client, "CREATE TABLE app.t1 (id int)").await, "42P07");
    client.batch_execute(&insert(104)).await?;
    assert!(client.execute("CREATE TABLE app.t1 (id int)", &[]).await.is_err());
    client.execute(&*insert(105), &[]).await?;
    assert!(
        client
            .execute("CREATE UNIQUE INDEX CONCURRENTLY same ON app.customers (country)", &[])
            .await
            .is_err()
    );
    client.execute(&*insert(106), &[]).await?;
    assert_eq!(
        refused(
            &client,
            "CREATE UNIQUE INDEX CONCURRENTLY also ON app.customers (country)"
        )
        .await,
        "23505"
    );
    client.batch_execute(&insert(107)).await?;
    client.batch_execute("BEGIN").await?;
    client.batch_execute("CREATE TABLE app.t2 (id int)").await?;
    client.batch_execute(&insert(108)).await?;
    client.batch_execute("SAVEPOINT s").await?;
    assert_eq!(refused(&client, "CREATE TABLE app.t2 (id int)").await, "42P07");
    client.batch_execute("ROLLBACK TO s").await?;
    client.batch_execute(&insert(109)).await?;
    client.batch_execute("COMMIT").await?;
    client.batch_execute(&insert(110)).await?;

    let rows = admin
        .query(
            "SELECT tag, role, count(*) FROM public.seen GROUP BY 1, 2 ORDER BY 1, 2",
            &[],
        )
        .await?;
    assert!(rows.len() > 2);
    for row in &rows {
        let (tag, role): (String, String) = (row.get(0), row.get(1));
        match tag.as_str() {
            "row" => assert!(role.starts_with("hoop_g_"), "rows were written as {role}"),
            // Rights on new tables are given by their owner.
            "CREATE TABLE" | "COMMENT" | "CREATE INDEX" => assert_eq!(role, "app_owner", "{tag}"),
            "GRANT" => assert!(role == "app_owner" || role == "hoop_broker", "{tag} as {role}"),
            other => assert_eq!(role, "postgres", "{other}"),
        }
    }
    let written: i64 = rows
        .iter()
        .filter(|row| row.get::<_, String>(0) == "row")
        .map(|row| row.get::<_, i64>(2))
        .sum();
    assert_eq!(written, 10);

    // Nobody but the broker can become the owner.
    for sql in [
        "SET ROLE app_owner",
        "SET LOCAL ROLE app_owner",
        "RESET ROLE",
        "SET SESSION AUTHORIZATION app_owner",
        "SELECT set_config('role', 'app_owner', false)",
        "ALTER ROLE CURRENT_USER SET role = app_owner",
    ] {
        assert_eq!(refused(&client, sql).await, "42501", "{sql}");
    }
    // A table of the same owner outside the scope stays out of reach, as DDL as well.
    for sql in [
        "CREATE TABLE app.copy AS SELECT * FROM vault.secrets",
        "CREATE VIEW app.peek AS SELECT * FROM app.card_tokens",
        "CREATE MATERIALIZED VIEW app.peek AS SELECT * FROM vault.secrets",
        "DROP TABLE vault.secrets",
        "ALTER TABLE app.card_tokens ADD COLUMN x int",
        "CREATE RULE r AS ON INSERT TO app.orders DO ALSO SELECT * FROM vault.secrets",
        "EXPLAIN ANALYZE CREATE TABLE app.copy AS SELECT * FROM vault.secrets",
        "CREATE TABLE app.copy (x text DEFAULT app.wipe()::text)",
    ] {
        assert_eq!(refused(&client, sql).await, "42501", "{sql}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_grants_login_is_gone_and_its_sessions_with_it() -> Result<()> {
    let (house, admin) = house().await?;
    let (grant, other) = (house.grant("migrate").await?, house.grant("read").await?);
    let client = house.connect(&grant).await?;
    client
        .batch_execute("BEGIN; CREATE TABLE app.half (id int); INSERT INTO app.half VALUES (1)")
        .await?;
    let (login, kept) = (login_of(&admin, &grant).await?, login_of(&admin, &other).await?);
    // Past the proxy as well: a session the broker knows nothing of.
    let beside = as_login(&house, &admin, &grant).await?;
    house.revoke(&grant).await?;
    settle(&admin, &[&other], SOON).await?;
    let there = |name: String| {
        let admin = &admin;
        async move {
            value(
                admin,
                &format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'"),
            )
            .await
        }
    };
    assert_eq!(there(login.clone()).await?, "0");
    assert_eq!(there(kept).await?, "1");
    assert!(beside.batch_execute("SELECT 1").await.is_err());
    assert!(direct(&house, &login, tests::roles::KNOWN).await.is_err());
    assert_eq!(
        value(&admin, "SELECT count(*) FROM pg_class WHERE relname = 'half'").await?,
        "0"
    );
    // By the clock as well.
    let brief = house.grant("brief").await?;
    assert!(login_of(&admin, &brief).await.is_ok());
    settle(&admin, &[&other], SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_follow_the_schema_and_the_policy() -> Result<()> {
    let (mut house, admin) = house().await?;
    let grant = house.grant("migrate").await?;
    let login = as_login(&house, &admin, &grant).await?;
    // A table somebody else made under the scope's glob, and one that moved out of it.
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE app.theirs (id int); CREATE TABLE app.moved (id int); RESET ROLE",
        )
        .await?;
    await_code(&login, "SELECT * FROM app.theirs", None).await?;
    await_code(&login, "SELECT * FROM app.moved", None).await?;
    admin.batch_execute("GRANT USAGE ON SCHEMA vault TO PUBLIC").await?;
    admin.batch_execute("ALTER TABLE app.moved SET SCHEMA vault").await?;
    await_code(&login, "SELECT * FROM vault.moved", Some("42501")).await?;
    // A right that an administrator slipped in is taken back.
    let group = value(&admin, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'hoop\\_g\\_%'").await?;
    admin
        .batch_execute(&format!(
            "SET ROLE app_owner; GRANT SELECT ON vault.secrets TO \"{group}\"; RESET ROLE"
        ))
        .await?;
    await_code(&login, "SELECT * FROM vault.secrets", Some("42501")).await?;

    // Another policy is another role; the former goes with its last grant.
    let text = include_str!("../fixtures/roles-policy.yaml").replace("[read, write, truncate, lock]", "[read, lock]");
    house.write_policy(&text)?;
    house.kill_broker();
    house.start_broker().await?;
    let narrowed = house.grant("migrate").await?;
    let login = as_login(&house, &admin, &narrowed).await?;
    login.batch_execute("SELECT * FROM app.orders").await?;
    assert_eq!(refused(&login, "DELETE FROM app.orders").await, "42501");
    Ok(())
}

/// Waits until a statement ends with this SQLSTATE, or with none.
async fn await_code(client: &Client, sql: &str, code: Option<&str>) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        let now = client
            .batch_execute(sql)
            .await
            .err()
            .and_then(|error| error.code().cloned());
        if now.as_ref().map(|now| now.code()) == code {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < SOON, "{sql}: still {now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_broker_left_is_swept_by_the_next() -> Result<()> {
    let (mut house, admin) = house().await?;
    for round in 0..3 {
        let first = house.grant("migrate").await?;
        let client = house.connect(&first).await?;
        client.batch_execute("BEGIN; CREATE TABLE app.torn (id int)").await?;
        for _ in 0..round {
            house.grant("read").await?;
        }
        house.kill_broker();
        house.start_broker().await?;
        // The grant goes on; its login is a new one.
        settle_or_show(&house, &admin, &[&first]).await?;
        let client = house.connect(&first).await?;
        assert_eq!(value(&client, "SELECT count(*) FROM app.orders").await?, "10");
        house.revoke(&first).await?;
        settle_or_show(&house, &admin, &[]).await?;
    }
    assert_eq!(
        value(&admin, "SELECT count(*) FROM pg_class WHERE relname = 'torn'").await?,
        "0"
    );
    Ok(())
}

async fn settle_or_show(house: &House, admin: &Client, live: &[&Grant]) -> Result<()> {
    // The readers' grants of a killed broker go on without a login until somebody connects.
    settle(admin, live, SOON)
        .await
        .with_context(|| house.broker_log())
        .map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_share_a_database() -> Result<()> {
    let (mut house, admin) = house().await?;
    let mut other = Second::start(&house, "state-2").await?;
    let (mine, theirs) = (house.grant("migrate").await?, other.grant(&house, "migrate").await?);
    let groups = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hoop\\_g\\_%'";
    assert_eq!(value(&admin, groups).await?, "1", "one role for the scope");
    let (one, two) = (house.connect(&mine).await?, other.connect(&house, &theirs).await?);
    one.batch_execute("CREATE TABLE app.from_one (id int)").await?;
    let beside = as_login(&house, &admin, &theirs).await?;
    await_code(&beside, "INSERT INTO app.from_one VALUES (1)", None).await?;
    // One broker dies for good: the other leaves its live login alone, and takes it once its time is over.
    other.kill();
    drop(two);
    house.revoke(&mine).await?;
    settle(&admin, &[&theirs], SOON).await?;
    assert!(login_of(&admin, &theirs).await.is_ok());
    admin
        .batch_execute(
            "DO $$DECLARE r record; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'hoop\\_l\\_%' LOOP \
             EXECUTE format('ALTER ROLE %I VALID UNTIL %L', r.rolname, now() - interval '1 second'); END LOOP; END$$",
        )
        .await?;
    drop(beside);
    house.kill_broker();
    house.start_broker().await?;
    settle(&admin, &[], SOON).await.with_context(|| house.broker_log())?;
    Ok(())
}

/// The key of an advisory lock is nobody's secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_cannot_keep_others_from_grants() -> Result<()> {
    let (house, admin) = house().await?;
    let (job, idle) = (house.grant("migrate").await?, house.grant("migrate").await?);
    let (login, bystander) = (
        as_login(&house, &admin, &job).await?,
        as_login(&house, &admin, &idle).await?,
    );
    let groups = "SELECT left(rolname, -24) FROM pg_roles WHERE rolname LIKE 'hoop\\_g\\_%'";
    let key = format!("SELECT ('x' || encode(substr(sha256(({groups})::bytea), 1, 8), 'hex'))::bit(64)::bigint::text");
    let key = value(&admin, &key).await?;
    login.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await?;
    bystander.batch_execute("SELECT pg_advisory_lock(1)").await?;
    let other = house.connect(&house.grant("read").await?).await?;
    assert_eq!(value(&other, "SELECT 1::text").await?, "1");
    assert!(login.batch_execute("SELECT 1").await.is_err(), "it goes on");
    bystander.batch_execute("SELECT 1").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brokers_login_lacks_is_told_with_its_cure() -> Result<()> {
    let (house, admin) = house().await?;
    admin
        .batch_execute("ALTER ROLE hoop_broker NOCREATEROLE; REVOKE pg_signal_backend FROM hoop_broker")
        .await?;
    let (code, status) = house.api("GET", "/readyz", None, None).await?;
    assert_eq!(code, 503, "{status}");
    assert!(status.to_string().contains("database-roles"), "{status}");
    let token = house.github.github(&json!({}))?;
    let (code, answer) = house
        .api("POST", "/v1/grants", Some(&token), Some(json!({"scope": "read"})))
        .await?;
    assert_eq!(
        (code, answer["code"].as_str()),
        (503, Some("database-roles")),
        "{answer}"
    );
    let log = house.broker_log();
    assert!(
        log.contains("ALTER ROLE \\\"hoop_broker\\\" CREATEROLE;")
            || log.contains("ALTER ROLE \"hoop_broker\" CREATEROLE;"),
        "{log}"
    );
    assert!(log.contains("GRANT pg_signal_backend TO"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_cannot_be_given_are_missing_and_told() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("abroad").await?;
    let login = as_login(&house, &admin, &grant).await?;
    assert_eq!(refused(&login, "SELECT * FROM foreign_land.notes").await, "42501");
    let log = house.broker_log();
    assert!(
        log.contains("GRANT") && log.contains("postgres") && log.contains("WITH ADMIN OPTION"),
        "{log}"
    );
    Ok(())
}

/// In one write with the end of a failed transaction, by both protocols.
#[tokio::test(flavor = "multi_thread")]
async fn ddl_behind_an_unanswered_rollback_is_the_owners() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    let create = |name: &str| format!("CREATE TABLE app.{name} (id int)");
    let prepared = [parse("", &create("second")), bind("", ""), execute(""), sync()].concat();
    for (ddl, end) in [
        (query(&create("first")), "ROLLBACK"),
        (prepared, "ROLLBACK"),
        (query(&create("third")), "COMMIT"),
    ] {
        peer.send(&[query("BEGIN"), query("SELECT 1 / 0")].concat()).await?;
        peer.until_ready(2).await?;
        peer.send(&[query(end), ddl].concat()).await?;
        let answer = peer.until_ready(2).await?;
        let error = answer
            .iter()
            .find(|(tag, _)| *tag == 'E')
            .map(|(_, body)| field(body, 'M'));
        assert_eq!(error, None);
    }
    let owners = "SELECT string_agg(relname || ' ' || relowner::regrole, ', ' ORDER BY relname) FROM pg_class WHERE relname IN ('first', 'second', 'third')";
    assert_eq!(
        value(&admin, owners).await?,
        "first app_owner, second app_owner, third app_owner"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_enforcer_says_so() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("read").await?;
    assert_eq!(grant.answer.pointer("/enforcement/kind"), Some(&json!("shared")));
    let caveat = grant
        .answer
        .pointer("/enforcement/caveat")
        .and_then(|text| text.as_str())
        .unwrap_or_default();
    assert!(caveat.contains("one enforcer only"), "{caveat}");
    assert!(house.broker_log().contains("one enforcer only"));
    Ok(())
}
