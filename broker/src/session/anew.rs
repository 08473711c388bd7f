//! Views of masked tables that go and come under a session. A statement that would be pointed at one waits while somebody
//! takes views along, and is judged anew; what was prepared before is prepared again under its name, as PostgreSQL itself
//! plans again what a changed schema made void. What it would then give differently is refused in PostgreSQL's own words.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;

use super::prepared::{Judged, Prepared};
use super::refusal::Refused;
use super::{End, Session};
use crate::catalog::{Seat, Views};
use crate::decide::{Decision, Permit};
use crate::mask::SCHEMA;
use crate::sql::Barrier;
use crate::sql::quote::literal;
use crate::sql::settings::KINDS;
use crate::wire::answer::Complaint;
use crate::wire::backend;
use crate::wire::frame::{self, Head};
use crate::wire::frontend::{self, Target};

/// A name that the broker closes so that it hears when all before it was answered.
const MARK: &str = "hoop_anew";

/// What the client was told of a prepared statement.
#[derive(Debug, Default)]
pub struct Told {
    /// The OIDs of the parameters' types.
    parameters: RefCell<Option<Vec<[u8; 4]>>>,
    /// The result's columns.
    columns: RefCell<Option<Vec<backend::Shape>>>,
    /// Why it cannot run any more.
    lost: Cell<Option<Lost>>,
}

/// Why what was prepared is gone.
#[derive(Debug, Clone, Copy)]
enum Lost {
    /// The server does not take it any more.
    Refused,
    /// It would give other columns.
    Changed,
}

/// The session's part in what others do to views.
#[derive(Debug, Default)]
pub struct Anew {
    /// Its place, where the database enforces.
    seat: Option<Seat>,
    /// What its transaction has read: whoever takes that along waits for it.
    holds: Views,
    /// It waits for these.
    waits: Option<Views>,
    /// What is to be prepared again.
    stale: Option<String>,
    kinds: Kinds,
}

/// A session may have said that it reads no views, as `pg_dump` does. The views of masks are what it takes for tables:
/// inside a transaction they are read all the same, and for every other statement what was said holds.
#[derive(Debug, Default)]
struct Kinds {
    /// It may have said so.
    narrow: bool,
    /// The setting as the session made it, while it is lifted.
    lifted: Option<String>,
    /// To be lifted, or to be put back.
    wanted: Option<bool>,
}

impl Anew {
    /// A session that sits there.
    pub fn at(seat: Option<Seat>) -> Self {
        Self {
            seat,
            ..Self::default()
        }
    }

    /// A statement is about to be sent.
    pub fn sends(&mut self, permit: &Permit) {
        self.kinds.narrow |= permit.narrows_kinds();
        if permit.barrier() == Barrier::Rollback {
            self.kinds.lifted = None;
        }
    }

    /// The server is ready; `more` was sent already.
    pub fn ready(&mut self, status: u8, more: bool) {
        if status != b'T' {
            self.kinds.lifted = None;
        }
        if status == b'I' && !more {
            self.holds.clear();
        }
        if let Some(seat) = self.seat.as_mut().filter(|_| status == b'I') {
            seat.moved();
        }
    }

    /// Nothing is under way.
    pub fn rests(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.rests();
        }
    }

    /// The server found the view missing that `message` names.
    pub fn misses(&self, message: &str) {
        if let Some(seat) = &self.seat {
            seat.misses(named(message));
        }
    }

    /// The session is about to drop these.
    pub async fn moves(&mut self, views: Views) {
        if let Some(seat) = &mut self.seat {
            seat.moves(views).await;
        }
    }
}

/// The views of masks that a text names.
fn named(text: &str) -> Views {
    let plain = text.replace('"', "");
    let names = plain.split(SCHEMA).skip(1).filter_map(|rest| rest.strip_prefix('.'));
    let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    names
        .filter_map(|rest| rest.split(ends).next())
        .map(str::to_owned)
        .collect()
}

impl<C> Session<C> {
    /// True when any of the statements reads masked tables, and must wait.
    pub(super) fn waits_for_masks(&mut self, judged: &Judged) -> bool {
        if self.anew.seat.is_none() {
            return false;
        }
        let permits = || {
            judged
                .statements
                .iter()
                .filter_map(|statement| match &statement.decision {
                    Decision::Allow(permit) => Some(permit),
                    Decision::Deny(_) => None,
                })
        };
        self.kinds_wait(permits().any(|permit| permit.text().is_some()))
            || permits().any(|permit| self.waits_with(permit))
    }

    /// True when the session must first read views, or not read them.
    fn kinds_wait(&mut self, masked: bool) -> bool {
        let kinds = &mut self.anew.kinds;
        let fits = kinds.lifted.is_some() == masked;
        if !kinds.narrow || fits || self.transaction != b'T' || self.anew.seat.is_none() {
            return false;
        }
        kinds.wanted = Some(masked);
        self.wait_for_view();
        true
    }

    /// Lifts what the session said about views, or puts it back; the end of the transaction does so in any case.
    async fn turn_kinds(&mut self) -> Result<(), End> {
        let Some(lift) = self.anew.kinds.wanted.take().filter(|_| !self.server_skips) else {
            return Ok(());
        };
        let name = literal(KINDS);
        let before = if let Some(before) = self.anew.kinds.lifted.take() {
            before
        } else {
            let asked = format!("SELECT COALESCE(pg_catalog.current_setting({name}, true), '')");
            self.own_run(&[asked]).await?.flatten().unwrap_or_default()
        };
        let others = || before.split(',').map(str::trim).filter(|kind| *kind != "view");
        if others().count() == before.split(',').count() {
            // It reads views, or has no such setting.
            self.anew.kinds.narrow = false;
            return Ok(());
        }
        let value = if lift {
            others().collect::<Vec<_>>().join(", ")
        } else {
            before.clone()
        };
        let set = format!("SELECT pg_catalog.set_config({name}, {}, true)", literal(&value));
        if self.own_run(&[set]).await?.is_some() {
            self.anew.kinds.lifted = lift.then_some(before);
        }
        Ok(())
    }

    fn waits_with(&mut self, permit: &Permit) -> bool {
        let (Some(seat), Some(text)) = (self.anew.seat.as_mut(), permit.text()) else {
            return false;
        };
        if self.transaction == b'I' && !self.pipeline {
            self.anew.holds.clear();
        }
        let views: Views = named(text).difference(&self.anew.holds).cloned().collect();
        if seat.may_send(&views, &self.anew.holds) {
            self.anew.holds.extend(views);
            return false;
        }
        self.anew.waits = Some(views);
        self.wait_for_view();
        true
    }

    /// True when a Describe may be sent on.
    pub(super) fn describe_may_go(&mut self, head: Head) -> Result<bool, End> {
        let body = frame::body(&self.inbound, head.total).map_err(End::Protocol)?;
        let Target::Statement(name) = frontend::target(body).map_err(End::Protocol)? else {
            return Ok(true);
        };
        let name = name.to_owned();
        Ok(match self.find_prepared(&name) {
            Some(prepared) => !self.prepares_anew(&name, &prepared),
            None => true,
        })
    }

    /// True when what was prepared must wait: for others, or to be prepared again.
    pub(super) fn prepares_anew(&mut self, name: &str, prepared: &Prepared) -> bool {
        let Some(permit) = prepared.permit().filter(|_| self.anew.seat.is_some()) else {
            return false;
        };
        if self.kinds_wait(permit.text().is_some()) {
            return true;
        }
        if permit.text().is_none() || self.server_skips || self.transaction == b'E' {
            return false;
        }
        if self.view_is_behind() {
            self.wait_for_view();
            return true;
        }
        if self.waits_with(permit) {
            return true;
        }
        if prepared.told.lost.get().is_some() {
            return false;
        }
        let Some(judged) = self.current(prepared) else {
            // It is being read elsewhere, and comes here again.
            return true;
        };
        let allowed = matches!(judged.statements.as_slice(), [one] if matches!(one.decision, Decision::Allow(_)));
        if !allowed || judged.says_the_same(&prepared.judged) {
            return false;
        }
        self.anew.stale = Some(name.to_owned());
        self.wait_for_view();
        true
    }

    /// What stands for a prepared statement that cannot run any more.
    pub(super) fn lost(&self, prepared: &Prepared) -> Option<Box<Refused>> {
        prepared.told.lost.get().map(|lost| match lost {
            Lost::Refused => self.no_longer_masked(),
            Lost::Changed => Box::new(Refused {
                denial: None,
                complaint: Complaint::error("0A000", "cached plan must not change result type"),
            }),
        })
    }

    /// Everything that was sent is answered: waits for who takes views along, and prepares again what is stale.
    pub(super) async fn renew(&mut self) -> Result<(), End> {
        if let (Some(views), Some(seat)) = (self.anew.waits.take(), &mut self.anew.seat) {
            seat.settled(&views).await;
        }
        self.turn_kinds().await?;
        let Some(name) = self.anew.stale.take().filter(|_| !self.server_skips) else {
            return Ok(());
        };
        let Some(prepared) = self.find_prepared(&name) else {
            return Ok(());
        };
        let Some(judged) = self.current(&prepared) else {
            return Ok(());
        };
        let fresh = Rc::new(Prepared {
            text: prepared.text.clone(),
            number: prepared.number,
            declared: prepared.declared.clone(),
            foreign: prepared.foreign,
            told: Told::default(),
            judged,
        });
        let declared = prepared.told.parameters.borrow().clone();
        let declared = declared.unwrap_or_else(|| prepared.declared.to_vec());
        let mut out = BytesMut::with_capacity(prepared.text.len() + 128);
        frontend::put_close_statement(&mut out, &name);
        frontend::put_parse_of_types(
            &mut out,
            &name,
            &fresh.judged.outgoing(&fresh.text, fresh.text.len()),
            &declared,
        );
        frontend::put_describe_statement(&mut out, &name);
        frontend::put_close_statement(&mut out, MARK);
        frontend::put_bare(&mut out, if self.pipeline { b'H' } else { b'S' });
        let (last, times) = if self.pipeline { (b'3', 2) } else { (b'Z', 1) };
        let mut columns = None;
        let seen = |tag: u8, body: &[u8]| {
            if tag == b'T' {
                columns = backend::shapes(body).ok();
            }
        };
        let failed = self.own_exchange_seen(&out, last, times, seen).await?.is_err();
        let before = prepared.told.columns.borrow().clone();
        fresh.told.lost.set(match &before {
            _ if failed => Some(Lost::Refused),
            Some(before) if columns.as_ref() != Some(before) => Some(Lost::Changed),
            _ => None,
        });
        fresh.told.columns.replace(before);
        fresh.told.parameters.replace(Some(declared));
        if failed && self.pipeline {
            self.server_skips = true;
            self.skipping = true;
            self.no_longer_masked().complaint.put(&mut self.outbound);
        } else if failed && self.transaction == b'T' {
            self.transaction = b'E';
        }
        self.prepared.insert(name, fresh);
        if let Some(seat) = &mut self.anew.seat {
            seat.stays_first();
        }
        Ok(())
    }
}

impl Told {
    /// The client is told the parameters' types.
    pub fn parameters(&self, body: &[u8]) {
        let (oids, _) = body.get(2..).unwrap_or_default().as_chunks::<4>();
        self.parameters.replace(Some(oids.to_vec()));
    }

    /// The client is told the result's columns.
    pub fn columns(&self, body: &[u8]) {
        self.columns.replace(backend::shapes(body).ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_found_in_statements_and_in_the_servers_words() {
        let text = "SELECT a.x FROM \"hoop_masks\".\"m_0a1\" AS a, \"hoop_masks\".\"m_0a2\" b WHERE y = 'hoop_masks'";
        assert_eq!(named(text), Views::from(["m_0a1".to_owned(), "m_0a2".to_owned()]));
        assert_eq!(
            named("relation \"hoop_masks.m_0a3\" does not exist"),
            Views::from(["m_0a3".to_owned()])
        );
        assert_eq!(named("SELECT 1"), Views::new());
    }
}
