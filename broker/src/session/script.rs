//! A Query of several statements in which an early one changes the schema: what follows can be judged only against
//! the schema as it is then. The statements go out one by one in the extended protocol, without Sync in between, so
//! they stay in the one implicit transaction that the Query would have been; the answers that a Query would not have
//! are left out.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use bytes::BytesMut;

use super::pending::Expect;
use super::prepared::Judged;
use super::{Session, refusal};
use crate::decide::Decision;
use crate::sql::{Barrier, Class};
use crate::wire::frontend;

/// The statements still to be sent.
#[derive(Debug)]
pub struct Script {
    text: Rc<str>,
    spans: VecDeque<Range<usize>>,
    number: u64,
}

impl<C> Session<C> {
    /// True when a statement of the text must be judged after an earlier one has changed the schema.
    pub(super) fn needs_script(&self, judged: &Judged) -> bool {
        let mut moved = false;
        for statement in &judged.statements {
            if moved && statement.class != Class::Transaction {
                return true;
            }
            match &statement.decision {
                // Refused before anything moved: nothing of what follows is sent.
                Decision::Deny(_) => return false,
                Decision::Allow(permit) => {
                    moved |= match permit.barrier() {
                        Barrier::None => false,
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
        });
    }

    /// Goes on with the script once the server has answered everything so far. False when it must wait.
    pub(super) fn step_script(&mut self) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        if !self.server_skips && self.view_is_behind() {
            self.waiting = true;
            return false;
        }
        let Some(script) = &mut self.script else {
            return true;
        };
        let next = script.spans.pop_front().filter(|_| !self.server_skips);
        let Some(span) = next else {
            self.script = None;
            self.finish_script();
            return true;
        };
        let (text, number) = (script.text.clone(), script.number);
        let statement = text.get(span.clone()).unwrap_or_default();
        let Some(judged) = self.judge_all(statement) else {
            // It comes again when it was read elsewhere.
            if let Some(script) = &mut self.script {
                script.spans.push_front(span);
            }
            return false;
        };
        self.read_ahead.clear();
        self.send_step(statement, number, &judged);
        true
    }

    fn send_step(&mut self, text: &str, number: u64, judged: &Judged) {
        self.pipeline = true;
        let Some(statement) = judged.statements.first() else {
            if let Some(fault) = &judged.unreadable {
                self.note_denied(&fault.denial, text);
                self.refuse_step(refusal::not_read(fault));
            }
            return;
        };
        let permit = match self.allowed(statement) {
            Ok(permit) => permit,
            Err(refused) => {
                self.note_refused(&refused, text);
                self.refuse_step(refused.complaint);
                return;
            }
        };
        let run = self.begin(&permit, number, Some(text), statement);
        self.note_sent(&permit);
        let mut out = BytesMut::with_capacity(text.len() + 64);
        frontend::put_parse(&mut out, "", text);
        frontend::put_bind(&mut out, "", "");
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
        let mut out = BytesMut::new();
        frontend::put_bare(&mut out, b'S');
        self.pending.push_back(Expect::Sync);
        self.link.send_own(out);
    }
}
