//! The writing end of a lane: encode into memory, one `write` per batch, all of it or none.

use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::{self, OpenIntent, Record};

use super::House;
use super::fault::RecordFault;
use super::files;
use super::lane::{JournalFile, Lane};

/// A buffer that grew beyond this for a large statement is given back.
const BUFFER: usize = 256 * 1024;

/// Room is made in a journal file this far ahead, as zeros: a record that goes where bytes already are changes neither
/// the file's size nor its blocks, so that syncing it need not wait for the file system's own journal.
const ROOM: u64 = 128 * 1024;

/// Room is written in pieces of this many bytes. Bigger ones would be kept in memory as one, and each later write into
/// it would cost more.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A place in a journal, to wait for with [`Journal::synced`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[cfg(test)]
impl Mark {
    /// A place no journal reaches.
    pub(super) fn far() -> Self {
        Self(u64::MAX)
    }
}

/// One runtime's journal. Its sessions share it behind an `Rc<RefCell<_>>`.
#[derive(Debug)]
pub struct Journal {
    house: Arc<House>,
    lane: Arc<Lane>,
    current: Arc<JournalFile>,
    pending: Vec<u8>,
    spans: Vec<Span>,
    /// Executions without an outcome, told to the next file when this one is full.
    open: HashSet<OpenIntent>,
    /// A failed write left bytes behind that could not be cut off yet.
    torn: bool,
    /// Where the room made in the current file ends, or would end had the disk had it.
    room: u64,
    unencodable: Option<RecordFault>,
}

/// One record in the buffer.
#[derive(Debug)]
struct Span {
    end: usize,
    owed: bool,
    /// The execution it opens (an intent) or closes (an outcome, which is owed).
    of: Option<OpenIntent>,
}

impl Journal {
    pub(super) fn open(house: Arc<House>, lane: Arc<Lane>) -> Result<Self, RecordFault> {
        let current = begin(&house, &lane, 0, Vec::new())?;
        Ok(Self {
            house,
            lane,
            current,
            pending: Vec::new(),
            spans: Vec::new(),
            open: HashSet::new(),
            torn: false,
            room: 0,
            unencodable: None,
        })
    }

    /// Encodes `record` into the buffer; [`Journal::commit`] writes it. No system call but reading the clock.
    pub fn append(&mut self, record: &Record<'_>) {
        let now = self.house.clock.now().as_microsecond();
        if let Err(error) = ledger::encode(&mut self.pending, now, record) {
            self.unencodable = Some(RecordFault::Encoding(error.to_string()));
            return;
        }
        let of = match record {
            Record::Intent { session, i, .. } | Record::Outcome { session, i, .. } => Some(OpenIntent {
                session: *session,
                i: *i,
            }),
            _ => None,
        };
        let owed = record.is_owed();
        if let Some(execution) = of {
            if owed {
                self.open.remove(&execution);
            } else {
                self.open.insert(execution);
            }
        }
        self.spans.push(Span {
            end: self.pending.len(),
            owed,
            of,
        });
    }

    /// Writes everything appended since the last commit with one `write`. Once it returns `Ok`, the operating system has
    /// the records: they survive the broker's death. To survive the machine's, wait for [`Journal::synced`].
    ///
    /// On an error nothing was recorded and what the records announced must not be done: appended records are dropped,
    /// except those of things that have already happened ([`Record::is_owed`]), which stay for the next commit and must
    /// not be appended again. The next commit may succeed.
    pub fn commit(&mut self) -> Result<Mark, RecordFault> {
        if self.pending.is_empty() && self.unencodable.is_none() {
            return Ok(self.mark());
        }
        let written = match self.unencodable.take() {
            Some(fault) => Err(fault),
            None => self.write(),
        };
        match written {
            Ok(()) => {
                self.pending.clear();
                self.pending.shrink_to(BUFFER);
                self.spans.clear();
                self.lane.recover();
                self.lane.pulse.nudge();
                self.house.chain_pulse.nudge();
                Ok(self.mark())
            }
            Err(fault) => {
                self.keep_owed();
                if !matches!(fault, RecordFault::Encoding(_)) {
                    self.lane.ail(fault.clone());
                }
                Err(fault)
            }
        }
    }

    /// Waits until everything up to `mark` is on disk. Many waiters share one sync. The future does not borrow the
    /// journal. On an error nobody knows whether the records are on disk: what they announced must not be done.
    pub fn synced(&self, mark: Mark) -> impl Future<Output = Result<(), RecordFault>> + Send + use<> {
        Arc::clone(&self.lane).synced(mark.0)
    }

    fn mark(&self) -> Mark {
        Mark(self.current.base + self.current.written.load(Ordering::Acquire))
    }

    fn write(&mut self) -> Result<(), RecordFault> {
        if self.house.closed.load(Ordering::Acquire) {
            return Err(RecordFault::Closed);
        }
        let behind = self.mark().0.saturating_sub(self.lane.chained.load(Ordering::Relaxed));
        if behind > self.house.sizes.backlog {
            return Err(RecordFault::Behind { bytes: behind });
        }
        self.turn_page()?;
        let file = &self.current.file;
        let at = self.current.written.load(Ordering::Acquire);
        if self.torn {
            let cut = file.set_len(at);
            cut.map_err(|error| RecordFault::io("cutting", &self.current.path, &error))?;
            self.torn = false;
        }
        if let Err(error) = file.write_all_at(&self.pending, at) {
            self.torn = file.set_len(at).is_err();
            self.room = at;
            return Err(RecordFault::io("writing", &self.current.path, &error));
        }
        let length = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.current.written.store(at + length, Ordering::Release);
        self.make_room(at + length);
        Ok(())
    }

    /// Writes zeros behind `end`, where the file's records end now. Only an advance: when the disk has no room, the next
    /// record's own write says so. The control plane writes seldom, and on a full disk it is to refuse at once.
    fn make_room(&mut self, end: u64) {
        if end <= self.room || self.lane.order == 0 {
            return;
        }
        self.room = end - end % ROOM + ROOM;
        let mut at = end;
        while let Some(left) = usize::try_from(self.room - at).ok().filter(|left| *left > 0) {
            let piece = ZEROS.get(..left).unwrap_or(&ZEROS);
            if self.current.file.write_all_at(piece, at).is_err() {
                return;
            }
            at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
    }

    /// Begins a new file when this one is full or has failed.
    fn turn_page(&mut self) -> Result<(), RecordFault> {
        let failed = self.current.failed.load(Ordering::Acquire);
        let full = self.current.written.load(Ordering::Acquire) >= self.house.sizes.journal;
        if !failed && !full {
            return Ok(());
        }
        // Until the buffer is written, its intents are not open and those its outcomes close still are.
        let mut open = self.open.clone();
        for span in self.spans.iter().rev() {
            if let Some(execution) = span.of {
                if span.owed {
                    open.insert(execution);
                } else {
                    open.remove(&execution);
                }
            }
        }
        let mut open: Vec<_> = open.into_iter().collect();
        open.sort_unstable();
        match begin(&self.house, &self.lane, self.mark().0, open) {
            Ok(fresh) => {
                self.current = fresh;
                self.torn = false;
                self.room = 0;
                Ok(())
            }
            // A full file can take more; only its size is not as wished.
            Err(_) if full && !failed => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// After a failed write, only what has already happened stays.
    fn keep_owed(&mut self) {
        let mut kept = Vec::new();
        let mut spans = Vec::new();
        let mut start = 0;
        for span in self.spans.drain(..) {
            let bytes = self.pending.get(start..span.end).unwrap_or_default();
            start = span.end;
            if span.owed {
                kept.extend_from_slice(bytes);
                spans.push(Span {
                    end: kept.len(),
                    ..span
                });
            } else if let Some(intent) = span.of {
                self.open.remove(&intent);
            }
        }
        self.pending = kept;
        self.spans = spans;
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What is owed gets its last chance; a fault stays visible in the lane.
        let _last = self.commit();
        self.current.sealed.store(true, Ordering::Release);
        self.lane.pulse.stop();
        self.house.chain_pulse.urge();
    }
}

/// Makes a lane's next file, with its first line.
fn begin(house: &House, lane: &Lane, base: u64, open: Vec<OpenIntent>) -> Result<Arc<JournalFile>, RecordFault> {
    let number = house.journals_made.fetch_add(1, Ordering::Relaxed) + 1;
    let file = JournalFile::create(&house.place, format!("{}-{number}", house.boot), base)?;
    let first = Record::JournalOpened {
        name: lane.name.as_str().into(),
        open,
    };
    let mut text = Vec::new();
    let now = house.clock.now().as_microsecond();
    ledger::encode(&mut text, now, &first).map_err(|error| RecordFault::Encoding(error.to_string()))?;
    if let Err(error) = file.file.write_all_at(&text, 0) {
        // Without its first line the file is no journal; if it cannot be removed, recovery cuts it.
        let _gone = files::remove(&file.path);
        return Err(RecordFault::io("writing", &file.path, &error));
    }
    file.written
        .store(u64::try_from(text.len()).unwrap_or(u64::MAX), Ordering::Release);
    let file = Arc::new(file);
    lane.push(Arc::clone(&file));
    Ok(file)
}

/// The control plane's journal: any task may write, and each write is durable before it returns.
#[derive(Debug)]
pub struct Control(Mutex<Option<Journal>>);

impl Control {
    pub(super) fn new(journal: Journal) -> Self {
        Self(Mutex::new(Some(journal)))
    }

    /// Writes `record` at once, and waits until it is on disk. On an error, see [`Journal::commit`].
    pub fn write_durably(&self, record: &Record<'_>) -> impl Future<Output = Result<(), RecordFault>> + Send + use<> {
        let waiting = self.write(record);
        async move { waiting?.await }
    }

    /// Writes `record` at once and does not wait for the disk.
    pub fn write_soon(&self, record: &Record<'_>) -> Result<(), RecordFault> {
        self.write(record).map(drop)
    }

    fn write(
        &self,
        record: &Record<'_>,
    ) -> Result<impl Future<Output = Result<(), RecordFault>> + Send + use<>, RecordFault> {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = journal.as_mut().ok_or(RecordFault::Closed)?;
        journal.append(record);
        let mark = journal.commit()?;
        Ok(journal.synced(mark))
    }

    /// Ends the journal.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
pub(super) mod tests;
