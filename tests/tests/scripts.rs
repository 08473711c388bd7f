//! Several statements in one Query, the schema changing on the way: each is judged against the schema as it is then.

use anyhow::Result;
use tests::House;
use tests::raw::{Raw, query};

async fn raw(house: &House, scope: &str) -> Result<(Raw, tests::Grant)> {
    let grant = house.grant(scope).await?;
    let stream = tests::client::tls(house.port, house.authority.pem()).await?;
    let raw = Raw::login(
        Box::new(stream),
        &grant.user(),
        &grant.password(),
        &[("database", "shop")],
    )
    .await?;
    Ok((raw, grant))
}

fn tags(messages: &[tests::raw::Message]) -> String {
    messages.iter().map(|(tag, _)| *tag).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_sees_the_tables_it_makes_in_one_transaction() -> Result<()> {
    let house = House::start().await?;
    let (mut client, _grant) = raw(&house, "migrate").await?;
    client
        .send(&query(
            "CREATE TABLE app.made (id int); INSERT INTO app.made VALUES (1), (2); SELECT id FROM app.made",
        ))
        .await?;
    let answer = client.until_ready(1).await?;
    assert_eq!(tags(&answer), "CCTDDCZ", "{answer:?}");
    // A failure takes everything back, as in one Query.
    client
        .send(&query(
            "CREATE TABLE app.gone (id int); INSERT INTO app.gone VALUES (1); SELECT 1/0",
        ))
        .await?;
    assert_eq!(tags(&client.until_ready(1).await?), "CCEZ");
    client.send(&query("SELECT * FROM app.gone")).await?;
    assert_eq!(tags(&client.until_ready(1).await?), "EZ");
    assert_eq!(
        house.cluster.psql(
            "shop",
            "SELECT count(*) FROM pg_class WHERE relname IN ('made', 'gone')"
        )?,
        "1"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_is_judged_by_what_it_is_called_then() -> Result<()> {
    let house = House::start().await?;
    let (mut client, _grant) = raw(&house, "migrate").await?;
    // After the rename the name is one that `never` forbids.
    house.cluster.psql("shop", "DROP TABLE app.card_tokens")?;
    client
        .send(&query(
            "ALTER TABLE app.notes RENAME TO memos; SELECT id FROM app.memos; SELECT id FROM app.notes",
        ))
        .await?;
    let answer = client.until_ready(1).await?;
    assert_eq!(tags(&answer), "CTCEZ", "{answer:?}");
    assert_eq!(
        house
            .cluster
            .psql("shop", "SELECT to_regclass('app.notes') IS NOT NULL")?,
        "t",
        "rolled back"
    );
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}
