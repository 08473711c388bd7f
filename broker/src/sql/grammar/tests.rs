//! Bombs, bounds, and the proof that small texts stay on a small stack.

use super::*;
use crate::sql::lower;
use crate::sql::sample;

/// Texts that nest `times` levels deep, each in another way.
fn nests(times: usize) -> Vec<(&'static str, String)> {
    let around = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(times), close.repeat(times));
    vec![
        ("operators", format!("SELECT 1{}", "+1".repeat(times))),
        ("minus", format!("SELECT {}id FROM orders", "- ".repeat(times))),
        ("not", format!("SELECT {}true", "NOT ".repeat(times))),
        ("casts", format!("SELECT 1{}", "::int".repeat(times))),
        ("brackets", format!("SELECT {}", around("(", "1", ")"))),
        (
            "casts behind brackets",
            format!("SELECT {}", around("(", "1", ")::int::text::int")),
        ),
        ("functions", format!("SELECT {}", around("abs(", "1", ")"))),
        ("arrays", format!("SELECT ARRAY{}", around("[", "1", "]"))),
        ("rows", format!("SELECT {}", around("(1,", "1", ")"))),
        (
            "case",
            format!("SELECT {}", around("CASE WHEN ", "true", " THEN true END")),
        ),
        ("sub-queries", around("SELECT(", "SELECT 1", ")")),
        (
            "from",
            format!(
                "{} q",
                around("SELECT * FROM (", "SELECT 1", ")q").trim_end_matches('q')
            ),
        ),
        ("unions", format!("SELECT 1{}", " UNION SELECT 1".repeat(times))),
        (
            "unions behind commas",
            format!("SELECT 1,2{}", " UNION SELECT 1,2".repeat(times)),
        ),
        (
            "joins",
            format!("SELECT 1 FROM orders o{}", " CROSS JOIN orders".repeat(times)),
        ),
        ("between", format!("SELECT 1{}", " BETWEEN 0 AND NOT 1".repeat(times))),
        ("with", around("WITH a AS (", "SELECT 1", ") SELECT 1")),
        ("collate", format!("SELECT 'a'{}", " COLLATE \"C\"".repeat(times))),
    ]
}

/// The deepest text of each kind that is at most this deep.
fn deepest(depth: usize) -> Vec<(&'static str, String)> {
    let measured = |text: &str| bounds::measure(&pg_query::scan_tokens(text).unwrap()).unwrap().0;
    let at = |kind: usize, times: usize| nests(times).swap_remove(kind);
    (0..nests(1).len())
        .map(|kind| {
            let (mut low, mut high) = (1, depth + 1);
            while high - low > 1 {
                let middle = usize::midpoint(low, high);
                if measured(&at(kind, middle).1) <= depth {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            at(kind, low)
        })
        .collect()
}

#[test]
fn what_is_read_on_a_stack_needs_at_most_half_of_it() {
    let snapshot = sample::fixture();
    let flat = deepest(FLAT_DEPTH).into_iter().map(|text| (1024 * 1024, text));
    let deep = deepest(SMALL_DEPTH).into_iter().map(|text| (SMALL_STACK / 2, text));
    for (stack, (name, text)) in flat.chain(deep) {
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().stack_size(stack);
            let read = reader
                .spawn_scoped(scope, || {
                    let measured = measure(&text)?;
                    parse(&text, measured, |tree| {
                        let mut effort = usize::MAX;
                        lower::all(tree, &text, &snapshot, &mut effort).len()
                    })
                })
                .unwrap()
                .join()
                .unwrap();
            assert!(read.is_ok(), "{name}: {read:?}");
        });
    }
}

#[test]
fn a_text_that_is_large_in_any_respect_is_not_read_as_a_small_one() {
    let snapshot = sample::fixture();
    let columns = ["n"; 200].join(",");
    let names = vec!["id"; 3_000].join(",");
    let tables = (0..300)
        .map(|number| format!("orders o{number}"))
        .collect::<Vec<_>>()
        .join(",");
    for (name, text) in [
        ("bytes", format!("SELECT '{}'", "x".repeat(SMALL_BYTES))),
        ("depth", format!("SELECT 1{}", "+1".repeat(SMALL_DEPTH))),
        ("weight", format!("UPDATE scratch SET ({columns}) = (SELECT {columns})")),
        ("effort", format!("SELECT 1 FROM {tables} WHERE 1 IN ({names})")),
    ] {
        assert_eq!(lower::read_small(&text, &snapshot), None, "{name}");
    }
    for text in ["SELECT 1", "SELEC 1", ""] {
        assert_eq!(
            lower::read_small(text, &snapshot),
            Some(lower::read(text, &snapshot)),
            "{text}"
        );
    }
    let deep = format!("SELECT 1{}", "+1".repeat(SMALL_DEPTH / 4));
    assert_eq!(lower::read_small(&deep, &snapshot), Some(lower::read(&deep, &snapshot)));
}

#[test]
fn the_second_reader_is_bounded_too() {
    let snapshot = sample::fixture();
    for (name, text) in deepest(200) {
        assert!(lower::read(&text, &snapshot).is_ok(), "{name}");
    }
}

#[test]
fn the_deepest_texts_are_read_on_a_stack_of_their_own_or_refused() {
    let snapshot = sample::fixture();
    for (name, text) in deepest(MAX_DEPTH) {
        let read = lower::read(&text, &snapshot);
        assert!(matches!(read, Ok(_) | Err(Unreadable::TooDeep)), "{name}");
    }
    for (name, text) in nests(50_000) {
        let read = lower::read(&text, &snapshot);
        assert!(
            matches!(read, Err(Unreadable::TooDeep | Unreadable::TooLarge)),
            "{name}: {read:?}"
        );
    }
}

#[test]
fn bombs_are_refused() {
    let snapshot = sample::fixture();
    let wide = format!(
        "UPDATE scratch SET ({}) = (SELECT {})",
        vec!["n"; 3_000].join(","),
        vec!["1"; 3_000].join(",")
    );
    let bombs = [
        (
            "100,000 terms",
            format!("SELECT 1{}", "+1".repeat(100_000)),
            Unreadable::TooDeep,
        ),
        (
            "40,000 comments",
            format!("SELECT {}1{}", "/*".repeat(40_000), "*/".repeat(40_000)),
            Unreadable::TooDeep,
        ),
        (
            "comments behind stars",
            format!("SELECT 1 *{}", "/*".repeat(100)),
            Unreadable::TooDeep,
        ),
        (
            "10,000 brackets",
            format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
            Unreadable::TooDeep,
        ),
        (
            "a run of operators",
            format!("SELECT 1 {} 1", "+-".repeat(100_000)),
            Unreadable::TooDeep,
        ),
        ("a row copied 3,000 times", wide, Unreadable::TooLarge),
        ("too many bytes", "x".repeat(MAX_BYTES + 1), Unreadable::TooLarge),
        ("NUL", "SELECT 1\0; DROP TABLE orders".to_owned(), Unreadable::Nul),
    ];
    for (name, text, expected) in bombs {
        assert_eq!(lower::read(&text, &snapshot), Err(expected), "{name}");
    }
}

#[test]
fn long_flat_texts_are_read() {
    let snapshot = sample::fixture();
    let values = vec!["(1, 'x', 2)"; 20_000].join(", ");
    let long = [
        ("VALUES", format!("INSERT INTO scratch VALUES {values}")),
        (
            "IN",
            format!("SELECT id FROM orders WHERE id IN ({})", vec!["1"; 50_000].join(",")),
        ),
        (
            "OR",
            format!(
                "SELECT id FROM orders WHERE {}",
                vec!["(id = 1 AND note = 'x')"; 10_000].join(" OR ")
            ),
        ),
        (
            "rows",
            format!(
                "SELECT id FROM orders WHERE {}",
                vec!["(id, note) = (1, 'x')"; 5_000].join(" OR ")
            ),
        ),
        ("statements", "SELECT 1; ".repeat(10_000)),
        ("a literal", format!("SELECT '{}'", "x".repeat(900_000))),
    ];
    for (name, text) in long {
        let read = lower::read(&text, &snapshot);
        assert!(
            read.is_ok_and(|statements| statements.iter().all(|statement| statement.opaque.is_empty())),
            "{name}"
        );
    }
}

#[test]
fn a_text_without_statements_has_none() {
    let snapshot = sample::fixture();
    for text in ["", " ", "\n\t", ";", " ; ;; ", "-- nothing", "/* nothing */", "\u{b}"] {
        assert_eq!(lower::read(text, &snapshot), Ok(Vec::new()), "{text:?}");
    }
}

#[test]
fn what_the_grammar_refuses_is_a_syntax_error() {
    let snapshot = sample::fixture();
    for text in ["SELEC 1", "SELECT 'open", "SELECT (1", "SELECT 1 /* open", "1"] {
        assert!(
            matches!(lower::read(text, &snapshot), Err(Unreadable::Syntax { .. })),
            "{text:?}"
        );
    }
}
#[test]
fn resolving_names_has_an_end() {
    let snapshot = sample::fixture();
    let stars = (0..60).fold("SELECT id FROM orders".to_owned(), |inner, level| {
        format!("SELECT *, * FROM ({inner}) q{level}")
    });
    let wide = (0..1_600)
        .map(|number| format!("1 AS c{number}"))
        .collect::<Vec<_>>()
        .join(", ");
    let names = vec!["id"; 100_000].join(", ");
    let tables = (0..20_000)
        .map(|number| format!("orders o{number}"))
        .collect::<Vec<_>>()
        .join(", ");
    let ctes = (0..20_000)
        .map(|number| format!("c{number} AS (SELECT 1)"))
        .collect::<Vec<_>>()
        .join(", ");
    let bombs = [
        ("stars", stars),
        (
            "wide CTEs",
            format!(
                "WITH w AS (SELECT {wide}) SELECT 1 FROM {}",
                vec!["w"; 200_000].join(", ")
            ),
        ),
        (
            "names by tables",
            format!("SELECT 1 FROM {tables} WHERE 1 IN ({names})"),
        ),
        (
            "names by tables, sorted",
            format!("SELECT 1 FROM {tables} ORDER BY {names}"),
        ),
        (
            "all columns of all tables",
            format!("SELECT {} FROM {tables}", vec!["*"; 50_000].join(", ")),
        ),
        (
            "CTEs by CTEs",
            format!("WITH {ctes} SELECT 1 FROM {}", vec!["orders"; 20_000].join(", ")),
        ),
        (
            "locks",
            format!("SELECT 1 FROM {tables} {}", "FOR UPDATE ".repeat(20_000)),
        ),
        ("drops", format!("DROP TABLE {}", vec!["orders"; 100_000].join(", "))),
        (
            "fields of joins",
            format!(
                "SELECT 1 FROM {}orders{}",
                "(".repeat(500),
                " JOIN orders ON true) q".repeat(500)
            ),
        ),
    ];
    for (name, text) in bombs {
        let read = lower::read(&text, &snapshot);
        let refused = read
            .as_ref()
            .map_or(true, |statements| statements.iter().any(|one| !one.opaque.is_empty()));
        // These two cost little however long they are.
        assert!(refused || ["fields of joins", "drops"].contains(&name), "{name}");
    }
}
