//! Small pieces of SQL, every function, operator and type with its schema.

use super::column::ColumnType;

/// Every character with a digit's value in Unicode 16 (decimal digits, superscripts, digits in circles …) beyond ASCII.
const DIGITS: &[(u32, u32)] = &[
    (0x00B2, 0x00B3),
    (0x00B9, 0x00B9),
    (0x0660, 0x0669),
    (0x06F0, 0x06F9),
    (0x07C0, 0x07C9),
    (0x0966, 0x096F),
    (0x09E6, 0x09EF),
    (0x0A66, 0x0A6F),
    (0x0AE6, 0x0AEF),
    (0x0B66, 0x0B6F),
    (0x0BE6, 0x0BEF),
    (0x0C66, 0x0C6F),
    (0x0CE6, 0x0CEF),
    (0x0D66, 0x0D6F),
    (0x0DE6, 0x0DEF),
    (0x0E50, 0x0E59),
    (0x0ED0, 0x0ED9),
    (0x0F20, 0x0F29),
    (0x1040, 0x1049),
    (0x1090, 0x1099),
    (0x1369, 0x1371),
    (0x17E0, 0x17E9),
    (0x1810, 0x1819),
    (0x1946, 0x194F),
    (0x19D0, 0x19DA),
    (0x1A80, 0x1A89),
    (0x1A90, 0x1A99),
    (0x1B50, 0x1B59),
    (0x1BB0, 0x1BB9),
    (0x1C40, 0x1C49),
    (0x1C50, 0x1C59),
    (0x2070, 0x2070),
    (0x2074, 0x2079),
    (0x2080, 0x2089),
    (0x2460, 0x2468),
    (0x2474, 0x247C),
    (0x2488, 0x2490),
    (0x24EA, 0x24EA),
    (0x24F5, 0x24FD),
    (0x24FF, 0x24FF),
    (0x2776, 0x277E),
    (0x2780, 0x2788),
    (0x278A, 0x2792),
    (0xA620, 0xA629),
    (0xA8D0, 0xA8D9),
    (0xA900, 0xA909),
    (0xA9D0, 0xA9D9),
    (0xA9F0, 0xA9F9),
    (0xAA50, 0xAA59),
    (0xABF0, 0xABF9),
    (0xFF10, 0xFF19),
    (0x104A0, 0x104A9),
    (0x10A40, 0x10A43),
    (0x10D30, 0x10D39),
    (0x10D40, 0x10D49),
    (0x10E60, 0x10E68),
    (0x11052, 0x1105A),
    (0x11066, 0x1106F),
    (0x110F0, 0x110F9),
    (0x11136, 0x1113F),
    (0x111D0, 0x111D9),
    (0x112F0, 0x112F9),
    (0x11450, 0x11459),
    (0x114D0, 0x114D9),
    (0x11650, 0x11659),
    (0x116C0, 0x116C9),
    (0x116D0, 0x116E3),
    (0x11730, 0x11739),
    (0x118E0, 0x118E9),
    (0x11950, 0x11959),
    (0x11BF0, 0x11BF9),
    (0x11C50, 0x11C59),
    (0x11D50, 0x11D59),
    (0x11DA0, 0x11DA9),
    (0x11F50, 0x11F59),
    (0x16130, 0x16139),
    (0x16A60, 0x16A69),
    (0x16AC0, 0x16AC9),
    (0x16B50, 0x16B59),
    (0x1CCF0, 0x1CCF9),
    (0x1D7CE, 0x1D7FF),
    (0x1E140, 0x1E149),
    (0x1E2F0, 0x1E2F9),
    (0x1E4F0, 0x1E4F9),
    (0x1E5F1, 0x1E5FA),
    (0x1E950, 0x1E959),
    (0x1F100, 0x1F10A),
    (0x1FBF0, 0x1FBF9),
];

/// `left op right`.
pub(super) fn op(left: &str, operator: &str, right: &str) -> String {
    format!("({left} OPERATOR(pg_catalog.{operator}) {right})")
}

/// A text.
pub(super) fn text(value: &str) -> String {
    literal(value, "pg_catalog.text")
}

/// A constant of the type `of`. Without a backslash in it, a literal means the same whatever
/// `standard_conforming_strings` says.
pub(super) fn literal(value: &str, of: &str) -> String {
    let quoted = |part: &str| format!("'{}'", part.replace('\0', "").replace('\'', "''"));
    let Some((first, rest)) = value.split_once('\\') else {
        return format!("{}::{of}", quoted(value));
    };
    let typed = |part: &str| format!("{}::pg_catalog.text", quoted(part));
    let joined = rest.split('\\').fold(typed(first), |all, part| {
        op(&op(&all, "||", "pg_catalog.chr(92)"), "||", &typed(part))
    });
    format!("{joined}::{of}")
}

/// A regular expression; `~` stands for the backslash.
pub(super) fn regex(pattern: &str) -> String {
    format!("pg_catalog.replace({}, '~', pg_catalog.chr(92))", text(pattern))
}

/// The value as text, compared byte by byte: regular expressions refuse some collations.
pub(super) fn plain(value: &str) -> String {
    format!("({value} COLLATE pg_catalog.\"C\")")
}

/// A column of a text type as text.
pub(super) fn as_text(column: &str) -> String {
    format!("({column})::pg_catalog.text")
}

/// `value` as the type.
pub(super) fn cast(value: &str, of: &ColumnType) -> String {
    format!("({value})::{}", of.sql())
}

/// `value` where the column has one.
pub(super) fn unless_null(column: &str, value: &str) -> String {
    format!("CASE WHEN ({column}) IS NULL THEN NULL ELSE {value} END")
}

/// All but the first and last characters replaced; everything when there are no others.
pub(super) fn partial(value: &str, first: u32, last: u32, with: char) -> String {
    let kept = u64::from(first) + u64::from(last);
    let with = text(&with.to_string());
    let length = format!("pg_catalog.length({value})");
    let hidden = format!("pg_catalog.repeat({with}, {})", op(&length, "-", &kept.to_string()));
    let parts = op(
        &op(&format!("pg_catalog.left({value}, {first})"), "||", &hidden),
        "||",
        &format!("pg_catalog.right({value}, {last})"),
    );
    format!(
        "CASE WHEN {} THEN {parts} ELSE pg_catalog.repeat({with}, {length}) END",
        op(&length, ">", &kept.to_string())
    )
}

/// Every digit of every script becomes 0.
pub(super) fn digits(value: &str) -> String {
    let mut set = "[0-9".to_owned();
    for (first, last) in DIGITS {
        set.push_str(&if *last > 0xFFFF {
            format!("~U{first:08x}-~U{last:08x}")
        } else {
            format!("~u{first:04x}-~u{last:04x}")
        });
    }
    set.push(']');
    format!(
        "(pg_catalog.regexp_replace({}, {}, '0', 'g') COLLATE pg_catalog.\"default\")",
        plain(value),
        regex(&set)
    )
}
