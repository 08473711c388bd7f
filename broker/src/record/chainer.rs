//! The one thread that follows all journals and links their records into the chain.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::House;
use super::chain_file::ChainFile;
use super::fault::RecordFault;
use super::files;
use super::lane::{JournalFile, LAG, Lane};

/// How much of a journal is read at once.
const CHUNK: u64 = 1024 * 1024;

/// The chain is made durable, and the head moved, at most this often and at least this soon.
const SETTLE: Duration = Duration::from_millis(250);

/// How long to wait after the disk refused.
const RETRY: Duration = Duration::from_millis(200);

/// The chainer's state.
#[derive(Debug)]
pub(super) struct Chainer {
    house: Arc<House>,
    chain: ChainFile,
    chunk: Vec<u8>,
    settled: Instant,
    /// The chain must go back to its durable end first.
    rewind: bool,
}

impl Chainer {
    pub(super) fn new(house: Arc<House>, chain: ChainFile) -> Self {
        Self {
            house,
            chain,
            chunk: Vec::new(),
            settled: Instant::now(),
            rewind: false,
        }
    }

    /// The thread's whole life. At its end everything that was written is chained, unless it says why not.
    pub(super) fn run(mut self) -> Result<(), RecordFault> {
        loop {
            let next = if self.rewind {
                Some(RETRY)
            } else {
                self.is_due().then(|| SETTLE.saturating_sub(self.settled.elapsed()))
            };
            let stop = self.house.chain_pulse.wait(LAG, next);
            let done = self.turn(stop);
            self.house.set_chain_fault(done.as_ref().err().cloned());
            self.rewind = done.is_err();
            if stop {
                return done;
            }
        }
    }

    /// Links what there is; settles when it is time.
    fn turn(&mut self, last: bool) -> Result<(), RecordFault> {
        if self.rewind {
            self.chain.rewind()?;
            for (_, file) in self.files(false) {
                file.cursor
                    .store(file.chained.load(Ordering::Acquire), Ordering::Release);
            }
            self.rewind = false;
        }
        self.follow(last)?;
        if last || (self.is_due() && self.settled.elapsed() >= SETTLE) {
            self.settle()?;
        }
        Ok(())
    }

    /// True when there is something the head does not tell yet.
    fn is_due(&self) -> bool {
        self.chain.is_unsettled()
            || self
                .files(false)
                .iter()
                .any(|(_, file)| file.sealed.load(Ordering::Acquire))
    }

    /// The files of all lanes, the control plane's first, each lane's oldest first. At the broker's stop the control
    /// plane comes last, because it has the last word.
    fn files(&self, control_last: bool) -> Vec<(Arc<Lane>, Arc<JournalFile>)> {
        let mut lanes = self.house.lanes();
        lanes.sort_by_key(|lane| (control_last && lane.order == 0, lane.order));
        let pairs = lanes.into_iter().flat_map(|lane| {
            let files = lane.files();
            files.into_iter().map(move |file| (Arc::clone(&lane), file))
        });
        pairs.collect()
    }

    fn follow(&mut self, control_last: bool) -> Result<(), RecordFault> {
        let files = self.files(control_last);
        // How far each file stands is read last file first: what the control plane wrote before a session wrote is then
        // seen whenever the session's record is, and it is linked before it.
        let mut marks: Vec<u64> = files
            .iter()
            .rev()
            .map(|(_, file)| file.written.load(Ordering::Acquire))
            .collect();
        marks.reverse();
        for ((_, file), mark) in files.iter().zip(marks) {
            self.follow_file(file, mark)?;
        }
        self.chain.flush()
    }

    fn follow_file(&mut self, file: &JournalFile, mark: u64) -> Result<(), RecordFault> {
        let strange = |at: u64| {
            let name = &file.name;
            RecordFault::Corrupt(format!(
                "journal/{name}.log near byte {at} is not what this broker wrote"
            ))
        };
        let mut cursor = file.cursor.load(Ordering::Acquire);
        let mut want = CHUNK;
        while cursor < mark {
            let size = want.min(mark - cursor);
            self.chunk.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
            match file.file.read_exact_at(&mut self.chunk, cursor) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(strange(cursor)),
                other => other.map_err(|error| RecordFault::io("reading", &file.path, &error))?,
            }
            let before = cursor;
            for line in self.chunk.split_inclusive(|byte| *byte == b'\n') {
                let Some(record) = line.strip_suffix(b"\n") else { break };
                cursor += u64::try_from(line.len()).unwrap_or(u64::MAX);
                self.chain
                    .link(&file.name, cursor, record)
                    .map_err(|_| strange(cursor))?;
            }
            if cursor == before {
                // One line is longer than the chunk, or what was written does not end with its newline.
                if size == mark - cursor {
                    return Err(strange(cursor));
                }
                want = want.saturating_mul(2);
                continue;
            }
            want = CHUNK;
            file.cursor.store(cursor, Ordering::Release);
            self.chain.flush()?;
        }
        self.chunk.shrink_to(usize::try_from(CHUNK).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Makes the chain durable, moves the head, and deletes journals that are of no more use.
    fn settle(&mut self) -> Result<(), RecordFault> {
        self.settled = Instant::now();
        self.chain.settle()?;
        let mut journals = BTreeMap::new();
        let mut finished = BTreeSet::new();
        let mut paths = Vec::new();
        for lane in self.house.lanes() {
            // Only a lane's oldest files: an outcome must not go before the intent it belongs to.
            let mut oldest = true;
            for file in lane.files() {
                let cursor = file.cursor.load(Ordering::Acquire);
                file.chained.store(cursor, Ordering::Release);
                lane.chained.store(file.base + cursor, Ordering::Relaxed);
                oldest = oldest && file.is_spent();
                if oldest {
                    finished.insert(file.name.clone());
                    paths.push(file.path.clone());
                } else {
                    journals.insert(file.name.clone(), cursor);
                }
            }
        }
        self.chain.write_head(journals, finished.clone())?;
        for path in &paths {
            files::remove(path).map_err(|error| RecordFault::io("removing", path, &error))?;
        }
        for lane in self.house.lanes() {
            lane.forget(&finished);
        }
        Ok(())
    }
}
