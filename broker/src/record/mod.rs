//! The ledger on disk: written before the effect, chained afterwards.
//!
//! Each runtime appends to a journal of its own, one `write` per batch; a thread per journal makes it durable by group
//! commit; one thread links all journals' records into the chain. `docs/LEDGER.md` has the format and the promises.

mod chain_file;
mod chainer;
mod check;
mod fault;
mod files;
mod journal;
mod lane;
mod pulse;
mod read;
mod recover;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::base::clock::Clock;
use crate::base::secret;
use crate::ledger::record::Record;

use chainer::Chainer;
use files::Place;
use lane::Lane;
use pulse::Pulse;

pub use check::{Report, verify};
pub use fault::RecordFault;
pub use journal::{Control, Journal, Mark};
pub use read::{session, sessions};

const MIB: u64 = 1024 * 1024;

/// How large files may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// A journal file that reached this is followed by a new one.
    pub journal: u64,
    /// A segment of the chain that reached this is followed by a new one.
    pub segment: u64,
    /// How far the chain may fall behind one journal before no more is taken.
    pub backlog: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            journal: 64 * MIB,
            segment: 64 * MIB,
            backlog: 256 * MIB,
        }
    }
}

/// What journals and threads share.
#[derive(Debug)]
struct House {
    place: Place,
    clock: Clock,
    sizes: Sizes,
    boot: String,
    journals_made: AtomicU64,
    lanes: Mutex<Vec<Arc<Lane>>>,
    chain_pulse: Pulse,
    chain_fault: Mutex<Option<RecordFault>>,
    closed: AtomicBool,
}

impl House {
    fn lanes(&self) -> Vec<Arc<Lane>> {
        unpoisoned(&self.lanes).clone()
    }

    fn set_chain_fault(&self, fault: Option<RecordFault>) {
        *unpoisoned(&self.chain_fault) = fault;
    }
}

/// The ledger of a running broker. Opened once; the lock is held as long as it lives.
#[derive(Debug)]
pub struct Recorder {
    house: Arc<House>,
    control: Control,
    syncers: Mutex<Vec<JoinHandle<()>>>,
    chainer: Option<JoinHandle<Result<(), RecordFault>>>,
    /// Held, not read.
    _lock: File,
}

impl Recorder {
    /// Opens the ledger in the folder `dir`, making it when it is not there: takes the lock, checks the chain's end, and
    /// takes over what an earlier run left. Blocks; needs no async runtime.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, RecordFault> {
        Self::open_sized(dir, clock, Sizes::default())
    }

    /// As [`Recorder::open`], with other sizes.
    pub fn open_sized(dir: &Path, clock: Clock, sizes: Sizes) -> Result<Self, RecordFault> {
        let place = Place::new(dir);
        place.create()?;
        let lock = place.lock()?;
        let chain = recover::recover(&place, &clock, sizes)?;
        let house = Arc::new(House {
            place,
            boot: boot_id(&clock)?,
            clock,
            sizes,
            journals_made: AtomicU64::new(0),
            lanes: Mutex::default(),
            chain_pulse: Pulse::default(),
            chain_fault: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let mut syncers = Vec::new();
        let control = Control::new(lay_lane(&house, "control", &mut syncers)?);
        let chainer = Chainer::new(Arc::clone(&house), chain);
        let chainer = spawn("ledger-chain", move || chainer.run())?;
        let recorder = Self {
            house,
            control,
            syncers: Mutex::new(syncers),
            chainer: Some(chainer),
            _lock: lock,
        };
        recorder.control.write_soon(&Record::BrokerStarted {
            version: env!("CARGO_PKG_VERSION").into(),
            boot: recorder.boot().into(),
        })?;
        Ok(recorder)
    }

    /// A journal for one runtime. `name` is for people.
    pub fn journal(&self, name: &str) -> Result<Journal, RecordFault> {
        lay_lane(&self.house, name, &mut unpoisoned(&self.syncers))
    }

    /// The control plane's journal.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The identifier of this run.
    pub fn boot(&self) -> &str {
        &self.house.boot
    }

    /// Whether the ledger takes records, as far as is known now. After a fault it is tried anew five times a second, so
    /// this turns well without any statement arriving.
    pub fn healthy(&self) -> Result<(), RecordFault> {
        let chain = unpoisoned(&self.house.chain_fault).clone();
        let fault = chain.or_else(|| self.house.lanes().iter().find_map(|lane| lane.fault()));
        fault.map_or(Ok(()), Err)
    }

    /// How many times journals were synced, for the metrics: far fewer than waits when many wait together.
    pub fn syncs(&self) -> u64 {
        let lanes = self.house.lanes();
        lanes.iter().map(|lane| lane.syncs.load(Ordering::Relaxed)).sum()
    }

    /// Ends the run in order: everything written is chained, the last record says that the broker stopped, and the head
    /// stands on it. Drop the runtimes' journals before; what a journal that is still held writes later is refused.
    pub fn close(mut self) -> Result<(), RecordFault> {
        let said = self.control.write_soon(&Record::BrokerStopped {
            boot: self.boot().into(),
        });
        self.end().and(said)
    }

    fn end(&mut self) -> Result<(), RecordFault> {
        let Some(chainer) = self.chainer.take() else {
            return Ok(());
        };
        self.control.close();
        self.house.closed.store(true, Ordering::Release);
        for lane in self.house.lanes() {
            lane.pulse.stop();
        }
        let syncers = std::mem::take(&mut *unpoisoned(&self.syncers));
        let mut whole = true;
        for syncer in syncers {
            whole &= syncer.join().is_ok();
        }
        self.house.chain_pulse.stop();
        let ended = chainer.join().unwrap_or(Err(RecordFault::Closed));
        if whole { ended } else { Err(RecordFault::Closed) }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Without `close` nobody asks; what could not be chained is taken over by the next start.
        let _unasked = self.end();
    }
}

fn lay_lane(house: &Arc<House>, name: &str, syncers: &mut Vec<JoinHandle<()>>) -> Result<Journal, RecordFault> {
    let order = house.lanes().len();
    let lane = Arc::new(Lane::new(name, order));
    let journal = Journal::open(Arc::clone(house), Arc::clone(&lane))?;
    unpoisoned(&house.lanes).push(Arc::clone(&lane));
    let place = house.place.clone();
    syncers.push(spawn("ledger-sync", move || lane.keep_synced(&place))?);
    Ok(journal)
}

fn spawn<T: Send + 'static>(
    name: &str,
    life: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RecordFault> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(life);
    spawned.map_err(|error| RecordFault::io("starting the thread", Path::new(name), &error))
}

/// Sorts by birth, and is not born twice.
fn boot_id(clock: &Clock) -> Result<String, RecordFault> {
    let random = secret::random_bytes::<2>()
        .map_err(|error| RecordFault::io("asking for random bytes", Path::new("/"), &std::io::Error::other(error)))?;
    let born = u64::try_from(clock.now().as_microsecond()).unwrap_or(0);
    Ok(format!("{born:014x}{:04x}", u16::from_be_bytes(random)))
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
