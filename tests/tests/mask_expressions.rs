//! What masks do to rows, on a live server: the type stays, NULL stays NULL, no value makes the expression fail, and
//! nothing of the value is seen beyond what the mask says.

use anyhow::{Context as _, Result, bail};
use hoop::demo::cluster::Cluster;
use hoop::mask::{Bucket, Category, ColumnType, Mask, Tree, Unit};

const SCHEMA: &str = r#"
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'it''s fine');
CREATE TYPE app."Odd name" AS (a int);
CREATE DOMAIN app.email AS text CHECK (value <> 'never');
CREATE DOMAIN app.code AS varchar(12) COLLATE "POSIX";
CREATE COLLATION app.blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE EXTENSION IF NOT EXISTS citext SCHEMA app;
CREATE SCHEMA hoop_masks;
CREATE TABLE hoop_masks.keys (ipad bytea, opad bytea);
INSERT INTO hoop_masks.keys VALUES (decode(repeat('5c', 64), 'hex'), decode(repeat('36', 64), 'hex'));
"#;

/// Columns with values that are hard on some expression. What a mask may never show has CANARY or 4711 in it.
const COLUMNS: &[(&str, &[&str])] = &[
    ("text", TEXTS),
    ("app.email", TEXTS),
    ("text COLLATE app.blind", TEXTS),
    ("varchar(40)", TEXTS),
    ("char(40)", TEXTS),
    ("bpchar", TEXTS),
    ("name", TEXTS),
    ("app.citext", TEXTS),
    ("app.code", &["''", "'CANARY-4711'"]),
    ("varchar(3)", &["''", "'abc'", "'é'"]),
    ("int2", &["-32768", "32767", "0", "-1", "99", "100", "-100"]),
    ("int4", &["-2147483648", "2147483647", "0", "-1", "4711"]),
    (
        "int8",
        &["-9223372036854775808", "9223372036854775807", "0", "-1", "-100", "-101"],
    ),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0",
            "-0.5",
            "4711.123456789",
            "'1e131000'",
            "'-1e131000'",
            "'-9e999'",
            "99.99999999999999999999999999999999999999",
            "'1e-16000'",
            "'-1e-16000'",
            "-1e1000",
        ],
    ),
    (
        "numeric(10,2)",
        &["'NaN'", "99999999.99", "-99999999.99", "-99999999.01", "0", "4711.11"],
    ),
    ("numeric(3)", &["999", "-999", "-901"]),
    ("numeric(3,5)", &["0.00999", "-0.00999"]),
    ("numeric(2,-3)", &["99000", "-99000", "1000", "-1000"]),
    (
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "5e-324",
            "-5e-324",
            "'-0'",
            "4711.5",
            "1e300",
            "-1e300",
            "2.2250738585072014e-308",
        ],
    ),
    (
        "float4",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "3.4028235e38",
            "-3.4028235e38",
            "1e-45",
            "-1e-45",
            "4711.5",
        ],
    ),
    ("uuid", &["'47114711-4711-4711-4711-471147114711'"]),
    (
        "date",
        &[
            "'4714-11-24 BC'",
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "'infinity'",
            "'-infinity'",
            "'1984-11-23'",
            "'4700-01-01 BC'",
        ],
    ),
    ("timestamp", STAMPS),
    ("timestamp(3)", STAMPS),
    ("timestamptz", STAMPS),
    ("timestamptz(0)", STAMPS),
    ("time", &["'10:11:12'"]),
    ("interval", &["'4711 days'"]),
    ("json", JSONS),
    ("json", RAW_JSONS),
    ("jsonb", JSONS),
    ("bool", &["true", "false"]),
    ("bytea", &["''", "'\\x4711'", "'CANARY'"]),
    ("app.mood", &["'sad'", "'it''s fine'"]),
    ("app.\"Odd name\"", &["ROW(4711)", "ROW(NULL)"]),
    ("inet", &["'10.47.11.1'", "'::1/64'"]),
    ("xml", &["'<a>CANARY</a>'"]),
    ("money", &["4711"]),
    ("tsvector", &["'CANARY'"]),
    ("int4range", &["'[4711,4712)'", "'empty'"]),
    ("point", &["'(4711,4711)'"]),
    ("\"char\"", &["'C'"]),
    ("bit(4)", &["B'1011'"]),
    ("oid", &["4711"]),
    (
        "text[]",
        &[
            "'{}'",
            "'{CANARY-4711,NULL,\"\"}'",
            "'{{CANARY-4711,CANARY-4711},{a,b}}'",
            "'[3:4]={CANARY-4711,b}'",
        ],
    ),
    ("varchar(20)[]", &["'{}'", "'{CANARY-4711,NULL}'"]),
    (
        "int4[]",
        &["'{}'", "'{-2147483648,NULL,2147483647}'", "'{{4711},{4711}}'"],
    ),
    ("numeric(10,2)[]", &["'{}'", "'{-99999999.99,NULL,NaN,4711.11}'"]),
    ("date[]", &["'{infinity,1984-11-23,4714-11-24 BC}'"]),
    ("timestamptz[]", &["'{infinity,1984-11-23 12:00+00}'"]),
    ("jsonb[]", &["ARRAY['{\"a\": \"CANARY\"}'::jsonb]"]),
    ("app.mood[]", &["'{sad}'"]),
    ("app.email[]", &["'{CANARY-4711}'"]),
    ("app.\"Odd name\"[]", &["ARRAY[ROW(4711)::app.\"Odd name\"]"]),
];

const TEXTS: &[&str] = &[
    "''",
    "'x'",
    "'CANARY-4711-4711-CANARY'",
    "E'\\\\ '' \" $$ %s'",
    "'e' || U&'\\0301' || 'CANARY4711' || U&'\\0301'",
    "'👩‍👩‍👧 4711 日本語'",
    "U&'\\0664\\0667\\0661\\0661 \\FF14\\FF17 \\+01D7D2'",
    "'   '",
    "E'\\n\\t\\x01'",
];
const STAMPS: &[&str] = &[
    "'infinity'",
    "'-infinity'",
    "'4714-11-24 00:00:00+00 BC'",
    "'294276-12-31 23:59:59.999999'",
    "'1984-11-23 13:37:42.4711'",
    "'4700-01-01 00:00:00+00 BC'",
];
const JSONS: &[&str] = &[
    "'null'",
    "'true'",
    "'4711'",
    "'\"CANARY\"'",
    "'[]'",
    "'{}'",
    "'[4711, \"CANARY\"]'",
    r#"'{"a": {"b": "CANARY 4711"}, "k": 1}'"#,
    r#"'{"a": "CANARY 4711"}'"#,
    r#"'{"a": [{"b": "CANARY 4711"}]}'"#,
    r#"'{"a": {"b": null}, "i": null}'"#,
    r#"'{"i": [{"s": "CANARY 4711"}, {"s": 4711}, "CANARY", {"t": "kept"}, [{"s": "CANARY"}]], "kept": "kept"}'"#,
    r#"'{"i": {"s": "CANARY 4711"}}'"#,
    r#"'{"i": []}'"#,
];
/// Texts that json takes and jsonb does not.
const RAW_JSONS: &[&str] = &[
    r#"'{"a": {"b": "CANARY 4711\u0000"}}'"#,
    r#"'"\ud83d\ude00 CANARY"'"#,
    r#"'"\ud83d CANARY"'"#,
    r#"'"\ud83d\\\ude00 CANARY"'"#,
    r#"'"\\\\\ud83d CANARY"'"#,
    r#"'{"k":"\\u0000", "a": {"b": "CANARY"}}'"#,
    r#"'{"k":[1e999999], "a": {"b": "CANARY"}}'"#,
    r#"'1e-99999'"#,
    r#"'{"a": {"b": "kept"}, "a": {"b": "CANARY"}, "k": "é"}'"#,
    r#"('{"k":' || repeat('9', 140000) || '}')::json"#,
    r#"('{"k":' || repeat('[', 3000) || repeat(']', 3000) || '}')::json"#,
];

fn types(cluster: &Cluster) -> Result<Vec<(String, ColumnType, &'static [&'static str])>> {
    let mut all = Vec::new();
    for (at, (written, values)) in COLUMNS.iter().enumerate() {
        let table = format!("app.t{at}");
        let mut sql = format!("CREATE TABLE {table} (id int PRIMARY KEY, c {written});\n");
        sql.push_str(&format!("INSERT INTO {table} VALUES (0, NULL);\n"));
        for (id, value) in values.iter().enumerate() {
            sql.push_str(&format!("INSERT INTO {table} VALUES ({}, {value});\n", id + 1));
        }
        cluster.psql("masks", &sql).with_context(|| (*written).to_owned())?;
        // The base type and its modifier, as the catalog's loader asks for them.
        let row = cluster.psql(
            "masks",
            &format!(
                "SET search_path = ''; SELECT pg_catalog.format_type(b.oid, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END), \
                 (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = b.oid) \
                 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                 JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
                 WHERE attrelid = '{table}'::regclass AND attname = 'c'"
            ),
        )?;
        let (name, labels) = row.trim().rsplit_once('|').context("two fields")?;
        let labels = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect();
        all.push((table, ColumnType::new(name, labels), *values));
    }
    Ok(all)
}

fn fixed(text: &str) -> Mask {
    Mask::Fixed(text.to_owned())
}

fn json(paths: &[(&str, Mask)]) -> Mask {
    let mut tree = Tree::new();
    for (path, mask) in paths {
        tree.insert(path, mask.clone()).expect("a path");
    }
    Mask::Json(tree)
}

/// Every mask in several forms; each column takes those that fit.
fn masks() -> Vec<Mask> {
    let partial = |first, last, with| Mask::Partial { first, last, with };
    let calendar = Unit::ALL.iter().map(|unit| Mask::Bucket(Bucket::Calendar(*unit)));
    let fixed_values = [
        "it's \\ fixed",
        "a",
        "0",
        "1.5",
        "true",
        "2020-02-29",
        "2020-02-29 10:00:00",
        "sad",
        "it's fine",
        "\\x00ff",
        "{\"it's\": \"\\n\"}",
        "00000000-0000-0000-0000-000000000000",
    ];
    [
        Mask::Nullify,
        partial(1, 0, '*'),
        partial(0, 1, '\''),
        partial(1, 1, '\\'),
        partial(1000, 1000, '"'),
        Mask::Digits,
        Mask::Email,
        Mask::FakeName,
        Mask::Hash,
        Mask::StableEmail,
        Mask::StableName,
        Mask::DateShift { days: 1 },
        Mask::DateShift { days: 3650 },
        Mask::Bucket(Bucket::Step(2)),
        Mask::Bucket(Bucket::Step(100)),
        Mask::Bucket(Bucket::Step(Bucket::WIDEST)),
        json(&[("a.b", Mask::Nullify), ("i[].s", Mask::Digits)]),
        json(&[
            ("a.b", Mask::Email),
            ("i[].s", fixed("it's \\")),
            ("kept", partial(1, 1, '*')),
        ]),
        json(&[("[]", Mask::Digits)]),
    ]
    .into_iter()
    .chain(calendar)
    .chain(fixed_values.map(fixed))
    .collect()
}

fn prepare() -> Result<Cluster> {
    let cluster = Cluster::start(None, &[])?;
    cluster.psql("postgres", "CREATE DATABASE masks")?;
    cluster.psql("masks", SCHEMA)?;
    Ok(cluster)
}

#[test]
fn every_mask_on_every_type() -> Result<()> {
    let cluster = prepare()?;
    let mut tried = 0;
    let mut kinds = std::collections::BTreeSet::new();
    for (table, of, values) in types(&cluster)? {
        let mut fits = std::collections::BTreeSet::new();
        let mut asked = Vec::new();
        let mut script =
            "SET datestyle = 'German'; SET timezone = 'Pacific/Chatham'; SET intervalstyle = 'sql_standard'; \
                          SET bytea_output = 'escape';\n"
                .to_owned();
        for mask in masks() {
            let Ok(sql) = mask.expression_with_key("\"t\".\"c\"", &of, &["\"t\".\"id\"".to_owned()]) else {
                continue;
            };
            tried += 1;
            if !mask.needs_key() {
                fits.insert(mask.as_str());
            }
            kinds.insert((mask.as_str(), format!("{:?}", of.category)));
            script.push_str(&question(asked.len(), &table, &sql));
            asked.push((mask, sql));
        }
        let answers = cluster.psql("masks", &script).with_context(|| of.name.clone())?;
        let answers: Vec<&str> = answers.split_terminator('\u{3}').collect();
        assert_eq!(answers.len(), asked.len(), "{}", of.name);
        for (answer, (mask, sql)) in answers.into_iter().zip(&asked) {
            check(answer, &of, mask, values.len()).with_context(|| format!("{mask} on {}: {sql}", of.name))?;
        }
        let said: std::collections::BTreeSet<_> = of.fits().into_iter().collect();
        let enum_without = of.category == Category::Enum && !fits.contains("fixed");
        assert!(fits == said && !enum_without, "{}: {fits:?}, said {said:?}", of.name);
    }
    assert!(tried > 350 && kinds.len() > 30, "{tried} {}", kinds.len());
    hostile_paths(&cluster)?;
    shown_values(&cluster)
}

/// One expression over every row, in whatever surroundings a job could make for it. The answer ends with a `\x03`.
fn question(at: usize, table: &str, sql: &str) -> String {
    format!(
        "SET search_path = pg_catalog;
         CREATE TEMP VIEW masked{at} AS SELECT t.id, ({sql}) AS c FROM {table} AS t;
         SET search_path = '';
         SELECT format('%s|%s|%s|%s|%s', count(*), count(*) FILTER (WHERE (m.c IS NULL) AND r.c IS NOT NULL),
            count(*) FILTER (WHERE (m.c IS NOT NULL) AND r.c IS NULL),
            (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE attrelid = 'pg_temp.masked{at}'::regclass AND attname = 'c'),
            string_agg(m.c::text, E'\\x02')) || E'\\x03'
         FROM pg_temp.masked{at} m JOIN {table} r USING (id);\n"
    )
}

fn check(answer: &str, of: &ColumnType, mask: &Mask, rows: usize) -> Result<()> {
    let mut fields = answer.trim_start_matches('\n').splitn(5, '|');
    let mut field = || fields.next().context("five fields");
    let (count, lost, found, name, shown) = (field()?, field()?, field()?, field()?, field()?);
    if count != (rows + 1).to_string() || found != "0" {
        bail!("{count} rows, {found} came out of NULL");
    }
    if name != of.name {
        bail!("the type became {name}");
    }
    let all = rows.to_string();
    // Dates that cannot move are NULL.
    let lost = if matches!(mask, Mask::DateShift { .. }) {
        "0"
    } else {
        lost
    };
    let composite = of.name.contains("Odd");
    if !composite && lost != if *mask == Mask::Nullify { all.as_str() } else { "0" } {
        bail!("{lost} of {rows} became NULL");
    }
    // What partial and digits leave of the values is less than these; a path that a document does not have hides
    // nothing of it, and the values of `shown_values` tell what it hides.
    let hidden: &[&str] = match mask {
        Mask::Digits => &["4711"],
        // A day further, the time of day is what it was.
        Mask::Bucket(_) | Mask::Json(_) | Mask::DateShift { .. } => &[],
        _ => &["4711", "CANARY"],
    };
    if hidden.iter().any(|hidden| shown.contains(hidden)) {
        bail!("shows {shown}");
    }
    Ok(())
}

/// Whatever a job may have made itself: types, functions and operators of the same names, first on the path.
fn hostile_paths(cluster: &Cluster) -> Result<()> {
    let mut sql = "CREATE SCHEMA evil;
        CREATE FUNCTION evil.leak(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
        CREATE FUNCTION evil.leak(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
        CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.leak);
        CREATE OPERATOR evil.> (leftarg = int, rightarg = int, function = evil.leak);
        CREATE FUNCTION evil.length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
        CREATE FUNCTION evil.jsonb_typeof(jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
        CREATE TABLE evil.text (a int); CREATE TABLE evil.date (a int); CREATE TABLE evil.jsonb (a int); CREATE TABLE evil.uuid (a int);
        CREATE TABLE evil.r (id int, t pg_catalog.text, d pg_catalog.date, j pg_catalog.jsonb, a pg_catalog.text[]);
        INSERT INTO evil.r VALUES (1, 'CANARY-4711', '1984-11-23', '{\"a\": {\"b\": \"CANARY\"}, \"i\": [{\"s\": \"1\"}]}', '{CANARY-4711}');
        SET search_path = evil, pg_catalog;\n"
        .to_owned();
    for (column, name) in [("t", "text"), ("d", "date"), ("j", "jsonb"), ("a", "text[]")] {
        // Digits leave the letters.
        for mask in masks().into_iter().filter(|mask| *mask != Mask::Digits) {
            if let Ok(masked) = mask.expression_with_key(
                &format!("r.{column}"),
                &ColumnType::new(name, Vec::new()),
                &["r.id".to_owned()],
            ) {
                sql.push_str(&format!("SELECT {masked} FROM evil.r;\n"));
            }
        }
    }
    let shown = cluster.psql("masks", &sql)?;
    assert!(shown.lines().count() > 40 && !shown.contains("CANARY"), "{shown}");
    Ok(())
}

/// What is left of a value, said exactly.
fn shown_values(cluster: &Cluster) -> Result<()> {
    let partial = |first, last| Mask::Partial { first, last, with: '*' };
    let step = |step| Mask::Bucket(Bucket::Step(step));
    let unit = |unit| Mask::Bucket(Bucket::Calendar(unit));
    let parts = json(&[
        ("a.b", Mask::Nullify),
        ("i[].s", Mask::Digits),
        ("e", Mask::Email),
        ("k", fixed("z")),
    ]);
    let table: &[(Mask, &str, &str, &str)] = &[
        (partial(0, 4), "text", "'4111111111111111'", "************1111"),
        (partial(1, 2), "text", "'abcd'", "a*cd"),
        (partial(1, 2), "text", "'abc'", "***"),
        (partial(1, 0), "text", "'日本語'", "日**"),
        (partial(0, 4), "varchar(6)", "'123456'", "**3456"),
        (Mask::Digits, "text", "'+49 (170) 555-12'", "+00 (000) 000-00"),
        (Mask::Digits, "text", "'٤٧ ４７ 𝟒𝟕 ४७ ²'", "00 00 00 00 0"),
        (Mask::Digits, "int8", "491705551234", "0"),
        (Mask::Digits, "numeric(5,2)", "-12.34", "0.00"),
        (Mask::Digits, "text[]", "ARRAY['a1', NULL, '']", "{a0,NULL,\"\"}"),
        (Mask::Email, "text", "'jane@corp.example'", "x***@example.test"),
        (Mask::Email, "varchar(5)", "'a@b.c'", "x***@"),
        (step(100), "int4", "4711", "4700"),
        (step(100), "int4", "-1", "-100"),
        (step(100), "int4", "-100", "-100"),
        (step(100), "int2", "-32768", "-32768"),
        (step(100), "int8", "9223372036854775807", "9223372036854775800"),
        (step(100), "int8", "-9223372036854775707", "-9223372036854775800"),
        (step(100), "numeric", "-0.5", "-100"),
        (step(100), "numeric", "199.99999999999999999999", "100"),
        (step(100), "numeric(10,2)", "4711.11", "4700.00"),
        (step(100), "numeric(10,2)", "-99999999.99", "-99999999.99"),
        (step(100), "float8", "-0.5", "-100"),
        (step(100), "float8", "199.9", "100"),
        (step(100), "float4", "'NaN'", "NaN"),
        (step(100), "int4[]", "'{1,-1,NULL,250}'", "{0,-100,NULL,200}"),
        (unit(Unit::Year), "date", "'1984-11-23'", "1984-01-01"),
        (unit(Unit::Quarter), "date", "'1984-11-23'", "1984-10-01"),
        (unit(Unit::Week), "date", "'1984-11-23'", "1984-11-19"),
        (unit(Unit::Month), "date", "'infinity'", "infinity"),
        (unit(Unit::Month), "date", "'4714-11-24 BC'", "-infinity"),
        (unit(Unit::Month), "date", "'5874897-12-31'", "infinity"),
        (
            unit(Unit::Day),
            "timestamp",
            "'1984-11-23 13:37'",
            "1984-11-23 00:00:00",
        ),
        (
            unit(Unit::Day),
            "timestamptz",
            "'1984-11-23 23:37+00'",
            "1984-11-23 13:45:00+13:45",
        ),
        (
            parts.clone(),
            "jsonb",
            r#"'{"a": {"b": 1, "c": 2}, "e": "me", "i": [{"s": "x1", "t": 3}, {"t": 4}, 5], "k": null, "o": 6}'"#,
            r#"{"a": {"b": null, "c": 2}, "e": "x***@example.test", "i": [{"s": "x0", "t": 3}, {"t": 4}, null], "k": null, "o": 6}"#,
        ),
        (
            parts.clone(),
            "jsonb",
            r#"'{"a": [1], "i": {"s": 1}, "k": 7}'"#,
            r#"{"a": null, "i": null, "k": "z"}"#,
        ),
        (parts.clone(), "jsonb", "'[{\"a\": 1}]'", "null"),
        (parts.clone(), "jsonb", "'{}'", "{}"),
        (
            parts.clone(),
            "json",
            r#"'{"a":{"b":1},"a":{"b":"\ud83d\ude00"}}'"#,
            r#"{"a": {"b": null}}"#,
        ),
        (parts.clone(), "json", r#"'{"o":"\ud83d"}'"#, "null"),
        (
            parts,
            "json",
            r#"'{"o":"1e5 \\u0000 12345"}'"#,
            r#"{"o": "1e5 \\u0000 12345"}"#,
        ),
        (
            json(&[("[].n", Mask::Digits)]),
            "jsonb",
            r#"'[{"n": "a1"}, {"n": 12}]'"#,
            r#"[{"n": "a0"}, {"n": null}]"#,
        ),
        (fixed("it's \\"), "text", "'a'", "it's \\"),
        (
            fixed("2020-02-29 10:00:00"),
            "timestamptz",
            "now()",
            "2020-02-29 23:45:00+13:45",
        ),
        (
            fixed("2020-02-29T10:00:00+02:00"),
            "timestamptz",
            "now()",
            "2020-02-29 21:45:00+13:45",
        ),
        (fixed("\\x00ff"), "bytea", "'a'", "\\x00ff"),
        (Mask::FakeName, "text", "NULL", ""),
    ];
    for (mask, written, value, expected) in table {
        let name = cluster.psql(
            "masks",
            &format!("CREATE TEMP TABLE v (c {written}); SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'v'::regclass AND attname = 'c'"),
        )?;
        let of = ColumnType::new(name.trim(), Vec::new());
        let sql = mask.expression("v.c", &of, &[])?;
        let shown = cluster.psql(
            "masks",
            &format!("SET timezone = 'Pacific/Chatham'; CREATE TEMP TABLE v (c {written}); INSERT INTO v VALUES ({value}); SELECT {sql} FROM v"),
        )?;
        assert_eq!(
            shown.trim_end_matches('\n'),
            *expected,
            "{mask} of {value} in {written}"
        );
    }
    names(cluster)
}

/// A name goes with the row: the same each time, whatever the value; many of them; one alone without a key.
fn names(cluster: &Cluster) -> Result<()> {
    let text = ColumnType::new("text", Vec::new());
    let ask = |key: &[&str], value: &str| {
        let key: Vec<String> = key.iter().map(|column| (*column).to_owned()).collect();
        let sql = Mask::FakeName.expression("v.c", &text, &key)?;
        cluster.psql(
            "masks",
            &format!("SELECT {sql} FROM (SELECT {value}::text AS c, i AS a, i % 7 AS b FROM generate_series(1, 500) i) AS v ORDER BY a"),
        )
    };
    let by_row = ask(&["v.a"], "'CANARY'")?;
    assert_eq!(by_row, ask(&["v.a"], "i")?);
    let different: std::collections::BTreeSet<&str> = by_row.lines().collect();
    assert!(
        different.len() > 400 && different.iter().all(|name| name.split(' ').count() == 2),
        "{}",
        different.len()
    );
    assert_ne!(by_row, ask(&["v.a", "v.b"], "'CANARY'")?);
    assert_eq!(
        ask(&[], "i")?.lines().collect::<std::collections::BTreeSet<_>>(),
        ["Sam Doe"].into()
    );
    Ok(())
}
