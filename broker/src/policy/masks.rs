//! `mask:` of a scope and `always-mask:` of a ceiling: exact columns, each with the way its value is replaced.

use std::sync::Arc;

use crate::mask::{Bucket, Mask, Tree, Unit};

use super::ceiling::{Ceiling, DatabaseCeiling};
use super::diagnostic::{Report, Span, code};
use super::nearest::did_you_mean;
use super::node::{Key, Node, Value, Word};
use super::{Enforcement, Kept, MaskRule, Rule};

/// Masks that are a word.
pub const WORDS: &[&str] = &["nullify", "digits", "email", "fake-name"];
/// Masks that are a mapping with one key.
pub const KEYS: &[&str] = &[
    "fixed",
    "partial",
    "bucket",
    "json",
    "hash",
    "date-shift",
    "email",
    "fake-name",
];
/// The keys of `partial`.
pub const PARTIAL_KEYS: &[&str] = &["keep-first", "keep-last", "with"];

/// The most characters that `partial` keeps at one end.
pub const MOST_KEPT: u64 = 1000;
/// The longest `fixed` value, in bytes.
const LONGEST: usize = 1000;
/// The largest `date-shift`.
const MOST_DAYS: u32 = 3650;

/// One column and its mask, as written.
#[derive(Debug, Clone)]
pub struct RawMask {
    /// Where the column stands.
    pub span: Span,
    /// Where the mask stands.
    pub mask_span: Span,
    /// `schema.table.column`, its parts.
    pub column: [String; 3],
    /// How it is replaced.
    pub mask: Mask,
}

impl RawMask {
    /// Reads a mapping from columns to masks. An entry with an error is left out; the report then holds the error.
    pub fn read_map(node: &Node, what: &str, report: &mut Report) -> Vec<Self> {
        let Some(entries) = node.map(what, report) else {
            return Vec::new();
        };
        if entries.is_empty() {
            let help = "name a column: app.customers.email: email";
            report.error(code::EMPTY, node.span, format!("{what} is empty"), help);
        }
        let read = |(key, node): &(Key, Node)| {
            let column = column(key, report);
            let mask = mask(node, report);
            Some(Self {
                span: key.span,
                mask_span: node.span,
                column: column?,
                mask: mask?,
            })
        };
        entries.iter().filter_map(read).collect()
    }

    /// The rule. `by_operator` when a ceiling demands it.
    pub fn compile(&self, path: &Arc<str>, by_operator: bool) -> MaskRule {
        let [schema, table, column] = self.column.clone();
        MaskRule {
            origin: self.span.origin(path),
            schema,
            table,
            column,
            mask: self.mask.clone(),
            by_operator,
        }
    }
}

/// Reports masks whose key has no place on their database.
pub fn check_keys(masks: &[RawMask], kept: Kept, report: &mut Report) {
    let why = match kept.enforcement {
        Enforcement::Shared => {
            "which must never be SQL text: with `enforcement: shared` there is no other place for it"
        }
        Enforcement::Role if !kept.mask_key => "and the operator has set none for this database",
        Enforcement::Role => return,
    };
    for raw in masks.iter().filter(|raw| raw.mask.needs_key()) {
        let message = format!("`{}` needs a key, {why}", raw.mask);
        let help = match kept.enforcement {
            Enforcement::Shared => {
                "use a mask without a key: nullify, fixed, partial, digits, email, fake-name, bucket"
            }
            Enforcement::Role => "ask the operator for `mask-key` under the database, or use a mask without a key",
        };
        report.error(code::INVALID_VALUE, raw.mask_span, message, help);
    }
}

/// The masks in force: the scope's, and the ceiling's where the scope has none.
pub fn effective(
    raw: &[RawMask],
    rules: &[Rule],
    (ceiling, database): (&Ceiling, &DatabaseCeiling),
    report: &mut Report,
) -> Vec<MaskRule> {
    let demanded = |rule: &MaskRule| database.always_mask.iter().find(|always| always.names_same(rule));
    let mut masks: Vec<MaskRule> = Vec::new();
    for raw in raw {
        let mut rule = raw.compile(report.path(), false);
        if let Some(always) = demanded(&rule) {
            if rule.mask != always.mask && !rule.mask.reveals_nothing() {
                let message = format!(
                    "`{}` for {} is weaker than the ceiling `{}` demands: {}",
                    rule.mask,
                    rule.name(),
                    ceiling.name,
                    always.mask
                );
                let help = format!("take the line out, or use nullify or fixed; set at {}", always.origin);
                report.error(code::EXCEEDS_CEILING, raw.mask_span, message, help);
            }
            rule.by_operator = true;
        }
        if !rules.iter().any(|granted| reads(granted, &rule)) {
            let message = format!("nothing under `can` reaches {}", rule.name());
            let help = "check the spelling: a mask hides only the column that it names";
            report.warn(code::MASK_WITHOUT_RULE, raw.span, message, help);
        }
        masks.push(rule);
    }
    let more: Vec<MaskRule> = database
        .always_mask
        .iter()
        .filter(|always| !masks.iter().any(|rule| rule.names_same(always)))
        .cloned()
        .collect();
    masks.extend(more);
    masks.sort_by(|a, b| (&a.schema, &a.table, &a.column).cmp(&(&b.schema, &b.table, &b.column)));
    masks
}

/// Whether `granted` reaches the column in any way.
fn reads(granted: &Rule, rule: &MaskRule) -> bool {
    let columns = granted.columns.as_ref();
    granted
        .tables
        .iter()
        .any(|table| table.covers(&rule.schema, &rule.table))
        && columns.is_none_or(|columns| columns.contains(&rule.column))
}

/// `schema.table.column`: exact names, because a mask that a glob missed would be a leak.
fn column(key: &Key, report: &mut Report) -> Option<[String; 3]> {
    let text = key.text.as_str();
    let mut refuse = |why: &str, help: &str| {
        report.error(code::INVALID_VALUE, key.span, format!("`{text}` {why}"), help);
        None
    };
    if text.contains('*') {
        return refuse("is a glob", "masks name one column each: app.customers.email");
    }
    if text.contains(['"', '\'', '`', ' ', '\\']) || text.chars().any(char::is_control) {
        let help = "write names as the catalog holds them, without quotes; names that hold dots, blanks or quotes cannot be masked: \
                    leave them out by `columns`";
        return refuse("is quoted", help);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let [schema, table, column] = parts.as_slice() else {
        return refuse("is not of the form schema.table.column", "app.customers.email");
    };
    if [schema, table, column]
        .iter()
        .any(|part| part.is_empty() || part.len() > 63)
    {
        return refuse("is not of the form schema.table.column", "app.customers.email");
    }
    if schema.starts_with("pg_") || *schema == "information_schema" {
        return refuse("belongs to PostgreSQL", "masks are for the application's own tables");
    }
    Some([(*schema).to_owned(), (*table).to_owned(), (*column).to_owned()])
}

/// A word, or a mapping with one key.
fn mask(node: &Node, report: &mut Report) -> Option<Mask> {
    if let Value::Text(text) = &node.value {
        let word = Word { span: node.span, text };
        return by_word(word, report);
    }
    let entries = node.map("a mask", report)?;
    let fields = node.fields("a mask", KEYS, &[], report)?;
    let [(key, value)] = entries else {
        let message = "a mask is one word, or a mapping with one key";
        report.error(
            code::INVALID_VALUE,
            fields.span(),
            message,
            "app.customers.card: { partial: { keep-last: 4 } }",
        );
        return None;
    };
    match key.text.as_str() {
        "fixed" => fixed(value, report).map(Mask::Fixed),
        "partial" => partial(value, report),
        "bucket" => bucket(value, report).map(Mask::Bucket),
        "json" => json(value, report).map(Mask::Json),
        "hash" => only(value, "hash", "hmac", report).map(|()| Mask::Hash),
        "email" => only(value, "email", "stable", report).map(|()| Mask::StableEmail),
        "fake-name" => only(value, "fake-name", "stable", report).map(|()| Mask::StableName),
        "date-shift" => days(value, report).map(|days| Mask::DateShift { days }),
        // Reported above.
        _ => None,
    }
}

fn by_word(word: Word<'_>, report: &mut Report) -> Option<Mask> {
    let help = match word.text {
        "nullify" => return Some(Mask::Nullify),
        "digits" => return Some(Mask::Digits),
        "email" => return Some(Mask::Email),
        "fake-name" => return Some(Mask::FakeName),
        "fixed" => "say which value: { fixed: \"hidden\" }".to_owned(),
        "partial" => "say what stays: { partial: { keep-last: 4 } }".to_owned(),
        "bucket" => "say how wide: { bucket: 100 }, { bucket: month }".to_owned(),
        "json" => "say which parts: { json: { address.street: nullify } }".to_owned(),
        "hash" => "say how: { hash: hmac }".to_owned(),
        "date-shift" => "say how far: { date-shift: 30d }".to_owned(),
        other => did_you_mean(
            other,
            WORDS.iter().chain(KEYS).copied(),
            &format!("a word ({}) or a mapping ({})", WORDS.join(", "), KEYS.join(", ")),
        ),
    };
    let message = format!("`{}` alone is not a mask", word.text);
    report.error(code::INVALID_VALUE, word.span, message, help);
    None
}

/// A value of whatever type the column has: its fitness shows where the column is read.
fn fixed(node: &Node, report: &mut Report) -> Option<String> {
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Real(number) if number.is_finite() => number.to_string(),
        _ => node.word("`fixed`", report)?.text.to_owned(),
    };
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        let message = format!("`fixed` is longer than {LONGEST} bytes, or holds control characters");
        report.error(code::INVALID_VALUE, node.span, message, "");
        return None;
    }
    Some(text)
}

fn partial(node: &Node, report: &mut Report) -> Option<Mask> {
    let fields = node.fields("`partial`", PARTIAL_KEYS, &[], report)?;
    let mut kept = |key: &str| match fields.value(key) {
        None => Some(0),
        Some(node) => {
            let count = node.count(&format!("`{key}`"), MOST_KEPT, report)?;
            u32::try_from(count).ok()
        }
    };
    let (first, last) = (kept("keep-first")?, kept("keep-last")?);
    if first == 0 && last == 0 {
        let message = "`partial` keeps nothing";
        let help = "say what stays: { partial: { keep-last: 4 } }; to hide all of it: nullify, or { fixed: \"…\" }";
        report.error(code::MISSING_KEY, node.span, message, help);
        return None;
    }
    let with = match fields.value("with") {
        None => '*',
        Some(node) => {
            let word = node.word("`with`", report)?;
            let mut letters = word.text.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) if letter.is_ascii_graphic() => letter,
                _ => {
                    let message = "`with` is one visible ASCII character";
                    report.error(code::INVALID_VALUE, word.span, message, "with: \"*\"");
                    return None;
                }
            }
        }
    };
    Some(Mask::Partial { first, last, with })
}

fn bucket(node: &Node, report: &mut Report) -> Option<Bucket> {
    const HELP: &str = "a whole number from 2, or one of: year, quarter, month, week, day";
    if let Value::Number(number) = node.value {
        return match u64::try_from(number) {
            Ok(step) if (2..=Bucket::WIDEST).contains(&step) => Some(Bucket::Step(step)),
            // Ranges of 1 would show the value itself.
            _ => {
                let message = format!("`bucket` must be from 2 to {}", Bucket::WIDEST);
                report.error(code::INVALID_VALUE, node.span, message, HELP);
                None
            }
        };
    }
    let word = node.word("`bucket`", report)?;
    if let Some(unit) = Unit::ALL.iter().find(|unit| unit.as_str() == word.text) {
        return Some(Bucket::Calendar(*unit));
    }
    let help = did_you_mean(word.text, Unit::ALL.iter().map(|unit| unit.as_str()), HELP);
    report.error(
        code::INVALID_VALUE,
        word.span,
        format!("`{}` is no bucket", word.text),
        help,
    );
    None
}

fn json(node: &Node, report: &mut Report) -> Option<Tree> {
    let entries = node.map("`json`", report)?;
    if entries.is_empty() {
        report.error(
            code::EMPTY,
            node.span,
            "`json` is empty",
            "say which parts: address.street: nullify",
        );
        return None;
    }
    let mut tree = Tree::new();
    let mut all_good = true;
    for (path, node) in entries {
        let Some(mask) = mask(node, report) else {
            all_good = false;
            continue;
        };
        if let Err(bad) = tree.insert(&path.text, mask) {
            all_good = false;
            let message = format!("`{}`: {bad}", path.text);
            report.error(code::INVALID_VALUE, path.span, message, "");
        }
    }
    all_good.then_some(tree)
}

/// A word of which there is only one.
fn only(node: &Node, key: &str, known: &str, report: &mut Report) -> Option<()> {
    let word = node.word(&format!("`{key}`"), report)?;
    if word.text == known {
        return Some(());
    }
    let message = format!("`{key}: {}` does not exist", word.text);
    report.error(code::INVALID_VALUE, word.span, message, format!("{{ {key}: {known} }}"));
    None
}

fn days(node: &Node, report: &mut Report) -> Option<u32> {
    let word = node.word("`date-shift`", report)?;
    let days = word.text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    if let Some(days) = days.filter(|days| (1..=MOST_DAYS).contains(days)) {
        return Some(days);
    }
    let message = format!("`date-shift` is a number of days from 1d to {MOST_DAYS}d");
    report.error(code::INVALID_VALUE, word.span, message, "{ date-shift: 30d }");
    None
}
