//! What a job runs, against the real broker: `run`, `open`, `close`, `whoami`, and what they say when something is missing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::command::{job, said, until};
use tests::house::AUDIENCE;
use tests::{House, Plan};

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

/// Passes bytes on to the broker and back, but never the answer to a request for a grant; `lost` gets what was lost.
fn losing_relay(broker: String, lost: mpsc::Sender<String>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&broker) else {
                return;
            };
            let (mut from, mut to) = (
                client.try_clone().expect("a socket"),
                server.try_clone().expect("a socket"),
            );
            let asked = Arc::new(AtomicBool::new(false));
            let (flag, lost) = (asked.clone(), lost.clone());
            std::thread::spawn(move || {
                let mut bytes = [0; 65536];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    asked.fetch_or(bytes.starts_with(b"POST /v1/grants"), Ordering::SeqCst);
                    if to.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
            });
            let (mut from, mut to) = (server, client);
            std::thread::spawn(move || {
                let mut bytes = [0; 65536];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    if flag.load(Ordering::SeqCst) {
                        let _unheard = lost.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
                    } else if to.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_answer_is_awaited_leaves_no_grant() -> Result<()> {
    let house = House::plan(Plan {
        tls: false,
        ..Plan::default()
    })
    .await?;
    let (sender, lost) = mpsc::channel();
    let relay = losing_relay(house.url.trim_start_matches("http://").to_owned(), sender)?;
    let mut command = job(&house, &["run", "--scope", "read", "--", "true"]);
    command
        .env("HOOP_BROKER_URL", format!("http://127.0.0.1:{relay}"))
        .env_remove("HOOP_CA");
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let answer = lost.recv_timeout(Duration::from_secs(30))?;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    let output = child.wait_with_output()?;
    let complaints = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    assert!(
        complaints.contains("ended by SIGTERM before the endpoint was there"),
        "{complaints}"
    );
    // The grant was made, its answer was lost, and it is over all the same: the operator finds nothing alive.
    let mut kill = house.command(&["kill", "--scope", "read"]);
    let killed = said(kill.env("HOOP_BROKER_URL", &house.url))?;
    let answer: Value = serde_json::from_str(&killed.out)?;
    assert_eq!(answer["count"], json!(0), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn run_waits_for_a_broker_that_is_away() -> Result<()> {
    let mut house = House::start().await?;
    house.kill_broker();
    let mut child = job(&house, &["run", "--scope", "read", "--", "sh", "-c", "echo done"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (mut stderr, mut complaints) = (child.stderr.take().context("a pipe")?, String::new());
    let mut words = [0; 4096];
    while !complaints.contains("trying again in") {
        let length = stderr.read(&mut words)?;
        anyhow::ensure!(length > 0, "it gave up: {complaints}");
        complaints += std::str::from_utf8(&words[..length])?;
    }
    house.start_broker().await?;
    stderr.read_to_string(&mut complaints)?;
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0), "{complaints}");
    assert_eq!(String::from_utf8(output.stdout)?, "done\n");
    assert!(complaints.contains("broker-unreachable"), "{complaints}");
    // A denial is not tried again, and neither is anything with --wait 0.
    let denied = said(&mut job(&house, &["run", "--scope", "nothing", "--", "true"]))?;
    assert!(
        denied.code == Some(1) && !denied.err.contains("trying again"),
        "{}",
        denied.err
    );
    house.kill_broker();
    let impatient = said(&mut job(
        &house,
        &["run", "--wait", "0", "--scope", "read", "--", "true"],
    ))?;
    assert!(
        impatient.code == Some(1)
            && impatient.err.contains("given up after 1 tries")
            && !impatient.err.contains("trying again"),
        "{}",
        impatient.err
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_one_token_runs_two_commands() -> Result<()> {
    let house = House::start().await?;
    let token = house.gitlab.gitlab(&json!({}))?;
    let folder = house.path("tmp");
    fs::create_dir(&folder)?;
    let run = |temporary: &Path| {
        let mut command = job(
            &house,
            &["run", "--scope", "migrate", "--", "sh", "-c", "$PSQL -XAtc 'SELECT 1'"],
        );
        command
            .env_remove("ACTIONS_ID_TOKEN_REQUEST_URL")
            .env("HOOP_ID_TOKEN", &token)
            .env("TMPDIR", temporary);
        said(&mut command)
    };
    for _ in 0..2 {
        let ran = run(&folder)?;
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "1\n"), "{}", ran.err);
    }
    // Somebody who has found the token, but not the key beside it.
    let elsewhere = house.path("elsewhere");
    fs::create_dir(&elsewhere)?;
    let stolen = run(&elsewhere)?;
    assert!(
        stolen.code == Some(1) && stolen.err.contains("token-reused"),
        "{}",
        stolen.err
    );
    for entry in fs::read_dir(&folder)? {
        assert_eq!(entry?.metadata()?.permissions().mode() & 0o777, 0o600);
    }
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
        allowed.out.contains("allowed select by .hoop/db-access.yaml:"),
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() -> Result<()> {
    let house = House::start().await?;
    let asked = ["run", "--wait", "0", "--scope", "read", "--", "true"];
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
