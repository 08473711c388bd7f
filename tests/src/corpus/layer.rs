//! Who stands between a case and the database: the broker, PostgreSQL's own roles, both, or nobody.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::site::{copy, superuser};
use crate::house::{Grant, House, LOGIN, LOGIN_PASSWORD};
use crate::roles::{KNOWN, login_of};

/// The enforcers that are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// The broker alone, with a login that is a superuser: `enforcement: shared`.
    Proxy,
    /// The broker, and behind it the roles of scopes and the logins of grants: `enforcement: role`.
    Both,
    /// The roles alone: what a job would send goes to PostgreSQL as it is, under the login of a grant.
    Roles,
    /// The same after the SQL that `hoop-db doctor` prints was run.
    Cured,
    /// Nobody: each attack has to work there, under a superuser's login, or refusing it shows nothing.
    #[value(name = "none")]
    Nobody,
}

impl Layer {
    /// What the database's entry in the operator's file says.
    pub fn enforcement(self) -> &'static str {
        match self {
            Self::Proxy | Self::Nobody => "shared",
            Self::Both | Self::Roles | Self::Cured => "role",
        }
    }

    /// True where the broker judges.
    pub fn judges(self) -> bool {
        matches!(self, Self::Proxy | Self::Both)
    }

    /// True where only PostgreSQL's roles are in the way.
    pub fn is_roles_alone(self) -> bool {
        matches!(self, Self::Roles | Self::Cured)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxy => "the proxy alone (enforcement: shared, a superuser's login)",
            Self::Both => "both (enforcement: role)",
            Self::Roles => "PostgreSQL's roles alone (no proxy in between)",
            Self::Cured => "PostgreSQL's roles alone, after what `hoop-db doctor` prints",
            Self::Nobody => "nobody (no proxy in between, a superuser's login)",
        })
    }
}

/// Who logs in to the database, around the broker.
#[derive(Debug, Clone)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Login {
    /// The broker's own, which the corpus makes a superuser.
    pub fn own() -> Self {
        Self {
            user: LOGIN.to_owned(),
            password: LOGIN_PASSWORD.to_owned(),
        }
    }
}

/// What one plot's cases are tried with.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// A grant, for the endpoint.
    pub grant: Grant,
    /// The login of another grant of the same scope, or the broker's own.
    pub login: Login,
    /// The roles of the broker's that cases may change.
    pub own: Vec<String>,
    /// What the plot's databases are copied from.
    pub template: String,
}

/// Takes the grants of a plot. With roles their GRANTs are kept in a template, so that a database that is made anew has
/// them at once.
pub async fn fit(house: &House, layer: Layer, scope: &str, database: &str, template: &str) -> Result<Fitted> {
    if layer == Layer::Cured {
        cure(house, database).await?;
    }
    let grant = house.grant(scope).await?;
    if layer.enforcement() == "shared" {
        return Ok(Fitted {
            grant,
            login: Login::own(),
            own: Vec::new(),
            template: template.to_owned(),
        });
    }
    let admin = superuser(house, "postgres").await?;
    let direct = house.grant(scope).await?;
    let mut own = Vec::new();
    for grant in [&direct, &grant] {
        own.push(login_of(&admin, grant).await?);
    }
    let login = own[0].clone();
    let password = format!("ALTER ROLE \"{login}\" PASSWORD '{KNOWN}'");
    admin.batch_execute(&password).await?;
    let row = admin
        .query_one(
            "SELECT m.roleid::regrole::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid \
             WHERE m.member = $1::text::regrole AND g.rolname LIKE 'hoop\\_g\\_%'",
            &[&login],
        )
        .await
        .context("the role of the scope")?;
    own.push(row.get(0));
    let template = format!("{template}_{database}");
    admin
        .batch_execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false"))
        .await?;
    admin
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            &[&database],
        )
        .await?;
    copy(&admin, &template, database).await?;
    admin
        .batch_execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true"))
        .await?;
    Ok(Fitted {
        grant,
        login: Login {
            user: login,
            password: KNOWN.to_owned(),
        },
        own,
        template,
    })
}

/// Runs the SQL that `hoop-db doctor` prints against what PUBLIC may do.
async fn cure(house: &House, database: &str) -> Result<()> {
    let config = house.path("broker.yaml").display().to_string();
    let output = house
        .command(&["doctor", "--operator", &config, "--database", database, "--json"])
        .output()?;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).context("doctor's JSON")?;
    let admin = superuser(house, database).await?;
    let fixes = found[database].as_array().context("doctor's list")?;
    for fix in fixes.iter().filter_map(|found| found["fix"].as_str()) {
        if fix.ends_with("FROM PUBLIC;") {
            admin.batch_execute(fix).await.with_context(|| fix.to_owned())?;
        }
    }
    Ok(())
}
