//! The start: the chain's end is checked, and what earlier runs left in their journals is taken over.
//!
//! Everything a recovery adds is linked before the head moves, and the head moves before a journal is deleted. A crash
//! in between leaves a chain that is longer than its head says; the next start reads that end and takes over only what
//! is not in it yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use serde::de::IgnoredAny;

use crate::base::clock::Clock;
use crate::ledger::verify::Checked;
use crate::ledger::{self, Counts, Entry, Finding, Head, OpenIntent, Record, Status, Trouble, Verifier};

use super::Sizes;
use super::chain_file::{ChainFile, End};
use super::fault::RecordFault;
use super::files::{self, Place};

/// What stands in place of a journal's name in records that recovery itself makes.
const RECOVERY: &str = "recovery";

/// Flushes in between keep the memory of a large recovery small.
const BATCH: u32 = 4_096;

/// Opens the chain, takes over what was left, and returns it ready for new records.
pub(super) fn recover(place: &Place, clock: &Clock, sizes: Sizes) -> Result<ChainFile, RecordFault> {
    let tail = Tail::read(place)?;
    let chain = ChainFile::open(place, sizes.segment, tail.end)?;
    let mut recovery = Recovery {
        place,
        clock,
        chain,
        unflushed: 0,
        open: BTreeSet::new(),
        closed: tail.closed,
    };
    if tail.cut > 0 {
        recovery.note("chain", 0, tail.cut)?;
    }
    let names = place
        .journal_names()
        .map_err(|error| RecordFault::io("reading", &place.journals(), &error))?;
    for name in names.iter().filter(|name| !tail.finished.contains(*name)) {
        let from = tail.journals.get(name).copied().unwrap_or(0);
        recovery.take_over(name, from, tail.noted.contains(name))?;
    }
    recovery.resolve()?;
    let mut chain = recovery.chain;
    chain.settle()?;
    chain.write_head(BTreeMap::new(), names.iter().cloned().collect())?;
    for name in &names {
        let path = place.journal(name);
        files::remove(&path).map_err(|error| RecordFault::io("removing", &path, &error))?;
    }
    Ok(chain)
}

/// The end of the chain, from the head's segment on.
struct Tail {
    end: End,
    /// How far each journal is chained.
    journals: BTreeMap<String, u64>,
    /// Journals that need no more than deleting.
    finished: BTreeSet<String>,
    /// Journals whose recovery is already noted after the head.
    noted: BTreeSet<String>,
    /// Executions whose outcome stands after the head's segment began.
    closed: BTreeSet<OpenIntent>,
    /// Bytes after the end that no write finished.
    cut: u64,
}

impl Tail {
    fn read(place: &Place) -> Result<Self, RecordFault> {
        let unreadable = |error: std::io::Error| Finding::unreadable("chain", &error);
        let segments = place.segments().map_err(unreadable)?;
        let head = match place.read_head()? {
            Some(head) => head,
            None if segments.is_empty() => {
                let head = Head::genesis();
                place.write_head(&head)?;
                head
            }
            None => return Err(Finding::of(Trouble::HeadMissing).into()),
        };
        let mut tail = Self {
            end: End {
                segment: head.segment,
                bytes: 0,
                linker: crate::ledger::Linker::genesis(),
            },
            journals: head.journals.clone(),
            finished: head.finished.clone(),
            noted: BTreeSet::new(),
            closed: BTreeSet::new(),
            cut: 0,
        };
        let mut verifier = Verifier::from_segment_of(head.clone());
        if head == Head::genesis() && segments.is_empty() {
            return Ok(tail);
        }
        let mut number = head.segment;
        // Segments after the head's are there when the broker died between beginning one and moving the head.
        while number == head.segment || segments.contains(&number) {
            let path = place.segment(number);
            let file = File::open(&path).map_err(|_| Finding {
                segment: Some(number),
                ..Finding::of(Trouble::SegmentMissing)
            })?;
            let length = file.metadata().map_err(unreadable)?.len();
            let walked = verifier.segment(number, BufReader::with_capacity(256 * 1024, file), |checked| {
                tail.see(&checked, &head);
            });
            let broken = walked.is_err();
            if !verifier.passed_head() {
                walked?;
                verifier.finish()?;
            }
            tail.end = End {
                segment: number,
                bytes: verifier.bytes(),
                linker: verifier.linker(),
            };
            tail.cut = length.saturating_sub(verifier.bytes());
            number += 1;
            if broken || tail.cut > 0 {
                break;
            }
        }
        // What follows a cut was never acknowledged to a journal; its records are still there.
        for number in segments.into_iter().filter(|later| *later > tail.end.segment) {
            let path = place.segment(number);
            tail.cut += path.metadata().map_or(0, |data| data.len());
            files::remove(&path).map_err(|error| RecordFault::io("removing", &path, &error))?;
        }
        Ok(tail)
    }

    fn see(&mut self, checked: &Checked<'_>, head: &Head) {
        let peek = &checked.peek;
        if peek.kind == "outcome"
            && let Ok(Entry {
                record: Record::Outcome { session, i, .. },
                ..
            }) = Entry::parse(checked.json)
        {
            self.closed.insert(OpenIntent { session, i });
        }
        if peek.seq <= head.seq {
            return;
        }
        if peek.journal == RECOVERY {
            if let Ok(Entry {
                record: Record::Recovered { from, .. },
                ..
            }) = Entry::parse(checked.json)
            {
                self.noted.insert(from.into_owned());
            }
        } else if !head.finished.contains(peek.journal) {
            self.journals.insert(peek.journal.to_owned(), peek.at);
        }
    }
}

struct Recovery<'a> {
    place: &'a Place,
    clock: &'a Clock,
    chain: ChainFile,
    unflushed: u32,
    open: BTreeSet<OpenIntent>,
    closed: BTreeSet<OpenIntent>,
}

impl Recovery<'_> {
    /// Links what of journal `name` lies after `from`, and remembers the executions it opened and closed.
    fn take_over(&mut self, name: &str, from: u64, noted: bool) -> Result<(), RecordFault> {
        let path = self.place.journal(name);
        let fault = |error: std::io::Error| RecordFault::io("reading", &path, &error);
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(&path).map_err(fault)?);
        let (mut line, mut at, mut taken, mut cut) = (Vec::new(), 0_u64, 0_u64, 0_u64);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(fault)?;
            if read == 0 {
                break;
            }
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            at += read;
            let ended = line.strip_suffix(b"\n");
            let whole = ended.map(after_room).filter(|line| is_json(line));
            if let Some(whole) = whole {
                self.track(whole);
            }
            if at <= from {
                continue;
            }
            match whole.map(|whole| self.chain.link(name, at, whole)) {
                Some(Ok(())) => {
                    taken += 1;
                    self.linked()?;
                }
                Some(Err(_)) | None if ended.is_some() => cut += read,
                Some(Err(_)) | None => cut += unfinished(&line),
            }
        }
        if (taken > 0 || cut > 0) && !noted {
            self.note(name, taken, cut)?;
        }
        Ok(())
    }

    fn track(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(Record::Intent { session, i, .. }) => {
                self.open.insert(OpenIntent { session, i });
            }
            Ok(Record::Outcome { session, i, .. }) => {
                self.closed.insert(OpenIntent { session, i });
            }
            Ok(Record::JournalOpened { open, .. }) => self.open.extend(open),
            Ok(_) | Err(_) => {}
        }
    }

    /// Every execution of which nobody saw the end gets the outcome `unknown`.
    fn resolve(&mut self) -> Result<(), RecordFault> {
        let unresolved: Vec<_> = self.open.difference(&self.closed).copied().collect();
        for OpenIntent { session, i } in unresolved {
            self.add(&Record::Outcome {
                session,
                i,
                status: Status::Unknown,
                tag: None,
                rows: None,
                sqlstate: None,
                masked: Counts::new(),
                detected: Counts::new(),
                micros: 0,
            })?;
        }
        Ok(())
    }

    fn note(&mut self, from: &str, records: u64, bytes_cut: u64) -> Result<(), RecordFault> {
        self.add(&Record::Recovered {
            from: from.into(),
            records,
            bytes_cut,
        })
    }

    fn add(&mut self, record: &Record<'_>) -> Result<(), RecordFault> {
        let encoding = |why: String| RecordFault::Encoding(why);
        let mut line = Vec::new();
        let now = self.clock.now().as_microsecond();
        ledger::encode(&mut line, now, record).map_err(|error| encoding(error.to_string()))?;
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        self.chain
            .link(RECOVERY, 0, line)
            .map_err(|error| encoding(error.to_string()))?;
        self.linked()
    }

    fn linked(&mut self) -> Result<(), RecordFault> {
        self.unflushed += 1;
        if self.unflushed >= BATCH {
            self.unflushed = 0;
            self.chain.flush()?;
        }
        Ok(())
    }
}

/// What follows the zeros at the beginning of a line. A journal has room behind its last record; where the machine died,
/// room may also stand where a record was never brought to the disk.
fn after_room(line: &[u8]) -> &[u8] {
    let zeros = line.iter().take_while(|byte| **byte == 0).count();
    line.get(zeros..).unwrap_or_default()
}

/// How many bytes of a journal's last line, which has no newline, are of a write that was not finished: the rest is room.
fn unfinished(line: &[u8]) -> u64 {
    let room = line.iter().rev().take_while(|byte| **byte == 0).count();
    let written = line.get(..line.len() - room).map_or(0, |line| after_room(line).len());
    u64::try_from(written).unwrap_or(u64::MAX)
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
