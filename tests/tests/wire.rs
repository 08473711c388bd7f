//! The wire protocol's rules, with raw bytes: the door, start-up keys, cancel keys, frames that lie, streams. After
//! each of them the next client is served.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tests::raw::{
    Raw, bind, bind_values, copy_data, copy_done, execute, field, frame, keys, packet, parse, parse_typed, query, sync,
    tags,
};
use tests::{Grant, House, Plan, client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

async fn tcp(house: &House) -> Result<TcpStream> {
    Ok(TcpStream::connect(("127.0.0.1", house.port)).await?)
}

async fn login(house: &House, grant: &Grant) -> Result<Raw> {
    login_with(house, grant, &[]).await
}

async fn login_with(house: &House, grant: &Grant, keys: &[(&str, &str)]) -> Result<Raw> {
    let stream = client::tls(house.port, house.authority.pem()).await?;
    Raw::login(Box::new(stream), &grant.user(), &grant.password(), keys).await
}

/// The next client is served.
async fn served(house: &House, grant: &Grant) -> Result<()> {
    let mut peer = login(house, grant).await.context("the next client")?;
    peer.send(&query("SELECT 1")).await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "TDCZ");
    Ok(peer.send(&frame('X', b"")).await?)
}

/// Everything the peer says until it closes. A reset is a close.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut all)).await;
    let _end_or_reset = read.context("the connection stays open")?;
    Ok(all)
}

/// Sends bytes on a fresh connection and returns everything that comes back until the close.
async fn knock(house: &House, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = tcp(house).await?;
    stream.write_all(bytes).await?;
    rest(&mut stream).await
}

/// The ErrorResponse that `bytes` are.
fn refusal(bytes: &[u8]) -> (String, String, String, String) {
    assert_eq!(bytes.first(), Some(&b'E'), "{}", bytes.escape_ascii());
    let part = |kind| field(&bytes[5..], kind);
    (part('S'), part('C'), part('M'), part('H'))
}

async fn direct_tls(house: &House, protocols: &[&str]) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.authority.pem().as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("127.0.0.1")?, tcp(house).await?)
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let hello = packet(196_608, &keys(&[("user", &grant.user())]));

    // Plain bytes behind an SSLRequest are part of a broken handshake, never of the session (CVE-2021-23222).
    for extra in [&hello[..], b"x", b"\0\0\0", &query("SELECT 1"), &packet(SSL, b"")] {
        let answer = knock(&house, &[&packet(SSL, b""), extra].concat()).await;
        // Too short for a TLS record, the handshake waits for more: nothing is said meanwhile.
        if let Ok(answer) = answer {
            assert_eq!(answer.first(), Some(&b'S'));
            assert!(
                answer.len() == 1 || answer[1] == 0x15,
                "only a TLS alert: {}",
                answer.escape_ascii()
            );
        }
    }
    // Each request for encryption is answered once (CVE-2026-6479).
    let both = [packet(GSS, b""), packet(SSL, b"")].concat();
    let answer = knock(&house, &both.repeat(1000)).await?;
    assert!(
        answer.starts_with(b"NS") && !answer[2..].contains(&b'N'),
        "{}",
        answer.escape_ascii()
    );
    assert_eq!(knock(&house, &packet(GSS, b"").repeat(1000)).await?, b"N");

    // Direct TLS needs the protocol's name (ALPN), and nothing but a start-up or a cancel may follow.
    let stream = direct_tls(&house, &["postgresql"]).await?;
    let mut peer = Raw::login(Box::new(stream), &grant.user(), &grant.password(), &[]).await?;
    peer.send(&query("SELECT 1")).await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "TDCZ");
    let mut nameless = direct_tls(&house, &[]).await?;
    let _refused_already = nameless.write_all(&hello).await;
    assert_eq!(rest(&mut nameless).await?, b"");
    assert!(direct_tls(&house, &["http/1.1"]).await.is_err());
    for code in [SSL, GSS] {
        let mut stream = direct_tls(&house, &["postgresql"]).await?;
        stream.write_all(&packet(code, b"")).await?;
        assert_eq!(rest(&mut stream).await?, b"", "no answer to {code} inside TLS");
    }
    // GSS is declined, then TLS goes on.
    let mut stream = tcp(&house).await?;
    stream.write_all(&packet(GSS, b"")).await?;
    assert_eq!(stream.read_u8().await?, b'N');
    stream.write_all(&packet(SSL, b"")).await?;
    assert_eq!(stream.read_u8().await?, b'S');

    let (severity, code, text, hint) = refusal(&knock(&house, &hello).await?);
    assert_eq!((severity.as_str(), code.as_str()), ("FATAL", "28000"));
    assert!(text.contains("TLS") && hint.contains("sslmode="), "{text} {hint}");
    served(&house, &grant).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_start_up_packet() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    for length in [0_u32, 1, 3, 4, 7, 10_001, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        let (severity, code, ..) = refusal(&knock(&house, &length.to_be_bytes()).await?);
        assert_eq!((severity.as_str(), code.as_str()), ("FATAL", "08P01"), "{length}");
    }
    let user = grant.user();
    let cases: &[(&[u8], &str)] = &[
        (&packet(131_072, b"\0"), "0A000"),
        (&packet(262_144, b"\0"), "0A000"),
        (&packet(196_608, b"user"), "08P01"),
        (&packet(196_608, b"user\0\xff\0\0"), "22021"),
        (
            &packet(196_608, &[&keys(&[("user", &user)])[..], b"trailing"].concat()),
            "08P01",
        ),
        (&packet(SSL, b"x"), "08P01"),
        (&packet(CANCEL, b"\0\0"), "08P01"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "08P01"),
        (b"\r\n\r\n\r\n", "08P01"),
    ];
    for (bytes, wanted) in cases {
        let (severity, code, ..) = refusal(&knock(&house, bytes).await?);
        assert_eq!(
            (severity.as_str(), code.as_str()),
            ("FATAL", *wanted),
            "{}",
            bytes.escape_ascii()
        );
    }
    // A cancel request is never answered, whoever it is for.
    assert_eq!(knock(&house, &packet(CANCEL, &[7; 8])).await?, b"");
    // Garbage at both doors; the other protocol's bytes at the wrong door.
    let http = house.url.rsplit(':').next().context("a port")?.parse::<u16>()?;
    let noise: Vec<u8> = (0..4096_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for bytes in [
        &noise[..],
        &packet(196_608, &keys(&[("user", "u")])),
        b"\x16\x03\x01\0\x05hello",
        b"GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", http)).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        rest(&mut stream).await?;
        let mut stream = tcp(&house).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        rest(&mut stream).await?;
    }
    assert_eq!(house.api("GET", "/healthz", None, None).await?.0, 200);
    served(&house, &grant).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_on_loopback() -> Result<()> {
    let house = House::plan(Plan {
        tls: false,
        ..Plan::default()
    })
    .await?;
    let grant = house.grant("migrate").await?;
    let both = [packet(SSL, b""), packet(GSS, b"")].concat();
    assert_eq!(knock(&house, &both.repeat(1000)).await?, b"NN");
    assert_eq!(knock(&house, b"\x16\x03\x01\0\x05hello").await?, b"");
    let mut stream = tcp(&house).await?;
    stream.write_all(&packet(SSL, b"")).await?;
    assert_eq!(stream.read_u8().await?, b'N');
    let mut peer = Raw::login(Box::new(stream), &grant.user(), &grant.password(), &[]).await?;
    peer.send(&query("SELECT 1")).await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "TDCZ");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn start_up_keys() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let refused: &[(&str, &str, &str)] = &[
        ("replication", "database", "0A000"),
        ("replication", "true", "0A000"),
        ("no_such_key", "x", "42501"),
        ("search_path", "audit", "42501"),
        ("role", "postgres", "42501"),
        ("session_replication_role", "replica", "42501"),
        ("client_encoding", "LATIN1", "42501"),
        ("standard_conforming_strings", "off", "42501"),
        ("options", "-c search_path=audit", "42501"),
        ("options", "-csearch_path=audit", "42501"),
        ("options", "--search-path=audit", "42501"),
        (
            "options",
            "-c statement_timeout=5s -c standard_conforming_strings=off",
            "42501",
        ),
        ("options", r"-c search\_path=audit", "42501"),
        ("options", "-c role=postgres", "42501"),
        ("options", "-d postgres", "22023"),
        ("options", "-c", "22023"),
        ("database", "postgres", "3D000"),
    ];
    for (key, value, code) in refused {
        let error = login_with(&house, &grant, &[(key, value)])
            .await
            .err()
            .context(format!("{key}={value} let in"))?;
        let text = error.to_string();
        assert!(
            text.contains("SFATAL") && text.contains(&format!("C{code} ")),
            "{key}={value}: {text}"
        );
        assert!(
            *code == "0A000" || text.contains(" H"),
            "{key}={value} without a hint: {text}"
        );
    }
    let accepted: &[(&str, &str)] = &[
        ("database", "shop"),
        ("sslmode", "require"),
        ("target_session_attrs", "read-write"),
        ("channel_binding", "prefer"),
        ("client_encoding", "UTF8"),
        ("client_encoding", "utf-8"),
        ("replication", "off"),
        ("application_name", "my tool"),
        ("options", "-c statement_timeout=5s"),
        ("options", ""),
        ("DateStyle", "ISO, DMY"),
    ];
    for (key, value) in accepted {
        let mut peer = login_with(&house, &grant, &[(key, value)])
            .await
            .with_context(|| format!("{key}={value}"))?;
        peer.send(&query("SHOW statement_timeout")).await?;
        let answer = peer.until_ready(1).await?;
        let wanted: &[u8] = if value.contains("timeout") { b"5s" } else { b"10min" };
        assert!(
            answer[1].1.ends_with(wanted),
            "{key}={value}: {}",
            answer[1].1.escape_ascii()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_settings_and_protocol_versions() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = login(&house, &grant).await?;
    let told = |name: &str| {
        peer.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(told("client_encoding").as_deref(), Some("UTF8"));
    assert_eq!(told("standard_conforming_strings").as_deref(), Some("on"));
    assert!(told("server_version").is_some_and(|version| version.starts_with("15")));
    assert_eq!(peer.negotiated, None);
    assert_eq!(peer.secret.len(), 4);
    for sql in [
        "SET standard_conforming_strings = off",
        "SET client_encoding = LATIN1",
        "SET NAMES 'LATIN1'",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('search_path', 'audit', false)",
        "SET LOCAL backslash_quote = on",
        "SET SESSION AUTHORIZATION postgres",
        "SET ROLE postgres",
    ] {
        peer.send(&query(sql)).await?;
        let answer = peer.until_ready(1).await?;
        assert_eq!(
            (tags(&answer).as_str(), field(&answer[0].1, 'C').as_str()),
            ("EZ", "42501"),
            "{sql}"
        );
    }

    let at = async |version: u32, keys: &[(&str, &str)]| -> Result<Raw> {
        let stream = client::tls(house.port, house.authority.pem()).await?;
        Raw::login_as(Box::new(stream), version, &grant.user(), &grant.password(), keys).await
    };
    let newest = 196_610_u32.to_be_bytes();
    let peer = at(196_610, &[]).await?;
    assert_eq!((peer.negotiated, peer.secret.len()), (None, 32));
    let peer = at(196_610, &[("_pq_.hoop", "1"), ("_pq_.test", "")]).await?;
    assert_eq!(
        peer.negotiated,
        Some([&newest[..], b"\0\0\0\x02_pq_.hoop\0_pq_.test\0"].concat())
    );
    let peer = at(196_617, &[]).await?;
    assert_eq!(
        (peer.negotiated, peer.secret.len()),
        (Some([newest, [0; 4]].concat()), 32)
    );
    let peer = at(196_608, &[("_pq_.hoop", "1")]).await?;
    assert_eq!(
        peer.negotiated,
        Some([&196_608_u32.to_be_bytes()[..], b"\0\0\0\x01_pq_.hoop\0"].concat())
    );
    assert_eq!(peer.secret.len(), 4);
    Ok(())
}

/// One login with a wrong password, as an attacker sees it: message types and lengths, the salt, the final error.
async fn guess(house: &House, user: &str) -> Result<(String, String, String)> {
    let stream = client::tls(house.port, house.authority.pem()).await?;
    let mut peer = Raw::new(Box::new(stream));
    peer.send(&packet(196_608, &keys(&[("user", user), ("database", "shop")])))
        .await?;
    let mut shape = String::new();
    let mut see = |message: &(char, Vec<u8>)| shape += &format!("{}{} ", message.0, message.1.len());
    see(&peer.next().await?);
    let first = b"n,,n=,r=clientnonceclientnonce12";
    let length = u32::try_from(first.len())?.to_be_bytes();
    peer.message('p', &[b"SCRAM-SHA-256\0", &length[..], first].concat())
        .await?;
    let challenge = peer.next().await?;
    see(&challenge);
    let text = String::from_utf8(challenge.1[4..].to_vec())?;
    let part = |name: &str| {
        text.split(',')
            .find_map(|part| part.strip_prefix(name))
            .unwrap_or_default()
            .to_owned()
    };
    let salt = format!("{} {}", part("s="), part("i="));
    let proof = "A".repeat(43) + "=";
    peer.message('p', format!("c=biws,r={},p={proof}", part("r=")).as_bytes())
        .await?;
    let last = peer.until_closed().await?;
    assert_eq!(tags(&last), "E");
    let error = tests::raw::fields(&last[0].1).join(" ").replace(user, "USER");
    Ok((shape, salt, error))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_looks_like_a_wrong_password() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let known = grant.user();
    // As long as the real one, and just as plausible.
    let unknown: String = known.chars().rev().collect();
    let (shape, salt, error) = guess(&house, &known).await?;
    assert!(error.contains("C28P01") && error.contains("SFATAL"), "{error}");
    let (other_shape, other_salt, other_error) = guess(&house, &unknown).await?;
    assert_eq!((&shape, &error), (&other_shape, &other_error));
    assert_eq!(guess(&house, &known).await?.1, salt, "a user's salt is stable");
    assert_eq!(guess(&house, &unknown).await?.1, other_salt, "and so is nobody's");
    assert_ne!(salt, other_salt);
    assert_eq!(
        salt.rsplit(' ').next(),
        other_salt.rsplit(' ').next(),
        "the same iterations"
    );
    served(&house, &grant).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_requests() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = login(&house, &grant).await?;
    peer.send(&query("SELECT pg_backend_pid()")).await?;
    let answer = peer.until_ready(1).await?;
    assert!(
        answer[1].1.ends_with(peer.pid.to_string().as_bytes()),
        "the process id is the server's own"
    );

    let cancel = |pid: u32, secret: &[u8]| packet(CANCEL, &[&pid.to_be_bytes(), secret].concat());
    let mut wrong = peer.secret.clone();
    wrong[0] ^= 1;
    peer.send(&query("SELECT pg_sleep(60)")).await?;
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'";
    while house.cluster.psql("shop", asleep)? != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for nothing in [
        cancel(peer.pid, &wrong),
        cancel(peer.pid ^ 1, &peer.secret),
        cancel(peer.pid, &[&peer.secret[..], b"\0"].concat()),
        cancel(peer.pid, &[0; 256]),
    ] {
        assert_eq!(knock(&house, &nothing).await?, b"");
    }
    assert_eq!(house.cluster.psql("shop", asleep)?, "1", "a wrong secret does nothing");
    // In the clear, as libpq before version 17 does it.
    assert_eq!(knock(&house, &cancel(peer.pid, &peer.secret)).await?, b"");
    let answer = peer.until_ready(1).await?;
    assert_eq!(
        field(&answer.iter().find(|(tag, _)| *tag == 'E').context("cancelled")?.1, 'C'),
        "57014"
    );

    // Inside TLS, as newer ones do it.
    peer.send(&query("SELECT pg_sleep(60)")).await?;
    while house.cluster.psql("shop", asleep)? != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stream = client::tls(house.port, house.authority.pem()).await?;
    stream.write_all(&cancel(peer.pid, &peer.secret)).await?;
    assert_eq!(rest(&mut stream).await?, b"");
    let answer = peer.until_ready(1).await?;
    assert_eq!(
        field(&answer.iter().find(|(tag, _)| *tag == 'E').context("cancelled")?.1, 'C'),
        "57014"
    );
    peer.send(&query("SELECT 1")).await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "TDCZ");
    Ok(())
}

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
        let mut peer = login(&house, &grant).await?;
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
    let mut peer = login(&house, &grant).await?;
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
    let mut peer = login(&house, &grant).await?;

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
    let mut peer = login(&house, &grant).await?;
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
