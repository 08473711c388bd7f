//! The same text in spellings that another reader does not misread. Which token is what, PostgreSQL's own scanner says: a
//! spelling inside of a literal or a comment is none.

use std::borrow::Cow;

use pg_query::protobuf::{ScanToken, Token};

/// `text` without `ONLY` before a relation, with `0` for numbers in other bases and `''` for literals that go over lines
/// or are written in Unicode escapes. `None` where a name is written in such escapes.
pub(super) fn respelled<'t>(text: &'t str, tokens: &[ScanToken]) -> Option<Cow<'t, str>> {
    let mut out = String::new();
    let mut copied = 0;
    let mut before = Token::Nul;
    for token in tokens {
        let kind = Token::try_from(token.token).unwrap_or(Token::Nul);
        if matches!(kind, Token::SqlComment | Token::CComment) {
            continue;
        }
        let start = usize::try_from(token.start).ok()?;
        let end = usize::try_from(token.end).ok()?.min(text.len());
        let spelt = text.get(start..end).unwrap_or_default();
        let instead = match kind {
            Token::Uident => return None,
            // FETCH FIRST ROW ONLY, READ ONLY.
            Token::Only if !matches!(before, Token::Row | Token::Rows | Token::Read) => Some(" "),
            Token::Iconst | Token::Fconst if is_odd_number(spelt) => Some("0"),
            Token::Usconst => Some("''"),
            Token::Sconst if spelt.contains(['\n', '\r']) => Some("''"),
            _ => None,
        };
        before = kind;
        if let Some(instead) = instead {
            out.push_str(text.get(copied..start)?);
            out.push_str(instead);
            copied = end;
        }
    }
    if copied == 0 {
        return Some(Cow::Borrowed(text));
    }
    out.push_str(text.get(copied..)?);
    Some(Cow::Owned(out))
}

/// `0x1F`, `0b1`, `0o7`, `1_000`.
fn is_odd_number(spelt: &str) -> bool {
    spelt.contains(['x', 'X', 'b', 'B', 'o', 'O', '_'])
}
