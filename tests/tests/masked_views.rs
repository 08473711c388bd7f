//! Masks that the database keeps: what a grant's login reads when nobody rewrites its statements, whose the views are, and
//! how they follow the schema and the policy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::House;
use tests::roles::{Second, admin, as_login, keyed, masked, value};
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(60);

const VIEWS: &str = "SELECT count(*) FROM pg_class WHERE relnamespace = 'hoop_masks'::regnamespace AND relkind = 'v'";

async fn house() -> Result<(House, Client)> {
    let house = House::plan(masked("role")).await?;
    let admin = admin(&house).await?;
    Ok((house, admin))
}

async fn code(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => "none".to_owned(),
        Err(error) => error
            .code()
            .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

/// Waits until a query gives this value.
async fn await_value(client: &Client, sql: &str, expected: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = value(client, sql).await;
        if now.as_ref().is_ok_and(|now| now == expected) {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < SOON, "{sql}: still {now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The name of the view that stands for a table, for the role of this session.
async fn view_of(login: &Client, table: &str) -> Result<String> {
    value(
        login,
        &format!(
            "SELECT DISTINCT w.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid \
             WHERE d.refobjid = '{table}'::regclass AND w.ev_class::regclass::text LIKE 'hoop_masks.%' \
             AND has_table_privilege(w.ev_class, 'SELECT') LIMIT 1"
        ),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rewrite_the_database_itself_says_no() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("reader").await?;
    let client = house.connect(&grant).await?;
    let login = as_login(&house, &admin, &grant).await?;
    for sql in [
        "SELECT email FROM crm.people",
        "SELECT count(email) FROM crm.people",
        "SELECT * FROM crm.people",
        "SELECT p FROM crm.people p",
        "SELECT to_jsonb(p) FROM crm.people p",
        "SELECT secret FROM crm.people",
        "SELECT id FROM crm.people WHERE email LIKE 'ann%'",
        "SELECT id FROM crm.people ORDER BY card",
        "UPDATE crm.people SET name = email WHERE id = 1",
        "UPDATE crm.people SET name = 'x' WHERE id = 1 RETURNING email",
        "DELETE FROM crm.people WHERE phone = '1'",
        "INSERT INTO crm.people (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = people.email",
        "COPY crm.people TO STDOUT",
        "COPY crm.people (id, born) TO STDOUT",
        "SELECT email FROM crm.staff",
        "SELECT ssn FROM crm.parted",
        "SELECT ssn FROM crm.parted_1",
        "SELECT email FROM crm.people_view",
        "SELECT email FROM crm.people_copy",
        "CREATE VIEW hoop_masks.mine AS SELECT 1",
        "SET ROLE crm_owner",
        "SET ROLE hoop_broker",
    ] {
        assert_eq!(code(&login, sql).await, "42501", "{sql}");
    }
    let keeper = value(&admin, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'hoop\\_v\\_%'").await?;
    assert_eq!(code(&login, &format!("SET ROLE {keeper}")).await, "42501");
    for sql in [
        "SELECT id, name FROM crm.people WHERE id = 1",
        "UPDATE crm.people SET name = 'Anne' WHERE id = 1 RETURNING id, name",
        "INSERT INTO crm.people (id, name, email) VALUES (1, 'x', 'a@b') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        "SELECT id, at FROM crm.parted",
    ] {
        assert_eq!(code(&login, sql).await, "none", "{sql}");
    }
    // What stands for it shows the masks, and nothing in its definition is worth hiding.
    let view = view_of(&login, "crm.people").await?;
    for (column, shown) in [
        ("email", "x***@example.test"),
        ("card", "***************1234"),
        ("born", "1980-01-01"),
        ("secret IS NULL", "t"),
    ] {
        let sql = format!("SELECT {column} FROM {view} WHERE id = 1");
        assert_eq!(value(&login, &sql).await?, shown, "{sql}");
    }
    assert_eq!(code(&login, &format!("DELETE FROM {view}")).await, "42501");
    // Through the proxy the broker's own schema has no name.
    let refused = client.simple_query(&format!("SELECT email FROM {view}")).await.err();
    let refused = refused.context("the broker's own schema could be read")?.to_string();
    assert!(!refused.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_belong_to_nobody_and_row_security_holds() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("reader").await?;
    let owners = "SELECT string_agg(DISTINCT r.rolname, ',') FROM pg_class v JOIN pg_roles r ON r.oid = v.relowner \
                  WHERE v.relnamespace = 'hoop_masks'::regnamespace";
    let keeper = value(&admin, owners).await?;
    assert!(keeper.starts_with("hoop_v_") && !keeper.contains(','), "{keeper}");
    let narrow = format!(
        "SELECT NOT (rolcanlogin OR rolinherit OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication) \
         AND NOT EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid) FROM pg_roles r WHERE rolname = '{keeper}'"
    );
    assert_eq!(value(&admin, &narrow).await?, "t");
    let members = format!(
        "SELECT string_agg(m.member::regrole::text, ',') FROM pg_auth_members m WHERE m.roleid = '{keeper}'::regrole"
    );
    assert_eq!(value(&admin, &members).await?, "hoop_broker");
    for barrier in ["relkind = 'v'", "reloptions = ARRAY['security_barrier=true']"] {
        let sql = format!("SELECT bool_and({barrier}) FROM pg_class WHERE relnamespace = 'hoop_masks'::regnamespace");
        assert_eq!(value(&admin, &sql).await?, "t", "{barrier}");
    }
    let client = house.connect(&grant).await?;
    assert_eq!(value(&client, "SELECT count(*) FROM crm.parted").await?, "1");
    // Who reads through a view locks through it, as pg_dump does.
    let lock = "BEGIN; LOCK TABLE crm.parted, crm.orders IN ACCESS SHARE MODE";
    for step in lock.split("; ") {
        client.simple_query(step).await.with_context(|| step.to_owned())?;
    }
    let held = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'crm.parted'::regclass AND granted";
    assert_eq!(value(&admin, held).await?, "t");
    client.simple_query("ROLLBACK").await?;
    admin
        .batch_execute(
            "ALTER TABLE crm.parted ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON crm.parted USING (id > 5)",
        )
        .await?;
    assert_eq!(value(&client, "SELECT count(*) FROM crm.parted").await?, "0");
    // Two scopes with the same masks read the same views; DDL is the only way to become their owner.
    let before = value(&admin, VIEWS).await?;
    let other = house.grant("masked").await?;
    assert_eq!(value(&admin, VIEWS).await?, before);
    let client = house.connect(&other).await?;
    assert_eq!(code(&client, &format!("SET ROLE {keeper}")).await, "42501");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_on_a_masked_table_takes_its_views_along() -> Result<()> {
    let (house, admin) = house().await?;
    let (migrate, read) = (house.grant("masked").await?, house.grant("reader").await?);
    let (client, reader) = (house.connect(&migrate).await?, house.connect(&read).await?);
    let masked = "SELECT ssn FROM crm.parted";
    assert_eq!(value(&reader, masked).await?, "***");
    // One statement by itself, one in a block that is rolled back, one in a block that is not.
    client
        .simple_query("ALTER TABLE crm.parted ALTER COLUMN ssn TYPE varchar")
        .await?;
    assert_eq!(value(&client, masked).await?, "***");
    assert_eq!(
        value(&client, "SELECT pg_typeof(ssn) FROM crm.parted").await?,
        "character varying"
    );
    client.simple_query("BEGIN").await?;
    client
        .simple_query("ALTER TABLE crm.parted ALTER COLUMN ssn TYPE text")
        .await?;
    client
        .simple_query("ALTER TABLE crm.parted ADD COLUMN note text DEFAULT 'n'")
        .await?;
    assert_eq!(
        value(&client, "SELECT pg_typeof(ssn) || ssn FROM crm.parted").await?,
        "text***"
    );
    client.simple_query("ROLLBACK").await?;
    assert_eq!(
        value(&client, "SELECT pg_typeof(ssn) FROM crm.parted").await?,
        "character varying"
    );
    client.simple_query("BEGIN").await?;
    client
        .simple_query("ALTER TABLE crm.parted ALTER COLUMN id TYPE bigint")
        .await?;
    client
        .simple_query("ALTER TABLE crm.parted ADD COLUMN note text DEFAULT 'n'")
        .await?;
    client.simple_query("COMMIT").await?;
    assert_eq!(value(&client, "SELECT ssn FROM crm.parted").await?, "***");
    // What came later is hidden by both until the policy names it.
    assert_eq!(code(&client, "SELECT note FROM crm.parted").await, "42501");
    assert_eq!(
        value(
            &client,
            "SELECT to_json(p)->>'note' IS NULL FROM (SELECT * FROM crm.parted) p"
        )
        .await?,
        "t"
    );
    // A statement that fails leaves the views as they were.
    assert_eq!(
        code(&client, "ALTER TABLE crm.parted ALTER COLUMN id TYPE date").await,
        "42804"
    );
    assert_eq!(value(&client, masked).await?, "***");
    // In the extended protocol, too.
    client
        .execute("ALTER TABLE crm.parted ALTER COLUMN ssn TYPE text", &[])
        .await?;
    assert_eq!(client.query_one(masked, &[]).await?.get::<_, String>(0), "***");
    // The other scope's session follows.
    await_value(&reader, "SELECT ssn FROM crm.parted", "***").await?;
    let login = as_login(&house, &admin, &read).await?;
    assert_eq!(code(&login, "SELECT ssn FROM crm.parted").await, "42501");
    assert_eq!(code(&login, "SELECT note FROM crm.parted").await, "42501");
    client.simple_query("DROP TABLE crm.parted").await?;
    let left = "SELECT count(*) FROM pg_class v JOIN pg_description d ON d.objoid = v.oid \
                WHERE v.relnamespace = 'hoop_masks'::regnamespace AND d.description LIKE '%crm.parted %'";
    assert_eq!(value(&admin, left).await?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_and_what_a_policy_takes_away_is_followed() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("reader").await?;
    let client = house.connect(&grant).await?;
    assert_eq!(
        value(&client, "SELECT email FROM crm.people WHERE id = 1").await?,
        "x***@example.test"
    );
    // Somebody else adds a column: it is in nobody's `columns`, and the rest is there all the time.
    admin
        .batch_execute("ALTER TABLE crm.people ADD COLUMN late text DEFAULT 'late-canary'")
        .await?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        let shown = value(&client, "SELECT email FROM crm.people WHERE id = 1").await?;
        assert_eq!(shown, "x***@example.test");
        assert_eq!(code(&client, "SELECT late FROM crm.people").await, "42501");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let login = as_login(&house, &admin, &grant).await?;
    let view = view_of(&login, "crm.people").await?;
    assert_eq!(code(&login, &format!("SELECT late FROM {view}")).await, "42703");
    assert_eq!(code(&login, "SELECT late FROM crm.people").await, "42501");
    // A masked table with another partition, in which the mask holds as well.
    admin
        .batch_execute(
            "SET ROLE crm_owner; CREATE TABLE crm.parted_2 PARTITION OF crm.parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); \
             INSERT INTO crm.parted VALUES (2, '2025-05-05', 'canary-two'); RESET ROLE",
        )
        .await?;
    assert_eq!(
        value(&client, "SELECT string_agg(ssn, ',') FROM crm.parted").await?,
        "***,***"
    );
    // Without the scope nothing of it stays.
    house.write_policy("version: 1\nscopes: {}\n")?;
    drop((client, login));
    await_value(&admin, VIEWS, "0").await?;
    await_value(
        &admin,
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hoop\\_v\\_%'",
        "0",
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_killed_or_share_a_database_agree() -> Result<()> {
    let (mut house, admin) = house().await?;
    let other = Second::start(&house, "state-2").await?;
    let (mine, theirs) = tokio::join!(house.grant("reader"), other.grant(&house, "reader"));
    let (mine, theirs) = (mine?, theirs?);
    let email = "SELECT email FROM crm.people WHERE id = 1";
    let second = other.connect(&house, &theirs).await?;
    assert_eq!(value(&second, email).await?, "x***@example.test");
    let views = value(&admin, VIEWS).await?;
    for _ in 0..2 {
        house.kill_broker();
        // Half of what was made is gone, as if nobody had finished.
        admin.batch_execute("DO $$ DECLARE v text; BEGIN FOR v IN SELECT oid::regclass::text FROM pg_class \
            WHERE relnamespace = 'hoop_masks'::regnamespace AND relkind = 'v' ORDER BY relname LIMIT 2 LOOP EXECUTE 'DROP VIEW ' || v; END LOOP; END $$").await?;
        house.start_broker().await?;
        let client = house.connect(&mine).await?;
        assert_eq!(value(&client, email).await?, "x***@example.test");
        await_value(&admin, VIEWS, &views).await?;
        assert_eq!(value(&second, email).await?, "x***@example.test");
    }
    // Something else under a view's name does not pass for it.
    let client = house.connect(&mine).await?;
    let name = value(
        &admin,
        "SELECT DISTINCT w.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid \
         WHERE d.refobjid = 'crm.parted_1'::regclass AND w.ev_class::regclass::text LIKE 'hoop_masks.%' LIMIT 1",
    )
    .await?;
    admin
        .batch_execute(&format!(
            "DROP VIEW {name}; CREATE VIEW {name} AS SELECT * FROM crm.parted_1; ALTER VIEW {name} OWNER TO hoop_broker"
        ))
        .await?;
    assert_eq!(code(&client, "SELECT ssn FROM crm.parted_1").await, "42501");
    await_value(&client, "SELECT ssn FROM crm.parted_1", "***").await?;
    Ok(())
}

/// The key that the tests' brokers have, and what would give it away in a log.
const KEY: &str = tests::house::MASK_KEY;

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_mask_gives_the_same_token_for_the_same_value_and_its_key_to_nobody() -> Result<()> {
    let mut plan = keyed();
    plan.settings.push(("log_min_duration_statement", "0"));
    let house = House::plan(plan).await?;
    let admin = admin(&house).await?;
    let grant = house.grant("reader").await?;
    let client = house.connect(&grant).await?;
    admin
        .batch_execute("UPDATE crm.people SET phone = card WHERE id = 2; UPDATE crm.people SET email = 'same@corp.example', born = '2000-02-29' WHERE id = 3")
        .await?;
    // The token of a value is the HMAC that anybody with the key can compute.
    let mac = |purpose: &str, value: &str| {
        let key = KEY.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("left(encode(hmac(convert_to('{purpose}:{value}', 'UTF8'), decode('{key}', 'hex'), 'sha256'), 'hex')")
    };
    admin
        .batch_execute(
            "CREATE SCHEMA crypto; CREATE EXTENSION pgcrypto SCHEMA crypto; SET search_path = crypto, pg_catalog",
        )
        .await?;
    let expected = value(&admin, &format!("SELECT {}, 19)", mac("hash", "5500-0000-0000-9999"))).await?;
    assert_eq!(
        value(&client, "SELECT card FROM crm.people WHERE id = 2").await?,
        expected
    );
    let phone = value(&client, "SELECT phone FROM crm.people WHERE id = 2").await?;
    assert!(phone.starts_with(&expected) && phone.len() == 32, "{phone}");
    let address = value(
        &admin,
        &format!(
            "SELECT 'x' || {}, 16) || '@example.test'",
            mac("email", "same@corp.example")
        ),
    )
    .await?;
    assert_eq!(
        value(&client, "SELECT email FROM crm.people WHERE id = 3").await?,
        address
    );
    for (sql, shown) in [
        ("SELECT count(DISTINCT email) FROM crm.people", "3"),
        ("SELECT phone IS NULL FROM crm.people WHERE id = 3", "f"),
        ("SELECT count(*) FROM crm.parted a JOIN crm.parted_1 b USING (ssn)", "1"),
        ("SELECT count(*) FROM crm.people WHERE card IS NULL", "1"),
        ("SELECT pg_typeof(born) FROM crm.people LIMIT 1", "date"),
        (
            "SELECT born <> '2000-02-29' AND abs(born - '2000-02-29') <= 30 FROM crm.people WHERE id = 3",
            "t",
        ),
        (
            "SELECT count(*) FROM crm.people a JOIN crm.people b ON left(a.phone, 19) = b.card",
            "1",
        ),
    ] {
        assert_eq!(value(&client, sql).await?, shown, "{sql}");
    }
    let name = value(&client, "SELECT ssn FROM crm.parted").await?;
    let words: Vec<&str> = name.split(' ').collect();
    assert!(words.len() == 2 && words.iter().all(|word| word.len() > 1), "{name}");
    // Two sessions agree, whatever their time zone and date style.
    let born = value(&client, "SELECT born FROM crm.people WHERE id = 1").await?;
    let other = house.connect(&grant).await?;
    other
        .batch_execute("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'")
        .await?;
    assert_eq!(
        value(
            &other,
            "SELECT to_char(born, 'YYYY-MM-DD') FROM crm.people WHERE id = 1"
        )
        .await?,
        born
    );
    // The key is in one table, which nobody but the owner of the views reads; no text and no log holds it.
    let login = as_login(&house, &admin, &grant).await?;
    for sql in [
        "SELECT * FROM hoop_masks.keys",
        "TABLE hoop_masks.keys",
        "COPY hoop_masks.keys TO STDOUT",
    ] {
        assert_eq!(code(&login, sql).await, "42501", "{sql}");
        assert_ne!(code(&client, sql).await, "none", "{sql}");
    }
    let view = view_of(&login, "crm.people").await?;
    let plan = login
        .simple_query(&format!("EXPLAIN (VERBOSE, ANALYZE) SELECT * FROM {view}"))
        .await?;
    let definition = value(&login, &format!("SELECT pg_get_viewdef('{view}'::regclass)")).await?;
    let pads = value(
        &admin,
        "SELECT encode(ipad, 'hex') || ' ' || encode(opad, 'hex') FROM hoop_masks.keys",
    )
    .await?;
    let log = house.cluster.log()?;
    assert!(
        definition.contains("sha256") && log.contains("COPY \"hoop_masks\".\"keys\""),
        "{definition}"
    );
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    for secret in pads.split(' ').map(|pad| &pad[..16]).chain([KEY, &hex[..32]]) {
        for (place, text) in [
            ("plan", format!("{plan:?}")),
            ("view", definition.clone()),
            ("broker", house.broker_log()),
        ] {
            assert!(!text.contains(secret), "the key stands in the {place}");
        }
        let told = log
            .lines()
            .any(|line| line.contains(secret) && !line.contains("decode("));
        assert!(!told, "the key stands in the server's log");
    }
    Ok(())
}
