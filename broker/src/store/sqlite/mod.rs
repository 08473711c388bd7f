//! The embedded store: one SQLite file, one writer thread, WAL with an `fsync` per commit. Calls that arrive while a
//! commit is on its way to the disk share the next one.

mod open;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    Answer, Digest, EndOutcome, Ended, Filter, GrantRow, Outcome, Purge, Restored, Store, StoreFault, TokenUse,
    TotalsRow,
};
use crate::base::id::GrantId;
use crate::sql::bound::Sight;

/// How many calls may wait for the writer.
const QUEUE: usize = 1024;
/// How many calls share one commit at most.
const BATCH: usize = 256;

/// One call: works inside the batch's transaction and leaves what to say once the commit is known.
type Job = Box<dyn FnOnce(&Connection) -> Report + Send>;
type Report = Box<dyn FnOnce(Result<(), StoreFault>) + Send>;

/// The embedded store.
#[derive(Debug)]
pub struct Sqlite {
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<std::thread::JoinHandle<()>>,
    healthy: Arc<AtomicBool>,
}

impl Sqlite {
    /// Opens, checks and upgrades `store.db` in `directory`, or makes a new one.
    pub fn open(directory: &Path) -> Result<Self, StoreFault> {
        Self::start(open::file(&directory.join("store.db"))?)
    }

    /// A store that is forgotten with the process.
    pub fn in_memory() -> Result<Self, StoreFault> {
        Self::start(open::memory()?)
    }

    fn start(db: Connection) -> Result<Self, StoreFault> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let healthy = Arc::new(AtomicBool::new(true));
        let health = Arc::clone(&healthy);
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || write(&db, queue, &health))
            .map_err(|error| StoreFault::Unavailable(format!("no thread for its writer: {error}")))?;
        Ok(Self {
            jobs: Some(jobs),
            writer: Some(writer),
            healthy,
        })
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreFault> + Send + 'static,
    ) -> Answer<'_, T> {
        async move {
            let gone = || StoreFault::Unavailable("its writer has stopped".into());
            let (tell, told) = oneshot::channel();
            let job: Job = Box::new(move |db| {
                let result = in_savepoint(db, work);
                Box::new(move |committed| {
                    // The caller may have gone away; what was committed stays committed.
                    let _ = tell.send(committed.and(result));
                })
            });
            self.jobs
                .as_ref()
                .ok_or_else(gone)?
                .send(job)
                .await
                .map_err(|_| gone())?;
            told.await.map_err(|_| gone())?
        }
        .boxed()
    }
}

impl Drop for Sqlite {
    /// Waits for the writer, so that the file is closed and its log folded in when the store is gone.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The writer's life: takes what waits, works it off in one transaction, commits, and only then answers.
fn write(db: &Connection, mut queue: mpsc::Receiver<Job>, healthy: &AtomicBool) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        let begun = db.execute_batch("BEGIN IMMEDIATE").map_err(StoreFault::from);
        let reports: Vec<Report> = batch.drain(..).map(|job| job(db)).collect();
        let committed = begun.and_then(|()| db.execute_batch("COMMIT").map_err(StoreFault::from));
        if let Err(fault) = &committed {
            tracing::error!(error = %fault, "the state store did not commit");
            if !db.is_autocommit() {
                let _ = db.execute_batch("ROLLBACK");
            }
        }
        healthy.store(committed.is_ok(), Ordering::Release);
        for report in reports {
            report(committed.clone());
        }
    }
}

/// Runs one call so that its failure undoes only its own work.
fn in_savepoint<T>(db: &Connection, work: impl FnOnce(&Connection) -> Result<T, StoreFault>) -> Result<T, StoreFault> {
    // Without its transaction (it did not begin, or a full disk rolled it back) a savepoint would commit on its own.
    if db.is_autocommit() {
        return Err(StoreFault::Unavailable("the transaction was rolled back".into()));
    }
    db.execute_batch("SAVEPOINT call")?;
    let result = work(db);
    let close = if result.is_ok() {
        "RELEASE call"
    } else {
        "ROLLBACK TO call; RELEASE call"
    };
    db.execute_batch(close)?;
    result
}

impl Store for Sqlite {
    fn mint(&self, grant: GrantRow, token: TokenUse, cap: u32) -> Answer<'_, Outcome> {
        self.call(move |db| rows::mint(db, &grant, &token, cap))
    }

    fn end(&self, id: GrantId, ended: Ended) -> Answer<'_, EndOutcome> {
        self.call(move |db| rows::end(db, id, &ended))
    }

    fn close_key(&self, key: Digest, ended: Ended, keep_until: Timestamp) -> Answer<'_, Option<GrantId>> {
        self.call(move |db| rows::close_key(db, key, &ended, keep_until))
    }

    fn grant(&self, id: GrantId) -> Answer<'_, Option<(GrantRow, TotalsRow)>> {
        self.call(move |db| rows::grant(db, id))
    }

    fn live(&self) -> Answer<'_, Restored> {
        self.call(rows::live)
    }

    fn matching(&self, filter: Filter) -> Answer<'_, Vec<GrantId>> {
        self.call(move |db| rows::matching(db, &filter))
    }

    fn add_totals(&self, totals: Vec<(GrantId, TotalsRow)>) -> Answer<'_, ()> {
        self.call(move |db| totals.iter().try_for_each(|(id, more)| rows::add_totals(db, *id, more)))
    }

    fn purge(&self, purge: Purge) -> Answer<'_, u64> {
        self.call(move |db| rows::purge(db, &purge))
    }

    fn see(&self, place: String, new: Vec<Sight>) -> Answer<'_, BTreeSet<Sight>> {
        self.call(move |db| rows::see(db, &place, &new))
    }

    fn ping(&self) -> Answer<'_, ()> {
        if self.healthy.load(Ordering::Acquire) {
            self.call(|db| Ok(db.query_row("SELECT count(*) FROM marks", [], |_| Ok(()))?))
        } else {
            futures_util::future::ready(Err(StoreFault::Unavailable("its last write failed".into()))).boxed()
        }
    }
}

impl From<rusqlite::Error> for StoreFault {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::DiskFull) => Self::Unavailable("the disk is full".into()),
            Some(ErrorCode::ReadOnly) => Self::Unavailable("its file is read-only".into()),
            _ => match error {
                // The statements are ours, so a value of the wrong type can only come from damage.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..) => Self::Corrupt(error.to_string()),
                other => Self::Unavailable(other.to_string()),
            },
        }
    }
}
