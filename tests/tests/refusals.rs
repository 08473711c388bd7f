//! A refusal must leave the client exactly where PostgreSQL's own error at that place would: every script here is
//! played twice, through the endpoint with a statement the policy denies and directly at the server with one that
//! fails in analysis, and the two answers are compared message by message, byte by byte.

use anyhow::{Context as _, Result};
use tests::raw::{
    Message, Raw, bind, close, describe, describe_statement, endpoint, execute, execute_some, field, flush,
    function_call, parse, query, server, sync, tags,
};
use tests::{Grant, House, Plan};

/// What the policy denies. The marker shows up in the server's log if a byte of it ever gets there.
const DENIED: &str = "SELECT token, 'tap-canary' FROM app.card_tokens";
/// What fails at the same place on the server.
const FAILING: &str = "SELECT no_such_function()";

/// One step of a script.
enum Step {
    /// Sends these bytes, then reads this many ReadyForQuery.
    Ready(Vec<u8>, usize),
    /// Sends these bytes, then reads up to a message of this type.
    Until(Vec<u8>, char),
    /// Sends these bytes and reads nothing.
    Silent(Vec<u8>),
    /// Another session runs this, as the superuser.
    Elsewhere(&'static str),
}
use Step::{Elsewhere, Ready, Silent, Until};

/// Steps, given the statement that is refused.
type Script = fn(&str) -> Vec<Step>;

fn q(sql: &str) -> Step {
    Ready(query(sql), 1)
}

/// Parse, Bind, Execute of the unnamed statement and portal.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("")].concat()
}

fn synced(parts: &[Vec<u8>]) -> Step {
    Ready([parts.concat(), sync()].concat(), 1)
}

async fn play(house: &House, mut peer: Raw, steps: Vec<Step>) -> Result<Vec<Message>> {
    let mut seen = Vec::new();
    for (index, step) in steps.into_iter().enumerate() {
        let answer = match step {
            Ready(bytes, count) => {
                peer.send(&bytes).await?;
                peer.until_ready(count).await
            }
            Until(bytes, last) => {
                peer.send(&bytes).await?;
                peer.until(last).await
            }
            Silent(bytes) => {
                peer.send(&bytes).await?;
                Ok(Vec::new())
            }
            Elsewhere(sql) => {
                house.cluster.psql("shop", sql)?;
                Ok(Vec::new())
            }
        };
        seen.extend(answer.with_context(|| format!("step {index}; before: {}", tags(&seen)))?);
    }
    Ok(seen)
}

/// What is compared of a message: all of it, but of an error only severity, SQLSTATE and text (where in the server's
/// source it arose is nobody's business), and the two kinds of refusal look alike.
fn shown((tag, body): &Message) -> String {
    if *tag != 'E' {
        return format!("{tag} {}", body.escape_ascii());
    }
    let (code, text) = (field(body, 'C'), field(body, 'M'));
    let own = code == "42501" && text.starts_with("denied by ");
    let servers = code == "42883";
    let what = if own || servers {
        "refused".to_owned()
    } else {
        format!("{code} {text}")
    };
    format!("E {} {} {what}", field(body, 'S'), field(body, 'V'))
}

/// Plays a script twice; says what is different.
async fn different(house: &House, grant: &Grant, name: &str, script: Script) -> Result<Option<String>> {
    let denied = play(house, endpoint(house, grant, &[]).await?, script(DENIED)).await;
    let failing = play(house, server(house).await?, script(FAILING)).await;
    let denied = denied.with_context(|| format!("{name}, through the endpoint"))?;
    let failing = failing.with_context(|| format!("{name}, directly"))?;
    let (denied, failing): (Vec<_>, Vec<_>) = (denied.iter().map(shown).collect(), failing.iter().map(shown).collect());
    Ok((denied != failing).then(|| {
        format!(
            "{name}\n  through the endpoint:\n    {}\n  directly:\n    {}",
            denied.join("\n    "),
            failing.join("\n    ")
        )
    }))
}

async fn house() -> Result<House> {
    let mut plan = Plan::default();
    plan.schema += "CREATE TABLE app.moving (id int);";
    House::plan(plan).await
}

async fn all(house: &House, scripts: &[(&str, Script)]) -> Result<()> {
    let grant = house.grant("migrate").await?;
    let mut found = Vec::new();
    for (name, script) in scripts {
        found.extend(different(house, &grant, name, *script).await?);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(
        !house.cluster.log()?.contains("tap-canary"),
        "no byte of a denied statement goes upstream"
    );
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_protocol() -> Result<()> {
    let house = house().await?;
    all(
        &house,
        &[
            ("alone", |bad| vec![q(bad), q("SELECT 1")]),
            ("twice", |bad| vec![q(bad), q(bad), q("SELECT 1")]),
            ("in a transaction", |bad| {
                vec![
                    q("BEGIN"),
                    q("SELECT 1"),
                    q(bad),
                    q("SELECT 1"),
                    q(bad),
                    q("COMMIT"),
                    q("SELECT 1"),
                ]
            }),
            ("in a savepoint", |bad| {
                vec![
                    q("BEGIN"),
                    q("INSERT INTO app.notes VALUES (1, 'kept')"),
                    q("SAVEPOINT a"),
                    q(bad),
                    q("SELECT 1"),
                    q("ROLLBACK TO a"),
                    q("SELECT count(*) FROM app.notes"),
                    q("ROLLBACK"),
                ]
            }),
            ("in an aborted transaction", |bad| {
                vec![q("BEGIN"), q("SELECT 1/0"), q(bad), q("ROLLBACK"), q("SELECT 1")]
            }),
            ("behind others in one message", |bad| {
                vec![
                    q(&format!(
                        "INSERT INTO app.notes VALUES (2, 'gone'); SELECT id FROM app.notes; {bad}; SELECT 2"
                    )),
                    q("SELECT count(*) FROM app.notes"),
                ]
            }),
            ("in front of others in one message", |bad| {
                vec![q(&format!("{bad}; SELECT 1")), q("SELECT 1")]
            }),
            ("behind a comment without an end of line", |bad| {
                vec![q(&format!("SELECT 1; -- c\n /* x */ {bad} -- end")), q("SELECT 1")]
            }),
            ("behind a statement that fails", |bad| {
                vec![q(&format!("SELECT 1; SELECT 1/0; {bad}")), q("SELECT 1")]
            }),
            ("behind BEGIN in one message", |bad| {
                vec![q(&format!("BEGIN; SELECT 1; {bad}")), q("SELECT 1"), q("ROLLBACK")]
            }),
            ("behind COMMIT in one message", |bad| {
                vec![
                    q("BEGIN"),
                    q(&format!("COMMIT; SELECT 1; {bad}; SELECT 2")),
                    q("SELECT 1"),
                ]
            }),
            ("pipelined queries", |bad| {
                vec![Ready(
                    [
                        query("SELECT 1"),
                        query(bad),
                        query("SELECT 2"),
                        query(bad),
                        query("SELECT 3"),
                    ]
                    .concat(),
                    5,
                )]
            }),
            ("a PREPARE that never was", |bad| {
                vec![
                    q(&format!("PREPARE x AS {bad}")),
                    q("EXECUTE x"),
                    q("DEALLOCATE x"),
                    q("SELECT 1"),
                ]
            }),
            ("a PREPARE that never was, in a transaction", |bad| {
                vec![
                    q("BEGIN"),
                    q(&format!("PREPARE x AS {bad}")),
                    q("EXECUTE x"),
                    q("ROLLBACK"),
                    q("EXECUTE x"),
                ]
            }),
            ("wrapped", |bad| {
                vec![
                    q(&format!("EXPLAIN {bad}")),
                    q(&format!("COPY ({bad}) TO STDOUT")),
                    q(&format!("CREATE TABLE app.copied AS {bad}")),
                    q("BEGIN"),
                    q(&format!("DECLARE c CURSOR FOR {bad}")),
                    q("FETCH c"),
                    q("ROLLBACK"),
                ]
            }),
            ("a message of nothing", |bad| {
                vec![q(""), q(";"), q(bad), q("-- nothing")]
            }),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_protocol() -> Result<()> {
    let house = house().await?;
    all(
        &house,
        &[
            ("alone", |bad| vec![synced(&[run(bad)]), synced(&[run("SELECT 1")])]),
            ("with everything a driver sends", |bad| {
                vec![
                    synced(&[parse("", bad), describe_statement("")]),
                    synced(&[parse("", bad), bind("", ""), describe(""), execute(""), close('P', "")]),
                    synced(&[
                        parse("", "SELECT 1"),
                        bind("", ""),
                        describe(""),
                        execute(""),
                        close('P', ""),
                    ]),
                ]
            }),
            ("a named one", |bad| {
                vec![
                    synced(&[parse("s", bad)]),
                    synced(&[bind("", "s"), execute("")]),
                    synced(&[describe_statement("s")]),
                    synced(&[close('S', "s")]),
                    synced(&[parse("s", "SELECT 1"), bind("", "s"), execute("")]),
                ]
            }),
            ("a name that is taken", |bad| {
                vec![
                    synced(&[parse("s", "SELECT 1")]),
                    synced(&[parse("s", bad)]),
                    synced(&[bind("", "s"), execute("")]),
                    synced(&[parse("s", "SELECT 2")]),
                ]
            }),
            ("a named one leaves the unnamed one alone", |bad| {
                vec![
                    synced(&[parse("", "SELECT 41")]),
                    synced(&[parse("s", bad)]),
                    synced(&[bind("", ""), execute("")]),
                ]
            }),
            ("an unnamed one takes the unnamed one with it", |bad| {
                vec![
                    synced(&[parse("", "SELECT 41")]),
                    synced(&[parse("", bad)]),
                    synced(&[bind("", ""), execute("")]),
                    synced(&[describe_statement("")]),
                ]
            }),
            ("in a pipeline", |bad| {
                vec![
                    synced(&[run("SELECT 1"), run("SELECT 2"), run(bad), run("SELECT 3"), run(bad)]),
                    synced(&[run("SELECT 4")]),
                ]
            }),
            ("in a pipeline, what stands before is rolled back", |bad| {
                vec![
                    synced(&[
                        run("INSERT INTO app.notes VALUES (3, 'gone')"),
                        run(bad),
                        run("SELECT 3"),
                    ]),
                    q("SELECT count(*) FROM app.notes"),
                ]
            }),
            ("several Syncs in one go", |bad| {
                let parts = [
                    run("SELECT 1"),
                    sync(),
                    run(bad),
                    sync(),
                    run("SELECT 2"),
                    sync(),
                    run(bad),
                    sync(),
                ];
                vec![Ready(parts.concat(), 4), q("SELECT 1")]
            }),
            ("in a transaction", |bad| {
                vec![
                    synced(&[run("BEGIN")]),
                    synced(&[run(bad)]),
                    synced(&[run("SELECT 1")]),
                    synced(&[run(bad)]),
                    synced(&[run("ROLLBACK")]),
                    synced(&[run("SELECT 1")]),
                ]
            }),
            ("in a transaction of one pipeline", |bad| {
                vec![
                    synced(&[run("BEGIN"), run("SELECT 1"), run(bad), run("COMMIT")]),
                    synced(&[run("SELECT 1")]),
                    synced(&[run("ROLLBACK")]),
                ]
            }),
            ("in a savepoint", |bad| {
                vec![
                    synced(&[run("BEGIN"), run("SAVEPOINT a")]),
                    synced(&[run(bad)]),
                    synced(&[run("ROLLBACK TO a"), run("SELECT 1")]),
                    synced(&[run("COMMIT")]),
                ]
            }),
            ("with Flush", |bad| {
                vec![
                    Until([run("SELECT 1"), flush()].concat(), 'C'),
                    Until([parse("", bad), flush()].concat(), 'E'),
                    Silent([bind("", ""), execute(""), flush(), run("SELECT 2"), flush()].concat()),
                    Ready(sync(), 1),
                    synced(&[run("SELECT 3")]),
                ]
            }),
            ("a portal that is read in pieces", |bad| {
                let read = [
                    parse("", "SELECT id FROM app.orders ORDER BY id"),
                    bind("p", ""),
                    execute_some("p", 2),
                ];
                vec![
                    q("BEGIN"),
                    synced(&[read.concat(), execute_some("p", 2)]),
                    synced(&[execute_some("p", 1), parse("s", bad), execute_some("p", 1)]),
                    synced(&[execute("p")]),
                    q("ROLLBACK"),
                    synced(&[execute("p")]),
                ]
            }),
            ("Close and Describe around it", |bad| {
                vec![
                    synced(&[
                        parse("s", "SELECT 1"),
                        close('S', "s"),
                        parse("t", bad),
                        close('S', "s"),
                    ]),
                    synced(&[describe_statement("s")]),
                    synced(&[parse("s", "SELECT 2"), bind("p", "s"), close('P', "p"), execute("p")]),
                ]
            }),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn places_where_the_two_protocols_meet() -> Result<()> {
    let house = house().await?;
    all(
        &house,
        &[
            ("Query behind a refusal without Sync", |bad| {
                vec![
                    Ready([parse("", bad), query("SELECT 1"), sync()].concat(), 1),
                    q("SELECT 2"),
                    q(bad),
                ]
            }),
            ("Query behind the server's own error without Sync", |bad| {
                vec![
                    Ready([run("SELECT 1/0"), query("SELECT 1"), query(bad), sync()].concat(), 1),
                    q("SELECT 2"),
                    q(bad),
                    synced(&[run("SELECT 3")]),
                ]
            }),
            ("Query behind the server's own error that is already known", |bad| {
                vec![
                    Until([run("SELECT 1/0"), flush()].concat(), 'E'),
                    Silent([query("SELECT 1"), query(bad), run("SELECT 1")].concat()),
                    Ready(sync(), 1),
                    q(bad),
                    q("SELECT 2"),
                ]
            }),
            ("Query in an open pipeline", |bad| {
                vec![
                    Ready(
                        [run("INSERT INTO app.notes VALUES (4, 'gone')"), query(bad)].concat(),
                        1,
                    ),
                    Ready(sync(), 1),
                    q("SELECT count(*) FROM app.notes"),
                ]
            }),
            ("names that do not exist", |_| {
                vec![
                    synced(&[bind("", "nobody"), execute("")]),
                    synced(&[bind("", ""), execute("")]),
                    synced(&[execute("nobody")]),
                    synced(&[execute("")]),
                    synced(&[describe("nobody")]),
                    synced(&[describe_statement("nobody")]),
                    synced(&[close('P', "nobody"), close('S', "nobody")]),
                    q("EXECUTE nobody"),
                ]
            }),
            ("names that do not exist, in an aborted transaction", |bad| {
                vec![
                    q("BEGIN"),
                    q(bad),
                    synced(&[bind("", "nobody"), execute("")]),
                    synced(&[execute("nobody")]),
                    q("EXECUTE nobody"),
                    q("ROLLBACK"),
                ]
            }),
            ("PREPARE, then Bind; Parse, then EXECUTE", |bad| {
                vec![
                    q("PREPARE a AS SELECT 1"),
                    synced(&[bind("", "a"), execute("")]),
                    synced(&[parse("b", "SELECT 2")]),
                    q("EXECUTE b"),
                    q(bad),
                    q("DEALLOCATE a"),
                    synced(&[bind("", "a"), execute("")]),
                    q("EXECUTE b"),
                ]
            }),
            ("FunctionCall", |bad| {
                vec![
                    Ready(function_call(4_000_000_000), 1),
                    q("BEGIN"),
                    Ready(function_call(4_000_000_000), 1),
                    Ready(function_call(4_000_000_000), 1),
                    q("ROLLBACK"),
                    Ready([parse("", bad), function_call(4_000_000_000), sync()].concat(), 1),
                    q("SELECT 1"),
                ]
            }),
            (
                "a prepared statement whose table is renamed by another session",
                |bad| {
                    vec![
                        synced(&[parse("s", "SELECT id FROM app.moving"), bind("", "s"), execute("")]),
                        Elsewhere("ALTER TABLE app.moving RENAME TO moved"),
                        synced(&[bind("", "s"), execute("")]),
                        synced(&[run(bad)]),
                        Elsewhere("ALTER TABLE app.moved RENAME TO moving"),
                        synced(&[bind("", "s"), execute("")]),
                    ]
                },
            ),
        ],
    )
    .await
}
