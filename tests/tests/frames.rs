//! Frames that lie, bytes that are no text, and things that are merely large, with raw bytes. After each of them the
//! next client is served.

use anyhow::{Context as _, Result};
use tests::House;
use tests::raw::{
    bind, bind_values, copy_data, copy_done, endpoint, execute, field, frame, parse, parse_typed, query, served, sync,
    tags,
};

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_lie_end_the_connection() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for tag in "QPBd".chars() {
        for length in [0_u32, 1, 3, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            cases.push((
                format!("{tag:?} of {length}"),
                [&[tag as u8], &length.to_be_bytes()[..]].concat(),
            ));
        }
    }
    for (tag, length) in "DECSHFXcfp?\0"
        .chars()
        .zip([3_u32, 0x8000_0000, 0, 0xffff_ffff].into_iter().cycle())
    {
        cases.push((
            format!("{tag:?} of {length}"),
            [&[tag as u8], &length.to_be_bytes()[..]].concat(),
        ));
    }
    for tag in "QPBDECp".chars() {
        cases.push((format!("{tag:?} of nothing"), frame(tag, b"")));
    }
    let texts: &[(&str, Vec<u8>)] = &[
        (
            "a Query with a NUL inside",
            frame('Q', b"SELECT 1\0; DROP TABLE app.notes\0"),
        ),
        ("a Query without an end", frame('Q', b"SELECT 1")),
        (
            "a Parse with a NUL inside",
            frame('P', b"\0SELECT 1\0DROP TABLE app.notes\0\0\0"),
        ),
        ("a Parse that promises types", frame('P', b"\0SELECT 1\0\0\x05")),
        ("a Bind whose names do not end", frame('B', b"portal")),
        ("a Bind whose statement does not end", frame('B', b"\0statement")),
        ("a Bind with endless names", frame('B', &vec![b'x'; 100_000])),
        ("a Describe of nothing", frame('D', b"X\0")),
        ("an Execute without a count", frame('E', b"\0")),
        ("an unknown message", frame('y', b"")),
        ("a second password", frame('p', b"secret\0")),
    ];
    cases.extend(texts.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())));
    for (name, bytes) in cases {
        let mut peer = endpoint(&house, &grant, &[]).await?;
        // What stands behind the lie must never be taken for a message.
        peer.send(&[&bytes[..], &query("DROP TABLE app.notes")].concat())
            .await?;
        let answer = peer.until_closed().await.with_context(|| name.clone())?;
        assert_eq!(tags(&answer), "E", "{name}");
        let found = (field(&answer[0].1, 'S'), field(&answer[0].1, 'C'));
        assert_eq!(found, ("FATAL".to_owned(), "08P01".to_owned()), "{name}");
    }
    assert!(!house.cluster.log()?.contains("DROP TABLE app.notes"));
    assert!(house.verify_ledger()?.0);
    served(&house, &grant).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_the_server_would_refuse_too() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    // Text that is not UTF-8 is an error, not the end of the session.
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("Query", frame('Q', b"SELECT '\xff'\0"), "22021"),
        ("Query, overlong", frame('Q', b"SELECT '\xc0\xaf'\0"), "22021"),
        ("Query, surrogate", frame('Q', b"SELECT '\xed\xa0\x80'\0"), "22021"),
        (
            "Parse",
            [frame('P', b"\0SELECT '\xff'\0\0\0"), sync()].concat(),
            "22021",
        ),
        (
            "Bind that promises values",
            [parse("", "SELECT 1"), frame('B', b"\0\0\0\0\0\x09"), sync()].concat(),
            "08P01",
        ),
        (
            "value",
            [
                parse_typed("", "SELECT $1", &[25]),
                bind_values("", "", &[b"\xff"]),
                sync(),
            ]
            .concat(),
            "22021",
        ),
        (
            "value cut short",
            [
                parse_typed("", "SELECT $1", &[25]),
                frame('B', b"\0\0\0\0\0\x01\0\0\0\x09x"),
                sync(),
            ]
            .concat(),
            "08P01",
        ),
    ];
    for (name, bytes, code) in cases {
        peer.send(bytes).await?;
        let answer = peer.until_ready(1).await?;
        let error = answer
            .iter()
            .find(|(tag, _)| *tag == 'E')
            .with_context(|| format!("{name}: no error"))?;
        assert_eq!(
            (field(&error.1, 'S').as_str(), field(&error.1, 'C').as_str()),
            ("ERROR", *code),
            "{name}"
        );
        assert_eq!(
            answer.last().map(|ready| ready.1.clone()),
            Some(b"I".to_vec()),
            "{name}"
        );
        peer.send(&query("SELECT 1")).await?;
        assert_eq!(tags(&peer.until_ready(1).await?), "TDCZ", "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_things_pass() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;

    let list: Vec<String> = (1..=65_535).map(|n| format!("${n}")).collect();
    let sql = format!("SELECT count(*) FROM app.orders WHERE id IN ({})", list.join(","));
    let values: Vec<&[u8]> = vec![b"7"; 65_535];
    let bytes = [parse("", &sql), bind_values("", "", &values), execute(""), sync()].concat();
    peer.send(&bytes).await?;
    let answer = peer.until_ready(1).await?;
    assert_eq!(tags(&answer), "12DCZ", "{}", answer[0].1.escape_ascii());
    assert!(answer[2].1.ends_with(b"1"));

    let value = vec![b'v'; 20_000_000];
    let insert = parse_typed("", "INSERT INTO app.notes VALUES (1, $1)", &[25]);
    peer.send(&[insert, bind_values("", "", &[&value]), execute(""), sync()].concat())
        .await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "12CZ");
    assert_eq!(
        house.cluster.psql("shop", "SELECT length(body) FROM app.notes")?,
        "20000000"
    );
    peer.send(&query("SELECT body FROM app.notes")).await?;
    let answer = peer.until_ready(1).await?;
    assert_eq!(tags(&answer), "TDCZ");
    assert_eq!(answer[1].1.len(), 20_000_000 + 6);

    // COPY: 50 MB in, in frames of all sizes, and out again.
    peer.send(&query("TRUNCATE app.notes")).await?;
    peer.until_ready(1).await?;
    let mut data = Vec::new();
    for id in 0..50_000_u32 {
        data.extend(format!("{id}\t").bytes());
        data.resize(data.len() + 990, b'c');
        data.push(b'\n');
    }
    peer.send(&query("COPY app.notes FROM STDIN")).await?;
    assert_eq!(tags(&peer.until('G').await?), "G");
    let mut rest = &data[..];
    for size in [1, 5, 4096, 65_536, 262_144, 300_000, 4_000_000].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.min(rest.len()));
        peer.send(&copy_data(now)).await?;
        rest = later;
    }
    peer.send(&copy_done()).await?;
    let answer = peer.until_ready(1).await?;
    assert_eq!((tags(&answer).as_str(), &answer[0].1[..]), ("CZ", &b"COPY 50000\0"[..]));
    peer.send(&query("COPY app.notes TO STDOUT")).await?;
    let answer = peer.until_ready(1).await?;
    let out: Vec<u8> = answer
        .into_iter()
        .filter(|(tag, _)| *tag == 'd')
        .flat_map(|(_, body)| body)
        .collect();
    assert!(out == data, "{} bytes instead of {}", out.len(), data.len());
    assert!(house.verify_ledger()?.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_are_capped() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    for from in (0..10_000).step_by(1000) {
        let many: Vec<u8> = (from..from + 1000)
            .flat_map(|n| parse(&format!("s{n}"), "SELECT 1"))
            .collect();
        peer.send(&[many, sync()].concat()).await?;
        assert_eq!(tags(&peer.until_ready(1).await?), "1".repeat(1000) + "Z");
    }
    peer.send(&[bind("", "s9999"), execute(""), sync()].concat()).await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "2DCZ");
    peer.send(&[parse("one too many", "SELECT 1"), sync()].concat()).await?;
    let answer = peer.until_closed().await?;
    assert_eq!(
        (tags(&answer).as_str(), field(&answer[0].1, 'C').as_str()),
        ("E", "53400")
    );
    served(&house, &grant).await
}
