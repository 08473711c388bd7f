//! References to secrets: `env:NAME` and `file:/path`. A literal in the configuration is refused before it is used.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;

/// Larger than any key or password; a reference to a device or a log must not fill the memory.
const MAX_FILE: u64 = 256 * 1024;

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file; one newline at its end is not part of the secret.
    File(PathBuf),
}

/// Why a reference gives no secret. The text that was written is never repeated: it may be the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// The value is no reference.
    #[error("a literal secret in the configuration")]
    Literal,
    /// A store that is not built.
    #[error("`vault:` references are not supported yet")]
    Unsupported,
    /// The reference names nothing.
    #[error("the reference `{0}` names nothing")]
    Nothing(&'static str),
    /// The variable is not set, or not text.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// What was found is empty.
    #[error("{0} is empty")]
    Empty(String),
}

impl Fault for SecretFault {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Literal => "literal-secret",
            Self::Unsupported => "not-yet-enforced",
            Self::Nothing(_) | Self::NotSet(_) | Self::Unreadable { .. } | Self::Empty(_) => "secret-missing",
        }
    }

    fn public(&self) -> Cow<'_, str> {
        Cow::Borrowed("the broker's configuration is wrong")
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::Literal | Self::Unsupported | Self::Nothing(_) => {
                "write `env:NAME` or `file:/absolute/path` and put the secret there; a secret that stood here is \
                 known to everybody who can read the file: change it"
            }
            Self::NotSet(_) => "set the variable in the broker's environment",
            Self::Unreadable { .. } => "check that the file exists and that the broker's user may read it",
            Self::Empty(_) => "put the secret there",
        }))
    }
}

impl Reference {
    /// Reads `env:NAME` or `file:/path`.
    pub fn parse(text: &str) -> Result<Self, SecretFault> {
        if let Some(name) = text.strip_prefix("env:") {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(SecretFault::Nothing("env:"));
            }
            return Ok(Self::Env(name.to_owned()));
        }
        if let Some(path) = text.strip_prefix("file:") {
            if path.is_empty() || path.contains('\0') {
                return Err(SecretFault::Nothing("file:"));
            }
            return Ok(Self::File(PathBuf::from(path)));
        }
        if text.starts_with("vault:") {
            return Err(SecretFault::Unsupported);
        }
        Err(SecretFault::Literal)
    }

    /// Fetches the secret.
    pub fn fetch(&self) -> Result<Secret, SecretFault> {
        let (text, place) = match self {
            Self::Env(name) => {
                let text = std::env::var(name).map_err(|_| SecretFault::NotSet(name.clone()))?;
                (text, format!("the environment variable {name}"))
            }
            Self::File(path) => (read(path)?, path.display().to_string()),
        };
        // `echo secret > file` and most editors end a file with a newline.
        let trimmed = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        if trimmed.is_empty() {
            return Err(SecretFault::Empty(place));
        }
        Ok(Secret::new(trimmed.to_owned()))
    }
}

fn read(path: &Path) -> Result<String, SecretFault> {
    let unreadable = |cause: String| SecretFault::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let found = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !found.is_file() || found.len() > MAX_FILE {
        return Err(unreadable(format!(
            "it is not a plain file of at most {MAX_FILE} bytes"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_unbuilt_stores_are_refused_without_repeating_them() {
        for (text, code) in [
            ("hunter2", "literal-secret"),
            ("", "literal-secret"),
            ("vault:db/creds", "not-yet-enforced"),
            ("env:", "secret-missing"),
            ("file:", "secret-missing"),
        ] {
            let fault = Reference::parse(text).unwrap_err();
            assert_eq!(fault.code(), code, "{text}");
            assert!(!fault.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn one_trailing_newline_of_a_file_is_trimmed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let fetch = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Reference::parse(&format!("file:{}", path.display())).unwrap().fetch()
        };
        assert_eq!(fetch("s3cret\n").unwrap().expose(), "s3cret");
        assert_eq!(fetch("s3cret\n\n").unwrap().expose(), "s3cret\n");
        assert_eq!(fetch(" s3cret").unwrap().expose(), " s3cret");
        assert_eq!(fetch("\n").unwrap_err().code(), "secret-missing");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Reference::File(path).fetch().unwrap_err().code(), "secret-missing");
    }

    #[test]
    fn an_environment_variable_is_read_or_named() {
        assert!(
            !Reference::parse("env:PATH")
                .unwrap()
                .fetch()
                .unwrap()
                .expose()
                .is_empty()
        );
        let fault = Reference::parse("env:HOOP_NO_SUCH_VARIABLE")
            .unwrap()
            .fetch()
            .unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the environment variable HOOP_NO_SUCH_VARIABLE is not set"
        );
    }
}
