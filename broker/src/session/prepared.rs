//! What the session knows by name, and the decisions it keeps.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::decide::{Decision, Denial, Permit, judge};
use crate::policy::Scope;
use crate::sql::{self, Class, Snapshot, Unreadable};

/// Decisions kept per runtime, by count and by bytes of SQL text.
const MAX_ENTRIES: usize = 8192;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A longer text is rarely sent twice.
const MAX_TEXT: usize = 8 * 1024;

/// A text, read and judged under one scope against one schema version.
#[derive(Debug)]
pub struct Judged {
    /// The schema version it was judged against.
    pub version: u64,
    /// Its statements in order; empty for an empty text.
    pub statements: Vec<JudgedStatement>,
    /// Set when the text could not be read at all.
    pub unreadable: Option<NotRead>,
}

/// Why a text was not read.
#[derive(Debug)]
pub struct NotRead {
    /// The SQLSTATE the client sees: 42601 for a syntax error, 42501 otherwise.
    pub sqlstate: &'static str,
    /// The refusal.
    pub denial: Denial,
}

/// One statement of a text.
#[derive(Debug)]
pub struct JudgedStatement {
    /// Where it stands in the text, in bytes.
    pub span: std::ops::Range<usize>,
    /// Its class.
    pub class: Class,
    /// What becomes of it.
    pub decision: Decision,
}

/// A prepared statement or portal.
#[derive(Debug)]
pub struct Prepared {
    /// Its SQL text, judged again when the schema moved.
    pub text: Rc<str>,
    /// Its number in the session's record.
    pub number: u64,
    /// The judgement at the time it was made.
    pub judged: Rc<Judged>,
}

impl Prepared {
    /// Its permit; `None` for an empty text, which runs nothing.
    pub fn permit(&self) -> Option<&Permit> {
        match self.judged.statements.first().map(|statement| &statement.decision) {
            Some(Decision::Allow(permit)) => Some(permit),
            Some(Decision::Deny(_)) | None => None,
        }
    }
}

/// Decisions by (scope, schema version, exact text).
#[derive(Debug, Default)]
pub struct DecisionCache {
    books: HashMap<(Arc<str>, u64), Book>,
    entries: usize,
    bytes: usize,
}

type Book = HashMap<Box<str>, Rc<Judged>>;

impl DecisionCache {
    /// Reads and judges `text`, or recalls the decision.
    pub fn judge(&mut self, text: &str, scope: &Scope, snapshot: &Snapshot) -> Rc<Judged> {
        let key = (scope.digest.clone(), snapshot.version);
        if let Some(judged) = self.books.get(&key).and_then(|book| book.get(text)) {
            return judged.clone();
        }
        let judged = Rc::new(read_and_judge(text, scope, snapshot));
        if text.len() <= MAX_TEXT {
            if self.entries >= MAX_ENTRIES || self.bytes >= MAX_BYTES {
                *self = Self::default();
            }
            self.entries += 1;
            self.bytes += text.len();
            self.books.entry(key).or_default().insert(text.into(), judged.clone());
        }
        judged
    }
}

/// Reads and judges `text`. Pure; may take long for a long text.
pub fn read_and_judge(text: &str, scope: &Scope, snapshot: &Snapshot) -> Judged {
    let version = snapshot.version;
    match sql::read(text, snapshot) {
        Ok(statements) => Judged {
            version,
            statements: statements
                .iter()
                .map(|statement| JudgedStatement {
                    span: statement.span.clone(),
                    class: statement.class,
                    decision: judge::judge(statement, scope),
                })
                .collect(),
            unreadable: None,
        },
        Err(unreadable) => {
            let sqlstate = if matches!(unreadable, Unreadable::Syntax { .. }) {
                "42601"
            } else {
                "42501"
            };
            let denial = judge::denied_unreadable(&unreadable, scope);
            Judged {
                version,
                statements: Vec::new(),
                unreadable: Some(NotRead { sqlstate, denial }),
            }
        }
    }
}
