//! The login of one grant: made ahead of time with a password that only this process knows, dressed for its grant when
//! it is taken, and dropped when the grant is over: shut first, then its sessions ended, then the role.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::{GenericClient, Transaction};

use super::fault::RoleFault;
use crate::base::secret::{Prefix, Secret, random_base62};
use crate::scram::Verifier;
use crate::sql::quote::{identifier, literal};

/// How long a login that nobody took may stay. Nobody but this process knows its password, and it has no rights.
const SPARE: SignedDuration = SignedDuration::from_hours(1);
/// How often sessions are asked to end before the role is dropped all the same.
const TRIES: u32 = 40;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A login that nobody has taken yet.
#[derive(Debug)]
pub struct Spare {
    /// Its name.
    pub name: String,
    /// Its password; the server was given the verifier.
    pub password: Secret,
    /// When it was made.
    pub born: Instant,
    /// How far the server's clock is ahead of ours: `VALID UNTIL` is read by the server's.
    pub ahead: SignedDuration,
}

impl Spare {
    /// A name and a password, before anything is at the server. Costs one PBKDF2.
    pub async fn draw(own: &str) -> Result<(Self, Verifier), RoleFault> {
        let own = own.to_owned();
        let drawn = tokio::task::spawn_blocking(move || {
            // Lower case: names are quoted wherever the broker writes them, but people type them without quotes.
            let name = format!("{own}{}", random_base62(24)?.to_ascii_lowercase());
            let password = Secret::mint(Prefix::Password)?;
            let verifier = Verifier::of(&password)?;
            Ok::<_, crate::base::secret::NoRandomness>((name, password, verifier))
        });
        let (name, password, verifier) = drawn.await.ok().and_then(Result::ok).ok_or(RoleFault::NoRandomness)?;
        let spare = Self {
            name,
            password,
            born: Instant::now(),
            ahead: SignedDuration::ZERO,
        };
        Ok((spare, verifier))
    }

    /// Makes the role: a login that may do nothing at all.
    pub async fn create(
        &mut self,
        client: &impl GenericClient,
        verifier: &Verifier,
    ) -> Result<(), tokio_postgres::Error> {
        let row = client
            .query_one("SELECT (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8", &[])
            .await?;
        let now = clock();
        let theirs = Timestamp::from_millisecond(row.get(0)).unwrap_or(now);
        self.ahead = theirs.duration_since(now);
        let until = theirs.checked_add(SPARE).unwrap_or(theirs);
        client
            .batch_execute(&format!(
                "CREATE ROLE {} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS \
                 CONNECTION LIMIT 0 PASSWORD {} VALID UNTIL {}",
                identifier(&self.name),
                literal(&verifier.to_text()),
                literal(&until.to_string()),
            ))
            .await
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the server's wall clock, never with a grant's"
)]
fn clock() -> Timestamp {
    Timestamp::now()
}

/// What a login is dressed with.
#[derive(Debug, Clone)]
pub struct Dress {
    /// The role of its scope.
    pub group: String,
    /// The owners its DDL runs as.
    pub owners: Vec<String>,
    /// The keepers of those owners' masked tables, each of which there need not be.
    pub keepers: Vec<String>,
    /// Connections at the same time.
    pub connections: u32,
    /// `statement_timeout` and `lock_timeout`, in milliseconds.
    pub timeouts: Vec<(&'static str, u128)>,
    /// When it ends, by our clock.
    pub until: Timestamp,
    /// What an administrator reads about it.
    pub about: String,
}

/// Makes a spare the login of a grant. It is a member of its scope's role, enters it at every login and inherits nothing.
pub async fn dress(transaction: &Transaction<'_>, spare: &Spare, dress: &Dress) -> Result<(), tokio_postgres::Error> {
    let row = transaction
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
             pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT'), \
             pg_catalog.current_database()::pg_catalog.text, \
             ARRAY(SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r \
               WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1))",
            &[&dress.keepers],
        )
        .await?;
    let (version, open, database): (i32, bool, String) = (row.get(0), row.get(1), row.get(2));
    let keepers: Vec<String> = row.get(3);
    let how = if version >= 160_000 {
        " WITH INHERIT FALSE, SET TRUE"
    } else {
        ""
    };
    let name = identifier(&spare.name);
    let until = dress.until.checked_add(spare.ahead).unwrap_or(dress.until);
    let mut sql = format!(
        "GRANT {group} TO {name}{how}; ALTER ROLE {name} SET role = {entered}; \
         ALTER ROLE {name} SET search_path FROM CURRENT; COMMENT ON ROLE {name} IS {about}; ",
        group = identifier(&dress.group),
        entered = literal(&dress.group),
        about = literal(&dress.about),
    );
    let mut add = |statement: String| {
        sql.push_str(&statement);
        sql.push_str("; ");
    };
    for owner in dress.owners.iter().chain(&keepers) {
        add(format!("GRANT {} TO {name}{how}", identifier(owner)));
    }
    for (setting, millis) in &dress.timeouts {
        add(format!("ALTER ROLE {name} SET {setting} = {millis}"));
    }
    if !open {
        add(format!("GRANT CONNECT ON DATABASE {} TO {name}", identifier(&database)));
    }
    add(format!(
        "ALTER ROLE {name} CONNECTION LIMIT {} VALID UNTIL {}",
        dress.connections,
        literal(&until.to_string())
    ));
    transaction.batch_execute(&sql).await
}

/// Ends a login. False when its sessions do not end; what then is left can do nothing and is tried again.
pub async fn drop(client: &mut deadpool_postgres::Client, name: &str) -> Result<bool, tokio_postgres::Error> {
    let quoted = identifier(name);
    let there = client
        .query_opt(
            "SELECT pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT'), \
             pg_catalog.current_database()::pg_catalog.text, \
             pg_catalog.current_setting('server_version_num')::pg_catalog.int4 FROM pg_catalog.pg_roles \
             WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name",
            &[&name],
        )
        .await?;
    let Some(there) = there else { return Ok(true) };
    client.batch_execute(&format!("ALTER ROLE {quoted} NOLOGIN")).await?;
    if !ended(client, name).await? {
        return Ok(false);
    }
    let (open, database): (bool, String) = (there.get(0), there.get(1));
    if !open {
        let database = identifier(&database);
        client
            .batch_execute(&format!("REVOKE CONNECT ON DATABASE {database} FROM {quoted}"))
            .await?;
    }
    let dropped = client.batch_execute(&format!("DROP ROLE IF EXISTS {quoted}")).await;
    match dropped {
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
            // A login never works as itself, so it owns nothing. Should it do so all the same, a role that owns objects
            // must not stay: they become the broker's, which an administrator can see, and nothing is lost.
            tracing::error!(role = %name, "a job's login owns objects: they are given to the broker's login");
            // Who makes a role is its member without its rights from 16 on.
            let how = if there.get::<_, i32>(2) >= 160_000 {
                " WITH INHERIT TRUE, SET TRUE"
            } else {
                ""
            };
            let transaction = client.transaction().await?;
            transaction
                .batch_execute(&format!(
                    "GRANT {quoted} TO CURRENT_USER{how}; REASSIGN OWNED BY {quoted} TO CURRENT_USER; \
                     DROP OWNED BY {quoted}; DROP ROLE {quoted}"
                ))
                .await?;
            transaction.commit().await?;
            Ok(true)
        }
        other => other.map(|()| true),
    }
}

/// Ends the sessions of a login; true when there are none left.
async fn ended(client: &deadpool_postgres::Client, name: &str) -> Result<bool, tokio_postgres::Error> {
    for _ in 0..TRIES {
        let left = client
            .query(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                 WHERE usename OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name",
                &[&name],
            )
            .await?;
        if left.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}
