//! Sessions read back from the chain. A running broker's last records, at most 50 ms old, are not in it yet.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use crate::base::id::SessionId;
use crate::ledger::chain::{self, Peek};
use crate::ledger::view::{SUMMARY_KINDS, Story, Summaries};
use crate::ledger::{Entry, Filter, Finding, SessionDetail, SessionSummary, Trouble};

use super::files::Place;

/// The sessions of the ledger in `dir` that pass `filter`, oldest first. The chain is read, not verified.
pub fn sessions(dir: &Path, filter: &Filter) -> Result<Vec<SessionSummary>, Finding> {
    let mut summaries = Summaries::default();
    each(dir, |peek, json| {
        if SUMMARY_KINDS.contains(&peek.kind) {
            summaries.take(entry(json)?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(summaries.finish(filter))
}

/// One session's whole story; `None` when the ledger does not know it. The chain is read, not verified.
pub fn session(dir: &Path, id: SessionId) -> Result<Option<SessionDetail>, Finding> {
    let wanted = id.to_string();
    let mut story = Story::default();
    each(dir, |peek, json| {
        if peek.id == Some(&wanted) || peek.kind == "broker-started" {
            story.take(entry(json)?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    // The grant's record can stand before or, by a moment, after the session's first.
    if let Some(grant) = story.grant().map(|grant| grant.to_string()) {
        each(dir, |peek, json| {
            if peek.kind != "grant-minted" || peek.id != Some(&grant) {
                return Ok(ControlFlow::Continue(()));
            }
            story.take(entry(json)?);
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(story.finish())
}

fn entry(json: &[u8]) -> Result<Entry, Trouble> {
    Entry::parse(json).map_err(|_| Trouble::Malformed)
}

/// Gives every line of the chain to `take`, until it has enough.
fn each(dir: &Path, mut take: impl FnMut(&Peek<'_>, &[u8]) -> Result<ControlFlow<()>, Trouble>) -> Result<(), Finding> {
    let place = Place::new(dir);
    let segments = place.segments().map_err(|error| Finding::unreadable("chain", &error))?;
    if segments.is_empty() {
        return Err(Finding::of(Trouble::Absent));
    }
    let mut line = Vec::new();
    for segment in segments {
        let unreadable = |error| Finding::unreadable(&format!("chain/{segment:08}.log"), &error);
        let mut reader = BufReader::with_capacity(1024 * 1024, File::open(place.segment(segment)).map_err(unreadable)?);
        for number in 1.. {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(unreadable)?;
            // A line without its newline is being written.
            let Some(whole) = line.strip_suffix(b"\n") else { break };
            let seen = chain::split(whole).and_then(|(_, json)| Some((chain::peek(json)?, json)));
            let taken = match seen {
                Some((peek, json)) => take(&peek, json),
                None => Err(Trouble::Malformed),
            };
            match taken {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(trouble) => {
                    return Err(Finding {
                        segment: Some(segment),
                        line: Some(number),
                        ..Finding::of(trouble)
                    });
                }
            }
        }
    }
    Ok(())
}
