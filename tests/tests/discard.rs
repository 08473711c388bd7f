//! DISCARD ALL, as pools send it between two uses of a connection: what is the session's own goes, and whoever it is for
//! the broker it stays, in every way to send it. And a portal is bound as the session itself, never as an owner of DDL.

use anyhow::Result;
use tests::house::Plan;
use tests::raw::{Message, Raw, bind, endpoint, execute, field, parse, query, sync, tags};
use tests::roles::{admin, plan};
use tests::{Grant, House};

const TEMPORARY: &str = "      - { statements: [read, write, ddl], tables: [\"pg_temp.*\"] }\n";

/// A scope that may use temporary tables, under either enforcement.
async fn house(enforcement: &'static str) -> Result<House> {
    let plan = match enforcement {
        "role" => plan(),
        _ => Plan::default(),
    };
    let policy = plan.policy.replacen("    can:\n", &format!("    can:\n{TEMPORARY}"), 1);
    let extra = if plan.extra.is_empty() {
        include_str!("../fixtures/ceilings.yaml").to_owned()
    } else {
        plan.extra
    };
    House::plan(Plan {
        policy,
        extra: extra.replacen("tables: [\"app.*\",", "tables: [\"pg_temp.*\", \"app.*\",", 1),
        ..plan
    })
    .await
}

/// The values of every row, each in its first column.
fn values(answers: &[Message]) -> Vec<String> {
    let rows = answers.iter().filter(|(tag, _)| *tag == 'D');
    rows.map(|(_, body)| String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned())
        .collect()
}

/// The SQLSTATE of every error.
fn codes(answers: &[Message]) -> Vec<String> {
    let errors = answers.iter().filter(|(tag, _)| *tag == 'E');
    errors.map(|(_, body)| field(body, 'C')).collect()
}

/// Parse, Bind and Execute without a name.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("")].concat()
}

async fn ask(peer: &mut Raw, messages: &[Vec<u8>], ready: usize) -> Result<Vec<Message>> {
    peer.send(&messages.concat()).await?;
    peer.until_ready(ready).await
}

const WHO: &str = "SELECT current_user || ' ' || session_user || ' ' || current_setting('search_path')";
const COUNT: &str = "SELECT count(*)::text FROM app.orders";

#[tokio::test(flavor = "multi_thread")]
async fn after_discard_all_a_session_is_who_it_was() -> Result<()> {
    for enforcement in ["shared", "role"] {
        let house = house(enforcement).await?;
        let grant = house.grant("migrate").await?;
        stays(&house, &grant).await?;
        forgets(&house, &grant).await?;
    }
    Ok(())
}

/// Whoever it is, it stays: alone, with more behind it, in one message after the other, refused, and failed.
async fn stays(house: &House, grant: &Grant) -> Result<()> {
    let mut peer = endpoint(house, grant, &[]).await?;
    let who = values(&ask(&mut peer, &[query(WHO)], 1).await?);
    let orders = values(&ask(&mut peer, &[query(COUNT)], 1).await?);
    assert_eq!((who.len(), orders.len()), (1, 1));
    let itself = [who[0].as_str(), orders[0].as_str()];
    let discard = "DISCARD ALL";
    let ways: [(&str, Vec<Vec<u8>>, usize); 7] = [
        ("simple", vec![query(discard), query(WHO), query(COUNT)], 3),
        (
            "extended",
            vec![run(discard), sync(), run(WHO), sync(), run(COUNT), sync()],
            3,
        ),
        ("one pipeline", vec![run(discard), run(WHO), run(COUNT), sync()], 1),
        (
            "twice",
            vec![query(discard), run(discard), sync(), run(WHO), run(COUNT), sync()],
            3,
        ),
        (
            "behind an error",
            vec![
                query("SELECT 1/0"),
                query(discard),
                run("SELECT 1/0"),
                sync(),
                query(discard),
                query(WHO),
                query(COUNT),
            ],
            6,
        ),
        (
            "before an error",
            vec![run(discard), run("SELECT 1/0"), sync(), query(WHO), query(COUNT)],
            3,
        ),
        (
            "in a block",
            vec![
                query("BEGIN"),
                query(discard),
                query("ROLLBACK"),
                query(WHO),
                query(COUNT),
            ],
            5,
        ),
    ];
    for (way, messages, ready) in ways {
        let answers = ask(&mut peer, &messages, ready).await?;
        assert_eq!(values(&answers), itself, "{way}: {answers:?}");
        let wanted: &[&str] = match way {
            "behind an error" => &["22012", "22012"],
            "before an error" => &["22012"],
            "in a block" => &["25001"],
            _ => &[],
        };
        assert_eq!(codes(&answers), wanted, "{way}");
        let refused = ask(
            &mut peer,
            &[query(discard), query("SELECT token FROM app.card_tokens")],
            2,
        )
        .await?;
        assert_eq!(codes(&refused), ["42501"], "{way}: {refused:?}");
    }
    // PostgreSQL runs it alone or not at all.
    for text in ["DISCARD ALL; SELECT 1", "SELECT 1; DISCARD ALL"] {
        let answers = ask(&mut peer, &[query(text), query(WHO)], 2).await?;
        assert_eq!(codes(&answers), ["25001"], "{text}");
        assert_eq!(values(&answers).last().map(String::as_str), Some(itself[0]), "{text}");
    }
    // DDL of an owner's, and itself again.
    let made = [
        query(discard),
        query("CREATE TABLE app.made (id int)"),
        query(discard),
        query(WHO),
    ];
    let answers = ask(&mut peer, &made, 4).await?;
    assert_eq!((values(&answers), codes(&answers)), (vec![who[0].clone()], Vec::new()));
    ask(&mut peer, &[query("DROP TABLE app.made")], 1).await?;
    Ok(())
}

/// What was its own is gone, and nothing that was judged with it stands for anything else.
async fn forgets(house: &House, grant: &Grant) -> Result<()> {
    let mut peer = endpoint(house, grant, &[("search_path", "app")]).await?;
    let own = [
        query("SET statement_timeout = '3s'"),
        query("CREATE TEMP TABLE card_tokens (token text)"),
        query("PREPARE p AS SELECT token FROM card_tokens"),
        query("DECLARE c CURSOR WITH HOLD FOR SELECT token FROM card_tokens"),
        parse("s", "SELECT token FROM card_tokens"),
        sync(),
        query("SELECT token FROM card_tokens"),
    ];
    let answers = ask(&mut peer, &own, 6).await?;
    assert_eq!(codes(&answers), Vec::<String>::new(), "{answers:?}");
    let gone = [
        query("DISCARD ALL"),
        query("SELECT token FROM card_tokens"),
        query("EXECUTE p"),
        query("FETCH c"),
        [bind("", "s"), execute(""), sync()].concat(),
        query("SHOW statement_timeout"),
    ];
    let answers = ask(&mut peer, &gone, 6).await?;
    assert_eq!(codes(&answers), ["42501", "42501", "34000", "26000"], "{answers:?}");
    assert_eq!(values(&answers), ["10min"]);
    // A statement without a name outlives it, and so it does here.
    let answers = ask(&mut peer, &[parse("", COUNT), sync(), query("DISCARD ALL")], 2).await?;
    assert_eq!(tags(&answers), "1ZCZ");
    let answers = ask(
        &mut peer,
        &[parse("", COUNT), run("DISCARD ALL"), run(COUNT), sync()],
        1,
    )
    .await?;
    assert_eq!(
        (values(&answers).len(), codes(&answers)),
        (1, Vec::new()),
        "{answers:?}"
    );
    Ok(())
}

/// Row security looks at who binds: behind DDL in the same pipeline that is the session itself again.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_behind_an_owners_statement_is_bound_as_the_session() -> Result<()> {
    let house = House::plan(plan()).await?;
    admin(&house)
        .await?
        .batch_execute(
            "ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON app.orders USING (id < 4)",
        )
        .await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    let rows = |answers: &[Message]| values(answers).concat();
    ask(&mut peer, &[parse("seen", COUNT), sync()], 1).await?;
    let bound = [bind("portal", "seen"), execute("portal")].concat();
    let before = ask(&mut peer, &[bound.clone(), sync()], 1).await?;
    assert_eq!(rows(&before), "3");
    let pipeline = [run("CREATE TABLE app.made (id int)"), bound, sync()];
    let answers = ask(&mut peer, &pipeline, 1).await?;
    assert_eq!(codes(&answers), Vec::<String>::new(), "{answers:?}");
    assert_eq!(rows(&answers), "3", "bound as the owner");
    Ok(())
}
