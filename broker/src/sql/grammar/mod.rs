//! PostgreSQL's own grammar, under bounds. Nothing else in the house knows which crate parses.
//!
//! A hostile text must not be able to cost more than its own refusal. Before the parser runs, the text is bounded in
//! bytes, in what the scanner could spend on it, and in how deep and how large the tree can grow; the bounds are
//! measured on the tokens of PostgreSQL's own scanner. Small and flat texts are then read on the caller's thread,
//! deeper ones on a thread of their own with a stack to match, where the tree is read, walked and dropped. Whoever
//! serves others reads only small texts by itself ([`read_small`]); the rest is for `reader`'s processes.

use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

pub(in crate::sql) use pg_query::NodeEnum;
pub(in crate::sql) use pg_query::protobuf as nodes;

mod bounds;
mod kinds;
mod respell;

pub use kinds::{Fate, KINDS};
pub(in crate::sql) use kinds::{fate, name};

/// The largest text that is read at all.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The deepest tree (as [`bounds::measure`] counts) that is read at all.
const MAX_DEPTH: usize = 4_000;
/// The largest, deepest and heaviest text that a process reads which serves others.
const SMALL_BYTES: usize = 16 * 1024;
const SMALL_DEPTH: usize = 1_000;
const SMALL_WEIGHT: usize = 16 * 1024;
/// The stack for a text of that depth: twice what the worst of them needs, which a test holds it to. (Decoding one
/// level of the tree takes up to 32 KiB.)
const SMALL_STACK: usize = 64 * 1024 * 1024;
/// Texts up to this depth are read on the caller's thread: even their worst case stays below 1 MiB of stack, which a
/// test holds them to as well.
const FLAT_DEPTH: usize = 20;
/// The stack for everything else. Untouched pages cost nothing.
const BIG_STACK: usize = 512 * 1024 * 1024;

/// Why a text could not be read. All but [`Unreadable::Syntax`] mean that nobody knows what the text would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unreadable {
    /// The grammar refuses it, and so would a server of the same version. The message may quote the text: it may go to
    /// the author, never to a log.
    #[error("the text is not SQL that PostgreSQL's grammar accepts")]
    Syntax {
        /// The grammar's own message, such as `syntax error at or near "foo"`.
        message: String,
    },
    /// The text has too many bytes, or would make too large a tree.
    #[error("the text is larger than the {MAX_BYTES} bytes that are read")]
    TooLarge,
    /// The text nests deeper than is read.
    #[error("the text nests deeper than is read")]
    TooDeep,
    /// A NUL byte: the server would stop reading there.
    #[error("the text holds a NUL byte")]
    Nul,
    /// The reader itself failed.
    #[error("the reader failed")]
    Crashed,
    /// Reading took longer than any statement may take.
    #[error("reading the text took too long")]
    TooSlow,
    /// Every reader is at work, and enough texts wait for one.
    #[error("too many large texts are being read at the same time")]
    Busy,
}

impl Unreadable {
    /// True when the same text may be readable at another time.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Crashed | Self::TooSlow | Self::Busy)
    }
}

/// What the grammar made of a text.
pub(in crate::sql) struct Tree {
    /// One per statement, in order.
    pub(in crate::sql) statements: Vec<nodes::RawStmt>,
    /// Where a name longer than 63 bytes stands: the server would cut it, so it names something else.
    pub(in crate::sql) long_names: Vec<usize>,
    /// How deep it may be, measured before parsing.
    pub(in crate::sql) depth: usize,
    /// The text as the second reader can read it, where it is in other words than the text.
    pub(in crate::sql) respelled: Respelled,
}

/// What the second reader gets to read.
pub(in crate::sql) enum Respelled {
    /// The text itself.
    Same,
    /// The same text with other spellings.
    Other(String),
    /// Nothing: it would misread it.
    Nothing,
}

/// What the tokens of a text tell before it is parsed.
struct Measured {
    depth: usize,
    weight: usize,
    long_names: Vec<usize>,
    respelled: Respelled,
}

/// Parses `text` and hands the tree to `walk`. The tree never leaves the stack it was built on, because even dropping
/// it recurses.
pub(in crate::sql) fn read<T: Send>(text: &str, walk: impl FnOnce(&Tree) -> T + Send) -> Result<T, Unreadable> {
    let measured = measure(text)?;
    if measured.depth > FLAT_DEPTH {
        on_a_stack_of(BIG_STACK, || parse(text, measured, walk))?
    } else {
        parse(text, measured, walk)
    }
}

/// [`read`] of a text that is small in every respect; `None` when it is not.
pub(in crate::sql) fn read_small<T: Send>(
    text: &str,
    walk: impl FnOnce(&Tree) -> T + Send,
) -> Option<Result<T, Unreadable>> {
    if text.len() > SMALL_BYTES {
        return None;
    }
    let measured = match measure(text) {
        Ok(measured) => measured,
        Err(refusal) => return Some(Err(refusal)),
    };
    if measured.depth > SMALL_DEPTH || measured.weight > SMALL_WEIGHT {
        return None;
    }
    Some(if measured.depth > FLAT_DEPTH {
        on_a_stack_of(SMALL_STACK, || parse(text, measured, walk)).flatten()
    } else {
        parse(text, measured, walk)
    })
}

/// The tokens of a text without its comments: what each is, and where.
pub(in crate::sql) fn tokens(text: &str) -> Result<Vec<(nodes::Token, Range<usize>)>, Unreadable> {
    let place = |at: i32| usize::try_from(at).unwrap_or(usize::MAX);
    let known = |token: &nodes::ScanToken| {
        let kind = nodes::Token::try_from(token.token).unwrap_or(nodes::Token::Nul);
        let comment = matches!(kind, nodes::Token::SqlComment | nodes::Token::CComment);
        (!comment).then(|| (kind, place(token.start)..place(token.end)))
    };
    Ok(scan(text)?.iter().filter_map(known).collect())
}

/// PostgreSQL's own scanner, on a text that it cannot be made to dwell on.
fn scan(text: &str) -> Result<Vec<nodes::ScanToken>, Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    if text.contains('\0') {
        return Err(Unreadable::Nul);
    }
    bounds::scannable(text)?;
    // The scanner's binding must not meet a text without a single token.
    let scanned = format!("{text}\n;");
    match catch_unwind(|| pg_query::scan_tokens(&scanned)) {
        Ok(Ok(tokens)) => Ok(tokens),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(Unreadable::Crashed),
    }
}

/// Runs `work` on a thread with room for the deepest tree.
pub(in crate::sql) fn on_a_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Unreadable> {
    on_a_stack_of(BIG_STACK, work)
}

/// Refuses what is too large or too deep, by its bytes and its tokens alone.
fn measure(text: &str) -> Result<Measured, Unreadable> {
    let tokens = scan(text)?;
    let (depth, weight) = bounds::measure(&tokens)?;
    if depth > MAX_DEPTH {
        return Err(Unreadable::TooDeep);
    }
    Ok(Measured {
        depth,
        weight,
        long_names: bounds::long_names(text, &tokens),
        respelled: match respell::respelled(text, &tokens) {
            Some(Cow::Borrowed(_)) => Respelled::Same,
            Some(Cow::Owned(other)) => Respelled::Other(other),
            None => Respelled::Nothing,
        },
    })
}

/// Parses and walks on the current stack.
fn parse<T>(text: &str, measured: Measured, walk: impl FnOnce(&Tree) -> T) -> Result<T, Unreadable> {
    let Measured {
        depth,
        weight: _,
        long_names,
        respelled,
    } = measured;
    let read = catch_unwind(AssertUnwindSafe(|| {
        let statements = pg_query::parse(text, pg_query::ParserOptions::DEFAULT)?.protobuf.stmts;
        Ok(walk(&Tree {
            statements,
            long_names,
            depth,
            respelled,
        }))
    }));
    match read {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(Unreadable::Crashed),
    }
}

/// Sorts the parser's own errors: only what the grammar says about the text is a syntax error.
fn refused(error: pg_query::Error) -> Unreadable {
    match error {
        pg_query::Error::Parse(message) | pg_query::Error::Scan(message) => {
            if message.contains("stack depth limit exceeded") || message.contains("memory exhausted") {
                Unreadable::TooDeep
            } else if message.contains("out of memory") || message.contains("invalid memory alloc") {
                Unreadable::TooLarge
            } else {
                Unreadable::Syntax { message }
            }
        }
        pg_query::Error::Conversion(_) => Unreadable::Nul,
        _ => Unreadable::Crashed,
    }
}

/// Runs `work` on a thread of its own with a stack of `bytes`. A panic there is a refusal here.
fn on_a_stack_of<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> Result<T, Unreadable> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("reader".to_owned()).stack_size(bytes);
        let started = reader.spawn_scoped(scope, work).map_err(|_| Unreadable::Crashed)?;
        started.join().map_err(|_| Unreadable::Crashed)
    })
}

#[cfg(test)]
mod tests;
