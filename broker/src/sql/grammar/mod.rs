//! PostgreSQL's own grammar, under bounds. Nothing else in the house knows which crate parses.
//!
//! A hostile text must not be able to cost more than its own refusal. Before the parser runs, the text is bounded in
//! bytes, in what the scanner could spend on it, and in how deep and how large the tree can grow; the bounds are
//! measured on the tokens of PostgreSQL's own scanner. Small and flat texts are then read on the caller's thread;
//! everything else on a thread of its own with a large stack, where the tree is read, walked and dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

pub(in crate::sql) use pg_query::NodeEnum;
pub(in crate::sql) use pg_query::protobuf as nodes;

mod bounds;

/// The largest text that is read at all.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The deepest tree (as [`bounds::measure`] counts) that is read at all.
const MAX_DEPTH: usize = 4_000;
/// Texts up to this size and depth are read on the caller's thread: even their worst case stays below 1 MiB of stack,
/// which a test holds it to. (Decoding one level of the tree takes up to 32 KiB.)
const SMALL_BYTES: usize = 16 * 1024;
const SMALL_DEPTH: usize = 20;
/// The stack of the thread that reads everything else. Untouched pages cost nothing.
const BIG_STACK: usize = 512 * 1024 * 1024;
/// Reading a text beyond this can take long: a caller that serves others should do it elsewhere.
pub const LARGE_BYTES: usize = 64 * 1024;
/// How many large texts are read at the same time: a megabyte of text can become hundreds of megabytes of tree.
const LARGE_AT_ONCE: usize = 2;

/// Why a text could not be read. All but [`Unreadable::Syntax`] mean that nobody knows what the text would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
}

/// What the grammar made of a text.
pub(in crate::sql) struct Tree {
    /// One per statement, in order.
    pub(in crate::sql) statements: Vec<nodes::RawStmt>,
    /// Where a name longer than 63 bytes stands: the server would cut it, so it names something else.
    pub(in crate::sql) long_names: Vec<usize>,
    /// How deep it may be, measured before parsing.
    pub(in crate::sql) depth: usize,
}

/// Parses `text` and hands the tree to `walk`. The tree never leaves the stack it was built on, because even dropping
/// it recurses.
pub(in crate::sql) fn read<T: Send>(text: &str, walk: impl FnOnce(&Tree) -> T + Send) -> Result<T, Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    if text.contains('\0') {
        return Err(Unreadable::Nul);
    }
    bounds::scannable(text)?;
    let in_place = if text.len() > SMALL_BYTES {
        Err((Unreadable::TooDeep, Some(walk)))
    } else {
        within(text, SMALL_DEPTH, walk)
    };
    match in_place {
        Ok(value) => Ok(value),
        Err((Unreadable::TooDeep, Some(walk))) => {
            let _turn = (text.len() > LARGE_BYTES).then(Turn::take);
            on_a_big_stack(|| within(text, usize::MAX, walk))?.map_err(|(refusal, _)| refusal)
        }
        Err((refusal, _)) => Err(refusal),
    }
}

/// Reads on the current stack, giving `walk` back when the tree may be deeper than `at_most`.
fn within<T, F: FnOnce(&Tree) -> T>(text: &str, at_most: usize, walk: F) -> Result<T, (Unreadable, Option<F>)> {
    // The scanner's binding must not meet a text without a single token.
    let scanned = format!("{text}\n;");
    let tokens = match catch_unwind(|| pg_query::scan_tokens(&scanned)) {
        Ok(Ok(tokens)) => tokens,
        Ok(Err(error)) => return Err((refused(error), None)),
        Err(_) => return Err((Unreadable::Crashed, None)),
    };
    let depth = match bounds::measure(&tokens) {
        Ok(depth) if depth > MAX_DEPTH => return Err((Unreadable::TooDeep, None)),
        Ok(depth) if depth > at_most => return Err((Unreadable::TooDeep, Some(walk))),
        Ok(depth) => depth,
        Err(refusal) => return Err((refusal, None)),
    };
    let long_names = bounds::long_names(text, &tokens);
    drop(tokens);
    let read = catch_unwind(AssertUnwindSafe(|| {
        let statements = pg_query::parse(text, pg_query::ParserOptions::DEFAULT)?.protobuf.stmts;
        Ok(walk(&Tree {
            statements,
            long_names,
            depth,
        }))
    }));
    match read {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err((refused(error), None)),
        Err(_) => Err((Unreadable::Crashed, None)),
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

/// The right to read one large text; the others wait.
struct Turn;

static TURNS_TAKEN: Mutex<usize> = Mutex::new(0);
static TURN_ENDED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let taken = TURNS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = TURN_ENDED
            .wait_while(taken, |taken| *taken >= LARGE_AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TURN_ENDED.notify_one();
    }
}

/// Runs `work` on a thread of its own with [`BIG_STACK`]. A panic there is a refusal here.
fn on_a_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Unreadable> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new()
            .name("reader".to_owned())
            .stack_size(BIG_STACK);
        let started = reader.spawn_scoped(scope, work).map_err(|_| Unreadable::Crashed)?;
        started.join().map_err(|_| Unreadable::Crashed)
    })
}

#[cfg(test)]
mod tests;
