//! DDL as its owner. A rule with `as:` lets a statement run as the role that owns the tables; the session becomes that
//! role for exactly this statement and is itself again before anything else is sent, in every protocol mode.
//!
//! Becoming somebody is a statement of the broker's own, sent while the server owes nothing. Inside a transaction it is
//! undone by the transaction's own end when the statement fails. Statements that cannot run inside one (VACUUM, CREATE
//! INDEX CONCURRENTLY) get it as a transaction of its own in front of them.
//!
//! What the statement created gets the scope's rights at once, as the owner and in the same transaction, so that the
//! next statement can use it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::prepared::Prepared;
use super::{End, Session};
use crate::catalog;
use crate::decide::Permit;
use crate::decide::rights::{self, Object, Surroundings};
use crate::sql::quote::{identifier, literal, qualified};
use crate::sql::{Class, EVERYTHING, Relation, Snapshot, TEMPORARY};
use crate::wire::answer::Complaint;
use crate::wire::frame::{self, Head};
use crate::wire::{backend, frontend};

/// The broker's own name for a statement it binds again.
const REBOUND: &str = "hoop_owner";

/// Whose hat the session wears, and whose it wants.
#[derive(Debug, Default)]
pub struct Wardrobe {
    hat: Option<Hat>,
    wanted: Option<Wanted>,
    /// DISCARD ALL was sent: the session may be its bare login.
    bare: bool,
    /// Something was executed in the open pipeline.
    pub executed: bool,
}

#[derive(Debug)]
struct Hat {
    owner: Arc<str>,
    /// What the statement makes or changes.
    defines: Arc<[(String, String)]>,
    way: Way,
    /// The statement was sent.
    used: bool,
}

#[derive(Debug)]
struct Wanted {
    owner: Arc<str>,
    defines: Arc<[(String, String)]>,
    /// What of the session's own the owner has to read.
    lent: Arc<[String]>,
    /// It empties what it names, which sets off triggers.
    empties: bool,
    way: Way,
    /// It changes or drops what is there.
    changes: bool,
    /// The portal that is about to run, in the extended protocol.
    portal: Option<(String, Rc<Prepared>)>,
}

/// How the statement and the change of role go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one transaction.
    Inside,
    /// Each in its own.
    Outside,
}

impl Way {
    /// A statement that may refuse to run in a transaction goes alone. To say so too often costs nothing but the one
    /// transaction, so a word in the text is enough.
    fn of(permit: &Permit, text: &str) -> Self {
        let lonely = || text.to_ascii_lowercase().contains("concurrently");
        match permit.class() {
            Class::Maintain => Self::Outside,
            Class::Create | Class::Alter | Class::Drop if lonely() => Self::Outside,
            _ => Self::Inside,
        }
    }
}

impl Wardrobe {
    /// The statement the hat was for has been sent.
    pub fn use_hat(&mut self) {
        if let Some(hat) = &mut self.hat {
            hat.used = true;
        }
    }

    /// DISCARD ALL is about to be sent, which leaves the role that the session entered.
    pub fn undress(&mut self) {
        self.bare = true;
    }

    /// An Execute is about to be sent.
    pub fn executes(&mut self) {
        self.use_hat();
        self.executed = true;
    }

    /// A statement failed: what happened inside the transaction is undone with it.
    pub fn failed(&mut self) {
        self.hat.take_if(|hat| hat.way == Way::Inside);
    }

    fn is_used(&self) -> bool {
        self.bare || self.hat.as_ref().is_some_and(|hat| hat.used)
    }

    /// The hat is on for the message that comes next; until it is sent, nothing may move.
    pub fn is_ready(&self) -> bool {
        self.hat.as_ref().is_some_and(|hat| !hat.used)
    }
}

impl<C> Session<C> {
    /// True while the session is still the owner of the last statement, or nobody: nothing else may be sent.
    pub(super) fn is_owner(&self) -> bool {
        self.wardrobe.is_used() && !self.server_skips
    }

    /// True when a client message of this kind must wait until the session is itself again.
    pub(super) fn hat_holds(&self, tag: u8) -> bool {
        self.is_owner() && !matches!(tag, b'X' | b'H')
    }

    /// True when the Execute at the head of the inbound buffer has to wait for its owner.
    pub(super) fn execute_wants_owner(&mut self, head: Head) -> bool {
        let Some((portal, prepared)) = self.portal_at(head) else {
            return false;
        };
        let Some(judged) = self.current(&prepared) else {
            // It is being read elsewhere, and comes here again.
            return false;
        };
        let Some(permit) = judged.first_permit() else {
            return false;
        };
        // What was sent may have ended a failed transaction: only its answer tells how the owner is put on.
        let unanswered = self.transaction == b'E' && !self.pending.is_empty() && !self.server_skips;
        if permit.owner().is_some() && unanswered && !self.wardrobe.executed {
            return true;
        }
        let way = Way::of(permit, &prepared.text);
        self.wants(permit, way, Some((portal, prepared)))
    }

    fn portal_at(&self, head: Head) -> Option<(String, Rc<Prepared>)> {
        let body = frame::body(&self.inbound, head.total).ok()?;
        let portal = frontend::execute(body).ok()?;
        Some((portal.to_owned(), self.find_portal(portal)?))
    }

    /// True when the next statement of a script has to wait for its owner.
    pub(super) fn step_wants_owner(&mut self, text: &str, alone: bool) -> bool {
        let Some(judged) = self.judge_all(text) else {
            return false;
        };
        let Some(permit) = judged.first_permit() else {
            return false;
        };
        let way = if alone { Way::Outside } else { Way::Inside };
        let wants = self.wants(permit, way, None);
        // The change of role belongs to the implicit transaction that the script is.
        self.pipeline |= wants && !alone;
        wants
    }

    /// True when the statement is to be sent by itself rather than in an implicit transaction of ours.
    pub(super) fn goes_alone(&mut self, text: &str) -> bool {
        let Some(judged) = self.judge_all(text) else {
            return false;
        };
        let outside = match judged.first_permit() {
            // What a limit watches is sent step by step.
            Some(permit) if self.watch(permit).runs_alone() => return false,
            Some(permit) => Way::of(permit, text) == Way::Outside,
            None => false,
        };
        !self.pipeline && (self.transaction != b'I' || outside)
    }

    fn wants(&mut self, permit: &Permit, way: Way, portal: Option<(String, Rc<Prepared>)>) -> bool {
        // In a failed transaction nothing runs, as whomever.
        let failed = self.transaction == b'E' && !self.wardrobe.executed;
        let Some(owner) = permit.owner().filter(|_| !failed && !self.wardrobe.is_ready()) else {
            return false;
        };
        let alone = way == Way::Outside && self.transaction == b'I' && !self.wardrobe.executed;
        self.wardrobe.wanted = Some(Wanted {
            owner: owner.clone(),
            defines: permit.defines().clone(),
            lent: permit.lent().clone(),
            empties: permit.class() == Class::Truncate,
            way: if alone { Way::Outside } else { Way::Inside },
            changes: matches!(permit.class(), Class::Alter | Class::Drop),
            portal,
        });
        true
    }

    /// Everything that happens between two statements while the server owes nothing: the session is itself again, knows
    /// the schema, has its rights on what is new, and becomes the owner of what is next.
    pub(super) async fn catch_up(&mut self) -> Result<(), End> {
        let wanted = self.wardrobe.wanted.take();
        if self.server_skips {
            return Ok(());
        }
        let before = self.view.shared();
        let worn = self.wardrobe.hat.as_ref().filter(|hat| hat.used);
        let worn = worn.map(|hat| (hat.owner.clone(), hat.defines.clone()));
        // In a failed block DISCARD ALL itself has failed, and nothing can run.
        let bare = std::mem::take(&mut self.wardrobe.bare) && !self.is_in_failed_block();
        if worn.is_some() || bare {
            if self.own_run(&[self.own_role()]).await?.is_none() {
                return Ok(());
            }
            self.wardrobe.hat = None;
        }
        if let Some((owner, defines)) = &worn {
            // Before names are looked up again: a schema that may be used can stand on the search path.
            self.share_schemas(owner, defines).await?;
        }
        self.refresh_view().await?;
        if let (Some((owner, defines)), false) = (worn, self.server_skips) {
            self.share_new(&owner, &defines, &before).await?;
            if !self.server_skips {
                self.rehook(&owner, &defines).await?;
            }
        }
        match wanted {
            Some(wanted) if !self.server_skips => self.become_owner(wanted).await,
            _ => Ok(()),
        }
    }

    /// Runs statements of the broker's own and returns the last value; `None` when one failed in a pipeline, where the
    /// server's words stand for the client's statement. Elsewhere nobody asked, and the session cannot go on.
    pub(super) async fn own_run(&mut self, batch: &[String]) -> Result<Option<Option<String>>, End> {
        let error = match self.own_batch(batch).await? {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let body = error.get(frame::HEADER..).unwrap_or_default();
        let sqlstate = backend::report(body)
            .map(|report| report.sqlstate.to_owned())
            .unwrap_or_default();
        tracing::error!(database = %self.link.target.name, %sqlstate, "a statement of the broker's own failed in a session");
        if self.pipeline {
            self.failed_on_our_own(&error);
            self.wardrobe.failed();
            return Ok(None);
        }
        let text = "a statement of the broker's own failed in this session, which cannot go on";
        Err(End::Fatal(Box::new(Complaint::fatal("58000", text))))
    }

    /// The statement that makes the session itself again.
    pub(super) fn own_role(&self) -> String {
        match self.link.target.role() {
            Some(role) => format!("SET ROLE {}", identifier(role)),
            None => "RESET ROLE".to_owned(),
        }
    }

    async fn become_owner(&mut self, wanted: Wanted) -> Result<(), End> {
        if self.transaction == b'E' && !self.pipeline {
            let text = "DDL behind a ROLLBACK in the same pipeline cannot be given its owner";
            let complaint = Complaint::fatal("0A000", text).hint("send Sync after the ROLLBACK");
            return Err(End::Fatal(Box::new(complaint)));
        }
        let alone = wanted.way == Way::Outside;
        if alone && self.pipeline {
            // The client's Sync comes later. Until here it has only prepared, which outlives this one.
            let mut out = BytesMut::new();
            frontend::put_bare(&mut out, b'S');
            if self.own_exchange(&out, b'Z', 1).await?.is_err() {
                return Err(End::UpstreamGone);
            }
            self.portals.clear();
            self.pipeline = false;
        }
        if wanted.changes && self.unhook(&wanted.defines).await?.is_none() {
            return Ok(());
        }
        let lend = |name: &String| {
            let (table, owner) = (qualified(TEMPORARY, name), identifier(&wanted.owner));
            format!("GRANT SELECT ON TABLE {table} TO {owner}")
        };
        let mut batch: Vec<String> = wanted.lent.iter().map(lend).collect();
        batch.push(match self.link.target.role() {
            Some(own) if wanted.empties => unless_triggers(&wanted, own),
            _ => format!("SET ROLE {}", identifier(&wanted.owner)),
        });
        batch.push("SELECT pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text".to_owned());
        let seen = match self.own_run(&batch).await {
            Ok(Some(seen)) => seen,
            Ok(None) => {
                self.note_no_owner(&wanted.owner);
                return Ok(());
            }
            Err(end) => return Err(self.no_owner(&wanted.owner, end)),
        };
        let seen: Option<Vec<String>> = seen.and_then(|text| serde_json::from_str(&text).ok());
        let seen: Option<Vec<String>> = seen.map(|path| path.into_iter().map(catalog::plain).collect());
        if seen.as_ref() != Some(&self.view.snapshot().search_path) {
            return Err(self.another_path(&wanted.owner));
        }
        // Without a transaction around it nothing undoes it but we.
        let inside = self.pipeline || self.transaction != b'I';
        self.wardrobe.hat = Some(Hat {
            owner: wanted.owner,
            defines: wanted.defines,
            way: if inside { wanted.way } else { Way::Outside },
            used: false,
        });
        if let (true, Some((portal, prepared))) = (alone, wanted.portal) {
            let mut out = BytesMut::with_capacity(prepared.text.len() + 128);
            frontend::put_close_statement(&mut out, REBOUND);
            frontend::put_parse(&mut out, REBOUND, &prepared.text);
            // Such a statement takes no parameters and returns no rows.
            frontend::put_bind(&mut out, &portal, REBOUND, false);
            frontend::put_bare(&mut out, b'H');
            if self.own_exchange(&out, b'2', 1).await?.is_err() {
                return Err(End::UpstreamGone);
            }
            self.portals.insert(portal, prepared);
            self.pipeline = true;
        }
        Ok(())
    }

    fn no_owner(&self, owner: &str, end: End) -> End {
        let End::Fatal(_) = end else { return end };
        self.note_no_owner(owner);
        let text = format!("the broker cannot act as {owner:?}, the owner that the policy names under `as`");
        End::Fatal(Box::new(
            Complaint::fatal("42501", text).hint("ask the operator: the broker's log names the SQL that cures it"),
        ))
    }

    fn note_no_owner(&self, owner: &str) {
        let (login, database) = (&self.link.target.user, &self.link.target.name);
        tracing::error!(%database, %owner, "DDL could not be run as its owner; unless it was cancelled, run as an administrator: GRANT {} TO {} WITH ADMIN OPTION;",
            identifier(owner), identifier(login));
    }

    /// Names were judged along the session's path. Along another one the statement could mean other tables.
    fn another_path(&self, owner: &str) -> End {
        let path = self.view.snapshot().search_path.join(", ");
        let text = format!("{owner:?} looks names up along another search path than this session ({path})");
        End::Fatal(Box::new(Complaint::fatal("42501", text).hint(
            "ask the operator: the owner needs USAGE on the same schemas, and no schema of its own name may be on the path",
        )))
    }

    /// Lets the scope's role into a schema that the owner's statement made.
    async fn share_schemas(&mut self, owner: &str, defines: &[(String, String)]) -> Result<(), End> {
        let Some(role) = self.link.target.role().cloned() else {
            return Ok(());
        };
        let wholes = defines.iter().filter(|(_, name)| name == EVERYTHING);
        let around = Surroundings {
            schemas: wholes.map(|(schema, _)| schema.clone()).collect(),
            ..Surroundings::default()
        };
        let rights = rights::compile(&self.grant.scope, &Snapshot::default(), &around);
        for right in &rights {
            let Object::Schema(schema) = &right.object else {
                continue;
            };
            let asked = format!(
                "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_namespace n \
                 WHERE n.nspname OPERATOR(pg_catalog.=) {} AND pg_catalog.pg_has_role({}, n.nspowner, 'USAGE') \
                 AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')",
                literal(schema),
                literal(owner)
            );
            let Some(new) = self.own_run(&[asked]).await? else {
                return Ok(());
            };
            if new.as_deref() != Some("1") {
                continue;
            }
            let mut batch = vec![format!("SET ROLE {}", identifier(owner))];
            batch.extend(rights::grants([right], &role));
            batch.push(self.own_role());
            if self.own_run(&batch).await?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the scope's role its rights on what the owner's statement made or changed.
    async fn share_new(&mut self, owner: &str, defines: &[(String, String)], before: &Snapshot) -> Result<(), End> {
        let Some(role) = self.link.target.role().cloned() else {
            return Ok(());
        };
        let after = self.view.shared();
        if after.version == before.version {
            return Ok(());
        }
        let changed = changed(before, &after, defines);
        if changed.is_empty() {
            return Ok(());
        }
        // A statement may name relations that are another owner's to share.
        let oids: Vec<String> = changed.iter().map(|relation| relation.oid.to_string()).collect();
        let asked = format!(
            "SELECT pg_catalog.json_agg(c.oid::pg_catalog.int8)::pg_catalog.text FROM pg_catalog.pg_class c \
             WHERE c.oid OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.oid[]) \
             AND pg_catalog.pg_has_role({}, c.relowner, 'USAGE')",
            oids.join(","),
            literal(owner)
        );
        let Some(owned) = self.own_run(&[asked]).await? else {
            return Ok(());
        };
        let owned: Vec<u32> = owned
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let names: Vec<(&str, &str)> = changed
            .iter()
            .filter(|relation| owned.contains(&relation.oid))
            .map(|relation| (relation.schema.as_str(), relation.name.as_str()))
            .collect();
        let all = rights::compile(&self.grant.scope, &after, &Surroundings::default());
        let new = all.iter().filter(|right| match &right.object {
            Object::Table { schema, name } | Object::Sequence { schema, name } => {
                let known = before.relation(schema, name).map(|known| known.oid);
                let now = after.relation(schema, name).map(|now| now.oid);
                names.contains(&(schema.as_str(), name.as_str())) && known != now
            }
            Object::Column { schema, table, name } => {
                let known = before.relation(schema, table);
                names.contains(&(schema.as_str(), table.as_str()))
                    && known.is_none_or(|known| !known.columns.contains(name))
            }
            Object::Schema(_) | Object::Routine(_) => false,
        });
        let grants = rights::grants(new, &role);
        if grants.is_empty() {
            return Ok(());
        }
        let mut batch = vec![format!("SET ROLE {}", identifier(owner))];
        batch.extend(grants);
        batch.push(self.own_role());
        self.own_run(&batch).await.map(|_| ())
    }
}

/// Makes the session the owner, unless a trigger on TRUNCATE would run as that: its code is judged by nobody. The server
/// then says what only an owner may do.
fn unless_triggers(wanted: &Wanted, own: &str) -> String {
    let tables: Vec<String> = wanted
        .defines
        .iter()
        .map(|(schema, name)| {
            format!(
                "{}::pg_catalog.regclass::pg_catalog.oid",
                literal(&qualified(schema, name))
            )
        })
        .collect();
    format!(
        "WITH RECURSIVE emptied(oid) AS (SELECT pg_catalog.unnest(ARRAY[{}]) \
         UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN emptied e ON i.inhparent OPERATOR(pg_catalog.=) e.oid) \
         SELECT pg_catalog.set_config('role', CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t \
         JOIN emptied e ON t.tgrelid OPERATOR(pg_catalog.=) e.oid WHERE NOT t.tgisinternal AND \
         t.tgtype OPERATOR(pg_catalog.&) 32::pg_catalog.int2 OPERATOR(pg_catalog.<>) 0) THEN {} ELSE {} END, false)",
        tables.join(", "),
        literal(own),
        literal(&wanted.owner)
    )
}

/// The relations that `defines` names, or that belong to one it names, and that are not in `before` as they are now.
/// What others made meanwhile is theirs to share: two who change the rights of one table at once get in each other's way.
fn changed<'s>(before: &Snapshot, after: &'s Snapshot, defines: &[(String, String)]) -> Vec<&'s Relation> {
    let named = |schema: &str, name: &str| defines.iter().any(|(of, it)| of == schema && it == name);
    after
        .relations
        .iter()
        .filter(|(schema, _)| !rights::is_system(schema))
        .flat_map(|(_, relations)| relations.values())
        .filter(|relation| {
            let owner = relation.owner_table.as_ref();
            named(&relation.schema, &relation.name) || owner.is_some_and(|(schema, name)| named(schema, name))
        })
        .filter(|relation| {
            before
                .relation(&relation.schema, &relation.name)
                .is_none_or(|known| known.oid != relation.oid || known.columns != relation.columns)
        })
        .collect()
}
