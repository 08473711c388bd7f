//! Where cases are tried: one PostgreSQL, one broker whose login may do everything, and a number of plots, each with a
//! database of its own that is made anew from a template whenever a case left something behind.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hoop::demo::cluster::SUPERUSER;

use super::case::Corpus;
use super::judge::Judge;
use super::layer::{Fitted, Layer, Login, fit};
use super::print::Left;
use super::site::Site;
use super::tap::Tap;
use super::wire::Received;
use crate::house::{DATABASE, Grant, House, LOGIN, LOGIN_PASSWORD, Plan};
use crate::raw::{self, Raw};

/// The database that the fixture is loaded into, and that every plot is a copy of.
const TEMPLATE: &str = "tpl";
/// Longer than a role of the broker's goes without being compared with the schema.
const SEEN_BY_THE_ROLES: Duration = Duration::from_millis(10_500);

/// The set-up of a corpus.
pub struct Ground {
    /// PostgreSQL, broker, issuer.
    pub house: House,
    /// Who enforces.
    pub layer: Layer,
    /// The server's major version.
    pub version: u64,
    taps: Vec<Tap>,
    fitted: Vec<Fitted>,
}

impl Ground {
    /// Starts everything, with `plots` databases and `layer` in front of each.
    pub async fn start(corpus: &Corpus, plots: usize, layer: Layer) -> Result<Self> {
        let names: Vec<String> = (0..plots).map(database).collect();
        let mut schema = format!(
            "ALTER ROLE {LOGIN} SUPERUSER;\nCREATE DATABASE {TEMPLATE} OWNER {SUPERUSER};\n\\c {TEMPLATE}\n{}\n\\c {DATABASE}\n",
            corpus.fixture
        );
        for name in &names {
            schema += &format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE};\n");
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let plan = Plan {
            schema,
            policy: scopes(&corpus.policy, plots)?,
            extra: ceilings(&corpus.ceiling, plots)?,
            settings: vec![
                ("autovacuum", "off"),
                ("max_prepared_transactions", "10"),
                ("shared_buffers", "64MB"),
                ("wal_level", "logical"),
            ],
            databases: Box::new(move |port| {
                Box::pin(async move {
                    let mut taps = Vec::new();
                    let mut text = String::new();
                    for name in names {
                        let (tap, listens) = Tap::start(port).await?;
                        taps.push(tap);
                        text += &format!(
                            "  {name}:\n    address: \"127.0.0.1:{listens}\"\n    database: {name}\n    tls: {{ mode: disable }}\n    \
                             login: {{ user: {LOGIN}, password: \"env:SHOP_PASSWORD\" }}\n    enforcement: {}\n",
                            layer.enforcement()
                        );
                    }
                    let _kept = sender.send(taps);
                    Ok(text)
                })
            }),
            ..Plan::default()
        };
        let house = House::plan(plan).await?;
        // A loop-back through the socket needs no password: the attacks that try it are to be live.
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(house.cluster.home().join("data/pg_hba.conf"), rules)?;
        house.cluster.psql("postgres", "SELECT pg_reload_conf()")?;
        let version = house
            .cluster
            .psql("postgres", "SELECT current_setting('server_version_num')::int / 10000")?;
        let mut fitted = Vec::new();
        for number in 0..plots {
            fitted.push(fit(&house, layer, &format!("job{number}"), &database(number), TEMPLATE).await?);
        }
        Ok(Self {
            taps: receiver.await?,
            version: version.parse()?,
            house,
            layer,
            fitted,
        })
    }

    /// The broker's own judgement of plot 0's scope and schema, in this process.
    pub async fn judge(&self) -> Result<Judge> {
        let policy = std::fs::read_to_string(self.house.path("policies/acme/orders/db-access.yaml"))?;
        let operator = std::fs::read_to_string(self.house.path("broker.yaml"))?;
        let cluster = &self.house.cluster;
        let login = crate::client::connect(cluster.port(), LOGIN, LOGIN_PASSWORD, &database(0), None).await?;
        Ok(Judge {
            scope: Judge::scope(&policy, &operator, "job0")?,
            snapshot: Judge::schema(&login).await?.into(),
        })
    }

    /// Plot `number`, with a grant of its scope.
    pub async fn plot(&self, number: usize) -> Result<Plot<'_>> {
        let fitted = &self.fitted[number];
        let (own, template) = (&fitted.own, &fitted.template);
        Ok(Plot {
            ground: self,
            tap: self.taps[number].clone(),
            site: Site::make(&self.house, &database(number), template, own).await?,
            twin: Site::make(&self.house, &format!("twin{number}"), template, own).await?,
            grant: fitted.grant.clone(),
            login: fitted.login.clone(),
            witnessed: 0,
        })
    }

    /// Fills in what a case leaves to the runner.
    pub fn fill(&self, text: &str) -> String {
        let home = self.house.cluster.home().display().to_string();
        text.replace("{SOCKET_DIR}", &home)
            .replace("{PORT}", &self.house.cluster.port().to_string())
            .replace("{TMP}", &home)
    }
}

fn database(number: usize) -> String {
    format!("corpus{number}")
}

/// The policy with one scope per plot.
fn scopes(policy: &str, plots: usize) -> Result<String> {
    let (head, body) = policy
        .split_once("\n  job:\n")
        .context("the policy has no scope `job`, indented by two spaces")?;
    let mut text = head.to_owned() + "\n";
    for number in 0..plots {
        let body = body.replace("database: corpus\n", &format!("database: {}\n", database(number)));
        text += &format!("  job{number}:\n{body}\n");
    }
    Ok(text)
}

/// The operator's ceiling with one database per plot.
fn ceilings(ceiling: &str, plots: usize) -> Result<String> {
    let mut text = String::from("ceilings:\n  team:\n");
    let mut block: Option<Vec<&str>> = None;
    let repeat = |block: Vec<&str>, text: &mut String| {
        for number in 0..plots {
            *text += &format!("      {}:\n", database(number));
            for line in &block {
                *text += &format!("    {line}\n");
            }
        }
    };
    for line in ceiling.lines() {
        if line == "  corpus:" {
            block = Some(Vec::new());
        } else if line.starts_with("    ") && block.is_some() {
            block.get_or_insert_default().push(line);
        } else {
            if let Some(block) = block.take() {
                repeat(block, &mut text);
            }
            text += &format!("    {line}\n");
        }
    }
    if let Some(block) = block {
        repeat(block, &mut text);
    }
    anyhow::ensure!(
        plots == 0 || text.contains(&database(0)),
        "the ceiling has no database `corpus`, indented by two spaces"
    );
    Ok(text + "rate-limit: { per-second: 100000, burst: 100000 }\nschema-poll: 400ms\n")
}

/// One worker's database, with everything to send to it and to look at it.
pub struct Plot<'g> {
    /// What it belongs to.
    pub ground: &'g Ground,
    /// Every byte that the broker sends to it.
    pub tap: Tap,
    /// The database that the cases are tried on.
    pub site: Site,
    /// Its like, which the broker does not know: what an honest statement does without a broker.
    pub twin: Site,
    /// A grant of its scope.
    pub grant: Grant,
    login: Login,
    witnessed: u32,
}

impl Plot<'_> {
    /// Logs in as the job that tries a case: at the endpoint, or where no broker is in between, at the server.
    pub async fn job(&self) -> Result<Raw> {
        self.job_with(&[]).await
    }

    /// The same with extra start-up keys.
    pub async fn job_with(&self, keys: &[(&str, &str)]) -> Result<Raw> {
        if self.ground.layer.judges() {
            raw::endpoint(&self.ground.house, &self.grant, keys).await
        } else {
            self.server(&self.login, &self.site.name, keys).await
        }
    }

    /// True when whoever enforces refused what was sent: the broker in its own words, PostgreSQL by any error.
    pub fn refused(&self, received: &Received) -> bool {
        if self.ground.layer.judges() {
            received.denied
        } else {
            !received.errors.is_empty()
        }
    }

    /// The port that a job knows.
    pub fn port(&self) -> u16 {
        let house = &self.ground.house;
        if self.ground.layer.judges() {
            house.port
        } else {
            house.cluster.port()
        }
    }

    /// Logs in at the twin itself, as who an honest statement is compared with: as the broker's login, or where there are
    /// roles, as a grant's; `owner` is whose DDL the statements are. What roles alone do is compared with what a
    /// superuser may.
    pub async fn beside(&self, owner: Option<&str>) -> Result<Raw> {
        if !self.ground.layer.judges() {
            return self.server(&Login::own(), &self.twin.name, &[]).await;
        }
        let mut peer = self.server(&self.login, &self.twin.name, &[]).await?;
        if let Some(owner) = owner {
            peer.send(&raw::query(&format!("SET ROLE {owner}"))).await?;
            peer.until_ready(1).await?;
        }
        Ok(peer)
    }

    async fn server(&self, login: &Login, database: &str, keys: &[(&str, &str)]) -> Result<Raw> {
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", self.ground.house.cluster.port())).await?;
        tcp.set_nodelay(true)?;
        let usual = [("database", database), ("client_encoding", "UTF8")];
        let usual = usual
            .into_iter()
            .filter(|(name, _)| keys.iter().all(|(key, _)| key != name));
        let keys: Vec<_> = usual.chain(keys.iter().copied()).collect();
        Raw::login(Box::new(tcp), &login.user, &login.password, &keys).await
    }

    /// Waits until the broker and its roles have seen what somebody else did to the schema. What the database is
    /// afterwards is what a case has to leave behind.
    pub async fn seen(&mut self) -> Result<()> {
        if self.ground.layer.enforcement() == "role" {
            tokio::time::sleep(SEEN_BY_THE_ROLES).await;
        } else if self.ground.layer.judges() {
            self.witness().await?;
        }
        self.site.accept().await
    }

    /// Makes a table and asks for it until the broker knows it: it has seen everything that was there before, too.
    async fn witness(&mut self) -> Result<()> {
        self.witnessed += 1;
        let name = format!("witness_{}", self.witnessed);
        self.site
            .superuser(&format!("CREATE SCHEMA {name} CREATE TABLE seen()"))
            .await?;
        let mut peer = self.job().await?;
        loop {
            peer.send(&raw::query(&format!("SELECT FROM {name}.seen"))).await?;
            let answer = peer.until_ready(1).await?;
            let unknown = |(tag, body): &raw::Message| {
                *tag == 'E' && raw::field(body, 'D').contains("does not exist in the live schema")
            };
            if !answer.iter().any(unknown) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _gone = peer.send(&raw::frame('X', b"")).await;
        self.site.superuser(&format!("DROP SCHEMA {name} CASCADE")).await
    }

    /// What a case left behind. Afterwards the database is as at the start.
    pub async fn reset(&mut self) -> Result<Left> {
        let left = self.site.reset().await?;
        // The GRANTs came back with the database; only what the broker reads from the schema is old.
        if left == Left::Schema && self.ground.layer.judges() {
            self.seen().await?;
        }
        Ok(left)
    }
}
