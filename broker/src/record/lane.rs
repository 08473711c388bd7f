//! A lane: one journal as the background sees it, a row of files of which the last is being written. The thread that
//! makes it durable lives here.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::fault::RecordFault;
use super::files::{self, Place};
use super::pulse::Pulse;

/// Reads are durable within this time, and chained within it.
pub(super) const LAG: Duration = Duration::from_millis(50);

/// How often a lane that failed looks whether the disk is well again.
const PROBE: Duration = Duration::from_millis(200);

/// How many separate losses are remembered; older ones are merged, which can only widen them.
const LOSSES: usize = 64;

/// One file of a lane.
#[derive(Debug)]
pub(super) struct JournalFile {
    /// `<boot>-<number>`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// The lane's position of the file's first byte.
    pub(super) base: u64,
    /// How much of it stands. Bytes beyond are a write that failed.
    pub(super) written: AtomicU64,
    pub(super) synced: AtomicU64,
    /// How far the chainer has read.
    pub(super) cursor: AtomicU64,
    /// How far the chain certainly holds it.
    pub(super) chained: AtomicU64,
    /// Nothing will be written to it any more.
    pub(super) sealed: AtomicBool,
    /// A sync failed: what the system still keeps of it is not known, so it is left behind.
    pub(super) failed: AtomicBool,
}

impl JournalFile {
    /// Makes a new file.
    pub(super) fn create(place: &Place, name: String, base: u64) -> Result<Self, RecordFault> {
        let path = place.journal(&name);
        let file = files::private()
            .read(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| RecordFault::io("creating", &path, &error))?;
        Ok(Self::on(file, path, name, base))
    }

    pub(super) fn on(file: File, path: PathBuf, name: String, base: u64) -> Self {
        Self {
            name,
            path,
            file,
            base,
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            cursor: AtomicU64::new(0),
            chained: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// True when nothing more is wanted of the file: written to its end, chained, and synced or given up.
    pub(super) fn is_spent(&self) -> bool {
        let sealed = self.sealed.load(Ordering::Acquire);
        let written = self.written.load(Ordering::Acquire);
        let settled = self.failed.load(Ordering::Acquire) || self.synced.load(Ordering::Acquire) >= written;
        sealed && settled && self.chained.load(Ordering::Acquire) >= written
    }
}

/// How far a lane is durable.
#[derive(Debug, Clone, Default)]
struct Synced {
    upto: u64,
    lost: Vec<Lost>,
    /// The sync thread is gone.
    ended: bool,
}

/// Positions after `from` up to `to` of which nobody knows whether they are on disk.
#[derive(Debug, Clone)]
struct Lost {
    from: u64,
    /// `u64::MAX` until a new file is begun.
    to: u64,
    fault: RecordFault,
}

impl Synced {
    fn verdict(&self, mark: u64) -> Option<Result<(), RecordFault>> {
        if let Some(lost) = self.lost.iter().find(|lost| lost.from < mark && mark <= lost.to) {
            Some(Err(lost.fault.clone()))
        } else if self.upto >= mark {
            Some(Ok(()))
        } else {
            self.ended.then_some(Err(RecordFault::Closed))
        }
    }

    fn lose(&mut self, lost: Lost) {
        self.lost.push(lost);
        if self.lost.len() > LOSSES {
            let first = self.lost.remove(0);
            if let Some(next) = self.lost.first_mut() {
                next.from = first.from;
            }
        }
    }
}

/// One journal's files and threads' shared state.
#[derive(Debug)]
pub(super) struct Lane {
    /// What the journal is called.
    pub(super) name: String,
    /// 0 is the control plane's.
    pub(super) order: usize,
    files: Mutex<Vec<Arc<JournalFile>>>,
    /// Position up to which the chain certainly holds the lane.
    pub(super) chained: AtomicU64,
    pub(super) pulse: Pulse,
    state: watch::Sender<Synced>,
    /// Syncs done, each for everybody who waited.
    pub(super) syncs: AtomicU64,
    ailing: AtomicBool,
    fault: Mutex<Option<RecordFault>>,
}

impl Lane {
    pub(super) fn new(name: &str, order: usize) -> Self {
        Self {
            name: name.to_owned(),
            order,
            files: Mutex::default(),
            chained: AtomicU64::new(0),
            pulse: Pulse::default(),
            state: watch::Sender::new(Synced::default()),
            syncs: AtomicU64::new(0),
            ailing: AtomicBool::new(false),
            fault: Mutex::default(),
        }
    }

    /// The files that are not yet spent, oldest first.
    pub(super) fn files(&self) -> Vec<Arc<JournalFile>> {
        self.lock_files().clone()
    }

    /// Begins a new file; the one before is sealed.
    pub(super) fn push(&self, file: Arc<JournalFile>) {
        let base = file.base;
        let mut files = self.lock_files();
        if let Some(last) = files.last() {
            last.sealed.store(true, Ordering::Release);
        }
        files.push(file);
        drop(files);
        self.state.send_if_modified(|synced| {
            let open = synced.lost.iter_mut().filter(|lost| lost.to == u64::MAX);
            open.for_each(|lost| lost.to = base);
            false
        });
        self.pulse.urge();
    }

    /// Forgets files that are spent.
    pub(super) fn forget(&self, names: &std::collections::BTreeSet<String>) {
        self.lock_files().retain(|file| !names.contains(&file.name));
    }

    /// Waits until everything up to `mark` is on disk.
    pub(super) fn synced(self: Arc<Self>, mark: u64) -> impl Future<Output = Result<(), RecordFault>> + Send + 'static {
        let mut state = self.state.subscribe();
        let already = state.borrow().verdict(mark);
        if already.is_none() {
            self.pulse.urge();
        }
        async move {
            if let Some(verdict) = already {
                return verdict;
            }
            let seen = state.wait_for(|synced| synced.verdict(mark).is_some()).await;
            let verdict = seen.ok().and_then(|synced| synced.verdict(mark));
            // The sender lives in the lane, which this future holds.
            drop(self);
            verdict.unwrap_or(Err(RecordFault::Closed))
        }
    }

    /// Remembers that the lane cannot be written.
    pub(super) fn ail(&self, fault: RecordFault) {
        *self.lock_fault() = Some(fault);
        self.ailing.store(true, Ordering::Release);
        self.pulse.nudge();
    }

    /// The lane can be written.
    pub(super) fn recover(&self) {
        if self.ailing.load(Ordering::Acquire) && self.ailing.swap(false, Ordering::AcqRel) {
            *self.lock_fault() = None;
        }
    }

    /// Why the lane cannot be written, as far as is known.
    pub(super) fn fault(&self) -> Option<RecordFault> {
        self.lock_fault().clone()
    }

    /// The sync thread's whole life.
    pub(super) fn keep_synced(&self, place: &Place) {
        loop {
            let ailing = self.ailing.load(Ordering::Acquire);
            let stop = self.pulse.wait(LAG, ailing.then_some(PROBE));
            for file in self.files() {
                self.sync(place, &file);
            }
            if stop {
                self.state.send_modify(|synced| synced.ended = true);
                return;
            }
            // Without statements nobody would write, and nobody would notice that it works again.
            if ailing && place.probe(self.order).is_ok() {
                self.recover();
            }
        }
    }

    fn sync(&self, place: &Place, file: &JournalFile) {
        let from = file.synced.load(Ordering::Acquire);
        let written = file.written.load(Ordering::Acquire);
        if written <= from || file.failed.load(Ordering::Acquire) {
            return;
        }
        let named = if from == 0 {
            files::sync_dir(&place.journals())
        } else {
            Ok(())
        };
        self.syncs.fetch_add(1, Ordering::Relaxed);
        match named.and_then(|()| file.file.sync_data()) {
            Ok(()) => {
                file.synced.store(written, Ordering::Release);
                self.state
                    .send_modify(|synced| synced.upto = synced.upto.max(file.base + written));
            }
            // After a failed sync the system may have dropped the pages and call them clean: asking again would be told
            // a comfortable lie. The file is given up and its waiters are told.
            Err(error) => {
                let fault = RecordFault::io("syncing", &file.path, &error);
                file.failed.store(true, Ordering::Release);
                self.state.send_modify(|synced| {
                    let sealed = file.sealed.load(Ordering::Acquire);
                    let end = file.base + file.written.load(Ordering::Acquire);
                    synced.lose(Lost {
                        from: file.base + from,
                        to: if sealed { end } else { u64::MAX },
                        fault: fault.clone(),
                    });
                });
                self.ail(fault);
            }
        }
    }

    fn lock_files(&self) -> MutexGuard<'_, Vec<Arc<JournalFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_fault(&self) -> MutexGuard<'_, Option<RecordFault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
