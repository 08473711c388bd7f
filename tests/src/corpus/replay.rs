//! The logged workloads of real tools, replayed through the proxy with the tool's preset and beside it on a direct
//! connection: each statement is allowed and ends as it does without a broker.
//!
//! A log holds no values: every parameter gets one that fits its type. What a tool sent to one connection goes to one
//! connection. The database is empty at the start, as it was for the tool.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::layer::Layer;
use crate::house::{DATABASE, House, LOGIN, LOGIN_PASSWORD, Plan};
use crate::raw::{self, Message, Raw};
use crate::roles::{KNOWN, login_of};

/// The workloads and the presets that go with them.
pub const WORKLOADS: [(&str, &str); 4] = [
    ("alembic", "migrations/alembic"),
    ("asyncpg", "introspection/clients"),
    ("django", "migrations/django"),
    ("knex", "migrations/knex"),
];

/// What GRANTs cannot give, and so fails with roles: TRUNCATE is a right, RESTART IDENTITY is the owner's of the sequences.
/// What the statement would have emptied is then still there for the next one.
const OWNERS_ALONE: [&str; 2] = [
    "TRUNCATE \"auth_user_groups\", \"auth_group\",",
    "SELECT * FROM \"django_content_type\" LIMIT 1;",
];

/// The end of a COPY in binary that brings no row.
const NO_ROWS: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff";

/// How one workload went.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// Statements that were sent.
    pub sent: usize,
    /// Those of them that ended without an error on both sides.
    pub fine: usize,
    /// Those that only the owner of the tables may run.
    pub owners: usize,
    /// What was refused, or ended in another way than without a broker.
    pub wrong: Vec<String>,
}

/// Replays the named workloads with `layer` in front of the database.
pub async fn replay(workloads: &[&str], layer: Layer) -> Result<BTreeMap<&'static str, Replayed>> {
    let house = house(layer).await?;
    let mut all = BTreeMap::new();
    for (name, _) in WORKLOADS.into_iter().filter(|(name, _)| workloads.contains(name)) {
        let grant = house.grant(name).await?;
        let beside = house.grant(name).await?;
        let (mut user, mut password) = (LOGIN.to_owned(), LOGIN_PASSWORD);
        if layer == Layer::Both {
            let admin = super::site::superuser(&house, "postgres").await?;
            user = login_of(&admin, &beside).await?;
            admin
                .batch_execute(&format!("ALTER ROLE \"{user}\" PASSWORD '{KNOWN}'"))
                .await?;
            password = KNOWN;
        }
        let mut job = raw::endpoint(&house, &grant, &[]).await?;
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", house.cluster.port())).await?;
        let twin = format!("{name}_twin");
        let keys = [("database", twin.as_str()), ("client_encoding", "UTF8")];
        let mut direct = Raw::login(Box::new(tcp), &user, password, &keys).await?;
        // Through the broker DDL runs as the owner, statement by statement; here everything does.
        direct.send(&raw::query("SET ROLE app_owner")).await?;
        direct.until_ready(1).await?;
        let file = crate::house::root().join(format!("tests/corpus/workload/{name}.sql"));
        let text = std::fs::read_to_string(file)?;
        let replayed = both(&mut job, &mut direct, &text, layer).await.context(name)?;
        all.insert(name, replayed);
    }
    Ok(all)
}

async fn both(job: &mut Raw, direct: &mut Raw, text: &str, layer: Layer) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    for statement in text.split("\n-- ---\n").filter(|text| !text.trim().is_empty()) {
        replayed.sent += 1;
        let through = End::of(job, statement).await.context("through the broker")?;
        let beside = End::of(direct, statement).await.context("without a broker")?;
        replayed.fine += usize::from(beside.errors.is_empty());
        if through != beside {
            let line: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            if layer == Layer::Both && OWNERS_ALONE.iter().any(|known| line.starts_with(known)) {
                replayed.owners += 1;
                continue;
            }
            let line: String = line.chars().take(160).collect();
            replayed
                .wrong
                .push(format!("{line}\n  {through:?}\n  without: {beside:?}"));
        }
    }
    Ok(replayed)
}

/// How a statement ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    /// SQLSTATE and message of each error.
    errors: Vec<String>,
    rows: usize,
    /// Command tags, with their counts.
    tags: Vec<String>,
    /// The transaction's state.
    state: String,
}

impl End {
    /// Sends a statement as the tools do: in one message, or with parameters.
    async fn of(peer: &mut Raw, statement: &str) -> Result<Self> {
        let mut end = Self::default();
        if !statement.contains("$1") {
            peer.send(&raw::query(statement)).await?;
            end.take(&feed(peer).await?);
            return Ok(end);
        }
        let ask = [raw::parse("", statement), raw::describe_statement(""), raw::sync()];
        peer.send(&ask.concat()).await?;
        let described = feed(peer).await?;
        end.take(&described);
        let Some((_, types)) = described.iter().find(|(tag, _)| *tag == 't') else {
            return Ok(end);
        };
        let values: Vec<Vec<u8>> = types[2..]
            .chunks_exact(4)
            .zip(1..)
            .map(|(oid, number)| {
                // What SQLAlchemy asks; no other setting is read by the logged statements.
                if statement.contains(&format!("current_setting(${number}")) {
                    return b"default_table_access_method".to_vec();
                }
                value(u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
            })
            .collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let run = [raw::bind_values("", "", &values), raw::execute(""), raw::sync()];
        peer.send(&run.concat()).await?;
        end.take(&feed(peer).await?);
        Ok(end)
    }

    fn take(&mut self, messages: &[Message]) {
        for (tag, body) in messages {
            match tag {
                'D' => self.rows += 1,
                'C' => self
                    .tags
                    .push(String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()),
                'E' => self
                    .errors
                    .push(format!("{} {}", raw::field(body, 'C'), raw::field(body, 'M'))),
                'Z' => self.state = String::from_utf8_lossy(body).into_owned(),
                _ => {}
            }
        }
    }
}

/// Takes messages up to ReadyForQuery; a COPY gets no rows.
async fn feed(peer: &mut Raw) -> Result<Vec<Message>> {
    let mut seen = Vec::new();
    loop {
        let message = peer.next().await?;
        if message.0 == 'G' {
            let mut data = raw::copy_done();
            if message.1.first() == Some(&1) {
                data = [raw::copy_data(NO_ROWS), data].concat();
            }
            peer.send(&data).await?;
        }
        let last = message.0 == 'Z';
        seen.push(message);
        if last {
            return Ok(seen);
        }
    }
}

/// A value of a parameter's type, in text.
fn value(oid: u32) -> Vec<u8> {
    let text = match oid {
        16 => "t",
        // "char"
        18 => "r",
        19 | 25 | 1042 | 1043 => "users",
        114 | 3802 => "{}",
        1005..=1016 | 1028 | 1182 | 1185 | 1231 => "{}",
        1082 | 1114 | 1184 => "2026-01-01",
        2950 => "00000000-0000-0000-0000-000000000001",
        // An enumeration that the workload made.
        16_384.. => "a",
        _ => "1",
    };
    text.as_bytes().to_vec()
}

async fn house(layer: Layer) -> Result<House> {
    let enforcement = layer.enforcement();
    let mut schema = format!(
        "CREATE ROLE app_owner NOLOGIN; ALTER ROLE {LOGIN} CREATEROLE; GRANT pg_signal_backend TO {LOGIN};\n\
         GRANT app_owner TO {LOGIN} WITH ADMIN OPTION;\n"
    );
    let mut policy = String::from("version: 1\nscopes:\n");
    let mut ceiling = String::from("ceilings:\n  team:\n    databases:\n");
    let kinds =
        "[definer-function, domain, extension, function, operator, policy, sequence, statistics, trigger, type]";
    for (name, preset) in WORKLOADS {
        for database in [name.to_owned(), format!("{name}_twin")] {
            let _ = writeln!(
                schema,
                "CREATE DATABASE {database};\n\\c {database}\nALTER SCHEMA public OWNER TO app_owner; \
                 ALTER DATABASE {database} OWNER TO app_owner;"
            );
        }
        let rules = format!(
            "- {{ statements: [read, write, truncate, lock, listen], tables: [\"public.*\"] }}\n\
             - {{ statements: [ddl], tables: [\"public.*\"], objects: {kinds}, as: app_owner }}\n\
             - {{ functions: [\"public.*\"] }}\n"
        );
        let rules = |extra: &str| {
            rules
                .lines()
                .chain(extra.lines())
                .map(|line| format!("        {line}\n"))
                .collect::<String>()
        };
        let own = if preset.starts_with("migrations") {
            ", as: app_owner"
        } else {
            ""
        };
        let _ = write!(
            policy,
            "  {name}:\n    description: A logged workload.\n    database: {name}\n    who:\n      \
             - {{ issuer: github, branch: main, environment: production, events: [push] }}\n    can:\n{}    \
             limits: {{ ttl: 1h, max-session: 1h, max-connections: 4 }}\n",
            rules(&format!("- {{ preset: {preset}{own} }}"))
        );
        let _ = write!(
            ceiling,
            "      {name}:\n        require: {{ environment: [production], events: [push] }}\n        \
             presets: [{preset}]\n        can:\n{}        max: {{ ttl: 2h, max-session: 2h, max-connections: 8 }}\n",
            rules("")
        );
    }
    let _ = writeln!(schema, "\\c {DATABASE}");
    let plan = Plan {
        schema,
        policy,
        extra: ceiling + "rate-limit: { per-second: 100000, burst: 100000 }\n",
        databases: Box::new(move |port| {
            let entry = |(name, _): (&str, &str)| {
                format!(
                    "  {name}:\n    address: \"127.0.0.1:{port}\"\n    database: {name}\n    tls: {{ mode: disable }}\n    \
                     login: {{ user: {LOGIN}, password: \"env:SHOP_PASSWORD\" }}\n    enforcement: {enforcement}\n"
                )
            };
            let text = WORKLOADS.map(entry).concat();
            Box::pin(async move { Ok(text) })
        }),
        ..Plan::default()
    };
    House::plan(plan).await
}
