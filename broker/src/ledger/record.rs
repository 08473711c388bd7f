//! What the ledger says: one [`Record`] per event, written as one line of JSON.
//!
//! A record borrows its text from whoever writes it, so that the hot path copies nothing but the line itself; the same
//! type, owned, is what is read back. In every record that belongs to a session or a grant that identifier is the first
//! field, so that a reader can filter lines without parsing them ([`super::chain::peek`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::base::id::{GrantId, RequestId, SessionId};
use crate::policy::Origin;
use crate::sql::Class;

/// A statement's text is kept up to here; a longer one is cut and its length and SHA-256 are kept beside it.
pub const TEXT_LIMIT: usize = 64 * 1024;

/// How often, by name.
pub type Counts = BTreeMap<String, u64>;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record<'a> {
    /// An execution that is about to be sent to the database: written before its bytes leave.
    Intent {
        /// The session.
        session: SessionId,
        /// The number of this execution in the session, from 1.
        i: u64,
        /// The statement executed, when it was written before (`statement`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
        /// How many parameters were bound. Their values are never recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<u32>,
        /// For a simple query, the class of the statement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<Class>,
        /// For a simple query, its text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Cow<'a, str>>,
        /// Present when `text` was cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<Cut>,
        /// For a simple query, the policy lines that allowed it.
        #[serde(default, skip_serializing_if = "Rules::is_empty")]
        rules: Rules<'a>,
    },
    /// What became of an execution.
    Outcome {
        /// The session.
        session: SessionId,
        /// The execution.
        i: u64,
        /// How it ended.
        status: Status,
        /// The server's command tag, such as `INSERT 0 3`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<Cow<'a, str>>,
        /// Rows returned or affected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
        /// The server's SQLSTATE when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sqlstate: Option<Cow<'a, str>>,
        /// Masked values by column (`schema.table.column`): for each masked column that the statement reads, the rows that
        /// were handed to the client. Never a value.
        #[serde(default, skip_serializing_if = "Counts::is_empty")]
        masked: Counts,
        /// What was found in texts and replaced, by kind (`card`, `email`, …). Never a value.
        #[serde(default, skip_serializing_if = "Counts::is_empty")]
        detected: Counts,
        /// From sending to the last byte of the answer.
        micros: u64,
    },
    /// A statement the session prepared (Parse), allowed; its executions name it by `n`.
    Statement {
        /// The session.
        session: SessionId,
        /// The number of this statement in the session, from 1.
        n: u64,
        /// Its class.
        class: Class,
        /// Its text, up to [`TEXT_LIMIT`].
        text: Cow<'a, str>,
        /// Present when `text` was cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<Cut>,
        /// The policy lines that allowed it.
        #[serde(default, skip_serializing_if = "Rules::is_empty")]
        rules: Rules<'a>,
    },
    /// A statement that was not sent.
    Denied {
        /// The session.
        session: SessionId,
        /// The statement, when it was allowed as a text and refused later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
        /// The stable code of the denial.
        code: Cow<'a, str>,
        /// The policy line, `path:line`.
        origin: Cow<'a, str>,
        /// What was asked, without literals.
        asked: Cow<'a, str>,
        /// The text, up to [`TEXT_LIMIT`].
        text: Cow<'a, str>,
        /// Present when `text` was cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<Cut>,
    },
    /// A client was let in.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Its grant.
        grant: GrantId,
        /// The client's address.
        address: Cow<'a, str>,
        /// The process id of the backend that serves it.
        backend_pid: i32,
        /// `application_name` as the client gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        application: Option<Cow<'a, str>>,
        /// The TLS version and cipher, when there is TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<Cow<'a, str>>,
    },
    /// A client was turned away before it had a session.
    SessionRefused {
        /// The user name it gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<Cow<'a, str>>,
        /// The stable code.
        code: Cow<'a, str>,
        /// The client's address.
        address: Cow<'a, str>,
    },
    /// A session is over.
    SessionClosed {
        /// The session.
        session: SessionId,
        /// In words: `client left`, `grant revoked`, …
        why: Cow<'a, str>,
        /// Statements sent.
        statements: u64,
        /// Rows, as the command tags count them.
        rows: u64,
        /// Bytes from the client.
        bytes_in: u64,
        /// Bytes to the client.
        bytes_out: u64,
    },
    /// A job's token became a grant.
    GrantMinted(Box<Minted<'a>>),
    /// A job's token did not.
    GrantRefused {
        /// The stable code.
        code: Cow<'a, str>,
        /// The operator's name of the issuer, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<Cow<'a, str>>,
        /// The repository, once the token is verified.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<Cow<'a, str>>,
        /// The scope asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<Cow<'a, str>>,
        /// The caller's address.
        address: Cow<'a, str>,
        /// The request, as the problem document names it.
        request_id: RequestId,
    },
    /// A grant is over.
    GrantEnded {
        /// The grant.
        grant: GrantId,
        /// `revoked`, `expired` or `killed`.
        ending: Cow<'a, str>,
        /// The sentence its sessions were given.
        reason: Cow<'a, str>,
    },
    /// A grant ran out without its job revoking it.
    GrantExpiredUnrevoked {
        /// The grant.
        grant: GrantId,
    },
    /// An operator's kill switch.
    Kill {
        /// A grant, a session, a repository or `everything`.
        target: Cow<'a, str>,
        /// Who pressed it.
        operator: Cow<'a, str>,
        /// Why.
        reason: Cow<'a, str>,
        /// How many grants were ended.
        grants: u64,
    },
    /// The broker began.
    BrokerStarted {
        /// Its version.
        version: Cow<'a, str>,
        /// The identifier of this run; journals carry it in their names.
        boot: Cow<'a, str>,
    },
    /// The broker stopped in order.
    BrokerStopped {
        /// The run that ended.
        boot: Cow<'a, str>,
    },
    /// The first line of a journal file: whose it is, and which executions the file before it left open.
    JournalOpened {
        /// Which of the broker's journals this file continues.
        name: Cow<'a, str>,
        /// Executions whose outcome is still owed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        open: Vec<OpenIntent>,
    },
    /// What a start found left over from a run that did not stop in order.
    Recovered {
        /// The journal, or `chain`. (Not named `journal`: every chain line already has a field of that name.)
        from: Cow<'a, str>,
        /// Records taken over now.
        records: u64,
        /// Bytes of unfinished writes that were cut.
        bytes_cut: u64,
    },
}

/// The record of a grant: who the job is and what it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Minted<'a> {
    /// The grant.
    pub grant: GrantId,
    /// The operator's name of the issuer.
    pub issuer: Cow<'a, str>,
    /// `owner/name`.
    pub repository: Cow<'a, str>,
    /// The immutable id.
    pub repository_id: Cow<'a, str>,
    /// The workflow's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Cow<'a, str>>,
    /// The run or pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Cow<'a, str>>,
    /// Its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_attempt: Option<Cow<'a, str>>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<Cow<'a, str>>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<Cow<'a, str>>,
    /// Who started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Cow<'a, str>>,
    /// The deployment environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Cow<'a, str>>,
    /// What triggered the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// What the grant is for, in the job's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// The scope.
    pub scope: Cow<'a, str>,
    /// The operator's name of the database.
    pub database: Cow<'a, str>,
    /// Who enforces the scope: `role` or `shared`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Cow<'a, str>>,
    /// SHA-256 of the policy file.
    pub policy_sha: Cow<'a, str>,
    /// SHA-256 of everything in the scope that decides.
    pub scope_digest: Cow<'a, str>,
    /// The `who` entry that matched, `path:line`.
    pub matched: Cow<'a, str>,
    /// Microseconds since the epoch: no new connection after this.
    pub expires_at: i64,
    /// Microseconds since the epoch: every session is cut here.
    pub ends_at: i64,
    /// SHA-256 of the token's identifier: recognisable, not reusable.
    pub jti_hash: Cow<'a, str>,
    /// Every claim as the token carried it, but for `jti`.
    pub claims: Cow<'a, Map<String, Value>>,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The server completed it.
    Ok,
    /// The server refused or failed it.
    Error,
    /// It was cancelled, by the client or by the end of the grant.
    Cancelled,
    /// It was never sent, or the server skipped it after an earlier error in the same pipeline.
    Skipped,
    /// The broker died before it saw the answer.
    Unknown,
}

impl Status {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }
}

/// What is kept of a text that was too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The whole text's length.
    pub bytes: u64,
    /// The whole text's SHA-256, hexadecimal.
    pub sha256: String,
}

/// An execution without an outcome yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenIntent {
    /// The session.
    pub session: SessionId,
    /// The execution.
    pub i: u64,
}

/// Policy lines: borrowed origins when written, `path:line` texts when read back.
#[derive(Debug, Clone)]
pub enum Rules<'a> {
    /// As the permit holds them.
    Origins(&'a [Origin]),
    /// As the ledger holds them.
    Texts(Vec<String>),
}

impl Rules<'_> {
    /// True when no line is cited.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Origins(origins) => origins.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
        }
    }

    /// The lines as `path:line`.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Origins(origins) => origins.iter().map(ToString::to_string).collect(),
            Self::Texts(texts) => texts.clone(),
        }
    }
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Self::Origins(&[])
    }
}

impl PartialEq for Rules<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Origins(origins) => serializer.collect_seq(origins.iter().map(AsText)),
            Self::Texts(texts) => texts.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Rules<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::Texts)
    }
}

/// An origin written as `path:line`, without a string in between.
struct AsText<'a>(&'a Origin);

impl Serialize for AsText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl Record<'_> {
    /// True when the record tells of something that has already happened. When the ledger cannot be written, such a
    /// record is kept and written later; any other is dropped, because what it announces is not done.
    pub fn is_owed(&self) -> bool {
        match self {
            Self::Outcome { .. }
            | Self::SessionClosed { .. }
            | Self::GrantEnded { .. }
            | Self::GrantExpiredUnrevoked { .. }
            | Self::Kill { .. }
            | Self::BrokerStopped { .. } => true,
            Self::Intent { .. }
            | Self::Statement { .. }
            | Self::Denied { .. }
            | Self::SessionOpened { .. }
            | Self::SessionRefused { .. }
            | Self::GrantMinted(_)
            | Self::GrantRefused { .. }
            | Self::BrokerStarted { .. }
            | Self::JournalOpened { .. }
            | Self::Recovered { .. } => false,
        }
    }
}

/// A record with its time and its place in the chain, as read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number in the chain, from 1, without gaps.
    pub seq: u64,
    /// Microseconds since the epoch.
    pub t: i64,
    /// What it says.
    pub record: Record<'static>,
}

impl Entry {
    /// Reads the JSON part of a chain line.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Place {
            seq: u64,
            t: i64,
        }
        let Place { seq, t } = serde_json::from_slice(json)?;
        let record = serde_json::from_slice(json)?;
        Ok(Self { seq, t, record })
    }
}

/// The text as the ledger keeps it: whole, or its beginning and a [`Cut`].
pub fn capped(text: &str) -> (Cow<'_, str>, Option<Cut>) {
    if text.len() <= TEXT_LIMIT {
        return (Cow::Borrowed(text), None);
    }
    let mut end = TEXT_LIMIT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = Cut {
        bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
        sha256: hex(&Sha256::digest(text.as_bytes())),
    };
    (Cow::Borrowed(text.get(..end).unwrap_or_default()), Some(cut))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a string does not fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::encode::encode;

    pub(in crate::ledger) fn origins() -> Vec<Origin> {
        vec![Origin {
            path: Arc::from(".hoop/db-access.yaml"),
            line: 22,
            column: 5,
            preset: None,
        }]
    }

    #[test]
    fn a_record_is_one_line_and_reads_back_equal() {
        let origins = origins();
        let record = Record::Statement {
            session: SessionId::fresh(),
            n: 3,
            class: Class::CopyIn,
            text: "select 1;\n\"two\"\u{1b}[2J\u{202e}".into(),
            cut: None,
            rules: Rules::Origins(&origins),
        };
        let mut line = Vec::new();
        encode(&mut line, 17, &record).unwrap();
        assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
        assert!(line.starts_with(br#"{"t":17,"kind":"statement","session":"session_"#));
        let read: Record<'_> = serde_json::from_slice(&line).unwrap();
        assert_eq!(read, record);
        assert!(
            String::from_utf8(line)
                .unwrap()
                .contains(r#""rules":[".hoop/db-access.yaml:22"]"#)
        );
    }

    #[test]
    fn an_intent_of_a_prepared_statement_is_short() {
        let intent = Record::Intent {
            session: SessionId::fresh(),
            i: 1,
            n: Some(1),
            params: None,
            class: None,
            text: None,
            cut: None,
            rules: Rules::default(),
        };
        let mut line = Vec::new();
        encode(&mut line, 1_700_000_000_000_000, &intent).unwrap();
        assert!(line.len() < 110, "{}", line.len());
    }

    #[test]
    fn a_long_text_is_cut_on_a_character_and_its_digest_is_of_the_whole() {
        let text = "é".repeat(TEXT_LIMIT);
        let long = format!("x{text}");
        let (kept, cut) = capped(&long);
        assert!(kept.len() <= TEXT_LIMIT && long.starts_with(&*kept));
        let cut = cut.unwrap();
        assert_eq!(cut.bytes, long.len() as u64);
        assert_eq!(cut.sha256, hex(&Sha256::digest(long.as_bytes())));
        assert_eq!(capped("short"), ("short".into(), None));
    }
}
