//! psql: its backslash commands, COPY both ways, scripts, cursors, errors.

use std::process::Command;

use anyhow::Result;
use tests::House;

use crate::{client, recorded, script};

#[tokio::test(flavor = "multi_thread")]
async fn psql_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    // libpq refuses to log in unless the exchange is bound to the TLS channel.
    let mut psql = Command::new(house.cluster.bin("psql"));
    psql.args(["-X", "-A", "-P", "pager=off", "-f"])
        .arg(script("psql.sql"))
        .env("PGCHANNELBINDING", "require");
    let text = client(&house, &grant, &mut psql, "")?;

    for wanted in [
        "app|orders|table|hoop_broker",
        "id|integer||not null|nextval('app.orders_id_seq'::regclass)",
        "\"orders_customer_id_fkey\" FOREIGN KEY (customer_id) REFERENCES app.customers(id)",
        "app|orders_pkey|index|hoop_broker|orders",
        "shop|hoop_broker|UTF8",
        "plpgsql|",
        "counted 50",
        "generated 2",
        "amount|numeric(10,2)",
        "savepoints 1",
        "kept after an error 1",
        "cursor batches 50",
        "copied 5003",
        "7001|from a script",
        "prepared order 3",
        "Asynchronous notification \"changed\" with payload \"one\" received from server process with PID",
        "\"made_pkey\" PRIMARY KEY, btree (id)",
        "made 2 rows",
        "View definition:",
        "SQLSTATE 42501",
        "SQLSTATE 22012",
        "last line",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
    }
    assert!(text.contains("denied by "), "{text}");
    // The data of a refused COPY is data: never run as SQL.
    let direct = house.direct().await?;
    let rows = direct.query("SELECT count(*) FROM app.card_tokens", &[]).await?;
    assert_eq!(rows[0].get::<_, i64>(0), 1);

    recorded(
        &house,
        &grant,
        &[
            ("CREATE TABLE app.made", "CREATE TABLE"),
            ("app.notes FROM STDIN", "COPY 5000"),
            ("EXECUTE by_id", "SELECT 1"),
        ],
    )
}
