//! The wire protocol's rules up to the session, with raw bytes: the door, start-up keys, logins, cancel keys. After each
//! of them the next client is served.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tests::raw::{Raw, endpoint, field, frame, keys, packet, query, served, tags};
use tests::{House, Plan, client};
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
        let error = endpoint(&house, &grant, &[(key, value)])
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
        ("search_path", "app"),
        ("options", "-csearch_path=app,public"),
    ];
    for (key, value) in accepted {
        let mut peer = endpoint(&house, &grant, &[(key, value)])
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
    start_up_settings_are_defaults(&house, &grant).await
}

/// As with the server itself, what RESET and DISCARD go back to is what the client started with; the next session of
/// the grant starts with its own.
async fn start_up_settings_are_defaults(house: &House, grant: &tests::Grant) -> Result<()> {
    let shown = async |peer: &mut Raw| -> Result<Vec<u8>> {
        peer.send(&query("SHOW statement_timeout")).await?;
        Ok(peer.until_ready(1).await?[1].1.clone())
    };
    let mut peer = endpoint(house, grant, &[("statement_timeout", "7s")]).await?;
    for sql in ["SET statement_timeout = '3s'", "RESET statement_timeout"] {
        peer.send(&query(sql)).await?;
        assert_eq!(tags(&peer.until_ready(1).await?), "CZ", "{sql}");
    }
    assert!(shown(&mut peer).await?.ends_with(b"7s"));
    peer.send(&frame('X', b"")).await?;
    for wanted in ["10min", "7s"] {
        let keys: &[(&str, &str)] = if wanted == "7s" {
            &[("statement_timeout", "7s")]
        } else {
            &[]
        };
        let mut next = endpoint(house, grant, keys).await?;
        assert!(shown(&mut next).await?.ends_with(wanted.as_bytes()), "{wanted}");
        next.send(&frame('X', b"")).await?;
    }
    // Names mean what they mean along that path, from the first statement on, and RESET goes back to it.
    for path in ["app", "public", "app,public"] {
        let mut next = endpoint(house, grant, &[("options", &format!("-csearch_path={path}"))]).await?;
        for sql in [
            "SELECT count(*) FROM orders",
            "SET search_path = public; RESET search_path",
            "SELECT count(*) FROM orders",
        ] {
            next.send(&query(sql)).await?;
            let answers = next.until_ready(1).await?;
            let answered = tags(&answers);
            let wanted = match (path, sql.starts_with("SET")) {
                (_, true) => "CCZ",
                ("public", false) => "EZ",
                _ => "TDCZ",
            };
            assert_eq!(answered, wanted, "{path}: {sql}");
        }
        next.send(&query("SELECT token FROM card_tokens")).await?;
        assert_eq!(tags(&next.until_ready(1).await?), "EZ", "{path}");
        next.send(&frame('X', b"")).await?;
    }
    // What only the server can judge: it says no, and the client is told what and why.
    let error = endpoint(house, grant, &[("DateStyle", "nonsense")]).await.err();
    let text = error.context("a nonsensical DateStyle let in")?.to_string();
    assert!(text.contains("C22023") && text.contains("DateStyle"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_shut_out_the_guesser_and_nobody_else() -> Result<()> {
    let house = House::start().await?;
    let (grant, other) = (house.grant("migrate").await?, house.grant("migrate").await?);
    for _ in 0..10 {
        let (_, _, error) = guess(&house, &grant.user()).await?;
        assert!(error.contains("C28P01"), "{error}");
        // Who does it right is not counted.
        served(&house, &grant).await?;
    }
    let (_, _, error) = guess(&house, &grant.user()).await?;
    assert!(error.contains("C28P01"), "{error}");
    let error = endpoint(&house, &grant, &[]).await.err().context("let in")?.to_string();
    assert!(
        error.contains("C53300") && error.contains("too many failed logins"),
        "{error}"
    );
    served(&house, &other).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_settings_and_protocol_versions() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    let told = |name: &str| {
        peer.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(told("client_encoding").as_deref(), Some("UTF8"));
    assert_eq!(told("standard_conforming_strings").as_deref(), Some("on"));
    let version = house.cluster.psql("postgres", "SHOW server_version")?;
    assert_eq!(told("server_version"), Some(version));
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
    let mut peer = endpoint(&house, &grant, &[]).await?;
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
