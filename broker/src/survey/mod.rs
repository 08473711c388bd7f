//! A look at a live database with the operator's eyes: what it gives to everybody, what runs with the rights of somebody
//! else, and how far each of today's logins reaches. Nothing is ever changed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::upstream::control::Controls;
use crate::upstream::{Target, UpstreamFault};

/// Something a database exposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// What kind of thing; see [`Exposure::told`].
    pub kind: String,
    /// The schema of what it is about.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// A trigger's name.
    pub on: Option<String>,
    /// Whose rights it runs with, or which rights everybody has.
    pub owner: Option<String>,
    /// The SQL that cures it.
    pub fix: String,
}

impl Exposure {
    /// True for code of the database's own that any change of a row runs as the session's login. With
    /// `enforcement: role` that login is the job's, and the finding is none; else it is worth a look, and no fault.
    pub fn is_invoker(&self) -> bool {
        self.kind.starts_with("invoker-")
    }

    /// The sentence for people.
    pub fn told(&self) -> String {
        let name = match &self.schema {
            Some(schema) if *schema != self.name => format!("{schema}.{}", self.name),
            _ => self.name.clone(),
        };
        let by = self.owner.as_deref().unwrap_or_default();
        match self.kind.as_str() {
            "public-create" => {
                format!("everybody may create objects in schema {name}, which then stand in others' search_path")
            }
            "public-temporary" => {
                format!("everybody may make temporary tables in database {name}, which hide real ones of the same name")
            }
            "public-table" => format!("everybody has {by} on {name}"),
            "public-definer" => format!("everybody may call {name}, which runs with the rights of {by}"),
            "unpinned-definer" => format!("{name} runs with the rights of {by} under the caller's search_path"),
            "definer-trigger" | "invoker-trigger" => format!(
                "a change of {name} fires {}, which runs with the rights of {by}: a policy cannot see what it does",
                self.on.as_deref().unwrap_or_default()
            ),
            "invoker-code" => format!(
                "a change of {name} calls {}, which runs with the rights of {by}: a policy cannot see what it does",
                self.on.as_deref().unwrap_or_default()
            ),
            "superuser-view" => format!("view {name} reads with the rights of {by}, a superuser"),
            "reaching-extension" => format!("extension {name} reaches beyond this database's tables"),
            "login-superuser" => {
                format!("the broker's login {name} is a superuser: nothing behind the broker stops a job")
            }
            "login-bypasses-row-security" => format!("the broker's login {name} bypasses row security"),
            "login-replicates" => format!("the broker's login {name} may replicate the whole cluster"),
            "login-lacks" => self.name.clone(),
            "login-member" => format!("the broker's login is a member of {name}"),
            "weak-passwords" => format!("new passwords are stored as {by}"),
            "no-tls" => "the server accepts no TLS".to_owned(),
            _ => format!("{}: {name}", self.kind),
        }
    }
}

/// Every login of the cluster and its reach in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The database.
    pub database: String,
    /// How many tables and views it has.
    pub tables: u64,
    /// The logins, by name.
    pub logins: Vec<Login>,
}

/// One role that can log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the attributes of a PostgreSQL role")]
pub struct Login {
    /// Its name.
    pub name: String,
    /// Every check is off for it.
    pub superuser: bool,
    /// CREATEROLE.
    pub creates_roles: bool,
    /// CREATEDB.
    pub creates_databases: bool,
    /// BYPASSRLS.
    pub bypasses_row_security: bool,
    /// REPLICATION.
    pub replicates: bool,
    /// When its password ends, RFC 3339; `None` is never.
    pub valid_until: Option<String>,
    /// Whether it may connect to this database.
    pub connects: bool,
    /// Tables of which it reads at least one column.
    pub reads: u64,
    /// Tables it changes rows of.
    pub changes: u64,
    /// Tables it may TRUNCATE.
    pub empties: u64,
    /// Tables it may DROP and ALTER, as their owner.
    pub drops: u64,
    /// The roles it is in, directly and through others.
    pub member_of: Vec<Membership>,
}

/// One way from a login to a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The roles on the way; the last one is meant.
    pub path: Vec<String>,
    /// Its rights apply without SET ROLE.
    pub inherits: bool,
    /// It is a superuser.
    pub superuser: bool,
}

/// What `target` exposes, sorted by kind.
///
/// # Errors
/// When the database cannot be asked.
pub async fn exposures(controls: &Controls, target: &Arc<Target>) -> Result<Vec<Exposure>, UpstreamFault> {
    ask(controls, target, include_str!("exposures.sql")).await
}

/// How far each login reaches in `target`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn logins(controls: &Controls, target: &Arc<Target>) -> Result<Reach, UpstreamFault> {
    ask(controls, target, include_str!("logins.sql")).await
}

async fn ask<T>(controls: &Controls, target: &Arc<Target>, sql: &str) -> Result<T, UpstreamFault>
where
    T: for<'de> Deserialize<'de>,
{
    let fault = |cause: String| UpstreamFault::Query {
        database: target.name.clone(),
        cause,
    };
    let client = controls.get(target).await?;
    let row = client.query_one(sql, &[]).await.map_err(|error| {
        let code = error.code().map(|code| format!("SQLSTATE {}", code.code()));
        fault(code.unwrap_or_else(|| error.to_string()))
    })?;
    let text: String = row.get(0);
    serde_json::from_str(&text).map_err(|error| fault(error.to_string()))
}
