//! Everything that is compared, side by side: PostgreSQL, the bare relay, PgBouncer and this proxy, the last two without
//! and with TLS towards the client. The way to PostgreSQL is plain TCP with SCRAM for all of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hoop::base::clock::Clock;
use hoop::demo::certs::Authority;
use hoop::demo::cluster::{Cluster, free_port};
use hoop::demo::issuer::{Args, DevIssuer, Shape};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{AUDIENCE, Grant, LOGIN, LOGIN_PASSWORD, hoop_db};

/// Sessions of one grant at most; the policy allows no more.
const MANY: u32 = 1000;
/// Scopes that are all alike: a repository may hold 64 grants of each.
pub const SCOPES: usize = 40;
/// The scope under which a column of `bulk` is masked.
pub const MASKED: &str = "masked";
/// The scope under which all texts are looked through.
pub const DETECT: &str = "detect";
/// The database on every leg.
pub const DATABASE: &str = "shop";

/// One way from the client to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Nothing in between.
    Direct,
    /// The bare byte relay.
    Relay,
    /// PgBouncer in session mode.
    PgBouncer,
    /// PgBouncer with a `pkt_buf` of 64 KiB, for bulk.
    PgBouncer64k,
    /// This proxy, judging and recording.
    Hoop,
    /// The same with `enforcement: role`.
    Role,
    /// Another version of this proxy: `--before`.
    Before,
}

impl Leg {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "bare relay",
            Self::PgBouncer => "PgBouncer",
            Self::PgBouncer64k => "PgBouncer, pkt_buf 64 KiB",
            Self::Hoop => "hoop-db",
            Self::Role => "hoop-db, role",
            Self::Before => "hoop-db before",
        }
    }
}

/// Where and as whom to connect.
#[derive(Debug, Clone)]
pub struct Way {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// TLS between client and proxy.
    pub tls: bool,
    /// The proxy's process, `None` for the direct way.
    pub pid: Option<u32>,
}

/// A broker of the rig.
pub struct Broker {
    child: Child,
    /// The API.
    pub url: String,
    port: u16,
    /// Its state directory.
    pub state: PathBuf,
    log: PathBuf,
}

impl Broker {
    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

struct Proxy {
    child: Child,
    port: u16,
}

/// Everything, running.
pub struct Rig {
    /// The database.
    pub cluster: Cluster,
    /// Makes the jobs' tokens.
    pub issuer: DevIssuer,
    /// Signs every certificate.
    pub authority: Authority,
    dir: TempDir,
    relay: Proxy,
    bouncers: [Proxy; 2],
    bouncer_64k: Proxy,
    brokers: Vec<((Leg, bool), Broker)>,
    client: reqwest::Client,
}

/// Rows of `pgbench_accounts` are 100,000 times this.
pub const SCALE: u32 = 10;

impl Rig {
    /// Starts everything and fills the database. On the main thread: the server dies with the thread that started it.
    pub async fn start(
        postgres_fsync: bool,
        durability: &str,
        bulk_rows: u64,
        beside: &[(Leg, PathBuf)],
    ) -> Result<Self> {
        let authority = Authority::new()?;
        let certificate = authority.loopback()?;
        let fsync = if postgres_fsync { "on" } else { "off" };
        let settings = [
            ("max_connections", "5000"),
            ("fsync", fsync),
            ("shared_buffers", "512MB"),
            ("max_wal_size", "4GB"),
        ];
        let cluster = Cluster::start(Some(&certificate), &settings)?;
        cluster.psql(
            "postgres",
            &format!("CREATE ROLE {LOGIN} LOGIN CREATEROLE PASSWORD '{LOGIN_PASSWORD}'; GRANT pg_signal_backend TO {LOGIN}; CREATE DATABASE {DATABASE} OWNER {LOGIN}"),
        )?;
        fill(&cluster, bulk_rows)?;
        let args = Args {
            listen: "127.0.0.1:0".parse()?,
            shape: Shape::Github,
            audience: AUDIENCE.to_owned(),
            claims: Vec::new(),
        };
        let issuer = DevIssuer::serve(&args, Clock::system()).await?;
        let dir = tempfile::Builder::new().prefix("hoop-bench-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("tls.crt", certificate.certificate.as_str()),
            ("tls.key", certificate.key.as_str()),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, text)?;
            // The broker wants its key private, PgBouncer runs as somebody else: it gets a copy.
            fs::set_permissions(
                &path,
                fs::Permissions::from_mode(if name == "tls.key" { 0o600 } else { 0o644 }),
            )?;
        }
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes())?])
            .build()?;
        let relay = relay(cluster.port())?;
        let bouncers = [
            pgbouncer(dir.path(), &cluster, false, 4096)?,
            pgbouncer(dir.path(), &cluster, true, 4096)?,
        ];
        let bouncer_64k = pgbouncer(dir.path(), &cluster, false, 65536)?;
        // Versions before masks would not load the policy.
        let masks = !beside.iter().any(|(leg, _)| *leg == Leg::Before);
        write_policy(dir.path(), masks)?;
        let mut brokers = Vec::new();
        let kinds = [(Leg::Hoop, false, hoop_db()), (Leg::Hoop, true, hoop_db())];
        let beside = beside.iter().map(|(leg, program)| (*leg, false, program.clone()));
        for (leg, tls, program) in kinds.into_iter().chain(beside) {
            let kind = (leg, tls);
            let started = broker(dir.path(), &cluster, &issuer, &client, kind, &program, durability).await?;
            brokers.push((kind, started));
        }
        Ok(Self {
            cluster,
            issuer,
            authority,
            dir,
            relay,
            bouncers,
            bouncer_64k,
            brokers,
            client,
        })
    }

    /// A file of the rig.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The broker on `leg`, without or with TLS.
    pub fn broker(&self, leg: Leg, tls: bool) -> Result<&Broker> {
        let found = self.brokers.iter().find(|(kind, _)| *kind == (leg, tls));
        let (_, broker) = found.with_context(|| format!("no broker of this run is {}", leg.name()))?;
        Ok(broker)
    }

    /// Where the brokers keep their state.
    pub fn states(&self) -> impl Iterator<Item = &Path> {
        self.brokers.iter().map(|(_, broker)| broker.state.as_path())
    }

    /// The process of the proxy on `leg`.
    pub fn pid(&self, leg: Leg, tls: bool) -> Option<u32> {
        let index = usize::from(tls);
        Some(match leg {
            Leg::Direct => return None,
            Leg::Relay => self.relay.child.id(),
            Leg::PgBouncer => self.bouncers[index].child.id(),
            Leg::PgBouncer64k => self.bouncer_64k.child.id(),
            Leg::Hoop | Leg::Role | Leg::Before => self.broker(leg, tls).ok()?.child.id(),
        })
    }

    /// The way over `leg`; on this proxy's, a fresh grant comes with it.
    pub async fn way(&self, leg: Leg, tls: bool) -> Result<(Way, Option<Grant>)> {
        let pid = self.pid(leg, tls);
        let index = usize::from(tls);
        let port = match leg {
            Leg::Direct => self.cluster.port(),
            Leg::Relay => self.relay.port,
            Leg::PgBouncer => self.bouncers[index].port,
            Leg::PgBouncer64k => self.bouncer_64k.port,
            Leg::Hoop | Leg::Role | Leg::Before => 0,
        };
        if self.broker(leg, tls).is_ok() {
            let grant = self.mint((leg, tls), 0, &self.token()?).await?;
            return Ok((self.to(leg, tls, &grant)?, Some(grant)));
        }
        Ok((
            Way {
                port,
                user: LOGIN.to_owned(),
                password: LOGIN_PASSWORD.to_owned(),
                tls,
                pid,
            },
            None,
        ))
    }

    /// The way over a broker's leg without TLS, as the scope of this name.
    pub async fn way_as(&self, leg: Leg, scope: &str) -> Result<(Way, Option<Grant>)> {
        let grant = self.mint_as((leg, false), scope, &self.token()?).await?;
        Ok((self.to(leg, false, &grant)?, Some(grant)))
    }

    fn to(&self, leg: Leg, tls: bool, grant: &Grant) -> Result<Way> {
        Ok(Way {
            port: self.broker(leg, tls)?.port,
            user: grant.user(),
            password: grant.password(),
            tls,
            pid: self.pid(leg, tls),
        })
    }

    /// A job's token with the usual claims.
    pub fn token(&self) -> Result<String> {
        Ok(self.issuer.github(&json!({}))?)
    }

    /// A grant for a token that was made before.
    pub async fn mint(&self, kind: (Leg, bool), scope: usize, token: &str) -> Result<Grant> {
        self.mint_as(kind, &format!("bench-{scope}"), token).await
    }

    async fn mint_as(&self, (leg, tls): (Leg, bool), scope: &str, token: &str) -> Result<Grant> {
        let broker = self.broker(leg, tls)?;
        let url = format!("{}/v1/grants", broker.url);
        let body = json!({ "scope": scope });
        let answer = self.client.post(url).bearer_auth(token).json(&body).send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await?;
        if status != 201 {
            bail!("no grant: {status} {answer}\n{}", broker.log());
        }
        Ok(Grant { answer })
    }

    /// Revokes a grant.
    pub async fn revoke(&self, (leg, tls): (Leg, bool), grant: &Grant) -> Result<()> {
        let url = format!("{}/v1/grants/{}", self.broker(leg, tls)?.url, grant.id());
        let answer = self.client.delete(url).bearer_auth(grant.revoke_token()).send().await?;
        if answer.status() != 200 {
            bail!("not revoked: {} {}", answer.status(), answer.text().await?);
        }
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let [one, two] = &mut self.bouncers;
        let brokers = self.brokers.iter_mut().map(|(_, broker)| &mut broker.child);
        for child in brokers.chain([
            &mut self.relay.child,
            &mut one.child,
            &mut two.child,
            &mut self.bouncer_64k.child,
        ]) {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// The environment in which a libpq program takes `way`.
pub fn libpq(way: &Way) -> Vec<(&'static str, String)> {
    vec![
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", way.port.to_string()),
        ("PGUSER", way.user.clone()),
        ("PGPASSWORD", way.password.clone()),
        ("PGDATABASE", DATABASE.to_owned()),
        ("PGSSLMODE", if way.tls { "require" } else { "disable" }.to_owned()),
        ("PGGSSENCMODE", "disable".to_owned()),
    ]
}

fn fill(cluster: &Cluster, bulk_rows: u64) -> Result<()> {
    let way = Way {
        port: cluster.port(),
        user: LOGIN.to_owned(),
        password: LOGIN_PASSWORD.to_owned(),
        tls: false,
        pid: None,
    };
    let output = Command::new(cluster.bin("pgbench"))
        .args(["-i", "-q", "-s", &SCALE.to_string()])
        .envs(libpq(&way))
        .output()
        .context("pgbench cannot be run")?;
    if !output.status.success() {
        bail!("pgbench -i failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let bulk = format!(
        "SET ROLE {LOGIN}; CREATE TABLE bulk AS SELECT n AS id, n * 7 AS amount, md5(n::text) AS note, now() AS at \
         FROM generate_series(1, {bulk_rows}) AS n;
         CREATE UNLOGGED TABLE sink (LIKE bulk); RESET ROLE; ALTER TABLE sink SET (autovacuum_enabled = off); VACUUM ANALYZE; CHECKPOINT;"
    );
    cluster.psql(DATABASE, &bulk)?;
    Ok(())
}

/// A command that dies with this thread, as an unprivileged account when we are root and `step_down` is wanted.
fn child(step_down: bool, program: &Path) -> Result<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if step_down && nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("nobody")?.context("there is no account `nobody`")?;
        command.args([
            "--reuid",
            &user.uid.to_string(),
            "--regid",
            &user.gid.to_string(),
            "--clear-groups",
        ]);
    }
    command.arg("--").arg(program).stdin(Stdio::null());
    Ok(command)
}

fn await_port(child: &mut Child, port: u16, what: &str, log: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            bail!("{what} did not start: {}", fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn relay(to: u16) -> Result<Proxy> {
    let port = free_port()?;
    let mut command = child(false, &std::env::current_exe()?)?;
    command.args([
        "relay",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--to",
        &format!("127.0.0.1:{to}"),
    ]);
    let mut child = command.spawn()?;
    await_port(&mut child, port, "the relay", Path::new(""))?;
    Ok(Proxy { child, port })
}

/// Debian's PgBouncer in session mode.
fn pgbouncer(dir: &Path, cluster: &Cluster, tls: bool, packet: u32) -> Result<Proxy> {
    let port = free_port()?;
    let name = format!("pgbouncer-{tls}-{packet}");
    let (users, ini, log) = (
        dir.join("userlist.txt"),
        dir.join(format!("{name}.ini")),
        dir.join(format!("{name}.log")),
    );
    fs::write(&users, format!("\"{LOGIN}\" \"{LOGIN_PASSWORD}\"\n"))?;
    let key = dir.join("pgbouncer.key");
    fs::copy(dir.join("tls.key"), &key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let client_tls = if tls {
        let certificate = dir.join("tls.crt");
        format!(
            "client_tls_sslmode = require\nclient_tls_key_file = {}\nclient_tls_cert_file = {}\n",
            key.display(),
            certificate.display()
        )
    } else {
        "client_tls_sslmode = disable\n".to_owned()
    };
    let text = format!(
        "[databases]\n{DATABASE} = host=127.0.0.1 port={} dbname={DATABASE}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\npool_mode = session\nmax_client_conn = 4000\ndefault_pool_size = {MANY}\n\
         auth_type = scram-sha-256\nauth_file = {}\nserver_tls_sslmode = disable\nlog_connections = 0\n\
         log_disconnections = 0\nlog_stats = 0\npkt_buf = {packet}\n{client_tls}",
        cluster.port(),
        users.display(),
    );
    fs::write(&ini, text)?;
    let output = fs::File::create(&log)?;
    let program = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/opt/homebrew/bin/pgbouncer",
    ];
    let program = program
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("PgBouncer is missing: tests/setup.sh bench")?;
    let mut child = child(true, program)?
        .arg("-q")
        .arg(&ini)
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    await_port(&mut child, port, "PgBouncer", &log)?;
    Ok(Proxy { child, port })
}

fn write_policy(dir: &Path, masks: bool) -> Result<()> {
    let folder = dir.join("policies/acme/orders");
    fs::create_dir_all(&folder)?;
    let mut text = "version: 1\nscopes:\n".to_owned();
    for scope in 0..SCOPES {
        text.push_str(&format!(
            r#"  bench-{scope}:
    database: {DATABASE}
    who:
      - {{ issuer: github, branch: main, environment: production, events: [push] }}
    can:
      - {{ statements: [read, write, truncate], tables: ["public.*"] }}
      - {{ functions: ["pg_catalog.*"] }}
    limits: {{ ttl: 30m, max-session: 1h, max-connections: {MANY} }}
"#
        ));
    }
    let replacing = [
        (MASKED, "mask: { public.bulk.note: { partial: { keep-first: 2 } } }"),
        (DETECT, "detect: [card, email, iban, phone, national-id, token]"),
    ];
    for (scope, key) in replacing.iter().filter(|_| masks) {
        text.push_str(&format!(
            r#"  {scope}:
    database: {DATABASE}
    who:
      - {{ issuer: github, branch: main, environment: production, events: [push] }}
    can:
      - {{ statements: [select], tables: [public.bulk] }}
    {key}
    limits: {{ ttl: 30m, max-session: 1h, max-connections: {MANY} }}
"#
        ));
    }
    fs::write(folder.join("db-access.yaml"), text)?;
    Ok(())
}

async fn broker(
    dir: &Path,
    cluster: &Cluster,
    issuer: &DevIssuer,
    client: &reqwest::Client,
    (leg, tls): (Leg, bool),
    program: &Path,
    durability: &str,
) -> Result<Broker> {
    let (http, port) = (free_port()?, free_port()?);
    let name = format!("{leg:?}-{tls}");
    let state = dir.join(format!("state-{name}"));
    let enforcement = if leg == Leg::Role { "role" } else { "shared" };
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{http}");
    let file = |name: &str| format!("\"file:{}\"", dir.join(name).display());
    let tls_lines = if tls {
        format!(
            "tls: {{ certificate: {}, key: {}, ca: {} }}\n",
            file("tls.crt"),
            file("tls.key"),
            file("ca.pem")
        )
    } else {
        String::new()
    };
    let config = format!(
        r#"listen: {{ http: "127.0.0.1:{http}", postgres: "127.0.0.1:{port}" }}
public: {{ http: "{url}", postgres: "127.0.0.1:{port}" }}
{tls_lines}state: {{ directory: "{}" }}
policies: {{ directory: "{}" }}
operator-token: "env:HOOP_OPERATOR_TOKEN"
durability: {durability}
rate-limit: {{ per-second: 10000, burst: 10000 }}
issuers:
  github: {{ kind: github-actions, url: "{}", audience: "{AUDIENCE}", allow: {{ owner-ids: ["1342004"] }} }}
databases:
  {DATABASE}:
    address: "127.0.0.1:{}"
    database: {DATABASE}
    tls: {{ mode: disable }}
    login: {{ user: {LOGIN}, password: "env:SHOP_PASSWORD" }}
    enforcement: {enforcement}
repositories:
  - {{ id: "github:260064828", name: acme/orders, policy: directory, ceiling: team }}
ceilings:
  team:
    databases:
      {DATABASE}:
        can:
          - {{ statements: [read, write, truncate], tables: ["public.*"] }}
          - {{ functions: ["pg_catalog.*"] }}
        max: {{ ttl: 30m, max-session: 1h, max-connections: {MANY} }}
"#,
        state.display(),
        dir.join("policies").display(),
        issuer.url(),
        cluster.port(),
    );
    let path = dir.join(format!("broker-{name}.yaml"));
    fs::write(&path, config)?;
    let log_path = dir.join(format!("broker-{name}.log"));
    let log = fs::File::create(&log_path)?;
    let mut child = child(false, program)?
        .args(["serve", "--config", &path.display().to_string()])
        .env("SHOP_PASSWORD", LOGIN_PASSWORD)
        .env("HOOP_OPERATOR_TOKEN", "operator-token-of-the-tests")
        .env("NO_COLOR", "1")
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    await_port(&mut child, http, "the broker", &log_path)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !client
        .get(format!("{url}/readyz"))
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
    {
        if Instant::now() > deadline {
            bail!("the broker is not ready: {}", fs::read_to_string(&log_path)?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Broker {
        child,
        url,
        port,
        state,
        log: log_path,
    })
}
