//! What the server answers: passed on as bytes, matched with what was asked, recorded; our own failing statement's
//! error becomes the refusal.

use bytes::{Buf, BytesMut};

use super::pending::{Expect, Run};
use super::{Copy, End, Session, net};
use crate::wire::answer::Complaint;
use crate::wire::backend::{self, Report};
use crate::wire::frame::{HEADER, Head, server_streams};

/// Settings the judge relies on, as PostgreSQL reports them. Another value would mean that the text that was judged is
/// not the text that runs.
const PINNED: &[(&str, &str)] = &[("client_encoding", "UTF8"), ("standard_conforming_strings", "on")];

/// What a read-only scope relies on besides.
const READ_ONLY: (&str, &str) = ("default_transaction_read_only", "on");

/// A row up to this size is passed on whole, so that a session cut between two rows can still say why. A bigger one is
/// passed on as it comes.
const WHOLE_ROW: usize = 16 * 1024;

/// What becomes of one server message.
pub(super) enum Answer {
    /// It goes to the client as it is.
    Pass,
    /// The client is not told.
    Drop,
    /// The client is not told yet: the session keeps it.
    Keep,
    /// The client sees this instead.
    Replace(Box<Complaint>),
    /// The client sees the server's own words without some of them.
    Less(&'static [u8], Option<&'static str>),
    /// It goes to the client behind what was kept.
    Behind,
    /// It goes to the client behind these bytes.
    After(BytesMut),
    /// It goes to the client, and the connection is over.
    Last,
}

impl<C> Session<C> {
    /// Handles every complete message in the upstream buffer. True when the server has said a last word.
    pub(super) fn server_frames(&mut self) -> Result<bool, End> {
        let mut inbound = std::mem::take(&mut self.link.inbound);
        let result = self.pass_frames(&mut inbound);
        self.link.inbound = inbound;
        result
    }

    fn pass_frames(&mut self, inbound: &mut BytesMut) -> Result<bool, End> {
        let mut last = false;
        self.discard(inbound);
        let mut ready = self.server_stream.min(inbound.len());
        self.server_stream -= ready;
        while !last && self.looking.is_none() {
            let rest = inbound.get(ready..).unwrap_or_default();
            let Some(head) = Head::peek(rest, server_streams).map_err(|_| End::UpstreamGone)? else {
                break;
            };
            if server_streams(head.tag) {
                let here = head.total.min(rest.len());
                let whole = if self.net.is_some() { net::LARGEST } else { WHOLE_ROW };
                if here < head.total && head.total <= whole {
                    break;
                }
                self.pass_row(inbound, &mut ready, head)?;
                continue;
            }
            let Some(body) = rest.get(HEADER..head.total) else {
                break;
            };
            let answer = self.answer(head.tag, body)?;
            if matches!(answer, Answer::Pass | Answer::Last)
                && let Some(other) = self.caught_words(head.tag, body)?
            {
                self.forward(inbound, ready);
                inbound.advance(head.total);
                ready = 0;
                self.say(&other);
                last = matches!(answer, Answer::Last);
                continue;
            }
            match answer {
                Answer::Pass => ready += head.total,
                Answer::Last => {
                    ready += head.total;
                    last = true;
                }
                Answer::Behind => {
                    self.forward(inbound, ready);
                    if let Some(held) = self.parting.take() {
                        self.tell(held);
                    }
                    ready = head.total;
                }
                Answer::After(rest) => {
                    self.forward(inbound, ready);
                    self.say(&rest);
                    ready = head.total;
                }
                Answer::Less(left_out, message) => {
                    let less = backend::reworded(head.tag, body, left_out, message).map_err(|_| End::UpstreamGone)?;
                    self.forward(inbound, ready);
                    inbound.advance(head.total);
                    ready = 0;
                    let less_words = less.get(HEADER..).unwrap_or_default();
                    let other = self.caught_words(head.tag, less_words)?;
                    self.say(other.as_ref().unwrap_or(&less));
                }
                answer @ (Answer::Drop | Answer::Keep | Answer::Replace(_)) => {
                    self.forward(inbound, ready);
                    inbound.advance(head.total);
                    ready = 0;
                    if let Answer::Replace(complaint) = answer {
                        complaint.put(&mut self.outbound);
                    }
                }
            }
        }
        self.forward(inbound, ready);
        Ok(last)
    }

    /// Passes a row or a piece of COPY data on, of which `ready` bytes of others come first; as it is, as what the net makes
    /// of it, or not at all.
    fn pass_row(&mut self, inbound: &mut BytesMut, ready: &mut usize, head: Head) -> Result<(), End> {
        if !self.row_passes(head) || self.is_too_large(head)? {
            self.forward(inbound, std::mem::take(ready));
            self.server_discard = head.total;
            self.discard(inbound);
            return Ok(());
        }
        self.log.handed_out();
        if self.is_long(head) {
            self.forward(inbound, std::mem::take(ready));
            let row = inbound.split_to(head.total);
            self.look_elsewhere(head.tag, row);
            return Ok(());
        }
        let rest = inbound.get(*ready..).unwrap_or_default();
        let here = head.total.min(rest.len());
        if let Some(other) = self.caught(head, rest)? {
            self.forward(inbound, std::mem::take(ready));
            inbound.advance(head.total);
            self.say(&other);
            return Ok(());
        }
        self.server_stream = head.total - here;
        *ready += here;
        Ok(())
    }

    fn forward(&mut self, inbound: &mut BytesMut, count: usize) {
        if count == 0 {
            return;
        }
        let bytes = inbound.split_to(count);
        self.log.bytes_out += u64::try_from(count).unwrap_or(u64::MAX);
        self.outbound.unsplit(bytes);
    }

    /// Says something in the place of what the server said.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.log.bytes_out += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.outbound.extend_from_slice(bytes);
    }

    fn answer(&mut self, tag: u8, body: &[u8]) -> Result<Answer, End> {
        match tag {
            b'C' | b'I' | b's' => {
                let text = match tag {
                    b'C' => backend::command_tag(body).map_err(|_| End::UpstreamGone)?,
                    b's' => "SUSPENDED",
                    _ => "",
                };
                if self.holds_completion(text, tag, body) {
                    return Ok(Answer::Keep);
                }
                self.statement_ended(text);
            }
            b'1' | b'2' | b'3' | b'n' => return Ok(self.step_done(tag)),
            b'T' => {
                self.tells_nothing_raw(body)?;
                self.rows_follow(body)?;
                if self.described(body) {
                    return Ok(Answer::Drop);
                }
            }
            b'Z' => {
                self.ready(backend::ready(body).map_err(|_| End::UpstreamGone)?);
                if self.parting.is_some() {
                    return Ok(Answer::Behind);
                }
            }
            b'E' => {
                let report = backend::report(body).map_err(|_| End::UpstreamGone)?;
                return Ok(self.failed(&report));
            }
            b'S' => {
                let (name, value) = backend::parameter(body).map_err(|_| End::UpstreamGone)?;
                let read_only = self.grant.scope.limits.read_only.is_some();
                if PINNED
                    .iter()
                    .chain(read_only.then_some(&READ_ONLY))
                    .any(|(pinned, wanted)| *pinned == name && *wanted != value)
                {
                    let text = format!("the session's {name} changed, so statements can no longer be judged");
                    return Err(End::Fatal(Box::new(Complaint::fatal("57P01", text))));
                }
            }
            b'G' => self.copy_began(),
            b'H' => {
                self.copy_out_began(body);
                self.copy_follows(body);
            }
            b'c' if self.is_cut() => return Ok(Answer::Drop),
            b'c' => {
                let rest = self.copy_over();
                if !rest.is_empty() {
                    return Ok(Answer::After(rest));
                }
            }
            b'N' => {
                let report = backend::report(body).map_err(|_| End::UpstreamGone)?;
                let blind = self.changes_blindly();
                return Ok(self.told(&report, blind));
            }
            b't' => {
                if let Some(Expect::Describe(Some(prepared))) = self.pending.front() {
                    prepared.told.parameters(body);
                }
            }
            // Notifications.
            b'A' => {}
            // Nothing else may come after start-up from a server that keeps the protocol.
            _ => return Err(End::UpstreamGone),
        }
        Ok(Answer::Pass)
    }

    /// ParseComplete, BindComplete, CloseComplete, NoData.
    fn step_done(&mut self, tag: u8) -> Answer {
        self.answers += 1;
        self.drop_copy_ends();
        match (tag, self.pending.pop_front()) {
            (_, Some(Expect::Quiet | Expect::QuietDescribe | Expect::OwnDescribe)) => return Answer::Drop,
            (b'1', Some(Expect::Parse { name, prepared })) => {
                self.prepared.insert(name, prepared);
            }
            (b'2', Some(Expect::Bind { portal, prepared })) => {
                self.guard.forget(&portal);
                self.portals.insert(portal, prepared);
            }
            (b'3', Some(Expect::CloseStatement(name))) => {
                self.prepared.remove(&name);
            }
            (b'3', Some(Expect::ClosePortal(name))) => {
                self.portals.remove(&name);
            }
            (b'n', Some(Expect::Describe(_))) | (_, None) => {}
            (_, Some(other)) => self.pending.push_front(other),
        }
        Answer::Pass
    }

    /// RowDescription: answers a Describe, or belongs to a Query or nothing of ours. True when the client did not ask.
    fn described(&mut self, body: &[u8]) -> bool {
        match self.pending.front() {
            Some(Expect::Describe(of)) => {
                if let Some(prepared) = of {
                    prepared.told.columns(body);
                }
                self.pending.pop_front();
            }
            Some(Expect::QuietDescribe) => {
                self.pending.pop_front();
            }
            Some(Expect::OwnDescribe) => {
                self.pending.pop_front();
                return true;
            }
            _ => {}
        }
        false
    }

    /// CommandComplete, EmptyQueryResponse, PortalSuspended.
    fn statement_ended(&mut self, tag: &str) {
        self.answers += 1;
        self.drop_copy_ends();
        let rows = backend::tag_rows(tag);
        match self.pending.pop_front() {
            Some(Expect::Execute(run)) => {
                self.succeeded(run, tag, rows);
            }
            Some(Expect::Query {
                mut runs,
                ended,
                refusal,
            }) => {
                if let Some(run) = runs.get_mut(ended) {
                    let run = run.take();
                    if run.copy.is_some() {
                        self.drop_first_copy_end();
                    }
                    self.succeeded(run, tag, rows);
                }
                self.pending.push_front(Expect::Query {
                    runs,
                    ended: ended + 1,
                    refusal,
                });
            }
            Some(Expect::Describe(_)) | None => {}
            Some(other) => self.pending.push_front(other),
        }
    }

    pub(super) fn succeeded(&mut self, run: Run, tag: &str, rows: u64) {
        if run.copy.is_some() {
            self.copy = Copy::Idle;
        }
        let rows = self.log.received(run.class, rows);
        self.grant.totals.count(run.class, rows);
        self.log.succeeded(&run, tag, rows);
        if let Some((name, prepared)) = run.makes {
            self.prepared.insert(name, prepared);
        }
    }

    fn ready(&mut self, status: u8) {
        self.answers += 1;
        while let Some(expect) = self.pending.pop_front() {
            match expect {
                Expect::Sync | Expect::Query { .. } => break,
                Expect::Execute(run) => self.log.failed(&run, None),
                _ => {}
            }
        }
        // The end of a COPY that has just been answered: whoever waits for all answers would wait for it for ever.
        self.drop_copy_ends();
        self.transaction = status;
        self.wardrobe.executed = self.pending.iter().any(|expect| matches!(expect, Expect::Execute(_)));
        self.block_ends &= !self.pending.is_empty();
        self.server_skips = false;
        self.pipeline = self
            .pending
            .iter()
            .any(|expect| !matches!(expect, Expect::Query { .. }));
        if self.pending.is_empty() {
            self.commit.rests(status);
        }
        self.anew.ready(status, !self.pending.is_empty());
        if status == b'I' {
            self.guard.miscounted();
            self.portals.clear();
            self.view.transaction_over();
        }
    }

    fn failed(&mut self, report: &Report<'_>) -> Answer {
        self.answers += 1;
        self.drop_copy_ends();
        if !matches!(self.copy, Copy::Swallow(_)) {
            self.copy = Copy::Idle;
        }
        self.wardrobe.failed();
        if report.is_fatal() {
            self.log.note_fatal();
            return Answer::Last;
        }
        let blind = self.changes_blindly();
        let mut refusal = None;
        let ours = self.guarded_failed(report.sqlstate);
        match self.pending.front_mut() {
            Some(Expect::Query {
                runs,
                ended,
                refusal: ours,
            }) => {
                let mut status = Some(report.sqlstate);
                for run in runs.iter().skip(*ended) {
                    self.log.failed(run, status.take());
                }
                *ended = runs.len();
                refusal = ours.take();
            }
            // A deferred constraint or a commit failed: ReadyForQuery follows.
            Some(Expect::Sync) | None => self.parting_failed(report.sqlstate),
            Some(_) => refusal = self.pipeline_failed(report),
        }
        if let Some(complaint) = ours {
            return Answer::Replace(complaint);
        }
        match refusal {
            Some(complaint) if self.nonce.made(report.message) => Answer::Replace(complaint),
            // An earlier error, or an already aborted transaction: the server's own words.
            _ => self.told(report, blind),
        }
    }

    /// Everything up to Sync is dropped by the server: the front one failed, the others never ran.
    fn pipeline_failed(&mut self, report: &Report<'_>) -> Option<Box<Complaint>> {
        self.server_skips = true;
        let mut refusal = None;
        let mut status = Some(report.sqlstate);
        while let Some(expect) = self.pending.pop_front() {
            match expect {
                Expect::Sync => {
                    self.pending.push_front(expect);
                    return refusal;
                }
                // Even a Query is dropped before Sync.
                Expect::Query { runs, .. } => {
                    for run in &runs {
                        self.log.failed(run, None);
                    }
                }
                Expect::Execute(run) => self.log.failed(&run, status.take()),
                Expect::Refusal(complaint) if status.is_some() => refusal = Some(complaint),
                Expect::Parse { .. }
                | Expect::Bind { .. }
                | Expect::Describe(_)
                | Expect::Quiet
                | Expect::QuietDescribe
                | Expect::OwnDescribe
                | Expect::CloseStatement(_)
                | Expect::ClosePortal(_)
                | Expect::CopyEnd
                | Expect::Refusal(_) => {}
            }
            // Only the message at the front caused the error.
            status = None;
        }
        // The client has not sent its Sync yet: what comes before it will be dropped.
        self.skipping = true;
        refusal
    }

    /// The server takes COPY data from now on and ignores Sync until the COPY ends: a Sync that was sent in between
    /// will not be answered.
    fn copy_began(&mut self) {
        self.drop_copy_ends();
        let permit = self.running().and_then(|run| run.copy.clone());
        let end = self.pending.iter().position(|expect| matches!(expect, Expect::CopyEnd));
        let before_end = end.unwrap_or(self.pending.len());
        let mut index = 0;
        self.pending.retain(|expect| {
            index += 1;
            index > before_end || !matches!(expect, Expect::Sync)
        });
        if let (Some(permit), None) = (permit, end) {
            self.copy = Copy::Open { permit, begun: true };
        }
    }

    /// A COPY of a Query has ended: its marker must not pass for that of the next COPY in the same Query.
    fn drop_first_copy_end(&mut self) {
        let end = self.pending.iter().position(|expect| matches!(expect, Expect::CopyEnd));
        if let Some(at) = end {
            self.pending.remove(at);
        }
    }

    /// A marker at the front belongs to a COPY that has ended.
    pub(super) fn drop_copy_ends(&mut self) {
        while matches!(self.pending.front(), Some(Expect::CopyEnd)) {
            self.pending.pop_front();
        }
    }
}
