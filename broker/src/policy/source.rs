//! YAML text in, typed values with spans out, under budgets. The only file that names the YAML reader.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_yaml::budget::BudgetBreach;
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_yaml::{Error, Location};

use super::diagnostic::{Diagnostic, Report, Span, code};
use super::nearest::did_you_mean;

pub use serde_yaml::Spanned;

/// How much of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of text.
    pub bytes: usize,
    /// YAML nodes: scalars, lists and mappings.
    pub nodes: usize,
}

impl Budget {
    /// A repository's file: anybody who can open a pull request writes one.
    pub const REPOSITORY: Self = Self {
        bytes: 64 * 1024,
        nodes: 20_000,
    };
    /// The operator's file: trusted, and large where thousands of repositories are registered.
    pub const OPERATOR: Self = Self {
        bytes: 8 * 1024 * 1024,
        nodes: 1_000_000,
    };
}

/// Reads a repository's file. No anchors, aliases, merge keys, duplicate keys, `yes`/`no` booleans or unknown tags.
pub fn read<T: DeserializeOwned>(text: &str, path: &str) -> Result<T, Vec<Diagnostic>> {
    read_within(text, path, Budget::REPOSITORY)
}

/// [`read`] under another budget.
pub fn read_within<T: DeserializeOwned>(text: &str, path: &str, budget: Budget) -> Result<T, Vec<Diagnostic>> {
    let path: Arc<str> = Arc::from(path);
    let mut report = Report::new(&path);
    if text.len() > budget.bytes {
        let message = format!("the file has {} bytes; {} are accepted", text.len(), budget.bytes);
        report.error(
            code::TOO_LARGE,
            Span::START,
            message,
            "split it, or say more with globs",
        );
        return Err(report.finish());
    }
    // Such marks make a line read otherwise than it is: what a reviewer approves must be what is granted.
    if let Some((start, _)) = text.char_indices().find(|(_, letter)| is_invisible(*letter)) {
        let message = "an invisible character that changes how the line reads";
        report.error(code::YAML_SYNTAX, at_byte(start, text), message, "remove it");
        return Err(report.finish());
    }
    // A comment or nothing at all reads as `null` and would become a puzzling type error.
    if text
        .lines()
        .all(|line| matches!(line.trim().chars().next(), None | Some('#')))
    {
        report.error(code::EMPTY, Span::START, "the file is empty", "");
        return Err(report.finish());
    }
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 24,
            flow_nesting_limit: 64,
            max_documents: 1,
            max_events: budget.nodes.saturating_mul(3),
            max_merge_keys: 0,
            max_nodes: budget.nodes,
            max_total_scalar_bytes: budget.bytes,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // A base64 text would hide from a reviewer what is granted.
        ignore_binary_tag_for_string: true,
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        explain(error.without_snippet(), text, &mut report);
        report.finish()
    })
}

/// The place of a reader's location.
pub fn span(location: Location) -> Span {
    let bytes = location.span();
    let start = bytes.byte_offset().unwrap_or(0);
    let end = start.saturating_add(bytes.byte_len().unwrap_or(0));
    Span {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX).max(1),
        start: usize::try_from(start).unwrap_or(usize::MAX),
        end: usize::try_from(end).unwrap_or(usize::MAX),
    }
}

fn explain(error: &Error, text: &str, report: &mut Report) {
    let at = error.location().map_or(Span::START, |location| located(location, text));
    match error {
        Error::Budget { breach, .. } => {
            let (code, message) = over_budget(breach);
            let at = match breach {
                BudgetBreach::Anchors { .. } => at_anchor(at, text),
                _ => at,
            };
            report.error(code, at, message, "");
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            let message = format!("the key `{key}` is here twice");
            report.error(code::DUPLICATE_KEY, at, message, "keep one of them");
        }
        Error::MergeKeyNotAllowed { .. } => {
            report.error(
                code::YAML_SYNTAX,
                at,
                "merge keys (`<<`) are not accepted",
                "write the keys out",
            );
        }
        Error::MultipleDocuments { .. } => {
            report.error(
                code::YAML_SYNTAX,
                at,
                "the file holds several documents",
                "remove what follows `---`",
            );
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            let help = did_you_mean(
                field,
                expected.iter().copied(),
                &format!("known keys: {}", expected.join(", ")),
            );
            report.error(code::UNKNOWN_KEY, at, format!("unknown key `{field}`"), help);
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let help = did_you_mean(
                variant,
                expected.iter().copied(),
                &format!("one of: {}", expected.join(", ")),
            );
            report.error(code::INVALID_VALUE, at, format!("unknown value `{variant}`"), help);
        }
        Error::SerdeMissingField { field, .. } => {
            report.error(code::MISSING_KEY, at, format!("the key `{field}` is missing"), "");
        }
        Error::InvalidBooleanStrict { .. } => {
            report.error(code::WRONG_TYPE, at, "expected `true` or `false`", "");
        }
        // The found value is left out: in the operator's file it may be a secret.
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            report.error(code::WRONG_TYPE, at, format!("expected {expected}"), "");
        }
        Error::InvalidScalar { ty, .. } => report.error(code::WRONG_TYPE, at, format!("expected {ty}"), ""),
        Error::Unexpected { expected, .. } => report.error(code::WRONG_TYPE, at, format!("expected {expected}"), ""),
        Error::NullIntoString { .. } => report.error(code::WRONG_TYPE, at, "expected text, found nothing", ""),
        other => {
            // The location is ours to print; the reader's message is its own first line.
            let shown = other.render();
            let message = shown.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or_default();
            // The scanner has its own limit for brackets and reaches it before the budget's.
            let code = if message.contains("recursion limit") {
                code::TOO_LARGE
            } else {
                code::YAML_SYNTAX
            };
            report.error(code, at, message, "");
        }
    }
}

/// The reader notices an anchor at the value behind it, which may begin a line later.
fn at_anchor(at: Span, text: &str) -> Span {
    let before = text.get(..at.start.saturating_add(1)).unwrap_or(text);
    before.rfind('&').map_or(at, |start| at_byte(start, text))
}

/// Direction marks and zero-width letters.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

fn at_byte(start: usize, text: &str) -> Span {
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    Span {
        line: u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX),
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        start,
        end: start,
    }
}

/// An error's location may lack its bytes; the line and column say them too.
fn located(location: Location, text: &str) -> Span {
    let at = span(location);
    if at.end > at.start || (at.line, at.column) == (1, 1) {
        return at;
    }
    let skipped = usize::try_from(at.line - 1).unwrap_or(usize::MAX);
    let line_start: usize = text.split_inclusive('\n').take(skipped).map(str::len).sum();
    let before = usize::try_from(at.column - 1).unwrap_or(usize::MAX);
    let line = text
        .get(line_start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    let start = line_start + line.chars().take(before).map(char::len_utf8).sum::<usize>();
    Span {
        start,
        end: start,
        ..at
    }
}

fn over_budget(breach: &BudgetBreach) -> (&'static str, String) {
    match breach {
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            let message = "anchors (`&`) and aliases (`*`) are not accepted; a glob that begins with `*` needs quotes";
            (code::YAML_SYNTAX, message.to_owned())
        }
        BudgetBreach::Depth { .. } => (code::TOO_LARGE, "the file nests too deeply".to_owned()),
        BudgetBreach::Documents { .. } => (code::YAML_SYNTAX, "the file holds several documents".to_owned()),
        BudgetBreach::MergeKeys { .. } => (code::YAML_SYNTAX, "merge keys (`<<`) are not accepted".to_owned()),
        _ => (code::TOO_LARGE, "the file holds too many values".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::time::Instant;

    use serde::Deserialize;

    use super::super::node::Node;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Small {
        #[expect(dead_code, reason = "only its type matters")]
        flag: Option<bool>,
        text: Option<Spanned<String>>,
    }

    #[test]
    fn spans_are_those_of_the_value() {
        let small: Small = read("# é\ntext: hello\n", "f").unwrap();
        let at = span(small.text.unwrap().referenced);
        assert_eq!((at.line, at.column, at.start, at.end), (2, 7, 11, 16));
    }

    #[test]
    fn every_refusal_has_its_code_and_line() {
        let big = format!("a: {}\n", "x".repeat(70_000));
        let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
        let many = format!("a: [{}1]", "1,".repeat(25_000));
        let table: &[(&str, &str, u32)] = &[
            ("a: 1\nb: [\n", code::YAML_SYNTAX, 2),
            ("a: 1\n\tb: 2\n", code::YAML_SYNTAX, 1),
            ("a: 1\nb: 2\na: 3\n", code::DUPLICATE_KEY, 3),
            ("a:\n  x: 1\n  x: 2\n", code::DUPLICATE_KEY, 3),
            ("a: 1\n\"a\": 2\n", code::DUPLICATE_KEY, 2),
            ("a: 1\nb: \"\u{202e}niam\"\n", code::YAML_SYNTAX, 2),
            ("a: 1\nb: &anchor\n  c: 2\n", code::YAML_SYNTAX, 2),
            ("a: 1\nb: &anchor 2\n", code::YAML_SYNTAX, 2),
            ("a: 1\nb: *alias\n", code::YAML_SYNTAX, 2),
            ("a: 1\nb: [*.*]\n", code::YAML_SYNTAX, 2),
            ("a: 1\n<<: {b: 1}\n", code::YAML_SYNTAX, 2),
            ("a: 1\n---\nb: 1\n", code::YAML_SYNTAX, 2),
            ("a: 1\nb: !ruby/object x\n", code::YAML_SYNTAX, 2),
            ("", code::EMPTY, 1),
            ("# only\n\n  # words\n", code::EMPTY, 1),
            (&big, code::TOO_LARGE, 1),
            (&deep, code::TOO_LARGE, 1),
            (&many, code::TOO_LARGE, 1),
        ];
        for (text, code, line) in table {
            let start: String = text.chars().take(40).collect();
            let found = read::<Node>(text, "f").map(|_| ()).expect_err(&start);
            assert_eq!(
                (found[0].code, found[0].span.line),
                (*code, *line),
                "{start:?}: {found:?}"
            );
        }
    }

    #[test]
    fn typed_errors_have_their_code() {
        let table: &[(&str, &str, &str)] = &[
            ("flag: yes\n", code::WRONG_TYPE, ""),
            ("flag: 1\n", code::WRONG_TYPE, ""),
            ("text: [a]\n", code::WRONG_TYPE, ""),
            ("txet: a\n", code::UNKNOWN_KEY, "did you mean `text`?"),
        ];
        for (text, code, help) in table {
            let found = read::<Small>(text, "f").expect_err(text);
            assert_eq!(found[0].code, *code, "{text}: {found:?}");
            assert_eq!(found[0].help.as_deref().unwrap_or(""), *help, "{text}");
        }
    }

    #[test]
    fn a_bomb_costs_nothing() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{refs}]").unwrap();
        }
        let begin = Instant::now();
        assert!(read::<BTreeMap<String, Node>>(&bomb, "f").is_err());
        assert!(begin.elapsed().as_millis() < 500, "{:?}", begin.elapsed());
    }

    #[test]
    fn a_wrong_value_is_never_printed() {
        let found = read::<Small>("flag: hunter2\n", "f").unwrap_err();
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}
