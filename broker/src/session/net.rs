//! The net of a scope with `detect`: every text that the server sends is looked through before the client has it. A row is
//! taken whole for that, however its bytes come in; at one that is too large to be held the result is cut.

use bytes::BytesMut;
use tokio::task::JoinHandle;

use super::pending::Expect;
use super::{End, Session};
use crate::detect::{Form, Found, Kinds, Line, scrub, scrub_lines};
use crate::policy::Scope;
use crate::sql::{Copied, Holds};
use crate::wire::answer::Complaint;
use crate::wire::backend::{self, Column};
use crate::wire::frame::{HEADER, Head};
use crate::wire::frontend::{self, frame};

/// The largest row that is looked through, in bytes.
pub(super) const LARGEST: usize = 16 * 1024 * 1024;

/// A row or a line of COPY beyond this size is looked through on a thread of its own, and after as many bytes of smaller
/// ones the others that share the session's thread have their turn: the worst text takes some milliseconds for it.
const LONG: usize = 64 * 1024;
/// What stands in the place of a longer text in an error or a notice.
const TOO_LONG: &[u8] = b"withheld: longer than what is looked through";

/// The fields of an error or a notice that can quote a value: message, detail, hint, context, and a query of the server's own.
const WORDS: &[u8] = b"MDHWq";

/// Types that hold no text, by OID: numbers, times, bits, bytes, addresses of networks, shapes, and arrays of them.
const NO_TEXT: &[u32] = &[
    16, 17, 20, 21, 22, 23, 26, 27, 28, 29, 30, 600, 601, 602, 603, 604, 628, 650, 651, 700, 701, 718, 774, 775, 790,
    791, 829, 869, 1000, 1001, 1005, 1007, 1010, 1011, 1012, 1016, 1017, 1021, 1022, 1028, 1040, 1041, 1082, 1083,
    1114, 1115, 1182, 1183, 1184, 1185, 1186, 1187, 1231, 1266, 1270, 1560, 1561, 1562, 1563, 1700, 2278, 2950, 2951,
    3220, 3221, 5069,
];
/// text, varchar, char(n), name, xml, and what has no type: their binary form is the text itself.
const TEXT: &[u32] = &[19, 25, 142, 705, 1042, 1043, 2275];
/// Arrays of these: their elements stand in braces as texts, and are no JSON.
const TEXT_ARRAYS: &[u32] = &[143, 1002, 1003, 1009, 1014, 1015];
const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// What the server sends, as far as it must be known to be read.
#[derive(Debug)]
pub(super) struct Net {
    kinds: Kinds,
    /// How each column of the result at hand is read.
    shape: Option<Vec<Reading>>,
    /// The result at hand is a COPY in binary format.
    binary: bool,
    /// How the lines of one in another format are written, as far as that is known.
    line: Option<Line>,
    /// The beginning of a line of COPY whose end has not come.
    held: BytesMut,
    /// Bytes that were looked through since the others had their turn.
    looked: usize,
}

/// A row that is being looked through on a thread of its own, the net with it.
pub(super) type Looking = JoinHandle<Looked>;

/// What came of it.
pub(super) struct Looked {
    net: Net,
    row: BytesMut,
    found: Found,
    clean: Result<Option<BytesMut>, End>,
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Not at all.
    Not,
    As(Form),
    /// Behind the byte that tells the version of jsonb's binary form.
    Versioned,
}

impl Net {
    /// The net of a scope, if it has one.
    pub(super) fn of(scope: &Scope) -> Option<Self> {
        let kinds: Kinds = scope.detect.keys().copied().collect();
        (!kinds.is_empty()).then(|| Self {
            kinds,
            shape: None,
            binary: false,
            line: None,
            held: BytesMut::new(),
            looked: 0,
        })
    }

    /// A row of a result, or a piece of COPY data: what goes to the client in its place, if anything does.
    fn look(&mut self, tag: u8, body: &[u8], found: &mut Found) -> Result<Option<BytesMut>, End> {
        self.looked += body.len();
        match tag {
            b'D' => self.row(body, found),
            _ => self.piece(body, found),
        }
    }

    /// A row of a result: what goes to the client in its place, if anything does.
    fn row(&self, body: &[u8], found: &mut Found) -> Result<Option<BytesMut>, End> {
        let Some(shape) = &self.shape else {
            return Err(End::UpstreamGone);
        };
        let clean = |column: usize, value: &[u8]| self.value(column, value, found);
        backend::data_row(body, shape.len(), clean).map_err(|_| End::UpstreamGone)
    }

    /// What goes to the client in the place of a value.
    fn value(&self, column: usize, value: &[u8], found: &mut Found) -> Option<Vec<u8>> {
        match self.shape.as_ref()?.get(column)? {
            Reading::Not => None,
            Reading::As(form) => scrub(value, *form, self.kinds, found),
            Reading::Versioned => {
                let (version, text) = value.split_first()?;
                let mut clean = scrub(text, Form::Json, self.kinds, found)?;
                clean.insert(0, *version);
                Some(clean)
            }
        }
    }

    /// A piece of COPY data: what goes to the client in its place, if anything does; nothing at all until a line is whole.
    fn piece(&mut self, body: &[u8], found: &mut Found) -> Result<Option<BytesMut>, End> {
        if self.binary {
            if !backend::is_binary_copy(body) {
                return Err(too_large("a piece of binary COPY data does not end with a row"));
            }
            let clean = match &self.shape {
                Some(shape) => backend::copied(body, shape.len(), |column, value| self.value(column, value, found)),
                None => Ok(scrub(body, Form::Packed, self.kinds, found)),
            };
            let clean = clean.map_err(|_| End::UpstreamGone)?;
            return Ok(clean.map(|clean| piece_of(&clean)));
        }
        if self.held.is_empty() && body.ends_with(b"\n") {
            let clean = scrub_lines(body, self.line.as_ref(), self.kinds, found);
            return Ok(clean.map(|clean| piece_of(&clean)));
        }
        self.held.extend_from_slice(body);
        if self.held.len() > LARGEST {
            return Err(too_large("a row of COPY is larger than what is looked through"));
        }
        if body.ends_with(b"\n") {
            Ok(Some(self.rest(found)))
        } else {
            Ok(Some(BytesMut::new()))
        }
    }

    /// What is held of a line, as a piece of COPY data; empty when nothing is.
    fn rest(&mut self, found: &mut Found) -> BytesMut {
        let held = self.held.split();
        if held.is_empty() {
            return held;
        }
        let clean = scrub_lines(&held, self.line.as_ref(), self.kinds, found);
        piece_of(clean.as_deref().unwrap_or(&held))
    }
}

fn piece_of(data: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(data.len() + HEADER);
    frame(&mut out, b'd', |out| out.extend_from_slice(data));
    out
}

fn reading(column: Column) -> Reading {
    match (column.of, column.binary) {
        (of, _) if NO_TEXT.contains(&of) => Reading::Not,
        (of, _) if TEXT.contains(&of) => Reading::As(Form::Text),
        (JSON, _) | (JSONB, false) => Reading::As(Form::Json),
        (JSONB, true) => Reading::Versioned,
        (of, false) if TEXT_ARRAYS.contains(&of) => Reading::As(Form::Text),
        (_, false) => Reading::As(Form::Mixed),
        (_, true) => Reading::As(Form::Packed),
    }
}

/// How a value of a binary COPY is read.
fn of_copy(holds: Holds) -> Reading {
    match holds {
        Holds::Json => Reading::As(Form::Json),
        Holds::Jsonb => Reading::Versioned,
        Holds::Text => Reading::As(Form::Text),
        Holds::Other => Reading::As(Form::Packed),
    }
}

fn too_large(text: &str) -> End {
    let hint = format!(
        "this scope looks through what is read (`detect`), up to {} MiB a row: leave large columns out",
        LARGEST / 1024 / 1024
    );
    End::Fatal(Box::new(Complaint::fatal("54000", text).hint(hint)))
}

impl<C> Session<C> {
    /// True for a row that is too large to be looked through: it must not reach the client.
    pub(super) fn is_too_large(&mut self, head: Head) -> Result<bool, End> {
        if self.net.is_none() || head.total <= LARGEST {
            return Ok(false);
        }
        let cut = self.cut_large(LARGEST);
        cut.map(|()| true)
            .ok_or_else(|| too_large("a row is larger than what is looked through"))
    }

    /// What goes to the client in the place of a row or a piece of COPY data at the head of `rest`; `None` when it goes as it is.
    pub(super) fn caught(&mut self, head: Head, rest: &[u8]) -> Result<Option<BytesMut>, End> {
        let Some(net) = &mut self.net else {
            return Ok(None);
        };
        let body = rest.get(HEADER..head.total).ok_or(End::UpstreamGone)?;
        net.look(head.tag, body, self.log.found())
    }

    /// Whether a row takes so long that others on this thread must not wait for it.
    pub(super) fn is_long(&self, head: Head) -> bool {
        let held = |net: &Net| if head.tag == b'd' { net.held.len() } else { 0 };
        self.net.as_ref().is_some_and(|net| head.total + held(net) > LONG)
    }

    /// Has a whole row looked through on a thread of its own. No other message of the server's is handled until then.
    pub(super) fn look_elsewhere(&mut self, tag: u8, row: BytesMut) {
        if let Some(mut net) = self.net.take() {
            self.looking = Some(tokio::task::spawn_blocking(move || {
                let mut found = Found::default();
                let clean = net.look(tag, row.get(HEADER..).unwrap_or_default(), &mut found);
                net.looked = 0;
                Looked { net, row, found, clean }
            }));
        }
    }

    /// The row goes to the client, as what was made of it.
    pub(super) fn looked(&mut self, looked: Looked) -> Result<(), End> {
        let Looked { net, row, found, clean } = looked;
        self.net = Some(net);
        self.log.found().join(&found);
        self.say(clean?.as_ref().unwrap_or(&row));
        Ok(())
    }

    /// Whether so much was looked through that it is the others' turn.
    pub(super) fn gives_way(&mut self) -> bool {
        let much = self.net.as_mut().filter(|net| net.looked > LONG);
        much.map(|net| net.looked = 0).is_some()
    }

    /// The same of an error, a notice or a notification.
    pub(super) fn caught_words(&mut self, tag: u8, body: &[u8]) -> Result<Option<BytesMut>, End> {
        let Some(net) = &self.net else {
            return Ok(None);
        };
        let found = self.log.found();
        let clean = |text: &[u8]| {
            if text.len() > LONG {
                return Some(TOO_LONG.to_vec());
            }
            scrub(text, Form::Mixed, net.kinds, found)
        };
        let words = match tag {
            b'E' | b'N' => backend::respelled(tag, body, WORDS, clean),
            b'A' => backend::renotified(body, clean),
            _ => return Ok(None),
        };
        words.map_err(|_| End::UpstreamGone)
    }

    /// The columns of the rows that follow.
    pub(super) fn rows_follow(&mut self, body: &[u8]) -> Result<(), End> {
        if let Some(net) = &mut self.net {
            let columns = backend::columns(body).map_err(|_| End::UpstreamGone)?;
            net.shape = Some(columns.into_iter().map(reading).collect());
        }
        Ok(())
    }

    /// COPY data follows, in text (0) or binary (1) format, of so many columns.
    pub(super) fn copy_follows(&mut self, body: &[u8]) {
        let copies = self.running().and_then(|run| run.copies.clone());
        let Some(net) = &mut self.net else {
            return;
        };
        net.binary = body.first() != Some(&0);
        net.held.clear();
        let count = body.get(1..3).and_then(|count| count.first_chunk::<2>());
        let count = count.map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
        // Columns are known by their places only where all of them are written.
        let known = |copied: &Copied| {
            if copied.columns.len() == count {
                copied.columns.clone()
            } else {
                Vec::new()
            }
        };
        let columns = copies.as_deref().map(known).unwrap_or_default();
        net.shape = (!columns.is_empty()).then(|| columns.iter().map(|holds| of_copy(*holds)).collect());
        net.line = copies.map(|copied| Line {
            csv: copied.csv,
            json: columns
                .iter()
                .map(|holds| matches!(holds, Holds::Json | Holds::Jsonb))
                .collect(),
        });
    }

    /// What is left of COPY data at its end.
    pub(super) fn copy_over(&mut self) -> BytesMut {
        match &mut self.net {
            Some(net) => net.rest(self.log.found()),
            None => BytesMut::new(),
        }
    }

    /// The rows of a portal are about to be asked for: the broker has it described, whatever the client knows of it. What
    /// is sent for that; empty where nothing is looked through.
    pub(super) fn describe_for_net(&mut self, portal: &str) -> BytesMut {
        let mut out = BytesMut::new();
        if self.net.is_some() {
            frontend::put_describe_portal(&mut out, portal);
            self.pending.push_back(Expect::OwnDescribe);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::Kind;

    fn net(shape: &[Reading]) -> Net {
        Net {
            kinds: Kind::ALL.into_iter().collect(),
            shape: Some(shape.to_vec()),
            binary: false,
            line: None,
            held: BytesMut::new(),
            looked: 0,
        }
    }

    fn row_of(values: &[Option<String>]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(value.as_deref().unwrap_or_default().as_bytes());
        }
        body
    }

    proptest! {
        #[test]
        fn a_line_of_copy_is_looked_through_in_whatever_pieces_it_comes(cuts in proptest::collection::vec(0..75_usize, 0..6)) {
            let text = "1\tpaid with 4111 1111 1111 1111\tann@corp.example\n2\tplain\n3\t078-05-1120";
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut net, mut found, mut told) = (net(&[]), Found::default(), Vec::new());
            for pair in cuts.windows(2) {
                let piece = &text.as_bytes()[pair[0]..pair[1]];
                let other = net.piece(piece, &mut found).unwrap();
                told.extend_from_slice(other.as_deref().map_or(piece, |other| other.get(HEADER..).unwrap_or_default()));
            }
            let rest = net.rest(&mut found);
            told.extend_from_slice(rest.get(HEADER..).unwrap_or_default());
            prop_assert_eq!(String::from_utf8(told).unwrap(), "1\tpaid with [card]\t[email]\n2\tplain\n3\t[national-id]");
            prop_assert_eq!(found.counts().map(|(_, count)| count).sum::<u64>(), 3);
        }

        #[test]
        fn a_row_keeps_its_shape(values in proptest::collection::vec(proptest::option::of("(ann@corp\\.example|[a-z ]{0,9})"), 0..6)) {
            let shape = vec![Reading::As(Form::Text); values.len()];
            let clean = |value: &String| value.replace("ann@corp.example", "[email]");
            let expected: Vec<_> = values.iter().map(|value| value.as_ref().map(clean)).collect();
            let body = row_of(&values);
            let other = net(&shape).row(&body, &mut Found::default()).unwrap();
            let told = other.as_deref().map_or(body.as_slice(), |other| other.get(HEADER..).unwrap_or_default());
            prop_assert_eq!(told, row_of(&expected));
            // One that does not have the columns that were told is not passed on.
            prop_assert!(net(&[Reading::Not; 7]).row(&body, &mut Found::default()).is_err());
        }
    }

    #[test]
    fn what_cannot_be_read_whole_is_not_passed_on() {
        let (mut net, mut found) = (net(&[]), Found::default());
        net.shape = None;
        net.binary = true;
        assert!(net.piece(&[0, 1, 0, 0, 0, 9, b'a'], &mut found).is_err());
        assert!(
            net.piece(&[0, 1, 0, 0, 0, 1, b'a', 0xff, 0xff], &mut found)
                .unwrap()
                .is_none()
        );
        net.binary = false;
        let line = vec![b'a'; LARGEST + 1];
        assert!(net.piece(&line, &mut found).is_err());
        net.shape = None;
        assert!(net.row(&[0, 0], &mut found).is_err(), "rows that nobody described");
    }
}
