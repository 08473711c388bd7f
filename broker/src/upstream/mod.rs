//! The database behind the broker: reached over TLS and SCRAM with the broker's own credential, written to only with
//! a [`Permit`](crate::decide::Permit), cut for good when a session ends.

pub mod control;
pub mod cut;
pub mod dial;
pub mod link;
pub mod login;
pub mod transport;

use std::borrow::Cow;
use std::sync::Arc;

use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;

pub use cut::{Cut, Cutter};
pub use link::Link;
pub use transport::{Transport, linger, part};

/// A database the operator defined.
#[derive(Clone)]
pub struct Target {
    /// The operator's name for it.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The database's own name.
    pub database: String,
    /// The broker's login.
    pub user: String,
    /// The broker's credential.
    pub password: Secret,
    /// TLS, verified in full; `None` only where the operator said `disable`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The login of one grant, where PostgreSQL enforces as well. Control connections are the broker's all the same.
    pub job: Option<Arc<JobLogin>>,
}

/// A login of one grant's own.
#[derive(Debug)]
pub struct JobLogin {
    /// The login role.
    pub user: String,
    /// Its password, known to this process only.
    pub password: Secret,
    /// The role of the scope, which every session enters.
    pub role: Arc<str>,
}

impl Target {
    /// The same database, for the sessions of a grant with a login of its own.
    #[must_use]
    pub fn with_job(&self, job: JobLogin) -> Self {
        Self {
            job: Some(Arc::new(job)),
            ..self.clone()
        }
    }

    /// Whom a session logs in as.
    pub fn session_user(&self) -> &str {
        self.job.as_ref().map_or(&self.user, |job| &job.user)
    }

    /// With what.
    pub fn session_password(&self) -> &Secret {
        self.job.as_ref().map_or(&self.password, |job| &job.password)
    }

    /// The role a session works as; `None` where it is the login itself.
    pub fn role(&self) -> Option<&Arc<str>> {
        self.job.as_ref().map(|job| &job.role)
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({} at {}:{})", self.name, self.host, self.port)
    }
}

/// Why the database cannot be used. `Display` is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamFault {
    /// No connection within the deadline.
    #[error("database `{database}`: no connection: {cause}")]
    Unreachable {
        /// The operator's name of the database.
        database: String,
        /// What the operating system said.
        cause: String,
    },
    /// TLS was refused or did not verify.
    #[error("database `{database}`: TLS: {cause}")]
    Tls {
        /// The operator's name of the database.
        database: String,
        /// What went wrong.
        cause: String,
    },
    /// The server refused the broker's login.
    #[error("database `{database}` refused the broker's login with SQLSTATE {sqlstate}")]
    Refused {
        /// The operator's name of the database.
        database: String,
        /// What the server answered.
        sqlstate: String,
    },
    /// The server refused a setting the session should start with.
    #[error("database `{database}` refused a start-up setting: {cause}")]
    Setting {
        /// The operator's name of the database.
        database: String,
        /// What the server said: the client's own value, and nothing else.
        cause: String,
    },
    /// The server asked for an authentication the broker does not do.
    #[error(
        "database `{database}` asks for {asked} authentication; the broker accepts SCRAM-SHA-256, or trust without a password"
    )]
    Authentication {
        /// The operator's name of the database.
        database: String,
        /// What was asked for.
        asked: &'static str,
    },
    /// The server broke the protocol.
    #[error("database `{database}` broke the protocol: {cause}")]
    Protocol {
        /// The operator's name of the database.
        database: String,
        /// What was wrong.
        cause: String,
    },
    /// A query of the broker's own failed.
    #[error("database `{database}`: a query of the broker's own failed: {cause}")]
    Query {
        /// The operator's name of the database.
        database: String,
        /// SQLSTATE and position, no data.
        cause: String,
    },
}

impl UpstreamFault {
    /// The operator's name of the database it is about.
    pub fn database(&self) -> &str {
        match self {
            Self::Unreachable { database, .. }
            | Self::Tls { database, .. }
            | Self::Refused { database, .. }
            | Self::Setting { database, .. }
            | Self::Authentication { database, .. }
            | Self::Protocol { database, .. }
            | Self::Query { database, .. } => database,
        }
    }
}

impl Fault for UpstreamFault {
    fn kind(&self) -> Kind {
        Kind::Upstream
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "database-unreachable",
            Self::Tls { .. } => "database-tls",
            Self::Refused { .. } | Self::Authentication { .. } => "database-refused",
            Self::Setting { .. } => "setting-refused",
            Self::Protocol { .. } | Self::Query { .. } => "database-protocol",
        }
    }

    fn public(&self) -> Cow<'_, str> {
        let database = self.database();
        Cow::Owned(match self {
            Self::Unreachable { .. } => format!("the broker cannot reach database `{database}`"),
            Self::Tls { .. } => format!("the broker cannot verify the TLS identity of database `{database}`"),
            Self::Refused { .. } | Self::Authentication { .. } => {
                format!("database `{database}` refused the broker's own login")
            }
            Self::Setting { cause, .. } => format!("database `{database}` refused a start-up setting: {cause}"),
            Self::Protocol { .. } | Self::Query { .. } => {
                format!("database `{database}` did not answer as PostgreSQL does")
            }
        })
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        if matches!(self, Self::Setting { .. }) {
            return Some(Cow::Borrowed("correct the setting in the client's connect options"));
        }
        Some(Cow::Borrowed(
            "ask the operator: the broker's log names the cause; nothing was sent to the database",
        ))
    }
}
