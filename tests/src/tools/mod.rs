//! Migration and ETL tools as a job runs them: through an endpoint, with the preset made for them and rules for nothing
//! but the application's own tables. `make test` runs them.

pub mod dbt;
pub mod migrate;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::house::{Plan, root, run};
use crate::{Grant, House};

/// Who enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The broker alone; the tables belong to its login.
    Shared,
    /// PostgreSQL as well; the tables belong to `app_owner`, and the rules for DDL say so.
    Role,
}

/// What the rules for DDL say in a set-up with roles.
const OWNER: &str = ", as: app_owner";

/// A set-up with a scope for every tool.
pub async fn house(mode: Mode) -> Result<House> {
    let (schema, policy, extra) = (
        include_str!("../../fixtures/shop.sql"),
        include_str!("../../fixtures/tools.yaml"),
        include_str!("../../fixtures/tool-ceilings.yaml"),
    );
    House::plan(match mode {
        Mode::Shared => Plan {
            schema: schema.to_owned(),
            policy: policy.replace(OWNER, ""),
            extra: extra.replace(OWNER, ""),
            ..Plan::default()
        },
        Mode::Role => Plan {
            schema: format!(
                "CREATE ROLE app_owner NOLOGIN; ALTER ROLE hoop_broker CREATEROLE; \
                 GRANT pg_signal_backend TO hoop_broker; GRANT app_owner TO hoop_broker WITH ADMIN OPTION; \
                 GRANT CREATE ON DATABASE shop TO app_owner; GRANT CREATE ON SCHEMA public TO app_owner;{}",
                schema.replace("SET ROLE hoop_broker", "SET ROLE app_owner")
            ),
            policy: policy.to_owned(),
            extra: extra.to_owned(),
            enforcement: "role",
            ..Plan::default()
        },
    })
    .await
}

/// A file of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// What `tests/setup.sh` installed beside this tree.
///
/// # Panics
///
/// When it is missing.
pub fn installed(name: &str) -> PathBuf {
    let path = root().join(".tools").join(name);
    assert!(path.exists(), "{} is missing: tests/setup.sh test", path.display());
    path
}

/// The Python that has the clients.
pub fn python() -> PathBuf {
    installed("venv/bin/python")
}

/// The Node that `tests/setup.sh` put beside this tree where the machine's own is too old.
pub fn node() -> Command {
    let own = root().join(".tools/node/bin/node");
    Command::new(if own.exists() { own } else { PathBuf::from("node") })
}

/// Java with everything that Liquibase's package brings on its class path, pgjdbc among it.
pub fn java() -> Command {
    let home = installed("liquibase/node_modules/liquibase/dist/liquibase/internal/lib");
    let mut command = Command::new("java");
    // The tests run beside each other: one compiler thread each is enough.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(home.join("*"));
    command
}

/// Runs a client that speaks through the endpoint; its whole output is the failure's report.
pub fn client(house: &House, grant: &Grant, command: &mut Command, input: &str) -> Result<String> {
    let command = command.envs(house.libpq(grant));
    let (success, stdout, stderr) = run(command, input).with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(
        success,
        "{command:?} failed\n--- its output\n{stdout}\n--- its errors\n{stderr}\n--- refused\n{}\n--- the broker's log\n{}",
        refused(house, grant)?.join("\n"),
        house.broker_log()
    );
    Ok(stdout + &stderr)
}

/// [`client`], whose last line of output is JSON.
pub fn report(house: &House, grant: &Grant, command: &mut Command) -> Result<Value> {
    let text = client(house, grant, command, "")?;
    let last = text
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the client did not report:\n{text}"))
}

/// Every session of the grant as the ledger tells it, once all have ended.
pub fn sessions(house: &House, grant: &Grant) -> Result<Vec<Value>> {
    shown(house, &house.ended_sessions(&of(&grant.id()))?)
}

/// The words that list every session of a grant.
fn of(id: &str) -> [&str; 4] {
    ["--grant", id, "--limit", "100000"]
}

/// Listed sessions, each with its steps.
fn shown(house: &House, listed: &[Value]) -> Result<Vec<Value>> {
    let state = house.path("state").display().to_string();
    listed
        .iter()
        .map(|session| {
            let id = session
                .get("session")
                .and_then(Value::as_str)
                .context("a session without a name")?;
            json(house, &["sessions", "show", "--state", &state, "--json", id])
        })
        .collect()
}

fn json(house: &House, arguments: &[&str]) -> Result<Value> {
    let (success, stdout, stderr) = run(&mut house.command(arguments), "")?;
    ensure!(success, "{arguments:?}: {stdout}{stderr}");
    Ok(serde_json::from_str(&stdout)?)
}

/// Each text is in the ledger with the outcome the database reported, and the ledger verifies.
pub fn recorded(house: &House, grant: &Grant, wanted: &[(&str, &str)]) -> Result<()> {
    let sessions = sessions(house, grant)?;
    let steps = sessions
        .iter()
        .flat_map(|session| session["steps"].as_array().into_iter().flatten());
    let ended: Vec<(&str, &str)> = steps
        .map(|step| {
            (
                step["text"].as_str().unwrap_or_default(),
                step["outcome"]["tag"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    for (text, tag) in wanted {
        let found = ended
            .iter()
            .any(|(seen, outcome)| seen.contains(text) && outcome == tag);
        ensure!(
            found,
            "no {text:?} that ended with {tag:?} in the ledger, which has\n{ended:#?}"
        );
    }
    let (verifies, report) = house.verify_ledger()?;
    ensure!(verifies, "{report}");
    Ok(())
}

/// The statements of the grant that were refused so far, as the ledger tells them.
fn refused(house: &House, grant: &Grant) -> Result<Vec<String>> {
    Ok(shown(house, &house.listed_sessions(&of(&grant.id()))?)?
        .iter()
        .flat_map(|session| session["steps"].as_array().into_iter().flatten())
        .map(Value::to_string)
        .filter(|step| step.contains("denied") || step.contains("deny"))
        .collect())
}

/// Nothing of what the tool sent was refused, and something was sent.
pub fn nothing_refused(house: &House, grant: &Grant) -> Result<()> {
    for session in sessions(house, grant)? {
        ensure!(session["denied"] == 0, "refused in {session}");
    }
    Ok(())
}

/// A grant of `scope`, all of whose tables are then the scope's to work with.
pub(crate) struct Job<'h> {
    house: &'h House,
    grant: Grant,
    direct: tokio_postgres::Client,
}

impl<'h> Job<'h> {
    /// A grant of the scope of that name.
    async fn new(house: &'h House, scope: &str) -> Result<Self> {
        let direct = crate::roles::admin(house).await?;
        let grant = house.grant(scope).await?;
        Ok(Self { house, grant, direct })
    }

    /// What `sql` says at the database itself, as the superuser.
    async fn at_the_database(&self, sql: &str) -> Result<String> {
        let row = self.direct.query_one(sql, &[]).await.with_context(|| sql.to_owned())?;
        Ok(row.get::<_, Option<String>>(0).unwrap_or_default())
    }

    /// Asks the database, and compares.
    async fn holds(&self, sql: &str, wanted: &str) -> Result<()> {
        let seen = self.at_the_database(sql).await?;
        ensure!(seen == wanted, "{sql}\nis       {seen}\nand not  {wanted}");
        Ok(())
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        client(self.house, &self.grant, command, "")
    }

    /// Runs what must fail; what it says.
    fn fails(&self, command: &mut Command) -> Result<String> {
        let (success, stdout, stderr) = run(command.envs(self.house.libpq(&self.grant)), "")?;
        ensure!(!success, "{command:?} did not fail: {stdout}{stderr}");
        Ok(stdout + &stderr)
    }

    fn nothing_refused(&self) -> Result<()> {
        nothing_refused(self.house, &self.grant)
    }

    fn recorded(&self, wanted: &[(&str, &str)]) -> Result<()> {
        recorded(self.house, &self.grant, wanted)
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.house.path(name)
    }
}

/// A copy of a folder of `tests/clients`, for tools that write beside what they read.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let source = entry?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
