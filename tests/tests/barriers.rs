//! State is a barrier: what follows something that changes how names resolve is judged only once the server has
//! confirmed it. `events` unqualified is the job's own `app.events` while there is one, else `audit.events`, which nobody
//! reaches: every script tries to have the one judged and the other read.

use anyhow::{Context as _, Result};
use tests::raw::{
    Message, Raw, bind, bind_values, close, endpoint, execute, parse, parse_typed, query, server, sync, tags,
};
use tests::{House, Plan};

const SECRET: &[u8] = b"audit-SECRET";
const READ: &str = "SELECT what FROM events";
const MAKE: &str = "CREATE TABLE events (id int, what text)";

/// The house, and the domain whose CHECK changes the search path.
async fn house() -> Result<(House, u32)> {
    let mut plan = Plan::default();
    plan.schema += include_str!("../fixtures/limits.sql");
    plan.schema += "RESET ROLE; ALTER ROLE hoop_broker SET search_path = app, audit;";
    plan.policy = include_str!("../fixtures/limits.yaml").to_owned();
    plan.extra =
        include_str!("../fixtures/ceilings.yaml").replace("[\"pg_catalog.*\"]", "[\"pg_catalog.*\", \"app.*\"]");
    let house = House::plan(plan).await?;
    let oid = house
        .cluster
        .psql("shop", "SELECT 'app.sly_text'::regtype::oid")?
        .parse()?;
    Ok((house, oid))
}

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("")].concat()
}

/// Sends everything at once and reads until it has been answered or the connection is closed.
async fn play(peer: &mut Raw, steps: &[(Vec<u8>, usize)]) -> Result<Vec<Message>> {
    let mut seen = Vec::new();
    for (bytes, readies) in steps {
        if peer.send(bytes).await.is_err() {
            break;
        }
        let answer = peer.until_ready(*readies).await?;
        let closed = answer.iter().filter(|(tag, _)| *tag == 'Z').count() < *readies;
        seen.extend(answer);
        if closed {
            break;
        }
    }
    Ok(seen)
}

fn leaks(messages: &[Message]) -> bool {
    messages
        .iter()
        .any(|(_, body)| body.windows(SECRET.len()).any(|window| window == SECRET))
}

type Steps = Vec<(Vec<u8>, usize)>;

fn attacks(domain: u32) -> Vec<(&'static str, bool, Steps)> {
    let q = |sql: &str| query(sql);
    let late = "INSERT INTO app.late VALUES (1, 99)";
    let typed = "SELECT what FROM events WHERE $1 IS NOT NULL";
    let cast = "SELECT what FROM events WHERE $1::app.sly_text IS NOT NULL";
    // (what, whether app.events is there before, steps)
    vec![
        (
            "a CREATE that fails, pipelined queries",
            false,
            vec![([q("CREATE TABLE events (id nothing)"), q(READ)].concat(), 2)],
        ),
        (
            "a CREATE that fails behind a Sync",
            false,
            vec![(
                [run("CREATE TABLE events (id nothing)"), sync(), run(READ), sync()].concat(),
                2,
            )],
        ),
        (
            "a pipeline that fails after CREATE",
            false,
            vec![([run(MAKE), run("SELECT 1/0"), sync(), q(READ)].concat(), 2)],
        ),
        (
            "the same in the extended protocol",
            false,
            vec![([run(MAKE), run("SELECT 1/0"), sync(), run(READ), sync()].concat(), 2)],
        ),
        (
            "a Query that fails after CREATE",
            false,
            vec![(
                [q(&format!("{MAKE}; SELECT count(*) FROM events; SELECT 1/0")), q(READ)].concat(),
                2,
            )],
        ),
        (
            "COMMIT of a failed transaction",
            false,
            vec![
                (q("BEGIN"), 1),
                (q(MAKE), 1),
                (q("SELECT count(*) FROM events"), 1),
                ([q("SELECT 1/0"), q("COMMIT"), q(READ)].concat(), 3),
            ],
        ),
        (
            "COMMIT of a failed transaction in one message",
            false,
            vec![
                (q("BEGIN"), 1),
                (q(MAKE), 1),
                (q("SELECT count(*) FROM events"), 1),
                (q("SELECT 1/0"), 1),
                (q(&format!("COMMIT; {READ}")), 1),
            ],
        ),
        (
            "COMMIT in a pipeline",
            false,
            vec![
                (q("BEGIN"), 1),
                (q(MAKE), 1),
                (q("SELECT count(*) FROM events"), 1),
                (q("SELECT 1/0"), 1),
                ([run("COMMIT"), run(READ), sync()].concat(), 1),
            ],
        ),
        (
            "ROLLBACK in a pipeline",
            false,
            vec![
                (q("BEGIN"), 1),
                (q(MAKE), 1),
                (q("SELECT count(*) FROM events"), 1),
                ([run("ROLLBACK"), run(READ), sync()].concat(), 1),
            ],
        ),
        (
            "ROLLBACK TO, pipelined queries",
            false,
            vec![
                (q("BEGIN; SAVEPOINT s"), 1),
                (q(MAKE), 1),
                (q("SELECT count(*) FROM events"), 1),
                ([q("ROLLBACK TO s"), q(READ)].concat(), 2),
            ],
        ),
        (
            "ROLLBACK TO in one message",
            false,
            vec![(
                q(&format!(
                    "BEGIN; SAVEPOINT s; {MAKE}; SELECT count(*) FROM events; ROLLBACK TO s; {READ}"
                )),
                1,
            )],
        ),
        (
            "a commit that fails, by Sync",
            false,
            vec![(
                [
                    run(MAKE),
                    run("SELECT count(*) FROM events"),
                    run(late),
                    sync(),
                    q(READ),
                ]
                .concat(),
                2,
            )],
        ),
        (
            "a commit that fails, by Sync, extended",
            false,
            vec![(
                [
                    run(MAKE),
                    run("SELECT count(*) FROM events"),
                    run(late),
                    sync(),
                    run(READ),
                    sync(),
                ]
                .concat(),
                2,
            )],
        ),
        (
            "a commit that fails, by COMMIT",
            false,
            vec![
                (q("BEGIN"), 1),
                (q(MAKE), 1),
                (q("SELECT count(*) FROM events"), 1),
                (q(late), 1),
                ([q("COMMIT"), q(READ)].concat(), 2),
            ],
        ),
        (
            "a commit that fails, by Query",
            false,
            vec![(
                [q(&format!("{MAKE}; SELECT count(*) FROM events; {late}")), q(READ)].concat(),
                2,
            )],
        ),
        (
            "Parse before DROP, Execute behind it",
            true,
            vec![
                ([parse("s", READ), sync()].concat(), 1),
                (
                    [run("DROP TABLE app.events"), bind("p", "s"), execute("p"), sync()].concat(),
                    1,
                ),
            ],
        ),
        (
            "Parse before RENAME, Execute behind it",
            true,
            vec![
                ([parse("s", READ), sync()].concat(), 1),
                (
                    [
                        q("ALTER TABLE app.events RENAME TO others"),
                        bind("p", "s"),
                        execute("p"),
                        sync(),
                    ]
                    .concat(),
                    2,
                ),
            ],
        ),
        (
            "PREPARE before DROP, EXECUTE behind it",
            true,
            vec![
                (q(&format!("PREPARE s AS {READ}")), 1),
                ([q("DROP TABLE app.events"), q("EXECUTE s")].concat(), 2),
            ],
        ),
        (
            "PREPARE and EXECUTE around DROP in one message",
            true,
            vec![(q(&format!("PREPARE s AS {READ}; DROP TABLE app.events; EXECUTE s")), 1)],
        ),
        (
            "a domain's CHECK at Bind, by a cast",
            true,
            vec![(
                [parse("s", cast), bind_values("p", "s", &[b"x"]), execute("p"), sync()].concat(),
                1,
            )],
        ),
        (
            "a domain's CHECK at Bind, by the parameter's type",
            true,
            vec![(
                [
                    parse_typed("s", typed, &[domain]),
                    bind_values("p", "s", &[b"x"]),
                    execute("p"),
                    sync(),
                ]
                .concat(),
                1,
            )],
        ),
        (
            "a domain's CHECK at Bind, twice",
            true,
            vec![
                ([parse_typed("s", typed, &[domain]), sync()].concat(), 1),
                (
                    [bind_values("p", "s", &[b"x"]), close('P', "p"), run(READ), sync()].concat(),
                    1,
                ),
            ],
        ),
        (
            "a function that changes the path, one message",
            true,
            vec![(q(&format!("SELECT app.sly('x'); {READ}")), 1)],
        ),
        (
            "a function that changes the path, pipelined queries",
            true,
            vec![([q("SELECT app.sly('x')"), q(READ)].concat(), 2)],
        ),
        (
            "a function that changes the path, a pipeline",
            true,
            vec![([run("SELECT app.sly('x')"), run(READ), sync()].concat(), 1)],
        ),
        (
            "a function that changes the path, an old statement",
            true,
            vec![
                ([parse("s", READ), sync()].concat(), 1),
                (
                    [run("SELECT app.sly('x')"), bind("p", "s"), execute("p"), sync()].concat(),
                    1,
                ),
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_that_was_judged_as_something_else() -> Result<()> {
    let (house, domain) = house().await?;
    let grant = house.grant("paths").await?;
    let mut found = Vec::new();
    for (name, exists, steps) in attacks(domain) {
        for direct in [true, false] {
            let table = if exists {
                "CREATE TABLE app.events (id int, what text); ALTER TABLE app.events OWNER TO hoop_broker; INSERT INTO app.events VALUES (1, 'own')"
            } else {
                ""
            };
            house
                .cluster
                .psql("shop", &format!("DROP TABLE IF EXISTS app.events, app.others; {table}"))?;
            // Somebody else changed the schema: a session that begins now knows, an old one within seconds.
            let mut peer = if direct {
                server(&house).await?
            } else {
                fresh(&house, &grant, exists).await?
            };
            let answer = play(&mut peer, &steps)
                .await
                .with_context(|| format!("{name}, direct: {direct}"))?;
            if direct != leaks(&answer) {
                found.push(format!("{name}, direct: {direct}: {}", tags(&answer)));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}

/// A session whose broker has seen the present schema.
async fn fresh(house: &House, grant: &tests::Grant, exists: bool) -> Result<Raw> {
    for _ in 0..100 {
        let mut peer = endpoint(house, grant, &[("database", "shop")]).await?;
        peer.send(&query(READ)).await?;
        let answer = peer.until_ready(1).await?;
        if exists == tags(&answer).contains('D') {
            return Ok(peer);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the broker does not see the schema")
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_clients_get_through_the_barriers() -> Result<()> {
    let (house, _) = house().await?;
    let grant = house.grant("paths").await?;
    let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
    for (steps, expected) in [
        (
            vec![(
                [
                    run(MAKE),
                    run("INSERT INTO events VALUES (1, 'own')"),
                    run(READ),
                    sync(),
                ]
                .concat(),
                1,
            )],
            "12C12C12DCZ",
        ),
        (
            vec![
                (query("BEGIN"), 1),
                (query("ALTER TABLE events ADD n int"), 1),
                (query("SELECT 1/0"), 1),
                (query("ROLLBACK; SELECT what FROM events"), 1),
            ],
            "CZCZEZCTDCZ",
        ),
        (
            vec![(
                query("BEGIN; ALTER TABLE events ADD n int; SELECT n FROM events; ROLLBACK; SELECT what FROM events"),
                1,
            )],
            "CCTDCCTDCZ",
        ),
        (
            vec![
                (query("BEGIN"), 1),
                (query("SELECT 1/0"), 1),
                ([run("ROLLBACK"), run(READ), sync()].concat(), 1),
            ],
            "CZEZ12C12DCZ",
        ),
        // pgjdbc's way: the schema is still to be read again when the ROLLBACK is prepared and bound.
        (
            vec![
                (query("SET search_path = app"), 1),
                (query("BEGIN; ALTER TABLE app.events ADD m int"), 1),
                (query("SELECT nothing FROM nowhere"), 1),
                ([run("ROLLBACK"), sync(), run("RESET search_path"), sync()].concat(), 2),
                ([run("BEGIN"), run("SELECT nothing FROM nowhere"), sync()].concat(), 1),
                ([run("ROLLBACK"), sync(), run(READ), sync()].concat(), 2),
            ],
            "CZCCZEZ12CZ12CZ12CEZ12CZ12DCZ",
        ),
        (
            vec![([run("SELECT app.still('x')"), run(READ), sync()].concat(), 1)],
            "12DC12DCZ",
        ),
        (vec![(query("DROP TABLE events"), 1)], "CZ"),
    ] {
        let answer = play(&mut peer, &steps).await?;
        assert_eq!(tags(&answer), expected, "{steps:?}");
    }
    Ok(())
}
