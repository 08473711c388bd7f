//! Large statements, read by processes of their own: the same binary under another name, with no secret, no open file
//! and hard limits. A parser that crashes, hangs, or eats memory costs the statement it was reading, and nothing else.
//!
//! A worker gets a schema snapshot once and then texts, and answers each with what `sql::read` found. What it says is
//! believed like the parser in this process would be; that it speaks at all is not.

mod frame;
mod process;
pub mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::process::Process;
use crate::sql::splice::{Edits, SpliceFault};
use crate::sql::{Snapshot, Statement, Unreadable};

/// What reading may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Worker processes at the same time.
    pub workers: usize,
    /// Texts that may wait for a worker.
    pub waiting: usize,
    /// How long a text may wait for a worker.
    pub patience: Duration,
    /// How long a worker may take over one text, its own start and a snapshot included.
    pub deadline: Duration,
    /// Address space of a worker, in megabytes. 512 of them are the stack it reads on.
    pub memory: u64,
    /// Processor time for one text, in seconds.
    pub cpu: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 2,
            waiting: 64,
            patience: Duration::from_secs(30),
            deadline: Duration::from_secs(20),
            memory: 4096,
            cpu: 10,
        }
    }
}

/// How often reading failed, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// A worker died over a text.
    pub crashed: u64,
    /// A worker took too long over a text.
    pub slow: u64,
    /// A text found every worker at work.
    pub busy: u64,
}

/// The pool. Blocking: call it where waiting is fine.
#[derive(Debug)]
pub struct Reader {
    program: PathBuf,
    limits: Limits,
    pool: Mutex<Pool>,
    freed: Condvar,
    crashed: AtomicU64,
    slow: AtomicU64,
    busy: AtomicU64,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Process>,
    at_work: usize,
    waiting: usize,
}

impl Reader {
    /// A pool without a worker yet; workers run `program`, which must be this very binary.
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        Self {
            program,
            limits,
            pool: Mutex::default(),
            freed: Condvar::new(),
            crashed: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        }
    }

    /// The binary that runs now, even after the file was replaced by another version.
    pub fn own_program() -> PathBuf {
        let running = PathBuf::from("/proc/self/exe");
        if running.exists() {
            running
        } else {
            std::env::current_exe().unwrap_or(running)
        }
    }

    /// Reads a text as [`crate::sql::read`] does, in a worker.
    pub fn read(&self, text: &str, snapshot: &Arc<Snapshot>) -> Result<Vec<Statement>, Unreadable> {
        self.work(|process, until| process.read(text, snapshot, until))?
    }

    /// Puts something else into a text as [`crate::sql::splice::splice`] does, in a worker.
    pub fn splice(&self, text: &str, edits: &Edits) -> Result<String, SpliceFault> {
        self.work(|process, until| process.splice(text, edits, until))?
    }

    /// Has a worker do something, and counts what becomes of it.
    fn work<T>(&self, work: impl FnOnce(&mut Process, Instant) -> Result<T, process::Fault>) -> Result<T, Unreadable> {
        let mut seat = self.take_seat().inspect_err(|_| {
            self.busy.fetch_add(1, Ordering::Relaxed);
        })?;
        let until = Instant::now() + self.limits.deadline;
        let mut process = match seat.idle.take() {
            Some(process) => process,
            None => Process::start(&self.program, &self.limits).map_err(|fault| self.count(&fault))?,
        };
        let done = work(&mut process, until).map_err(|fault| self.count(&fault))?;
        if !process.is_worn() {
            self.pool().idle.push(process);
        }
        Ok(done)
    }

    /// How often reading failed so far.
    pub fn counts(&self) -> Counts {
        Counts {
            crashed: self.crashed.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
        }
    }

    fn count(&self, fault: &process::Fault) -> Unreadable {
        tracing::warn!(%fault, "a reader process was replaced");
        let (counter, unreadable) = match fault {
            process::Fault::TooSlow => (&self.slow, Unreadable::TooSlow),
            process::Fault::NotStarted(_) | process::Fault::Died(_) | process::Fault::Garbled => {
                (&self.crashed, Unreadable::Crashed)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        unreadable
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to use one worker, with an idle one where there is one that still lives.
    fn take_seat(&self) -> Result<Seat<'_>, Unreadable> {
        let mut pool = self.pool();
        if pool.at_work >= self.limits.workers {
            if pool.waiting >= self.limits.waiting {
                return Err(Unreadable::Busy);
            }
            pool.waiting += 1;
            pool = self
                .freed
                .wait_timeout_while(pool, self.limits.patience, |pool| pool.at_work >= self.limits.workers)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            pool.waiting -= 1;
            if pool.at_work >= self.limits.workers {
                return Err(Unreadable::Busy);
            }
        }
        pool.at_work += 1;
        let mut idle = pool.idle.pop();
        drop(pool);
        while idle.as_mut().is_some_and(|process| !process.lives()) {
            idle = self.pool().idle.pop();
        }
        Ok(Seat { reader: self, idle })
    }
}

/// One of the [`Limits::workers`] that may work at the same time.
struct Seat<'r> {
    reader: &'r Reader,
    idle: Option<Process>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.reader.pool().at_work -= 1;
        self.reader.freed.notify_one();
    }
}
