//! What the client sends: judged, recorded, staged for the server, or refused.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;

use super::anew::Told;
use super::pending::{Expect, Run};
use super::prepared::{Judged, JudgedStatement, Prepared, Text};
use super::refusal::Refused;
use super::{BACKLOG, Copy, End, Onward, Session, refusal, values};
use crate::decide::Permit;
use crate::sql::{Barrier, Class, Effect, Names};
use crate::wire::WireFault;
use crate::wire::answer::Complaint;
use crate::wire::frame::{self, Head, client_streams};
use crate::wire::frontend::{self, Target};

/// The names at the head of a Bind must fit in this many bytes.
const BIND_NAMES: usize = 4096;
/// Prepared statements and portals one session may hold.
const MAX_NAMES: usize = 10_000;
/// Answers the server may owe before the client is made to wait. More than the server ever holds back by itself.
const MAX_PENDING: usize = 16 * 1024;

/// What became of a message.
enum Taken {
    /// Handled: go on with the next one.
    Done,
    /// It must wait: leave it in the buffer.
    NotYet,
}

impl<C> Session<C> {
    /// Handles every complete message in the inbound buffer, as far as the session may go on.
    pub(super) fn client_frames(&mut self) -> Result<(), End> {
        while !self.waiting
            && self.reading.is_none()
            && self.link.backlog() < BACKLOG
            && self.pending.len() < MAX_PENDING
        {
            if self.client_stream.0 > 0 {
                if self.inbound.is_empty() {
                    break;
                }
                self.stream_on();
                continue;
            }
            let copying = matches!(self.copy, Copy::Open { .. });
            if self.script.is_some() && !copying {
                if self.step_script()? {
                    continue;
                }
                break;
            }
            let Some(head) = Head::peek(&self.inbound, client_streams).map_err(End::Protocol)? else {
                break;
            };
            if self.guard.holds() && !self.belongs_to_running(head.tag) {
                break;
            }
            let taken = match head.tag {
                b'd' => {
                    self.copy_data(head);
                    Taken::Done
                }
                b'B' => self.bind(head)?,
                _ if head.complete(self.inbound.len()) => self.message(head)?,
                _ => Taken::NotYet,
            };
            if matches!(taken, Taken::NotYet) {
                break;
            }
        }
        Ok(())
    }

    fn message(&mut self, head: Head) -> Result<Taken, End> {
        let taking_data = matches!(self.copy, Copy::Open { begun: true, .. } | Copy::Swallow(_));
        if taking_data && !self.skipping && !matches!(head.tag, b'c' | b'f' | b'H' | b'S' | b'X') {
            return Err(End::Protocol(WireFault::Unexpected(char::from(head.tag))));
        }
        let judged_later = matches!(head.tag, b'Q' | b'P' | b'E' | b'F');
        let behind = judged_later && !self.skipping && !self.wardrobe.is_ready() && self.view_is_behind();
        if behind || self.hat_holds(head.tag) {
            self.wait_for_view();
            return Ok(Taken::NotYet);
        }
        let may_go = match head.tag {
            b'E' if !self.skipping => self.execute_may_go(head)?,
            b'S' => self.may_sync(),
            b'D' if !self.skipping => self.describe_may_go(head)?,
            _ => true,
        };
        if !may_go {
            return Ok(Taken::NotYet);
        }
        let message = self.inbound.split_to(head.total);
        let unread = match head.tag {
            b'Q' if !self.skipping => self.query(message)?,
            b'P' if !self.skipping => self.parse(message)?,
            b'E' if !self.skipping => self.execute(message)?,
            tag => {
                self.other_message(tag, message)?;
                None
            }
        };
        if let Some(mut message) = unread {
            // It waits at the head of the buffer until its text was read elsewhere.
            message.unsplit(std::mem::take(&mut self.inbound));
            self.inbound = message;
            return Ok(Taken::NotYet);
        }
        self.read_ahead.clear();
        self.log.bytes_in += u64::try_from(head.total).unwrap_or(u64::MAX);
        Ok(Taken::Done)
    }

    /// A message that carries no text to judge.
    fn other_message(&mut self, tag: u8, message: BytesMut) -> Result<(), End> {
        match tag {
            b'X' => return Err(End::Terminated),
            b'S' => self.sync(message),
            b'c' | b'f' => self.copy_end(message),
            _ if self.skipping => {}
            b'H' => self.link.send_own(message),
            b'D' | b'C' => self.describe_or_close(message)?,
            b'F' => self.function_call(),
            tag => return Err(End::Protocol(WireFault::Unexpected(char::from(tag)))),
        }
        Ok(())
    }

    /// Handles a Query; hands it back when a text must be read elsewhere first.
    fn query(&mut self, message: BytesMut) -> Result<Option<BytesMut>, End> {
        let body = frame::body(&message, message.len()).map_err(End::Protocol)?;
        if matches!(self.copy, Copy::Open { .. }) {
            return Err(End::Protocol(WireFault::Unexpected('Q')));
        }
        let text = match frontend::query(body) {
            Ok(text) => text,
            Err(WireFault::NotUtf8) => {
                let complaint = self.note_not_utf8();
                self.refuse_query("", complaint, Vec::new());
                return Ok(None);
            }
            Err(fault) => return Err(End::Protocol(fault)),
        };
        let Some(judged) = self.judge_all(text) else {
            return Ok(Some(message));
        };
        if let Some(fault) = &judged.unreadable {
            self.note_denied(&fault.denial, text);
            self.refuse_query("", refusal::not_read(fault), Vec::new());
            return Ok(None);
        }
        if self.waits_for_masks(&judged) {
            return Ok(Some(message));
        }
        if self.needs_script(&judged) {
            self.start_script(text, &judged);
            return Ok(None);
        }
        let (number, mut runs) = (self.log.next_statement(), Vec::with_capacity(judged.statements.len()));
        let mut first_permit: Option<Permit> = None;
        for statement in &judged.statements {
            let permit = match self.allowed(statement) {
                Ok(permit) => permit,
                Err(refused) => {
                    let sent = judged.outgoing(text, statement.span.start);
                    self.note_refused(&refused, statement_text(text, statement));
                    if statement.class == Class::CopyIn {
                        return self.refuse_copy_in(&runs, refused.complaint).map(|()| None);
                    }
                    self.refuse_query(&sent, refused.complaint, runs);
                    return Ok(None);
                }
            };
            let run = self.begin(&permit, number, Text::New(statement_text(text, statement)), statement);
            self.note_sent(&permit);
            runs.push(run);
            first_permit.get_or_insert(permit);
        }
        self.pending.push_back(Expect::Query {
            runs,
            ended: 0,
            refusal: None,
        });
        let outgoing = match judged.outgoing(text, text.len()) {
            Cow::Borrowed(_) => message,
            Cow::Owned(other) => {
                let mut out = BytesMut::with_capacity(other.len() + 8);
                frontend::put_query(&mut out, &other);
                out
            }
        };
        match first_permit {
            Some(permit) => self.link.send(&permit, outgoing),
            // An empty text runs nothing; the server answers EmptyQueryResponse.
            None => self.link.send_own(outgoing),
        }
        Ok(None)
    }

    /// Sends the allowed part of a Query with our failing statement behind it.
    pub(super) fn refuse_query(&mut self, allowed: &str, complaint: Complaint, runs: Vec<Run>) {
        let mut out = BytesMut::new();
        frontend::put_query(&mut out, &format!("{allowed}{}", self.nonce.failing()));
        self.pending.push_back(Expect::Query {
            runs,
            ended: 0,
            refusal: Some(Box::new(complaint)),
        });
        // The allowed part was judged and recorded statement by statement just before.
        self.link.send_own(out);
    }

    /// Handles a Parse; hands it back when a text must be read elsewhere first.
    fn parse(&mut self, message: BytesMut) -> Result<Option<BytesMut>, End> {
        let body = frame::body(&message, message.len()).map_err(End::Protocol)?;
        let parse = match frontend::parse(body) {
            Ok(parse) => parse,
            Err(WireFault::NotUtf8) => {
                let complaint = self.note_not_utf8();
                self.refuse_parse("", complaint);
                return Ok(None);
            }
            Err(fault) => return Err(End::Protocol(fault)),
        };
        let Some(judged) = self.judge_all(parse.text) else {
            return Ok(Some(message));
        };
        if let Some(fault) = &judged.unreadable {
            self.note_denied(&fault.denial, parse.text);
            self.refuse_parse(parse.name, refusal::not_read(fault));
            return Ok(None);
        }
        if self.waits_for_masks(&judged) {
            return Ok(Some(message));
        }
        if self.prepared.len() >= MAX_NAMES {
            let complaint = Complaint::fatal("53400", format!("more than {MAX_NAMES} prepared statements"));
            return Err(End::Fatal(Box::new(complaint)));
        }
        // More than one statement in a Parse is the server's own syntax error: it fails there, and nothing runs.
        for statement in &judged.statements {
            if let Err(refused) = self.allowed(statement) {
                self.note_refused(&refused, statement_text(parse.text, statement));
                self.refuse_parse(parse.name, refused.complaint);
                return Ok(None);
            }
        }
        if let Err(refused) = self.declared(&parse) {
            self.note_refused(&refused, parse.text);
            self.refuse_parse(parse.name, refused.complaint);
            return Ok(None);
        }
        let number = self.log.statement(parse.text, judged.first_permit());
        let foreign = parse.has_user_types() || judged.first_permit().is_some_and(Permit::runs_foreign_code);
        let prepared = Rc::new(Prepared {
            text: parse.text.into(),
            number,
            judged,
            foreign,
            declared: parse.declared.into(),
            told: Told::default(),
        });
        self.pending.push_back(Expect::Parse {
            name: parse.name.to_owned(),
            prepared: prepared.clone(),
        });
        self.pipeline = true;
        let outgoing = match prepared.judged.outgoing(parse.text, parse.text.len()) {
            Cow::Borrowed(_) => message,
            Cow::Owned(other) => {
                let mut out = BytesMut::with_capacity(message.len() + other.len());
                frontend::put_parse_of_types(&mut out, parse.name, &other, parse.declared);
                out
            }
        };
        self.send_for(&prepared, outgoing);
        Ok(None)
    }

    fn bind(&mut self, head: Head) -> Result<Taken, End> {
        let have = self.inbound.len().min(head.total);
        let start = self.inbound.get(frame::HEADER..have).unwrap_or_default();
        let (portal, statement) = match frontend::bind(start) {
            Ok((portal, statement)) => (portal.to_owned(), statement.to_owned()),
            Err(_) if have < head.total && have < BIND_NAMES => return Ok(Taken::NotYet),
            Err(fault) => return Err(End::Protocol(fault)),
        };
        if self.skipping {
            self.stream_off(head.total);
            return Ok(Taken::Done);
        }
        // A portal is planned, and its rights looked at, as whoever the session is when it is bound.
        if self.is_unsettled(&statement) || self.hat_holds(b'B') {
            self.wait_for_view();
            return Ok(Taken::NotYet);
        }
        let Some(prepared) = self.find_prepared(&statement) else {
            let unknown = refusal::unknown_name("26000", "prepared statement", &statement);
            return Ok(self.refuse_bind(head, unknown));
        };
        if self.prepares_anew(&statement, &prepared) {
            return Ok(Taken::NotYet);
        }
        if let Some(refused) = self.lost(&prepared) {
            self.note_refused(&refused, &prepared.text);
            return Ok(self.refuse_bind(head, refused.complaint));
        }
        if prepared.permit().is_some_and(|permit| !permit.asks().is_empty()) {
            if have < head.total && head.total <= values::LONGEST {
                return Ok(Taken::NotYet);
            }
            if let Err(refused) = self.judge_values(&prepared, head) {
                self.note_refused(&refused, &prepared.text);
                return Ok(self.refuse_bind(head, refused.complaint));
            }
        }
        if self.portals.len() >= MAX_NAMES {
            return Err(End::Fatal(Box::new(Complaint::fatal(
                "53400",
                format!("more than {MAX_NAMES} portals"),
            ))));
        }
        if prepared.foreign {
            // Taking its values in can run code, before the server looks at the names again.
            self.view.doubt();
        }
        self.pending.push_back(Expect::Bind {
            portal,
            prepared: prepared.clone(),
        });
        self.pipeline = true;
        let taken = self.inbound.split_to(have);
        let onward = prepared
            .permit()
            .map_or(Onward::Own, |permit| Onward::For(permit.clone()));
        self.pass(taken, &onward);
        self.client_stream = (head.total - have, onward);
        Ok(Taken::Done)
    }

    fn refuse_bind(&mut self, head: Head, complaint: Complaint) -> Taken {
        self.stream_off(head.total);
        // The server itself misses a statement of no name there is: before it looks at the transaction's state.
        let mut out = BytesMut::new();
        frontend::put_bind(&mut out, "", self.nonce.name(), false);
        self.refuse_extended(out, complaint);
        Taken::Done
    }

    /// Handles an Execute; hands it back when a text must be read again elsewhere first.
    fn execute(&mut self, message: BytesMut) -> Result<Option<BytesMut>, End> {
        let body = frame::body(&message, message.len()).map_err(End::Protocol)?;
        let portal = frontend::execute(body).map_err(End::Protocol)?.to_owned();
        let Some(prepared) = self.find_portal(&portal) else {
            let mut out = BytesMut::new();
            frontend::put_execute(&mut out, self.nonce.name());
            self.refuse_extended(out, refusal::unknown_name("34000", "portal", &portal));
            return Ok(None);
        };
        let Some(judged) = self.current(&prepared).filter(|judged| self.names_are_current(judged)) else {
            return Ok(Some(message));
        };
        self.pipeline = true;
        if !judged.says_the_same(&prepared.judged) {
            let refused = self.no_longer_masked();
            self.note_refused(&refused, &prepared.text);
            let name = self.nonce.name().to_owned();
            self.refuse_parse(&name, refused.complaint);
            return Ok(None);
        }
        if let Some(fault) = &judged.unreadable {
            // It could be read when it was prepared, and cannot now.
            self.note_denied(&fault.denial, &prepared.text);
            let name = self.nonce.name().to_owned();
            self.refuse_parse(&name, refusal::not_read(fault));
            return Ok(None);
        }
        let Some(statement) = judged.statements.first() else {
            // An empty text: EmptyQueryResponse.
            self.pending.push_back(Expect::Describe(None));
            self.link.send_own(message);
            return Ok(None);
        };
        match self.allowed_now(statement) {
            Ok(permit) => {
                let watch = self.watch(&permit);
                let run = self.begin(&permit, prepared.number, Text::Recorded(&prepared.text), statement);
                self.note_sent(&permit);
                self.wardrobe.executes();
                let describe = self.describe_for_net(&portal);
                self.link.send_own(describe);
                self.pending.push_back(Expect::Execute(run));
                self.link.send(&permit, message);
                let name = match permit.names() {
                    Names::Cursor(name) => name,
                    _ => &portal,
                };
                self.runs_alone(watch, name);
            }
            Err(refused) => {
                self.wardrobe.use_hat();
                self.note_refused(&refused, &prepared.text);
                // Under a name of its own: the client's unnamed statement survives a failing Execute.
                let name = self.nonce.name().to_owned();
                self.refuse_parse(&name, refused.complaint);
            }
        }
        Ok(None)
    }

    fn describe_or_close(&mut self, message: BytesMut) -> Result<(), End> {
        let close = message.first() == Some(&b'C');
        let body = frame::body(&message, message.len()).map_err(End::Protocol)?;
        let expect = match (frontend::target(body).map_err(End::Protocol)?, close) {
            (Target::Portal(name), false) => Expect::Describe(self.find_portal(name)),
            (Target::Statement(name), false) => Expect::Describe(self.find_prepared(name)),
            (Target::Portal(name), true) => Expect::ClosePortal(name.to_owned()),
            (Target::Statement(name), true) => Expect::CloseStatement(name.to_owned()),
        };
        self.pending.push_back(expect);
        self.pipeline = true;
        self.link.send_own(message);
        Ok(())
    }

    fn sync(&mut self, message: BytesMut) {
        self.skipping = false;
        // While the server takes COPY data it ignores Sync; the client sends another one afterwards.
        if matches!(self.copy, Copy::Open { begun: true, .. } | Copy::Swallow(_)) {
            return;
        }
        self.commits();
        self.commit.syncs();
        self.pending.push_back(Expect::Sync);
        self.pipeline = true;
        self.link.send_own(message);
    }

    /// Our failing statement in place of a refused Parse, under the same name: a failing Parse of the unnamed statement
    /// takes the former one with it, one of a named statement does not.
    fn refuse_parse(&mut self, name: &str, complaint: Complaint) {
        let mut out = BytesMut::new();
        frontend::put_parse(&mut out, name, &self.nonce.failing());
        self.refuse_extended(out, complaint);
    }

    /// A message that fails in place of a refused one; what follows up to Sync is dropped, as the server would.
    pub(super) fn refuse_extended(&mut self, failing: BytesMut, complaint: Complaint) {
        self.pending.push_back(Expect::Refusal(Box::new(complaint)));
        self.pipeline = true;
        self.skipping = true;
        self.link.send_own(failing);
    }

    /// FunctionCall runs a function without any SQL text: refused, with the answer a failing one has.
    fn function_call(&mut self) {
        let denial = crate::decide::judge::denied(
            "function-call-message",
            "FunctionCall",
            "the FunctionCall message runs a function without any SQL text that could be judged",
            "call the function in a SELECT instead",
            &self.grant.scope,
        );
        self.note_denied(&denial, "");
        self.refuse_query("", refusal::denied(&denial), Vec::new());
    }

    /// What is to be known when the answer of a statement comes. The record has a text that was parsed already.
    pub(super) fn begin(&mut self, permit: &Permit, number: u64, text: Text<'_>, statement: &JudgedStatement) -> Run {
        let (text, new) = match text {
            Text::New(text) => (text, Some(text)),
            Text::Recorded(text) => (text, None),
        };
        let intent = self
            .log
            .intent(permit, number, new, self.takes_effect_later(statement.class));
        self.block_ends |= ends_block(statement.class);
        let makes = match permit.names() {
            Names::Prepare(name) => Some((
                name.clone(),
                Rc::new(Prepared {
                    text: text.into(),
                    number,
                    judged: Rc::new(Judged {
                        version: self.view.snapshot().version,
                        statements: vec![statement.clone()],
                        unreadable: None,
                    }),
                    foreign: permit.runs_foreign_code(),
                    declared: Box::default(),
                    told: Told::default(),
                }),
            )),
            _ => None,
        };
        self.commit.sends(permit.block(), permit.effect());
        if permit.effect() == Effect::Change || statement.class == Class::Transaction {
            self.uncounted_change(permit);
        }
        if let Names::Declare(name, binary) = permit.names() {
            self.guard.declares(name, *binary);
        }
        let copy = (statement.class == Class::CopyIn).then(|| permit.clone());
        if let Some(permit) = &copy {
            self.copy = Copy::Open {
                permit: permit.clone(),
                begun: false,
            };
        }
        Run {
            intent,
            started: Instant::now(),
            class: statement.class,
            blind: permit.changes_blindly(),
            shows: self.shows(permit),
            copies: permit.copies().cloned(),
            makes,
            copy,
        }
    }

    pub(super) fn note_refused(&mut self, refused: &Refused, text: &str) {
        if let Some(denial) = &refused.denial {
            self.note_denied(denial, text);
        }
    }

    pub(super) fn note_denied(&mut self, denial: &crate::decide::Denial, text: &str) {
        self.grant.totals.deny(denial);
        self.log.denied(denial, text);
    }

    /// The server fails such a text as well; nothing of it is worth keeping.
    fn note_not_utf8(&mut self) -> Complaint {
        let fault = WireFault::NotUtf8;
        let denial = crate::decide::judge::denied(
            "not-utf8",
            "a text that is not UTF-8",
            &fault.to_string(),
            "send UTF-8: the endpoint's client_encoding is pinned to it",
            &self.grant.scope,
        );
        self.note_denied(&denial, "");
        Complaint {
            sqlstate: fault.sqlstate(),
            ..refusal::denied(&denial)
        }
    }

    pub(super) fn note_sent(&mut self, permit: &Permit) {
        if permit.runs_foreign_code() {
            self.view.doubt();
        }
        self.anew.sends(permit);
        match permit.barrier() {
            Barrier::None => {}
            Barrier::Schema => self.view.moved(),
            Barrier::Rollback => self.view.rolled_back(),
            Barrier::Discard => {
                self.view.discarded();
                self.wardrobe.undress();
            }
        }
    }

    fn send_for(&mut self, prepared: &Prepared, message: BytesMut) {
        match prepared.permit() {
            Some(permit) => self.link.send(permit, message),
            None => self.link.send_own(message),
        }
    }
}

fn statement_text<'a>(text: &'a str, statement: &JudgedStatement) -> &'a str {
    text.get(statement.span.clone()).unwrap_or(text)
}

/// Classes after which the transaction block may be over.
fn ends_block(class: Class) -> bool {
    matches!(
        class,
        Class::Transaction | Class::TwoPhase | Class::Call | Class::Do | Class::Prepare
    )
}
