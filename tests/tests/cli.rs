//! The command line against the real broker: what a job runs, and what an operator runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::House;
use tests::house::{AUDIENCE, hoop_db, root};

/// How a command ended and what it said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(command: &mut Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// `hoop-db` as a GitHub job calls it.
fn job(house: &House, arguments: &[&str]) -> Command {
    let mut command = house.command(arguments);
    command
        .env("HOOP_BROKER_URL", &house.url)
        .env("HOOP_CA", house.path("ca.pem"))
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", house.github.request_url())
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", house.github.request_token().expose())
        .env("PSQL", house.cluster.bin("psql"))
        .env_remove("HOOP_OPERATOR_TOKEN");
    command
}

/// `hoop-db` outside of any job.
fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(hoop_db());
    command.args(arguments).env("NO_COLOR", "1");
    for name in [
        "HOOP_BROKER_URL",
        "HOOP_CA",
        "HOOP_ID_TOKEN",
        "HOOP_STATE",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
    ] {
        command.env_remove(name);
    }
    command
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `export NAME='value'` lines.
fn exported(text: &str) -> Vec<(String, String)> {
    let pairs = text
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_lends_the_endpoint_to_one_command() -> Result<()> {
    let house = House::start().await?;
    let kept = house.path("kept").display().to_string();
    let script = format!(
        "env > {kept}; $PSQL -X -A -t -c 'SELECT count(*) FROM app.orders'; $PSQL -X -c 'DROP TABLE app.orders'; exit 7"
    );
    let mut command = job(&house, &["run", "--scope", "read", "--", "sh", "-c", &script]);
    let ran = said(command.env("HOOP_ID_TOKEN", "not-used"))?;
    assert_eq!(ran.code, Some(7), "{}{}", ran.out, ran.err);
    assert_eq!(ran.out, "50\n");
    assert!(
        ran.err.contains("ERROR:  denied by .hoop/db-access.yaml:"),
        "{}",
        ran.err
    );
    let summary = "hoop-db: endpoint revoked: 2 connections, 1 statements, 1 rows, 1 denied\nhoop-db: denied by .hoop/";
    assert!(ran.err.contains(summary), "{}", ran.err);
    // The endpoint is in the child's environment and nowhere else; the way to another one is not.
    let env = fs::read_to_string(&kept)?;
    let of = |name: &str| {
        env.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let password = of("PGPASSWORD").context("no password")?;
    assert!(
        password.starts_with("hdbp_") && of("DATABASE_URL").context("no URL")?.contains(&password),
        "{env}"
    );
    assert_eq!(
        (of("ACTIONS_ID_TOKEN_REQUEST_TOKEN"), of("HOOP_ID_TOKEN")),
        (None, None)
    );
    assert!(!ran.out.contains(&password) && !ran.err.contains(&password));
    assert!(
        !Path::new(&of("PGSSLROOTCERT").context("no authority")?).exists(),
        "the file went with the command"
    );
    let user = of("PGUSER").context("no user")?;
    let late = tests::client::connect(house.port, &user, &password, "shop", Some(house.authority.pem())).await;
    assert!(late.is_err(), "the endpoint is dead after the command");

    // A command that cannot be run revokes as well.
    let none = said(&mut job(&house, &["run", "--scope", "read", "--", "/no/such/program"]))?;
    assert_eq!(none.code, Some(1));
    assert!(
        none.err.contains("endpoint revoked") && none.err.contains("cannot run /no/such/program"),
        "{}",
        none.err
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn run_passes_signals_on_and_revokes() -> Result<()> {
    let house = House::start().await?;
    for (signal, expected) in [(Signal::SIGTERM, 42), (Signal::SIGINT, 128 + 2)] {
        let ready = house.path(&format!("ready-{signal}")).display().to_string();
        // The shell obeys the trap; what has none dies of the signal, and its status says so.
        let script = match signal {
            Signal::SIGTERM => format!("trap 'exit 42' TERM; touch {ready}; while :; do sleep 0.05; done"),
            _ => format!("touch {ready}; exec sleep 60"),
        };
        let mut command = job(&house, &["run", "--scope", "read", "--", "sh", "-c", &script]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        until("the command's start", || Path::new(&ready).exists());
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        let output = child.wait_with_output()?;
        let complaints = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(expected), "{complaints}");
        assert!(complaints.contains("endpoint revoked: 0 connections"), "{complaints}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_broker_is_asked_leaves_no_grant() -> Result<()> {
    let house = House::start().await?;
    // The issuer's keys are slow: the request is on its way for as long as that takes.
    house
        .github
        .set_mode(hoop::demo::issuer::Mode::Slow(Duration::from_secs(3)))?;
    let mut command = job(&house, &["run", "--scope", "read", "--", "true"]);
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    until("the request", || {
        house.github.discoveries() + house.github.key_fetches() > 0
    });
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    let output = child.wait_with_output()?;
    let complaints = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    assert!(
        complaints.contains("ended by SIGTERM before the endpoint was there"),
        "{complaints}"
    );
    // Whatever was minted behind the caller's back is over: the operator finds nothing alive.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let killed = said(
        house
            .command(&["kill", "--scope", "read"])
            .env("HOOP_BROKER_URL", &house.url)
            .env("HOOP_CA", house.path("ca.pem")),
    )?;
    let answer: Value = serde_json::from_str(&killed.out)?;
    assert_eq!(answer["count"], json!(0), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_and_close_share_a_private_file() -> Result<()> {
    let house = House::start().await?;
    let state = house.path("endpoint.json").display().to_string();
    let opened = said(&mut job(&house, &["open", "--scope", "read", "--state", &state]))?;
    assert_eq!(opened.code, Some(0), "{}", opened.err);
    assert_eq!(fs::metadata(&state)?.permissions().mode() & 0o777, 0o600);
    let env = exported(&opened.out);
    let of = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let authority = of("PGSSLROOTCERT").context("no authority")?;
    assert_eq!(fs::metadata(&authority)?.permissions().mode() & 0o777, 0o600);
    let password = of("PGPASSWORD").context("no password")?;
    assert!(
        !fs::read_to_string(&state)?.contains(&password),
        "`close` does not need the password"
    );
    let psql = || {
        Command::new(house.cluster.bin("psql"))
            .args(["-X", "-A", "-t", "-c", "SELECT 1"])
            .envs(env.clone())
            .output()
    };
    assert_eq!(String::from_utf8(psql()?.stdout)?, "1\n");

    let twice = said(&mut job(&house, &["open", "--scope", "read", "--state", &state]))?;
    assert_eq!((twice.code, twice.out.as_str()), (Some(1), ""));
    assert!(twice.err.contains("an endpoint is open"), "{}", twice.err);

    let close = || said(&mut job(&house, &["close", "--state", &state]));
    let closed = close()?;
    assert_eq!(closed.code, Some(0), "{}", closed.err);
    assert!(
        closed.err.contains("endpoint revoked: 1 connections, 1 statements"),
        "{}",
        closed.err
    );
    assert!(!Path::new(&state).exists() && !Path::new(&authority).exists());
    assert!(!psql()?.status.success());
    let again = close()?;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("no endpoint is open here"), "{}", again.err);

    // A state file that did not come from `open` makes `close` remove nothing but the file itself.
    let folder = house.path("precious");
    fs::create_dir(&folder)?;
    fs::write(folder.join("work"), "")?;
    let grant = house.grant("read").await?;
    let forged = json!({ "grant": grant.id(), "revoke_token": grant.revoke_token(), "directory": folder });
    fs::write(&state, forged.to_string())?;
    assert_eq!(close()?.code, Some(0));
    assert!(folder.join("work").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoami_and_explain_tell_the_same_story() -> Result<()> {
    let house = House::start().await?;
    let shown = said(&mut job(&house, &["whoami"]))?;
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(
        shown.out.contains("repository_id") && shown.out.contains("260064828"),
        "{}",
        shown.out
    );
    assert!(
        shown.err.contains("the broker accepts this token") && shown.err.contains("migrate, read"),
        "{}",
        shown.err
    );
    let stranger = house.github.github(&json!({ "aud": AUDIENCE, "repository_id": "1" }))?;
    let mut command = job(&house, &["whoami", "--token-env", "TOKEN"]);
    let refused = said(command.env("TOKEN", stranger))?;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .err
            .contains("the broker refuses this token: repository-not-registered"),
        "{}",
        refused.err
    );

    // The claims of a real token are what `explain` reads.
    let claims = house.path("claims.json");
    fs::write(&claims, said(&mut job(&house, &["whoami", "--json"]))?.out)?;
    let (operator, claims) = (
        house.path("broker.yaml").display().to_string(),
        claims.display().to_string(),
    );
    let snapshot = said(&mut house.command(&["policy", "snapshot", "--operator", &operator, "--database", "shop"]))?;
    assert_eq!(snapshot.code, Some(0), "{}", snapshot.err);
    let schema = house.path("snapshot.json").display().to_string();
    fs::write(&schema, snapshot.out)?;
    let explain = |more: &[&str]| {
        let all = [
            &["policy", "explain", "--operator", &operator, "--claims", &claims],
            more,
        ]
        .concat();
        said(&mut house.command(&all))
    };
    let admitted = explain(&["--scope", "read"])?;
    assert_eq!(admitted.code, Some(0), "{}{}", admitted.out, admitted.err);
    assert!(admitted.out.contains("\nadmitted"), "{}", admitted.out);
    let allowed = explain(&[
        "--scope",
        "read",
        "--snapshot",
        &schema,
        "--sql",
        "SELECT id FROM app.orders; COMMIT",
    ])?;
    assert_eq!(allowed.code, Some(0), "{}{}", allowed.out, allowed.err);
    assert!(
        allowed.out.contains("allow select by .hoop/db-access.yaml:"),
        "{}",
        allowed.out
    );
    assert!(allowed.out.contains("it needs no rule"), "{}", allowed.out);
    let denied = explain(&[
        "--scope",
        "read",
        "--snapshot",
        &schema,
        "--sql",
        "DROP TABLE app.orders",
    ])?;
    assert_eq!(denied.code, Some(1));
    assert!(denied.out.contains("denied by .hoop/db-access.yaml:"), "{}", denied.out);
    let slip = explain(&["--scope", "raed"])?;
    assert_eq!(slip.code, Some(1));
    assert!(
        slip.err.contains("scope-unknown") && slip.err.contains("read"),
        "{}",
        slip.err
    );

    let text = fs::read_to_string(&claims)?.replace("refs/heads/main", "refs/heads/topic");
    fs::write(&claims, text)?;
    let elsewhere = explain(&["--scope", "read"])?;
    assert_eq!(elsewhere.code, Some(1));
    assert!(
        elsewhere.out.contains("not admitted") && elsewhere.out.contains("topic"),
        "{}",
        elsewhere.out
    );
    let strange = fs::read_to_string(&claims)?.replace(house.github.url(), "https://elsewhere.example");
    fs::write(&claims, strange)?;
    assert!(explain(&["--scope", "read"])?.err.contains("unknown-issuer"));
    Ok(())
}

#[test]
fn policy_check_speaks_three_languages() -> Result<()> {
    let (examples, broken) = (root().join("policies/examples"), root().join("policies/broken"));
    let check = |file: &Path, format: &str| {
        said(&mut alone(&[
            "policy",
            "check",
            &file.display().to_string(),
            "--format",
            format,
        ]))
    };
    let good = check(&examples.join("migrate.yaml"), "text")?;
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(good.out.contains("sound by itself"), "{}", good.out);
    assert_eq!(check(&examples.join("migrate.yaml"), "json")?.out.trim(), "[]");
    assert_eq!(check(&examples.join("migrate.yaml"), "github")?.out, "");

    let file = broken.join("duplicate-key.yaml");
    let text = check(&file, "text")?;
    assert_eq!(text.code, Some(1));
    assert!(
        text.out.contains("error[duplicate-key]") && text.out.contains("help:"),
        "{}",
        text.out
    );
    let found: Value = serde_json::from_str(&check(&file, "json")?.out)?;
    assert_eq!(found.pointer("/0/code"), Some(&json!("duplicate-key")), "{found}");
    let annotated = check(&file, "github")?;
    assert_eq!(annotated.code, Some(1));
    assert!(annotated.out.starts_with("::error file="), "{}", annotated.out);
    let missing = check(Path::new("/no/such.yaml"), "text")?;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("cannot read /no/such.yaml"), "{}", missing.err);

    // Against the operator's ceiling.
    let operator = examples.join("broker.yaml").display().to_string();
    let wide = broken.join("exceeds-ceiling.yaml").display().to_string();
    let repository = "acme/orders";
    let bounded = [
        "policy",
        "check",
        &wide,
        "--operator",
        &operator,
        "--repository",
        repository,
    ];
    let beyond = said(&mut alone(&bounded))?;
    assert_eq!(beyond.code, Some(1), "{}{}", beyond.out, beyond.err);
    assert!(
        beyond.out.contains("error[exceeds-ceiling]"),
        "{}{}",
        beyond.out,
        beyond.err
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_listed_replayed_and_verified() -> Result<()> {
    let house = House::start().await?;
    let script = "$PSQL -X -c 'SELECT id FROM app.orders WHERE id < 4' -c 'DROP TABLE app.orders'; true";
    assert_eq!(
        said(&mut job(&house, &["run", "--scope", "read", "--", "sh", "-c", script]))?.code,
        Some(0)
    );
    let state = house.path("state").display().to_string();
    let read = |arguments: &[&str]| said(alone(arguments).env("HOOP_STATE", &state));

    // What the journals hold reaches the chain within moments, and the chain is what is read here.
    until("the session's end on record", || {
        read(&["sessions", "list", "--denied"]).is_ok_and(|listed| listed.out.contains("closed: "))
    });
    let listed = read(&["sessions", "list", "--denied"])?;
    assert_eq!(listed.out.lines().count(), 2, "{}{}", listed.out, listed.err);
    assert!(listed.out.contains("acme/orders (read)"), "{}", listed.out);
    assert_eq!(
        read(&["sessions", "list", "--repository", "acme/other"])?.out,
        "no sessions\n"
    );
    let sessions: Value = serde_json::from_str(&read(&["sessions", "list", "--json"])?.out)?;
    let id = sessions
        .pointer("/0/session")
        .and_then(Value::as_str)
        .context("no session")?;
    let shown = read(&["sessions", "show", id])?;
    assert!(
        shown.out.contains("workflow") && shown.out.contains("1 sent, 1 denied"),
        "{}",
        shown.out
    );
    let replayed = read(&["sessions", "replay", id])?;
    assert!(
        replayed.out.contains("SELECT id FROM app.orders WHERE id < 4"),
        "{}",
        replayed.out
    );
    assert!(
        replayed
            .out
            .contains("DENIED class-not-allowed by .hoop/db-access.yaml:"),
        "{}",
        replayed.out
    );
    let nobody = read(&["sessions", "show", "session_00000000000000000000000000000000"])?;
    assert_eq!(nobody.code, Some(1), "{}{}", nobody.out, nobody.err);

    let whole = read(&["ledger", "verify"])?;
    assert!(
        whole.code == Some(0) && whole.out.contains("the ledger verifies: "),
        "{}{}",
        whole.out,
        whole.err
    );
    let report: Value = serde_json::from_str(&read(&["ledger", "verify", "--json"])?.out)?;
    assert!(report["records"].as_u64() > Some(0), "{report}");
    // Every way to damage a copy is found: a flipped bit, a record taken out, the end cut off.
    let original = house.path("state").join("ledger");
    let segment = fs::read(original.join("chain/00000001.log"))?;
    let lines: Vec<&[u8]> = segment.split_inclusive(|&byte| byte == b'\n').collect();
    let mut flipped = segment.clone();
    flipped[segment.len() / 3] ^= 1;
    let without = [&lines[..4], &lines[5..]].concat().concat();
    let cut = lines[..lines.len() - 1].concat();
    for (damage, bytes) in [("flipped", flipped), ("without", without), ("cut", cut)] {
        let copy = house.path(damage);
        fs::create_dir(&copy)?;
        assert!(
            Command::new("cp")
                .arg("-r")
                .args([&original, &copy])
                .status()?
                .success()
        );
        fs::write(copy.join("ledger/chain/00000001.log"), bytes)?;
        let found = read(&["ledger", "verify", "--state", &copy.display().to_string()])?;
        assert_eq!(found.code, Some(1), "{damage}: {}", found.out);
        assert!(
            found.err.contains("the ledger does not verify: "),
            "{damage}: {}",
            found.err
        );
    }
    let nowhere = read(&["ledger", "verify", "--state", "/no/such/state"])?;
    assert_eq!(nowhere.code, Some(1), "{}{}", nowhere.out, nowhere.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_ends_what_it_names() -> Result<()> {
    let house = House::start().await?;
    let (first, second) = (house.grant("read").await?, house.grant("migrate").await?);
    let client = house.connect(&first).await?;
    let with = |token: &str, arguments: &[&str]| {
        let mut command = house.command(&[&["kill"], arguments].concat());
        said(
            command
                .env("HOOP_BROKER_URL", &house.url)
                .env("HOOP_CA", house.path("ca.pem"))
                .env("HOOP_OPERATOR_TOKEN", token),
        )
    };
    let stranger = with("not-the-token", &["--scope", "read"])?;
    assert_eq!(stranger.code, Some(1));
    assert!(stranger.err.contains("not-the-operator"), "{}", stranger.err);
    assert_eq!(
        with("operator-token-of-the-tests", &[])?.code,
        Some(2),
        "something must be named"
    );
    let killed = with("operator-token-of-the-tests", &["--scope", "read"])?;
    assert_eq!(killed.code, Some(0), "{}", killed.err);
    let answer: Value = serde_json::from_str(&killed.out)?;
    assert_eq!(answer, json!({ "count": 1, "grants": [first.id()] }));
    assert!(client.simple_query("SELECT 1").await.is_err() && house.connect(&first).await.is_err());
    assert!(house.connect(&second).await.is_ok(), "the other scope goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() -> Result<()> {
    let house = House::start().await?;
    let asked = ["run", "--scope", "read", "--", "true"];
    let mut nobody = job(&house, &asked);
    let gone = said(nobody.env("HOOP_BROKER_URL", "https://127.0.0.1:1"))?;
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.err
            .contains("broker-unreachable: no answer from https://127.0.0.1:1"),
        "{}",
        gone.err
    );
    let mut distrusted = job(&house, &asked);
    let other = hoop::demo::certs::Authority::new()?;
    fs::write(house.path("other.pem"), other.pem())?;
    let unknown = said(distrusted.env("HOOP_CA", house.path("other.pem")))?;
    assert!(
        unknown.err.contains("broker-unreachable") && unknown.err.contains("certificate"),
        "{}",
        unknown.err
    );
    let plain = said(job(&house, &asked).env("HOOP_BROKER_URL", "http://broker.example"))?;
    assert!(plain.err.contains("must be https://"), "{}", plain.err);

    let mut tokenless = job(&house, &asked);
    let none = said(tokenless.env_remove("ACTIONS_ID_TOKEN_REQUEST_URL"))?;
    assert_eq!(none.code, Some(1));
    assert!(
        none.err.contains("no-id-token") && none.err.contains("id-token: write"),
        "{}",
        none.err
    );
    let named = said(&mut job(
        &house,
        &["run", "--scope", "read", "--token-env", "NOWHERE", "--", "true"],
    ))?;
    assert!(named.err.contains("no-id-token: NOWHERE is not set"), "{}", named.err);
    let wrong = said(job(&house, &asked).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong"))?;
    assert!(wrong.err.contains("no-id-token: GitHub answered 401"), "{}", wrong.err);

    let config = house.path("broker.yaml").display().to_string();
    let checked = said(&mut house.command(&["serve", "--check", "--config", &config]))?;
    assert_eq!(
        (checked.code, checked.out),
        (Some(0), format!("{config} is in order\n")),
        "{}",
        checked.err
    );
    let text = fs::read_to_string(&config)?.replace("postgres: \"127", "postgre: \"127");
    fs::write(house.path("typo.yaml"), text)?;
    let typo = house.path("typo.yaml").display().to_string();
    let refused = said(&mut house.command(&["serve", "--check", "--config", &typo]))?;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("typo.yaml:1:") && refused.err.contains("postgre"),
        "{}",
        refused.err
    );
    Ok(())
}

#[test]
fn completions_and_man_pages_are_made() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&mut alone(&["completions", shell]))?;
        assert!(
            script.code == Some(0) && script.out.contains("whoami"),
            "{shell}: {}",
            script.err
        );
    }
    let folder = tempfile::tempdir()?;
    let made = said(&mut alone(&["man", &folder.path().display().to_string()]))?;
    assert_eq!(made.code, Some(0), "{}", made.err);
    for page in ["hoop-db.1", "hoop-db-run.1", "hoop-db-policy-check.1"] {
        assert!(fs::read_to_string(folder.path().join(page))?.contains(".TH"), "{page}");
    }
    Ok(())
}
