//! What a session writes into the ledger: its intents before their bytes leave, its outcomes before the client sees
//! them. Records gather in the runtime's journal and are written once per batch.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::core::Core;
use super::handed::Handed;
use super::pending::Run;
use crate::base::fault::Fault as _;
use crate::base::id::{GrantId, SessionId};
use crate::decide::{Denial, Permit};
use crate::detect::Found;
use crate::grant::Live;
use crate::ledger::{Counts, Record, Rules, Status, capped};
use crate::record::RecordFault;
use crate::sql::{Class, Effect};
use crate::wire::answer::Complaint;

/// One session's hand in the ledger.
#[derive(Debug)]
pub struct Log {
    id: SessionId,
    core: Rc<Core>,
    grant: Arc<Live>,
    /// Something was appended since the last commit.
    dirty: bool,
    /// The batch holds an intent that must be durable before its bytes leave.
    durable: bool,
    statements: u64,
    intents: u64,
    /// Intents up to this one are in the ledger.
    recorded: u64,
    /// Intents up to this one may have reached the server.
    released: u64,
    rows: u64,
    handed: Handed,
    fatal: bool,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

impl Log {
    /// The record of session `id` of `grant` on this runtime's journal.
    pub fn new(id: SessionId, core: Rc<Core>, grant: Arc<Live>) -> Self {
        Self {
            id,
            core,
            grant,
            dirty: false,
            durable: false,
            statements: 0,
            intents: 0,
            recorded: 0,
            released: 0,
            rows: 0,
            handed: Handed::default(),
            fatal: false,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    fn append(&mut self, record: &Record<'_>) {
        self.core.journal.borrow_mut().append(record);
        self.dirty = true;
    }

    /// The session is about to greet its client.
    pub fn opened(
        &mut self,
        grant: GrantId,
        address: &str,
        backend: u32,
        application: Option<&str>,
        tls: Option<&str>,
    ) {
        self.append(&Record::SessionOpened {
            session: self.id,
            grant,
            address: address.into(),
            backend_pid: i32::try_from(backend).unwrap_or_default(),
            application: application.map(Into::into),
            tls: tls.map(Into::into),
        });
    }

    /// The next statement number, for a text that its intents carry themselves.
    pub fn next_statement(&mut self) -> u64 {
        self.statements += 1;
        self.statements
    }

    /// A statement that was prepared: its executions name it by the number returned.
    pub fn statement(&mut self, text: &str, permit: Option<&Permit>) -> u64 {
        let n = self.next_statement();
        if let Some(permit) = permit {
            let (text, cut) = capped(text);
            self.append(&Record::Statement {
                session: self.id,
                n,
                class: permit.class(),
                text,
                cut,
                rules: Rules::Origins(permit.rules()),
            });
        }
        n
    }

    /// An execution about to be sent; returns its number. `text` is given when no `statement` record holds it. `later`:
    /// its effect waits for a COMMIT, whose own intent makes this one durable.
    pub fn intent(&mut self, permit: &Permit, number: u64, text: Option<&str>, later: bool) -> u64 {
        self.intents += 1;
        self.durable |= (permit.effect() == Effect::Change && !later) || self.core.house.strict;
        let (text, cut) = text.map_or((None, None), |text| {
            let (text, cut) = capped(text);
            (Some(text), cut)
        });
        let simple = text.is_some();
        self.append(&Record::Intent {
            session: self.id,
            i: self.intents,
            n: (!simple).then_some(number),
            params: None,
            class: simple.then(|| permit.class()),
            text,
            cut,
            rules: if simple {
                Rules::Origins(permit.rules())
            } else {
                Rules::default()
            },
        });
        self.intents
    }

    /// How many rows an execution of `class` has given the client, of which the server told `told`: it tells none where a
    /// portal is suspended, and all of them where one of INSERT … RETURNING goes on.
    pub fn received(&self, class: Class, told: u64) -> u64 {
        match (class, self.handed.rows) {
            // A header is handed out as well; lines of a plan are no rows.
            (Class::CopyOut | Class::Explain, _) | (_, 0) => told,
            (_, handed) => handed,
        }
    }

    /// An execution the server completed.
    pub fn succeeded(&mut self, run: &Run, tag: &str, rows: u64) {
        self.rows += rows;
        self.outcome(run, Status::Ok, Some(tag), Some(rows), None);
    }

    /// One more row, or piece of COPY data, of the statement at hand goes to the client.
    pub fn handed_out(&mut self) {
        self.handed.rows += 1;
    }

    /// What was found in the texts of the statement at hand.
    pub fn found(&mut self) -> &mut Found {
        &mut self.handed.found
    }

    /// An execution the server failed (`Some(sqlstate)`), or skipped because an earlier one failed.
    pub fn failed(&mut self, run: &Run, sqlstate: Option<&str>) {
        match sqlstate {
            // query_canceled and admin_shutdown are ends, not failures of the statement.
            Some(code @ ("57014" | "57P01")) => self.outcome(run, Status::Cancelled, None, None, Some(code)),
            Some(code) => self.outcome(run, Status::Error, None, None, Some(code)),
            None => self.outcome(run, Status::Skipped, None, None, None),
        }
    }

    /// An execution whose answer nobody waits for any more: cancelled, or never sent. One whose intent could not be
    /// recorded was not sent either, and leaves no trace.
    pub fn abandoned(&mut self, run: &Run) {
        if run.intent <= self.released {
            self.outcome(run, Status::Cancelled, None, None, None);
        } else if run.intent <= self.recorded {
            self.outcome(run, Status::Skipped, None, None, None);
        }
    }

    /// Everything recorded so far is free to leave.
    pub fn released(&mut self) {
        self.released = self.recorded;
    }

    fn outcome(&mut self, run: &Run, status: Status, tag: Option<&str>, rows: Option<u64>, sqlstate: Option<&str>) {
        // What failed in the middle has given rows before.
        let before_end = self.received(run.class, 0);
        let rows = rows.or_else(|| (before_end > 0).then_some(before_end));
        if status != Status::Ok {
            self.rows += before_end;
            self.grant.totals.count_rows(before_end);
        }
        let masked = self.handed.masked(run, status, rows);
        self.grant.totals.count_masked(&masked);
        let found = std::mem::take(&mut self.handed.found);
        let detected: Counts = found.counts().map(|(kind, count)| (kind.to_string(), count)).collect();
        self.grant.totals.count_detected(&detected);
        let micros = u64::try_from(run.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.append(&Record::Outcome {
            session: self.id,
            i: run.intent,
            status,
            tag: tag.map(Into::into),
            rows,
            sqlstate: sqlstate.map(Into::into),
            masked,
            detected,
            micros,
        });
    }

    /// A statement that is not sent.
    pub fn denied(&mut self, denial: &Denial, text: &str) {
        let (text, cut) = capped(text);
        let origin = denial.origin.to_string();
        self.append(&Record::Denied {
            session: self.id,
            n: None,
            code: denial.code.into(),
            origin: origin.into(),
            asked: denial.asked.as_str().into(),
            text,
            cut,
        });
    }

    /// The session is over.
    pub fn closed(&mut self, why: &str) {
        self.append(&Record::SessionClosed {
            session: self.id,
            why: why.into(),
            statements: self.intents,
            rows: self.rows,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        });
        if let Err(fault) = self.commit() {
            // The journal keeps what is owed and writes it when it can.
            tracing::error!(error = %fault, "a session's end could not be recorded yet");
        }
    }

    /// Writes the batch. When it holds a change, what to wait for before its bytes may leave.
    pub fn commit(&mut self) -> Result<Option<impl Future<Output = Result<(), RecordFault>> + 'static>, RecordFault> {
        if !self.dirty {
            return Ok(None);
        }
        self.dirty = false;
        let durable = std::mem::take(&mut self.durable);
        let mut journal = self.core.journal.borrow_mut();
        let mark = journal.commit()?;
        self.recorded = self.intents;
        Ok(durable.then(|| journal.synced(mark)))
    }

    /// The server said a fatal error itself: the client needs none from us.
    pub fn note_fatal(&mut self) {
        self.fatal = true;
    }

    /// Whether it did.
    pub fn saw_fatal(&self) -> bool {
        self.fatal
    }
}

/// What a client sees when its statements cannot be recorded, and so were not sent.
pub fn unrecorded(fault: &RecordFault) -> Complaint {
    let sqlstate = if fault.code() == "ledger-full" {
        "53100"
    } else {
        "58030"
    };
    Complaint::fatal(sqlstate, format!("nothing was sent to the database: {}", fault.public()))
        .hint("the broker records every statement before it is sent; ask the operator to look at its ledger, then connect again")
}

/// What a client sees when its statement was sent and its outcome cannot be recorded: it may have run.
pub fn outcome_unrecorded(fault: &RecordFault) -> Complaint {
    let text = format!(
        "what was sent may have run, its outcome could not be recorded: {}",
        fault.public()
    );
    Complaint::fatal("08007", text)
        .hint("look at the data before sending it again; ask the operator to look at the ledger")
}
