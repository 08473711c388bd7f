//! Timeouts.

use anyhow::Result;
use tests::raw::{endpoint, tags};

use crate::{error, house, line, q, raw, verified};

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_cannot_be_raised() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "quick").await?;
    for sql in [
        "SET statement_timeout = 0",
        "SET statement_timeout = '2s'",
        "SET LOCAL statement_timeout = '1min'",
        "SELECT set_config('statement_timeout', '0', false)",
        "SET lock_timeout = 0",
        "SET idle_in_transaction_session_timeout = '1h'",
        "SET idle_session_timeout = 0",
        "ALTER ROLE hoop_broker SET statement_timeout = 0",
        "ALTER DATABASE shop SET statement_timeout = 0",
        "ALTER SYSTEM SET statement_timeout = 0",
        "CREATE FUNCTION app.f() RETURNS void LANGUAGE sql SET statement_timeout = 0 AS 'SELECT pg_sleep(9)'",
    ] {
        assert_eq!(error(&q(&mut peer, sql).await?).0, "42501", "{sql}");
    }
    for options in [
        "-c statement_timeout=0",
        "-c lock_timeout=1h",
        "--idle-session-timeout=0",
    ] {
        assert!(
            endpoint(&house, &grant, &[("database", "shop"), ("options", options)])
                .await
                .is_err(),
            "{options}"
        );
    }
    for sql in [
        "RESET ALL",
        "RESET statement_timeout",
        "SET statement_timeout TO DEFAULT",
        "SET statement_timeout = 900",
    ] {
        assert_eq!(tags(&q(&mut peer, sql).await?), "CZ", "{sql}");
        assert_eq!(error(&q(&mut peer, "SELECT pg_sleep(20)").await?).0, "57014", "{sql}");
    }
    // Where the server's own timer was switched off behind the broker's back, the broker cancels, and says why.
    assert!(!tags(&q(&mut peer, "SELECT app.untimed()").await?).contains('E'));
    let (code, text) = error(&q(&mut peer, "SELECT pg_sleep(60)").await?);
    assert!(
        code == "57014" && text.contains(&line("quick", "statement-timeout")),
        "{code} {text}"
    );
    assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends_and_gives_up_its_locks() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "quick").await?;
    for sql in ["BEGIN", "INSERT INTO app.notes VALUES (1, '')"] {
        q(&mut peer, sql).await?;
    }
    let answer = peer.until_closed().await?;
    let (code, text) = error(&answer);
    let place = line("quick", "idle-timeout");
    let place = place.split(' ').next().unwrap_or_default();
    assert!(code == "57P05" && text.contains(place), "{code} {text}");
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM app.notes")?, "0");
    // The grant goes on.
    let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
    assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    verified(&house)
}
