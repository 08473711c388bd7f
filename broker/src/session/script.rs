//! A Query whose statements cannot all be sent at once: an early one changes the schema, so that what follows can be
//! judged only against the schema as it is then, or a limit watches one of them. The statements go out one by one in
//! the extended protocol, without Sync in between, so they stay in the one implicit transaction that the Query would
//! have been; the answers that a Query would not have are left out. The end of the last one is told after the commit,
//! as in a Query.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use bytes::BytesMut;

use super::pending::Expect;
use super::prepared::{Judged, Text};
use super::{End, Session, refusal};
use crate::decide::Decision;
use crate::decide::limit::Watch;
use crate::sql::{Barrier, Class, Names};
use crate::wire::frontend;

/// The statements still to be sent.
#[derive(Debug)]
pub struct Script {
    text: Rc<str>,
    spans: VecDeque<Range<usize>>,
    number: u64,
    /// A single statement that is sent as the Query it came as; decided once everything before it is answered.
    alone: Option<bool>,
}

impl<C> Session<C> {
    /// True when a statement of the text must be judged after an earlier one has changed the schema, or runs alone.
    pub(super) fn needs_script(&self, judged: &Judged) -> bool {
        let mut moved = false;
        for statement in &judged.statements {
            if let Decision::Allow(permit) = &statement.decision
                && !self.watch(permit).is_nothing()
            {
                return true;
            }
            if moved && statement.class != Class::Transaction {
                return true;
            }
            match &statement.decision {
                // Refused before anything moved: nothing of what follows is sent.
                Decision::Deny(_) => return false,
                // Nobody else's statement may run while the session is its owner.
                Decision::Allow(permit) if permit.owner().is_some() => return true,
                Decision::Allow(permit) => {
                    moved |= permit.runs_foreign_code();
                    // What is prepared here may be run further on: its name means nothing before the server has it.
                    moved |= matches!(permit.names(), Names::Prepare(_));
                    moved |= match permit.barrier() {
                        // PostgreSQL runs DISCARD ALL alone or not at all.
                        Barrier::None | Barrier::Discard => false,
                        Barrier::Schema => true,
                        Barrier::Rollback => self.view.is_private(),
                    };
                }
            }
        }
        false
    }

    /// Starts sending `text` statement by statement.
    pub(super) fn start_script(&mut self, text: &str, judged: &Judged) {
        let number = self.log.next_statement();
        let spans = judged
            .statements
            .iter()
            .map(|statement| statement.span.clone())
            .collect();
        self.script = Some(Script {
            text: text.into(),
            spans,
            number,
            alone: None,
        });
    }

    /// True while the last statement of a script runs.
    pub(super) fn is_last_step(&self) -> bool {
        self.script.as_ref().is_some_and(|script| script.spans.is_empty())
    }

    /// Goes on with the script once the server has answered everything so far. False when it must wait.
    pub(super) fn step_script(&mut self) -> Result<bool, End> {
        if !self.pending.is_empty() || self.guard.holds() {
            return Ok(false);
        }
        if !self.server_skips && !self.wardrobe.is_ready() && (self.view_is_behind() || self.is_owner()) {
            self.waiting = true;
            return Ok(false);
        }
        let Some(script) = &self.script else {
            return Ok(true);
        };
        let (text, number, alone) = (script.text.clone(), script.number, script.alone);
        let next = script.spans.front().cloned().filter(|_| !self.server_skips);
        let Some(span) = next else {
            // What goes alone brings its own end, unless it was not sent.
            let ends = alone != Some(true) || self.server_skips;
            if ends && !self.commit.is_open() && !self.may_commit() {
                return Ok(false);
            }
            self.script = None;
            if ends {
                self.finish_script();
            }
            return Ok(true);
        };
        let statement = text.get(span).unwrap_or_default();
        let Some(judged) = self.judge_all(statement) else {
            // It is being read elsewhere.
            return Ok(false);
        };
        if (self.is_single() && self.judge_all(&text).is_none()) || self.waits_for_masks(&judged) {
            return Ok(false);
        }
        let alone = alone.unwrap_or_else(|| self.is_single() && self.goes_alone(&text));
        if let Some(script) = &mut self.script {
            script.alone = Some(alone);
        }
        if self.step_wants_owner(statement, alone) {
            self.waiting = true;
            return Ok(false);
        }
        if alone {
            return Ok(self.send_alone(&text, number));
        }
        self.send_step(statement, number)
    }

    /// True before the only statement of a script.
    fn is_single(&self) -> bool {
        self.script.as_ref().is_some_and(|script| script.spans.len() == 1)
    }

    /// Sends the next statement. False when the session must come to rest first, or the statement must be read elsewhere.
    fn send_step(&mut self, text: &str, number: u64) -> Result<bool, End> {
        let Some(judged) = self.judge_all(text) else {
            return Ok(false);
        };
        let permit = judged
            .statements
            .first()
            .map(|statement| (statement, self.allowed_now(statement)));
        let watch = match &permit {
            Some((_, Ok(permit))) => self.watch(permit),
            _ => Watch::NOTHING,
        };
        if !self.may_run_alone(watch) {
            return Ok(false);
        }
        if let Some(script) = &mut self.script {
            script.spans.pop_front();
        }
        self.pipeline = true;
        let (statement, permit) = match permit {
            Some((statement, Ok(permit))) => (statement, permit),
            Some((statement, Err(refused))) => {
                self.wardrobe.use_hat();
                self.note_refused(&refused, text);
                if statement.class == Class::CopyIn {
                    return self.refuse_copy_in(&[], refused.complaint).map(|()| true);
                }
                self.refuse_step(refused.complaint);
                return Ok(true);
            }
            None => {
                if let Some(fault) = &judged.unreadable {
                    self.note_denied(&fault.denial, text);
                    self.refuse_step(refusal::not_read(fault));
                }
                return Ok(true);
            }
        };
        let run = self.begin(&permit, number, Text::New(text), statement);
        self.note_sent(&permit);
        self.wardrobe.executes();
        let mut out = BytesMut::with_capacity(text.len() + 64);
        frontend::put_parse(&mut out, "", &judged.outgoing(text, text.len()));
        let name = match permit.names() {
            Names::Cursor(name) => name,
            _ => "",
        };
        // A Query would bring the rows of a binary cursor as they are.
        frontend::put_bind(&mut out, "", "", self.guard.is_binary(name));
        frontend::put_describe_portal(&mut out, "");
        frontend::put_execute(&mut out, "");
        frontend::put_bare(&mut out, b'H');
        self.pending.extend([
            Expect::Quiet,
            Expect::Quiet,
            Expect::QuietDescribe,
            Expect::Execute(run),
        ]);
        self.link.send(&permit, out);
        self.runs_alone(watch, name);
        Ok(true)
    }

    /// Sends the one statement of a Query as the Query it came as. False when it must be read elsewhere first.
    fn send_alone(&mut self, text: &str, number: u64) -> bool {
        let Some(judged) = self.judge_all(text) else {
            return false;
        };
        let [statement] = judged.statements.as_slice() else {
            return true;
        };
        let permit = self.allowed(statement);
        if let Ok(permit) = &permit
            && !self.may_run_alone(self.watch(permit))
        {
            return false;
        }
        if let Some(script) = &mut self.script {
            script.spans.pop_front();
        }
        match permit {
            Ok(permit) => {
                let run = self.begin(&permit, number, Text::New(text), statement);
                self.note_sent(&permit);
                self.wardrobe.use_hat();
                let mut out = BytesMut::with_capacity(text.len() + 8);
                frontend::put_query(&mut out, &judged.outgoing(text, text.len()));
                self.pending.push_back(Expect::Query {
                    runs: vec![run],
                    ended: 0,
                    refusal: None,
                });
                self.link.send(&permit, out);
            }
            Err(refused) => {
                self.wardrobe.use_hat();
                self.note_refused(&refused, text);
                self.refuse_query("", refused.complaint, Vec::new());
            }
        }
        true
    }

    fn refuse_step(&mut self, complaint: crate::wire::answer::Complaint) {
        let mut out = BytesMut::new();
        frontend::put_parse(&mut out, "", &self.nonce.failing());
        frontend::put_bare(&mut out, b'H');
        self.pending.push_back(Expect::Refusal(Box::new(complaint)));
        self.link.send_own(out);
    }

    /// The ReadyForQuery that ends the Query.
    fn finish_script(&mut self) {
        // The Sync is ours: what the client sends next is not behind an error of its own.
        self.skipping = false;
        self.commits();
        self.commit.syncs();
        let mut out = BytesMut::new();
        frontend::put_bare(&mut out, b'S');
        self.pending.push_back(Expect::Sync);
        self.link.send_own(out);
    }
}
