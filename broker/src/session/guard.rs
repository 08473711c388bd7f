//! Limits on one statement. A statement that a limit watches runs alone: nothing behind it leaves before its end has been
//! looked at, so that whatever follows (the commit above all) can still be stopped.
//!
//! * `max-rows`, `max-bytes`: rows are counted by their frames as they pass. The first one too many is dropped, the
//!   statement is cancelled, and its end becomes the refusal. So it is with a row that is too large for `detect`.
//! * `max-affected-rows`: the rows written are counted by the server itself, before and after; a statement over the limit
//!   is followed by one that fails, inside the same transaction.
//!
//! Either way the server is left exactly where an error of the statement would leave it.

use std::collections::{HashMap, HashSet};

use bytes::{Buf, BytesMut};
use tokio::task::JoinHandle;

use super::pending::{Expect, Run};
use super::{Copy, End, Session, refusal};
use crate::decide::limit::{self, Watch};
use crate::decide::{Denial, Permit};
use crate::policy::{Limit, Limits};
use crate::upstream::cut;
use crate::wire::answer::Complaint;
use crate::wire::frame::{self, HEADER, Head};
use crate::wire::{backend, frontend};

/// Rows written so far in this transaction by this session: inserted, updated and deleted, in tables that stay (not in
/// temporary ones, and without the chunks of TOAST). Only differences mean anything. Every name is qualified. A snapshot of
/// REPEATABLE READ does not show a partition that others made since; what was written to it is locked, and locks show.
const WRITTEN: &str = "SELECT CASE pg_catalog.current_setting('track_counts') WHEN 'on' THEN (\
    SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) \
    OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) \
    OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)), 0)::pg_catalog.text \
    FROM (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind OPERATOR(pg_catalog.=) 'r' \
    AND c.relpersistence OPERATOR(pg_catalog.<>) 't' \
    UNION ALL SELECT l.relation FROM pg_catalog.pg_locks l \
    WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.mode OPERATOR(pg_catalog.=) 'RowExclusiveLock' \
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) l.relation)) c) ELSE 'off' END";

/// Portals and cursors whose results are counted one by one.
const MAX_NAMES: usize = 10_000;

/// What a result has brought so far.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    rows: u64,
    bytes: u64,
}

/// The server's count of written rows, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Rows(u64),
    NotCounted,
}

/// A completed statement whose client has not been told yet.
#[derive(Debug)]
pub struct Held {
    run: Run,
    tag: String,
    rows: u64,
    /// The server's message.
    message: BytesMut,
}

impl Held {
    /// The execution, for the record of a session that ends.
    pub fn run(self) -> Run {
        self.run
    }
}

/// A cancel of the broker's own.
#[derive(Debug)]
pub struct Stop {
    /// Done when the server has got the signal.
    asked: JoinHandle<()>,
    /// What the client reads in place of the server's own words.
    complaint: Complaint,
}

/// The statement that runs alone, if one does.
#[derive(Debug, Default)]
pub struct Guard {
    watch: Option<Watch>,
    /// Results of named portals and cursors, over all of their executions.
    tallies: HashMap<String, Tally>,
    tally: Tally,
    /// Cursors that were declared BINARY.
    binary_cursors: HashSet<String>,
    /// The portal or cursor the running statement reads; `None` for the unnamed.
    name: Option<String>,
    /// The count before the statement: asked for, then known.
    wanted: bool,
    before: Option<Written>,
    /// The statement has completed.
    held: Option<Held>,
    /// Its result was cut.
    cut: Option<Box<Denial>>,
    /// The result is a COPY in binary format, which ends with a trailer that is no row.
    binary: bool,
}

impl Guard {
    /// True while a watched statement runs or is being looked at: nothing else of the client's may leave.
    pub fn holds(&self) -> bool {
        self.watch.is_some()
    }

    /// True when the server's count before the next statement has been asked for.
    pub fn wants_count(&self) -> bool {
        self.wanted
    }

    /// The statement that waits to be looked at, for the record of a session that ends.
    pub fn take_held(&mut self) -> Option<Run> {
        self.held.take().map(Held::run)
    }

    /// A portal or cursor of this name is a new one.
    pub fn forget(&mut self, name: &str) {
        self.tallies.remove(name);
    }

    /// A cursor of this name is declared, with rows in binary format or as texts.
    pub fn declares(&mut self, name: &str, binary: bool) {
        self.forget(name);
        self.binary_cursors.remove(name);
        if binary && self.binary_cursors.len() < MAX_NAMES {
            self.binary_cursors.insert(name.to_owned());
        }
    }

    /// Whether the rows of the cursor of this name come in binary format.
    pub fn is_binary(&self, cursor: &str) -> bool {
        self.binary_cursors.contains(cursor)
    }

    /// What was counted after the last statement, if that still stands.
    pub fn take_before(&mut self) -> Option<Written> {
        self.before.take()
    }

    /// Something ran that was not counted, or the transaction is over: what was counted before says nothing any more.
    pub fn miscounted(&mut self) {
        self.before = None;
    }

    /// One more row of the result. The limit it breaks, when it does.
    fn admits(&mut self, head: Head, limits: &Limits) -> Option<Broken> {
        // A binary COPY ends with two bytes of its own.
        let trailer = self.binary && head.tag == b'd' && head.total == HEADER + 2;
        self.tally.rows += u64::from(!trailer);
        self.tally.bytes += u64::try_from(head.total).unwrap_or(u64::MAX);
        let over = |limit: &Option<Limit<u64>>, count| limit.as_ref().is_some_and(|limit| count > limit.value);
        if over(&limits.max_rows, self.tally.rows) {
            Some(Broken::Rows)
        } else if over(&limits.max_bytes, self.tally.bytes) {
            Some(Broken::Bytes)
        } else {
            None
        }
    }

    fn done(&mut self) {
        if let Some(name) = self.name.take() {
            self.tallies.insert(name, self.tally);
        }
        self.watch = None;
        self.cut = None;
        self.binary = false;
    }
}

enum Broken {
    Rows,
    Bytes,
}

impl<C> Session<C> {
    /// What the scope's limits ask for of a statement.
    pub(super) fn watch(&self, permit: &Permit) -> Watch {
        // In a failed transaction nothing runs but its end; nothing else is let through by the server.
        if self.is_in_failed_block() {
            return Watch::NOTHING;
        }
        Watch::of(permit, &self.grant.scope)
    }

    /// A statement that changes something, or ends a transaction, is about to be sent: unless it is counted itself, what
    /// was counted before says nothing any more.
    pub(super) fn uncounted_change(&mut self, permit: &Permit) {
        if !self.watch(permit).writes {
            self.guard.miscounted();
        }
    }

    /// True when a watched statement may be sent now; otherwise the session comes to rest first.
    pub(super) fn may_run_alone(&mut self, watch: Watch) -> bool {
        if watch.commits && !self.may_commit() {
            return false;
        }
        if !watch.runs_alone() {
            return true;
        }
        if !self.pending.is_empty() || self.parting.is_some() {
            self.wait_for_view();
            return false;
        }
        if watch.writes && self.guard.before.is_none() {
            self.guard.wanted = true;
            self.waiting = true;
            return false;
        }
        true
    }

    /// False when the statement of an Execute runs alone, and the session must come to rest before it, or when it must
    /// be read again elsewhere.
    pub(super) fn execute_may_go(&mut self, head: Head) -> Result<bool, End> {
        let body = frame::body(&self.inbound, head.total).map_err(End::Protocol)?;
        let portal = frontend::execute(body).map_err(End::Protocol)?;
        if self.portal_is_unsettled(portal) {
            self.wait_for_view();
            return Ok(false);
        }
        let Some(prepared) = self.find_portal(portal) else {
            return Ok(true);
        };
        let Some(judged) = self.current(&prepared) else {
            return Ok(false);
        };
        let watch = judged
            .first_permit()
            .map_or(Watch::NOTHING, |permit| self.watch(permit));
        if !self.may_run_alone(watch) {
            return Ok(false);
        }
        if self.execute_wants_owner(head) {
            self.wait_for_view();
            return Ok(false);
        }
        Ok(true)
    }

    /// True for what may reach a statement that runs alone: its COPY data, and the Sync that the server ignores then.
    pub(super) fn belongs_to_running(&self, tag: u8) -> bool {
        let copying = matches!(self.copy, Copy::Open { begun: true, .. });
        matches!(tag, b'd' | b'c' | b'f' | b'X') || (copying && matches!(tag, b'S' | b'H'))
    }

    /// A watched statement was sent. `name` is the portal or cursor it reads.
    pub(super) fn runs_alone(&mut self, watch: Watch, name: &str) {
        if !watch.runs_alone() {
            return;
        }
        if watch.writes {
            self.commit.writes();
        }
        self.guard.name = (!name.is_empty()).then(|| {
            let known = self.guard.tallies.len() < MAX_NAMES || self.guard.tallies.contains_key(name);
            // A job that goes through names without end shares one tally among them.
            if known { name.to_owned() } else { String::new() }
        });
        let tally = self.guard.name.as_ref().and_then(|name| self.guard.tallies.get(name));
        self.guard.tally = tally.copied().unwrap_or_default();
        self.guard.watch = Some(watch);
        // The server must answer before the client's Sync.
        let mut flush = BytesMut::new();
        frontend::put_bare(&mut flush, b'H');
        self.link.send_own(flush);
    }

    // === while it runs ===

    /// False when the row (or piece of COPY data) at the head of the server's bytes must not reach the client.
    pub(super) fn row_passes(&mut self, head: Head) -> bool {
        if self.guard.cut.is_some() {
            return false;
        }
        if !self.guard.watch.is_some_and(|watch| watch.result) {
            return true;
        }
        let scope = self.grant.scope.clone();
        let limits = &scope.limits;
        let Some(broken) = self.guard.admits(head, limits) else {
            return true;
        };
        let class = self.running_class();
        let denial = match (broken, &limits.max_rows, &limits.max_bytes) {
            (Broken::Rows, Some(limit), _) => limit::too_many_rows(class, limit, &scope),
            (Broken::Bytes, _, Some(limit)) => limit::too_many_bytes(class, limit, &scope),
            _ => return true,
        };
        self.guard.cut = Some(Box::new(denial));
        false
    }

    /// Cuts the result at a row that is too large to be looked through; `None` where nobody watches it.
    pub(super) fn cut_large(&mut self, most: usize) -> Option<()> {
        self.guard.watch.filter(|watch| watch.result)?;
        let scope = self.grant.scope.clone();
        let line = scope.detect.values().next()?;
        let denial = limit::too_large_a_row(self.running_class(), line, most, &scope);
        self.guard.cut = Some(Box::new(denial));
        Some(())
    }

    /// The server begins to send COPY data, in text (0) or binary (1) format.
    pub(super) fn copy_out_began(&mut self, body: &[u8]) {
        self.guard.binary = body.first() == Some(&1);
    }

    /// True when the result is cut: its end is not the client's to see.
    pub(super) fn is_cut(&self) -> bool {
        self.guard.cut.is_some()
    }

    fn running_class(&self) -> crate::sql::Class {
        self.running().map_or(crate::sql::Class::Select, |run| run.class)
    }

    /// A statement completed: true when the client is not told yet.
    pub(super) fn holds_completion(&mut self, text: &str, tag: u8, body: &[u8]) -> bool {
        let last = self.is_last_step();
        if !self.guard.holds() && !last {
            return false;
        }
        self.drop_copy_ends();
        let run = match self.pending.pop_front() {
            Some(Expect::Execute(run)) => run,
            Some(other) => {
                self.pending.push_front(other);
                return false;
            }
            None => return false,
        };
        self.drop_copy_ends();
        if run.copy.is_some() {
            self.copy = Copy::Idle;
        }
        self.answers += 1;
        let mut message = BytesMut::with_capacity(HEADER + body.len());
        frontend::frame(&mut message, tag, |out| out.extend_from_slice(body));
        let held = Held {
            run,
            tag: text.to_owned(),
            rows: backend::tag_rows(text),
            message,
        };
        if self.guard.holds() {
            self.guard.held = Some(held);
        } else {
            self.parting = Some(held);
        }
        true
    }

    /// The watched statement failed. What the client reads in place of the server's words, when the broker caused it.
    pub(super) fn guarded_failed(&mut self, sqlstate: &str) -> Option<Box<Complaint>> {
        self.guard.before = None;
        if let Some(denial) = self.guard.cut.take() {
            self.note_cut(&denial);
            self.guard.done();
            return Some(Box::new(cut_short(&denial)));
        }
        self.guard.done();
        let stop = self.stop.as_ref()?;
        (sqlstate == "57014").then(|| Box::new(stop.complaint.clone()))
    }

    fn note_cut(&mut self, denial: &Denial) {
        self.note_denied(denial, "");
    }

    // === at its end ===

    /// True when there is something to look at before the session goes on.
    pub(super) fn guard_due(&self) -> bool {
        let ended = self.guard.held.is_some() && self.pending.is_empty();
        let cutting = self.guard.cut.is_some() && self.guard.held.is_none() && self.stop.is_none();
        let stopped = self.stop.is_some() && !self.guard.holds() && self.pending.is_empty();
        ended || cutting || stopped
    }

    /// Looks at a watched statement that has completed, or stops one whose result was cut.
    pub(super) async fn settle(&mut self) -> Result<(), End> {
        if let (Some(denial), None) = (&self.guard.cut, &self.guard.held) {
            let complaint = cut_short(denial);
            if self.stop.is_none() {
                self.stop_running(complaint);
                return Ok(());
            }
        }
        if let Some(stop) = self.stop.take() {
            // From here on the signal has been given: it cannot hit what is sent later.
            let _given = stop.asked.await;
        }
        let Some(held) = self.guard.held.take() else {
            return Ok(());
        };
        if let Some(denial) = self.guard.cut.take() {
            self.guard.before = None;
            self.refuse_held(&held.run, &denial, cut_short(&denial));
            return Ok(());
        }
        let writes = self.guard.watch.is_some_and(|watch| watch.writes);
        let scope = self.grant.scope.clone();
        if let (true, Some(limit)) = (writes, &scope.limits.max_affected_rows) {
            let before = self.guard.before.take();
            let after = match self.written().await? {
                Ok(after) => after,
                Err(error) => {
                    self.fail_held(&held.run, &error);
                    return Ok(());
                }
            };
            let class = held.run.class;
            let denial = match (before, after) {
                (Some(Written::Rows(before)), Written::Rows(after)) => {
                    let count = after.saturating_sub(before);
                    (count > limit.value).then(|| limit::too_many_affected(class, count, limit, &scope))
                }
                _ => Some(limit::uncounted(class, limit, &scope)),
            };
            if let Some(denial) = denial {
                self.refuse_held(&held.run, &denial, refusal::denied(&denial));
                return Ok(());
            }
            self.guard.before = Some(after);
        }
        self.guard.done();
        if self.is_last_step() {
            self.parting = Some(held);
        } else {
            self.tell(held);
        }
        Ok(())
    }

    /// The client is told that a statement completed.
    pub(super) fn tell(&mut self, held: Held) {
        let Held {
            run,
            tag,
            rows,
            message,
        } = held;
        self.succeeded(run, &tag, rows);
        self.log.bytes_out += u64::try_from(message.len()).unwrap_or(u64::MAX);
        self.outbound.extend_from_slice(&message);
    }

    /// The end of a Query's last statement, which the commit did not survive.
    pub(super) fn parting_failed(&mut self, sqlstate: &str) {
        if let Some(held) = self.parting.take() {
            self.log.failed(&held.run, Some(sqlstate));
        }
    }

    /// Makes the server fail where the statement stood, and tells the client why.
    fn refuse_held(&mut self, run: &Run, denial: &Denial, complaint: Complaint) {
        self.log.failed(run, Some(complaint.sqlstate));
        self.note_cut(denial);
        self.guard.done();
        let mut out = BytesMut::new();
        frontend::put_parse(&mut out, self.nonce.name(), &self.nonce.failing());
        frontend::put_bare(&mut out, b'H');
        self.refuse_extended(out, complaint);
    }

    /// The count itself failed, and with it the transaction: the server's words stand for the statement's.
    fn fail_held(&mut self, run: &Run, error: &BytesMut) {
        let body = error.get(HEADER..).unwrap_or_default();
        let sqlstate = backend::report(body).map(|report| report.sqlstate).unwrap_or_default();
        self.log.failed(run, Some(sqlstate));
        self.guard.done();
        self.failed_on_our_own(error);
    }

    /// A query of the broker's own failed in the middle of a pipeline: the client reads the server's words, and the server
    /// drops what comes up to Sync.
    pub(super) fn failed_on_our_own(&mut self, error: &BytesMut) {
        self.outbound.extend_from_slice(error);
        self.server_skips = true;
        self.skipping = true;
    }

    /// Counts what the transaction has written before a statement runs.
    pub(super) async fn count_before(&mut self) -> Result<(), End> {
        self.guard.wanted = false;
        self.pipeline = true;
        match self.written().await? {
            Ok(written) => self.guard.before = Some(written),
            Err(error) => self.failed_on_our_own(&error),
        }
        Ok(())
    }

    pub(super) async fn written(&mut self) -> Result<Result<Written, BytesMut>, End> {
        Ok(match self.own_query(WRITTEN).await? {
            Ok(text) => Ok(text.parse().map_or(Written::NotCounted, Written::Rows)),
            Err(error) => Err(error),
        })
    }

    /// Asks the server to cancel what runs.
    pub(super) fn stop_running(&mut self, complaint: Complaint) {
        let target = self.link.cut();
        let asked = tokio::spawn(async move {
            if let Err(error) = cut::cancel(&target).await {
                tracing::warn!(database = %target.target.name, error = %error, "a statement over its limit could not be cancelled");
            }
        });
        self.stop = Some(Stop { asked, complaint });
    }

    /// Drops what has come of a message that the client must not see.
    pub(super) fn discard(&mut self, inbound: &mut BytesMut) {
        let here = self.server_discard.min(inbound.len());
        inbound.advance(here);
        self.server_discard -= here;
    }
}

/// The refusal of a result that was cut.
fn cut_short(denial: &Denial) -> Complaint {
    Complaint {
        sqlstate: "54000",
        ..refusal::denied(denial)
    }
}
