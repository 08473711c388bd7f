//! `current_setting($1)`: which setting is read shows only in the bound value, so that is what is judged.

use anyhow::Result;
use tests::raw::{Raw, bind_values, endpoint, execute, field, frame, parse_typed, query, sync, tags};
use tests::{House, Plan};

const TEXT: u32 = 25;

/// As `bind_values`, the parameters in binary format.
fn bind_binary(value: &[u8]) -> Vec<u8> {
    let mut body = b"\0\0\0\x01\0\x01\0\x01".to_vec();
    body.extend(u32::try_from(value.len()).expect("a small value").to_be_bytes());
    body.extend([value, &[0, 0]].concat());
    frame('B', &body)
}

/// The answer's tags, and the SQLSTATE and message of its error.
async fn ask(peer: &mut Raw, bytes: &[u8]) -> Result<(String, String, String)> {
    peer.send(bytes).await?;
    let answer = peer.until_ready(1).await?;
    let error = answer.iter().find(|(tag, _)| *tag == 'E');
    let part = |name| error.map(|(_, body)| field(body, name)).unwrap_or_default();
    Ok((tags(&answer), part('C'), part('M')))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_name_of_a_setting_is_judged() -> Result<()> {
    let house = House::plan(Plan::default()).await?;
    let grant = house.grant("read").await?;
    let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
    let sql = "SELECT current_setting($1)";
    for name in [
        "data_directory",
        "DATA_DIRECTORY",
        "hba_file",
        "hoop.secret",
        "config_file",
    ] {
        for bind in [bind_values("", "", &[name.as_bytes()]), bind_binary(name.as_bytes())] {
            let bytes = [parse_typed("", sql, &[TEXT]), bind, execute(""), sync()].concat();
            let (seen, code, text) = ask(&mut peer, &bytes).await?;
            assert!(code == "42501" && !seen.contains('D'), "{name}: {seen} {code}");
            assert!(!text.contains(name), "a value shows: {text}");
        }
    }
    for name in ["server_version", "TimeZone", "search_path"] {
        for bind in [bind_values("", "", &[name.as_bytes()]), bind_binary(name.as_bytes())] {
            let bytes = [parse_typed("", sql, &[TEXT]), bind, execute(""), sync()].concat();
            let (seen, code, text) = ask(&mut peer, &bytes).await?;
            assert!(seen.contains('D') && code.is_empty(), "{name}: {seen} {code} {text}");
        }
    }
    // In the simple protocol nobody sees the value in time.
    for sql in [
        "PREPARE p(text) AS SELECT current_setting($1)",
        "SELECT current_setting('data_directory')",
        "SELECT current_setting('data_' || 'directory')",
        "SELECT current_setting(name) FROM (VALUES ('data_directory')) v(name)",
    ] {
        let (seen, code, _) = ask(&mut peer, &query(sql)).await?;
        assert!(code == "42501" && !seen.contains('D'), "{sql}: {seen} {code}");
    }
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}
