//! The whole chain checked against its head.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Serialize;

use crate::ledger::{Finding, Hash, Trouble, Verifier};

use super::files::Place;

/// A ledger that verifies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many records.
    pub records: u64,
    /// In how many segments.
    pub segments: u64,
    /// The last record's hash: whoever keeps a copy elsewhere can later tell that nothing up to it changed.
    pub hash: Hash,
    /// The record the head names. Records after it are in order, but could be cut off unnoticed until the head moves.
    pub head: u64,
    /// Bytes of a write that was not finished: a running broker is in the middle of it, or the next start will cut them.
    pub unfinished: u64,
    /// Records of each kind.
    pub kinds: BTreeMap<String, u64>,
}

/// Checks the ledger in the folder `dir`: every record, its order, and that the head is in it. The broker may run.
pub fn verify(dir: &Path) -> Result<Report, Finding> {
    let place = Place::new(dir);
    // The head is read first: a running broker only moves it forward.
    let head = place.read_head()?;
    let segments = place.segments().map_err(|error| Finding::unreadable("chain", &error))?;
    let head = match head {
        Some(head) => head,
        None if segments.is_empty() => return Err(Finding::of(Trouble::Absent)),
        None => return Err(Finding::of(Trouble::HeadMissing)),
    };
    let at = head.seq;
    let mut verifier = Verifier::whole(head);
    let mut unfinished = 0;
    for (expected, number) in (1..).zip(segments.iter().copied()) {
        let missing = |segment| Finding {
            segment: Some(segment),
            ..Finding::of(Trouble::SegmentMissing)
        };
        if number != expected {
            return Err(missing(expected));
        }
        // Bytes without a newline can only be at the very end.
        if unfinished > 0 {
            return Err(Finding {
                segment: Some(number - 1),
                ..Finding::of(Trouble::Malformed)
            });
        }
        let file = File::open(place.segment(number))
            .map_err(|error| Finding::unreadable(&format!("chain/{number:08}.log"), &error))?;
        let end = verifier.segment(number, BufReader::with_capacity(1024 * 1024, file), |_| ())?;
        unfinished = end.unfinished;
    }
    verifier.finish()?;
    let linker = verifier.linker();
    Ok(Report {
        records: linker.seq,
        segments: u64::try_from(segments.len()).unwrap_or(u64::MAX),
        hash: linker.hash,
        head: at,
        unfinished,
        kinds: verifier.kinds().clone(),
    })
}
