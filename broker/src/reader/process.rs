//! One worker process, seen from the broker.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Limits, frame};
use crate::sql::splice::{Edits, SpliceFault};
use crate::sql::{Snapshot, Statement, Unreadable};

/// A worker keeps the memory of its largest tree. After this many bytes of text a fresh one takes its place.
const WORN: usize = 8 * 1024 * 1024;

/// Why a worker did not answer.
#[derive(Debug)]
pub enum Fault {
    /// It could not be started.
    NotStarted(io::Error),
    /// It ended, or closed its side.
    Died(Option<ExitStatus>),
    /// The deadline or its processor time ran out.
    TooSlow,
    /// It said something that is no answer.
    Garbled,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "it did not start: {error}"),
            Self::Died(Some(status)) => write!(f, "it ended: {status}"),
            Self::Died(None) => f.write_str("it closed its side"),
            Self::TooSlow => f.write_str("it took too long"),
            Self::Garbled => f.write_str("it gave no answer that could be read"),
        }
    }
}

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: UnixStream,
    /// What it resolves names against: sent once, held so that it cannot be taken for another one.
    snapshot: Option<Arc<Snapshot>>,
    read: usize,
}

impl Process {
    /// Starts `program` as a worker with nothing of this process but a socket.
    pub fn start(program: &Path, limits: &Limits) -> Result<Self, Fault> {
        let (socket, theirs) = UnixStream::pair().map_err(Fault::NotStarted)?;
        let out = theirs.try_clone().map_err(Fault::NotStarted)?;
        let child = Command::new(program)
            .arg("reader-worker")
            .args(["--memory", &limits.memory.to_string()])
            .args(["--cpu", &limits.cpu.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(out))
            // A panic's message could quote the statement.
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for the broker, which still has sessions to end.
            .process_group(0)
            .spawn()
            .map_err(Fault::NotStarted)?;
        Ok(Self {
            child,
            socket,
            snapshot: None,
            read: 0,
        })
    }

    /// True as long as it has not ended.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// True when a fresh one should take its place.
    pub fn is_worn(&self) -> bool {
        self.read > WORN
    }

    /// Has it read a text. After a fault it is of no more use.
    pub fn read(
        &mut self,
        text: &str,
        snapshot: &Arc<Snapshot>,
        until: Instant,
    ) -> Result<Result<Vec<Statement>, Unreadable>, Fault> {
        self.read += text.len();
        let asked = |process: &mut Self| {
            process.knows(snapshot, until)?;
            process.exchange((frame::TEXT, text.as_bytes()), until)
        };
        let body = asked(self).map_err(|error| self.fault(&error))?;
        let body = self.answered(body, frame::READ)?;
        let read: Result<Vec<Statement>, Unreadable> = serde_json::from_slice(&body).map_err(|_| Fault::Garbled)?;
        match &read {
            Ok(statements) if !in_order(statements, text) => Err(Fault::Garbled),
            _ => Ok(read),
        }
    }

    /// Has it put something else into a text. After a fault it is of no more use.
    pub fn splice(&mut self, text: &str, edits: &Edits, until: Instant) -> Result<Result<String, SpliceFault>, Fault> {
        self.read += text.len();
        let asked = serde_json::to_vec(&(text, edits)).map_err(|_| Fault::Garbled)?;
        let answer = self
            .exchange((frame::SPLICE, &asked), until)
            .map_err(|error| self.fault(&error))?;
        let body = self.answered(answer, frame::SPLICED)?;
        serde_json::from_slice(&body).map_err(|_| Fault::Garbled)
    }

    /// Tells it the schema, unless it knows it.
    fn knows(&mut self, snapshot: &Arc<Snapshot>, until: Instant) -> io::Result<()> {
        if !self.snapshot.as_ref().is_some_and(|held| Arc::ptr_eq(held, snapshot)) {
            let mut socket = Until {
                socket: &self.socket,
                until,
            };
            frame::write(&mut socket, frame::SNAPSHOT, &serde_json::to_vec(&**snapshot)?)?;
            self.snapshot = Some(snapshot.clone());
        }
        Ok(())
    }

    fn exchange(&mut self, (kind, body): (u8, &[u8]), until: Instant) -> io::Result<Option<(u8, Vec<u8>)>> {
        let mut socket = Until {
            socket: &self.socket,
            until,
        };
        frame::write(&mut socket, kind, body)?;
        frame::read(&mut socket)
    }

    fn answered(&mut self, answer: Option<(u8, Vec<u8>)>, wanted: u8) -> Result<Vec<u8>, Fault> {
        match answer {
            Some((kind, body)) if kind == wanted => Ok(body),
            _ => Err(self.fault(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn fault(&mut self, error: &io::Error) -> Fault {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Fault::TooSlow;
        }
        // It has closed its side: it is ending, or is made to.
        let _already_gone = self.child.kill();
        match self.child.wait() {
            Ok(status) if status.signal() == Some(Signal::SIGXCPU as i32) => Fault::TooSlow,
            Ok(status) => Fault::Died(Some(status)),
            Err(_) => Fault::Died(None),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Statements lie inside the text, one behind the other.
fn in_order(statements: &[Statement], text: &str) -> bool {
    let mut from = 0;
    statements.iter().all(|statement| {
        let span = &statement.span;
        let fits = from <= span.start && span.start <= span.end && text.get(span.clone()).is_some();
        from = span.end;
        fits
    })
}

/// A socket that gives up at a given time.
struct Until<'s> {
    socket: &'s UnixStream,
    until: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        (&mut &*self.socket).read(buffer)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        (&mut &*self.socket).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
