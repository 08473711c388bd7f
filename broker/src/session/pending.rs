//! What the server still owes: one entry per message sent that will be answered, in order.

use std::rc::Rc;
use std::sync::Arc;

use super::Session;
use super::handed::Shows;
use super::prepared::Prepared;
use crate::sql::Copied;
use crate::wire::answer::Complaint;

/// The answer one forwarded message will get.
#[derive(Debug)]
pub enum Expect {
    /// ParseComplete: then the name stands for the statement.
    Parse {
        /// The statement's protocol-level name.
        name: String,
        /// What it names from then on.
        prepared: Rc<Prepared>,
    },
    /// BindComplete: then the portal stands for the statement.
    Bind {
        /// The portal's name.
        portal: String,
        /// What it runs.
        prepared: Rc<Prepared>,
    },
    /// RowDescription or NoData, of this.
    Describe(Option<Rc<Prepared>>),
    /// ParseComplete or BindComplete of a script's step, which the client is not told.
    Quiet,
    /// RowDescription of a script's step, which the client is told; its NoData it is not.
    QuietDescribe,
    /// RowDescription or NoData that the broker asked for itself: the client is told neither.
    OwnDescribe,
    /// CloseComplete; a prepared statement of this name is gone then.
    CloseStatement(String),
    /// CloseComplete; a portal of this name is gone then.
    ClosePortal(String),
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Run),
    /// CopyDone or CopyFail went by: what was sent before it belongs to the COPY.
    CopyEnd,
    /// ReadyForQuery after Sync.
    Sync,
    /// One CommandComplete per statement, then ReadyForQuery.
    Query {
        /// The statements, in order.
        runs: Vec<Run>,
        /// How many have ended.
        ended: usize,
        /// When the last thing in it is our failing statement: what its error becomes.
        refusal: Option<Box<Complaint>>,
    },
    /// Our failing statement in the extended protocol: what its error becomes.
    Refusal(Box<Complaint>),
}

/// One execution of one statement.
#[derive(Debug)]
pub struct Run {
    /// The execution's number in the session's record.
    pub intent: u64,
    /// When it was sent.
    pub started: std::time::Instant,
    /// Its class, for the totals.
    pub class: crate::sql::Class,
    /// An error of it may quote columns that the scope does not read.
    pub blind: bool,
    /// What it shows of masked columns.
    pub shows: Option<Box<Shows>>,
    /// How it writes rows, where it is a COPY … TO.
    pub copies: Option<Arc<Copied>>,
    /// A name that exists from its success on (PREPARE).
    pub makes: Option<(String, Rc<Prepared>)>,
    /// For COPY … FROM STDIN: what lets its data pass.
    pub copy: Option<crate::decide::Permit>,
}

impl Run {
    /// What `name` stands for from its success on.
    fn made(&self, name: &str) -> Option<&Rc<Prepared>> {
        let (made, prepared) = self.makes.as_ref()?;
        (made == name).then_some(prepared)
    }

    /// Takes the run out of its place among the runs of a Query.
    pub fn take(&mut self) -> Self {
        Self {
            intent: self.intent,
            started: self.started,
            class: self.class,
            blind: self.blind,
            shows: self.shows.take(),
            copies: self.copies.take(),
            makes: self.makes.take(),
            copy: self.copy.take(),
        }
    }
}

impl<C> Session<C> {
    /// The execution that the server is at.
    pub(super) fn running(&self) -> Option<&Run> {
        match self.pending.front()? {
            Expect::Execute(run) => Some(run),
            Expect::Query { runs, ended, .. } => runs.get(*ended),
            _ => None,
        }
    }

    /// The statement `name` will stand for when the server gets there: pending messages first, newest first.
    pub(super) fn find_prepared(&self, name: &str) -> Option<Rc<Prepared>> {
        for expect in self.pending.iter().rev() {
            match expect {
                Expect::Parse { name: made, prepared } if made == name => return Some(prepared.clone()),
                Expect::Execute(run) if run.made(name).is_some() => return run.made(name).cloned(),
                Expect::CloseStatement(closed) if closed == name => return None,
                _ => {}
            }
        }
        self.prepared.get(name).cloned()
    }

    /// True when nobody can tell what `name` stands for before the server has answered. What fails takes everything up to
    /// its Sync along: behind that Sync the name may be made, may be what it was before, or may be gone.
    pub(super) fn is_unsettled(&self, name: &str) -> bool {
        let mut ended = false;
        for expect in self.pending.iter().rev() {
            match expect {
                Expect::Query { runs, .. } if runs.iter().any(|run| run.made(name).is_some()) => return true,
                Expect::Sync | Expect::Query { .. } => ended = true,
                Expect::Parse { name: changed, .. } | Expect::CloseStatement(changed) if changed == name => {
                    return ended;
                }
                Expect::Execute(run) if run.made(name).is_some() => return ended,
                _ => {}
            }
        }
        false
    }

    /// The same of a portal, which a transaction keeps beyond a Sync, and beyond an error that a savepoint takes back.
    pub(super) fn portal_is_unsettled(&self, name: &str) -> bool {
        let mut ended = false;
        for expect in self.pending.iter().rev() {
            match expect {
                Expect::Sync | Expect::Query { .. } => ended = true,
                Expect::Bind { portal: changed, .. } | Expect::ClosePortal(changed) if changed == name => return ended,
                _ => {}
            }
        }
        false
    }

    pub(super) fn find_portal(&self, name: &str) -> Option<Rc<Prepared>> {
        for expect in self.pending.iter().rev() {
            match expect {
                Expect::Bind { portal, prepared } if portal == name => return Some(prepared.clone()),
                Expect::ClosePortal(closed) if closed == name => return None,
                _ => {}
            }
        }
        self.portals.get(name).cloned()
    }
}
