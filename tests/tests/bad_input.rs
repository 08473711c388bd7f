//! What an operator gets wrong: the broker does not start; it names the file, the line and the cure, and never prints a
//! secret.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hoop::demo::certs::Authority;
use hoop::demo::cluster::free_port;
use tempfile::TempDir;
use tests::house::{hoop_db, run};

const PASSWORD: &str = "canary-of-the-database-password";
const TOKEN: &str = "canary-of-the-operators-token";

/// A configuration without anything behind it.
struct Desk {
    dir: TempDir,
    http: u16,
    postgres: u16,
}

impl Desk {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hoop-desk-").tempdir()?;
        let desk = Self {
            dir,
            http: free_port()?,
            postgres: free_port()?,
        };
        let authority = Authority::new()?;
        let certificate = authority.loopback()?;
        fs::create_dir(desk.path("policies"))?;
        fs::create_dir(desk.path("state"))?;
        fs::write(desk.path("ca.pem"), authority.pem())?;
        fs::write(desk.path("tls.crt"), certificate.certificate)?;
        fs::write(desk.path("tls.key"), certificate.key)?;
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Line 3 is `tls:`, line 4 `state:`, line 14 the database's password.
    fn config(&self) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        format!(
            r#"listen: {{ http: "127.0.0.1:{http}", postgres: "127.0.0.1:{postgres}" }}
public: {{ http: "https://127.0.0.1:{http}", postgres: "127.0.0.1:{postgres}" }}
tls: {{ certificate: "file:{crt}", key: "file:{key}", ca: "file:{ca}" }}
state: {{ directory: "{state}" }}
policies: {{ directory: "{policies}" }}
operator-token: "env:HOOP_OPERATOR_TOKEN"
issuers:
  github: {{ kind: github-actions, url: "https://token.actions.githubusercontent.com", audience: hoop-db-access, allow: {{ owner-ids: ["1"] }} }}
databases:
  shop:
    address: "127.0.0.1:1"
    database: shop
    tls: {{ mode: verify-full, ca: "file:{ca}" }}
    login: {{ user: hoop_broker, password: "env:SHOP_PASSWORD" }}
    enforcement: shared
repositories:
  - {{ id: "github:1", name: acme/orders, policy: directory, ceiling: team }}
ceilings:
  team:
    databases:
      shop:
        can: [{{ statements: [read], tables: ["app.*"] }}]
        max: {{ ttl: 30m }}
"#,
            http = self.http,
            postgres = self.postgres,
            crt = at("tls.crt"),
            key = at("tls.key"),
            ca = at("ca.pem"),
            state = at("state"),
            policies = at("policies"),
        )
    }

    fn write(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("broker.yaml"), text)?)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(hoop_db());
        command
            .args(["serve", "--config"])
            .arg(self.path("broker.yaml"))
            .env("SHOP_PASSWORD", PASSWORD)
            .env("HOOP_OPERATOR_TOKEN", TOKEN)
            .env("NO_COLOR", "1");
        command
    }

    /// `serve` must end by itself, with a failure; returns what it said.
    fn refused(&self) -> Result<String> {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                bail!("the broker started: {:?}", child.wait_with_output()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(
            String::from_utf8(output.stdout)?,
            "",
            "nothing but errors, and those on stderr"
        );
        assert!(!text.contains("canary"), "a secret in: {text}");
        assert!(!text.contains("panicked"), "{text}");
        Ok(text)
    }

    /// The same, and the message holds every one of these.
    fn says(&self, name: &str, wanted: &[&str]) -> Result<()> {
        let text = self.refused().with_context(|| name.to_owned())?;
        for part in wanted {
            assert!(text.contains(part), "{name}: {part:?} is missing in:\n{text}");
        }
        Ok(())
    }
}

#[test]
fn a_configuration_that_is_wrong() -> Result<()> {
    let desk = Desk::new()?;
    let good = desk.config();
    desk.write(&good)?;
    let (success, out, err) = run(desk.command().arg("--check"), "")?;
    assert!(success && out.contains("is in order"), "{out}{err}");
    assert!(!(out + &err).contains("canary"));

    let mut found = String::new();
    let at = |line: usize| format!("broker.yaml:{line}:");
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("broken YAML", "state: {", "state: {{{ [", &[&at(4)]),
        (
            "a tab",
            "  shop:\n    address",
            "\tshop:\n    address",
            &["broker.yaml:"],
        ),
        (
            "an unknown key",
            "operator-token:",
            "operator-tokne:",
            &[&at(6), "operator-tokne", "operator-token"],
        ),
        (
            "an unknown key in a database",
            "    database: shop",
            "    databse: shop",
            &[&at(12), "databse"],
        ),
        (
            "a key given twice",
            "    database: shop",
            "    database: shop\n    database: shop",
            &[&at(13), "database"],
        ),
        (
            "a missing section",
            "databases:",
            "databases2:",
            &["broker.yaml:", "databases"],
        ),
        ("yes for true", "policy: directory", "policy: yes", &["broker.yaml:17:"]),
        ("an anchor", "databases:", "databases: &a", &[&at(9), "anchors"]),
        (
            "a literal password",
            "\"env:SHOP_PASSWORD\"",
            "\"canary-literal\"",
            &[&at(14), "env:", "file:"],
        ),
        (
            "a literal operator token",
            "\"env:HOOP_OPERATOR_TOKEN\"",
            "canary-literal",
            &[&at(6), "env:"],
        ),
        (
            "a secret that is not set",
            "env:SHOP_PASSWORD",
            "env:NO_SUCH_VARIABLE",
            &[&at(14), "NO_SUCH_VARIABLE"],
        ),
        (
            "a secret file that is not there",
            "env:SHOP_PASSWORD",
            "file:/no/such/file",
            &[&at(14), "/no/such/file"],
        ),
        (
            "a kind of enforcement there is not",
            "enforcement: shared",
            "enforcement: roles",
            &["broker.yaml:15:", "invalid-value"],
        ),
        (
            "a mask that needs a key where there is no place for one",
            "        max: {",
            "        always-mask: { app.a.b: { hash: hmac } }\n        max: {",
            &["broker.yaml:23:", "invalid-value", "key"],
        ),
        (
            "an owner without DDL",
            "tables: [\"app.*\"] }]",
            "tables: [\"app.*\"], as: app_owner }]",
            &["broker.yaml:22:", "invalid-value"],
        ),
        (
            "approvers of later versions",
            "ceilings:",
            "approvers: { dba: { quorum: 1 } }\nceilings:",
            &["broker.yaml:18:", "not-yet-enforced"],
        ),
        (
            "pushed policies of later versions",
            "policy: directory",
            "policy: push",
            &["broker.yaml:17:", "not-yet-enforced"],
        ),
        (
            "an unknown ceiling",
            "ceiling: team",
            "ceiling: tema",
            &["broker.yaml:17:", "tema"],
        ),
        (
            "an unknown database in a ceiling",
            "      shop:\n        can",
            "      shpo:\n        can",
            &["broker.yaml:21:", "shpo"],
        ),
        (
            "an address that is none",
            "address: \"127.0.0.1:1\"",
            "address: \"127.0.0.1\"",
            &[&at(11), "host:port"],
        ),
        (
            "a database elsewhere without TLS",
            "address: \"127.0.0.1:1\"\n    database: shop\n    tls: { mode: verify-full, ca: ",
            "address: \"db.example.com:5432\"\n    database: shop\n    tls: { mode: disable, ca: ",
            &[&at(13), "verify-full"],
        ),
        (
            "listening on the world without TLS",
            "listen: { http: \"127.0.0.1",
            "listen: { http: \"0.0.0.0",
            &[],
        ),
        ("an empty file", "", "", &["broker.yaml"]),
    ];
    for (name, from, to, wanted) in cases {
        let text = match *name {
            "an empty file" => String::new(),
            "listening on the world without TLS" => {
                let lines: Vec<&str> = good.lines().filter(|line| !line.starts_with("tls:")).collect();
                lines.join("\n").replace(from, to)
            }
            _ => good.replacen(from, to, 1),
        };
        assert_ne!(text, good, "{name}: nothing was changed");
        desk.write(&text)?;
        let said = desk.refused().with_context(|| (*name).to_owned())?;
        for part in wanted.iter().filter(|part| !said.contains(**part)) {
            found += &format!("{name}: {part:?} is missing in:\n{said}\n");
        }
    }
    assert!(found.is_empty(), "{found}");
    fs::remove_file(desk.path("broker.yaml"))?;
    desk.says("no file", &["broker.yaml", "--config"])?;
    fs::write(desk.path("broker.yaml"), b"\xff\xfe\x00not text")?;
    desk.says("no text", &["broker.yaml"])
}

#[test]
fn certificates_that_do_not_serve() -> Result<()> {
    let desk = Desk::new()?;
    desk.write(&desk.config())?;
    let line = "broker.yaml:3:";
    let (certificate, key) = (fs::read(desk.path("tls.crt"))?, fs::read(desk.path("tls.key"))?);

    fs::remove_file(desk.path("tls.crt"))?;
    desk.says("no certificate", &[line, "tls.crt"])?;
    fs::write(desk.path("tls.crt"), "this is no PEM")?;
    desk.says("not a certificate", &[line, "tls.crt", "PEM"])?;
    fs::write(desk.path("tls.crt"), include_str!("../fixtures/expired.crt"))?;
    desk.says("expired", &[line, "tls.crt", "expired", "renew"])?;
    let other = Authority::new()?.loopback()?;
    fs::write(desk.path("tls.crt"), &certificate)?;
    fs::write(desk.path("tls.key"), other.key)?;
    desk.says("key of another", &[line, "does not belong"])?;
    fs::write(
        desk.path("tls.key"),
        "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n",
    )?;
    desk.says("damaged key", &[line, "tls.key"])?;
    fs::write(desk.path("tls.key"), &key)?;
    let foreign = Authority::new()?.server(&["db-broker.example.com"])?;
    fs::write(desk.path("tls.crt"), foreign.certificate)?;
    fs::write(desk.path("tls.key"), foreign.key)?;
    desk.says("another name", &[line, "127.0.0.1"])?;
    fs::write(desk.path("tls.crt"), &certificate)?;
    fs::write(desk.path("tls.key"), &key)?;
    fs::write(desk.path("ca.pem"), "no authority")?;
    desk.says("no authority", &[line, "ca.pem"])
}

#[test]
fn ports_that_are_taken() -> Result<()> {
    let desk = Desk::new()?;
    desk.write(&desk.config())?;
    for (port, kind) in [(desk.http, "HTTP"), (desk.postgres, "PostgreSQL")] {
        let _taken = TcpListener::bind(("127.0.0.1", port))?;
        desk.says(kind, &[kind, &format!("127.0.0.1:{port}"), "cannot listen"])?;
    }
    Ok(())
}

#[test]
fn a_state_directory_that_does_not_serve() -> Result<()> {
    let desk = Desk::new()?;
    desk.write(&desk.config())?;
    let state = desk.path("state");
    fs::remove_dir(&state)?;
    fs::write(&state, "a file")?;
    desk.says("a file in its place", &["broker.yaml:4:", "state", "cannot be written"])?;
    fs::remove_file(&state)?;

    let text = desk.config();
    desk.write(&text.replacen(&state.display().to_string(), "/proc/no/state", 1))?;
    desk.says(
        "a place where nothing can be made",
        &["broker.yaml:4:", "/proc/no/state", "cannot be written"],
    )?;
    desk.write(&text)?;
    fs::remove_dir(desk.path("policies"))?;
    desk.says("no policies", &["broker.yaml:5:", "policies", "cannot be read"])?;
    fs::create_dir(desk.path("policies"))?;

    // Room for the lock and little else: what RLIMIT_FSIZE cuts off is what a full disk cuts off.
    let mut full = Command::new("bash");
    full.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "bash"])
        .arg(hoop_db())
        .args(["serve", "--config"]);
    full.arg(desk.path("broker.yaml"))
        .env("SHOP_PASSWORD", PASSWORD)
        .env("HOOP_OPERATOR_TOKEN", TOKEN);
    let (success, _, err) = run(&mut full, "")?;
    assert!(
        !success && !err.contains("panicked") && !err.contains("canary"),
        "{err}"
    );
    assert!(
        err.contains(&state.display().to_string()) && err.contains("disk"),
        "{err}"
    );
    Ok(())
}
