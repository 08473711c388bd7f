//! The straight line: a token becomes a grant, an endpoint, a judged and recorded session, a revocation.

use anyhow::Result;
use tests::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_becomes_a_judged_recorded_revocable_endpoint() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("read").await?;
    let client = house.connect(&grant).await?;

    let rows = client
        .query(
            "SELECT id, amount::text FROM app.orders WHERE id < $1 ORDER BY id",
            &[&4_i32],
        )
        .await?;
    assert_eq!(rows.len(), 3);

    let refused = client
        .simple_query("SELECT email FROM app.customers")
        .await
        .unwrap_err();
    let error = refused.as_db_error().expect("an error of the server's kind");
    assert_eq!(error.code().code(), "42501");
    assert!(
        error.message().starts_with("denied by .hoop/db-access.yaml:"),
        "{}",
        error.message()
    );
    assert!(error.hint().is_some());

    let refused = client.simple_query("DROP TABLE app.orders").await.unwrap_err();
    assert_eq!(
        refused.code().map(|code| code.code().to_owned()).as_deref(),
        Some("42501")
    );
    // The session goes on, and the table is still there.
    assert_eq!(client.query("SELECT id FROM app.orders", &[]).await?.len(), 50);

    let answer = house.revoke(&grant).await?;
    assert_eq!(
        answer.pointer("/grant/state").and_then(|state| state.as_str()),
        Some("revoked")
    );
    assert_eq!(
        answer.pointer("/totals/denied").and_then(serde_json::Value::as_u64),
        Some(2)
    );
    let (_, metrics) = house.api("GET", "/metrics", None, None).await?;
    let metrics = metrics.as_str().unwrap_or_default();
    assert!(
        metrics.contains("hoop_statements_total{decision=\"deny\"} 2\n"),
        "{metrics}"
    );
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert!(house.connect(&grant).await.is_err());

    let log = house.cluster.log()?;
    assert!(
        !log.contains("DROP TABLE app.orders"),
        "no byte of a denied statement goes upstream"
    );
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}
