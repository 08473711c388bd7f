//! What around a broker goes wrong while its configuration is right: the database, the store, the disk, a repository's
//! policy. It says what is missing, never prints a secret, and recovers by itself.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hoop::demo::certs::Authority;
use hoop::demo::cluster::free_port;
use tests::House;
use tests::house::run;
use tests::raw::{endpoint, field, query, served, tags};

/// `/readyz` is red for this check and no other.
async fn red(house: &House, name: &str, code: &str) -> Result<()> {
    let (status, answer) = house.api("GET", "/readyz", None, None).await?;
    assert_eq!(status, 503, "{answer}");
    let checks = answer["checks"].as_array().context("checks")?;
    let bad: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(bad.len(), 1, "{answer}");
    assert_eq!(
        (bad[0]["name"].as_str(), bad[0]["code"].as_str()),
        (Some(name), Some(code)),
        "{answer}"
    );
    Ok(())
}

/// Restarts the broker with another configuration; it must start, ready or not.
async fn restart_with(house: &mut House, from: &str, to: &str) -> Result<()> {
    house.kill_broker();
    let text = fs::read_to_string(house.path("broker.yaml"))?;
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(house.path("broker.yaml"), text.replace(from, to))?;
    let log = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(house.path("broker.log"))?;
    let config = house.path("broker.yaml").display().to_string();
    let child = house
        .command(&["serve", "--config", &config])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    house.broker = Some(child);
    for _ in 0..500 {
        if house
            .api("GET", "/healthz", None, None)
            .await
            .is_ok_and(|(status, _)| status == 200)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the broker does not live: {}", house.broker_log())
}

/// A job gets its grant, and reads at connect what is wrong; nothing else.
async fn cannot_connect(house: &House, code: &str, says: &str) -> Result<()> {
    let grant = house.grant("migrate").await?;
    let error = endpoint(house, &grant, &[])
        .await
        .err()
        .context("connected")?
        .to_string();
    assert!(
        error.contains("SFATAL") && error.contains(&format!("C{code} ")),
        "{error}"
    );
    assert!(error.contains(says) && error.contains(" Hask the operator"), "{error}");
    assert!(!error.contains("127.0.0.1"), "no address for strangers: {error}");
    assert!(
        !house.broker_log().contains("broker-login-password"),
        "{}",
        house.broker_log()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used() -> Result<()> {
    let mut house = House::start().await?;
    let right = format!("address: \"127.0.0.1:{}\"", house.cluster.port());

    // Nobody listens there.
    let down = format!("address: \"127.0.0.1:{}\"", free_port()?);
    restart_with(&mut house, &right, &down).await?;
    red(&house, "database shop", "database-unreachable").await?;
    cannot_connect(&house, "08001", "cannot reach database `shop`").await?;
    // A wrong credential: the server's refusal, not the password, is what the log says.
    restart_with(&mut house, &down, &right).await?;
    house
        .cluster
        .psql("postgres", "ALTER ROLE hoop_broker PASSWORD 'another'")?;
    restart_with(&mut house, &right, &right).await?;
    red(&house, "database shop", "database-refused").await?;
    cannot_connect(&house, "08001", "refused the broker's own login").await?;
    assert!(house.broker_log().contains("28P01"), "{}", house.broker_log());
    // It recovers by itself.
    house
        .cluster
        .psql("postgres", "ALTER ROLE hoop_broker PASSWORD 'broker-login-password'")?;
    house.await_ready().await?;
    let grant = house.grant("migrate").await?;
    served(&house, &grant).await?;
    // A certificate of an authority that the operator did not name.
    fs::write(house.path("other.pem"), Authority::new()?.pem())?;
    let (ca, other) = (
        house.path("ca.pem").display().to_string(),
        house.path("other.pem").display().to_string(),
    );
    let trust = |ca: &str| format!("mode: verify-full, ca: \"file:{ca}\"");
    restart_with(&mut house, &trust(&ca), &trust(&other)).await?;
    red(&house, "database shop", "database-tls").await?;
    cannot_connect(&house, "08001", "cannot verify the TLS identity").await?;
    assert!(
        house.broker_log().contains("invalid peer certificate"),
        "{}",
        house.broker_log()
    );
    // A database that does not exist.
    restart_with(&mut house, &trust(&other), &trust(&ca)).await?;
    restart_with(&mut house, "database: shop", "database: no_such").await?;
    red(&house, "database shop", "database-refused").await?;
    cannot_connect(&house, "08001", "refused the broker's own login").await?;
    assert!(house.broker_log().contains("3D000"), "{}", house.broker_log());
    assert!(!house.broker_log().contains("broker-login-password"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_held_or_damaged() -> Result<()> {
    let mut house = House::start().await?;
    let refused = |house: &House, config: &str| -> Result<String> {
        let config = house.path(config).display().to_string();
        let (success, out, err) = run(&mut house.command(&["serve", "--config", &config]), "")?;
        assert!(!success && out.is_empty() && !err.contains("panicked"), "{out}{err}");
        assert!(
            !err.contains("broker-login-password") && !err.contains("operator-token-of-the-tests"),
            "{err}"
        );
        Ok(err)
    };
    // A second broker on the same state directory.
    let text = fs::read_to_string(house.path("broker.yaml"))?;
    let http = house.url.rsplit(':').next().context("a port")?;
    let second = text.replace(&format!(":{http}\""), &format!(":{}\"", free_port()?));
    let second = second.replace(&format!(":{}\"", house.port), &format!(":{}\"", free_port()?));
    fs::write(house.path("second.yaml"), second)?;
    let said = refused(&house, "second.yaml")?;
    assert!(
        said.contains("another") && said.contains(&house.path("state").display().to_string()),
        "{said}"
    );
    assert!(said.contains("its own"), "{said}");
    // The first one never noticed.
    let grant = house.grant("migrate").await?;
    endpoint(&house, &grant, &[]).await?;

    house.kill_broker();
    let state = house.path("state");
    let store = fs::read_dir(&state)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "db"))
        .context("a store")?;
    let whole = fs::read(&store)?;
    for (name, bytes) in [
        ("cut off", &b""[..]),
        ("overwritten", &[b'x'; 8192]),
        ("half", &whole[..whole.len() / 2]),
    ] {
        fs::write(&store, bytes)?;
        let said = refused(&house, "broker.yaml").with_context(|| name.to_owned())?;
        assert!(
            said.contains(&state.display().to_string()) && said.contains("restore"),
            "{name}: {said}"
        );
    }
    fs::write(&store, &whole)?;
    // A flipped byte in the ledger.
    let chain = walk(&state.join("ledger"))?
        .into_iter()
        .max_by_key(|(_, size)| *size)
        .context("a ledger")?
        .0;
    let good = fs::read(&chain)?;
    let mut bad = good.clone();
    let middle = bad.iter().position(|&byte| byte == b'g').context("a letter")?;
    bad[middle] ^= 1;
    fs::write(&chain, bad)?;
    let (verifies, text) = house.verify_ledger()?;
    assert!(!verifies, "{text}");
    fs::write(&chain, good)?;
    house.start_broker().await
}

fn walk(folder: &std::path::Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(walk(&entry.path())?);
        } else if entry.path().to_string_lossy().contains("chain") {
            all.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_wrong() -> Result<()> {
    let policy = include_str!("../fixtures/policy.yaml");
    let line = |text: &str, what: &str| text.lines().position(|line| line.contains(what)).map_or(0, |at| at + 1);
    let mut house = House::start().await?;
    let later: &[(&str, &str)] = &[
        ("hold", "    hold: [{ statements: [drop], approvers: dba }]\n"),
        ("record", "    record: { rows: masked }\n"),
    ];
    let marker = "    limits: { ttl: 10m, max-session: 20m, max-connections: 4 }\n";
    assert!(policy.contains(marker));
    for (key, added) in later {
        let added = format!("{added}{marker}");
        let text = policy.replace(marker, &added);
        denied(
            &mut house,
            &text,
            "not-yet-enforced",
            line(&text, &format!("{key}:")),
            key,
        )
        .await?;
    }
    let text = policy.replace("    description: An ETL", "    descripton: An ETL");
    denied(
        &mut house,
        &text,
        "policy-invalid",
        line(&text, "descripton:"),
        "descripton",
    )
    .await?;
    let text = policy.replace("version: 1", "version: [1");
    denied(&mut house, &text, "policy-invalid", 2, "indicator").await?;
    denied(&mut house, "", "policy-invalid", 1, "empty").await?;
    house.kill_broker();
    house.write_policy(policy)?;
    house.start_broker().await?;
    house.grant("read").await?;
    Ok(())
}

/// Under this policy there is no grant; the answer names the code, the line and the word.
async fn denied(house: &mut House, policy: &str, code: &str, line: usize, word: &str) -> Result<()> {
    house.kill_broker();
    house.write_policy(policy)?;
    house.start_broker().await?;
    let token = house.github.github(&serde_json::json!({}))?;
    let asked = serde_json::json!({ "scope": "read" });
    let (status, answer) = house.api("POST", "/v1/grants", Some(&token), Some(asked)).await?;
    let text = answer.to_string();
    assert_eq!(status, 403, "{word}: {text}");
    assert!(text.contains(code) && text.contains(word), "{word}: {text}");
    assert!(
        line == 0 || text.contains(&format!("db-access.yaml:{line}")),
        "{word}, line {line}: {text}"
    );
    Ok(())
}

/// RLIMIT_FSIZE cuts files off as a full disk does, and can be lifted from outside while the broker runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up() -> Result<()> {
    let mut house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    let limit = |house: &House, bytes: &str| -> Result<()> {
        let pid = house.broker_pid().to_string();
        let (success, out, err) = run(
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]),
            "",
        )?;
        assert!(success, "{out}{err}");
        Ok(())
    };
    // The wrapper makes the broker deaf to SIGXFSZ: writes fail instead, as they do on a full disk.
    drop(peer);
    house.kill_broker();
    let config = house.path("broker.yaml").display().to_string();
    let mut shell = Command::new("bash");
    let inner = house.command(&["serve", "--config", &config]);
    shell
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "bash"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    house.broker = Some(
        shell
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    house.await_ready().await?;
    peer = endpoint(&house, &grant, &[]).await?;
    let largest = walk(&house.path("state"))?
        .iter()
        .map(|(_, size)| *size)
        .max()
        .unwrap_or(0);
    limit(&house, &(largest.max(4096) + 4096).to_string())?;
    let mut ended = None;
    for round in 0..2000 {
        peer.send(&query(&format!("INSERT INTO app.notes VALUES ({round}, 'round')")))
            .await?;
        let answer = peer.until_ready(1).await?;
        if tags(&answer) != "CZ" {
            ended = answer.last().map(|(_, body)| body.clone());
            break;
        }
    }
    let error = ended.context("the disk never filled up")?;
    assert_eq!(
        (field(&error, 'S').as_str(), field(&error, 'C').as_str()),
        ("FATAL", "53100"),
        "{}",
        field(&error, 'M')
    );
    assert!(
        field(&error, 'M').contains("nothing was sent"),
        "{}",
        field(&error, 'M')
    );
    let (status, answer) = house.api("GET", "/readyz", None, None).await?;
    assert_eq!(
        (status, answer.to_string().contains("ledger-full")),
        (503, true),
        "{answer}"
    );
    // Room again: it resumes by itself, and nothing was lost.
    limit(&house, "unlimited")?;
    house.await_ready().await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    peer.send(&query("SELECT count(*) FROM app.notes")).await?;
    assert_eq!(tags(&peer.until_ready(1).await?), "TDCZ");
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}
