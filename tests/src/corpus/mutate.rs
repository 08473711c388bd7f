//! The same statement in other words: seeded changes that leave a refused statement refused. What is changed is what a
//! writer of attacks would change: blanks and comments, quoting, case, escapes, and what stands around it.

use std::collections::BTreeSet;

use hoop::sql::Snapshot;

use crate::prove::Rng;

/// What a mutation may rename and requote: names of the live schema.
#[derive(Debug, Clone)]
pub struct Mutator {
    relations: BTreeSet<String>,
    names: BTreeSet<String>,
}

/// One piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Blank(String),
    Word(String),
    Literal(String),
    Other(String),
}

impl Mutator {
    /// A mutator for texts about `snapshot`.
    pub fn new(snapshot: &Snapshot) -> Self {
        let user = snapshot.relations.iter().filter(|(schema, _)| *schema == "public");
        let relations: BTreeSet<String> = user.clone().flat_map(|(_, held)| held.keys().cloned()).collect();
        let mut names = relations.clone();
        names.extend(user.flat_map(|(_, held)| held.values().flat_map(|relation| relation.columns.clone())));
        for function in [
            "query_to_xml",
            "pg_read_file",
            "get_ssn",
            "set_config",
            "lower",
            "dblink",
            "crosstab",
            "ts_stat",
        ] {
            names.insert(function.to_owned());
        }
        Self { relations, names }
    }

    /// A text that means the same as `sql`, or nothing at all.
    pub fn mutate(&self, sql: &str, rng: &mut Rng) -> String {
        let mut text = sql.to_owned();
        for _ in 0..rng.between(1, 3) {
            text = match rng.below(3) {
                0 => wrap(&text, rng),
                _ => self.reword(&text, rng),
            };
        }
        text
    }

    /// `text` with a comment that nobody else writes, where a comment may stand.
    pub fn mark(&self, text: &str, canary: &str) -> String {
        let mut pieces = split(text);
        let blanks: Vec<usize> = (0..pieces.len())
            .filter(|at| matches!(pieces[*at], Piece::Blank(_)))
            .collect();
        if let Some(at) = blanks.get(blanks.len() / 2) {
            pieces[*at] = Piece::Blank(format!(" /* {canary} */ "));
        }
        join(&pieces)
    }

    fn reword(&self, text: &str, rng: &mut Rng) -> String {
        let mut pieces = split(text);
        let share = rng.between(1, 4);
        for at in 0..pieces.len() {
            if rng.below(4) >= share {
                continue;
            }
            let before = pieces[..at]
                .iter()
                .rev()
                .find(|piece| !matches!(piece, Piece::Blank(_)));
            let qualified = matches!(before, Some(Piece::Other(dot)) if dot.ends_with('.'));
            let piece = match &pieces[at] {
                Piece::Blank(_) => Piece::Blank(blank(rng)),
                Piece::Word(word) => Piece::Other(self.word(word, qualified, rng)),
                Piece::Literal(literal) => Piece::Other(requote(literal, rng)),
                Piece::Other(_) => continue,
            };
            pieces[at] = piece;
        }
        join(&pieces)
    }

    fn word(&self, word: &str, qualified: bool, rng: &mut Rng) -> String {
        let lower = word.to_ascii_lowercase();
        if !self.names.contains(&lower) {
            return any_case(word, rng);
        }
        match rng.below(6) {
            0 => format!("\"{lower}\""),
            1 => {
                let escaped: String = lower
                    .chars()
                    .map(|letter| match rng.below(3) {
                        0 => format!("\\{:04x}", u32::from(letter)),
                        1 => format!("\\+{:06x}", u32::from(letter)),
                        _ => letter.to_string(),
                    })
                    .collect();
                // In front of another quote it would be part of that.
                format!(" U&\"{escaped}\"")
            }
            2 if !qualified && self.relations.contains(&lower) => format!("public.{lower}"),
            3 if !qualified && self.relations.contains(&lower) => format!("\"public\" . \"{lower}\""),
            _ => any_case(word, rng),
        }
    }
}

fn any_case(word: &str, rng: &mut Rng) -> String {
    word.chars()
        .map(|letter| match rng.below(2) {
            0 => letter.to_ascii_uppercase(),
            _ => letter.to_ascii_lowercase(),
        })
        .collect()
}

fn blank(rng: &mut Rng) -> String {
    const BLANKS: &[&str] = &[
        "\n",
        "\t",
        "  ",
        "\r\n",
        "\u{c}",
        " /**/ ",
        "/* ; */",
        " /* ' */ ",
        " /* \" */ ",
        " /* $$ */ ",
        " /* /* nested */ */ ",
        " -- ' ;\n",
        " --\n",
        "\n\n",
        " /*-- */ ",
        " --/*\n",
    ];
    BLANKS[rng.below(BLANKS.len() as u64) as usize].to_owned()
}

/// A literal in another notation; as it is where a backslash or a quote in it would make a difference.
fn requote(literal: &str, rng: &mut Rng) -> String {
    let inner = &literal[1..literal.len() - 1];
    if inner.contains(['\'', '\\', '$']) || !inner.is_ascii() {
        return literal.to_owned();
    }
    match rng.below(5) {
        0 => format!(" E'{inner}'"),
        1 => format!(" U&'{inner}'"),
        2 => format!(" $q${inner}$q$"),
        3 if inner.len() > 1 => format!("'{}'\n'{}'", &inner[..1], &inner[1..]),
        4 => {
            let escaped: String = inner.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            format!(" E'{escaped}'")
        }
        _ => literal.to_owned(),
    }
}

/// Something around a text. Where it cannot stand there, the text is no longer SQL.
fn wrap(sql: &str, rng: &mut Rng) -> String {
    const AROUND: &[(&str, &str)] = &[
        ("WITH w AS (", "\n) SELECT * FROM w"),
        ("WITH w AS MATERIALIZED (", "\n) SELECT count(*) FROM w"),
        ("SELECT * FROM (", "\n) AS q"),
        ("SELECT * FROM orders o, LATERAL (", "\n) AS q"),
        ("SELECT 1 WHERE EXISTS (", "\n)"),
        ("SELECT (", "\n)"),
        ("SELECT ARRAY(", "\n)"),
        ("SELECT id FROM orders UNION ALL (", "\n)"),
        ("EXPLAIN ", ""),
        ("EXPLAIN ANALYZE ", ""),
        ("EXPLAIN (FORMAT json, VERBOSE) ", ""),
        ("PREPARE hp AS ", ""),
        ("PREPARE hp AS ", "\n; EXECUTE hp"),
        ("BEGIN; DECLARE hc CURSOR FOR ", "\n; FETCH ALL FROM hc; COMMIT"),
        ("DECLARE hc BINARY SCROLL CURSOR WITH HOLD FOR ", ""),
        ("COPY (", "\n) TO STDOUT"),
        ("COPY (", "\n) TO STDOUT (FORMAT csv)"),
        ("DO $hw$ BEGIN PERFORM ", "\n; END $hw$"),
        ("DO $hw$ BEGIN ", "\n; END $hw$"),
        ("INSERT INTO scratch (v) ", ""),
        ("INSERT INTO scratch (v) (", "\n)"),
        ("CREATE TEMP TABLE ht AS ", ""),
        ("CREATE TABLE public.ht AS ", ""),
        ("CREATE VIEW public.hv AS ", ""),
        ("BEGIN; ", "\n; COMMIT"),
        ("BEGIN; SAVEPOINT s; ", "\n; ROLLBACK TO s; COMMIT"),
        ("SELECT 1; ", ""),
        ("", "\n; SELECT 1"),
        (";;", "\n;;"),
        ("SET enable_seqscan = off; ", ""),
        ("SET search_path = app_priv, public; ", ""),
        ("SET LOCAL search_path TO public, pg_catalog; ", ""),
        ("SET standard_conforming_strings = off; ", ""),
        ("SET client_encoding = 'UTF8'; ", ""),
        ("SELECT set_config('search_path', 'public', false); ", ""),
        ("SET ROLE postgres; ", "\n; RESET ROLE"),
        ("SET plan_cache_mode = force_generic_plan; ", ""),
        ("SAVEPOINT s; ", ""),
    ];
    let (before, after) = AROUND[rng.below(AROUND.len() as u64) as usize];
    let bare = sql.trim_end().trim_end_matches(';');
    format!("{before}{bare}{after}")
}

/// Blanks, words, plain literals, and everything else as it is. Comments, quoted names, dollar quotes and escape strings
/// are kept whole.
fn split(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\n' | '\r' | '\u{c}' => {
                let length = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']).len();
                pieces.push(Piece::Blank(rest[..length].to_owned()));
                rest = &rest[length..];
                continue;
            }
            '\'' => quoted(rest, '\'', false),
            '"' => quoted(rest, '"', false),
            '$' => dollar(rest),
            '-' if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |at| at + 1),
            '/' if rest.starts_with("/*") => comment(rest),
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                let length = rest
                    .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '$')
                    .unwrap_or(rest.len());
                let prefix = rest[..length].to_ascii_lowercase();
                match rest[length..].chars().next() {
                    // E'…', B'…', X'…', N'…'.
                    Some('\'') if matches!(prefix.as_str(), "e" | "b" | "x" | "n") => {
                        length + quoted(&rest[length..], '\'', prefix == "e")
                    }
                    Some('&') if prefix == "u" && rest[length + 1..].starts_with(['\'', '"']) => {
                        let quote = rest[length + 1..].chars().next().unwrap_or('\'');
                        length + 1 + quoted(&rest[length + 1..], quote, false)
                    }
                    _ => {
                        pieces.push(Piece::Word(rest[..length].to_owned()));
                        rest = &rest[length..];
                        continue;
                    }
                }
            }
            digit if digit.is_ascii_digit() => rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '.')
                .unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let piece = rest[..length].to_owned();
        rest = &rest[length..];
        let plain = first == '\'' && piece.len() > 1 && !follows_literal(&pieces) && !continues(rest);
        pieces.push(if plain {
            Piece::Literal(piece)
        } else {
            Piece::Other(piece)
        });
    }
    pieces
}

/// True when the literal that was just read goes on after a line break.
fn continues(rest: &str) -> bool {
    rest.trim_start().starts_with('\'')
}

fn follows_literal(pieces: &[Piece]) -> bool {
    let last = pieces.iter().rev().find(|piece| !matches!(piece, Piece::Blank(_)));
    matches!(last, Some(Piece::Literal(text) | Piece::Other(text)) if text.ends_with('\''))
}

fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            if letters.peek().is_some_and(|(_, next)| *next == quote) {
                letters.next();
            } else {
                return at + 1;
            }
        }
    }
    text.len()
}

fn dollar(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else {
        return 1;
    };
    let tag = &text[..end + 2];
    let inner = &tag[1..tag.len() - 1];
    if inner.starts_with(|letter: char| letter.is_ascii_digit())
        || !inner.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    {
        return 1;
    }
    text[tag.len()..]
        .find(tag)
        .map_or(text.len(), |at| tag.len() + at + tag.len())
}

fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn join(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Blank(text) | Piece::Word(text) | Piece::Literal(text) | Piece::Other(text) => text.as_str(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_and_joining_changes_nothing() {
        for text in [
            "SELECT E'\\'', (SELECT token FROM secrets) --'",
            "SELECT $a$'$a$, $1, U&'\\0027' /* /* x */ */ FROM \"a\"\"b\" WHERE 'a''b' = 'a'\n'b'",
            "SELECT 1_000.5e10, x.y FROM t -- end",
            "DO $$ BEGIN /* ' */ END $$; 'open",
            "é 'é' \"é\"",
        ] {
            assert_eq!(join(&split(text)), text);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_text() {
        let mutator = Mutator {
            relations: ["secrets".to_owned()].into(),
            names: ["secrets".to_owned(), "token".to_owned()].into(),
        };
        let text = |seed| mutator.mutate("SELECT token FROM secrets WHERE token = 'x'", &mut Rng::new(seed));
        assert_eq!(text(7), text(7));
        assert!((0..50).any(|seed| text(seed).contains("U&\"")));
        assert!((0..50).any(|seed| text(seed).contains("public.secrets")));
    }
}
