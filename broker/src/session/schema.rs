//! The schema as this session sees it: the shared snapshot, or its own while it has uncommitted changes.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::pending::Expect;
use super::{End, Session};
use crate::catalog;
use crate::sql::Snapshot;
use crate::wire::answer::Complaint;
use crate::wire::frame::{HEADER, Head};
use crate::wire::{backend, frontend};

/// The name of the broker's own statement and portal while it reads the schema.
const OWN: &str = "hoop_schema";

/// What the judgement rests on and code of users can change: the effective search path and some settings. The server
/// reports changed settings only with ReadyForQuery, and the path only from version 18 on.
const GROUND: &str = "SELECT pg_catalog.json_build_array(pg_catalog.current_schemas(true), \
    pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding'), \
    pg_catalog.current_setting('row_security'), pg_catalog.current_setting('transaction_read_only'))::pg_catalog.text";

/// The answer to [`GROUND`].
type Ground = (Vec<String>, String, String, String, String);

/// What names resolve against.
#[derive(Debug)]
pub struct View {
    snapshot: Arc<Snapshot>,
    updates: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The session changed the schema in a transaction that is not over: others' snapshots do not fit.
    private: bool,
    /// The snapshot is older than what the session did.
    behind: bool,
    /// Code of users ran that could have changed the search path without a word to anybody.
    doubted: bool,
    /// The search path that sessions begin with. A session that has another one keeps its snapshot to itself.
    path: Vec<String>,
}

impl View {
    /// The shared snapshot and its later versions.
    pub fn new(snapshot: Arc<Snapshot>, updates: watch::Receiver<Option<Arc<Snapshot>>>) -> Self {
        let path = snapshot.search_path.clone();
        Self {
            snapshot,
            updates,
            private: false,
            behind: false,
            doubted: false,
            path,
        }
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The snapshot in force, to be taken elsewhere.
    pub fn shared(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    /// True when the session has a schema of its own, which a rollback would take away.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// True when a reset brings back how the server looked names up when the session began. A temporary schema stays on
    /// the path of a connection even when it is empty.
    pub fn is_plain(&self) -> bool {
        !self.behind && !self.snapshot.has_temporary()
    }

    /// A schema change was sent.
    pub fn moved(&mut self) {
        self.private = true;
        self.behind = true;
    }

    /// A rollback was sent: changes made in the transaction are gone.
    pub fn rolled_back(&mut self) {
        self.behind |= self.private;
    }

    /// DISCARD ALL was sent: what is temporary goes, and so does a search path of the session's own.
    pub fn discarded(&mut self) {
        self.behind |= self.private || self.snapshot.has_temporary();
    }

    /// Code of users is about to run.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// The transaction is over, one way or the other.
    pub fn transaction_over(&mut self) {
        self.behind |= self.private;
    }

    /// Takes over a newer shared snapshot, unless this session sees a schema of its own.
    fn follow(&mut self) {
        if self.private || !self.updates.has_changed().unwrap_or(false) {
            return;
        }
        let newer = self.updates.borrow_and_update().clone();
        if self.snapshot.has_temporary() {
            // Others do not see what only this session has: it reads the schema by itself, unless the news is its own.
            self.behind |= newer.is_some_and(|newer| newer.version != self.snapshot.shared_version());
        } else if let Some(newer) = newer {
            self.path.clone_from(&newer.search_path);
            self.snapshot = newer;
        }
    }
}

impl<C> Session<C> {
    /// True when the next statement cannot be judged before the schema was read again.
    pub(super) fn view_is_behind(&mut self) -> bool {
        self.view.follow();
        // The server drops the rest of a pipeline, and what the transaction changed may be gone with it.
        if self.server_skips && self.view.private {
            return true;
        }
        let behind = self.view.behind || self.view.doubted;
        behind && !self.drops_what_follows() && !self.is_in_failed_block()
    }

    /// True when the server drops what is sent next, because an earlier message of the same pipeline failed. Behind the
    /// Sync that ends it everything runs again.
    pub(super) fn drops_what_follows(&self) -> bool {
        self.server_skips && !self.pending.iter().any(|expect| matches!(expect, Expect::Sync))
    }

    /// True in a failed transaction: nothing but its end runs, and nothing can be read. What was executed and has no
    /// ReadyForQuery yet may have ended it; what was only prepared and bound, as a driver's ROLLBACK is, has not.
    pub(super) fn is_in_failed_block(&self) -> bool {
        let may_end = |expect: &Expect| matches!(expect, Expect::Execute(_) | Expect::Query { .. } | Expect::Sync);
        let executed = self.pipeline && self.wardrobe.executed;
        self.transaction == b'E' && !executed && !self.pending.iter().any(may_end)
    }

    /// True when a schema change of this session was committed and has not been read yet.
    pub(super) fn view_can_be_shared(&self) -> bool {
        self.view.behind && self.transaction == b'I' && !self.pipeline && self.pending.is_empty() && !self.guard.holds()
    }

    /// A Sync is about to be sent. Where it ends a transaction that changed the schema the commit may still fail: what
    /// follows is judged once the outcome is known.
    pub(super) fn commits(&mut self) {
        if self.transaction != b'T' || self.block_ends {
            self.view.rolled_back();
        }
    }

    /// Holds the client's next message back until the server has answered everything so far.
    pub(super) fn wait_for_view(&mut self) {
        self.waiting = true;
        if self.pipeline && !self.pending.is_empty() {
            let mut flush = BytesMut::new();
            frontend::put_bare(&mut flush, b'H');
            self.link.send_own(flush);
        }
    }

    /// Reads the schema through the session's own connection, inside whatever transaction it is in.
    pub(super) async fn refresh_view(&mut self) -> Result<(), End> {
        // A failed transaction lets nothing be read. Its client may have asked on before it heard of the end.
        if self.server_skips || self.is_in_failed_block() {
            return Ok(());
        }
        if !self.view.behind {
            return self.check_ground().await;
        }
        let began = Instant::now();
        // Compiling this query takes many times as long as running it, and a session that changes schemas needs no other.
        if let Err(error) = self
            .own_query("SELECT pg_catalog.set_config('jit', 'off', false)")
            .await?
        {
            return self.not_read(&error);
        }
        let text = match self.own_query(catalog::query(catalog::Part::User)).await? {
            Ok(text) => text,
            Err(error) => return self.not_read(&error),
        };
        let snapshot = catalog::read_user(&self.view.snapshot, &text).map_err(|_| End::UpstreamGone)?;
        self.view.snapshot = Arc::new(snapshot);
        self.view.behind = false;
        let shared = if self.view.snapshot.has_temporary() {
            Arc::new(self.view.snapshot.without_temporary())
        } else {
            self.view.snapshot.clone()
        };
        if self.transaction == b'I' && !self.pipeline && shared.search_path == self.view.path {
            // Committed: everybody sees it, but for temporary relations.
            self.view.private = false;
            self.core.house.catalogs.publish(&self.link.target, shared, began);
            self.core.house.roles.moved(&self.link.target.name);
        }
        self.check_ground().await
    }

    /// Makes sure that what statements are judged by still holds after code of users ran.
    async fn check_ground(&mut self) -> Result<(), End> {
        if !self.view.doubted {
            return Ok(());
        }
        let text = match self.own_query(GROUND).await? {
            Ok(text) => text,
            Err(error) => return self.not_read(&error),
        };
        self.view.doubted = false;
        let (path, strings, encoding, rows, read_only): Ground =
            serde_json::from_str(&text).map_err(|_| End::UpstreamGone)?;
        let reads = self.grant.scope.limits.read_only.is_some();
        let path: Vec<String> = path.into_iter().map(catalog::plain).collect();
        let changed = [
            ("search_path", path != self.view.snapshot.search_path),
            ("standard_conforming_strings", strings != "on"),
            ("client_encoding", encoding != "UTF8"),
            ("row_security", rows != "on" && !self.may_be("row_security", &rows)),
            ("transaction_read_only", reads && read_only != "on"),
        ];
        let Some((name, _)) = changed.iter().find(|(_, changed)| *changed) else {
            return Ok(());
        };
        let text = format!("the session's {name} changed, so statements can no longer be judged");
        let hint = "a function or type of the database set it: it must restore what it changes (a SET clause in its definition does)";
        Err(End::Fatal(Box::new(Complaint::fatal("57P01", text).hint(hint))))
    }

    /// True when a preset of the scope lets the job set it to this value itself.
    fn may_be(&self, setting: &str, value: &str) -> bool {
        let values = self
            .grant
            .scope
            .can
            .iter()
            .filter_map(|rule| rule.settings.get(setting));
        values.into_iter().any(|values| values.contains(value))
    }

    /// The broker's own query failed. In a pipeline the server's words stand for the next statement's; elsewhere nobody
    /// asked, and nothing more can be judged.
    fn not_read(&mut self, error: &BytesMut) -> Result<(), End> {
        if self.pipeline {
            self.failed_on_our_own(error);
            return Ok(());
        }
        let text = "the broker could not read the schema after this session changed it";
        Err(End::Fatal(Box::new(Complaint::fatal("58000", text))))
    }

    /// Runs one query of the broker's own and returns its only value, or the server's ErrorResponse.
    pub(super) async fn own_query(&mut self, sql: &str) -> Result<Result<String, BytesMut>, End> {
        match self.own_batch(&[sql]).await? {
            Ok(value) => value.map(Ok).ok_or(End::UpstreamGone),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Runs statements of the broker's own and returns the last value of them all, or the server's ErrorResponse. In the
    /// middle of a pipeline it ends with Flush, so that the client's implicit transaction stays open; otherwise with Sync.
    pub(super) async fn own_batch(
        &mut self,
        batch: &[impl AsRef<str>],
    ) -> Result<Result<Option<String>, BytesMut>, End> {
        let mut out = BytesMut::with_capacity(batch.iter().map(|sql| sql.as_ref().len() + 128).sum());
        // One that failed was not closed.
        frontend::put_close_portal(&mut out, OWN);
        frontend::put_close_statement(&mut out, OWN);
        for sql in batch {
            frontend::put_parse(&mut out, OWN, sql.as_ref());
            frontend::put_bind(&mut out, OWN, OWN, false);
            frontend::put_execute(&mut out, OWN);
            // Inside a transaction the portal outlives the statement it was made from. Two Closes, two CloseCompletes:
            // the last one is the last answer where no Sync follows.
            frontend::put_close_portal(&mut out, OWN);
            frontend::put_close_statement(&mut out, OWN);
        }
        frontend::put_bare(&mut out, if self.pipeline { b'H' } else { b'S' });
        let (last, times) = if self.pipeline {
            (b'3', 2 * (batch.len() + 1))
        } else {
            (b'Z', 1)
        };
        self.own_exchange(&out, last, times).await
    }

    /// Sends messages of the broker's own and reads up to the `times`th answer of the kind `last`.
    pub(super) async fn own_exchange(
        &mut self,
        out: &[u8],
        last: u8,
        times: usize,
    ) -> Result<Result<Option<String>, BytesMut>, End> {
        self.own_exchange_seen(out, last, times, |_, _| {}).await
    }

    /// The same, each answer shown to `seen`.
    pub(super) async fn own_exchange_seen(
        &mut self,
        out: &[u8],
        last: u8,
        times: usize,
        mut seen: impl FnMut(u8, &[u8]),
    ) -> Result<Result<Option<String>, BytesMut>, End> {
        let sent = async {
            // What was released before goes first.
            self.link.transport.write_all_buf(&mut self.link.outbound).await?;
            self.link.transport.write_all(out).await?;
            self.link.transport.flush().await
        };
        sent.await.map_err(|_| End::UpstreamGone)?;
        let (mut value, mut error) = (None, None);
        let mut left = times;
        loop {
            let message = self.own_answer().await?;
            let body = message.get(HEADER..).unwrap_or_default();
            seen(message.first().copied().unwrap_or_default(), body);
            match message.first() {
                Some(b'D') => {
                    let column = backend::first_column(body).map_err(|_| End::UpstreamGone)?;
                    value = column.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
                }
                Some(b'E') => {
                    let report = backend::report(body).map_err(|_| End::UpstreamGone)?;
                    if report.is_fatal() {
                        self.log.note_fatal();
                        self.outbound.extend_from_slice(&message);
                        return Err(End::UpstreamGone);
                    }
                    if self.pipeline {
                        return Ok(Err(message));
                    }
                    error = Some(message);
                }
                // The broker's own SET CONSTRAINTS in an implicit transaction works, with a warning that it has no block.
                Some(b'N') if backend::report(body).is_ok_and(|report| report.sqlstate == "25P01") => {}
                // Asynchronous messages are the client's.
                Some(b'N' | b'A' | b'S') => self.outbound.extend_from_slice(&message),
                Some(tag) if *tag == last => {
                    left = left.saturating_sub(1);
                    if left == 0 {
                        return Ok(error.map_or(Ok(value), Err));
                    }
                }
                _ => {}
            }
        }
    }

    async fn own_answer(&mut self) -> Result<BytesMut, End> {
        loop {
            let head = Head::peek(&self.link.inbound, |_| false).map_err(|_| End::UpstreamGone)?;
            if let Some(head) = head.filter(|head| head.complete(self.link.inbound.len())) {
                return Ok(self.link.inbound.split_to(head.total));
            }
            match self.link.transport.read_buf(&mut self.link.inbound).await {
                Ok(0) | Err(_) => return Err(End::UpstreamGone),
                Ok(_) => {}
            }
        }
    }
}
