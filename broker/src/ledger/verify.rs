//! The check: lines in, the first finding out.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use super::chain::{self, Hash, Linker, Peek};
use super::finding::{Finding, Trouble};
use super::head::Head;

/// No honest line is longer: texts are cut at 64 KiB, which escaping makes at most six times as long.
const LINE_LIMIT: u64 = 4 * 1024 * 1024;

/// Walks a chain from its first record, or from a known place, and stops at the first line that is wrong.
#[derive(Debug)]
pub struct Verifier {
    /// The last record that was found right.
    seq: u64,
    /// Its hash; `None` before the first line of a walk that starts in the middle with nothing known.
    hash: Option<Hash>,
    segment: u64,
    line: u64,
    /// Where the last right line ends in the segment.
    bytes: u64,
    /// The head that the chain must pass through.
    head: Option<Head>,
    kinds: BTreeMap<String, u64>,
}

/// One line, found right.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a> {
    /// The beginning of it.
    pub peek: Peek<'a>,
    /// All of its JSON.
    pub json: &'a [u8],
}

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Bytes after the last newline: a write that was not finished.
    pub unfinished: u64,
}

impl Verifier {
    /// A walk over the whole chain, which must pass through `head`.
    pub fn whole(head: Head) -> Self {
        let Linker { seq, hash } = Linker::genesis();
        Self::at(seq, Some(hash), Some(head))
    }

    /// A walk that begins with the segment in which `head` lies. The first record of that segment is taken on trust
    /// unless it is the chain's first, or the head itself stands at the segment's beginning.
    pub fn from_segment_of(head: Head) -> Self {
        if head.bytes == 0 {
            Self::at(head.seq, Some(head.hash), Some(head))
        } else if head.segment == 1 {
            Self::whole(head)
        } else {
            Self::at(0, None, Some(head))
        }
    }

    fn at(seq: u64, hash: Option<Hash>, head: Option<Head>) -> Self {
        Self {
            seq,
            hash,
            segment: 0,
            line: 0,
            bytes: 0,
            head,
            kinds: BTreeMap::new(),
        }
    }

    /// Begins segment `number`.
    pub fn enter(&mut self, number: u64) -> Result<(), Finding> {
        self.segment = number;
        self.line = 0;
        self.bytes = 0;
        self.meet_head()
    }

    /// Checks the next line of the segment, given without its newline.
    pub fn line<'a>(&mut self, line: &'a [u8]) -> Result<Checked<'a>, Finding> {
        self.line += 1;
        let Some((hash, json)) = chain::split(line) else {
            return Err(self.finding(Trouble::Malformed, None));
        };
        let Some(peek) = chain::peek(json) else {
            return Err(self.finding(Trouble::Malformed, None));
        };
        if let Some(before) = self.hash {
            if peek.seq > self.seq + 1 {
                return Err(self.finding(Trouble::Missing { found: peek.seq }, peek.id));
            }
            if peek.seq <= self.seq {
                return Err(self.finding(Trouble::Repeated { found: peek.seq }, peek.id));
            }
            if before.next(json) != hash {
                return Err(self.finding(Trouble::Altered, peek.id));
            }
        }
        self.seq = peek.seq;
        self.hash = Some(hash);
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX) + 1;
        if let Some(count) = self.kinds.get_mut(peek.kind) {
            *count += 1;
        } else {
            self.kinds.insert(peek.kind.to_owned(), 1);
        }
        self.meet_head()?;
        Ok(Checked { peek, json })
    }

    /// Checks a whole segment, giving each right line to `each`.
    pub fn segment(
        &mut self,
        number: u64,
        mut from: impl BufRead,
        mut each: impl FnMut(Checked<'_>),
    ) -> Result<SegmentEnd, Finding> {
        self.enter(number)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut from).take(LINE_LIMIT).read_until(b'\n', &mut line);
            read.map_err(|error| Finding::unreadable(&format!("chain/{number:08}.log"), &error))?;
            match line.strip_suffix(b"\n") {
                Some(whole) => each(self.line(whole)?),
                None if u64::try_from(line.len()).unwrap_or(u64::MAX) >= LINE_LIMIT => {
                    self.line += 1;
                    return Err(self.finding(Trouble::Malformed, None));
                }
                None => {
                    return Ok(SegmentEnd {
                        unfinished: u64::try_from(line.len()).unwrap_or(u64::MAX),
                    });
                }
            }
        }
    }

    /// The chain is over: was the head in it?
    pub fn finish(&self) -> Result<(), Finding> {
        match &self.head {
            Some(head) => Err(self.finding(Trouble::Truncated { head: head.seq }, None)),
            None => Ok(()),
        }
    }

    /// True once the head's record has been passed.
    pub fn passed_head(&self) -> bool {
        self.head.is_none()
    }

    /// The end of what was found right.
    pub fn linker(&self) -> Linker {
        Linker {
            seq: self.seq,
            hash: self.hash.unwrap_or(chain::GENESIS),
        }
    }

    /// Where in the segment the last right line ends.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many records of each kind were found right.
    pub fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    fn meet_head(&mut self) -> Result<(), Finding> {
        let Some(head) = &self.head else { return Ok(()) };
        let here = (self.segment, self.bytes) == (head.segment, head.bytes);
        let same = self.hash == Some(head.hash) && self.seq == head.seq;
        if here && same {
            self.head = None;
            return Ok(());
        }
        let beyond = (self.segment, self.bytes) >= (head.segment, head.bytes);
        let known = self.hash.is_some();
        if known && (beyond || self.seq > head.seq) {
            return Err(self.finding(Trouble::OtherHead, None));
        }
        Ok(())
    }

    fn finding(&self, trouble: Trouble, id: Option<&str>) -> Finding {
        // The record that should stand here, or, when the trouble is the head's, the one that does.
        let seq = match trouble {
            Trouble::OtherHead => self.seq,
            _ => self.seq + 1,
        };
        Finding {
            trouble,
            segment: Some(self.segment),
            line: Some(self.line.max(1)),
            seq: Some(seq),
            id: id.map(|id| id.chars().take(64).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A chain of `count` records cut into segments of three.
    fn chain(count: u64) -> (Vec<Vec<u8>>, Head) {
        let mut linker = Linker::genesis();
        let mut segments = vec![Vec::new()];
        let mut head = Head::genesis();
        for n in 1..=count {
            if n % 3 == 1 && n > 1 {
                segments.push(Vec::new());
            }
            let line = format!(
                r#"{{"t":{n},"kind":"outcome","session":"session_{n}","i":{n},"micros":{}}}"#,
                n * 7
            );
            let segment = segments.last_mut().unwrap();
            linker.link(segment, "b-1", n * 50, line.as_bytes()).unwrap();
            head.bytes = segment.len() as u64;
            head.segment = segments.len() as u64;
        }
        head.seq = linker.seq;
        head.hash = linker.hash;
        (segments, head)
    }

    fn check(segments: &[Vec<u8>], head: &Head) -> Result<u64, Finding> {
        let mut verifier = Verifier::whole(head.clone());
        let mut unfinished = 0;
        for (index, segment) in segments.iter().enumerate() {
            unfinished = verifier.segment(index as u64 + 1, &segment[..], |_| ())?.unfinished;
        }
        verifier.finish()?;
        assert_eq!(unfinished, 0);
        Ok(verifier.kinds().values().sum())
    }

    fn lines(segments: &[Vec<u8>]) -> Vec<Vec<u8>> {
        segments
            .concat()
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn an_untouched_chain_verifies() {
        for count in 0..10 {
            let (segments, head) = chain(count);
            assert_eq!(check(&segments, &head), Ok(count));
        }
    }

    #[test]
    fn the_finding_names_the_record() {
        let (mut segments, head) = chain(7);
        // A digit of the fifth record's content.
        let text = String::from_utf8(segments[1].clone())
            .unwrap()
            .replace("\"micros\":35", "\"micros\":36");
        segments[1] = text.into_bytes();
        let finding = check(&segments, &head).unwrap_err();
        assert_eq!(
            finding.to_string(),
            "chain/00000002.log line 2, record 5 (session_5): the record or its hash was altered"
        );
    }

    #[test]
    fn a_missing_tail_and_a_missing_segment_are_found() {
        let (segments, head) = chain(8);
        assert_eq!(
            check(&segments[..2], &head).unwrap_err().trouble,
            Trouble::Truncated { head: 8 }
        );
        let without = [segments[0].clone(), segments[2].clone()];
        assert_eq!(
            check(&without, &head).unwrap_err().trouble,
            Trouble::Missing { found: 7 }
        );
        let repeated = [segments[0].clone(), segments[0].clone(), segments[1].clone()];
        assert_eq!(
            check(&repeated, &head).unwrap_err().trouble,
            Trouble::Repeated { found: 1 }
        );
    }

    #[test]
    fn a_rewritten_chain_does_not_meet_the_head() {
        let (segments, _) = chain(4);
        let (_, mut head) = chain(4);
        head.hash = chain::GENESIS.next(b"x");
        assert_eq!(check(&segments, &head).unwrap_err().trouble, Trouble::OtherHead);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_flipped_byte_is_found(count in 1_u64..12, at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let (mut segments, head) = chain(count);
            let place = at.index(segments.concat().len());
            let mut seen = 0;
            for segment in &mut segments {
                if place < seen + segment.len() {
                    segment[place - seen] ^= 1 << bit;
                    break;
                }
                seen += segment.len();
            }
            prop_assert!(check(&segments, &head).is_err());
        }

        #[test]
        fn any_removed_repeated_moved_or_inserted_line_is_found(
            count in 2_u64..12, from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), what in 0..4,
        ) {
            let (segments, head) = chain(count);
            let before = lines(&segments);
            let mut after = before.clone();
            let (from, to) = (from.index(before.len()), to.index(before.len()));
            match what {
                0 => drop(after.remove(from)),
                1 => after.insert(to, before[from].clone()),
                2 => after.swap(from, to),
                _ => {
                    // A forged line with a right hash of its own, put between two others.
                    let mut forged = Vec::new();
                    let (_, json) = chain::split(before[from].strip_suffix(b"\n").unwrap()).unwrap();
                    let at = chain::peek(json).unwrap();
                    let mut linker = Linker { seq: at.seq - 1, hash: chain::GENESIS };
                    linker.link(&mut forged, at.journal, at.at, br#"{"t":1,"kind":"kill"}"#).unwrap();
                    after.insert(to, forged);
                }
            }
            prop_assume!(after != before);
            let head = Head { segment: 1, bytes: before.concat().len() as u64, ..head };
            let found = check(&[after.concat()], &head).is_err();
            prop_assert!(found);
        }

        #[test]
        fn any_cut_is_found(count in 1_u64..12, at in any::<prop::sample::Index>()) {
            let (segments, head) = chain(count);
            let mut whole = segments.concat();
            whole.truncate(at.index(whole.len()));
            let mut verifier = Verifier::whole(head);
            let ended = verifier.segment(1, &whole[..], |_| ()).and_then(|_| verifier.finish());
            prop_assert!(ended.is_err());
        }
    }
}
