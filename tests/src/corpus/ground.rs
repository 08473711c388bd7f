//! Where cases are tried: one PostgreSQL, one broker whose login may do everything, and a number of plots, each with a
//! database of its own that is made anew from a template whenever a case left something behind.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hoop::demo::cluster::SUPERUSER;
use tokio_postgres::Client;

use super::case::Corpus;
use super::judge::Judge;
use super::tap::Tap;
use crate::house::{DATABASE, Grant, House, LOGIN, LOGIN_PASSWORD, Plan};
use crate::raw::{self, Raw};

/// The database that the fixture is loaded into, and that every plot is a copy of.
const TEMPLATE: &str = "tpl";
/// Longer than the broker goes without looking at a database's schema.
const SEEN_BY_THE_BROKER: Duration = Duration::from_millis(10_500);

/// The set-up of a corpus.
pub struct Ground {
    /// PostgreSQL, broker, issuer.
    pub house: House,
    /// The server's major version.
    pub version: u64,
    taps: Vec<Tap>,
}

impl Ground {
    /// Starts everything, with `plots` databases.
    pub async fn start(corpus: &Corpus, plots: usize) -> Result<Self> {
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
                             login: {{ user: {LOGIN}, password: \"env:SHOP_PASSWORD\" }}\n    enforcement: shared\n"
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
        Ok(Self {
            taps: receiver.await?,
            version: version.parse()?,
            house,
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
        let grant = self.house.grant(&format!("job{number}")).await?;
        let admin = self.superuser("postgres").await?;
        let mut plot = Plot {
            ground: self,
            tap: self.taps[number].clone(),
            database: database(number),
            grant,
            admin,
            watch: self.superuser(&database(number)).await?,
            clean: Print::default(),
        };
        plot.clean = plot.print().await?;
        Ok(plot)
    }

    async fn superuser(&self, database: &str) -> Result<Client> {
        let cluster = &self.house.cluster;
        crate::client::connect(cluster.port(), SUPERUSER, cluster.password(), database, None).await
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
    Ok(text + "rate-limit: { per-second: 100000, burst: 100000 }\n")
}

/// What a database looks like: any change of its catalogs or of its rows changes one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Print {
    catalog: String,
    rows: String,
}

/// One worker's database, with everything to send to it and to look at it.
pub struct Plot<'g> {
    /// What it belongs to.
    pub ground: &'g Ground,
    /// Every byte that the broker sends to it.
    pub tap: Tap,
    /// Its name.
    pub database: String,
    /// A grant of its scope.
    pub grant: Grant,
    admin: Client,
    watch: Client,
    clean: Print,
}

impl Plot<'_> {
    /// Logs in at the endpoint.
    pub async fn job(&self) -> Result<Raw> {
        self.job_with(&[]).await
    }

    /// Logs in at the endpoint, with extra start-up keys.
    pub async fn job_with(&self, keys: &[(&str, &str)]) -> Result<Raw> {
        raw::endpoint(&self.ground.house, &self.grant, keys).await
    }

    /// Logs in at the server itself, with the broker's login.
    pub async fn direct(&self) -> Result<Raw> {
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", self.ground.house.cluster.port())).await?;
        tcp.set_nodelay(true)?;
        let keys = [("database", self.database.as_str()), ("client_encoding", "UTF8")];
        Raw::login(Box::new(tcp), LOGIN, LOGIN_PASSWORD, &keys).await
    }

    /// Runs SQL as a superuser, who is not seen by the broker.
    pub async fn superuser(&self, sql: &str) -> Result<()> {
        Ok(self.watch.batch_execute(sql).await?)
    }

    /// The first column of a superuser's query, as text.
    pub async fn value(&self, sql: &str) -> Result<Option<String>> {
        let rows = self.watch.simple_query(sql).await?;
        Ok(rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    /// True when PostgreSQL's own regular expressions find `pattern` in `text`, lines apart.
    pub async fn matches(&self, text: &str, pattern: &str) -> Result<bool> {
        // `\b` is a word's edge elsewhere, and a backspace here.
        let pattern = format!("(?n){}", pattern.replace("\\b", "\\y"));
        let text = text.replace('\0', "");
        let row = self
            .watch
            .query_one("SELECT $1::text ~ $2::text", &[&text, &pattern])
            .await
            .with_context(|| format!("the marker {pattern:?}"))?;
        Ok(row.get(0))
    }

    /// Waits until the broker has seen what somebody else did to the schema.
    pub async fn seen(&self) {
        tokio::time::sleep(SEEN_BY_THE_BROKER).await;
    }

    /// What a case left behind: nothing, changed rows, or a changed schema. Afterwards the database is as at the start.
    pub async fn reset(&mut self) -> Result<Left> {
        self.backends_gone().await?;
        let now = self.print().await?;
        if now == self.clean {
            return Ok(Left::Nothing);
        }
        let left = if now.catalog == self.clean.catalog {
            Left::Rows
        } else {
            Left::Schema
        };
        self.renew().await?;
        if left == Left::Schema {
            self.seen().await;
        }
        Ok(left)
    }

    /// Makes the database anew.
    pub async fn renew(&mut self) -> Result<()> {
        let name = self.database.clone();
        self.admin
            .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .await?;
        let create = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
        let mut tries = 0;
        // Another plot may be copying the template at this moment.
        while let Err(error) = self.admin.batch_execute(&create).await {
            tries += 1;
            anyhow::ensure!(tries < 50, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.watch = self.ground.superuser(&name).await?;
        self.clean = self.print().await?;
        Ok(())
    }

    /// Waits until no session of a job is left but those that the broker keeps for the next one.
    async fn backends_gone(&self) -> Result<()> {
        let sessions = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND usename = '{LOGIN}' AND application_name <> 'hoop-db control' \
             AND NOT (state = 'idle' AND query = 'DISCARD ALL')",
            self.database
        );
        for _ in 0..200 {
            if self.value(&sessions).await?.as_deref() == Some("0") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.value("SELECT string_agg(concat_ws(' ', pid, application_name, state, wait_event, left(query, 80)), '; ') FROM pg_stat_activity WHERE datname = current_database()").await?;
        anyhow::bail!("a job's session does not end: {}", left.unwrap_or_default())
    }

    async fn print(&self) -> Result<Print> {
        let row = self.watch.query_one(PRINT, &[]).await?;
        Ok(Print {
            catalog: row.get(0),
            rows: row.get(1),
        })
    }
}

/// What a case left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The database is as it was.
    Nothing,
    /// Rows were changed.
    Rows,
    /// The schema, roles or settings were changed.
    Schema,
}

/// Catalogs by the physical place and the age of their rows; rows of tables, sequences and large objects by what they
/// hold. Temporary schemas stay behind after any session that used one.
const PRINT: &str = r"
WITH catalogs(name) AS (VALUES ('pg_attrdef'), ('pg_attribute'), ('pg_auth_members'), ('pg_authid'), ('pg_cast'),
  ('pg_class'), ('pg_collation'), ('pg_constraint'), ('pg_conversion'), ('pg_db_role_setting'), ('pg_default_acl'),
  ('pg_description'), ('pg_event_trigger'), ('pg_extension'), ('pg_foreign_data_wrapper'), ('pg_foreign_server'),
  ('pg_index'), ('pg_inherits'), ('pg_language'), ('pg_operator'), ('pg_parameter_acl'), ('pg_policy'), ('pg_proc'),
  ('pg_publication'), ('pg_rewrite'), ('pg_seclabel'), ('pg_statistic_ext'), ('pg_subscription'), ('pg_tablespace'),
  ('pg_transform'), ('pg_trigger'), ('pg_type'), ('pg_user_mapping')),
tables AS (SELECT c.oid, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname !~ '^(pg_|information_schema)')
SELECT
  (SELECT md5(string_agg(md5(query_to_xml(format('SELECT sum(hashtext(ctid::text || xmin::text)) FROM %I', name), true, true, '')::text), '' ORDER BY name)
     || pg_read_file('postgresql.auto.conf')
     || (SELECT coalesce(string_agg(nspname || nspowner::text || coalesce(nspacl::text, ''), ',' ORDER BY oid), '') FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'))
   FROM catalogs),
  (SELECT md5(coalesce(string_agg(md5(query_to_xml(format('SELECT t.ctid, t.xmin, t.* FROM ONLY %s t', oid::regclass), true, true, '')::text), '' ORDER BY relname, oid), '')
     || (SELECT coalesce(sum(hashtext(ctid::text || xmin::text)), 0)::text FROM pg_largeobject)
     || (SELECT count(*)::text FROM pg_prepared_xacts)) FROM tables)";
