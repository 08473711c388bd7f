//! Texts that differ only in small whole numbers share one decision.
//!
//! A driver that writes numbers into its texts never sends the same text twice. What PostgreSQL's grammar makes of such
//! texts is the same tree with other integers in it, and nothing that is judged depends on an integer's value once there
//! are no settings in it; the caller makes sure of that. Anything this module does not know by heart has no shape.

/// A longer number need not be an `integer`, which could make another function of the same name meant.
const MAX_DIGITS: usize = 9;

/// `text` with every whole number of at most nine digits replaced by `#`; `None` when there is none, or when the text
/// holds anything in which digits could mean something else: quotes, comments, parameters, escapes, decimal points,
/// exponents, other bases, characters beyond ASCII, or a `#` of its own.
pub fn of(text: &str) -> Option<String> {
    let mut shape = String::with_capacity(text.len());
    let mut found = false;
    // The byte before the one at hand, and whether a word (which may hold digits) is going on.
    let (mut last, mut word) = (b' ', false);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'0'..=b'9' if !word => {
                let mut digits = 1;
                while bytes.next_if(u8::is_ascii_digit).is_some() {
                    digits += 1;
                }
                let junk = bytes
                    .peek()
                    .is_some_and(|next| next.is_ascii_alphabetic() || matches!(next, b'_' | b'.'));
                if junk || last == b'.' || digits > MAX_DIGITS {
                    return None;
                }
                found = true;
                shape.push('#');
                last = b'0';
                continue;
            }
            b'\'' | b'"' | b'$' | b'\\' | b'#' | b'\0' | 0x80.. => return None,
            b'-' if last == b'-' => return None,
            b'*' if last == b'/' => return None,
            _ => shape.push(char::from(byte)),
        }
        word = byte == b'_' || byte.is_ascii_alphabetic() || (word && byte.is_ascii_digit());
        last = byte;
    }
    found.then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::sql::sample::{self, corpus};
    use crate::sql::{Snapshot, Statement, read};

    #[test]
    fn numbers_become_holes_and_names_keep_their_digits() {
        let shape = of("SELECT a1, _2 FROM t3 WHERE id=42 AND x IN (1,-7) LIMIT 10;");
        assert_eq!(
            shape.as_deref(),
            Some("SELECT a1, _2 FROM t3 WHERE id=# AND x IN (#,-#) LIMIT #;")
        );
        assert_eq!(
            of("UPDATE t SET n = n + -5").as_deref(),
            Some("UPDATE t SET n = n + -#")
        );
    }

    #[test]
    fn whatever_is_not_a_plain_integer_has_no_shape() {
        for text in [
            "SELECT 1.5",
            "SELECT .5",
            "SELECT 5.",
            "SELECT 1e5",
            "SELECT 0x1f",
            "SELECT 1_000",
            "SELECT 1a",
            "SELECT 1234567890",
            "SELECT 'it' , 1",
            "SELECT \"a\", 1",
            "SELECT $1, 1",
            "SELECT $$x$$, 1",
            "SELECT 1 -- 2",
            "SELECT /* 1 */ 2",
            "SELECT é, 1",
            "SELECT # 1",
            "SELECT E\\1",
            "SELECT a",
            "",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    /// What is judged of a text: everything but where its statements stand.
    fn judged(text: &str, snapshot: &Snapshot) -> Option<Vec<Statement>> {
        let mut statements = read(text, snapshot).ok()?;
        for statement in &mut statements {
            statement.span = 0..0;
            for source in &mut statement.sources {
                source.at = 0;
                source.qualified.clear();
            }
        }
        Some(statements)
    }

    #[test]
    fn texts_of_one_shape_mean_the_same_to_the_judge() {
        let mut compared = 0;
        let mut check = |text: &str, snapshot: &Snapshot| {
            let Some(shape) = of(text) else { return };
            let Some(meant) = judged(text, snapshot) else { return };
            if meant
                .iter()
                .any(|statement| !statement.settings.is_empty() || !statement.opaque.is_empty())
            {
                return;
            }
            for number in ["0", "999999999"] {
                assert_eq!(
                    judged(&shape.replace('#', number), snapshot).as_ref(),
                    Some(&meant),
                    "{text} with {number}"
                );
            }
            compared += 1;
        };
        for line in corpus("attacks.jsonl").lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            check(case["sql"].as_str().unwrap_or_default(), &sample::fixture());
        }
        for file in ["alembic", "asyncpg", "django", "knex", "pgdump"] {
            let snapshot = sample::workload(file);
            for text in corpus(&format!("workload/{file}.sql")).split("\n-- ---\n") {
                check(text, &snapshot);
            }
        }
        assert!(compared > 20, "{compared}");
    }
}
