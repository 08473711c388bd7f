//! pgbench: initialises its tables through the endpoint and runs in every protocol mode.

use std::process::Command;

use anyhow::{Context as _, Result};
use tests::House;

use crate::{client, recorded};

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_mode_without_a_failed_transaction() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let pgbench = |arguments: &[&str]| {
        client(
            &house,
            &grant,
            Command::new(house.cluster.bin("pgbench")).args(arguments),
            "",
        )
    };
    let direct = house.direct().await?;
    let count = async |sql: &str| anyhow::Ok(direct.query_one(sql, &[]).await?.get::<_, i64>(0));

    // Drop, create, load by COPY, vacuum, keys: pgbench's usual initialisation.
    pgbench(&["-i", "-s", "1"])?;
    assert_eq!(count("SELECT count(*) FROM pgbench_accounts").await?, 100_000);
    pgbench(&["-i", "-s", "1", "-I", "dtGpf"])?;
    assert_eq!(count("SELECT count(*) FROM pgbench_accounts").await?, 100_000);

    for arguments in [
        &["-M", "simple", "-c", "4", "-t", "50"][..],
        &["-M", "extended", "-c", "4", "-t", "50"],
        &["-M", "prepared", "-c", "4", "-t", "50"],
        &["-M", "prepared", "-C", "-c", "4", "-t", "10"],
        &["-M", "simple", "-C", "-c", "4", "-t", "10"],
    ] {
        let text = pgbench(arguments)?;
        let processed = text
            .lines()
            .find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let (processed, asked) = processed
            .and_then(|line| line.split_once('/'))
            .with_context(|| text.clone())?;
        assert_eq!(processed, asked, "{text}");
        assert!(text.contains("number of failed transactions: 0 "), "{text}");
        // pgbench empties its history before each run.
        assert_eq!(
            count("SELECT count(*) FROM pgbench_history").await?,
            processed.parse::<i64>()?
        );
    }
    let reads = pgbench(&["-S", "-M", "prepared", "-c", "8", "-t", "100"])?;
    assert!(
        reads.contains("number of transactions actually processed: 800/800"),
        "{reads}"
    );
    recorded(
        &house,
        &grant,
        &[
            ("copy pgbench_accounts", "COPY 100000"),
            ("UPDATE pgbench_tellers", "UPDATE 1"),
        ],
    )
}
