//! Where a text is read: here when it is small, by a reader process otherwise, while the message waits in the buffer.

use std::rc::Rc;

use super::prepared::{Judged, JudgedStatement, Prepared, Reading};
use super::refusal::Refused;
use super::{Session, refusal};
use crate::decide::{Decision, Permit, judge, limit};
use crate::sql::snapshot::Overloads;
use crate::sql::{Names, Unreadable};
use crate::wire::frontend::Parse;

impl<C> Session<C> {
    /// The judgement of a text and of what it runs by name. `None` when some of it must be read elsewhere, which then
    /// has begun: the message waits.
    pub(super) fn judge_all(&mut self, text: &str) -> Option<Rc<Judged>> {
        let judged = self.judge(text)?;
        self.names_are_current(&judged).then_some(judged)
    }

    /// The judgement of a text, recalled, read here, or read ahead.
    pub(super) fn judge(&mut self, text: &str) -> Option<Rc<Judged>> {
        let (scope, snapshot) = (&self.grant.scope, self.view.snapshot());
        let read = self
            .read_ahead
            .iter()
            .find(|(known, judged)| **known == *text && judged.version == snapshot.version);
        if let Some((_, judged)) = read {
            return Some(judged.clone());
        }
        let judged = self.core.decisions.borrow_mut().judge(text, scope, snapshot);
        if judged.is_none() && self.reading.is_none() {
            let (scope, snapshot, house) = (scope.clone(), self.view.shared(), self.core.house.clone());
            let owned = text.to_owned();
            let reading =
                tokio::task::spawn_blocking(move || Reading::elsewhere(&owned, &scope, &snapshot, &house.reader));
            self.reading = Some((text.into(), reading));
        }
        judged
    }

    /// The judgement of a prepared statement as of now: judged again when the schema moved since.
    pub(super) fn current(&mut self, prepared: &Prepared) -> Option<Rc<Judged>> {
        if prepared.judged.version == self.view.snapshot().version {
            Some(prepared.judged.clone())
        } else {
            self.judge(&prepared.text)
        }
    }

    /// True when everything that EXECUTE names has been judged as of now.
    pub(super) fn names_are_current(&mut self, judged: &Judged) -> bool {
        judged.statements.iter().all(|statement| match &statement.decision {
            Decision::Allow(permit) => match permit.names() {
                Names::Execute(name) if self.is_unsettled(name) => {
                    self.wait_for_view();
                    false
                }
                Names::Execute(name) => self
                    .find_prepared(name)
                    .is_none_or(|prepared| self.current(&prepared).is_some()),
                _ => true,
            },
            Decision::Deny(_) => true,
        })
    }

    /// What was prepared is masked as the schema was then.
    pub(super) fn no_longer_masked(&self) -> Box<Refused> {
        Refused::by(crate::decide::judge::denied(
            "masked",
            "a prepared statement",
            "a table that it reads with masks has changed since it was prepared",
            "prepare it again",
            &self.grant.scope,
        ))
    }

    /// [`Session::allowed`] of a statement that is about to run.
    pub(super) fn allowed_now(&mut self, statement: &JudgedStatement) -> Result<Permit, Box<Refused>> {
        let permit = self.allowed(statement)?;
        if !self.commit.is_open()
            && let Some(denial) = limit::commits_itself(statement.class, &self.grant.scope)
        {
            return Err(Refused::by(denial));
        }
        Ok(permit)
    }

    /// Refuses parameters that are declared to be of a type that brings functions along which no rule names, or that an
    /// overload may be meant for: the text tells neither.
    pub(super) fn declared(&self, parse: &Parse<'_>) -> Result<(), Box<Refused>> {
        let (scope, snapshot) = (&self.grant.scope, self.view.snapshot());
        let Overloads { shy, types, .. } = &snapshot.overloads;
        for oid in parse.types() {
            for carrier in snapshot.carriers.types.iter().filter(|carrier| carrier.oid == oid) {
                judge::brought(&carrier.calls, scope).map_err(|denial| Refused::by(*denial))?;
            }
            if !types.is_empty() && !types.iter().any(|(known, _)| *known == oid) {
                judge::brought(shy, scope).map_err(|denial| Refused::by(*denial))?;
            }
        }
        Ok(())
    }

    /// The permit of one statement, names of the SQL level resolved.
    pub(super) fn allowed(&mut self, statement: &JudgedStatement) -> Result<Permit, Box<Refused>> {
        let permit = match &statement.decision {
            Decision::Allow(permit) => permit.clone(),
            Decision::Deny(denial) => return Err(Refused::by(denial.clone())),
        };
        let Names::Execute(name) = permit.names() else {
            return Ok(permit);
        };
        let Some(prepared) = self.find_prepared(name) else {
            return Err(Box::new(Refused {
                denial: None,
                complaint: refusal::unknown_name("26000", "prepared statement", name),
            }));
        };
        let Some(judged) = self.current(&prepared) else {
            // `judge_all` has seen to it; whatever else happens, what was not judged does not run.
            let denial = crate::decide::judge::denied_unreadable(&Unreadable::Busy, &self.grant.scope);
            return Err(Refused::by(denial));
        };
        if !judged.says_the_same(&prepared.judged) {
            return Err(self.no_longer_masked());
        }
        match judged.statements.first().map(|inner| &inner.decision) {
            Some(Decision::Deny(denial)) => Err(Refused::by(denial.clone())),
            Some(Decision::Allow(prepared)) => Ok(permit.running(prepared)),
            None => match &judged.unreadable {
                Some(fault) => Err(Refused::by(fault.denial.clone())),
                None => Ok(permit),
            },
        }
    }
}
