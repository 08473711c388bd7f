//! One database of the corpus, as a superuser sees it: looked at after every case, and made anew from its template when
//! a case left something behind.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hoop::demo::cluster::SUPERUSER;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::print::{Left, Print};
use crate::house::{House, LOGIN};

/// A database and what it looks like when nobody has touched it.
pub struct Site {
    /// Its name.
    pub name: String,
    template: String,
    server: (u16, String),
    admin: Client,
    watch: Client,
    own: Vec<Own>,
    clean: Print,
}

/// A role of the broker's that cases may change, as it was.
struct Own {
    name: String,
    verifier: Option<String>,
    settings: Vec<(u32, Vec<String>)>,
}

/// A superuser's connection.
pub async fn superuser(house: &House, database: &str) -> Result<Client> {
    connect(&(house.cluster.port(), house.cluster.password().to_owned()), database).await
}

async fn connect((port, password): &(u16, String), database: &str) -> Result<Client> {
    crate::client::connect(*port, SUPERUSER, password, database, None).await
}

impl Site {
    /// Makes the database `name` from `template`; `own` are the roles of the broker's whose changes count here.
    pub async fn make(house: &House, name: &str, template: &str, own: &[String]) -> Result<Self> {
        let server = (house.cluster.port(), house.cluster.password().to_owned());
        let admin = connect(&server, "postgres").await?;
        remake(&admin, name, template).await?;
        let mut roles = Vec::new();
        for name in own {
            let row = admin
                .query_one("SELECT rolpassword, oid FROM pg_authid WHERE rolname = $1", &[name])
                .await?;
            let settings = admin
                .query(
                    "SELECT setdatabase, setconfig FROM pg_db_role_setting WHERE setrole = $1",
                    &[&row.get::<_, u32>(1)],
                )
                .await?;
            roles.push(Own {
                name: name.clone(),
                verifier: row.get(0),
                settings: settings.iter().map(|row| (row.get(0), row.get(1))).collect(),
            });
        }
        let mut site = Self {
            name: name.to_owned(),
            template: template.to_owned(),
            watch: connect(&server, name).await?,
            server,
            admin,
            own: roles,
            clean: Print::default(),
        };
        site.clean = site.print().await?;
        Ok(site)
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

    /// What the database is from here on is what a case has to leave behind.
    pub async fn accept(&mut self) -> Result<()> {
        self.clean = self.print().await?;
        Ok(())
    }

    /// What a case left behind. Afterwards the database is as at the start.
    pub async fn reset(&mut self) -> Result<Left> {
        self.backends_gone().await?;
        let left = self.print().await?.since(&self.clean);
        if left != Left::Nothing {
            self.renew().await?;
        }
        Ok(left)
    }

    /// Makes the database anew, and its roles what they were.
    pub async fn renew(&mut self) -> Result<()> {
        remake(&self.admin, &self.name, &self.template).await?;
        self.watch = connect(&self.server, &self.name).await?;
        if self.print().await?.roles != self.clean.roles {
            self.restore_roles().await?;
        }
        self.clean = self.print().await?;
        Ok(())
    }

    async fn restore_roles(&self) -> Result<()> {
        for Own {
            name,
            verifier,
            settings,
        } in &self.own
        {
            let password = verifier.as_ref().map_or("NULL".to_owned(), |text| format!("'{text}'"));
            self.admin
                .batch_execute(&format!("ALTER ROLE \"{name}\" PASSWORD {password}"))
                .await?;
            let role: u32 = self
                .admin
                .query_one("SELECT oid FROM pg_roles WHERE rolname = $1", &[name])
                .await?
                .get(0);
            self.admin
                .execute("DELETE FROM pg_db_role_setting WHERE setrole = $1", &[&role])
                .await?;
            for (database, values) in settings {
                self.admin
                    .execute(
                        "INSERT INTO pg_db_role_setting VALUES ($1, $2, $3)",
                        &[database, &role, values],
                    )
                    .await?;
            }
        }
        Ok(())
    }

    /// Waits until no session of a job is left but those that the broker keeps for the next one.
    async fn backends_gone(&self) -> Result<()> {
        let sessions = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND (usename = '{LOGIN}' OR usename LIKE 'hoop\\_l\\_%') AND application_name <> 'hoop-db control' \
             AND NOT (state = 'idle' AND query IN ('DISCARD ALL', 'RESET ROLE'))"
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
        let own: Vec<String> = self.own.iter().map(|role| role.name.clone()).collect();
        Print::take(&self.watch, &own).await
    }
}

/// Drops `name`, where it is there, and copies `template` to it.
pub async fn remake(admin: &Client, name: &str, template: &str) -> Result<()> {
    // On a busy machine a session that was ended may take longer to go than DROP waits.
    insist(admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    copy(admin, name, template).await
}

/// Copies `template` to the new database `name`.
pub async fn copy(admin: &Client, name: &str, template: &str) -> Result<()> {
    // Somebody else may be copying the template at this moment.
    insist(admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await
}

async fn insist(admin: &Client, sql: &str) -> Result<()> {
    let mut tries = 0;
    while let Err(error) = admin.batch_execute(sql).await {
        let busy = error.code() == Some(&SqlState::OBJECT_IN_USE);
        tries += 1;
        anyhow::ensure!(busy && tries < 100, "{sql}: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
