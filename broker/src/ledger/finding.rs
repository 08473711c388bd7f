//! What a check of the ledger found wrong, naming the record.

use std::fmt;

use serde::Serialize;

/// Where the ledger is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Finding {
    /// What is wrong.
    pub trouble: Trouble,
    /// The segment's number, when the trouble is inside one.
    pub segment: Option<u64>,
    /// The line in that segment, from 1.
    pub line: Option<u64>,
    /// The number of the record that should stand there.
    pub seq: Option<u64>,
    /// The session or grant the line names, as far as it can be read.
    pub id: Option<String>,
}

/// The ways a ledger is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The line's hash is not the hash of its content and the line before it.
    Altered,
    /// The line is not a chain line at all.
    Malformed,
    /// Records are missing before this line.
    Missing {
        /// The number the line carries.
        found: u64,
    },
    /// The line carries a number that was already there: inserted, repeated or moved.
    Repeated {
        /// The number the line carries.
        found: u64,
    },
    /// A whole segment is not there.
    SegmentMissing,
    /// The chain ends before the head.
    Truncated {
        /// The record the head names.
        head: u64,
    },
    /// The chain has the head's record, with another hash, or at another place.
    OtherHead,
    /// There is a chain and no head, or one that cannot be read.
    HeadMissing,
    /// There is no ledger.
    Absent,
    /// The operating system would not let it be read.
    Unreadable {
        /// What it said.
        why: String,
    },
}

impl Finding {
    /// A finding about the ledger as a whole.
    pub fn of(trouble: Trouble) -> Self {
        Self {
            trouble,
            segment: None,
            line: None,
            seq: None,
            id: None,
        }
    }

    /// The operating system's refusal as a finding.
    pub fn unreadable(what: &str, error: &std::io::Error) -> Self {
        Self::of(Trouble::Unreadable {
            why: format!("{what}: {error}"),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(segment) = self.segment {
            write!(f, "chain/{segment:08}.log")?;
            if let Some(line) = self.line {
                write!(f, " line {line}")?;
            }
        } else {
            f.write_str("ledger")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", record {seq}")?;
        }
        if let Some(id) = &self.id {
            write!(f, " ({})", super::render::visible(id))?;
        }
        f.write_str(": ")?;
        match &self.trouble {
            Trouble::Altered => f.write_str("the record or its hash was altered"),
            Trouble::Malformed => f.write_str("the line is not a ledger line"),
            Trouble::Missing { found } => {
                write!(f, "records are missing: the line that follows is record {found}")
            }
            Trouble::Repeated { found } => {
                write!(f, "a line was inserted, repeated or moved: it is record {found}")
            }
            Trouble::SegmentMissing => f.write_str("the segment is missing"),
            Trouble::Truncated { head } => {
                write!(
                    f,
                    "the chain ends here, but the head names record {head}: its end was cut off"
                )
            }
            Trouble::OtherHead => f.write_str("the head names another record than the one that stands here"),
            Trouble::HeadMissing => f.write_str("the HEAD file is missing or cannot be read"),
            Trouble::Absent => f.write_str("there is no ledger here"),
            Trouble::Unreadable { why } => write!(f, "cannot be read: {why}"),
        }
    }
}
