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
    /// A single statement that is sent as the Query it came as; decided once everything before it is answered.
    alone: Option<bool>,
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
                // Nobody else's statement may run while the session is its owner.
                Decision::Allow(permit) if permit.owner().is_some() => return true,
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
            alone: None,
        });
    }

    /// Goes on with the script once the server has answered everything so far. False when it must wait.
    pub(super) fn step_script(&mut self) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        if !self.server_skips && !self.wardrobe.is_ready() && (self.view_is_behind() || self.is_owner()) {
            self.waiting = true;
            return false;
        }
        let Some(script) = &mut self.script else {
            return true;
        };
        let (text, single) = (script.text.clone(), script.spans.len() == 1);
        let alone = match script.alone {
            Some(alone) => alone,
            None => single && self.goes_alone(&text),
        };
        if let Some(script) = &mut self.script {
            script.alone = Some(alone);
        }
        let Some(script) = &self.script else {
            return true;
        };
        let ahead = script.spans.front().filter(|_| !self.server_skips).cloned();
        if let Some(span) = ahead
            && self.step_wants_owner(text.get(span).unwrap_or_default(), alone)
        {
            self.waiting = true;
            return false;
        }
        let Some(script) = &mut self.script else {
            return true;
        };
        let next = script.spans.pop_front().filter(|_| !self.server_skips);
        let Some(span) = next else {
            self.script = None;
            if !alone {
                self.finish_script();
            }
            return true;
        };
        let number = script.number;
        if alone {
            self.send_alone(&text, number);
        } else {
            self.send_step(text.get(span).unwrap_or_default(), number);
        }
        true
    }

    fn send_step(&mut self, text: &str, number: u64) {
        let judged = self.judge(text);
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
                self.wardrobe.use_hat();
                self.note_refused(&refused, text);
                self.refuse_step(refused.complaint);
                return;
            }
        };
        let run = self.begin(&permit, number, Some(text), statement);
        self.note_sent(&permit);
        self.wardrobe.use_hat();
        self.wardrobe.executed = true;
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

    /// The one statement of a Query, as the Query it came as.
    fn send_alone(&mut self, text: &str, number: u64) {
        let judged = self.judge(text);
        let [statement] = judged.statements.as_slice() else {
            return;
        };
        match self.allowed(statement) {
            Ok(permit) => {
                let run = self.begin(&permit, number, Some(text), statement);
                self.note_sent(&permit);
                self.wardrobe.use_hat();
                let mut out = BytesMut::with_capacity(text.len() + 8);
                frontend::put_query(&mut out, text);
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
