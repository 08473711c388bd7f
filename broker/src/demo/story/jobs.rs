//! The jobs: a migration through the action, a job that may not, a report through `hoop-db run`.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::process::Command;

use super::runner::Runner;
use super::stage::{Said, Stage, hear};
use super::teller::Teller;

const MIGRATION: &str = "\
BEGIN;
CREATE TABLE app.returns (id int PRIMARY KEY, order_id int NOT NULL REFERENCES app.orders (id), reason text NOT NULL);
INSERT INTO app.returns VALUES (1, 7, 'too small'), (2, 12, 'arrived late');
COMMIT;
";

const REPORT: &str = "\
SELECT c.country, count(*) AS orders, sum(o.amount) AS total FROM app.orders o JOIN app.customers c ON c.id = o.customer_id GROUP BY c.country ORDER BY c.country;
DROP TABLE app.orders;
SELECT token FROM app.card_tokens;
SELECT email FROM app.customers;
";

/// The report's job. It does what jobs do by accident: it leaves its connect string in a file.
const SCRIPT: &str = "psql -X --echo-queries -f report.sql\nprintf '%s' \"$DATABASE_URL\" > build.log\n";

/// The line a denied statement's client sees.
const DENIED: &str = "ERROR:  denied by ";

/// A GitHub job on the main branch changes the schema.
pub(super) async fn migration(stage: &Stage, teller: &mut Teller<'_>) -> Result<()> {
    teller.step("A GitHub job on the main branch migrates the schema, with `uses: hoop/db-access@v1`")?;
    stage.write("migration.sql", MIGRATION)?;
    let inputs = vec![
        ("scope", "migrate".to_owned()),
        ("broker-url", stage.url.clone()),
        ("ca-certificate", stage.path("ca.pem").display().to_string()),
        ("reason", "the demo's migration".to_owned()),
    ];
    match Runner::find(stage, inputs).await? {
        Ok(runner) => with_action(runner, teller).await?,
        Err(why) => {
            teller.say(&format!("{why}: this job uses `hoop-db run` instead of the action."))?;
            let mut command = github(stage);
            command.args([
                "run",
                "--scope",
                "migrate",
                "--",
                "psql",
                "-X",
                "-v",
                "ON_ERROR_STOP=1",
                "-f",
                "migration.sql",
            ]);
            teller.command("hoop-db run --scope migrate -- psql -f migration.sql")?;
            let said = hear(command).await?;
            teller.output(&said.text)?;
            teller.expect(said.status.success(), "the migration ran")?;
            teller.expect(said.text.contains("endpoint revoked"), "the endpoint is revoked")?;
        }
    }
    let rows = stage
        .cluster
        .psql("shop", "SELECT count(*) FROM app.returns")
        .unwrap_or_else(|error| format!("{error:#}"));
    teller.expect(rows == "2", "the database itself has the new table and its rows")?;
    Ok(())
}

async fn with_action(mut runner: Runner<'_>, teller: &mut Teller<'_>) -> Result<()> {
    teller.command("uses: hoop/db-access@v1    with: { scope: migrate, broker-url: … }")?;
    let main = runner.main().await?;
    teller.output(&main.log)?;
    teller.expect(main.good, "the action got an endpoint and logged in to it")?;
    if main.good {
        teller.command("run: psql -f migration.sql")?;
        let said = runner
            .step("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-f", "migration.sql"])
            .await?;
        teller.output(&said.text)?;
        teller.expect(said.status.success(), "the migration ran")?;
    }
    teller.say("The job ends, and with it the endpoint:")?;
    let post = runner.post().await?;
    teller.output(&post.log)?;
    teller.output(&post.summary)?;
    teller.expect(post.good && post.log.contains("revoked"), "the endpoint is revoked")?;
    let literal = post.log.contains("too small") || post.summary.contains("too small");
    teller.expect(!literal, "neither log nor summary holds a value of a statement")?;
    if main.good {
        let late = runner.step("psql", &["-X", "-c", "SELECT 1"]).await?;
        teller.expect(
            !late.status.success(),
            "a step that comes too late has nothing left to connect with",
        )?;
    }
    Ok(())
}

/// The same repository, the same scope, but a feature branch.
pub(super) async fn wrong_branch(stage: &Stage, teller: &mut Teller<'_>) -> Result<()> {
    teller.step("The same job on a feature branch asks for the same scope")?;
    let token = stage
        .github
        .github(&json!({ "aud": stage.url, "ref": "refs/heads/quick-fix" }))?;
    let mut command = stage.hoop_db();
    command
        .env("HOOP_ID_TOKEN", token)
        .args(["run", "--scope", "migrate", "--", "psql", "-X", "-c", "SELECT 1"]);
    teller.command("hoop-db run --scope migrate -- psql -c 'SELECT 1'")?;
    let said = hear(command).await?;
    teller.output(&said.text)?;
    let refused = !said.status.success() && said.text.contains("branch-mismatch");
    teller.expect(
        refused && said.text.contains(".hoop/db-access.yaml:"),
        "no endpoint, and the line that says so",
    )?;
    Ok(())
}

/// A GitLab job reads what it may, and tries what it may not. Returns the connect string that it left lying about.
pub(super) async fn report(stage: &Stage, teller: &mut Teller<'_>) -> Result<url::Url> {
    teller.step("A scheduled GitLab job writes a report, with `hoop-db run`, and tries more than it may")?;
    stage.write("report.sql", REPORT)?;
    stage.write("report.sh", SCRIPT)?;
    let mut command = stage.hoop_db();
    command
        .env("HOOP_ID_TOKEN", stage.gitlab_token()?)
        .args(["run", "--scope", "read", "--", "sh", "report.sh"]);
    teller.command("hoop-db run --scope read -- sh report.sh")?;
    let said = hear(command).await?;
    teller.output(&said.text)?;
    teller.expect(said.status.success(), "the job ran to its end")?;
    teller.expect(said.text.contains("(3 rows)"), "the report's query is answered")?;
    let (refused, hints) = (said.text.matches(DENIED).count(), said.text.matches("HINT:").count());
    teller.expect(
        refused == 3 && hints == 3 && said.text.contains("denied by .hoop/db-access.yaml:"),
        "DROP TABLE, the card tokens and the e-mail addresses are refused, each with line and hint",
    )?;
    teller.expect(said.text.contains("endpoint revoked"), "the endpoint is revoked")?;
    let there = stage
        .cluster
        .psql("shop", "SELECT count(*) FROM app.orders")
        .unwrap_or_else(|error| format!("{error:#}"));
    teller.expect(there == "40", "the table is still there")?;
    let log = stage.cluster.log()?;
    let leaked = ["DROP TABLE app.orders", "SELECT token"]
        .iter()
        .any(|text| log.contains(text));
    teller.expect(
        !leaked,
        "no byte of a refused statement reached PostgreSQL: its log has none",
    )?;
    let left = std::fs::read_to_string(stage.path("build.log")).context("the report's job left no connect string")?;
    url::Url::parse(&left).context("the report's job left no connect string")
}

/// Somebody finds the connect string that the job left in its log.
pub(super) async fn dead(stage: &Stage, leaked: &url::Url, teller: &mut Teller<'_>) -> Result<()> {
    teller.step("The job's connect string is found in a build log, a moment later")?;
    teller.command(&format!(
        "PGUSER={} PGPASSWORD=hdbp_… psql -c 'SELECT 1'",
        leaked.username()
    ))?;
    let said = connect(stage, leaked).await?;
    teller.output(&said.text)?;
    let refused = !said.status.success() && said.text.contains("FATAL:");
    teller.expect(refused, "it opens nothing any more: the endpoint is dead")?;
    Ok(())
}

async fn connect(stage: &Stage, leaked: &url::Url) -> Result<Said> {
    let mut command = stage.job(Path::new("psql"));
    command
        .args(["-X", "-c", "SELECT 1"])
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", stage.endpoint_port().to_string())
        .env("PGUSER", leaked.username())
        .env("PGPASSWORD", leaked.password().unwrap_or_default())
        .env("PGDATABASE", leaked.path().trim_start_matches('/'))
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", stage.path("ca.pem"));
    hear(command).await
}

/// `hoop-db` in a GitHub job.
fn github(stage: &Stage) -> Command {
    let mut command = stage.hoop_db();
    command
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", stage.github.request_url())
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", stage.github.request_token().expose());
    command
}
