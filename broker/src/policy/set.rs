//! Every registered repository, compiled: what admission looks up.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::AUTHOR_PATH;
use super::ceiling::Ceiling;
use super::compile::{self, Bounds, Compiled};
use super::diagnostic::{Diagnostic, failed};
use super::operator::{Operator, Registration};

/// All repositories. Immutable: a change of any file makes a new set.
#[derive(Debug, Default)]
pub struct Policies {
    by_issuer: HashMap<String, HashMap<String, Repository>>,
}

/// One registered repository.
#[derive(Debug)]
pub struct Repository {
    /// Its line in the operator's file.
    pub registration: Registration,
    /// Its file: compiled, however many of its scopes stand, or why there is none.
    pub policy: Result<Compiled, NoPolicy>,
}

/// Why a repository has no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPolicy {
    /// There is no file.
    #[error("there is no file `{file}` in the policies' directory")]
    Missing {
        /// Relative to the policies' directory.
        file: String,
    },
    /// There is one, but it cannot be read. The reason is the operator's to see.
    #[error("`{file}` cannot be read: {reason}")]
    Unreadable {
        /// Relative to the policies' directory.
        file: String,
        /// What the system said.
        reason: String,
    },
}

impl Policies {
    /// Compiles every repository. `read` gives a file's text by its path relative to the policies' directory. A
    /// repository whose file is missing or broken is kept: its jobs are told so.
    pub fn load(operator: &Operator, read: impl Fn(&str) -> io::Result<String>) -> Self {
        let mut by_issuer: HashMap<String, HashMap<String, Repository>> = HashMap::new();
        for registration in &operator.repositories {
            let bounds = Bounds {
                ceiling: &registration.ceiling,
                issuers: &operator.issuers,
                databases: &operator.databases,
            };
            let file = registration.file.clone();
            let policy = match read(&file) {
                Ok(text) => Ok(compile::compile(&text, AUTHOR_PATH, &bounds)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoPolicy::Missing { file }),
                Err(error) => Err(NoPolicy::Unreadable {
                    file,
                    reason: error.to_string(),
                }),
            };
            by_issuer.entry(registration.issuer.clone()).or_default().insert(
                registration.repository_id.clone(),
                Repository {
                    registration: registration.clone(),
                    policy,
                },
            );
        }
        Self { by_issuer }
    }

    /// The repository of this immutable id at this issuer.
    pub fn repository(&self, issuer: &str, repository_id: &str) -> Option<&Repository> {
        self.by_issuer.get(issuer)?.get(repository_id)
    }

    /// Every repository, in no order.
    pub fn repositories(&self) -> impl Iterator<Item = &Repository> {
        self.by_issuer.values().flat_map(HashMap::values)
    }
}

impl Repository {
    /// What bounds it.
    pub fn ceiling(&self) -> &Arc<Ceiling> {
        &self.registration.ceiling
    }

    /// Everything found in its file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        self.policy.as_ref().map_or(&[], |compiled| &compiled.diagnostics)
    }

    /// True when its file is there and every scope of it stands.
    pub fn sound(&self) -> bool {
        self.policy.is_ok() && !failed(self.diagnostics())
    }
}
