//! Why the roles of a database could not be kept.

use std::borrow::Cow;

use tokio_postgres::error::SqlState;

use crate::base::fault::{Fault, Kind};
use crate::upstream::UpstreamFault;

/// Why a grant has no login of its own. `Display` is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RoleFault {
    /// The database cannot be reached or refuses the broker.
    #[error(transparent)]
    Upstream(#[from] UpstreamFault),
    /// The broker's login lacks what it takes; each with the SQL that cures it.
    #[error("database `{database}`: {lacks}")]
    Lacks {
        /// The operator's name of the database.
        database: String,
        /// What is missing, and the SQL.
        lacks: String,
    },
    /// A statement about roles failed.
    #[error("database `{database}`: {doing}: {cause}")]
    Failed {
        /// The operator's name of the database.
        database: String,
        /// What was tried.
        doing: &'static str,
        /// What PostgreSQL said: names of objects, never values.
        cause: String,
        /// The SQLSTATE, when the server gave one.
        sqlstate: Option<String>,
    },
    /// The system gives no random bytes.
    #[error("no random bytes for a login's password")]
    NoRandomness,
}

impl RoleFault {
    /// A failed statement of the driver's.
    pub fn of(database: &str, doing: &'static str, error: &tokio_postgres::Error) -> Self {
        let cause = error
            .as_db_error()
            .map_or_else(|| error.to_string(), |told| told.message().to_owned());
        Self::Failed {
            database: database.to_owned(),
            doing,
            cause,
            sqlstate: error.code().map(|code| code.code().to_owned()),
        }
    }

    /// True where the next try may find it otherwise: a role that another broker swept, a row of the catalog that somebody
    /// changed at the same moment.
    pub fn may_pass(&self) -> bool {
        let passing = [
            SqlState::UNDEFINED_OBJECT,
            SqlState::INTERNAL_ERROR,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
            SqlState::DUPLICATE_SCHEMA,
        ];
        match self {
            Self::Failed { sqlstate, .. } => passing.iter().any(|state| sqlstate.as_deref() == Some(state.code())),
            Self::Upstream(_) | Self::Lacks { .. } | Self::NoRandomness => false,
        }
    }
}

impl Fault for RoleFault {
    fn kind(&self) -> Kind {
        Kind::Upstream
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Upstream(fault) => fault.code(),
            Self::Lacks { .. } | Self::Failed { .. } => "database-roles",
            Self::NoRandomness => "no-randomness",
        }
    }

    fn public(&self) -> Cow<'_, str> {
        match self {
            Self::Upstream(fault) => fault.public(),
            Self::Lacks { database, .. } | Self::Failed { database, .. } => Cow::Owned(format!(
                "the broker could not make this job's own role in database `{database}`"
            )),
            Self::NoRandomness => Cow::Borrowed("the broker's system gives no random bytes"),
        }
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(
            "try again; if it stays so, ask the operator: the broker's log names the cause and the SQL that cures it",
        ))
    }
}
