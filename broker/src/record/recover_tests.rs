//! Recovery at every point a crash can come: cut journals, half-written chains, journals that should be gone already.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use proptest::prelude::*;

use crate::base::id::SessionId;
use crate::ledger::chain;
use crate::record::journal::tests::{intent, outcome};
use crate::record::verify;

use super::*;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_second(1_800_000_000).unwrap())
}

fn small() -> Sizes {
    Sizes {
        segment: 1_500,
        ..Sizes::default()
    }
}

/// A folder in which a run of `count` executions in two journals died: every third has no outcome.
fn died(dir: &Path, count: u64) -> (Place, SessionId) {
    let place = Place::new(dir);
    place.create().unwrap();
    let session = SessionId::fresh();
    for journal in 1..=2_u64 {
        let mut text = Vec::new();
        for i in (1..=count).filter(|i| i % 2 == journal % 2) {
            ledger::encode(&mut text, 1, &intent(session, i)).unwrap();
            if i % 3 != 0 {
                ledger::encode(&mut text, 2, &outcome(session, i)).unwrap();
            }
        }
        fs::write(place.journal(&format!("0000-{journal}")), text).unwrap();
    }
    (place, session)
}

/// All chained records, without what recovery says of itself.
fn story(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    for segment in place.segments().unwrap() {
        for line in fs::read(place.segment(segment)).unwrap().split(|byte| *byte == b'\n') {
            if let Some((_, json)) = chain::split(line) {
                let entry = Entry::parse(json).unwrap();
                if !matches!(entry.record, Record::Recovered { .. }) {
                    found.push(format!("{:?}", entry.record));
                }
            }
        }
    }
    found.sort();
    found
}

/// What recovery says that it cut, by journal.
fn said(place: &Place) -> BTreeMap<String, u64> {
    let mut said = BTreeMap::new();
    for segment in place.segments().unwrap() {
        for line in fs::read_to_string(place.segment(segment)).unwrap().lines() {
            let entry = Entry::parse(chain::split(line.as_bytes()).unwrap().1).unwrap();
            if let Record::Recovered { from, bytes_cut, .. } = entry.record {
                said.insert(from.into_owned(), bytes_cut);
            }
        }
    }
    said
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_execution_ends_with_exactly_one_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let (place, _) = died(dir.path(), 12);
    drop(recover(&place, &clock(), small()).unwrap());
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        (
            report.kinds["intent"],
            report.kinds["outcome"],
            report.kinds["recovered"]
        ),
        (12, 12, 2)
    );
    assert_eq!(
        story(&place).iter().filter(|record| record.contains("Unknown")).count(),
        4
    );
    assert!(place.journal_names().unwrap().is_empty());
    // A second start finds nothing to do.
    drop(recover(&place, &clock(), small()).unwrap());
    assert_eq!(verify(dir.path()).unwrap().records, report.records);
}

#[test]
fn a_torn_end_is_cut_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let (place, session) = died(dir.path(), 4);
    let path = place.journal("0000-1");
    let mut bytes = fs::read(&path).unwrap();
    let whole = bytes.len();
    ledger::encode(&mut bytes, 3, &intent(session, 99)).unwrap();
    bytes.truncate(whole + 40);
    fs::write(&path, &bytes).unwrap();
    drop(recover(&place, &clock(), small()).unwrap());
    assert_eq!(
        said(&place),
        BTreeMap::from([("0000-1".into(), 40), ("0000-2".into(), 0)])
    );
    assert!(!story(&place).iter().any(|record| record.contains("i: 99")));
}

#[test]
fn room_is_not_an_unfinished_write() {
    let dir = tempfile::tempdir().unwrap();
    let (place, session) = died(dir.path(), 4);
    let path = place.journal("0000-1");
    let mut bytes = fs::read(&path).unwrap();
    let whole = bytes.len();
    ledger::encode(&mut bytes, 3, &intent(session, 99)).unwrap();
    bytes.truncate(whole + 40);
    bytes.resize(whole + 5000, 0);
    fs::write(&path, &bytes).unwrap();
    let other = place.journal("0000-2");
    let mut bytes = fs::read(&other).unwrap();
    bytes.resize(bytes.len() + 70_000, 0);
    fs::write(&other, &bytes).unwrap();
    drop(recover(&place, &clock(), small()).unwrap());
    let said = said(&place);
    assert_eq!(said, BTreeMap::from([("0000-1".into(), 40), ("0000-2".into(), 0)]));
}

#[test]
fn a_record_behind_one_that_never_reached_the_disk_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (place, _) = died(dir.path(), 12);
    let path = place.journal("0000-1");
    let mut bytes = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
    // The second line with its newline, and the fourth without it.
    bytes[ends[0] + 1..=ends[1]].fill(0);
    bytes[ends[2] + 1..ends[3]].fill(0);
    fs::write(&path, &bytes).unwrap();
    let other = fs::read(place.journal("0000-2")).unwrap();
    let lines = ends.len() - 2 + other.iter().filter(|byte| **byte == b'\n').count();
    drop(recover(&place, &clock(), small()).unwrap());
    let report = verify(dir.path()).unwrap();
    let unknown = story(&place).iter().filter(|record| record.contains("Unknown")).count();
    let kept = report.kinds["intent"] + report.kinds["outcome"];
    assert_eq!(kept - unknown as u64, lines as u64);
}

#[test]
fn a_journal_that_was_edited_cannot_spoil_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (place, _) = died(dir.path(), 2);
    let lines = "{\"t\":\"x\"}\n{}\nnull\n\n{\"t\":1,\"kind\":\"in\n{\"t\":5,\"kind\":\"from-the-future\",\"x\":1}\n";
    fs::write(place.journal("0000-3"), lines).unwrap();
    drop(recover(&place, &clock(), small()).unwrap());
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.kinds["from-the-future"], 1);
}

#[test]
fn what_lies_before_the_head_must_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let (place, _) = died(dir.path(), 12);
    drop(recover(&place, &clock(), Sizes::default()).unwrap());
    let path = place.segment(1);
    let whole = fs::read(&path).unwrap();

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let fault = recover(&place, &clock(), Sizes::default()).unwrap_err();
    assert!(
        matches!(&fault, RecordFault::Corrupt(text) if text.contains("record ")),
        "{fault}"
    );

    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let fault = recover(&place, &clock(), Sizes::default()).unwrap_err();
    assert!(
        matches!(&fault, RecordFault::Corrupt(text) if text.contains("cut off")),
        "{fault}"
    );

    fs::remove_file(&path).unwrap();
    let fault = recover(&place, &clock(), Sizes::default()).unwrap_err();
    assert!(
        matches!(&fault, RecordFault::Corrupt(text) if text.contains("segment is missing")),
        "{fault}"
    );

    fs::write(&path, &whole).unwrap();
    fs::remove_file(dir.path().join("HEAD")).unwrap();
    let fault = recover(&place, &clock(), Sizes::default()).unwrap_err();
    assert!(
        matches!(&fault, RecordFault::Corrupt(text) if text.contains("HEAD")),
        "{fault}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// A recovery is killed with any number of its chain's bytes on disk, before the head moves or after it, and before
    /// or after some journals are deleted: the next start ends with the same records, none lost, none twice.
    #[test]
    fn a_killed_recovery_is_finished_by_the_next(count in 1_u64..30, kept in any::<prop::sample::Index>(), moved in 0_usize..4) {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (before, _) = died(first.path(), count);
        copy(first.path(), second.path());
        let after = Place::new(second.path());
        drop(recover(&after, &clock(), small()).unwrap());
        let expected = story(&after);

        if moved > 0 {
            // Everything is chained and the head has moved; some journals are still there.
            fs::remove_dir_all(first.path().join("chain")).unwrap();
            copy(&second.path().join("chain"), &first.path().join("chain"));
            fs::copy(second.path().join("HEAD"), first.path().join("HEAD")).unwrap();
            for name in before.journal_names().unwrap().iter().take(moved - 1) {
                fs::remove_file(before.journal(name)).unwrap();
            }
        } else {
            // The head still says that there is nothing.
            before.write_head(&Head::genesis()).unwrap();
            fs::write(before.segment(1), b"").unwrap();
            let sizes: Vec<_> = after.segments().unwrap().into_iter().map(|n| (n, fs::read(after.segment(n)).unwrap())).collect();
            let total: usize = sizes.iter().map(|(_, bytes)| bytes.len()).sum();
            let mut left = kept.index(total + 1);
            for (number, bytes) in sizes {
                let take = left.min(bytes.len());
                fs::write(before.segment(number), &bytes[..take]).unwrap();
                left -= take;
                if take < bytes.len() {
                    break;
                }
            }
        }
        drop(recover(&before, &clock(), small()).unwrap());
        prop_assert!(verify(first.path()).is_ok());
        prop_assert_eq!(story(&before), expected);
        prop_assert!(before.journal_names().unwrap().is_empty());
    }

    /// A journal is cut anywhere, with or without room behind: whole lines stay, and the chain verifies.
    #[test]
    fn a_journal_cut_anywhere_keeps_its_whole_lines(count in 1_u64..20, at in any::<prop::sample::Index>(), room in 0_usize..300) {
        let dir = tempfile::tempdir().unwrap();
        let (place, _) = died(dir.path(), count);
        let path = place.journal("0000-1");
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(at.index(bytes.len() + 1));
        bytes.resize(bytes.len() + room, 0);
        fs::write(&path, &bytes).unwrap();
        let other = fs::read(place.journal("0000-2")).unwrap();
        let whole = bytes.iter().chain(&other).filter(|byte| **byte == b'\n').count() as u64;
        drop(recover(&place, &clock(), small()).unwrap());
        let report = verify(dir.path()).unwrap();
        let unknown = story(&place).iter().filter(|record| record.contains("Unknown")).count() as u64;
        let intents = report.kinds.get("intent").copied().unwrap_or(0);
        let outcomes = report.kinds.get("outcome").copied().unwrap_or(0);
        prop_assert_eq!(intents + outcomes - unknown, whole);
        prop_assert_eq!(intents, outcomes);
    }
}
