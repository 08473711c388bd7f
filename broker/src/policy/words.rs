//! The small values of both files: durations, globs, statement classes, events.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

use crate::base::pattern::{NotAPattern, Pattern};
use crate::sql::{Class, Kind, kinds};

use super::diagnostic::{Report, code};
use super::nearest::did_you_mean;
use super::node::{Node, Value, Word};

/// No duration of the format is longer.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest size a limit can name.
const MOST_BYTES: u64 = 1_000_000_000_000_000;

/// Names for several statement classes.
pub const GROUPS: &[(&str, &[Class])] = &[
    ("read", &[Class::Select, Class::CopyOut]),
    (
        "write",
        &[Class::Insert, Class::Update, Class::Delete, Class::Merge, Class::CopyIn],
    ),
    (
        "ddl",
        &[
            Class::Create,
            Class::Alter,
            Class::Drop,
            Class::Comment,
            Class::Refresh,
            Class::Maintain,
        ],
    ),
];

/// GitHub triggers a scope may name.
pub const GITHUB_EVENTS: &[&str] = &[
    "deployment",
    "merge_group",
    "pull_request",
    "push",
    "release",
    "repository_dispatch",
    "schedule",
    "workflow_dispatch",
];

/// GitLab pipeline sources a scope may name.
pub const GITLAB_SOURCES: &[&str] = &[
    "api",
    "merge_request_event",
    "parent_pipeline",
    "pipeline",
    "push",
    "schedule",
    "trigger",
    "web",
];

/// Triggers that run with the default branch's rights but that anybody who can open a pull request, an issue or an
/// account can set off. No scope and no operator can allow them.
pub const NEVER_ACCEPTED: &[&str] = &[
    "branch_protection_rule",
    "chat",
    "check_run",
    "check_suite",
    "commit_comment",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "external",
    "external_pull_request_event",
    "fork",
    "gollum",
    "issue_comment",
    "issues",
    "label",
    "milestone",
    "page_build",
    "public",
    "pull_request_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "status",
    "watch",
    "workflow_run",
];

/// True for the triggers that run a proposed change: no claim tells a fork's from the repository's own.
pub fn is_proposal(event: &str) -> bool {
    matches!(event, "pull_request" | "merge_request_event")
}

/// Whether PostgreSQL lets only an owner do it: what `as` is for.
pub fn needs_owner(class: Class) -> bool {
    matches!(
        class,
        Class::Create | Class::Alter | Class::Drop | Class::Comment | Class::Refresh | Class::Maintain
    )
}

/// Whether a class works on relations, and so needs `tables:` beside it.
pub fn needs_tables(class: Class) -> bool {
    match class {
        Class::Select
        | Class::Insert
        | Class::Update
        | Class::Delete
        | Class::Merge
        | Class::Truncate
        | Class::CopyIn
        | Class::CopyOut
        | Class::Create
        | Class::Alter
        | Class::Drop
        | Class::Comment
        | Class::Grant
        | Class::Refresh
        | Class::Maintain
        | Class::Lock => true,
        Class::Call
        | Class::Do
        | Class::Listen
        | Class::Notify
        | Class::Set
        | Class::Explain
        | Class::Cursor
        | Class::Prepare
        | Class::Transaction
        | Class::TwoPhase
        | Class::Show => false,
    }
}

/// A class or a group by its word.
pub fn classes(word: Word<'_>, report: &mut Report) -> Option<Vec<Class>> {
    let text = word.text;
    if let Some((_, classes)) = GROUPS.iter().find(|(name, _)| *name == text) {
        return Some(classes.to_vec());
    }
    if let Some(class) = Class::ALL.iter().find(|class| class.as_str() == text) {
        return Some(vec![*class]);
    }
    let known = || {
        Class::ALL
            .iter()
            .map(|class| class.as_str())
            .chain(GROUPS.iter().map(|(name, _)| *name))
    };
    let all: Vec<_> = known().collect();
    let help = did_you_mean(text, known(), &format!("one of: {}", all.join(", ")));
    let message = format!("`{text}` is not a statement class");
    report.error(code::UNKNOWN_STATEMENT_CLASS, word.span, message, help);
    None
}

/// A kind of object by its word.
pub fn kind(word: Word<'_>, report: &mut Report) -> Option<Kind> {
    let text = word.text;
    if let Some(kind) = Kind::NAMED.iter().find(|kind| kind.as_str() == text) {
        return Some(*kind);
    }
    let known = || Kind::NAMED.iter().map(|kind| kind.as_str());
    if kinds::NEVER.contains(&text) {
        let message = format!("`{text}` is never reachable through a grant");
        let help = "objects of this kind reach beyond the tables of the scope: ask the operator to change them";
        report.error(code::INVALID_VALUE, word.span, message, help);
        return None;
    }
    let all: Vec<_> = known().collect();
    let help = did_you_mean(text, known(), &format!("one of: {}", all.join(", ")));
    report.error(
        code::INVALID_VALUE,
        word.span,
        format!("`{text}` is not a kind of object"),
        help,
    );
    None
}

/// A glob whose `*` does not cross `separator`.
pub fn pattern(word: Word<'_>, separator: char, report: &mut Report) -> Option<Pattern> {
    match Pattern::new(word.text, separator) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let code = match error {
                NotAPattern::Regex => code::LOOKS_LIKE_REGEX,
                NotAPattern::Empty | NotAPattern::Control => code::INVALID_VALUE,
            };
            report.error(code, word.span, format!("`{}`: {error}", word.text), "");
            None
        }
    }
}

/// A glob over `schema.name`.
pub fn relation(word: Word<'_>, report: &mut Report) -> Option<Pattern> {
    let pattern = pattern(word, '.', report)?;
    let text = word.text;
    let parts = text.split('.').count();
    if text.contains(['"', '\'', '`', ' ']) {
        let help = "write names as the catalog holds them, without quotes: app.orders";
        report.error(code::INVALID_VALUE, word.span, format!("`{text}` is quoted"), help);
        return None;
    }
    if text.split('.').any(str::is_empty) || (parts != 2 && text != "**") {
        let message = format!("`{text}` is not of the form schema.name");
        let help = if parts == 1 {
            format!("write the schema: public.{text}")
        } else {
            String::new()
        };
        report.error(code::INVALID_VALUE, word.span, message, help);
        return None;
    }
    Some(pattern)
}

/// True for a glob such as `*` or `**` that every name matches.
pub fn matches_anything(pattern: &Pattern) -> bool {
    pattern.as_str().chars().all(|letter| matches!(letter, '*' | '/'))
}

/// A duration such as `15m` or `1h30m`: more than nothing, at most a day, whole milliseconds.
pub fn duration(node: &Node, what: &str, report: &mut Report) -> Option<Duration> {
    const HELP: &str = "write it with its unit: 15m, 1h30m, 5s";
    if matches!(node.value, Value::Number(_) | Value::Real(_)) {
        let message = format!("{what} must be a duration, found a bare number");
        report.error(code::WRONG_TYPE, node.span, message, HELP);
        return None;
    }
    let word = node.word(what, report)?;
    let refuse = |report: &mut Report, why: &str, help: &str| {
        report.error(
            code::INVALID_VALUE,
            word.span,
            format!("{what}: `{}` {why}", word.text),
            help,
        );
    };
    let Ok(signed) = SpanParser::new().parse_duration(word.text) else {
        refuse(report, "is not a duration", HELP);
        return None;
    };
    match Duration::try_from(signed) {
        Ok(duration) if duration > LONGEST => refuse(report, "is longer than a day", ""),
        Ok(duration) if duration.is_zero() => refuse(report, "is no time at all", ""),
        Ok(duration) if duration.subsec_nanos() % 1_000_000 != 0 => refuse(report, "is finer than a millisecond", ""),
        Ok(duration) => return Some(duration),
        Err(_) => refuse(report, "is negative", ""),
    }
    None
}

/// A size in bytes: a whole number, or one with a unit (`500kB`, `100MB`, `2GiB`).
pub fn size(node: &Node, what: &str, report: &mut Report) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    if matches!(node.value, Value::Number(_)) {
        return node.count(what, MOST_BYTES, report);
    }
    let word = node.word(what, report)?;
    let digits = word.text.bytes().take_while(u8::is_ascii_digit).count();
    let size = word.text.split_at_checked(digits).and_then(|(number, unit)| {
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
        number.parse::<u64>().ok()?.checked_mul(*scale)
    });
    match size {
        Some(size) if (1..=MOST_BYTES).contains(&size) => Some(size),
        _ => {
            let message = format!("{what}: `{}` is not a size", word.text);
            let help = "write a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB: 100MB";
            report.error(code::INVALID_VALUE, word.span, message, help);
            None
        }
    }
}

/// `1h 30m`, as reports and hints show a duration.
pub fn show_duration(duration: Duration) -> String {
    let signed = jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX);
    format!("{signed:#}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::source;

    fn ask<T>(yaml: &str, ask: impl FnOnce(&Node, &mut Report) -> Option<T>) -> Result<T, &'static str> {
        let node: Node = source::read(yaml, "f").unwrap();
        let mut report = Report::new(&Arc::from("f"));
        let answer = ask(&node, &mut report);
        let found = report.finish();
        assert_eq!(answer.is_some(), found.is_empty(), "{yaml}: {found:?}");
        answer.ok_or_else(|| found[0].code)
    }

    #[test]
    fn durations() {
        let good = [
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("5s", 5_000),
            ("250ms", 250),
            ("24h", 86_400_000),
        ];
        for (text, millis) in good {
            assert_eq!(
                ask(text, |node, r| duration(node, "d", r)),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        let bad = [
            ("15", code::WRONG_TYPE),
            ("1.5", code::WRONG_TYPE),
            ("[15m]", code::WRONG_TYPE),
            ("-5m", code::INVALID_VALUE),
            ("5m ago", code::INVALID_VALUE),
            ("0s", code::INVALID_VALUE),
            ("1d", code::INVALID_VALUE),
            ("25h", code::INVALID_VALUE),
            ("'15'", code::INVALID_VALUE),
            ("1us", code::INVALID_VALUE),
            ("PT15M", code::INVALID_VALUE),
            ("soon", code::INVALID_VALUE),
        ];
        for (text, code) in bad {
            assert_eq!(ask(text, |node, r| duration(node, "d", r)), Err(code), "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h 30m");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1", 1), ("500kB", 500_000), ("2 GiB", 2 << 30), ("100MB", 100_000_000)] {
            assert_eq!(ask(text, |node, r| size(node, "s", r)), Ok(bytes), "{text}");
        }
        for (bad, code) in [
            ("0", code::INVALID_VALUE),
            ("-1", code::INVALID_VALUE),
            ("1.5", code::WRONG_TYPE),
            ("MB", code::INVALID_VALUE),
            ("5mb", code::INVALID_VALUE),
            ("99999999999GB", code::INVALID_VALUE),
            ("1.5MB", code::INVALID_VALUE),
        ] {
            assert_eq!(ask(bad, |node, r| size(node, "s", r)), Err(code), "{bad}");
        }
    }

    #[test]
    fn relations() {
        let word = |yaml: &str| ask(yaml, |node, r| relation(node.word("t", r)?, r)).map(|pattern| pattern.to_string());
        for good in ["app.orders", "app.*", "'*.orders'", "app.order_*", "'**'", "app.**"] {
            assert_eq!(word(good).as_deref(), Ok(good.trim_matches('\'')));
        }
        for (bad, code) in [
            ("orders", code::INVALID_VALUE),
            ("'*'", code::INVALID_VALUE),
            ("db.app.orders", code::INVALID_VALUE),
            ("app.", code::INVALID_VALUE),
            (".orders", code::INVALID_VALUE),
            ("'\"app\".\"orders\"'", code::INVALID_VALUE),
            ("app.(a|b)", code::LOOKS_LIKE_REGEX),
            ("^app.x", code::LOOKS_LIKE_REGEX),
        ] {
            assert_eq!(word(bad), Err(code), "{bad}");
        }
    }

    #[test]
    fn groups_and_classes() {
        let read = |yaml: &str| ask(yaml, |node, r| classes(node.word("c", r)?, r));
        assert_eq!(read("read"), Ok(vec![Class::Select, Class::CopyOut]));
        assert_eq!(read("copy-in"), Ok(vec![Class::CopyIn]));
        assert_eq!(read("SELECT"), Err(code::UNKNOWN_STATEMENT_CLASS));
        assert_eq!(read("all"), Err(code::UNKNOWN_STATEMENT_CLASS));
    }

    #[test]
    fn no_event_is_both_accepted_and_never_accepted() {
        for event in GITHUB_EVENTS.iter().chain(GITLAB_SOURCES) {
            assert!(!NEVER_ACCEPTED.contains(event), "{event}");
        }
    }
}
