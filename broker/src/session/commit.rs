//! What runs only when a transaction commits, deferred constraint triggers above all, is made to run and counted before
//! the commit goes out: `max-affected-rows` holds for it as for a statement of its own.

use bytes::BytesMut;

use super::guard::Written;
use super::{Copy, End, Session, refusal};
use crate::decide::limit;
use crate::sql::{Block, Class, Effect};
use crate::wire::frame::HEADER;
use crate::wire::{backend, frontend};

/// Runs what was deferred so far, and defers nothing more.
const SETTLE: &str = "SET CONSTRAINTS ALL IMMEDIATE";
/// Where the transaction stands.
#[derive(Debug, Default)]
pub struct Commit {
    /// The client has opened a block, as far as it was sent: a Sync does not commit.
    open: bool,
    /// Something in the transaction may have changed rows.
    wrote: bool,
    /// The next message commits, and waits until what was deferred has run.
    wanted: bool,
    /// It has.
    settled: bool,
}

impl Commit {
    /// True inside a block of the client's.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// True when the next message waits for what was deferred.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// A statement is about to be sent.
    pub fn sends(&mut self, block: Block, effect: Effect) {
        match block {
            Block::Same | Block::Settles => {}
            Block::Opens => self.open = true,
            Block::Commits { chains } => *self = Self::of(chains && self.open),
            Block::Drops => *self = Self::of(false),
        }
        self.wrote |= effect == Effect::Change;
    }

    /// A Sync is about to be sent.
    pub fn syncs(&mut self) {
        if !self.open {
            *self = Self::default();
        }
    }

    /// The server is ready, and nothing else was sent to it.
    pub fn rests(&mut self, status: u8) {
        self.open = status != b'I';
        self.wrote &= self.open;
    }

    /// A statement whose rows are counted is about to be sent.
    pub fn writes(&mut self) {
        self.wrote = true;
    }

    fn of(open: bool) -> Self {
        Self {
            open,
            ..Self::default()
        }
    }
}

impl<C> Session<C> {
    /// True when a message that commits may be sent now; otherwise the session comes to rest first, and runs what was
    /// deferred.
    pub(super) fn may_commit(&mut self) -> bool {
        let nothing =
            self.grant.scope.limits.max_affected_rows.is_none() || !self.commit.wrote || self.drops_what_follows();
        if nothing || std::mem::take(&mut self.commit.settled) {
            return true;
        }
        if !self.pending.is_empty() || self.guard.holds() {
            self.wait_for_view();
            return false;
        }
        self.commit.wanted = true;
        self.waiting = true;
        false
    }

    /// Whether a change of this class has no effect before a COMMIT that is yet to come: it is made durable with that.
    pub(super) fn takes_effect_later(&self, class: Class) -> bool {
        let rows = matches!(
            class,
            Class::Insert | Class::Update | Class::Delete | Class::Merge | Class::CopyIn
        );
        rows && self.transaction == b'T' && !self.block_ends
    }

    /// True when the client's Sync may be sent now. Outside of a block of the client's it commits.
    pub(super) fn may_sync(&mut self) -> bool {
        let copying = matches!(self.copy, Copy::Open { begun: true, .. } | Copy::Swallow(_));
        copying || self.skipping || self.commit.open || self.may_commit()
    }

    /// Runs what was deferred, and refuses the commit when it changed too many rows.
    pub(super) async fn settle_deferred(&mut self) -> Result<(), End> {
        self.commit.wanted = false;
        let scope = self.grant.scope.clone();
        let Some(limit) = &scope.limits.max_affected_rows else {
            return Ok(());
        };
        // The block was there before the open pipeline began: a Sync of ours ends nothing.
        let block = self.transaction == b'T' && !self.block_ends;
        let pipeline = std::mem::replace(&mut self.pipeline, !block);
        let counted = match self.count_deferred().await? {
            Ok((Written::Rows(before), Written::Rows(after))) => {
                let count = after.saturating_sub(before);
                Ok((count > limit.value).then(|| limit::too_many_deferred(count, limit, &scope)))
            }
            Ok(_) => Ok(Some(limit::uncounted(Class::Transaction, limit, &scope))),
            Err(error) => Err(error),
        };
        if matches!(counted, Ok(None)) {
            self.pipeline |= pipeline;
            self.commit.settled = true;
            return Ok(());
        }
        if block {
            // As after a COMMIT that fails: nothing is left of the transaction, and no block is open.
            self.view.rolled_back();
            if self.own_batch(&["ROLLBACK"]).await?.is_err() {
                return Err(End::UpstreamGone);
            }
        }
        self.pipeline = true;
        match counted {
            Ok(Some(denial)) => {
                self.note_denied(&denial, "");
                self.parting_failed("42501");
                let mut out = BytesMut::new();
                frontend::put_parse(&mut out, self.nonce.name(), &self.nonce.failing());
                frontend::put_bare(&mut out, b'H');
                self.refuse_extended(out, refusal::denied(&denial));
            }
            Ok(None) => {}
            Err(error) => {
                let body = error.get(HEADER..).unwrap_or_default();
                let sqlstate = backend::report(body).map(|report| report.sqlstate.to_owned());
                self.parting_failed(&sqlstate.unwrap_or_default());
                self.failed_on_our_own(&error);
            }
        }
        Ok(())
    }

    /// The counts before and after what was deferred, or the server's error.
    async fn count_deferred(&mut self) -> Result<Result<(Written, Written), BytesMut>, End> {
        let before = match self.guard.take_before() {
            Some(before) => before,
            None => match self.written().await? {
                Ok(before) => before,
                Err(error) => return Ok(Err(error)),
            },
        };
        if let Err(error) = self.own_batch(&[SETTLE]).await? {
            return Ok(Err(error));
        }
        Ok(self.written().await?.map(|after| (before, after)))
    }
}
