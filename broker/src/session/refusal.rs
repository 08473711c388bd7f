//! Refusing one statement so that the client ends up exactly where PostgreSQL's own error would leave it: the server
//! is given a statement that is valid and fails in analysis, and only the error that carries our nonce is replaced.

use std::rc::Rc;

use super::prepared::NotRead;
use crate::base::id::SessionId;
use crate::decide::Denial;
use crate::wire::answer::Complaint;

/// The name no function has.
#[derive(Debug, Clone)]
pub struct Nonce(Rc<str>);

impl Nonce {
    /// The nonce of session `id`: the session's own 128-bit name, which the job is never told.
    pub fn fresh(id: SessionId) -> Self {
        Self(format!("hoop_denied_{}", id.to_string().trim_start_matches("session_")).into())
    }

    /// The statement that fails.
    pub fn failing(&self) -> String {
        format!("SELECT pg_catalog.{}()", self.0)
    }

    /// A prepared statement or portal that does not exist.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// True when `message` is the failing statement's own error.
    pub fn made(&self, message: &str) -> bool {
        message.contains(&*self.0)
    }
}

/// The error of a denied statement.
pub fn denied(denial: &Denial) -> Complaint {
    Complaint {
        severity: "ERROR",
        sqlstate: denial.sqlstate(),
        message: denial.message(),
        detail: Some(denial.detail.clone()),
        hint: Some(denial.hint.clone()),
    }
}

/// The error of a text that could not be read.
pub fn not_read(fault: &NotRead) -> Complaint {
    let mut complaint = denied(&fault.denial);
    complaint.sqlstate = fault.sqlstate;
    complaint
}

/// The error of a name the session does not know, with PostgreSQL's own SQLSTATE.
pub fn unknown_name(sqlstate: &'static str, what: &str, name: &str) -> Complaint {
    let message = match (what, name) {
        ("prepared statement", "") => "unnamed prepared statement does not exist".to_owned(),
        _ => format!("{what} \"{name}\" does not exist"),
    };
    Complaint::error(sqlstate, message)
}

/// A refusal about to be sent: ours, or PostgreSQL's own error for a name that does not exist.
#[derive(Debug)]
pub struct Refused {
    /// The judge's denial, when it was the judge's.
    pub denial: Option<Denial>,
    /// What the client sees.
    pub complaint: Complaint,
}

impl Refused {
    /// The judge's.
    pub fn by(denial: Denial) -> Box<Self> {
        Box::new(Self {
            complaint: denied(&denial),
            denial: Some(denial),
        })
    }
}
