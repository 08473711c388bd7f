//! Attacks on masked values that need more than a statement: around the broker under a grant's own login, and several
//! sessions' worth of writing and reading.

use anyhow::{Context as _, Result};
use tests::House;
use tests::roles::{admin, as_login, masked, value};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Every row of every answer, or the error with its fields.
async fn all(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(messages) => {
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let rows = rows.map(|row| {
                let cells: Vec<&str> = (0..row.len()).filter_map(|at| row.get(at)).collect();
                cells.join("|")
            });
            rows.collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("{error:?}"),
    }
}

const RAW: &[&str] = &[
    "canary",
    "CANARY",
    "4111-1111",
    "5500-0000",
    "1980-05-17",
    "1234.56",
    "7777.77",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_login_finds_nothing_raw_around_the_broker() -> Result<()> {
    let mut plan = masked("role");
    plan.policy = plan
        .policy
        .replace("crm.people.phone: digits", "crm.people.phone: { hash: hmac }");
    let house = House::plan(plan).await?;
    let admin = admin(&house).await?;
    let grant = house.grant("reader").await?;
    let _client = house.connect(&grant).await?;
    let login = as_login(&house, &admin, &grant).await?;
    let view = value(
        &login,
        "SELECT w.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid \
         WHERE d.refobjid = 'crm.people'::regclass AND w.ev_class::regclass::text LIKE 'hoop_masks.%' \
         AND has_table_privilege(w.ev_class, 'SELECT') LIMIT 1",
    )
    .await?;
    // The views do answer, with masks.
    let shown = all(&login, &format!("SELECT * FROM {view}")).await;
    assert!(shown.contains("x***@example.test"), "{shown}");
    let tries = [
        // What the view's own expressions call, under names of the login's.
        "SET search_path = pg_temp, pg_catalog; CREATE TEMP TABLE keys (ipad bytea, opad bytea); INSERT INTO keys VALUES ('', ''); SELECT * FROM {view}",
        "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'; SET search_path = pg_temp; SELECT * FROM {view}",
        "SET search_path = ''; SET standard_conforming_strings = off; SELECT * FROM {view}",
        // What runs below the barrier.
        "CREATE FUNCTION pg_temp.loud(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$BEGIN RAISE NOTICE '%', $1; PERFORM 1 / 0; RETURN true; END$$; SELECT * FROM {view} WHERE pg_temp.loud(email::text)",
        "SELECT * FROM {view} WHERE email::int = 1",
        "SELECT * FROM {view} v WHERE v::text::xml IS NOT NULL",
        "SELECT v.*, v.ctid FROM {view} v",
        "SELECT tableoid::regclass, * FROM {view}",
        "SELECT * FROM {view} FOR UPDATE",
        "SELECT * FROM {view} TABLESAMPLE SYSTEM (100)",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM {view} WHERE email = 'ann.x'",
        "UPDATE {view} SET name = email RETURNING *",
        "INSERT INTO {view} (id, name) VALUES (9, 'x') RETURNING *",
        "DELETE FROM {view} RETURNING *",
        "CREATE OR REPLACE VIEW {view} AS SELECT * FROM crm.people",
        "ALTER VIEW {view} SET (security_barrier = false, security_invoker = true)",
        "ALTER VIEW {view} OWNER TO CURRENT_USER",
        "DROP VIEW {view}",
        "CREATE RULE r AS ON SELECT TO {view} DO INSTEAD SELECT * FROM crm.people",
        "CREATE TRIGGER t INSTEAD OF UPDATE ON {view} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "GRANT SELECT ON {view} TO PUBLIC",
        // The key, and whoever may read it.
        "SELECT ipad, opad FROM hoop_masks.keys",
        "COPY hoop_masks.keys TO STDOUT",
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE schemaname IN ('crm', 'hoop_masks')",
        "SELECT stavalues1::text FROM pg_statistic",
        "SELECT pg_read_file('pg_hba.conf'), pg_ls_dir('.')",
        "SELECT encode(pg_read_binary_file(pg_relation_filepath('crm.people')), 'escape')",
        "SELECT lo_import('/etc/passwd'), lo_export(1, '/tmp/x')",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY crm.orders (note) FROM PROGRAM 'cat /etc/passwd'",
        "SELECT query_to_xml('SELECT * FROM crm.people', true, true, '')",
        "SELECT table_to_xml('crm.people', true, true, '')",
        "SELECT database_to_xml(true, true, '')",
        "SELECT * FROM pg_create_logical_replication_slot('s', 'test_decoding')",
        "SELECT query FROM pg_stat_activity WHERE query LIKE '%crm%'",
        // Rights that could be handed on or taken.
        "DO $$DECLARE r name; BEGIN FOR r IN SELECT rolname FROM pg_roles LOOP BEGIN EXECUTE format('SET LOCAL ROLE %I', r); IF has_table_privilege(r, 'crm.people', 'SELECT') THEN RAISE EXCEPTION 'canary %', r; END IF; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END$$",
        "DO $$DECLARE r name; BEGIN FOR r IN SELECT rolname FROM pg_roles LOOP BEGIN EXECUTE format('GRANT %I TO CURRENT_USER', r); RAISE EXCEPTION 'canary %', r; EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN NULL; END; END LOOP; END$$",
        "RESET ROLE; SELECT * FROM crm.people",
        "SET SESSION AUTHORIZATION DEFAULT; SELECT * FROM crm.people",
        "CREATE TEMP TABLE kid () INHERITS (crm.people); SELECT * FROM crm.people",
        "CREATE TEMP TABLE guess (email varchar(80) REFERENCES crm.people (email))",
        "CREATE TEMP TABLE copy AS TABLE crm.people; SELECT * FROM copy",
        "CREATE TEMP VIEW own AS SELECT * FROM crm.people; SELECT * FROM own",
        "SELECT p FROM crm.people p",
        "SELECT crm.people FROM crm.people",
        "SELECT to_json(p) FROM crm.people p",
        "SELECT name FROM crm.people GROUP BY name, email",
        "SELECT id FROM crm.people p JOIN crm.people q USING (email)",
        "SELECT id FROM crm.people WHERE ROW(people.*) IS NOT NULL",
        "UPDATE crm.people SET name = DEFAULT RETURNING *",
        "WITH u AS (UPDATE crm.people SET name = name RETURNING email) SELECT * FROM u",
        "INSERT INTO crm.people (id, name, email) VALUES (77, 'x', 'ann.x@y') ON CONFLICT ON CONSTRAINT people_email_key DO UPDATE SET name = 'y' RETURNING id",
        "MERGE INTO crm.people p USING (SELECT 1) s ON p.email LIKE '%' WHEN MATCHED THEN UPDATE SET name = p.email",
        "ANALYZE VERBOSE crm.people",
        "CLUSTER crm.people USING people_email_key",
        "CREATE STATISTICS st ON name, email FROM crm.people",
        "CREATE INDEX ON crm.people (email)",
        "CREATE EXTENSION pageinspect",
        "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER ROLE CURRENT_USER RESET role",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
    ];
    for sql in tries {
        let sql = sql.replace("{view}", &view);
        let session = as_login(&house, &admin, &grant).await.context("another session")?;
        let shown = all(&session, &sql).await;
        let leaked = RAW.iter().find(|raw| shown.contains(*raw));
        assert!(leaked.is_none(), "{sql}: {shown}");
    }
    // Nothing of that changed what others get.
    let shown = all(&login, &format!("SELECT * FROM {view}")).await;
    assert!(shown.contains("x***@example.test"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_date_that_the_job_knows_tells_how_far_others_are_moved() -> Result<()> {
    let mut plan = masked("role");
    plan.policy = plan.policy.replace(
        "crm.people.born: { bucket: year }",
        "crm.people.born: { date-shift: 30d }",
    );
    let house = House::plan(plan).await?;
    let grant = house.grant("reader").await?;
    let client = house.connect(&grant).await?;
    let born = value(&client, "SELECT born FROM crm.people WHERE id = 1").await?;
    assert_ne!(born, "1980-05-17");
    for sql in [
        "UPDATE crm.people SET born = '2000-01-01' WHERE id = 1",
        "UPDATE crm.people SET id = 100 WHERE id = 1",
        "INSERT INTO crm.people (id, name, born) VALUES (50, 'x', '2000-01-01')",
        "INSERT INTO crm.people (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET born = '2000-01-01'",
        "MERGE INTO crm.people p USING (SELECT 1) s ON p.id = 1 WHEN MATCHED THEN UPDATE SET born = '2000-01-01'",
        "WITH u AS (UPDATE crm.staff SET born = '2000-01-01' RETURNING 1) SELECT * FROM u",
    ] {
        let shown = all(&client, sql).await;
        assert!(shown.contains("is masked by date-shift"), "{sql}: {shown}");
    }
    for sql in [
        "UPDATE crm.people SET name = 'Anne' WHERE id = 1 RETURNING id",
        "INSERT INTO crm.people (id, name) VALUES (50, 'x') RETURNING id",
    ] {
        assert!(!all(&client, sql).await.contains("denied"), "{sql}");
    }
    Ok(())
}
