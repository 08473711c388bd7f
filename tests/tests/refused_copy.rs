//! COPY … FROM STDIN is the one refusal that is not PostgreSQL's own error at once: the data is taken in first.

use anyhow::Result;
use tests::House;
use tests::raw::{bind, copy_data, copy_done, copy_fail, endpoint, execute, field, flush, parse, query, sync, tags};

/// A refused COPY … FROM STDIN as the server fails one whose data it has taken.
#[tokio::test(flavor = "multi_thread")]
async fn copy_from_stdin_takes_the_data_and_then_fails() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let copy = "COPY app.card_tokens /* tap-canary */ FROM STDIN";
    for end in [copy_done(), copy_fail()] {
        let mut peer = endpoint(&house, &grant, &[]).await?;
        peer.send(&query(copy)).await?;
        assert_eq!(tags(&peer.until('G').await?), "G");
        let data = [
            copy_data(b"DROP TABLE app.notes;\n"),
            copy_data(b"tap-canary\n"),
            sync(),
            flush(),
        ]
        .concat();
        peer.send(&[data, end].concat()).await?;
        let answer = peer.until_ready(1).await?;
        assert_eq!(tags(&answer), "EZ");
        assert_eq!(field(&answer[0].1, 'C'), "42501");
        assert_eq!(answer[1].1, b"I");
        // In a transaction, the transaction is aborted.
        peer.send(&[query("BEGIN"), query("SELECT 1")].concat()).await?;
        peer.until_ready(2).await?;
        peer.send(&query(copy)).await?;
        assert_eq!(tags(&peer.until('G').await?), "G");
        peer.send(&copy_done()).await?;
        assert_eq!(
            peer.until_ready(1).await?.last().map(|ready| ready.1.clone()),
            Some(b"E".to_vec())
        );
        peer.send(&query("ROLLBACK")).await?;
        assert_eq!(tags(&peer.until_ready(1).await?), "CZ");
    }
    // Behind other statements their answers would have to come first: FATAL, and nothing of it has run.
    let mut peer = endpoint(&house, &grant, &[]).await?;
    peer.send(&query(&format!("INSERT INTO app.notes VALUES (9, 'gone'); {copy}")))
        .await?;
    let answer = peer.until_closed().await?;
    assert_eq!(tags(&answer), "E");
    assert_eq!(
        (field(&answer[0].1, 'S'), field(&answer[0].1, 'C')),
        ("FATAL".to_owned(), "42501".to_owned())
    );
    // A Query among the data is fatal, whether the COPY was refused or not, as it is at the server.
    for copy in [copy, "COPY app.notes FROM STDIN"] {
        let mut peer = endpoint(&house, &grant, &[]).await?;
        peer.send(&query(copy)).await?;
        peer.until('G').await?;
        peer.send(&[copy_data(b"1\tx\n"), query("SELECT 1"), sync()].concat())
            .await?;
        let answer = peer.until_closed().await?;
        assert_eq!(tags(&answer), "E", "{copy}");
        assert_eq!(
            (field(&answer[0].1, 'S'), field(&answer[0].1, 'C')),
            ("FATAL".to_owned(), "08P01".to_owned())
        );
    }
    // The extended protocol has no data lines that could be taken for statements: a plain error, as the server's.
    let mut peer = endpoint(&house, &grant, &[]).await?;
    peer.send(&[parse("", copy), bind("", ""), execute(""), sync()].concat())
        .await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "EZ");

    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM app.notes")?, "0");
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM app.card_tokens")?, "1");
    assert!(!house.cluster.log()?.contains("tap-canary"));
    assert!(house.verify_ledger()?.0);
    Ok(())
}

/// CVE-2026-6464: psql before 15.19 goes on to run the data lines of a COPY that fails at once.
#[tokio::test(flavor = "multi_thread")]
async fn psql_does_not_run_the_data_of_a_refused_copy() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let script = "COPY app.card_tokens FROM STDIN;\n\
        DROP TABLE app.notes;\n\
        INSERT INTO app.notes VALUES (66, 'from the data');\n\
        \\.\n\
        INSERT INTO app.notes VALUES (1, 'behind the data');\n";
    let (success, out, err) = house.psql(&grant, &[], script)?;
    assert!(success, "{out}{err}");
    assert!(err.contains("denied by "), "{err}");
    assert_eq!(house.cluster.psql("shop", "SELECT id FROM app.notes")?, "1");
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM app.card_tokens")?, "1");
    let log = house.cluster.log()?;
    assert!(!log.contains("DROP TABLE app.notes") && !log.contains("from the data"));
    // The same with the file read by \\copy and by -f, and stopping at the first error.
    let file = house.path("data.sql");
    std::fs::write(&file, "DROP TABLE app.notes;\n")?;
    let copy = format!("\\copy app.card_tokens from '{}'\nSELECT 'went on';\n", file.display());
    let (_, out, err) = house.psql(&grant, &["-A", "-t"], &copy)?;
    assert!(err.contains("denied by") && out.contains("went on"), "{out}{err}");
    let (success, _, err) = house.psql(&grant, &["-v", "ON_ERROR_STOP=1"], script)?;
    assert!(!success && err.contains("denied by"), "{err}");
    assert!(!house.cluster.log()?.contains("DROP TABLE app.notes"));
    Ok(())
}
