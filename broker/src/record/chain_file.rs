//! The chain on disk: segments that only grow, and the state to go back to when the disk refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::ledger::chain::NotARecord;
use crate::ledger::{Head, Linker};

use super::fault::RecordFault;
use super::files::{self, Place};

/// The writing end of the chain. After an error, call [`ChainFile::rewind`] before anything else: the chain then ends
/// where it was last durable, and what followed must be linked again.
#[derive(Debug)]
pub(super) struct ChainFile {
    place: Place,
    /// A segment that reached this size is the last to hold more.
    limit: u64,
    file: File,
    here: End,
    out: Vec<u8>,
    durable: End,
    /// A sync failed: the segment is left behind.
    suspect: bool,
}

/// An end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) segment: u64,
    pub(super) bytes: u64,
    pub(super) linker: Linker,
}

impl ChainFile {
    /// Opens the chain at `end`, which must be on disk; anything after it is cut.
    pub(super) fn open(place: &Place, limit: u64, end: End) -> Result<Self, RecordFault> {
        Ok(Self {
            place: place.clone(),
            limit,
            file: reopen(place, end)?,
            here: end,
            out: Vec::new(),
            durable: end,
            suspect: false,
        })
    }

    /// Links a journal line, given without its newline, into the buffer.
    pub(super) fn link(&mut self, journal: &str, at: u64, line: &[u8]) -> Result<(), NotARecord> {
        self.here.linker.link(&mut self.out, journal, at, line)
    }

    /// Writes the buffer, and begins a new segment when this one is full.
    pub(super) fn flush(&mut self) -> Result<(), RecordFault> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all_at(&self.out, self.here.bytes);
        written.map_err(|error| RecordFault::io("writing", &self.place.segment(self.here.segment), &error))?;
        self.here.bytes += u64::try_from(self.out.len()).unwrap_or(u64::MAX);
        self.out.clear();
        if self.here.bytes >= self.limit {
            self.settle()?;
            self.next_segment()?;
        }
        Ok(())
    }

    /// Makes everything linked so far durable.
    pub(super) fn settle(&mut self) -> Result<(), RecordFault> {
        if !self.out.is_empty() {
            self.flush()?;
        }
        if let Err(error) = self.file.sync_data() {
            self.suspect = true;
            let path = self.place.segment(self.here.segment);
            return Err(RecordFault::io("syncing", &path, &error));
        }
        self.durable = self.here;
        Ok(())
    }

    /// Goes back to where the chain was last durable.
    pub(super) fn rewind(&mut self) -> Result<(), RecordFault> {
        self.out.clear();
        let unknown = |error: std::io::Error| RecordFault::io("reading", &self.place.chain(), &error);
        for number in self.place.segments().map_err(unknown)? {
            if number > self.durable.segment {
                let path = self.place.segment(number);
                files::remove(&path).map_err(|error| RecordFault::io("removing", &path, &error))?;
            }
        }
        self.file = reopen(&self.place, self.durable)?;
        self.here = self.durable;
        if self.suspect {
            self.next_segment()?;
            self.suspect = false;
        }
        Ok(())
    }

    /// True when something is linked that is not durable yet.
    pub(super) fn is_unsettled(&self) -> bool {
        self.here.linker.seq != self.durable.linker.seq
    }

    /// Writes the head: the chain is durable up to here.
    pub(super) fn write_head(
        &self,
        journals: BTreeMap<String, u64>,
        finished: BTreeSet<String>,
    ) -> Result<(), RecordFault> {
        let End { segment, bytes, linker } = self.durable;
        let Linker { seq, hash } = linker;
        self.place.write_head(&Head {
            seq,
            hash,
            segment,
            bytes,
            journals,
            finished,
        })
    }

    fn next_segment(&mut self) -> Result<(), RecordFault> {
        let end = End {
            segment: self.here.segment + 1,
            bytes: 0,
            linker: self.here.linker,
        };
        self.file = reopen(&self.place, end)?;
        self.here = end;
        Ok(())
    }
}

/// Opens the segment of `end`, cut there.
fn reopen(place: &Place, end: End) -> Result<File, RecordFault> {
    let path = place.segment(end.segment);
    let open = || {
        let file = files::private().read(true).open(&path)?;
        if file.metadata()?.len() != end.bytes {
            file.set_len(end.bytes)?;
            file.sync_all()?;
        }
        files::sync_dir(&place.chain())?;
        Ok(file)
    };
    open().map_err(|error| RecordFault::io("opening", &path, &error))
}
