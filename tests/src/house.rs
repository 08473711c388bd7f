//! A whole set-up on loopback: PostgreSQL with TLS and SCRAM, two OIDC issuers, a policy directory, and the real
//! `hoop-db serve` as a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::BoxFuture;
use hoop::base::clock::Clock;
use hoop::demo::certs::Authority;
use hoop::demo::cluster::{Cluster, free_port};
use hoop::demo::issuer::{Args, DevIssuer, Shape};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The broker's own login at the database.
pub const LOGIN: &str = "hoop_broker";
/// The key of masks of a house with `enforcement: role`.
pub const MASK_KEY: &str = "mask-key-of-the-tests-0123456789abcdef";
/// Its password.
pub const LOGIN_PASSWORD: &str = "broker-login-password";
/// The audience of every issuer.
pub const AUDIENCE: &str = "hoop-db-access";
/// The database behind the endpoint, as the operator names it.
pub const DATABASE: &str = "shop";

/// How a house differs from the usual one.
pub struct Plan {
    /// SQL run by the superuser in the fresh database.
    pub schema: String,
    /// The repository's policy file.
    pub policy: String,
    /// Further lines of `broker.yaml`.
    pub extra: String,
    /// The `issuers:` block, when it is not the house's own two.
    pub issuers: Option<String>,
    /// Settings of the PostgreSQL server.
    pub settings: Vec<(&'static str, &'static str)>,
    /// TLS on the endpoint and on the API.
    pub tls: bool,
    /// A wrapper in front of the broker's command line, such as `strace`.
    pub wrapper: Vec<String>,
    /// `role` or `shared`.
    pub enforcement: &'static str,
    /// Further entries under `databases:`, given the server's port.
    pub databases: Databases,
}

/// Makes entries of `databases:`, indented by two spaces, for the server's port.
pub type Databases = Box<dyn FnOnce(u16) -> BoxFuture<'static, Result<String>> + Send>;

impl Default for Plan {
    fn default() -> Self {
        Self {
            schema: include_str!("../fixtures/shop.sql").to_owned(),
            policy: include_str!("../fixtures/policy.yaml").to_owned(),
            extra: String::new(),
            issuers: None,
            settings: vec![("log_statement", "all"), ("log_line_prefix", "%p %a ")],
            tls: true,
            wrapper: Vec::new(),
            enforcement: "shared",
            databases: Box::new(|_| Box::pin(async { Ok(String::new()) })),
        }
    }
}

/// A running set-up.
pub struct House {
    /// The database.
    pub cluster: Cluster,
    /// Issues GitHub-shaped tokens.
    pub github: DevIssuer,
    /// Issues GitLab-shaped tokens.
    pub gitlab: DevIssuer,
    /// Signs both server certificates.
    pub authority: Authority,
    /// Configuration, policies, state.
    pub dir: TempDir,
    /// The broker's process, while it runs.
    pub broker: Option<Child>,
    /// The API's base URL.
    pub url: String,
    /// The endpoint's port.
    pub port: u16,
    client: reqwest::Client,
    wrapper: Vec<String>,
}

/// What `POST /v1/grants` answered.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The whole answer.
    pub answer: Value,
}

impl Grant {
    fn text(&self, pointer: &str) -> String {
        self.answer
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// The grant's id.
    pub fn id(&self) -> String {
        self.text("/grant/id")
    }

    /// The endpoint's user name.
    pub fn user(&self) -> String {
        self.text("/endpoint/username")
    }

    /// The endpoint's password.
    pub fn password(&self) -> String {
        self.text("/endpoint/password")
    }

    /// The endpoint's connect string.
    pub fn connect_string(&self) -> String {
        self.text("/endpoint/url")
    }

    /// What revokes it.
    pub fn revoke_token(&self) -> String {
        self.text("/revoke_token")
    }
}

/// The broker binary: `HOOP_DB_BIN`, or the one that was built beside this test.
pub fn hoop_db() -> PathBuf {
    if let Some(path) = std::env::var_os("HOOP_DB_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a running program has a path");
    let mut folder = me.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("deps lies in the profile's folder");
    }
    let path = folder.join("hoop-db");
    assert!(
        path.exists(),
        "{} is missing: cargo build --bin hoop-db",
        path.display()
    );
    path
}

impl House {
    /// The usual set-up.
    pub async fn start() -> Result<Self> {
        Self::plan(Plan::default()).await
    }

    /// A set-up after `plan`.
    pub async fn plan(plan: Plan) -> Result<Self> {
        let authority = Authority::new()?;
        let certificate = authority.loopback()?;
        let settings = plan.settings.clone();
        // On this very thread: the server is told to die with the thread that started it.
        let cluster = Cluster::start(Some(&certificate), &settings)?;
        cluster.psql(
            "postgres",
            &format!("CREATE ROLE {LOGIN} LOGIN PASSWORD '{LOGIN_PASSWORD}'; CREATE DATABASE shop OWNER {LOGIN}"),
        )?;
        cluster.psql("shop", &plan.schema)?;
        let issuer = |shape| {
            let args = Args {
                listen: "127.0.0.1:0".parse().expect("an address"),
                shape,
                audience: AUDIENCE.to_owned(),
                claims: Vec::new(),
            };
            async move { DevIssuer::serve(&args, Clock::system()).await }
        };
        let (github, gitlab) = (issuer(Shape::Github).await?, issuer(Shape::Gitlab).await?);
        let dir = tempfile::Builder::new().prefix("hoop-house-").tempdir()?;
        let (http, port) = (free_port()?, free_port()?);
        let scheme = if plan.tls { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{http}");
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes())?])
            .build()?;
        let mut house = Self {
            cluster,
            github,
            gitlab,
            authority,
            dir,
            broker: None,
            url: url.clone(),
            port,
            client,
            wrapper: plan.wrapper,
        };
        for (name, text) in [
            ("ca.pem", house.authority.pem()),
            ("tls.crt", certificate.certificate.as_str()),
            ("tls.key", certificate.key.as_str()),
        ] {
            fs::write(house.path(name), text)?;
        }
        house.write_policy(&plan.policy)?;
        let tls = if plan.tls {
            let [certificate, key, ca] =
                ["tls.crt", "tls.key", "ca.pem"].map(|name| house.path(name).display().to_string());
            format!("tls: {{ certificate: \"file:{certificate}\", key: \"file:{key}\", ca: \"file:{ca}\" }}\n")
        } else {
            String::new()
        };
        let issuers = json!({
            "github": { "kind": "github-actions", "url": house.github.url(), "audience": AUDIENCE, "allow": { "owner-ids": ["1342004"] } },
            "gitlab": { "kind": "gitlab", "url": house.gitlab.url(), "audience": AUDIENCE, "allow": { "namespace-ids": ["72"] } },
        })
        .to_string();
        let config = format!(
            r#"listen: {{ http: "127.0.0.1:{http}", postgres: "127.0.0.1:{port}" }}
public: {{ http: "{url}", postgres: "127.0.0.1:{port}" }}
{tls}state: {{ directory: "{state}" }}
policies: {{ directory: "{policies}" }}
operator-token: "env:HOOP_OPERATOR_TOKEN"
issuers: {issuers}
databases:
  {DATABASE}:
    address: "127.0.0.1:{pg}"
    database: shop
    tls: {{ mode: verify-full, ca: "file:{ca}" }}
    login: {{ user: {LOGIN}, password: "env:SHOP_PASSWORD" }}
    enforcement: {enforcement}
{databases}repositories:
  - {{ id: "github:260064828", name: acme/orders, policy: directory, ceiling: team }}
  - {{ id: "gitlab:42", name: acme/orders, policy: directory, ceiling: team }}
{extra}"#,
            enforcement = match plan.enforcement {
                "role" => "role\n    mask-key: \"env:SHOP_MASK_KEY\"",
                other => other,
            },
            state = house.path("state").display(),
            policies = house.path("policies").display(),
            issuers = plan.issuers.unwrap_or(issuers),
            pg = house.cluster.port(),
            databases = (plan.databases)(house.cluster.port()).await?,
            ca = house.path("ca.pem").display(),
            extra = if plan.extra.is_empty() {
                include_str!("../fixtures/ceilings.yaml")
            } else {
                &plan.extra
            },
        );
        fs::write(house.path("broker.yaml"), config)?;
        house.start_broker().await?;
        Ok(house)
    }

    /// A file of the set-up.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the repository's policy file.
    pub fn write_policy(&self, text: &str) -> Result<()> {
        let folder = self.path("policies/acme/orders");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("db-access.yaml"), text)?;
        Ok(())
    }

    /// The command that runs the broker's binary with this set-up's secrets.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut line = self.wrapper.clone();
        line.push(hoop_db().display().to_string());
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .args(arguments)
            .env("SHOP_PASSWORD", LOGIN_PASSWORD)
            .env("SHOP_MASK_KEY", MASK_KEY)
            .env("HOOP_OPERATOR_TOKEN", "operator-token-of-the-tests")
            .env("NO_COLOR", "1");
        command
    }

    /// Starts the broker and waits until it is ready.
    pub async fn start_broker(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("broker.log"))?;
        let config = self.path("broker.yaml").display().to_string();
        let child = self
            .command(&["serve", "--config", &config])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the broker cannot be run")?;
        self.broker = Some(child);
        self.await_ready().await
    }

    /// Waits until the broker answers.
    pub async fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.broker.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("the broker ended with {status}:\n{}", self.broker_log());
            }
            let answer = self.client.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the broker is not ready:\n{}", self.broker_log());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// What the broker printed.
    pub fn broker_log(&self) -> String {
        fs::read_to_string(self.path("broker.log")).unwrap_or_default()
    }

    /// Ends the broker's process at once, as a crash would.
    pub fn kill_broker(&mut self) {
        if let Some(mut child) = self.broker.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// The broker's process id.
    pub fn broker_pid(&self) -> u32 {
        self.broker.as_ref().map_or(0, Child::id)
    }

    /// Sends a request to the API and returns status and body.
    pub async fn api(
        &self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        body: Option<Value>,
    ) -> Result<(u16, Value)> {
        let mut request = self.client.request(method.parse()?, format!("{}{path}", self.url));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A grant of `scope` for a GitHub token with the usual claims.
    pub async fn grant(&self, scope: &str) -> Result<Grant> {
        let token = self.github.github(&json!({}))?;
        self.grant_with(scope, &token).await
    }

    /// A grant of `scope` for `token`.
    pub async fn grant_with(&self, scope: &str, token: &str) -> Result<Grant> {
        let (status, answer) = self
            .api("POST", "/v1/grants", Some(token), Some(json!({ "scope": scope })))
            .await?;
        if status != 201 {
            bail!("no grant: {status} {answer}\n{}", self.broker_log());
        }
        Ok(Grant { answer })
    }

    /// Revokes a grant and returns the answer.
    pub async fn revoke(&self, grant: &Grant) -> Result<Value> {
        let path = format!("/v1/grants/{}", grant.id());
        let (status, answer) = self.api("DELETE", &path, Some(&grant.revoke_token()), None).await?;
        if status != 200 {
            bail!("not revoked: {status} {answer}");
        }
        Ok(answer)
    }

    /// Connects to the endpoint with tokio-postgres over TLS.
    pub async fn connect(&self, grant: &Grant) -> Result<tokio_postgres::Client> {
        crate::client::connect(
            self.port,
            &grant.user(),
            &grant.password(),
            DATABASE,
            Some(self.authority.pem()),
        )
        .await
    }

    /// Connects to the database directly, as the broker's own login.
    pub async fn direct(&self) -> Result<tokio_postgres::Client> {
        crate::client::connect(
            self.cluster.port(),
            LOGIN,
            LOGIN_PASSWORD,
            "shop",
            Some(self.authority.pem()),
        )
        .await
    }

    /// The environment that makes libpq programs use the endpoint.
    pub fn libpq(&self, grant: &Grant) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", grant.user()),
            ("PGPASSWORD", grant.password()),
            ("PGDATABASE", DATABASE.to_owned()),
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", self.path("ca.pem").display().to_string()),
        ]
    }

    /// Runs psql against the endpoint with `script` on its standard input; returns (success, stdout, stderr).
    pub fn psql(&self, grant: &Grant, arguments: &[&str], script: &str) -> Result<(bool, String, String)> {
        run(
            Command::new(self.cluster.bin("psql"))
                .arg("-X")
                .args(arguments)
                .envs(self.libpq(grant)),
            script,
        )
    }

    /// What `hoop-db sessions list` with `words` tells now.
    pub fn listed_sessions(&self, words: &[&str]) -> Result<Vec<Value>> {
        let state = self.path("state").display().to_string();
        let list = [&["sessions", "list", "--state", &state, "--json"], words].concat();
        let (success, stdout, stderr) = run(&mut self.command(&list), "")?;
        ensure!(success, "{list:?}: {stdout}{stderr}");
        Ok(serde_json::from_str(&stdout)?)
    }

    /// [`House::listed_sessions`] once there are some and all have ended: what the journals hold reaches the chain within
    /// moments, and the chain is what is read.
    pub fn ended_sessions(&self, words: &[&str]) -> Result<Vec<Value>> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let listed = self.listed_sessions(words)?;
            if !listed.is_empty() && listed.iter().all(|session| session["state"] != "open") {
                return Ok(listed);
            }
            ensure!(
                Instant::now() < deadline,
                "the sessions' end is not on record: {listed:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `hoop-db ledger verify` on this set-up's ledger.
    pub fn verify_ledger(&self) -> Result<(bool, String)> {
        let state = self.path("state").display().to_string();
        let output = self.command(&["ledger", "verify", "--state", &state]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), text))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.kill_broker();
    }
}

/// Runs a command with `input` on its standard input; returns (success, stdout, stderr).
pub fn run(command: &mut Command, input: &str) -> Result<(bool, String, String)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    let output = child.wait_with_output()?;
    let _early_exit = writer.join();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
