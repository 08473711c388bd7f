//! What the story is played on: PostgreSQL, issuers, the operator's and the repository's files, the broker.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::teller::Teller;
use crate::base::clock::Clock;
use crate::base::secret::random_base62;
use crate::demo::certs::Authority;
use crate::demo::cluster::{Cluster, free_port};
use crate::demo::issuer::{self, DevIssuer, Shape};
use crate::server::{Broker, Plan};

/// The operator's file.
const OPERATOR: &str = include_str!("../broker.yaml");
/// The repository's file.
const POLICY: &str = include_str!("../policy.yaml");
/// The database's content.
const SHOP: &str = include_str!("../shop.sql");

/// Everything that runs while the story is told. What it holds goes when it goes.
pub(super) struct Stage {
    broker: Broker,
    /// Issues GitHub-shaped tokens.
    pub(super) github: DevIssuer,
    gitlab: DevIssuer,
    /// The database.
    pub(super) cluster: Cluster,
    dir: TempDir,
    /// The broker's public URL.
    pub(super) url: String,
    /// This very program.
    pub(super) program: PathBuf,
}

/// How a command ended and what it said on both streams, in order.
pub(super) struct Said {
    pub(super) status: std::process::ExitStatus,
    pub(super) text: String,
}

impl Stage {
    pub(super) async fn start(teller: &mut Teller<'_>) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path is unknown")?;
        let authority = Authority::new()?;
        let certificate = authority.loopback()?;
        let cluster = Cluster::start(Some(&certificate), &[("log_statement", "all")])?;
        let password = random_base62(24)?;
        cluster.psql(
            "postgres",
            &format!("CREATE ROLE hoop_broker LOGIN PASSWORD '{password}'"),
        )?;
        cluster.psql("postgres", "CREATE DATABASE shop OWNER hoop_broker")?;
        cluster.psql("shop", SHOP)?;
        let dir = tempfile::Builder::new().prefix("hoop-demo-").tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let (http, postgres) = (free_port()?, free_port()?);
        let url = format!("https://127.0.0.1:{http}");
        let (github, gitlab) = (
            dev_issuer(Shape::Github, &url).await?,
            dev_issuer(Shape::Gitlab, &url).await?,
        );
        let operator = [
            ("{http}", http.to_string()),
            ("{postgres}", postgres.to_string()),
            ("{dir}", dir.path().display().to_string()),
            ("{github}", github.url().to_owned()),
            ("{gitlab}", gitlab.url().to_owned()),
            ("{database}", cluster.port().to_string()),
        ]
        .iter()
        .fold(OPERATOR.to_owned(), |text, (word, value)| text.replace(word, value));
        for folder in ["policies/acme/orders", "tmp"] {
            fs::create_dir_all(at(folder))?;
        }
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("tls.crt", &certificate.certificate),
            ("tls.key", &certificate.key),
            ("login-password", &password),
            ("operator-token", &random_base62(43)?),
            ("broker.yaml", &operator),
            ("policies/acme/orders/db-access.yaml", POLICY),
        ] {
            private(&at(name), text)?;
        }
        let clock = Clock::system();
        let broker = Broker::start(Plan::read(&at("broker.yaml"), &clock)?, clock).await?;
        teller.say(&format!(
            "database  127.0.0.1:{}, PostgreSQL with TLS and SCRAM",
            cluster.port()
        ))?;
        teller.say(&format!(
            "issuers   {} like GitHub's, {} like GitLab's",
            github.url(),
            gitlab.url()
        ))?;
        teller.say(&format!("broker    {url}, endpoints on {}", broker.postgres))?;
        teller.say(&format!(
            "files     {}: broker.yaml, policies/, state/",
            dir.path().display()
        ))?;
        Ok(Self {
            broker,
            github,
            gitlab,
            cluster,
            dir,
            url,
            program,
        })
    }

    /// Stops in order; nothing temporary stays.
    pub(super) async fn stop(self) -> Result<()> {
        self.broker.stop().await?;
        drop(self.cluster);
        self.dir.close().context("the temporary directory could not be removed")
    }

    /// A file of the set-up.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The port of the endpoints.
    pub(super) fn endpoint_port(&self) -> u16 {
        self.broker.postgres.port()
    }

    /// Writes a file of a job and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        private(&path, text)?;
        Ok(path)
    }

    /// The token of a GitLab job: GitLab puts it into the job's environment.
    pub(super) fn gitlab_token(&self) -> Result<String> {
        Ok(self
            .gitlab
            .gitlab(&json!({ "pipeline_source": "schedule", "environment": null }))?)
    }

    /// A command in a job's shell: a bare environment, PostgreSQL's programs on the path, temporary files inside ours.
    pub(super) fn job(&self, program: &Path) -> Command {
        let mut path = vec![self.cluster.bin("")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(
                ["HOME", "LANG", "LC_ALL"]
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("TMPDIR", self.path("tmp"))
            .env("NO_COLOR", "1")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command
    }

    /// This program as a job calls it, with the broker's address.
    pub(super) fn hoop_db(&self) -> Command {
        let mut command = self.job(&self.program);
        command
            .env("HOOP_BROKER_URL", &self.url)
            .env("HOOP_CA", self.path("ca.pem"));
        command
    }

    /// This program as the operator calls it, on the broker's state.
    pub(super) fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = self.job(&self.program);
        command.args(arguments).env("HOOP_STATE", self.path("state"));
        command
    }

    /// How the reader gets an endpoint.
    pub(super) fn invite(&self, teller: &mut Teller<'_>) -> Result<()> {
        let program = self.program.display();
        teller.head("\nYour turn. In another terminal:")?;
        teller.say(&format!(
            "export HOOP_BROKER_URL={} HOOP_CA={}",
            self.url,
            self.path("ca.pem").display()
        ))?;
        teller.say(&format!(
            "export ACTIONS_ID_TOKEN_REQUEST_URL='{}'",
            self.github.request_url()
        ))?;
        teller.say(&format!(
            "export ACTIONS_ID_TOKEN_REQUEST_TOKEN={}",
            self.github.request_token().expose()
        ))?;
        teller.say(&format!("{program} whoami"))?;
        teller.say(&format!("{program} run --scope read -- psql"))?;
        teller.say(&format!(
            "{program} sessions list --state {}",
            self.path("state").display()
        ))?;
        let policy = self.path("policies/acme/orders/db-access.yaml");
        teller.say(&format!(
            "The policy is {}; a change is in force within five seconds.",
            policy.display()
        ))?;
        teller.head("\nCtrl-C ends the demo and removes all of it.")?;
        Ok(())
    }
}

/// Runs `command` to its end, both streams into one pipe, as a CI log shows them.
pub(super) async fn hear(mut command: Command) -> Result<Said> {
    let (reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let mut child = command.spawn().context("a command of the demo cannot be run")?;
    // The command holds our ends of the pipe: without them the child's end is the end.
    drop(command);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await?;
    let status = child.wait().await?;
    Ok(Said {
        status,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

async fn dev_issuer(shape: Shape, audience: &str) -> Result<DevIssuer> {
    let args = issuer::Args {
        listen: ([127, 0, 0, 1], 0).into(),
        shape,
        audience: audience.to_owned(),
        claims: Vec::new(),
    };
    Ok(DevIssuer::serve(&args, Clock::system()).await?)
}

fn private(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
