//! Why the ledger cannot be written or opened.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::base::fault::{Fault, Kind};
use crate::ledger::Finding;

/// Why the ledger cannot be used. Cloneable, because every session that waited for the same write is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Another broker holds the ledger.
    #[error("the ledger {dir} is in use by another broker ({holder}); each broker needs a state directory of its own")]
    Locked {
        /// The ledger's folder.
        dir: String,
        /// What the lock file says of the holder.
        holder: String,
    },
    /// The ledger is not what it was.
    #[error("the ledger does not verify: {0}")]
    Corrupt(String),
    /// There is no room.
    #[error("the ledger has no room: {doing} {path}: {why}")]
    Full {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: String,
        /// What the operating system said.
        why: String,
    },
    /// Any other refusal of the operating system.
    #[error("the ledger cannot be used: {doing} {path}: {why}")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: String,
        /// What the operating system said.
        why: String,
    },
    /// The chain does not keep up with the journals, so no more is taken.
    #[error("the ledger's chain is {bytes} bytes behind its journals; no more is taken until it has caught up")]
    Behind {
        /// By how much.
        bytes: u64,
    },
    /// A record has no JSON form.
    #[error("a record could not be encoded: {0}")]
    Encoding(String),
    /// The recorder was closed.
    #[error("the ledger is closed: the broker is stopping")]
    Closed,
}

impl RecordFault {
    /// The operating system's refusal of `doing` on `path`.
    pub(super) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        let path = path.display().to_string();
        let why = error.to_string();
        let no_room = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        if no_room.contains(&error.kind()) {
            Self::Full { doing, path, why }
        } else {
            Self::Unavailable { doing, path, why }
        }
    }

    /// The SQLSTATE of the refusal a session sends: `disk_full` or `io_error`.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Full { .. } => "53100",
            _ => "58030",
        }
    }
}

impl From<Finding> for RecordFault {
    fn from(finding: Finding) -> Self {
        Self::Corrupt(finding.to_string())
    }
}

impl Fault for RecordFault {
    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "ledger-locked",
            Self::Corrupt(_) => "ledger-corrupt",
            Self::Full { .. } => "ledger-full",
            Self::Unavailable { .. } | Self::Behind { .. } | Self::Encoding(_) | Self::Closed => "ledger-unavailable",
        }
    }

    fn public(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Locked { .. } => "the broker's ledger is in use by another broker",
            Self::Corrupt(_) => "the broker's ledger does not verify, so nothing is let through",
            Self::Full { .. } => "the broker's disk is full: what cannot be recorded is not sent",
            Self::Unavailable { .. } | Self::Behind { .. } | Self::Encoding(_) => {
                "the broker cannot write its ledger: what cannot be recorded is not sent"
            }
            Self::Closed => "the broker is stopping",
        })
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::Locked { .. } => "stop the other broker, or give this one its own state directory",
            Self::Corrupt(_) => {
                "run `hoop-db ledger verify`; keep the folder as evidence and move it aside to start a new ledger"
            }
            Self::Full { .. } => {
                "free space on the disk of the broker's state directory; it resumes by itself, then try again"
            }
            Self::Unavailable { .. } | Self::Behind { .. } | Self::Encoding(_) => {
                "look at the broker's log and its disk; it resumes by itself, then try again"
            }
            Self::Closed => "try again when the broker is back",
        }))
    }
}
