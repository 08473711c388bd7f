//! What the tests of the second enforcer ask of a database: which roles of the broker's are there, and what they hold.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hoop::demo::cluster::{SUPERUSER, free_port};
use serde_json::{Value, json};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::House;
use crate::house::{DATABASE, Grant, Plan};

/// The password that a test gives a login to try it directly.
pub const KNOWN: &str = "known-to-the-test";

/// A set-up with `enforcement: role`.
pub fn plan() -> Plan {
    Plan {
        schema: include_str!("../fixtures/roles.sql").to_owned(),
        policy: include_str!("../fixtures/roles-policy.yaml").to_owned(),
        extra: include_str!("../fixtures/roles-ceilings.yaml").to_owned(),
        enforcement: "role",
        ..Plan::default()
    }
}

/// A set-up with masked tables, under either enforcement; they belong to `crm_owner` where the database enforces.
pub fn masked(enforcement: &'static str) -> Plan {
    let mut plan = Plan {
        policy: include_str!("../fixtures/masks.yaml").to_owned(),
        extra: include_str!("../fixtures/ceilings.yaml")
            .replace("\"app.*\", \"public.*\"", "\"app.*\", \"public.*\", \"crm.*\"")
            .replace("[\"pg_catalog.*\"]", "[\"pg_catalog.*\", \"app.*\"]"),
        enforcement,
        ..Plan::default()
    };
    let tables = include_str!("../fixtures/masks.sql");
    if enforcement == "role" {
        plan.schema += "RESET ROLE; CREATE ROLE crm_owner NOLOGIN; ALTER ROLE hoop_broker CREATEROLE; \
            GRANT pg_signal_backend TO hoop_broker; GRANT crm_owner TO hoop_broker WITH ADMIN OPTION; \
            CREATE SCHEMA crm AUTHORIZATION crm_owner; SET ROLE crm_owner;\n";
        plan.schema += &tables.replace("CREATE SCHEMA crm;", "");
        // A scope that runs no DDL: its login can become nobody.
        let (head, scope) = plan.policy.split_once("  masked:\n").unwrap_or_default();
        let reader = scope.replace("write, ddl, lock", "write, lock");
        let own = ", as: crm_owner }";
        let scope = scope.replace("\"crm.made*\"] }", &format!("\"crm.made*\"]{own}"));
        plan.policy = format!("{head}  masked:\n{scope}\n  reader:\n{reader}");
        plan.extra = plan.extra.replace(
            "objects: [sequence, type] }",
            &format!("objects: [sequence, type]{own}"),
        );
    } else {
        plan.schema += tables;
    }
    plan
}

/// [`masked`] under `role`, with the masks that take a key.
pub fn keyed() -> Plan {
    let mut plan = masked("role");
    for (plain, keyed) in [
        ("crm.people.email: email", "crm.people.email: { email: stable }"),
        (
            "crm.people.card: { partial: { keep-last: 4 } }",
            "crm.people.card: { hash: hmac }",
        ),
        ("crm.people.phone: digits", "crm.people.phone: { hash: hmac }"),
        (
            "crm.people.born: { bucket: year }",
            "crm.people.born: { date-shift: 30d }",
        ),
        (
            "crm.parted.ssn: { fixed: \"***\" }",
            "crm.parted.ssn: { fake-name: stable }",
        ),
    ] {
        plan.policy = plan.policy.replace(plain, keyed);
    }
    plan
}

/// A house where PostgreSQL enforces too, by [`plan`], and a connection as its superuser.
pub async fn house() -> Result<(House, Client)> {
    let house = House::plan(plan()).await?;
    let admin = admin(&house).await?;
    Ok((house, admin))
}

/// A connection as the superuser.
pub async fn admin(house: &House) -> Result<Client> {
    direct(house, SUPERUSER, house.cluster.password()).await
}

/// A connection around the broker.
pub async fn direct(house: &House, user: &str, password: &str) -> Result<Client> {
    crate::client::connect(
        house.cluster.port(),
        user,
        password,
        "shop",
        Some(house.authority.pem()),
    )
    .await
}

/// A second broker on the same database: a configuration, a state and a process of its own.
pub struct Second {
    broker: Child,
    house: PathBuf,
    url: String,
    port: u16,
    client: reqwest::Client,
}

impl Second {
    /// Starts it beside `house`, with its state in the folder `state`.
    pub async fn start(house: &House, state: &str) -> Result<Self> {
        let (http, port) = (free_port()?, free_port()?);
        let text = std::fs::read_to_string(house.path("broker.yaml"))?
            .replace(&house.url, &format!("https://127.0.0.1:{http}"))
            .replace(&house.url.replace("https://", ""), &format!("127.0.0.1:{http}"))
            .replace(&format!("127.0.0.1:{}", house.port), &format!("127.0.0.1:{port}"))
            .replace(
                &house.path("state").display().to_string(),
                &house.path(state).display().to_string(),
            );
        let config = house.path(&format!("{state}.yaml"));
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(house.path(&format!("{state}.log")))?;
        let broker = house
            .command(&["serve", "--config", &config.display().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(house.authority.pem().as_bytes())?])
            .build()?;
        let second = Self {
            broker,
            house: house.path(&format!("{state}.log")),
            url: format!("https://127.0.0.1:{http}"),
            port,
            client,
        };
        let began = Instant::now();
        loop {
            let answer = second.client.get(format!("{}/readyz", second.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(second);
            }
            if began.elapsed() > Duration::from_secs(60) {
                bail!("the second broker is not ready:\n{}", second.log());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.house).unwrap_or_default()
    }

    /// A grant of `scope`.
    pub async fn grant(&self, house: &House, scope: &str) -> Result<Grant> {
        let token = house.github.github(&json!({}))?;
        let request = self.client.post(format!("{}/v1/grants", self.url)).bearer_auth(token);
        let answer: Value = request.json(&json!({ "scope": scope })).send().await?.json().await?;
        anyhow::ensure!(answer.get("endpoint").is_some(), "{answer}\n{}", self.log());
        Ok(Grant { answer })
    }

    /// Connects to one of its endpoints.
    pub async fn connect(&self, house: &House, grant: &Grant) -> Result<Client> {
        let ca = house.authority.pem();
        crate::client::connect(self.port, &grant.user(), &grant.password(), DATABASE, Some(ca)).await
    }

    /// Ends its process as a crash would.
    pub fn kill(&mut self) {
        let _gone = self.broker.kill();
        let _reaped = self.broker.wait();
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The login of a grant.
pub async fn login_of(admin: &Client, grant: &Grant) -> Result<String> {
    let row = admin
        .query_opt(
            "SELECT r.rolname::text FROM pg_roles r JOIN pg_shdescription d ON d.objoid = r.oid AND d.classoid = 'pg_authid'::regclass \
             WHERE r.rolname LIKE 'hoop\\_l\\_%' AND strpos(d.description, $1) > 0",
            &[&grant.id()],
        )
        .await?;
    row.map(|row| row.get(0)).context("the grant has no login")
}

/// A direct connection as a grant's login, past the proxy.
pub async fn as_login(house: &House, admin: &Client, grant: &Grant) -> Result<Client> {
    let login = login_of(admin, grant).await?;
    admin
        .batch_execute(&format!("ALTER ROLE \"{login}\" PASSWORD '{KNOWN}'"))
        .await?;
    direct(house, &login, KNOWN).await
}

/// What is wrong with the roles at this moment, in words; `live` are the grants that may have a login.
pub async fn left_over(admin: &Client, live: &[&Grant]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let rows = admin
        .query(
            "SELECT r.rolname::text, COALESCE(r.rolvaliduntil < now(), true), \
             COALESCE(shobj_description(r.oid, 'pg_authid'), ''), \
             (SELECT count(*) FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'), \
             EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid) \
             FROM pg_roles r WHERE r.rolname LIKE 'hoop\\_l\\_%' OR r.rolname LIKE 'hoop\\_g\\_%'",
            &[],
        )
        .await?;
    for row in rows {
        let (name, over, about): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
        let (owned, member): (i64, bool) = (row.get(3), row.get(4));
        if owned > 0 {
            wrong.push(format!("{name} owns {owned} objects"));
        }
        if !name.starts_with("hoop_l_") {
            continue;
        }
        if over {
            wrong.push(format!("{name} is past its time ({about})"));
        }
        let of_a_grant = live.iter().any(|grant| about.contains(&grant.id()));
        if member && !of_a_grant {
            wrong.push(format!("{name} is no live grant's ({about})"));
        }
    }
    Ok(wrong)
}

/// Waits until [`left_over`] finds nothing.
pub async fn settle(admin: &Client, live: &[&Grant], within: Duration) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let wrong = left_over(admin, live).await?;
        if wrong.is_empty() {
            return Ok(began.elapsed());
        }
        if began.elapsed() > within {
            bail!("after {within:?}: {}", wrong.join("; "));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The only value of a query.
pub async fn value(client: &Client, sql: &str) -> Result<String> {
    let rows = client.simple_query(sql).await.with_context(|| sql.to_owned())?;
    rows.iter()
        .find_map(|row| match row {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .with_context(|| format!("{sql}: no value"))
}
