//! The operator's file: read with lines, checked as a whole, every mistake reported at once.

mod check;
mod low;
mod read;
#[cfg(test)]
mod tests;
pub mod tls;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;
use crate::http::Rate;
use crate::policy::Enforcement;

pub use tls::Tls;

/// A checked configuration. `I`, `R` and `C` are the entries of `issuers:`, `repositories:` and `ceilings:`, which the
/// token and policy floors read.
#[derive(Debug)]
pub struct Config<I, R, C> {
    /// Where HTTP is listened for.
    pub http: SocketAddr,
    /// Where PostgreSQL is listened for.
    pub postgres: SocketAddr,
    /// What jobs are told to reach.
    pub public: Public,
    /// TLS of both listeners. `None` only when both are on loopback.
    pub tls: Option<Tls>,
    /// Where the store and the ledger live. It exists and can be written.
    pub state: PathBuf,
    /// Where the repositories' policies are mounted. It exists and can be read.
    pub policies: PathBuf,
    /// What opens the kill switch.
    pub operator_token: Option<Secret>,
    /// When records of reads are durable.
    pub durability: Durability,
    /// How often one address may ask the HTTP door.
    pub rate: Rate,
    /// How long a change that others make to a schema may go unseen.
    pub schema_poll: Duration,
    /// By the operator's name.
    pub issuers: BTreeMap<String, I>,
    /// By the operator's name.
    pub databases: BTreeMap<String, Database>,
    /// The registered repositories.
    pub repositories: Vec<R>,
    /// By name.
    pub ceilings: BTreeMap<String, C>,
}

/// What jobs are told to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// The URL of the HTTP door, without a slash at its end.
    pub http: String,
    /// The host of the PostgreSQL door.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// When records of reads are durable. Everything that changes data is durable before its effect in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Within 50 ms.
    #[default]
    Default,
    /// Before the statement is sent.
    Strict,
}

/// One database behind the broker.
#[derive(Debug, Clone)]
pub struct Database {
    /// The server's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database's name on the server.
    pub database: String,
    /// How the server is reached.
    pub tls: UpstreamTls,
    /// The broker's own login.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Who enforces policies there.
    pub enforcement: Enforcement,
    /// The key of masks, if there is one.
    pub mask_key: Option<Secret>,
}

/// How a database server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTls {
    /// In the clear; only to a loopback address.
    Disable,
    /// Certificate and name are verified, against this CA (PEM) or the system's roots.
    VerifyFull {
        /// The CA.
        ca: Option<String>,
    },
}

impl<I: DeserializeOwned, R: DeserializeOwned, C: DeserializeOwned> Config<I, R, C> {
    /// Reads and checks the file at `path`, and everything it refers to.
    pub fn load(path: &Path, now: Timestamp) -> Result<Self, ConfigFault> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigFault {
            mistakes: vec![Mistake {
                path: name.clone(),
                line: 0,
                column: 0,
                code: "config-unreadable",
                message: format!("the file cannot be read: {error}"),
                fix: "give the path of the operator's file with --config".into(),
            }],
        })?;
        Self::parse(&text, &name, now)
    }

    /// Checks the text of an operator's file. `path` is what diagnostics call it.
    pub fn parse(text: &str, path: &str, now: Timestamp) -> Result<Self, ConfigFault> {
        let low = read::read(text, path).map_err(|mistake| ConfigFault {
            mistakes: vec![mistake],
        })?;
        check::check(low, path, now)
    }
}

/// One thing that is wrong with the configuration. It never repeats a value that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub path: String,
    /// 1-based; 0 when it is about the file as a whole.
    pub line: u64,
    /// 1-based.
    pub column: u64,
    /// The stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: {}", self.code, self.message)?;
        if !self.fix.is_empty() {
            write!(f, "\n    {}", self.fix)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// At least one, in the order of the file's checks.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFault {}

impl Fault for ConfigFault {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn code(&self) -> &'static str {
        self.mistakes.first().map_or("config-invalid", |mistake| mistake.code)
    }

    fn public(&self) -> Cow<'_, str> {
        Cow::Borrowed("the broker's configuration is wrong")
    }
}
