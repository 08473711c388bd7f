//! One statement text through an endpoint in every way a client can send it, and what came back, as text.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hoop::sql::{self, Snapshot};

use crate::raw::{self, Message, Raw, field};

/// How a text is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One Query message.
    Simple,
    /// Statement by statement through Parse, Bind, Execute and Sync.
    Extended,
    /// All statements in one pipeline with one Sync.
    Pipeline,
    /// One Query, behind another statement.
    Behind,
    /// PREPARE and EXECUTE.
    Prepared,
    /// DECLARE and FETCH.
    Cursor,
    /// EXPLAIN ANALYZE.
    Explained,
    /// COPY (…) TO STDOUT.
    Copied,
}

impl Mode {
    /// Every way.
    pub const ALL: &'static [Self] = &[
        Self::Simple,
        Self::Extended,
        Self::Pipeline,
        Self::Behind,
        Self::Prepared,
        Self::Cursor,
        Self::Explained,
        Self::Copied,
    ];

    /// As it is written, in one message and statement by statement.
    pub const PLAIN: &'static [Self] = &[Self::Simple, Self::Extended];

    /// What is sent for `sql`; `None` where it cannot be sent like this.
    pub fn wrap(self, sql: &str) -> Option<String> {
        let single = sql::read(sql, &Snapshot::default()).is_ok_and(|statements| statements.len() == 1);
        let bare = sql.trim().trim_end_matches(';');
        let first = bare
            .trim_start_matches('(')
            .split(|letter: char| !letter.is_ascii_alphabetic())
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let reads = matches!(first.as_str(), "select" | "with" | "values" | "table");
        let writes = matches!(first.as_str(), "insert" | "update" | "delete" | "merge");
        // A comment at the end would swallow what is put behind it.
        match self {
            Self::Simple | Self::Extended | Self::Pipeline => Some(sql.to_owned()),
            Self::Behind => Some(format!("SELECT WHERE false; {sql}")),
            Self::Prepared if single && (reads || writes) => {
                Some(format!("PREPARE hoop_p AS {bare}\n; EXECUTE hoop_p"))
            }
            Self::Cursor if single && reads => Some(format!(
                "BEGIN; DECLARE hoop_c CURSOR FOR {bare}\n; FETCH ALL FROM hoop_c; COMMIT"
            )),
            Self::Explained if single && (reads || writes) => Some(format!("EXPLAIN (ANALYZE, VERBOSE) {bare}")),
            Self::Copied if single && (reads || writes) => Some(format!("COPY ({bare}\n) TO STDOUT")),
            _ => None,
        }
    }
}

/// What the job received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Every message's body, in order.
    pub bytes: Vec<u8>,
    /// As psql would print it unaligned, with every error and notice on one line.
    pub text: String,
    /// The SQLSTATEs of errors, in order.
    pub errors: Vec<String>,
    /// An error of the broker's own.
    pub denied: bool,
    /// One that a limit raised, behind a statement that was let through.
    pub limited: bool,
    /// The command tags and rows alone, to be compared with what a direct connection gives.
    pub results: String,
    /// How long it took.
    pub took: Duration,
}

impl Received {
    /// Adds messages.
    pub fn take(&mut self, messages: &[Message]) {
        for (tag, body) in messages {
            self.bytes.extend(body);
            self.bytes.push(b'\n');
            match tag {
                'D' => {
                    let row = row(body);
                    let _ = writeln!(self.text, "{row}");
                    let _ = writeln!(self.results, "{row}");
                }
                'd' => {
                    let line = String::from_utf8_lossy(body);
                    let _ = write!(self.text, "{line}");
                    let _ = write!(self.results, "{line}");
                }
                'C' => {
                    let _ = writeln!(self.results, "{}", String::from_utf8_lossy(body).trim_end_matches('\0'));
                }
                'E' | 'N' => self.complaint(*tag, body),
                _ => {}
            }
        }
    }

    /// Rows came, and no error.
    pub fn answered(&self) -> bool {
        self.errors.is_empty() && self.results.lines().count() > 1
    }

    /// PostgreSQL refused every statement for want of a right, and no row came.
    pub fn is_only_refusal(&self) -> bool {
        !self.errors.is_empty() && self.results.lines().all(|line| line == "ERROR 42501")
    }

    fn complaint(&mut self, tag: char, body: &[u8]) {
        let part = |kind| field(body, kind).replace('\n', " ");
        let _ = writeln!(
            self.text,
            "{}:  {} DETAIL: {} HINT: {} CONTEXT: {}",
            if tag == 'E' { "ERROR".to_owned() } else { part('S') },
            part('M'),
            part('D'),
            part('H'),
            part('W')
        );
        if tag == 'E' {
            let state = part('C');
            self.denied |= part('M').contains("denied by ");
            self.limited |= part('D').contains("the scope's max-");
            let _ = writeln!(self.results, "ERROR {state}");
            self.errors.push(state);
        }
    }
}

/// A DataRow as psql -A -t prints it.
fn row(body: &[u8]) -> String {
    let count = body
        .first_chunk::<2>()
        .map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
    let mut rest = body.get(2..).unwrap_or_default();
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let Some((length, behind)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = usize::try_from(i32::from_be_bytes(*length))
            .unwrap_or(0)
            .min(behind.len());
        let (value, behind) = behind.split_at(length);
        columns.push(String::from_utf8_lossy(value).into_owned());
        rest = behind;
    }
    columns.join("|")
}

/// Sends `text` in `mode` and takes everything that comes back.
pub async fn send(peer: &mut Raw, mode: Mode, text: &str, copy_in: Option<&str>) -> Result<Received> {
    let began = Instant::now();
    let mut received = Received::default();
    match mode {
        Mode::Extended => {
            for statement in split(text) {
                let out = [
                    raw::parse("", &statement),
                    raw::bind("", ""),
                    raw::describe(""),
                    raw::execute(""),
                    raw::flush(),
                ];
                peer.send(&out.concat()).await?;
                if !answers(peer, &mut received, copy_in, ("CEIs", false)).await? {
                    break;
                }
                peer.send(&raw::sync()).await?;
                if !answers(peer, &mut received, copy_in, ("Z", false)).await? {
                    break;
                }
            }
        }
        Mode::Pipeline => {
            let mut out = Vec::new();
            for statement in split(text) {
                out.extend(
                    [
                        raw::parse("", &statement),
                        raw::bind("", ""),
                        raw::describe(""),
                        raw::execute(""),
                    ]
                    .concat(),
                );
            }
            out.extend(raw::sync());
            peer.send(&out).await?;
            answers(peer, &mut received, copy_in, ("Z", true)).await?;
        }
        // In one Query the broker would read EXECUTE before there is anything to execute.
        Mode::Prepared => {
            for statement in split(text) {
                peer.send(&raw::query(&statement)).await?;
                if !answers(peer, &mut received, copy_in, ("Z", false)).await? {
                    break;
                }
            }
        }
        _ => {
            peer.send(&raw::query(text)).await?;
            answers(peer, &mut received, copy_in, ("Z", false)).await?;
        }
    }
    received.took = began.elapsed();
    Ok(received)
}

/// Takes messages up to the first of the types `last`, and feeds a COPY. False when the connection is gone.
async fn answers(
    peer: &mut Raw,
    received: &mut Received,
    copy_in: Option<&str>,
    (last, pipeline): (&str, bool),
) -> Result<bool> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), peer.next()).await;
        let Ok(message) = next.with_context(|| format!("no answer after {:?}", received.results))? else {
            received.errors.push("closed".to_owned());
            return Ok(false);
        };
        let tag = message.0;
        received.take(&[message]);
        match tag {
            'G' => {
                let mut data = copy_in.map_or_else(Vec::new, |data| raw::copy_data(data.as_bytes()));
                data.extend(raw::copy_done());
                // In a pipeline the Sync that was already sent is swallowed with the data.
                if pipeline {
                    data.extend(raw::sync());
                } else if last != "Z" {
                    data.extend(raw::flush());
                }
                peer.send(&data).await?;
            }
            tag if last.contains(tag) => return Ok(true),
            _ => {}
        }
    }
}

/// The statements of a text; the whole text where it cannot be read.
pub fn split(text: &str) -> Vec<String> {
    match sql::read(text, &Snapshot::default()) {
        Ok(statements) => statements
            .into_iter()
            .map(|statement| text[statement.span].trim().to_owned())
            .collect(),
        Err(_) => vec![text.to_owned()],
    }
}
