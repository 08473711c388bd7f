//! What a text may cost, found out before it is parsed.

use pg_query::protobuf::{ScanToken, Token};

use super::Unreadable;

/// Comments may nest this deep. The scanner's cost grows with the square of it.
const MAX_COMMENT_DEPTH: usize = 64;
/// Operator characters in a row. The scanner reads such a run again for every token it takes from it.
const MAX_OPERATOR_RUN: usize = 256;
/// Tokens, each counted as often as the parser will copy it (see [`Level::copies`]).
const MAX_WEIGHT: usize = 2_000_000;
/// PostgreSQL's NAMEDATALEN - 1.
const MAX_NAME: usize = 63;

/// Refuses what the scanner itself would spend unreasonable time on. Reads bytes, not SQL, and errs on the strict side:
/// a comment opener counts wherever it stands, a closer only where a comment could be open.
pub(super) fn scannable(text: &str) -> Result<(), Unreadable> {
    let (mut comments, mut run) = (0_usize, 0_usize);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if !b"~!@#^&|`?+-*/%<>=".contains(&byte) {
            run = 0;
            continue;
        }
        run += 1;
        match (byte, bytes.peek()) {
            (b'/', Some(b'*')) => {
                comments += 1;
                run += 1;
                bytes.next();
            }
            (b'*', Some(b'/')) => comments = comments.saturating_sub(1),
            _ => {}
        }
        if comments > MAX_COMMENT_DEPTH || run > MAX_OPERATOR_RUN {
            return Err(Unreadable::TooDeep);
        }
    }
    Ok(())
}

/// One level of brackets or CASE … END.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// The token that closes it.
    closes: Token,
    /// What can nest inside one another since the last sibling began: its tokens, and the depth of every closed level
    /// among them, because a cast or an operator that follows a bracket wraps it.
    chain: usize,
    /// The deepest finished sibling.
    deepest: usize,
    /// Joins and set operations: they nest across commas.
    sticky: usize,
    /// Whether a BETWEEN waits for its AND, or has had it: then AND does not separate siblings.
    between: bool,
    /// Commas so far.
    commas: usize,
    /// How often the parser copies what stands here. `SET (a, b) = source` puts the source into the tree twice.
    copies: usize,
    /// `copies` without the multiple assignment that is open at this level.
    base: usize,
}

impl Level {
    fn new(closes: Token, copies: usize) -> Self {
        Self {
            closes,
            chain: 1,
            deepest: 0,
            sticky: 0,
            between: false,
            commas: 0,
            copies,
            base: copies,
        }
    }

    fn depth(&self) -> usize {
        self.deepest.max(self.chain) + self.sticky
    }

    /// What follows is not inside what stood before.
    fn sibling(&mut self) {
        self.deepest = self.deepest.max(self.chain);
        self.chain = 1;
        self.between = false;
    }
}

/// Bounds the tree's depth and size. In a tree that the grammar accepts every level of nesting takes a token of its own,
/// and what stands behind a comma is not inside what stood before it; AND and OR chains are flat in PostgreSQL's tree.
/// The answer is a depth, of which no path through the tree is longer than a small multiple, and a weight, of which the
/// tree's size is.
pub(super) fn measure(tokens: &[ScanToken]) -> Result<(usize, usize), Unreadable> {
    let mut levels = vec![Level::new(Token::Nul, 1)];
    let mut weight = 0_usize;
    // How many columns stood in the brackets that just closed.
    let mut closed_columns = None;
    for token in tokens {
        let kind = Token::try_from(token.token).unwrap_or(Token::Nul);
        if matches!(kind, Token::SqlComment | Token::CComment) {
            continue;
        }
        let Some(level) = levels.last_mut() else {
            return Err(Unreadable::TooDeep);
        };
        weight = weight.saturating_add(level.copies);
        if weight > MAX_WEIGHT {
            return Err(Unreadable::TooLarge);
        }
        let just_closed = closed_columns.take();
        match kind {
            Token::Ascii44 | Token::Ascii59 => {
                level.commas += 1;
                level.sibling();
                level.copies = level.base;
            }
            Token::Or => level.sibling(),
            Token::When if level.closes == Token::EndP => level.sibling(),
            Token::And if !level.between => level.sibling(),
            Token::Between => {
                level.between = true;
                level.chain += 1;
            }
            Token::Union | Token::Intersect | Token::Except | Token::Join => level.sticky += 1,
            Token::Ascii61 if just_closed.is_some() => {
                level.chain += 1;
                level.copies = level.copies.max(level.base.saturating_mul(just_closed.unwrap_or(1)));
            }
            Token::Ascii40 | Token::Ascii91 | Token::Case => {
                let inner = Level::new(closer(kind), level.copies);
                levels.push(inner);
            }
            Token::Ascii41 | Token::Ascii93 | Token::EndP if level.closes == kind => {
                let columns = level.commas + 1;
                close(&mut levels);
                closed_columns = (kind == Token::Ascii41).then_some(columns);
            }
            _ => level.chain += 1,
        }
    }
    while levels.len() > 1 {
        close(&mut levels);
    }
    Ok((levels.first().map_or(0, Level::depth), weight))
}

/// Ends the innermost level; its depth counts in the one around it.
fn close(levels: &mut Vec<Level>) {
    let depth = levels.pop().map_or(0, |level| level.depth());
    if let Some(outer) = levels.last_mut() {
        outer.chain = outer.chain.saturating_add(depth + 1);
    }
}

fn closer(opener: Token) -> Token {
    match opener {
        Token::Ascii91 => Token::Ascii93,
        Token::Case => Token::EndP,
        _ => Token::Ascii41,
    }
}

/// Where names stand that the server would cut to 63 bytes.
pub(super) fn long_names(text: &str, tokens: &[ScanToken]) -> Vec<usize> {
    let mut found = Vec::new();
    for token in tokens {
        if !matches!(Token::try_from(token.token), Ok(Token::Ident | Token::Uident)) {
            continue;
        }
        let (Ok(start), Ok(end)) = (usize::try_from(token.start), usize::try_from(token.end)) else {
            continue;
        };
        let name = text.as_bytes().get(start..end).unwrap_or_default();
        let length = match name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")) {
            // A doubled quote is one byte of the name.
            Some(quoted) => quoted.len() - quoted.split(|byte| *byte == b'"').skip(1).count() / 2,
            None => name.len(),
        };
        if length > MAX_NAME {
            found.push(start);
        }
    }
    found
}
