//! The expressions as text; what they do to rows is tried on a live server in `tests/tests/mask_expressions.rs`.

use std::collections::BTreeMap;

use super::{Bucket, Category, ColumnType, Mask, Tree, Unit};

fn of(name: &str) -> ColumnType {
    ColumnType::new(name, Vec::new())
}

fn fixed(text: &str) -> Mask {
    Mask::Fixed(text.to_owned())
}

fn tree(paths: &[(&str, Mask)]) -> Result<Tree, super::BadPath> {
    let mut tree = Tree::new();
    for (path, mask) in paths {
        tree.insert(path, mask.clone())?;
    }
    Ok(tree)
}

/// One of every kind that needs no key.
fn masks() -> Vec<Mask> {
    vec![
        Mask::Nullify,
        fixed("1"),
        Mask::Partial {
            first: 1,
            last: 4,
            with: '*',
        },
        Mask::Digits,
        Mask::Email,
        Mask::FakeName,
        Mask::Bucket(Bucket::Step(100)),
        Mask::Bucket(Bucket::Calendar(Unit::Month)),
        Mask::Json(tree(&[("a.b[].c", Mask::Digits), ("d", Mask::Nullify)]).unwrap()),
    ]
}

const TYPES: &[&str] = &[
    "text",
    "character varying(20)",
    "character(5)",
    "name",
    "app.citext",
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "numeric(10,2)",
    "real",
    "double precision",
    "date",
    "timestamp(3) without time zone",
    "timestamp with time zone",
    "time without time zone",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "boolean",
    "bytea",
    "inet",
    "\"char\"",
    "bit(3)",
    "int4range",
    "app.\"Point\"",
    "text[]",
    "numeric(10,2)[]",
    "app.mood[]",
];

#[test]
fn types_are_told_by_their_names() {
    for (name, category, sql) in [
        ("text", Category::Text, "pg_catalog.text"),
        ("character varying(20)", Category::Text, "character varying(20)"),
        ("bpchar", Category::Text, "pg_catalog.bpchar"),
        ("public.citext", Category::Text, "public.citext"),
        ("app.citext_like", Category::Other, "app.citext_like"),
        ("bigint", Category::Integer, "bigint"),
        ("numeric(10,2)", Category::Number, "numeric(10,2)"),
        ("date", Category::Date, "pg_catalog.date"),
        (
            "timestamp(3) with time zone",
            Category::Timestamp,
            "timestamp(3) with time zone",
        ),
        (
            "timestamp without time zone",
            Category::Timestamp,
            "timestamp without time zone",
        ),
        ("time with time zone", Category::Other, "time with time zone"),
        ("\"char\"", Category::Other, "pg_catalog.\"char\""),
        ("\"bit\"", Category::Other, "pg_catalog.\"bit\""),
        ("app.text", Category::Other, "app.text"),
        ("app.\"date\"", Category::Other, "app.\"date\""),
        ("integer[]", Category::Array, "integer[]"),
        ("uuid[]", Category::Array, "pg_catalog.uuid[]"),
        ("tsvector", Category::Other, "pg_catalog.tsvector"),
        ("", Category::Other, "pg_catalog."),
    ] {
        let found = of(name);
        assert_eq!((found.category, found.sql().as_str()), (category, sql), "{name}");
    }
    let mood = ColumnType::new("app.mood", vec!["sad".to_owned()]);
    assert_eq!(mood.category, Category::Enum);
    // A snapshot of an older broker knows no types: nothing fits but NULL.
    let unknown: ColumnType = serde_json::from_str("{}").unwrap();
    assert_eq!((unknown.category, unknown.fits()), (Category::Other, vec!["nullify"]));
}

#[test]
fn what_is_said_to_fit_fits_and_nothing_else_does() {
    for name in TYPES {
        let of = of(name);
        for mask in masks() {
            let mask = match (mask, of.element().as_ref().unwrap_or(&of).category) {
                (Mask::Fixed(_), Category::Date | Category::Timestamp) => fixed("2020-02-29"),
                (Mask::Fixed(_), Category::Uuid) => fixed("00000000-0000-0000-0000-000000000000"),
                (Mask::Fixed(_), Category::Boolean) => fixed("true"),
                (Mask::Fixed(_), Category::Bytes) => fixed("\\x00ff"),
                (Mask::Bucket(_), Category::Date | Category::Timestamp) => Mask::Bucket(Bucket::Calendar(Unit::Week)),
                (Mask::Bucket(_), _) => Mask::Bucket(Bucket::Step(10)),
                (mask, _) => mask,
            };
            let answer = mask.expression("\"t\".\"c\"", &of, &["\"t\".\"id\"".to_owned()]);
            assert_eq!(
                answer.is_ok(),
                of.fits().contains(&mask.as_str()),
                "{mask} {name}: {answer:?}"
            );
        }
    }
    let unfit = Mask::Digits.expression("c", &of("uuid"), &[]).unwrap_err();
    assert_eq!(
        unfit.to_string(),
        "`digits` cannot keep the type uuid: what fits is nullify, fixed"
    );
    let unfit = Mask::FakeName.expression("c", &of("text[]"), &[]).unwrap_err();
    assert!(unfit.to_string().contains("the type text[]"), "{unfit}");
    assert!(
        Mask::Bucket(Bucket::Calendar(Unit::Day))
            .expression("c", &of("date"), &[])
            .is_err()
    );
    for mask in [
        Mask::Hash,
        Mask::StableEmail,
        Mask::StableName,
        Mask::DateShift { days: 3 },
    ] {
        assert!(
            mask.needs_key() && mask.expression("c", &of("text"), &[]).is_err(),
            "{mask}"
        );
    }
}

/// The words of the grammar that expressions are made of.
const GRAMMAR: &[&str] = &[
    "AND",
    "ARRAY",
    "AS",
    "BY",
    "CASE",
    "COALESCE",
    "COLLATE",
    "ELSE",
    "END",
    "FROM",
    "IS",
    "NULL",
    "OPERATOR",
    "OR",
    "ORDER",
    "ORDINALITY",
    "SELECT",
    "THEN",
    "WHEN",
    "WITH",
    "bigint",
    "character",
    "double",
    "false",
    "integer",
    "interval",
    "numeric",
    "precision",
    "real",
    "smallint",
    "time",
    "timestamp",
    "true",
    "varying",
    "with",
    "without",
    "zone",
    "bit",
    "boolean",
];

/// Every name in an expression says which schema it means: what stands outside of quotes is a column that the caller
/// gave, a word of the grammar, or begins with a schema.
#[test]
fn nothing_is_left_to_the_search_path() {
    let mut count = 0;
    for name in TYPES {
        for mask in masks() {
            let Ok(sql) = mask.expression("\"t\".\"c\"", &of(name), &["\"t\".\"id\"".to_owned()]) else {
                continue;
            };
            count += 1;
            assert!(
                !sql.contains('\\') && !sql.contains("--") && !sql.contains(';'),
                "{sql}"
            );
            let bare: String = sql
                .split('\'')
                .step_by(2)
                .collect::<Vec<_>>()
                .join(" ")
                .split('"')
                .step_by(2)
                .collect::<Vec<_>>()
                .join("q");
            let operators = bare.replace("OPERATOR(pg_catalog.", "\u{1}");
            for word in operators.split(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '.'))
            {
                let fine = word.is_empty()
                    || GRAMMAR.contains(&word)
                    || word.starts_with("pg_catalog.")
                    || word.starts_with("app.")
                    || word.bytes().all(|byte| byte.is_ascii_digit())
                    || word.split('.').all(|part| part == "q");
                assert!(fine, "`{word}` in {sql}");
            }
            // Operators stand in their long form; `::` and commas are grammar.
            let left = operators
                .split('\u{1}')
                .map(|part| part.split_once(')').map_or(part, |(_, rest)| rest));
            for part in left.skip(1) {
                assert!(
                    !part.contains(['<', '>', '=', '+', '-', '/', '|', '~', '&', '#']),
                    "{part} in {sql}"
                );
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn a_fixed_value_is_of_the_type_or_refused() {
    let good: BTreeMap<&str, &[&str]> = BTreeMap::from([
        (
            "text",
            ["", "it's", "back\\slash", "'; DROP TABLE t; --", "$$"].as_slice(),
        ),
        ("character varying(3)", &["abc", "äöü"]),
        ("smallint", &["-32768", "32767", "007"]),
        ("integer", &["2147483647"]),
        ("bigint", &["-9223372036854775808"]),
        ("numeric", &["-1.50", "0.000001"]),
        ("numeric(4,2)", &["99.99", "-0.5", "0", "00012.30"]),
        ("numeric(2,4)", &["0"]),
        ("numeric(2,-3)", &["1000"]),
        ("real", &["1.5", "0.0"]),
        ("double precision", &["-100"]),
        ("boolean", &["true", "false"]),
        ("date", &["2020-02-29", "0001-01-01"]),
        (
            "timestamp without time zone",
            &["2020-02-29", "2020-02-29 10:00:00", "2020-02-29T10:00:00.5"],
        ),
        (
            "timestamp with time zone",
            &["2020-02-29", "2020-02-29T10:00:00Z", "2020-02-29 10:00:00+02"],
        ),
        ("uuid", &["01234567-89ab-cdef-0123-456789abcdef"]),
        ("jsonb", &["{}", "[1,\"a\\n\"]", "null", "\"it's\""]),
        ("bytea", &["\\x", "\\x00fF"]),
        ("integer[]", &["5"]),
    ]);
    for (name, values) in good {
        for value in values {
            let answer = fixed(value).expression("c", &of(name), &[]);
            assert!(answer.is_ok(), "{name} {value}: {answer:?}");
        }
    }
}

#[test]
fn a_fixed_value_of_another_type_is_refused() {
    let bad: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("character varying(3)", ["abcd"].as_slice()),
        ("smallint", &["32768", "1.0", "", "x", "1; DROP TABLE t"]),
        ("integer", &["2147483648"]),
        ("bigint", &["9223372036854775808"]),
        ("numeric", &["1e5", "NaN", ".5", "5.", "--1", "1'"]),
        ("numeric(4,2)", &["100", "1.234", "999"]),
        ("numeric(2,4)", &["0.5", "1"]),
        ("numeric(2,-3)", &["99999", "1.5"]),
        (
            "real",
            &[
                "1000000000000000000000000000000000000000",
                "0.00000000000000000000000000000000000000000000000000001",
            ],
        ),
        ("boolean", &["t", "yes", "TRUE"]),
        (
            "date",
            &[
                "2020-02-30",
                "20200229",
                "29.02.2020",
                "infinity",
                "0000-01-01",
                "2020-02-29 10:00",
            ],
        ),
        (
            "timestamp without time zone",
            &[
                "2020-02-29T10:00:00Z",
                "2020-02-29 10:00:00+02",
                "2020-02-29[UTC]",
                "now",
                "-000001-01-01",
            ],
        ),
        ("timestamp with time zone", &["tomorrow", "2020-13-01"]),
        (
            "uuid",
            &[
                "0123456789abcdef0123456789abcdef",
                "01234567-89ab-cdef-0123-456789abcdeg",
            ],
        ),
        ("jsonb", &["", "{", "{'a':1}", "\"\\u0000\"", "\"\\ud800\"", "1e999999"]),
        ("bytea", &["00ff", "\\x0", "\\xzz"]),
        ("inet", &["127.0.0.1"]),
        ("integer[]", &["{1}", "a"]),
    ]);
    for (name, values) in bad {
        for value in values {
            let answer = fixed(value).expression("c", &of(name), &[]);
            assert!(answer.is_err(), "{name} {value}: {answer:?}");
        }
    }
}

#[test]
fn a_fixed_label_is_one_of_the_enum() {
    let mood = ColumnType::new("app.mood", vec!["sad".to_owned(), "it's".to_owned()]);
    assert_eq!(
        fixed("it's").expression("c", &mood, &[]).unwrap(),
        "(CASE WHEN (c) IS NULL THEN NULL ELSE 'it''s'::app.mood END)::app.mood"
    );
    assert!(fixed("glad").expression("c", &mood, &[]).is_err());
}

#[test]
fn json_paths() {
    let good = |paths: &[(&str, Mask)]| tree(paths).unwrap().to_string();
    assert_eq!(
        good(&[
            ("b[].c", Mask::Digits),
            ("a.x", Mask::Nullify),
            ("b[].d[][]", Mask::Email),
            ("a.y", fixed("z"))
        ]),
        "a.x: nullify, a.y: { fixed: \"z\" }, \"b[].c\": digits, \"b[].d[][]\": email"
    );
    assert_eq!(good(&[("[].a", Mask::Digits)]), "\"[].a\": digits");
    for path in [
        "", ".", "a.", ".a", "a..b", "$.a", "/a/b", "a[0]", "a[*]", "a[].", "a.[]", "a]", "a[", "a[]b", "*", "a\"b",
    ] {
        assert!(tree(&[(path, Mask::Nullify)]).is_err(), "{path}");
    }
    for (one, other) in [
        ("a", "a"),
        ("a", "a.b"),
        ("a.b", "a"),
        ("a[]", "a.b"),
        ("a.b", "a[]"),
        ("[]", "a"),
        ("a[]", "a[].b"),
    ] {
        assert!(
            tree(&[(one, Mask::Nullify), (other, Mask::Nullify)]).is_err(),
            "{one} {other}"
        );
    }
    for mask in [
        Mask::FakeName,
        Mask::Hash,
        Mask::Bucket(Bucket::Step(2)),
        Mask::Json(Tree::new()),
    ] {
        assert!(tree(&[("a", mask)]).is_err());
    }
    assert!(tree(&[(&["a"; 16].join("."), Mask::Nullify)]).is_ok());
    assert!(tree(&[(&["a"; 17].join("."), Mask::Nullify)]).is_err());
}
