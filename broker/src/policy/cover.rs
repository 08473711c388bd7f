//! What of a scope lies inside its ceiling. Named things outside are errors; globs and numbers are cut, and the cut is
//! reported. The judge checks every statement against both sides again: this file is for telling people early.

use std::collections::BTreeSet;

use crate::base::pattern::Pattern;
use crate::sql::{Class, TEMPORARY};

use super::ceiling::{Ceiling, DatabaseCeiling};
use super::diagnostic::{Report, Span, code};
use super::rules::RawRule;
use super::words;
use super::{RelationPattern, Rule};

/// Reports everything of `rule` that lies outside the ceiling.
pub fn check_rule(rule: &RawRule, ceiling: &Ceiling, database: &DatabaseCeiling, report: &mut Report) {
    let name = &ceiling.name;
    if let Some((preset, span)) = rule.preset {
        if !preset.is_under(&database.presets) {
            let message = format!("the preset `{preset}` is beyond the ceiling `{name}`");
            let help = format!(
                "list its rules, or ask the operator to add it to `presets` of {}",
                database.origin
            );
            report.error(code::EXCEEDS_CEILING, span, message, help);
        }
        if let Some((owner, span)) = &rule.owner
            && !database.can.iter().any(|granted| granted.owner.as_ref() == Some(owner))
        {
            let message = format!("`{preset}` as `{owner}` is beyond the ceiling `{name}`");
            report.error(code::EXCEEDS_CEILING, *span, message, ask(&database.origin.to_string()));
        }
        return;
    }
    let mut beyond = BTreeSet::new();
    for (class, span) in &rule.classes {
        if !adds_nothing(*class) && !database.can.iter().any(|granted| granted.classes.contains(class)) {
            beyond.insert(*class);
            let message = format!("`{class}` is beyond the ceiling `{name}`");
            report.error(code::EXCEEDS_CEILING, *span, message, ask(&database.origin.to_string()));
        }
    }
    // A class that is out of bounds as a whole is reported once, not again for every table.
    let classes: Vec<Class> = rule
        .classes
        .iter()
        .map(|(class, _)| *class)
        .filter(|class| !beyond.contains(class) && words::needs_tables(*class))
        .collect();
    for (kind, span) in &rule.objects {
        if !database.can.iter().any(|granted| granted.objects.contains(kind)) {
            let message = format!("`{kind}` is beyond the ceiling `{name}`");
            report.error(code::EXCEEDS_CEILING, *span, message, ask(&database.origin.to_string()));
        }
    }
    for (table, span) in &rule.tables {
        if let Some(never) = ceiling.never.iter().find(|never| overlap(&never.pattern, table)) {
            let line = &never.origin;
            if table.is_literal() {
                let message = format!("`{table}` is never reachable under the ceiling `{name}`");
                report.error(code::EXCEEDS_CEILING, *span, message, ask(&line.to_string()));
                continue;
            }
            let message = format!(
                "`{}` is subtracted from `{table}` (never, ceiling `{name}`)",
                never.pattern
            );
            report.warn(code::GLOB_SUBTRACTED, *span, message, format!("set at {line}"));
        }
        check_table(rule, &classes, (table, *span), (name, database), report);
        if beyond.is_empty() {
            check_as(rule, (table, *span), (name, database), report);
        }
    }
    let granted: Vec<&RelationPattern> = database.can.iter().flat_map(|granted| &granted.functions).collect();
    for (function, span) in &rule.functions {
        let what = format!("calling `{function}`");
        check_glob((function, *span), &granted, &what, (name, database), report);
    }
}

/// Reports DDL without `as` where PostgreSQL enforces as well: the scope's role owns nothing but what is temporary, so
/// nothing of it would work.
pub fn check_owner(rule: &RawRule, report: &mut Report) {
    let temporary = |table: &Pattern| {
        let schema = table.as_str().split_once('.').map(|(schema, _)| schema);
        schema == Some(TEMPORARY)
    };
    if !rule.tables.is_empty() && rule.tables.iter().all(|(table, _)| temporary(table)) {
        return;
    }
    let ddl = rule.classes.iter().find(|(class, _)| words::needs_owner(*class));
    if let (Some((class, span)), None) = (ddl, &rule.owner) {
        let message = format!("`{class}` without `as` on a database with `enforcement: role`");
        let help = "say which owner DDL runs as: as: app_owner";
        report.error(code::MISSING_KEY, *span, message, help);
    }
}

/// An owner is granted where the ceiling names it for the same class and tables.
fn check_as(rule: &RawRule, table: (&Pattern, Span), (name, database): Bound<'_>, report: &mut Report) {
    let Some((owner, span)) = &rule.owner else { return };
    for (class, _) in rule.classes.iter().filter(|(class, _)| words::needs_owner(*class)) {
        let granted = database.can.iter().any(|granted| {
            granted.owner.as_ref() == Some(owner)
                && granted.classes.contains(class)
                && granted.tables.iter().any(|pattern| overlap(&pattern.pattern, table.0))
        });
        if !granted {
            let message = format!("`{class}` on `{}` as `{owner}` is beyond the ceiling `{name}`", table.0);
            report.error(code::EXCEEDS_CEILING, *span, message, ask(&database.origin.to_string()));
            return;
        }
    }
}

/// Reports what a scope that runs proposed changes may not have where pull requests are read-only.
pub fn check_read_only(rule: &RawRule, ceiling: &Ceiling, report: &mut Report) {
    let help = "give pull requests a scope of their own, with `statements: [read]`";
    if let Some((preset, span)) = rule.preset
        && !preset.only_reads()
    {
        let message = format!(
            "the preset `{preset}` writes: pull requests only read under the ceiling `{}`",
            ceiling.name
        );
        report.error(code::EXCEEDS_CEILING, span, message, help);
    }
    for (class, span) in &rule.classes {
        if !matches!(class, Class::Select | Class::CopyOut) && !adds_nothing(*class) {
            let message = format!(
                "`{class}`: pull requests only read under the ceiling `{}`",
                ceiling.name
            );
            report.error(code::EXCEEDS_CEILING, *span, message, help);
        }
    }
    for (function, span) in &rule.functions {
        let message = format!(
            "calling `{function}`, which may write: pull requests only read under the ceiling `{}`",
            ceiling.name
        );
        report.error(code::EXCEEDS_CEILING, *span, message, help);
    }
}

/// Classes that are always allowed or count as what they wrap.
fn adds_nothing(class: Class) -> bool {
    matches!(
        class,
        Class::Transaction | Class::Show | Class::Explain | Class::Cursor | Class::Prepare
    )
}

type Bound<'a> = (&'a str, &'a DatabaseCeiling);

fn check_table(rule: &RawRule, classes: &[Class], table: (&Pattern, Span), bound: Bound<'_>, report: &mut Report) {
    let mut told: Vec<(&'static str, String)> = Vec::new();
    for class in classes {
        let rules: Vec<&Rule> = bound
            .1
            .can
            .iter()
            .filter(|granted| granted.classes.contains(class))
            .collect();
        let granted: Vec<&RelationPattern> = rules.iter().flat_map(|granted| &granted.tables).collect();
        let mut found = Report::new(report.path());
        let what = format!("`{class}` on `{}`", table.0);
        if check_glob(table, &granted, &what, bound, &mut found) && table.0.is_literal() {
            check_columns(rule, table, &rules, bound.0, &mut found);
        }
        // One finding per kind and table: the first class stands for the others.
        for found in found.finish() {
            let key = (found.code, format!("{}:{}", found.span.line, found.span.column));
            if !told.contains(&key) {
                told.push(key);
                report.adopt(found);
            }
        }
    }
}

/// True when nothing had to be refused.
fn check_glob(
    (pattern, span): (&Pattern, Span),
    granted: &[&RelationPattern],
    what: &str,
    (name, database): Bound<'_>,
    report: &mut Report,
) -> bool {
    if granted.iter().any(|granted| contains(&granted.pattern, pattern)) {
        return true;
    }
    if pattern.is_literal() || !granted.iter().any(|granted| overlap(&granted.pattern, pattern)) {
        let message = format!("{what} is beyond the ceiling `{name}`");
        report.error(code::EXCEEDS_CEILING, span, message, ask(&database.origin.to_string()));
        return false;
    }
    let inside: Vec<_> = granted
        .iter()
        .filter(|granted| overlap(&granted.pattern, pattern))
        .map(|granted| format!("`{}`", granted.pattern))
        .collect();
    let message = format!("{what} reaches further than the ceiling `{name}`");
    report.warn(
        code::GLOB_SUBTRACTED,
        span,
        message,
        format!("granted is what lies in {}", inside.join(", ")),
    );
    true
}

/// Columns of a named table: each must be granted by some rule of the ceiling that covers the table.
fn check_columns(rule: &RawRule, table: (&Pattern, Span), rules: &[&Rule], name: &str, report: &mut Report) {
    let covering = || {
        rules
            .iter()
            .filter(|granted| granted.tables.iter().any(|pattern| contains(&pattern.pattern, table.0)))
    };
    if covering().any(|granted| granted.columns.is_none()) {
        return;
    }
    let allowed: BTreeSet<&str> = covering()
        .filter_map(|granted| granted.columns.as_ref())
        .flatten()
        .map(String::as_str)
        .collect();
    let all = allowed.iter().copied().collect::<Vec<_>>().join(", ");
    match &rule.columns {
        None => {
            let message = format!("all columns of `{}` are beyond the ceiling `{name}`", table.0);
            report.error(
                code::EXCEEDS_CEILING,
                table.1,
                message,
                format!("name the columns: {all}"),
            );
        }
        Some(columns) => {
            for (column, span) in columns.iter().filter(|(column, _)| !allowed.contains(column.as_str())) {
                let message = format!("column `{column}` of `{}` is beyond the ceiling `{name}`", table.0);
                report.error(code::EXCEEDS_CEILING, *span, message, format!("it grants: {all}"));
            }
        }
    }
}

fn ask(line: &str) -> String {
    format!("remove it, or ask the operator to widen {line}")
}

// === globs ===

/// True when every relation that `inner` covers is covered by `outer`. May say false too often, never true.
pub fn contains(outer: &Pattern, inner: &Pattern) -> bool {
    // Whatever a star of `inner` stands for, a star of `outer` that swallows the star itself swallows that too. Relation
    // names have exactly two parts, so a double star inside a part is a single one.
    let text = match inner.as_str() {
        "**" => "*.*".to_owned(),
        text => text.replace("**", "*"),
    };
    outer.matches(&text)
}

/// True when some relation could be covered by both.
pub fn overlap(left: &Pattern, right: &Pattern) -> bool {
    let (left, right) = (symbols(left), symbols(right));
    // meets[j] for the suffixes left[i..], right[j..]; filled from the ends.
    let mut below: Vec<bool> = Vec::new();
    for i in (0..=left.len()).rev() {
        let mut row = vec![false; right.len() + 1];
        for j in (0..=right.len()).rev() {
            let down = below.get(j).copied().unwrap_or(false);
            let along = row.get(j + 1).copied().unwrap_or(false);
            let across = below.get(j + 1).copied().unwrap_or(false);
            let meets = match (left.get(i), right.get(j)) {
                (None, None) => true,
                (Some(Symbol::Star), Some(Symbol::Star)) => down || along,
                (Some(Symbol::Star), Some(Symbol::Letter(letter))) => down || (*letter != '.' && along),
                (Some(Symbol::Letter(letter)), Some(Symbol::Star)) => along || (*letter != '.' && down),
                (Some(Symbol::Letter(a)), Some(Symbol::Letter(b))) => a == b && across,
                (Some(Symbol::Star), None) => down,
                (None, Some(Symbol::Star)) => along,
                (Some(Symbol::Letter(_)), None) | (None, Some(Symbol::Letter(_))) => false,
            };
            if let Some(slot) = row.get_mut(j) {
                *slot = meets;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

enum Symbol {
    Letter(char),
    Star,
}

fn symbols(pattern: &Pattern) -> Vec<Symbol> {
    let text = if pattern.as_str() == "**" {
        "*.*"
    } else {
        pattern.as_str()
    };
    text.chars()
        .map(|letter| {
            if letter == '*' {
                Symbol::Star
            } else {
                Symbol::Letter(letter)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Pattern {
        Pattern::new(text, '.').unwrap()
    }

    #[test]
    fn containment() {
        for (outer, inner, expected) in [
            ("app.*", "app.orders", true),
            ("app.*", "app.order_*", true),
            ("app.*", "app.**", true),
            ("app.order_*", "app.*", false),
            ("app.*", "**", false),
            ("**", "app.*", true),
            ("*.*", "**", true),
            ("*.orders", "app.orders", true),
            ("app.*", "apps.orders", false),
        ] {
            assert_eq!(contains(&glob(outer), &glob(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn overlaps() {
        for (left, right, expected) in [
            ("app.*", "app.orders", true),
            ("app.*", "hr.*", false),
            ("*.orders", "app.*", true),
            ("app.a*", "app.*b", true),
            ("app.a*", "app.b*", false),
            ("app.card_tokens", "app.*", true),
            ("**", "hr.x", true),
            ("a*.x", "*b.x", true),
        ] {
            assert_eq!(overlap(&glob(left), &glob(right)), expected, "{left} {right}");
            assert_eq!(overlap(&glob(right), &glob(left)), expected, "{right} {left}");
        }
    }

    proptest! {
        /// A name that both cover proves an overlap; a name that only the inner one covers disproves containment.
        #[test]
        fn agrees_with_matching(left in "[ab*]{1,3}\\.[ab*]{1,3}", right in "[ab*]{1,3}\\.[ab*]{1,3}", name in "[ab]{1,3}\\.[ab]{1,3}") {
            let (left, right) = (glob(&left), glob(&right));
            let (in_left, in_right) = (left.matches(&name), right.matches(&name));
            prop_assert!(!(in_left && in_right) || overlap(&left, &right));
            prop_assert!(!contains(&left, &right) || !in_right || in_left);
        }
    }
}
